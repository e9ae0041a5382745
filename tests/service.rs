//! The program as a service manager runs it: what it says over `NOTIFY_SOCKET`, and when.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

#[path = "support/uninterrupted.rs"]
mod uninterrupted;
use uninterrupted::uninterrupted;

/// A proxy and the one that started it.
struct Service {
    child: Child,
    manager: UnixDatagram,
    folder: TempDir,
}

impl Service {
    /// Starts it with more variables, on ports that the system chooses.
    fn start(settings: &str, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).expect("a socket of ours");
        manager
            .set_read_timeout(Some(PATIENCE))
            .expect("a time that is not zero");
        let file = folder.path().join("sluicegate.toml");
        std::fs::write(&file, format!("{PORTS}{settings}")).expect("a file of ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("PROXY_") || text.starts_with("SLUICEGATE_") {
                command.env_remove(&name);
            }
        }
        let child = command
            .args(["--config".as_ref(), file.as_os_str()])
            .current_dir(folder.path())
            .env("NOTIFY_SOCKET", &socket)
            .env_remove("WATCHDOG_PID")
            .env_remove("WATCHDOG_USEC")
            .env("RUST_LOG", "info")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        Self {
            child,
            manager,
            folder,
        }
    }

    /// The next words.
    fn hear(&self) -> String {
        let mut words = [0; 4096];
        let length = uninterrupted(|| self.manager.recv(&mut words)).expect("word in time");
        String::from_utf8(words[..length].to_vec()).expect("text")
    }

    /// The first words that hold `wanted`; a status or a watchdog in between is passed over.
    fn hear_of(&self, wanted: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let words = self.hear();
            if words.contains(wanted) {
                return words;
            }
        }
        panic!("nothing was heard of {wanted}");
    }

    fn signal(&self, name: &str) {
        let line = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &line]).status();
        assert!(status.is_ok_and(|status| status.success()), "{line}");
    }

    /// The address of a listener, from the log up to "ready".
    fn address(&mut self, listener: &str) -> SocketAddr {
        let log = self.child.stdout.take().expect("standard output is piped");
        let mut log = BufReader::new(log);
        let wanted = format!("\"listener\":\"{listener}\"");
        let line = log
            .by_ref()
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains(&wanted));
        // The pipe must not fill.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        let line = line.expect("the listener is told of");
        let record: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        let address = record["address"].as_str().expect("an address");
        address.parse().expect("an address")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn it_is_ready_when_clients_are_served_and_says_how_it_goes() {
    let mut service = Service::start("", &[]);
    let words = service.hear();
    assert_eq!(
        words,
        "READY=1\nSTATUS=0 publishers, 0 players, 0 of 0 origins up\n"
    );
    let rtmp = service.address("rtmp");
    TcpStream::connect(rtmp).expect("what is ready takes connections");

    service.signal("TERM");
    let words = service.hear();
    assert!(words.starts_with("STOPPING=1\n"), "{words}");
    assert!(words.contains("EXTEND_TIMEOUT_USEC=15000000\n"), "{words}");
    assert!(words.contains("STATUS=stopping: 0 publishers"), "{words}");
    let status = service.child.wait().expect("a child of ours");
    assert!(status.success(), "{status}");
}

#[test]
fn nobody_waits_for_a_reader_of_the_log_that_stops() {
    let mut service = Service::start("", &[]);
    service.hear_of("READY=1");
    let log = service.child.stdout.take();
    let mut log = BufReader::new(log.expect("standard output is piped"));
    let mut address = |listener: &str| -> SocketAddr {
        let wanted = format!("\"listener\":\"{listener}\"");
        let mut lines = log.by_ref().lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains(&wanted));
        let record: serde_json::Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let address = record["address"].as_str().expect("an address");
        address.parse().expect("an address")
    };
    // As they are told of.
    let (http, system) = (address("http"), address("system"));
    // Nothing is read from here on.
    let ask = |at: SocketAddr, path: &str| {
        let mut socket = TcpStream::connect(at).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a time");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        let answered = socket.read_to_string(&mut answer);
        answered.unwrap_or_else(|error| panic!("nobody answers: {error}"));
        answer
    };
    let unread = || rustix::io::ioctl_fionread(log.get_ref()).expect("a pipe");
    let deadline = Instant::now() + PATIENCE;
    // A request that is refused has a line.
    while unread() < PIPE * 7 / 8 {
        assert!(Instant::now() < deadline, "it does not fill: {}", unread());
        ask(http, "/live/a.flv");
    }
    for _ in 0..50 {
        ask(http, "/live/a.flv");
        assert!(ask(system, "/livez").starts_with("HTTP/1.1 200 "));
    }
}

#[test]
fn the_lists_are_read_again_between_reloading_and_ready() {
    let service = Service::start("", &[]);
    service.hear_of("READY=1");
    let file = service.folder.path().join("sluicegate.toml");
    let origin = "[[origin]]\nid = \"one\"\nip = \"127.0.0.1\"\nrtmp = 1935\n";
    std::fs::write(file, format!("{PORTS}{origin}")).expect("a file of ours");
    service.signal("HUP");
    let words = service.hear_of("RELOADING=1");
    let stamp = words
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
    assert!(
        stamp.is_some_and(|stamp| stamp.parse::<u64>().is_ok()),
        "{words}"
    );
    assert_eq!(service.hear_of("READY=1"), "READY=1\n");
    // The status is looked at every five seconds.
    service.hear_of("1 of 1 origin up");
}

#[test]
fn a_watchdog_hears_of_it_twice_in_its_time_to_the_end() {
    let service = Service::start("", &[("WATCHDOG_USEC", "2000000")]);
    service.hear_of("READY=1");
    let began = Instant::now();
    for _ in 0..3 {
        service.hear_of("WATCHDOG=1");
    }
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(1500),
        "one in a second: {took:?}"
    );
    service.signal("TERM");
    service.hear_of("STOPPING=1");
}

#[test]
fn a_watchdog_of_another_process_is_none_of_ours() {
    let others = [("WATCHDOG_USEC", "100000"), ("WATCHDOG_PID", "1")];
    let service = Service::start("", &others);
    service.hear_of("READY=1");
    service.signal("HUP");
    let words = service.hear();
    assert!(
        words.starts_with("RELOADING=1\n"),
        "no watchdog before it: {words}"
    );
}

#[test]
fn the_signals_that_rotate_logs_elsewhere_do_no_harm() {
    let mut service = Service::start("", &[]);
    service.hear_of("READY=1");
    let log = service
        .child
        .stdout
        .take()
        .expect("standard output is piped");
    let mut lines = BufReader::new(log).lines().map_while(Result::ok);
    for signal in ["USR1", "USR2"] {
        service.signal(signal);
        let wanted = format!("\"signal\":\"SIG{signal}\"");
        let line = lines.find(|line| line.contains(&wanted));
        let line = line.expect("it goes on, and says what it did not do");
        assert!(line.contains("there is no file to open again"), "{line}");
    }
    service.signal("TERM");
    service.hear_of("STOPPING=1");
}

#[test]
fn what_ends_other_servers_gracefully_ends_this_one_so_too() {
    for name in ["INT", "QUIT", "TERM"] {
        let mut service = Service::start("[shutdown]\ngrace = \"1s\"\n", &[]);
        service.hear_of("READY=1");
        service.signal(name);
        service.hear_of("STOPPING=1");
        let ended = uninterrupted(|| service.child.wait()).expect("our child");
        assert!(ended.success(), "{name}: {ended}");
    }
}

#[test]
fn what_cannot_be_written_is_no_success() {
    let mut service = Service::start("", &[]);
    service.hear_of("READY=1");
    let url = format!("http://{}", service.address("system"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ran = |arguments: &[&str], output: Stdio| {
        Command::new(env!("CARGO_BIN_EXE_sluicegate"))
            .args(arguments)
            .current_dir(folder.path())
            .env("SLUICEGATE_URL", &url)
            .stdin(Stdio::null())
            .stdout(output)
            .output()
            .expect("the program starts")
    };
    for arguments in [
        &["sessions"][..],
        &["sessions", "-o", "json"],
        &["streams"],
        &["origins"],
        &["ps"],
        &["events"],
        &["events", "-f"],
        &["bans"],
        &["explain", "live/a"],
        &["rebalance", "--dry-run"],
        &["undrain", "--proxy"],
        &["check"],
        &["key", "encoder"],
        &["version"],
        &["completions", "bash"],
        &["--help"],
        &["--version"],
    ] {
        let full = std::fs::File::options().write(true).open("/dev/full");
        let ended = ran(arguments, full.expect("Linux has it").into());
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {words}");
        assert!(words.contains("cannot write"), "{arguments:?}: {words}");

        // A reader that has left has seen enough.
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = ran(arguments, writer.into());
        let words = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {words}");
        assert_eq!(words, "", "{arguments:?}");
    }
}

/// Longer than anything takes here, on a loaded machine too.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that a pipe holds on Linux (pipe(7)).
const PIPE: u64 = 65_536;
const PORTS: &str = "rtmp.listen = \"127.0.0.1:0\"\nhttp.listen = \"127.0.0.1:0\"\napi.listen = \"127.0.0.1:0\"\n\
    system.listen = \"127.0.0.1:0\"\nrtsp.listen = \"127.0.0.1:0\"\nsrt.listen = \"127.0.0.1:0\"\n\
    rtc.listen = \"127.0.0.1:0\"\n\
    health.probe = \"off\"\n";
