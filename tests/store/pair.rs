//! Two proxies on one store.

use crate::house::{House, until};
use crate::machine::free_port;
use crate::one_api::id;
use crate::redis_server::RedisServer;

/// Settings for proxies on a Redis, and `more`.
pub(crate) fn on_a_redis(redis: &RedisServer, more: &str) -> String {
    format!(
        "[store]\ntype = \"redis\"\nurl = \"{}\"\nwait_at_start = true\ntimeout = \"2s\"\n{more}",
        redis.url()
    )
}

/// Settings for each of two proxies in a mesh, and `more`.
pub(crate) fn in_a_mesh(more: &str) -> [String; 2] {
    let ports = [free_port(), free_port()];
    ports.map(|port| {
        format!(
            "[store]\ntype = \"mesh\"\n[mesh]\nlisten = \"127.0.0.1:{port}\"\n\
             seeds = [\"127.0.0.1:{}\", \"127.0.0.1:{}\"]\n{more}",
            ports[0], ports[1]
        )
    })
}

/// Two proxies that know each other.
pub(crate) async fn met(settings: [&str; 2]) -> (House, House) {
    let a = House::open(settings[0]).await;
    let b = House::open(settings[1]).await;
    for (house, other) in [(&a, &b), (&b, &a)] {
        until("the other proxy", || knows(house, other)).await;
    }
    (a, b)
}

/// One more proxy, when it and the others know each other.
pub(crate) async fn joined(settings: &str, others: [&House; 2]) -> House {
    let house = House::open(settings).await;
    for other in others {
        until("the newcomer", || {
            knows(other, &house) && knows(&house, other)
        })
        .await;
    }
    house
}

pub(crate) fn knows(house: &House, other: &House) -> bool {
    let peers = house.proxy.cluster().expect("a store").peers();
    peers.iter().any(|peer| peer.id == id(other))
}
