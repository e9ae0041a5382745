//! A fleet of two builds, as it is while it is upgraded one proxy after the other: no stream is lost, and what the newer
//! build writes disturbs nobody.
//!
//! The older build is the program that `OLDER_BUILD` names. Where nothing is named it is this build, and the same steps
//! are those of a restart.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};
use sluicegate_core::cluster::build::BuildRecord;
use sluicegate_core::cluster::records::key;
use sluicegate_core::stream::Action;

use crate::house::{Guest, Manner, Stub, get, until};
use crate::machine::free_port;
use crate::one_api::id;
use crate::pair;
use crate::proxy::Proxy;
use crate::redis_server::RedisServer;
use crate::wait_for;

/// Two proxies as processes, each with its settings, and two origins.
struct Fleet {
    settings: [String; 2],
    proxies: [Proxy; 2],
    origins: [Stub; 2],
}

impl Fleet {
    /// Both proxies are of the older build. The origins report to the first.
    async fn of_the_older_build(settings: [String; 2]) -> Self {
        let settings = settings.map(|settings| settings + SILENT_CLIENTS);
        let proxies = settings.clone().map(|settings| start_older(&settings));
        let origins = [
            Stub::start(Manner::Grants).await,
            Stub::start(Manner::Grants).await,
        ];
        let fleet = Self {
            settings,
            proxies,
            origins,
        };
        fleet.meet();
        for (name, origin) in NAMES.into_iter().zip(&fleet.origins) {
            fleet.proxies[0].register(&json!({
                "ip": "127.0.0.1", "server": name, "service": "s", "pid": "1",
                "rtmp": [origin.at.port().to_string()],
            }));
        }
        fleet.wait_for_origins();
        fleet
    }

    /// Replaces a proxy by one of this build, as an operator does: it is stopped, and its successor has its settings.
    fn upgrade(&mut self, number: usize) {
        self.proxies[number].terminate();
        let ended = self.proxies[number].wait_end(LONG);
        assert!(ended.success(), "{ended}");
        self.proxies[number] = Proxy::start(&self.settings[number]);
        self.meet();
        self.wait_for_origins();
    }

    /// Waits until each proxy knows the other.
    fn meet(&self) {
        for (proxy, other) in [(0, 1), (1, 0)] {
            let other = id_of(&self.proxies[other]);
            wait_for("the other proxy", LONG, || {
                let document = self.proxies[proxy].api("/api/v1/proxy");
                let peers = document["data"]["peers"].as_array().cloned();
                let known = peers?.iter().any(|peer| peer["id"] == other);
                known.then_some(())
            });
        }
    }

    fn wait_for_origins(&self) {
        for (proxy, origin) in self
            .proxies
            .iter()
            .flat_map(|proxy| NAMES.map(|name| (proxy, name)))
        {
            wait_for("an origin that is up", LONG, || {
                let row = proxy.wait_origin(origin);
                (row["state"] == "up").then_some(())
            });
        }
    }

    /// A client that the proxy grants its stream.
    async fn ask(&self, proxy: usize, action: Action, stream: &str) -> Guest {
        let guest = Guest::ask(self.proxies[proxy].rtmp, action, stream, Vec::new()).await;
        assert!(
            guest.has_started(),
            "{action:?} {stream}: {:?}",
            guest.status
        );
        guest
    }

    /// The origins that were ever asked for a stream.
    fn asked(&self, stream: &str) -> BTreeSet<&str> {
        let name = stream.rsplit('/').next().expect("a name");
        let asked = |stub: &Stub| {
            let seen = stub.seen.lock().expect("a test");
            seen.requests.iter().any(|request| request.name == name)
        };
        let origins = NAMES.into_iter().zip(&self.origins);
        origins
            .filter(|(_, stub)| asked(stub))
            .map(|(name, _)| name)
            .collect()
    }

    /// The numbers of the sessions at a proxy.
    fn sessions(&self, proxy: usize) -> BTreeSet<u64> {
        let document = self.proxies[proxy].api("/api/v1/sessions?scope=local");
        let rows = document["data"]["sessions"].as_array().expect("rows");
        rows.iter().filter_map(|row| row["id"].as_u64()).collect()
    }

    /// Sends an order about an origin to one proxy, and waits until both follow it.
    fn order(&self, proxy: usize, order: &str, duty: &str) {
        let path = format!("/api/v1/origins/{}/{order}", NAMES[0]);
        let answer = self.proxies[proxy].system("POST", &path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        for proxy in &self.proxies {
            wait_for(&format!("{order} at both"), LONG, || {
                (proxy.wait_origin(NAMES[0])["duty"] == duty).then_some(())
            });
        }
    }
}

/// What a proxy is called by the others.
fn id_of(proxy: &Proxy) -> Value {
    proxy.api("/api/v1/proxy")["data"]["id"].clone()
}

/// Starts the older build, where there is one.
fn start_older(settings: &str) -> Proxy {
    match std::env::var_os("OLDER_BUILD").map(PathBuf::from) {
        Some(program) => Proxy::start_program(&program, settings),
        None => Proxy::start(settings),
    }
}

/// An upgrade from the first to the last proxy, with clients that come, stay and come back meanwhile.
async fn upgraded_one_by_one(settings: [String; 2]) {
    let mut fleet = Fleet::of_the_older_build(settings).await;
    let stays = [
        fleet.ask(0, Action::Publish, "live/a").await,
        fleet.ask(0, Action::Play, "live/b").await,
    ];
    let leaves = fleet.ask(1, Action::Publish, "live/b").await;
    let before = fleet.sessions(0);
    assert_eq!(before.len(), 2);

    fleet.upgrade(1);
    assert_eq!(
        fleet.sessions(0),
        before,
        "the older proxy's sessions go on"
    );
    drop(leaves);
    // Streams that were there before, from both sides; then new ones of each build.
    let back = fleet.ask(1, Action::Publish, "live/b").await;
    let viewer = fleet.ask(1, Action::Play, "live/a").await;
    let new = fleet.ask(1, Action::Publish, "live/c").await;
    let viewer_of_new = fleet.ask(0, Action::Play, "live/c").await;
    let old = fleet.ask(0, Action::Publish, "live/d").await;
    let viewer_of_old = fleet.ask(1, Action::Play, "live/d").await;
    fleet.order(0, "disable", "disabled");
    fleet.order(1, "undrain", "active");
    fleet.order(1, "disable", "disabled");
    fleet.order(0, "undrain", "active");
    let before = fleet.sessions(1);
    assert_eq!(before.len(), 4);

    fleet.upgrade(0);
    assert_eq!(
        fleet.sessions(1),
        before,
        "the newer proxy's sessions go on"
    );
    drop((stays, viewer_of_new, old));
    let back_too = [
        fleet.ask(0, Action::Publish, "live/a").await,
        fleet.ask(0, Action::Publish, "live/d").await,
        fleet.ask(0, Action::Play, "live/b").await,
        fleet.ask(0, Action::Play, "live/c").await,
    ];
    for stream in ["live/a", "live/b", "live/c", "live/d"] {
        assert_eq!(fleet.asked(stream).len(), 1, "{stream} is at one origin");
    }
    for (number, proxy) in fleet.proxies.iter().enumerate() {
        let metrics = proxy.system("GET", "/metrics").text();
        let conflicts = metrics
            .lines()
            .find(|line| line.starts_with("sluicegate_claim_conflicts_total"));
        assert_eq!(conflicts, Some("sluicegate_claim_conflicts_total 0"));
        let other = id_of(&fleet.proxies[1 - number]);
        let reads = || {
            let document = proxy.api("/api/v1/proxy");
            let peers = document["data"]["peers"].as_array().cloned()?;
            let peer = peers.into_iter().find(|peer| peer["id"] == other)?;
            (peer["reads"]["build"] == 1).then_some(())
        };
        wait_for("what the other build reads", LONG, reads);
    }
    drop((back, viewer, new, viewer_of_old, back_too));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_on_a_redis_is_upgraded_one_by_one() {
    let redis = RedisServer::start();
    let settings = format!(
        "store.type = \"redis\"\nstore.url = \"{}\"\nstore.timeout = \"5s\"\n",
        redis.url()
    );
    upgraded_one_by_one([settings.clone(), settings]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_fleet_in_a_mesh_is_upgraded_one_by_one() {
    let ports = [free_port(), free_port()];
    let seeds = ports.map(|port| format!("127.0.0.1:{port}"));
    let settings = ports.map(|port| {
        format!("store.type = \"mesh\"\ncluster.key = \"fleet\"\nmesh.listen = \"127.0.0.1:{port}\"\nmesh.seeds = {seeds:?}\n")
    });
    upgraded_one_by_one(settings).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_build_reads_is_known_and_what_a_later_one_writes_is_left() {
    let redis = RedisServer::start();
    let settings = pair::on_a_redis(&redis, "");
    let (a, b) = pair::met([&settings, &settings]).await;
    let cluster = a.proxy.cluster().expect("a store");
    until("what the other reads", || cluster.all_read::<BuildRecord>()).await;
    let (_, document) = get(a.at.system, "/api/v1/proxy").await;
    let document: Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(
        document["data"]["peers"][0]["reads"],
        json!({"ban": 1, "build": 1, "held": 1, "splice": 1, "tally": 1}),
        "{document}"
    );

    // A later build's, under a kind that nobody knows and under the one that everybody does.
    let rows = [
        (
            "sluicegate-record:feed:v/live/a".to_owned(),
            "record feed 9 5 a b c",
        ),
        (
            key::<BuildRecord>(&id(&b)).expect("a name"),
            "record build 2 5 later",
        ),
    ];
    for (key, text) in &rows {
        redis.cli(&["set", key, text, "px", "600000"]);
    }
    until("a build that says nothing here", || {
        !cluster.all_read::<BuildRecord>()
    })
    .await;
    // A proxy that comes reads everything, and one that goes takes only what is its own.
    let c = pair::joined(&settings, [&a, &b]).await;
    c.stop.cancel();
    let left = || cluster.peers().len() == 1;
    until("the third is gone", left).await;
    for (key, text) in &rows {
        assert_eq!(redis.cli(&["get", key]).trim(), *text, "{key}");
    }
}

const NAMES: [&str; 2] = ["one", "two"];
/// Clients of these stories say nothing for as long as a restart takes.
const SILENT_CLIENTS: &str = "\
session.publisher_idle = \"10m\"
session.player_idle = \"10m\"
session.takeover = \"never\"
shutdown.grace = \"0s\"
";
const LONG: std::time::Duration = std::time::Duration::from_secs(60);
