//! What a setting's text means: addresses, networks, secrets, lists of origins.

mod address;
pub(crate) mod url;

pub use address::{ClientAddr, LocalAddr, PeerAddr, is_covered};
pub use url::{NotAUrl, Url};

pub use sluicegate_core::access::networks::Network;

use sluicegate_core::access::networks::NotANetwork;
use sluicegate_core::dialect::{ClientRuleError, UnknownDialect};
use sluicegate_core::fleet::attributes::AttributeError;
use sluicegate_core::fleet::origin::EndpointError;
use sluicegate_core::http::base::NotABasePath;
use sluicegate_core::http::sharing::NotAShare;
use sluicegate_core::http::whip::PatternError;
use sluicegate_core::media::fanout::NotAMode;
use sluicegate_core::place::rule::RuleError;
use sluicegate_core::stream::StreamError;

use crate::store::AddressError;
use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What is wrong with a value. Never quotes the value, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not what an origin can be given.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
    /// Not a rule for the dialects of clients.
    #[error(transparent)]
    Clients(#[from] ClientRuleError),
    /// Not a dialect.
    #[error(transparent)]
    Dialect(#[from] UnknownDialect),
    /// Not a host, or not a place where an origin can be.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Not a listener with a URL.
    #[error("not a listener and its URL, such as rtmp=rtmp://live.example.com")]
    NotAListener,
    /// Not a network with its zone.
    #[error("not a network and a zone")]
    NotAPair,
    /// Not a URL that can be asked.
    #[error(transparent)]
    Url(#[from] NotAUrl),
    /// Not a way to share.
    #[error(transparent)]
    Share(#[from] NotAShare),
    /// Not a folder of a web server in front.
    #[error(transparent)]
    BasePath(#[from] NotABasePath),
    /// Neither off, checked nor open.
    #[error(transparent)]
    Mode(#[from] NotAMode),
    /// Between brackets, and no list.
    #[error("in brackets, but not a list: write it as A,B or [\"A\", \"B\"]")]
    NotAList,
    /// Not a rule for streams.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A list of authorities without one.
    #[error("names nobody, so no server could be believed")]
    NoAuthority,
    /// Not one of the values on offer.
    #[error("not one of the choices")]
    NotAChoice,
    /// Not in Go's duration grammar.
    #[error("not a duration")]
    NotADuration,
    /// Neither on nor off.
    #[error("neither on nor off")]
    NotAFlag,
    /// Not an address that clients could be told.
    #[error("not an IP address, alone or with a port")]
    NotAPublicAddress,
    /// Not an address a socket can listen on.
    #[error("not an address to listen on")]
    NotAnAddress,
    /// Not an IP network.
    #[error(transparent)]
    NotANetwork(#[from] NotANetwork),
    /// Not credentials of an origin.
    #[error("not credentials of an origin")]
    NotCredentials,
    /// Not what proxies of a cluster could share.
    #[error("not one to four keys that are not empty")]
    NotKeys,
    /// Not a whole number.
    #[error("not a whole number")]
    NotANumber,
    /// Not the name of a file.
    #[error("not the name of a file: it has control characters")]
    NotAFile,
    /// Not the path of a request.
    #[error("not a path that starts with / and is printable ASCII")]
    NotAPath,
    /// Not a TCP or UDP port.
    #[error("not a port")]
    NotAPort,
    /// Not a range that holds the ports of a track.
    #[error("not a range of at least four ports from 1024 on")]
    NotAPortRange,
    /// A bearer token must survive a header line.
    #[error("a token of other than printable ASCII characters, or with a space in it")]
    NotAToken,
    /// A query parameter's name with what separates parameters in it.
    #[error("that is no name of a query parameter")]
    NotAParameter,
    /// A duration without its unit.
    #[error("a number without a unit")]
    NoUnit,
    /// Less than zero.
    #[error("negative")]
    Negative,
    /// Several values where one belongs.
    #[error("a list where one value belongs")]
    NotOne,
    /// A whole number outside its bounds.
    #[error("not between {0} and {1}")]
    OutOfRange(u64, u64),
    /// Not a host with a port.
    #[error("not a host and a port, such as 10.0.0.5:12025")]
    NotATarget,
    /// Not a path that names a stream.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// Not a place where another proxy could be.
    #[error("not a host, or a host and a port")]
    NotASeed,
    /// Not the URL of a Redis.
    #[error(transparent)]
    Redis(#[from] AddressError),
    /// A duration nobody waits for.
    #[error("longer than 292 years")]
    TooLong,
    /// Not a vhost that can be told apart.
    #[error(transparent)]
    Vhost(#[from] StreamError),
    /// A time that must pass cannot be nothing.
    #[error("zero, which is too short")]
    Zero,
}

/// Where clients reach a port of ours from outside: an address, perhaps with another port than ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicAddress {
    /// Never a wildcard.
    pub ip: IpAddr,
    /// As a NAT maps it; ours, where it says none.
    pub port: Option<u16>,
}

impl FromStr for PublicAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let with_port = |address: SocketAddr| (address.ip(), Some(address.port()));
        let (ip, port) = match text.parse::<IpAddr>() {
            Ok(ip) => (ip, None),
            Err(_) => text
                .parse()
                .map(with_port)
                .map_err(|_| ValueError::NotAPublicAddress)?,
        };
        if ip.is_unspecified() || port == Some(0) {
            return Err(ValueError::NotAPublicAddress);
        }
        Ok(Self { ip, port })
    }
}

/// Where a listener binds: `1935`, `127.0.0.1:1935`, `[::1]:1935`, several ports, or several addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    addresses: Vec<SocketAddr>,
    every_interface: bool,
}

impl Listen {
    /// The addresses to bind, at least one. A bare port is `[::]:port`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Bare ports were given: `[::]:port` must take IPv4 too, and `0.0.0.0:port` stands in where a machine has no IPv6.
    pub const fn every_interface(&self) -> bool {
        self.every_interface
    }

    /// Whether only this machine can reach the listener.
    pub fn is_loopback(&self) -> bool {
        self.addresses
            .iter()
            .all(|address| address.ip().to_canonical().is_loopback())
    }

    /// Reads one or several addresses. A port may be 0: the system chooses.
    pub fn parse(items: &[&str]) -> Result<Self, ValueError> {
        // One listener on every interface and another on one of them would fight for the port: in a list, all items are
        // bare ports or none is.
        let every_interface = items.iter().all(|item| port_alone(item).is_some());
        let address = |item: &&str| match port_alone(item) {
            Some(port) if every_interface => Ok((Ipv6Addr::UNSPECIFIED, parse_port(port)?).into()),
            _ => item.parse().map_err(|_| ValueError::NotAnAddress),
        };
        if items.is_empty() {
            return Err(ValueError::NotAnAddress);
        }
        Ok(Self {
            addresses: items.iter().map(address).collect::<Result<_, _>>()?,
            every_interface,
        })
    }
}

/// The port of an item that names no address. Go writes "every interface" as ":1935".
fn port_alone(item: &str) -> Option<&str> {
    let bare = item.strip_prefix(':').unwrap_or(item);
    (!bare.contains(':')).then_some(bare)
}

/// Where a listener binds that need not be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// Nowhere.
    Closed,
    /// At its default address: nobody asked for it by name.
    Default(Listen),
    /// Where somebody set.
    Set(Listen),
}

impl Opening {
    /// Where it binds; `None` for a listener that is closed.
    pub const fn listen(&self) -> Option<&Listen> {
        match self {
            Self::Closed => None,
            Self::Default(listen) | Self::Set(listen) => Some(listen),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, address) in self.addresses.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{address}")?;
        }
        Ok(())
    }
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// At least 1024.
    pub first: u16,
    /// So far that four ports from an even one on are in it: what one track takes.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (first, last) = text.split_once('-').ok_or(ValueError::NotAPortRange)?;
        let [first, last] = [first, last].map(|port| parse_port(port.trim()));
        let range = Self {
            first: first?,
            last: last?,
        };
        // Pairs begin at even ports, and a track takes one towards each side.
        let even = u32::from(range.first).next_multiple_of(2);
        if range.first < 1024 || u32::from(range.last) < even + 3 {
            return Err(ValueError::NotAPortRange);
        }
        Ok(range)
    }
}

/// A list of origins by `server` id or `device_id`; `*` names them all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OriginNames(BTreeSet<String>);

impl OriginNames {
    /// The list of these names.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self(names.into_iter().map(str::to_owned).collect())
    }

    /// Whether the list names an origin that goes by any of `names`.
    pub fn includes<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        self.0.contains("*") || names.into_iter().any(|name| self.0.contains(name))
    }

    /// Whether some origin could be on both lists.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let (everything, nothing) = (
            |list: &Self| list.0.contains("*"),
            |list: &Self| list.0.is_empty(),
        );
        (everything(self) && !nothing(other))
            || (everything(other) && !nothing(self))
            || !self.0.is_disjoint(&other.0)
    }
}

/// A value that never shows: `Debug` and `Display` print `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from view.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `given` is the secret, in a time that depends on the length of `given` alone. Nothing matches an
    /// empty secret.
    pub fn matches(&self, given: &[u8]) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let unequal_length = u8::from(given.len() != self.0.len());
        let difference = given
            .iter()
            .zip(self.0.bytes().cycle())
            .fold(unequal_length, |difference, (theirs, ours)| {
                std::hint::black_box(difference | (theirs ^ ours))
            });
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

pub(super) fn parse_port(text: &str) -> Result<u16, ValueError> {
    // `u16::from_str` also takes "+1935".
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ValueError::NotAPort);
    }
    text.parse().map_err(|_| ValueError::NotAPort)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_takes_every_form() {
        for (cause, text, address, every) in [
            ("a bare port is every interface", "1935", "[::]:1935", true),
            ("Go's way to say the same", ":1935", "[::]:1935", true),
            ("port zero lets the system choose", "0", "[::]:0", true),
            ("IPv4", "127.0.0.1:1935", "127.0.0.1:1935", false),
            ("IPv6", "[::1]:1935", "[::1]:1935", false),
            (
                "every IPv4 interface",
                "0.0.0.0:1935",
                "0.0.0.0:1935",
                false,
            ),
        ] {
            let listen = Listen::parse(&[text]).unwrap();
            assert_eq!(listen.to_string(), address, "{cause}");
            assert_eq!(listen.every_interface(), every, "{cause}");
        }
        let both = Listen::parse(&["127.0.0.1:1", "[::1]:1"]).unwrap();
        assert_eq!(both.addresses().len(), 2);
        assert!(both.is_loopback());
        assert!(
            !Listen::parse(&["127.0.0.1:1", "10.0.0.1:1"])
                .unwrap()
                .is_loopback()
        );
        assert!(!Listen::parse(&["1935"]).unwrap().is_loopback());
        let two = Listen::parse(&["9999", ":9998"]).unwrap();
        assert_eq!(two.addresses().len(), 2);
        assert!(two.every_interface() && !two.is_loopback());
    }

    #[test]
    fn listen_refuses_the_rest() {
        for (cause, items, error) in [
            ("nothing", &[][..], ValueError::NotAnAddress),
            ("empty", &[""], ValueError::NotAPort),
            ("a word", &["rtmp"], ValueError::NotAPort),
            ("a port too large", &["65536"], ValueError::NotAPort),
            ("a signed port", &["+1935"], ValueError::NotAPort),
            ("a host name", &["localhost:1935"], ValueError::NotAnAddress),
            (
                "IPv6 without brackets",
                &["::1:1935"],
                ValueError::NotAnAddress,
            ),
            (
                "a bare port among others",
                &["1935", "127.0.0.1:1936"],
                ValueError::NotAnAddress,
            ),
        ] {
            assert_eq!(Listen::parse(items), Err(error), "{cause}");
        }
    }

    #[test]
    fn a_port_range_holds_the_ports_of_a_track() {
        let range = |first, last| Ok(PortRange { first, last });
        assert_eq!("22000-29999".parse(), range(22_000, 29_999));
        assert_eq!("1024 - 1027".parse(), range(1024, 1027));
        for text in [
            "22000",
            "22000-22002",
            "9-100",
            "30000-20000",
            "1025-1028",
            "65534-65535",
        ] {
            let refused = text.parse::<PortRange>();
            assert_eq!(refused, Err(ValueError::NotAPortRange), "{text}");
        }
    }

    #[test]
    fn origin_names_know_everyone() {
        let some = OriginNames::new(["origin1", "edge"]);
        assert!(some.includes(["vid-1", "edge"]));
        assert!(!some.includes(["vid-1"]));
        assert!(OriginNames::new(["*"]).includes(["vid-1"]));
        assert!(!OriginNames::default().includes(["vid-1"]));
        assert!(some.overlaps(&OriginNames::new(["*"])));
        assert!(OriginNames::new(["*"]).overlaps(&some));
        assert!(some.overlaps(&OriginNames::new(["edge"])));
        assert!(!some.overlaps(&OriginNames::new(["other"])));
        assert!(!OriginNames::new(["*"]).overlaps(&OriginNames::default()));
    }

    #[test]
    fn secrets_do_not_show_and_match_only_themselves() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        for (given, equal) in [
            ("hunter2", true),
            ("hunter3", false),
            ("hunter", false),
            ("hunter2hunter2", false),
            ("", false),
        ] {
            assert_eq!(secret.matches(given.as_bytes()), equal, "{given}");
        }
        assert!(!Secret::default().matches(b""));
    }
}
