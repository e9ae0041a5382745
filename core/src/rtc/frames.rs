//! ICE over TCP: each datagram follows its length (RFC 4571 §2).

use crate::read::Reader;

/// The first frame of a byte stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The datagram.
    pub datagram: &'a [u8],
    /// How many bytes of the stream the frame took.
    pub length: usize,
}

/// A frame longer than any datagram of a call; its length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {0} bytes is longer than the {MAX_FRAME} that a datagram of a call may have")]
pub struct TooLong(pub usize);

impl<'a> Frame<'a> {
    /// The first frame of `stream`, or `None` if it is not complete yet.
    ///
    /// # Errors
    /// [`TooLong`], as soon as the length is read.
    pub fn parse(stream: &'a [u8]) -> Result<Option<Self>, TooLong> {
        let mut reader = Reader::new(stream);
        let Ok(length) = reader.u16().map(usize::from) else {
            return Ok(None);
        };
        if length > MAX_FRAME {
            return Err(TooLong(length));
        }
        let frame = reader.bytes(length).ok().map(|datagram| Self {
            datagram,
            length: LENGTH + length,
        });
        Ok(frame)
    }
}

/// How many bytes of empty frames `stream` begins with. Such frames are legal and say nothing (RFC 4571 §2).
pub fn empty_frames(stream: &[u8]) -> usize {
    let lengths = stream.chunks_exact(LENGTH);
    LENGTH * lengths.take_while(|length| *length == [0; LENGTH]).count()
}

/// The bytes that precede `datagram` on the stream; `None` if it is longer than a frame may be.
pub fn prefix(datagram: &[u8]) -> Option<[u8; LENGTH]> {
    let length = u16::try_from(datagram.len()).ok()?;
    (datagram.len() <= MAX_FRAME).then(|| length.to_be_bytes())
}

/// Maximum bytes of a datagram: what a call sends fits into an Ethernet packet, and some send a little more over
/// loopback.
pub const MAX_FRAME: usize = 2048;

/// Bytes of the length before each datagram.
pub const LENGTH: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_when_it_is_whole() {
        let frame = |datagram, length| Ok(Some(Frame { datagram, length }));
        type Read<'a> = Result<Option<Frame<'a>>, TooLong>;
        let cases: [(&str, &[u8], Read<'_>); 6] = [
            ("nothing", &[], Ok(None)),
            ("half a length", &[0], Ok(None)),
            ("a length alone", &[0, 2], Ok(None)),
            ("one byte short", &[0, 2, 7], Ok(None)),
            (
                "whole, and more behind it",
                &[0, 2, 7, 8, 9],
                frame(&[7, 8], 4),
            ),
            ("an empty one", &[0, 0, 1], frame(&[], 2)),
        ];
        for (cause, stream, expected) in cases {
            assert_eq!(Frame::parse(stream), expected, "{cause}");
        }
        for (stream, expected) in [
            (&[][..], 0),
            (&[0], 0),
            (&[0, 0, 0], 2),
            (&[0, 0, 0, 0, 0, 1, 0, 0], 4),
        ] {
            assert_eq!(empty_frames(stream), expected, "{stream:?}");
        }
        assert_eq!(Frame::parse(&[8, 1]), Err(TooLong(2049)), "before it came");
        assert_eq!(prefix(&[0; MAX_FRAME]), Some([8, 0]));
        assert_eq!(prefix(&[0; MAX_FRAME + 1]), None);
    }
}
