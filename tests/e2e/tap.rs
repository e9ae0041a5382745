//! An operator records what a session carries, from the middle of the session on, and the session does not notice.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support::{
    NodeMediaServer, Player, Proxy, Publisher, Registrar, machine, machine::Scratch, proxy,
};

#[test]
fn a_session_of_rtmp_and_one_of_http_flv_are_recorded_while_they_go_on() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("origin");
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    let mut publisher = Publisher::encoder(&proxy.rtmp_url("live/a"))
        .gop(25)
        .start();
    publisher.wait_frames(30);
    let mut viewer = Player::open(&proxy.flv_url("live/a"));
    let mut player = Player::open(&proxy.rtmp_url("live/a"));
    viewer.wait_frames(20);
    player.wait_frames(20);
    let scratch = Scratch::new("tap");

    // The stream's publisher is recorded where possible; the others by their numbers.
    let sessions = proxy.api("/api/v1/sessions");
    let of = |protocol: &str, action: &str| {
        let rows = sessions["data"]["sessions"].as_array().expect("rows");
        let fits = |row: &&Value| row["protocol"] == protocol && row["action"] == action;
        rows.iter().find(fits).expect("a session")["id"].to_string()
    };
    for (what, name) in [
        ("live/a".to_owned(), "publisher.flv"),
        (of("rtmp", "play"), "player.flv"),
        (of("http_flv", "play"), "viewer.flv"),
    ] {
        let file = scratch.path().join(name);
        let (ended, words) = tap(&proxy, &what, None, &file);
        assert!(ended, "{what}: {words}");
        assert!(words.contains("recorded"), "{words}");
        let count = frames(&file);
        assert!(
            count >= 25,
            "{name}: {count} pictures of some three seconds"
        );
    }
    let nowhere = scratch.path().join("none.flv");
    let (ended, words) = tap(&proxy, "live/b", None, &nowhere);
    assert!(
        !ended && words.contains("no session carries live/b"),
        "{words}"
    );

    viewer.wait_more(10);
    player.wait_more(10);
    assert!(viewer.is_running() && player.is_running() && publisher.is_running());
    let tapped = proxy.log("session tapped");
    assert_eq!(tapped.len(), 3, "{tapped:?}");

    let token =
        "system.auth_enabled = true\nsystem.auth_type = \"bearer\"\nsystem.auth_token = \"right\"";
    let closed = Proxy::start(token);
    for (token, expected) in [
        (None, "401"),
        (Some("wrong"), "401"),
        (Some("right"), "no session carries"),
    ] {
        let (ended, words) = tap(&closed, "live/a", token, &nowhere);
        assert!(!ended && words.contains(expected), "{token:?}: {words}");
    }
    assert!(!nowhere.exists(), "no file for no recording");
}

fn tap(proxy: &Proxy, what: &str, token: Option<&str>, file: &Path) -> (bool, String) {
    let mut command = proxy::binary();
    let api = format!("http://{}", proxy.system);
    command
        .args(["tap", what, "--seconds", "4", "-o"])
        .arg(file);
    match token {
        Some(token) => command
            .args(["--proxy", &api])
            .env("PROXY_HTTP_API_AUTH_TOKEN", token),
        None => command.env("SLUICEGATE_URL", api),
    };
    let output = command.output().expect("the binary runs");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// The number of pictures that decode.
fn frames(file: &Path) -> u64 {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(file)
        .output()
        .expect("ffprobe runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.is_empty(), "{}: {errors}", file.display());
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .trim_end_matches(',')
        .parse()
        .unwrap_or_else(|_| panic!("{text:?}"))
}
