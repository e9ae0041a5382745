//! Those who show something wrong again and again: each answer comes later than the one before.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// Failures of the last minute, by network.
#[derive(Debug)]
pub(super) struct Failures {
    // A std mutex: it is held for a few lines and never across an await.
    seen: Mutex<HashMap<IpAddr, Seen>>,
    places: Semaphore,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    since: Instant,
    count: u32,
}

impl Default for Failures {
    fn default() -> Self {
        Self {
            seen: Mutex::default(),
            places: Semaphore::new(MOST_LATE),
        }
    }
}

impl Failures {
    /// Notes a failure. Returns how long the answer has to wait, with the place that it waits in; `None` if it need not,
    /// or if too many wait already.
    pub(super) fn note(&self, client: IpAddr) -> Option<(Duration, SemaphorePermit<'_>)> {
        let count = self.count(network(client));
        let beyond = count.checked_sub(FREE).filter(|beyond| *beyond > 0)?;
        let delay = FIRST.saturating_mul(1 << (beyond - 1).min(8)).min(LONGEST);
        Some((delay, self.places.try_acquire().ok()?))
    }

    fn count(&self, network: IpAddr) -> u32 {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_SEEN && !seen.contains_key(&network) {
            seen.retain(|_, seen| now.duration_since(seen.since) < MINUTE);
            if seen.len() >= MOST_SEEN {
                return 0;
            }
        }
        let fresh = Seen {
            since: now,
            count: 0,
        };
        let entry = seen.entry(network).or_insert(fresh);
        if now.duration_since(entry.since) >= MINUTE {
            *entry = fresh;
        }
        entry.count = entry.count.saturating_add(1);
        entry.count
    }
}

/// The addresses that one customer of a provider usually has: one of IPv4, and 64 bits of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

/// Failures of a minute that are answered at once: people mistype.
const FREE: u32 = 3;
const FIRST: Duration = Duration::from_millis(125);
/// Shorter than what callers of any protocol wait.
const LONGEST: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_secs(60);
/// Answers that wait at once; each keeps a connection open.
const MOST_LATE: usize = 1024;
/// Networks that are remembered, of about 60 bytes each.
const MOST_SEEN: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_failure_is_answered_later() {
        let failures = Failures::default();
        let late = |client: &str| {
            let noted = failures.note(client.parse().unwrap());
            noted.map(|(delay, _place)| delay.as_millis())
        };
        let delays: Vec<_> = (0..9).map(|_| late("192.0.2.1").unwrap_or(0)).collect();
        assert_eq!(delays, [0, 0, 0, 125, 250, 500, 1000, 2000, 2000]);
        assert_eq!(late("192.0.2.2"), None, "somebody else");
        assert_eq!(
            [
                late("2001:db8::1"),
                late("2001:db8::1"),
                late("2001:db8::1")
            ],
            [None; 3]
        );
        assert_eq!(late("2001:db8::2"), Some(125), "the same customer");
        tokio::time::advance(MINUTE).await;
        assert_eq!(late("192.0.2.1"), None, "a minute later");
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let failures = Failures::default();
        let attacker = "192.0.2.1".parse().unwrap();
        (0..FREE).for_each(|_| drop(failures.note(attacker)));
        let waiting: Vec<_> = (0..MOST_LATE).map(|_| failures.note(attacker)).collect();
        assert!(waiting.iter().all(Option::is_some));
        assert!(failures.note(attacker).is_none(), "answered at once");
    }
}
