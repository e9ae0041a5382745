//! Connections between two requests: they stay open for a time of their own, which is not that of a head.

use std::time::Duration;

use crate::house::House;
use crate::http_origin::{HttpOrigin, Viewer, header, say};

/// An answer that the connection itself gives, one that hyper gives, and those of the API ports.
const PATHS: [(&str, &str); 4] = [
    ("a piece", "/live/a.m3u8"),
    ("a page", "/page"),
    ("the API port", "/api/v1/versions"),
    ("the system API", "/livez"),
];
const PLAYLIST: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\nContent-Length: 8\r\n\r\n#EXTM3U\n";

/// Asks for `path` and reads the answer, whatever it is.
async fn ask(viewer: &mut Viewer, path: &str) {
    viewer
        .more(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .await;
    let head = viewer.head().await;
    let length = header(&head, "content-length")[0].parse().expect(path);
    viewer.take(length).await;
}

/// A house, its origin, and a connection for each path that has had its first answer.
async fn after_an_answer(settings: &str) -> (House, HttpOrigin, Vec<(&'static str, Viewer)>) {
    let house = House::open(settings).await;
    let origin = HttpOrigin::join(&house, "one", vec![say(PLAYLIST)]).await;
    let mut viewers = Vec::new();
    for (cause, path) in PATHS {
        let at = match cause {
            "the API port" => house.at.api,
            "the system API" => house.at.system,
            _ => house.at.http,
        };
        let mut viewer = Viewer::send(at, "").await;
        ask(&mut viewer, path).await;
        viewers.push((path, viewer));
    }
    (house, origin, viewers)
}

#[tokio::test]
async fn the_next_request_may_take_longer_to_begin_than_its_head_to_come() {
    let settings = "[http]\nhead_timeout = \"1s\"\nidle = \"60s\"\n";
    let (_house, _origin, viewers) = after_an_answer(settings).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for (path, mut viewer) in viewers {
        ask(&mut viewer, path).await;
    }
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed() {
    // Sooner than the five seconds that a head has.
    let (_house, _origin, viewers) = after_an_answer("[http]\nidle = \"300ms\"\n").await;
    for (path, viewer) in viewers {
        let closed = tokio::time::timeout(Duration::from_secs(4), viewer.rest()).await;
        assert_eq!(closed.ok(), Some(Vec::new()), "{path}");
    }
}
