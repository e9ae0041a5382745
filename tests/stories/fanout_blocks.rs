//! Viewers that share a pull of a stream in a format of its own, or of one that the origin has over HTTP only.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sluicegate_core::media::flv::{self, Tag};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fanout::{
    AUDIO_HEADER, FlvViewer, OPEN, VIDEO_HEADER, audio, keyframe, picture, told, until_marks, video,
};
use crate::house::{House, PATIENCE, nowhere, until};
use crate::http_origin::{Viewer, header};

/// An origin that sends everybody the same bytes from now on, after those that each connection begins with.
pub(crate) struct Live {
    pub(crate) at: SocketAddr,
    /// The targets of those who are here.
    here: Arc<Mutex<Vec<String>>>,
    sent: broadcast::Sender<Vec<u8>>,
    /// Its connections end with it.
    _running: DropGuard,
}

impl Live {
    pub(crate) async fn start(first: Vec<u8>) -> Self {
        let listener = TcpListener::bind(nowhere()).await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let here = Arc::default();
        let (sent, _) = broadcast::channel(1024);
        let (told, heard) = (Arc::clone(&here), sent.clone());
        let stop = CancellationToken::new();
        let running = stop.clone().drop_guard();
        tokio::spawn(async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.cancelled() => return,
                };
                let (socket, _) = accepted.expect("a connection");
                let (told, heard, stop) = (Arc::clone(&told), heard.clone(), stop.clone());
                let first = first.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(socket, &first, &heard, &told) => {}
                        () = stop.cancelled() => {}
                    }
                });
            }
        });
        Self {
            at,
            here,
            sent,
            _running: running,
        }
    }

    pub(crate) fn here(&self) -> MutexGuard<'_, Vec<String>> {
        self.here.lock().expect("a test")
    }

    /// Sends bytes to all who are here.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.sent.send(bytes.to_vec()).expect("somebody is here");
    }

    pub(crate) async fn until_here(&self, count: usize) {
        until("those who pull", || self.here().len() == count).await;
    }
}

async fn serve(
    mut socket: TcpStream,
    first: &[u8],
    sent: &broadcast::Sender<Vec<u8>>,
    here: &Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(socket.read_buf(&mut head).await, Ok(count) if count > 0) {
            return;
        }
    }
    let head = String::from_utf8(head).expect("text");
    let target = head.split(' ').nth(1).expect("a target").to_owned();
    if target.contains("missing") {
        let no = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        let _ = socket.write_all(no).await;
        return;
    }
    let mut next = sent.subscribe();
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut bytes = [&answer[..], &chunk(first)].concat();
    here.lock().expect("a test").push(target.clone());
    let mut buffer = [0; 64];
    while socket.write_all(&bytes).await.is_ok() {
        tokio::select! {
            more = next.recv() => match more {
                Ok(more) => bytes = chunk(&more),
                Err(RecvError::Closed | RecvError::Lagged(_)) => break,
            },
            read = socket.read(&mut buffer) => if !matches!(read, Ok(count) if count > 0) {
                break;
            },
        }
    }
    let mut here = here.lock().expect("a test");
    let at = here.iter().position(|one| *one == target);
    here.remove(at.expect("it is here"));
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    if bytes.is_empty() {
        return Vec::new();
    }
    let size = format!("{:x}\r\n", bytes.len());
    [size.as_bytes(), bytes, b"\r\n"].concat()
}

/// The tables of a program with H.264 in 0x100, and a packet in which a picture of this mark starts.
pub(crate) fn tables() -> Vec<u8> {
    let section = |pid: u16, bytes: &[u8]| {
        let [high, low] = (0x4000 | pid).to_be_bytes();
        let mut packet = [&[0x47, high, low, 0x10, 0], bytes].concat();
        packet.resize(188, 0xff);
        packet
    };
    let pat = [0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0, 0, 0, 0, 0];
    let pmt = [
        2, 0xb0, 18, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, 0, 0, 0, 0, 0,
    ];
    [section(0, &pat), section(0x1000, &pmt)].concat()
}

pub(crate) fn packet(key: bool, mark: u8) -> Vec<u8> {
    let flags = if key { 0x40 } else { 0 };
    let mut packet = vec![0x47, 0x41, 0, 0x30, 1, flags];
    packet.resize(188, mark);
    packet
}

/// A viewer whose body is ended by its connection.
async fn plain(house: &House, target: &str) -> Viewer {
    let request = format!("GET {target} HTTP/1.0\r\n\r\n");
    Viewer::send(house.at.http, request).await
}

/// The next bytes of a body are these.
async fn gets(viewer: &mut Viewer, parts: &[&[u8]]) {
    let expected = parts.concat();
    let came = viewer.take(expected.len()).await;
    assert!(came == expected, "{came:02x?} for {expected:02x?}");
}

#[tokio::test]
async fn viewers_of_a_transport_stream_begin_with_its_tables_at_a_picture() {
    let house = House::open(OPEN).await;
    let origin = Live::start(tables()).await;
    house.register_with("one", &format!(r#""http":["{}"]"#, origin.at.port()));
    let mut first = plain(&house, "/live/a.ts").await;
    let head = first.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&head, "content-type"), ["video/MP2T"]);
    origin.until_here(1).await;
    let [one, two, three, four] =
        [(true, 1), (false, 2), (true, 3), (false, 4)].map(|(key, mark)| packet(key, mark));
    origin.send(&[packet(false, 0), one.clone()].concat());
    origin.send(&two);
    gets(&mut first, &[&tables(), &one, &two]).await;

    // One that comes later, as the second request of its connection, is given the tables that were sent once.
    let mut second =
        Viewer::pull(house.at.http, crate::http_origin::Way::Second, "/live/a.ts").await;
    let head = second.head().await;
    let body = second.take_body(&head, 4 * 188).await;
    assert!(body == [&tables()[..], &one, &two].concat());
    origin.send(&[three.clone(), four.clone()].concat());
    gets(&mut first, &[&three, &four]).await;
    assert!(second.take_body(&head, 2 * 188).await == [&three[..], &four].concat());

    assert_eq!(*origin.here(), ["/live/a.ts"], "the origin has one");
    let streams = told(&house, "/api/v1/streams").await;
    let counts = ["players", "pulls"].map(|key| streams["streams"][0][key].as_u64());
    assert_eq!(counts, [Some(2), Some(1)], "{streams}");
    let origins = told(&house, "/api/v1/origins").await;
    let counts = ["sessions", "legs"].map(|key| origins["origins"][0][key].as_u64());
    assert_eq!(counts, [Some(2), Some(1)], "{origins}");
    drop((first, second));
    house.until_sessions(0).await;
    origin.until_here(0).await;
}

/// A frame with this mark.
type Frame = fn(u8) -> Vec<u8>;

#[tokio::test]
async fn sound_begins_with_a_frame() {
    let aac = |mark: u8| {
        let mut frame = vec![mark; 40];
        frame[..6].copy_from_slice(&[0xff, 0xf1, 0x50, 0x80, 5, 0x1f]);
        frame
    };
    let mp3 = |mark: u8| {
        let mut frame = vec![mark; 72];
        frame[..4].copy_from_slice(&[0xff, 0xe3, 0x18, 0]);
        frame
    };
    let formats: [(&str, &str, Frame); 2] =
        [("aac", "audio/x-aac", aac), ("mp3", "audio/mpeg", mp3)];
    for (ending, kind, frame) in formats {
        let house = House::open(OPEN).await;
        // A pull begins in the middle of a frame.
        let origin = Live::start(frame(1)[20..].to_vec()).await;
        house.register_with("one", &format!(r#""http":["{}"]"#, origin.at.port()));
        let target = format!("/live/a.{ending}");
        let mut first = plain(&house, &target).await;
        assert_eq!(header(&first.head().await, "content-type"), [kind]);
        origin.until_here(1).await;
        origin.send(&[frame(2), frame(3)].concat());
        origin.send(&frame(4)[..30]);
        gets(&mut first, &[&frame(2), &frame(3)]).await;
        let mut second = plain(&house, &target).await;
        second.head().await;
        origin.send(&[&frame(4)[30..], &frame(5)].concat());
        gets(&mut first, &[&frame(4), &frame(5)]).await;
        let came = second.take(frame(1).len()).await;
        assert_eq!(came[..2], frame(1)[..2], "a whole frame");
        assert_eq!(origin.here().len(), 1);
    }
}

#[tokio::test]
async fn each_format_is_pulled_once() {
    let house = House::open(OPEN).await;
    let origin = Live::start(Vec::new()).await;
    house.register_with("one", &format!(r#""http":["{}"]"#, origin.at.port()));
    let mut viewers = Vec::new();
    for ending in ["ts", "aac", "mp3", "flv"] {
        for _ in 0..2 {
            let mut viewer = plain(&house, &format!("/live/a.{ending}")).await;
            viewer.head().await;
            viewers.push(viewer);
        }
    }
    origin.until_here(4).await;
    let mut targets = origin.here().clone();
    targets.sort();
    assert_eq!(
        targets,
        ["/live/a.aac", "/live/a.flv", "/live/a.mp3", "/live/a.ts"]
    );
    assert_eq!(house.proxy.sessions().pulls().len(), 4);
}

#[tokio::test]
async fn what_the_origin_has_not_is_refused_to_each_who_waits() {
    let house = House::open(OPEN).await;
    let origin = Live::start(Vec::new()).await;
    house.register_with("one", &format!(r#""http":["{}"]"#, origin.at.port()));
    for target in ["/live/missing.ts", "/live/missing.aac", "/live/missing.flv"] {
        let mut viewer = plain(&house, target).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 404 "), "{target}: {head}");
    }
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().pulls().len(), 0);
}

#[tokio::test]
async fn viewers_of_a_transport_stream_outlive_their_origin() {
    let house = House::open(OPEN).await;
    let one = Live::start(tables()).await;
    house.register_with("one", &format!(r#""http":["{}"]"#, one.at.port()));
    let mut viewer = plain(&house, "/live/a.ts").await;
    viewer.head().await;
    one.until_here(1).await;
    one.send(&packet(true, 1));
    gets(&mut viewer, &[&tables(), &packet(true, 1)]).await;
    let two = Live::start(tables()).await;
    house.register_with("two", &format!(r#""http":["{}"]"#, two.at.port()));
    // It stops to listen, and closes what it has.
    drop(one);
    two.until_here(1).await;
    two.send(&[packet(false, 5), packet(true, 6), packet(false, 7)].concat());
    gets(
        &mut viewer,
        &[&tables(), &packet(true, 6), &packet(false, 7)],
    )
    .await;
}

#[tokio::test]
async fn one_that_takes_nothing_goes_on_at_the_newest_picture_with_the_tables() {
    let settings = format!("{OPEN}max_lag = \"500ms\"\n[session]\nwrite_stall = \"60s\"\n");
    let house = House::open(&settings).await;
    let origin = Live::start(tables()).await;
    house.register_with("one", &format!(r#""http":["{}"]"#, origin.at.port()));
    let mut quick = plain(&house, "/live/a.ts").await;
    let mut slow = plain(&house, "/live/a.ts").await;
    quick.head().await;
    slow.head().await;
    origin.until_here(1).await;
    origin.send(&packet(true, 0));
    gets(&mut quick, &[&tables(), &packet(true, 0)]).await;
    let group = {
        let pictures = std::iter::repeat_with(|| packet(false, 1)).take(500);
        let all = [packet(true, 1)].into_iter().chain(pictures);
        all.chain([packet(false, END)]).collect::<Vec<_>>().concat()
    };
    let began = Instant::now();
    let has_skipped = || {
        let metrics = house.proxy.metrics().render();
        !metrics.contains("sluicegate_fanout_skips_total 0")
    };
    while !has_skipped() {
        assert!(began.elapsed() < PATIENCE, "it skips");
        origin.send(&group);
        while quick.take(188).await[187] != END {}
        if began.elapsed() > Duration::from_secs(1) {
            // What it takes now is taken from far behind.
            slow.take(188 * 100).await;
        }
    }
    origin.send(&packet(true, 201));
    // Whole packets, from the tables on wherever it skipped.
    let mut last = Vec::new();
    loop {
        let packet = slow.take(188).await;
        assert_eq!(packet[0], 0x47);
        if packet[187] == 201 {
            break;
        }
        last = packet;
    }
    assert!(!last.is_empty());
}

/// The mark of the last picture of a group.
const END: u8 = 255;

/// The head of a stream in FLV, and a group of pictures marked 1, 2.
fn flv() -> Vec<u8> {
    let mut bytes = flv::header(true, true).to_vec();
    for message in [
        audio(0, AUDIO_HEADER),
        video(0, VIDEO_HEADER),
        keyframe(0, 1),
        audio(0, &[0xaf, 1, 1]),
        picture(40, 2),
    ] {
        bytes.extend(tag(&message));
    }
    bytes
}

fn tag(message: &Message) -> Vec<u8> {
    assert!(matches!(message.kind, kind::AUDIO | kind::VIDEO));
    let mut bytes = Vec::new();
    let tag = Tag {
        kind: message.kind,
        timestamp: message.timestamp,
        payload: &message.payload,
    };
    flv::write_tag(&tag, &mut bytes);
    bytes
}

#[tokio::test]
async fn a_stream_that_its_origin_has_over_http_only_is_pulled_as_flv() {
    let house = House::open(OPEN).await;
    let origin = Live::start(flv()).await;
    house.register_with("one", &format!(r#""http":["{}"]"#, origin.at.port()));
    let mut first = FlvViewer::pull(&house, "/live/a.flv").await;
    first.until_marks(&[1, 2]).await;
    let mut second = FlvViewer::pull(&house, "/live/a.flv").await;
    // What the origin does not speak, the proxy does.
    let mut third = house.ask(Action::Play, "live/a").await;
    origin.send(&tag(&picture(80, 3)));
    first.until_marks(&[1, 2, 3]).await;
    second.until_marks(&[1, 2, 3]).await;
    until_marks(&mut third, &[1, 2, 3]).await;
    assert_eq!(*origin.here(), ["/live/a.flv"]);
}
