//! What any caller may ask of any port that answers it: whether the proxy lives, whether it should get clients, and which
//! version it is.

use serde::{Deserialize, Serialize};

use super::Certificate;

/// `GET /livez`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alive {
    /// Always; a proxy that is not alive does not answer.
    pub alive: bool,
}

/// `GET /readyz`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ready {
    /// Whether the proxy should get clients.
    pub ready: bool,
    /// `starting`, or `bound` when every listener serves.
    pub listeners: String,
    /// Whether it takes no new clients.
    pub draining: bool,
    /// The origins that it knows.
    pub origins: OriginsKnown,
    /// `memory` for a proxy alone; `ok` or `degraded` for the store of several.
    pub store: String,
    /// What is shown over TLS.
    pub certificates: Vec<Certificate>,
}

/// How many origins there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OriginsKnown {
    /// All of them.
    pub known: usize,
    /// Those that are up.
    pub up: usize,
}

/// `GET /api/v1/versions` on the system API and the API port, without an envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Version {
    /// Always `Sluicegate`.
    pub signature: String,
    /// The version, such as `1.2.3`.
    pub version: String,
}

/// `GET /api/v1/versions` on the port of HTTP streams.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LongVersion {
    /// Always 0.
    pub code: u16,
    /// The process id of the proxy, as text.
    pub pid: String,
    /// The version.
    pub data: VersionNumbers,
}

/// A version and its numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VersionNumbers {
    /// The first number.
    pub major: u64,
    /// The second.
    pub minor: u64,
    /// The third.
    pub revision: u64,
    /// All of it, as text.
    pub version: String,
}
