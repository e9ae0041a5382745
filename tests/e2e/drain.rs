//! When it is asked to stop, the proxy accepts nothing new and lets running sessions go on for a while.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::support::{NginxRtmp, Player, Proxy, Publisher, Registrar, machine, wait_for};

#[test]
fn sessions_play_on_for_the_grace_time_and_nothing_new_is_taken() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("origin");
    let mut proxy = Proxy::start("shutdown.grace = \"8s\"");
    let _registrar = Registrar::start(&proxy, &origin);
    let _publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    let mut player = Player::open(&proxy.rtmp_url("live/a"));
    player.wait_frames(25);
    assert_eq!(proxy.system("GET", "/readyz").status, 200);

    let asked = Instant::now();
    proxy.terminate();
    wait_for("the door closes", PATIENCE, || {
        TcpStream::connect(proxy.rtmp).is_err().then_some(())
    });
    assert_eq!(
        proxy.system("GET", "/readyz").status,
        503,
        "a balancer sees it go"
    );
    player.wait_more(25);
    let status = proxy.wait_end(PATIENCE);
    assert!(status.success(), "{status}");
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(8), "{took:?}");
    player.wait_end();
    assert_eq!(
        proxy
            .log("session ended")
            .iter()
            .filter(|record| record["reason"] == "drained")
            .count(),
        2
    );
}

#[test]
fn it_ends_with_its_last_session() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("origin");
    let mut proxy = Proxy::start("shutdown.grace = \"60s\"");
    let _registrar = Registrar::start(&proxy, &origin);
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    proxy.terminate();
    wait_for("the door closes", PATIENCE, || {
        TcpStream::connect(proxy.rtmp).is_err().then_some(())
    });
    publisher.stop();
    let status = proxy.wait_end(PATIENCE);
    assert!(status.success(), "{status}");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("origin");
    let mut proxy = Proxy::start("shutdown.grace = \"60s\"");
    let _registrar = Registrar::start(&proxy, &origin);
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    proxy.terminate();
    wait_for("the door closes", PATIENCE, || {
        TcpStream::connect(proxy.rtmp).is_err().then_some(())
    });
    proxy.terminate();
    proxy.wait_end(PATIENCE);
}

/// Long before the longest grace is over.
const PATIENCE: Duration = Duration::from_secs(30);
