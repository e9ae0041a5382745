//! Settings: the file, the variables, `.env`, and what is wrong with them.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::machine::{self, Scratch};
use crate::support::program::Program;
use crate::support::proxy::{self, Proxy};

#[test]
fn the_file_the_variables_and_dotenv_each_set_a_listener() {
    let _turn = machine::share();
    let [file, variable, dotenv, section] =
        std::array::from_fn(|_| format!("127.0.0.1:{}", machine::free_port()));
    let scratch = Scratch::new("layers");
    let config = scratch.write(
        "sluicegate.toml",
        // The file sets all of them; the layers above it win.
        &format!("[rtmp]\nlisten = \"{file}\"\n[http]\nlisten = \"{file}\"\n[api]\nlisten = \"{file}\"\n[system]\nlisten = \"{file}\"\n[rtsp]\nlisten = \"127.0.0.1:0\"\n[srt]\nlisten = \"127.0.0.1:0\"\n"),
    );
    scratch.write(
        ".env",
        &format!("# a comment\nexport PROXY_HTTP_SERVER='{dotenv}'\nPROXY_HTTP_API=127.0.0.1:1 # the process wins\n"),
    );
    let mut command = proxy::binary();
    command
        .env("PROXY_HTTP_API", &variable)
        .env("SLUICEGATE_SYSTEM__LISTEN", &section);
    command
        .args(["run", "--config"])
        .arg(config)
        .current_dir(scratch.path());
    let proxy = Proxy::ready(&mut command, scratch);
    let bound =
        [proxy.rtmp, proxy.http, proxy.api, proxy.system].map(|address| address.to_string());
    assert_eq!(bound, [file, dotenv, variable, section]);
}

#[test]
fn check_shows_every_setting_with_its_source_and_no_secret() {
    let scratch = Scratch::new("check");
    let config = scratch.write("sluicegate.toml", "[origins]\nttl = \"90s\"\n");
    scratch.write(".env", "PROXY_RTMP_SERVER=2935\n");
    let mut command = proxy::binary();
    command
        .env("PROXY_HTTP_API_AUTH_ENABLED", "on")
        .env("PROXY_HTTP_API_AUTH_TYPE", "bearer");
    command.env("PROXY_HTTP_API_AUTH_TOKEN", "s3cret-s3cret");
    let output = run(command
        .args(["check", "--config"])
        .arg(config)
        .current_dir(scratch.path()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for (value, source) in [
        ("90s", "sluicegate.toml"),
        ("2935", ".env"),
        ("11985", "default"),
        ("***", "PROXY_HTTP_API_AUTH_TOKEN"),
    ] {
        assert!(
            text.lines()
                .any(|line| line.contains(value) && line.contains(source)),
            "{value} by {source} in:\n{text}"
        );
    }
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn a_wrong_setting_stops_the_start_and_is_named() {
    let auth = [("PROXY_HTTP_API_AUTH_ENABLED", "on")];
    let bearer = [auth[0], ("PROXY_HTTP_API_AUTH_TYPE", "bearer")];
    let basic = [
        auth[0],
        ("PROXY_HTTP_API_AUTH_TYPE", "basic"),
        ("PROXY_HTTP_API_AUTH_TOKEN", "x"),
    ];
    let file = |text| Wrong {
        file: text,
        variables: &[],
    };
    let variables = |variables| Wrong {
        file: "",
        variables,
    };
    let rows = [
        (
            "no unit",
            variables(&[("PROXY_ORIGIN_SERVER_TTL", "300")]),
            "PROXY_ORIGIN_SERVER_TTL 300",
        ),
        (
            "no port",
            variables(&[("PROXY_RTMP_SERVER", "rtmp")]),
            "PROXY_RTMP_SERVER rtmp",
        ),
        (
            "too large a port",
            variables(&[("PROXY_HTTP_SERVER", "70000")]),
            "PROXY_HTTP_SERVER 70000",
        ),
        (
            "a type that is not supported",
            variables(&basic),
            "PROXY_HTTP_API_AUTH_TYPE bearer",
        ),
        (
            "no type",
            variables(&auth),
            "PROXY_HTTP_API_AUTH_TYPE bearer",
        ),
        ("no token", variables(&bearer), "PROXY_HTTP_API_AUTH_TOKEN"),
        (
            "not a number",
            variables(&[("SLUICEGATE_SESSION__MAX", "many")]),
            "SLUICEGATE_SESSION__MAX many",
        ),
        (
            "no such store",
            variables(&[("PROXY_LOAD_BALANCER_TYPE", "etcd")]),
            "PROXY_LOAD_BALANCER_TYPE etcd",
        ),
        (
            "a misspelt key",
            file("[rtmp]\nlitsen = \"1935\"\n"),
            "litsen listen 2",
        ),
        (
            "a value of another form",
            file("[session]\n\npublisher_idle = \"soon\"\n"),
            "publisher_idle soon 3",
        ),
        ("not TOML", file("[rtmp\n"), "sluicegate.toml"),
    ];
    for (cause, wrong, named) in rows {
        let scratch = Scratch::new("wrong");
        let config = scratch.write("sluicegate.toml", wrong.file);
        for verb in ["check", "run"] {
            let mut command = proxy::binary();
            command
                .args([verb, "--config"])
                .arg(&config)
                .current_dir(scratch.path());
            let output = run(command.envs(wrong.variables.iter().copied()));
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{verb}: {cause}: {said}");
            for word in named.split(' ') {
                assert!(said.contains(word), "{verb}: {cause}: {word} in: {said}");
            }
            assert!(!said.contains("panicked"), "{verb}: {cause}: {said}");
        }
    }
}

#[test]
fn a_taken_port_ends_the_start_with_one_sentence() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    let address = taken.local_addr().expect("it is bound").to_string();
    let scratch = Scratch::new("taken");
    let mut command = proxy::binary();
    for listener in [
        "PROXY_RTMP_SERVER",
        "PROXY_HTTP_SERVER",
        "PROXY_HTTP_API",
        "PROXY_RTSP_SERVER",
        "PROXY_SRT_SERVER",
        "PROXY_WEBRTC_SERVER",
    ] {
        command.env(listener, "127.0.0.1:0");
    }
    command
        .env("PROXY_SYSTEM_API", &address)
        .current_dir(scratch.path());
    let output = run(&mut command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&address) && said.trim().lines().count() == 1,
        "{said}"
    );
}

struct Wrong<'a> {
    file: &'a str,
    variables: &'a [(&'a str, &'a str)],
}

/// Runs a command that ends by itself.
fn run(command: &mut Command) -> Output {
    let mut program = Program::start("sluicegate", command);
    let status = program.wait_end(Duration::from_secs(40));
    Output {
        status,
        stdout: program.output().into_bytes(),
        stderr: program.errors().into_bytes(),
    }
}
