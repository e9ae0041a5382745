//! ffmpeg and srt-live-transmit as origins: they listen, and the proxy calls. They also call, as publisher and player.

use crate::support::srt::register;
use crate::support::srt_live_transmit::{SrtLiveTransmit, listener_url, wait_bound};
use crate::support::{Player, Proxy, Publisher, machine};

#[test]
fn ffmpeg_listens_as_the_origin_of_a_publisher() {
    let _turn = machine::share();
    let port = machine::free_port();
    let origin = Player::open(&listener_url(port));
    let proxy = before(port);
    let _publisher = Publisher::srt(&proxy.srt_publish("live/a")).start();
    origin.wait_frames(50);
}

#[test]
fn ffmpeg_listens_as_the_origin_of_a_player() {
    let _turn = machine::share();
    let port = machine::free_port();
    let _origin = Publisher::srt(&listener_url(port)).start();
    let proxy = before(port);
    Player::frames(&proxy.srt_play("live/a"), 50);
}

#[test]
fn srt_live_transmit_publishes_to_srt_live_transmit() {
    let _turn = machine::share();
    let [port, given, taken] = std::array::from_fn(|_| machine::free_port());
    let out = udp(taken);
    let _origin = SrtLiveTransmit::start(&listener_url(port), &out);
    let proxy = before(port);
    let decoded = Player::open(&out);
    let _caller = SrtLiveTransmit::start(&udp(given), &proxy.srt_publish("live/a"));
    let _encoder = Publisher::srt(&packets(given)).start();
    decoded.wait_frames(50);
}

#[test]
fn srt_live_transmit_plays_from_srt_live_transmit() {
    let _turn = machine::share();
    let [port, given, taken] = std::array::from_fn(|_| machine::free_port());
    let _origin = SrtLiveTransmit::start(&udp(given), &listener_url(port));
    let proxy = before(port);
    let out = udp(taken);
    let decoded = Player::open(&out);
    let _encoder = Publisher::srt(&packets(given)).start();
    let _caller = SrtLiveTransmit::start(&proxy.srt_play("live/a"), &out);
    decoded.wait_frames(50);
}

/// A proxy whose only origin listens on `port`.
fn before(port: u16) -> Proxy {
    wait_bound(port);
    let proxy = Proxy::start("");
    register(&proxy, "listener", port);
    proxy
}

fn udp(port: u16) -> String {
    format!("udp://127.0.0.1:{port}")
}

/// The same, in packets that fit into one SRT packet.
fn packets(port: u16) -> String {
    format!("{}?pkt_size=1316", udp(port))
}
