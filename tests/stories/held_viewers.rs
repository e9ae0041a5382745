//! Viewers that share a pull, and outlive its origin or the absence of their publisher.

use std::time::{Duration, Instant};

use sluicegate::demo::origin::EmbeddedOrigin;
use sluicegate::sessions::{EndReason, State};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;

use crate::fanout::{
    AUDIO_HEADER, FlvViewer, OPEN, VIDEO_HEADER, audio, house_and_origin, is_picture, keyframe,
    marks, picture, published, told, until_marks, video,
};
use crate::house::{Guest, House, Manner, Stub, until, until_told};

/// An origin that plays a group of pictures marked so to everybody.
async fn playing(manner: Manner, marks: &[u8]) -> Stub {
    let (first, others) = marks.split_first().expect("a mark");
    let mut media = vec![
        audio(0, AUDIO_HEADER),
        video(0, VIDEO_HEADER),
        keyframe(5000, *first),
    ];
    let later = others.iter().zip(1_u32..);
    media.extend(later.map(|(mark, number)| picture(5000 + number * 40, *mark)));
    Stub::with(manner, 0, media).await
}

/// The timestamps of the pictures that a viewer has.
pub(crate) fn times(viewer: &Guest) -> Vec<u32> {
    let pictures = viewer.media.iter().filter(|one| is_picture(one));
    pictures.map(|one| one.timestamp).collect()
}

/// How often a viewer was sent the decoder configuration of its pictures.
fn headers(media: &[Message]) -> usize {
    let is_header = |one: &&Message| one.kind == kind::VIDEO && one.payload == VIDEO_HEADER;
    media.iter().filter(is_header).count()
}

pub(crate) async fn another_origin(house: &House) -> EmbeddedOrigin {
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let origin = EmbeddedOrigin::bind(loopback, loopback)
        .await
        .expect("ports");
    let (rtmp, http) = (origin.rtmp().port(), origin.http().port());
    house.register_with("two", &format!(r#""rtmp":["{rtmp}"],"http":["{http}"]"#));
    origin
}

#[tokio::test]
async fn viewers_and_their_publisher_outlive_the_death_of_their_origin() {
    let (house, one) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut first = house.ask(Action::Play, "live/a").await;
    until_marks(&mut first, &[1, 2, 3]).await;
    let mut second = FlvViewer::pull(&house, "/live/a.flv").await;
    second.until_marks(&[1, 2, 3]).await;
    let two = another_origin(&house).await;
    one.stop().await;
    // What is sent before the other origin has both legs is lost, like any picture before a keyframe.
    let mut mark = 100;
    until_told("the stream at the other origin", async || {
        mark += 1;
        let time = 5000 + u32::from(mark) * 40;
        publisher.send(&keyframe(time, mark)).await;
        let row = house.proxy.sessions().list().pop();
        row.is_some_and(|row| row.state() == State::Relaying && !row.holds().is_empty())
    })
    .await;
    publisher.send(&picture(60_000, 9)).await;
    let has = |viewer: &Guest| marks(viewer).last() == Some(&9);
    assert!(first.read_until(has).await, "it goes on");
    second.until_last_mark(9).await;
    assert_eq!(two.seen().players().count(), 1, "one pull for both");
    let seen = marks(&first);
    assert_eq!(seen[..3], [1, 2, 3]);
    let times = times(&first);
    assert_eq!(times[..4], [0, 40, 80, 120], "no hole, and no step back");
    assert_eq!(headers(&first.media), 2, "the decoder is told again");
    let flv: Vec<u32> = second.pictures().iter().map(|(time, _)| *time).collect();
    assert_eq!(flv[..4], [0, 40, 80, 120]);

    let sessions = told(&house, "/api/v1/sessions").await;
    let sessions = sessions["sessions"].as_array().expect("rows").clone();
    assert_eq!(sessions.len(), 3, "nobody had to come again");
    for session in &sessions {
        assert_eq!(session["origin"], "two", "{session}");
        let hold = &session["holds"][0];
        assert_eq!(
            (&hold["from"], &hold["to"]),
            (&"one".into(), &"two".into()),
            "{hold}"
        );
        assert!(hold["gap_ms"].is_u64(), "{hold}");
    }
    let events = told(&house, "/api/v1/events?kind=held").await;
    let events = events.to_string();
    assert!(events.contains("2 viewers held"), "{events}");
    assert!(
        events.contains("2 viewers shown the stream again after"),
        "{events}"
    );
    let metrics = house.proxy.metrics().render();
    let rtmp = r#"sluicegate_hold_gap_seconds_count{protocol="rtmp"} 2"#;
    let flv = r#"sluicegate_hold_gap_seconds_count{protocol="http_flv"} 1"#;
    assert!(metrics.contains(rtmp) && metrics.contains(flv), "{metrics}");
}

#[tokio::test]
async fn a_stream_that_comes_by_another_way_is_pulled_from_where_it_is() {
    let house = House::open(OPEN).await;
    let mut one = playing(Manner::Grants, &[1, 2, 3]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    let two = playing(Manner::Grants, &[7, 8]).await;
    house.register("two", two.at);
    one.kill().await;
    until_marks(&mut viewer, &[1, 2, 3, 7, 8]).await;
    assert_eq!(times(&viewer), [0, 40, 80, 120, 160]);
    assert_eq!(headers(&viewer.media), 2);
}

#[tokio::test]
async fn viewers_outlive_an_origin_that_says_nothing_any_more() {
    let house = House::open(&format!("{OPEN}[session]\ndial_timeout = \"300ms\"\n")).await;
    let one = playing(Manner::Grants, &[1, 2, 3]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    let two = playing(Manner::Grants, &[7]).await;
    house.register("two", two.at);
    one.freeze();
    until_marks(&mut viewer, &[1, 2, 3, 7]).await;
    let row = house.proxy.sessions().list().remove(0);
    let holds = row.holds();
    assert_eq!(holds.len(), 1);
    assert_eq!(holds[0].reason.as_str(), "silent");
}

#[tokio::test]
async fn without_another_origin_viewers_end_when_their_time_is_over() {
    let house = House::open(&format!("{OPEN}[hold]\nviewers = \"600ms\"\n")).await;
    let mut one = playing(Manner::Grants, &[1]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1]).await;
    let row = house.proxy.sessions().list().remove(0);
    one.kill().await;
    let began = Instant::now();
    until("the hold", || row.state() == State::Held).await;
    viewer.read_to_end().await;
    assert!(began.elapsed() >= Duration::from_millis(500));
    house.until_sessions(0).await;
    assert_eq!(row.end_reason(), Some(EndReason::OriginClosed));
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_holds_total{protocol="rtmp",reason="closed",outcome="ended"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn an_origin_that_closes_what_it_grants_is_not_asked_without_end() {
    let house = House::open(&format!("{OPEN}[hold]\nviewers = \"2s\"\n")).await;
    let mut one = playing(Manner::Grants, &[1]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1]).await;
    let two = Stub::start(Manner::HangsUp).await;
    house.register("two", two.at);
    one.kill().await;
    viewer.read_to_end().await;
    assert!(two.connections() < 40, "{}", two.connections());
}

/// What a pull was closed twice for has nothing to do with a publisher that leaves later.
#[tokio::test]
async fn a_hold_that_was_over_long_ago_does_not_go_on() {
    let settings = format!("{OPEN}[hold]\nviewers = \"60s\"\npublisher_away = \"700ms\"\n");
    let house = House::open(&settings).await;
    let mut one = playing(Manner::Closes, &[1]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    let lost = Instant::now();
    until("it closes what it got back", || one.connections() > 2).await;
    let two = playing(Manner::Grants, &[7, 8]).await;
    house.register("two", two.at);
    one.kill().await;
    let has = |viewer: &Guest| marks(viewer).last() == Some(&8);
    assert!(viewer.read_until(has).await, "it goes on");
    let row = house.proxy.sessions().list().remove(0);
    until("it is served", || row.state() == State::Relaying).await;
    // The hold began longer ago than a publisher may be away.
    tokio::time::sleep(Duration::from_secs(1).saturating_sub(lost.elapsed())).await;
    let away = Instant::now();
    two.unpublish();
    viewer.read_to_end().await;
    let held = away.elapsed();
    assert!(held >= Duration::from_millis(600), "{held:?}");
    assert_eq!(row.end_reason(), Some(EndReason::PlayerIdle));
}

#[tokio::test]
async fn a_no_in_words_ends_viewers_unless_their_publisher_may_still_come() {
    let refuses = Manner::Refuses("NetStream.Play.StreamNotFound", "no such stream");
    let settings = format!("{OPEN}[hold]\nviewers = \"60s\"\npublisher_away = \"400ms\"\n");
    let house = House::open(&settings).await;
    let mut one = playing(Manner::Grants, &[1]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1]).await;
    let row = house.proxy.sessions().list().remove(0);
    let two = Stub::start(refuses).await;
    house.register("two", two.at);
    one.kill().await;
    let began = Instant::now();
    viewer.read_to_end().await;
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(two.connections() > 1, "it was asked again meanwhile");
    assert_eq!(row.end_reason(), Some(EndReason::Refused));
}

#[tokio::test]
async fn viewers_wait_for_their_publisher_and_not_for_ever() {
    let settings = format!("{OPEN}[hold]\npublisher_away = \"500ms\"\n");
    let house = House::open(&settings).await;
    let one = playing(Manner::Grants, &[1, 2]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2]).await;
    let row = house.proxy.sessions().list().remove(0);
    one.unpublish();
    until("the hold", || row.state() == State::Held).await;
    assert_eq!(row.holds()[0].reason.as_str(), "publisher_away");
    viewer.read_to_end().await;
    assert_eq!(row.end_reason(), Some(EndReason::PlayerIdle));
    assert_eq!(
        viewer.code(),
        "NetStream.Play.Start",
        "it heard nothing of that"
    );
}

#[tokio::test]
async fn a_publisher_that_comes_back_at_another_origin_has_its_viewers_there() {
    let (house, one) = house_and_origin(OPEN).await;
    let publisher = published(&house, "live/a").await;
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    drop(publisher);
    house.until_sessions(1).await;
    let _two = another_origin(&house).await;
    one.stop().await;
    let mut back = house.ask(Action::Publish, "live/a").await;
    assert!(back.has_started(), "{:?}", back.status);
    back.send(&audio(0, AUDIO_HEADER)).await;
    back.send(&video(0, VIDEO_HEADER)).await;
    back.send(&keyframe(0, 8)).await;
    back.send(&picture(40, 9)).await;
    until_marks(&mut viewer, &[1, 2, 3, 8, 9]).await;
    assert_eq!(times(&viewer), [0, 40, 80, 120, 160]);
}

#[tokio::test]
async fn a_drain_past_its_deadline_takes_the_viewers_along() {
    let (house, _one) = house_and_origin(&format!("{OPEN}[drain]\npace = \"20ms\"\n")).await;
    let mut publisher = published(&house, "live/a").await;
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    let two = another_origin(&house).await;
    let path = "/api/v1/origins/one/drain?deadline=0s";
    let (status, body) = crate::house::post(house.at.system, path, "").await;
    assert_eq!(status, 200, "{body}");
    let mut mark = 100;
    until_told("a picture by way of the other origin", async || {
        mark += 1;
        let time = 5000 + u32::from(mark) * 40;
        publisher.send(&keyframe(time, mark)).await;
        two.seen().players().count() == 1
            && house
                .proxy
                .sessions()
                .list()
                .iter()
                .all(|row| row.state() == State::Relaying)
    })
    .await;
    publisher.send(&picture(60_000, 9)).await;
    let has = |viewer: &Guest| marks(viewer).last() == Some(&9);
    assert!(viewer.read_until(has).await, "it goes on");
    assert_eq!(times(&viewer)[..4], [0, 40, 80, 120]);
    assert_eq!(house.proxy.sessions().len(), 2, "nobody had to come again");
}

#[tokio::test]
async fn a_pull_that_is_closed_again_and_again_is_one_hold() {
    let house = House::open(&format!("{OPEN}[hold]\nviewers = \"2s\"\n")).await;
    let one = playing(Manner::Closes, &[1, 2]).await;
    house.register("one", one.at);
    let mut viewer = house.ask(Action::Play, "live/a").await;
    assert!(viewer.has_started(), "{}", viewer.code());
    viewer.read_to_end().await;
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "origin_closed");
    let asked = one.seen.lock().expect("a test").requests.len();
    assert!(
        (2..15).contains(&asked),
        "it is asked less and less: {asked}"
    );
}
