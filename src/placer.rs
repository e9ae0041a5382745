//! How this proxy places streams: the settings around the pure decision, and what is counted between decisions.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::placement::{
    CandidateFacts, Decision, PlacementQuestion, Rules, place,
};
use sluicegate_core::place::policy::{Draw, Policy};
use sluicegate_core::place::rule::PoolRule;
use sluicegate_core::stream::{PlacementKey, StreamUrl};

/// The rules by which streams are placed.
pub struct Placer {
    /// Orders the origins that may take a stream.
    pub policy: Box<dyn Policy>,
    /// What holds for every stream.
    pub rules: Rules,
    /// Which origins may hold which streams; the first that speaks of a stream counts.
    pub pools: Arc<[PoolRule]>,
    /// The zone whose origins are preferred.
    pub zone: Option<String>,
    /// See [`Draw::bound`].
    pub bound: Option<u32>,
    /// Claims cannot be atomic for now: every proxy must decide alike, without what it alone counts.
    pub alone: AtomicBool,
    /// See [`Draw::seed`].
    pub seed: u64,
    /// Streams placed so far.
    pub turns: AtomicU64,
}

/// A stream to be placed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The stream.
    pub stream: &'a StreamUrl,
    /// What it is placed under.
    pub key: &'a PlacementKey,
    /// The only origin that may have it, if somebody else decided.
    pub only: Option<&'a OriginId>,
    /// Origins that are not to be taken.
    pub without: &'a [OriginId],
    /// The zone to prefer in place of the proxy's own.
    pub zone: Option<&'a str>,
}

impl Placer {
    /// These rules around `policy`, and nothing else.
    pub fn new(policy: Box<dyn Policy>) -> Self {
        Self {
            policy,
            rules: Rules::default(),
            pools: Arc::default(),
            zone: None,
            bound: None,
            alone: AtomicBool::new(false),
            seed: 0,
            turns: AtomicU64::new(0),
        }
    }

    /// Where a stream goes that is nowhere yet.
    pub fn decide(&self, origins: &[CandidateFacts], wanted: &Wanted<'_>) -> Decision {
        let question = PlacementQuestion {
            key: wanted.key,
            pool: self.rule(wanted.stream).map(|rule| &rule.pool),
            zone: self.zone(wanted),
            only: wanted.only,
            without: wanted.without,
            draw: Draw {
                seed: self.seed,
                turn: self.turns.load(Ordering::Relaxed),
                bound: self.bound.filter(|_| !self.alone.load(Ordering::Relaxed)),
            },
        };
        place(&*self.policy, &self.rules, origins, &question)
    }

    /// The rule that speaks of a stream.
    pub fn rule(&self, stream: &StreamUrl) -> Option<&PoolRule> {
        self.pools.iter().find(|rule| rule.covers(stream))
    }

    /// The decision in words, for logs and the API: who decided, and what stood in the way of others.
    pub fn words(&self, wanted: &Wanted<'_>, decision: &Decision) -> String {
        let mut words = format!("of {} by {}", decision.ranked.len(), self.policy.name());
        if let Some(rule) = self.rule(wanted.stream) {
            words.push_str(&format!(", rule \"{}\"", rule.as_str()));
        }
        if let Some(zone) = self.zone(wanted) {
            match decision.local {
                0 => words.push_str(&format!(", none in zone {zone}")),
                local => words.push_str(&format!(", {local} in zone {zone}")),
            }
        }
        if decision.overflows {
            words.push_str(", all are full");
        }
        for (why, count) in decision.reasons() {
            words.push_str(&format!(", {count} {}", why.as_str().replace('_', " ")));
        }
        words
    }

    /// The zone that is preferred for a stream.
    pub fn zone<'a>(&'a self, wanted: &Wanted<'a>) -> Option<&'a str> {
        wanted.zone.or(self.zone.as_deref())
    }
}

impl fmt::Debug for Placer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placer")
            .field("policy", &self.policy.name())
            .finish_non_exhaustive()
    }
}
