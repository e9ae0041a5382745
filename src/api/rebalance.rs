//! What leaves overloaded origins.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Coverage;

/// `GET /api/v1/rebalance`, and `POST`, which begins the moves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rebalance {
    /// Whether the proxy that was asked moves streams by itself.
    pub enabled: bool,
    /// Origins that have too much to do, as each proxy sees them.
    pub overloaded: Vec<Overloaded>,
    /// The moves, in the order in which they begin.
    pub moves: Vec<PlannedMove>,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// An origin that has too much to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overloaded {
    /// The origin.
    pub origin: String,
    /// The proxy that says so; none where there is one.
    pub proxy: Option<String>,
    /// What it uses of its processors or of its bandwidth, whichever is more, with the moves that its reports do not show
    /// yet.
    pub load_percent: f64,
    /// The same after the moves of this proxy.
    pub after_percent: f64,
    /// Kilobits per second that have to leave through this proxy.
    pub excess_kbps: u64,
    /// Kilobits per second that leave by its moves.
    pub leaving_kbps: u64,
    /// How many of its streams through this proxy stay, for each reason.
    pub staying: BTreeMap<String, u64>,
}

/// A move that is planned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlannedMove {
    /// The stream.
    pub stream: String,
    /// The proxy that has its publisher; none where there is one.
    pub proxy: Option<String>,
    /// The origin that it leaves.
    pub from: String,
    /// The origin that is to have it.
    pub to: String,
    /// Kilobits per second that it carries.
    pub kbps: u64,
    /// In words, how full both origins are.
    pub why: String,
    /// Whether it would begin now, or has begun; later otherwise, because many are under way.
    pub begins: bool,
}
