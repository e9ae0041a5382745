//! What a web page may not do: neither from another site, nor under a foreign name that points here, nor through a
//! reverse proxy on this machine.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::fleet_api::{Manner as ApiManner, Origin};
use crate::house::{House, Manner, Stub, get, talk};

/// A request of each kind that the system port takes, and its body.
const SYSTEM: [(&str, &str); 9] = [
    ("POST", "/api/v1/srs/register"),
    ("PUT", "/api/v1/srs/register"),
    ("POST", "/api/v1/hooks/srs"),
    ("GET", "/api/v1/origins"),
    ("GET", "/api/v1/sessions"),
    ("POST", "/api/v1/proxy/drain"),
    ("DELETE", "/api/v1/origins/one"),
    ("GET", "/api/v1/explain?stream=live/a"),
    ("GET", "/metrics"),
];
const FOREIGN_PAGES: [&str; 3] = [
    "Host: {at}\r\nOrigin: https://evil.example\r\n",
    "Host: {at}\r\nOrigin: null\r\n",
    "Host: {at}\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: empty\r\n",
];
/// By which of them a browser takes the page for ours.
const FOREIGN_NAMES: [&str; 2] = [
    "Host: evil.example:12025\r\n",
    "Host: evil.example:12025\r\nOrigin: http://evil.example:12025\r\nX-Sluicegate: 1\r\n",
];
const TOKEN: &str =
    "[system]\nauth_enabled = true\nauth_type = \"bearer\"\nauth_token = \"s3cret\"\n";

/// Sends a request with these lines of its head; `{at}` stands for the address.
async fn ask(at: SocketAddr, method: &str, path: &str, headers: &str) -> (u16, Value) {
    let body = match path {
        "/api/v1/srs/register" => {
            r#"{"ip":"10.0.0.1","server":"s","service":"s","pid":"1","rtmp":["1935"]}"#
        }
        "/api/v1/hooks/srs" => r#"{"action":"on_publish"}"#,
        _ => "",
    };
    let headers = headers.replace("{at}", &at.to_string());
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    let (status, body) = talk(at, &format!("{head}{body}")).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

/// A house with an origin, which no refused request may touch.
async fn house_with_one(settings: &str) -> (House, Stub) {
    let house = House::open(settings).await;
    let stub = Stub::start(Manner::Grants).await;
    house.register("one", stub.at);
    (house, stub)
}

#[track_caller]
fn is_untouched(house: &House) {
    assert!(!house.proxy.is_draining(), "nobody drained the proxy");
    assert_eq!(
        house.proxy.registry().origins().len(),
        1,
        "nobody registered or left"
    );
}

#[tokio::test]
async fn pages_of_other_sites_are_refused_on_every_surface_of_the_system_port() {
    let (house, _stub) = house_with_one("").await;
    for headers in FOREIGN_PAGES {
        for (method, path) in SYSTEM {
            let (status, document) = ask(house.at.system, method, path, headers).await;
            assert_eq!(status, 403, "{method} {path} {headers:?}: {document}");
            assert_eq!(document["code"], 403, "{document}");
            assert!(document.get("data").is_none(), "{document}");
        }
    }
    is_untouched(&house);
    let refused = FOREIGN_PAGES.len();
    let metrics = house.proxy.metrics().render();
    for (surface, kinds) in [("system", 6), ("register", 2), ("hooks", 1)] {
        let count = kinds * refused;
        let line = format!("sluicegate_auth_refusals_total{{surface=\"{surface}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }

    // Anybody may know the token; a page of another site still has no business here.
    let (house, _stub) = house_with_one(TOKEN).await;
    let page = "Host: {at}\r\nAuthorization: Bearer s3cret\r\nOrigin: https://evil.example\r\n";
    for (method, path) in SYSTEM {
        let (status, document) = ask(house.at.system, method, path, page).await;
        assert_eq!(status, 403, "{method} {path}: {document}");
    }
    is_untouched(&house);
}

#[tokio::test]
async fn a_foreign_name_for_this_machine_is_refused_on_every_surface_of_the_system_port() {
    let (house, _stub) = house_with_one("").await;
    for headers in FOREIGN_NAMES {
        for (method, path) in SYSTEM {
            let (status, document) = ask(house.at.system, method, path, headers).await;
            assert_eq!(status, 421, "{method} {path} {headers:?}: {document}");
            let words = document["error"].as_str().expect("words");
            assert!(
                words.contains("localhost") && words.contains("token"),
                "{words}"
            );
            assert!(document.get("data").is_none(), "{document}");
        }
        for path in ["/livez", "/readyz", "/api/v1/versions"] {
            let (status, _) = ask(house.at.system, "GET", path, headers).await;
            assert_eq!(status, 200, "health checks use any name: {path}");
        }
    }
    is_untouched(&house);

    let (house, _stub) = house_with_one(TOKEN).await;
    let shown = "Host: proxy.example:12025\r\nAuthorization: Bearer s3cret\r\n";
    let (status, _) = ask(house.at.system, "GET", "/api/v1/origins", shown).await;
    assert_eq!(status, 200, "with the token any name will do");
    let (status, _) = ask(house.at.system, "GET", "/api/v1/origins", FOREIGN_NAMES[0]).await;
    assert_eq!(status, 401, "without it no name helps");
}

#[tokio::test]
async fn names_of_this_machine_open_it() {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy();
    let settings = "[system]\nadvertise = \"proxy.lan:12025\"\n";
    let (house, _stub) = house_with_one(settings).await;
    let port = house.at.system.port();
    for host in [
        format!("127.0.0.1:{port}"),
        format!("localhost:{port}"),
        format!("[::1]:{port}"),
        "LOCALHOST".to_owned(),
        // Of kubectl port-forward, and of any tunnel.
        "localhost:40123".to_owned(),
        format!("{name}:{port}"),
        format!("proxy.lan:{port}"),
    ] {
        let headers = format!("Host: {host}\r\n");
        for (method, path) in [
            ("GET", "/api/v1/origins"),
            ("POST", "/api/v1/srs/register"),
            ("POST", "/api/v1/hooks/srs"),
            ("POST", "/api/v1/proxy/undrain"),
        ] {
            let (status, document) = ask(house.at.system, method, path, &headers).await;
            assert_eq!(status, 200, "{host} {method} {path}: {document}");
        }
    }
    let old = "GET /api/v1/origins HTTP/1.0\r\n\r\n";
    assert_eq!(
        talk(house.at.system, old).await.0,
        200,
        "HTTP/1.0 names no host"
    );
}

#[tokio::test]
async fn rights_of_this_machine_do_not_travel_through_a_proxy_on_it() {
    let (house, _stub) = house_with_one("").await;
    let passed_on = [
        "X-Forwarded-For: 203.0.113.9\r\n",
        // No address in a header counts as one of this machine.
        "X-Forwarded-For: 127.0.0.1\r\n",
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Anything: 1\r\n",
        "Forwarded: for=127.0.0.1\r\n",
        "X-Real-IP: 127.0.0.1\r\n",
    ];
    for header in passed_on {
        let headers = format!("Host: {{at}}\r\n{header}");
        for (method, path) in SYSTEM.iter().filter(|(_, path)| is_managed(path)) {
            let (status, document) = ask(house.at.system, method, path, &headers).await;
            assert_eq!(status, 401, "{method} {path} {header:?}: {document}");
        }
    }
    is_untouched(&house);
    // To the system API the header of the PROXY protocol is no HTTP.
    let line = "PROXY TCP4 127.0.0.1 127.0.0.1 5 12025\r\nGET /api/v1/origins HTTP/1.1\r\n\r\n";
    assert_eq!(talk(house.at.system, line).await.0, 400);

    // Networks that may register are those of the caller, and where it is cannot be told.
    let near = "[system]\nregister_from = [\"127.0.0.0/8\"]\n";
    let (house, _stub) = house_with_one(near).await;
    let headers = format!("Host: {{at}}\r\n{}", passed_on[0]);
    for (method, path) in SYSTEM.iter().filter(|(_, path)| !is_managed(path)) {
        let expected = if *path == "/metrics" { 200 } else { 403 };
        let (status, document) = ask(house.at.system, method, path, &headers).await;
        assert_eq!(status, expected, "{method} {path}: {document}");
    }
    is_untouched(&house);

    // The token goes through a proxy as any header does.
    let (house, _stub) = house_with_one(TOKEN).await;
    let headers = format!("{headers}Authorization: Bearer s3cret\r\n");
    let (status, _) = ask(house.at.system, "GET", "/api/v1/origins", &headers).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_recording_is_started_by_nothing_that_a_page_can_send() {
    let (house, _stub) = house_with_one("").await;
    let tap = "/api/v1/sessions/1/tap";
    let (status, document) = ask(house.at.system, "GET", tap, "Host: {at}\r\n").await;
    assert_eq!(status, 403, "{document}");
    let words = document["error"].as_str().expect("words");
    assert!(words.contains("X-Sluicegate: 1"), "{words}");
    let program = "Host: {at}\r\nX-Sluicegate: 1\r\n";
    let (status, document) = ask(house.at.system, "GET", tap, program).await;
    assert_eq!(status, 404, "there is no such session: {document}");
    let (house, _stub) = house_with_one(TOKEN).await;
    let shown = "Host: {at}\r\nAuthorization: Bearer s3cret\r\n";
    assert_eq!(ask(house.at.system, "GET", tap, shown).await.0, 404);
}

#[tokio::test]
async fn the_api_over_all_origins_is_as_careful() {
    let near = "[api]\nallow_from = [\"127.0.0.0/8\"]\njsonp = true\n";
    let house = House::open(near).await;
    let origin = Origin::join(&house, "one", ApiManner::Honest(2)).await;
    let clients = "/api/v1/clients";
    let one = "/api/v1/clients/one-0000";
    let script = "/api/v1/clients/one-0000?callback=f&method=DELETE";
    for (headers, expected) in FOREIGN_PAGES
        .map(|headers| (headers, 403))
        .into_iter()
        .chain(FOREIGN_NAMES.map(|headers| (headers, 421)))
        .chain([("Host: {at}\r\nX-Forwarded-For: 127.0.0.1\r\n", 403)])
    {
        for (method, path) in [("GET", clients), ("DELETE", one), ("GET", script)] {
            let (status, document) = ask(house.at.api, method, path, headers).await;
            assert_eq!(status, expected, "{method} {path} {headers:?}: {document}");
        }
        let (status, document) = ask(house.at.api, "GET", "/api/v1/versions", headers).await;
        assert_eq!(status, 200, "it is open to everybody: {document}");
        assert!(
            document.get("data").is_none(),
            "as everybody hears it: {document}"
        );
    }
    let (status, _) = ask(house.at.api, "GET", script, "Host: {at}\r\n").await;
    assert_eq!(status, 403, "scripts of other sites name nobody");
    assert_eq!(
        origin.asked(),
        Vec::<String>::new(),
        "no origin heard of it"
    );
    assert_eq!(get(house.at.api, clients).await.0, 200);

    // Consoles are pages of another site; they show what they know.
    let house = House::open("[api]\nauth_token = \"t0ken\"\n").await;
    let _origin = Origin::join(&house, "one", ApiManner::Honest(2)).await;
    let page = "Host: proxy.example\r\nOrigin: https://console.example\r\n";
    assert_eq!(ask(house.at.api, "GET", clients, page).await.0, 403);
    let console = format!("{page}Authorization: Bearer t0ken\r\n");
    let (status, document) = ask(house.at.api, "GET", clients, &console).await;
    assert_eq!((status, &document["total"]), (200, &json!(2)));
}

fn is_managed(path: &str) -> bool {
    !matches!(
        path,
        "/api/v1/hooks/srs" | "/api/v1/srs/register" | "/metrics"
    )
}
