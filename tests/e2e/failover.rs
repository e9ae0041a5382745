//! New work finds an origin that answers, whatever the others do.

use std::time::{Duration, Instant};

use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, Registrar, machine, wait_for};

#[test]
fn a_frozen_origin_costs_about_a_second() {
    let _turn = machine::share();
    // A stopped process: its port still accepts, and no byte comes back.
    moves_on(|origin| origin.freeze(), Duration::from_secs(3));
}

#[test]
fn a_dead_origin_costs_nothing() {
    let _turn = machine::share();
    moves_on(NginxRtmp::kill, Duration::from_millis(1500));
}

fn moves_on(fails: impl Fn(&mut NginxRtmp), allowed: Duration) {
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start("");
    let registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let held = proxy.origin_of("live/a").expect("it is placed");
    publisher.kill();
    wait_for("its row is gone", Duration::from_secs(5), || {
        proxy.sessions().is_empty().then_some(())
    });

    // Nobody has told the proxy yet.
    drop(registrars);
    for origin in origins.iter_mut().filter(|origin| origin.name() == held) {
        fails(origin);
    }
    let started = Instant::now();
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(1);
    assert!(started.elapsed() <= allowed, "{:?}", started.elapsed());
    let now = proxy.origin_of("live/a").expect("it is placed");
    assert_ne!(now, held, "the claim moved with it");
    Player::frames(&proxy.rtmp_url("live/a"), 25);
}
