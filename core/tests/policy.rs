//! What is true for every placement policy, and what each of them promises in addition.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::policy::{Candidate, Draw, NAMES, Policy, by_name};
use sluicegate_core::stream::{PlacementKey, StreamUrl, VhostRule};

/// The policies under which an origin that comes or goes leaves the others in their order.
const MOVE_LITTLE: [&str; 3] = ["rendezvous", "least_streams", "random"];

#[test]
fn every_name_is_that_of_its_policy() {
    for name in NAMES {
        assert_eq!(policy(name).name(), name);
    }
    assert!(by_name("first").is_none());
    assert!(by_name("").is_none());
}

#[test]
fn rendezvous_gives_every_origin_its_share() {
    let origins: Vec<Candidate> = (0..10).map(|number| candidate(number, 5, 0)).collect();
    let shares = shares("rendezvous", &origins);
    // The mean is 1000 each, with a standard deviation of 30.
    assert_eq!(shares.len(), 10);
    assert!(
        shares.values().all(|share| (850..=1150).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn a_heavier_origin_gets_more_under_every_policy_that_does_not_look_at_streams() {
    let weights = [100, 200, 300, 400];
    let origins: Vec<Candidate> = (0..4_u8)
        .zip(weights)
        .map(|(number, weight)| weighed(number, weight))
        .collect();
    for name in ["rendezvous", "random", "round_robin"] {
        let shares = shares(name, &origins);
        for (number, weight) in (0..4).zip(weights) {
            let share = shares[&OriginId::from(format!("origin{number}"))];
            let expected = usize::try_from(weight).unwrap() * 10;
            assert!(
                share.abs_diff(expected) < 150,
                "{name} {number}: {share} of {expected}"
            );
        }
    }
}

#[test]
fn a_weight_that_grows_takes_streams_and_moves_no_others() {
    let light: Vec<Candidate> = (0..8).map(|number| weighed(number, 100)).collect();
    let mut heavy = light.clone();
    heavy[3] = weighed(3, 200);
    let changed = heavy[3].origin.clone();
    for number in 0..2000 {
        let before = ranked("rendezvous", &key(number), &light).swap_remove(0);
        let after = ranked("rendezvous", &key(number), &heavy).swap_remove(0);
        assert!(
            before == after || after == changed,
            "{number}: {before} {after}"
        );
    }
}

#[test]
fn bounded_rendezvous_passes_over_who_holds_more_than_a_share() {
    let mut origins: Vec<Candidate> = (0..4).map(|number| candidate(number, 5, 100)).collect();
    let plain = ranked("rendezvous", &key(7), &origins);
    let favourite = origins
        .iter_mut()
        .find(|one| one.origin == plain[0])
        .unwrap();
    favourite.streams = 140;
    let bounded = rank("rendezvous", &key(7), bounded(), &origins);
    let mut expected = plain.clone();
    expected.rotate_left(1);
    assert_eq!(bounded, expected);
    assert_eq!(
        ranked("rendezvous", &key(7), &origins),
        plain,
        "without the bound nobody counts"
    );
}

#[test]
fn least_streams_fills_the_emptiest_first() {
    let mut origins = [
        candidate(1, 5, 3),
        candidate(2, 5, 0),
        candidate(3, 5, 7),
        candidate(4, 2, 0),
    ];
    let order = ranked("least_streams", &key(1), &origins);
    assert_eq!(
        order,
        ["origin2", "origin1", "origin3", "origin4"].map(OriginId::from)
    );
    origins[2].weight = 1000;
    let order = ranked("least_streams", &key(1), &origins);
    assert_eq!(
        order,
        ["origin2", "origin3", "origin1", "origin4"].map(OriginId::from),
        "for its weight"
    );
}

#[test]
fn least_streams_leaves_ties_to_rendezvous() {
    let origins: Vec<Candidate> = (0..9).map(|number| candidate(number, 5, 4)).collect();
    for number in 0..50 {
        let tied = ranked("least_streams", &key(number), &origins);
        assert_eq!(tied, ranked("rendezvous", &key(number), &origins));
    }
}

#[test]
fn least_load_takes_the_less_busy_of_two_and_seldom_the_busiest_of_all() {
    let loaded = |number: u8| {
        let load = Some(u32::from(number) * 100);
        Candidate::new(OriginId::from(format!("origin{number}")), 5, 0, 100, load)
    };
    let origins: Vec<Candidate> = (0..8).map(loaded).collect();
    let shares = shares("least_load", &origins);
    let share = |number: u8| {
        let id = OriginId::from(format!("origin{number}"));
        shares.get(&id).copied().unwrap_or(0)
    };
    assert_eq!(share(7), 0, "the busiest loses against any other");
    assert!(
        (1..8).all(|number| share(number) < share(number - 1)),
        "{shares:?}"
    );
    assert!(share(0) < 4000, "not everybody runs to the idlest");
}

#[test]
fn round_robin_goes_around_and_comes_back() {
    let origins: Vec<Candidate> = (0..3).map(|number| candidate(number, 5, 0)).collect();
    let first = |turn| {
        let draw = Draw {
            turn,
            ..Draw::default()
        };
        rank("round_robin", &key(1), draw, &origins).swap_remove(0)
    };
    let round: Vec<OriginId> = (0..6).map(first).collect();
    assert_eq!(
        round,
        [
            "origin0", "origin1", "origin2", "origin0", "origin1", "origin2"
        ]
        .map(OriginId::from)
    );
    let weighed = [weighed(0, 300), weighed(1, 100)];
    let longest = (0..40)
        .map(|turn| {
            let draw = Draw {
                turn,
                ..Draw::default()
            };
            rank("round_robin", &key(1), draw, &weighed).swap_remove(0)
        })
        .collect::<Vec<_>>()
        .chunk_by(|one, two| one == two)
        .map(<[OriginId]>::len)
        .max();
    assert_eq!(longest, Some(3), "a heavy origin is not called in one go");
}

#[test]
fn random_is_drawn_anew_at_each_turn() {
    let origins: Vec<Candidate> = (0..10).map(|number| candidate(number, 5, 0)).collect();
    let first = |seed, turn| {
        let draw = Draw {
            seed,
            turn,
            ..Draw::default()
        };
        rank("random", &key(1), draw, &origins).swap_remove(0)
    };
    let drawn: BTreeSet<OriginId> = (0..100).map(|turn| first(1, turn)).collect();
    assert_eq!(drawn.len(), 10);
    assert!((0..100).any(|turn| first(1, turn) != first(2, turn)));
}

proptest! {
    #[test]
    fn ranking_is_a_permutation(number in any::<u16>(), draw in draws(), origins in candidates()) {
        for name in NAMES {
            let ranked = rank(name, &key(number), draw, &origins);
            let (ranked, given): (BTreeSet<_>, BTreeSet<_>) =
                (ranked.into_iter().collect(), origins.iter().map(|one| one.origin.clone()).collect());
            prop_assert_eq!(ranked, given, "{}", name);
        }
    }

    #[test]
    fn the_order_they_come_in_does_not_count(number in any::<u16>(), draw in draws(), (one, two) in shuffled()) {
        for name in NAMES {
            let (one, two) = (rank(name, &key(number), draw, &one), rank(name, &key(number), draw, &two));
            prop_assert_eq!(one, two, "{}", name);
        }
    }

    #[test]
    fn origins_with_more_services_come_first(number in any::<u16>(), draw in draws(), origins in candidates()) {
        for name in NAMES {
            let mut sorted = origins.clone();
            policy(name).rank(&key(number), draw, &mut sorted);
            prop_assert!(sorted.is_sorted_by(|one, two| one.services >= two.services), "{}", name);
        }
    }

    #[test]
    fn an_origin_that_goes_leaves_the_others_in_order(
        number in any::<u16>(),
        origins in candidates(),
        gone in any::<prop::sample::Index>(),
    ) {
        prop_assume!(!origins.is_empty());
        let gone = gone.get(&origins).origin.clone();
        let left: Vec<Candidate> = origins.iter().filter(|one| one.origin != gone).cloned().collect();
        for name in MOVE_LITTLE {
            let mut before = ranked(name, &key(number), &origins);
            before.retain(|origin| *origin != gone);
            prop_assert_eq!(before, ranked(name, &key(number), &left), "{}", name);
        }
    }

    #[test]
    fn plain_rendezvous_does_not_care_how_full_an_origin_is(number in any::<u16>(), origins in candidates()) {
        let mut empty = origins.clone();
        empty.iter_mut().for_each(|one| { one.streams = 0; one.load = None; });
        let (one, two) = (ranked("rendezvous", &key(number), &origins), ranked("rendezvous", &key(number), &empty));
        prop_assert_eq!(one, two);
    }
}

fn policy(name: &str) -> Box<dyn Policy> {
    by_name(name).expect("a name of the list")
}

fn key(number: u16) -> PlacementKey {
    let url = StreamUrl::new("", "live", &format!("s{number}")).unwrap();
    VhostRule::Ignored.key(&url)
}

fn candidate(number: u8, services: usize, streams: usize) -> Candidate {
    Candidate::new(
        OriginId::from(format!("origin{number}")),
        services,
        streams,
        100,
        None,
    )
}

fn weighed(number: u8, weight: u32) -> Candidate {
    Candidate {
        weight,
        ..candidate(number, 5, 0)
    }
}

fn bounded() -> Draw {
    Draw {
        bound: Some(125),
        ..Draw::default()
    }
}

/// How many of ten thousand streams each origin gets.
fn shares(name: &str, origins: &[Candidate]) -> BTreeMap<OriginId, usize> {
    let mut shares = BTreeMap::new();
    for number in 0..10_000 {
        let draw = Draw {
            turn: u64::from(number),
            ..Draw::default()
        };
        let best = rank(name, &key(number), draw, origins).swap_remove(0);
        *shares.entry(best).or_insert(0) += 1;
    }
    shares
}

fn ranked(name: &str, key: &PlacementKey, candidates: &[Candidate]) -> Vec<OriginId> {
    rank(name, key, Draw::default(), candidates)
}

fn rank(name: &str, key: &PlacementKey, draw: Draw, candidates: &[Candidate]) -> Vec<OriginId> {
    let mut candidates = candidates.to_vec();
    policy(name).rank(key, draw, &mut candidates);
    candidates
        .into_iter()
        .map(|candidate| candidate.origin)
        .collect()
}

fn draws() -> impl Strategy<Value = Draw> {
    (any::<u64>(), any::<u64>(), prop::option::of(100..300_u32))
        .prop_map(|(seed, turn, bound)| Draw { seed, turn, bound })
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let load = prop::option::of(0..1200_u32);
    let row = (any::<u8>(), 1..4usize, 0..4usize, 1..4_u32, load);
    prop::collection::vec(row, 0..12).prop_map(|rows| {
        let mut seen = BTreeSet::new();
        rows.into_iter()
            .filter(|(number, ..)| seen.insert(*number))
            .map(|(number, services, streams, weight, load)| Candidate {
                weight: weight * 50,
                load,
                ..candidate(number, services, streams)
            })
            .collect()
    })
}

fn shuffled() -> impl Strategy<Value = (Vec<Candidate>, Vec<Candidate>)> {
    candidates().prop_flat_map(|one| (Just(one.clone()), Just(one).prop_shuffle()))
}
