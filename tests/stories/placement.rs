//! Where streams go: limits, pools, zones, an outside decision, and explanations that say what happens.

use std::time::Duration;

use sluicegate::lookup::Explanation;
use sluicegate::proxy::{Refusal, Request, Session};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::segment::Owners;
use sluicegate_core::place::policy::NAMES;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{Guest, House, Manner, Stub, get, nowhere, post, talk};

/// A session that some origin took at once, without a socket.
async fn join(house: &House, action: Action, path: &str) -> Result<Session, Refusal> {
    let request = Request {
        stream: stream(path),
        action,
        protocol: Protocol::Rtmp,
        client: "192.0.2.1:5000".parse().expect("an address"),
        by_way_of: None,
        bond: None,
        credentials: None,
    };
    let session = house.proxy.open(request).await?;
    session.dial(|_| async { Ok(()) }).await?;
    Ok(session)
}

fn stream(path: &str) -> StreamUrl {
    let (app, name) = path.rsplit_once('/').expect("app/stream");
    StreamUrl::new("", app, name).expect("a stream")
}

fn origin_of(session: &Session) -> String {
    let placed = session.row().placed();
    placed.origin.expect("it was placed").to_string()
}

async fn explain(house: &House, path: &str) -> Explanation {
    let stream = stream(path);
    house.proxy.explain(&stream, Protocol::Rtmp, None).await
}

#[tokio::test]
async fn an_explanation_says_what_a_client_hears_whose_protocol_the_origin_lacks() {
    let house = House::open("").await;
    register(&house, "one", "");
    let _publisher = join(&house, Action::Publish, "live/a").await.expect("room");
    let name = "__defaultVhost__/live/a";
    for (protocol, code, service) in [
        (Protocol::Srt, Some(1404), "srt"),
        (Protocol::Rtsp, Some(404), "rtsp"),
        (Protocol::WebRtc, Some(404), "rtc"),
    ] {
        let said = house.proxy.explain(&stream("live/a"), protocol, None).await;
        let refused = said.refused.expect("it is refused");
        assert_eq!(refused.code, code, "{service}");
        assert_eq!(
            refused.words,
            format!("{name} is on one, which has no {service}")
        );
        assert_eq!(said.origin.as_deref(), Some("one"), "{service}");
    }
    for protocol in [Protocol::Rtmp, Protocol::HttpFlv] {
        let said = house.proxy.explain(&stream("live/a"), protocol, None).await;
        assert_eq!(said.refused, None, "{protocol:?}");
    }
}

/// Registers origins that nothing dials.
fn register(house: &House, id: &str, attributes: &str) {
    house.register_with(
        id,
        &format!(r#""rtmp":["1935"],"http":["8080"]{attributes}"#),
    );
}

#[tokio::test]
async fn an_explanation_says_what_happens_under_every_policy() {
    for policy in NAMES {
        let house = House::open(&format!(
            "[placement]\npolicy = \"{policy}\"\nrules = [\"app=gpu label=gpu\"]\nzone = \"eu\"\n"
        ))
        .await;
        for number in 0_u32..12 {
            let zone = if number % 3 == 0 { "eu" } else { "us" };
            let label = if number % 4 == 0 { "gpu" } else { "cpu" };
            let weight = 50 + number * 10;
            let most = 3 + number % 5;
            let attributes = format!(
                r#","zone":"{zone}","labels":["{label}"],"weight":{weight},"max_streams":{most}"#
            );
            register(&house, &format!("origin-{number}"), &attributes);
        }
        let mut sessions = Vec::new();
        for number in 0..80 {
            let app = if number % 7 == 0 { "gpu" } else { "live" };
            let path = format!("{app}/{}", number * 31 % 57);
            let said = explain(&house, &path).await;
            match join(&house, Action::Play, &path).await {
                Ok(session) => {
                    assert_eq!(said.origin, Some(origin_of(&session)), "{policy} {path}");
                    assert_eq!(said.why, session.row().placed().why, "{policy} {path}");
                    sessions.push(session);
                }
                Err(refusal) => {
                    assert_eq!(said.origin, None, "{policy} {path}: {refusal}");
                    assert!(!said.rejected.is_empty(), "{policy} {path}");
                }
            }
            let after = explain(&house, &path).await;
            assert_eq!(
                after.claim.map(|claim| claim.origin),
                said.origin,
                "{policy} {path}"
            );
        }
        assert!(sessions.len() > 50, "{policy}: {}", sessions.len());
    }
}

#[tokio::test]
async fn an_explanation_shows_what_would_happen_without_an_origin() {
    let house = House::open("").await;
    for id in ["a", "b", "c"] {
        register(&house, id, "");
    }
    let session = join(&house, Action::Publish, "live/a").await.unwrap();
    let at = origin_of(&session);
    let standing = explain(&house, "live/a").await;
    let claim = standing.claim.unwrap();
    assert_eq!((claim.origin.as_str(), claim.publishers), (at.as_str(), 1));
    assert!(
        claim.why.starts_with("first of 3 by rendezvous"),
        "{}",
        claim.why
    );
    assert_eq!(standing.why, "it is placed there");

    let path = format!("/api/v1/explain?stream=live/a&without={at}");
    let (status, body) = get(house.at.system, &path).await;
    assert_eq!(status, 200, "{body}");
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    let without: Explanation = serde_json::from_value(document["data"].clone()).unwrap();
    assert_eq!(without.candidates.len(), 2);
    assert_eq!(without.rejected[0].reason, "excluded");
    assert_ne!(without.origin.as_deref(), Some(at.as_str()));
    drop(session);

    // The explanation comes true.
    house
        .proxy
        .registry()
        .deregister(&OriginId::from(at.as_str()));
    let moved = join(&house, Action::Publish, "live/a").await.unwrap();
    assert_eq!(Some(origin_of(&moved)), without.origin);
    for (path, expected) in [
        ("/api/v1/explain", 400),
        ("/api/v1/explain?stream=", 400),
        ("/api/v1/explain?stream=live/a&protocol=carrier-pigeon", 400),
        ("/api/v1/explain?stream=live/a&without=nobody", 404),
        ("/api/v1/resolve?stream=live/a&client=here", 400),
    ] {
        assert_eq!(get(house.at.system, path).await.0, expected, "{path}");
    }
}

#[tokio::test]
async fn what_is_asked_of_a_fleet_without_rtmp_is_about_what_it_has() {
    let house = House::open("").await;
    house.register_with("packager", r#""http":["8080"]"#);
    let asked = "stream=live/never";
    // What is asked; the service that is looked for; whether an origin is found.
    let rows = [
        ("", "http", true),
        ("&protocol=hls", "http", true),
        ("&protocol=dash", "http", true),
        ("&protocol=http_flv", "http", true),
        ("&protocol=rtmp", "rtmp", false),
        ("&as=play%20over%20hls", "http", true),
        ("&protocol=rtmp&as=play%20over%20hls", "http", true),
        ("&as=play%20over%20rtmp", "rtmp", false),
    ];
    for (more, service, found) in rows {
        let path = format!("/api/v1/explain?{asked}{more}");
        let (status, told) = get(house.at.system, &path).await;
        assert_eq!(status, 200, "{more}: {told}");
        let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["data"]["service"], service, "{more}: {told}");
        let origin = told["data"]["origin"].as_str();
        assert_eq!(origin, found.then_some("packager"), "{more}: {told}");
    }
    for (more, expected) in [("", 200), ("&protocol=hls", 200), ("&protocol=rtmp", 503)] {
        let path = format!("/api/v1/resolve?{asked}{more}");
        assert_eq!(get(house.at.system, &path).await.0, expected, "{more}");
    }
}

#[tokio::test]
async fn all_protocols_that_are_listened_for_are_explained_in_one_answer() {
    let house = House::open("").await;
    house.register_with("packager", r#""http":["8080"]"#);
    house.register_with("camera", r#""rtmp":["1935"]"#);
    let ask = async |more: &str| {
        let path = format!("/api/v1/explain?stream=live/never{more}");
        let (status, told) = get(house.at.system, &path).await;
        assert_eq!(status, 200, "{more}: {told}");
        serde_json::from_str::<serde_json::Value>(&told).expect("JSON")["data"].take()
    };
    let all = ask("&protocol=all").await;
    assert_eq!(all["stream"], "__defaultVhost__/live/never");
    assert_eq!(all.as_object().expect("an object").len(), 2, "{all}");
    let protocols = all["protocols"].as_array().expect("a list");
    let names: Vec<&str> = protocols
        .iter()
        .filter_map(|one| one["protocol"].as_str())
        .collect();
    let expected: Vec<&str> = Protocol::ALL.iter().map(|one| one.as_str()).collect();
    assert_eq!(names, expected, "the house listens for each");
    for one in protocols {
        let name = one["protocol"].as_str().expect("a name");
        let mut alone = ask(&format!("&protocol={name}")).await;
        alone["protocol"] = name.into();
        assert_eq!(*one, alone, "{name}");
    }
    let origin = |name: &str| {
        let of = |one: &&serde_json::Value| one["protocol"] == name;
        protocols.iter().find(of).expect(name)["origin"].as_str()
    };
    assert_eq!(
        (origin("rtmp"), origin("http_flv"), origin("srt")),
        (Some("camera"), Some("packager"), None)
    );
    let without = ask("&protocol=all&without=camera").await;
    assert_eq!(without["protocols"][5]["protocol"], "rtmp");
    assert!(without["protocols"][5]["origin"].is_null(), "{without}");

    // What a client may is said of what it speaks.
    for (client, count) in [("play", 9), ("play%20over%20srt", 1)] {
        let said = ask(&format!("&protocol=all&as={client}")).await;
        let said = said["protocols"].as_array().expect("a list").iter();
        let told = said.filter(|one| one.get("access").is_some());
        assert_eq!(told.count(), count, "{client}");
    }
    let mistake = "/api/v1/explain?stream=live/never&protocol=all&as=sing";
    assert_eq!(get(house.at.system, mistake).await.0, 400);

    let narrow = House::open("[http]\nlisten = \"\"\n[api]\nlisten = \"\"\n").await;
    let (_, told) = get(
        narrow.at.system,
        "/api/v1/explain?stream=live/a&protocol=all",
    )
    .await;
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let protocols = told["data"]["protocols"].as_array().expect("a list");
    let names: Vec<&serde_json::Value> = protocols.iter().map(|one| &one["protocol"]).collect();
    assert_eq!(names, ["rtmp", "rtsp", "srt"]);
}

#[tokio::test]
async fn every_mistake_is_told_in_json_with_its_field() {
    let house = House::open("").await;
    // The method; the path; the field that is wrong.
    let rows = [
        ("POST", "/api/v1/bans", "target"),
        ("POST", "/api/v1/bans?target=address:192.0.2.1", "for"),
        ("GET", "/api/v1/links", "stream"),
        ("GET", "/api/v1/explain", "stream"),
        ("GET", "/api/v1/resolve", "stream"),
        ("GET", "/api/v1/preview", "stream"),
        ("POST", "/api/v1/moves", "stream"),
        ("GET", "/api/v1/history?minutes=x", "minutes"),
        ("GET", "/api/v1/overview?scope=everywhere", "scope"),
        ("GET", "/api/v1/sessions/x/tap?seconds=-1", "seconds"),
        ("POST", "/api/v1/origins/x/drain?scope=1", "scope"),
    ];
    for (method, path, field) in rows {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nX-Sluicegate: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let (status, told) = talk(house.at.system, &request).await;
        assert_eq!(status, 400, "{path}: {told}");
        let told: serde_json::Value = serde_json::from_str(&told).expect(path);
        assert_eq!(
            (&told["code"], &told["field"]),
            (&400.into(), &field.into()),
            "{path}: {told}"
        );
        let words = told["error"].as_str().unwrap_or_default();
        assert!(words.starts_with(&format!("{field}: ")), "{path}: {words}");
    }
    let odd = "DELETE /api/v1/bans/%FF HTTP/1.1\r\nConnection: close\r\n\r\n";
    let (status, told) = talk(house.at.system, odd).await;
    assert_eq!(status, 400, "{told}");
    assert!(told.starts_with('{'), "{told}");
}

#[tokio::test]
async fn one_stream_for_each_origin_and_then_no_more() {
    let house = House::open("[placement]\nplay_claim = \"1s\"\n").await;
    let mut origins = Vec::new();
    for number in 0..3 {
        let origin = Stub::start(Manner::Grants).await;
        let port = origin.at.port();
        let document = format!(r#""rtmp":["{port}"],"http":["{port}"],"max_streams":1"#);
        house.register_with(&format!("encoder-{number}"), &document);
        origins.push(origin);
    }
    let asking: Vec<_> = (0..8)
        .map(|number| {
            let at = house.at.rtmp;
            let path = format!("live/{number}");
            tokio::spawn(async move { Guest::ask(at, Action::Publish, &path, Vec::new()).await })
        })
        .collect();
    let mut guests = Vec::new();
    for guest in asking {
        guests.push(guest.await.unwrap());
    }
    let (granted, refused): (Vec<_>, Vec<_>) = guests.into_iter().partition(Guest::has_started);
    assert_eq!(granted.len(), 3, "of eight that came at once");
    assert!(
        refused
            .iter()
            .all(|guest| guest.words().contains("is full"))
    );
    for origin in &origins {
        assert_eq!(origin.seen.lock().unwrap().requests.len(), 1);
    }
    let answer = raw(
        &house,
        "GET /live/new.flv HTTP/1.1\r\nHost: example\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After:"), "{answer}");
    let reasons = explain(&house, "live/new").await.rejected;
    assert!(reasons.iter().all(|one| one.reason == "full_of_streams"));
    // A viewer of a placed stream costs nothing.
    let known = (0..8)
        .map(|number| format!("live/{number}"))
        .find(|path| house.origin_of(path).is_some())
        .unwrap();
    assert!(house.ask(Action::Play, &known).await.has_started());
    drop(granted);
    crate::house::until_told("an origin that is free again", async || {
        explain(&house, "live/new").await.origin.is_some()
    })
    .await;
    assert!(house.ask(Action::Publish, "live/new").await.has_started());
}

#[tokio::test]
async fn a_full_fleet_overflows_if_it_is_told_to_and_sessions_have_a_limit_too() {
    let house =
        House::open("[placement]\nwhen_full = \"overflow\"\npolicy = \"least_streams\"\n").await;
    register(&house, "a", r#","max_streams":1"#);
    register(&house, "b", r#","max_streams":1"#);
    let mut sessions = Vec::new();
    for number in 0..4 {
        let path = format!("live/{number}");
        sessions.push(join(&house, Action::Publish, &path).await.unwrap());
    }
    let on_a = sessions.iter().filter(|one| origin_of(one) == "a").count();
    assert_eq!(on_a, 2);
    assert!(sessions[3].row().placed().why.contains("all are full"));

    let house = House::open("").await;
    register(&house, "a", r#","max_sessions":2"#);
    let publisher = join(&house, Action::Publish, "live/a").await.unwrap();
    let player = join(&house, Action::Play, "live/a").await.unwrap();
    let third = join(&house, Action::Play, "live/a").await;
    assert!(matches!(third, Err(Refusal::NoRoom { .. })), "{third:?}");
    drop(player);
    let player = join(&house, Action::Play, "live/a").await.unwrap();
    drop((publisher, player));
}

#[tokio::test]
async fn rules_zones_and_settings_say_who_may_have_a_stream() {
    let house = House::open(
        "[placement]\nrules = [\"app=vip label=gold\", \"stream=cam-* zone=us\"]\nzone = \"eu\"\n\
         [origins]\nattributes = [\"g* label=gold zone=us weight=10\"]\n",
    )
    .await;
    register(&house, "plain-eu", r#","zone":"eu""#);
    register(&house, "plain-us", r#","zone":"us""#);
    register(&house, "gold", r#","zone":"mars""#);
    for number in 0..8 {
        let at = async |path: String| explain(&house, &path).await.origin;
        assert_eq!(at(format!("vip/{number}")).await.as_deref(), Some("gold"));
        assert_eq!(
            at(format!("live/{number}")).await.as_deref(),
            Some("plain-eu"),
            "ours first"
        );
        let camera = at(format!("live/cam-{number}")).await;
        assert_ne!(camera.as_deref(), Some("plain-eu"));
    }
    let said = explain(&house, "vip/1").await;
    assert_eq!(said.rule.as_deref(), Some("app=vip label=gold"));
    assert!(said.why.contains("2 not in pool"), "{}", said.why);
    house.proxy.registry().deregister(&"plain-eu".into());
    let spilled = explain(&house, "live/1").await;
    assert!(spilled.origin.is_some(), "others take what ours cannot");
    assert!(spilled.why.contains("none in zone eu"), "{}", spilled.why);
    house.proxy.registry().deregister(&"gold".into());
    let refused = join(&house, Action::Publish, "vip/1").await;
    assert!(
        matches!(refused, Err(Refusal::NoOrigin { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn busy_origins_are_spared_by_least_load() {
    let house = House::open("[placement]\npolicy = \"least_load\"\n").await;
    let load = |cpu: f64| format!(r#","summaries":{{"system":{{"cpu_percent":{cpu}}}}}"#);
    register(&house, "hot", &load(0.9));
    register(&house, "warm", &load(0.5));
    let said = explain(&house, "live/a").await;
    assert_eq!(said.origin.as_deref(), Some("warm"));
    assert_eq!(said.rejected[0].reason, "busy");
    assert_eq!(said.candidates[0].load_percent, Some(50.0));
    register(&house, "cool", &load(0.1));
    let said = explain(&house, "live/a").await;
    assert_eq!(said.origin.as_deref(), Some("cool"));
}

/// A service that decides where streams go, and the requests that it got.
async fn decider(answer: &'static str) -> (u16, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = std::sync::Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut buffer = vec![0; 4096];
            let count = socket.read(&mut buffer).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            told.lock()
                .unwrap()
                .push(head.lines().next().unwrap_or_default().to_owned());
            let length = answer.len();
            let reply = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{answer}"
            );
            let _ = socket.write_all(reply.as_bytes()).await;
        }
    });
    (port, asked)
}

#[tokio::test]
async fn somebody_else_may_decide_where_a_new_stream_goes() {
    let settings = |port: u16, more: &str| {
        format!("[placement]\nask = \"http://127.0.0.1:{port}/place?key=7\"\n{more}")
    };
    let (port, asked) = decider(r#"{"origin": "b"}"#).await;
    let house = House::open(&settings(port, "")).await;
    for id in ["a", "b", "c"] {
        register(&house, id, "");
    }
    let mut sessions = Vec::new();
    for number in 0..4 {
        let session = join(&house, Action::Publish, &format!("live/{number}"))
            .await
            .unwrap();
        assert_eq!(origin_of(&session), "b");
        sessions.push(session);
    }
    sessions.push(join(&house, Action::Play, "live/0").await.unwrap());
    let lines = asked.lock().unwrap().clone();
    assert_eq!(
        lines.len(),
        4,
        "nobody is asked about a stream that is placed"
    );
    assert!(
        lines[0].starts_with("GET /place?key=7&stream="),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].contains("action=publish&protocol=rtmp&client=192.0.2.1 "),
        "{}",
        lines[0]
    );

    let (port, asked) = decider(r#"{"allow": false, "reason": "not paid for"}"#).await;
    let house = House::open(&settings(port, "")).await;
    register(&house, "a", "");
    for _ in 0..3 {
        let refused = join(&house, Action::Publish, "live/a").await.unwrap_err();
        assert!(refused.to_string().contains("not paid for"), "{refused}");
    }
    assert_eq!(asked.lock().unwrap().len(), 1, "an answer is kept");

    let nowhere = nowhere().port();
    let house = House::open(&settings(nowhere, "")).await;
    register(&house, "a", "");
    assert!(
        join(&house, Action::Publish, "live/a").await.is_ok(),
        "no answer is a yes"
    );
    let house = House::open(&settings(nowhere, "ask_unanswered = \"deny\"\n")).await;
    register(&house, "a", "");
    assert!(
        join(&house, Action::Publish, "live/a").await.is_err(),
        "or a no"
    );
}

/// Everything an HTTP port answers to a request, head and all.
async fn raw(house: &House, request: &str) -> String {
    let mut socket = TcpStream::connect(house.at.http).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn cooperative_players_are_sent_to_the_origin() {
    let house = House::open(
        "[placement]\nnetworks = [\"10.0.0.0/8 us\"]\nresolve_ttl = \"9s\"\nredirects = [\
         \"app=away via=http url=https://{id}.example.com:{http}\", \"app=away via=rtmp url=rtmp://{ip}:{rtmp}\"]\n",
    )
    .await;
    let origin = Stub::start(Manner::Grants).await;
    let port = origin.at.port();
    house.register_with(
        "eu1",
        &format!(r#""rtmp":["{port}"],"http":["8080"],"zone":"eu""#),
    );

    let answer = raw(
        &house,
        "GET /away/a.flv?token=1 HTTP/1.1\r\nHost: example\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    assert!(
        answer.contains("Location: https://eu1.example.com:8080/away/a.flv?token=1\r\n"),
        "{answer}"
    );
    assert!(answer.contains("no-store"), "{answer}");
    let twice = "GET /nothing HTTP/1.1\r\nHost: example\r\n\r\n\
                 GET /away/a.flv HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n";
    let answer = raw(&house, twice).await.to_ascii_lowercase();
    assert!(
        answer.contains("location: https://eu1.example.com:8080/away/a.flv\r\n"),
        "later on a connection too: {answer}"
    );

    // Playlists and manifests are redirected too, and their segments follow by themselves; the target may differ next
    // time.
    for file in ["a.m3u8?hls_ctx=1", "a.mpd"] {
        let request =
            format!("GET /away/{file} HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n");
        let answer = raw(&house, &request).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 302 "), "{answer}");
        let place = format!("location: https://eu1.example.com:8080/away/{file}\r\n");
        assert!(answer.contains(&place), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "{answer}");
        assert!(
            answer.contains("access-control-allow-origin: *"),
            "{answer}"
        );
    }

    // A player over RTMP is relayed; an edge is not (it has its own stories).
    assert!(house.ask(Action::Play, "away/a").await.has_started());
    assert_eq!(origin.connections(), 1);

    house.register_with("us1", r#""rtmp":["1"],"http":["2"],"zone":"us""#);
    let (status, body) = get(
        house.at.system,
        "/api/v1/resolve?stream=live/x&client=10.1.1.1",
    )
    .await;
    assert_eq!(status, 200, "{body}");
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    let data = &document["data"];
    assert_eq!(data["origin"], "us1", "the nearest");
    assert_eq!((&data["ttl"], &data["placed"]), (&9.into(), &false.into()));
    assert_eq!(data["rtmp"], "rtmp://127.0.0.1:1/live/x");
    assert_eq!(data["http"], "http://127.0.0.1:2");
    let (_, body) = get(
        house.at.system,
        "/api/v1/resolve?stream=away/a&client=10.1.1.1",
    )
    .await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(document["data"]["origin"], "eu1", "where it is");
    assert_eq!(document["data"]["http"], "https://eu1.example.com:8080");
}

/// A session of the protocol would be refused, and so nobody is sent there.
#[tokio::test]
async fn nobody_is_sent_to_an_origin_that_lacks_the_protocol() {
    let house = House::open(
        "[placement]\nredirects = [\"app=live via=http url=https://{id}.example.com\"]\n",
    )
    .await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("rtmp-only", origin.at);
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    house.register_with("web", r#""rtmp":["1"],"http":["2"]"#);
    let resolved = async |stream: &str, protocol: &str| {
        let path = format!("/api/v1/resolve?stream={stream}&protocol={protocol}");
        let (status, body) = get(house.at.system, &path).await;
        let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        (status, document)
    };
    let (status, document) = resolved("live/a", "rtmp").await;
    assert_eq!(
        (status, &document["data"]["origin"]),
        (200, &"rtmp-only".into())
    );
    for protocol in ["http_flv", "hls"] {
        let (status, document) = resolved("live/a", protocol).await;
        assert_eq!(status, 404, "{protocol}: {document}");
        let words = document["error"].as_str().expect("words");
        let expected = "live/a is on rtmp-only, which has no http";
        assert!(words.ends_with(expected), "{protocol}: {words}");
        let (status, document) = resolved("live/b", protocol).await;
        let there = (200, &"web".into());
        assert_eq!((status, &document["data"]["origin"]), there, "{protocol}");
    }
    let asks = |name: &str| format!("GET /live/{name}.flv HTTP/1.1\r\nHost: example\r\n\r\n");
    let answer = raw(&house, &asks("a")).await;
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    let answer = raw(&house, &asks("b")).await;
    assert!(answer.starts_with("HTTP/1.1 302 "), "{answer}");
    assert!(
        answer.contains("Location: https://web.example.com/live/b.flv\r\n"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_origins_register_at_once_and_the_proxy_goes_on() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    let port = origin.at.port();
    let mut storm = Vec::new();
    for number in 0..1000 {
        let at = house.at.system;
        storm.push(tokio::spawn(async move {
            let (high, low) = (number / 250, number % 250 + 1);
            let body = format!(
                r#"{{"ip":"127.1.{high}.{low}","server":"o{number}","service":"s","pid":"1","rtmp":["{port}"]}}"#
            );
            post(at, "/api/v1/srs/register", &body).await.0
        }));
    }
    for answered in storm {
        assert_eq!(answered.await.unwrap(), 200);
    }
    assert_eq!(house.proxy.registry().origins().len(), 1000);
    assert_eq!(explain(&house, "live/a").await.candidates.len(), 1000);
    let (status, _) = get(house.at.system, "/api/v1/explain?stream=live/a").await;
    assert_eq!(status, 200);
    let body = r#"{"ip":"127.2.0.1","server":"one-more","service":"s","pid":"1","rtmp":["1"]}"#;
    assert_eq!(
        post(house.at.system, "/api/v1/srs/register", body).await.0,
        503
    );
}

#[tokio::test]
async fn who_pulls_piece_by_piece_goes_on_until_the_deadline_of_a_drain() {
    let house = House::open("").await;
    register(&house, "a", "");
    let pull = async || {
        let request = Request {
            stream: stream("live/a"),
            action: Action::Play,
            protocol: Protocol::HttpSegments,
            client: "192.0.2.1:5000".parse().expect("an address"),
            by_way_of: None,
            bond: None,
            credentials: None,
        };
        let owners = Owners::default();
        house.proxy.place(request, &owners, None).await.map(drop)
    };
    assert_eq!(pull().await, Ok(()));
    house.proxy.drain(None);
    let new = join(&house, Action::Play, "live/a").await;
    assert_eq!(new.map(drop), Err(Refusal::Draining), "a new session");
    assert_eq!(pull().await, Ok(()), "a viewer may be in the middle");
    house.proxy.undrain();
    house.proxy.drain(Some(Duration::ZERO));
    assert_eq!(pull().await, Err(Refusal::Draining), "the time is over");
    house.proxy.undrain();
    assert_eq!(pull().await, Ok(()));
    house.proxy.stop();
    assert_eq!(pull().await, Ok(()), "it was on its way");
    let new = join(&house, Action::Play, "live/a").await;
    assert_eq!(new.map(drop), Err(Refusal::Draining), "a new session");
}

#[tokio::test]
async fn links_of_one_bond_stand_side_by_side() {
    let house = House::open("[session]\ntakeover = \"always\"\n").await;
    register(&house, "a", "");
    let link = async |bond| {
        let request = Request {
            stream: stream("live/a"),
            action: Action::Publish,
            protocol: Protocol::Rtmp,
            client: "192.0.2.1:5000".parse().expect("an address"),
            by_way_of: None,
            bond,
            credentials: None,
        };
        let session = house.proxy.open(request).await.expect("room");
        session.dial(|_| async { Ok(()) }).await.expect("an origin");
        session
    };
    let one = link(Some(7)).await;
    let other = link(Some(7)).await;
    assert!(!one.row().has_ended(), "a link of the same bond");
    let stranger = link(Some(8)).await;
    assert!(other.row().has_ended(), "another bond takes over");
    let alone = link(None).await;
    assert!(stranger.row().has_ended(), "and one that is in none");
    let second = link(None).await;
    assert!(alone.row().has_ended(), "and the next");
    drop((one, second));
}

#[tokio::test]
async fn a_request_carries_what_its_client_showed_and_is_placed_without_it() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("a", origin.at);
    let guest = house.ask(Action::Publish, "live/a?token=hidden").await;
    assert!(guest.has_started());
    let rows = house.proxy.sessions().list();
    let request = &rows.first().expect("a session").request;
    assert_eq!(request.stream, stream("live/a"));
    let shown = request.credentials.as_ref().expect("a query");
    assert_eq!(shown.query.as_deref(), Some("token=hidden"));
    assert!(!format!("{request:?}").contains("hidden"), "{request:?}");
}
