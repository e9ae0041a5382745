//! The store that the proxies of a cluster share, whatever its kind, and what a cluster needs beyond a [`Store`].

use std::time::Duration;

use tokio::sync::broadcast;

use super::{Change, Claim, Mesh, MeshFigures, Redis, Store, StoreError};

/// A store that several proxies use.
#[derive(Debug)]
pub enum ClusterStore {
    /// A mesh of the proxies themselves.
    Mesh(Mesh),
    /// A Redis.
    Redis(Redis),
}

impl ClusterStore {
    /// The kind, as `store.type` spells it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Mesh(_) => "mesh",
            Self::Redis(_) => "redis",
        }
    }

    /// Whether every claimant sees every earlier claim, so that the counts of one proxy may decide.
    pub const fn is_atomic(&self) -> bool {
        match self {
            Self::Mesh(_) => false,
            Self::Redis(_) => true,
        }
    }

    /// The state of the mesh, if it is one.
    pub fn mesh_figures(&self) -> Option<MeshFigures> {
        match self {
            Self::Mesh(mesh) => Some(mesh.figures()),
            Self::Redis(_) => None,
        }
    }

    /// Whether the other proxies can be heard now.
    pub fn is_reachable(&self) -> bool {
        match self {
            Self::Mesh(mesh) => mesh.is_reachable(),
            Self::Redis(redis) => redis.is_reachable(),
        }
    }

    /// Resolves when the other proxies can be heard.
    pub async fn reachable(&self) {
        match self {
            Self::Mesh(mesh) => mesh.reachable().await,
            Self::Redis(redis) => redis.reachable().await,
        }
    }

    /// Subscribes to changes by others. A reader that falls behind has to treat that as [`Change::Anything`].
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        match self {
            Self::Mesh(mesh) => mesh.changes(),
            Self::Redis(redis) => redis.changes(),
        }
    }

    /// Whether the store announces changes by others.
    pub fn tells_of_changes(&self) -> bool {
        match self {
            Self::Mesh(_) => true,
            Self::Redis(redis) => redis.tells_of_changes(),
        }
    }

    /// Whether the store also announces that a key was written again with the value that it had.
    pub fn tells_of_repetitions(&self) -> bool {
        match self {
            Self::Mesh(_) => false,
            Self::Redis(redis) => redis.tells_of_changes(),
        }
    }

    /// A key without the store's prefix; the inverse of [`whole_key`](Self::whole_key).
    pub fn bare_key(&self, key: &str) -> String {
        match self {
            Self::Mesh(_) => key.to_owned(),
            Self::Redis(redis) => redis.bare_key(key),
        }
    }

    /// A key as it is in the store, where another kind of proxy would look for it.
    pub fn whole_key(&self, key: &str) -> String {
        match self {
            Self::Mesh(_) => key.to_owned(),
            Self::Redis(redis) => redis.whole_key(key),
        }
    }

    /// Adds a key to a list of keys, if the store has no other way to find them.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn add_to_list(&self, list: &str, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Mesh(_) => Ok(()),
            Self::Redis(redis) => redis.add_to_list(list, key).await,
        }
    }

    /// Ends a key, whatever its value, and removes it from a list of keys.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn take_from_list(&self, list: &str, key: &str) -> Result<(), StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.end(key),
            Self::Redis(redis) => redis.take_from_list(list, key).await,
        }
    }

    /// Every live key that begins with one of `prefixes`, and its value, in no order.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list_all(&self, prefixes: &[&str]) -> Result<Vec<(String, String)>, StoreError> {
        match self {
            Self::Mesh(mesh) => {
                let mut rows = Vec::new();
                for prefix in prefixes {
                    rows.extend(mesh.list(prefix).await?);
                }
                Ok(rows)
            }
            Self::Redis(redis) => redis.list_all(prefixes).await,
        }
    }

    /// The live keys of a list, with their values. All of them begin with `prefix`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn in_list(
        &self,
        list: &str,
        prefix: &str,
    ) -> Result<Vec<(String, String)>, StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.list(prefix).await,
            Self::Redis(redis) => redis.in_list(list).await,
        }
    }
}

impl Store for ClusterStore {
    async fn claim(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.claim(key, expected, value, ttl).await,
            Self::Redis(redis) => redis.claim(key, expected, value, ttl).await,
        }
    }

    async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.get(key).await,
            Self::Redis(redis) => redis.get(key).await,
        }
    }

    async fn put(&self, key: &str, value: &str, ttl: Duration) -> Result<(), StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.put(key, value, ttl).await,
            Self::Redis(redis) => redis.put(key, value, ttl).await,
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.list(prefix).await,
            Self::Redis(redis) => redis.list(prefix).await,
        }
    }

    async fn renew(&self, keys: &[String], ttl: Duration) -> Result<(), StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.renew(keys, ttl).await,
            Self::Redis(redis) => redis.renew(keys, ttl).await,
        }
    }

    async fn remove(&self, key: &str, value: &str) -> Result<(), StoreError> {
        match self {
            Self::Mesh(mesh) => mesh.remove(key, value).await,
            Self::Redis(redis) => redis.remove(key, value).await,
        }
    }
}
