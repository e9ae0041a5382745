//! Requests for pieces, one after another on a connection: their form, and that of what an origin answers.

use tokio::time::timeout;

use crate::house::{House, PATIENCE};
use crate::http_origin::{Viewer, header};
use crate::http_pieces::{Packager, Reply};
use crate::http_requests::broken_heads;

const PLAYLIST: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-1.ts\n";

fn request(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h.example\r\n\r\n")
}

async fn playlists(house: &House) -> Packager {
    Packager::join(house, "one", |target: &str, _: &str| match target {
        "/live/a.m3u8" => Reply::ok("", PLAYLIST),
        _ => Reply::missing(),
    })
    .await
}

/// The status of the next answer, and its body.
async fn hear(viewer: &mut Viewer) -> (String, Vec<u8>) {
    let head = viewer.head().await;
    let length = header(&head, "content-length");
    let length = length.first().expect("a length").parse();
    let body = viewer.take(length.expect("a number")).await;
    let status = head.split(' ').nth(1).expect("a status").to_owned();
    (status, body)
}

#[tokio::test]
async fn requests_of_every_kind_are_answered_in_turn_on_one_connection() {
    let house = House::open("").await;
    let origin = playlists(&house).await;
    let targets = [
        "/live/a.m3u8",
        "/live/a.m3u8",
        "/live/none.m3u8",
        "/api/v1/versions",
        "/live/a.m3u8",
    ];
    let all: String = targets.iter().map(|target| request(target)).collect();
    let mut viewer = Viewer::send(house.at.http, all).await;
    for target in targets {
        let (status, body) = hear(&mut viewer).await;
        let expected = match target {
            "/live/none.m3u8" => "404",
            _ => "200",
        };
        assert_eq!(status, expected, "{target}");
        let is_playlist = body.starts_with(b"#EXTM3U");
        assert_eq!(is_playlist, target == "/live/a.m3u8", "{target}");
    }
    assert_eq!(origin.count("/live/a.m3u8"), 3);
}

#[tokio::test]
async fn a_later_request_for_a_piece_is_held_to_the_same_rules() {
    let house = House::open("").await;
    let origin = playlists(&house).await;
    let bodies = [
        ("a body", "Host: x\r\nContent-Length: 5\r\n"),
        ("chunks", "Host: x\r\nTransfer-Encoding: chunked\r\n"),
    ];
    let bodies = bodies.map(|(cause, lines)| (cause, lines.to_owned(), 400));
    for (cause, lines, expected) in broken_heads().into_iter().chain(bodies) {
        let mut viewer = Viewer::send(house.at.http, request("/live/a.m3u8")).await;
        assert_eq!(hear(&mut viewer).await.0, "200", "{cause}");
        let second = format!("GET /live/none.m3u8 HTTP/1.1\r\n{lines}\r\n0\r\n\r\n");
        viewer.more(second).await;
        let head = viewer.head().await;
        let start = format!("HTTP/1.1 {expected} ");
        assert!(head.starts_with(&start), "{cause}: {head}");
    }
    assert_eq!(
        origin.count("/live/none.m3u8"),
        0,
        "none reached the origin"
    );
}

#[tokio::test]
async fn a_client_that_asks_for_the_end_of_its_connection_gets_it() {
    let house = House::open("").await;
    let _origin = playlists(&house).await;
    let wish = "GET /live/a.m3u8 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let mut viewer = Viewer::send(house.at.http, wish).await;
    let head = viewer.head().await;
    assert_eq!(header(&head, "connection"), ["close"]);
    assert!(header(&head, "date")[0].ends_with(" GMT"), "{head}");
    let length: usize = header(&head, "content-length")[0]
        .parse()
        .expect("a length");
    assert_eq!(viewer.rest().await.len(), length);
}

#[tokio::test]
async fn a_player_that_waits_for_its_next_request_does_not_hold_up_a_stop() {
    let mut house = House::open("[shutdown]\ngrace = \"60s\"\n").await;
    let _origin = playlists(&house).await;
    let mut viewer = Viewer::send(house.at.http, request("/live/a.m3u8")).await;
    assert_eq!(hear(&mut viewer).await.0, "200");
    house.stop.cancel();
    let stopped = timeout(PATIENCE, &mut house.serving).await;
    stopped.expect("long before the grace is over").unwrap();
}

#[tokio::test]
async fn an_origins_answer_ends_where_its_head_says() {
    let length = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let chunks = "2\r\nab\r\n1;x=y\r\nc\r\n0\r\n";
    // What is special; the answer; whether the origin closes after it; connections for two requests.
    let rows = [
        ("a length", format!("{length}\r\nabc"), false, 1),
        (
            "the same length twice",
            format!("{length}Content-Length: 3\r\n\r\nabc"),
            false,
            1,
        ),
        ("chunks", format!("{chunked}\r\n{chunks}\r\n"), false, 1),
        (
            "trailers",
            format!("{chunked}\r\n{chunks}X: y\r\n\r\n"),
            false,
            1,
        ),
        (
            "a hint before it",
            format!("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n{length}\r\nabc"),
            false,
            1,
        ),
        (
            "line ends without CR",
            "HTTP/1.1 200 OK\nContent-Length: 3\n\nabc".to_owned(),
            false,
            1,
        ),
        (
            "up to the end",
            "HTTP/1.1 200 OK\r\n\r\nabc".to_owned(),
            true,
            2,
        ),
        (
            "a close",
            format!("{length}Connection: close\r\n\r\nabc"),
            true,
            2,
        ),
        (
            "a close that does not come",
            format!("{length}Connection: close\r\n\r\nabc"),
            false,
            2,
        ),
        (
            "HTTP/1.0",
            format!("{length}\r\nabc").replacen("1.1", "1.0", 1),
            true,
            2,
        ),
        (
            "a length and chunks",
            format!("{chunked}Content-Length: 9\r\n\r\n{chunks}\r\n"),
            false,
            2,
        ),
        (
            "more than its length",
            format!("{length}\r\nabcdef"),
            false,
            2,
        ),
    ];
    for (cause, answer, close, connections) in rows {
        let house = House::open("").await;
        let reply = Reply {
            bytes: answer.into_bytes(),
            close,
            ..Reply::default()
        };
        let origin = Packager::join(&house, "one", move |_: &str, _: &str| reply.clone()).await;
        let mut viewer = Viewer::send(house.at.http, request("/live/a-1.ts")).await;
        for _ in 0..2 {
            let head = viewer.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{cause}: {head}");
            assert_eq!(viewer.take_body(&head, 3).await, b"abc", "{cause}");
            if header(&head, "transfer-encoding") == ["chunked"] {
                assert_eq!(viewer.take(5).await, b"0\r\n\r\n", "{cause}");
                assert_eq!(
                    header(&head, "content-length"),
                    Vec::<&str>::new(),
                    "{cause}"
                );
            } else {
                assert_eq!(header(&head, "content-length"), ["3"], "{cause}");
            }
            viewer.more(request("/live/a-1.ts")).await;
        }
        viewer.head().await;
        let made = origin.connections_for("/live/a-1.ts");
        // A third answer was asked for, to see that the second ended where it should.
        let expected = if connections == 1 { 1 } else { 3 };
        assert_eq!(made, expected, "{cause}");
    }
}

#[tokio::test]
async fn an_answer_that_two_readers_may_end_at_different_places_is_none() {
    let rows = [
        ("two lengths", "Content-Length: 3\r\nContent-Length: 4\r\n"),
        ("two lengths in a line", "Content-Length: 3, 3\r\n"),
        ("a length with a sign", "Content-Length: +3\r\n"),
        (
            "chunks in another coding",
            "Transfer-Encoding: gzip, chunked\r\n",
        ),
        (
            "chunks twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
    ];
    for (cause, fields) in rows {
        let house = House::open("").await;
        let reply = Reply {
            bytes: format!("HTTP/1.1 200 OK\r\n{fields}\r\nabc").into_bytes(),
            ..Reply::default()
        };
        let _origin = Packager::join(&house, "one", move |_: &str, _: &str| reply.clone()).await;
        let mut viewer = Viewer::send(house.at.http, request("/live/a-1.ts")).await;
        assert_eq!(hear(&mut viewer).await.0, "503", "{cause}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_does_not_look_whole() {
    let rows = [
        ("too short", "Content-Length: 9\r\n\r\nabc", true),
        (
            "a chunk that goes on",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            false,
        ),
        (
            "no last chunk",
            "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            true,
        ),
    ];
    for (cause, answer, close) in rows {
        let house = House::open("").await;
        let reply = Reply {
            bytes: format!("HTTP/1.1 200 OK\r\n{answer}").into_bytes(),
            close,
            ..Reply::default()
        };
        let _origin = Packager::join(&house, "one", move |_: &str, _: &str| reply.clone()).await;
        let mut viewer = Viewer::send(house.at.http, request("/live/a-1.ts")).await;
        let head = viewer.head().await;
        let length = header(&head, "content-length")
            .first()
            .map(|text| text.parse::<usize>());
        let rest = viewer.rest().await;
        match length {
            Some(length) => assert!(rest.len() < length.expect("a number"), "{cause}"),
            None => assert!(!rest.ends_with(b"0\r\n\r\n"), "{cause}"),
        }
    }
}

#[tokio::test]
async fn what_an_origin_says_without_being_asked_answers_nobody() {
    let house = House::open("").await;
    let said = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
    let reply = Reply {
        bytes: format!("{said}{}", said.replace("abc", "not")).into_bytes(),
        ..Reply::default()
    };
    let origin = Packager::join(&house, "one", move |_: &str, _: &str| reply.clone()).await;
    let mut viewer = Viewer::send(house.at.http, request("/live/a-1.ts")).await;
    for round in 0..3 {
        assert_eq!(hear(&mut viewer).await.1, b"abc", "round {round}");
        viewer.more(request("/live/a-1.ts")).await;
    }
    viewer.head().await;
    assert_eq!(origin.connections_for("/live/a-1.ts"), 4, "each its own");
}
