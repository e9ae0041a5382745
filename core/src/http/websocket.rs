//! The server's end of a WebSocket on which it does the talking (RFC 6455): the answer to the upgrade, and what a client
//! says meanwhile.

use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};

use super::head::RequestHead;

/// The value of `Sec-WebSocket-Accept` for a request (RFC 6455 §4.2.2); `None` if it has no usable key.
pub fn accept_key(request: &RequestHead) -> Option<String> {
    let key = request.headers.text("sec-websocket-key")?.trim();
    let nonce = Base64::decode_vec(key).ok()?;
    if nonce.len() != NONCE {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Some(Base64::encode_string(&digest))
}

/// Reads the frames of a client. Data is skipped: it has no meaning here.
#[derive(Debug, Default)]
pub struct ClientFrames {
    /// The header of a frame, and the payload of a control frame, as far as they came.
    partial: Vec<u8>,
    /// Bytes of the current data frame that are still to come.
    skip: u64,
}

/// What a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientFrame {
    /// It closes.
    Close,
    /// It asks for these bytes back, and this is the whole frame that answers.
    Ping(Vec<u8>),
}

/// A frame that RFC 6455 forbids a client to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Control frames are at most 125 bytes long, and in one piece (§5.5).
    #[error("a control frame that is too long or in pieces")]
    Control,
    /// Clients mask what they send (§5.3).
    #[error("a frame that is not masked")]
    NotMasked,
    /// A reserved bit or opcode (§5.2).
    #[error("a frame with a reserved bit or opcode")]
    Reserved,
}

impl ClientFrames {
    /// Takes bytes off the front of `input` up to the end of the next frame that says something; `None`: all are taken.
    ///
    /// # Errors
    /// [`FrameError`]; the rest of the connection cannot be read.
    pub fn read(&mut self, input: &mut &[u8]) -> Result<Option<ClientFrame>, FrameError> {
        while !input.is_empty() {
            if self.skip > 0 {
                let count =
                    usize::try_from(self.skip).map_or(input.len(), |skip| skip.min(input.len()));
                *input = input.get(count..).unwrap_or_default();
                self.skip -= count as u64;
                continue;
            }
            if let Some((first, rest)) = input.split_first() {
                self.partial.push(*first);
                *input = rest;
            }
            let Some(frame) = Frame::parse(&self.partial)? else {
                continue;
            };
            if !frame.is_control() {
                self.skip = frame.length;
                self.partial.clear();
                continue;
            }
            let Some(payload) = frame.unmasked(&self.partial) else {
                continue;
            };
            self.partial.clear();
            match frame.opcode {
                CLOSE => return Ok(Some(ClientFrame::Close)),
                PING => {
                    let mut pong = vec![FINAL | PONG, payload.len() as u8];
                    pong.extend(payload);
                    return Ok(Some(ClientFrame::Ping(pong)));
                }
                _ => {}
            }
        }
        Ok(None)
    }
}

/// The header of a frame (§5.2).
struct Frame {
    opcode: u8,
    length: u64,
    /// Where the mask begins.
    mask: usize,
}

impl Frame {
    /// `None` while the header is not whole.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = first & 0x0f;
        if first & RESERVED != 0 || !matches!(opcode, 0..=2 | CLOSE..=PONG) {
            return Err(FrameError::Reserved);
        }
        if second & MASKED == 0 {
            return Err(FrameError::NotMasked);
        }
        let short = second & !MASKED;
        if opcode >= CLOSE && (short > MAX_CONTROL || first & FINAL == 0) {
            return Err(FrameError::Control);
        }
        let (length, more) = match (short, rest) {
            (126, [high, low, ..]) => (u64::from(u16::from_be_bytes([*high, *low])), 2),
            (127, rest) => match rest.first_chunk() {
                Some(bytes) => (u64::from_be_bytes(*bytes), 8),
                None => return Ok(None),
            },
            (126, _) => return Ok(None),
            (short, _) => (short.into(), 0),
        };
        let mask = 2 + more;
        let whole = bytes.len() >= mask + MASK;
        Ok(whole.then_some(Self {
            opcode,
            length,
            mask,
        }))
    }

    const fn is_control(&self) -> bool {
        self.opcode >= CLOSE
    }

    /// The payload, if it is whole.
    fn unmasked(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let (mask, payload) = bytes.get(self.mask..)?.split_at_checked(MASK)?;
        let length = usize::try_from(self.length).ok()?;
        let payload = payload.get(..length)?.iter();
        Some(
            payload
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask)
                .collect(),
        )
    }
}

/// What every server appends to a client's key (§1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Bytes of a client's key (§4.1).
const NONCE: usize = 16;
const MASK: usize = 4;
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const MAX_CONTROL: u8 = 125;
// §5.2 opcodes.
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(key: &str) -> RequestHead {
        let text =
            format!("GET /live/a.flv HTTP/1.1\r\nHost: h\r\nSec-WebSocket-Key: {key}\r\n\r\n");
        RequestHead::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn the_key_of_the_specification_gets_its_answer() {
        let answer = accept_key(&request("dGhlIHNhbXBsZSBub25jZQ=="));
        assert_eq!(answer.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(accept_key(&request("c2hvcnQ=")), None);
        assert_eq!(accept_key(&request("***")), None);
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first];
        match u16::try_from(payload.len()) {
            Ok(short @ 0..126) => bytes.push(MASKED | short as u8),
            Ok(length) => {
                bytes.push(MASKED | 126);
                bytes.extend(length.to_be_bytes());
            }
            Err(_) => {
                bytes.push(MASKED | 127);
                bytes.extend((payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend(mask);
        bytes.extend(
            payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, mask)| byte ^ mask),
        );
        bytes
    }

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<ClientFrame>, FrameError> {
        let (mut frames, mut said) = (ClientFrames::default(), Vec::new());
        for mut piece in bytes.chunks(piece) {
            while let Some(one) = frames.read(&mut piece)? {
                said.push(one);
            }
        }
        Ok(said)
    }

    #[test]
    fn pings_and_the_end_are_heard_between_data() {
        let mut bytes = frame(FINAL | 2, &[7; 300]);
        bytes.extend(frame(FINAL | PING, b"hey"));
        bytes.extend(frame(FINAL | 1, &[7; 70_000]));
        bytes.extend(frame(FINAL | PONG, b""));
        bytes.extend(frame(FINAL | CLOSE, b""));
        let expected = vec![
            ClientFrame::Ping(b"\x8a\x03hey".to_vec()),
            ClientFrame::Close,
        ];
        for piece in [1, 3, 100, usize::MAX] {
            assert_eq!(
                read(&bytes, piece),
                Ok(expected.clone()),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn broken_frames_are_named() {
        let rows = [
            ("not masked", vec![FINAL | 2, 1, 0], FrameError::NotMasked),
            ("a reserved bit", frame(0xc2, b""), FrameError::Reserved),
            (
                "a reserved opcode",
                frame(FINAL | 3, b""),
                FrameError::Reserved,
            ),
            (
                "a control frame in pieces",
                frame(PING, b""),
                FrameError::Control,
            ),
            (
                "a long control frame",
                frame(FINAL | CLOSE, &[0; 126]),
                FrameError::Control,
            ),
        ];
        for (cause, bytes, expected) in rows {
            assert_eq!(read(&bytes, usize::MAX), Err(expected), "{cause}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_bytes_say_the_same_in_any_pieces(bytes in prop::collection::vec(any::<u8>(), 0..400), piece in 1usize..50) {
            let mut frames = ClientFrames::default();
            let mut rest = bytes.as_slice();
            while let Ok(Some(_)) = frames.read(&mut rest) {}
            prop_assert!(frames.partial.len() <= 14 + usize::from(MAX_CONTROL));
            prop_assert_eq!(read(&bytes, piece), read(&bytes, usize::MAX));
        }
    }
}
