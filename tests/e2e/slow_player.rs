//! A player that stops reading affects nobody else.

use std::time::Duration;

use crate::support::{
    NginxRtmp, NodeMediaServer, Player, Proxy, Publisher, Registrar, Relay, machine,
};

#[test]
fn an_rtmp_player_that_stops_reading_is_let_go_and_disturbs_nobody() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("fat");
    let proxy = Proxy::start("session.write_stall = \"4s\"");
    let _registrar = Registrar::start(&proxy, &origin);
    let slow = Relay::narrow(proxy.rtmp);
    stall(
        &proxy,
        &slow,
        &format!("rtmp://{}/live/a", slow.address()),
        &proxy.rtmp_url("live/a"),
    );
}

#[test]
fn a_flv_viewer_that_stops_reading_is_let_go_and_disturbs_nobody() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("fat");
    let proxy = Proxy::start("session.write_stall = \"4s\"");
    let _registrar = Registrar::start(&proxy, &origin);
    let slow = Relay::narrow(proxy.http);
    stall(
        &proxy,
        &slow,
        &format!("http://{}/live/a.flv", slow.address()),
        &proxy.flv_url("live/a"),
    );
}

fn stall(proxy: &Proxy, slow: &Relay, slow_url: &str, good_url: &str) {
    // Enough to fill in two seconds what the kernel buffers for a connection, 4 MB.
    let mut publisher = Publisher::encoder(&proxy.rtmp_url("live/a"))
        .bitrate("16M")
        .start();
    publisher.wait_frames(5);
    let good = Player::open(good_url);
    good.wait_frames(25);
    let stuck = Player::open(slow_url);
    stuck.wait_frames(5);
    slow.swallow();

    let ended = proxy.wait_log("session ended", |record| record["reason"] == "stalled");
    assert_eq!(ended["action"], "play");
    let frames = good.wait_more(25);
    let gap = frames
        .windows(2)
        .map(|pair| pair[1].at - pair[0].at)
        .max()
        .expect("many frames");
    // If one player had to wait for the other, it would wait as long as that one may stall.
    assert!(
        gap < Duration::from_secs(3),
        "the other player waited {gap:?} for a frame"
    );
    assert!(publisher.is_running());
}
