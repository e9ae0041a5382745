//! Lists in pages, what happened, and the console: its files and logging in to it.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fanout::{house_and_origin, keyframe, picture, published};
use crate::house::{Guest, House, Manner, PATIENCE, Stub, get, talk, until_told};

pub(crate) const TOKEN: &str =
    "[system]\nauth_enabled = true\nauth_type = \"bearer\"\nauth_token = \"s3cret\"\n";

pub(crate) async fn document(house: &House, path: &str) -> Value {
    let (status, body) = get(house.at.system, path).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str::<Value>(&body).expect("JSON")["data"].take()
}

/// The whole answer to a request with these lines of its head.
pub(crate) async fn raw(
    at: SocketAddr,
    method: &str,
    path: &str,
    lines: &str,
    body: &str,
) -> String {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    );
    let mut socket = TcpStream::connect(at).await.expect("it listens");
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

/// A house with an origin and a publisher of each stream.
async fn house_with(streams: &[&str]) -> (House, Stub, Vec<Guest>) {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publishers = Vec::new();
    for stream in streams {
        publishers.push(house.ask(Action::Publish, stream).await);
    }
    house.until_sessions(streams.len()).await;
    (house, origin, publishers)
}

/// The names on each page of a list, one after the other.
async fn walk(house: &House, path: &str, rows: &str, name: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut after = String::new();
    loop {
        let page = document(house, &format!("{path}&after={after}")).await;
        let names = page[rows].as_array().expect("rows").iter();
        pages.push(names.map(|row| row[name].clone()).collect());
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn keyframes_that_are_late_are_told() {
    let (house, _origin) = house_and_origin("").await;
    let mut publisher = published(&house, "live/a").await;
    let stream = async || document(&house, "/api/v1/streams/live/a").await;
    publisher.send(&keyframe(2_000, 4)).await;
    publisher.send(&picture(2_040, 5)).await;
    until_told("they are two seconds apart", async || {
        stream().await["keyframe_seconds"] == 2.0
    })
    .await;
    assert_eq!(stream().await["state"], "live");

    publisher.send(&picture(9_500, 6)).await;
    until_told("the next is late", async || {
        stream().await["keyframe_seconds"] == 7.5
    })
    .await;
    assert_eq!(stream().await["state"], "late_keyframes");
    let late = document(&house, "/api/v1/streams?state=late_keyframes").await;
    assert_eq!(late["total"], 1, "{late}");
    let sessions = document(&house, "/api/v1/sessions?action=publish").await;
    assert_eq!(sessions["sessions"][0]["keyframe_seconds"], 7.5);
}

#[tokio::test]
async fn a_stream_is_ended_on_one_origin_alone() {
    let (house, _origin, _publishers) = house_with(&["live/a"]).await;
    let end = async |origin: &str| {
        let path = format!("/api/v1/streams/live/a?origin={origin}");
        raw(house.at.system, "DELETE", &path, "X-Sluicegate: 1\r\n", "").await
    };
    let elsewhere = end("two").await;
    assert_eq!(status(&elsewhere), "404", "{elsewhere}");
    assert!(elsewhere.contains("on that origin"), "{elsewhere}");
    // A word that is misspelt is no wish to end everything.
    let misspelt = "/api/v1/streams/live/a?orgin=two";
    let misspelt = raw(
        house.at.system,
        "DELETE",
        misspelt,
        "X-Sluicegate: 1\r\n",
        "",
    )
    .await;
    assert_eq!(status(&misspelt), "400", "{misspelt}");
    assert_eq!(house.proxy.sessions().len(), 1);
    let there = end("one").await;
    assert_eq!(status(&there), "200", "{there}");
    assert!(there.contains("\"ended\":1"), "{there}");
    house.until_sessions(0).await;
}

#[tokio::test]
async fn lists_come_in_pages_and_whole_where_nothing_is_asked() {
    let names = ["live/c", "live/a", "live/b", "cam/d", "live/e"];
    let (house, _origin, _publishers) = house_with(&names).await;
    let whole = document(&house, "/api/v1/sessions").await;
    assert_eq!(whole["total"], 5);
    assert!(
        whole.get("next").is_none() && whole.get("total_at_least").is_none(),
        "{whole}"
    );
    for (list, rows) in [("sessions", "sessions"), ("streams", "streams")] {
        let path = format!("/api/v1/{list}?sort=stream&limit=2");
        let pages = walk(&house, &path, rows, "stream").await;
        let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
        assert_eq!(sizes, [2, 2, 1], "{list}");
        let all: Vec<Value> = pages.concat();
        let expected = ["cam/d", "live/a", "live/b", "live/c", "live/e"];
        let expected = expected.map(|name| json!(format!("__defaultVhost__/{name}")));
        assert_eq!(all, expected, "{list}");
        let found = document(&house, &format!("/api/v1/{list}?q=CAM")).await;
        assert_eq!(found["total"], 1, "{found}");
        let one = document(&house, &format!("/api/v1/{list}?stream=live/b")).await;
        assert_eq!(one["total"], 1, "{one}");
        let none = document(&house, &format!("/api/v1/{list}?origin=two")).await;
        assert_eq!(none["total"], 0, "{none}");
    }
    let players = document(&house, "/api/v1/sessions?action=play").await;
    assert_eq!(players["total"], 0);
    for (path, words) in [
        ("sessions?foo=1", "foo: there is no such parameter"),
        ("sessions?limit=0", "limit: a number from 1 to 200"),
        ("sessions?sort=size", "sort: one of"),
        ("sessions?scope=AAA", "scope: cluster or local"),
        ("streams?state=dead", "state: one of"),
        ("events?kind=party", "kind: one of"),
        ("history?minutes=61", "minutes: a number from 1 to 60"),
    ] {
        let (status, body) = get(house.at.system, &format!("/api/v1/{path}")).await;
        assert_eq!(status, 400, "{path}: {body}");
        assert!(body.contains(words), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_walk_finds_each_row_once_however_a_list_is_sorted() {
    let names = ["stays/a", "stays/b", "stays/c", "ends/d", "ends/e"];
    let (house, _one, mut publishers) = house_with(&names).await;
    let others = [
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    ];
    for (id, origin) in ["two", "three"].into_iter().zip(&others) {
        house.register(id, origin.at);
    }
    publishers.truncate(3);
    house.until_sessions(3).await;
    until_told("two have ended", async || {
        document(&house, "/api/v1/events?kind=lost").await["total"] == 2
    })
    .await;
    for (list, rows, name, filter) in [
        ("events", "events", "id", ""),
        ("origins", "origins", "id", ""),
        ("sessions", "sessions", "id", ""),
        ("sessions/ended", "sessions", "id", ""),
        // The place of one that ended may be forgotten at any time.
        ("streams", "streams", "stream", "q=stays&"),
    ] {
        let (_, refusal) = get(house.at.system, &format!("/api/v1/{list}?sort=nothing")).await;
        let sorts = refusal.split_once("sort: one of ").expect("the sorts").1;
        let sorts = sorts.split_once(", with -").expect("the sorts").0;
        // What clients do changes these at any time.
        let stays = |sort: &&str| !["bytes", "load", "out", "players", "rate"].contains(sort);
        let sorted = async |query: &str| {
            let path = format!("/api/v1/{list}?{filter}{query}");
            let mut found = walk(&house, &path, rows, name).await.concat();
            found.sort_by_key(Value::to_string);
            found
        };
        let whole = sorted("limit=200").await;
        assert!(whole.len() > 1, "{list}: {whole:?}");
        for sort in sorts.split(", ").filter(stays) {
            for sort in [sort.to_owned(), format!("-{sort}")] {
                let found = sorted(&format!("sort={sort}&limit=1")).await;
                assert_eq!(found, whole, "{list} by {sort}");
            }
        }
    }
}

#[tokio::test]
async fn origins_are_sorted_and_filtered_by_the_proxy() {
    let house = House::open("").await;
    let stub = Stub::start(Manner::Grants).await;
    let origin =
        |zone: &str, port: u16, more: &str| format!(r#""zone":"{zone}","rtmp":["{port}"]{more}"#);
    house.register_with("b-east", &origin("east", 1, ""));
    house.register_with("a-west", &origin("west", 2, r#","device_id":"Rack-7""#));
    let here = format!(r#""zone":"east","rtmp":["{}"]"#, stub.at.port());
    house.register_with("c-here", &here);
    let tell = async |path: &str| {
        let answer = crate::house::post(house.at.system, path, "").await;
        assert_eq!(answer.0, 200, "{}", answer.1);
    };
    tell("/api/v1/origins/b-east/drain").await;
    tell("/api/v1/origins/a-west/disable").await;
    let _publisher = house.ask(Action::Publish, "live/a").await;
    house.until_sessions(1).await;
    // What is asked, and the origins of the answer in order.
    let rows: [(&str, &[&str]); 12] = [
        ("limit=50", &["a-west", "b-east", "c-here"]),
        ("sort=-id", &["c-here", "b-east", "a-west"]),
        ("sort=-sessions&limit=1", &["c-here"]),
        ("sort=streams", &["a-west", "b-east", "c-here"]),
        ("sort=-zone", &["a-west", "c-here", "b-east"]),
        ("zone=east", &["b-east", "c-here"]),
        ("zone=east&duty=active", &["c-here"]),
        ("duty=draining", &["b-east"]),
        ("state=up&q=EAST", &["b-east", "c-here"]),
        ("q=rack-7", &["a-west"]),
        ("q=nothing", &[]),
        ("state=failing", &[]),
    ];
    for (query, expected) in rows {
        let page = document(&house, &format!("/api/v1/origins?{query}")).await;
        let found = page["origins"].as_array().expect("rows").iter();
        let found: Vec<&str> = found.filter_map(|row| row["id"].as_str()).collect();
        assert_eq!(found, expected, "{query}");
        let total = if query.contains("limit=1") {
            3
        } else {
            expected.len()
        };
        assert_eq!(page["total"], total, "{query}");
    }
    let pages = walk(
        &house,
        "/api/v1/origins?sort=heard&limit=2",
        "origins",
        "id",
    )
    .await;
    let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
    assert_eq!(sizes, [2, 1]);
    let whole = document(&house, "/api/v1/origins").await;
    assert!(whole.get("next").is_none(), "{whole}");
    assert_eq!(whole["total"], 3);
    for (query, words) in [
        (
            "foo=1",
            "foo: there is no such parameter; there are limit, after, sort, q, duty, state, zone",
        ),
        (
            "sort=name",
            "sort: one of id, heard, load, rate, sessions, state, streams, zone",
        ),
        ("duty=idle", "duty: one of active, disabled, draining"),
        ("scope=AAA", "scope: cluster or local"),
    ] {
        let (status, body) = get(house.at.system, &format!("/api/v1/origins?{query}")).await;
        assert_eq!(status, 400, "{query}: {body}");
        assert!(body.contains(words), "{query}: {body}");
    }
}

#[tokio::test]
async fn a_list_that_stays_the_same_is_not_sent_again_and_may_be_sent_small() {
    let house = House::open("").await;
    let at = house.at.system;
    let first = raw(at, "GET", "/api/v1/sessions?limit=5", "", "").await;
    let tag = first.lines().find_map(|line| line.strip_prefix("etag: "));
    let known = format!("If-None-Match: {}\r\n", tag.expect("a tag"));
    let again = raw(at, "GET", "/api/v1/sessions?limit=5", &known, "").await;
    assert_eq!(status(&again), "304", "{again}");
    let small = raw(
        at,
        "GET",
        "/console/console.css",
        "Accept-Encoding: gzip\r\n",
        "",
    )
    .await;
    assert!(small.contains("content-encoding: gzip\r\n"), "{small}");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_as_the_document_says() {
    let house = House::open("").await;
    for (path, words) in [
        (
            "/api/v1/overview?scope=all",
            "scope: unknown variant `all`, expected `cluster` or `local`",
        ),
        ("/api/v1/explain", "stream: this is missing"),
        ("/api/v1/origins/%FF", "Invalid UTF-8"),
    ] {
        let (status, body) = get(house.at.system, path).await;
        let said: Value = serde_json::from_str(&body).unwrap_or_default();
        assert_eq!(
            (status, &said["code"]),
            (400, &json!(400)),
            "{path}: {body}"
        );
        let error = said["error"].as_str().unwrap_or_default();
        assert!(error.starts_with(words), "{path}: {body}");
    }
}

#[tokio::test]
async fn one_stream_one_origin_and_the_totals_are_documents_of_their_own() {
    let (house, _origin, publishers) = house_with(&["live/a"]).await;
    let stream = document(&house, "/api/v1/streams/live/a").await;
    assert_eq!(
        (&stream["origin"], &stream["publishers"]),
        (&json!("one"), &json!(1))
    );
    assert_eq!(stream["protocols"], json!(["rtmp"]));
    assert_eq!(get(house.at.system, "/api/v1/streams/live/b").await.0, 404);
    let origin = document(&house, "/api/v1/origins/one").await;
    assert_eq!(
        (&origin["sessions"], &origin["streams"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(get(house.at.system, "/api/v1/origins/two").await.0, 404);
    until_told("the totals count the publisher", async || {
        let overview = document(&house, "/api/v1/overview").await;
        overview["now"]["publishers"] == 1 && overview["now"]["streams"] == 1
    })
    .await;
    let overview = document(&house, "/api/v1/overview").await;
    assert_eq!(
        (&overview["store"]["kind"], &overview["store"]["reachable"]),
        (&json!("memory"), &json!(true))
    );
    let proxy = document(&house, "/api/v1/proxy").await;
    let started = proxy["started"].as_str().expect("a time");
    assert!(started.parse::<jiff::Timestamp>().is_ok(), "{started}");
    let links = document(&house, "/api/v1/links?stream=live/a").await;
    let rtmp = format!("rtmp://127.0.0.1:{}/live/a", house.at.rtmp.port());
    let urls = links["links"].as_array().expect("links").iter();
    assert!(urls.clone().any(|link| link["url"] == rtmp), "{links}");
    let history = document(&house, "/api/v1/history?minutes=1").await;
    assert_eq!(history["step_seconds"], 5);
    let attention = document(&house, "/api/v1/attention").await;
    assert_eq!(
        (&attention["findings"], &attention["rules"]),
        (&json!([]), &json!(16))
    );
    drop(publishers);
}

#[tokio::test]
async fn what_happened_is_told() {
    let (house, _origin, publishers) = house_with(&["live/a"]).await;
    let of = async |kind: &str| document(&house, &format!("/api/v1/events?kind={kind}")).await;
    let version = format!("version {} is ready", env!("CARGO_PKG_VERSION"));
    until_told("its start is told", async || {
        of("config").await["events"][0]["what"] == version
    })
    .await;
    let published = of("published").await;
    assert_eq!(published["total"], 1, "{published}");
    let event = &published["events"][0];
    assert_eq!(event["stream"], "__defaultVhost__/live/a");
    assert_eq!(
        (&event["origin"], &event["client"]),
        (&json!("one"), &json!("127.0.0.1"))
    );
    drop(publishers);
    house.until_sessions(0).await;
    until_told("its end is told", async || of("lost").await["total"] == 1).await;
    let ended = document(&house, "/api/v1/sessions/ended?stream=live/a").await;
    assert_eq!(
        (&ended["total"], &ended["sessions"][0]["reason"]),
        (&json!(1), &json!("client_closed"))
    );
    assert_eq!(of("origin").await["events"][0]["what"], "up (new)");
    let drain = "POST /api/v1/origins/one/drain?force=true HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(talk(house.at.system, drain).await.0, 200);
    assert_eq!(
        of("drained").await["events"][0]["what"],
        "drains (operator)"
    );
    let audit = of("audit").await;
    assert_eq!(
        audit["events"][0]["what"], "POST /api/v1/origins/one/drain: 200",
        "{audit}"
    );
    for _ in 0..3 {
        let refused = house.ask(Action::Publish, "live/b").await;
        drop(refused);
    }
    until_told("refusals of one address are one event", async || {
        let events = of("refused").await;
        let counts = events["events"].as_array().expect("events").iter();
        let sum: u64 = counts.filter_map(|event| event["count"].as_u64()).sum();
        // A minute may end in between.
        sum == 3 && events["total"].as_u64() <= Some(2)
    })
    .await;
}

#[tokio::test]
async fn a_feed_tells_totals_and_events_and_only_so_many_are_open() {
    let (house, _origin, _publishers) = house_with(&["live/a"]).await;
    let open = async || {
        let mut socket = TcpStream::connect(house.at.system)
            .await
            .expect("it listens");
        let request = format!(
            "GET /api/v1/feed HTTP/1.1\r\nHost: {}\r\n\r\n",
            house.at.system
        );
        socket
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        socket
    };
    let read_until = async |socket: &mut TcpStream, wanted: &str| {
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains(wanted) {
            let count = timeout(PATIENCE, socket.read(&mut buffer)).await;
            let count = count.expect("in time").expect("it goes on");
            assert!(count > 0, "{text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
        text
    };
    let mut feed = open().await;
    let begun = read_until(&mut feed, "event: totals").await;
    assert!(
        begun.contains("text/event-stream") && begun.contains("retry: 2000"),
        "{begun}"
    );
    let _late = house.ask(Action::Publish, "live/late").await;
    let told = read_until(&mut feed, "live/late").await;
    assert!(told.contains("event: event\nid: "), "{told}");
    let mut feeds = Vec::new();
    for _ in 1..64 {
        let mut feed = open().await;
        read_until(&mut feed, "200").await;
        feeds.push(feed);
    }
    let mut one_too_many = open().await;
    read_until(&mut one_too_many, "503").await;
}

#[tokio::test]
async fn the_console_is_served_with_a_policy_and_to_this_machine_until_there_is_a_token() {
    let house = House::open("").await;
    let page = raw(house.at.system, "GET", "/console/", "", "").await;
    assert_eq!(status(&page), "200");
    for line in [
        "content-security-policy: default-src 'none';",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
        "cross-origin-opener-policy: same-origin",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let elsewhere = raw(
        house.at.system,
        "GET",
        "/console/",
        "Via: 1.1 a-proxy\r\n",
        "",
    )
    .await;
    assert_eq!(status(&elsewhere), "403", "{elsewhere}");
    assert!(elsewhere.contains("until a token is set"), "{elsewhere}");
    assert_eq!(get(house.at.system, "/console/nothing.mjs").await.0, 404);
    let me = document(&house, "/console/me").await;
    assert_eq!(
        me,
        json!({
            "role": "admin",
            "has_login": false,
            "is_logged_in": false,
            "version": env!("CARGO_PKG_VERSION"),
        })
    );
}

#[tokio::test]
async fn a_login_is_as_good_as_the_token_and_no_other_page_can_use_it() {
    let house = House::open(TOKEN).await;
    let at = house.at.system;
    let json = "Content-Type: application/json\r\n";
    let wrong = raw(at, "POST", "/console/login", json, r#"{"token":"guess"}"#).await;
    assert_eq!(status(&wrong), "401");
    assert!(!wrong.contains("set-cookie"), "{wrong}");
    let right = raw(at, "POST", "/console/login", json, r#"{"token":"s3cret"}"#).await;
    assert_eq!(status(&right), "200", "{right}");
    let cookie = right
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.expect("a cookie");
    assert!(
        cookie.contains("HttpOnly; SameSite=Strict; Path=/"),
        "{cookie}"
    );
    let pass = cookie.split(';').next().expect("a value");
    let with = format!("Cookie: other=1; {pass}\r\n");
    let program = format!("{with}X-Sluicegate: 1\r\n");
    let page = format!("{program}Origin: https://evil.example\r\n");
    let forged = with.replace(".", "0.");
    for (cause, method, path, lines, expected) in [
        ("nothing is shown", "GET", "/api/v1/origins", "", "401"),
        ("the pass reads", "GET", "/api/v1/origins", &with, "200"),
        (
            "a forged one does not",
            "GET",
            "/api/v1/origins",
            &forged,
            "401",
        ),
        (
            "a form of some page",
            "POST",
            "/api/v1/proxy/drain",
            &with,
            "401",
        ),
        (
            "a script of another site",
            "POST",
            "/api/v1/proxy/drain",
            &page,
            "403",
        ),
        (
            "the console",
            "POST",
            "/api/v1/proxy/undrain",
            &program,
            "200",
        ),
    ] {
        let answer = raw(at, method, path, lines, "").await;
        assert_eq!(status(&answer), expected, "{cause}: {answer}");
    }
    assert!(!house.proxy.is_draining());
    let me = raw(at, "GET", "/console/me", &with, "").await;
    assert!(
        me.contains(r#""role":"admin","has_login":true,"is_logged_in":true"#),
        "{me}"
    );
    let nobody = raw(at, "GET", "/console/me", "", "").await;
    assert!(
        nobody.contains(r#""role":null,"has_login":true,"is_logged_in":false,"version":null"#),
        "{nobody}"
    );
    let out = raw(at, "POST", "/console/logout", &program, "").await;
    assert!(out.contains("Max-Age=0"), "{out}");
    let mut last = String::new();
    for _ in 0..6 {
        last = raw(at, "POST", "/console/login", json, r#"{"token":"guess"}"#).await;
    }
    assert_eq!(status(&last), "429", "{last}");
}

#[tokio::test]
async fn people_may_have_a_port_of_their_own() {
    let house = House::open(
        "[console]\nlisten = \"127.0.0.1:0\"\npublic = [\"rtmp=rtmp://live.example.com\"]\n",
    )
    .await;
    let at = house.at.console.expect("it listens");
    assert_ne!(Some(at), Some(house.at.system));
    assert_eq!(get(at, "/console/").await.0, 200);
    let links = document(&house, "/api/v1/links?stream=live/a").await;
    let first = &links["links"][0];
    assert_eq!(first["url"], "rtmp://live.example.com/live/a", "{links}");
}
