//! A leg that is nobody's own: its row in the table of legs, and its accounts.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::PlacementKey;
use tokio::sync::Notify;

use super::Sessions;
use crate::bell;

/// A pull: the leg that fills a feed, for the sessions that watch it.
#[derive(Debug)]
pub struct Pull {
    /// Names it in logs and in the API; sessions and pulls are numbered together.
    pub id: u64,
    /// The name that the stream is placed under.
    pub key: PlacementKey,
    /// The origin it leads to.
    pub origin: OriginId,
    bytes: AtomicU64,
    /// How many of `bytes` the metrics have been told of.
    reported: AtomicU64,
    /// How many of `bytes` had come when they were last measured.
    measured: AtomicU64,
    viewers: AtomicUsize,
    end: OnceLock<LegEnd>,
    bell: Notify,
}

impl Pull {
    pub(super) fn new(id: u64, key: PlacementKey, origin: OriginId) -> Self {
        Self {
            id,
            key,
            origin,
            bytes: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            measured: AtomicU64::new(0),
            viewers: AtomicUsize::new(0),
            end: OnceLock::new(),
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

    /// Ends it; the first reason stands.
    pub fn end(&self, end: LegEnd) {
        let _ = self.end.set(end);
        self.bell.notify_waiters();
    }

    /// Resolves when something ended it.
    pub async fn ended(&self) -> LegEnd {
        bell::once(&self.bell, || self.end.get().copied()).await
    }

    /// Bytes that came since this was asked last.
    pub(crate) fn carried_since(&self) -> u64 {
        let bytes = self.bytes();
        bytes.saturating_sub(self.measured.swap(bytes, Ordering::Relaxed))
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
