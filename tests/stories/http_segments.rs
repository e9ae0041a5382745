//! Playlists and what they list: every request finds the origin that has it, over any proxy, and a stampede is one
//! request.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::house::{House, get, until};
use crate::http_origin::{Viewer, header};
use crate::http_pieces::{Packager, Reply};

const PLAYLIST: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-1.ts\n#EXTINF:4,\na-2.ts\n";

/// An origin with one stream, `live/a`, of two segments, that says they are everybody's.
fn one_stream(target: &str, _: &str) -> Reply {
    match target.split('?').next().unwrap_or_default() {
        "/live/a.m3u8" => Reply::ok(
            "Content-Type: application/vnd.apple.mpegurl\r\nCache-Control: max-age=60\r\n",
            PLAYLIST,
        ),
        "/live/a-1.ts" => Reply::ok("Cache-Control: max-age=60\r\n", vec![1; 300_000]),
        "/live/a-2.ts" => Reply::ok("Cache-Control: max-age=60\r\n", vec![2; 300_000]),
        _ => Reply::missing(),
    }
}

/// The URIs that a playlist lists.
fn listed(playlist: &str) -> Vec<String> {
    let lines = playlist.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| format!("/live/{line}")).collect()
}

/// A request on a connection that stays open, with its answer.
async fn ask(viewer: &mut Viewer, target: &str, headers: &str) -> (String, Vec<u8>) {
    viewer
        .more(format!(
            "GET {target} HTTP/1.1\r\nHost: example.com\r\n{headers}\r\n"
        ))
        .await;
    let head = viewer.head().await;
    let length = header(&head, "content-length")
        .first()
        .map_or(0, |length| length.parse().expect("a length"));
    let body = viewer.take(length).await;
    (head, body)
}

#[tokio::test]
async fn what_a_playlist_lists_comes_from_the_origin_it_came_from() {
    let house = House::open("").await;
    let origin = Packager::join(&house, "one", one_stream).await;
    let (status, playlist) = get(house.at.http, "/live/a.m3u8?hls_ctx=x").await;
    assert_eq!(status, 200);
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    let segments = listed(&playlist);
    assert_eq!(segments.len(), 2, "{playlist}");
    for (segment, path) in segments.iter().zip(["/live/a-1.ts", "/live/a-2.ts"]) {
        assert!(segment.starts_with(&format!("{path}?spbhid=")), "{segment}");
        let mut viewer = Viewer::send(house.at.http, "").await;
        let (head, body) = ask(&mut viewer, segment, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body.len(), 300_000);
        assert_eq!(header(&head, "access-control-allow-origin"), ["*"]);
        assert_eq!(origin.count(path), 1, "the origin never sees the link");
    }
    assert_eq!(house.proxy.sessions().len(), 0, "no row per request");
    let name = "sluicegate_relayed_bytes_total{protocol=\"http_segments\",direction=\"to_client\"}";
    let bytes = format!("{name} {}\n", playlist.len() + 2 * 300_000);
    // The reader may run ahead of the counter.
    until("the accounts", || {
        let metrics = house.proxy.metrics().render();
        metrics.contains("sluicegate_pieces_total{kind=\"segment\",result=\"ok\"} 2")
            && metrics.contains(&bytes)
    })
    .await;
}

#[tokio::test]
async fn who_signs_the_target_gets_it_without_a_link() {
    let house = House::open("").await;
    let signed = |target: &str, head: &str| {
        let shown = header(head, "authorization").concat();
        shown.starts_with("Digest") && shown.contains(&format!("uri=\"{target}\""))
    };
    let origin = Packager::join(&house, "one", move |target, head| {
        if header(head, "authorization").concat().starts_with("Digest") && !signed(target, head) {
            return Reply::with("400 Bad Request", "", "another target was signed");
        }
        let playlist = "Content-Type: application/vnd.apple.mpegurl\r\n";
        match target {
            "/live/b.m3u8" => Reply::with("302 Found", "Location: /live/a.m3u8\r\n", ""),
            "/live/a.m3u8" => Reply::ok(playlist, PLAYLIST),
            _ => one_stream(target, head),
        }
    })
    .await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    let digest =
        |target: &str| format!("Authorization: Digest username=\"u\", uri=\"{target}\"\r\n");
    let bearer = "Authorization: Bearer secret\r\n";
    let amazon = "Authorization: AWS4-HMAC-SHA256 Credential=c, Signature=s\r\n";
    for (cause, headers, is_linked) in [
        ("nothing", "", true),
        ("a token", bearer, true),
        (
            "an answer to a challenge",
            digest("/live/a.m3u8").as_str(),
            false,
        ),
        ("a signature", amazon, false),
        ("nothing again", "", true),
    ] {
        let (head, body) = ask(&mut viewer, "/live/a.m3u8", headers).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{cause}: {head}");
        let body = String::from_utf8(body).expect("text");
        assert_eq!(
            body.matches("spbhid=").count(),
            if is_linked { 2 } else { 0 },
            "{cause}: {body}"
        );
    }
    let (head, _) = ask(&mut viewer, "/live/a-1.ts", &digest("/live/a-1.ts")).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(origin.count("/live/a-1.ts"), 1);
    let (head, _) = ask(&mut viewer, "/live/b.m3u8", &digest("/live/b.m3u8")).await;
    assert_eq!(header(&head, "location"), ["/live/a.m3u8"], "{head}");
}

#[tokio::test]
async fn a_link_makes_no_piece_of_a_stream_without_end() {
    let house = House::open("").await;
    let chunked = |end: &str| Reply {
        bytes: format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nmedia\r\n{end}")
            .into(),
        ..Reply::default()
    };
    let _origin = Packager::join(&house, "one", move |target, head| {
        match target.split('?').next().unwrap_or_default() {
            "/live/a.ts" | "/live/a.aac" | "/live/a.mp3" | "/live/b-7.ts" | "/live/b-7.flv" => {
                chunked("")
            }
            "/live/a-2.ts" => chunked("0\r\n\r\n"),
            _ => one_stream(target, head),
        }
    })
    .await;
    let at = house.at.http;
    let pull = async |name: &str| {
        let request = format!("GET /live/{name} HTTP/1.1\r\nHost: {at}\r\n\r\n");
        let mut viewer = Viewer::send(at, request).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{name}: {head}");
        viewer
    };
    // Another stream, whose name is like that of a segment.
    let _other = pull("b-7.flv").await;
    let (_, playlist) = get(at, "/live/a.m3u8").await;
    let segments = listed(&playlist);
    let (_, ours) = segments[0].split_once('?').expect("a link");
    for name in ["a.ts", "a.aac", "a.mp3", "b-7.ts"] {
        for link in [ours, "spbhid=1a2b3c4"] {
            let (status, words) = get(at, &format!("/live/{name}?{link}")).await;
            assert_eq!(status, 403, "{name}?{link}: {words}");
            assert!(words.contains("it is a stream without end"), "{words}");
        }
    }
    assert_eq!(house.proxy.sessions().len(), 1, "the one that is counted");
    let _counted = pull("a.ts").await;
    assert_eq!(house.proxy.sessions().len(), 2, "without a link it is, too");
    let (status, body) = get(at, &segments[1]).await;
    assert!(
        status == 200 && body.contains("media"),
        "a segment has an end"
    );
}

#[tokio::test]
async fn any_proxy_with_the_key_serves_a_link_and_nobody_else_can_make_one() {
    let settings = "[cluster]\nkey = \"secret\"";
    let first = House::open(settings).await;
    let origin = Packager::join(&first, "one", one_stream).await;
    let (_, playlist) = get(first.at.http, "/live/a.m3u8").await;
    let segment = listed(&playlist).remove(0);
    // The second proxy knows no origin at all.
    let second = House::open(settings).await;
    let (status, body) = get(second.at.http, &segment).await;
    assert_eq!((status, body.len()), (200, 300_000));
    assert!(second.proxy.registry().placements().is_empty());
    let mut tampered = segment.clone();
    let letter = tampered.len() - 10..tampered.len() - 9;
    let other = if &tampered[letter.clone()] == "A" {
        "B"
    } else {
        "A"
    };
    tampered.replace_range(letter, other);
    assert_eq!(get(second.at.http, &tampered).await.0, 403);
    // Another cluster's link does not count, and the path names no origin there.
    let other = House::open("[cluster]\nkey = \"other\"").await;
    assert_eq!(get(other.at.http, &segment).await.0, 503);
    // By its path alone it is served where the origin is known; so is a link of another kind of proxy.
    let asked = origin.count("/live/a-1.ts");
    assert_eq!(get(first.at.http, "/live/a-1.ts").await.0, 200);
    assert_eq!(
        get(first.at.http, "/live/a-1.ts?spbhid=1a2b3c4").await.0,
        200
    );
    assert_eq!(origin.count("/live/a-1.ts"), asked + 2);
}

#[tokio::test]
async fn a_forged_endpoint_is_not_dialled_and_special_addresses_never() {
    use sluicegate_core::http::link::{Link, LinkKey};
    use sluicegate_core::stream::StreamUrl;
    let house = House::open("[cluster]\nkey = \"secret\"").await;
    let origin = Packager::join(&house, "one", one_stream).await;
    let elsewhere = Packager::start(one_stream).await;
    let link = |origin: &str, target: &str| {
        let (host, port) = target.rsplit_once(':').expect("host:port");
        let link = Link {
            stream: StreamUrl::new("", "live", "a").expect("a stream"),
            origin: origin.into(),
            target: sluicegate_core::fleet::origin::Target::plain(
                host.parse().expect("a host"),
                port.parse().expect("a port"),
            ),
            expires: u64::MAX,
            viewing: None,
        };
        format!(
            "/live/a-1.ts?spbhid={}",
            LinkKey::new(b"secret").seal(&link)
        )
    };
    // The registry knows the address of `one`.
    let target = link("one", &elsewhere.at.to_string());
    assert_eq!(get(house.at.http, &target).await.0, 200);
    assert_eq!(origin.count("/live/a-1.ts"), 1);
    // An unknown origin at an address that may not be dialled: its stream is placed again.
    let target = link("other", "169.254.169.254:80");
    assert_eq!(get(house.at.http, &target).await.0, 200);
    assert_eq!(origin.count("/live/a-1.ts"), 2);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn when_the_origin_died_its_stream_is_placed_again() {
    // Viewers who are held hear of no end: `held_playlists` tells of them.
    let house = House::open("[hold]\nviewers = \"0s\"").await;
    let one = Packager::join(&house, "one", one_stream).await;
    let (_, playlist) = get(house.at.http, "/live/a.m3u8").await;
    let segment = listed(&playlist).remove(0);
    let two = Packager::join(&house, "two", one_stream).await;
    one.kill();
    assert_eq!(get(house.at.http, "/live/a.m3u8").await.0, 200);
    assert_eq!(house.origin_of("live/a").as_deref(), Some("two"));
    assert_eq!(get(house.at.http, &segment).await.0, 200, "by the old link");
    two.kill();
    let mut viewer = Viewer::send(house.at.http, "").await;
    let (head, _) = ask(&mut viewer, "/live/a.m3u8", "").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(!header(&head, "retry-after").is_empty());
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_a_404_and_leaves_no_claim() {
    let house = House::open("").await;
    let _origin = Packager::join(&house, "one", one_stream).await;
    assert_eq!(get(house.at.http, "/live/none.m3u8").await.0, 404);
    assert_eq!(get(house.at.http, "/live/none-1.m4s").await.0, 404);
    assert!(house.proxy.registry().placements().is_empty());
    assert_eq!(house.proxy.registry().claiming_sources(), 0);
}

#[tokio::test]
async fn one_connection_to_the_origin_serves_many_requests() {
    // It is not probed while it only takes its time.
    let house = House::open("[session]\ndial_timeout = \"10s\"\nsetup_timeout = \"30s\"").await;
    let origin = Packager::join(&house, "one", one_stream).await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    for _ in 0..20 {
        let (head, body) = ask(&mut viewer, "/live/a.m3u8", "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(body.len() > PLAYLIST.len());
        let (_, body) = ask(&mut viewer, "/live/a-1.ts", "").await;
        assert_eq!(body.len(), 300_000);
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_costs_nobody_an_answer() {
    let house = House::open("").await;
    let closes = |target: &str, head: &str| Reply {
        close: true,
        ..one_stream(target, head)
    };
    let origin = Packager::join(&house, "one", closes).await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    for _ in 0..10 {
        let (head, _) = ask(&mut viewer, "/live/a.m3u8", "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    assert_eq!(origin.count("/live/a.m3u8"), 10, "and no request twice");
}

#[tokio::test]
async fn a_thousand_players_cost_one_request_for_each_segment() {
    // A thousand requests keep a machine busy: an origin that is slow for that reason is not gone.
    let settings = "[session]\ndial_timeout = \"30s\"\nsetup_timeout = \"60s\"\n[http]\ncache_megabytes = 16\nanswer_timeout = \"60s\"";
    let house = House::open(settings).await;
    let go = CancellationToken::new();
    let waits = go.clone();
    let held = move |target: &str, head: &str| Reply {
        wait: Some(waits.clone()),
        ..one_stream(target, head)
    };
    let origin = Packager::join(&house, "one", held).await;
    let mut players = JoinSet::new();
    for _ in 0..1000 {
        let at = house.at.http;
        players.spawn(async move {
            let (status, playlist) = get(at, "/live/a.m3u8").await;
            assert_eq!(status, 200);
            for segment in listed(&playlist) {
                let (status, body) = get(at, &segment).await;
                assert_eq!((status, body.len()), (200, 300_000));
            }
        });
    }
    let metrics = house.proxy.metrics();
    let waiting = || {
        let label = sluicegate::metrics::KindLabel { kind: "playlist" };
        metrics.coalesced.get_or_create(&label).get() >= 999
    };
    let patience = async {
        while !waiting() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), patience)
        .await
        .expect("999 wait for the answer that one asked for");
    go.cancel();
    while let Some(played) = players.join_next().await {
        played.expect("a player saw everything");
    }
    assert_eq!(origin.count("/live/a.m3u8"), 1);
    assert_eq!(origin.count("/live/a-1.ts"), 1);
    assert_eq!(origin.count("/live/a-2.ts"), 1);
}

#[tokio::test]
async fn without_a_cache_only_what_is_in_flight_is_shared() {
    let house = House::open("").await;
    let origin = Packager::join(&house, "one", one_stream).await;
    for _ in 0..3 {
        assert_eq!(get(house.at.http, "/live/a-1.ts").await.0, 200);
    }
    assert_eq!(origin.count("/live/a-1.ts"), 3);
}

#[tokio::test]
async fn credentials_are_never_shared_unless_they_do_not_matter() {
    let house = House::open("[http]\ncache_megabytes = 16\ncache_ignore = [\"uid\"]").await;
    let answers = |target: &str, head: &str| match target {
        "/live/a-3.ts" => Reply::ok("Cache-Control: private\r\n", "mine"),
        "/live/a-4.ts" => Reply::ok("Cache-Control: public\r\nSet-Cookie: a=b\r\n", "mine"),
        "/live/a-5.ts" => Reply::ok("Cache-Control: public\r\nVary: X-Who\r\n", "mine"),
        "/live/a-6.ts" => Reply::ok("Cache-Control: no-store\r\n", "now"),
        _ => one_stream(target, head),
    };
    let origin = Packager::join(&house, "one", answers).await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    let rows = [
        ("equal requests", "/live/a-1.ts", ["", ""], 1),
        (
            "Authorization",
            "/live/a-1.ts?x",
            ["Authorization: a\r\n", "Authorization: b\r\n"],
            2,
        ),
        (
            "a cookie",
            "/live/a-1.ts?y",
            ["Cookie: a=1\r\n", "Cookie: a=2\r\n"],
            2,
        ),
        ("a range", "/live/a-1.ts?z", ["Range: bytes=0-1\r\n", ""], 2),
        ("a private answer", "/live/a-3.ts", ["", ""], 2),
        ("an answer with a cookie", "/live/a-4.ts", ["", ""], 2),
        ("an answer that varies", "/live/a-5.ts", ["", ""], 2),
        ("an answer not to be stored", "/live/a-6.ts", ["", ""], 2),
    ];
    for (cause, target, headers, asked) in rows {
        for header in headers {
            let (head, _) = ask(&mut viewer, target, header).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{cause}: {head}");
        }
        assert_eq!(origin.count(target), asked, "{cause}");
    }
    for query in ["token=1", "token=2", "token=1&uid=7", "token=1&uid=8"] {
        ask(&mut viewer, &format!("/live/a-2.ts?{query}"), "").await;
    }
    let asked = origin.targets().into_iter().filter(|t| t.contains("token"));
    assert_eq!(
        asked.collect::<Vec<_>>(),
        ["/live/a-2.ts?token=1", "/live/a-2.ts?token=2"]
    );
}

#[tokio::test]
async fn a_viewer_gets_what_has_come_and_a_slow_one_holds_up_nobody() {
    let house = House::open("").await;
    let go = CancellationToken::new();
    let later = go.clone();
    let halting = move |target: &str, head: &str| Reply {
        pause: Some((150_000, later.clone())),
        ..one_stream(target, head)
    };
    let origin = Packager::join(&house, "one", halting).await;
    let request = "GET /live/a-1.ts HTTP/1.1\r\nHost: example.com\r\n\r\n";
    // This client asked first, and reads nothing.
    let slow = Viewer::send(house.at.http, request).await;
    until("the request", || origin.count("/live/a-1.ts") == 1).await;
    let mut quick = Viewer::send(house.at.http, request).await;
    let head = quick.head().await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    quick.take(140_000).await;
    drop(slow);
    go.cancel();
    quick.take(160_000).await;
    assert_eq!(origin.count("/live/a-1.ts"), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_taken_for_a_whole_one() {
    let house = House::open("[http]\ncache_megabytes = 16").await;
    let breaks = |target: &str, head: &str| {
        let mut reply = one_stream(target, head);
        if head.contains("x=1") {
            reply.bytes.truncate(100_000);
            reply.close = true;
        }
        reply
    };
    let origin = Packager::join(&house, "one", breaks).await;
    for asked in 1..=2 {
        let request = "GET /live/a-1.ts?x=1 HTTP/1.1\r\nHost: example.com\r\n\r\n";
        let mut viewer = Viewer::send(house.at.http, request).await;
        viewer.head().await;
        assert!(viewer.rest().await.len() < 300_000);
        assert_eq!(origin.count("/live/a-1.ts?x=1"), asked);
    }
}

#[tokio::test]
async fn the_headers_of_a_rewritten_playlist_speak_of_what_is_sent() {
    let house = House::open("").await;
    let answers = |target: &str, head: &str| {
        if header(head, "if-none-match") == ["\"one\""] {
            return Reply {
                bytes: b"HTTP/1.1 304 Not Modified\r\nETag: \"one\"\r\n\r\n".to_vec(),
                ..Reply::default()
            };
        }
        let headers = "ETag: \"one\"\r\nAccept-Ranges: bytes\r\nContent-MD5: x\r\nCache-Control: max-age=1\r\n\
                       Last-Modified: Sat, 21 Nov 2026 10:00:00 GMT\r\n";
        match target {
            "/live/a.m3u8" => Reply::ok(headers, PLAYLIST),
            _ => one_stream(target, head),
        }
    };
    let origin = Packager::join(&house, "one", answers).await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    let headers = "Range: bytes=0-9\r\nAccept-Encoding: gzip\r\n";
    let (head, body) = ask(&mut viewer, "/live/a.m3u8", headers).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(header(&head, "etag"), ["W/\"one\""]);
    assert_eq!(header(&head, "cache-control"), ["max-age=1"]);
    assert!(header(&head, "accept-ranges").is_empty() && header(&head, "content-md5").is_empty());
    let seen = origin.heads("/live/a.m3u8").remove(0);
    assert!(header(&seen, "range").is_empty(), "{seen}");
    assert_eq!(header(&seen, "accept-encoding"), ["identity"]);
    let (head, _) = ask(&mut viewer, "/live/a.m3u8", "If-None-Match: W/\"one\"\r\n").await;
    assert!(head.starts_with("HTTP/1.1 304 "), "{head}");
    viewer
        .more("HEAD /live/a.m3u8 HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await;
    let head = viewer.head().await;
    let length = body.len().to_string();
    assert_eq!(
        header(&head, "content-length"),
        [length.as_str()],
        "as a GET has it"
    );
    let (head, _) = ask(&mut viewer, "/live/a-1.ts", "Range: bytes=0-9\r\n").await;
    assert!(
        head.starts_with("HTTP/1.1 200 "),
        "HEAD sent no body: {head}"
    );
    let seen = origin.heads("/live/a-1.ts").remove(0);
    assert_eq!(header(&seen, "range"), ["bytes=0-9"], "a segment's passes");
}

#[tokio::test]
async fn a_blocking_reload_is_held_for_as_long_as_the_origin_holds_it() {
    // Set-up may take far less time than the origin holds the request.
    let settings = "[session]\nsetup_timeout = \"1s\"\n[http]\nanswer_timeout = \"1s\"\nreload_timeout = \"20s\"";
    let house = House::open(settings).await;
    let go = CancellationToken::new();
    let later = go.clone();
    let holds = move |target: &str, head: &str| Reply {
        wait: target.contains("_HLS_msn").then(|| later.clone()),
        ..one_stream(target, head)
    };
    let origin = Packager::join(&house, "one", holds).await;
    let (_, playlist) = get(house.at.http, "/live/a.m3u8").await;
    assert_eq!(listed(&playlist).len(), 2);
    let reload = "/live/a.m3u8?_HLS_msn=3&_HLS_part=0";
    let reloads: Vec<_> = (0..2)
        .map(|_| tokio::spawn(get(house.at.http, reload)))
        .collect();
    until("the reload", || origin.count(reload) == 1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert!(reloads.iter().all(|reload| !reload.is_finished()));
    go.cancel();
    for reload in reloads {
        assert_eq!(reload.await.expect("an answer").0, 200);
    }
    assert_eq!(origin.count(reload), 1, "two players, one reload");
}

#[tokio::test]
async fn an_origin_that_says_nothing_is_given_up_in_time() {
    // Given up before the origin is probed.
    let settings = "[session]\ndial_timeout = \"5s\"\nsetup_timeout = \"30s\"\n[http]\nanswer_timeout = \"1s\"";
    let house = House::open(settings).await;
    let never = CancellationToken::new();
    let silent = move |_: &str, _: &str| Reply {
        wait: Some(never.clone()),
        ..Reply::default()
    };
    let one = Packager::join(&house, "one", silent).await;
    let mut viewer = Viewer::send(house.at.http, "").await;
    let (head, _) = ask(&mut viewer, "/live/a.m3u8", "").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    let two = Packager::join(&house, "two", one_stream).await;
    let (head, _) = ask(&mut viewer, "/live/a.m3u8", "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // No other origin could have it, so the first was asked once more.
    assert_eq!((one.connections(), two.connections()), (2, 1));
}

#[tokio::test]
async fn a_numbered_name_is_an_endless_stream_where_one_is_placed() {
    let house = House::open("").await;
    let _origin = Packager::join(&house, "one", |target: &str, _: &str| match target {
        "/live/cam-7.flv" | "/live/cam-7.ts" => Reply {
            close: true,
            bytes: b"HTTP/1.1 200 OK\r\nContent-Type: video/MP2T\r\n\r\nendless".to_vec(),
            ..Reply::default()
        },
        _ => Reply::missing(),
    })
    .await;
    assert_eq!(get(house.at.http, "/live/cam-7.flv").await.0, 200);
    assert_eq!(house.origin_of("live/cam-7").as_deref(), Some("one"));
    assert_eq!(
        get(house.at.http, "/live/cam-7.ts").await,
        (200, "endless".to_owned())
    );
    assert_eq!(house.origin_of("live/cam"), None);
}

#[tokio::test]
async fn files_are_found_where_no_origin_has_the_path() {
    let root = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(root.path().join("live")).expect("a directory");
    std::fs::write(root.path().join("live/a.m3u8"), "file").expect("a file");
    std::fs::write(root.path().join("live/clip.mp4"), "clip").expect("a file");
    let setting = format!("[http]\nstatic_files = {:?}", root.path());
    let house = House::open(&setting).await;
    assert_eq!(
        get(house.at.http, "/live/a.m3u8").await,
        (200, "file".to_owned())
    );
    let _origin = Packager::join(&house, "one", one_stream).await;
    assert!(
        get(house.at.http, "/live/a.m3u8")
            .await
            .1
            .starts_with("#EXTM3U")
    );
    assert_eq!(
        get(house.at.http, "/live/clip.mp4").await,
        (200, "clip".to_owned())
    );
    assert_eq!(get(house.at.http, "/live/none.mp4").await.0, 404);
    let (status, policy) = get(house.at.http, "/crossdomain.xml").await;
    assert!(status == 200 && policy.contains("allow-access-from domain=\"*\""));
}
