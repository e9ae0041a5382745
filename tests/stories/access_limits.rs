//! Limits: how many may publish and watch at once, how often they may come, and how they are judged again.

use std::path::Path;

use sluicegate_core::access::keys::line;
use sluicegate_core::stream::Action;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::access_hooks::{Backend, Manners};
use crate::house::{House, Manner, Stub, get, talk, until, until_told};
use crate::http_origin::{Viewer, header};
use crate::http_pieces::{Packager, Reply};
use crate::sources::open;

async fn limited(lists: &str) -> (House, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let house = open(&folder.path().join("sluicegate.toml"), lists).await;
    (house, folder)
}

/// A check of the keys `key-of-one` and `key-of-two`.
fn keys() -> String {
    let keys = ["one", "two"].map(|name| line(name, b"salt", &format!("key-of-{name}")));
    format!("[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = {keys:?}\n")
}

fn rewrite(folder: &TempDir, lists: &str) {
    let file: &Path = &folder.path().join("sluicegate.toml");
    let other = file.with_extension("new");
    std::fs::write(&other, lists).expect("a file");
    std::fs::rename(&other, file).expect("a file");
}

#[tokio::test]
async fn a_place_that_is_taken_is_free_again_when_its_holder_leaves() {
    let (house, _folder) =
        limited("[[limit]]\nper = \"stream\"\nviewers = 2\npublishers = 1\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let one = house.ask(Action::Play, "live/a").await;
    let two = house.ask(Action::Play, "live/a").await;
    assert!(one.has_started() && two.has_started());
    let dialled = origin.connections();
    let three = house.ask(Action::Play, "live/a").await;
    assert_eq!(three.code(), "NetStream.Play.Failed");
    assert!(
        three.words().contains("too many viewers"),
        "{}",
        three.words()
    );
    assert_eq!(get(house.at.http, "/live/a.flv").await.0, 429);
    assert_eq!(origin.connections(), dialled, "a refusal dials nobody");
    let elsewhere = house.ask(Action::Play, "live/b").await;
    assert!(elsewhere.has_started(), "another stream has its own places");
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "publishers are no viewers");
    drop(one);
    house.until_sessions(3).await;
    let three = house.ask(Action::Play, "live/a").await;
    assert!(three.has_started(), "{}", three.code());
}

#[tokio::test]
async fn who_is_told_to_come_again_hears_one_time() {
    let lists = keys()
        + "[[access]]\nall = [\"keys\"]\n[[limit]]\nper = \"address\"\nfailures_per_minute = 1\n";
    let (house, _folder) = limited(&lists).await;
    assert_eq!(get(house.at.http, "/live/a.flv?key=wrong").await.0, 401);
    for target in ["/live/a.flv", "/live/a.m3u8"] {
        let request =
            format!("GET {target}?key=wrong HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let mut viewer = Viewer::send(house.at.http, &request).await;
        let head = viewer.head().await;
        let words = String::from_utf8(viewer.rest().await).expect("words");
        assert!(head.starts_with("HTTP/1.1 429 "), "{target}: {head}");
        let told = header(&head, "retry-after");
        let words = words.trim_end();
        assert!(
            words.ends_with(&format!("try again in {} s", told[0])),
            "{target}: {words} {told:?}"
        );
        assert!(
            told[0] != "2",
            "{target}: a minute's limit takes longer than usual"
        );
    }
}

#[tokio::test]
async fn limits_are_taken_anew_and_count_who_is_there() {
    let (house, folder) = limited("[[limit]]\nper = \"app\"\nsessions = 9\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let one = house.ask(Action::Play, "live/a").await;
    assert!(one.has_started());
    rewrite(&folder, "[[limit]]\nper = \"address\"\nviewers = 1\n");
    let refused = async || !house.ask(Action::Play, "live/a").await.has_started();
    until_told("the new limit holds", refused).await;
    assert!(
        !one.code().is_empty() && house.proxy.sessions().len() == 1,
        "nobody is cut"
    );
    drop(one);
    house.until_sessions(0).await;
    assert!(house.ask(Action::Play, "live/a").await.has_started());
}

#[tokio::test]
async fn who_guesses_too_often_is_not_asked_any_more() {
    let lists = keys()
        + "[[access]]\nall = [\"keys\"]\n[[limit]]\nper = \"address\"\nfailures_per_minute = 3\n";
    let (house, _folder) = limited(&lists).await;
    for _ in 0..3 {
        assert_eq!(get(house.at.http, "/live/a.flv?key=wrong").await.0, 401);
    }
    assert_eq!(
        get(house.at.http, "/live/a.flv?key=key-of-one").await.0,
        429,
        "even where it is right at last"
    );
}

/// A live playlist and its piece.
fn live(target: &str, _: &str) -> Reply {
    match target.split('?').next().unwrap_or_default() {
        "/live/a.m3u8" => Reply::ok(
            "Content-Type: application/vnd.apple.mpegurl\r\nCache-Control: max-age=60\r\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-0.ts\n",
        ),
        "/live/a-0.ts" => Reply::ok("", "piece"),
        _ => Reply::missing(),
    }
}

fn listed(playlist: &str) -> String {
    let line = playlist.lines().find(|line| !line.starts_with('#'));
    format!("/live/{}", line.expect("a URI"))
}

#[tokio::test]
async fn viewings_of_hls_are_counted_and_not_requests() {
    let lists = keys() + "[[access]]\nall = [\"keys\"]\n[[limit]]\nper = \"viewer\"\nviewers = 1\n";
    let (house, _folder) = limited(&lists).await;
    let _origin = Packager::join(&house, "origin", live).await;
    let first = |key: &str| format!("/live/a.m3u8?key={key}");
    let (status, master) = get(house.at.http, &first("key-of-one")).await;
    assert_eq!(status, 200, "{master}");
    let variant = listed(&master);
    for _ in 0..5 {
        let (status, media) = get(house.at.http, &variant).await;
        assert_eq!(status, 200, "a reload is the same viewing: {media}");
        assert_eq!(get(house.at.http, &listed(&media)).await.0, 200);
    }
    let second = get(house.at.http, &first("key-of-one")).await;
    assert_eq!(second.0, 429, "{}", second.1);
    assert_eq!(get(house.at.http, &first("key-of-two")).await.0, 200);
}

#[tokio::test]
async fn a_viewing_begins_with_a_playlist_and_not_with_the_wait_for_one() {
    let lists =
        keys() + "[[access]]\nall = [\"keys\"]\n[[limit]]\nper = \"viewer\"\nsessions = 2\n";
    let (house, _folder) = limited(&lists).await;
    let origin = Packager::join(&house, "origin", |target, head| {
        let held = || Reply {
            wait: Some(CancellationToken::new()),
            ..Reply::ok("", "")
        };
        match target.starts_with("/live/held") {
            true => held(),
            false => live(target, head),
        }
    })
    .await;
    let at = house.at.http;
    let ask = async |method: &str, name: &str| {
        let head = format!(
            "{method} /live/{name}?key=key-of-one HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"
        );
        talk(at, &head).await.0
    };
    for _ in 0..4 {
        assert_eq!(ask("GET", "missing.m3u8").await, 404, "it may try again");
        assert_eq!(ask("GET", "missing.mpd").await, 404, "it may try again");
        assert_eq!(ask("HEAD", "a.m3u8").await, 200, "no link came with it");
    }
    for name in ["b", "c", "d"] {
        let held = format!("/live/held-{name}.m3u8?key=key-of-one");
        let request = format!("GET {held} HTTP/1.1\r\nHost: h.example\r\n\r\n");
        let waiting = Viewer::send(at, request).await;
        until("its origin is asked", || origin.count(&held) == 1).await;
        drop(waiting);
        // Its place is free as soon as it is seen to have left.
        until_told("there is room", async || {
            ask("GET", "missing.m3u8").await == 404
        })
        .await;
    }
    assert_eq!(ask("GET", "a.m3u8").await, 200);
    assert_eq!(ask("GET", "a.m3u8").await, 200);
    assert_eq!(ask("GET", "a.m3u8").await, 429, "both places are taken");
    assert_eq!(ask("GET", "missing.m3u8").await, 429);
}

#[tokio::test]
async fn a_player_that_waits_for_its_stream_begins_once() {
    let lists =
        keys() + "[[access]]\nall = [\"keys\"]\n[[limit]]\nper = \"address\"\nnew_per_second = 1\n";
    let (house, _folder) = limited(&lists).await;
    let _origin = Packager::join(&house, "origin", live).await;
    for _ in 0..20 {
        let waits = get(house.at.http, "/live/missing.m3u8?key=key-of-one").await;
        assert_eq!(waits.0, 404, "it is told to come later: {}", waits.1);
    }
    let (status, words) = get(house.at.http, "/live/a.m3u8?key=key-of-one").await;
    assert_eq!(status, 200, "{words}");
}

#[tokio::test]
async fn who_is_judged_again_and_may_not_any_more_is_ended() {
    let rule = "[[access]]\nall = [\"keys\"]\nrecheck = 5\n";
    let (house, folder) = limited(&(keys() + rule)).await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let mut one = house.ask(Action::Publish, "live/a?key=key-of-one").await;
    let two = house.ask(Action::Publish, "live/b?key=key-of-two").await;
    assert!(one.has_started() && two.has_started());
    let only_two = line("two", b"salt", "key-of-two");
    let check = format!("[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{only_two}\"]\n");
    rewrite(&folder, &(check + rule));
    one.wait_for_end().await;
    until("its row is gone", || house.proxy.sessions().len() == 1).await;
    let text = house.proxy.metrics().render();
    let ended = "sluicegate_sessions_ended_total{protocol=\"rtmp\",action=\"publish\",reason=\"access_revoked\"} 1";
    assert!(text.contains(ended), "{text}");
    assert_eq!(
        two.code(),
        "NetStream.Publish.Start",
        "those who still may go on"
    );
}

#[tokio::test]
async fn a_viewing_is_judged_again_at_its_playlist() {
    let rule = "[[access]]\nall = [\"keys\"]\nrecheck = 5\n";
    let (house, folder) = limited(&(keys() + rule)).await;
    let _origin = Packager::join(&house, "origin", live).await;
    let (_, master) = get(house.at.http, "/live/a.m3u8?key=key-of-one").await;
    let variant = listed(&master);
    assert_eq!(get(house.at.http, &variant).await.0, 200);
    rewrite(&folder, "[[access]]\ndecide = \"deny\"\nrecheck = 5\n");
    let over = async || get(house.at.http, &variant).await.0 == 403;
    until_told("the link is judged again", over).await;
}

#[tokio::test]
async fn a_viewing_gets_links_that_count_whatever_its_browser_has() {
    let (house, _folder) = limited(&(keys() + "[[access]]\nall = [\"keys\"]\n")).await;
    let _origin = Packager::join(&house, "origin", |target, head| {
        let asks_for_news = head.to_ascii_lowercase().contains("\r\nif-");
        match target.split('?').next() {
            Some("/live/a.m3u8") if asks_for_news => {
                Reply::with("304 Not Modified", "ETag: \"1\"\r\n", "")
            }
            _ => live(target, head),
        }
    })
    .await;
    let at = house.at.http;
    let ask = async |target: &str, condition: &str| {
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {at}\r\n{condition}\r\nConnection: close\r\n\r\n"
        );
        talk(at, &head).await
    };
    for condition in [
        "If-None-Match: W/\"1\"",
        "If-Modified-Since: Sun, 29 Nov 2026 00:00:00 GMT",
    ] {
        let (status, master) = ask("/live/a.m3u8?key=key-of-one", condition).await;
        assert_eq!(status, 200, "{condition}");
        let (status, media) = get(at, &listed(&master)).await;
        assert_eq!(status, 200, "{media}");
        // The links to its pieces are over before the viewing is.
        let (status, _) = ask(&listed(&master), condition).await;
        assert_eq!(status, 200, "{condition}");
    }
}

#[tokio::test]
async fn a_viewing_goes_on_by_what_it_began_with_while_that_counts() {
    let backend = Backend::start(Manners::answers(200, r#"{"allow":true}"#)).await;
    let ask = format!(
        "[[check]]\nname = \"backend\"\nkind = \"hook\"\nshape = \"sluicegate\"\non_play = \"http://{}/play\"\n",
        backend.at
    );
    let rule = "[[access]]\nall = [\"keys\", \"backend\"]\nrecheck = 5\n";
    let shared = "[cluster]\nkey = \"k\"\n".to_owned();
    let (house, folder) = limited(&(shared.clone() + &keys() + &ask + rule)).await;
    let (other, other_folder) = limited(&(shared + &keys() + &ask + rule)).await;
    let _origin = Packager::join(&house, "origin", live).await;
    let _same = Packager::join(&other, "origin", live).await;
    let (status, master) = get(house.at.http, "/live/a.m3u8?key=key-of-one").await;
    assert_eq!(status, 200, "{master}");
    let variant = listed(&master);
    assert!(
        !variant.contains("key"),
        "no key is for all to see: {variant}"
    );
    // Its player shows nothing but the link, and each proxy asks the backend about the query that it began with.
    for (house, times) in [(&house, 3), (&other, 4)] {
        until_told("it is judged again", async || {
            let (status, media) = get(house.at.http, &variant).await;
            assert_eq!(status, 200, "it goes on: {media}");
            assert_eq!(get(house.at.http, &listed(&media)).await.0, 200);
            backend.told("/play").len() >= times
        })
        .await;
    }
    let asked = backend.told("/play");
    let same = asked.iter().all(|asked| asked["query"] == "key=key-of-one");
    assert!(same, "{asked:?}");
    let only_two = line("two", b"salt", "key-of-two");
    let check = format!("[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{only_two}\"]\n");
    for (house, folder) in [(&house, &folder), (&other, &other_folder)] {
        rewrite(folder, &(check.clone() + &ask + rule));
        let over = async || get(house.at.http, &variant).await.0 == 401;
        until_told("its key is taken back", over).await;
    }
}
