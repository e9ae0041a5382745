//! Which origin should hold a stream: a policy orders the candidates, its caller walks them until one answers.
//!
//! A policy is a pure function of the key, the candidates and the [`Draw`]. It never filters: who may take new work,
//! and who offers the protocol asked for, is decided before, by [`placement`](crate::place::placement). To add one: a file
//! here, an arm in [`by_name`], its name in [`NAMES`]; the suite in `core/tests/policy.rs` finds it there.

mod least_load;
mod least_streams;
mod random;
mod rendezvous;
mod round_robin;

use std::cmp::Ordering;

pub use least_load::LeastLoad;
pub use least_streams::LeastStreams;
pub use random::Random;
pub use rendezvous::Rendezvous;
pub use round_robin::RoundRobin;

use self::rendezvous::Hasher;
use crate::fleet::origin::OriginId;
use crate::stream::PlacementKey;

/// An origin that may take a new stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Which origin.
    pub origin: OriginId,
    /// How many services it offers. Origins with more come first under every policy, because a stream stays where
    /// it is placed and every protocol its players may ask for should be served there.
    pub services: usize,
    /// How many streams it holds now.
    pub streams: usize,
    /// Its share of new streams in relation to the others; never 0.
    pub weight: u32,
    /// How busy it is, in thousandths of what it can bear; `None` where nothing tells.
    pub load: Option<u32>,
    /// What the policy gives it, more is better; compared among origins of as many services.
    pub score: f64,
    /// Decides between equals; the policy sets it.
    pub hash: u64,
}

impl Candidate {
    /// An origin that has yet to be ranked.
    pub const fn new(
        origin: OriginId,
        services: usize,
        streams: usize,
        weight: u32,
        load: Option<u32>,
    ) -> Self {
        Self {
            origin,
            services,
            streams,
            weight: if weight == 0 { 1 } else { weight },
            load,
            score: 0.0,
            hash: 0,
        }
    }
}

/// What comes from outside the facts: the same draw and the same candidates give the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Draw {
    /// Drawn once, at start.
    pub seed: u64,
    /// How many streams were placed before.
    pub turn: u64,
    /// How far over its fair share of streams an origin may be before others are preferred, in percent of that share;
    /// `None` where counts are not to be trusted, because claims are not atomic. Only [`Rendezvous`] asks.
    pub bound: Option<u32>,
}

/// Orders candidates for a new stream.
pub trait Policy: Send + Sync {
    /// The name in the settings.
    fn name(&self) -> &'static str;

    /// Orders `candidates`, best first, and sets their scores. Every proxy that ranks the same candidates with the
    /// same draw, in whatever order it holds them, gets the same result.
    fn rank(&self, key: &PlacementKey, draw: Draw, candidates: &mut [Candidate]);

    /// Whether an origin that is busy takes no new streams under this policy.
    fn spares_the_busy(&self) -> bool {
        false
    }
}

/// The policy called `name` in the settings; one of [`NAMES`].
pub fn by_name(name: &str) -> Option<Box<dyn Policy>> {
    match name {
        "least_load" => Some(Box::new(LeastLoad)),
        "least_streams" => Some(Box::new(LeastStreams)),
        "random" => Some(Box::new(Random)),
        "rendezvous" => Some(Box::new(Rendezvous)),
        "round_robin" => Some(Box::new(RoundRobin)),
        _ => None,
    }
}

/// Every name that [`by_name`] knows.
pub const NAMES: [&str; 5] = [
    "rendezvous",
    "least_streams",
    "least_load",
    "round_robin",
    "random",
];

/// Gives every candidate the hash that decides between equals.
fn hash(key: &PlacementKey, candidates: &mut [Candidate]) {
    let hasher = Hasher::new(key);
    for candidate in candidates {
        candidate.hash = hasher.score(&candidate.origin);
    }
}

/// Sorts by services and score, then by the hash; `first` comes between services and score.
fn sort(candidates: &mut [Candidate], first: impl Fn(&Candidate, &Candidate) -> Ordering) {
    candidates.sort_unstable_by(|one, two| {
        two.services
            .cmp(&one.services)
            .then_with(|| first(one, two))
            .then_with(|| two.score.total_cmp(&one.score))
            .then_with(|| two.hash.cmp(&one.hash))
            .then_with(|| one.origin.cmp(&two.origin))
    });
}

/// Runs of as many services in sorted candidates: policies that look at the whole field look at one of them.
fn fields(candidates: &mut [Candidate]) -> impl Iterator<Item = &mut [Candidate]> {
    candidates.chunk_by_mut(|one, two| one.services == two.services)
}
