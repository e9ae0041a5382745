//! An encoder's connection becomes a hole in the network: no bytes, no FIN. The encoder comes back.

use std::time::{Duration, Instant};

use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Player, Proxy, Publisher, Registrar, Relay, machine,
};

#[test]
fn an_encoder_returns_to_its_stream_on_nginx_rtmp() {
    let _turn = machine::share();
    returns_within_five_seconds(&NginxRtmp::start("nginx"));
}

#[test]
fn an_encoder_returns_to_its_stream_on_node_media_server() {
    let _turn = machine::share();
    returns_within_five_seconds(&NodeMediaServer::start("nms"));
}

fn returns_within_five_seconds(origin: &dyn Origin) {
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, origin);
    let network = Relay::to(proxy.rtmp);
    let mut encoder = Publisher::encoder(&format!("rtmp://{}/live/a", network.address())).start();
    encoder.wait_frames(5);
    let mut player = Player::open(&proxy.rtmp_url("live/a"));
    player.wait_frames(25);

    network.swallow();
    encoder.kill();
    let gone = Instant::now();
    // Encoders try again when they are refused.
    let again = loop {
        let mut again = Publisher::encoder(&proxy.rtmp_url("live/a")).start();
        if again.frames_before_its_end(25) {
            break again;
        }
        assert!(
            gone.elapsed() < STUCK,
            "still refused: {}",
            again.wait_end().errors
        );
    };
    let ended = proxy.wait_log("session ended", |record| record["action"] == "publish");
    assert_eq!(ended["reason"], "replaced", "{ended}");

    // The player goes on, or it is told; it is never left with a frozen picture.
    if player.is_running() {
        player.wait_more(50);
    }
    Player::frames(&proxy.rtmp_url("live/a"), 25);
    // According to the proxy's own account: an encoder takes its time to start.
    drop(again);
    let first = &ended["session"];
    let ended = proxy.wait_log("session ended", |record| {
        record["action"] == "publish" && record["session"] != *first
    });
    let took = Duration::from_millis(ended["setup_ms"].as_u64().expect("it was joined"));
    assert!(took <= ALLOWED, "{ended}");
}

const ALLOWED: Duration = Duration::from_secs(5);
/// Sooner than a publisher that sends nothing would be given up.
const STUCK: Duration = Duration::from_secs(25);
