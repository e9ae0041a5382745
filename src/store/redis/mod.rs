//! The store of several proxies: Redis or Valkey, as a single server, with Sentinel, or as a Cluster.
//!
//! A call never waits for a connection. While there is none, calls fail at once, and a keeper in the background
//! restores the connection. A call that takes too long fails, and its connection is given up. Changes by others are
//! learned through RESP3 client tracking, where the server offers it.
//!
//! Without the feature `redis`, addresses are still read, and none can be opened: the demo needs no Redis, and is built
//! sooner without its client.

#[cfg(not(feature = "redis"))]
mod absent;
mod address;
#[cfg(feature = "redis")]
mod client;
#[cfg(feature = "redis")]
mod keeper;
#[cfg(feature = "redis")]
mod link;

use std::time::Duration;

#[cfg(not(feature = "redis"))]
pub use absent::Redis;
pub use address::{Address, AddressError, Server, Tls, Topology};
#[cfg(feature = "redis")]
pub use client::Redis;

/// How a [`Redis`] is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// The prefix of every key, which a colon follows; may be empty.
    pub prefix: String,
    /// How long a call may take.
    pub time_limit: Duration,
    /// Prefixes of keys that are watched for changes by others.
    pub watched: Vec<String>,
}
