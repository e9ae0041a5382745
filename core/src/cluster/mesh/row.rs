//! What one proxy says about one key, and which of two words counts.

use std::time::Duration;

/// What one proxy says about one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Grows with every change that saw the previous one.
    pub fence: u64,
    /// What the row says.
    pub fact: Fact,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// This proxy no longer holds a value here; others may.
    Ended,
    /// The proxy holds a value.
    Held {
        /// The longest lifetime that was requested, in whole milliseconds.
        lifetime: Duration,
        /// Decides between equals, greater first: the age of a claim, or the youth of a put.
        seniority: u64,
        /// The value.
        value: String,
    },
    /// The value was removed, for all proxies.
    Removed,
}

/// A row as its proxy tells it to the others, by gossip and as news. Of two words on one key, the one with the greater
/// number is the later one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Counts what its proxy has said since it started, from 1.
    pub number: u64,
    /// What it says.
    pub row: Row,
}

/// How a word arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By gossip, which carries it on to all proxies, in the order in which it was said.
    Gossip,
    /// Directly from its proxy, and not passed on: in any order, before gossip or after it.
    News,
}

impl Word {
    /// The word as it travels: the number, a space, and the row.
    pub fn encode(&self) -> String {
        format!("{} {}", self.number, self.row.encode())
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (number, row) = text.split_once(' ')?;
        Some(Self {
            number: number.parse().ok()?,
            row: Row::parse(row)?,
        })
    }
}

impl Row {
    /// What rows are compared by; see the [rule](super).
    pub fn rank(&self) -> (u64, u8, Duration, u64, &str) {
        match &self.fact {
            Fact::Ended => (self.fence, 0, Duration::ZERO, 0, ""),
            Fact::Held {
                lifetime,
                seniority,
                value,
            } => (self.fence, 1, *lifetime, *seniority, value),
            Fact::Removed => (self.fence, 2, Duration::ZERO, 0, ""),
        }
    }

    /// The value, if the row holds one.
    pub fn value(&self) -> Option<&str> {
        match &self.fact {
            Fact::Held { value, .. } => Some(value),
            Fact::Ended | Fact::Removed => None,
        }
    }

    /// Whether the row holds a value with a longer lifetime than `than`.
    pub(super) fn outlives(&self, than: Duration) -> bool {
        matches!(&self.fact, Fact::Held { lifetime, .. } if *lifetime > than)
    }

    /// The row as it travels: `7 held 60000 1760000000000 the value`, `7 ended` or `7 removed`.
    pub fn encode(&self) -> String {
        let fence = self.fence;
        match &self.fact {
            Fact::Ended => format!("{fence} ended"),
            Fact::Held {
                lifetime,
                seniority,
                value,
            } => format!("{fence} held {} {seniority} {value}", lifetime.as_millis()),
            Fact::Removed => format!("{fence} removed"),
        }
    }

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (fence, rest) = text.split_once(' ')?;
        let fence = fence.parse().ok()?;
        let fact = match rest {
            "ended" => Fact::Ended,
            "removed" => Fact::Removed,
            _ => {
                let mut words = rest.strip_prefix("held ")?.splitn(3, ' ');
                let lifetime = Duration::from_millis(words.next()?.parse().ok()?);
                let seniority = words.next()?.parse().ok()?;
                let value = words.next()?.to_owned();
                Fact::Held {
                    lifetime,
                    seniority,
                    value,
                }
            }
        };
        Some(Self { fence, fact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(fence: u64, lifetime: u64, seniority: u64, value: &str) -> Row {
        let value = value.to_owned();
        let lifetime = Duration::from_secs(lifetime);
        let fact = Fact::Held {
            lifetime,
            seniority,
            value,
        };
        Row { fence, fact }
    }

    #[test]
    fn which_of_two_rows_counts() {
        let bare = |fence, fact| Row { fence, fact };
        let rows = [
            ("a greater fence", held(2, 1, 1, "a"), held(1, 9, 9, "z")),
            ("a publisher's", held(1, 9, 1, "a"), held(1, 1, 9, "z")),
            ("the senior", held(1, 1, 9, "a"), held(1, 1, 1, "z")),
            (
                "any, always the same",
                held(1, 1, 1, "z"),
                held(1, 1, 1, "a"),
            ),
            ("a removal", bare(1, Fact::Removed), held(1, 9, 9, "z")),
            ("what others hold", held(1, 1, 1, "a"), bare(1, Fact::Ended)),
            ("an end of later", bare(2, Fact::Ended), held(1, 9, 9, "z")),
        ];
        for (name, winner, loser) in rows {
            assert!(winner.rank() > loser.rank(), "{name}");
        }
    }

    #[test]
    fn a_row_is_read_as_it_was_written() {
        for row in [
            held(7, 60, u64::MAX, "srs-proxy-server:a b-s-1"),
            held(0, 0, 0, ""),
            Row {
                fence: u64::MAX,
                fact: Fact::Ended,
            },
            Row {
                fence: 3,
                fact: Fact::Removed,
            },
        ] {
            assert_eq!(Row::parse(&row.encode()).as_ref(), Some(&row));
            let word = Word { number: 9, row };
            assert_eq!(Word::parse(&word.encode()), Some(word));
        }
        for text in [
            "",
            "7",
            "x ended",
            "7 held",
            "7 held 1",
            "7 held 1 2",
            "-1 ended",
            "7 gone",
        ] {
            assert_eq!(Row::parse(text), None, "{text}");
            assert_eq!(Word::parse(text), None, "{text}");
        }
    }
}
