//! Two processes on one host that know only the SRS proxy's variables, and one whose sockets a service manager opened.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::http;
use crate::support::machine::{self, Scratch};
use crate::support::program::{Line, Program};
use crate::support::proxy;

const STARTS: Duration = Duration::from_secs(30);

fn record(line: &Line) -> Option<Value> {
    serde_json::from_str(&line.text).ok()
}

fn message(line: &Line) -> Option<String> {
    Some(record(line)?["message"].as_str()?.to_owned())
}

#[test]
fn a_second_process_with_the_variables_of_the_srs_proxy_starts_beside_the_first() {
    let _turn = machine::share();
    let scratch = Scratch::new("second");
    // What the first one has: the port of the one listener that the SRS proxy has no variable for.
    let _first = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 18554));
    let mut command = proxy::binary();
    for name in [
        "PROXY_RTMP_SERVER",
        "PROXY_HTTP_SERVER",
        "PROXY_HTTP_API",
        "PROXY_SYSTEM_API",
        "PROXY_WEBRTC_SERVER",
        "PROXY_SRT_SERVER",
    ] {
        command.env(name, format!("127.0.0.1:{}", machine::free_port()));
    }
    let second = Program::start("sluicegate", command.current_dir(scratch.path()));
    let warning = second.wait_line("its warning", STARTS, |line| {
        message(line).filter(|text| text.contains("rtsp is not served"))
    });
    for part in [
        "SLUICEGATE_RTSP__LISTEN=18555 (rtsp.listen = 18555",
        "SLUICEGATE_RTSP__LISTEN= (rtsp.listen = \"\")",
    ] {
        assert!(warning.contains(part), "{warning}");
    }
    second.wait_line("it is ready", STARTS, |line| {
        message(line).filter(|text| text == "ready")
    });
}

#[test]
fn sockets_of_a_service_manager_are_served() {
    let _turn = machine::share();
    let scratch = Scratch::new("inherited");
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let at = socket.local_addr().expect("bound");
    let config = scratch.write(
        "sluicegate.toml",
        "rtmp.listen = \"127.0.0.1:0\"\nhttp.listen = \"\"\napi.listen = \"\"\nrtsp.listen = \"\"\nsrt.listen = \"\"\nrtc.listen = \"\"\n",
    );
    // The manager's part: its socket becomes descriptor 3 of a process that is told its own number.
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=system; exec \"$0\" run --config \"$1\"",
        ])
        .arg(proxy::binary().get_program())
        .arg(config)
        .current_dir(scratch.path());
    for (name, value) in proxy::binary().get_envs() {
        if value.is_none() {
            command.env_remove(name);
        }
    }
    let program = Program::start_with(
        "sluicegate",
        &mut command,
        Stdio::from(OwnedFd::from(socket)),
    );
    program.wait_line("it is ready", STARTS, |line| {
        message(line).filter(|text| text == "ready")
    });
    let versions = http::request(at, "GET", "/api/v1/versions", &[], "");
    assert_eq!(versions.status, 200, "{}", versions.text());
    let listens = program.wait_line("the system API's address", STARTS, |line| {
        let record = record(line)?;
        let it = record["message"] == "listening" && record["listener"] == "system";
        it.then(|| record["address"].as_str().map(str::to_owned))?
    });
    assert_eq!(listens, at.to_string());
}
