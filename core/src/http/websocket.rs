//! The server's end of a WebSocket on which it does the talking (RFC 6455): the answer to the upgrade, what a client says
//! meanwhile, and how it is closed.

use base64ct::{Base64, Encoding};
use sha1::{Digest, Sha1};

use super::head::{RequestHead, token};

/// The value of `Sec-WebSocket-Accept` for a request (RFC 6455 §4.2.2); `None` if it has no usable key, or is of another
/// version of the protocol.
pub fn accept_key(request: &RequestHead) -> Option<String> {
    let version = request.headers.text("sec-websocket-version")?;
    if version.trim() != VERSION {
        return None;
    }
    let key = request.headers.text("sec-websocket-key")?.trim();
    let nonce = Base64::decode_vec(key).ok()?;
    if nonce.len() != NONCE {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    Some(Base64::encode_string(&digest))
}

/// The subprotocol that a request is answered with (§4.2.2): the first that it offers, if that is a token. A browser that
/// has offered some breaks off where none is answered.
pub fn protocol(request: &RequestHead) -> Option<&str> {
    let offer = request.headers.all("sec-websocket-protocol").next()?;
    let first = offer.split(|byte| *byte == b',').next()?;
    token(first.trim_ascii())
}

/// Why a server closes a WebSocket, as its client is told (§7.4.1, and the registry of §11.7 for the last two).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// 1000: the stream is over.
    Over,
    /// 1001: it ends here, and may go on elsewhere.
    GoingAway,
    /// 1002: the client broke the protocol.
    ProtocolError,
    /// 1008: the client may not have it.
    Policy,
    /// 1011: the server failed.
    Failed,
    /// 1013: it may be had later.
    TryAgainLater,
    /// 1014: what came from the origin is of no use.
    BadGateway,
}

impl Closing {
    /// The whole Close frame.
    pub const fn frame(self) -> [u8; 4] {
        let [high, low] = self.status().to_be_bytes();
        [FINAL | CLOSE, 2, high, low]
    }

    const fn status(self) -> u16 {
        match self {
            Self::Over => 1000,
            Self::GoingAway => 1001,
            Self::ProtocolError => 1002,
            Self::Policy => 1008,
            Self::Failed => 1011,
            Self::TryAgainLater => 1013,
            Self::BadGateway => 1014,
        }
    }
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
    /// It closes, and this is the whole frame that answers.
    Close(Vec<u8>),
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
                CLOSE => return Ok(Some(ClientFrame::Close(answer_to_close(&payload)))),
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

/// The Close frame that answers one with this payload: it has the same status, where that may be sent (§5.5.1, §7.4).
fn answer_to_close(payload: &[u8]) -> Vec<u8> {
    let status = match payload {
        [] => return vec![FINAL | CLOSE, 0],
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        [_] => 0,
    };
    if !matches!(status, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Closing::ProtocolError.frame().to_vec();
    }
    let [high, low] = status.to_be_bytes();
    vec![FINAL | CLOSE, 2, high, low]
}

/// Follows the frames of a server on their way, so that something may be said between two of them. Whatever the bytes are,
/// it looks at headers only.
#[derive(Debug, Default)]
pub struct ServerFrames {
    /// The header of a frame, as far as it came.
    header: [u8; LONGEST_HEADER],
    came: usize,
    /// Bytes of the current frame that are still to come.
    left: u64,
    has_closed: bool,
}

impl ServerFrames {
    /// Takes what passes.
    pub fn pass(&mut self, mut input: &[u8]) {
        while let Some((first, rest)) = input.split_first() {
            if self.left > 0 {
                let count =
                    usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
                input = input.get(count..).unwrap_or_default();
                self.left -= count as u64;
                continue;
            }
            input = rest;
            if let Some(slot) = self.header.get_mut(self.came) {
                *slot = *first;
                self.came += 1;
            }
            if let Some(length) = self.length() {
                self.left = length;
                self.has_closed |= self.header[0] & OPCODE == CLOSE;
                self.came = 0;
            }
        }
    }

    /// Whether the last frame is whole.
    pub const fn is_between_frames(&self) -> bool {
        self.left == 0 && self.came == 0
    }

    /// How many bytes are certainly of the frame that is not whole.
    pub const fn left(&self) -> u64 {
        if self.left == 0 && self.came > 0 {
            1
        } else {
            self.left
        }
    }

    /// Whether the server has closed: nothing may follow.
    pub const fn has_closed(&self) -> bool {
        self.has_closed
    }

    /// What follows the header in its frame, once it is whole.
    fn length(&self) -> Option<u64> {
        let [_, second, rest @ ..] = self.header.get(..self.came)? else {
            return None;
        };
        let mask = if second & MASKED == 0 { 0 } else { MASK as u64 };
        let length = match second & !MASKED {
            126 => u64::from(u16::from_be_bytes(*rest.first_chunk()?)),
            127 => u64::from_be_bytes(*rest.first_chunk()?),
            short => short.into(),
        };
        Some(length.saturating_add(mask))
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
        let opcode = first & OPCODE;
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
/// The version of the protocol (§4.1).
const VERSION: &str = "13";
/// Bytes of a client's key (§4.1).
const NONCE: usize = 16;
/// Bytes of the longest header of a frame that is not masked (§5.2).
const LONGEST_HEADER: usize = 10;
const MASK: usize = 4;
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
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

    fn request(headers: &str) -> RequestHead {
        let text = format!("GET /live/a.flv HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        RequestHead::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn the_key_of_the_specification_gets_its_answer() {
        let answer = |version: &str, key: &str| {
            let headers =
                format!("Sec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: {key}\r\n");
            accept_key(&request(&headers))
        };
        let of_the_specification = answer("13", "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(
            of_the_specification.as_deref(),
            Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        );
        assert_eq!(answer("8", "dGhlIHNhbXBsZSBub25jZQ=="), None);
        assert_eq!(answer("13", "c2hvcnQ="), None);
        assert_eq!(answer("13", "***"), None);
    }

    #[test]
    fn the_first_subprotocol_that_is_offered_is_answered() {
        for (offer, expected) in [
            ("", None),
            ("Sec-WebSocket-Protocol: flv\r\n", Some("flv")),
            ("Sec-WebSocket-Protocol:  v2.flv , flv\r\n", Some("v2.flv")),
            (
                "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n",
                Some("a"),
            ),
            ("Sec-WebSocket-Protocol:\r\n", None),
            ("Sec-WebSocket-Protocol: , flv\r\n", None),
            ("Sec-WebSocket-Protocol: a b\r\n", None),
            ("Sec-WebSocket-Protocol: \u{e9}\r\n", None),
        ] {
            assert_eq!(protocol(&request(offer)), expected, "{offer}");
        }
    }

    #[test]
    fn a_close_is_answered_with_its_status() {
        for (payload, answer) in [
            (&b""[..], &b"\x88\x00"[..]),
            (b"\x03\xe8", b"\x88\x02\x03\xe8"),
            (b"\x0f\xa0gone", b"\x88\x02\x0f\xa0"),
            (b"\x03", b"\x88\x02\x03\xea"),
            (b"\x03\xed", b"\x88\x02\x03\xea"),
        ] {
            let said = read(&frame(FINAL | CLOSE, payload), usize::MAX);
            assert_eq!(said, Ok(vec![ClientFrame::Close(answer.to_vec())]));
        }
        assert_eq!(Closing::GoingAway.frame(), *b"\x88\x02\x03\xe9");
    }

    #[test]
    fn a_servers_frames_are_followed_to_their_ends() {
        let mut bytes = b"\x82\x03abc\x82\x7e\x01\x00".to_vec();
        bytes.resize(bytes.len() + 256, 7);
        bytes.extend(b"\x82\x7f\0\0\0\0\0\0\0\x02no\x89\x00\x82\x81\0\0\0\0x");
        let ends = [5, 265, 277, 279, 286];
        for piece in [1, 3, usize::MAX] {
            let (mut frames, mut count) = (ServerFrames::default(), 0);
            for piece in bytes.chunks(piece) {
                frames.pass(piece);
                count += piece.len();
                assert_eq!(frames.is_between_frames(), ends.contains(&count), "{count}");
                assert_eq!(frames.left() == 0, frames.is_between_frames());
            }
            assert!(!frames.has_closed());
            frames.pass(b"\x88\x02\x03\xe8");
            assert!(frames.is_between_frames() && frames.has_closed());
        }
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
            ClientFrame::Close(b"\x88\x00".to_vec()),
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
