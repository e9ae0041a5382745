//! One look at a stream's placement in the store at a time, or one claim on it.
//!
//! An answer that came earlier and is heard later would undo what was heard in between, and the store does not tell a proxy
//! of its own changes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sluicegate_core::stream::PlacementKey;
use tokio::sync::OwnedMutexGuard;

/// Whose turn it is, for each stream that is looked at or claimed.
#[derive(Debug, Default)]
pub(super) struct Turns {
    // A std mutex: it is held for a look-up. What it keeps is held across calls of the store: that is its purpose.
    of: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    turns: HashMap<PlacementKey, Weak<tokio::sync::Mutex<()>>>,
    /// How many were in use when those were forgotten last that nobody looks at.
    in_use: usize,
}

/// The turn of one caller, until it is dropped.
pub(super) type Turn = OwnedMutexGuard<()>;

impl Turns {
    /// Waits for its turn. Each before it takes as long as a few calls of the store may take, and the wait for a record.
    pub(super) async fn take(&self, key: &PlacementKey) -> Turn {
        self.of(key).lock_owned().await
    }

    /// Its turn, if nobody else has it.
    pub(super) fn try_take(&self, key: &PlacementKey) -> Option<Turn> {
        self.of(key).try_lock_owned().ok()
    }

    fn of(&self, key: &PlacementKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = of.turns.get(key).and_then(Weak::upgrade) {
            return turns;
        }
        // Twice as many as are in use, so that each look through all of them pays for as many that came.
        if of.turns.len() >= LOOKED_THROUGH.max(2 * of.in_use) {
            of.turns.retain(|_, turns| turns.strong_count() > 0);
            of.in_use = of.turns.len();
        }
        let turns = Arc::default();
        of.turns.insert(key.clone(), Arc::downgrade(&turns));
        turns
    }
}

/// Streams past which those are forgotten that nobody looks at: beyond, there are no more than twice those that waited for the
/// store at once.
const LOOKED_THROUGH: usize = 1_024;
