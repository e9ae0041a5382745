//! SRT: an origin on libsrt, and a bad network.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::machine::{self, installed, scratch_root};
use super::program::Program;
use super::proxy::Proxy;

/// `tests/peers/srt_origin.c`: publish and play on one port, by stream id.
pub(crate) struct SrtOrigin {
    name: String,
    port: u16,
    passphrase: Option<&'static str>,
    /// Whether its stream ids are `publish:PATH` and `read:PATH`.
    by_words: bool,
    program: Program,
}

impl SrtOrigin {
    /// Starts one and registers it.
    pub(crate) fn start(proxy: &Proxy, name: &str) -> Self {
        Self::with(proxy, name, None)
    }

    /// An origin that requires encryption from its callers.
    pub(crate) fn encrypted(proxy: &Proxy, name: &str, passphrase: &'static str) -> Self {
        Self::with(proxy, name, Some(passphrase))
    }

    /// An origin that no proxy knows yet.
    pub(crate) fn unregistered(name: &str) -> Self {
        Self::open(name, None, false)
    }

    /// One that no proxy knows yet and that takes stream ids as MediaMTX does, and no others.
    pub(crate) fn by_words(name: &str) -> Self {
        Self::open(name, None, true)
    }

    fn with(proxy: &Proxy, name: &str, passphrase: Option<&'static str>) -> Self {
        let origin = Self::open(name, passphrase, false);
        register(proxy, name, origin.port);
        origin
    }

    fn open(name: &str, passphrase: Option<&'static str>, by_words: bool) -> Self {
        let port = machine::free_port();
        let program = Self::run(name, port, passphrase, by_words);
        Self {
            name: name.to_owned(),
            port,
            passphrase,
            by_words,
            program,
        }
    }

    fn run(name: &str, port: u16, passphrase: Option<&str>, by_words: bool) -> Program {
        let mut command = Command::new(built("srt_origin"));
        command
            .arg(port.to_string())
            .arg(passphrase.unwrap_or_default())
            .args(by_words.then_some("words"));
        let program = Program::start(name, &mut command).abrupt();
        program.wait_line("it listens", STARTS, |line| {
            (line.text == "listening").then_some(())
        });
        program
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Returns when it prints `what`: `publish live/a`, `play live/a`, `gone live/a`.
    #[track_caller]
    pub(crate) fn wait_said(&self, what: &str) {
        self.program
            .wait_line(what, STARTS, |line| (line.text == what).then_some(()));
    }

    pub(crate) fn said(&self, what: &str) -> bool {
        self.program.output().lines().any(|line| line == what)
    }

    /// Kills it without a goodbye.
    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    /// Starts another process on the same port.
    pub(crate) fn restart(&mut self) {
        self.program.kill();
        self.program = Self::run(&self.name, self.port, self.passphrase, self.by_words);
    }

    /// Stops the process without ending it: nothing answers.
    pub(crate) fn freeze(&self) {
        self.program.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.program.signal("CONT");
    }
}

/// Registers an origin that speaks only SRT.
pub(crate) fn register(proxy: &Proxy, name: &str, port: u16) {
    proxy.register(&json!({
        "ip": "127.0.0.1", "server": name, "service": "by-hand", "pid": "1", "srt": [port.to_string()],
    }));
}

impl Proxy {
    /// The address that a publisher of `app/stream` calls.
    pub(crate) fn srt_publish(&self, stream: &str) -> String {
        srt_url(self.srt, &format!("#!::r={stream},m=publish"))
    }

    /// The address that a player of `app/stream` calls.
    pub(crate) fn srt_play(&self, stream: &str) -> String {
        srt_url(self.srt, &format!("#!::r={stream},m=request"))
    }
}

/// The address of a stream id at a listener.
pub(crate) fn srt_url(at: SocketAddr, stream_id: &str) -> String {
    format!("srt://{at}?streamid={stream_id}")
}

/// What a libsrt caller with `stream_id` prints: `joined`, or `rejected 1404`.
#[track_caller]
pub(crate) fn call(at: SocketAddr, stream_id: &str, passphrase: Option<&str>) -> String {
    let mut caller = Command::new(built("srt_caller"));
    caller.args([&at.port().to_string(), stream_id]);
    caller.args(passphrase);
    let mut caller = Program::start("srt_caller", &mut caller).abrupt();
    caller.wait_end(STARTS);
    caller.output().trim().to_owned()
}

/// A program of `tests/peers`; it is built by the first story that needs it.
pub(super) fn built(name: &str) -> PathBuf {
    let path = scratch_root().join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/peers/{name}.c"));
    let written = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified());
    let stale = written(&path).ok() < written(&source).ok();
    if stale {
        // Other tests may be building it too: each has its own file, and the last rename wins.
        let partial = scratch_root().join(format!(
            "{name}-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut compiler = Command::new(installed(&["cc", "gcc"]));
        compiler
            .args(["-O1", "-Wall", "-o"])
            .arg(&partial)
            .arg(&source)
            .args(["-lsrt", "-lpthread"]);
        let mut compiler = Program::start("cc", &mut compiler);
        let status = compiler.wait_end(STARTS);
        assert!(status.success(), "{}", compiler.errors());
        std::fs::rename(&partial, &path).expect("both are in one folder");
    }
    path
}

/// A network between clients and a server that loses, delays and reorders datagrams, from a seed.
pub(crate) struct BadNetwork {
    pub(crate) address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl BadNetwork {
    /// A network in front of `server`. Of a thousand datagrams in each direction, `lost` are lost; each takes up to
    /// `delay`, so that later ones overtake.
    pub(crate) fn before(server: SocketAddr, lost: u64, delay: Duration, seed: u64) -> Self {
        let public = socket();
        let address = public.local_addr().expect("it is bound");
        let stop = Arc::new(AtomicBool::new(false));
        let mut network = Network {
            public,
            server,
            lost,
            delay,
            random: seed,
            clients: HashMap::new(),
            wire: Vec::new(),
        };
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                network.step();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { address, stop }
    }
}

impl Drop for BadNetwork {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Network {
    public: UdpSocket,
    server: SocketAddr,
    lost: u64,
    delay: Duration,
    random: u64,
    /// For each client, a socket to the server.
    clients: HashMap<SocketAddr, UdpSocket>,
    /// Datagrams in flight: when they arrive, the client, whether they go to the client, and their bytes.
    wire: Vec<(Instant, SocketAddr, bool, Vec<u8>)>,
}

impl Network {
    fn step(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok((length, client)) = self.public.recv_from(&mut buffer) {
            self.clients.entry(client).or_insert_with(socket);
            self.carry(client, false, &buffer[..length]);
        }
        let clients: Vec<SocketAddr> = self.clients.keys().copied().collect();
        for client in clients {
            while let Ok(length) = self.clients[&client].recv(&mut buffer) {
                self.carry(client, true, &buffer[..length]);
            }
        }
        let now = Instant::now();
        for (at, client, to_client, datagram) in std::mem::take(&mut self.wire) {
            // A client that has left does not matter.
            let _ = match (at <= now, to_client) {
                (false, _) => {
                    self.wire.push((at, client, to_client, datagram));
                    continue;
                }
                (true, true) => self.public.send_to(&datagram, client),
                (true, false) => self.clients[&client].send_to(&datagram, self.server),
            };
        }
    }

    fn carry(&mut self, client: SocketAddr, to_client: bool, datagram: &[u8]) {
        if self.draw(1000) < self.lost {
            return;
        }
        let micros = u64::try_from(self.delay.as_micros()).expect("a short delay");
        let at = Instant::now() + Duration::from_micros(self.draw(micros.max(1)));
        self.wire.push((at, client, to_client, datagram.to_vec()));
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
    socket.set_nonblocking(true).expect("a socket of ours");
    socket
}

const STARTS: Duration = Duration::from_secs(40);
