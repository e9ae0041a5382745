//! Every metric family, typed. Labels come from enums and origin states only, never from what a client sent.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The metric families of one proxy.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// `sluicegate_sessions`: sessions that are open.
    pub sessions: Family<SessionLabels, Gauge>,
    /// `sluicegate_sessions_ended_total`: sessions that ended, by the reason.
    pub sessions_ended: Family<EndLabels, Counter>,
    /// `sluicegate_relayed_bytes_total`: bytes passed on.
    pub relayed_bytes: Family<DirectionLabels, Counter>,
    /// `sluicegate_setup_seconds`: from the request to an origin that answered.
    pub setup: Family<ProtocolLabel, Histogram, fn() -> Histogram>,
    /// `sluicegate_first_media_seconds`: from the request to the first media byte.
    pub first_media: Family<ProtocolLabel, Histogram, fn() -> Histogram>,
    /// `sluicegate_placements_total`: decisions where a stream belongs.
    pub placements: Family<ReasonLabel, Counter>,
    /// `sluicegate_failovers_total`: dials that failed and were followed by the next candidate.
    pub failovers: Counter,
    /// `sluicegate_origins`: origins by state.
    pub origins: Family<StateLabel, Gauge>,
    /// `sluicegate_streams`: streams with a placement.
    pub streams: Gauge,
    /// `sluicegate_registrations_total`: registrations by what they did.
    pub registrations: Family<ReasonLabel, Counter>,
    /// `sluicegate_connections_total`: accepted connections by listener.
    pub connections: Family<ListenerLabel, Counter>,
    /// `sluicegate_refused_total`: requests that got no session, by reason.
    pub refused: Family<RefusalLabels, Counter>,
    /// `sluicegate_accept_errors_total`: accepts that failed, out of descriptors for example.
    pub accept_errors: Family<ListenerLabel, Counter<u64, AtomicU64>>,
}

/// `protocol` and `action`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct SessionLabels {
    /// The protocol of the client.
    pub protocol: &'static str,
    /// `play` or `publish`.
    pub action: &'static str,
}

/// `protocol`, `action` and the `reason` a session ended for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct EndLabels {
    /// The protocol of the client.
    pub protocol: &'static str,
    /// `play` or `publish`.
    pub action: &'static str,
    /// Why it ended.
    pub reason: &'static str,
}

/// `protocol` and `direction`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DirectionLabels {
    /// The protocol of the client.
    pub protocol: &'static str,
    /// `to_client` or `to_origin`.
    pub direction: &'static str,
}

/// `protocol`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProtocolLabel {
    /// The protocol of the client.
    pub protocol: &'static str,
}

/// `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    /// What happened.
    pub reason: &'static str,
}

/// `protocol` and `reason`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RefusalLabels {
    /// The protocol of the client.
    pub protocol: &'static str,
    /// Why it was refused.
    pub reason: &'static str,
}

/// `state`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StateLabel {
    /// The state of an origin.
    pub state: &'static str,
}

/// `listener`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ListenerLabel {
    /// The name of a listener.
    pub listener: &'static str,
}

impl Metrics {
    /// All families, registered under `sluicegate_`.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("sluicegate");
        let info = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running version", info);
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let metrics = Self {
            sessions: Family::default(),
            sessions_ended: Family::default(),
            relayed_bytes: Family::default(),
            setup: Family::new_with_constructor(histogram),
            first_media: Family::new_with_constructor(histogram),
            placements: Family::default(),
            failovers: Counter::default(),
            origins: Family::default(),
            streams: Gauge::default(),
            registrations: Family::default(),
            connections: Family::default(),
            refused: Family::default(),
            accept_errors: Family::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register("sessions", "Sessions that are open", m.sessions.clone());
        registry.register(
            "sessions_ended",
            "Sessions that ended, by reason",
            m.sessions_ended.clone(),
        );
        let help = "Bytes passed on, by direction";
        registry.register_with_unit("relayed", help, Unit::Bytes, m.relayed_bytes.clone());
        let help = "From the request to an origin that answered";
        registry.register_with_unit("setup", help, Unit::Seconds, m.setup.clone());
        let help = "From the request to the first media byte";
        registry.register_with_unit("first_media", help, Unit::Seconds, m.first_media.clone());
        registry.register(
            "placements",
            "Decisions where a stream belongs, by reason",
            m.placements.clone(),
        );
        registry.register(
            "failovers",
            "Dials that failed and were followed by another",
            m.failovers.clone(),
        );
        registry.register("origins", "Origins, by state", m.origins.clone());
        registry.register("streams", "Streams with a placement", m.streams.clone());
        registry.register(
            "registrations",
            "Registrations, by what they did",
            m.registrations.clone(),
        );
        registry.register("connections", "Accepted connections", m.connections.clone());
        registry.register(
            "refused",
            "Requests that got no session, by reason",
            m.refused.clone(),
        );
        registry.register(
            "accept_errors",
            "Accepts that failed",
            m.accept_errors.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// The exposition in OpenMetrics text, which Prometheus reads.
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
