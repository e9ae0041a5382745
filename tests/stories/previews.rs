//! An operator looks at a stream through the system API, and is no viewer of it.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::console::{document, raw, status};
use crate::fanout::{OPEN, house_and_origin, keyframe, published};
use crate::house::{House, PATIENCE, until};

/// What a program says, and no page of another site can.
const PROGRAM: &str = "X-Sluicegate: 1\r\n";

#[tokio::test]
async fn an_operator_looks_at_a_stream_and_is_no_viewer() {
    let (house, origin) = house_and_origin("").await;
    let mut publisher = published(&house, "live/a").await;
    let mut look = Look::at(&house, "live/a").await;
    let head = look.text();
    assert!(head.contains("200 OK"), "{head}");
    assert!(head.contains("content-type: video/x-flv"), "{head}");
    look.until("FLV").await;
    assert_eq!(origin.seen().players().count(), 1, "the proxy plays it");
    publisher.send(&keyframe(120, 4)).await;

    let sessions = document(&house, "/api/v1/sessions?action=play").await;
    let row = &sessions["sessions"][0];
    assert_eq!(
        (&row["preview"], &row["protocol"], &row["origin"]),
        (&json!(true), &json!("http_flv"), &json!("one")),
        "{row}"
    );
    let stream = document(&house, "/api/v1/streams/live/a").await;
    assert_eq!(
        (&stream["players"], &stream["publishers"]),
        (&json!(0), &json!(1))
    );
    let origins = document(&house, "/api/v1/origins/one").await;
    assert_eq!(origins["sessions"], 1, "{origins}");
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_sessions{protocol="http_flv",action="preview"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    let audit = "/api/v1/events?kind=audit&stream=__defaultVhost__/live/a";
    let audit = document(&house, audit).await;
    assert_eq!(
        audit["events"][0]["what"], "GET /api/v1/preview: 200",
        "{audit}"
    );

    let own = format!("/api/v1/sessions/{}", row["id"]);
    let end = raw(house.at.system, "DELETE", &own, PROGRAM, "").await;
    assert_eq!(status(&end), "200", "{end}");
    look.until_end().await;
    house.until_sessions(1).await;
    let ended = document(&house, "/api/v1/sessions/ended?action=play").await;
    let ended = &ended["sessions"][0];
    assert_eq!(
        (&ended["preview"], &ended["reason"]),
        (&json!(true), &json!("kicked")),
        "{ended}"
    );
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_sessions{protocol="http_flv",action="preview"} 0"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn four_streams_are_looked_at_at_once_and_none_is_placed_for_that() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let _publisher = published(&house, "live/a").await;
    let nowhere = Look::at(&house, "live/b").await.text();
    assert!(nowhere.contains("404"), "{nowhere}");
    assert_eq!(house.origin_of("live/b"), None);
    let mut looks = Vec::new();
    for _ in 0..4 {
        let look = Look::at(&house, "live/a").await;
        assert!(look.text().contains("200 OK"), "{}", look.text());
        looks.push(look);
    }
    let fifth = Look::at(&house, "live/a").await.text();
    assert!(fifth.contains("409"), "{fifth}");
    // Where viewers share a pull, those who look share it too.
    assert_eq!(house.proxy.sessions().pulls().len(), 1);
    looks.pop();
    house.until_sessions(4).await;
    let again = Look::at(&house, "live/a").await.text();
    assert!(again.contains("200 OK"), "{again}");
}

#[tokio::test]
async fn who_asks_for_a_picture_in_the_wrong_way_is_told_so() {
    let (house, _origin) = house_and_origin("").await;
    let _publisher = published(&house, "live/a").await;
    let at = house.at.system;
    for (query, lines, code, words) in [
        ("", PROGRAM, "400", "missing field"),
        ("stream=a", PROGRAM, "400", "stream"),
        ("stream=live/a&seconds=3", PROGRAM, "400", "unknown field"),
        // Any page may make a browser fetch an address.
        ("stream=live/a", "", "403", "X-Sluicegate"),
    ] {
        let path = format!("/api/v1/preview?{query}");
        let answer = raw(at, "GET", &path, lines, "").await;
        assert_eq!(status(&answer), code, "{query}: {answer}");
        assert!(answer.contains(words), "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_look_is_in_the_way_of_no_drain() {
    let (house, _origin) = house_and_origin("").await;
    let publisher = published(&house, "live/a").await;
    let mut look = Look::at(&house, "live/a").await;
    look.until("FLV").await;
    drop(publisher);
    let one = "one".into();
    until("nobody is left", || {
        house.proxy.registry().left(&one).total() == 0
    })
    .await;
}

/// An operator who looks at a stream.
struct Look {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Look {
    /// Asks, and waits for the head of the answer.
    async fn at(house: &House, stream: &str) -> Self {
        let at = house.at.system;
        let request =
            format!("GET /api/v1/preview?stream={stream} HTTP/1.1\r\nHost: {at}\r\n{PROGRAM}\r\n");
        let mut socket = TcpStream::connect(at).await.expect("it listens");
        socket
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut look = Self {
            socket,
            bytes: Vec::new(),
        };
        look.until("\r\n\r\n").await;
        look
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    async fn until(&mut self, wanted: &str) {
        while !self.text().contains(wanted) {
            self.read().await;
        }
    }

    /// Waits for the end of an answer that is whole.
    async fn until_end(&mut self) {
        while !self.bytes.ends_with(b"0\r\n\r\n") {
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.bytes)).await;
        let count = read.expect("more in time").expect("an answer");
        assert!(count > 0, "it goes on: {}", self.text());
    }
}
