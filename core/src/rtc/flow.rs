//! One flow: the proven addresses of a client, and the socket that represents it at the origin.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::flows::Found;
use crate::flow::{ClientPath, LinkId};

/// A client that got an answer, as far as its datagrams are concerned.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) username: Box<[u8]>,
    pub(super) found: Found,
    pub(super) stage: Stage,
    /// Proven addresses; media goes to the first.
    paths: Vec<Proven>,
    /// The transactions of the last requests that proved an address, and where they came from. An answer goes where its
    /// request came from, and a request seen before proves nothing from another address.
    asked: VecDeque<([u8; 12], ClientPath)>,
    /// When the flow ends, unless its client is heard before.
    deadline: Instant,
    /// What may be the end of the connection came, and no proof since.
    doubted: bool,
    /// Since when the origin's machine has been saying that nothing listens there.
    refused: Option<Instant>,
    pub(super) account: Account,
}

/// The stage of a flow.
#[derive(Debug)]
pub(super) enum Stage {
    /// The client has yet to prove an address.
    Known,
    /// The flow waits for its socket, with the request that proved the client's address.
    Opening { kept: Vec<u8>, since: Instant },
    /// Media may pass.
    Open(LinkId),
    /// The call is over. A client that still sends requests is told so.
    Over { until: Instant },
}

/// What passed since the accounts were last settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Bytes for the client.
    pub to_client: u64,
    /// Bytes for the origin.
    pub to_origin: u64,
    /// Whether media was among the bytes for the client.
    pub media_to_client: bool,
    /// Whether media was among the bytes for the origin.
    pub media_to_origin: bool,
}

#[derive(Debug, Clone, Copy)]
struct Proven {
    path: ClientPath,
    /// When the last datagram of any kind came from it.
    heard: Instant,
}

/// What a proof changed.
pub(super) enum Proof {
    /// Nothing: the address was proven before.
    Again,
    /// Nothing: the same request came from another address before, so this one is a copy.
    Copied,
    /// The address is new.
    New {
        /// The address that was given up to make room for the new one.
        instead: Option<ClientPath>,
    },
}

impl Flow {
    pub(super) fn new(now: Instant, username: &[u8], found: Found) -> Self {
        Self {
            username: username.into(),
            found,
            stage: Stage::Known,
            paths: Vec::new(),
            asked: VecDeque::new(),
            deadline: now + CONSENT,
            doubted: false,
            refused: None,
            account: Account::default(),
        }
    }

    /// Takes a request that proved `path`. Media follows a nominated address at once. It follows any other address only
    /// if the active one has fallen silent, because a client with several paths sends checks on all of them and media
    /// on one.
    pub(super) fn prove(
        &mut self,
        now: Instant,
        path: ClientPath,
        transaction: [u8; 12],
        nominates: bool,
    ) -> Proof {
        let seen = self.asked.iter().find(|(asked, _)| *asked == transaction);
        match seen {
            Some((_, from)) if *from != path => return Proof::Copied,
            Some(_) => {}
            None => {
                if self.asked.len() >= ASKED {
                    self.asked.pop_front();
                }
                self.asked.push_back((transaction, path));
            }
        }
        self.deadline = now + CONSENT;
        self.doubted = false;
        let moves = nominates || self.is_quiet(now);
        let proven = Proven { path, heard: now };
        let at = self.paths.iter().position(|known| known.path == path);
        let proof = match at.and_then(|at| self.paths.get_mut(at)) {
            Some(known) => {
                *known = proven;
                Proof::Again
            }
            None => {
                let instead = (self.paths.len() >= MAX_PATHS)
                    .then(|| self.paths.pop())
                    .flatten();
                self.paths.push(proven);
                Proof::New {
                    instead: instead.map(|old| old.path),
                }
            }
        };
        if moves && let Some(at) = self.paths.iter().position(|known| known.path == path) {
            self.paths.swap(0, at);
        }
        proof
    }

    /// Whether the address that media goes to has been silent for [`QUIET`], or there is none.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.paths
            .first()
            .is_none_or(|active| now.saturating_duration_since(active.heard) >= QUIET)
    }

    /// Notes a datagram from a proven address. It shows that the client is there: some stop their checks while media flows.
    pub(super) fn hear(&mut self, now: Instant, path: ClientPath) {
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.heard = now;
            if !self.doubted {
                self.deadline = now + CONSENT;
            }
        }
    }

    /// The address that media goes to.
    pub(super) fn active(&self) -> Option<ClientPath> {
        self.paths.first().map(|active| active.path)
    }

    /// Where the request with this transaction came from.
    pub(super) fn asker(&self, transaction: [u8; 12]) -> Option<ClientPath> {
        let asked = self.asked.iter().find(|(asked, _)| *asked == transaction);
        asked.map(|(_, path)| *path)
    }

    /// Every proven address.
    pub(super) fn paths(&self) -> impl Iterator<Item = ClientPath> + '_ {
        self.paths.iter().map(|known| known.path)
    }

    /// Drops an address that another flow has proven since.
    pub(super) fn lose(&mut self, path: ClientPath) {
        self.paths.retain(|known| known.path != path);
    }

    /// Drops addresses that were silent for [`CONSENT`], and calls `lost` with each.
    pub(super) fn expire_paths(&mut self, now: Instant, mut lost: impl FnMut(ClientPath)) {
        self.paths.retain(|known| {
            let lives = now < known.heard + CONSENT;
            if !lives {
                lost(known.path);
            }
            lives
        });
    }

    /// Notes what may be the end of the connection, and may be forged: without a new proof the flow ends soon.
    pub(super) fn hint_of_end(&mut self, now: Instant) {
        self.doubted = true;
        self.deadline = self.deadline.min(now + AFTER_ALERT);
    }

    /// Whether nothing has shown for too long that the client is there.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// Notes that the origin's machine says that nothing listens. Such a message can be forged, so it counts only if
    /// the origin stays silent for [`REFUSED_FOR`]. Returns true once it counts.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        let since = *self.refused.get_or_insert(now);
        now.saturating_duration_since(since) >= REFUSED_FOR
    }

    /// Notes that the origin has sent something.
    pub(super) const fn origin_speaks(&mut self) {
        self.refused = None;
    }
}

/// How long a client that is silent is sent media. RFC 7675 §5.1 counts from the last check, which clients that send media leave
/// out; from an address that was proven once, any datagram counts.
pub const CONSENT: Duration = Duration::from_secs(30);
/// How long consent lasts after a DTLS alert.
pub const AFTER_ALERT: Duration = Duration::from_secs(5);
/// An address that sends media is never silent this long, and clients send a check every two and a half seconds.
const QUIET: Duration = Duration::from_millis(1500);
/// Refusals for this long, without a packet from the origin in between, end the flow.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Maximum addresses of one client: IPv4 and IPv6 on two networks.
const MAX_PATHS: usize = 4;
/// Requests that are remembered: half a minute's worth.
const ASKED: usize = 16;
