//! What an embedded origin has seen: tests assert on it.

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
    /// How many of them are open now.
    pub open: u64,
    /// Every publisher and player in the order they asked, also those that left; the oldest are forgotten when
    /// there are more than [`MAX_PEERS`].
    pub peers: VecDeque<Peer>,
}

impl Seen {
    /// The publishers that are here now.
    pub fn publishers(&self) -> impl Iterator<Item = &Peer> {
        self.peers
            .iter()
            .filter(|peer| peer.end.is_none() && peer.action == Action::Publish)
    }

    /// The players that are here now, also those that wait for a publisher.
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
    /// What it asked for.
    pub action: Action,
    /// The other end of the connection.
    pub address: SocketAddr,
    /// The client that a 0xF3 preamble named before the RTMP handshake.
    pub preamble: Option<Ipv4Addr>,
    /// The application and the stream without any query, as `app/stream`.
    pub stream: String,
    /// The stream as it was asked for: RTMP's stream name or HTTP's request target, with the query.
    pub name: String,
    /// The values behind the stream name in the RTMP `publish` or `play` command.
    pub arguments: Vec<Value>,
    /// The command object of RTMP's `connect`; null over HTTP.
    pub connect: Value,
    /// The HTTP request's headers in their order; empty over RTMP.
    pub headers: Vec<(String, String)>,
    /// Audio, video and data messages: received from a publisher, handed to the socket for a player.
    pub messages: u64,
    /// Why it is gone. None: it is here.
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

/// Why a publisher or a player is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It closed the connection or the stream.
    Left,
    /// The stream has another publisher.
    Refused,
    /// It did not take what was sent to it.
    Slow,
    /// The origin was stopped.
    Stopped,
    /// It broke the protocol or the connection broke; in words.
    Wrong(String),
}

/// How many peers an origin remembers: more than any test has, and an hour of the demo's page being reloaded.
pub const MAX_PEERS: usize = 4096;

/// Where the connections of one origin write down what they see.
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

    /// Enters a peer, whose id is given here, and returns the id.
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

    /// Notes why a peer is gone; the first reason stands.
    pub(super) fn leave(&self, id: u64, end: End) {
        self.change(id, |peer| {
            peer.end.get_or_insert(end);
        });
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Peer)) {
        self.seen.send_modify(|seen| {
            // Ids count up without gaps, so a peer's place follows from its id unless it is forgotten.
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
