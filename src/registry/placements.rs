//! Which origin has which stream: what stands, what is reported, and what the clock takes back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::fleet::State;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::shares::Held;
use sluicegate_core::stream::PlacementKey;
use tracing::debug;

use super::{Registry, lock, now};

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
        let id = self.claimed(key)?;
        lock(&self.fleet).member(&id).map(|_| id)
    }

    /// The raw value of a placement, though its origin may be gone: what a claim has to expect.
    pub(crate) fn claimed(&self, key: &PlacementKey) -> Option<OriginId> {
        lock(&self.shares).claimed(now(), key.as_str())
    }

    /// The same; or where the sessions of the stream here were placed last.
    pub(crate) fn last_claimed(&self, key: &PlacementKey) -> Option<OriginId> {
        lock(&self.shares).last_claimed(now(), key.as_str())
    }

    /// Whether a placement is known.
    pub(crate) fn is_placed(&self, key: &str) -> bool {
        lock(&self.shares).claimed(now(), key).is_some()
    }

    /// A stream with sessions here is placed at `origin`, whatever was known of it. Of others nothing has to be known.
    pub(crate) fn placed(&self, key: &PlacementKey, origin: &OriginId) {
        lock(&self.shares).placed(now(), key, origin);
    }

    /// A stream is placed nowhere that is known of, unless sessions of it are here.
    pub(crate) fn unplaced(&self, key: &PlacementKey) {
        lock(&self.shares).unplaced(key);
    }

    /// Every stream with sessions here, where they are, and whether one publishes it. One that is still asking its
    /// origin counts: it may have been placed without the store, and nobody asks again when it is joined.
    pub(crate) fn held(&self) -> Vec<(PlacementKey, OriginId, bool)> {
        lock(&self.shares).held()
    }

    /// Where the sessions of a stream are, if it has some here.
    pub(crate) fn holding(&self, key: &str) -> Option<(PlacementKey, OriginId)> {
        let shares = lock(&self.shares);
        let (key, held) = shares.named(key)?;
        let origin = held.origin.clone().filter(|_| held.holders() > 0)?;
        Some((key.clone(), origin))
    }

    /// What is known of a placement, whether or not its origin is; for people.
    pub fn claim_of(&self, key: &PlacementKey) -> Option<ClaimRow> {
        let shares = lock(&self.shares);
        let kept = shares.kept(now(), key.as_str())?;
        let held = shares.of(key.as_str());
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
        lock(&self.shares).is_published(key.as_str())
    }

    /// Whether a publisher of the stream left an origin within `lately`: the origin may not have noticed yet.
    pub(crate) fn unpublished_within(&self, key: &PlacementKey, lately: Duration) -> bool {
        lock(&self.shares).unpublished_within(now(), key.as_str(), lately)
    }

    /// Whether the stream has sessions besides one.
    pub(crate) fn is_shared(&self, key: &PlacementKey) -> bool {
        self.holders(key) > 1
    }

    /// How many sessions the stream has, and pulls for them.
    pub(crate) fn holders(&self, key: &PlacementKey) -> usize {
        let shares = lock(&self.shares);
        shares.of(key.as_str()).map_or(0, Held::holders)
    }

    /// Source addresses with claims that no publisher confirmed.
    pub fn claiming_sources(&self) -> usize {
        lock(&self.shares).claiming_sources()
    }

    /// Placements with their sessions here.
    pub fn placements(&self) -> Vec<PlacementRow> {
        let shares = lock(&self.shares);
        let rows = shares.placements(now()).into_iter();
        rows.map(|(key, origin)| {
            let held = shares.of(&key);
            PlacementRow {
                origin,
                sessions: held.map_or(0, |held| held.sessions),
                publishers: held.map_or(0, |held| held.publishers),
                key,
            }
        })
        .collect()
    }

    /// Forgets streams whose claims ran out; says how many are left.
    pub(super) fn forget_ended(&self) -> usize {
        lock(&self.shares).forget_ended(now(), SWEPT_AT_ONCE)
    }
}

/// Streams without a session that one sweep looks at: a few milliseconds.
const SWEPT_AT_ONCE: usize = 10_000;
