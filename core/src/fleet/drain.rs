//! Whether an origin is to work, as its operator or its source decides, and how a drain comes to its end.
//!
//! This is an order, while health is an observation: an origin can be healthy and drained, or wanted and dead.

use std::time::{Duration, Instant};

/// What an origin is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duty {
    /// It takes new streams.
    #[default]
    Active,
    /// It takes no new clients, not even players of its streams. Its sessions go on.
    Disabled,
    /// It takes no new streams. Players may still join the streams it has, and its sessions may finish.
    Draining(Drain),
}

/// A drain in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// When the drain began.
    pub since: Instant,
    /// When its sessions begin to be ended one by one; `None` if they finish by themselves.
    pub deadline: Option<Instant>,
    /// Who began the drain.
    pub cause: Cause,
}

/// Who began a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The origin was deregistered.
    Deregistered,
    /// The source that listed it no longer does.
    Gone,
    /// An operator.
    Operator,
}

/// The sessions that remain on an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Those that publish.
    pub publishers: usize,
    /// Those that play.
    pub players: usize,
}

impl Duty {
    /// The state in lower case, as in the API.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Draining(_) => "draining",
        }
    }

    /// Whether it may get a stream that is not placed yet.
    pub const fn takes_streams(&self) -> bool {
        matches!(self, Self::Active)
    }

    /// Whether players may join a stream that is on it.
    pub const fn takes_players(&self) -> bool {
        !matches!(self, Self::Disabled)
    }
}

impl Cause {
    /// The cause, as in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deregistered => "deregistered",
            Self::Gone => "gone from its source",
            Self::Operator => "operator",
        }
    }

    /// Whether an origin drained for this cause is removed from the table after its last session. Only the operator
    /// undoes an operator's drain.
    pub const fn ends_in_removal(self) -> bool {
        matches!(self, Self::Deregistered | Self::Gone)
    }
}

impl Drain {
    /// A drain that begins now. If one is already in progress, it continues with the new deadline and cause.
    pub fn begin(standing: Duty, now: Instant, time_limit: Option<Duration>, cause: Cause) -> Self {
        let since = match standing {
            Duty::Draining(drain) => drain.since,
            Duty::Active | Duty::Disabled => now,
        };
        Self {
            since,
            deadline: time_limit.and_then(|time_limit| now.checked_add(time_limit)),
            cause,
        }
    }

    /// Whether sessions should be ended now.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline)
    }

    /// How long until the last session ends at the latest, if one is ended every `pace` from the deadline on. Usually
    /// it is sooner, because a publisher takes its players along. `None` without a deadline: then it depends on the
    /// clients.
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
    /// The number of all sessions.
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
