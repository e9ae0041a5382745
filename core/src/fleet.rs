//! Who exists and who lives: the origins a proxy has heard of, and what each heartbeat means.
//!
//! Two clocks run per origin. After three observed heartbeat intervals without a word it is *suspect* and gets
//! no new streams; after the time to live it is *forgotten*. Failed dials make it *failing* for a back-off that
//! doubles, so that one refused connection does not send every client there to wait again.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::origin::{Origin, OriginId};
use crate::policy::Candidate;
use crate::rtmp::message::EnhancedRtmp;
use crate::stream::Service;

/// The table of origins. Every method takes the time; nothing here reads a clock.
#[derive(Debug)]
pub struct Fleet {
    members: BTreeMap<OriginId, Member>,
    ttl: Duration,
    max: usize,
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
    /// The longest of the recent gaps between two heartbeats; `None` until the second one.
    pub interval: Option<Duration>,
    /// Kept for ever, and alive as long as its probe says so, instead of by heartbeats.
    pub permanent: bool,
    /// Back-offs since the last dial that succeeded.
    pub failures: u32,
    /// Until when it is passed over because a dial failed.
    pub avoid_until: Option<Instant>,
    /// It did not take a pipelined set-up; commands are sent to it one by one.
    pub step_by_step: bool,
    /// The enhanced-RTMP properties its last `connect` answer carried.
    pub enhanced: Option<EnhancedRtmp>,
}

/// Whether an origin may be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Dials to it failed a moment ago.
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

/// The table is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} origins are registered, which is the limit (origins.max)")]
pub struct FleetFull(pub usize);

impl Fleet {
    /// A table that forgets origins after `ttl` of silence and holds `max` of them at the most.
    pub const fn new(ttl: Duration, max: usize) -> Self {
        Self {
            members: BTreeMap::new(),
            ttl,
            max,
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
            self.members.remove(&previous);
            // A long id names one instance, so a restart under it changes the id; a short one stays.
            let id = if previous == short {
                short
            } else {
                self.long_id(&origin)
            };
            self.members
                .insert(id.clone(), Member::new(now, origin, false));
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
            self.members
                .insert(id.clone(), Member::new(now, origin, false));
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
        self.members
            .insert(id.clone(), Member::new(now, origin, false));
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
        self.members.insert(id, Member::new(now, origin, true));
    }

    /// Takes an origin out, by the name it stands under.
    pub fn remove(&mut self, id: &OriginId) -> Option<Member> {
        self.members.remove(id)
    }

    /// Forgets every origin not heard of for the time to live, and names them. One that is `in_use` is kept: it
    /// stopped reporting, and the streams that still come to it from here can be played nowhere else.
    pub fn expire(&mut self, now: Instant, in_use: impl Fn(&OriginId) -> bool) -> Vec<OriginId> {
        let gone: Vec<OriginId> = self
            .members
            .iter()
            .filter(|(id, member)| !member.permanent && member.age(now) >= self.ttl && !in_use(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in &gone {
            self.members.remove(id);
        }
        gone
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

    /// The origins that may hold a new stream played or published through `service`. Those that are up come
    /// alone if there are any; else those that are failing, since one failed dial must not refuse everybody. One
    /// that is suspect is never among them, nor one past its time to live that is kept for its streams.
    pub fn candidates(&self, now: Instant, service: Service) -> Vec<Candidate> {
        let of = |wanted: State| -> Vec<Candidate> {
            self.members
                .iter()
                .filter(|(_, member)| {
                    member.origin.target(service).is_some() && member.state(now) == wanted
                })
                .filter(|(_, member)| {
                    !member.suspect(now) && (member.permanent || member.age(now) < self.ttl)
                })
                .map(|(id, member)| Candidate {
                    origin: id.clone(),
                    services: member.origin.endpoints.services(),
                    streams: 0,
                })
                .collect()
        };
        let up = of(State::Up);
        if up.is_empty() {
            of(State::Failing)
        } else {
            up
        }
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

    /// Notes that a dial failed. Dials that fail during a back-off are the same failure: many clients at once must
    /// not turn a hiccup into the longest back-off.
    pub fn failed(&mut self, now: Instant, id: &OriginId) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.avoid_until.is_some_and(|until| now < until) {
            return;
        }
        member.failures = member.failures.saturating_add(1);
        let backoff = FIRST_BACKOFF.saturating_mul(1 << member.failures.saturating_sub(1).min(5));
        member.avoid_until = now.checked_add(backoff.min(LONGEST_BACKOFF));
    }

    /// Notes that a dial, or a probe, succeeded.
    pub fn answered(&mut self, now: Instant, id: &OriginId) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.failures = 0;
        member.avoid_until = None;
        if member.permanent {
            member.last_seen = now;
        }
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
    fn new(now: Instant, origin: Origin, permanent: bool) -> Self {
        Self {
            origin,
            first_seen: now,
            last_seen: now,
            interval: None,
            permanent,
            failures: 0,
            avoid_until: None,
            step_by_step: false,
            enhanced: None,
        }
    }

    /// How long it has been silent.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_seen)
    }

    /// Whether it may be given work now.
    pub fn state(&self, now: Instant) -> State {
        if self.avoid_until.is_some_and(|until| now < until) {
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

    /// Three heartbeats missed, whatever else is known of it.
    fn suspect(&self, now: Instant) -> bool {
        !self.permanent && self.missed(now) >= SUSPECT_AFTER
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
        let gap = self.age(now).max(SHORTEST_INTERVAL);
        // Follows a longer interval at once and a shorter one slowly: a hiccup must not turn into a suspicion.
        self.interval = Some(
            self.interval
                .map_or(gap, |known| gap.max(known - (known - gap.min(known)) / 4)),
        );
        self.last_seen = now;
        self.origin = origin;
    }

    /// Two heartbeats missed: somebody else may take its name.
    fn silent(&self, now: Instant) -> bool {
        self.age(now) >= 2 * self.interval.unwrap_or(USUAL_INTERVAL)
    }

    /// Heartbeats missed by now; 0 while the interval is not known.
    fn missed(&self, now: Instant) -> u32 {
        self.interval.map_or(0, |interval| {
            u32::try_from(self.age(now).as_millis() / interval.as_millis().max(1))
                .unwrap_or(u32::MAX)
        })
    }
}

/// Heartbeats in a row that an origin may miss before it gets no new streams.
const SUSPECT_AFTER: u32 = 3;
/// Two registrations in the same instant (one per network interface, say) do not make an interval.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// What SRS sends by default (9.9 s), for an origin that was heard once.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);
/// How long an origin is passed over after its first failed dial; doubles with each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::origin::{AddressRules, parse_registration};

    fn origin(server: &str, pid: &str, ip: &str, rtmp: u16) -> Origin {
        let body = format!(
            r#"{{"ip":"{ip}","server":"{server}","service":"s{pid}","pid":"{pid}","rtmp":["{rtmp}"]}}"#
        );
        parse_registration(body.as_bytes(), &AddressRules::default()).expect("a valid registration")
    }

    fn fleet() -> (Fleet, Instant) {
        (
            Fleet::new(Duration::from_secs(300), 100),
            Instant::now_for_tests(),
        )
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
        assert!(
            fleet
                .candidates(now + 40 * SECOND, Service::Rtmp)
                .is_empty()
        );
        assert!(fleet.expire(now + 309 * SECOND, |_| false).is_empty());
        assert!(
            fleet.expire(now + 310 * SECOND, |_| true).is_empty(),
            "it is kept for the streams on it"
        );
        assert!(
            fleet
                .candidates(now + 310 * SECOND, Service::Rtmp)
                .is_empty()
        );
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
        fleet.failed(now, &"a".into());
        let names = |fleet: &Fleet, at| -> Vec<String> {
            fleet
                .candidates(at, Service::Rtmp)
                .iter()
                .map(|c| c.origin.to_string())
                .collect()
        };
        assert_eq!(names(&fleet, now), ["b"]);
        assert_eq!(names(&fleet, now + SECOND), ["a", "b"]);
        fleet.failed(now, &"b".into());
        assert_eq!(names(&fleet, now), ["a", "b"]);
        fleet.answered(now, &"a".into());
        assert_eq!(names(&fleet, now), ["a"]);
        assert!(
            fleet.candidates(now, Service::Srt).is_empty(),
            "no endpoint, no candidate"
        );
    }

    #[test]
    fn many_dials_that_fail_at_once_are_one_failure() {
        let (mut fleet, now) = fleet();
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap();
        (0..50).for_each(|_| fleet.failed(now, &"a".into()));
        assert_eq!(fleet.state(now + SECOND, &"a".into()), Some(State::Up));
        fleet.failed(now + SECOND, &"a".into());
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
        fleet.failed(now + 40 * SECOND, &"a".into());
        assert!(
            fleet
                .candidates(now + 40 * SECOND, Service::Rtmp)
                .is_empty()
        );
    }

    #[test]
    fn a_full_table_refuses_newcomers_and_keeps_heartbeats() {
        let mut fleet = Fleet::new(Duration::from_secs(300), 1);
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
}
