//! The way of a request through the candidates of its stream: the only failover there is. The decisions are
//! [`attempts`](sluicegate_core::place::attempts); here each is carried out.

use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::time::Duration;

use sluicegate_core::access::verdict;
use sluicegate_core::fleet::State as OriginState;
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::fleet::origin::{OriginId, Transport};
use sluicegate_core::place::attempts::{
    Attempts, Choice, Claimant, GiveUp, Outcome, Publisher, Step, Terms, Try, View, Why,
};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::shares::NoRoom;
use sluicegate_core::stream::{Action, PlacementKey, Protocol, Service, StreamUrl};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, info};

use super::choice::Ask;
use super::placement_service::{PlacementService, ServiceAnswer};
use super::{Attempt, DialError, Proxy, Refusal};
use crate::cluster::Claimed;
use crate::metrics::PlacementLabels;
use crate::registry::PlacementGuard;
use crate::sessions::{Request, Row};

impl Proxy {
    /// What to dial to reach `origin` for `request`, unless it cannot be asked for that. `is_other`: the stream has another
    /// name than the client gave it.
    pub(crate) fn attempt(
        &self,
        origin: &OriginId,
        request: &Request,
        protocol: Protocol,
        is_other: bool,
    ) -> Option<Attempt> {
        let target = self.target(origin, &request.stream, protocol, request.action)?;
        let (registry, service) = (self.registry(), protocol.service());
        let time_limit = self.shared.timing.dial;
        let mut attempt = Attempt::at(registry, origin, service, target, time_limit);
        attempt.naming.is_other = is_other;
        Some(attempt)
    }
}

/// A request on its way to an origin.
pub(super) struct Candidates<'a> {
    pub(super) proxy: &'a Proxy,
    /// By which origins are asked, which need not be the client's: shared pulls and shadows speak RTMP.
    pub(super) protocol: Protocol,
    /// How long all candidates together may take.
    pub(super) setup: Duration,
    pub(super) key: &'a PlacementKey,
    pub(super) hold: &'a PlacementGuard,
    pub(super) request: &'a Request,
    /// The row that hears of it, where there is one.
    pub(super) row: Option<&'a Row>,
    /// An origin to prefer where nothing says otherwise.
    pub(super) named: Option<&'a OriginId>,
    /// Whether the stream has another name than the client gave it.
    pub(super) is_other: bool,
    /// The origin that an outside decision named.
    pub(super) directed: OnceLock<OriginId>,
    /// The origin that the session lost, and how.
    pub(super) lost: Option<(OriginId, LegEnd)>,
}

impl Candidates<'_> {
    /// Tries origins, best first, until `dial` gets an answer from one. An answer that does not show the stream there,
    /// by the word of `joins`, leaves no claim behind.
    pub(super) async fn first_to_answer<T, F>(
        self,
        dial: impl Fn(Attempt) -> F,
        joins: impl Fn(&T) -> bool,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let mut attempts = self.attempts();
        if let Some(cluster) = self.proxy.cluster() {
            Box::pin(cluster.recall(self.key)).await;
        }
        if let Some(service) = &self.proxy.shared.placement_service {
            Box::pin(self.ask_outside(service)).await?;
        }
        let mut step = attempts.begin(now(), &self);
        loop {
            let outcome = match step {
                Step::Give(give_up) => return Err(self.refusal(give_up)),
                Step::AskProxies => {
                    Outcome::Former(Box::pin(self.proxy.former_elsewhere(self.request)).await)
                }
                Step::Search(refused_by) => {
                    Outcome::Found(Box::pin(self.found_elsewhere(&refused_by)).await)
                }
                Step::Try(next) => {
                    // A timer fires a millisecond late at best, also one that is due at once.
                    if !next.pause.is_zero() {
                        sleep(next.pause).await;
                    }
                    let deadline = attempts.deadline().into();
                    match self.try_one(next, deadline, &dial, &joins).await {
                        Ok(leg) => return Ok(leg),
                        Err(outcome) => outcome,
                    }
                }
            };
            let failed = matches!(outcome, Outcome::Failed(..) | Outcome::HungUp(_));
            step = attempts.next(now(), outcome, &self);
            if failed && matches!(step, Step::Try(_)) {
                self.proxy.shared.metrics.failovers.inc();
            }
        }
    }

    /// Claims the stream for an origin, and dials it.
    async fn try_one<T, F>(
        &self,
        next: Try,
        deadline: Instant,
        dial: &impl Fn(Attempt) -> F,
        joins: &impl Fn(&T) -> bool,
    ) -> Result<T, Outcome>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let choice = next.choice;
        let attempt = self.attempt(&choice.origin).ok_or(Outcome::NoService)?;
        if choice.why != Why::SentOn {
            self.claim(&choice).await?;
        }
        let origin = choice.origin.clone();
        if let Some(row) = self.row {
            row.note_placed(origin.clone(), choice.words.clone());
        }
        let attempt = Attempt {
            time_limit: next.time_limit,
            ..attempt
        };
        let dialled = Instant::now();
        let mut dialling = pin!(dial(attempt));
        let answer = match timeout_at(deadline, &mut dialling).await {
            Ok(answer) => answer,
            Err(_) => Box::pin(self.wait_on(&origin, dialled, dialling)).await?,
        };
        match answer {
            Ok(leg) if !joins(&leg) => Ok(leg),
            Ok(leg) => self.join(&choice).map(|()| leg),
            Err(error) => Err(self.note(&origin, error, dialled)),
        }
    }

    /// The time of the round is over, and the origin owes its answer. One that speaks when it is asked may take longer,
    /// as when it waits for a publisher, starts a packager or asks somebody itself. One that says nothing has failed.
    async fn wait_on<T>(
        &self,
        origin: &OriginId,
        dialled: Instant,
        mut dialling: Pin<&mut impl Future<Output = Result<T, DialError>>>,
    ) -> Result<Result<T, DialError>, Outcome> {
        let timing = &self.proxy.shared.timing;
        let patience = timing.patience(self.request.action);
        if self.service() == Service::Srt {
            // No question of another protocol says anything about that one. A dial of it ends by itself where nothing was
            // heard, which was not its doing if it came last; and a caller that gives up is noticed.
            return match timeout(patience, dialling).await {
                Ok(Err(DialError::Silent(_))) | Err(_) => Err(Outcome::OutOfTime),
                Ok(answer) => Ok(answer),
            };
        }
        // One that came last had less than its time, and that was not its doing.
        if dialled.elapsed() < timing.dial {
            return Err(Outcome::OutOfTime);
        }
        let speaks = self.proxy.shared.silence.speaks(origin);
        tokio::select! {
            biased;
            answer = &mut dialling => return Ok(answer),
            speaks = speaks => if !speaks {
                self.failed(origin, Fault::Silent, "did not answer in time");
                return Err(Outcome::OutOfTime);
            }
        }
        debug!(%origin, stream = %self.request.stream, "the origin speaks, so its answer is waited for");
        if let Some(row) = self.row.filter(|_| !self.publishes()) {
            row.waits();
        }
        timeout(patience, dialling)
            .await
            .map_err(|_| Outcome::OutOfTime)
    }

    /// The origin took the client, and the claim stands as it was chosen, unless it has moved.
    fn join(&self, choice: &Choice) -> Result<(), Outcome> {
        let joined = self.hold.join(choice.claimed_for());
        joined.map_err(Outcome::MovedMeanwhile)?;
        if matches!(self.service(), Service::Rtmp | Service::Srt) {
            self.proxy.registry().answered(&choice.origin);
        }
        Ok(())
    }

    /// Makes the claim for a choice, here and in the store that other proxies use.
    async fn claim(&self, choice: &Choice) -> Result<(), Outcome> {
        let claimed = self
            .hold
            .claim(choice.expected.as_ref(), &choice.origin, &choice.words);
        let claim = claimed.map_err(|NoRoom| Outcome::Full)?;
        if !claim.won {
            let there = OriginId::from(claim.value);
            return Err(Outcome::ClaimedFor(there, Claimant::Request));
        }
        let labels = PlacementLabels {
            policy: self.proxy.registry().placer().policy.name(),
            reason: choice.why.as_str(),
        };
        let placements = &self.proxy.shared.metrics.placements;
        placements.get_or_create(&labels).inc();
        let Some(cluster) = self.proxy.cluster() else {
            return Ok(());
        };
        let claiming = cluster.claim(self.key, &choice.origin, self.publishes());
        match Box::pin(claiming).await {
            Claimed::Lost(there) => Err(Outcome::ClaimedFor(there, Claimant::Proxy)),
            Claimed::Unsettled | Claimed::Won => Ok(()),
        }
    }

    /// Notes how a dial failed, for all who ask of that origin, and says what it means for this request.
    fn note(&self, origin: &OriginId, error: DialError, dialled: Instant) -> Outcome {
        let registry = self.proxy.registry();
        let (fault, how) = match error {
            DialError::Closed(how) => (Fault::Closed, how),
            DialError::Exhausted(error) => return Outcome::Exhausted(error),
            DialError::Failed(how) => (Fault::Refused, how),
            DialError::Silent(how) => (Fault::Silent, how),
            DialError::HungUp(how) => {
                registry.answered(origin);
                self.note_failed(origin, &how, dialled);
                return Outcome::HungUp(how);
            }
            DialError::Moved { place, for_one } => {
                registry.answered(origin);
                info!(stream = %self.request.stream, %origin, to = place, "origin redirects");
                return Outcome::Redirected { place, for_one };
            }
            DialError::Busy(words) => {
                registry.answered(origin);
                return Outcome::Busy(words);
            }
            DialError::Taken(words) => {
                registry.answered(origin);
                return Outcome::Taken(words);
            }
            DialError::Refused(words) => {
                registry.answered(origin);
                return Outcome::Refused(words);
            }
            DialError::Slow(how) => {
                self.note_failed(origin, &how, dialled);
                return Outcome::OutOfTime;
            }
        };
        self.failed(origin, fault, &how);
        self.note_failed(origin, &how, dialled);
        Outcome::Failed(fault, how)
    }

    fn note_failed(&self, origin: &OriginId, how: &str, dialled: Instant) {
        debug!(%origin, why = how, after = ?dialled.elapsed(), "dial failed");
        if let Some(row) = self.row {
            row.note_failed(origin.clone(), how.to_owned());
        }
    }

    /// Notes that a dial failed.
    fn failed(&self, origin: &OriginId, fault: Fault, why: &str) {
        let registry = &self.proxy.shared.registry;
        match Transport::of(self.service()) {
            Transport::Tcp => registry.failed(origin, fault, why),
            Transport::Udp => registry.datagrams_failed(origin, fault, why),
        }
    }

    /// The origin that would be tried first.
    pub(super) fn likely(&self) -> Option<OriginId> {
        let first = self.attempts().first(self);
        first.ok().map(|choice| choice.origin)
    }

    fn attempts(&self) -> Attempts {
        let terms = Terms {
            publishes: self.publishes(),
            dial: self.proxy.shared.timing.dial,
            setup: self.setup,
        };
        match &self.lost {
            Some((origin, end)) => Attempts::after(terms, now(), origin, *end),
            None => Attempts::new(terms, now()),
        }
    }

    /// Asks the service that decides on new streams. A stream that is placed already stays there.
    async fn ask_outside(&self, service: &PlacementService) -> Result<(), Refusal> {
        let settled = self.proxy.settled(&self.ask(&[]));
        if settled.map_err(|give_up| self.refusal(give_up))?.is_some() {
            return Ok(());
        }
        match service.ask(self.key, self.request).await {
            ServiceAnswer::Allow => Ok(()),
            ServiceAnswer::Deny(reason) => Err(Refusal::Denied {
                stream: self.request.stream.clone(),
                why: verdict::Why::Forbidden,
                reason,
            }),
            ServiceAnswer::Goes(origin) => {
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
            protocol: self.protocol,
            action: self.request.action,
            only: self.directed.get(),
            without,
            zone: None,
            stands: None,
        }
    }

    /// Where a stream is that `origin` refuses to a player: its publisher may have come another way.
    async fn found_elsewhere(&self, origin: &OriginId) -> Option<OriginId> {
        let shared = &self.proxy.shared;
        let key_of = |stream: &StreamUrl| self.proxy.key(stream);
        shared
            .finder
            .find(
                &shared.registry,
                &self.request.stream,
                self.key,
                key_of,
                origin,
            )
            .await
    }

    /// What to dial to reach `origin`, if it has the service.
    pub(super) fn attempt(&self, origin: &OriginId) -> Option<Attempt> {
        let (proxy, request) = (self.proxy, self.request);
        proxy.attempt(origin, request, self.protocol, self.is_other)
    }

    /// Whether an origin that a link names may be given the stream.
    pub(super) fn is_fit(&self, origin: &OriginId) -> bool {
        let registry = &self.proxy.shared.registry;
        registry.state(origin) == Some(OriginState::Up)
            && registry
                .duty(origin)
                .is_some_and(|duty| duty.takes_players())
            && registry.target(origin, self.service()).is_some()
    }

    const fn service(&self) -> Service {
        self.protocol.service()
    }

    fn publishes(&self) -> bool {
        self.request.action == Action::Publish
    }

    fn refusal(&self, give_up: GiveUp) -> Refusal {
        self.proxy.refusal(give_up, &self.ask(&[]))
    }
}

impl View for Candidates<'_> {
    fn settled(&self, without: &[OriginId]) -> Result<Option<Choice>, GiveUp> {
        self.proxy.settled(&self.ask(without))
    }

    fn linked(&self) -> Option<Choice> {
        let origin = self.named.filter(|named| self.is_fit(named))?;
        Some(Choice {
            expected: self.proxy.registry().claimed(self.key),
            origin: origin.clone(),
            why: Why::Linked,
            words: "its link names it".into(),
        })
    }

    fn best(&self, without: &[OriginId]) -> Result<Choice, GiveUp> {
        let ask = self.ask(without);
        self.proxy.best(&ask, &self.proxy.decide(&ask))
    }

    fn publisher(&self) -> Publisher {
        let registry = self.proxy.registry();
        if registry.published_here(self.key) {
            Publisher::Here(registry.holder(self.key))
        } else {
            Publisher::NotHere
        }
    }

    fn origin_at(&self, place: &str) -> Option<OriginId> {
        let registry = self.proxy.registry();
        let service = match self.service() {
            // A call is asked for at the API.
            Service::Rtc => Service::Api,
            other => other,
        };
        let known = registry.at(service, place)?;
        let state = registry.state(&known)?;
        (state != OriginState::Suspect).then_some(known)
    }

    fn publisher_left_lately(&self) -> bool {
        let registry = self.proxy.registry();
        registry.unpublished_within(self.key, LEFT_LATELY)
    }

    fn may_ask_proxies(&self) -> bool {
        let cluster = self.proxy.cluster();
        cluster.is_some_and(|cluster| cluster.access().is_some() && !cluster.peers().is_empty())
            && !self.proxy.registry().published_here(self.key)
    }

    fn may_search(&self) -> bool {
        let shared = &self.proxy.shared;
        shared.timing.ask_streams && !shared.registry.published_here(self.key)
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// How lately a publisher must have left its origin for the origin not to have noticed.
pub(super) const LEFT_LATELY: Duration = Duration::from_secs(5);
