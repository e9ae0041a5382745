//! Which origin a session goes to: where its stream is, or where it should be. The sessions and the explanation of
//! a placement ask the same function.

use sluicegate_core::dialect::{Naming, Unsayable};
use sluicegate_core::fleet::State as OriginState;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::place::attempts::{Choice, GiveUp};
use sluicegate_core::place::placement::{Decision, Reject};
use sluicegate_core::place::standing::{self, Seen};
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

    /// Where a client of the stream would be joined: where the stream is, or where it should go. A stream whose claim stands
    /// is not ranked, and is nowhere else for a protocol that its origin lacks.
    pub(super) fn choose(&self, ask: &Ask<'_>) -> Result<Choice, GiveUp> {
        let choice = match self.settled(ask)? {
            Some(choice) => choice,
            None => self.best(ask, &self.decide(ask))?,
        };
        match self.target(&choice.origin, ask.stream, ask.protocol, ask.action) {
            Some(_) => Ok(choice),
            None => Err(GiveUp::WrongService(choice.origin)),
        }
    }

    /// Where `origin` is asked for a stream; `None` where it lacks the protocol, or has no such name in it.
    pub(super) fn target(
        &self,
        origin: &OriginId,
        stream: &StreamUrl,
        protocol: Protocol,
        action: Action,
    ) -> Option<Target> {
        self.registry().of_member(origin, |member| {
            let naming = &member.origin.attributes.naming;
            naming.check(stream, protocol, action).ok()?;
            member.origin.target_for(protocol.service(), action)
        })?
    }

    /// Where the stream is, if it may stay there.
    pub(super) fn settled(&self, ask: &Ask<'_>) -> Result<Option<Choice>, GiveUp> {
        let seen = SeenHere {
            stands: ask.stands,
            ..SeenHere::new(self, ask.key)
        };
        standing::settled(&seen, ask.action, ask.without)
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
        standing::best(decision, registry.claimed(ask.key), words)
    }
}

/// What this proxy knows of a stream.
#[derive(Debug)]
pub(super) struct SeenHere<'a> {
    proxy: &'a Proxy,
    key: &'a PlacementKey,
    stands: Option<&'a OriginId>,
}

impl<'a> SeenHere<'a> {
    pub(super) const fn new(proxy: &'a Proxy, key: &'a PlacementKey) -> Self {
        Self {
            proxy,
            key,
            stands: None,
        }
    }
}

impl Seen for SeenHere<'_> {
    fn claimed(&self) -> Option<OriginId> {
        let stands = self.stands.cloned();
        stands.or_else(|| self.proxy.registry().claimed(self.key))
    }

    fn reported(&self) -> Option<OriginId> {
        self.proxy.registry().reported(self.key)
    }

    fn is_published_here(&self) -> bool {
        self.proxy.registry().published_here(self.key)
    }

    fn origin(&self, origin: &OriginId) -> Option<(OriginState, Duty)> {
        self.proxy.registry().state_and_duty(origin)
    }

    fn has_other_proxies(&self) -> bool {
        self.proxy.cluster().is_some()
    }

    fn is_watched_at(&self, origin: &OriginId) -> bool {
        let rows = self.proxy.sessions().list();
        rows.iter().any(|row| {
            row.state() == State::Relaying
                && row.key == *self.key
                && row.placed().origin.as_ref() == Some(origin)
        })
    }
}
