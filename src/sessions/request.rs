//! What a client asks for.

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};

use crate::value::{ClientAddr, PeerAddr};

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The stream it names.
    pub stream: StreamUrl,
    /// Whether it sends or receives.
    pub action: Action,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is: the peer, or what a trusted proxy in front of us said.
    pub client: ClientAddr,
    /// The last proxy in front of us, where one connected in the client's place. Boxed: each open session keeps room
    /// for it, and few have one.
    pub by_way_of: Option<Box<PeerAddr>>,
    /// The bond that it is a link of, as SRT numbers it: several links carry the same stream side by side.
    pub bond: Option<u32>,
    /// What the client showed of itself. Boxed: most show nothing.
    pub credentials: Option<Box<Credentials>>,
}

impl Request {
    /// Who connected to us: the client, or the last proxy in front of us.
    pub fn peer(&self) -> PeerAddr {
        self.by_way_of
            .as_deref()
            .copied()
            .unwrap_or_else(|| self.client.socket().into())
    }

    /// What [`by_way_of`](Self::by_way_of) is when `peer` connected to us for `client`.
    pub fn way(client: ClientAddr, peer: PeerAddr) -> Option<Box<PeerAddr>> {
        (client != peer.into()).then(|| Box::new(peer))
    }
}
