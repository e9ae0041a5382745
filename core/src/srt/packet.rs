//! SRT packets (section 3): the header every packet has, and the handshake.

use std::net::{IpAddr, SocketAddr};

use crate::read::{Reader, Truncated};

/// What a relay has to know of a packet: where it goes, and whether it may simply pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What kind of packet it is.
    pub kind: Kind,
    /// The socket id it is for; 0 is the listener.
    pub destination: u32,
}

/// Kinds of packets, as far as they differ for a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Acknowledgements, keep-alives, key refreshes and the like: they pass.
    Control,
    /// Media: it passes.
    Data,
    /// A handshake (section 3.2.1).
    Handshake,
    /// The sender is gone (section 3.2.7).
    Shutdown,
}

impl Header {
    /// Reads the first 16 bytes.
    ///
    /// # Errors
    /// [`Truncated`] if there are fewer.
    pub fn parse(packet: &[u8]) -> Result<Self, Truncated> {
        let header = packet.first_chunk::<HEADER>().ok_or(Truncated)?;
        let [a, b, c, d, .., w, x, y, z] = *header;
        let kind = match u32::from_be_bytes([a, b, c, d]) >> 16 {
            word if word & 0x8000 == 0 => Kind::Data,
            0x8000 => Kind::Handshake,
            0x8005 => Kind::Shutdown,
            _ => Kind::Control,
        };
        let destination = u32::from_be_bytes([w, x, y, z]);
        Ok(Self { kind, destination })
    }
}

/// Makes a packet one for the socket `destination`.
pub fn readdress(packet: &mut [u8], destination: u32) {
    if let Some(place) = packet.get_mut(12..HEADER) {
        place.copy_from_slice(&destination.to_be_bytes());
    }
}

/// The packet that ends a connection. libsrt sends four bytes behind the header, and so do we.
pub fn shutdown(destination: u32) -> Vec<u8> {
    let mut packet = vec![0; HEADER + 4];
    if let Some(start) = packet.get_mut(..2) {
        start.copy_from_slice(&0x8005_u16.to_be_bytes());
    }
    readdress(&mut packet, destination);
    packet
}

/// A handshake packet, with its extensions as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// Microseconds since the sender's socket was opened.
    pub timestamp: u32,
    /// The socket id it is for; 0 is the listener.
    pub destination: u32,
    /// 4 or 5.
    pub version: u32,
    /// The length of the key in units of 8 bytes, or 0.
    pub encryption: u16,
    /// What extensions follow ([`HAS_HANDSHAKE`], [`HAS_KEY`], [`HAS_CONFIG`]); in the answer to an induction,
    /// [`MAGIC`].
    pub extension: u16,
    /// The first sequence number.
    pub initial_sequence: u32,
    /// The largest packet, in bytes with the IP header.
    pub mtu: u32,
    /// How many packets may be under way.
    pub window: u32,
    /// Which step this is.
    pub step: Step,
    /// The sender's socket id.
    pub socket_id: u32,
    /// What the listener said.
    pub cookie: u32,
    /// The receiver's address as the sender knows it, as it is on the wire.
    pub peer_ip: [u8; 16],
    /// What follows.
    pub extensions: &'a [u8],
}

/// The steps of a handshake, and the ways it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The last step of a rendezvous.
    Agreement,
    /// The caller repeats the cookie and says what it wants, or the listener agrees.
    Conclusion,
    /// The caller's first word, or the listener's first.
    Induction,
    /// No, with the code as it is on the wire.
    Rejection(Rejection),
    /// The first step of a rendezvous.
    Wavehand,
}

/// A reason to say no, as it is on the wire: 1000 and one of the protocol's own, or 2000 and one like HTTP's. A
/// libsrt caller sees it less 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection(pub u32);

impl Rejection {
    /// The caller's version is too old.
    pub const VERSION: Self = Self(1008);
    /// What the caller wants cannot be read.
    pub const BAD_REQUEST: Self = Self(2400);
    /// As many as may be are served.
    pub const OVERLOAD: Self = Self(2402);
    /// 403: somebody who decides said no.
    pub const FORBIDDEN: Self = Self(2403);
    /// The stream is nowhere.
    pub const NOT_FOUND: Self = Self(2404);
    /// It works otherwise, but not in this mode.
    pub const BAD_MODE: Self = Self(2405);
    /// Somebody else publishes it.
    pub const CONFLICT: Self = Self(2409);
    /// Our mistake.
    pub const INTERNAL: Self = Self(2500);
    /// No origin answered.
    pub const GATEWAY: Self = Self(2502);
    /// The proxy stops, or has no origin.
    pub const DOWN: Self = Self(2503);
}

impl Step {
    fn parse(word: u32) -> Result<Self, PacketError> {
        match word {
            0 => Ok(Self::Wavehand),
            1 => Ok(Self::Induction),
            0xFFFF_FFFF => Ok(Self::Conclusion),
            0xFFFF_FFFE => Ok(Self::Agreement),
            LEAST_REJECTION..=MOST_REJECTION => Ok(Self::Rejection(Rejection(word))),
            _ => Err(PacketError::Step),
        }
    }

    const fn word(self) -> u32 {
        match self {
            Self::Wavehand => 0,
            Self::Induction => 1,
            Self::Conclusion => 0xFFFF_FFFF,
            Self::Agreement => 0xFFFF_FFFE,
            Self::Rejection(Rejection(code)) => code,
        }
    }
}

/// Why a packet is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// It is not a handshake.
    #[error("not a handshake")]
    NotAHandshake,
    /// A step nobody knows.
    #[error("an unknown step of the handshake")]
    Step,
    /// Longer than any handshake.
    #[error("the handshake is longer than {MAX_HANDSHAKE} bytes")]
    TooLong,
}

impl<'a> Handshake<'a> {
    /// Reads a handshake packet; its extensions are not looked at.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn parse(packet: &'a [u8]) -> Result<Self, PacketError> {
        if packet.len() > MAX_HANDSHAKE {
            return Err(PacketError::TooLong);
        }
        let mut reader = Reader::new(packet);
        if reader.u32()? >> 16 != 0x8000 {
            return Err(PacketError::NotAHandshake);
        }
        reader.u32()?;
        Ok(Self {
            timestamp: reader.u32()?,
            destination: reader.u32()?,
            version: reader.u32()?,
            encryption: reader.u16()?,
            extension: reader.u16()?,
            initial_sequence: reader.u32()?,
            mtu: reader.u32()?,
            window: reader.u32()?,
            step: Step::parse(reader.u32()?)?,
            socket_id: reader.u32()?,
            cookie: reader.u32()?,
            peer_ip: reader.array()?,
            extensions: reader.rest(),
        })
    }

    /// The packet without its extensions.
    pub fn head(&self) -> [u8; HANDSHAKE] {
        let mut head = [0; HANDSHAKE];
        let words = [
            0x8000_0000,
            0,
            self.timestamp,
            self.destination,
            self.version,
            u32::from(self.encryption) << 16 | u32::from(self.extension),
            self.initial_sequence,
            self.mtu,
            self.window,
            self.step.word(),
            self.socket_id,
            self.cookie,
        ];
        let (fixed, peer_ip) = head.split_at_mut(HANDSHAKE - 16);
        for (place, word) in fixed.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        peer_ip.copy_from_slice(&self.peer_ip);
        head
    }

    /// The whole packet.
    pub fn write(&self) -> Vec<u8> {
        let mut packet = self.head().to_vec();
        packet.extend_from_slice(self.extensions);
        packet
    }
}

/// An address as a handshake spells it: libsrt swaps the bytes of every word of a control packet, and those of an
/// address are in network order before.
pub fn peer_ip(address: SocketAddr) -> [u8; 16] {
    let mut wire = [0; 16];
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            let [first, second, third, fourth, ..] = &mut wire;
            (*first, *second, *third, *fourth) = (d, c, b, a);
        }
        IpAddr::V6(ip) => {
            wire = ip.octets();
            for word in wire.chunks_exact_mut(4) {
                word.reverse();
            }
        }
    }
    wire
}

/// Bytes of the header of every packet.
pub const HEADER: usize = 16;
/// Bytes of a handshake without extensions.
pub const HANDSHAKE: usize = 64;
/// A handshake must fit into one packet of an Ethernet.
pub const MAX_HANDSHAKE: usize = 1500;
/// What the listener's first word has in place of its extensions.
pub const MAGIC: u16 = 0x4A17;
/// The handshake extension follows.
pub const HAS_HANDSHAKE: u16 = 1;
/// A key follows.
pub const HAS_KEY: u16 = 2;
/// A stream id and the like follow.
pub const HAS_CONFIG: u16 = 4;
const LEAST_REJECTION: u32 = 1000;
/// Codes of applications of their own go up to here; beyond is room for wire values nobody has seen.
const MOST_REJECTION: u32 = 9999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_spelled_as_libsrt_does() {
        let four = peer_ip("192.0.2.1:5".parse().unwrap());
        assert_eq!(four, [1, 2, 0, 192, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(peer_ip("[::ffff:192.0.2.1]:5".parse().unwrap()), four);
        let six = peer_ip("[2001:db8::1]:5".parse().unwrap());
        assert_eq!(
            six,
            [0xb8, 0xd, 1, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
        );
    }

    #[test]
    fn kinds_by_their_first_word() {
        let packet = |start: [u8; 4]| {
            let mut packet = [0; 20];
            packet[..4].copy_from_slice(&start);
            packet
        };
        for (why, start, kind) in [
            ("data", [0x12, 0x34, 0, 0], Kind::Data),
            ("handshake", [0x80, 0, 0, 0], Kind::Handshake),
            ("keep-alive", [0x80, 1, 0, 0], Kind::Control),
            ("shutdown", [0x80, 5, 0, 0], Kind::Shutdown),
            ("key refresh", [0xff, 0xff, 0, 3], Kind::Control),
        ] {
            assert_eq!(Header::parse(&packet(start)).unwrap().kind, kind, "{why}");
        }
        assert!(Header::parse(&[0x80; 15]).is_err());
        let end = Header::parse(&shutdown(7)).unwrap();
        assert_eq!((end.kind, end.destination), (Kind::Shutdown, 7));
    }
}
