//! Files that a playlist or manifest names, whatever their endings: each is asked of the origin of its stream, by a link or
//! by its path.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use sluicegate_core::fleet::origin::Target;
use sluicegate_core::http::link::{Link, LinkKey};
use sluicegate_core::stream::StreamUrl;

use crate::house::{House, get, talk};
use crate::http_origin::{Viewer, header};
use crate::http_pieces::{Packager, Reply};
use crate::{call, led};

/// A GET in the words of a client that came by TLS through a proxy in front of us.
async fn get_as(house: &House, target: &str, headers: &str) -> (u16, String) {
    let request = format!("GET {target} HTTP/1.1\r\nHost: play.example:8443\r\n{headers}\r\n");
    let mut viewer = Viewer::send(house.at.http, request).await;
    let head = viewer.head().await;
    let length = header(&head, "content-length")[0]
        .parse()
        .expect("a length");
    let body = viewer.take(length).await;
    let status = head.split(' ').nth(1).expect("a status");
    let status = status.parse().expect("a number");
    (status, String::from_utf8(body).expect("text"))
}

/// An origin that is not to be asked for anything of the streams of another.
async fn join_other(house: &House) -> Packager {
    Packager::join(house, "other", |_: &str, _: &str| Reply::missing()).await
}

fn assert_not_asked(other: &Packager) {
    assert_eq!(other.targets(), Vec::<String>::new());
}

/// The text between two marks.
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).expect("the first mark");
    rest.split_once(after).expect("the second mark").0
}

#[tokio::test]
async fn a_list_of_assets_and_what_it_lists_come_from_the_origin_of_the_stream() {
    let house = House::open("[http]\ntrusted_proxies = [\"127.0.0.1\"]\n").await;
    let origin = Packager::join(&house, "one", |target: &str, head: &str| {
        let own = header(head, "host").join("");
        match target {
            "/live/a/index.m3u8" => Reply::ok(
                "",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n\
                 #EXT-X-DATERANGE:ID=\"x\",X-ASSET-LIST=\"../list/assets.json\"\n#EXTINF:4,\na-1.ts\n",
            ),
            "/live/list/assets.json" => Reply::ok(
                "Content-Type: application/json\r\n",
                format!("{{\"ASSETS\":[{{\"DURATION\":4,\"URI\":\"http://{own}/ad/1.m3u8\"}}]}}"),
            ),
            "/ad/1.m3u8" => Reply::ok("", "#EXTM3U\n#EXT-X-ENDLIST\n"),
            _ => Reply::missing(),
        }
    })
    .await;
    let secure = "X-Forwarded-Proto: https\r\n";
    let (_, playlist) = get_as(&house, "/live/a/index.m3u8", secure).await;
    let other = join_other(&house).await;
    let list = between(&playlist, "X-ASSET-LIST=\"", "\"");
    let site = "https://play.example:8443";
    let path = list.strip_prefix(site).expect("in full");
    assert!(
        path.starts_with("/live/a/../list/assets.json?spbhid="),
        "{path}"
    );
    // As clients resolve it.
    let path = path.replacen("/a/..", "", 1);
    let (status, assets) = get_as(&house, &path, secure).await;
    assert_eq!(status, 200, "{assets}");
    let asset = between(&assets, "\"URI\":\"", "\"");
    let path = asset.strip_prefix(site).expect("in full");
    assert!(path.starts_with("/ad/1.m3u8?spbhid="), "{asset}");
    assert_eq!(get_as(&house, path, secure).await.0, 200);
    assert_eq!(origin.count("/ad/1.m3u8"), 1);
    assert_not_asked(&other);
}

/// What is shown behind a question mark to open a path.
fn link_in(uri: &str) -> &str {
    let (_, link) = uri.split_once("spbhid=").expect("a link");
    link
}

#[tokio::test]
async fn a_link_opens_files_of_its_stream_and_what_was_listed_and_nothing_else() {
    let house = House::open("").await;
    let origin = Packager::join(&house, "one", |target: &str, _: &str| match target {
        "/live/a.m3u8" => Reply::ok(
            "",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-KEY:METHOD=AES-128,URI=\"../keys/12\"\n\
             #EXTINF:4,\na-0.ts\n",
        ),
        "/live/a.mpd" => Reply::ok(
            "Content-Type: application/dash+xml\r\n",
            "<MPD><Period><BaseURL>dash/</BaseURL>\
             <SegmentTemplate media=\"$RepresentationID$/$Number$\"/></Period></MPD>",
        ),
        _ => Reply::ok("", "theirs"),
    })
    .await;
    let at = house.at.http;
    let (_, playlist) = get(at, "/live/a.m3u8").await;
    let (_, manifest) = get(at, "/live/a.mpd").await;
    let piece = playlist.lines().last().expect("a piece").to_owned();
    let key = between(&playlist, "URI=\"..", "\"").to_owned();
    let template = between(&manifest, "media=\"", "\"");
    let listed = template.replace("$RepresentationID$/$Number$", "/live/dash/v0/12");
    let link = link_in(&piece).to_owned();
    let opened = [
        format!("/live/{piece}"),
        format!("/live/a/cover.jpg?spbhid={link}"),
        format!("/live/other-1.ts?spbhid={link}"),
        key.clone(),
        listed.clone(),
    ];
    for uri in &opened {
        assert_eq!(get(at, uri).await, (200, "theirs".to_owned()), "{uri}");
    }
    let asked = origin.targets();

    let paths = [
        ("a page about the server", "/stat"),
        ("with a query", "/stat?format=json"),
        ("an interface", "/control/drop/publisher?app=live&name=a"),
        ("one that looks like a stream", "/api/clients"),
        ("in the folder, without an ending", "/live/a/status"),
        ("in the folder of another stream", "/live/b/cover.jpg"),
        ("beside what was listed", "/keys/13"),
        ("beside a template", "/live/v0/12"),
        ("below a template", "/live/dash/v0/12/13"),
        ("an ending in the query", "/stat?x=/a.ts"),
    ];
    let shown = [
        ("the link of a piece", link.as_str(), 403),
        ("what a key was listed by", link_in(&key), 403),
        ("what a template was listed by", link_in(&listed), 403),
        ("no link at all", "x", 404),
        (
            "a stamp alone",
            link_in(&key).split_once('.').expect("a stamp").1,
            404,
        ),
    ];
    let ask = async |method: &str, uri: &str| {
        let head = format!(
            "{method} {uri} HTTP/1.1\r\nHost: {at}\r\nOrigin: https://page.example\r\n\
             Access-Control-Request-Method: GET\r\nConnection: close\r\n\r\n"
        );
        talk(at, &head).await.0
    };
    for (cause, path) in paths {
        let mark = if path.contains('?') { '&' } else { '?' };
        for (by, link, status) in shown {
            let uri = format!("{path}{mark}spbhid={link}");
            assert_eq!(ask("GET", &uri).await, status, "{cause}, by {by}");
            assert_eq!(ask("HEAD", &uri).await, status, "{cause}, by {by}");
            assert_eq!(ask("POST", &uri).await, 405, "{cause}, by {by}");
            assert_eq!(ask("OPTIONS", &uri).await, 204, "{cause}, by {by}");
        }
    }
    assert_eq!(origin.targets(), asked, "a refusal asks no origin");
    let one_letter = key.replacen("spbhid=", "spbhid=A", 1);
    assert_eq!(get(at, &one_letter).await.0, 404, "no link of ours");
}

#[tokio::test]
async fn a_file_of_a_placed_stream_is_found_by_its_path_whatever_its_ending() {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(root.path().join("live/a")).expect("a directory");
    std::fs::write(root.path().join("live/a/own.txt"), "ours").expect("a file");
    let files = root.path().display();
    let house = House::open(&format!("[http]\nstatic_files = \"{files}\"\n")).await;
    let origin = Packager::join(&house, "one", |target: &str, _: &str| match target {
        "/live/a.m3u8" => Reply::ok("", "#EXTM3U\n"),
        "/live/a/none.json" => Reply::missing(),
        _ => Reply::ok("", "theirs"),
    })
    .await;
    assert_eq!(get(house.at.http, "/live/a/1.json").await.0, 404);
    assert_eq!(origin.count("/live/a/1.json"), 0, "it belongs to nothing");
    assert_eq!(get(house.at.http, "/live/a.m3u8").await.0, 200);
    let other = join_other(&house).await;
    for ending in [
        "json", "xml", "txt", "jpg", "png", "webm", "ac3", "ec3", "m2ts", "dash",
    ] {
        let path = format!("/live/a/1.{ending}");
        let (status, body) = get(house.at.http, &path).await;
        assert_eq!((status, body.as_str()), (200, "theirs"), "{path}");
    }
    let (status, body) = get(house.at.http, "/live/a/own.txt").await;
    assert_eq!(
        (status, body.as_str()),
        (200, "ours"),
        "files of ours come first"
    );
    assert_eq!(get(house.at.http, "/live/a/none.json").await.0, 404);
    assert_eq!(get(house.at.http, "/live/b/1.json").await.0, 404);
    assert_not_asked(&other);
}

#[tokio::test]
async fn a_part_of_a_manifest_is_asked_of_its_origin_and_names_us() {
    let house = House::open("").await;
    let origin = Packager::join(&house, "one", |target: &str, head: &str| {
        let own = header(head, "host").join("");
        match target {
            "/live/a.mpd" => Reply::ok(
                "Content-Type: application/dash+xml\r\n",
                "<MPD xmlns:xlink=\"x\"><Period xlink:href=\"period.xml\"/></MPD>",
            ),
            "/live/period.xml" => Reply::ok(
                "Content-Type: text/xml\r\n",
                format!(
                    "<Period><BaseURL>http://{own}/live/</BaseURL><SegmentTemplate media=\"$Number$.m4s\"/></Period>"
                ),
            ),
            _ => Reply::missing(),
        }
    })
    .await;
    let (_, manifest) = get(house.at.http, "/live/a.mpd").await;
    let other = join_other(&house).await;
    let period = between(&manifest, "xlink:href=\"", "\"");
    assert!(period.starts_with("period.xml?spbhid="), "{manifest}");
    let (status, period) = get(house.at.http, &format!("/live/{period}")).await;
    assert_eq!(status, 200, "{period}");
    assert!(period.contains("<BaseURL>/live/</BaseURL>"), "{period}");
    assert!(period.contains("$Number$.m4s?spbhid="), "{period}");
    assert_eq!(origin.count("/live/period.xml"), 1);
    assert_not_asked(&other);
}

#[tokio::test]
async fn a_playlist_without_an_ending_is_one_by_what_it_says() {
    let house = House::open("").await;
    let _origin = Packager::join(&house, "one", |target: &str, head: &str| {
        let own = header(head, "host").join("");
        match target {
            "/live/a.m3u8" => Reply::ok(
                "",
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nplay/1?type=video\n",
            ),
            "/live/play/1?type=video" => Reply::ok(
                "Content-Type: application/vnd.apple.mpegurl\r\n",
                format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nhttp://{own}/live/1.ts\n"),
            ),
            _ => Reply::missing(),
        }
    })
    .await;
    let (_, master) = get(house.at.http, "/live/a.m3u8").await;
    let variant = master.lines().last().expect("a variant");
    assert!(variant.starts_with("play/1?type=video&spbhid="), "{master}");
    let (status, media) = get(house.at.http, &format!("/live/{variant}")).await;
    assert_eq!(status, 200, "{media}");
    assert!(media.contains("\n/live/1.ts?spbhid="), "{media}");
}

/// Players compare the address of a report with that of a playlist they may have had for hours.
#[tokio::test]
async fn reports_of_other_renditions_keep_the_link_of_the_viewing() {
    let house = House::open("[cluster]\nkey = \"secret\"").await;
    let origin = Packager::join(&house, "one", |target: &str, _: &str| {
        if target.starts_with("/live/a/v0.m3u8") {
            return Reply::ok(
                "",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nv0-1.ts\n\
                 #EXT-X-RENDITION-REPORT:URI=\"v1.m3u8\",LAST-MSN=1\n",
            );
        }
        Reply::missing()
    })
    .await;
    let key = LinkKey::new(b"secret");
    let sealed = |expires: u64| {
        let target = Target::plain(origin.at.ip().into(), origin.at.port());
        key.seal(&Link {
            stream: StreamUrl::new("", "live", "a").expect("a stream"),
            origin: "one".into(),
            target,
            expires,
            viewing: None,
        })
    };
    // One that counts, of another hour; and one that is over.
    for expires in [u64::MAX / 2, 1] {
        let link = sealed(expires);
        let reload = format!("/live/a/v0.m3u8?_HLS_msn=2&spbhid={link}");
        let (status, playlist) = get(house.at.http, &reload).await;
        assert_eq!(status, 200, "{playlist}");
        let report = between(&playlist, "RENDITION-REPORT:URI=\"", "\"");
        assert_eq!(report, format!("v1.m3u8?spbhid={link}"));
        assert!(playlist.contains("v0-1.ts?spbhid="), "{playlist}");
        assert_eq!(playlist.matches(&link).count(), 1, "{playlist}");
    }
}

#[tokio::test]
async fn what_is_placed_decides_before_a_pattern_does() {
    let house = House::open("").await;
    let one = Packager::join(&house, "one", |_: &str, _: &str| Reply::ok("", "#EXTM3U\n")).await;
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        assert_eq!(
            get(house.at.http, &format!("/app/{name}.m3u8")).await.0,
            200
        );
    }
    let other = join_other(&house).await;
    for name in names {
        for file in [
            "llhls.m3u8",
            "ts:playlist.m3u8",
            "of-its-own.m3u8",
            "of-its-own.mpd",
        ] {
            let path = format!("/app/{name}/{file}");
            assert_eq!(get(house.at.http, &path).await.0, 200, "{path}");
            assert_eq!(one.count(&path), 1, "{path}");
        }
    }
    assert_not_asked(&other);
}

/// Servers that have a file in one coding only send that, whatever is asked for; and some write UTF-16.
#[tokio::test]
async fn pages_in_another_coding_or_encoding_are_read() {
    let house = House::open("").await;
    let packed = |text: &str| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(text.as_bytes()).expect("memory");
        packed.finish().expect("memory")
    };
    let _origin = led::join(&house, "one", move |target: &str, own: &str| match target {
        "/live/a.m3u8" => {
            let playlist = format!("#EXTM3U\n#EXTINF:4,\nhttp://{own}/live/a-1.ts\n");
            let headers = "Content-Encoding: gzip\r\nETag: \"1\"\r\n";
            Reply::ok(headers, packed(&playlist))
        }
        "/live/a.mpd" => {
            let manifest = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-16\"?><MPD><Location>http://{own}/live/a.mpd</Location></MPD>"
            );
            let units = std::iter::once(0xfeff).chain(manifest.encode_utf16());
            let bytes: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
            Reply::ok("Content-Type: application/dash+xml; charset=utf-16\r\n", bytes)
        }
        _ => Reply::missing(),
    })
    .await;
    let (status, head, playlist) = call::ask(house.at.http, "GET", "/live/a.m3u8", "").await;
    assert_eq!(status, 200, "{head}");
    assert!(header(&head, "content-encoding").is_empty(), "{head}");
    let piece = playlist.lines().last().expect("a piece");
    assert!(piece.starts_with("/live/a-1.ts?spbhid="), "{playlist}");
    let (status, head, manifest) = call::ask(house.at.http, "GET", "/live/a.mpd", "").await;
    assert_eq!(status, 200, "{head}");
    assert_eq!(header(&head, "content-type"), ["application/dash+xml"]);
    let start = "<?xml version=\"1.0\"?><MPD><Location>/live/a.mpd?spbhid=";
    assert!(manifest.starts_with(start), "{manifest}");
}

#[tokio::test]
async fn what_cannot_be_read_names_no_origin() {
    let house = House::open("").await;
    let origin = led::join(&house, "one", |_: &str, own: &str| {
        Reply::ok(
            "",
            format!("<p>Moved to <a href=\"http://{own}/b\">here</a>"),
        )
    })
    .await;
    for name in ["a.m3u8", "a.mpd"] {
        let (status, page) = get(house.at.http, &format!("/live/{name}")).await;
        assert_eq!(status, 200, "{page}");
        let start = "<p>Moved to <a href=\"http://127.0.0.1";
        assert!(
            page.starts_with(start) && page.contains("/b?spbhid="),
            "{page}"
        );
        assert!(!page.contains(&origin.at.to_string()), "{page}");
    }
}

#[tokio::test]
async fn the_pictures_of_a_storyboard_come_from_the_origin_of_the_stream() {
    let house = House::open("").await;
    let origin = led::join(&house, "one", |target: &str, own: &str| match target {
        "/live/a.m3u8" => Reply::ok(
            "",
            "#EXTM3U\n#EXT-X-SESSION-DATA:DATA-ID=\"x\",URI=\"thumbs.vtt\"\n#EXTINF:4,\na-1.ts\n",
        ),
        "/live/thumbs.vtt" => Reply::ok(
            "Content-Type: text/vtt\r\n",
            format!("WEBVTT\n\n00:00.000 --> 00:05.000\nhttp://{own}/t/1.jpg#xywh=0,0,9,9\n"),
        ),
        "/t/1.jpg" => Reply::ok("Content-Type: image/jpeg\r\n", "a picture"),
        _ => Reply::missing(),
    })
    .await;
    let (_, playlist) = get(house.at.http, "/live/a.m3u8").await;
    let other = join_other(&house).await;
    let list = between(&playlist, "URI=\"", "\"");
    let (status, cues) = get_as(&house, &format!("/live/{list}"), "").await;
    assert_eq!(status, 200, "{cues}");
    let place = between(&cues, "http://play.example:8443", "#xywh=0,0,9,9");
    assert!(place.starts_with("/t/1.jpg?spbhid="), "{cues}");
    assert_eq!(get_as(&house, place, "").await.1, "a picture");
    assert_eq!(origin.count("/t/1.jpg"), 1);
    assert_not_asked(&other);
}
