//! The bans that this proxy knows, its own and those of the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use sluicegate_core::access::bans::{Ban, Bans as Words, Suspect};

use crate::unix_time;

/// Every ban. Each request looks here, and few fleets have any.
#[derive(Debug, Default)]
pub struct Bans {
    // Read for a look-up by each request while there are bans, and written when one is spoken or lifted.
    words: RwLock<Words>,
    any: AtomicBool,
}

impl Bans {
    /// Whether there are none, not even lifted ones.
    pub fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Relaxed)
    }

    /// The ban that meets somebody now, if one does.
    pub fn meeting(&self, suspect: &Suspect<'_>) -> Option<Ban> {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        words.meeting(suspect, unix_time::seconds()).cloned()
    }

    /// The ban of this id, if it holds.
    pub fn holding(&self, id: &str) -> Option<Ban> {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        words.holding(id, unix_time::seconds()).cloned()
    }

    /// Every ban whose time is not over, also those that were lifted.
    pub fn words(&self) -> Vec<Ban> {
        let words = self.words.read().unwrap_or_else(PoisonError::into_inner);
        words.words(unix_time::seconds()).cloned().collect()
    }

    /// Takes a word; false if a later one on its target is known, or if there are too many.
    pub(super) fn take(&self, ban: Ban) -> bool {
        let mut words = self.words.write().unwrap_or_else(PoisonError::into_inner);
        let counts = words.take(ban, unix_time::seconds());
        self.any.store(!words.is_empty(), Ordering::Relaxed);
        counts
    }
}
