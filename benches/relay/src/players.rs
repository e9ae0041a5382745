//! Many players or publishers in one thread: each goes through its set-up as a real one does, then reads, or writes, and counts.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};

use crate::origin::{FRAME_INTERVAL, GROUP};
use crate::wire::{self, Amf, Command, Event, Frame, Inbox, Kind, Protocol};

/// Players that were opened; dropping it closes them all.
pub(crate) struct Crowd {
    /// The times from the start of the TCP connect to the first media byte, in milliseconds, unsorted.
    pub(crate) set_ups: Vec<f64>,
    /// Why players could not start.
    pub(crate) failures: Vec<String>,
    counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    bytes: AtomicU64,
    lost: AtomicUsize,
    /// Of some players: milliseconds from the origin's write to their read.
    latencies: Mutex<Vec<f64>>,
}

impl Counts {
    /// Takes what a player read. `watched`: the times at which pictures were sent are looked for.
    fn take(&self, bytes: &[u8], watched: bool) {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if watched {
            let mut latencies = self.latencies.lock().expect("nobody panics with it");
            latencies.extend(wire::latencies(bytes));
        }
    }
}

impl Crowd {
    /// Opens `count` players of `protocol`, evenly over `spread` and `streams`, and returns when each one plays or has
    /// failed. Publishers have a stream each, with pictures of `frame` bytes.
    pub(crate) async fn open(
        protocol: Protocol,
        relay: SocketAddr,
        count: usize,
        spread: Duration,
        streams: usize,
        frame: usize,
    ) -> Self {
        let publishes = protocol == Protocol::Publish;
        let counts = Arc::new(Counts::default());
        let (results, mut set_ups) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let start = Instant::now();
        for player in 0..count {
            let (results, counts) = (results.clone(), Arc::clone(&counts));
            let begin = start + spread * player as u32 / count as u32;
            tasks.spawn(async move {
                sleep_until(begin).await;
                let stream = if publishes { player } else { player % streams };
                match set_up(protocol, relay, stream).await {
                    Ok((socket, milliseconds)) => {
                        let _ = results.send(Ok(milliseconds));
                        if publishes {
                            publish(socket, &counts, frame).await;
                        } else {
                            let watched = player % WATCHED_EVERY == 0;
                            discard(socket, |bytes| counts.take(bytes, watched)).await;
                        }
                        counts.lost.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(error) => {
                        let _ = results.send(Err(format!("{error:#}")));
                    }
                }
            });
        }
        drop(results);
        let mut crowd = Self {
            set_ups: Vec::new(),
            failures: Vec::new(),
            counts,
            _tasks: tasks,
        };
        while crowd.set_ups.len() + crowd.failures.len() < count {
            match set_ups.recv().await {
                Some(Ok(milliseconds)) => crowd.set_ups.push(milliseconds),
                Some(Err(failure)) => crowd.failures.push(failure),
                None => break,
            }
        }
        crowd
    }

    /// Bytes received by all players since they started to play, or sent by all publishers.
    pub(crate) fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// The latencies that were seen since this was asked last.
    pub(crate) fn take_latencies(&self) -> Vec<f64> {
        std::mem::take(&mut *self.counts.latencies.lock().expect("nobody panics with it"))
    }

    /// Players whose connection ended although they were still watching.
    pub(crate) fn lost(&self) -> usize {
        self.counts.lost.load(Ordering::Relaxed)
    }
}

/// One player up to its first media byte, or a publisher until it may send, and how many milliseconds that took.
pub(crate) async fn set_up(
    protocol: Protocol,
    relay: SocketAddr,
    stream: usize,
) -> Result<(TcpStream, f64)> {
    let start = Instant::now();
    let playing = async {
        let mut socket = TcpStream::connect(relay).await?;
        socket.set_nodelay(true)?;
        match protocol {
            Protocol::Flv => play_flv(&mut socket, relay, stream).await?,
            Protocol::Rtmp => play_rtmp(&mut socket, relay, stream).await?,
            Protocol::Publish => publish_rtmp(&mut socket, relay, stream).await?,
            Protocol::Rtsp => play_rtsp(&mut socket, relay, stream).await?,
        }
        anyhow::Ok(socket)
    };
    let Ok(playing) = timeout(SET_UP_LIMIT, playing).await else {
        bail!("no media within {SET_UP_LIMIT:?}")
    };
    Ok((playing?, start.elapsed().as_secs_f64() * 1e3))
}

async fn play_flv(socket: &mut TcpStream, relay: SocketAddr, stream: usize) -> Result<()> {
    let request = format!(
        "GET /live/bench{stream}.flv HTTP/1.1\r\nHost: {relay}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        if socket.read_buf(&mut bytes).await? == 0 {
            bail!("closed after {:?}", String::from_utf8_lossy(&bytes));
        }
        // The FLV header, the size of the tag before the first (none), then at least a tag header and one byte.
        if let Some(at) = bytes.windows(4).position(|window| window == b"FLV\x01")
            && bytes.len() > at + 13 + 2 + 4 + 12
        {
            return Ok(());
        }
        if bytes.starts_with(b"HTTP/1.1 ") && !bytes.starts_with(b"HTTP/1.1 2") {
            bail!("answered {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

async fn play_rtmp(socket: &mut TcpStream, relay: SocketAddr, stream: usize) -> Result<()> {
    let mut inbox = connect_rtmp(socket, relay).await?;
    let name = format!("bench{stream}");
    let play = wire::amf(&[
        Amf::Text("play"),
        Amf::Number(3.0),
        Amf::Null,
        Amf::Text(&name),
        Amf::Number(-2000.0),
    ]);
    socket
        .write_all(&wire::message(8, wire::COMMAND, 1, &play, 128))
        .await?;
    while !matches!(event(socket, &mut inbox).await?, Event::Media) {}
    Ok(())
}

async fn publish_rtmp(socket: &mut TcpStream, relay: SocketAddr, stream: usize) -> Result<()> {
    let mut inbox = connect_rtmp(socket, relay).await?;
    let name = format!("bench{stream}");
    let publish = wire::amf(&[
        Amf::Text("publish"),
        Amf::Number(3.0),
        Amf::Null,
        Amf::Text(&name),
        Amf::Text("live"),
    ]);
    let chunk = (wire::ORIGIN_CHUNK as u32).to_be_bytes();
    let asks = [
        wire::message(8, wire::COMMAND, 1, &publish, 128),
        wire::message(2, wire::SET_CHUNK_SIZE, 0, &chunk, 128),
    ];
    socket.write_all(&asks.concat()).await?;
    loop {
        if let Event::Command(Command { name, .. }) = event(socket, &mut inbox).await?
            && name == "onStatus"
        {
            return Ok(());
        }
    }
}

/// The handshake, `connect` and `createStream`.
async fn connect_rtmp(socket: &mut TcpStream, relay: SocketAddr) -> Result<Inbox> {
    let mut hello = vec![0x22; wire::HANDSHAKE];
    hello[0] = 3;
    hello[1..9].fill(0); // time and version: the simple handshake
    socket.write_all(&hello).await?;
    let mut answer = [0; 2 * wire::HANDSHAKE - 1];
    socket.read_exact(&mut answer).await?;

    let url = format!("rtmp://{relay}/live");
    let object = [
        ("app", "live"),
        ("type", "nonprivate"),
        ("flashVer", "LNX 9,0,124,2"),
        ("tcUrl", &url),
    ];
    let connect = wire::amf(&[Amf::Text("connect"), Amf::Number(1.0), Amf::Object(&object)]);
    let mut first = answer[1..wire::HANDSHAKE].to_vec();
    first.extend_from_slice(&wire::message(3, wire::COMMAND, 0, &connect, 128));
    socket.write_all(&first).await?;

    let mut inbox = Inbox::new();
    answered(socket, &mut inbox, 1.0).await?;
    let create = wire::amf(&[Amf::Text("createStream"), Amf::Number(2.0), Amf::Null]);
    socket
        .write_all(&wire::message(3, wire::COMMAND, 0, &create, 128))
        .await?;
    answered(socket, &mut inbox, 2.0).await?;
    Ok(inbox)
}

async fn play_rtsp(socket: &mut TcpStream, relay: SocketAddr, stream: usize) -> Result<()> {
    let url = format!("rtsp://{relay}/live/bench{stream}");
    let requests = [
        format!("OPTIONS {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"),
        format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n"),
        format!(
            "SETUP {url}/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n"
        ),
        format!("PLAY {url} RTSP/1.0\r\nCSeq: 4\r\nSession: 1\r\n\r\n"),
    ];
    for (request, end) in requests
        .iter()
        .zip(["\r\n\r\n", "trackID=0\r\n", "\r\n\r\n", "$"])
    {
        socket.write_all(request.as_bytes()).await?;
        let mut answer = Vec::with_capacity(4096);
        // After PLAY, wait for the first frame; before that, for the end of an answer.
        while !answer
            .windows(end.len())
            .any(|window| window == end.as_bytes())
        {
            if socket.read_buf(&mut answer).await? == 0 {
                bail!("closed during set-up");
            }
            if !answer.starts_with(b"RTSP/1.0 2") {
                bail!("refused: {:?}", String::from_utf8_lossy(&answer));
            }
        }
    }
    Ok(())
}

/// Reads until the `_result` of one of our commands.
async fn answered(socket: &mut TcpStream, inbox: &mut Inbox, transaction: f64) -> Result<()> {
    loop {
        if let Event::Command(Command {
            name,
            transaction: of,
            ..
        }) = event(socket, inbox).await?
            && name == "_result"
            && of == transaction
        {
            return Ok(());
        }
    }
}

async fn event(socket: &mut TcpStream, inbox: &mut Inbox) -> Result<Event> {
    loop {
        match inbox.next() {
            Some(Event::Command(Command { name, body, .. }))
                if name == "_error"
                    || name == "onStatus" && body.windows(5).any(|window| window == b"error") =>
            {
                bail!("refused: {}", String::from_utf8_lossy(&body));
            }
            Some(event) => return Ok(event),
            None => {}
        }
        if socket.read_buf(&mut inbox.bytes).await? == 0 {
            bail!("closed during set-up");
        }
    }
}

/// Reads into one buffer shared by all connections of this thread until the connection ends, and tells of what came.
pub(crate) async fn discard(mut socket: TcpStream, mut came: impl FnMut(&[u8])) {
    thread_local!(static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; 256 * 1024]));
    loop {
        // `poll_read` forgets readiness on a short read, so a frame costs one read and no EAGAIN.
        let read = std::future::poll_fn(|context| {
            SCRATCH.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                let polled = Pin::new(&mut socket).poll_read(context, &mut buffer);
                polled.map_ok(|()| {
                    came(buffer.filled());
                    buffer.filled().len()
                })
            })
        });
        if !matches!(read.await, Ok(1..)) {
            return;
        }
    }
}

/// Writes a picture at each frame interval until the connection ends; a relay that does not take them in time is waited for.
async fn publish(socket: TcpStream, counts: &Counts, length: usize) {
    let (answers, mut socket) = socket.into_split();
    let pictures = [Kind::Key, Kind::Inter].map(|kind| Frame::of(kind, Protocol::Publish, length));
    let [mut key, mut inter] = pictures;
    let start = Instant::now();
    let mut ticks = interval_at(start, FRAME_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0_usize.. {
        ticks.tick().await;
        let frame = if number.is_multiple_of(GROUP) {
            &mut key
        } else {
            &mut inter
        };
        frame.stamp(start.elapsed().as_millis() as u32);
        // Acknowledgements are few, but unread ones would fill the relay's side.
        while matches!(answers.try_read(&mut [0; 4096]), Ok(1..)) {}
        if socket.write_all(&frame.bytes).await.is_err() {
            return;
        }
        counts
            .bytes
            .fetch_add(frame.bytes.len() as u64, Ordering::Relaxed);
    }
}

/// The number of different streams over which the players are spread.
pub(crate) const STREAMS: usize = 10;
/// One in this many players measures how old what it reads is.
const WATCHED_EVERY: usize = 50;
const SET_UP_LIMIT: Duration = Duration::from_secs(10);
