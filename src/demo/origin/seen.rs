//! What an embedded origin has seen, for tests to assert on.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::stream::Action;
use tokio::sync::watch;

/// Everything an origin has seen so far.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Connections accepted on either port, whether or not they asked for a stream.
    pub accepted: u64,
    /// How many of these connections are open now.
    pub open: u64,
    /// Every publisher and player in the order of their requests, including those that left. Beyond [`MAX_PEERS`], the
    /// oldest are forgotten.
    pub peers: VecDeque<Peer>,
}

impl Seen {
    /// The current publishers.
    pub fn publishers(&self) -> impl Iterator<Item = &Peer> {
        self.peers
            .iter()
            .filter(|peer| peer.end.is_none() && peer.action == Action::Publish)
    }

    /// The current players, including those that wait for a publisher.
    pub fn players(&self) -> impl Iterator<Item = &Peer> {
        self.peers
            .iter()
            .filter(|peer| peer.end.is_none() && peer.action == Action::Play)
    }
}

/// A publisher or a player.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Counts up from 0 with each peer of this origin.
    pub id: u64,
    /// Publish or play.
    pub action: Action,
    /// The other end of the connection.
    pub address: SocketAddr,
    /// The client that a 0xF3 preamble named before the RTMP handshake.
    pub preamble: Option<Ipv4Addr>,
    /// The application and the stream without a query, as `app/stream`.
    pub stream: String,
    /// The stream as it was asked for: RTMP's stream name or HTTP's request target, with the query.
    pub name: String,
    /// The values after the stream name in the RTMP `publish` or `play` command.
    pub arguments: Vec<Value>,
    /// The command object of RTMP's `connect`; null over HTTP.
    pub connect: Value,
    /// The headers of the HTTP request in order; empty over RTMP.
    pub headers: Vec<(String, String)>,
    /// Audio, video and data messages: received from a publisher, or passed to the socket for a player.
    pub messages: u64,
    /// Why it is gone; `None` while it is here.
    pub end: Option<End>,
}

impl Peer {
    /// The `tcUrl` of RTMP's `connect`.
    pub fn tc_url(&self) -> Option<&str> {
        self.connect.field("tcUrl")?.as_str()
    }

    /// The first HTTP header called `name`, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

/// Why a publisher or a player left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It closed the connection or the stream.
    Left,
    /// The stream already has another publisher.
    Refused,
    /// It did not read fast enough.
    Slow,
    /// The origin was stopped.
    Stopped,
    /// It violated the protocol or the connection broke; with a description.
    Wrong(String),
}

/// Maximum peers that an origin remembers: more than any test has, and an hour of reloading the demo's page.
pub const MAX_PEERS: usize = 4096;

/// Where the connections of one origin record what they see.
#[derive(Debug)]
pub(super) struct Journal {
    seen: watch::Sender<Seen>,
}

impl Journal {
    pub(super) fn new() -> Self {
        Self {
            seen: watch::Sender::new(Seen::default()),
        }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    pub(super) fn opened(&self) {
        self.seen.send_modify(|seen| {
            seen.accepted += 1;
            seen.open += 1;
        });
    }

    pub(super) fn closed(&self) {
        self.seen.send_modify(|seen| seen.open -= 1);
    }

    /// Adds a peer, assigns its id, and returns it.
    pub(super) fn enter(&self, peer: Peer) -> u64 {
        let mut id = 0;
        self.seen.send_modify(|seen| {
            id = seen.peers.back().map_or(0, |last| last.id + 1);
            seen.peers.push_back(Peer { id, ..peer });
            if seen.peers.len() > MAX_PEERS {
                seen.peers.pop_front();
            }
        });
        id
    }

    pub(super) fn count(&self, id: u64, messages: u64) {
        self.change(id, |peer| peer.messages += messages);
    }

    /// Notes why a peer left; the first reason counts.
    pub(super) fn leave(&self, id: u64, end: End) {
        self.change(id, |peer| {
            peer.end.get_or_insert(end);
        });
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Peer)) {
        self.seen.send_modify(|seen| {
            // Ids count up without gaps, so a peer's position follows from its id unless it is forgotten.
            let Some(first) = seen.peers.front().map(|peer| peer.id) else {
                return;
            };
            let Some(place) = id
                .checked_sub(first)
                .and_then(|place| usize::try_from(place).ok())
            else {
                return;
            };
            if let Some(peer) = seen.peers.get_mut(place) {
                change(peer);
            }
        });
    }
}
