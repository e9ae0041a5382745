//! Nobody is left behind where a stream was: sessions of the proxy that places it elsewhere hear of that as those of other
//! proxies do, and no stream leaves an origin because a proxy that does not use it has forgotten it.

use std::time::Duration;

use sluicegate_core::stream::Action;

use crate::house::{Guest, House, Manner, Stub, until, until_within};
use crate::pair::{joined, met, on_a_redis};
use crate::redis_server::RedisServer;

/// Two origins of one proxy, and a player at one of them.
struct Watched {
    house: House,
    origins: [(&'static str, Stub); 2],
    player: Guest,
}

impl Watched {
    async fn open(redis: &RedisServer) -> Self {
        let house = House::open(&on_a_redis(redis, "")).await;
        until("the store", || is_reached(&house)).await;
        let one = Stub::start(Manner::Grants).await;
        let two = Stub::start(Manner::Grants).await;
        let origins = [("one", one), ("two", two)];
        for (name, origin) in &origins {
            house.register(name, origin.at);
        }
        let player = plays(&house).await;
        Self {
            house,
            origins,
            player,
        }
    }

    /// The origin of the stream takes nobody any more, and keeps whom it has. Another player goes elsewhere, and the stream with it.
    async fn goes_elsewhere(&mut self) -> Guest {
        let place = self.house.origin_of(STREAM).expect("it is placed");
        let its = self.origins.iter_mut().find(|(name, _)| *name == place);
        its.expect("one of the two").1.close().await;
        let player = plays(&self.house).await;
        assert_ne!(self.house.origin_of(STREAM), Some(place));
        player
    }
}

fn is_reached(house: &House) -> bool {
    house.proxy.cluster().expect("a store").is_reachable()
}

async fn plays(house: &House) -> Guest {
    let player = house.ask(Action::Play, STREAM).await;
    assert!(player.has_started(), "{:?}", player.status);
    player
}

#[tokio::test]
async fn a_player_follows_a_claim_that_another_player_makes_through_the_same_proxy() {
    let redis = RedisServer::start();
    let mut watched = Watched::open(&redis).await;
    let _second = watched.goes_elsewhere().await;
    watched.player.read_to_end().await;
    watched.house.until_sessions(1).await;
    let conflicts = &watched.house.proxy.metrics().claim_conflicts;
    assert_eq!(conflicts.get(), 0, "no other proxy had a part in it");
}

#[tokio::test]
async fn who_was_elsewhere_since_a_claim_without_the_store_leaves_when_that_is_back() {
    let mut redis = RedisServer::start();
    let mut watched = Watched::open(&redis).await;
    redis.kill();
    until("the loss", || !is_reached(&watched.house)).await;
    let _second = watched.goes_elsewhere().await;
    assert_eq!(watched.house.proxy.sessions().len(), 2, "both play");
    redis.start_again();
    watched.player.read_to_end().await;
    watched.house.until_sessions(1).await;
}

/// The one proxy that it reports to is gone. One that forgets the origin reads of it again, as long as something is published
/// on it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_stream_stays_on_an_origin_whose_proxy_is_gone() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, "[origins]\nttl = \"13s\"\n");
    let (home, uses) = met([&settings, &settings]).await;
    let asks = joined(&settings, [&home, &uses]).await;
    let used = Stub::start(Manner::Grants).await;
    home.register("used", used.at);
    for house in [&uses, &asks] {
        until("the origin", || knows(house, "used")).await;
    }
    let publisher = uses.ask(Action::Publish, STREAM).await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    drop(home);
    let other = Stub::start(Manner::Grants).await;
    asks.register("other", other.at);
    until_within(FORGOTTEN_WITHIN, "it is forgotten", || {
        !knows(&asks, "used")
    })
    .await;
    let _player = plays(&asks).await;
    assert_eq!(asks.origin_of(STREAM).as_deref(), Some("used"));
    assert_eq!(uses.proxy.sessions().len(), 1, "the publisher is there");
    assert_eq!(other.connections(), 0);
}

fn knows(house: &House, origin: &str) -> bool {
    house.proxy.registry().member(&origin.into()).is_some()
}

const STREAM: &str = "live/a";
/// Longer than its time to live.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(30);
