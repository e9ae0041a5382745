//! Viewings of HLS and DASH: a viewer has no session there, and is counted from its first playlist until it has asked for
//! none for a while.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::sessions::Ticket;

/// The viewings that somebody wants to know of: where something is limited, or judged again.
#[derive(Debug, Default)]
pub(super) struct Viewings {
    // A std mutex: it is held for a few lines and never across an await.
    table: Mutex<HashMap<u64, Viewing>>,
}

#[derive(Debug)]
struct Viewing {
    seen: Instant,
    judged: Instant,
    ticket: Option<Ticket>,
}

impl Viewings {
    /// Notes that a viewer asked for a playlist. Returns when it was judged last; `None` if it is not known here.
    pub(super) fn seen(&self, id: u64) -> Option<Instant> {
        let mut table = self.lock();
        let viewing = table.get_mut(&id)?;
        viewing.seen = Instant::now();
        Some(viewing.judged)
    }

    /// A viewing begins here, or comes here from another proxy: it has just been judged.
    pub(super) fn begin(&self, id: u64, ticket: Option<Ticket>) {
        let now = Instant::now();
        let mut table = self.lock();
        if table.len() >= MOST_VIEWINGS && !table.contains_key(&id) {
            table.retain(|_, viewing| now.duration_since(viewing.seen) < GONE);
            if table.len() >= MOST_VIEWINGS {
                return;
            }
        }
        let viewing = Viewing {
            seen: now,
            judged: now,
            ticket,
        };
        table.insert(id, viewing);
    }

    /// It has been judged again.
    pub(super) fn judged(&self, id: u64) {
        if let Some(viewing) = self.lock().get_mut(&id) {
            viewing.judged = Instant::now();
        }
    }

    /// It has not begun: what its viewer waited for did not come.
    pub(super) fn take_back(&self, id: u64) {
        let viewing = self.lock().remove(&id);
        if let Some(ticket) = viewing.and_then(|viewing| viewing.ticket) {
            ticket.take_back();
        }
    }

    /// It is over.
    pub(super) fn end(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// Forgets those that asked for nothing for a while.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        self.lock()
            .retain(|_, viewing| now.duration_since(viewing.seen) < GONE);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Viewing>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A player that asks for no playlist for this long is gone: it asks every few seconds.
const GONE: Duration = Duration::from_secs(30);
/// Viewings that are known, of about 100 bytes each. Beyond that a viewer is not counted.
const MOST_VIEWINGS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_viewing_lasts_while_its_viewer_asks() {
        let viewings = Viewings::default();
        assert_eq!(viewings.seen(7), None);
        viewings.begin(7, None);
        let begun = viewings.seen(7);
        assert!(begun.is_some());
        tokio::time::advance(GONE - Duration::from_millis(1)).await;
        viewings.sweep();
        assert_eq!(viewings.seen(7), begun, "it asked in time");
        viewings.judged(7);
        assert_ne!(viewings.seen(7), begun, "judged again");
        tokio::time::advance(GONE).await;
        viewings.sweep();
        assert_eq!(viewings.seen(7), None, "it is gone");
        viewings.begin(8, None);
        viewings.end(8);
        assert_eq!(viewings.seen(8), None, "it was ended");
    }
}
