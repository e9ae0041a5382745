//! Requests that are refused because of their form, and requests to the proxy itself.

use std::iter;
use std::time::Duration;

use sluicegate::listener::http::Pages;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::house::{House, PATIENCE, get, talk};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, WAYS, Way, header, say};

/// Heads that two servers may read differently: the cause, the lines after the first, and the status of the refusal.
pub(crate) fn broken_heads() -> Vec<(&'static str, String, u16)> {
    let many = format!("Host: x\r\n{}", "X-A: 1\r\n".repeat(101));
    let long = format!("Host: x\r\nX-A: {}\r\n", "a".repeat(20_000));
    let rows = [
        (
            "two lengths of the body",
            "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        (
            "lengths that differ",
            "Host: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n",
            400,
        ),
        (
            "a length with a sign",
            "Host: x\r\nContent-Length: +5\r\n",
            400,
        ),
        (
            "an unknown encoding",
            "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n",
            501,
        ),
        ("a bare LF", "Host: x\nX-A: 1\r\n", 400),
        ("a CR inside a line", "Host: x\r\nX-A: 1\rX-B: 2\r\n", 400),
        ("a folded header", "Host: x\r\nX-A: 1\r\n 2\r\n", 400),
        ("a space before the colon", "Host: x\r\nX-A : 1\r\n", 400),
        ("no colon", "Host: x\r\nX-A\r\n", 400),
        ("a NUL", "Host: x\r\nX-A: \0\r\n", 400),
        ("no host", "X-A: 1\r\n", 400),
        ("two hosts", "Host: x\r\nHost: y\r\n", 400),
        ("a host with a path", "Host: x/y\r\n", 400),
        ("many headers", many.as_str(), 431),
        ("a long head", long.as_str(), 431),
    ];
    rows.into_iter()
        .map(|(cause, lines, status)| (cause, lines.to_owned(), status))
        .collect()
}

#[tokio::test]
async fn what_two_servers_may_read_differently_is_refused() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let endless = "a".repeat(20_000);
    for (name, headers, expected) in broken_heads() {
        for path in ["/live/a.flv", "/page.html", "/api/v1/versions"] {
            let mut viewer = Viewer::send(
                house.at.http,
                format!("GET {path} HTTP/1.1\r\n{headers}\r\n"),
            )
            .await;
            let head = viewer.head().await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {expected} ")),
                "{name}, {path}: {head}"
            );
            assert_eq!(header(&head, "connection"), ["close"], "{name}, {path}");
            let length: usize = header(&head, "content-length")[0]
                .parse()
                .expect("a length");
            assert_eq!(
                viewer.rest().await.len(),
                length,
                "{name}, {path}: the connection ends behind it"
            );
        }
    }
    let lines = [
        ("another version", "GET /live/a.flv HTTP/2.0", 505),
        ("no version", "GET /live/a.flv", 400),
        ("two spaces", "GET  /live/a.flv HTTP/1.1", 400),
        ("a tunnel", "CONNECT example.com:443 HTTP/1.1", 501),
        ("no path", "GET live/a.flv HTTP/1.1", 400),
        ("a fragment", "GET /live/a.flv#x HTTP/1.1", 400),
        (
            "a long target",
            &format!("GET /live/{endless}.flv HTTP/1.1"),
            431,
        ),
        ("something else", "\x16\x03\x01\x02\0\x01\0", 400),
    ];
    for (name, line, expected) in lines {
        let (status, _) = talk(house.at.http, &format!("{line}\r\nHost: x\r\n\r\n")).await;
        assert_eq!(status, expected, "{name}");
    }
    assert!(origin.visits().is_empty());
    assert!(house.proxy.sessions().is_empty());
}

#[tokio::test]
async fn a_later_request_of_a_connection_is_held_to_the_same() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let rows = [
        (
            "two lengths of the body",
            "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        ),
        ("a body", "Host: x\r\nContent-Length: 5\r\n"),
        ("chunks", "Host: x\r\nTransfer-Encoding: chunked\r\n"),
        ("no host", "X-A: 1\r\n"),
        ("two hosts", "Host: x\r\nHost: y\r\n"),
        ("a folded header", "Host: x\r\nX-A: 1\r\n 2\r\n"),
    ];
    for (name, headers) in rows {
        let mut viewer = Viewer::send(house.at.http, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let head = viewer.head().await;
        viewer
            .take(
                header(&head, "content-length")[0]
                    .parse()
                    .expect("a length"),
            )
            .await;
        viewer
            .more(format!(
                "GET /live/a.flv HTTP/1.1\r\n{headers}\r\n0\r\n\r\n"
            ))
            .await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 400 "), "{name}: {head}");
    }
    assert!(origin.visits().is_empty(), "{}", origin.visits()[0].head);
}

#[tokio::test]
async fn a_pull_with_a_body_or_another_method_is_refused() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let rows = [
        ("GET", "Content-Length: 5\r\n\r\nhello", 400),
        ("GET", "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST", "Content-Length: 5\r\n\r\nhello", 405),
        ("PUT", "\r\n", 405),
        ("DELETE", "\r\n", 405),
    ];
    for (method, rest, expected) in rows {
        let mut viewer = Viewer::send(
            house.at.http,
            format!("{method} /live/a.flv HTTP/1.1\r\nHost: x\r\n{rest}"),
        )
        .await;
        let head = viewer.head().await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{method} {rest:?}: {head}"
        );
        let allowed = header(&head, "allow");
        assert_eq!(
            allowed == ["GET, HEAD"],
            expected == 405,
            "{method}: {head}"
        );
    }
    for target in ["/live/a.m3u8", "/live/a-1.ts"] {
        let request = format!("DELETE {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let head = Viewer::send(house.at.http, request).await.head().await;
        assert!(head.starts_with("HTTP/1.1 405 "), "{target}: {head}");
        assert_eq!(header(&head, "allow"), ["GET, HEAD"], "{target}");
    }
    assert!(origin.visits().is_empty());
}

#[tokio::test]
async fn names_that_are_no_stream_are_refused_without_a_row() {
    let house = House::open("").await;
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let long = format!("/live/{}.flv", "a".repeat(4000));
    for target in [
        "/.flv",
        "/live/../a.flv",
        "/live/%2e%2e/a.flv",
        "/live/a%0d%0ab.flv",
        "/live/a%00.flv",
        &long,
    ] {
        for way in WAYS {
            let head = Viewer::pull(house.at.http, way, target).await.head().await;
            assert!(
                head.starts_with("HTTP/1.1 400 "),
                "{target} {way:?}: {head}"
            );
        }
    }
    assert!(house.proxy.registry().placements().is_empty());
}

#[tokio::test]
async fn an_absolute_target_names_its_host() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let request = "GET http://a.example/live/a.flv?t=1 HTTP/1.1\r\nHost: b.example\r\n\r\n";
    let mut viewer = Viewer::send(house.at.http, request).await;
    viewer.head().await;
    let visit = origin.visit(0).await;
    assert_eq!(visit.request_line(), "GET /live/a.flv?t=1 HTTP/1.1");
    assert_eq!(visit.all("host"), ["a.example"]);
    assert_eq!(
        house.proxy.sessions().list()[0].request.stream.to_string(),
        "a.example/live/a"
    );
}

#[tokio::test]
async fn a_head_that_drips_is_not_waited_for() {
    let house = House::open("[http]\nhead_timeout = \"400ms\"\n").await;
    let request =
        "GET /live/a.flv HTTP/1.1\r\nHost: example.com\r\nX-A: a long line that takes its time";
    for again in [false, true] {
        let mut viewer = if again {
            let mut viewer =
                Viewer::send(house.at.http, "GET /page HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let head = viewer.head().await;
            viewer
                .take(
                    header(&head, "content-length")[0]
                        .parse()
                        .expect("a length"),
                )
                .await;
            viewer
        } else {
            Viewer::send(house.at.http, "").await
        };
        // Sending a byte now and then does not extend the deadline: it would go on for ever.
        let drip = async {
            for byte in request.bytes().chain(iter::repeat(b'x')) {
                if viewer.socket.write_all(&[byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let given_up = timeout(PATIENCE, drip).await.is_ok();
        assert!(given_up, "again: {again}");
    }
    let silent = Viewer::send(house.at.http, "").await;
    assert!(silent.rest().await.is_empty());
}

#[tokio::test]
async fn files_and_pages_are_served() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("players")).unwrap();
    std::fs::write(root.path().join("players/index.html"), "<p>players").unwrap();
    std::fs::write(root.path().join("demo.html"), "shadowed").unwrap();
    std::fs::write(
        root.path()
            .parent()
            .unwrap()
            .join("sluicegate-story-secret"),
        "secret",
    )
    .unwrap();
    let settings = format!(
        "[http]\nstatic_files = {:?}\n",
        root.path().to_str().unwrap()
    );
    let pages = Pages {
        switches: None,
        find: |path| {
            (path == "/demo.html").then_some(("text/html; charset=utf-8", &b"<p>demo"[..]))
        },
        content_security_policy: hyper::header::HeaderValue::from_static("default-src 'self'"),
    };
    let house = House::open_with(&settings, |server| server.with_pages(pages)).await;

    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut viewer = Viewer::send(house.at.http, ask("/players/?x=1")).await;
    let head = viewer.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&head, "content-type"), ["text/html; charset=utf-8"]);
    assert_eq!(viewer.take(10).await, b"<p>players");

    viewer.more(ask("/demo.html").replace("GET", "HEAD")).await;
    let head = viewer.head().await;
    assert_eq!(header(&head, "content-length"), ["7"], "{head}");
    viewer.more(ask("/demo.html")).await;
    let head = viewer.head().await;
    assert_eq!(
        header(&head, "content-security-policy"),
        ["default-src 'self'"]
    );
    assert_eq!(
        viewer.take(7).await,
        b"<p>demo",
        "pages of the program come first, and HEAD sent no body"
    );
    for (method, expected) in [("GET", "304"), ("HEAD", "304"), ("POST", "405")] {
        let known = format!(
            "{method} /demo.html HTTP/1.1\r\nHost: x\r\nIf-None-Match: *\r\nContent-Length: 0\r\n\r\n"
        );
        let head = Viewer::send(house.at.http, known).await.head().await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {expected} ")),
            "{method}: {head}"
        );
    }

    for path in [
        "/none",
        "/../sluicegate-story-secret",
        "/%2e%2e/sluicegate-story-secret",
        "/players/../../x",
    ] {
        let (status, body) = get(house.at.http, path).await;
        assert_eq!(
            (status, body.as_str()),
            (404, "nothing is here\n"),
            "{path}"
        );
    }
    std::fs::remove_file(
        root.path()
            .parent()
            .unwrap()
            .join("sluicegate-story-secret"),
    )
    .unwrap();
}

#[tokio::test]
async fn every_port_tells_its_version_in_its_own_shape() {
    let house = House::open("").await;
    let version = env!("CARGO_PKG_VERSION");
    let short = format!(r#"{{"signature":"Sluicegate","version":"{version}"}}"#);
    for at in [house.at.system, house.at.api] {
        assert_eq!(get(at, "/api/v1/versions").await, (200, short.clone()));
    }
    let (status, body) = get(house.at.http, "/api/v1/versions").await;
    let long: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let numbers: Vec<u64> = version
        .split('.')
        .map(|number| number.parse().unwrap())
        .collect();
    let expected = serde_json::json!({
        "code": 0,
        "pid": std::process::id().to_string(),
        "data": {"major": numbers[0], "minor": numbers[1], "revision": numbers[2], "version": version},
    });
    assert_eq!((status, long), (200, expected));
}

#[tokio::test]
async fn health_is_told_on_the_http_port_by_setting_only() {
    let house = House::open("").await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(get(house.at.http, path).await.0, 404, "{path}");
        assert_eq!(get(house.at.system, path).await.0, 200, "{path}");
    }
    let house = House::open("[http]\nhealth = true\n").await;
    assert_eq!(
        get(house.at.http, "/livez").await,
        (200, r#"{"alive":true}"#.to_owned())
    );
    let (status, body) = get(house.at.http, "/readyz").await;
    assert!(status == 200 && body.contains(r#""ready":true"#), "{body}");

    let house = House::open("[http]\nhealth = true\n[system]\nready_needs_origin = true\n").await;
    assert_eq!(get(house.at.http, "/readyz").await.0, 503, "no origin yet");
    house.register("one", "127.0.0.1:1".parse().unwrap());
    assert_eq!(get(house.at.http, "/readyz").await.0, 200);
}

#[tokio::test]
async fn a_connection_that_waits_for_its_next_request_does_not_hold_up_a_stop() {
    let mut house = House::open("[shutdown]\ngrace = \"60s\"\n").await;
    let mut viewer = Viewer::pull(house.at.http, Way::Second, "/api/v1/versions").await;
    viewer.head().await;
    house.stop.cancel();
    let stopped = timeout(PATIENCE, &mut house.serving).await;
    stopped.expect("long before the grace is over").unwrap();
}
