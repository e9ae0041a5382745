//! How much of a stream's name may be seen in log lines and metrics. Encoders treat the name as a key: a person who knows it
//! can publish, so some operators want it nowhere in full.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

/// What is shown of the last part of a stream's name. Its vhost and app are shown in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamNames {
    /// All of it.
    #[default]
    Keep,
    /// A hash, the same for the same name until the process ends, so that lines can be brought together and names not
    /// guessed.
    Hash,
    /// The last four characters.
    LastFour,
}

impl StreamNames {
    /// A stream, as `vhost/app/name`, in the form that may be seen.
    pub fn mask(self, stream: &str) -> String {
        let (before, name) = match stream.rfind('/') {
            Some(slash) => stream.split_at(slash + 1),
            None => ("", stream),
        };
        match self {
            Self::Keep => stream.to_owned(),
            Self::Hash => format!(
                "{before}#{:016x}",
                SEED.get_or_init(RandomState::new).hash_one(name)
            ),
            Self::LastFour => {
                let count = name.chars().count();
                // Of a short name the last four characters would be most.
                let shown = if count >= LEAST { 4 } else { 0 };
                let last: String = name.chars().skip(count - shown).collect();
                format!("{before}…{last}")
            }
        }
    }
}

/// Decides for the whole process; the first call counts.
pub fn decide(names: StreamNames) {
    let _ = DECIDED.set(names);
}

/// What was decided: everything is shown until then.
pub fn decided() -> StreamNames {
    DECIDED.get().copied().unwrap_or_default()
}

/// A stream in the form that was decided on.
pub fn masked(stream: &str) -> String {
    decided().mask(stream)
}

// Log lines have one destination in a process, and so have one form.
static DECIDED: OnceLock<StreamNames> = OnceLock::new();
static SEED: OnceLock<RandomState> = OnceLock::new();
/// Names shorter than this show nothing of themselves.
const LEAST: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_show_what_they_may() {
        for (cause, names, stream, expected) in [
            (
                "all",
                StreamNames::Keep,
                "v/live/secret-key",
                "v/live/secret-key",
            ),
            (
                "the end",
                StreamNames::LastFour,
                "v/live/secret-key",
                "v/live/…-key",
            ),
            (
                "a short name",
                StreamNames::LastFour,
                "v/live/abcdef",
                "v/live/…",
            ),
            (
                "letters of two bytes",
                StreamNames::LastFour,
                "v/äöüäöüäöü",
                "v/…üäöü",
            ),
        ] {
            assert_eq!(names.mask(stream), expected, "{cause}");
        }
        let hash = |stream| StreamNames::Hash.mask(stream);
        assert_eq!(hash("v/live/a"), hash("v/live/a"));
        assert_ne!(hash("v/live/a"), hash("v/live/b"));
        assert!(hash("v/live/a").starts_with("v/live/#") && !hash("v/live/a").ends_with("/a"));
    }
}
