//! A claim that arrives before the record of its origin, as when proxies meet again after a partition or an outage: it
//! is followed all the same.

use std::time::{Duration, Instant};

use sluicegate::store::Store;
use sluicegate_core::stream::Action;
use tokio::time::timeout;

use crate::house::{House, Manner, Stub, until};
use crate::pair;
use crate::redis_server::RedisServer;

/// What another proxy wrote, in the order of arrival: first that the stream is there, later which origin that is.
struct Theirs<S> {
    store: S,
    origin: Stub,
}

impl<S: Store> Theirs<S> {
    async fn new(store: S) -> Self {
        let origin = Stub::start(Manner::Grants).await;
        Self { store, origin }
    }

    async fn claim(&self, stream: &str) {
        let key = format!("srs-proxy-url:__defaultVhost__/{stream}");
        let there = self.store.put(&key, LATE, LONG).await;
        there.expect("it is written");
    }

    async fn record(&self) {
        let record = format!(
            r#"{{"ip":"127.0.0.1","server_id":"late","service_id":"s","pid":"1","rtmp":["{}"],
                "update_at":"2026-01-02T03:04:05Z"}}"#,
            self.origin.at.port()
        );
        let there = self.store.put(LATE, &record, LONG).await;
        there.expect("it is written");
    }

    async fn stands(&self, stream: &str) -> Option<String> {
        let key = format!("srs-proxy-url:__defaultVhost__/{stream}");
        self.store.get(&key).await.expect("it answers")
    }
}

/// A client that asks for the stream waits for the record, and meanwhile no proxy takes the claim over.
async fn who_asks_first_finds_it(house: &House, theirs: &Theirs<impl Store>) {
    theirs.claim("live/asked").await;
    let asking = house.ask(Action::Play, "live/asked");
    let record = async {
        until("it asks", || house.proxy.sessions().len() == 1).await;
        theirs.record().await;
    };
    let (player, ()) = tokio::join!(asking, record);
    assert!(player.has_started(), "{:?}", player.status);
    assert_eq!(house.origin_of("live/asked").as_deref(), Some("late"));
    assert_eq!(theirs.stands("live/asked").await.as_deref(), Some(LATE));
    drop(player);
    house.until_sessions(0).await;
}

/// A proxy that has the stream elsewhere does not take the claim over, but follows it once the record is there.
async fn who_has_it_elsewhere_follows(house: &House, theirs: &Theirs<impl Store>) {
    let mut publisher = house.ask(Action::Publish, "live/held").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert_eq!(house.origin_of("live/held").as_deref(), Some("ours"));
    theirs.claim("live/held").await;
    let key = "live/held";
    let asking = house.ask(Action::Play, key);
    let record = async {
        until("it asks", || house.proxy.sessions().len() == 2).await;
        theirs.record().await;
        publisher.read_to_end().await;
    };
    let joined = timeout(LONG, async { tokio::join!(asking, record) });
    joined.await.expect("the publisher is ended");
    assert_eq!(theirs.stands(key).await.as_deref(), Some(LATE));
    let back = house.ask(Action::Publish, key).await;
    assert!(back.has_started(), "{:?}", back.status);
    assert_eq!(house.origin_of(key).as_deref(), Some("late"));
    assert_eq!(house.proxy.metrics().claim_conflicts.get(), 1);
}

/// A record that never arrives is not waited for any longer than that.
async fn one_that_never_comes_is_dead(house: &House, theirs: &Theirs<impl Store>) {
    theirs.claim("live/dead").await;
    theirs.claim("live/too").await;
    let began = Instant::now();
    let publisher = house.ask(Action::Publish, "live/dead").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "it was waited for"
    );
    assert_eq!(house.origin_of("live/dead").as_deref(), Some("ours"));
    let began = Instant::now();
    let publisher = house.ask(Action::Publish, "live/too").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert!(began.elapsed() < Duration::from_secs(2), "and once only");
}

async fn ours(house: &House) -> Stub {
    let origin = Stub::start(Manner::Grants).await;
    house.register("ours", origin.at);
    origin
}

async fn on_a_redis() -> (RedisServer, House) {
    let redis = RedisServer::start();
    let settings = pair::on_a_redis(&redis, "");
    let house = House::open(&settings).await;
    until("the store", || reached(&house)).await;
    (redis, house)
}

fn reached(house: &House) -> bool {
    house.proxy.cluster().expect("a store").is_reachable()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_claim_before_its_record_is_followed_on_a_redis() {
    let (redis, house) = on_a_redis().await;
    let theirs = Theirs::new(crate::open(&redis.url(), "").await).await;
    let _ours = ours(&house).await;
    who_asks_first_finds_it(&house, &theirs).await;
    let (redis, house) = on_a_redis().await;
    let theirs = Theirs::new(crate::open(&redis.url(), "").await).await;
    let _ours = ours(&house).await;
    who_has_it_elsewhere_follows(&house, &theirs).await;
    let (redis, house) = on_a_redis().await;
    let theirs = Theirs::new(crate::open(&redis.url(), "").await).await;
    let _ours = ours(&house).await;
    one_that_never_comes_is_dead(&house, &theirs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_claims_again_after_an_outage_writes_of_its_origins_first() {
    let (mut redis, house) = on_a_redis().await;
    redis.kill();
    until("the loss", || !reached(&house)).await;
    let _ours = ours(&house).await;
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    redis.start_again();
    let key = "srs-proxy-url:__defaultVhost__/live/a";
    let expected = "srs-proxy-server:ours-s-1";
    until("the claim", || redis.cli(&["get", key]).trim() == expected).await;
    assert!(redis.cli(&["get", expected]).contains("ours"));
}

const LATE: &str = "srs-proxy-server:late-s-1";
const LONG: Duration = Duration::from_secs(60);
