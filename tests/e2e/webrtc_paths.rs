//! WebRTC over other paths than the plain one: a client whose address changes, and ICE over TCP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use sluicegate_core::rtc::frames::{Frame, prefix};
use sluicegate_core::rtc::stun::{Kind, Message, binding_request};

use crate::support::browser::Browser;
use crate::support::http;
use crate::support::rtc::{Rebinding, RtcClient, RtcOrigin, page_folder};
use crate::support::{Proxy, machine, uninterrupted};

#[test]
fn a_client_that_changes_its_address_goes_on_and_its_origin_sees_no_change() {
    let _turn = machine::share();
    let origin = RtcOrigin::start("origin");
    let proxy = Proxy::start("");
    origin.register(&proxy);
    let relay = Rebinding::to(proxy.rtc);
    let player = RtcClient::play_through(&proxy, "a", &relay);
    player.wait_frame(15);
    assert_eq!(origin.state()["addresses"], 1);
    // Some of them arrive on another shard.
    for _ in 0..4 {
        relay.change();
        player.wait_more(30);
    }
    assert_eq!(
        origin.state()["addresses"],
        1,
        "one socket stands for the client"
    );
    let rows = proxy.sessions();
    assert_eq!(rows.len(), 1, "{rows:?}");
}

#[test]
fn a_browser_plays_over_tcp() {
    let _turn = machine::share();
    let origin = RtcOrigin::start("origin");
    let folder = page_folder().display().to_string();
    let proxy = Proxy::start(&format!("http.static_files = {folder:?}"));
    origin.register(&proxy);
    let query = format!(
        "action=play&transport=tcp&stream=a&api=http://{}",
        proxy.api
    );
    let player = Browser::open(&format!("http://{}/index.html?{query}", proxy.http));
    let shown = player.wait_video("frames over TCP", |shown| {
        shown["call"]["frames"].as_u64() > Some(20)
    });
    assert_eq!(shown["call"]["remote"], proxy.rtc.to_string(), "{shown}");
    assert_eq!(shown["call"]["protocol"], "tcp", "{shown}");
    proxy.wait_session("its row counts what it got", |row| {
        row["state"] == "relaying"
            && row["bytes_to_client"].as_u64() >= shown["call"]["bytes"].as_u64()
    });
}

#[test]
fn a_check_over_tcp_is_answered_by_the_origin() {
    let _turn = machine::share();
    let origin = RtcOrigin::start("origin");
    let proxy = Proxy::start("");
    origin.register(&proxy);
    let sdp = ["Content-Type: application/sdp"];
    let target = "/rtc/v1/whep/?stream=a";
    let answer = http::request(proxy.api, "POST", target, &sdp, OFFER).text();
    assert!(
        answer.contains(" tcp ") && answer.contains("tcptype passive"),
        "{answer}"
    );
    let line = |name: &str| {
        let start = format!("a={name}:");
        let found = answer
            .lines()
            .find_map(|line| line.strip_prefix(start.as_str()));
        found.expect("an answer has credentials").trim().to_owned()
    };
    let (fragment, password) = (line("ice-ufrag"), line("ice-pwd"));
    let username = format!("{fragment}:EsAw");

    let ask = |password: &[u8]| {
        let mut stream = TcpStream::connect(proxy.rtc).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("a socket of ours");
        let request = binding_request(&username, password, [7; 12], true);
        let frame = [&prefix(&request).expect("it is short")[..], &request].concat();
        stream.write_all(&frame).expect("it is taken");
        let mut bytes = Vec::new();
        let mut part = [0; 512];
        loop {
            let count = uninterrupted(|| stream.read(&mut part)).unwrap_or(0);
            if count == 0 {
                return None;
            }
            bytes.extend_from_slice(&part[..count]);
            let Ok(Some(frame)) = Frame::parse(&bytes) else {
                continue;
            };
            let message = Message::parse(frame.datagram).expect("STUN");
            if message.kind == Kind::Success {
                return Some((message.transaction, message.is_from_owner_of(password)));
            }
            bytes.drain(..frame.length);
        }
    };
    assert_eq!(ask(password.as_bytes()), Some(([7; 12], true)));
    assert_eq!(
        ask(b"0123456789012345678901"),
        None,
        "closed without a word"
    );
}

const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
     m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\na=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\n\
     a=fingerprint:sha-256 49:66:12:17:0D:1C:91:AE:57:4C:C6:36:DD:D5:97:D2:7D:62:C9:9A:7F:B9:A3:F4:70:03:E7:43:91:73:23:5E\r\n\
     a=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";
