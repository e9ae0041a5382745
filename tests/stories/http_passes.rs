//! What a viewer requests reaches the origin, and what the origin answers reaches the viewer.

use std::time::Duration;

use tokio::net::TcpStream;

use crate::call;
use crate::house::{House, until};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, WAYS, Way, header, say};

#[tokio::test]
async fn the_request_reaches_the_origin_as_it_was_sent() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), say("media")]).await;
    for (index, way) in WAYS.into_iter().enumerate() {
        let headers = "User-Agent: Spieler/1 \u{fc}ber\r\nReferer: http://page.example/\r\nRange: bytes=0-\r\n\
                       Authorization: Basic eDp5\r\nCookie: a=1; b=2\r\n\
                       Connection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n\
                       Proxy-Authorization: Basic c2VjcmV0\r\n";
        let mut viewer = Viewer::pull_with(
            house.at.http,
            way,
            "/live/a.flv?token=a%20b&vhost=v.example",
            headers,
        )
        .await;
        let head = viewer.head().await;
        assert_eq!(viewer.take_body(&head, 5).await, b"media");
        let visit = origin.visit(index).await;
        assert_eq!(
            visit.request_line(),
            "GET /live/a.flv?token=a%20b&vhost=v.example HTTP/1.1",
            "{way:?}"
        );
        for (name, expected) in [
            ("host", "example.com:8080"),
            ("user-agent", "Spieler/1 \u{fc}ber"),
            ("referer", "http://page.example/"),
            ("range", "bytes=0-"),
            ("authorization", "Basic eDp5"),
            ("cookie", "a=1; b=2"),
            ("connection", "close"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "example.com:8080"),
        ] {
            assert_eq!(
                visit.all(name),
                [expected],
                "{way:?} {name}: {}",
                visit.head
            );
        }
        for name in [
            "x-mine",
            "keep-alive",
            "te",
            "proxy-authorization",
            "transfer-encoding",
            "content-length",
        ] {
            assert!(visit.all(name).is_empty(), "{way:?} {name}: {}", visit.head);
        }
        assert!(visit.rest.is_empty(), "nothing follows a pull");
    }
}

#[tokio::test]
async fn a_clients_word_about_its_address_is_replaced() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    for (index, way) in WAYS.into_iter().enumerate() {
        let forged = "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 8.8.8.8\r\nX-Real-IP: 9.9.9.9\r\n\
                      Forwarded: for=9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\n";
        let mut viewer = Viewer::pull_with(house.at.http, way, "/live/a.flv", forged).await;
        viewer.head().await;
        let visit = origin.visit(index).await;
        assert_eq!(visit.all("x-forwarded-for"), ["127.0.0.1"], "{way:?}");
        assert_eq!(visit.all("x-forwarded-proto"), ["http"], "{way:?}");
        assert_eq!(
            visit.all("x-forwarded-host"),
            ["example.com:8080"],
            "{way:?}"
        );
        assert!(
            !visit.head.contains("9.9.9.9") && !visit.head.contains("evil"),
            "{way:?}: {}",
            visit.head
        );
        let row = house.proxy.sessions().list().pop().expect("a session");
        assert_eq!(row.request.client.ip().to_string(), "127.0.0.1", "{way:?}");
    }
}

#[tokio::test]
async fn a_trusted_proxys_word_is_kept_and_extended() {
    let house = House::open("[http]\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let rows = [
        (
            "one hop",
            "X-Forwarded-For: 203.0.113.9\r\n",
            "203.0.113.9, 127.0.0.1",
            "203.0.113.9",
        ),
        (
            "what the client forged stands before what the proxy saw",
            "X-Forwarded-For: 9.9.9.9, 203.0.113.9\r\n",
            "9.9.9.9, 203.0.113.9, 127.0.0.1",
            "203.0.113.9",
        ),
        (
            "a proxy behind a proxy",
            "X-Forwarded-For: 203.0.113.9, 10.1.2.3\r\n",
            "203.0.113.9, 10.1.2.3, 127.0.0.1",
            "203.0.113.9",
        ),
        (
            "two lines",
            "X-Forwarded-For: 9.9.9.9\r\nX-Forwarded-For: 203.0.113.9\r\n",
            "9.9.9.9, 203.0.113.9, 127.0.0.1",
            "203.0.113.9",
        ),
        (
            "with a port",
            "X-Forwarded-For: 203.0.113.9:4242\r\n",
            "203.0.113.9:4242, 127.0.0.1",
            "203.0.113.9",
        ),
        (
            "IPv6",
            "X-Forwarded-For: [2001:db8::1]:4242\r\n",
            "[2001:db8::1]:4242, 127.0.0.1",
            "2001:db8::1",
        ),
        (
            "only proxies",
            "X-Forwarded-For: 10.0.0.1\r\n",
            "10.0.0.1, 127.0.0.1",
            "10.0.0.1",
        ),
        (
            "no address",
            "X-Forwarded-For: 203.0.113.9, unknown\r\n",
            "203.0.113.9, unknown, 127.0.0.1",
            "127.0.0.1",
        ),
        ("nothing", "", "127.0.0.1", "127.0.0.1"),
    ];
    let mut index = 0;
    for (name, headers, chain, client) in rows {
        for way in WAYS {
            let headers =
                format!("{headers}X-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n");
            let mut viewer = Viewer::pull_with(house.at.http, way, "/live/a.flv", &headers).await;
            viewer.head().await;
            let visit = origin.visit(index).await;
            index += 1;
            assert_eq!(visit.all("x-forwarded-for"), [chain], "{name} {way:?}");
            assert_eq!(visit.all("x-forwarded-proto"), ["https"], "{name} {way:?}");
            assert_eq!(
                visit.all("x-forwarded-host"),
                ["a.example"],
                "{name} {way:?}"
            );
            let row = house.proxy.sessions().list().pop().expect("a session");
            assert_eq!(
                row.request.client.ip().to_string(),
                client,
                "{name} {way:?}"
            );
            drop(viewer);
            house.until_sessions(0).await;
        }
    }
}

#[tokio::test]
async fn an_answer_comes_back_as_the_origin_gave_it() {
    let rows = [
        (
            "a refusal with its body",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 7\r\nServer: SRS\r\nX-Why: gone\r\n\r\nno such",
            "404 Not Found",
            vec![
                ("server", "SRS"),
                ("x-why", "gone"),
                ("content-length", "7"),
            ],
            "no such",
        ),
        (
            "a redirect",
            "HTTP/1.1 302 Found\r\nLocation: http://cdn.example/live/a.flv?hls_ctx=1\r\nContent-Length: 0\r\n\r\n",
            "302 Found",
            vec![("location", "http://cdn.example/live/a.flv?hls_ctx=1")],
            "",
        ),
        (
            "a part",
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n\r\nmedia",
            "206 Partial Content",
            vec![("content-range", "bytes 0-4/5")],
            "media",
        ),
        (
            "two cookies",
            "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5\r\n\r\nmedia",
            "200 OK",
            vec![("set-cookie", "a=1"), ("set-cookie", "b=2")],
            "media",
        ),
    ];
    for (name, answer, status, headers, body) in rows {
        let house = House::open("").await;
        let _origin = HttpOrigin::join(&house, "one", vec![say(answer)]).await;
        for way in WAYS {
            let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
            let head = viewer.head().await;
            assert_eq!(
                head.lines().next(),
                Some(format!("HTTP/1.1 {status}").as_str()),
                "{name} {way:?}"
            );
            for (header_name, value) in &headers {
                assert!(
                    header(&head, header_name).contains(value),
                    "{name} {way:?}: {head}"
                );
            }
            assert_eq!(
                viewer.take(body.len()).await,
                body.as_bytes(),
                "{name} {way:?}"
            );
        }
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn what_concerns_the_origins_connection_only_stays_behind() {
    let house = House::open("").await;
    let answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\n\
                  Proxy-Authenticate: Basic\r\nTrailer: X\r\nUpgrade: h2c\r\nContent-Length: 5\r\n\r\nmedia";
    let _origin = HttpOrigin::join(&house, "one", vec![say(answer), Step::Hold]).await;
    for way in WAYS {
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        for name in [
            "keep-alive",
            "x-hop",
            "proxy-authenticate",
            "trailer",
            "upgrade",
        ] {
            assert!(header(&head, name).is_empty(), "{way:?} {name}: {head}");
        }
        assert!(
            !head.contains("X-Hop") && !head.contains("x-hop"),
            "{way:?}: {head}"
        );
        assert_eq!(viewer.take(5).await, b"media", "{way:?}");
    }
}

#[tokio::test]
async fn every_page_may_play_unless_the_origin_has_its_own_rule() {
    let own = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://mine.example\r\nContent-Length: 0\r\n\r\n";
    let partial =
        "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Methods: GET\r\nContent-Length: 0\r\n\r\n";
    let none = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (answer, expected) in [
        (own, vec!["https://mine.example"]),
        (partial, vec![]),
        (none, vec!["*"]),
    ] {
        let house = House::open("").await;
        let _origin = HttpOrigin::join(&house, "one", vec![say(answer)]).await;
        for way in WAYS {
            let head = Viewer::pull(house.at.http, way, "/live/a.flv")
                .await
                .head()
                .await;
            assert_eq!(
                header(&head, "access-control-allow-origin"),
                expected,
                "{way:?}: {head}"
            );
        }
    }
}

#[tokio::test]
async fn a_chunked_body_arrives_byte_for_byte() {
    let house = House::open("").await;
    let media: Vec<u8> = (0..300_000_u32).map(|i| (i % 251) as u8).collect();
    let mut script = vec![say(
        "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n",
    )];
    let mut wire = Vec::new();
    for part in media.chunks(7_001) {
        let mut chunk = format!("{:x}\r\n", part.len()).into_bytes();
        chunk.extend_from_slice(part);
        chunk.extend_from_slice(b"\r\n");
        wire.extend_from_slice(&chunk);
        script.push(Step::Say(chunk));
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    script.push(say("0\r\n\r\n"));
    let _origin = HttpOrigin::join(&house, "one", script).await;
    let mut viewer = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    let head = viewer.head().await;
    assert_eq!(header(&head, "transfer-encoding"), ["chunked"]);
    assert!(
        viewer.rest().await == wire,
        "the bytes after the head are the origin's own"
    );

    let mut viewer = Viewer::pull(house.at.http, Way::Second, "/live/a.flv").await;
    let head = viewer.head().await;
    assert_eq!(header(&head, "transfer-encoding"), ["chunked"]);
    assert!(viewer.take_body(&head, media.len()).await == media);
    assert_eq!(viewer.take(5).await, b"0\r\n\r\n", "its end is told");
    viewer
        .more("GET /again HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await;
    assert!(
        viewer.head().await.starts_with("HTTP/1.1 404 "),
        "the connection can be used again"
    );
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_arrives_byte_for_byte() {
    let house = House::open("").await;
    let media: Vec<u8> = (0..300_000_u32).map(|i| (i % 253) as u8).collect();
    let mut first = STREAM.as_bytes().to_vec();
    first.extend_from_slice(&media[..100]);
    let mut script = vec![Step::Say(first)];
    script.extend(media[100..].chunks(9_999).map(say));
    let _origin = HttpOrigin::join(&house, "one", script).await;
    for way in WAYS {
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert_eq!(header(&head, "content-type"), ["video/x-flv"]);
        assert!(
            viewer.take_body(&head, media.len()).await == media,
            "{way:?}"
        );
        if way == Way::First {
            assert!(viewer.rest().await.is_empty());
        }
    }
    house.until_sessions(0).await;
    let metrics = house.proxy.metrics().render();
    let passed: u64 = metrics
        .lines()
        .find_map(|line| {
            line.strip_prefix(
                r#"sluicegate_relayed_bytes_total{protocol="http_flv",direction="to_client"} "#,
            )
        })
        .expect("a sample")
        .parse()
        .expect("a number");
    assert!(
        (600_000..601_000).contains(&passed),
        "both are counted: {passed}"
    );
    let ended = r#"sluicegate_sessions_ended_total{protocol="http_flv",action="play",reason="origin_closed"} 2"#;
    until("the accounts", || {
        house.proxy.metrics().render().contains(ended)
    })
    .await;
}

#[tokio::test]
async fn an_http_1_0_viewer_is_served() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), say("media")]).await;
    let mut viewer = Viewer::send(
        house.at.http,
        "GET /live/a.flv?t=1 HTTP/1.0\r\nUser-Agent: old\r\n\r\n",
    )
    .await;
    assert!(viewer.head().await.contains(" 200 OK"));
    assert_eq!(viewer.rest().await, b"media");
    assert_eq!(
        origin.visit(0).await.request_line(),
        "GET /live/a.flv?t=1 HTTP/1.0",
        "an origin must not send chunks"
    );
}

#[tokio::test]
async fn an_http_1_0_viewer_that_asked_before_gets_no_chunks() {
    let house = House::open("").await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmedia\r\n0\r\n\r\n";
    let _origin = HttpOrigin::join(&house, "one", vec![say(chunked)]).await;
    let page = "GET /page HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    let mut viewer = Viewer::send(house.at.http, page).await;
    let head = viewer.head().await;
    viewer
        .take(
            header(&head, "content-length")[0]
                .parse()
                .expect("a length"),
        )
        .await;
    viewer
        .more("GET /live/a.flv HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .await;
    let head = viewer.head().await;
    assert!(header(&head, "transfer-encoding").is_empty(), "{head}");
    assert_eq!(viewer.rest().await, b"media");
}

#[tokio::test]
async fn head_is_answered_by_the_origins_head() {
    let house = House::open("").await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nX-Mine: 1\r\n\r\n";
    let origin = HttpOrigin::join(&house, "one", vec![say(answer), Step::Hold]).await;
    let request = "HEAD /live/a.flv?t=1 HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let mut viewer = Viewer::send(house.at.http, request).await;
    for round in 0..2 {
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert_eq!(header(&head, "x-mine"), ["1"]);
        assert_eq!(header(&head, "content-type"), ["video/x-flv"]);
        assert_eq!(
            origin.visit(round).await.request_line(),
            "HEAD /live/a.flv?t=1 HTTP/1.1"
        );
        origin.until_closed(round + 1).await;
        house.until_sessions(0).await;
        viewer.more(request).await;
    }
    assert!(
        viewer.head().await.starts_with("HTTP/1.1 200 OK"),
        "a second and a third are answered without a body between"
    );
    drop(viewer);
    let ended = house.proxy.metrics().render();
    assert!(!ended.contains("reason=\"drained\""), "{ended}");
}

#[tokio::test]
async fn a_browser_that_asks_first_hears_that_it_may() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM)]).await;
    let request = "OPTIONS /live/a.flv HTTP/1.1\r\nHost: example.com\r\nOrigin: https://page.example\r\n\
                   Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\n\r\n";
    let mut viewer = Viewer::send(house.at.http, request).await;
    let head = viewer.head().await;
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
    let headers = header(&head, "access-control-allow-headers");
    assert_eq!(headers, ["Authorization, *"]);
    assert!(header(&head, "access-control-allow-methods")[0].contains("GET"));
    viewer.more(request).await;
    assert!(
        viewer.head().await.starts_with("HTTP/1.1 204 "),
        "it has no body and the connection stays"
    );
    let visits = origin.visits().len();
    assert_eq!(
        visits, 2,
        "the origin has no rule of its own, when it is asked"
    );
}

#[tokio::test]
async fn a_websocket_passes_both_ways() {
    let house = House::open("").await;
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x02hello";
    let origin = HttpOrigin::join(&house, "one", vec![say(switch), Step::Echo]).await;
    for (index, way) in WAYS.into_iter().enumerate() {
        let headers = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: flv\r\n";
        let mut viewer = Viewer::pull_with(house.at.http, way, "/live/a.flv", headers).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{way:?}: {head}");
        assert_eq!(header(&head, "upgrade"), ["websocket"], "{way:?}");
        assert_eq!(
            header(&head, "connection").join(",").to_lowercase(),
            "upgrade",
            "{way:?}"
        );
        assert_eq!(
            header(&head, "sec-websocket-accept"),
            ["s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
            "{way:?}"
        );
        assert_eq!(viewer.take(6).await, b"\x02hello", "{way:?}");
        let visit = origin.visit(index).await;
        assert_eq!(visit.all("upgrade"), ["websocket"], "{way:?}");
        assert_eq!(
            visit.all("sec-websocket-key"),
            ["dGhlIHNhbXBsZSBub25jZQ=="],
            "{way:?}"
        );
        assert_eq!(visit.all("sec-websocket-protocol"), ["flv"], "{way:?}");
        for frame in [&b"\x89\x80abcd"[..], b"\x88\x82abcd12"] {
            viewer.more(frame).await;
            assert_eq!(viewer.take(frame.len()).await, frame, "{way:?}");
        }
        drop(viewer);
        origin.until_closed(index + 1).await;
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn an_origin_that_does_not_switch_answers_for_itself() {
    let house = House::open("").await;
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), say("media")]).await;
    for way in WAYS {
        let headers = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        let mut viewer = Viewer::pull_with(house.at.http, way, "/live/a.flv", headers).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{way:?}: {head}");
        assert_eq!(viewer.take_body(&head, 5).await, b"media");
    }
}

#[tokio::test]
async fn an_interim_answer_does_not_stand_for_the_answer() {
    let house = House::open("").await;
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let _origin =
        HttpOrigin::join(&house, "one", vec![say(early), say(STREAM), say("media")]).await;
    for way in WAYS {
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{way:?}: {head}");
        assert_eq!(
            header(&head, "access-control-allow-origin"),
            ["*"],
            "{way:?}"
        );
        assert_eq!(viewer.take_body(&head, 5).await, b"media");
    }
}

#[tokio::test]
async fn every_format_has_its_own_label() {
    let house = House::open("").await;
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let mut viewers: Vec<Viewer> = Vec::new();
    for name in ["a.flv", "a.ts", "a.aac", "a.mp3", "a.FLV"] {
        let mut viewer = Viewer::pull(house.at.http, Way::First, &format!("/live/{name}")).await;
        viewer.head().await;
        viewers.push(viewer);
    }
    let (_, metrics) = crate::house::get(house.at.system, "/metrics").await;
    for (protocol, count) in [
        ("http_flv", 2),
        ("http_ts", 1),
        ("http_aac", 1),
        ("http_mp3", 1),
    ] {
        let sample =
            format!("sluicegate_sessions{{protocol=\"{protocol}\",action=\"play\"}} {count}\n");
        assert!(metrics.contains(&sample), "{sample}{metrics}");
    }
    assert_eq!(
        house.proxy.registry().placements().len(),
        1,
        "they are one stream"
    );
}

#[tokio::test]
async fn a_proxy_protocol_header_says_who_the_viewer_is() {
    let house = House::open("[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let request =
        "GET /live/a.flv HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n";
    let v1 = format!("PROXY TCP4 203.0.113.9 127.0.0.1 4242 8080\r\n{request}");
    let mut v2 =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x09\x7f\0\0\x01\x10\x92\x1f\x90".to_vec();
    v2.extend_from_slice(request.as_bytes());
    for (index, bytes) in [v1.into_bytes(), v2].into_iter().enumerate() {
        let mut viewer = Viewer::send(house.at.http, bytes).await;
        viewer.head().await;
        assert_eq!(
            origin.visit(index).await.all("x-forwarded-for"),
            ["203.0.113.9"]
        );
        let row = house.proxy.sessions().list().pop().expect("a session");
        assert_eq!(row.request.client.to_string(), "203.0.113.9:4242");
        drop(viewer);
        house.until_sessions(0).await;
    }
    let page = "PROXY TCP4 203.0.113.9 127.0.0.1 4242 8080\r\nGET /page HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let mut viewer = Viewer::send(house.at.http, page).await;
    viewer.head().await;
    let without = Viewer::send(house.at.http, request).await;
    assert!(
        without.rest().await.is_empty(),
        "a listed peer has to send one"
    );
    assert_eq!(origin.visits().len(), 2);
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_by_where_it_connects_from() {
    let (usual, standard) = ("X-Forwarded-Proto: https", "Forwarded: for=_a;proto=https");
    for (cause, trusted, says, told) in [
        ("the proxy that connects", "127.0.0.0/8", usual, "https"),
        (
            "the proxy behind a balancer of connections",
            "203.0.113.0/24",
            usual,
            "https",
        ),
        ("neither of them", "192.0.2.0/24", usual, "http"),
        ("by RFC 7239", "127.0.0.0/8", standard, "https"),
        ("by RFC 7239, neither", "192.0.2.0/24", standard, "http"),
    ] {
        let house = House::open(&format!(
            "[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n[http]\ntrusted_proxies = [\"{trusted}\"]\n"
        ))
        .await;
        let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
        let header = "PROXY TCP4 203.0.113.9 127.0.0.1 4242 8080\r\n";
        let request =
            format!("{header}GET /live/a.flv HTTP/1.1\r\nHost: example.com\r\n{says}\r\n\r\n");
        let mut viewer = Viewer::send(house.at.http, request).await;
        viewer.head().await;
        let visit = origin.visit(0).await;
        assert_eq!(visit.all("x-forwarded-proto"), [told], "{cause}");
        assert_eq!(visit.all("x-forwarded-for"), ["203.0.113.9"], "{cause}");
    }
}

#[tokio::test]
async fn an_origin_that_wants_a_proxy_protocol_header_gets_one() {
    let house = House::open("[origins]\nproxy_protocol_v1 = [\"one\"]\n").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Hold]).await;
    let mut viewer = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    viewer.head().await;
    let local: std::net::SocketAddr = TcpStream::local_addr(&viewer.socket).expect("connected");
    let expected = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {} {}",
        local.port(),
        house.at.http.port()
    );
    assert_eq!(origin.visit(0).await.request_line(), expected);
}

#[tokio::test]
async fn an_origin_that_wants_a_header_gets_one_with_the_end_of_a_call_too() {
    let house = House::open("[origins]\nproxy_protocol_v1 = [\"edge-1\"]\n").await;
    let answer = call::sdp("orig");
    let length = answer.len();
    let created = format!(
        "HTTP/1.1 201 Created\r\nLocation: /call/1\r\nContent-Type: application/sdp\r\n\
         Content-Length: {length}\r\n\r\n{answer}"
    );
    let origin = HttpOrigin::start(vec![say(created)]).await;
    let api = origin.at.port();
    let endpoints = format!(r#""device_id":"edge-1","api":["{api}"],"rtc":["{api}"]"#);
    house.register_with("one", &endpoints);
    let target = "/rtc/v1/whip/?app=live&stream=a";
    let (status, head, _) = call::ask(house.at.api, "POST", target, &call::sdp("clnt")).await;
    assert_eq!(status, 201, "{head}");
    let resource = call::location(&head);
    call::ask(house.at.api, "DELETE", &resource, "").await;
    for visit in 0..2 {
        let visit = origin.visit(visit).await;
        let line = visit.request_line();
        assert!(line.starts_with("PROXY TCP4 127.0.0.1 "), "{line}");
    }
}

#[tokio::test]
async fn a_viewer_that_knows_no_chunks_gets_none() {
    let house = House::open("").await;
    let chunked =
        "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n";
    // In every part of a chunk, and with its first bytes in the read that brings the head.
    let rest = ["5\r\nmed", "ia\r", "\n3;of=1", "\r\nend\r\n", "0\r\n\r\n"];
    let mut script = vec![say(format!("{chunked}2\r\n: \r\n"))];
    for part in rest {
        script.extend([Step::Wait(Duration::from_millis(20)), say(part)]);
    }
    let _origin = HttpOrigin::join(&house, "one", script).await;
    let mut viewer = Viewer::send(house.at.http, OF_HTTP_1_0).await;
    let head = viewer.head().await;
    assert!(header(&head, "transfer-encoding").is_empty(), "{head}");
    assert_eq!(viewer.rest().await, b": mediaend");
}

/// Only the end of its connection tells it that the body is over.
#[tokio::test]
async fn a_viewer_that_knows_no_chunks_is_let_go_after_the_last_one() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let pause = Step::Wait(Duration::from_millis(20));
    for (cause, said) in [
        (
            "with the head",
            vec![say(format!("{chunked}3\r\nend\r\n0\r\n\r\n"))],
        ),
        (
            "with the last bytes",
            vec![
                say(format!("{chunked}1\r\ne\r\n")),
                pause.clone(),
                say("2\r\nnd\r\n0\r\n\r\n"),
            ],
        ),
        (
            "alone",
            vec![
                say(format!("{chunked}3\r\nend\r\n")),
                pause.clone(),
                say("0\r\n\r\n"),
            ],
        ),
    ] {
        let house = House::open("[session]\nplayer_idle = \"300s\"\n").await;
        let keeps = [said, vec![Step::Hold]].concat();
        let origin = HttpOrigin::join(&house, "one", keeps).await;
        let mut viewer = Viewer::send(house.at.http, OF_HTTP_1_0).await;
        viewer.head().await;
        assert_eq!(viewer.rest().await, b"end", "{cause}");
        origin.until_closed(1).await;
        house.until_sessions(0).await;
        let ended = house.proxy.sessions().ended();
        assert_eq!(ended[0].reason.as_str(), "origin_closed", "{cause}");
    }
}

const OF_HTTP_1_0: &str = "GET /live/a.flv HTTP/1.0\r\nHost: example.com\r\n\r\n";
