//! One walk over the candidates of a stream: the only failover there is.

use std::sync::OnceLock;
use std::time::Duration;

use sluicegate_core::fleet::State as OriginState;
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::fleet::origin::{OriginId, Transport};
use sluicegate_core::stream::{Action, PlacementKey, Service, StreamUrl};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info};

use super::choice::{Ask, Choice};
use super::outside::Answer;
use super::{Attempt, DialError, Proxy, Refusal};
use crate::cluster::Claimed;
use crate::metrics::PlacementLabels;
use crate::registry::{Hold, NoRoom};
use crate::sessions::{Request, Row};

/// A request on its way to an origin.
pub(super) struct Walk<'a> {
    pub(super) proxy: &'a Proxy,
    pub(super) service: Service,
    /// All candidates together have so long.
    pub(super) setup: Duration,
    pub(super) key: &'a PlacementKey,
    pub(super) hold: &'a Hold,
    pub(super) request: &'a Request,
    /// The row that hears of it, where there is one.
    pub(super) row: Option<&'a Row>,
    /// An origin to prefer where nothing says otherwise.
    pub(super) named: Option<&'a OriginId>,
    /// The origin that somebody else decided on.
    pub(super) directed: OnceLock<OriginId>,
}

impl Walk<'_> {
    /// Tries origins, best first, until `dial` gets an answer from one. An answer that does not show the stream there,
    /// by the word of `joins`, leaves no claim behind.
    pub(super) async fn candidates<T, F>(
        self,
        dial: impl Fn(Attempt) -> F,
        joins: impl Fn(&T) -> bool,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let registry = &self.proxy.shared.registry;
        let mut tried: Vec<(OriginId, String)> = Vec::new();
        let (mut moves, mut hang_ups, mut insists, mut searched) = (0, 0, false, false);
        let mut patience = self.proxy.shared.timing.dial;
        let began = Instant::now();
        let deadline = began + self.setup;
        if let Some(cluster) = self.proxy.cluster() {
            cluster.recall(self.key).await;
        }
        self.ask_outside().await?;
        let mut next = self.first_choice()?;
        loop {
            let choice = self.claim(next, &tried)?;
            let choice = self.agree(choice, &tried).await?;
            let origin = choice.origin.clone();
            let Some(attempt) = self.attempt(&origin) else {
                return Err(self.wrong_service(origin));
            };
            let attempt = Attempt {
                patience,
                asks_again: self.came_back_too_soon(began) || self.may_search(searched),
                ..attempt
            };
            if let Some(row) = self.row {
                row.note_placed(origin.clone(), choice.why);
            }
            let dialled = Instant::now();
            let Ok(answer) = timeout_at(deadline, dial(attempt)).await else {
                // One that came last had less than its time, and that was not its doing.
                if dialled.elapsed() >= self.proxy.shared.timing.dial {
                    self.failed(&origin, Fault::Silent, "did not answer in time");
                }
                tried.push((origin, "did not answer in time".to_owned()));
                return Err(Refusal::TooSlow {
                    stream: self.request.stream.clone(),
                    tried,
                });
            };
            let (fault, why) = match answer {
                Ok(leg) if !joins(&leg) => return Ok(leg),
                Ok(leg) => match self.hold.join(&origin) {
                    Ok(()) => {
                        if matches!(self.service, Service::Rtmp | Service::Srt) {
                            registry.answered(&origin);
                        }
                        return Ok(leg);
                    }
                    Err(moved) => {
                        next = Choice {
                            expected: Some(moved.clone()),
                            origin: moved,
                            why: "another request placed it there meanwhile".into(),
                            reason: "lost",
                        };
                        continue;
                    }
                },
                Err(DialError::Exhausted(error)) => {
                    return Err(Refusal::Exhausted { error });
                }
                Err(DialError::HungUp(why)) => {
                    registry.answered(&origin);
                    hang_ups += 1;
                    if hang_ups >= MAX_HANG_UPS {
                        let description =
                            "its origin closed the connection without a reason".to_owned();
                        return Err(Refusal::Refused {
                            origin,
                            description,
                        });
                    }
                    (Fault::Refused, why)
                }
                Err(DialError::Refused(_)) if self.came_back_too_soon(began) => {
                    registry.answered(&origin);
                    sleep(AGAIN).await;
                    next = Choice::again(origin, "it was still busy with the publisher that left");
                    continue;
                }
                Err(DialError::Refused(description)) => {
                    registry.answered(&origin);
                    if let Some(there) = self.found_elsewhere(&origin, &mut searched).await {
                        next = Choice {
                            why: format!("{there} has it, by its list of streams").into(),
                            expected: Some(origin),
                            origin: there,
                            reason: "found",
                        };
                        continue;
                    }
                    return Err(Refusal::Refused {
                        origin,
                        description,
                    });
                }
                Err(DialError::Moved(place)) => {
                    registry.answered(&origin);
                    moves += 1;
                    next = self.redirected(origin, &place, moves)?;
                    continue;
                }
                Err(DialError::Failed(why)) => {
                    self.failed(&origin, Fault::Refused, &why);
                    (Fault::Refused, why)
                }
                Err(DialError::Silent(why)) => {
                    self.failed(&origin, Fault::Silent, &why);
                    (Fault::Silent, why)
                }
            };
            debug!(origin = %origin, why, after = ?dialled.elapsed(), "dial failed");
            if let Some(row) = self.row {
                row.note_failed(origin.clone(), why.clone());
            }
            tried.push((origin.clone(), why));
            next = match self.next_choice(origin.clone(), &tried) {
                Some(choice) => choice,
                // Nobody else may take it, so waiting costs nothing: a full queue of an origin that lives drops the
                // first packet of a connection, and the kernel repeats it after the second that a dial has.
                None if fault == Fault::Silent && !insists => {
                    insists = true;
                    patience = deadline.saturating_duration_since(Instant::now());
                    Choice::again(origin, "nobody else may take it, so it is asked again")
                }
                None => {
                    return Err(Refusal::AllFailed {
                        stream: self.request.stream.clone(),
                        tried,
                    });
                }
            };
            self.proxy.shared.metrics.failovers.inc();
        }
    }

    /// Notes that a dial failed.
    fn failed(&self, origin: &OriginId, fault: Fault, why: &str) {
        let registry = &self.proxy.shared.registry;
        match Transport::of(self.service) {
            Transport::Tcp => registry.failed(origin, fault, why),
            Transport::Udp => registry.datagrams_failed(origin, fault, why),
        }
    }

    /// Where the stream is, or where it should go; to the origin that a link names, where nothing says otherwise.
    pub(super) fn first_choice(&self) -> Result<Choice, Refusal> {
        let ask = self.ask(&[]);
        if let Some(choice) = self.proxy.settled(&ask)? {
            return Ok(choice);
        }
        if let Some(origin) = self.named.filter(|named| self.is_fit(named)) {
            return Ok(Choice {
                expected: self.proxy.shared.registry.claimed(self.key),
                origin: origin.clone(),
                why: "its link names it".into(),
                reason: "linked",
            });
        }
        self.proxy.best(&ask, &self.proxy.decide(&ask))
    }

    /// The origin that `from` points to, if it is registered and alive.
    fn redirected(&self, from: OriginId, place: &str, moves: usize) -> Result<Choice, Refusal> {
        let registry = &self.proxy.shared.registry;
        info!(stream = %self.request.stream, origin = %from, to = place, "origin redirects");
        let known = registry.at(self.service, place).filter(|there| {
            let state = registry.state(there);
            *there != from && state.is_some_and(|state| state != OriginState::Suspect)
        });
        match known.filter(|_| moves <= MAX_MOVES) {
            Some(there) => Ok(Choice {
                why: format!("{from} redirected it here").into(),
                expected: Some(from),
                origin: there,
                reason: "redirected",
            }),
            None => Err(Refusal::Refused {
                origin: from,
                description: "its origin redirects it to a place that cannot be followed"
                    .to_owned(),
            }),
        }
    }

    /// Asks whoever decides about new streams, if somebody does. A stream that is somewhere already stays there.
    async fn ask_outside(&self) -> Result<(), Refusal> {
        let Some(outside) = &self.proxy.shared.outside else {
            return Ok(());
        };
        if self.proxy.settled(&self.ask(&[]))?.is_some() {
            return Ok(());
        }
        match outside.ask(self.key, self.request).await {
            Answer::Allow => Ok(()),
            Answer::Deny(reason) => Err(Refusal::Denied {
                stream: self.request.stream.clone(),
                reason,
            }),
            Answer::Goes(origin) => {
                let _ = self.directed.set(origin);
                Ok(())
            }
        }
    }

    /// What this session asks for.
    fn ask<'a>(&'a self, without: &'a [OriginId]) -> Ask<'a> {
        Ask {
            stream: &self.request.stream,
            key: self.key,
            service: self.service,
            action: self.request.action,
            only: self.directed.get(),
            without,
            zone: None,
            stands: None,
        }
    }

    /// Whether origins may be asked for the stream, if one refuses it.
    fn may_search(&self, searched: bool) -> bool {
        let shared = &self.proxy.shared;
        let looks = shared.timing.ask_streams && !self.publishes() && !searched;
        looks && !shared.registry.published_here(self.key)
    }

    /// Where a stream is that `origin` refuses to a player: its publisher may have come another way.
    async fn found_elsewhere(&self, origin: &OriginId, searched: &mut bool) -> Option<OriginId> {
        let shared = &self.proxy.shared;
        if !self.may_search(*searched) {
            return None;
        }
        *searched = true;
        let key_of = |stream: &StreamUrl| self.proxy.key(stream);
        shared
            .finder
            .find(&shared.registry, self.key, key_of, origin)
            .await
    }

    /// Whether an origin that says no may say so for the publisher that left it a moment ago. It is asked again for
    /// as long as it may need to notice.
    fn came_back_too_soon(&self, began: Instant) -> bool {
        self.publishes()
            && began.elapsed() < NOTICES_WITHIN
            && self
                .proxy
                .shared
                .registry
                .unpublished_within(self.key, LEFT_LATELY)
    }

    /// Whom to try after `failed`; nobody when a publisher on it is joined through this proxy, since moving the
    /// claim would split its stream. This session itself is not joined yet.
    fn next_choice(&self, failed: OriginId, tried: &[(OriginId, String)]) -> Option<Choice> {
        let registry = &self.proxy.shared.registry;
        let untried = |id: &OriginId| !tried.iter().any(|(seen, _)| seen == id);
        if registry.published_here(self.key) {
            // A publisher may have been joined elsewhere while this request was still dialling.
            let origin = registry.standing(self.key).filter(untried)?;
            return Some(Choice {
                expected: Some(origin.clone()),
                origin,
                why: "another request placed it there meanwhile".into(),
                reason: "lost",
            });
        }
        let without: Vec<OriginId> = tried.iter().map(|(seen, _)| seen.clone()).collect();
        let ask = self.ask(&without);
        let best = self.proxy.best(&ask, &self.proxy.decide(&ask)).ok()?;
        let why = format!("after {failed} failed, {}", best.why);
        let origin = best.origin;
        Some(Choice {
            expected: Some(failed),
            origin,
            why: why.into(),
            reason: "failover",
        })
    }

    /// Makes the claim in the store that other proxies use; what stands there is the choice then.
    async fn agree(&self, choice: Choice, tried: &[(OriginId, String)]) -> Result<Choice, Refusal> {
        let Some(cluster) = self.proxy.cluster() else {
            return Ok(choice);
        };
        let claimed = cluster.claim(self.key, &choice.origin, self.publishes());
        let Claimed::Lost(origin) = claimed.await else {
            return Ok(choice);
        };
        if tried.iter().any(|(seen, _)| *seen == origin) {
            return Err(Refusal::AllFailed {
                stream: self.request.stream.clone(),
                tried: tried.to_vec(),
            });
        }
        let why = "another proxy placed it there first".to_owned();
        Ok(Choice {
            expected: Some(origin.clone()),
            origin,
            why: why.into(),
            reason: "lost",
        })
    }

    /// Makes the claim for a choice; somebody else's claim, if it was first, is the choice then.
    fn claim(&self, choice: Choice, tried: &[(OriginId, String)]) -> Result<Choice, Refusal> {
        let registry = &self.proxy.shared.registry;
        if choice.reason == "sticky" && registry.target(&choice.origin, self.service).is_none() {
            return Err(self.wrong_service(choice.origin));
        }
        let mut choice = choice;
        let mut full: Vec<OriginId> = Vec::new();
        let claim = loop {
            let claimed = self
                .hold
                .claim(choice.expected.as_ref(), &choice.origin, &choice.why);
            match claimed {
                Ok(claim) => break claim,
                Err(NoRoom) => {
                    let origin = choice.origin.clone();
                    if !matches!(choice.reason, "new" | "moved" | "failover")
                        || full.len() >= MAX_LOST_PLACES
                    {
                        let stream = self.request.stream.clone();
                        let detail = format!("{origin} is full");
                        return Err(Refusal::NoRoom { stream, detail });
                    }
                    // Somebody else got the last place since the decision.
                    full.push(origin);
                    let tried = tried.iter().map(|(seen, _)| seen);
                    let without: Vec<OriginId> = tried.chain(&full).cloned().collect();
                    let ask = self.ask(&without);
                    let best = self.proxy.best(&ask, &self.proxy.decide(&ask))?;
                    choice = Choice {
                        expected: choice.expected,
                        reason: choice.reason,
                        ..best
                    };
                }
            }
        };
        let reason = if claim.won { choice.reason } else { "lost" };
        self.proxy
            .shared
            .metrics
            .placements
            .get_or_create(&PlacementLabels {
                policy: registry.placer().policy.name(),
                reason,
            })
            .inc();
        if claim.won {
            return Ok(choice);
        }
        let origin = OriginId::from(claim.value);
        if tried.iter().any(|(seen, _)| *seen == origin) {
            let stream = self.request.stream.clone();
            return Err(Refusal::AllFailed {
                stream,
                tried: tried.to_vec(),
            });
        }
        Ok(Choice {
            expected: None,
            origin,
            why: "another request placed it there first".into(),
            reason,
        })
    }

    /// What to dial to reach `origin`, if it has the service.
    pub(super) fn attempt(&self, origin: &OriginId) -> Option<Attempt> {
        let registry = &self.proxy.shared.registry;
        let target = registry.target(origin, self.service)?;
        let member = registry.member(origin);
        Some(Attempt {
            origin: origin.clone(),
            label: member
                .as_ref()
                .map(|member| member.origin.label().to_owned())
                .unwrap_or_default(),
            target,
            patience: self.proxy.shared.timing.dial,
            step_by_step: member.is_some_and(|member| member.step_by_step),
            asks_again: false,
        })
    }

    /// Whether an origin that a link names may be given the stream.
    pub(super) fn is_fit(&self, origin: &OriginId) -> bool {
        let registry = &self.proxy.shared.registry;
        registry.state(origin) == Some(OriginState::Up)
            && registry
                .duty(origin)
                .is_some_and(|duty| duty.takes_players())
            && registry.target(origin, self.service).is_some()
    }

    fn publishes(&self) -> bool {
        self.request.action == Action::Publish
    }

    fn wrong_service(&self, origin: OriginId) -> Refusal {
        Refusal::WrongService {
            stream: self.request.stream.clone(),
            origin,
            service: self.service,
        }
    }
}

/// A publisher left so lately that its origin may not have noticed.
const LEFT_LATELY: Duration = Duration::from_secs(5);
/// How long an origin may take to notice.
const NOTICES_WITHIN: Duration = Duration::from_secs(2);
/// Pause before an origin is asked once more.
const AGAIN: Duration = Duration::from_millis(200);
/// Places lost to others while one claim is made: each loss means that somebody else was served.
const MAX_LOST_PLACES: usize = 16;
/// Redirects followed for one request.
const MAX_MOVES: usize = 2;
/// Origins that may hang up on one request: each costs two connections, and a client whose request no origin likes
/// must not have them all dialled.
const MAX_HANG_UPS: usize = 2;
