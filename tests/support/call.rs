//! Calls in process: an origin that answers every offer and every check, and a client that asks and proves its address.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use sluicegate_core::rtc::stun::{Kind, Message, binding_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

/// An origin that answers every offer and every check, and sends media back.
pub(crate) struct CallOrigin {
    api: SocketAddr,
    media: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What the origin has received.
#[derive(Default)]
struct Seen {
    sources: BTreeSet<SocketAddr>,
    requests: Vec<String>,
    whole: Vec<String>,
}

/// What an origin says to an offer, and to a PATCH: a status with headers, and a body, which is compressed where the headers
/// say so.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) offer: (&'static str, String),
    pub(crate) patch: (&'static str, String),
}

impl Default for Says {
    fn default() -> Self {
        let agreed = "201 Created\r\nLocation: /call/1\r\nContent-Type: application/sdp";
        let amended = "200 OK\r\nContent-Type: application/trickle-ice-sdpfrag";
        Self {
            offer: (agreed, sdp("orig")),
            patch: (amended, fragment("orig2")),
        }
    }
}

impl CallOrigin {
    pub(crate) async fn start() -> Self {
        Self::saying(Says::default()).await
    }

    pub(crate) async fn saying(says: Says) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("loopback has ports");
        let api = listener.local_addr().expect("it is bound");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        tokio::spawn(signal(listener, says, Arc::clone(&seen)));
        let socket = UdpSocket::bind("127.0.0.1:0")
            .await
            .expect("loopback has ports");
        let media = socket.local_addr().expect("it is bound");
        tokio::spawn(echo(socket, Arc::clone(&seen)));
        Self { api, media, seen }
    }

    /// Its endpoints, as a registration names them.
    pub(crate) fn endpoints(&self) -> String {
        format!(
            r#""rtmp":["1"],"api":["{}"],"rtc":["{}"]"#,
            self.api.port(),
            self.media.port()
        )
    }

    /// Where its API is.
    pub(crate) const fn api(&self) -> SocketAddr {
        self.api
    }

    /// The addresses that sent it datagrams.
    pub(crate) fn sources(&self) -> BTreeSet<SocketAddr> {
        self.seen.lock().expect("no panic").sources.clone()
    }

    /// Every request with its head and its body.
    pub(crate) fn whole(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").whole.clone()
    }

    /// The methods and targets it was asked for.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").requests.clone()
    }
}

async fn signal(listener: TcpListener, says: Says, seen: Arc<Mutex<Seen>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let text = read_request(&mut client).await;
        let line = text.split(" HTTP/").next().unwrap_or_default().to_owned();
        let (status, body) = match line.split(' ').next() {
            Some("POST") => says.offer.clone(),
            Some("PATCH") => says.patch.clone(),
            _ => ("200 OK", String::new()),
        };
        {
            let mut seen = seen.lock().expect("no panic");
            seen.requests.push(line);
            seen.whole.push(text);
        }
        let body = match status.contains("Content-Encoding: gzip") {
            true => compressed(&body),
            false => body.into_bytes(),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n");
        let answer = [head.as_bytes(), &body].concat();
        let _ = client.write_all(&answer).await;
    }
}

fn compressed(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(text.as_bytes()).expect("memory");
    packed.finish().expect("memory")
}

/// A request with its body, or as much of it as came.
async fn read_request(client: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        match client.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            _ => return text,
        }
    }
}

async fn echo(socket: UdpSocket, seen: Arc<Mutex<Seen>>) {
    let mut bytes = [0; 2048];
    while let Ok((count, from)) = socket.recv_from(&mut bytes).await {
        seen.lock().expect("no panic").sources.insert(from);
        let answer = match bytes[..count].first() {
            Some(0) => [&[1, 1, 0, 0], &bytes[4..20]].concat(),
            _ => bytes[..count].to_vec(),
        };
        let _ = socket.send_to(&answer, from).await;
    }
}

/// Sends checks with `username` until one of them is answered, as an ICE agent does.
pub(crate) async fn check(
    client: &UdpSocket,
    username: &str,
    transaction: &mut u64,
) -> Option<Kind> {
    let first = *transaction + 1;
    for _ in 0..20 {
        if let Some(kind) = check_since(client, username, transaction, first).await {
            return Some(kind);
        }
    }
    None
}

/// Sends one check, and waits for the answer as long as an ICE agent does before it tries again.
pub(crate) async fn check_once(
    client: &UdpSocket,
    username: &str,
    transaction: &mut u64,
) -> Option<Kind> {
    let first = *transaction + 1;
    check_since(client, username, transaction, first).await
}

async fn check_since(
    client: &UdpSocket,
    username: &str,
    transaction: &mut u64,
    first: u64,
) -> Option<Kind> {
    client
        .send(&proof(username, transaction))
        .await
        .expect("it goes out");
    let answer = answer(client, first..=*transaction);
    timeout(Duration::from_millis(500), answer).await.ok()
}

/// The answer to one of these requests. Anything else, such as late answers to earlier requests, is skipped.
pub(crate) async fn answer(client: &UdpSocket, transactions: RangeInclusive<u64>) -> Kind {
    loop {
        let bytes = receive(client).await;
        if let Ok(message) = Message::parse(&bytes)
            && transactions
                .clone()
                .any(|transaction| message.transaction == id(transaction))
        {
            return message.kind;
        }
    }
}

/// The next packet that is not ICE.
pub(crate) async fn receive_media(client: &UdpSocket) -> Vec<u8> {
    let media = async {
        loop {
            let bytes = receive(client).await;
            if Message::parse(&bytes).is_err() {
                return bytes;
            }
        }
    };
    timeout(PATIENCE, media).await.expect("media in time")
}

/// A request that proves knowledge of the password in the answer.
pub(crate) fn proof(username: &str, transaction: &mut u64) -> Vec<u8> {
    *transaction += 1;
    binding_request(username, PASSWORD.as_bytes(), id(*transaction), true)
}

fn id(transaction: u64) -> [u8; 12] {
    let mut id = [0; 12];
    id[4..].copy_from_slice(&transaction.to_be_bytes());
    id
}

/// The next packet. An error about an earlier packet is skipped.
async fn receive(client: &UdpSocket) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    loop {
        if let Ok(count) = client.recv(&mut bytes).await {
            bytes.truncate(count);
            return bytes;
        }
    }
}

/// Sends a signalling request; returns its status, head and body.
pub(crate) async fn ask(
    api: SocketAddr,
    method: &str,
    target: &str,
    body: &str,
) -> (u16, String, String) {
    ask_with(api, method, target, "", body).await
}

/// Like `ask`, with additional headers, each with its line end.
pub(crate) async fn ask_with(
    api: SocketAddr,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> (u16, String, String) {
    let mut stream = TcpStream::connect(api).await.expect("it listens");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {api}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream
        .write_all(head.as_bytes())
        .await
        .expect("it is taken");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it is answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    (status.expect("a status"), head.to_owned(), body.to_owned())
}

/// The path of a call's resource, from the head of its answer.
pub(crate) fn location(head: &str) -> String {
    let found = head
        .lines()
        .find_map(|line| line.strip_prefix("location: "));
    found.expect("a call has a resource").to_owned()
}

/// A description with these credentials.
pub(crate) fn sdp(fragment: &str) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
         a=ice-ufrag:{fragment}\r\na=ice-pwd:{PASSWORD}\r\n"
    )
}

/// What is exchanged for an ICE restart.
pub(crate) fn fragment(fragment: &str) -> String {
    format!(
        "a=ice-ufrag:{fragment}\r\na=ice-pwd:{PASSWORD}\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\n"
    )
}

const PATIENCE: Duration = Duration::from_secs(30);
const PASSWORD: &str = "0123456789012345678901";
