//! A leg that is nobody's own: its row in the table of legs, and its accounts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::PlacementKey;
use tokio::sync::Notify;

use super::Sessions;
use super::row::mean;
use crate::bell;

/// A pull: the leg that fills a feed, for the sessions that watch it.
#[derive(Debug)]
pub struct Pull {
    /// Names it in logs and in the API; sessions and pulls are numbered together.
    pub id: u64,
    /// The name that the stream is placed under.
    pub key: PlacementKey,
    // A std mutex: it is held for a line, when the pull is moved, listed or measured.
    place: Mutex<Place>,
    /// How many legs it has had.
    legs: AtomicU64,
    /// Its viewers are held.
    holds: AtomicBool,
    bytes: AtomicU64,
    /// How many of `bytes` the metrics have been told of.
    reported: AtomicU64,
    /// How many of `bytes` had come when they were last measured.
    measured: AtomicU64,
    /// Bits per second, averaged over some seconds.
    bps: AtomicU64,
    viewers: AtomicUsize,
    /// Rings when something ended its leg, and when its viewers are not held any more.
    bell: Notify,
}

/// Where a pull leads, and whether it is to leave.
#[derive(Debug)]
struct Place {
    origin: OriginId,
    end: Option<Leaves>,
    /// Where the stream goes, which this pull is to follow.
    follows: Option<OriginId>,
    /// It is to leave for there if it cannot follow.
    leaves_then: bool,
    /// It is played the stream there, and waits for media.
    waits_there: bool,
}

/// Its leg is to be over.
#[derive(Debug)]
struct Leaves {
    why: LegEnd,
    /// Where the stream is now, if that is why.
    for_origin: Option<OriginId>,
}

impl Pull {
    pub(super) fn new(id: u64, key: PlacementKey, origin: OriginId) -> Self {
        Self {
            id,
            key,
            place: Mutex::new(Place {
                origin,
                end: None,
                follows: None,
                leaves_then: false,
                waits_there: false,
            }),
            legs: AtomicU64::new(0),
            holds: AtomicBool::new(false),
            bytes: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            bps: AtomicU64::new(0),
            viewers: AtomicUsize::new(0),
            bell: Notify::new(),
        }
    }

    /// Counts bytes that the origin sent.
    pub fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that the origin has sent.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sessions that watch it.
    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }

    /// Notes how many sessions watch it.
    pub(crate) fn note_viewers(&self, viewers: usize) {
        self.viewers.store(viewers, Ordering::Relaxed);
    }

    /// The origin that it leads to, or led to last.
    pub fn origin(&self) -> OriginId {
        self.lock().origin.clone()
    }

    /// It leads to `origin` from here on, for which it may have been told to leave another. False: it did before.
    pub(crate) fn lead_to(&self, origin: &OriginId) -> bool {
        self.legs.fetch_add(1, Ordering::Relaxed);
        let mut place = self.lock();
        let moves = place.origin != *origin;
        place.origin.clone_from(origin);
        if place.follows.take_if(|wanted| wanted == origin).is_some() {
            place.leaves_then = false;
        }
        let is_there = |leaves: &mut Leaves| {
            moves
                && leaves
                    .for_origin
                    .as_ref()
                    .is_none_or(|wanted| wanted == origin)
        };
        place.end.take_if(is_there);
        moves
    }

    /// How many legs it has had.
    pub(crate) fn legs(&self) -> u64 {
        self.legs.load(Ordering::Relaxed)
    }

    /// Ends its leg; the first reason stands.
    pub fn end(&self, why: LegEnd) {
        let leaves = Leaves {
            why,
            for_origin: None,
        };
        self.lock().end.get_or_insert(leaves);
        self.bell.notify_waiters();
    }

    /// Ends its leg because the stream is on `origin`; nothing if it leads there.
    pub(crate) fn leave_for(&self, origin: &OriginId) {
        {
            let mut place = self.lock();
            if place.origin == *origin {
                return;
            }
            if place.follows.as_ref() == Some(origin) {
                // It is on its way, and loses nothing meanwhile.
                place.leaves_then = true;
                return;
            }
            place.end = Some(Leaves {
                why: LegEnd::Moved,
                for_origin: Some(origin.clone()),
            });
        }
        self.bell.notify_waiters();
    }

    /// The stream goes to `origin`: the pull is to ask there, and to leave the present origin when media comes from there.
    /// One that leads there stays.
    pub(crate) fn follow(&self, origin: &OriginId) {
        {
            let mut place = self.lock();
            let moves = place.origin != *origin;
            place.follows = moves.then(|| origin.clone());
            place.leaves_then = false;
            place.waits_there = false;
        }
        self.bell.notify_waiters();
    }

    /// Resolves with the origin that it is to follow its stream to, once that is another than `known`.
    pub(crate) async fn follows(&self, known: Option<&OriginId>) -> Option<OriginId> {
        let other = || {
            let follows = self.lock().follows.clone();
            (follows.as_ref() != known).then_some(follows)
        };
        bell::once(&self.bell, other).await
    }

    /// The origin that it is to follow its stream to plays it that, and has no media yet.
    pub(crate) fn waits_there(&self) {
        self.lock().waits_there = true;
        self.bell.notify_waiters();
    }

    /// Resolves when it has nothing to follow, or waits there.
    pub(crate) async fn is_set(&self) {
        let is_set = || {
            let place = self.lock();
            (place.follows.is_none() || place.waits_there).then_some(())
        };
        bell::once(&self.bell, is_set).await;
    }

    /// It could not follow its stream to `origin`.
    pub(crate) fn followed_in_vain(&self, origin: &OriginId) {
        {
            let mut place = self.lock();
            if place.follows.take_if(|wanted| wanted == origin).is_none() {
                return;
            }
            if std::mem::take(&mut place.leaves_then) {
                place.end = Some(Leaves {
                    why: LegEnd::Moved,
                    for_origin: Some(origin.clone()),
                });
            }
        }
        self.bell.notify_waiters();
    }

    /// Resolves when something ended its leg. It may have another then.
    pub async fn ended(&self) -> LegEnd {
        let leaves = || self.lock().end.take();
        bell::once(&self.bell, leaves).await.why
    }

    /// Notes whether its viewers are held.
    pub(crate) fn note_hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::Relaxed);
        self.bell.notify_waiters();
    }

    /// Whether its viewers are held.
    pub fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed)
    }

    /// Resolves when its viewers are not held, or not any more.
    pub(crate) async fn flows(&self) {
        bell::once(&self.bell, || (!self.is_held()).then_some(())).await;
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that came since this was asked last, a second ago.
    pub(crate) fn measure(&self) -> u64 {
        let bytes = self.bytes();
        let new = bytes.saturating_sub(self.measured.swap(bytes, Ordering::Relaxed));
        self.bps.store(mean(self.bps(), new), Ordering::Relaxed);
        new
    }

    /// Bits per second, averaged over some seconds.
    pub(crate) fn bps(&self) -> u64 {
        self.bps.load(Ordering::Relaxed)
    }

    /// Bytes that the metrics have not been told of. Each is given out once.
    pub(super) fn unreported(&self) -> u64 {
        let bytes = self.bytes();
        bytes.saturating_sub(self.reported.fetch_max(bytes, Ordering::Relaxed))
    }
}

/// A pull that is open: dropping it settles its accounts.
#[derive(Debug)]
pub(crate) struct OpenPull {
    pub(super) pull: Arc<Pull>,
    pub(super) sessions: Arc<Sessions>,
}

impl std::ops::Deref for OpenPull {
    type Target = Arc<Pull>;

    fn deref(&self) -> &Arc<Pull> {
        &self.pull
    }
}

impl Drop for OpenPull {
    fn drop(&mut self) {
        self.sessions.close_pull(&self.pull);
    }
}
