//! Two proxies that share a key and nothing else, with requests to either of them: no request fails.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{
    Balancer, Dice, NginxRtmp, Origin, Page, Player, Proxy, Publisher, Tree, http, machine,
    wait_for,
};

#[test]
fn requests_sprayed_over_both_find_the_origin() {
    let _turn = machine::share();
    let origins = [NginxRtmp::packaging("one"), NginxRtmp::packaging("two")];
    let proxies = [(); 2].map(|()| Proxy::start("cluster.key = \"shared\""));
    for (proxy, origin) in proxies
        .iter()
        .flat_map(|proxy| origins.iter().map(move |origin| (proxy, origin)))
    {
        proxy.register(&origin.registration());
    }
    // The other proxy learns of no publisher, so that it has only links and paths.
    let publisher = Publisher::clip(&proxies[0].rtmp_url("live/a")).start();
    publisher.wait_frames(25);
    wait_for("a playlist", PATIENCE, || {
        let response = http::request(proxies[0].http, "GET", PLAYLIST, &[], "");
        (response.text().matches(".ts?").count() > 2).then_some(())
    });
    let balancer = Balancer::before(&proxies.each_ref().map(|proxy| proxy.http));
    let url = format!("http://{}{PLAYLIST}", balancer.address);
    let page = Page::hls(&url);
    let player = Player::open(&url);

    let mut dice = Dice::new();
    let mut played = BTreeSet::new();
    let until = Instant::now() + length();
    while Instant::now() < until {
        let get = |dice: &mut Dice, target: &str| {
            let response = http::request(proxies[dice.roll(2)].http, "GET", target, &[], "");
            assert_eq!(response.status, 200, "{target}: {}", response.text());
            response
        };
        let playlist = get(&mut dice, PLAYLIST).text();
        let segments = playlist.lines().filter(|line| !line.starts_with('#'));
        // The oldest segment may disappear while it is requested.
        for segment in segments.skip(2) {
            let (name, _) = segment
                .split_once("?spbhid=")
                .expect("every segment has a link");
            if played.insert(name.to_owned()) {
                let body = get(&mut dice, &format!("/live/{segment}")).body;
                assert_eq!((body.first(), body.len() % 188), (Some(&0x47), 0), "{name}");
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(played.len() as u64 > length().as_secs() / 2, "{played:?}");
    player.wait_more(25);
    page.wait_frames(100);
}

/// A minute in the long version, otherwise a few seconds.
fn length() -> Duration {
    match std::env::var_os("SLUICEGATE_LONG") {
        Some(_) => Duration::from_secs(60),
        None => Duration::from_secs(8),
    }
}

const PLAYLIST: &str = "/live/a.m3u8";
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_link_leads_to_an_origin_that_only_another_proxy_knows() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    let [knows, told] = [(); 2].map(|()| Proxy::start("cluster.key = \"shared\""));
    knows.register(&tree.registration());
    let playlist = http::request(knows.http, "GET", "/live/aes.m3u8", &[], "").text();
    let segment = playlist.lines().rfind(|line| line.starts_with("aes-"));
    let segment = format!("/live/{}", segment.expect("a segment"));
    let get = |target: &str| http::request(told.http, "GET", target, &[], "");
    assert_eq!(get(&segment).status, 200);
    let (bare, _) = segment.split_once('?').expect("a link");
    let without = get(bare);
    assert_ne!(without.status, 200, "nothing else leads there");
}
