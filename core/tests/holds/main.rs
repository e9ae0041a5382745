//! Two and three proxies that share a store, one stream, and everything that may happen to it: origins that die, fall silent to
//! one proxy only, drain and come back; a store that is slow, cut off from some, and emptied; encoders that leave, vanish and
//! come back, here or elsewhere; a stranger who wants the same name; players; moves. Seed by seed.
//!
//! What a proxy decides is decided by the code that decides in the program; [`proxy`] carries out what that says, as the
//! program does, over the [`world`]'s network. [`check`] knows only what an observer of all of it sees.

mod check;
mod proxy;
mod scenes;
mod world;

use std::collections::BTreeMap;
use std::ops::Range;

use world::{Plant, World};

/// Tells all that happens in one world: `WORLD=7 PROXIES=2 cargo test --test holds one -- --ignored --nocapture`.
#[test]
#[ignore = "for who looks into a fault"]
#[allow(clippy::disallowed_methods, reason = "a person says which world")]
fn one_world_tells_what_happens() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("WORLD").unwrap_or(0);
    let proxies = number("PROXIES").and_then(|number| usize::try_from(number).ok());
    let proxies = proxies.unwrap_or_else(|| proxies_of(seed));
    let mut world = World::new(seed, proxies, Plant::Nothing);
    world.is_told = true;
    world.live_and_leave();
    println!("{}\n{:#?}", world.told.join("\n"), world.check.faults);
}

/// Many more worlds than a test runs: `WORLDS=200000-240000 cargo test --release --test holds many -- --ignored --nocapture`.
#[test]
#[ignore = "it takes minutes"]
#[allow(clippy::disallowed_methods, reason = "a person says which worlds")]
fn many_worlds_end_well() {
    let range = std::env::var("WORLDS").unwrap_or_default();
    let (from, to) = range.split_once('-').unwrap_or(("0", "10000"));
    let number = |text: &str| text.parse::<u64>().expect("a number");
    let mut faults = Vec::new();
    for seed in number(from)..number(to) {
        let world = run(seed, proxies_of(seed), Plant::Nothing);
        let found = world.check.faults.iter();
        faults.extend(found.map(|fault| format!("seed {seed}: {fault}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// How many proxies a world has where nothing else is said.
const fn proxies_of(seed: u64) -> usize {
    if seed.is_multiple_of(2) { 2 } else { 3 }
}

/// Runs a world to its end.
fn run(seed: u64, proxies: usize, plant: Plant) -> World {
    let mut world = World::new(seed, proxies, plant);
    world.live_and_leave();
    world
}

/// Runs many worlds. Nothing goes wrong in any, and all that may happen does.
fn run_all(seeds: Range<u64>, proxies: usize) {
    let mut faults = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        let world = run(seed, proxies, Plant::Nothing);
        let found = world.check.faults.iter();
        faults.extend(found.map(|fault| format!("seed {seed}: {fault}")));
        for (what, count) in world.check.seen {
            *seen.entry(what).or_default() += count;
        }
    }
    let shown: Vec<&str> = faults.iter().take(10).map(String::as_str).collect();
    let count = faults.len();
    assert!(faults.is_empty(), "{count} faults:\n{}", shown.join("\n"));
    for what in [
        "a hold in vain",
        "a hold that found an origin",
        "a move called off",
        "a move made",
        "a return to a held session",
        "another proxy placed it elsewhere",
        "placed without the store",
    ] {
        let count = seen.get(what).copied().unwrap_or_default();
        assert!(count >= 8, "{what}: {count} of {seen:?}");
    }
}

#[test]
fn two_proxies_hold_a_stream_together() {
    run_all(0..SEEDS, 2);
}

#[test]
fn three_proxies_hold_a_stream_together() {
    run_all(SEEDS..SEEDS + SEEDS / 2, 3);
}

/// Worlds that ended badly once, and what each came across.
#[test]
fn worlds_that_ended_badly_end_well() {
    for (cause, seeds) in [
        (
            "a claim takes the stream elsewhere from sessions of the same proxy",
            &[16_928, 17_020, 100_042, 104_516, 105_759, 107_594, 107_738][..],
        ),
        (
            "so does one that was made without the store",
            &[16_728, 17_301],
        ),
        (
            "a move goes to an origin that drains",
            &[5_227, 6_101, 12_278, 104_861],
        ),
        (
            "a claim on an origin that nobody knows was heard before",
            &[301_015],
        ),
        ("a move loses its origin while its claim is made", &[13_856]),
        (
            "a claim names an origin that is known to the store alone",
            &[3_206],
        ),
        (
            "a claim is made for an origin whose record has run out",
            &[512_205],
        ),
        (
            "messages are under way since the store was slow",
            &[113_036],
        ),
        (
            "a session asks where its stream is when all is looked at",
            &[435_881, 477_241],
        ),
        (
            "all leave when another proxy has just placed the stream elsewhere",
            &[354_779],
        ),
        (
            "an origin is used that reports to nobody any more",
            &[1_475, 340_303, 343_173],
        ),
    ] {
        for seed in seeds {
            let faults = run(*seed, proxies_of(*seed), Plant::Nothing).check.faults;
            assert!(faults.is_empty(), "{cause}, seed {seed}: {faults:?}");
        }
    }
}

/// The checker is worth something: it catches each of these, which a proxy has done once or might.
#[test]
fn a_planted_fault_is_caught() {
    // The first world that is looked at, not long before one that shows it.
    for (plant, first, words) in [
        (Plant::ClaimsAtOnce, 0, "nobody used"),
        (Plant::ClaimsUnseen, 0, "split"),
        (Plant::ForgetsOrigins, 340_000, "has forgotten"),
        (Plant::GoesOverUnseen, 1_200, "split"),
        (Plant::HoldsAgain, 0, "is held for longer"),
        (Plant::KeepsItsClaims, 16_700, "a player is not"),
        (Plant::KeepsMovedClaims, 0, "nobody used"),
        (Plant::KeepsToItself, 0, "split"),
        (Plant::RefusesItsOwn, 0, "did not find its own session"),
    ] {
        let is_caught = (first..first + SEEDS).any(|seed| {
            let faults = run(seed, proxies_of(seed), plant).check.faults;
            faults.iter().any(|fault| fault.contains(words))
        });
        assert!(is_caught, "{plant:?}: nobody sees {words:?}");
    }
}

/// Worlds of one test.
const SEEDS: u64 = 900;
