//! What the proxies of a mesh send each other: messages in pieces, each piece a datagram that is sealed under the
//! cluster's key.
//!
//! ```text
//! 2 (version) · nonce (24) · XChaCha20-Poly1305( header · piece ) · tag (16)
//! header: kind · sender's start · receiver's start · count of datagrams · sender's address and port · piece · pieces
//! ```
//!
//! Nothing in a datagram is read unless it is sealed under the key. A *start* is a number that a proxy draws when it
//! starts. A datagram is believed only if it names the receiver's start, and only once, so anything recorded before
//! that start is worthless. A sender that does not know the receiver's start is told it, in a datagram that is not
//! longer than its own. That answer goes to the address inside the sealed datagram, never to the address that the
//! datagram seems to come from.
//!
//! A proxy seals under the first of its keys and opens what is sealed under any of them, so that proxies can change to
//! another key one by one.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::read::{Reader, Truncated};

/// Seals what one proxy sends, and opens what it receives.
pub struct Gate {
    cipher: XChaCha20Poly1305,
    /// The ciphers of further keys, which others may seal under.
    others: Vec<XChaCha20Poly1305>,
    /// The address at which the others reach this proxy.
    me: SocketAddr,
    start: u64,
    /// The first part of each nonce; the count of datagrams follows.
    nonce: [u8; SEED],
    sent: u64,
    opened: u64,
    peers: HashMap<SocketAddr, Peer>,
    /// Earlier starts at the same address.
    past: VecDeque<u64>,
}

/// The result of opening a datagram.
#[derive(Debug, PartialEq, Eq)]
pub enum Opened {
    /// A message is complete.
    Message {
        /// The sender, and the address for answers.
        from: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// A message that was not requested and is not answered.
    News {
        /// The sender.
        from: SocketAddr,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Nothing yet: the message is not complete.
    Nothing,
    /// The sender does not know this proxy's start: answer with [`hello`](Gate::hello).
    Stranger {
        /// The sender's address.
        at: SocketAddr,
        /// The sender's start.
        start: u64,
    },
}

/// Why a datagram is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not sealed under a key of this cluster.
    #[error("it is not sealed under a key of this cluster")]
    Foreign,
    /// It was sealed under the key, and is of another version.
    #[error("it is of another version")]
    Other,
    /// It was received before, or its sender no longer exists.
    #[error("it was here before")]
    Repeated,
}

#[derive(Debug)]
struct Peer {
    start: u64,
    /// The greatest count that was received, and which of the counts below it were, nearest first.
    greatest: u64,
    came: u128,
    /// When it was last heard, as a number of opened datagrams.
    heard: u64,
    parts: Parts,
}

/// A message of several pieces that is not complete yet.
#[derive(Debug, Default)]
struct Parts {
    /// The count of the first piece.
    first: u64,
    pieces: Vec<Option<Vec<u8>>>,
}

struct Header {
    kind: u8,
    from_start: u64,
    to_start: u64,
    count: u64,
    from: SocketAddr,
    piece: u16,
    pieces: u16,
}

impl Gate {
    /// The gate of a proxy that the others reach at `me`. The first of `cluster_keys` seals, and all of them open; no
    /// key is the same as an empty one. `random` has to be new at every start.
    pub fn new(cluster_keys: &[&[u8]], me: SocketAddr, random: [u8; SEED + 8]) -> Self {
        let (first, others) = cluster_keys.split_first().unwrap_or((&NO_KEY, &[]));
        let (nonce, start) = random.split_first_chunk().expect("it is longer");
        Self {
            cipher: cipher(first),
            others: others.iter().map(|key| cipher(key)).collect(),
            me,
            // A start is never 0.
            start: u64::from_be_bytes(start.try_into().unwrap_or_default()) | 1,
            nonce: *nonce,
            sent: 0,
            opened: 0,
            peers: HashMap::new(),
            past: VecDeque::new(),
        }
    }

    /// The datagrams that carry `message` to the proxy at `to`; none if it is too long for [`MOST_PIECES`].
    pub fn seal(&mut self, to: SocketAddr, message: &[u8]) -> Vec<Vec<u8>> {
        let pieces = message.len().div_ceil(PIECE).max(1);
        let Some(pieces) = u16::try_from(pieces)
            .ok()
            .filter(|pieces| *pieces <= MOST_PIECES)
        else {
            return Vec::new();
        };
        let to_start = self.peers.get(&to).map_or(0, |peer| peer.start);
        (0..pieces)
            .map(|piece| {
                let from = usize::from(piece) * PIECE;
                let bytes = message.get(from..).unwrap_or_default();
                let bytes = bytes.get(..PIECE).unwrap_or(bytes);
                self.write(KIND_PIECE, to_start, piece, pieces, bytes)
            })
            .collect()
    }

    /// The datagram that carries news to the proxy at `to`. `None` if its start is not known, or if the news has more
    /// than [`NEWS`] bytes.
    pub fn seal_news(&mut self, to: SocketAddr, news: &[u8]) -> Option<Vec<u8>> {
        let to_start = self.peers.get(&to)?.start;
        (news.len() <= NEWS).then(|| self.write(KIND_NEWS, to_start, 0, 1, news))
    }

    /// The datagram that tells a [stranger](Opened::Stranger) this proxy's start.
    pub fn hello(&mut self, its_start: u64) -> Vec<u8> {
        self.write(KIND_HELLO, its_start, 0, 1, b"")
    }

    /// Opens a datagram.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed then.
    pub fn open(&mut self, datagram: &[u8]) -> Result<Opened, Refused> {
        let plain = self.unsealed(datagram).ok_or(Refused::Foreign)?;
        let mut reader = Reader::new(&plain);
        let header = Header::read(&mut reader)
            .ok()
            .flatten()
            .ok_or(Refused::Other)?;
        if header.to_start != self.start {
            return Ok(match header.kind {
                KIND_PIECE => Opened::Stranger {
                    at: header.from,
                    start: header.from_start,
                },
                _ => Opened::Nothing,
            });
        }
        self.opened += 1;
        let opened = self.opened;
        let peer = self.peer(&header)?;
        peer.heard = opened;
        if !peer.is_new(header.count) {
            return Err(Refused::Repeated);
        }
        let from = header.from;
        let whole = match (header.kind, header.pieces) {
            (KIND_HELLO, _) => return Ok(Opened::Nothing),
            (KIND_NEWS, _) => {
                let bytes = reader.rest().to_vec();
                return Ok(Opened::News { from, bytes });
            }
            (_, 1) => Some(reader.rest().to_vec()),
            _ => peer.parts.add(&header, reader.rest()),
        };
        Ok(whole.map_or(Opened::Nothing, |bytes| Opened::Message { from, bytes }))
    }

    fn unsealed(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let (&[version], sealed) = datagram.split_first_chunk()?;
        if version != VERSION || datagram.len() > LONGEST_DATAGRAM {
            return None;
        }
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>()?;
        let (bytes, tag) = sealed.split_last_chunk::<TAG>()?;
        let mut plain = bytes.to_vec();
        let mut ciphers = std::iter::once(&self.cipher).chain(&self.others);
        // The tag is checked first, so a key that does not open the datagram leaves it unchanged.
        let opened = ciphers.any(|cipher| {
            let opened = cipher.decrypt_inout_detached(
                &XNonce::from(*nonce),
                &[VERSION],
                plain.as_mut_slice().into(),
                &Tag::from(*tag),
            );
            opened.is_ok()
        });
        opened.then_some(plain)
    }

    /// The sender, if the datagram names our start.
    fn peer(&mut self, header: &Header) -> Result<&mut Peer, Refused> {
        let start = header.from_start;
        if self.past.contains(&start) {
            return Err(Refused::Repeated);
        }
        match self.peers.get(&header.from).map(|peer| peer.start) {
            Some(known) if known == start => {}
            Some(known) => {
                self.past.push_back(known);
                if self.past.len() > MOST_PEERS {
                    self.past.pop_front();
                }
                self.peers.remove(&header.from);
            }
            None if self.peers.len() >= MOST_PEERS => {
                let oldest = self.peers.iter().min_by_key(|(_, peer)| peer.heard);
                if let Some(at) = oldest.map(|(at, _)| *at) {
                    self.peers.remove(&at);
                }
            }
            None => {}
        }
        Ok(self.peers.entry(header.from).or_insert_with(|| Peer {
            start,
            greatest: 0,
            came: 0,
            heard: 0,
            parts: Parts::default(),
        }))
    }

    fn write(&mut self, kind: u8, to_start: u64, piece: u16, pieces: u16, bytes: &[u8]) -> Vec<u8> {
        self.sent += 1;
        let nonce: [u8; NONCE] = [self.nonce.as_slice(), &self.sent.to_be_bytes()]
            .concat()
            .try_into()
            .expect("the parts of a nonce");
        let mut datagram = Vec::with_capacity(LONGEST_DATAGRAM);
        datagram.push(VERSION);
        datagram.extend(nonce);
        let header = Header {
            kind,
            from_start: self.start,
            to_start,
            count: self.sent,
            from: self.me,
            piece,
            pieces,
        };
        header.write(&mut datagram);
        datagram.extend(bytes);
        let plain = datagram.get_mut(1 + NONCE..).unwrap_or_default();
        let tag = self
            .cipher
            .encrypt_inout_detached(&XNonce::from(nonce), &[VERSION], plain.into())
            .expect("a datagram is far shorter than the 256 GiB that the cipher takes");
        datagram.extend(tag);
        datagram
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Gate")
            .field("me", &self.me)
            .field("peers", &self.peers.len())
            .finish_non_exhaustive()
    }
}

impl Peer {
    /// Whether `count` is new, and notes it. A count that is too old to tell counts as seen.
    fn is_new(&mut self, count: u64) -> bool {
        if count > self.greatest {
            let ahead = u32::try_from(count - self.greatest).unwrap_or(u32::MAX);
            self.came = self.came.checked_shl(ahead).unwrap_or(0) | 1;
            self.greatest = count;
            return true;
        }
        let behind = u32::try_from(self.greatest - count).unwrap_or(u32::MAX);
        let Some(bit) = 1_u128.checked_shl(behind) else {
            return false;
        };
        let new = self.came & bit == 0;
        self.came |= bit;
        new
    }
}

impl Parts {
    /// Adds a piece, and returns the message once it is complete. There is one message at a time: a later one displaces
    /// it.
    fn add(&mut self, header: &Header, bytes: &[u8]) -> Option<Vec<u8>> {
        let first = header.count.checked_sub(u64::from(header.piece))?;
        let pieces = usize::from(header.pieces);
        if first > self.first {
            *self = Self {
                first,
                pieces: vec![None; pieces],
            };
        }
        if first != self.first {
            return None;
        }
        *self.pieces.get_mut(usize::from(header.piece))? = Some(bytes.to_vec());
        if self.pieces.iter().any(Option::is_none) {
            return None;
        }
        let pieces = std::mem::take(&mut self.pieces);
        Some(pieces.into_iter().flatten().flatten().collect())
    }
}

impl Header {
    fn write(&self, to: &mut Vec<u8>) {
        to.push(self.kind);
        for number in [self.from_start, self.to_start, self.count] {
            to.extend(number.to_be_bytes());
        }
        let ip = match self.from.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        to.extend(ip.octets());
        for number in [self.from.port(), self.piece, self.pieces] {
            to.extend(number.to_be_bytes());
        }
    }

    /// Reads a header; `None` if no proxy of this version writes it.
    fn read(reader: &mut Reader<'_>) -> Result<Option<Self>, Truncated> {
        let [kind] = reader.array::<1>()?;
        let mut number = || reader.array().map(u64::from_be_bytes);
        let (from_start, to_start, count) = (number()?, number()?, number()?);
        let ip = Ipv6Addr::from(reader.array::<16>()?);
        let mut number = || reader.array().map(u16::from_be_bytes);
        let (port, piece, pieces) = (number()?, number()?, number()?);
        let known = matches!(kind, KIND_HELLO | KIND_NEWS | KIND_PIECE)
            && piece < pieces
            && pieces <= MOST_PIECES
            && port != 0;
        Ok(known.then(|| Self {
            kind,
            from_start,
            to_start,
            count,
            from: SocketAddr::new(IpAddr::V6(ip).to_canonical(), port),
            piece,
            pieces,
        }))
    }
}

fn cipher(cluster_key: &[u8]) -> XChaCha20Poly1305 {
    let mut hash =
        Hmac::<Sha256>::new_from_slice(cluster_key).expect("HMAC takes keys of any length");
    hash.update(b"sluicegate mesh: datagrams");
    let key: [u8; 32] = hash.finalize().into_bytes().into();
    XChaCha20Poly1305::new(&key.into())
}

const NO_KEY: &[u8] = b"";
/// Bytes at the start of each nonce.
pub const SEED: usize = 16;
/// Maximum bytes of a datagram: it fits into the smallest packet that every IPv6 network passes whole, so it is never
/// fragmented.
pub const LONGEST_DATAGRAM: usize = 1_232;
/// Maximum datagrams of one message: more than the 65,507 bytes of the longest message.
pub const MOST_PIECES: u16 = 64;
/// Maximum bytes of news.
pub const NEWS: usize = PIECE;
const VERSION: u8 = 2;
const KIND_HELLO: u8 = 0;
const KIND_PIECE: u8 = 1;
const KIND_NEWS: u8 = 2;
const NONCE: usize = SEED + 8;
const TAG: usize = 16;
const HEADER: usize = 1 + 3 * 8 + 16 + 3 * 2;
const PIECE: usize = LONGEST_DATAGRAM - 1 - NONCE - HEADER - TAG;
/// Maximum addresses and earlier starts that are remembered. Beyond this, the one heard longest ago is forgotten.
const MOST_PEERS: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `keys` are separated by spaces.
    fn gate(keys: &str, port: u16, start: u8) -> Gate {
        let me = SocketAddr::from(([10, 0, 0, 1], port));
        let keys: Vec<&[u8]> = keys.split(' ').map(str::as_bytes).collect();
        Gate::new(&keys, me, [start; SEED + 8])
    }

    /// Two proxies that know each other's start.
    fn met() -> (Gate, Gate) {
        let (mut a, mut b) = (gate("key", 1, 2), gate("key", 2, 4));
        meet(&mut a, &mut b);
        meet(&mut b, &mut a);
        (a, b)
    }

    fn meet(from: &mut Gate, to: &mut Gate) {
        let message = from.seal(to.me, b"are you there?");
        let Ok(Opened::Stranger { at, start }) = to.open(&message[0]) else {
            return;
        };
        assert_eq!(at, from.me);
        let hello = to.hello(start);
        assert!(hello.len() <= message[0].len(), "no amplification");
        assert_eq!(from.open(&hello), Ok(Opened::Nothing));
    }

    fn carried(from: &mut Gate, to: &mut Gate, message: &[u8]) -> Option<Vec<u8>> {
        let mut whole = None;
        for datagram in from.seal(to.me, message) {
            assert!(datagram.len() <= LONGEST_DATAGRAM);
            if let Opened::Message {
                from: sender,
                bytes,
            } = to.open(&datagram).expect("fresh")
            {
                assert_eq!(sender, from.me);
                whole = Some(bytes);
            }
        }
        whole
    }

    #[test]
    fn messages_of_every_length_arrive_whole() {
        let (mut a, mut b) = met();
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 65_507] {
            let message: Vec<u8> = (0..length)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            assert_eq!(
                carried(&mut a, &mut b, &message),
                Some(message.clone()),
                "{length}"
            );
            assert_eq!(carried(&mut b, &mut a, &message), Some(message), "{length}");
        }
        let too_long = vec![0; usize::from(MOST_PIECES) * PIECE + 1];
        assert!(a.seal(b.me, &too_long).is_empty());
    }

    #[test]
    fn pieces_come_in_any_order_and_a_later_message_displaces_a_broken_one() {
        let (mut a, mut b) = met();
        let message = vec![7; 3 * PIECE];
        let mut pieces = a.seal(b.me, &message);
        pieces.reverse();
        let opened: Vec<Opened> = pieces.iter().map(|piece| b.open(piece).unwrap()).collect();
        assert!(matches!(&opened[2], Opened::Message { bytes, .. } if *bytes == message));
        let broken = a.seal(b.me, &message);
        assert_eq!(b.open(&broken[0]), Ok(Opened::Nothing));
        assert_eq!(
            carried(&mut a, &mut b, &[8; 2 * PIECE]),
            Some(vec![8; 2 * PIECE])
        );
        assert_eq!(
            b.open(&broken[1]),
            Ok(Opened::Nothing),
            "its message is given up"
        );
    }

    #[test]
    fn nothing_is_believed_twice() {
        let (mut a, mut b) = met();
        let once = a.seal(b.me, b"once");
        let later = a.seal(b.me, b"later");
        assert!(matches!(b.open(&later[0]), Ok(Opened::Message { .. })));
        assert!(
            matches!(b.open(&once[0]), Ok(Opened::Message { .. })),
            "order is free"
        );
        assert_eq!(b.open(&once[0]), Err(Refused::Repeated));
        assert_eq!(b.open(&later[0]), Err(Refused::Repeated));
        for _ in 0..200 {
            let _ = carried(&mut a, &mut b, b"more");
        }
        assert_eq!(b.open(&once[0]), Err(Refused::Repeated), "long ago");
    }

    #[test]
    fn what_was_recorded_before_a_start_is_worth_nothing() {
        let (mut a, mut b) = met();
        let recorded = a.seal(b.me, b"recorded");
        let mut anew = gate("key", 2, 6);
        let opened = anew.open(&recorded[0]);
        assert!(matches!(opened, Ok(Opened::Stranger { .. })), "{opened:?}");
        // The sender restarts: what it sent before and b has not received yet is no longer valid.
        let mut a_anew = gate("key", 1, 8);
        meet(&mut a_anew, &mut b);
        assert_eq!(carried(&mut a_anew, &mut b, b"new"), Some(b"new".to_vec()));
        assert_eq!(b.open(&recorded[0]), Err(Refused::Repeated));
    }

    #[test]
    fn another_key_is_not_heard() {
        let (_, mut b) = met();
        let mut stranger = gate("another", 1, 2);
        let datagram = &stranger.seal(b.me, b"let me in")[0];
        assert_eq!(b.open(datagram), Err(Refused::Foreign));
        assert!(
            !datagram.windows(6).any(|bytes| bytes == b"let me"),
            "and it is sealed"
        );
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        for (cause, one, other, meet) in [
            ("before", "old", "old", true),
            ("one has the new key too", "old new", "old", true),
            ("both have it", "old new", "old new", true),
            ("one seals under it", "new old", "old new", true),
            ("both do", "new old", "new old", true),
            ("one has dropped the old one", "new", "new old", true),
            ("a step was left out", "new old", "old", false),
            (
                "it is dropped while one seals under it",
                "new",
                "old new",
                false,
            ),
            ("that only one seals under", "new", "old", false),
            ("a stranger", "strange", "new old", false),
            ("no key", "", "new old", false),
        ] {
            let (mut a, mut b) = (gate(one, 1, 2), gate(other, 2, 4));
            let to_b = a.seal(b.me, b"?").remove(0);
            let to_a = b.seal(a.me, b"?").remove(0);
            let both = matches!(b.open(&to_b), Ok(Opened::Stranger { .. }))
                && matches!(a.open(&to_a), Ok(Opened::Stranger { .. }));
            assert_eq!(both, meet, "{cause}");
        }
    }

    #[test]
    fn news_pass_a_message_in_pieces() {
        let (mut a, mut b) = met();
        assert_eq!(
            a.seal_news(SocketAddr::from(([10, 0, 0, 9], 1)), b"new"),
            None
        );
        assert_eq!(a.seal_news(b.me, &[0; NEWS + 1]), None);
        let message = vec![7; 2 * PIECE];
        let pieces = a.seal(b.me, &message);
        let news = a.seal_news(b.me, &[9; NEWS]).unwrap();
        assert_eq!(news.len(), LONGEST_DATAGRAM);
        assert_eq!(b.open(&pieces[0]), Ok(Opened::Nothing));
        let (from, bytes) = (a.me, vec![9; NEWS]);
        assert_eq!(b.open(&news), Ok(Opened::News { from, bytes }));
        assert_eq!(b.open(&news), Err(Refused::Repeated));
        let whole = b.open(&pieces[1]).unwrap();
        assert!(matches!(whole, Opened::Message { bytes, .. } if bytes == message));
        // To a restarted proxy, these datagrams are from before.
        let mut anew = gate("key", 2, 6);
        let news = a.seal_news(b.me, b"new").unwrap();
        assert_eq!(anew.open(&news), Ok(Opened::Nothing));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let (_, mut b) = met();
            prop_assert_eq!(b.open(&bytes), Err(Refused::Foreign));
        }

        #[test]
        fn a_datagram_that_was_touched_is_refused(at in 0..100_usize, bit in 0..8_u32) {
            let (mut a, mut b) = met();
            let mut datagram = a.seal(b.me, &[1; 200])[0].clone();
            datagram[at] ^= 1 << bit;
            prop_assert_eq!(b.open(&datagram), Err(Refused::Foreign));
        }
    }
}
