//! Origins that are killed in turn under many publishers and viewers: nobody's connection ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;

use crate::support::{NginxRtmp, Proxy, Registrar, machine, wait_for};

/// How many take part, and how often an origin is killed.
struct Size {
    publishers: usize,
    viewers: usize,
    kills: usize,
}

#[test]
fn nobody_is_closed_while_origins_are_killed_in_turn() {
    let _turn = machine::share();
    kill_in_turn(&Size {
        publishers: 4,
        viewers: 8,
        kills: 3,
    });
}

/// `scripts/long hold`.
#[test]
#[ignore = "takes minutes"]
fn long_hold() {
    let _turn = machine::alone();
    let number = |name: &str, otherwise| {
        let value = std::env::var(name).ok();
        value.map_or(otherwise, |value| value.parse().expect("a number"))
    };
    kill_in_turn(&Size {
        publishers: number("PUBLISHERS", 50),
        viewers: number("VIEWERS", 200),
        kills: number("KILLS", 100),
    });
}

fn kill_in_turn(size: &Size) {
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start(
        "fanout.mode = \"open\"\nfanout.public = true\nsession.max = 2000\n\
         placement.claims_per_source = 10000",
    );
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::rtmp_only(&proxy, origin));
    let (rtmp, http) = (proxy.addresses("rtmp")[0], proxy.addresses("http")[0]);
    let stop = Arc::<AtomicBool>::default();
    let publishers: Vec<Guest> = (0..size.publishers)
        .map(|number| Guest::publishes(rtmp, number, &stop))
        .collect();
    for (number, publisher) in publishers.iter().enumerate() {
        publisher.wait_media(&format!("publisher {number}"), 25);
    }
    let viewers: Vec<Guest> = (0..size.viewers)
        .map(|number| {
            let stream = number / 2 % size.publishers;
            match number % 2 {
                0 => Guest::plays(rtmp, stream, &stop),
                _ => Guest::pulls(http, stream, &stop),
            }
        })
        .collect();
    for (number, viewer) in viewers.iter().enumerate() {
        viewer.wait_media(&format!("viewer {number}"), 50);
    }
    let mut settled = 0;
    for kill in 0..size.kills {
        let victim = kill % 2;
        for viewer in &viewers {
            viewer.gaps.lock().unwrap().round += 1;
        }
        origins[victim].kill();
        for (number, viewer) in viewers.iter().enumerate() {
            // Two groups of pictures, so that all who were held go on.
            viewer.wait_media(&format!("kill {kill}, viewer {number}"), 50);
        }
        let closed = publishers
            .iter()
            .chain(&viewers)
            .filter(|guest| guest.is_closed());
        assert_eq!(closed.count(), 0, "connections ended at kill {kill}");
        origins[victim].restart();
        let name = ["origin1", "origin2"][victim];
        wait_for("the origin is back", Duration::from_secs(30), || {
            let origins = proxy.origins();
            origins
                .iter()
                .any(|one| one["server"] == name && one["state"] == "up")
                .then_some(())
        });
        if kill == 9 {
            settled = resident(&proxy);
        }
    }
    report(size, &proxy, &viewers, settled);
    stop.store(true, Ordering::Release);
}

fn report(size: &Size, proxy: &Proxy, viewers: &[Guest], settled: u64) {
    let mut gaps: Vec<Duration> = Vec::new();
    for (number, viewer) in viewers.iter().enumerate() {
        let seen = viewer.gaps.lock().unwrap();
        assert_eq!(
            seen.holes, 0,
            "viewer {number} has holes or steps back in its time"
        );
        gaps.extend(&seen.longest);
    }
    gaps.sort_unstable();
    let part = |part: f64| {
        let at = (gaps.len() as f64 * part) as usize;
        gaps.get(at.min(gaps.len() - 1))
            .copied()
            .unwrap_or_default()
    };
    let now = resident(proxy);
    println!(
        "{} kills under {} publishers and {} viewers: 0 connections closed; {} pauses of viewers: p50 {:?}, p99 {:?}, \
         longest {:?}; resident {settled} kB after ten kills, {now} kB at the end",
        size.kills,
        size.publishers,
        size.viewers,
        gaps.len(),
        part(0.5),
        part(0.99),
        part(1.0)
    );
    assert!(!gaps.is_empty(), "somebody was held");
    assert!(
        settled == 0 || now <= settled + settled / 5 + 8_192,
        "memory grew from {settled} to {now} kB"
    );
}

/// The resident memory of the proxy, in kB.
fn resident(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("its memory").trim().trim_end_matches(" kB");
    words.parse().expect("a number")
}

/// A client on a thread of its own.
struct Guest {
    /// Pictures that it sent or got.
    media: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    gaps: Arc<Mutex<Gaps>>,
    _thread: JoinHandle<()>,
}

/// What a viewer noticed.
#[derive(Default)]
struct Gaps {
    round: usize,
    /// The longest pause of each round in which there was one.
    longest: Vec<Duration>,
    last_round: usize,
    last: Option<(Instant, u32)>,
    /// Pictures whose timestamp is not one frame after the one before.
    holes: u64,
}

impl Gaps {
    fn picture(&mut self, timestamp: u32) {
        let now = Instant::now();
        if let Some((at, before)) = self.last.replace((now, timestamp)) {
            self.holes += u64::from(timestamp.wrapping_sub(before) != FRAME_MS);
            let pause = now - at;
            if pause >= PAUSE {
                if self.last_round == self.round {
                    if let Some(longest) = self.longest.last_mut() {
                        *longest = pause.max(*longest);
                    }
                } else {
                    self.longest.push(pause);
                    self.last_round = self.round;
                }
            }
        }
    }
}

impl Guest {
    fn start(
        stop: &Arc<AtomicBool>,
        serve: impl FnOnce(&dyn Fn() -> bool, &AtomicU64, &Mutex<Gaps>) + Send + 'static,
    ) -> Self {
        let (media, ended) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let gaps = Arc::<Mutex<Gaps>>::default();
        let (stop, told, count, seen) = (
            Arc::clone(stop),
            Arc::clone(&ended),
            Arc::clone(&media),
            Arc::clone(&gaps),
        );
        let thread = std::thread::spawn(move || {
            serve(&|| stop.load(Ordering::Acquire), &count, &seen);
            told.store(true, Ordering::Release);
        });
        Self {
            media,
            ended,
            gaps,
            _thread: thread,
        }
    }

    /// An encoder: 25 pictures a second, one in 25 a keyframe.
    fn publishes(at: SocketAddr, stream: usize, stop: &Arc<AtomicBool>) -> Self {
        Self::start(stop, move |stops, media, _| {
            let mut link = Link::ask(at, Action::Publish, stream);
            let began = Instant::now();
            link.send(0, &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff]);
            for number in 0_u32.. {
                let keyframe = number % 25 == 0;
                let first = if keyframe { 0x17 } else { 0x27 };
                let length = if keyframe { 8_000 } else { 1_500 };
                let picture = [&[first, 1, 0, 0, 0][..], &vec![7; length]].concat();
                if !link.send(number * FRAME_MS, &picture) {
                    return;
                }
                media.fetch_add(1, Ordering::Relaxed);
                let due = began + Duration::from_millis(u64::from(number * FRAME_MS));
                while Instant::now() < due {
                    let rest = due.saturating_duration_since(Instant::now());
                    if stops() || !link.read_for(rest) {
                        return;
                    }
                }
            }
        })
    }

    fn plays(at: SocketAddr, stream: usize, stop: &Arc<AtomicBool>) -> Self {
        Self::start(stop, move |stops, media, gaps| {
            let mut link = Link::ask(at, Action::Play, stream);
            while !stops() && link.read_for(PATIENCE) {
                for message in link.media.drain(..) {
                    note(&message.payload, message.timestamp, media, gaps);
                }
            }
        })
    }

    fn pulls(at: SocketAddr, stream: usize, stop: &Arc<AtomicBool>) -> Self {
        Self::start(stop, move |stops, media, gaps| {
            let mut socket = TcpStream::connect(at).expect("the proxy listens");
            let request = format!("GET /live/{stream}.flv HTTP/1.0\r\nHost: {at}\r\n\r\n");
            socket.write_all(request.as_bytes()).expect("it reads");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time");
            let mut body = Vec::new();
            let mut chunk = vec![0; 64 * 1024];
            let mut has_begun = false;
            while !stops() {
                match socket.read(&mut chunk) {
                    Ok(count) if count > 0 => body.extend(&chunk[..count]),
                    _ => return,
                }
                if !has_begun {
                    let Some(end) = body.windows(4).position(|four| four == b"\r\n\r\n") else {
                        continue;
                    };
                    if body.len() < end + 4 + FLV_HEADER {
                        continue;
                    }
                    body.drain(..end + 4 + FLV_HEADER);
                    has_begun = true;
                }
                while let Some(tag) = take_tag(&mut body) {
                    if tag.0 == kind::VIDEO {
                        note(&tag.2, tag.1, media, gaps);
                    }
                }
            }
        })
    }

    fn is_closed(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Waits for that many more pictures.
    fn wait_media(&self, what: &str, more: u64) {
        let until = self.media.load(Ordering::Relaxed) + more;
        wait_for(what, Duration::from_secs(60), || {
            assert!(!self.is_closed(), "{what}: its connection ended");
            (self.media.load(Ordering::Relaxed) >= until).then_some(())
        });
    }
}

/// Takes note of a picture; decoder configurations are none.
fn note(payload: &[u8], timestamp: u32, media: &AtomicU64, gaps: &Mutex<Gaps>) {
    if payload.get(1) == Some(&1) {
        gaps.lock().unwrap().picture(timestamp);
        media.fetch_add(1, Ordering::Relaxed);
    }
}

/// The kind, timestamp and body of a tag that is there whole.
fn take_tag(bytes: &mut Vec<u8>) -> Option<(u8, u32, Vec<u8>)> {
    let head: &[u8; 11] = bytes.first_chunk()?;
    let length = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
    let timestamp = u32::from_be_bytes([head[7], head[4], head[5], head[6]]);
    let (of_kind, whole) = (head[0], 11 + length + 4);
    if bytes.len() < whole {
        return None;
    }
    let body = bytes[11..11 + length].to_vec();
    bytes.drain(..whole);
    Some((of_kind, timestamp, body))
}

/// An RTMP connection of a client.
struct Link {
    socket: TcpStream,
    machine: Client,
    media: Vec<Message>,
    /// The origin said yes.
    is_granted: bool,
}

impl Link {
    fn ask(at: SocketAddr, action: Action, stream: usize) -> Self {
        let tc_url = format!("rtmp://{at}/live");
        let machine = Client::new([7; 32], action, &tc_url, &stream.to_string(), Vec::new());
        let mut link = Self {
            socket: TcpStream::connect(at).expect("the proxy listens"),
            machine,
            media: Vec::new(),
            is_granted: false,
        };
        link.flush();
        while !link.is_granted && link.read_for(PATIENCE) {}
        link
    }

    fn flush(&mut self) -> bool {
        let bytes = self.machine.poll_output().unwrap_or_default();
        self.socket.write_all(&bytes).is_ok()
    }

    fn send(&mut self, timestamp: u32, payload: &[u8]) -> bool {
        self.machine.send_media(&Message {
            timestamp,
            kind: kind::VIDEO,
            stream_id: self.machine.stream_id(),
            payload: payload.to_vec(),
        });
        self.flush()
    }

    /// Reads once, for at most this long. False: the connection is over.
    fn read_for(&mut self, time: Duration) -> bool {
        let mut buffer = [0; 16 * 1024];
        let time = time.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(time)).expect("a time");
        match self.socket.read(&mut buffer) {
            Ok(0) => return false,
            Ok(count) => {
                if self.machine.feed(&buffer[..count]).is_err() {
                    return false;
                }
            }
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
        while let Some(event) = self.machine.poll_event() {
            match event {
                ClientEvent::Media(message) if message.kind == kind::VIDEO => {
                    self.media.push(message);
                }
                ClientEvent::Refused(_) => return false,
                ClientEvent::Status { code, .. } => self.is_granted |= code.ends_with(".Start"),
                _ => {}
            }
        }
        self.flush()
    }
}

/// Between two pictures.
const FRAME_MS: u32 = 40;
/// A longer time without a picture is a pause that people may see.
const PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(40);
/// The header of the file, and the size of the tag before the first.
const FLV_HEADER: usize = 13;
