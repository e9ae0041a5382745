//! Which origins there are: what registers, what is listed, and what leaves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::cluster::srs::server_key;
use sluicegate_core::fleet::drain::{Cause, Duty};
use sluicegate_core::fleet::origin::{Host, Origin, OriginId};
use sluicegate_core::fleet::{Change, FleetFull, Reconciled, Registered};
use sluicegate_core::stream::Service;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Registry, lock};
use crate::metrics::ReasonLabel;

impl Registry {
    /// Where the origins that register here are announced from now on.
    pub fn announce_to(&self, announcements: mpsc::Sender<Origin>) {
        // A second caller would serve another store; there is one.
        let _ = self.announcements.set(announcements);
    }

    fn announce(&self, origin: Origin) {
        if let Some(announcements) = self.announcements.get() {
            // A full queue is a store that is out of reach, and the next heartbeat is near.
            let _ = announcements.try_send(origin);
        }
    }

    /// Takes the registration of an origin that registered with another proxy.
    pub fn hear_of(&self, origin: Origin) {
        if let Err(full) = self.take(origin) {
            warn!(%full, "an origin that another proxy knows does not fit in");
        }
    }

    /// Takes a registration, and tells the other proxies.
    ///
    /// # Errors
    /// [`FleetFull`] when a newcomer does not fit.
    pub fn register(&self, origin: Origin) -> Result<Registered, FleetFull> {
        let registered = self.take(origin.clone())?;
        self.announce(self.described(origin));
        Ok(registered)
    }

    /// Takes a registration. Placements follow an origin that gets another name.
    ///
    /// # Errors
    /// [`FleetFull`] when a newcomer does not fit.
    fn take(&self, origin: Origin) -> Result<Registered, FleetFull> {
        let origin = self.described(origin);
        let told = origin.clone();
        let registered = lock(&self.fleet).register(Instant::now(), origin)?;
        let reason = match &registered.change {
            Change::Collision { renamed, other } => {
                if let Some((from, to)) = renamed {
                    self.rename(from, to);
                }
                warn!(
                    server = told.server,
                    here = %told.ip,
                    there = other,
                    "two live origins use the same server id, as copied disks do; both stand under longer ids. \
                     Delete the file that SRS keeps its id in on one of them and restart it"
                );
                "collision"
            }
            Change::Heartbeat => "heartbeat",
            Change::New => {
                self.tell_of_its_other_ids(&registered.id);
                "new"
            }
            Change::Restarted { previous } => {
                self.rename(previous, &registered.id);
                // What was published on the old process is not on the new one.
                self.reported.keep(|origin| origin != previous);
                "restarted"
            }
        };
        self.metrics
            .registrations
            .get_or_create(&ReasonLabel { reason })
            .inc();
        self.note_state(&registered.id, reason);
        if registered.change == Change::Heartbeat {
            tracing::debug!(origin = %registered.id, "heartbeat");
        } else {
            log_registration(&registered.id, &told, reason);
        }
        Ok(registered)
    }

    /// Warns of a server that is known under other ids: it counts once for each, until all but one of them fall silent.
    fn tell_of_its_other_ids(&self, id: &OriginId) {
        let others = lock(&self.fleet).at_the_address_of(id);
        if let Some(first) = others.first() {
            warn!(
                origin = %id,
                other = %first,
                others = others.len(),
                "an origin of another id is at the same address and port: if they are one server, its load and its limits \
                 count twice. Let it keep its id"
            );
        }
    }

    /// Notes that nobody accepts a connection where an origin is registered.
    pub(crate) fn note_absent(&self, id: &OriginId) {
        lock(&self.fleet).note_absent(id);
    }

    /// The origins with the server id of another at another address, that are not known to be silent; at most four.
    pub(crate) fn namesakes_elsewhere(&self, origin: &Origin) -> Vec<OriginId> {
        let fleet = lock(&self.fleet);
        fleet.namesakes_elsewhere(Instant::now(), origin)
    }

    /// Puts an origin in that does not register itself.
    pub fn insert_permanent(&self, id: OriginId, origin: Origin) {
        let origin = self.described(origin);
        log_registration(&id, &origin, "permanent");
        lock(&self.fleet).insert_permanent(Instant::now(), id.clone(), origin);
        self.note_state(&id, "permanent");
    }

    /// Forgets an origin at an operator's wish; while sessions are on it, it drains first. False if it is not known.
    pub fn deregister(&self, id: &OriginId) -> bool {
        if self.left(id).total() > 0 {
            return self.drain(id, None, Cause::Deregistered);
        }
        let removed = lock(&self.fleet).remove(id).is_some();
        if removed {
            self.metrics.note_origin_gone(id, "deregistered");
            info!(origin = %id, "origin deregistered");
        }
        removed
    }

    /// The same while other proxies may have sessions on it: it drains, and stays for `at_least` this long.
    pub(crate) fn deregister_after(&self, id: &OriginId, at_least: Duration) {
        if let Some(until) = Instant::now().checked_add(at_least) {
            lock(&self.kept).insert(id.clone(), until);
        }
        let leaves = |duty| matches!(duty, Some(Duty::Draining(drain)) if drain.cause == Cause::Deregistered);
        if !leaves(self.duty(id)) {
            self.drain(id, None, Cause::Deregistered);
        }
    }

    /// Takes the whole list of a source of origins.
    pub fn reconcile(&self, source: &Arc<str>, listed: Vec<(OriginId, Origin)>) -> Reconciled {
        let listed: Vec<(OriginId, Origin)> = listed
            .into_iter()
            .map(|(id, origin)| (id, self.described(origin)))
            .collect();
        let documents: HashMap<OriginId, Origin> = listed.iter().cloned().collect();
        let done = lock(&self.fleet).reconcile(Instant::now(), source, listed);
        for id in &done.added {
            if let Some(origin) = documents.get(id) {
                log_registration(id, origin, "listed");
            }
            self.tell_of_its_other_ids(id);
        }
        for id in &done.returned {
            self.note_drain("undone");
            info!(origin = %id, source = %source, "origin is named again by its source");
        }
        for id in &done.gone {
            self.note_drain("began");
            warn!(origin = %id, source = %source, "origin is gone from its source and drains");
        }
        for (listed, registered) in &done.superseded {
            info!(origin = %listed, now = %registered, "origin registers itself by now");
            self.rename(listed, registered);
        }
        for id in &done.refused {
            warn!(origin = %id, source = %source, "origin not taken: its name is in use, or origins.max is reached");
        }
        done
    }

    /// The registered origin that has this server id and, where one is given, this service id, at `address`.
    pub fn reporter(&self, server: &str, service: &str, address: IpAddr) -> Option<OriginId> {
        let address = Host::from(address);
        lock(&self.fleet)
            .members()
            .find(|(_, member)| {
                let origin = &member.origin;
                !member.permanent
                    && origin.server == server
                    && (service.is_empty() || origin.service == service)
                    && origin.ip == address
            })
            .map(|(id, _)| id.clone())
    }

    /// The origin whose record stands under `key`.
    pub(crate) fn keyed(&self, key: &str) -> Option<OriginId> {
        let fleet = lock(&self.fleet);
        let mut members = fleet.members();
        let its = |origin: &Origin| key.contains(&origin.server) && server_key(origin) == key;
        let (id, _) = members.find(|(_, member)| its(&member.origin))?;
        Some(id.clone())
    }

    /// Whether an origin has this server id.
    pub(crate) fn knows_server(&self, server: &str) -> bool {
        let fleet = lock(&self.fleet);
        let mut members = fleet.members();
        members.any(|(_, member)| member.origin.server == server)
    }

    /// The origin that another proxy knows by its `server`, `service` and `pid`; one that was restarted since is still
    /// the same.
    pub(crate) fn named(&self, (server, service, pid): (&str, &str, &str)) -> Option<OriginId> {
        let fleet = lock(&self.fleet);
        let same = || {
            fleet
                .members()
                .filter(|(_, member)| member.origin.server == server)
        };
        let exact =
            same().find(|(_, member)| member.origin.service == service && member.origin.pid == pid);
        let only = || same().next().filter(|_| same().count() == 1);
        exact.or_else(only).map(|(id, _)| id.clone())
    }
}

/// The words upstream's scripts look for in the log: `Register SRS media server`, `device=`.
fn log_registration(id: &OriginId, origin: &Origin, change: &str) {
    let list = |service: Service| {
        let ports: Vec<String> = origin
            .endpoints
            .of(service)
            .iter()
            .map(|endpoint| endpoint.port.to_string())
            .collect();
        ports.join(",")
    };
    info!(
        origin = %id,
        change,
        "Register SRS media server, ip={}, id={}, pid={}, server={}, service={}, device={}, rtmp=[{}], http=[{}], \
         api=[{}], srt=[{}], rtc=[{}], rtsp=[{}]",
        origin.ip,
        id,
        origin.pid,
        origin.server,
        origin.service,
        origin.device_id.as_deref().unwrap_or_default(),
        list(Service::Rtmp),
        list(Service::Http),
        list(Service::Api),
        list(Service::Srt),
        list(Service::Rtc),
        list(Service::Rtsp),
    );
}
