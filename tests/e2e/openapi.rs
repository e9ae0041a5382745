//! The document of the system API, read by a program that knows nothing else of it: schemathesis makes requests from it, and
//! looks whether every answer is one of those that it names.

use std::process::Command;
use std::time::Duration;

use crate::demo::Demo;
use crate::support::Publisher;
use crate::support::machine::{self, peer_file};
use crate::support::program::Program;

#[test]
fn every_answer_is_as_the_document_says() {
    let _turn = machine::share();
    let demo = Demo::new();
    let program = Program::start("demo", &mut demo.command());
    program.wait_line("it tells how to stop it", PATIENCE, |line| {
        line.text.contains("Ctrl-C").then_some(())
    });
    let publisher = Publisher::clip(&demo.rtmp_url("live/mine")).start();
    publisher.wait_frames(5);
    let root = env!("CARGO_MANIFEST_DIR");
    let tester = Command::new(peer_file("schemas/bin/st"))
        .arg("run")
        .arg(format!("{root}/src/admin/openapi.yaml"))
        .arg(format!("--url=http://127.0.0.1:{}", demo.system))
        .arg(format!("--checks={CHECKS}"))
        // These answers go on until somebody leaves, or are files.
        .arg("--exclude-path-regex=(/feed|/tap|/preview|/console/)")
        // One that drains is not ready, which is a 503 that the document names.
        .arg("--exclude-path=/readyz")
        .args(["--phases=examples,coverage,fuzzing", "--max-examples=10"])
        .args(["--seed=1", "--workers=1", "--request-timeout=10"])
        .args(["--continue-on-failure", "--no-color"])
        .current_dir(demo.folder())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&tester.stdout);
    let complaint = String::from_utf8_lossy(&tester.stderr);
    assert!(tester.status.success(), "{said}\n{complaint}");
}

/// Those that are about answers: which requests are refused is told by other stories.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,response_headers_conformance";
const PATIENCE: Duration = Duration::from_secs(30);
