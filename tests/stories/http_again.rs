//! A player that asks for its playlist again and again in the same bytes gets what there is now, and an answer that was
//! given before is as good as a new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use crate::house::{House, talk, until_told};
use crate::http_origin::{Viewer, header};
use crate::http_pieces::{Packager, Reply};

const LIST: &str = "/live/a.m3u8";

fn request(host: &str, target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// A playlist whose newest segment is `name`.
fn playlist(sequence: u32, name: &str) -> String {
    format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n#EXTINF:4,\n{name}\n"
    )
}

/// The next answer: its head, and its body.
async fn hear(viewer: &mut Viewer) -> (String, String) {
    let head = viewer.head().await;
    let length = match header(&head, "content-length").as_slice() {
        [length] => length.parse().expect("a number"),
        lengths => panic!("{lengths:?} in {head}"),
    };
    let body = viewer.take(length).await;
    (head, String::from_utf8(body).expect("text"))
}

/// The same with the head and the body in a write each.
fn in_two_parts(reply: &Reply) -> Reply {
    let at = reply.bytes.windows(4).position(|end| end == b"\r\n\r\n");
    let go = CancellationToken::new();
    go.cancel();
    Reply {
        pause: Some((at.expect("a head") + 4, go)),
        ..reply.clone()
    }
}

fn in_chunks(head: &str, body: &str) -> Reply {
    let length = body.len();
    let text = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{head}\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
    );
    Reply {
        bytes: text.into_bytes(),
        ..Reply::default()
    }
}

#[tokio::test]
async fn the_same_request_gets_what_its_origin_says_each_time() {
    let (first, second, third) = (
        playlist(1, "a-1.ts"),
        playlist(2, "a-2.ts"),
        playlist(3, "a-3.ts"),
    );
    let (one, two) = ("ETag: W/\"1\"\r\n", "ETag: W/\"2\"\r\n");
    let whole = Reply::ok(two, &second);
    let longer = Reply {
        bytes: [&whole.bytes[..], b"HTTP/1.1 200 OK\r\n"].concat(),
        ..Reply::default()
    };
    // What is special; the answer; its tag, and the segment that it lists.
    let rows = [
        ("the first", Reply::ok(one, &first), "1", "a-1.ts"),
        ("the same", Reply::ok(one, &first), "1", "a-1.ts"),
        ("once more", Reply::ok(one, &first), "1", "a-1.ts"),
        ("another head", Reply::ok(two, &first), "2", "a-1.ts"),
        ("another body", whole.clone(), "2", "a-2.ts"),
        ("that again", whole.clone(), "2", "a-2.ts"),
        ("that in two parts", in_two_parts(&whole), "2", "a-2.ts"),
        ("that in chunks", in_chunks(two, &second), "2", "a-2.ts"),
        ("in chunks again", in_chunks(two, &second), "2", "a-2.ts"),
        ("in one piece again", whole.clone(), "2", "a-2.ts"),
        ("more than its length", longer, "2", "a-2.ts"),
        ("on another connection", whole, "2", "a-2.ts"),
        ("the next one", Reply::ok(one, &third), "1", "a-3.ts"),
    ];
    for settings in ["", "[hold]\nviewers = \"0s\"\n"] {
        let house = House::open(settings).await;
        let replies: Vec<Reply> = rows.iter().map(|row| row.1.clone()).collect();
        let next = Arc::new(AtomicUsize::new(0));
        let origin = Packager::join(&house, "one", move |target: &str, _: &str| match target {
            LIST => {
                let next = next.fetch_add(1, Ordering::Relaxed);
                replies.get(next).cloned().unwrap_or_else(Reply::missing)
            }
            _ => Reply::missing(),
        })
        .await;
        let mut viewer = Viewer::send(house.at.http, "").await;
        let mut bodies: Vec<(&str, String)> = Vec::new();
        for (cause, _, tag, segment) in &rows {
            viewer.more(request("h.example", LIST)).await;
            let (head, body) = hear(&mut viewer).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{cause}: {head}");
            assert_eq!(header(&head, "etag"), [format!("W/\"{tag}\"")], "{cause}");
            assert_eq!(header(&head, "date").len(), 1, "{cause}: {head}");
            assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
            assert!(
                body.contains(&format!("\n{segment}?spbhid=")),
                "{cause}: {body}"
            );
            bodies.push((segment, body));
        }
        for (segment, body) in &bodies {
            let same = bodies.iter().filter(|(other, _)| other == segment);
            assert!(same.clone().all(|(_, other)| other == body), "{segment}");
        }
        assert_eq!(origin.count(LIST), rows.len(), "each was asked for");
    }
}

#[tokio::test]
async fn viewers_who_know_us_by_other_names_get_their_own() {
    let house = House::open("").await;
    let text = format!(
        "{}#EXT-X-DATERANGE:ID=\"x\",X-ASSET-URI=\"ad.m3u8\"\n",
        playlist(1, "a-1.ts")
    );
    let _origin = Packager::join(&house, "one", move |_: &str, _: &str| Reply::ok("", &text)).await;
    let hosts = ["one.example", "two.example"];
    let mut viewers = Vec::new();
    for host in hosts {
        viewers.push((host, Viewer::send(house.at.http, "").await));
    }
    for _ in 0..3 {
        for (host, viewer) in &mut viewers {
            viewer.more(request(host, LIST)).await;
            let (_, body) = hear(viewer).await;
            let asset = format!("\"http://{host}/live/ad.m3u8?spbhid=");
            assert!(body.contains(&asset), "{host}: {body}");
        }
    }
}

#[tokio::test]
async fn who_is_banned_meanwhile_is_refused_the_same_request() {
    let house = House::open("").await;
    let origin = Packager::join(&house, "one", |_: &str, _: &str| {
        Reply::ok("", playlist(1, "a-1.ts"))
    })
    .await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    for _ in 0..2 {
        viewer.more(request("h.example", LIST)).await;
        let (head, _) = hear(&mut viewer).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    let at = house.at.system;
    let ban = format!(
        "POST /api/v1/bans?target=stream:live/a&for=1h&reason=a+test HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let (status, said) = talk(at, &ban).await;
    assert!((200..300).contains(&status), "{status}: {said}");
    viewer.more(request("h.example", LIST)).await;
    let (head, _) = hear(&mut viewer).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    assert_eq!(origin.count(LIST), 2);
}

#[tokio::test]
async fn the_same_request_follows_its_stream_to_another_origin() {
    let house = House::open("[hold]\nviewers = \"0s\"\n").await;
    let answers = |name: &'static str| {
        move |target: &str, _: &str| match target {
            LIST => Reply::ok("", playlist(1, name)),
            _ => Reply::missing(),
        }
    };
    let first = Packager::join(&house, "one", answers("a-1.ts")).await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    for _ in 0..2 {
        viewer.more(request("h.example", LIST)).await;
        assert!(hear(&mut viewer).await.1.contains("\na-1.ts?"));
    }
    first.kill();
    let _second = Packager::join(&house, "two", answers("b-1.ts")).await;
    until_told("the second origin", async || {
        viewer.more(request("h.example", LIST)).await;
        let (_, body) = hear(&mut viewer).await;
        assert!(!body.contains("\na-1.ts?"), "its origin is gone: {body}");
        body.contains("\nb-1.ts?")
    })
    .await;
}

#[tokio::test]
async fn a_kept_answer_is_the_same_for_each_who_gets_it() {
    let house = House::open("[http]\ncache_megabytes = 1\n").await;
    let said = "Cache-Control: public, max-age=60\r\nAge: 7\r\nX-Mark: m\r\n";
    let origin = Packager::join(&house, "one", move |_: &str, _: &str| {
        Reply::ok(said, "media")
    })
    .await;
    let target = "/live/a-1.ts";
    for closes in [false, false, true] {
        let close = if closes { "Connection: close\r\n" } else { "" };
        let asked = format!("GET {target} HTTP/1.1\r\nHost: h.example\r\n{close}\r\n");
        let mut viewer = Viewer::send(house.at.http, asked).await;
        let (head, body) = hear(&mut viewer).await;
        assert_eq!(body, "media");
        for name in ["age", "date", "x-mark", "access-control-allow-origin"] {
            assert_eq!(header(&head, name).len(), 1, "{name} in {head}");
        }
        let age: u32 = header(&head, "age")[0].parse().expect("a number");
        assert!(age >= 7, "{head}");
        assert_eq!(header(&head, "connection").len(), usize::from(closes));
        if closes {
            assert!(viewer.rest().await.is_empty());
        }
    }
    assert_eq!(origin.count(target), 1);
}
