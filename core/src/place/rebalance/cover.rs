//! Which of many streams leave, so that little more goes than has to: streams are whole, and differ much in size.

/// The sizes that were chosen, by their places in the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Chosen {
    pub(super) places: Vec<usize>,
    pub(super) sum: u64,
}

/// Chooses sizes that come to `need` at least: together at most a fifth more than the least for which that is possible.
/// `None` if all of them are less. `sizes` are sorted, the largest first.
pub(super) fn cover(sizes: &[u64], need: u64) -> Option<Chosen> {
    if need == 0 {
        return Some(Chosen::default());
    }
    let pool = Pool::new(sizes, need);
    let alone = sizes.iter().copied().filter(|size| *size >= need).min();
    let alone = alone.and_then(|sum| {
        let place = sizes.iter().position(|size| *size == sum)?;
        let places = vec![place];
        Some(Chosen { places, sum })
    });
    let candidates = [alone, pool.exceeds(), pool.fills(true)];
    let candidates = candidates.into_iter().flatten();
    candidates
        .filter(|chosen| chosen.sum >= need)
        .min_by_key(|chosen| (chosen.sum, chosen.places.len()))
}

/// Chooses sizes that come close to `need`, and not to more.
pub(super) fn below(sizes: &[u64], need: u64) -> Chosen {
    if need == 0 {
        return Chosen::default();
    }
    Pool::new(sizes, need).fills(false).unwrap_or_default()
}

/// What sizes below `need` come to: the larger ones in every combination that matters, the small ones as what fills up.
struct Pool<'a> {
    sizes: &'a [u64],
    need: u64,
    /// Sums of larger sizes, each in the slot of its unit.
    sums: Vec<Option<Sum>>,
    /// Where the small sizes begin: each is a fifth of `need` at most, so that the last one exceeds it by no more.
    small: usize,
}

/// One sum, by its last size.
#[derive(Debug, Clone, Copy)]
struct Sum {
    sum: u64,
    /// The place of the last size; none for the empty sum.
    last: Option<usize>,
    /// The slot of the sum without it.
    before: usize,
}

impl<'a> Pool<'a> {
    fn new(sizes: &'a [u64], need: u64) -> Self {
        let small = sizes.partition_point(|size| *size > need / SMALL);
        let unit = need.div_ceil(SLOTS).max(1);
        let slot = |sum: u64| usize::try_from(sum / unit).unwrap_or(usize::MAX);
        let mut sums = vec![None; slot(need) * 2 + 2];
        if let Some(first) = sums.first_mut() {
            *first = Some(Sum {
                sum: 0,
                last: None,
                before: 0,
            });
        }
        let larger = sizes.get(..small).unwrap_or(sizes).iter().enumerate();
        let mut alike = (0, 0);
        for (place, size) in larger.filter(|(_, size)| **size < need) {
            // Of equal ones, more than this are never needed.
            alike = match alike {
                (last, count) if last == slot(*size) => (last, count + 1),
                _ => (slot(*size), 1),
            };
            if alike.1 > SMALL {
                continue;
            }
            for before in (0..=slot(need)).rev() {
                let Some(sum) = sums.get(before).copied().flatten() else {
                    continue;
                };
                let more = sum.sum + size;
                // A sum that is enough needs no other size.
                if sum.sum < need
                    && let Some(free) = sums.get_mut(slot(more)).filter(|slot| slot.is_none())
                {
                    *free = Some(Sum {
                        sum: more,
                        last: Some(place),
                        before,
                    });
                }
            }
        }
        Self {
            sizes,
            need,
            sums,
            small,
        }
    }

    /// The least sum of larger sizes that is enough.
    fn exceeds(&self) -> Option<Chosen> {
        let sums = self.sums.iter().flatten();
        let enough = sums.filter(|sum| sum.sum >= self.need);
        let least = enough.min_by_key(|sum| sum.sum)?;
        Some(self.chosen(least))
    }

    /// The largest sum of larger sizes that is not enough, and small ones in the rest. `over`: one more small one, where
    /// there is one, so that it is enough.
    fn fills(&self, over: bool) -> Option<Chosen> {
        let sums = self.sums.iter().flatten();
        let largest = sums
            .filter(|sum| sum.sum < self.need)
            .max_by_key(|sum| sum.sum)?;
        let mut chosen = self.chosen(largest);
        let mut left = None;
        for (place, size) in self.sizes.iter().enumerate().skip(self.small) {
            if chosen.sum + size <= self.need {
                chosen.places.push(place);
                chosen.sum += size;
            } else {
                left = Some((place, size));
            }
        }
        // Every size that is left would be enough, and the last one is the smallest of them.
        if let Some((place, size)) = left.filter(|_| over && chosen.sum < self.need) {
            chosen.places.push(place);
            chosen.sum += size;
        }
        Some(chosen)
    }

    fn chosen(&self, end: &Sum) -> Chosen {
        let mut chosen = Chosen {
            places: Vec::new(),
            sum: end.sum,
        };
        let mut at = *end;
        while let Some(place) = at.last {
            chosen.places.push(place);
            let Some(before) = self.sums.get(at.before).copied().flatten() else {
                break;
            };
            at = before;
        }
        chosen.places.reverse();
        chosen
    }
}

/// Sizes of this part of what is needed are small.
const SMALL: u64 = 5;
/// Sums of larger sizes are told apart by this part of what is needed.
const SLOTS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_more_goes_than_has_to() {
        for (cause, sizes, need, expected) in [
            ("nothing is needed", vec![5, 3], 0, Some(vec![])),
            ("nothing is there", vec![], 3, None),
            ("all is too little", vec![5, 3], 9, None),
            ("all is just enough", vec![5, 3], 8, Some(vec![0, 1])),
            (
                "two that fit before one and another",
                vec![9, 5, 5],
                10,
                Some(vec![1, 2]),
            ),
            (
                "one that is a little too large",
                vec![90, 12, 9, 1],
                11,
                Some(vec![1]),
            ),
            (
                "the smallest that is enough",
                vec![90, 50, 30],
                11,
                Some(vec![2]),
            ),
            (
                "small ones fill up",
                vec![60, 60, 10, 10, 10, 10],
                100,
                Some(vec![0, 2, 3, 4, 5]),
            ),
        ] {
            let chosen = cover(&sizes, need);
            assert_eq!(chosen.map(|chosen| chosen.places), expected, "{cause}");
        }
    }

    #[test]
    fn what_is_too_little_comes_close() {
        for (cause, sizes, need, sum) in [
            ("nothing is needed", vec![5], 0, 0),
            ("nothing fits", vec![50, 40], 30, 0),
            ("one fits", vec![50, 20], 30, 20),
            ("two fit better", vec![50, 20, 16, 13], 30, 29),
            ("all of it", vec![5, 3], 30, 8),
        ] {
            assert_eq!(below(&sizes, need).sum, sum, "{cause}");
        }
    }
}
