//! The fleet table compared with a model: origins that start, restart, are cloned, fall silent and come back, over
//! thousands of steps from a seed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sluicegate_core::fleet::health::{Fault, Rules};
use sluicegate_core::fleet::origin::{AddressRules, Origin, OriginId, parse_registration};
use sluicegate_core::fleet::{Change, Fleet, State};
use sluicegate_core::place::placement::Reject;
use sluicegate_core::stream::Service;

#[test]
fn the_table_agrees_with_a_model_whatever_happens() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            world.step();
            world.check(&format!("seed {seed}, step {step}"));
        }
        assert!(
            world.collisions > 0 && world.restarts > 0,
            "seed {seed} saw nothing worth seeing"
        );
    }
}

#[test]
fn heartbeats_of_clones_never_change_a_name() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for host in 0..MAX - 1 {
            world.report(host);
        }
        let named = world.named.clone();
        for _ in 0..200 {
            world.now += Duration::from_secs(1);
            for host in 0..MAX - 1 {
                if world.random(9) > 0 {
                    world.report(host);
                }
            }
        }
        assert_eq!(world.named, named, "seed {seed}");
    }
}

/// A machine with an origin. Several machines have the same server id, as with copied disks.
struct Host {
    server: &'static str,
    pid: u32,
    /// The machine reports nothing before this time.
    silent_until: Instant,
}

struct World {
    fleet: Fleet,
    hosts: Vec<Host>,
    now: Instant,
    state: u64,
    /// The instance under each name, according to what the table said it did.
    named: BTreeMap<OriginId, String>,
    collisions: usize,
    restarts: usize,
}

impl World {
    #[allow(
        clippy::disallowed_methods,
        reason = "a simulation counts from some instant"
    )]
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let mut fleet = Fleet::new(TTL, MAX, Rules::default());
        let default = origin("default", 0, "10.9.9.9");
        fleet.insert_permanent(now, "default".into(), default.clone());
        let hosts = (0..HOSTS)
            .map(|host| Host {
                server: SERVERS[host % SERVERS.len()],
                pid: 1000 * host as u32,
                silent_until: now,
            })
            .collect();
        let named = BTreeMap::from([("default".into(), default.instance())]);
        let state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        Self {
            fleet,
            hosts,
            now,
            state,
            named,
            collisions: 0,
            restarts: 0,
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % below
    }

    fn step(&mut self) {
        let pause = self.random(3000);
        self.now += Duration::from_millis(pause);
        let host = self.random(HOSTS as u64) as usize;
        match self.random(100) {
            0..70 => self.report(host),
            70..74 => self.hosts[host].pid += 1,
            74..76 => {
                let seconds = self.random(90);
                self.hosts[host].silent_until = self.now + Duration::from_secs(seconds);
            }
            76..77 => {
                let id = self.any_name();
                if id != "default".into() {
                    assert!(self.fleet.remove(&id).is_some(), "{id} stood there");
                    self.named.remove(&id);
                }
            }
            77..78 => {
                let id = self.any_name();
                self.fleet.note_absent(&id);
            }
            78..85 => {
                let id = self.any_name();
                self.fleet
                    .dial_failed(self.now, &id, Fault::Refused, "refused");
            }
            85..90 => {
                let id = self.any_name();
                self.fleet.answered(self.now, &id);
            }
            _ => {
                let kept = self.any_name();
                for id in self.fleet.expire(self.now, |id| *id == kept) {
                    assert!(id != kept && id != "default".into());
                    self.named
                        .remove(&id)
                        .expect("only what stood is forgotten");
                }
            }
        }
    }

    /// Sends a heartbeat, and applies the table's answer to the model.
    fn report(&mut self, host: usize) {
        let Host {
            server,
            pid,
            silent_until,
        } = self.hosts[host];
        if self.now < silent_until {
            return;
        }
        let reported = origin(server, pid, &format!("10.0.0.{host}"));
        let before: BTreeMap<OriginId, Member> = self.members();
        let Ok(registered) = self.fleet.register(self.now, reported.clone()) else {
            assert!(before.len() >= MAX, "the table had room");
            assert_eq!(self.members(), before, "nothing is stored then");
            return;
        };
        let instance = reported.instance();
        match registered.change {
            Change::Heartbeat => assert_eq!(self.named.get(&registered.id), Some(&instance)),
            Change::New => assert!(
                self.named.insert(registered.id.clone(), instance).is_none(),
                "a name is free"
            ),
            Change::Restarted { previous } => {
                self.restarts += 1;
                let old = &before[&previous];
                let silent =
                    old.age(self.now) >= 2 * old.interval.unwrap_or(Duration::from_secs(10));
                assert!(
                    silent || old.absent || old.origin.same_place(&reported),
                    "a live origin elsewhere keeps its name"
                );
                self.named.remove(&previous).expect("somebody stood there");
                assert!(self.named.insert(registered.id.clone(), instance).is_none());
            }
            Change::Collision { renamed, .. } => {
                self.collisions += 1;
                if let Some((from, to)) = renamed {
                    let other = self.named.remove(&from).expect("somebody stood there");
                    assert!(self.named.insert(to, other).is_none());
                }
                assert!(self.named.insert(registered.id.clone(), instance).is_none());
            }
        }
        let member = self
            .fleet
            .member(&registered.id)
            .expect("it stands under the name it was told");
        assert_eq!((&member.origin, member.last_seen), (&reported, self.now));
    }

    fn check(&self, at: &str) {
        let stands: BTreeMap<OriginId, String> = self
            .fleet
            .members()
            .map(|(id, member)| (id.clone(), member.origin.instance()))
            .collect();
        assert_eq!(stands, self.named, "{at}");
        assert!(stands.len() <= MAX + 1, "{at}: the table is bounded");
        let mut instances: Vec<&String> = stands.values().collect();
        instances.sort();
        instances.dedup();
        assert_eq!(
            instances.len(),
            stands.len(),
            "{at}: an instance stands once"
        );
        let mut candidates = self.fleet.survey(self.now, Some(Service::Rtmp));
        // Failing origins are candidates if none is up.
        let admits_up = candidates.iter().any(|one| one.reject.is_none());
        let wanted = (!admits_up).then_some(Reject::Failing);
        candidates.retain(|one| one.reject == wanted);
        let up = |id: &OriginId| self.fleet.state(self.now, id) == Some(State::Up);
        let any_up = self
            .fleet
            .members()
            .any(|(id, member)| up(id) && (member.permanent || member.age(self.now) < TTL));
        for candidate in &candidates {
            let member = self
                .fleet
                .member(&candidate.origin)
                .expect("a candidate stands");
            let missed = member.interval.map_or(0, |interval| {
                member.age(self.now).as_millis() / interval.as_millis()
            });
            assert!(
                member.permanent || missed < 3,
                "{at}: {} is suspect",
                candidate.origin
            );
            assert!(
                member.permanent || member.age(self.now) < TTL,
                "{at}: {} is forgotten",
                candidate.origin
            );
            assert!(
                up(&candidate.origin) || !any_up,
                "{at}: failing ones only when nobody is up"
            );
        }
        assert!(
            !candidates.is_empty(),
            "{at}: the permanent one is always there for the last resort"
        );
    }

    fn members(&self) -> BTreeMap<OriginId, Member> {
        self.fleet
            .members()
            .map(|(id, member)| (id.clone(), Member(member.clone())))
            .collect()
    }

    fn any_name(&mut self) -> OriginId {
        let at = self.random(self.named.len() as u64) as usize;
        self.named.keys().nth(at).expect("within").clone()
    }
}

/// A member, compared by the fields that a registration could change.
#[derive(Debug)]
struct Member(sluicegate_core::fleet::Member);

impl std::ops::Deref for Member {
    type Target = sluicegate_core::fleet::Member;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl PartialEq for Member {
    fn eq(&self, other: &Self) -> bool {
        (&self.origin, self.last_seen, self.interval)
            == (&other.origin, other.last_seen, other.interval)
    }
}

fn origin(server: &str, pid: u32, ip: &str) -> Origin {
    let body = format!(
        r#"{{"ip":"{ip}","server":"{server}","service":"s","pid":"{pid}","rtmp":["1935"]}}"#
    );
    parse_registration(body.as_bytes(), &AddressRules::default()).expect("a valid registration")
}

const SEEDS: u64 = 32;
const STEPS: usize = 3000;
const HOSTS: usize = 12;
/// Fewer ids than hosts; two that look like another's long id, and one that is the permanent origin's name.
const SERVERS: [&str; 5] = ["vid-1", "vid-2", "vid-1-s-0", "default", "default-s-3000"];
const TTL: Duration = Duration::from_secs(60);
/// Too few for every instance that ever existed.
const MAX: usize = 11;
