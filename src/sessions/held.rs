//! Sessions that outlive their leg: what each hold was for, and how it went.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::counted::counted;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::Action;
use tokio::time::Instant;
use tracing::info;

use super::acks::Acknowledgements;
use super::{MoveOrder, Row};
use crate::api::SessionHold;

/// A time in which a session had no origin that got its media.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Why it got nothing, or gave to nobody.
    pub reason: Loss,
    /// The origin that was lost.
    pub from: Option<OriginId>,
    /// The origin that took the stream after it, once there is one.
    pub to: Option<OriginId>,
    /// From the loss until media flowed again, once it does.
    pub gap: Option<Duration>,
    /// Messages of audio and video that no origin got.
    pub dropped: u64,
    /// When it began.
    pub began: Instant,
}

/// What a session lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Its leg, or that of the pull it is served from.
    Leg(LegEnd),
    /// The publisher of what it watches.
    Publisher,
}

impl Loss {
    /// The loss as logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leg(end) => end.as_str(),
            Self::Publisher => "publisher_away",
        }
    }
}

impl Held {
    /// It, as the API shows it.
    pub fn document(self) -> SessionHold {
        let name = |id: OriginId| id.as_str().to_owned();
        let millis = |gap: Duration| u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
        SessionHold {
            reason: self.reason.as_str().to_owned(),
            from: self.from.map(name),
            to: self.to.map(name),
            gap_ms: self.gap.map(millis),
            dropped: self.dropped,
            ago_seconds: self.began.elapsed().as_secs_f64(),
        }
    }
}

impl Row {
    pub(super) fn tell_kept(&self, held: &Held, gap_ms: u32) {
        let name = |id: &Option<OriginId>| id.as_ref().map_or("-", |id| id.as_str()).to_owned();
        let (from, to) = (name(&held.from), name(&held.to));
        let (reason, dropped) = (held.reason.as_str(), held.dropped);
        info!(
            session = self.id,
            stream = %self.request.stream,
            reason,
            from,
            to,
            gap_ms,
            dropped,
            "session goes on at another origin"
        );
        let who = self.whom();
        let what = format!(
            "its {who} goes on after {gap_ms} ms: {from} was lost ({reason}), {} with it",
            counted(dropped, "message")
        );
        self.tell_held(to, what);
    }

    /// Says why a publisher is not held once more.
    pub(crate) fn tell_closed_again(&self) {
        info!(
            session = self.id,
            stream = %self.request.stream,
            origin = self.origin().as_ref().map(OriginId::as_str),
            "the origin closed a publisher that it had got back: that is its answer"
        );
    }

    /// Whether it is told of by itself. Those who watch a pull are told of together.
    pub(super) fn has_leg_of_its_own(&self) -> bool {
        self.request.action == Action::Publish || self.pull().is_none()
    }

    pub(super) const fn whom(&self) -> &'static str {
        match self.request.action {
            Action::Play => "player",
            Action::Publish => "publisher",
        }
    }

    pub(super) fn tell_held(&self, origin: String, what: String) {
        let news = News {
            stream: self.key.as_str().to_owned(),
            origin,
            client: self.request.client.ip().to_string(),
            what,
        };
        self.metrics().journal.note(Kind::Held, news);
    }
}

/// The holds of one session.
#[derive(Debug, Default)]
pub(super) struct Holds {
    /// An order to move waits for the relay.
    ordered: AtomicBool,
    /// Its stream was placed elsewhere than where its move goes.
    called_back: AtomicBool,
    /// Bytes after which the origin is to acknowledge; 0: nobody says.
    window: AtomicU32,
    // A std mutex: it is held for a line, and only while a leg is lost or found.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Somebody wants the leg to be over, for this reason.
    lost: Option<LegEnd>,
    /// It is on its way to where its stream is, and has its leg until it is there.
    follows: Option<Follows>,
    holds: Vec<Held>,
    began: Option<Instant>,
    /// Since when an origin has the stream and waits for media to begin.
    found: Option<Instant>,
    moves: Moves,
    // Boxed: only publishers that may be held have it.
    acks: Option<Box<Acknowledgements>>,
}

/// How far a player is that follows its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follows {
    /// The origin is asked for the stream.
    Asks,
    /// The origin has said no, and is asked again: it may not know the stream before its publisher is there.
    Refused,
    /// The origin has agreed, and media is awaited.
    Waits,
}

/// The moves of a session.
#[derive(Debug, Default)]
struct Moves {
    /// One that the relay has yet to begin.
    order: Option<Box<MoveOrder>>,
    is_underway: bool,
    /// The other origin of the one that is under way, once the stream is claimed for it.
    to: Option<OriginId>,
    /// When the last one failed.
    failed: Option<Instant>,
}

impl Kept {
    const fn has_leg(&self) -> bool {
        self.began.is_none() || self.found.is_some()
    }

    fn keep(&mut self, held: Held) {
        if self.holds.len() == MAX_KEPT {
            self.holds.remove(0);
        }
        self.holds.push(held);
    }
}

impl Holds {
    /// Asks for the end of the leg, if there is one.
    pub(super) fn lose(&self, end: LegEnd) {
        let mut kept = self.lock();
        if kept.has_leg() && kept.follows.is_none() {
            kept.lost = Some(end);
        }
    }

    /// Whether an origin has the session. One that is held has a leg from the moment another origin takes it.
    pub(super) fn has_leg(&self) -> bool {
        self.lock().has_leg()
    }

    /// Why the leg is to be over, if somebody wants that.
    pub(super) fn lost(&self) -> Option<LegEnd> {
        self.lock().lost
    }

    /// It goes to where its stream is, with its leg, as somebody wants, and is this far; or it is there.
    pub(super) fn follow(&self, follows: Option<Follows>) {
        let mut kept = self.lock();
        kept.follows = follows;
        kept.lost = None;
    }

    /// How far it is on its way to where its stream is.
    pub(super) fn follows(&self) -> Option<Follows> {
        self.lock().follows
    }

    /// Whether it has yet to hear what the origin says to which it is to follow its stream: it was told, or asks.
    pub(super) fn is_to_follow(&self) -> bool {
        let kept = self.lock();
        kept.lost == Some(LegEnd::Moved) || kept.follows == Some(Follows::Asks)
    }

    /// Orders a move. False where one is under way.
    pub(super) fn order(&self, order: MoveOrder) -> bool {
        let moves = &mut self.lock().moves;
        if moves.is_underway {
            return false;
        }
        moves.is_underway = true;
        moves.order = Some(Box::new(order));
        self.ordered.store(true, Ordering::Release);
        true
    }

    /// Takes the order that the relay has yet to begin.
    pub(super) fn take_order(&self) -> Option<MoveOrder> {
        if !self.is_ordered() {
            return None;
        }
        self.ordered.store(false, Ordering::Release);
        self.lock().moves.order.take().map(|order| *order)
    }

    /// Whether an order waits.
    pub(super) fn is_ordered(&self) -> bool {
        self.ordered.load(Ordering::Acquire)
    }

    pub(super) fn is_moving(&self) -> bool {
        self.lock().moves.is_underway
    }

    pub(super) fn move_failed(&self) {
        self.lock().moves.failed = Some(Instant::now());
    }

    /// Whether a move failed within this time.
    pub(super) fn move_failed_within(&self, lately: Duration) -> bool {
        let failed = self.lock().moves.failed;
        failed.is_some_and(|at| at.elapsed() < lately)
    }

    pub(super) fn move_over(&self) {
        let moves = &mut self.lock().moves;
        moves.is_underway = false;
        moves.to = None;
    }

    /// The stream is about to be claimed for the other origin of the move.
    pub(super) fn goes_to(&self, to: &OriginId) {
        self.lock().moves.to = Some(to.clone());
        self.called_back.store(false, Ordering::Release);
    }

    /// The stream is to be at `origin`. Whether that concerns a session which follows it, or goes ahead.
    pub(super) fn hears_where_its_stream_is(&self, origin: &OriginId) -> bool {
        let kept = self.lock();
        let is_called_back = kept.moves.to.as_ref().is_some_and(|to| to != origin);
        if is_called_back {
            self.called_back.store(true, Ordering::Release);
        }
        is_called_back || kept.follows.is_some()
    }

    /// Whether the stream was placed elsewhere since it was claimed for the other origin of the move.
    pub(super) fn is_called_back(&self) -> bool {
        self.called_back.load(Ordering::Acquire)
    }

    /// Keeps a move that was made among the holds: the session had an origin all the time.
    pub(super) fn note_move(&self, from: OriginId, to: OriginId, gap: Duration) {
        self.lock().keep(Held {
            reason: Loss::Leg(LegEnd::Moved),
            from: Some(from),
            to: Some(to),
            gap: Some(gap),
            dropped: 0,
            began: Instant::now(),
        });
    }

    /// The bytes after which the origin is to acknowledge.
    pub(super) fn window(&self) -> u32 {
        self.window.load(Ordering::Relaxed)
    }

    /// Sets that; 0: as it likes.
    pub(super) fn set_window(&self, window: u32) {
        self.window.store(window, Ordering::Relaxed);
    }

    /// The origin was asked to acknowledge every `window` bytes.
    pub(super) fn asked_acks(&self, window: u32, came: u64, sent: u64) {
        let acks = (window > 0).then(|| Box::new(Acknowledgements::new(window, came, sent)));
        self.lock().acks = acks;
    }

    /// Looks whether the origin acknowledges. Returns for how long it owes an acknowledgement.
    pub(super) fn look_at_acks(&self, came: u64, sent: u64) -> Duration {
        let mut kept = self.lock();
        let Some(acks) = &mut kept.acks else {
            return Duration::ZERO;
        };
        acks.look(came, sent);
        acks.owes(sent)
    }

    pub(super) fn begin(&self, reason: Loss, from: Option<OriginId>) {
        let mut kept = self.lock();
        kept.acks = None;
        if kept.moves.order.take().is_some() {
            kept.moves.is_underway = false;
            self.ordered.store(false, Ordering::Release);
        }
        kept.lost = None;
        kept.found = None;
        if kept.began.is_some() {
            // The origin that was found is lost before it got media: it is one hold.
            return;
        }
        kept.began = Some(Instant::now());
        kept.keep(Held {
            reason,
            from,
            to: None,
            gap: None,
            dropped: 0,
            began: Instant::now(),
        });
    }

    pub(super) fn found(&self, to: Option<OriginId>) {
        let mut kept = self.lock();
        kept.found = Some(Instant::now());
        if let Some(held) = kept.holds.last_mut() {
            held.to = to;
        }
    }

    pub(super) fn end(&self, dropped: u64) -> Option<Held> {
        let mut kept = self.lock();
        kept.found = None;
        let began = kept.began.take()?;
        let held = kept.holds.last_mut()?;
        held.gap = Some(began.elapsed());
        held.dropped = dropped;
        Some(held.clone())
    }

    /// Why the leg was lost, if media has not begun again for too long at the origin that has the stream now.
    pub(super) fn overdue(&self) -> Option<LegEnd> {
        let kept = self.lock();
        let found = kept.found?;
        let late = found.elapsed() >= KEYFRAME_WITHIN;
        let reason = kept.holds.last().filter(|_| late)?.reason;
        match reason {
            Loss::Leg(end) => Some(end),
            Loss::Publisher => None,
        }
    }

    pub(super) fn list(&self) -> Vec<Held> {
        self.lock().holds.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds of one session that are told: the last ones.
const MAX_KEPT: usize = 8;
/// How long an encoder may send no keyframe. OBS sends one within 8.3 s where nothing else is set.
pub(crate) const KEYFRAME_WITHIN: Duration = Duration::from_secs(30);
