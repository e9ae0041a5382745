//! Where a new stream goes: one pure function over a snapshot of the origins. The data path tries the origins in the
//! order it returns, and an explanation shows that order.
//!
//! Origins that may not take the stream are rejected, each for one reason. Of the others, those in the preferred zone
//! come first, and within a zone the [`Policy`] decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::fleet::attributes::Attributes;
use crate::fleet::load::Load;
use crate::fleet::origin::OriginId;
use crate::place::policy::{Candidate, Draw, Policy};
use crate::place::rule::Pool;
use crate::stream::PlacementKey;

/// The facts about one origin at the moment of a decision.
#[derive(Debug, Clone)]
pub struct CandidateFacts {
    /// The origin.
    pub origin: OriginId,
    /// Its weight, zone, labels and limits.
    pub attributes: Arc<Attributes>,
    /// The number of services that it offers.
    pub services: usize,
    /// Why it may not take a new stream, as far as the fleet knows.
    pub reject: Option<Reject>,
    /// How long it has been up.
    pub up: Duration,
    /// Its load, as it reports it.
    pub load: Load,
    /// Its use, as far as this proxy knows.
    pub usage: Usage,
}

/// What an origin carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// The number of streams that are claimed for it.
    pub streams: usize,
    /// The number of this proxy's legs to it. A session may have none of its own, and a leg may serve many sessions.
    pub legs: usize,
    /// Kilobits per second of these legs, both directions together.
    pub kbps: u64,
}

/// Why an origin may not take a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// It uses more than four fifths of its processors or of its bandwidth.
    Busy,
    /// It cannot be asked for this path, or not by this protocol: its dialect has no address for it.
    Dialect,
    /// An operator disabled it.
    Disabled,
    /// It is being drained.
    Draining,
    /// It was tried already, or is deliberately left out.
    Excluded,
    /// Dials to it fail, while other origins are up.
    Failing,
    /// It has reached its limit of bandwidth.
    FullOfBandwidth,
    /// It has reached its limit of sessions.
    FullOfSessions,
    /// It has reached its limit of streams.
    FullOfStreams,
    /// It does not offer the requested service.
    NoService,
    /// The rule for the stream requires other origins.
    NotInPool,
    /// Its heartbeats are missing.
    Silent,
    /// Its weight is 0.
    Weightless,
}

impl Reject {
    /// The reason in lower case, as in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Dialect => "dialect",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
            Self::Excluded => "excluded",
            Self::Failing => "failing",
            Self::FullOfBandwidth => "full_of_bandwidth",
            Self::FullOfSessions => "full_of_sessions",
            Self::FullOfStreams => "full_of_streams",
            Self::NoService => "no_service",
            Self::NotInPool => "not_in_pool",
            Self::Silent => "silent",
            Self::Weightless => "weightless",
        }
    }

    /// Whether the only reason is its load, so that it will take streams again when some have ended.
    pub const fn is_full(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::FullOfBandwidth | Self::FullOfSessions | Self::FullOfStreams
        )
    }
}

/// The rules that apply to all placements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// Whether the least full origins take streams when all are full.
    pub overflow: bool,
    /// How long an origin takes to reach its full weight after it came up; zero for at once.
    pub slow_start: Duration,
}

/// The question for [`place`].
#[derive(Debug, Clone, Copy)]
pub struct PlacementQuestion<'a> {
    /// The stream.
    pub key: &'a PlacementKey,
    /// The origins that a rule allows.
    pub pool: Option<&'a Pool>,
    /// The preferred zone.
    pub zone: Option<&'a str>,
    /// The only origin that may take it, if an outside service decided so.
    pub only: Option<&'a OriginId>,
    /// Origins to leave out.
    pub without: &'a [OriginId],
    /// The part of the decision that does not follow from facts.
    pub draw: Draw,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    /// The origins that may take the stream, best first.
    pub ranked: Vec<Candidate>,
    /// How many of them, at the front, are in the preferred zone.
    pub local: usize,
    /// The origins that may not take it, with the reason.
    pub rejected: Vec<(OriginId, Reject)>,
    /// Whether all are full, and take the stream nevertheless.
    pub overflows: bool,
}

impl Decision {
    /// The reasons for which origins were rejected, with the number of origins for each.
    pub fn reasons(&self) -> BTreeMap<Reject, usize> {
        let mut reasons = BTreeMap::new();
        for (_, why) in &self.rejected {
            *reasons.entry(*why).or_insert(0) += 1;
        }
        reasons
    }

    /// Whether no origin may take the stream because all that could are full.
    pub fn is_full(&self) -> bool {
        self.ranked.is_empty() && self.rejected.iter().any(|(_, why)| why.is_full())
    }
}

/// Decides where a stream goes that is not placed yet. Takes as long as sorting the origins.
pub fn place(
    policy: &dyn Policy,
    rules: &Rules,
    origins: &[CandidateFacts],
    question: &PlacementQuestion<'_>,
) -> Decision {
    let mut decision = Decision::default();
    let (mut failing, mut full) = (Vec::new(), Vec::new());
    let mut local = Vec::with_capacity(origins.len());
    let mut remote = Vec::new();
    let mut sort_in = |facts: &CandidateFacts| {
        let candidate = candidate(rules, facts);
        match question.zone {
            Some(zone) if facts.attributes.zone.as_deref() != Some(zone) => {
                remote.push(candidate);
            }
            _ => local.push(candidate),
        }
    };
    let mut admitted = 0_usize;
    for facts in origins {
        match reject(policy, facts, question) {
            None => {
                admitted += 1;
                sort_in(facts);
            }
            Some(Reject::Failing) => failing.push(facts),
            Some(why) if why.is_full() => full.push((facts, why)),
            Some(why) => decision.rejected.push((facts.origin.clone(), why)),
        }
    }
    // One failed dial must not refuse all clients, so failing origins are better than none.
    let use_failing = admitted == 0 && full.is_empty();
    let overflows = admitted == 0 && rules.overflow && !full.is_empty();
    for facts in failing {
        let why = (!use_failing).then_some(Reject::Failing);
        match why.or_else(|| limit_reached(facts)) {
            None => sort_in(facts),
            Some(why) => decision.rejected.push((facts.origin.clone(), why)),
        }
    }
    for (facts, why) in full {
        if overflows {
            sort_in(facts);
        } else {
            decision.rejected.push((facts.origin.clone(), why));
        }
    }
    policy.rank(question.key, question.draw, &mut local);
    policy.rank(question.key, question.draw, &mut remote);
    decision.local = question.zone.map_or(0, |_| local.len());
    decision.overflows = overflows;
    local.append(&mut remote);
    decision.ranked = local;
    decision
}

/// How many of the origins take new streams, unless a rule or a service says otherwise. One that fails is no help, though it is tried
/// where there is no other.
pub fn takers(policy: &dyn Policy, rules: &Rules, origins: &[CandidateFacts]) -> usize {
    let takes = |facts: &&CandidateFacts| match unfit(policy, facts) {
        None => true,
        Some(why) => rules.overflow && why.is_full(),
    };
    origins.iter().filter(takes).count()
}

/// Why an origin may not take the stream. If there are several reasons, the most decisive one comes first.
fn reject(
    policy: &dyn Policy,
    facts: &CandidateFacts,
    question: &PlacementQuestion<'_>,
) -> Option<Reject> {
    let attributes = &facts.attributes;
    let is_left_out = question.only.is_some_and(|only| *only != facts.origin);
    if is_left_out || question.without.contains(&facts.origin) {
        return Some(Reject::Excluded);
    }
    if let Some(why) = facts.reject.filter(|why| *why != Reject::Failing) {
        return Some(why);
    }
    if question.pool.is_some_and(|pool| !pool.allows(attributes)) {
        return Some(Reject::NotInPool);
    }
    unfit(policy, facts)
}

/// Why an origin may not take a new stream, whatever stream that is.
fn unfit(policy: &dyn Policy, facts: &CandidateFacts) -> Option<Reject> {
    if facts.attributes.weight == 0 {
        return Some(Reject::Weightless);
    }
    facts
        .reject
        .or_else(|| limit_reached(facts))
        .or_else(|| (policy.spares_the_busy() && is_busy(facts)).then_some(Reject::Busy))
}

/// The limit that an origin has reached, if any.
fn limit_reached(facts: &CandidateFacts) -> Option<Reject> {
    let (attributes, usage) = (&facts.attributes, &facts.usage);
    let reached = |count: usize, limit: Option<u32>| {
        limit.is_some_and(|limit| count as u64 >= u64::from(limit))
    };
    if reached(usage.streams, attributes.max_streams) {
        return Some(Reject::FullOfStreams);
    }
    if reached(usage.legs, attributes.max_sessions) {
        return Some(Reject::FullOfSessions);
    }
    bandwidth(facts)
        .is_some_and(|used| used >= ALL)
        .then_some(Reject::FullOfBandwidth)
}

fn is_busy(facts: &CandidateFacts) -> bool {
    let used = [facts.load.cpu, bandwidth(facts)];
    used.into_iter().flatten().any(|used| used > BUSY)
}

/// The share of its bandwidth that an origin uses, in thousandths: as reported or as measured here, whichever is more.
fn bandwidth(facts: &CandidateFacts) -> Option<u32> {
    let most = u64::from(facts.attributes.max_mbps?).saturating_mul(1000);
    let used = facts.load.kbps.unwrap_or_default().max(facts.usage.kbps);
    Some(part(used, most))
}

fn candidate(rules: &Rules, facts: &CandidateFacts) -> Candidate {
    let attributes = &facts.attributes;
    let of = |count: usize, limit: Option<u32>| limit.map(|limit| part(count as u64, limit.into()));
    let load = [
        facts.load.cpu,
        facts.load.memory,
        bandwidth(facts),
        of(facts.usage.streams, attributes.max_streams),
        of(facts.usage.legs, attributes.max_sessions),
    ];
    Candidate::new(
        facts.origin.clone(),
        facts.services,
        facts.usage.streams,
        weight(rules, facts),
        load.into_iter().flatten().max(),
    )
}

/// The current weight of an origin. After it came up, its weight grows in ten steps, so that proxies that heard of it
/// at different moments mostly agree.
fn weight(rules: &Rules, facts: &CandidateFacts) -> u32 {
    let weight = facts.attributes.weight;
    if facts.up >= rules.slow_start {
        return weight;
    }
    let steps = facts.up.as_millis() * 10 / rules.slow_start.as_millis().max(1);
    let steps = u32::try_from(steps).unwrap_or(10).clamp(1, 10);
    (weight.saturating_mul(steps) / 10).max(1)
}

fn part(used: u64, most: u64) -> u32 {
    let part = used.saturating_mul(u64::from(ALL)) / most.max(1);
    u32::try_from(part).unwrap_or(u32::MAX)
}

/// The whole, in thousandths.
const ALL: u32 = 1000;
/// Above this share, in thousandths, an origin is busy.
const BUSY: u32 = 800;
