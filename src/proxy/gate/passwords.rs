//! Passwords, compared with their hashes where nobody waits for a thread.

use std::sync::Arc;

use sluicegate_core::access::passwords::fits;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Compares passwords, a few at once; a bounded number of requests wait.
#[derive(Debug)]
pub(super) struct Passwords {
    at_work: Arc<Semaphore>,
    places: Semaphore,
}

impl Default for Passwords {
    fn default() -> Self {
        Self {
            at_work: Arc::new(Semaphore::new(AT_ONCE)),
            places: Semaphore::new(AT_ONCE + WAITING),
        }
    }
}

impl Passwords {
    /// Whether a password is the one that was hashed; `None` while too many wait for that.
    pub(super) async fn fits(&self, hash: Box<str>, password: Box<str>) -> Option<bool> {
        let _place = self.places.try_acquire().ok()?;
        let permit = Arc::clone(&self.at_work).acquire_owned().await.ok()?;
        // The permit goes along: a client that leaves does not end the work that was begun for it.
        let work = spawn_blocking(move || {
            let fits = fits(&hash, &password);
            drop(permit);
            fits
        });
        work.await.ok()
    }
}

/// Each takes a core for tens of milliseconds, and up to 64 MiB.
const AT_ONCE: usize = 2;
/// What two do in a few seconds.
const WAITING: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn more_than_can_wait_are_told_to_come_later() {
        let passwords = Passwords::default();
        let held = Arc::clone(&passwords.at_work);
        let _busy = held.acquire_many(2).await.unwrap();
        let ask = || passwords.fits("no hash".into(), "x".into());
        let mut waiting: Vec<_> = (0..AT_ONCE + WAITING).map(|_| Box::pin(ask())).collect();
        for waits in &mut waiting {
            assert!(futures_util::poll!(waits.as_mut()).is_pending(), "it waits");
        }
        assert_eq!(ask().await, None, "one too many");
        waiting.clear();
        drop(_busy);
        assert_eq!(ask().await, Some(false), "there is room again");
    }
}
