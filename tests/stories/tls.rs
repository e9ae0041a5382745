//! TLS at every listener of clients: beside plain, in place of it, and at ports of its own.

use std::process::Command;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha1::Sha1;
use sluicegate::metrics::HandshakeLabels;
use sluicegate_core::events::Kind;
use sluicegate_core::rtmp::message::Message;
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use crate::call::{CallOrigin, sdp};
use crate::house::{
    Guest, House, Manner, PATIENCE, Stub, get, nowhere, post, talk, until, until_told, video,
};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, Way, header, say};
use crate::rtsp_house::{self, Caller, grants};
use crate::sources::open;
use crate::tls_client::Authority;

fn handshakes(house: &House, listener: &'static str, outcome: &'static str) -> u64 {
    let labels = HandshakeLabels { listener, outcome };
    house
        .proxy
        .metrics()
        .tls_handshakes
        .get_or_create(&labels)
        .get()
}

#[tokio::test]
async fn rtmps_reaches_an_origin_that_hears_of_rtmp() {
    let authority = Authority::new();
    let house = House::open(&authority.settings()).await;
    let media: Vec<Message> = (0..50).map(|at| video(at, &[7; 3000])).collect();
    let origin = Stub::with(Manner::Grants, 0, media).await;
    house.register("one", origin.at);
    let bridge = authority.trusted().bridge(house.at.rtmp).await;
    let url = "rtmps://media.example:443/live?vhost=v";
    let mut publisher = Guest::call_url(bridge.at, Action::Publish, url, "a?k=v").await;
    assert!(publisher.read_until(Guest::has_started).await);
    assert_eq!(
        origin.request().tc_url,
        "rtmp://media.example:443/live?vhost=v"
    );
    publisher.send(&video(1, &[5; 100_000])).await;
    let came = || origin.seen.lock().expect("a test").media.len() == 1;
    until("what was published", came).await;

    let mut player = Guest::call_url(bridge.at, Action::Play, url, "a").await;
    assert!(player.read_until(|player| player.media.len() == 50).await);
    assert!(
        player
            .media
            .iter()
            .all(|message| message.payload == [7; 3000])
    );
    assert!(handshakes(&house, "rtmp", "full") >= 1);

    let plain = Guest::ask(house.at.rtmp, Action::Play, "live/a", vec![]).await;
    assert!(plain.has_started(), "plain is served beside it");
}

#[tokio::test]
async fn a_listener_for_tls_alone_is_linked_and_explained_as_any() {
    let authority = Authority::new();
    let alone = ["rtmp", "http", "api"]
        .map(|name| format!("[{name}]\nlisten = \"\"\ntls_listen = \"127.0.0.1:0\"\n"));
    let settings = format!(
        "{}[rtsp]\nlisten = \"127.0.0.1:0\"\nrequire_tls = true\n{}",
        alone.concat(),
        authority.settings()
    );
    let house = House::open(&settings).await;
    house.register("one", nowhere());
    let document = async |path: &str| {
        let (status, body) = get(house.at.system, path).await;
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str::<Value>(&body).expect("JSON")["data"].take()
    };
    let settings = document("/api/v1/settings").await;
    let listeners = settings["listeners"].as_array().expect("listeners");
    let port = |name: &str| {
        let listener = listeners.iter().find(|one| one["name"] == name);
        let address =
            listener.unwrap_or_else(|| panic!("{name} in {settings}"))["address"].as_str();
        address
            .expect("an address")
            .rsplit(':')
            .next()
            .expect("a port")
            .to_owned()
    };
    let links = document("/api/v1/links?stream=live/a").await;
    let links = links["links"].as_array().expect("links");
    for (action, protocol, base) in [
        (
            "publish",
            "RTMP",
            format!("rtmps://127.0.0.1:{}/", port("rtmp_tls")),
        ),
        (
            "play",
            "RTMP",
            format!("rtmps://127.0.0.1:{}/", port("rtmp_tls")),
        ),
        (
            "publish",
            "RTSP",
            format!("rtsps://127.0.0.1:{}/", port("rtsp")),
        ),
        (
            "publish",
            "WHIP",
            format!("https://127.0.0.1:{}/", port("api_tls")),
        ),
        (
            "play",
            "WHEP",
            format!("https://127.0.0.1:{}/", port("api_tls")),
        ),
        (
            "play",
            "HLS",
            format!("https://127.0.0.1:{}/", port("http_tls")),
        ),
    ] {
        let link = links
            .iter()
            .find(|one| one["action"] == action && one["protocol"] == protocol);
        let url = link
            .and_then(|link| link["url"].as_str())
            .unwrap_or_default();
        assert!(
            url.starts_with(&base),
            "{action} by {protocol}: {url:?}, not {base}"
        );
    }
    let explained = document("/api/v1/explain?stream=live/a&protocol=all").await;
    let explained = explained["protocols"].as_array().expect("protocols").iter();
    let explained: Vec<&str> = explained
        .filter_map(|one| one["protocol"].as_str())
        .collect();
    for protocol in ["rtmp", "rtsp", "http_flv", "webrtc"] {
        assert!(explained.contains(&protocol), "{protocol} in {explained:?}");
    }
}

#[tokio::test]
async fn https_is_served_on_every_port_of_http() {
    let authority = Authority::new();
    let settings = format!("[http]\nhealth = true\n{}", authority.settings());
    let house = House::open(&settings).await;
    let body = vec![9; 300_000];
    let script = vec![say(STREAM), Step::Say(body.clone())];
    let origin = HttpOrigin::join(&house, "one", script).await;
    let trust = authority.trusted();
    let bridge = trust.bridge(house.at.http).await;
    for way in [Way::First, Way::Second] {
        let mut viewer = Viewer::pull(bridge.at, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(viewer.take_body(&head, body.len()).await, body);
    }
    let visit = origin.visit(0).await;
    assert_eq!(visit.all("x-forwarded-proto"), ["https"]);
    for (at, path) in [
        (house.at.http, "/livez"),
        (house.at.api, "/api/v1/versions"),
        (house.at.system, "/readyz"),
    ] {
        let bridge = trust.bridge(at).await;
        let (status, answer) = get(bridge.at, path).await;
        assert_eq!(status, 200, "{path}: {answer}");
        assert_eq!(get(at, path).await.0, 200, "{path}, plain");
    }
    let (_, document) = get(house.at.system, "/readyz").await;
    assert!(
        document.contains(r#""certificates":[{"name":"localhost","not_after":"4096-"#),
        "{document}"
    );
}

#[tokio::test]
async fn rtsps_is_told_its_own_urls_and_asks_with_plain_ones() {
    let authority = Authority::new();
    let house = House::open(&authority.settings()).await;
    let frames = rtsp_house::frame(0, &[1; 900]);
    let origin = rtsp_house::Stub::start(|at| grants(at, frames.clone())).await;
    let port = origin.at.port();
    house.register_with("one", &format!(r#""rtsp":["{port}"]"#));
    let bridge = authority.trusted().bridge(house.at.rtsp).await;
    let mut caller = Caller::connect(bridge.at).await;
    let url = "rtsps://media.example/live/a";
    let described = caller.ask(&format!("DESCRIBE {url}"), 1, "").await;
    assert_eq!(
        described.field("content-base"),
        Some("rtsps://media.example/live/a/")
    );
    let track = "a=control:rtsps://media.example/live/a/trackID=0";
    let sdp = String::from_utf8_lossy(described.body()).into_owned();
    assert!(sdp.contains(track), "{sdp}");
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    caller
        .ask(&format!("SETUP {url}/trackID=0"), 2, transport)
        .await;
    caller
        .ask(&format!("PLAY {url}/"), 3, "Session: 7\r\n")
        .await;
    assert!(caller.hear_frames(frames.len()).await);
    let asked = origin.requests();
    assert!(
        asked.iter().all(|request| !request.contains("rtsps:")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn where_tls_is_required_others_are_told_or_closed() {
    let authority = Authority::new();
    let sections = ["rtmp", "http", "api", "system", "rtsp"];
    let required: Vec<String> = sections
        .iter()
        .map(|section| format!("[{section}]\nrequire_tls = true\n"))
        .collect();
    let house = House::open(&format!("{}{}", required.join("\n"), authority.settings())).await;
    for at in [house.at.http, house.at.api, house.at.system] {
        let request = "GET /livez?x=1 HTTP/1.1\r\nHost: media.example:8080\r\n\r\n";
        let mut viewer = Viewer::send(at, request).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 301 "), "{head}");
        assert!(
            head.contains("Location: https://media.example:8080/livez?x=1"),
            "{head}"
        );
        let request = "POST /rtc/v1/whip/ HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
        let mut page = Viewer::send(at, request).await;
        let head = page.head().await;
        assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
        let (status, words) = talk(at, request).await;
        assert_eq!(
            (status, words.as_str()),
            (403, "only HTTPS is served here\n")
        );
    }
    let mut guest = Guest::call(house.at.rtmp, &[], Action::Play, "live/a", vec![]).await;
    guest.read_to_end().await;
    assert!(guest.connected.is_none(), "a close, and no word");
    let mut caller = Caller::connect(house.at.rtsp).await;
    let refused = caller.ask("OPTIONS rtsp://h/live/a", 5, "").await;
    assert_eq!(refused.status(), Some(403));
    caller.hear_end().await;

    let bridge = authority.trusted().bridge(house.at.system).await;
    assert_eq!(get(bridge.at, "/livez").await.0, 200);
    assert!(handshakes(&house, "rtmp", "plain") >= 1);
}

/// A balancer that ends TLS sends requests of many clients over one connection, and says of each how it came.
#[tokio::test]
async fn a_trusted_proxys_word_for_tls_counts_where_that_is_required() {
    let authority = Authority::new();
    let house = House::open(&format!(
        "[http]\nrequire_tls = true\nhealth = true\ntrusted_proxies = [\"127.0.0.1\"]\n\
         [api]\nrequire_tls = true\n[system]\nrequire_tls = true\n{}",
        authority.settings()
    ))
    .await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), say("media"), Step::Hold]).await;
    let request = |method: &str, target: &str, told: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: media.example\r\n{told}\r\n\r\n")
    };
    let [with, without] = ["https", "http"].map(|scheme| format!("X-Forwarded-Proto: {scheme}"));
    for (at, target) in [
        (house.at.http, "/livez"),
        (house.at.api, "/api/v1/versions"),
        (house.at.system, "/livez"),
    ] {
        let mut proxy = Viewer::send(at, request("HEAD", target, &with)).await;
        let head = proxy.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{target}: {head}");
        for told in [&without, "Via: 1.1 proxy"] {
            proxy.more(request("HEAD", target, told)).await;
            let head = proxy.head().await;
            assert!(head.starts_with("HTTP/1.1 301 "), "{target}: {head}");
            let place = header(&head, "location");
            assert_eq!(place, [format!("https://media.example{target}")]);
        }
        proxy.more(request("DELETE", target, &without)).await;
        let head = proxy.head().await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{target}: {head}");
        assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
    }
    for target in ["/live/a.flv", "/live/a.m3u8"] {
        let mut proxy = Viewer::send(house.at.http, request("GET", target, &without)).await;
        let head = proxy.head().await;
        assert!(head.starts_with("HTTP/1.1 301 "), "{target}: {head}");
    }
    assert_eq!(origin.visits().len(), 0, "nothing is asked for");
    let told = "Forwarded: for=192.0.2.1;proto=https";
    let mut proxy = Viewer::send(house.at.http, request("GET", "/live/a.flv", told)).await;
    let head = proxy.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(proxy.take(5).await, b"media");

    // It says nothing of a certificate.
    let certified = format!(
        "[http]\nrequire_tls = true\nclient_ca = \"{}\"\ntrusted_proxies = [\"127.0.0.1\"]\n{}",
        authority.own().display(),
        authority.settings()
    );
    let house = House::open(&certified).await;
    let mut proxy = Viewer::send(house.at.http, request("GET", "/live/a.flv", told)).await;
    let head = proxy.head().await;
    assert!(head.starts_with("HTTP/1.1 301 "), "{head}");
}

#[tokio::test]
async fn a_port_of_its_own_serves_tls_alone() {
    let authority = Authority::new();
    let [rtmps, https] = [nowhere(), nowhere()];
    let settings = format!(
        "[rtmp]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"{rtmps}\"\n[http]\nlisten = \"127.0.0.1:0\"\ntls_listen = \"{https}\"\nhealth = true\n{}",
        authority.settings()
    );
    let house = House::open(&settings).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let trust = authority.trusted();
    let bridge = trust.bridge(rtmps).await;
    let guest = Guest::ask(bridge.at, Action::Publish, "live/a", vec![]).await;
    assert!(guest.has_started());
    let mut plain = Guest::call(rtmps, &[], Action::Play, "live/a", vec![]).await;
    plain.read_to_end().await;
    assert!(plain.connected.is_none());

    let request = "GET /livez HTTP/1.1\r\nHost: media.example\r\n\r\n";
    let mut viewer = Viewer::send(https, request).await;
    let head = viewer.head().await;
    let place = format!("Location: https://media.example:{}/livez", https.port());
    assert!(head.contains(&place), "{head}");
    assert_eq!(get(trust.bridge(https).await.at, "/livez").await.0, 200);
    assert_eq!(
        get(house.at.http, "/livez").await.0,
        200,
        "plain stays where it was"
    );
}

#[tokio::test]
async fn a_certificate_is_replaced_under_sessions_that_go_on() {
    let authority = Authority::new();
    let settings = authority.settings();
    let house = House::open(&settings).await;
    let origin = Stub::start(Manner::Streams(500)).await;
    house.register("one", origin.at);
    let trust = authority.trusted();
    let shown = async |house: &House| {
        let stream = trust.connect(house.at.rtmp).await.expect("a handshake");
        let (_, session) = stream.get_ref();
        session.peer_certificates().expect("a certificate")[0].to_vec()
    };
    let old = shown(&house).await;
    let told = || {
        let mut told = Vec::new();
        let journal = &house.proxy.metrics().journal;
        journal.look(Kind::Certificate, |event| {
            told.push(event.news.what.clone());
        });
        told
    };
    let first = told();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(
        first[0].contains("localhost is used, and holds until "),
        "{first:?}"
    );
    let bridge = trust.bridge(house.at.rtmp).await;
    let mut players = Vec::new();
    for _ in 0..100 {
        let player = Guest::ask(bridge.at, Action::Play, "live/a", vec![]).await;
        assert!(player.has_started());
        players.push(player);
    }
    authority.sign("server", "localhost");
    let mut new = shown(&house).await;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while new == old {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the files are looked at"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        new = shown(&house).await;
    }
    // Its names and its last second are those of the one before.
    until("people hear of the new one", || told().len() == 2).await;
    for player in &mut players {
        let had = player.media.len();
        assert!(
            player
                .read_until(|player| player.media.len() > had + 20)
                .await
        );
    }
    assert_eq!(house.proxy.sessions().len(), 100);
}

#[tokio::test]
async fn handshakes_of_one_source_are_few_and_have_a_deadline() {
    let authority = Authority::new();
    let settings = format!(
        "[rtmp]\nhandshake_timeout = \"1s\"\n{}handshakes_per_source = 2\n",
        authority.settings()
    );
    let house = House::open(&settings).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut socket = TcpStream::connect(house.at.rtmp).await.expect("it listens");
        // A handshake record, and the beginning of a hello in it.
        socket
            .write_all(&[0x16, 3, 1, 2, 0, 1, 0, 1])
            .await
            .expect("it reads");
        slow.push(socket);
    }
    let mut crowded = TcpStream::connect(house.at.rtmp).await.expect("it listens");
    crowded
        .write_all(&[0x16, 3, 1, 2, 0])
        .await
        .expect("it reads");
    let closed = async |socket: &mut TcpStream| {
        let read = timeout(PATIENCE, socket.read(&mut [0; 64])).await;
        !matches!(read.expect("an end in time"), Ok(1..))
    };
    assert!(closed(&mut crowded).await);
    until("the refusal", || handshakes(&house, "rtmp", "crowded") == 1).await;
    for socket in &mut slow {
        assert!(closed(socket).await);
    }
    until("the deadlines", || handshakes(&house, "rtmp", "slow") == 2).await;
    let trust = authority.trusted();
    assert!(
        trust.connect(house.at.rtmp).await.is_ok(),
        "there is room again"
    );
}

#[tokio::test]
async fn handshakes_wait_while_as_many_are_under_way_as_may_be() {
    let authority = Authority::new();
    let settings = format!("{}handshakes = 1\n", authority.settings());
    let house = House::open(&settings).await;
    let mut slow = TcpStream::connect(house.at.rtmp).await.expect("it listens");
    let begun = [0x16, 3, 1, 2, 0, 1, 0, 1];
    slow.write_all(&begun).await.expect("it reads");
    let trust = authority.trusted();
    until_told("others wait", async || {
        let shaking = trust.connect(house.at.http);
        timeout(Duration::from_millis(300), shaking).await.is_err()
    })
    .await;
    drop(slow);
    let next = timeout(PATIENCE, trust.connect(house.at.http)).await;
    assert!(next.expect("a turn in time").is_ok());
}

#[tokio::test]
async fn a_client_that_returns_has_a_ticket() {
    let authority = Authority::new();
    let settings = format!("[http]\nhealth = true\n{}", authority.settings());
    let house = House::open(&settings).await;
    // All connections of this bridge are one client's.
    let bridge = authority.trusted().bridge(house.at.http).await;
    for _ in 0..3 {
        assert_eq!(get(bridge.at, "/livez").await.0, 200);
    }
    assert_eq!(handshakes(&house, "http", "full"), 1);
    assert_eq!(handshakes(&house, "http", "resumed"), 2);
}

#[tokio::test]
async fn a_client_returns_by_its_ticket_after_a_change_of_certificates() {
    let authority = Authority::new();
    let settings = format!("[http]\nhealth = true\n{}", authority.settings());
    let house = House::open(&settings).await;
    let bridge = authority.trusted().bridge(house.at.http).await;
    let shown = async || {
        // Another client each time, which has no ticket.
        let stream = authority.trusted().connect(house.at.rtmp).await;
        let stream = stream.expect("a handshake");
        let (_, session) = stream.get_ref();
        session.peer_certificates().expect("a certificate")[0].to_vec()
    };
    assert_eq!(get(bridge.at, "/livez").await.0, 200);
    let old = shown().await;
    authority.sign("server", "localhost");
    until_told("the new certificate", async || shown().await != old).await;
    assert_eq!(get(bridge.at, "/livez").await.0, 200);
    assert_eq!(handshakes(&house, "http", "full"), 1);
    assert_eq!(handshakes(&house, "http", "resumed"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_is_told_everywhere_until_when_a_certificate_holds() {
    let authority = Authority::new();
    let house = House::open(&authority.settings()).await;
    let system = house.at.system;
    let counted = |name: &str, until: i64| {
        let metric = "sluicegate_tls_certificate_not_after_seconds";
        format!("{metric}{{certificate=\"{name}\"}} {until}\n")
    };
    let readiness = async || {
        let (_, body) = get(system, "/readyz").await;
        let document: Value = serde_json::from_str(&body).expect("JSON");
        document["certificates"].clone()
    };
    // In its place comes one that began yesterday, and holds for 90 days.
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = authority.issue("live.example", 9, &key);
    for (file, text) in [
        ("server.key", key.serialize_pem()),
        ("server.crt", certificate),
    ] {
        std::fs::write(authority.directory().join(file), text).expect("a file");
    }
    until_told("the other certificate", async || {
        readiness().await[0]["name"] == "live.example"
    })
    .await;
    let certificates = readiness().await;
    assert_eq!(certificates.as_array().map(Vec::len), Some(1));
    let told = certificates[0]["not_after"].as_str().expect("a time");
    let not_after: jiff::Timestamp = told.parse().expect("RFC 3339");
    let left = not_after.duration_since(jiff::Timestamp::now()).as_hours();
    assert!((24 * 89 - 1..=24 * 89).contains(&left), "{left} h");
    until("its metric", || {
        let metrics = house.proxy.metrics().render();
        let told = metrics.contains(&counted("live.example", not_after.as_second()));
        told && !metrics.contains("certificate=\"localhost\"")
    })
    .await;
    let asked = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["ps", "--to", &format!("http://{system}")])
        .output()
        .expect("it runs");
    let words = String::from_utf8_lossy(&asked.stdout).into_owned();
    let line = format!("TLS: live.example until {}\n", not_after.strftime("%F"));
    assert!(words.contains(&line), "{words}");
}

#[tokio::test]
async fn a_secure_websocket_passes_both_ways() {
    let authority = Authority::new();
    let house = House::open(&authority.settings()).await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x02hello";
    let _origin = HttpOrigin::join(&house, "one", vec![say(switch), Step::Echo]).await;
    let bridge = authority.trusted().bridge(house.at.http).await;
    let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let mut viewer = Viewer::pull_with(bridge.at, Way::First, "/live/a.flv", headers).await;
    let head = viewer.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(viewer.take(6).await, b"\x02hello");
    let frame = b"\x89\x80abcd";
    viewer.more(frame).await;
    assert_eq!(viewer.take(frame.len()).await, frame);
}

#[tokio::test]
async fn a_header_that_names_a_certificate_is_nobodys_credential() {
    let authority = Authority::new();
    let house = House::open(&authority.settings()).await;
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let bridge = authority.trusted().bridge(house.at.http).await;
    let headers = "X-SSL-Client-S-DN: CN=encoder.example\r\nX-SSL-Client-Verify: SUCCESS\r\n\
                   X-Forwarded-Client-Cert: Subject=\"CN=encoder.example\";DNS=encoder.example\r\n\
                   Client-Cert: :AAAA:\r\n";
    for way in [Way::First, Way::Second] {
        let mut viewer = Viewer::pull_with(bridge.at, way, "/live/a.flv", headers).await;
        viewer.head().await;
        let row = house.proxy.sessions().list().pop().expect("a session");
        let credentials = row.request.credentials.as_ref();
        assert!(credentials.is_none_or(|shown| shown.tls.is_none()));
        drop(viewer);
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn a_client_hears_why_its_handshake_fails() {
    let authority = Authority::new();
    let house = House::open(&authority.settings()).await;
    for version in [&TLS12, &TLS13] {
        let stranger = authority.trusted_for(&["nobodys"]).speaking(version);
        let failed = stranger.connect(house.at.http).await;
        let failed = failed.map(drop).expect_err("nothing in common").to_string();
        assert!(
            failed.contains("NoApplicationProtocol"),
            "{version:?}: {failed}"
        );
    }
}

#[tokio::test]
async fn clients_show_certificates_of_the_right_authority() {
    let authority = Authority::new();
    let (clients, strangers) = (Authority::new(), Authority::new());
    let settings = format!(
        "[rtmp]\nrequire_tls = true\nclient_ca = \"{}\"\nclient_crl = \"{}\"\n{}",
        clients.own().display(),
        clients.revoke(&[7]).display(),
        authority.settings()
    );
    let house = House::open(&settings).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    for (cause, trust, expected) in [
        (
            "its own",
            clients.client_of(&authority, "encoder.example", 5),
            true,
        ),
        (
            "revoked",
            clients.client_of(&authority, "encoder.example", 7),
            false,
        ),
        (
            "a stranger's",
            strangers.client_of(&authority, "encoder.example", 5),
            false,
        ),
        ("none", authority.trusted(), false),
    ] {
        let bridge = trust.bridge(house.at.rtmp).await;
        let mut guest = Guest::call(bridge.at, &[], Action::Publish, "live/a", vec![]).await;
        let started = guest.read_until(Guest::has_started).await;
        assert_eq!(started, expected, "{cause}");
    }
    assert!(
        get(house.at.system, "/livez").await.0 == 200,
        "no other listener asks"
    );
}

#[tokio::test]
async fn a_certificate_is_a_credential_over_every_protocol() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let asks = format!(
        "require_tls = true\nclient_ca = \"{}\"\n",
        clients.own().display()
    );
    let sections = ["rtmp", "http", "api", "rtsp"];
    let sections: Vec<String> = sections
        .iter()
        .map(|section| format!("[{section}]\n{asks}"))
        .collect();
    let house = House::open(&format!("{}{}", sections.join("\n"), authority.settings())).await;
    let trust = clients.client_of(&authority, "spiffe://example/encoder", 5);
    let shown = |house: &House| {
        let row = house.proxy.sessions().list().pop()?;
        row.request.credentials.as_ref()?.tls.clone()
    };

    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let bridge = trust.bridge(house.at.rtmp).await;
    let guest = Guest::ask(bridge.at, Action::Publish, "live/a", vec![]).await;
    assert!(guest.has_started());
    assert_eq!(
        shown(&house).as_deref(),
        Some("spiffe://example/encoder"),
        "RTMP"
    );
    drop(guest);
    until("the end", || house.proxy.sessions().is_empty()).await;

    let _origin = HttpOrigin::join(&house, "two", vec![say(STREAM), Step::Hold]).await;
    let bridge = trust.bridge(house.at.http).await;
    for way in [Way::First, Way::Second] {
        let mut viewer = Viewer::pull(bridge.at, way, "/live/b.flv").await;
        viewer.head().await;
        assert_eq!(
            shown(&house).as_deref(),
            Some("spiffe://example/encoder"),
            "HTTP"
        );
        drop(viewer);
        until("the end", || house.proxy.sessions().is_empty()).await;
    }

    let origin = CallOrigin::start().await;
    house.register_with("three", &origin.endpoints());
    let bridge = trust.bridge(house.at.api).await;
    let (status, answer) = post(bridge.at, "/rtc/v1/whip/?stream=c", &sdp("clnt")).await;
    assert_eq!(status, 201, "{answer}");
    assert_eq!(
        shown(&house).as_deref(),
        Some("spiffe://example/encoder"),
        "WebRTC"
    );
}

#[tokio::test]
async fn what_is_signed_is_the_url_that_the_client_used() {
    let authority = Authority::new();
    let folder = tempfile::tempdir().expect("a folder");
    let lists = format!(
        "{}[[check]]\nname = \"links\"\nkind = \"signed\"\nscheme = \"ome\"\nsecrets = [\"policy-key\"]\n\
         [[access]]\nall = [\"links\"]\n",
        authority.settings()
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let policy = Base64UrlUnpadded::encode_string(br#"{"url_expire":4000000000000}"#);
    let path = format!("/live/a.flv?policy={policy}");
    let bridge = authority.trusted().bridge(house.at.http).await;
    for (at, used, signed, status) in [
        (bridge.at, "over TLS", "https", "200"),
        (bridge.at, "over TLS", "http", "401"),
        (house.at.http, "plain", "http", "200"),
        (house.at.http, "plain", "https", "401"),
    ] {
        for way in [Way::First, Way::Second] {
            let mut hash = <Hmac<Sha1> as Mac>::new_from_slice(b"policy-key").expect("a key");
            hash.update(format!("{signed}://example.com:8080{path}").as_bytes());
            let signature = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
            let target = format!("{path}&signature={signature}");
            let mut viewer = Viewer::pull(at, way, &target).await;
            let head = viewer.head().await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(
                head.starts_with(&expected),
                "{used}, signed for {signed}: {head}"
            );
        }
    }
}

#[tokio::test]
async fn a_slow_client_gets_everything_in_order() {
    let authority = Authority::new();
    let house = House::open(&authority.settings()).await;
    let body: Vec<u8> = (0..6_000_000_u32).map(|at| (at % 251) as u8).collect();
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Say(body.clone())]).await;
    let mut client = authority
        .trusted()
        .connect(house.at.http)
        .await
        .expect("a handshake");
    let request = b"GET /live/a.flv HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request).await.expect("it reads");
    let mut got = Vec::new();
    let mut part = vec![0; 60_000];
    loop {
        // Less than comes, so that every buffer on the way is full.
        tokio::time::sleep(Duration::from_millis(2)).await;
        let read = timeout(PATIENCE, client.read(&mut part)).await;
        match read.expect("more in time").expect("an end that says so") {
            0 => break,
            count => got.extend_from_slice(&part[..count]),
        }
    }
    let head = got
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .expect("a head");
    assert!(got[head + 4..] == body, "every byte, in order");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_ended() {
    let authority = Authority::new();
    let settings = format!("[session]\nwrite_stall = \"1s\"\n{}", authority.settings());
    let house = House::open(&settings).await;
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Flood]).await;
    let mut client = authority
        .trusted()
        .connect(house.at.http)
        .await
        .expect("a handshake");
    let request = b"GET /live/a.flv HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client.write_all(request).await.expect("it reads");
    client.read_exact(&mut [0; 1000]).await.expect("it begins");
    until("the end of the session", || {
        house.proxy.sessions().is_empty()
    })
    .await;
}
