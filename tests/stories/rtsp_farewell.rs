//! An origin hears of the end of a session, however it ends: a session is not its connection (RFC 2326 §1.1), and a camera
//! that is not told sends on, and has a place less for others.

use sluicegate::sessions::EndReason;
use sluicegate_core::rtsp::message::{Message, Method};

use crate::house::{House, until};
use crate::rtsp_house::{Caller, Reply, Stub, answer, frame, grants};

const URL: &str = "rtsp://media.example/live/a";
const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
const UDP: &str = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
const BASIC: &str = "Authorization: Basic dTpw\r\n";

fn register(house: &House, origin: &Stub) {
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
}

/// A player or a publisher, up to the answer to PLAY or RECORD. Each request shows `credentials`.
async fn join(house: &House, transport: &str, credentials: &str, publishes: bool) -> Caller {
    let mut caller = Caller::connect(house.at.rtsp).await;
    let (first, last) = match publishes {
        true => ("ANNOUNCE", "RECORD"),
        false => ("DESCRIBE", "PLAY"),
    };
    caller.ask(&format!("{first} {URL}"), 1, credentials).await;
    let fields = format!("{transport}{credentials}");
    caller
        .ask(&format!("SETUP {URL}/trackID=0"), 2, &fields)
        .await;
    let fields = format!("Session: 7\r\n{credentials}");
    let answer = caller.ask(&format!("{last} {URL}/"), 3, &fields).await;
    assert_eq!(answer.status(), Some(200));
    caller
}

fn teardowns(origin: &Stub) -> Vec<String> {
    let mut requests = origin.requests();
    requests.retain(|request| request.starts_with("TEARDOWN "));
    requests
}

#[tokio::test]
async fn an_origin_is_told_of_an_end_that_its_client_does_not_tell_it_of() {
    let ends = [
        None,
        Some(EndReason::Banned),
        Some(EndReason::Drained),
        Some(EndReason::Kicked),
        Some(EndReason::OriginDrained),
        Some(EndReason::PlayerIdle),
    ];
    for (transport, publishes) in [(TCP, false), (UDP, false), (TCP, true), (UDP, true)] {
        for end in ends {
            let cause = format!("{end:?}, {transport}, publishes: {publishes}");
            let house = House::open("").await;
            let origin = Stub::start(|at| grants(at, Vec::new())).await;
            register(&house, &origin);
            let caller = join(&house, transport, BASIC, publishes).await;
            // `None`: its client closes.
            match end {
                Some(end) => house.proxy.sessions().list()[0].end(end),
                None => drop(caller),
            }
            until("the origin is told", || !teardowns(&origin).is_empty()).await;
            house.until_sessions(0).await;
            let expected =
                format!("TEARDOWN {URL}/ RTSP/1.0\r\nCSeq: 4\r\nSession: 7\r\n{BASIC}\r\n");
            assert_eq!(teardowns(&origin), [expected], "{cause}");
        }
    }
}

/// Its signature is for PLAY, and a camera may count another as a guess at the password.
#[tokio::test]
async fn what_a_client_signed_is_not_shown_again() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, &origin);
    let digest = "Authorization: Digest username=\"u\", response=\"r\"\r\n";
    drop(join(&house, UDP, digest, false).await);
    until("the origin is told", || !teardowns(&origin).is_empty()).await;
    let expected = format!("TEARDOWN {URL}/ RTSP/1.0\r\nCSeq: 4\r\nSession: 7\r\n\r\n");
    assert_eq!(teardowns(&origin), [expected]);
}

/// FFmpeg and others do not wait for the answer.
#[tokio::test]
async fn a_client_that_told_the_origin_itself_is_not_told_of_again() {
    for waits in [true, false] {
        let house = House::open("").await;
        let origin = Stub::start(|at| grants(at, Vec::new())).await;
        register(&house, &origin);
        let mut player = join(&house, UDP, "", false).await;
        let last = format!("TEARDOWN {URL}/ RTSP/1.0\r\nCSeq: 4\r\nSession: 7\r\n\r\n");
        player.send(&last).await;
        if waits {
            player.hear().await.expect("an answer");
        }
        drop(player);
        house.until_sessions(0).await;
        until("the connection is over", || origin.open() == 0).await;
        assert_eq!(teardowns(&origin), [last], "waits: {waits}");
    }
}

#[tokio::test]
async fn an_origin_that_takes_long_for_a_setup_is_told_once_there_is_a_session() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        let others = grants(at, Vec::new());
        move |request: &Message| match request.method() {
            // It answers two at once.
            Some(Method::Setup) => Reply::Wait,
            Some(Method::Other) => {
                let setup = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nSession: 7;timeout=90\r\n\r\n";
                Reply::Say([setup, &answer(request, "200 OK", "", "")[..]].concat())
            }
            _ => others(request),
        }
    })
    .await;
    register(&house, &origin);
    let mut player = Caller::connect(house.at.rtsp).await;
    player.ask(&format!("DESCRIBE {URL}"), 1, "").await;
    let setup = format!("SETUP {URL}/trackID=0 RTSP/1.0\r\nCSeq: 2\r\n{UDP}\r\n");
    let other = format!("LATE {URL} RTSP/1.0\r\nCSeq: 3\r\n\r\n");
    player.send([setup, other].concat()).await;
    drop(player);
    until("the origin is told", || !teardowns(&origin).is_empty()).await;
    let expected = format!("TEARDOWN {URL} RTSP/1.0\r\nCSeq: 4\r\nSession: 7\r\n\r\n");
    assert_eq!(teardowns(&origin), [expected]);
}

/// Half a frame is no place for a request, and an end of the connection in it is clear enough.
#[tokio::test]
async fn nothing_is_said_in_the_midst_of_a_frame() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, &origin);
    let mut publisher = join(&house, TCP, "", true).await;
    publisher.send(&frame(0, &[1; 100])[..50]).await;
    drop(publisher);
    house.until_sessions(0).await;
    until("the connection is over", || origin.open() == 0).await;
    assert_eq!(teardowns(&origin), [""; 0]);
}

/// One that does not answer keeps neither the session nor its connection for long.
#[tokio::test]
async fn an_origin_that_does_not_answer_holds_nothing_up() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        let others = grants(at, Vec::new());
        move |request: &Message| match request.method() {
            Some(Method::Teardown) => Reply::Wait,
            _ => others(request),
        }
    })
    .await;
    register(&house, &origin);
    let mut player = join(&house, UDP, "", false).await;
    house.proxy.sessions().list()[0].end(EndReason::Kicked);
    player.hear_end().await;
    house.until_sessions(0).await;
    until("the origin was told", || !teardowns(&origin).is_empty()).await;
    until("the connection is over", || origin.open() == 0).await;
}
