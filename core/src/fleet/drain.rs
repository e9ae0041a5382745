//! Whether an origin is meant to work, as its operator or its source says; and how a drain comes to its end.
//!
//! This is a wish, and health is an observation: an origin can be well and drained, or wanted and dead.

use std::time::{Duration, Instant};

/// What is wanted of an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duty {
    /// It takes new streams.
    #[default]
    Active,
    /// It takes nobody new, not even players of the streams on it; its sessions go on.
    Disabled,
    /// It takes no new streams. Players may still join those it has, and what is on it finishes.
    Draining(Drain),
}

/// A drain in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub since: Instant,
    /// From when on its sessions are ended one by one; `None`: they finish by themselves.
    pub deadline: Option<Instant>,
    /// Who began it.
    pub cause: Cause,
}

/// Who began a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It was deregistered.
    Deregistered,
    /// The source that named it names it no more.
    Gone,
    /// An operator.
    Operator,
}

/// The sessions that are left on an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Those that publish.
    pub publishers: usize,
    /// Those that play.
    pub players: usize,
}

impl Duty {
    /// The state in lower case, as the API spells it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Draining(_) => "draining",
        }
    }

    /// It may be given a stream that is nowhere yet.
    pub const fn takes_streams(&self) -> bool {
        matches!(self, Self::Active)
    }

    /// Players may join a stream that is on it.
    pub const fn takes_players(&self) -> bool {
        !matches!(self, Self::Disabled)
    }
}

impl Cause {
    /// The cause in words, as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deregistered => "deregistered",
            Self::Gone => "gone from its source",
            Self::Operator => "operator",
        }
    }

    /// An origin that is drained for this cause is taken out of the table when its last session is over. An
    /// operator's drain is undone by the operator alone.
    pub const fn ends_in_removal(self) -> bool {
        matches!(self, Self::Deregistered | Self::Gone)
    }
}

impl Drain {
    /// A drain that begins now. One that stands goes on, and gets the new deadline and cause.
    pub fn begin(standing: Duty, now: Instant, patience: Option<Duration>, cause: Cause) -> Self {
        let since = match standing {
            Duty::Draining(drain) => drain.since,
            Duty::Active | Duty::Disabled => now,
        };
        Self {
            since,
            deadline: patience.and_then(|patience| now.checked_add(patience)),
            cause,
        }
    }

    /// Whether sessions are to be ended now.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// When the last session is over at the latest, if one is ended each `pace` from the deadline on. A publisher
    /// takes its players along, so it is usually sooner. `None` without a deadline: that is up to the clients.
    pub fn eta(&self, now: Instant, left: Left, pace: Duration) -> Option<Duration> {
        if left.total() == 0 {
            return Some(Duration::ZERO);
        }
        let rest = self.deadline?.saturating_duration_since(now);
        let sessions = u32::try_from(left.total()).unwrap_or(u32::MAX);
        Some(rest.saturating_add(pace.saturating_mul(sessions)))
    }
}

impl Left {
    /// All of them.
    pub const fn total(&self) -> usize {
        self.publishers + self.players
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(
        clippy::disallowed_methods,
        reason = "a test needs some instant to count from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_eta_counts_from_the_deadline_and_one_session_at_a_time() {
        let now = start();
        let left = |publishers, players| Left {
            publishers,
            players,
        };
        let drain = Drain::begin(Duty::Active, now, Some(10 * SECOND), Cause::Operator);
        let rows = [
            ("nothing is left", left(0, 0), Some(Duration::ZERO)),
            ("publishers alone", left(3, 0), Some(13 * SECOND)),
            ("and players", left(1, 4), Some(15 * SECOND)),
        ];
        for (cause, left, expected) in rows {
            assert_eq!(drain.eta(now, left, SECOND), expected, "{cause}");
        }
        assert_eq!(
            drain.eta(now + 20 * SECOND, left(2, 0), SECOND),
            Some(2 * SECOND),
            "past the deadline"
        );
        let patient = Drain::begin(Duty::Active, now, None, Cause::Operator);
        assert_eq!(patient.eta(now, left(1, 0), SECOND), None, "no deadline");
        assert!(!patient.is_overdue(now + 1000 * SECOND));
        assert!(!drain.is_overdue(now + 9 * SECOND));
        assert!(drain.is_overdue(now + 10 * SECOND));
    }

    #[test]
    fn a_drain_that_is_asked_for_again_keeps_its_beginning_and_gets_the_new_deadline() {
        let now = start();
        let first = Drain::begin(Duty::Disabled, now, None, Cause::Operator);
        let second = Drain::begin(
            Duty::Draining(first),
            now + SECOND,
            Some(SECOND),
            Cause::Gone,
        );
        assert_eq!(second.since, now);
        assert_eq!(second.deadline, Some(now + 2 * SECOND));
        assert_eq!(second.cause, Cause::Gone);
    }
}
