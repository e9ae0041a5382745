//! A row of the session table: what is known of one session, and its counters.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use sluicegate_core::access::identity::Identity;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::{Action, PlacementKey, StreamUrl};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::info;

use super::failed::Failures;
use super::held::Holds;
use super::{EndReason, Held, Limits, Loss, Over, Request, Tap, Ticket};
use crate::bell;
use crate::metrics::{HoldLabels, Metrics, ProtocolLabel, StreamShare};

/// A row of the session table: what the API shows, what the relay counts, what a kick reaches.
#[derive(Debug)]
pub struct Row {
    /// Names the session in logs and in the API.
    pub id: u64,
    /// What was asked.
    pub request: Request,
    /// The name that the stream is placed under.
    pub key: PlacementKey,
    /// When it was asked.
    pub started_at: SystemTime,
    started: Instant,
    state: AtomicU8,
    /// Where it was placed first. No lock: lists look at every session.
    placed: OnceLock<Place>,
    /// The pull that it is served from; 0: it has a leg of its own.
    pull: AtomicU64,
    to_client: Counters,
    to_origin: Counters,
    /// Until both ends were connected.
    setup: Took,
    /// Until media flowed.
    first_media: Took,
    /// How far apart a publisher's keyframes are, in milliseconds; 0 where that is not known.
    keyframes: AtomicU32,
    /// The player sends media itself, as to the loudspeaker of a camera.
    talks_back: AtomicBool,
    /// Where its bytes are copied to while somebody wants them.
    pub tap: Tap,
    /// It may outlive its leg.
    may_hold: AtomicBool,
    // Boxed: most sessions have none of it.
    pub(super) aside: OnceLock<Box<Aside>>,
    end: OnceLock<EndReason>,
    closed: AtomicBool,
    /// Rings when something ends it, and when it is closed.
    pub(super) bell: Notify,
    metrics: Arc<Metrics>,
}

/// What few sessions have: a name, a place in the counts, a limit, a hold.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub(super) holds: Holds,
    /// Where it is now, if it was placed more than once.
    elsewhere: Mutex<Option<Place>>,
    is_elsewhere: AtomicBool,
    /// The origins that failed before the one where it is, and how.
    failed: Mutex<Failures>,
    /// Who the client is, where the gate knows it.
    who: OnceLock<Identity>,
    /// What the client called its stream, and where that would be placed, if a backend gave it another name.
    asked: OnceLock<(StreamUrl, PlacementKey)>,
    /// It is an operator who looks, and no client of the stream.
    is_preview: AtomicBool,
    /// Its place in the counts, until it is over.
    ticket: Mutex<Option<Ticket>>,
    /// Kilobits per second that it may send; 0: as many as it likes.
    most_kbps: AtomicU32,
    /// Milliseconds after the start since which it sends more; 0 while it does not.
    too_fast: AtomicU64,
}

/// Where a session went, and why.
#[derive(Debug, Clone, Default)]
pub struct Placed {
    /// The origin that holds it.
    pub origin: Option<OriginId>,
    /// In words, the decision it was placed by.
    pub why: Cow<'static, str>,
    /// The origins that failed, the last of them at the end, and what each did last.
    pub failed: Vec<(OriginId, String)>,
}

/// Where a session is, and the decision by which it is there.
#[derive(Debug, Clone)]
struct Place {
    origin: OriginId,
    why: Cow<'static, str>,
}

/// How many milliseconds something took that happens once, and one more; 0 before that.
#[derive(Debug, Default)]
struct Took(AtomicU32);

impl Took {
    /// Notes it; false if it was noted before.
    fn note(&self, time: Duration) -> bool {
        let (noted, relaxed) = (whole_millis(time).saturating_add(1), Ordering::Relaxed);
        self.0.compare_exchange(0, noted, relaxed, relaxed).is_ok()
    }

    fn millis(&self) -> Option<u32> {
        self.0.load(Ordering::Relaxed).checked_sub(1)
    }

    fn time(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.millis()?.into()))
    }
}

/// One direction of a session.
#[derive(Debug)]
struct Counters {
    bytes: AtomicU64,
    /// How many of `bytes` the metrics have been told of.
    reported: AtomicU64,
    /// How many of `bytes` had come at the last look.
    noticed: AtomicU64,
    /// Milliseconds after the start at which a look last found new bytes.
    active: AtomicU64,
    /// Milliseconds after the start since which the receiver takes nothing; 0 while it takes.
    blocked: AtomicU64,
    /// How often the receiver took nothing for [`STALL`] or longer, and went on.
    stalls: AtomicU32,
    /// How many of `bytes` had come when they were last measured.
    measured: AtomicU64,
    /// Bits per second, averaged over some seconds; 4.2 Gbit/s stand for more.
    bps: AtomicU32,
}

impl Counters {
    const fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            noticed: AtomicU64::new(0),
            active: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            stalls: AtomicU32::new(0),
            measured: AtomicU64::new(0),
            bps: AtomicU32::new(0),
        }
    }

    /// The bytes that came since this was called last, a second ago.
    fn measure(&self) -> u64 {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let new = bytes.saturating_sub(self.measured.swap(bytes, Ordering::Relaxed));
        let bps = mean(self.bps.load(Ordering::Relaxed).into(), new);
        let bps = u32::try_from(bps).unwrap_or(u32::MAX);
        self.bps.store(bps, Ordering::Relaxed);
        new
    }

    /// When bytes last came, as far as this look and those before it can tell: never too early, and too late by
    /// at most the time between two looks.
    fn last_active(&self, now: u64) -> u64 {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if self.noticed.swap(bytes, Ordering::Relaxed) != bytes {
            self.active.store(now, Ordering::Relaxed);
        }
        self.active.load(Ordering::Relaxed)
    }

    /// The bytes nobody has told the metrics of. Each is given out once, however many ask at the same time.
    fn unreported(&self) -> u64 {
        let bytes = self.bytes.load(Ordering::Relaxed);
        bytes.saturating_sub(self.reported.fetch_max(bytes, Ordering::Relaxed))
    }

    fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) != 0
    }

    /// Its clocks stood still, and go on from `now`.
    fn restart(&self, now: u64) {
        self.active.store(now, Ordering::Relaxed);
        let relaxed = Ordering::Relaxed;
        let since = |since: u64| (since != 0).then_some(now.max(1));
        let _ = self.blocked.fetch_update(relaxed, relaxed, since);
    }
}

/// How a publisher keeps to the rate that a limit leaves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// It has just begun to send more.
    Begins,
    /// It does, or it has not sent more for long.
    Fits,
    /// It has sent more for too long.
    Stays,
}

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the origin to the client.
    ToClient,
    /// From the client to the origin.
    ToOrigin,
}

/// How far a session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// An origin is looked for and dialled.
    Connecting,
    /// Joined, or kept waiting by an origin that lives; and no media yet.
    Waiting,
    /// Media flows.
    Relaying,
    /// Its origin is lost, and it waits for another to get its media.
    Held,
}

impl State {
    /// The state as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Relaying => "relaying",
            Self::Held => "held",
        }
    }
}

impl Row {
    /// A session that begins now.
    pub(super) fn new(id: u64, request: Request, key: PlacementKey, metrics: Arc<Metrics>) -> Self {
        Self {
            id,
            started_at: SystemTime::now(),
            started: Instant::now(),
            state: AtomicU8::new(State::Connecting as u8),
            placed: OnceLock::new(),
            pull: AtomicU64::new(0),
            to_client: Counters::new(),
            to_origin: Counters::new(),
            setup: Took::default(),
            first_media: Took::default(),
            keyframes: AtomicU32::new(0),
            talks_back: AtomicBool::new(false),
            tap: Tap::default(),
            may_hold: AtomicBool::new(false),
            aside: OnceLock::new(),
            end: OnceLock::new(),
            closed: AtomicBool::new(false),
            bell: Notify::new(),
            metrics,
            request,
            key,
        }
    }

    /// The same, for an operator who looks at the stream.
    pub(super) fn for_preview(self) -> Self {
        self.aside().is_preview.store(true, Ordering::Relaxed);
        self
    }

    /// Whether it is an operator who looks at the stream: such a session is no viewer, and counts as none.
    pub fn is_preview(&self) -> bool {
        let aside = self.aside.get();
        aside.is_some_and(|aside| aside.is_preview.load(Ordering::Relaxed))
    }

    /// What it counts as: `play`, `publish` or `preview`.
    pub fn counts_as(&self) -> &'static str {
        match self.is_preview() {
            true => PREVIEW,
            false => self.request.action.as_str(),
        }
    }

    /// Notes how far apart a publisher's keyframes are, in milliseconds.
    pub(crate) fn note_keyframes(&self, apart: u32) {
        self.keyframes.store(apart, Ordering::Relaxed);
    }

    /// How far apart a publisher's keyframes are, where that is known.
    pub fn keyframes(&self) -> Option<Duration> {
        let apart = self.keyframes.load(Ordering::Relaxed);
        (apart > 0).then(|| Duration::from_millis(apart.into()))
    }

    /// Who the client is, as far as the gate knows it.
    pub fn who(&self) -> Option<&Identity> {
        self.aside.get()?.who.get()
    }

    /// What the client called its stream, if a backend gave it another name.
    pub fn asked(&self) -> Option<&StreamUrl> {
        Some(&self.aside.get()?.asked.get()?.0)
    }

    /// The names under which its stream is placed, or would be, each with the full name that it is the key of.
    pub(super) fn names(&self) -> impl Iterator<Item = (&PlacementKey, &StreamUrl)> {
        let asked = self.aside.get().and_then(|aside| aside.asked.get());
        let own = (&self.key, &self.request.stream);
        std::iter::once(own).chain(asked.map(|(asked, key)| (key, asked)))
    }

    /// Notes what the client called its stream.
    pub(crate) fn note_asked(&self, asked: StreamUrl, key: PlacementKey) {
        let _ = self.aside().asked.set((asked, key));
    }

    /// Notes who the client is.
    pub(crate) fn note_who(&self, who: Identity) {
        if !who.is_empty() {
            let _ = self.aside().who.set(who);
        }
    }

    /// Notes its place in the counts, in place of one that it had, and how much it may send.
    pub(crate) fn note_counted(&self, ticket: Option<Ticket>, most_kbps: Option<u32>) {
        if ticket.is_none() && most_kbps.is_none() && self.aside.get().is_none() {
            return;
        }
        let aside = self.aside();
        let mut place = aside.ticket.lock().unwrap_or_else(PoisonError::into_inner);
        *place = ticket;
        drop(place);
        let most = most_kbps.map_or(0, |kbps| kbps.max(1));
        aside.most_kbps.store(most, Ordering::Relaxed);
    }

    /// How it keeps to what it may send, by the rate that was measured last.
    pub(super) fn pace(&self) -> Pace {
        let Some(aside) = self.aside.get() else {
            return Pace::Fits;
        };
        let most = u64::from(aside.most_kbps.load(Ordering::Relaxed)) * 1_000;
        if most == 0 || self.bps(Direction::ToOrigin) <= most {
            aside.too_fast.store(0, Ordering::Relaxed);
            return Pace::Fits;
        }
        let now = self.millis().max(1);
        match aside.too_fast.load(Ordering::Relaxed) {
            0 => {
                aside.too_fast.store(now, Ordering::Relaxed);
                Pace::Begins
            }
            since if now.saturating_sub(since) >= MOST_TOO_FAST => Pace::Stays,
            _ => Pace::Fits,
        }
    }

    /// Counts bytes that came in to go `direction`. This runs for every packet: one addition that no other session
    /// shares, and no clock. Totals are settled, and silence is noticed, by those who look now and then.
    pub fn count(&self, direction: Direction, bytes: usize) {
        self.flow(direction)
            .bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes that the receiver of `direction` took nothing more, or takes again.
    pub fn blocked(&self, direction: Direction, blocked: bool) {
        let flow = self.flow(direction);
        if flow.is_blocked() == blocked {
            return;
        }
        let now = self.millis();
        let since = flow
            .blocked
            .swap(if blocked { now.max(1) } else { 0 }, Ordering::Relaxed);
        if !blocked && now.saturating_sub(since) >= STALL {
            flow.stalls.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often a receiver of this session took nothing for a second or longer, the present time included.
    pub fn stalls(&self) -> u64 {
        let now = self.millis();
        let of = |flow: &Counters| {
            let since = flow.blocked.load(Ordering::Relaxed);
            let present = since != 0 && now.saturating_sub(since) >= STALL;
            u64::from(flow.stalls.load(Ordering::Relaxed)) + u64::from(present)
        };
        of(&self.to_client) + of(&self.to_origin)
    }

    /// Notes that media flows; the first call counts.
    pub fn media_flows(&self) {
        if self.first_media.millis().is_none() {
            let after = self.started.elapsed();
            if self.first_media.note(after) {
                self.state.store(State::Relaying as u8, Ordering::Relaxed);
                let label = ProtocolLabel {
                    protocol: self.request.protocol.as_str(),
                };
                self.metrics
                    .first_media
                    .get_or_create(&label)
                    .observe(after.as_secs_f64());
            }
        }
    }

    /// Whether it is a player whose media came, so that its stream exists.
    pub(crate) fn is_played(&self) -> bool {
        self.request.action == Action::Play && self.first_media.millis().is_some()
    }

    /// Notes that a player sends media itself: what it sends shows that its session is in use.
    pub fn talks_back(&self) {
        self.talks_back.store(true, Ordering::Relaxed);
        self.media_flows();
    }

    /// Notes what has come of an HTTP body so far. An origin may send a format's header long before its
    /// publisher comes; media flows when there is more than such a header.
    pub fn body_came(&self, bytes: u64) {
        if bytes > FORMAT_HEADER {
            self.media_flows();
        }
    }

    /// Milliseconds until both ends were connected, once they were.
    pub(super) fn setup_millis(&self) -> Option<u32> {
        self.setup.millis()
    }

    /// How long the first media byte took, once there was one.
    pub fn first_media(&self) -> Option<Duration> {
        self.first_media.time()
    }

    /// Bytes passed on so far.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.flow(direction).bytes.load(Ordering::Relaxed)
    }

    /// Bytes passed on in both directions since this was called last, a second ago.
    pub(crate) fn measure(&self) -> u64 {
        self.to_client.measure() + self.to_origin.measure()
    }

    /// Bits per second, averaged over some seconds.
    pub fn bps(&self, direction: Direction) -> u64 {
        self.flow(direction).bps.load(Ordering::Relaxed).into()
    }

    /// How long until both ends were connected, once they were.
    pub fn setup(&self) -> Option<Duration> {
        self.setup.time()
    }

    /// The origin where it is, or is tried.
    pub fn origin(&self) -> Option<OriginId> {
        self.with_place(|place| place.map(|place| place.origin.clone()))
    }

    /// Looks at the name of the origin where it is, or is tried; empty before that.
    pub(crate) fn with_origin<T>(&self, look: impl FnOnce(&str) -> T) -> T {
        self.with_place(|place| look(place.map_or("", |place| place.origin.as_str())))
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Connecting,
            1 => State::Waiting,
            2 => State::Relaying,
            _ => State::Held,
        }
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.age_at(Instant::now())
    }

    /// The same, as of `now`: asking for the time for each of many sessions would take longer than all else.
    pub(crate) fn age_at(&self, now: Instant) -> Duration {
        now.duration_since(self.started)
    }

    /// For how long the client has sent nothing; short of the truth by at most one sweep, and never beyond it.
    pub fn client_silent_for(&self) -> Duration {
        let now = self.millis();
        Duration::from_millis(now.saturating_sub(self.to_origin.last_active(now)))
    }

    /// For how long nothing has come from whoever sends, which is the client that publishes or the origin of one that plays; short of
    /// the truth by at most one sweep.
    pub(crate) fn sender_silent_for(&self) -> Duration {
        let now = self.millis();
        let sent = match self.request.action {
            Action::Play => &self.to_client,
            Action::Publish => &self.to_origin,
        };
        Duration::from_millis(now.saturating_sub(sent.last_active(now)))
    }

    /// Where it went, and why.
    pub fn placed(&self) -> Placed {
        let failed = self.aside.get().map(|aside| {
            let failed = aside.failed.lock();
            failed.unwrap_or_else(PoisonError::into_inner).told()
        });
        let place = self.with_place(|place| place.cloned());
        let (origin, why) = place.map(|place| (place.origin, place.why)).unzip();
        Placed {
            origin,
            why: why.unwrap_or_default(),
            failed: failed.unwrap_or_default(),
        }
    }

    /// Ends the session; the first reason stands.
    pub fn end(&self, reason: EndReason) {
        let _ = self.end.set(reason);
        self.bell.notify_waiters();
    }

    /// Something ended it, and it is closing.
    pub fn has_ended(&self) -> bool {
        self.end.get().is_some()
    }

    /// Why the session ended, if something ended it.
    pub fn end_reason(&self) -> Option<EndReason> {
        self.end.get().copied()
    }

    /// Resolves when something ended the session.
    pub async fn ended(&self) -> EndReason {
        bell::once(&self.bell, || self.end_reason()).await
    }

    /// Resolves when something from outside ended the session, or its leg.
    pub async fn interrupted(&self) -> Over {
        let look = || {
            let ended = self.end_reason().map(Over::Session);
            let lost = || self.aside.get()?.holds.lost();
            ended.or_else(|| lost().map(Over::Leg))
        };
        bell::once(&self.bell, look).await
    }

    /// From now on the loss of its leg need not be its end.
    pub fn allow_hold(&self) {
        self.may_hold.store(true, Ordering::Relaxed);
    }

    /// Takes its leg away, if it has one: the session is held where it may be, and ends otherwise.
    pub fn lose_leg(&self, end: LegEnd) {
        if self.may_be_held() && self.state() != State::Connecting {
            self.aside().holds.lose(end);
            self.bell.notify_waiters();
        } else {
            self.end(self.end_without(end));
        }
    }

    /// Whether it has ended, or was told already to leave its origin for where its stream is.
    pub(super) fn is_leaving(&self) -> bool {
        let was_told = || {
            let aside = self.aside.get()?;
            aside.holds.lost()
        };
        self.has_ended() || was_told() == Some(LegEnd::Moved)
    }

    /// The metric families that it is counted in.
    pub(crate) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether an origin has it now, or may have. One that is held for another has none.
    pub(crate) fn has_leg(&self) -> bool {
        self.aside.get().is_none_or(|aside| aside.holds.has_leg())
    }

    /// Why it ends when its leg is over for `end`, and it gets no other.
    pub(crate) fn end_without(&self, end: LegEnd) -> EndReason {
        match (self.request.action, end) {
            // Silence towards a publisher is that nothing is taken.
            (Action::Publish, LegEnd::Silent) => EndReason::Stalled,
            (_, end) => end.into(),
        }
    }

    /// Whether the loss of its leg need not be its end.
    pub(crate) fn may_be_held(&self) -> bool {
        self.may_hold.load(Ordering::Relaxed)
    }

    /// Its origin or its publisher is lost, and it waits for another. Its clocks stand still.
    pub(crate) fn hold(&self, loss: Loss, from: Option<OriginId>) {
        self.blocked(Direction::ToOrigin, false);
        let name = from.as_ref().map_or("-", |id| id.as_str()).to_owned();
        let reason = loss.as_str();
        if self.has_leg_of_its_own() {
            info!(
                session = self.id,
                stream = %self.request.stream,
                reason,
                from = name,
                "its origin is lost, and the session is held"
            );
            let who = self.whom();
            let what = format!("its origin is lost ({reason}), and its {who} is held");
            self.tell_held(name, what);
        }
        self.aside().holds.begin(loss, from);
        self.state.store(State::Held as u8, Ordering::Relaxed);
        // Those who wait for it to follow its stream wait no more.
        self.bell.notify_waiters();
    }

    /// Another origin took the stream; its first media ends the hold.
    pub(crate) fn found_again(&self, to: Option<OriginId>) {
        self.aside().holds.found(to);
    }

    /// Media flows to the other origin; `dropped` messages of it were lost meanwhile. Nothing if it was not held.
    pub fn goes_on(&self, dropped: u64) {
        if self.state() != State::Held {
            return;
        }
        let Some(held) = self.aside().holds.end(dropped) else {
            return;
        };
        let state = match self.first_media.millis() {
            Some(_) => State::Relaying,
            None => State::Waiting,
        };
        self.to_client.restart(self.millis());
        self.to_origin.restart(self.millis());
        self.state.store(state as u8, Ordering::Relaxed);
        let gap = held.gap.unwrap_or_default();
        self.count_hold(&held, "kept");
        let label = ProtocolLabel {
            protocol: self.request.protocol.as_str(),
        };
        let gaps = &self.metrics.hold_gap;
        gaps.get_or_create(&label).observe(gap.as_secs_f64());
        if self.has_leg_of_its_own() {
            self.tell_kept(&held, whole_millis(gap));
        }
    }

    /// It ended while it was held, if it was.
    pub(super) fn was_held_in_vain(&self) {
        if self.state() != State::Held {
            return;
        }
        if let Some(held) = self.holds().last() {
            self.count_hold(held, "ended");
        }
    }

    fn count_hold(&self, held: &Held, outcome: &'static str) {
        let labels = HoldLabels {
            protocol: self.request.protocol.as_str(),
            reason: held.reason.as_str(),
            outcome,
        };
        self.metrics.holds.get_or_create(&labels).inc();
    }

    /// The holds there were, oldest first; the last may go on.
    pub fn holds(&self) -> Vec<Held> {
        let aside = self.aside.get();
        aside.map_or_else(Vec::new, |aside| aside.holds.list())
    }

    pub(super) fn aside(&self) -> &Aside {
        self.aside.get_or_init(Box::default)
    }

    /// For how long the receiver of `direction` has taken nothing.
    pub(crate) fn blocked_for(&self, direction: Direction) -> Duration {
        match self.flow(direction).blocked.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis(self.millis().saturating_sub(since)),
        }
    }

    /// Resolves when something ended the session; for bodies that outlive the call.
    pub(crate) async fn into_ended(self: Arc<Self>) -> EndReason {
        self.ended().await
    }

    /// Both connections of the session are closed, and its row is gone.
    pub(super) fn close(&self) {
        self.note_counted(None, None);
        self.closed.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    /// Resolves when both connections of the session are closed and its row is gone.
    pub(crate) async fn closed(&self) {
        let is_closed = || self.closed.load(Ordering::Acquire).then_some(());
        bell::once(&self.bell, is_closed).await;
    }

    /// The pull that it is served from; `None`: it has a leg of its own, or none yet.
    pub fn pull(&self) -> Option<u64> {
        Some(self.pull.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// Notes the pull that it is served from.
    pub(crate) fn note_pull(&self, id: u64) {
        self.pull.store(id, Ordering::Relaxed);
    }

    /// Notes the origin and the decision.
    pub(crate) fn note_placed(&self, origin: OriginId, why: Cow<'static, str>) {
        self.note_place(origin, Some(why));
    }

    /// Notes the origin that its pull leads to now.
    pub(crate) fn note_moved(&self, origin: OriginId) {
        self.note_place(origin, None);
    }

    /// Notes where it is; without another decision, the one before stands.
    fn note_place(&self, origin: OriginId, why: Option<Cow<'static, str>>) {
        let place = Place {
            origin,
            why: why.clone().unwrap_or_default(),
        };
        let Err(mut place) = self.placed.set(place) else {
            return;
        };
        let aside = self.aside();
        let elsewhere = aside.elsewhere.lock();
        let mut elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        let before = elsewhere.as_ref().or_else(|| self.placed.get());
        if let Some(before) = before.filter(|_| why.is_none()) {
            place.why = before.why.clone();
        }
        *elsewhere = Some(place);
        aside.is_elsewhere.store(true, Ordering::Release);
    }

    /// Notes an origin that failed.
    pub(crate) fn note_failed(&self, origin: OriginId, why: String) {
        let failed = self.aside().failed.lock();
        let mut failed = failed.unwrap_or_else(PoisonError::into_inner);
        failed.note(origin, why);
    }

    /// The player waits at an origin that has yet to answer it, as one that is joined does for its first media.
    pub(crate) fn waits(&self) {
        self.state.store(State::Waiting as u8, Ordering::Relaxed);
    }

    /// The session is joined: both ends are connected. False if it was before: an origin asked for credentials, and the
    /// client asked again with them.
    pub(crate) fn joined(&self) -> bool {
        self.state.store(State::Waiting as u8, Ordering::Relaxed);
        if !self.setup.note(self.started.elapsed()) {
            return false;
        }
        let label = ProtocolLabel {
            protocol: self.request.protocol.as_str(),
        };
        self.metrics
            .setup
            .get_or_create(&label)
            .observe(self.started.elapsed().as_secs_f64());
        true
    }

    /// The reason to end it now, if one of its clocks ran out.
    pub(super) fn overdue(&self, limits: &Limits) -> Option<EndReason> {
        let now = self.millis();
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        // Looked at each time, whatever the state: silence counts from the look that found the last bytes.
        let to_client = since(self.to_client.last_active(now));
        let to_origin = since(self.to_origin.last_active(now));
        if self.state() == State::Held {
            let overdue = self.aside.get()?.holds.overdue();
            return overdue.map(|end| self.end_without(end));
        }
        let stalled = |direction| self.blocked_for(direction) >= limits.write_stall;
        // An origin that takes nothing from a publisher that may be held is found out sooner, and costs only its leg.
        if stalled(Direction::ToClient) || stalled(Direction::ToOrigin) && !self.may_be_held() {
            return Some(EndReason::Stalled);
        }
        match (self.state(), self.request.action) {
            (State::Connecting | State::Held, _) => None,
            (_, Action::Publish) => {
                // What a publisher cannot deliver because the origin takes nothing is not its silence. One that sends a
                // picture a minute is in use while its origin reports on it, or asks whether it is there.
                let silent = to_origin.min(to_client) >= limits.publisher_idle
                    && !self.to_origin.is_blocked();
                silent.then_some(EndReason::PublisherIdle)
            }
            (State::Waiting, Action::Play) => {
                (self.age() >= limits.play_wait).then_some(EndReason::WaitedTooLong)
            }
            (State::Relaying, Action::Play) => {
                let silence = match self.talks_back.load(Ordering::Relaxed) {
                    true => to_client.min(to_origin),
                    false => to_client,
                };
                let silent = silence >= limits.player_idle && !self.to_client.is_blocked();
                silent.then_some(EndReason::PlayerIdle)
            }
        }
    }

    /// What the metrics are to be told of it: the bytes they have not heard of yet.
    pub(super) fn share(&self, open: bool) -> StreamShare {
        StreamShare {
            publishes: self.request.action == Action::Publish,
            open: open && !self.is_preview(),
            to_client: self.to_client.unreported(),
            to_origin: self.to_origin.unreported(),
        }
    }

    fn flow(&self, direction: Direction) -> &Counters {
        match direction {
            Direction::ToClient => &self.to_client,
            Direction::ToOrigin => &self.to_origin,
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn with_place<T>(&self, look: impl FnOnce(Option<&Place>) -> T) -> T {
        let aside = self.aside.get().map(Box::as_ref);
        let moved = |aside: &&Aside| aside.is_elsewhere.load(Ordering::Acquire);
        let Some(aside) = aside.filter(moved) else {
            return look(self.placed.get());
        };
        let elsewhere = aside.elsewhere.lock();
        let elsewhere = elsewhere.unwrap_or_else(PoisonError::into_inner);
        look(elsewhere.as_ref())
    }
}

/// Bits per second after a second that brought `bytes`: a mean over some seconds, since one keyframe is not a rate.
pub(super) const fn mean(before: u64, bytes: u64) -> u64 {
    match before {
        0 => bytes * 8,
        _ => (before * 3 + bytes * 8) / 4,
    }
}

/// The milliseconds of a time, at most 49 days.
fn whole_millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// What the session of an operator who looks counts as.
const PREVIEW: &str = "preview";
/// Longer than an FLV header with what chunked coding adds to it, shorter than any frame with its own header.
const FORMAT_HEADER: u64 = 64;
/// Milliseconds that a publisher may send more than it may: one scene with much motion is not a rate.
const MOST_TOO_FAST: u64 = 10_000;
/// A receiver that takes nothing for this many milliseconds has stalled: a viewer's picture stands still by then.
const STALL: u64 = 1000;
