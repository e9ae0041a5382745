//! Which origins exist and which are alive: the origins that a proxy has heard of, and what each heartbeat means.
//!
//! Two clocks run per origin. After `suspect_after` (three) observed heartbeat intervals of silence it is *suspect* and
//! gets no new streams; after the time to live it is *forgotten*. Failed dials and probes make it *failing*, see
//! [`health`]. What its operator wants of it is its [`Duty`].

pub mod attributes;
pub mod drain;
pub mod health;
pub mod inventory;
mod last;
pub mod listed;
pub mod load;
mod member;
pub mod origin;
mod reconcile;
mod registration;
mod setups;

pub use last::last_for;
pub use member::{Member, State};
pub use reconcile::Reconciled;
pub use registration::{Change, FleetFull, Registered};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fleet::drain::Duty;
use crate::fleet::health::{Fault, Rules};
use crate::fleet::origin::OriginId;
use crate::place::placement::{CandidateFacts, Reject, Usage};
use crate::rtmp::message::EnhancedRtmp;
use crate::stream::Service;

/// The table of origins. Every method takes the time; nothing here reads a clock.
#[derive(Debug)]
pub struct Fleet {
    members: BTreeMap<OriginId, Member>,
    ttl: Duration,
    max: usize,
    rules: Rules,
    /// The origins that were up when this proxy last trusted its own network.
    last_good: BTreeSet<OriginId>,
}

impl Fleet {
    /// A table that forgets origins after `ttl` of silence, and holds at most `max` of them.
    pub const fn new(ttl: Duration, max: usize, rules: Rules) -> Self {
        Self {
            members: BTreeMap::new(),
            ttl,
            max,
            rules,
            last_good: BTreeSet::new(),
        }
    }

    /// Sets what an origin is to do; returns false if it is unknown.
    pub fn set_duty(&mut self, id: &OriginId, duty: Duty) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        member.duty = duty;
        true
    }

    /// Removes an origin by its name in the table.
    pub fn remove(&mut self, id: &OriginId) -> Option<Member> {
        self.members.remove(id)
    }

    /// Forgets every origin that was not heard of for the time to live, and returns their names. Kept are: an origin
    /// that is `in_use`, because its streams can be played nowhere else; one that an operator disabled, because it must
    /// not come back as a new one; and for a while those that all fell silent at once.
    pub fn expire(&mut self, now: Instant, in_use: impl Fn(&OriginId) -> bool) -> Vec<OriginId> {
        if !self.suspects_itself(now) {
            self.last_good = self
                .members
                .iter()
                .filter(|(_, member)| member.state(now) == State::Up)
                .map(|(id, _)| id.clone())
                .collect();
        }
        let gone: Vec<OriginId> = self
            .members
            .iter()
            .filter(|(id, member)| {
                !member.permanent && !in_use(id) && self.is_over(now, id, member)
            })
            .filter(|(_, member)| member.duty != Duty::Disabled)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            self.members.remove(id);
        }
        gone
    }

    /// Tells that for the last `lately`, other proxies could not pass on the heartbeats of the origins that report to
    /// them, so that this silence counts against no origin. Otherwise proxies that hear different origins would place
    /// new streams differently while they cannot ask each other. An origin that answers no dial or probe still fails.
    pub fn hears_only_itself(&mut self, lately: Duration) {
        for member in self.members.values_mut() {
            member.unheard += lately;
        }
    }

    /// Whether [`Fleet::expire`] or [`Fleet::remove_drained`] could remove an origin now, if nothing is on it.
    pub fn may_lose_one(&self, now: Instant) -> bool {
        self.members.values().any(|member| {
            matches!(member.duty, Duty::Draining(_))
                || !member.permanent && member.silence(now) >= self.ttl
        })
    }

    /// The origins that report themselves and were not heard of for a third of the time to live. Who uses one knows that it is
    /// there, while the proxy that it reports to may be cut off, so that the others forget it.
    pub fn missed(&self, now: Instant) -> impl Iterator<Item = (&OriginId, &Member)> {
        let time_limit = self.ttl / 3;
        let members = self.members.iter();
        members.filter(move |(_, member)| !member.permanent && member.silence(now) >= time_limit)
    }

    /// One origin.
    pub fn member(&self, id: &OriginId) -> Option<&Member> {
        self.members.get(id)
    }

    /// One origin, mutable, to note something about it.
    pub fn member_mut(&mut self, id: &OriginId) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    /// Every origin, ordered by id.
    pub fn members(&self) -> impl Iterator<Item = (&OriginId, &Member)> {
        self.members.iter()
    }

    /// Whether an origin may get work now; `None` if it is unknown.
    pub fn state(&self, now: Instant, id: &OriginId) -> Option<State> {
        self.members.get(id).map(|member| member.state(now))
    }

    /// The facts about every origin for a placement decision about a stream that is played or published through
    /// `service`; the caller adds what is on each of them. A suspect origin takes no stream, and neither does one past
    /// its time to live that is kept for its streams. While this proxy suspects itself, origins that were healthy
    /// before and have only fallen silent count as up.
    pub fn survey(&self, now: Instant, service: Option<Service>) -> Vec<CandidateFacts> {
        let panic = self.suspects_itself(now);
        let members = self.members.iter();
        members
            .map(|(id, member)| CandidateFacts {
                origin: id.clone(),
                attributes: Arc::clone(&member.origin.attributes),
                services: member.origin.endpoints.services(),
                reject: self.reject(now, id, member, service, panic),
                up: now.saturating_duration_since(member.up_since),
                load: member.load,
                usage: Usage::default(),
            })
            .collect()
    }

    fn reject(
        &self,
        now: Instant,
        id: &OriginId,
        member: &Member,
        service: Option<Service>,
        panic: bool,
    ) -> Option<Reject> {
        if service.is_some_and(|service| !member.origin.serves(service)) {
            return Some(Reject::NoService);
        }
        match member.duty {
            Duty::Active => {}
            Duty::Disabled => return Some(Reject::Disabled),
            Duty::Draining(_) => return Some(Reject::Draining),
        }
        let trusted = || {
            member.is_silent(now) && self.last_good.contains(id) && !member.health.backs_off(now)
        };
        if panic && trusted() {
            return None;
        }
        if member.suspect(now) || (!member.permanent && member.silence(now) >= self.ttl) {
            return Some(Reject::Silent);
        }
        match member.state(now) {
            State::Up => None,
            State::Failing => Some(Reject::Failing),
            State::Suspect => Some(Reject::Silent),
        }
    }

    /// Whether enough origins are silent at once for this proxy to suspect its own network.
    pub fn suspects_itself(&self, now: Instant) -> bool {
        let active = self
            .members
            .values()
            .filter(|member| member.duty.takes_streams());
        let (mut count, mut silent) = (0, 0);
        for member in active {
            count += 1;
            silent += usize::from(member.is_silent(now));
        }
        health::suspects_itself(&self.rules, count, silent)
    }

    /// The origin that serves `service` at `target`, as named by a redirect.
    pub fn at(&self, service: Service, target: &str) -> Option<&OriginId> {
        self.members
            .iter()
            .find(|(_, member)| member.origin.target_at(service, target).is_some())
            .map(|(id, _)| id)
    }

    /// The other origins at the address and the ports of this one: likely the same server under other names.
    pub fn at_the_address_of(&self, id: &OriginId) -> Vec<OriginId> {
        let Some(member) = self.members.get(id) else {
            return Vec::new();
        };
        self.members
            .iter()
            .filter(|(other, at)| *other != id && at.origin.same_place(&member.origin))
            .map(|(other, _)| other.clone())
            .collect()
    }

    /// Notes that a session's dial failed.
    pub fn dial_failed(&mut self, now: Instant, id: &OriginId, fault: Fault, why: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.health.dial_failed(now, fault, why);
        }
    }

    /// Notes that a session's dial of a service over UDP failed.
    pub fn datagrams_failed(&mut self, now: Instant, id: &OriginId, fault: Fault, why: &str) {
        if let Some(member) = self.members.get_mut(id) {
            member.health.datagrams_failed(now, fault, why);
        }
    }

    /// Notes how long it took to join a session to it.
    pub fn note_setup(&mut self, now: Instant, id: &OriginId, took: Duration) {
        if let Some(member) = self.members.get_mut(id) {
            member.setups.note(now, took);
        }
    }

    /// Notes that a session was joined there.
    pub fn answered(&mut self, now: Instant, id: &OriginId) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.health.is_out(now) {
            member.up_since = now;
        }
        member.health.answered(now);
        if member.permanent {
            member.last_seen = now;
        }
    }

    /// Notes the result of a probe: `Err` has the fault and the reason. Returns true if that changed the verdict.
    pub fn probed(&mut self, now: Instant, id: &OriginId, said: Result<(), (Fault, &str)>) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        match said {
            Ok(()) => {
                if member.permanent {
                    member.last_seen = now;
                }
                let back = member.health.probe_answered(now);
                if back {
                    member.up_since = now;
                }
                back
            }
            Err((fault, why)) => member.health.probe_failed(now, fault, why),
        }
    }

    /// The origins to probe now. `every` is how often healthy ones are probed; those that report themselves are
    /// included only if `reporting` is true.
    pub fn probes_due(&self, now: Instant, every: Duration, reporting: bool) -> Vec<OriginId> {
        self.members
            .iter()
            .filter(|(_, member)| {
                let every = (member.permanent || reporting).then_some(every);
                member.health.probe_is_due(now, every)
            })
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// The enhanced-RTMP properties that every live origin is known to have; `None` until one is known.
    pub fn enhanced(&self, now: Instant) -> Option<EnhancedRtmp> {
        self.members
            .values()
            .filter(|member| member.state(now) == State::Up)
            .filter_map(|member| member.enhanced.clone())
            .reduce(|a, b| a.intersection(&b))
    }

    /// Whether it is past its time to live, which is longer for origins that were lost at once while this proxy
    /// suspects itself.
    fn is_over(&self, now: Instant, id: &OriginId, member: &Member) -> bool {
        let time_limit = if self.last_good.contains(id) && self.suspects_itself(now) {
            self.ttl.saturating_mul(PANIC_TIME_LIMIT)
        } else {
            self.ttl
        };
        member.silence(now) >= time_limit
    }
}

/// How many times to live origins have that all fell silent at once.
const PANIC_TIME_LIMIT: u32 = 4;

#[cfg(test)]
mod tests;
