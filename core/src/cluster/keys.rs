//! Keys with a lifetime, which change hands by compare-and-set: what every store promises, for callers in one place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A map of keys with a lifetime. A key is gone the moment its lifetime ends, whether or not it was released.
#[derive(Debug, Default)]
pub struct Keys {
    entries: HashMap<String, Entry>,
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The current value: the claimant's, or an earlier claimant's.
    pub value: String,
    /// Grows with every change of the key's value, so that an older claim can be told from a newer one.
    pub fence: u64,
    /// Whether the current value is the claimant's.
    pub won: bool,
}

/// A key whose lifetime has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unexpired {
    /// Its value.
    pub value: Arc<str>,
    /// See [`Claim::fence`].
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

impl Keys {
    /// Compare-and-set. Sets `key` to `value` if its current value is `expected` (`None`: it has none), or already
    /// `value`. Returns the current value in either case. A claim that wins lives for `ttl`.
    pub fn claim(
        &mut self,
        now: Instant,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> Claim {
        let standing = self.live(now, key);
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
                let fence = self.entries.get(key).map_or(1, |entry| entry.fence + 1);
                self.entries.insert(
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
    pub fn get(&self, now: Instant, key: &str) -> Option<Arc<str>> {
        let entry = self.entries.get(key).filter(|entry| entry.expires > now)?;
        Some(Arc::clone(&entry.value))
    }

    /// Everything about a key, if its lifetime has not ended.
    pub fn kept(&self, now: Instant, key: &str) -> Option<Unexpired> {
        let entry = self.entries.get(key).filter(|entry| entry.expires > now)?;
        Some(Unexpired {
            value: Arc::clone(&entry.value),
            fence: entry.fence,
            age: now - entry.since,
        })
    }

    /// How long a key still lives, if its lifetime has not ended.
    pub fn left(&self, now: Instant, key: &str) -> Option<Duration> {
        let entry = self.entries.get(key).filter(|entry| entry.expires > now)?;
        Some(entry.expires - now)
    }

    /// Every live key and its value, in no order.
    pub fn list(&self, now: Instant) -> Vec<(String, String)> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.expires > now)
            .map(|(key, entry)| (key.clone(), entry.value.to_string()))
            .collect()
    }

    /// Ends a key before its lifetime does.
    pub fn release(&mut self, key: &str) {
        self.entries.remove(key);
    }

    /// The same, if its value is `value`.
    pub fn remove(&mut self, key: &str, value: &str) {
        if self
            .entries
            .get(key)
            .is_some_and(|entry| *entry.value == *value)
        {
            self.entries.remove(key);
        }
    }

    /// Gives a live key `ttl` from now on.
    pub fn renew(&mut self, now: Instant, key: &str, ttl: Duration) {
        if let Some(entry) = self.live(now, key) {
            entry.expires = now + ttl;
        }
    }

    /// Replaces the value `from` by `to` in every key; lifetimes stay.
    pub fn rename(&mut self, now: Instant, from: &str, to: &str) {
        for entry in self.entries.values_mut().filter(|one| *one.value == *from) {
            entry.value = to.into();
            entry.fence += 1;
            entry.since = now;
        }
    }

    /// Sets a key for `ttl`, whatever its value was.
    pub fn set(&mut self, now: Instant, key: &str, value: &str, ttl: Duration) {
        let before = self.entries.get(key);
        let changed = before.is_none_or(|entry| *entry.value != *value || entry.expires <= now);
        let fence = before.map_or(0, |entry| entry.fence) + u64::from(changed);
        let since = before.filter(|_| !changed).map_or(now, |entry| entry.since);
        let entry = Entry {
            value: value.into(),
            fence,
            since,
            expires: now + ttl,
        };
        self.entries.insert(key.to_owned(), entry);
    }

    /// The number of keys, including those that have expired and were not released yet.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn live(&mut self, now: Instant, key: &str) -> Option<&mut Entry> {
        self.entries
            .get_mut(key)
            .filter(|entry| entry.expires > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[allow(clippy::disallowed_methods, reason = "any moment will do for a start")]
    fn start() -> Instant {
        Instant::now()
    }

    fn claim(value: &str, fence: u64, won: bool) -> Claim {
        Claim {
            value: value.into(),
            fence,
            won,
        }
    }

    #[test]
    fn the_first_claim_wins_and_the_second_is_told() {
        let (mut keys, now) = (Keys::default(), start());
        for (value, expected) in [
            ("a", claim("a", 1, true)),
            ("b", claim("a", 1, false)),
            ("a", claim("a", 1, true)),
        ] {
            assert_eq!(keys.claim(now, "k", None, value, MINUTE), expected);
        }
    }

    #[test]
    fn a_claim_moves_only_from_what_was_expected() {
        let (mut keys, now) = (Keys::default(), start());
        for (cause, key, expected, value, claimed) in [
            ("the first", "k", None, "a", claim("a", 1, true)),
            ("another", "k", Some("c"), "b", claim("a", 1, false)),
            ("what stands", "k", Some("a"), "b", claim("b", 2, true)),
            ("what stood", "k", Some("a"), "c", claim("b", 2, false)),
            (
                "none, though one was expected",
                "new",
                Some("a"),
                "c",
                claim("c", 1, true),
            ),
        ] {
            assert_eq!(
                keys.claim(now, key, expected, value, MINUTE),
                claimed,
                "{cause}"
            );
        }
    }

    #[test]
    fn a_key_ends_with_its_lifetime_unless_it_is_renewed() {
        let (mut keys, start) = (Keys::default(), start());
        keys.claim(start, "k", None, "a", MINUTE);
        keys.claim(start, "l", None, "a", MINUTE);
        let now = start + MINUTE / 2;
        keys.renew(now, "l", MINUTE);
        assert_eq!(keys.left(now, "k"), Some(MINUTE / 2));
        let now = start + MINUTE;
        assert_eq!(keys.get(now, "k"), None);
        assert_eq!(keys.list(now), [("l".to_owned(), "a".to_owned())]);
        keys.renew(now, "k", MINUTE);
        assert_eq!(keys.get(now, "k"), None, "the dead are not renewed");
        keys.rename(now, "a", "b");
        assert_eq!(keys.get(now, "l").as_deref(), Some("b"));
        let now = now + MINUTE / 2;
        assert_eq!(keys.get(now, "l"), None, "a new value is no new lifetime");
        keys.release("l");
        assert_eq!(keys.len(), 1);
        keys.set(now, "m", "a", MINUTE);
        keys.remove("m", "b");
        assert_eq!(keys.len(), 2, "it has another value");
        keys.remove("m", "a");
        assert_eq!(keys.len(), 1);
    }
}
