//! Where a new stream goes: one pure function over a snapshot of the origins. The data path walks what it ranks, and
//! an explanation shows it.
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

/// One origin at the moment of a decision.
#[derive(Debug, Clone)]
pub struct Standing {
    /// Which origin.
    pub origin: OriginId,
    /// What it can bear and where it stands.
    pub attributes: Arc<Attributes>,
    /// How many services it offers.
    pub services: usize,
    /// Why it may not take a new stream, as far as the fleet knows.
    pub reject: Option<Reject>,
    /// For how long it has been up.
    pub up: Duration,
    /// How busy it says it is.
    pub load: Load,
    /// What is on it, as far as this proxy knows.
    pub usage: Usage,
}

/// What is on an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Streams that are claimed for it.
    pub streams: usize,
    /// Sessions of them here.
    pub sessions: usize,
    /// Kilobits per second that these sessions carry, both directions together.
    pub kbps: u64,
}

/// Why an origin may not take a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reject {
    /// More than four fifths of its processors or of its bandwidth are in use.
    Busy,
    /// An operator disabled it.
    Disabled,
    /// It drains.
    Draining,
    /// It was tried, or is left out on purpose.
    Excluded,
    /// Dials to it fail, and others are up.
    Failing,
    /// It carries as much as it may.
    FullOfBandwidth,
    /// It holds as many sessions as it may.
    FullOfSessions,
    /// It holds as many streams as it may.
    FullOfStreams,
    /// It does not offer the service asked for.
    NoService,
    /// The rule for the stream asks for others.
    NotInPool,
    /// Its heartbeats stay away.
    Silent,
    /// Its weight is 0.
    Weightless,
}

impl Reject {
    /// The reason in lower case, as the API spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
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

    /// There is only too much on it: it will take streams again when some have ended.
    pub const fn is_full(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::FullOfBandwidth | Self::FullOfSessions | Self::FullOfStreams
        )
    }
}

/// How streams are placed, whichever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// When all are full, the least full take streams nevertheless.
    pub overflow: bool,
    /// How long an origin takes to its full weight after it came up; zero for at once.
    pub slow_start: Duration,
}

/// What is asked of [`place`].
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The stream.
    pub key: &'a PlacementKey,
    /// The origins that a rule allows.
    pub pool: Option<&'a Pool>,
    /// The zone to prefer.
    pub zone: Option<&'a str>,
    /// The only origin that may take it, if somebody else decided so.
    pub only: Option<&'a OriginId>,
    /// Origins that are not to be taken.
    pub without: &'a [OriginId],
    /// What comes from outside.
    pub draw: Draw,
}

/// What came of a question.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Decision {
    /// Those that may take the stream, the best first.
    pub ranked: Vec<Candidate>,
    /// So many of them, the first ones, are in the zone to prefer.
    pub local: usize,
    /// Those that may not, and why.
    pub rejected: Vec<(OriginId, Reject)>,
    /// All are full, and take the stream nevertheless.
    pub overflows: bool,
}

impl Decision {
    /// The reasons for which origins were rejected, each with how many.
    pub fn reasons(&self) -> BTreeMap<Reject, usize> {
        let mut reasons = BTreeMap::new();
        for (_, why) in &self.rejected {
            *reasons.entry(*why).or_insert(0) += 1;
        }
        reasons
    }

    /// Nobody may take the stream, and that is because all who could are full.
    pub fn is_full(&self) -> bool {
        self.ranked.is_empty() && self.rejected.iter().any(|(_, why)| why.is_full())
    }
}

/// Decides where a stream goes that is nowhere yet. A time of the order of the origins and of sorting them.
pub fn place(
    policy: &dyn Policy,
    rules: &Rules,
    origins: &[Standing],
    question: &Question<'_>,
) -> Decision {
    let mut decision = Decision::default();
    let (mut failing, mut full) = (Vec::new(), Vec::new());
    let mut local = Vec::with_capacity(origins.len());
    let mut remote = Vec::new();
    let mut sort_in = |standing: &Standing| {
        let candidate = candidate(rules, standing);
        match question.zone {
            Some(zone) if standing.attributes.zone.as_deref() != Some(zone) => {
                remote.push(candidate);
            }
            _ => local.push(candidate),
        }
    };
    let mut admitted = 0_usize;
    for standing in origins {
        match reject(policy, standing, question) {
            None => {
                admitted += 1;
                sort_in(standing);
            }
            Some(Reject::Failing) => failing.push(standing),
            Some(why) if why.is_full() => full.push((standing, why)),
            Some(why) => decision.rejected.push((standing.origin.clone(), why)),
        }
    }
    // One failed dial must not refuse everybody, so those that fail are better than nobody.
    let use_failing = admitted == 0 && full.is_empty();
    let overflows = admitted == 0 && rules.overflow && !full.is_empty();
    for standing in failing {
        let why = (!use_failing).then_some(Reject::Failing);
        match why.or_else(|| limit_reached(standing)) {
            None => sort_in(standing),
            Some(why) => decision.rejected.push((standing.origin.clone(), why)),
        }
    }
    for (standing, why) in full {
        if overflows {
            sort_in(standing);
        } else {
            decision.rejected.push((standing.origin.clone(), why));
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

/// Why an origin may not take the stream; the reason that nothing else could outweigh comes first.
fn reject(policy: &dyn Policy, standing: &Standing, question: &Question<'_>) -> Option<Reject> {
    let attributes = &standing.attributes;
    let is_left_out = question.only.is_some_and(|only| *only != standing.origin);
    if is_left_out || question.without.contains(&standing.origin) {
        return Some(Reject::Excluded);
    }
    if let Some(why) = standing.reject.filter(|why| *why != Reject::Failing) {
        return Some(why);
    }
    if question.pool.is_some_and(|pool| !pool.allows(attributes)) {
        return Some(Reject::NotInPool);
    }
    if attributes.weight == 0 {
        return Some(Reject::Weightless);
    }
    if standing.reject.is_some() {
        return standing.reject;
    }
    limit_reached(standing)
        .or_else(|| (policy.spares_the_busy() && is_busy(standing)).then_some(Reject::Busy))
}

/// Which of its limits an origin has reached.
fn limit_reached(standing: &Standing) -> Option<Reject> {
    let (attributes, usage) = (&standing.attributes, &standing.usage);
    let reached = |count: usize, limit: Option<u32>| {
        limit.is_some_and(|limit| count as u64 >= u64::from(limit))
    };
    if reached(usage.streams, attributes.max_streams) {
        return Some(Reject::FullOfStreams);
    }
    if reached(usage.sessions, attributes.max_sessions) {
        return Some(Reject::FullOfSessions);
    }
    bandwidth(standing)
        .is_some_and(|used| used >= ALL)
        .then_some(Reject::FullOfBandwidth)
}

fn is_busy(standing: &Standing) -> bool {
    let used = [standing.load.cpu, bandwidth(standing)];
    used.into_iter().flatten().any(|used| used > BUSY)
}

/// The part of its bandwidth that an origin uses, in thousandths: what it says, or what we see if that is more.
fn bandwidth(standing: &Standing) -> Option<u32> {
    let most = u64::from(standing.attributes.max_mbps?).saturating_mul(1000);
    let used = standing
        .load
        .kbps
        .unwrap_or_default()
        .max(standing.usage.kbps);
    Some(part(used, most))
}

fn candidate(rules: &Rules, standing: &Standing) -> Candidate {
    let attributes = &standing.attributes;
    let of = |count: usize, limit: Option<u32>| limit.map(|limit| part(count as u64, limit.into()));
    let load = [
        standing.load.cpu,
        standing.load.memory,
        bandwidth(standing),
        of(standing.usage.streams, attributes.max_streams),
        of(standing.usage.sessions, attributes.max_sessions),
    ];
    Candidate::new(
        standing.origin.clone(),
        standing.services,
        standing.usage.streams,
        weight(rules, standing),
        load.into_iter().flatten().max(),
    )
}

/// The weight of an origin that came up lately grows in ten steps, so that proxies which heard of it at different
/// moments mostly agree.
fn weight(rules: &Rules, standing: &Standing) -> u32 {
    let weight = standing.attributes.weight;
    if standing.up >= rules.slow_start {
        return weight;
    }
    let steps = standing.up.as_millis() * 10 / rules.slow_start.as_millis().max(1);
    let steps = u32::try_from(steps).unwrap_or(10).clamp(1, 10);
    (weight.saturating_mul(steps) / 10).max(1)
}

fn part(used: u64, most: u64) -> u32 {
    let part = used.saturating_mul(u64::from(ALL)) / most.max(1);
    u32::try_from(part).unwrap_or(u32::MAX)
}

/// In thousandths.
const ALL: u32 = 1000;
/// Above this, in thousandths, an origin is busy.
const BUSY: u32 = 800;
