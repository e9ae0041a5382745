//! Clients of one server's dialect before origins of another: each stand-in takes only the addresses that its server takes.

use std::sync::{Arc, Mutex};

use sluicegate_core::dialect::{Dialect, RtmpAsked};
use sluicegate_core::rtmp::server::StreamRequest;
use sluicegate_core::rtsp::message::{Message, Method};
use sluicegate_core::rtsp::rewrite::path;
use sluicegate_core::srt::extension::Extensions;
use sluicegate_core::srt::packet::{HAS_HANDSHAKE, Handshake, MAGIC, Rejection, Step as SrtStep};
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::call::{CallOrigin, ask as call, location};
use crate::house::{House, Manner, PATIENCE, Stub, get, until, video};
use crate::http_origin::{HttpOrigin, Viewer, Way, say};
use crate::rtsp_house::{Caller, Reply, Stub as RtspStub, answer};
use crate::silent_origins::OFFER;
use crate::srt_caller::{conclusion, induction};

const MEDIAMTX: &str = "[clients]\ndialect = \"mediamtx\"\n";

/// The last request that an RTMP origin got.
fn last(origin: &Stub) -> StreamRequest {
    let seen = origin.seen.lock().expect("a test");
    seen.requests.last().cloned().expect("a request came")
}

/// The stream that an origin of `dialect` was asked for last over RTMP, as its own server reads the request.
fn asked_for(dialect: Dialect, origin: &Stub) -> String {
    let request = last(origin);
    let (tc_url, name) = (&*request.tc_url, &*request.name);
    let app = request.connect.object.field("app");
    let app = app
        .and_then(|app| app.as_str())
        .unwrap_or_default()
        .to_owned();
    let path = tc_url.rsplit_once("example/").map_or("", |(_, path)| path);
    assert_eq!(app, path, "the app is the path of the tcUrl");
    let read = dialect.rtmp(&RtmpAsked { tc_url, name });
    read.expect("a name its server takes").path().to_owned()
}

#[tokio::test]
async fn one_name_in_both_wire_forms_is_one_stream_on_every_kind_of_origin() {
    let rows = [
        (Dialect::Srs, "live/cam1"),
        (Dialect::MediaMtx, "cam1"),
        (Dialect::NginxRtmp, "live/cam1"),
        (Dialect::Go2rtc, "cam1"),
    ];
    for (dialect, expected) in rows {
        let house = House::open(MEDIAMTX).await;
        let origin = Stub::start(Manner::Grants).await;
        let endpoints = format!(r#""rtmp":["{}"],"dialect":"{dialect}""#, origin.at.port());
        house.register_with("one", &endpoints);
        // OBS and newer FFmpeg leave the name empty, older FFmpeg the app.
        let mut publisher = house.ask(Action::Publish, "cam1/").await;
        assert!(publisher.has_started(), "{dialect}: {:?}", publisher.status);
        assert_eq!(asked_for(dialect, &origin), expected, "{dialect}");
        publisher.send(&video(0, &[0x17, 1, 0, 0, 0, 1])).await;
        let seen = Arc::clone(&origin.seen);
        until("media", || !seen.lock().expect("a test").media.is_empty()).await;
        let player = house.ask(Action::Play, "/cam1").await;
        assert!(player.has_started(), "{dialect}: {:?}", player.status);
        assert_eq!(asked_for(dialect, &origin), expected, "{dialect}");
        assert_eq!(house.origin_of("cam1").as_deref(), Some("one"), "{dialect}");
        let rows = house.proxy.sessions().list();
        let streams: Vec<&StreamUrl> = rows.iter().map(|row| &row.request.stream).collect();
        assert_eq!(streams.len(), 2, "{dialect}");
        assert!(
            streams.iter().all(|stream| stream.path() == "cam1"),
            "{streams:?}"
        );
    }
}

#[tokio::test]
async fn a_publisher_may_change_its_chunks_where_the_origin_looks_for_that_only_among_commands() {
    // FFmpeg announces the size that its origin announces, which it hears when it has asked.
    for (clients, stream) in [("srs", "live/cam1"), ("go2rtc", "cam1/")] {
        let house = House::open(&format!("[clients]\ndialect = \"{clients}\"\n")).await;
        let origin = Stub::start(Manner::ReadsSizesOnce).await;
        let endpoints = format!(r#""rtmp":["{}"],"dialect":"go2rtc""#, origin.at.port());
        house.register_with("one", &endpoints);
        let mut publisher = house.ask(Action::Publish, stream).await;
        assert!(publisher.has_started(), "{clients}: {:?}", publisher.status);
        assert_eq!(asked_for(Dialect::Go2rtc, &origin), "cam1", "{clients}");
        let picture = [0x17; 100_000];
        for (time, size) in [(0, None), (1, Some(4096)), (2, Some(128))] {
            if let Some(size) = size {
                publisher.set_chunk_size(size).await;
            }
            publisher.send(&video(time, &picture)).await;
        }
        let (seen, sent) = (
            Arc::clone(&origin.seen),
            [0, 1, 2].map(|time| video(time, &picture)),
        );
        until("three pictures, or the end", || {
            let seen = seen.lock().expect("a test");
            seen.media.len() == 3 || seen.closed > 0
        })
        .await;
        assert_eq!(seen.lock().expect("a test").media, sent, "{clients}");
    }
}

#[tokio::test]
async fn origins_that_cannot_be_asked_are_left_out_and_the_refusal_names_the_rule() {
    let house = House::open("").await;
    let (flat, deep) = (
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    );
    let endpoints = format!(r#""rtmp":["{}"],"dialect":"go2rtc""#, flat.at.port());
    house.register_with("flat", &endpoints);
    let refused = house.ask(Action::Publish, "tv/cam1").await;
    assert_eq!(
        refused.words(),
        "__defaultVhost__/tv/cam1: go2rtc origins: a stream is one name without a slash"
    );
    assert_eq!(flat.connections(), 0);

    house.register("deep", deep.at);
    let publisher = house.ask(Action::Publish, "tv/cam1").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    assert_eq!(flat.connections(), 0);
    let stream = StreamUrl::new("", "tv", "other").unwrap();
    let explained = house.proxy.explain(&stream, Protocol::Rtmp, None).await;
    let rejected: Vec<(&str, &str)> = explained
        .rejected
        .iter()
        .map(|one| (&*one.origin, &*one.reason))
        .collect();
    assert_eq!(rejected, [("flat", "dialect")]);

    // A stream that such an origin holds is refused by another protocol with the rule, too.
    let held = house.ask(Action::Publish, "live/cam1").await;
    assert!(held.has_started());
}

#[tokio::test]
async fn a_mixed_fleet_stands_behind_one_address() {
    let house = House::open("").await;
    let origins = [
        ("srs", Stub::start(Manner::Grants).await),
        ("nginx-rtmp", Stub::start(Manner::Grants).await),
        ("mediamtx", Stub::start(Manner::Grants).await),
    ];
    for (dialect, origin) in &origins {
        let endpoints = format!(r#""rtmp":["{}"],"dialect":"{dialect}""#, origin.at.port());
        house.register_with(dialect, &endpoints);
    }
    let mut publishers = Vec::new();
    for number in 0..24 {
        let stream = format!("live/room/cam{number}");
        let publisher = house.ask(Action::Publish, &stream).await;
        assert!(publisher.has_started(), "{stream}: {:?}", publisher.status);
        publishers.push(publisher);
        let holder = house.origin_of(&stream).expect("it is placed");
        let (_, origin) = origins.iter().find(|(id, _)| *id == holder).unwrap();
        let dialect: Dialect = holder.parse().unwrap();
        assert_eq!(asked_for(dialect, origin), stream, "{holder}");
        let request = last(origin);
        let expected = match dialect {
            Dialect::NginxRtmp => "rtmp://example/live",
            _ => "rtmp://example/live/room",
        };
        assert_eq!(request.tc_url, expected, "{holder}");
    }
    for (id, origin) in &origins {
        assert!(origin.connections() > 0, "{id} got some");
    }
    let streams = house.proxy.sessions().list().len();
    assert_eq!(streams, publishers.len());
}

/// An RTSP server that has the stream `name` with its track, and nothing else.
async fn camera(name: &'static str) -> RtspStub {
    RtspStub::start(|at| {
        move |request: &Message| {
            let path = path(request.uri());
            let known = path == name || path == format!("{name}/trackID=0");
            let session = "Session: 7;timeout=60\r\n";
            Reply::Say(match request.method() {
                Some(Method::Options) => answer(request, "200 OK", "", ""),
                _ if !known => answer(request, "404 Not Found", "", ""),
                Some(Method::Describe) => {
                    let fields = format!(
                        "Content-Base: rtsp://{at}/{name}/\r\nContent-Type: application/sdp\r\n"
                    );
                    let sdp = format!(
                        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=a\r\na=control:rtsp://{at}/{name}/\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n"
                    );
                    answer(request, "200 OK", &fields, &sdp)
                }
                Some(Method::Setup) => {
                    let offered = request.field("transport").unwrap_or_default();
                    let fields = format!("{session}Transport: {offered}\r\n");
                    answer(request, "200 OK", &fields, "")
                }
                Some(Method::Play) => {
                    let info = format!("{session}RTP-Info: url=rtsp://{at}/{name}/trackID=0;seq=1\r\n");
                    answer(request, "200 OK", &info, "")
                }
                _ => answer(request, "200 OK", session, ""),
            })
        }
    })
    .await
}

#[tokio::test]
async fn an_rtsp_stream_of_another_name_is_turned_back_in_every_answer() {
    let house = House::open("").await;
    let origin = camera("cam1").await;
    let endpoints = format!(r#""rtsp":["{}"],"dialect":"go2rtc""#, origin.at.port());
    house.register_with("one", &endpoints);
    let mut player = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example:554/live/cam1";
    let described = player
        .ask(&format!("DESCRIBE {url}?video=h264"), 2, "")
        .await;
    assert_eq!(described.status(), Some(200));
    let base = format!("{url}/");
    assert_eq!(described.field("content-base"), Some(&*base));
    let sdp = String::from_utf8_lossy(described.body()).into_owned();
    assert!(sdp.contains(&format!("a=control:{base}\r\n")), "{sdp}");
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    let set_up = player
        .ask(&format!("SETUP {base}trackID=0"), 3, transport)
        .await;
    assert_eq!(set_up.status(), Some(200));
    let playing = player
        .ask(&format!("PLAY {base}"), 4, "Session: 7\r\n")
        .await;
    assert_eq!(
        playing.field("rtp-info"),
        Some(&*format!("url={base}trackID=0;seq=1"))
    );
    player
        .ask(&format!("TEARDOWN {base}"), 5, "Session: 7\r\n")
        .await;
    let lines: Vec<String> = origin
        .requests()
        .iter()
        .map(|request| request.lines().next().unwrap_or_default().to_owned())
        .collect();
    let at = "rtsp://media.example:554/cam1";
    assert_eq!(
        lines,
        [
            format!("OPTIONS {at}?video=h264 RTSP/1.0"),
            format!("DESCRIBE {at}?video=h264 RTSP/1.0"),
            format!("SETUP {at}/trackID=0 RTSP/1.0"),
            format!("PLAY {at}/ RTSP/1.0"),
            format!("TEARDOWN {at}/ RTSP/1.0"),
        ]
    );
    let mut other = Caller::connect(house.at.rtsp).await;
    let refused = other
        .ask("DESCRIBE rtsp://media.example/tv/cam1", 2, "")
        .await;
    assert_eq!(refused.status(), Some(404));
    assert!(
        refused.reason().contains("go2rtc origins"),
        "{}",
        refused.reason()
    );
}

/// An SRT server that takes what `takes` says it takes, and keeps the ids that it heard.
pub(crate) struct SrtStub {
    pub(crate) port: u16,
    ids: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl SrtStub {
    pub(crate) async fn start(takes: fn(&str) -> bool) -> Self {
        let thought = CancellationToken::new();
        thought.cancel();
        Self::thinking(takes, thought).await
    }

    /// One that answers the first packet of a call, and no second one before it has `thought`.
    pub(crate) async fn thinking(takes: fn(&str) -> bool, thought: CancellationToken) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let port = socket.local_addr().expect("bound").port();
        let ids: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&ids);
        let serving = tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let Ok(asked) = Handshake::parse(&buffer[..length]) else {
                    continue;
                };
                let answer = Handshake {
                    destination: asked.socket_id,
                    version: 5,
                    extension: MAGIC,
                    cookie: 99,
                    extensions: &[],
                    ..asked
                };
                let request = [0, 2, 0, 3, 0, 1, 5, 3, 0, 0, 0, 191, 0, 120, 0, 120];
                let answer = match asked.step {
                    SrtStep::Induction => answer,
                    SrtStep::Conclusion => {
                        let read = Extensions::parse(asked.extensions, asked.extension);
                        let id = read.expect("an honest proxy").stream_id.unwrap_or_default();
                        let taken = takes(&id);
                        heard.lock().expect("a test").push(id);
                        if !thought.is_cancelled() {
                            continue;
                        }
                        if taken {
                            Handshake {
                                socket_id: 5,
                                extension: HAS_HANDSHAKE,
                                extensions: &request,
                                ..answer
                            }
                        } else {
                            Handshake {
                                extension: 0,
                                step: SrtStep::Rejection(Rejection::NOT_FOUND),
                                ..answer
                            }
                        }
                    }
                    _ => continue,
                };
                let _ = socket.send_to(&answer.write(), from).await;
            }
        });
        Self { port, ids, serving }
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        let mut ids = self.ids.lock().expect("a test").clone();
        // A conclusion is repeated until it is answered.
        ids.dedup();
        ids
    }
}

impl Drop for SrtStub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A caller with a stream id, up to the answer.
pub(crate) async fn call_srt(house: &House, id: &str) -> Result<(), Rejection> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(house.at.srt).await.expect("loopback");
    let mut buffer = [0; 1500];
    socket.send(&induction(7)).await.expect("loopback");
    let length = socket.recv(&mut buffer).await.expect("an answer");
    let cookie = Handshake::parse(&buffer[..length])
        .expect("a handshake")
        .cookie;
    let asks = crate::srt_caller::asks_for(id);
    let conclusion = conclusion(7, cookie, &asks);
    socket.send(&conclusion).await.expect("loopback");
    let answered = timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = answered.expect("in time").expect("an answer");
    match Handshake::parse(&buffer[..length])
        .expect("a handshake")
        .step
    {
        SrtStep::Rejection(code) => Err(code),
        SrtStep::Conclusion => Ok(()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_srt_id_is_written_for_the_origin_and_never_guessed() {
    let house = House::open(MEDIAMTX).await;
    let srs = SrtStub::start(|id| id.starts_with("#!::") && id.contains("m=")).await;
    house.register_with("one", &format!(r#""srt":["{}"]"#, srs.port));
    assert_eq!(call_srt(&house, "publish:cam1:u:p").await, Ok(()));
    assert_eq!(srs.ids(), ["#!::r=live/cam1?user=u&pass=p,m=publish"]);
    assert_eq!(house.origin_of("cam1").as_deref(), Some("one"));
    let rows = house.proxy.sessions().list();
    let actions: Vec<Action> = rows.iter().map(|row| row.request.action).collect();
    assert_eq!(actions, [Action::Publish]);

    assert_eq!(call_srt(&house, "cam1").await, Err(Rejection::BAD_REQUEST));
    let both = "#!::m=bidirectional,r=cam1";
    assert_eq!(call_srt(&house, both).await, Err(Rejection::BAD_MODE));
    assert_eq!(srs.ids().len(), 1, "neither reached the origin");

    let clients_of_srs = House::open("").await;
    let mediamtx = SrtStub::start(|id| id.starts_with("publish:") || id.starts_with("read:")).await;
    let endpoints = format!(r#""srt":["{}"],"dialect":"mediamtx""#, mediamtx.port);
    clients_of_srs.register_with("two", &endpoints);
    let id = "#!::h=v.example,r=live/a,m=publish";
    assert_eq!(call_srt(&clients_of_srs, id).await, Ok(()));
    assert_eq!(mediamtx.ids(), ["publish:live/a"]);
}

#[tokio::test]
async fn an_ome_origin_is_called_at_the_port_of_the_direction() {
    let house = House::open("").await;
    let (ingest, egress) = (
        SrtStub::start(|id| id == "default/app/s").await,
        SrtStub::start(|id| id == "default/app/s").await,
    );
    let endpoints = format!(
        r#""srt":["{}","{}"],"dialect":"ome""#,
        ingest.port, egress.port
    );
    house.register_with("one", &endpoints);
    assert_eq!(call_srt(&house, "#!::r=app/s,m=publish").await, Ok(()));
    assert_eq!((ingest.ids().len(), egress.ids().len()), (1, 0));
    assert_eq!(call_srt(&house, "#!::r=app/s,m=request").await, Ok(()));
    assert_eq!((ingest.ids().len(), egress.ids().len()), (1, 1));
}

#[tokio::test]
async fn a_call_is_asked_for_at_the_origins_own_path_and_its_resource_is_ours() {
    let rows = [
        (
            "srs",
            "/live/a/whip?token=1",
            "POST /rtc/v1/whip/?app=live&stream=a&token=1",
        ),
        (
            "mediamtx",
            "/live/a/whip?token=1",
            "POST /live/a/whip?token=1",
        ),
        ("go2rtc", "/live/a/whep", "POST /api/webrtc?src=a"),
        ("ome", "/live/a/whip", "POST /live/a?direction=whip"),
    ];
    for (dialect, target, expected) in rows {
        let house = House::open(MEDIAMTX).await;
        let origin = CallOrigin::start().await;
        let endpoints = format!(r#"{},"dialect":"{dialect}""#, origin.endpoints());
        house.register_with("one", &endpoints);
        let (status, head, _) = call(house.at.api, "POST", target, OFFER).await;
        assert_eq!(status, 201, "{dialect}: {head}");
        assert_eq!(origin.requests(), [expected], "{dialect}");
        let resource = location(&head);
        assert!(resource.starts_with("/rtc/v1/session/"), "{resource}");
        let (status, ..) = call(house.at.api, "DELETE", &resource, "").await;
        assert_eq!(status, 200, "{dialect}");
        assert_eq!(
            origin.requests().last().map(String::as_str),
            Some("DELETE /call/1")
        );
    }
    let house = House::open(MEDIAMTX).await;
    let origin = CallOrigin::start().await;
    let endpoints = format!(r#"{},"dialect":"ome""#, origin.endpoints());
    house.register_with("one", &endpoints);
    let (status, _, words) = call(house.at.api, "POST", "/live/a/whep", OFFER).await;
    assert_eq!(status, 404);
    assert!(
        words.contains("ome origins: it takes publishers"),
        "{words}"
    );
}

#[tokio::test]
async fn a_playlist_of_another_path_leads_back_to_its_folder_and_is_nobody_elses() {
    let playlist = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmain_stream.m3u8?session=U\n";
    let script = vec![say(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{playlist}",
        playlist.len()
    ))];
    let house = House::open("[http]\nshare = \"all\"\n").await;
    let origin = HttpOrigin::start(script).await;
    let endpoints = format!(r#""http":["{}"],"dialect":"mediamtx""#, origin.at.port());
    house.register_with("one", &endpoints);
    for viewer in 0..2 {
        let (status, body) = get(house.at.http, "/live/a.m3u8?token=1").await;
        assert_eq!(status, 200, "{body}");
        let visit = origin.visit(viewer).await;
        let expected = "GET /live/a/index.m3u8?token=1 HTTP/1.1";
        assert_eq!(
            visit.request_line(),
            expected,
            "viewer {viewer} has its own"
        );
        let child = body.lines().nth(2).unwrap_or_default();
        let start = "/live/a/main_stream.m3u8?session=U&spbhid=";
        assert!(child.starts_with(start), "{child}");
        if viewer == 1 {
            let (status, _) = get(house.at.http, child).await;
            assert_eq!(status, 200);
            let visit = origin.visit(2).await;
            let expected = "GET /live/a/main_stream.m3u8?session=U HTTP/1.1";
            assert_eq!(
                visit.request_line(),
                expected,
                "a link's target is the origin's own"
            );
        }
    }
    let mut pull = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    let head = pull.head().await;
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[tokio::test]
async fn two_recorders_with_equal_paths_stand_behind_their_prefixes() {
    let house = House::open("").await;
    let (a, b) = (
        camera("cam/realmonitor").await,
        camera("cam/realmonitor").await,
    );
    for (id, origin) in [("a", &a), ("b", &b)] {
        let endpoints = format!(r#""rtsp":["{}"],"strip":"site-{id}""#, origin.at.port());
        house.register_with(id, &endpoints);
    }
    let mut players = Vec::new();
    for (id, origin) in [("a", &a), ("b", &b)] {
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = format!("rtsp://media.example/site-{id}/cam/realmonitor");
        let described = player
            .ask(&format!("DESCRIBE {url}?channel=1"), 2, "")
            .await;
        assert_eq!(described.status(), Some(200), "{id}");
        assert_eq!(described.field("content-base"), Some(&*format!("{url}/")));
        let last = origin.requests().pop().unwrap_or_default();
        let expected = "DESCRIBE rtsp://media.example/cam/realmonitor?channel=1 RTSP/1.0";
        assert!(last.starts_with(expected), "{last}");
        players.push(player);
    }
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask(
            "DESCRIBE rtsp://media.example/site-c/cam/realmonitor",
            2,
            "",
        )
        .await;
    assert_eq!(refused.status(), Some(404));
    assert!(refused.reason().contains("prefix"), "{}", refused.reason());
}

#[tokio::test]
async fn two_channels_of_one_recorder_are_two_streams_where_a_rule_says_so() {
    let names = "app=site-*/cam stream=realmonitor parameter=channel parameter=subtype";
    let house = House::open(&format!("[clients]\nname_parameters = [\"{names}\"]\n")).await;
    let origin = camera("cam/realmonitor").await;
    let endpoints = format!(r#""rtsp":["{}"],"strip":"site-a""#, origin.at.port());
    house.register_with("a", &endpoints);
    let mut players = Vec::new();
    for query in [
        "channel=1&subtype=0",
        "subtype=0&channel=2",
        "subtype=0&channel=1",
    ] {
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = "rtsp://media.example/site-a/cam/realmonitor";
        let described = player.ask(&format!("DESCRIBE {url}?{query}"), 2, "").await;
        assert_eq!(described.status(), Some(200), "{query}");
        let last = origin.requests().pop().unwrap_or_default();
        let expected = format!("DESCRIBE rtsp://media.example/cam/realmonitor?{query} RTSP/1.0");
        assert!(last.starts_with(&expected), "{last}");
        players.push(player);
    }
    let rows = house.proxy.sessions().list();
    let mut streams: Vec<String> = rows
        .iter()
        .map(|row| row.request.stream.to_string())
        .collect();
    streams.sort();
    let name =
        |channel| format!("media.example/site-a/cam/realmonitor/?channel={channel}&subtype=0");
    assert_eq!(streams, [name(1), name(1), name(2)]);
    let mut player = Caller::connect(house.at.rtsp).await;
    let twice = "rtsp://media.example/site-a/cam/realmonitor?channel=1&channel=2";
    let refused = player.ask(&format!("DESCRIBE {twice}"), 2, "").await;
    assert_eq!(refused.status(), Some(400));
    assert!(
        refused.reason().contains("one value"),
        "{}",
        refused.reason()
    );
}

#[tokio::test]
async fn a_parameter_names_a_playlist_and_its_links_keep_the_name() {
    let playlist = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmain.m3u8\n";
    let script = vec![say(format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{playlist}",
        playlist.len()
    ))];
    let house = House::open("[clients]\nname_parameters = [\"app=cam parameter=channel\"]\n").await;
    let origin = HttpOrigin::join(&house, "one", script).await;
    let mut children = Vec::new();
    for channel in [1, 2] {
        let (status, body) = get(house.at.http, &format!("/cam/a.m3u8?channel={channel}")).await;
        assert_eq!(status, 200, "{body}");
        let child = body.lines().nth(2).unwrap_or_default().to_owned();
        assert!(child.starts_with("main.m3u8?spbhid="), "{child}");
        let stream = format!("cam/a/?channel={channel}");
        assert_eq!(house.origin_of(&stream).as_deref(), Some("one"), "{stream}");
        children.push(child);
    }
    assert_ne!(children[0], children[1], "a link seals the name");
    let (status, _) = get(house.at.http, &format!("/cam/{}", children[1])).await;
    assert_eq!(status, 200);
    assert_eq!(
        origin.visit(2).await.request_line(),
        "GET /cam/main.m3u8 HTTP/1.1"
    );
}
