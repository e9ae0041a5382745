//! Origins registered by a name that leads where no origin may be.
//!
//! The refused address of these stories is 0.0.0.0. Linux connects it to loopback, so a connection that must not be
//! made would arrive at the origin of the test.

use serde_json::Value;
use sluicegate::sessions::State as SessionState;
use sluicegate_core::fleet::State;
use sluicegate_core::srt::packet::{Handshake, Rejection, Step};
use sluicegate_core::stream::Action;
use tokio::net::{TcpListener, UdpSocket};
use tokio::time::timeout;

use crate::house::{House, Manner, Names, PATIENCE, Stub, get, post, talk, until};
use crate::http_origin::{HttpOrigin, Step as Script, Viewer, Way};
use crate::http_pieces::{Packager, Reply};
use crate::rtsp_house::Caller;
use crate::silent_origins::{OFFER, assert_refused, call_srt};
use crate::sources::{duty, open_knowing};

const REFUSED: &str = "0.0.0.0";
const PERMITTED: &str = "127.0.0.1";

/// `evil.test`, where nobody may be sent.
fn evil() -> Names {
    let names = Names::default();
    names.lead("evil.test", &[REFUSED]);
    names
}

/// What the system API notes of an origin.
async fn notes(house: &House, id: &str) -> String {
    let (_, body) = get(house.at.system, "/api/v1/origins").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let rows = document["data"]["origins"].as_array().expect("rows");
    let row = rows.iter().find(|row| row["id"] == id);
    row.expect("it is registered")["notes"].to_string()
}

fn is_failing(house: &House, id: &str) -> bool {
    house.proxy.registry().state(&id.into()) == Some(State::Failing)
}

#[tokio::test]
async fn probes_go_to_no_refused_address() {
    for with in ["http", "rtmp", "tcp"] {
        let settings = format!(
            "[health]\nprobe = \"always\"\nprobe_with = \"{with}\"\nprobe_interval = \"100ms\"\nfall = 1\n"
        );
        let house = House::open_knowing(&settings, &evil()).await;
        let origin = Stub::start(Manner::Grants).await;
        let port = origin.at.port();
        let endpoints = format!(r#""rtmp":["{port}"],"http":["{port}"]"#);
        house.register_at("one", "evil.test", &endpoints);
        until("the probe", || is_failing(&house, "one")).await;
        let notes = notes(&house, "one").await;
        assert!(notes.contains("every address it has is refused"), "{notes}");
        assert_eq!(origin.connections(), 0, "{with}");
    }
}

#[tokio::test]
async fn the_api_over_all_origins_sends_no_credentials_to_a_refused_address() {
    let settings = "[api]\nallow_from = [\"127.0.0.1\"]\n\
        [origins]\napi_credentials = [\"one=bearer:secret\"]\n";
    let house = House::open_knowing(settings, &evil()).await;
    let origin = HttpOrigin::start(vec![Script::Hold]).await;
    let port = origin.at.port();
    house.register_at("one", "evil.test", &format!(r#""api":["{port}"]"#));
    let (status, body) = get(house.at.api, "/api/v1/clients").await;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let why = document["missing"][0]["why"].as_str().unwrap_or_default();
    assert_eq!(status, 200, "{body}");
    assert!(why.contains("every address it has is refused"), "{body}");
    assert!(!body.contains(REFUSED), "no address is told: {body}");
    assert_eq!(origin.visits().len(), 0);
}

#[tokio::test]
async fn a_tap_asks_no_refused_address_for_decoder_headers() {
    let names = Names::default();
    names.lead("origin.test", &[PERMITTED]);
    let house = House::open_knowing("", &names).await;
    let origin = Stub::start(Manner::Streams(2000)).await;
    let port = origin.at.port();
    house.register_at("one", "origin.test", &format!(r#""rtmp":["{port}"]"#));
    let player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);
    let tap = || async {
        let row = house.proxy.sessions().list().first().map(|row| row.id);
        let (id, at) = (row.expect("a session"), house.at.system);
        let head = format!(
            "GET /api/v1/sessions/{id}/tap?seconds=1 HTTP/1.1\r\nHost: {at}\r\nX-Sluicegate: 1\r\n\
             Connection: close\r\n\r\n"
        );
        talk(at, &head).await.0
    };
    assert_eq!(tap().await, 200);
    assert_eq!(origin.connections(), 2, "the player's, and the tap's own");
    names.lead("origin.test", &[REFUSED]);
    assert_eq!(tap().await, 200);
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn a_search_for_a_stream_asks_names_that_lead_to_permitted_addresses() {
    let names = evil();
    names.lead("good.test", &[REFUSED, PERMITTED]);
    let house = House::open_knowing("[origins]\nask_streams = true\n", &names).await;
    let refuses = Manner::Refuses("NetStream.Play.StreamNotFound", "no such stream");
    let refuses = Stub::start(refuses).await;
    let has_it = Stub::start(Manner::Streams(2000)).await;
    let list = r#"{"code":0,"streams":[{"name":"a","app":"live","tcUrl":"rtmp://h/live","publish":{"active":true}}]}"#;
    let lists = Packager::start(move |_: &str, _: &str| Reply::ok("", list)).await;
    let trap = Packager::start(move |_: &str, _: &str| Reply::ok("", list)).await;
    // The more services an origin offers, the less it is the usual choice here.
    let rtmp = refuses.at.port();
    let endpoints = format!(r#""rtmp":["{rtmp}"],"api":["1"],"http":["1"]"#);
    house.register_with("usual", &endpoints);
    let (rtmp, api) = (has_it.at.port(), trap.at.port());
    let endpoints = format!(r#""rtmp":["127.0.0.1:{rtmp}"],"api":["{api}"]"#);
    house.register_at("evil", "evil.test", &endpoints);
    let player = house.ask(Action::Play, "live/a").await;
    assert_eq!(player.words(), "no such stream");
    assert_eq!(trap.connections(), 0);

    let endpoints = format!(r#""rtmp":["{rtmp}"],"api":["{}"]"#, lists.at.port());
    house.register_at("good", "good.test", &endpoints);
    let player = house.ask(Action::Play, "live/b").await;
    assert!(!player.has_started(), "nobody lists this one");
    assert_eq!(lists.connections(), 1);
    assert_eq!(trap.connections(), 0);
}

#[tokio::test]
async fn an_origin_that_owes_an_answer_is_asked_at_no_refused_address() {
    let settings = "[session]\ndial_timeout = \"300ms\"\n";
    let house = House::open_knowing(settings, &evil()).await;
    let rtmp = Stub::start(Manner::Grants).await;
    let http = HttpOrigin::start(vec![Script::Hold]).await;
    let (rtmp_port, http_port) = (rtmp.at.port(), http.at.port());
    let endpoints = format!(r#""rtmp":["evil.test:{rtmp_port}"],"http":["{http_port}"]"#);
    house.register_with("one", &endpoints);
    let _viewer = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    // A question that cannot be asked says nothing about the origin: the viewer waits on.
    until("the wait", || {
        let rows = house.proxy.sessions().list();
        rows.iter().any(|row| row.state() == SessionState::Waiting)
    })
    .await;
    assert_eq!(rtmp.connections(), 0);
}

#[tokio::test]
async fn no_protocol_is_dialled_at_a_refused_address() {
    for protocol in [
        "rtmp",
        "http_flv",
        "hls",
        "rtsp",
        "srt",
        "whip",
        "whip media",
        "redirect",
        "list",
    ] {
        let names = evil();
        let house = House::open_knowing("", &names).await;
        let stream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let datagrams = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let tcp = stream.local_addr().expect("bound").port();
        let udp = datagrams.local_addr().expect("bound").port();
        let endpoints = match protocol {
            "rtmp" | "redirect" | "list" => format!(r#""rtmp":["{tcp}"]"#),
            "rtsp" => format!(r#""rtsp":["{tcp}"]"#),
            "srt" => format!(r#""srt":["udp://:{udp}"]"#),
            "whip" => format!(r#""api":["{tcp}"],"rtc":["udp://127.0.0.1:{udp}"]"#),
            "whip media" => format!(r#""api":["127.0.0.1:{tcp}"],"rtc":["udp://:{udp}"]"#),
            _ => format!(r#""http":["{tcp}"]"#),
        };
        house.register_at("one", "evil.test", &endpoints);
        match protocol {
            "rtmp" => {
                let guest = house.ask(Action::Publish, "live/a").await;
                assert!(guest.words().ends_with("no origin answered; tried one"));
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
            "redirect" => {
                let sends = Stub::start(Manner::Redirects(format!("evil.test:{tcp}"))).await;
                let rtmp = sends.at.port();
                let other = format!(r#""rtmp":["{rtmp}"],"http":["1"]"#);
                house.register_with("sends", &other);
                let guest = house.ask(Action::Play, "live/a").await;
                assert!(!guest.has_started(), "{:?}", guest.status);
            }
            "list" => {
                let folder = tempfile::tempdir().expect("a folder");
                let file = folder.path().join("sluicegate.toml");
                let entry = format!("[[origin]]\nid = \"two\"\nip = \"evil.test\"\nrtmp = {tcp}\n");
                let listed = open_knowing(&file, &entry, &names).await;
                until("the list", || duty(&listed, "two").is_some()).await;
                let guest = listed.ask(Action::Publish, "live/a").await;
                assert!(guest.words().ends_with("no origin answered; tried two"));
            }
            _ => {
                let path = "/rtc/v1/whip/?app=live&stream=a";
                assert_refused(post(house.at.api, path, OFFER).await.0);
            }
        }
        let nobody = std::time::Duration::ZERO;
        let came = timeout(nobody, stream.accept()).await;
        assert!(came.is_err(), "{protocol}: a connection came");
        let mut packet = [0; 1500];
        assert!(datagrams.try_recv(&mut packet).is_err(), "{protocol}");
        let why = notes(&house, "one").await;
        assert!(
            protocol == "list" || why.contains("every address it has is refused"),
            "{protocol}: {why}"
        );
    }
}

#[tokio::test]
async fn an_srt_origin_is_asked_at_each_of_its_addresses() {
    let names = Names::default();
    // Nobody listens at the first.
    names.lead("origin.test", &["127.0.0.2", PERMITTED]);
    let house = House::open_knowing("", &names).await;
    let origin = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let port = origin.local_addr().expect("bound").port();
    house.register_at("one", "origin.test", &format!(r#""srt":["udp://:{port}"]"#));
    let mut packet = [0; 1500];
    let (answer, asked) = tokio::join!(
        call_srt(&house),
        timeout(PATIENCE, origin.recv(&mut packet))
    );
    let length = asked.expect("in time").expect("a packet");
    let asked = Handshake::parse(&packet[..length]).expect("a handshake");
    assert_eq!(asked.step, Step::Induction);
    assert_eq!(answer, Rejection::GATEWAY, "it said nothing");
}
