//! A datagram protocol as a table of flows: its inputs and outputs. WebRTC and SRT are two such tables, and one loop in
//! the shell serves both.
//!
//! A table neither reads nor sends. The loop hands it each datagram, mutable so that a header can be rewritten in
//! place, and gets back its [`Fate`]. That is the fast path: no allocation and no copy. What a table sends by itself (a
//! handshake with an origin, a question about a stream) is rare and is polled.
//!
//! ```text
//! datagram ─► handle(now, Input) ─► Fate: to the client, to the origin, back, kept, dropped
//!             poll_output()      ─► Output: own datagrams, and events for the shell
//!             poll_timeout()     ─► when to call handle(now, Input::Timeout)
//! ```
//!
//! An *origin link* is a socket of the loop that is connected to one origin. WebRTC has one per flow, SRT shares one
//! among all flows of a shard to the same origin.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

/// A table of flows.
pub trait Flows {
    /// What the shell has to act on: flows to place, flows that ended.
    type Event;

    /// Takes one input and returns the fate of its datagram; for an input without a datagram, [`Fate::Kept`].
    fn handle(&mut self, now: Instant, input: Input<'_>) -> Fate;

    /// The next output of the table. Call this until it returns `None` after each batch of inputs.
    fn poll_output(&mut self) -> Option<Output<Self::Event>>;

    /// When [`Input::Timeout`] is due, if ever.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// An input of a table of flows.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram arrived at the public port.
    Client {
        /// Where the datagram came from, and where it arrived.
        path: ClientPath,
        /// The whole datagram; the table may rewrite it in place.
        data: &'a mut [u8],
    },
    /// A datagram arrived from an origin.
    Origin {
        /// The socket of ours where it arrived.
        link: LinkId,
        /// The whole datagram; the table may rewrite it in place.
        data: &'a mut [u8],
    },
    /// The origin's machine reported that nothing listens there (ICMP). The message is about an earlier datagram, and
    /// anyone who knows both ports can forge it.
    Refused {
        /// The socket of ours that it is about.
        link: LinkId,
    },
    /// The time of [`Flows::poll_timeout`] has come.
    Timeout,
}

/// What to do with a datagram, in the form in which the table left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Drop it.
    Drop(DropReason),
    /// Nothing: the table has taken what it needs.
    Kept,
    /// Send its first `len` bytes back to where it came from. Clients with unproven addresses never get more bytes than
    /// they sent.
    Reply {
        /// The number of bytes.
        len: usize,
    },
    /// Send it on to the client.
    ToClient {
        /// The flow; datagrams of one flow are sent together where possible.
        flow: FlowId,
        /// The path to the client.
        path: ClientPath,
    },
    /// Send it on to the origin.
    ToOrigin {
        /// The socket of ours to use. Datagrams of different flows to one origin may be sent together.
        link: LinkId,
    },
}

/// What a table outputs by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<E> {
    /// An event for the shell.
    Event(E),
    /// A datagram of the table's own for a client.
    ToClient {
        /// The path to the client.
        path: ClientPath,
        /// The whole datagram.
        data: Vec<u8>,
    },
    /// A datagram of the table's own for an origin.
    ToOrigin {
        /// The socket of ours to use.
        link: LinkId,
        /// The whole datagram.
        data: Vec<u8>,
    },
}

/// A client's flow, by a number that its table chose; unique within the table while the flow exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u32);

/// A socket of the loop towards an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Both ends of the path to a client. An answer has to leave from the address where the request arrived, or no firewall
/// lets it through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientPath {
    /// The client's address as the socket reports it: an IPv4 client of an IPv6 socket has an IPv4-mapped address.
    pub remote: SocketAddr,
    /// The address of ours that it wrote to, if the socket listens on all of them.
    pub local: Option<IpAddr>,
    /// The index of the listener's socket, if it has several addresses.
    pub entry: u8,
}

impl ClientPath {
    /// The client's address, with IPv4 as IPv4.
    pub const fn client(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port())
    }
}

/// Why a datagram is dropped: a closed list, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// It does not prove the sender's address or secret.
    Forged,
    /// It is for a flow of another address.
    ForeignAddress,
    /// It violates its protocol.
    Malformed,
    /// Its sender asks too often, or the table is full.
    TooMany,
    /// This port does not serve its kind.
    UnknownKind,
    /// There is no flow for it.
    UnknownFlow,
    /// It is valid, but not at this time: a duplicate of something under way, or too early.
    Untimely,
}

impl DropReason {
    /// Every reason, in order.
    pub const ALL: [Self; 7] = [
        Self::Forged,
        Self::ForeignAddress,
        Self::Malformed,
        Self::TooMany,
        Self::UnknownKind,
        Self::UnknownFlow,
        Self::Untimely,
    ];

    /// The reason in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::ForeignAddress => "foreign_address",
            Self::Malformed => "malformed",
            Self::TooMany => "too_many",
            Self::UnknownKind => "unknown_kind",
            Self::UnknownFlow => "unknown_flow",
            Self::Untimely => "untimely",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_a_table() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index, "{}", reason.as_str());
        }
    }
}
