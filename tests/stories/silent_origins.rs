//! Origins that accept and send nothing, as stopped ones do, to clients of every protocol.

use sluicegate_core::fleet::State;
use sluicegate_core::srt::packet::{Handshake, Rejection, Step as SrtStep};
use sluicegate_core::stream::Action;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::house::{House, Manner, PATIENCE, Stub, get, post, until};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, WAYS, say};
use crate::http_pieces::{Packager, Reply};
use crate::rtsp_house::Caller;
use crate::srt_caller::{asks_for, conclusion, induction};
use sluicegate::sessions::State as SessionState;

/// A stub that reads whatever comes, over any protocol of TCP.
async fn silent() -> Stub {
    Stub::start(Manner::Silent).await
}

fn is_silent(house: &House, id: &str) -> bool {
    let member = house.proxy.registry().member(&id.into());
    member.expect("it is registered").health.is_silent()
}

/// A silent origin may be healthy behind a broken network; only one that answers wrongly is surely broken.
#[tokio::test]
async fn silence_is_known_as_silence_over_every_protocol() {
    for protocol in ["rtmp", "http_flv", "hls", "rtsp", "srt", "webrtc"] {
        let house = House::open("[http]\nanswer_timeout = \"300ms\"\n").await;
        let origin = silent().await;
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let port = match protocol {
            "srt" | "webrtc" => datagrams.local_addr().expect("bound").port(),
            _ => origin.at.port(),
        };
        let endpoints = match protocol {
            "rtmp" => format!(r#""rtmp":["{port}"]"#),
            "rtsp" => format!(r#""rtmp":[],"rtsp":["{port}"]"#),
            "srt" => format!(r#""rtmp":[],"srt":["udp://:{port}"]"#),
            "webrtc" => {
                let api = origin.at.port();
                format!(r#""rtmp":[],"api":["{api}"],"rtc":["udp://:{port}"]"#)
            }
            _ => format!(r#""rtmp":[],"http":["{port}"]"#),
        };
        house.register_with("one", &endpoints);
        match protocol {
            "rtmp" => {
                let guest = house.ask(Action::Publish, "live/a").await;
                assert!(!guest.has_started());
            }
            "http_flv" => assert_refused(get(house.at.http, "/live/a.flv").await.0),
            "hls" => assert_refused(get(house.at.http, "/live/a.m3u8").await.0),
            "rtsp" => {
                let mut player = Caller::connect(house.at.rtsp).await;
                let url = format!("rtsp://{}/live/a", house.at.rtsp);
                let answer = player.ask(&format!("DESCRIBE {url}"), 1, "").await;
                assert_refused(answer.status().expect("an answer"));
            }
            "srt" => assert_eq!(call_srt(&house).await, Rejection::GATEWAY),
            _ => assert_refused(
                post(house.at.api, "/rtc/v1/whip/?app=live&stream=a", OFFER)
                    .await
                    .0,
            ),
        }
        assert!(is_silent(&house, "one"), "{protocol}");
    }
}

/// Two seconds after its request, a viewer is on an origin that answers.
#[tokio::test]
async fn viewers_over_http_go_on_to_the_next_origin() {
    for way in WAYS {
        let house = House::open(PATIENT).await;
        let stopped = silent().await;
        house.register_with("stopped", &both(&stopped, stopped.at.port()));
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        until("the request", || stopped.connections() > 0).await;
        let script = vec![say(STREAM), say("media"), Step::Hold];
        let _good = HttpOrigin::join(&house, "good", script).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{way:?}: {head}");
        assert_eq!(viewer.take_body(&head, 5).await, b"media", "{way:?}");
        assert_eq!(house.origin_of("live/a").as_deref(), Some("good"));
        assert!(is_silent(&house, "stopped"), "{way:?}");
    }
}

#[tokio::test]
async fn a_playlist_comes_from_the_next_origin() {
    let house = House::open(PATIENT).await;
    let stopped = silent().await;
    house.register_with("stopped", &both(&stopped, stopped.at.port()));
    let asked = tokio::spawn(get(house.at.http, "/live/a.m3u8"));
    until("the request", || stopped.connections() > 0).await;
    let _good = Packager::join(&house, "good", |target: &str, _: &str| {
        if target.starts_with("/live/a.m3u8") {
            Reply::ok("", "#EXTM3U\n#EXTINF:2,\na-1.ts\n")
        } else {
            Reply::missing()
        }
    })
    .await;
    let (status, playlist) = asked.await.expect("an answer");
    assert_eq!(status, 200);
    assert!(playlist.contains("a-1.ts"), "{playlist}");
    assert!(is_silent(&house, "stopped"));
}

/// An origin may hold its answer back until there is a publisher: it shows that it is alive over another protocol.
#[tokio::test]
async fn an_origin_that_only_waits_keeps_its_viewers() {
    let house = House::open("[session]\ndial_timeout = \"300ms\"\n").await;
    let rtmp = Stub::start(Manner::Grants).await;
    let http = HttpOrigin::start(vec![Step::Hold]).await;
    house.register_with("waits", &both(&rtmp, http.at.port()));
    let mut viewers = Vec::new();
    for way in WAYS {
        for _ in 0..5 {
            viewers.push(Viewer::pull(house.at.http, way, "/live/a.flv").await);
        }
    }
    let count = viewers.len();
    until("all wait", || {
        let rows = house.proxy.sessions().list();
        let waiting = |row: &&_| is_waiting(row);
        rows.iter().filter(waiting).count() == count
    })
    .await;
    assert_eq!(http.visits().len(), count, "each was asked for once");
    assert!(
        rtmp.connections() <= 3,
        "they share a question: {}",
        rtmp.connections()
    );
    let state = house.proxy.registry().state(&"waits".into());
    assert_eq!(state, Some(State::Up));
    drop(viewers);
    house.until_sessions(0).await;
}

fn is_waiting(row: &std::sync::Arc<sluicegate::sessions::Row>) -> bool {
    row.state() == SessionState::Waiting
}

/// The endpoints of an origin that serves RTMP and HTTP.
fn both(rtmp: &Stub, http: u16) -> String {
    let rtmp = rtmp.at.port();
    format!(r#""rtmp":["{rtmp}"],"http":["{http}"]"#)
}

pub(crate) fn assert_refused(status: u16) {
    assert!((500..600).contains(&status), "{status}");
}

/// A caller that sends what libsrt sends, up to the answer.
pub(crate) async fn call_srt(house: &House) -> Rejection {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(house.at.srt).await.expect("loopback");
    let mut buffer = [0; 1500];
    socket.send(&induction(7)).await.expect("loopback");
    let length = socket.recv(&mut buffer).await.expect("an answer");
    let cookie = Handshake::parse(&buffer[..length])
        .expect("a handshake")
        .cookie;
    let conclusion = conclusion(7, cookie, &asks_for("#!::r=live/a,m=publish"));
    socket.send(&conclusion).await.expect("loopback");
    let answered = timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let length = answered.expect("in time").expect("an answer");
    match Handshake::parse(&buffer[..length])
        .expect("a handshake")
        .step
    {
        SrtStep::Rejection(code) => code,
        other => panic!("{other:?}"),
    }
}

/// These long times are for origins that take their time. A client that is on the next origin much sooner was not held
/// up by them.
const PATIENT: &str = "[session]\nsetup_timeout = \"60s\"\n[http]\nanswer_timeout = \"60s\"\n";
pub(crate) const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n\
    a=ice-ufrag:clnt\r\na=ice-pwd:0123456789012345678901\r\n";
