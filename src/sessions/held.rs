//! Sessions that outlive their leg: what each hold was for, and how it went.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use tokio::time::Instant;

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

/// The holds of one session.
#[derive(Debug, Default)]
pub(super) struct Holds {
    // A std mutex: it is held for a line, and only while a leg is lost or found.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Somebody wants the leg to be over, for this reason.
    lost: Option<LegEnd>,
    holds: Vec<Held>,
    began: Option<Instant>,
    /// Since when an origin has the stream and waits for media to begin.
    found: Option<Instant>,
}

impl Kept {
    const fn has_leg(&self) -> bool {
        self.began.is_none() || self.found.is_some()
    }
}

impl Holds {
    /// Asks for the end of the leg, if there is one.
    pub(super) fn lose(&self, end: LegEnd) {
        let mut kept = self.lock();
        if kept.has_leg() {
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

    pub(super) fn begin(&self, reason: Loss, from: Option<OriginId>) {
        let mut kept = self.lock();
        kept.lost = None;
        kept.found = None;
        if kept.began.is_some() {
            // The origin that was found is lost before it got media: it is one hold.
            return;
        }
        kept.began = Some(Instant::now());
        if kept.holds.len() == MAX_KEPT {
            kept.holds.remove(0);
        }
        kept.holds.push(Held {
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
