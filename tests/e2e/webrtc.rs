//! WebRTC: real clients publish with WHIP and play with WHEP, and their media uses our port.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::http;
use crate::support::rtc::{RtcClient, RtcOrigin, page_folder};
use crate::support::{Proxy, machine, wait_for};

/// A proxy that serves the page.
pub(crate) fn proxy() -> Proxy {
    let folder = page_folder().display().to_string();
    Proxy::start(&format!("http.static_files = {folder:?}"))
}

pub(crate) fn page(proxy: &Proxy, action: &str, stream: &str) -> String {
    format!(
        "http://{}/index.html?action={action}&stream={stream}&api=http://{}",
        proxy.http, proxy.api
    )
}

/// The bytes that our own row counted in the direction of the media.
fn bytes(proxy: &Proxy, action: &str) -> u64 {
    let direction = if action == "play" {
        "bytes_to_client"
    } else {
        "bytes_to_origin"
    };
    let rows = proxy.sessions();
    let row = rows.iter().find(|row| row["action"] == action);
    row.and_then(|row| row[direction].as_u64()).unwrap_or(0)
}

/// Checks that the page's call uses our port, and that our account covers what the browser counted.
fn goes_by_us(proxy: &Proxy, browser: &Browser, action: &str) {
    let ours = proxy.rtc.to_string();
    let shown = browser.wait_video(&format!("{action}: frames"), |shown| {
        shown["call"]["frames"].as_u64() >= Some(30)
    });
    let call = &shown["call"];
    assert_eq!(call["remote"], ours, "the selected candidate: {shown}");
    assert_eq!(call["protocol"], "udp", "{shown}");
    let counted = call["bytes"].as_u64().expect("a number");
    assert!(counted > 5000, "{shown}");
    // Our account is settled a few times a second.
    wait_for("our account covers it", Duration::from_secs(40), || {
        (bytes(proxy, action) >= counted).then_some(())
    });
}

#[test]
fn a_browser_publishes_and_another_plays_on_one_of_three_origins() {
    let _turn = machine::share();
    let origins = ["origin1", "origin2", "origin3"].map(RtcOrigin::start);
    let proxy = proxy();
    for origin in &origins {
        origin.register(&proxy);
    }
    let publisher = Browser::open(&page(&proxy, "publish", "camera"));
    goes_by_us(&proxy, &publisher, "publish");
    let home = proxy.origin_of("live/camera").expect("it is placed");
    let origin = origins.iter().find(|origin| origin.name() == home);
    let origin = origin.expect("it is one of them");
    wait_for("the origin decodes", Duration::from_secs(40), || {
        let state = origin.state();
        (state["calls"][0]["frames"].as_u64() > Some(20)).then_some(())
    });

    let player = Browser::open(&page(&proxy, "play", "camera"));
    goes_by_us(&proxy, &player, "play");
    player.wait_video("a picture in colours", |shown| {
        shown["frames"].as_u64() > Some(10) && shown["colours"].as_u64() > Some(4)
    });
    for other in origins.iter().filter(|origin| origin.name() != home) {
        assert!(!other.was_asked_for("camera"), "{} as well", other.name());
    }
    let offer = origin.wait("an offer", |event| event["event"] == "offer");
    let candidates = offer["candidates"].as_array().expect("a list");
    assert!(
        candidates.iter().all(|line| line
            .as_str()
            .is_some_and(|line| line.contains(" 127.0.0.1 9 "))),
        "no address of the browser reached the origin: {candidates:?}"
    );
}

#[test]
fn an_aiortc_publisher_and_player_meet_and_delete_their_calls() {
    let _turn = machine::share();
    let origin = RtcOrigin::start("origin");
    let proxy = Proxy::start("");
    origin.register(&proxy);
    let _publisher = RtcClient::publish(&proxy, "a");
    wait_for("the origin decodes", Duration::from_secs(40), || {
        let state = origin.state();
        (state["calls"][0]["frames"].as_u64() > Some(10)).then_some(())
    });
    let player = RtcClient::play(&proxy, "a");
    player.wait_frame(20);
    let answer = player.wait("its answer", |event| event["event"] == "answer");
    let sdp = answer["sdp"].as_str().expect("text");
    let ours = format!(" 127.0.0.1 {} typ host", proxy.rtc.port());
    let candidates: Vec<&str> = sdp
        .lines()
        .filter(|line| line.starts_with("a=candidate"))
        .collect();
    assert!(
        !candidates.is_empty() && candidates.iter().all(|line| line.contains(&ours)),
        "{sdp}"
    );
    let headers = &answer["headers"];
    assert_eq!(headers["etag"], "\"1\"", "{headers}");
    assert!(
        headers["link"]
            .as_str()
            .is_some_and(|link| link.contains("ice-server")),
        "{headers}"
    );
    assert!(
        headers["location"]
            .as_str()
            .is_some_and(|at| at.starts_with("/rtc/v1/session/")),
        "{headers}"
    );
    let offer = origin.wait("the offer", |event| event["action"] == "play");
    assert_eq!(offer["headers"]["Authorization"], "Bearer secret");
    assert_eq!(offer["headers"]["Host"], proxy.api.to_string());
    assert_eq!(offer["headers"]["X-Forwarded-For"], "127.0.0.1");

    player.leave();
    let deleted = player.wait("the end of its call", |event| event["event"] == "deleted");
    assert_eq!(deleted["status"], 200);
    origin.wait("the end of the play", |event| {
        event["event"] == "end" && event["action"] == "play"
    });
    let ended = proxy.wait_log("session ended", |record| record["action"] == "play");
    assert_eq!(ended["reason"], "client_closed", "{ended}");

    // A kick ends the call on both sides.
    let row = proxy.wait_session("the publisher", |row| row["action"] == "publish");
    let kicked = proxy.system("DELETE", &format!("/api/v1/sessions/{}", row["id"]));
    assert_eq!(kicked.status, 200);
    origin.wait("the origin is told", |event| {
        event["event"] == "end" && event["action"] == "publish"
    });
    wait_for_no_row(&proxy);
}

#[test]
fn the_first_picture_comes_within_a_second_of_the_answer() {
    let _turn = machine::alone();
    let origin = RtcOrigin::start("origin");
    let proxy = Proxy::start("");
    origin.register(&proxy);
    // The best of several rounds, because other work on the machine adds to the times.
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let player = RtcClient::play(&proxy, "a");
        let first = player.wait_frame(1);
        best = best.min(first["after"].as_f64().expect("seconds"));
        if best <= 1.0 {
            break;
        }
    }
    assert!(best <= 1.0, "{best} s");
}

#[test]
fn a_browser_hears_of_the_death_of_its_origin() {
    let _turn = machine::share();
    let mut origin = RtcOrigin::start("origin");
    let proxy = proxy();
    origin.register(&proxy);
    let player = Browser::open(&page(&proxy, "play", "a"));
    player.wait_video("frames", |shown| {
        shown["call"]["frames"].as_u64() >= Some(10)
    });
    origin.kill();
    let ended = proxy.wait_log("session ended", |_| true);
    assert_eq!(ended["reason"], "origin_closed", "{ended}");
    wait_for_no_row(&proxy);
    // Without the proxy's error it would wait for half a minute.
    let told = Instant::now();
    player.wait_video("it is told", |shown| shown["call"]["state"] == "failed");
    assert!(
        told.elapsed() < Duration::from_secs(25),
        "{:?}",
        told.elapsed()
    );
}

#[test]
fn what_cannot_be_answered_is_refused_in_few_words() {
    let _turn = machine::share();
    let origin = RtcOrigin::start("origin");
    let proxy = Proxy::start("rtc.paths = [\"/{app}/{stream}/whep\"]");
    let post = |target: &str, headers: &[&str], body: &str| {
        http::request(proxy.api, "POST", target, headers, body)
    };
    let sdp = "Content-Type: application/sdp";
    let offer = offer();
    let whep = "/rtc/v1/whep/?app=live&stream=a";
    assert_eq!(post(whep, &[sdp], &offer).status, 503, "no origin yet");
    origin.register(&proxy);

    let thousands = offer.clone() + &"a=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n".repeat(3000);
    let megabytes = "a=x\r\n".repeat(500_000);
    let cases: [(&str, &str, &[&str], &str, u16); 8] = [
        ("nothing", whep, &[sdp], "", 400),
        ("not a description", whep, &[sdp], "hello", 400),
        ("thousands of candidates", whep, &[sdp], &thousands, 400),
        ("megabytes", whep, &[sdp], &megabytes, 413),
        (
            "another type",
            whep,
            &["Content-Type: text/html"],
            "<p>hello</p>",
            415,
        ),
        (
            "no such stream name",
            "/rtc/v1/whep/?stream=..",
            &[sdp],
            &offer,
            400,
        ),
        ("JSON that is none", "/rtc/v1/play/", &[], "{", 400),
        ("no such call", "/rtc/v1/session/0", &[], "", 405),
    ];
    for (cause, target, headers, body, status) in cases {
        let response = post(target, headers, body);
        assert_eq!(response.status, status, "{cause}: {}", response.text());
        assert!(response.text().len() < 200, "{cause}: {}", response.text());
    }
    let refused = post(&format!("{whep}&no=401"), &[sdp], &offer);
    assert_eq!(
        (refused.status, refused.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(post(&format!("{whep}&no=503"), &[sdp], &offer).status, 503);
    wait_for_no_row(&proxy);

    for (target, location) in [
        (format!("{whep}&location=%20nonsense%20"), true),
        ("/rtc/v1/whep?stream=b".to_owned(), true),
        ("/live/c/whep".to_owned(), true),
    ] {
        let response = post(&target, &[sdp], &offer);
        assert_eq!(response.status, 201, "{target}: {}", response.text());
        let at = response.header("location").map(str::to_owned);
        assert_eq!(at.is_some(), location, "{target}");
        assert!(
            !response.text().contains(" 127.0.0.1 9 "),
            "{}",
            response.text()
        );
        let at = at.unwrap_or_default();
        let fragment = "Content-Type: application/trickle-ice-sdpfrag";
        let patched = http::request(
            proxy.api,
            "PATCH",
            &at,
            &[fragment],
            "a=end-of-candidates\r\n",
        );
        assert!(matches!(patched.status, 404 | 405), "{}", patched.status);
        assert_eq!(
            http::request(proxy.api, "OPTIONS", &at, &[], "").status,
            204
        );
        assert_eq!(http::request(proxy.api, "DELETE", &at, &[], "").status, 200);
        assert_eq!(
            http::request(proxy.api, "DELETE", &at, &[], "").status,
            404,
            "once"
        );
    }
    let body =
        serde_json::json!({"streamurl": "webrtc://127.0.0.1/live/d", "sdp": offer}).to_string();
    let response = post("/rtc/v1/play/", &["Content-Type: application/json"], &body);
    let answer: Value = serde_json::from_slice(&response.body).expect("JSON");
    let ours = format!(" 127.0.0.1 {} typ host", proxy.rtc.port());
    assert_eq!(answer["code"], 0);
    assert!(
        answer["sdp"]
            .as_str()
            .is_some_and(|sdp| sdp.contains(&ours)),
        "{answer}"
    );
    wait_for(
        "a call by JSON has no DELETE",
        Duration::from_secs(40),
        || (proxy.sessions().len() == 1).then_some(()),
    );
    let options = http::request(proxy.api, "OPTIONS", whep, &[], "");
    assert_eq!(
        (
            options.status,
            options.header("access-control-allow-origin")
        ),
        (204, Some("*"))
    );
    assert_eq!(http::request(proxy.api, "GET", whep, &[], "").status, 405);
}

/// A client that hears the end of its call may run ahead of the row's removal.
fn wait_for_no_row(proxy: &Proxy) {
    wait_for("no row is left", Duration::from_secs(40), || {
        proxy.sessions().is_empty().then_some(())
    });
}

const ROUNDS: usize = 5;

/// The offer of a browser that wants a video, without what it does not need.
fn offer() -> String {
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\na=msid-semantic: WMS\r\n\
     m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:EsAw\r\n\
     a=ice-pwd:bP+XJMM09aR8AiX1jdukzR6Y\r\na=ice-options:trickle\r\n\
     a=fingerprint:sha-256 49:66:12:17:0D:1C:91:AE:57:4C:C6:36:DD:D5:97:D2:7D:62:C9:9A:7F:B9:A3:F4:70:03:E7:43:91:73:23:5E\r\n\
     a=setup:actpass\r\na=mid:0\r\na=recvonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n"
        .to_owned()
}
