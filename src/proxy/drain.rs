//! The proxy's own drain; and what ends what is left of any drain whose deadline has passed, one session at a time, so
//! that encoders and players come back one by one and not as a storm.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::fleet::drain::{Cause, Drain, Duty, Left};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::Action;
use tracing::{debug, info};

use super::Proxy;
use super::moves::Wish;
use crate::sessions::{EndReason, MoveCause, Row};

impl Proxy {
    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.is_stopping() || self.drain_in_progress().is_some()
    }

    /// Whether those who ask for a stream piece by piece are refused too. Each of their requests stands for itself, so that
    /// one who watches already and one who begins look alike: they go on until the drain's deadline, as sessions do. While
    /// the process stops there is nothing to refuse: no connection is accepted, and one that was open ends after the request
    /// that it has sent, which may have been on its way when the stop began.
    pub(super) fn has_drained(&self) -> bool {
        let overdue = |drain: Drain| drain.is_overdue(Instant::now());
        self.drain_in_progress().is_some_and(overdue)
    }

    /// Whether the process was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Refuses new work from now on, for good.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Refuses new work until [`Proxy::undrain`]; past `time_limit`, sessions are ended one by one.
    pub fn drain(&self, time_limit: Option<Duration>) {
        let mut drain = self.lock_drain();
        let standing = drain.map_or(Duty::Active, Duty::Draining);
        let now = Instant::now();
        *drain = Some(Drain::begin(standing, now, time_limit, Cause::Operator));
        info!(deadline = ?time_limit, "this proxy drains");
    }

    /// Takes new work again, unless the process stops.
    pub fn undrain(&self) {
        if self.lock_drain().take().is_some() {
            info!("this proxy takes new work again");
        }
    }

    /// How long between two sessions that a drain ends.
    pub fn drain_pace(&self) -> Duration {
        self.shared.timing.drain_pace
    }

    /// The drain that an operator asked for.
    pub fn drain_in_progress(&self) -> Option<Drain> {
        *self.lock_drain()
    }

    /// The sessions there are.
    pub fn left(&self) -> Left {
        let rows = self.shared.sessions.list();
        let publishes = |row: &&Arc<Row>| row.request.action == Action::Publish;
        let publishers = rows.iter().filter(publishes).count();
        Left {
            publishers,
            players: rows.len() - publishers,
        }
    }

    fn lock_drain(&self) -> MutexGuard<'_, Option<Drain>> {
        let drain = &self.shared.drain;
        drain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends overdue sessions for ever, one for each draining origin, and one for a draining proxy, each `drain.pace`.
pub async fn run(proxy: Proxy) {
    let mut turns = tokio::time::interval(proxy.drain_pace());
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        for (id, left) in left_by_their_streams(&proxy) {
            let on_it = |row: &Row| row.placed().origin.as_ref() == Some(&id);
            match left {
                LeftBy::Moves(cause) => drop(move_next(&proxy, on_it, cause)),
                LeftBy::All if move_next(&proxy, on_it, MoveCause::Drained) => {}
                LeftBy::All => end_next(&proxy, on_it, EndReason::OriginDrained),
            }
        }
        let now = Instant::now();
        if proxy
            .drain_in_progress()
            .is_some_and(|drain| drain.is_overdue(now))
        {
            end_next(&proxy, |_| true, EndReason::Drained);
        }
    }
}

/// Ends every session of a proxy that stops, publishers first, and returns when none is left that goes on. One ends each
/// `drain.pace`; where that would take longer than `within`, several do.
pub async fn end_within(proxy: &Proxy, within: Duration) {
    let deadline = Instant::now() + within;
    let pace = proxy.drain_pace();
    let mut turns = tokio::time::interval(pace);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let mut rows = proxy.sessions().list();
        rows.retain(|row| !row.has_ended());
        if rows.is_empty() {
            return;
        }
        // The oldest come first, and stay so among their like.
        rows.sort_by_key(|row| row.request.action != Action::Publish);
        let left = deadline.saturating_duration_since(Instant::now());
        for row in rows.iter().take(due_now(rows.len(), left, pace)) {
            row.end(EndReason::Drained);
        }
    }
}

/// How many of the sessions that are `open` end now, so that none is left when `left` has passed: one turn is now, and
/// another after each `pace`.
fn due_now(open: usize, left: Duration, pace: Duration) -> usize {
    let more = left.as_nanos() / pace.as_nanos().max(1);
    let more = usize::try_from(more).unwrap_or(usize::MAX);
    open.div_ceil(more.saturating_add(1))
}

/// Who is to leave an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeftBy {
    /// Everybody: who can be moved first, and the others are ended then.
    All,
    /// Those who can be moved; the others stay until they end.
    Moves(MoveCause),
}

/// The origins that streams are to leave.
fn left_by_their_streams(proxy: &Proxy) -> Vec<(OriginId, LeftBy)> {
    let now = Instant::now();
    proxy.registry().by_duty(|duty| match duty {
        Duty::Draining(drain) if drain.is_overdue(now) => Some(LeftBy::All),
        Duty::Draining(drain) => match drain.cause {
            Cause::Deregistered | Cause::Gone => Some(LeftBy::Moves(MoveCause::Deregistered)),
            Cause::Operator => None,
        },
        Duty::Disabled => Some(LeftBy::Moves(MoveCause::Disabled)),
        Duty::Active => None,
    })
}

/// Begins to move the oldest publisher of those `wanted` that can be moved. False if none can.
fn move_next(proxy: &Proxy, wanted: impl Fn(&Row) -> bool, cause: MoveCause) -> bool {
    let publishers = proxy.sessions().matching(|row| {
        row.request.action == Action::Publish && !row.has_ended() && row.may_be_held()
    });
    let wish = Wish {
        to: None,
        expected: None,
        // Without a deadline nobody is ended: a stream whose viewers cannot follow stays.
        ends_viewers: cause == MoveCause::Drained,
        cause,
    };
    let may =
        |row: &&Arc<Row>| wanted(row) && !row.is_moving() && !row.move_failed_within(AGAIN_AFTER);
    let mut next = publishers.iter().filter(may).take(TRIED_AT_ONCE);
    next.any(|row| {
        let begins = proxy.begin_move(&row.request.stream, &wish).is_ok();
        if !begins {
            row.move_failed();
        }
        begins
    })
}

/// Ends the oldest publisher of those `wanted`; its players go with it. Without a publisher, players.
fn end_next(proxy: &Proxy, wanted: impl Fn(&Row) -> bool, reason: EndReason) {
    let rows: Vec<Arc<Row>> = proxy
        .sessions()
        .list()
        .into_iter()
        .filter(|row| wanted(row) && !row.has_ended())
        // One that is held has left its origin already.
        .filter(|row| row.has_leg() || reason != EndReason::OriginDrained)
        .collect();
    if reason == EndReason::OriginDrained && rows.iter().any(|row| row.is_moving()) {
        // Who moves goes first, and who watches goes with it.
        return;
    }
    let publishes = |row: &&Arc<Row>| row.request.action == Action::Publish;
    if let Some(row) = rows.iter().find(publishes) {
        debug!(session = row.id, stream = %row.request.stream, "drain: its publisher is ended or moved");
        match reason {
            EndReason::OriginDrained => row.lose_leg(LegEnd::Drained),
            reason => row.end(reason),
        }
        return;
    }
    if reason == EndReason::OriginDrained {
        // Those who watch go where their pull goes.
        let pulls = proxy.sessions().pulls();
        let mut pulls = pulls.iter().filter(|pull| !pull.is_held());
        if let Some(pull) = pulls.find(|pull| rows.iter().any(|row| row.pull() == Some(pull.id))) {
            debug!(
                pull = pull.id,
                stream = pull.key.as_str(),
                "drain: its pull is moved"
            );
            return pull.end(LegEnd::Drained);
        }
    }
    let leaves = |row: &&Arc<Row>| {
        reason != EndReason::OriginDrained || row.pull().is_none() && !row.follows()
    };
    let rows: Vec<_> = rows.iter().filter(leaves).collect();
    let share = rows.len().div_ceil(SHARES);
    for row in rows.iter().take(share) {
        match reason {
            EndReason::OriginDrained => row.lose_leg(LegEnd::Drained),
            reason => row.end(reason),
        }
    }
}

/// Publishers that are looked at in one turn, where no origin may take them.
const TRIED_AT_ONCE: usize = 16;
/// How long after a failed move the publisher is left alone.
const AGAIN_AFTER: Duration = Duration::from_secs(10);
/// Players without a publisher here go in this many shares, each smaller than the one before: a thousand in some seconds.
const SHARES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many end in each turn.
    fn turns(mut open: usize, within: Duration, pace: Duration) -> Vec<usize> {
        let mut ended = Vec::new();
        let mut left = within;
        while open > 0 {
            let now = due_now(open, left, pace);
            ended.push(now);
            open -= now;
            left = left.saturating_sub(pace);
        }
        ended
    }

    #[test]
    fn one_session_ends_in_a_turn_unless_the_time_is_too_short_for_that() {
        let (pace, millis) = (Duration::from_millis(100), Duration::from_millis);
        assert_eq!(turns(5, millis(8000), pace), [1; 5]);
        assert_eq!(turns(81, millis(8000), pace), [1; 81]);
        assert_eq!(turns(6, millis(200), pace), [2; 3]);
        assert_eq!(turns(7, millis(250), pace), [3, 2, 2]);
        assert_eq!(turns(9000, Duration::ZERO, pace), [9000], "no time at all");
        let many = turns(9000, millis(8000), pace);
        assert_eq!((many.len(), many.iter().sum::<usize>()), (81, 9000));
        assert!(
            many.iter().all(|count| [111, 112].contains(count)),
            "{many:?}"
        );
    }
}
