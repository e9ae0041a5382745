//! Name patterns with stars, as they are written in settings.

use std::fmt;
use std::str::FromStr;

/// A text in which `*` matches any run of characters, including none. All other characters match themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Whether the pattern matches all of `text`. Takes time proportional to at most the product of both lengths.
    pub fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last)
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is empty, and would match nothing.
    #[error("a pattern is missing; * means everything")]
    Empty,
    /// It is longer than any name.
    #[error("a pattern of more than {MAX_PATTERN} bytes")]
    TooLong,
}

/// Maximum bytes of a pattern, which is enough for the longest name of a stream.
const MAX_PATTERN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (cause, pattern, text, expected) in [
            ("itself", "live/a", "live/a", true),
            ("something longer", "live/a", "live/ab", false),
            ("everything", "*", "", true),
            ("a beginning", "live/*", "live/a/b", true),
            ("another beginning", "live/*", "vod/a", false),
            ("an end", "*/a", "live/a", true),
            ("an end that comes twice", "*a", "aa", true),
            ("both ends", "a*b", "axxb", true),
            ("ends that would have to overlap", "ab*b", "ab", false),
            ("a middle", "*live*", "vhost/live/a", true),
            ("a middle that is missing", "*live*", "vhost/vod/a", false),
            ("two stars in a row", "a**b", "ab", true),
            ("letters beyond ASCII", "中*", "中文", true),
        ] {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(text), expected, "{cause}");
        }
        assert_eq!("".parse::<Pattern>(), Err(PatternError::Empty));
        assert!("x".repeat(MAX_PATTERN + 1).parse::<Pattern>().is_err());
    }
}
