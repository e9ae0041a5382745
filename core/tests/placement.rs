//! A fleet of two hundred origins and twenty thousand streams, from a seed: what placement maintains while streams come
//! and go, origins fill up, and a zone is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use sluicegate_core::fleet::attributes::Attributes;
use sluicegate_core::fleet::load::Load;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::placement::{
    CandidateFacts, Decision, PlacementQuestion, Reject, Rules, Usage, place, takers,
};
use sluicegate_core::place::policy::{Draw, NAMES, by_name};
use sluicegate_core::stream::{PlacementKey, StreamUrl, VhostRule};

const ORIGINS: usize = 200;
const STREAMS: usize = 20_000;
const ZONES: usize = 4;
const BOUND: u32 = 125;

/// A fleet, and where each stream is.
struct World {
    policy: &'static str,
    rules: Rules,
    origins: Vec<CandidateFacts>,
    streams: BTreeMap<usize, usize>,
    turn: u64,
    /// The state of xorshift64.
    random: u64,
}

impl World {
    fn new(policy: &'static str) -> Self {
        let origins = (0..ORIGINS).map(|number| {
            let attributes = Attributes {
                weight: if number % 5 == 0 { 200 } else { 100 },
                zone: Some(format!("z{}", number % ZONES)),
                ..Attributes::default()
            };
            standing(number, attributes)
        });
        Self {
            policy,
            rules: Rules::default(),
            origins: origins.collect(),
            streams: BTreeMap::new(),
            turn: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn draw(&mut self, below: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % below as u64).unwrap()
    }

    fn decide(&self, stream: usize) -> Decision {
        let policy = by_name(self.policy).unwrap();
        let question = PlacementQuestion {
            key: &key(stream),
            pool: None,
            zone: None,
            only: None,
            without: &[],
            draw: Draw {
                seed: 7,
                turn: self.turn,
                bound: Some(BOUND),
            },
        };
        place(&*policy, &self.rules, &self.origins, &question)
    }

    /// Places a stream that is not placed; returns false if no origin takes it.
    fn start(&mut self, stream: usize) -> bool {
        let decision = self.decide(stream);
        let Some(best) = decision.ranked.first() else {
            assert!(decision.is_full());
            return false;
        };
        let at = self.at(&best.origin);
        self.origins[at].usage.streams += 1;
        self.turn += 1;
        assert!(self.streams.insert(stream, at).is_none(), "it is nowhere");
        true
    }

    fn end(&mut self, stream: usize) -> usize {
        let at = self.streams.remove(&stream).expect("it is somewhere");
        self.origins[at].usage.streams -= 1;
        at
    }

    fn at(&self, origin: &OriginId) -> usize {
        origin.as_str().trim_start_matches('o').parse().unwrap()
    }

    /// Checks that no origin that is up holds more than its bound allows, counting the last one admitted.
    fn check_bound(&self, at: &str) {
        let up = || self.origins.iter().filter(|one| one.reject.is_none());
        let weights: usize = up().map(|one| one.attributes.weight as usize).sum();
        let streams: usize = up().map(|one| one.usage.streams).sum();
        for one in up() {
            let share = (streams + 1) as f64 * f64::from(one.attributes.weight) / weights as f64;
            let most = (share * 1.25).max(share + 4.0).ceil() + 1.0;
            let held = one.usage.streams;
            assert!(
                held as f64 <= most,
                "{at}: {} holds {held}, bound {most}",
                one.origin
            );
        }
    }

    fn fill(&mut self, streams: usize) {
        for stream in 0..streams {
            assert!(self.start(stream));
        }
    }
}

#[test]
fn the_bound_holds_while_streams_come_and_go_and_a_zone_is_lost() {
    let mut world = World::new("rendezvous");
    world.fill(STREAMS);
    world.check_bound("filled");

    for round in 0..5_000 {
        let from = world.draw(STREAMS);
        let (gone, _) = world.streams.range(from..).next().unwrap();
        let gone = *gone;
        world.end(gone);
        assert!(world.start(STREAMS + round));
    }
    world.check_bound("churned");

    let lost: BTreeSet<usize> = (0..ORIGINS).filter(|number| number % ZONES == 1).collect();
    for number in &lost {
        world.origins[*number].reject = Some(Reject::Silent);
    }
    let before = world.streams.clone();
    let homeless: Vec<usize> = before
        .iter()
        .filter(|(_, at)| lost.contains(at))
        .map(|(stream, _)| *stream)
        .collect();
    assert!(homeless.len() > STREAMS / 6, "a zone had its share");
    for stream in &homeless {
        world.end(*stream);
    }
    for stream in &homeless {
        assert!(world.start(*stream));
    }
    world.check_bound("a zone less");
    let moved = before
        .iter()
        .filter(|(stream, at)| world.streams[*stream] != **at);
    assert_eq!(moved.count(), homeless.len(), "nobody else moved");

    // The zone is back: existing streams stay, and new ones fill the empty origins up to their share.
    for number in &lost {
        world.origins[*number].reject = None;
    }
    for stream in 0..2_000 {
        assert!(world.start(3 * STREAMS + stream));
    }
    for number in &lost {
        let origin = &world.origins[*number];
        assert!(
            origin.usage.streams > 0,
            "{} gets streams again",
            origin.origin
        );
    }
}

#[test]
fn a_stream_that_is_placed_again_settles_at_once() {
    let mut world = World::new("rendezvous");
    world.fill(4_000);
    let mut came_back = 0;
    for stream in (0..4_000).step_by(20) {
        let first = world.end(stream);
        world.start(stream);
        let second = world.end(stream);
        world.start(stream);
        assert_eq!(world.streams[&stream], second, "{stream} does not swing");
        came_back += usize::from(first == second);
    }
    assert!(
        came_back > 160,
        "{came_back} of 200 found their origin again"
    );
}

#[test]
fn an_origin_that_comes_or_goes_moves_only_its_own_streams() {
    let mut world = World::new("rendezvous");
    let winner = |world: &World, stream: usize| world.decide(stream).ranked[0].origin.clone();
    let before: Vec<OriginId> = (0..2_000).map(|stream| winner(&world, stream)).collect();
    let gone = world.origins.remove(17).origin;
    let mut moved = 0;
    for (stream, at) in before.iter().enumerate() {
        let now = winner(&world, stream);
        assert!(now == *at || *at == gone, "{stream}: {at} to {now}");
        moved += usize::from(now != *at);
    }
    assert!(
        (1..40).contains(&moved),
        "{moved}: about one in two hundred and forty"
    );
}

#[test]
fn a_full_fleet_refuses_exactly_what_it_cannot_hold_or_overflows() {
    for policy in NAMES {
        let mut world = World::new(policy);
        world.origins.truncate(50);
        for origin in &mut world.origins {
            let attributes = Arc::make_mut(&mut origin.attributes);
            attributes.max_streams = Some(20);
        }
        let taken = (0..1_200).filter(|stream| world.start(*stream)).count();
        assert_eq!(taken, 1_000, "{policy}");
        let full = |one: &CandidateFacts| one.usage.streams == 20;
        assert!(world.origins.iter().all(full), "{policy}");
        world.rules.overflow = true;
        let decision = world.decide(5_000);
        assert!(
            decision.overflows && decision.rejected.is_empty(),
            "{policy}"
        );
        assert!(world.start(5_000), "{policy}");
    }
}

#[test]
fn least_load_evens_out_though_reports_are_old() {
    let mut world = World::new("least_load");
    world.origins.truncate(40);
    for stream in 0..1_400 {
        if stream % 40 == 0 {
            // Every origin sends a heartbeat: a stream costs two hundredths of a usual machine.
            for origin in &mut world.origins {
                let cpu = origin.usage.streams as u32 * 2_000 / origin.attributes.weight;
                origin.load.cpu = Some(cpu);
            }
        }
        let decision = world.decide(stream);
        let best = world.at(&decision.ranked[0].origin);
        assert!(world.origins[best].load.cpu.is_none_or(|cpu| cpu <= 800));
        assert!(world.start(stream));
    }
    for origin in &world.origins {
        let share = 1_400.0 * f64::from(origin.attributes.weight) / 4_800.0;
        let held = origin.usage.streams as f64;
        assert!(
            (share * 0.5..share * 1.6).contains(&held),
            "{}: {held} of {share}",
            origin.origin
        );
    }
}

#[test]
fn an_origin_that_came_up_lately_is_given_its_streams_by_and_by() {
    let rules = Rules {
        slow_start: Duration::from_secs(30),
        ..Rules::default()
    };
    for (seconds, weight) in [(0, 10), (3, 10), (9, 30), (29, 90), (30, 100), (900, 100)] {
        let origin = CandidateFacts {
            up: Duration::from_secs(seconds),
            ..standing(1, Attributes::default())
        };
        let policy = by_name("rendezvous").unwrap();
        let key = key(1);
        let question = question(&key);
        let decision = place(&*policy, &rules, &[origin], &question);
        assert_eq!(decision.ranked[0].weight, weight, "after {seconds} s");
    }
}

#[test]
fn those_that_take_new_streams_are_counted() {
    let policy = by_name("least_load").unwrap();
    let limited = || Attributes {
        max_streams: Some(1),
        ..Attributes::default()
    };
    let one = || standing(1, limited());
    let rejected = |why| CandidateFacts {
        reject: Some(why),
        ..one()
    };
    let full = CandidateFacts {
        usage: Usage {
            streams: 1,
            ..Usage::default()
        },
        ..one()
    };
    let mut busy = one();
    busy.load.cpu = Some(900);
    let weightless = standing(
        1,
        Attributes {
            weight: 0,
            ..limited()
        },
    );
    // How many take streams where a full origin refuses, and where all may be more than full.
    for (cause, facts, refusing, overflowing) in [
        ("it is up", one(), 1, 1),
        ("it drains", rejected(Reject::Draining), 0, 0),
        ("it is disabled", rejected(Reject::Disabled), 0, 0),
        ("it is silent", rejected(Reject::Silent), 0, 0),
        ("it fails", rejected(Reject::Failing), 0, 0),
        ("it is given nothing", weightless, 0, 0),
        ("it is full", full, 0, 1),
        ("it is busy", busy, 0, 1),
    ] {
        for (overflow, expected) in [(false, refusing), (true, overflowing)] {
            let rules = Rules {
                overflow,
                ..Rules::default()
            };
            let found = takers(&*policy, &rules, std::slice::from_ref(&facts));
            assert_eq!(found, expected, "{cause}, overflow {overflow}");
        }
    }
}

proptest! {
    #[test]
    fn every_origin_is_ranked_or_rejected_once_and_for_a_reason(
        stream in 0..1000_usize,
        rows in prop::collection::vec(rows(), 0..12),
        zone in prop::option::of(0..3_usize),
        overflow in any::<bool>(),
    ) {
        let origins: Vec<CandidateFacts> = rows.into_iter().enumerate().map(|(number, row)| row.standing(number)).collect();
        let rules = Rules { overflow, ..Rules::default() };
        let zone = zone.map(|zone| format!("z{zone}"));
        let key = key(stream);
        for name in NAMES {
            let policy = by_name(name).unwrap();
            let question = PlacementQuestion { zone: zone.as_deref(), ..question(&key) };
            let decision = place(&*policy, &rules, &origins, &question);
            let ranked = decision.ranked.iter().map(|one| one.origin.clone());
            let rejected = decision.rejected.iter().map(|(origin, _)| origin.clone());
            let mut named: Vec<OriginId> = ranked.chain(rejected).collect();
            named.sort();
            let mut known: Vec<OriginId> = origins.iter().map(|one| one.origin.clone()).collect();
            known.sort();
            prop_assert_eq!(named, known, "{}", name);
            let of = |id: &OriginId| origins.iter().find(|one| one.origin == *id).unwrap();
            for (place, candidate) in decision.ranked.iter().enumerate() {
                let standing = of(&candidate.origin);
                prop_assert!(standing.attributes.weight > 0);
                prop_assert!(standing.reject.is_none() || standing.reject == Some(Reject::Failing));
                let is_full = standing.attributes.max_streams.is_some_and(|most| standing.usage.streams >= most as usize);
                prop_assert!(!is_full || decision.overflows);
                if let Some(zone) = &zone {
                    let local = standing.attributes.zone.as_ref() == Some(zone);
                    prop_assert_eq!(local, place < decision.local, "ours come first");
                }
            }
            let failing = decision.ranked.iter().any(|one| of(&one.origin).reject.is_some());
            let up = decision.ranked.iter().any(|one| of(&one.origin).reject.is_none());
            prop_assert!(!(failing && up), "those that fail only where nobody is up");
            prop_assert_eq!(takers(&*policy, &rules, &origins) > 0, up, "whoever counts them foresees that");
        }
    }
}

#[derive(Debug, Clone)]
struct RowOf {
    weight: u32,
    zone: usize,
    reject: Option<Reject>,
    streams: usize,
    max_streams: Option<u32>,
    cpu: Option<u32>,
}

impl RowOf {
    fn standing(self, number: usize) -> CandidateFacts {
        let attributes = Attributes {
            weight: self.weight,
            zone: Some(format!("z{}", self.zone)),
            max_streams: self.max_streams,
            ..Attributes::default()
        };
        let mut standing = standing(number, attributes);
        standing.reject = self.reject;
        standing.usage.streams = self.streams;
        standing.load.cpu = self.cpu;
        standing
    }
}

fn rows() -> impl Strategy<Value = RowOf> {
    let reject = prop_oneof![
        4 => Just(None),
        2 => Just(Some(Reject::Failing)),
        1 => Just(Some(Reject::Silent)),
        1 => Just(Some(Reject::Draining)),
    ];
    let limit = prop::option::of(0..5_u32);
    let cpu = prop::option::of(0..1000_u32);
    (0..3_u32, 0..3_usize, reject, 0..5_usize, limit, cpu).prop_map(
        |(weight, zone, reject, streams, max_streams, cpu)| RowOf {
            weight: weight * 50,
            zone,
            reject,
            streams,
            max_streams,
            cpu,
        },
    )
}

fn standing(number: usize, attributes: Attributes) -> CandidateFacts {
    CandidateFacts {
        origin: OriginId::from(format!("o{number}")),
        attributes: Arc::new(attributes),
        services: 2,
        reject: None,
        up: Duration::from_secs(900),
        load: Load::default(),
        usage: Usage::default(),
    }
}

fn key(stream: usize) -> PlacementKey {
    let url = StreamUrl::new("", "live", &format!("s{stream}")).unwrap();
    VhostRule::Ignored.key(&url)
}

fn question(key: &PlacementKey) -> PlacementQuestion<'_> {
    PlacementQuestion {
        key,
        pool: None,
        zone: None,
        only: None,
        without: &[],
        draw: Draw::default(),
    }
}
