//! Fifty live streams leave an origin that is drained by an operator at the command line.

use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{
    Light, NginxRtmp, Player, Proxy, Publisher, Registrar, machine, proxy, wait_for,
};

/// `sluicegate VERB…` against `proxy`.
fn operate(proxy: &Proxy, arguments: &[&str]) -> Output {
    let mut command: Command = proxy::binary();
    command
        .args(arguments)
        .args(["--to", &format!("http://{}", proxy.system)]);
    command.output().expect("the binary runs")
}

fn told(proxy: &Proxy, arguments: &[&str]) -> String {
    let output = operate(proxy, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    let text = String::from_utf8(output.stdout).expect("text");
    for line in text.lines().filter(|_| !arguments.contains(&"json")) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    text
}

#[test]
fn fifty_live_streams_are_drained_from_the_command_line() {
    let _turn = machine::share();
    let old = NginxRtmp::start("old");
    let proxy = Proxy::start("drain.pace = \"20ms\"");
    let _old = Registrar::start(&proxy, &old);
    let url = proxy.rtmp_url("live/real");
    let mut encoder = Publisher::clip(&url).start();
    encoder.wait_frames(5);
    let mut player = Player::open(&url);
    player.wait_frames(5);
    let publish = |number: usize| Light::publish(proxy.rtmp, &format!("live/s{number}"));
    let mut lights: Vec<Light> = (1..STREAMS)
        .map(|number| publish(number).unwrap_or_else(|why| panic!("{number}: {why}")))
        .collect();
    let new = NginxRtmp::start("new");
    let _new = Registrar::start(&proxy, &new);

    assert!(told(&proxy, &["origins"]).contains("old"));
    let words = told(&proxy, &["drain", "old", "--deadline", "1s"]);
    assert!(
        words.starts_with("old drains: 50 publishers and 1 player left, over in"),
        "{words}"
    );
    assert!(told(&proxy, &["ps"]).contains("draining"));

    // A client that is ended comes back, and finds the other origin.
    wait_for("everybody has moved", Duration::from_secs(30), || {
        for (index, light) in lights.iter_mut().enumerate() {
            if !light.is_running() {
                *light = publish(index + 1).unwrap_or_else(|why| panic!("{index}: {why}"));
            }
        }
        if !encoder.is_running() {
            encoder = Publisher::clip(&url).start();
        }
        if !player.is_running() {
            player = Player::open(&url);
        }
        let origins = proxy.origins();
        let left = origins.iter().find(|origin| origin["id"] == "old")?;
        (left["drain"]["done"] == true && proxy.sessions().len() == STREAMS + 1).then_some(())
    });
    player.wait_more(25);
    for row in proxy.streams() {
        assert_eq!(row["origin"], "new", "{row}");
    }
    assert!(told(&proxy, &["origins"]).contains("done"));
    assert!(told(&proxy, &["streams"]).contains("live/s49"));
    let document = told(&proxy, &["streams", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["total"], STREAMS);

    let story = told(&proxy, &["explain", "live/s1"]);
    for words in [
        "live/s1 goes to new: it is placed there.\nIt was claimed ",
        "If new were gone, it would go nowhere: ",
        "\nMay not take it:\n  old: draining for ",
    ] {
        assert!(story.contains(words), "{words}\n{story}");
    }
    // Where a line is broken depends on how long ago the stream was claimed.
    let words: Vec<&str> = story.split_whitespace().collect();
    let words = words.join(" ");
    assert!(
        words.contains(" 1 publisher and 0 players are joined"),
        "{story}"
    );
    let story = told(&proxy, &["explain", "live/s1", "--without", "new"]);
    assert!(story.starts_with("Without new, live/s1 would go nowhere: "));
    let document = told(&proxy, &["explain", "live/s1", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    assert_eq!(document["claim"]["origin"], "new");

    assert_eq!(told(&proxy, &["undrain", "old"]), "old takes new streams\n");
    assert!(told(&proxy, &["disable", "old"]).contains("disabled"));
    let session = proxy.sessions()[0]["id"].to_string();
    assert!(told(&proxy, &["sessions"]).contains("relaying"));
    assert_eq!(
        told(&proxy, &["kick", &session]),
        format!("session {session} ended\n")
    );

    for (arguments, code) in [
        (["drain", "nobody"].as_slice(), 5),
        (&["kick", "999999"], 5),
        (&["drain"], 2),
        (&["drain", "old", "--deadline", "soon"], 2),
        (&["origins", "-o", "yaml"], 2),
    ] {
        let output = operate(&proxy, arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    assert!(told(&proxy, &["drain", "--proxy"]).starts_with("this proxy drains"));
    assert_eq!(proxy.system("GET", "/readyz").status, 503);
    assert_eq!(
        told(&proxy, &["undrain", "--proxy"]),
        "this proxy takes new streams\n"
    );
}

#[test]
fn exit_codes_tell_a_missing_proxy_from_a_missing_token() {
    let _turn = machine::share();
    let settings =
        "system.auth_enabled = true\nsystem.auth_type = \"bearer\"\nsystem.auth_token = \"sesame\"";
    let proxy = Proxy::start(settings);
    let url = format!("http://{}", proxy.system);
    let nobody = format!("http://127.0.0.1:{}", machine::free_port());
    let token = ("PROXY_HTTP_API_AUTH_TOKEN", "sesame");
    for (arguments, variables, code) in [
        (["ps", "--to", &url].as_slice(), Vec::new(), 4),
        (&["ps", "--to", &url, "--token", "wrong"], Vec::new(), 4),
        (&["ps", "--to", &url, "--token", "sesame"], Vec::new(), 0),
        (&["ps"], vec![("SLUICEGATE_URL", url.as_str()), token], 0),
        (&["ps", "--to", &nobody], Vec::new(), 3),
    ] {
        let output = proxy::binary().args(arguments).envs(variables).output();
        let output = output.expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert_eq!(errors.is_empty(), code == 0, "{errors}");
        assert!(!errors.contains("sesame"), "{errors}");
    }
}

const STREAMS: usize = 50;
