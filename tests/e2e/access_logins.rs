//! Logins by challenge with real clients: `authmod=adobe` over RTMP, Digest over RTSP. Clients that know the password are let in,
//! others are told why not, and neither the password nor an answer is written anywhere.

use sluicegate_core::access::digests::line;

use crate::access::are_secret;
use crate::support::rtsp::{RtspServer, gstreamer_plays};
use crate::support::{NodeMediaServer, Player, Proxy, Publisher, Registrar, gstreamer, machine};

const USER: &str = "pub1";
const PASSWORD: &str = "s3cret-and-long";

/// Settings where `action` needs a login.
fn guarded(action: &str) -> String {
    let line = line(USER, PASSWORD);
    format!(
        "[[check]]\nname = \"users\"\nkind = \"digest\"\nusers = [\"{line}\"]\n\
         [[access]]\naction = \"{action}\"\nall = [\"users\"]\ntake_out = true\n"
    )
}

/// The address with a user and a password in it, as people type it.
fn with(url: &str, password: &str) -> String {
    url.replacen("://", &format!("://{USER}:{password}@"), 1)
}

/// What nobody may read anywhere.
const SECRETS: [&str; 3] = [PASSWORD, "response=", "authmod=adobe&user"];

#[test]
fn encoders_log_in_over_rtmp_as_their_servers_had_them() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("logins");
    let proxy = Proxy::start(&guarded("publish"));
    let _registrar = Registrar::start(&proxy, &origin);
    let refused = Publisher::clip(&with(&proxy.rtmp_url("live/a"), "wrong"))
        .start()
        .wait_end();
    assert!(!refused.status.success(), "{}", refused.errors);
    let refused = Publisher::clip(&proxy.rtmp_url("live/a"))
        .start()
        .wait_end();
    assert!(!refused.status.success(), "{}", refused.errors);
    assert_eq!(proxy.origin_of("live/a"), None, "it is placed nowhere");
    let publisher = Publisher::clip(&with(&proxy.rtmp_url("live/a"), PASSWORD)).start();
    publisher.wait_frames(5);
    Player::frames(&proxy.rtmp_url("live/a"), 25);

    let login = [
        "authmod=adobe".to_owned(),
        format!("username={USER}"),
        format!("password={PASSWORD}"),
    ];
    let _gstreamer = gstreamer::encode(&proxy.rtmp_url("live/b"), &login);
    Player::frames(&proxy.rtmp_url("live/b"), 25);
    are_secret(&proxy, &SECRETS);
}

#[test]
fn cameras_and_players_answer_the_digest_challenge_of_rtsp() {
    let _turn = machine::share();
    let origin = RtspServer::start("recorder", &["--record", "live/a"]);
    let proxy = Proxy::start(&format!(
        "session.setup_timeout = \"20s\"\n{}",
        guarded("any")
    ));
    let _registrar = origin.register(&proxy);
    let refused = Publisher::clip(&with(&proxy.rtsp_url("live/a"), "wrong"))
        .rtsp("tcp")
        .start()
        .wait_end();
    assert!(refused.errors.contains("401"), "{}", refused.errors);
    let _camera = Publisher::clip(&with(&proxy.rtsp_url("live/a"), PASSWORD))
        .rtsp("tcp")
        .start();
    origin.wait_recorded("live/a", 50);
    are_secret(&proxy, &SECRETS);

    let origin = RtspServer::start("camera", &["--play", "live/b"]);
    let proxy = Proxy::start(&format!(
        "session.setup_timeout = \"20s\"\n{}",
        guarded("any")
    ));
    let _registrar = origin.register(&proxy);
    Player::frames(&with(&proxy.rtsp_url("live/b"), PASSWORD), 25);
    gstreamer_plays(&with(&proxy.rtsp_url("live/b"), PASSWORD), "tcp", 25);
    let refused = Player::open(&with(&proxy.rtsp_url("live/b"), "wrong")).wait_end();
    assert!(refused.errors.contains("401"), "{}", refused.errors);
    are_secret(&proxy, &SECRETS);
}
