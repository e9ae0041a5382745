//! TLS towards what this proxy connects to: origins by every protocol, backends, lists of origins, other proxies.

use sluicegate::demo::origin::EmbeddedOrigin;
use sluicegate_core::rtmp::message::Message;
use sluicegate_core::stream::Action;
use tokio::net::TcpListener;

use crate::house::{Guest, House, Manner, Names, Stub, get, nowhere, until, video};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, Way, say};
use crate::rtsp_house::{self, Caller, grants};
use crate::sources::{duty, open, open_knowing};
use crate::tls_client::{Authority, EXPIRED};

/// The settings of a proxy that believes `authority` and nobody else.
fn believes(authority: &Authority) -> String {
    format!("[tls]\nauthorities = {:?}\n", authority.own())
}

#[tokio::test]
async fn an_origin_is_published_to_and_played_from_by_rtmps() {
    let authority = Authority::new();
    let house = House::open(&believes(&authority)).await;
    let media: Vec<Message> = (0..50).map(|at| video(at, &[7; 30_000])).collect();
    let origin = Stub::with(Manner::Grants, 0, media).await;
    let door = authority.door("localhost", origin.at).await;
    let port = door.at.port();
    house.register_with("one", &format!(r#""rtmp":["rtmps://localhost:{port}"]"#));

    let mut publisher = house.ask(Action::Publish, "live/a").await;
    assert_eq!(publisher.code(), "NetStream.Publish.Start");
    assert_eq!(origin.request().tc_url, "rtmp://example/live");
    for at in 0..20 {
        publisher.send(&video(at, &[5; 100_000])).await;
    }
    let came = || origin.seen.lock().expect("a test").media.len() == 20;
    until("what was published", came).await;
    let mut player = house.ask(Action::Play, "live/a").await;
    assert!(player.read_until(|player| player.media.len() == 50).await);
    let whole = |message: &Message| message.payload == [7; 30_000];
    assert!(player.media.iter().all(whole));
    drop(player);
    drop(publisher);
    until("the ends", || house.proxy.sessions().is_empty()).await;
}

#[tokio::test]
async fn viewers_share_a_pull_by_rtmps() {
    let authority = Authority::new();
    let settings = format!(
        "[fanout]\nmode = \"open\"\npublic = true\n{}",
        believes(&authority)
    );
    let house = House::open(&settings).await;
    let loopback = "127.0.0.1:0".parse().expect("an address");
    let origin = EmbeddedOrigin::bind(loopback, loopback)
        .await
        .expect("ports");
    let door = authority.door("localhost", origin.rtmp()).await;
    let port = door.at.port();
    house.register_with("one", &format!(r#""rtmp":["rtmps://localhost:{port}"]"#));
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    let header = [0x17, 0, 0, 0, 0, 1, 0x42];
    for (at, payload) in [(0, &header[..]), (0, &[0x17, 1, 0, 0, 0, 7])] {
        publisher.send(&video(at, payload)).await;
    }
    let mut viewers = [
        house.ask(Action::Play, "live/a").await,
        house.ask(Action::Play, "live/a").await,
    ];
    publisher.send(&video(40, &[0x27, 1, 0, 0, 0, 8])).await;
    for viewer in &mut viewers {
        let last = |viewer: &Guest| {
            viewer
                .media
                .last()
                .and_then(|one| one.payload.last().copied())
        };
        assert!(viewer.read_until(|viewer| last(viewer) == Some(8)).await);
    }
    let pulls = "sluicegate_pulls 1";
    let (_, metrics) = get(house.at.system, "/metrics").await;
    assert!(metrics.contains(pulls), "{metrics}");
}

#[tokio::test]
async fn an_origin_is_asked_by_https() {
    let authority = Authority::new();
    let house = House::open(&believes(&authority)).await;
    let body = vec![9; 300_000];
    let script = vec![say(STREAM), Step::Say(body.clone())];
    let origin = HttpOrigin::start(script).await;
    let door = authority.door("localhost", origin.at).await;
    let port = door.at.port();
    house.register_with("one", &format!(r#""http":["https://localhost:{port}"]"#));
    for way in [Way::First, Way::Second] {
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(viewer.take_body(&head, body.len()).await, body);
    }
}

#[tokio::test]
async fn a_connection_by_https_is_kept_for_the_next_playlist() {
    let authority = Authority::new();
    let house = House::open(&believes(&authority)).await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\nContent-Length: 8\r\n\r\n#EXTM3U\n";
    let origin = HttpOrigin::start(vec![say(answer), Step::Hold]).await;
    let door = authority.door("localhost", origin.at).await;
    let port = door.at.port();
    house.register_with("one", &format!(r#""http":["https://localhost:{port}"]"#));
    let (status, playlist) = get(house.at.http, "/live/a.m3u8").await;
    assert_eq!((status, playlist.as_str()), (200, "#EXTM3U\n"));
    assert_eq!(origin.visits().len(), 1);
    assert!(!origin.visits()[0].closed, "it waits for the next request");
}

#[tokio::test]
async fn a_camera_is_played_by_rtsps() {
    let authority = Authority::new();
    let house = House::open(&believes(&authority)).await;
    let frames = rtsp_house::frame(0, &[1; 900]);
    let origin = rtsp_house::Stub::start(|at| grants(at, frames.clone())).await;
    let door = authority.door("localhost", origin.at).await;
    let port = door.at.port();
    house.register_with("one", &format!(r#""rtsp":["rtsps://localhost:{port}"]"#));
    let mut caller = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example/live/a";
    let described = caller.ask(&format!("DESCRIBE {url}"), 1, "").await;
    assert_eq!(described.status(), Some(200));
    let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    caller
        .ask(&format!("SETUP {url}/trackID=0"), 2, transport)
        .await;
    caller
        .ask(&format!("PLAY {url}/"), 3, "Session: 7\r\n")
        .await;
    assert!(caller.hear_frames(frames.len()).await);
}

#[tokio::test]
async fn an_origin_has_to_be_what_it_is_registered_as() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let names = Names::default();
    for name in ["media.test", EXPIRED] {
        names.lead(name, &["127.0.0.1"]);
    }
    // What signs its certificate, whose name is in it, where it is reached, what the operator says, and whether it is used.
    let rows = [
        ("its name", &authority, "media.test", "media.test", "", true),
        (
            "its address",
            &authority,
            "127.0.0.1",
            "127.0.0.1",
            "",
            true,
        ),
        (
            "another name",
            &authority,
            "other.test",
            "media.test",
            "",
            false,
        ),
        (
            "a name, by address",
            &authority,
            "media.test",
            "127.0.0.1",
            "",
            false,
        ),
        (
            "a stranger's",
            &stranger,
            "media.test",
            "media.test",
            "",
            false,
        ),
        ("over", &authority, EXPIRED, EXPIRED, "", false),
        (
            "a name, by address, as the operator says",
            &authority,
            "media.test",
            "127.0.0.1",
            "tls_name=media.test",
            true,
        ),
        (
            "another name than the operator says",
            &authority,
            "media.test",
            "media.test",
            "tls_name=other.test",
            false,
        ),
        (
            "a stranger's, which the operator accepts",
            &stranger,
            "other.test",
            "media.test",
            "tls_verify=off",
            true,
        ),
    ];
    for (cause, signer, shown, reached, said, used) in rows {
        let attributes = match said {
            "" => String::new(),
            said => format!("[origins]\nattributes = [\"one {said}\"]\n"),
        };
        let settings = format!("{attributes}{}", believes(&authority));
        let house = House::open_knowing(&settings, &names).await;
        let origin = Stub::start(Manner::Grants).await;
        let door = signer.door(shown, origin.at).await;
        let port = door.at.port();
        house.register_with("one", &format!(r#""rtmp":["tls://{reached}:{port}"]"#));
        let guest = house.ask(Action::Publish, "live/a").await;
        assert_eq!(guest.has_started(), used, "{cause}: {}", guest.words());
        assert_eq!(origin.connections(), usize::from(used), "{cause}");
        let words = guest.words();
        assert!(!words.contains("certificate"), "{cause}: {words}");
    }
}

#[tokio::test]
async fn an_origin_that_is_not_believed_makes_room_for_the_next() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let house = House::open(&believes(&authority)).await;
    let (one, two) = (
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    );
    let doors = [
        stranger.door("localhost", one.at).await,
        authority.door("localhost", two.at).await,
    ];
    for (id, door) in ["one", "two"].iter().zip(&doors) {
        let port = door.at.port();
        house.register_with(id, &format!(r#""rtmp":["rtmps://localhost:{port}"]"#));
    }
    for stream in ["live/a", "live/b", "live/c", "live/d"] {
        assert!(house.ask(Action::Publish, stream).await.has_started());
    }
    assert_eq!((one.connections(), two.connections()), (0, 4));
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_no_origin() {
    let authority = Authority::new();
    let house = House::open(&believes(&authority)).await;
    let plain = Stub::start(Manner::Grants).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ports = [plain.at, silent.local_addr().expect("bound"), nowhere()].map(|at| at.port());
    for (id, port) in ["plain", "silent", "away"].iter().zip(ports) {
        house.register_with(id, &format!(r#""rtmp":["rtmps://localhost:{port}"]"#));
    }
    let guest = house.ask(Action::Publish, "live/a").await;
    assert!(!guest.has_started());
    assert_eq!(plain.seen.lock().expect("a test").requests.len(), 0);
}

#[tokio::test]
async fn a_certificate_is_shown_to_origins_that_ask_for_one() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (certificate, key) = clients.sign("proxy", "proxy.test");
    let shown = format!("client_certificate = {certificate:?}\nclient_key = {key:?}\n");
    for (cause, shown, used) in [("shown", shown.as_str(), true), ("none", "", false)] {
        let house = House::open(&format!("{}{shown}", believes(&authority))).await;
        let origin = Stub::start(Manner::Grants).await;
        let door = authority.door_for(&clients, "localhost", origin.at).await;
        let port = door.at.port();
        house.register_with("one", &format!(r#""rtmp":["rtmps://localhost:{port}"]"#));
        let guest = house.ask(Action::Publish, "live/a").await;
        assert_eq!(guest.has_started(), used, "{cause}");
    }
}

#[tokio::test]
async fn an_origin_is_told_of_the_client_before_tls() {
    let authority = Authority::new();
    let settings = format!(
        "[origins]\nproxy_protocol_v1 = [\"*\"]\nclient_address_preamble = [\"*\"]\n{}",
        believes(&authority)
    );
    let house = House::open(&settings).await;
    // The preamble of 0xF3, a length of two bytes and an IPv4 address is RTMP's, so it comes within TLS.
    let origin = Stub::with(Manner::Grants, 7, Vec::new()).await;
    let door = authority.door("localhost", origin.at).await;
    let port = door.at.port();
    house.register_with("one", &format!(r#""rtmp":["rtmps://localhost:{port}"]"#));
    let guest: Guest = house.ask(Action::Publish, "live/a").await;
    assert!(guest.has_started());
    let lines = door.lines.lock().expect("a test").clone();
    assert!(
        lines[0].starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "),
        "{lines:?}"
    );
    let preface = origin.seen.lock().expect("a test").preface.clone();
    assert_eq!(preface, [0xF3, 0, 4, 127, 0, 0, 1]);
}

/// What answers one document to everybody.
async fn document(body: &str) -> HttpOrigin {
    let length = body.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
    HttpOrigin::start(vec![say(answer), Step::Hold]).await
}

#[tokio::test]
async fn a_backend_is_asked_by_https() {
    let authority = Authority::new();
    let backend = document(r#"{"code":0}"#).await;
    let door = authority.door("localhost", backend.at).await;
    let strangers = Authority::new().door("localhost", backend.at).await;
    for (cause, port, allowed) in [
        ("believed", door.at.port(), true),
        ("a stranger's", strangers.at.port(), false),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let lists = format!(
            "{}[[check]]\nname = \"backend\"\nkind = \"hook\"\nshape = \"srs\"\n\
             on_publish = \"https://localhost:{port}/publish\"\n[[access]]\nall = [\"backend\"]\n",
            believes(&authority)
        );
        let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
        let origin = Stub::start(Manner::Grants).await;
        house.register("one", origin.at);
        let guest = house.ask(Action::Publish, "live/a").await;
        assert_eq!(guest.has_started(), allowed, "{cause}: {}", guest.words());
    }
    assert_eq!(backend.visits().len(), 1);
    assert!(
        backend
            .visit(0)
            .await
            .request_line()
            .starts_with("POST /publish ")
    );
}

#[tokio::test]
async fn a_list_of_origins_is_read_by_https() {
    let authority = Authority::new();
    let origin = Stub::start(Manner::Grants).await;
    let behind = authority.door("media.test", origin.at).await;
    let list = format!(
        r#"[{{"id":"listed","ip":"media.test","rtmp":"rtmps://{}"}}]"#,
        behind.at.port()
    );
    let source = document(&list).await;
    let door = authority.door("localhost", source.at).await;
    let names = Names::default();
    names.lead("media.test", &["127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a folder");
    let lists = format!(
        "{}[[source]]\nurl = \"https://localhost:{}/origins?key=1\"\n",
        believes(&authority),
        door.at.port()
    );
    let file = folder.path().join("sluicegate.toml");
    let house = open_knowing(&file, &lists, &names).await;
    until("the list", || duty(&house, "listed").is_some()).await;
    assert!(house.ask(Action::Publish, "live/a").await.has_started());
}

#[tokio::test]
async fn who_decides_on_new_streams_is_asked_by_https() {
    let authority = Authority::new();
    let decides = document(r#"{"allow":false,"reason":"not today"}"#).await;
    let door = authority.door("localhost", decides.at).await;
    let settings = format!(
        "[placement]\nask = \"https://localhost:{}/place\"\n{}",
        door.at.port(),
        believes(&authority)
    );
    let house = House::open(&settings).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let guest = house.ask(Action::Publish, "live/a").await;
    assert!(guest.words().contains("not today"), "{}", guest.words());
}

#[tokio::test]
async fn a_new_authority_is_believed_without_a_restart() {
    let (old, new) = (Authority::new(), Authority::new());
    let file = old.directory().join("believed.pem");
    std::fs::copy(old.own(), &file).expect("a file");
    let house = House::open(&format!("[tls]\nauthorities = {file:?}\n")).await;
    let origin = Stub::start(Manner::Grants).await;
    let doors = [
        old.door("localhost", origin.at).await,
        new.door("localhost", origin.at).await,
    ];
    let [before, after] = doors.each_ref().map(|door| door.at.port());
    house.register_with("one", &format!(r#""rtmp":["rtmps://localhost:{before}"]"#));
    assert!(house.ask(Action::Publish, "live/a").await.has_started());
    house.register_with("one", &format!(r#""rtmp":["rtmps://localhost:{after}"]"#));
    assert!(!house.ask(Action::Publish, "live/b").await.has_started());
    std::fs::copy(new.own(), &file).expect("a file");
    let mut asked = 0;
    crate::house::until_told("the new one is believed", async || {
        asked += 1;
        let stream = format!("live/c{asked}");
        house.ask(Action::Publish, &stream).await.has_started()
    })
    .await;
}
