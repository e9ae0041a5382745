//! A client that changes its address a hundred times, across the shards of the media port: its call goes on, and the
//! origin sees one address.

use std::time::Duration;

use sluicegate_core::rtc::stun::Kind;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::call::{CallOrigin, ask, check, check_once, location, receive_media, sdp};
use crate::house::House;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_roams_leave_one_socket_towards_the_origin() {
    let house = House::open("").await;
    let origin = CallOrigin::start().await;
    house.register_with("o1", &origin.endpoints());
    let (status, head, _) = ask(house.at.api, "POST", "/rtc/v1/whip/?stream=a", &sdp("clnt")).await;
    assert_eq!(status, 201, "{head}");
    let location = location(&head);

    let mut transaction = 0;
    for roam in 0..100 {
        let client = from_another_port(&house).await;
        let answer = check(&client, CHECK, &mut transaction).await;
        assert_eq!(answer, Some(Kind::Success), "roam {roam}");
        let media = [0x80, 96, 0, roam, 0, 0, 0, 1, 0, 0, 0, 1, 7];
        client.send(&media).await.expect("it goes out");
        assert_eq!(receive_media(&client).await, media, "roam {roam}");
    }
    let seen = origin.sources();
    assert_eq!(seen.len(), 1, "the origin saw {seen:?}");
    let rows = house.proxy.sessions().list();
    assert_eq!(rows.len(), 1);

    // Its client is told at the end, wherever it is.
    let client = from_another_port(&house).await;
    assert_eq!(
        check(&client, CHECK, &mut transaction).await,
        Some(Kind::Success)
    );
    let (status, ..) = ask(house.at.api, "DELETE", &location, "").await;
    assert_eq!(status, 200);
    rows[0].ended().await;
    let told = timeout(Duration::from_secs(30), async {
        let mut pace = tokio::time::interval(Duration::from_millis(50));
        while check_once(&client, CHECK, &mut transaction).await != Some(Kind::Error) {
            pace.tick().await;
        }
    });
    assert!(told.await.is_ok(), "the call is over");
    // A browser tries once more from another port, which may be a shard's that never knew the call.
    for attempt in 0..16 {
        let client = from_another_port(&house).await;
        let answer = check(&client, CHECK, &mut transaction).await;
        assert_eq!(answer, Some(Kind::Error), "attempt {attempt}");
    }
    assert!(house.proxy.sessions().is_empty() && house.proxy.registry().bindings().is_empty());
}

/// The client, where nobody has heard it before.
async fn from_another_port(house: &House) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").await;
    let client = client.expect("loopback has ports");
    let connected = client.connect(house.at.rtc).await;
    connected.expect("a socket of ours");
    client
}

/// The username of its checks.
const CHECK: &str = "orig:clnt";
