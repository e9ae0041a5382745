//! What follows an attempt that failed: one request's way through the origins that may have its stream.
//!
//! The machine says which origin to try next, and when to give up; its caller claims the stream for that origin, dials
//! it, and says what came of it. What is known of the stream and of the fleet is asked of a [`View`] at each step, since
//! both change while an origin is dialled. A *round* goes from the first attempt to a leg or a refusal. A session whose
//! leg is lost begins [another](Attempts::after).

use std::borrow::Cow;
use std::time::{Duration, Instant};

use super::leg::LegEnd;
use super::origins_no::without_secrets;
use super::takeover::Former;
use crate::fleet::health::Fault;
use crate::fleet::origin::OriginId;

/// Why an origin is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was asked a moment ago, and is asked once more.
    Again,
    /// The origin before it failed.
    Failover,
    /// Its list of streams has the stream that another origin refused.
    Found,
    /// The client's link names it, and the stream is nowhere.
    Linked,
    /// Another request placed the stream there first.
    Lost,
    /// The stream is placed on an origin that may not keep it.
    Moved,
    /// The stream is nowhere.
    New,
    /// An origin redirects the stream to it; that may be itself.
    Redirected,
    /// It reports that the stream is published on it.
    Reported,
    /// The origin that the stream is placed on sends this one client on to it, and the next one as it sees fit.
    SentOn,
    /// The stream is placed there.
    Sticky,
}

impl Why {
    /// The reason as metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Again => "again",
            Self::Failover => "failover",
            Self::Found => "found",
            Self::Linked => "linked",
            Self::Lost => "lost",
            Self::Moved => "moved",
            Self::New => "new",
            Self::Redirected => "redirected",
            Self::Reported => "reported",
            Self::SentOn => "sent_on",
            Self::Sticky => "sticky",
        }
    }

    /// Whether the policy chose the origin, so that another will do where this one has no room.
    const fn is_a_choice(self) -> bool {
        matches!(self, Self::Failover | Self::Moved | Self::New)
    }
}

/// An origin for a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// What the claim on the stream is expected to be. It stays so for a client that is [sent on](Why::SentOn).
    pub expected: Option<OriginId>,
    /// The origin.
    pub origin: OriginId,
    /// Why this one.
    pub why: Why,
    /// The same in words, for logs and the API.
    pub words: Cow<'static, str>,
}

impl Choice {
    /// The origin that the stream is claimed for while this one is asked.
    pub fn claimed_for(&self) -> &OriginId {
        match (self.why, &self.expected) {
            (Why::SentOn, Some(sender)) => sender,
            _ => &self.origin,
        }
    }

    /// A stream whose claim is known to stand for `origin` is asked for there.
    fn standing(origin: OriginId, why: Why, words: impl Into<Cow<'static, str>>) -> Self {
        Self {
            expected: Some(origin.clone()),
            origin,
            why,
            words: words.into(),
        }
    }
}

/// What is known of the stream and of the fleet at the moment of a step.
pub trait View {
    /// Where the stream is, if it may stay there and that is not one of `without`.
    ///
    /// # Errors
    /// [`GiveUp::Gone`] when it is published on an origin that takes nobody.
    fn settled(&self, without: &[OriginId]) -> Result<Option<Choice>, GiveUp>;

    /// The origin that the client's link names, if that one may be given the stream.
    fn linked(&self) -> Option<Choice>;

    /// The origin that the policy ranks first, besides `without`.
    ///
    /// # Errors
    /// [`GiveUp::Nobody`] when none may take the stream.
    fn best(&self, without: &[OriginId]) -> Result<Choice, GiveUp>;

    /// Where the stream's publisher is joined through this proxy.
    fn publisher(&self) -> Publisher;

    /// The origin that is registered at `place` (`host:port`), unless its heartbeats stay away.
    fn origin_at(&self, place: &str) -> Option<OriginId>;

    /// Whether a publisher of the stream left its origin so lately that the origin may not have noticed.
    fn publisher_left_lately(&self) -> bool;

    /// Whether other proxies can be asked for the publisher that an origin has: there are some, and none is joined here.
    fn may_ask_proxies(&self) -> bool;

    /// Whether origins may be asked for the stream when one of them refuses it.
    fn may_search(&self) -> bool;
}

/// Whether a stream is published through this proxy: its claim does not move then, since moving it would split the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Publisher {
    /// It is, on this origin; `None` where that one is not known any more.
    Here(Option<OriginId>),
    /// It is not.
    NotHere,
}

/// What a request brings with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// It publishes.
    pub publishes: bool,
    /// How long an origin may take to send its first byte.
    pub dial: Duration,
    /// How long a round may take.
    pub setup: Duration,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Ask the other proxies for the publisher that the origin is busy with; [`Outcome::Former`] follows.
    AskProxies,
    /// No origin will do.
    Give(GiveUp),
    /// Ask the other origins whether they have the stream that this one refused; [`Outcome::Found`] follows.
    Search(OriginId),
    /// Claim the stream for an origin and dial it; any other outcome follows.
    Try(Try),
}

/// An origin to claim the stream for and to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// Which, and why.
    pub choice: Choice,
    /// How long to wait before.
    pub pause: Duration,
    /// How long it may take to send its first byte.
    pub time_limit: Duration,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The origin said no, which may be for a publisher that it has not seen leave.
    Busy(String),
    /// The claim was not made: the stream is claimed for this origin, by somebody who was first.
    ClaimedFor(OriginId, Claimant),
    /// This machine has nothing left for a connection, in the words of the system.
    Exhausted(String),
    /// The other proxies were asked; what is known of the publisher that the origin is busy with.
    Former(Former),
    /// The origin could not be reached, spoke nonsense or said nothing, and how.
    Failed(Fault, String),
    /// The claim was not made: the origin holds as much as it may.
    Full,
    /// The search is over; the origin that has the stream.
    Found(Option<OriginId>),
    /// The origin lives, and did not serve the client: it closed the connection when it heard what that wants, or gave no
    /// answer that can be passed on. In words.
    HungUp(String),
    /// The origin took the stream, and the claim had moved to this one meanwhile.
    MovedMeanwhile(OriginId),
    /// The origin does not have the service asked for.
    NoService,
    /// The time for the round is over.
    OutOfTime,
    /// The origin names another place for the stream.
    Redirected {
        /// The place, as `host:port`.
        place: String,
        /// It is to be asked for something else there than this one was, such as with a token: that is for this client, and
        /// nobody but this origin knows what the next is to ask for.
        for_one: bool,
    },
    /// The origin said no, in these words, which are its last.
    Refused(String),
    /// As [`Busy`](Self::Busy), and the client has heard that no: it has to come again to do better.
    Taken(String),
}

/// Who else claimed a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimant {
    /// Another proxy.
    Proxy,
    /// Another request to this proxy.
    Request,
}

/// Why no origin will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GiveUp {
    /// Every origin that might have done accepted the connection and closed it without a word.
    AllClosed(Tried),
    /// Every origin that might have done failed.
    AllFailed(Tried),
    /// This machine has nothing left for a connection, in the words of the system.
    Exhausted(String),
    /// The origin that the stream is on holds as much as it may.
    Full(OriginId),
    /// The stream is published on this origin, which takes nobody.
    Gone(OriginId),
    /// No other may be asked, and some of those that were hung up on this client. They live, so that the request may be
    /// what is wrong.
    HungUp(Tried),
    /// No origin may take the stream.
    Nobody {
        /// That is because all that could are full.
        full: bool,
        /// What stood in the way of each, in words.
        words: String,
    },
    /// An origin said no.
    Refused {
        /// Which.
        origin: OriginId,
        /// Its own words, or ours for what it did.
        words: String,
    },
    /// An origin redirects the client to where no origin is registered, or once too often.
    Redirected {
        /// Which.
        origin: OriginId,
        /// Where to, as `host:port`.
        to: String,
    },
    /// The round took too long.
    TooSlow(Tried),
    /// The stream is on this origin, which does not have the service asked for.
    WrongService(OriginId),
}

/// The origins that were tried, and how each failed.
pub type Tried = Vec<(OriginId, String)>;

/// One request's attempts at a leg. Every method takes the time and a [`View`]; nothing in here reads a clock.
#[derive(Debug)]
pub struct Attempts {
    terms: Terms,
    began: Instant,
    tried: Tried,
    /// A leg of the session was lost before: its client is in the middle of its stream.
    is_after_loss: bool,
    /// Origins that had no room when the stream was claimed for them.
    full: Vec<OriginId>,
    /// What is tried now.
    current: Option<Choice>,
    /// A no that may not be the last word, while the other origins are searched or the other proxies asked.
    refusal: Option<String>,
    has_asked_proxies: bool,
    /// The client has heard that no.
    has_heard: bool,
    /// When another proxy said that its publisher gave way or had left.
    made_room: Option<Instant>,
    searched: bool,
    insisted: bool,
    redirects: usize,
    hang_ups: usize,
    /// How many of those that were tried closed the connection without a word.
    closed: usize,
    lost: usize,
}

impl Attempts {
    /// A first round.
    pub const fn new(terms: Terms, now: Instant) -> Self {
        Self {
            terms,
            began: now,
            tried: Vec::new(),
            is_after_loss: false,
            full: Vec::new(),
            current: None,
            refusal: None,
            has_asked_proxies: false,
            has_heard: false,
            made_room: None,
            searched: false,
            insisted: false,
            redirects: 0,
            hang_ups: 0,
            closed: 0,
            lost: 0,
        }
    }

    /// A round after a leg on `origin` was lost. Where `end` rules that origin out, it is not tried. Origins had taken
    /// the client, so that one which hangs up without a word has not said no to it.
    pub fn after(terms: Terms, now: Instant, origin: &OriginId, end: LegEnd) -> Self {
        let mut attempts = Self {
            is_after_loss: true,
            ..Self::new(terms, now)
        };
        if end.rules_out_origin() {
            attempts
                .tried
                .push((origin.clone(), format!("lost: {}", end.as_str())));
        }
        attempts
    }

    /// The first step of a round: to where the stream is, else to where the client's link points, else to where the
    /// policy puts it.
    pub fn begin(&mut self, now: Instant, view: &impl View) -> Step {
        match self.first(view) {
            Ok(choice) => self.try_next(now, choice),
            Err(give_up) => Step::Give(give_up),
        }
    }

    /// The origin that [`begin`](Self::begin) would try.
    ///
    /// # Errors
    /// Why there is none.
    pub fn first(&self, view: &impl View) -> Result<Choice, GiveUp> {
        let without = self.without();
        if let Some(choice) = view.settled(&without)? {
            return Ok(choice);
        }
        match view.linked() {
            Some(choice) if !without.contains(&choice.origin) => Ok(choice),
            _ => view.best(&without),
        }
    }

    /// When the round is to be over.
    pub fn deadline(&self) -> Instant {
        self.began + self.terms.setup
    }

    /// The next step after `outcome` of the last.
    pub fn next(&mut self, now: Instant, outcome: Outcome, view: &impl View) -> Step {
        let Some(current) = self.current.clone() else {
            return self.begin(now, view);
        };
        let origin = current.origin.clone();
        match outcome {
            Outcome::Busy(words) if self.came_back_too_soon(now, view) => {
                let words = without_secrets(&words);
                let why = format!("it still had the publisher that left: {words}");
                let choice = Choice::standing(origin, Why::Again, why);
                self.try_in(now, choice, PAUSE, self.terms.dial)
            }
            Outcome::Busy(words) if self.may_ask_proxies(view) => self.ask_proxies(words),
            Outcome::Busy(words) => self.refused(origin, words, view),
            Outcome::ClaimedFor(there, by) => self.claimed_for(now, there, by),
            Outcome::Exhausted(error) => Step::Give(GiveUp::Exhausted(error)),
            Outcome::Failed(fault, how) => self.fail_over(now, &current, fault, how, view),
            Outcome::Former(former) => self.heard_of(now, origin, former),
            Outcome::Full => self.make_do(now, current, view),
            Outcome::Found(there) => self.found(now, &current, there),
            Outcome::HungUp(how) => {
                self.hang_ups += 1;
                let most = match self.is_after_loss {
                    true => MAX_HANG_UPS_AFTER_LOSS,
                    false => MAX_HANG_UPS,
                };
                if self.hang_ups >= most {
                    self.tried.push((origin, how));
                    return self.all_failed();
                }
                self.fail_over(now, &current, Fault::Refused, how, view)
            }
            Outcome::MovedMeanwhile(there) => self.moved_meanwhile(now, there),
            Outcome::NoService => Step::Give(GiveUp::WrongService(origin)),
            Outcome::OutOfTime => {
                self.tried
                    .push((origin, "did not answer in time".to_owned()));
                Step::Give(GiveUp::TooSlow(self.tried.clone()))
            }
            Outcome::Redirected { place, for_one } => {
                self.redirected(now, &current, (&place, for_one), view)
            }
            Outcome::Refused(words) => self.refused(origin, words, view),
            Outcome::Taken(words) if self.may_ask_proxies(view) => {
                self.has_heard = true;
                self.ask_proxies(words)
            }
            Outcome::Taken(words) => self.refused(origin, words, view),
        }
    }

    /// Goes to the origin that somebody else claimed the stream for, unless that one has failed already.
    fn claimed_for(&mut self, now: Instant, there: OriginId, by: Claimant) -> Step {
        if self.has_tried(&there) {
            return self.all_failed();
        }
        if self.loses_again() {
            return self.lost_too_often(there);
        }
        let words = match by {
            Claimant::Proxy => "another proxy placed it there first",
            Claimant::Request => "another request placed it there first",
        };
        self.try_next(now, Choice::standing(there, Why::Lost, words))
    }

    /// Follows the stream to an origin that took it while this one was asked, even one that failed before: it has it.
    fn moved_meanwhile(&mut self, now: Instant, there: OriginId) -> Step {
        if self.loses_again() {
            return self.lost_too_often(there);
        }
        let words = "another request placed it there meanwhile";
        self.try_next(now, Choice::standing(there, Why::Lost, words))
    }

    /// Chooses again, without the origin whose last place somebody else got.
    fn make_do(&mut self, now: Instant, current: Choice, view: &impl View) -> Step {
        if !current.why.is_a_choice() || self.full.len() >= MAX_LOST_PLACES {
            return Step::Give(GiveUp::Full(current.origin));
        }
        self.full.push(current.origin);
        match view.best(&self.without()) {
            Ok(best) => {
                let choice = Choice {
                    expected: current.expected,
                    why: current.why,
                    ..best
                };
                self.try_next(now, choice)
            }
            Err(give_up) => Step::Give(give_up),
        }
    }

    /// Goes on to the next origin after one that failed.
    fn fail_over(
        &mut self,
        now: Instant,
        failed: &Choice,
        fault: Fault,
        how: String,
        view: &impl View,
    ) -> Step {
        let origin = failed.origin.clone();
        self.tried.push((origin.clone(), how));
        self.closed += usize::from(fault == Fault::Closed);
        if failed.why == Why::SentOn {
            // Nobody else knows what another origin is to be asked for.
            let words = format!("{origin} failed, so that the one that named it is asked again");
            let sender = failed.claimed_for().clone();
            return match self.has_tried(&sender) {
                true => self.all_failed(),
                false => self.try_next(now, Choice::standing(sender, Why::Sticky, words)),
            };
        }
        if let Some(choice) = self.after_failure(&origin, view) {
            return self.try_next(now, choice);
        }
        if fault != Fault::Silent || self.insisted {
            return self.all_failed();
        }
        // No other origin may take the stream, so waiting costs nothing: a full queue of an origin that lives drops the
        // first packet of a connection, and the kernel repeats it after the second that a dial has.
        self.insisted = true;
        let words = "no other origin may take it, so it is asked again";
        let choice = Choice::standing(origin, Why::Again, words);
        let time_limit = self.deadline().saturating_duration_since(now);
        self.try_in(now, choice, Duration::ZERO, time_limit)
    }

    /// The origin to try after `failed`. None when a publisher on that one is joined through this proxy.
    fn after_failure(&self, failed: &OriginId, view: &impl View) -> Option<Choice> {
        if let Publisher::Here(origin) = view.publisher() {
            // It may have been joined elsewhere while this request was still dialling.
            let origin = origin.filter(|origin| !self.has_tried(origin))?;
            let words = "another request placed it there meanwhile";
            return Some(Choice::standing(origin, Why::Lost, words));
        }
        let best = view.best(&self.without()).ok()?;
        Some(Choice {
            expected: Some(failed.clone()),
            words: format!("after {failed} failed, {}", best.words).into(),
            origin: best.origin,
            why: Why::Failover,
        })
    }

    fn ask_proxies(&mut self, words: String) -> Step {
        self.has_asked_proxies = true;
        self.refusal = Some(words);
        Step::AskProxies
    }

    /// Asks the origin again if the publisher that it was busy with gave way at another proxy, or left it lately.
    fn heard_of(&mut self, now: Instant, origin: OriginId, former: Former) -> Step {
        let words = self.refusal.take().unwrap_or_default();
        if self.has_heard || !former.makes_room() || now + PAUSE >= self.deadline() {
            return Step::Give(GiveUp::Refused { origin, words });
        }
        self.made_room = Some(now);
        let why = match former {
            Former::GaveWay => "its publisher at another proxy gave way",
            _ => "it still had the publisher that left another proxy",
        };
        let choice = Choice::standing(origin, Why::Again, why);
        self.try_in(now, choice, PAUSE, self.terms.dial)
    }

    /// Hears a no. The stream may be on another origin, since its publisher need not have come through here.
    fn refused(&mut self, origin: OriginId, words: String, view: &impl View) -> Step {
        if self.may_search(view) {
            self.searched = true;
            self.refusal = Some(words);
            return Step::Search(origin);
        }
        Step::Give(GiveUp::Refused { origin, words })
    }

    /// Goes where the stream was found, if it was.
    fn found(&mut self, now: Instant, asked: &Choice, there: Option<OriginId>) -> Step {
        let words = self.refusal.take().unwrap_or_default();
        let origin = asked.origin.clone();
        match there.filter(|there| *there != origin && !self.has_tried(there)) {
            Some(there) => {
                let choice = Choice {
                    words: format!("{there} has it, by its list of streams").into(),
                    expected: Some(asked.claimed_for().clone()),
                    origin: there,
                    why: Why::Found,
                };
                self.try_next(now, choice)
            }
            None => Step::Give(GiveUp::Refused { origin, words }),
        }
    }

    /// Follows a redirect to an origin that is known and alive. It may be the same one, at another address or for another
    /// name. A player that is sent on by itself leaves the claim where it is: those who come later are to ask there, too.
    fn redirected(
        &mut self,
        now: Instant,
        by: &Choice,
        (place, for_one): (&str, bool),
        view: &impl View,
    ) -> Step {
        self.redirects += 1;
        let origin = by.origin.clone();
        let holder = by.claimed_for();
        let there = view.origin_at(place);
        match there.filter(|_| self.redirects <= MAX_REDIRECTS) {
            Some(there) => {
                let is_sent_on = (for_one || by.why == Why::SentOn) && !self.terms.publishes;
                if is_sent_on && there != origin && self.has_tried(&there) {
                    return self.all_failed();
                }
                let choice = Choice {
                    words: match there == origin {
                        true => "it redirected it to an address of its own".into(),
                        false => format!("{origin} redirected it here").into(),
                    },
                    why: match is_sent_on && there != *holder {
                        true => Why::SentOn,
                        false => Why::Redirected,
                    },
                    expected: Some(holder.clone()),
                    origin: there,
                };
                self.try_next(now, choice)
            }
            None => Step::Give(GiveUp::Redirected {
                origin,
                to: place.chars().take(MAX_PLACE).collect(),
            }),
        }
    }

    fn try_next(&mut self, now: Instant, choice: Choice) -> Step {
        self.try_in(now, choice, Duration::ZERO, self.terms.dial)
    }

    fn try_in(
        &mut self,
        now: Instant,
        choice: Choice,
        pause: Duration,
        time_limit: Duration,
    ) -> Step {
        let then = now + pause;
        if then >= self.deadline() {
            self.tried
                .push((choice.origin, "no time was left for it".to_owned()));
            return Step::Give(GiveUp::TooSlow(self.tried.clone()));
        }
        self.current = Some(choice.clone());
        Step::Try(Try {
            choice,
            pause,
            time_limit,
        })
    }

    /// Whether an origin that is busy may be busy with the publisher that left it a moment ago. It is asked again for
    /// as long as it may need to notice.
    fn came_back_too_soon(&self, now: Instant, view: &impl View) -> bool {
        let lately = |since| now.saturating_duration_since(since) < NOTICES_WITHIN;
        let left_here = || lately(self.began) && view.publisher_left_lately();
        self.terms.publishes && (self.made_room.is_some_and(lately) || left_here())
    }

    /// Once in a first round. The stream of a publisher that is held may be another's by now, which is to keep it.
    fn may_ask_proxies(&self, view: &impl View) -> bool {
        self.terms.publishes
            && !self.is_after_loss
            && !self.has_asked_proxies
            && view.may_ask_proxies()
    }

    fn may_search(&self, view: &impl View) -> bool {
        !self.terms.publishes && !self.searched && view.may_search()
    }

    fn has_tried(&self, origin: &OriginId) -> bool {
        self.tried.iter().any(|(tried, _)| tried == origin)
    }

    /// Counts a claim that somebody else got first; true when there were too many.
    const fn loses_again(&mut self) -> bool {
        self.lost += 1;
        self.lost > MAX_LOST_CLAIMS
    }

    /// The origins that are out for this round.
    fn without(&self) -> Vec<OriginId> {
        let tried = self.tried.iter().map(|(origin, _)| origin);
        tried.chain(&self.full).cloned().collect()
    }

    fn lost_too_often(&mut self, there: OriginId) -> Step {
        self.tried
            .push((there, "the claim on the stream kept changing".to_owned()));
        self.all_failed()
    }

    /// No origin is left to be tried. One that hangs up on a client in the middle of its stream has not said no.
    fn all_failed(&self) -> Step {
        let tried = self.tried.clone();
        Step::Give(match self.is_after_loss {
            false if self.hang_ups > 0 => GiveUp::HungUp(tried),
            _ if self.closed == tried.len() => GiveUp::AllClosed(tried),
            _ => GiveUp::AllFailed(tried),
        })
    }
}

/// How long an origin may take to notice that a publisher left it.
const NOTICES_WITHIN: Duration = Duration::from_secs(2);
/// Pause before an origin that has yet to notice is asked once more.
const PAUSE: Duration = Duration::from_millis(200);
/// Places lost to others in one round: each loss means that somebody else was served.
const MAX_LOST_PLACES: usize = 16;
/// Claims lost to others in one round: each loss means that somebody else claimed the stream meanwhile.
const MAX_LOST_CLAIMS: usize = 16;
/// Characters of a place in a log: a name of 253, and a port.
const MAX_PLACE: usize = 260;
/// Redirects followed in one round.
const MAX_REDIRECTS: usize = 2;
/// Origins that may hang up in one round: each costs two connections, and a client whose request no origin likes must
/// not have them all dialled.
const MAX_HANG_UPS: usize = 2;
/// The same for a client that origins had taken before: it is those that start or end which hang up on it.
const MAX_HANG_UPS_AFTER_LOSS: usize = 8;
