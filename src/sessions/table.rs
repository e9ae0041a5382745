//! The table of open sessions.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use sluicegate_core::access::bans::{Ban, Suspect};
use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::limits::Limit;
use sluicegate_core::counted::counted;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::{Action, PlacementKey, StreamUrl};
use tracing::{info, warn};

use super::lines::KeptLines;
use super::row::Pace;
use super::{
    Bans, Direction, EndReason, OpenPull, Placed, Pull, Request, Row, State, Tally, TapEnd,
};
use crate::api::{EndedSession, Failed, Totals};
use crate::metrics::{DirectionLabels, EndLabels, Metrics, SessionLabels};
use crate::stream_names::masked;
use crate::unix_time;

/// How long the parts of a session may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// How long nothing may pass between a publisher and its origin.
    pub publisher_idle: Duration,
    /// How long an origin that has sent media may send nothing to a player, unless the player sends media itself.
    pub player_idle: Duration,
    /// How long a player may wait for the first media.
    pub play_wait: Duration,
    /// How long a receiver may take nothing.
    pub write_stall: Duration,
    /// Maximum concurrent sessions.
    pub max: usize,
}

/// The table of open sessions.
#[derive(Debug)]
pub struct Sessions {
    // Held for a few lines, or a few rows, and never across an await. Not a mutex: whoever opens or closes a session waits
    // for one who goes through all of them no longer than these few rows take, since writers precede readers.
    rows: RwLock<BTreeMap<u64, Arc<Row>>>,
    pulls: Mutex<BTreeMap<u64, Arc<Pull>>>,
    /// The newest that ended, oldest first.
    ended: Mutex<VecDeque<Arc<EndedSession>>>,
    /// What all of them carry and are, as last measured.
    totals: Mutex<Totals>,
    pub(super) kept_lines: KeptLines,
    next: AtomicU64,
    bans: Bans,
    tally: Arc<Tally>,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Sessions {
    /// An empty table.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            rows: RwLock::default(),
            pulls: Mutex::default(),
            ended: Mutex::default(),
            totals: Mutex::default(),
            kept_lines: KeptLines::default(),
            next: AtomicU64::new(1),
            bans: Bans::default(),
            tally: Arc::default(),
            limits,
            metrics,
        }
    }

    /// Opens a row for a stream that is placed under `key`, unless the table is full.
    pub(crate) fn open(self: &Arc<Self>, request: Request, key: PlacementKey) -> Option<OpenRow> {
        let row = self.new_row(request, key);
        self.enter(row)
    }

    /// The same for an operator who looks at the stream.
    pub(crate) fn open_preview(
        self: &Arc<Self>,
        request: Request,
        key: PlacementKey,
    ) -> Option<OpenRow> {
        let row = self.new_row(request, key).for_preview();
        self.enter(row)
    }

    fn new_row(&self, request: Request, key: PlacementKey) -> Row {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        Row::new(id, request, key, Arc::clone(&self.metrics))
    }

    fn enter(self: &Arc<Self>, row: Row) -> Option<OpenRow> {
        let labels = SessionLabels {
            protocol: row.request.protocol.as_str(),
            action: row.counts_as(),
        };
        let row = Arc::new(row);
        {
            let mut rows = self.rows_to_change();
            if rows.len() >= self.limits.max {
                return None;
            }
            rows.insert(row.id, Arc::clone(&row));
        }
        self.metrics.sessions.get_or_create(&labels).inc();
        Some(OpenRow {
            row,
            sessions: Arc::clone(self),
        })
    }

    /// Opens the account of a pull of the stream that is placed under `key`.
    pub(crate) fn open_pull(self: &Arc<Self>, key: PlacementKey, origin: OriginId) -> OpenPull {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let pull = Arc::new(Pull::new(id, key, origin));
        self.lock_pulls().insert(id, Arc::clone(&pull));
        OpenPull {
            pull,
            sessions: Arc::clone(self),
        }
    }

    /// Every pull, oldest first.
    pub fn pulls(&self) -> Vec<Arc<Pull>> {
        self.lock_pulls().values().cloned().collect()
    }

    pub(super) fn close_pull(&self, pull: &Pull) {
        self.metrics.pulled_bytes.inc_by(pull.unreported());
        self.lock_pulls().remove(&pull.id);
    }

    fn lock_pulls(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Pull>>> {
        self.pulls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sessions that are served from a pull.
    pub(crate) fn viewers_of(&self, pull: &Pull) -> Vec<Arc<Row>> {
        self.matching(|row| row.pull() == Some(pull.id))
    }

    /// The open sessions that fit, oldest first. The table is locked meanwhile, so that `fits` does no more than look.
    pub(crate) fn matching(&self, fits: impl Fn(&Row) -> bool) -> Vec<Arc<Row>> {
        let rows = self.rows();
        rows.values().filter(|row| fits(row)).cloned().collect()
    }

    /// Shows every open session to `each`, oldest first. The table is locked for a few of them at a time, so that `each`
    /// does no more than look. One that is opened or closed meanwhile may be seen or not; all others are.
    pub(super) fn look(&self, mut each: impl FnMut(&Row)) {
        let mut from = 0;
        loop {
            let rows = self.rows();
            let mut some = rows.range(from..);
            for _ in 0..LOOKED_AT_ONCE {
                let Some((id, row)) = some.next() else {
                    return;
                };
                each(row);
                from = id + 1;
            }
        }
    }

    /// Every open session, oldest first.
    pub fn list(&self) -> Vec<Arc<Row>> {
        self.rows().values().cloned().collect()
    }

    /// One session.
    pub fn row(&self, id: u64) -> Option<Arc<Row>> {
        self.rows().get(&id).cloned()
    }

    /// The newest sessions that ended, at most 10,000.
    pub fn ended(&self) -> Vec<Arc<EndedSession>> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().cloned().collect()
    }

    /// Measures what every session carries, and says to `each` what it carried since this was called last, a second
    /// ago.
    pub(crate) fn measure(&self, mut each: impl FnMut(&Row, u64)) {
        let mut totals = Totals::default();
        for row in self.list() {
            let bytes = row.measure();
            each(&row, bytes);
            match row.pace() {
                Pace::Begins => warn!(
                    session = row.id,
                    stream = %row.request.stream,
                    bps = row.bps(Direction::ToOrigin),
                    "a publisher sends more than a limit allows, and is ended if it goes on"
                ),
                Pace::Fits => {}
                Pace::Stays => row.end(EndReason::TooFast),
            }
            match row.request.action {
                // An operator who looks is no viewer.
                Action::Play if row.is_preview() => continue,
                Action::Play => totals.players += 1,
                Action::Publish => totals.publishers += 1,
            }
            totals.bps_in += row.bps(Direction::ToOrigin);
            totals.bps_out += row.bps(Direction::ToClient);
        }
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner) = totals;
    }

    /// Sessions by action and what they carry together, at most a second old; the other totals are zero.
    pub fn totals(&self) -> Totals {
        *self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// None is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session that publishes `stream` through this proxy.
    pub(crate) fn publisher(&self, stream: &StreamUrl) -> Option<Arc<Row>> {
        let rows = self.rows();
        let publishes = |row: &&Arc<Row>| {
            row.request.action == Action::Publish && row.request.stream == *stream
        };
        rows.values().rfind(publishes).cloned()
    }

    /// Who is banned.
    pub const fn bans(&self) -> &Bans {
        &self.bans
    }

    /// How many there are of what limits count.
    pub const fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Takes other limits, by which open sessions count from now on, too.
    pub(crate) fn take_limits(&self, limits: &[Limit]) {
        if limits.is_empty() && !self.tally.is_limited() {
            return;
        }
        self.tally.take(limits.to_vec());
        for row in self.list() {
            row.count_again(&self.tally);
        }
    }

    /// Takes a ban, or that one is lifted, and ends the sessions that it meets. Returns how many these are; `None` if the
    /// word does not count, because a later one is known or there are too many.
    pub(crate) fn take_ban(&self, ban: Ban) -> Option<usize> {
        if !self.bans.take(ban.clone()) {
            return None;
        }
        let (nobody, now) = (Identity::default(), unix_time::seconds());
        let is_met = |row: &&Arc<Row>| {
            let meets = |(key, called): (&PlacementKey, &StreamUrl)| {
                let suspect = Suspect {
                    client: row.request.client.ip(),
                    stream: key.as_str(),
                    called: called.as_str(),
                    who: row.who().unwrap_or(&nobody),
                };
                ban.meets(&suspect, now)
            };
            !row.has_ended() && row.names().any(meets)
        };
        let rows = self.list();
        let met = rows.iter().filter(is_met);
        let ended = met.inspect(|row| row.end(EndReason::Banned)).count();
        if ended > 0 {
            info!(target = %ban.target, ended, "sessions that a ban meets are ended");
        }
        Some(ended)
    }

    /// Ends every session one of whose clocks ran out.
    pub fn end_overdue(&self) {
        for row in self.list() {
            if let Some(reason) = row.overdue(&self.limits) {
                row.end(reason);
            }
        }
    }

    /// Ends the players of a stream that are joined elsewhere than at `origin`, where its publisher is now: they find
    /// it there when they come back.
    pub(crate) fn end_players_elsewhere(&self, key: &PlacementKey, origin: &OriginId) {
        let plays = |row: &Row| row.request.action == Action::Play;
        self.end_moved(key, origin, plays, |_| ());
    }

    /// Ends every session of a stream that was joined elsewhere than at `origin`, and says how many there were. Those
    /// that still connect hear of it when their origin answers. Where there are any, `tell` is told how many before the first
    /// of them ends, so that who sees one end finds it told.
    pub(crate) fn end_elsewhere(
        &self,
        key: &PlacementKey,
        origin: &OriginId,
        tell: impl FnOnce(usize),
    ) -> usize {
        self.end_moved(key, origin, |_| true, tell)
    }

    /// The streams that have sessions or pulls elsewhere than at the origin that they are `claimed` for, with that origin. A stream
    /// that is moved has its own where it was, until its publisher has gone.
    pub(crate) fn strays(
        &self,
        claimed: impl Fn(&PlacementKey) -> Option<OriginId>,
    ) -> HashMap<PlacementKey, OriginId> {
        let (rows, pulls) = (self.list(), self.pulls());
        let moving = rows.iter().filter(|row| row.is_moving());
        let moving: HashSet<&PlacementKey> = moving.map(|row| &row.key).collect();
        let stray = |key: &PlacementKey, is_elsewhere: &dyn Fn(&OriginId) -> bool| {
            let there = claimed(key).filter(|there| is_elsewhere(there))?;
            (!moving.contains(key)).then(|| (key.clone(), there))
        };
        let of_rows = rows.iter().filter_map(|row| {
            let is_elsewhere =
                |there: &OriginId| !row.is_leaving() && has_a_leg_elsewhere(row, there);
            stray(&row.key, &is_elsewhere)
        });
        let of_pulls = pulls
            .iter()
            .filter_map(|pull| stray(&pull.key, &|there| pull.origin() != *there));
        of_rows.chain(of_pulls).collect()
    }

    /// The players of a stream that can follow it to `origin` with legs of their own are to do so, and keep their legs until media
    /// comes from there. Nobody else is told anything yet.
    pub(crate) fn lead_players(&self, key: &PlacementKey, origin: &OriginId) {
        let can_follow = |row: &Row| {
            row.key == *key
                && row.request.action == Action::Play
                && row.may_be_held()
                && has_a_leg_elsewhere(row, origin)
        };
        for row in self.matching(can_follow) {
            row.lose_leg(LegEnd::Moved);
        }
    }

    /// Resolves when the players of a stream that follow it with legs of their own have heard what the origin says where it goes.
    pub(crate) async fn players_have_heard(&self, key: &PlacementKey) {
        let rows = self.matching(|row| row.key == *key && row.request.action == Action::Play);
        for row in rows {
            row.has_heard_there().await;
        }
    }

    /// The pulls of a stream are to follow it to `origin`: each asks there, and goes over when media comes from there.
    pub(crate) fn follow(&self, key: &PlacementKey, origin: &OriginId) {
        let pulls = self.pulls();
        let of_stream = pulls.iter().filter(|pull| pull.key == *key);
        of_stream.for_each(|pull| pull.follow(origin));
    }

    /// Resolves when every pull of a stream that follows it waits for media where it goes.
    pub(crate) async fn followers_are_set(&self, key: &PlacementKey) {
        for pull in self.pulls().iter().filter(|pull| pull.key == *key) {
            pull.is_set().await;
        }
    }

    fn end_moved(
        &self,
        key: &PlacementKey,
        origin: &OriginId,
        meant: impl Fn(&Row) -> bool,
        tell: impl FnOnce(usize),
    ) -> usize {
        let elsewhere = |row: &&Arc<Row>| {
            let is_meant = row.key == *key && meant(row) && !row.is_leaving();
            is_meant && has_a_leg_elsewhere(row, origin)
        };
        let pulls = self.pulls();
        let of_stream = pulls.iter().filter(|pull| pull.key == *key);
        of_stream.for_each(|pull| pull.leave_for(origin));
        let rows = self.list();
        // Where those go that follow the stream, or go ahead, may be where it goes no more.
        let of_stream = rows.iter().filter(|row| row.key == *key);
        of_stream.for_each(|row| row.hears_where_its_stream_is(origin));
        let leaving: Vec<_> = rows.iter().filter(elsewhere).collect();
        let moved = leaving.len();
        if moved > 0 {
            let news = News {
                stream: key.as_str().to_owned(),
                origin: origin.as_str().to_owned(),
                what: format!(
                    "moved here from elsewhere, or ended to come back here: {}",
                    counted(moved, "session")
                ),
                ..News::default()
            };
            // Before what comes of it.
            self.metrics.journal.note(Kind::Moved, news);
            tell(moved);
        }
        for row in leaving {
            row.lose_leg(LegEnd::Moved);
        }
        moved
    }

    /// Ends every session.
    pub fn end_all(&self, reason: EndReason) {
        for row in self.list() {
            row.end(reason);
        }
    }

    /// Tells the metrics of every byte relayed since they were told last: the totals are exact to the byte when this
    /// returns, for what was counted before it was called.
    pub fn settle(&self) {
        let by_name = self.metrics.streams_by_name.wanted();
        let mut streams = Vec::new();
        let mut viewers = 0;
        let mut unreported: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for row in self.list() {
            let share = row.share(true);
            viewers += usize::from(row.pull().is_some());
            let sums = unreported.entry(row.request.protocol.as_str()).or_default();
            sums.0 += share.to_client;
            sums.1 += share.to_origin;
            if by_name {
                streams.push((masked(&row.request.stream.to_string()), share));
            }
        }
        let pulls = self.pulls();
        for pull in &pulls {
            self.metrics.pulled_bytes.inc_by(pull.unreported());
        }
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.pulls.set(number(pulls.len()));
        self.metrics.viewers.set(number(viewers));
        for (protocol, (to_client, to_origin)) in unreported {
            self.report(protocol, to_client, to_origin);
        }
        if by_name {
            let streams = streams.iter().map(|(name, share)| (name.as_str(), *share));
            self.metrics.streams_by_name.settle(streams);
        }
    }

    fn report(&self, protocol: &'static str, to_client: u64, to_origin: u64) {
        for (direction, bytes) in [("to_client", to_client), ("to_origin", to_origin)] {
            let labels = DirectionLabels {
                protocol,
                direction,
            };
            self.metrics
                .relayed_bytes
                .get_or_create(&labels)
                .inc_by(bytes);
        }
    }

    fn close(&self, row: &Row) {
        row.tap.close(TapEnd::Session);
        let share = row.share(false);
        self.report(
            row.request.protocol.as_str(),
            share.to_client,
            share.to_origin,
        );
        if self.metrics.streams_by_name.wanted() {
            let name = masked(&row.request.stream.to_string());
            self.metrics.streams_by_name.add(&name, share);
        }
        let (protocol, action) = (row.request.protocol.as_str(), row.counts_as());
        self.metrics
            .sessions
            .get_or_create(&SessionLabels { protocol, action })
            .dec();
        let reason = row.end_reason().unwrap_or(EndReason::ClientClosed).as_str();
        self.metrics
            .sessions_ended
            .get_or_create(&EndLabels {
                protocol,
                action,
                reason,
            })
            .inc();
        row.was_held_in_vain();
        let placed = row.placed();
        self.note_ended(row, &placed, reason);
        // Once the row is seen to be gone, its accounts have to be settled.
        self.rows_to_change().remove(&row.id);
        let origin = placed.origin.as_ref().map_or("-", |id| id.as_str());
        let path = placed
            .failed
            .iter()
            .map(|(id, why)| format!("{id} ({why})"))
            .collect::<Vec<_>>()
            .join(", ");
        info!(
            target: ACCESS,
            session = row.id,
            stream = %row.request.stream,
            action,
            protocol,
            client = %row.request.client,
            peer = row.request.by_way_of.as_ref().map(tracing::field::display),
            origin,
            failed = path,
            bytes_to_client = row.bytes(Direction::ToClient),
            bytes_to_origin = row.bytes(Direction::ToOrigin),
            seconds = row.age().as_secs_f64(),
            setup_ms = row.setup_millis(),
            first_media_ms = row.first_media().map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            stalls = row.stalls(),
            reason,
            "session ended"
        );
    }

    fn note_ended(&self, row: &Row, placed: &Placed, reason: &str) {
        let request = &row.request;
        let ended = ended_document(row, placed, reason);
        // A publisher that never had an origin is told of as refused.
        if request.action == Action::Publish && row.state() != State::Connecting {
            let news = News {
                stream: row.key.as_str().to_owned(),
                origin: ended.origin.clone().unwrap_or_default(),
                client: request.client.ip().to_string(),
                what: format!(
                    "a publisher by {} ended after {:.0} s: {reason}",
                    ended.protocol, ended.lasted_seconds
                ),
            };
            self.metrics.journal.note(Kind::Lost, news);
        }
        let mut kept = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_ENDED {
            kept.pop_front();
        }
        kept.push_back(Arc::new(ended));
    }

    fn rows(&self) -> RwLockReadGuard<'_, BTreeMap<u64, Arc<Row>>> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows_to_change(&self) -> RwLockWriteGuard<'_, BTreeMap<u64, Arc<Row>>> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it is joined elsewhere than at `origin`, with a leg of its own. Those who watch go where their pull goes.
fn has_a_leg_elsewhere(row: &Row, origin: &OriginId) -> bool {
    row.state() != State::Connecting
        && row.pull().is_none()
        && row.has_leg()
        && row.origin().as_ref() != Some(origin)
}

fn ended_document(row: &Row, placed: &Placed, reason: &str) -> EndedSession {
    let request = &row.request;
    let failed = placed.failed.iter().map(|(origin, why)| Failed {
        origin: origin.as_str().to_owned(),
        why: why.clone(),
    });
    EndedSession {
        id: row.id,
        proxy: None,
        protocol: request.protocol.as_str().to_owned(),
        action: request.action.as_str().to_owned(),
        preview: row.is_preview(),
        stream: request.stream.to_string(),
        key: row.key.as_str().to_owned(),
        client: request.client.to_string(),
        origin: placed.origin.as_ref().map(|id| id.as_str().to_owned()),
        failed: failed.collect(),
        ended_at: unix_time::millis(),
        lasted_seconds: row.age().as_secs_f64(),
        reason: reason.to_owned(),
        bytes_to_client: row.bytes(Direction::ToClient),
        bytes_to_origin: row.bytes(Direction::ToOrigin),
        first_media_seconds: row.first_media().map(|after| after.as_secs_f64()),
        stalls: row.stalls(),
    }
}

/// A row that is open: dropping it settles its accounts.
#[derive(Debug)]
pub(crate) struct OpenRow {
    row: Arc<Row>,
    sessions: Arc<Sessions>,
}

impl std::ops::Deref for OpenRow {
    type Target = Arc<Row>;

    fn deref(&self) -> &Arc<Row> {
        &self.row
    }
}

impl Drop for OpenRow {
    fn drop(&mut self) {
        // The task that served it did not end it: it panicked, or was dropped because its client left.
        let crashed = std::thread::panicking();
        self.row.end(if crashed {
            EndReason::Crashed
        } else {
            EndReason::ClientClosed
        });
        self.sessions.close(&self.row);
        self.row.close();
    }
}

/// Sessions that are looked at while the table is locked once: about ten microseconds.
const LOOKED_AT_ONCE: usize = 256;
/// Sessions that ended and are still known: about 5 MB.
const MOST_ENDED: usize = 10_000;
/// The target of the line each session ends with: one for every session, whatever else is left out.
pub const ACCESS: &str = "sluicegate::access";

#[cfg(test)]
mod tests;
