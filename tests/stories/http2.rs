//! HTTP/2 at the ports of HTTP: streams without end beside each other, and what ends one of them.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluicegate::sessions::EndReason;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::house::{House, PATIENCE, until};
use crate::http_origin::{HttpOrigin, STREAM, Step, say};
use crate::tls_client::Authority;

/// A client with one connection.
struct Client {
    requests: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    async fn connect(authority: &Authority, house: &House) -> Self {
        let trust = authority.trusted_for(&["h2"]);
        let stream = trust.connect(house.at.http).await.expect("a handshake");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (requests, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        Self {
            requests,
            connection: tokio::spawn(connection),
        }
    }

    async fn get(&mut self, path: &str) -> Response<Incoming> {
        let request = Request::builder()
            .uri(format!("https://media.example{path}"))
            .version(Version::HTTP_2)
            .body(Empty::new())
            .expect("a request");
        let answer = timeout(PATIENCE, self.requests.send_request(request)).await;
        answer.expect("an answer in time").expect("an answer")
    }
}

/// Reads at least `count` bytes of a body.
async fn take(body: &mut Incoming, count: usize) -> usize {
    let mut came = 0;
    while came < count {
        let frame = timeout(PATIENCE, body.frame()).await.expect("more in time");
        let frame = frame.expect("more").expect("no end");
        came += frame.data_ref().map_or(0, Bytes::len);
    }
    came
}

async fn open() -> (Authority, House) {
    let authority = Authority::new();
    let settings = format!("[http]\nhealth = true\n{}", authority.settings());
    let house = House::open(&settings).await;
    (authority, house)
}

#[tokio::test]
async fn a_stalled_stream_blocks_no_other() {
    let (authority, house) = open().await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Flood]).await;
    let mut client = Client::connect(&authority, &house).await;
    // Nobody reads this one.
    let stalled = client.get("/live/a.flv").await;
    assert_eq!(stalled.status(), 200);
    for name in ["b", "c"] {
        let mut other = client.get(&format!("/live/{name}.flv")).await;
        take(other.body_mut(), 8_000_000).await;
    }
    let health = client.get("/livez").await;
    assert_eq!(health.status(), 200);
    let visit = origin.visit(0).await;
    assert_eq!(visit.all("host"), ["media.example"], "{}", visit.head);
    assert_eq!(visit.all("x-forwarded-proto"), ["https"]);
    assert_eq!(visit.request_line(), "GET /live/a.flv HTTP/1.1");
    until("the streams that were read are over", || {
        house.proxy.sessions().len() == 1
    })
    .await;
    drop(stalled);
    until("no session is left", || house.proxy.sessions().is_empty()).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_alone() {
    let (authority, house) = open().await;
    let head = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nTransfer-Encoding: chunked\r\n\r\n";
    let script = vec![say(head), say("5\r\nhello\r\n6\r\nwor")];
    let _origin = HttpOrigin::join(&house, "one", script).await;
    let mut client = Client::connect(&authority, &house).await;
    let mut cut = client.get("/live/a.flv").await;
    assert_eq!(cut.status(), 200);
    let end = async {
        while let Some(frame) = cut.body_mut().frame().await {
            frame?;
        }
        Ok::<_, hyper::Error>(())
    };
    let end = timeout(PATIENCE, end).await.expect("an end in time");
    assert!(end.is_err(), "a reset, and no clean end");
    assert_eq!(
        client.get("/livez").await.status(),
        200,
        "the connection goes on"
    );
}

#[tokio::test]
async fn a_kick_resets_a_stream_that_nobody_reads() {
    let (authority, house) = open().await;
    let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Flood]).await;
    let mut client = Client::connect(&authority, &house).await;
    let mut stalled = client.get("/live/a.flv").await;
    until("the session", || house.proxy.sessions().len() == 1).await;
    house.proxy.sessions().list()[0].end(EndReason::Kicked);
    let end = async {
        loop {
            match stalled.body_mut().frame().await {
                Some(Ok(_)) => {}
                end => return end.is_none(),
            }
        }
    };
    let clean = timeout(PATIENCE, end).await.expect("an end in time");
    assert!(!clean, "a reset");
    assert_eq!(
        client.get("/livez").await.status(),
        200,
        "the connection goes on"
    );
}

#[tokio::test]
async fn at_the_stop_a_client_is_told_and_may_finish() {
    let (authority, house) = open().await;
    let script = vec![say(STREAM), Step::Flood];
    let _origin = HttpOrigin::join(&house, "one", script).await;
    let mut client = Client::connect(&authority, &house).await;
    let mut pull = client.get("/live/a.flv").await;
    take(pull.body_mut(), 100_000).await;
    house.stop.cancel();
    let refused = async {
        loop {
            let request = Request::builder()
                .uri("https://media.example/livez")
                .body(Empty::new())
                .expect("a request");
            if client.requests.send_request(request).await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, refused)
        .await
        .expect("the client is told in time");
    take(pull.body_mut(), 1_000_000).await;
    drop(pull);
    let ended = timeout(Duration::from_secs(10), client.connection).await;
    assert!(ended.is_ok(), "the connection ends after its last stream");
}
