//! The documents that a page or a person looks at: totals, their history, what needs attention, settings, links.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Coverage;

/// `GET /api/v1/overview`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overview {
    /// The proxy that was asked; none without a shared store.
    pub id: Option<String>,
    /// Its version.
    pub version: String,
    /// How many proxies this speaks for.
    pub proxies: u64,
    /// Origins, by what they are fit for, as the proxy that was asked sees them.
    pub origins: OriginCounts,
    /// The totals now.
    pub now: Totals,
    /// Requests that got no session in the last five minutes, by reason.
    pub refusals: BTreeMap<String, u64>,
    /// What the proxies share, as the one that was asked sees it.
    pub store: StoreSeen,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// The store of a proxy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoreSeen {
    /// `memory` for a proxy that is alone, `mesh` or `redis`.
    pub kind: String,
    /// Whether it answers.
    pub reachable: bool,
    /// For how long that has been so, to within five seconds.
    pub since_seconds: f64,
}

/// Origins by what they are fit for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginCounts {
    /// Up and active.
    pub up: u64,
    /// Silent.
    pub suspect: u64,
    /// Not reached.
    pub failing: u64,
    /// Draining, whatever their health.
    pub draining: u64,
    /// Disabled, whatever their health.
    pub disabled: u64,
}

/// Totals at one time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Placed streams; of a cluster at least this many.
    pub streams: u64,
    /// Publishers.
    pub publishers: u64,
    /// Players.
    pub players: u64,
    /// Bits per second from clients.
    pub bps_in: u64,
    /// Bits per second to clients.
    pub bps_out: u64,
    /// Clients that got no session, in the last minute.
    pub refused: u64,
    /// Dials that failed and were followed by another, in the last minute.
    pub failovers: u64,
}

/// `GET /api/v1/history`: totals of the last hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct History {
    /// Between two values.
    pub step_seconds: u64,
    /// When the last value was taken: milliseconds since 1970.
    pub until: u64,
    /// The totals, oldest first.
    pub totals: Vec<Totals>,
    /// How each origin was, oldest first, as the proxy that was asked saw it.
    pub origins: Vec<OriginHistory>,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// How an origin was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginHistory {
    /// Its id.
    pub id: String,
    /// Between two letters.
    pub step_seconds: u64,
    /// A letter for each step, oldest first: `u` up, `s` suspect, `f` failing, `d` draining, `x` disabled, `-` not known.
    pub states: String,
}

/// `GET /api/v1/attention`: the rules of `alerts.yml`, judged by the proxies themselves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attention {
    /// What needs attention, the most urgent first.
    pub findings: Vec<Finding>,
    /// How many rules are watched.
    pub rules: usize,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// Something that needs attention.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finding {
    /// The name of the alert.
    pub name: String,
    /// `critical` or `warning`.
    pub severity: String,
    /// What is wrong.
    pub summary: String,
    /// What it is true for: an origin, a reason, a listener; empty for a proxy as a whole.
    pub about: String,
    /// The value that was compared.
    pub value: f64,
    /// For how long it has been true.
    pub lasts_seconds: f64,
    /// What to do first.
    pub advice: String,
    /// The proxies that found it, where several share a store.
    pub proxies: Vec<String>,
}

/// `GET /api/v1/settings`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Every setting in the order of the reference; none where the process was not told.
    pub settings: Vec<Setting>,
    /// Where the proxy listens.
    pub listeners: Vec<Listener>,
}

/// A setting in effect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Setting {
    /// Section and key.
    pub path: String,
    /// The value as TOML; a secret is `"***"`.
    pub value: String,
    /// Where it was written.
    pub source: String,
    /// Whether it is the default.
    pub is_default: bool,
    /// What it does.
    pub doc: String,
}

/// A port.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Listener {
    /// What is served there.
    pub name: String,
    /// The address.
    pub address: String,
}

/// `GET /api/v1/links`: how to reach a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Links {
    /// The stream, as `vhost/app/stream`.
    pub stream: String,
    /// Each address.
    pub links: Vec<StreamAddress>,
}

/// An address of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreamAddress {
    /// The protocol.
    pub protocol: String,
    /// `play` or `publish`.
    pub action: String,
    /// For an encoder or a player.
    pub url: String,
}

/// `GET /console/me`: what the caller may do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Me {
    /// `admin`, `operator` or `viewer`; none for somebody who has to log in.
    pub role: Option<String>,
    /// Whether there is a token to log in with.
    pub has_login: bool,
    /// Whether the caller came with a login, and can log out.
    pub is_logged_in: bool,
    /// The version of the proxy; none for somebody who has to log in.
    pub version: Option<String>,
}

impl Totals {
    /// Adds those of another proxy. The same stream may be on both, so only the greater number of them is sure.
    pub fn add(&mut self, other: &Self) {
        self.streams = self.streams.max(other.streams);
        self.publishers += other.publishers;
        self.players += other.players;
        self.bps_in += other.bps_in;
        self.bps_out += other.bps_out;
        self.refused += other.refused;
        self.failovers += other.failovers;
    }
}

impl History {
    /// Adds the totals of another proxy, value by value from the newest. They were taken within one step of each other.
    pub fn add(&mut self, theirs: &Self) {
        let pairs = self.totals.iter_mut().rev().zip(theirs.totals.iter().rev());
        for (ours, theirs) in pairs {
            ours.add(theirs);
        }
    }
}

impl Attention {
    /// Adds what another proxy found: the same is found once, by several.
    pub fn add(&mut self, proxy: &str, theirs: Vec<Finding>) {
        for mut one in theirs {
            let mut ours = self.findings.iter_mut();
            let same = ours.find(|ours| ours.name == one.name && ours.about == one.about);
            match same {
                Some(ours) => {
                    ours.proxies.push(proxy.to_owned());
                    ours.lasts_seconds = ours.lasts_seconds.max(one.lasts_seconds);
                }
                None => {
                    one.proxies = vec![proxy.to_owned()];
                    self.findings.push(one);
                }
            }
        }
        // Critical precedes warning in the alphabet too.
        self.findings
            .sort_by(|a, b| (a.severity.as_str()).cmp(b.severity.as_str()));
    }
}
