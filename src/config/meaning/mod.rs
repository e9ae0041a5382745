//! The typed settings, each read from its row of the table.

mod sections;
mod tls;
mod values;

pub(super) use sections::read;

use super::credentials::Credentials;
use super::placement::{NetworkZone, Unanswered};
use super::sources::Sources;
use crate::pem::{ClientAuthority, Files, ServerAuthority};
use crate::store::Address;
use crate::stream_names::StreamNames;
use crate::value::{Listen, Network, Opening, OriginNames, PortRange, PublicAddress, Secret};
use sluicegate_core::dialect::{ClientDialects, Dialect};
use sluicegate_core::fleet::attributes::AttributeRule;
use sluicegate_core::fleet::origin::{Endpoints, Host, Target};
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::sharing::Sharing;
use sluicegate_core::http::whip::Pattern;
use sluicegate_core::media::fanout::Modes;
use sluicegate_core::place::rule::{HoldRules, PoolRule, RedirectRule};
use sluicegate_core::place::takeover::Takeover;
use sluicegate_core::stream::VhostRule;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The typed settings, section by section. The row of [`TABLE`](super::TABLE) documents each field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the table documents every key; saying it twice would let the two drift apart"
)]
pub struct Settings {
    pub clients: ClientDialects,
    pub rtmp: Rtmp,
    pub http: Http,
    pub api: Api,
    pub system: System,
    pub rtc: Rtc,
    pub srt: Srt,
    pub rtsp: Rtsp,
    pub origins: Origins,
    pub health: Health,
    pub drain: Drain,
    pub sources: Sources,
    pub default_origin: DefaultOrigin,
    pub store: Store,
    pub placement: Placement,
    pub mesh: Mesh,
    pub cluster: Cluster,
    pub session: SessionLimits,
    pub tls: Tls,
    pub acme: Acme,
    pub fanout: Fanout,
    pub hold: HoldRules,
    pub proxy_protocol: ProxyProtocol,
    pub metrics: Metrics,
    /// `[console]`
    pub console: Console,
    pub log: Log,
    pub shutdown: Shutdown,
}

/// Declares a section: public fields of plain data.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[expect(missing_docs, reason = "the table documents every key")]
            pub struct $name { $(pub $field: $kind),* }
        )*
    };
}

sections! {
    /// `[rtmp]`
    Rtmp { listen: Opening, tls: ListenerTls, handshake_timeout: Duration, identify_timeout: Duration }
    /// `[http]`
    Http {
        listen: Opening,
        tls: ListenerTls,
        static_files: Option<PathBuf>,
        head_timeout: Duration,
        idle: Duration,
        answer_timeout: Duration,
        reload_timeout: Duration,
        cache_megabytes: usize,
        sharing: Sharing,
        health: bool,
        trusted_proxies: Vec<Network>,
        base_path: BasePath,
    }
    /// `[api]`
    Api {
        listen: Opening,
        tls: ListenerTls,
        allow_from: Vec<Network>,
        auth_token: Secret,
        auth_username: String,
        auth_password: Secret,
        jsonp: bool,
        origin_timeout: Duration,
    }
    /// `[system]`; with `auth_enabled`, the token is never empty.
    System {
        listen: Listen,
        tls: ListenerTls,
        advertise: Option<Target>,
        auth_enabled: bool,
        auth_token: Secret,
        register_from: Vec<Network>,
        allow_special_addresses: bool,
        ready_needs_origin: bool,
    }
    /// `[rtc]`
    Rtc { listen: Opening, public_addresses: Vec<PublicAddress>, tcp: bool, paths: Vec<Pattern> }
    /// `[srt]`
    Srt { listen: Opening, default_streamid: String, idle: Duration, calls_per_source: u32 }
    /// `[rtsp]`
    Rtsp { listen: Opening, tls: ListenerTls, identify_timeout: Duration, udp_ports: Option<PortRange> }
    /// `[fanout]`
    Fanout {
        modes: Modes,
        public: bool,
        split_query: Vec<String>,
        pull_query: Secret,
        coalesce: Duration,
        max_lag: Duration,
        linger: Duration,
        memory_megabytes: usize,
    }
    /// `[origins]`
    Origins {
        ttl: Duration,
        max: usize,
        ask_streams: bool,
        client_address_preamble: OriginNames,
        proxy_protocol_v1: OriginNames,
        proxy_protocol_v2: OriginNames,
        attributes: Vec<AttributeRule>,
        api_credentials: Credentials,
    }
    /// `[health]`
    Health {
        heartbeats_missed: u32,
        probe: Probing,
        probe_with: ProbeKind,
        probe_path: String,
        probe_interval: Duration,
        probes_at_once: usize,
        rise: u32,
        fall: u32,
        panic: u32,
    }
    /// `[drain]`
    Drain { pace: Duration }
    /// `[default_origin]`; a service that it does not offer has no endpoint.
    DefaultOrigin { enabled: bool, ip: Host, endpoints: Endpoints, dialect: Dialect }
    /// `[store]`
    Store { redis: Option<Address>, mesh: bool, prefix: String, timeout: Duration, wait_at_start: bool }
    /// `[placement]`
    Placement {
        policy: &'static str,
        vhosts: VhostRule,
        play_claim: Duration,
        claims_per_source: usize,
        bound: Option<u32>,
        overflow: bool,
        slow_start: Duration,
        rebalance: bool,
        rebalance_after: Duration,
        zone: Option<String>,
        rules: Vec<PoolRule>,
        redirects: Vec<RedirectRule>,
        networks: Vec<NetworkZone>,
        resolve_ttl: Duration,
        ask: Option<String>,
        ask_timeout: Duration,
        ask_keep: Duration,
        ask_unanswered: Unanswered,
    }
    /// `[mesh]`; `advertise` is an address that can be reached, and each seed has a port.
    Mesh { listen: SocketAddr, advertise: SocketAddr, seeds: Vec<String> }
    /// `[cluster]`; the first key seals, and all of them open.
    Cluster { keys: Vec<Secret> }
    /// `[session]`
    SessionLimits {
        dial_timeout: Duration,
        setup_timeout: Duration,
        publisher_idle: Duration,
        player_idle: Duration,
        play_wait: Duration,
        write_stall: Duration,
        takeover_after: Duration,
        takeover: Takeover,
        max: usize,
    }
    /// The TLS of one listener: `tls_listen`, `require_tls`, `client_ca` and `client_crl` of its section.
    ListenerTls { listen: Opening, required: bool, clients: Option<ClientAuthority> }
    /// `[tls]`; the first certificate is for clients that name no host.
    Tls {
        certificates: Vec<Files>,
        self_signed: bool,
        servers: ServerAuthority,
        handshakes: usize,
        handshakes_per_source: usize,
    }
    /// `[acme]`; nothing is ordered without names.
    Acme {
        names: Vec<String>,
        email: Option<String>,
        directory: String,
        servers: ServerAuthority,
        challenge: Challenge,
        keep_in: PathBuf,
        in_store: bool,
        accept_terms: bool,
    }
    /// `[proxy_protocol]`
    ProxyProtocol { accept_from: Vec<Network> }
    /// `[metrics]`
    Metrics { listen: Opening, streams: usize }
    /// `[console]`
    Console { listen: Opening, public: Vec<(String, String)> }
    /// `[log]`
    Log { format: LogFormat, level: tracing::Level, stream_names: StreamNames }
    /// `[shutdown]`
    Shutdown { grace: Duration, force: Duration }
}

impl Settings {
    /// The TLS of each listener, by its section.
    pub const fn tls_of_listeners(&self) -> [(&'static str, &ListenerTls); 5] {
        [
            ("rtmp", &self.rtmp.tls),
            ("http", &self.http.tls),
            ("api", &self.api.tls),
            ("system", &self.system.tls),
            ("rtsp", &self.rtsp.tls),
        ]
    }
}

impl Tls {
    /// Whether there is a certificate to show.
    pub const fn is_on(&self) -> bool {
        self.self_signed || !self.certificates.is_empty()
    }
}

/// How an ACME server is shown that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// It asks for a file by HTTP (RFC 8555 §8.3).
    Http,
    /// It looks at a certificate (RFC 8737).
    TlsAlpn,
}

impl Challenge {
    /// As the settings and the protocol spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http-01",
            Self::TlsAlpn => "tls-alpn-01",
        }
    }
}

/// Which origins are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probing {
    /// All of them.
    Always,
    /// Those that failed, and those that do not report themselves.
    Auto,
    /// None.
    Off,
}

/// What a probe asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// A path over HTTP.
    Http,
    /// The first byte of an RTMP handshake.
    Rtmp,
    /// A connection.
    Tcp,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// Text for people.
    Text,
}
