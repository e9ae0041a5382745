//! Streams that leave origins with too much to do. What is planned are moves, each made as an operator's is: the other
//! origin is asked first, and a no changes nothing.
//!
//! Each proxy plans for the publishers that it has, so that no two of them move one stream. They share what has to leave
//! an origin by what they have of its load, and the room that the others have equally, so that together they fill none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::placement::{CandidateFacts, Reject};
use sluicegate_core::place::rebalance::{
    Facts, Move, OriginFacts, Plan, Rebalancer, Stays, StreamFacts,
};
use sluicegate_core::stream::{Action, PlacementKey};
use tokio::time::{MissedTickBehavior, interval};
use tracing::info;

use super::Proxy;
use super::hold::RATE_KNOWN_AFTER;
use super::moves::{NotMoved, Wish, movable};
use crate::sessions::{Direction, MoveCause, MoveStage, Row, Underway};

/// The plans of one proxy, and how they go.
#[derive(Debug, Default)]
pub(super) struct Rebalancing {
    /// Moves begin by themselves.
    is_on: AtomicBool,
    // A std mutex: it is held while a plan is made, a few milliseconds, and never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rebalancer: Rebalancer,
    under_way: Vec<(PlacementKey, Underway)>,
}

impl State {
    /// Takes note of moves that are over.
    fn settle(&mut self, now: Instant) {
        let Self {
            rebalancer,
            under_way,
        } = self;
        under_way.retain(|(key, underway)| {
            match underway.outcome() {
                None => return true,
                Some(MoveStage::Made(_)) => rebalancer.made(now, key),
                Some(_) => rebalancer.failed(now, key, true),
            }
            false
        });
    }
}

impl Proxy {
    /// Whether streams leave overloaded origins by themselves.
    pub fn rebalances(&self) -> bool {
        self.shared.rebalancing.is_on.load(Ordering::Relaxed)
    }

    /// What there is to move now, of which nothing is done. Those are due that [`rebalance`](Self::rebalance) would begin.
    pub fn rebalance_plan(&self) -> Plan {
        self.planned(&mut self.rebalancing(), Duration::ZERO).0
    }

    /// Begins the moves that there are now. Those are due that have begun.
    pub fn rebalance(&self) -> Plan {
        self.begin_due(Duration::ZERO)
    }

    /// Begins the moves away from origins that have been overloaded for `lasts`.
    fn begin_due(&self, lasts: Duration) -> Plan {
        // One after the other: of two plans at once both would have the same moves.
        let mut state = self.rebalancing();
        let (mut plan, publishers) = self.planned(&mut state, lasts);
        for it in plan.moves.iter_mut().filter(|it| it.is_due) {
            let row = publishers.get(&it.key);
            it.is_due = row.is_some_and(|row| self.begin_planned(&mut state, it, row));
        }
        plan
    }

    /// A plan, and the publishers of its streams.
    fn planned(&self, state: &mut State, lasts: Duration) -> (Plan, Publishers) {
        let now = Instant::now();
        state.settle(now);
        let origins = self.origins_to_balance();
        if !state.rebalancer.look(now, &origins) {
            return (Plan::default(), Publishers::new());
        }
        let (streams, publishers) = self.streams_to_balance();
        let others = self.cluster().map_or(0, |cluster| cluster.peers().len());
        let facts = Facts {
            origins,
            streams,
            proxies: u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1),
        };
        let may = |stream: &StreamFacts, to: &OriginId| {
            let row = publishers.get(&stream.key);
            row.is_some_and(|row| self.may_have(row, to))
        };
        let plan = state.rebalancer.plan(now, &facts, lasts, may);
        (plan, publishers)
    }

    /// Begins a move of a plan. False if it is not to be had.
    fn begin_planned(&self, state: &mut State, it: &Move, row: &Row) -> bool {
        let stream = &row.request.stream;
        let wish = Wish {
            to: Some(it.to.clone()),
            expected: Some(it.from.clone()),
            // Nobody is ended for the sake of balance.
            ends_viewers: false,
            cause: MoveCause::Rebalanced,
        };
        let now = Instant::now();
        state.rebalancer.began(now, it);
        match self.begin_move(stream, &wish) {
            Ok(underway) => {
                state.under_way.push((it.key.clone(), underway));
                info!(session = row.id, %stream, why = %it, "a stream leaves an overloaded origin");
                true
            }
            Err(why) => {
                let by_target = matches!(
                    why,
                    NotMoved::Nobody(_) | NotMoved::Unfit { .. } | NotMoved::UnknownOrigin(_)
                );
                state.rebalancer.failed(now, &it.key, by_target);
                info!(session = row.id, %stream, %why, "a stream stays on an overloaded origin");
                false
            }
        }
    }

    /// Whether it is a time to move streams: what is known of origins is true, and claims can be moved.
    fn may_rebalance(&self) -> bool {
        let store = self.cluster();
        !self.is_stopping()
            && !self.registry().suspects_itself()
            && store.is_none_or(|cluster| cluster.is_reachable())
    }

    /// The origins whose reports count: one that is silent may be anything by now.
    fn origins_to_balance(&self) -> Vec<OriginFacts> {
        let registry = self.registry();
        let zone = registry.placer().zone.as_deref();
        let origins = registry.survey(None).into_iter();
        origins
            .filter(|one| !matches!(one.reject, Some(Reject::Failing | Reject::Silent)))
            .map(|one| origin_facts(one, zone))
            .collect()
    }

    /// The streams with sessions here, and those of them that are published here.
    fn streams_to_balance(&self) -> (Vec<StreamFacts>, Publishers) {
        let mut found: HashMap<PlacementKey, Found> = HashMap::new();
        for row in self.sessions().list() {
            if row.has_ended() {
                continue;
            }
            let of_it = found.entry(row.key.clone()).or_default();
            if row.pull().is_none() && row.has_leg() {
                of_it.add(row.bps(Direction::ToClient) + row.bps(Direction::ToOrigin));
                of_it.origin = of_it.origin.take().or_else(|| row.origin());
            }
            of_it.bound_viewers |= row.is_bound_viewer();
            if row.request.action == Action::Publish {
                of_it.publisher = Some(row);
            }
        }
        for pull in self.sessions().pulls() {
            let of_it = found.entry(pull.key.clone()).or_default();
            of_it.add(pull.bps());
            of_it.origin = of_it.origin.take().or_else(|| Some(pull.origin()));
        }
        let mut publishers = Publishers::new();
        let mut streams = Vec::with_capacity(found.len());
        for (key, found) in found {
            streams.extend(found.facts(&key));
            if let Some(row) = found.publisher {
                publishers.insert(key, row);
            }
        }
        (streams, publishers)
    }

    /// Whether an origin may have the stream of a publisher at all, whatever it carries.
    fn may_have(&self, row: &Row, to: &OriginId) -> bool {
        let (registry, request) = (self.registry(), &row.request);
        let rule = registry.placer().rule(&request.stream);
        let may = registry.of_member(to, |member| {
            let attributes = &member.origin.attributes;
            let naming = &attributes.naming;
            member.origin.serves(request.protocol.service())
                && rule.is_none_or(|rule| rule.pool.allows(attributes))
                && naming
                    .check(&request.stream, request.protocol, Action::Publish)
                    .is_ok()
        });
        may.unwrap_or(false)
    }

    fn rebalancing(&self) -> MutexGuard<'_, State> {
        let state = self.shared.rebalancing.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes streams from origins that have been overloaded for `lasts`, for ever.
pub async fn run(proxy: Proxy, lasts: Duration) {
    let is_on = &proxy.shared.rebalancing.is_on;
    is_on.store(true, Ordering::Relaxed);
    let mut turns = interval(LOOK_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        if proxy.may_rebalance() {
            proxy.begin_due(lasts);
        }
    }
}

/// Who publishes each stream.
type Publishers = HashMap<PlacementKey, Arc<Row>>;

/// What the sessions of a stream say of it.
#[derive(Debug, Default)]
struct Found {
    bps: u64,
    legs: usize,
    origin: Option<OriginId>,
    publisher: Option<Arc<Row>>,
    /// It has viewers that a move would end.
    bound_viewers: bool,
}

impl Found {
    /// Adds a leg.
    fn add(&mut self, bps: u64) {
        self.bps += bps;
        self.legs += 1;
    }

    /// The stream as a plan sees it; `None` while it is nowhere.
    fn facts(&self, key: &PlacementKey) -> Option<StreamFacts> {
        let publisher = self.publisher.as_ref();
        let origin = publisher.and_then(|row| row.origin());
        let last = publisher.and_then(|row| row.holds().pop());
        Some(StreamFacts {
            key: key.clone(),
            origin: origin.or_else(|| self.origin.clone())?,
            kbps: self.bps.div_ceil(1000),
            legs: self.legs,
            stays: self.stays(),
            moved_at: last.map(|last| last.began.into_std()),
        })
    }

    fn stays(&self) -> Option<Stays> {
        let Some(row) = &self.publisher else {
            return Some(Stays::NotOurs);
        };
        if movable(row).is_err() {
            return Some(Stays::Publisher);
        }
        if self.bound_viewers {
            return Some(Stays::Viewers);
        }
        if row.is_moving() {
            return Some(Stays::Rests);
        }
        (row.age() < RATE_KNOWN_AFTER).then_some(Stays::New)
    }
}

fn origin_facts(one: CandidateFacts, zone: Option<&str>) -> OriginFacts {
    let attributes = &one.attributes;
    let left = |most: Option<u32>, used: usize| {
        let most = usize::try_from(most?).unwrap_or(usize::MAX);
        Some(most.saturating_sub(used))
    };
    OriginFacts {
        cpu: one.load.cpu,
        kbps: one.load.kbps.unwrap_or_default().max(one.usage.kbps),
        max_kbps: attributes.max_mbps.map(|most| u64::from(most) * 1000),
        weight: attributes.weight,
        may_take: one.reject.is_none() && attributes.weight > 0,
        is_preferred: zone.is_some() && attributes.zone.as_deref() == zone,
        streams_left: left(attributes.max_streams, one.usage.streams),
        legs_left: left(attributes.max_sessions, one.usage.legs),
        origin: one.origin,
    }
}

/// How often it is looked whether an origin is overloaded.
const LOOK_EVERY: Duration = Duration::from_secs(2);
