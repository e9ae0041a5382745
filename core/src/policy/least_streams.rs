use std::cmp::Reverse;

use super::rendezvous::score;
use super::{Candidate, Policy};
use crate::stream::PlacementKey;

/// The origin with the fewest streams first; rendezvous decides between equals.
///
/// It evens out load sooner than [`super::Rendezvous`], but two proxies that place the same new stream at the same
/// moment agree only as far as they know the same counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastStreams;

impl Policy for LeastStreams {
    fn name(&self) -> &'static str {
        "least_streams"
    }

    fn rank(&self, key: &PlacementKey, candidates: &mut Vec<Candidate>) {
        candidates.sort_by_cached_key(|candidate| {
            (
                Reverse(candidate.services),
                candidate.streams,
                Reverse(score(key, &candidate.origin)),
                candidate.origin.clone(),
            )
        });
    }
}
