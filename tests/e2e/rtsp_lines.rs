//! What the log says of an RTSP session that goes on: an operator who is asked about it finds the reason there.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_core::rtsp::message::{Message, Method, Speaker};
use sluicegate_core::rtsp::transport::Transport;

use super::unreadable::{next, serve};
use crate::support::{Proxy, machine, uninterrupted};

const TCP: &str = "RTP/AVP/TCP;unicast;interleaved=0-1";
const UDP: &str = "RTP/AVP;unicast;client_port=5000-5001";
/// A frame on channel 0 between bytes that begin nothing, twice.
const STRAY: &[u8] = b"\xff\x00$\x00\x00\x04\x80\x60\x00\x01\xff$\x00\x00\x04\x80\x60\x00\x02";
const LEFT_OUT: &str =
    "left out what the origin sent between two frames: it begins neither a frame nor a message";

/// How an origin answers SETUP, and what it sends after its answer to PLAY.
#[derive(Clone, Copy)]
struct Manner {
    /// The transport; without one it takes the client's.
    transport: Option<&'static str>,
    after_play: &'static [u8],
    /// It names port 9000 for media, and sends from another one.
    sends_from_elsewhere: bool,
    /// What it asks for before it describes anything.
    challenge: Option<&'static str>,
}

const PLAIN: Manner = Manner {
    transport: None,
    after_play: b"",
    sends_from_elsewhere: false,
    challenge: None,
};

#[test]
fn bytes_that_are_left_out_have_one_line_a_session() {
    let _turn = machine::share();
    for transport in [TCP, UDP] {
        let manner = Manner {
            after_play: STRAY,
            ..PLAIN
        };
        let (proxy, mut player) = open(manner);
        player.play(&proxy, transport);
        let line = proxy.wait_log(LEFT_OUT, |_| true);
        assert_eq!(line["level"], "INFO", "{line}");
        player.ask("GET_PARAMETER", "", "Session: 7\r\n");
        drop(player);
        let ended = proxy.wait_log("session ended", |_| true);
        assert_eq!(line["session"], ended["session"], "{transport}");
        assert_eq!(ended["reason"], "client_closed", "{ended}");
        assert_eq!(proxy.log(LEFT_OUT).len(), 1, "{transport}");
    }
}

#[test]
fn media_from_another_port_than_was_named_has_one_line_a_session() {
    let _turn = machine::share();
    let manner = Manner {
        sends_from_elsewhere: true,
        ..PLAIN
    };
    let (proxy, mut player) = open(manner);
    player.play(&proxy, UDP);
    const LINE: &str = "media comes from another port than the origin named";
    let line = proxy.wait_log(LINE, |_| true);
    assert_eq!(line["named"], 9000, "{line}");
    assert_ne!(line["from"], line["named"], "{line}");
    names_both(&line);
    drop(player);
    let ended = proxy.wait_log("session ended", |_| true);
    assert_eq!(line["session"], ended["session"], "{line}");
    assert_eq!(proxy.log(LINE).len(), 1, "two datagrams came");
}

#[test]
fn a_transport_that_the_origin_was_not_asked_for_has_a_line() {
    let _turn = machine::share();
    const LINE: &str =
        "refused: the origin answered a SETUP with a transport that was not asked for";
    for (asked, answered) in [(UDP, TCP), (TCP, "RTP/AVP;multicast;destination=239.0.0.1")] {
        let manner = Manner {
            transport: Some(answered),
            ..PLAIN
        };
        let (proxy, mut player) = open(manner);
        player.ask("DESCRIBE", "", "");
        for _ in 0..2 {
            let told = player.ask("SETUP", "/trackID=0", &format!("Transport: {asked}\r\n"));
            assert_eq!(told.status(), Some(461), "{answered}");
        }
        let line = proxy.wait_log(LINE, |_| true);
        assert_eq!(line["answered"], answered, "{line}");
        assert_eq!(line["code"], "461", "{line}");
        names_both(&line);
        drop(player);
        let ended = proxy.wait_log("session ended", |_| true);
        assert_eq!(ended["reason"], "refused", "{ended}");
        assert_eq!(proxy.log(LINE).len(), 1, "once a session");
    }
}

#[test]
fn a_client_that_would_have_a_group_alone_has_a_line() {
    let _turn = machine::share();
    let (proxy, mut player) = open(PLAIN);
    player.ask("DESCRIBE", "", "");
    let told = player.ask("SETUP", "/trackID=0", "Transport: RTP/AVP;multicast\r\n");
    assert_eq!(told.status(), Some(461));
    let line = proxy.wait_log("refused: the request breaks a rule of its protocol", |_| {
        true
    });
    assert_eq!(line["code"], "461", "{line}");
    assert_eq!(line["rule"], "there is no multicast here", "{line}");
}

#[test]
fn a_wrong_password_has_a_line_without_it() {
    let _turn = machine::share();
    let manner = Manner {
        challenge: Some("Basic realm=\"camera\""),
        ..PLAIN
    };
    let (proxy, mut player) = open(manner);
    for shown in ["", "Authorization: Basic czNjcmV0OnMzY3JldA==\r\n"] {
        let told = player.ask("DESCRIBE", "", shown);
        assert_eq!(told.status(), Some(401), "{shown}");
    }
    let line = proxy.wait_log("refused", |_| true);
    assert_eq!(line["reason"], "refused", "{line}");
    assert_eq!(line["protocol"], "rtsp", "{line}");
    let detail = line["detail"].as_str().unwrap_or_default();
    assert!(detail.ends_with(": 401 Unauthorized"), "{line}");
    drop(player);
    let ended = proxy.wait_log("session ended", |_| true);
    assert_eq!(ended["reason"], "refused", "{ended}");
    assert_eq!(proxy.log("refused").len(), 1, "the first 401 is none");
    assert!(!proxy.output().contains("czNjcmV0"), "{}", proxy.output());
}

#[test]
fn an_origin_that_no_password_can_reach_has_one_warning() {
    let _turn = machine::share();
    const LINE: &str = "no client can log in at this origin by RTSP";
    let manner = Manner {
        challenge: Some("Digest realm=\"camera\", nonce=\"n\""),
        ..PLAIN
    };
    let proxy = Proxy::start("");
    register(
        &proxy,
        manner,
        json!({"dialect": "mediamtx", "prepend": "cameras"}),
    );
    for _ in 0..2 {
        let told = Player::open(proxy.rtsp).ask("DESCRIBE", "", "");
        assert_eq!(told.status(), Some(502));
    }
    let line = proxy.wait_log(LINE, |_| true);
    assert_eq!(line["level"], "WARN", "{line}");
    assert!(
        line["origin"].as_str().unwrap_or_default().contains("one"),
        "{line}"
    );
    let advice = line["advice"].as_str().unwrap_or_default();
    assert!(advice.contains("let it take Basic"), "{line}");
    let ended = |line: &Value| line["session"] == 2;
    let ended = proxy.wait_log("session ended", ended);
    assert_eq!(ended["reason"], "refused", "{ended}");
    assert_eq!(proxy.log("refused").len(), 2, "one a client");
    assert_eq!(proxy.log(LINE).len(), 1, "one an origin");
}

/// The stream and the origin.
fn names_both(line: &Value) {
    let stream = line["stream"].as_str().unwrap_or_default();
    assert!(stream.ends_with("/live/a"), "{line}");
    let origin = line["origin"].as_str().unwrap_or_default();
    assert!(origin.contains("one"), "{line}");
}

/// A proxy with an origin, and a player that asks for its stream.
fn open(manner: Manner) -> (Proxy, Player) {
    let proxy = Proxy::start("");
    register(&proxy, manner, json!({}));
    let player = Player::open(proxy.rtsp);
    (proxy, player)
}

/// Registers an origin, with further fields.
fn register(proxy: &Proxy, manner: Manner, more: Value) {
    let mut document = json!({
        "ip": "127.0.0.1", "server": "one", "service": "s", "pid": "1",
        "rtsp": [origin(manner).port().to_string()],
    });
    let fields = document.as_object_mut().expect("an object");
    fields.extend(more.as_object().expect("an object").clone());
    proxy.register(&document);
}

fn origin(manner: Manner) -> SocketAddr {
    serve(move |mut stream| {
        let (mut bytes, mut media) = (Vec::new(), None);
        while let Some(request) = next(&mut stream, &mut bytes, Speaker::Client) {
            let asked = request.field("transport").unwrap_or_default();
            let (fields, then): (_, &[u8]) = match request.method() {
                Some(Method::Setup) => {
                    let transport = Transport::parse(asked).expect("a transport");
                    media = transport[0].ports("client_port");
                    let own = format!("{asked};server_port=9000-9001");
                    let answered = manner.transport.unwrap_or(&own);
                    (format!("Session: 7\r\nTransport: {answered}\r\n"), b"")
                }
                Some(Method::Play) => ("Session: 7\r\n".to_owned(), manner.after_play),
                _ => (String::new(), b""),
            };
            let asks = request.method() == Some(Method::Describe);
            let challenge = manner.challenge.filter(|_| asks);
            let (status, fields) = match challenge {
                Some(challenge) => (
                    "401 Unauthorized",
                    format!("WWW-Authenticate: {challenge}\r\n"),
                ),
                None => ("200 OK", fields),
            };
            let cseq = request.cseq().unwrap_or_default();
            let head = format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{fields}\r\n");
            if stream.write_all(&[head.as_bytes(), then].concat()).is_err() {
                return;
            }
            let plays = request.method() == Some(Method::Play) && manner.sends_from_elsewhere;
            if let Some((port, _)) = media.filter(|_| plays) {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
                for _ in 0..2 {
                    let sent = socket.send_to(&[0x80; 40], (Ipv4Addr::LOCALHOST, port));
                    sent.expect("loopback");
                }
            }
        }
    })
}

struct Player {
    stream: TcpStream,
    bytes: Vec<u8>,
    asked: u32,
}

impl Player {
    fn open(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).expect("the proxy listens");
        let patience = stream.set_read_timeout(Some(PATIENCE));
        patience.expect("a time that is not zero");
        Self {
            stream,
            bytes: Vec::new(),
            asked: 0,
        }
    }

    /// Asks for something of the stream; returns the answer. Frames are passed over.
    fn ask(&mut self, method: &str, track: &str, fields: &str) -> Message {
        self.asked += 1;
        let url = format!("rtsp://media.example/live/a{track}");
        let request = format!(
            "{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{fields}\r\n",
            self.asked
        );
        self.stream
            .write_all(request.as_bytes())
            .expect("the proxy reads");
        loop {
            while let [b'$', _, high, low, ..] = self.bytes.as_slice() {
                let length = 4 + usize::from(u16::from_be_bytes([*high, *low]));
                if self.bytes.len() < length {
                    break;
                }
                self.bytes.drain(..length);
            }
            if !self.bytes.starts_with(b"$")
                && let Some((message, length)) =
                    Message::parse(&self.bytes, Speaker::Origin).expect("RTSP")
            {
                self.bytes.drain(..length);
                assert_eq!(message.cseq(), Some(self.asked), "{message:?}");
                return message;
            }
            let mut buffer = [0; 4096];
            let count = uninterrupted(|| self.stream.read(&mut buffer)).expect("something in time");
            assert!(count > 0, "the connection ended");
            self.bytes.extend_from_slice(&buffer[..count]);
        }
    }

    /// Plays one track, up to the answer to PLAY.
    fn play(&mut self, proxy: &Proxy, transport: &str) {
        for (method, track, fields) in [
            ("DESCRIBE", "", String::new()),
            ("SETUP", "/trackID=0", format!("Transport: {transport}\r\n")),
            ("PLAY", "", "Session: 7\r\n".to_owned()),
        ] {
            let told = self.ask(method, track, &fields);
            assert_eq!(told.status(), Some(200), "{}", proxy.output());
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
