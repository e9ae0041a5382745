//! Chunk headers (RTMP 1.0 §5.3.1): reading, with the state of each chunk stream, and writing.

use crate::read::{Reader, Truncated};

/// The header of a message, with inherited values filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageHeader {
    /// The chunk stream of the message: 2..=65599.
    pub chunk_stream: u32,
    /// The absolute timestamp in milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The announced length of the body in bytes: at most 2^24 - 1.
    pub length: u32,
    /// The message type id.
    pub kind: u8,
    /// The message stream id.
    pub stream_id: u32,
}

/// What a peer did wrong in a chunk header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// A header of type 0 in the middle of a message, where only a continuation (type 3) is valid, or one of type 1 or 2 that
    /// tells of another message.
    #[error("a new message began on chunk stream {0} before the last one was complete")]
    Interrupted(u32),
    /// A type 2 or 3 header on a chunk stream that has not been used before.
    #[error(
        "chunk stream {chunk_stream} began with a type {format} header, which refers to a message that never was"
    )]
    NothingBefore {
        /// The chunk stream.
        chunk_stream: u32,
        /// The header type.
        format: u8,
    },
    /// More chunk streams than [`MAX_CHUNK_STREAMS`].
    #[error("more than {MAX_CHUNK_STREAMS} chunk streams in use")]
    TooManyChunkStreams,
}

/// The chunk size before any Set Chunk Size (RTMP 1.0 §5.4.1).
pub const DEFAULT_CHUNK_SIZE: u32 = 128;

/// No message is longer, so a larger chunk size is meaningless (RTMP 1.0 §5.4.1).
pub const MAX_CHUNK_SIZE: u32 = 0xFF_FFFF;

/// RTMP allows 65,598 chunk streams; encoders use a handful, and each costs memory.
pub const MAX_CHUNK_STREAMS: usize = 64;

/// The longest chunk header: three bytes of basic header, eleven of message header, four of extended timestamp.
pub(super) const MAX_HEADER_LENGTH: usize = 18;

/// The chunk streams that one peer has used, each with its last headers and with a state `T` of the caller.
#[derive(Debug, Clone)]
pub(super) struct ChunkStreams<T> {
    streams: Vec<ChunkStream<T>>,
    current: usize,
}

/// The last headers of one chunk stream.
#[derive(Debug, Clone)]
pub(super) struct ChunkStream<T> {
    /// The message in progress, or the last one.
    pub(super) header: MessageHeader,
    /// The timestamp field of the last type 0, 1 or 2 header; a message that starts with type 3 adds it again.
    pub(super) field: u32,
    /// Bytes of the message in progress that are still to come; 0 between messages.
    pub(super) left: u32,
    pub(super) state: T,
    extended: bool,
}

/// A chunk header that was just read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChunkHeader {
    /// The header type, 0..=3.
    pub(super) format: u8,
    /// The size of the header in bytes.
    pub(super) size: usize,
    /// Whether this is the first chunk of its message.
    pub(super) starts: bool,
}

impl<T: Default> ChunkStreams<T> {
    pub(super) const fn new() -> Self {
        Self {
            streams: Vec::new(),
            current: 0,
        }
    }

    /// Reads the header at the front of `bytes` and makes its chunk stream the [`current`](Self::current) one. Returns
    /// `None`, without any change, when more bytes are needed: never more than [`MAX_HEADER_LENGTH`] in all.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<ChunkHeader>, HeaderError> {
        let mut reader = Reader::new(bytes);
        let Ok((format, id)) = basic_header(&mut reader) else {
            return Ok(None);
        };
        let Some(index) = self.position(id) else {
            return self.read_first(bytes.len(), reader, format, id);
        };
        let stream = self.streams.get_mut(index).expect("position() found it");
        let starts = stream.left == 0;
        let read = match (starts, format) {
            (true, _) => stream.start(&mut reader, format),
            (false, 3) => stream.resume(&mut reader),
            (false, 1 | 2) => match stream.repeat(&mut reader, format) {
                Ok(false) => return Err(HeaderError::Interrupted(id)),
                read => read.map(drop),
            },
            (false, _) => return Err(HeaderError::Interrupted(id)),
        };
        if read.is_err() {
            return Ok(None);
        }
        self.current = index;
        let size = bytes.len() - reader.remaining();
        Ok(Some(ChunkHeader {
            format,
            size,
            starts,
        }))
    }

    /// The chunk stream of the last header read, if there was one.
    pub(super) fn last(&self) -> Option<&ChunkStream<T>> {
        self.streams.get(self.current)
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut ChunkStream<T>> {
        self.streams.get_mut(self.current)
    }

    /// The chunk stream of the last header read.
    pub(super) fn current(&mut self) -> &mut ChunkStream<T> {
        self.last_mut().expect("read() made a chunk stream current")
    }

    /// The chunk stream `id`, if the peer has used it.
    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut ChunkStream<T>> {
        let index = self.position(id)?;
        self.streams.get_mut(index)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ChunkStream<T>> {
        self.streams.iter_mut()
    }

    /// Releases memory that the chunk streams in use do not need.
    pub(super) fn shrink(&mut self) {
        self.streams.shrink_to_fit();
    }

    /// Whether no message is incomplete.
    pub(super) fn between_messages(&self) -> bool {
        self.streams.iter().all(|stream| stream.left == 0)
    }

    /// The same chunk streams and headers, with new states of another type.
    pub(super) fn with_states<U: Default>(&self) -> ChunkStreams<U> {
        let streams = self.streams.iter().map(|stream| ChunkStream {
            header: stream.header,
            field: stream.field,
            left: stream.left,
            state: U::default(),
            extended: stream.extended,
        });
        ChunkStreams {
            streams: streams.collect(),
            current: self.current,
        }
    }

    /// Whether the peer has used chunk stream `id`.
    pub(super) fn contains(&self, id: u32) -> bool {
        self.position(id).is_some()
    }

    fn position(&self, id: u32) -> Option<usize> {
        // Consecutive chunks mostly belong to the same message.
        let same = self
            .last()
            .is_some_and(|stream| stream.header.chunk_stream == id);
        if same {
            return Some(self.current);
        }
        self.streams
            .iter()
            .position(|stream| stream.header.chunk_stream == id)
    }

    fn read_first(
        &mut self,
        length: usize,
        mut reader: Reader<'_>,
        format: u8,
        id: u32,
    ) -> Result<Option<ChunkHeader>, HeaderError> {
        // librtmp starts chunk stream 2 with a type 1 header when it pings, and other senders do so elsewhere.
        // Everything that such a header leaves out can only be zero.
        if format > 1 {
            return Err(HeaderError::NothingBefore {
                chunk_stream: id,
                format,
            });
        }
        if self.streams.len() >= MAX_CHUNK_STREAMS {
            return Err(HeaderError::TooManyChunkStreams);
        }
        let header = MessageHeader {
            chunk_stream: id,
            timestamp: 0,
            length: 0,
            kind: 0,
            stream_id: 0,
        };
        let mut stream = ChunkStream {
            header,
            field: 0,
            left: 0,
            state: T::default(),
            extended: false,
        };
        if stream.start(&mut reader, format).is_err() {
            return Ok(None);
        }
        self.current = self.streams.len();
        self.streams.push(stream);
        Ok(Some(ChunkHeader {
            format,
            size: length - reader.remaining(),
            starts: true,
        }))
    }
}

impl<T> ChunkStream<T> {
    /// The header of a continuation, if it is a single byte.
    pub(super) fn short_continuation(&self) -> Option<u8> {
        let id = u8::try_from(self.header.chunk_stream)
            .ok()
            .filter(|id| *id < 64)?;
        (!self.extended).then_some(3 << 6 | id)
    }

    /// Reads the message header of a first chunk (RTMP 1.0 §5.3.1.2). Fails without changing anything.
    fn start(&mut self, reader: &mut Reader<'_>, format: u8) -> Result<(), Truncated> {
        let mut header = self.header;
        let mut field = self.field;
        let mut extended = self.extended;
        if format <= 2 {
            field = reader.u24()?;
            if format <= 1 {
                header.length = reader.u24()?;
                header.kind = reader.u8()?;
            }
            if format == 0 {
                header.stream_id = reader.u32_le()?;
            }
            extended = field == EXTENDED;
            if extended {
                field = reader.u32()?;
            }
        } else if extended {
            // Every known receiver reads the field here unconditionally, so a sender must have written it.
            reader.u32()?;
        }
        header.timestamp = if format == 0 {
            field
        } else {
            header.timestamp.wrapping_add(field)
        };
        self.header = header;
        self.field = field;
        self.extended = extended;
        self.left = header.length;
        Ok(())
    }

    /// Reads what follows the basic header of a continuation: nothing, or the extended timestamp again. The
    /// specification requires the repetition (§5.3.1.3), but some senders leave it out; like SRS, we check whether the
    /// bytes are the same. All four bytes are awaited only as long as they match, so that a short last chunk is not
    /// held back until the next one.
    fn resume(&self, reader: &mut Reader<'_>) -> Result<(), Truncated> {
        if !self.extended {
            return Ok(());
        }
        let expected = self.field.to_be_bytes();
        let differs = reader
            .rest()
            .iter()
            .zip(expected)
            .any(|(byte, wanted)| *byte != wanted);
        if !differs {
            reader.u32()?;
        }
        Ok(())
    }

    /// Reads a header of type 1 or 2 in the middle of a message, which some encoders write in place of type 3, and servers take: it
    /// may only say again what the message is, and what it says of time does not count. False if it tells of another message.
    fn repeat(&self, reader: &mut Reader<'_>, format: u8) -> Result<bool, Truncated> {
        let field = reader.u24()?;
        let mut is_same = true;
        if format == 1 {
            is_same = reader.u24()? == self.header.length && reader.u8()? == self.header.kind;
        }
        if field == EXTENDED {
            reader.u32()?;
        }
        Ok(is_same)
    }
}

/// Writes a type 0 header with all fields.
pub(crate) fn write_full(header: &MessageHeader, out: &mut impl Extend<u8>) {
    write_basic(0, header.chunk_stream, out);
    put_u24(header.timestamp.min(EXTENDED), out);
    put_u24(header.length, out);
    out.extend([header.kind]);
    out.extend(header.stream_id.to_le_bytes());
    put_extended(header.timestamp, out);
}

/// Writes a type 2 header: like the last message, `delta` milliseconds later.
pub(super) fn write_delta(chunk_stream: u32, delta: u32, out: &mut Vec<u8>) {
    write_basic(2, chunk_stream, out);
    put_u24(delta.min(EXTENDED), out);
    put_extended(delta, out);
}

/// Writes the type 3 header of a continuation; `field` is the timestamp field that the message started with.
pub(crate) fn write_continuation(chunk_stream: u32, field: u32, out: &mut impl Extend<u8>) {
    write_basic(3, chunk_stream, out);
    put_extended(field, out);
}

/// The timestamp field that announces an extended timestamp in four bytes (RTMP 1.0 §5.3.1.3).
const EXTENDED: u32 = 0xFF_FFFF;

/// Reads the basic header (RTMP 1.0 §5.3.1.1): header type and chunk stream id.
fn basic_header(reader: &mut Reader<'_>) -> Result<(u8, u32), Truncated> {
    let byte = reader.u8()?;
    let id = match byte & 0x3f {
        0 => 64 + u32::from(reader.u8()?),
        1 => {
            let [low, high] = reader.array()?;
            64 + u32::from(u16::from_le_bytes([low, high]))
        }
        id => u32::from(id),
    };
    Ok((byte >> 6, id))
}

fn write_basic(format: u8, chunk_stream: u32, out: &mut impl Extend<u8>) {
    debug_assert!(
        (2..=65_599).contains(&chunk_stream),
        "chunk stream {chunk_stream} has no encoding"
    );
    let format = format << 6;
    let [_, _, _, id] = chunk_stream.to_be_bytes();
    let [_, _, high, low] = chunk_stream.saturating_sub(64).to_be_bytes();
    match chunk_stream {
        0..64 => out.extend([format | id]),
        64..320 => out.extend([format, low]),
        _ => out.extend([format | 1, low, high]),
    }
}

fn put_u24(value: u32, out: &mut impl Extend<u8>) {
    let [_, a, b, c] = value.to_be_bytes();
    out.extend([a, b, c]);
}

fn put_extended(field: u32, out: &mut impl Extend<u8>) {
    if field >= EXTENDED {
        out.extend(field.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn read(streams: &mut ChunkStreams<()>, bytes: &[u8]) -> (ChunkHeader, MessageHeader) {
        for short in 0..bytes.len() {
            let part = bytes.split_at(short).0;
            assert_eq!(streams.read(part), Ok(None), "{short} bytes are not enough");
        }
        let header = streams.read(bytes).unwrap().unwrap();
        assert_eq!(header.size, bytes.len());
        (header, streams.current().header)
    }

    #[test]
    fn basic_headers_of_every_size() {
        for (cause, id, bytes) in [
            ("smallest one-byte id", 2, &hex!("02")[..]),
            ("largest one-byte id", 63, &hex!("3f")),
            ("smallest two-byte id", 64, &hex!("00 00")),
            ("largest two-byte id", 319, &hex!("00 ff")),
            ("smallest canonical three-byte id", 320, &hex!("01 00 01")),
            ("low byte first", 0x1234 + 64, &hex!("01 34 12")),
            ("largest id", 65_599, &hex!("01 ff ff")),
        ] {
            assert_eq!(
                basic_header(&mut Reader::new(bytes)),
                Ok((0, id)),
                "{cause}"
            );
            let mut written = Vec::new();
            write_basic(0, id, &mut written);
            assert_eq!(written, bytes, "{cause}");
        }
        assert_eq!(
            basic_header(&mut Reader::new(&hex!("c1 00 00"))),
            Ok((3, 64)),
            "a longer form than needed"
        );
    }

    #[test]
    fn each_type_inherits_what_it_leaves_out() {
        let mut streams = ChunkStreams::<()>::new();
        let full = MessageHeader {
            chunk_stream: 4,
            timestamp: 1000,
            length: 10,
            kind: 8,
            stream_id: 1,
        };
        let (chunk, header) = read(&mut streams, &hex!("04 0003e8 00000a 08 01000000"));
        assert!(chunk.starts);
        assert_eq!(header, full);

        streams.current().left = 0;
        let (chunk, header) = read(&mut streams, &hex!("44 000014 00000b 09"));
        assert!(chunk.starts);
        assert_eq!(
            header,
            MessageHeader {
                timestamp: 1020,
                length: 11,
                kind: 9,
                ..full
            }
        );

        streams.current().left = 0;
        let (_, header) = read(&mut streams, &hex!("84 00001e"));
        assert_eq!(header.timestamp, 1050);

        let (chunk, header) = read(&mut streams, &hex!("c4"));
        assert!(!chunk.starts);
        assert_eq!(header.timestamp, 1050, "a continuation adds nothing");

        streams.current().left = 0;
        let (chunk, header) = read(&mut streams, &hex!("c4"));
        assert!(chunk.starts);
        assert_eq!(header.timestamp, 1080, "the delta again");
    }

    #[test]
    fn a_continuation_repeats_the_extended_timestamp_or_not() {
        let mut streams = ChunkStreams::<()>::new();
        let (_, header) = read(&mut streams, &hex!("04 ffffff 000100 09 01000000 01020304"));
        assert_eq!(header.timestamp, 0x0102_0304);
        read(&mut streams, &hex!("c4 01020304"));
        for (cause, bytes) in [
            ("other bytes", &hex!("c4 01020305")[..]),
            ("other bytes, and the first one tells", &hex!("c4 17")),
        ] {
            assert_eq!(streams.read(bytes).unwrap().unwrap().size, 1, "{cause}");
        }
        assert_eq!(streams.read(&hex!("c4 0102")), Ok(None), "still alike");
    }

    #[test]
    fn a_message_may_go_on_with_a_header_that_says_again_what_it_is() {
        let mut streams = ChunkStreams::<()>::new();
        read(&mut streams, &hex!("04 000064 000100 09 01000000"));
        for (cause, bytes) in [
            ("type 1", &hex!("44 000000 000100 09")[..]),
            (
                "type 1 with a time of its own",
                &hex!("44 000021 000100 09"),
            ),
            (
                "type 1 with a long time",
                &hex!("44 ffffff 000100 09 01020304"),
            ),
            ("type 2", &hex!("84 000021")),
        ] {
            for cut in 1..bytes.len() {
                assert_eq!(streams.read(&bytes[..cut]), Ok(None), "{cause}: {cut}");
            }
            let (chunk, header) = read(&mut streams, bytes);
            assert!(!chunk.starts, "{cause}");
            assert_eq!(
                (chunk.size, header.timestamp),
                (bytes.len(), 100),
                "{cause}"
            );
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        let mut streams = ChunkStreams::<()>::new();
        for format in [2, 3] {
            let refused = Err(HeaderError::NothingBefore {
                chunk_stream: 5,
                format,
            });
            assert_eq!(streams.read(&[format << 6 | 5]), refused);
        }
        let (_, ping) = read(&mut streams, &hex!("42 000000 000006 04"));
        assert_eq!((ping.timestamp, ping.stream_id), (0, 0), "librtmp's ping");
        for (cause, bytes) in [
            ("another length", &hex!("42 000000 000007 04")[..]),
            ("another kind", &hex!("42 000000 000006 05")),
            (
                "type 0, whatever it says",
                &hex!("02 000000 000006 04 00000000"),
            ),
        ] {
            let refused = Err(HeaderError::Interrupted(2));
            assert_eq!(streams.read(bytes), refused, "{cause}");
        }
        for id in 3..=65 {
            let mut header = Vec::new();
            write_full(
                &MessageHeader {
                    chunk_stream: id,
                    ..ping
                },
                &mut header,
            );
            read(&mut streams, &header);
        }
        let one_more = hex!("00 02 000000 000006 04 00000000");
        assert_eq!(
            streams.read(&one_more),
            Err(HeaderError::TooManyChunkStreams)
        );
    }
}
