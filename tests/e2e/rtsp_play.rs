//! Players of gst-rtsp-server through the proxy: over TCP and over UDP, with sound, with credentials, and to the end.

use std::time::{Duration, Instant};

use crate::support::rtsp::{RtspServer, gstreamer_plays};
use crate::support::{Player, Proxy, machine};

/// A camera may take a while to start its encoder on a busy machine.
const SETTINGS: &str = "session.setup_timeout = \"20s\"\nrtsp.udp_ports = \"20100-20899\"";

#[test]
fn players_over_tcp_and_udp_see_and_hear_until_the_origin_dies() {
    let _turn = machine::share();
    let mut origin = RtspServer::start("camera", &["--play", "live/cam", "--sound"]);
    let proxy = Proxy::start(SETTINGS);
    let _registrar = origin.register(&proxy);
    let url = proxy.rtsp_url("live/cam");
    let mut players = ["tcp", "udp"].map(|transport| {
        let player = Player::open_with(&url, &["-rtsp_transport", transport]);
        player.wait_frames(50);
        player
    });
    gstreamer_plays(&url, "tcp", 25);
    gstreamer_plays(&url, "udp", 25);
    let sessions = proxy.sessions();
    assert!(sessions.len() >= players.len(), "{sessions:?}");
    for session in &sessions {
        assert_eq!(session["protocol"], "rtsp", "{session}");
        assert_eq!(session["action"], "play", "{session}");
    }
    for (player, protocol) in players.iter().zip(["tcp", "udp"]) {
        let frames = player.wait_more(25);
        assert!(frames.len() >= 75, "{protocol}");
    }

    // No player is left with a frozen picture until silence is noticed.
    origin.kill();
    let died = Instant::now();
    for player in &mut players {
        player.wait_end();
    }
    assert!(
        died.elapsed() < Duration::from_secs(25),
        "{:?}",
        died.elapsed()
    );
    proxy.wait_log("session ended", |record| {
        record["reason"] == "origin_closed"
    });
}

#[test]
fn digest_credentials_reach_the_origin_that_asks_for_them() {
    let _turn = machine::share();
    let arguments = ["--play", "live/cam", "--user", "guard:secret"];
    let origin = RtspServer::start("locked", &arguments);
    let proxy = Proxy::start(SETTINGS);
    let _registrar = origin.register(&proxy);
    let of = |credentials: &str| format!("rtsp://{credentials}@{}/live/cam", proxy.rtsp);
    for transport in ["tcp", "udp"] {
        let options = ["-rtsp_transport", transport];
        Player::open_with(&of("guard:secret"), &options).wait_frames(25);
    }
    let refused = Player::open_with(&of("guard:wrong"), &["-rtsp_transport", "tcp"]).wait_end();
    assert!(
        refused.errors.contains("401 Unauthorized"),
        "{}",
        refused.errors
    );
    let logged = proxy.log("session ended");
    assert!(!format!("{logged:?}").contains("secret"));
    let mut joined: Vec<_> = proxy.log("session joined");
    let all = joined.len();
    joined.dedup_by_key(|line| line["session"].clone());
    assert_eq!(joined.len(), all, "each is joined once: {joined:?}");
    assert!(all >= 2, "{joined:?}");
}

#[test]
fn where_udp_is_refused_players_fall_back_to_tcp() {
    let _turn = machine::share();
    let origin = RtspServer::start("inside", &["--play", "live/cam"]);
    let proxy = Proxy::start("session.setup_timeout = \"20s\"\nrtsp.udp_ports = \"\"");
    let _registrar = origin.register(&proxy);
    // If it is told nothing about transports, ffmpeg tries UDP first.
    Player::open(&proxy.rtsp_url("live/cam")).wait_frames(25);
    let absent = Player::open(&proxy.rtsp_url("live/nobody")).wait_end();
    assert!(absent.errors.contains("404 Not Found"), "{}", absent.errors);
    gstreamer_plays(&proxy.rtsp_url("live/cam"), "udp+tcp", 25);
}
