//! An operator looks at a stream through the system API, and is no viewer of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use sluicegate_core::fleet::State as OriginState;
use sluicegate_core::stream::StreamUrl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::call::{CallOrigin, Says, ask, location, sdp};
use crate::console::{document, raw, status};
use crate::fanout::{OPEN, house_and_origin, keyframe, published};
use crate::house::{House, Manner, PATIENCE, Stub, get, until, until_told};
use crate::http_origin::header;
use crate::http_pieces::{Packager, Reply};

/// What a program says, and no page of another site can.
const PROGRAM: &str = "X-Sluicegate: 1\r\n";

#[tokio::test]
async fn an_operator_looks_at_a_stream_and_is_no_viewer() {
    let (house, origin) = house_and_origin("").await;
    let mut publisher = published(&house, "live/a").await;
    let mut look = Look::at(&house, "live/a").await;
    let head = look.text();
    assert!(head.contains("200 OK"), "{head}");
    assert!(head.contains("content-type: video/x-flv"), "{head}");
    look.until("FLV").await;
    assert_eq!(origin.seen().players().count(), 1, "the proxy plays it");
    publisher.send(&keyframe(120, 4)).await;

    let sessions = document(&house, "/api/v1/sessions?action=play").await;
    let row = &sessions["sessions"][0];
    assert_eq!(
        (&row["preview"], &row["protocol"], &row["origin"]),
        (&json!(true), &json!("http_flv"), &json!("one")),
        "{row}"
    );
    let stream = document(&house, "/api/v1/streams/live/a").await;
    assert_eq!(
        (&stream["players"], &stream["publishers"]),
        (&json!(0), &json!(1))
    );
    let origins = document(&house, "/api/v1/origins/one").await;
    assert_eq!(origins["sessions"], 1, "{origins}");
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_sessions{protocol="http_flv",action="preview"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
    let audit = "/api/v1/events?kind=audit&stream=__defaultVhost__/live/a";
    let audit = document(&house, audit).await;
    assert_eq!(
        audit["events"][0]["what"], "GET /api/v1/preview: 200",
        "{audit}"
    );

    let own = format!("/api/v1/sessions/{}", row["id"]);
    let end = raw(house.at.system, "DELETE", &own, PROGRAM, "").await;
    assert_eq!(status(&end), "200", "{end}");
    look.until_end().await;
    house.until_sessions(1).await;
    let ended = document(&house, "/api/v1/sessions/ended?action=play").await;
    let ended = &ended["sessions"][0];
    assert_eq!(
        (&ended["preview"], &ended["reason"]),
        (&json!(true), &json!("kicked")),
        "{ended}"
    );
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_sessions{protocol="http_flv",action="preview"} 0"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn four_streams_are_looked_at_at_once_and_none_is_placed_for_that() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let _publisher = published(&house, "live/a").await;
    let nowhere = Look::at(&house, "live/b").await.text();
    assert!(nowhere.contains("404"), "{nowhere}");
    assert_eq!(house.origin_of("live/b"), None);
    let mut looks = Vec::new();
    for _ in 0..4 {
        let look = Look::at(&house, "live/a").await;
        assert!(look.text().contains("200 OK"), "{}", look.text());
        looks.push(look);
    }
    let fifth = Look::at(&house, "live/a").await.text();
    assert!(fifth.contains("409"), "{fifth}");
    // Where viewers share a pull, those who look share it too.
    assert_eq!(house.proxy.sessions().pulls().len(), 1);
    looks.pop();
    house.until_sessions(4).await;
    let again = Look::at(&house, "live/a").await.text();
    assert!(again.contains("200 OK"), "{again}");
}

#[tokio::test]
async fn who_asks_for_a_picture_in_the_wrong_way_is_told_so() {
    let (house, _origin) = house_and_origin("").await;
    let _publisher = published(&house, "live/a").await;
    let at = house.at.system;
    for (query, lines, code, words) in [
        ("", PROGRAM, "400", "stream: this is missing"),
        ("stream=a", PROGRAM, "400", "stream"),
        ("stream=live/a&seconds=3", PROGRAM, "400", "unknown field"),
        // Any page may make a browser fetch an address.
        ("stream=live/a", "", "403", "X-Sluicegate"),
    ] {
        let path = format!("/api/v1/preview?{query}");
        let answer = raw(at, "GET", &path, lines, "").await;
        assert_eq!(status(&answer), code, "{query}: {answer}");
        assert!(answer.contains(words), "{query}: {answer}");
    }
}

#[tokio::test]
async fn a_look_is_in_the_way_of_no_drain() {
    let (house, _origin) = house_and_origin("").await;
    let publisher = published(&house, "live/a").await;
    let mut look = Look::at(&house, "live/a").await;
    look.until("FLV").await;
    drop(publisher);
    let one = "one".into();
    until("nobody is left", || {
        house.proxy.registry().left(&one).total() == 0
    })
    .await;
}

/// The lines of an operator's offer.
const OFFER: &str = "X-Sluicegate: 1\r\nContent-Type: Application/SDP; charset=utf-8\r\nCookie: sluicegate_pass=x\r\nX-Own: secret\r\n";
const LOOK: &str = "/api/v1/preview?stream=live/a";

/// A house with an origin that has WebRTC and no RTMP, and what is published there.
async fn house_with_calls(settings: &str) -> (House, CallOrigin) {
    let house = House::open(settings).await;
    let origin = CallOrigin::start().await;
    let endpoints = origin.endpoints().replace(r#""rtmp":["1"],"#, "");
    house.register_with("one", &endpoints);
    let whip = "/rtc/v1/whip/?app=live&stream=a";
    let (status, head, _) = ask(house.at.api, "POST", whip, &sdp("clnt")).await;
    assert_eq!(status, 201, "{head}");
    (house, origin)
}

#[tokio::test]
async fn an_operator_looks_by_a_call_and_shows_the_origin_nothing() {
    let settings = "[fanout]\npull_query = \"pull=7\"\n";
    let (house, origin) = house_with_calls(settings).await;
    let at = house.at.system;
    let answer = raw(at, "POST", LOOK, OFFER, &sdp("oper")).await;
    assert_eq!(status(&answer), "201", "{answer}");
    let (head, description) = answer.split_once("\r\n\r\n").expect("a head");
    let ours = format!(" {} {} typ host", house.at.rtc.ip(), house.at.rtc.port());
    assert!(description.contains(&ours), "{description}");

    let told = origin.whole();
    let told = told.last().expect("an offer");
    let line = "POST /rtc/v1/whep/?app=live&stream=a&pull=7 ";
    assert!(told.starts_with(line), "{told}");
    for own in ["cookie", "x-own", "x-sluicegate", "authorization"] {
        assert!(header(told, own).is_empty(), "{own}: {told}");
    }

    let sessions = document(&house, "/api/v1/sessions?action=play").await;
    let row = &sessions["sessions"][0];
    assert_eq!(
        (&row["preview"], &row["protocol"], &row["origin"]),
        (&json!(true), &json!("webrtc"), &json!("one")),
        "{row}"
    );
    let stream = document(&house, "/api/v1/streams/live/a").await;
    assert_eq!(stream["players"], 0, "{stream}");
    let audit = document(&house, "/api/v1/events?kind=audit").await;
    assert_eq!(
        audit["events"][0]["what"], "POST /api/v1/preview: 201",
        "{audit}"
    );

    let own = format!("/api/v1/{}", location(head));
    assert_eq!(own, format!("/api/v1/sessions/{}", row["id"]));
    let end = raw(at, "DELETE", &own, PROGRAM, "").await;
    assert_eq!(status(&end), "200", "{end}");
    house.until_sessions(1).await;
    let hears = || {
        origin
            .requests()
            .iter()
            .any(|line| line == "DELETE /call/1")
    };
    until("its origin hears of the end", hears).await;
    let metrics = house.proxy.metrics().render();
    let line = r#"sluicegate_sessions{protocol="webrtc",action="preview"} 0"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_call_to_look_is_refused_in_words_and_nobody_is_counted_as_refused() {
    let (house, _origin) = house_with_calls("").await;
    let at = house.at.system;
    let rows = [
        ("no type", PROGRAM, LOOK, "415", "application/sdp"),
        ("no offer", OFFER, LOOK, "400", "the offer is refused"),
        (
            "a stream of nobody",
            OFFER,
            "/api/v1/preview?stream=live/b",
            "404",
            "nobody publishes it",
        ),
        // Any page may make a browser send a form.
        (
            "a page of another site",
            "Content-Type: application/sdp\r\n",
            LOOK,
            "403",
            "X-Sluicegate",
        ),
    ];
    for (cause, lines, path, code, words) in rows {
        let answer = raw(at, "POST", path, lines, "v=0\r\n").await;
        assert_eq!(status(&answer), code, "{cause}: {answer}");
        assert!(answer.contains(words), "{cause}: {answer}");
    }
    // It has nothing that a body could carry.
    let body = raw(at, "GET", LOOK, PROGRAM, "").await;
    assert_eq!(status(&body), "404", "{body}");
    assert!(body.contains("neither RTMP nor HTTP"), "{body}");
    house.until_sessions(1).await;
    let refused = document(&house, "/api/v1/events?kind=refused").await;
    assert_eq!(refused["total"], 0, "{refused}");
}

#[tokio::test]
async fn calls_to_look_are_four_at_once() {
    let (house, _origin) = house_with_calls("").await;
    let at = house.at.system;
    for number in 0..4 {
        let answer = raw(at, "POST", LOOK, OFFER, &sdp(&format!("op{number}x"))).await;
        assert_eq!(status(&answer), "201", "{answer}");
    }
    let fifth = raw(at, "POST", LOOK, OFFER, &sdp("fifth")).await;
    assert_eq!(status(&fifth), "409", "{fifth}");
    let sessions = document(&house, "/api/v1/sessions?action=play&limit=1").await;
    let own = format!("/api/v1/sessions/{}", sessions["sessions"][0]["id"]);
    raw(at, "DELETE", &own, PROGRAM, "").await;
    house.until_sessions(4).await;
    let mut number = 0;
    until_told("its place is free", async || {
        number += 1;
        let again = raw(at, "POST", LOOK, OFFER, &sdp(&format!("ag{number}x"))).await;
        status(&again) == "201"
    })
    .await;
}

/// What an origin of files answers: playlists of two segments, of which one more is there at each question.
fn answer(segments: &'static [&'static str], target: &str) -> Reply {
    let path = target.split('?').next().unwrap_or_default();
    let ending = segments[0].rsplit('.').next().unwrap_or_default();
    match path {
        "/live/a.m3u8" => Reply::ok(
            "",
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=9x9\nhigh/list.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=5,RESOLUTION=1x1\nlow/list.m3u8\n",
        ),
        "/live/low/list.m3u8" => {
            let map = match ending {
                "m4s" => "#EXT-X-MAP:URI=\"init.mp4\"\n",
                _ => "",
            };
            let list: String = segments
                .iter()
                .map(|one| format!("#EXTINF:1,\n{one}\n"))
                .collect();
            Reply::ok(
                "",
                format!(
                    "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:4\n{map}{list}#EXT-X-ENDLIST\n"
                ),
            )
        }
        "/live/low/init.mp4" => Reply::ok("", "init;"),
        _ => match path
            .strip_prefix("/live/low/")
            .filter(|name| segments.contains(name))
        {
            Some(name) if ending == "ts" => Reply::ok("", format!("G{name};")),
            Some(name) => Reply::ok("", format!("{name};")),
            None => Reply::missing(),
        },
    }
}

#[tokio::test]
async fn an_operator_looks_at_segments_where_an_origin_has_files_alone() {
    let rows: [(&str, &'static [&'static str], &str, &str); 3] = [
        (
            "MPEG-TS",
            &["4.ts", "5.ts", "6.ts"],
            "video/mp2t",
            "G5.ts;G6.ts;",
        ),
        (
            "fragments",
            &["4.m4s", "5.m4s", "6.m4s"],
            "video/mp4",
            "init;5.m4s;6.m4s;",
        ),
        (
            "sound alone",
            &["4.aac", "5.aac"],
            "",
            "neither MPEG-TS nor fragmented MP4",
        ),
    ];
    for (cause, segments, kind, expected) in rows {
        let house = House::open("").await;
        let origin = Packager::join(&house, "one", move |target, _| answer(segments, target)).await;
        // The first player has the stream placed.
        let (code, text) = get(house.at.http, "/live/a.m3u8").await;
        assert_eq!(code, 200, "{cause}: {text}");
        let answer = raw(house.at.system, "GET", LOOK, PROGRAM, "").await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        if kind.is_empty() {
            assert_eq!(status(&answer), "502", "{cause}: {answer}");
            assert!(body.contains(expected), "{cause}: {answer}");
            continue;
        }
        assert_eq!(status(&answer), "200", "{cause}: {answer}");
        assert_eq!(header(head, "content-type"), [kind], "{cause}");
        let body: String = body.split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(body, expected, "{cause}");
        house.until_sessions(0).await;
        let ended = document(&house, "/api/v1/sessions/ended?action=play").await;
        let ended = &ended["sessions"][0];
        assert_eq!(
            (
                &ended["preview"],
                &ended["protocol"],
                &ended["bytes_to_client"]
            ),
            (
                &json!(true),
                &json!("http_segments"),
                &json!(expected.len())
            ),
            "{cause}: {ended}"
        );
        let heads = origin.heads("/live/low/list.m3u8");
        assert!(
            heads
                .iter()
                .all(|head| header(head, "x-sluicegate").is_empty())
        );
    }
}

#[tokio::test]
async fn a_look_at_files_that_fails_says_nothing_of_their_origin() {
    type Answer = fn() -> Reply;
    let rows: [(&str, Answer); 4] = [
        ("a playlist without an end", || {
            Reply::ok("", format!("#EXTM3U\n{}", "#\n".repeat(150 * 1024)))
        }),
        ("half a playlist", || Reply {
            bytes: b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n#EXTM3U\n".to_vec(),
            close: true,
            ..Reply::default()
        }),
        ("a hang-up", || Reply {
            close: true,
            ..Reply::default()
        }),
        ("a packager that is busy", || {
            Reply::with("503 Service Unavailable", "", "no")
        }),
    ];
    for (cause, reply) in rows {
        let house = House::open("").await;
        let is_sound = Arc::new(AtomicBool::new(true));
        let mut packagers = Vec::new();
        for id in ["one", "two"] {
            let is_sound = Arc::clone(&is_sound);
            let answers = move |_: &str, _: &str| match is_sound.load(Ordering::Relaxed) {
                true => Reply::ok("", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n1.ts\n"),
                false => reply(),
            };
            packagers.push((id, Packager::join(&house, id, answers).await));
        }
        let (code, text) = get(house.at.http, "/live/a.m3u8").await;
        assert_eq!(code, 200, "{cause}: {text}");
        let holder = house.origin_of("live/a").expect(cause);
        is_sound.store(false, Ordering::Relaxed);
        let answer = raw(house.at.system, "GET", LOOK, PROGRAM, "").await;
        assert!(status(&answer).starts_with("50"), "{cause}: {answer}");
        assert_eq!(house.origin_of("live/a"), Some(holder.clone()), "{cause}");
        let state = house.proxy.registry().state(&holder.as_str().into());
        assert_eq!(state, Some(OriginState::Up), "{cause}");
        for (id, packager) in packagers {
            let asked = !packager.targets().is_empty();
            assert_eq!(asked, id == holder, "{cause}: {id}");
        }
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn a_look_by_a_call_asks_the_holder_alone() {
    let rows = [
        ("busy", "503 Service Unavailable"),
        ("a no", "404 Not Found"),
        (
            "a redirect",
            "307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/x",
        ),
    ];
    for (cause, says) in rows {
        let house = House::open("").await;
        let says = Says {
            offer: (says, String::new()),
            ..Says::default()
        };
        let (one, two) = (CallOrigin::saying(says).await, CallOrigin::start().await);
        for (id, origin) in [("one", &one), ("two", &two)] {
            let endpoints = origin.endpoints().replace(r#""rtmp":["1"],"#, "");
            house.register_with(id, &endpoints);
        }
        let stream = StreamUrl::new("", "live", "a").expect(cause);
        house.proxy.note_published(&stream, &"one".into());
        let answer = raw(house.at.system, "POST", LOOK, OFFER, &sdp("oper")).await;
        assert_eq!(status(&answer), "502", "{cause}: {answer}");
        assert_eq!(one.requests().len(), 1, "{cause}");
        assert_eq!(two.requests(), Vec::<String>::new(), "{cause}");
        let state = house.proxy.registry().state(&"one".into());
        assert_eq!(state, Some(OriginState::Up), "{cause}");
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn a_look_by_a_pull_asks_the_holder_alone() {
    for settings in ["", OPEN] {
        let house = House::open(settings).await;
        let one = Stub::start(Manner::Declines).await;
        let two = Stub::start(Manner::Grants).await;
        house.register("one", one.at);
        house.register("two", two.at);
        let stream = StreamUrl::new("", "live", "a").expect("a name");
        house.proxy.note_published(&stream, &"one".into());
        let look = Look::at(&house, "live/a").await.text();
        assert!(look.contains(" 502 "), "{settings}: {look}");
        assert!(one.connections() > 0, "{settings}");
        assert_eq!(two.connections(), 0, "{settings}");
        let state = house.proxy.registry().state(&"one".into());
        assert_eq!(state, Some(OriginState::Up), "{settings}");
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn an_origin_of_calls_is_told_the_host_of_the_stream_and_never_the_operators() {
    for vhost in ["", "b.example"] {
        let (house, origin) = (House::open("").await, CallOrigin::start().await);
        let endpoints = origin.endpoints().replace(r#""rtmp":["1"],"#, "");
        house.register_with("one", &endpoints);
        let stream = StreamUrl::new(vhost, "live", "a").expect("a name");
        house.proxy.note_published(&stream, &"one".into());
        let (look, expected) = match vhost {
            "" => (LOOK.to_owned(), origin.api().to_string()),
            vhost => (
                format!("/api/v1/preview?stream={vhost}/live/a"),
                vhost.to_owned(),
            ),
        };
        let answer = raw(house.at.system, "POST", &look, OFFER, &sdp("oper")).await;
        assert_eq!(status(&answer), "201", "{vhost}: {answer}");
        let told = origin.whole();
        let told = told.last().expect("an offer");
        assert_eq!(header(told, "host"), [expected], "{told}");
        let own = house.at.system.to_string();
        assert!(!told.contains(&own), "{told}");
    }
}

/// An operator who looks at a stream.
struct Look {
    socket: TcpStream,
    bytes: Vec<u8>,
}

impl Look {
    /// Asks, and waits for the head of the answer.
    async fn at(house: &House, stream: &str) -> Self {
        let at = house.at.system;
        let request =
            format!("GET /api/v1/preview?stream={stream} HTTP/1.1\r\nHost: {at}\r\n{PROGRAM}\r\n");
        let mut socket = TcpStream::connect(at).await.expect("it listens");
        socket
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut look = Self {
            socket,
            bytes: Vec::new(),
        };
        look.until("\r\n\r\n").await;
        look
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    async fn until(&mut self, wanted: &str) {
        while !self.text().contains(wanted) {
            self.read().await;
        }
    }

    /// Waits for the end of an answer that is whole.
    async fn until_end(&mut self) {
        while !self.bytes.ends_with(b"0\r\n\r\n") {
            self.read().await;
        }
    }

    async fn read(&mut self) {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.bytes)).await;
        let count = read.expect("more in time").expect("an answer");
        assert!(count > 0, "it goes on: {}", self.text());
    }
}
