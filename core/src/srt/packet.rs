//! SRT packets (section 3): the header of every packet, and the handshake.

use std::net::{IpAddr, SocketAddr};

use crate::read::{Reader, Truncated};

/// What a relay has to know about a packet: where it goes, and whether it may simply pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The kind of the packet.
    pub kind: Kind,
    /// The socket id that the packet is for; 0 is the listener.
    pub destination: u32,
}

/// The kinds of packets that a relay treats differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Acknowledgements, keep-alives, key refreshes and similar packets, which pass.
    Control,
    /// Media, which passes.
    Data,
    /// A handshake (section 3.2.1).
    Handshake,
    /// The sender has closed the connection (section 3.2.7).
    Shutdown,
}

impl Header {
    /// Reads the first 16 bytes of a packet.
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

/// Changes the destination of a packet to the socket `destination`.
pub fn readdress(packet: &mut [u8], destination: u32) {
    if let Some(place) = packet.get_mut(12..HEADER) {
        place.copy_from_slice(&destination.to_be_bytes());
    }
}

/// The packet that ends a connection. Like libsrt, it has four bytes after the header.
pub fn shutdown(destination: u32) -> Vec<u8> {
    let mut packet = vec![0; HEADER + 4];
    if let Some(start) = packet.get_mut(..2) {
        start.copy_from_slice(&0x8005_u16.to_be_bytes());
    }
    readdress(&mut packet, destination);
    packet
}

/// A handshake packet, with its extensions unparsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// Microseconds since the sender's socket was opened.
    pub timestamp: u32,
    /// The socket id that the packet is for; 0 is the listener.
    pub destination: u32,
    /// 4 or 5.
    pub version: u32,
    /// The length of the key in units of 8 bytes, or 0.
    pub encryption: u16,
    /// Which extensions follow ([`HAS_HANDSHAKE`], [`HAS_KEY`], [`HAS_CONFIG`]); in the answer to an induction,
    /// [`MAGIC`].
    pub extension: u16,
    /// The first sequence number.
    pub initial_sequence: u32,
    /// Maximum size of a packet, in bytes including the IP header.
    pub mtu: u32,
    /// Maximum packets in flight.
    pub window: u32,
    /// The step of the handshake.
    pub step: Step,
    /// The sender's socket id.
    pub socket_id: u32,
    /// The cookie that the listener sent.
    pub cookie: u32,
    /// The receiver's address as the sender knows it, in the form it has on the wire.
    pub peer_ip: [u8; 16],
    /// The bytes of the extensions.
    pub extensions: &'a [u8],
}

/// The first packet of a call (§4.3.1.1), from a caller that goes no further: a listener answers it and remembers nothing. The
/// answer comes with the step [`Step::Induction`] too.
pub fn question(listener: SocketAddr) -> Vec<u8> {
    Handshake {
        timestamp: 0,
        destination: 0,
        version: 4,
        encryption: 0,
        extension: DATAGRAM,
        initial_sequence: 0,
        mtu: 1500,
        window: 8192,
        step: Step::Induction,
        socket_id: 1,
        cookie: 0,
        peer_ip: peer_ip(listener),
        extensions: &[],
    }
    .write()
}

/// The steps of a handshake, and its failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The last step of a rendezvous.
    Agreement,
    /// The caller repeats the cookie and says what it wants, or the listener agrees.
    Conclusion,
    /// The first packet of the caller, or of the listener.
    Induction,
    /// A rejection, with its code as it is on the wire.
    Rejection(Rejection),
    /// The first step of a rendezvous.
    Wavehand,
}

/// A reason for a rejection, as it is on the wire: 1000 plus a code of the protocol, or 2000 plus one like HTTP's.
/// libsrt reports it to the caller less 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection(pub u32);

impl Rejection {
    /// The caller's version is too old.
    pub const VERSION: Self = Self(1008);
    /// The caller's request cannot be read.
    pub const BAD_REQUEST: Self = Self(2400);
    /// The caller did not say who it is, or said it wrongly.
    pub const UNAUTHORIZED: Self = Self(2401);
    /// The maximum number of sessions or calls is reached.
    pub const OVERLOAD: Self = Self(2402);
    /// 403: an authority denied the request.
    pub const FORBIDDEN: Self = Self(2403);
    /// The stream was not found.
    pub const NOT_FOUND: Self = Self(2404);
    /// The stream exists, but not in this mode.
    pub const BAD_MODE: Self = Self(2405);
    /// Another client publishes the stream.
    pub const CONFLICT: Self = Self(2409);
    /// A bug of ours.
    pub const INTERNAL: Self = Self(2500);
    /// No origin answered.
    pub const GATEWAY: Self = Self(2502);
    /// The proxy is stopping, or has no origin.
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

/// Why a packet cannot be read as a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// It is not a handshake packet.
    #[error("not a handshake")]
    NotAHandshake,
    /// It has an unknown step.
    #[error("an unknown step of the handshake")]
    Step,
    /// It is longer than any handshake.
    #[error("the handshake is longer than {MAX_HANDSHAKE} bytes")]
    TooLong,
}

impl<'a> Handshake<'a> {
    /// Reads a handshake packet without parsing its extensions.
    ///
    /// # Errors
    /// [`PacketError`], if it is malformed.
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

/// An address in the form a handshake uses: libsrt swaps the bytes of every word of a control packet, and those of an
/// address are in network order before the swap.
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
/// Bytes of a handshake without extensions, including the header.
pub const HANDSHAKE: usize = 64;
/// Maximum bytes of a handshake: it must fit into one Ethernet packet.
pub const MAX_HANDSHAKE: usize = 1500;
/// What the listener's first packet has in place of extension flags.
pub const MAGIC: u16 = 0x4A17;
/// Flag: the handshake extension follows.
pub const HAS_HANDSHAKE: u16 = 1;
/// Flag: a key follows.
pub const HAS_KEY: u16 = 2;
/// Flag: a stream id or other configuration follows.
pub const HAS_CONFIG: u16 = 4;
const LEAST_REJECTION: u32 = 1000;
/// Applications use codes up to here; the room beyond is for wire values that nobody has seen yet.
const MOST_REJECTION: u32 = 9999;

/// The value that a caller's induction has in place of extension flags: datagram mode, inherited from UDT.
pub(super) const DATAGRAM: u16 = 2;

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
