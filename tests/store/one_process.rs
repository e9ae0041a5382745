//! What one process keeps its claims by keeps the contract of stores, too.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sluicegate::store::{Claim, Store, StoreError};
use sluicegate_core::cluster::keys::Keys;
use tokio::time::Instant;

use super::contract;

/// The keys of one process, as a store.
#[derive(Debug, Default)]
struct OneProcess {
    keys: Mutex<Keys>,
}

#[tokio::test]
async fn the_keys_of_one_process_keep_the_contract() {
    contract::check(&OneProcess::default(), "").await;
}

impl OneProcess {
    fn now<T>(&self, call: impl FnOnce(&mut Keys, std::time::Instant) -> T) -> T {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        call(&mut keys, Instant::now().into_std())
    }
}

impl Store for OneProcess {
    async fn claim(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        Ok(self.now(|keys, now| keys.claim(now, key, expected, value, ttl)))
    }

    async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        Ok(self.now(|keys, now| keys.get(now, key).map(|value| value.to_string())))
    }

    async fn put(&self, key: &str, value: &str, ttl: Duration) -> Result<(), StoreError> {
        self.now(|keys, now| keys.set(now, key, value, ttl));
        Ok(())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        let mut rows = self.now(|keys, now| keys.list(now));
        rows.retain(|(key, _)| key.starts_with(prefix));
        Ok(rows)
    }

    async fn renew(&self, names: &[String], ttl: Duration) -> Result<(), StoreError> {
        for key in names {
            self.now(|keys, now| keys.renew(now, key, ttl));
        }
        Ok(())
    }

    async fn remove(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.now(|keys, _| keys.remove(key, value));
        Ok(())
    }
}
