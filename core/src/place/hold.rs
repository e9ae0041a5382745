//! A client that outlives its origin: for how long it is held, when other origins are asked for it, and which no is the last.

use std::time::{Duration, Instant};

use super::leg::LegEnd;
use crate::fleet::origin::OriginId;
use crate::stream::Action;

/// For how long a client may be without an origin, over all origins that it loses one after the other.
#[derive(Debug)]
pub struct HoldLimit {
    time: Duration,
    /// When it was without one last.
    began: Option<Instant>,
    /// When the origin took it that it has now, or lost last.
    joined_at: Instant,
    closed_by: ClosedBy,
}

impl HoldLimit {
    /// For a client that an origin has taken just now.
    pub const fn new(now: Instant, time: Duration) -> Self {
        Self {
            time,
            began: None,
            joined_at: now,
            closed_by: ClosedBy::new(),
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

    /// When the hold that begins now is to be over, as `origin` was lost by `end`. An origin that was lost at once was none: the
    /// time goes on. `None` where that origin closes a publisher soon after it got it back, which is how some say no: SRS, MediaMTX and
    /// nginx-rtmp judge what comes after they have agreed.
    pub fn deadline(
        &mut self,
        now: Instant,
        action: Action,
        origin: Option<&OriginId>,
        end: LegEnd,
    ) -> Option<Instant> {
        let lasted = now.saturating_duration_since(self.joined_at);
        let again = self.closed_by.again(origin, end, lasted);
        if again && action == Action::Publish {
            return None;
        }
        let began = self.began.filter(|_| lasted < LASTS).unwrap_or(now);
        self.began = Some(began);
        Some(began + self.time)
    }
}

/// The origin that ended a leg by closing it, and that may have got the client back.
#[derive(Debug, Default)]
pub struct ClosedBy(Option<OriginId>);

impl ClosedBy {
    /// No origin has.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Notes how the leg at `origin` ended, which has had the client for `lasted`. Whether that origin closes what it got back
    /// after it had closed it: one that died would not have taken it so soon.
    pub fn again(&mut self, origin: Option<&OriginId>, end: LegEnd, lasted: Duration) -> bool {
        let closes = matches!(end, LegEnd::Broken | LegEnd::Closed | LegEnd::Reset);
        let by = origin.filter(|_| closes);
        let again = by.is_some() && by == self.0.as_ref() && lasted < KEPT;
        self.0 = by.cloned();
        again
    }
}

/// An error that an origin reported of a stream that it had taken.
#[derive(Debug)]
pub struct LastError {
    words: Box<str>,
    /// `None`: just now.
    reported: Option<Instant>,
}

impl LastError {
    /// Reported just now, in these words.
    pub const fn new(words: Box<str>) -> Self {
        Self {
            words,
            reported: None,
        }
    }

    /// Notes the time, if it was reported just now.
    pub fn date(&mut self, now: impl FnOnce() -> Instant) {
        self.reported.get_or_insert_with(now);
    }

    /// The origin's words.
    pub fn into_words(self) -> Box<str> {
        self.words
    }

    /// Whether the connection that ends now ends because of it: that is the origin's no. One that went on after it may have
    /// reported what concerns less than the stream, such as its recording.
    pub fn is_no(&self, now: Instant) -> bool {
        let since = |reported| now.saturating_duration_since(reported);
        self.reported.is_none_or(|reported| since(reported) < KEPT)
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
/// An origin that has kept a client for this long has taken it.
pub const KEPT: Duration = Duration::from_secs(5);
/// The first pause between two rounds of a player or a pull that is held; each one after it is twice as long.
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
        let deadline = |limit: &mut HoldLimit, seconds| {
            limit.deadline(at(seconds), Action::Publish, None, LegEnd::Silent)
        };
        assert_eq!(deadline(&mut limit, 5), Some(at(15)));
        limit.joined(at(7));
        let soon = deadline(&mut limit, 8);
        assert_eq!(soon, Some(at(15)), "it had that one for a second");
        limit.joined(at(9));
        let later = deadline(&mut limit, 11);
        assert_eq!(later, Some(at(21)), "and this one for two");
        let mut limit = HoldLimit::new(start, 10 * SECOND);
        let first = deadline(&mut limit, 1);
        assert_eq!(first, Some(at(11)), "the first hold has all of it");
    }

    #[test]
    fn an_origin_that_closes_what_it_got_back_says_no() {
        let (one, two) = (OriginId::from("one"), OriginId::from("two"));
        let start = start();
        // What happens; who ends the leg of a publisher, how, and after how many seconds of having it; whether it is held.
        type Case<'a> = (&'a str, &'a [(&'a OriginId, LegEnd, u32, bool)]);
        let rows: [Case<'_>; 6] = [
            (
                "a hook that thinks",
                &[
                    (&one, LegEnd::Closed, 0, true),
                    (&one, LegEnd::Closed, 0, false),
                ],
            ),
            (
                "what it cannot take",
                &[
                    (&one, LegEnd::Closed, 60, true),
                    (&one, LegEnd::Reset, 4, false),
                ],
            ),
            (
                "it kept it for a while",
                &[
                    (&one, LegEnd::Closed, 0, true),
                    (&one, LegEnd::Closed, 5, true),
                ],
            ),
            (
                "two that die in turn",
                &[
                    (&one, LegEnd::Closed, 1, true),
                    (&two, LegEnd::Reset, 1, true),
                    (&one, LegEnd::Closed, 1, true),
                ],
            ),
            (
                "one that hangs",
                &[
                    (&one, LegEnd::Silent, 1, true),
                    (&one, LegEnd::Silent, 1, true),
                ],
            ),
            (
                "it is lost in another way between",
                &[
                    (&one, LegEnd::Closed, 1, true),
                    (&one, LegEnd::Silent, 1, true),
                    (&one, LegEnd::Closed, 1, true),
                ],
            ),
        ];
        for (cause, losses) in rows {
            let mut limit = HoldLimit::new(start, 10 * SECOND);
            let mut now = start;
            for (origin, end, seconds, held) in losses {
                limit.joined(now);
                now += *seconds * SECOND;
                let deadline = limit.deadline(now, Action::Publish, Some(origin), *end);
                assert_eq!(deadline.is_some(), *held, "{cause}");
            }
        }
    }

    #[test]
    fn an_error_before_the_end_is_a_no() {
        let start = start();
        let mut error = LastError::new("denied".into());
        assert!(error.is_no(start), "it is the last word");
        error.date(|| start);
        error.date(|| start + SECOND);
        let after = |millis| error.is_no(start + Duration::from_millis(millis));
        assert!(after(0) && after(4_999));
        assert!(!after(5_000), "the stream had gone on");
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
