//! Numbers of things, as people write them.

use std::fmt;

/// A number of things: `1 viewer`, `2 viewers`, `0 proxies`.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    count: u64,
    one: &'a str,
}

/// `count` things, each of which is called `one`.
pub fn counted(count: impl TryInto<u64>, one: &str) -> Counted<'_> {
    let count = count.try_into().unwrap_or(u64::MAX);
    Counted { count, one }
}

impl fmt::Display for Counted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, one } = self;
        match (count, one.strip_suffix('y')) {
            (1, _) => write!(formatter, "1 {one}"),
            (_, Some(stem)) if !stem.ends_with(['a', 'e', 'o', 'u']) => {
                write!(formatter, "{count} {stem}ies")
            }
            _ => write!(formatter, "{count} {one}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let rows = [
            (0, "viewer", "0 viewers"),
            (1, "viewer", "1 viewer"),
            (2, "viewer", "2 viewers"),
            (1, "proxy", "1 proxy"),
            (3, "proxy", "3 proxies"),
            (3, "key", "3 keys"),
        ];
        for (count, one, expected) in rows {
            assert_eq!(counted(count, one).to_string(), expected);
        }
    }
}
