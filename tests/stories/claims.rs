//! Where a stream goes when many clients ask at the same time, and what remains when they are gone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sluicegate_core::fleet::State;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::Action;

use crate::house::{Guest, House, Manner, PATIENCE, Stub, get, nowhere, until, video};
use crate::http_pieces::{Packager, Reply};

/// Ten clients for each of twenty streams, all at once; one of the ten publishes.
async fn rush(house: &House) -> Vec<(usize, Guest)> {
    let asking: Vec<_> = (0..200)
        .map(|client| {
            let (at, stream) = (house.at.rtmp, client % 20);
            let action = if client / 20 == 5 {
                Action::Publish
            } else {
                Action::Play
            };
            tokio::spawn(async move {
                (
                    stream,
                    Guest::ask(at, action, &format!("live/{stream}"), Vec::new()).await,
                )
            })
        })
        .collect();
    let mut guests = Vec::new();
    for guest in asking {
        guests.push(guest.await.expect("a guest"));
    }
    guests
}

/// Every sample of the gauges that count what is open.
fn gauges(house: &House) -> Vec<String> {
    let text = house.proxy.metrics().render();
    let counted = |line: &&str| {
        line.starts_with("sluicegate_sessions{") || line.starts_with("sluicegate_streams ")
    };
    text.lines().filter(counted).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_first_requests_agree_on_one_origin_for_each_stream() {
    for dead in [0, 2] {
        // Two hundred clients keep a machine busy: an origin that is slow for that reason is not gone.
        let settings = "[rtmp]\nhandshake_timeout = \"30s\"\nidentify_timeout = \"30s\"\n\
                        [placement]\nplay_claim = \"1s\"\n\
                        [session]\ndial_timeout = \"10s\"\nsetup_timeout = \"30s\"\n";
        let house = House::open(settings).await;
        let mut origins = Vec::new();
        for number in 0..5 {
            if number < dead {
                house.register(&format!("dead-{number}"), nowhere());
            } else {
                let origin = Stub::start(Manner::Grants).await;
                house.register(&format!("origin-{number}"), origin.at);
                origins.push((format!("origin-{number}"), origin));
            }
        }
        let guests = rush(&house).await;
        for (stream, guest) in &guests {
            assert!(
                guest.has_started(),
                "{dead} dead: live/{stream}: {:?}",
                guest.status
            );
        }
        for stream in 0..20 {
            let asked_for = |origin: &Stub| {
                let seen = origin.seen.lock().unwrap();
                seen.requests
                    .iter()
                    .filter(|request| request.name == stream.to_string())
                    .count()
            };
            let holders: BTreeSet<&str> = origins
                .iter()
                .filter(|(_, origin)| asked_for(origin) > 0)
                .map(|(id, _)| id.as_str())
                .collect();
            let placed = house
                .origin_of(&format!("live/{stream}"))
                .expect("a placement");
            assert_eq!(
                holders,
                BTreeSet::from([placed.as_str()]),
                "{dead} dead: live/{stream} is on one origin"
            );
        }
        assert_eq!(house.proxy.sessions().len(), 200);
        drop(guests);
        house.until_sessions(0).await;
        until("the end of the claims", || {
            house.proxy.registry().placements().is_empty()
        })
        .await;
        until("empty gauges", || {
            gauges(&house).iter().all(|line| line.ends_with(" 0"))
        })
        .await;
        assert_eq!(
            gauges(&house).len(),
            3,
            "play, publish and streams: {:?}",
            gauges(&house)
        );
        assert_eq!(house.proxy.registry().claiming_sources(), 0);
    }
}

#[tokio::test]
async fn plays_of_unknown_names_are_capped_for_each_address_until_their_claims_end() {
    let house = House::open("[placement]\nclaims_per_source = 5\nplay_claim = \"1s\"\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register_with(
        "one",
        &format!(r#""rtmp":["{0}"],"http":["{0}"]"#, origin.at.port()),
    );
    // The players stay, and so do their claims.
    let mut players = Vec::new();
    for name in 0..5 {
        let player = house.ask(Action::Play, &format!("live/{name}")).await;
        assert!(player.has_started());
        players.push(player);
    }
    let beyond = house.ask(Action::Play, "live/beyond").await;
    assert_eq!(beyond.code(), "NetStream.Play.Failed");
    assert!(
        beyond
            .words()
            .contains("too many streams without a publisher"),
        "{}",
        beyond.words()
    );
    assert_eq!(get(house.at.http, "/live/beyond.flv").await.0, 429);
    assert_eq!(origin.connections(), 5, "nothing is dialled for them");
    assert!(
        house.ask(Action::Publish, "live/own").await.has_started(),
        "publishers are not held back"
    );
    drop(players);
    house.until_sessions(0).await;
    until("the end of the claims", || {
        house.proxy.registry().claiming_sources() == 0
    })
    .await;
    assert!(house.ask(Action::Play, "live/beyond").await.has_started());
}

#[tokio::test]
async fn a_publisher_makes_the_claim_of_a_player_durable() {
    let house = House::open("[placement]\nclaims_per_source = 1\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let _waiting = house.ask(Action::Play, "live/a").await;
    assert_eq!(
        house.ask(Action::Play, "live/b").await.code(),
        "NetStream.Play.Failed"
    );
    let _publisher = house.ask(Action::Publish, "live/a").await;
    assert!(
        house.ask(Action::Play, "live/b").await.has_started(),
        "live/a is not counted any more"
    );
}

/// A wall of cameras behind one address: their origin has them, and no publisher comes by us.
#[tokio::test]
async fn streams_that_play_are_waited_for_by_nobody() {
    let house = House::open("[placement]\nclaims_per_source = 2\n").await;
    let origin = Stub::start(Manner::Streams(500)).await;
    house.register("one", origin.at);
    let mut wall = Vec::new();
    for camera in 0..6 {
        let guest = house.ask(Action::Play, &format!("live/{camera}")).await;
        assert!(guest.has_started(), "{camera}: {}", guest.words());
        wall.push(guest);
        until("the media of all cameras", || {
            house.proxy.measure();
            house.proxy.registry().claiming_sources() == 0
        })
        .await;
    }
    house.until_sessions(6).await;
}

/// The same over HLS.
#[tokio::test]
async fn playlists_that_are_there_are_waited_for_by_nobody() {
    let house = House::open("[placement]\nclaims_per_source = 2\n").await;
    let lists = |target: &str, _: &str| match target.contains("missing") {
        true => Reply::missing(),
        false => Reply::ok("", "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\na-1.ts\n"),
    };
    let _origin = Packager::join(&house, "one", lists).await;
    for camera in 0..6 {
        let target = format!("/live/{camera}.m3u8");
        assert_eq!(get(house.at.http, &target).await.0, 200, "{camera}");
    }
    assert_eq!(house.proxy.registry().claiming_sources(), 0);
}

#[tokio::test]
async fn a_request_that_got_nowhere_leaves_no_claim() {
    let house = House::open("[placement]\nclaims_per_source = 3\n").await;
    house.register("dead", nowhere());
    for name in 0..10 {
        for action in [Action::Play, Action::Publish] {
            let guest = house.ask(action, &format!("live/{name}")).await;
            assert!(
                guest.words().contains("no origin answered"),
                "{}",
                guest.words()
            );
        }
    }
    house.until_sessions(0).await;
    assert!(house.proxy.registry().placements().is_empty());
    assert_eq!(house.proxy.registry().claiming_sources(), 0);
}

#[tokio::test]
async fn a_client_that_every_origin_hangs_up_on_does_not_make_them_look_dead() {
    let house = House::open("").await;
    let mut origins = Vec::new();
    for id in ["one", "two", "three", "four"] {
        let origin = Stub::start(Manner::Declines).await;
        house.register(id, origin.at);
        origins.push(origin);
    }
    let guest = house.ask(Action::Play, "live/a").await;
    let words = guest.words();
    assert!(words.contains("no origin gave a proper answer"), "{words}");
    for id in ["one", "two", "three", "four"] {
        assert_eq!(
            house.proxy.registry().state(&OriginId::from(id)),
            Some(State::Up),
            "{id}"
        );
    }
    let dialled: usize = origins.iter().map(Stub::connections).sum();
    assert_eq!(
        dialled, 4,
        "two origins, each in one write and step by step"
    );
}

#[tokio::test]
async fn a_published_stream_is_not_moved_though_its_origin_takes_no_more() {
    let house = House::open("[session]\ntakeover_after = \"60s\"\n").await;
    let mut full = Stub::start(Manner::Grants).await;
    house.register("full", full.at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    full.close().await;
    let spare = Stub::start(Manner::Grants).await;
    house.register("spare", spare.at);
    for action in [Action::Play, Action::Publish] {
        // It sends all the time, and so is seen to send while another client asks for its stream.
        let sending = async {
            loop {
                publisher.send(&video(0, &[0x17; 100])).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let guest = tokio::select! {
            guest = house.ask(action, "live/a") => guest,
            () = sending => unreachable!("it sends on"),
        };
        assert!(
            guest.words().contains("no origin answered; tried full"),
            "{}",
            guest.words()
        );
    }
    assert_eq!(house.origin_of("live/a").as_deref(), Some("full"));

    assert!(house.proxy.registry().disable(&OriginId::from("full")));
    let player = house.ask(Action::Play, "live/a").await;
    assert!(
        player
            .words()
            .contains("live/a is on full, which is out of service"),
        "{}",
        player.words()
    );
    assert_eq!(spare.connections(), 0);
    publisher.send(&video(40, &[0x17; 100])).await;
    until("the media", || {
        let seen = full.seen.lock().unwrap();
        seen.media.iter().any(|frame| frame.timestamp == 40)
    })
    .await;
    drop(publisher);
    house.until_sessions(0).await;
    assert!(
        house.ask(Action::Publish, "live/a").await.has_started(),
        "after its publisher the stream is free"
    );
}

#[tokio::test]
async fn the_stream_of_an_origin_that_is_killed_is_published_on_another_at_once() {
    // A client that waited for the dead origin would wait this long.
    let settings =
        "[session]\ndial_timeout = \"60s\"\nsetup_timeout = \"60s\"\n[hold]\npublishers = \"0s\"\n";
    let house = House::open(settings).await;
    let mut origins = [
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    ];
    house.register("one", origins[0].at);
    house.register("two", origins[1].at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    publisher.send(&video(0, &[0x17; 100])).await;
    until("the media", || {
        origins
            .iter()
            .any(|origin| !origin.seen.lock().unwrap().media.is_empty())
    })
    .await;
    let holder = origins
        .iter()
        .position(|origin| origin.connections() == 1)
        .expect("a holder");
    let killed = Instant::now();
    origins[holder].kill().await;
    publisher.read_to_end().await;
    let again = house.ask(Action::Publish, "live/a").await;
    assert!(again.has_started(), "{:?}", again.status);
    assert!(killed.elapsed() < PATIENCE, "{:?}", killed.elapsed());
    assert_eq!(origins[1 - holder].connections(), 1);
    let player = house.ask(Action::Play, "live/a").await;
    assert!(
        player.has_started(),
        "its players follow: {:?}",
        player.status
    );
    assert!(
        house
            .proxy
            .metrics()
            .render()
            .contains("action=\"publish\",reason=\"origin_closed\"} 1")
    );
}

#[tokio::test]
async fn a_publisher_that_waits_for_its_origin_is_not_taken_for_silent() {
    let house =
        House::open("[session]\ntakeover_after = \"100ms\"\ndial_timeout = \"600ms\"\n").await;
    let origin = Stub::start(Manner::Silent).await;
    house.register("silent", origin.at);
    let (first, second) = tokio::join!(
        house.ask(Action::Publish, "live/a"),
        house.ask(Action::Publish, "live/a")
    );
    for guest in [first, second] {
        assert!(
            guest.words().contains("no origin answered"),
            "{:?}",
            guest.status
        );
    }
}
