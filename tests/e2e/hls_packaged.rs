//! HLS as ffmpeg writes it: fragmented MP4 under a master playlist, encrypted segments, and URLs in full.

use crate::support::{Origin, Page, Player, Proxy, Tree, http, machine};

#[test]
fn every_kind_of_playlist_is_played_through_us_alone() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    let proxy = Proxy::start("cluster.key = \"one\"");
    proxy.register(&tree.registration());
    let url = |path: &str| format!("http://{}/live/{path}", proxy.http);
    for playlist in ["fmp4/master.m3u8", "aes.m3u8", "full.m3u8"] {
        Player::frames(&url(playlist), 25);
    }
    Page::hls(&url("fmp4/master.m3u8")).wait_frames(75);
    Page::hls(&url("aes.m3u8")).wait_frames(75);

    // The origin sees its own paths, and players see ours.
    let asked = tree.asked();
    assert!(
        !asked.iter().any(|asked| asked.contains("spbhid")),
        "{asked:?}"
    );
    let playlist = http::request(proxy.http, "GET", "/live/full.m3u8", &[], "").text();
    let origin = tree.http().expect("it serves HTTP").to_string();
    assert!(!playlist.contains(&origin), "{playlist}");
    assert!(playlist.contains("\n/live/full-"), "{playlist}");
}

#[test]
fn a_link_that_was_tampered_with_is_refused_and_a_foreign_one_is_not_looked_at() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    let proxy = Proxy::start("cluster.key = \"one\"");
    let stranger = Proxy::start("cluster.key = \"another\"");
    for proxy in [&proxy, &stranger] {
        proxy.register(&tree.registration());
    }
    let get =
        |proxy: &Proxy, target: &str| http::request(proxy.http, "GET", target, &[], "").status;
    let playlist = http::request(proxy.http, "GET", "/live/aes.m3u8", &[], "").text();
    let segment = playlist.lines().rfind(|line| line.starts_with("aes-"));
    let segment = format!("/live/{}", segment.expect("a segment"));
    let (bare, link) = segment.split_once("?spbhid=").expect("a link");
    let last = if link.ends_with('A') { "B" } else { "A" };
    let forged = format!("{bare}?spbhid={}{last}", &link[..link.len() - 1]);
    #[rustfmt::skip]
    let cases = [
        ("as it was given", &proxy, segment.clone(), 200),
        ("one letter changed", &proxy, forged, 403),
        ("cut short", &proxy, segment[..segment.len() - 9].to_owned(), 403),
        ("of another cluster", &stranger, segment.clone(), 200),
        ("of another kind of proxy", &proxy, format!("{bare}?spbhid=1a2b3c4"), 200),
        ("none", &proxy, bare.to_owned(), 200),
        ("for another path of the same origin", &proxy, format!("/live/nothing.ts?spbhid={link}"), 404),
    ];
    for (cause, proxy, target, expected) in cases {
        assert_eq!(get(proxy, &target), expected, "{cause}");
    }
}
