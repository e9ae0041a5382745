//! A live stream in a format of its own (MPEG-TS, AAC, MP3), cut where a player can begin.
//!
//! Such a stream is shown to viewers as its bytes came. To begin in its middle, a player needs two things: a point at
//! which it can decode, and what has to stand before that point. A [`Splitter`] finds both, in bytes that come in any
//! pieces, and looks at no more of them than the headers of packets and frames.

mod frames;
mod ts;

use bytes::Bytes;

use self::frames::{ADTS, Frames, MPEG_AUDIO};
use self::ts::Packets;
use crate::stream::Protocol;

/// A format whose bytes are shown as they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// AAC in ADTS frames (ISO/IEC 13818-7 §6.2). A player can begin with any frame.
    Adts,
    /// MPEG audio, layers I to III (ISO/IEC 11172-3 §2.4.1). A player can begin with any frame.
    Mp3,
    /// An MPEG transport stream (ISO/IEC 13818-1 §2.4). A player can begin with the tables of its program, and then
    /// where a picture starts that needs no other; with any sound if there are no pictures.
    Ts,
}

impl Format {
    /// The format in which viewers of `protocol` get a stream; `None` for those whose messages are told apart.
    pub const fn of(protocol: Protocol) -> Option<Self> {
        match protocol {
            Protocol::HttpAac => Some(Self::Adts),
            Protocol::HttpMp3 => Some(Self::Mp3),
            Protocol::HttpTs => Some(Self::Ts),
            Protocol::HttpFlv
            | Protocol::HttpSegments
            | Protocol::Rtmp
            | Protocol::Rtsp
            | Protocol::Srt
            | Protocol::WebRtc => None,
        }
    }

    /// The protocol by which a stream is had in this format.
    pub const fn protocol(self) -> Protocol {
        match self {
            Self::Adts => Protocol::HttpAac,
            Self::Mp3 => Protocol::HttpMp3,
            Self::Ts => Protocol::HttpTs,
        }
    }
}

/// Bytes of a stream, of whole packets or frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Where a player may begin with the block, what it has to be given before: the tables of a transport stream,
    /// nothing for frames of sound.
    pub entry: Option<Bytes>,
    /// The bytes as they came; never empty.
    pub bytes: Bytes,
}

/// Cuts a stream into blocks. What it keeps between two reads is shorter than a frame of sound, and the tables of a
/// transport stream.
#[derive(Debug)]
pub struct Splitter {
    cutter: Cutter,
    /// The start of a packet or frame whose end has not come.
    partial: Vec<u8>,
    /// Bytes that were passed over since the last packet or frame.
    passed_over: usize,
}

#[derive(Debug)]
enum Cutter {
    Frames(Frames),
    Packets(Box<Packets>),
}

/// The stream is not in its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_PASSED_OVER} bytes came without a packet or frame of the format")]
pub struct OtherFormat;

/// What stands at the front of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Front {
    /// Too little to say.
    Incomplete,
    /// This many bytes of no packet or frame.
    Noise(usize),
    /// A packet or frame of this many bytes, and what a player that begins with it has to be given before.
    Unit(usize, Option<Bytes>),
}

impl Splitter {
    /// A splitter for a stream of `format`, from anywhere in it.
    pub fn new(format: Format) -> Self {
        let cutter = match format {
            Format::Adts => Cutter::Frames(Frames::new(&ADTS)),
            Format::Mp3 => Cutter::Frames(Frames::new(&MPEG_AUDIO)),
            Format::Ts => Cutter::Packets(Box::default()),
        };
        Self {
            cutter,
            partial: Vec::new(),
            passed_over: 0,
        }
    }

    /// Takes the next bytes, and gives what is whole with them: a block for each point at which a player can begin, and
    /// one for what comes before the first of them. Frames of sound, with each of which it could, share a block.
    ///
    /// # Errors
    /// [`OtherFormat`]; nothing more can be cut then.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<Block>, OtherFormat> {
        self.partial.extend_from_slice(bytes);
        let mut cuts: Vec<Cut> = Vec::new();
        let mut at = 0;
        let outcome = loop {
            let front = self.partial.get(at..).unwrap_or_default();
            match self.cutter.front(front) {
                Front::Incomplete => break Ok(()),
                Front::Noise(count) => {
                    at += count;
                    self.passed_over += count;
                    if self.passed_over > MAX_PASSED_OVER {
                        break Err(OtherFormat);
                    }
                }
                Front::Unit(count, entry) => {
                    self.passed_over = 0;
                    let unit = at..at + count;
                    at = unit.end;
                    match cuts.last_mut() {
                        Some(last) if last.goes_on_with(unit.start, entry.as_ref()) => {
                            last.end = unit.end;
                        }
                        _ => cuts.push(Cut {
                            entry,
                            start: unit.start,
                            end: unit.end,
                        }),
                    }
                }
            }
        };
        // Copied, so that a block holds its own length and not that of a buffer.
        let whole = Bytes::copy_from_slice(self.partial.get(..at).unwrap_or_default());
        self.partial.drain(..at);
        outcome.map(|()| {
            let blocks = cuts.into_iter().map(|cut| Block {
                entry: cut.entry,
                bytes: whole.slice(cut.start..cut.end),
            });
            blocks.collect()
        })
    }
}

/// A block that is being made of the bytes of a read.
struct Cut {
    entry: Option<Bytes>,
    start: usize,
    end: usize,
}

impl Cut {
    /// Whether a unit that starts at `start` belongs to the same block.
    fn goes_on_with(&self, start: usize, entry: Option<&Bytes>) -> bool {
        self.end == start && entry.is_none_or(|entry| entry.is_empty() && self.entry.is_some())
    }
}

impl Cutter {
    fn front(&mut self, bytes: &[u8]) -> Front {
        match self {
            Self::Frames(frames) => frames.front(bytes),
            Self::Packets(packets) => packets.front(bytes),
        }
    }
}

/// Bytes without a packet or frame after which a stream is taken for something else: far more than a tag of metadata
/// between two frames, and little enough to find out within a second.
pub const MAX_PASSED_OVER: usize = 256 * 1024;
