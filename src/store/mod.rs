//! What the proxies of a cluster agree on: keys with a lifetime. One trait, one contract (`tests/store`), and a store for
//! each way to run: [`Memory`] for a single proxy, [`Redis`] for several, and [`Mesh`] for several with nothing else.
//!
//! What a store promises, operation by operation:
//!
//! | operation | memory | Redis, single or Sentinel | Redis Cluster | mesh |
//! | --- | --- | --- | --- | --- |
//! | `claim` | atomic | atomic (one script); after a fail-over the last claims may be lost, and are claimed again | the same, per key | atomic among callers of one proxy; two proxies that do not see each other may both win, and end at one value: [the rule](sluicegate_core::cluster::mesh) |
//! | fences | grow while the key is remembered, for ever | grow, two days past the key | the same | grow, ten minutes past the key; equal for a claim that must not outrank one that lapsed in silence |
//! | `get`, `put`, `remove`, `renew` | linearizable | linearizable on the primary | linearizable per key | what this proxy did, and what it heard of the others: mostly within a round trip, within five seconds of any partition's end |
//! | `list` | a snapshot | each key as it was at some moment of the call | the same | a snapshot of that |
//! | expiry | exact | to the millisecond on the server's clock | the same | exact where it was written, heard of elsewhere; of a silent proxy, its lifetime after it fell silent, five minutes at most |
//! | [`Change`]s | none: nobody else writes | every change of another client; [`Change::Anything`] after a gap | none: what is cached must be short-lived | every key whose value changed because of another proxy; [`Change::Anything`] when the first is heard or the last falls silent |

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
