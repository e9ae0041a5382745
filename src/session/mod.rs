//! One client joined to one origin: its row in the table, its accounts, and how it ends.

mod tap;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::info;

use crate::bell;
use crate::metrics::{
    DirectionLabels, EndLabels, Metrics, ProtocolLabel, SessionLabels, StreamShare,
};
use crate::stream_names::masked;
pub use tap::{Ended, Piece, Taken, Tap};

/// What a client asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The stream it names.
    pub stream: StreamUrl,
    /// Whether it sends or receives.
    pub action: Action,
    /// What it speaks.
    pub protocol: Protocol,
    /// Where it is: the peer, or what a trusted proxy in front of us said.
    pub client: SocketAddr,
    /// The last proxy in front of us, where one connected in the client's place. Boxed: each open session keeps room
    /// for it, and few have one.
    pub by_way_of: Option<Box<SocketAddr>>,
}

impl Request {
    /// Who connected to us: the client, or the last proxy in front of us.
    pub fn peer(&self) -> SocketAddr {
        self.by_way_of.as_deref().copied().unwrap_or(self.client)
    }

    /// What [`by_way_of`](Self::by_way_of) is when `peer` connected to us for `client`.
    pub fn way(client: SocketAddr, peer: SocketAddr) -> Option<Box<SocketAddr>> {
        (peer != client).then(|| Box::new(peer))
    }
}

/// A row of the session table: what the API shows, what the relay counts, what a kick reaches.
#[derive(Debug)]
pub struct Row {
    /// Names the session in logs and in the API.
    pub id: u64,
    /// What was asked.
    pub request: Request,
    /// When it was asked.
    pub started_at: SystemTime,
    started: Instant,
    state: AtomicU8,
    placed: Mutex<Placed>,
    to_client: Flow,
    to_origin: Flow,
    /// Milliseconds until both ends were connected.
    setup: OnceLock<u32>,
    /// Bytes of both directions when they were last measured.
    measured: AtomicU64,
    /// Milliseconds until media flowed.
    first_media: OnceLock<u32>,
    /// Where its bytes are copied to while somebody wants them.
    pub tap: Tap,
    end: OnceLock<EndReason>,
    closed: AtomicBool,
    /// Rings when something ends it, and when it is closed.
    bell: Notify,
    metrics: Arc<Metrics>,
}

/// Where a session went, and why.
#[derive(Debug, Clone, Default)]
pub struct Placed {
    /// The origin that holds it.
    pub origin: Option<OriginId>,
    /// In words, the decision it was placed by.
    pub why: Cow<'static, str>,
    /// The origins that failed before, and how.
    pub failed: Vec<(OriginId, String)>,
}

/// One direction of a session.
#[derive(Debug)]
struct Flow {
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
    stalls: AtomicU64,
}

impl Flow {
    const fn new() -> Self {
        Self {
            bytes: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            noticed: AtomicU64::new(0),
            active: AtomicU64::new(0),
            blocked: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
        }
    }

    /// When bytes last came, as far as this look and those before it can tell: never too early, and too late by
    /// the time between two looks at the most.
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
    /// Joined, and no media yet.
    Waiting,
    /// Media flows.
    Relaying,
}

/// Why a session ended: a closed list, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// The client closed its connection.
    ClientClosed,
    /// The client broke its protocol.
    ClientError,
    /// The client of a call has not said for too long that it is there.
    ClientIdle,
    /// Our own code failed; the panic is logged.
    Crashed,
    /// The proxy stops.
    Drained,
    /// Another proxy carries the call.
    Elsewhere,
    /// An operator ended it.
    Kicked,
    /// The stream moved to another origin; who comes back finds it there.
    Moved,
    /// The origin closed its connection.
    OriginClosed,
    /// Its origin is drained, and the time to finish is over.
    OriginDrained,
    /// The origin broke its protocol.
    OriginError,
    /// The origin sent nothing for too long.
    PlayerIdle,
    /// The publisher sent nothing for too long.
    PublisherIdle,
    /// No origin took it, or the origin said no.
    Refused,
    /// The same stream's publisher came back on a new connection.
    Replaced,
    /// The client asked for another stream on a connection that carries one.
    SecondStream,
    /// The receiver took nothing for too long.
    Stalled,
    /// No publisher came in the time a player may wait.
    WaitedTooLong,
}

impl EndReason {
    /// The reason as logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClientClosed => "client_closed",
            Self::ClientError => "client_error",
            Self::ClientIdle => "client_idle",
            Self::Crashed => "crashed",
            Self::Drained => "drained",
            Self::Elsewhere => "elsewhere",
            Self::Kicked => "kicked",
            Self::Moved => "moved",
            Self::OriginClosed => "origin_closed",
            Self::OriginDrained => "origin_drained",
            Self::OriginError => "origin_error",
            Self::PlayerIdle => "player_idle",
            Self::PublisherIdle => "publisher_idle",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
            Self::SecondStream => "second_stream",
            Self::Stalled => "stalled",
            Self::WaitedTooLong => "waited_too_long",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl State {
    /// The state as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Relaying => "relaying",
        }
    }
}

impl Row {
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
        let of = |flow: &Flow| {
            let since = flow.blocked.load(Ordering::Relaxed);
            let present = since != 0 && now.saturating_sub(since) >= STALL;
            flow.stalls.load(Ordering::Relaxed) + u64::from(present)
        };
        of(&self.to_client) + of(&self.to_origin)
    }

    /// Notes that media flows; the first call counts.
    pub fn media_flows(&self) {
        if self.first_media.get().is_none() {
            let after = self.started.elapsed();
            if self.first_media.set(whole_millis(after)).is_ok() {
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

    /// Notes what has come of an HTTP body so far. An origin may send a format's header long before its
    /// publisher comes; media flows when there is more than such a header.
    pub fn body_came(&self, bytes: u64) {
        if bytes > FORMAT_HEADER {
            self.media_flows();
        }
    }

    /// How long the first media byte took, once there was one.
    pub fn first_media(&self) -> Option<Duration> {
        let after = self.first_media.get()?;
        Some(Duration::from_millis((*after).into()))
    }

    /// Bytes passed on so far.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.flow(direction).bytes.load(Ordering::Relaxed)
    }

    /// Bytes passed on in both directions since this was asked last.
    pub(crate) fn carried_since(&self) -> u64 {
        let bytes = self.bytes(Direction::ToClient) + self.bytes(Direction::ToOrigin);
        bytes.saturating_sub(self.measured.swap(bytes, Ordering::Relaxed))
    }

    /// How far it has come.
    pub fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Connecting,
            1 => State::Waiting,
            _ => State::Relaying,
        }
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// For how long the client has sent nothing; short of the truth by one sweep at the most, and never beyond it.
    pub fn client_silent_for(&self) -> Duration {
        let now = self.millis();
        Duration::from_millis(now.saturating_sub(self.to_origin.last_active(now)))
    }

    /// Where it went, and why.
    pub fn placed(&self) -> Placed {
        self.lock_placed().clone()
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

    /// Resolves when something ended the session; for bodies that outlive the call.
    pub(crate) async fn into_ended(self: Arc<Self>) -> EndReason {
        self.ended().await
    }

    /// Resolves when both connections of the session are closed and its row is gone.
    pub(crate) async fn closed(&self) {
        let is_closed = || self.closed.load(Ordering::Acquire).then_some(());
        bell::once(&self.bell, is_closed).await;
    }

    /// Notes the origin and the decision.
    pub(crate) fn note_placed(&self, origin: OriginId, why: Cow<'static, str>) {
        let mut placed = self.lock_placed();
        placed.origin = Some(origin);
        placed.why = why;
    }

    /// Notes an origin that failed.
    pub(crate) fn note_failed(&self, origin: OriginId, why: String) {
        self.lock_placed().failed.push((origin, why));
    }

    /// The session is joined: both ends are connected. False if it was before: an origin asked for credentials, and the
    /// client asked again with them.
    pub(crate) fn joined(&self) -> bool {
        self.state.store(State::Waiting as u8, Ordering::Relaxed);
        if self
            .setup
            .set(whole_millis(self.started.elapsed()))
            .is_err()
        {
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
    fn overdue(&self, limits: &Limits) -> Option<EndReason> {
        let now = self.millis();
        let since = |then: u64| Duration::from_millis(now.saturating_sub(then));
        // Looked at each time, whatever the state: silence counts from the look that found the last bytes.
        let to_client = since(self.to_client.last_active(now));
        let to_origin = since(self.to_origin.last_active(now));
        let stalled = [&self.to_client, &self.to_origin].into_iter().any(|flow| {
            let blocked = flow.blocked.load(Ordering::Relaxed);
            blocked != 0 && since(blocked) >= limits.write_stall
        });
        if stalled {
            return Some(EndReason::Stalled);
        }
        match (self.state(), self.request.action) {
            (State::Connecting, _) => None,
            (_, Action::Publish) => {
                // What a publisher cannot deliver because the origin takes nothing is not its silence.
                let silent = to_origin >= limits.publisher_idle && !self.to_origin.is_blocked();
                silent.then_some(EndReason::PublisherIdle)
            }
            (State::Waiting, Action::Play) => {
                (self.age() >= limits.play_wait).then_some(EndReason::WaitedTooLong)
            }
            (State::Relaying, Action::Play) => {
                let silent = to_client >= limits.player_idle && !self.to_client.is_blocked();
                silent.then_some(EndReason::PlayerIdle)
            }
        }
    }

    /// What the metrics are to be told of it: the bytes they have not heard of yet.
    fn share(&self, open: bool) -> StreamShare {
        StreamShare {
            publishes: self.request.action == Action::Publish,
            open,
            to_client: self.to_client.unreported(),
            to_origin: self.to_origin.unreported(),
        }
    }

    fn flow(&self, direction: Direction) -> &Flow {
        match direction {
            Direction::ToClient => &self.to_client,
            Direction::ToOrigin => &self.to_origin,
        }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock_placed(&self) -> MutexGuard<'_, Placed> {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the parts of a session may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// A publisher may send nothing for so long.
    pub publisher_idle: Duration,
    /// An origin that has sent media may send nothing to a player for so long.
    pub player_idle: Duration,
    /// A player may wait so long for the first media.
    pub play_wait: Duration,
    /// A receiver may take nothing for so long.
    pub write_stall: Duration,
    /// So many sessions at once.
    pub max: usize,
}

/// The table of open sessions.
#[derive(Debug)]
pub struct Sessions {
    // A std mutex: it is held for a few lines and never across an await.
    rows: Mutex<BTreeMap<u64, Arc<Row>>>,
    next: AtomicU64,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Sessions {
    /// An empty table.
    pub fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            rows: Mutex::default(),
            next: AtomicU64::new(1),
            limits,
            metrics,
        }
    }

    /// Opens a row, unless the table is full.
    pub(crate) fn open(self: &Arc<Self>, request: Request) -> Option<OpenRow> {
        let labels = SessionLabels {
            protocol: request.protocol.as_str(),
            action: request.action.as_str(),
        };
        let row = Arc::new(Row {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            started_at: SystemTime::now(),
            started: Instant::now(),
            state: AtomicU8::new(State::Connecting as u8),
            placed: Mutex::default(),
            to_client: Flow::new(),
            to_origin: Flow::new(),
            setup: OnceLock::new(),
            measured: AtomicU64::new(0),
            first_media: OnceLock::new(),
            tap: Tap::default(),
            end: OnceLock::new(),
            closed: AtomicBool::new(false),
            bell: Notify::new(),
            metrics: Arc::clone(&self.metrics),
            request,
        });
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

    /// Every open session, oldest first.
    pub fn list(&self) -> Vec<Arc<Row>> {
        self.lock().values().cloned().collect()
    }

    /// One session.
    pub fn row(&self, id: u64) -> Option<Arc<Row>> {
        self.lock().get(&id).cloned()
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

    /// Ends every session one of whose clocks ran out.
    pub fn end_overdue(&self) {
        for row in self.list() {
            if let Some(reason) = row.overdue(&self.limits) {
                row.end(reason);
            }
        }
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
        let mut unreported: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
        for row in self.list() {
            let share = row.share(true);
            let sums = unreported.entry(row.request.protocol.as_str()).or_default();
            sums.0 += share.to_client;
            sums.1 += share.to_origin;
            if by_name {
                streams.push((masked(&row.request.stream.to_string()), share));
            }
        }
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
        row.tap.close(Ended::Session);
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
        let (protocol, action) = (row.request.protocol.as_str(), row.request.action.as_str());
        self.metrics
            .sessions
            .get_or_create(&SessionLabels { protocol, action })
            .dec();
        let reason = row
            .end
            .get()
            .copied()
            .unwrap_or(EndReason::ClientClosed)
            .as_str();
        self.metrics
            .sessions_ended
            .get_or_create(&EndLabels {
                protocol,
                action,
                reason,
            })
            .inc();
        // Whoever sees that the row is gone finds its accounts settled.
        self.lock().remove(&row.id);
        let placed = row.placed();
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
            setup_ms = row.setup.get().copied(),
            first_media_ms = row.first_media().map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            stalls = row.stalls(),
            reason,
            "session ended"
        );
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Row>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
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
        // Whoever served it had no last word: a panic, or a connection whose task ended because its client left.
        let crashed = std::thread::panicking();
        self.row.end(if crashed {
            EndReason::Crashed
        } else {
            EndReason::ClientClosed
        });
        self.sessions.close(&self.row);
        self.row.closed.store(true, Ordering::Release);
        self.row.bell.notify_waiters();
    }
}

/// The milliseconds of a time, 49 days at the most.
fn whole_millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

/// The target of the line each session ends with: one for every session, whatever else is left out.
pub const ACCESS: &str = "sluicegate::access";
/// Longer than an FLV header with what chunked coding adds to it, shorter than any frame with its own header.
const FORMAT_HEADER: u64 = 64;
/// A receiver that takes nothing for so many milliseconds has stalled: a viewer's picture stands still by then.
const STALL: u64 = 1000;

#[cfg(test)]
mod tests {
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

    fn request(action: Action) -> Request {
        Request {
            stream: StreamUrl::new("", "live", "a").unwrap(),
            action,
            protocol: Protocol::Rtmp,
            client: "192.0.2.1:5000".parse().unwrap(),
            by_way_of: None,
        }
    }

    const SWEEP: Duration = Duration::from_millis(250);

    /// The reason a session is ended for after so many seconds of sweeps, if any.
    async fn reason_after(
        table: &Arc<Sessions>,
        row: &Arc<Row>,
        seconds: u64,
    ) -> Option<EndReason> {
        for _ in 0..seconds * 4 {
            sweep(table).await;
        }
        row.end.get().copied()
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
        let one = table.open(request(Action::Play)).unwrap();
        let two = table.open(request(Action::Play)).unwrap();
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
        let row = table.open(request(Action::Play)).unwrap();
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
        let row = table.open(request(Action::Publish)).unwrap();
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
    async fn stalls_are_counted_from_a_second_on() {
        let table = sessions(9);
        let row = table.open(request(Action::Play)).unwrap();
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
        let open = table.open(request(Action::Play)).unwrap();
        assert!(
            table.open(request(Action::Play)).is_none(),
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
        let row = table.open(request(Action::Publish)).unwrap();
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
        assert_eq!(row.end.get(), Some(&EndReason::PublisherIdle));
    }

    #[tokio::test(start_paused = true)]
    async fn a_player_waits_long_for_its_publisher_and_briefly_afterwards() {
        let table = sessions(9);
        let row = table.open(request(Action::Play)).unwrap();
        row.joined();
        assert_eq!(reason_after(&table, &row, 599).await, None);
        row.count(Direction::ToClient, 10);
        row.media_flows();
        assert_eq!(reason_after(&table, &row, 30).await, None);
        sweep(&table).await;
        assert_eq!(row.end.get(), Some(&EndReason::PlayerIdle));

        let waiting = table.open(request(Action::Play)).unwrap();
        waiting.joined();
        assert_eq!(
            reason_after(&table, &waiting, 600).await,
            Some(EndReason::WaitedTooLong)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_takes_nothing_is_ended() {
        let table = sessions(9);
        let row = table.open(request(Action::Play)).unwrap();
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
