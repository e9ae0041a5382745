//! Certificates from a real ACME server, Pebble, which tries what careless clients trip over: one nonce of twenty is refused.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::machine::{self, Scratch};
use crate::support::program::Program;
use crate::support::{Proxy, Redis, wait_for};
use crate::tls_client::Authority;

/// Pebble, and the DNS server that it asks: every name is this machine.
struct Pebble {
    authority: Authority,
    port: u16,
    management: u16,
    folder: Scratch,
    program: Program,
    _names: Program,
}

impl Pebble {
    /// Validates at `port`, by HTTP and in handshakes. `more` goes into its settings, and `environment` to it.
    fn start(port: u16, more: serde_json::Value, environment: &[(&str, &str)]) -> Self {
        let authority = Authority::new();
        let folder = Scratch::new("pebble");
        let [own, management, dns, names] = std::array::from_fn(|_| machine::free_port());
        let (certificate, key) = authority.sign("pebble", "localhost");
        let mut settings = json!({
            "listenAddress": format!("127.0.0.1:{own}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": certificate, "privateKey": key,
            "httpPort": port, "tlsPort": port,
            "ocspResponderURL": "", "externalAccountBindingRequired": false,
        });
        let fields = settings.as_object_mut().expect("an object");
        fields.extend(more.as_object().cloned().unwrap_or_default());
        let config = folder.write("pebble.json", &json!({"pebble": settings}).to_string());

        let mut resolver = Command::new(machine::installed(&["pebble-challtestsrv"]));
        resolver.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        resolver.args(["-dns01", &format!("127.0.0.1:{dns}")]);
        resolver.args(["-management", &format!("127.0.0.1:{names}")]);
        resolver.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        let resolver = Program::start("pebble-challtestsrv", &mut resolver).abrupt();
        let mut pebble = Command::new(machine::installed(&["pebble"]));
        pebble.args(["-config"]).arg(config);
        pebble.args(["-dnsserver", &format!("127.0.0.1:{dns}")]);
        pebble.env("PEBBLE_VA_NOSLEEP", "1");
        pebble.envs(environment.iter().copied());
        let program = Program::start("pebble", &mut pebble).abrupt();
        wait_for("pebble listens", Duration::from_secs(40), || {
            [own, management, names]
                .into_iter()
                .all(machine::is_listening)
                .then_some(())
        });
        Self {
            authority,
            port: own,
            management,
            folder,
            program,
            _names: resolver,
        }
    }

    /// The settings of a proxy that orders certificates for `names`, with HTTP at `port`.
    fn settings(&self, port: u16, names: &str, challenge: &str) -> String {
        format!(
            "http.listen = \"127.0.0.1:{port}\"\nacme.names = [{names}]\nacme.accept_terms = true\n\
             acme.email = \"me@example.com\"\nacme.directory = \"https://localhost:{}/dir\"\n\
             acme.authorities = {:?}\nacme.challenge = \"{challenge}\"\nacme.keep_in = {:?}\n",
            self.port,
            self.authority.own(),
            self.folder.path().join("kept"),
        )
    }

    /// The certificate of the authority that signs what it issues, in a file.
    fn root(&self) -> String {
        let url = format!("https://localhost:{}/roots/0", self.management);
        let root = curl(&["--insecure", &url]);
        assert!(root.contains("BEGIN CERTIFICATE"), "{root}");
        self.folder.write("root.pem", &root).display().to_string()
    }
}

fn curl(arguments: &[&str]) -> String {
    let mut command = Command::new(machine::installed(&["curl"]));
    command.args(["--silent", "--show-error"]).args(arguments);
    let output = command.output().expect("curl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // It shows certificates that it does not believe, too.
    if output.status.success() {
        said
    } else {
        String::new()
    }
}

/// The certificate that a client sees that asks for `name` and believes `root`; nothing if it does not believe it.
fn shown(name: &str, port: u16, root: &str) -> String {
    curl(&[
        "--cacert",
        root,
        "--resolve",
        &format!("{name}:{port}:127.0.0.1"),
        "--output",
        "/dev/null",
        "--write-out",
        "%{certs}",
        &format!("https://{name}:{port}/"),
    ])
}

fn wait_shown(name: &str, port: u16, root: &str, other_than: &str) -> String {
    let what = format!("a certificate for {name}");
    wait_for(&what, Duration::from_secs(90), || {
        let shown = shown(name, port, root);
        (shown.contains("BEGIN CERTIFICATE") && shown != other_than).then_some(shown)
    })
}

#[test]
fn certificates_are_issued_and_kept() {
    let _turn = machine::share();
    for challenge in ["tls-alpn-01", "http-01"] {
        let port = machine::free_port();
        let pebble = Pebble::start(port, json!({}), &[]);
        let settings = pebble.settings(port, "\"one.test\", \"two.test\"", challenge);
        let required = format!("http.require_tls = true\n{settings}");
        let proxy = Proxy::start(&required);
        let root = pebble.root();
        let issued = ["one.test", "two.test"].map(|name| wait_shown(name, port, &root, ""));
        assert_ne!(issued[0], issued[1], "{challenge}: one for each name");
        drop(proxy);
        // Without its server, the next process has what was kept.
        drop(pebble.program);
        let proxy = Proxy::start(&required);
        assert_eq!(shown("one.test", port, &root), issued[0], "{challenge}");
        drop(proxy);
    }
}

#[test]
fn certificates_are_renewed_before_they_end() {
    let _turn = machine::share();
    let port = machine::free_port();
    // Two thirds of these seconds are over soon.
    let pebble = Pebble::start(port, json!({"certificateValidityPeriod": 30}), &[]);
    let proxy = Proxy::start(&pebble.settings(port, "\"one.test\"", "tls-alpn-01"));
    let root = pebble.root();
    let first = wait_shown("one.test", port, &root, "");
    wait_shown("one.test", port, &root, &first);
    wait_for("a line of each", Duration::from_secs(20), || {
        (proxy.log("certificate issued").len() > 1).then_some(())
    });
}

#[test]
fn a_server_that_is_slow_refuses_or_is_away_stops_nothing() {
    let _turn = machine::share();
    let port = machine::free_port();
    let blocked = json!({"domainBlocklist": ["blocked.test"]});
    let slow = [("PEBBLE_VA_NOSLEEP", "0"), ("PEBBLE_VA_SLEEPTIME", "3")];
    let pebble = Pebble::start(port, blocked, &slow);
    let names = "\"blocked.test\", \"slow.test\"";
    let proxy = Proxy::start(&pebble.settings(port, names, "tls-alpn-01"));
    proxy.wait_log("no certificate was issued; it is tried again", |line| {
        line["name"] == "blocked.test" && line["minutes"] == 1
    });
    let root = pebble.root();
    wait_shown("slow.test", port, &root, "");
    drop(proxy);

    let away = Pebble::start(port, json!({}), &[]);
    let settings = away.settings(port, "\"one.test\"", "tls-alpn-01");
    drop(away.program);
    let proxy = Proxy::start(&settings);
    proxy.wait_log("no certificate was issued; it is tried again", |line| {
        line["name"] == "one.test"
    });
    assert_eq!(proxy.system("GET", "/readyz").status, 200);
}

#[test]
fn proxies_of_a_cluster_share_what_one_of_them_ordered() {
    let _turn = machine::share();
    let redis = Redis::start();
    let [a, b] = std::array::from_fn(|_| machine::free_port());
    // The server looks at the port of the proxy that cannot order: it believes another server.
    let pebble = Pebble::start(b, json!({}), &[]);
    let stranger = Authority::new();
    let shared = "acme.in_store = true\ncluster.key = \"shared\"\n";
    let settings = |port: u16| pebble.settings(port, "\"one.test\"", "tls-alpn-01") + shared;
    let own = format!("{:?}", pebble.authority.own());
    let other = format!("{:?}", stranger.own());
    let unable = redis.proxy(&settings(b).replace(&own, &other));
    unable.wait_log("no certificate was issued; it is tried again", |_| true);
    let able = redis.proxy(&settings(a));
    let root = pebble.root();
    let issued = wait_shown("one.test", a, &root, "");
    assert_eq!(wait_shown("one.test", b, &root, ""), issued);
    assert!(
        able.log("certificate issued").len() == 1 && unable.log("certificate issued").is_empty()
    );
    assert!(
        !pebble.folder.path().join("kept").exists(),
        "nothing is kept in the directory"
    );
    let kept = redis.values("sluicegate-record:acme-certificate:one.test");
    assert!(
        kept.contains("record acme-certificate 1 ") && !kept.contains("BEGIN"),
        "{kept}"
    );
    // A proxy that comes later shows it, though nobody can order any more.
    let late = machine::free_port();
    let settings = settings(late);
    drop(able);
    drop(pebble.program);
    let _late = redis.proxy(&settings);
    assert_eq!(wait_shown("one.test", late, &root, ""), issued);
}

#[test]
fn proxies_of_a_mesh_that_order_at_once_get_one_certificate() {
    let _turn = machine::share();
    let [a, b] = std::array::from_fn(|_| machine::free_port());
    let hears = [(); 2].map(|()| machine::free_port());
    // The server connects to one of the two proxies, whichever of them orders.
    let pebble = Pebble::start(b, json!({}), &[]);
    let settings = |http: u16, own: usize, challenge: &str| {
        let seeds = hears.map(|port| format!("127.0.0.1:{port}"));
        format!(
            "{}acme.in_store = true\ncluster.key = \"shared\"\nstore.type = \"mesh\"\n\
             mesh.listen = {:?}\nmesh.seeds = {seeds:?}\n",
            pebble.settings(http, "\"one.test\"", challenge),
            seeds[own],
        )
    };
    for challenge in ["tls-alpn-01", "http-01"] {
        // They begin before they know of each other, each with an account and an order of its own.
        let proxies = std::thread::scope(|scope| {
            // Written before the first one reads what they name.
            let both = [(a, 0), (b, 1)].map(|(http, own)| settings(http, own, challenge));
            let started = both.map(|settings| scope.spawn(move || Proxy::start(&settings)));
            started.map(|started| started.join().expect("it starts"))
        });
        let root = pebble.root();
        let issued = wait_shown("one.test", b, &root, "");
        wait_for("both show it", Duration::from_secs(60), || {
            (shown("one.test", a, &root) == issued).then_some(())
        });
        for proxy in &proxies {
            let failed = proxy.log("no certificate was issued; it is tried again");
            assert!(failed.is_empty(), "{challenge}: {failed:?}");
        }
        let count = |proxy: &Proxy| proxy.log("certificate issued").len();
        assert_eq!(proxies.iter().map(count).sum::<usize>(), 1, "{challenge}");
    }
}
