//! Moves of publishers: what one is told, and how far it has come.

use std::time::Duration;

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::Action;
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Follows, Row};
use crate::bell;

/// A publisher is to go on at another origin, while its own still has it.
#[derive(Debug)]
pub struct MoveOrder {
    /// The origin that has it.
    pub from: OriginId,
    /// The origin that is to have it.
    pub to: OriginId,
    /// Why.
    pub cause: MoveCause,
    /// Viewers with legs of their own may be ended for it.
    pub ends_viewers: bool,
    stage: watch::Sender<MoveStage>,
}

/// Why a publisher is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveCause {
    /// Its origin was deregistered, or its source lists it no more.
    Deregistered,
    /// Its origin was disabled.
    Disabled,
    /// Its origin drains, and the time to finish is over.
    Drained,
    /// An operator asked for it.
    Operator,
    /// Its origin has too much to do.
    Rebalanced,
}

impl MoveCause {
    /// The cause as logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deregistered => "deregistered",
            Self::Disabled => "disabled",
            Self::Drained => "drained",
            Self::Operator => "operator",
            Self::Rebalanced => "rebalanced",
        }
    }
}

/// How far a move has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MoveStage {
    /// The other origin is asked.
    Asking,
    /// It has taken the stream, and the encoder's next keyframe is awaited.
    Awaiting,
    /// The publisher stays where it is, and why.
    Failed(String),
    /// The publisher is there. The time is from the keyframe until the other origin had it.
    Made(Duration),
}

impl MoveStage {
    /// Whether nothing follows it.
    const fn is_over(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Made(_))
    }
}

/// A move that was begun, for those who wait for it.
#[derive(Debug)]
pub struct Underway {
    /// The origin that has the stream.
    pub from: OriginId,
    /// The origin that is to have it.
    pub to: OriginId,
    stage: watch::Receiver<MoveStage>,
}

impl MoveOrder {
    /// An order that ends no viewers, and what hears how it goes.
    pub(crate) fn new(from: OriginId, to: OriginId, cause: MoveCause) -> (Self, Underway) {
        let (stage, heard) = watch::channel(MoveStage::Asking);
        let underway = Underway {
            from: from.clone(),
            to: to.clone(),
            stage: heard,
        };
        let order = Self {
            from,
            to,
            cause,
            ends_viewers: false,
            stage,
        };
        (order, underway)
    }

    /// Why a stream is where it was moved to.
    pub(crate) fn words(&self) -> String {
        let from = &self.from;
        match self.cause {
            MoveCause::Operator => format!("an operator moved it there from {from}"),
            MoveCause::Rebalanced => {
                format!("it was moved there from {from}, which had too much to do: rebalanced")
            }
            cause => format!("it was moved there from {from}: {}", cause.as_str()),
        }
    }

    /// Tells how far it has come.
    pub(crate) fn tell(&self, stage: MoveStage) {
        self.stage.send_replace(stage);
    }
}

impl Row {
    /// Orders a move of its publisher, which the relay begins at once. False where one is under way.
    pub(crate) fn order_move(&self, order: MoveOrder) -> bool {
        let ordered = self.aside().holds.order(order);
        self.bell.notify_waiters();
        ordered
    }

    /// Whether it is a viewer that would be ended if its stream were moved: it has a leg of its own, whose bytes nobody
    /// else can complete.
    pub(crate) fn is_bound_viewer(&self) -> bool {
        self.request.action == Action::Play
            && self.pull().is_none()
            && !self.may_be_held()
            && !self.is_preview()
    }

    /// Whether an order to move waits for the relay.
    pub(crate) fn has_order(&self) -> bool {
        let aside = self.aside.get();
        aside.is_some_and(|aside| aside.holds.is_ordered())
    }

    /// Takes the order to move that waits for the relay.
    pub(crate) fn take_order(&self) -> Option<MoveOrder> {
        self.aside.get()?.holds.take_order()
    }

    /// Resolves with an order to move it.
    pub(crate) async fn ordered(&self) -> MoveOrder {
        bell::once(&self.bell, || self.take_order()).await
    }

    /// It goes to where its stream is, keeps its leg until it is there, and is this far; or it is there.
    pub(crate) fn follow(&self, follows: Option<Follows>) {
        self.aside().holds.follow(follows);
        self.bell.notify_waiters();
    }

    /// Whether it is on its way to where its stream is.
    pub(crate) fn follows(&self) -> bool {
        let aside = self.aside.get();
        aside.is_some_and(|aside| aside.holds.follows().is_some())
    }

    /// Resolves with what `look` sees, which looks at once and whenever something happens to the session, or to its stream while
    /// it follows that.
    pub(crate) async fn look_for<T>(&self, look: impl FnMut() -> Option<T>) -> T {
        bell::once(&self.bell, look).await
    }

    /// Its stream is to be at `origin`, and may have been to be elsewhere, where it goes.
    pub(super) fn hears_where_its_stream_is(&self, origin: &OriginId) {
        let aside = self.aside.get();
        if aside.is_some_and(|aside| aside.holds.hears_where_its_stream_is(origin)) {
            self.bell.notify_waiters();
        }
    }

    /// Its stream is about to be claimed for the other origin of its move.
    pub(crate) fn goes_to(&self, to: &OriginId) {
        self.aside().holds.goes_to(to);
    }

    /// Whether its stream has been placed elsewhere since, than where its move goes.
    pub(crate) fn is_called_back(&self) -> bool {
        let aside = self.aside.get();
        aside.is_some_and(|aside| aside.holds.is_called_back())
    }

    /// Resolves when it is not to follow its stream, or when the origin where that goes has agreed or has said no.
    pub(crate) async fn has_heard_there(&self) {
        let heard = || {
            let aside = self.aside.get();
            let is_to_follow = aside.is_some_and(|aside| aside.holds.is_to_follow());
            (!is_to_follow || self.has_ended()).then_some(())
        };
        bell::once(&self.bell, heard).await;
    }

    /// Whether a move of it is under way.
    pub(crate) fn is_moving(&self) -> bool {
        let aside = self.aside.get();
        aside.is_some_and(|aside| aside.holds.is_moving())
    }

    /// Its move failed, and it stays where it is.
    pub(crate) fn move_failed(&self) {
        self.aside().holds.move_failed();
    }

    /// Whether a move of it failed within this time.
    pub(crate) fn move_failed_within(&self, lately: Duration) -> bool {
        let aside = self.aside.get();
        aside.is_some_and(|aside| aside.holds.move_failed_within(lately))
    }

    /// Its move is over, and another may be ordered.
    pub(crate) fn move_over(&self) {
        self.aside().holds.move_over();
    }

    /// Its publisher was moved, and the media came `gap` later than it could.
    pub(crate) fn note_move(&self, from: &OriginId, to: &OriginId, gap: Duration) {
        let holds = &self.aside().holds;
        holds.note_move(from.clone(), to.clone(), gap);
    }
}

impl Underway {
    /// How it ended, if it is over.
    pub(crate) fn outcome(&self) -> Option<MoveStage> {
        // Looked at first: who tells how it ended may be gone right after that.
        let is_told = self.stage.has_changed().is_ok();
        let stage = self.stage.borrow().clone();
        if stage.is_over() {
            return Some(stage);
        }
        (!is_told).then(|| MoveStage::Failed(LEFT.to_owned()))
    }

    /// How far it has come when it is over, or when `time_limit` is.
    pub async fn within(&mut self, time_limit: Duration) -> MoveStage {
        match timeout(time_limit, self.stage.wait_for(MoveStage::is_over)).await {
            Ok(Ok(stage)) => return stage.clone(),
            // Nobody is left who could tell.
            Ok(Err(_)) => return MoveStage::Failed(LEFT.to_owned()),
            Err(_) => {}
        }
        self.stage.borrow().clone()
    }
}

/// Why a move failed whose publisher is gone.
const LEFT: &str = "its publisher has left, or has lost its origin";
