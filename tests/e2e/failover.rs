//! New work finds an origin that answers, whatever the others do.

use std::time::Duration;

use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, Registrar, machine, wait_for};

#[test]
fn a_frozen_origin_costs_about_a_second() {
    let _turn = machine::share();
    // A stopped process: its port still accepts connections, and no byte comes back.
    moves_on("session.dial_timeout = \"1s\"", |origin| origin.freeze());
}

#[test]
fn a_dead_origin_costs_nothing() {
    let _turn = machine::share();
    moves_on("session.dial_timeout = \"10s\"", NginxRtmp::kill);
}

fn moves_on(settings: &str, fails: impl Fn(&mut NginxRtmp)) {
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start(settings);
    let registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let held = proxy.origin_of("live/a").expect("it is placed");
    publisher.kill();
    wait_for("its row is gone", Duration::from_secs(40), || {
        proxy.sessions().is_empty().then_some(())
    });

    // The proxy has not been told yet.
    drop(registrars);
    for origin in origins.iter_mut().filter(|origin| origin.name() == held) {
        fails(origin);
    }
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(1);
    let now = proxy.origin_of("live/a").expect("it is placed");
    assert_ne!(now, held, "the claim moved with it");
    Player::frames(&proxy.rtmp_url("live/a"), 25);
    // According to the proxy's own account: an encoder takes its time to start.
    publisher.kill();
    let ended = proxy.wait_log("session ended", |record| {
        record["action"] == "publish" && record["origin"] == now.as_str()
    });
    let took = Duration::from_millis(ended["setup_ms"].as_u64().expect("it was joined"));
    assert!(took <= ALLOWED, "{ended}");
}

/// A second plus what a busy machine adds; less than the timeout for an origin that is only slow.
const ALLOWED: Duration = Duration::from_secs(4);
