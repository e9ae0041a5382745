//! What proxies that share a store keep together at the gate: bans, and counts.

use serde_json::Value;
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, Manner, Stub, talk, until_told};
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;

async fn api(house: &House, method: &str, path: &str) -> (u16, Value) {
    let at = house.at.system;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let (status, body) = talk(at, &request).await;
    let document: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, document["data"].clone())
}

async fn banned_at(house: &House) -> u64 {
    let (_, listed) = api(house, "GET", "/api/v1/bans").await;
    listed["total"].as_u64().expect("a number")
}

/// A ban at one proxy ends sessions at the other, and whoever lifts it lifts it for both.
async fn bans_are_shared(a: House, b: House) {
    let origin = Stub::start(Manner::Grants).await;
    for house in [&a, &b] {
        house.register("origin", origin.at);
    }
    let mut publisher = b.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    let path = "/api/v1/bans?target=stream:live/a&for=1h";
    assert_eq!(api(&a, "POST", path).await.0, 200);
    publisher.wait_for_end().await;
    b.until_sessions(0).await;
    for house in [&a, &b] {
        let refused = house.ask(Action::Publish, "live/a").await;
        assert_eq!(refused.code(), "NetStream.Publish.Denied");
    }
    assert_eq!(banned_at(&b).await, 1);
    let path = "/api/v1/bans/stream:live%2Fa";
    assert_eq!(api(&b, "DELETE", path).await.0, 200);
    until_told("the other heard that it is lifted", async || {
        banned_at(&a).await == 0
    })
    .await;
    let publisher = a.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{}", publisher.code());
}

#[tokio::test]
async fn bans_are_shared_in_a_mesh() {
    let settings = in_a_mesh("");
    let (a, b) = met([&settings[0], &settings[1]]).await;
    bans_are_shared(a, b).await;
}

#[tokio::test]
async fn bans_are_shared_on_a_redis_and_wait_for_newcomers() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, "");
    let (a, b) = met([&settings, &settings]).await;
    assert_eq!(
        api(&a, "POST", "/api/v1/bans?target=viewer:seven&for=1h")
            .await
            .0,
        200
    );
    let newcomer = House::open(&settings).await;
    until_told("the newcomer knows of it", async || {
        banned_at(&newcomer).await == 1
    })
    .await;
    drop(newcomer);
    assert_eq!(api(&b, "DELETE", "/api/v1/bans/viewer:seven").await.0, 200);
    bans_are_shared(a, b).await;
}

#[tokio::test]
async fn what_a_limit_counts_is_counted_at_both() {
    let limit = "[[limit]]\nper = \"stream\"\nviewers = 2\n";
    let settings = in_a_mesh(limit);
    let (a, b) = met([&settings[0], &settings[1]]).await;
    let origin = Stub::start(Manner::Grants).await;
    for house in [&a, &b] {
        house.register("origin", origin.at);
    }
    let one = a.ask(Action::Play, "live/a").await;
    let two = b.ask(Action::Play, "live/a").await;
    assert!(one.has_started() && two.has_started());
    for house in [&a, &b] {
        until_told("each knows of the other's viewer", async || {
            !house.ask(Action::Play, "live/a").await.has_started()
        })
        .await;
    }
    drop(one);
    until_told("its place is free at the other", async || {
        b.ask(Action::Play, "live/a").await.has_started()
    })
    .await;
}

/// Calls to the store so far.
fn store_operations(house: &House) -> u64 {
    let text = house.proxy.metrics().render();
    let counted = text
        .lines()
        .filter(|line| line.starts_with("sluicegate_store_operations_total{"));
    let numbers = counted.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
    numbers.sum()
}

#[tokio::test]
async fn the_gate_asks_no_store_where_no_limit_is_for_the_cluster() {
    let redis = RedisServer::start();
    let key = sluicegate_core::access::keys::line("viewer", b"salt", "the-key");
    let rules = format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{key}\"]\n[[access]]\nall = [\"keys\"]\nrecheck = 5\n\
         [[limit]]\nper = \"address\"\nnew_per_second = 100000\nfailures_per_minute = 100000\n"
    );
    let house = House::open(&on_a_redis(&redis, &rules)).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let player = house.ask(Action::Play, "live/a?key=the-key").await;
    assert!(player.has_started(), "{}", player.code());
    let before = store_operations(&house);
    assert!(before > 0, "they are counted");
    let began = std::time::Instant::now();
    let judged = (0..300).map(|number| {
        // Each from a network of its own, so that no answer is late.
        let place = std::net::Ipv4Addr::from_bits(0x7f03_0001 + number);
        let at = house.at.http;
        async move {
            let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
            socket.bind((place, 0).into()).expect("an address of loopback");
            let mut stream = socket.connect(at).await.expect("it listens");
            let head = "GET /live/a.flv?key=wrong HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("it reads");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.starts_with(b"HTTP/1.1 401 "), "refused");
        }
    });
    futures_util::future::join_all(judged).await;
    // What the proxy says of itself on its own account: a few words a second.
    let own = 20 * (began.elapsed().as_secs() + 1);
    let asked = store_operations(&house) - before;
    assert!(asked <= own, "{asked} calls for 300 requests");
}

#[tokio::test]
async fn while_the_store_is_away_each_proxy_counts_alone() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, "[[limit]]\nper = \"stream\"\nviewers = 2\n");
    let (a, b) = met([&settings, &settings]).await;
    let origin = Stub::start(Manner::Grants).await;
    for house in [&a, &b] {
        house.register("origin", origin.at);
    }
    let one = a.ask(Action::Play, "live/a").await;
    let two = b.ask(Action::Play, "live/a").await;
    assert!(one.has_started() && two.has_started());
    let full = async |house: &House| !house.ask(Action::Play, "live/a").await.has_started();
    until_told("it knows of the other's viewer", async || full(&b).await).await;
    redis.freeze();
    let mut three = None;
    until_told("the other's viewer counts no more", async || {
        let player = b.ask(Action::Play, "live/a").await;
        three = player.has_started().then_some(player);
        three.is_some()
    })
    .await;
    assert!(full(&b).await, "its own two do");
    redis.thaw();
    until_told("they count together again", async || full(&a).await).await;
    drop((one, two, three));
}
