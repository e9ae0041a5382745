//! Streams that are published at an origin by a way that is not ours, as the origins say.
//!
//! What is here is a hint where a stream is, not a claim on it: a publisher that is joined through this proxy knows
//! better.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::PlacementKey;

/// Where streams are said to be.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    // A std mutex: it is held for a few lines and never across an await.
    streams: Mutex<HashMap<PlacementKey, OriginId>>,
}

impl Reported {
    /// The stream is published at `origin`, says the origin. False when there is no room for it.
    pub(crate) fn note(&self, key: &PlacementKey, origin: &OriginId) -> bool {
        let mut streams = self.lock();
        if streams.len() >= MOST_STREAMS && !streams.contains_key(key) {
            return false;
        }
        streams.insert(key.clone(), origin.clone());
        true
    }

    /// It is published there no more. Another origin's word on it stays.
    pub(crate) fn forget(&self, key: &PlacementKey, origin: &OriginId) {
        let mut streams = self.lock();
        if streams.get(key) == Some(origin) {
            streams.remove(key);
        }
    }

    /// Where the stream is said to be.
    pub(crate) fn origin(&self, key: &PlacementKey) -> Option<OriginId> {
        self.lock().get(key).cloned()
    }

    /// The streams that somebody spoke of.
    pub(crate) fn keys(&self) -> Vec<PlacementKey> {
        self.lock().keys().cloned().collect()
    }

    /// Forgets what origins said that are not `known`, or have restarted since.
    pub(crate) fn keep(&self, known: impl Fn(&OriginId) -> bool) {
        self.lock().retain(|_, origin| known(origin));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PlacementKey, OriginId>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As many as a large fleet holds; an origin that reports more is not believed further.
const MOST_STREAMS: usize = 100_000;
