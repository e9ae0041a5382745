//! Which streams leave an overloaded origin: tables, properties, and a fleet of two hundred origins and twenty thousand
//! streams, from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluicegate_core::fleet::load::{Load, Report};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::rebalance::{
    Facts, Limits, Move, OriginFacts, Plan, Rebalancer, Stays, StreamFacts,
};
use sluicegate_core::stream::{PlacementKey, StreamUrl, VhostRule};

const SECOND: Duration = Duration::from_secs(1);
/// How long an origin is overloaded before streams leave it.
const LASTS: Duration = Duration::from_secs(30);

#[allow(
    clippy::disallowed_methods,
    reason = "a test needs some instant to count from"
)]
fn start() -> Instant {
    Instant::now()
}

fn key(name: &str) -> PlacementKey {
    VhostRule::Ignored.key(&StreamUrl::new("", "live", name).unwrap())
}

/// An origin that uses `cpu` thousandths of its processors to carry `kbps` kilobits per second.
fn origin(id: &str, cpu: u32, kbps: u64) -> OriginFacts {
    OriginFacts {
        origin: id.into(),
        cpu: Some(cpu),
        kbps,
        max_kbps: None,
        weight: 100,
        may_take: true,
        is_preferred: false,
        streams_left: None,
        legs_left: None,
    }
}

fn stream(name: &str, origin: &str, kbps: u64) -> StreamFacts {
    StreamFacts {
        key: key(name),
        origin: origin.into(),
        kbps,
        legs: 1,
        stays: None,
        moved_at: None,
    }
}

/// `hot` has nine streams of 1,000 kbit/s, each a tenth of it, and one too many.
fn hot_and(others: Vec<OriginFacts>) -> Facts {
    let mut origins = vec![origin("hot", 900, 9000)];
    origins.extend(others);
    let streams = (1..=9).map(|number| stream(&number.to_string(), "hot", 1000));
    Facts {
        origins,
        streams: streams.collect(),
        proxies: 1,
    }
}

fn planned(facts: &Facts) -> Plan {
    Rebalancer::default().plan(start(), facts, Duration::ZERO, |_, _| true)
}

/// What goes where, as `name>origin`.
fn moves(plan: &Plan) -> Vec<String> {
    let moves = plan.moves.iter();
    moves.map(|it| format!("{}>{}", name(it), it.to)).collect()
}

fn name(it: &Move) -> &str {
    it.key.as_str().rsplit('/').next().unwrap()
}

#[test]
fn the_least_leaves_for_the_origin_with_the_most_room() {
    let facts = hot_and(vec![origin("warm", 500, 5000), origin("cool", 300, 3000)]);
    let plan = planned(&facts);
    assert_eq!(moves(&plan), ["1>cool"]);
    let (overload, it) = (&plan.overloaded[0], &plan.moves[0]);
    assert_eq!((overload.excess, overload.leaving), (1000, 1000));
    assert_eq!((overload.load, overload.after), (900, 800));
    assert_eq!(overload.staying, BTreeMap::from([(Stays::NotNeeded, 8)]));
    assert_eq!(
        it.to_string(),
        "hot is at 90%, and cool will be at 40%",
        "a tenth more"
    );
}

#[test]
fn an_origin_is_overloaded_by_its_processors_or_by_its_bandwidth() {
    let of_bandwidth = |kbps: u64| OriginFacts {
        cpu: None,
        max_kbps: Some(10_000),
        ..origin("hot", 0, kbps)
    };
    for (cause, facts, expected) in [
        ("processors", origin("hot", 851, 9000), true),
        ("no more than may be", origin("hot", 850, 9000), false),
        ("bandwidth", of_bandwidth(8_510), true),
        ("no more bandwidth than may be", of_bandwidth(8_500), false),
        (
            "nobody says how much it may carry",
            OriginFacts {
                cpu: None,
                ..origin("hot", 0, 9000)
            },
            false,
        ),
    ] {
        let mut all = hot_and(vec![origin("cool", 100, 1000)]);
        all.origins[0] = facts;
        assert_eq!(!planned(&all).moves.is_empty(), expected, "{cause}");
    }
}

#[test]
fn no_stream_goes_where_it_may_not() {
    let cool = || origin("cool", 100, 1000);
    for (cause, other) in [
        (
            "it would be filled to more than 70 %",
            origin("cool", 601, 6000),
        ),
        (
            "nobody knows its load",
            OriginFacts {
                cpu: None,
                ..cool()
            },
        ),
        (
            "it takes none",
            OriginFacts {
                may_take: false,
                ..cool()
            },
        ),
        (
            "it has no place for a stream",
            OriginFacts {
                streams_left: Some(0),
                ..cool()
            },
        ),
        (
            "it has no place for its legs",
            OriginFacts {
                legs_left: Some(0),
                ..cool()
            },
        ),
        (
            "it has no bandwidth",
            OriginFacts {
                max_kbps: Some(2_800),
                ..cool()
            },
        ),
        (
            "it is too small",
            OriginFacts {
                weight: 10,
                ..cool()
            },
        ),
    ] {
        let plan = planned(&hot_and(vec![other]));
        assert_eq!(plan.moves, [], "{cause}");
        let staying = &plan.overloaded[0].staying;
        assert_eq!(*staying, BTreeMap::from([(Stays::NoRoom, 9)]), "{cause}");
    }
    let facts = hot_and(vec![cool()]);
    let plan = Rebalancer::default().plan(start(), &facts, Duration::ZERO, |_, _| false);
    assert_eq!(plan.moves, [], "it may not have any of them");
    let facts = hot_and(vec![cool(), origin("near", 500, 5000)]);
    let mut near = facts.clone();
    near.origins[2].is_preferred = true;
    assert_eq!(moves(&planned(&facts)), ["1>cool"]);
    assert_eq!(moves(&planned(&near)), ["1>near"], "it is preferred");
    let plan = Rebalancer::default().plan(start(), &facts, Duration::ZERO, |_, to| {
        to.as_str() == "near"
    });
    assert_eq!(moves(&plan), ["1>near"], "it may go to no other");
}

#[test]
fn a_stream_that_must_stay_stays_and_another_leaves() {
    let now = start();
    let mut facts = hot_and(vec![origin("cool", 100, 1000)]);
    let [one, two, three, four, five, ..] = &mut facts.streams[..] else {
        panic!("nine of them");
    };
    one.stays = Some(Stays::Viewers);
    two.stays = Some(Stays::Publisher);
    three.moved_at = Some(now);
    four.stays = Some(Stays::New);
    five.kbps = 0;
    let plan = Rebalancer::default().plan(now + 599 * SECOND, &facts, Duration::ZERO, |_, _| true);
    assert_eq!(moves(&plan), ["6>cool"]);
    let expected = [
        (Stays::New, 2),
        (Stays::NotNeeded, 3),
        (Stays::Publisher, 1),
        (Stays::Rests, 1),
        (Stays::Viewers, 1),
    ];
    assert_eq!(plan.overloaded[0].staying, expected.into());
    let plan = Rebalancer::default().plan(now + 600 * SECOND, &facts, Duration::ZERO, |_, _| true);
    assert_eq!(moves(&plan), ["3>cool"], "ten minutes are over");
}

#[test]
fn what_cannot_be_relieved_enough_is_relieved_as_far_as_it_goes() {
    let mut facts = hot_and(vec![origin("cool", 400, 4000)]);
    facts.origins[0].cpu = Some(1000);
    facts.origins[0].kbps = 10_000;
    facts.streams.push(stream("large", "hot", 1000));
    let few = facts.origins.clone();
    assert_eq!(planned(&facts).moves.len(), 2, "two tenths too many");
    facts.origins = few;
    facts.origins[1].cpu = Some(500);
    facts.origins[1].streams_left = Some(1);
    let plan = planned(&facts);
    assert_eq!(plan.moves.len(), 1);
    assert_eq!(plan.overloaded[0].after, 900);
}

#[test]
fn moves_begin_when_an_overload_has_lasted_and_only_so_many_at_once() {
    let now = start();
    let limits = Limits {
        under_way: 2,
        ..Limits::default()
    };
    let mut it = Rebalancer::new(limits);
    let mut facts = hot_and(vec![origin("cool", 100, 1000), origin("fresh", 100, 1000)]);
    facts.origins[0].cpu = Some(1000);
    facts.streams.iter_mut().for_each(|one| one.kbps = 500);
    let due = |it: &Rebalancer, at: Instant| {
        let plan = it.plan(at, &facts, LASTS, |_, _| true);
        assert!(!plan.moves.is_empty(), "{plan:?}");
        let due = plan.moves.into_iter().filter(|it| it.is_due);
        due.collect::<Vec<Move>>()
    };
    assert!(it.look(now, &facts.origins));
    assert_eq!(due(&it, now), []);
    assert_eq!(due(&it, now + 29 * SECOND), []);
    let now = now + 30 * SECOND;
    let first = due(&it, now);
    assert_eq!(first.len(), 2);
    first.iter().for_each(|one| it.began(now, one));
    assert_eq!(it.under_way(), 2);
    assert_eq!(due(&it, now), [], "they are under way");
    it.made(now, &first[0].key);
    it.failed(now, &first[1].key, false);
    let next = due(&it, now);
    assert_eq!(next.len(), 2);
    let keys: BTreeSet<_> = first.iter().chain(&next).map(|it| &it.key).collect();
    assert_eq!(
        keys.len(),
        4,
        "each stream once, also after a move that failed"
    );
}

#[test]
fn an_overload_begins_above_85_percent_and_ends_at_80() {
    let now = start();
    let mut it = Rebalancer::default();
    let mut facts = hot_and(vec![origin("cool", 100, 1000)]);
    for (cpu, expected) in [(850, 0), (851, 1), (830, 1), (800, 0), (830, 0), (860, 1)] {
        facts.origins[0].cpu = Some(cpu);
        it.look(now, &facts.origins);
        let plan = it.plan(now, &facts, LASTS, |_, _| true);
        assert_eq!(plan.overloaded.len(), expected, "{cpu}");
    }
    let cool = facts.origins.split_off(1);
    assert!(!it.look(now, &cool), "it is gone");
}

#[test]
fn a_move_is_counted_at_both_ends_until_reports_show_it() {
    let now = start();
    let mut it = Rebalancer::default();
    let facts = hot_and(vec![origin("cool", 450, 4500)]);
    it.look(now, &facts.origins);
    let plan = it.plan(now, &facts, LASTS, |_, _| true);
    it.began(now, &plan.moves[0]);
    let again = it.plan(now, &facts, LASTS, |_, _| true);
    assert_eq!(again, Plan::default(), "it is at 80 % already");
    it.made(now, &plan.moves[0].key);
    let mut more = facts.clone();
    more.origins[0].cpu = Some(1000);
    more.origins[1].cpu = Some(550);
    let plan = it.plan(now + 5 * SECOND, &more, LASTS, |_, _| true);
    assert_eq!(plan.moves, [], "the other is full");
    // Reports show it, and nothing has changed: it was not enough.
    let later = now + 200 * SECOND;
    it.look(later, &facts.origins);
    let plan = it.plan(later, &facts, LASTS, |_, _| true);
    assert_eq!(moves(&plan), ["2>cool"]);
}

#[test]
fn an_origin_that_refused_a_stream_is_spared_for_a_while() {
    let now = start();
    let mut it = Rebalancer::default();
    let facts = hot_and(vec![origin("cool", 100, 1000)]);
    it.look(now, &facts.origins);
    let plan = it.plan(now, &facts, LASTS, |_, _| true);
    it.began(now, &plan.moves[0]);
    it.failed(now, &plan.moves[0].key, true);
    let after = |seconds: u32| it.plan(now + seconds * SECOND, &facts, LASTS, |_, _| true);
    assert_eq!(after(59).moves, []);
    assert_eq!(moves(&after(60)), ["2>cool"]);
}

#[test]
fn proxies_share_what_leaves_and_the_room_there_is() {
    let mut facts = hot_and(vec![origin("cool", 500, 5000)]);
    facts.origins[0].cpu = Some(1000);
    // 1,800 kbit/s have to leave, and there is room for a fifth of an origin.
    assert_eq!(planned(&facts).overloaded[0].excess, 1800);
    assert_eq!(planned(&facts).moves.len(), 1);
    facts.proxies = 2;
    facts.streams.truncate(4);
    let plan = planned(&facts);
    assert_eq!(
        plan.overloaded[0].excess, 801,
        "four ninths of it are here, and a part of one is one"
    );
    assert_eq!(plan.moves, [], "half the room is too little for one");
    facts.origins[1].cpu = Some(400);
    assert_eq!(planned(&facts).moves.len(), 1);
}

/// The least sum of some of the sizes that is enough; `None` if all are too little.
fn least(sizes: &[u64], need: u64) -> Option<u64> {
    let sums = (0_u32..1 << sizes.len()).map(|some| {
        let some = sizes
            .iter()
            .enumerate()
            .filter(|(at, _)| some >> at & 1 == 1);
        some.map(|(_, size)| size).sum::<u64>()
    });
    sums.filter(|sum| *sum >= need).min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 500 }))]

    #[test]
    fn little_more_leaves_than_has_to(
        sizes in prop::collection::vec(1_u64..20_000, 1..11),
        rest in 0_u64..40_000,
        used in 851_u64..1200,
        room in prop::option::of(0_u64..60_000),
    ) {
        let kbps = sizes.iter().sum::<u64>() + rest;
        let most = kbps * 1000 / used;
        let streams = sizes.iter().enumerate().map(|(at, size)| stream(&at.to_string(), "hot", *size));
        let cool = OriginFacts { cpu: None, max_kbps: Some(room.unwrap_or(4_000_000_000)), ..origin("cool", 0, 0) };
        let hot = OriginFacts { cpu: None, max_kbps: Some(most), ..origin("hot", 0, kbps) };
        let facts = Facts { origins: vec![hot, cool], streams: streams.collect(), proxies: 1 };
        let plan = planned(&facts);
        let Some(overload) = plan.overloaded.first() else { return Ok(()) };
        let least = least(&sizes, overload.excess);
        match least {
            Some(least) => prop_assert!(overload.leaving * 5 <= least * 6, "{overload:?} {least}"),
            None => prop_assert!(overload.leaving < overload.excess, "{overload:?}"),
        }
        if room.is_none() {
            let enough = overload.leaving * 100 >= overload.excess * 99;
            prop_assert_eq!(enough, least.is_some() || enough, "{:?}", overload);
        }
        let counted = plan.moves.len() + overload.staying.values().sum::<usize>();
        prop_assert_eq!(counted, sizes.len());
        if let Some(room) = room {
            prop_assert!(overload.leaving * 10 <= room * 7, "{:?}", overload);
        }
    }

    #[test]
    fn no_plan_overloads_an_origin_or_moves_a_stream_twice(
        loads in prop::collection::vec((0_u32..1000, 500_u64..50_000, 25_u32..200), 2..9),
        streams in prop::collection::vec((0_usize..9, 1_u64..9000), 0..60),
        proxies in 1_u32..4,
    ) {
        let origins: Vec<OriginFacts> = loads.iter().enumerate()
            .map(|(at, (cpu, kbps, weight))| OriginFacts { weight: *weight, ..origin(&format!("o{at}"), *cpu, *kbps) })
            .collect();
        let streams = streams.iter().enumerate().map(|(at, (from, kbps))| {
            let from = &origins[from % origins.len()].origin;
            stream(&at.to_string(), from.as_str(), *kbps)
        });
        let facts = Facts { streams: streams.collect(), origins: origins.clone(), proxies };
        let now = start();
        let mut it = Rebalancer::default();
        it.look(now, &facts.origins);
        let mut seen = BTreeSet::new();
        let mut filled: BTreeMap<OriginId, f64> = BTreeMap::new();
        // The second plan knows what the first one began.
        for _ in 0..2 {
            let at = now + 40 * SECOND;
            let plan = it.plan(at, &facts, LASTS, |_, _| true);
            for one in &plan.moves {
                let by_id = |id: &OriginId| origins.iter().find(|one| one.origin == *id).unwrap();
                let (from, to) = (by_id(&one.from), by_id(&one.to));
                prop_assert!(from.cpu.unwrap() > 800 && to.cpu.unwrap() < 700);
                if !one.is_due {
                    continue;
                }
                prop_assert!(seen.insert(one.key.clone()), "{} twice", one.key);
                it.began(at, one);
                let own: u64 = facts.streams.iter().filter(|it| it.origin == one.from).map(|it| it.kbps).sum();
                let part = one.kbps as f64 / own.max(from.kbps) as f64 * f64::from(from.cpu.unwrap());
                *filled.entry(one.to.clone()).or_default() += part * f64::from(from.weight) / f64::from(to.weight);
            }
            prop_assert!(it.under_way() <= Limits::default().under_way);
            for (id, more) in &filled {
                let before = origins.iter().find(|one| one.origin == *id).unwrap().cpu.unwrap();
                let share = f64::from(700 - before) / f64::from(proxies);
                prop_assert!(*more <= share + 0.01, "{id}: {before} and {more}");
            }
        }
    }
}

const ORIGINS: usize = 200;
const STREAMS: usize = 20_000;

/// A fleet with its streams, and the proxies that they come through.
struct World {
    now: Instant,
    servers: Vec<Server>,
    streams: Vec<Stream>,
    proxies: Vec<Proxy>,
    /// The state of xorshift64.
    random: u64,
    made: Vec<Made>,
}

struct Server {
    /// Thousandths of its processors for a megabit per second.
    costs: f64,
    load: Load,
}

struct Stream {
    at: usize,
    kbps: f64,
    moved_at: Option<Instant>,
}

struct Proxy {
    rebalancer: Rebalancer,
    /// The streams that come through it, by their numbers.
    streams: Vec<StreamFacts>,
    under_way: Vec<(Instant, usize, Move)>,
}

struct Made {
    stream: usize,
    from: usize,
    to: usize,
    kbps: f64,
    at: Instant,
}

impl World {
    /// Every fifth origin is overloaded by up to a quarter, and the others are used to less than two thirds.
    fn new(proxies: usize) -> Self {
        let mut world = Self {
            now: start(),
            servers: Vec::new(),
            streams: Vec::new(),
            proxies: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
            made: Vec::new(),
        };
        for number in 0..STREAMS {
            // Few are many times as large as most.
            let size = 500.0 + 1500.0 * world.draw();
            let popular = 1.0 + 30.0 * world.draw().powi(12);
            let at = number % ORIGINS;
            world.streams.push(Stream {
                at,
                kbps: (size * popular).round(),
                moved_at: None,
            });
        }
        for at in 0..ORIGINS {
            let wanted = match at % 5 {
                0 => 860.0 + 130.0 * world.draw(),
                _ => 250.0 + 400.0 * world.draw(),
            };
            let costs = wanted / (world.kbps_at(at) / 1000.0);
            let load = Load::default();
            world.servers.push(Server { costs, load });
        }
        for number in 0..proxies {
            let own = (number..STREAMS).step_by(proxies);
            let streams = own
                .map(|number| stream(&number.to_string(), "", 0))
                .collect();
            world.proxies.push(Proxy {
                rebalancer: Rebalancer::default(),
                streams,
                under_way: Vec::new(),
            });
        }
        world
    }

    /// A number below 1.
    fn draw(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn kbps_at(&self, at: usize) -> f64 {
        let there = self.streams.iter().filter(|stream| stream.at == at);
        there.map(|stream| stream.kbps).sum()
    }

    /// What each origin carries, and uses of its processors in thousandths.
    fn carried(&self) -> Vec<(f64, f64)> {
        let mut carried = vec![(0.0, 0.0); ORIGINS];
        for stream in &self.streams {
            carried[stream.at].0 += stream.kbps;
        }
        for (one, server) in carried.iter_mut().zip(&self.servers) {
            one.1 = one.0 / 1000.0 * server.costs;
        }
        carried
    }

    /// Lets a second pass.
    fn step(&mut self, second: u64) {
        self.now += SECOND;
        let now = self.now;
        let carried = self.carried();
        for (at, server) in self.servers.iter_mut().enumerate() {
            if (second + at as u64).is_multiple_of(10) {
                let report = Report {
                    cpu: Some(carried[at].1.min(1000.0) as u32),
                    ..Report::default()
                };
                server.load = server.load.heard(Some(report), 10 * SECOND);
            }
        }
        self.end_moves();
        let origins: Vec<OriginFacts> = (0..ORIGINS)
            .map(|at| OriginFacts {
                cpu: self.servers[at].load.cpu,
                ..origin(&format!("o{at}"), 0, carried[at].0 as u64)
            })
            .collect();
        for number in 0..self.proxies.len() {
            if !(second + number as u64).is_multiple_of(5)
                || !self.proxies[number].rebalancer.look(now, &origins)
            {
                continue;
            }
            let facts = self.facts(number, &origins);
            let plan = self.proxies[number]
                .rebalancer
                .plan(now, &facts, LASTS, |_, _| true);
            self.proxies[number].streams = facts.streams;
            for one in plan.moves.into_iter().filter(|it| it.is_due) {
                let takes = Duration::from_secs_f64(0.5 + 4.0 * self.draw());
                let stream: usize = name(&one).parse().unwrap();
                let proxy = &mut self.proxies[number];
                proxy.rebalancer.began(now, &one);
                proxy.under_way.push((now + takes, stream, one));
            }
            let proxy = &self.proxies[number];
            assert!(proxy.rebalancer.under_way() <= Limits::default().under_way);
        }
    }

    fn facts(&mut self, number: usize, origins: &[OriginFacts]) -> Facts {
        let proxies = self.proxies.len();
        let mut streams = std::mem::take(&mut self.proxies[number].streams);
        for (at, one) in streams.iter_mut().enumerate() {
            let stream = &self.streams[number + at * proxies];
            one.origin.clone_from(&origins[stream.at].origin);
            one.kbps = stream.kbps as u64;
            one.moved_at = stream.moved_at;
        }
        Facts {
            origins: origins.to_vec(),
            streams,
            proxies: u32::try_from(proxies).unwrap(),
        }
    }

    /// Ends the moves that are over; one of a hundred fails.
    fn end_moves(&mut self) {
        let now = self.now;
        for number in 0..self.proxies.len() {
            let under_way = std::mem::take(&mut self.proxies[number].under_way);
            let (over, left): (Vec<_>, Vec<_>) =
                under_way.into_iter().partition(|(until, ..)| *until <= now);
            self.proxies[number].under_way = left;
            for (_, number_of_stream, one) in over {
                if self.draw() < 0.01 {
                    self.proxies[number].rebalancer.failed(now, &one.key, true);
                    continue;
                }
                self.proxies[number].rebalancer.made(now, &one.key);
                let stream = &mut self.streams[number_of_stream];
                let to = one.to.as_str()[1..].parse().unwrap();
                self.made.push(Made {
                    stream: number_of_stream,
                    from: stream.at,
                    to,
                    kbps: stream.kbps,
                    at: now,
                });
                stream.at = to;
                stream.moved_at = Some(now);
            }
        }
    }

    /// No stream was moved twice within ten minutes.
    fn assert_rests(&self) {
        let mut last: BTreeMap<usize, Instant> = BTreeMap::new();
        for one in &self.made {
            if let Some(before) = last.insert(one.stream, one.at) {
                let between = one.at - before;
                assert!(between >= 600 * SECOND, "{} after {between:?}", one.stream);
            }
        }
    }
}

#[test]
fn a_large_fleet_is_relieved_once_and_stays_so() {
    for proxies in [1, 2, 3] {
        let mut world = World::new(proxies);
        let before = world.carried();
        // A stream is a hundredth of its origin, so that the least is hardly more than the excess.
        let excess = |(kbps, cpu): &(f64, f64)| kbps * ((cpu - 800.0) / cpu).max(0.0);
        let overloaded = before.iter().filter(|one| one.1 > 850.0);
        let least: f64 = overloaded.map(excess).sum();
        for second in 0..1500 {
            world.step(second);
            if second % 20 == 0 {
                for (at, (_, cpu)) in world.carried().iter().enumerate() {
                    let most = before[at].1.max(710.0);
                    assert!(*cpu <= most, "o{at}: {} to {cpu}", before[at].1);
                }
            }
        }
        let after = world.carried();
        let hottest = after.iter().map(|one| one.1).fold(0.0, f64::max);
        assert!(hottest <= 850.0, "{proxies}: {hottest}");
        let moved: f64 = world.made.iter().map(|one| one.kbps).sum();
        assert!(moved <= 1.2 * least, "{proxies}: {moved} of {least}");
        assert!(moved >= 0.8 * least, "{proxies}: {moved} of {least}");
        world.assert_rests();
        let count = world.made.len();
        for second in 1500..2700 {
            world.step(second);
        }
        assert_eq!(world.made.len(), count, "{proxies}: nothing more moves");
    }
}

#[test]
fn a_large_fleet_whose_load_changes_does_not_oscillate() {
    let mut world = World::new(2);
    let mut came = Vec::new();
    for second in 0..3600 {
        // Every second some streams win or lose viewers, and some end while others begin elsewhere.
        for _ in 0..20 {
            let (number, by) = (world.draw(), 0.8 + 0.45 * world.draw());
            let stream = &mut world.streams[(number * STREAMS as f64) as usize];
            stream.kbps = (stream.kbps * by).clamp(300.0, 60_000.0).round();
        }
        if second % 2 == 0 {
            let (number, at) = (world.draw(), world.draw());
            let number = (number * STREAMS as f64) as usize;
            let is_moving = |proxy: &Proxy| proxy.under_way.iter().any(|it| it.1 == number);
            if !world.proxies.iter().any(is_moving) {
                world.streams[number].at = (at * ORIGINS as f64) as usize;
                came.push(number);
            }
        }
        world.step(second);
        if second % 60 == 59 {
            let carried = world.carried();
            let hot = carried.iter().filter(|one| one.1 > 900.0).count();
            assert!(second < 900 || hot <= 4, "{second}: {hot} are overloaded");
        }
    }
    world.assert_rests();
    // None comes back to an origin that it was moved away from, unless it ended in between.
    let came: BTreeSet<usize> = came.into_iter().collect();
    let mut left: BTreeSet<(usize, usize)> = BTreeSet::new();
    for one in &world.made {
        assert!(
            came.contains(&one.stream) || !left.contains(&(one.stream, one.to)),
            "{} is back at o{}",
            one.stream,
            one.to
        );
        left.insert((one.stream, one.from));
    }
    let count = world.made.len();
    assert!(count > 300, "{count}");
    let often = count - left.iter().map(|one| one.0).collect::<BTreeSet<_>>().len();
    assert!(often * 50 <= count, "{often} of {count} were moved again");
}
