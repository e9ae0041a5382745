//! What an origin makes of a client's credentials is told to the operator: that they are wrong, or that none can reach it.

use sluicegate_core::rtsp::message::{Message, Method};

use crate::house::House;
use crate::rtsp_house::{Caller, Reply, Stub, answer, grants};

const URL: &str = "rtsp://media.example/live/a";
const BASIC: &str = "WWW-Authenticate: Basic realm=\"camera\"\r\n";
const RIGHT: &str = "Authorization: Basic dTpyaWdodA==\r\n";
const WRONG: &str = "Authorization: Basic dTp3cm9uZw==\r\n";

/// A camera that answers requests of `method` without the right password with this challenge.
async fn camera(method: Method, challenge: &'static str) -> Stub {
    Stub::start(move |at| {
        let others = grants(at, Vec::new());
        move |request: &Message| {
            let is_right = request.field("authorization") == Some("Basic dTpyaWdodA==");
            match request.method() {
                Some(asked) if asked == method && !is_right => {
                    Reply::Say(answer(request, "401 Unauthorized", challenge, ""))
                }
                _ => others(request),
            }
        }
    })
    .await
}

async fn open(origin: &Stub, more: &str) -> (House, Caller) {
    let house = House::open("").await;
    house.register_with("one", &format!(r#""rtsp":["{}"]{more}"#, origin.at.port()));
    let player = Caller::connect(house.at.rtsp).await;
    (house, player)
}

fn refusals(house: &House) -> u64 {
    let metrics = house.proxy.metrics().render();
    let name = "sluicegate_refused_total{protocol=\"rtsp\",reason=\"refused\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |number| number.parse().expect("a count"))
}

async fn end_reason(house: &House, player: Caller) -> String {
    drop(player);
    house.until_sessions(0).await;
    house.proxy.sessions().ended()[0].reason.clone()
}

/// Guesses at passwords, and the commonest trouble with cameras.
#[tokio::test]
async fn a_wrong_password_is_a_refusal_each_time() {
    let origin = camera(Method::Describe, BASIC).await;
    let (house, mut player) = open(&origin, "").await;
    let url = format!("DESCRIBE {URL}");
    for (cseq, shown, told) in [(1, "", 0), (2, WRONG, 1), (3, WRONG, 2), (4, "", 2)] {
        let answer = player.ask(&url, cseq, shown).await;
        assert_eq!(answer.status(), Some(401), "{cseq}");
        let challenge = answer.field("www-authenticate");
        assert_eq!(challenge, Some("Basic realm=\"camera\""), "{cseq}");
        assert_eq!(refusals(&house), told, "{cseq}");
    }
    player.ask(&url, 5, WRONG).await;
    assert_eq!(refusals(&house), 3);
    assert_eq!(origin.connections(), 1, "it may go on");
    assert_eq!(end_reason(&house, player).await, "refused");
    assert_eq!(refusals(&house), 3, "its end is none");
}

#[tokio::test]
async fn a_password_that_is_right_in_the_end_joins() {
    let origin = camera(Method::Describe, BASIC).await;
    let (house, mut player) = open(&origin, "").await;
    for (cseq, shown, status) in [(1, "", 401), (2, WRONG, 401), (3, RIGHT, 200)] {
        let answer = player.ask(&format!("DESCRIBE {URL}"), cseq, shown).await;
        assert_eq!(answer.status(), Some(status), "{cseq}");
    }
    assert_eq!(refusals(&house), 1);
    assert_eq!(end_reason(&house, player).await, "client_closed");
}

#[tokio::test]
async fn a_step_of_the_dialogue_is_no_refusal() {
    let digest = |nonce: &str| {
        format!("Authorization: Digest username=\"u\", nonce=\"{nonce}\", response=\"0\"\r\n")
    };
    let (stale, fresh) = (
        "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\", stale=true\r\n",
        "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\"\r\n",
    );
    let rows = [
        ("no credentials", fresh, String::new(), 0, "client_closed"),
        (
            "a nonce of an earlier connection",
            fresh,
            digest("n0"),
            0,
            "client_closed",
        ),
        (
            "a nonce that is over",
            stale,
            digest("n1"),
            0,
            "client_closed",
        ),
        ("a wrong password", fresh, digest("n1"), 1, "refused"),
    ];
    for (cause, challenge, shown, told, reason) in rows {
        let origin = camera(Method::Describe, challenge).await;
        let (house, mut player) = open(&origin, "").await;
        player.ask(&format!("DESCRIBE {URL}"), 1, &shown).await;
        assert_eq!(refusals(&house), told, "{cause}");
        assert_eq!(end_reason(&house, player).await, reason, "{cause}");
    }
}

/// Some describe themselves to everybody.
#[tokio::test]
async fn a_camera_that_wants_a_password_for_setup_refuses_too() {
    for (shown, reason, told) in [("", "client_closed", 0), (WRONG, "refused", 1)] {
        let origin = camera(Method::Setup, BASIC).await;
        let (house, mut player) = open(&origin, "").await;
        player.ask(&format!("DESCRIBE {URL}"), 1, shown).await;
        let fields = format!("Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n{shown}");
        let answer = player
            .ask(&format!("SETUP {URL}/trackID=0"), 2, &fields)
            .await;
        assert_eq!(answer.status(), Some(401), "{shown}");
        assert_eq!(end_reason(&house, player).await, reason, "{shown}");
        assert_eq!(refusals(&house), told, "{shown}");
    }
}

/// A player would ask for a password again and again, and none could be right.
#[tokio::test]
async fn a_camera_that_no_password_can_reach_is_no_401() {
    let digest = "WWW-Authenticate: Digest realm=\"secret\", nonce=\"n1\"\r\n";
    let both = "WWW-Authenticate: Digest realm=\"c\", nonce=\"n1\"\r\nWWW-Authenticate: Basic realm=\"c\"\r\n";
    let strip = r#","dialect":"mediamtx","strip":"site-a""#;
    let rows = [
        ("Digest alone", digest, strip, 502),
        ("Basic as well", both, strip, 401),
        ("equal names", digest, "", 401),
        ("no challenge", "", strip, 401),
    ];
    for (cause, challenge, more, status) in rows {
        for method in [Method::Describe, Method::Setup] {
            let origin = camera(method, challenge).await;
            let (house, mut player) = open(&origin, more).await;
            let url = "rtsp://media.example/site-a/live/a";
            let mut answer = player.ask(&format!("DESCRIBE {url}"), 1, "").await;
            if method == Method::Setup {
                let fields = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
                answer = player
                    .ask(&format!("SETUP {url}/trackID=0"), 2, fields)
                    .await;
            }
            assert_eq!(answer.status(), Some(status), "{cause}, {method:?}");
            let text = String::from_utf8_lossy(answer.bytes());
            assert_eq!(
                text.contains("Digest credentials alone"),
                status == 502,
                "{text}"
            );
            assert!(status == 401 || !text.contains("secret"), "{text}");
            let refused = status == 502;
            let reason = if refused { "refused" } else { "client_closed" };
            assert_eq!(
                end_reason(&house, player).await,
                reason,
                "{cause}, {method:?}"
            );
            assert_eq!(refusals(&house), u64::from(refused), "{cause}, {method:?}");
        }
    }
}
