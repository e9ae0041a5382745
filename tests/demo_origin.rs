//! The embedded origin and the clip's publisher, tested over real sockets.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sluicegate::demo::origin::{EmbeddedOrigin, End, Peer, Seen};
use sluicegate::demo::publisher::{PublishError, keep_publishing, publish_clip};
use sluicegate_core::http::head::ResponseHead;
use sluicegate_core::media::flv::{self, FlvError};
use sluicegate_core::media::part::Part;
use sluicegate_core::read::Reader;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{Command, Message, kind};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a test waits: what it waits for comes within milliseconds, or never.
const PATIENCE: Duration = Duration::from_secs(20);
const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 0xaa];
const INTER: &[u8] = &[0x27, 1, 0, 0, 0, 0xbb];

async fn origin() -> EmbeddedOrigin {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    EmbeddedOrigin::bind(free, free).await.expect("free ports")
}

async fn patiently<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(outcome) = tokio::time::timeout(PATIENCE, work).await else {
        panic!("{what} did not happen")
    };
    outcome
}

async fn until(origin: &EmbeddedOrigin, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
    let mut watch = origin.watch();
    patiently(what, watch.wait_for(condition))
        .await
        .expect("the origin is there")
        .clone()
}

/// The clip as `live/demo`, until the guard is dropped.
fn clip(origin: &EmbeddedOrigin) -> (JoinHandle<Result<(), PublishError>>, DropGuard) {
    let stop = CancellationToken::new();
    let (address, guard) = (origin.rtmp(), stop.clone().drop_guard());
    (
        tokio::spawn(async move { publish_clip(address, "live", "demo", &stop).await }),
        guard,
    )
}

/// A client of the origin, one step at a time.
struct Rtmp {
    socket: TcpStream,
    client: Client,
}

impl Rtmp {
    async fn open(origin: &EmbeddedOrigin, action: Action, name: &str, before: &[u8]) -> Self {
        let mut socket = TcpStream::connect(origin.rtmp())
            .await
            .expect("the origin accepts");
        socket.write_all(before).await.expect("the origin reads");
        let tc_url = format!(
            "rtmp://example.com:1935/live?vhost=a.example.com&at={}",
            origin.rtmp()
        );
        let extra = vec![("pageUrl".to_owned(), Value::from("http://page"))];
        Self {
            socket,
            client: Client::new([7; 32], action, &tc_url, name, extra),
        }
    }

    /// Opens a client and runs it until the origin has sent `code`.
    async fn started(origin: &EmbeddedOrigin, action: Action, name: &str, code: &str) -> Self {
        let mut peer = Self::open(origin, action, name, b"").await;
        peer.until_status(code).await;
        peer
    }

    async fn publishing(origin: &EmbeddedOrigin, name: &str) -> Self {
        Self::started(origin, Action::Publish, name, "NetStream.Publish.Start").await
    }

    async fn playing(origin: &EmbeddedOrigin, name: &str) -> Self {
        Self::started(origin, Action::Play, name, "NetStream.Play.Start").await
    }

    /// The next event of the origin; `None` when it has closed the connection.
    async fn event(&mut self) -> Option<ClientEvent> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            self.flush().await;
            if let Some(event) = self.client.poll_event() {
                return Some(event);
            }
            match patiently("an answer", self.socket.read(&mut buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self
                    .client
                    .feed(&buffer[..read])
                    .expect("the origin speaks RTMP"),
            }
        }
    }

    async fn until_status(&mut self, wanted: &str) {
        while let Some(event) = self.event().await {
            if matches!(&event, ClientEvent::Status { code, .. } if code == wanted) {
                return;
            }
        }
        panic!("the origin closed the connection without {wanted}");
    }

    /// The next audio, video or `onMetaData`.
    async fn media(&mut self) -> Message {
        loop {
            match self.event().await.expect("the origin goes on") {
                ClientEvent::Media(message) if part(&message) == Part::Metadata => return message,
                ClientEvent::Media(message) if message.kind != kind::DATA_AMF0 => return message,
                _ => {}
            }
        }
    }

    async fn send(&mut self, kind: u8, timestamp: u32, payload: &[u8]) {
        self.client.send_media(&Message {
            timestamp,
            kind,
            stream_id: 0,
            payload: payload.to_vec(),
        });
        self.flush().await;
    }

    async fn flush(&mut self) {
        while let Some(output) = self.client.poll_output() {
            // The origin may have closed the connection; what it sent before is still to be read.
            let _ = self.socket.write_all(&output).await;
        }
    }
}

fn part(message: &Message) -> Part {
    Part::of(message.kind, &message.payload)
}

/// The response to `request`, which must have a head; its body is read as it arrives.
struct Http {
    socket: TcpStream,
    head: ResponseHead,
    body: Vec<u8>,
    chunked: bool,
}

impl Http {
    async fn ask(origin: &EmbeddedOrigin, request: &str) -> Self {
        let mut socket = TcpStream::connect(origin.http())
            .await
            .expect("the origin accepts");
        socket
            .write_all(request.as_bytes())
            .await
            .expect("the origin reads");
        let mut bytes = Vec::new();
        loop {
            assert!(
                patiently("a head", socket.read_buf(&mut bytes))
                    .await
                    .expect("an answer")
                    > 0,
                "a head comes"
            );
            if let Some((head, length)) =
                ResponseHead::parse(&bytes).expect("the origin speaks HTTP")
            {
                let chunked = head.headers.has_token("transfer-encoding", "chunked");
                return Self {
                    socket,
                    head,
                    body: bytes.split_off(length),
                    chunked,
                };
            }
        }
    }

    /// The first `count` tags of an FLV body.
    async fn tags(&mut self, count: usize) -> Vec<Message> {
        loop {
            let body = if self.chunked {
                dechunked(&self.body)
            } else {
                self.body.clone()
            };
            match tags(&body) {
                Ok(tags) if tags.len() >= count => return tags,
                Ok(_) | Err(FlvError::Truncated) => {}
                Err(problem) => panic!("{problem}"),
            }
            let read = patiently("more of the body", self.socket.read_buf(&mut self.body)).await;
            assert!(read.expect("the origin goes on") > 0, "the body goes on");
        }
    }
}

/// The complete tags at the front of an FLV file.
fn tags(file: &[u8]) -> Result<Vec<Message>, FlvError> {
    let mut reader = Reader::new(file);
    flv::read_header(&mut reader)?;
    let mut tags = Vec::new();
    loop {
        match flv::read_tag(&mut reader) {
            Ok(tag) => tags.push(Message {
                timestamp: tag.timestamp,
                kind: tag.kind,
                stream_id: 0,
                payload: tag.payload.to_vec(),
            }),
            Err(FlvError::Truncated) => return Ok(tags),
            Err(problem) => return Err(problem),
        }
    }
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).expect("a chunk size is text");
        let size = usize::from_str_radix(size, 16).expect("a chunk size is hexadecimal");
        let start = end + 2;
        out.extend_from_slice(&body[start.min(body.len())..(start + size).min(body.len())]);
        body = body.get(start + size + 2..).unwrap_or_default();
    }
    out
}

/// The order in which the clip's publisher sends decoder configurations.
const AS_PUBLISHED: [Part; 2] = [Part::VideoHeader, Part::AudioHeader];
/// The order in which a player that comes later gets them, as SRS has it.
const AS_KEPT: [Part; 2] = [Part::AudioHeader, Part::VideoHeader];

/// Checks what every player must get first, whenever it comes: metadata, then the decoder configurations in `order`.
fn assert_opens_well(messages: &[Message], order: [Part; 2]) {
    let parts: Vec<Part> = messages.iter().map(part).collect();
    assert_eq!(parts[..1], [Part::Metadata]);
    assert_eq!(parts[1..3], order);
    let first_picture = messages
        .iter()
        .find(|message| message.kind == kind::VIDEO && part(message) != Part::VideoHeader);
    assert_eq!(first_picture.map(part), Some(Part::Keyframe));
    assert!(
        messages[3..]
            .windows(2)
            .all(|pair| pair[0].timestamp <= pair[1].timestamp),
        "time runs forward"
    );
}

#[tokio::test]
async fn a_player_that_comes_later_starts_at_a_keyframe() {
    let origin = origin().await;
    let _clip = clip(&origin);
    until(&origin, "the clip's frames", |seen| {
        seen.publishers().any(|peer| peer.messages > 20)
    })
    .await;
    let mut player = Rtmp::playing(&origin, "demo").await;
    let mut messages = Vec::new();
    for _ in 0..40 {
        messages.push(player.media().await);
    }
    assert_opens_well(&messages, AS_KEPT);
    assert!(
        messages[0].payload.starts_with(b"\x02\x00\x0aonMetaData"),
        "without @setDataFrame"
    );
    assert_eq!(messages[0].stream_id, player.client.stream_id());
}

#[tokio::test]
async fn a_player_waits_for_its_publisher() {
    let origin = origin().await;
    let mut player = Rtmp::playing(&origin, "demo").await;
    let mut viewer = Http::ask(&origin, "GET /live/demo.flv HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(viewer.head.status, 200, "the head does not wait");
    let seen = until(&origin, "two players", |seen| seen.players().count() == 2).await;
    assert_eq!(seen.publishers().count(), 0);
    let _clip = clip(&origin);
    let mut messages = Vec::new();
    for _ in 0..10 {
        messages.push(player.media().await);
    }
    assert_opens_well(&messages, AS_PUBLISHED);
    assert_opens_well(&viewer.tags(10).await, AS_PUBLISHED);
}

#[tokio::test]
async fn http_flv_is_chunked_or_ends_with_the_connection() {
    let origin = origin().await;
    let _clip = clip(&origin);
    until(&origin, "the clip", |seen| {
        seen.publishers().any(|peer| peer.messages > 20)
    })
    .await;
    for (version, chunked) in [("1.1", true), ("1.0", false)] {
        let mut viewer = Http::ask(
            &origin,
            &format!("GET /live/demo.flv?a=b HTTP/{version}\r\nHost: a\r\n\r\n"),
        )
        .await;
        assert_eq!(
            (viewer.head.status, viewer.chunked),
            (200, chunked),
            "HTTP/{version}"
        );
        assert_eq!(
            viewer.head.headers.text("content-type"),
            Some("video/x-flv")
        );
        assert_eq!(
            viewer.head.headers.text("access-control-allow-origin"),
            Some("*")
        );
        assert_opens_well(&viewer.tags(60).await, AS_KEPT);
    }
    let rows = [
        ("HEAD", "/live/demo.flv", 200),
        ("GET", "/live/demo", 404),
        ("GET", "/live/demo.ts", 404),
        ("GET", "/", 404),
        ("POST", "/live/demo.flv", 405),
    ];
    for (method, target, status) in rows {
        let answer = Http::ask(
            &origin,
            &format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
        )
        .await;
        assert_eq!(answer.head.status, status, "{method} {target}");
    }
    let left = until(&origin, "both viewers leave", |seen| {
        seen.players().count() == 0
    })
    .await;
    assert!(
        left.peers
            .iter()
            .all(|peer| peer.action == Action::Publish || peer.end == Some(End::Left))
    );
}

#[tokio::test]
async fn flv_announces_the_tracks_that_are_there() {
    let origin = origin().await;
    let request = "GET /live/a.flv HTTP/1.0\r\n\r\n";
    let mut early = Http::ask(&origin, request).await;
    let mut publisher = Rtmp::publishing(&origin, "a").await;
    publisher.send(kind::VIDEO, 0, KEYFRAME).await;
    early.tags(1).await;
    let mut late = Http::ask(&origin, request).await;
    late.tags(1).await;
    assert_eq!((early.body[4], late.body[4]), (0b101, 0b001));
}

#[tokio::test]
async fn a_second_publisher_is_refused_and_the_first_goes_on() {
    let origin = origin().await;
    let mut first = Rtmp::publishing(&origin, "demo").await;
    let refused = patiently("the answer", clip(&origin).0)
        .await
        .expect("no panic");
    assert!(
        matches!(&refused, Err(PublishError::Refused { code, .. }) if code == "NetStream.Publish.BadName"),
        "{refused:?}"
    );
    // The client is told why, and then the connection ends.
    let mut third = Rtmp::open(&origin, Action::Publish, "demo", b"").await;
    third.until_status("NetStream.Publish.BadName").await;
    assert_eq!(third.event().await, None);

    first.send(kind::VIDEO, 0, KEYFRAME).await;
    let seen = until(&origin, "the first one's frame", |seen| {
        seen.publishers().any(|peer| peer.messages == 1)
    })
    .await;
    let ends: Vec<Option<End>> = seen.peers.iter().map(|peer| peer.end.clone()).collect();
    assert_eq!(ends, [None, Some(End::Refused), Some(End::Refused)]);
}

#[tokio::test]
async fn a_name_without_a_stream_is_refused() {
    let origin = origin().await;
    let mut publisher = Rtmp::open(&origin, Action::Publish, "../demo", b"").await;
    publisher.until_status("NetStream.Publish.BadName").await;
    assert_eq!(publisher.event().await, None);
}

#[tokio::test]
async fn a_slow_player_is_dropped_and_the_others_stay() {
    let origin = origin().await;
    let mut publisher = Rtmp::publishing(&origin, "a").await;
    // Neither of them reads on; what they are sent fills the sockets' buffers and then their queues.
    let _sleeper = Rtmp::playing(&origin, "a").await;
    let _viewer = Http::ask(&origin, "GET /live/a.flv HTTP/1.1\r\nHost: a\r\n\r\n").await;
    let mut reader = Rtmp::playing(&origin, "a").await;
    until(&origin, "three players", |seen| seen.players().count() == 3).await;
    let big = [KEYFRAME, &vec![0; 60_000]].concat();
    let mut timestamp = 0;
    while origin.seen().players().count() > 1 {
        timestamp += 40;
        assert!(timestamp < 40 * 10_000, "600 MB are more than any buffer");
        publisher.send(kind::VIDEO, timestamp, &big).await;
        while reader.media().await.timestamp < timestamp {}
    }
    let seen = origin.seen();
    let slow = seen
        .peers
        .iter()
        .filter(|peer| peer.end == Some(End::Slow))
        .count();
    assert_eq!(
        (slow, seen.players().count(), seen.publishers().count()),
        (2, 1, 1)
    );
    assert_eq!(seen.open, 2, "their connections are closed");
}

#[tokio::test]
async fn publishing_ends_and_begins_again_on_one_connection_and_players_go_on() {
    let origin = origin().await;
    let mut publisher = Rtmp::publishing(&origin, "a").await;
    let mut player = Rtmp::playing(&origin, "a").await;
    publisher.send(kind::VIDEO, 5000, KEYFRAME).await;
    assert_eq!(player.media().await.timestamp, 5000);

    publisher
        .client
        .send_command(&Command::call("FCUnpublish", 6.0, vec!["a".into()]));
    publisher.until_status("NetStream.Unpublish.Success").await;
    assert_eq!(origin.seen().publishers().count(), 0);
    publisher.client.send_command(&Command::call(
        "publish",
        7.0,
        vec!["a".into(), "live".into()],
    ));
    publisher.until_status("NetStream.Publish.Start").await;
    publisher.send(kind::VIDEO, 0, INTER).await;
    publisher.send(kind::VIDEO, 40, KEYFRAME).await;
    let next = player.media().await;
    assert_eq!(
        (next.payload.as_slice(), next.timestamp),
        (KEYFRAME, 5080),
        "from a keyframe, and time goes on"
    );
    assert_eq!(origin.seen().peers.len(), 3);
}

#[tokio::test]
async fn a_player_that_stops_may_play_again() {
    let origin = origin().await;
    let mut player = Rtmp::playing(&origin, "a").await;
    player
        .client
        .send_command(&Command::call("closeStream", 0.0, Vec::new()));
    player.flush().await;
    until(&origin, "the player stops", |seen| {
        seen.players().count() == 0 && seen.open == 1
    })
    .await;
    player
        .client
        .send_command(&Command::call("play", 0.0, vec!["b".into()]));
    player.until_status("NetStream.Play.Start").await;
    let mut publisher = Rtmp::publishing(&origin, "b").await;
    publisher.send(kind::VIDEO, 0x0123_4567, KEYFRAME).await;
    assert_eq!(
        player.media().await.timestamp,
        0x0123_4567,
        "beyond 24 bits"
    );
}

#[tokio::test]
async fn the_origin_tells_what_it_saw() {
    let origin = origin().await;
    let preamble = [&[0xf3, 0, 6, 203, 0, 113, 9][..], b"xx"].concat();
    let mut publisher = Rtmp::open(&origin, Action::Publish, "a?token=secret", &preamble).await;
    publisher.until_status("NetStream.Publish.Start").await;
    let request = "GET /live/a.flv?token=other HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 198.51.100.7\r\n\r\n";
    let _viewer = Http::ask(&origin, request).await;
    let mut seen = until(&origin, "the viewer", |seen| seen.players().count() == 1).await;
    assert_eq!((seen.accepted, seen.open), (2, 2));

    let viewer: Peer = seen.peers.pop_back().expect("the viewer");
    assert_eq!(
        (viewer.stream.as_str(), viewer.name.as_str()),
        ("live/a", "/live/a.flv?token=other")
    );
    assert_eq!(viewer.header("x-forwarded-for"), Some("198.51.100.7"));
    assert_eq!(viewer.header("Host"), Some("example.com"));
    assert_eq!((viewer.preamble, viewer.tc_url()), (None, None));

    let publisher_seen = seen.peers.pop_back().expect("the publisher");
    assert_eq!(
        (publisher_seen.stream.as_str(), publisher_seen.name.as_str()),
        ("live/a", "a?token=secret")
    );
    assert_eq!(publisher_seen.preamble, Some(Ipv4Addr::new(203, 0, 113, 9)));
    assert_eq!(
        Some(publisher_seen.address),
        publisher.socket.local_addr().ok()
    );
    assert!(
        publisher_seen
            .tc_url()
            .is_some_and(|url| url.starts_with("rtmp://example.com:1935/live?vhost="))
    );
    assert_eq!(
        publisher_seen
            .connect
            .field("pageUrl")
            .and_then(Value::as_str),
        Some("http://page")
    );
    assert_eq!(publisher_seen.arguments, [Value::from("live")]);

    drop(publisher);
    let seen = until(&origin, "the publisher leaves", |seen| {
        seen.publishers().count() == 0
    })
    .await;
    assert_eq!(
        seen.peers.front().and_then(|peer| peer.end.clone()),
        Some(End::Left)
    );
}

#[tokio::test]
async fn bytes_that_are_no_rtmp_end_their_connection_only() {
    let rows: [(&str, &[u8]); 3] = [
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a client address that is too short", &[0xf3, 0, 3, 1, 2, 3]),
        (
            "a client address that is too long",
            &[&[0xf3, 4, 1][..], &[0; 1025]].concat(),
        ),
    ];
    let origin = origin().await;
    for (cause, bytes) in rows {
        let mut socket = TcpStream::connect(origin.rtmp())
            .await
            .expect("the origin accepts");
        socket.write_all(bytes).await.expect("the origin reads");
        let mut rest = Vec::new();
        let read = patiently(cause, socket.read_to_end(&mut rest)).await;
        assert!(read.is_err() || rest.is_empty(), "{cause}");
    }
    Rtmp::publishing(&origin, "a").await;
}

#[tokio::test]
async fn a_stopped_origin_cuts_everyone_and_frees_its_ports() {
    let origin = origin().await;
    let (rtmp, http) = (origin.rtmp(), origin.http());
    let stop = CancellationToken::new();
    let publishing = {
        let stop = stop.clone();
        tokio::spawn(async move { keep_publishing(rtmp, "live", "demo", &stop).await })
    };
    until(&origin, "the clip", |seen| {
        seen.publishers().any(|peer| peer.messages > 3)
    })
    .await;
    let mut viewer = Http::ask(&origin, "GET /live/demo.flv HTTP/1.1\r\nHost: a\r\n\r\n").await;
    viewer.tags(4).await;
    patiently("the stop", origin.stop()).await;
    let seen = origin.seen();
    assert!(
        seen.peers.iter().all(|peer| peer.end == Some(End::Stopped)),
        "{:?}",
        seen.peers
    );
    assert_eq!(seen.open, 0);
    let _ = viewer.socket.read_to_end(&mut viewer.body).await;

    let again = EmbeddedOrigin::bind(rtmp, http)
        .await
        .expect("the ports are free");
    until(&again, "the publisher returns", |seen| {
        seen.publishers().any(|peer| peer.messages > 3)
    })
    .await;
    stop.cancel();
    patiently("the publisher stops", publishing)
        .await
        .expect("no panic");
    let seen = until(&again, "the stream ends", |seen| {
        seen.publishers().count() == 0
    })
    .await;
    assert_eq!(
        seen.peers.front().and_then(|peer| peer.end.clone()),
        Some(End::Left)
    );
}
