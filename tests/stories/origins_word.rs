//! What an origin says of other places, of other sites and of itself reaches the client.

use tokio::net::UdpSocket;

use crate::call::{self, CallOrigin};
use crate::house::{House, get};
use crate::http_origin::{Viewer, header};
use crate::http_pieces::{Packager, Reply};

/// An origin whose API answers as it is told to, registered under `id`.
async fn join_api(
    house: &House,
    id: &str,
    answers: impl Fn(&str, &str) -> Reply + Send + Sync + 'static,
) -> (Packager, UdpSocket) {
    join_api_of(house, id, "srs", answers).await
}

/// The same for an origin of any dialect.
async fn join_api_of(
    house: &House,
    id: &str,
    dialect: &str,
    answers: impl Fn(&str, &str) -> Reply + Send + Sync + 'static,
) -> (Packager, UdpSocket) {
    let origin = Packager::start(answers).await;
    let media = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let (api, rtc) = (origin.at.port(), media.local_addr().expect("bound").port());
    let endpoints =
        format!(r#""rtmp":["1"],"api":["{api}"],"rtc":["{rtc}"],"dialect":"{dialect}""#);
    house.register_with(id, &endpoints);
    (origin, media)
}

#[tokio::test]
async fn a_call_goes_where_its_origin_sends_it() {
    for status in ["307 Temporary Redirect", "308 Permanent Redirect"] {
        let house = House::open("").await;
        let holder = CallOrigin::start().await;
        house.register_with("holder", &holder.endpoints());
        let place = holder.api();
        let (knows, _media) = join_api(&house, "knows", move |target: &str, _: &str| {
            let query = target.split_once('?').map_or("", |(_, query)| query);
            let location = format!("Location: http://{place}/elsewhere?{query}\r\n");
            Reply::with(status, &location, "")
        })
        .await;
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let target = format!("/rtc/v1/whip/?app=live&stream={name}");
            let offer = call::sdp("clnt");
            let (status, head, _) = call::ask(house.at.api, "POST", &target, &offer).await;
            assert_eq!(status, 201, "{name}: {head}");
            let key = format!("live/{name}");
            assert_eq!(house.origin_of(&key).as_deref(), Some("holder"));
        }
        assert!(
            !knows.targets().is_empty(),
            "with eight streams one was first sent there"
        );
        let elsewhere = |line: &String| line.starts_with("POST /elsewhere?app=live&stream=");
        assert!(holder.requests().iter().any(elsewhere));
    }
}

#[tokio::test]
async fn a_call_is_not_sent_to_a_stranger() {
    let house = House::open("").await;
    let stranger = CallOrigin::start().await;
    let place = stranger.api();
    let (_knows, _media) = join_api(&house, "knows", move |_: &str, _: &str| {
        let location = format!("Location: http://{place}/rtc/v1/whip/\r\n");
        Reply::with("307 Temporary Redirect", &location, "")
    })
    .await;
    let target = "/rtc/v1/whip/?app=live&stream=a";
    let (status, head, body) = call::ask(house.at.api, "POST", target, &call::sdp("clnt")).await;
    assert_eq!(status, 502, "{head}");
    assert!(header(&head, "location").is_empty(), "{head}");
    assert!(!body.contains(&place.to_string()), "{body}");
    assert!(stranger.requests().is_empty());
}

#[tokio::test]
async fn a_call_may_be_sent_to_another_path_of_its_origin() {
    let house = House::open("").await;
    let sdp = call::sdp("orig");
    let (origin, _media) = join_api(&house, "one", move |target: &str, _: &str| {
        if target.starts_with("/rtc/v1/whip/") {
            return Reply::with("307 Temporary Redirect", "Location: /moved?k=1\r\n", "");
        }
        let headers = "Content-Type: application/sdp\r\nLocation: /call/1\r\n";
        Reply::with("201 Created", headers, &sdp)
    })
    .await;
    let target = "/rtc/v1/whip/?app=live&stream=a";
    let (status, head, _) = call::ask(house.at.api, "POST", target, &call::sdp("clnt")).await;
    assert_eq!(status, 201, "{head}");
    assert_eq!(origin.count("/moved?k=1"), 1);
}

/// Where an origin sends its viewers is an address that they need not reach, and are not to know.
#[tokio::test]
async fn a_pull_goes_where_its_origin_sends_it() {
    let house = House::open("").await;
    let holder = Packager::join(&house, "holder", |target: &str, _: &str| Reply {
        close: target.ends_with("flv"),
        ..Reply::ok("", "#EXTM3U\n")
    })
    .await;
    let place = holder.at;
    let knows = Packager::join(&house, "knows", move |target: &str, _: &str| {
        let location = format!("Location: http://{place}{target}\r\n");
        Reply::with("302 Found", &location, "")
    })
    .await;
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        for ending in ["m3u8", "flv"] {
            let path = format!("/live/{name}-{ending}.{ending}");
            let (status, body) = get(house.at.http, &path).await;
            assert_eq!((status, body.as_str()), (200, "#EXTM3U\n"), "{path}");
            assert_eq!(holder.count(&path), 1, "{path}");
        }
    }
    let first: Vec<String> = knows.targets();
    for ending in ["m3u8", "flv"] {
        let asked = first.iter().any(|target| target.ends_with(ending));
        assert!(
            asked,
            "with eight streams one was first sent there: {first:?}"
        );
    }
}

const WHEP: &str = "/rtc/v1/whep/?app=live&stream=a";
const ASKS_FIRST: &str = "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n";

/// What an API answers that has ICE servers, and a rule for other sites.
fn with_own_rules(_: &str, head: &str) -> Reply {
    let rule = "Access-Control-Allow-Origin: https://app.example\r\n\
                Access-Control-Allow-Credentials: true\r\nVary: Origin\r\n";
    if head.starts_with("OPTIONS ") {
        let headers = format!(
            "{rule}Access-Control-Allow-Headers: x-token\r\nAllow: POST\r\n\
             Link: <stun:stun.example>; rel=\"ice-server\"\r\n"
        );
        return Reply::with("204 No Content", &headers, "");
    }
    let headers = format!("{rule}Content-Type: application/sdp\r\nLocation: /call/1\r\n");
    Reply::with("201 Created", &headers, call::sdp("orig"))
}

#[tokio::test]
async fn the_ice_servers_of_an_origin_are_known_before_a_call() {
    let house = House::open("").await;
    let (_origin, _media) = join_api(&house, "one", with_own_rules).await;
    let (status, head, _) = call::ask(house.at.api, "OPTIONS", WHEP, "").await;
    assert_eq!(status, 204, "{head}");
    assert_eq!(
        header(&head, "link"),
        ["<stun:stun.example>; rel=\"ice-server\""]
    );
    assert_eq!(header(&head, "allow"), ["POST"]);
    assert!(house.proxy.registry().placements().is_empty());
}

#[tokio::test]
async fn the_ice_servers_are_asked_for_in_the_origins_dialect() {
    let rows = [
        ("mediamtx", "mediamtx", "/cam1/whip", "/cam1/whip"),
        (
            "mediamtx",
            "srs",
            "/cam1/whep",
            "/rtc/v1/whep/?app=live&stream=cam1",
        ),
        ("srs", "mediamtx", WHEP, "/live/a/whep"),
        (
            "go2rtc",
            "ome",
            "/api/webrtc?dst=cam1",
            "/live/cam1?direction=whip",
        ),
    ];
    for (clients, dialect, target, expected) in rows {
        let house = House::open(&format!("[clients]\ndialect = \"{clients}\"\n")).await;
        let (origin, _media) = join_api_of(&house, "one", dialect, with_own_rules).await;
        let (status, head, _) = call::ask(house.at.api, "OPTIONS", target, "").await;
        assert_eq!(status, 204, "{target}: {head}");
        let servers = ["<stun:stun.example>; rel=\"ice-server\""];
        assert_eq!(header(&head, "link"), servers, "{target}");
        assert_eq!(origin.targets(), [expected], "{target}");
    }
}

#[tokio::test]
async fn an_origins_rule_for_other_sites_is_told_before_a_call_and_with_it() {
    let house = House::open("").await;
    let (_origin, _media) = join_api(&house, "one", with_own_rules).await;
    let site = |head: &str| header(head, "access-control-allow-origin").join(" ");
    let (_, head, _) = call::ask_with(house.at.api, "OPTIONS", WHEP, ASKS_FIRST, "").await;
    assert_eq!(site(&head), "https://app.example");
    assert_eq!(header(&head, "access-control-allow-headers"), ["x-token"]);
    assert_eq!(header(&head, "access-control-allow-credentials"), ["true"]);
    assert!(
        header(&head, "link").is_empty(),
        "a browser asked, not a client"
    );
    let offer = call::sdp("clnt");
    let (status, head, _) = call::ask(house.at.api, "POST", WHEP, &offer).await;
    assert_eq!((status, site(&head).as_str()), (201, "https://app.example"));
}

#[tokio::test]
async fn without_a_word_of_the_origin_any_page_may_call() {
    let house = House::open("").await;
    let (_origin, _media) = join_api(&house, "one", |_: &str, head: &str| {
        match head.starts_with("OPTIONS ") {
            true => Reply::missing(),
            false => Reply::with("400 Bad Request", "", "no"),
        }
    })
    .await;
    for (method, headers, expected) in [("OPTIONS", ASKS_FIRST, 204), ("POST", "", 400)] {
        let offer = call::sdp("clnt");
        let (status, head, _) = call::ask_with(house.at.api, method, WHEP, headers, &offer).await;
        assert_eq!(status, expected, "{head}");
        assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
    }
}

#[tokio::test]
async fn an_origins_rule_for_other_sites_is_told_before_a_pull() {
    let house = House::open("").await;
    let origin = Packager::join(&house, "one", |target: &str, head: &str| {
        match head.starts_with("OPTIONS ") && !target.contains("silent") {
            true => Reply::with(
                "204 No Content",
                "Access-Control-Allow-Origin: https://app.example\r\n\
                 Access-Control-Allow-Headers: x-token\r\nServer: it\r\n",
                "",
            ),
            false => Reply::missing(),
        }
    })
    .await;
    for (path, expected) in [
        ("/live/a.m3u8", "https://app.example"),
        ("/live/a.flv", "https://app.example"),
        ("/live/silent.m3u8", "*"),
    ] {
        let asks = format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: example.com\r\nOrigin: https://app.example\r\n\
             Access-Control-Request-Method: GET\r\n\r\n"
        );
        let mut viewer = Viewer::send(house.at.http, asks).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 204 "), "{path}: {head}");
        let said = header(&head, "access-control-allow-origin");
        assert_eq!(said, [expected], "{path}");
        assert!(header(&head, "server").is_empty(), "{head}");
        assert_eq!(origin.count(path), 1, "{path}");
    }
    assert!(house.proxy.registry().placements().is_empty());
}

/// A client that knows one scheme only has to find it among the challenges, and its user the reason in the body.
#[tokio::test]
async fn every_challenge_of_an_origin_reaches_a_caller_and_its_words_do() {
    let house = House::open("").await;
    let problem = r#"{"title":"the token is over"}"#;
    let (_origin, _media) = join_api(&house, "one", move |_: &str, _: &str| {
        let fields = "WWW-Authenticate: Bearer\r\nWWW-Authenticate: Basic realm=\"live\"\r\n\
                      Content-Type: application/problem+json\r\n";
        Reply::with("401 Unauthorized", fields, problem)
    })
    .await;
    let offer = call::sdp("clnt");
    let target = "/rtc/v1/whip/?app=live&stream=a";
    let (status, head, body) = call::ask(house.at.api, "POST", target, &offer).await;
    assert_eq!((status, &*body), (401, problem), "{head}");
    let challenges = header(&head, "www-authenticate");
    assert_eq!(challenges, ["Bearer", "Basic realm=\"live\""], "{head}");
    assert_eq!(header(&head, "content-type"), ["application/problem+json"]);
}
