//! What an origin says of a stream that it has had for a while: the encoder hears it, and an error before the end of the
//! connection is the origin's no.

use sluicegate_core::rtmp::message::Command;

use crate::fanout::told;
use crate::held::{KEYFRAME, goes_on, on_air};
use crate::house::{Guest, House, Manner, Stub, until, video};
use crate::moves::{ask, send_until_at};

const DENIED: &str = "NetStream.Publish.Denied";

fn denied() -> Command {
    Command::on_status("error", DENIED, "your time is over")
}

/// The session has ended by the origin's no, which the encoder heard, and the journal has it.
async fn is_refused(house: &House, guest: &mut Guest) {
    guest.read_to_end().await;
    assert_eq!((guest.code(), guest.words()), (DENIED, "your time is over"));
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "refused");
    let events = told(house, "/api/v1/events?kind=refused").await.to_string();
    let words = "NetStream.Publish.Denied: your time is over";
    assert!(events.contains(words), "{events}");
}

/// A publisher on its second origin, which numbers message streams in its own way.
async fn after_a_hold() -> (House, Stub, Guest) {
    let (house, mut one, mut guest) = on_air("").await;
    let two = Stub::start(Manner::NumbersFrom(5)).await;
    house.register("two", two.at);
    one.kill().await;
    goes_on(&house, &mut guest, &two, &["closed", "reset"]).await;
    (house, two, guest)
}

/// The same for one that was moved.
async fn after_a_move() -> (House, Stub, Stub, Guest) {
    let (house, one, mut guest) = on_air("").await;
    let two = Stub::start(Manner::NumbersFrom(5)).await;
    house.register("two", two.at);
    let moving = ask(&house, "stream=live/a&to=two");
    let ((status, body), _) = tokio::join!(moving, send_until_at(&mut guest, &two));
    assert_eq!(status, 200, "{body}");
    (house, one, two, guest)
}

#[tokio::test]
async fn the_first_origins_no_ends_the_session() {
    for settings in ["", "[hold]\npublishers = \"0s\"\n"] {
        let (house, one, mut guest) = on_air(settings).await;
        let two = Stub::start(Manner::Grants).await;
        house.register("two", two.at);
        one.say_and_close(denied());
        is_refused(&house, &mut guest).await;
        assert_eq!((one.connections(), two.connections()), (1, 0), "{settings}");
    }
}

#[tokio::test]
async fn the_no_of_an_origin_after_a_hold_ends_the_session() {
    let (house, two, mut guest) = after_a_hold().await;
    let asked = two.connections();
    two.say_and_close(denied());
    is_refused(&house, &mut guest).await;
    assert_eq!(two.connections(), asked, "nobody goes back to it");
}

#[tokio::test]
async fn the_no_of_an_origin_after_a_move_ends_the_session() {
    let (house, one, two, mut guest) = after_a_move().await;
    let asked = two.connections();
    two.say_and_close(denied());
    is_refused(&house, &mut guest).await;
    assert_eq!((one.connections(), two.connections()), (1, asked));
}

/// One that reads the no and leaves before its origin closes was refused all the same.
#[tokio::test]
async fn an_encoder_that_leaves_because_of_a_no_was_refused() {
    let (house, one, mut guest) = on_air("").await;
    one.say(denied());
    assert!(guest.read_until(|guest| guest.code() == DENIED).await);
    drop(guest);
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "refused");
}

#[tokio::test]
async fn later_origins_warn_the_encoder_as_the_first_one_does() {
    let (_house, two, guest) = after_a_hold().await;
    let (_moved, _one, three, moved) = after_a_move().await;
    for (origin, mut guest) in [(two, guest), (three, moved)] {
        let code = "NetStream.Publish.InsufficientBW";
        origin.say(Command::on_status("warning", code, "too slow"));
        assert!(guest.read_until(|guest| guest.code() == code).await);
        guest.send(&video(9_000_000, KEYFRAME)).await;
        until("the stream goes on", || {
            let seen = origin.seen.lock().unwrap();
            seen.media.iter().any(|one| one.timestamp == 9_000_000)
        })
        .await;
    }
}

#[tokio::test]
async fn a_no_in_the_middle_of_a_move_leaves_the_publisher_where_it_is() {
    let (house, one, mut guest) = on_air("").await;
    let two = Stub::start(Manner::Grants).await;
    house.register("two", two.at);
    let says_no = async {
        until("the claim", || {
            house.origin_of("live/a").as_deref() == Some("two")
        })
        .await;
        two.say(denied());
    };
    let ((status, body), ()) = tokio::join!(ask(&house, "stream=live/a&to=two"), says_no);
    assert_eq!(status, 409, "{body}");
    assert!(body.to_string().contains("your time is over"), "{body}");
    until("the claim is back", || {
        house.origin_of("live/a").as_deref() == Some("one")
    })
    .await;
    guest.send(&video(9_000, KEYFRAME)).await;
    until("the stream goes on", || {
        let seen = one.seen.lock().unwrap();
        seen.media.iter().any(|one| one.timestamp == 9_000)
    })
    .await;
}
