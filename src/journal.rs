//! What happened lately, for people: noted where it happens, listed by the API, and told to those who follow it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluicegate_core::events::{Event, Events, Kind, News};
use tokio::sync::broadcast;

use crate::unix_time;

/// The newest events of each kind, and those who follow them.
#[derive(Debug)]
pub struct Journal {
    // A std mutex: it is held for a few lines and never across an await.
    events: Mutex<Events>,
    told: broadcast::Sender<Event>,
    refused: AtomicU64,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            events: Mutex::default(),
            told: broadcast::Sender::new(BACKLOG),
            refused: AtomicU64::new(0),
        }
    }
}

impl Journal {
    /// Notes something that happens now.
    pub fn note(&self, kind: Kind, news: News) {
        if kind == Kind::Refused {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        let mut events = self.lock();
        let event = events.note(unix_time::millis(), kind, news);
        // Told under the lock, or those who follow would hear of two events the wrong way round. Nobody has to follow.
        let _ = self.told.send(event);
    }

    /// Shows every event of a kind that is kept to `each`, which does no more than look: nothing is noted meanwhile.
    pub fn look(&self, kind: Kind, each: impl FnMut(&Event)) {
        self.lock().of(kind).for_each(each);
    }

    /// Subscribes to what happens from now on. A reader that falls behind by more than 256 events misses some, and is told.
    pub fn follow(&self) -> broadcast::Receiver<Event> {
        self.told.subscribe()
    }

    /// Refusals since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Events> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that somebody who follows may be behind.
const BACKLOG: usize = 256;
