//! The store of a single proxy: a map in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use super::{Claim, Store, StoreError};

/// A map of keys with a lifetime.
///
/// Consistency: every call is atomic and sees every call that returned before it. A key is gone the moment its lifetime
/// ends, whether or not it was swept.
#[derive(Debug, Default)]
pub struct Memory {
    // A std mutex: it is held for a few lines and never across an await.
    entries: Mutex<HashMap<String, Entry>>,
}

/// A key whose lifetime has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexpired {
    /// Its value.
    pub value: Arc<str>,
    /// See [`Claim::fence`](super::Claim).
    pub fence: u64,
    /// How long it has had this value.
    pub age: Duration,
}

#[derive(Debug, Clone)]
struct Entry {
    value: Arc<str>,
    fence: u64,
    since: Instant,
    expires: Instant,
}

impl Memory {
    /// Whether every claimant sees every earlier claim, so that counts taken from claims can be trusted.
    pub const ATOMIC: bool = true;

    /// Compare-and-set. Sets `key` to `value` if its current value is `expected` (`None`: it has none), or already
    /// `value`. Returns the current value in either case. A claim that wins lives for `ttl`.
    pub fn claim(&self, key: &str, expected: Option<&str>, value: &str, ttl: Duration) -> Claim {
        let now = Instant::now();
        let mut entries = self.locked();
        let standing = entries.get_mut(key).filter(|entry| entry.expires > now);
        match standing {
            Some(entry) if *entry.value == *value => {
                entry.expires = now + ttl;
                Claim {
                    value: value.to_owned(),
                    fence: entry.fence,
                    won: true,
                }
            }
            Some(entry) if expected != Some(&*entry.value) => Claim {
                value: entry.value.to_string(),
                fence: entry.fence,
                won: false,
            },
            _ => {
                let fence = entries.get(key).map_or(1, |entry| entry.fence + 1);
                entries.insert(
                    key.to_owned(),
                    Entry {
                        value: value.into(),
                        fence,
                        since: now,
                        expires: now + ttl,
                    },
                );
                Claim {
                    value: value.to_owned(),
                    fence,
                    won: true,
                }
            }
        }
    }

    /// The value of a key, if its lifetime has not ended.
    pub fn get(&self, key: &str) -> Option<Arc<str>> {
        let now = Instant::now();
        self.locked()
            .get(key)
            .filter(|entry| entry.expires > now)
            .map(|entry| Arc::clone(&entry.value))
    }

    /// Everything about a key, if its lifetime has not ended.
    pub fn kept(&self, key: &str) -> Option<Unexpired> {
        let now = Instant::now();
        let entries = self.locked();
        let entry = entries.get(key).filter(|entry| entry.expires > now)?;
        Some(Unexpired {
            value: Arc::clone(&entry.value),
            fence: entry.fence,
            age: now - entry.since,
        })
    }

    /// Every live key and its value, in no order.
    pub fn list(&self) -> Vec<(String, String)> {
        let now = Instant::now();
        let entries = self.locked();
        entries
            .iter()
            .filter(|(_, entry)| entry.expires > now)
            .map(|(key, entry)| (key.clone(), entry.value.to_string()))
            .collect()
    }

    /// Ends a key before its lifetime does.
    pub fn release(&self, key: &str) {
        self.locked().remove(key);
    }

    /// Gives a live key `ttl` from now on.
    pub fn renew(&self, key: &str, ttl: Duration) {
        let now = Instant::now();
        if let Some(entry) = self
            .locked()
            .get_mut(key)
            .filter(|entry| entry.expires > now)
        {
            entry.expires = now + ttl;
        }
    }

    /// Replaces the value `from` by `to` in every key; lifetimes stay.
    pub fn rename(&self, from: &str, to: &str) {
        let now = Instant::now();
        let mut entries = self.locked();
        for entry in entries.values_mut().filter(|entry| *entry.value == *from) {
            entry.value = to.into();
            entry.fence += 1;
            entry.since = now;
        }
    }

    /// The number of keys, including those that have expired and were not released yet.
    pub fn len(&self) -> usize {
        self.locked().len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a key for `ttl`, whatever its value was.
    pub fn set(&self, key: &str, value: &str, ttl: Duration) {
        let now = Instant::now();
        let mut entries = self.locked();
        let before = entries.get(key);
        let changed = before.is_none_or(|entry| *entry.value != *value || entry.expires <= now);
        let fence = before.map_or(0, |entry| entry.fence) + u64::from(changed);
        let since = before.filter(|_| !changed).map_or(now, |entry| entry.since);
        let entry = Entry {
            value: value.into(),
            fence,
            since,
            expires: now + ttl,
        };
        entries.insert(key.to_owned(), entry);
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.entries
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Store for Memory {
    async fn claim(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        Ok(Self::claim(self, key, expected, value, ttl))
    }

    async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(Self::get(self, key).map(|value| value.to_string()))
    }

    async fn put(&self, key: &str, value: &str, ttl: Duration) -> Result<(), StoreError> {
        self.set(key, value, ttl);
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let mut rows = Self::list(self);
        rows.retain(|(key, _)| key.starts_with(prefix));
        Ok(rows)
    }

    async fn renew(&self, keys: &[String], ttl: Duration) -> Result<(), StoreError> {
        for key in keys {
            Self::renew(self, key, ttl);
        }
        Ok(())
    }

    async fn remove(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let mut entries = self.locked();
        if entries.get(key).is_some_and(|entry| *entry.value == *value) {
            entries.remove(key);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn the_first_claim_wins_and_the_second_is_told() {
        let store = Memory::default();
        assert_eq!(
            store.claim("k", None, "a", MINUTE),
            Claim {
                value: "a".into(),
                fence: 1,
                won: true
            }
        );
        assert_eq!(
            store.claim("k", None, "b", MINUTE),
            Claim {
                value: "a".into(),
                fence: 1,
                won: false
            }
        );
        assert_eq!(
            store.claim("k", None, "a", MINUTE),
            Claim {
                value: "a".into(),
                fence: 1,
                won: true
            }
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_moves_only_from_what_was_expected() {
        let store = Memory::default();
        store.claim("k", None, "a", MINUTE);
        assert!(!store.claim("k", Some("c"), "b", MINUTE).won);
        assert_eq!(
            store.claim("k", Some("a"), "b", MINUTE),
            Claim {
                value: "b".into(),
                fence: 2,
                won: true
            }
        );
        // A claimant that still believes in `a` learns about `b`.
        assert_eq!(
            store.claim("k", Some("a"), "c", MINUTE),
            Claim {
                value: "b".into(),
                fence: 2,
                won: false
            }
        );
        // The key has no value, though one was expected: the claim is free.
        assert!(store.claim("new", Some("a"), "c", MINUTE).won);
    }

    #[tokio::test(start_paused = true)]
    async fn a_key_ends_with_its_lifetime_unless_it_is_renewed() {
        let store = Memory::default();
        store.claim("k", None, "a", MINUTE);
        store.claim("l", None, "a", MINUTE);
        tokio::time::advance(MINUTE / 2).await;
        store.renew("l", MINUTE);
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(store.get("k"), None);
        assert_eq!(store.list(), [("l".to_owned(), "a".to_owned())]);
        store.renew("k", MINUTE);
        assert_eq!(store.get("k"), None, "the dead are not renewed");
        store.rename("a", "b");
        assert_eq!(store.get("l").as_deref(), Some("b"));
        tokio::time::advance(MINUTE / 2).await;
        assert_eq!(store.get("l"), None, "a new value is no new lifetime");
        store.release("l");
        assert_eq!(store.len(), 1);
    }
}
