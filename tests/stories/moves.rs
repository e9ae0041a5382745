//! Streams that are moved from origin to origin: their publishers notice nothing, and no frame is lost.

use serde_json::Value;
use sluicegate::sessions::{EndReason, State};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;

use crate::fanout::{
    FlvViewer, OPEN, house_and_origin, is_picture, keyframe, marks, picture, published, told,
    until_marks,
};
use crate::held::{FRAME, KEYFRAME, on_air, session};
use crate::held_viewers::{another_origin, times};
use crate::house::{Guest, House, Manner, Stub, get, post, until, until_told, video};

/// Asks for a move, and returns the status and what was said.
pub(crate) async fn ask(house: &House, query: &str) -> (u16, Value) {
    let path = format!("/api/v1/moves?{query}");
    let (status, body) = post(house.at.system, &path, "").await;
    let document = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status} {body}"));
    (status, document)
}

/// The first words of a refusal with this status.
async fn refused(house: &House, query: &str, status: u16) -> String {
    let (answered, document) = ask(house, query).await;
    assert_eq!(answered, status, "{document}");
    document["error"].as_str().expect("words").to_owned()
}

/// Sends pictures, a keyframe after each, until `other` has the stream. Returns all timestamps that were sent.
pub(crate) async fn send_until_at(guest: &mut Guest, other: &Stub) -> Vec<u32> {
    let mut sent = Vec::new();
    let mut time = 1000;
    until_told("a keyframe at the other origin", async || {
        for payload in [FRAME, KEYFRAME] {
            time += 40;
            guest.send(&video(time, payload)).await;
            sent.push(time);
        }
        !other.seen.lock().unwrap().media.is_empty()
    })
    .await;
    sent
}

/// The pictures that came, without decoder configurations.
fn pictures(origin: &Stub) -> Vec<Message> {
    let seen = origin.seen.lock().unwrap();
    let pictures = seen.media.iter();
    pictures
        .filter(|one| one.kind == kind::VIDEO && one.payload.get(1) == Some(&1))
        .cloned()
        .collect()
}

async fn with_two(settings: &str) -> (House, Stub, Stub, Guest) {
    let (house, one, guest) = on_air(settings).await;
    let two = Stub::start(Manner::Grants).await;
    house.register("two", two.at);
    (house, one, two, guest)
}

#[tokio::test]
async fn a_publisher_is_moved_without_a_gap() {
    let (house, one, two, mut guest) = with_two("").await;
    let row = house.proxy.sessions().list().remove(0);
    let moving = ask(&house, "stream=live/a&to=two&expect=one");
    let ((status, document), sent) = tokio::join!(moving, send_until_at(&mut guest, &two));
    assert_eq!(status, 200, "{document}");
    let data = &document["data"];
    assert_eq!(
        (&data["from"], &data["to"], &data["state"]),
        (&"one".into(), &"two".into(), &"made".into()),
        "{document}"
    );
    guest.send(&video(9000, FRAME)).await;
    until("the last frame", || {
        pictures(&two)
            .last()
            .is_some_and(|one| one.timestamp == 9000)
    })
    .await;
    until("the old leg", || one.seen.lock().unwrap().closed == 1).await;
    let (before, after) = (pictures(&one), pictures(&two));
    assert_eq!(after[0].payload, KEYFRAME);
    let times: Vec<u32> = before
        .iter()
        .chain(&after)
        .map(|one| one.timestamp)
        .collect();
    let all: Vec<u32> = [0].into_iter().chain(sent).chain([9000]).collect();
    assert_eq!(times, all, "each at one of them, and none at both");
    let headers: Vec<u8> = two.seen.lock().unwrap().media[..2]
        .iter()
        .map(|one| one.kind)
        .collect();
    assert_eq!(headers, [kind::AUDIO, kind::VIDEO]);

    assert_eq!(house.origin_of("live/a").as_deref(), Some("two"));
    assert_eq!(row.state(), State::Relaying);
    let session = session(&house).await;
    assert_eq!(session["origin"], "two");
    assert_eq!(session["holds"][0]["reason"], "moved", "{session}");
    assert!(
        session["why"]
            .as_str()
            .is_some_and(|why| why.contains("an operator moved it there"))
    );
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_moves_total{cause="operator",outcome="made"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    assert!(
        !metrics.contains("sluicegate_holds_total{"),
        "nobody was held"
    );
    let events = told(&house, "/api/v1/events?kind=moved").await.to_string();
    assert!(events.contains("moved from one (operator)"), "{events}");
    let audit = told(&house, "/api/v1/events?kind=audit").await.to_string();
    assert!(audit.contains("/api/v1/moves"), "{audit}");
    let (_, explained) = get(house.at.system, "/api/v1/explain?stream=live/a").await;
    assert!(
        explained.contains("an operator moved it there from one"),
        "{explained}"
    );
}

#[tokio::test]
async fn a_publisher_may_be_moved_back_and_forth() {
    let (house, one, two, mut guest) = with_two("").await;
    let moving = ask(&house, "stream=live/a");
    let ((status, document), _) = tokio::join!(moving, send_until_at(&mut guest, &two));
    assert_eq!(status, 200, "{document}");
    let before = one.seen.lock().unwrap().media.len();
    let back = async {
        until_told("a keyframe back at the first origin", async || {
            guest.send(&video(20_000, KEYFRAME)).await;
            one.seen.lock().unwrap().media.len() > before
        })
        .await;
    };
    let ((status, document), ()) = tokio::join!(ask(&house, "stream=live/a&to=one"), back);
    assert_eq!(status, 200, "{document}");
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
}

#[tokio::test]
async fn a_no_of_the_other_origin_changes_nothing() {
    let (house, one, mut guest) = on_air("").await;
    let two = Stub::start(Manner::Refuses("NetStream.Publish.BadName", "not here")).await;
    house.register("two", two.at);
    let words = refused(&house, "stream=live/a&to=two", 409).await;
    assert!(
        words.contains("stays on one") && words.contains("not here"),
        "{words}"
    );
    guest.send(&video(40, FRAME)).await;
    until("the frame", || pictures(&one).len() == 2).await;
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    assert_eq!(one.seen.lock().unwrap().closed, 0);
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_moves_total{cause="operator",outcome="failed"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_moved_is_refused_in_plain_words() {
    let (house, _one, two, _guest) = with_two("").await;
    for (query, status, words) in [
        ("stream=live/b", 404, "nobody publishes"),
        (
            "stream=live/a&to=three",
            404,
            "no origin stands under the id three",
        ),
        ("stream=live/a&to=one", 409, "the stream is there"),
        ("stream=live/a&expect=two", 409, "the stream is on one now"),
        ("stream=a%20b", 400, ""),
        ("to=two", 400, "stream"),
    ] {
        let said = refused(&house, query, status).await;
        assert!(said.contains(words), "{query}: {said}");
    }
    post(house.at.system, "/api/v1/origins/two/drain", "").await;
    let said = refused(&house, "stream=live/a&to=two", 409).await;
    assert!(said.contains("two may not take it: draining"), "{said}");
    let said = refused(&house, "stream=live/a", 409).await;
    assert!(said.contains("no other origin may take it"), "{said}");
    assert_eq!(two.connections(), 0);
}

#[tokio::test]
async fn without_holds_nothing_is_moved() {
    let (house, _one, _two, _guest) = with_two("[hold]\npublishers = \"0s\"\n").await;
    let said = refused(&house, "stream=live/a", 409).await;
    assert!(said.contains("hold.publishers is 0s"), "{said}");
}

#[tokio::test]
async fn one_move_of_a_stream_at_a_time() {
    let (house, _one, two, _guest) = with_two("").await;
    let first = ask(&house, "stream=live/a&to=two");
    let second = async {
        until("the question", || {
            !two.seen.lock().unwrap().requests.is_empty()
        })
        .await;
        refused(&house, "stream=live/a&to=two", 409).await
    };
    let ((status, document), words) = tokio::join!(first, second);
    assert_eq!(status, 202, "no keyframe came: {document}");
    assert_eq!(document["data"]["state"], "awaiting_keyframe");
    assert!(words.contains("under way"), "{words}");
}

#[tokio::test]
async fn a_move_whose_other_origin_dies_is_called_off() {
    let (house, one, mut two, mut guest) = with_two("").await;
    let dies = async {
        until("the claim", || {
            house.origin_of("live/a").as_deref() == Some("two")
        })
        .await;
        two.kill().await;
    };
    let (words, ()) = tokio::join!(refused(&house, "stream=live/a&to=two", 409), dies);
    assert!(words.contains("closed the connection"), "{words}");
    until("the claim is back", || {
        house.origin_of("live/a").as_deref() == Some("one")
    })
    .await;
    guest.send(&video(40, KEYFRAME)).await;
    until("the frame", || pictures(&one).len() == 2).await;
}

#[tokio::test]
async fn a_publisher_that_leaves_in_mid_move_leaves_its_claim_where_it_was() {
    let (house, _one, two, guest) = with_two("").await;
    let leaves = async {
        until("the claim goes ahead", || {
            house.origin_of("live/a").as_deref() == Some("two")
        })
        .await;
        drop(guest);
    };
    let (words, ()) = tokio::join!(refused(&house, "stream=live/a&to=two", 409), leaves);
    assert!(words.contains("has left"), "{words}");
    until("the claim is back", || {
        house.origin_of("live/a").as_deref() == Some("one")
    })
    .await;
    assert!(two.seen.lock().unwrap().media.is_empty());
}

#[tokio::test]
async fn a_publisher_whose_origin_dies_in_mid_move_goes_on_at_the_other() {
    let (house, mut one, two, mut guest) = with_two("").await;
    let dies = async {
        until("the claim", || {
            house.origin_of("live/a").as_deref() == Some("two")
        })
        .await;
        one.kill().await;
        send_until_at(&mut guest, &two).await
    };
    let ((status, document), sent) = tokio::join!(ask(&house, "stream=live/a&to=two"), dies);
    assert_eq!(status, 200, "{document}");
    assert!(!sent.is_empty());
    assert_eq!(two.connections(), 1, "it was asked once");
    until("the row", || {
        let rows = house.proxy.sessions().list();
        rows.iter().all(|row| row.state() == State::Relaying)
    })
    .await;
    assert_eq!(house.origin_of("live/a").as_deref(), Some("two"));
}

#[tokio::test]
async fn viewers_follow_a_move_and_miss_nothing() {
    let (house, _one) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut first = house.ask(Action::Play, "live/a").await;
    until_marks(&mut first, &[1, 2, 3]).await;
    let mut second = FlvViewer::pull(&house, "/live/a.flv").await;
    second.until_marks(&[1, 2, 3]).await;
    let two = another_origin(&house).await;
    let moving = ask(&house, "stream=live/a&to=two");
    let mut mark = 10;
    let sending = async {
        until_told("the pull at the other origin", async || {
            mark += 1;
            let time = 5000 + u32::from(mark) * 40;
            publisher.send(&keyframe(time, mark)).await;
            let pulls = house.proxy.sessions().pulls();
            two.seen().players().count() == 1
                && pulls.iter().all(|pull| pull.origin().as_str() == "two")
        })
        .await;
    };
    let ((status, document), ()) = tokio::join!(moving, sending);
    assert_eq!(status, 200, "{document}");
    publisher.send(&picture(60_000, 9)).await;
    let has = |viewer: &Guest| marks(viewer).last() == Some(&9);
    assert!(first.read_until(has).await, "it goes on");
    second.until_last_mark(9).await;
    let all: Vec<u8> = [1, 2, 3].into_iter().chain(11..=mark).chain([9]).collect();
    assert_eq!(marks(&first), all, "each picture once");
    let seen: Vec<u8> = second.pictures().iter().map(|(_, mark)| *mark).collect();
    assert_eq!(seen, all);
    let steps: Vec<u32> = times(&first)
        .windows(2)
        .map(|two| two[1] - two[0])
        .collect();
    assert!(steps.iter().all(|step| *step > 0), "{steps:?}");
    let pictures = first.media.iter().filter(|one| is_picture(one));
    assert!(pictures.count() > 4);
    for session in told(&house, "/api/v1/sessions").await["sessions"]
        .as_array()
        .expect("rows")
    {
        assert_eq!(session["origin"], "two", "{session}");
        assert_ne!(session["state"], "held");
    }
    let events = told(&house, "/api/v1/events?kind=held").await;
    assert_eq!(events["total"], 0, "nobody was held: {events}");
}

#[tokio::test]
async fn viewers_with_legs_of_their_own_are_ended_only_where_it_is_said() {
    let (house, _one, two, mut guest) = with_two("").await;
    let viewer = house.ask(Action::Play, "live/a").await;
    assert!(viewer.has_started());
    let rows = house.proxy.sessions().list();
    let row = rows.iter().find(|row| row.request.action == Action::Play);
    let row = row.expect("the viewer's").clone();
    let words = refused(&house, "stream=live/a&to=two", 409).await;
    assert!(
        words.contains("legs of their own cannot follow") && words.contains("(1 now)"),
        "{words}"
    );
    assert!(!row.has_ended());
    let moving = ask(&house, "stream=live/a&to=two&end_viewers=true");
    let ((status, document), _) = tokio::join!(moving, send_until_at(&mut guest, &two));
    assert_eq!(status, 200, "{document}");
    assert_eq!(row.end_reason(), Some(EndReason::Moved));
}

#[tokio::test]
async fn publishers_leave_origins_that_are_disabled_or_deregistered() {
    for (method, path, cause) in [
        ("POST", "/api/v1/origins/one/disable", "disabled"),
        ("DELETE", "/api/v1/origins/one", "deregistered"),
    ] {
        let (house, one, two, mut guest) = with_two("[drain]\npace = \"20ms\"\n").await;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let (status, body) = crate::house::talk(house.at.system, &request).await;
        assert_eq!(status, 200, "{body}");
        let sent = send_until_at(&mut guest, &two).await;
        until("the old leg", || one.seen.lock().unwrap().closed == 1).await;
        until("all pictures", || {
            pictures(&one).len() + pictures(&two).len() == sent.len() + 1
        })
        .await;
        let metrics = house.proxy.metrics().render();
        let line = format!(r#"sluicegate_moves_total{{cause="{cause}",outcome="made"}} 1"#);
        assert!(metrics.contains(&line), "{metrics}");
    }
}
