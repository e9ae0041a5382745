//! What operators want of origins, as all proxies follow it: the word given to one is in the store, and outlives the
//! proxy it was given to.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::cluster::peers::{DUTY, DutyRecord, REPORT, Wanted};
use sluicegate_core::fleet::drain::{Cause, Duty};
use sluicegate_core::fleet::origin::OriginId;
use tracing::warn;

use super::Cluster;
use crate::store::Store;
use crate::unix_time;

/// The last word on each origin.
#[derive(Debug, Default)]
pub(super) struct Duties {
    // A std mutex: it is held for a few lines, never across an await.
    words: Mutex<HashMap<OriginId, HeardReport>>,
}

/// What was said, and when it was heard here.
#[derive(Debug, Clone, Copy)]
struct HeardReport {
    record: DutyRecord,
    heard: Instant,
}

impl HeardReport {
    /// That an origin was deregistered is an event, and no wish that outlives it.
    fn lasts(&self) -> bool {
        !matches!(self.record.wanted, Wanted::Gone | Wanted::Leaving)
    }
}

impl Duties {
    /// Takes a word if it is later than the one that is known.
    fn take(&self, origin: &OriginId, record: DutyRecord) -> bool {
        let mut words = self.lock();
        let known = words.get(origin).map(|known| known.record.at);
        let later = known.map_or(words.len() < MOST_WORDS, |known| record.at > known);
        if later {
            let heard = Instant::now();
            words.insert(origin.clone(), HeardReport { record, heard });
        }
        later
    }

    /// The time of a word that is said now: later than all that are known, whatever the clocks of the proxies that said them.
    fn next_time(&self, origin: &OriginId) -> u64 {
        let now = unix_time::millis();
        let words = self.lock();
        let known = words.get(origin).map(|known| known.record.at);
        known.map_or(now, |known| now.max(known.saturating_add(1)))
    }

    fn all(&self) -> Vec<(OriginId, HeardReport)> {
        let words = self.lock();
        words.iter().map(|(id, word)| (id.clone(), *word)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OriginId, HeardReport>> {
        self.words.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Tells all proxies what is wanted of an origin from now on. `time_limit` is how long its sessions may finish.
    pub async fn tell_duty(&self, origin: &OriginId, duty: Duty, time_limit: Option<Duration>) {
        let at = self.duties.next_time(origin);
        let wanted = match duty {
            Duty::Active => Wanted::Active,
            Duty::Disabled => Wanted::Disabled,
            Duty::Draining(_) => Wanted::Draining(time_limit.map(|time_limit| {
                let time_limit = u64::try_from(time_limit.as_millis()).unwrap_or(u64::MAX);
                unix_time::millis().saturating_add(time_limit)
            })),
        };
        let word = DutyRecord { at, wanted };
        self.duties.take(origin, word);
        self.write_duty(origin, word).await;
    }

    /// Deregisters an origin at every proxy. Where `used`, somebody may have sessions on it: then it drains everywhere
    /// until the last of them is over. An origin that is still there comes back by its next heartbeat.
    pub async fn tell_deregistered(&self, origin: &OriginId, used: bool) {
        let Some(member) = self.registry.member(origin) else {
            return;
        };
        let wanted = if used { Wanted::Leaving } else { Wanted::Gone };
        let word = DutyRecord {
            at: self.duties.next_time(origin),
            wanted,
        };
        self.duties.take(origin, word);
        self.follow_duty(origin, word);
        if !used {
            // Of one that is used its record has to say where its streams are; that ends by itself.
            let taken = self.take_out(&member.origin).await;
            if let Err(error) = taken {
                warn!(%origin, %error, "the origin's record stays in the store for its time");
            }
        }
        self.write_duty(origin, word).await;
    }

    /// Says again of origins that were deregistered that they have sessions here.
    pub(super) async fn keep_leaving(&self) {
        for (origin, word) in self.duties.all() {
            let leaves = matches!(
                self.registry.duty(&origin),
                Some(Duty::Draining(drain)) if drain.cause == Cause::Deregistered
            );
            if !word.lasts() && leaves && self.registry.left(&origin).total() > 0 {
                let at = self.duties.next_time(&origin);
                let wanted = Wanted::Leaving;
                let word = DutyRecord { at, wanted };
                self.duties.take(&origin, word);
                self.follow_duty(&origin, word);
                self.write_duty(&origin, word).await;
            }
        }
    }

    /// Another proxy wrote `key`.
    pub(super) async fn duty_changed(&self, key: &str) {
        let read = self.store.get(key).await;
        if let Ok(Some(record)) = self.noted("get", read) {
            self.heard_duty(key, &record);
        }
    }

    /// Takes every word there is, and says again what is known here and not there: it was said while the store was away.
    pub(super) async fn duties_listed(&self, rows: &[(String, String)]) {
        let mut there = HashMap::new();
        for (key, record) in rows {
            if let Some(word) = self.heard_duty(key, record) {
                there.insert(key.clone(), word.at);
            }
        }
        for (origin, word) in self.duties.all() {
            let later = |at: &u64| *at < word.record.at;
            if word.lasts() && there.get(&key_of(&origin)).is_none_or(later) {
                self.write_duty(&origin, word.record).await;
            }
        }
    }

    /// What was said of origins holds for those that came since, or came back.
    pub(super) fn keep_duties(&self) {
        for (origin, word) in self.duties.all() {
            let holds = match word.record.wanted {
                Wanted::Active | Wanted::Gone => false,
                // It may have been read of again before those who use it are done.
                Wanted::Leaving => word.heard.elapsed() < LEAVING,
                Wanted::Disabled | Wanted::Draining(_) => true,
            };
            if holds && self.registry.duty(&origin) == Some(Duty::Active) {
                self.follow_duty(&origin, word.record);
            }
        }
    }

    /// Gives words and reports their time.
    pub(super) async fn renew_words(&self) {
        let words = self.duties.all();
        let lasting = words.iter().filter(|(_, word)| word.lasts());
        let mut keys: Vec<String> = lasting.map(|(origin, _)| key_of(origin)).collect();
        let reported = self.registry.reported_keys();
        keys.extend(reported.iter().map(|key| format!("{REPORT}{key}")));
        if !keys.is_empty() {
            let renewed = self.store.renew(&keys, super::DURABLE).await;
            let _ = self.noted("renew", renewed);
        }
    }

    fn heard_duty(&self, key: &str, record: &str) -> Option<DutyRecord> {
        let origin = OriginId::from(key.strip_prefix(DUTY)?);
        let word = DutyRecord::parse(record)?;
        if self.duties.take(&origin, word) {
            self.follow_duty(&origin, word);
        }
        Some(word)
    }

    fn follow_duty(&self, origin: &OriginId, word: DutyRecord) {
        let registry = &self.registry;
        let Some(duty) = registry.duty(origin) else {
            return;
        };
        match word.wanted {
            Wanted::Active if duty == Duty::Active => {}
            Wanted::Active => drop(registry.undrain(origin)),
            Wanted::Disabled if duty == Duty::Disabled => {}
            Wanted::Disabled => drop(registry.disable(origin)),
            Wanted::Gone => drop(registry.deregister(origin)),
            Wanted::Leaving => registry.deregister_after(origin, LEAVING),
            Wanted::Draining(deadline) => {
                let left = deadline
                    .map(|at| Duration::from_millis(at.saturating_sub(unix_time::millis())));
                registry.drain(origin, left, Cause::Operator);
            }
        }
    }

    async fn write_duty(&self, origin: &OriginId, word: DutyRecord) {
        let lifetime = match word.wanted {
            Wanted::Gone | Wanted::Leaving => LEAVING,
            Wanted::Active | Wanted::Disabled | Wanted::Draining(_) => super::DURABLE,
        };
        let put = self
            .store
            .put(&key_of(origin), &word.text(), lifetime)
            .await;
        if let Err(error) = self.noted("put", put) {
            warn!(%origin, %error, "other proxies hear what is wanted of the origin when the store is back");
        }
    }
}

fn key_of(origin: &OriginId) -> String {
    format!("{DUTY}{origin}")
}

/// How long an origin that was deregistered waits for those who use it to say so again: three looks, since where nobody
/// tells of changes a word is a look old before it is heard.
const LEAVING: Duration = Duration::from_secs(30);
/// Origins that something was said of.
const MOST_WORDS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_counts_also_where_a_clock_is_behind() {
        let duties = Duties::default();
        let origin = OriginId::from("one");
        let said = |at, wanted| duties.take(&origin, DutyRecord { at, wanted });
        let an_hour_ahead = unix_time::millis() + 3_600_000;
        assert!(said(an_hour_ahead, Wanted::Disabled));
        assert!(!said(unix_time::millis(), Wanted::Active), "as it was");
        assert!(said(duties.next_time(&origin), Wanted::Active));
        assert!(
            said(duties.next_time(&origin), Wanted::Disabled),
            "within one millisecond"
        );
    }
}
