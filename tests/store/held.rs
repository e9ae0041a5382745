//! A publisher that one proxy holds has its stream at every proxy that shares the store.

use sluicegate::sessions::State;
use sluicegate_core::stream::Action;

use crate::house::{Guest, House, Manner, Stub, until, until_told, video};
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;

const MORE: &str =
    "[hold]\npublishers = \"60s\"\n[proxy_protocol]\naccept_from = [\"127.0.0.1\"]\n";

/// A publisher of `live/a` from this address.
async fn publish(house: &House, ip: &str) -> Guest {
    let preface = format!("PROXY TCP4 {ip} 127.0.0.1 4242 1935\r\n");
    let (at, action) = (house.at.rtmp, Action::Publish);
    Guest::ask_after(at, preface.as_bytes(), action, "live/a", Vec::new()).await
}

async fn is_respected(a: House, b: House) {
    let mut origin = Stub::start(Manner::Grants).await;
    for house in [&a, &b] {
        house.register("origin", origin.at);
    }
    let mut guest = publish(&a, "203.0.113.1").await;
    assert!(guest.has_started(), "{}", guest.code());
    guest.send(&video(0, &[0x17, 1, 0, 0, 0, 9])).await;
    let row = a.proxy.sessions().list().remove(0);
    until("its media", || row.state() == State::Relaying).await;
    origin.kill().await;
    until("the hold", || row.state() == State::Held).await;

    let words = async |ip: &str| publish(&b, ip).await.words().to_owned();
    until_told("the other proxy knows", async || {
        words("203.0.113.2")
            .await
            .contains("another client publishes it")
    })
    .await;
    let said = words("203.0.113.1").await;
    assert!(
        said.contains("no origin answered"),
        "the encoder itself may come back there: {said}"
    );
    assert!(!row.has_ended());
    drop(guest);
    until_told("the end of the hold", async || {
        words("203.0.113.2").await.contains("no origin answered")
    })
    .await;
}

#[tokio::test]
async fn a_held_publisher_is_respected_in_a_mesh() {
    let settings = in_a_mesh(MORE);
    let (a, b) = met([&settings[0], &settings[1]]).await;
    is_respected(a, b).await;
}

#[tokio::test]
async fn a_held_publisher_is_respected_on_a_redis() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, MORE);
    let (a, b) = met([&settings, &settings]).await;
    is_respected(a, b).await;
}
