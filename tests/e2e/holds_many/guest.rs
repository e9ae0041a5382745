//! Clients by RTMP and HTTP-FLV, each on a thread of its own, and what a viewer notices.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;

use crate::support::{uninterrupted, wait_for};

/// A client.
pub(super) struct Guest {
    /// Pictures that it sent or got.
    media: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    _thread: JoinHandle<()>,
}

/// What a viewer noticed.
#[derive(Default)]
pub(super) struct Seen {
    /// When pictures came again after a pause, and how long that was.
    pub(super) pauses: Vec<(Instant, Duration)>,
    /// Pictures whose timestamp is not one frame after the one before, where the origin did not leave pictures out.
    pub(super) holes: Vec<String>,
    /// Pictures that never came.
    pub(super) missing: u64,
    /// Pictures that came twice, or after later ones.
    pub(super) twice: u64,
    last: Option<Shown>,
    /// How far its timestamps are from those of the encoder, for pictures and sound, once it has both.
    shifts: (Option<i64>, Option<i64>),
}

/// A picture.
struct Shown {
    at: Instant,
    timestamp: u32,
    number: u32,
}

impl Seen {
    /// How far sound and pictures have moved against each other on their way.
    pub(super) fn out_of_step(&self) -> u64 {
        let (picture, sound) = self.shifts;
        let both = picture.zip(sound).expect("pictures and sound");
        both.0.abs_diff(both.1)
    }

    /// Takes note of a message. True if it is a picture; decoder configurations are none.
    fn note(&mut self, of_kind: u8, payload: &[u8], timestamp: u32) -> bool {
        if payload.get(1) != Some(&1) {
            return false;
        }
        let shift = |sent: u32| i64::from(timestamp) - i64::from(sent);
        match of_kind {
            kind::AUDIO => {
                let number = number_in(payload, AUDIO_HEAD);
                self.shifts.1 = Some(shift(sound_at(number)));
                false
            }
            kind::VIDEO => {
                let number = number_in(payload, VIDEO_HEAD);
                self.shifts.0 = Some(shift(number * FRAME_MS));
                self.picture(timestamp, number);
                true
            }
            _ => false,
        }
    }

    fn picture(&mut self, timestamp: u32, number: u32) {
        let now = Instant::now();
        let shown = Shown {
            at: now,
            timestamp,
            number,
        };
        let Some(before) = self.last.replace(shown) else {
            return;
        };
        let (pause, step) = (now - before.at, timestamp.wrapping_sub(before.timestamp));
        // Sound and pictures come back into step by a millisecond with each picture. An origin whose own queue is full leaves
        // pictures out, and there is a hole in what it sends.
        let sent = number.wrapping_sub(before.number).wrapping_mul(FRAME_MS);
        if step.abs_diff(FRAME_MS) > 1 && (pause >= PAUSE || step.abs_diff(sent) > 1) {
            let (of, then) = (before.number, before.timestamp);
            self.holes.push(format!(
                "{pause:.0?} after picture {of} at {then} came {number} at {timestamp}"
            ));
        }
        match number.checked_sub(before.number) {
            None | Some(0) => self.twice += 1,
            Some(steps) => self.missing += u64::from(steps - 1),
        }
        if pause >= PAUSE {
            self.pauses.push((now, pause));
        }
    }
}

impl Guest {
    fn start(
        stop: &Arc<AtomicBool>,
        serve: impl FnOnce(&dyn Fn() -> bool, &AtomicU64, &Mutex<Seen>) + Send + 'static,
    ) -> Self {
        let (media, ended) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let seen = Arc::<Mutex<Seen>>::default();
        let (stop, told, count, notes) = (
            Arc::clone(stop),
            Arc::clone(&ended),
            Arc::clone(&media),
            Arc::clone(&seen),
        );
        let thread = std::thread::spawn(move || {
            serve(&|| stop.load(Ordering::Acquire), &count, &notes);
            told.store(true, Ordering::Release);
        });
        Self {
            media,
            ended,
            seen,
            _thread: thread,
        }
    }

    /// An encoder: 25 pictures a second, one in 25 a keyframe, and sound of 48 kHz. Each has its number in it.
    pub(super) fn publishes(at: SocketAddr, stream: usize, stop: &Arc<AtomicBool>) -> Self {
        Self::start(stop, move |stops, media, _| {
            let mut link = Link::ask(at, Action::Publish, stream);
            // The groups of pictures of many encoders do not begin at one moment.
            let began = Instant::now() + Duration::from_millis(stream as u64 * 397 % 1000);
            std::thread::sleep(began.saturating_duration_since(Instant::now()));
            link.send(kind::VIDEO, 0, &[0x17, 0, 0, 0, 0, 1, 0x64, 0, 0x1f, 0xff]);
            link.send(kind::AUDIO, 0, &[0xaf, 0, 0x11, 0x90]);
            let (mut picture, mut sound) = (0_u32, 0_u32);
            loop {
                let (next_picture, next_sound) = (picture * FRAME_MS, sound_at(sound));
                let is_sent = if next_sound < next_picture {
                    let body = numbered(&[0xaf, 1], sound, 180);
                    sound += 1;
                    link.send(kind::AUDIO, next_sound, &body)
                } else {
                    let (first, length) = match picture % 25 {
                        0 => (0x17, 8_000),
                        _ => (0x27, 1_500),
                    };
                    let body = numbered(&[first, 1, 0, 0, 0], picture, length);
                    picture += 1;
                    media.fetch_add(1, Ordering::Relaxed);
                    link.send(kind::VIDEO, next_picture, &body)
                };
                if !is_sent {
                    return;
                }
                let next = (picture * FRAME_MS).min(sound_at(sound));
                let due = began + Duration::from_millis(next.into());
                while Instant::now() < due {
                    let rest = due.saturating_duration_since(Instant::now());
                    if stops() || !link.read_for(rest) {
                        return;
                    }
                }
            }
        })
    }

    pub(super) fn plays(at: SocketAddr, stream: usize, stop: &Arc<AtomicBool>) -> Self {
        Self::start(stop, move |stops, media, seen| {
            let mut link = Link::ask(at, Action::Play, stream);
            while !stops() && link.read_for(PATIENCE) {
                for message in link.media.drain(..) {
                    note(
                        message.kind,
                        &message.payload,
                        message.timestamp,
                        media,
                        seen,
                    );
                }
            }
        })
    }

    pub(super) fn pulls(at: SocketAddr, stream: usize, stop: &Arc<AtomicBool>) -> Self {
        Self::start(stop, move |stops, media, seen| {
            let mut socket = TcpStream::connect(at).expect("the proxy listens");
            let request = format!("GET /live/{stream}.flv HTTP/1.0\r\nHost: {at}\r\n\r\n");
            socket.write_all(request.as_bytes()).expect("it reads");
            socket.set_read_timeout(Some(PATIENCE)).expect("a time");
            let mut body = Vec::new();
            let mut chunk = vec![0; 64 * 1024];
            let mut has_begun = false;
            while !stops() {
                match uninterrupted(|| socket.read(&mut chunk)) {
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
                while let Some((of_kind, timestamp, body)) = take_tag(&mut body) {
                    note(of_kind, &body, timestamp, media, seen);
                }
            }
        })
    }

    pub(super) fn is_closed(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("a test")
    }

    /// The longest pause that ended since then.
    pub(super) fn longest_pause(&self, since: Instant) -> Option<Duration> {
        let seen = self.seen();
        let pauses = seen.pauses.iter().filter(|(at, _)| *at >= since);
        pauses.map(|(_, pause)| *pause).max()
    }

    fn pictures(&self) -> u64 {
        self.media.load(Ordering::Relaxed)
    }
}

/// Waits until each has that many more pictures than now.
#[track_caller]
pub(super) fn wait_media(what: &str, guests: &[Guest], more: u64) {
    let now = guests.iter().map(Guest::pictures);
    let until: Vec<u64> = now.map(|now| now + more).collect();
    for (number, (guest, until)) in guests.iter().zip(until).enumerate() {
        wait_for(&format!("{what} {number}"), Duration::from_secs(60), || {
            assert!(!guest.is_closed(), "{what} {number}: its connection ended");
            (guest.pictures() >= until).then_some(())
        });
    }
}

fn note(of_kind: u8, payload: &[u8], timestamp: u32, media: &AtomicU64, seen: &Mutex<Seen>) {
    let mut seen = seen.lock().expect("a test");
    if seen.note(of_kind, payload, timestamp) {
        media.fetch_add(1, Ordering::Relaxed);
    }
}

/// A body of this length with a number after its head.
fn numbered(head: &[u8], number: u32, length: usize) -> Vec<u8> {
    [head, &number.to_be_bytes(), &vec![7; length]].concat()
}

fn number_in(payload: &[u8], head: usize) -> u32 {
    let number = payload
        .get(head..)
        .and_then(<[u8]>::first_chunk)
        .expect("a number");
    u32::from_be_bytes(*number)
}

/// When a piece of sound is due: 1024 samples each, at 48 kHz, in whole milliseconds as encoders count.
const fn sound_at(number: u32) -> u32 {
    number * 64 / 3
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

    fn send(&mut self, of_kind: u8, timestamp: u32, payload: &[u8]) -> bool {
        self.machine.send_media(&Message {
            timestamp,
            kind: of_kind,
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
        match uninterrupted(|| self.socket.read(&mut buffer)) {
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
                ClientEvent::Media(message) => self.media.push(message),
                ClientEvent::Refused(_) => return false,
                ClientEvent::Status { code, .. } => self.is_granted |= code.ends_with(".Start"),
                ClientEvent::Connected(_) | ClientEvent::Redirected { .. } => {}
            }
        }
        self.flush()
    }
}

/// Between two pictures.
const FRAME_MS: u32 = 40;
/// What comes before the number in a body.
const AUDIO_HEAD: usize = 2;
const VIDEO_HEAD: usize = 5;
/// A longer time without a picture is a pause that people may see.
const PAUSE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(40);
/// The header of the file, and the size of the tag before the first.
const FLV_HEADER: usize = 13;
