//! A session that ends because one side's bytes cannot be read: the log says whose they are, and what is wrong with them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::json;
use sluicegate_core::rtmp::server::{Server, ServerEvent};
use sluicegate_core::rtsp::message::{Message, Method, Speaker};
use sluicegate_core::stream::Action;

use crate::support::{Proxy, light, machine, uninterrupted};

/// A header that refers to the one before it, on a chunk stream that had none.
const NO_RTMP: &[u8] = &[0xc9];
/// The start of neither a frame nor a message.
const NO_RTSP: &[u8] = &[0xff];
const NOTHING: &[u8] = &[];
/// An acknowledgement (RTMP 1.0 §5.4.3): a word after the last command.
const A_WORD: &[u8] = &[2, 0, 0, 0, 0, 0, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn the_log_says_whose_bytes_cannot_be_read_and_why() {
    let _turn = machine::share();
    let chunk = "chunk stream 9 began with a type 3 header";
    let byte = "the byte 0xff begins neither a frame nor a message";
    let shared = "fanout.mode = \"open\"\nfanout.public = true";
    let (publish, play) = (Action::Publish, Action::Play);
    for (settings, action, message, origin_says, client_says, error) in [
        (
            "",
            publish,
            "the origin's RTMP cannot be read",
            NO_RTMP,
            A_WORD,
            chunk,
        ),
        (
            "",
            publish,
            "the client's RTMP cannot be read",
            NOTHING,
            NO_RTMP,
            chunk,
        ),
        (
            shared,
            play,
            "the client's RTMP cannot be read",
            NOTHING,
            NO_RTMP,
            chunk,
        ),
        (
            "",
            play,
            "the client's RTSP cannot be read",
            NOTHING,
            NO_RTSP,
            byte,
        ),
    ] {
        let proxy = Proxy::start(settings);
        let is_rtsp = message.contains("RTSP");
        let (service, at) = match is_rtsp {
            true => ("rtsp", rtsp_origin(origin_says)),
            false => ("rtmp", rtmp_origin(origin_says)),
        };
        proxy.register(&json!({
            "ip": "127.0.0.1", "server": "one", "service": "s", "pid": "1",
            service: [at.port().to_string()],
        }));
        match is_rtsp {
            true => play_by_rtsp(proxy.rtsp, client_says),
            false => light::ask_and_say(proxy.rtmp, action, "live/a", client_says),
        }
        let line = proxy.wait_log(message, |_| true);
        let told = line["error"].as_str().unwrap_or_default();
        assert!(told.contains(error), "{settings}{line}");
        assert_eq!(line["level"], "INFO", "{line}");
        let ended = proxy.wait_log("session ended", |ended| ended["session"] == line["session"]);
        let reason = match message.contains("origin") {
            true => "origin_error",
            false => "client_error",
        };
        assert_eq!(ended["reason"], reason, "{ended}");
        assert_eq!(proxy.log(message).len(), 1, "one line");
    }
}

/// An origin that takes everybody, and says this to those who say something more.
fn rtmp_origin(last: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| {
        let mut server = Server::serving([5; 32], None);
        let mut buffer = [0; 4096];
        let mut granted = false;
        loop {
            let count = uninterrupted(|| stream.read(&mut buffer)).unwrap_or_default();
            if count == 0 || server.feed(&buffer[..count]).is_err() {
                return;
            }
            let then = if granted { last } else { NOTHING };
            while let Some(event) = server.poll_event() {
                if let ServerEvent::Request(request) = event {
                    server.accept(request.stream_id).expect("it was asked");
                    granted = true;
                }
            }
            let said = server.poll_output().unwrap_or_default();
            if stream.write_all(&[&said[..], then].concat()).is_err() {
                return;
            }
        }
    })
}

/// The same by RTSP.
fn rtsp_origin(last: &'static [u8]) -> SocketAddr {
    serve(move |mut stream| {
        let mut bytes = Vec::new();
        while let Some(request) = next(&mut stream, &mut bytes, Speaker::Client) {
            let (fields, body, then) = match request.method() {
                Some(Method::Describe) => ("Content-Type: application/sdp\r\n", SDP, NOTHING),
                Some(Method::Setup) => (SET_UP, "", NOTHING),
                Some(Method::Play) => ("Session: 7\r\n", "", NOTHING),
                _ if request.field("session").is_some() => ("Session: 7\r\n", "", last),
                _ => ("Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n", "", NOTHING),
            };
            let cseq = request.cseq().unwrap_or_default();
            let length = body.len();
            let head = format!(
                "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
            );
            let said = [head.as_bytes(), then].concat();
            if stream.write_all(&said).is_err() {
                return;
            }
        }
    })
}

/// Plays until the other side closes, after these last bytes.
fn play_by_rtsp(at: SocketAddr, last: &[u8]) {
    let mut stream = TcpStream::connect(at).expect("the proxy listens");
    let patience = stream.set_read_timeout(Some(PATIENCE));
    patience.expect("a time that is not zero");
    let mut bytes = Vec::new();
    let url = "rtsp://media.example/live/a";
    for (number, asks) in [
        format!("DESCRIBE {url} RTSP/1.0\r\n"),
        format!("SETUP {url}/trackID=0 RTSP/1.0\r\n{SET_UP}"),
        format!("PLAY {url} RTSP/1.0\r\nSession: 7\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let request = format!("{asks}CSeq: {number}\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .expect("the proxy reads");
        let answer = next(&mut stream, &mut bytes, Speaker::Origin).expect("an answer");
        assert_eq!(answer.status(), Some(200), "{request}");
    }
    stream.write_all(last).expect("the proxy reads");
    while uninterrupted(|| stream.read(&mut [0; 4096])).is_ok_and(|count| count > 0) {}
}

/// The next message; `None` at the end of the connection.
pub(super) fn next(
    stream: &mut TcpStream,
    bytes: &mut Vec<u8>,
    speaker: Speaker,
) -> Option<Message> {
    let mut buffer = [0; 4096];
    loop {
        if let Some((message, length)) = Message::parse(bytes, speaker).ok()? {
            bytes.drain(..length);
            return Some(message);
        }
        let count = uninterrupted(|| stream.read(&mut buffer)).ok()?;
        bytes.extend_from_slice(buffer.get(..count).filter(|read| !read.is_empty())?);
    }
}

/// Serves each connection to a new address on a thread of its own.
pub(super) fn serve(talk: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let at = listener.local_addr().expect("it is bound");
    // The threads end with the test process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let talk = talk.clone();
            std::thread::spawn(move || talk(stream));
        }
    });
    at
}

const SET_UP: &str = "Session: 7\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
const SDP: &str = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n\
                   a=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n";
const PATIENCE: Duration = Duration::from_secs(30);
