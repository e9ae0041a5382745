//! Publishers that outlive their origin.

use std::time::{Duration, Instant};

use serde_json::Value;
use sluicegate::sessions::{EndReason, State};
use sluicegate_core::rtmp::amf0::Value as Amf0;
use sluicegate_core::rtmp::message::{Command, Message, kind};
use sluicegate_core::stream::Action;

use crate::house::{Guest, House, Manner, Stub, get, post, until, until_told, video};

pub(crate) const HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 0x64];
pub(crate) const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 9, 9, 9];
pub(crate) const FRAME: &[u8] = &[0x27, 1, 0, 0, 0, 8, 8];

fn sound_header() -> Message {
    Message {
        timestamp: 0,
        kind: kind::AUDIO,
        stream_id: 1,
        payload: vec![0xAF, 0, 0x12, 0x10],
    }
}

/// A publisher on `origin`, whose media has come there.
pub(crate) async fn publishing(house: &House, origin: &Stub) -> Guest {
    let mut guest = house.ask(Action::Publish, "live/a").await;
    assert!(guest.has_started(), "{:?}", guest.status);
    for message in [sound_header(), video(0, HEADER), video(0, KEYFRAME)] {
        guest.send(&message).await;
    }
    until("its media", || origin.seen.lock().unwrap().media.len() == 3).await;
    until("the row", || {
        let rows = house.proxy.sessions().list();
        rows.iter().all(|row| row.state() == State::Relaying)
    })
    .await;
    guest
}

/// A proxy with these settings, an origin, and a publisher whose media has come there.
pub(crate) async fn on_air(settings: &str) -> (House, Stub, Guest) {
    let house = House::open(settings).await;
    let one = Stub::start(Manner::Grants).await;
    house.register("one", one.at);
    let guest = publishing(&house, &one).await;
    (house, one, guest)
}

/// Sends a picture after each time an origin may have been found, until `origin` has the stream.
async fn goes_on_at(guest: &mut Guest, origin: &Stub) {
    until_told("the stream at the other origin", async || {
        guest.send(&video(1000, FRAME)).await;
        !origin.seen.lock().unwrap().requests.is_empty()
    })
    .await;
}

/// What an origin got, once there is a picture.
async fn got(origin: &Stub) -> Vec<Message> {
    until("a picture", || {
        let seen = origin.seen.lock().unwrap();
        seen.media.iter().any(|message| message.payload == KEYFRAME)
    })
    .await;
    origin.seen.lock().unwrap().media.clone()
}

/// The only session, as the API shows it.
pub(crate) async fn session(house: &House) -> Value {
    let (_, body) = get(house.at.system, "/api/v1/sessions").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let sessions = &document["data"]["sessions"];
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{body}");
    sessions[0].clone()
}

/// The other origin got the headers and then everything from a keyframe on, and the encoder noticed nothing.
pub(crate) async fn goes_on(house: &House, guest: &mut Guest, other: &Stub, reasons: &[&str]) {
    goes_on_at(guest, other).await;
    until("the other leg", || {
        house.origin_of("live/a").as_deref() == Some("two")
    })
    .await;
    // The origin has granted it, and the proxy may not have read that yet: what comes before is dropped as well.
    let mut time = 2000;
    until_told("a picture at the other origin", async || {
        time += 40;
        guest.send(&video(time, KEYFRAME)).await;
        !other.seen.lock().unwrap().media.is_empty()
    })
    .await;
    let media = got(other).await;
    let kinds: Vec<_> = media
        .iter()
        .take(3)
        .map(|message| (message.kind, &*message.payload))
        .collect();
    assert_eq!(
        kinds,
        [
            (kind::AUDIO, &[0xAF, 0, 0x12, 0x10][..]),
            (kind::VIDEO, HEADER),
            (kind::VIDEO, KEYFRAME)
        ]
    );
    assert!(media[2].timestamp > 2000, "its time goes on");
    assert_eq!(media[0].timestamp, media[2].timestamp);
    until("the row", || {
        let rows = house.proxy.sessions().list();
        rows.iter().all(|row| row.state() == State::Relaying)
    })
    .await;
    let session = session(house).await;
    let hold = &session["holds"][0];
    assert_eq!(session["origin"], "two");
    assert_eq!((&hold["from"], &hold["to"]), (&"one".into(), &"two".into()));
    let reason = hold["reason"].as_str().expect("a reason");
    assert!(reasons.contains(&reason), "{hold}");
    assert!(
        hold["gap_ms"].is_u64() && hold["dropped"].as_u64() > Some(0),
        "{hold}"
    );
    let metrics = house.proxy.metrics().render();
    let counted =
        format!(r#"sluicegate_holds_total{{protocol="rtmp",reason="{reason}",outcome="kept"}} 1"#);
    assert!(metrics.contains(&counted), "{metrics}");
    assert!(metrics.contains(r#"sluicegate_hold_gap_seconds_count{protocol="rtmp"} 1"#));
}

#[tokio::test]
async fn a_publisher_outlives_the_death_of_its_origin() {
    let (house, mut one, mut guest) = on_air("").await;
    let two = Stub::start(Manner::Grants).await;
    house.register("two", two.at);
    one.kill().await;
    goes_on(&house, &mut guest, &two, &["closed", "reset"]).await;
}

/// However a client gives up the second stream, the first has its publisher all the same.
#[tokio::test]
async fn a_publisher_that_gave_up_a_refused_stream_is_held() {
    let stops = [
        Command::call("closeStream", 0.0, Vec::new()),
        Command::call("publish", 0.0, vec![Amf0::Boolean(false)]),
    ];
    for stop in stops {
        let (house, mut one, mut guest) = on_air("").await;
        let two = Stub::start(Manner::Grants).await;
        house.register("two", two.at);
        let second = guest.stream_id() + 1;
        let create = Command::call("createStream", 7.0, Vec::new());
        guest.tell(0, &create).await;
        let publish = Command::call("publish", 8.0, vec!["b".into(), "live".into()]);
        guest.tell(second, &publish).await;
        let refused = |guest: &Guest| guest.code() == "NetStream.Publish.BadName";
        assert!(guest.read_until(refused).await, "{stop:?}");
        guest.tell(second, &stop).await;
        one.kill().await;
        goes_on(&house, &mut guest, &two, &["closed", "reset"]).await;
    }
}

#[tokio::test]
async fn a_publisher_goes_on_at_an_origin_that_looks_for_chunk_sizes_only_among_commands() {
    let (house, mut one, mut guest) = on_air("").await;
    let two = Stub::start(Manner::ReadsSizesOnce).await;
    let endpoints = format!(r#""rtmp":["{}"],"dialect":"go2rtc""#, two.at.port());
    house.register_with("two", &endpoints);
    one.kill().await;
    goes_on(&house, &mut guest, &two, &["closed", "reset"]).await;
    guest.set_chunk_size(4096).await;
    guest.send(&video(9000, &[0x27; 10_000])).await;
    until("a picture in other chunks, or the end", || {
        let seen = two.seen.lock().unwrap();
        seen.closed > 0 || seen.media.iter().any(|message| message.timestamp == 9000)
    })
    .await;
    assert_eq!(two.seen.lock().unwrap().closed, 0);
}

#[tokio::test]
async fn a_publisher_outlives_an_origin_that_takes_nothing_and_says_nothing() {
    let (house, one, mut guest) = on_air("[session]\ndial_timeout = \"300ms\"\n").await;
    let two = Stub::start(Manner::Grants).await;
    house.register("two", two.at);
    one.freeze();
    // More than all buffers on the way take.
    let frame = [&FRAME[..5], &vec![0; 400_000]].concat();
    until_told("the hold", async || {
        guest.send(&video(500, &frame)).await;
        let rows = house.proxy.sessions().list();
        rows.iter().any(|row| row.state() == State::Held)
    })
    .await;
    goes_on(&house, &mut guest, &two, &["silent"]).await;
}

#[tokio::test]
async fn a_publisher_outlives_a_drain_past_its_deadline() {
    let (house, one, mut guest) = on_air("[drain]\npace = \"20ms\"\n").await;
    let two = Stub::start(Manner::Grants).await;
    house.register("two", two.at);
    let path = "/api/v1/origins/one/drain?deadline=0s";
    let (status, body) = post(house.at.system, path, "").await;
    assert_eq!(status, 200, "{body}");
    until_told("a picture at the other origin", async || {
        guest.send(&video(3000, KEYFRAME)).await;
        !two.seen.lock().unwrap().media.is_empty()
    })
    .await;
    until("the old leg", || one.seen.lock().unwrap().closed == 1).await;
    let session = session(&house).await;
    assert_eq!(session["origin"], "two");
    assert_eq!(session["holds"][0]["reason"], "moved", "{session}");
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_moves_total{cause="drained",outcome="made"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn an_origin_that_comes_back_has_the_stream_again() {
    let house = House::open("").await;
    let mut one = Stub::start(Manner::Grants).await;
    let at = one.at;
    house.register("one", at);
    let mut guest = publishing(&house, &one).await;
    one.kill().await;
    let listener = tokio::net::TcpListener::bind(at).await.expect("its port");
    let one = Stub::on(listener, Manner::Grants, 0, Vec::new());
    goes_on_at(&mut guest, &one).await;
    until_told("a picture", async || {
        guest.send(&video(3000, KEYFRAME)).await;
        !one.seen.lock().unwrap().media.is_empty()
    })
    .await;
    assert_eq!(house.proxy.sessions().len(), 1);
}

#[tokio::test]
async fn a_no_in_words_ends_the_hold() {
    let (house, mut one, mut guest) = on_air("").await;
    let refuses = Manner::Refuses("NetStream.Publish.BadName", "not on air any more");
    let two = Stub::start(refuses).await;
    house.register("two", two.at);
    one.kill().await;
    guest.read_to_end().await;
    assert_eq!(guest.code(), "NetStream.Publish.BadName");
    assert_eq!(guest.words(), "not on air any more");
    house.until_sessions(0).await;
}

#[tokio::test]
async fn without_another_origin_the_hold_ends_in_its_time() {
    let (house, mut one, mut guest) = on_air("[hold]\npublishers = \"600ms\"\n").await;
    one.kill().await;
    let began = Instant::now();
    guest.read_to_end().await;
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    house.until_sessions(0).await;
    let metrics = house.proxy.metrics().render();
    assert!(metrics.contains(r#"outcome="ended"} 1"#), "{metrics}");
    assert!(
        metrics.contains(r#"action="publish",reason="origin_closed"} 1"#),
        "{metrics}"
    );
}

/// Each round of the hold asks the origin that is gone.
#[tokio::test]
async fn what_is_told_of_a_held_publisher_does_not_grow_and_does_not_say_live() {
    let (house, mut one, _guest) = on_air("[hold]\npublishers = \"60s\"\n").await;
    one.kill().await;
    until_told("several rounds", async || {
        let session = session(&house).await;
        let failed = session["failed"].as_array().expect("a list");
        assert!(failed.len() <= 1, "each origin once: {session}");
        let why = failed.first().and_then(|one| one["why"].as_str());
        why.is_some_and(|why| why.contains("it failed"))
    })
    .await;
    for (state, count) in [("held", 1), ("live", 0)] {
        let (_, body) = get(house.at.system, &format!("/api/v1/streams?state={state}")).await;
        let document: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(document["data"]["total"], count, "{state}: {body}");
    }
}

#[tokio::test]
async fn without_a_hold_the_end_of_the_origin_is_the_end_of_the_session() {
    let (house, mut one, mut guest) = on_air("[hold]\npublishers = \"0s\"\n").await;
    let two = Stub::start(Manner::Grants).await;
    house.register("two", two.at);
    one.kill().await;
    guest.read_to_end().await;
    house.until_sessions(0).await;
    assert_eq!(two.connections(), 0);
}

#[tokio::test]
async fn an_encoder_that_comes_back_takes_its_held_session_over() {
    let settings = "[session]\ntakeover_after = \"60s\"\n[hold]\npublishers = \"60s\"\n";
    let (house, mut one, mut guest) = on_air(settings).await;
    let row = house.proxy.sessions().list().remove(0);
    one.kill().await;
    until("the hold", || row.state() == State::Held).await;
    let began = Instant::now();
    let again = house.ask(Action::Publish, "live/a").await;
    assert!(
        again.words().contains("no origin answered"),
        "{}",
        again.words()
    );
    assert!(began.elapsed() < Duration::from_secs(30));
    assert_eq!(row.end_reason(), Some(EndReason::Replaced));
    guest.read_to_end().await;
}

#[tokio::test]
async fn another_encoder_does_not_get_a_stream_whose_publisher_is_held() {
    let settings = "[session]\ntakeover_after = \"100ms\"\n[hold]\npublishers = \"60s\"\n\
        [proxy_protocol]\naccept_from = [\"127.0.0.1\"]\n";
    let house = House::open(settings).await;
    let mut one = Stub::start(Manner::Grants).await;
    house.register("one", one.at);
    let from = |ip: &str| format!("PROXY TCP4 {ip} 127.0.0.1 4242 1935\r\n");
    let ask = async |ip: &str| {
        let preface = from(ip);
        let (at, action) = (house.at.rtmp, Action::Publish);
        Guest::ask_after(at, preface.as_bytes(), action, "live/a", Vec::new()).await
    };
    let mut guest = ask("203.0.113.1").await;
    for message in [sound_header(), video(0, HEADER), video(0, KEYFRAME)] {
        guest.send(&message).await;
    }
    let row = house.proxy.sessions().list().remove(0);
    until("its media", || row.state() == State::Relaying).await;
    one.kill().await;
    until("the hold", || row.state() == State::Held).await;
    let sending = async {
        loop {
            guest.send(&video(40, FRAME)).await;
            tokio::task::yield_now().await;
        }
    };
    let other = tokio::select! {
        () = sending => unreachable!("it goes on"),
        other = ask("203.0.113.2") => other,
    };
    assert_eq!(other.code(), "NetStream.Publish.BadName");
    assert!(
        other.words().contains("another client publishes it"),
        "{}",
        other.words()
    );
    assert!(!row.has_ended());
}

#[tokio::test]
async fn an_origin_that_closes_a_publisher_it_had_got_back_is_not_asked_again() {
    let house = House::open("[hold]\npublishers = \"60s\"\n").await;
    let one = Stub::start(Manner::Closes).await;
    house.register("one", one.at);
    let mut guest = house.ask(Action::Publish, "live/a").await;
    assert!(guest.has_started(), "{}", guest.code());
    let row = house.proxy.sessions().list().remove(0);
    guest.send(&video(0, HEADER)).await;
    let mut time = 0;
    while !row.has_ended() {
        guest.send(&video(time, KEYFRAME)).await;
        time += 40;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "origin_closed");
    let asked = one.seen.lock().expect("a test").requests.len();
    assert_eq!(asked, 2, "once, and once more");
}
