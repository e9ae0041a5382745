//! The proxies that share a store with this one: what they claim is seen here, and what is claimed here is seen there.
//!
//! The registry keeps the placements this proxy has seen; they are its cache, and what it goes by while the store is out
//! of reach. The store has the last word: a new stream is claimed in it before it is dialled. A stream is *settled* while
//! its placement is known to be what the store says, and costs no call then. The store tells when that changes; where it
//! cannot (Redis Cluster), a stream stays settled for a second only.

mod bans;
mod builds;
mod calls;
mod duties;
mod held;
mod keep;
mod origins;
mod peers;
mod questions;
mod reports;
mod splices;
mod stock;
mod tally;
mod turns;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use sluicegate_core::cluster::claiming::Claimed;
use sluicegate_core::cluster::claiming::{Against, Claiming, Known, Step};
use sluicegate_core::cluster::peers::{DUTY, PROXY, PeerRecord, REPORT};
use sluicegate_core::cluster::records::{self, RECORD};
use sluicegate_core::cluster::srs::{self, OTHER_SERVER, PLACEMENT, SERVER};
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::{AddressRules, Origin, OriginId, Target};
use sluicegate_core::rtc::record::{CALL, CHECK};
use sluicegate_core::stream::{PlacementKey, VhostRule};
use tokio::runtime::Handle;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use self::builds::Builds;
use self::calls::LookUps;
use self::duties::Duties;
pub(crate) use self::held::ToldHeld;
pub use self::peers::Peer;
use self::peers::Peers;
pub use self::questions::PeerAccess;
pub(crate) use self::questions::PeerQuestion;
use self::stock::Stock;
use self::tally::{TELL_EVERY, Told};
use self::turns::{Turn, Turns};
use crate::metrics::{Metrics, StateLabel, StoreLabels};
use crate::origin::health::Prober;
use crate::random;
use crate::registry::Registry;
use crate::sessions::Sessions;
use crate::store::{Change, ClusterStore, Store, StoreError};
use crate::value::Secret;

/// This proxy's part in a cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What this proxy is called among them: random, so that a restart is somebody else.
    id: String,
    store: ClusterStore,
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    terms: Terms,
    // A std mutex: it is held for a look-up, never across an await.
    settled: Mutex<HashMap<String, Settled>>,
    /// Since when the store has not confirmed what is known here; `None` while it does.
    stale_since: Mutex<Option<Instant>>,
    /// When the records of origins were written that were read last, in their words.
    seen: Mutex<HashMap<String, String>>,
    /// Since when claims name these origins, whose records have not come.
    unknown: Mutex<HashMap<String, Instant>>,
    /// The origins that report here, by their keys, and when they did last.
    reporting: Mutex<HashMap<String, (Origin, Instant)>>,
    /// The keys of the reports that stood when they were read last, where nobody tells of changes.
    listed_reports: Mutex<HashSet<String>>,
    /// Origins that register here, until somebody follows them.
    announced: Mutex<Option<mpsc::Receiver<Origin>>>,
    builds: Builds,
    calls: LookUps,
    duties: Duties,
    peers: Peers,
    access: Option<Arc<PeerAccess>>,
    stock: Stock,
    told: Told,
    turns: Turns,
    record: PeerRecord,
}

/// How records are written and read.
#[derive(Debug, Clone)]
pub struct Terms {
    /// How long an origin is kept after its last heartbeat.
    pub origin_ttl: Duration,
    /// How long a placement that only players asked for is kept after the last of them.
    pub play_claim: Duration,
    /// Where origins may be.
    pub rules: AddressRules,
    /// Which vhosts count in the name that a stream is placed under.
    pub vhosts: VhostRule,
    /// Where other proxies reach the system API of this one, if they can.
    pub system: Option<Target>,
    /// What the proxies share to know each other (`cluster.key`); the first is shown.
    pub keys: Vec<Secret>,
    /// Asks whether an origin is still where it was.
    pub prober: Prober,
}

/// A placement that is known to be what the store says.
#[derive(Debug)]
struct Settled {
    /// As it stands there: the key of an origin.
    value: String,
    /// Until when, if nobody would tell of a change.
    until: Option<Instant>,
}

/// Whether an origin that is not known yet is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeLimit {
    /// Others wait for us.
    Goes,
    /// A client waits, and would be sent elsewhere.
    Waits,
}

impl Cluster {
    /// A part in the cluster of all who use `store`.
    pub fn new(
        store: ClusterStore,
        registry: Arc<Registry>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        terms: Terms,
    ) -> Self {
        // From here on, so that who registers before the first look at the store is told of after it.
        let (announcements, announced) = mpsc::channel(ANNOUNCEMENTS);
        registry.announce_to(announcements);
        let id = new_id();
        Self {
            access: PeerAccess::new(&terms.keys, &id).map(Arc::new),
            id,
            builds: Builds::default(),
            calls: LookUps::default(),
            duties: Duties::default(),
            peers: Peers::default(),
            stock: Stock::default(),
            told: Told::default(),
            turns: Turns::default(),
            record: PeerRecord {
                system: terms.system.clone(),
                started: jiff::Timestamp::now().to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            store,
            registry,
            sessions,
            metrics,
            terms,
            settled: Mutex::default(),
            stale_since: Mutex::new(Some(Instant::now())),
            seen: Mutex::default(),
            unknown: Mutex::default(),
            reporting: Mutex::default(),
            listed_reports: Mutex::default(),
            announced: Mutex::new(Some(announced)),
        }
    }

    /// What this proxy is called in the store.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it shares with the others.
    pub(crate) const fn store(&self) -> &ClusterStore {
        &self.store
    }

    /// Whether the store answers; without it known streams go on, and new ones go where every proxy would put them.
    pub fn is_reachable(&self) -> bool {
        self.store.is_reachable()
    }

    /// The kind of its store, as metrics spell it.
    pub const fn store_name(&self) -> &'static str {
        self.store.name()
    }

    /// For how long what is known here has not been confirmed: zero while the store answers and tells of changes. It
    /// begins when the loss is noticed, at most two seconds late, and ends when all that is held here is claimed
    /// again.
    pub fn staleness(&self) -> Duration {
        let since = *self.stale_since();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// The keys whose changes have to be heard of here.
    pub fn watched() -> Vec<String> {
        [
            SERVER,
            OTHER_SERVER,
            PLACEMENT,
            CALL,
            CHECK,
            PROXY,
            DUTY,
            REPORT,
            RECORD,
        ]
        .map(str::to_owned)
        .into()
    }

    /// Reads what the others know, and keeps in step from now on, until `end`. Returns when the first is done: a store
    /// that does not answer within `time_limit` is left for later, and without a `time_limit` it is waited for.
    pub async fn begin(self: Arc<Self>, time_limit: Option<Duration>, end: &CancellationToken) {
        let announced = &self.announced;
        let announced = announced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(announced) = announced else {
            // It has begun already.
            return;
        };
        let changes = self.store.changes();
        let reached = async {
            match time_limit {
                Some(time_limit) => timeout(time_limit, self.store.reachable()).await.is_ok(),
                None => {
                    info!("waiting for the store, as store.wait_at_start says");
                    self.store.reachable().await;
                    true
                }
            }
        };
        if !reached.await {
            error!(
                "serving WITHOUT the store: origins and streams of other proxies are not known here until it answers; \
                 set store.wait_at_start to wait for it"
            );
        }
        self.take_stock().await;
        let keep = Arc::clone(&self).keep();
        tokio::spawn(end.clone().run_until_cancelled_owned(keep));
        let follow = Arc::clone(&self).follow(changes, announced);
        tokio::spawn(end.clone().run_until_cancelled_owned(follow));
    }

    /// Makes the registry know what the store says of a stream.
    pub(crate) async fn recall(&self, key: &PlacementKey) {
        if self.is_settled(key) {
            return;
        }
        let turn = self.turns.take(key).await;
        // Who came before may have asked.
        if !self.is_settled(key) {
            self.read_placement(key, TimeLimit::Waits, turn).await;
        }
    }

    /// Reads where the stream is, and tells the sessions that are elsewhere.
    async fn read_placement(&self, key: &PlacementKey, time_limit: TimeLimit, _turn: Turn) {
        let Some(value) = self.stored(key).await else {
            return;
        };
        let before = self.registry.last_claimed(key);
        let stands = self.settle(key, value, time_limit).await;
        if let (Some(before), Some(stands)) = (before, stands)
            && before != stands
        {
            self.conflict(key, &before, &stands);
        }
    }

    /// What the store says of a stream's placement. Where it says that there is none, the registry knows of none either, unless
    /// sessions of it are here.
    async fn stored(&self, key: &PlacementKey) -> Option<String> {
        let read = self.store.get(&srs::placement_key(key)).await;
        match self.noted("get", read) {
            Ok(Some(value)) => return Some(value),
            Ok(None) => self.registry.unplaced(key),
            Err(error) => debug!(%key, %error, "the placement goes by what is known here"),
        }
        None
    }

    /// Where the store says that a stream is, for those who only ask: nothing that is known here changes by it. `None`
    /// where it says nothing, or cannot be asked.
    pub(crate) async fn look_up(&self, key: &PlacementKey) -> Option<OriginId> {
        if self.is_settled(key) {
            return self.registry.claimed(key);
        }
        let read = self.store.get(&srs::placement_key(key)).await;
        let value = self.noted("get", read).ok().flatten()?;
        self.origin_at(&self.store.bare_key(&value)).await
    }

    /// Claims a stream for `origin` in the store. A `durable` claim, a publisher's, is kept for a day. Sessions that are elsewhere
    /// than the stream is then hear of it, whether another origin stands there or stood there: what is told of a change later is
    /// no news here, and of those made here nobody tells.
    pub(crate) async fn claim(
        self: &Arc<Self>,
        key: &PlacementKey,
        origin: &OriginId,
        durable: bool,
    ) -> Claimed {
        let Some(claiming) = self.claiming(origin, durable) else {
            return Claimed::Unsettled;
        };
        self.claim_in_turn(key, claiming).await
    }

    /// The same for a publisher that is moved to `origin`. The claim goes ahead of it, so that nobody leaves because of it.
    pub(crate) async fn claim_ahead(
        self: &Arc<Self>,
        key: &PlacementKey,
        origin: &OriginId,
    ) -> Claimed {
        let Some(claiming) = self.claiming(origin, true) else {
            return Claimed::Unsettled;
        };
        self.claim_in_turn(key, claiming.going_ahead()).await
    }

    /// A claim for a stream's sessions. `None` where its origin is not known any more.
    fn claiming(&self, origin: &OriginId, durable: bool) -> Option<Claiming> {
        let value = self.value_of(origin)?;
        Some(Claiming::new(origin.clone(), value, durable))
    }

    /// Makes a claim. One that has begun comes to its end even if its claimant leaves: what the store makes of it is heard, by
    /// the sessions that are elsewhere as well.
    async fn claim_in_turn(
        self: &Arc<Self>,
        key: &PlacementKey,
        mut claiming: Claiming,
    ) -> Claimed {
        if claiming.is_made(self.known(key).as_ref()) {
            return Claimed::Won;
        }
        let turn = self.turns.take(key).await;
        let (cluster, key) = (Arc::clone(self), key.clone());
        let claimant = Arc::new(());
        let waits = Arc::downgrade(&claimant);
        let claim = tokio::spawn(async move {
            let claimed = cluster.carry_out(&key, &mut claiming).await;
            cluster.tell_of(&key, &claiming, &claimed, waits.strong_count());
            drop(turn);
            claimed
        });
        // A claim that is cut short is settled with the next look.
        let claimed = claim.await.unwrap_or(Claimed::Unsettled);
        drop(claimant);
        claimed
    }

    /// Does what a claim says.
    async fn carry_out(&self, key: &PlacementKey, claiming: &mut Claiming) -> Claimed {
        let origin = &claiming.origin().clone();
        let name = srs::placement_key(key);
        let mut step = claiming.begin(self.registry.claimed(key));
        loop {
            step = match step {
                Step::Over(claimed) => return claimed,
                Step::Look => {
                    let next = claiming.round(self.known(key));
                    if next == Step::Over(Claimed::Unsettled) {
                        warn!(stream = %key, %origin, "the claim in the store kept changing; placed without it");
                    }
                    next
                }
                Step::LookFor(stands) => {
                    claiming.came(self.settle(key, stands, TimeLimit::Waits).await)
                }
                Step::Set { expected } => {
                    self.keep_claimed(origin).await;
                    let lifetime = self.lifetime(claiming.is_durable());
                    let (expected, value) = (expected.as_deref(), claiming.value());
                    let claim = self.store.claim(&name, expected, value, lifetime).await;
                    match self.noted("claim", claim) {
                        Ok(claim) => {
                            let there = self.settle(key, claim.value, TimeLimit::Waits).await;
                            claiming.answered(claim.won, there)
                        }
                        Err(error) => {
                            warn!(stream = %key, %origin, %error, "placed without the store; the claim follows when it is back");
                            self.lock().remove(key.as_str());
                            claiming.unanswered()
                        }
                    }
                }
            };
        }
    }

    /// Sessions that are elsewhere than the stream is since a claim was made hear of it. `claimants`: those of them that wait for
    /// the claim.
    fn tell_of(
        &self,
        key: &PlacementKey,
        claiming: &Claiming,
        claimed: &Claimed,
        claimants: usize,
    ) {
        match claimed {
            Claimed::Lost(there) => self.conflict(key, claiming.origin(), there),
            // Most streams have one session, and a look for others is a look at every session.
            Claimed::Won if claiming.replaces() && self.registry.holders(key) > claimants => {
                self.gather(key, claiming.origin());
            }
            Claimed::Unsettled | Claimed::Won => {}
        }
    }

    /// Claims a stream for `origin` again, where its publisher is or was before a move to `gone` came to nothing, without anybody
    /// who waits for the store, unless it has gone elsewhere meanwhile. `why` is kept with a claim that changes.
    pub(crate) fn claim_back(
        self: &Arc<Self>,
        key: &PlacementKey,
        (gone, origin): (&OriginId, &OriginId),
        why: &'static str,
    ) {
        let (cluster, key) = (Arc::clone(self), key.clone());
        let (gone, origin) = (gone.clone(), origin.clone());
        // Without a runtime the process ends, and its claims run out.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        runtime.spawn(async move {
            let turn = cluster.turns.take(&key).await;
            let registry = &cluster.registry;
            if registry.claimed(&key).as_ref() == Some(&gone) {
                // The claim of the move was under way still, and has been won since.
                registry.return_claim(&key, &gone, &origin, why);
            }
            if registry.claimed(&key).as_ref() != Some(&origin) {
                return;
            }
            let Some(mut claiming) = cluster.claiming(&origin, true) else {
                return;
            };
            let claimed = cluster.carry_out(&key, &mut claiming).await;
            cluster.tell_of(&key, &claiming, &claimed, 0);
            drop(turn);
        });
    }

    /// What the store said last of a stream.
    fn known(&self, key: &PlacementKey) -> Option<Known> {
        let (value, holds) = {
            let settled = self.lock();
            let known = settled.get(key.as_str())?;
            (known.value.clone(), known.holds())
        };
        Some(Known {
            names_unknown: self.is_unknown(&value),
            value,
            holds,
        })
    }

    async fn follow(
        self: Arc<Self>,
        mut changes: broadcast::Receiver<Change>,
        mut announced: mpsc::Receiver<Origin>,
    ) {
        let mut renewals = interval(RENEW_EVERY);
        let mut untold = interval(UNTOLD_ORIGINS);
        let mut measures = interval(MEASURE_EVERY);
        let mut tells = interval(TELL_EVERY);
        tells.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deaf = interval(DEAF);
        deaf.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round = 0_u64;
        loop {
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(Change::Key(key)) => self.changed(&key).await,
                    Ok(Change::Anything) | Err(RecvError::Lagged(_)) => self.take_stock().await,
                    Err(RecvError::Closed) => return,
                },
                Some(origin) = announced.recv() => self.announce(origin).await,
                _ = deaf.tick(), if !self.is_reachable() => self.registry.hears_only_itself(DEAF),
                _ = untold.tick(), if !self.store.tells_of_changes() => self.list_origins().await,
                _ = measures.tick() => self.measure(),
                _ = tells.tick() => self.tell_counts().await,
                _ = renewals.tick() => {
                    self.renew(round).await;
                    round += 1;
                }
            }
        }
    }

    fn measure(&self) {
        let Some(figures) = self.store.mesh_figures() else {
            return;
        };
        let metrics = &self.metrics;
        for (state, proxies) in [("heard", figures.alive), ("silent", figures.silent)] {
            let gauge = metrics.mesh_proxies.get_or_create(&StateLabel { state });
            gauge.set(i64::try_from(proxies).unwrap_or(i64::MAX));
        }
        let rows = i64::try_from(figures.rows).unwrap_or(i64::MAX);
        metrics.mesh_rows.set(rows);
        let counted = metrics.mesh_refused.get();
        let refused = figures.refused.saturating_sub(counted);
        metrics.mesh_refused.inc_by(refused);
    }

    /// Another proxy wrote `key`.
    async fn changed(self: &Arc<Self>, key: &str) {
        if let Some(placement) = key.strip_prefix(PLACEMENT) {
            self.lock().remove(placement);
            self.placed_elsewhere(placement).await;
        } else if key.starts_with(SERVER) || key.starts_with(OTHER_SERVER) {
            self.learn_news(key).await;
            self.keep_duties();
            self.follow_to(key).await;
        } else if key.starts_with(DUTY) {
            self.duty_changed(key).await;
        } else if key.starts_with(PROXY) {
            self.peer_changed(key).await;
        } else if key.starts_with(REPORT) {
            self.report_changed(key).await;
        } else if let Some((kind, name)) = records::named(key) {
            self.record_changed(kind, name).await;
        } else {
            self.call_changed(key).await;
        }
    }

    /// A placement may be another than that of the sessions here, which follow it then.
    async fn placed_elsewhere(self: &Arc<Self>, placement: &str) {
        let Some((key, _)) = self.registry.holding(placement) else {
            return;
        };
        if let Some(turn) = self.turns.try_take(&key) {
            return self.read_placement(&key, TimeLimit::Goes, turn).await;
        }
        // Others wait for us, and who has the turn may wait for a record. Its answer may be older than this change.
        let cluster = Arc::clone(self);
        tokio::spawn(async move {
            let turn = cluster.turns.take(&key).await;
            cluster.lock().remove(key.as_str());
            cluster.read_placement(&key, TimeLimit::Goes, turn).await;
        });
    }

    /// An origin is heard of. If it was not known, claims on it may have been told of before, and nobody could follow them,
    /// though one who asked since may have gone there.
    async fn follow_to(self: &Arc<Self>, server: &str) {
        if !self.is_unknown(server) || self.origin_at(server).await.is_none() {
            return;
        }
        self.unknown().remove(server);
        for placement in self.settled_at(server) {
            let Some((key, origin)) = self.registry.holding(&placement) else {
                continue;
            };
            if let Some(turn) = self.turns.try_take(&key) {
                self.follow_from(&key, &origin, turn).await;
                continue;
            }
            // Others wait for us, as above.
            let cluster = Arc::clone(self);
            tokio::spawn(async move {
                let turn = cluster.turns.take(&key).await;
                cluster.follow_from(&key, &origin, turn).await;
            });
        }
    }

    /// Reads where a stream is whose sessions were on `origin`. Its placement may have been forgotten meanwhile, or be there by
    /// the choice of one session, so that the reading alone tells of no change.
    async fn follow_from(&self, key: &PlacementKey, origin: &OriginId, _turn: Turn) {
        if let Some(value) = self.stored(key).await {
            self.settle(key, value, TimeLimit::Goes).await;
        }
        if let Some(winner) = self.registry.claimed(key) {
            self.conflict(key, origin, &winner);
        }
    }

    /// Two proxies held a stream at different origins. What stands in the store counts; who is elsewhere comes back. While the
    /// stream is still to be claimed again, nobody leaves for an origin that is of no use: that claim replaces it.
    fn conflict(&self, key: &PlacementKey, here: &OriginId, there: &OriginId) {
        let against = Against::a_claim_on(self.registry.state(there));
        if against == Against::Replaces && self.stock.spares(key, here) {
            return debug!(stream = %key, %here, %there, "another proxy placed the stream elsewhere; it is claimed back");
        }
        let tell = |ended| {
            self.metrics.claim_conflicts.inc();
            let news = News {
                stream: key.as_str().to_owned(),
                origin: there.as_str().to_owned(),
                client: String::new(),
                what: format!(
                    "it was in two places: {ended} of its sessions on {here} are ended, so that they come back to {there}"
                ),
            };
            self.metrics.journal.note(Kind::Moved, news);
            warn!(
                stream = %key, %here, %there, ended,
                "another proxy placed the stream elsewhere; sessions that were not there are ended, so that they come back to it"
            );
        };
        if self.sessions.end_elsewhere(key, there, tell) == 0 {
            debug!(stream = %key, %here, %there, "another proxy placed the stream elsewhere");
        }
    }

    /// A stream was placed at `there` from here: its sessions that are elsewhere come there.
    fn gather(&self, key: &PlacementKey, there: &OriginId) {
        self.sessions.end_elsewhere(key, there, |ended| {
            info!(stream = %key, %there, ended, "the stream was placed elsewhere; sessions that were not there are ended, so that they come to it");
        });
    }

    /// Gives what is held here its time: players' claims each round, publishers' each hour.
    async fn renew(&self, round: u64) {
        let hourly = round.is_multiple_of(ROUNDS_AN_HOUR);
        let held = self.registry.held();
        for durable in [false, true] {
            if durable && !hourly {
                continue;
            }
            let keys: Vec<String> = held
                .iter()
                .filter(|(_, _, published)| *published == durable)
                .map(|(key, _, _)| srs::placement_key(key))
                .collect();
            if !keys.is_empty() {
                let renewed = self.store.renew(&keys, self.lifetime(durable)).await;
                let _ = self.noted("renew", renewed);
            }
        }
        let mut settled = self.lock();
        settled.retain(|key, settled| settled.holds() && self.registry.is_placed(key));
        drop(settled);
        self.unknown()
            .retain(|_, since| since.elapsed() < origins::STAYS_UNKNOWN);
    }

    /// The placements that are known to stand for this origin.
    fn settled_at(&self, server: &str) -> Vec<String> {
        let settled = self.lock();
        let there = settled
            .iter()
            .filter(|(_, settled)| self.store.bare_key(&settled.value) == server);
        there.map(|(placement, _)| placement.clone()).collect()
    }

    /// The store says `value`: so does the registry, if it knows the origin or can read of it there. Returns the origin.
    async fn settle(
        &self,
        key: &PlacementKey,
        value: String,
        time_limit: TimeLimit,
    ) -> Option<OriginId> {
        let server = self.store.bare_key(&value);
        let origin = match time_limit {
            TimeLimit::Waits => self.origin_in_time(&server).await,
            TimeLimit::Goes => self.origin_at(&server).await,
        };
        match &origin {
            Some(origin) => self.registry.placed(key, origin),
            // The caller places the stream again, expecting this very value.
            None => {
                self.note_unknown(&server);
                self.registry.unplaced(key);
            }
        }
        let until = (!self.store.tells_of_changes()).then(|| Instant::now() + UNTOLD);
        self.lock()
            .insert(key.as_str().to_owned(), Settled { value, until });
        origin
    }

    /// Whether the registry knows what the store says. It forgets a placement with the last session of it here, and what stands
    /// in the store may be another proxy's. It may also have forgotten the origin, of which the store tells still.
    fn is_settled(&self, key: &PlacementKey) -> bool {
        let holds = self.lock().get(key.as_str()).is_some_and(Settled::holds);
        holds && self.registry.holder(key).is_some()
    }

    /// What a placement on `origin` is written as.
    fn value_of(&self, origin: &OriginId) -> Option<String> {
        let member = self.registry.member(origin)?;
        Some(self.store.whole_key(&srs::server_key(&member.origin)))
    }

    fn lifetime(&self, durable: bool) -> Duration {
        if durable {
            DURABLE
        } else {
            self.terms.play_claim.max(RENEW_EVERY * 3)
        }
    }

    fn noted<T>(
        &self,
        operation: &'static str,
        done: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let outcome = match &done {
            Ok(_) => "ok",
            Err(StoreError::Broken(_)) => "broken",
            Err(StoreError::Full(_)) => "full",
            Err(StoreError::Unreachable(_)) => "unreachable",
        };
        let labels = StoreLabels { operation, outcome };
        self.metrics.store_operations.get_or_create(&labels).inc();
        done
    }

    fn stale_since(&self) -> MutexGuard<'_, Option<Instant>> {
        let since = &self.stale_since;
        since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Settled>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Settled {
    fn holds(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// 32 random bits: two proxies of one cluster with the same would be an accident of a lifetime.
fn new_id() -> String {
    format!("{:08x}", u32::from_ne_bytes(random::bytes()))
}

/// A publisher's claim, refreshed hourly while it lives: an encoder that is back the next morning finds its origin.
const DURABLE: Duration = Duration::from_secs(24 * 3600);
/// A third of the shortest lifetime of a claim.
const RENEW_EVERY: Duration = Duration::from_secs(20);
const MEASURE_EVERY: Duration = Duration::from_secs(1);
const ROUNDS_AN_HOUR: u64 = 3600 / RENEW_EVERY.as_secs();
/// How old a placement may be where nobody tells of changes.
const UNTOLD: Duration = Duration::from_secs(1);
/// How often silence is forgiven while the store is away, and how much of it: it may have been away for this long.
const DEAF: Duration = Duration::from_secs(1);
/// How often the origins are read where nobody tells of changes: a few calls, however many streams there are.
const UNTOLD_ORIGINS: Duration = Duration::from_secs(2);
/// Registrations that wait to be told to the others; one that is left out comes again with its heartbeat.
const ANNOUNCEMENTS: usize = 1_024;
