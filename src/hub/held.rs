//! The time in which the viewers of a pull get nothing: its leg is lost, or the publisher of its stream is away. They
//! stay connected, and their clocks stand still.

use std::time::Duration;

use sluicegate_core::counted::counted;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::hold::{ASK_AGAIN, ClosedBy, FIRST_PAUSE};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::rule::HoldTimes;
use sluicegate_core::stream::StreamUrl;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::Inner;
use crate::proxy::Refusal;
use crate::sessions::{Loss, Pull};

/// What a pull knows of the time in which its viewers get nothing.
pub(super) struct Holding<'a> {
    shared: &'a Inner,
    times: HoldTimes,
    now: Option<Interval>,
    /// The leg that was lost last, which the next round of attempts knows of.
    lost: Option<(OriginId, LegEnd)>,
    /// How often origins were asked in vain.
    rounds: u32,
    /// When the hold began that was over last, and when that was.
    former: Option<(Instant, Instant)>,
    closed_by: ClosedBy,
    /// An origin closes what it got back: it is not asked all the time.
    closes_again: bool,
}

/// A hold that has begun.
struct Interval {
    began: Instant,
    loss: Loss,
    from: OriginId,
    until: Instant,
}

impl<'a> Holding<'a> {
    pub(super) fn new(shared: &'a Inner, stream: &StreamUrl) -> Self {
        Self {
            shared,
            times: shared.settings.holds.of(stream),
            now: None,
            lost: None,
            rounds: 0,
            former: None,
            closed_by: ClosedBy::new(),
            closes_again: false,
        }
    }

    /// The leg of `pull` is over. False: so are its viewers.
    pub(super) fn lose_leg(&mut self, pull: &Pull, end: LegEnd) -> bool {
        let viewers = self.times.viewers;
        if viewers.is_zero() {
            return false;
        }
        let lasted = self
            .former
            .map_or(Duration::ZERO, |(_, over)| over.elapsed());
        self.closes_again = self.closed_by.again(Some(&pull.origin()), end, lasted);
        // One that goes on for a moment only is the same hold.
        let former = self.former.take().filter(|_| self.closes_again);
        let began = former.map_or_else(Instant::now, |(began, _)| began);
        if !self.closes_again {
            self.rounds = 0;
        }
        self.begin(pull, Loss::Leg(end), viewers, began);
        self.lost = Some((pull.origin(), end));
        !self.is_over()
    }

    /// The publisher of the stream has left. False: its absence is no matter of ours.
    pub(super) fn lose_publisher(&mut self, pull: &Pull) -> bool {
        let away = self.times.publisher_away;
        if !away.is_zero() {
            self.begin(pull, Loss::Publisher, away, Instant::now());
        }
        !away.is_zero()
    }

    fn begin(&mut self, pull: &Pull, loss: Loss, limit: Duration, began: Instant) {
        let until = |began: Instant| began + limit;
        if let Some(hold) = &mut self.now {
            // It is one hold, with the longer of the limits.
            hold.until = hold.until.max(until(hold.began));
            return;
        }
        let from = pull.origin();
        pull.note_hold(true);
        let viewers = self.shared.proxy.sessions().viewers_of(pull);
        for row in &viewers {
            row.hold(loss, Some(from.clone()));
        }
        info!(
            pull = pull.id,
            stream = pull.key.as_str(),
            reason = loss.as_str(),
            %from,
            viewers = viewers.len(),
            "pull lost, and its viewers are held"
        );
        let what = format!(
            "{} held: {}",
            counted(viewers.len(), "viewer"),
            match loss {
                Loss::Leg(end) => format!("their origin is lost ({})", end.as_str()),
                Loss::Publisher => "their publisher is away".to_owned(),
            }
        );
        self.tell(pull, &from, what);
        self.now = Some(Interval {
            began,
            loss,
            from,
            until: until(began),
        });
    }

    /// Media comes, wherever it comes from.
    pub(super) fn goes_on(&mut self, pull: &Pull) {
        self.lost = None;
        let Some(hold) = self.now.take() else {
            return;
        };
        self.former = Some((hold.began, Instant::now()));
        let to = pull.origin();
        pull.note_hold(false);
        let viewers = self.shared.proxy.sessions().viewers_of(pull);
        for row in &viewers {
            row.found_again(Some(to.clone()));
            row.goes_on(0);
        }
        let gap_ms = u64::try_from(hold.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let reason = hold.loss.as_str();
        info!(
            pull = pull.id,
            stream = pull.key.as_str(),
            reason,
            from = %hold.from,
            %to,
            gap_ms,
            viewers = viewers.len(),
            "pull goes on, and its viewers with it"
        );
        let why = match hold.loss {
            Loss::Leg(end) => format!("{} was lost ({})", hold.from, end.as_str()),
            Loss::Publisher => "their publisher was away".to_owned(),
        };
        let who = counted(viewers.len(), "viewer");
        let what = format!("{who} shown the stream again after {gap_ms} ms: {why}");
        self.tell(pull, &to, what);
    }

    fn tell(&self, pull: &Pull, origin: &OriginId, what: String) {
        let news = News {
            stream: pull.key.as_str().to_owned(),
            origin: origin.as_str().to_owned(),
            client: String::new(),
            what,
        };
        let journal = &self.shared.proxy.metrics().journal;
        journal.note(Kind::Held, news);
    }

    /// The leg that was lost last, if none has brought media since.
    pub(super) const fn lost(&self) -> Option<&(OriginId, LegEnd)> {
        self.lost.as_ref()
    }

    /// How long to wait before the next round of attempts: the first ones follow at once, since the publisher is often
    /// on its way as well.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.rounds);
        self.rounds = self.rounds.saturating_add(1).min(8);
        pause.min(match self.closes_again {
            true => ASK_AGAIN * RARER,
            false => ASK_AGAIN,
        })
    }

    /// Whether its origin closes what it got back.
    pub(super) const fn closes_again(&self) -> bool {
        self.closes_again
    }

    /// Whether its time is over.
    pub(super) fn is_over(&self) -> bool {
        let over = |hold: &Interval| Instant::now() >= hold.until;
        self.now.as_ref().is_some_and(over)
    }

    /// Resolves when its time is over.
    pub(super) async fn over(&self) {
        match &self.now {
            Some(hold) => sleep_until(hold.until).await,
            None => std::future::pending().await,
        }
    }

    /// Whether the stream is asked for again after a refusal. An origin that the stream is to come to may not know it
    /// before its publisher is there.
    pub(super) fn bears(&self, refusal: &Refusal) -> bool {
        let Some(hold) = &self.now else {
            return false;
        };
        match refusal {
            Refusal::Draining | Refusal::Ended(_) => false,
            Refusal::Denied { .. }
            | Refusal::HungUp { .. }
            | Refusal::Redirected { .. }
            | Refusal::Refused { .. } => hold.began.elapsed() < self.times.publisher_away,
            _ => true,
        }
    }

    /// Why the pull is over that was held in vain.
    pub(super) const fn end(&self) -> LegEnd {
        match &self.now {
            Some(Interval {
                loss: Loss::Leg(end),
                ..
            }) => *end,
            _ => LegEnd::Silent,
        }
    }
}

/// How many times longer the longest pause is where an origin closes what it got back.
pub(crate) const RARER: u32 = 10;
