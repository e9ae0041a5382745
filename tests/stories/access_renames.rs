//! A backend that knows a stream by another name than its client: the stream goes by that name from there on, and what
//! denies or counts either name holds.

use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::stream::Action;
use tempfile::TempDir;

use crate::access_hooks::{Backend, Manners, asking};
use crate::dialects::{SrtStub, call_srt};
use crate::held;
use crate::house::{House, Manner, Stub, get, talk, until_told};
use crate::http_origin::{HttpOrigin, STREAM, Step as Script, Viewer, say};
use crate::http_pieces::{Packager, Reply};
use crate::moves;
use crate::rtsp_house::{self, Caller, frame, grants};
use crate::sources::open;

/// A proxy whose rules begin with `first`, and end with a backend that calls every stream `stream`.
async fn renaming(stream: &str, first: &str) -> (House, Backend, TempDir) {
    let yes = format!(r#"{{"allow":true,"stream":"{stream}"}}"#);
    let backend = Backend::start(Manners::answers(200, &yes)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let at = backend.at;
    let lists = format!(
        "[[check]]\nname = \"backend\"\nkind = \"hook\"\nshape = \"sluicegate\"\n\
         on_publish = \"http://{at}/publish\"\non_play = \"http://{at}/play\"\n{first}\n[[access]]\nall = [\"backend\"]\n"
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    (house, backend, folder)
}

#[tokio::test]
async fn nginx_rtmp_publishes_a_key_under_the_name_of_its_stream() {
    let backend = Backend::start(Manners::Leads("cam1")).await;
    let told = format!("on_unpublish = \"http://{}/done\"", backend.at);
    let (house, origin, _folder) = asking(&backend, "nginx-rtmp", &told).await;
    let publisher = house.ask(Action::Publish, "live/secret-key?x=1").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    let request = origin.request();
    assert_eq!(request.name, "cam1?x=1", "what its origin is asked");
    let app = request.connect.object.field("app").and_then(Value::as_str);
    assert_eq!(app, Some("live"));
    let row = house.proxy.sessions().list().pop().expect("a session");
    assert_eq!(row.request.stream.path(), "live/cam1");
    backend.becomes(Manners::answers(204, ""));
    let player = house.ask(Action::Play, "live/cam1").await;
    assert!(player.has_started(), "{}", player.code());
    drop(publisher);
    let told = || {
        backend
            .asked()
            .into_iter()
            .find(|(path, _)| path == "/done")
    };
    crate::house::until("the end is told", || told().is_some()).await;
    let (_, form) = told().expect("it was told");
    assert!(form.contains("call=publish_done&name=cam1"), "{form}");
}

#[tokio::test]
async fn what_denies_or_counts_either_name_holds() {
    let first = "[[access]]\nstream = \"closed\"\ndecide = \"deny\"\n\
        [[limit]]\nper = \"stream\"\napp = \"studio\"\nviewers = 2\n\
        [[limit]]\nper = \"stream\"\napp = \"live\"\nviewers = 1\n";
    let (house, backend, _folder) = renaming("studio/b", first).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let one = house.ask(Action::Play, "live/x").await;
    assert!(one.has_started(), "{}", one.code());
    let two = house.ask(Action::Play, "live/x").await;
    assert!(two.words().contains("too many viewers"), "{}", two.words());
    let three = house.ask(Action::Play, "live/y").await;
    assert!(three.has_started(), "{}", three.words());
    let four = house.ask(Action::Play, "live/z").await;
    assert!(
        four.words().contains("too many viewers"),
        "{}",
        four.words()
    );
    let own = four.words().contains("live/z") && !four.words().contains("studio");
    assert!(own, "in its own words: {}", four.words());
    drop(three);
    house.until_sessions(1).await;

    let body = r#"{"allow":true,"stream":"studio/closed"}"#;
    backend.becomes(Manners::answers(200, body));
    let denied = house.ask(Action::Play, "live/v").await;
    assert_eq!(denied.code(), "NetStream.Play.Failed");
    assert!(!denied.words().contains("closed"), "{}", denied.words());
    let (status, _) = post(&house, "/api/v1/bans?target=stream:live/x&for=1h").await;
    assert_eq!(status, 200);
    house.until_sessions(0).await;
    let banned = house.ask(Action::Publish, "live/x").await;
    assert_eq!(banned.code(), "NetStream.Publish.Denied");
    let (status, _) = post(&house, "/api/v1/bans?target=stream:studio/b&for=1h").await;
    assert_eq!(status, 200);
    let body = r#"{"allow":true,"stream":"studio/b"}"#;
    backend.becomes(Manners::answers(200, body));
    let banned = house.ask(Action::Publish, "live/w").await;
    assert_eq!(banned.code(), "NetStream.Publish.Denied", "by its new name");
}

#[tokio::test]
async fn a_publisher_that_is_moved_keeps_the_new_name() {
    let (house, _backend, _folder) = renaming("studio/b", "").await;
    let [one, two] = [
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    ];
    house.register("one", one.at);
    let mut publisher = held::publishing(&house, &one).await;
    house.register("two", two.at);
    let moving = moves::ask(&house, "stream=studio/b&to=two");
    let sending = moves::send_until_at(&mut publisher, &two);
    let ((status, document), _) = tokio::join!(moving, sending);
    assert_eq!(status, 200, "{document}");
    for origin in [&one, &two] {
        let request = origin.request();
        let app = request.connect.object.field("app").and_then(Value::as_str);
        assert_eq!((app, &*request.name), (Some("studio"), "b"));
    }
}

async fn post(house: &House, path: &str) -> (u16, String) {
    let at = house.at.system;
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    talk(at, &request).await
}

fn live(target: &str, _: &str) -> Reply {
    match target.split('?').next().unwrap_or_default() {
        "/studio/b.m3u8" => Reply::ok(
            "Content-Type: application/vnd.apple.mpegurl\r\nCache-Control: max-age=60\r\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nb-1.ts\n",
        ),
        "/studio/b-1.ts" => Reply::ok("Cache-Control: max-age=60\r\n", "piece"),
        _ => Reply::missing(),
    }
}

/// The first URI of a playlist, as a player takes it that got the playlist from `target`.
fn listed(target: &str, playlist: &str) -> String {
    let line = playlist.lines().find(|line| !line.starts_with('#'));
    let line = line.expect("a URI");
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    let (folder, _) = path.rsplit_once('/').expect("a path");
    match line.starts_with('/') {
        true => line.to_owned(),
        false => format!("{folder}/{line}"),
    }
}

#[tokio::test]
async fn every_protocol_goes_by_the_new_name() {
    let (house, _backend, _folder) = renaming("studio/b", "").await;
    let http = HttpOrigin::join(&house, "one", vec![say(STREAM), say("FLV"), Script::Hold]).await;
    let ask = "GET /live/a.flv?x=1 HTTP/1.1\r\nHost: h.example\r\n\r\n";
    let viewer = Viewer::send(house.at.http, ask.to_owned()).await;
    let visit = http.visit(0).await;
    assert_eq!(visit.request_line(), "GET /studio/b.flv?x=1 HTTP/1.1");
    drop((viewer, http));

    let (house, _backend, _folder) = renaming("studio/b", "").await;
    let packager = Packager::join(&house, "one", live).await;
    let (status, master) = get(house.at.http, "/live/a.m3u8").await;
    assert_eq!(status, 200, "{master}");
    let variant = listed("/live/a.m3u8", &master);
    let (status, media) = get(house.at.http, &variant).await;
    assert_eq!((status, media.contains("#EXTINF")), (200, true), "{media}");
    let (status, piece) = get(house.at.http, &listed(&variant, &media)).await;
    assert_eq!(
        (status, piece.as_str()),
        (200, "piece"),
        "{:?}",
        packager.targets()
    );

    let (house, _backend, _folder) = renaming("studio/b", "").await;
    let origin = SrtStub::start(|_| true).await;
    house.register_with("one", &format!(r#""srt":["{}"]"#, origin.port));
    assert_eq!(call_srt(&house, "#!::r=live/a,m=publish").await, Ok(()));
    assert!(origin.ids()[0].contains("r=studio/b"), "{:?}", origin.ids());

    let (house, _backend, _folder) = renaming("studio/b", "").await;
    let origin = rtsp_house::Stub::start(|at| grants(at, frame(0, &[1; 100]))).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let described = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(described.status(), Some(200), "{described:?}");
    let told = origin.requests().join("\n");
    assert!(
        told.contains("DESCRIBE rtsp://media.example/studio/b "),
        "{told}"
    );
}

#[tokio::test]
async fn a_viewing_is_judged_again_and_banned_by_the_name_that_its_viewer_knows() {
    let first = "[[access]]\napp = \"live\"\nall = [\"backend\"]\nrecheck = 5\n\
        [[access]]\napp = \"studio\"\ndecide = \"allow\"\n";
    let (house, backend, _folder) = renaming("studio/b", first).await;
    let _packager = Packager::join(&house, "one", live).await;
    let watch = async || {
        let (status, master) = get(house.at.http, "/live/a.m3u8").await;
        assert_eq!(status, 200, "{master}");
        listed("/live/a.m3u8", &master)
    };
    let variant = watch().await;
    until_told("it is judged again", async || {
        let (status, media) = get(house.at.http, &variant).await;
        assert_eq!(status, 200, "it goes on: {media}");
        backend.asked().len() >= 2
    })
    .await;
    let asked = backend.told("/play");
    let by_name = |asked: &serde_json::Value| (asked["app"].clone(), asked["stream"].clone());
    assert_eq!(by_name(&asked[1]), ("live".into(), "a".into()), "{asked:?}");
    backend.becomes(Manners::answers(200, r#"{"allow":false}"#));
    let over = async || get(house.at.http, &variant).await.0 == 403;
    until_told("its backend says no", over).await;

    backend.becomes(Manners::answers(
        200,
        r#"{"allow":true,"stream":"studio/b"}"#,
    ));
    // The no is remembered for a moment.
    until_told("it may again", async || {
        get(house.at.http, "/live/a.m3u8").await.0 == 200
    })
    .await;
    let variant = watch().await;
    let (_, media) = get(house.at.http, &variant).await;
    let piece = listed(&variant, &media);
    assert_eq!(get(house.at.http, &piece).await.0, 200);
    let (status, _) = post(&house, "/api/v1/bans?target=stream:live/a&for=1h").await;
    assert_eq!(status, 200);
    for link in [&variant, &piece] {
        assert_eq!(get(house.at.http, link).await.0, 403, "{link}");
    }
}
