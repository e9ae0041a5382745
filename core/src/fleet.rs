//! Who exists and who lives: the origins a proxy has heard of, and what each heartbeat means.
//!
//! Two clocks run per origin. After three observed heartbeat intervals (`suspect_after`) without a word it is
//! *suspect* and gets no new streams; after the time to live it is *forgotten*. Dials and probes that fail make it *failing*, see
//! [`health`]. What its operator wants of it is its [`Duty`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::drain::{Cause, Drain, Duty};
use crate::health::{self, Fault, Health, Rules};
use crate::load::Load;
use crate::origin::{Origin, OriginId, Transport};
use crate::placement::{Reject, Standing, Usage};
use crate::rtmp::message::EnhancedRtmp;
use crate::stream::Service;

/// The table of origins. Every method takes the time; nothing here reads a clock.
#[derive(Debug)]
pub struct Fleet {
    members: BTreeMap<OriginId, Member>,
    ttl: Duration,
    max: usize,
    rules: Rules,
    /// Who was up when this proxy last believed its own ears.
    last_good: BTreeSet<OriginId>,
}

/// One origin and what is known of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it said of itself last.
    pub origin: Origin,
    /// When this instance was first heard.
    pub first_seen: Instant,
    /// When it was heard last.
    pub last_seen: Instant,
    /// Of the time since then, that in which others could not have told of it.
    pub unheard: Duration,
    /// The longest of the recent gaps between two heartbeats; `None` until the second one.
    pub interval: Option<Duration>,
    /// Kept for ever, and alive as long as its probe says so, instead of by heartbeats.
    pub permanent: bool,
    /// The source that names it; `None` for one that registers itself.
    pub source: Option<Arc<str>>,
    /// What is wanted of it.
    pub duty: Duty,
    /// What dials and probes say of it.
    pub health: Health,
    /// How busy it says it is.
    pub load: Load,
    /// Since when it has been up, or is believed to be.
    pub up_since: Instant,
    /// It did not take a pipelined set-up; commands are sent to it one by one.
    pub step_by_step: bool,
    /// The enhanced-RTMP properties its last `connect` answer carried.
    pub enhanced: Option<EnhancedRtmp>,
}

/// Whether an origin may be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A dial to it failed, or its probes did, and it has not come back since.
    Failing,
    /// Three heartbeat intervals passed in silence.
    Suspect,
    /// Heard in time, and nothing failed.
    Up,
}

impl State {
    /// Every state, for gauges.
    pub const ALL: [Self; 3] = [Self::Failing, Self::Suspect, Self::Up];

    /// The state in lower case, as metrics and the API spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Suspect => "suspect",
            Self::Up => "up",
        }
    }
}

/// What a registration did to the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The name the origin stands under.
    pub id: OriginId,
    /// What happened.
    pub change: Change,
}

/// What a registration meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Another live origin uses the same server id (a cloned disk): both now stand under their long ids.
    /// Placements that name `old` belong to `renamed`.
    Collision {
        /// The name the other origin had until now, if it had to give it up.
        renamed: Option<(OriginId, OriginId)>,
        /// Where the other origin is.
        other: String,
    },
    /// The same instance as before.
    Heartbeat,
    /// Not known before.
    New,
    /// A new instance in the place of an old one. Placements that name `previous` belong to the new id.
    Restarted {
        /// The name the old instance stood under.
        previous: OriginId,
    },
}

/// What a source's new list did to the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// Those that were not known.
    pub added: Vec<OriginId>,
    /// Those it names again before they were drained.
    pub returned: Vec<OriginId>,
    /// Those it names no more: they drain.
    pub gone: Vec<OriginId>,
    /// Those that register themselves by now, and the names they do it under. Placements follow.
    pub superseded: Vec<(OriginId, OriginId)>,
    /// Those that cannot be taken, because another stands under their name or the table is full.
    pub refused: Vec<OriginId>,
}

/// The table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} origins are registered, which is the limit (origins.max)")]
pub struct FleetFull(pub usize);

impl Fleet {
    /// A table that forgets origins after `ttl` of silence and holds `max` of them at the most.
    pub const fn new(ttl: Duration, max: usize, rules: Rules) -> Self {
        Self {
            members: BTreeMap::new(),
            ttl,
            max,
            rules,
            last_good: BTreeSet::new(),
        }
    }

    /// Takes a registration: a heartbeat, a restart, a newcomer, or a second origin with a used server id.
    ///
    /// # Errors
    /// [`FleetFull`] when a newcomer does not fit; nothing is stored then.
    pub fn register(&mut self, now: Instant, origin: Origin) -> Result<Registered, FleetFull> {
        if let Some((id, member)) = self
            .members
            .iter_mut()
            .find(|(_, member)| member.is_instance(&origin))
        {
            member.heard(now, origin);
            return Ok(Registered {
                id: id.clone(),
                change: Change::Heartbeat,
            });
        }
        let short = OriginId::from(origin.server.as_str());
        if let Some(previous) = self.restarted(now, &origin) {
            let duty = self.members.remove(&previous).map(|old| old.duty);
            // A long id names one instance, so a restart under it changes the id; a short one stays.
            let id = if previous == short {
                short
            } else {
                self.long_id(&origin)
            };
            let mut member = self.newcomer(now, origin);
            member.duty = match duty {
                // A new process in its place is a new registration; an operator's wish outlives it.
                Some(Duty::Draining(drain)) if drain.cause.ends_in_removal() => Duty::Active,
                duty => duty.unwrap_or_default(),
            };
            self.members.insert(id.clone(), member);
            return Ok(Registered {
                id,
                change: Change::Restarted { previous },
            });
        }
        if self.members.len() >= self.max {
            return Err(FleetFull(self.max));
        }
        let Some((standing, other)) = self.namesakes(&origin).next() else {
            // Another origin may stand under this name: a permanent one, or one whose long id happens to read so.
            let id = if self.members.contains_key(&short) {
                self.long_id(&origin)
            } else {
                short
            };
            self.members.insert(id.clone(), self.newcomer(now, origin));
            return Ok(Registered {
                id,
                change: Change::New,
            });
        };
        let other_place = other.place();
        let renamed = (*standing == short).then(|| (short, self.long_id(&other.origin)));
        if let Some((from, to)) = &renamed
            && let Some(member) = self.members.remove(from)
        {
            self.members.insert(to.clone(), member);
        }
        let id = self.long_id(&origin);
        self.members.insert(id.clone(), self.newcomer(now, origin));
        Ok(Registered {
            id,
            change: Change::Collision {
                renamed,
                other: other_place,
            },
        })
    }

    /// Puts an origin in that never registers: it stands until [`Fleet::remove`], alive while its probe succeeds.
    pub fn insert_permanent(&mut self, now: Instant, id: OriginId, origin: Origin) {
        let member = Member::permanent(now, origin, self.rules, None);
        self.members.insert(id, member);
    }

    /// Takes the whole list of a source: what is new on it joins, what is gone from it drains. One that an operator
    /// disabled or drains stays so. An origin that registers itself from the same place is known better by that.
    pub fn reconcile(
        &mut self,
        now: Instant,
        source: &Arc<str>,
        listed: Vec<(OriginId, Origin)>,
    ) -> Reconciled {
        let mut done = Reconciled::default();
        let named: BTreeSet<OriginId> = listed.iter().map(|(id, _)| id.clone()).collect();
        for (id, origin) in listed {
            self.take_listed(now, source, id, origin, &mut done);
        }
        for (id, member) in &mut self.members {
            let ours = member.source.as_ref() == Some(source);
            if ours && !named.contains(id) && member.duty == Duty::Active {
                let drain = Drain::begin(member.duty, now, None, Cause::Gone);
                member.duty = Duty::Draining(drain);
                done.gone.push(id.clone());
            }
        }
        done
    }

    fn take_listed(
        &mut self,
        now: Instant,
        source: &Arc<str>,
        id: OriginId,
        origin: Origin,
        done: &mut Reconciled,
    ) {
        let registered = self
            .members
            .iter()
            .find(|(_, member)| !member.permanent && member.origin.shares_endpoint(&origin))
            .map(|(id, _)| id.clone());
        let full = self.members.len() >= self.max;
        match (self.members.get_mut(&id), registered) {
            (Some(member), other) if member.source.as_ref() == Some(source) => {
                if let Some(other) = other {
                    self.members.remove(&id);
                    done.superseded.push((id, other));
                    return;
                }
                member.origin = origin;
                if matches!(member.duty, Duty::Draining(drain) if drain.cause == Cause::Gone) {
                    member.duty = Duty::Active;
                    done.returned.push(id);
                }
            }
            (_, Some(_)) => {}
            (Some(_), None) => done.refused.push(id),
            (None, None) if full => done.refused.push(id),
            (None, None) => {
                let source = Some(Arc::clone(source));
                let member = Member::permanent(now, origin, self.rules, source);
                self.members.insert(id.clone(), member);
                done.added.push(id);
            }
        }
    }

    /// Says what is wanted of an origin; false if it is not known.
    pub fn set_duty(&mut self, id: &OriginId, duty: Duty) -> bool {
        let Some(member) = self.members.get_mut(id) else {
            return false;
        };
        member.duty = duty;
        true
    }

    /// Takes out and names those whose drain is to end so, and that are not `in_use` any more.
    pub fn remove_drained(&mut self, in_use: impl Fn(&OriginId) -> bool) -> Vec<OriginId> {
        let over = |(id, member): &(&OriginId, &Member)| {
            matches!(member.duty, Duty::Draining(drain) if drain.cause.ends_in_removal())
                && !in_use(id)
        };
        let gone: Vec<OriginId> = self
            .members
            .iter()
            .filter(over)
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            self.members.remove(id);
        }
        gone
    }

    /// Takes an origin out, by the name it stands under.
    pub fn remove(&mut self, id: &OriginId) -> Option<Member> {
        self.members.remove(id)
    }

    /// Forgets every origin not heard of for the time to live, and names them. One that is `in_use` is kept: it
    /// stopped reporting, and the streams that still come to it from here can be played nowhere else. So are one that
    /// an operator disabled, which is not to come back as a stranger, and for a while those that all fell silent at
    /// once.
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

    /// For so long, others could not tell of the origins that report to them: that silence counts against nobody.
    /// Without this, proxies that hear different origins would place new streams differently, when they can ask
    /// nobody. An origin that answers no dial or probe still fails.
    pub fn hears_only_itself(&mut self, lately: Duration) {
        for member in self.members.values_mut() {
            member.unheard += lately;
        }
    }

    /// Whether [`Fleet::expire`] or [`Fleet::remove_drained`] could take an origin out now, if nothing is on it.
    pub fn may_lose_one(&self, now: Instant) -> bool {
        self.members.values().any(|member| {
            matches!(member.duty, Duty::Draining(_))
                || !member.permanent && member.silence(now) >= self.ttl
        })
    }

    /// One origin.
    pub fn member(&self, id: &OriginId) -> Option<&Member> {
        self.members.get(id)
    }

    /// One origin, to note something about it.
    pub fn member_mut(&mut self, id: &OriginId) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    /// Every origin, in the order of their ids.
    pub fn members(&self) -> impl Iterator<Item = (&OriginId, &Member)> {
        self.members.iter()
    }

    /// Whether an origin may be given work now; `None` if it is not known.
    pub fn state(&self, now: Instant, id: &OriginId) -> Option<State> {
        self.members.get(id).map(|member| member.state(now))
    }

    /// Every origin as placement has to know it, for a stream that is played or published through `service`; what is
    /// on each of them, others know. One that is suspect takes no stream, nor one past its time to live that is kept
    /// for its streams. While this proxy suspects itself, those that were well before and have done nothing but fall
    /// silent count as up.
    pub fn survey(&self, now: Instant, service: Option<Service>) -> Vec<Standing> {
        let panic = self.suspects_itself(now);
        let members = self.members.iter();
        members
            .map(|(id, member)| Standing {
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

    /// Whether so many origins are silent at once that this proxy had better doubt its own network.
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

    /// The origin that serves `service` at `target`, as a redirect names it.
    pub fn at(&self, service: Service, target: &str) -> Option<&OriginId> {
        self.members
            .iter()
            .find(|(_, member)| {
                member
                    .origin
                    .target(service)
                    .is_some_and(|found| found.to_string() == target)
            })
            .map(|(id, _)| id)
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

    /// Notes what a probe said; `Err` with the fault and the reason. True when that changed the verdict.
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

    /// The origins to probe now. `every` is how often those are asked that are well; those that report themselves
    /// only if `reporting` too.
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

    /// The standing entry that `origin` is a new instance of: same server id, and either in the same place or
    /// silent for two of its heartbeats.
    fn restarted(&self, now: Instant, origin: &Origin) -> Option<OriginId> {
        let in_place = self
            .namesakes(origin)
            .find(|(_, member)| member.origin.same_place(origin));
        let silent = || {
            self.namesakes(origin)
                .find(|(_, member)| member.silent(now))
        };
        in_place.or_else(silent).map(|(id, _)| id.clone())
    }

    /// The origins with the same server id. A permanent one never registers, so it is nobody's namesake.
    fn namesakes<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> impl Iterator<Item = (&'a OriginId, &'a Member)> {
        self.members
            .iter()
            .filter(|(_, member)| !member.permanent && member.origin.server == origin.server)
    }

    /// Past its time to live; while this proxy suspects itself, those it lost at once have longer.
    fn is_over(&self, now: Instant, id: &OriginId, member: &Member) -> bool {
        let patience = if self.last_good.contains(id) && self.suspects_itself(now) {
            self.ttl.saturating_mul(PANIC_PATIENCE)
        } else {
            self.ttl
        };
        member.silence(now) >= patience
    }

    fn newcomer(&self, now: Instant, origin: Origin) -> Member {
        Member::new(now, origin, self.rules)
    }

    /// A name for one instance of `origin` that nobody stands under.
    fn long_id(&self, origin: &Origin) -> OriginId {
        let long = OriginId::from(origin.instance());
        let numbered = || (2_u32..).map(|number| OriginId::from(format!("{long}-{number}")));
        if !self.members.contains_key(&long) {
            return long;
        }
        let free = numbered().find(|id| !self.members.contains_key(id));
        free.expect("there are more numbers than members")
    }
}

impl Member {
    fn new(now: Instant, origin: Origin, rules: Rules) -> Self {
        let probeable = Service::ALL.into_iter().any(|service| {
            Transport::of(service) == Transport::Tcp && origin.target(service).is_some()
        });
        let load = Load::default().heard(origin.report, Duration::ZERO);
        Self {
            origin,
            first_seen: now,
            last_seen: now,
            unheard: Duration::ZERO,
            interval: None,
            permanent: false,
            source: None,
            duty: Duty::Active,
            health: Health::new(rules, probeable),
            load,
            up_since: now,
            step_by_step: false,
            enhanced: None,
        }
    }

    fn permanent(now: Instant, origin: Origin, rules: Rules, source: Option<Arc<str>>) -> Self {
        Self {
            permanent: true,
            source,
            ..Self::new(now, origin, rules)
        }
    }

    /// How long ago it was heard.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_seen)
    }

    /// How long it has been silent, as far as can be known.
    pub fn silence(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.unheard)
    }

    /// Whether it may be given work now.
    pub fn state(&self, now: Instant) -> State {
        if self.health.is_out(now) {
            State::Failing
        } else if self.suspect(now) {
            State::Suspect
        } else {
            State::Up
        }
    }

    /// Where it is, for people: its address and first port.
    pub fn place(&self) -> String {
        [
            Service::Rtmp,
            Service::Http,
            Service::Srt,
            Service::Rtc,
            Service::Rtsp,
            Service::Api,
        ]
        .into_iter()
        .find_map(|service| self.origin.target(service))
        .map_or_else(|| self.origin.ip.to_string(), |target| target.to_string())
    }

    /// Too many heartbeats missed, whatever else is known of it.
    fn suspect(&self, now: Instant) -> bool {
        !self.permanent && self.missed(now) >= self.health.rules().suspect_after
    }

    /// All that is held against it is that nothing is heard of it.
    fn is_silent(&self, now: Instant) -> bool {
        match self.state(now) {
            State::Failing => self.health.is_silent(),
            State::Suspect => true,
            State::Up => false,
        }
    }

    /// The very process that `origin` says it is: its id joins three texts with a dash, and may read like another's.
    fn is_instance(&self, origin: &Origin) -> bool {
        let known = &self.origin;
        !self.permanent
            && known.server == origin.server
            && known.service == origin.service
            && known.pid == origin.pid
    }

    fn heard(&mut self, now: Instant, origin: Origin) {
        let gap = self.silence(now).max(SHORTEST_INTERVAL);
        if self.suspect(now) {
            self.up_since = now;
        }
        // Follows a longer interval at once and a shorter one slowly: a hiccup must not turn into a suspicion.
        self.interval = Some(
            self.interval
                .map_or(gap, |known| gap.max(known - (known - gap.min(known)) / 4)),
        );
        self.load = self.load.heard(origin.report, gap);
        self.last_seen = now;
        self.unheard = Duration::ZERO;
        self.origin = origin;
    }

    /// Two heartbeats missed: somebody else may take its name.
    fn silent(&self, now: Instant) -> bool {
        self.silence(now) >= 2 * self.interval.unwrap_or(USUAL_INTERVAL)
    }

    /// Heartbeats missed by now; 0 while the interval is not known.
    pub fn missed(&self, now: Instant) -> u32 {
        self.interval.map_or(0, |interval| {
            u32::try_from(self.silence(now).as_millis() / interval.as_millis().max(1))
                .unwrap_or(u32::MAX)
        })
    }
}

/// Two registrations in the same instant (one per network interface, say) do not make an interval.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// What SRS sends by default (9.9 s), for an origin that was heard once.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);
/// Times to live that origins have which all fell silent at once.
const PANIC_PATIENCE: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{AddressRules, parse_registration};
    use crate::placement::{Question, place};

    fn origin(server: &str, pid: &str, ip: &str, rtmp: u16) -> Origin {
        let body = format!(
            r#"{{"ip":"{ip}","server":"{server}","service":"s{pid}","pid":"{pid}","rtmp":["{rtmp}"]}}"#
        );
        parse_registration(body.as_bytes(), &AddressRules::default()).expect("a valid registration")
    }

    fn fleet() -> (Fleet, Instant) {
        (
            Fleet::new(Duration::from_secs(300), 100, Rules::default()),
            Instant::now_for_tests(),
        )
    }

    /// The origins that may take a stream, as placement sees it.
    fn candidates(fleet: &Fleet, now: Instant, service: Service) -> Vec<String> {
        let url = crate::stream::StreamUrl::new("", "live", "a").unwrap();
        let question = Question {
            key: &crate::stream::VhostRule::Ignored.key(&url),
            pool: None,
            zone: None,
            only: None,
            without: &[],
            draw: crate::policy::Draw::default(),
        };
        let standing = fleet.survey(now, Some(service));
        let rules = crate::placement::Rules::default();
        let decision = place(&crate::policy::Rendezvous, &rules, &standing, &question);
        let mut names: Vec<String> = decision
            .ranked
            .iter()
            .map(|candidate| candidate.origin.to_string())
            .collect();
        names.sort();
        names
    }

    trait NowForTests {
        fn now_for_tests() -> Instant;
    }

    impl NowForTests for Instant {
        #[allow(
            clippy::disallowed_methods,
            reason = "a test needs some instant to count from"
        )]
        fn now_for_tests() -> Instant {
            Self::now()
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_restart_in_the_same_place_replaces_the_old_entry_at_once() {
        let (mut fleet, now) = fleet();
        let first = fleet
            .register(now, origin("vid-1", "1", "10.0.0.1", 1935))
            .unwrap();
        assert_eq!(
            first,
            Registered {
                id: "vid-1".into(),
                change: Change::New
            }
        );
        let again = fleet
            .register(now + SECOND, origin("vid-1", "2", "10.0.0.1", 1935))
            .unwrap();
        assert_eq!(again.id, "vid-1".into());
        assert_eq!(
            again.change,
            Change::Restarted {
                previous: "vid-1".into()
            }
        );
        assert_eq!(fleet.members().count(), 1);
    }

    #[test]
    fn a_restart_elsewhere_replaces_the_old_entry_after_two_missed_heartbeats() {
        let (mut fleet, now) = fleet();
        fleet
            .register(now, origin("vid-1", "1", "10.0.0.1", 1935))
            .unwrap();
        fleet
            .register(now + 9 * SECOND, origin("vid-1", "1", "10.0.0.1", 1935))
            .unwrap();
        let moved = fleet
            .register(now + 27 * SECOND, origin("vid-1", "2", "10.0.0.2", 1935))
            .unwrap();
        assert_eq!(
            moved.change,
            Change::Restarted {
                previous: "vid-1".into()
            }
        );
        assert_eq!(fleet.members().count(), 1);
    }

    #[test]
    fn cloned_disks_stand_side_by_side_and_alternating_heartbeats_change_nothing() {
        let (mut fleet, now) = fleet();
        let one = || origin("vid-1", "1", "10.0.0.1", 1935);
        let two = || origin("vid-1", "2", "10.0.0.2", 1935);
        fleet.register(now, one()).unwrap();
        let second = fleet.register(now + SECOND, two()).unwrap();
        let renamed = Some(("vid-1".into(), "vid-1-s1-1".into()));
        assert_eq!(second.id, "vid-1-s2-2".into());
        assert_eq!(
            second.change,
            Change::Collision {
                renamed,
                other: "10.0.0.1:1935".to_owned()
            }
        );
        for beat in 1..20 {
            let at = now + beat * 9 * SECOND;
            assert_eq!(fleet.register(at, one()).unwrap().change, Change::Heartbeat);
            assert_eq!(
                fleet.register(at + SECOND, two()).unwrap().change,
                Change::Heartbeat
            );
        }
        assert_eq!(fleet.members().count(), 2);
        // A restart of one of them takes its place and leaves the other alone.
        let restarted = fleet
            .register(now + 181 * SECOND, origin("vid-1", "3", "10.0.0.2", 1935))
            .unwrap();
        assert_eq!(restarted.id, "vid-1-s3-3".into());
        assert_eq!(
            restarted.change,
            Change::Restarted {
                previous: "vid-1-s2-2".into()
            }
        );
        assert!(fleet.member(&"vid-1-s1-1".into()).is_some());
    }

    #[test]
    fn silence_makes_suspect_and_then_forgotten() {
        let (mut fleet, now) = fleet();
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        fleet
            .register(now + 10 * SECOND, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        let id = OriginId::from("a");
        assert_eq!(fleet.state(now + 39 * SECOND, &id), Some(State::Up));
        assert_eq!(fleet.state(now + 40 * SECOND, &id), Some(State::Suspect));
        assert!(candidates(&fleet, now + 40 * SECOND, Service::Rtmp).is_empty());
        assert!(fleet.expire(now + 309 * SECOND, |_| false).is_empty());
        assert!(
            fleet.expire(now + 310 * SECOND, |_| true).is_empty(),
            "it is kept for the streams on it"
        );
        assert!(candidates(&fleet, now + 310 * SECOND, Service::Rtmp).is_empty());
        assert_eq!(fleet.expire(now + 310 * SECOND, |_| false), vec![id]);
    }

    #[test]
    fn a_failed_dial_is_passed_over_for_a_moment_unless_nobody_else_is_left() {
        let (mut fleet, now) = fleet();
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        fleet
            .register(now, origin("b", "1", "10.0.0.2", 1935))
            .unwrap();
        fleet.dial_failed(now, &"a".into(), Fault::Refused, "refused");
        let names = |fleet: &Fleet, at| candidates(fleet, at, Service::Rtmp);
        assert_eq!(names(&fleet, now), ["b"]);
        assert_eq!(names(&fleet, now + SECOND), ["a", "b"]);
        fleet.dial_failed(now, &"b".into(), Fault::Refused, "refused");
        assert_eq!(names(&fleet, now), ["a", "b"]);
        fleet.answered(now, &"a".into());
        assert_eq!(names(&fleet, now), ["a"]);
        assert!(
            candidates(&fleet, now, Service::Srt).is_empty(),
            "no endpoint, no candidate"
        );
    }

    #[test]
    fn many_dials_that_fail_at_once_are_one_failure() {
        let (mut fleet, now) = fleet();
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        (0..50).for_each(|_| fleet.dial_failed(now, &"a".into(), Fault::Refused, "refused"));
        assert_eq!(fleet.state(now + SECOND, &"a".into()), Some(State::Up));
        fleet.dial_failed(now + SECOND, &"a".into(), Fault::Refused, "refused");
        assert_eq!(
            fleet.state(now + 2 * SECOND, &"a".into()),
            Some(State::Failing),
            "the next one doubles it"
        );
        assert_eq!(fleet.state(now + 3 * SECOND, &"a".into()), Some(State::Up));
    }

    #[test]
    fn nobody_takes_the_place_of_an_origin_with_a_like_name() {
        let (mut fleet, now) = fleet();
        let default = origin("default", "0", "10.0.0.9", 1935);
        fleet.insert_permanent(now, "default".into(), default.clone());
        let named_so = fleet
            .register(now, origin("default", "1", "10.0.0.1", 1935))
            .unwrap();
        assert_eq!(
            named_so,
            Registered {
                id: "default-s1-1".into(),
                change: Change::New
            }
        );
        let reads_so = fleet
            .register(now, origin("default-s1-1", "1", "10.0.0.2", 1935))
            .unwrap();
        assert_eq!(
            reads_so,
            Registered {
                id: "default-s1-1-s1-1".into(),
                change: Change::New
            }
        );
        assert_eq!(fleet.member(&"default".into()).unwrap().origin, default);
        let again = fleet
            .register(now + SECOND, origin("default", "1", "10.0.0.1", 1935))
            .unwrap();
        assert_eq!(
            again,
            Registered {
                id: "default-s1-1".into(),
                change: Change::Heartbeat
            }
        );
        assert_eq!(fleet.members().count(), 3);
    }

    #[test]
    fn an_origin_that_is_silent_and_fails_is_no_candidate_though_nobody_else_is_left() {
        let (mut fleet, now) = fleet();
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        fleet
            .register(now + 10 * SECOND, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        fleet.dial_failed(now + 40 * SECOND, &"a".into(), Fault::Refused, "refused");
        assert!(candidates(&fleet, now + 40 * SECOND, Service::Rtmp).is_empty());
    }

    #[test]
    fn a_full_table_refuses_newcomers_and_keeps_heartbeats() {
        let mut fleet = Fleet::new(Duration::from_secs(300), 1, Rules::default());
        let now = Instant::now_for_tests();
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        assert_eq!(
            fleet.register(now, origin("b", "1", "10.0.0.2", 1935)),
            Err(FleetFull(1))
        );
        assert_eq!(
            fleet
                .register(now, origin("a", "1", "10.0.0.1", 1935))
                .unwrap()
                .change,
            Change::Heartbeat
        );
    }

    #[test]
    fn what_an_operator_wants_of_an_origin_outlives_its_restarts() {
        let (mut fleet, now) = fleet();
        let id = OriginId::from("a");
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        for cause in [Cause::Operator, Cause::Deregistered] {
            let drain = Drain::begin(Duty::Active, now, None, cause);
            assert!(fleet.set_duty(&id, Duty::Draining(drain)));
            fleet
                .register(now + SECOND, fleet.member(&id).unwrap().origin.clone())
                .unwrap();
            assert_eq!(fleet.member(&id).unwrap().duty, Duty::Draining(drain));
            assert!(candidates(&fleet, now, Service::Rtmp).is_empty());
            let pid = format!("{cause:?}");
            fleet
                .register(now + SECOND, origin("a", &pid, "10.0.0.1", 1935))
                .unwrap();
            let stays = cause == Cause::Operator;
            let drains = fleet.member(&id).unwrap().duty == Duty::Draining(drain);
            assert_eq!(drains, stays, "{cause:?}");
        }
        fleet.set_duty(&id, Duty::Disabled);
        assert!(candidates(&fleet, now, Service::Rtmp).is_empty());
        assert!(
            fleet.expire(now + 900 * SECOND, |_| false).is_empty(),
            "it is not to come back as a stranger"
        );
        assert!(!fleet.set_duty(&"nobody".into(), Duty::Active));
    }

    #[test]
    fn only_a_drain_that_no_operator_asked_for_ends_in_removal() {
        let (mut fleet, now) = fleet();
        for (name, cause) in [("a", Cause::Operator), ("b", Cause::Deregistered)] {
            fleet
                .register(now, origin(name, "1", "10.0.0.1", 1935))
                .unwrap();
            let drain = Drain::begin(Duty::Active, now, None, cause);
            fleet.set_duty(&name.into(), Duty::Draining(drain));
        }
        assert!(fleet.remove_drained(|_| true).is_empty(), "all in use");
        assert_eq!(fleet.remove_drained(|_| false), ["b".into()]);
        assert_eq!(fleet.members().count(), 1);
    }

    #[test]
    fn a_source_adds_updates_and_drains_what_it_names() {
        let (mut fleet, now) = fleet();
        let source: Arc<str> = "settings".into();
        let listed = |names: &[(&str, &str)]| -> Vec<(OriginId, Origin)> {
            names
                .iter()
                .map(|(name, ip)| (OriginId::from(*name), origin(name, "1", ip, 1935)))
                .collect()
        };
        let both = [("a", "10.0.0.1"), ("b", "10.0.0.2")];
        let done = fleet.reconcile(now, &source, listed(&both));
        assert_eq!(done.added, ["a".into(), "b".into()]);
        assert_eq!(
            fleet.reconcile(now, &source, listed(&both)),
            Reconciled::default(),
            "the same again"
        );
        let done = fleet.reconcile(now, &source, listed(&both[..1]));
        assert_eq!(done.gone, ["b".into()]);
        assert_eq!(candidates(&fleet, now, Service::Rtmp).len(), 1);
        let done = fleet.reconcile(now, &source, listed(&both));
        assert_eq!(done.returned, ["b".into()]);

        fleet.set_duty(&"b".into(), Duty::Disabled);
        fleet.reconcile(now, &source, Vec::new());
        fleet.reconcile(now, &source, listed(&both));
        assert_eq!(
            fleet.member(&"b".into()).unwrap().duty,
            Duty::Disabled,
            "a list does not undo what an operator did"
        );

        // It registers itself by now, under the id of its own file.
        fleet
            .register(now, origin("vid-1", "7", "10.0.0.1", 1935))
            .unwrap();
        let done = fleet.reconcile(now, &source, listed(&both));
        assert_eq!(done.superseded, [("a".into(), "vid-1".into())]);
        assert!(fleet.member(&"a".into()).is_none());
        assert_eq!(
            fleet.reconcile(now, &source, listed(&both)),
            Reconciled::default()
        );
        let done = fleet.reconcile(now, &"dns".into(), listed(&[("b", "10.0.0.9")]));
        assert_eq!(done.refused, ["b".into()], "another source's name");
    }

    #[test]
    fn silence_that_could_not_be_heard_does_not_count() {
        let (mut fleet, start) = fleet();
        let second = Duration::from_secs(1);
        let here = || origin("here", "1", "10.0.0.1", 1935);
        let (a, b) = (here(), origin("there", "1", "10.0.0.2", 1935));
        for (name, beats) in [("here", a), ("there", b)] {
            for beat in 0..2 {
                let heard = fleet.register(start + second * beat, beats.clone());
                assert_eq!(heard.unwrap().id.as_str(), name);
            }
        }
        let mut now = start + second;
        let states = |fleet: &Fleet, now| {
            ["here", "there"].map(|name| fleet.state(now, &OriginId::from(name)).unwrap())
        };
        for _ in 0..400 {
            now += second;
            fleet.hears_only_itself(second);
            fleet.register(now, here()).unwrap();
            assert_eq!(states(&fleet, now), [State::Up; 2]);
            assert!(fleet.expire(now, |_| false).is_empty());
        }
        // Others tell again, and nothing comes: that is silence.
        now += second * 3;
        fleet.register(now, here()).unwrap();
        assert_eq!(states(&fleet, now), [State::Up, State::Suspect]);
    }

    #[test]
    fn when_most_fall_silent_at_once_the_last_good_set_is_kept() {
        let rules = Rules {
            panic_percent: 50,
            ..Rules::default()
        };
        let mut fleet = Fleet::new(Duration::from_secs(300), 100, rules);
        let now = Instant::now_for_tests();
        let names = ["a", "b", "c", "d"];
        let beat = |fleet: &mut Fleet, at: Instant, names: &[&str]| {
            for (index, name) in names.iter().enumerate() {
                let ip = format!("10.0.0.{}", index + 1);
                fleet.register(at, origin(name, "1", &ip, 1935)).unwrap();
            }
        };
        beat(&mut fleet, now, &names);
        beat(&mut fleet, now + 10 * SECOND, &names);
        fleet.expire(now + 10 * SECOND, |_| false);
        let candidates = |fleet: &Fleet, at| candidates(fleet, at, Service::Rtmp).len();

        // One dies for sure: a refusal is an answer. It is not among the silent.
        let lost = now + 60 * SECOND;
        assert_eq!(candidates(&fleet, lost), 4, "all silent at once");
        assert!(fleet.suspects_itself(lost));
        fleet.dial_failed(lost, &"d".into(), Fault::Refused, "refused");
        assert_eq!(candidates(&fleet, lost), 3);
        assert!(
            fleet.expire(now + 400 * SECOND, |_| false).is_empty(),
            "they have longer"
        );
        assert_eq!(candidates(&fleet, now + 400 * SECOND), 4);
        assert_eq!(fleet.expire(now + 1300 * SECOND, |_| false).len(), 4);
    }

    #[test]
    fn one_silent_origin_of_four_is_believed_to_be_dead() {
        let rules = Rules {
            panic_percent: 50,
            ..Rules::default()
        };
        let mut fleet = Fleet::new(Duration::from_secs(300), 100, rules);
        let now = Instant::now_for_tests();
        for at in [now, now + 10 * SECOND, now + 40 * SECOND] {
            for (index, name) in ["a", "b", "c", "d"].iter().enumerate() {
                if *name != "a" || at < now + 40 * SECOND {
                    let ip = format!("10.0.0.{}", index + 1);
                    fleet.register(at, origin(name, "1", &ip, 1935)).unwrap();
                }
            }
            fleet.expire(at, |_| false);
        }
        let later = now + 41 * SECOND;
        assert!(!fleet.suspects_itself(later));
        assert_eq!(candidates(&fleet, later, Service::Rtmp).len(), 3);
    }
}
