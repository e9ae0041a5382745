//! The binary under test, run as its users run it.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{self, Response};
use super::machine::Scratch;
use super::program::{Line, Program};
use super::wait_for;

/// `sluicegate run`, on ports of its own. It ends with the value.
pub(crate) struct Proxy {
    pub(crate) rtmp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) system: SocketAddr,
    pub(crate) rtsp: SocketAddr,
    pub(crate) srt: SocketAddr,
    pub(crate) rtc: SocketAddr,
    program: Program,
    scratch: Scratch,
}

/// The binary, without any environment variable that would configure it.
pub(crate) fn binary() -> Command {
    configured_by_nothing(env!("CARGO_BIN_EXE_sluicegate").as_ref())
}

/// The binary in a network namespace, with its listeners at an address there.
fn binary_in(namespace: &str, address: IpAddr) -> Command {
    let mut command = configured_by_nothing("ip".as_ref());
    command.args(["netns", "exec", namespace, env!("CARGO_BIN_EXE_sluicegate")]);
    command.env(MEDIA_PORT, format!("{address}:0"));
    for listener in ["RTMP", "HTTP", "API", "SYSTEM", "RTSP", "SRT"] {
        let name = format!("SLUICEGATE_{listener}__LISTEN");
        command.env(name, format!("{address}:0"));
    }
    command
}

fn configured_by_nothing(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["PROXY_", "SLUICEGATE_", "RUST_LOG"]
            .iter()
            .any(|start| text.starts_with(start))
        {
            command.env_remove(&name);
        }
    }
    command
}

impl Proxy {
    /// Starts it with additional settings, such as `session.takeover_after = "1s"`, and returns when it is ready.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_program(env!("CARGO_BIN_EXE_sluicegate").as_ref(), settings)
    }

    /// The same with the binary of another build.
    pub(crate) fn start_program(program: &Path, settings: &str) -> Self {
        Self::start_by(configured_by_nothing(program).arg("run"), settings)
    }

    /// The same, with more arguments.
    pub(crate) fn start_with(settings: &str, arguments: &[&str]) -> Self {
        Self::start_by(binary().arg("run").args(arguments), settings)
    }

    fn start_by(command: &mut Command, settings: &str) -> Self {
        let scratch = Scratch::new("proxy");
        let config = scratch.write(SETTINGS, &with_ours(settings));
        command
            .arg("--config")
            .arg(config)
            .current_dir(scratch.path());
        Self::ready(command, scratch)
    }

    /// Like `start`, with a log of warnings and errors only: for runs with many sessions, since the log is kept. The
    /// proxy may run in a network namespace, at an address there.
    pub(crate) fn start_terse(settings: &str, home: Option<(String, IpAddr)>) -> Self {
        let scratch = Scratch::new("proxy");
        let config = scratch.write("sluicegate.toml", &format!("{LISTEN}{settings}\n"));
        let mut command = home.map_or_else(binary, |(namespace, address)| {
            binary_in(&namespace, address)
        });
        command
            .args(["run", "--config"])
            .arg(config)
            .current_dir(scratch.path())
            .env("RUST_LOG", TERSE);
        Self::ready(&mut command, scratch)
    }

    /// Like `start`, in a network namespace, at an address there.
    pub(crate) fn start_in(settings: &str, namespace: &str, address: IpAddr) -> Self {
        let scratch = Scratch::new("proxy");
        let config = scratch.write(SETTINGS, &format!("{PATIENT}{settings}\n"));
        let mut command = binary_in(namespace, address);
        command
            .args(["run", "--config"])
            .arg(config)
            .current_dir(scratch.path());
        Self::ready(&mut command, scratch)
    }

    /// Waits for the addresses of a command that runs the proxy.
    pub(crate) fn ready(command: &mut Command, scratch: Scratch) -> Self {
        // Stories that do not use media leave its port to the system.
        if !command.get_envs().any(|(name, _)| name == MEDIA_PORT) {
            command.env(MEDIA_PORT, "127.0.0.1:0");
        }
        let program = Program::start("sluicegate", command);
        let address = |listener: &str| {
            let what = format!("its {listener} listener");
            let found = program.wait_line(&what, STARTS, |line| {
                let record = record(line)?;
                let it = record["message"] == "listening" && record["listener"] == listener;
                it.then(|| record["address"].as_str().map(str::to_owned))?
            });
            found
                .parse()
                .unwrap_or_else(|_| panic!("{found} is the address of {listener}"))
        };
        let [rtmp, http, api, system, rtsp, srt, rtc] =
            ["rtmp", "http", "api", "system", "rtsp", "srt", "rtc"].map(address);
        let proxy = Self {
            rtmp,
            http,
            api,
            system,
            rtsp,
            srt,
            rtc,
            program,
            scratch,
        };
        proxy.wait_log("ready", |_| true);
        proxy
    }

    /// The RTMP address of `app/stream`.
    pub(crate) fn rtmp_url(&self, stream: &str) -> String {
        format!("rtmp://{}/{stream}", self.rtmp)
    }

    /// The HTTP-FLV address of `app/stream`.
    pub(crate) fn flv_url(&self, stream: &str) -> String {
        format!("http://{}/{stream}.flv", self.http)
    }

    /// The RTSP address of `app/stream`.
    pub(crate) fn rtsp_url(&self, stream: &str) -> String {
        format!("rtsp://{}/{stream}", self.rtsp)
    }

    /// The document at a path of the system API.
    #[track_caller]
    pub(crate) fn api(&self, path: &str) -> Value {
        let response = http::request(self.system, "GET", path, &[], "");
        assert_eq!(response.status, 200, "GET {path}: {}", response.text());
        serde_json::from_slice(&response.body).unwrap_or_else(|error| panic!("GET {path}: {error}"))
    }

    /// Registers an origin by hand.
    #[track_caller]
    pub(crate) fn register(&self, registration: &Value) {
        let body = registration.to_string();
        let response = http::request(self.system, "POST", "/api/v1/srs/register", &[], &body);
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// Sends another request to the system API.
    #[track_caller]
    pub(crate) fn system(&self, method: &str, path: &str) -> Response {
        http::request(self.system, method, path, &[], "")
    }

    pub(crate) fn origins(&self) -> Vec<Value> {
        rows(&self.api("/api/v1/origins"), "origins")
    }

    pub(crate) fn streams(&self) -> Vec<Value> {
        rows(&self.api("/api/v1/streams"), "streams")
    }

    pub(crate) fn sessions(&self) -> Vec<Value> {
        rows(&self.api("/api/v1/sessions"), "sessions")
    }

    /// The origin that holds `app/stream`, according to the proxy's table.
    pub(crate) fn origin_of(&self, stream: &str) -> Option<String> {
        let ends = format!("/{stream}");
        let streams = self.streams();
        let mut held = streams.iter().filter(|row| {
            row["stream"]
                .as_str()
                .is_some_and(|key| key.ends_with(&ends))
        });
        let origin = held
            .next()
            .and_then(|row| row["origin"].as_str())
            .map(str::to_owned);
        assert!(
            held.next().is_none(),
            "{stream} has two placements: {streams:?}"
        );
        origin
    }

    /// Returns the row of a server once the proxy knows it.
    #[track_caller]
    pub(crate) fn wait_origin(&self, server: &str) -> Value {
        let known = || {
            self.origins()
                .into_iter()
                .find(|origin| origin["server"] == server)
        };
        wait_for(&format!("{server} registers"), STARTS, known)
    }

    /// Returns the first session row that `pick` accepts.
    #[track_caller]
    pub(crate) fn wait_session(&self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        wait_for(what, STARTS, || self.sessions().into_iter().find(&pick))
    }

    /// The first log record with this message, past or future, that `pick` accepts.
    #[track_caller]
    pub(crate) fn wait_log(&self, message: &str, pick: impl Fn(&Value) -> bool) -> Value {
        self.program
            .wait_line(&format!("log \"{message}\""), STARTS, |line| {
                record(line).filter(|record| record["message"] == message && pick(record))
            })
    }

    /// Every address of a listener.
    pub(crate) fn addresses(&self, listener: &str) -> Vec<SocketAddr> {
        let listening = self.log("listening");
        let its = listening
            .iter()
            .filter(|record| record["listener"] == listener);
        its.filter_map(|record| record["address"].as_str()?.parse().ok())
            .collect()
    }

    /// The log records with this message so far.
    pub(crate) fn log(&self, message: &str) -> Vec<Value> {
        let lines = self.program.lines();
        lines
            .iter()
            .filter_map(record)
            .filter(|record| record["message"] == message)
            .collect()
    }

    /// The same, each with the time at which it was read.
    pub(crate) fn log_times(&self, message: &str) -> Vec<(Instant, Value)> {
        let lines = self.program.lines();
        let records = lines.iter().map(|line| Some((line.at, record(line)?)));
        records
            .flatten()
            .filter(|(_, record)| record["message"] == message)
            .collect()
    }

    /// Everything it has logged.
    pub(crate) fn output(&self) -> String {
        self.program.output()
    }

    /// Writes other settings over the file it was started with.
    pub(crate) fn rewrite(&self, settings: &str) {
        self.scratch.write(SETTINGS, &with_ours(settings));
    }

    /// Asks it to read its lists of origins again, as operators do.
    pub(crate) fn hang_up(&self) {
        self.program.signal("HUP");
    }

    /// Asks it to stop, as a supervisor does.
    pub(crate) fn terminate(&self) {
        self.program.signal("TERM");
    }

    /// Stops the process without ending it: its ports still accept connections, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.program.signal("STOP");
    }

    /// Ends [`freeze`](Self::freeze).
    pub(crate) fn thaw(&self) {
        self.program.signal("CONT");
    }

    /// Kills it without a goodbye, as a crash does.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    #[track_caller]
    pub(crate) fn wait_end(&mut self, patience: Duration) -> ExitStatus {
        self.program.wait_end(patience)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.program.is_running()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }
}

fn record(line: &Line) -> Option<Value> {
    serde_json::from_str(&line.text)
        .ok()
        .filter(Value::is_object)
}

fn rows(document: &Value, name: &str) -> Vec<Value> {
    assert_eq!(document["code"], 0, "{document}");
    document["data"][name]
        .as_array()
        .unwrap_or_else(|| panic!("no {name} in {document}"))
        .clone()
}

/// Adds the settings that all stories need, where the story does not set them itself.
fn with_ours(settings: &str) -> String {
    let unsaid = LISTEN.lines().chain(PATIENT.lines()).filter(|line| {
        let name = line.split(" = ").next().unwrap_or_default();
        !settings.contains(name)
    });
    let ours: String = unsaid.flat_map(|line| [line, "\n"]).collect();
    format!("{ours}{settings}\n")
}

/// An origin that is slow because the machine is busy is not gone.
const PATIENT: &str = "\
session.dial_timeout = \"5s\"
session.setup_timeout = \"20s\"
";
/// Every listener on a free port of 127.0.0.1, unless a story says otherwise.
const LISTEN: &str = "\
rtmp.listen = \"127.0.0.1:0\"
http.listen = \"127.0.0.1:0\"
api.listen = \"127.0.0.1:0\"
system.listen = \"127.0.0.1:0\"
rtsp.listen = \"127.0.0.1:0\"
srt.listen = \"127.0.0.1:0\"
";
const SETTINGS: &str = "sluicegate.toml";
/// Enough for [`Proxy::ready`].
const TERSE: &str =
    "warn,sluicegate::server=info,sluicegate::listener::srt=info,sluicegate::listener::rtc=info";
const MEDIA_PORT: &str = "PROXY_WEBRTC_SERVER";
const STARTS: Duration = Duration::from_secs(30);
