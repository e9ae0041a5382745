//! The entrance of the API port and of the system API: the PROXY protocol header that a balancer may send there, and
//! the rights that it does not give.

use std::time::Duration;

use tokio::time::timeout;

use crate::call::{CallOrigin, sdp};
use crate::house::{House, get, talk};
use crate::http_origin::Viewer;

/// What a balancer on this machine sends for a client elsewhere.
const HEADER: &str = "PROXY TCP4 203.0.113.9 127.0.0.1 4242 80\r\n";
/// The same for a client on its own machine.
const LOCAL_CLIENT: &str = "PROXY TCP4 127.0.0.1 127.0.0.1 4242 80\r\n";
/// What it sends for a check of its own: version 2, command LOCAL.
const LOCAL_CHECK: &str = "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
/// Less than any client has for its first word.
const AT_ONCE: Duration = Duration::from_secs(4);
const REGISTRATION: &str =
    r#"{"ip":"10.0.0.1","server":"s","service":"s","pid":"1","rtmp":["1935"]}"#;

/// A whole POST.
fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_header_takes_the_rights_of_loopback_away() {
    let house = House::open("[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n").await;
    let request = "GET /api/v1/origins HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (cause, header, expected) in [
        ("a caller on this machine needs no header", "", 200),
        ("a client elsewhere", HEADER, 401),
        ("a client on the balancer's machine", LOCAL_CLIENT, 401),
        ("a header that names nobody", LOCAL_CHECK, 401),
    ] {
        let (status, body) = talk(house.at.system, &format!("{header}{request}")).await;
        assert_eq!(status, expected, "{cause}: {body}");
    }
    let (status, _) = talk(
        house.at.system,
        &format!("{HEADER}GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    )
    .await;
    assert_eq!(
        status, 200,
        "what is for everybody is for a balancer's clients too"
    );
}

#[tokio::test]
async fn a_header_from_a_peer_that_is_not_listed_is_no_header() {
    let house = House::open("[proxy_protocol]\naccept_from = [\"192.0.2.0/24\"]\n").await;
    for at in [house.at.system, house.at.api] {
        let request = "GET /api/v1/versions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(talk(at, &format!("{HEADER}{request}")).await.0, 400);
        assert_eq!(talk(at, request).await.0, 200);
    }
}

#[tokio::test]
async fn a_client_behind_a_balancer_registers_where_both_are_listed() {
    for (cause, networks, header, expected) in [
        ("the peer alone, as it was", "\"127.0.0.0/8\"", "", 200),
        ("the balancer alone", "\"127.0.0.0/8\"", HEADER, 403),
        ("the client alone", "\"203.0.113.0/24\"", HEADER, 403),
        ("both", "\"127.0.0.0/8\", \"203.0.113.0/24\"", HEADER, 200),
        (
            "the balancer's loopback",
            "\"127.0.0.0/8\"",
            LOCAL_CLIENT,
            403,
        ),
    ] {
        let settings = format!(
            "[system]\nregister_from = [{networks}]\n[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n"
        );
        let house = House::open(&settings).await;
        let request = post("/api/v1/srs/register", REGISTRATION);
        let (status, body) = talk(house.at.system, &format!("{header}{request}")).await;
        assert_eq!(status, expected, "{cause}: {body}");
    }
}

#[tokio::test]
async fn the_api_over_all_origins_is_for_clients_that_are_listed_with_their_balancer() {
    let ask = "GET /api/v1/streams HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for (cause, networks, expected) in [
        ("the balancer alone", "\"127.0.0.0/8\"", 403),
        ("both", "\"127.0.0.0/8\", \"203.0.113.9\"", 200),
    ] {
        let settings = format!(
            "[api]\nallow_from = [{networks}]\n[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n"
        );
        let house = House::open(&settings).await;
        let (status, body) = talk(house.at.api, &format!("{HEADER}{ask}")).await;
        assert_eq!(status, expected, "{cause}: {body}");
    }
}

#[tokio::test]
async fn the_client_of_a_call_is_whom_the_header_names() {
    let house = House::open("[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n").await;
    let origin = CallOrigin::start().await;
    house.register_with("one", &origin.endpoints());
    let offer = post("/rtc/v1/whip/?stream=a", &sdp("clnt"));
    let (status, body) = talk(house.at.api, &format!("{HEADER}{offer}")).await;
    assert_eq!(status, 201, "{body}");
    let request = &house.proxy.sessions().list()[0].request;
    assert_eq!(request.client.to_string(), "203.0.113.9:4242");
    assert_eq!(request.peer().ip(), house.at.api.ip(), "the balancer");
    let (status, body) = get(house.at.system, "/api/v1/sessions").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("203.0.113.9:4242"), "{body}");
}

#[tokio::test]
async fn what_is_sent_to_the_wrong_port_is_let_go_at_once() {
    let patient = "[rtmp]\nhandshake_timeout = \"60s\"\n[http]\nhead_timeout = \"60s\"\n\
                   [rtsp]\nidentify_timeout = \"60s\"\n";
    let house = House::open(patient).await;
    let at = &house.at;
    for (what, word, bytes) in [
        (
            "a TLS handshake",
            "TLS",
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        ),
        ("a PROXY header", "PROXY", HEADER.as_bytes()),
        (
            "a PROXY header of version 2",
            "PROXY",
            LOCAL_CHECK.as_bytes(),
        ),
    ] {
        for (door, at) in [
            ("HTTP", at.http),
            ("RTMP", at.rtmp),
            ("RTSP", at.rtsp),
            ("API", at.api),
            ("system API", at.system),
            ("ICE over TCP", at.rtc),
        ] {
            // Before any of these times, and that of a client's first proof at the media port.
            let viewer = Viewer::send(at, bytes).await;
            let answer = timeout(AT_ONCE, viewer.rest()).await;
            let answer = answer.unwrap_or_else(|_| panic!("{what} at {door}"));
            let answer = String::from_utf8_lossy(&answer).into_owned();
            if door == "HTTP" {
                assert!(answer.contains(word), "{what} at {door}: {answer}");
            }
        }
    }
}
