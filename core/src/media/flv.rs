//! FLV: the file header and tags, read and written (Adobe FLV specification v10.1, annex E).
//!
//! An FLV tag and an RTMP message carry the same body under the same type number, so a stream is turned from one
//! into the other by changing the frame around it.

use crate::read::{Reader, Truncated};
use crate::rtmp::message::{Message, kind};

/// One tag, borrowed from the bytes it was read from (FLV v10.1 §E.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag<'a> {
    /// 8 audio, 9 video, 18 script data: the RTMP message type of the same body.
    pub kind: u8,
    /// Milliseconds since the first tag, wrapping at 2^32.
    pub timestamp: u32,
    /// The body, without the tag's header.
    pub payload: &'a [u8],
}

/// What was wrong with FLV bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlvError {
    /// The bytes do not start with an FLV version 1 header.
    #[error("not an FLV file: it starts with neither the signature nor version 1")]
    NotFlv,
    /// The bytes end inside a header or a tag; with more of them the same read may succeed.
    #[error("the FLV data ends in the middle of a header or a tag")]
    Truncated,
    /// The size written after a tag is not the tag's.
    #[error("the size behind an FLV tag is {found} where {expected} was due")]
    WrongSize {
        /// What the tag's own header makes it.
        expected: u32,
        /// What was written after it.
        found: u32,
    },
    /// A tag that is neither audio, video nor script data, or that is encrypted.
    #[error("an FLV tag of kind {0}, which is neither audio, video nor script data")]
    UnknownKind(u8),
}

impl From<Truncated> for FlvError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// Reads the file header and the size field after it. A failed read consumes nothing.
pub fn read_header(reader: &mut Reader<'_>) -> Result<(), FlvError> {
    let mut ahead = reader.clone();
    if ahead.bytes(SIGNATURE.len())? != SIGNATURE {
        return Err(FlvError::NotFlv);
    }
    ahead.u8()?; // which tracks are there; live senders get it wrong often enough that nobody believes it
    let header = ahead.u32()?;
    if header < HEADER_BYTES {
        return Err(FlvError::NotFlv);
    }
    // A longer header is allowed by the specification and never seen; what it adds has no meaning to us.
    ahead.bytes(usize::try_from(header - HEADER_BYTES).map_err(|_| FlvError::Truncated)?)?;
    ahead.u32()?;
    *reader = ahead;
    Ok(())
}

/// Reads one tag and the size field after it. A failed read consumes nothing, so a reader of a live stream may
/// come again with more bytes after [`FlvError::Truncated`].
pub fn read_tag<'a>(reader: &mut Reader<'a>) -> Result<Tag<'a>, FlvError> {
    let mut ahead = reader.clone();
    let kind = ahead.u8()?;
    if !matches!(kind, kind::AUDIO | kind::VIDEO | kind::DATA_AMF0) {
        return Err(FlvError::UnknownKind(kind));
    }
    let length = ahead.u24()?;
    let low = ahead.u24()?;
    let high = ahead.u8()?; // "TimestampExtended": the upper eight bits come last
    ahead.u24()?; // the stream id, always 0
    let payload = ahead.bytes(usize::try_from(length).map_err(|_| FlvError::Truncated)?)?;
    let expected = TAG_HEADER_BYTES + length;
    let found = ahead.u32()?;
    if found != expected {
        return Err(FlvError::WrongSize { expected, found });
    }
    *reader = ahead;
    Ok(Tag {
        kind,
        timestamp: u32::from(high) << 24 | low,
        payload,
    })
}

/// The file header of a live stream with these tracks, and the size field after it. Some players wait for every
/// track that is announced here.
pub fn header(audio: bool, video: bool) -> [u8; 13] {
    let tracks = u8::from(audio) << 2 | u8::from(video);
    [b'F', b'L', b'V', 1, tracks, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// The header of a tag whose body has `length` bytes, of which it can say the lower 24 bits.
pub const fn tag_header(kind: u8, timestamp: u32, length: u32) -> [u8; 11] {
    let [t3, t2, t1, t0] = timestamp.to_be_bytes();
    let [_, l2, l1, l0] = length.to_be_bytes();
    // The upper eight bits of the timestamp come last, then the stream id, which is always 0.
    [kind, l2, l1, l0, t2, t1, t0, t3, 0, 0, 0]
}

/// Appends one tag and the size field after it. Bodies longer than a tag can say (2^24 bytes) are left out: RTMP
/// cannot carry them either, so no message of ours has one.
pub fn write_tag(tag: &Tag<'_>, out: &mut Vec<u8>) {
    let Some(length) = u32::try_from(tag.payload.len())
        .ok()
        .filter(|length| *length < 1 << 24)
    else {
        return;
    };
    out.extend_from_slice(&tag_header(tag.kind, tag.timestamp, length));
    out.extend_from_slice(tag.payload);
    out.extend_from_slice(&(TAG_HEADER_BYTES + length).to_be_bytes());
}

/// Reads the messages of an FLV stream that comes in any pieces, from its file header on.
#[derive(Debug, Default)]
pub struct LiveReader {
    has_begun: bool,
    /// The start of a tag whose end has not come.
    partial: Vec<u8>,
}

impl LiveReader {
    /// Takes the next bytes, and appends the messages that are whole with them.
    ///
    /// # Errors
    /// What is wrong with the stream, or [`FlvError::Truncated`] where a tag is longer than [`MAX_PARTIAL`]; nothing more
    /// can be read then.
    pub fn feed(&mut self, bytes: &[u8], messages: &mut Vec<Message>) -> Result<(), FlvError> {
        self.partial.extend_from_slice(bytes);
        let mut reader = Reader::new(&self.partial);
        let outcome = loop {
            let read = if self.has_begun {
                read_tag(&mut reader).map(|tag| messages.push(tag.into()))
            } else {
                read_header(&mut reader)
            };
            if let Err(error) = read {
                break error;
            }
            self.has_begun = true;
        };
        let read = self.partial.len() - reader.remaining();
        self.partial.drain(..read);
        match outcome {
            FlvError::Truncated if self.partial.len() <= MAX_PARTIAL => Ok(()),
            error => Err(error),
        }
    }
}

impl From<Tag<'_>> for Message {
    fn from(tag: Tag<'_>) -> Self {
        Self {
            timestamp: tag.timestamp,
            kind: tag.kind,
            stream_id: 1,
            payload: tag.payload.to_vec(),
        }
    }
}

const SIGNATURE: &[u8] = b"FLV\x01";
const HEADER_BYTES: u32 = 9;
const TAG_HEADER_BYTES: u32 = 11;
/// Bytes of a tag that is not complete yet; a picture of a good camera has some hundred thousand.
pub const MAX_PARTIAL: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wrong_bytes_are_named() {
        assert_eq!(
            read_header(&mut Reader::new(b"FLW\x01\x05\0\0\0\x09\0\0\0\0")),
            Err(FlvError::NotFlv)
        );
        assert_eq!(
            read_header(&mut Reader::new(b"FLV\x01\x05\0\0\0\x08\0\0\0\0")),
            Err(FlvError::NotFlv)
        );
        assert_eq!(
            read_header(&mut Reader::new(b"FLV\x01\x05\xff\xff\xff\xff\0\0")),
            Err(FlvError::Truncated)
        );
        assert_eq!(
            read_tag(&mut Reader::new(&[11, 0, 0, 0])),
            Err(FlvError::UnknownKind(11))
        );
        let mut bytes = Vec::new();
        write_tag(
            &Tag {
                kind: 9,
                timestamp: 0,
                payload: &[1, 2],
            },
            &mut bytes,
        );
        if let Some(last) = bytes.last_mut() {
            *last += 1;
        }
        assert_eq!(
            read_tag(&mut Reader::new(&bytes)),
            Err(FlvError::WrongSize {
                expected: 13,
                found: 14
            })
        );
    }

    #[test]
    fn a_header_names_its_tracks_and_is_read_back() {
        for (audio, video, tracks) in [(true, true, 5), (true, false, 4), (false, true, 1)] {
            let header = header(audio, video);
            assert_eq!(header[4], tracks);
            let mut reader = Reader::new(&header);
            assert_eq!(read_header(&mut reader), Ok(()));
            assert_eq!(reader.remaining(), 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn a_tag_is_read_back_and_only_when_it_is_whole(
            kind in prop_oneof![Just(8u8), Just(9), Just(18)],
            timestamp: u32,
            payload in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let tag = Tag { kind, timestamp, payload: &payload };
            let mut bytes = Vec::new();
            write_tag(&tag, &mut bytes);
            for end in 0..bytes.len() {
                prop_assert_eq!(read_tag(&mut Reader::new(&bytes[..end])), Err(FlvError::Truncated));
            }
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(read_tag(&mut reader), Ok(tag));
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn any_split_of_a_stream_gives_the_same_messages(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..12),
            sizes in prop::collection::vec(1usize..40, 1..12),
        ) {
            let mut bytes = header(true, true).to_vec();
            for (number, payload) in bodies.iter().enumerate() {
                write_tag(&Tag { kind: kind::VIDEO, timestamp: number as u32, payload }, &mut bytes);
            }
            let mut reader = LiveReader::default();
            let (mut messages, mut rest, mut sizes) = (Vec::new(), bytes.as_slice(), sizes.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                prop_assert_eq!(reader.feed(now, &mut messages), Ok(()));
                rest = later;
            }
            let read: Vec<_> = messages.into_iter().map(|message| message.payload).collect();
            prop_assert_eq!(read, bodies);
        }

        #[test]
        fn any_bytes_are_judged_and_a_failed_read_consumes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut reader = Reader::new(&bytes);
            if read_tag(&mut reader).is_err() {
                prop_assert_eq!(reader.remaining(), bytes.len());
            }
            let mut reader = Reader::new(&bytes);
            if read_header(&mut reader).is_err() {
                prop_assert_eq!(reader.remaining(), bytes.len());
            }
        }
    }
}
