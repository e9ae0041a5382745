//! What the proxies of a cluster agree on: keys with a lifetime. One trait, one contract (`tests/store`), and a store for
//! each way to run: [`Memory`] for a single proxy, [`Redis`] for several.
//!
//! What a store promises, operation by operation:
//!
//! | operation | memory | Redis, single or Sentinel | Redis Cluster |
//! | --- | --- | --- | --- |
//! | `claim` | atomic | atomic (one script); after a fail-over the last claims may be lost, and are claimed again | the same, per key |
//! | `get`, `put`, `remove`, `renew` | linearizable | linearizable on the primary | linearizable per key |
//! | `list` | a snapshot | each key as it was at some moment of the call | the same |
//! | expiry | exact | to the millisecond on the server's clock | the same |
//! | [`Change`]s | none: nobody else writes | every change of another client; [`Change::Anything`] after a gap | none: what is cached must be short-lived |

mod memory;
mod mesh;
mod redis;
mod shared;

use std::time::Duration;

pub use memory::{Kept, Memory};
pub use mesh::{Mesh, MeshFigures, MeshOptions};
pub use redis::{Address, AddressError, Options, Redis, Server, Tls, Topology};
pub use shared::Shared;

/// Keys with a lifetime.
pub trait Store: Send + Sync {
    /// Compare-and-set. Sets `key` to `value` if nothing stands there, if what stands is `expected`, or is `value`
    /// already; says what stands in any case. A claim that wins lives for `ttl`.
    fn claim(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<Claim, StoreError>> + Send;

    /// The value of a key that lives.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<String>, StoreError>> + Send;

    /// Sets a key for `ttl`, whatever stood there.
    fn put(
        &self,
        key: &str,
        value: &str,
        ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Every living key that begins with `prefix`, and its value, in no order.
    fn list(
        &self,
        prefix: &str,
    ) -> impl Future<Output = Result<Vec<(String, String)>, StoreError>> + Send;

    /// Gives each of `keys` that lives `ttl` from now, or longer if it has longer. A store may let one be that has three
    /// quarters of that.
    fn renew(
        &self,
        keys: &[String],
        ttl: Duration,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Ends a key before its time, if `value` is what stands there.
    fn remove(&self, key: &str, value: &str)
    -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What stands after a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The value that stands now: the claimant's, or that of whoever was first.
    pub value: String,
    /// Grows with every change of the key's value, so that an older claim can be told from a newer one.
    pub fence: u64,
    /// The claimant's value stands.
    pub won: bool,
}

/// Something another client of the store did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Changes may have been missed: nothing that was read before still holds.
    Anything,
    /// The value of this key is another, or gone.
    Key(String),
}

/// Why a store did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It answered, and not as a store does.
    #[error("the store's answer makes no sense: {0}")]
    Broken(String),
    /// It takes no more.
    #[error("the store takes no more: {0}")]
    Full(String),
    /// It cannot be reached, or took too long.
    #[error("the store is out of reach: {0}")]
    Unreachable(String),
}
