//! The parts of RTMP and FLV that both ends of the load need. They are written independently of the product's own state
//! machines, so that a mistake there cannot cancel itself out here.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// The format of the bytes between origin and player.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, clap::ValueEnum)]
pub(crate) enum Protocol {
    /// HTTP-FLV: one GET, an endless chunked body.
    Flv,
    /// RTMP play.
    Rtmp,
    /// RTMP publish: the media goes to the origin.
    Publish,
    /// RTSP play, media interleaved on its connection.
    Rtsp,
}

impl Protocol {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Flv => "HTTP-FLV play",
            Self::Rtmp => "RTMP play",
            Self::Publish => "RTMP publish",
            Self::Rtsp => "RTSP play",
        }
    }
}

/// A message of a live stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// A picture that needs those before it.
    Inter,
    /// A picture that needs none.
    Key,
    /// Sound.
    Sound,
}

/// One encoded message, the same bytes for every viewer; only its timestamp changes.
pub(crate) struct Frame {
    pub(crate) bytes: Vec<u8>,
    timestamp_at: usize,
    /// Where the mark is, after which comes the time at which the frame is sent.
    mark_at: Option<usize>,
}

impl Frame {
    /// A picture; `length` is the size of its payload in bytes.
    pub(crate) fn new(protocol: Protocol, length: usize) -> Self {
        Self::of(Kind::Inter, protocol, length)
    }

    /// A message of a kind; `length` is the size of its payload in bytes.
    pub(crate) fn of(kind: Kind, protocol: Protocol, length: usize) -> Self {
        // AVC with NAL units, and AAC (FLV 10.1 E.4.3.1, E.4.2.1).
        let (head, number, chunk_stream) = match kind {
            Kind::Inter => ([0x27, 0x01], VIDEO, 6),
            Kind::Key => ([0x17, 0x01], VIDEO, 6),
            Kind::Sound => ([0xaf, 0x01], AUDIO, 4),
        };
        let mut payload = vec![0x5a; length];
        payload[..2].copy_from_slice(&head);
        if let Some(room) = payload
            .get_mut(2..2 + MARK.len())
            .filter(|_| length >= MARKED)
        {
            room.copy_from_slice(MARK);
        }
        let frame = Self::around(protocol, number, chunk_stream, &payload);
        let mut windows = frame.bytes.windows(MARK.len());
        Self {
            mark_at: windows.position(|window| window == MARK),
            ..frame
        }
    }

    fn around(protocol: Protocol, number: u8, chunk_stream: u8, payload: &[u8]) -> Self {
        let length = payload.len();
        match protocol {
            Protocol::Flv => {
                let mut tag = vec![number];
                tag.extend_from_slice(&u24(length));
                tag.extend_from_slice(&[0; 7]); // timestamp, its extension, stream id
                tag.extend_from_slice(payload);
                tag.extend_from_slice(&(length as u32 + 11).to_be_bytes());
                let size = format!("{:x}\r\n", tag.len());
                let bytes = [size.as_bytes(), &tag, b"\r\n"].concat();
                Self {
                    bytes,
                    timestamp_at: size.len() + 4,
                    mark_at: None,
                }
            }
            Protocol::Rtmp | Protocol::Publish => Self {
                bytes: message(chunk_stream, number, 1, payload, ORIGIN_CHUNK),
                timestamp_at: 1,
                mark_at: None,
            },
            // Like a server that sends the packets of a picture: each in a frame of its own, all in one write.
            Protocol::Rtsp => Self {
                bytes: payload.chunks(PACKET).flat_map(interleaved).collect(),
                // The lower three bytes of the first packet's timestamp.
                timestamp_at: INTERLEAVED + 5,
                mark_at: None,
            },
        }
    }

    /// Sets the timestamp in milliseconds. A bench ends long before 2^24 of them, so the extended form is never needed.
    pub(crate) fn stamp(&mut self, milliseconds: u32) {
        let at = self.timestamp_at;
        self.bytes[at..at + 3].copy_from_slice(&milliseconds.to_be_bytes()[1..]);
        if let Some(at) = self.mark_at {
            let at = at + MARK.len();
            self.bytes[at..at + 8].copy_from_slice(&microseconds().to_be_bytes());
        }
    }
}

/// How many milliseconds ago each frame was sent that is marked in these bytes.
pub(crate) fn latencies(bytes: &[u8]) -> impl Iterator<Item = f64> {
    let now = microseconds();
    let marked = bytes.windows(MARK.len() + 8);
    marked.filter_map(move |window| {
        let sent = window.strip_prefix(MARK)?.try_into().ok()?;
        // A frame that is sent by halves may have another time by then.
        let passed = now.checked_sub(u64::from_be_bytes(sent))?;
        Some(passed as f64 / 1e3)
    })
}

/// The time of day.
fn microseconds() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.map_or(0, |passed| passed.as_micros() as u64)
}

/// Stands before the time in a frame that is long enough.
const MARK: &[u8] = b"\xf5sent at";
/// The shortest such frame: with its head, the mark and the time.
const MARKED: usize = 2 + 8 + 8;

/// An RTP packet (RFC 3550 §5.1) on channel 0 of an RTSP connection (RFC 2326 §10.12).
fn interleaved(payload: &[u8]) -> Vec<u8> {
    let length = (RTP_HEADER + payload.len()) as u16;
    let mut out = vec![b'$', 0];
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[0x80, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7]);
    out.extend_from_slice(payload);
    out
}

/// The bytes of a received RTMP connection after its handshake, parsed as far as set-up needs.
pub(crate) struct Inbox {
    pub(crate) bytes: Vec<u8>,
    chunk_size: usize,
    streams: HashMap<u16, Partial>,
}

#[derive(Default)]
struct Partial {
    length: usize,
    kind: u8,
    extended: bool,
    body: Vec<u8>,
}

pub(crate) enum Event {
    Command(Command),
    /// The first payload byte of an audio or video message has arrived.
    Media,
    /// A control message or similar.
    Other,
}

pub(crate) struct Command {
    pub(crate) name: String,
    pub(crate) transaction: f64,
    pub(crate) body: Vec<u8>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            bytes: Vec::with_capacity(4096),
            chunk_size: 128,
            streams: HashMap::new(),
        }
    }

    /// The next event, or `None` until more bytes are pushed to `bytes`.
    pub(crate) fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.chunk()? {
                return Some(event);
            }
        }
    }

    /// Takes one chunk: `None` if it is incomplete, `Some(None)` if its message is.
    fn chunk(&mut self) -> Option<Option<Event>> {
        let bytes = &self.bytes;
        let first = *bytes.first()?;
        let (id, mut at) = match first & 0x3f {
            0 => (64 + u16::from(*bytes.get(1)?), 2),
            1 => (64 + u16::from_le_bytes([*bytes.get(1)?, *bytes.get(2)?]), 3),
            id => (u16::from(id), 1),
        };
        let header = bytes.get(at..at + HEADER_LENGTHS[usize::from(first >> 6)])?;
        let stream = self.streams.entry(id).or_default();
        if let [a, b, c, rest @ ..] = header {
            stream.extended = [*a, *b, *c] == [0xff; 3];
            if let [a, b, c, kind, ..] = rest {
                stream.length = usize::from(*a) << 16 | usize::from(*b) << 8 | usize::from(*c);
                stream.kind = *kind;
            }
        }
        at += header.len() + if stream.extended { 4 } else { 0 };
        if stream.kind == AUDIO || stream.kind == VIDEO {
            return bytes.get(at).map(|_| Some(Event::Media));
        }
        let take = (stream.length - stream.body.len()).min(self.chunk_size);
        stream.body.extend_from_slice(bytes.get(at..at + take)?);
        self.bytes.drain(..at + take);
        if stream.body.len() < stream.length {
            return Some(None);
        }
        let body = std::mem::take(&mut stream.body);
        Some(Some(match (stream.kind, body.as_slice()) {
            (SET_CHUNK_SIZE, &[a, b, c, d]) => {
                self.chunk_size = u32::from_be_bytes([a, b, c, d]) as usize;
                Event::Other
            }
            (COMMAND, _) => command(body).map_or(Event::Other, Event::Command),
            _ => Event::Other,
        }))
    }
}

/// A message with a type 0 header, in chunks of `chunk_size`.
pub(crate) fn message(
    chunk_stream: u8,
    kind: u8,
    stream: u32,
    payload: &[u8],
    chunk_size: usize,
) -> Vec<u8> {
    let mut out = vec![chunk_stream, 0, 0, 0];
    out.extend_from_slice(&u24(payload.len()));
    out.push(kind);
    out.extend_from_slice(&stream.to_le_bytes());
    for (index, chunk) in payload.chunks(chunk_size).enumerate() {
        if index > 0 {
            out.push(0xc0 | chunk_stream);
        }
        out.extend_from_slice(chunk);
    }
    out
}

/// AMF0 values, joined into a command's payload.
pub(crate) enum Amf<'a> {
    Null,
    Number(f64),
    Object(&'a [(&'a str, &'a str)]),
    Text(&'a str),
}

pub(crate) fn amf(values: &[Amf<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        match value {
            Amf::Null => out.push(5),
            Amf::Number(number) => {
                out.push(0);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Amf::Object(pairs) => {
                out.push(3);
                for (key, value) in *pairs {
                    short(&mut out, key);
                    out.push(2);
                    short(&mut out, value);
                }
                out.extend_from_slice(&[0, 0, 9]);
            }
            Amf::Text(text) => {
                out.push(2);
                short(&mut out, text);
            }
        }
    }
    out
}

fn short(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn command(body: Vec<u8>) -> Option<Command> {
    let length = usize::from(u16::from_be_bytes(body.get(1..3)?.try_into().ok()?));
    let name = String::from_utf8(body.get(3..3 + length)?.to_vec()).ok()?;
    let transaction = f64::from_be_bytes(body.get(4 + length..12 + length)?.try_into().ok()?);
    Some(Command {
        name,
        transaction,
        body,
    })
}

fn u24(number: usize) -> [u8; 3] {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    [a, b, c]
}

/// RTP payload that fits an Ethernet frame.
const PACKET: usize = 1400;
const RTP_HEADER: usize = 12;
/// Bytes before an interleaved packet.
const INTERLEAVED: usize = 4;
/// Bytes of the message header of chunk types 0 to 3 (RTMP 1.0 §5.3.1.2).
const HEADER_LENGTHS: [usize; 4] = [11, 7, 3, 0];
/// What SRS announces.
pub(crate) const ORIGIN_CHUNK: usize = 60_000;
/// C0 + C1 and, without the first byte, C2, S1 and S2.
pub(crate) const HANDSHAKE: usize = 1537;

pub(crate) const SET_CHUNK_SIZE: u8 = 1;
pub(crate) const USER_CONTROL: u8 = 4;
pub(crate) const WINDOW_ACK_SIZE: u8 = 5;
pub(crate) const SET_PEER_BANDWIDTH: u8 = 6;
pub(crate) const AUDIO: u8 = 8;
pub(crate) const VIDEO: u8 = 9;
pub(crate) const COMMAND: u8 = 20;
