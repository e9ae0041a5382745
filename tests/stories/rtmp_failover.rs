//! Origins that are gone, silent or stubborn, and what a client then hears.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::sessions::EndReason;
use sluicegate_core::stream::Action;
use tokio::sync::Semaphore;

use crate::house::{Guest, House, Manner, PATIENCE, Stub, nowhere, until, video};

#[tokio::test]
async fn a_dead_origin_costs_nothing_and_the_claim_moves() {
    // A client that waited for the dead origin would wait this long.
    let house = House::open("[session]\ndial_timeout = \"60s\"\nsetup_timeout = \"60s\"\n").await;
    let alive = Stub::start(Manner::Grants).await;
    house.register("alive", alive.at);
    house.register("dead", nowhere());
    for name in ["a", "b", "c", "d", "e", "f"] {
        let stream = format!("live/{name}");
        let began = Instant::now();
        let guest = house.ask(Action::Publish, &stream).await;
        assert!(guest.has_started(), "{stream}: {:?}", guest.status);
        assert!(began.elapsed() < PATIENCE);
        assert_eq!(house.origin_of(&stream).as_deref(), Some("alive"));
    }
    let metrics = house.proxy.metrics().render();
    assert!(
        metrics.contains("sluicegate_origins{state=\"failing\"}"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_origin_that_accepts_and_says_nothing_is_left_after_its_second() {
    let house = House::open("").await;
    let (silent, alive) = (
        Stub::start(Manner::Silent).await,
        Stub::start(Manner::Grants).await,
    );
    house.register("silent", silent.at);
    house.register("alive", alive.at);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        let guest = house.ask(Action::Publish, &format!("live/{name}")).await;
        assert!(guest.has_started(), "{name}: {:?}", guest.status);
    }
    assert!(
        silent.connections() >= 1,
        "with eight streams one was first sent there"
    );
    assert_eq!(alive.seen.lock().unwrap().requests.len(), 8);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_origin_is_asked_is_gone_at_once() {
    let surplus = video(0, &[0x27, 1]);
    for (cause, surplus) in [
        ("without a word more", None),
        ("behind media that nobody has read", Some(&surplus)),
    ] {
        for action in [Action::Play, Action::Publish] {
            // A client that waited for the silent origin would wait this long.
            let settings = "[session]\ndial_timeout = \"60s\"\nsetup_timeout = \"60s\"\n";
            let house = House::open(settings).await;
            let silent = Stub::start(Manner::Silent).await;
            house.register("silent", silent.at);
            let mut guest = Guest::call(house.at.rtmp, &[], action, "live/a", Vec::new()).await;
            tokio::select! {
                () = guest.read_to_end() => panic!("the proxy let it go"),
                () = until("the dial", || silent.connections() == 1) => {}
            }
            if let Some(surplus) = surplus {
                guest.send(surplus).await;
            }
            drop(guest);
            house.until_sessions(0).await;
            let ended = format!(
                r#"sluicegate_sessions_ended_total{{protocol="rtmp",action="{}",reason="client_closed"}} 1"#,
                action.as_str()
            );
            let metrics = house.proxy.metrics().render();
            assert!(metrics.contains(&ended), "{action:?} {cause}: {metrics}");
        }
    }
}

#[tokio::test]
async fn with_no_origin_the_client_hears_why() {
    let house = House::open("").await;
    let mut player = house.ask(Action::Play, "live/a").await;
    assert_eq!(player.code(), "NetStream.Play.Failed");
    assert!(
        player.words().contains("no live origin serves rtmp"),
        "{}",
        player.words()
    );
    player.read_to_end().await;
    house.until_sessions(0).await;
}

#[tokio::test]
async fn when_every_origin_fails_the_client_hears_their_names_and_no_address() {
    let house = House::open("").await;
    let hangs_up = Stub::start(Manner::HangsUp).await;
    house.register("one", nowhere());
    house.register("two", hangs_up.at);
    let guest = house.ask(Action::Publish, "live/a").await;
    assert_eq!(guest.code(), "NetStream.Publish.BadName");
    assert!(
        guest.words().contains("one") && guest.words().contains("two"),
        "{}",
        guest.words()
    );
    assert!(!guest.words().contains("127.0.0.1"), "{}", guest.words());
}

#[tokio::test]
async fn an_origins_own_refusal_reaches_the_client_in_its_words() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Refuses(
        "NetStream.Publish.BadName",
        "already publishing",
    ))
    .await;
    house.register("one", origin.at);
    let guest = house.ask(Action::Publish, "live/a").await;
    assert_eq!(
        guest.status.unwrap(),
        (
            "NetStream.Publish.BadName".to_owned(),
            "already publishing".to_owned()
        )
    );
}

#[tokio::test]
async fn a_stream_on_an_origin_without_the_protocol_is_refused_by_name() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("rtmp-only", origin.at);
    let _publisher = house.ask(Action::Publish, "live/a").await;
    house.register_with("with-http", r#""rtmp":["1"],"http":["2"]"#);
    let (status, body) = crate::house::get(house.at.http, "/live/a.flv").await;
    assert_eq!(status, 404);
    assert!(
        body.contains("live/a is on rtmp-only, which has no http"),
        "{body}"
    );
    assert_eq!(
        house.origin_of("live/a").as_deref(),
        Some("rtmp-only"),
        "it is not placed a second time"
    );
}

#[tokio::test]
async fn a_silent_publisher_gives_way_to_one_that_comes_back() {
    let house = House::open("[session]\ntakeover_after = \"300ms\"\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut silent = house.ask(Action::Publish, "live/a").await;
    silent.send(&video(0, &[0x17; 100])).await;
    until("media", || !origin.seen.lock().unwrap().media.is_empty()).await;
    let back = house.ask(Action::Publish, "live/a").await;
    assert!(back.has_started());
    silent.read_to_end().await;
    house.until_sessions(1).await;
    assert_eq!(origin.connections(), 2);
    assert!(
        house
            .proxy
            .metrics()
            .render()
            .contains("reason=\"replaced\"} 1")
    );
}

#[tokio::test]
async fn a_live_publisher_is_not_taken_over() {
    let house = House::open("[session]\ntakeover_after = \"60s\"\n").await;
    let one = Arc::new(Semaphore::new(1));
    let origin = Stub::start(Manner::TakesOne(one)).await;
    house.register("one", origin.at);
    let mut live = house.ask(Action::Publish, "live/a").await;
    let stop = tokio_util::sync::CancellationToken::new();
    let told = stop.clone();
    let sending = tokio::spawn(async move {
        let mut at = 0;
        while !told.is_cancelled() {
            live.send(&video(at, &[0x27; 100])).await;
            at += 20;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        live
    });
    until("media", || !origin.seen.lock().unwrap().media.is_empty()).await;
    let began = Instant::now();
    let second = house.ask(Action::Publish, "live/a").await;
    assert_eq!(
        second.code(),
        "NetStream.Publish.BadName",
        "the decision is the origin's"
    );
    assert!(began.elapsed() < PATIENCE, "it is seen to send at once");
    stop.cancel();
    let _live = sending.await.unwrap();
    house.until_sessions(1).await;
    let metrics = house.proxy.metrics().render();
    assert!(!metrics.contains("reason=\"replaced\""), "nobody was ended");
}

#[tokio::test]
async fn a_kick_closes_both_sides() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut player = house.ask(Action::Play, "live/a").await;
    house.proxy.sessions().end_all(EndReason::Kicked);
    player.read_to_end().await;
    until("the origin side's end", || {
        origin.seen.lock().unwrap().closed == 1
    })
    .await;
    house.until_sessions(0).await;
}

#[tokio::test]
async fn a_drain_lets_sessions_finish_and_then_ends_them() {
    // Enough time for the checks on a busy machine.
    let mut house = House::open("[shutdown]\ngrace = \"4s\"\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut player = house.ask(Action::Play, "live/a").await;
    house.stop.cancel();
    until("the drain", || house.proxy.is_draining()).await;
    assert_eq!(house.proxy.sessions().len(), 1, "it may finish");
    assert!(
        tokio::net::TcpStream::connect(house.at.rtmp).await.is_err(),
        "nothing new is accepted"
    );
    let (status, body) = crate::house::get(house.at.system, "/readyz").await;
    assert_eq!(status, 503, "{body}");
    player.read_to_end().await;
    (&mut house.serving).await.unwrap();
    assert!(house.proxy.sessions().is_empty());
}
