//! How each origin is: whether it answers, what is wanted of it, and what it bears.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::drain::{Cause, Drain, Duty, Left};
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::fleet::{Member, State};
use sluicegate_core::place::placement::{CandidateFacts, Usage};
use sluicegate_core::rtmp::message::EnhancedRtmp;
use sluicegate_core::stream::Service;
use tracing::{info, warn};

use super::{Registry, lock};
use crate::metrics::OutcomeLabel;

impl Registry {
    /// Gives an origin no new streams from now on; past `time_limit` its sessions are to be ended one by one. False if
    /// it is not known.
    pub fn drain(&self, id: &OriginId, time_limit: Option<Duration>, cause: Cause) -> bool {
        let now = Instant::now();
        let known = {
            let mut fleet = lock(&self.fleet);
            fleet.member_mut(id).map(|member| {
                member.duty = Duty::Draining(Drain::begin(member.duty, now, time_limit, cause));
            })
        };
        if known.is_some() {
            self.note_drain("began");
            let what = match time_limit {
                Some(time_limit) => format!(
                    "drains for at most {} s ({})",
                    time_limit.as_secs(),
                    cause.as_str()
                ),
                None => format!("drains ({})", cause.as_str()),
            };
            self.metrics.note_duty(id, what);
            info!(origin = %id, cause = cause.as_str(), deadline = ?time_limit, "origin drains");
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
            self.metrics
                .note_duty(id, "takes new streams again".to_owned());
            info!(origin = %id, "origin takes new streams again");
        }
        known
    }

    /// Sends nobody new to an origin, not even players of the streams on it. False if it is not known.
    pub fn disable(&self, id: &OriginId) -> bool {
        let known = lock(&self.fleet).set_duty(id, Duty::Disabled);
        if known {
            self.metrics.note_duty(id, "disabled".to_owned());
            info!(origin = %id, "origin disabled");
        }
        known
    }

    /// The sessions on an origin.
    pub fn left(&self, id: &OriginId) -> Left {
        let mut left = Left::default();
        for (_, held) in lock(&self.shares).streams() {
            if held.origin.as_ref() == Some(id) {
                left.publishers += held.publishers;
                left.players += held.sessions - held.publishers;
            }
        }
        left
    }

    /// The origins as they stand now.
    pub fn origins(&self) -> Vec<(OriginId, Member)> {
        lock(&self.fleet)
            .members()
            .map(|(id, member)| (id.clone(), member.clone()))
            .collect()
    }

    /// Those whose duty is `chosen`, and what that gives. To be asked often: the others are not copied.
    pub fn by_duty<T>(&self, chosen: impl Fn(Duty) -> Option<T>) -> Vec<(OriginId, T)> {
        let fleet = lock(&self.fleet);
        let members = fleet.members();
        let found = members.filter_map(|(id, member)| {
            let found = chosen(member.duty)?;
            Some((id.clone(), found))
        });
        found.collect()
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

    /// What `read` makes of an origin; nothing may be asked of the registry meanwhile.
    pub(crate) fn of_member<T>(&self, id: &OriginId, read: impl FnOnce(&Member) -> T) -> Option<T> {
        lock(&self.fleet).member(id).map(read)
    }

    /// What to dial for the endpoint of an origin that is at `place`, written `host:port`.
    pub fn target_at(&self, id: &OriginId, service: Service, place: &str) -> Option<Target> {
        let fleet = lock(&self.fleet);
        fleet.member(id)?.origin.target_at(service, place)
    }

    /// The registered origin that serves `service` at `target`, written `host:port`.
    pub fn at(&self, service: Service, target: &str) -> Option<OriginId> {
        lock(&self.fleet).at(service, target).cloned()
    }

    /// Every origin at this moment, for a stream played or published through `service`.
    pub fn survey(&self, service: Option<Service>) -> Vec<CandidateFacts> {
        let mut standing = lock(&self.fleet).survey(Instant::now(), service);
        let shares = lock(&self.shares);
        for one in &mut standing {
            one.usage = shares.usage(&one.origin);
        }
        standing
    }

    /// What an origin carries for this proxy.
    pub fn usage(&self, id: &OriginId) -> Usage {
        lock(&self.shares).usage(id)
    }

    /// Notes what the legs from here carried, in kilobits per second for each origin, over the last second.
    pub fn measured(&self, kbps: &HashMap<OriginId, u64>) {
        for (origin, usage) in lock(&self.shares).usages() {
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

    /// The origins to probe now, see [`probes_due`](sluicegate_core::fleet::Fleet::probes_due).
    pub fn probes_due(&self, every: Duration, reporting: bool) -> Vec<OriginId> {
        lock(&self.fleet).probes_due(Instant::now(), every, reporting)
    }

    /// For so long, other proxies could not tell of the origins that report to them.
    pub(crate) fn hears_only_itself(&self, lately: Duration) {
        lock(&self.fleet).hears_only_itself(lately);
    }

    /// Whether enough origins are silent at once for this proxy to doubt its own network.
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

    /// Notes how long it took to join a session to it.
    pub(crate) fn note_setup(&self, id: &OriginId, took: Duration) {
        lock(&self.fleet).note_setup(Instant::now(), id, took);
    }

    /// Notes that a session was joined there.
    pub fn answered(&self, id: &OriginId) {
        let now = Instant::now();
        let state = {
            let mut fleet = lock(&self.fleet);
            fleet.answered(now, id);
            fleet.state(now, id)
        };
        if let Some(state) = state {
            self.metrics.note_origin_in(id, state.as_str(), "answered");
        }
    }

    /// Counts a change of state, if there was one.
    pub(super) fn note_state(&self, id: &OriginId, reason: &'static str) {
        if let Some(state) = self.state(id) {
            self.metrics.note_origin_in(id, state.as_str(), reason);
        }
    }

    pub(super) fn note_drain(&self, outcome: &'static str) {
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

    /// Notes the kind of server that an origin's API says that it is.
    pub fn note_software(&self, id: &OriginId, software: Dialect) {
        if let Some(member) = lock(&self.fleet).member_mut(id)
            && member.software != Some(software)
        {
            member.software = Some(software);
            let asked = member.origin.attributes.naming.dialect;
            if asked != software {
                warn!(origin = %id, dialect = %asked, api = %software, "the origin's API says that it is another server than it is asked like");
            }
        }
    }

    /// What every live origin is known to offer of enhanced RTMP.
    pub fn enhanced(&self) -> Option<EnhancedRtmp> {
        lock(&self.fleet).enhanced(Instant::now())
    }
}
