//! Players come before their publisher: they decide where the stream will be.

use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Player, Proxy, Publisher, Registrar, machine,
};

#[test]
fn a_publisher_is_led_to_where_its_rtmp_player_waits() {
    let _turn = machine::share();
    let origins = ["origin1", "origin2", "origin3"].map(NginxRtmp::start);
    let proxy = Proxy::start(IMPATIENT);
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    meets(&proxy, &proxy.rtmp_url("live/a"), "rtmp");
    let held = origins.iter().find(|origin| origin.was_published("live/a"));
    let held = held.map(|origin| origin.name().to_owned());
    assert_eq!(proxy.origin_of("live/a"), held);
}

#[test]
fn a_publisher_is_led_to_where_its_flv_viewer_waits() {
    let _turn = machine::share();
    let origins = ["origin1", "origin2"].map(NodeMediaServer::start);
    let proxy = Proxy::start(IMPATIENT);
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    meets(&proxy, &proxy.flv_url("live/a"), "http_flv");
}

fn meets(proxy: &Proxy, url: &str, protocol: &str) {
    let player = Player::open(url);
    // node-media-server sends the nine bytes that start every FLV file at once; these are not media yet.
    let row = proxy.wait_session("the player waits for longer than a pause may be", |row| {
        row["age_seconds"].as_f64() > Some(6.0)
    });
    assert_eq!(
        (&row["protocol"], &row["state"]),
        (&protocol.into(), &"waiting".into()),
        "{row}"
    );
    let _publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    player.wait_frames(50);
    let publisher = proxy.wait_session("the publisher", |row| row["action"] == "publish");
    assert_eq!(publisher["origin"], row["origin"]);
}

/// A stream that has begun may pause for five seconds; one that has not is waited for ten minutes, the default.
const IMPATIENT: &str = "session.player_idle = \"5s\"";
