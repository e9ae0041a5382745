//! What stands for the resolver in a build without it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Map, Value};

/// # Errors
/// Always: which build has a resolver.
pub(super) async fn addresses_by(_: &str, _: SocketAddr) -> Result<BTreeSet<IpAddr>, String> {
    Err(NO_RESOLVER.to_owned())
}

/// # Errors
/// Always: which build has a resolver.
pub(in crate::origin::sources) async fn targets(
    _: &str,
    _: Option<SocketAddr>,
    _: &Map<String, Value>,
) -> Result<Value, String> {
    Err(NO_RESOLVER.to_owned())
}

const NO_RESOLVER: &str =
    "this build asks no DNS server by itself; build it with its default features";
