//! Servers that make a playlist for each viewer, and what leads a viewer from one request to the next.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::call::{ask, ask_with};
use crate::house::House;
use crate::http_origin::header;
use crate::http_pieces::{Packager, Reply};

/// The settings that share most, and how clients speak.
fn sharing(dialect: &str) -> String {
    format!("[http]\nshare = \"all\"\ncache_megabytes = 10\n[clients]\ndialect = \"{dialect}\"\n")
}

/// Registers an origin by its HTTP port.
fn register(house: &House, origin: &Packager, dialect: &str) {
    let endpoints = format!(r#""http":["{}"],"dialect":"{dialect}""#, origin.at.port());
    house.register_with("one", &endpoints);
}

/// The first link of a playlist.
fn link(playlist: &str) -> &str {
    let mut lines = playlist.lines();
    let found = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    found.expect("a link")
}

const PLAYLIST: &str = "Content-Type: application/vnd.apple.mpegurl\r\n";

/// A server that sends a viewer away once to see whether it keeps cookies, and then gives each a session of its own, which its
/// other files demand: MediaMTX.
fn keeps_sessions() -> impl Fn(&str, &str) -> Reply + Send + Sync + 'static {
    let begun = AtomicUsize::new(0);
    move |target: &str, _: &str| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let session = query.strip_prefix("session=");
        let is_known = session
            .and_then(|session| session.parse().ok())
            .is_some_and(|session: usize| session < begun.load(Ordering::Relaxed));
        match (path, query) {
            ("/a/b/index.m3u8", "") => {
                let away = "Location: index.m3u8?cookieCheck=1\r\nSet-Cookie: cookieCheck=1; Path=/a/b/\r\n";
                Reply::with("302 Found", away, "")
            }
            ("/a/b/index.m3u8", "cookieCheck=1") => {
                let session = begun.fetch_add(1, Ordering::Relaxed);
                let stream = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nmain_stream.m3u8?session=";
                Reply::ok(PLAYLIST, format!("{stream}{session}\n"))
            }
            ("/a/b/main_stream.m3u8", _) if is_known => {
                let segment = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nseg7.mp4?session=";
                Reply::ok(
                    PLAYLIST,
                    format!("{segment}{}\n", session.unwrap_or_default()),
                )
            }
            ("/a/b/seg7.mp4", _) if is_known => Reply::ok("Content-Type: video/mp4\r\n", "media"),
            _ => Reply::with("401 Unauthorized", "", "no session"),
        }
    }
}

#[tokio::test]
async fn each_viewer_has_the_session_that_its_server_gave_it() {
    let house = House::open(&sharing("mediamtx")).await;
    let origin = Packager::start(keeps_sessions()).await;
    register(&house, &origin, "mediamtx");
    let at = house.at.http;
    for viewer in 0..2 {
        let (status, head, _) = ask(at, "GET", "/a/b/index.m3u8", "").await;
        assert_eq!(status, 302, "{head}");
        let away = header(&head, "location")[0].to_owned();
        assert!(away.starts_with("index.m3u8?cookieCheck=1"), "{away}");
        assert_eq!(header(&head, "set-cookie"), ["cookieCheck=1; Path=/a/b/"]);
        let cookie = "Cookie: cookieCheck=1\r\n";
        let (status, _, master) = ask_with(at, "GET", &format!("/a/b/{away}"), cookie, "").await;
        assert_eq!(status, 200, "{master}");
        let child = link(&master);
        let own = format!("main_stream.m3u8?session={viewer}&");
        assert!(child.starts_with(&own), "{child}");
        let (status, _, playlist) = ask(at, "GET", &format!("/a/b/{child}"), "").await;
        assert_eq!(status, 200, "{playlist}");
        let segment = link(&playlist);
        assert!(
            segment.starts_with(&format!("seg7.mp4?session={viewer}")),
            "{segment}"
        );
        let (status, _, media) = ask(at, "GET", &format!("/a/b/{segment}"), "").await;
        assert_eq!((status, &*media), (200, "media"));
    }
    assert_eq!(origin.count("/a/b/index.m3u8"), 2, "{:?}", origin.targets());
    let (status, ..) = ask(at, "GET", "/a/b/main_stream.m3u8?session=9", "").await;
    assert_eq!(status, 401, "what the origin says of another session");
}

/// A server whose playlists lie in one folder for all streams, and name a session and no stream: go2rtc.
fn names_a_session_alone(target: &str, _: &str) -> Reply {
    match target {
        "/api/stream.m3u8?src=cam1&mp4" | "/api/stream.m3u8?src=cam1" => {
            let child = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhls/playlist.m3u8?id=s1\n";
            Reply::ok(PLAYLIST, child)
        }
        "/api/hls/playlist.m3u8?id=s1" => {
            let segment = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsegment.ts?id=s1&n=1\n";
            Reply::ok(PLAYLIST, segment)
        }
        "/api/hls/segment.ts?id=s1&n=1" => Reply::ok("Content-Type: video/mp2t\r\n", "media"),
        _ => Reply::missing(),
    }
}

#[tokio::test]
async fn a_session_that_names_no_stream_is_found_by_our_link() {
    let rows = [
        ("go2rtc", "/api/stream.m3u8?src=cam1&mp4", "/api/"),
        ("srs", "/live/cam1.m3u8", ""),
        ("mediamtx", "/cam1/index.m3u8", ""),
    ];
    for (dialect, target, folder) in rows {
        let house = House::open(&sharing(dialect)).await;
        let origin = Packager::start(names_a_session_alone).await;
        register(&house, &origin, "go2rtc");
        let at = house.at.http;
        let (status, _, master) = ask(at, "GET", target, "").await;
        assert_eq!(status, 200, "{dialect}: {master}");
        let child = [folder, link(&master)].concat();
        assert!(
            child.starts_with("/api/hls/playlist.m3u8?id=s1&"),
            "{dialect}: {child}"
        );
        let (status, _, playlist) = ask(at, "GET", &child, "").await;
        assert_eq!(status, 200, "{dialect}: {playlist}");
        let segment = ["/api/hls/", link(&playlist)].concat();
        let (status, _, media) = ask(at, "GET", &segment, "").await;
        assert_eq!((status, &*media), (200, "media"), "{dialect}: {segment}");
        assert_eq!(
            origin.targets().len(),
            3,
            "{dialect}: {:?}",
            origin.targets()
        );
    }
}
