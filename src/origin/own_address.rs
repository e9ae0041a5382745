//! An origin that names itself in a redirect: it knows its own address, and its operator may have registered its name, or the
//! reverse.

use std::net::SocketAddr;

use sluicegate_core::fleet::origin::{Host, Target, Transport};
use tokio::time::timeout;

use super::attempt::Attempt;
use super::connect::Connector;
use crate::registry::Registry;

impl Connector {
    /// `place` (`host:port`), which the origin of `attempt` names, in the spelling in which that origin is registered, if it is
    /// there. Any other place stays as it is.
    pub(crate) async fn as_registered(
        &self,
        registry: &Registry,
        attempt: &Attempt,
        place: String,
    ) -> String {
        if registry.at(attempt.service, &place).is_some() {
            return place;
        }
        let own = self.own_target(registry, attempt, &place);
        match timeout(attempt.time_limit, own).await {
            Ok(Some(target)) => target.to_string(),
            Ok(None) | Err(_) => place,
        }
    }

    /// The endpoint of the origin of `attempt` that has an address in common with `place`, and its port.
    async fn own_target(
        &self,
        registry: &Registry,
        attempt: &Attempt,
        place: &str,
    ) -> Option<Target> {
        let (host, port) = place.rsplit_once(':')?;
        let (host, port) = (host.parse().ok()?, port.parse().ok()?);
        let targets = registry.of_member(&attempt.origin, |member| {
            member.origin.targets_on(attempt.service, port)
        })?;
        if targets.is_empty() {
            return None;
        }
        let there = self.addresses_on(host, port).await;
        for (target, hosts) in targets {
            for host in hosts {
                let own = self.addresses_on(host, port).await;
                if own.iter().any(|address| there.contains(address)) {
                    return Some(target);
                }
            }
        }
        None
    }

    /// None where the rules permit none: nobody goes there.
    async fn addresses_on(&self, host: Host, port: u16) -> Vec<SocketAddr> {
        let target = Target::plain(host, port);
        let found = self.addresses(&target, Transport::Tcp).await;
        found.unwrap_or_default()
    }
}
