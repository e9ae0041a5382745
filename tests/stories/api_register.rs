//! Registration: what origins send, and who may send it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate::admin::{self, Access, System};
use sluicegate::net::accept::{OriginSide, Room};
use sluicegate::net::entrance::{Ends, Visitor};
use sluicegate::net::patience::Patience;
use sluicegate::readiness::Readiness;
use sluicegate_core::fleet::origin::AddressRules;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::srt::packet::Handshake;
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::call::{self, CallOrigin};
use crate::house::{House, Manner, Stub, get, nowhere, post, talk};

const PATH: &str = "/api/v1/srs/register";

fn usual() -> Value {
    json!({"ip": "10.0.0.1", "server": "vid-1", "service": "s", "pid": "1", "rtmp": ["1935"]})
}

/// A usual registration with one field changed or, for `null`, removed.
fn with(field: &str, value: Value) -> String {
    let mut document = usual();
    let map = document.as_object_mut().expect("an object");
    if value.is_null() {
        map.remove(field);
    } else {
        map.insert(field.to_owned(), value);
    }
    document.to_string()
}

async fn origins(house: &House) -> Vec<Value> {
    let (status, body) = get(house.at.system, "/api/v1/origins").await;
    assert_eq!(status, 200, "{body}");
    let document: Value = serde_json::from_str(&body).expect("JSON");
    document["data"]["origins"]
        .as_array()
        .expect("a list")
        .clone()
}

#[tokio::test]
async fn the_proxy_is_no_origin_of_its_own() {
    let house = House::open("[session]\nmax = 40\n").await;
    let own = house.at.rtmp;
    let mut document = usual();
    document["ip"] = json!("127.0.0.1");
    document["rtmp"] = json!([own.port().to_string()]);
    let (status, body) = post(house.at.system, PATH, &document.to_string()).await;
    assert_eq!(status, 400, "{body}");
    let words = format!("rtmp: {own} is this proxy itself");
    assert!(body.contains(&words), "{body}");
    for (service, own) in [("srt", house.at.srt), ("rtc", house.at.rtc)] {
        let mut document = usual();
        document["ip"] = json!("127.0.0.1");
        document[service] = json!([own.port().to_string()]);
        let (status, body) = post(house.at.system, PATH, &document.to_string()).await;
        assert_eq!(status, 400, "{body}");
        let words = format!("{service}: {own} is this proxy itself");
        assert!(body.contains(&words), "{body}");
    }
    assert_eq!(origins(&house).await.len(), 0);

    // One that came another way, as from a store, fails as any other that cannot be reached.
    house.register("myself", own);
    let guest = house.ask(Action::Publish, "live/a").await;
    assert!(!guest.has_started(), "{}", guest.words());
    house.until_sessions(0).await;
    let origins = origins(&house).await;
    let notes = origins[0]["notes"].to_string();
    assert!(notes.contains("this is the proxy itself"), "{notes}");
}

/// An origin whose API is its own, and whose media would go round in circles.
#[tokio::test]
async fn media_of_calls_is_not_sent_to_the_proxy_itself() {
    let house = House::open("").await;
    let calls = CallOrigin::start().await;
    let endpoints = format!(
        r#""api":["{}"],"rtc":["{}"]"#,
        calls.api().port(),
        house.at.rtc.port()
    );
    house.register_with("myself", &endpoints);
    let target = "/rtc/v1/whip/?app=live&stream=a";
    let (status, head, body) = call::ask(house.at.api, "POST", target, &call::sdp("clnt")).await;
    assert_eq!(status, 502, "{head}");
    let port = house.at.rtc.port().to_string();
    assert!(!body.contains(&port), "{body}");
    assert!(calls.requests().is_empty(), "nobody is asked for it");
    let notes = origins(&house).await[0]["notes"].to_string();
    assert!(notes.contains("this is the proxy itself"), "{notes}");
}

#[tokio::test]
async fn a_registration_is_answered_as_origins_expect() {
    let house = House::open("").await;
    let body = usual().to_string();
    let pid = std::process::id();
    for method in ["POST", "PUT"] {
        let length = body.len();
        let head = format!(
            "{method} {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        let mut viewer =
            crate::http_origin::Viewer::send(house.at.system, format!("{head}{body}")).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{method}: {head}");
        let expected = format!("Sluicegate/{}", env!("CARGO_PKG_VERSION"));
        assert_eq!(crate::http_origin::header(&head, "server"), [expected]);
        assert_eq!(
            crate::http_origin::header(&head, "content-type"),
            ["application/json"]
        );
        assert_eq!(
            viewer.rest().await,
            format!(r#"{{"code":0,"pid":"{pid}"}}"#).as_bytes()
        );
    }
    assert_eq!(origins(&house).await.len(), 1);
}

#[tokio::test]
async fn a_registration_that_is_wrong_names_the_field_and_stores_nothing() {
    let house = House::open("").await;
    let rows = [
        ("nothing", String::new(), "ip"),
        ("no JSON", "ip=10.0.0.1".to_owned(), "body"),
        ("half a document", r#"{"ip":"10.0.0.1""#.to_owned(), "body"),
        ("a list", format!("[{}]", usual()), "body"),
        ("not text", "\u{feff}{}".to_owned(), "body"),
        ("no ip", with("ip", Value::Null), "ip"),
        ("an empty ip", with("ip", json!("")), "ip"),
        (
            "an ip with a port",
            with("ip", json!("10.0.0.1:1935")),
            "ip",
        ),
        (
            "an ip that is a URL",
            with("ip", json!("http://10.0.0.1")),
            "ip",
        ),
        ("an ip that is a number", with("ip", json!(1)), "ip"),
        ("no server", with("server", Value::Null), "server"),
        (
            "a line in server",
            with("server", json!("vid-1\nlevel=ERROR")),
            "server",
        ),
        (
            "a long server",
            with("server", json!("v".repeat(5000))),
            "server",
        ),
        ("no service", with("service", Value::Null), "service"),
        ("no pid", with("pid", Value::Null), "pid"),
        ("a list as pid", with("pid", json!(["1"])), "pid"),
        ("no endpoint", with("rtmp", Value::Null), "rtmp"),
        ("an empty list", with("rtmp", json!([])), "rtmp"),
        ("a text for a list", with("rtmp", json!("1935")), "rtmp"),
        ("port 0", with("rtmp", json!(["0"])), "rtmp"),
        ("a port that wraps", with("rtmp", json!(["67471"])), "rtmp"),
        (
            "a port with letters",
            with("rtmp", json!(["1935x"])),
            "rtmp",
        ),
        (
            "IPv6 without brackets",
            with("rtmp", json!(["::1:1935"])),
            "rtmp",
        ),
        ("RTMP over UDP", with("rtmp", json!(["udp://1935"])), "rtmp"),
        (
            "another scheme",
            with("http", json!(["ftp://8080"])),
            "http",
        ),
        (
            "a wrong second endpoint",
            with("http", json!(["8080", "x"])),
            "http",
        ),
        ("a wrong api", with("api", json!(["x"])), "api"),
        ("a wrong srt", with("srt", json!(["tcp://10080"])), "srt"),
        ("a wrong rtc", with("rtc", json!(["sctp://8000"])), "rtc"),
        ("a wrong rtsp", with("rtsp", json!([{}])), "rtsp"),
        (
            "a line in device_id",
            with("device_id", json!("a\r\nb")),
            "device_id",
        ),
        (
            "several wrong: the first counts",
            json!({"ip": "10.0.0.1", "rtmp": ["x"]}).to_string(),
            "server",
        ),
    ];
    for (name, body, field) in rows {
        let (status, answer) = post(house.at.system, PATH, &body).await;
        assert_eq!(status, 400, "{name}: {answer}");
        let document: Value =
            serde_json::from_str(&answer).unwrap_or_else(|_| panic!("{name}: {answer}"));
        assert_eq!(document["code"], 400, "{name}");
        assert_eq!(document["field"], field, "{name}: {answer}");
        let words = document["error"].as_str().expect("words");
        assert!(
            words.starts_with(&format!("{field}: ")) && words.len() > field.len() + 5,
            "{name}: {words}"
        );
    }
    assert!(origins(&house).await.is_empty());
}

#[tokio::test]
async fn what_newer_origins_add_is_tolerated() {
    let house = House::open("").await;
    let body = json!({
        "ip": "10.0.0.1", "server": "vid-1", "service": 7, "pid": 4711, "device_id": 12, "rtmp": ["1935", 19350],
        "rtsp": ["8554"], "summaries": {"ok": true, "data": [1, 2, {"deep": null}]}, "webtransport": ["x"], "http": null,
    });
    let (status, answer) = post(house.at.system, PATH, &body.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    let origin = &origins(&house).await[0];
    assert_eq!(
        (&origin["pid"], &origin["service"]),
        (&json!("4711"), &json!("7"))
    );
    assert_eq!(origin["rtsp"], json!(["tcp://:8554"]));
    assert_eq!(origin["rtmp"], json!(["tcp://:1935", "tcp://:19350"]));
}

#[tokio::test]
async fn every_way_to_write_an_endpoint_is_understood() {
    let house = House::open("").await;
    let rows = [
        ("rtmp", json!(["1935"]), json!(["tcp://:1935"])),
        ("rtmp", json!([":1935"]), json!(["tcp://:1935"])),
        ("rtmp", json!(["0.0.0.0:1935"]), json!(["tcp://:1935"])),
        ("rtmp", json!(["[::]:1935"]), json!(["tcp://:1935"])),
        (
            "rtmp",
            json!(["192.168.1.10:1935"]),
            json!(["tcp://192.168.1.10:1935"]),
        ),
        (
            "rtmp",
            json!(["[2001:db8::1]:1935"]),
            json!(["tcp://[2001:db8::1]:1935"]),
        ),
        (
            "rtmp",
            json!(["origin1.example:1935"]),
            json!(["tcp://origin1.example:1935"]),
        ),
        ("rtmp", json!(["tcp://1935"]), json!(["tcp://:1935"])),
        ("rtmp", json!(["tcp://:1935"]), json!(["tcp://:1935"])),
        ("rtmp", json!(["tcp:0.0.0.0:1935"]), json!(["tcp://:1935"])),
        (
            "http",
            json!(["[::]:8080", "8081"]),
            json!(["tcp://:8081", "tcp://:8080"]),
        ),
        ("api", json!(["1985"]), json!(["tcp://:1985"])),
        ("srt", json!(["10080"]), json!(["udp://:10080"])),
        (
            "srt",
            json!(["udp://0.0.0.0:10080"]),
            json!(["udp://:10080"]),
        ),
        (
            "rtc",
            json!(["udp://8000", "udp://[::]:8000", "tcp://8000"]),
            json!(["udp://:8000", "tcp://:8000", "udp://:8000"]),
        ),
        (
            "rtc",
            json!(["udp:10.0.0.2:8000"]),
            json!(["udp://10.0.0.2:8000"]),
        ),
        ("rtsp", json!(["8554"]), json!(["tcp://:8554"])),
    ];
    for (service, list, expected) in rows {
        let (status, answer) = post(house.at.system, PATH, &with(service, list.clone())).await;
        assert_eq!(status, 200, "{list}: {answer}");
        let stood = origins(&house).await;
        assert_eq!(
            stood.last().expect("it stands")[service],
            expected,
            "{service} {list}"
        );
        for origin in stood {
            let id = origin["id"].as_str().expect("an id");
            assert!(house.proxy.registry().deregister(&id.into()));
        }
    }
}

#[tokio::test]
async fn addresses_that_must_never_be_dialled_are_refused_unless_allowed() {
    let closed = House::open("").await;
    let open = House::open("[system]\nallow_special_addresses = true\n").await;
    let refused = [
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "169.254.1.1",
        "fe80::1",
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "::ffff:169.254.169.254",
        "::ffff:224.0.0.1",
        "metadata.google.internal",
    ];
    for address in refused {
        let (status, answer) = post(closed.at.system, PATH, &with("ip", json!(address))).await;
        assert_eq!(status, 400, "{address}: {answer}");
        assert!(answer.contains(r#""field":"ip""#), "{answer}");
        assert_eq!(
            post(open.at.system, PATH, &with("ip", json!(address)))
                .await
                .0,
            200,
            "{address}"
        );
    }
    let endpoint = with("http", json!(["169.254.169.254:80"]));
    let (status, answer) = post(closed.at.system, PATH, &endpoint).await;
    assert!(
        status == 400 && answer.contains(r#""field":"http""#),
        "{answer}"
    );
    assert!(origins(&closed).await.is_empty());
    for address in [
        "127.0.0.1",
        "::1",
        "192.168.0.1",
        "fd12::1",
        "origin1.example",
        "origin1",
    ] {
        assert_eq!(
            post(closed.at.system, PATH, &with("ip", json!(address)))
                .await
                .0,
            200,
            "{address}"
        );
    }
}

#[tokio::test]
async fn a_body_is_taken_up_to_its_limit() {
    let house = House::open("").await;
    let fitting = with("summaries", json!("x".repeat(60_000)));
    assert_eq!(post(house.at.system, PATH, &fitting).await.0, 200);
    let (status, answer) = post(
        house.at.system,
        PATH,
        &with("server", json!("x".repeat(70_000))),
    )
    .await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains(r#""code":413"#), "{answer}");
    let endless = format!(
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        format!("1000\r\n{}\r\n", "x".repeat(0x1000)).repeat(17)
    );
    assert_eq!(
        talk(house.at.system, &endless).await.0,
        413,
        "chunks are counted as they come"
    );
    assert_eq!(origins(&house).await.len(), 1);
}

#[tokio::test]
async fn the_token_opens_registration_and_management() {
    let settings =
        "[system]\nauth_enabled = true\nauth_type = \"bearer\"\nauth_token = \"s3cret\"\n";
    let house = House::open(settings).await;
    let body = usual().to_string();
    let register = |authorization: &str| {
        let length = body.len();
        format!(
            "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let list = |authorization: &str| {
        format!(
            "GET /api/v1/origins HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{authorization}\r\n"
        )
    };
    for wrong in [
        "",
        "Authorization: Bearer s3cre\r\n",
        "Authorization: Bearer s3cret2\r\n",
        "Authorization: s3cret\r\n",
        "Authorization: Basic s3cret\r\n",
        "Authorization: Bearer\r\n",
        "Authorization: Bearer \r\n",
    ] {
        for request in [register(wrong), list(wrong)] {
            let mut viewer = crate::http_origin::Viewer::send(house.at.system, request).await;
            let head = viewer.head().await;
            assert!(head.starts_with("HTTP/1.1 401 "), "{wrong:?}: {head}");
            assert_eq!(
                crate::http_origin::header(&head, "www-authenticate"),
                ["Bearer"]
            );
            let words = String::from_utf8(viewer.rest().await).expect("text");
            assert!(
                words.contains(r#""code":401"#) && !words.contains("s3cret"),
                "{words}"
            );
        }
    }
    assert!(house.proxy.registry().origins().is_empty());
    for right in [
        "Authorization: Bearer s3cret\r\n",
        "authorization: bearer s3cret\r\n",
        "Authorization: BEARER  s3cret\r\n",
    ] {
        assert_eq!(
            talk(house.at.system, &register(right)).await.0,
            200,
            "{right:?}"
        );
        assert_eq!(
            talk(house.at.system, &list(right)).await.0,
            200,
            "{right:?}"
        );
    }
    for open in ["/api/v1/versions", "/livez", "/readyz", "/metrics"] {
        assert_eq!(get(house.at.system, open).await.0, 200, "{open} stays open");
    }
}

#[tokio::test]
async fn a_registration_from_another_network_is_refused() {
    let house = House::open("[system]\nregister_from = [\"10.0.0.0/8\"]\n").await;
    let (status, answer) = post(house.at.system, PATH, &usual().to_string()).await;
    assert_eq!(status, 403, "{answer}");
    assert!(
        answer.contains(r#""code":403"#) && answer.contains("register_from"),
        "{answer}"
    );
    let house = House::open("[system]\nregister_from = [\"10.0.0.0/8\", \"127.0.0.1\"]\n").await;
    assert_eq!(
        post(house.at.system, PATH, &usual().to_string()).await.0,
        200
    );
}

#[tokio::test]
async fn a_full_table_is_told() {
    let house = House::open("[origins]\nmax = 1\n").await;
    assert_eq!(
        post(house.at.system, PATH, &usual().to_string()).await.0,
        200
    );
    let (status, answer) = post(house.at.system, PATH, &with("server", json!("vid-2"))).await;
    assert_eq!(status, 503, "{answer}");
    assert!(answer.contains(r#""code":503"#), "{answer}");
}

#[tokio::test]
async fn a_body_that_drips_is_not_waited_for() {
    let house = House::open("").await;
    let readiness = Arc::new(Readiness::default());
    let system = System::new(
        house.proxy.clone(),
        Access::default(),
        AddressRules::default(),
        readiness,
    );
    let (mut origin, ours) = tokio::io::duplex(4096);
    let visitor = Visitor {
        origin_side: OriginSide::default(),
        wire: ours,
        early: Vec::new(),
        ends: Ends::direct("10.0.0.1:5".parse().expect("an address")),
    };
    tokio::time::pause();
    tokio::spawn(admin::connection(
        visitor,
        system.router(),
        BasePath::default(),
        Patience {
            head: Duration::from_secs(5),
            idle: Duration::from_secs(5),
            room: Room::new(2, "nothing"),
        },
        CancellationToken::new(),
    ));
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n");
    origin.write_all(head.as_bytes()).await.expect("it reads");
    let drip = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = origin.write_all(b" ").await;
            let mut answer = [0; 12];
            if timeout(Duration::from_millis(1), origin.read_exact(&mut answer))
                .await
                .is_ok()
            {
                return answer;
            }
        }
    };
    let answer = timeout(Duration::from_secs(20), drip)
        .await
        .expect("an answer before the body is whole");
    assert_eq!(&answer, b"HTTP/1.1 408");
}

/// A container that starts again: the same id, another address, and nobody where it was.
#[tokio::test]
async fn an_origin_that_moved_is_the_same_origin_at_once() {
    let house = House::open("").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let origin = Stub::on(listener, Manner::Grants, 0, Vec::new());
    report(&house, "127.0.0.9", "1", port).await;
    report(&house, "127.0.0.1", "2", port).await;
    let listed = origins(&house).await;
    assert_eq!(
        listed.len(),
        1,
        "nobody answers at the first address: {listed:?}"
    );
    assert_eq!(listed[0]["id"], "vid-1");
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    // Two that answer are two.
    report(&house, "127.0.0.8", "3", nowhere().port()).await;
    let listed = origins(&house).await;
    assert_eq!(listed.len(), 2, "{listed:?}");
    assert!(origin.connections() > 0);
}

/// The same of one that has SRT alone: it is asked by the first packet of a call.
#[tokio::test]
async fn an_origin_with_srt_alone_that_moved_is_the_same_origin_at_once() {
    let house = House::open("").await;
    let report = async |ip: &str, pid: &str, port: u16| {
        let body = format!(
            r#"{{"ip":"{ip}","server":"vid-1","service":"s","pid":"{pid}","srt":["udp://:{port}"]}}"#
        );
        let (status, answer) = post(house.at.system, PATH, &body).await;
        assert_eq!(status, 200, "{answer}");
        origins(&house).await
    };
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = socket.local_addr().expect("bound").port();
    let answering = async {
        let mut call = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut call).await.expect("a packet");
            let asked = Handshake::parse(&call[..length]).expect("the first of a call");
            let answer = Handshake {
                version: 5,
                cookie: 7,
                ..asked
            };
            let sent = socket.send_to(&answer.write(), from).await;
            sent.expect("it goes out");
        }
    };
    let reporting = async {
        report("127.0.0.9", "1", nowhere().port()).await;
        let listed = report("127.0.0.1", "2", port).await;
        assert_eq!(listed.len(), 1, "nobody answers at the first: {listed:?}");
        assert_eq!(listed[0]["id"], "vid-1");
        // Two that answer are two.
        let listed = report("127.0.0.8", "3", nowhere().port()).await;
        assert_eq!(listed.len(), 2, "{listed:?}");
    };
    tokio::select! {
        () = answering => unreachable!("it answers for ever"),
        () = reporting => {}
    }
}

/// What an origin with one id reports from an address.
async fn report(house: &House, ip: &str, pid: &str, rtmp: u16) {
    let body = format!(
        r#"{{"ip":"{ip}","server":"vid-1","service":"s","pid":"{pid}","rtmp":["{rtmp}"]}}"#
    );
    let (status, answer) = post(house.at.system, PATH, &body).await;
    assert_eq!(status, 200, "{answer}");
}
