//! Every metric family, typed. Labels come from enums and origin ids only, never from what a client sent. The one
//! exception, series per stream, is off by default and limited in number.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `catalog` | the registry, and the description of each family for `docs/metrics.md` |
//! | `exposition` | OpenMetrics text, and the older format for those who ask for it |
//! | `process` | what the kernel reports about this process |
//! | `receive_buffers` | datagrams that the kernel had no room for |
//! | `streams` | series per stream |
//! | `transitions` | state changes of origins, and their reasons |

mod catalog;
mod exposition;
mod process;
mod receive_buffers;
mod streams;
mod transitions;

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::OriginId;

pub use catalog::{Described, Labels};
pub use exposition::Format;
pub(crate) use receive_buffers::Counted;
pub use receive_buffers::ReceiveBuffers;
pub(crate) use streams::StreamShare;

use crate::journal::Journal;
use catalog::{Catalog, labels};
use process::Process;
use streams::Streams;
use transitions::Transitions;

/// The metric families of one proxy.
pub struct Metrics {
    registry: Catalog,
    // Held for a whole scrape, so that families that are filled at each scrape are never read half full.
    before_scrape: Mutex<Vec<Hook>>,
    process: Process,
    /// What happened lately, for people.
    pub journal: Journal,
    /// Series per stream, if enabled.
    pub streams_by_name: Streams,
    /// `sluicegate_origin_transitions_total`: state changes of origins, by reason.
    pub transitions: Transitions,
    /// `sluicegate_sessions`: open sessions.
    pub sessions: Family<SessionLabels, Gauge>,
    /// `sluicegate_sessions_ended_total`: sessions that ended, by reason.
    pub sessions_ended: Family<EndLabels, Counter>,
    /// `sluicegate_legs`: connections and flows of this proxy to origins, which a session may share or wait for.
    pub legs: Gauge,
    /// `sluicegate_legs_ended_total`: legs that ended, by reason.
    pub legs_ended: Family<ReasonLabel, Counter>,
    /// `sluicegate_pulls`: legs that fill a feed, each for any number of viewers.
    pub pulls: Gauge,
    /// `sluicegate_viewers`: sessions that are served from a feed.
    pub viewers: Gauge,
    /// `sluicegate_pulled_bytes_total`: bytes that pulls brought.
    pub pulled_bytes: Counter,
    /// `sluicegate_fanout_skips_total`: viewers that were too far behind and went on at a newer keyframe.
    pub fanout_skips: Counter,
    /// `sluicegate_fanout_bytes`: media that is held for viewers.
    pub fanout: Gauge,
    /// `sluicegate_relayed_bytes_total`: bytes passed on.
    pub relayed_bytes: Family<DirectionLabels, Counter>,
    /// `sluicegate_setup_seconds`: time from the request to an origin that answered.
    pub setup: Family<ProtocolLabel, Histogram, fn() -> Histogram>,
    /// `sluicegate_first_media_seconds`: time from the request to the first media byte.
    pub first_media: Family<ProtocolLabel, Histogram, fn() -> Histogram>,
    /// `sluicegate_placements_total`: placement decisions.
    pub placements: Family<PlacementLabels, Counter>,
    /// `sluicegate_claims_total`: claims on a stream that were `won`, and those `lost` to an earlier one.
    pub claims: Family<OutcomeLabel, Counter>,
    /// `sluicegate_claim_conflicts_total`: streams that two proxies had placed on different origins.
    pub claim_conflicts: Counter,
    /// `sluicegate_store_operations_total`: calls to the shared store, by outcome.
    pub store_operations: Family<StoreLabels, Counter>,
    /// `sluicegate_store_up`: 1 while the shared store answers; missing without a shared store.
    pub store_up: Family<StoreLabel, Gauge>,
    /// `sluicegate_mesh_proxies`: other proxies of the mesh, heard and silent.
    pub mesh_proxies: Family<StateLabel, Gauge>,
    /// `sluicegate_mesh_rows`: rows of all proxies of the mesh, including those that ended lately.
    pub mesh_rows: Gauge,
    /// `sluicegate_mesh_refused_total`: datagrams to the mesh that were refused.
    pub mesh_refused: Counter,
    /// `sluicegate_store_staleness_seconds`: how long the shared store has not confirmed what this proxy knows.
    pub store_staleness: Family<StoreLabel, Gauge<f64, AtomicU64>>,
    /// `sluicegate_failovers_total`: dials that failed and were followed by the next candidate.
    pub failovers: Counter,
    /// `sluicegate_holds_total`: sessions that outlived their origin, and those that were held in vain, by reason.
    pub holds: Family<HoldLabels, Counter>,
    /// `sluicegate_hold_gap_seconds`: time from the loss of an origin until the next one got media.
    pub hold_gap: Family<ProtocolLabel, Histogram, fn() -> Histogram>,
    /// `sluicegate_moves_total`: publishers that were moved to another origin, and moves that failed, by cause.
    pub moves: Family<MoveLabels, Counter>,
    /// `sluicegate_redirects_total`: players that were redirected to an origin or an edge.
    pub redirects: Counter,
    /// `sluicegate_origins`: origins by state.
    pub origins: Family<StateLabel, Gauge>,
    /// `sluicegate_origins_taking_streams`: origins that take new streams.
    pub origins_taking_streams: Gauge,
    /// `sluicegate_origin_up`: 1 for each origin that may get work, 0 for one that may not.
    pub origin_up: Family<OriginLabel, Gauge>,
    /// `sluicegate_origins_by_duty`: origins by duty.
    pub origins_by_duty: Family<DutyLabel, Gauge>,
    /// `sluicegate_drains_total`: drains of origins that `began`, were `undone`, and ended with the origin `removed`.
    pub drains: Family<OutcomeLabel, Counter>,
    /// `sluicegate_draining`: 1 while nothing new is accepted.
    pub draining: Gauge,
    /// `sluicegate_auth_refusals_total`: callers without the right credentials or address, by what they asked for.
    pub auth_refusals: Family<SurfaceLabel, Counter>,
    /// `sluicegate_api_asks_total`: requests of the API over all origins to one origin, by outcome.
    pub api_asks: Family<OutcomeLabel, Counter>,
    /// `sluicegate_streams`: streams with a placement.
    pub streams: Gauge,
    /// `sluicegate_registrations_total`: registrations by effect.
    pub registrations: Family<ReasonLabel, Counter>,
    /// `sluicegate_connections_total`: accepted connections by listener.
    pub connections: Family<ListenerLabel, Counter>,
    /// `sluicegate_tls_handshakes_total`: TLS handshakes by listener and outcome, and clients refused for lack of TLS.
    pub tls_handshakes: Family<HandshakeLabels, Counter>,
    /// `sluicegate_tls_certificate_not_after_seconds`: the time until which each certificate holds.
    pub tls_certificates: Family<CertificateLabel, Gauge>,
    /// `sluicegate_refused_total`: requests that got no session, by reason.
    pub refused: Family<RefusalLabels, Counter>,
    /// `sluicegate_pieces_total`: requests for playlists, manifests and segments, by result.
    pub pieces: Family<PieceLabels, Counter>,
    /// `sluicegate_coalesced_total`: requests that waited for the answer to an equal request.
    pub coalesced: Family<KindLabel, Counter>,
    /// `sluicegate_unshared_total`: requests whose answer went to one viewer only, by why.
    pub unshared: Family<UnsharedLabels, Counter>,
    /// `sluicegate_cache_hits_total`: requests that were answered from memory.
    pub cache_hits: Family<KindLabel, Counter>,
    /// `sluicegate_cache_bytes`: bytes of answers that are kept in memory.
    pub cache: Gauge,
    /// `sluicegate_rewrite_seconds`: the time a playlist or manifest took to rewrite.
    pub rewrite: Family<KindLabel, Histogram, fn() -> Histogram>,
    /// `sluicegate_accept_errors_total`: connections that could not be accepted, for example for lack of descriptors.
    pub accept_errors: Family<ListenerLabel, Counter<u64, AtomicU64>>,
    /// `sluicegate_datagrams_received_total`: datagrams that arrived, from clients and origins, by listener.
    pub datagrams_received: Family<ListenerLabel, Counter>,
    /// `sluicegate_datagrams_sent_total`: datagrams that were sent, to clients and origins, by listener.
    pub datagrams_sent: Family<ListenerLabel, Counter>,
    /// `sluicegate_datagrams_dropped_total`: dropped datagrams, by listener and reason.
    pub datagrams_dropped: Family<DropLabels, Counter>,
    /// `sluicegate_datagrams_overflowed_total`: datagrams that found the receive buffer of a socket full.
    pub receive_buffers: ReceiveBuffers,
}

/// A function that brings gauges and totals up to date before they are read.
type Hook = Box<dyn Fn(&Metrics) + Send + Sync>;

labels! {
    /// `kind`.
    KindLabel {
        /// The kind of file: `playlist`, `manifest` or `segment`.
        kind: &'static str,
    }
    /// `kind` and `reason`.
    UnsharedLabels {
        /// The kind of piece: `playlist`, `manifest` or `segment`.
        kind: &'static str,
        /// Why it had the origin to itself: `answer`, `off`, `personal`, `refused` or `request`.
        reason: &'static str,
    }
    /// `kind` and `result`.
    PieceLabels {
        /// The kind of file: `playlist`, `manifest` or `segment`.
        kind: &'static str,
        /// The result of the request.
        result: &'static str,
    }
    /// `listener` and `reason`.
    DropLabels {
        /// The name of a listener.
        listener: &'static str,
        /// Why the datagram was dropped.
        reason: &'static str,
    }
    /// `protocol` and `action`.
    SessionLabels {
        /// The protocol of the client.
        protocol: &'static str,
        /// `play`, `publish`, or `preview` of an operator who looks.
        action: &'static str,
    }
    /// `protocol`, `action` and the `reason` for which a session ended.
    EndLabels {
        /// The protocol of the client.
        protocol: &'static str,
        /// `play`, `publish`, or `preview` of an operator who looks.
        action: &'static str,
        /// Why it ended.
        reason: &'static str,
    }
    /// `protocol`, the `reason` for which the origin was lost, and `outcome`.
    HoldLabels {
        /// The protocol of the client.
        protocol: &'static str,
        /// Why the leg was over.
        reason: &'static str,
        /// `kept` or `ended`.
        outcome: &'static str,
    }
    /// The `cause` of a move, and its `outcome`.
    MoveLabels {
        /// `deregistered`, `disabled`, `drained`, `operator` or `rebalanced`.
        cause: &'static str,
        /// `made` or `failed`.
        outcome: &'static str,
    }
    /// `store`.
    StoreLabel {
        /// The kind of store: `redis` or `mesh`.
        store: &'static str,
    }
    /// `operation` and `outcome`.
    StoreLabels {
        /// The operation.
        operation: &'static str,
        /// `ok`, `broken`, `full` or `unreachable`.
        outcome: &'static str,
    }
    /// `protocol` and `direction`.
    DirectionLabels {
        /// The protocol of the client.
        protocol: &'static str,
        /// `to_client` or `to_origin`.
        direction: &'static str,
    }
    /// `protocol`.
    ProtocolLabel {
        /// The protocol of the client.
        protocol: &'static str,
    }
    /// `reason`.
    ReasonLabel {
        /// What happened.
        reason: &'static str,
    }
    /// `policy` and `reason`.
    PlacementLabels {
        /// The policy that ranked the origins.
        policy: &'static str,
        /// What led to the decision.
        reason: &'static str,
    }
    /// `outcome`.
    OutcomeLabel {
        /// The outcome.
        outcome: &'static str,
    }
    /// `surface`.
    SurfaceLabel {
        /// What was asked for.
        surface: &'static str,
    }
    /// `origin`.
    OriginLabel {
        /// The id of the origin.
        origin: String,
    }
    /// `protocol` and `reason`.
    RefusalLabels {
        /// The protocol of the client.
        protocol: &'static str,
        /// Why it was refused.
        reason: &'static str,
    }
    /// `state`.
    StateLabel {
        /// The state of an origin.
        state: &'static str,
    }
    /// `duty`.
    DutyLabel {
        /// What the origin is to do.
        duty: &'static str,
    }
    /// `listener` and `outcome`.
    HandshakeLabels {
        /// The name of a listener.
        listener: &'static str,
        /// `full`, `resumed`, `failed`, `slow`, `closed`, `crowded`, or `plain` for a client that came without TLS.
        outcome: &'static str,
    }
    /// `certificate`.
    CertificateLabel {
        /// The first name in a certificate of the settings.
        certificate: String,
    }
    /// `listener`.
    ListenerLabel {
        /// The name of a listener.
        listener: &'static str,
    }
    /// `state` and `reason`.
    TransitionLabels {
        /// The state that was entered; `gone` for an origin that was forgotten.
        state: &'static str,
        /// What led to it.
        reason: &'static str,
    }
}

impl Metrics {
    /// All families, registered under `sluicegate_`.
    pub fn new() -> Self {
        let mut registry = Catalog::new("sluicegate");
        let info = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", info);
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let rewrite: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-6, 2.0, 16));
        let metrics = Self {
            sessions: Family::default(),
            sessions_ended: Family::default(),
            legs: Gauge::default(),
            legs_ended: Family::default(),
            pulls: Gauge::default(),
            viewers: Gauge::default(),
            pulled_bytes: Counter::default(),
            fanout_skips: Counter::default(),
            fanout: Gauge::default(),
            relayed_bytes: Family::default(),
            setup: Family::new_with_constructor(histogram),
            first_media: Family::new_with_constructor(histogram),
            placements: Family::default(),
            claims: Family::default(),
            origin_up: Family::default(),
            origins_by_duty: Family::default(),
            drains: Family::default(),
            draining: Gauge::default(),
            auth_refusals: Family::default(),
            api_asks: Family::default(),
            before_scrape: Mutex::default(),
            journal: Journal::default(),
            process: Process::new(&mut registry),
            streams_by_name: Streams::new(&mut registry),
            transitions: Transitions::new(&mut registry),
            claim_conflicts: Counter::default(),
            store_operations: Family::default(),
            store_up: Family::default(),
            mesh_proxies: Family::default(),
            mesh_rows: Gauge::default(),
            mesh_refused: Counter::default(),
            store_staleness: Family::default(),
            failovers: Counter::default(),
            holds: Family::default(),
            hold_gap: Family::new_with_constructor(histogram),
            moves: Family::default(),
            redirects: Counter::default(),
            origins: Family::default(),
            origins_taking_streams: Gauge::default(),
            streams: Gauge::default(),
            registrations: Family::default(),
            connections: Family::default(),
            tls_handshakes: Family::default(),
            tls_certificates: Family::default(),
            refused: Family::default(),
            pieces: Family::default(),
            coalesced: Family::default(),
            unshared: Family::default(),
            cache_hits: Family::default(),
            cache: Gauge::default(),
            rewrite: Family::new_with_constructor(rewrite),
            accept_errors: Family::default(),
            datagrams_received: Family::default(),
            datagrams_sent: Family::default(),
            datagrams_dropped: Family::default(),
            receive_buffers: ReceiveBuffers::default(),
            registry: Catalog::default(),
        };
        let m = &metrics;
        registry.register("sessions", "Open sessions", m.sessions.clone());
        let help = "Legs to origins; a session has one, shares one or waits for one";
        registry.register("legs", help, m.legs.clone());
        let help = "Legs that ended, by reason; released: their sessions ended first";
        registry.register("legs_ended", help, m.legs_ended.clone());
        let help = "Pulls: legs that fill a feed, each for any number of viewers";
        registry.register("pulls", help, m.pulls.clone());
        let help = "Viewers: sessions that are served from a feed";
        registry.register("viewers", help, m.viewers.clone());
        let help = "Bytes that pulls brought from origins";
        registry.register("pulled_bytes", help, m.pulled_bytes.clone());
        let help = "Viewers that were too far behind and went on at a newer keyframe";
        registry.register("fanout_skips", help, m.fanout_skips.clone());
        let help = "Media that is held for viewers";
        registry.register_with_unit("fanout", help, Unit::Bytes, m.fanout.clone());
        registry.register(
            "sessions_ended",
            "Sessions that ended, by reason",
            m.sessions_ended.clone(),
        );
        let help = "Bytes passed on, by direction";
        registry.register_with_unit("relayed", help, Unit::Bytes, m.relayed_bytes.clone());
        let help = "Time from the request to an origin that answered";
        registry.register_with_unit("setup", help, Unit::Seconds, m.setup.clone());
        let help = "Time from the request to the first media byte";
        registry.register_with_unit("first_media", help, Unit::Seconds, m.first_media.clone());
        registry.register(
            "placements",
            "Placement decisions, by reason",
            m.placements.clone(),
        );
        registry.register(
            "failovers",
            "Dials that failed and were followed by another",
            m.failovers.clone(),
        );
        registry.register(
            "holds",
            "Sessions that outlived their origin (kept) or were held in vain (ended), by the reason of the loss",
            m.holds.clone(),
        );
        let help = "Time from the loss of an origin until the next one got media";
        registry.register_with_unit("hold_gap", help, Unit::Seconds, m.hold_gap.clone());
        registry.register(
            "moves",
            "Publishers that were moved to another origin without a gap (made), and moves that failed, by cause",
            m.moves.clone(),
        );
        registry.register(
            "claims",
            "Claims on a stream: won, or lost to an earlier one",
            m.claims.clone(),
        );
        registry.register(
            "claim_conflicts",
            "Streams that two proxies had placed on different origins",
            m.claim_conflicts.clone(),
        );
        registry.register(
            "store_operations",
            "Calls to the shared store, by outcome",
            m.store_operations.clone(),
        );
        registry.register(
            "store_up",
            "1 while the shared store answers",
            m.store_up.clone(),
        );
        let help = "How long the shared store has not confirmed what this proxy knows";
        registry.register_with_unit(
            "store_staleness",
            help,
            Unit::Seconds,
            m.store_staleness.clone(),
        );
        registry.register(
            "mesh_proxies",
            "Other proxies of the mesh, heard and silent",
            m.mesh_proxies.clone(),
        );
        registry.register(
            "mesh_rows",
            "Rows of all proxies of the mesh, including those that ended lately",
            m.mesh_rows.clone(),
        );
        registry.register(
            "mesh_refused",
            "Datagrams to the mesh that were refused",
            m.mesh_refused.clone(),
        );
        registry.register(
            "redirects",
            "Players sent to an origin or an edge",
            m.redirects.clone(),
        );
        registry.register("origins", "Origins, by state", m.origins.clone());
        registry.register(
            "origins_taking_streams",
            "Origins that take new streams: up, active, with a weight and not full",
            m.origins_taking_streams.clone(),
        );
        registry.register(
            "origin_up",
            "1 for an origin that may get work, 0 for one that may not",
            m.origin_up.clone(),
        );
        registry.register(
            "origins_by_duty",
            "Origins, by duty: active, draining, disabled",
            m.origins_by_duty.clone(),
        );
        registry.register(
            "drains",
            "Drains of origins that began, were undone, and ended with the origin removed",
            m.drains.clone(),
        );
        registry.register(
            "draining",
            "1 while nothing new is accepted",
            m.draining.clone(),
        );
        registry.register(
            "auth_refusals",
            "Callers without the right credentials or address, by what they asked for",
            m.auth_refusals.clone(),
        );
        registry.register(
            "api_asks",
            "Requests of the API over all origins to one origin, by outcome",
            m.api_asks.clone(),
        );
        registry.register("streams", "Streams with a placement", m.streams.clone());
        registry.register(
            "registrations",
            "Registrations, by effect",
            m.registrations.clone(),
        );
        registry.register("connections", "Accepted connections", m.connections.clone());
        registry.register(
            "tls_handshakes",
            "TLS handshakes, by outcome, and clients refused for lack of TLS",
            m.tls_handshakes.clone(),
        );
        let help = "The last second in which each TLS certificate holds, from 1970 in UTC";
        registry.register_with_unit(
            "tls_certificate_not_after",
            help,
            Unit::Seconds,
            m.tls_certificates.clone(),
        );
        registry.register(
            "refused",
            "Requests that got no session, by reason",
            m.refused.clone(),
        );
        let help = "Requests for playlists, manifests and segments, by result";
        registry.register("pieces", help, m.pieces.clone());
        let help = "Requests that waited for the answer to an equal request";
        registry.register("coalesced", help, m.coalesced.clone());
        let help = "Requests whose answer went to one viewer only, by why: sharing is off, the request has something \
                    of its own that an origin could judge by, the answer is not said to be everybody's, the playlist \
                    was made for one viewer, or it was a refusal";
        registry.register("unshared", help, m.unshared.clone());
        let help = "Requests that were answered from memory";
        registry.register("cache_hits", help, m.cache_hits.clone());
        let help = "Bytes of answers that are kept in memory";
        registry.register_with_unit("cache", help, Unit::Bytes, m.cache.clone());
        let help = "The time a playlist or manifest took to rewrite";
        registry.register_with_unit("rewrite", help, Unit::Seconds, m.rewrite.clone());
        registry.register(
            "accept_errors",
            "Connections that could not be accepted",
            m.accept_errors.clone(),
        );
        registry.register(
            "datagrams_received",
            "Datagrams that arrived",
            m.datagrams_received.clone(),
        );
        registry.register(
            "datagrams_sent",
            "Datagrams that were sent",
            m.datagrams_sent.clone(),
        );
        registry.register(
            "datagrams_dropped",
            "Dropped datagrams, by reason",
            m.datagrams_dropped.clone(),
        );
        registry.register(
            "datagrams_overflowed",
            "Datagrams that never arrived, because the receive buffer of a socket was full",
            m.receive_buffers.overflowed.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// Notes the state that an origin is in now, for the count of changes and for people.
    pub(crate) fn note_origin_in(
        &self,
        origin: &OriginId,
        state: &'static str,
        reason: &'static str,
    ) {
        if self.transitions.now_in(origin, state, reason) {
            self.note_origin(Kind::Origin, origin, format!("{state} ({reason})"));
        }
    }

    /// Notes that an origin is no longer known.
    pub(crate) fn note_origin_gone(&self, origin: &OriginId, reason: &'static str) {
        if self.transitions.gone(origin, reason) {
            self.note_origin(Kind::Origin, origin, format!("gone ({reason})"));
        }
    }

    /// Notes, for people, what is wanted of an origin now.
    pub(crate) fn note_duty(&self, origin: &OriginId, what: String) {
        self.note_origin(Kind::Drained, origin, what);
    }

    fn note_origin(&self, kind: Kind, origin: &OriginId, what: String) {
        let news = News {
            origin: origin.as_str().to_owned(),
            what,
            ..News::default()
        };
        self.journal.note(kind, news);
    }

    /// Registers `hook`, which brings something up to date before each scrape.
    pub fn before_scrape(&self, hook: impl Fn(&Self) + Send + Sync + 'static) {
        self.before_scrape
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Box::new(hook));
    }

    /// Every family, in the order of the exposition.
    pub fn families(&self) -> &[Described] {
        self.registry.families()
    }

    /// The exposition in OpenMetrics text, which Prometheus reads.
    pub fn render(&self) -> String {
        let hooks = self
            .before_scrape
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for hook in hooks.iter() {
            hook(self);
        }
        self.process.sample();
        self.receive_buffers.sample();
        self.registry.encode()
    }

    /// The exposition in `format`.
    pub fn render_as(&self, format: Format) -> String {
        format.of(self.render())
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
