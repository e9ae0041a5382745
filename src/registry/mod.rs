//! What the proxy knows: origins and placements, as typed tables.

pub mod bindings;
mod hold;
mod origins;
mod placements;
mod playlists;
mod registrations;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use sluicegate_core::fleet::attributes::AttributeRule;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::fleet::origin::{Origin, OriginId};
use sluicegate_core::fleet::{Fleet, State};
use sluicegate_core::place::placement::takers;
use sluicegate_core::place::shares::{ClaimLimits, Shares};
use tokio::sync::mpsc;
use tracing::{info, warn};

use self::bindings::Bindings;
pub(crate) use self::hold::PlacementGuard;
pub use self::placements::{ClaimRow, PlacementRow};
#[cfg(test)]
pub(crate) use self::playlists::WATCHED;
pub(crate) use self::playlists::{Last, Playlist, Playlists, is_fresh};
use crate::metrics::{DutyLabel, Metrics, OriginLabel, StateLabel};
use crate::placer::Placer;
use crate::reported::Reported;

/// The typed tables of one proxy.
pub struct Registry {
    // std mutexes: each is held for a few lines and never across an await. `fleet` is never held together with
    // another.
    fleet: Mutex<Fleet>,
    shares: Mutex<Shares>,
    announcements: OnceLock<mpsc::Sender<Origin>>,
    reported: Reported,
    playlists: Playlists,
    /// Until when origins stay that were deregistered: other proxies may have sessions on them.
    kept: Mutex<HashMap<OriginId, Instant>>,
    bindings: Arc<Bindings>,
    placer: Placer,
    attributes: Vec<AttributeRule>,
    metrics: Arc<Metrics>,
}

impl Registry {
    /// Empty tables.
    pub fn new(fleet: Fleet, placer: Placer, limits: ClaimLimits, metrics: Arc<Metrics>) -> Self {
        Self {
            fleet: Mutex::new(fleet),
            shares: Mutex::new(Shares::new(limits)),
            announcements: OnceLock::new(),
            reported: Reported::default(),
            playlists: Playlists::default(),
            kept: Mutex::default(),
            bindings: Arc::default(),
            placer,
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

    /// Live media playlists that viewers have.
    pub(crate) const fn playlists(&self) -> &Playlists {
        &self.playlists
    }

    /// How streams are placed.
    pub const fn placer(&self) -> &Placer {
        &self.placer
    }

    /// Brings the gauge of each origin up to date; one scrape at a time calls it.
    pub(crate) fn settle(&self) {
        let now = Instant::now();
        let legs = lock(&self.shares).legs();
        self.metrics
            .legs
            .set(i64::try_from(legs).unwrap_or(i64::MAX));
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
        let up = members.iter().filter(|(_, up, _)| *up);
        let up: HashSet<&OriginId> = up.map(|(id, ..)| id).collect();
        let mut standing = self.survey(None);
        standing.retain(|one| up.contains(&one.origin));
        let taking = takers(&*self.placer.policy, &self.placer.rules, &standing);
        self.metrics
            .origins_taking_streams
            .set(i64::try_from(taking).unwrap_or(i64::MAX));
        self.metrics.origin_up.clear();
        for (id, up, _) in members {
            let label = OriginLabel {
                origin: id.as_str().to_owned(),
            };
            self.metrics.origin_up.get_or_create(&label).set(up.into());
        }
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
            self.metrics.note_origin_in(id, state.as_str(), reason);
        }
        for id in gone {
            self.metrics.note_origin_gone(&id, "silent");
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

    /// The origins that something is published on through here, and those that have sessions here or may have some
    /// elsewhere, while there is one that may have to go.
    fn occupied(&self, now: Instant) -> (HashSet<OriginId>, HashSet<OriginId>) {
        let mut published = HashSet::new();
        let mut used = HashSet::new();
        if !lock(&self.fleet).may_lose_one(now) {
            return (published, used);
        }
        let mut kept = lock(&self.kept);
        kept.retain(|_, until| now < *until);
        used.extend(kept.keys().cloned());
        drop(kept);
        for (_, held) in lock(&self.shares).streams() {
            let Some(origin) = held.origin.as_ref().filter(|_| held.holders() > 0) else {
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

    /// An origin, if it was not heard of for a while.
    pub(crate) fn missed_one(&self, id: &OriginId) -> Option<Origin> {
        let fleet = lock(&self.fleet);
        let mut missed = fleet.missed(Instant::now());
        let (_, member) = missed.find(|(missed, _)| *missed == id)?;
        Some(member.origin.clone())
    }

    /// The origins that something is published on through here, and that were not heard of for a while.
    pub(crate) fn missed(&self) -> Vec<Origin> {
        let now = Instant::now();
        let missed: Vec<(OriginId, Origin)> = {
            let fleet = lock(&self.fleet);
            let missed = fleet.missed(now);
            missed
                .map(|(id, member)| (id.clone(), member.origin.clone()))
                .collect()
        };
        if missed.is_empty() {
            return Vec::new();
        }
        let shares = lock(&self.shares);
        let published: HashSet<&OriginId> = shares
            .streams()
            .filter(|(_, held)| held.published > 0)
            .filter_map(|(_, held)| held.origin.as_ref())
            .collect();
        let missed = missed.into_iter();
        missed
            .filter(|(id, _)| published.contains(id))
            .map(|(_, origin)| origin)
            .collect()
    }

    /// Placements that name `from` now name `to`.
    fn rename(&self, from: &OriginId, to: &OriginId) {
        if from == to {
            return;
        }
        self.metrics.transitions.renamed(from, to);
        lock(&self.shares).rename(now(), from, to);
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("placer", &self.placer)
            .finish_non_exhaustive()
    }
}

/// What may be wanted of an origin, as [`Duty::as_str`] has it.
const DUTIES: [&str; 3] = ["active", "draining", "disabled"];

/// The time by which claims live.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
