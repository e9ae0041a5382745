//! An operator ends a session by its number.

use serde_json::Value;

use crate::support::{NodeMediaServer, Player, Proxy, Publisher, Registrar, machine, wait_for};

#[test]
fn a_kicked_session_ends_and_no_other() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("origin");
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let mut rtmp = Player::open(&proxy.rtmp_url("live/a"));
    rtmp.wait_frames(25);
    let mut flv = Player::open(&proxy.flv_url("live/a"));
    flv.wait_frames(25);

    kick(&proxy, "rtmp", "play");
    rtmp.wait_end();
    flv.wait_more(10);
    kick(&proxy, "http_flv", "play");
    flv.wait_end();
    assert!(publisher.is_running(), "only players were kicked");
    kick(&proxy, "rtmp", "publish");
    publisher.wait_end();

    wait_for("no row is left", std::time::Duration::from_secs(40), || {
        proxy.sessions().is_empty().then_some(())
    });
    assert_eq!(
        proxy.system("DELETE", "/api/v1/sessions/999999").status,
        404
    );
}

fn kick(proxy: &Proxy, protocol: &str, action: &str) {
    let session = proxy.wait_session("a row", |row| {
        row["protocol"] == protocol && row["action"] == action
    });
    let id = &session["id"];
    let response = proxy.system("DELETE", &format!("/api/v1/sessions/{id}"));
    assert_eq!(response.status, 200, "{}", response.text());
    let ended: Value = proxy.wait_log("session ended", |record| record["session"] == *id);
    assert_eq!(ended["reason"], "kicked", "{ended}");
}
