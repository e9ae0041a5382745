//! What an origin refuses: the client hears it in the origin's words, the accounts say so, and it is asked once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sluicegate_core::events::Kind;
use sluicegate_core::rtsp::message::{Message, Method};
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio_util::task::AbortOnDropHandle;

use crate::call::{CallOrigin, Says, ask, sdp};
use crate::house::{House, Manner, Stub, get};
use crate::http_origin::{HttpOrigin, Viewer, WAYS, header, say};
use crate::http_pieces::{Packager, Reply};
use crate::rtsp_house::{self, Caller};

/// Checks that the only session ended as refused, and that what was noted of it has the origin's own words.
async fn assert_refused(house: &House, words: &str) {
    house.until_sessions(0).await;
    let ended = house.proxy.sessions().ended();
    let reasons: Vec<&str> = ended.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["refused"]);
    let journal = &house.proxy.metrics().journal;
    let mut told = Vec::new();
    journal.look(Kind::Refused, |event| told.push(event.news.what.clone()));
    assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    let mut joined = 0;
    journal.look(Kind::Published, |_| joined += 1);
    assert_eq!(joined, 0, "it was never published");
}

#[tokio::test]
async fn an_rtmp_origins_no_is_a_refusal_with_its_code_and_text() {
    for (action, code, words) in [
        (
            Action::Publish,
            "NetStream.Publish.Denied",
            "the token is wrong",
        ),
        (
            Action::Play,
            "NetStream.Play.StreamNotFound",
            "no such stream",
        ),
    ] {
        let house = House::open("").await;
        let origin = Stub::start(Manner::Refuses(code, words)).await;
        house.register("one", origin.at);
        let mut guest = house.ask(action, "live/a").await;
        assert_eq!(
            (guest.code(), guest.words()),
            (code, words),
            "its own words"
        );
        guest.read_to_end().await;
        drop(guest);
        assert_refused(&house, &format!("{code}: {words}")).await;
    }
}

/// Some servers answer the transaction of `play` or `publish`, and send no status.
#[tokio::test]
async fn an_error_in_answer_to_the_request_is_a_refusal_too() {
    for action in [Action::Publish, Action::Play] {
        let house = House::open("").await;
        let origin = Stub::start(Manner::Errs("NetStream.Failed", "not found")).await;
        house.register("one", origin.at);
        let mut guest = house.ask(action, "live/a").await;
        assert!(!guest.has_started());
        guest.read_to_end().await;
        drop(guest);
        assert_refused(&house, "NetStream.Failed: not found").await;
    }
}

#[tokio::test]
async fn a_no_that_is_not_about_a_publisher_is_final_for_one_that_comes_back() {
    let house = House::open("").await;
    let denies = Arc::new(AtomicUsize::new(0));
    let origin = Stub::start(Manner::DeniesFor(Arc::clone(&denies))).await;
    house.register("one", origin.at);
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started());
    drop(publisher);
    house.until_sessions(0).await;
    denies.store(5, Ordering::Relaxed);
    let back = house.ask(Action::Publish, "live/a").await;
    assert_eq!(back.code(), "NetStream.Publish.Denied");
    assert_eq!(denies.load(Ordering::Relaxed), 4, "it was asked once");
}

/// One that was refused never published, so that nobody left whom the origin might not have noticed.
#[tokio::test]
async fn a_refused_publisher_did_not_leave() {
    let house = House::open("").await;
    let busy = Arc::new(AtomicUsize::new(5));
    let origin = Stub::start(Manner::BusyFor(Arc::clone(&busy))).await;
    house.register("one", origin.at);
    for left in [4, 3] {
        let guest = house.ask(Action::Publish, "live/a").await;
        assert_eq!(guest.code(), "NetStream.Publish.BadName");
        drop(guest);
        house.until_sessions(0).await;
        assert_eq!(busy.load(Ordering::Relaxed), left, "it was asked once");
    }
}

#[tokio::test]
async fn an_http_origins_no_is_a_refusal_with_its_status() {
    let answer = "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\nX-Why: token\r\n\r\nnever";
    for way in WAYS {
        let house = House::open("").await;
        let _origin = HttpOrigin::join(&house, "one", vec![say(answer)]).await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 403 "), "{way:?}: {head}");
        assert_eq!(header(&head, "x-why"), ["token"], "{way:?}");
        assert_eq!(viewer.take_body(&head, 5).await, b"never", "{way:?}");
        drop(viewer);
        assert_refused(&house, "403 Forbidden").await;
    }
}

/// A player asks for its playlist again and again.
#[tokio::test]
async fn a_page_that_its_origin_refuses_is_told_of_once() {
    for name in ["a.m3u8", "a.mpd"] {
        let house = House::open("").await;
        let target = format!("/live/{name}");
        let refused = Arc::new(AtomicUsize::new(403));
        let status = Arc::clone(&refused);
        let _origin = Packager::join(&house, "one", move |_: &str, _: &str| {
            let status = status.load(Ordering::Relaxed);
            Reply::with(&format!("{status} No"), "", "not for you")
        })
        .await;
        for status in [403, 404] {
            refused.store(status, Ordering::Relaxed);
            for _ in 0..3 {
                let (told, _) = get(house.at.http, &target).await;
                assert_eq!(usize::from(told), status, "{target}");
            }
        }
        // Segments that are not there any more are nobody's surprise.
        assert_eq!(get(house.at.http, "/live/a-1.ts").await.0, 404);
        let mut told = Vec::new();
        let journal = &house.proxy.metrics().journal;
        // Those of one address within a minute are one event.
        journal.look(Kind::Refused, |event| {
            told.push((event.news.what.clone(), event.count));
        });
        let words = "play by http_segments: one: 404 Not Found".to_owned();
        assert_eq!(told, [(words, 2)], "one line for each status");
    }
}

/// Over RTSP the two talk before the origin has said yes to everything.
#[tokio::test]
async fn an_rtsp_origins_no_to_a_track_is_a_refusal_if_it_is_its_last_word() {
    for (last, reason) in [("403 Forbidden", "refused"), ("200 OK", "client_closed")] {
        let house = House::open("").await;
        let asked = Arc::new(AtomicUsize::new(0));
        let origin = rtsp_house::Stub::start(|at| {
            let yes = rtsp_house::grants(at, Vec::new());
            move |request: &Message| {
                let is_setup = request.method() == Some(Method::Setup);
                let status = match asked.fetch_add(usize::from(is_setup), Ordering::Relaxed) {
                    _ if !is_setup => return yes(request),
                    0 => "461 Unsupported Transport",
                    _ if last == "200 OK" => return yes(request),
                    _ => last,
                };
                rtsp_house::Reply::Say(rtsp_house::answer(request, status, "", ""))
            }
        })
        .await;
        house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = "rtsp://media.example/live/a";
        player.ask(&format!("DESCRIBE {url}"), 1, "").await;
        let setup = format!("SETUP {url}/trackID=0");
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let first = player.ask(&setup, 2, transport).await;
        assert_eq!(first.status(), Some(461));
        let second = player.ask(&setup, 3, transport).await;
        assert_eq!(
            second.status().map(|status| status.to_string()).as_deref(),
            last.get(..3)
        );
        drop(player);
        if reason == "refused" {
            assert_refused(&house, "403 Forbidden").await;
        } else {
            house.until_sessions(0).await;
            let ended = house.proxy.sessions().ended();
            assert_eq!(ended[0].reason.as_str(), reason);
        }
    }
}

/// Many cameras have no method that players keep a session alive with.
#[tokio::test]
async fn what_only_keeps_an_rtsp_session_alive_may_be_rejected() {
    for aside in [
        "OPTIONS",
        "GET_PARAMETER",
        "SET_PARAMETER",
        "PAUSE",
        "X-PING",
    ] {
        let house = House::open("").await;
        let origin = rtsp_house::Stub::start(|at| {
            let yes = rtsp_house::grants(at, Vec::new());
            move |request: &Message| match request.method() {
                // The first word is asked for by this proxy.
                Some(Method::Options) if request.field("session").is_none() => yes(request),
                Some(Method::Describe | Method::Setup | Method::Play) => yes(request),
                _ => {
                    let status = "501 Not Implemented";
                    rtsp_house::Reply::Say(rtsp_house::answer(request, status, "", ""))
                }
            }
        })
        .await;
        house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = "rtsp://media.example/live/a";
        player.ask(&format!("DESCRIBE {url}"), 1, "").await;
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        player
            .ask(&format!("SETUP {url}/trackID=0"), 2, transport)
            .await;
        let kept = player
            .ask(&format!("{aside} {url}"), 3, "Session: 7\r\n")
            .await;
        assert_eq!(kept.status(), Some(501), "{aside}");
        drop(player);
        house.until_sessions(0).await;
        let ended = house.proxy.sessions().ended();
        let reasons: Vec<&str> = ended.iter().map(|one| one.reason.as_str()).collect();
        assert_eq!(reasons, ["client_closed"], "{aside}");
    }
}

/// What the journal tells of refusals.
pub(crate) fn refusals(house: &House) -> Vec<String> {
    let mut told = Vec::new();
    let journal = &house.proxy.metrics().journal;
    journal.look(Kind::Refused, |event| told.push(event.news.what.clone()));
    told
}

/// It is gone behind a balancer that accepts all the same, or will not have anybody: nothing it did can be called an answer.
#[tokio::test]
async fn what_an_origin_is_told_as_that_closes_every_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let at = listener.local_addr().expect("bound");
    let _closing = AbortOnDropHandle::new(tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            drop(connection);
        }
    }));
    let every = "every origin closed the connection without a word; tried one";
    let nothing = "no origin gave a proper answer; tried one";
    let closed = "closed the connection without a word";
    for (protocol, code, words, did) in [
        (Protocol::Rtmp, "NetStream.Play.Failed", every, closed),
        (Protocol::Rtsp, "502", every, closed),
        (Protocol::HttpSegments, "503", nothing, ""),
        (
            Protocol::HttpFlv,
            "502",
            "closed the connection without an answer",
            "",
        ),
        (
            Protocol::WebRtc,
            "502",
            nothing,
            "closed the connection without an answer",
        ),
    ] {
        let house = House::open("").await;
        let services = ["api", "http", "rtc", "rtmp", "rtsp"];
        let services = services.map(|service| format!(r#""{service}":["{}"]"#, at.port()));
        house.register_with("one", &services.join(","));
        let (said, heard) = match protocol {
            Protocol::Rtmp => {
                let guest = house.ask(Action::Play, "live/a").await;
                (guest.code().to_owned(), guest.words().to_owned())
            }
            Protocol::Rtsp => {
                let mut player = Caller::connect(house.at.rtsp).await;
                let asks = "DESCRIBE rtsp://media.example/live/a";
                let answer = player.ask(asks, 1, "").await;
                let status = answer.status().unwrap_or_default();
                (status.to_string(), answer.reason().to_owned())
            }
            Protocol::WebRtc => {
                let target = "/rtc/v1/whep/?app=live&stream=a";
                let (status, _, body) = ask(house.at.api, "POST", target, &sdp("clnt")).await;
                (status.to_string(), body)
            }
            _ => {
                let ending = if protocol == Protocol::HttpFlv {
                    "flv"
                } else {
                    "m3u8"
                };
                let (status, body) = get(house.at.http, &format!("/live/a.{ending}")).await;
                (status.to_string(), body)
            }
        };
        assert_eq!(said, code, "{protocol:?}: {heard}");
        assert!(heard.contains(words), "{protocol:?}: {heard}");
        let port = at.port().to_string();
        assert!(!heard.contains(&port), "{protocol:?}: {heard}");
        let told = refusals(&house);
        assert_eq!(told.len(), 1, "{protocol:?}: {told:?}");
        let asked = format!("play by {}: one: ", protocol.as_str());
        assert!(told[0].starts_with(&asked), "{protocol:?}: {told:?}");
        assert!(told[0].contains(did), "{protocol:?}: {told:?}");
        let stream = StreamUrl::new("", "live", "a").expect("a stream");
        let explained = house.proxy.explain(&stream, protocol, None).await;
        let last = explained.last_refused.expect("it is known");
        assert_eq!(last.what, told[0], "{protocol:?}");
    }
}

/// Origins that live and do not serve a client: each is told of with what it did, and the client hears no more than that.
#[tokio::test]
async fn what_each_origin_did_that_would_not_serve_is_for_the_operator() {
    let house = House::open("").await;
    let mut origins = Vec::new();
    for id in ["one", "two", "three"] {
        let busy = Says {
            offer: ("503 Service Unavailable", String::new()),
            ..Says::default()
        };
        let origin = CallOrigin::saying(busy).await;
        house.register_with(id, &origin.endpoints());
        origins.push(origin);
    }
    let target = "/rtc/v1/whep/?app=live&stream=a";
    let (status, head, _) = ask(house.at.api, "POST", target, &sdp("clnt")).await;
    assert_eq!(status, 503, "{head}");
    let told = refusals(&house);
    assert_eq!(told.len(), 1, "{told:?}");
    let count = told[0]
        .matches(": it answered 503 Service Unavailable")
        .count();
    assert_eq!(count, 2, "{told:?}");

    let house = House::open("").await;
    let long: &str = format!(
        "HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(20_000)
    )
    .leak();
    let _one = HttpOrigin::join(&house, "one", vec![say(long); 4]).await;
    let _two = HttpOrigin::join(&house, "two", vec![say(long); 4]).await;
    let (status, words) = get(house.at.http, "/live/a.m3u8").await;
    assert_eq!(status, 503, "{words}");
    assert!(words.contains("no origin gave a proper answer"), "{words}");
    let told = refusals(&house);
    assert_eq!(told.len(), 1, "{told:?}");
    let count = told[0].matches(": the head is longer than").count();
    assert_eq!(count, 2, "{told:?}");
}
