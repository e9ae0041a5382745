//! The table of open sessions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Between a publisher and its origin nothing may pass for so long.
    pub publisher_idle: Duration,
    /// How long an origin that has sent media may send nothing to a player, unless the player sends media itself.
    pub player_idle: Duration,
    /// How long a player may wait for the first media.
    pub play_wait: Duration,
    /// How long a receiver may take nothing.
    pub write_stall: Duration,
    /// So many sessions at once.
    pub max: usize,
}

/// The table of open sessions.
#[derive(Debug)]
pub struct Sessions {
    // A std mutex: it is held for a few lines and never across an await.
    rows: Mutex<BTreeMap<u64, Arc<Row>>>,
    pulls: Mutex<BTreeMap<u64, Arc<Pull>>>,
    /// The newest that ended, oldest first.
    ended: Mutex<VecDeque<Arc<EndedSession>>>,
    /// What all of them carry and are, as last measured.
    totals: Mutex<Totals>,
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
            rows: Mutex::default(),
            pulls: Mutex::default(),
            ended: Mutex::default(),
            totals: Mutex::default(),
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
            let mut rows = self.lock();
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
        let rows = self.lock();
        rows.values().filter(|row| fits(row)).cloned().collect()
    }

    /// Every open session, oldest first.
    pub fn list(&self) -> Vec<Arc<Row>> {
        self.lock().values().cloned().collect()
    }

    /// One session.
    pub fn row(&self, id: u64) -> Option<Arc<Row>> {
        self.lock().get(&id).cloned()
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
        self.lock().len()
    }

    /// None is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The session that publishes `stream` through this proxy.
    pub(crate) fn publisher(&self, stream: &StreamUrl) -> Option<Arc<Row>> {
        let rows = self.lock();
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
        self.end_moved(key, origin, |row| row.request.action == Action::Play);
    }

    /// Ends every session of a stream that was joined elsewhere than at `origin`, and says how many there were. Those
    /// that still connect hear of it when their origin answers.
    pub(crate) fn end_elsewhere(&self, key: &PlacementKey, origin: &OriginId) -> usize {
        self.end_moved(key, origin, |_| true)
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
    ) -> usize {
        let elsewhere = |row: &&Arc<Row>| {
            meant(row)
                && row.state() != State::Connecting
                // Those who watch go where their pull goes.
                && row.pull().is_none()
                && row.has_leg()
                && row.key == *key
                && row.placed().origin.as_ref() != Some(origin)
        };
        let pulls = self.pulls();
        let of_stream = pulls.iter().filter(|pull| pull.key == *key);
        of_stream.for_each(|pull| pull.leave_for(origin));
        let rows = self.list();
        let moved = rows
            .iter()
            .filter(elsewhere)
            .inspect(|row| row.lose_leg(LegEnd::Moved))
            .count();
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
            self.metrics.journal.note(Kind::Moved, news);
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
        self.lock().remove(&row.id);
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Row>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
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

/// Sessions that ended and are still known: about 5 MB.
const MOST_ENDED: usize = 10_000;
/// The target of the line each session ends with: one for every session, whatever else is left out.
pub const ACCESS: &str = "sluicegate::access";

#[cfg(test)]
mod tests {
    use sluicegate_core::stream::{Protocol, VhostRule};
    use tokio::time::Instant;

    use super::*;

    fn sessions(max: usize) -> Arc<Sessions> {
        let limits = Limits {
            publisher_idle: Duration::from_secs(30),
            player_idle: Duration::from_secs(30),
            play_wait: Duration::from_secs(600),
            write_stall: Duration::from_secs(20),
            max,
        };
        Arc::new(Sessions::new(limits, Arc::new(Metrics::new())))
    }

    fn opened(table: &Arc<Sessions>, action: Action) -> Option<OpenRow> {
        let request = Request {
            stream: StreamUrl::new("", "live", "a").unwrap(),
            action,
            protocol: Protocol::Rtmp,
            client: "192.0.2.1:5000".parse().unwrap(),
            by_way_of: None,
            credentials: None,
        };
        let key = VhostRule::Ignored.key(&request.stream);
        table.open(request, key)
    }

    const SWEEP: Duration = Duration::from_millis(250);

    /// The reason a session is ended for after this many seconds of sweeps, if any.
    async fn reason_after(
        table: &Arc<Sessions>,
        row: &Arc<Row>,
        seconds: u64,
    ) -> Option<EndReason> {
        for _ in 0..seconds * 4 {
            sweep(table).await;
        }
        row.end_reason()
    }

    async fn sweep(table: &Arc<Sessions>) {
        tokio::time::advance(SWEEP).await;
        table.end_overdue();
    }

    /// What the metrics say was relayed, to the client and to the origin.
    fn relayed(table: &Sessions) -> (u64, u64) {
        let of = |direction| {
            let labels = DirectionLabels {
                protocol: "rtmp",
                direction,
            };
            table.metrics.relayed_bytes.get_or_create(&labels).get()
        };
        (of("to_client"), of("to_origin"))
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_settled_once_at_a_scrape_and_at_the_end() {
        let table = sessions(9);
        let one = opened(&table, Action::Play).unwrap();
        let two = opened(&table, Action::Play).unwrap();
        one.count(Direction::ToClient, 10);
        two.count(Direction::ToOrigin, 3);
        assert_eq!(relayed(&table), (0, 0), "a packet tells nobody");
        table.settle();
        table.settle();
        assert_eq!(relayed(&table), (10, 3), "each byte once");
        one.count(Direction::ToClient, 7);
        drop(one);
        assert_eq!(relayed(&table), (17, 3), "an end settles what is left");
        two.count(Direction::ToOrigin, 1);
        table.settle();
        drop(two);
        table.settle();
        assert_eq!(relayed(&table), (17, 4));
    }

    #[tokio::test]
    async fn bytes_are_exact_though_many_settle_while_they_are_counted() {
        let table = sessions(9);
        let row = opened(&table, Action::Play).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..50_000).for_each(|_| row.count(Direction::ToClient, 3)));
                scope.spawn(|| {
                    let mut before = 0;
                    for _ in 0..2_000 {
                        table.settle();
                        let (now, _) = relayed(&table);
                        assert!(now >= before, "a counter never falls");
                        before = now;
                    }
                });
            }
        });
        drop(row);
        assert_eq!(relayed(&table), (300_000, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clients_silence_is_known_within_one_sweep() {
        let table = sessions(9);
        let row = opened(&table, Action::Publish).unwrap();
        row.joined();
        row.count(Direction::ToOrigin, 10);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(
            row.client_silent_for(),
            Duration::ZERO,
            "bytes that no sweep has seen yet are no silence"
        );
        tokio::time::advance(Duration::from_millis(150)).await;
        row.count(Direction::ToOrigin, 10);
        let sent = Instant::now();
        for _ in 0..8 {
            sweep(&table).await;
            let short = sent.elapsed() - row.client_silent_for();
            assert!(short <= SWEEP, "short of the truth by {short:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_publisher_that_sends_too_much_is_ended_after_a_while() {
        let table = sessions(9);
        let row = opened(&table, Action::Publish).unwrap();
        row.note_counted(None, Some(8));
        let second = async |bytes: usize| {
            tokio::time::advance(Duration::from_secs(1)).await;
            row.count(Direction::ToOrigin, bytes);
            table.measure(|_, _| {});
            row.end_reason()
        };
        for _ in 0..30 {
            assert_eq!(
                second(1_000).await,
                None,
                "8 kbit/s are 1,000 bytes a second"
            );
        }
        for _ in 0..5 {
            assert_eq!(second(2_000).await, None, "a scene with much motion");
        }
        for _ in 0..9 {
            assert_eq!(second(0).await, None, "then it keeps to its rate");
        }
        let mut lasted = 0;
        while second(2_000).await.is_none() {
            lasted += 1;
        }
        assert_eq!(row.end_reason(), Some(EndReason::TooFast));
        assert!((10..15).contains(&lasted), "{lasted} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_ban_ends_whom_it_meets() {
        let table = sessions(9);
        let one = opened(&table, Action::Play).unwrap();
        one.note_who(Identity::viewer("seven"));
        let two = opened(&table, Action::Play).unwrap();
        let ban = |target: &str, at: u64, lifted: bool| Ban {
            target: target.parse().unwrap(),
            until: u64::MAX,
            at,
            lifted,
            reason: "".into(),
        };
        assert_eq!(table.take_ban(ban("viewer:seven", 1, false)), Some(1));
        assert_eq!(
            (one.end_reason(), two.end_reason()),
            (Some(EndReason::Banned), None)
        );
        assert_eq!(
            table.take_ban(ban("viewer:seven", 1, false)),
            None,
            "heard again"
        );
        assert_eq!(
            table.take_ban(ban("address:192.0.2.1", 2, true)),
            Some(0),
            "lifted"
        );
        assert_eq!(table.take_ban(ban("address:192.0.2.1", 3, false)), Some(1));
        assert_eq!(two.end_reason(), Some(EndReason::Banned));
    }

    #[tokio::test(start_paused = true)]
    async fn stalls_are_counted_from_a_second_on() {
        let table = sessions(9);
        let row = opened(&table, Action::Play).unwrap();
        for (cause, millis, expected) in [("a moment", 999, 0), ("a second", 1000, 1)] {
            row.blocked(Direction::ToClient, true);
            tokio::time::advance(Duration::from_millis(millis)).await;
            row.blocked(Direction::ToClient, false);
            assert_eq!(row.stalls(), expected, "{cause}");
        }
        row.blocked(Direction::ToOrigin, true);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(row.stalls(), 2, "one that goes on counts");
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_session_leaves_no_row_and_no_gauge() {
        let table = sessions(1);
        let open = opened(&table, Action::Play).unwrap();
        assert!(
            opened(&table, Action::Play).is_none(),
            "the table holds one"
        );
        assert!(
            table
                .metrics
                .render()
                .contains("sluicegate_sessions{protocol=\"rtmp\",action=\"play\"} 1")
        );
        open.end(EndReason::Kicked);
        open.end(EndReason::Drained);
        drop(open);
        assert!(table.is_empty());
        let text = table.metrics.render();
        assert!(
            text.contains("sluicegate_sessions{protocol=\"rtmp\",action=\"play\"} 0"),
            "{text}"
        );
        assert!(
            text.contains("action=\"play\",reason=\"kicked\"} 1"),
            "the first reason stands: {text}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_publisher_is_ended() {
        let table = sessions(9);
        let row = opened(&table, Action::Publish).unwrap();
        assert_eq!(
            reason_after(&table, &row, 60).await,
            None,
            "set-up has its own deadline"
        );
        row.joined();
        row.count(Direction::ToOrigin, 10);
        assert_eq!(
            reason_after(&table, &row, 30).await,
            None,
            "it counts from the sweep that saw the bytes"
        );
        sweep(&table).await;
        assert_eq!(row.end_reason(), Some(EndReason::PublisherIdle));
    }

    /// For a minute, one sign of life every 20 s: who gives it, and whether it keeps the session.
    #[tokio::test(start_paused = true)]
    async fn what_shows_that_a_session_is_in_use() {
        let (publish, play) = (Action::Publish, Action::Play);
        let (client, origin) = (Direction::ToOrigin, Direction::ToClient);
        let rows = [
            ("a publisher sends", publish, client, false, true),
            ("its origin reports on it", publish, origin, false, true),
            ("a player gets", play, origin, false, true),
            ("a player sends reports", play, client, false, false),
            ("a player talks back", play, client, true, true),
        ];
        for (cause, action, direction, talks, kept) in rows {
            let table = sessions(9);
            let row = opened(&table, action).unwrap();
            row.joined();
            row.count(Direction::ToClient, 10);
            row.media_flows();
            if talks {
                row.talks_back();
            }
            for _ in 0..3 {
                row.count(direction, 10);
                reason_after(&table, &row, 20).await;
            }
            assert_eq!(row.end_reason().is_none(), kept, "{cause}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_player_that_its_origin_keeps_waiting_has_the_same_time() {
        let table = sessions(9);
        let row = opened(&table, Action::Play).unwrap();
        assert_eq!(reason_after(&table, &row, 599).await, None);
        row.waits();
        assert_eq!(
            reason_after(&table, &row, 1).await,
            Some(EndReason::WaitedTooLong)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_player_waits_long_for_its_publisher_and_briefly_afterwards() {
        let table = sessions(9);
        let row = opened(&table, Action::Play).unwrap();
        row.joined();
        assert_eq!(reason_after(&table, &row, 599).await, None);
        row.count(Direction::ToClient, 10);
        row.media_flows();
        assert_eq!(reason_after(&table, &row, 30).await, None);
        sweep(&table).await;
        assert_eq!(row.end_reason(), Some(EndReason::PlayerIdle));

        let waiting = opened(&table, Action::Play).unwrap();
        waiting.joined();
        assert_eq!(
            reason_after(&table, &waiting, 600).await,
            Some(EndReason::WaitedTooLong)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_takes_nothing_is_ended() {
        let table = sessions(9);
        let row = opened(&table, Action::Play).unwrap();
        row.joined();
        row.media_flows();
        row.count(Direction::ToClient, 10);
        tokio::time::advance(Duration::from_secs(1)).await;
        row.blocked(Direction::ToClient, true);
        assert_eq!(reason_after(&table, &row, 15).await, None);
        row.blocked(Direction::ToClient, true);
        assert_eq!(
            reason_after(&table, &row, 5).await,
            Some(EndReason::Stalled),
            "the first moment counts"
        );
    }
}
