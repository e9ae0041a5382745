use std::cmp::Reverse;

use super::{Candidate, Policy};
use crate::origin::OriginId;
use crate::stream::PlacementKey;

/// Rendezvous hashing (highest random weight): every origin has its own score for a stream, the highest wins.
///
/// An origin that comes takes only the streams it now wins; one that goes gives up only its own. Nothing is
/// stored, so proxies that know the same origins agree without talking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rendezvous;

impl Policy for Rendezvous {
    fn name(&self) -> &'static str {
        "rendezvous"
    }

    fn rank(&self, key: &PlacementKey, candidates: &mut Vec<Candidate>) {
        candidates.sort_by_cached_key(|candidate| {
            (
                Reverse(candidate.services),
                Reverse(score(key, &candidate.origin)),
                candidate.origin.clone(),
            )
        });
    }
}

/// The score of `origin` for the stream `key`.
///
/// It is part of what a cluster agrees on: proxies of different versions place new streams alike only while it
/// stays as it is. The golden test below holds it.
pub(super) fn score(key: &PlacementKey, origin: &OriginId) -> u64 {
    // FNV-1a, with a byte between the two texts that UTF-8 never uses, so no two pairs run together.
    let bytes = key
        .as_str()
        .bytes()
        .chain([0xff])
        .chain(origin.as_str().bytes());
    let hash = bytes.fold(FNV_OFFSET_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME)
    });
    avalanche(hash)
}

/// The finaliser of MurmurHash3: FNV-1a alone leaves the high bits of ids that differ in their last byte alike.
const fn avalanche(mut hash: u64) -> u64 {
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

/// FNV-1a's 64-bit parameters; the basis is our fixed seed.
const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

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
                score(&key, &OriginId::from(origin)),
                expected,
                "{path} {origin}"
            );
        }
    }
}
