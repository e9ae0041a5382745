//! Two proxies on one Redis, with clients on both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use sluicegate_core::fleet::drain::Cause;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::Action;
use tokio::net::TcpListener;

use crate::house::{Guest, House, Manner, Stub, get, until};
use crate::redis_server::{Cluster, RedisServer};

/// Two proxies and the origins that registered with the first of them.
struct Pair {
    a: House,
    b: House,
    origins: Vec<(String, Stub)>,
    redis: RedisServer,
}

impl Pair {
    async fn open(origins: usize) -> Self {
        let redis = RedisServer::start();
        let settings = format!(
            "[store]\ntype = \"redis\"\nurl = \"{}\"\nredis_key_prefix = \"p\"\ntimeout = \"2s\"\n\
             [session]\ndial_timeout = \"5s\"\n",
            redis.url()
        );
        let (a, b) = (House::open(&settings).await, House::open(&settings).await);
        for house in [&a, &b] {
            until("the store", || reached(house)).await;
        }
        let mut pair = Self {
            a,
            b,
            origins: Vec::new(),
            redis,
        };
        for number in 0..origins {
            let name = format!("origin-{number}");
            pair.origins.push((name, Stub::start(Manner::Grants).await));
        }
        pair.register();
        until("the other proxy's origins", || {
            pair.b.proxy.registry().origins().len() == origins
        })
        .await;
        pair
    }

    fn register(&self) {
        for (name, origin) in &self.origins {
            self.a.register(name, origin.at);
        }
    }

    /// The origins that were asked for a stream.
    fn asked(&self, stream: &str) -> BTreeSet<&str> {
        let asked = |stub: &Stub| {
            let seen = stub.seen.lock().unwrap();
            seen.requests.iter().any(|request| request.name == stream)
        };
        let origins = self.origins.iter().filter(|(_, stub)| asked(stub));
        origins.map(|(name, _)| name.as_str()).collect()
    }

    fn redis(&self, words: &[&str]) -> String {
        self.redis.cli(words).trim().to_owned()
    }

    /// The claim on a stream in the Redis.
    fn stands(&self, stream: &str) -> String {
        let key = format!("p:srs-proxy-url:__defaultVhost__/live/{stream}");
        self.redis(&["get", &key])
    }

    fn conflicts(&self) -> u64 {
        let count = |house: &House| house.proxy.metrics().claim_conflicts.get();
        count(&self.a) + count(&self.b)
    }
}

/// How long the store has not confirmed what the proxy knows, as a scrape shows it.
fn staleness(house: &House) -> String {
    let text = house.proxy.metrics().render();
    let name = "sluicegate_store_staleness_seconds{store=\"redis\"} ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.expect("the metric").to_owned()
}

fn reached(house: &House) -> bool {
    house
        .proxy
        .cluster()
        .is_some_and(|cluster| cluster.is_reachable())
}

/// A client that was refused leaves no claim behind at its proxy. The one that another proxy holds stands all the same, though
/// the policy would choose another origin by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_proxy_has_forgotten_stands_where_another_publishes_it() {
    let busy = Arc::<AtomicUsize>::default();
    let mut pair = Pair::open(0).await;
    let origin = Stub::start(Manner::BusyFor(Arc::clone(&busy))).await;
    pair.origins.push(("origin-0".to_owned(), origin));
    pair.register();
    let knows = |house: &House, count| house.proxy.registry().origins().len() == count;
    until("the first origin", || knows(&pair.b, 1)).await;
    let streams: Vec<String> = (0..16).map(|number| format!("live/{number}")).collect();
    let mut publishers = Vec::new();
    for stream in &streams {
        let publisher = pair.a.ask(Action::Publish, stream).await;
        assert!(publisher.has_started(), "{}", publisher.code());
        publishers.push(publisher);
    }
    busy.store(streams.len(), Ordering::Relaxed);
    for stream in &streams {
        let second = pair.b.ask(Action::Publish, stream).await;
        assert!(!second.has_started(), "{stream} has a publisher");
    }
    until("the refused have left", || {
        pair.b.proxy.sessions().list().is_empty()
    })
    .await;
    let other = Stub::start(Manner::Grants).await;
    pair.origins.push(("origin-1".to_owned(), other));
    pair.register();
    until("the second origin", || knows(&pair.b, 2)).await;
    for stream in &streams {
        let player = pair.b.ask(Action::Play, stream).await;
        assert!(player.has_started(), "{}", player.code());
        let there = pair.b.origin_of(stream);
        assert_eq!(there.as_deref(), Some("origin-0"), "{stream}");
    }
    let published = pair.a.proxy.sessions().list().len();
    assert_eq!(published, streams.len(), "no publisher was ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn first_publishers_on_both_agree_on_one_origin_for_each_stream() {
    let pair = Arc::new(Pair::open(5).await);
    let asking = (0..200).map(|client| {
        let pair = Arc::clone(&pair);
        tokio::spawn(async move {
            let house = if client % 2 == 0 { &pair.a } else { &pair.b };
            let stream = format!("live/{}", client / 2);
            house.ask(Action::Publish, &stream).await
        })
    });
    let guests: Vec<Guest> = join_all(asking)
        .await
        .into_iter()
        .map(|guest| guest.expect("a guest"))
        .collect();
    for (client, guest) in guests.iter().enumerate() {
        assert!(guest.has_started(), "client {client}: {:?}", guest.status);
    }
    for stream in 0..100 {
        let stream = stream.to_string();
        let asked = pair.asked(&stream);
        assert_eq!(asked.len(), 1, "live/{stream}: {asked:?}");
        let origin = asked.first().expect("one");
        let expected = format!("p:srs-proxy-server:{origin}-s-1");
        assert_eq!(pair.stands(&stream), expected, "as the SRS proxy writes it");
    }
    assert_eq!(pair.conflicts(), 0);
    let listed: Value =
        serde_json::from_str(&pair.redis(&["get", "p:srs-proxy-all-servers"])).expect("JSON");
    assert_eq!(listed.as_array().map(Vec::len), Some(5), "{listed}");
    let record: Value =
        serde_json::from_str(&pair.redis(&["get", "p:srs-proxy-server:origin-0-s-1"]))
            .expect("JSON");
    assert_eq!(record["server_id"], "origin-0");
    assert_eq!(
        record["rtmp"][0],
        format!("{}", pair.origins[0].1.at.port())
    );

    // A viewer of a known stream asks the store for nothing.
    let operations = || {
        let text = pair.b.proxy.metrics().render();
        let calls = text
            .lines()
            .filter(|line| line.starts_with("sluicegate_store_operations_total{"))
            .filter(|line| !line.contains("renew") && !line.contains("\"put\""));
        calls.map(str::to_owned).collect::<Vec<_>>()
    };
    // Claims by others are announced a little later, and looked up.
    let mut before = Vec::new();
    while before.is_empty() || before != operations() {
        before = operations();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let viewer = pair.b.ask(Action::Play, "live/7").await;
    assert!(viewer.has_started());
    assert_eq!(operations(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_outage_of_the_store_cuts_nothing_and_splits_nothing() {
    let mut pair = Pair::open(4).await;
    let _publisher = pair.a.ask(Action::Publish, "live/known").await;
    let _viewer = pair.b.ask(Action::Play, "live/known").await;
    pair.redis.kill();
    for house in [&pair.a, &pair.b] {
        until("the loss", || !reached(house)).await;
    }
    let mut guests = Vec::new();
    for (house, action) in [(&pair.b, Action::Play), (&pair.a, Action::Play)] {
        guests.push(house.ask(action, "live/known").await);
    }
    for stream in 0..20 {
        let stream = format!("live/new-{stream}");
        guests.push(pair.a.ask(Action::Publish, &stream).await);
        guests.push(pair.b.ask(Action::Play, &stream).await);
    }
    for guest in &guests {
        assert!(guest.has_started(), "{:?}", guest.status);
    }
    let streams: Vec<String> = (0..20)
        .map(|stream| format!("new-{stream}"))
        .chain(["known".to_owned()])
        .collect();
    for stream in &streams {
        assert_eq!(pair.asked(stream).len(), 1, "live/{stream}");
    }
    assert!(
        !staleness(&pair.a).starts_with("0.0"),
        "{}",
        staleness(&pair.a)
    );
    let (status, document) = get(pair.a.at.system, "/readyz").await;
    assert_eq!(status, 200);
    assert!(document.contains(r#""store":"degraded""#), "{document}");
    let (_, overview) = get(pair.a.at.system, "/api/v1/overview").await;
    let lost = r#""store":{"kind":"redis","reachable":false,"#;
    assert!(overview.contains(lost), "{overview}");

    pair.redis.start_again();
    for house in [&pair.a, &pair.b] {
        until("the store", || reached(house)).await;
    }
    // The Redis came back empty, and is told everything that is live.
    for stream in &streams {
        let origin = (*pair.asked(stream).first().expect("one")).to_owned();
        let expected = format!("p:srs-proxy-server:{origin}-s-1");
        until("the claim is back", || pair.stands(stream) == expected).await;
    }
    until("what is known is confirmed", || staleness(&pair.a) == "0.0").await;
    let (_, document) = get(pair.a.at.system, "/readyz").await;
    assert!(document.contains(r#""store":"ok""#), "{document}");
    let (_, overview) = get(pair.a.at.system, "/api/v1/overview").await;
    let back = r#""store":{"kind":"redis","reachable":true,"#;
    assert!(overview.contains(back), "{overview}");
    assert_eq!(pair.conflicts(), 0);
    let open = (pair.a.proxy.sessions().len(), pair.b.proxy.sessions().len());
    assert_eq!(open, (22, 22), "nobody was cut");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_on_its_way_when_the_store_came_back_is_claimed_too() {
    let mut pair = Pair::open(0).await;
    // Two origins that take their time: the kernel accepts connections for them.
    let mut waiting = Vec::new();
    for number in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        for house in [&pair.a, &pair.b] {
            house.register(&format!("origin-{number}"), at);
        }
        waiting.push((format!("origin-{number}"), listener));
    }
    pair.redis.kill();
    for house in [&pair.a, &pair.b] {
        until("the loss", || !reached(house)).await;
    }
    let at = pair.a.at.rtmp;
    let publishing = Guest::ask(at, Action::Publish, "live/slow", Vec::new());
    let publishing = tokio::spawn(publishing);
    until("its origin", || pair.a.origin_of("live/slow").is_some()).await;
    let origin = pair.a.origin_of("live/slow").expect("one");
    pair.redis.start_again();
    let expected = format!("p:srs-proxy-server:{origin}-s-1");
    until("the claim", || pair.stands("slow") == expected).await;
    let left: u64 = pair
        .redis(&["ttl", "p:srs-proxy-url:__defaultVhost__/live/slow"])
        .parse()
        .expect("a number");
    assert!(left > 3600, "a publisher's, for {left} s");
    for (name, listener) in waiting {
        let stub = Stub::on(listener, Manner::Grants, 0, Vec::new());
        pair.origins.push((name, stub));
    }
    let publisher = publishing.await.expect("a guest");
    assert!(publisher.has_started(), "{:?}", publisher.status);
    let viewer = pair.b.ask(Action::Play, "live/slow").await;
    assert!(viewer.has_started(), "{:?}", viewer.status);
    assert_eq!(pair.asked("slow"), BTreeSet::from([origin.as_str()]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_an_srs_proxy_writes_is_followed() {
    let pair = Pair::open(1).await;
    let theirs = Stub::start(Manner::Grants).await;
    let record = format!(
        r#"{{"ip":"127.0.0.1","server_id":"vid-theirs","service_id":"x1","pid":"77","rtmp":["{}"],
            "update_at":"2025-01-02T03:04:05.123456789+08:00"}}"#,
        theirs.at.port()
    );
    let server = "p:srs-proxy-server:vid-theirs-x1-77";
    pair.redis(&["set", server, &record]);
    let stream = "p:srs-proxy-url:__defaultVhost__/live/theirs";
    pair.redis(&["set", stream, server]);
    for house in [&pair.a, &pair.b] {
        let viewer = house.ask(Action::Play, "live/theirs").await;
        assert!(viewer.has_started(), "{:?}", viewer.status);
        assert_eq!(
            house.origin_of("live/theirs").as_deref(),
            Some("vid-theirs")
        );
    }
    assert_eq!(theirs.connections(), 2);
    assert_eq!(pair.redis(&["pttl", stream]), "-1", "theirs never end");

    // Such a proxy overwrites a claim: the publisher comes back, and finds where its stream is.
    let moving = "p:srs-proxy-url:__defaultVhost__/live/moving";
    pair.redis(&["set", moving, "p:srs-proxy-server:origin-0-s-1"]);
    let mut publisher = pair.a.ask(Action::Publish, "live/moving").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert_eq!(pair.asked("moving").len(), 1);
    pair.redis(&["set", moving, server]);
    publisher.read_to_end().await;
    assert_eq!(pair.conflicts(), 1);
    let publisher = pair.a.ask(Action::Publish, "live/moving").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert_eq!(theirs.connections(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_viewer_at_another_proxy_does_not_move_what_is_published_on_a_drained_origin() {
    let pair = Pair::open(3).await;
    let publisher = pair.a.ask(Action::Publish, "live/stays").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    let origin = pair.a.origin_of("live/stays").expect("it is placed");
    let id = OriginId::from(origin.clone());
    for house in [&pair.a, &pair.b] {
        assert!(house.proxy.registry().drain(&id, None, Cause::Operator));
    }
    let stands = pair.stands("stays");
    let viewer = pair.b.ask(Action::Play, "live/stays").await;
    assert!(viewer.has_started(), "{:?}", viewer.status);
    assert_eq!(pair.asked("stays"), BTreeSet::from([origin.as_str()]));
    assert_eq!(pair.stands("stays"), stands);
    assert_eq!(pair.conflicts(), 0);
    assert_eq!(pair.a.proxy.sessions().len(), 1, "the publisher is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_only_asks_where_a_stream_is_hears_what_stands() {
    let pair = Pair::open(3).await;
    // On one of the three it would be placed anyway; on the others it is because another proxy put it there.
    for number in 0..3 {
        let origin = format!("origin-{number}");
        let server = format!("p:srs-proxy-server:{origin}-s-1");
        let key = "p:srs-proxy-url:__defaultVhost__/live/same";
        pair.redis(&["set", key, &server]);
        for house in [&pair.a, &pair.b] {
            for question in ["resolve", "explain"] {
                let path = format!("/api/v1/{question}?stream=live/same");
                let (status, body) = get(house.at.system, &path).await;
                assert_eq!(status, 200, "{body}");
                let answer: Value = serde_json::from_str(&body).expect("JSON");
                assert_eq!(answer["data"]["origin"], *origin, "{question}: {body}");
            }
        }
        assert_eq!(pair.stands("same"), server, "to ask changes nothing");
    }
    // Nor here: a viewer goes where the stream is.
    let viewer = pair.b.ask(Action::Play, "live/same").await;
    assert!(viewer.has_started(), "{:?}", viewer.status);
    assert_eq!(pair.asked("same"), BTreeSet::from(["origin-2"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_cluster_a_stream_is_placed_once_too() {
    let cluster = Cluster::start();
    let settings = format!(
        "[store]\ntype = \"redis\"\nurl = \"{}\"\ntimeout = \"2s\"\nwait_at_start = true\n",
        cluster.url()
    );
    let (a, b) = (House::open(&settings).await, House::open(&settings).await);
    let mut origins = Vec::new();
    for number in 0..3 {
        let origin = Stub::start(Manner::Grants).await;
        a.register(&format!("origin-{number}"), origin.at);
        origins.push(origin);
    }
    until("the other proxy's origins", || {
        b.proxy.registry().origins().len() == 3
    })
    .await;
    let publisher = a.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    let viewer = b.ask(Action::Play, "live/a").await;
    assert!(viewer.has_started(), "{:?}", viewer.status);
    assert_eq!(a.origin_of("live/a"), b.origin_of("live/a"));
}
