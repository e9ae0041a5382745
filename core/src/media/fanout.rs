//! Which viewers share one pull of their stream.

use std::str::FromStr;

use crate::place::rule::FanoutRule;
use crate::stream::StreamUrl;

/// Whether the viewers of a stream share a pull, and who lets them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// They share one, and the origin is asked for each of them, by a shadow.
    Checked,
    /// Each has a leg of their own.
    #[default]
    Off,
    /// They share one, and every viewer that this proxy lets in may watch.
    Open,
}

impl FromStr for Mode {
    type Err = NotAMode;

    fn from_str(text: &str) -> Result<Self, NotAMode> {
        match text {
            "checked" => Ok(Self::Checked),
            "off" => Ok(Self::Off),
            "open" => Ok(Self::Open),
            _ => Err(NotAMode),
        }
    }
}

/// Neither off, checked nor open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither off, checked nor open")]
pub struct NotAMode;

/// What an operator set about sharing pulls.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modes {
    /// What holds for a stream that no rule speaks of.
    pub general: Mode,
    /// The first that speaks of a stream counts.
    pub rules: Vec<FanoutRule>,
}

impl Modes {
    /// What holds for `stream`.
    pub fn of(&self, stream: &StreamUrl) -> Mode {
        let rule = self.rules.iter().find(|rule| rule.covers(stream));
        rule.map_or(self.general, |rule| rule.mode)
    }

    /// Whether `mode` holds for some streams.
    pub fn names(&self, mode: Mode) -> bool {
        self.general == mode || self.rules.iter().any(|rule| rule.mode == mode)
    }
}

/// The parts of a query that do not name the stream, in the order in which they came. `consumed` says of a parameter's
/// name that it says who the viewer is, and was judged here: it is left out too.
///
/// Viewers whose rests differ may be meant to see different things, so they share no pull.
pub fn rest_of_query(query: &str, consumed: impl Fn(&str) -> bool) -> String {
    let mut rest = String::new();
    for pair in query.split(['&', '?', '#']) {
        let name = pair.split('=').next().unwrap_or_default().trim();
        if name.is_empty() || NAMES_STREAM.contains(&name) || consumed(name) {
            continue;
        }
        if !rest.is_empty() {
            rest.push('&');
        }
        rest.push_str(pair);
    }
    rest
}

/// The parts of a query whose parameters are in `names`, in the order in which they came: what makes different streams of
/// one name where an origin judges the rest.
pub fn part_of_query(query: &str, names: &[String]) -> String {
    rest_of_query(query, |name| !names.iter().any(|one| one == name))
}

/// Parameters that are part of a stream's name; see [`StreamUrl::from_rtmp`].
const NAMES_STREAM: [&str; 2] = ["domain", "vhost"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_speaks_of_a_stream_counts() {
        let modes = Modes {
            general: Mode::Open,
            rules: ["app=vod mode=off", "stream=paid-* mode=checked"]
                .map(|rule| rule.parse().unwrap())
                .into(),
        };
        for (stream, expected) in [
            ("v/live/a", Mode::Open),
            ("v/vod/paid-1", Mode::Off),
            ("v/live/paid-1", Mode::Checked),
        ] {
            assert_eq!(modes.of(&stream.parse().unwrap()), expected, "{stream}");
        }
        assert!(modes.names(Mode::Checked) && modes.names(Mode::Off));
        assert!(!Modes::default().names(Mode::Open));
    }

    #[test]
    fn what_names_the_stream_or_was_judged_is_no_rest() {
        let rows = [
            ("nothing", "", ""),
            ("a name's part", "vhost=a.example", ""),
            (
                "a name's part among others",
                "a=1&vhost=a.example&b=2",
                "a=1&b=2",
            ),
            ("a judged one", "token=x&a=1", "a=1"),
            (
                "several queries in one",
                "a=1?token=x#domain=d.example",
                "a=1",
            ),
            ("a word", "low", "low"),
            ("empty ones", "&&=x&", ""),
        ];
        for (cause, query, expected) in rows {
            assert_eq!(
                rest_of_query(query, |name| name == "token"),
                expected,
                "{cause}"
            );
        }
        let names = ["angle".to_owned()];
        let part = part_of_query("token=x&angle=2&vhost=v", &names);
        assert_eq!(part, "angle=2");
    }
}
