//! Origins that live and take their time: a packager that starts, a server that waits for a publisher or asks somebody
//! itself. Nobody is refused for it, and no origin is blamed.

use std::time::Duration;

use sluicegate::sessions::State as SessionState;
use sluicegate_core::fleet::State;
use sluicegate_core::rtsp::message::{Message, Method};
use sluicegate_core::srt::packet::Rejection;
use sluicegate_core::stream::Action;
use tokio_util::sync::CancellationToken;

use crate::dialects::{SrtStub, call_srt};
use crate::house::{Guest, House, Manner, Stub, get, until};
use crate::http_pieces::{Packager, Reply};
use crate::rtsp_house::{self, Caller};

/// Times that are over long before an origin of these stories answers.
const HASTY: &str = "[session]\ndial_timeout = \"100ms\"\nsetup_timeout = \"300ms\"\n";
/// Longer than each of those times.
const BEYOND: Duration = Duration::from_millis(700);

fn assert_up(house: &House, id: &str) {
    assert_eq!(house.proxy.registry().state(&id.into()), Some(State::Up));
}

const PLAYLIST: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-1.ts\n";

/// A packager whose playlist comes after `go`.
async fn thinking(house: &House, go: &CancellationToken) -> Packager {
    let go = go.clone();
    Packager::join(house, "slow", move |target: &str, _: &str| {
        if target.starts_with("/live/a.m3u8") {
            Reply {
                wait: Some(go.clone()),
                ..Reply::ok("", PLAYLIST)
            }
        } else {
            Reply::missing()
        }
    })
    .await
}

#[tokio::test]
async fn a_first_playlist_may_take_longer_than_a_session_to_be_set_up() {
    let house = House::open(HASTY).await;
    let go = CancellationToken::new();
    let slow = thinking(&house, &go).await;
    let asked = tokio::spawn(get(house.at.http, "/live/a.m3u8"));
    until("the request", || slow.count("/live/a.m3u8") == 1).await;
    let other = Packager::join(&house, "other", |_: &str, _: &str| Reply::missing()).await;
    tokio::time::sleep(BEYOND).await;
    assert!(!asked.is_finished(), "it is waited for");
    go.cancel();
    let (status, playlist) = asked.await.expect("an answer");
    assert_eq!(status, 200, "{playlist}");
    assert_eq!(slow.count("/live/a.m3u8"), 1, "it is asked once");
    assert_eq!(other.count("/live/a.m3u8"), 0, "no other is asked");
    assert_up(&house, "slow");
}

#[tokio::test]
async fn a_playlist_that_takes_too_long_is_nobodys_fault() {
    let settings = format!("{HASTY}[http]\nanswer_timeout = \"600ms\"\n");
    let house = House::open(&settings).await;
    let slow = thinking(&house, &CancellationToken::new()).await;
    let asked = tokio::spawn(get(house.at.http, "/live/a.m3u8"));
    until("the request", || slow.count("/live/a.m3u8") == 1).await;
    let other = Packager::join(&house, "other", |_: &str, _: &str| Reply::missing()).await;
    let (status, words) = asked.await.expect("an answer");
    assert_eq!(status, 503, "{words}");
    assert_eq!(other.count("/live/a.m3u8"), 0, "no other is asked");
    assert_up(&house, "slow");
}

/// What nginx-rtmp does with `play_restart on` before there is a publisher, and any server whose hook thinks.
#[tokio::test]
async fn an_rtmp_client_waits_for_as_long_as_its_origin_thinks() {
    for action in [Action::Play, Action::Publish] {
        let house = House::open(HASTY).await;
        let go = CancellationToken::new();
        let thinks = Stub::start(Manner::Thinks(go.clone())).await;
        house.register("thinks", thinks.at);
        let at = house.at.rtmp;
        let asked = tokio::spawn(async move { Guest::ask(at, action, "live/a", Vec::new()).await });
        let requests = || thinks.seen.lock().expect("a test").requests.len();
        until("the request", || requests() == 1).await;
        let other = Stub::start(Manner::Grants).await;
        house.register("other", other.at);
        tokio::time::sleep(BEYOND).await;
        assert!(!asked.is_finished(), "{action} waits");
        if action == Action::Play {
            let rows = house.proxy.sessions().list();
            assert_eq!(rows[0].state(), SessionState::Waiting);
        }
        go.cancel();
        let guest = asked.await.expect("an answer");
        assert!(guest.has_started(), "{action}: {:?}", guest.status);
        assert_eq!(requests(), 1, "{action} was asked for once");
        assert!(other.seen.lock().expect("a test").requests.is_empty());
        assert_up(&house, "thinks");
    }
}

const CALL: &str = "#!::r=live/a,m=publish";

/// A listener of SRT that asks somebody about a call answers its first packet all the same.
#[tokio::test]
async fn an_srt_caller_waits_for_as_long_as_its_origin_thinks() {
    let house = House::open("").await;
    let go = CancellationToken::new();
    let thinks = SrtStub::thinking(|_| true, go.clone()).await;
    house.register_with("thinks", &format!(r#""srt":["{}"]"#, thinks.port));
    let thought = async {
        until("the call", || !thinks.ids().is_empty()).await;
        let other = SrtStub::start(|_| true).await;
        house.register_with("other", &format!(r#""srt":["{}"]"#, other.port));
        // Longer than it takes to find an origin that lives.
        tokio::time::sleep(Duration::from_millis(2600)).await;
        go.cancel();
        other
    };
    let (told, other) = tokio::join!(call_srt(&house, CALL), thought);
    assert_eq!(told, Ok(()));
    assert_eq!(other.ids(), Vec::<String>::new(), "no other is asked");
    assert_up(&house, "thinks");
}

#[tokio::test]
async fn an_srt_origin_that_thinks_for_too_long_is_not_blamed() {
    let house = House::open("[session]\npublisher_idle = \"1s\"\n").await;
    let thinks = SrtStub::thinking(|_| true, CancellationToken::new()).await;
    house.register_with("thinks", &format!(r#""srt":["{}"]"#, thinks.port));
    let join = async {
        until("the call", || !thinks.ids().is_empty()).await;
        let other = SrtStub::start(|_| true).await;
        house.register_with("other", &format!(r#""srt":["{}"]"#, other.port));
        other
    };
    let (told, other) = tokio::join!(call_srt(&house, CALL), join);
    assert_eq!(told, Err(Rejection::GATEWAY));
    assert_eq!(other.ids(), Vec::<String>::new(), "no other is asked");
    assert_up(&house, "thinks");
    let member = house.proxy.registry().member(&"thinks".into());
    assert!(!member.expect("it is registered").health.is_silent());
}

#[tokio::test]
async fn a_player_that_waits_may_leave_and_has_its_time() {
    for leaves in [true, false] {
        let play_wait = if leaves { "10m" } else { "1s" };
        let house = House::open(&format!("{HASTY}play_wait = \"{play_wait}\"\n")).await;
        let thinks = Stub::start(Manner::Thinks(CancellationToken::new())).await;
        house.register("thinks", thinks.at);
        let mut guest = Guest::call(house.at.rtmp, &[], Action::Play, "live/a", Vec::new()).await;
        let waits = || {
            let rows = house.proxy.sessions().list();
            rows.iter().any(|row| row.state() == SessionState::Waiting)
        };
        let reason = if leaves {
            tokio::select! {
                () = guest.read_to_end() => panic!("the proxy let it go"),
                () = until("it waits", waits) => {}
            }
            drop(guest);
            "client_closed"
        } else {
            guest.read_to_end().await;
            "waited_too_long"
        };
        house.until_sessions(0).await;
        let ended = house.proxy.sessions().ended();
        assert_eq!(ended[0].reason, reason);
        assert_up(&house, "thinks");
    }
}

#[tokio::test]
async fn a_camera_may_take_long_to_describe_its_stream() {
    let house = House::open(HASTY).await;
    let camera = rtsp_house::Stub::start(|at| {
        let grants = rtsp_house::grants(at, Vec::new());
        move |request: &Message| match request.method() {
            Some(Method::Describe) => rtsp_house::Reply::Wait,
            _ => grants(request),
        }
    })
    .await;
    let port = camera.at.port();
    house.register_with("camera", &format!(r#""rtmp":[],"rtsp":["{port}"]"#));
    let url = format!("rtsp://{}/live/a", house.at.rtsp);
    let mut player = Caller::connect(house.at.rtsp).await;
    player
        .send(format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"))
        .await;
    let waits = || {
        let rows = house.proxy.sessions().list();
        rows.iter().any(|row| row.state() == SessionState::Waiting)
    };
    until("it waits", waits).await;
    tokio::time::sleep(BEYOND).await;
    assert_eq!(house.proxy.sessions().len(), 1, "it still waits");
    assert_up(&house, "camera");
    drop(player);
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "client_closed");
}
