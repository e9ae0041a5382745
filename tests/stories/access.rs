//! Who may publish and who may watch: the same rule at the door of every protocol, refused in its words and let in with
//! what it can show.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sluicegate_core::access::keys::line;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::srt::packet::{Handshake, Step};
use sluicegate_core::stream::Action;
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::call::{self, CallOrigin};
use crate::dialects::{SrtStub, call_srt};
use crate::house::{Guest, House, Manner, PATIENCE, Stub, get, talk, until};
use crate::http_origin::{HttpOrigin, STREAM, Step as Script, Viewer, header, say};
use crate::http_pieces::{Packager, Reply};
use crate::rtsp_house::{self, Caller, frame, grants};
use crate::sources::open;
use crate::srt_caller::{asks_for, conclusion, induction};

const KEY: &str = "correct-horse-battery";

/// A check of one key, and a rule that asks for it.
fn rule(more: &str) -> String {
    let line = line("encoder-1", b"salt", KEY);
    format!(
        "[[check]]\nname = \"encoders\"\nkind = \"keys\"\nkeys = [\"{line}\"]\n[[access]]\nall = [\"encoders\"]\n{more}\n"
    )
}

/// A proxy with that rule, and its settings file.
async fn guarded(more: &str) -> (House, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(&file(&folder), &rule(more)).await;
    (house, folder)
}

fn file(folder: &TempDir) -> std::path::PathBuf {
    folder.path().join("sluicegate.toml")
}

#[tokio::test]
async fn rtmp_is_judged_before_an_origin_hears_of_it() {
    let (house, _folder) = guarded("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let rows = [
        (Action::Publish, "live/a", "NetStream.Publish.Denied"),
        (
            Action::Publish,
            "live/a?key=wrong",
            "NetStream.Publish.Denied",
        ),
        (Action::Play, "live/a", "NetStream.Play.Failed"),
    ];
    for (action, stream, code) in rows {
        let guest = house.ask(action, stream).await;
        assert_eq!(guest.code(), code, "{action} {stream}");
        assert!(
            !guest.words().contains("one"),
            "no origin is named: {}",
            guest.words()
        );
    }
    assert_eq!(origin.connections(), 0, "a refusal dials nobody");
    assert_eq!(house.proxy.sessions().len(), 0);

    let publisher = house
        .ask(Action::Publish, &format!("live/a?key={KEY}"))
        .await;
    assert!(publisher.has_started(), "{}", publisher.code());
    let in_url = Guest::ask(
        house.at.rtmp,
        Action::Play,
        &format!("live?key={KEY}/a"),
        Vec::<(String, Value)>::new(),
    )
    .await;
    assert!(in_url.has_started(), "in the tcUrl: {}", in_url.code());
}

#[tokio::test]
async fn a_pull_is_judged_by_its_query_its_header_or_its_cookie() {
    let (house, _folder) = guarded("take_out = true\nprotocol = \"http\"").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), say("FLV"), Script::Hold]).await;
    let ask = |headers: &str, query: &str| {
        format!("GET /live/a.flv{query} HTTP/1.1\r\nHost: h.example\r\n{headers}\r\n")
    };
    let (status, body) = talk(house.at.http, &ask("", "")).await;
    assert_eq!(
        (status, body.contains("a key is needed")),
        (401, true),
        "{body}"
    );
    assert_eq!(talk(house.at.http, &ask("", "?key=wrong")).await.0, 401);
    assert_eq!(get(house.at.http, "/live/a.m3u8").await.0, 401);
    assert!(origin.visits().is_empty(), "a refusal dials nobody");
    let mut challenged = Viewer::send(house.at.http, ask("", "")).await;
    let head = challenged.head().await;
    assert_eq!(
        header(&head, "www-authenticate"),
        ["Bearer", "Basic realm=\"sluicegate\", charset=\"UTF-8\""]
    );
    for target in ["/live/a.m3u8", "/live/a.flv"] {
        // A browser asks its user for a password only where no script can.
        for (from, offered) in [("document", 2), ("empty", 1)] {
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: h.example\r\nSec-Fetch-Dest: {from}\r\n\r\n"
            );
            let head = Viewer::send(house.at.http, request).await.head().await;
            let schemes = header(&head, "www-authenticate");
            assert_eq!(schemes.len(), offered, "{target} from {from}: {head}");
        }
    }

    let query = format!("?x=1&key={KEY}&y=2");
    let shown = [
        (
            String::new(),
            query.as_str(),
            "GET /live/a.flv?x=1&y=2 HTTP/1.1",
        ),
        (
            format!("Authorization: Bearer {KEY}\r\n"),
            "?x=1",
            "GET /live/a.flv?x=1 HTTP/1.1",
        ),
        (
            format!("Cookie: a=b; key={KEY}\r\n"),
            "",
            "GET /live/a.flv HTTP/1.1",
        ),
    ];
    for (index, (headers, query, line)) in shown.into_iter().enumerate() {
        let _viewer = Viewer::send(house.at.http, ask(&headers, query)).await;
        let visit = origin.visit(index).await;
        assert_eq!(
            visit.request_line(),
            line,
            "what was used up is not for the origin"
        );
    }
}

#[tokio::test]
async fn a_client_hears_what_is_wrong_with_what_it_showed() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = rule("").replace("all = [\"encoders\"]", "any = [\"links\", \"encoders\"]")
        + "[[check]]\nname = \"links\"\nkind = \"signed\"\nsecrets = [\"a-secret-of-the-operator\"]\n";
    let house = open(&file(&folder), &lists).await;
    for (shown, words) in [
        ("", "the address is not signed"),
        ("?key=wrong", "the key is not known"),
        (
            "?sgend=1&sgsign=wrong",
            "the signature of the address is wrong",
        ),
    ] {
        let (status, body) = get(house.at.http, &format!("/live/a.flv{shown}")).await;
        assert_eq!(
            (status, body.contains(words)),
            (401, true),
            "{shown}: {body}"
        );
    }
}

#[tokio::test]
async fn a_browser_that_asks_first_reaches_no_origin_of_a_guarded_stream() {
    let (house, folder) = guarded("stream = \"a*\"").await;
    let origin = Packager::join(&house, "one", |target, head| {
        match (head.starts_with("OPTIONS "), target.split('?').next()) {
            (true, _) => Reply::ok("Access-Control-Allow-Origin: https://page.example\r\n", ""),
            (_, Some("/live/a.m3u8" | "/live/b.m3u8")) => {
                Reply::ok("", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n1.ts\n")
            }
            _ => Reply::missing(),
        }
    })
    .await;
    let (_, playlist) = get(house.at.http, &format!("/live/a.m3u8?key={KEY}")).await;
    let link = playlist.split_once("spbhid=").expect("a link").1.trim();
    assert_eq!(get(house.at.http, "/live/b.m3u8").await.0, 200);
    let ask = async |target: &str| {
        let request = format!(
            "OPTIONS {target} HTTP/1.1\r\nHost: h.example\r\nOrigin: https://page.example\r\n\
             Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
        );
        Viewer::send(house.at.http, request).await.head().await
    };
    for target in [
        "/live/a.m3u8",
        "/live/a.flv",
        "/live/a.mpd",
        "/live/a-1.ts",
        "/live/a/1.m4s",
        &format!("/live/a.m3u8?spbhid={link}"),
        &format!("/live/b.m3u8?spbhid={link}"),
    ] {
        let head = ask(target).await;
        assert!(head.starts_with("HTTP/1.1 204 "), "{target}: {head}");
        assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
        let allowed = header(&head, "access-control-allow-headers");
        assert_eq!(allowed, ["Authorization, *"], "{target}");
        let asked = target.split("spbhid").next().unwrap_or_default();
        let heads = origin.heads(asked.trim_end_matches('?'));
        let preflights = heads.iter().filter(|head| head.starts_with("OPTIONS "));
        assert_eq!(preflights.count(), 0, "{target}");
    }
    let head = ask("/live/b.m3u8").await;
    assert_eq!(
        header(&head, "access-control-allow-origin"),
        ["https://page.example"],
        "no rule is about it"
    );
    drop(folder);
}

#[tokio::test]
async fn rtsp_asks_for_a_password_on_the_same_connection() {
    let (house, _folder) = guarded("").await;
    let origin = rtsp_house::Stub::start(|at| grants(at, frame(0, &[1; 100]))).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example/live/a";
    let refused = player.ask(&format!("DESCRIBE {url}"), 1, "").await;
    assert_eq!(refused.status(), Some(401));
    assert_eq!(
        refused.field("www-authenticate"),
        Some("Basic realm=\"sluicegate\"")
    );
    assert_eq!(origin.connections(), 0, "a refusal dials nobody");
    // user:correct-horse-battery
    let basic = "Authorization: Basic dXNlcjpjb3JyZWN0LWhvcnNlLWJhdHRlcnk=\r\n";
    let described = player.ask(&format!("DESCRIBE {url}"), 2, basic).await;
    assert_eq!(described.status(), Some(200));

    let mut by_query = Caller::connect(house.at.rtsp).await;
    let described = by_query
        .ask(&format!("DESCRIBE {url}?key={KEY}"), 1, "")
        .await;
    assert_eq!(described.status(), Some(200));
}

#[tokio::test]
async fn whip_and_whep_are_judged_by_their_token() {
    let (house, _folder) = guarded("").await;
    let origin = CallOrigin::start().await;
    house.register_with("one", &origin.endpoints());
    let offer = call::sdp("abcd");
    let kind = "Content-Type: application/sdp\r\n";
    for (way, target) in [
        ("publish", "/rtc/v1/whip/?app=live&stream=a"),
        ("play", "/rtc/v1/whep/?app=live&stream=a"),
    ] {
        let (status, head, body) = call::ask_with(house.at.api, "POST", target, kind, &offer).await;
        assert_eq!(status, 401, "{way}: {body}");
        assert!(
            head.to_lowercase().contains("www-authenticate: bearer"),
            "{head}"
        );
        assert!(origin.requests().is_empty(), "a refusal dials nobody");
    }
    let shown = format!("{kind}Authorization: Bearer {KEY}\r\n");
    let target = "/rtc/v1/whip/?app=live&stream=a";
    let (status, _, body) = call::ask_with(house.at.api, "POST", target, &shown, &offer).await;
    assert_eq!(status, 201, "{body}");
}

#[tokio::test]
async fn who_began_a_call_by_its_token_shows_it_with_every_request_about_it() {
    let (house, folder) = guarded("take_out = true").await;
    let origin = CallOrigin::start().await;
    house.register_with("one", &origin.endpoints());
    let offer = call::sdp("abcd");
    let begin = async |token: &str| {
        let shown = format!("Content-Type: application/sdp\r\n{token}");
        let target = match token {
            "" => format!("/rtc/v1/whip/?app=live&stream=b&key={KEY}"),
            _ => "/rtc/v1/whip/?app=live&stream=a".to_owned(),
        };
        let (status, head, body) =
            call::ask_with(house.at.api, "POST", &target, &shown, &offer).await;
        assert_eq!(status, 201, "{body}");
        call::location(&head)
    };
    let token = format!("Authorization: Bearer {KEY}\r\n");
    let resource = begin(&token).await;
    let asked = origin.requests().len();
    let patch = call::fragment("efgh");
    let kind = "Content-Type: application/trickle-ice-sdpfrag\r\n";
    for (cause, shown) in [
        ("nothing", ""),
        ("another token", "Authorization: Bearer x\r\n"),
    ] {
        for (method, body) in [("PATCH", patch.as_str()), ("DELETE", "")] {
            let headers = format!("{kind}{shown}");
            let (status, head, _) =
                call::ask_with(house.at.api, method, &resource, &headers, body).await;
            assert_eq!(status, 401, "{method} with {cause}");
            assert!(
                head.to_lowercase().contains("www-authenticate: bearer"),
                "{head}"
            );
        }
    }
    assert_eq!(
        origin.requests().len(),
        asked,
        "a refusal reaches no origin"
    );
    // The key is taken back meanwhile: who began with it may end what it began.
    rewrite(&file(&folder), "[[access]]\ndecide = \"deny\"\n");
    let denied = async || {
        let (status, ..) = call::ask(
            house.at.api,
            "POST",
            "/rtc/v1/whip/?app=live&stream=c",
            &offer,
        )
        .await;
        status == 403
    };
    crate::house::until_told("the rules are others", denied).await;
    let headers = format!("{kind}{token}");
    let (status, _, body) =
        call::ask_with(house.at.api, "PATCH", &resource, &headers, &patch).await;
    assert_eq!(status, 200, "{body}");
    let (status, ..) = call::ask_with(house.at.api, "DELETE", &resource, &token, "").await;
    assert_eq!(status, 200);
    house.until_sessions(0).await;
    let whole = origin.whole().join("\n");
    assert!(!whole.contains(KEY), "it was used up here: {whole}");

    rewrite(&file(&folder), &rule(""));
    let allowed = async || {
        let target = format!("/rtc/v1/whip/?app=live&stream=d&key={KEY}");
        let (status, ..) = call::ask(house.at.api, "POST", &target, &offer).await;
        status == 201
    };
    crate::house::until_told("the rules are as before", allowed).await;
    let by_query = begin("").await;
    let (status, ..) = call::ask(house.at.api, "DELETE", &by_query, "").await;
    assert_eq!(status, 200, "nobody knows its resource but who began it");
}

#[tokio::test]
async fn whip_and_whep_are_judged_by_a_cookie() {
    let (house, _folder) = guarded("take_out = true").await;
    let origin = CallOrigin::start().await;
    house.register_with("one", &origin.endpoints());
    let offer = call::sdp("abcd");
    let one = format!("Cookie: lang=en; key={KEY}\r\n");
    let apart = format!("Cookie: lang=en\r\nCookie: key={KEY}\r\n");
    for (target, cookies) in [
        ("/rtc/v1/whip/?app=live&stream=a", &one),
        ("/rtc/v1/whep/?app=live&stream=a", &one),
        ("/rtc/v1/whip/?app=live&stream=b", &apart),
    ] {
        let headers = format!("Content-Type: application/sdp\r\n{cookies}");
        let (status, head, body) =
            call::ask_with(house.at.api, "POST", target, &headers, &offer).await;
        assert_eq!(status, 201, "{target}: {body}");
        let resource = call::location(&head);
        let headers = format!("Content-Type: application/trickle-ice-sdpfrag\r\n{cookies}");
        let patch = call::fragment("efgh");
        let (status, ..) = call::ask_with(house.at.api, "PATCH", &resource, &headers, &patch).await;
        assert_eq!(status, 200, "{target}");
        let (status, ..) = call::ask_with(house.at.api, "DELETE", &resource, cookies, "").await;
        assert_eq!(status, 200, "{target}");
    }
    let whole = origin.whole();
    assert_eq!(whole.len(), 9, "three requests about each call");
    for request in whole {
        assert!(request.contains("lang=en"), "it is the origin's: {request}");
        assert!(!request.contains(KEY), "it was used up here: {request}");
    }
}

/// What an SRT caller with this stream id is told: the reason of a rejection as it is on the wire.
async fn called(house: &House, id: &str) -> Option<u32> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(house.at.srt).await.expect("an address");
    let mut buffer = [0; 1500];
    socket.send(&induction(7)).await.expect("sent");
    let count = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .expect("an answer")
        .expect("one");
    let cookie = handshake(&buffer[..count]).cookie;
    socket
        .send(&conclusion(7, cookie, &asks_for(id)))
        .await
        .expect("sent");
    let count = timeout(PATIENCE, socket.recv(&mut buffer))
        .await
        .expect("an answer")
        .expect("one");
    match handshake(&buffer[..count]).step {
        Step::Rejection(reason) => Some(reason.0),
        _ => None,
    }
}

fn handshake(bytes: &[u8]) -> Handshake<'_> {
    Handshake::parse(bytes).expect("a handshake")
}

#[tokio::test]
async fn srt_is_judged_by_its_stream_id() {
    let (house, _folder) = guarded("").await;
    // No origin takes SRT: who is let in hears that.
    let rows = [
        ("nothing", "#!::r=live/a,m=publish", 2401),
        (
            "a key",
            "#!::r=live/a,m=publish,s=correct-horse-battery",
            2503,
        ),
        (
            "a key in a query",
            "#!::r=live/a?key=correct-horse-battery,m=publish",
            2503,
        ),
        (
            "a plain id with a query",
            "live/a?key=correct-horse-battery",
            2503,
        ),
        ("a plain id", "live/a", 2401),
    ];
    for (cause, id, reason) in rows {
        assert_eq!(called(&house, id).await, Some(reason), "{cause}");
    }
}

#[tokio::test]
async fn what_was_used_up_over_rtmp_is_not_for_the_origin() {
    let (house, _folder) = guarded("take_out = true").await;
    for asks in [
        format!("live/a?x=1&key={KEY}"),
        format!("live?x=1&key={KEY}/a"),
    ] {
        let origin = Stub::start(Manner::Grants).await;
        house.register("one", origin.at);
        let guest = Guest::ask(house.at.rtmp, Action::Publish, &asks, Vec::new()).await;
        assert!(guest.has_started(), "{asks}: {}", guest.code());
        let request = origin.request();
        let app = request.connect.object.field("app").and_then(Value::as_str);
        let whole = format!(
            "{} {} {}",
            request.tc_url,
            app.unwrap_or_default(),
            request.name
        );
        assert!(!whole.contains(KEY) && whole.contains("x=1"), "{whole}");
        drop(guest);
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn what_was_used_up_over_srt_is_not_for_the_origin() {
    let (house, _folder) = guarded("take_out = true").await;
    let origin = SrtStub::start(|_| true).await;
    house.register_with("one", &format!(r#""srt":["{}"]"#, origin.port));
    for (number, id) in [
        format!("#!::r=live/a,m=publish,s={KEY}"),
        format!("#!::r=live/b?x=1&key={KEY},m=publish"),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(call_srt(&house, id).await, Ok(()), "{id}");
        let ids = origin.ids();
        let told = ids.get(number).expect("it was asked");
        assert!(!told.contains(KEY) && told.contains("m=publish"), "{told}");
    }
    assert!(origin.ids()[1].contains("x=1"), "{:?}", origin.ids());
}

#[tokio::test]
async fn who_keeps_guessing_is_answered_late_and_holds_up_nobody() {
    let (house, _folder) = guarded("action = \"publish\"").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let guess = async |number: usize| {
        let began = std::time::Instant::now();
        let guest = house
            .ask(Action::Publish, &format!("live/a?key={number}"))
            .await;
        assert_eq!(guest.code(), "NetStream.Publish.Denied");
        began.elapsed()
    };
    for number in 0..3 {
        guess(number).await;
    }
    let fourth = guess(3).await;
    assert!(
        fourth >= std::time::Duration::from_millis(125),
        "{fourth:?}"
    );
    let late = guess(4);
    let player = house.ask(Action::Play, "live/a");
    let (_, player) = tokio::join!(late, player);
    assert!(player.has_started(), "{}", player.code());
    let publisher = house
        .ask(Action::Publish, &format!("live/a?key={KEY}"))
        .await;
    assert!(
        publisher.has_started(),
        "who knows the key is not slowed: {}",
        publisher.code()
    );
}

#[tokio::test]
async fn rules_are_taken_anew_whole_or_not_at_all_and_cut_nobody() {
    let (house, folder) = guarded("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publisher = house
        .ask(Action::Publish, &format!("live/a?key={KEY}"))
        .await;
    assert!(publisher.has_started(), "{}", publisher.code());

    let broken = "[[access]]\ndecide = \"allow\"\n[[access]]\nall = [\"nobody\"]\n";
    rewrite(&file(&folder), broken);
    // The next state of the file proves that the one before was read, or passed over.
    let told = format!(
        "{}[[access]]\ndecide = \"deny\"\n",
        rule("action = \"publish\"")
    );
    rewrite(&file(&folder), &told);
    let stream = "__defaultVhost__/live/a".parse().expect("a stream");
    until("the new rules", || {
        house.proxy.may_judge(&stream, Action::Play)
            && house.proxy.may_judge(&stream, Action::Publish)
    })
    .await;
    let denied = async || {
        let player = house.ask(Action::Play, &format!("live/a?key={KEY}")).await;
        player.code() == "NetStream.Play.Failed"
    };
    crate::house::until_told("the last rule", denied).await;
    publisher
        .send(&crate::house::video(0, &[0x17, 1, 0, 0, 0]))
        .await;
    house.until_sessions(1).await;
}

fn rewrite(file: &Path, lists: &str) {
    let before = std::fs::read_to_string(file).expect("a file");
    let listen = before.split("[[").next().expect("a beginning");
    std::fs::write(file, format!("{listen}{lists}")).expect("a file");
}

#[tokio::test]
async fn an_explanation_says_which_rule_decides_and_dials_nobody() {
    let (house, _folder) = guarded("action = \"publish\"").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let ask = async |client: &str| {
        let path = format!("/api/v1/explain?stream=live/a&as={client}");
        let (status, body) = get(house.at.system, &path).await;
        assert_eq!(status, 200, "{body}");
        let document: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        document["data"]["access"].clone()
    };
    let known = ask(&format!(
        "publish+over+srt+from+192.0.2.1+with+srt%3Dme:{KEY}"
    ))
    .await;
    assert_eq!(
        (known["may"].as_bool(), known["rule"].as_u64()),
        (Some(true), Some(1)),
        "{known}"
    );
    assert_eq!(
        known["checks"][0]["says"], "yes, it is encoder-1",
        "{known}"
    );
    let unknown = ask("publish+bearer%3Dx").await;
    assert_eq!(unknown["may"], false, "{unknown}");
    assert_eq!(unknown["reason"], "the key is not known", "{unknown}");
    let player = ask("play+over+hls+from+192.0.2.1").await;
    assert_eq!(
        (player["may"].as_bool(), player["rule"].is_null()),
        (Some(true), true),
        "{player}"
    );
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_token_does_what_its_role_says() {
    let hash = |name: &str| {
        let line = line(name, b"salt", &format!("token-{name}"));
        line.split_once(':').expect("a line").1.to_owned()
    };
    let tokens: String = ["origin", "viewer", "operator", "admin"]
        .map(|role| {
            format!(
                "[[system.tokens]]\nname = \"{role}\"\nrole = \"{role}\"\nhash = \"{}\"\n",
                hash(role)
            )
        })
        .concat();
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(&file(&folder), &tokens).await;
    let registration = r#"{"ip":"10.0.0.1","server":"s","service":"s","pid":"1","rtmp":["1935"]}"#;
    let (reads, changes, registers) = (
        ("GET", "/api/v1/sessions", ""),
        ("POST", "/api/v1/proxy/undrain", ""),
        ("POST", "/api/v1/srs/register", registration),
    );
    let removes = ("DELETE", "/api/v1/origins/nobody", "");
    let rows = [
        (None, [401, 401, 401, 401]),
        (Some("other"), [401, 401, 401, 401]),
        (Some("origin"), [403, 403, 200, 403]),
        (Some("viewer"), [200, 403, 403, 403]),
        (Some("operator"), [200, 200, 403, 403]),
        (Some("admin"), [200, 200, 200, 404]),
    ];
    for (name, expected) in rows {
        let mut statuses = Vec::new();
        for (method, path, body) in [reads, changes, registers, removes] {
            let shown = name.map_or(String::new(), |name| {
                format!("Authorization: Bearer token-{name}\r\n")
            });
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: {}\r\n{shown}Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                house.at.system,
                body.len()
            );
            statuses.push(talk(house.at.system, &request).await.0);
        }
        assert_eq!(statuses, expected, "{name:?}");
    }
    for (shown, words) in [
        ("", "this needs the token of system.auth_token"),
        (
            "Authorization: Bearer other\r\n",
            "the token that was shown is not known here",
        ),
    ] {
        let request = format!(
            "GET /api/v1/sessions HTTP/1.1\r\nHost: {}\r\n{shown}Connection: close\r\n\r\n",
            house.at.system
        );
        let (_, body) = talk(house.at.system, &request).await;
        assert!(body.contains(words), "{shown}: {body}");
    }
    assert_eq!(
        get(house.at.system, "/livez").await.0,
        200,
        "health is for everybody"
    );
    // Whoever is taken off the list has no rights any more.
    rewrite(
        &file(&folder),
        &tokens
            .replace("\"admin\"", "\"former\"")
            .replace("role = \"former\"", "role = \"origin\""),
    );
    let ask = async |name: &str| {
        let request = format!(
            "GET /api/v1/sessions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer token-{name}\r\nConnection: close\r\n\r\n",
            house.at.system
        );
        talk(house.at.system, &request).await.0
    };
    crate::house::until_told("the role is another", async || ask("admin").await == 403).await;
    assert_eq!(ask("viewer").await, 200, "others have theirs");
}

/// A live playlist with one piece, and its URIs as a viewer gets them.
fn live(target: &str, _: &str) -> Reply {
    match target.split('?').next().unwrap_or_default() {
        "/live/a.m3u8" | "/live/b.m3u8" => Reply::ok(
            "Content-Type: application/vnd.apple.mpegurl\r\nCache-Control: max-age=60\r\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-1.ts\n",
        ),
        "/live/a-1.ts" | "/live/b-1.ts" => Reply::ok("Cache-Control: max-age=60\r\n", "piece"),
        _ => Reply::missing(),
    }
}

fn listed(playlist: &str) -> String {
    let line = playlist.lines().find(|line| !line.starts_with('#'));
    format!("/live/{}", line.expect("a URI"))
}

#[tokio::test]
async fn a_viewing_of_hls_outlives_what_it_began_with() {
    let (house, folder) = guarded("action = \"play\"").await;
    let origin = Packager::join(&house, "one", live).await;
    assert_eq!(get(house.at.http, "/live/a.m3u8").await.0, 401);
    assert_eq!(
        get(house.at.http, "/live/a-1.ts").await.0,
        401,
        "nor a piece by its path"
    );
    assert!(origin.targets().is_empty(), "a refusal dials nobody");

    let (status, master) = get(house.at.http, &format!("/live/a.m3u8?key={KEY}")).await;
    assert_eq!(
        (status, master.contains("#EXT-X-STREAM-INF")),
        (200, true),
        "{master}"
    );
    // The key ends here: what is asked for from now on is asked for by the link.
    rewrite(
        &file(&folder),
        "[[access]]\naction = \"play\"\ndecide = \"deny\"\n",
    );
    let denied = async || {
        get(house.at.http, &format!("/live/a.m3u8?key={KEY}"))
            .await
            .0
            == 403
    };
    crate::house::until_told("the key is taken back", denied).await;
    let variant = listed(&master);
    for _ in 0..2 {
        let (status, media) = get(house.at.http, &variant).await;
        assert_eq!((status, media.contains("#EXTINF")), (200, true), "{media}");
        let piece = listed(&media);
        let (status, body) = get(house.at.http, &piece).await;
        assert_eq!((status, body.as_str()), (200, "piece"), "{piece}");
    }
    assert!(
        origin
            .targets()
            .iter()
            .all(|target| !target.contains("spbhid")),
        "{:?}",
        origin.targets()
    );
    let (_, link) = variant.split_once("spbhid=").expect("a link");
    for other in ["/live/b.m3u8", "/live/b-1.ts"] {
        let status = get(house.at.http, &format!("{other}?spbhid={link}"))
            .await
            .0;
        assert_eq!(status, 403, "{other}: a link speaks for its own stream");
        assert_eq!(origin.count(other), 0);
    }
    let last = if variant.ends_with('A') { "B" } else { "A" };
    let forged = format!("{}{last}", &variant[..variant.len() - 1]);
    assert_eq!(get(house.at.http, &forged).await.0, 403, "forged");
}

#[tokio::test]
async fn a_link_of_before_the_rule_lets_nobody_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(&file(&folder), "[cluster]\nkey = \"k\"\n").await;
    let origin = Packager::join(&house, "one", live).await;
    let (status, media) = get(house.at.http, "/live/a.m3u8").await;
    assert_eq!(status, 200, "{media}");
    let piece = listed(&media);
    assert_eq!(get(house.at.http, &piece).await.0, 200);
    rewrite(&file(&folder), "[[access]]\ndecide = \"deny\"\n");
    let denied = async || get(house.at.http, &piece).await.0 == 403;
    crate::house::until_told("the rule counts for it too", denied).await;
    assert!(origin.count("/live/a-1.ts") >= 1, "it was asked for before");
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let lists = "[[check]]\nname = \"links\"\nkind = \"signed\"\nscheme = \"ome\"\nsecrets = [\"policy-key-1\"]\n\
        [[access]]\nall = [\"links\"]\n";
    let house = open(&file(&folder), lists).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_millis();
    let part = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let policy = format!(
        "{{\"url_expire\":{},\"stream_expire\":{}}}",
        now + 60_000,
        now + 2_000
    );
    let name = format!("a?policy={}", part(policy.as_bytes()));
    let mut hash = <Hmac<Sha1> as Mac>::new_from_slice(b"policy-key-1").expect("a key");
    hash.update(format!("rtmp://example/live/{name}").as_bytes());
    let sign = part(&hash.finalize().into_bytes());
    let mut player = house
        .ask(Action::Play, &format!("live/{name}&signature={sign}"))
        .await;
    assert!(
        player.has_started(),
        "{}: {}",
        player.code(),
        player.words()
    );
    player.wait_for_end().await;
    house.until_sessions(0).await;
    let ended = "sluicegate_sessions_ended_total{protocol=\"rtmp\",action=\"play\",reason=\"access_over\"} 1";
    until("the reason", || {
        house.proxy.metrics().render().contains(ended)
    })
    .await;
}

#[tokio::test]
async fn a_link_that_is_bound_is_worth_nothing_elsewhere() {
    let trusted = "[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n";
    let folder = tempfile::tempdir().expect("a folder");
    let lists = |bind: &str| rule(&format!("bind = \"{bind}\""));
    let house = open(&file(&folder), &format!("{trusted}{}", lists("network"))).await;
    let _origin = Packager::join(&house, "one", live).await;
    let ask = async |target: &str, from: &str| {
        let request = format!(
            "PROXY TCP4 {from} 127.0.0.1 4000 80\r\n\
             GET {target} HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n"
        );
        talk(house.at.http, &request).await
    };
    for (bind, near, far) in [
        ("network", "192.0.2.77", "198.51.100.1"),
        ("address", "192.0.2.1", "192.0.2.2"),
    ] {
        let master = async || {
            let (status, master) = ask(&format!("/live/a.m3u8?key={KEY}"), "192.0.2.1").await;
            assert_eq!(status, 200, "{master}");
            listed(&master)
        };
        rewrite(&file(&folder), &lists(bind));
        let bound = async || ask(&master().await, far).await.0 != 200;
        crate::house::until_told("it is bound so", bound).await;
        let variant = master().await;
        assert!(
            !variant.contains(KEY),
            "no link holds what was shown: {variant}"
        );
        let (status, media) = ask(&variant, near).await;
        assert_eq!(status, 200, "{bind}: {media}");
        let piece = listed(&media);
        assert_eq!(ask(&piece, near).await.0, 200, "{bind}");
        for (cause, target) in [("a playlist", &variant), ("a piece", &piece)] {
            let status = ask(target, far).await.0;
            assert_eq!(status, 401, "{bind}: {cause} by somebody else");
            let (stripped, _) = target.split_once("spbhid=").expect("a link");
            let stripped = stripped.trim_end_matches(['?', '&']);
            assert_eq!(
                ask(stripped, near).await.0,
                401,
                "{bind}: {cause} without its link"
            );
        }
    }
}
