//! Origins that are drained, disabled and undrained, and a proxy that drains itself.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluicegate_core::stream::Action;
use tokio::task::JoinSet;

use crate::house::{Guest, House, Manner, Stub, get, post, talk, until, video};

/// A POST to the system API, and the `data` of its answer.
async fn tell(house: &House, path: &str) -> Value {
    let (status, body) = post(house.at.system, path, "").await;
    assert_eq!(status, 200, "{path}: {body}");
    let document: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(document["code"], 0);
    document["data"].clone()
}

/// The row of an origin.
async fn row(house: &House, id: &str) -> Value {
    let (_, body) = get(house.at.system, "/api/v1/origins").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let rows = document["data"]["origins"].as_array().expect("rows");
    let found = rows.iter().find(|row| row["id"] == id);
    found.expect("it stands").clone()
}

#[tokio::test]
async fn a_drained_origin_keeps_its_streams_and_gets_no_new_ones() {
    let house = House::open("").await;
    let old = Stub::start(Manner::Streams(2000)).await;
    house.register("old", old.at);
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started());
    let drained = tell(&house, "/api/v1/origins/old/drain?force=true").await;
    assert_eq!(drained["duty"], "draining");
    assert_eq!(drained["drain"]["publishers"], 1);
    assert!(drained["drain"]["eta_seconds"].is_null(), "no deadline");

    let new = Stub::start(Manner::Streams(2000)).await;
    house.register("new", new.at);
    let mut player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started());
    assert!(player.read_until(|player| player.media.len() > 2).await);
    assert_eq!(
        house.origin_of("live/a").as_deref(),
        Some("old"),
        "players may join"
    );
    house.ask(Action::Publish, "live/b").await;
    assert_eq!(
        house.origin_of("live/b").as_deref(),
        Some("new"),
        "a new stream goes elsewhere"
    );

    // Neither a heartbeat nor a restart changes anything.
    house.register("old", old.at);
    assert_eq!(row(&house, "old").await["duty"], "draining");

    // Its encoder comes back on another origin, and its viewers are ended, so that they find it there.
    drop(publisher);
    house.until_sessions(1).await;
    let back = house.ask(Action::Publish, "live/a").await;
    assert!(back.has_started());
    assert_eq!(house.origin_of("live/a").as_deref(), Some("new"));
    player.read_to_end().await;
    house.until_sessions(1).await;
    let metrics = house.proxy.metrics().render();
    assert!(metrics.contains("reason=\"moved\"} 1"), "{metrics}");
    let done = row(&house, "old").await;
    assert_eq!(done["drain"]["done"], true);
    assert_eq!(done["drain"]["eta_seconds"], 0.0);

    let undone = tell(&house, "/api/v1/origins/old/undrain").await;
    assert_eq!(undone["duty"], "active");
    tell(&house, "/api/v1/origins/new/disable").await;
    house.ask(Action::Publish, "live/c").await;
    assert_eq!(
        house.origin_of("live/c").as_deref(),
        Some("old"),
        "it takes streams again"
    );
    let refused = house.ask(Action::Play, "live/a").await;
    assert!(
        refused
            .words()
            .contains("live/a is on new, which is out of service"),
        "{}",
        refused.words()
    );
}

#[tokio::test]
async fn past_its_deadline_a_drain_moves_fifty_live_streams_one_by_one() {
    // Encoders that are not held come back by themselves.
    let house = House::open("[drain]\npace = \"10ms\"\n[hold]\npublishers = \"0s\"\n").await;
    let old = Stub::start(Manner::Grants).await;
    house.register("old", old.at);
    let mut encoders = JoinSet::new();
    for number in 0..STREAMS {
        let at = house.at.rtmp;
        encoders.spawn(encode_with_reconnect(at, format!("live/s{number}")));
    }
    until("all streams", || {
        old.seen.lock().expect("a test").media.len() >= STREAMS
            && house.proxy.sessions().len() == STREAMS
    })
    .await;
    let new = Stub::start(Manner::Grants).await;
    house.register("new", new.at);
    let began = Instant::now();
    let drained = tell(&house, "/api/v1/origins/old/drain?deadline=200ms").await;
    assert_eq!(drained["drain"]["publishers"], STREAMS);
    let eta = drained["drain"]["eta_seconds"].as_f64().expect("an ETA");
    assert!((0.5..1.0).contains(&eta), "{eta}");
    until("the first move", || new.connections() > 0).await;
    assert!(
        began.elapsed() >= Duration::from_millis(200),
        "nobody is ended before the deadline"
    );
    until("the last move", || {
        house.proxy.registry().left(&"old".into()).total() == 0
            && new.connections() == STREAMS
            && house.proxy.sessions().len() == STREAMS
    })
    .await;
    assert!(
        began.elapsed() >= Duration::from_millis(650),
        "one by one, not at once: {:?}",
        began.elapsed()
    );
    for number in 0..STREAMS {
        let stream = format!("live/s{number}");
        assert_eq!(house.origin_of(&stream).as_deref(), Some("new"), "{stream}");
    }
    let (old, new) = (old.connections(), new.connections());
    assert_eq!((old, new), (STREAMS, STREAMS), "each moved once");
    let metrics = house.proxy.metrics().render();
    assert!(
        metrics.contains("reason=\"origin_drained\"} 50"),
        "{metrics}"
    );
}

/// Publishes, and comes back each time it is ended, as an encoder with reconnect does.
async fn encode_with_reconnect(at: std::net::SocketAddr, stream: String) {
    loop {
        let mut guest = Guest::ask(at, Action::Publish, &stream, Vec::new()).await;
        assert!(guest.has_started(), "{stream}: {:?}", guest.status);
        guest.send(&video(0, &[0x17; 100])).await;
        guest.wait_for_end().await;
    }
}

#[tokio::test]
async fn a_proxy_drains_itself_and_changes_its_mind() {
    let house = House::open("[drain]\npace = \"10ms\"\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    let drained = tell(&house, "/api/v1/proxy/drain").await;
    assert_eq!(drained["draining"], true);
    assert_eq!(drained["drain"]["publishers"], 1);
    assert_eq!(get(house.at.system, "/readyz").await.0, 503);
    let refused = house.ask(Action::Play, "live/a").await;
    assert!(refused.words().contains("stopping"), "{}", refused.words());

    tell(&house, "/api/v1/proxy/undrain").await;
    assert_eq!(get(house.at.system, "/readyz").await.0, 200);
    assert!(house.ask(Action::Play, "live/a").await.has_started());

    tell(&house, "/api/v1/proxy/drain?deadline=0s").await;
    publisher.read_to_end().await;
    house.until_sessions(0).await;
    let (_, body) = get(house.at.system, "/api/v1/proxy").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(document["data"]["drain"]["done"], true, "{body}");
}

#[tokio::test]
async fn a_deregistered_origin_drains_and_is_gone_after_its_last_session() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(house.proxy.registry().deregister(&"one".into()));
    let row = row(&house, "one").await;
    assert_eq!(row["drain"]["cause"], "deregistered");
    assert!(
        house.ask(Action::Play, "live/a").await.has_started(),
        "players may join"
    );
    assert!(!house.ask(Action::Publish, "live/b").await.has_started());
    drop(publisher);
    until("its removal", || {
        house.proxy.registry().origins().is_empty()
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_drained_is_said_so() {
    let house = House::open("").await;
    house.register("one", "127.0.0.1:1".parse().expect("an address"));
    for (path, status) in [
        ("/api/v1/origins/nobody/drain", 404),
        ("/api/v1/origins/nobody/disable", 404),
        ("/api/v1/origins/nobody/undrain", 404),
        ("/api/v1/origins/one/drain?deadline=soon", 400),
        ("/api/v1/origins/one/drain?expect=idle", 400),
        ("/api/v1/origins/one/drain?expct=active", 400),
        ("/api/v1/origins/one/disable?deadline=10m", 400),
        ("/api/v1/origins/one/undrain?force=perhaps", 400),
        ("/api/v1/proxy/drain?deadline=10", 400),
    ] {
        assert_eq!(post(house.at.system, path, "").await.0, status, "{path}");
    }
}

/// A request that changes an origin; its status and what is said, which is the duty where it was changed.
async fn change(house: &House, method: &str, origin: &str, rest: &str) -> (u16, String) {
    let (status, document) = changed(house, method, origin, rest).await;
    let said = match status {
        200 => &document["data"]["duty"],
        _ => &document["error"],
    };
    (status, said.as_str().unwrap_or_default().to_owned())
}

/// The same, with the whole document.
async fn changed(house: &House, method: &str, origin: &str, rest: &str) -> (u16, Value) {
    let request = format!(
        "{method} /api/v1/origins/{origin}{rest} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let (status, body) = talk(house.at.system, &request).await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[tokio::test]
async fn the_last_origin_of_a_service_is_taken_away_by_force_alone() {
    let house = House::open("").await;
    let stub = Stub::start(Manner::Grants).await;
    let rtmp = format!(r#""rtmp":["{}"]"#, stub.at.port());
    house.register_with("one", &format!(r#"{rtmp},"http":["8080"],"api":["1985"]"#));
    let last =
        |services: &str| format!("one is the last one for {services}: no other active origin");
    let refused = async |method, rest, services: &str| {
        let (status, said) = changed(&house, method, "one", rest).await;
        assert_eq!(status, 409, "{method} {rest}: {said}");
        let words = said["error"].as_str().unwrap_or_default();
        assert!(
            words.starts_with(&last(services)),
            "{method} {rest}: {said}"
        );
        assert_eq!(said["force"], true, "{method} {rest}: {said}");
        assert_eq!(row(&house, "one").await["duty"], "active");
    };
    let ways = [("POST", "/drain"), ("POST", "/disable"), ("DELETE", "")];
    for (method, rest) in ways {
        refused(method, rest, "http and rtmp").await;
    }
    refused("POST", "/drain?deadline=10m&force=false", "http and rtmp").await;
    // One that takes RTMP too is no help to those who play by HTTP.
    house.register("two", Stub::start(Manner::Grants).await.at);
    refused("POST", "/drain", "http").await;
    assert_eq!(change(&house, "POST", "two", "/disable").await.0, 200);
    refused("POST", "/disable", "http and rtmp").await;
    assert_eq!(change(&house, "POST", "two", "/undrain").await.0, 200);
    house.register_with("three", r#""rtmp":["1"],"http":["1"]"#);
    let (status, said) = change(&house, "POST", "one", "/drain").await;
    assert_eq!((status, said.as_str()), (200, "draining"));

    // What takes no new streams by now is no loss; the last one goes by force.
    assert_eq!(change(&house, "POST", "one", "/disable").await.0, 200);
    assert_eq!(change(&house, "DELETE", "one", "").await.0, 200);
    assert_eq!(change(&house, "DELETE", "two", "").await.0, 200);
    for (method, rest) in ways {
        let (status, said) = change(&house, method, "three", rest).await;
        assert_eq!(status, 409, "{said}");
    }
    let (status, said) = change(&house, "POST", "three", "/drain?force=true").await;
    assert_eq!((status, said.as_str()), (200, "draining"));
    assert_eq!(change(&house, "POST", "three", "/undrain").await.0, 200);
    assert_eq!(
        change(&house, "DELETE", "three", "?force=true").await.0,
        200
    );
    until("it is gone", || house.proxy.registry().origins().is_empty()).await;
}

#[tokio::test]
async fn of_two_who_drain_the_last_two_origins_one_is_refused() {
    let house = House::open("").await;
    for id in ["one", "two"] {
        house.register(id, Stub::start(Manner::Grants).await.at);
    }
    let (one, two) = tokio::join!(
        change(&house, "POST", "one", "/drain"),
        change(&house, "DELETE", "two", "")
    );
    let mut statuses = [one.0, two.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
}

#[tokio::test]
async fn it_is_counted_how_many_origins_take_new_streams() {
    let house = House::open("").await;
    let taking = || {
        let metrics = house.proxy.metrics().render();
        let mut lines = metrics.lines();
        let count = lines.find_map(|line| line.strip_prefix("sluicegate_origins_taking_streams "));
        count
            .expect("it is counted")
            .parse::<u32>()
            .expect("a number")
    };
    assert_eq!(taking(), 0, "none is known");
    let stub = Stub::start(Manner::Grants).await;
    let limited = format!(r#""rtmp":["{}"],"max_streams":1"#, stub.at.port());
    house.register_with("one", &limited);
    house.register("two", Stub::start(Manner::Grants).await.at);
    assert_eq!(taking(), 2);
    tell(&house, "/api/v1/origins/two/drain").await;
    assert_eq!(taking(), 1, "one drains");
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{}", publisher.words());
    assert_eq!(taking(), 0, "the other is full");
    tell(&house, "/api/v1/origins/two/disable").await;
    assert_eq!(taking(), 0, "out of service is no better");
    tell(&house, "/api/v1/origins/two/undrain").await;
    assert_eq!(taking(), 1);
}

#[tokio::test]
async fn a_change_goes_by_what_its_caller_saw() {
    let house = House::open("").await;
    for id in ["one", "two"] {
        house.register(id, Stub::start(Manner::Grants).await.at);
    }
    // A request about "one", its status, and what is said.
    let rows = [
        (
            "POST",
            "/undrain?expect=draining",
            409,
            "one is active now, not draining as was expected",
        ),
        (
            "POST",
            "/drain?expect=disabled",
            409,
            "one is active now, not disabled as was expected",
        ),
        ("POST", "/drain?expect=active&deadline=10m", 200, "draining"),
        (
            "POST",
            "/drain?expect=active",
            409,
            "one is draining now, not active as was expected",
        ),
        ("POST", "/disable?expect=draining", 200, "disabled"),
        (
            "POST",
            "/undrain?expect=draining",
            409,
            "one is disabled now, not draining as was expected",
        ),
        ("POST", "/undrain?expect=disabled", 200, "active"),
        (
            "DELETE",
            "?expect=disabled",
            409,
            "one is active now, not disabled as was expected",
        ),
        // What is forced is still what was meant.
        (
            "DELETE",
            "?expect=disabled&force=true",
            409,
            "one is active now, not disabled as was expected",
        ),
        ("DELETE", "?expect=active", 200, ""),
        (
            "DELETE",
            "?expect=active",
            404,
            "no origin stands under that id; GET /api/v1/origins lists them",
        ),
    ];
    for (method, rest, status, said) in rows {
        let (heard, document) = changed(&house, method, "one", rest).await;
        let words = match status {
            200 => &document["data"]["duty"],
            _ => &document["error"],
        };
        let words = words.as_str().unwrap_or_default();
        assert_eq!((heard, words), (status, said), "{method} {rest}");
        // None of these is done by force either.
        assert_eq!(document.get("force"), None, "{method} {rest}");
    }
}

const STREAMS: usize = 50;

/// Publishers of a proxy that is asked to stop, and when each of them was ended, in order and counted from the order to stop.
async fn ended_at(house: &mut House, count: usize) -> Vec<Duration> {
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut guests = JoinSet::new();
    for number in 0..count {
        let guest = house.ask(Action::Publish, &format!("live/s{number}")).await;
        assert!(guest.has_started(), "{number}");
        guests.spawn(async move {
            let mut guest = guest;
            guest.wait_for_end().await;
            Instant::now()
        });
    }
    let asked = Instant::now();
    house.stop.cancel();
    let mut ends = guests.join_all().await;
    ends.sort();
    (&mut house.serving).await.expect("it ends in peace");
    ends.into_iter().map(|end| end - asked).collect()
}

#[tokio::test]
async fn what_is_left_after_the_grace_time_ends_one_by_one() {
    let mut house =
        House::open("[drain]\npace = \"50ms\"\n[shutdown]\ngrace = \"300ms\"\nforce = \"20s\"\n")
            .await;
    let ends = ended_at(&mut house, 20).await;
    assert!(ends[0] >= Duration::from_millis(300), "{ends:?}");
    let took = ends[19] - ends[0];
    assert!(took >= Duration::from_millis(700), "{took:?}: {ends:?}");
}

#[tokio::test]
async fn where_the_process_has_to_end_soon_several_end_at_a_time() {
    // One by one, 40 would take 12 seconds. There is one.
    let mut house = House::open(
        "[drain]\npace = \"300ms\"\n[shutdown]\ngrace = \"100ms\"\nforce = \"3100ms\"\n",
    )
    .await;
    let ends = ended_at(&mut house, 40).await;
    let took = ends[39] - ends[0];
    let limits = Duration::from_millis(500)..Duration::from_millis(2500);
    assert!(limits.contains(&took), "{took:?}: {ends:?}");
}

#[tokio::test]
async fn a_proxy_that_stops_is_ready_for_those_who_ask_so_and_one_that_is_drained_is_not() {
    let house = House::open("[http]\nhealth = true\n[shutdown]\ngrace = \"60s\"\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let lenient = "/readyz?while_stopping=true";
    tell(&house, "/api/v1/proxy/drain").await;
    for path in ["/readyz", lenient] {
        assert_eq!(get(house.at.system, path).await.0, 503, "{path}");
        assert_eq!(get(house.at.http, path).await.0, 503, "{path}");
    }
    tell(&house, "/api/v1/proxy/undrain").await;
    let _publisher = house.ask(Action::Publish, "live/a").await;
    house.stop.cancel();
    until("it stops", || house.proxy.is_stopping()).await;
    assert_eq!(get(house.at.system, "/readyz").await.0, 503);
    let (status, body) = get(house.at.system, lenient).await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        (&document["ready"], &document["draining"]),
        (&true.into(), &true.into())
    );
}
