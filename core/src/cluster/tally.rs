//! What a proxy counts for limits that all proxies keep together, as it tells the others: several records, each with a part
//! of the counts.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::records::Record;
use crate::access::limits::CountKey;
use crate::access::tally::Count;

/// A part of what a proxy counts. Its name is the proxy's id, a slash and the number of the part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TallyRecord {
    /// The counts.
    pub counts: HashMap<CountKey, Count>,
}

impl TallyRecord {
    /// The records for these counts, as many as are kept in mind of one proxy; what comes last may be left out.
    pub fn parts(counts: &[(CountKey, Count)]) -> Vec<Self> {
        let parts = counts.chunks(COUNTS).take(MOST_PARTS);
        parts
            .map(|part| Self {
                counts: part.iter().copied().collect(),
            })
            .collect()
    }
}

impl Record for TallyRecord {
    const KIND: &'static str = "tally";
    const VERSION: u16 = 1;
    const LONGEST: usize = COUNTS * 40;

    fn body(&self) -> String {
        let mut lines: Vec<_> = self.counts.iter().collect();
        lines.sort_unstable_by_key(|(key, _)| **key);
        lines.iter().fold(String::new(), |mut text, (key, count)| {
            let _ = writeln!(
                text,
                "{:016x} {} {}",
                key.0, count.publishers, count.viewers
            );
            text
        })
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        let line = |line: &str| {
            // What follows is of a build that counts more.
            let mut words = line.split(' ');
            let key = words.next().filter(|word| word.len() == 16)?;
            let key = CountKey(u64::from_str_radix(key, 16).ok()?);
            let count = Count {
                publishers: words.next()?.parse().ok()?,
                viewers: words.next()?.parse().ok()?,
            };
            Some((key, count))
        };
        let counts = body.lines().take(COUNTS).map(line);
        Some(Self {
            counts: counts.collect::<Option<_>>()?,
        })
    }
}

/// Counts in one record, of at most 38 bytes each.
const COUNTS: usize = 200;
/// Records of one proxy: 1,600 counts. A fleet that counts by more keeps the rest at each proxy.
pub const MOST_PARTS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::records::{Reading, read, write};

    #[test]
    fn the_bytes_of_version_1() {
        let count = |publishers, viewers| Count {
            publishers,
            viewers,
        };
        let counts = [(CountKey(0xb), count(1, 20)), (CountKey(0xa), count(0, 3))];
        let record = TallyRecord::parts(&counts).remove(0);
        let text = "record tally 1 43 000000000000000a 0 3\n000000000000000b 1 20\n";
        assert_eq!(write(&record).unwrap(), text);
        assert_eq!(read(text), Reading::Known(record));
    }

    #[test]
    fn the_largest_counts_fit_and_the_rest_is_left_out() {
        let most = Count {
            publishers: u32::MAX,
            viewers: u32::MAX,
        };
        let counts: Vec<_> = (0..10_000)
            .map(|key| (CountKey(u64::MAX - key), most))
            .collect();
        let parts = TallyRecord::parts(&counts);
        assert_eq!(parts.len(), MOST_PARTS);
        for part in parts {
            assert_eq!(read(&write(&part).unwrap()), Reading::Known(part));
        }
    }

    #[test]
    fn nonsense_is_none() {
        for body in ["a 1 2", "000000000000000a 1", "000000000000000a -1 2", "x"] {
            assert_eq!(TallyRecord::read(1, body), None, "{body}");
        }
        let more = TallyRecord::read(1, "000000000000000a 1 2 9\n").unwrap();
        assert_eq!(more.counts.len(), 1);
    }
}
