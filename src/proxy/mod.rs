//! The heart: a [`Request`] comes in, a [`Session`] on the right origin comes out.
//!
//! `open` finds where the stream belongs; [`Session::dial`] walks the candidates until one answers. That walk is
//! the only failover there is, and it ends with the first byte relayed. [`Proxy::place`] does the same for clients that
//! make many requests for one stream.

mod adopt;
mod answers;
mod choice;
pub mod outside;
mod walk;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use sluicegate_core::fleet::drain::{Cause, Drain, Duty, Left};
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::stream::{Action, PlacementKey, Service, StreamUrl, VhostRule};
use tokio::time::timeout;
use tracing::{debug, info};

use self::outside::Outside;
use self::walk::Walk;
use crate::cluster::Cluster;
use crate::config::Takeover;
use crate::finder::Finder;
use crate::lookup::Lookup;
use crate::metrics::{Metrics, RefusalLabels, StoreLabel};
use crate::registry::{Hold, Registry};
pub use crate::session::Request;
use crate::session::{Direction, EndReason, OpenRow, Placed, Row, Sessions, State};

/// Everything a listener needs to join a client to its stream; a cheap clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    vhosts: VhostRule,
    timing: Timing,
    lookup: Lookup,
    outside: Option<Outside>,
    stopping: AtomicBool,
    cluster: OnceLock<Arc<Cluster>>,
    // A std mutex: it is held for a line and never across an await.
    drain: Mutex<Option<Drain>>,
    finder: Finder,
}

/// How long set-up may take.
#[derive(Debug, Clone)]
pub struct Timing {
    /// A candidate has so long to send its first byte.
    pub dial: Duration,
    /// All candidates together have so long.
    pub setup: Duration,
    /// A publisher that has sent nothing for so long gives way to one that comes back.
    pub takeover_after: Duration,
    /// Whose publish ends an earlier one.
    pub takeover: Takeover,
    /// Between two sessions that a drain ends.
    pub drain_pace: Duration,
    /// Whether origins are asked for a stream that one of them refuses to a player.
    pub ask_streams: bool,
}

/// A client on its way to, or joined with, an origin. Dropping it settles its accounts.
#[derive(Debug)]
pub struct Session {
    proxy: Proxy,
    /// All candidates together have so long.
    setup: Duration,
    // Before the row, so that the claim's lifetime counts from the last session's end.
    hold: Hold,
    row: OpenRow,
}

/// One of the many requests of a client that pulls a stream piece by piece: a share in the stream's placement
/// without a row in the table. While one lives the claim stands, and for its lifetime after the last.
#[derive(Debug)]
pub struct Place {
    proxy: Proxy,
    request: Request,
    key: PlacementKey,
    hold: Hold,
    named: Option<OriginId>,
}

/// One origin to try.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name.
    pub origin: OriginId,
    /// What its operator calls it.
    pub label: String,
    /// What to dial.
    pub target: Target,
    /// How long it has to send its first byte.
    pub patience: Duration,
    /// It wants RTMP commands one by one.
    pub step_by_step: bool,
    /// A no is to be reported as [`DialError::Refused`], since there may be a better answer, and not to be passed on.
    pub asks_again: bool,
}

/// Why an attempt did not end in a joined session.
#[derive(Debug)]
pub enum DialError {
    /// This machine has no descriptor, port or memory left for a connection: no origin is to blame.
    Exhausted(String),
    /// The origin could not be reached, or answered nonsense: the next candidate may do better.
    Failed(String),
    /// The origin speaks, and closes the connection when it hears what the client wants. The next candidate may not,
    /// but the origin is alive: a client that every origin hangs up on must not make them all look dead.
    HungUp(String),
    /// The origin names another place for the stream, as `host:port`.
    Moved(String),
    /// The origin answered, and the answer is no.
    Refused(String),
    /// The origin said nothing in its time.
    Silent(String),
}

/// Why a request got no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every candidate failed.
    #[error("{stream}: no origin answered; tried {}", names(.tried))]
    AllFailed {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and how each failed. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// Whoever decides about new streams said no.
    #[error("{stream}: {reason}")]
    Denied {
        /// The stream asked for.
        stream: StreamUrl,
        /// In the words of who denied it.
        reason: String,
    },
    /// The proxy stops.
    #[error("this proxy is stopping; connect again")]
    Draining,
    /// No descriptor, port or memory is left for a connection to an origin.
    #[error("this proxy has no room for a further connection; try again later")]
    Exhausted {
        /// What the system said.
        error: String,
    },
    /// Something ended the session before it was joined.
    #[error("the session was ended: {0}")]
    Ended(EndReason),
    /// The session table is full.
    #[error("this proxy holds as many sessions as it may; try again later")]
    Full,
    /// The stream is published, on an origin that takes nobody any more.
    #[error("{stream} is on {origin}, which is out of service")]
    Gone {
        /// The stream asked for.
        stream: StreamUrl,
        /// The origin that holds it.
        origin: OriginId,
    },
    /// No origin is there that could take it.
    #[error("{stream}: no live origin serves {}", .service.as_str())]
    NoOrigin {
        /// The stream asked for.
        stream: StreamUrl,
        /// The kind of endpoint that was looked for.
        service: Service,
        /// What stood in the way, for logs.
        detail: String,
    },
    /// Those that could take it hold as much as they may.
    #[error("{stream}: every origin that could take it is full; try again later")]
    NoRoom {
        /// The stream asked for.
        stream: StreamUrl,
        /// Who is full of what, for logs.
        detail: String,
    },
    /// The origin said no.
    #[error("{description}")]
    Refused {
        /// Which origin.
        origin: OriginId,
        /// Its own words.
        description: String,
    },
    /// Too many plays of unpublished streams from one address.
    #[error(
        "too many streams without a publisher are waited for from your address; try again in a minute"
    )]
    TooManyClaims,
    /// The candidates together took too long.
    #[error("{stream}: no origin answered in time; tried {}", names(.tried))]
    TooSlow {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and how each failed. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// The stream is on an origin that does not speak this protocol.
    #[error("{stream} is on {origin}, which has no {}", .service.as_str())]
    WrongService {
        /// The stream asked for.
        stream: StreamUrl,
        /// The origin that holds it.
        origin: OriginId,
        /// What that origin lacks.
        service: Service,
    },
}

impl Proxy {
    /// Puts the parts together. Cooperative clients are answered by `lookup`, and `outside` is asked where new streams
    /// go, if somebody is to be asked.
    pub fn new(
        registry: Arc<Registry>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        vhosts: VhostRule,
        timing: Timing,
        lookup: Lookup,
        outside: Option<Outside>,
    ) -> Self {
        let proxy = Self {
            shared: Arc::new(Shared {
                registry,
                sessions,
                metrics,
                vhosts,
                timing,
                lookup,
                outside,
                stopping: AtomicBool::new(false),
                cluster: OnceLock::new(),
                drain: Mutex::default(),
                finder: Finder::new(),
            }),
        };
        let shared = Arc::downgrade(&proxy.shared);
        proxy.metrics().before_scrape(move |metrics| {
            if let Some(shared) = shared.upgrade() {
                shared.sessions.settle();
                shared.registry.settle();
                if let Some(cluster) = shared.cluster.get() {
                    let label = StoreLabel {
                        store: cluster.store_name(),
                    };
                    let staleness = cluster.staleness().as_secs_f64();
                    metrics.store_staleness.get_or_create(&label).set(staleness);
                }
                let draining = Self { shared }.is_draining();
                metrics.draining.set(draining.into());
            }
        });
        proxy
    }

    /// Counts what sessions carried since this was called last, a second ago, for each origin.
    pub fn measure(&self) {
        let mut kbps: HashMap<OriginId, u64> = HashMap::new();
        for row in self.shared.sessions.list() {
            let bytes = row.carried_since();
            if bytes > 0
                && let Some(origin) = row.placed().origin
            {
                *kbps.entry(origin).or_default() += bytes * 8 / 1000;
            }
        }
        self.shared.registry.measured(&kbps);
    }

    /// Origins and placements.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    /// The session table.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.shared.sessions
    }

    /// The metric families.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed) || self.drain_in_progress().is_some()
    }

    /// Refuses new work from now on, for good.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
    }

    /// Refuses new work until [`Proxy::undrain`]; past `patience`, sessions are ended one by one.
    pub fn drain(&self, patience: Option<Duration>) {
        let mut drain = self.lock_drain();
        let standing = drain.map_or(Duty::Active, Duty::Draining);
        let now = std::time::Instant::now();
        *drain = Some(Drain::begin(standing, now, patience, Cause::Operator));
        info!(deadline = ?patience, "this proxy drains");
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

    /// Ends the players of a stream that are joined elsewhere than at `origin`, where its publisher is now: who comes
    /// back finds it there.
    fn end_stale(&self, key: &PlacementKey, origin: &OriginId) {
        self.end_those_elsewhere(key, origin, |row| row.request.action == Action::Play);
    }

    /// An origin says that a stream is published on it, by a way that is not ours: it is played from there. Players
    /// that wait for it elsewhere are let go, to come back and find it.
    pub fn note_published(&self, stream: &StreamUrl, origin: &OriginId) {
        let key = self.key(stream);
        let registry = &self.shared.registry;
        if !registry.note_published(&key, origin) {
            return debug!(%stream, %origin, "a publish was not noted: too many are known");
        }
        debug!(%stream, %origin, "origin reports a publish");
        if !registry.published_here(&key) {
            self.end_stale(&key, origin);
        }
    }

    /// An origin says that a stream is published on it no more.
    pub fn note_unpublished(&self, stream: &StreamUrl, origin: &OriginId) {
        debug!(%stream, %origin, "origin reports the end of a publish");
        let key = self.key(stream);
        self.shared.registry.note_unpublished(&key, origin);
    }

    /// Ends every session of a stream that was joined elsewhere than at `origin`, and says how many they were. Those
    /// that still connect hear of it when their origin answers.
    pub(crate) fn end_elsewhere(&self, key: &PlacementKey, origin: &OriginId) -> usize {
        self.end_those_elsewhere(key, origin, |_| true)
    }

    fn end_those_elsewhere(
        &self,
        key: &PlacementKey,
        origin: &OriginId,
        meant: impl Fn(&Row) -> bool,
    ) -> usize {
        let elsewhere = |row: &&Arc<Row>| {
            meant(row)
                && row.state() != State::Connecting
                && self.key(&row.request.stream) == *key
                && row.placed().origin.as_ref() != Some(origin)
        };
        let rows = self.shared.sessions.list();
        rows.iter()
            .filter(elsewhere)
            .inspect(|row| row.end(EndReason::Moved))
            .count()
    }

    /// Claims are made in `cluster`'s store from now on.
    pub fn join_cluster(&self, cluster: Arc<Cluster>) {
        // A proxy has one store.
        let _ = self.shared.cluster.set(cluster);
    }

    /// The cluster this proxy is part of, if it is.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.shared.cluster.get()
    }

    fn lock_drain(&self) -> std::sync::MutexGuard<'_, Option<Drain>> {
        let drain = &self.shared.drain;
        drain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key a stream is placed under.
    pub fn key(&self, stream: &StreamUrl) -> PlacementKey {
        self.shared.vhosts.key(stream)
    }

    /// Opens a session for a request: a row in the table and a share in the stream's placement. A publisher of
    /// the same stream that has gone silent gives way first.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub async fn open(&self, request: Request) -> Result<Session, Refusal> {
        let told = request.clone();
        let opened = self.try_open(request).await;
        if let Err(refusal) = &opened {
            self.note_refusal(&told, refusal);
        }
        opened
    }

    /// Gives a request of a client that makes many a share in its stream's placement, under the rules of a player's
    /// claim. `named` is the origin a link names: it is preferred where the stream is not placed yet.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub fn place(&self, request: Request, named: Option<OriginId>) -> Result<Place, Refusal> {
        let key = self.key(&request.stream);
        let (action, source) = (request.action, request.client.ip());
        match self.shared.registry.hold(&key, action, source) {
            Ok(hold) => Ok(Place {
                proxy: self.clone(),
                request,
                key,
                hold,
                named,
            }),
            Err(_) => {
                self.note_refusal(&request, &Refusal::TooManyClaims);
                Err(Refusal::TooManyClaims)
            }
        }
    }

    async fn try_open(&self, request: Request) -> Result<Session, Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        if request.action == Action::Publish {
            self.relieve(&request).await;
        }
        self.admit(request)
    }

    /// Gives a session its share in the placement of its stream, and its row.
    fn admit(&self, request: Request) -> Result<Session, Refusal> {
        let key = self.key(&request.stream);
        let (action, source) = (request.action, request.client.ip());
        let hold = self
            .shared
            .registry
            .hold(&key, action, source)
            .map_err(|_| Refusal::TooManyClaims)?;
        let row = self.shared.sessions.open(request).ok_or(Refusal::Full)?;
        Ok(Session {
            proxy: self.clone(),
            setup: self.shared.timing.setup,
            hold,
            row,
        })
    }

    /// Ends the earlier publisher of a stream if it may be taken over. By default that is when it has gone silent: its
    /// encoder has come back on a new connection, and the old one is a hole in the network that nobody has noticed.
    /// One that still sends is left alone then, and the origin decides.
    async fn relieve(&self, request: &Request) {
        let stream = &request.stream;
        let Some(old) = self.shared.sessions.publisher(stream) else {
            return;
        };
        let enough = self.shared.timing.takeover_after;
        let gives_way_at_once = match self.shared.timing.takeover {
            Takeover::Never => return,
            Takeover::Silent => false,
            Takeover::Address => old.request.client.ip() == request.client.ip(),
            Takeover::Always => true,
        };
        if gives_way_at_once {
            info!(session = old.id, stream = %stream, "a publisher gives way to one that came later");
            old.end(EndReason::Replaced);
            let _ = timeout(enough.max(LEAVE), old.closed()).await;
            return;
        }
        let seen = old.bytes(Direction::ToOrigin);
        while old.client_silent_for() < enough {
            if old.bytes(Direction::ToOrigin) != seen {
                return;
            }
            let rest = enough.saturating_sub(old.client_silent_for());
            if timeout(rest.min(POLL), old.closed()).await.is_ok() {
                return;
            }
        }
        if old.state() == State::Connecting {
            // It says nothing because its origin has yet to answer it.
            return;
        }
        info!(session = old.id, stream = %stream, "a silent publisher gives way to one that came back");
        old.end(EndReason::Replaced);
        let _ = timeout(enough, old.closed()).await;
    }

    fn note_refusal(&self, request: &Request, refusal: &Refusal) {
        let labels = RefusalLabels {
            protocol: request.protocol.as_str(),
            reason: refusal.as_str(),
        };
        self.shared.metrics.refused.get_or_create(&labels).inc();
        if *refusal == Refusal::TooManyClaims {
            // The answer to a flood is a number, not a flood of lines.
            return debug!(stream = %request.stream, client = %request.client, "refused: too many claims");
        }
        info!(
            stream = %request.stream,
            action = request.action.as_str(),
            protocol = request.protocol.as_str(),
            client = %request.client,
            peer = request.by_way_of.as_ref().map(tracing::field::display),
            reason = refusal.as_str(),
            detail = refusal.detail(),
            "refused"
        );
    }
}

impl Session {
    /// The metric families.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.proxy.metrics()
    }

    /// The row: counters, and the way to hear of a kick.
    pub fn row(&self) -> &Arc<Row> {
        &self.row
    }

    /// Shortens the time that all candidates together have, for clients that wait less.
    #[must_use]
    pub fn within(mut self, setup: Duration) -> Self {
        self.setup = self.setup.min(setup);
        self
    }

    /// Tries origins, best first, until `dial` joins one. The claim moves with the choice, so that everybody
    /// else who asks for the stream is sent to the same origin.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted; the session is over then.
    pub async fn dial<T, F>(&self, dial: impl Fn(Attempt) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let joined = tokio::select! {
            joined = self.walk().candidates(dial, |_| true) => joined,
            reason = self.row.ended() => Err(Refusal::Ended(reason)),
        };
        match joined {
            Ok(leg) => {
                let first = self.row.joined();
                let placed = self.row.placed();
                let shared = self.proxy.shared.registry.is_shared(self.key());
                if let Some(origin) = placed
                    .origin
                    .as_ref()
                    .filter(|_| shared && self.publishes())
                {
                    self.proxy.end_stale(self.key(), origin);
                }
                if first {
                    self.tell_joined(&placed);
                }
                Ok(leg)
            }
            Err(refusal) => {
                self.proxy.note_refusal(&self.row.request, &refusal);
                self.row.end(EndReason::Refused);
                Err(refusal)
            }
        }
    }

    fn tell_joined(&self, placed: &Placed) {
        let request = &self.row.request;
        info!(
            session = self.row.id,
            stream = %request.stream,
            action = request.action.as_str(),
            protocol = request.protocol.as_str(),
            client = %request.client,
            peer = request.by_way_of.as_ref().map(tracing::field::display),
            origin = placed.origin.as_ref().map_or("-", |id| id.as_str()),
            why = &*placed.why,
            "session joined"
        );
    }

    /// Notes that the origin answered. A dial that ended with the connection, before a word of the origin, does not
    /// show that it lives: the kernel accepts connections for a process that is stopped.
    pub fn answered(&self) {
        if let Some(origin) = self.row.placed().origin {
            self.proxy.shared.registry.answered(&origin);
        }
    }

    /// The name its stream is placed under.
    const fn key(&self) -> &PlacementKey {
        self.hold.key()
    }

    fn publishes(&self) -> bool {
        self.row.request.action == Action::Publish
    }

    fn walk(&self) -> Walk<'_> {
        Walk {
            proxy: &self.proxy,
            service: self.row.request.protocol.service(),
            setup: self.setup,
            key: self.key(),
            hold: &self.hold,
            request: &self.row.request,
            row: Some(&self.row),
            named: None,
            directed: OnceLock::new(),
        }
    }

    /// Ends the session for `reason`, unless something ended it before.
    pub fn finish(self, reason: EndReason) {
        self.row.end(reason);
    }
}

impl Place {
    /// The stream, who asks for it and how.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// How long one origin has to take a connection.
    pub fn patience(&self) -> Duration {
        self.proxy.shared.timing.dial
    }

    /// The origin that [`Place::dial`] would try first, without a claim on it.
    pub fn likely(&self) -> Option<OriginId> {
        self.walk().first_choice().ok().map(|choice| choice.origin)
    }

    /// What to dial to reach an origin of the fleet, unless it is down or has no such service.
    pub fn attempt(&self, origin: &OriginId) -> Option<Attempt> {
        let walk = self.walk();
        walk.is_fit(origin).then(|| walk.attempt(origin)).flatten()
    }

    /// Tries origins, best first, until `dial` gets an answer from one, as [`Session::dial`] does. An answer that
    /// does not show the stream there, by the word of `joins`, leaves no claim behind.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub async fn dial<T, F>(
        &self,
        dial: impl Fn(Attempt) -> F,
        joins: impl Fn(&T) -> bool,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let answered = self.walk().candidates(dial, joins).await;
        if let Err(refusal) = &answered {
            self.proxy.note_refusal(&self.request, refusal);
        }
        answered
    }

    fn walk(&self) -> Walk<'_> {
        Walk {
            proxy: &self.proxy,
            service: self.request.protocol.service(),
            setup: self.proxy.shared.timing.setup,
            key: &self.key,
            hold: &self.hold,
            request: &self.request,
            row: None,
            named: self.named.as_ref(),
            directed: OnceLock::new(),
        }
    }
}

impl Refusal {
    /// The refusal as metrics spell it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AllFailed { .. } => "all_failed",
            Self::Denied { .. } => "denied",
            Self::Draining => "draining",
            Self::Ended(_) => "ended",
            Self::Exhausted { .. } => "exhausted",
            Self::Full => "full",
            Self::Gone { .. } => "gone",
            Self::NoOrigin { .. } => "no_origin",
            Self::NoRoom { .. } => "no_room",
            Self::Refused { .. } => "refused",
            Self::TooManyClaims => "too_many_claims",
            Self::TooSlow { .. } => "too_slow",
            Self::WrongService { .. } => "wrong_service",
        }
    }

    /// The whole story, for the log: it may hold addresses.
    pub(crate) fn detail(&self) -> String {
        match self {
            Self::AllFailed { tried, .. } | Self::TooSlow { tried, .. } => tried
                .iter()
                .map(|(id, why)| format!("{id}: {why}"))
                .collect::<Vec<_>>()
                .join("; "),
            Self::Exhausted { error } => error.clone(),
            Self::NoOrigin { detail, .. } | Self::NoRoom { detail, .. } => {
                format!("{self}: {detail}")
            }
            Self::Refused {
                origin,
                description,
            } => format!("{origin}: {description}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.origin, self.target)
    }
}

fn names(tried: &[(OriginId, String)]) -> String {
    tried
        .iter()
        .map(|(id, _)| id.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// How often a publisher that may have gone silent is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How long a publisher that gives way at once may take to close, so that its origin sees the end before the new one.
const LEAVE: Duration = Duration::from_secs(1);
