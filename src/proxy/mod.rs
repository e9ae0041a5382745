//! The heart: a [`Request`] comes in, a [`Session`] on the right origin comes out.
//!
//! `open` finds where the stream belongs; [`Session::dial`] tries the candidates until one answers. Those attempts are
//! the only failover there is, and they end with the first byte relayed. [`Proxy::place`] does the same for clients that
//! make many requests for one stream.

mod adopt;
mod answers;
mod bans;
mod candidates;
mod choice;
pub mod drain;
pub mod gate;
pub mod hold;
pub mod moves;
pub mod placement_service;
pub mod preview;
pub mod rebalance;
mod refusal;
mod session;
pub mod takeover;

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::access::identity::Identity;
use sluicegate_core::access::rules::Rules;
use sluicegate_core::dialect::ClientDialects;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::drain::Drain;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::segment::Owners;
use sluicegate_core::place::rule::HoldRules;
use sluicegate_core::place::takeover::Takeover;
use sluicegate_core::stream::{Action, PlacementKey, StreamUrl, VhostRule};
use tokio::sync::Semaphore;
use tracing::info;

pub use self::gate::login::{Connecting, Welcome};
use self::gate::rename::by_last_name;
pub use self::gate::{BeginningViewing, Denial, Grant, Verdict, Why};
use self::gate::{Gate, Passed};
use self::placement_service::PlacementService;
use self::rebalance::Rebalancing;
pub use self::refusal::Refusal;
use self::session::{Admitted, OnEnd};
pub use self::session::{PieceGuard, Session};
use crate::cluster::Cluster;
use crate::config::{Credentials, LiveTokens, Sources};
use crate::lookup::Lookup;
use crate::metrics::{Metrics, RefusalLabels, StoreLabel};
pub use crate::origin::attempt::{Attempt, DialError};
use crate::origin::connect::Connector;
use crate::origin::finder::Finder;
use crate::origin::health::Prober;
use crate::origin::silence::SilenceCheck;
use crate::registry::{PlacementGuard, Registry};
pub use crate::sessions::Request;
use crate::sessions::{EndReason, Sessions, Ticket};

/// Everything a listener needs to join a client to its stream; a cheap clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    shared: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    vhosts: VhostRule,
    dialects: Arc<ClientDialects>,
    timing: Timing,
    lookup: Lookup,
    placement_service: Option<PlacementService>,
    connector: Connector,
    silence: Arc<SilenceCheck>,
    stopping: AtomicBool,
    cluster: Option<Arc<Cluster>>,
    // A std mutex: it is held for a line and never across an await.
    drain: Mutex<Option<Drain>>,
    rebalancing: Rebalancing,
    finder: Finder,
    /// Publishers that other proxies are asked about: a permit for each.
    takeovers: Semaphore,
    gate: Gate,
    tokens: LiveTokens,
}

/// What a proxy is made of.
#[derive(Debug)]
pub struct Parts {
    /// Origins and placements.
    pub registry: Arc<Registry>,
    /// The session table.
    pub sessions: Arc<Sessions>,
    /// The metric families.
    pub metrics: Arc<Metrics>,
    /// Which vhosts count in the name that a stream is placed under.
    pub vhosts: VhostRule,
    /// How clients name streams.
    pub dialects: Arc<ClientDialects>,
    /// How long set-up may take.
    pub timing: Timing,
    /// Answers cooperative clients.
    pub lookup: Lookup,
    /// Who is asked where new streams go, if anybody is.
    pub placement_service: Option<PlacementService>,
    /// The proxies that share a store with this one, if it has one.
    pub cluster: Option<Arc<Cluster>>,
    /// Reaches what was registered.
    pub connector: Connector,
    /// Asks origins how they are.
    pub prober: Prober,
    /// What origins want to see before their APIs list streams.
    pub api_credentials: Credentials,
    /// Who may publish, and who may watch.
    pub rules: Rules,
    /// Who may use the system API.
    pub tokens: LiveTokens,
    /// Makes the texts that clients who log in hash with their passwords; proxies of a cluster have the same.
    pub nonces: [u8; 32],
}

/// How long set-up may take.
#[derive(Debug, Clone)]
pub struct Timing {
    /// How long a candidate has to send its first byte.
    pub dial: Duration,
    /// How long all candidates together have, unless one that lives owes its answer.
    pub setup: Duration,
    /// How long a player may wait for an origin that lives.
    pub play_wait: Duration,
    /// How long a publisher may wait for an origin that lives: it sends nothing meanwhile.
    pub publisher_idle: Duration,
    /// How long a publisher has to have sent nothing to give way to one that comes back.
    pub takeover_after: Duration,
    /// Whose publish ends an earlier one.
    pub takeover: Takeover,
    /// Between two sessions that a drain ends.
    pub drain_pace: Duration,
    /// How long a publisher whose origin is lost is kept while another is found; zero ends it at once.
    pub holds: HoldRules,
    /// Whether origins are asked for a stream that one of them refuses to a player.
    pub ask_streams: bool,
}

impl Timing {
    /// How long a client waits for an origin that lives.
    const fn patience(&self, action: Action) -> Duration {
        match action {
            Action::Play => self.play_wait,
            Action::Publish => self.publisher_idle,
        }
    }
}

/// The share of a request in the placement of its stream.
struct ShareOfPlacement {
    key: PlacementKey,
    hold: PlacementGuard,
    grant: Grant,
    /// The request by another name of its stream, where a backend gave it one.
    renamed: Option<Request>,
}

impl Proxy {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        parts.sessions.take_limits(parts.rules.limits());
        let silence = Arc::new(SilenceCheck::new(parts.prober));
        let proxy = Self {
            shared: Arc::new(Inner {
                registry: parts.registry,
                sessions: parts.sessions,
                metrics: parts.metrics,
                vhosts: parts.vhosts,
                dialects: parts.dialects,
                timing: parts.timing,
                lookup: parts.lookup,
                placement_service: parts.placement_service,
                cluster: parts.cluster,
                finder: Finder::new(parts.connector.clone(), parts.api_credentials),
                takeovers: Semaphore::new(takeover::MOST_ASKED),
                silence,
                gate: Gate::new(parts.rules, parts.connector.anywhere(), parts.nonces),
                connector: parts.connector,
                stopping: AtomicBool::new(false),
                drain: Mutex::default(),
                rebalancing: Rebalancing::default(),
                tokens: parts.tokens,
            }),
        };
        let shared = Arc::downgrade(&proxy.shared);
        proxy.metrics().before_scrape(move |metrics| {
            if let Some(shared) = shared.upgrade() {
                shared.sessions.settle();
                shared.registry.settle();
                if let Some(cluster) = &shared.cluster {
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

    /// Counts what legs carried since this was called last, a second ago, for each origin.
    pub fn measure(&self) {
        self.shared.gate.sweep();
        let mut kbps: HashMap<OriginId, u64> = HashMap::new();
        let are_waited_for = self.shared.registry.claiming_sources() > 0;
        let mut playing = Vec::new();
        self.shared.sessions.measure(|row, bytes| {
            if are_waited_for && row.is_played() {
                playing.push(row.key.clone());
            }
            // What a pull brought is its leg's, however many it was shown to.
            if bytes > 0
                && row.pull().is_none()
                && let Some(origin) = row.origin()
            {
                *kbps.entry(origin).or_default() += bytes * 8 / 1000;
            }
        });
        for pull in self.shared.sessions.pulls() {
            let bytes = pull.measure();
            *kbps.entry(pull.origin()).or_default() += bytes * 8 / 1000;
        }
        self.shared.registry.measured(&kbps);
        self.shared.registry.exist(&playing);
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

    /// How cooperative clients and operators are answered.
    pub fn lookup(&self) -> &Lookup {
        &self.shared.lookup
    }

    /// How clients name streams.
    pub fn dialects(&self) -> &Arc<ClientDialects> {
        &self.shared.dialects
    }

    /// Reaches what was registered.
    pub fn connector(&self) -> &Connector {
        &self.shared.connector
    }

    /// Tells origins that take their time from those that are stopped.
    pub fn silence(&self) -> &Arc<SilenceCheck> {
        &self.shared.silence
    }

    /// Who may use the system API.
    pub fn tokens(&self) -> &LiveTokens {
        &self.shared.tokens
    }

    /// Takes the access rules and the tokens of other lists from here on.
    pub fn take_lists(&self, lists: &Sources) {
        self.take_rules(lists.rules.clone());
        self.shared.tokens.take(lists.tokens.clone());
    }

    /// An origin says that a stream is published on it, by a way that is not ours: it is played from there. Players
    /// that wait for it elsewhere are let go, to come back and find it.
    pub fn note_published(&self, stream: &StreamUrl, origin: &OriginId) {
        let key = self.key(stream);
        if self.shared.registry.note_published(&key, origin) {
            self.shared.sessions.end_players_elsewhere(&key, origin);
        }
    }

    /// An origin says that a stream is published on it no more.
    pub fn note_unpublished(&self, stream: &StreamUrl, origin: &OriginId) {
        let key = self.key(stream);
        self.shared.registry.note_unpublished(&key, origin);
    }

    /// The cluster this proxy is part of, if it is.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.shared.cluster.as_ref()
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
        self.open_for(request, &Owners::default()).await
    }

    /// The same for a stream whose address may be that of a file as well, of one of these owners.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub async fn open_for(&self, request: Request, owners: &Owners) -> Result<Session, Refusal> {
        let told = request.clone();
        let opened = self.try_open(request, owners).await;
        if let Err(refusal) = &opened {
            self.note_refusal(&told, refusal);
        }
        opened
    }

    /// Gives a request of a client that makes many a share in its stream's placement, under the rules of a player's
    /// claim. `named` is the origin a link names: it is preferred where the stream is not placed yet. Who may have what it
    /// asks for is decided by its `owners`, or, if there are none, by its stream.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub async fn place(
        &self,
        request: Request,
        owners: &Owners,
        named: Option<OriginId>,
    ) -> Result<PieceGuard, Refusal> {
        let mut request = request;
        let placed = match self.try_place(&request, owners).await {
            Ok((grant, goes_on_as)) => {
                if let Some(stream) = goes_on_as {
                    request.stream = stream;
                }
                self.share_placement(&request, grant)
            }
            Err(refusal) => Err(refusal),
        };
        self.piece(request, named, placed)
    }

    /// The same for a request that was let in before, or by another name of its stream.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub fn place_admitted(
        &self,
        request: Request,
        named: Option<OriginId>,
        grant: Grant,
    ) -> Result<PieceGuard, Refusal> {
        let placed = self.share_placement(&request, grant);
        self.piece(request, named, placed)
    }

    async fn try_place(
        &self,
        request: &Request,
        owners: &Owners,
    ) -> Result<(Grant, Option<StreamUrl>), Refusal> {
        if self.has_drained() {
            return Err(Refusal::Draining);
        }
        // A viewer that comes piece by piece has no session whose end could be told.
        let passed = self.pass_gate_for(request, owners).await?;
        Ok((passed.grant, passed.goes_on_as))
    }

    fn share_placement(
        &self,
        request: &Request,
        grant: Grant,
    ) -> Result<ShareOfPlacement, Refusal> {
        if self.has_drained() {
            return Err(Refusal::Draining);
        }
        self.refuse_banned(request, &grant.who)?;
        let renamed = self.renamed(request, &grant)?;
        let key = self.key(&renamed.as_ref().unwrap_or(request).stream);
        let (action, source) = (request.action, request.client.ip());
        let hold = self.shared.registry.hold(&key, action, source);
        let hold = hold.map_err(|_| Refusal::TooManyClaims)?;
        Ok(ShareOfPlacement {
            key,
            hold,
            grant,
            renamed,
        })
    }

    fn piece(
        &self,
        request: Request,
        named: Option<OriginId>,
        placed: Result<ShareOfPlacement, Refusal>,
    ) -> Result<PieceGuard, Refusal> {
        let placed = placed.inspect_err(|refusal| self.note_refusal(&request, refusal))?;
        let (request, asked) = by_last_name(request, placed.renamed);
        Ok(PieceGuard {
            proxy: self.clone(),
            request,
            asked,
            key: placed.key,
            hold: placed.hold,
            named,
            grant: placed.grant,
            is_pull: false,
            holder: None,
        })
    }

    /// A share in the placement of a stream for a pull: `request` is this proxy's own, for sessions that were let in.
    /// Where those are operators who look, `holder` is the origin that held the stream when they began, and only the
    /// holder of the stream is asked.
    pub(crate) fn pull(&self, request: Request, holder: Option<OriginId>) -> PieceGuard {
        let key = self.key(&request.stream);
        PieceGuard {
            proxy: self.clone(),
            hold: self.shared.registry.hold_for_ourselves(&key),
            request,
            asked: None,
            key,
            named: None,
            grant: Grant::default(),
            is_pull: true,
            holder,
        }
    }

    async fn try_open(&self, request: Request, owners: &Owners) -> Result<Session, Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        let Passed { grant, telling, .. } = self.pass_gate_for(&request, owners).await?;
        // From here on backends hear of the end, also where the request is refused.
        let on_end = telling.map(|telling| OnEnd::new(telling, &request));
        let renamed = self.renamed(&request, &grant)?;
        let (request, asked) = by_last_name(request, renamed);
        if request.action == Action::Publish {
            self.relieve(&request).await;
            self.respect_held(&request).await?;
        }
        let counted = self.count(&request, asked.as_ref(), &grant)?;
        self.let_in((request, asked), grant, on_end, counted)
    }

    /// Gives a session its share in the placement of its stream, and its row. With the request comes what the client called
    /// its stream, where a backend gave it another name.
    fn let_in(
        &self,
        (request, asked): (Request, Option<StreamUrl>),
        grant: Grant,
        mut on_end: Option<OnEnd>,
        (ticket, most_kbps): (Option<Ticket>, Option<u32>),
    ) -> Result<Session, Refusal> {
        let key = self.key(&request.stream);
        let (action, source) = (request.action, request.client.ip());
        let hold = self
            .shared
            .registry
            .hold(&key, action, source)
            .map_err(|_| Refusal::TooManyClaims)?;
        let row = self
            .shared
            .sessions
            // The text of the name, which all sessions of the stream share.
            .open(request, hold.key().clone())
            .ok_or(Refusal::Full)?;
        if let Some(on_end) = &mut on_end {
            on_end.became(&row);
        }
        if let Some(asked) = asked {
            let key = self.key(&asked);
            row.note_asked(asked, key);
        }
        row.note_who(grant.who);
        row.note_counted(ticket, most_kbps);
        // A ban that came meanwhile did not find the row.
        let nobody = Identity::default();
        if let Err(refusal) = self.refuse_banned(&row.request, row.who().unwrap_or(&nobody)) {
            row.end(EndReason::Banned);
            return Err(refusal);
        }
        let recheck = grant.recheck.map(|period| {
            let session = on_end.as_ref().map(OnEnd::session);
            self.judge_again(&row, period, session.unwrap_or_default())
        });
        let term = grant.ends_at.map(|end| gate::term(end, &row));
        let shows = !grant.used.is_empty() || !grant.passed.is_empty() || !grant.headers.is_empty();
        let lasts = on_end.is_some() || term.is_some() || recheck.is_some();
        let admitted = (shows || lasts).then(|| {
            Box::new(Admitted {
                used: grant.used,
                headers: grant.headers,
                passed: grant.passed,
                _on_end: on_end,
                _term: term,
                _recheck: recheck,
            })
        });
        Ok(Session {
            proxy: self.clone(),
            setup: self.shared.timing.setup,
            admitted,
            hold,
            row,
        })
    }

    /// Counts a refusal, and tells of it.
    pub(crate) fn note_refusal(&self, request: &Request, refusal: &Refusal) {
        let labels = RefusalLabels {
            protocol: request.protocol.as_str(),
            reason: refusal.as_str(),
        };
        self.shared.metrics.refused.get_or_create(&labels).inc();
        self.tell_refusal(request, refusal);
    }

    fn tell_refusal(&self, request: &Request, refusal: &Refusal) {
        let news = News {
            stream: self.key(&request.stream).as_str().to_owned(),
            client: request.client.ip().to_string(),
            what: format!(
                "{} by {}: {}",
                request.action.as_str(),
                request.protocol.as_str(),
                refusal.detail()
            ),
            ..News::default()
        };
        self.shared.metrics.journal.note(Kind::Refused, news);
        if *refusal == Refusal::TooManyClaims {
            // The answer to a flood is a number and a few lines, which the limit of lines a second sees to.
            return info!(
                stream = %request.stream,
                client = %request.client,
                peer = request.by_way_of.as_ref().map(tracing::field::display),
                setting = "placement.claims_per_source",
                "refused: its address waits for as many streams of which nothing came as it may"
            );
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
