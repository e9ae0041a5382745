//! Single packets that ended other relays, sent to a proxy that has a call: each is dropped, and the call goes on.

use std::net::SocketAddr;
use std::time::Duration;

use sluicegate_core::rtc::stun::binding_request;
use sluicegate_core::srt::packet::{Handshake, Step};
use str0m::media::Direction;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::house::{House, PATIENCE, get};
use crate::rtc_peer::{Call, Origin, Patches, WHIP};
use crate::srt_caller::{asks_for, conclusion, induction};

#[tokio::test(flavor = "multi_thread")]
async fn packets_that_ended_other_relays_end_nothing() {
    let house = House::open("").await;
    let origin = Origin::start(true, Patches::Taken).await;
    house.register_with("o1", &origin.endpoints());
    let call = Call::start(&house, WHIP, Direction::SendOnly).await;
    origin.peer.wait_more(10).await;

    let media = stranger(house.at.rtc).await;
    let header = |length: u8| {
        let mut message = vec![0, 1, 0, length, 0x21, 0x12, 0xa4, 0x42];
        message.extend([7; 12]);
        message
    };
    let unsigned = binding_request(&call.username(), b"another password", [7; 12], true);
    let rtc: [(&str, Vec<u8>, &str); 6] = [
        ("K1: one byte", [header(1), vec![0]].concat(), "malformed"),
        (
            "K1: three bytes",
            [header(3), vec![0; 3]].concat(),
            "malformed",
        ),
        (
            "K2: no padding",
            [header(5), vec![0, 6, 0, 1, 7]].concat(),
            "malformed",
        ),
        (
            "K8: media",
            vec![0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7],
            "unknown_flow",
        ),
        ("K8: DTLS", vec![22, 254, 253, 0], "unknown_flow"),
        ("K8: a known username", unsigned, "forged"),
    ];
    for (cause, packet, reason) in rtc {
        goes_nowhere(&house, "rtc", &media, cause, &packet, reason).await;
        origin.peer.wait_more(5).await;
    }

    let caller = stranger(house.at.srt).await;
    let asked = asks_for("#!::r=live/b,m=publish");
    let conclusion = |cookie: u32, more: &[u8]| {
        let extensions = [asked.as_slice(), more].concat();
        conclusion(5, cookie, &extensions)
    };
    let mut answer = [0; 1500];
    caller.send(&induction(5)).await.expect("it goes out");
    let count = timeout(PATIENCE, caller.recv(&mut answer)).await;
    let count = count.expect("in time").expect("an answer");
    let cookie = Handshake::parse(&answer[..count])
        .expect("a handshake")
        .cookie;
    let srt: [(&str, Vec<u8>, &str); 4] = [
        ("K3: no induction", conclusion(123, &[]), "forged"),
        ("K6: a new socket id", vec![1; 40], "unknown_flow"),
        (
            "K7: a constant cookie",
            conclusion(0x418d_5e4e, &[]),
            "forged",
        ),
        ("half a header", vec![0x80; 15], "malformed"),
    ];
    for (cause, packet, reason) in srt {
        goes_nowhere(&house, "srt", &caller, cause, &packet, reason).await;
    }
    for more in [&[0, 5][..], &[0, 5, 0]] {
        caller
            .send(&conclusion(cookie, more))
            .await
            .expect("it goes out");
        let count = timeout(PATIENCE, caller.recv(&mut answer)).await;
        let count = count.expect("K4: in time").expect("K4: an answer");
        let said = Handshake::parse(&answer[..count]).expect("a handshake");
        assert!(
            matches!(said.step, Step::Rejection(_)),
            "K4: {:?}",
            said.step
        );
    }
    origin.peer.wait_more(10).await;
    assert_eq!(house.proxy.sessions().len(), 1, "the call, and nobody else");
}

async fn stranger(at: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(at).await.expect("loopback");
    socket
}

/// Sends a packet repeatedly until it is counted as dropped for this reason. The first one with a known username only
/// makes a shard look up its call.
async fn goes_nowhere(
    house: &House,
    listener: &str,
    from: &UdpSocket,
    cause: &str,
    packet: &[u8],
    reason: &str,
) {
    let before = dropped(house, listener, reason).await;
    let counted = async {
        while dropped(house, listener, reason).await == before {
            from.send(packet).await.expect("it goes out");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(PATIENCE, counted).await.is_ok(),
        "{cause}: it is no {reason}"
    );
}

async fn dropped(house: &House, listener: &str, reason: &str) -> u64 {
    let (_, metrics) = get(house.at.system, "/metrics").await;
    let labels = format!("datagrams_dropped_total{{listener=\"{listener}\",reason=\"{reason}\"}} ");
    let value = metrics.lines().find_map(|line| line.split_once(&labels));
    let value = value.and_then(|(_, value)| value.parse().ok());
    value.expect("a counter for every reason")
}
