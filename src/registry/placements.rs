//! Which origin has which stream: what stands, what is reported, and what the clock takes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::fleet::State;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::PlacementKey;
use tracing::debug;

use super::hold::IN_USE;
use super::{Registry, lock};

/// A placement as an explanation shows it.
#[derive(Debug, Clone)]
pub struct ClaimRow {
    /// The origin that holds the stream.
    pub origin: OriginId,
    /// Grows with every change of the claim.
    pub fence: u64,
    /// How long the stream has been there.
    pub age: Duration,
    /// In words, the decision it was placed by; empty if it was not placed here.
    pub why: Arc<str>,
    /// Sessions of it through this proxy.
    pub sessions: usize,
    /// Publishers of it through this proxy.
    pub publishers: usize,
}

/// A placement as the API shows it.
#[derive(Debug, Clone)]
pub struct PlacementRow {
    /// The stream, as its key.
    pub key: String,
    /// The origin that holds it.
    pub origin: String,
    /// Sessions of it through this proxy.
    pub sessions: usize,
    /// Publishers of it through this proxy.
    pub publishers: usize,
}

impl Registry {
    /// An origin says that a stream is published on it, by a way that is not ours: it is played from there. True where
    /// players that wait for it elsewhere are to be let go, to come back and find it.
    pub(crate) fn note_published(&self, key: &PlacementKey, origin: &OriginId) -> bool {
        if !self.reported.note(key, origin) {
            debug!(stream = %key, %origin, "a publish was not noted: too many are known");
            return false;
        }
        debug!(stream = %key, %origin, "origin reports a publish");
        !self.published_here(key)
    }

    /// An origin says that a stream is published on it no more.
    pub(crate) fn note_unpublished(&self, key: &PlacementKey, origin: &OriginId) {
        debug!(stream = %key, %origin, "origin reports the end of a publish");
        self.reported.forget(key, origin);
    }

    /// Nobody says any more that a stream is published somewhere.
    pub(crate) fn forget_report(&self, key: &PlacementKey) {
        if let Some(origin) = self.reported.origin(key) {
            self.reported.forget(key, &origin);
        }
    }

    /// The streams that origins say are published on them.
    pub(crate) fn reported_keys(&self) -> Vec<PlacementKey> {
        self.reported.keys()
    }

    /// Where an origin says that a stream is published, if that origin is well and takes players.
    pub(crate) fn reported(&self, key: &PlacementKey) -> Option<OriginId> {
        let id = self.reported.origin(key)?;
        let fleet = lock(&self.fleet);
        let member = fleet.member(&id)?;
        let well = member.state(Instant::now()) != State::Failing && member.duty.takes_players();
        well.then_some(id)
    }

    /// The origin a stream is placed on, if its claim lives and the origin is known.
    pub fn holder(&self, key: &PlacementKey) -> Option<OriginId> {
        let id = OriginId::from(self.placements.get(key.as_str())?);
        lock(&self.fleet).member(&id).map(|_| id)
    }

    /// The raw value of a placement, though its origin may be gone: what a claim has to expect.
    pub(crate) fn claimed(&self, key: &PlacementKey) -> Option<OriginId> {
        self.placements.get(key.as_str()).map(OriginId::from)
    }

    /// Whether a stream is to be on `origin`: it is claimed for it, and no other origin says that it is published there, or its
    /// publisher is joined through this proxy, which counts for more.
    pub(crate) fn is_to_be_on(&self, key: &PlacementKey, origin: &OriginId) -> bool {
        let is_here = |other: OriginId| other == *origin;
        self.claimed(key).is_some_and(is_here)
            && (self.published_here(key) || self.reported(key).is_none_or(is_here))
    }

    /// Whether a placement is known.
    pub(crate) fn is_placed(&self, key: &str) -> bool {
        self.placements.get(key).is_some()
    }

    /// A stream with sessions here is placed at `origin`, whatever was known of it. Of others nothing has to be known.
    pub(crate) fn placed(&self, key: &PlacementKey, origin: &OriginId) {
        let mut holds = lock(&self.holds);
        if holds
            .streams
            .get(key)
            .is_some_and(|held| held.holders() > 0)
        {
            self.placements.set(key.as_str(), origin.as_str(), IN_USE);
            holds.assign(key, origin);
        }
    }

    /// A stream is placed nowhere that is known of, unless sessions of it are here.
    pub(crate) fn unplaced(&self, key: &PlacementKey) {
        let holds = lock(&self.holds);
        // The one who asks is a session already.
        if holds
            .streams
            .get(key)
            .is_none_or(|held| held.askers() <= 1 && held.published == 0)
        {
            self.placements.release(key.as_str());
        }
    }

    /// Every stream with sessions here, where they are, and whether one publishes it. One that is still asking its
    /// origin counts: it may have been placed without the store, and nobody asks again when it is joined.
    pub(crate) fn held(&self) -> Vec<(PlacementKey, OriginId, bool)> {
        let holds = lock(&self.holds);
        let held = holds.streams.iter().filter(|(_, held)| held.holders() > 0);
        held.filter_map(|(key, held)| {
            Some((key.clone(), held.origin.clone()?, held.publishers > 0))
        })
        .collect()
    }

    /// Where the sessions of a stream are, if it has some here.
    pub(crate) fn holding(&self, key: &str) -> Option<(PlacementKey, OriginId)> {
        let holds = lock(&self.holds);
        let (key, held) = holds.streams.get_key_value(key)?;
        let origin = held.origin.clone().filter(|_| held.holders() > 0)?;
        Some((key.clone(), origin))
    }

    /// What is known of a placement, whether or not its origin is; for people.
    pub fn claim_of(&self, key: &PlacementKey) -> Option<ClaimRow> {
        let kept = self.placements.kept(key.as_str())?;
        let holds = lock(&self.holds);
        let held = holds.streams.get(key);
        Some(ClaimRow {
            origin: OriginId::from(kept.value),
            fence: kept.fence,
            age: kept.age,
            why: held.map_or_else(Arc::default, |held| Arc::clone(&held.why)),
            sessions: held.map_or(0, |held| held.sessions),
            publishers: held.map_or(0, |held| held.publishers),
        })
    }

    /// Whether a publisher of the stream is joined through this proxy. One that is still being set up is not.
    pub(crate) fn published_here(&self, key: &PlacementKey) -> bool {
        lock(&self.holds)
            .streams
            .get(key)
            .is_some_and(|held| held.published > 0)
    }

    /// Whether a publisher of the stream left an origin within `lately`: the origin may not have noticed yet.
    pub(crate) fn unpublished_within(&self, key: &PlacementKey, lately: Duration) -> bool {
        lock(&self.holds)
            .streams
            .get(key)
            .and_then(|held| held.unpublished_at)
            .is_some_and(|at| at.elapsed() < lately)
    }

    /// Whether the stream has sessions besides one.
    pub(crate) fn is_shared(&self, key: &PlacementKey) -> bool {
        lock(&self.holds)
            .streams
            .get(key)
            .is_some_and(|held| held.holders() > 1)
    }

    /// Source addresses with claims that no publisher confirmed.
    pub fn claiming_sources(&self) -> usize {
        lock(&self.holds).by_source.len()
    }

    /// Placements with their sessions here.
    pub fn placements(&self) -> Vec<PlacementRow> {
        let mut rows: Vec<PlacementRow> = self
            .placements
            .list()
            .into_iter()
            .map(|(key, origin)| PlacementRow {
                key,
                origin,
                sessions: 0,
                publishers: 0,
            })
            .collect();
        let holds = lock(&self.holds);
        for row in &mut rows {
            if let Some(held) = holds.streams.get(row.key.as_str()) {
                row.sessions = held.sessions;
                row.publishers = held.publishers;
            }
        }
        rows
    }

    /// Forgets streams whose claims ran out; says how many are left. A claim that ran out counts for nobody, so that
    /// those which are not looked at this time do no harm.
    pub(super) fn forget_ended(&self) -> usize {
        let mut locked = lock(&self.holds);
        let holds = &mut *locked;
        for _ in 0..holds.leaving.len().min(SWEPT_AT_ONCE) {
            let Some(key) = holds.leaving.pop_front() else {
                break;
            };
            let Some(held) = holds.streams.get_mut(&key) else {
                continue;
            };
            if held.holders() > 0 {
                held.leaving = false;
            } else if self.placements.get(key.as_str()).is_some() {
                holds.leaving.push_back(key);
            } else {
                self.placements.release(key.as_str());
                holds.forget(&key);
            }
        }
        self.placements.len()
    }
}

/// Streams without a session that one sweep looks at: a few milliseconds.
const SWEPT_AT_ONCE: usize = 10_000;
