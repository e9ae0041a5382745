//! What holds for every placement policy, and what each one promises beyond.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sluicegate_core::origin::OriginId;
use sluicegate_core::policy::{Candidate, NAMES, Policy, by_name};
use sluicegate_core::stream::{PlacementKey, StreamUrl, VhostRule};

#[test]
fn every_name_is_that_of_its_policy() {
    for name in NAMES {
        assert_eq!(policy(name).name(), name);
    }
    assert!(by_name("random").is_none());
    assert!(by_name("").is_none());
}

#[test]
fn rendezvous_gives_every_origin_its_share() {
    let origins: Vec<Candidate> = (0..10).map(|number| candidate(number, 5, 0)).collect();
    let mut shares = BTreeMap::new();
    for number in 0..10_000 {
        let best = ranked("rendezvous", &key(number), &origins).swap_remove(0);
        *shares.entry(best).or_insert(0) += 1;
    }
    // 1000 each in the mean, with a standard deviation of 30.
    assert_eq!(shares.len(), 10);
    assert!(
        shares.values().all(|share| (850..=1150).contains(share)),
        "{shares:?}"
    );
}

#[test]
fn least_streams_fills_the_emptiest_first() {
    let origins = [
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
}

#[test]
fn least_streams_leaves_ties_to_rendezvous() {
    let origins: Vec<Candidate> = (0..9).map(|number| candidate(number, 5, 4)).collect();
    for number in 0..50 {
        let tied = ranked("least_streams", &key(number), &origins);
        assert_eq!(tied, ranked("rendezvous", &key(number), &origins));
    }
}

proptest! {
    #[test]
    fn ranking_is_a_permutation(number in any::<u16>(), origins in candidates()) {
        for name in NAMES {
            let mut sorted = origins.clone();
            policy(name).rank(&key(number), &mut sorted);
            prop_assert_eq!(by_id(sorted), by_id(origins.clone()), "{}", name);
        }
    }

    #[test]
    fn the_order_they_come_in_does_not_count(number in any::<u16>(), (one, two) in shuffled()) {
        for name in NAMES {
            let (one, two) = (ranked(name, &key(number), &one), ranked(name, &key(number), &two));
            prop_assert_eq!(one, two, "{}", name);
        }
    }

    #[test]
    fn origins_with_more_services_come_first(number in any::<u16>(), origins in candidates()) {
        for name in NAMES {
            let mut sorted = origins.clone();
            policy(name).rank(&key(number), &mut sorted);
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
        for name in NAMES {
            let mut before = ranked(name, &key(number), &origins);
            before.retain(|origin| *origin != gone);
            prop_assert_eq!(before, ranked(name, &key(number), &left), "{}", name);
        }
    }

    #[test]
    fn rendezvous_does_not_care_how_full_an_origin_is(number in any::<u16>(), origins in candidates()) {
        let mut empty = origins.clone();
        empty.iter_mut().for_each(|one| one.streams = 0);
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
    Candidate {
        origin: OriginId::from(format!("origin{number}")),
        services,
        streams,
    }
}

fn ranked(name: &str, key: &PlacementKey, candidates: &[Candidate]) -> Vec<OriginId> {
    let mut candidates = candidates.to_vec();
    policy(name).rank(key, &mut candidates);
    candidates
        .into_iter()
        .map(|candidate| candidate.origin)
        .collect()
}

fn by_id(mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.sort_by(|one, two| one.origin.cmp(&two.origin));
    candidates
}

fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
    prop::collection::vec((any::<u8>(), 1..4usize, 0..4usize), 0..12).prop_map(|rows| {
        let mut seen = BTreeSet::new();
        rows.into_iter()
            .filter(|(number, _, _)| seen.insert(*number))
            .map(|(number, services, streams)| candidate(number, services, streams))
            .collect()
    })
}

fn shuffled() -> impl Strategy<Value = (Vec<Candidate>, Vec<Candidate>)> {
    candidates().prop_flat_map(|one| (Just(one.clone()), Just(one).prop_shuffle()))
}
