//! What the proxy knows: origins and placements, as typed tables. Placements live in a [store](crate::store).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::fleet::{Change, Fleet, FleetFull, Member, Registered, State};
use sluicegate_core::origin::{Origin, OriginId, Target};
use sluicegate_core::policy::Policy;
use sluicegate_core::rtmp::message::EnhancedRtmp;
use sluicegate_core::stream::{Action, PlacementKey, Service};
use tracing::{info, warn};

use crate::metrics::{Metrics, ReasonLabel, StateLabel};
use crate::store::{Claim, Memory};

/// The typed tables of one proxy.
pub struct Registry {
    // std mutexes: each is held for a few lines and never across an await. `fleet` is never held together with
    // another; `placements` is only changed while `holds` is held, so that the two always agree.
    fleet: Mutex<Fleet>,
    holds: Mutex<Holds>,
    placements: Memory,
    policy: Box<dyn Policy>,
    limits: ClaimLimits,
    metrics: Arc<Metrics>,
}

/// How long claims live, and how many one client may cause.
#[derive(Debug, Clone)]
pub struct ClaimLimits {
    /// A claim ends this long after its last session.
    pub lifetime: Duration,
    /// Claims without a publisher that one source address may hold.
    pub per_source: usize,
}

/// Which streams have sessions here, and where.
#[derive(Debug, Default)]
struct Holds {
    streams: HashMap<PlacementKey, Held>,
    by_origin: HashMap<OriginId, usize>,
    by_source: HashMap<IpAddr, usize>,
}

#[derive(Debug, Default)]
struct Held {
    sessions: usize,
    /// Those of them that publish, or want to.
    publishers: usize,
    /// Publishers that an origin has taken.
    published: usize,
    origin: Option<OriginId>,
    /// A session was joined, so that the claim outlives the sessions.
    joined: bool,
    /// The source address whose play caused the claim; `None` once a publisher made it durable.
    claimed_by: Option<IpAddr>,
}

/// A session's share in a placement: while one lives, the claim is renewed.
#[derive(Debug)]
pub(crate) struct Hold {
    registry: Arc<Registry>,
    key: PlacementKey,
    action: Action,
    joined: AtomicBool,
}

/// One source address made too many claims that no publisher confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyClaims;

/// A placement as the API shows it.
#[derive(Debug, Clone)]
pub struct PlacementRow {
    /// The stream, as its key.
    pub key: String,
    /// The origin that holds it.
    pub origin: String,
    /// Sessions of it through this proxy.
    pub sessions: usize,
    /// Publishers of it through this proxy.
    pub publishers: usize,
}

impl Registry {
    /// Empty tables.
    pub fn new(
        fleet: Fleet,
        policy: Box<dyn Policy>,
        limits: ClaimLimits,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            fleet: Mutex::new(fleet),
            holds: Mutex::default(),
            placements: Memory::default(),
            policy,
            limits,
            metrics,
        }
    }

    /// Takes a registration. Placements follow an origin that gets another name.
    ///
    /// # Errors
    /// [`FleetFull`] when a newcomer does not fit.
    pub fn register(&self, origin: Origin) -> Result<Registered, FleetFull> {
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
            Change::New => "new",
            Change::Restarted { previous } => {
                self.rename(previous, &registered.id);
                "restarted"
            }
        };
        self.metrics
            .registrations
            .get_or_create(&ReasonLabel { reason })
            .inc();
        if registered.change == Change::Heartbeat {
            tracing::debug!(origin = %registered.id, "heartbeat");
        } else {
            log_registration(&registered.id, &told, reason);
        }
        Ok(registered)
    }

    /// Puts an origin in that does not register itself.
    pub fn insert_permanent(&self, id: OriginId, origin: Origin) {
        log_registration(&id, &origin, "permanent");
        lock(&self.fleet).insert_permanent(Instant::now(), id, origin);
    }

    /// Forgets an origin at its own wish. Its sessions go on.
    pub fn deregister(&self, id: &OriginId) -> bool {
        let removed = lock(&self.fleet).remove(id).is_some();
        if removed {
            info!(origin = %id, "origin deregistered");
        }
        removed
    }

    /// The origins as they stand now.
    pub fn origins(&self) -> Vec<(OriginId, Member)> {
        lock(&self.fleet)
            .members()
            .map(|(id, member)| (id.clone(), member.clone()))
            .collect()
    }

    /// Whether an origin may be given work; `None` when it is not known.
    pub fn state(&self, id: &OriginId) -> Option<State> {
        lock(&self.fleet).state(Instant::now(), id)
    }

    /// Where an origin serves `service`.
    pub fn target(&self, id: &OriginId, service: Service) -> Option<Target> {
        lock(&self.fleet).member(id)?.origin.target(service)
    }

    /// One origin.
    pub fn member(&self, id: &OriginId) -> Option<Member> {
        lock(&self.fleet).member(id).cloned()
    }

    /// The registered origin that serves `service` at `target`, written `host:port`.
    pub fn at(&self, service: Service, target: &str) -> Option<OriginId> {
        lock(&self.fleet).at(service, target).cloned()
    }

    /// Every origin that may take the stream, best first.
    pub fn ranked(&self, key: &PlacementKey, service: Service) -> Vec<OriginId> {
        let mut candidates = lock(&self.fleet).candidates(Instant::now(), service);
        {
            let holds = lock(&self.holds);
            for candidate in &mut candidates {
                candidate.streams = holds.by_origin.get(&candidate.origin).copied().unwrap_or(0);
            }
        }
        self.policy.rank(key, &mut candidates);
        candidates
            .into_iter()
            .map(|candidate| candidate.origin)
            .collect()
    }

    /// The policy's name.
    pub fn policy(&self) -> &'static str {
        self.policy.name()
    }

    /// Notes that a dial failed.
    pub fn failed(&self, id: &OriginId) {
        lock(&self.fleet).failed(Instant::now(), id);
    }

    /// Notes that a dial, or a probe, was answered.
    pub fn answered(&self, id: &OriginId) {
        lock(&self.fleet).answered(Instant::now(), id);
    }

    /// Notes that an origin wants its commands one by one.
    pub fn note_step_by_step(&self, id: &OriginId) {
        if let Some(member) = lock(&self.fleet).member_mut(id) {
            member.step_by_step = true;
        }
    }

    /// Notes what an origin's `connect` answer says of enhanced RTMP.
    pub fn note_enhanced(&self, id: &OriginId, enhanced: EnhancedRtmp) {
        if let Some(member) = lock(&self.fleet).member_mut(id) {
            member.enhanced = Some(enhanced);
        }
    }

    /// What every live origin is known to offer of enhanced RTMP.
    pub fn enhanced(&self) -> Option<EnhancedRtmp> {
        lock(&self.fleet).enhanced(Instant::now())
    }

    /// The origin a stream is placed on, if its claim lives and the origin is known.
    pub fn standing(&self, key: &PlacementKey) -> Option<OriginId> {
        let id = OriginId::from(self.placements.get(key.as_str())?);
        lock(&self.fleet).member(&id).map(|_| id)
    }

    /// Claims a stream for `origin`, from `expected`, and says what stands. A claim under a publisher that is joined
    /// through this proxy does not move: its players would be sent to where it is not.
    pub fn claim(
        &self,
        key: &PlacementKey,
        expected: Option<&OriginId>,
        origin: &OriginId,
    ) -> Claim {
        let expected = expected.map(OriginId::as_str);
        let mut holds = lock(&self.holds);
        let published = holds
            .streams
            .get(key)
            .is_some_and(|held| held.published > 0);
        let expected = if published {
            Some(origin.as_str())
        } else {
            expected
        };
        let claim = self.placements.claim(
            key.as_str(),
            expected,
            origin.as_str(),
            self.lifetime_in_use(),
        );
        if claim.won {
            holds.assign(key, origin);
        }
        claim
    }

    /// The raw value of a placement, though its origin may be gone: what a claim has to expect.
    pub(crate) fn claimed(&self, key: &PlacementKey) -> Option<OriginId> {
        self.placements.get(key.as_str()).map(OriginId::from)
    }

    /// Joins a session to the placement of its stream.
    pub(crate) fn hold(
        self: &Arc<Self>,
        key: &PlacementKey,
        action: Action,
        source: IpAddr,
    ) -> Result<Hold, TooManyClaims> {
        let mut holds = lock(&self.holds);
        let known = holds.streams.contains_key(key);
        let source = network_of(source);
        if !known && action == Action::Play {
            let claims = holds.by_source.get(&source).copied().unwrap_or(0);
            if claims >= self.limits.per_source {
                return Err(TooManyClaims);
            }
            holds.by_source.insert(source, claims + 1);
        }
        let held = holds.streams.entry(key.clone()).or_default();
        held.sessions += 1;
        match action {
            Action::Play if !known => held.claimed_by = Some(source),
            Action::Play => {}
            Action::Publish => held.publishers += 1,
        }
        Ok(Hold {
            registry: Arc::clone(self),
            key: key.clone(),
            action,
            joined: AtomicBool::new(false),
        })
    }

    /// Whether a publisher of the stream is joined through this proxy. One that is still being set up is not.
    pub(crate) fn published_here(&self, key: &PlacementKey) -> bool {
        lock(&self.holds)
            .streams
            .get(key)
            .is_some_and(|held| held.published > 0)
    }

    /// Source addresses with claims that no publisher confirmed.
    pub fn claiming_sources(&self) -> usize {
        lock(&self.holds).by_source.len()
    }

    /// Placements with their sessions here, in the order of their keys.
    pub fn placements(&self) -> Vec<PlacementRow> {
        let mut rows: Vec<PlacementRow> = self
            .placements
            .list()
            .into_iter()
            .map(|(key, origin)| PlacementRow {
                key,
                origin,
                sessions: 0,
                publishers: 0,
            })
            .collect();
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let holds = lock(&self.holds);
        for (key, held) in &holds.streams {
            if let Ok(at) = rows.binary_search_by(|row| row.key.as_str().cmp(key.as_str()))
                && let Some(row) = rows.get_mut(at)
            {
                row.sessions = held.sessions;
                row.publishers = held.publishers;
            }
        }
        rows
    }

    /// Runs the clocks: forgets silent origins, renews claims in use, drops those that are not, sets gauges.
    pub fn sweep(&self) {
        let now = Instant::now();
        let published: HashSet<OriginId> = {
            let holds = lock(&self.holds);
            holds
                .streams
                .values()
                .filter(|held| held.published > 0)
                .filter_map(|held| held.origin.clone())
                .collect()
        };
        let (gone, states) = {
            let mut fleet = lock(&self.fleet);
            let gone = fleet.expire(now, |id| published.contains(id));
            let states: Vec<State> = fleet
                .members()
                .map(|(_, member)| member.state(now))
                .collect();
            (gone, states)
        };
        for id in gone {
            warn!(origin = %id, "origin forgotten: it was silent for its time to live");
        }
        for state in State::ALL {
            let count = states.iter().filter(|found| **found == state).count();
            let label = StateLabel {
                state: state.as_str(),
            };
            self.metrics
                .origins
                .get_or_create(&label)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let streams = {
            let mut holds = lock(&self.holds);
            for (key, _) in holds.streams.iter().filter(|(_, held)| held.sessions > 0) {
                self.placements.renew(key.as_str(), self.lifetime_in_use());
            }
            let streams = self.placements.sweep();
            let over = |(key, held): &(&PlacementKey, &Held)| {
                held.sessions == 0 && self.placements.get(key.as_str()).is_none()
            };
            let over: Vec<PlacementKey> = holds
                .streams
                .iter()
                .filter(over)
                .map(|(key, _)| key.clone())
                .collect();
            for key in &over {
                holds.forget(key);
            }
            streams
        };
        self.metrics
            .streams
            .set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    /// The lifetime of a claim that a session holds: the sweep renews it well before it ends, however short the
    /// lifetime after the last session is set.
    fn lifetime_in_use(&self) -> Duration {
        self.limits.lifetime.max(IN_USE)
    }

    /// Placements that name `from` now name `to`.
    fn rename(&self, from: &OriginId, to: &OriginId) {
        if from == to {
            return;
        }
        let mut holds = lock(&self.holds);
        for (key, value) in self.placements.list() {
            if value == from.as_str() {
                self.placements.claim(
                    &key,
                    Some(from.as_str()),
                    to.as_str(),
                    self.lifetime_in_use(),
                );
            }
        }
        holds.rename(from, to);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("policy", &self.policy.name())
            .finish_non_exhaustive()
    }
}

impl Holds {
    fn assign(&mut self, key: &PlacementKey, origin: &OriginId) {
        let Some(held) = self.streams.get_mut(key) else {
            return;
        };
        let previous = held.origin.replace(origin.clone());
        if previous.as_ref() == Some(origin) {
            return;
        }
        *self.by_origin.entry(origin.clone()).or_default() += 1;
        self.release_origin(previous);
    }

    fn forget(&mut self, key: &PlacementKey) {
        if self.streams.get(key).is_none_or(|held| held.sessions > 0) {
            return;
        }
        let Some(held) = self.streams.remove(key) else {
            return;
        };
        self.release_origin(held.origin);
        if let Some(source) = held.claimed_by {
            self.release_source(source);
        }
    }

    fn rename(&mut self, from: &OriginId, to: &OriginId) {
        for held in self.streams.values_mut() {
            if held.origin.as_ref() == Some(from) {
                held.origin = Some(to.clone());
            }
        }
        if let Some(count) = self.by_origin.remove(from) {
            *self.by_origin.entry(to.clone()).or_default() += count;
        }
    }

    fn release_origin(&mut self, origin: Option<OriginId>) {
        let Some(origin) = origin else { return };
        if let Some(count) = self.by_origin.get_mut(&origin) {
            *count -= 1;
            if *count == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }

    fn release_source(&mut self, source: IpAddr) {
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl Hold {
    /// `origin` took the session: its claim will outlive it, and a publisher makes it durable.
    ///
    /// # Errors
    /// Where the stream is now, when the claim moved while the origin was asked.
    pub(crate) fn join(&self, origin: &OriginId) -> Result<(), OriginId> {
        let registry = &self.registry;
        let mut holds = lock(&registry.holds);
        let id = origin.as_str();
        let claim =
            registry
                .placements
                .claim(self.key.as_str(), Some(id), id, registry.lifetime_in_use());
        if !claim.won {
            return Err(OriginId::from(claim.value));
        }
        let Some(held) = holds.streams.get_mut(&self.key) else {
            return Ok(());
        };
        if self.joined.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        held.joined = true;
        if self.action == Action::Publish {
            held.published += 1;
            if let Some(source) = held.claimed_by.take() {
                holds.release_source(source);
            }
        }
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let registry = &self.registry;
        let mut holds = lock(&registry.holds);
        let Some(held) = holds.streams.get_mut(&self.key) else {
            return;
        };
        held.sessions -= 1;
        if self.action == Action::Publish {
            held.publishers -= 1;
            held.published -= usize::from(self.joined.load(Ordering::Relaxed));
        }
        if held.sessions > 0 {
            return;
        }
        if held.joined {
            // The claim lives on for its lifetime from here, so that a reconnecting encoder finds its origin.
            registry
                .placements
                .renew(self.key.as_str(), registry.limits.lifetime);
        } else {
            // Nobody ever got the stream there: the claim says nothing, and would count against its source.
            registry.placements.release(self.key.as_str());
            holds.forget(&self.key);
        }
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

/// The address whose claims are counted together: an IPv6 subscriber has a whole /64.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// A few sweeps, which come every second.
const IN_USE: Duration = Duration::from_secs(10);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
