//! An origin that dies and comes back as another process is the same origin.

use std::time::Duration;

use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, Registrar, machine, wait_for};

#[test]
fn a_restarted_origin_is_back_within_one_heartbeat() {
    let _turn = machine::share();
    let mut origin = NginxRtmp::start("phoenix");
    let proxy = Proxy::start("");
    let registrar = Registrar::start(&proxy, &origin);
    let before = proxy.wait_origin("phoenix");
    let clip = Publisher::clip(&proxy.rtmp_url("live/a"));
    let mut publisher = clip.gop(25).start();
    publisher.wait_frames(5);

    // The side program goes with its machine, as SRS's heartbeat goes with SRS: both come back as new processes.
    drop(registrar);
    origin.restart();
    let registrar = Registrar::start(&proxy, &origin);
    registrar.wait_taken();
    let after = proxy.wait_origin("phoenix");
    assert_ne!(after["pid"], before["pid"], "the new process stands");
    assert_eq!(
        proxy.origins().len(),
        1,
        "the old process is gone: {:?}",
        proxy.origins()
    );
    assert_eq!(after["id"], before["id"], "its streams stay with it");

    Player::frames(&proxy.rtmp_url("live/a"), 25);
    assert!(publisher.is_running(), "its encoder never noticed");
    assert_eq!(proxy.origin_of("live/a").as_deref(), after["id"].as_str());
}

#[test]
fn an_origin_is_reported_only_while_it_answers() {
    let _turn = machine::share();
    let mut origin = NginxRtmp::start("mortal");
    let proxy = Proxy::start("origins.ttl = \"3s\"");
    let mut registrar = Registrar::start(&proxy, &origin);
    origin.kill();
    wait_for("it is forgotten", Duration::from_secs(30), || {
        proxy.origins().is_empty().then_some(())
    });
    assert!(
        registrar.program().is_running(),
        "the side program waits for it"
    );
    origin.restart();
    proxy.wait_origin(origin.name());
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
}
