//! A feed on one worker: its copy of the log, and the pass over its viewers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use sluicegate_core::media::feed::{Change, Feed as Media};
use sluicegate_core::place::leg::LegEnd;
use tokio::sync::{Notify, mpsc};
use tokio::task::{unconstrained, yield_now};

use super::feed::Feed;
use super::seat::Seat;

/// A feed on one worker. Everything but its making and its end happens on that worker's thread, so that its locks are
/// always free.
pub(super) struct Branch {
    media: Mutex<Media>,
    seats: Mutex<Vec<Arc<Seat>>>,
    /// A batch could not be told.
    lost: AtomicBool,
    /// Why the pull is over.
    end: OnceLock<LegEnd>,
    /// Rings when a viewer has left.
    left: Notify,
}

impl Branch {
    pub(super) fn new(media: Media) -> Self {
        Self {
            media: Mutex::new(media),
            seats: Mutex::default(),
            lost: AtomicBool::new(false),
            end: OnceLock::new(),
            left: Notify::new(),
        }
    }

    pub(super) fn add(&self, seat: &Arc<Seat>) {
        lock(&self.seats).push(Arc::clone(seat));
    }

    /// Takes a viewer off.
    pub(super) fn remove(&self, seat: &Arc<Seat>) {
        let mut seats = lock(&self.seats);
        if let Some(at) = seats.iter().position(|other| Arc::ptr_eq(other, seat)) {
            seats.swap_remove(at);
        }
        if seats.is_empty() {
            self.left.notify_one();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        lock(&self.seats).is_empty()
    }

    pub(super) fn note_lost(&self) {
        self.lost.store(true, Ordering::Relaxed);
    }

    /// The pull is over; viewers end when they had what came before.
    pub(super) fn end(&self, end: LegEnd) {
        let _ = self.end.set(end);
    }

    /// The media, for a viewer that sends by itself.
    pub(super) fn media(&self) -> MutexGuard<'_, Media> {
        lock(&self.media)
    }

    /// Sends to every viewer that takes something, some at a time, so that others on this thread have their turns.
    async fn pass(&self) {
        let mut next = 0;
        loop {
            {
                let (media, seats) = (lock(&self.media), lock(&self.seats));
                let some = seats.get(next..).unwrap_or_default().iter().take(AT_ONCE);
                let now = Instant::now();
                for seat in some {
                    seat.serve(&media, now);
                }
                next += AT_ONCE;
                if next >= seats.len() {
                    return;
                }
            }
            yield_now().await;
        }
    }

    fn apply(&self, changes: &[Change]) {
        let mut media = lock(&self.media);
        for change in changes {
            media.apply(change);
        }
    }
}

/// Serves the branch on the worker that calls this, until nobody watches it or the pull is over.
pub(super) fn begin(
    feed: &Arc<Feed>,
    branch: &Arc<Branch>,
    mut changes: mpsc::Receiver<Arc<[Change]>>,
) {
    let (feed, branch) = (Arc::clone(feed), Arc::clone(branch));
    // Readiness of many sockets is asked in one turn: a budget for each task would make some of them look unready.
    tokio::spawn(unconstrained(async move {
        loop {
            let batch = tokio::select! {
                batch = changes.recv() => batch,
                () = branch.left.notified() => {
                    if feed.drop_branch(&branch) {
                        return;
                    }
                    continue;
                }
            };
            let Some(batch) = batch else { break };
            branch.apply(&batch);
            while let Ok(batch) = changes.try_recv() {
                branch.apply(&batch);
            }
            if branch.lost.swap(false, Ordering::Relaxed) {
                let whole = feed.copy_in_place_of(&mut changes);
                *lock(&branch.media) = whole;
            }
            branch.pass().await;
        }
        let end = branch.end.get().copied().unwrap_or(LegEnd::Released);
        for seat in lock(&branch.seats).iter() {
            seat.end(end);
        }
    }));
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Viewers that are served in one turn of their worker: a third of a millisecond of writes.
const AT_ONCE: usize = 32;
