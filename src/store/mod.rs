//! What the proxies of a cluster agree on: keys with a lifetime. There is one trait, one contract (`tests/store`), and
//! a store for each way to run several proxies: [`Redis`], and [`Mesh`] with nothing else to run. A single proxy needs
//! none: [`Keys`](sluicegate_core::cluster::keys::Keys) keep the same contract.
//!
//! What a store promises, operation by operation:
//!
//! | operation | one proxy | Redis, single or Sentinel | Redis Cluster | mesh |
//! | --- | --- | --- | --- | --- |
//! | `claim` | atomic | atomic (one script); after a fail-over the last claims may be lost, and are claimed again | the same, per key | atomic among callers of one proxy; two proxies that do not see each other may both win, and end with one value: [the rule](sluicegate_core::cluster::mesh) |
//! | fences | grow while the key is remembered, for ever | grow, two days beyond the key | the same | grow, ten minutes beyond the key; equal for a claim that must not outrank one that lapsed in silence |
//! | `get`, `put`, `remove`, `renew` | linearizable | linearizable on the primary | linearizable per key | what this proxy did, and what it heard from the others: mostly within a round trip, within five seconds after a partition |
//! | `list` | a snapshot | each key as it was at some moment of the call | the same | a snapshot of that |
//! | expiry | exact | to the millisecond on the server's clock | the same | exact where it was written, and heard elsewhere; for a silent proxy, the key's lifetime after it fell silent, at most five minutes |
//! | [`Change`]s | none: no other client writes | every change of another client; [`Change::Anything`] after a gap | none: what is cached must be short-lived | every key whose value changed because of another proxy; [`Change::Anything`] when the first proxy is heard or the last falls silent |

#[cfg(not(all(feature = "mesh", feature = "redis")))]
mod absent;
mod mesh;
pub mod records;
mod redis;
mod shared;

use std::time::Duration;

pub use sluicegate_core::cluster::keys::Claim;
use sluicegate_core::cluster::records::Unfit;

pub use mesh::{Mesh, MeshFigures, MeshOptions};
pub use redis::{Address, AddressError, Options, Redis, Server, Tls, Topology};
pub use shared::ClusterStore;

/// Keys with a lifetime.
pub trait Store: Send + Sync {
    /// Compare-and-set. Sets `key` to `value` if it has no value, or if its value is `expected` or already `value`.
    /// Returns the current value in any case. A claim that wins lives for `ttl`.
    fn claim(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// The value of a key, if its lifetime has not ended.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Sets a key for `ttl`, whatever its value was.
    fn put(
        &self,
        key: &str,
        value: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Every live key that begins with `prefix`, and its value, in no order.
    fn list(
        &self,
        prefix: &str,
    ) -> impl Future<Output = Result<Vec<(String, String)>, StoreError>> + Send;

    /// Gives each live key of `keys` a lifetime of `ttl` from now on, unless it already has longer. A store may skip a
    /// key that still has three quarters of that.
    fn renew(
        &self,
        keys: &[String],
        ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a key before its lifetime does, if its value is `value`.
    fn remove(&self, key: &str, value: &str)
    -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A change by another client of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Changes may have been missed: nothing that was read before is certain.
    Anything,
    /// The value of this key changed or is gone.
    Key(String),
}

/// Why a store call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The store answered, but not as expected.
    #[error("the store's answer makes no sense: {0}")]
    Broken(String),
    /// The store accepts no more.
    #[error("the store takes no more: {0}")]
    Full(String),
    /// The store cannot be reached, or took too long.
    #[error("the store is out of reach: {0}")]
    Unreachable(String),
}

impl From<Unfit> for StoreError {
    fn from(unfit: Unfit) -> Self {
        Self::Full(unfit.to_string())
    }
}
