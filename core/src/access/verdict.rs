//! The gate's answer, and how the answers of several checks become one.

use std::time::Duration;

use super::identity::Identity;
use super::limits::Most;
use super::question::UsedHeader;
use super::rules::Bind;
use crate::stream::StreamUrl;

/// The answer of the gate, or of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may, on these terms.
    Yes(Grant),
    /// It may not.
    No(Denial),
    /// That cannot be said now.
    Later(Delay),
}

/// Why nobody can say now whether a client may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// When the client may ask again.
    pub after: Duration,
    /// What keeps the answer away, for logs only.
    pub cause: String,
}

/// What a client may do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Grant {
    /// Until when the same may be asked for again on these terms, in seconds since 1970: the end of a signature or a token.
    /// A session that began before may last.
    pub valid_until: Option<u64>,
    /// When the session has to end, in seconds since 1970.
    pub ends_at: Option<u64>,
    /// Who the client is, as the check knows it.
    pub who: Identity,
    /// How much it may have at once.
    pub limits: Option<Most>,
    /// The stream that it gets in place of the one that it asked for.
    pub stream: Option<StreamUrl>,
    /// Where the holder of a link that it gets has to be: the rule says so, and no check.
    pub bind: Bind,
    /// How long a session lasts until it is judged again, if it is: the rule says so, too.
    pub recheck: Option<Duration>,
    /// The query parameters that were used up here.
    pub used: Vec<Box<str>>,
    /// The headers that were used up here.
    pub headers: Box<[UsedHeader]>,
    /// Those that were used here, and that the origin gets all the same.
    pub passed: Vec<Box<str>>,
}

/// Why a client may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Which kind of no it is: each protocol has its own words for it.
    pub why: Why,
    /// In words that the client may read.
    pub reason: String,
    /// Whether the client showed nothing that could have been wrong.
    pub is_nothing_shown: bool,
}

/// The kinds of no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was allowed, and that is over.
    Expired,
    /// It is known, or need not be, and may not.
    Forbidden,
    /// It did not say who it is, or said it wrongly: it may try again with other credentials.
    Unknown,
}

impl Verdict {
    /// That cannot be said now because of `cause`, and may be asked again `after` this long.
    pub fn later(after: Duration, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        Self::Later(Delay { after, cause })
    }
}

impl Denial {
    /// A no of this kind, in these words.
    pub fn new(why: Why, reason: impl Into<String>) -> Self {
        Self {
            why,
            reason: reason.into(),
            is_nothing_shown: false,
        }
    }

    /// A no to who shows nothing of what is needed, in these words.
    pub fn nothing_shown(reason: impl Into<String>) -> Self {
        Self {
            is_nothing_shown: true,
            ..Self::new(Why::Unknown, reason)
        }
    }
}

impl Grant {
    /// What is left where both hold: the earlier end, the first viewer, the first name.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let earlier = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let mut used = self.used;
        used.extend(other.used);
        let headers = [self.headers, other.headers].concat().into();
        let mut passed = self.passed;
        passed.extend(other.passed);
        Self {
            valid_until: earlier(self.valid_until, other.valid_until),
            ends_at: earlier(self.ends_at, other.ends_at),
            who: self.who.or(other.who),
            limits: match (self.limits, other.limits) {
                (Some(one), Some(other)) => Some(one.and(other)),
                (one, other) => one.or(other),
            },
            stream: self.stream.or(other.stream),
            bind: self.bind,
            recheck: self.recheck,
            used,
            headers,
            passed,
        }
    }
}

/// How many of several checks have to say yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// Every one: the first that does not decides.
    All,
    /// One: the first that says yes decides.
    Any,
}

/// Several checks, asked in turn until one verdict stands.
#[derive(Debug, Clone)]
pub struct Trial {
    quorum: Quorum,
    left: usize,
    so_far: Verdict,
    decided: bool,
}

impl Trial {
    /// A trial by `checks` checks. With none of them, [`Quorum::All`] is a yes and [`Quorum::Any`] a no.
    pub fn new(quorum: Quorum, checks: usize) -> Self {
        let so_far = match quorum {
            Quorum::All => Verdict::Yes(Grant::default()),
            Quorum::Any => Verdict::No(Denial::new(Why::Forbidden, "no check allows it")),
        };
        Self {
            quorum,
            left: checks,
            so_far,
            decided: checks == 0,
        }
    }

    /// Whether no further check is needed.
    pub const fn is_decided(&self) -> bool {
        self.decided
    }

    /// Takes the answer of the next check.
    pub fn hear(&mut self, answer: Verdict) {
        if self.decided {
            return;
        }
        self.left = self.left.saturating_sub(1);
        self.decided = self.left == 0;
        match (self.quorum, answer) {
            (Quorum::All, Verdict::Yes(grant)) => {
                if let Verdict::Yes(before) = &mut self.so_far {
                    *before = std::mem::take(before).and(grant);
                }
            }
            (Quorum::All, no_or_later) => {
                self.so_far = no_or_later;
                self.decided = true;
            }
            (Quorum::Any, Verdict::Yes(grant)) => {
                self.so_far = Verdict::Yes(grant);
                self.decided = true;
            }
            (Quorum::Any, answer) => {
                if weight(&answer) > weight(&self.so_far) {
                    self.so_far = answer;
                }
            }
        }
    }

    /// What stands.
    pub fn verdict(self) -> Verdict {
        self.so_far
    }
}

/// Of several answers that are no yes, which one the client is told: one that may still turn into a yes first, then what
/// it can do something about, and of that first what is wrong with something that it showed.
const fn weight(answer: &Verdict) -> u8 {
    match answer {
        Verdict::No(Denial {
            why: Why::Forbidden,
            ..
        }) => 0,
        Verdict::No(Denial {
            why: Why::Unknown,
            is_nothing_shown: true,
            ..
        }) => 1,
        Verdict::No(Denial {
            why: Why::Unknown, ..
        }) => 2,
        Verdict::No(Denial {
            why: Why::Expired, ..
        }) => 3,
        Verdict::Later(_) => 4,
        Verdict::Yes(_) => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes() -> Verdict {
        Verdict::Yes(Grant::default())
    }

    fn no(why: Why) -> Verdict {
        Verdict::No(Denial::new(why, "no"))
    }

    fn nothing() -> Verdict {
        Verdict::No(Denial::nothing_shown("something is needed"))
    }

    fn outcome(quorum: Quorum, answers: Vec<Verdict>) -> (Verdict, usize) {
        let mut trial = Trial::new(quorum, answers.len());
        let mut asked = 0;
        for answer in answers {
            if trial.is_decided() {
                break;
            }
            asked += 1;
            trial.hear(answer);
        }
        assert!(trial.is_decided(), "every check answered");
        (trial.verdict(), asked)
    }

    #[test]
    fn all_must_or_any_may() {
        let later = || Verdict::later(Duration::from_secs(3), "it is busy");
        let rows = [
            ("all of them", Quorum::All, vec![yes(), yes()], yes(), 2),
            (
                "one says no",
                Quorum::All,
                vec![no(Why::Unknown), yes()],
                no(Why::Unknown),
                1,
            ),
            (
                "one cannot say",
                Quorum::All,
                vec![yes(), later(), no(Why::Forbidden)],
                later(),
                2,
            ),
            ("none to ask", Quorum::All, vec![], yes(), 0),
            (
                "the first may",
                Quorum::Any,
                vec![yes(), no(Why::Unknown)],
                yes(),
                1,
            ),
            (
                "the last may",
                Quorum::Any,
                vec![no(Why::Unknown), yes()],
                yes(),
                2,
            ),
            (
                "one may come to a yes",
                Quorum::Any,
                vec![later(), no(Why::Unknown)],
                later(),
                2,
            ),
            (
                "what the client can mend is told",
                Quorum::Any,
                vec![no(Why::Unknown), no(Why::Forbidden)],
                no(Why::Unknown),
                2,
            ),
            (
                "what is wrong with what it showed is told first",
                Quorum::Any,
                vec![nothing(), no(Why::Unknown), nothing()],
                no(Why::Unknown),
                3,
            ),
            (
                "and what is needed where it showed nothing",
                Quorum::Any,
                vec![no(Why::Forbidden), nothing()],
                nothing(),
                2,
            ),
        ];
        for (cause, quorum, answers, expected, asked) in rows {
            assert_eq!(outcome(quorum, answers), (expected, asked), "{cause}");
        }
        let (nobody, _) = outcome(Quorum::Any, vec![]);
        assert!(matches!(nobody, Verdict::No(_)), "any of none");
    }

    #[test]
    fn the_terms_of_all_hold_together() {
        let one = Grant {
            valid_until: Some(20),
            who: Identity::viewer("seven"),
            used: vec!["token".into()],
            ..Grant::default()
        };
        let other = Grant {
            valid_until: Some(10),
            ends_at: Some(30),
            who: Identity::viewer("eight"),
            used: vec!["sign".into()],
            ..Grant::default()
        };
        let both = one.and(other);
        assert_eq!((both.valid_until, both.ends_at), (Some(10), Some(30)));
        assert_eq!(both.who.viewer.as_deref(), Some("seven"));
        assert_eq!(both.used, ["token".into(), "sign".into()]);
    }
}
