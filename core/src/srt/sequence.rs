//! Sequence numbers of data packets (section 3.1): 31 bits, after the highest of which comes 0.

/// The number of a data packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence(u32);

impl Sequence {
    /// The number in the low 31 bits of a word.
    pub const fn new(word: u32) -> Self {
        Self(word & MASK)
    }

    /// The number as it is on the wire.
    pub const fn word(self) -> u32 {
        self.0
    }

    /// The number that comes `count` later; at most [`HALF`] of them have an order.
    #[must_use]
    pub const fn plus(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count) & MASK)
    }

    /// The number before this one.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.wrapping_sub(1) & MASK)
    }

    /// How many numbers this one comes after `other`; 0 if it does not.
    pub const fn since(self, other: Self) -> u32 {
        let distance = self.0.wrapping_sub(other.0) & MASK;
        if distance < HALF { distance } else { 0 }
    }

    /// Whether this number comes after `other`.
    pub const fn is_after(self, other: Self) -> bool {
        self.since(other) > 0
    }

    /// The later of both.
    #[must_use]
    pub const fn later(self, other: Self) -> Self {
        if other.is_after(self) { other } else { self }
    }
}

const MASK: u32 = 0x7FFF_FFFF;
/// Numbers that are farther apart are in the other order.
pub const HALF: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_highest_number() {
        for (cause, one, other, distance) in [
            ("the next", 6, 5, 1),
            ("the same", 5, 5, 0),
            ("the one before", 4, 5, 0),
            ("0 after the highest", 0, MASK, 1),
            ("the highest before 0", MASK, 0, 0),
            ("the farthest that is later", HALF - 1, 0, HALF - 1),
            ("too far to be later", HALF, 0, 0),
            ("a word with the highest bit set", 0x8000_0001, 0, 1),
        ] {
            let (one, other) = (Sequence::new(one), Sequence::new(other));
            assert_eq!(one.since(other), distance, "{cause}");
            assert_eq!(one.is_after(other), distance > 0, "{cause}");
        }
        assert_eq!(Sequence::new(MASK).plus(2), Sequence::new(1));
        assert_eq!(Sequence::new(0).before(), Sequence::new(MASK));
        assert_eq!(
            Sequence::new(0).later(Sequence::new(MASK)),
            Sequence::new(0)
        );
    }
}
