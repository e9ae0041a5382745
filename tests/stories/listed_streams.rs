//! What a stream's playlists and manifests name is asked of that stream's origin, also where it is named like a stream of its
//! own, and where what names it is not a playlist.

use sluicegate_core::access::keys::line;
use tempfile::TempDir;

use crate::house::{House, get};
use crate::http_pieces::{Packager, Reply};
use crate::led::{join, sent_to};
use crate::sources::open;

/// A proxy that lets in who shows `key=secret`.
async fn guarded() -> (House, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = line("one", b"salt", "secret");
    let lists = format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{key}\"]\n[[access]]\nall = [\"keys\"]\n"
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    (house, folder)
}

const MASTER: &str = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhd.m3u8\n";

/// The first URI of a playlist in `/live/`, as a client asks for it.
fn listed(playlist: &str) -> String {
    let mut lines = playlist.lines();
    let uri = lines.find(|line| !line.starts_with('#'));
    format!("/live/{}", uri.expect("a URI"))
}

/// The text between two marks.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).expect("the first mark");
    rest.split_once(after).expect("the second mark").0
}

/// The path of a URI that names us in full.
fn path(uri: &str) -> &str {
    let (_, rest) = uri.split_once("://").expect("in full");
    &rest[rest.find('/').expect("a path")..]
}

/// A stream that its origin makes of another: a transcoder.
fn made_by_itself(target: &str, _: &str) -> Reply {
    match target.split('?').next().unwrap_or_default() {
        "/live/a.m3u8" => Reply::ok("", MASTER),
        "/live/hd.m3u8" => Reply::ok(
            "",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhd-1.ts\n",
        ),
        "/live/hd-1.ts" | "/live/secret.m3u8" | "/live/secret-1.ts" => Reply::ok("", "media"),
        _ => Reply::missing(),
    }
}

#[tokio::test]
async fn a_viewer_of_a_stream_is_a_viewer_of_what_its_playlist_lists() {
    let (house, _folder) = guarded().await;
    let origin = Packager::join(&house, "one", made_by_itself).await;
    let (status, master) = get(house.at.http, "/live/a.m3u8?key=secret").await;
    assert_eq!(status, 200, "{master}");
    let other = Packager::join(&house, "other", |_: &str, _: &str| Reply::missing()).await;
    let variant = listed(&master);
    let (status, media) = get(house.at.http, &variant).await;
    assert_eq!(status, 200, "{variant}: {media}");
    let piece = listed(&media);
    let (status, body) = get(house.at.http, &piece).await;
    assert_eq!((status, body.as_str()), (200, "media"), "{piece}");
    assert_eq!(other.targets(), Vec::<String>::new());

    let asked = origin.targets();
    for (listed, others) in [
        (&variant, ["/live/secret.m3u8", "/live/hd-1.ts"]),
        (&piece, ["/live/secret-1.ts", "/live/hd.m3u8"]),
    ] {
        let (_, link) = listed.split_once("spbhid=").expect("a link");
        for other in others {
            let status = get(house.at.http, &format!("{other}?spbhid={link}"))
                .await
                .0;
            assert_eq!(status, 401, "{other} by what listed {listed}");
        }
        let (bare, _) = link.split_once('.').expect("a stamp");
        let (path, _) = listed.split_once('?').expect("a query");
        let status = get(house.at.http, &format!("{path}?spbhid={bare}")).await.0;
        assert_eq!(status, 401, "{path} without its stamp");
    }
    assert_eq!(origin.targets(), asked);
}

#[tokio::test]
async fn who_was_let_in_is_let_in_where_its_origin_sends_it() {
    let (house, _folder) = guarded().await;
    let origin = join(&house, "one", |target: &str, own: &str| {
        let to = |place: String| Reply::with("302 Found", &format!("Location: {place}\r\n"), "");
        match target {
            "/live/a.m3u8?key=secret" => to(format!("http://{own}/made/7/index.m3u8")),
            "/made/7/index.m3u8" => {
                Reply::ok("", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n1.ts\n")
            }
            "/made/7/1.ts" => to("/cache/x-1.ts".to_owned()),
            "/cache/x-1.ts" => Reply::ok("", "media"),
            _ => Reply::missing(),
        }
    })
    .await;
    let place = sent_to(&house, "/live/a.m3u8?key=secret").await;
    let (status, playlist) = get(house.at.http, &place).await;
    assert_eq!(status, 200, "{place}: {playlist}");
    let piece = playlist.lines().last().expect("a piece");
    let piece = sent_to(&house, &format!("/made/7/{piece}")).await;
    let (status, body) = get(house.at.http, &piece).await;
    assert_eq!((status, body.as_str()), (200, "media"), "{piece}");

    // Nobody else may follow, and with the same link nobody gets anything else.
    for bare in ["/made/7/index.m3u8", "/cache/x-1.ts"] {
        assert_eq!(get(house.at.http, bare).await.0, 401, "{bare}");
    }
    let (_, link) = piece.split_once("spbhid=").expect("a link");
    let asked = origin.targets();
    for other in ["/cache/x-2.ts", "/live/b.m3u8", "/made/7/index.m3u8"] {
        let status = get(house.at.http, &format!("{other}?spbhid={link}"))
            .await
            .0;
        assert_eq!(status, 401, "{other}");
    }
    assert_eq!(origin.targets(), asked);
}

/// An encoder that publishes each rendition under a name of its own, and a list of them beside one of these.
#[tokio::test]
async fn a_listed_stream_that_is_placed_by_itself_is_found_there() {
    let house = House::open("").await;
    let two = Packager::join(&house, "two", made_by_itself).await;
    assert_eq!(get(house.at.http, "/live/hd.m3u8").await.0, 200);
    assert_eq!(house.origin_of("live/hd").as_deref(), Some("two"));
    let one = Packager::join(&house, "one", |target: &str, _: &str| {
        match target.starts_with("/live/list") {
            true => Reply::ok("", MASTER),
            false => Reply::missing(),
        }
    })
    .await;
    let mut number = 0;
    let master = loop {
        let (status, master) = get(house.at.http, &format!("/live/list{number}.m3u8")).await;
        if status == 200 {
            break master;
        }
        number += 1;
    };
    let asked = two.count("/live/hd.m3u8");
    let (status, media) = get(house.at.http, &listed(&master)).await;
    assert_eq!(status, 200, "{media}");
    assert_eq!(one.count("/live/hd.m3u8"), 1, "its own origin comes first");
    assert_eq!(two.count("/live/hd.m3u8"), asked + 1);
    let (status, body) = get(house.at.http, &listed(&media)).await;
    assert_eq!((status, body.as_str()), (200, "media"));
    let list = format!("live/list{number}");
    assert_eq!(house.origin_of(&list).as_deref(), Some("one"), "it stays");
}

/// A packager on a machine of its own, which the playlist of the stream names in full.
#[tokio::test]
async fn another_origin_that_a_playlist_names_is_asked_for_what_is_there() {
    for is_guarded in [false, true] {
        let (house, _folder) = match is_guarded {
            true => guarded().await,
            false => (
                House::open("").await,
                tempfile::tempdir().expect("a folder"),
            ),
        };
        let packager = Packager::start(|target: &str, _: &str| match target {
            "/made/hd.m3u8" => Reply::ok(
                "",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhd-1.ts\n",
            ),
            "/made/hd-1.ts" => Reply::ok("", "media"),
            _ => Reply::missing(),
        })
        .await;
        let place = packager.at;
        let one = Packager::join(&house, "one", move |target: &str, _: &str| {
            match target.starts_with("/live/a.m3u8") {
                true => {
                    let variant = format!("http://{place}/made/hd.m3u8");
                    Reply::ok("", MASTER.replace("hd.m3u8", &variant))
                }
                false => Reply::missing(),
            }
        })
        .await;
        let at = house.at.http;
        assert_eq!(get(at, "/live/a.m3u8?key=secret").await.0, 200);
        crate::http_origin::register(&house, "packager", place);
        let (_, master) = get(at, "/live/a.m3u8?key=secret").await;
        let variant = master.lines().last().expect("a variant");
        assert!(variant.starts_with("/made/hd.m3u8?spbhid="), "{master}");
        let (status, media) = get(at, variant).await;
        assert_eq!(status, 200, "{variant}: {media}");
        let piece = media.lines().last().expect("a piece");
        let (status, body) = get(at, &format!("/made/{piece}")).await;
        assert_eq!((status, body.as_str()), (200, "media"), "{piece}");
        assert_eq!(one.count("/made/hd-1.ts"), 0, "it is asked there only");
    }
}

#[tokio::test]
async fn what_is_played_in_between_belongs_to_the_viewing() {
    let (house, _folder) = guarded().await;
    let _origin = join(&house, "one", |target: &str, own: &str| {
        match target.split('?').next().unwrap_or_default() {
            "/live/a.m3u8" => Reply::ok("", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na/v.m3u8\n"),
            "/live/a/v.m3u8" => Reply::ok(
                "",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-DATERANGE:ID=\"1\",X-ASSET-URI=\"/ad/1.m3u8\"\n\
                 #EXT-X-DATERANGE:ID=\"2\",X-ASSET-LIST=\"/ad/list\"\n#EXTINF:4,\nv-1.ts\n",
            ),
            "/ad/list" => Reply::ok(
                "Content-Type: application/json\r\n",
                format!("{{\"ASSETS\":[{{\"URI\":\"http://{own}/ad/2.m3u8\",\"DURATION\":4}}]}}"),
            ),
            "/ad/1.m3u8" | "/ad/2.m3u8" => Reply::ok(
                "",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n/ad/x.ts\n#EXT-X-ENDLIST\n",
            ),
            "/ad/x.ts" => Reply::ok("", "media"),
            _ => Reply::missing(),
        }
    })
    .await;
    let at = house.at.http;
    let (_, master) = get(at, "/live/a.m3u8?key=secret").await;
    let (status, playlist) = get(at, &listed(&master)).await;
    assert_eq!(status, 200, "{playlist}");
    let (status, assets) = get(at, path(between(&playlist, "X-ASSET-LIST=\"", "\""))).await;
    assert_eq!(status, 200, "{assets}");
    let one = path(between(&playlist, "X-ASSET-URI=\"", "\""));
    for asset in [one, path(between(&assets, "\"URI\":\"", "\""))] {
        let (status, playlist) = get(at, asset).await;
        assert_eq!(status, 200, "{asset}: {playlist}");
        let piece = playlist.lines().find(|line| !line.starts_with('#'));
        let (status, body) = get(at, piece.expect("a piece")).await;
        assert_eq!((status, body.as_str()), (200, "media"), "{asset}");
    }
}

/// A player that asks for its manifest where that says, has only that address.
#[tokio::test]
async fn a_manifest_at_its_new_address_belongs_to_the_viewing() {
    let (house, _folder) = guarded().await;
    let _origin = join(&house, "one", |target: &str, own: &str| {
        match target.split('?').next().unwrap_or_default() {
            "/live/a.mpd" | "/made/7.mpd" => Reply::ok(
                "Content-Type: application/dash+xml\r\n",
                format!(
                    "<MPD type=\"dynamic\"><Location>http://{own}/made/7.mpd</Location><Period>\
                     <SegmentTemplate media=\"/made/7-1.m4s\"/></Period></MPD>"
                ),
            ),
            "/made/7-1.m4s" => Reply::ok("", "media"),
            _ => Reply::missing(),
        }
    })
    .await;
    let at = house.at.http;
    let (_, mut manifest) = get(at, "/live/a.mpd?key=secret").await;
    for _ in 0..3 {
        let (status, body) = get(at, between(&manifest, "media=\"", "\"")).await;
        assert_eq!((status, body.as_str()), (200, "media"), "{manifest}");
        let place = between(&manifest, "<Location>", "</Location>").to_owned();
        let (status, next) = get(at, &place).await;
        assert_eq!(status, 200, "{place}: {next}");
        manifest = next;
    }
}

#[tokio::test]
async fn files_that_a_listed_file_names_are_found() {
    let house = House::open("").await;
    let origin = join(&house, "one", |target: &str, own: &str| match target {
        "/live/a.m3u8" => Reply::ok(
            "",
            "#EXTM3U\n#EXT-X-SESSION-DATA:DATA-ID=\"com.apple.hls.chapters\",URI=\"/info/chapters.json\"\n\
             #EXT-X-IMAGE-STREAM-INF:BANDWIDTH=1,URI=\"/img/i.m3u8\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na/v.m3u8\n",
        ),
        // As a server answers that knows no type of it.
        "/info/chapters.json" => Reply::ok(
            "Content-Type: text/plain\r\n",
            format!(
                "[{{\"chapter\":1,\"images\":[{{\"url\":\"pic/1.jpg\"}},{{\"url\":\"http://{own}/info/pic/2.jpg\"}}]}}]"
            ),
        ),
        "/img/i.m3u8" => Reply::ok("", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nt-1.jpg\n"),
        "/info/pic/1.jpg" | "/info/pic/2.jpg" | "/img/t-1.jpg" => Reply::ok("", "picture"),
        _ => Reply::missing(),
    })
    .await;
    let at = house.at.http;
    let (_, master) = get(at, "/live/a.m3u8").await;
    let (_, chapters) = get(at, between(&master, "chapters\",URI=\"", "\"")).await;
    let mut pictures: Vec<String> = chapters
        .split("\"url\":\"")
        .skip(1)
        .map(|rest| path(rest.split('"').next().expect("an end")).to_owned())
        .collect();
    let (_, images) = get(at, between(&master, "BANDWIDTH=1,URI=\"", "\"")).await;
    let tile = images.lines().last().expect("a tile");
    pictures.push(format!("/img/{tile}"));
    assert_eq!(pictures.len(), 3, "{chapters}");
    for picture in pictures {
        let (status, body) = get(at, &picture).await;
        assert_eq!((status, body.as_str()), (200, "picture"), "{picture}");
    }
    assert!(!chapters.contains(&origin.at.to_string()), "{chapters}");
}

#[tokio::test]
async fn patches_and_steering_manifests_name_us() {
    let house = House::open("").await;
    let origin = join(&house, "one", |target: &str, own: &str| match target {
        "/live/a.mpd" => Reply::ok(
            "Content-Type: application/dash+xml\r\n",
            format!(
                "<MPD><PatchLocation ttl=\"9\">http://{own}/patches/a?t=1</PatchLocation>\
                 <ContentSteering>http://{own}/steer</ContentSteering></MPD>"
            ),
        ),
        "/patches/a?t=1" => Reply::ok(
            "Content-Type: application/dash-patch+xml\r\n",
            format!(
                "<Patch><replace sel=\"/MPD/PatchLocation[1]/text()\">http://{own}/patches/a?t=2</replace>\
                 <replace sel=\"/MPD/Period/SegmentTemplate/@media\">http://{own}/live/b-$Number$.m4s</replace></Patch>"
            ),
        ),
        "/patches/a?t=2" => Reply::ok("", "next"),
        "/live/b-7.m4s" => Reply::ok("", "media"),
        "/steer" => Reply::ok(
            "Content-Type: application/json\r\n",
            format!(
                "{{\"VERSION\":1,\"RELOAD-URI\":\"http://{own}/steer?n=2\",\"PATHWAY-CLONES\":[{{\"BASE-ID\":\"a\",\"ID\":\"b\",\
                 \"URI-REPLACEMENT\":{{\"HOST\":\"{own}\"}}}}]}}"
            ),
        ),
        "/steer?n=2" => Reply::ok("Content-Type: application/json\r\n", "{}"),
        _ => Reply::missing(),
    })
    .await;
    let at = house.at.http;
    let (_, manifest) = get(at, "/live/a.mpd").await;
    let place = between(&manifest, "ttl=\"9\">", "<").replace("&amp;", "&");
    let (status, patch) = get(at, &place).await;
    assert_eq!(status, 200, "{place}: {patch}");
    let next = between(&patch, "text()\">", "<").replace("&amp;", "&");
    assert_eq!(get(at, &next).await, (200, "next".to_owned()), "{patch}");
    let piece = between(&patch, "@media\">", "<").replace("$Number$", "7");
    assert_eq!(get(at, &piece).await, (200, "media".to_owned()), "{patch}");
    let steering = path(between(&manifest, "<ContentSteering>", "<")).to_owned();
    let (status, steering) = get(at, &steering).await;
    assert_eq!(status, 200, "{steering}");
    assert!(
        steering.contains(&format!("\"HOST\":\"{at}\"")),
        "{steering}"
    );
    let reload = path(between(&steering, "RELOAD-URI\":\"", "\""));
    assert_eq!(get(at, reload).await.0, 200, "{steering}");
    for text in [manifest, patch, steering] {
        assert!(!text.contains(&origin.at.to_string()), "{text}");
    }
}
