//! What was seen a short while ago, by name.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A bounded table of names, by hashes: two names of one hash are taken for one.
#[derive(Debug, Default)]
pub(super) struct Recent {
    hashes: RandomState,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    until: HashMap<u64, Instant>,
    /// As they were noted, oldest first; what was noted again stands twice.
    order: VecDeque<(u64, Instant)>,
}

impl Recent {
    /// Whether any of `names` was noted recently.
    pub(super) fn has(&self, names: &[impl Hash]) -> bool {
        let table = lock(&self.table);
        if table.until.is_empty() {
            return false;
        }
        let now = Instant::now();
        let mut hashes = names.iter().map(|name| self.hashes.hash_one(name));
        hashes.any(|hash| table.until.get(&hash).is_some_and(|until| now < *until))
    }

    /// Remembers `name` for a while.
    pub(super) fn note(&self, name: impl Hash) {
        let hash = self.hashes.hash_one(name);
        let (now, mut table) = (Instant::now(), lock(&self.table));
        let until = now + RECENTLY;
        // Noted a moment ago: that holds long enough, and the order stays short.
        if table
            .until
            .get(&hash)
            .is_some_and(|known| now + RECENTLY / 2 < *known)
        {
            return;
        }
        while let Some((oldest, noted)) = table.order.front().copied()
            && (noted <= now || table.order.len() >= MOST)
        {
            table.order.pop_front();
            if table.until.get(&oldest) == Some(&noted) {
                table.until.remove(&oldest);
            }
        }
        table.until.insert(hash, until);
        table.order.push_back((hash, until));
    }

    /// Forgets `names`.
    pub(super) fn forget(&self, names: &[impl Hash]) {
        let mut table = lock(&self.table);
        if table.until.is_empty() {
            return;
        }
        for name in names {
            table.until.remove(&self.hashes.hash_one(name));
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a name is remembered.
const RECENTLY: Duration = Duration::from_secs(10);
/// Entries, of 24 bytes each: a few thousand streams with a handful of playlists and renditions.
const MOST: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_noted_holds_for_a_while() {
        let recent = Recent::default();
        assert!(!recent.has(&["a"]));
        recent.note("a");
        assert!(recent.has(&["b", "a"]) && !recent.has(&["b"]));
        tokio::time::advance(RECENTLY * 3 / 4).await;
        recent.note("a");
        tokio::time::advance(RECENTLY / 2).await;
        assert!(recent.has(&["a"]), "it was noted again");
        recent.forget(&["a"]);
        assert!(!recent.has(&["a"]));
        recent.note("a");
        tokio::time::advance(RECENTLY).await;
        assert!(!recent.has(&["a"]));
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_grows_past_its_bound() {
        let recent = Recent::default();
        for name in 0..2 * MOST {
            recent.note(name);
        }
        {
            let table = lock(&recent.table);
            assert!(table.until.len() <= MOST && table.order.len() <= MOST);
        }
        assert!(recent.has(&[2 * MOST - 1]) && !recent.has(&[0]));
        tokio::time::advance(RECENTLY).await;
        recent.note(0);
        assert_eq!(lock(&recent.table).until.len(), 1, "what is over goes");
    }
}
