//! What an origin refuses: the client hears it in the origin's words, the accounts say so, and it is asked once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sluicegate_core::events::Kind;
use sluicegate_core::stream::Action;

use crate::house::{House, Manner, Stub};
use crate::http_origin::{HttpOrigin, Viewer, WAYS, header, say};

/// Checks that the only session ended as refused, and that what was noted of it has the origin's own words.
async fn assert_refused(house: &House, words: &str) {
    house.until_sessions(0).await;
    let ended = house.proxy.sessions().ended();
    let reasons: Vec<&str> = ended.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["refused"]);
    let events = house.proxy.metrics().journal.list();
    let told: Vec<&str> = events
        .iter()
        .filter(|event| event.kind == Kind::Refused)
        .map(|event| event.news.what.as_str())
        .collect();
    assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    let joined = events.iter().any(|event| event.kind == Kind::Published);
    assert!(!joined, "it was never published");
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
