use super::rendezvous::{avalanche, by_score};
use super::{Candidate, Draw, Policy};
use crate::stream::{PlacementKey, StreamUrl, VhostRule};

/// Any origin, as the SRS proxy chooses; those with more weight more often.
///
/// Only the draw is random: the same draw gives the same order, so an explanation can show the order that the next
/// stream will get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Random;

impl Policy for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn rank(&self, _: &PlacementKey, draw: Draw, candidates: &mut [Candidate]) {
        let drawn = avalanche(draw.seed ^ avalanche(draw.turn));
        // A stream that nobody asks for: its scores are as random as its name.
        let url = StreamUrl::new("", "", &format!("{drawn:x}"));
        let key = VhostRule::Ignored.key(&url.expect("digits are a name"));
        by_score(&key, candidates);
    }
}
