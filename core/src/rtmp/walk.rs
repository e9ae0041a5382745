//! Steps over the chunks of a connection that passes through, so that a relay sees messages without copying them.
//!
//! The bytes of one direction go through [`Walk::feed`] and on, nearly always unchanged: headers are read, bodies
//! skipped. Only commands and the two control messages that change how chunks are read (Set Chunk Size, Abort) are held
//! until they are complete, so that a [`Watch`] can judge them. When a message is dropped, the receiver misses its
//! headers; what the next message on that chunk stream inherits from them is then written out.

use super::chunk::{self, ChunkError, ChunkReader, ChunkWriter};
use super::header::{
    ChunkHeader, ChunkStream, ChunkStreams, DEFAULT_CHUNK_SIZE, MessageHeader, write_continuation,
    write_full,
};
use super::held::{Held, MAX_HELD, Part};
use super::message::{Message, chunk_stream, kind};
use super::stream_ids::StreamIds;
use super::track::{Fate, Track};

/// A cursor over what one peer sends.
#[derive(Debug, Clone)]
pub struct Walk {
    streams: ChunkStreams<Track>,
    chunk_size: u32,
    /// Bytes of the current chunk's body that are still to come.
    chunk_left: u32,
    held: Held,
    ids: StreamIds,
    // Boxed: most steps need none of it, and a relay keeps a walk for each direction of each session.
    aside: Option<Box<Aside>>,
}

/// The bytes of a step that are not simply its input.
#[derive(Debug, Clone, Default)]
struct Aside {
    /// The start of a header that is not complete yet; not sent on.
    partial: Vec<u8>,
    /// What the last step returned.
    output: Vec<u8>,
    /// Where in the input of the last step a message that waited was sent on.
    late: Option<usize>,
}

/// Watches the messages that pass, and may drop some.
pub trait Watch {
    /// Called for each message, in the order in which they can be judged. Set Chunk Size, Abort and commands (types 1,
    /// 2, 17 and 20) come with the whole `body`, at their end; all other messages come without it, at their first
    /// chunk. `header` is as the sender wrote it. Set Chunk Size and Abort pass in any case, because both ends must
    /// agree on them.
    fn message(&mut self, header: &MessageHeader, body: Option<&[u8]>) -> Verdict;

    /// Called with the next bytes of a message that is to be [shown](Verdict::Show) or [waits](Verdict::Await), from its
    /// first byte on.
    fn look(&mut self, _header: &MessageHeader, _piece: Piece<'_>) -> Look {
        Look::Enough
    }
}

/// What happens to a message. [`Await`](Self::Await) and [`Show`](Self::Show) are for messages whose bodies are not
/// held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is shown to [`Watch::look`] as it comes, and the receiver sees it only if that says so.
    Await,
    /// The receiver never sees it.
    Drop,
    /// It is sent on.
    Pass,
    /// It is sent on, and shown to [`Watch::look`] as it passes.
    Show,
}

/// Some bytes of a message that a watch is shown.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// They are the last of the message.
    pub ends: bool,
    /// The message waits: the receiver has seen nothing of it.
    pub waits: bool,
}

/// What a watch says of a message that it is shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// It has seen enough. A message that waits is left out.
    Enough,
    /// It has to see more.
    More,
    /// A message that waits is sent on after all.
    Send {
        /// Messages that the receiver gets before, each on its chunk stream.
        before: Vec<(u32, Message)>,
        /// All bytes of the message that were shown so far.
        begun: Vec<u8>,
    },
}

/// What to send on after some input.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The input, exactly.
    Unchanged,
    /// These bytes in place of the input; they may be empty.
    Changed(&'a [u8]),
}

impl Walk {
    /// A walk that starts with the first byte after the handshake.
    pub const fn new() -> Self {
        Self {
            streams: ChunkStreams::new(),
            chunk_size: DEFAULT_CHUNK_SIZE,
            chunk_left: 0,
            held: Held::new(),
            ids: StreamIds::new(),
            aside: None,
        }
    }

    /// Steps over `input` and says what to send on. After an error the rest of the connection cannot be read.
    pub fn feed(&mut self, input: &[u8], watch: &mut impl Watch) -> Result<Step<'_>, WalkError> {
        let partial = self
            .aside
            .take()
            .map_or_else(Vec::new, |aside| aside.partial);
        let output = if partial.is_empty() {
            let Some(changed) = self.step(input, watch)? else {
                return Ok(Step::Unchanged);
            };
            changed
        } else {
            let before = partial.len();
            let mut joined = partial;
            joined.extend_from_slice(input);
            let changed = self.step(&joined, watch)?.unwrap_or(joined);
            let late = self.aside.as_mut().and_then(|aside| aside.late.as_mut());
            if let Some(late) = late {
                *late = late.saturating_sub(before);
            }
            changed
        };
        let aside = self.aside.get_or_insert_default();
        aside.output = output;
        Ok(Step::Changed(&aside.output))
    }

    /// Releases the memory that set-up needed; the result of the last step is gone then.
    pub fn settle(&mut self) {
        self.aside = self.aside.take().filter(|aside| aside.holds_back());
        if let Some(aside) = &mut self.aside {
            aside.output = Vec::new();
        }
        self.streams.shrink();
    }

    /// From its next message on, renames message stream `from` to `to` in what is sent on: in headers, in
    /// `deleteStream` and in user control messages.
    pub fn remap_stream(&mut self, from: u32, to: u32) {
        self.ids.map(from, to);
        for stream in self.streams.iter_mut() {
            stream.state.stale |= stream.header.stream_id == from;
        }
    }

    /// From here on, the output is for another receiver, which has seen nothing yet. The rest of a message in progress is
    /// left out, unless it waits or is held, and the next message on each chunk stream has a full header. The receiver has
    /// to be told the [chunk size](Self::chunk_size). Message streams keep their ids.
    pub fn begin_again(&mut self) {
        for stream in self.streams.iter_mut() {
            let in_progress = stream.left > 0;
            stream.state.begin_again(in_progress);
        }
        self.held.forget_judged();
        self.ids = StreamIds::new();
    }

    /// Where in the input of the last step a message that [waited](Verdict::Await) was sent on first, if one was.
    pub(super) fn began_late_at(&self) -> Option<usize> {
        self.aside.as_ref()?.late
    }

    /// Takes over the ids that `other` gives to message streams.
    pub(super) fn take_ids(&mut self, other: &mut Self) {
        self.ids = std::mem::take(&mut other.ids);
    }

    /// How many bytes the receiver still expects of the chunk in progress.
    pub(super) fn owed(&self) -> usize {
        let sent =
            |stream: &ChunkStream<Track>| matches!(stream.state.fate, Fate::Pass | Fate::Show);
        let owes = self.held.is_empty() && self.streams.last().is_some_and(sent);
        if owes { self.chunk_left as usize } else { 0 }
    }

    /// The chunk size that the peer writes with, and so the receiver reads with.
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Whether the bytes sent on end between two chunks, with no message held: the moment for [`insert`](Self::insert).
    pub fn at_boundary(&self) -> bool {
        let dropping = self
            .streams
            .last()
            .is_some_and(|stream| matches!(stream.state.fate, Fate::Await | Fate::Drop));
        (self.chunk_left == 0 || dropping) && self.held.is_empty()
    }

    /// A reader for what comes next, if the bytes so far end between two messages. It holds at most `max_partial` bytes
    /// of unfinished messages.
    pub fn reader(&self, max_partial: usize) -> Option<ChunkReader> {
        let in_header = self.aside.as_ref().is_some_and(|aside| aside.holds_back());
        let between = self.chunk_left == 0 && !in_header && self.streams.between_messages();
        between.then(|| {
            ChunkReader::resuming(self.streams.with_states(), self.chunk_size, max_partial)
        })
    }

    /// The bytes of a message of ours, to be sent at a [boundary](Self::at_boundary), on a chunk stream that the peer
    /// has not used. Set Chunk Size and Abort must not be sent this way.
    pub fn insert(&self, message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        ChunkWriter::new(self.chunk_size).write(self.unused(), message, &mut out);
        out
    }

    /// The bytes of a control message of ours, on the chunk stream of control messages (RTMP 1.0 §5.4); `None` where they
    /// cannot be sent now. What the peer says there next has a full header.
    pub(super) fn insert_control(&mut self, message: &Message) -> Option<Vec<u8>> {
        let own = self.streams.get_mut(chunk_stream::CONTROL);
        let is_free = own.is_none_or(|stream| stream.left == 0);
        if !is_free || !self.at_boundary() {
            return None;
        }
        if let Some(stream) = self.streams.get_mut(chunk_stream::CONTROL) {
            stream.state.stale = true;
        }
        let mut out = Vec::new();
        ChunkWriter::new(self.chunk_size).write(chunk_stream::CONTROL, message, &mut out);
        Some(out)
    }

    /// A chunk stream that the peer has not used.
    pub(super) fn unused(&self) -> u32 {
        // Take the highest one-byte id that is free, since peers start at the low ones. If the peer uses it later after
        // all, its first header inherits nothing from ours.
        (3..64)
            .rev()
            .chain(64..)
            .find(|id| !self.streams.contains(*id))
            .expect("there are more ids than chunk streams in the table")
    }

    /// Takes one step; `None` means that the input goes on unchanged.
    fn step(&mut self, input: &[u8], watch: &mut impl Watch) -> Result<Option<Vec<u8>>, WalkError> {
        let mut output = Output {
            input,
            changed: None,
        };
        let mut rest = input;
        if !self.held.is_empty() {
            output.depart(rest);
        }
        while !rest.is_empty() {
            if self.chunk_left == 0 {
                if output.changed.is_none() {
                    rest = self.skip_chunks(rest);
                    if rest.is_empty() {
                        break;
                    }
                }
                let Some(header) = self.streams.read(rest).map_err(ChunkError::from)? else {
                    output.depart(rest);
                    self.aside.get_or_insert_default().partial = rest.to_vec();
                    break;
                };
                rest = self.enter_chunk(&header, rest, &mut output, watch)?;
            }
            let count = rest.len().min(self.chunk_left as usize);
            let (body, after) = rest
                .split_at_checked(count)
                .expect("count is at most the length");
            let stream = self.streams.current();
            // The count is at most chunk_left, so it fits.
            self.chunk_left -= count as u32;
            stream.left -= count as u32;
            let complete = stream.left == 0;
            if stream.state.fate == Fate::Hold {
                let chunk_stream = stream.header.chunk_stream;
                self.held.body(chunk_stream).extend_from_slice(body);
            }
            let begun = match stream.state.fate {
                Fate::Await | Fate::Show => self.show(body, complete, watch),
                Fate::Drop | Fate::Hold | Fate::Pass => None,
            };
            match begun {
                Some(bytes) => {
                    let late = input.len().saturating_sub(rest.len());
                    self.aside.get_or_insert_default().late.get_or_insert(late);
                    output.depart(rest);
                    self.send(&bytes, rest, &mut output)?;
                }
                None => self.send(body, rest, &mut output)?,
            }
            rest = after;
            if complete {
                self.finish_message(rest, &mut output, watch)?;
            }
        }
        Ok(output.changed)
    }

    /// Does what [`step`](Self::step) would do repeatedly with a long message that passes, in a tight loop: with chunks
    /// of 128 bytes this loop decides what a walk costs. Returns what follows the last chunk skipped.
    fn skip_chunks<'a>(&mut self, mut rest: &'a [u8]) -> &'a [u8] {
        let chunk_size = self.chunk_size;
        let Some(stream) = self.streams.last_mut() else {
            return rest;
        };
        let Some(header) = stream.short_continuation() else {
            return rest;
        };
        if stream.state.fate != Fate::Pass || stream.state.rewritten.is_some() {
            return rest;
        }
        // The last chunk of a message also ends the message, so it is left to the caller.
        while stream.left > chunk_size && rest.first() == Some(&header) {
            let Some((_, after)) = rest.split_at_checked(1 + chunk_size as usize) else {
                break;
            };
            rest = after;
            stream.left -= chunk_size;
        }
        rest
    }

    /// Sends on the header at the front of `rest`, or its replacement. Returns what follows it.
    fn enter_chunk<'a>(
        &mut self,
        header: &ChunkHeader,
        rest: &'a [u8],
        output: &mut Output<'_>,
        watch: &mut impl Watch,
    ) -> Result<&'a [u8], WalkError> {
        let (bytes, after) = rest
            .split_at_checked(header.size)
            .expect("the header was read from there");
        let mut ours = Vec::new();
        let message = self.streams.current().header;
        if header.starts {
            let fate = self.begin_message(&message, watch)?;
            let stream_id = self.ids.of(message.stream_id);
            let stream = self.streams.current();
            stream.state.start(
                fate,
                header.format,
                stream.field,
                &message,
                stream_id,
                &mut ours,
            );
        } else if let Some(field) = self.streams.current().state.rewritten {
            write_continuation(message.chunk_stream, field, &mut ours);
        }
        self.chunk_left = self.streams.current().left.min(self.chunk_size);
        if ours.is_empty() {
            self.send(bytes, rest, output)?;
        } else {
            output.depart(rest);
            self.send(&ours, rest, output)?;
        }
        Ok(after)
    }

    fn begin_message(
        &mut self,
        message: &MessageHeader,
        watch: &mut impl Watch,
    ) -> Result<Fate, WalkError> {
        match message.kind {
            kind::SET_CHUNK_SIZE | kind::ABORT | kind::COMMAND_AMF3 | kind::COMMAND_AMF0 => {
                if message.length > MAX_HELD_MESSAGE {
                    return Err(WalkError::TooLong {
                        kind: message.kind,
                        length: message.length,
                    });
                }
                return Ok(Fate::Hold);
            }
            _ => {}
        }
        Ok(match watch.message(message, None) {
            Verdict::Await => Fate::Await,
            Verdict::Drop => Fate::Drop,
            Verdict::Pass if self.may_name_a_stream(message) => Fate::Hold,
            Verdict::Pass => Fate::Pass,
            Verdict::Show => Fate::Show,
        })
    }

    /// Shows the watch the next bytes of the current message. Returns what is sent in their place when a message that
    /// waited is sent on.
    fn show(&mut self, body: &[u8], ends: bool, watch: &mut impl Watch) -> Option<Vec<u8>> {
        let chunk_size = self.chunk_size;
        let stream = self.streams.current();
        let waits = stream.state.fate == Fate::Await;
        let piece = Piece {
            bytes: body,
            ends,
            waits,
        };
        let (before, begun) = match watch.look(&stream.header, piece) {
            Look::More => return None,
            Look::Send { before, begun } if waits => (before, begun),
            Look::Enough | Look::Send { .. } => {
                stream.state.fate = if waits { Fate::Drop } else { Fate::Pass };
                return None;
            }
        };
        let header = MessageHeader {
            stream_id: self.ids.of(stream.header.stream_id),
            ..stream.header
        };
        let mut bytes = Vec::new();
        for (chunk_stream, mut message) in before {
            message.stream_id = self.ids.of(message.stream_id);
            ChunkWriter::new(chunk_size).write(chunk_stream, &message, &mut bytes);
            if let Some(stream) = self.streams.get_mut(chunk_stream) {
                stream.state.stale = true;
            }
        }
        write_full(&header, &mut bytes);
        for (index, chunk) in begun.chunks(chunk_size as usize).enumerate() {
            if index > 0 {
                write_continuation(header.chunk_stream, header.timestamp, &mut bytes);
            }
            bytes.extend_from_slice(chunk);
        }
        self.streams.current().state.start_late(header.timestamp);
        Some(bytes)
    }

    fn may_name_a_stream(&self, message: &MessageHeader) -> bool {
        message.kind == kind::USER_CONTROL
            && message.length <= MAX_USER_CONTROL
            && !self.ids.is_empty()
    }

    /// Judges the message that just ended before `rest`, if it was held.
    fn finish_message(
        &mut self,
        rest: &[u8],
        output: &mut Output<'_>,
        watch: &mut impl Watch,
    ) -> Result<(), WalkError> {
        let stream = self.streams.current();
        if stream.state.fate != Fate::Hold {
            return Ok(());
        }
        let message = stream.header;
        let body = self.held.take_body(message.chunk_stream);
        let mut verdict = match message.kind {
            kind::USER_CONTROL => Verdict::Pass,
            _ => watch.message(&message, Some(&body)),
        };
        match message.kind {
            kind::SET_CHUNK_SIZE => {
                self.chunk_size = chunk::set_chunk_size(&body)?;
                // What was shown of a message that waits could not be cut into chunks as its rest will be.
                for stream in self.streams.iter_mut() {
                    if stream.left > 0 && stream.state.fate == Fate::Await {
                        stream.state.fate = Fate::Drop;
                    }
                }
                verdict = Verdict::Pass;
            }
            kind::ABORT => {
                self.abort(chunk::abort(&body)?);
                verdict = Verdict::Pass;
            }
            _ => {}
        }
        let passes = verdict != Verdict::Drop;
        let renamed = passes
            .then(|| self.ids.in_body(message.kind, &body))
            .flatten();
        let stream = self.streams.current();
        let began_before = std::mem::take(&mut stream.state.began_before);
        if !passes || began_before || renamed.is_some() {
            stream.state.stale = true;
            self.held.settle(message.chunk_stream, Verdict::Drop);
        } else {
            self.held.settle(message.chunk_stream, Verdict::Pass);
        }
        match renamed {
            Some(payload) => self.replace(&message, payload)?,
            None if passes && began_before => self.replace(&message, body)?,
            None => {}
        }
        self.held.release(output.depart(rest));
        Ok(())
    }

    /// Sends `payload` in place of the body of `message`, which is dropped.
    fn replace(&mut self, message: &MessageHeader, payload: Vec<u8>) -> Result<(), WalkError> {
        let ours = Message {
            timestamp: message.timestamp,
            kind: message.kind,
            stream_id: self.ids.of(message.stream_id),
            payload,
        };
        let mut bytes = Vec::new();
        ChunkWriter::new(self.chunk_size).write(message.chunk_stream, &ours, &mut bytes);
        self.held.push(&bytes, Part::Judged(Verdict::Pass))
    }

    /// Handles an Abort: the sender abandons the message in progress. The held part of that message goes on, and so
    /// does the Abort.
    fn abort(&mut self, chunk_stream: u32) {
        let aborted = self
            .streams
            .get_mut(chunk_stream)
            .filter(|stream| stream.left > 0);
        let Some(stream) = aborted else {
            return;
        };
        stream.left = 0;
        if stream.state.fate == Fate::Hold {
            let verdict = if stream.state.began_before {
                Verdict::Drop
            } else {
                Verdict::Pass
            };
            self.held.take_body(chunk_stream);
            self.held.settle(chunk_stream, verdict);
        }
    }

    /// Sends on `bytes` of the current message, which are at the front of `rest` or replace what is there.
    fn send(
        &mut self,
        bytes: &[u8],
        rest: &[u8],
        output: &mut Output<'_>,
    ) -> Result<(), WalkError> {
        let stream = self.streams.current();
        let part = match stream.state.fate {
            Fate::Await | Fate::Drop => {
                output.depart(rest);
                return Ok(());
            }
            Fate::Hold => Part::Waiting(stream.header.chunk_stream),
            Fate::Pass | Fate::Show if self.held.is_empty() => {
                if let Some(changed) = &mut output.changed {
                    changed.extend_from_slice(bytes);
                }
                return Ok(());
            }
            Fate::Pass | Fate::Show => Part::Judged(Verdict::Pass),
        };
        output.depart(rest);
        self.held.push(bytes, part)
    }
}

impl Aside {
    fn holds_back(&self) -> bool {
        !self.partial.is_empty()
    }
}

impl Default for Walk {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a connection cannot be walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The chunks are invalid.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A command came in chunks with too much between them.
    #[error(
        "a command was still incomplete after {MAX_HELD} bytes of it and of messages sent in between"
    )]
    Incomplete,
    /// A message that has to be held is too long.
    #[error(
        "a command or control message of type {kind} announces {length} bytes; {MAX_HELD_MESSAGE} are possible"
    )]
    TooLong {
        /// The message type id.
        kind: u8,
        /// The length that it announces, in bytes.
        length: u32,
    },
}

/// Maximum bytes of a held message: commands of real peers have a few hundred bytes, and the longest strings in one (a
/// token in tcUrl) a few thousand.
const MAX_HELD_MESSAGE: u32 = 64 * 1024;

/// Maximum bytes of a user control message: those of the specification and of Adobe's servers have six or ten.
const MAX_USER_CONTROL: u32 = 64;

/// What is sent on for one input: the input itself, until something differs from it.
struct Output<'a> {
    input: &'a [u8],
    changed: Option<Vec<u8>>,
}

impl Output<'_> {
    /// The place for bytes that differ, from `rest` (the end of the input) on.
    fn depart(&mut self, rest: &[u8]) -> &mut Vec<u8> {
        self.changed.get_or_insert_with(|| {
            let before = self.input.len().saturating_sub(rest.len());
            let mut changed = Vec::with_capacity(self.input.len());
            changed.extend_from_slice(self.input.get(..before).unwrap_or_default());
            changed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    /// Drops messages with one of these timestamps.
    struct Without(&'static [u32]);

    impl Watch for Without {
        fn message(&mut self, header: &MessageHeader, _body: Option<&[u8]>) -> Verdict {
            if self.0.contains(&header.timestamp) {
                Verdict::Drop
            } else {
                Verdict::Pass
            }
        }
    }

    fn changed(walk: &mut Walk, input: &[u8], without: &'static [u32]) -> Vec<u8> {
        match walk.feed(input, &mut Without(without)).unwrap() {
            Step::Unchanged => panic!("nothing changed"),
            Step::Changed(bytes) => bytes.to_vec(),
        }
    }

    fn unchanged(walk: &mut Walk, input: &[u8]) {
        assert_eq!(walk.feed(input, &mut Without(&[])), Ok(Step::Unchanged));
    }

    #[test]
    fn media_goes_on_unchanged_in_any_large_pieces() {
        let mut walk = Walk::new();
        assert!(walk.at_boundary());
        unchanged(&mut walk, &hex!("06 000000 000102 09 01000000 17 00"));
        assert!(!walk.at_boundary(), "inside a chunk");
        unchanged(&mut walk, &[0; 126]);
        assert!(walk.at_boundary(), "between two chunks of a message");
        unchanged(&mut walk, &[&[0xC6][..], &[0; 128]].concat());
        unchanged(
            &mut walk,
            &[
                &[0xC6][..],
                &[0; 2],
                &hex!("04 000000 000001 08 01000000 af"),
            ]
            .concat(),
        );
    }

    #[test]
    fn what_was_inherited_from_a_dropped_message_is_written_out() {
        let mut walk = Walk::new();
        unchanged(&mut walk, &hex!("06 00000a 000001 09 01000000 aa"));
        for (cause, input, output) in [
            (
                "dropped",
                &hex!("46 000014 000002 09 bbbb")[..],
                &hex!("")[..],
            ),
            (
                "the delta of the dropped one",
                &hex!("c6 cccc"),
                &hex!("06 000032 000002 09 01000000 cccc"),
            ),
            (
                "the delta again, unknown to the receiver",
                &hex!("c6 dddd"),
                &hex!("86 000014 dddd"),
            ),
        ] {
            assert_eq!(changed(&mut walk, input, &[30]), output, "{cause}");
        }
        unchanged(&mut walk, &hex!("c6 eeee"));
    }

    #[test]
    fn continuations_follow_the_header_we_wrote() {
        let body = [0xAA; 128];
        let mut walk = Walk::new();
        let before = changed(
            &mut walk,
            &hex!("06 fffffe 000001 09 01000000 aa"),
            &[0xFF_FFFE],
        );
        assert!(before.is_empty());
        let input = [&hex!("46 000002 000081 09")[..], &body, &hex!("c6 bb")].concat();
        let full = hex!("06 ffffff 000081 09 01000000 01000000");
        let expected = [&full[..], &body, &hex!("c6 01000000 bb")].concat();
        assert_eq!(
            changed(&mut walk, &input, &[]),
            expected,
            "a small delta to a large timestamp"
        );
    }

    #[test]
    fn a_first_header_that_inherits_is_written_out() {
        let ping = hex!("42 000000 000006 04 0006 00000001");
        let expected = hex!("02 000000 000006 04 00000000 0006 00000001");
        assert_eq!(changed(&mut Walk::new(), &ping, &[]), expected);
    }

    #[test]
    fn a_remapped_stream_is_renamed_in_bodies_too() {
        let mut walk = Walk::new();
        walk.remap_stream(7, 1);
        let begin = hex!("02 000005 000006 04 00000000 0000 00000007");
        let expected = hex!("02 000005 000006 04 00000000 0000 00000001");
        assert_eq!(changed(&mut walk, &begin, &[]), expected);
        assert_eq!(
            changed(&mut walk, &hex!("c2 0006 00000007"), &[]),
            hex!("02 00000a 000006 04 00000000 0006 00000007"),
            "the next header inherits nothing from ours, and a ping names no stream"
        );
        let delete = hex!(
            "03 000000 000022 14 00000000 02 000c 64656c65746553747265616d 00 4000000000000000 05 00 401c000000000000"
        );
        let mut expected = delete;
        expected[38..].copy_from_slice(&1_f64.to_be_bytes());
        assert_eq!(changed(&mut walk, &delete, &[]), expected);
    }

    #[test]
    fn what_changes_the_chunks_themselves_cannot_be_dropped() {
        let mut walk = Walk::new();
        let size = hex!("02 000007 000004 01 00000000 00001000");
        assert_eq!(changed(&mut walk, &size, &[7]), size);
        assert_eq!(walk.chunk_size(), 0x1000);
        let abort = hex!("02 000007 000004 02 00000000 00000006");
        assert_eq!(changed(&mut walk, &abort, &[7]), abort);
    }

    #[test]
    fn what_comes_behind_an_incomplete_command_waits_for_it() {
        let mut walk = Walk::new();
        let command = [&hex!("03 000001 000081 14 00000000")[..], &[0; 128]].concat();
        let audio = hex!("04 000000 000001 08 01000000 af");
        assert!(changed(&mut walk, &command, &[1]).is_empty());
        assert!(changed(&mut walk, &audio, &[1]).is_empty());
        assert!(!walk.at_boundary());
        assert_eq!(changed(&mut walk, &hex!("c3 00"), &[1]), audio);
        assert!(walk.at_boundary());
        unchanged(&mut walk, &hex!("c4 af"));
    }

    #[test]
    fn what_we_would_have_to_keep_is_bounded() {
        let long = WalkError::TooLong {
            kind: 20,
            length: 0x1_0001,
        };
        let mut walk = Walk::new();
        assert_eq!(
            walk.feed(&hex!("03 000000 010001 14 00000000"), &mut Without(&[])),
            Err(long)
        );

        let mut walk = Walk::new();
        let command = [&hex!("03 000000 000081 14 00000000")[..], &[0; 128]].concat();
        changed(&mut walk, &command, &[]);
        let message = Message {
            timestamp: 0,
            kind: 9,
            stream_id: 1,
            payload: vec![0; MAX_HELD],
        };
        let mut video = Vec::new();
        ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(6, &message, &mut video);
        assert_eq!(
            walk.feed(&video, &mut Without(&[])),
            Err(WalkError::Incomplete)
        );
    }

    #[test]
    fn ours_is_sent_where_the_peer_sends_nothing() {
        let mut walk = Walk::new();
        let message = Message {
            timestamp: 0,
            kind: 20,
            stream_id: 0,
            payload: vec![5],
        };
        assert_eq!(
            walk.insert(&message),
            hex!("3f 000000 000001 14 00000000 05")
        );
        unchanged(&mut walk, &hex!("3f 000000 000001 09 01000000 aa"));
        assert_eq!(
            walk.insert(&message),
            hex!("3e 000000 000001 14 00000000 05")
        );
    }
}
