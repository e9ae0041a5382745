//! Many viewers of one stream, whose origin has one.

use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Player, Proxy, Publisher, Registrar, machine,
};

#[test]
fn twenty_viewers_of_nginx_share_one_pull() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("origin1");
    let proxy = Proxy::start(OPEN);
    let _registrar = Registrar::rtmp_only(&proxy, &origin);
    watch(&proxy);
    assert_eq!(origin.plays("live/a"), 1, "the origin has one subscriber");
}

#[test]
fn twenty_viewers_of_node_media_server_share_one_pull() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("origin1");
    let proxy = Proxy::start(OPEN);
    let _registrar = Registrar::start(&proxy, &origin as &dyn Origin);
    watch(&proxy);
}

/// Publishes a clip, and lets ten viewers of each protocol decode it, one after the other and from where it is.
fn watch(proxy: &Proxy) {
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let players: Vec<Player> = (0..EACH)
        .flat_map(|_| [proxy.rtmp_url("live/a"), proxy.flv_url("live/a")])
        .map(|url| Player::open(&url))
        .collect();
    for player in &players {
        player.wait_frames(FRAMES);
    }
    let streams = proxy.api("/api/v1/streams");
    let stream = &streams["data"]["streams"][0];
    assert_eq!(stream["players"], 2 * EACH, "{stream}");
    assert_eq!(stream["pulls"], 1, "{stream}");
    let origins = proxy.api("/api/v1/origins");
    assert_eq!(
        origins["data"]["origins"][0]["legs"], 2,
        "a publisher and a pull"
    );
}

const OPEN: &str = "fanout.mode = \"open\"\nfanout.public = true";
const EACH: usize = 10;
const FRAMES: usize = 50;
