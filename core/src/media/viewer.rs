//! The bytes of one viewer: FLV tags or RTMP messages around bodies that all viewers of a feed share, or blocks as they
//! came.
//!
//! Each viewer has headers with timestamps of its own, a dozen bytes for each message; bodies are not copied but
//! handed to the socket where they are, by a vectored write.

use std::io::IoSlice;
use std::time::{Duration, Instant};

use super::feed::{Feed, Place, SlowViewer, Start, Step};
use super::flv;
use super::gop::MediaMessage;
use crate::rtmp::header::{MessageHeader, write_continuation, write_full};
use crate::rtmp::message::{chunk_stream, kind};

/// How a viewer's messages are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Blocks as they came, of a feed that has them.
    Blocks(Envelope),
    /// An FLV file that never ends.
    Flv(Envelope),
    /// RTMP messages in chunks, each message with a type 0 header, so that nothing depends on what went before.
    Rtmp {
        /// The chunk size the viewer was told, in bytes: see [`CHUNK_SIZE`]. At least 1.
        chunk_size: u32,
        /// The message stream that it plays.
        stream_id: u32,
    },
}

/// What an FLV file or blocks travel in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// The chunked coding of HTTP/1.1, a chunk for each tag or block (RFC 9112 §7.1).
    Chunked,
    /// Nothing: it ends with its connection.
    None,
    /// Binary WebSocket frames, one for each tag, not masked (RFC 6455 §5.2).
    WebSocket,
}

/// The chunk size to tell RTMP viewers, in bytes: that of SRS. A picture is then one chunk or a few.
pub const CHUNK_SIZE: u32 = 60_000;

/// A viewer of a feed: its place, its framing, and what is left of the message that its socket took half of.
#[derive(Debug)]
pub struct Viewer {
    framing: Framing,
    place: Place,
    rest: Option<Rest>,
}

/// What became of a [`Viewer::send`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// How many bytes were taken.
    pub bytes: usize,
    /// What to do next.
    pub state: State,
}

/// What a viewer waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// For its socket, which took less than it was offered.
    Blocked,
    /// For the feed: it has everything.
    Idle,
    /// For nothing: send again.
    More,
    /// For its end.
    Over(SlowViewer),
}

impl Viewer {
    /// A viewer that comes to `feed` now.
    pub fn new(framing: Framing, feed: &Feed) -> Self {
        let start = match framing {
            Framing::Flv(_) => Start::Announced,
            Framing::Blocks(_) | Framing::Rtmp { .. } => Start::Bare,
        };
        Self {
            framing,
            place: feed.join(start),
            rest: None,
        }
    }

    /// Offers what comes next to `write`, once: a function that says how many bytes it took, as a vectored write
    /// does. It is not called where there is nothing to offer.
    ///
    /// # Errors
    /// What `write` returns; nothing was sent then, and nothing has changed.
    pub fn send<E>(
        &mut self,
        feed: &Feed,
        now: Instant,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<Sent, E> {
        let mut own = [0; OWN_BYTES];
        let mut batch = Batch::new(&mut own);
        let mut tried = self.place.clone();
        let state = self.gather(feed, &mut tried, now, &mut batch);
        let total = batch.total;
        if total == 0 {
            // It has its place now, even where nothing is there yet.
            self.place = tried;
            return Ok(Sent { bytes: 0, state });
        }
        let bytes = write(batch.slices())?.min(total);
        let Batch { ends, cut, .. } = batch;
        if bytes == total && !cut {
            self.place = tried;
            self.rest = None;
            return Ok(Sent { bytes, state });
        }
        self.settle(feed, now, bytes, &ends);
        let state = if bytes < total {
            State::Blocked
        } else {
            State::More
        };
        Ok(Sent { bytes, state })
    }

    /// Offers the rest of a message that was taken by half, and nothing else; so something that is no media can
    /// follow. True: nothing is left of it.
    ///
    /// # Errors
    /// What `write` returns; nothing was sent then.
    pub fn finish<E>(
        &mut self,
        write: impl FnOnce(&[IoSlice<'_>]) -> Result<usize, E>,
    ) -> Result<bool, E> {
        let Some(rest) = &mut self.rest else {
            return Ok(true);
        };
        let mut own = [0; OWN_BYTES];
        let mut batch = Batch::new(&mut own);
        batch.put(self.framing, rest.unit.borrow(), rest.sent);
        let (total, cut) = (batch.total, batch.cut);
        let bytes = write(batch.slices())?.min(total);
        rest.sent += bytes;
        if bytes < total || cut {
            return Ok(false);
        }
        self.rest = None;
        Ok(true)
    }

    /// How its messages are framed.
    pub const fn framing(&self) -> Framing {
        self.framing
    }

    /// Whether its socket took whole messages only: something that is no media may be sent.
    pub const fn is_between_messages(&self) -> bool {
        self.rest.is_none()
    }

    /// How often it skipped ahead.
    pub const fn skips(&self) -> u64 {
        self.place.skips()
    }

    /// How far it is behind.
    pub fn lag(&self, feed: &Feed) -> Duration {
        feed.lag(&self.place)
    }

    /// Fills `batch`, and says what the viewer waits for once it is sent.
    fn gather<'a>(
        &'a self,
        feed: &'a Feed,
        tried: &mut Place,
        now: Instant,
        batch: &mut Batch<'a>,
    ) -> State {
        if let Some(rest) = &self.rest {
            batch.put(self.framing, rest.unit.borrow(), rest.sent);
        }
        while batch.has_room() {
            let unit = match feed.next(tried, now) {
                Step::Announce { audio, video } => Unit::Announcement { audio, video },
                Step::Over(_) if batch.total > 0 => return State::More,
                Step::Over(slow) => return State::Over(slow),
                Step::Send { message, time } => Unit::Message { message, time },
                Step::Wait => return State::Idle,
            };
            batch.put(self.framing, unit, 0);
        }
        State::More
    }

    /// Moves on past the `bytes` that were taken of a batch whose messages ended at `ends`: its steps again, this
    /// time for good.
    fn settle(&mut self, feed: &Feed, now: Instant, bytes: usize, ends: &Ends) {
        let mut ends = ends.iter();
        let mut start = 0;
        if let Some(rest) = &mut self.rest {
            match ends.next() {
                Some(end) if end <= bytes => {
                    start = end;
                    self.rest = None;
                }
                _ => {
                    rest.sent += bytes;
                    return;
                }
            }
        }
        while start < bytes {
            let unit = match feed.next(&mut self.place, now) {
                Step::Announce { audio, video } => Unit::Announcement { audio, video },
                Step::Send { message, time } => Unit::Message { message, time },
                Step::Over(_) | Step::Wait => return,
            };
            match ends.next() {
                Some(end) if end <= bytes => start = end,
                _ => {
                    self.rest = Some(Rest {
                        unit: unit.to_owned(),
                        sent: bytes - start,
                    });
                    return;
                }
            }
        }
    }
}

/// What is left of something that the socket took `sent` bytes of.
#[derive(Debug)]
struct Rest {
    unit: Unit<MediaMessage>,
    sent: usize,
}

/// What is framed as one: the words on which tracks there are, or a message.
#[derive(Debug, Clone, Copy)]
enum Unit<M> {
    Announcement { audio: bool, video: bool },
    Message { message: M, time: u64 },
}

impl Unit<MediaMessage> {
    const fn borrow(&self) -> Unit<&MediaMessage> {
        match *self {
            Self::Announcement { audio, video } => Unit::Announcement { audio, video },
            Self::Message { ref message, time } => Unit::Message { message, time },
        }
    }
}

impl Unit<&MediaMessage> {
    fn to_owned(self) -> Unit<MediaMessage> {
        match self {
            Self::Announcement { audio, video } => Unit::Announcement { audio, video },
            Self::Message { message, time } => Unit::Message {
                message: message.clone(),
                time,
            },
        }
    }
}

/// What is offered to a socket at once: slices of shared bodies, and between them bytes of this viewer alone.
struct Batch<'a> {
    slices: [IoSlice<'a>; MAX_SLICES],
    count: usize,
    /// Where the viewer's own bytes are put; those of `pending` are not in a slice yet.
    own: &'a mut [u8],
    pending: usize,
    total: usize,
    ends: Ends,
    /// The last message did not fit whole.
    cut: bool,
    /// Of the message that is being put, how many bytes are still to be left out.
    skip: usize,
}

/// Where each message of a batch ends that is whole in it.
struct Ends {
    ends: [usize; MAX_SLICES],
    count: usize,
}

impl Ends {
    fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.ends.iter().copied().take(self.count)
    }
}

impl<'a> Batch<'a> {
    fn new(own: &'a mut [u8; OWN_BYTES]) -> Self {
        Self {
            slices: [IoSlice::new(&[]); MAX_SLICES],
            count: 0,
            own,
            pending: 0,
            total: 0,
            ends: Ends {
                ends: [0; MAX_SLICES],
                count: 0,
            },
            cut: false,
            skip: 0,
        }
    }

    /// What to offer; nothing may be put after.
    fn slices(&mut self) -> &[IoSlice<'a>] {
        self.flush();
        self.slices.get(..self.count).unwrap_or_default()
    }

    /// Whether there is room for a body, and for own bytes before and after it.
    const fn has_room(&self) -> bool {
        !self.cut && self.count + 3 <= MAX_SLICES && self.own.len() - self.pending >= 2 * MAX_OWN
    }

    /// Puts `unit`, from its byte `skip` on.
    fn put(&mut self, framing: Framing, unit: Unit<&'a MediaMessage>, skip: usize) {
        self.skip = skip;
        let whole = match (framing, unit) {
            (Framing::Blocks(_), Unit::Announcement { .. }) => true,
            (Framing::Blocks(envelope), Unit::Message { message, .. }) => {
                self.put_block(envelope, &message.body)
            }
            (Framing::Flv(envelope), Unit::Announcement { audio, video }) => {
                let header = flv::header(audio, video);
                let mut head = Short::default();
                envelope.open(header.len(), &mut head);
                head.extend(header);
                envelope.close(&mut head);
                self.own(&head);
                true
            }
            (Framing::Flv(envelope), Unit::Message { message, time }) => {
                self.put_tag(envelope, message, time)
            }
            (Framing::Rtmp { .. }, Unit::Announcement { .. }) => true,
            (
                Framing::Rtmp {
                    chunk_size,
                    stream_id,
                },
                Unit::Message { message, time },
            ) => self.put_chunks(chunk_size, stream_id, message, time),
        };
        self.cut = !whole;
        if let Some(end) = self.ends.ends.get_mut(self.ends.count).filter(|_| whole) {
            *end = self.total;
            self.ends.count += 1;
        }
    }

    fn put_block(&mut self, envelope: Envelope, bytes: &'a [u8]) -> bool {
        let mut head = Short::default();
        envelope.open(bytes.len(), &mut head);
        self.own(&head);
        if !self.body(bytes) {
            return false;
        }
        let mut tail = Short::default();
        envelope.close(&mut tail);
        self.own(&tail);
        true
    }

    fn put_tag(&mut self, envelope: Envelope, message: &'a MediaMessage, time: u64) -> bool {
        // A feed takes no body that is longer than a tag can say.
        let length = message.body.len() as u32;
        let header = flv::tag_header(message.kind, time as u32, length);
        let size = (header.len() as u32 + length).to_be_bytes();
        let mut head = Short::default();
        envelope.open(header.len() + message.body.len() + size.len(), &mut head);
        head.extend(header);
        self.own(&head);
        if !self.body(&message.body) {
            return false;
        }
        let mut tail = Short::default();
        tail.extend(size);
        envelope.close(&mut tail);
        self.own(&tail);
        true
    }

    fn put_chunks(
        &mut self,
        chunk_size: u32,
        stream_id: u32,
        message: &'a MediaMessage,
        time: u64,
    ) -> bool {
        let header = MessageHeader {
            chunk_stream: match message.kind {
                kind::AUDIO => chunk_stream::AUDIO,
                kind::VIDEO => chunk_stream::VIDEO,
                _ => chunk_stream::STREAM,
            },
            timestamp: time as u32,
            length: message.body.len() as u32,
            kind: message.kind,
            stream_id,
        };
        let mut head = Short::default();
        write_full(&header, &mut head);
        self.own(&head);
        for (index, chunk) in message.body.chunks(chunk_size.max(1) as usize).enumerate() {
            if index > 0 {
                let mut head = Short::default();
                write_continuation(header.chunk_stream, header.timestamp, &mut head);
                if !self.has_room() {
                    return false;
                }
                self.own(&head);
            }
            if !self.body(chunk) {
                return false;
            }
        }
        true
    }

    /// Bytes of this viewer alone. There is room for them wherever [`has_room`](Self::has_room) said so.
    fn own(&mut self, bytes: &Short) {
        let bytes = bytes
            .bytes
            .get(self.left_out(bytes.len)..bytes.len)
            .unwrap_or_default();
        let room = self.own.get_mut(self.pending..).unwrap_or_default();
        for (slot, byte) in room.iter_mut().zip(bytes) {
            *slot = *byte;
        }
        self.pending += bytes.len();
        self.total += bytes.len();
    }

    /// Bytes that are shared. False: there is no room.
    fn body(&mut self, bytes: &'a [u8]) -> bool {
        let bytes = bytes.get(self.left_out(bytes.len())..).unwrap_or_default();
        if bytes.is_empty() {
            return true;
        }
        self.flush();
        let Some(slot) = self.slices.get_mut(self.count) else {
            return false;
        };
        *slot = IoSlice::new(bytes);
        self.count += 1;
        self.total += bytes.len();
        true
    }

    /// How much of the next `length` bytes was sent before.
    fn left_out(&mut self, length: usize) -> usize {
        let count = self.skip.min(length);
        self.skip -= count;
        count
    }

    fn flush(&mut self) {
        if self.pending == 0 {
            return;
        }
        let own = std::mem::take(&mut self.own);
        let (bytes, rest) = own.split_at_mut(self.pending);
        self.own = rest;
        self.pending = 0;
        if let Some(slot) = self.slices.get_mut(self.count) {
            *slot = IoSlice::new(bytes);
            self.count += 1;
        }
    }
}

impl Envelope {
    /// What comes before `length` bytes.
    fn open(self, length: usize, out: &mut Short) {
        match self {
            Self::None => {}
            Self::Chunked => {
                let digits = (1..usize::BITS / 4)
                    .take_while(|digit| length >> (4 * digit) > 0)
                    .count();
                for digit in (0..=digits).rev() {
                    let value = (length >> (4 * digit) & 0xf) as u8;
                    out.extend([if value < 10 {
                        b'0' + value
                    } else {
                        b'a' + value - 10
                    }]);
                }
                out.extend(*b"\r\n");
            }
            Self::WebSocket => {
                out.extend([FINAL_BINARY]);
                match u16::try_from(length) {
                    Ok(short @ 0..126) => out.extend([short as u8]),
                    Ok(middle) => {
                        out.extend([126]);
                        out.extend(middle.to_be_bytes());
                    }
                    Err(_) => {
                        out.extend([127]);
                        out.extend((length as u64).to_be_bytes());
                    }
                }
            }
        }
    }

    /// What comes after them.
    fn close(self, out: &mut Short) {
        match self {
            Self::Chunked => out.extend(*b"\r\n"),
            Self::None | Self::WebSocket => {}
        }
    }
}

/// A few bytes without an allocation.
#[derive(Debug, Default)]
struct Short {
    bytes: [u8; MAX_OWN],
    len: usize,
}

impl Extend<u8> for Short {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        for byte in bytes {
            let slot = self
                .bytes
                .get_mut(self.len)
                .expect("the longest header fits");
            *slot = byte;
            self.len += 1;
        }
    }
}

/// The most slices of one write: enough for 40 ms of a stream, and for a whole group over a few writes.
const MAX_SLICES: usize = 64;
/// The longest run of own bytes: a chunk's size or a WebSocket header, a tag's header; or an RTMP header.
const MAX_OWN: usize = 32;
/// Room for the own bytes of a batch: for as many messages as there are slices for, and one run more.
const OWN_BYTES: usize = MAX_SLICES / 2 * (MAX_OWN + 8) + MAX_OWN;
/// The first byte of an unfragmented binary frame (RFC 6455 §5.2).
const FINAL_BINARY: u8 = 0x82;
