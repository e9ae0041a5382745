//! Redis servers for tests: alone, with TLS, with sentinels, as a cluster.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::machine::{free_port, is_listening};
use crate::program::Program;
use crate::wait_for;

/// One server. It ends with the value.
pub(crate) struct RedisServer {
    program: Program,
    port: u16,
    arguments: Vec<String>,
    url: String,
    folder: TempDir,
}

impl RedisServer {
    /// A server without a password.
    pub(crate) fn start() -> Self {
        let port = free_port();
        let arguments = vec!["--port".to_owned(), port.to_string()];
        Self::run(
            port,
            arguments,
            format!("redis://127.0.0.1:{port}"),
            folder(),
        )
    }

    /// A server that others can reach at any of our addresses.
    pub(crate) fn start_for_all() -> Self {
        let port = free_port();
        let arguments = ["--bind", "0.0.0.0", "--protected-mode", "no", "--port"];
        let mut arguments: Vec<String> = arguments.map(str::to_owned).into();
        arguments.push(port.to_string());
        Self::run(
            port,
            arguments,
            format!("redis://127.0.0.1:{port}"),
            folder(),
        )
    }

    /// A server that speaks only TLS, with an authority of its own, and requires a password.
    pub(crate) fn start_with_tls(password: &str) -> Self {
        let (port, folder) = (free_port(), folder());
        let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
        let mut authority = CertificateParams::new(Vec::new()).expect("no names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(authority, key).expect("an authority");
        let server_key = KeyPair::generate().expect("a key");
        let server = CertificateParams::new(vec!["127.0.0.1".to_owned()])
            .and_then(|server| server.signed_by(&server_key, &authority))
            .expect("a certificate");
        fs::write(file("ca.pem"), authority.pem()).expect("a folder of ours");
        fs::write(file("server.pem"), server.pem()).expect("a folder of ours");
        fs::write(file("key.pem"), server_key.serialize_pem()).expect("a folder of ours");
        let arguments = [
            ("--port", "0"),
            ("--tls-port", &port.to_string()),
            ("--tls-cert-file", &file("server.pem")),
            ("--tls-key-file", &file("key.pem")),
            ("--tls-ca-cert-file", &file("ca.pem")),
            ("--tls-auth-clients", "no"),
            ("--requirepass", password),
        ];
        let arguments = arguments
            .iter()
            .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
            .collect();
        let url = format!(
            "rediss://:{password}@127.0.0.1:{port}?ca={}",
            file("ca.pem")
        );
        Self::run(port, arguments, url, folder)
    }

    fn run(port: u16, arguments: Vec<String>, url: String, folder: TempDir) -> Self {
        let program = redis_server(&arguments, &folder, port);
        Self {
            program,
            port,
            arguments,
            url,
            folder,
        }
    }

    /// Its address, in the form of our settings.
    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// Stops it from answering, while its connections stay open.
    pub(crate) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Ends [`freeze`](Self::freeze).
    pub(crate) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it, and with it everything it knew.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        let port = self.port;
        until("redis-server ends", || !is_listening(port));
    }

    /// Starts it again on the same port.
    pub(crate) fn start_again(&mut self) {
        self.program = redis_server(&self.arguments, &self.folder, self.port);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.program.pid())
            .ok()
            .and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("a child of ours");
    }
}

/// A primary, a replica and three sentinels that watch them.
pub(crate) struct Sentinels {
    primary: RedisServer,
    replica: RedisServer,
    sentinels: Vec<(u16, Program)>,
    _folder: TempDir,
}

impl Sentinels {
    /// Starts all five.
    pub(crate) fn start() -> Self {
        let (primary, replica) = (RedisServer::start(), RedisServer::start());
        let port = primary.port.to_string();
        replica.cli(&["replicaof", "127.0.0.1", &port]);
        let folder = folder();
        let sentinels = (0..3)
            .map(|index| {
                let own = free_port();
                let file = folder.path().join(format!("sentinel-{index}.conf"));
                let settings = format!(
                    "port {own}\ndir {}\nsentinel monitor mymaster 127.0.0.1 {port} 2\n\
                     sentinel down-after-milliseconds mymaster 1000\n\
                     sentinel failover-timeout mymaster 10000\n",
                    folder.path().display()
                );
                fs::write(&file, settings).expect("a folder of ours");
                let mut command = Command::new("redis-sentinel");
                let program = Program::start("redis-sentinel", command.arg(&file)).abrupt();
                until("redis-sentinel listens", || is_listening(own));
                (own, program)
            })
            .collect();
        Self {
            primary,
            replica,
            sentinels,
            _folder: folder,
        }
    }

    /// Their addresses, in the form of our settings.
    pub(crate) fn url(&self) -> String {
        let places: Vec<String> = self
            .sentinels
            .iter()
            .map(|(port, _)| format!("127.0.0.1:{port}"))
            .collect();
        format!("redis+sentinel://{}/mymaster", places.join(","))
    }

    /// Waits until the sentinels know each other and the replica, and the replica has what the primary has.
    pub(crate) fn wait_for_replica(&self) {
        let offset = |told: &str, name: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|offset| offset.trim().parse::<u64>().ok())
        };
        let written = self.primary.cli(&["info", "replication"]);
        let written = offset(&written, "master_repl_offset:").expect("a primary tells it");
        until("the replica is in step", || {
            let told = self.replica.cli(&["info", "replication"]);
            let has_all = offset(&told, "slave_repl_offset:") >= Some(written);
            let known = |port: &u16| {
                let told = cli(*port, &["sentinel", "master", "mymaster"]);
                // A name on one line, its value on the next.
                let lines: Vec<&str> = told.lines().collect();
                let value = |name: &str| {
                    let at = lines.iter().position(|line| *line == name)?;
                    lines.get(at + 1).copied()
                };
                (value("num-slaves"), value("num-other-sentinels")) == (Some("1"), Some("2"))
            };
            told.contains("master_link_status:up")
                && has_all
                && self.sentinels.iter().all(|(port, _)| known(port))
        });
    }

    /// Kills the primary.
    pub(crate) fn kill_primary(&mut self) {
        self.primary.kill();
    }
}

impl RedisServer {
    /// Runs `redis-cli`, and returns what it printed.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        cli(self.port, words)
    }
}

/// Three primaries with a replica each.
pub(crate) struct Cluster {
    nodes: Vec<RedisServer>,
}

impl Cluster {
    /// Starts the nodes and joins them.
    pub(crate) fn start() -> Self {
        let nodes: Vec<RedisServer> = (0..6)
            .map(|_| {
                let (port, bus) = (free_port().to_string(), free_port().to_string());
                let arguments = [
                    ("--port", port.as_str()),
                    ("--cluster-enabled", "yes"),
                    ("--cluster-port", &bus),
                    ("--cluster-node-timeout", "2000"),
                ];
                let arguments = arguments
                    .iter()
                    .flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()])
                    .collect();
                let url = format!("redis+cluster://127.0.0.1:{port}");
                RedisServer::run(port.parse().expect("a port"), arguments, url, folder())
            })
            .collect();
        let places: Vec<String> = nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port))
            .collect();
        let created = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(&places)
            .args(["--cluster-replicas", "1", "--cluster-yes"])
            .output()
            .expect("redis-cli runs");
        assert!(
            created.status.success(),
            "{}",
            String::from_utf8_lossy(&created.stdout)
        );
        until("the cluster works", || {
            nodes
                .iter()
                .all(|node| node.cli(&["cluster", "info"]).contains("cluster_state:ok"))
        });
        Self { nodes }
    }

    /// Its address, in the form of our settings: two of its nodes are enough.
    pub(crate) fn url(&self) -> String {
        let place = |index: usize| format!("127.0.0.1:{}", self.nodes[index].port);
        format!("redis+cluster://{},{}", place(0), place(3))
    }
}

fn redis_server(arguments: &[String], folder: &TempDir, port: u16) -> Program {
    let mut command = Command::new("redis-server");
    command
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(arguments)
        .current_dir(folder.path());
    let program = Program::start("redis-server", &mut command).abrupt();
    until("redis-server listens", || is_listening(port));
    program
}

fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-p", &port.to_string()])
        .args(words)
        .output()
        .expect("redis-cli runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    wait_for(what, PATIENCE, || holds().then_some(()));
}

fn folder() -> TempDir {
    TempDir::new().expect("a folder for temporary files")
}

const PATIENCE: Duration = Duration::from_secs(30);
