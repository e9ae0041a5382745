//! Who has a share in a stream's placement through one proxy, where that placement stands there, and what origins bear of
//! it: who may claim a stream, keep it, take it elsewhere, and when nobody does any more.
//!
//! A *share* is a session's, a pull's or an operator's who looks. While one lives, the claim stands. What a store says that
//! proxies share is [`claiming`](crate::cluster::claiming)'s; here is what one proxy goes by, also while that is away.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cluster::keys::{Claim, Keys, Unexpired};
use crate::fleet::attributes::Attributes;
use crate::fleet::origin::OriginId;
use crate::place::leg::LegEnd;
use crate::place::placement::Usage;
use crate::stream::{Action, PlacementKey};

/// How long claims live, and how many one client may cause.
#[derive(Debug, Clone)]
pub struct ClaimLimits {
    /// A claim ends this long after its last session.
    pub lifetime: Duration,
    /// Claims without a publisher that one source address may hold.
    pub per_source: usize,
}

/// The placements that one proxy knows, and the shares in them. Every method takes the time; nothing here reads a clock.
#[derive(Debug)]
pub struct Shares {
    placements: Keys,
    streams: HashMap<PlacementKey, Held>,
    by_origin: HashMap<OriginId, Usage>,
    by_source: HashMap<IpAddr, usize>,
    /// Streams without a share whose claims run out, each once.
    leaving: VecDeque<PlacementKey>,
    limits: ClaimLimits,
}

/// The shares in one stream.
#[derive(Debug, Default)]
pub struct Held {
    /// Sessions of it.
    pub sessions: usize,
    /// Pulls of it that are made for the sessions, and operators who look at it.
    pulls: usize,
    /// Those of the sessions that watch a pull, so that they ask for no leg.
    watching: usize,
    /// Those of the sessions that publish, or want to.
    pub publishers: usize,
    /// Publishers that an origin has taken.
    pub published: usize,
    /// Where it is.
    pub origin: Option<OriginId>,
    /// Legs to that origin, of these sessions or for them.
    legs: usize,
    /// In words, the decision the stream was placed by.
    pub why: Arc<str>,
    /// A session was joined, so that the claim outlives the sessions.
    joined: bool,
    /// When the last publisher that an origin had taken left it.
    unpublished_at: Option<Instant>,
    /// It is among those that leave.
    leaving: bool,
    /// The source address whose play caused the claim; `None` once a publisher, or media from the origin, has shown that the
    /// stream exists.
    claimed_by: Option<IpAddr>,
}

/// One share in a placement. It goes [back](Shares::give_back) when its owner needs it no more.
#[derive(Debug)]
pub struct Share {
    key: PlacementKey,
    action: Action,
    /// It is a pull's or an operator's who looks, and no client's.
    is_ours: bool,
    watches: bool,
    joined: bool,
    /// A leg to the stream's origin is reserved for it.
    has_leg: bool,
    /// The origin ended the last leg, so that it knows.
    was_left: bool,
}

/// A claim, as it stands after somebody made it or tried to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What stands.
    pub claim: Claim,
    /// The stream was elsewhere before, or nowhere.
    pub moves: bool,
}

/// The origin to be claimed holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRoom;

/// Why the claim of a stream that is published does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotClaimed {
    /// It stands for this origin.
    For(OriginId),
    /// The other origin holds as much as it may.
    NoRoom,
}

/// One source address made too many claims that no publisher confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyClaims;

impl Shares {
    /// Of nothing.
    pub fn new(limits: ClaimLimits) -> Self {
        Self {
            placements: Keys::default(),
            streams: HashMap::new(),
            by_origin: HashMap::new(),
            by_source: HashMap::new(),
            leaving: VecDeque::new(),
            limits,
        }
    }

    /// A session's share in the placement of its stream.
    ///
    /// # Errors
    /// [`TooManyClaims`] for a player of a stream that nobody knows, whose address waits for too many of those already.
    pub fn take(
        &mut self,
        now: Instant,
        key: &PlacementKey,
        action: Action,
        source: IpAddr,
    ) -> Result<Share, TooManyClaims> {
        // All sessions of a stream share the text of its name.
        let shared = self.streams.get_key_value(key);
        let shared = shared.map(|(key, _)| key.clone());
        let known = shared.is_some();
        let key = shared.unwrap_or_else(|| key.clone());
        let source = network_of(source);
        if !known && action == Action::Play {
            let claims = self.by_source.get(&source).copied().unwrap_or(0);
            if claims >= self.limits.per_source {
                return Err(TooManyClaims);
            }
            self.by_source.insert(source, claims + 1);
        }
        if known {
            self.placements.renew(now, key.as_str(), IN_USE);
        }
        let held = self.streams.entry(key.clone()).or_default();
        held.sessions += 1;
        match action {
            Action::Play if !known => held.claimed_by = Some(source),
            Action::Play => {}
            Action::Publish => held.publishers += 1,
        }
        Ok(Share::new(key, action, false))
    }

    /// The share of a pull, for sessions that have one; or of an operator who looks at the stream, who needs none.
    pub fn take_for_ourselves(&mut self, key: &PlacementKey) -> Share {
        self.streams.entry(key.clone()).or_default().pulls += 1;
        Share::new(key.clone(), Action::Play, true)
    }

    /// A share is over, and with it its leg. With the last one the claim begins to run out, or is gone if nobody ever got the
    /// stream there.
    pub fn give_back(&mut self, now: Instant, share: &mut Share) {
        let key = &share.key;
        let Some(held) = self.streams.get_mut(key) else {
            return;
        };
        if share.is_ours {
            held.pulls -= 1;
        } else {
            held.sessions -= 1;
        }
        if share.watches {
            held.watching -= 1;
        }
        if share.action == Action::Publish {
            held.publishers -= 1;
            if share.joined {
                held.published -= 1;
                if !share.was_left {
                    held.unpublished_at = Some(now);
                }
            }
        }
        if held.holders() > 0 {
            return;
        }
        if held.joined {
            // The claim lives on for its lifetime from here, so that a reconnecting encoder finds its origin.
            self.placements
                .renew(now, key.as_str(), self.limits.lifetime);
            if !held.leaving {
                held.leaving = true;
                self.leaving.push_back(key.clone());
            }
        } else {
            // Nobody ever got the stream there: the claim says nothing, and would count against its source.
            self.placements.release(key.as_str());
            self.forget(&share.key);
        }
    }

    /// A session is served from a pull, so that it asks for no leg of its own; or it is not any more.
    pub fn watch(&mut self, share: &mut Share, watches: bool) {
        if share.watches == watches {
            return;
        }
        share.watches = watches;
        if let Some(held) = self.streams.get_mut(&share.key) {
            if watches {
                held.watching += 1;
            } else {
                held.watching -= 1;
            }
        }
    }

    /// Claims the stream for `origin`, from `expected`, and says what stands. A claim under a publisher that is joined
    /// through this proxy does not move: its players would be sent to where it is not. `why` is kept with a claim
    /// that changes. A claim that is won reserves a leg to the origin, if none is reserved; [`Shares::end_leg`] and the end
    /// of the share release it. `limits`: those of the origin, where they count.
    ///
    /// # Errors
    /// [`NoRoom`] when that would be more than the origin may hold. The count is taken where the claim is made, so
    /// that of two who come at once only one gets the last place.
    pub fn claim(
        &mut self,
        now: Instant,
        share: &mut Share,
        (expected, origin): (Option<&OriginId>, &OriginId),
        limits: Option<&Attributes>,
        why: &str,
    ) -> Result<Made, NoRoom> {
        let key = &share.key;
        if limits.is_some_and(|limits| !self.has_room(key, origin, limits, share.has_leg)) {
            return Err(NoRoom);
        }
        let held = self.streams.get(key);
        let published = held.is_some_and(|held| held.published > 0);
        let expected = if published { Some(origin) } else { expected };
        let claim = self.placements.claim(
            now,
            key.as_str(),
            expected.map(OriginId::as_str),
            origin.as_str(),
            IN_USE,
        );
        let moves = claim.won && held.is_none_or(|held| held.origin.as_ref() != Some(origin));
        if !claim.won {
            return Ok(Made { claim, moves });
        }
        self.assign(key, origin);
        if moves && let Some(held) = self.streams.get_mut(key) {
            held.why = why.into();
        }
        if !std::mem::replace(&mut share.has_leg, true) {
            self.count_leg(&share.key);
        }
        Ok(Made { claim, moves })
    }

    /// The leg that was reserved is over: false if none was. The origin has room for another, and the session goes on without
    /// one, or ends.
    pub fn end_leg(&mut self, share: &mut Share, end: LegEnd) -> bool {
        if !std::mem::take(&mut share.has_leg) {
            return false;
        }
        share.was_left = matches!(end, LegEnd::Closed | LegEnd::Refused);
        self.discount_leg(&share.key);
        true
    }

    /// The origin that had taken the publisher is lost, and the publisher stays: the stream may be claimed for another.
    pub fn lose_origin(&mut self, now: Instant, share: &mut Share) {
        if share.action != Action::Publish || !std::mem::take(&mut share.joined) {
            return;
        }
        if let Some(held) = self.streams.get_mut(&share.key) {
            held.published -= 1;
            held.unpublished_at = Some(now);
        }
    }

    /// `origin` took the session: its claim will outlive it, and a publisher makes it durable.
    ///
    /// # Errors
    /// Where the stream is now, when the claim moved while the origin was asked.
    pub fn join(
        &mut self,
        now: Instant,
        share: &mut Share,
        origin: &OriginId,
    ) -> Result<(), OriginId> {
        let id = origin.as_str();
        let claim = self
            .placements
            .claim(now, share.key.as_str(), Some(id), id, IN_USE);
        if !claim.won {
            return Err(OriginId::from(claim.value));
        }
        let Some(held) = self.streams.get_mut(&share.key) else {
            return Ok(());
        };
        if std::mem::replace(&mut share.joined, true) {
            return Ok(());
        }
        held.joined = true;
        if share.action == Action::Publish {
            held.published += 1;
            if let Some(source) = held.claimed_by.take() {
                self.release_source(source);
            }
        }
        Ok(())
    }

    /// Media of these streams came from their origins: nobody waits for them, so their claims count for no source any more.
    pub fn exist<'a>(&mut self, keys: impl IntoIterator<Item = &'a PlacementKey>) {
        for key in keys {
            let held = self.streams.get_mut(key);
            if let Some(source) = held.and_then(|held| held.claimed_by.take()) {
                self.release_source(source);
            }
        }
    }

    /// Makes the claim on a stream last as if a player of it had come and gone; false if nobody was joined to it.
    pub fn keep_claim(&mut self, now: Instant, key: &PlacementKey) -> bool {
        let Some(held) = self.streams.get(key) else {
            return false;
        };
        // While somebody holds it, it lasts.
        if held.holders() == 0 && held.joined {
            self.placements
                .renew(now, key.as_str(), self.limits.lifetime);
        }
        held.joined
    }

    /// Moves the claim of a stream whose publisher both origins have taken, and with it all its legs. `limits`: those of the
    /// other origin, where they count.
    ///
    /// # Errors
    /// [`NotClaimed`]; nothing has changed then.
    pub fn move_claim(
        &mut self,
        now: Instant,
        key: &PlacementKey,
        (from, to): (&OriginId, &OriginId),
        limits: Option<&Attributes>,
        why: &str,
    ) -> Result<(), NotClaimed> {
        if limits.is_some_and(|limits| !self.has_room(key, to, limits, true)) {
            return Err(NotClaimed::NoRoom);
        }
        self.reassign(now, key, (from, to), why)
            .map_err(NotClaimed::For)
    }

    /// The same for the way back, where there is always room.
    ///
    /// # Errors
    /// Where the claim has gone meanwhile; `from` itself where it is over, and nobody has a share in the stream.
    pub fn reassign(
        &mut self,
        now: Instant,
        key: &PlacementKey,
        (from, to): (&OriginId, &OriginId),
        why: &str,
    ) -> Result<(), OriginId> {
        let held = self.streams.get(key.as_str());
        // Without a share in it, it runs out as it would have.
        let lifetime = match held.is_some_and(|held| held.holders() > 0) {
            true => IN_USE,
            false => self.left(now, key.as_str()).ok_or_else(|| from.clone())?,
        };
        let claim = self.placements.claim(
            now,
            key.as_str(),
            Some(from.as_str()),
            to.as_str(),
            lifetime,
        );
        if !claim.won {
            return Err(OriginId::from(claim.value));
        }
        self.assign(key, to);
        if let Some(held) = self.streams.get_mut(key) {
            held.why = why.into();
        }
        Ok(())
    }

    /// A stream with shares here is placed at `origin`, whatever was known of it. Of others nothing has to be known.
    pub fn placed(&mut self, now: Instant, key: &PlacementKey, origin: &OriginId) {
        let held = self.streams.get(key.as_str());
        if held.is_some_and(|held| held.holders() > 0) {
            self.placements
                .set(now, key.as_str(), origin.as_str(), IN_USE);
            self.assign(key, origin);
        }
    }

    /// A stream is placed nowhere that is known of, unless sessions of it are here.
    pub fn unplaced(&mut self, key: &PlacementKey) {
        // The one who asks is a session already.
        if self
            .streams
            .get(key)
            .is_none_or(|held| held.askers() <= 1 && held.published == 0)
        {
            self.placements.release(key.as_str());
        }
    }

    /// The value of a placement, though its origin may be gone: what a claim has to expect.
    pub fn claimed(&self, now: Instant, key: &str) -> Option<OriginId> {
        self.placements.get(now, key).map(OriginId::from)
    }

    /// Where a stream is claimed; or was last, while sessions of it are here. A claim is taken back that names an origin of which
    /// nothing is known, and its sessions are where they were.
    pub fn last_claimed(&self, now: Instant, key: &str) -> Option<OriginId> {
        let held = || self.streams.get(key).filter(|held| held.holders() > 0);
        self.claimed(now, key)
            .or_else(|| held().and_then(|held| held.origin.clone()))
    }

    /// What is known of a placement.
    pub fn kept(&self, now: Instant, key: &str) -> Option<Unexpired> {
        self.placements.kept(now, key)
    }

    /// How long a claim still lives, if it does.
    pub fn left(&self, now: Instant, key: &str) -> Option<Duration> {
        self.placements.left(now, key)
    }

    /// Every placement, as its key and its origin, in no order.
    pub fn placements(&self, now: Instant) -> Vec<(String, String)> {
        self.placements.list(now)
    }

    /// The shares in a stream, if there are some or were some lately.
    pub fn of(&self, key: &str) -> Option<&Held> {
        self.streams.get(key)
    }

    /// The name of a stream as its sessions share it, and the shares in it.
    pub fn named(&self, key: &str) -> Option<(&PlacementKey, &Held)> {
        self.streams.get_key_value(key)
    }

    /// Every stream with shares, and those of which there were some lately.
    pub fn streams(&self) -> impl Iterator<Item = (&PlacementKey, &Held)> {
        self.streams.iter()
    }

    /// Every stream with shares, where it is, and whether a session of it publishes. One that is still asking its
    /// origin counts: it may have been placed without the store, and nobody asks again when it is joined.
    pub fn held(&self) -> Vec<(PlacementKey, OriginId, bool)> {
        let held = self.streams.iter().filter(|(_, held)| held.holders() > 0);
        held.filter_map(|(key, held)| {
            Some((key.clone(), held.origin.clone()?, held.publishers > 0))
        })
        .collect()
    }

    /// Whether a publisher of the stream is joined through this proxy. One that is still being set up is not.
    pub fn is_published(&self, key: &str) -> bool {
        self.streams.get(key).is_some_and(|held| held.published > 0)
    }

    /// Whether a publisher of the stream left an origin within `lately`: the origin may not have noticed yet.
    pub fn unpublished_within(&self, now: Instant, key: &str, lately: Duration) -> bool {
        let held = self.streams.get(key);
        held.and_then(|held| held.unpublished_at)
            .is_some_and(|at| now.saturating_duration_since(at) < lately)
    }

    /// What an origin bears.
    pub fn usage(&self, origin: &OriginId) -> Usage {
        self.by_origin.get(origin).copied().unwrap_or_default()
    }

    /// What all origins bear that bear something.
    pub fn usages(&mut self) -> impl Iterator<Item = (&OriginId, &mut Usage)> {
        self.by_origin.iter_mut()
    }

    /// Legs to all origins.
    pub fn legs(&self) -> usize {
        self.by_origin.values().map(|usage| usage.legs).sum()
    }

    /// Source addresses with claims that no publisher confirmed.
    pub fn claiming_sources(&self) -> usize {
        self.by_source.len()
    }

    /// Placements that name `from` now name `to`.
    pub fn rename(&mut self, now: Instant, from: &OriginId, to: &OriginId) {
        self.placements.rename(now, from.as_str(), to.as_str());
        for held in self.streams.values_mut() {
            if held.origin.as_ref() == Some(from) {
                held.origin = Some(to.clone());
            }
        }
        if let Some(moved) = self.by_origin.remove(from) {
            let usage = self.by_origin.entry(to.clone()).or_default();
            usage.streams += moved.streams;
            usage.legs += moved.legs;
            usage.kbps += moved.kbps;
        }
    }

    /// Forgets streams whose claims ran out, and looks at `most` of them; says how many are left. A claim that ran out counts
    /// for nobody, so that those which are not looked at this time do no harm.
    pub fn forget_ended(&mut self, now: Instant, most: usize) -> usize {
        for _ in 0..self.leaving.len().min(most) {
            let Some(key) = self.leaving.pop_front() else {
                break;
            };
            let Some(held) = self.streams.get_mut(&key) else {
                continue;
            };
            if held.holders() > 0 {
                held.leaving = false;
            } else if self.placements.get(now, key.as_str()).is_some() {
                self.leaving.push_back(key);
            } else {
                self.placements.release(key.as_str());
                self.forget(&key);
            }
        }
        self.placements.len()
    }

    fn assign(&mut self, key: &PlacementKey, origin: &OriginId) {
        let Some(held) = self.streams.get_mut(key) else {
            return;
        };
        let previous = held.origin.replace(origin.clone());
        if previous.as_ref() == Some(origin) {
            return;
        }
        let legs = held.legs;
        let usage = self.by_origin.entry(origin.clone()).or_default();
        usage.streams += 1;
        usage.legs += legs;
        self.release_origin(previous, legs);
    }

    fn forget(&mut self, key: &PlacementKey) {
        if self.streams.get(key).is_none_or(|held| held.holders() > 0) {
            return;
        }
        let Some(held) = self.streams.remove(key) else {
            return;
        };
        self.release_origin(held.origin, held.legs);
        if let Some(source) = held.claimed_by {
            self.release_source(source);
        }
    }

    /// Whether `origin` has room for a leg of the stream, if that is not counted yet, and for the stream if that is
    /// not there yet.
    fn has_room(
        &self,
        key: &PlacementKey,
        origin: &OriginId,
        limits: &Attributes,
        has_leg: bool,
    ) -> bool {
        let usage = self.usage(origin);
        let held = self.streams.get(key);
        let is_there = held.is_some_and(|held| held.origin.as_ref() == Some(origin));
        let coming = match held {
            Some(_) if is_there => usize::from(!has_leg),
            held => held.map_or(0, |held| held.legs) + usize::from(!has_leg),
        };
        let within =
            |count: usize, most: Option<u32>| most.is_none_or(|most| count <= most as usize);
        (is_there || within(usage.streams + 1, limits.max_streams))
            && (coming == 0 || within(usage.legs + coming, limits.max_sessions))
    }

    fn count_leg(&mut self, key: &PlacementKey) {
        if let Some(held) = self.streams.get_mut(key) {
            held.legs += 1;
            let usage = held
                .origin
                .as_ref()
                .and_then(|origin| self.by_origin.get_mut(origin));
            if let Some(usage) = usage {
                usage.legs += 1;
            }
        }
    }

    fn discount_leg(&mut self, key: &PlacementKey) {
        if let Some(held) = self.streams.get_mut(key) {
            held.legs -= 1;
            let usage = held
                .origin
                .as_ref()
                .and_then(|origin| self.by_origin.get_mut(origin));
            if let Some(usage) = usage {
                usage.legs -= 1;
            }
        }
    }

    fn release_origin(&mut self, origin: Option<OriginId>, legs: usize) {
        let Some(origin) = origin else { return };
        if let Some(usage) = self.by_origin.get_mut(&origin) {
            usage.streams -= 1;
            usage.legs -= legs;
            if usage.streams == 0 {
                self.by_origin.remove(&origin);
            }
        }
    }

    fn release_source(&mut self, source: IpAddr) {
        if let Some(count) = self.by_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl Held {
    /// Sessions and pulls: what keeps the claim alive.
    pub const fn holders(&self) -> usize {
        self.sessions + self.pulls
    }

    /// Those of them that ask the origin for a leg.
    const fn askers(&self) -> usize {
        self.holders() - self.watching
    }
}

impl Share {
    const fn new(key: PlacementKey, action: Action, is_ours: bool) -> Self {
        Self {
            key,
            action,
            is_ours,
            watches: false,
            joined: false,
            has_leg: false,
            was_left: false,
        }
    }

    /// The name under which the stream is placed.
    pub const fn key(&self) -> &PlacementKey {
        &self.key
    }
}

/// The address whose claims are counted together: an IPv6 subscriber has a whole /64.
fn network_of(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// How long a claim lives that a session holds: longer than any session. What ends the last one says how long is left.
const IN_USE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::{StreamUrl, VhostRule};

    const MINUTE: Duration = Duration::from_secs(60);

    #[allow(clippy::disallowed_methods, reason = "any moment will do for a start")]
    fn start() -> Instant {
        Instant::now()
    }

    fn shares() -> (Shares, PlacementKey) {
        let shares = Shares::new(ClaimLimits {
            lifetime: MINUTE,
            per_source: 9,
        });
        let stream = StreamUrl::new("", "live", "a").unwrap();
        (shares, VhostRule::Ignored.key(&stream))
    }

    fn publisher(shares: &mut Shares, now: Instant, key: &PlacementKey, origin: &str) -> Share {
        let source = "192.0.2.1".parse().unwrap();
        let mut share = shares.take(now, key, Action::Publish, source).unwrap();
        let origin = OriginId::from(origin);
        let made = shares.claim(now, &mut share, (None, &origin), None, "");
        assert!(made.unwrap().claim.won);
        shares.join(now, &mut share, &origin).unwrap();
        share
    }

    #[test]
    fn the_claim_of_a_publisher_that_left_in_the_middle_of_a_move_goes_back_and_runs_out() {
        let ((mut shares, key), start) = (shares(), start());
        let (one, two) = (OriginId::from("one"), OriginId::from("two"));
        let mut share = publisher(&mut shares, start, &key, "one");
        let moved = shares.move_claim(start, &key, (&one, &two), None, "");
        assert_eq!(moved, Ok(()));
        shares.give_back(start, &mut share);
        assert_eq!(shares.reassign(start, &key, (&two, &one), ""), Ok(()));
        assert_eq!(shares.claimed(start, key.as_str()), Some(one));
        assert_eq!(shares.left(start, key.as_str()), Some(MINUTE));
        assert_eq!(shares.forget_ended(start + MINUTE, 9), 0);
    }

    #[test]
    fn a_claim_that_is_over_does_not_go_back() {
        let ((mut shares, key), start) = (shares(), start());
        let (one, two) = (OriginId::from("one"), OriginId::from("two"));
        let mut share = publisher(&mut shares, start, &key, "one");
        let moved = shares.move_claim(start, &key, (&one, &two), None, "");
        assert_eq!(moved, Ok(()));
        shares.give_back(start, &mut share);
        let now = start + MINUTE;
        assert_eq!(shares.forget_ended(now, 9), 0);
        let back = shares.reassign(now, &key, (&two, &one), "");
        assert_eq!(back, Err(two), "nobody has a share in it");
        assert_eq!(shares.forget_ended(now, 9), 0, "nothing stays behind");
    }

    #[test]
    fn sessions_are_where_they_were_when_their_claim_is_taken_back() {
        let ((mut shares, key), start) = (shares(), start());
        let source = "192.0.2.1".parse().unwrap();
        let mut player = shares.take(start, &key, Action::Play, source).unwrap();
        assert_eq!(shares.last_claimed(start, key.as_str()), None);
        let one = OriginId::from("one");
        let made = shares.claim(start, &mut player, (None, &one), None, "");
        assert!(made.unwrap().claim.won);
        shares.join(start, &mut player, &one).unwrap();
        shares.unplaced(&key);
        assert_eq!(shares.claimed(start, key.as_str()), None);
        assert_eq!(shares.last_claimed(start, key.as_str()), Some(one));
        shares.give_back(start, &mut player);
        assert_eq!(shares.last_claimed(start, key.as_str()), None);
    }

    #[test]
    fn a_claim_does_not_move_under_a_publisher() {
        let ((mut shares, key), start) = (shares(), start());
        let (one, two) = (OriginId::from("one"), OriginId::from("two"));
        let mut first = publisher(&mut shares, start, &key, "one");
        let source = "192.0.2.1".parse().unwrap();
        let mut player = shares.take(start, &key, Action::Play, source).unwrap();
        let mut goes = |shares: &mut Shares| {
            let made = shares.claim(start, &mut player, (Some(&one), &two), None, "");
            made.unwrap().claim
        };
        assert_eq!(goes(&mut shares).value, "one");
        shares.lose_origin(start, &mut first);
        assert_eq!(goes(&mut shares).value, "two");
    }
}
