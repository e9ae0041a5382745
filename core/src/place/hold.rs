//! A client that outlives its origin: for how long it is held, when other origins are asked for it, and which no is the last.

use std::time::{Duration, Instant};

use crate::stream::Action;

/// For how long a client may be without an origin, over all origins that it loses one after the other.
#[derive(Debug)]
pub struct HoldLimit {
    time: Duration,
    /// When it was without one last.
    began: Option<Instant>,
    /// When the origin took it that it has now, or lost last.
    joined_at: Instant,
}

impl HoldLimit {
    /// For a client that an origin has taken just now.
    pub const fn new(now: Instant, time: Duration) -> Self {
        Self {
            time,
            began: None,
            joined_at: now,
        }
    }

    /// How long that is.
    pub const fn time(&self) -> Duration {
        self.time
    }

    /// An origin has the client from now on.
    pub const fn joined(&mut self, now: Instant) {
        self.joined_at = now;
    }

    /// When the hold that begins now is to be over. An origin that was lost at once was none: the time goes on.
    pub fn deadline(&mut self, now: Instant) -> Instant {
        let goes_on = now.saturating_duration_since(self.joined_at) < LASTS;
        let began = self.began.filter(|_| goes_on).unwrap_or(now);
        self.began = Some(began);
        began + self.time
    }
}

/// The rounds in which origins are asked for a client that is held, or that follows its stream.
#[derive(Debug)]
pub struct Rounds {
    action: Action,
    began: Instant,
    /// How long a no is not the last word for a player.
    bears_no_for: Duration,
    pause: Duration,
}

impl Rounds {
    /// From now on. `publisher_away`: how long a player may wait for a publisher, which may be on its way to an origin that does
    /// not know the stream before.
    pub const fn new(now: Instant, action: Action, publisher_away: Duration) -> Self {
        let (bears_no_for, pause) = match action {
            // Publishers are often on their way too, and with them the stream that a player waits for.
            Action::Play => (publisher_away, FIRST_PAUSE),
            Action::Publish => (Duration::ZERO, ASK_AGAIN),
        };
        Self {
            action,
            began: now,
            bears_no_for,
            pause,
        }
    }

    /// How long to wait before the next round, after one in which no origin took the client. `None` where an origin, or who
    /// decides about access, has said no in words (`is_no`), and waiting changes nothing.
    pub fn after(&mut self, now: Instant, is_no: bool) -> Option<Duration> {
        let bears_no = now.saturating_duration_since(self.began) < self.bears_no_for;
        if is_no && !bears_no {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(ASK_AGAIN);
        Some(pause)
    }

    /// Whose they are.
    pub const fn action(&self) -> Action {
        self.action
    }
}

/// An origin that has had a client for this long was one: the next hold has its whole time.
pub const LASTS: Duration = Duration::from_secs(2);
/// The first pause between two rounds of a player that is held; each one after it is twice as long.
pub const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// Between two rounds of a session that is held: an origin that comes up is found within this.
pub const ASK_AGAIN: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[allow(clippy::disallowed_methods, reason = "any moment will do for a start")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn origins_that_are_lost_at_once_are_one_hold() {
        let start = start();
        let mut limit = HoldLimit::new(start, 10 * SECOND);
        let at = |seconds: u32| start + seconds * SECOND;
        assert_eq!(limit.deadline(at(5)), at(15));
        limit.joined(at(7));
        assert_eq!(
            limit.deadline(at(8)),
            at(15),
            "it had that one for a second"
        );
        limit.joined(at(9));
        assert_eq!(limit.deadline(at(11)), at(21), "and this one for two");
        let mut limit = HoldLimit::new(start, 10 * SECOND);
        assert_eq!(
            limit.deadline(at(1)),
            at(11),
            "the first hold has all of it"
        );
    }

    #[test]
    fn which_no_is_the_last() {
        let start = start();
        let mut player = Rounds::new(start, Action::Play, 10 * SECOND);
        let pauses: Vec<_> = (0..5).map(|_| player.after(start, true)).collect();
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(
            pauses,
            [millis(20), millis(40), millis(80), millis(160), millis(200)]
        );
        assert_eq!(player.after(start + 10 * SECOND, true), None);
        assert_eq!(player.after(start + 10 * SECOND, false), Some(ASK_AGAIN));
        let mut publisher = Rounds::new(start, Action::Publish, 10 * SECOND);
        assert_eq!(publisher.after(start, false), Some(ASK_AGAIN));
        assert_eq!(publisher.after(start, true), None);
    }
}
