//! The addresses of a client's connection: a type for each, so that none is taken for another.

use std::fmt;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::str::FromStr;

/// Whether what is sent to `address` arrives at a socket that is bound to `bound`, if the address is one of its machine. An
/// unspecified IPv6 address is bound for IPv4 as well.
pub fn is_covered(bound: SocketAddr, address: SocketAddr) -> bool {
    let (ip, sent) = (bound.ip(), address.ip());
    bound.port() == address.port()
        && (ip.to_canonical() == sent.to_canonical()
            || (ip.is_unspecified() && (ip.is_ipv6() || sent.to_canonical().is_ipv4())))
}

/// An address with a meaning of its own. An IPv4 address mapped into IPv6 becomes the IPv4 address it is.
macro_rules! addresses {
    ($($(#[$doc:meta])* $name:ident)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq)]
            pub struct $name(SocketAddr);

            impl $name {
                /// Without its port.
                pub const fn ip(self) -> IpAddr {
                    self.0.ip()
                }

                /// The port alone.
                pub const fn port(self) -> u16 {
                    self.0.port()
                }

                /// As sockets and records have it.
                pub const fn socket(self) -> SocketAddr {
                    self.0
                }
            }

            impl From<SocketAddr> for $name {
                fn from(address: SocketAddr) -> Self {
                    Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
                }
            }

            impl FromStr for $name {
                type Err = AddrParseError;

                fn from_str(text: &str) -> Result<Self, AddrParseError> {
                    text.parse::<SocketAddr>().map(Self::from)
                }
            }

            impl fmt::Display for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }

            impl fmt::Debug for $name {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    self.0.fmt(f)
                }
            }
        )*
    };
}

addresses! {
    /// The client: the peer, or the address that trusted proxies in front of us say they connected for.
    ClientAddr
    /// Who opened the connection that we accepted: the client, or the last proxy in front of us.
    PeerAddr
    /// Our end of a client's connection: the address of ours that the peer reached.
    LocalAddr
}

impl ClientAddr {
    /// The client of the same connection, as a proxy in front of us names it: such a proxy names no port.
    #[must_use]
    pub fn at(self, ip: IpAddr) -> Self {
        SocketAddr::new(ip, self.port()).into()
    }
}

impl From<PeerAddr> for ClientAddr {
    /// Nobody stands between us and the client.
    fn from(peer: PeerAddr) -> Self {
        Self(peer.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_one_it_stands_for() {
        let peer: PeerAddr = "[::ffff:192.0.2.1]:5000".parse().unwrap();
        assert_eq!(peer.to_string(), "192.0.2.1:5000");
        let client = ClientAddr::from(peer).at("::ffff:203.0.113.9".parse().unwrap());
        assert_eq!(client.to_string(), "203.0.113.9:5000");
    }
}
