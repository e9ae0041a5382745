//! One flow: the proven addresses of a client, and the socket that stands for it at the origin.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::flows::Found;
use crate::flow::{ClientPath, LinkId};

/// A client that got an answer, as far as its datagrams go.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) username: Box<[u8]>,
    pub(super) found: Found,
    pub(super) stage: Stage,
    /// Proven addresses, the one that media goes to first.
    paths: Vec<Proven>,
    /// The last requests that proved an address: an answer goes where its question came from, and a question that
    /// was seen proves nothing from elsewhere.
    asked: VecDeque<([u8; 12], ClientPath)>,
    /// Without a further proof it is over then.
    deadline: Instant,
    /// Since when the origin's machine says that nobody listens there.
    refused: Option<Instant>,
    pub(super) account: Account,
}

/// How far a flow has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Its client has yet to prove an address.
    Known,
    /// It waits for its socket, with the request that proved its address.
    Opening { kept: Vec<u8>, since: Instant },
    /// Media may pass.
    Open(LinkId),
    /// The call is over. A client that still asks is told so.
    Over { until: Instant },
}

/// What passed since accounts were last settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Bytes for the client.
    pub to_client: u64,
    /// Bytes for the origin.
    pub to_origin: u64,
    /// Media was among those for the client.
    pub media_to_client: bool,
    /// Media was among those for the origin.
    pub media_to_origin: bool,
}

#[derive(Debug, Clone, Copy)]
struct Proven {
    path: ClientPath,
    /// The last proof.
    proved: Instant,
    /// The last datagram of any kind.
    heard: Instant,
}

/// What a proof changed.
pub(super) enum Proof {
    /// The address was proven before.
    Again,
    /// The request was seen from another address: somebody sends a copy.
    Copied,
    /// The address is new.
    New {
        /// An address that was given up for it.
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
            refused: None,
            account: Account::default(),
        }
    }

    /// Takes a request that proved `path`. Media follows a nominated address at once, and any other when the one it
    /// goes to has fallen silent: a client with several ways asks on all of them and sends on one.
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
        let moves = nominates || self.is_quiet(now);
        let proven = Proven {
            path,
            proved: now,
            heard: now,
        };
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

    /// Whether the address that media goes to has sent nothing for a while, or there is none.
    pub(super) fn is_quiet(&self, now: Instant) -> bool {
        self.paths
            .first()
            .is_none_or(|active| now.saturating_duration_since(active.heard) >= QUIET)
    }

    /// A datagram came from a proven address.
    pub(super) fn hear(&mut self, now: Instant, path: ClientPath) {
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.heard = now;
        }
    }

    /// Where media goes.
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

    /// Another flow has proven this address since.
    pub(super) fn lose(&mut self, path: ClientPath) {
        self.paths.retain(|known| known.path != path);
    }

    /// Gives up addresses without a proof for as long as consent lasts; calls `lost` with each.
    pub(super) fn expire_paths(&mut self, now: Instant, mut lost: impl FnMut(ClientPath)) {
        self.paths.retain(|known| {
            let lives = now < known.proved + CONSENT;
            if !lives {
                lost(known.path);
            }
            lives
        });
    }

    /// Somebody sent what may be the end of the connection, and may be forged: without a proof it is over soon.
    pub(super) fn hint_of_end(&mut self, now: Instant) {
        self.deadline = self.deadline.min(now + AFTER_ALERT);
    }

    /// Nothing proved that the client is there, for too long.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        now >= self.deadline
    }

    /// The origin's machine says that nobody listens. Anybody can forge that once; it holds if the origin does not
    /// speak in between.
    pub(super) fn refused(&mut self, now: Instant) -> bool {
        let since = *self.refused.get_or_insert(now);
        now.saturating_duration_since(since) >= REFUSED_FOR
    }

    /// The origin speaks.
    pub(super) const fn origin_speaks(&mut self) {
        self.refused = None;
    }
}

/// Consent to send lasts so long after a proof (RFC 7675 §5.1).
pub const CONSENT: Duration = Duration::from_secs(30);
/// What is left of it after a DTLS alert.
pub const AFTER_ALERT: Duration = Duration::from_secs(5);
/// An address that sends media is never silent for so long, and clients ask each two and a half seconds.
const QUIET: Duration = Duration::from_millis(1500);
/// Refusals for so long, with no word of the origin between, are the end.
const REFUSED_FOR: Duration = Duration::from_secs(1);
/// Addresses of one client: IPv4 and IPv6 on two networks.
const MAX_PATHS: usize = 4;
/// Requests remembered: half a minute of them.
const ASKED: usize = 16;
