//! A viewer gets what they would have got alone, unless the origin or the operator says that an answer is everybody's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sluicegate::metrics::KindLabel;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::house::{House, talk, until};
use crate::http_origin::{HttpOrigin, Step, Viewer, WAYS, header, say};
use crate::http_pieces::{Packager, Reply};

/// One of each kind: playlist, manifest, segment.
const KINDS: [&str; 3] = ["/live/a.m3u8", "/live/a.mpd", "/live/a-1.ts"];
const PUBLIC: &str = "Cache-Control: public, max-age=60\r\n";
/// An origin that is waited for is asked by nobody whether it is well.
const PATIENT: &str = "[session]\ndial_timeout = \"20s\"\nsetup_timeout = \"30s\"\n[http]\nanswer_timeout = \"20s\"\n";

async fn patient(http: &str) -> House {
    House::open(&format!("{PATIENT}{http}")).await
}

/// A GET with more header lines, each ending in CR LF: its status and its body.
async fn get(house: &House, target: &str, headers: &str) -> (u16, String) {
    let request =
        format!("GET {target} HTTP/1.1\r\nHost: example\r\nConnection: close\r\n{headers}\r\n");
    talk(house.at.http, &request).await
}

/// What an origin has for a path, with what it says of it.
fn media(target: &str, headers: &str, more: &str) -> Reply {
    let body = match target.split('?').next().unwrap_or_default() {
        "/live/a.m3u8" => {
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-1.ts\n#{more}\n")
        }
        "/live/a.mpd" => format!("<MPD><!-- {more} --></MPD>"),
        _ => more.to_owned(),
    };
    Reply::ok(headers, body)
}

/// Two requests that are under way at once, the first before the second, and both answered after that.
async fn at_once(
    house: &House,
    origin: &Packager,
    go: &CancellationToken,
    target: &str,
    headers: [&str; 2],
) -> [(u16, String); 2] {
    let mut asked = Vec::new();
    let before = origin.count(target);
    for (number, headers) in headers.into_iter().enumerate() {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: example\r\nConnection: close\r\n{headers}\r\n");
        let at = house.at.http;
        asked.push(tokio::spawn(async move { talk(at, &request).await }));
        // The second may wait for the first, or not; where it does not, the origin sees it.
        if number == 0 {
            until("the first", || origin.count(target) > before).await;
        }
    }
    until("the second", || {
        let metrics = house.proxy.metrics();
        let kinds = ["playlist", "manifest", "segment"];
        let waits = kinds.iter().any(|kind| {
            let label = KindLabel { kind };
            metrics.coalesced.get_or_create(&label).get() > 0
        });
        waits || origin.count(target) > before + 1
    })
    .await;
    go.cancel();
    let [one, other] = [asked.remove(0), asked.remove(0)];
    [
        one.await.expect("an answer"),
        other.await.expect("an answer"),
    ]
}

#[tokio::test]
async fn alice_and_a_stranger_get_each_their_own() {
    const ALICE: &str = "X-Auth-Token: alice\r\n";
    for cache in [
        "",
        "cache_megabytes = 16\n",
        "cache_megabytes = 16\nshare = \"all\"\n",
    ] {
        for target in KINDS {
            for headers in [[ALICE, ""], ["", ALICE]] {
                let house = patient(cache).await;
                let go = CancellationToken::new();
                let held = go.clone();
                let judges = move |target: &str, head: &str| Reply {
                    wait: Some(held.clone()),
                    ..match header(head, "x-auth-token").as_slice() {
                        ["alice"] => media(target, "", "for alice"),
                        _ => Reply::with("403 Forbidden", "", "no"),
                    }
                };
                let origin = Packager::join(&house, "one", judges).await;
                let rows = headers.map(|headers| if headers.is_empty() { 403 } else { 200 });
                let got = at_once(&house, &origin, &go, target, headers).await;
                assert_eq!([got[0].0, got[1].0], rows, "{cache} {target} {headers:?}");
                // And later, one after the other.
                for (headers, row) in headers.into_iter().zip(rows) {
                    let later = get(&house, target, headers).await.0;
                    assert_eq!(later, row, "{cache} {target}, later");
                }
            }
        }
    }
}

#[tokio::test]
async fn whatever_an_origin_judges_by_keeps_viewers_apart() {
    let rows = [
        ("a cookie", "cookie", ["Cookie: v=1\r\n", "Cookie: v=2\r\n"]),
        (
            "credentials",
            "authorization",
            ["Authorization: Bearer 1\r\n", "Authorization: Bearer 2\r\n"],
        ),
        (
            "a player",
            "user-agent",
            ["User-Agent: 1\r\n", "User-Agent: 2\r\n"],
        ),
        (
            "a language",
            "accept-language",
            ["Accept-Language: de\r\n", "Accept-Language: fr\r\n"],
        ),
        (
            "a page",
            "origin",
            [
                "Origin: https://1.example\r\n",
                "Origin: https://2.example\r\n",
            ],
        ),
        (
            "a report",
            "cmcd-session",
            ["CMCD-Session: sid=\"1\"\r\n", "CMCD-Session: sid=\"2\"\r\n"],
        ),
        (
            "an address",
            "x-forwarded-for",
            [
                "X-Forwarded-For: 10.0.0.1\r\n",
                "X-Forwarded-For: 10.0.0.2\r\n",
            ],
        ),
        (
            "an address of old",
            "x-real-ip",
            ["X-Real-IP: 10.0.0.1\r\n", "X-Real-IP: 10.0.0.2\r\n"],
        ),
        (
            "a header of nobody's",
            "x-any",
            ["X-Any: 1\r\n", "X-Any: 2\r\n"],
        ),
    ];
    for (cause, name, headers) in rows {
        for kept in ["", "cache_megabytes = 16\n"] {
            let house = patient(&format!("trusted_proxies = [\"127.0.0.1\"]\n{kept}")).await;
            let go = CancellationToken::new();
            let held = go.clone();
            let judges = move |target: &str, head: &str| Reply {
                wait: Some(held.clone()),
                ..media(target, "", &header(head, name).join("; "))
            };
            let origin = Packager::join(&house, "one", judges).await;
            let got = at_once(&house, &origin, &go, "/live/a-1.ts", headers).await;
            for (got, headers) in got.iter().zip(headers) {
                let (_, value) = headers.trim_end().split_once(": ").expect("a header");
                assert!(got.1.starts_with(value), "{cause}: {} for {value}", got.1);
            }
        }
    }
}

#[tokio::test]
async fn who_came_first_does_not_decide_for_who_came_second() {
    for target in KINDS {
        for turns in [[403, 200], [200, 403], [404, 200], [500, 200], [302, 200]] {
            let house = patient("cache_megabytes = 16\n").await;
            let go = CancellationToken::new();
            let (held, turn) = (go.clone(), AtomicUsize::new(0));
            let judges = move |target: &str, _: &str| {
                // Later requests get the second answer, too.
                let turn = turn.fetch_add(1, Ordering::Relaxed).min(1);
                Reply {
                    wait: Some(held.clone()),
                    ..match turns[turn] {
                        200 => media(target, "", "yes"),
                        status => Reply::with(&format!("{status} No"), PUBLIC, "no"),
                    }
                }
            };
            let origin = Packager::join(&house, "one", judges).await;
            let got = at_once(&house, &origin, &go, target, ["", ""]).await;
            let mut statuses = [got[0].0, got[1].0];
            let mut expected = turns;
            statuses.sort_unstable();
            expected.sort_unstable();
            assert_eq!(statuses, expected, "{target} {turns:?}");
        }
    }
}

#[tokio::test]
async fn nobody_waits_where_an_answer_was_lately_somebodys_own() {
    for target in KINDS {
        let house = patient("").await;
        let go = CancellationToken::new();
        let (held, seen) = (go.clone(), Arc::new(AtomicUsize::new(0)));
        let counts = Arc::clone(&seen);
        let answers = move |target: &str, _: &str| Reply {
            // The first shows what the others have to expect.
            wait: (counts.fetch_add(1, Ordering::Relaxed) > 0).then(|| held.clone()),
            ..media(target, "", "own")
        };
        let origin = Packager::join(&house, "one", answers).await;
        assert_eq!(get(&house, target, "").await.0, 200);
        let mut viewers = JoinSet::new();
        for _ in 0..5 {
            let at = house.at.http;
            let request =
                format!("GET {target} HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n");
            viewers.spawn(async move { talk(at, &request).await });
        }
        // All five are at the origin before it has answered any.
        until("all of them", || origin.count(target) == 6).await;
        go.cancel();
        while let Some(viewer) = viewers.join_next().await {
            assert_eq!(viewer.expect("an answer").0, 200, "{target}");
        }
    }
}

#[tokio::test]
async fn all_who_waited_in_vain_ask_at_once() {
    let house = patient("").await;
    let (first, rest) = (CancellationToken::new(), CancellationToken::new());
    let (head, others) = (first.clone(), rest.clone());
    let turn = AtomicUsize::new(0);
    let answers = move |target: &str, _: &str| Reply {
        wait: Some(match turn.fetch_add(1, Ordering::Relaxed) {
            0 => head.clone(),
            _ => others.clone(),
        }),
        ..media(target, "", "own")
    };
    let origin = Packager::join(&house, "one", answers).await;
    let mut viewers = JoinSet::new();
    for _ in 0..5 {
        let at = house.at.http;
        let request = "GET /live/a.m3u8 HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n";
        viewers.spawn(async move { talk(at, request).await });
    }
    let label = KindLabel { kind: "playlist" };
    let coalesced = &house.proxy.metrics().coalesced;
    until("four who wait", || {
        coalesced.get_or_create(&label).get() == 4
    })
    .await;
    // Those who wait may be counted before the request of the first has arrived.
    until("the first at the origin", || {
        origin.count("/live/a.m3u8") > 0
    })
    .await;
    assert_eq!(origin.count("/live/a.m3u8"), 1);
    first.cancel();
    until("all of them at the origin", || {
        origin.count("/live/a.m3u8") == 5
    })
    .await;
    rest.cancel();
    while let Some(viewer) = viewers.join_next().await {
        assert_eq!(viewer.expect("an answer").0, 200);
    }
}

#[tokio::test]
async fn what_is_said_to_be_everybodys_is_asked_for_once() {
    for target in KINDS {
        for kept in ["", "cache_megabytes = 16\n"] {
            let house = patient(kept).await;
            let go = CancellationToken::new();
            let held = go.clone();
            let answers = move |target: &str, _: &str| Reply {
                wait: Some(held.clone()),
                ..media(target, PUBLIC, "all")
            };
            let origin = Packager::join(&house, "one", answers).await;
            let headers = [
                "User-Agent: 1\r\n",
                "User-Agent: 2\r\nCMCD-Session: sid=\"2\"\r\n",
            ];
            let [one, other] = at_once(&house, &origin, &go, target, headers).await;
            assert_eq!((one.0, &one), (200, &other));
            assert_eq!(origin.count(target), 1, "{kept} {target}");
            // Credentials keep a viewer apart from what is kept, too.
            for own in [
                "Cookie: a=b\r\n",
                "Authorization: Bearer a\r\n",
                "X-Auth-Token: a\r\n",
            ] {
                let before = origin.count(target);
                assert_eq!(get(&house, target, own).await.0, 200);
                assert_eq!(origin.count(target), before + 1, "{own}");
            }
        }
    }
}

#[tokio::test]
async fn an_origin_that_begins_to_say_it_is_believed() {
    let house = House::open("").await;
    let (said, go) = (CancellationToken::new(), CancellationToken::new());
    let (says, held) = (said.clone(), go.clone());
    let answers = move |target: &str, head: &str| match says.is_cancelled() {
        true => Reply {
            wait: head.contains("x=held").then(|| held.clone()),
            ..media(target, PUBLIC, "all")
        },
        false => media(target, "", "own"),
    };
    let origin = Packager::join(&house, "one", answers).await;
    get(&house, "/live/a-1.ts", "").await;
    said.cancel();
    // The next of its kind shows it.
    get(&house, "/live/a-2.ts", "").await;
    let target = "/live/a-3.ts?x=held";
    let got = at_once(&house, &origin, &go, target, ["", ""]).await;
    assert_eq!([got[0].0, got[1].0], [200, 200]);
    assert_eq!(origin.count(target), 1);
}

#[tokio::test]
async fn a_report_makes_no_difference_and_its_links_are_undone() {
    let house = patient("cache_megabytes = 16\n").await;
    let origin = Packager::join(&house, "one", |target: &str, _: &str| {
        media(target, PUBLIC, "all")
    })
    .await;
    let (_, playlist) = get(&house, "/live/a.m3u8", "").await;
    let segment = playlist
        .lines()
        .find(|line| !line.starts_with('#'))
        .expect("a segment");
    let (path, link) = segment.split_once('?').expect("with a link");
    assert!(link.starts_with("spbhid="), "{segment}");
    let next = format!("{path}%3F{}", link.replace('=', "%3D"));
    let twice = format!("nor%3D%22{}%22", next.replace('%', "%25"));
    get(&house, &format!("/live/{segment}&CMCD={twice}"), "").await;
    get(&house, &format!("/live/{segment}&CMCD=sid%3D%22b%22"), "").await;
    get(
        &house,
        &format!("/live/{segment}"),
        &format!("CMCD-Request: nor=\"{next}\"\r\n"),
    )
    .await;
    let asked: Vec<String> = origin
        .targets()
        .into_iter()
        .filter(|t| t.contains("a-1.ts"))
        .collect();
    assert_eq!(
        asked,
        ["/live/a-1.ts?CMCD=nor%3D%22a-1.ts%22"],
        "one for all three"
    );
    // By a header that the origin does see.
    let own = format!("CMCD-Request: nor=\"{next}\",su\r\nCookie: a=b\r\n");
    get(&house, &format!("/live/{segment}"), &own).await;
    let seen = origin.heads("/live/a-1.ts").remove(0);
    assert_eq!(
        header(&seen, "cmcd-request"),
        ["nor=\"a-1.ts\",su"],
        "{seen}"
    );
}

#[tokio::test]
async fn a_playlist_that_makes_a_session_is_never_shared() {
    for (setting, headers) in [
        ("share = \"all\"\n", ""),
        ("share = \"all\"\ncache_megabytes = 16\n", ""),
        ("cache_megabytes = 16\n", PUBLIC),
    ] {
        let house = patient(setting).await;
        let sessions = AtomicUsize::new(0);
        let packs = move |target: &str, _: &str| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let lines = match (path, query) {
                ("/live/a.m3u8", "") => {
                    let session = sessions.fetch_add(1, Ordering::Relaxed);
                    format!("#EXT-X-STREAM-INF:BANDWIDTH=1\n/live/a.m3u8?hls_ctx=v{session}\n")
                }
                _ => format!("#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-1.ts?{query}\n"),
            };
            Reply::ok(headers, format!("#EXTM3U\n{lines}"))
        };
        let origin = Packager::join(&house, "one", packs).await;
        let mut viewers = JoinSet::new();
        for _ in 0..20 {
            let at = house.at.http;
            let request = "GET /live/a.m3u8 HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n";
            viewers.spawn(async move { talk(at, request).await.1 });
        }
        let mut masters = BTreeSet::new();
        while let Some(master) = viewers.join_next().await {
            masters.insert(master.expect("a playlist"));
        }
        assert_eq!(masters.len(), 20, "{setting}");
        assert_eq!(origin.count("/live/a.m3u8"), 20);
    }
}

#[tokio::test]
async fn everything_is_shared_where_the_operator_says_so_and_nothing_where_not() {
    let rows = [
        ("all, in general", "share = \"all\"\n", "", 1),
        (
            "all, by rule",
            "share_rules = [\"app=live share=all\"]\n",
            "",
            1,
        ),
        (
            "another's rule",
            "share_rules = [\"app=vod share=all\"]\n",
            "",
            2,
        ),
        (
            "the first rule",
            "share_rules = [\"stream=a share=said\", \"share=all\"]\n",
            "",
            2,
        ),
        ("off, in general", "share = \"off\"\n", PUBLIC, 2),
        (
            "off, by rule",
            "share_rules = [\"stream=a share=off\"]\n",
            PUBLIC,
            2,
        ),
        (
            "all, but private",
            "share = \"all\"\n",
            "Cache-Control: private\r\n",
            2,
        ),
        (
            "all, but a cookie",
            "share = \"all\"\n",
            "Set-Cookie: a=b\r\n",
            2,
        ),
        (
            "all, and no-store",
            "share = \"all\"\n",
            "Cache-Control: no-store\r\n",
            1,
        ),
    ];
    for (cause, setting, headers, asked) in rows {
        for target in KINDS {
            let house = patient(setting).await;
            let go = CancellationToken::new();
            let held = go.clone();
            let answers = move |target: &str, _: &str| Reply {
                wait: Some(held.clone()),
                ..media(target, headers, "x")
            };
            let origin = Packager::join(&house, "one", answers).await;
            let got = at_once(&house, &origin, &go, target, ["", ""]).await;
            assert_eq!([got[0].0, got[1].0], [200, 200]);
            assert_eq!(origin.count(target), asked, "{cause}: {target}");
        }
    }
}

/// Its links would lead nowhere, and whose it is cannot be seen.
#[tokio::test]
async fn a_playlist_that_cannot_be_unpacked_goes_to_nobody() {
    for coding in ["br", "gzip, gzip", "gzip"] {
        let house = House::open("[http]\nshare = \"all\"\ncache_megabytes = 16\n").await;
        let headers = format!("Content-Encoding: {coding}\r\n{PUBLIC}");
        let packed = move |_: &str, _: &str| Reply::ok(&headers, "packed");
        let origin = Packager::join(&house, "one", packed).await;
        for _ in 0..2 {
            let (status, words) = get(&house, "/live/a.m3u8", "").await;
            assert_eq!(status, 502, "{coding}: {words}");
            assert!(words.contains("coding"), "{coding}: {words}");
        }
        assert_eq!(origin.count("/live/a.m3u8"), 2);
    }
}

#[tokio::test]
async fn metrics_say_why_an_answer_went_to_nobody_else() {
    let house = House::open("[http]\nshare_rules = [\"stream=o share=off\"]\n").await;
    let answers = |target: &str, _: &str| match target {
        "/live/a.m3u8" => Reply::ok(PUBLIC, "#EXTM3U\nb.m3u8?session=1\n"),
        "/live/none.m3u8" => Reply::missing(),
        _ => media(target, "", "x"),
    };
    let _origin = Packager::join(&house, "one", answers).await;
    get(&house, "/live/a.m3u8", "").await;
    get(&house, "/live/none.m3u8", "").await;
    get(&house, "/live/a-1.ts", "").await;
    get(&house, "/live/a-2.ts", "Cookie: a=b\r\n").await;
    get(&house, "/live/o-1.ts", "").await;
    let metrics = house.proxy.metrics().render();
    for labels in [
        "kind=\"playlist\",reason=\"personal\"",
        "kind=\"playlist\",reason=\"refused\"",
        "kind=\"segment\",reason=\"answer\"",
        "kind=\"segment\",reason=\"request\"",
        "kind=\"segment\",reason=\"off\"",
    ] {
        let line = format!("sluicegate_unshared_total{{{labels}}} 1\n");
        assert!(metrics.contains(&line), "{line}");
    }
}

/// An origin may hold its answer back for half a minute, and a player that zaps asks it for something else meanwhile.
#[tokio::test]
async fn an_origin_is_let_go_when_the_last_player_has_left_that_waits_for_it() {
    let targets = [KINDS.as_slice(), &["/live/a.m3u8?_HLS_msn=7"]].concat();
    for cache in ["", "cache_megabytes = 8\n"] {
        for (target, way) in targets
            .iter()
            .flat_map(|target| WAYS.map(|way| (target, way)))
        {
            let house = patient(cache).await;
            let origin = HttpOrigin::join(&house, "one", vec![Step::Hold]).await;
            let first = Viewer::pull(house.at.http, way, target).await;
            let asked = || origin.visits().iter().any(|visit| !visit.head.is_empty());
            until("the request", asked).await;
            let second = Viewer::pull(house.at.http, way, target).await;
            let kind = ["playlist", "manifest", "segment"];
            let waits = || {
                let labels = kind.map(|kind| KindLabel { kind });
                let coalesced = &house.proxy.metrics().coalesced;
                labels
                    .iter()
                    .any(|label| coalesced.get_or_create(label).get() > 0)
            };
            until("one who waits for the same", waits).await;
            let closed = || {
                origin
                    .visits()
                    .iter()
                    .any(|visit| !visit.head.is_empty() && visit.closed)
            };
            drop(first);
            // Longer than it takes to see that a client has left.
            sleep(Duration::from_millis(150)).await;
            assert!(!closed(), "{target}: one is left");
            drop(second);
            until("the end of the origin side", closed).await;
        }
    }
}

/// The same where the answer has begun and does not go on.
#[tokio::test]
async fn an_answer_that_stalls_is_let_go_when_nobody_reads_it() {
    let house = patient("").await;
    let start = format!("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n{PUBLIC}\r\nmed");
    let origin = HttpOrigin::join(&house, "one", vec![say(start), Step::Hold]).await;
    for (number, way) in WAYS.into_iter().enumerate() {
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a-1.ts").await;
        viewer.head().await;
        drop(viewer);
        let closed = || origin.visits().iter().filter(|visit| visit.closed).count() > number;
        until("the end of the origin side", closed).await;
    }
}
