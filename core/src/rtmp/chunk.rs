//! Assembles messages from chunks, and splits messages into chunks (RTMP 1.0 §5.3, §5.4).

use super::header::{
    ChunkStreams, DEFAULT_CHUNK_SIZE, HeaderError, MAX_CHUNK_SIZE, MAX_HEADER_LENGTH,
    MessageHeader, write_continuation, write_full,
};
use super::message::Message;
use crate::read::Reader;

/// Assembles the messages of one peer. It applies Set Chunk Size and Abort itself, and yields them as well.
#[derive(Debug)]
pub struct ChunkReader {
    streams: ChunkStreams<Vec<u8>>,
    chunk_size: u32,
    /// Bytes of the current chunk's body that are still to come.
    chunk_left: u32,
    /// Bytes read while looking for the end of a header: never more than [`MAX_HEADER_LENGTH`].
    ahead: Vec<u8>,
    /// How many bytes the messages in progress will need in total.
    promised: usize,
    max_partial: usize,
}

impl ChunkReader {
    /// A reader that holds at most `max_partial` bytes of unfinished messages, and refuses any longer message.
    pub const fn new(max_partial: usize) -> Self {
        Self {
            streams: ChunkStreams::new(),
            chunk_size: DEFAULT_CHUNK_SIZE,
            chunk_left: 0,
            ahead: Vec::new(),
            promised: 0,
            max_partial,
        }
    }

    /// A reader that starts later, between two messages, and knows the state of the chunk streams.
    pub(super) fn resuming(
        streams: ChunkStreams<Vec<u8>>,
        chunk_size: u32,
        max_partial: usize,
    ) -> Self {
        Self {
            streams,
            chunk_size,
            ..Self::new(max_partial)
        }
    }

    /// Takes bytes off the front of `input` up to the end of the next message. Returns `None` when all bytes are taken
    /// and the message needs more. After an error the rest of the connection cannot be read.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<Message>, ChunkError> {
        loop {
            if self.chunk_left == 0 && !self.read_header(input)? {
                return Ok(None);
            }
            if !self.read_body(input) {
                return Ok(None);
            }
            let stream = self.streams.current();
            if stream.left > 0 {
                continue;
            }
            let payload = std::mem::take(&mut stream.state);
            let MessageHeader {
                timestamp,
                kind,
                stream_id,
                ..
            } = stream.header;
            self.promised -= payload.len();
            self.obey(kind, &payload)?;
            return Ok(Some(Message {
                timestamp,
                kind,
                stream_id,
                payload,
            }));
        }
    }

    /// The chunk size that the peer writes with.
    pub const fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Whether no message is incomplete, and no chunk of one.
    pub(super) fn is_between_messages(&self) -> bool {
        self.ahead.is_empty() && self.streams.between_messages()
    }

    /// The chunk stream of the last message.
    pub(super) fn last_chunk_stream(&self) -> Option<u32> {
        Some(self.streams.last()?.header.chunk_stream)
    }

    /// Reads a header. Returns whether it is complete; if not, all input is taken.
    fn read_header(&mut self, input: &mut &[u8]) -> Result<bool, ChunkError> {
        let known = self.ahead.len();
        let header = if known == 0 {
            self.streams.read(input)?
        } else {
            let room = MAX_HEADER_LENGTH.saturating_sub(known);
            self.ahead.extend(input.iter().take(room));
            self.streams.read(&self.ahead)?
        };
        let Some(header) = header else {
            if known == 0 {
                self.ahead.extend_from_slice(input);
            }
            *input = &[];
            return Ok(false);
        };
        // The search for a repeated extended timestamp may have taken bytes of the body; these stay in `ahead`.
        self.ahead.truncate(known);
        self.ahead.drain(..header.size.min(known));
        *input = input
            .split_at_checked(header.size.saturating_sub(known))
            .map_or(&[], |(_, rest)| rest);

        let chunk_size = self.chunk_size;
        let stream = self.streams.current();
        self.chunk_left = stream.left.min(chunk_size);
        let MessageHeader { kind, length, .. } = stream.header;
        if header.starts {
            self.promised += length as usize;
        }
        if self.promised > self.max_partial {
            return Err(ChunkError::TooLong {
                kind,
                length,
                limit: self.max_partial,
            });
        }
        Ok(true)
    }

    /// Reads the chunk's body. Returns whether it is complete; if not, all input is taken.
    fn read_body(&mut self, input: &mut &[u8]) -> bool {
        if !self.ahead.is_empty() {
            let ahead = std::mem::take(&mut self.ahead);
            let mut rest = ahead.as_slice();
            self.take_body(&mut rest);
            self.ahead = rest.to_vec();
        }
        self.take_body(input);
        self.chunk_left == 0
    }

    fn take_body(&mut self, source: &mut &[u8]) {
        let count = source.len().min(self.chunk_left as usize);
        let (taken, rest) = source
            .split_at_checked(count)
            .expect("count is at most the length");
        *source = rest;
        let stream = self.streams.current();
        stream.state.extend_from_slice(taken);
        // The count is at most chunk_left, so it fits.
        self.chunk_left -= count as u32;
        stream.left -= count as u32;
    }

    fn obey(&mut self, kind: u8, payload: &[u8]) -> Result<(), ChunkError> {
        match kind {
            SET_CHUNK_SIZE => self.chunk_size = set_chunk_size(payload)?,
            ABORT => {
                let aborted = self
                    .streams
                    .get_mut(abort(payload)?)
                    .filter(|stream| stream.left > 0);
                if let Some(stream) = aborted {
                    self.promised -= stream.header.length as usize;
                    stream.state = Vec::new();
                    stream.left = 0;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Splits messages into chunks. Every message starts with a type 0 header, so nothing depends on earlier messages. An
/// extended timestamp is repeated in every chunk, as the specification and every known receiver expect.
#[derive(Debug, Clone)]
pub struct ChunkWriter {
    chunk_size: u32,
}

impl ChunkWriter {
    /// A writer of chunks with at most `chunk_size` bytes of body; see [`set_chunk_size`](Self::set_chunk_size).
    pub const fn new(chunk_size: u32) -> Self {
        let mut writer = Self {
            chunk_size: DEFAULT_CHUNK_SIZE,
        };
        writer.set_chunk_size(chunk_size);
        writer
    }

    /// Sets the chunk size from the next message on, clamped to 1..=[`MAX_CHUNK_SIZE`]. Tell the receiver first.
    pub const fn set_chunk_size(&mut self, chunk_size: u32) {
        self.chunk_size = match chunk_size {
            0 => 1,
            MAX_CHUNK_SIZE.. => MAX_CHUNK_SIZE,
            size => size,
        };
    }

    /// Appends `message` to `out`, on `chunk_stream` (2..=65599). Its payload must be shorter than 2^24 bytes.
    pub fn write(&self, chunk_stream: u32, message: &Message, out: &mut Vec<u8>) {
        let Message {
            timestamp,
            kind,
            stream_id,
            ref payload,
        } = *message;
        debug_assert!(
            payload.len() < 1 << 24,
            "{} bytes have no encoding",
            payload.len()
        );
        let length = payload.len() as u32;
        write_full(
            &MessageHeader {
                chunk_stream,
                timestamp,
                length,
                kind,
                stream_id,
            },
            out,
        );
        for (index, chunk) in payload.chunks(self.chunk_size as usize).enumerate() {
            if index > 0 {
                write_continuation(chunk_stream, timestamp, out);
            }
            out.extend_from_slice(chunk);
        }
    }
}

/// What a peer did wrong in its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Set Chunk Size has a size outside 1..=[`MAX_ANNOUNCED`].
    #[error("Set Chunk Size asks for {0} bytes; 1 to {MAX_ANNOUNCED} are possible")]
    ChunkSize(u32),
    /// A header is invalid at this point.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Set Chunk Size or Abort is shorter than its four bytes.
    #[error("a control message of type {kind} has {length} bytes; it needs 4")]
    ShortControl {
        /// The message type id.
        kind: u8,
        /// Bytes of its body.
        length: usize,
    },
    /// This message, or all messages in progress together, exceed the limit.
    #[error(
        "a message of type {kind} announces {length} bytes; unfinished messages may have {limit} in all"
    )]
    TooLong {
        /// The message type id.
        kind: u8,
        /// The length that the message announces, in bytes.
        length: u32,
        /// Maximum bytes of all unfinished messages.
        limit: usize,
    },
}

/// The size in a Set Chunk Size message (RTMP 1.0 §5.4.1), as it counts: a larger one means [`MAX_CHUNK_SIZE`].
pub(super) fn set_chunk_size(payload: &[u8]) -> Result<u32, ChunkError> {
    match control(SET_CHUNK_SIZE, payload)? {
        size @ 1..=MAX_ANNOUNCED => Ok(size.min(MAX_CHUNK_SIZE)),
        size => Err(ChunkError::ChunkSize(size)),
    }
}

/// The chunk stream whose unfinished message an Abort message discards (RTMP 1.0 §5.4.2).
pub(super) fn abort(payload: &[u8]) -> Result<u32, ChunkError> {
    control(ABORT, payload)
}

fn control(kind: u8, payload: &[u8]) -> Result<u32, ChunkError> {
    Reader::new(payload)
        .u32()
        .map_err(|_| ChunkError::ShortControl {
            kind,
            length: payload.len(),
        })
}

const SET_CHUNK_SIZE: u8 = 1;
/// The largest size that may be announced: the first bit is zero (RTMP 1.0 §5.4.1).
pub const MAX_ANNOUNCED: u32 = 0x7FFF_FFFF;
const ABORT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    const LIMIT: usize = 1000;

    fn read_all(reader: &mut ChunkReader, mut bytes: &[u8]) -> Result<Vec<Message>, ChunkError> {
        let mut messages = Vec::new();
        while let Some(message) = reader.read(&mut bytes)? {
            messages.push(message);
        }
        Ok(messages)
    }

    fn message(kind: u8, length: usize) -> Message {
        let payload = (0..length).map(|index| index as u8).collect();
        Message {
            timestamp: 7,
            kind,
            stream_id: 1,
            payload,
        }
    }

    fn control(kind: u8, value: u32) -> Vec<u8> {
        let message = Message {
            timestamp: 0,
            kind,
            stream_id: 0,
            payload: value.to_be_bytes().to_vec(),
        };
        let mut bytes = Vec::new();
        ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(2, &message, &mut bytes);
        bytes
    }

    #[test]
    fn written_messages_are_read_again_however_they_are_split() {
        let mut bytes = control(SET_CHUNK_SIZE, 5);
        let writer = ChunkWriter::new(5);
        let late = Message {
            timestamp: 0x0123_4567,
            ..message(9, 20)
        };
        let sent = [message(8, 0), message(8, 5), message(9, 6), late];
        for (chunk_stream, message) in [3, 64, 400, 3].into_iter().zip(&sent) {
            writer.write(chunk_stream, message, &mut bytes);
        }
        for size in 1..=bytes.len() {
            let mut reader = ChunkReader::new(LIMIT);
            let mut received = Vec::new();
            for part in bytes.chunks(size) {
                received.extend(read_all(&mut reader, part).unwrap());
            }
            assert_eq!(received.split_off(1), sent, "pieces of {size}");
        }
    }

    #[test]
    fn a_short_last_chunk_without_extended_timestamp_is_not_kept_back() {
        let mut bytes = hex!("04 ffffff 000082 09 01000000 01020304").to_vec();
        bytes.extend([0xAA; 128]);
        bytes.extend(hex!("c4 bb cc"));
        for size in 1..=bytes.len() {
            let mut reader = ChunkReader::new(LIMIT);
            let parts = bytes
                .chunks(size)
                .map(|part| read_all(&mut reader, part).unwrap());
            let received: Vec<Message> = parts.flatten().collect();
            assert_eq!(received.len(), 1, "pieces of {size}");
            assert!(
                received
                    .iter()
                    .all(|message| message.payload.ends_with(&[0xBB, 0xCC]))
            );
        }
    }

    #[test]
    fn abort_discards_the_message_in_progress() {
        let mut bytes = Vec::new();
        ChunkWriter::new(128).write(6, &message(9, 300), &mut bytes);
        bytes.truncate(12 + 128);
        bytes.extend(control(ABORT, 6));
        bytes.extend(control(ABORT, 60));
        ChunkWriter::new(128).write(6, &message(9, LIMIT), &mut bytes);
        let kinds: Vec<(u8, usize)> = read_all(&mut ChunkReader::new(LIMIT), &bytes)
            .unwrap()
            .iter()
            .map(|message| (message.kind, message.payload.len()))
            .collect();
        assert_eq!(kinds, [(ABORT, 4), (ABORT, 4), (9, LIMIT)]);
    }

    #[test]
    fn no_message_is_cut_at_a_size_beyond_the_longest() {
        for size in [1 << 24, MAX_ANNOUNCED] {
            assert_eq!(set_chunk_size(&size.to_be_bytes()), Ok(MAX_CHUNK_SIZE));
        }
    }

    #[test]
    fn errors_name_what_the_peer_did() {
        for (error, bytes) in [
            (ChunkError::ChunkSize(0), control(SET_CHUNK_SIZE, 0)),
            (
                ChunkError::ChunkSize(1 << 31 | 128),
                control(SET_CHUNK_SIZE, 1 << 31 | 128),
            ),
            (
                ChunkError::ShortControl {
                    kind: ABORT,
                    length: 1,
                },
                hex!("02 000000 000001 02 00000000 00").to_vec(),
            ),
            (
                ChunkError::TooLong {
                    kind: 9,
                    length: 1001,
                    limit: LIMIT,
                },
                hex!("06 000000 0003e9 09 01000000").to_vec(),
            ),
        ] {
            assert_eq!(
                read_all(&mut ChunkReader::new(LIMIT), &bytes),
                Err(error),
                "{error}"
            );
        }
    }

    #[test]
    fn the_limit_counts_all_unfinished_messages() {
        let mut reader = ChunkReader::new(LIMIT);
        let mut bytes = hex!("06 000000 000200 09 01000000").to_vec();
        bytes.extend([0; 128]);
        assert_eq!(read_all(&mut reader, &bytes), Ok(Vec::new()));
        let refused = ChunkError::TooLong {
            kind: 8,
            length: 0x200,
            limit: LIMIT,
        };
        assert_eq!(
            read_all(&mut reader, &hex!("07 000000 000200 08 01000000")),
            Err(refused)
        );
    }
}
