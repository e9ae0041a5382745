//! A stream published over SRT is played over RTMP, HLS and HTTP-FLV, from the origin that remuxes it: one name leads
//! all clients there.

use std::time::Duration;

use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Player, Proxy, Publisher, Remuxing, http, machine, wait_for,
};

#[test]
fn players_by_rtmp_and_hls_meet_a_stream_published_by_srt() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let servers = ["origin1", "origin2"].map(NginxRtmp::packaging);
    let origins = servers.map(|server| Remuxing::start(&proxy, server));
    let (home, _publisher) = published(&proxy, origins);
    let playlist = home.server().http().expect("it packages");
    wait_for("it is packaged", Duration::from_secs(40), || {
        let playlist = http::request(playlist, "GET", "/live/a.m3u8", &[], "");
        (playlist.text().matches("#EXTINF").count() >= 3).then_some(())
    });
    for url in [
        proxy.rtmp_url("live/a"),
        format!("http://{}/live/a.m3u8", proxy.http),
        proxy.srt_play("live/a"),
    ] {
        Player::frames(&url, 50);
    }
}

#[test]
fn players_by_rtmp_and_http_flv_meet_a_stream_published_by_srt() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let servers = ["origin1", "origin2"].map(NodeMediaServer::start);
    let origins = servers.map(|server| Remuxing::start(&proxy, server));
    let (_home, _publisher) = published(&proxy, origins);
    for url in [
        proxy.flv_url("live/a"),
        proxy.rtmp_url("live/a"),
        proxy.srt_play("live/a"),
    ] {
        Player::frames(&url, 50);
    }
}

/// Publishes `live/a` over SRT, and returns the origin that got it once it remuxes. The other origins keep running with
/// nothing to play: a player that is led there decodes nothing.
fn published<O: Origin>(
    proxy: &Proxy,
    origins: [Remuxing<O>; 2],
) -> (Remuxing<O>, (Publisher, Remuxing<O>)) {
    let publisher = Publisher::srt(&proxy.srt_publish("live/a")).start();
    publisher.wait_frames(25);
    let [first, second] = origins;
    let (mut home, other) = if first.takes("live/a") {
        (first, second)
    } else {
        (second, first)
    };
    home.remux("live/a");
    assert_eq!(
        proxy.origin_of("live/a").as_deref(),
        Some(home.server().name())
    );
    (home, (publisher, other))
}
