//! What the proxy says to those who ask where a stream is, instead of asking for the stream.

use std::net::IpAddr;

use sluicegate_core::events::Kind;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::attempts::{GiveUp, Why};
use sluicegate_core::place::placement::Decision;
use sluicegate_core::place::rule::Via;
use sluicegate_core::stream::{Action, PlacementKey, Protocol, Service, StreamUrl};

use super::choice::Ask;
use super::{Proxy, Refusal};
use crate::api::SessionHold;
use crate::lookup::{
    Claimed, Explanation, LastRefused, Ranked, RefusedSaid, Rejected, Resolved, base, own_base,
};
use crate::sessions::Held;
use crate::unix_time;

impl Proxy {
    /// Where a stream is or would go by `protocol`, and why; `without` is left out as if it had vanished. Asks the very
    /// functions that place sessions, and changes nothing.
    pub async fn explain(
        &self,
        stream: &StreamUrl,
        protocol: Protocol,
        without: Option<&OriginId>,
    ) -> Explanation {
        let key = self.key(stream);
        let stands = self.stands(&key).await;
        let without: Vec<OriginId> = without.cloned().into_iter().collect();
        let ask = Ask {
            stream,
            key: &key,
            protocol,
            action: Action::Publish,
            only: None,
            without: &without,
            zone: None,
            stands: stands.as_ref(),
        };
        let decision = self.decide(&ask);
        let choice = match self.settled(&ask) {
            Ok(None) => self.best(&ask, &decision),
            Ok(Some(standing)) => Ok(standing),
            Err(give_up) => Err(give_up),
        };
        let placer = self.registry().placer();
        let refused = choice.as_ref().ok();
        let refused = refused.and_then(|choice| self.refuses(&choice.origin, &ask));
        let (origin, why) = match choice {
            Ok(choice) => (Some(choice.origin.to_string()), choice.words.into_owned()),
            Err(give_up) => (None, self.refusal(give_up, &ask).detail()),
        };
        Explanation {
            stream: stream.to_string(),
            service: protocol.service().as_str().to_owned(),
            policy: placer.policy.name().to_owned(),
            rule: placer.rule(stream).map(|rule| rule.as_str().to_owned()),
            zone: placer.zone.clone(),
            origin,
            why,
            refused,
            last_refused: self.last_refused(&key),
            claim: self.claimed(&ask),
            candidates: ranked(&decision, placer.zone.is_some()),
            rejected: rejected(&decision),
            overflows: decision.overflows,
            access: None,
            key: key.to_string(),
        }
    }

    /// The client of the stream that got no session last, as far as that is still known.
    fn last_refused(&self, key: &PlacementKey) -> Option<LastRefused> {
        let mut last = None;
        self.shared.metrics.journal.look(Kind::Refused, |event| {
            if event.news.stream == key.as_str() {
                let ago = unix_time::millis().saturating_sub(event.at);
                last = Some(LastRefused {
                    seconds_ago: ago / 1000,
                    what: event.news.what.clone(),
                });
            }
        });
        last
    }

    /// How a client hears that `origin`, where its stream is, cannot be asked for it.
    fn refuses(&self, origin: &OriginId, ask: &Ask<'_>) -> Option<RefusedSaid> {
        let service = ask.protocol.service();
        self.registry().duty(origin)?;
        let target = self.target(origin, ask.stream, ask.protocol, ask.action);
        if target.is_some() {
            return None;
        }
        let refusal = self.refusal(GiveUp::WrongService(origin.clone()), ask);
        let code = match (service, &refusal) {
            (Service::Rtmp, _) => None,
            (Service::Srt, Refusal::CannotAsk { .. }) => Some(1400),
            (Service::Srt, _) => Some(1404),
            _ => Some(refusal.http_status().as_u16()),
        };
        Some(RefusedSaid {
            code,
            words: refusal.to_string(),
        })
    }

    /// Where a cooperative client had better go for a stream that it gets by `protocol`.
    ///
    /// # Errors
    /// A [`Refusal`] when it is nowhere and nobody may take it.
    pub async fn resolve(
        &self,
        stream: &StreamUrl,
        protocol: Protocol,
        client: Option<IpAddr>,
    ) -> Result<Resolved, Refusal> {
        let lookup = &self.shared.lookup;
        let key = self.key(stream);
        let stands = self.stands(&key).await;
        let ask = Ask {
            stream,
            key: &key,
            protocol,
            action: Action::Play,
            only: None,
            without: &[],
            zone: client.and_then(|client| lookup.zone_of(client)),
            stands: stands.as_ref(),
        };
        let choice = self.choose(&ask);
        let choice = choice.map_err(|give_up| self.refusal(give_up, &ask))?;
        let Some(member) = self.registry().member(&choice.origin) else {
            return Err(Refusal::NoOrigin {
                stream: stream.clone(),
                service: ask.protocol.service(),
                detail: format!("{} is not registered any more", choice.origin),
            });
        };
        let place = |via| {
            let rule = lookup
                .redirects
                .iter()
                .find(|rule| rule.covers(stream, via));
            rule.map_or_else(
                || own_base(via, &member.origin),
                |rule| base(rule, &choice.origin, &member.origin),
            )
        };
        Ok(Resolved {
            stream: stream.to_string(),
            placed: choice.why == Why::Sticky,
            zone: member.origin.attributes.zone.clone(),
            ttl: lookup.ttl.as_secs().max(1),
            rtmp: place(Via::Rtmp)
                .map(|base| format!("{base}/{}/{}", stream.app(), stream.stream())),
            http: place(Via::Http),
            origin: choice.origin.to_string(),
        })
    }

    /// The origin that a client of the stream would be joined to now, by what is known here.
    ///
    /// # Errors
    /// A [`Refusal`] when there is none.
    pub fn origin_of(
        &self,
        stream: &StreamUrl,
        protocol: Protocol,
        action: Action,
    ) -> Result<OriginId, Refusal> {
        self.for_client(stream, protocol, action, None)
    }

    fn for_client(
        &self,
        stream: &StreamUrl,
        protocol: Protocol,
        action: Action,
        stands: Option<&OriginId>,
    ) -> Result<OriginId, Refusal> {
        let key = self.key(stream);
        let ask = Ask {
            stream,
            key: &key,
            protocol,
            action,
            only: None,
            without: &[],
            zone: None,
            stands,
        };
        let choice = self.choose(&ask);
        let choice = choice.map_err(|give_up| self.refusal(give_up, &ask))?;
        Ok(choice.origin)
    }

    /// The origin that a stream is placed on and stays on for players of `protocol`.
    pub fn standing(&self, stream: &StreamUrl, protocol: Protocol) -> Option<OriginId> {
        let key = self.key(stream);
        let ask = Ask {
            stream,
            key: &key,
            protocol,
            action: Action::Play,
            only: None,
            without: &[],
            zone: None,
            stands: None,
        };
        Some(self.settled(&ask).ok()??.origin)
    }

    /// Which of these streams is placed, or published by what an origin reports; the first that is. What another proxy placed
    /// counts after what is known here.
    pub(crate) async fn first_placed(&self, streams: &[&StreamUrl]) -> Option<usize> {
        let keys: Vec<PlacementKey> = streams.iter().map(|stream| self.key(stream)).collect();
        let registry = self.registry();
        let is_here =
            |key: &PlacementKey| registry.holder(key).is_some() || registry.reported(key).is_some();
        let here = keys.iter().position(is_here);
        if here.is_some() || self.cluster().is_none() {
            return here;
        }
        for (at, key) in keys.iter().enumerate() {
            if self.stands(key).await.is_some() {
                return Some(at);
            }
        }
        None
    }

    /// Makes the claim on a stream last as if one more player of it had been here; false if none was.
    pub fn keep_claim(&self, stream: &StreamUrl) -> bool {
        self.registry().keep_claim(&self.key(stream))
    }

    /// Whether any player is sent elsewhere by rule.
    pub fn redirects(&self) -> bool {
        !self.shared.lookup.redirects.is_empty()
    }

    /// The base of the URL to which a player is sent by rule instead of being relayed; `None` where it is relayed, where
    /// nothing can be said of the stream, and where an access rule may be about it.
    pub async fn redirect(
        &self,
        stream: &StreamUrl,
        protocol: Protocol,
        via: Via,
    ) -> Option<String> {
        let mut rules = self.shared.lookup.redirects.iter();
        let rule = rules.find(|rule| rule.covers(stream, via))?;
        if self.may_judge(stream, Action::Play) {
            // The place it would be sent to is only for those who may have the stream, and knows nothing of that.
            return None;
        }
        let stands = self.stands(&self.key(stream)).await;
        let origin = self
            .for_client(stream, protocol, Action::Play, stands.as_ref())
            .ok()?;
        let member = self.registry().member(&origin)?;
        let base = base(rule, &origin, &member.origin)?;
        self.shared.metrics.redirects.inc();
        Some(base)
    }

    /// Another proxy may have placed the stream, and this one need not have heard of it.
    pub(super) async fn stands(&self, key: &PlacementKey) -> Option<OriginId> {
        self.cluster()?.look_up(key).await
    }

    fn claimed(&self, ask: &Ask<'_>) -> Option<Claimed> {
        let claim = self.registry().claim_of(ask.key)?;
        Some(Claimed {
            origin: claim.origin.to_string(),
            age_seconds: claim.age.as_secs_f64(),
            fence: claim.fence,
            why: claim.why.to_string(),
            publishers: claim.publishers,
            players: claim.sessions - claim.publishers,
            holds: self.holds(ask.stream),
        })
    }

    /// The times the publisher of a stream outlived its origins.
    fn holds(&self, stream: &StreamUrl) -> Vec<SessionHold> {
        let publisher = self.shared.sessions.publisher(stream);
        let holds = publisher.map(|row| row.holds()).unwrap_or_default();
        holds.into_iter().map(Held::document).collect()
    }
}

fn ranked(decision: &Decision, zoned: bool) -> Vec<Ranked> {
    let candidates = decision.ranked.iter().enumerate();
    candidates
        .map(|(place, candidate)| Ranked {
            origin: candidate.origin.to_string(),
            score: candidate.score,
            weight: candidate.weight,
            streams: candidate.streams,
            load_percent: candidate.load.map(|load| f64::from(load) / 10.0),
            services: candidate.services,
            local: zoned.then_some(place < decision.local),
        })
        .collect()
}

fn rejected(decision: &Decision) -> Vec<Rejected> {
    let rejected = decision.rejected.iter();
    rejected
        .map(|(origin, reason)| Rejected {
            origin: origin.to_string(),
            reason: reason.as_str().to_owned(),
        })
        .collect()
}
