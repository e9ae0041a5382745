//! HTTP/2 at the ports of HTTP: streams without end beside each other, and what ends one of them.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_LENGTH};
use hyper::{Method, Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluicegate::sessions::EndReason;
use sluicegate_core::access::keys::line;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::house::{House, PATIENCE, talk, until};
use crate::http_origin::{HttpOrigin, STREAM, Step, say};
use crate::http_pieces::{Packager, Reply};
use crate::tls_client::Authority;

/// A client with one connection.
struct Client {
    requests: SendRequest<Empty<Bytes>>,
    connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    async fn connect(authority: &Authority, house: &House) -> Self {
        Self::connect_to(authority, house.at.http).await
    }

    async fn connect_to(authority: &Authority, at: SocketAddr) -> Self {
        let trust = authority.trusted_for(&["h2"]);
        let stream = trust.connect(at).await.expect("a handshake");
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
        self.ask(Method::GET, path, &[]).await
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("https://media.example{path}"))
            .version(Version::HTTP_2);
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| {
                request.header(*name, *value)
            })
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

/// The length that an answer states.
fn stated(answer: &Response<Incoming>) -> Option<&str> {
    let length = answer.headers().get(CONTENT_LENGTH)?;
    Some(length.to_str().expect("a number"))
}

#[tokio::test]
async fn an_answer_to_head_is_its_head() {
    let authority = Authority::new();
    let settings = format!(
        "[http]\nhealth = true\n[[access]]\napp = \"guarded\"\ndecide = \"deny\"\n{}",
        authority.settings()
    );
    let house = House::open(&settings).await;
    let playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.0,\na-1.ts\n";
    let manifest = r#"<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>"#;
    let answers = move |target: &str, head: &str| {
        let mut reply = match target.split('?').next() {
            Some("/live/a.m3u8") => Reply::ok("", playlist),
            Some("/live/a.mpd") => Reply::ok("", manifest),
            Some("/live/a-1.ts") => Reply::ok("", "x".repeat(1000)),
            _ => Reply::missing(),
        };
        if head.starts_with("HEAD ") {
            let end = reply.bytes.windows(4).position(|end| end == b"\r\n\r\n");
            reply.bytes.truncate(end.expect("a head") + 4);
        }
        reply
    };
    let _origin = Packager::join(&house, "one", answers).await;
    let rows = [
        (house.at.http, "/live/a.m3u8", 200),
        (house.at.http, "/live/a.mpd", 200),
        (house.at.http, "/live/a-1.ts", 200),
        (house.at.http, "/live/none.m3u8", 404),
        (house.at.http, "/live/none.ts", 404),
        (house.at.http, "/guarded/a.m3u8", 403),
        (house.at.http, "/guarded/a.flv", 403),
        (house.at.http, "/crossdomain.xml", 200),
        (house.at.http, "/nothing.html", 404),
        (house.at.http, "/livez", 200),
        (house.at.api, "/rtc/v1/whip/?app=live&stream=a", 405),
        (house.at.api, "/nothing", 404),
        (house.at.system, "/nothing", 404),
    ];
    for (at, path, status) in rows {
        let mut client = Client::connect_to(&authority, at).await;
        let head = client.ask(Method::HEAD, path, &[]).await;
        assert_eq!(head.status(), status, "{path}");
        assert!(head.body().is_end_stream(), "{path}: its head is its end");
        let whole = client.get(path).await;
        if whole.status() == status && stated(&head).is_some() {
            assert_eq!(stated(&head), stated(&whole), "{path}");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_in_the_same_words() {
    let (authority, house) = open().await;
    let rows = [
        (house.at.http, "/live/a.m3u8"),
        (house.at.http, "/live/a.flv"),
        (house.at.api, "/rtc/v1/whep/?app=live&stream=a"),
    ];
    let words = "the head is longer than 16384 bytes\n";
    for (at, path) in rows {
        for length in [20_000, 40_000] {
            let token = format!("Bearer {}", "x".repeat(length));
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nAuthorization: {token}\r\n\r\n"
            );
            let (status, said) = talk(at, &request).await;
            assert_eq!((status, said.as_str()), (431, words), "{path}, {length}");
            let mut client = Client::connect_to(&authority, at).await;
            let answer = client
                .ask(Method::GET, path, &[("authorization", &token)])
                .await;
            assert_eq!(answer.status(), 431, "{path}, {length}");
            let open = answer.headers().get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert!(open.is_some(), "{path}, {length}: pages may read it");
            let said = answer.into_body().collect().await.expect("words");
            assert_eq!(said.to_bytes(), words, "{path}, {length}");
        }
    }
}

#[tokio::test]
async fn cookies_that_came_apart_are_one_field() {
    let authority = Authority::new();
    let line = line("viewer", b"salt", "the-key");
    let settings = format!(
        "[[check]]\nname = \"viewers\"\nkind = \"keys\"\nkeys = [\"{line}\"]\n\
         [[access]]\napp = \"keyed\"\nall = [\"viewers\"]\n{}",
        authority.settings()
    );
    let house = House::open(&settings).await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let origin = HttpOrigin::join(&house, "one", vec![say(answer)]).await;
    let cookies = [
        ("cookie", "lang=en"),
        ("cookie", "key=the-key"),
        ("cookie", "a=1; b=2"),
    ];
    let mut paths = Vec::new();
    for app in ["live", "keyed"] {
        paths.extend(["a.m3u8", "a-1.ts", "a.flv"].map(|name| format!("/{app}/{name}")));
    }
    for (index, path) in paths.iter().enumerate() {
        let mut client = Client::connect(&authority, &house).await;
        let answer = client.ask(Method::GET, path, &cookies).await;
        assert_eq!(answer.status(), 200, "{path}");
        let visit = origin.visit(index).await;
        assert_eq!(
            visit.all("cookie"),
            ["lang=en; key=the-key; a=1; b=2"],
            "{path}"
        );
    }
}
