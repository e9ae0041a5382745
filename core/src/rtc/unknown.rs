//! Usernames that this shard does not know yet: who is asked about, how often, and what is known to be nobody's.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::allowance::Allowance;
use crate::flow::{ClientPath, DropReason};

/// Look-ups in flight, look-ups that found nothing, and the tokens that pay for them.
#[derive(Debug)]
pub(super) struct Unknown {
    asked: HashMap<Box<[u8]>, Question>,
    absent: HashMap<Box<[u8]>, Instant>,
    allowance: Allowance,
}

/// A look-up in flight, and the datagram that caused it: with the answer it is looked at again, which spares the
/// client the time to send it anew.
#[derive(Debug)]
pub(super) struct Question {
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

    /// Whether to ask for `username` now. A datagram that is kept until then is looked at again.
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
        let question = Question {
            path,
            datagram: datagram.to_vec(),
            since: now,
        };
        self.asked.insert(username.into(), question);
        Ok(())
    }

    /// The answer has come.
    pub(super) fn answered(&mut self, username: &[u8]) -> Option<Question> {
        self.asked.remove(username)
    }

    /// The answer is that nobody has this name.
    pub(super) fn is_absent(&mut self, now: Instant, username: &[u8]) {
        if self.absent.len() < MAX_ABSENT {
            self.absent.insert(username.into(), now + ABSENT_FOR);
        }
    }

    /// Somebody new has come: nothing is known to be absent.
    pub(super) fn forget_absent(&mut self) {
        self.absent.clear();
    }

    /// Forgets what is over.
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

/// Look-ups in flight, each with a datagram.
const MAX_ASKED: usize = 256;
/// Bytes of a datagram that waits: a check has about a hundred.
const MAX_KEPT: usize = 768;
/// Names known to be nobody's.
const MAX_ABSENT: usize = 4096;
/// An answer may be on its way to the client while its binding is on its way to us.
const ABSENT_FOR: Duration = Duration::from_millis(500);
/// A store that has not answered by then will not; the client asks again.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
