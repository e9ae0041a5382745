//! Shares in the placements of streams, as sessions have them. What becomes of a placement is decided by
//! [`Shares`](sluicegate_core::place::shares).

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use sluicegate_core::cluster::keys::Claim;
use sluicegate_core::fleet::attributes::Attributes;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::shares::{Made, NoRoom, NotClaimed, Share, TooManyClaims};
use sluicegate_core::stream::{Action, PlacementKey};

use super::{Registry, lock, now};
use crate::metrics::{OutcomeLabel, ReasonLabel};

/// A share in a placement, of a session, of a pull or of a look at the stream: while one lives, the claim stands.
#[derive(Debug)]
pub(crate) struct PlacementGuard {
    registry: Arc<Registry>,
    key: PlacementKey,
    // A std mutex: it is held for a line, and always before that of the registry's shares.
    share: Mutex<Share>,
    /// The origin that the stream was claimed for when one agreed to this session. It may have sent this one on to another.
    agreed: Mutex<Option<OriginId>>,
}

impl Registry {
    /// Joins a session to the placement of its stream.
    pub(crate) fn hold(
        self: &Arc<Self>,
        key: &PlacementKey,
        action: Action,
        source: IpAddr,
    ) -> Result<PlacementGuard, TooManyClaims> {
        let share = lock(&self.shares).take(now(), key, action, source)?;
        Ok(self.guard(share))
    }

    /// Joins a pull to the placement of its stream, for sessions that hold it; or an operator who looks at it, who holds
    /// nothing.
    pub(crate) fn hold_for_ourselves(self: &Arc<Self>, key: &PlacementKey) -> PlacementGuard {
        let share = lock(&self.shares).take_for_ourselves(key);
        self.guard(share)
    }

    fn guard(self: &Arc<Self>, share: Share) -> PlacementGuard {
        PlacementGuard {
            registry: Arc::clone(self),
            key: share.key().clone(),
            share: Mutex::new(share),
            agreed: Mutex::default(),
        }
    }

    /// Media of these streams came from their origins: nobody waits for them, so their claims count for no source any more.
    pub(crate) fn exist<'a>(&self, keys: impl IntoIterator<Item = &'a PlacementKey>) {
        lock(&self.shares).exist(keys);
    }

    /// Makes the claim on a stream last as if a player of it had come and gone; false if nobody was joined to it.
    pub(crate) fn keep_claim(&self, key: &PlacementKey) -> bool {
        lock(&self.shares).keep_claim(now(), key)
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
        let limits = self.limits_of(to);
        let mut shares = lock(&self.shares);
        shares.move_claim(now(), key, (from, to), limits.as_deref(), why)?;
        self.placer.turns.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// The same for the way back, where there is always room. False if the claim has gone elsewhere.
    pub(crate) fn return_claim(
        &self,
        key: &PlacementKey,
        from: &OriginId,
        to: &OriginId,
        why: &str,
    ) -> bool {
        let returned = lock(&self.shares).reassign(now(), key, (from, to), why);
        if returned.is_ok() {
            self.placer.turns.fetch_add(1, Ordering::Relaxed);
        }
        returned.is_ok()
    }

    /// What an origin may hold, where that counts.
    fn limits_of(&self, origin: &OriginId) -> Option<Arc<Attributes>> {
        if self.placer.rules.overflow {
            return None;
        }
        let fleet = lock(&self.fleet);
        let member = fleet.member(origin)?;
        Some(Arc::clone(&member.origin.attributes))
    }
}

impl PlacementGuard {
    /// The name under which the stream is placed.
    pub(crate) const fn key(&self) -> &PlacementKey {
        &self.key
    }

    /// The session is served from a pull, so that it asks for no leg of its own; or it is not any more.
    pub(crate) fn watch(&self, watches: bool) {
        let mut share = lock(&self.share);
        lock(&self.registry.shares).watch(&mut share, watches);
    }

    /// Claims the stream for `origin`, from `expected`, and says what stands: [`Shares::claim`].
    ///
    /// # Errors
    /// [`NoRoom`] when that would be more than the origin may hold.
    ///
    /// [`Shares::claim`]: sluicegate_core::place::shares::Shares::claim
    pub(crate) fn claim(
        &self,
        expected: Option<&OriginId>,
        origin: &OriginId,
        why: &str,
    ) -> Result<Claim, NoRoom> {
        let registry = &self.registry;
        let limits = registry.limits_of(origin);
        let claimed = {
            let mut share = lock(&self.share);
            let mut shares = lock(&registry.shares);
            let goes = (expected, origin);
            shares.claim(now(), &mut share, goes, limits.as_deref(), why)
        };
        let Made { claim, moves } = claimed?;
        let outcome = if claim.won { "won" } else { "lost" };
        let claims = &registry.metrics.claims;
        claims.get_or_create(&OutcomeLabel { outcome }).inc();
        if moves {
            registry.placer.turns.fetch_add(1, Ordering::Relaxed);
        }
        Ok(claim)
    }

    /// The leg that was reserved is over. The origin has room for another, and the session goes on without one, or
    /// ends.
    pub(crate) fn end_leg(&self, end: LegEnd) {
        let ended = {
            let mut share = lock(&self.share);
            lock(&self.registry.shares).end_leg(&mut share, end)
        };
        if ended {
            let label = ReasonLabel {
                reason: end.as_str(),
            };
            let ended = &self.registry.metrics.legs_ended;
            ended.get_or_create(&label).inc();
        }
    }

    /// The origin that had taken the publisher is lost, and the publisher stays: the stream may be claimed for another.
    pub(crate) fn lose_origin(&self) {
        let mut share = lock(&self.share);
        lock(&self.registry.shares).lose_origin(now(), &mut share);
    }

    /// `origin` took the session: its claim will outlive it, and a publisher makes it durable.
    ///
    /// # Errors
    /// Where the stream is now, when the claim moved while the origin was asked.
    pub(crate) fn join(&self, origin: &OriginId) -> Result<(), OriginId> {
        let mut share = lock(&self.share);
        lock(&self.registry.shares).join(now(), &mut share, origin)?;
        *lock(&self.agreed) = Some(origin.clone());
        Ok(())
    }

    /// Where the stream is, if it was placed elsewhere since an origin agreed to this session.
    pub(crate) fn placed_since(&self) -> Option<OriginId> {
        let there = self.registry.claimed(&self.key)?;
        let agreed = lock(&self.agreed);
        agreed
            .as_ref()
            .is_some_and(|agreed| *agreed != there)
            .then_some(there)
    }
}

impl Drop for PlacementGuard {
    fn drop(&mut self) {
        self.end_leg(LegEnd::Released);
        let mut share = lock(&self.share);
        lock(&self.registry.shares).give_back(now(), &mut share);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use sluicegate_core::fleet::Fleet;
    use sluicegate_core::fleet::health::Rules;
    use sluicegate_core::place::policy;
    use sluicegate_core::place::shares::ClaimLimits;
    use sluicegate_core::stream::{StreamUrl, VhostRule};

    use super::*;
    use crate::metrics::Metrics;
    use crate::placer::Placer;

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
