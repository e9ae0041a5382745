//! Builders for HTTP: an origin that follows a script and records what it saw, and a viewer that sees every byte.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::house::{House, Manner, PATIENCE, Stub, until};

/// What an origin does after it has read a request head; after the last step it closes.
#[derive(Clone)]
pub(crate) enum Step {
    /// Sends back everything it receives, until the peer closes.
    Echo,
    /// Sends without end, until the peer closes.
    Flood,
    /// Sends nothing more, until the peer closes.
    Hold,
    /// Sends these bytes.
    Say(Vec<u8>),
    /// Sends nothing for this long: for one that thinks for longer than it may take to be asked again.
    Wait(Duration),
}

/// `Step::Say` for text.
pub(crate) fn say(text: impl AsRef<[u8]>) -> Step {
    Step::Say(text.as_ref().to_vec())
}

/// The head of a stream whose end is the end of the connection.
pub(crate) const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\n";

/// An origin that records what it saw.
pub(crate) struct HttpOrigin {
    pub(crate) at: SocketAddr,
    visits: Arc<Mutex<Vec<Visit>>>,
    serving: JoinHandle<()>,
    /// Its RTMP port, if it has one.
    rtmp: Option<Stub>,
}

/// One connection to an origin.
#[derive(Clone, Default)]
pub(crate) struct Visit {
    /// The request head as it came, without its empty line.
    pub(crate) head: String,
    /// What followed the head.
    pub(crate) rest: Vec<u8>,
    /// Whether the proxy closed it.
    pub(crate) closed: bool,
}

impl Visit {
    pub(crate) fn request_line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Every value of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        header(&self.head, name)
    }
}

impl HttpOrigin {
    pub(crate) async fn start(script: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let visits = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&visits);
        let serving = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let index = {
                    let mut visits = told.lock().expect("a test");
                    visits.push(Visit::default());
                    visits.len() - 1
                };
                tokio::spawn(follow(socket, script.clone(), Arc::clone(&told), index));
            }
        });
        Self {
            at,
            visits,
            serving,
            rtmp: None,
        }
    }

    /// An origin that may hold back its answers: over RTMP it shows that it is alive.
    pub(crate) async fn join_alive(house: &House, id: &str, script: Vec<Step>) -> Self {
        let mut origin = Self::start(script).await;
        let rtmp = Stub::start(Manner::Grants).await;
        let (rtmp_port, http_port) = (rtmp.at.port(), origin.at.port());
        let endpoints = format!(r#""rtmp":["{rtmp_port}"],"http":["{http_port}"]"#);
        house.register_with(id, &endpoints);
        origin.rtmp = Some(rtmp);
        origin
    }

    /// An origin that is registered under `id` as it starts.
    pub(crate) async fn join(house: &House, id: &str, script: Vec<Step>) -> Self {
        let origin = Self::start(script).await;
        register(house, id, origin.at);
        origin
    }

    pub(crate) fn visits(&self) -> MutexGuard<'_, Vec<Visit>> {
        self.visits.lock().expect("a test")
    }

    /// The visit with this number, with its head.
    pub(crate) async fn visit(&self, index: usize) -> Visit {
        let came = || {
            self.visits()
                .get(index)
                .is_some_and(|visit| !visit.head.is_empty())
        };
        until("the request", came).await;
        self.visits()[index].clone()
    }

    /// Waits until the proxy has closed this many connections.
    pub(crate) async fn until_closed(&self, count: usize) {
        let closed = || self.visits().iter().filter(|visit| visit.closed).count() == count;
        until("the end of the origin side", closed).await;
    }
}

impl Drop for HttpOrigin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Registers an origin that serves HTTP at `http`.
pub(crate) fn register(house: &House, id: &str, http: SocketAddr) {
    house.register_with(id, &format!(r#""http":["{}"]"#, http.port()));
}

async fn follow(
    mut socket: TcpStream,
    script: Vec<Step>,
    visits: Arc<Mutex<Vec<Visit>>>,
    index: usize,
) {
    let note =
        |change: &mut dyn FnMut(&mut Visit)| change(&mut visits.lock().expect("a test")[index]);
    let mut bytes = Vec::new();
    let length = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at;
        }
        if !matches!(socket.read_buf(&mut bytes).await, Ok(count) if count > 0) {
            return note(&mut |visit| visit.closed = true);
        }
    };
    note(&mut |visit| {
        visit.rest = bytes[length + 4..].to_vec();
        visit.head = String::from_utf8(bytes[..length].to_vec()).expect("text");
    });
    let mut buffer = vec![0; 65_536];
    for step in script {
        match step {
            Step::Say(ref bytes) => {
                if socket.write_all(bytes).await.is_err() {
                    break;
                }
            }
            Step::Wait(moment) => sleep(moment).await,
            Step::Flood => {
                while socket.write_all(&buffer).await.is_ok() {}
                note(&mut |visit| visit.closed = true);
            }
            Step::Echo | Step::Hold => {
                let mut count = socket.read(&mut buffer).await.unwrap_or_default();
                while count > 0 {
                    note(&mut |visit| visit.rest.extend_from_slice(&buffer[..count]));
                    if matches!(step, Step::Echo)
                        && socket.write_all(&buffer[..count]).await.is_err()
                    {
                        break;
                    }
                    count = socket.read(&mut buffer).await.unwrap_or_default();
                }
                note(&mut |visit| visit.closed = true);
            }
        }
    }
}

/// How a pull reaches the proxy: the two ways in which it is relayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// As the first request of its connection.
    First,
    /// After a request for a page, on the same connection.
    Second,
}

pub(crate) const WAYS: [Way; 2] = [Way::First, Way::Second];

/// A client that sees every byte.
pub(crate) struct Viewer {
    pub(crate) socket: TcpStream,
    read: Vec<u8>,
}

impl Viewer {
    /// Connects and sends.
    pub(crate) async fn send(at: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut socket = TcpStream::connect(at).await.expect("it listens");
        socket.write_all(bytes.as_ref()).await.expect("it reads");
        Self {
            socket,
            read: Vec::new(),
        }
    }

    /// Pulls `target` in one of the two ways, with more header lines (each ending in CR LF).
    pub(crate) async fn pull_with(at: SocketAddr, way: Way, target: &str, headers: &str) -> Self {
        let request = format!("GET {target} HTTP/1.1\r\nHost: example.com:8080\r\n{headers}\r\n");
        match way {
            Way::First => Self::send(at, request).await,
            Way::Second => {
                let mut viewer = Self::send(
                    at,
                    "GET /no-such-page HTTP/1.1\r\nHost: example.com\r\n\r\n",
                )
                .await;
                let head = viewer.head().await;
                assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
                let length = header(&head, "content-length")[0]
                    .parse()
                    .expect("a length");
                viewer.take(length).await;
                viewer.more(request).await;
                viewer
            }
        }
    }

    pub(crate) async fn pull(at: SocketAddr, way: Way, target: &str) -> Self {
        Self::pull_with(at, way, target, "").await
    }

    pub(crate) async fn more(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket
            .write_all(bytes.as_ref())
            .await
            .expect("it reads");
    }

    /// The head of the next answer, without its empty line.
    pub(crate) async fn head(&mut self) -> String {
        loop {
            if let Some(at) = self.read.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = self.read.drain(..at + 4).take(at).collect();
                return String::from_utf8(head).expect("text");
            }
            let so_far = String::from_utf8_lossy(&self.read).into_owned();
            assert!(
                self.step().await,
                "the connection ended before a head came: {so_far:?}"
            );
        }
    }

    /// The next `count` bytes.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<u8> {
        while self.read.len() < count {
            let so_far = self.read.len();
            assert!(
                self.step().await,
                "the connection ended after {so_far} of {count} bytes"
            );
        }
        self.read.drain(..count).collect()
    }

    /// The next `count` bytes of a body that may be chunked.
    pub(crate) async fn take_body(&mut self, head: &str, count: usize) -> Vec<u8> {
        if header(head, "transfer-encoding") != ["chunked"] {
            return self.take(count).await;
        }
        let mut body = Vec::new();
        while body.len() < count {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.extend(self.take(1).await);
            }
            let text = str::from_utf8(&line).expect("a chunk size").trim_end();
            let length = usize::from_str_radix(text, 16).expect("a chunk size");
            body.extend(self.take(length).await);
            assert_eq!(self.take(2).await, b"\r\n");
        }
        assert_eq!(body.len(), count, "more came");
        body
    }

    /// Everything up to the end of the connection, however it ends.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        while self.step().await {}
        self.read
    }

    /// Its connection, and what was read of it and not taken.
    pub(crate) fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.socket, self.read)
    }

    async fn step(&mut self) -> bool {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.read)).await;
        read.expect("bytes in time").is_ok_and(|count| count > 0)
    }
}

/// Every value of a header in a head.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
        .collect()
}
