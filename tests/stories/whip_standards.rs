//! What WHIP and WHEP ask for beyond an offer and its answer: entity tags, refusals that say when to come back, and an
//! origin that makes the offer itself.

use sluicegate_core::rtc::stun::Kind;
use tokio::net::UdpSocket;

use crate::call::{CallOrigin, Says, ask, ask_with, check, fragment, location, receive_media, sdp};
use crate::house::House;
use crate::http_origin::{Viewer, header};

const WHEP: &str = "/rtc/v1/whep/?app=live&stream=a";
const SDP: &str = "Content-Type: application/sdp\r\n";

/// A house with one origin that says this.
async fn house_with(says: Says) -> (House, CallOrigin) {
    let house = House::open("").await;
    let origin = CallOrigin::saying(says).await;
    house.register_with("one", &origin.endpoints());
    (house, origin)
}

#[tokio::test]
async fn a_tag_has_quotes_here_and_goes_back_as_its_origin_wrote_it() {
    let rows = [
        ("with quotes", "\"abc\"", "\"abc\"", "\"abc\""),
        ("without quotes", "abc", "\"abc\"", "abc"),
        ("a star", "*", "\"*\"", "*"),
    ];
    for (cause, theirs, ours, back) in rows {
        let offer: &str = format!(
            "201 Created\r\nLocation: /call/1\r\nETag: {theirs}\r\nContent-Type: application/sdp"
        )
        .leak();
        let patch: &str =
            format!("200 OK\r\nETag: {theirs}\r\nContent-Type: application/trickle-ice-sdpfrag")
                .leak();
        let (house, origin) = house_with(Says {
            offer: (offer, sdp("orig")),
            patch: (patch, fragment("orig2")),
        })
        .await;
        let (status, head, _) = ask(house.at.api, "POST", WHEP, &sdp("clnt")).await;
        assert_eq!(status, 201, "{cause}: {head}");
        assert_eq!(header(&head, "etag"), [ours], "{cause}");
        let lines =
            format!("Content-Type: application/trickle-ice-sdpfrag\r\nIf-Match: {ours}\r\n");
        let restart = fragment("clnt2");
        let (status, head, _) =
            ask_with(house.at.api, "PATCH", &location(&head), &lines, &restart).await;
        assert_eq!(status, 200, "{cause}: {head}");
        assert_eq!(header(&head, "etag"), [ours], "{cause}");
        let told = origin.whole();
        let told = told.last().expect("a PATCH");
        assert!(told.starts_with("PATCH /call/1 "), "{cause}: {told}");
        assert_eq!(header(told, "if-match"), [back], "{cause}");
    }
}

#[tokio::test]
async fn a_stream_that_is_not_live_yet_and_a_busy_one_are_told_as_the_origin_tells_it() {
    for target in [WHEP, "/rtc/v1/whip/?app=live&stream=a"] {
        let (house, origin) = house_with(Says {
            offer: ("409 Conflict\r\nRetry-After: 7", String::new()),
            ..Says::default()
        })
        .await;
        let (status, head, _) = ask(house.at.api, "POST", target, &sdp("clnt")).await;
        assert_eq!(status, 409, "{target}: {head}");
        assert_eq!(header(&head, "retry-after"), ["7"], "{target}");
        assert!(header(&head, "access-control-expose-headers")[0].contains("Retry-After"));
        assert_eq!(origin.requests().len(), 1, "{target}: it is asked once");
        assert!(house.proxy.sessions().is_empty(), "{target}");
        assert!(house.proxy.registry().bindings().is_empty(), "{target}");
    }
}

#[tokio::test]
async fn an_offer_is_known_by_its_first_line_and_an_answer_by_any_status_of_success() {
    const ACCEPTED: &str = "202 Accepted\r\nLocation: /call/1\r\nContent-Type: application/sdp";
    let agreed = Says::default().offer.0;
    // A description; the header of the request; what the origin says.
    let rows = [
        (
            "a text, as pages post it",
            "Content-Type: text/plain;charset=UTF-8\r\n",
            agreed,
        ),
        (
            "a form, as curl posts it",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            agreed,
        ),
        ("no type", "", agreed),
        ("accepted", SDP, ACCEPTED),
    ];
    for (cause, kind, says) in rows {
        let (house, origin) = house_with(Says {
            offer: (says, sdp("orig")),
            ..Says::default()
        })
        .await;
        let (status, head, told) = ask_with(house.at.api, "POST", WHEP, kind, &sdp("clnt")).await;
        assert_eq!(status, 201, "{cause}: {head}");
        assert!(told.starts_with("v=0"), "{cause}: {told}");
        let asked = &origin.whole()[0];
        let kind = kind.split_once(": ").map(|(_, kind)| kind.trim_end());
        let kinds: Vec<&str> = kind.into_iter().collect();
        assert_eq!(header(asked, "content-type"), kinds, "{cause}: as it came");
    }
}

#[tokio::test]
async fn an_offer_in_pieces_goes_on_as_a_whole() {
    let (house, origin) = house_with(Says::default()).await;
    let offer = sdp("clnt");
    let (first, second) = offer.split_at(10);
    let pieces = format!(
        "{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    let head = format!(
        "POST {WHEP} HTTP/1.1\r\nHost: {}\r\n{SDP}Transfer-Encoding: chunked\r\n\r\n",
        house.at.api
    );
    let mut viewer = Viewer::send(house.at.api, head + &pieces).await;
    let answered = viewer.head().await;
    assert!(answered.starts_with("HTTP/1.1 201 "), "{answered}");
    let asked = &origin.whole()[0];
    assert!(header(asked, "transfer-encoding").is_empty(), "{asked}");
    let (_, body) = asked.split_once("\r\n\r\n").expect("a head");
    assert_eq!(header(asked, "content-length"), [body.len().to_string()]);
}

#[tokio::test]
async fn a_no_in_json_is_a_refusal_without_the_origins_words() {
    const OK: &str = "200 OK\r\nContent-Type: application/json";
    const WHIP: &str = "/rtc/v1/whip/?app=live&stream=a";
    let no = r#"{"code":400,"server":"vid-1","msg":"stream not found at 10.0.0.1"}"#;
    let other = r#"{"code":5021,"data":"no room at 10.0.0.1"}"#;
    let legacy = format!(
        r#"{{"api":"x","streamurl":"webrtc://h/live/a","sdp":{:?}}}"#,
        sdp("clnt")
    );
    // A description; the target; the body; what the origin says; the status and the code for the client.
    let rows = [
        ("SRS's own API", "/rtc/v1/play/", &legacy, no, 400, 400),
        (
            "with a code of its own",
            "/rtc/v1/publish/",
            &legacy,
            other,
            502,
            5021,
        ),
        ("WHEP", WHEP, &sdp("clnt"), no, 400, 400),
        ("WHIP", WHIP, &sdp("clnt"), no, 400, 400),
    ];
    for (cause, target, body, says, expected, code) in rows {
        let (house, _origin) = house_with(Says {
            offer: (OK, says.to_owned()),
            ..Says::default()
        })
        .await;
        let (status, head, told) = ask(house.at.api, "POST", target, body).await;
        assert_eq!(status, expected, "{cause}: {head} {told}");
        assert_eq!(
            header(&head, "content-type"),
            ["application/json"],
            "{cause}"
        );
        let told: serde_json::Value = serde_json::from_str(&told).expect(cause);
        let refusal = serde_json::json!({"code": code, "data": "its origin refused the call"});
        assert_eq!(told, refusal, "{cause}");
        assert!(house.proxy.sessions().is_empty(), "{cause}");
    }
}

const COUNTER_OFFER: &str =
    "406 Not Acceptable\r\nLocation: /call/1\r\nContent-Type: application/sdp; charset=utf-8";

#[tokio::test(flavor = "multi_thread")]
async fn a_player_takes_up_the_offer_that_an_origin_makes_instead() {
    let (house, origin) = house_with(Says {
        offer: (COUNTER_OFFER, sdp("orig")),
        patch: ("204 No Content", String::new()),
    })
    .await;
    let (status, head, offer) = ask(house.at.api, "POST", WHEP, &sdp("unfit")).await;
    assert_eq!(status, 406, "{head}");
    assert_eq!(header(&head, "content-type"), ["application/sdp"]);
    assert!(offer.contains("a=ice-ufrag:orig\r\n"), "{offer}");
    let ours = format!(" {} {} typ host", house.at.rtc.ip(), house.at.rtc.port());
    assert!(offer.contains(&ours), "{offer}");
    let resource = location(&head);
    assert!(resource.starts_with("/rtc/v1/session/"), "{resource}");

    let answer = format!(
        "{}a=candidate:1 1 udp 1 192.0.2.7 5000 typ host\r\n",
        sdp("clnt")
    );
    let (status, head, _) = ask_with(house.at.api, "PATCH", &resource, SDP, &answer).await;
    assert_eq!(status, 204, "{head}");
    let told = origin.whole();
    let told = told.last().expect("a PATCH");
    assert!(told.starts_with("PATCH /call/1 "), "{told}");
    assert!(told.contains("a=ice-ufrag:clnt\r\n"), "{told}");
    assert!(!told.contains("192.0.2.7"), "{told}");

    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    client.connect(house.at.rtc).await.expect("a socket");
    let mut transaction = 0;
    let proven = check(&client, "orig:clnt", &mut transaction).await;
    assert_eq!(proven, Some(Kind::Success));
    let media = [0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7];
    client.send(&media).await.expect("it goes out");
    assert_eq!(receive_media(&client).await, media);
    let (status, ..) = ask(house.at.api, "DELETE", &resource, "").await;
    assert_eq!(status, 200);
    let told = origin.requests();
    assert_eq!(told.last().map(String::as_str), Some("DELETE /call/1"));
}

#[tokio::test]
async fn a_406_without_an_offer_or_for_a_publisher_is_a_refusal() {
    let rows = [
        (
            "no Location",
            WHEP,
            "406 Not Acceptable\r\nContent-Type: application/sdp",
        ),
        ("no offer", WHEP, "406 Not Acceptable\r\nLocation: /call/1"),
        (
            "a publisher",
            "/rtc/v1/whip/?app=live&stream=a",
            COUNTER_OFFER,
        ),
    ];
    for (cause, target, says) in rows {
        let (house, _origin) = house_with(Says {
            offer: (says, sdp("orig")),
            ..Says::default()
        })
        .await;
        let (status, head, body) = ask(house.at.api, "POST", target, &sdp("clnt")).await;
        assert_eq!(status, 406, "{cause}");
        assert!(header(&head, "location").is_empty(), "{cause}: {head}");
        assert!(!body.contains("ice-pwd"), "{cause}: {body}");
        assert!(house.proxy.sessions().is_empty(), "{cause}");
    }
}

/// Browsers say that they read answers in codings, and some gateways compress whatever is asked for so.
#[tokio::test]
async fn an_answer_in_a_coding_reaches_the_client_in_none() {
    let json = format!(r#"{{"code":0,"sdp":{:?}}}"#, sdp("orig"));
    let offer = format!(
        r#"{{"streamurl":"webrtc://h/live/a","sdp":{:?}}}"#,
        sdp("clnt")
    );
    for (cause, target, coding, (body, offer), expected) in [
        ("none", WHEP, "identity", (sdp("orig"), sdp("clnt")), 201),
        ("gzip", WHEP, "gzip", (sdp("orig"), sdp("clnt")), 201),
        ("SRS's JSON", "/rtc/v1/play/", "gzip", (json, offer), 200),
        (
            "one that nobody asked for",
            WHEP,
            "br",
            (sdp("orig"), sdp("clnt")),
            502,
        ),
    ] {
        let says: &str = match target == WHEP {
            true => format!("201 Created\r\nLocation: /call/1\r\nContent-Encoding: {coding}"),
            false => format!("200 OK\r\nContent-Encoding: {coding}"),
        }
        .leak();
        let (house, origin) = house_with(Says {
            offer: (says, body),
            ..Says::default()
        })
        .await;
        let headers = "Accept-Encoding: gzip, deflate, br\r\n";
        let (status, head, told) = ask_with(house.at.api, "POST", target, headers, &offer).await;
        assert_eq!(status, expected, "{cause}: {head}: {told}");
        let codings = header(&head, "content-encoding");
        assert!(
            codings.iter().all(|coding| *coding == "identity"),
            "{cause}: {head}"
        );
        assert_eq!(told.contains("v=0"), expected != 502, "{cause}: {told}");
        let asked = &origin.whole()[0];
        assert!(
            header(asked, "accept-encoding").is_empty(),
            "{cause}: {asked}"
        );
    }
}
