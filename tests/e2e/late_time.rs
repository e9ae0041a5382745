//! A stream that has run longer than three bytes of milliseconds can count: 4 h 39 min 37 s.

use std::time::Duration;

use crate::support::{NginxRtmp, NodeMediaServer, Player, Proxy, Publisher, Registrar, machine};

#[test]
fn rtmp_carries_times_beyond_three_bytes() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("old");
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    plays_across(&proxy, |proxy| proxy.rtmp_url("live/a"));
}

#[test]
fn flv_carries_times_beyond_three_bytes() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("old");
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    plays_across(&proxy, |proxy| proxy.flv_url("live/a"));
}

fn plays_across(proxy: &Proxy, url: impl Fn(&Proxy) -> String) {
    let publisher = Publisher::encoder(&proxy.rtmp_url("live/a"))
        .from(Duration::from_secs(16_774))
        .start();
    publisher.wait_frames(5);
    let frames = Player::frames(&url(proxy), 125);
    let (first, last) = (frames[0].time, frames[frames.len() - 1].time);
    assert!(
        first < THREE_BYTES && last > THREE_BYTES + 0.1,
        "{first} to {last}"
    );
    let steady = frames
        .windows(2)
        .all(|pair| (0.0..0.2).contains(&(pair[1].time - pair[0].time)));
    assert!(steady, "time does not jump");
    // A later player meets such timestamps from its first byte.
    let later = Player::frames(&url(proxy), 25);
    assert!(later[0].time > THREE_BYTES, "{}", later[0].time);
}

const THREE_BYTES: f64 = 16_777.216;
