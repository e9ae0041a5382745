//! Origins with peculiarities.

use sluicegate_core::stream::Action;

use crate::house::{Guest, House, Manner, Stub, until, video};

#[tokio::test]
async fn an_origin_that_numbers_streams_its_own_way_is_asked_step_by_step() {
    let house = House::open("").await;
    let media = vec![video(0, &[0x17; 300]), video(40, &[0x27; 9000])];
    let origin = Stub::with(Manner::NumbersFrom(5), 0, media).await;
    house.register("one", origin.at);
    let mut player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);
    assert!(player.read_until(|player| player.media.len() == 2).await);
    assert!(
        player.media.iter().all(|message| message.stream_id == 1),
        "the client sees the stream it was given"
    );
    assert_eq!(
        origin.connections(),
        2,
        "once in one write, once step by step"
    );
    assert_eq!(
        origin
            .seen
            .lock()
            .unwrap()
            .requests
            .last()
            .unwrap()
            .stream_id,
        5
    );

    let mut publisher = house.ask(Action::Publish, "live/b").await;
    assert!(publisher.has_started());
    assert_eq!(origin.connections(), 3, "it is remembered");
    publisher.send(&video(7, &[0x17; 70_000])).await;
    until("the media", || {
        !origin.seen.lock().unwrap().media.is_empty()
    })
    .await;
    let seen = origin.seen.lock().unwrap();
    assert_eq!((seen.media[0].stream_id, seen.media[0].timestamp), (5, 7));
    assert!(seen.media[0].payload == [0x17; 70_000]);
}

#[tokio::test]
async fn an_origin_that_hangs_up_on_pipelined_commands_is_asked_step_by_step() {
    let house = House::open("").await;
    let origin = Stub::with(Manner::OneByOne, 0, vec![video(0, &[0x17; 5000])]).await;
    house.register("one", origin.at);
    let mut player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);
    assert!(player.read_until(|player| player.media.len() == 1).await);
    house.ask(Action::Play, "live/b").await;
    assert_eq!(
        origin.connections(),
        3,
        "twice for the first, once for the second"
    );
}

#[tokio::test]
async fn a_redirect_to_a_registered_origin_is_followed_and_the_placement_moves() {
    let house = House::open("").await;
    let holder = Stub::start(Manner::Grants).await;
    let knows = Stub::start(Manner::Redirects(holder.at.to_string())).await;
    house.register("knows", knows.at);
    let pointed = house.ask(Action::Play, "live/a").await;
    assert_eq!(
        pointed.code(),
        "NetStream.Play.Failed",
        "the place is not a registered origin"
    );
    assert!(
        !pointed.words().contains(&holder.at.to_string()),
        "{}",
        pointed.words()
    );

    house.register("holder", holder.at);
    let moved = house.ask(Action::Play, "live/a").await;
    assert!(moved.has_started(), "{:?}", moved.status);
    assert_eq!(house.origin_of("live/a").as_deref(), Some("holder"));
}

/// Only the origin that names a stream for one player knows what the next is to ask for.
#[tokio::test]
async fn a_redirect_to_another_stream_leaves_the_placement_where_it_is() {
    let house = House::open("").await;
    let node = Stub::start(Manner::Grants).await;
    let knows = Stub::start(Manner::Redirects(node.at.to_string())).await;
    house.register("knows", knows.at);
    // No stream is placed on it.
    let endpoints = format!(r#""rtmp":["{}"],"weight":0"#, node.at.port());
    house.register_with("node", &endpoints);
    let mut players = Vec::new();
    for count in 1..4 {
        let player = house.ask(Action::Play, "live/b").await;
        assert!(player.has_started(), "{:?}", player.status);
        players.push(player);
        assert_eq!(knows.connections(), count, "each asks there first");
        let asked = node.seen.lock().unwrap().requests.last().unwrap().clone();
        assert_eq!(asked.name, "a");
        assert_eq!(house.origin_of("live/b").as_deref(), Some("knows"));
    }
    // The players of a publisher are to find it.
    let publisher = house.ask(Action::Publish, "live/c").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert_eq!(house.origin_of("live/c").as_deref(), Some("node"));
}

#[tokio::test]
async fn a_redirect_of_an_origin_to_itself_is_followed_and_not_for_ever() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::RedirectsToItself("moved/b?t=1")).await;
    house.register("one", origin.at);
    let player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);
    let publisher = house.ask(Action::Publish, "live/c").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    {
        let seen = origin.seen.lock().unwrap();
        let asked = seen.requests.iter().map(|request| {
            let (_, app) = request.tc_url.rsplit_once('/').expect("an app");
            (app, &*request.name)
        });
        let expected = [
            ("live", "a"),
            ("moved", "b?t=1"),
            ("live", "c"),
            ("moved", "b?t=1"),
        ];
        assert!(asked.eq(expected), "{:?}", seen.requests);
    }
    assert_eq!(origin.connections(), 4, "each asked twice");

    let house = House::open("").await;
    let origin = Stub::start(Manner::RedirectsToItself("live/a")).await;
    house.register("one", origin.at);
    let player = house.ask(Action::Play, "live/a").await;
    assert_eq!(player.code(), "NetStream.Play.Failed");
    assert_eq!(origin.connections(), 3, "two redirects are followed");
    assert!(
        !player.words().contains(&origin.at.to_string()),
        "{}",
        player.words()
    );
}

#[tokio::test]
async fn a_restarted_origin_keeps_its_streams() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let _publisher = house.ask(Action::Publish, "live/a").await;
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    let body = format!(
        r#"{{"ip":"127.0.0.1","server":"one","service":"t","pid":"2","rtmp":["{}"]}}"#,
        origin.at.port()
    );
    let (status, answer) = crate::house::post(house.at.system, "/api/v1/srs/register", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        house.proxy.registry().origins().len(),
        1,
        "the new instance took the place of the old"
    );
    assert!(house.ask(Action::Play, "live/a").await.has_started());
}

#[tokio::test]
async fn vhosts_share_a_placement_unless_told_apart() {
    for (setting, expected) in [
        ("\"ignored\"", 1),
        ("\"separate\"", 2),
        ("[\"a.example.com\"]", 2),
    ] {
        let house = House::open(&format!("[placement]\nvhosts = {setting}\n")).await;
        let origin = Stub::start(Manner::Grants).await;
        house.register("one", origin.at);
        let _by_address = house.ask(Action::Publish, "live/a").await;
        let _by_domain = Guest::ask(
            house.at.rtmp,
            Action::Play,
            "live?vhost=a.example.com/a",
            Vec::new(),
        )
        .await;
        assert_eq!(
            house.proxy.registry().placements().len(),
            expected,
            "{setting}"
        );
    }
}
