use super::rendezvous::by_score;
use super::{Candidate, Draw, Policy, fields};
use crate::stream::PlacementKey;

/// Prefers the less busy of two origins: the power of two choices (Mitzenmacher 2001).
///
/// Rendezvous hashing draws the two, so the draw is a function of the stream. Reports are some seconds old: if every
/// stream went to the origin that was least busy then, it would soon be the busiest. The other origins follow in the
/// order of rendezvous hashing.
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

/// How busy an origin is. If both have no report or report the same, streams per weight count. An origin without a
/// report is neither busy nor idle.
fn busy(candidate: &Candidate) -> (u32, u64) {
    let streams = (candidate.streams as u64).saturating_mul(FINE) / u64::from(candidate.weight);
    (candidate.load.unwrap_or(UNKNOWN), streams)
}

/// The load of an origin without a report, in thousandths.
const UNKNOWN: u32 = 500;
/// The scale for streams per weight, fine enough for the largest weight.
const FINE: u64 = 1_000_000;
