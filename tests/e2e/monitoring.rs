//! What other programs read from our metrics and log lines: Prometheus' own tool, an independent parser, and a reader
//! of JSON.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{NodeMediaServer, Player, Proxy, Publisher, Registrar, http, machine};

#[test]
fn the_tools_of_prometheus_read_metrics_and_rules() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("origin");
    let proxy = Proxy::start(
        "metrics.streams = 2\nlog.stream_names = \"last4\"\nmetrics.listen = \"127.0.0.1:0\"",
    );
    let _registrar = Registrar::start(&proxy, &origin);
    let mut publisher = Publisher::clip(&proxy.rtmp_url("live/top-secret-key")).start();
    publisher.wait_frames(5);
    let viewer = Player::open(&proxy.flv_url("live/top-secret-key"));
    viewer.wait_frames(25);
    let listening = proxy.wait_log("listening", |record| record["listener"] == "metrics");
    let own_port = listening["address"]
        .as_str()
        .and_then(|at| at.parse().ok())
        .expect("an address");

    let plain = ["Accept: text/plain"];
    for at in [proxy.system, own_port] {
        let open = http::request(at, "GET", "/metrics", &[], "");
        let kind = open.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/openmetrics-text; version=1.0.0"),
            "{kind}"
        );
        assert!(
            !open.text().contains("top-secret"),
            "a stream's name is a secret here"
        );
        assert!(
            open.text().contains("…-key\",action=\"publish\"} 1"),
            "{}",
            open.text()
        );
        let families = check(&["/usr/bin/python3", "-c", PARSER], &open.text());
        assert!(
            families.trim().parse::<u32>().is_ok_and(|count| count > 20),
            "{families}"
        );
        let plain = http::request(at, "GET", "/metrics", &plain, "");
        assert_eq!(check(&["promtool", "check", "metrics"], &plain.text()), "");
    }
    assert_eq!(
        http::request(own_port, "GET", "/api/v1/origins", &[], "").status,
        404
    );
    let said = check(
        &[
            "promtool",
            "check",
            "rules",
            "examples/monitoring/alerts.yml",
        ],
        "",
    );
    assert!(said.contains("SUCCESS"), "{said}");
    let said = check(
        &[
            "promtool",
            "check",
            "config",
            "examples/monitoring/prometheus.yml",
        ],
        "",
    );
    assert!(said.contains("SUCCESS"), "{said}");

    // The summary line of each session, read back.
    drop(viewer);
    let bill = proxy.wait_log("session ended", |record| record["protocol"] == "http_flv");
    assert_eq!(bill["target"], "sluicegate::access");
    assert_eq!(bill["stream"], "__defaultVhost__/live/…-key");
    assert_eq!(
        (&bill["action"], &bill["reason"]),
        (&Value::from("play"), &Value::from("client_closed"))
    );
    assert_eq!(
        (&bill["origin"], &bill["failed"]),
        (&Value::from("origin"), &Value::Null)
    );
    let whole = |name: &str| {
        bill[name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name}: {bill}"))
    };
    assert!(
        whole("bytes_to_client") > 1000 && whole("bytes_to_origin") > 10,
        "{bill}"
    );
    assert!(
        whole("first_media_ms") < 60_000 && whole("setup_ms") <= whole("first_media_ms"),
        "{bill}"
    );
    assert!(
        bill["seconds"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.1),
        "{bill}"
    );
    assert_eq!(whole("stalls"), 0, "{bill}");
    assert!(
        bill["client"]
            .as_str()
            .is_some_and(|client| client.starts_with("127.0.0.1:")),
        "{bill}"
    );
    publisher.stop();
    proxy.wait_log("session ended", |record| record["action"] == "publish");
    assert!(
        !proxy.output().contains("top-secret"),
        "no line names the stream in full"
    );
}

/// The output of a program for `input`.
fn check(program: &[&str], input: &str) -> String {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/peers installs it", program[0]));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{program:?}: {said}\n{input}");
    said
}

/// Debian's python3-prometheus-client has the strict parser of OpenMetrics.
const PARSER: &str = "\
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(len(list(text_string_to_metric_families(sys.stdin.read()))))";
