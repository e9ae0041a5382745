//! What strangers find at the TLS of the proxy: a scanner of weaknesses, frames of HTTP/2 that are made by hand, and many
//! requests at once.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::machine::{self, installed, peer_file};
use crate::support::{NodeMediaServer, Proxy, Publisher, Registrar};
use crate::tls_client::Authority;

/// Runs a program to its end.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    output
}

#[test]
fn a_scanner_finds_no_weakness_at_any_door() {
    let _turn = machine::share();
    let authority = Authority::new();
    let proxy = Proxy::start(&authority.dotted());
    let doors = [
        ("rtmp", proxy.rtmp),
        ("rtsp", proxy.rtsp),
        ("http", proxy.http),
        ("http", proxy.api),
        ("http", proxy.system),
    ];
    let mut scan = Command::new(peer_file("tls/bin/python"));
    scan.arg(format!(
        "{}/tests/peers/tls_scan.py",
        env!("CARGO_MANIFEST_DIR")
    ));
    scan.args(doors.map(|(protocol, at)| format!("{protocol}:{}", at.port())));
    let output = run(&mut scan);
    let said = String::from_utf8_lossy(&output.stdout);
    let reports: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert_eq!(reports.len(), doors.len(), "{said}");
    for (report, (door, _)) in reports.iter().zip(doors) {
        assert_eq!(report["weak"], serde_json::json!([]), "{door}: {report:#}");
        assert_eq!(
            report["versions"],
            serde_json::json!(["TLS 1.2", "TLS 1.3"]),
            "{door}: {report:#}"
        );
    }
}

#[test]
fn frames_that_break_a_rule_get_the_error_of_that_rule() {
    let _turn = machine::share();
    let authority = Authority::new();
    let origin = NodeMediaServer::start("origin");
    let proxy = Proxy::start(&format!("http.health = true\n{}", authority.dotted()));
    let _registrar = Registrar::start(&proxy, &origin);
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let mut frames = Command::new(peer_file("tls/bin/python"));
    frames.arg(format!(
        "{}/tests/peers/http2_frames.py",
        env!("CARGO_MANIFEST_DIR")
    ));
    frames.args(["127.0.0.1", &proxy.http.port().to_string(), "/live/a.flv"]);
    let output = run(&mut frames);
    let said = String::from_utf8_lossy(&output.stdout);
    let rules: Vec<Value> = said
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    assert!(rules.len() > 25, "{said}");
    let broken: Vec<&Value> = rules.iter().filter(|rule| rule["kept"] != true).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn many_requests_on_few_connections_are_all_answered() {
    let _turn = machine::share();
    let authority = Authority::new();
    let proxy = Proxy::start(&format!("http.health = true\n{}", authority.dotted()));
    let mut load = Command::new(installed(&["h2load"]));
    load.args([
        "--requests",
        "4000",
        "--clients",
        "8",
        "--max-concurrent-streams",
        "50",
    ]);
    load.arg(format!("https://127.0.0.1:{}/livez", proxy.http.port()));
    let output = run(&mut load);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("4000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{said}"
    );
    assert!(said.contains("Application protocol: h2"), "{said}");
}
