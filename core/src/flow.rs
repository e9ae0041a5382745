//! A datagram protocol as a table of flows: what goes in, what comes out. WebRTC and SRT are two such tables, and
//! one loop in the shell serves both.
//!
//! A table neither reads nor sends. The loop hands it each datagram, mutable so that a header can be rewritten in
//! place, and is told its [`Fate`]. That is the fast path: no allocation and no copy. What a table says of its own
//! accord (a handshake towards an origin, a question where a stream belongs) is rare and is polled.
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
    /// What the shell has to act upon: flows to place, flows that ended.
    type Event;

    /// Takes one input and says what becomes of its datagram; for an input without one, [`Fate::Kept`].
    fn handle(&mut self, now: Instant, input: Input<'_>) -> Fate;

    /// What the table has to say; called until it is `None` after each batch of inputs.
    fn poll_output(&mut self) -> Option<Output<Self::Event>>;

    /// When [`Input::Timeout`] is due, if ever.
    fn poll_timeout(&self) -> Option<Instant>;
}

/// What a table of flows is told.
#[derive(Debug)]
pub enum Input<'a> {
    /// A datagram arrived at the public port.
    Client {
        /// Where it came from, and where it arrived.
        path: ClientPath,
        /// All of it; the table may rewrite it in place.
        data: &'a mut [u8],
    },
    /// A datagram arrived from an origin.
    Origin {
        /// At which of our sockets.
        link: LinkId,
        /// All of it; the table may rewrite it in place.
        data: &'a mut [u8],
    },
    /// The origin's machine said that nobody listens there (ICMP). It is said of an earlier datagram, and anybody
    /// who knows both ports can forge it.
    Refused {
        /// On which of our sockets.
        link: LinkId,
    },
    /// The time of [`Flows::poll_timeout`] has come.
    Timeout,
}

/// What becomes of a datagram, as it stands after the table saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is nobody's.
    Drop(DropReason),
    /// The table has taken what it needs.
    Kept,
    /// Its first `len` bytes go back to where they came from. For clients whose address is not proven: never more
    /// than they sent.
    Reply {
        /// How many bytes.
        len: usize,
    },
    /// It goes on to the client.
    ToClient {
        /// Whose: datagrams of one flow are sent together where they can be.
        flow: FlowId,
        /// Where to.
        path: ClientPath,
    },
    /// It goes on to the origin.
    ToOrigin {
        /// By which of our sockets. Datagrams of different flows to one origin may be sent together.
        link: LinkId,
    },
}

/// What a table says of its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<E> {
    /// For the shell.
    Event(E),
    /// A datagram of the table's own for a client.
    ToClient {
        /// Where to.
        path: ClientPath,
        /// All of it.
        data: Vec<u8>,
    },
    /// A datagram of the table's own for an origin.
    ToOrigin {
        /// By which of our sockets.
        link: LinkId,
        /// All of it.
        data: Vec<u8>,
    },
}

/// One client's datagrams, by a number its table chose; unique within the table while the flow lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u32);

/// An origin-side socket of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// Both ends of the way to a client. An answer has to leave from where the question arrived, or no firewall lets it
/// through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientPath {
    /// The client, as the socket names it: an IPv4 client of an IPv6 socket is an IPv4-mapped address.
    pub remote: SocketAddr,
    /// Which of our addresses it wrote to, where the socket listens on all of them.
    pub local: Option<IpAddr>,
    /// Which of the listener's sockets, where it has several addresses.
    pub entry: u8,
}

impl ClientPath {
    /// The client's address, IPv4 as IPv4.
    pub const fn client(&self) -> SocketAddr {
        SocketAddr::new(self.remote.ip().to_canonical(), self.remote.port())
    }
}

/// Why a datagram goes nowhere: a closed list, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// Its proof of the sender's address or secret does not hold.
    Forged,
    /// It is for a flow of another address.
    ForeignAddress,
    /// It breaks its protocol.
    Malformed,
    /// Its sender asks too often, or the table is full.
    TooMany,
    /// It is of no kind this port serves.
    UnknownKind,
    /// No flow is there for it.
    UnknownFlow,
    /// It is in order, but not now: a duplicate of something that is under way, or before its time.
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

    /// The reason as metrics spell it.
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
