//! Answers to "where?" and "why there?" for people and cooperative clients: explanations, lookups and redirects.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sluicegate_core::dialect::Site;
use sluicegate_core::fleet::origin::{Host, Origin, OriginId};
use sluicegate_core::place::rule::{RedirectRule, RedirectTo, Via};
use sluicegate_core::stream::Service;

use crate::api::SessionHold;
use crate::config::NetworkZone;

/// The answer of `GET /api/v1/explain`: where a stream is or would go, and why no other origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The stream asked about.
    pub stream: String,
    /// What it is placed under.
    pub key: String,
    /// The kind of endpoint that is looked for.
    pub service: String,
    /// The policy that ranks.
    pub policy: String,
    /// The rule that speaks of the stream, as it was written.
    pub rule: Option<String>,
    /// The zone that is preferred.
    pub zone: Option<String>,
    /// The origin that the next request would go to.
    pub origin: Option<String>,
    /// In words, why there; or why nowhere.
    pub why: String,
    /// What a client hears instead, where that origin cannot be asked for the stream by this protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<RefusedSaid>,
    /// The client of the stream that got no session last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_refused: Option<LastRefused>,
    /// The claim that stands.
    pub claim: Option<Claimed>,
    /// Those that may take the stream if it is nowhere, best first.
    pub candidates: Vec<Ranked>,
    /// Those that may not.
    pub rejected: Vec<Rejected>,
    /// All are full, and take streams nevertheless.
    pub overflows: bool,
    /// Whether a certain client may have it, if that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSaid>,
}

/// The answer of `GET /api/v1/explain?protocol=all`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfAllProtocols {
    /// The stream asked about.
    pub stream: String,
    /// The same for each protocol that the proxy listens for.
    pub protocols: Vec<OfProtocol>,
}

/// Where a stream is or would go for those who ask for it by one protocol.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OfProtocol {
    /// The protocol.
    pub protocol: String,
    /// The answer for it.
    #[serde(flatten)]
    pub explanation: Explanation,
}

/// A client that got no session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRefused {
    /// How long ago that was, in seconds, or up to a minute longer where its address came again.
    pub seconds_ago: u64,
    /// What it asked for, and why it got nothing, in the words of the log.
    pub what: String,
}

/// How a client is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedSaid {
    /// The status or reason in its protocol; `None` for RTMP, which has none.
    pub code: Option<u16>,
    /// The words; a caller over SRT hears the reason alone.
    pub words: String,
}

/// Whether a client may, and what decides about that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessSaid {
    /// The rule that decides, counted from 1; `None` if none is about this.
    pub rule: Option<usize>,
    /// The rule in plain words.
    pub words: String,
    /// What each of its checks says.
    pub checks: Vec<CheckSaid>,
    /// Whether it may.
    pub may: bool,
    /// Why not, as the client would hear it; empty if it may.
    pub reason: String,
}

/// What one check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSaid {
    /// Its name, and what it is.
    pub check: String,
    /// What it says, and why.
    pub says: String,
}

/// A claim that stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claimed {
    /// The origin that holds the stream.
    pub origin: String,
    /// How long it has.
    pub age_seconds: f64,
    /// Grows with every change.
    pub fence: u64,
    /// In words, the decision it was placed by; empty if it was not placed by this proxy.
    pub why: String,
    /// Publishers through this proxy.
    pub publishers: usize,
    /// Players through this proxy.
    pub players: usize,
    /// The times its publisher here outlived an origin, oldest first; the last 8.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<SessionHold>,
}

/// An origin that may take the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranked {
    /// Which origin.
    pub origin: String,
    /// What the policy gives it; more is better.
    pub score: f64,
    /// Its weight as it counts now.
    pub weight: u32,
    /// Streams on it.
    pub streams: usize,
    /// How busy it is, in percent; `None` where nothing tells.
    pub load_percent: Option<f64>,
    /// How many services it offers; origins with more come first.
    pub services: usize,
    /// It is in the zone that is preferred; `None` if none is.
    pub local: Option<bool>,
}

/// An origin that may not take the stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rejected {
    /// Which origin.
    pub origin: String,
    /// Why, as one word.
    pub reason: String,
}

/// The answer of `GET /api/v1/resolve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// The stream asked for.
    pub stream: String,
    /// The origin that has it, or would get it.
    pub origin: String,
    /// Whether it is placed already.
    pub placed: bool,
    /// The zone of the origin.
    pub zone: Option<String>,
    /// How long the answer may be kept, in seconds.
    pub ttl: u64,
    /// Where to get or send it by RTMP.
    pub rtmp: Option<String>,
    /// Where HTTP streams are, as a base to put a path behind.
    pub http: Option<String>,
}

/// How cooperative clients are answered.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Who is sent elsewhere; the first that speaks of a stream counts.
    pub redirects: Vec<RedirectRule>,
    /// Which zone is near to whom; the first that holds the client counts.
    pub networks: Vec<NetworkZone>,
    /// How long an answer may be kept.
    pub ttl: Duration,
    /// What the address of a client means here.
    pub site: Site,
}

impl Default for Lookup {
    fn default() -> Self {
        Self {
            redirects: Vec::new(),
            networks: Vec::new(),
            ttl: Duration::from_secs(5),
            site: Site::default(),
        }
    }
}

impl Lookup {
    /// The zone that is nearest to a client, as far as the table goes.
    pub fn zone_of(&self, client: IpAddr) -> Option<&str> {
        self.networks.iter().find_map(|row| row.zone_of(client))
    }
}

/// Where clients of `rule` are sent for what is on `origin`.
pub fn base(rule: &RedirectRule, id: &OriginId, origin: &Origin) -> Option<String> {
    let port = |service| origin.target(service).map(|target| target.port);
    let ip = match &origin.ip {
        Host::Ip(IpAddr::V6(ip)) => format!("[{ip}]"),
        host => host.to_string(),
    };
    rule.base(&RedirectTo {
        id: id.as_str(),
        label: origin.label(),
        zone: origin.attributes.zone.as_deref().unwrap_or_default(),
        ip: &ip,
        http: port(Service::Http),
        rtmp: port(Service::Rtmp),
    })
}

/// Where the origin itself serves such clients.
pub fn own_base(via: Via, origin: &Origin) -> Option<String> {
    let (scheme, service) = match via {
        Via::Http => ("http", Service::Http),
        Via::Rtmp => ("rtmp", Service::Rtmp),
    };
    let target = origin.target(service)?;
    Some(format!("{scheme}://{target}"))
}
