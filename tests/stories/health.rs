//! Origins that fail, are probed, and come back; and encoders that come back to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sluicegate_core::events::Kind;
use sluicegate_core::fleet::State;
use sluicegate_core::stream::Action;
use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::house::{House, Manner, PATIENCE, Stub, get, nowhere, post, until, video};
use crate::http_pieces::{Packager, Reply};

fn state(house: &House, id: &str) -> Option<State> {
    house.proxy.registry().state(&id.into())
}

#[tokio::test]
async fn an_origin_that_refused_once_is_out_until_probes_find_it_again() {
    let house = House::open("").await;
    let at = nowhere();
    house.register("one", at);
    let refused = house.ask(Action::Publish, "live/a").await;
    assert!(!refused.has_started());
    assert_eq!(state(&house, "one"), Some(State::Failing));
    let (_, body) = get(house.at.system, "/api/v1/origins").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let row = &document["data"]["origins"][0];
    let note = row["notes"][0]["what"].as_str().expect("a reason");
    assert!(note.to_lowercase().contains("refused"), "{body}");

    // Only the proxy itself connects to it now.
    let listener = TcpListener::bind(at).await.expect("nobody has its port");
    let _origin = Stub::on(listener, Manner::Grants, 0, Vec::new());
    until("it is found", || state(&house, "one") == Some(State::Up)).await;
    assert!(house.ask(Action::Publish, "live/a").await.has_started());
}

/// What an operator is told who has an origin probed.
async fn probe(house: &House, id: &str) -> (u16, Value) {
    let path = format!("/api/v1/origins/{id}/probe");
    let (status, body) = post(house.at.system, &path, "").await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[tokio::test]
async fn an_operator_has_an_origin_probed_and_it_is_back_at_once() {
    // Nobody else asks in time.
    let house = House::open("[health]\nprobe_interval = \"1h\"\nrise = 1\n").await;
    let (rtmp, closed) = (nowhere(), nowhere());
    let endpoints = format!(
        r#""rtmp":["{}"],"http":["{}"],"srt":["udp://:{}"],"rtc":["udp://:8000"]"#,
        rtmp.port(),
        closed.port(),
        nowhere().port()
    );
    house.register_with("one", &endpoints);
    let refused = house.ask(Action::Publish, "live/a").await;
    assert!(!refused.has_started());
    let (status, told) = probe(&house, "one").await;
    assert_eq!((status, &told["data"]["state"]), (200, &json!("failing")));
    let services = told["data"]["services"].as_array().expect("a list");
    let said: Vec<_> = services
        .iter()
        .map(|one| (&one["service"], &one["ok"], &one["reason"], &one["judged"]))
        .collect();
    let (no, refused) = (json!(false), json!("connection refused"));
    let udp = json!("rtc is served over UDP and cannot be asked");
    assert_eq!(
        said,
        [
            (&json!("http"), &no, &refused, &no),
            (&json!("rtc"), &Value::Null, &udp, &no),
            (&json!("rtmp"), &no, &refused, &json!(true)),
            (&json!("srt"), &no, &refused, &no),
        ]
    );
    assert!(
        services[0]["ms"].is_number() && services[1]["ms"].is_null(),
        "{told}"
    );

    let listener = TcpListener::bind(rtmp).await.expect("nobody has its port");
    let _origin = Stub::on(listener, Manner::Grants, 0, Vec::new());
    let (status, told) = probe(&house, "one").await;
    assert_eq!(
        (status, &told["data"]["state"]),
        (200, &json!("up")),
        "{told}"
    );
    assert_eq!(told["data"]["services"][2]["ok"], true, "{told}");
    assert_eq!(told["data"]["services"][2]["reason"], Value::Null, "{told}");
    assert!(house.ask(Action::Publish, "live/a").await.has_started());
    assert_eq!(probe(&house, "nobody").await.0, 404);
}

#[tokio::test]
async fn an_origin_is_probed_once_at_a_time_and_not_for_long() {
    let house = House::open("").await;
    // The kernel accepts, and nobody ever answers.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    house.register("one", deaf.local_addr().expect("its address"));
    let begun = Instant::now();
    let (one, other) = tokio::join!(probe(&house, "one"), probe(&house, "one"));
    assert!(begun.elapsed() < Duration::from_secs(4), "{begun:?}");
    let (first, second) = match one.0 {
        200 => (one, other),
        _ => (other, one),
    };
    assert_eq!(first.0, 200, "{first:?}");
    let service = &first.1["data"]["services"][0];
    assert_eq!(service["reason"], "no answer within 1 s", "{first:?}");
    let words = second.1["error"].as_str().unwrap_or_default();
    assert_eq!(second.0, 409, "{second:?}");
    assert!(words.contains("being probed already"), "{second:?}");
    assert_eq!(probe(&house, "one").await.0, 200, "its turn is over");
}

#[tokio::test]
async fn every_origin_is_asked_if_that_is_wished_and_none_if_not() {
    let always = "[health]\nprobe = \"always\"\nprobe_interval = \"100ms\"\nfall = 2\n";
    let house = House::open(always).await;
    let mut origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    until("some probes", || origin.connections() > 3).await;
    assert_eq!(state(&house, "one"), Some(State::Up));
    origin.kill().await;
    until("it is missed", || {
        state(&house, "one") == Some(State::Failing)
    })
    .await;

    let never = House::open("[health]\nprobe = \"off\"\n").await;
    never.register("one", origin.at);
    never.ask(Action::Publish, "live/a").await;
    assert_eq!(state(&never, "one"), Some(State::Failing));
    until("time brings it back", || {
        state(&never, "one") == Some(State::Up)
    })
    .await;
}

#[tokio::test]
async fn a_probe_over_http_goes_by_the_status() {
    let settings = "[health]\nprobe = \"always\"\nprobe_with = \"http\"\nprobe_path = \"/health\"\n\
        probe_interval = \"100ms\"\nfall = 1\nrise = 1\n";
    let house = House::open(settings).await;
    let origin = Packager::join(&house, "one", |target: &str, _: &str| match target {
        "/livez" => Reply::ok("", "alive"),
        _ => Reply::missing(),
    })
    .await;
    until("a 404 is no health", || {
        state(&house, "one") == Some(State::Failing)
    })
    .await;
    let good = House::open(&settings.replace("/health", "/livez")).await;
    good.register_with("one", &format!("\"http\":[\"{}\"]", origin.at.port()));
    until("some probes", || origin.count("/livez") > 3).await;
    assert_eq!(state(&good, "one"), Some(State::Up));
}

#[tokio::test]
async fn an_origin_with_a_full_queue_is_asked_again_where_nobody_else_may_take_the_stream() {
    // Time for several attempts by the kernel, which are a second and more apart.
    let house = House::open("[session]\nsetup_timeout = \"30s\"\n").await;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .expect("an address")
                .into(),
        )
        .expect("a port");
    socket.listen(0).expect("a listener");
    socket.set_nonblocking(true).expect("a flag");
    let listener = TcpListener::from_std(socket.into()).expect("a listener");
    let at = listener.local_addr().expect("bound");
    house.register("one", at);

    // Its queue is full: the kernel drops the first packet of every further connection.
    let mut queue = Vec::new();
    loop {
        match tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(at)).await {
            Ok(Ok(connection)) => queue.push(connection),
            _ => break,
        }
        assert!(queue.len() < 16, "the queue has an end");
    }
    let began = Instant::now();
    let busy = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        drop(queue);
        Stub::on(listener, Manner::Grants, 0, Vec::new())
    });
    let guest = house.ask(Action::Publish, "live/a").await;
    assert!(guest.has_started(), "{:?}", guest.status);
    assert!(
        began.elapsed() >= Duration::from_millis(1500),
        "it was full until then"
    );
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    drop(busy);
}

#[tokio::test]
async fn an_encoder_that_comes_back_too_soon_is_not_told_that_its_stream_is_busy() {
    let house = House::open("").await;
    let busy = Arc::new(AtomicUsize::new(0));
    let origin = Stub::start(Manner::BusyFor(Arc::clone(&busy))).await;
    house.register("one", origin.at);
    busy.store(2, Ordering::Relaxed);
    let stranger = house.ask(Action::Publish, "live/b").await;
    assert!(
        !stranger.has_started(),
        "who never published hears the no at once"
    );

    drop(stranger);
    house.until_sessions(0).await;
    busy.store(0, Ordering::Relaxed);
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started());
    drop(publisher);
    house.until_sessions(0).await;
    busy.store(3, Ordering::Relaxed);
    let back = house.ask(Action::Publish, "live/a").await;
    assert!(back.has_started(), "{:?}", back.status);
    assert_eq!(busy.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn whose_publish_ends_an_earlier_one_is_a_setting() {
    for (takeover, ends) in [("never", false), ("address", true), ("always", true)] {
        let settings =
            format!("[session]\ntakeover = \"{takeover}\"\ntakeover_after = \"200ms\"\n");
        let house = House::open(&settings).await;
        let origin = Stub::start(Manner::Grants).await;
        house.register("one", origin.at);
        let mut first = house.ask(Action::Publish, "live/a").await;
        first.send(&video(0, &[0x17; 100])).await;
        until("media", || {
            !origin.seen.lock().expect("a test").media.is_empty()
        })
        .await;
        if !ends {
            // However long it is silent.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let second = house.ask(Action::Publish, "live/a").await;
        assert!(second.has_started(), "{takeover}");
        if ends {
            first.wait_for_end().await;
        }
        let left = if ends { 1 } else { 2 };
        house.until_sessions(left).await;
        assert_eq!(origin.connections(), 2, "{takeover}");
        let mut told = Vec::new();
        for kind in [Kind::Published, Kind::Lost] {
            let journal = &house.proxy.metrics().journal;
            journal.look(kind, |event| told.push((event.number, kind)));
        }
        told.sort_unstable_by_key(|(number, _)| *number);
        let told: Vec<Kind> = told.into_iter().map(|(_, kind)| kind).collect();
        let expected: &[Kind] = if ends {
            &[Kind::Published, Kind::Lost, Kind::Published]
        } else {
            &[Kind::Published, Kind::Published]
        };
        assert_eq!(
            told, expected,
            "{takeover}: the end of the one comes before the other"
        );
    }
}
