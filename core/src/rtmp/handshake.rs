//! The handshake (RTMP 1.0 §5.2): C0, C1, C2 from the client, S0, S1, S2 from the server.
//!
//! A client may sign its C1. This "digest" or "complex" handshake is not documented by Adobe; Flash requires it for
//! H.264. A server that finds a valid signature signs S1 and S2. All others get the simple form, in which each side
//! echoes the other's 1,536 bytes.

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The server's side.
#[derive(Debug)]
pub struct ServerHandshake {
    seed: [u8; 32],
    exchange: Exchange,
}

/// The client's side, in the simple form.
#[derive(Debug)]
pub struct ClientHandshake {
    exchange: Exchange,
}

/// Why a peer's handshake is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The version of RTMPE or a related encrypted variant.
    #[error("encrypted RTMP (version {0}) is not spoken here")]
    Encrypted(u8),
    /// The first byte is not a version of RTMP.
    #[error("this is not RTMP: its first byte is {0:#04x}")]
    NotRtmp(u8),
    /// The first byte is that of a TLS hello.
    #[error("this is TLS (RTMPS), and plain RTMP is spoken here")]
    Tls,
}

/// The part that both sides share: receive a version and a block, answer them, receive another block.
#[derive(Debug)]
struct Exchange {
    received: Vec<u8>,
    output: Option<Vec<u8>>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Receiving C0 and C1, or S0 and S1.
    First,
    /// Receiving C2 or S2.
    Second,
    Done,
}

impl ServerHandshake {
    /// A server that waits for C0 and C1. `seed` fills S1.
    pub const fn new(seed: [u8; 32]) -> Self {
        let exchange = Exchange::new(None);
        Self { seed, exchange }
    }

    /// Takes bytes from the client and returns how many belonged to its handshake.
    ///
    /// # Errors
    /// [`HandshakeError`] when C0 shows that this is not RTMP, or a variant that we do not serve.
    pub fn feed(&mut self, input: &[u8]) -> Result<usize, HandshakeError> {
        self.exchange.feed(input, |c1| answer(&self.seed, c1))
    }

    /// The next bytes for the client.
    pub const fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.exchange.output.take()
    }

    /// Whether C2 has been received.
    pub fn is_done(&self) -> bool {
        self.exchange.stage == Stage::Done
    }
}

impl ClientHandshake {
    /// A client whose first output is C0 and C1; `seed` fills C1.
    pub fn new(seed: [u8; 32]) -> Self {
        let mut output = vec![VERSION];
        // A zero time and a zero version announce the simple form.
        output.extend_from_slice(&[0; 8]);
        fill(&seed, BLOCK - 8, &mut output);
        let exchange = Exchange::new(Some(output));
        Self { exchange }
    }

    /// Takes bytes from the server and returns how many belonged to its handshake. C2 is output once S1 has been
    /// received; the handshake is done once S2 has been received.
    ///
    /// # Errors
    /// [`HandshakeError`] when S0 shows that this is not RTMP, or a variant that we do not serve.
    pub fn feed(&mut self, input: &[u8]) -> Result<usize, HandshakeError> {
        self.exchange.feed(input, |s1| s1.to_vec())
    }

    /// The next bytes for the server.
    pub const fn poll_output(&mut self) -> Option<Vec<u8>> {
        self.exchange.output.take()
    }

    /// Whether S2 has been received.
    pub fn is_done(&self) -> bool {
        self.exchange.stage == Stage::Done
    }
}

impl Exchange {
    const fn new(output: Option<Vec<u8>>) -> Self {
        Self {
            received: Vec::new(),
            output,
            stage: Stage::First,
        }
    }

    fn feed(
        &mut self,
        input: &[u8],
        answer: impl FnOnce(&[u8; BLOCK]) -> Vec<u8>,
    ) -> Result<usize, HandshakeError> {
        let mut consumed = 0;
        if self.stage == Stage::First {
            consumed += take(&mut self.received, input, 1 + BLOCK);
            check_version(&self.received)?;
            let Some(first) = block(&self.received) else {
                return Ok(consumed);
            };
            let answer = answer(first);
            self.output.get_or_insert_default().extend(answer);
            self.stage = Stage::Second;
            self.received = Vec::new();
        }
        if self.stage == Stage::Second {
            // The content of the second block is not checked: encoders echo anything.
            let rest = input.get(consumed..).unwrap_or_default();
            consumed += take(&mut self.received, rest, BLOCK);
            if self.received.len() == BLOCK {
                self.stage = Stage::Done;
                self.received = Vec::new();
            }
        }
        Ok(consumed)
    }
}

/// Moves bytes until `want` have been received; returns how many were moved.
fn take(received: &mut Vec<u8>, input: &[u8], want: usize) -> usize {
    let count = want.saturating_sub(received.len()).min(input.len());
    received.extend_from_slice(input.get(..count).unwrap_or_default());
    count
}

/// The 1,536 bytes after the version, once they have been received.
fn block(received: &[u8]) -> Option<&[u8; BLOCK]> {
    received.get(1..)?.try_into().ok()
}

fn check_version(received: &[u8]) -> Result<(), HandshakeError> {
    match received.first() {
        Some(version @ (6 | 8 | 9)) => Err(HandshakeError::Encrypted(*version)),
        Some(0x16) => Err(HandshakeError::Tls),
        // §5.2.2: versions 4 to 31 are reserved for the future, and a peer that does not know one continues with 3.
        // Lower ones are deprecated; from 32 on it is text.
        None | Some(VERSION..32) => Ok(()),
        Some(other) => Err(HandshakeError::NotRtmp(*other)),
    }
}

/// S0, S1 and S2 in answer to a C1.
fn answer(seed: &[u8; 32], c1: &[u8; BLOCK]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + 2 * BLOCK);
    out.push(VERSION);
    let Some((base, client_digest)) = find_digest(c1) else {
        out.extend_from_slice(&[0; 8]);
        fill(seed, BLOCK - 8, &mut out);
        out.extend_from_slice(c1);
        return out;
    };
    let mut s1 = vec![0, 0, 0, 0, 4, 5, 0, 1]; // a time, and the version of a server that signs
    fill(seed, BLOCK - 8, &mut s1);
    // A client looks for the digest first at the place it uses itself.
    let at = digest_position(&s1, base).expect("the block is whole");
    let signature = sign(SERVER_NAME, &without(&s1, at));
    s1.splice(at..at + DIGEST, signature);
    out.extend_from_slice(&s1);
    let key = sign(SERVER_KEY, &client_digest);
    let start = out.len();
    fill(&sign(SERVER_KEY, seed), BLOCK - DIGEST, &mut out);
    let signature = sign(&key, out.get(start..).unwrap_or_default());
    out.extend_from_slice(&signature);
    out
}

/// Looks for the client's digest in both places of its C1 where it may be. Returns the place and the digest if it is
/// valid.
fn find_digest(c1: &[u8; BLOCK]) -> Option<(usize, [u8; DIGEST])> {
    [DIGEST_FIRST, KEY_FIRST].into_iter().find_map(|base| {
        let at = digest_position(c1, base)?;
        let digest: [u8; DIGEST] = c1.get(at..at + DIGEST)?.try_into().ok()?;
        (sign(CLIENT_KEY, &without(c1, at)) == digest).then_some((base, digest))
    })
}

/// The position of the digest: the sum of the four bytes at `base` determines its distance from them.
fn digest_position(block: &[u8], base: usize) -> Option<usize> {
    let offset: usize = block
        .get(base..base + 4)?
        .iter()
        .map(|byte| usize::from(*byte))
        .sum();
    Some(base + 4 + offset % (SECTION - DIGEST - 4))
}

/// A block without the digest at `at`, which is what the digest signs.
fn without(block: &[u8], at: usize) -> Vec<u8> {
    let (before, rest) = block.split_at_checked(at).unwrap_or((block, &[]));
    [before, rest.get(DIGEST..).unwrap_or_default()].concat()
}

fn sign(key: &[u8], message: &[u8]) -> [u8; DIGEST] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

/// Appends `count` bytes that look random to anyone without the seed.
fn fill(seed: &[u8; 32], count: usize, out: &mut Vec<u8>) {
    let end = out.len() + count;
    let mut counter = 0_u32;
    while out.len() < end {
        let part = Sha256::new()
            .chain_update(seed)
            .chain_update(counter.to_be_bytes())
            .finalize();
        let rest = end - out.len();
        out.extend_from_slice(part.get(..rest).unwrap_or(&part));
        counter += 1;
    }
}

/// The version in C0 and S0 (§5.2.2).
const VERSION: u8 = 3;
/// The bytes of C1, C2, S1 and S2 (§5.2.3, §5.2.4).
const BLOCK: usize = 1536;
const DIGEST: usize = 32;
/// A signed block is eight bytes and two sections, one with the digest and one with a key.
const SECTION: usize = 764;
const DIGEST_FIRST: usize = 8;
const KEY_FIRST: usize = 8 + SECTION;
/// Each first block is signed with its sender's name. A server's second block is signed with its name and the bytes
/// after it.
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001\
    \xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57\
    \x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae";
const SERVER_NAME: &[u8] = b"Genuine Adobe Flash Media Server 001";

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the handshake of both sides, feeding `step` bytes at a time.
    fn shake(step: usize) -> (ClientHandshake, ServerHandshake) {
        let (mut client, mut server) =
            (ClientHandshake::new([1; 32]), ServerHandshake::new([2; 32]));
        for _ in 0..4 {
            for bytes in client.poll_output().unwrap_or_default().chunks(step) {
                assert_eq!(server.feed(bytes), Ok(bytes.len()));
            }
            for bytes in server.poll_output().unwrap_or_default().chunks(step) {
                assert_eq!(client.feed(bytes), Ok(bytes.len()));
            }
        }
        (client, server)
    }

    #[test]
    fn both_sides_finish_however_the_bytes_come() {
        for step in [1, 7, 1536, 1537, 5000] {
            let (client, server) = shake(step);
            assert!(client.is_done() && server.is_done(), "in steps of {step}");
        }
    }

    #[test]
    fn what_follows_the_handshake_is_left_alone() {
        let mut server = ServerHandshake::new([2; 32]);
        let mut bytes = ClientHandshake::new([1; 32]).poll_output().unwrap();
        bytes.extend_from_slice(&[0; BLOCK]);
        bytes.extend_from_slice(b"chunks");
        assert_eq!(server.feed(&bytes), Ok(1 + 2 * BLOCK));
        assert!(server.is_done());
        assert_eq!(server.feed(b"chunks"), Ok(0));
    }

    #[test]
    fn the_first_byte_decides_who_may_go_on() {
        let rows = [
            ("RTMP", 3, Ok(1)),
            ("a version to come", 31, Ok(1)),
            ("nothing", 0, Err(HandshakeError::NotRtmp(0))),
            ("a version of before", 2, Err(HandshakeError::NotRtmp(2))),
            ("RTMPE", 6, Err(HandshakeError::Encrypted(6))),
            ("RTMPE with XTEA", 8, Err(HandshakeError::Encrypted(8))),
            ("RTMPS", 0x16, Err(HandshakeError::Tls)),
            ("HTTP", b'G', Err(HandshakeError::NotRtmp(b'G'))),
            ("SRS's preamble", 0xF3, Err(HandshakeError::NotRtmp(0xF3))),
        ];
        for (name, byte, fed) in rows {
            assert_eq!(ServerHandshake::new([0; 32]).feed(&[byte]), fed, "{name}");
        }
        let http = ClientHandshake::new([0; 32]).feed(b"HTTP/1.1 400");
        assert_eq!(
            http,
            Err(HandshakeError::NotRtmp(b'H')),
            "an origin that speaks HTTP"
        );
    }

    #[test]
    fn a_simple_client_gets_its_own_bytes_back() {
        let c1 = ClientHandshake::new([9; 32]).poll_output().unwrap();
        let mut server = ServerHandshake::new([2; 32]);
        server.feed(&c1).unwrap();
        let answer = server.poll_output().unwrap();
        assert_eq!(answer.len(), 1 + 2 * BLOCK);
        assert_eq!(answer[1 + BLOCK..], c1[1..]);
    }

    #[test]
    fn a_signed_client_gets_signed_answers_in_either_schema() {
        for base in [DIGEST_FIRST, KEY_FIRST] {
            let mut c1 = vec![0, 0, 0, 9, 128, 0, 7, 2];
            fill(&[5; 32], BLOCK - 8, &mut c1);
            let at = digest_position(&c1, base).unwrap();
            let digest = sign(CLIENT_KEY, &without(&c1, at));
            c1.splice(at..at + DIGEST, digest);
            let answer = answer(&[7; 32], c1.as_slice().try_into().unwrap());
            let (s1, s2) = answer[1..].split_at(BLOCK);
            let at = digest_position(s1, base).unwrap();
            assert_eq!(
                s1[at..at + DIGEST],
                sign(SERVER_NAME, &without(s1, at)),
                "S1, base {base}"
            );
            let key = sign(SERVER_KEY, &digest);
            assert_eq!(
                s2[BLOCK - DIGEST..],
                sign(&key, &s2[..BLOCK - DIGEST]),
                "S2, base {base}"
            );
            c1[1000] ^= 1;
            assert_eq!(
                find_digest(c1.as_slice().try_into().unwrap()),
                None,
                "a broken signature is none"
            );
        }
    }
}
