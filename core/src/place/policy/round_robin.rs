use super::{Candidate, Draw, Policy, fields, hash, sort};
use crate::stream::PlacementKey;

/// One origin after the other, in the order of their ids; those with more weight come up more often, spread among the
/// others.
///
/// The turn is counted where streams are placed, so two proxies do not take turns with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoundRobin;

impl Policy for RoundRobin {
    fn name(&self) -> &'static str {
        "round_robin"
    }

    fn rank(&self, key: &PlacementKey, draw: Draw, candidates: &mut [Candidate]) {
        hash(key, candidates);
        sort(candidates, |one, two| one.origin.cmp(&two.origin));
        for field in fields(candidates) {
            let first = whose_turn(field, draw.turn);
            field.rotate_left(first);
            for (place, candidate) in field.iter_mut().enumerate() {
                candidate.score = -(place as f64);
            }
        }
    }
}

/// The index of the origin whose turn it is. Every origin has as many fields on a wheel as its weight.
fn whose_turn(candidates: &[Candidate], turn: u64) -> usize {
    let divisor = candidates
        .iter()
        .map(|one| u64::from(one.weight))
        .fold(0, greatest_divisor)
        .max(1);
    let parts = |one: &Candidate| u64::from(one.weight) / divisor;
    let wheel: u64 = candidates.iter().map(parts).sum();
    if wheel == 0 {
        return 0;
    }
    let mut at = (u128::from(turn % wheel) * u128::from(stride(wheel, candidates.len()))
        % u128::from(wheel)) as u64;
    for (place, candidate) in candidates.iter().enumerate() {
        let Some(rest) = at.checked_sub(parts(candidate)) else {
            return place;
        };
        at = rest;
    }
    0
}

/// How far the wheel turns each time. With one field per origin, by one. Otherwise by about the golden ratio of it, so
/// that the fields of one origin do not come up in a row, and without a common divisor with the wheel, so that all
/// fields come up.
fn stride(wheel: u64, origins: usize) -> u64 {
    if wheel == origins as u64 {
        return 1;
    }
    let golden = (wheel as f64 * 0.618_033_988_75) as u64;
    (golden.max(1)..=wheel)
        .find(|stride| greatest_divisor(*stride, wheel) == 1)
        .unwrap_or(1)
}

const fn greatest_divisor(mut one: u64, mut two: u64) -> u64 {
    while two != 0 {
        (one, two) = (two, one % two);
    }
    one
}
