//! What limits count, told to the other proxies and heard from them. Where nothing is limited, nothing is told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::cluster::records::prefix;
use sluicegate_core::cluster::tally::TallyRecord;
use tokio::time::Instant;

use super::Cluster;
use crate::store::{Store, records};

/// What was told last, and when.
#[derive(Debug, Default)]
pub(super) struct Told {
    // A std mutex: it is held for a line, never across an await.
    parts: Mutex<(Vec<TallyRecord>, Option<Instant>)>,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, (Vec<TallyRecord>, Option<Instant>)> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Tells the others what changed since the last time, and from time to time what did not.
    pub(super) async fn tell_counts(&self) {
        let tally = self.sessions.tally();
        let (last, at) = self.told.lock().clone();
        if !tally.is_limited() && last.is_empty() {
            return;
        }
        let reachable = self.is_reachable();
        let peers = self.peers();
        let counts = tally.with(|tally| {
            tally.set_alone(!reachable);
            tally.heard_only(|source| {
                let proxy = source.split('/').next();
                peers.iter().any(|peer| Some(&*peer.id) == proxy)
            });
            tally.counts()
        });
        if !reachable {
            return;
        }
        let parts = TallyRecord::parts(&counts);
        let again = at.is_none_or(|at| at.elapsed() >= AGAIN);
        let mut failed = false;
        for (number, part) in parts.iter().enumerate() {
            if again || last.get(number) != Some(part) {
                let put = records::put(&self.store, &self.part(number), part, LIFETIME).await;
                failed |= self.noted("put", put).is_err();
            }
        }
        for (number, part) in last.iter().enumerate().skip(parts.len()) {
            let left = records::remove(&self.store, &self.part(number), part).await;
            failed |= self.noted("remove", left).is_err();
        }
        // What was not told is told the next time.
        let at = if again { Some(Instant::now()) } else { at };
        *self.told.lock() = (parts, at.filter(|_| !failed));
    }

    /// Another proxy wrote the record of this name, or it is gone.
    pub(super) async fn counts_changed(&self, name: &str) {
        if name.split('/').next() == Some(self.id()) {
            return;
        }
        let read = records::get::<TallyRecord>(&self.store, name).await;
        if let Ok(record) = self.noted("get", read) {
            let counts = record.map(|record| record.counts);
            self.sessions
                .tally()
                .with(|tally| tally.heard(name, counts));
        }
    }

    /// Reads what the others count, where something is limited.
    pub(super) async fn read_counts(&self) {
        if !self.sessions.tally().is_limited() {
            return;
        }
        let listed = self.store.list(&prefix::<TallyRecord>()).await;
        let Ok(rows) = self.noted("list", listed) else {
            return;
        };
        let told = records::among::<TallyRecord>(&rows);
        let own = format!("{}/", self.id());
        self.sessions.tally().with(|tally| {
            tally.heard_only(|source| told.iter().any(|(name, _)| name == source));
            for (name, record) in told.iter().filter(|(name, _)| !name.starts_with(&own)) {
                tally.heard(name, Some(record.counts.clone()));
            }
        });
    }

    fn part(&self, number: usize) -> String {
        format!("{}/{number}", self.id())
    }
}

/// How often the others are told: two clients that come within it at two proxies may both be the last.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(500);
/// How often they are told what did not change.
const AGAIN: Duration = Duration::from_secs(10);
/// How long counts outlive their proxy: three times that.
const LIFETIME: Duration = Duration::from_secs(30);
