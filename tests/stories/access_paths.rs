//! A path may be that of several streams' files: nobody has the files of a stream that it may not have by the name of another.

use std::time::{SystemTime, UNIX_EPOCH};

use sluicegate_core::access::keys::line;
use sluicegate_core::access::signed::ours::{Terms, sign};
use sluicegate_core::stream::Action;
use tempfile::TempDir;

use crate::access_hooks::{Backend, Manners};
use crate::call;
use crate::house::{House, Manner, Stub, get, until_told};
use crate::http_pieces::{Packager, Reply};
use crate::sources::open;

/// A check of the key `k`.
fn key() -> String {
    let line = line("one", b"salt", "k");
    format!("[[check]]\nname = \"key\"\nkind = \"keys\"\nkeys = [\"{line}\"]\n")
}

/// A rule that asks for it.
fn guards(whom: &str) -> String {
    format!("[[access]]\naction = \"play\"\n{whom}\nall = [\"key\"]\n")
}

const OTHERS_MAY: &str = "[[access]]\ndecide = \"allow\"\n";

async fn with(lists: &str) -> (House, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(&folder.path().join("sluicegate.toml"), lists).await;
    (house, folder)
}

/// An origin that has everything: `/live/show.m3u8` lists a rendition, and other playlists a piece in their folder.
async fn packager(house: &House) -> Packager {
    Packager::join(house, "one", has_everything).await
}

fn has_everything(target: &str, _: &str) -> Reply {
    let path = target.split('?').next().unwrap_or_default();
    let playlist = "Content-Type: application/vnd.apple.mpegurl\r\n";
    match path {
        "/live/show.m3u8" => Reply::ok(
            playlist,
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nshow_hd.m3u8\n",
        ),
        _ if path.ends_with(".m3u8") => Reply::ok(
            playlist,
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\ndata_0_001.ts\n",
        ),
        _ => Reply::ok("", "media"),
    }
}

async fn status(house: &House, target: &str) -> u16 {
    get(house.at.http, target).await.0
}

/// The first URI of a playlist, as a client asks for it.
fn listed(folder: &str, playlist: &str) -> String {
    let uri = playlist.lines().find(|line| !line.starts_with('#'));
    let uri = uri.expect("a URI");
    match uri.starts_with('/') {
        true => uri.to_owned(),
        false => format!("{folder}{uri}"),
    }
}

/// Files that may be those of `live/secret`.
const SECRETS: [&str; 25] = [
    "/live/secret.m3u8",
    "/live/secret.mpd",
    "/live/secret.ts",
    "/live/secret-1.ts",
    "/live/secret/index.m3u8",
    "/live/secret/master.m3u8",
    "/live/secret/index.mpd",
    "/live/secret/stream_0.m3u8",
    "/live/secret/media_0.m3u8",
    "/live/secret/data_0_001.ts",
    "/live/secret/media_w1_1.ts",
    "/live/secret/0.ts",
    "/live/secret/seg1.ts",
    "/live/secret/index1.ts",
    "/live/secret/1.aac",
    "/live/secret/a.mp3",
    "/live/secret/1.flv",
    "/live/secret/x.m4s",
    "/live/secret/720p/1.ts",
    "/live/secret/a/b/c/d/e/f/x.m4s",
    "/live//%73ecret/x.m4s",
    "/live/secret0.ts",
    "/live/secret1.aac",
    "/live/secret_hd.m3u8",
    "/live/secret_hd/x.m4s",
];

#[tokio::test]
async fn a_rule_about_a_stream_is_about_every_file_that_may_be_its() {
    let rule = key() + &guards("stream = \"secret\"");
    let by_app = key() + &guards("app = \"live\"");
    for (cause, lists) in [
        ("one rule", rule.clone()),
        ("others may", rule + OTHERS_MAY),
        ("by its app", by_app.clone()),
        ("by its app, others may", by_app + OTHERS_MAY),
    ] {
        let (house, _folder) = with(&lists).await;
        let origin = packager(&house).await;
        for target in SECRETS {
            assert_eq!(status(&house, target).await, 401, "{cause}: {target}");
        }
        assert_eq!(origin.targets(), Vec::<String>::new(), "{cause}");
        assert_eq!(status(&house, "/live/secret/index.m3u8?key=k").await, 200);
        for target in ["/live/secret/x.m4s", "/live/secret/seg1.ts"] {
            assert_eq!(status(&house, target).await, 401, "placed, {cause}");
        }
        for target in [
            "/live/secret/x.m4s",
            "/live/secret/0.ts",
            "/live/secret/a/b/c/d/e/f/x.m4s",
            "/live/secret/stream_0.m3u8",
        ] {
            let target = format!("{target}?key=k");
            assert_eq!(status(&house, &target).await, 200, "{cause}: {target}");
        }
    }
}

#[tokio::test]
async fn a_rule_about_a_stream_is_about_no_other() {
    let (house, _folder) = with(&(key() + &guards("stream = \"secret\"") + OTHERS_MAY)).await;
    let _origin = packager(&house).await;
    for target in [
        "/live/free.m3u8",
        "/live/free/index.m3u8",
        "/live/free/0.ts",
        "/live/free-1.ts",
        "/live/secretive.m3u8",
        "/live/secret1.m3u8",
        "/live/secret-1.m3u8",
        "/live/secret_of_a_life.m3u8",
        "/other/secrets/x.m4s",
    ] {
        assert_eq!(status(&house, target).await, 200, "{target}");
    }
}

#[tokio::test]
async fn what_explains_access_to_an_address_knows_whose_files_are_there() {
    let (house, _folder) = with(&(key() + &guards("stream = \"secret\"") + OTHERS_MAY)).await;
    let _origin = packager(&house).await;
    for (path, shown, may) in [
        ("live/secret/index.m3u8", "", false),
        ("live/secret/stream_0.m3u8", "", false),
        ("live/secret/seg1.ts", "", false),
        ("live/secret_hd.m3u8", "", false),
        ("live/secret/stream_0.m3u8", "%20cookie=key=k", true),
        ("live/free/stream_0.m3u8", "", true),
    ] {
        let target =
            format!("/api/v1/explain?stream=http://h/{path}&as=play%20from%20192.0.2.1{shown}");
        let (status, body) = get(house.at.system, &target).await;
        assert_eq!(status, 200, "{body}");
        let said: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(said["data"]["access"]["may"], may, "{path}: {body}");
    }
}

#[tokio::test]
async fn the_rule_of_a_rendition_decides_about_its_playlist() {
    let (house, _folder) = with(&(key() + &guards("stream = \"show_hd\"") + OTHERS_MAY)).await;
    let _origin = packager(&house).await;
    for target in [
        "/live/show_hd.m3u8",
        "/live/show_hd.mpd",
        "/live/show_hd/index.m3u8",
    ] {
        assert_eq!(status(&house, target).await, 401, "{target}");
        assert_eq!(status(&house, &format!("{target}?key=k")).await, 200);
    }
    let (_, master) = get(house.at.http, "/live/show.m3u8").await;
    let rendition = listed("/live/", &master);
    assert_eq!(
        status(&house, &rendition).await,
        200,
        "it is listed: {rendition}"
    );
    let (_, link) = rendition.split_once("spbhid=").expect("a link");
    let bare = link.split('.').next().expect("a link");
    for target in [
        "show_hd.m3u8",
        "show_low_hd.m3u8",
        "show_hd/x.m4s",
        "show_hd-1.ts",
    ] {
        let guarded = target.starts_with("show_hd");
        let target = format!("/live/{target}?spbhid={bare}");
        let expected = if guarded { 401 } else { 200 };
        assert_eq!(status(&house, &target).await, expected, "{target}");
    }
}

#[tokio::test]
async fn who_may_have_a_stream_by_its_name_may_have_its_playlist() {
    let by_name = "[[access]]\nstream = \"secret_hd\"\ndecide = \"allow\"\n";
    let lists = key() + by_name + &guards("stream = \"secret\"");
    let (house, _folder) = with(&lists).await;
    let _origin = packager(&house).await;
    assert_eq!(status(&house, "/live/secret_hd.m3u8").await, 200);
    assert_eq!(status(&house, "/live/secret_low.m3u8").await, 401);
    assert_eq!(status(&house, "/live/secret/secret_hd.m3u8").await, 401);

    let folder = "[[access]]\napp = \"live\"\nstream = \"free\"\ndecide = \"allow\"\n";
    let (house, _folder) = with(&(key() + folder + &guards("app = \"live\""))).await;
    let _origin = packager(&house).await;
    assert_eq!(status(&house, "/live/free/a.m3u8").await, 200);
    assert_eq!(status(&house, "/live/other/a.m3u8").await, 401);
}

#[tokio::test]
async fn a_viewer_goes_on_from_any_playlist_in_the_folder_of_a_stream() {
    let limit = "[[limit]]\nper = \"stream\"\nstream = \"secret\"\nviewers = 1\n";
    let (house, _folder) = with(&(key() + &guards("stream = \"secret\"") + limit)).await;
    let _origin = packager(&house).await;
    let begin = "/live/secret/stream_0.m3u8?key=k";
    let (status_of_master, master) = get(house.at.http, begin).await;
    assert_eq!(status_of_master, 200, "{master}");
    let variant = listed("/live/secret/", &master);
    let (status_of_media, media) = get(house.at.http, &variant).await;
    assert_eq!(status_of_media, 200, "{variant}: {media}");
    let piece = listed("/live/secret/", &media);
    assert_eq!(status(&house, &piece).await, 200, "{piece}");
    assert_eq!(house.origin_of("live/secret").as_deref(), Some("one"));
    assert_eq!(house.origin_of("live/secret/stream_0"), None);
    assert_eq!(status(&house, begin).await, 429, "it is counted");
}

/// The parameters that open a stream for a player.
fn signed(stream: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let stream = format!("__defaultVhost__/{stream}").parse();
    let terms = Terms {
        action: Action::Play,
        stream: &stream.expect("a stream"),
        end: now.expect("after 1970").as_secs() + 3600,
        viewer: None,
        address: None,
    };
    sign(&terms, "a-secret-of-the-operator")
}

#[tokio::test]
async fn a_signature_is_for_its_stream_over_every_protocol() {
    let lists = "[[check]]\nname = \"links\"\nkind = \"signed\"\nsecrets = [\"a-secret-of-the-operator\"]\n\
                 [[access]]\naction = \"play\"\nall = [\"links\"]\n";
    let (house, _folder) = with(lists).await;
    let _origin = packager(&house).await;
    let rows = [
        ("live/show", "/live/show.m3u8", 200),
        ("live/show", "/live/show/index.m3u8", 200),
        ("live/show", "/live/show/stream_0.m3u8", 200),
        ("live/show", "/live/show-1.ts", 200),
        ("live/show", "/live/show/1.ts", 200),
        ("live/show", "/live/show_hd.m3u8", 401),
        ("live/show", "/live/show_1080p.m3u8", 401),
        ("live/show", "/live/show_hd.mpd", 401),
        ("live/show", "/live/show_hd/index.m3u8", 401),
        ("live/show", "/live/other/index.m3u8", 401),
        ("live/show_hd", "/live/show_hd.m3u8", 200),
        ("live/show_hd", "/live/show_hd/index.m3u8", 200),
        ("live/show_hd", "/live/show.m3u8", 401),
        ("live/stream", "/live/stream.m3u8", 200),
        ("live/stream", "/live/stream1.m3u8", 401),
        ("live/stream", "/live/stream2.mpd", 401),
        ("live/stream1", "/live/stream1.m3u8", 200),
        ("studio/live/a", "/studio/live/a.m3u8", 200),
        ("studio/live/a", "/studio/live/b.m3u8", 401),
    ];
    for (of, target, expected) in rows {
        let signed = signed(of);
        let (status, body) = get(house.at.http, &format!("{target}?{signed}")).await;
        assert_eq!(status, expected, "{target} by that of {of}: {body}");
    }
    // Whatever is placed: what a viewer's links open is the stream that it may have.
    assert_eq!(house.origin_of("live/show").as_deref(), Some("one"));
    let target = format!("/live/show_low.m3u8?{}", signed("live/show_low"));
    let (_, master) = get(house.at.http, &target).await;
    let (_, link) = master.split_once("spbhid=").expect("a link");
    let link = link.lines().next().expect("a link");
    let bare = link.split('.').next().expect("a link");
    for target in ["show.m3u8", "show/x.m4s", "other.m3u8"] {
        for link in [link, bare] {
            let target = format!("/live/{target}?spbhid={link}");
            assert_eq!(status(&house, &target).await, 401, "{target}");
        }
    }
    // From its first playlist on, a viewer has no more to show.
    let (_, master) = get(
        house.at.http,
        &format!("/live/show.m3u8?{}", signed("live/show")),
    )
    .await;
    let rendition = listed("/live/", &master);
    let (status_of_media, media) = get(house.at.http, &rendition).await;
    assert_eq!(status_of_media, 200, "{rendition}: {media}");
    assert_eq!(status(&house, &listed("/live/", &media)).await, 200);
}

/// A link that lets nobody in by itself becomes no better one by what else may be had.
#[tokio::test]
async fn a_link_to_a_piece_begins_no_viewing_by_another_stream() {
    let (house, _folder) = with(&(key() + &guards("stream = \"secret\"") + OTHERS_MAY)).await;
    let _origin = packager(&house).await;
    let (_, master) = get(house.at.http, "/live/secret.m3u8?key=k").await;
    let (_, media) = get(house.at.http, &listed("/live/", &master)).await;
    let (_, link) = media.split_once("spbhid=").expect("a link");
    let link = link.trim().split('.').next().expect("a link");
    let target = format!("/live/free.m3u8?spbhid={link}");
    let (status_of_free, master) = get(house.at.http, &target).await;
    assert_eq!(status_of_free, 200, "{master}");
    let (_, link) = master.split_once("spbhid=").expect("a link");
    let link = link.trim().split('.').next().expect("a link");
    for target in ["secret.m3u8", "secret-1.ts", "secret/x.m4s"] {
        let target = format!("/live/{target}?spbhid={link}");
        assert_eq!(status(&house, &target).await, 401, "{target}");
    }
}

#[tokio::test]
async fn a_backend_is_asked_about_the_stream_that_a_path_names() {
    let backend = Backend::start(Manners::answers(200, "{\"code\":0}")).await;
    let lists = format!(
        "[[check]]\nname = \"backend\"\nkind = \"hook\"\nshape = \"srs\"\non_play = \"http://{0}/play\"\non_stop = \"http://{0}/stop\"\n\
         [[access]]\naction = \"play\"\nall = [\"backend\"]\n",
        backend.at
    );
    let (house, _folder) = with(&lists).await;
    let _origin = packager(&house).await;
    for (target, expected) in [
        ("/live/cam_720p.m3u8", vec!["live/cam_720p"]),
        ("/live/a/index.m3u8", vec!["live/a"]),
        ("/live/b/x.m4s", vec!["live/b/x"]),
        // By now this stream is known to be there.
        ("/live/a/x.m4s", vec!["live/a", "live/a/x"]),
    ] {
        let before = backend.told("/play").len();
        assert_eq!(status(&house, target).await, 200, "{target}");
        let mut asked: Vec<String> = backend.told("/play")[before..]
            .iter()
            .map(|asked| {
                let part = |name: &str| asked[name].as_str().expect("text").to_owned();
                format!("{}/{}", part("app"), part("stream"))
            })
            .collect();
        asked.sort();
        assert_eq!(asked, expected, "{target}");
    }
}

#[tokio::test]
async fn a_ban_of_a_stream_is_one_of_every_file_that_may_be_its() {
    let house = House::open("").await;
    let packager = Packager::start(has_everything).await;
    let media = Stub::start(Manner::Grants).await;
    let ports = (media.at.port(), packager.at.port());
    house.register_with(
        "one",
        &format!(r#""rtmp":["{}"],"http":["{}"]"#, ports.0, ports.1),
    );
    let ban = async |stream: &str| {
        let target = format!("/api/v1/bans?target=stream:live/{stream}&for=1h");
        assert_eq!(call::ask(house.at.system, "POST", &target, "").await.0, 200);
    };
    ban("secret").await;
    ban("stream").await;
    for target in SECRETS {
        assert_eq!(status(&house, target).await, 403, "{target}");
    }
    for target in ["/live/stream1.m3u8", "/live/stream2.mpd", "/live/free/0.ts"] {
        assert_eq!(status(&house, target).await, 200, "{target}");
    }
    let publisher = house.ask(Action::Publish, "live/secret_hd").await;
    assert!(publisher.has_started());
    let is_served = async || status(&house, "/live/secret_hd.m3u8").await == 200;
    until_told("it is a stream of its own", is_served).await;
}

#[tokio::test]
async fn a_piece_without_a_link_is_asked_of_the_origin_of_its_folder() {
    let house = House::open("").await;
    let one = packager(&house).await;
    assert_eq!(status(&house, "/live/x/index.m3u8").await, 200);
    let none = |_: &str, _: &str| Reply::missing();
    let mut others = Vec::new();
    for id in ["two", "three", "four"] {
        others.push(Packager::join(&house, id, none).await);
    }
    for number in 0..10 {
        for name in ["", "seg", "index", "720p/"] {
            for ending in ["ts", "aac"] {
                let target = format!("/live/x/{name}{number}.{ending}");
                assert_eq!(status(&house, &target).await, 200, "{target}");
                assert_eq!(one.count(&target), 1, "{target}");
            }
        }
    }
    let placed = house.proxy.registry().placements();
    let placed: Vec<&str> = placed.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(placed, ["__defaultVhost__/live/x"], "no claim is left over");
}
