//! Who holds a stream here: sessions, their share in its placement, and what origins bear of them.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sluicegate_core::fleet::attributes::Attributes;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::placement::Usage;
use sluicegate_core::stream::{Action, PlacementKey};

use super::{Registry, lock};
use crate::metrics::{OutcomeLabel, ReasonLabel};
use crate::store::Claim;

/// Which streams have sessions here, and where.
#[derive(Debug, Default)]
pub(super) struct Holds {
    pub(super) streams: HashMap<PlacementKey, Held>,
    pub(super) by_origin: HashMap<OriginId, Usage>,
    pub(super) by_source: HashMap<IpAddr, usize>,
    /// Streams without a session whose claims run out, each once.
    pub(super) leaving: VecDeque<PlacementKey>,
}

#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) sessions: usize,
    /// Pulls of it that are made for the sessions, and operators who look at it.
    pub(super) pulls: usize,
    /// Those of the sessions that watch a pull, so that they ask for no leg.
    pub(super) watching: usize,
    /// Those of the sessions that publish, or want to.
    pub(super) publishers: usize,
    /// Publishers that an origin has taken.
    pub(super) published: usize,
    pub(super) origin: Option<OriginId>,
    /// Legs to that origin, of these sessions or for them.
    pub(super) legs: usize,
    /// In words, the decision the stream was placed by.
    pub(super) why: Arc<str>,
    /// A session was joined, so that the claim outlives the sessions.
    pub(super) joined: bool,
    /// When the last publisher that an origin had taken left it.
    pub(super) unpublished_at: Option<Instant>,
    /// It is among those that leave.
    pub(super) leaving: bool,
    /// The source address whose play caused the claim; `None` once a publisher, or media from the origin, has shown that the
    /// stream exists.
    pub(super) claimed_by: Option<IpAddr>,
}

/// A share in a placement, of a session, of a pull or of a look at the stream: while one lives, the claim stands.
#[derive(Debug)]
pub(crate) struct PlacementGuard {
    registry: Arc<Registry>,
    key: PlacementKey,
    action: Action,
    /// It is a pull's or an operator's who looks, and no client's.
    is_ours: bool,
    watches: AtomicBool,
    joined: AtomicBool,
    /// A leg to the stream's origin is reserved for it.
    has_leg: AtomicBool,
    /// The origin ended the last leg, so that it knows.
    was_left: AtomicBool,
}

/// The origin to be claimed holds as much as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// Why the claim of a stream that is published does not move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotClaimed {
    /// It stands for this origin.
    For(OriginId),
    /// The other origin holds as much as it may.
    NoRoom,
}

/// One source address made too many claims that no publisher confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyClaims;

impl Registry {
    /// Joins a session to the placement of its stream.
    pub(crate) fn hold(
        self: &Arc<Self>,
        key: &PlacementKey,
        action: Action,
        source: IpAddr,
    ) -> Result<PlacementGuard, TooManyClaims> {
        let mut holds = lock(&self.holds);
        // All sessions of a stream share the text of its name.
        let shared = holds.streams.get_key_value(key);
        let shared = shared.map(|(key, _)| key.clone());
        let known = shared.is_some();
        let key = shared.unwrap_or_else(|| key.clone());
        let source = network_of(source);
        if !known && action == Action::Play {
            let claims = holds.by_source.get(&source).copied().unwrap_or(0);
            if claims >= self.limits.per_source {
                return Err(TooManyClaims);
            }
            holds.by_source.insert(source, claims + 1);
        }
        if known {
            self.placements.renew(key.as_str(), IN_USE);
        }
        let held = holds.streams.entry(key.clone()).or_default();
        held.sessions += 1;
        match action {
            Action::Play if !known => held.claimed_by = Some(source),
            Action::Play => {}
            Action::Publish => held.publishers += 1,
        }
        Ok(PlacementGuard {
            registry: Arc::clone(self),
            key,
            action,
            is_ours: false,
            watches: AtomicBool::new(false),
            joined: AtomicBool::new(false),
            has_leg: AtomicBool::new(false),
            was_left: AtomicBool::new(false),
        })
    }

    /// Media of these streams came from their origins: nobody waits for them, so their claims count for no source any more.
    pub(crate) fn exist<'a>(&self, keys: impl IntoIterator<Item = &'a PlacementKey>) {
        let mut holds = lock(&self.holds);
        for key in keys {
            let held = holds.streams.get_mut(key);
            if let Some(source) = held.and_then(|held| held.claimed_by.take()) {
                holds.release_source(source);
            }
        }
    }

    /// Makes the claim on a stream last as if a player of it had come and gone; false if nobody was joined to it.
    pub(crate) fn keep_claim(&self, key: &PlacementKey) -> bool {
        let holds = lock(&self.holds);
        let Some(held) = holds.streams.get(key) else {
            return false;
        };
        // While somebody holds it, it lasts.
        if held.holders() == 0 && held.joined {
            self.placements.renew(key.as_str(), self.limits.lifetime);
        }
        held.joined
    }

    /// Moves the claim of a stream whose publisher both origins have taken, and with it all its legs.
    ///
    /// # Errors
    /// [`NotClaimed`]; nothing has changed then.
    pub(crate) fn move_claim(
        &self,
        key: &PlacementKey,
        from: &OriginId,
        to: &OriginId,
        why: &str,
    ) -> Result<(), NotClaimed> {
        let limits = (!self.placer.rules.overflow)
            .then(|| self.member(to).map(|member| member.origin.attributes))
            .flatten();
        let mut holds = lock(&self.holds);
        if limits.is_some_and(|limits| !holds.has_room(key, to, &limits, true)) {
            return Err(NotClaimed::NoRoom);
        }
        self.reassign(&mut holds, key, (from, to), why)
            .map_err(NotClaimed::For)
    }

    /// The same for the way back, where there is always room. False if the claim has gone elsewhere.
    pub(crate) fn return_claim(
        &self,
        key: &PlacementKey,
        from: &OriginId,
        to: &OriginId,
        why: &str,
    ) -> bool {
        let mut holds = lock(&self.holds);
        self.reassign(&mut holds, key, (from, to), why).is_ok()
    }

    fn reassign(
        &self,
        holds: &mut Holds,
        key: &PlacementKey,
        (from, to): (&OriginId, &OriginId),
        why: &str,
    ) -> Result<(), OriginId> {
        let claim = self
            .placements
            .claim(key.as_str(), Some(from.as_str()), to.as_str(), IN_USE);
        if !claim.won {
            return Err(OriginId::from(claim.value));
        }
        holds.assign(key, to);
        self.placer.turns.fetch_add(1, Ordering::Relaxed);
        if let Some(held) = holds.streams.get_mut(key) {
            held.why = why.into();
        }
        Ok(())
    }

    /// Joins a pull to the placement of its stream, for sessions that hold it; or an operator who looks at it, who holds
    /// nothing.
    pub(crate) fn hold_for_ourselves(self: &Arc<Self>, key: &PlacementKey) -> PlacementGuard {
        let mut holds = lock(&self.holds);
        holds.streams.entry(key.clone()).or_default().pulls += 1;
        PlacementGuard {
            registry: Arc::clone(self),
            key: key.clone(),
            action: Action::Play,
            is_ours: true,
            watches: AtomicBool::new(false),
            joined: AtomicBool::new(false),
            has_leg: AtomicBool::new(false),
            was_left: AtomicBool::new(false),
        }
    }
}

impl Held {
    /// Sessions and pulls: what keeps the claim alive.
    pub(super) const fn holders(&self) -> usize {
        self.sessions + self.pulls
    }

    /// Those of them that ask the origin for a leg.
    pub(super) const fn askers(&self) -> usize {
        self.holders() - self.watching
    }
}

impl Holds {
    pub(super) fn assign(&mut self, key: &PlacementKey, origin: &OriginId) {
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

    pub(super) fn forget(&mut self, key: &PlacementKey) {
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

    pub(super) fn rename(&mut self, from: &OriginId, to: &OriginId) {
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

    /// Whether `origin` has room for a leg of the stream, if that is not counted yet, and for the stream if that is
    /// not there yet.
    fn has_room(
        &self,
        key: &PlacementKey,
        origin: &OriginId,
        limits: &Attributes,
        has_leg: bool,
    ) -> bool {
        let usage = self.by_origin.get(origin).copied().unwrap_or_default();
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

impl PlacementGuard {
    /// The name under which the stream is placed.
    pub(crate) const fn key(&self) -> &PlacementKey {
        &self.key
    }

    /// The session is served from a pull, so that it asks for no leg of its own; or it is not any more.
    pub(crate) fn watch(&self, watches: bool) {
        if self.watches.swap(watches, Ordering::Relaxed) == watches {
            return;
        }
        if let Some(held) = lock(&self.registry.holds).streams.get_mut(&self.key) {
            if watches {
                held.watching += 1;
            } else {
                held.watching -= 1;
            }
        }
    }

    /// Claims the stream for `origin`, from `expected`, and says what stands. A claim under a publisher that is joined
    /// through this proxy does not move: its players would be sent to where it is not. `why` is kept with a claim
    /// that changes. A claim that is won reserves a leg to the origin, if none is reserved; [`PlacementGuard::end_leg`] and the end
    /// of the session release it.
    ///
    /// # Errors
    /// [`NoRoom`] when that would be more than the origin may hold. The count is taken where the claim is made, so
    /// that of two who come at once only one gets the last place.
    pub(crate) fn claim(
        &self,
        expected: Option<&OriginId>,
        origin: &OriginId,
        why: &str,
    ) -> Result<Claim, NoRoom> {
        let registry = &self.registry;
        let limits = (!registry.placer.rules.overflow)
            .then(|| {
                lock(&registry.fleet)
                    .member(origin)
                    .map(|member| Arc::clone(&member.origin.attributes))
            })
            .flatten();
        let mut holds = lock(&registry.holds);
        let has_leg = self.has_leg.load(Ordering::Relaxed);
        if let Some(limits) = limits
            && !holds.has_room(&self.key, origin, &limits, has_leg)
        {
            return Err(NoRoom);
        }
        let held = holds.streams.get(&self.key);
        let published = held.is_some_and(|held| held.published > 0);
        let expected = if published {
            Some(origin.as_str())
        } else {
            expected.map(OriginId::as_str)
        };
        let claim = registry
            .placements
            .claim(self.key.as_str(), expected, origin.as_str(), IN_USE);
        let outcome = if claim.won { "won" } else { "lost" };
        let claims = &registry.metrics.claims;
        claims.get_or_create(&OutcomeLabel { outcome }).inc();
        if !claim.won {
            return Ok(claim);
        }
        let moves = held.is_none_or(|held| held.origin.as_ref() != Some(origin));
        holds.assign(&self.key, origin);
        if moves {
            registry.placer.turns.fetch_add(1, Ordering::Relaxed);
            if let Some(held) = holds.streams.get_mut(&self.key) {
                held.why = why.into();
            }
        }
        if !self.has_leg.swap(true, Ordering::Relaxed) {
            holds.count_leg(&self.key);
        }
        Ok(claim)
    }

    /// The leg that was reserved is over. The origin has room for another, and the session goes on without one, or
    /// ends.
    pub(crate) fn end_leg(&self, end: LegEnd) {
        if !self.has_leg.swap(false, Ordering::Relaxed) {
            return;
        }
        let was_left = matches!(end, LegEnd::Closed | LegEnd::Refused);
        self.was_left.store(was_left, Ordering::Relaxed);
        let label = ReasonLabel {
            reason: end.as_str(),
        };
        let ended = &self.registry.metrics.legs_ended;
        ended.get_or_create(&label).inc();
        lock(&self.registry.holds).discount_leg(&self.key);
    }

    /// The origin that had taken the publisher is lost, and the publisher stays: the stream may be claimed for another.
    pub(crate) fn lose_origin(&self) {
        if self.action != Action::Publish || !self.joined.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Some(held) = lock(&self.registry.holds).streams.get_mut(&self.key) {
            held.published -= 1;
            held.unpublished_at = Some(Instant::now());
        }
    }

    /// `origin` took the session: its claim will outlive it, and a publisher makes it durable.
    ///
    /// # Errors
    /// Where the stream is now, when the claim moved while the origin was asked.
    pub(crate) fn join(&self, origin: &OriginId) -> Result<(), OriginId> {
        let registry = &self.registry;
        let mut holds = lock(&registry.holds);
        let id = origin.as_str();
        let claim = registry
            .placements
            .claim(self.key.as_str(), Some(id), id, IN_USE);
        if !claim.won {
            return Err(OriginId::from(claim.value));
        }
        let Some(held) = holds.streams.get_mut(&self.key) else {
            return Ok(());
        };
        if self.joined.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        held.joined = true;
        if self.action == Action::Publish {
            held.published += 1;
            if let Some(source) = held.claimed_by.take() {
                holds.release_source(source);
            }
        }
        Ok(())
    }
}

impl Drop for PlacementGuard {
    fn drop(&mut self) {
        self.end_leg(LegEnd::Released);
        let registry = &self.registry;
        let mut locked = lock(&registry.holds);
        let holds = &mut *locked;
        let Some(held) = holds.streams.get_mut(&self.key) else {
            return;
        };
        if self.is_ours {
            held.pulls -= 1;
        } else {
            held.sessions -= 1;
        }
        if self.watches.load(Ordering::Relaxed) {
            held.watching -= 1;
        }
        if self.action == Action::Publish {
            held.publishers -= 1;
            if self.joined.load(Ordering::Relaxed) {
                held.published -= 1;
                if !self.was_left.load(Ordering::Relaxed) {
                    held.unpublished_at = Some(Instant::now());
                }
            }
        }
        if held.holders() > 0 {
            return;
        }
        if held.joined {
            // The claim lives on for its lifetime from here, so that a reconnecting encoder finds its origin.
            registry
                .placements
                .renew(self.key.as_str(), registry.limits.lifetime);
            if !held.leaving {
                held.leaving = true;
                holds.leaving.push_back(self.key.clone());
            }
        } else {
            // Nobody ever got the stream there: the claim says nothing, and would count against its source.
            registry.placements.release(self.key.as_str());
            holds.forget(&self.key);
        }
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
pub(super) const IN_USE: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sluicegate_core::fleet::Fleet;
    use sluicegate_core::fleet::health::Rules;
    use sluicegate_core::place::policy;
    use sluicegate_core::stream::{StreamUrl, VhostRule};

    use super::*;
    use crate::metrics::Metrics;
    use crate::placer::Placer;
    use crate::registry::ClaimLimits;

    #[test]
    fn a_leg_may_end_before_its_session_and_another_may_follow() {
        let metrics = Arc::new(Metrics::new());
        let limits = ClaimLimits {
            lifetime: Duration::from_secs(60),
            per_source: 9,
        };
        let fleet = Fleet::new(Duration::from_secs(60), 9, Rules::default());
        let placer = Placer::new(policy::by_name("rendezvous").unwrap());
        let registry = Arc::new(Registry::new(fleet, placer, limits, Arc::clone(&metrics)));
        let key = VhostRule::Ignored.key(&StreamUrl::new("", "live", "a").unwrap());
        let hold = || {
            let source = "192.0.2.1".parse().unwrap();
            registry.hold(&key, Action::Play, source).unwrap()
        };
        let (one, two) = (OriginId::from("one"), OriginId::from("two"));
        let legs = |id| registry.usage(id).legs;

        let (first, second) = (hold(), hold());
        assert_eq!(legs(&one), 0, "who only asks has no leg");
        assert!(first.claim(None, &one, "").unwrap().won);
        assert!(second.claim(Some(&one), &one, "").unwrap().won);
        assert!(second.claim(Some(&one), &one, "").unwrap().won);
        assert_eq!(legs(&one), 2, "one each, however often it is claimed");
        first.end_leg(LegEnd::Closed);
        first.end_leg(LegEnd::Reset);
        assert_eq!(legs(&one), 1, "an end counts once");
        assert_eq!(registry.claim_of(&key).unwrap().sessions, 2);
        assert!(first.claim(Some(&one), &two, "").unwrap().won);
        assert_eq!(
            (legs(&one), legs(&two)),
            (0, 2),
            "the stream moves with all its legs"
        );
        drop(first);
        drop(second);
        assert_eq!(legs(&two), 0);
        for (reason, count) in [
            (LegEnd::Closed, 1),
            (LegEnd::Reset, 0),
            (LegEnd::Released, 2),
        ] {
            let reason = reason.as_str();
            let ended = metrics.legs_ended.get_or_create(&ReasonLabel { reason });
            assert_eq!(ended.get(), count, "{reason}");
        }
    }
}
