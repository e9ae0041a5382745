//! A client and an origin, on the way to each other or joined; and a share in a placement without a row.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sluicegate_core::access::question::UsedHeader;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::hold::Rounds;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::rule::HoldTimes;
use sluicegate_core::place::standing::{self, GoesOn};
use sluicegate_core::stream::{Action, PlacementKey, Protocol, StreamUrl};
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info};

use super::candidates::Candidates;
use super::choice::SeenHere;
use super::gate::{self, Telling};
use super::{Attempt, DialError, Grant, Proxy, Refusal, Request};
use crate::cluster::ToldHeld;
use crate::metrics::Metrics;
use crate::registry::PlacementGuard;
use crate::sessions::{EndReason, Loss, OpenRow, Over, Placed, Pull, Row};

/// A client on its way to, or joined with, an origin. Dropping it settles its accounts.
#[derive(Debug)]
pub struct Session {
    pub(super) proxy: Proxy,
    /// How long all candidates together have.
    pub(super) setup: Duration,
    /// What the gate said; nothing for most sessions.
    pub(super) admitted: Option<Box<Admitted>>,
    // Before the row, so that the claim's lifetime counts from the last session's end.
    pub(super) hold: PlacementGuard,
    pub(super) row: OpenRow,
}

/// What the gate said of a session that it let in.
#[derive(Debug)]
pub(super) struct Admitted {
    /// The query parameters that were used up at the gate.
    pub(super) used: Vec<Box<str>>,
    /// The headers that were.
    pub(super) headers: Box<[UsedHeader]>,
    /// Those that were used there, and that origins get all the same.
    pub(super) passed: Vec<Box<str>>,
    /// Tells who has to hear of the end.
    pub(super) _on_end: Option<OnEnd>,
    /// Ends the session when the time is over for which it was let in.
    pub(super) _term: Option<AbortOnDropHandle<()>>,
    /// Ends it when it is judged again and may not any more.
    pub(super) _recheck: Option<AbortOnDropHandle<()>>,
}

/// Tells backends of the end of what they said yes to, when it is dropped.
#[derive(Debug)]
pub(super) struct OnEnd {
    telling: Option<Telling>,
    whose: Whose,
}

/// Whose end it is.
#[derive(Debug)]
enum Whose {
    /// A request that has no row yet, and gets none if it is refused.
    Request(Box<Request>),
    /// A session.
    Row(Arc<Row>),
}

impl OnEnd {
    pub(super) fn new(telling: Telling, request: &Request) -> Self {
        Self {
            telling: Some(telling),
            whose: Whose::Request(Box::new(request.clone())),
        }
    }

    /// The request has become this session.
    pub(super) fn became(&mut self, row: &Arc<Row>) {
        self.whose = Whose::Row(Arc::clone(row));
    }

    /// The id by which backends know it.
    pub(super) fn session(&self) -> Box<str> {
        self.telling
            .as_ref()
            .map_or_else(Box::default, |telling| telling.session.clone())
    }
}

impl Drop for OnEnd {
    fn drop(&mut self) {
        match (self.telling.take(), &self.whose) {
            (Some(telling), Whose::Row(row)) => telling.over(row),
            (Some(telling), Whose::Request(request)) => telling.refused(request),
            (None, _) => {}
        }
    }
}

/// One of the many requests of a client that pulls a stream piece by piece: a share in the stream's placement
/// without a row in the table. While one lives the claim stands, and for its lifetime after the last.
#[derive(Debug)]
pub struct PieceGuard {
    pub(super) proxy: Proxy,
    pub(super) request: Request,
    /// What the client called its stream, where a backend gave it another name.
    pub(super) asked: Option<StreamUrl>,
    pub(super) key: PlacementKey,
    pub(super) hold: PlacementGuard,
    pub(super) named: Option<OriginId>,
    /// What the gate said.
    pub(super) grant: Grant,
    /// It is this proxy that asks, for sessions that hear of a refusal each.
    pub(super) is_pull: bool,
    /// The origin that held the stream when an operator began to look: for those who look, no other is asked.
    pub(super) holder: Option<OriginId>,
}

impl Session {
    /// The proxy that it is a session of.
    pub(crate) const fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The metric families.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.proxy.metrics()
    }

    /// The target of the client's URL as its origin gets it: without what the gate used up, where a rule says so.
    pub fn for_origin<'a>(&self, target: &'a str) -> Cow<'a, str> {
        gate::for_origin(target, self.taken_out())
    }

    /// The query parameters that its origin does not get, because the gate used them up and a rule says so.
    pub fn taken_out(&self) -> &[Box<str>] {
        self.admitted.as_ref().map_or(&[], |told| &told.used)
    }

    /// The headers that its origin does not get, for the same reason.
    pub fn headers_taken_out(&self) -> &[UsedHeader] {
        self.admitted.as_ref().map_or(&[], |told| &told.headers)
    }

    /// Whether a backend gave its stream another name than its client did.
    pub fn is_renamed(&self) -> bool {
        self.row.asked().is_some()
    }

    /// Whether the query parameter `name` said at the gate who the client is.
    pub fn has_shown(&self, name: &str) -> bool {
        self.admitted.as_ref().is_some_and(|told| {
            let mut shown = told.used.iter().chain(&told.passed);
            shown.any(|one| &**one == name)
        })
    }

    /// The row: counters, and the way to hear of a kick.
    pub fn row(&self) -> &Arc<Row> {
        &self.row
    }

    /// Shortens the time that all candidates together have, for clients that wait less.
    #[must_use]
    pub fn within(mut self, setup: Duration) -> Self {
        self.setup = self.setup.min(setup);
        self
    }

    /// How long an origin that has shown that it lives may take to answer.
    pub fn patience(&self) -> Duration {
        let timing = &self.proxy.shared.timing;
        timing.patience(self.row.request.action)
    }

    /// Tries origins, best first, until `dial` joins one. The claim moves with the choice, so that all others
    /// that ask for the stream is sent to the same origin.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted; the session is over then.
    pub async fn dial<T, F>(&self, dial: impl Fn(Attempt) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        match self.try_dial(self.row.request.protocol, dial).await {
            Ok(leg) => {
                let first = self.row.joined();
                let stays = self.stays_where_it_is();
                let placed = self.row.placed();
                let shared = self.proxy.shared.registry.is_shared(self.key());
                if let Some(origin) = placed
                    .origin
                    .as_ref()
                    .filter(|_| stays && shared && self.publishes())
                {
                    self.proxy
                        .shared
                        .sessions
                        .end_players_elsewhere(self.key(), origin);
                }
                if first {
                    self.note_setup(&placed);
                    self.tell_joined(&placed);
                }
                Ok(leg)
            }
            Err(refusal) => {
                self.proxy.note_refusal(&self.row.request, &refusal);
                self.row.end(EndReason::Refused);
                Err(refusal)
            }
        }
    }

    /// As [`dial`](Self::dial), by a protocol that need not be the client's, and may be called again. A refusal is told to
    /// nobody, and the session goes on.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn try_dial<T, F>(
        &self,
        protocol: Protocol,
        dial: impl Fn(Attempt) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        tokio::select! {
            joined = self.candidates(protocol).first_to_answer(dial, |_| true) => joined,
            reason = self.row.ended() => Err(Refusal::Ended(reason)),
        }
    }

    /// The leg is over, and the session goes on without one.
    pub fn end_leg(&self, end: LegEnd) {
        self.hold.end_leg(end);
    }

    /// The session is to be served from a pull of its stream, so that it asks for no leg of its own; or it is not any
    /// more.
    pub fn watch(&self, watches: bool) {
        self.hold.watch(watches);
    }

    /// The session is served from `pull` from here on.
    pub fn watches(&self, pull: &Pull) {
        self.row.note_pull(pull.id);
        self.row.note_placed(pull.origin(), WATCHES.into());
        if self.row.joined() {
            self.tell_joined(&self.row.placed());
        }
    }

    /// The session gets nothing: the pull it waited for was refused.
    pub fn refuse(&self, refusal: &Refusal) {
        if let Refusal::Ended(reason) = refusal {
            return self.row.end(*reason);
        }
        self.proxy.note_refusal(&self.row.request, refusal);
        self.row.end(EndReason::Refused);
    }

    fn note_setup(&self, placed: &Placed) {
        if let (Some(origin), Some(took)) = (&placed.origin, self.row.setup()) {
            self.proxy.registry().note_setup(origin, took);
        }
    }

    pub(super) fn tell_joined(&self, placed: &Placed) {
        let request = &self.row.request;
        if self.publishes() {
            let news = News {
                stream: self.key().as_str().to_owned(),
                origin: placed
                    .origin
                    .as_ref()
                    .map_or_else(String::new, |id| id.as_str().to_owned()),
                client: request.client.ip().to_string(),
                what: format!("by {}: {}", request.protocol.as_str(), placed.why),
            };
            self.metrics().journal.note(Kind::Published, news);
        }
        info!(
            session = self.row.id,
            stream = %request.stream,
            action = request.action.as_str(),
            protocol = request.protocol.as_str(),
            client = %request.client,
            peer = request.by_way_of.as_ref().map(tracing::field::display),
            origin = placed.origin.as_ref().map_or("-", |id| id.as_str()),
            why = &*placed.why,
            "session joined"
        );
    }

    /// Notes that the origin answered. A dial that ended with the connection, before a word of the origin, does not
    /// show that it lives: the kernel accepts connections for a process that is stopped.
    pub fn answered(&self) {
        if let Some(origin) = self.row.placed().origin {
            self.proxy.shared.registry.answered(&origin);
        }
    }

    /// The name its stream is placed under.
    pub(super) const fn key(&self) -> &PlacementKey {
        self.hold.key()
    }

    fn publishes(&self) -> bool {
        self.row.request.action == Action::Publish
    }

    fn candidates(&self, protocol: Protocol) -> Candidates<'_> {
        Candidates {
            proxy: &self.proxy,
            protocol,
            setup: self.setup,
            key: self.key(),
            hold: &self.hold,
            request: &self.row.request,
            row: Some(&self.row),
            named: None,
            is_other: self.is_renamed(),
            directed: OnceLock::new(),
            lost: None,
        }
    }

    /// How long it may be held when its origin is lost, if at all.
    pub fn hold_for(&self) -> Option<Duration> {
        let hold = self.hold_times().publishers;
        (self.publishes() && !hold.is_zero()).then_some(hold)
    }

    /// The same for one that has a leg of its own whatever it does, as by SRT.
    pub(crate) fn hold_either_for(&self) -> Option<Duration> {
        let times = self.hold_times();
        let hold = match self.row.request.action {
            Action::Play => times.viewers,
            Action::Publish => times.publishers,
        };
        (!hold.is_zero()).then_some(hold)
    }

    fn hold_times(&self) -> HoldTimes {
        self.proxy.shared.timing.holds.of(&self.row.request.stream)
    }

    /// Its leg is over for `end`, and it waits for another. Returns the origin that was lost.
    pub fn lose_leg(&self, end: LegEnd) -> Option<OriginId> {
        let from = self.row.placed().origin;
        self.hold.end_leg(end);
        self.hold.lose_origin();
        self.row.hold(Loss::Leg(end), from.clone());
        from
    }

    /// Tells the other proxies that its publisher is held, for at most `hold`, until what is returned is dropped.
    pub(crate) fn tell_held(&self, hold: Duration) -> Option<ToldHeld> {
        let cluster = self.proxy.cluster()?;
        Some(cluster.tell_held(self.key(), self.row.request.client, hold))
    }

    /// Tries origins as [`dial`](Self::dial) does, after the leg to `lost` was over for `end`, and again while none can
    /// be reached. The caller says when it has waited enough.
    ///
    /// # Errors
    /// A [`Refusal`] in somebody's words, which nothing but the client can change. The session is not over.
    pub async fn dial_again<T, F>(
        &self,
        (lost, end): (&OriginId, LegEnd),
        dial: impl Fn(Attempt) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let leg = self.dial_elsewhere((lost, end), dial).await?;
        self.row.found_again(self.row.placed().origin);
        self.stays_where_it_is();
        Ok(leg)
    }

    /// Leaves its origin, false, if its stream was placed elsewhere since that has agreed: who told the sessions of it has passed
    /// this one over, which was not known to be there yet.
    fn stays_where_it_is(&self) -> bool {
        let stays = self.hold.placed_since().is_none();
        if !stays {
            self.row.lose_leg(LegEnd::Moved);
        }
        stays
    }

    /// The same for a session that is to leave `lost` for `end`, and is not held.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub(crate) async fn dial_elsewhere<T, F>(
        &self,
        (lost, end): (&OriginId, LegEnd),
        dial: impl Fn(Attempt) -> F,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let action = self.row.request.action;
        let publisher_away = self.hold_times().publisher_away;
        let now = || Instant::now().into_std();
        let mut rounds = Rounds::new(now(), action, publisher_away);
        loop {
            let mut candidates = self.candidates(self.row.request.protocol);
            candidates.lost = Some((lost.clone(), end));
            let found = candidates.first_to_answer(&dial, |_| true).await;
            match found {
                Ok(leg) => {
                    let placed = self.row.placed();
                    if let Some(origin) = placed.origin.filter(|_| self.publishes()) {
                        let sessions = &self.proxy.shared.sessions;
                        sessions.end_players_elsewhere(self.key(), &origin);
                    }
                    return Ok(leg);
                }
                Err(refusal) => {
                    let is_no = matches!(
                        refusal,
                        Refusal::Denied { .. }
                            | Refusal::Redirected { .. }
                            | Refusal::Refused { .. }
                    );
                    let Some(pause) = rounds.after(now(), is_no) else {
                        self.proxy.note_refusal(&self.row.request, &refusal);
                        return Err(refusal);
                    };
                    debug!(session = self.row.id, %refusal, "no origin yet for a session that is held");
                    sleep(pause).await;
                }
            }
        }
    }

    /// Where its stream is to be for a player that leaves `from`, and is expected `at` another origin or asks for one still.
    pub(crate) fn goes_on(&self, from: &OriginId, at: Option<&OriginId>) -> GoesOn {
        standing::goes_on(&SeenHere::new(&self.proxy, self.key()), from, at)
    }

    /// The origin that was lost speaks again, and has the session as before. False for a player whose stream is elsewhere by
    /// now.
    pub(crate) async fn is_back_at(&self, origin: &OriginId) -> bool {
        let claimed = match self.publishes() {
            true => self.proxy.registry().claimed(self.key()),
            false => Some(origin.clone()),
        };
        let claim = self.hold.claim(claimed.as_ref(), origin, IS_BACK);
        let is_there = claim.is_ok_and(|claim| claim.won) && self.hold.join(origin).is_ok();
        if is_there && let Some(cluster) = self.proxy.cluster().filter(|_| self.publishes()) {
            cluster.claim(self.key(), origin, true).await;
        }
        self.row.note_placed(origin.clone(), IS_BACK.into());
        self.row.found_again(Some(origin.clone()));
        is_there
    }

    /// Notes what a relay says is over. A session whose leg is over is over too: it has no other.
    pub fn over(&self, over: Over) {
        match over {
            Over::Leg(end) => {
                self.hold.end_leg(end);
                self.row.end(self.row.end_without(end));
            }
            Over::Session(reason) => self.row.end(reason),
        }
    }

    /// Ends the session for `reason`, unless something ended it before.
    pub fn finish(self, reason: EndReason) {
        self.row.end(reason);
    }
}

impl PieceGuard {
    /// Where the stream is, if it was placed elsewhere since its origin agreed.
    pub(crate) fn placed_since(&self) -> Option<OriginId> {
        self.hold.placed_since()
    }

    /// Notes that an origin had what was asked for, so that the stream exists.
    pub(crate) fn exists(&self) {
        if self.proxy.registry().claiming_sources() > 0 {
            self.proxy.registry().exist([&self.key]);
        }
    }

    /// The target of the client's URL as its origin gets it: without what the gate used up, where a rule says so.
    pub fn for_origin<'a>(&self, target: &'a str) -> Cow<'a, str> {
        gate::for_origin(target, &self.grant.used)
    }

    /// Whether query parameters said at the gate who the client is.
    pub fn has_shown(&self) -> bool {
        !self.grant.used.is_empty() || !self.grant.passed.is_empty()
    }

    /// A target without the query parameters that said at the gate who the client is.
    pub fn without_shown(&self, target: &str) -> String {
        let shown = [&*self.grant.used, &*self.grant.passed].concat();
        gate::for_origin(target, &shown).into_owned()
    }

    /// The headers that its origin does not get, for the same reason.
    pub fn headers_taken_out(&self) -> &[UsedHeader] {
        &self.grant.headers
    }

    /// The key that the stream is placed under.
    pub const fn key(&self) -> &PlacementKey {
        &self.key
    }

    /// What the client called the stream, where a backend gave it another name.
    pub const fn asked(&self) -> Option<&StreamUrl> {
        self.asked.as_ref()
    }

    /// What the gate said of who asks.
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The stream, who asks for it and how.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// How long one origin has to take a connection.
    pub fn time_limit(&self) -> Duration {
        self.proxy.shared.timing.dial
    }

    /// The origin that [`PieceGuard::dial`] would try first, without a claim on it.
    pub fn likely(&self) -> Option<OriginId> {
        self.candidates().likely()
    }

    /// What to dial to reach an origin of the fleet, unless it is down or has no such service.
    pub fn attempt(&self, origin: &OriginId) -> Option<Attempt> {
        let candidates = self.candidates();
        candidates
            .is_fit(origin)
            .then(|| candidates.attempt(origin))
            .flatten()
    }

    /// Tries origins, best first, until `dial` gets an answer from one, as [`Session::dial`] does. An answer that
    /// does not show the stream there, by the word of `joins`, leaves no claim behind.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub async fn dial<T, F>(
        &self,
        dial: impl Fn(Attempt) -> F,
        joins: impl Fn(&T) -> bool,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        self.dial_after(None, dial, joins).await
    }

    /// The same after a leg was lost: to which origin it led, and how it ended.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn dial_after<T, F>(
        &self,
        lost: Option<&(OriginId, LegEnd)>,
        dial: impl Fn(Attempt) -> F,
        joins: impl Fn(&T) -> bool,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let protocol = self.request.protocol;
        let answered = self.dial_by(protocol, lost, dial, joins).await;
        if let Err(refusal) = &answered
            && !self.is_pull
        {
            self.proxy.note_refusal(&self.request, refusal);
        }
        answered
    }

    /// The same by another protocol than the request's, for a pull: nobody is told of a refusal.
    ///
    /// # Errors
    /// A [`Refusal`].
    pub async fn dial_by<T, F>(
        &self,
        protocol: Protocol,
        lost: Option<&(OriginId, LegEnd)>,
        dial: impl Fn(Attempt) -> F,
        joins: impl Fn(&T) -> bool,
    ) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        if let Some(holder) = &self.holder {
            // It may have moved since.
            let now = self.proxy.holder_here(&self.key);
            let holder = now.as_ref().unwrap_or(holder);
            let asked = self.proxy.ask_holder(holder, &self.request, protocol, dial);
            return asked.await;
        }
        let candidates = Candidates {
            lost: lost.cloned(),
            protocol,
            ..self.candidates()
        };
        candidates.first_to_answer(dial, joins).await
    }

    /// Tells that `origin` refused what was asked of it, in these words. Answers are counted by who passes them on.
    pub fn refused(&self, origin: OriginId, description: String) {
        let refusal = Refusal::Refused {
            origin,
            description,
        };
        self.proxy.tell_refusal(&self.request, &refusal);
    }

    /// The leg is over.
    pub fn end_leg(&self, end: LegEnd) {
        self.hold.end_leg(end);
    }

    fn candidates(&self) -> Candidates<'_> {
        Candidates {
            proxy: &self.proxy,
            protocol: self.request.protocol,
            setup: self.proxy.shared.timing.setup,
            key: &self.key,
            hold: &self.hold,
            request: &self.request,
            row: None,
            named: self.named.as_ref(),
            is_other: self.asked.is_some(),
            directed: OnceLock::new(),
            lost: None,
        }
    }
}

/// Why a session is where it is that is served from a pull.
const WATCHES: &str = "its stream is pulled from there for all its viewers";
/// Why a session is where it was.
const IS_BACK: &str = "its origin was out of reach for a moment, and has it again";
