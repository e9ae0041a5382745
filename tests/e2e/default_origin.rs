//! A proxy in front of any RTMP server, configured with three variables and nothing else.

use crate::support::machine::{self, Scratch};
use crate::support::proxy::{self, Proxy};
use crate::support::{NginxRtmp, Origin, Player, Publisher};

#[test]
fn an_rtmp_server_that_registers_nowhere_is_used() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("plain");
    let scratch = Scratch::new("default");
    let mut command = proxy::binary();
    for listener in [
        "PROXY_RTMP_SERVER",
        "PROXY_HTTP_SERVER",
        "PROXY_HTTP_API",
        "PROXY_SYSTEM_API",
        "PROXY_RTSP_SERVER",
        "PROXY_SRT_SERVER",
    ] {
        command.env(listener, "127.0.0.1:0");
    }
    command.env("PROXY_DEFAULT_BACKEND_ENABLED", "on");
    command.env("PROXY_DEFAULT_BACKEND_IP", "127.0.0.1");
    command.env(
        "PROXY_DEFAULT_BACKEND_RTMP",
        origin.rtmp().port().to_string(),
    );
    // The origin sends no heartbeat, and stays while it answers.
    command.env("PROXY_ORIGIN_SERVER_TTL", "1s");
    command.current_dir(scratch.path());
    let proxy = Proxy::ready(&mut command, scratch);

    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let player = Player::open(&proxy.rtmp_url("live/a"));
    player.wait_frames(75);
    Player::frames(&proxy.rtmp_url("live/a"), 25);
    let later = Publisher::clip(&proxy.rtmp_url("live/b")).start();
    later.wait_frames(5);
    assert_eq!(proxy.origins().len(), 1, "{:?}", proxy.origins());
    assert_eq!(proxy.origins()[0]["alive"], true, "{:?}", proxy.origins());
}
