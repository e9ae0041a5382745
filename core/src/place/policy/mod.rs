//! Which origin should hold a stream: a policy orders the candidates, and its caller tries them until one answers.
//!
//! A policy is a pure function of the key, the candidates and the [`Draw`]. It never filters:
//! [`placement`](crate::place::placement) decides beforehand which origins may take new work and offer the requested
//! protocol. To add a policy, write a file here, an arm in [`by_name`] and its name in [`NAMES`]; the suite in
//! `core/tests/policy.rs` then finds it.

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
    /// The origin.
    pub origin: OriginId,
    /// The number of services that it offers. Origins with more come first under every policy, because a stream stays
    /// where it is placed, and every protocol that its players may use should be served there.
    pub services: usize,
    /// The number of streams that it holds now.
    pub streams: usize,
    /// Its share of new streams relative to the others; never 0.
    pub weight: u32,
    /// Its load, in thousandths of its capacity; `None` if unknown.
    pub load: Option<u32>,
    /// Its score by the policy, higher is better; compared among origins with equally many services.
    pub score: f64,
    /// Decides between equals; set by the policy.
    pub hash: u64,
}

impl Candidate {
    /// An origin that has not been ranked yet.
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

/// The part of a decision that does not follow from facts: the same draw and the same candidates give the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Draw {
    /// A random number, drawn once at start.
    pub seed: u64,
    /// How many streams were placed before.
    pub turn: u64,
    /// How far over its fair share of streams an origin may be before others are preferred, in percent of that share.
    /// `None` if counts cannot be trusted, because claims are not atomic. Only [`Rendezvous`] uses it.
    pub bound: Option<u32>,
}

/// Orders candidates for a new stream.
pub trait Policy: Send + Sync {
    /// The name in the settings.
    fn name(&self) -> &'static str;

    /// Orders `candidates`, best first, and sets their scores. Every proxy that ranks the same candidates with the same
    /// draw gets the same result, whatever order it has them in.
    fn rank(&self, key: &PlacementKey, draw: Draw, candidates: &mut [Candidate]);

    /// Whether a busy origin gets no new streams under this policy.
    fn spares_the_busy(&self) -> bool {
        false
    }
}

/// The policy called `name` in the settings, which is one of [`NAMES`].
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

/// Sets the hash of every candidate, which decides between equals.
fn hash(key: &PlacementKey, candidates: &mut [Candidate]) {
    let hasher = Hasher::new(key);
    for candidate in candidates {
        candidate.hash = hasher.score(&candidate.origin);
    }
}

/// Sorts by services and score, then by the hash; `first` decides between services and score.
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

/// Groups of sorted candidates with equally many services. Policies that look at all candidates look at one group.
fn fields(candidates: &mut [Candidate]) -> impl Iterator<Item = &mut [Candidate]> {
    candidates.chunk_by_mut(|one, two| one.services == two.services)
}
