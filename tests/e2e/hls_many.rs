//! A thousand players of one stream cost its origin one fetch per segment.

use std::collections::BTreeMap;
use std::thread;

use crate::support::{Origin, Proxy, Tree, http, machine};

#[test]
fn a_thousand_players_are_one_to_the_origin() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    // nginx says nothing of who its files are for.
    let proxy = Proxy::start("http.cache_megabytes = 64\nhttp.share = \"all\"");
    proxy.register(&tree.registration());
    thread::scope(|threads| {
        for _ in 0..ABREAST {
            threads.spawn(|| (0..PLAYERS / ABREAST).for_each(|_| play(&proxy)));
        }
    });
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for target in tree.asked() {
        *asked.entry(target).or_default() += 1;
    }
    let segments = asked.iter().filter(|(target, _)| target.ends_with(".ts"));
    for (segment, count) in segments.clone() {
        assert_eq!(*count, 1, "{segment}");
    }
    assert!(segments.count() >= 3, "{asked:?}");
    let playlists = asked["GET /live/full.m3u8"];
    assert!(
        playlists < PLAYERS / 5,
        "{playlists} fetches of the playlist"
    );
}

/// Fetches a playlist, and the last segments that it lists.
fn play(proxy: &Proxy) {
    let playlist = http::request(proxy.http, "GET", "/live/full.m3u8", &[], "");
    assert_eq!(playlist.status, 200, "{}", playlist.text());
    let text = playlist.text();
    let segments: Vec<&str> = text.lines().filter(|line| line.starts_with('/')).collect();
    for segment in segments.iter().rev().take(3) {
        let response = http::request(proxy.http, "GET", segment, &[], "");
        assert_eq!(response.status, 200, "{segment}: {}", response.text());
        assert_eq!(response.body.len() % 188, 0, "{segment}");
    }
}

const PLAYERS: usize = 1000;
/// Concurrent players.
const ABREAST: usize = 50;
