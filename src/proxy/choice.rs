//! Which origin a session goes to: where its stream is, or where it should be. The sessions and the explanation of
//! a placement ask the same function.

use sluicegate_core::dialect::{Naming, Unsayable};
use sluicegate_core::fleet::State as OriginState;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::attempts::{Choice, GiveUp, Why};
use sluicegate_core::place::placement::{Decision, Reject};
use sluicegate_core::stream::{Action, PlacementKey, Protocol, StreamUrl};

use super::{Proxy, Refusal};
use crate::placer::Wanted;
use crate::sessions::State;

/// A stream that wants an origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) stream: &'a StreamUrl,
    pub(super) key: &'a PlacementKey,
    pub(super) protocol: Protocol,
    pub(super) action: Action,
    /// The only origin that may have it, if somebody else decided.
    pub(super) only: Option<&'a OriginId>,
    /// Origins that are not to be taken, whatever is on them.
    pub(super) without: &'a [OriginId],
    /// The zone to prefer in place of the proxy's own.
    pub(super) zone: Option<&'a str>,
    /// Where the store says that it is, if that was asked for this one question.
    pub(super) stands: Option<&'a OriginId>,
}

impl Ask<'_> {
    /// Whether an origin can be asked for it.
    pub(super) fn check(&self, naming: &Naming) -> Result<(), Unsayable> {
        naming.check(self.stream, self.protocol, self.action)
    }

    const fn wanted(&self) -> Wanted<'_> {
        Wanted {
            stream: self.stream,
            key: self.key,
            only: self.only,
            without: self.without,
            zone: self.zone,
        }
    }
}

impl Proxy {
    /// What it means for a request that no origin will do.
    pub(super) fn refusal(&self, give_up: GiveUp, ask: &Ask<'_>) -> Refusal {
        let why = match &give_up {
            GiveUp::Nobody { full: false, .. } => self.unsayable(ask),
            GiveUp::WrongService(origin) => {
                let member = self.registry().member(origin);
                member.and_then(|member| ask.check(&member.origin.attributes.naming).err())
            }
            _ => None,
        };
        match why {
            Some(why) => Refusal::CannotAsk {
                stream: ask.stream.clone(),
                why,
            },
            None => Refusal::of(give_up, ask.stream, ask.protocol.service()),
        }
    }

    /// Why the first of those that could serve a request cannot be asked for it; `None` where the dialect of none is in
    /// the way.
    pub(super) fn unsayable(&self, ask: &Ask<'_>) -> Option<Unsayable> {
        let origins = self.registry().survey(Some(ask.protocol.service()));
        let could = origins.iter().filter(|one| one.reject.is_none());
        could
            .filter_map(|one| ask.check(&one.attributes.naming).err())
            .next()
    }

    /// Where the stream is, or where it should go. A stream whose claim stands is not ranked.
    pub(super) fn choose(&self, ask: &Ask<'_>) -> Result<Choice, GiveUp> {
        match self.settled(ask)? {
            Some(choice) => Ok(choice),
            None => self.best(ask, &self.decide(ask)),
        }
    }

    /// Where the stream is, if it may stay there.
    pub(super) fn settled(&self, ask: &Ask<'_>) -> Result<Option<Choice>, GiveUp> {
        let registry = self.registry();
        let stands = ask.stands.cloned();
        let claimed = stands.or_else(|| registry.claimed(ask.key));
        // Asked only where it matters: a stream on an origin that is well costs one look less.
        let published = || registry.published_here(ask.key);
        // Where an origin says it is, it is, unless its publisher came through here.
        if let Some(origin) = registry.reported(ask.key)
            && claimed.as_ref() != Some(&origin)
            && !ask.without.contains(&origin)
            && !published()
        {
            return Ok(Some(Choice {
                expected: claimed,
                words: format!("{origin} reports that it is published there").into(),
                origin,
                why: Why::Reported,
            }));
        }
        let Some(origin) = claimed.filter(|origin| !ask.without.contains(origin)) else {
            return Ok(None);
        };
        let known = registry.state_and_duty(&origin);
        let takes_players = known.is_some_and(|(_, duty)| duty.takes_players());
        if !takes_players && published() {
            return Err(GiveUp::Gone(origin));
        }
        let stays = known.is_some_and(|known| self.may_stay(ask, &origin, known, published));
        Ok(stays.then(|| Choice {
            expected: Some(origin.clone()),
            origin,
            why: Why::Sticky,
            words: "it is placed there".into(),
        }))
    }

    /// The pure decision over the origins as they are now.
    pub(super) fn decide(&self, ask: &Ask<'_>) -> Decision {
        let registry = self.registry();
        let mut origins = registry.survey(Some(ask.protocol.service()));
        for one in &mut origins {
            let might = one
                .reject
                .is_none_or(|why| why == Reject::Failing || why.is_full());
            if might && ask.check(&one.attributes.naming).is_err() {
                one.reject = Some(Reject::Dialect);
            }
        }
        registry.placer().decide(&origins, &ask.wanted())
    }

    /// What follows from a decision for a stream that is nowhere, or has to move.
    pub(super) fn best(&self, ask: &Ask<'_>, decision: &Decision) -> Result<Choice, GiveUp> {
        let registry = self.registry();
        let words = registry.placer().words(&ask.wanted(), decision);
        let Some(best) = decision.ranked.first() else {
            return Err(GiveUp::Nobody {
                full: decision.is_full(),
                words,
            });
        };
        let claimed = registry.claimed(ask.key);
        let why = if claimed.is_some() {
            Why::Moved
        } else {
            Why::New
        };
        Ok(Choice {
            expected: claimed,
            origin: best.origin.clone(),
            why,
            words: format!("first {words}").into(),
        })
    }

    /// Whether a stream that is placed at `standing` stays there.
    fn may_stay(
        &self,
        ask: &Ask<'_>,
        standing: &OriginId,
        (state, duty): (OriginState, Duty),
        published: impl Fn() -> bool,
    ) -> bool {
        let fails = state == OriginState::Failing;
        match duty {
            Duty::Active if !fails => true,
            // An origin that fails, or is taken out of service, keeps what is published on it through here.
            _ if published() => true,
            // Its publisher may have come another way: where it is seen, it is.
            Duty::Draining(_) if !fails => {
                // With other proxies it may have come through one of them, and none says so. Where it did not, the
                // encoder that comes back is placed elsewhere, and ends who waits here.
                let shared = self.cluster().is_some();
                let reported = || self.registry().reported(ask.key).as_ref() == Some(standing);
                let may_be_there = || shared || reported() || self.is_watched(ask.key, standing);
                ask.action == Action::Play && may_be_there()
            }
            _ => false,
        }
    }

    /// Whether somebody gets the stream's media from `origin` through this proxy.
    fn is_watched(&self, key: &PlacementKey, origin: &OriginId) -> bool {
        let rows = self.sessions().list();
        rows.iter().any(|row| {
            row.state() == State::Relaying
                && row.key == *key
                && row.placed().origin.as_ref() == Some(origin)
        })
    }
}
