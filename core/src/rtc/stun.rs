//! STUN (RFC 8489) as ICE uses it (RFC 8445 §7): enough to know which client a check is from, and to prove that the
//! sender has the password from the answer it was given.

use hmac::{Hmac, Mac};
use sha1::Sha1;

use crate::read::Reader;

/// A message whose header, length, attributes and fingerprint (if it has one) are valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The class of the message.
    pub kind: Kind,
    /// Pairs a response with its request.
    pub transaction: [u8; 12],
    /// The USERNAME of the check: `receiver:sender`, as bytes.
    pub username: Option<&'a [u8]>,
    /// Whether the sender has chosen the path of this request (USE-CANDIDATE, RFC 8445 §7.1.2).
    pub nominates: bool,
    bytes: &'a [u8],
    integrity: Option<Integrity>,
}

/// The four classes of a binding message (RFC 8489 §5), and everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An error response.
    Error,
    /// An indication, which expects no response.
    Indication,
    /// A method other than binding.
    Other,
    /// A request.
    Request,
    /// A success response.
    Success,
}

/// A MESSAGE-INTEGRITY attribute: where it starts, and its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Integrity {
    start: usize,
    code: [u8; INTEGRITY_LENGTH],
}

/// Why a datagram is not a STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StunError {
    /// The attributes do not exactly fill the message.
    #[error("an attribute goes beyond the end of the message")]
    Attribute,
    /// The fingerprint belongs to another message.
    #[error("the fingerprint is wrong")]
    Fingerprint,
    /// The header is not that of a STUN message.
    #[error("this is not the header of a STUN message")]
    Header,
    /// The length in the header differs from that of the datagram.
    #[error("the length in the header is not that of the datagram")]
    Length,
}

impl<'a> Message<'a> {
    /// Reads a datagram that holds one message and nothing else.
    ///
    /// Attributes after MESSAGE-INTEGRITY are ignored (RFC 8489 §14.5), except a FINGERPRINT, which has to be the last
    /// attribute and correct.
    ///
    /// # Errors
    /// [`StunError`], for anything else.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, StunError> {
        let mut reader = Reader::new(datagram);
        let (kind, length, transaction) = header(&mut reader)?;
        if length != reader.remaining() || length % 4 != 0 {
            return Err(StunError::Length);
        }
        let mut message = Self {
            kind,
            transaction,
            username: None,
            nominates: false,
            bytes: datagram,
            integrity: None,
        };
        while reader.remaining() > 0 {
            let start = datagram.len() - reader.remaining();
            let (name, value) = attribute(&mut reader).ok_or(StunError::Attribute)?;
            message.take(name, value, start)?;
            if name == FINGERPRINT && reader.remaining() > 0 {
                return Err(StunError::Fingerprint);
            }
        }
        Ok(message)
    }

    /// Whether the sender knows `password`: checks the HMAC-SHA1 over the message up to its MESSAGE-INTEGRITY (RFC 8489
    /// §14.5, short-term credentials). A message without this attribute proves nothing. The comparison takes constant
    /// time.
    pub fn is_from_owner_of(&self, password: &[u8]) -> bool {
        let Some(integrity) = self.integrity else {
            return false;
        };
        integrity_over(self.bytes, integrity.start, password)
            .is_some_and(|hmac| hmac.verify_slice(&integrity.code).is_ok())
    }

    fn take(&mut self, name: u16, value: &'a [u8], start: usize) -> Result<(), StunError> {
        match name {
            FINGERPRINT => {
                let covered = self.bytes.get(..start).unwrap_or_default();
                let expected = (crc32fast::hash(covered) ^ FINGERPRINT_XOR).to_be_bytes();
                if value != expected {
                    return Err(StunError::Fingerprint);
                }
            }
            _ if self.integrity.is_some() => {}
            MESSAGE_INTEGRITY => {
                let code = value.try_into().map_err(|_| StunError::Attribute)?;
                self.integrity = Some(Integrity { start, code });
            }
            // If an attribute occurs twice, the first counts (RFC 8489 §14).
            USERNAME if self.username.is_none() => {
                if value.len() > MAX_USERNAME {
                    return Err(StunError::Attribute);
                }
                self.username = Some(value);
            }
            USE_CANDIDATE => self.nominates = true,
            _ => {}
        }
        Ok(())
    }
}

/// A check as a controlling ICE agent sends it (RFC 8445 §7.1), for test clients and load generators.
pub fn binding_request(
    username: &str,
    password: &[u8],
    transaction: [u8; 12],
    nominates: bool,
) -> Vec<u8> {
    let mut message = start(BINDING_REQUEST, transaction);
    push(&mut message, USERNAME, username.as_bytes());
    push(&mut message, PRIORITY, &[110, 0, 1, 255]);
    push(&mut message, ICE_CONTROLLING, &[7; 8]);
    if nominates {
        push(&mut message, USE_CANDIDATE, &[]);
    }
    sign(&mut message, password);
    message
}

/// An error response to a binding request, signed by the agent that was asked: the call is over. It is never longer
/// than a request that proved something, since such a request has a username and the same signature.
pub fn refusal(transaction: [u8; 12], password: &[u8]) -> Vec<u8> {
    let mut message = start(BINDING_ERROR, transaction);
    push(&mut message, ERROR_CODE, &FORBIDDEN);
    sign(&mut message, password);
    message
}

fn start(kind: u16, transaction: [u8; 12]) -> Vec<u8> {
    let mut message = kind.to_be_bytes().to_vec();
    message.extend_from_slice(&[0, 0]);
    message.extend_from_slice(&COOKIE.to_be_bytes());
    message.extend_from_slice(&transaction);
    message
}

/// Appends MESSAGE-INTEGRITY and FINGERPRINT.
fn sign(message: &mut Vec<u8>, password: &[u8]) {
    let at = message.len();
    if let Some(hmac) = integrity_over(message, at, password) {
        let code: [u8; INTEGRITY_LENGTH] = hmac.finalize().into_bytes().into();
        push(message, MESSAGE_INTEGRITY, &code);
    }
    // The length already includes the fingerprint when the fingerprint is computed.
    let total = message.len() + ATTRIBUTE_HEADER + 4;
    set_length(message, total);
    let fingerprint = crc32fast::hash(message) ^ FINGERPRINT_XOR;
    push(message, FINGERPRINT, &fingerprint.to_be_bytes());
}

fn push(message: &mut Vec<u8>, name: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    message.extend_from_slice(&name.to_be_bytes());
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(value.get(..usize::from(length)).unwrap_or_default());
    message.resize(message.len().next_multiple_of(4), 0);
    let total = message.len();
    set_length(message, total);
}

fn set_length(message: &mut [u8], total: usize) {
    let length = u16::try_from(total.saturating_sub(HEADER)).unwrap_or(u16::MAX);
    if let Some(field) = message.get_mut(2..4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

fn header(reader: &mut Reader<'_>) -> Result<(Kind, usize, [u8; 12]), StunError> {
    let mut read = || {
        let kind = reader.u16()?;
        let length = reader.u16()?;
        let cookie = reader.u32()?;
        Ok::<_, crate::read::Truncated>((kind, length, cookie, reader.array()?))
    };
    let (kind, length, cookie, transaction) = read().map_err(|_| StunError::Header)?;
    // On a shared port, datagrams whose first byte is 0 to 3 are STUN (RFC 7983 §7).
    if cookie != COOKIE || kind >> 10 != 0 {
        return Err(StunError::Header);
    }
    let kind = match kind {
        BINDING_REQUEST => Kind::Request,
        BINDING_INDICATION => Kind::Indication,
        BINDING_SUCCESS => Kind::Success,
        BINDING_ERROR => Kind::Error,
        _ => Kind::Other,
    };
    Ok((kind, usize::from(length), transaction))
}

/// Reads a type and a value, and skips the padding after it.
fn attribute<'a>(reader: &mut Reader<'a>) -> Option<(u16, &'a [u8])> {
    let name = reader.u16().ok()?;
    let length = usize::from(reader.u16().ok()?);
    let value = reader.bytes(length).ok()?;
    reader.bytes(length.next_multiple_of(4) - length).ok()?;
    Some((name, value))
}

/// The HMAC over a message up to the integrity attribute at `start`, with the length in the header set to the end of
/// that attribute.
fn integrity_over(message: &[u8], start: usize, password: &[u8]) -> Option<Hmac<Sha1>> {
    let length = (start + ATTRIBUTE_HEADER + INTEGRITY_LENGTH).checked_sub(HEADER)?;
    let mut hmac = Hmac::<Sha1>::new_from_slice(password).ok()?;
    hmac.update(message.get(..2)?);
    hmac.update(&u16::try_from(length).ok()?.to_be_bytes());
    hmac.update(message.get(4..start)?);
    Some(hmac)
}

/// Maximum bytes of a username: two ICE fragments of at most 256 characters and a colon (RFC 8445 §5.3). A STUN
/// username has fewer than 509 bytes (RFC 8489 §14.3).
pub const MAX_USERNAME: usize = 513;

const COOKIE: u32 = 0x2112_a442;
const HEADER: usize = 20;
const ATTRIBUTE_HEADER: usize = 4;
const INTEGRITY_LENGTH: usize = 20;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_INDICATION: u16 = 0x0011;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const ERROR_CODE: u16 = 0x0009;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLING: u16 = 0x802a;
const FINGERPRINT: u16 = 0x8028;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Code 403 without a reason phrase (RFC 8489 §14.8): agents take it as final, while they try again after a 401 or a
/// 500.
const FORBIDDEN: [u8; 4] = [0, 0, 4, 3];

#[cfg(test)]
mod tests {
    use hex_literal::hex;

    use super::*;

    /// RFC 5769 §2.1: a request, padded with spaces.
    const SAMPLE_REQUEST: [u8; 108] = hex!(
        "00 01 00 58 21 12 a4 42 b7 e7 a7 01 bc 34 d6 86 fa 87 df ae"
        "80 22 00 10 53 54 55 4e 20 74 65 73 74 20 63 6c 69 65 6e 74"
        "00 24 00 04 6e 00 01 ff 80 29 00 08 93 2f f9 b1 51 26 3b 36"
        "00 06 00 09 65 76 74 6a 3a 68 36 76 59 20 20 20"
        "00 08 00 14 9a ea a7 0c bf d8 cb 56 78 1e f2 b5 b2 d3 f2 49 c1 b5 71 a2"
        "80 28 00 04 e5 7a 3b cf"
    );
    const SAMPLE_PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

    #[test]
    fn the_sample_of_the_specification_is_read_and_proven() {
        let message = Message::parse(&SAMPLE_REQUEST).unwrap();
        assert_eq!(message.kind, Kind::Request);
        assert_eq!(message.username, Some(&b"evtj:h6vY"[..]));
        assert!(message.is_from_owner_of(SAMPLE_PASSWORD));
        assert!(!message.is_from_owner_of(b"VOkJxbRl1RmTxUk/WvJxBu"));
        assert!(!message.is_from_owner_of(b""));
    }

    #[test]
    fn what_is_written_is_read() {
        let request = binding_request("abcd:efgh", b"secret", [7; 12], false);
        let message = Message::parse(&request).unwrap();
        assert_eq!(
            (message.kind, message.transaction),
            (Kind::Request, [7; 12])
        );
        assert!(message.is_from_owner_of(b"secret"));

        let answer = refusal([7; 12], b"secret");
        assert!(
            answer.len() <= request.len(),
            "no more goes out than came in"
        );
        let message = Message::parse(&answer).unwrap();
        assert_eq!((message.kind, message.username), (Kind::Error, None));
        assert!(message.is_from_owner_of(b"secret"));
    }

    #[test]
    fn a_broken_message_is_refused() {
        let request = binding_request("abcd:efgh", b"secret", [7; 12], false);
        let plain = start(BINDING_REQUEST, [7; 12]);
        let with = |length: u8, attributes: &[u8]| {
            let mut message = plain.clone();
            message[3] = length;
            message.extend_from_slice(attributes);
            message
        };
        let cases: [(&str, Vec<u8>, StunError); 13] = [
            ("nothing", vec![], StunError::Header),
            ("half a header", plain[..19].to_vec(), StunError::Header),
            (
                "another cookie",
                hex!("0001000021 12a443 000000000000000000000000").to_vec(),
                StunError::Header,
            ),
            (
                "RTP",
                hex!("80010000 2112a442 000000000000000000000000").to_vec(),
                StunError::Header,
            ),
            (
                "a method that shares its first byte with others",
                hex!("04010000 2112a442 000000000000000000000000").to_vec(),
                StunError::Header,
            ),
            (
                "one byte after the header",
                with(1, &[0]),
                StunError::Length,
            ),
            (
                "one byte that nobody announced",
                with(0, &[0]),
                StunError::Length,
            ),
            (
                "three bytes after the header",
                with(3, &[0, 6, 0]),
                StunError::Length,
            ),
            (
                "a length of another message",
                with(8, &[0, 6, 0, 0]),
                StunError::Length,
            ),
            (
                "a value without its padding",
                with(4, &[0, 6, 0, 1]),
                StunError::Attribute,
            ),
            (
                "a value beyond the end",
                with(8, &[0, 6, 0, 5, 1, 1, 1, 1]),
                StunError::Attribute,
            ),
            (
                "a code of another length",
                with(8, &[0, 8, 0, 4, 1, 1, 1, 1]),
                StunError::Attribute,
            ),
            (
                "a fingerprint of another message",
                with(8, &[0x80, 0x28, 0, 4, 1, 1, 1, 1]),
                StunError::Fingerprint,
            ),
        ];
        for (cause, datagram, expected) in cases {
            assert_eq!(Message::parse(&datagram), Err(expected), "{cause}");
        }
        // Only the type of the fingerprint that follows is not covered by anything.
        let uncovered = request.len() - 8..request.len() - 6;
        for at in (0..request.len()).filter(|at| !uncovered.contains(at)) {
            let mut changed = request.clone();
            changed[at] ^= 1;
            let proven =
                Message::parse(&changed).is_ok_and(|message| message.is_from_owner_of(b"secret"));
            assert!(!proven, "byte {at} changed");
        }
    }

    #[test]
    fn what_stands_behind_the_code_is_not_believed() {
        let mut message = start(BINDING_REQUEST, [7; 12]);
        sign(&mut message, b"secret");
        // Remove the fingerprint, add a username after the code, and append a new fingerprint.
        message.truncate(message.len() - 8);
        push(&mut message, USERNAME, b"abcd:efgh");
        let read = Message::parse(&message).unwrap();
        assert_eq!(read.username, None);
    }

    #[test]
    fn of_two_usernames_the_first_counts() {
        let mut message = start(BINDING_REQUEST, [7; 12]);
        push(&mut message, USERNAME, b"one");
        push(&mut message, USERNAME, b"two");
        assert_eq!(
            Message::parse(&message).unwrap().username,
            Some(&b"one"[..])
        );
    }
}
