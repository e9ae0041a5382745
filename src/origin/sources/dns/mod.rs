//! Lists of origins in DNS: the addresses of a name, and the targets of a service (RFC 2782).
//!
//! Without the feature `dns`, only the system's resolver is asked, which knows addresses: the demo has no list of origins, and
//! is built sooner without a resolver of its own.

#[cfg(not(feature = "dns"))]
mod absent;
#[cfg(feature = "dns")]
mod asked;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use tokio::net::lookup_host;

#[cfg(not(feature = "dns"))]
use absent as asked;
pub(super) use asked::targets;

/// Every address of a name, by `server`; else by the resolver of the system, which knows `/etc/hosts` too.
pub(super) async fn addresses(name: &str, server: Option<SocketAddr>) -> Result<Value, String> {
    let found: BTreeSet<IpAddr> = match server {
        Some(server) => asked::addresses_by(name, server).await?,
        None => lookup_host((name, 0))
            .await
            .map_err(|error| error.to_string())?
            .map(|address| address.ip().to_canonical())
            .collect(),
    };
    Ok(json!(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_machine_has_an_address() {
        let found = addresses("localhost", None)
            .await
            .expect("every machine has it");
        let found = found.as_array().expect("a list");
        assert!(
            found.contains(&json!("127.0.0.1")) || found.contains(&json!("::1")),
            "{found:?}"
        );
    }
}
