//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): a header before a connection's own bytes that
//! names the real client. It is read from trusted peers, and written to origins that want it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::read::{Reader, Truncated};

/// What a PROXY header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preface {
    /// The connection is the sender's own (a health check), so the peer's address counts.
    Local,
    /// The client's address.
    Client(SocketAddr),
}

/// Why bytes are not a PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrefaceError {
    /// Neither version's signature.
    #[error("the connection does not start with a PROXY protocol header")]
    NotAHeader,
    /// The signature is there, but the rest does not follow the specification.
    #[error("the PROXY protocol header is malformed")]
    Malformed,
    /// It is longer than a header may be here.
    #[error(
        "the PROXY protocol header has more than {MAX_PREFACE} bytes; have its sender leave out what it adds, such as certificates"
    )]
    TooLong,
}

/// Reads a header from the front of `bytes`, and returns it with its length; `None` if more bytes are needed. A header
/// has at most [`MAX_PREFACE`] bytes.
///
/// # Errors
/// [`PrefaceError`] as soon as the bytes cannot become a header.
pub fn parse(bytes: &[u8]) -> Result<Option<(Preface, usize)>, PrefaceError> {
    let starts = |signature: &[u8]| signature.iter().zip(bytes).all(|(a, b)| a == b);
    if starts(SIGNATURE_V2) {
        return if bytes.len() < SIGNATURE_V2.len() {
            Ok(None)
        } else {
            parse_v2(bytes)
        };
    }
    if starts(SIGNATURE_V1) {
        return if bytes.len() < SIGNATURE_V1.len() {
            Ok(None)
        } else {
            parse_v1(bytes)
        };
    }
    Err(PrefaceError::NotAHeader)
}

/// What `first`, the first bytes of a connection, are where that is none of a protocol that is served, but often sent to
/// such a port by mistake; with what there is to do about it.
pub fn mistaken(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(TLS_HANDSHAKE) {
        return Some(
            "a TLS handshake came, and no TLS is served here: set tls.certificate and tls.key, or have it come without TLS",
        );
    }
    let is_header = first.starts_with(SIGNATURE_V1) || first.starts_with(SIGNATURE_V2);
    is_header.then_some(
        "a PROXY protocol header came, and none is expected: name the network of its sender in proxy_protocol.accept_from, or turn it off there",
    )
}

/// Version 1 for a TCP connection from `client` to `local`.
pub fn write_v1(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let (from, to, family) = match (client.ip().to_canonical(), local.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (IpAddr::V4(from), IpAddr::V4(to), "TCP4"),
        (from, to) => (IpAddr::V6(mapped(from)), IpAddr::V6(mapped(to)), "TCP6"),
    };
    format!(
        "PROXY {family} {from} {to} {} {}\r\n",
        client.port(),
        local.port()
    )
    .into_bytes()
}

/// Version 2 for a TCP connection from `client` to `local`.
pub fn write_v2(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let mut out = SIGNATURE_V2.to_vec();
    out.push(0x21); // version 2, command PROXY
    let (family, addresses) = match (client.ip().to_canonical(), local.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x11, [from.octets(), to.octets()].concat()),
        (from, to) => (0x21, [mapped(from).octets(), mapped(to).octets()].concat()),
    };
    out.push(family);
    let length = u16::try_from(addresses.len() + 4).expect("two addresses are short");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&addresses);
    out.extend_from_slice(&client.port().to_be_bytes());
    out.extend_from_slice(&local.port().to_be_bytes());
    out
}

/// The client address preamble of go-oryx, which SRS reads before C0: 0xF3, a length, and an IPv4 address in network
/// order. It has no form for IPv6, so IPv6 clients get `None`.
pub fn write_rtmp_client_address(client: IpAddr) -> Option<[u8; 7]> {
    let IpAddr::V4(v4) = client.to_canonical() else {
        return None;
    };
    let [a, b, c, d] = v4.octets();
    Some([0xF3, 0, 4, a, b, c, d])
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Preface, usize)>, PrefaceError> {
    let window = bytes.get(..MAX_V1).unwrap_or(bytes);
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if window.len() < MAX_V1 {
            Ok(None)
        } else {
            Err(PrefaceError::Malformed)
        };
    };
    let line = window
        .get(..end)
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(PrefaceError::Malformed)?;
    let words: Vec<&str> = line.split(' ').collect();
    let preface = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => Preface::Local,
        [
            "PROXY",
            family @ ("TCP4" | "TCP6"),
            from,
            to,
            from_port,
            to_port,
        ] => {
            let ip: IpAddr = from.parse().map_err(|_| PrefaceError::Malformed)?;
            let to: IpAddr = to.parse().map_err(|_| PrefaceError::Malformed)?;
            if ip.is_ipv4() != (*family == "TCP4") || to.is_ipv4() != ip.is_ipv4() {
                return Err(PrefaceError::Malformed);
            }
            to_port
                .parse::<u16>()
                .map_err(|_| PrefaceError::Malformed)?;
            let port = from_port.parse().map_err(|_| PrefaceError::Malformed)?;
            Preface::Client(SocketAddr::new(ip, port))
        }
        _ => return Err(PrefaceError::Malformed),
    };
    Ok(Some((preface, end + 2)))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Preface, usize)>, PrefaceError> {
    match read_v2(bytes) {
        Ok(parsed) => parsed.map(Some),
        Err(Truncated) => Ok(None),
    }
}

/// Reads version 2. The outer error means that more bytes are needed, the inner one that the bytes are wrong.
fn read_v2(bytes: &[u8]) -> Result<Result<(Preface, usize), PrefaceError>, Truncated> {
    let mut reader = Reader::new(bytes);
    reader.bytes(SIGNATURE_V2.len())?;
    let command = reader.u8()?;
    let family = reader.u8()?;
    let length = usize::from(reader.u16()?);
    let total = SIGNATURE_V2.len() + 4 + length;
    if command & 0xF0 != 0x20 || command & 0x0F > 1 {
        return Ok(Err(PrefaceError::Malformed));
    }
    if total > MAX_PREFACE {
        return Ok(Err(PrefaceError::TooLong));
    }
    let mut body = Reader::new(reader.bytes(length)?);
    let address = match (command & 0x0F, family) {
        // Who reads no datagrams or paths takes the connection as it came (specification, 2.2).
        (0, _) | (_, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => return Ok(Ok((Preface::Local, total))),
        (_, 0x11) => body.array::<4>().map(|ip| (IpAddr::from(ip), 4)),
        (_, 0x21) => body.array::<16>().map(|ip| (IpAddr::from(ip), 16)),
        _ => return Ok(Err(PrefaceError::Malformed)),
    };
    let parsed = address.and_then(|(ip, size)| {
        body.bytes(size)?;
        let port = body.u16()?;
        body.u16()?;
        Ok((Preface::Client(SocketAddr::new(ip, port)), total))
    });
    Ok(parsed.map_err(|Truncated| PrefaceError::Malformed))
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4),
        IpAddr::V6(v6) => v6,
    }
}

/// Maximum bytes of a header: version 2 with room for extensions, which are skipped.
pub const MAX_PREFACE: usize = 536;
const MAX_V1: usize = 107; // "worst case (optional fields set to 0xff)", §2.1
const SIGNATURE_V1: &[u8] = b"PROXY ";
/// The first bytes of a TLS record that begins a connection, without its minor version (RFC 8446 §5.1).
const TLS_HANDSHAKE: &[u8] = &[0x16, 3];
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use proptest::prelude::*;

    fn client(address: &str) -> Preface {
        Preface::Client(address.parse().unwrap())
    }

    #[test]
    fn what_is_sent_to_the_wrong_port_is_told() {
        let names = |first: &[u8], word: &str| mistaken(first).is_some_and(|it| it.contains(word));
        assert!(names(&hex!("16 03 01 02 00"), "TLS"));
        assert!(names(b"PROXY TCP4 ", "PROXY"));
        assert!(names(&hex!("0d0a0d0a000d0a515549540a 21"), "PROXY"));
        for other in [
            &b""[..],
            b"GET / HTTP/1.1",
            b"\x03",
            b"\r\n",
            b"PRO",
            b"PROXYING",
            b"\x16",
        ] {
            assert_eq!(mistaken(other), None, "{other:?}");
        }
    }

    #[test]
    fn headers_of_both_versions() {
        type Parsed = Result<Option<(Preface, usize)>, PrefaceError>;
        let rows: [(&str, &[u8], Parsed); 12] = [
            (
                "v1 of haproxy",
                b"PROXY TCP4 203.0.113.9 10.0.0.1 4242 1935\r\n\x03",
                Ok(Some((client("203.0.113.9:4242"), 43))),
            ),
            (
                "v1 over IPv6",
                b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n",
                Ok(Some((client("[2001:db8::1]:1"), 32))),
            ),
            (
                "v1 health check",
                b"PROXY UNKNOWN\r\n",
                Ok(Some((Preface::Local, 15))),
            ),
            ("v1 cut short", b"PROXY TCP4 203.0.113.9 10.0", Ok(None)),
            (
                "v1 with a family that lies",
                b"PROXY TCP4 ::1 ::1 1 2\r\n",
                Err(PrefaceError::Malformed),
            ),
            (
                "v2 over IPv4",
                &hex!("0d0a0d0a000d0a515549540a 21 11 000c cb007109 0a000001 1092 078f"),
                Ok(Some((client("203.0.113.9:4242"), 28))),
            ),
            (
                "v2 local",
                &hex!("0d0a0d0a000d0a515549540a 20 00 0000"),
                Ok(Some((Preface::Local, 16))),
            ),
            (
                "v2 over UDP",
                &hex!("0d0a0d0a000d0a515549540a 21 12 000c cb007109 0a000001 1092 078f"),
                Ok(Some((Preface::Local, 28))),
            ),
            (
                "v2 of a family that is none",
                &hex!("0d0a0d0a000d0a515549540a 21 41 0000"),
                Err(PrefaceError::Malformed),
            ),
            (
                "v2 too short for its family",
                &hex!("0d0a0d0a000d0a515549540a 21 11 0004 cb007109"),
                Err(PrefaceError::Malformed),
            ),
            (
                "v2 that announces more than it may",
                &hex!("0d0a0d0a000d0a515549540a 21 11 ffff"),
                Err(PrefaceError::TooLong),
            ),
            (
                "an RTMP client",
                &hex!("03 00000000"),
                Err(PrefaceError::NotAHeader),
            ),
        ];
        for (name, bytes, expected) in rows {
            assert_eq!(parse(bytes), expected, "{name}");
        }
        assert_eq!(parse(&[b'P'; 3]), Err(PrefaceError::NotAHeader));
        let endless = [b"PROXY ".as_slice(), &[b'x'; 200]].concat();
        assert_eq!(
            parse(&endless),
            Err(PrefaceError::Malformed),
            "a line without an end"
        );
    }

    #[test]
    fn the_preamble_of_srs() {
        assert_eq!(
            write_rtmp_client_address("203.0.113.9".parse().unwrap()),
            Some(hex!("f3 0004 cb007109"))
        );
        assert_eq!(
            write_rtmp_client_address("::ffff:203.0.113.9".parse().unwrap()),
            Some(hex!("f3 0004 cb007109"))
        );
        assert_eq!(
            write_rtmp_client_address("2001:db8::1".parse().unwrap()),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ip: IpAddr, port: u16, local: IpAddr, local_port: u16) {
            let (from, to) = (SocketAddr::new(ip, port), SocketAddr::new(local, local_port));
            for bytes in [write_v1(from, to), write_v2(from, to)] {
                let (preface, length) = parse(&bytes).unwrap().unwrap();
                prop_assert_eq!(length, bytes.len());
                let Preface::Client(read) = preface else { panic!("{preface:?}") };
                prop_assert_eq!(read.ip().to_canonical(), ip.to_canonical());
                prop_assert_eq!(read.port(), port);
                for cut in 0..bytes.len() {
                    prop_assert_eq!(parse(&bytes[..cut]), Ok(None), "every prefix wants more");
                }
            }
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
