//! What the proxy knows: origins and placements, as typed tables. Placements live in a [store](crate::store).

pub mod bindings;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::attributes::{AttributeRule, Attributes};
use sluicegate_core::drain::{Cause, Drain, Duty, Left};
use sluicegate_core::fleet::{Change, Fleet, FleetFull, Member, Reconciled, Registered, State};
use sluicegate_core::health::Fault;
use sluicegate_core::origin::{Host, Origin, OriginId, Target};
use sluicegate_core::placement::{Standing, Usage};
use sluicegate_core::records::server_key;
use sluicegate_core::rtmp::message::EnhancedRtmp;
use sluicegate_core::stream::{Action, PlacementKey, Service};
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::bindings::Bindings;
use crate::metrics::{DutyLabel, Metrics, OriginLabel, OutcomeLabel, ReasonLabel, StateLabel};
use crate::placer::Placer;
use crate::reported::Reported;
use crate::store::{Claim, Memory};

/// The typed tables of one proxy.
pub struct Registry {
    // std mutexes: each is held for a few lines and never across an await. `fleet` is never held together with
    // another; `placements` is only changed while `holds` is held, so that the two always agree.
    fleet: Mutex<Fleet>,
    holds: Mutex<Holds>,
    placements: Memory,
    announcements: OnceLock<mpsc::Sender<Announcement>>,
    reported: Reported,
    bindings: Arc<Bindings>,
    placer: Placer,
    limits: ClaimLimits,
    attributes: Vec<AttributeRule>,
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
    by_origin: HashMap<OriginId, Usage>,
    by_source: HashMap<IpAddr, usize>,
    /// Streams without a session whose claims run out, each once.
    leaving: VecDeque<PlacementKey>,
}

#[derive(Debug, Default)]
struct Held {
    sessions: usize,
    /// Those of them that publish, or want to.
    publishers: usize,
    /// Publishers that an origin has taken.
    published: usize,
    origin: Option<OriginId>,
    /// Those of the sessions that were let in there.
    let_in: usize,
    /// In words, the decision the stream was placed by.
    why: Arc<str>,
    /// A session was joined, so that the claim outlives the sessions.
    joined: bool,
    /// When the last publisher that an origin had taken left.
    unpublished_at: Option<Instant>,
    /// It is among those that leave.
    leaving: bool,
    /// The source address whose play caused the claim; `None` once a publisher made it durable.
    claimed_by: Option<IpAddr>,
}

/// A session's share in a placement: while one lives, the claim stands.
#[derive(Debug)]
pub(crate) struct Hold {
    registry: Arc<Registry>,
    key: PlacementKey,
    action: Action,
    joined: AtomicBool,
    let_in: AtomicBool,
}

/// The origin to be claimed holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A placement as an explanation shows it.
#[derive(Debug, Clone)]
pub struct ClaimRow {
    /// The origin that holds the stream.
    pub origin: OriginId,
    /// Grows with every change of the claim.
    pub fence: u64,
    /// How long the stream has been there.
    pub age: Duration,
    /// In words, the decision it was placed by; empty if it was not placed here.
    pub why: Arc<str>,
    /// Sessions of it through this proxy.
    pub sessions: usize,
    /// Publishers of it through this proxy.
    pub publishers: usize,
}

/// What other proxies are to hear of an origin that registers here.
#[derive(Debug, Clone)]
pub enum Announcement {
    /// It left.
    Gone(Origin),
    /// It is here, and well.
    Here(Origin),
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
    pub fn new(fleet: Fleet, placer: Placer, limits: ClaimLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            fleet: Mutex::new(fleet),
            holds: Mutex::default(),
            placements: Memory::default(),
            announcements: OnceLock::new(),
            reported: Reported::default(),
            bindings: Arc::default(),
            placer,
            limits,
            attributes: Vec::new(),
            metrics,
        }
    }

    /// Writes what an operator says of origins over what they say of themselves.
    #[must_use]
    pub fn with_attributes(mut self, rules: Vec<AttributeRule>) -> Self {
        self.attributes = rules;
        self
    }

    /// An origin with what the operator says of it.
    fn described(&self, mut origin: Origin) -> Origin {
        for rule in &self.attributes {
            let names = [Some(origin.server.as_str()), origin.device_id.as_deref()];
            rule.apply(
                names.into_iter().flatten(),
                Arc::make_mut(&mut origin.attributes),
            );
        }
        origin
    }

    /// Calls that were answered.
    pub const fn bindings(&self) -> &Arc<Bindings> {
        &self.bindings
    }

    /// Where registrations are announced from now on.
    pub fn announce_to(&self, announcements: mpsc::Sender<Announcement>) {
        // Whoever comes second serves another store; there is one.
        let _ = self.announcements.set(announcements);
    }

    fn announce(&self, announcement: Announcement) {
        if let Some(announcements) = self.announcements.get() {
            // A full queue is a store that is out of reach, and the next heartbeat is near.
            let _ = announcements.try_send(announcement);
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
        self.announce(Announcement::Here(self.described(origin)));
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
            Change::New => "new",
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

    /// Puts an origin in that does not register itself.
    pub fn insert_permanent(&self, id: OriginId, origin: Origin) {
        let origin = self.described(origin);
        log_registration(&id, &origin, "permanent");
        lock(&self.fleet).insert_permanent(Instant::now(), id.clone(), origin);
        self.note_state(&id, "permanent");
    }

    /// Forgets an origin at its own wish; while sessions are on it, it drains first. False if it is not known.
    pub fn deregister(&self, id: &OriginId) -> bool {
        if let Some(member) = self.member(id) {
            self.announce(Announcement::Gone(member.origin));
        }
        let left = self.left(id).total();
        if left > 0 {
            return self.drain(id, None, Cause::Deregistered);
        }
        let removed = lock(&self.fleet).remove(id).is_some();
        if removed {
            self.metrics.transitions.gone(id, "deregistered");
            info!(origin = %id, "origin deregistered");
        }
        removed
    }

    /// Gives an origin no new streams from now on; past `patience` its sessions are to be ended one by one. False if
    /// it is not known.
    pub fn drain(&self, id: &OriginId, patience: Option<Duration>, cause: Cause) -> bool {
        let now = Instant::now();
        let known = {
            let mut fleet = lock(&self.fleet);
            fleet.member_mut(id).map(|member| {
                member.duty = Duty::Draining(Drain::begin(member.duty, now, patience, cause));
            })
        };
        if known.is_some() {
            self.note_drain("began");
            info!(origin = %id, cause = cause.as_str(), deadline = ?patience, "origin drains");
        }
        known.is_some()
    }

    /// Undoes a drain or a disabling. False if the origin is not known.
    pub fn undrain(&self, id: &OriginId) -> bool {
        let (known, drained) = {
            let mut fleet = lock(&self.fleet);
            let before = fleet.member(id).map(|member| member.duty);
            let drained = matches!(before, Some(Duty::Draining(_)));
            (fleet.set_duty(id, Duty::Active), drained)
        };
        if drained {
            self.note_drain("undone");
        }
        if known {
            info!(origin = %id, "origin takes new streams again");
        }
        known
    }

    /// Sends nobody new to an origin, not even players of the streams on it. False if it is not known.
    pub fn disable(&self, id: &OriginId) -> bool {
        let known = lock(&self.fleet).set_duty(id, Duty::Disabled);
        if known {
            info!(origin = %id, "origin disabled");
        }
        known
    }

    /// The sessions on an origin.
    pub fn left(&self, id: &OriginId) -> Left {
        let mut left = Left::default();
        for held in lock(&self.holds).streams.values() {
            if held.origin.as_ref() == Some(id) {
                left.publishers += held.publishers;
                left.players += held.sessions - held.publishers;
            }
        }
        left
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

    /// Every origin at this moment, for a stream played or published through `service`.
    pub fn survey(&self, service: Option<Service>) -> Vec<Standing> {
        let mut standing = lock(&self.fleet).survey(Instant::now(), service);
        let holds = lock(&self.holds);
        for one in &mut standing {
            if let Some(usage) = holds.by_origin.get(&one.origin) {
                one.usage = *usage;
            }
        }
        standing
    }

    /// How streams are placed.
    pub const fn placer(&self) -> &Placer {
        &self.placer
    }

    /// Notes what the sessions here carried, in kilobits per second for each origin, over the last second.
    pub fn measured(&self, kbps: &HashMap<OriginId, u64>) {
        let mut holds = lock(&self.holds);
        for (origin, usage) in &mut holds.by_origin {
            let seen = kbps.get(origin).copied().unwrap_or(0);
            // A mean over some seconds: one key frame is not a load.
            usage.kbps = (usage.kbps * 3 + seen) / 4;
        }
    }

    /// Notes that a session's dial failed, and how.
    pub fn failed(&self, id: &OriginId, fault: Fault, why: &str) {
        lock(&self.fleet).dial_failed(Instant::now(), id, fault, why);
    }

    /// Notes that a session's dial of a service over UDP failed, and how.
    pub fn datagrams_failed(&self, id: &OriginId, fault: Fault, why: &str) {
        lock(&self.fleet).datagrams_failed(Instant::now(), id, fault, why);
    }

    /// Notes what a probe said. True when that put the origin out, or brought it back.
    pub fn probed(&self, id: &OriginId, said: Result<(), (Fault, &str)>) -> bool {
        lock(&self.fleet).probed(Instant::now(), id, said)
    }

    /// The origins to probe now, see [`Fleet::probes_due`].
    pub fn probes_due(&self, every: Duration, reporting: bool) -> Vec<OriginId> {
        lock(&self.fleet).probes_due(Instant::now(), every, reporting)
    }

    /// For so long, other proxies could not tell of the origins that report to them.
    pub(crate) fn hears_only_itself(&self, lately: Duration) {
        lock(&self.fleet).hears_only_itself(lately);
    }

    /// Whether so many origins are silent at once that this proxy doubts its own network.
    pub fn suspects_itself(&self) -> bool {
        lock(&self.fleet).suspects_itself(Instant::now())
    }

    /// What is wanted of an origin; `None` when it is not known.
    pub fn duty(&self, id: &OriginId) -> Option<Duty> {
        lock(&self.fleet).member(id).map(|member| member.duty)
    }

    /// Whether an origin may be given work, and what is wanted of it; `None` when it is not known.
    pub(crate) fn state_and_duty(&self, id: &OriginId) -> Option<(State, Duty)> {
        lock(&self.fleet)
            .member(id)
            .map(|member| (member.state(Instant::now()), member.duty))
    }

    /// Notes that a session was joined there.
    pub fn answered(&self, id: &OriginId) {
        lock(&self.fleet).answered(Instant::now(), id);
        self.note_state(id, "answered");
    }

    /// Counts a change of state, if there was one.
    fn note_state(&self, id: &OriginId, reason: &'static str) {
        if let Some(state) = self.state(id) {
            self.metrics.transitions.now_in(id, state.as_str(), reason);
        }
    }

    /// Brings the gauge of each origin up to date; one scrape at a time calls it.
    pub(crate) fn settle(&self) {
        let now = Instant::now();
        let members: Vec<(OriginId, bool, Duty)> = lock(&self.fleet)
            .members()
            .map(|(id, member)| (id.clone(), member.state(now) == State::Up, member.duty))
            .collect();
        for duty in DUTIES {
            let count = members.iter().filter(|one| one.2.as_str() == duty).count();
            self.metrics
                .origins_by_duty
                .get_or_create(&DutyLabel { duty })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.metrics.origin_up.clear();
        for (id, up, _) in members {
            let label = OriginLabel {
                origin: id.as_str().to_owned(),
            };
            self.metrics.origin_up.get_or_create(&label).set(up.into());
        }
    }

    fn note_drain(&self, outcome: &'static str) {
        let drains = &self.metrics.drains;
        drains.get_or_create(&OutcomeLabel { outcome }).inc();
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

    /// An origin says that a stream is published on it. False when that cannot be kept.
    pub(crate) fn note_published(&self, key: &PlacementKey, origin: &OriginId) -> bool {
        self.reported.note(key, origin)
    }

    /// An origin says that a stream is published on it no more.
    pub(crate) fn note_unpublished(&self, key: &PlacementKey, origin: &OriginId) {
        self.reported.forget(key, origin);
    }

    /// Nobody says any more that a stream is published somewhere.
    pub(crate) fn forget_report(&self, key: &PlacementKey) {
        if let Some(origin) = self.reported.origin(key) {
            self.reported.forget(key, &origin);
        }
    }

    /// The streams that origins say are published on them.
    pub(crate) fn reported_keys(&self) -> Vec<PlacementKey> {
        self.reported.keys()
    }

    /// Where an origin says that a stream is published, if that origin is well and takes players.
    pub(crate) fn reported(&self, key: &PlacementKey) -> Option<OriginId> {
        let id = self.reported.origin(key)?;
        let fleet = lock(&self.fleet);
        let member = fleet.member(&id)?;
        let well = member.state(Instant::now()) != State::Failing && member.duty.takes_players();
        well.then_some(id)
    }

    /// The origin a stream is placed on, if its claim lives and the origin is known.
    pub fn standing(&self, key: &PlacementKey) -> Option<OriginId> {
        let id = OriginId::from(self.placements.get(key.as_str())?);
        lock(&self.fleet).member(&id).map(|_| id)
    }

    /// The raw value of a placement, though its origin may be gone: what a claim has to expect.
    pub(crate) fn claimed(&self, key: &PlacementKey) -> Option<OriginId> {
        self.placements.get(key.as_str()).map(OriginId::from)
    }

    /// Whether a placement is known.
    pub(crate) fn is_placed(&self, key: &str) -> bool {
        self.placements.get(key).is_some()
    }

    /// A stream with sessions here is placed at `origin`, whatever was known of it. Of others nothing has to be known.
    pub(crate) fn placed(&self, key: &PlacementKey, origin: &OriginId) {
        let mut holds = lock(&self.holds);
        if holds.streams.get(key).is_some_and(|held| held.sessions > 0) {
            self.placements.set(key.as_str(), origin.as_str(), IN_USE);
            holds.assign(key, origin);
        }
    }

    /// A stream is placed nowhere that is known of, unless sessions of it are here.
    pub(crate) fn unplaced(&self, key: &PlacementKey) {
        let holds = lock(&self.holds);
        // The one who asks is a session already.
        if holds
            .streams
            .get(key)
            .is_none_or(|held| held.sessions <= 1 && held.published == 0)
        {
            self.placements.release(key.as_str());
        }
    }

    /// Every stream with sessions here, where they are, and whether one publishes it. One that is still asking its
    /// origin counts: it may have been placed without the store, and nobody asks again when it is joined.
    pub(crate) fn held(&self) -> Vec<(PlacementKey, OriginId, bool)> {
        let holds = lock(&self.holds);
        let held = holds.streams.iter().filter(|(_, held)| held.sessions > 0);
        held.filter_map(|(key, held)| {
            Some((key.clone(), held.origin.clone()?, held.publishers > 0))
        })
        .collect()
    }

    /// Where the sessions of a stream are, if it has some here.
    pub(crate) fn holding(&self, key: &str) -> Option<(PlacementKey, OriginId)> {
        let holds = lock(&self.holds);
        let (key, held) = holds.streams.get_key_value(key)?;
        let origin = held.origin.clone().filter(|_| held.sessions > 0)?;
        Some((key.clone(), origin))
    }

    /// The origin whose record stands under `key`.
    pub(crate) fn keyed(&self, key: &str) -> Option<OriginId> {
        let fleet = lock(&self.fleet);
        let mut members = fleet.members();
        let its = |origin: &Origin| key.contains(&origin.server) && server_key(origin) == key;
        let (id, _) = members.find(|(_, member)| its(&member.origin))?;
        Some(id.clone())
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

    /// What is known of a placement, whether or not its origin is; for people.
    pub fn claim_of(&self, key: &PlacementKey) -> Option<ClaimRow> {
        let kept = self.placements.kept(key.as_str())?;
        let holds = lock(&self.holds);
        let held = holds.streams.get(key);
        Some(ClaimRow {
            origin: OriginId::from(kept.value),
            fence: kept.fence,
            age: kept.age,
            why: held.map_or_else(Arc::default, |held| Arc::clone(&held.why)),
            sessions: held.map_or(0, |held| held.sessions),
            publishers: held.map_or(0, |held| held.publishers),
        })
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
        if known {
            self.placements.renew(key.as_str(), IN_USE);
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
            let_in: AtomicBool::new(false),
        })
    }

    /// Whether a publisher of the stream is joined through this proxy. One that is still being set up is not.
    pub(crate) fn published_here(&self, key: &PlacementKey) -> bool {
        lock(&self.holds)
            .streams
            .get(key)
            .is_some_and(|held| held.published > 0)
    }

    /// Whether a publisher of the stream left an origin within `lately`: the origin may not have noticed yet.
    pub(crate) fn unpublished_within(&self, key: &PlacementKey, lately: Duration) -> bool {
        lock(&self.holds)
            .streams
            .get(key)
            .and_then(|held| held.unpublished_at)
            .is_some_and(|at| at.elapsed() < lately)
    }

    /// Whether the stream has sessions besides one.
    pub(crate) fn is_shared(&self, key: &PlacementKey) -> bool {
        lock(&self.holds)
            .streams
            .get(key)
            .is_some_and(|held| held.sessions > 1)
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

    /// Runs the clocks: forgets silent origins, drops claims that ran out, sets gauges. It costs what there is to do,
    /// not what is known: streams are walked only while an origin is not well or drains.
    pub fn sweep(&self) {
        let now = Instant::now();
        let (published, used) = self.occupied(now);
        let (gone, drained, states) = {
            let mut fleet = lock(&self.fleet);
            let gone = fleet.expire(now, |id| published.contains(id));
            let drained = fleet.remove_drained(|id| used.contains(id));
            let states: Vec<(OriginId, State)> = fleet
                .members()
                .map(|(id, member)| (id.clone(), member.state(now)))
                .collect();
            (gone, drained, states)
        };
        if !gone.is_empty() || !drained.is_empty() {
            let over = |id: &OriginId| gone.contains(id) || drained.contains(id);
            self.reported.keep(|id| !over(id));
        }
        for id in drained {
            self.note_drain("removed");
            info!(origin = %id, "origin drained: it is taken out");
        }
        for (id, state) in &states {
            // What happened by itself is time that passed: heartbeats that did not come, a back-off that is over.
            let reason = match state {
                State::Failing => "dial_failed",
                State::Suspect => "silent",
                State::Up => "back_off_over",
            };
            self.metrics.transitions.now_in(id, state.as_str(), reason);
        }
        for id in gone {
            self.metrics.transitions.gone(&id, "silent");
            warn!(origin = %id, "origin forgotten: it was silent for its time to live");
        }
        for state in State::ALL {
            let count = states.iter().filter(|(_, found)| *found == state).count();
            let label = StateLabel {
                state: state.as_str(),
            };
            self.metrics
                .origins
                .get_or_create(&label)
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let streams = self.forget_ended();
        self.metrics
            .streams
            .set(i64::try_from(streams).unwrap_or(i64::MAX));
    }

    /// The origins that something is published on through here, and those that have sessions, while there is one that
    /// may have to go.
    fn occupied(&self, now: Instant) -> (HashSet<OriginId>, HashSet<OriginId>) {
        let mut published = HashSet::new();
        let mut used = HashSet::new();
        if !lock(&self.fleet).may_lose_one(now) {
            return (published, used);
        }
        for held in lock(&self.holds).streams.values() {
            let Some(origin) = held.origin.as_ref().filter(|_| held.sessions > 0) else {
                continue;
            };
            if !used.contains(origin) {
                used.insert(origin.clone());
            }
            if held.published > 0 && !published.contains(origin) {
                published.insert(origin.clone());
            }
        }
        (published, used)
    }

    /// Forgets streams whose claims ran out; says how many are left. A claim that ran out counts for nobody, so that
    /// those which are not looked at this time do no harm.
    fn forget_ended(&self) -> usize {
        let mut locked = lock(&self.holds);
        let holds = &mut *locked;
        for _ in 0..holds.leaving.len().min(SWEPT_AT_ONCE) {
            let Some(key) = holds.leaving.pop_front() else {
                break;
            };
            let Some(held) = holds.streams.get_mut(&key) else {
                continue;
            };
            if held.sessions > 0 {
                held.leaving = false;
            } else if self.placements.get(key.as_str()).is_some() {
                holds.leaving.push_back(key);
            } else {
                self.placements.release(key.as_str());
                holds.forget(&key);
            }
        }
        self.placements.len()
    }

    /// Placements that name `from` now name `to`.
    fn rename(&self, from: &OriginId, to: &OriginId) {
        if from == to {
            return;
        }
        self.metrics.transitions.renamed(from, to);
        let mut holds = lock(&self.holds);
        self.placements.rename(from.as_str(), to.as_str());
        holds.rename(from, to);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("placer", &self.placer)
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
        let sessions = held.let_in;
        let usage = self.by_origin.entry(origin.clone()).or_default();
        usage.streams += 1;
        usage.sessions += sessions;
        self.release_origin(previous, sessions);
    }

    fn forget(&mut self, key: &PlacementKey) {
        if self.streams.get(key).is_none_or(|held| held.sessions > 0) {
            return;
        }
        let Some(held) = self.streams.remove(key) else {
            return;
        };
        self.release_origin(held.origin, held.let_in);
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
        if let Some(moved) = self.by_origin.remove(from) {
            let usage = self.by_origin.entry(to.clone()).or_default();
            usage.streams += moved.streams;
            usage.sessions += moved.sessions;
            usage.kbps += moved.kbps;
        }
    }

    /// Whether `origin` has room for one more session of the stream, and for the stream if that is not there yet.
    fn has_room(
        &self,
        key: &PlacementKey,
        origin: &OriginId,
        limits: &Attributes,
        let_in: bool,
    ) -> bool {
        let usage = self.by_origin.get(origin).copied().unwrap_or_default();
        let held = self.streams.get(key);
        let is_there = held.is_some_and(|held| held.origin.as_ref() == Some(origin));
        let coming = match held {
            Some(_) if is_there => usize::from(!let_in),
            held => held.map_or(0, |held| held.let_in) + usize::from(!let_in),
        };
        let within =
            |count: usize, most: Option<u32>| most.is_none_or(|most| count <= most as usize);
        (is_there || within(usage.streams + 1, limits.max_streams))
            && (coming == 0 || within(usage.sessions + coming, limits.max_sessions))
    }

    fn release_origin(&mut self, origin: Option<OriginId>, sessions: usize) {
        let Some(origin) = origin else { return };
        if let Some(usage) = self.by_origin.get_mut(&origin) {
            usage.streams -= 1;
            usage.sessions -= sessions;
            if usage.streams == 0 {
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
    /// Claims the stream for `origin`, from `expected`, and says what stands. A claim under a publisher that is joined
    /// through this proxy does not move: its players would be sent to where it is not. `why` is kept with a claim
    /// that changes.
    ///
    /// # Errors
    /// [`NoRoom`] when that would be more than the origin may hold. The count is taken where the claim is made, so
    /// that of two who come at once only one gets the last place.
    pub(crate) fn claim(
        &self,
        expected: Option<&OriginId>,
        origin: &OriginId,
        why: &str,
    ) -> Result<Claim, NoRoom> {
        let registry = &self.registry;
        let limits = (!registry.placer.rules.overflow)
            .then(|| {
                lock(&registry.fleet)
                    .member(origin)
                    .map(|member| Arc::clone(&member.origin.attributes))
            })
            .flatten();
        let mut holds = lock(&registry.holds);
        let let_in = self.let_in.load(Ordering::Relaxed);
        if let Some(limits) = limits
            && !holds.has_room(&self.key, origin, &limits, let_in)
        {
            return Err(NoRoom);
        }
        let held = holds.streams.get(&self.key);
        let published = held.is_some_and(|held| held.published > 0);
        let expected = if published {
            Some(origin.as_str())
        } else {
            expected.map(OriginId::as_str)
        };
        let claim = registry
            .placements
            .claim(self.key.as_str(), expected, origin.as_str(), IN_USE);
        let outcome = if claim.won { "won" } else { "lost" };
        let claims = &registry.metrics.claims;
        claims.get_or_create(&OutcomeLabel { outcome }).inc();
        if !claim.won {
            return Ok(claim);
        }
        let moves = held.is_none_or(|held| held.origin.as_ref() != Some(origin));
        holds.assign(&self.key, origin);
        if moves {
            registry.placer.turns.fetch_add(1, Ordering::Relaxed);
            if let Some(held) = holds.streams.get_mut(&self.key) {
                held.why = why.into();
            }
        }
        if !self.let_in.swap(true, Ordering::Relaxed) {
            if let Some(held) = holds.streams.get_mut(&self.key) {
                held.let_in += 1;
            }
            if let Some(usage) = holds.by_origin.get_mut(origin) {
                usage.sessions += 1;
            }
        }
        Ok(claim)
    }

    /// `origin` took the session: its claim will outlive it, and a publisher makes it durable.
    ///
    /// # Errors
    /// Where the stream is now, when the claim moved while the origin was asked.
    pub(crate) fn join(&self, origin: &OriginId) -> Result<(), OriginId> {
        let registry = &self.registry;
        let mut holds = lock(&registry.holds);
        let id = origin.as_str();
        let claim = registry
            .placements
            .claim(self.key.as_str(), Some(id), id, IN_USE);
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
        let mut locked = lock(&registry.holds);
        let holds = &mut *locked;
        let Some(held) = holds.streams.get_mut(&self.key) else {
            return;
        };
        held.sessions -= 1;
        if self.let_in.load(Ordering::Relaxed) {
            held.let_in -= 1;
            if let Some(usage) = held
                .origin
                .as_ref()
                .and_then(|origin| holds.by_origin.get_mut(origin))
            {
                usage.sessions -= 1;
            }
        }
        if self.action == Action::Publish {
            held.publishers -= 1;
            if self.joined.load(Ordering::Relaxed) {
                held.published -= 1;
                held.unpublished_at = Some(Instant::now());
            }
        }
        if held.sessions > 0 {
            return;
        }
        if held.joined {
            // The claim lives on for its lifetime from here, so that a reconnecting encoder finds its origin.
            registry
                .placements
                .renew(self.key.as_str(), registry.limits.lifetime);
            if !held.leaving {
                held.leaving = true;
                holds.leaving.push_back(self.key.clone());
            }
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

/// What may be wanted of an origin, as [`Duty::as_str`] has it.
const DUTIES: [&str; 3] = ["active", "draining", "disabled"];
/// How long a claim lives that a session holds: longer than any session. What ends the last one says how long is left.
const IN_USE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Streams without a session that one sweep looks at: a few milliseconds.
const SWEPT_AT_ONCE: usize = 10_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
