//! Builders for RTSP: a client that sends what it is told to, and an origin that answers as it is told to.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sluicegate_core::rtsp::message::{Message, Method, Speaker};
use sluicegate_core::rtsp::walk::{Step, Walk};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::house::PATIENCE;

/// One end of a connection.
pub(crate) struct Caller {
    stream: TcpStream,
    walk: Walk,
    inbox: Vec<u8>,
    /// The frames received so far, concatenated.
    pub(crate) frames: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(at: SocketAddr) -> Self {
        let stream = TcpStream::connect(at).await.expect("it listens");
        Self::new(stream, Speaker::Origin)
    }

    fn new(stream: TcpStream, from: Speaker) -> Self {
        Self {
            stream,
            walk: Walk::new(from),
            inbox: Vec::new(),
            frames: Vec::new(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("connected")
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .await
            .expect("it reads");
    }

    /// Sends a request with additional header lines; returns the answer.
    pub(crate) async fn ask(&mut self, line: &str, cseq: u32, fields: &str) -> Message {
        self.send(format!("{line} RTSP/1.0\r\nCSeq: {cseq}\r\n{fields}\r\n"))
            .await;
        let answer = self.hear().await.expect("an answer");
        assert_eq!(answer.cseq(), Some(cseq), "{answer:?}");
        answer
    }

    /// The next message; `None` at the end of the connection.
    pub(crate) async fn hear(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.next_message() {
                return Some(message);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// Reads until this many bytes of frames have arrived; returns false at the end of the connection.
    pub(crate) async fn hear_frames(&mut self, bytes: usize) -> bool {
        while self.frames.len() < bytes {
            assert_eq!(self.next_message(), None, "frames are waited for");
            if self.frames.len() < bytes && !self.read().await {
                return false;
            }
        }
        true
    }

    /// Reads until the connection ends.
    pub(crate) async fn hear_end(&mut self) {
        while self.hear().await.is_some() {}
    }

    fn next_message(&mut self) -> Option<Message> {
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        while let Some(step) = self.walk.step(&mut rest).expect("RTSP") {
            match step {
                Step::Pass(bytes) => self.frames.extend_from_slice(bytes),
                Step::Message(message) => {
                    self.inbox = rest.to_vec();
                    return Some(message);
                }
            }
        }
        None
    }

    async fn read(&mut self) -> bool {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.inbox));
        matches!(read.await.expect("something in time"), Ok(count) if count > 0)
    }
}

/// A frame on a channel.
pub(crate) fn frame(channel: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a frame").to_be_bytes();
    [&[b'$', channel], &length[..], payload].concat()
}

/// How an origin answers a request.
pub(crate) enum Reply {
    /// Sends something and goes on.
    Say(Vec<u8>),
    /// Sends something and closes.
    SayAndClose(Vec<u8>),
    /// Does nothing at all.
    Wait,
}

/// An answer with additional header lines and a body.
pub(crate) fn answer(request: &Message, status: &str, fields: &str, body: &str) -> Vec<u8> {
    let cseq = request.cseq().expect("requests are numbered");
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    format!("RTSP/1.0 {status}\r\nCSeq: {cseq}\r\n{fields}{length}\r\n{body}").into_bytes()
}

/// An origin that grants every request, names itself by its own address, and sends `frames` after PLAY.
pub(crate) fn grants(at: SocketAddr, frames: Vec<u8>) -> impl Fn(&Message) -> Reply + Send + Sync {
    move |request| {
        let session = "Session: 7;timeout=60\r\n";
        Reply::Say(match request.method() {
            Some(Method::Describe) => {
                let fields = format!(
                    "Content-Base: rtsp://{at}/live/a/\r\nContent-Type: application/sdp\r\n"
                );
                let sdp = format!(
                    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=a\r\nm=video 0 RTP/AVP 96\r\na=control:rtsp://{at}/live/a/trackID=0\r\n"
                );
                answer(request, "200 OK", &fields, &sdp)
            }
            Some(Method::Setup) => {
                let offered = request.field("transport").unwrap_or_default();
                let fields = format!("{session}Transport: {offered};source=127.0.0.1\r\n");
                answer(request, "200 OK", &fields, "")
            }
            Some(Method::Play) => {
                let info = format!("{session}RTP-Info: url=rtsp://{at}/live/a/trackID=0;seq=1\r\n");
                [answer(request, "200 OK", &info, ""), frames.clone()].concat()
            }
            _ => answer(request, "200 OK", "", ""),
        })
    }
}

/// An origin that records what it received.
pub(crate) struct Stub {
    pub(crate) at: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    killed: CancellationToken,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    connections: usize,
    /// Those that are still open.
    open: usize,
    requests: Vec<Message>,
    frames: Vec<u8>,
}

impl Stub {
    /// An origin whose behaviour depends on its address.
    pub(crate) async fn start<M>(manners: impl FnOnce(SocketAddr) -> M) -> Self
    where
        M: Fn(&Message) -> Reply + Send + Sync + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let manners = Arc::new(manners(at));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let killed = CancellationToken::new();
        let (told, end) = (Arc::clone(&heard), killed.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                {
                    let mut told = told.lock().expect("a test");
                    told.connections += 1;
                    told.open += 1;
                }
                let caller = Caller::new(stream, Speaker::Client);
                let (manners, told) = (Arc::clone(&manners), Arc::clone(&told));
                let serving = async move {
                    serve(caller, manners, &told).await;
                    told.lock().expect("a test").open -= 1;
                };
                tokio::spawn(end.clone().run_until_cancelled_owned(serving));
            }
        });
        Self {
            at,
            heard,
            killed,
            serving,
        }
    }

    /// Ends it as `kill -9` would.
    pub(crate) async fn kill(&mut self) {
        self.killed.cancel();
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    pub(crate) fn connections(&self) -> usize {
        self.heard.lock().expect("a test").connections
    }

    /// The connections that have not ended.
    pub(crate) fn open(&self) -> usize {
        self.heard.lock().expect("a test").open
    }

    /// The requests so far, each as it was received.
    pub(crate) fn requests(&self) -> Vec<String> {
        let heard = self.heard.lock().expect("a test");
        let text = |message: &Message| String::from_utf8_lossy(message.bytes()).into_owned();
        heard.requests.iter().map(text).collect()
    }

    pub(crate) fn frames(&self) -> Vec<u8> {
        self.heard.lock().expect("a test").frames.clone()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve<M>(mut caller: Caller, manners: Arc<M>, heard: &Mutex<Heard>)
where
    M: Fn(&Message) -> Reply,
{
    loop {
        let message = caller.next_message();
        {
            let mut heard = heard.lock().expect("a test");
            heard.frames.append(&mut caller.frames);
            heard.requests.extend(message.clone());
        }
        let Some(message) = message else {
            let read = caller.stream.read_buf(&mut caller.inbox).await;
            if !matches!(read, Ok(count) if count > 0) {
                return;
            }
            continue;
        };
        match manners(&message) {
            Reply::Say(bytes) => caller.send(bytes).await,
            Reply::SayAndClose(bytes) => return caller.send(bytes).await,
            Reply::Wait => {}
        }
    }
}
