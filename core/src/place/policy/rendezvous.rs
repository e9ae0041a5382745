use super::{Candidate, Draw, Policy, fields, hash, sort};
use crate::fleet::origin::OriginId;
use crate::stream::PlacementKey;

/// Weighted rendezvous hashing (highest random weight): every origin has its own score for a stream, and the highest
/// score wins.
///
/// A new origin takes only the streams that it now wins, and a vanishing one gives up only its own. Nothing is stored,
/// so proxies that know the same origins agree without talking.
///
/// With a bound in the [`Draw`], origins that hold more than their share plus a slack come after the others (consistent
/// hashing with bounded loads, Mirrokni, Thorup, Zadimoghaddam 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendezvous;

impl Policy for Rendezvous {
    fn name(&self) -> &'static str {
        "rendezvous"
    }

    fn rank(&self, key: &PlacementKey, draw: Draw, candidates: &mut [Candidate]) {
        by_score(key, candidates);
        let Some(percent) = draw.bound else { return };
        for field in fields(candidates) {
            let streams: usize = field.iter().map(|candidate| candidate.streams).sum();
            let weights: u64 = field.iter().map(|one| u64::from(one.weight)).sum();
            let is_over =
                |one: &Candidate| one.streams >= bound(streams, weights, one.weight, percent);
            if field.iter().any(is_over) {
                // A stable sort, so that each half stays in the order of its scores.
                field.sort_by_key(is_over);
            }
        }
    }
}

/// Orders by the weighted score only.
pub(super) fn by_score(key: &PlacementKey, candidates: &mut [Candidate]) {
    hash(key, candidates);
    let weight = candidates.first().map_or(1, |one| one.weight);
    let alike = candidates.iter().all(|one| one.weight == weight);
    for candidate in &mut *candidates {
        // In (0, 1]. Between equal weights it orders like the hash itself, which the golden test checks.
        let unit = (candidate.hash as f64 + 1.0) / (u64::MAX as f64 + 1.0);
        candidate.score = if alike {
            unit
        } else {
            // Weighted rendezvous hashing (Schindelhauer, Schomaker 2005). The minimum avoids a division by zero for
            // the largest hash.
            f64::from(candidate.weight) / -unit.min(LARGEST_UNIT).ln()
        };
    }
    sort(candidates, |_, _| std::cmp::Ordering::Equal);
}

/// How many streams an origin of `weight` may hold before others are preferred, if origins with total weight `weights`
/// hold `streams`.
pub(super) fn bound(streams: usize, weights: u64, weight: u32, percent: u32) -> usize {
    let streams = streams as u64 + 1;
    let share = streams.saturating_mul(u64::from(weight));
    let with_slack = share.saturating_mul(u64::from(percent)) / 100;
    let most = with_slack
        .div_ceil(weights.max(1))
        .max(share.div_ceil(weights.max(1)) + LEAST_SLACK);
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// The scores of origins for one stream.
///
/// A cluster agrees on them: proxies of different versions place new streams alike only if the scores do not change.
/// The golden test below checks this.
pub(super) struct Hasher(u64);

impl Hasher {
    pub(super) fn new(key: &PlacementKey) -> Self {
        // FNV-1a, with a byte between the two texts that never occurs in UTF-8, so that no two pairs are the same
        // input.
        Self(fnv(fnv(FNV_OFFSET_BASIS, key.as_str().bytes()), [0xff]))
    }

    pub(super) fn score(&self, origin: &OriginId) -> u64 {
        avalanche(fnv(self.0, origin.as_str().bytes()))
    }
}

fn fnv(hash: u64, bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    })
}

/// The finaliser of MurmurHash3. FNV-1a alone gives ids that differ only in their last byte similar high bits.
pub(super) const fn avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// The 64-bit parameters of FNV-1a; the basis is our fixed seed.
const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
/// The largest number below one.
const LARGEST_UNIT: f64 = 1.0 - f64::EPSILON / 2.0;
/// Streams above its share that an origin may always hold, however small the share. While there are few streams, it
/// matters more that proxies with different counts agree than that the load is even.
const LEAST_SLACK: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{StreamUrl, VhostRule};

    #[test]
    fn scores_are_fixed_for_ever() {
        let golden = [
            ("live/a", "origin1", 0xf855_6fc6_8441_b81e),
            ("live/a", "origin2", 0xf261_26cf_0f95_c86b),
            ("live/b", "origin1", 0x0219_6993_f197_acf3),
            ("live/中文", "vid-1-svc-1", 0x4c33_67ac_6bfb_d1f4),
        ];
        for (path, origin, expected) in golden {
            let url = StreamUrl::new("", "", path).unwrap();
            let key = VhostRule::Ignored.key(&url);
            assert_eq!(
                Hasher::new(&key).score(&OriginId::from(origin)),
                expected,
                "{path} {origin}"
            );
        }
    }

    #[test]
    fn the_bound_is_a_share_and_a_little() {
        for (cause, streams, weights, weight, expected) in [
            ("nothing is anywhere", 0, 300, 100, 5),
            ("few streams", 10, 300, 100, 8),
            ("many streams", 2999, 300, 100, 1250),
            ("a heavier origin", 2999, 300, 200, 2500),
            ("alone", 99, 100, 100, 125),
        ] {
            assert_eq!(bound(streams, weights, weight, 125), expected, "{cause}");
        }
    }
}
