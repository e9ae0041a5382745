//! The tables of the system API, who may see them, and the metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::ConnectInfo;
use http_body_util::BodyExt;
use hyper::Request;
use serde_json::{Value, json};
use sluicegate::admin::{Access, System};
use sluicegate::logging::Lines;
use sluicegate::net::entrance::Ends;
use sluicegate::readiness::Readiness;
use sluicegate_core::fleet::origin::AddressRules;
use sluicegate_core::stream::Action;
use tower_service::Service;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;

use crate::house::{House, Manner, Stub, get, post, talk, until, video};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, WAYS, Way, say};

/// Asks a router of the house's proxy as a caller at `peer`, and returns the status and the body.
async fn ask_as(
    house: &House,
    access: Access,
    peer: &str,
    method: &str,
    path: &str,
) -> (u16, String) {
    let system = System::new(
        house.proxy.clone(),
        access,
        AddressRules::default(),
        Arc::new(Readiness::default()),
    );
    let body = r#"{"ip":"10.0.0.1","server":"s","service":"s","pid":"1","rtmp":["1935"]}"#;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::from(body))
        .expect("a request");
    request
        .extensions_mut()
        .insert(ConnectInfo(Ends::direct(peer.parse().expect("an address"))));
    let response = system
        .router()
        .call(request)
        .await
        .expect("a router never fails");
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

/// The status of a POST with a token by a caller at `peer`.
pub(crate) async fn call_as(
    system: &System,
    peer: &str,
    token: &str,
    path: &str,
    body: &str,
) -> u16 {
    let mut request = Request::builder()
        .method("POST")
        .uri(path)
        .header("Authorization", format!("Bearer {token}"))
        .body(Body::from(body.to_owned()))
        .expect("a request");
    let ends = Ends::direct(peer.parse().expect("an address"));
    request.extensions_mut().insert(ConnectInfo(ends));
    let response = system.router().call(request).await;
    response.expect("an answer").status().as_u16()
}

async fn document(house: &House, path: &str) -> Value {
    let (status, body) = get(house.at.system, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).expect("JSON")
}

async fn delete(house: &House, path: &str) -> (u16, String) {
    talk(
        house.at.system,
        &format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    )
    .await
}

#[tokio::test]
async fn without_a_token_only_this_machine_manages() {
    let house = House::open("").await;
    let guarded = [
        ("GET", "/api/v1/origins"),
        ("DELETE", "/api/v1/origins/one"),
        ("GET", "/api/v1/streams"),
        ("GET", "/api/v1/sessions"),
        ("GET", "/api/v1/sessions/1"),
        ("GET", "/api/v1/sessions/ended"),
        ("GET", "/api/v1/streams/live/a"),
        ("GET", "/api/v1/origins/one"),
        ("GET", "/api/v1/overview"),
        ("GET", "/api/v1/history"),
        ("GET", "/api/v1/attention"),
        ("GET", "/api/v1/events"),
        ("GET", "/api/v1/settings"),
        ("GET", "/api/v1/links?stream=live/a"),
        ("DELETE", "/api/v1/sessions/1"),
        ("POST", "/api/v1/origins/one/drain"),
        ("POST", "/api/v1/origins/one/disable"),
        ("POST", "/api/v1/origins/one/undrain"),
        ("POST", "/api/v1/origins/one/probe"),
        ("GET", "/api/v1/proxy"),
        ("POST", "/api/v1/proxy/drain"),
        ("POST", "/api/v1/proxy/undrain"),
    ];
    let open = [
        ("POST", REGISTER),
        ("GET", "/api/v1/versions"),
        ("GET", "/livez"),
        ("GET", "/metrics"),
    ];
    for peer in ["192.0.2.7:5", "[2001:db8::1]:5", "10.0.0.1:5", "0.0.0.0:5"] {
        for (method, path) in guarded {
            let (status, body) = ask_as(&house, Access::default(), peer, method, path).await;
            assert_eq!(status, 401, "{peer} {method} {path}: {body}");
            assert!(!body.contains("data"), "{body}");
        }
        for (method, path) in open {
            let (status, body) = ask_as(&house, Access::default(), peer, method, path).await;
            assert_eq!(status, 200, "{peer} {method} {path}: {body}");
        }
        assert_eq!(
            ask_as(&house, Access::default(), peer, "GET", "/readyz")
                .await
                .0,
            503,
            "open, and not serving"
        );
    }
    for peer in ["127.0.0.1:5", "127.9.9.9:5", "[::1]:5"] {
        for (method, path) in guarded {
            let (status, body) = ask_as(&house, Access::default(), peer, method, path).await;
            assert_ne!(status, 401, "{peer} {method} {path}: {body}");
        }
    }
}

#[tokio::test]
async fn networks_that_may_register_are_told_apart() {
    let house = House::open("").await;
    let access = || Access {
        token: None,
        register_from: vec![
            "10.0.0.0/8".parse().unwrap(),
            "2001:db8::/32".parse().unwrap(),
        ],
        ..Access::default()
    };
    for (peer, expected) in [
        ("10.1.2.3:5", 200),
        ("[2001:db8::9]:5", 200),
        ("11.0.0.1:5", 403),
        ("127.0.0.1:5", 403),
    ] {
        let (status, body) = ask_as(&house, access(), peer, "POST", REGISTER).await;
        assert_eq!(status, expected, "{peer}: {body}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_in_json() {
    let house = House::open("").await;
    let rows = [
        ("DELETE", "/api/v1/sessions/1", 404),
        ("DELETE", "/api/v1/sessions/abc", 404),
        ("GET", "/api/v1/sessions/18446744073709551616", 404),
        ("DELETE", "/api/v1/origins/nobody", 404),
        ("GET", "/", 404),
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/v1/sessions/1/more", 404),
        ("POST", "/api/v1/sessions", 405),
        ("GET", "/api/v1/srs/register", 405),
        ("DELETE", "/metrics", 405),
    ];
    for (method, path, expected) in rows {
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let (status, body) = talk(house.at.system, &request).await;
        assert_eq!(status, expected, "{method} {path}: {body}");
        let document: Value =
            serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path}: {body:?}"));
        assert_eq!(document["code"], expected, "{method} {path}");
        assert!(
            document["error"]
                .as_str()
                .is_some_and(|words| words.len() > 10),
            "{body}"
        );
    }
    for (path, expected) in [("/", 404), ("/api/v1/origins", 200), ("/metrics", 200)] {
        let request =
            format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(
            talk(house.at.system, &request).await,
            (expected, String::new()),
            "HEAD {path}"
        );
    }
}

#[tokio::test]
async fn the_tables_show_the_fleet_as_documented() {
    let house = House::open("").await;
    let rtmp = Stub::start(Manner::Grants).await;
    let http = HttpOrigin::start(vec![say(STREAM), Step::Hold]).await;
    let endpoints = format!(
        r#""device_id":"origin1","rtmp":["{}"],"http":["{}"]"#,
        rtmp.at.port(),
        http.at.port()
    );
    house.register_with("one", &endpoints);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    publisher.send(&video(0, &[0x17; 100])).await;
    let mut viewer = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    viewer.head().await;
    let _player = house.ask(Action::Play, "live/a").await;
    house.until_sessions(3).await;

    let origins = document(&house, "/api/v1/origins").await;
    assert_eq!(origins["data"]["total"], 1);
    let origin = &origins["data"]["origins"][0];
    has_the_keys_of("Origin", origin);
    for (key, expected) in [
        ("id", json!("one")),
        ("device_id", json!("origin1")),
        ("ip", json!("127.0.0.1")),
        ("state", json!("up")),
        ("alive", json!(true)),
        ("sessions", json!(3)),
        ("permanent", json!(false)),
    ] {
        assert_eq!(origin[key], expected, "{key}");
    }

    let streams = document(&house, "/api/v1/streams").await;
    let stream = &streams["data"]["streams"][0];
    has_the_keys_of("Stream", stream);
    let expected = json!({"stream": "__defaultVhost__/live/a", "origin": "one", "publishers": 1, "players": 2, "proxies": []});
    assert_eq!(streams["data"]["total"], 1);
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(&stream[key], value, "{key}");
    }

    let sessions = document(&house, "/api/v1/sessions").await;
    assert_eq!(sessions["data"]["total"], 3);
    let rows = sessions["data"]["sessions"].as_array().expect("a list");
    let mut seen = BTreeSet::new();
    for row in rows {
        has_the_keys_of("Session", row);
        seen.insert((
            row["protocol"].as_str().unwrap().to_owned(),
            row["action"].as_str().unwrap().to_owned(),
        ));
        let one = document(&house, &format!("/api/v1/sessions/{}", row["id"])).await;
        assert_eq!(one["data"]["id"], row["id"]);
        has_the_keys_of("Session", &one["data"]);
    }
    let expected = [("http_flv", "play"), ("rtmp", "play"), ("rtmp", "publish")];
    assert_eq!(
        seen,
        expected
            .map(|(protocol, action)| (protocol.to_owned(), action.to_owned()))
            .into()
    );
    let pulled = rows
        .iter()
        .find(|row| row["protocol"] == "http_flv")
        .expect("a pull");
    assert_eq!(
        (&pulled["stream"], &pulled["origin"]),
        (&json!("example.com/live/a"), &json!("one"))
    );
    assert_eq!(pulled["why"], "it is placed there");

    // Publishers leave, and players stay.
    drop(publisher);
    house.until_sessions(2).await;
    let streams = document(&house, "/api/v1/streams").await;
    assert_eq!(
        (
            &streams["data"]["streams"][0]["publishers"],
            &streams["data"]["streams"][0]["players"]
        ),
        (&json!(0), &json!(2))
    );
}

#[tokio::test]
async fn a_kick_and_a_deregistration_are_answered_once() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(
        &house,
        "a server/with, signs",
        vec![say(STREAM), Step::Hold],
    )
    .await;
    let mut viewer = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    viewer.head().await;
    let id = house.proxy.sessions().list()[0].id;
    assert_eq!(
        delete(
            &house,
            "/api/v1/origins/a%20server%2Fwith,%20signs?force=true"
        )
        .await,
        (200, r#"{"code":0}"#.to_owned())
    );
    assert_eq!(house.proxy.sessions().len(), 1, "its sessions go on");
    assert_eq!(
        delete(&house, &format!("/api/v1/sessions/{id}")).await,
        (200, r#"{"code":0}"#.to_owned())
    );
    origin.until_closed(1).await;
    house.until_sessions(0).await;
    assert_eq!(
        delete(&house, &format!("/api/v1/sessions/{id}")).await.0,
        404
    );
    until("the end of its drain", || {
        house.proxy.registry().origins().is_empty()
    })
    .await;
    assert_eq!(
        delete(&house, "/api/v1/origins/a%20server%2Fwith,%20signs")
            .await
            .0,
        404
    );
    until("its end is counted", || {
        house
            .proxy
            .metrics()
            .render()
            .contains("reason=\"kicked\"} 1")
    })
    .await;
}

/// The property names of a schema in `openapi.yaml`, read by indentation, and whether each is there in some rows only.
fn properties(schema: &str) -> BTreeMap<String, bool> {
    let document = include_str!("../../src/admin/openapi.yaml");
    let (_, schemas) = document.split_once("\n  schemas:\n").expect("schemas");
    let (_, rest) = schemas
        .split_once(&format!("    {schema}:\n"))
        .expect("the schema");
    rest.lines()
        .take_while(|line| line.starts_with("      "))
        .filter_map(|line| line.strip_prefix("        ")?.split_once(':'))
        .filter(|(name, _)| !name.starts_with(' '))
        .map(|(name, text)| (name.to_owned(), text.contains("description: 'There, ")))
        .collect()
}

fn has_the_keys_of(schema: &str, value: &Value) {
    let keys: BTreeSet<String> = value
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    let properties = properties(schema);
    let expected: BTreeSet<String> = properties
        .into_iter()
        .filter(|(name, is_rare)| !is_rare || keys.contains(name))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(keys, expected, "{schema}");
}

#[tokio::test]
async fn the_metrics_are_what_a_scraper_reads() {
    let house = House::open("").await;
    get(house.at.http, "/live/a.flv").await;
    let rtmp = Stub::start(Manner::Grants).await;
    let http = HttpOrigin::start(vec![say(STREAM), say("media"), Step::Hold]).await;
    house.register_with(
        "one",
        &format!(
            r#""rtmp":["{}"],"http":["{}"]"#,
            rtmp.at.port(),
            http.at.port()
        ),
    );
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    publisher.send(&video(0, &[0x17; 100])).await;
    let mut viewer = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    viewer.head().await;
    viewer.take(5).await;
    get(house.at.http, "/live/../x.flv").await;
    house.ask(Action::Play, "live/b").await;
    let render = || house.proxy.metrics().render();
    until("the accounts", || {
        render().contains("sluicegate_sessions_ended_total{")
            && render().contains("sluicegate_streams 2")
    })
    .await;

    let (status, text) = get(house.at.system, "/metrics").await;
    assert_eq!(status, 200);
    let mut types: BTreeMap<String, String> = BTreeMap::new();
    let mut labels: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut lines: Vec<&str> = text.split('\n').collect();
    assert_eq!(lines.pop(), Some(""), "the last line is ended");
    assert_eq!(lines.pop(), Some("# EOF"));
    for line in lines {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            let (kind, family, rest) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            assert!(
                matches!(kind, "HELP" | "TYPE" | "UNIT") && !rest.is_empty(),
                "{line}"
            );
            if kind == "TYPE" {
                assert!(
                    types.insert(family.to_owned(), rest.to_owned()).is_none(),
                    "{family} stands once"
                );
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        value.parse::<f64>().unwrap_or_else(|_| panic!("{line:?}"));
        assert!(seen.insert(series.to_owned()), "{series} stands once");
        let (name, inside) = match series.split_once('{') {
            Some((name, rest)) => (
                name,
                rest.strip_suffix('}').unwrap_or_else(|| panic!("{line:?}")),
            ),
            None => (series, ""),
        };
        let (family, kind) = ["_total", "_bucket", "_sum", "_count", "_info", ""]
            .iter()
            .find_map(|suffix| types.get_key_value(name.strip_suffix(suffix)?))
            .unwrap_or_else(|| panic!("{name} has no TYPE above it"));
        assert!(kind != "counter" || name.ends_with("_total"), "{name}");
        for label in inside.split(',').filter(|label| !label.is_empty()) {
            let (label, value) = label.split_once('=').unwrap_or_else(|| panic!("{line:?}"));
            assert!(
                value.starts_with('"') && value.ends_with('"') && value.len() > 2,
                "{line:?}"
            );
            labels
                .entry(family.clone())
                .or_default()
                .insert(label.to_owned());
        }
        labels.entry(family.clone()).or_default();
    }
    let metrics = house.proxy.metrics();
    for family in metrics.families() {
        let name = family.name.trim_end_matches("_total");
        let name = name.trim_end_matches("_info");
        let Some(kind) = types.get(name) else {
            continue;
        };
        assert_eq!(kind, family.kind, "{name}");
        let mut expected: BTreeSet<String> = family
            .labels
            .iter()
            .map(|label| (*label).to_owned())
            .collect();
        if family.kind == "histogram" {
            expected.insert("le".to_owned());
        }
        assert_eq!(labels.remove(name), Some(expected), "{name}");
    }
    assert!(labels.is_empty(), "in no reference: {labels:?}");
    for family in [
        "sluicegate_claims",
        "sluicegate_connections",
        "sluicegate_first_media_seconds",
        "sluicegate_origin_transitions",
        "sluicegate_origin_up",
        "sluicegate_placements",
        "sluicegate_process_cpu_seconds",
        "sluicegate_refused",
        "sluicegate_relayed_bytes",
        "sluicegate_sessions_ended",
        "sluicegate_setup_seconds",
    ] {
        assert!(types.contains_key(family), "{family} has a sample");
    }
}

/// What was logged while a story recorded it: as JSON, and as text. Connections log on threads of their own, so the
/// lines of stories that run at the same time are among them; the checks of a line apply to these too.
static BOOKS: Mutex<Option<[Vec<u8>; 2]>> = Mutex::new(None);

/// Writes into one of the books.
fn book(number: usize) -> impl Fn(&[u8]) {
    move |line| {
        if let Some(books) = BOOKS.lock().expect("a test").as_mut() {
            books[number].extend_from_slice(line);
        }
    }
}

#[tokio::test]
async fn nobody_writes_log_lines_of_their_own() {
    // For the whole process, because the level is global: other stories write into no book.
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::DEBUG)
        .with(Lines::new(true, book(0)))
        .with(Lines::new(false, book(1)));
    tracing::subscriber::set_global_default(subscriber).expect("no other story logs");
    *BOOKS.lock().expect("a test") = Some(Default::default());

    let house = House::open("[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n").await;
    let bad = "HTTP/1.1 2\x1b[31m0 OK\r\n\r\n";
    let _origin = HttpOrigin::join(&house, "one\u{202e} x=1", vec![say(bad)]).await;
    let targets = [
        "/live/a%0a2026-01-01T00:00:00Z%20ERROR%20FORGED.flv",
        "/live/%1b%5b31mred.flv",
        "/live/a%22,%22level%22:%22FORGED%22.flv",
        "/live/a%20FORGED=1%20reason=kicked.flv",
        "/live/%c2%85FORGED.flv",
        "/live%0d%0aFORGED/a.flv?vhost=a%0ab",
        "/live/a.flv?vhost=%1b%5b31m.example",
    ];
    for target in targets {
        for way in WAYS {
            let headers = "X-Forwarded-For: 1.1.1.1\tFORGED\r\nUser-Agent: \"FORGED\r\n";
            Viewer::pull_with(house.at.http, way, target, headers)
                .await
                .head()
                .await;
        }
    }
    let body = r#"{"ip":"10.0.0.1","server":"vid\nFORGED","service":"s","pid":"1","rtmp":["19\n\u001b[31mFORGED"]}"#;
    post(house.at.system, REGISTER, body).await;
    post(
        house.at.system,
        REGISTER,
        &body.replace("vid\\nFORGED", "vid"),
    )
    .await;
    delete(&house, "/api/v1/origins/x%0aFORGED").await;
    house.until_sessions(0).await;
    let books = BOOKS.lock().expect("a test").take().expect("the books");

    for (book, is_json) in books.into_iter().zip([true, false]) {
        let text = String::from_utf8(book).expect("text");
        let lines: Vec<&str> = text.split_terminator('\n').collect();
        let ended = lines
            .iter()
            .filter(|line| line.contains("session ended"))
            .count();
        assert!(ended >= 4, "the names that are allowed are logged: {text}");
        for line in lines {
            assert!(
                !line.contains(|letter: char| letter.is_control()),
                "{line:?}"
            );
            if is_json {
                let row: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line:?}"));
                assert!(
                    matches!(row["level"].as_str(), Some("DEBUG" | "INFO" | "WARN")),
                    "{line}"
                );
            } else {
                assert!(line.starts_with("20") && line.contains("Z "), "{line:?}");
            }
        }
    }
}

const REGISTER: &str = "/api/v1/srs/register";
