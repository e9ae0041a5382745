//! WebRTC peers: an origin and a client on aiortc, and a relay that changes a client's address in transit.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::program::Program;
use super::proxy::Proxy;
use super::{http, machine};

/// An origin that speaks WHIP and WHEP, with all media on one UDP port.
pub(crate) struct RtcOrigin {
    name: String,
    api: SocketAddr,
    media: u16,
    program: Program,
}

/// A client: what it decodes, and the state of its connection.
pub(crate) struct RtcClient {
    program: Program,
}

/// A UDP relay in front of the proxy's media port. It sends from one address until it is told to change.
pub(crate) struct Rebinding {
    address: SocketAddr,
    changes: Arc<AtomicU32>,
    _stop: Stop,
}

struct Stop(Arc<AtomicBool>);

impl RtcOrigin {
    pub(crate) fn start(name: &str) -> Self {
        let (api, media) = (machine::free_port(), machine::free_port());
        let mut python = python("rtc_origin.py");
        python.args([api.to_string(), media.to_string()]);
        let program = Program::start(name, &mut python).abrupt();
        let origin = Self {
            name: name.to_owned(),
            api: (Ipv4Addr::LOCALHOST, api).into(),
            media,
            program,
        };
        origin.wait("ready", |event| event["event"] == "ready");
        origin
    }

    /// Registers the origin with a proxy.
    pub(crate) fn register(&self, proxy: &Proxy) {
        proxy.register(&self.registration());
    }

    /// The body of the origin's registration.
    pub(crate) fn registration(&self) -> Value {
        json!({
            "ip": "127.0.0.1", "server": self.name, "service": "by-hand", "pid": "1",
            "api": [self.api.port().to_string()], "rtc": [self.media.to_string()],
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The first event, past or future, that `pick` accepts.
    #[track_caller]
    pub(crate) fn wait(&self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        wait(&self.program, what, pick)
    }

    /// Whether it was asked for this stream.
    pub(crate) fn was_asked_for(&self, stream: &str) -> bool {
        events(&self.program)
            .iter()
            .any(|event| event["event"] == "offer" && event["stream"] == stream)
    }

    /// The state of its calls, and the number of addresses that their packets come from.
    pub(crate) fn state(&self) -> Value {
        let response = http::request(self.api, "GET", "/state", &["Connection: close"], "");
        serde_json::from_slice(&response.body).expect("the origin's state is JSON")
    }

    pub(crate) fn kill(&mut self) {
        self.program.kill();
    }

    /// Stops the process without ending it: its ports accept packets, and nothing answers.
    pub(crate) fn freeze(&self) {
        self.program.signal("STOP");
    }
}

impl RtcClient {
    /// Plays `stream` of the app `live`.
    pub(crate) fn play(proxy: &Proxy, stream: &str) -> Self {
        Self::start("play", &whep(proxy, stream), None)
    }

    /// Publishes `stream` of the app `live`.
    pub(crate) fn publish(proxy: &Proxy, stream: &str) -> Self {
        let url = whep(proxy, stream).replace("/whep/", "/whip/");
        Self::start("publish", &url, None)
    }

    /// Publishes to a WHIP address.
    pub(crate) fn publish_to(url: &str) -> Self {
        Self::start("publish", url, None)
    }

    /// Plays a stream through a relay.
    pub(crate) fn play_through(proxy: &Proxy, stream: &str, relay: &Rebinding) -> Self {
        Self::start("play", &whep(proxy, stream), Some(relay.address))
    }

    /// Plays a stream, signalled by one proxy, with its media through the port of another.
    pub(crate) fn play_by(proxy: &Proxy, stream: &str, media: SocketAddr) -> Self {
        Self::start("play", &whep(proxy, stream), Some(media))
    }

    /// Publishes a stream in the same way.
    pub(crate) fn publish_by(proxy: &Proxy, stream: &str, media: SocketAddr) -> Self {
        let url = whep(proxy, stream).replace("/whep/", "/whip/");
        Self::start("publish", &url, Some(media))
    }

    fn start(action: &str, url: &str, through: Option<SocketAddr>) -> Self {
        let mut python = python("rtc_client.py");
        python.args([action, url]);
        python.args(through.map(|address| address.to_string()));
        Self {
            program: Program::start(action, &mut python),
        }
    }

    /// Returns the first picture whose number is `count`.
    #[track_caller]
    pub(crate) fn wait_frame(&self, count: u64) -> Value {
        wait(&self.program, &format!("picture {count}"), |event| {
            event["event"] == "frame" && event["count"].as_u64() >= Some(count)
        })
    }

    /// Waits for `count` more pictures.
    #[track_caller]
    pub(crate) fn wait_more(&self, count: u64) {
        let seen = self.frames();
        self.wait_frame(seen + count);
    }

    /// Ends its call with DELETE.
    pub(crate) fn leave(&self) {
        self.program.signal("USR1");
    }

    pub(crate) fn frames(&self) -> u64 {
        let events = events(&self.program);
        let numbers = events.iter().filter_map(|event| event["count"].as_u64());
        numbers.max().unwrap_or(0)
    }

    #[track_caller]
    pub(crate) fn wait(&self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        wait(&self.program, what, pick)
    }
}

impl Rebinding {
    pub(crate) fn to(media: SocketAddr) -> Self {
        let inside = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        let address = inside.local_addr().expect("it is bound");
        let changes = Arc::new(AtomicU32::new(0));
        let stopped = Arc::new(AtomicBool::new(false));
        let (wanted, over) = (Arc::clone(&changes), Arc::clone(&stopped));
        std::thread::spawn(move || carry(&inside, media, &wanted, &over));
        Self {
            address,
            changes,
            _stop: Stop(stopped),
        }
    }

    /// From now on packets come from another port.
    pub(crate) fn change(&self) {
        self.changes.fetch_add(1, Ordering::Relaxed);
    }
}

fn carry(inside: &UdpSocket, media: SocketAddr, wanted: &AtomicU32, over: &AtomicBool) {
    let outside = || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        socket.set_nonblocking(true).expect("a socket of ours");
        socket
    };
    inside.set_nonblocking(true).expect("a socket of ours");
    let (mut socket, mut changed, mut client) = (outside(), 0, None);
    let mut packet = [0; 2048];
    while !over.load(Ordering::Relaxed) {
        if wanted.load(Ordering::Relaxed) != changed {
            changed = wanted.load(Ordering::Relaxed);
            socket = outside();
        }
        let mut idle = true;
        while let Ok((count, from)) = inside.recv_from(&mut packet) {
            client = Some(from);
            let _ = socket.send_to(&packet[..count], media);
            idle = false;
        }
        while let Ok((count, _)) = socket.recv_from(&mut packet) {
            if let Some(client) = client {
                let _ = inside.send_to(&packet[..count], client);
            }
            idle = false;
        }
        if idle {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The folder of the page that publishes and plays.
pub(crate) fn page_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/webrtc")
}

fn whep(proxy: &Proxy, stream: &str) -> String {
    format!("http://{}/rtc/v1/whep/?app=live&stream={stream}", proxy.api)
}

fn python(script: &str) -> Command {
    let mut python = Command::new(machine::peer_file("python/bin/python"));
    python.arg(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/peers")
            .join(script),
    );
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}

fn events(program: &Program) -> Vec<Value> {
    let lines = program.lines();
    lines
        .iter()
        .filter_map(|line| serde_json::from_str(&line.text).ok())
        .collect()
}

#[track_caller]
fn wait(program: &Program, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
    program.wait_line(what, PATIENCE, |line| {
        let event: Value = serde_json::from_str(&line.text).ok()?;
        pick(&event).then_some(event)
    })
}

const PATIENCE: Duration = Duration::from_secs(60);
