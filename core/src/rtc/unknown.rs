//! Usernames that this shard does not know yet: which ones to ask the store about, how often, and which ones no call
//! has.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::allowance::Allowance;
use crate::flow::{ClientPath, DropReason};

/// Look-ups under way, look-ups that found nothing, and the tokens that pay for them.
#[derive(Debug)]
pub(super) struct Unknown {
    asked: HashMap<Box<[u8]>, UnknownFlow>,
    absent: HashMap<Box<[u8]>, Instant>,
    allowance: Allowance,
}

/// A look-up under way, and the datagram that caused it. When the answer comes, that datagram is handled again, which
/// spares the client from sending it again.
#[derive(Debug)]
pub(super) struct UnknownFlow {
    pub(super) path: ClientPath,
    pub(super) datagram: Vec<u8>,
    since: Instant,
}

impl Unknown {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: HashMap::new(),
            absent: HashMap::new(),
            allowance: Allowance::new(now),
        }
    }

    /// Decides whether to ask the store for `username` now. A kept datagram is handled again when the answer comes.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        username: &[u8],
        path: ClientPath,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if self.absent.get(username).is_some_and(|until| now < *until) {
            return Err(DropReason::UnknownFlow);
        }
        if self.asked.contains_key(username) {
            return Err(DropReason::Untimely);
        }
        let fits = self.asked.len() < MAX_ASKED && datagram.len() <= MAX_KEPT;
        if !fits || !self.allowance.take(now, path.client().ip()) {
            return Err(DropReason::TooMany);
        }
        let question = UnknownFlow {
            path,
            datagram: datagram.to_vec(),
            since: now,
        };
        self.asked.insert(username.into(), question);
        Ok(())
    }

    /// Takes the question that an answer has come for.
    pub(super) fn answered(&mut self, username: &[u8]) -> Option<UnknownFlow> {
        self.asked.remove(username)
    }

    /// Notes that no call has this username.
    pub(super) fn is_absent(&mut self, now: Instant, username: &[u8]) {
        if self.absent.len() < MAX_ABSENT {
            self.absent.insert(username.into(), now + ABSENT_FOR);
        }
    }

    /// Forgets which usernames are absent, because a new call has come.
    pub(super) fn forget_absent(&mut self) {
        self.absent.clear();
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.absent.retain(|_, until| now < *until);
        self.asked
            .retain(|_, question| now < question.since + ANSWER_WITHIN);
        self.allowance.sweep(now);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.asked.is_empty() && self.absent.is_empty() && self.allowance.is_whole()
    }
}

/// Maximum look-ups under way, each with a datagram.
const MAX_ASKED: usize = 256;
/// Maximum bytes of a datagram that waits: a check has about a hundred.
const MAX_KEPT: usize = 768;
/// Maximum usernames that are known to be absent.
const MAX_ABSENT: usize = 4096;
/// How long a username counts as absent. Its binding may still be on the way to us while the answer is on the way to
/// the client.
const ABSENT_FOR: Duration = Duration::from_millis(500);
/// How long a store may take to answer. After that it is not expected to, and the client asks again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
