//! FLV: the file header and tags, read and written, and what an audio or video body says of itself
//! (Adobe FLV specification v10.1, annex E; enhanced RTMP v2 for the codecs that came later).
//!
//! An FLV tag and an RTMP message carry the same body under the same type number, so a stream is turned from one
//! into the other by changing the frame around it.

use crate::read::{Reader, Truncated};
use crate::rtmp::message::kind;

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
    /// The size written behind a tag is not the tag's.
    #[error("the size behind an FLV tag is {found} where {expected} was due")]
    WrongSize {
        /// What the tag's own header makes it.
        expected: u32,
        /// What was written behind it.
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

/// Reads the file header and the size field behind it. A failed read consumes nothing.
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

/// Reads one tag and the size field behind it. A failed read consumes nothing, so a reader of a live stream may
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

/// The file header of a live stream with these tracks, and the size field behind it. Some players wait for every
/// track that is announced here.
pub fn header(audio: bool, video: bool) -> [u8; 13] {
    let tracks = u8::from(audio) << 2 | u8::from(video);
    [b'F', b'L', b'V', 1, tracks, 0, 0, 0, 9, 0, 0, 0, 0]
}

/// Appends one tag and the size field behind it. Bodies longer than a tag can say (2^24 bytes) are left out: RTMP
/// cannot carry them either, so no message of ours has one.
pub fn write_tag(tag: &Tag<'_>, out: &mut Vec<u8>) {
    let Some(length) = u32::try_from(tag.payload.len())
        .ok()
        .filter(|length| *length < 1 << 24)
    else {
        return;
    };
    let [high, low @ ..] = tag.timestamp.to_be_bytes();
    let [_, size @ ..] = length.to_be_bytes();
    out.push(tag.kind);
    out.extend_from_slice(&size);
    out.extend_from_slice(&low);
    out.push(high);
    out.extend_from_slice(&[0, 0, 0]);
    out.extend_from_slice(tag.payload);
    out.extend_from_slice(&(TAG_HEADER_BYTES + length).to_be_bytes());
}

/// What a player that comes later needs to know of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The decoder configuration of the audio track.
    AudioHeader,
    /// The encoder's word that a track has ended; nothing to show.
    End,
    /// Sound, a picture that needs others before it, or data that belongs to its moment.
    Frame,
    /// A picture that can be decoded by itself, given the decoder configuration.
    Keyframe,
    /// `onMetaData`: what the tracks are.
    Metadata,
    /// The decoder configuration of the video track.
    VideoHeader,
}

impl Part {
    /// Which part of a stream a message of type `kind` with this body is. Bodies it cannot read are frames: they
    /// pass, and the player judges them.
    pub fn of(kind: u8, payload: &[u8]) -> Self {
        match kind {
            kind::AUDIO => Self::of_audio(payload),
            kind::VIDEO => Self::of_video(payload),
            kind::DATA_AMF0 if payload.starts_with(ON_METADATA) => Self::Metadata,
            // Cue points, captions and the like belong to their moment, as frames do.
            _ => Self::Frame,
        }
    }

    fn of_audio(payload: &[u8]) -> Self {
        match *payload {
            // Enhanced RTMP: format 9 says that the low nibble is a packet type.
            [first, ..] if first >> 4 == AUDIO_ENHANCED => match first & 0x0f {
                0 => Self::AudioHeader,
                2 => Self::End,
                _ => Self::Frame,
            },
            [first, 0, ..] if first >> 4 == AUDIO_AAC => Self::AudioHeader,
            _ => Self::Frame,
        }
    }

    fn of_video(payload: &[u8]) -> Self {
        match *payload {
            // Enhanced RTMP: the top bit is set, frame type in three bits, packet type in four.
            [first, ..] if first & 0x80 != 0 => match (first & 0x0f, first >> 4 & 0b111) {
                (0, _) => Self::VideoHeader,
                (2, _) => Self::End,
                (_, VIDEO_KEYFRAME) => Self::Keyframe,
                _ => Self::Frame,
            },
            [first, packet, ..] if matches!(first & 0x0f, VIDEO_AVC | VIDEO_HEVC) => match packet {
                0 => Self::VideoHeader,
                2 => Self::End,
                _ if first >> 4 == VIDEO_KEYFRAME => Self::Keyframe,
                _ => Self::Frame,
            },
            [first, ..] if first >> 4 == VIDEO_KEYFRAME => Self::Keyframe,
            _ => Self::Frame,
        }
    }
}

const ON_METADATA: &[u8] = b"\x02\x00\x0aonMetaData"; // §E.5, an AMF0 string
const SIGNATURE: &[u8] = b"FLV\x01";
const HEADER_BYTES: u32 = 9;
const TAG_HEADER_BYTES: u32 = 11;
const AUDIO_AAC: u8 = 10; // §E.4.2.1 SoundFormat
const AUDIO_ENHANCED: u8 = 9; // enhanced RTMP v2 "ExAudioTagHeader"
const VIDEO_KEYFRAME: u8 = 1; // §E.4.3.1 FrameType
const VIDEO_AVC: u8 = 7; // §E.4.3.1 CodecID
const VIDEO_HEVC: u8 = 12; // never in the specification, sent by encoders before enhanced RTMP

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_body_says_which_part_it_is() {
        let rows: &[(&str, u8, &[u8], Part)] = &[
            (
                "AAC AudioSpecificConfig",
                8,
                &[0xaf, 0, 0x12, 0x10],
                Part::AudioHeader,
            ),
            ("AAC frame", 8, &[0xaf, 1, 0x21], Part::Frame),
            (
                "MP3 frame whose first byte is 0",
                8,
                &[0x2f, 0],
                Part::Frame,
            ),
            (
                "enhanced Opus start",
                8,
                &[0x90, b'O', b'p', b'u', b's'],
                Part::AudioHeader,
            ),
            (
                "enhanced Opus frame",
                8,
                &[0x91, b'O', b'p', b'u', b's'],
                Part::Frame,
            ),
            (
                "AVC configuration",
                9,
                &[0x17, 0, 0, 0, 0, 1],
                Part::VideoHeader,
            ),
            ("AVC keyframe", 9, &[0x17, 1, 0, 0, 0], Part::Keyframe),
            ("AVC inter frame", 9, &[0x27, 1, 0, 0, 0], Part::Frame),
            ("AVC end of sequence", 9, &[0x17, 2, 0, 0, 0], Part::End),
            (
                "HEVC as codec 12",
                9,
                &[0x1c, 0, 0, 0, 0],
                Part::VideoHeader,
            ),
            (
                "enhanced HEVC start",
                9,
                &[0x90, b'h', b'v', b'c', b'1'],
                Part::VideoHeader,
            ),
            (
                "enhanced HEVC keyframe",
                9,
                &[0x91, b'h', b'v', b'c', b'1'],
                Part::Keyframe,
            ),
            (
                "enhanced HEVC keyframe without composition time",
                9,
                &[0x93, b'h', b'v', b'c', b'1'],
                Part::Keyframe,
            ),
            (
                "enhanced HEVC inter frame",
                9,
                &[0xa1, b'h', b'v', b'c', b'1'],
                Part::Frame,
            ),
            ("Sorenson keyframe", 9, &[0x12], Part::Keyframe),
            ("empty video", 9, &[], Part::Frame),
            ("empty audio", 8, &[], Part::Frame),
            (
                "metadata",
                18,
                b"\x02\x00\x0aonMetaData\x05",
                Part::Metadata,
            ),
            (
                "a cue point",
                18,
                b"\x02\x00\x0aonCuePoint\x05",
                Part::Frame,
            ),
            ("an aggregate", 22, &[9, 0, 0, 1], Part::Frame),
        ];
        for (cause, kind, payload, expected) in rows {
            assert_eq!(Part::of(*kind, payload), *expected, "{cause}");
        }
    }

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
