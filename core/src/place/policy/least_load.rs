use super::rendezvous::by_score;
use super::{Candidate, Draw, Policy, fields};
use crate::stream::PlacementKey;

/// The less busy of two: the power of two choices (Mitzenmacher 2001).
///
/// Rendezvous draws the two, so the draw is a function of the stream: reports are some seconds old, and if everybody
/// ran to the one origin that was least busy then, it would soon be the busiest. After the two come the others in the
/// order of rendezvous.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastLoad;

impl Policy for LeastLoad {
    fn name(&self) -> &'static str {
        "least_load"
    }

    fn rank(&self, key: &PlacementKey, _: Draw, candidates: &mut [Candidate]) {
        by_score(key, candidates);
        for field in fields(candidates) {
            if let [first, second, ..] = field
                && busy(second) < busy(first)
            {
                std::mem::swap(first, second);
            }
        }
        for candidate in candidates {
            candidate.score = 1.0 - f64::from(candidate.load.unwrap_or_default()) / 1000.0;
        }
    }

    fn spares_the_busy(&self) -> bool {
        true
    }
}

/// Between two of which nothing is told, or the same, streams for their weight count; one that tells nothing is
/// neither busy nor idle.
fn busy(candidate: &Candidate) -> (u32, u64) {
    let streams = (candidate.streams as u64).saturating_mul(FINE) / u64::from(candidate.weight);
    (candidate.load.unwrap_or(UNKNOWN), streams)
}

/// What one of which nothing is told counts as, in thousandths.
const UNKNOWN: u32 = 500;
/// Streams for a weight, in fractions as small as the largest weight can make them.
const FINE: u64 = 1_000_000;
