//! Viewers that share one pull of their stream.

use std::time::Duration;

use serde_json::Value;
use sluicegate::demo::origin::EmbeddedOrigin;
use sluicegate_core::media::flv;
use sluicegate_core::media::gop::MAX_BYTES;
use sluicegate_core::read::Reader;
use sluicegate_core::rtmp::amf0;
use sluicegate_core::rtmp::message::{Command, Message, kind};
use sluicegate_core::stream::Action;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::{Guest, House, Manner, PATIENCE, Stub, get, until, until_told, until_within};
use crate::http_origin::Viewer;

pub(crate) const OPEN: &str =
    "[fanout]\nmode = \"open\"\npublic = true\ncoalesce = \"5ms\"\nlinger = \"200ms\"\n";

pub(crate) const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];
pub(crate) const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1, 0x42];

pub(crate) async fn house_and_origin(settings: &str) -> (House, EmbeddedOrigin) {
    let house = House::open(settings).await;
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let origin = EmbeddedOrigin::bind(loopback, loopback)
        .await
        .expect("ports");
    let (rtmp, http) = (origin.rtmp().port(), origin.http().port());
    house.register_with("one", &format!(r#""rtmp":["{rtmp}"],"http":["{http}"]"#));
    (house, origin)
}

fn message(kind: u8, timestamp: u32, payload: &[u8]) -> Message {
    Message {
        timestamp,
        kind,
        stream_id: 1,
        payload: payload.to_vec(),
    }
}

pub(crate) fn audio(timestamp: u32, payload: &[u8]) -> Message {
    message(kind::AUDIO, timestamp, payload)
}

pub(crate) fn video(timestamp: u32, payload: &[u8]) -> Message {
    message(kind::VIDEO, timestamp, payload)
}

pub(crate) fn keyframe(timestamp: u32, mark: u8) -> Message {
    video(timestamp, &[0x17, 1, 0, 0, 0, mark])
}

pub(crate) fn picture(timestamp: u32, mark: u8) -> Message {
    video(timestamp, &[0x27, 1, 0, 0, 0, mark])
}

/// What an encoder sends first.
async fn begin(publisher: &mut Guest, width: f64) {
    let properties = amf0::Value::EcmaArray(vec![("width".to_owned(), amf0::Value::Number(width))]);
    let metadata = Message::data(
        1,
        &["@setDataFrame".into(), "onMetaData".into(), properties],
    );
    publisher.send(&metadata).await;
    publisher.send(&audio(0, AUDIO_HEADER)).await;
    publisher.send(&video(0, VIDEO_HEADER)).await;
}

/// A publisher through the proxy, whose stream has begun with a group of pictures marked 1, 2, 3.
pub(crate) async fn published(house: &House, stream: &str) -> Guest {
    let mut publisher = house.ask(Action::Publish, stream).await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    begin(&mut publisher, 640.0).await;
    publisher.send(&keyframe(0, 1)).await;
    publisher.send(&audio(0, &[0xaf, 1, 1])).await;
    publisher.send(&picture(40, 2)).await;
    publisher.send(&picture(80, 3)).await;
    publisher
}

/// The marks of the pictures that a viewer has.
pub(crate) fn marks(viewer: &Guest) -> Vec<u8> {
    let pictures = viewer.media.iter().filter(|one| is_picture(one));
    pictures
        .filter_map(|one| one.payload.last().copied())
        .collect()
}

pub(crate) fn is_picture(message: &Message) -> bool {
    message.kind == kind::VIDEO && message.payload.get(1) == Some(&1)
}

pub(crate) async fn until_marks(viewer: &mut Guest, expected: &[u8]) {
    let enough = viewer.read_until(|viewer| marks(viewer).len() >= expected.len());
    assert!(enough.await, "it goes on");
    assert_eq!(marks(viewer), expected);
}

/// The `data` of an answer of the system API.
pub(crate) async fn told(house: &House, path: &str) -> Value {
    let (status, body) = get(house.at.system, path).await;
    assert_eq!(status, 200, "{body}");
    let document: Value = serde_json::from_str(&body).expect("JSON");
    document["data"].clone()
}

/// A viewer over HTTP-FLV, and the tags that it has.
pub(crate) struct FlvViewer {
    socket: TcpStream,
    bytes: Vec<u8>,
    chunked: bool,
    head: String,
}

impl FlvViewer {
    pub(crate) async fn pull(house: &House, target: &str) -> Self {
        let request = format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n\r\n");
        let mut viewer = Viewer::send(house.at.http, request).await;
        let head = viewer.head().await;
        let (socket, bytes) = viewer.into_parts();
        Self {
            socket,
            bytes,
            chunked: head.contains("chunked"),
            head,
        }
    }

    /// The tags that came, as kind, timestamp and body.
    fn tags(&self) -> Vec<(u8, u32, Vec<u8>)> {
        assert!(self.chunked, "{}", self.head);
        let mut body = Vec::new();
        let mut rest = self.bytes.as_slice();
        while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
            let digits = std::str::from_utf8(&rest[..at]).expect("digits");
            let length = usize::from_str_radix(digits, 16).expect("a length");
            let Some(chunk) = rest.get(at + 2..at + 2 + length) else {
                break;
            };
            body.extend_from_slice(chunk);
            rest = rest.get(at + 4 + length..).unwrap_or_default();
        }
        let mut reader = Reader::new(&body);
        let mut tags = Vec::new();
        if flv::read_header(&mut reader).is_ok() {
            while let Ok(tag) = flv::read_tag(&mut reader) {
                tags.push((tag.kind, tag.timestamp, tag.payload.to_vec()));
            }
        }
        tags
    }

    fn marks(&self) -> Vec<u8> {
        self.pictures().iter().map(|(_, mark)| *mark).collect()
    }

    /// Its pictures: the timestamp of each, and its mark.
    pub(crate) fn pictures(&self) -> Vec<(u32, u8)> {
        let pictures = self.tags().into_iter();
        let pictures = pictures.filter(|(kind, _, body)| *kind == kind::VIDEO && body[1] == 1);
        pictures
            .filter_map(|(_, time, body)| Some((time, *body.last()?)))
            .collect()
    }

    pub(crate) async fn until_last_mark(&mut self, mark: u8) {
        while self.marks().last() != Some(&mark) {
            let read = timeout(PATIENCE, self.socket.read_buf(&mut self.bytes)).await;
            let count = read.expect("media in time").expect("a stream");
            assert!(count > 0, "it goes on: {}", self.head);
        }
    }

    pub(crate) async fn until_marks(&mut self, expected: &[u8]) {
        while self.marks().len() < expected.len() {
            let read = timeout(PATIENCE, self.socket.read_buf(&mut self.bytes)).await;
            let count = read.expect("media in time").expect("a stream");
            assert!(count > 0, "it goes on: {}", self.head);
        }
        assert_eq!(self.marks(), expected);
    }
}

#[tokio::test]
async fn viewers_of_every_kind_share_one_pull() {
    let (house, origin) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut first = house.ask(Action::Play, "live/a").await;
    until_marks(&mut first, &[1, 2, 3]).await;
    let mut second = house.ask(Action::Play, "live/a").await;
    let mut third = FlvViewer::pull(&house, "/live/a.flv").await;
    publisher.send(&picture(120, 4)).await;
    until_marks(&mut first, &[1, 2, 3, 4]).await;
    until_marks(&mut second, &[1, 2, 3, 4]).await;
    third.until_marks(&[1, 2, 3, 4]).await;
    assert!(
        third.head.contains("Content-Type: video/x-flv"),
        "{}",
        third.head
    );
    assert_eq!(origin.seen().players().count(), 1, "the origin has one");

    let streams = told(&house, "/api/v1/streams").await;
    let stream = &streams["streams"][0];
    let counts = ["publishers", "players", "pulls"].map(|key| stream[key].as_u64());
    assert_eq!(counts, [Some(1), Some(3), Some(1)], "{stream}");
    let origins = told(&house, "/api/v1/origins").await;
    let counts = ["sessions", "legs"].map(|key| origins["origins"][0][key].as_u64());
    assert_eq!(counts, [Some(4), Some(2)], "a publisher and a pull");
    let sessions = told(&house, "/api/v1/sessions").await;
    let sessions = sessions["sessions"].as_array().expect("rows");
    let pulls: Vec<_> = sessions.iter().map(|row| row["pull"].as_u64()).collect();
    assert_eq!(pulls[0], None, "a publisher has a leg of its own");
    assert!(pulls[1].is_some() && pulls[1..].iter().all(|pull| *pull == pulls[1]));
    let metrics = house.proxy.metrics().render();
    for line in [
        "sluicegate_viewers 3",
        "sluicegate_pulls 1",
        "sluicegate_legs 2",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    drop((first, second, third));
    house.until_sessions(1).await;
    let mut seen = origin.watch();
    let gone = seen.wait_for(|seen| seen.players().count() == 0);
    timeout(PATIENCE, gone)
        .await
        .expect("in time")
        .expect("it runs");
    until("the legs", || {
        house.proxy.metrics().render().contains("sluicegate_legs 1")
    })
    .await;
}

#[tokio::test]
async fn one_who_comes_late_starts_at_a_keyframe_with_all_headers_and_at_zero() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut early = house.ask(Action::Play, "live/a").await;
    publisher.send(&keyframe(20_000_000, 5)).await;
    publisher.send(&picture(20_000_040, 6)).await;
    early
        .read_until(|viewer| marks(viewer).ends_with(&[5, 6]))
        .await;

    let mut late = house.ask(Action::Play, "live/a").await;
    assert_eq!(late.code(), "NetStream.Play.Start");
    until_marks(&mut late, &[5, 6]).await;
    let shown: Vec<_> = late
        .media
        .iter()
        .filter(|one| one.kind != kind::DATA_AMF0)
        .map(|one| (one.timestamp, one.payload.as_slice()))
        .collect();
    assert_eq!(shown[0], (0, AUDIO_HEADER));
    assert_eq!(shown[1], (0, VIDEO_HEADER));
    assert_eq!(shown[2], (0, &keyframe(0, 5).payload[..]));
    assert_eq!(shown[3], (40, &picture(0, 6).payload[..]));
    let metadata = late
        .media
        .iter()
        .find(|one| one.payload.starts_with(b"\x02\0\x0aonMetaData"));
    assert_eq!(metadata.map(|one| one.timestamp), Some(0));
}

#[tokio::test]
async fn sound_alone_is_heard_at_once() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let mut publisher = house.ask(Action::Publish, "live/radio").await;
    publisher.send(&audio(0, AUDIO_HEADER)).await;
    publisher.send(&audio(0, &[0xaf, 1, 1])).await;
    let mut first = house.ask(Action::Play, "live/radio").await;
    let mut second = FlvViewer::pull(&house, "/live/radio.flv").await;
    let heard = |viewer: &Guest, mark| {
        let mut sounds = viewer.media.iter();
        sounds.any(|one| one.kind == kind::AUDIO && one.payload == [0xaf, 1, mark])
    };
    let mut mark = 1;
    let mut timestamp = 0;
    // A file header is held back until it is clear that no picture comes: for a second of the stream.
    while timestamp <= 1100 {
        mark += 1;
        timestamp += 100;
        publisher.send(&audio(timestamp, &[0xaf, 1, mark])).await;
        assert!(first.read_until(|viewer| heard(viewer, mark)).await);
    }
    while !second
        .tags()
        .iter()
        .any(|(_, _, body)| body == AUDIO_HEADER)
    {
        let read = timeout(PATIENCE, second.socket.read_buf(&mut second.bytes)).await;
        assert!(read.expect("in time").expect("a stream") > 0);
    }
}

#[tokio::test]
async fn timestamps_go_on_past_their_32_bits() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    begin(&mut publisher, 640.0).await;
    publisher.send(&keyframe(u32::MAX - 59, 1)).await;
    let mut early = house.ask(Action::Play, "live/a").await;
    until_marks(&mut early, &[1]).await;
    publisher.send(&picture(u32::MAX - 19, 2)).await;
    publisher.send(&picture(20, 3)).await;
    until_marks(&mut early, &[1, 2, 3]).await;
    let mut late = house.ask(Action::Play, "live/a").await;
    until_marks(&mut late, &[1, 2, 3]).await;
    for viewer in [&early, &late] {
        let pictures = viewer.media.iter().filter(|one| is_picture(one));
        let times: Vec<u32> = pictures.map(|one| one.timestamp).collect();
        assert_eq!(times, [0, 40, 80]);
    }
}

#[tokio::test]
async fn a_stream_without_a_keyframe_is_heard_and_holds_no_more_than_any() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    begin(&mut publisher, 640.0).await;
    let mut early = house.ask(Action::Play, "live/a").await;
    let sound = |viewer: &Guest, mark| {
        let mut media = viewer.media.iter();
        media.any(|one| one.kind == kind::AUDIO && one.payload == [0xaf, 1, mark])
    };
    // More than a feed keeps.
    let mut large = vec![0x27, 1, 0, 0, 0];
    large.resize(500_000, 0x55);
    for number in 0..40_u8 {
        let timestamp = u32::from(number) * 40;
        publisher.send(&video(timestamp, &large)).await;
        publisher.send(&audio(timestamp, &[0xaf, 1, number])).await;
        assert!(early.read_until(|viewer| sound(viewer, number)).await);
    }
    let mut late = house.ask(Action::Play, "live/a").await;
    publisher.send(&audio(1600, &[0xaf, 1, 40])).await;
    assert!(late.read_until(|viewer| sound(viewer, 40)).await);
    for viewer in [&early, &late] {
        assert!(!viewer.media.iter().any(is_picture), "none can be decoded");
    }
    let metrics = house.proxy.metrics().render();
    let mut lines = metrics.lines();
    let bytes = lines.find_map(|line| line.strip_prefix("sluicegate_fanout_bytes "));
    let bytes: usize = bytes
        .and_then(|bytes| bytes.parse().ok())
        .expect("a number");
    assert!(bytes <= MAX_BYTES + 500_000, "{bytes} bytes");
}

#[tokio::test]
async fn headers_that_change_are_passed_on_in_line() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    let other = [0x17, 0, 0, 0, 0, 1, 0x64];
    publisher.send(&video(120, &other)).await;
    publisher.send(&keyframe(120, 7)).await;
    until_marks(&mut viewer, &[1, 2, 3, 7]).await;
    let position = |wanted: &[u8]| {
        let mut media = viewer.media.iter();
        media
            .position(|one| one.payload == wanted)
            .expect("it came")
    };
    assert!(position(&other) < position(&keyframe(0, 7).payload));

    let mut late = house.ask(Action::Play, "live/a").await;
    until_marks(&mut late, &[7]).await;
    assert!(late.media.iter().any(|one| one.payload == other));
    assert!(
        late.media.iter().all(|one| one.payload != VIDEO_HEADER),
        "the old one is gone"
    );
}

#[tokio::test]
async fn a_publisher_that_comes_back_goes_on_for_viewers_that_stayed() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let publisher = published(&house, "live/a").await;
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    drop(publisher);
    house.until_sessions(1).await;
    let mut back = house.ask(Action::Publish, "live/a").await;
    until_told("the origin is free again", async || {
        let started = back.has_started();
        if !started {
            back = house.ask(Action::Publish, "live/a").await;
        }
        started
    })
    .await;
    begin(&mut back, 1280.0).await;
    back.send(&keyframe(0, 8)).await;
    back.send(&picture(40, 9)).await;
    until_marks(&mut viewer, &[1, 2, 3, 8, 9]).await;
    let pictures: Vec<u32> = viewer
        .media
        .iter()
        .filter(|one| is_picture(one))
        .map(|one| one.timestamp)
        .collect();
    assert_eq!(pictures, [0, 40, 80, 120, 160], "no hole, and no step back");
}

#[tokio::test]
async fn without_a_hold_viewers_end_when_their_origin_does() {
    let settings = format!("{OPEN}[hold]\npublishers = \"0s\"\nviewers = \"0s\"\n");
    let (house, origin) = house_and_origin(&settings).await;
    let _publisher = published(&house, "live/a").await;
    let mut first = house.ask(Action::Play, "live/a").await;
    let mut second = house.ask(Action::Play, "live/a").await;
    until_marks(&mut first, &[1, 2, 3]).await;
    until_marks(&mut second, &[1, 2, 3]).await;
    origin.stop().await;
    first.read_to_end().await;
    second.read_to_end().await;
    house.until_sessions(0).await;
    let metrics = house.proxy.metrics().render();
    let line = "action=\"play\",reason=\"origin_closed\"} 2";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("sluicegate_legs 0"), "{metrics}");
}

#[tokio::test]
async fn a_kick_ends_one_and_leaves_the_others() {
    let (house, origin) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut first = house.ask(Action::Play, "live/a").await;
    let mut second = house.ask(Action::Play, "live/a").await;
    until_marks(&mut first, &[1, 2, 3]).await;
    until_marks(&mut second, &[1, 2, 3]).await;
    let rows = house.proxy.sessions().list();
    let row = rows.iter().find(|row| row.request.action == Action::Play);
    row.expect("it plays")
        .end(sluicegate::sessions::EndReason::Kicked);
    first.read_to_end().await;
    publisher.send(&picture(120, 4)).await;
    until_marks(&mut second, &[1, 2, 3, 4]).await;
    assert_eq!(origin.seen().players().count(), 1);
}

#[tokio::test]
async fn a_viewer_that_reads_nothing_falls_behind_alone() {
    let settings = format!("{OPEN}max_lag = \"500ms\"\n[session]\nwrite_stall = \"60s\"\n");
    let (house, _origin) = house_and_origin(&settings).await;
    let mut publisher = published(&house, "live/a").await;
    let mut quick = house.ask(Action::Play, "live/a").await;
    let mut slow = house.ask(Action::Play, "live/a").await;
    until_marks(&mut quick, &[1, 2, 3]).await;
    until_marks(&mut slow, &[1, 2, 3]).await;
    // Far more than the kernel takes for the one that does not read; the other has every picture.
    let body = vec![0x55; 300_000];
    let (mut mark, mut expected) = (3, vec![1, 2, 3]);
    for group in 1..=40_u32 {
        mark += 1;
        let mut payload = vec![0x17, 1, 0, 0, 0];
        payload.extend_from_slice(&body);
        payload.push(mark);
        publisher.send(&video(group * 200, &payload)).await;
        expected.push(mark);
        until_marks(&mut quick, &expected).await;
    }
    // It goes on where the stream is, at a keyframe, and every picture it has is whole.
    let newest = mark;
    slow.read_until(|viewer| marks(viewer).last() == Some(&newest))
        .await;
    let seen = marks(&slow);
    assert!(seen.len() < expected.len(), "it skipped: {seen:?}");
    assert!(seen.is_sorted(), "{seen:?}");
    let times: Vec<u32> = slow
        .media
        .iter()
        .filter(|one| is_picture(one))
        .map(|one| one.timestamp)
        .collect();
    assert!(times.is_sorted(), "{times:?}");
    let metrics = house.proxy.metrics().render();
    assert!(
        !metrics.contains("sluicegate_fanout_skips_total 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_the_origin_refuses_is_refused_to_each_who_waits() {
    let house = House::open(OPEN).await;
    let stub = Stub::start(Manner::Refuses("NetStream.Play.Failed", "not for you")).await;
    house.register("one", stub.at);
    let (first, second) = tokio::join!(
        house.ask(Action::Play, "live/a"),
        house.ask(Action::Play, "live/a")
    );
    for viewer in [first, second] {
        assert_eq!(viewer.code(), "NetStream.Play.Failed");
        assert_eq!(viewer.words(), "not for you");
    }
    house.until_sessions(0).await;
    let metrics = house.proxy.metrics().render();
    let line = "sluicegate_refused_total{protocol=\"rtmp\",reason=\"refused\"} 2";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_pull_has_its_own_right_and_other_queries_are_other_feeds() {
    let settings = format!("{OPEN}pull_query = \"key=ours\"\n");
    let (house, origin) = house_and_origin(&settings).await;
    let _publisher = published(&house, "live/a").await;
    let ask = async |name: &str| {
        let mut viewer = house.ask(Action::Play, name).await;
        until_marks(&mut viewer, &[1, 2, 3]).await;
        viewer
    };
    let _plain = ask("live/a").await;
    let _same = ask("live/a?vhost=127.0.0.1").await;
    let _other = ask("live/a?angle=2").await;
    let mut names: Vec<_> = origin
        .seen()
        .players()
        .map(|peer| peer.name.clone())
        .collect();
    names.sort();
    assert_eq!(names, ["a?key=ours", "a?key=ours&angle=2"]);
}

#[tokio::test]
async fn a_player_may_pause_and_go_on() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    let pause = |on: bool| {
        let arguments = vec![amf0::Value::Boolean(on), amf0::Value::Number(0.0)];
        Command::call("pause", 0.0, arguments)
    };
    viewer.command(&pause(true)).await;
    viewer
        .read_until(|viewer| viewer.code() == "NetStream.Pause.Notify")
        .await;
    let mut other = house.ask(Action::Play, "live/a").await;
    publisher.send(&picture(120, 4)).await;
    until_marks(&mut other, &[1, 2, 3, 4]).await;
    assert_eq!(marks(&viewer), [1, 2, 3], "it has paused");
    viewer.command(&pause(false)).await;
    until_marks(&mut viewer, &[1, 2, 3, 4]).await;
}

#[tokio::test]
async fn a_drain_of_the_origin_reaches_its_viewers() {
    let settings = format!("{OPEN}[hold]\npublishers = \"0s\"\nviewers = \"0s\"\n");
    let (house, _origin) = house_and_origin(&settings).await;
    let _publisher = published(&house, "live/a").await;
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    let at = house.at.system;
    let drain = "/api/v1/origins/one/drain?deadline=0s&force=true";
    let (status, _) = crate::house::post(at, drain, "").await;
    assert_eq!(status, 200);
    viewer.read_to_end().await;
    house.until_sessions(0).await;
    until_within(Duration::from_secs(10), "the origin is let go", || {
        house.proxy.registry().origins().is_empty()
            || house.proxy.metrics().render().contains("sluicegate_legs 0")
    })
    .await;
}

#[tokio::test]
async fn all_feeds_together_hold_no_more_than_they_may() {
    let settings = format!("{OPEN}memory = 1\n");
    let (house, _origin) = house_and_origin(&settings).await;
    let mut publisher = published(&house, "live/a").await;
    let mut viewer = house.ask(Action::Play, "live/a").await;
    until_marks(&mut viewer, &[1, 2, 3]).await;
    // Three megabytes without a keyframe.
    for mark in 4..=18_u8 {
        let mut payload = vec![0x27, 1, 0, 0, 0];
        payload.extend_from_slice(&[0x55; 200_000]);
        payload.push(mark);
        publisher.send(&video(u32::from(mark) * 40, &payload)).await;
    }
    publisher.send(&keyframe(800, 20)).await;
    let has_come = viewer.read_until(|viewer| marks(viewer).ends_with(&[20]));
    assert!(has_come.await);
    assert!(marks(&viewer).is_sorted());
    let mut late = house.ask(Action::Play, "live/a").await;
    until_marks(&mut late, &[20]).await;
    let metrics = house.proxy.metrics().render();
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix("sluicegate_fanout_bytes "));
    let bytes: usize = line.and_then(|bytes| bytes.parse().ok()).expect("a number");
    // The bound, and what came together with what passed it.
    assert!(bytes < 1_000_000 + 2 * 200_100, "{bytes} bytes");
}

#[tokio::test]
async fn a_pull_follows_a_redirect_to_another_stream_of_its_origin() {
    let checked = "[fanout]\nmode = \"checked\"\ncoalesce = \"5ms\"\nlinger = \"200ms\"\n";
    // One step at a time, a redirect comes before anything is asked for; a shadow asks as a pull does.
    for (settings, asks) in [(OPEN, 1), (checked, 2)] {
        let house = House::open(settings).await;
        let origin = Stub::start(Manner::RedirectsToItself("moved/b?t=1")).await;
        house.register("one", origin.at);
        let viewer = house.ask(Action::Play, "live/a").await;
        assert!(viewer.has_started(), "{:?}", viewer.status);
        assert_eq!(origin.connections(), 2 * asks, "each asked twice");
        let seen = origin.seen.lock().unwrap();
        let asked = seen.requests.iter().map(|request| {
            let (_, app) = request.tc_url.rsplit_once('/').expect("an app");
            (app, &*request.name)
        });
        let asked: Vec<_> = asked.collect();
        assert_eq!(asked, vec![("moved", "b?t=1"); asks]);
    }
}
