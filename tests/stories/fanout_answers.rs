//! Viewers that share a pull hear their origin's answer as those do who have legs of their own: its yes with its headers, and its
//! no with its status.

use std::time::Duration;

use sluicegate_core::stream::Action;

use crate::fanout::OPEN;
use crate::fanout_blocks::{packet, tables};
use crate::house::{House, Manner, Stub, until};
use crate::http_origin::{HttpOrigin, Step, Viewer, WAYS, header, say};

const FORBIDDEN: &str = "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nX-Why: token\r\n\
                         Set-Cookie: id=1\r\nAccess-Control-Allow-Origin: https://app.example\r\n\r\nnever";

/// The answer to the pull is held back until the origin has been found to live.
fn slowly(answer: &str) -> Vec<Step> {
    vec![Step::Wait(Duration::from_millis(700)), say(answer)]
}

#[tokio::test]
async fn an_http_origins_no_reaches_those_who_share_a_pull() {
    let hasty = format!("{OPEN}[session]\ndial_timeout = \"100ms\"\nsetup_timeout = \"300ms\"\n");
    for (cause, settings, script) in [
        ("at once", OPEN, vec![say(FORBIDDEN)]),
        ("late", &hasty, slowly(FORBIDDEN)),
    ] {
        for way in WAYS {
            let house = House::open(settings).await;
            let origin = HttpOrigin::join_alive(&house, "one", script.clone()).await;
            let mut viewer = Viewer::pull(house.at.http, way, "/live/a.ts").await;
            let head = viewer.head().await;
            assert!(
                head.starts_with("HTTP/1.1 403 "),
                "{cause}, {way:?}: {head}"
            );
            assert_eq!(header(&head, "x-why"), ["token"], "{cause}, {way:?}");
            let allowed = header(&head, "access-control-allow-origin");
            assert_eq!(allowed, ["https://app.example"], "{cause}, {way:?}");
            let cookies = header(&head, "set-cookie");
            assert!(cookies.is_empty(), "it is for the one who asked: {head}");
            assert_eq!(viewer.take_body(&head, 5).await, b"never", "{cause}");
            drop(viewer);
            house.until_sessions(0).await;
            assert_eq!(house.proxy.sessions().ended()[0].reason, "refused");
            assert_eq!(
                origin.visits().len(),
                1,
                "{cause}, {way:?}: it is asked once"
            );
        }
    }
}

#[tokio::test]
async fn what_was_asked_for_with_a_secret_has_a_page_for_nobody() {
    let settings = format!("{OPEN}pull_query = \"token=secret\"\n");
    let house = House::open(&settings).await;
    let page = "HTTP/1.1 404 Not Found\r\nContent-Length: 15\r\nX-Asked: token=secret\r\n\r\n?token=secret no";
    let origin = HttpOrigin::join(&house, "one", vec![say(page)]).await;
    let mut viewer = Viewer::pull(house.at.http, WAYS[0], "/live/a.ts").await;
    let head = viewer.head().await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
    let rest = String::from_utf8(viewer.rest().await).expect("text");
    assert!(
        !head.contains("secret") && rest.is_empty(),
        "{head}: {rest}"
    );
    let asked = origin.visit(0).await;
    assert_eq!(asked.request_line(), "GET /live/a.ts?token=secret HTTP/1.1");
}

#[tokio::test]
async fn an_rtmp_origins_no_has_its_status_over_http() {
    for (code, status) in [
        ("NetStream.Play.StreamNotFound", 404),
        ("NetStream.Play.Failed", 403),
    ] {
        for way in WAYS {
            let house = House::open(OPEN).await;
            let origin = Stub::start(Manner::Refuses(code, "not for you")).await;
            house.register("one", origin.at);
            let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
            let head = viewer.head().await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status} ")),
                "{way:?}: {head}"
            );
        }
    }
}

#[tokio::test]
async fn an_http_origins_no_has_its_code_over_rtmp() {
    for (status, code) in [
        ("404 Not Found", "NetStream.Play.StreamNotFound"),
        ("403 Forbidden", "NetStream.Play.Failed"),
    ] {
        let house = House::open(OPEN).await;
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
        let _origin = HttpOrigin::join(&house, "one", vec![say(answer)]).await;
        let guest = house.ask(Action::Play, "live/a").await;
        assert_eq!((guest.code(), guest.words()), (code, status));
    }
}

#[tokio::test]
async fn an_origin_that_speaks_of_sites_only_to_pages_is_answered_for() {
    let house = House::open(OPEN).await;
    let yes = "HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n";
    let answer = [yes.as_bytes(), &tables(), &packet(true, 1)].concat();
    let script = vec![Step::Say(answer), Step::Hold];
    let origin = HttpOrigin::join(&house, "one", script).await;
    let mut viewer = Viewer::pull(house.at.http, WAYS[0], "/live/a.ts").await;
    let head = viewer.head().await;
    let allowed = header(&head, "access-control-allow-origin");
    assert_eq!(allowed, ["*"], "{head}");
    let asked = origin.visit(0).await;
    assert!(asked.all("origin").is_empty(), "of no page");
}

#[tokio::test]
async fn an_origins_headers_reach_those_who_share_a_pull() {
    let hasty = format!("{OPEN}[session]\ndial_timeout = \"100ms\"\nsetup_timeout = \"300ms\"\n");
    let yes = "HTTP/1.1 200 OK\r\nContent-Type: video/x-own\r\nX-Own: 1\r\nSet-Cookie: id=1\r\n\
               Access-Control-Allow-Origin: https://app.example\r\nLast-Modified: now\r\n\
               Content-Location: /live/b.ts\r\nConnection: close\r\n\r\n";
    let body = [&tables()[..], &packet(true, 1), &packet(true, 2)].concat();
    let with_body = [yes.as_bytes(), &body].concat();
    let now = vec![Step::Say(with_body.clone()), Step::Hold];
    let late = vec![
        Step::Wait(Duration::from_millis(700)),
        Step::Say(with_body),
        Step::Hold,
    ];
    for (cause, settings, script) in [("at once", OPEN, now), ("late", &hasty, late)] {
        for way in WAYS {
            let house = House::open(settings).await;
            let origin = HttpOrigin::join_alive(&house, "one", script.clone()).await;
            let mut first = Viewer::pull(house.at.http, way, "/live/a.ts").await;
            let mut second = Viewer::pull(house.at.http, way, "/live/a.ts").await;
            for viewer in [&mut first, &mut second] {
                let head = viewer.head().await;
                assert!(
                    head.starts_with("HTTP/1.1 200 "),
                    "{cause}, {way:?}: {head}"
                );
                for (name, value) in [
                    ("content-type", "video/x-own"),
                    ("x-own", "1"),
                    ("access-control-allow-origin", "https://app.example"),
                    ("cache-control", "no-cache"),
                ] {
                    assert_eq!(header(&head, name), [value], "{cause}, {way:?}: {head}");
                }
                for name in ["set-cookie", "last-modified"] {
                    assert!(header(&head, name).is_empty(), "{cause}, {way:?}: {head}");
                }
            }
            until("one pull", || origin.visits().len() == 1).await;
        }
    }
}

#[tokio::test]
async fn a_status_without_a_name_is_its_number() {
    for settings in [OPEN, ""] {
        let house = House::open(settings).await;
        let answer = "HTTP/1.1 599 Very Odd\r\nContent-Length: 0\r\n\r\n";
        let _origin = HttpOrigin::join(&house, "one", vec![say(answer)]).await;
        for way in WAYS {
            for target in ["/live/a.ts", "/live/a.m3u8"] {
                let mut viewer = Viewer::pull(house.at.http, way, target).await;
                let head = viewer.head().await;
                let line = head.lines().next().unwrap_or_default();
                let is_own = ["HTTP/1.1 599 ", "HTTP/1.1 599 Very Odd"].contains(&line);
                assert!(is_own, "{way:?}, {target}: {line:?}");
            }
        }
        let ended = house.proxy.sessions().ended();
        let failed = ended.iter().map(|session| format!("{session:?}"));
        for session in failed {
            assert!(!session.contains("unknown status"), "{session}");
        }
    }
    let house = House::open(OPEN).await;
    let answer = "HTTP/1.1 599 Very Odd\r\nContent-Length: 0\r\n\r\n";
    let _origin = HttpOrigin::join(&house, "one", vec![say(answer)]).await;
    let guest = house.ask(Action::Play, "live/a").await;
    assert!(guest.words().ends_with("599"), "{}", guest.words());
}
