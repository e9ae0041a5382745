//! A median over rounds, its range, and the rounds that count.

/// A median over rounds and its range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// `None` if no value is finite.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let below = values[(values.len() - 1) / 2];
        Some(Self {
            median: f64::midpoint(below, values[middle]),
            low,
            high,
        })
    }

    /// `[lowest, median, highest]`, as JSON shows it.
    pub(crate) fn ordered(self) -> [f64; 3] {
        [self.low, self.median, self.high]
    }
}

/// The rounds that were quiet; all of `rounds` if fewer than half of them were.
pub(crate) fn counted_rounds(rounds: usize, quiet: impl Fn(usize) -> bool) -> Vec<usize> {
    let counted: Vec<usize> = (0..rounds).filter(|round| quiet(*round)).collect();
    if counted.len() * 2 < rounds {
        (0..rounds).collect()
    } else {
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_between_the_lowest_and_the_highest() {
        for (name, values, expected) in [
            ("nothing", &[][..], None),
            ("nothing that is a number", &[f64::NAN, f64::INFINITY], None),
            ("one", &[2.0], Some([2.0, 2.0, 2.0])),
            ("an odd number", &[3.0, 1.0, 2.0], Some([1.0, 2.0, 3.0])),
            (
                "an even number",
                &[4.0, 1.0, 2.0, 9.0],
                Some([1.0, 3.0, 9.0]),
            ),
            (
                "a round without a value",
                &[1.0, f64::NAN, 3.0],
                Some([1.0, 2.0, 3.0]),
            ),
        ] {
            let spread = Spread::of(values.iter().copied()).map(Spread::ordered);
            assert_eq!(spread, expected, "{name}");
        }
    }

    #[test]
    fn noisy_rounds_are_left_out_while_half_of_them_are_quiet() {
        for (quiet, expected) in [
            (&[true, true, true, true][..], &[0, 1, 2, 3][..]),
            (&[true, false, false, true], &[0, 3]),
            (&[true, false, false, false], &[0, 1, 2, 3]),
            (&[], &[]),
        ] {
            let counted = counted_rounds(quiet.len(), |round| quiet[round]);
            assert_eq!(counted, expected, "{quiet:?}");
        }
    }
}
