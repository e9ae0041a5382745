//! A store that is emptied while proxies use it, by `FLUSHALL` for example: what each of them knows stands in it again at
//! once, as after a restart of the store.

use std::collections::BTreeSet;

use sluicegate::cluster::Cluster;
use sluicegate_core::stream::Action;

use crate::house::{House, Manner, Stub, until};
use crate::pair::{met, on_a_redis};
use crate::redis_server::RedisServer;

/// The names of everything that stands, but for counters that only begin again when something changes.
fn standing(redis: &RedisServer) -> BTreeSet<String> {
    let keys = redis.cli(&["KEYS", "*"]);
    let names = keys.lines().map(str::trim).filter(|key| !key.is_empty());
    names
        .filter(|key| !key.contains("fence"))
        .map(str::to_owned)
        .collect()
}

fn cluster(house: &House) -> &Cluster {
    house.proxy.cluster().expect("a store")
}

#[tokio::test]
async fn everything_stands_again_at_once() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, "");
    let (one, two) = met([&settings, &settings]).await;
    let origin = Stub::start(Manner::Grants).await;
    one.register("origin", origin.at);
    until("the origin at the other proxy", || {
        two.proxy.registry().member(&"origin".into()).is_some()
    })
    .await;
    let publisher = one.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    let stood = standing(&redis);
    for house in [&one, &two] {
        let id = cluster(house).id();
        let records = stood.iter().filter(|key| key.contains(id)).count();
        assert!(records >= 2, "a proxy and its build: {stood:?}");
    }
    redis.cli(&["FLUSHALL"]);
    until("all of it again", || {
        let stands = standing(&redis);
        stood.is_subset(&stands)
    })
    .await;
    let player = two.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);
    let new = two.ask(Action::Publish, "live/new").await;
    assert!(new.has_started(), "{:?}", new.status);
}
