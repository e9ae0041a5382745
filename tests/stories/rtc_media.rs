//! Calls with media in this process: real ICE, DTLS and SRTP between a client and an origin, and ICE restarts in the
//! middle.

use std::time::Duration;

use sluicegate_core::rtc::stun::{Kind, Message, binding_request};
use str0m::media::Direction;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::call::ask;
use crate::house::{House, until};
use crate::rtc_peer::{Call, Origin, Patches, WHIP, attribute, with_credentials};

#[tokio::test(flavor = "multi_thread")]
async fn frames_pass_to_and_from_origins_of_both_kinds() {
    for lite in [true, false] {
        let house = House::open("").await;
        let origin = Origin::start(lite, Patches::Taken).await;
        house.register_with("o1", &origin.endpoints());
        let publisher = Call::start(&house, WHIP, Direction::SendOnly).await;
        origin.peer.wait_more(50).await;
        let rows = house.proxy.sessions().list();
        assert_eq!(rows.len(), 1);
        let (status, ..) = ask(house.at.api, "DELETE", &publisher.at, "").await;
        assert_eq!(status, 200);
        rows[0].ended().await;

        let origin = Origin::start(lite, Patches::Taken).await;
        house.register_with("o1", &origin.endpoints());
        let player = Call::start(&house, WHEP, Direction::RecvOnly).await;
        player.client.wait_more(50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn media_goes_on_after_ice_started_again() {
    for lite in [true, false] {
        let house = House::open("").await;
        let origin = Origin::start(lite, Patches::Taken).await;
        house.register_with("o1", &origin.endpoints());
        let call = Call::start(&house, WHIP, Direction::SendOnly).await;
        origin.peer.wait_more(10).await;
        let other = second_way(&house, &call).await;

        let trickled = "a=end-of-candidates\r\n";
        let (status, ..) = ask(house.at.api, "PATCH", &call.at, trickled).await;
        assert_eq!(status, 204, "nothing is new");

        let (pending, (status, head, said)) = call.restart(&house).await;
        assert_eq!(status, 200, "{said}");
        assert!(head.contains("etag: \"2\""), "{head}");
        let ours = format!(" 127.0.0.1 {} typ host", house.at.rtc.port());
        let candidates = said.lines().filter(|line| line.starts_with("a=candidate:"));
        let (ours, others): (Vec<&str>, Vec<&str>) =
            candidates.partition(|line| line.contains(&ours));
        assert!(!ours.is_empty() && others.is_empty(), "{said}");
        assert_ne!(
            attribute(&said, "ice-ufrag"),
            attribute(&call.answer, "ice-ufrag")
        );
        let answer = with_credentials(&call.answer, &said);
        call.client.answered(pending, &answer).await;
        origin.peer.wait_more(50).await;

        // The earlier transport ends, and the call does not.
        other.send(&[21, 254, 253, 0]).await.expect("it goes out");
        until("the old way ends", || {
            let bindings = house.proxy.registry().bindings();
            let old = bindings.binding(call.username().as_bytes());
            old.is_none_or(|binding| binding.shard().is_none())
        })
        .await;
        origin.peer.wait_more(50).await;
        assert_eq!(house.proxy.sessions().len(), 1, "the call stands");
        assert_eq!(origin.asked("DELETE"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_where_its_origin_knows_no_patch() {
    for (patches, expected) in [
        (Patches::Refused(405), 405),
        (Patches::Refused(501), 501),
        (Patches::HangUp, 405),
    ] {
        let house = House::open("").await;
        let origin = Origin::start(true, patches).await;
        house.register_with("o1", &origin.endpoints());
        let call = Call::start(&house, WHIP, Direction::SendOnly).await;
        origin.peer.wait_more(10).await;
        let (pending, (status, ..)) = call.restart(&house).await;
        drop(pending);
        assert_eq!(status, expected, "{patches:?}");
        assert_eq!(origin.asked("PATCH"), 1);
        origin.peer.wait_more(50).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_of_both_families_reach_an_origin_by_ipv4() {
    const LISTEN: &str = "listen = [\"127.0.0.1:0\", \"[::1]:0\"]";
    const PUBLIC: &str = "public_addresses = [\"127.0.0.1\", \"::1\"]";
    for (signalling, media, client, candidates) in [
        ("\"[::1]:0\"", LISTEN.to_owned(), "::1", &["::1"][..]),
        (
            "\"127.0.0.1:0\"",
            LISTEN.to_owned(),
            "127.0.0.1",
            &["127.0.0.1"],
        ),
        // Signalling by an address where no media is heard.
        (
            "\"[::1]:0\"",
            "listen = \"127.0.0.1:0\"".to_owned(),
            "127.0.0.1",
            &["127.0.0.1"],
        ),
        (
            "\"127.0.0.1:0\"",
            format!("{LISTEN}\n{PUBLIC}"),
            "127.0.0.1",
            &["127.0.0.1", "::1"],
        ),
        (
            "\"127.0.0.1:0\"",
            format!("{LISTEN}\n{PUBLIC}"),
            "::1",
            &["127.0.0.1", "::1"],
        ),
        (
            "\"127.0.0.1:0\"",
            format!("listen = \"[::]:0\"\n{PUBLIC}"),
            "::1",
            &["127.0.0.1", "::1"],
        ),
    ] {
        let house = House::open(&format!("[api]\nlisten = {signalling}\n[rtc]\n{media}")).await;
        let origin = Origin::start(true, Patches::Taken).await;
        house.register_with("o1", &origin.endpoints());
        let call = Call::start_at(client, &house, WHIP, Direction::SendOnly).await;
        let said: Vec<(&str, u16)> = candidates_of(&call.answer, "udp");
        let hosts: Vec<&str> = said.iter().map(|(host, _)| *host).collect();
        assert_eq!(hosts, candidates, "{media}");
        origin.peer.wait_more(50).await;
        // For clients whose firewalls block UDP.
        let by_tcp = candidates_of(&call.answer, "tcp");
        assert_eq!(by_tcp, said, "{media}");
        for (host, port) in by_tcp {
            let connected = TcpStream::connect((host, port)).await;
            assert!(connected.is_ok(), "{host} {port}: {connected:?}");
        }
    }
}

/// The addresses at which media arrives over this transport, according to a description.
fn candidates_of<'a>(description: &'a str, transport: &str) -> Vec<(&'a str, u16)> {
    let lines = description.lines();
    let candidates = lines.filter_map(|line| line.strip_prefix("a=candidate:"));
    let words = candidates.map(|candidate| candidate.split(' ').collect::<Vec<&str>>());
    let of_it = words.filter(|words| words[2] == transport);
    of_it
        .map(|words| (words[4], words[5].parse().expect("a port")))
        .collect()
}

/// Another address of the client, proven with the credentials that the call began with. A packet that arrives at
/// another shard proves nothing while the client is heard on its own shard, so the next port is tried.
async fn second_way(house: &House, call: &Call) -> UdpSocket {
    let password = attribute(&call.answer, "ice-pwd");
    let mut bytes = [0; 2048];
    for number in 1..=20 {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.connect(house.at.rtc).await.expect("loopback");
        let request = binding_request(&call.username(), password.as_bytes(), [number; 12], false);
        socket.send(&request).await.expect("it goes out");
        let answer = timeout(Duration::from_millis(500), socket.recv(&mut bytes)).await;
        let said = answer.map(|count| Message::parse(&bytes[..count.unwrap_or(0)]));
        if said.is_ok_and(|said| said.is_ok_and(|message| message.kind == Kind::Success)) {
            return socket;
        }
    }
    panic!("no address of twenty was answered");
}

const WHEP: &str = "/rtc/v1/whep/?app=live&stream=a";
