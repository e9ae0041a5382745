use super::rendezvous::by_score;
use super::{Candidate, Draw, Policy, sort};
use crate::stream::PlacementKey;

/// Prefers the origin with the fewest streams for its weight; rendezvous hashing decides between equals.
///
/// It evens out load sooner than [`super::Rendezvous`]. But two proxies that place the same new stream at the same
/// moment agree only if they know the same counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastStreams;

impl Policy for LeastStreams {
    fn name(&self) -> &'static str {
        "least_streams"
    }

    fn rank(&self, key: &PlacementKey, _: Draw, candidates: &mut [Candidate]) {
        by_score(key, candidates);
        sort(candidates, |one, two| {
            // Compared by cross-multiplication: a division would make unequal shares equal.
            let share =
                |one: &Candidate, two: &Candidate| one.streams as u128 * u128::from(two.weight);
            share(one, two).cmp(&share(two, one))
        });
        for candidate in candidates {
            candidate.score = -(candidate.streams as f64) / f64::from(candidate.weight);
        }
    }
}
