//! Players of HLS whose origin is killed, with its packager and its files: they play on when the held encoder has another one.

use std::time::Duration;

use crate::support::{
    NginxRtmp, Origin, Page, Player, Proxy, Publisher, Registrar, http, machine, wait_for,
};

#[test]
fn players_outlive_the_death_of_their_packager() {
    let _turn = machine::share();
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::packaging);
    let proxy = Proxy::start("cluster.key = \"one\"");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    let clip = Publisher::clip(&proxy.rtmp_url("live/a"));
    let mut publisher = clip.gop(25).start();
    let list = || http::request(proxy.http, "GET", "/live/a.m3u8", &[], "").text();
    wait_for("three segments", Duration::from_secs(30), || {
        (list().matches("#EXTINF").count() >= 3).then_some(())
    });
    let url = format!("http://{}/live/a.m3u8", proxy.http);
    let page = Page::hls_until_it_is_fatal(&url);
    let mut player = Player::open(&url);
    let frames = page.wait_frames(75);
    player.wait_frames(75);

    let lost = proxy.origin_of("live/a").expect("it is placed");
    for origin in origins.iter_mut().filter(|origin| origin.name() == lost) {
        origin.kill();
    }
    let record = proxy.wait_log("the playlist goes on", |record| {
        record["from"] == lost.as_str()
    });
    assert_ne!(record["to"], lost.as_str(), "{record}");
    let discontinuities = wait_for("the new segments listed", Duration::from_secs(30), || {
        let list = list();
        let (_, new) = list.rsplit_once("#EXT-X-GAP")?;
        new.contains("#EXT-X-DISCONTINUITY\n")
            .then(|| gone_by_and_listed(&list))
    });
    player.wait_more(150);
    let frames = page.wait_frames(frames + 150);
    // The old segments have left the playlist by now, and with them the discontinuity, which is counted.
    wait_for("the new segments alone", Duration::from_secs(30), || {
        let list = list();
        let alone = !list.contains("#EXT-X-GAP") && !list.contains("#EXT-X-DISCONTINUITY\n");
        alone.then(|| assert_eq!(gone_by_and_listed(&list), discontinuities, "{list}"))
    });
    player.wait_more(50);
    page.wait_frames(frames + 50);
    assert!(player.is_running() && publisher.is_running());
}

/// How many discontinuities a playlist counts, and how many it lists.
fn gone_by_and_listed(list: &str) -> usize {
    let counted = list
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-DISCONTINUITY-SEQUENCE:"));
    let counted: usize = counted.map_or(0, |counted| counted.parse().expect("a number"));
    counted + list.matches("#EXT-X-DISCONTINUITY\n").count()
}
