//! One proxy: it carries out what the decisions of the program say, as the program does.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sluicegate_core::cluster::claiming::{Against, Claimed, Claiming, Known, Step as ClaimStep};
use sluicegate_core::cluster::held::HeldRecord;
use sluicegate_core::cluster::records;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::fleet::health::{Fault, Rules as HealthRules};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::fleet::{Fleet, State};
use sluicegate_core::place::attempts::{
    Attempts, Choice, Claimant, GiveUp, Outcome, Publisher, Step, Terms, Try, View,
};
use sluicegate_core::place::hold::{HoldLimit, Rounds};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::placement::{PlacementQuestion, Rules, place};
use sluicegate_core::place::policy::{Draw, by_name};
use sluicegate_core::place::shares::{ClaimLimits, Share, Shares};
use sluicegate_core::place::standing::{self, Seen};
use sluicegate_core::place::takeover::{GivesWay, Takeover};
use sluicegate_core::stream::{Action, PlacementKey, Service};

use super::world::{Call, Event, Plant, Said, World};

#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) id: usize,
    pub(crate) shares: Shares,
    pub(crate) fleet: Fleet,
    /// When the records of origins were written that were read last.
    seen: BTreeMap<usize, u64>,
    /// What the store said last of the placement.
    settled: Option<String>,
    /// The origin that claims name, whose record has not come.
    unknown: Option<String>,
    /// What is held here is to be claimed again.
    is_due: bool,
    /// Where the sessions live that did not leave for an origin that is of no use, because of that.
    spared: Option<OriginId>,
    pub(crate) is_connected: bool,
    /// When it could ask the store again after it could not.
    pub(crate) away_until: u64,
    pub(crate) sessions: Vec<Session>,
    tasks: Vec<Task>,
    /// Whose turn it is to ask the store where the stream is, or to claim it; and who waits.
    turn: Option<usize>,
    waiting: VecDeque<usize>,
}

/// A client's session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: usize,
    /// Its address, in one number.
    pub(crate) address: u8,
    pub(crate) action: Action,
    share: Option<Share>,
    pub(crate) state: Phase,
    /// Where it is, or was last.
    pub(crate) origin: Option<usize>,
    /// Its client is there, and sends or takes media.
    pub(crate) is_live: bool,
    silent_since: u64,
    limit: HoldLimit,
    over_at: u64,
    pub(crate) lost_at: u64,
    pub(crate) joined_at: u64,
    /// Since when it is without an origin that lasted.
    pub(crate) without_since: Option<u64>,
    /// What is under way for it.
    walk: Option<usize>,
    moving: Option<usize>,
    /// The record that tells of its hold.
    told: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Held,
    Over,
    Relaying,
}

/// What comes to a task.
#[derive(Debug)]
pub(crate) enum Wake {
    /// An origin answered, or did not.
    Dialled(u64),
    Said(u64, Said),
    /// A pause is over.
    Timer(u64),
    TooLate(u64),
    Unanswered(u64),
}

/// Something that a proxy does which takes time.
#[derive(Debug)]
struct Task {
    what: What,
    at: At,
    /// What it waits for; anything else comes too late.
    awaits: u64,
    /// Nobody waits for it any more.
    is_left: bool,
}

#[derive(Debug)]
enum What {
    /// The claim of a session or of nobody in particular goes back.
    ClaimsLater { gone: OriginId, origin: OriginId },
    /// The store was out of reach: what is held here is claimed again.
    ClaimsAgain {
        origin: OriginId,
        durable: bool,
        insists: bool,
    },
    /// A publisher goes to another origin.
    Moves {
        session: usize,
        from: usize,
        to: usize,
        claimed: bool,
        /// The other origin was lost before the claim was made.
        is_lost: bool,
    },
    /// The other proxy changed the placement.
    Follows,
    /// Nobody waits for it.
    Tells,
    /// A publisher wants to begin.
    Opens { session: usize },
    /// A session asks for an origin.
    Walks {
        session: usize,
        attempts: Box<Attempts>,
        rounds: Option<Rounds>,
        lost: Option<(OriginId, LegEnd)>,
        choice: Option<Choice>,
    },
}

#[derive(Debug)]
enum At {
    /// It waits for its turn to claim the stream, or to ask where it is.
    Queues(Option<Claiming>),
    /// The store is asked where the stream is.
    Recalls,
    /// The record of the origin is waited for that the store names; then the placement is known.
    RecallsRecord(String),
    Claims(Claiming),
    /// The record of the origin is waited for that a claim met, or lost to.
    ClaimsRecord(Claiming, String, Option<bool>),
    Dials(usize),
    Pauses(Option<Box<Try>>),
    /// A move waits for a keyframe.
    Waits,
    Over,
}

const TERMS: Terms = Terms {
    publishes: false,
    dial: Duration::from_secs(1),
    setup: Duration::from_secs(5),
};
/// `hold.publishers`, `hold.viewers`, `hold.publisher_away`.
pub(crate) const HOLD_PUBLISHERS: u64 = 10_000;
pub(crate) const HOLD_VIEWERS: u64 = 30_000;
const PUBLISHER_AWAY: Duration = Duration::from_secs(10);
const TAKEOVER: Takeover = Takeover::Silent;
const PUBLISHER_IDLE: u64 = 30_000;
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);
const DURABLE: Duration = Duration::from_secs(24 * 3600);
const RECORD_COMES: u64 = 2_000;

impl Session {
    pub(crate) const fn is_moving(&self) -> bool {
        self.moving.is_some()
    }
}

impl Proxy {
    pub(crate) fn new(id: usize, ttl: u64) -> Self {
        let limits = ClaimLimits {
            lifetime: LIFETIME,
            per_source: 100,
        };
        Self {
            id,
            shares: Shares::new(limits),
            fleet: Fleet::new(Duration::from_millis(ttl), 10, HealthRules::default()),
            seen: BTreeMap::new(),
            settled: None,
            unknown: None,
            is_due: false,
            spared: None,
            is_connected: true,
            away_until: 0,
            sessions: Vec::new(),
            tasks: Vec::new(),
            turn: None,
            waiting: VecDeque::new(),
        }
    }

    pub(crate) fn await_call(&mut self, task: usize, number: u64) {
        self.tasks[task].awaits = number;
    }

    /// Whether a claim named an origin before anything was known of it, which is known now.
    pub(crate) fn was_unknown(&mut self, id: &OriginId) -> bool {
        let unknown = &mut self.unknown;
        unknown.take_if(|unknown| unknown == id.as_str()).is_some()
    }

    /// Whether the record of an origin that was `written` then was not read before.
    pub(crate) fn is_news(&mut self, origin: usize, written: u64) -> bool {
        self.seen.insert(origin, written) != Some(written)
    }

    fn known(&self) -> Option<Known> {
        Some(Known {
            value: self.settled.clone()?,
            holds: true,
            names_unknown: self.unknown == self.settled,
        })
    }
}

/// What a proxy sees of the stream.
struct Sees<'a> {
    world: &'a World,
    proxy: usize,
    action: Action,
}

impl Sees<'_> {
    fn proxy(&self) -> &Proxy {
        &self.world.proxies[self.proxy]
    }

    fn key(&self) -> &PlacementKey {
        &self.world.key
    }
}

impl Seen for Sees<'_> {
    fn claimed(&self) -> Option<OriginId> {
        let shares = &self.proxy().shares;
        shares.claimed(self.world.time(), self.key().as_str())
    }

    fn reported(&self) -> Option<OriginId> {
        None
    }

    fn is_published_here(&self) -> bool {
        self.proxy().shares.is_published(self.key().as_str())
    }

    fn origin(&self, origin: &OriginId) -> Option<(State, Duty)> {
        let member = self.proxy().fleet.member(origin)?;
        Some((member.state(self.world.time()), member.duty))
    }

    fn has_other_proxies(&self) -> bool {
        true
    }

    fn is_watched_at(&self, _: &OriginId) -> bool {
        false
    }
}

impl View for Sees<'_> {
    fn settled(&self, without: &[OriginId]) -> Result<Option<Choice>, GiveUp> {
        standing::settled(self, self.action, without)
    }

    fn linked(&self) -> Option<Choice> {
        None
    }

    fn best(&self, without: &[OriginId]) -> Result<Choice, GiveUp> {
        let question = PlacementQuestion {
            key: self.key(),
            pool: None,
            zone: None,
            only: None,
            without,
            draw: Draw::default(),
        };
        let policy = by_name("rendezvous").unwrap();
        let origins = self
            .proxy()
            .fleet
            .survey(self.world.time(), Some(Service::Rtmp));
        let decision = place(&*policy, &Rules::default(), &origins, &question);
        standing::best(&decision, self.claimed(), String::new())
    }

    fn publisher(&self) -> Publisher {
        if !self.is_published_here() {
            return Publisher::NotHere;
        }
        let holder = self.claimed();
        Publisher::Here(holder.filter(|holder| self.proxy().fleet.member(holder).is_some()))
    }

    fn origin_at(&self, _: &str) -> Option<OriginId> {
        None
    }

    fn publisher_left_lately(&self) -> bool {
        let shares = &self.proxy().shares;
        let lately = Duration::from_secs(5);
        shares.unpublished_within(self.world.time(), self.key().as_str(), lately)
    }

    fn may_ask_proxies(&self) -> bool {
        false
    }

    fn may_search(&self) -> bool {
        false
    }
}

impl World {
    fn sees(&self, proxy: usize, action: Action) -> Sees<'_> {
        Sees {
            world: self,
            proxy,
            action,
        }
    }

    fn spawn(&mut self, proxy: usize, what: What) -> usize {
        let tasks = &mut self.proxies[proxy].tasks;
        tasks.push(Task {
            what,
            at: At::Over,
            awaits: 0,
            is_left: false,
        });
        tasks.len() - 1
    }

    fn at(&mut self, proxy: usize, task: usize, at: At) {
        self.proxies[proxy].tasks[task].at = at;
    }

    fn sleep(&mut self, proxy: usize, task: usize, millis: u64) {
        let number = self.new_number();
        self.proxies[proxy].await_call(task, number);
        self.after(millis, Event::Wake(proxy, task, Wake::Timer(number)));
    }

    /// Whatever it waits for comes too late.
    fn cancel(&mut self, proxy: usize, task: usize) {
        let origin = match &self.proxies[proxy].tasks[task].at {
            At::Dials(origin) => Some(*origin),
            _ => None,
        };
        let session = match &self.proxies[proxy].tasks[task].what {
            What::Walks { session, .. } | What::Moves { session, .. } => Some(*session),
            _ => None,
        };
        let one = &mut self.proxies[proxy];
        let left = &mut one.tasks[task];
        if matches!(left.at, At::Claims(_) | At::ClaimsRecord(..)) {
            // A claim that has begun comes to its end.
            left.is_left = true;
            return;
        }
        left.at = At::Over;
        left.awaits = 0;
        self.next_turn(proxy, task);
        if let (Some(origin), Some(session)) = (origin, session) {
            self.let_go(proxy, session, origin);
        }
    }

    /// An origin hears that a session is gone, if it hears anything.
    fn let_go(&mut self, proxy: usize, session: usize, origin: usize) {
        if self.hears(proxy, origin) && self.origins[origin].publisher == Some((proxy, session)) {
            self.origins[origin].publisher = None;
        }
    }

    /// A publisher asks to begin. False where it is refused at once.
    pub(crate) fn open(
        &mut self,
        proxy: usize,
        client: usize,
        address: u8,
        action: Action,
    ) -> usize {
        let now = self.now;
        let time = self.time();
        let session = Session {
            client,
            address,
            action,
            share: None,
            state: Phase::Connecting,
            origin: None,
            is_live: true,
            silent_since: now,
            limit: HoldLimit::new(time, hold_time(action)),
            over_at: u64::MAX,
            lost_at: now,
            joined_at: now,
            without_since: None,
            walk: None,
            moving: None,
            told: None,
        };
        let earlier = self.publisher(proxy);
        self.proxies[proxy].sessions.push(session);
        let session = self.proxies[proxy].sessions.len() - 1;
        self.tell_of(|| format!("p{proxy} s{session} opens: client {client}, {action:?}"));
        if action == Action::Play {
            self.let_in(proxy, session);
            return session;
        }
        if let Some(old) = earlier {
            let earlier = &self.proxies[proxy].sessions[old];
            let same = earlier.address == address;
            let is_held = earlier.state == Phase::Held;
            let is_silent = !earlier.is_live && earlier.silent_since + 1_000 <= now;
            let is_own = same && earlier.client == client;
            let gives_way = match TAKEOVER.here(same, is_held) {
                _ if self.plant == Plant::RefusesItsOwn && is_held => false,
                GivesWay::AtOnce => true,
                GivesWay::Never => false,
                GivesWay::WhenSilent => is_silent && earlier.state != Phase::Connecting,
            };
            if gives_way {
                if is_held && is_own {
                    self.check.saw("a return to a held session");
                }
                self.end(proxy, old);
            } else if is_held {
                if is_own {
                    self.check.not_found(now, "at the same proxy");
                }
                self.refuse(proxy, session);
                return session;
            }
        }
        let task = self.spawn(proxy, What::Opens { session });
        self.proxies[proxy].sessions[session].walk = Some(task);
        self.call(proxy, task, Call::GetHeld);
        session
    }

    fn publisher(&self, proxy: usize) -> Option<usize> {
        let sessions = self.proxies[proxy].sessions.iter().enumerate();
        let publishers = sessions.filter(|(_, one)| one.action == Action::Publish);
        publishers
            .filter(|(_, one)| one.state != Phase::Over)
            .map(|(number, _)| number)
            .next_back()
    }

    /// Another proxy may hold the publisher of the stream.
    fn respects(&mut self, proxy: usize, session: usize, record: Option<String>) {
        let record = record.and_then(|text| match records::read::<HeldRecord>(&text) {
            records::Reading::Known(record) => Some(record),
            _ => None,
        });
        let address = self.proxies[proxy].sessions[session].address;
        let client = self.proxies[proxy].sessions[session].client;
        let held = record.filter(|record| *record.proxy != *proxy.to_string());
        if let Some(held) = held
            && !(TAKEOVER.elsewhere(held.client == ip(address))
                && self.plant != Plant::RefusesItsOwn)
        {
            let there: usize = held.proxy.parse().expect("a number");
            let own = self.proxies[there]
                .sessions
                .iter()
                .any(|one| one.client == client && one.state == Phase::Held);
            if own && held.client == ip(address) {
                self.check.not_found(self.now, "at another proxy");
            }
            self.refuse(proxy, session);
            return;
        }
        self.let_in(proxy, session);
    }

    fn let_in(&mut self, proxy: usize, session: usize) {
        let (time, key) = (self.time(), self.key.clone());
        let one = &mut self.proxies[proxy];
        let action = one.sessions[session].action;
        let share = one.shares.take(time, &key, action, ip(1));
        one.sessions[session].share = Some(share.expect("few claims"));
        self.walk(proxy, session, None);
    }

    /// Asks for an origin; `lost`: after this one was lost.
    fn walk(&mut self, proxy: usize, session: usize, lost: Option<(OriginId, LegEnd)>) {
        let action = self.proxies[proxy].sessions[session].action;
        let rounds = lost
            .is_some()
            .then(|| Rounds::new(self.time(), action, PUBLISHER_AWAY));
        let attempts = Box::new(self.attempts(action, lost.as_ref()));
        let task = self.spawn(
            proxy,
            What::Walks {
                session,
                attempts,
                rounds,
                lost,
                choice: None,
            },
        );
        self.proxies[proxy].sessions[session].walk = Some(task);
        self.recall(proxy, task);
    }

    fn attempts(&self, action: Action, lost: Option<&(OriginId, LegEnd)>) -> Attempts {
        let terms = Terms {
            publishes: action == Action::Publish,
            ..TERMS
        };
        match lost {
            Some((origin, end)) => Attempts::after(terms, self.time(), origin, *end),
            None => Attempts::new(terms, self.time()),
        }
    }

    /// Asks the store where the stream is, unless that is known.
    fn recall(&mut self, proxy: usize, task: usize) {
        if self.is_settled(proxy) {
            return self.recalled(proxy, task);
        }
        self.queue(proxy, task, None);
    }

    fn is_settled(&self, proxy: usize) -> bool {
        let one = &self.proxies[proxy];
        let origin = one.shares.claimed(self.time(), self.key.as_str());
        let is_known = origin.is_some_and(|origin| one.fleet.member(&origin).is_some());
        one.settled.is_some() && is_known
    }

    /// Waits for its turn, to claim the stream or to ask where it is.
    fn queue(&mut self, proxy: usize, task: usize, claiming: Option<Claiming>) {
        self.at(proxy, task, At::Queues(claiming));
        let one = &mut self.proxies[proxy];
        one.waiting.push_back(task);
        if one.turn.is_none() || self.plant == Plant::ClaimsAtOnce {
            self.give_turn(proxy);
        }
    }

    /// The turn of a task is over, if it had it.
    fn next_turn(&mut self, proxy: usize, task: usize) {
        if self.proxies[proxy].turn == Some(task) {
            self.proxies[proxy].turn = None;
            self.give_turn(proxy);
        }
    }

    fn give_turn(&mut self, proxy: usize) {
        let one = &mut self.proxies[proxy];
        let Some(task) = one.waiting.pop_front() else {
            return;
        };
        let At::Queues(claiming) = std::mem::replace(&mut one.tasks[task].at, At::Over) else {
            return self.give_turn(proxy);
        };
        one.turn = Some(task);
        let is_change = matches!(one.tasks[task].what, What::Follows);
        match claiming {
            Some(claiming) => {
                let claiming = self.turn_came(proxy, task, claiming);
                let step = claiming.begin(self.sees(proxy, Action::Play).claimed());
                self.claim_on(proxy, task, claiming, step);
            }
            None if !is_change && self.is_settled(proxy) => self.recalled(proxy, task),
            None => {
                if is_change {
                    self.proxies[proxy].settled = None;
                }
                self.at(proxy, task, At::Recalls);
                self.call(proxy, task, Call::Get);
            }
        }
    }

    /// What was claimed meanwhile may concern who goes back, or claims again.
    fn turn_came(&mut self, proxy: usize, task: usize, claiming: Claiming) -> Claiming {
        let (time, key) = (self.time(), self.key.clone());
        let one = &mut self.proxies[proxy];
        match &mut one.tasks[task].what {
            // The claim for the other origin came to its end in between, and won.
            What::ClaimsLater { gone, origin }
                if one.shares.claimed(time, key.as_str()).as_ref() == Some(gone) =>
            {
                drop(one.shares.reassign(time, &key, (gone, origin), ""));
            }
            What::ClaimsAgain { origin, .. } => {
                one.is_due = false;
                if let Some(lived) = one.spared.take() {
                    *origin = lived.clone();
                    let value = lived.as_str().to_owned();
                    return Claiming::new(lived, value, claiming.is_durable());
                }
            }
            _ => {}
        }
        claiming
    }

    fn recalled(&mut self, proxy: usize, task: usize) {
        self.next_turn(proxy, task);
        match &self.proxies[proxy].tasks[task].what {
            What::Follows => self.at(proxy, task, At::Over),
            _ => self.step(proxy, task, None),
        }
    }

    /// The next step of a walk, after `outcome`.
    fn step(&mut self, proxy: usize, task: usize, outcome: Option<Outcome>) {
        let time = self.time();
        let What::Walks {
            session,
            attempts,
            rounds,
            lost,
            ..
        } = &mut self.proxies[proxy].tasks[task].what
        else {
            return;
        };
        let session = *session;
        let mut attempts = std::mem::replace(attempts, Box::new(Attempts::new(TERMS, time)));
        let (mut rounds, lost) = (rounds.take(), lost.clone());
        let action = self.proxies[proxy].sessions[session].action;
        let step = {
            let sees = self.sees(proxy, action);
            match outcome {
                None => attempts.begin(time, &sees),
                Some(outcome) => attempts.next(time, outcome, &sees),
            }
        };
        let mut pause = None;
        if let Step::Give(why) = &step {
            let is_no = matches!(why, GiveUp::Redirected { .. } | GiveUp::Refused { .. });
            pause = rounds.as_mut().and_then(|rounds| rounds.after(time, is_no));
            // A round of its own begins when the pause is over.
            *attempts = self.attempts(action, lost.as_ref());
        }
        let What::Walks {
            attempts: kept,
            rounds: kept_rounds,
            choice,
            ..
        } = &mut self.proxies[proxy].tasks[task].what
        else {
            return;
        };
        (*kept, *kept_rounds) = (attempts, rounds);
        match step {
            Step::Give(_) => match pause {
                Some(pause) => {
                    self.at(proxy, task, At::Pauses(None));
                    let pause = u64::try_from(pause.as_millis()).expect("short");
                    self.sleep(proxy, task, pause);
                }
                None => {
                    self.proxies[proxy].sessions[session].walk = None;
                    self.at(proxy, task, At::Over);
                    self.refuse(proxy, session);
                }
            },
            Step::AskProxies => unreachable!("nobody asks other proxies"),
            Step::Search(_) => unreachable!("nobody searches"),
            Step::Try(next) => {
                *choice = Some(next.choice.clone());
                if next.pause.is_zero() {
                    self.try_one(proxy, task, next);
                } else {
                    let pause = u64::try_from(next.pause.as_millis()).expect("short");
                    self.at(proxy, task, At::Pauses(Some(Box::new(next))));
                    self.sleep(proxy, task, pause);
                }
            }
        }
    }

    /// Claims the stream for an origin here, then in the store.
    fn try_one(&mut self, proxy: usize, task: usize, next: Try) {
        let time = self.time();
        let one = &mut self.proxies[proxy];
        let What::Walks { session, .. } = one.tasks[task].what else {
            return;
        };
        let Choice {
            expected, origin, ..
        } = next.choice;
        let share = one.sessions[session].share.as_mut().expect("it was let in");
        let claimed = one
            .shares
            .claim(time, share, (expected.as_ref(), &origin), None, "");
        let made = claimed.expect("there is no limit");
        self.tell_of(|| {
            format!(
                "p{proxy} s{session} t{task} claims {origin} here, for {expected:?}: {}",
                made.claim.value
            )
        });
        let one = &mut self.proxies[proxy];
        if !made.claim.won {
            let there = OriginId::from(made.claim.value);
            let outcome = Outcome::ClaimedFor(there, Claimant::Request);
            return self.step(proxy, task, Some(outcome));
        }
        let durable = one.sessions[session].action == Action::Publish;
        self.claim(proxy, task, origin, durable);
    }

    /// Begins a claim in the store.
    fn claim(&mut self, proxy: usize, task: usize, origin: OriginId, durable: bool) {
        if self.proxies[proxy].fleet.member(&origin).is_none() {
            return self.claimed(proxy, task, Claimed::Unsettled);
        }
        let value = origin.as_str().to_owned();
        let mut claiming = Claiming::new(origin, value, durable);
        if matches!(self.proxies[proxy].tasks[task].what, What::Moves { .. }) {
            claiming = claiming.going_ahead();
        }
        if claiming.is_made(self.proxies[proxy].known().as_ref()) {
            return self.claimed(proxy, task, Claimed::Won);
        }
        self.queue(proxy, task, Some(claiming));
    }

    fn claim_on(&mut self, proxy: usize, task: usize, mut claiming: Claiming, mut step: ClaimStep) {
        loop {
            step = match step {
                ClaimStep::Look => claiming.round(self.proxies[proxy].known()),
                ClaimStep::LookFor(stands) => {
                    if self.settle(proxy, &stands).is_none() {
                        self.at(proxy, task, At::ClaimsRecord(claiming, stands, None));
                        return self.sleep(proxy, task, RECORD_COMES);
                    }
                    claiming.came(Some(OriginId::from(stands)))
                }
                ClaimStep::Over(claimed) => {
                    if claimed == Claimed::Won && claiming.replaces() {
                        self.replaced(proxy, claiming.origin());
                    }
                    return self.claimed(proxy, task, claimed);
                }
                ClaimStep::Set { expected } => {
                    self.keep_claimed(proxy, claiming.origin());
                    let value = claiming.value().to_owned();
                    let ttl = if claiming.is_durable() {
                        DURABLE
                    } else {
                        LIFETIME
                    };
                    self.at(proxy, task, At::Claims(claiming));
                    let call = Call::Claim {
                        expected,
                        value,
                        ttl,
                    };
                    return self.call(proxy, task, call);
                }
            }
        }
    }

    /// The same, and sessions that are elsewhere hear of it.
    fn hear(&mut self, proxy: usize, value: &str) -> Option<OriginId> {
        let shares = &self.proxies[proxy].shares;
        let before = shares.last_claimed(self.time(), self.key.as_str());
        let stands = self.settle(proxy, value);
        self.tell_of(|| format!("p{proxy} hears {value}: {before:?} -> {stands:?}"));
        if let (Some(before), Some(stands)) = (before, &stands)
            && before != *stands
        {
            self.conflict(proxy, stands);
        }
        stands
    }

    /// The store says `value`: so do the shares, if the origin is known.
    fn settle(&mut self, proxy: usize, value: &str) -> Option<OriginId> {
        let (time, key) = (self.time(), self.key.clone());
        let origin = OriginId::from(value);
        if self.proxies[proxy].fleet.member(&origin).is_none()
            && let Some(number) = self.number_of(&origin)
            && self.reads_record(proxy, number).is_some()
        {
            let record = self.origins[number].record.clone();
            let known = self.proxies[proxy].fleet.register(time, record);
            known.expect("there is room");
        }
        let one = &mut self.proxies[proxy];
        let origin = one.fleet.member(&origin).is_some().then_some(origin);
        match &origin {
            Some(origin) => {
                one.shares.placed(time, &key, origin);
                one.unknown.take_if(|unknown| unknown == value);
            }
            None => {
                one.unknown = Some(value.to_owned());
                one.shares.unplaced(&key);
            }
        }
        one.settled = Some(value.to_owned());
        origin
    }

    /// A claim in the store is made, or not.
    fn claimed(&mut self, proxy: usize, task: usize, claimed: Claimed) {
        let time = self.time();
        self.tell_of(|| format!("p{proxy} t{task} claimed: {claimed:?}"));
        self.at(proxy, task, At::Over);
        if !matches!(
            self.proxies[proxy].tasks[task].what,
            What::ClaimsAgain { .. }
        ) {
            self.next_turn(proxy, task);
        }
        if self.proxies[proxy].tasks[task].is_left {
            if let Claimed::Lost(there) = claimed {
                self.conflict(proxy, &there);
            }
            return;
        }
        let one = &mut self.proxies[proxy];
        match &mut one.tasks[task].what {
            What::ClaimsAgain {
                origin,
                durable,
                insists,
            } => {
                one.is_due = false;
                let (origin, durable) = (origin.clone(), *durable);
                let again = !std::mem::replace(insists, true);
                let Claimed::Lost(there) = claimed else {
                    let is_moving = one.sessions.iter().any(Session::is_moving);
                    if claimed == Claimed::Won && !is_moving {
                        // Some may have been elsewhere since a claim that was made without the store.
                        self.end_elsewhere(proxy, &origin, true);
                    }
                    return self.next_turn(proxy, task);
                };
                let state = one.fleet.state(time, &there);
                let gives_way = match Against::a_claim_on(state) {
                    Against::Asks => {
                        let number = self.number_of(&there);
                        number.is_some_and(|number| self.hears(proxy, number))
                    }
                    Against::Replaces => false,
                    Against::Yields => true,
                };
                if again && !gives_way {
                    let key = self.key.clone();
                    let shares = &mut self.proxies[proxy].shares;
                    if shares.claimed(time, key.as_str()).as_ref() != Some(&there) {
                        return self.next_turn(proxy, task);
                    }
                    shares.placed(time, &key, &origin);
                    // It has its turn still.
                    let value = origin.as_str().to_owned();
                    let claiming = Claiming::new(origin, value, durable).insisting();
                    return self.claim_on(proxy, task, claiming, ClaimStep::Look);
                }
                self.conflict(proxy, &there);
                self.next_turn(proxy, task);
            }
            What::ClaimsLater { .. } => {
                if let Claimed::Lost(there) = claimed {
                    self.conflict(proxy, &there);
                }
            }
            What::Moves { .. } => self.move_claimed(proxy, task, claimed),
            What::Walks { choice, .. } => match claimed {
                Claimed::Lost(there) => {
                    if self.plant != Plant::KeepsToItself {
                        self.conflict(proxy, &there);
                    }
                    let outcome = Outcome::ClaimedFor(there, Claimant::Proxy);
                    self.step(proxy, task, Some(outcome));
                }
                Claimed::Unsettled | Claimed::Won => {
                    if claimed == Claimed::Unsettled {
                        self.check.saw("placed without the store");
                    }
                    let origin = choice.as_ref().expect("it was chosen").origin.clone();
                    self.dial(proxy, task, &origin);
                }
            },
            What::Follows | What::Opens { .. } | What::Tells => {}
        }
    }

    fn dial(&mut self, proxy: usize, task: usize, origin: &OriginId) {
        let number = self.number_of(origin).expect("an origin of this world");
        let takes = if self.origins[number].is_up && !self.hears(proxy, number) {
            1_000
        } else {
            self.millis(1, 40)
        };
        self.at(proxy, task, At::Dials(number));
        let awaited = self.new_number();
        self.proxies[proxy].await_call(task, awaited);
        self.after(takes, Event::Wake(proxy, task, Wake::Dialled(awaited)));
    }

    /// What comes of a dial, as the origin has it.
    fn answer_of(&mut self, proxy: usize, session: usize, origin: usize) -> Result<(), Outcome> {
        let words = || "no".to_owned();
        let media = &self.origins[origin];
        if !media.is_up {
            return Err(Outcome::Failed(Fault::Refused, words()));
        }
        if !self.hears(proxy, origin) {
            return Err(Outcome::Failed(Fault::Silent, words()));
        }
        let publishes = self.proxies[proxy].sessions[session].action == Action::Publish;
        match (media.publisher, publishes) {
            (Some(other), true) if other != (proxy, session) => Err(Outcome::Busy(words())),
            (_, true) => {
                self.origins[origin].publisher = Some((proxy, session));
                Ok(())
            }
            (Some(_), false) => Ok(()),
            (None, false) => Err(Outcome::Refused(words())),
        }
    }

    fn dialled(&mut self, proxy: usize, task: usize, origin: usize) {
        let time = self.time();
        if let What::Moves { session, .. } = self.proxies[proxy].tasks[task].what {
            let answer = self.answer_of(proxy, session, origin);
            return self.move_answered(proxy, task, answer.is_ok());
        }
        let What::Walks { session, .. } = self.proxies[proxy].tasks[task].what else {
            return;
        };
        let id = self.origins[origin].id.clone();
        if let Err(outcome) = self.answer_of(proxy, session, origin) {
            let fleet = &mut self.proxies[proxy].fleet;
            match &outcome {
                Outcome::Failed(fault, words) => fleet.dial_failed(time, &id, *fault, words),
                _ => fleet.answered(time, &id),
            }
            return self.step(proxy, task, Some(outcome));
        }
        let one = &mut self.proxies[proxy];
        let share = one.sessions[session].share.as_mut().expect("it was let in");
        if let Err(there) = one.shares.join(time, share, &id) {
            self.let_go(proxy, session, origin);
            return self.step(proxy, task, Some(Outcome::MovedMeanwhile(there)));
        }
        one.fleet.answered(time, &id);
        self.at(proxy, task, At::Over);
        self.joined(proxy, session, origin);
    }

    /// An origin has taken the session.
    fn joined(&mut self, proxy: usize, session: usize, origin: usize) {
        let (now, time) = (self.now, self.time());
        let id = self.origins[origin].id.clone();
        self.tell_of(|| format!("p{proxy} s{session} joined at {id}"));
        let one = &mut self.proxies[proxy].sessions[session];
        if one.state == Phase::Held {
            self.check.saw("a hold that found an origin");
        }
        one.walk = None;
        one.origin = Some(origin);
        one.state = Phase::Relaying;
        one.limit.joined(time);
        one.joined_at = now;
        one.over_at = u64::MAX;
        let publishes = one.action == Action::Publish;
        self.untell(proxy, session);
        if publishes {
            self.end_elsewhere(proxy, &id, false);
        }
        // It is lost before anybody heard of it.
        let taken = self.origins[origin].publisher == Some((proxy, session));
        if !self.hears(proxy, origin) || publishes && !taken {
            self.after(2_000, Event::Lost(proxy, session, origin));
        }
    }

    /// Sessions that are elsewhere than at `there` are to leave: all of them, or the players.
    fn end_elsewhere(&mut self, proxy: usize, there: &OriginId, all: bool) {
        let Some(there) = self.number_of(there) else {
            return;
        };
        for session in 0..self.proxies[proxy].sessions.len() {
            self.call_back(proxy, session, there);
            let one = &self.proxies[proxy].sessions[session];
            let meant = all || one.action == Action::Play;
            if meant && one.state == Phase::Relaying && one.origin != Some(there) {
                if all {
                    self.check.saw("another proxy placed it elsewhere");
                }
                self.lose_leg(proxy, session, LegEnd::Moved);
            }
        }
    }

    /// A publisher that waits to go elsewhere than to where its stream is stays.
    fn call_back(&mut self, proxy: usize, session: usize, there: usize) {
        let one = &self.proxies[proxy];
        let moving = one.sessions[session].moving;
        let Some(task) = moving.filter(|task| matches!(one.tasks[*task].at, At::Waits)) else {
            return;
        };
        if matches!(one.tasks[task].what, What::Moves { to, .. } if to != there)
            && self.plant != Plant::GoesOverUnseen
        {
            self.call_off(proxy, task);
        }
    }

    fn conflict(&mut self, proxy: usize, there: &OriginId) {
        if self.plant == Plant::ClaimsUnseen {
            return;
        }
        let time = self.time();
        let one = &mut self.proxies[proxy];
        let against = Against::a_claim_on(one.fleet.state(time, there));
        if one.is_due && against == Against::Replaces {
            let mut living = one.sessions.iter();
            let lives = living.find(|one| one.state == Phase::Relaying);
            if let (None, Some(at)) = (&one.spared, lives.and_then(|one| one.origin)) {
                one.spared = Some(self.origins[at].id.clone());
            }
            return;
        }
        self.tell_of(|| format!("p{proxy}: it is on {there}"));
        self.end_elsewhere(proxy, there, true);
    }

    /// A claim made here has taken the stream elsewhere.
    fn replaced(&mut self, proxy: usize, there: &OriginId) {
        if !matches!(self.plant, Plant::ClaimsUnseen | Plant::KeepsItsClaims) {
            self.tell_of(|| format!("p{proxy} has placed it on {there}"));
            self.end_elsewhere(proxy, there, true);
        }
    }

    /// The session's leg is over, and it is held.
    pub(crate) fn lose_leg(&mut self, proxy: usize, session: usize, end: LegEnd) {
        let (now, time, start) = (self.now, self.time(), self.start);
        if self.proxies[proxy].sessions[session].state != Phase::Relaying {
            return;
        }
        if let Some(moving) = self.proxies[proxy].sessions[session].moving {
            if end != LegEnd::Moved && self.go_over(proxy, moving) {
                return;
            }
            self.call_off(proxy, moving);
        }
        let one = &mut self.proxies[proxy];
        let held = &mut one.sessions[session];
        let origin = held.origin.expect("it was relaying");
        let share = held.share.as_mut().expect("it was let in");
        one.shares.end_leg(share, end);
        one.shares.lose_origin(time, share);
        held.state = Phase::Held;
        held.lost_at = now;
        if self.plant == Plant::HoldsAgain {
            held.limit = HoldLimit::new(time, hold_time(held.action));
        }
        // No origin of this world closes on purpose.
        let over = held.limit.deadline(time, held.action, None, end);
        let over = over.expect("it is held");
        if held.without_since.is_none() || held.joined_at + 2_000 <= now {
            held.without_since = Some(now);
        }
        held.over_at = u64::try_from((over - start).as_millis()).expect("a short time");
        let id = self.origins[origin].id.clone();
        self.tell_of(|| format!("p{proxy} s{session} lost {id}: {end:?}"));
        self.let_go(proxy, session, origin);
        self.players_lose(proxy, session, origin);
        if self.proxies[proxy].sessions[session].action == Action::Publish {
            self.tell_held(proxy, session);
        }
        self.walk(proxy, session, Some((id, end)));
    }

    /// An origin whose publisher has left plays nothing any more, which its players notice a little later.
    fn players_lose(&mut self, proxy: usize, session: usize, origin: usize) {
        if self.proxies[proxy].sessions[session].action != Action::Publish {
            return;
        }
        for there in 0..self.proxies.len() {
            for player in 0..self.proxies[there].sessions.len() {
                let one = &self.proxies[there].sessions[player];
                if one.action == Action::Play
                    && one.state == Phase::Relaying
                    && one.origin == Some(origin)
                {
                    let takes = self.millis(1, 2_000);
                    self.after(takes, Event::Lost(there, player, origin));
                }
            }
        }
    }

    fn tell_held(&mut self, proxy: usize, session: usize) {
        let record = HeldRecord {
            client: ip(self.proxies[proxy].sessions[session].address),
            proxy: proxy.to_string().into(),
        };
        let record = records::write(&record).expect("it is short");
        self.proxies[proxy].sessions[session].told = Some(record.clone());
        let task = self.spawn(proxy, What::Tells);
        let ttl = Duration::from_millis(HOLD_PUBLISHERS);
        self.call(proxy, task, Call::PutHeld { record, ttl });
    }

    fn untell(&mut self, proxy: usize, session: usize) {
        if let Some(record) = self.proxies[proxy].sessions[session].told.take() {
            let task = self.spawn(proxy, What::Tells);
            self.call(proxy, task, Call::RemoveHeld { record });
        }
    }

    /// Its client hears no.
    fn refuse(&mut self, proxy: usize, session: usize) {
        self.end(proxy, session);
    }

    /// A session is over.
    pub(crate) fn end(&mut self, proxy: usize, session: usize) {
        let time = self.time();
        if self.proxies[proxy].sessions[session].state == Phase::Over {
            return;
        }
        self.tell_of(|| format!("p{proxy} s{session} is over"));
        let one = &mut self.proxies[proxy].sessions[session];
        let was = std::mem::replace(&mut one.state, Phase::Over);
        let origin = one.origin;
        let (walk, moving) = (one.walk.take(), one.moving);
        let share = one.share.take();
        if let Some(walk) = walk {
            self.cancel(proxy, walk);
        }
        // Which of the two goes first is nobody's promise.
        let claim_first = self.below(2) == 0;
        let give_back = |world: &mut Self, share: Option<Share>| {
            if let Some(mut share) = share {
                let shares = &mut world.proxies[proxy].shares;
                shares.end_leg(&mut share, LegEnd::Released);
                shares.give_back(time, &mut share);
            }
        };
        if claim_first {
            if let Some(moving) = moving {
                self.call_off(proxy, moving);
            }
            give_back(self, share);
        } else {
            give_back(self, share);
            if let Some(moving) = moving {
                self.call_off(proxy, moving);
            }
        }
        if was == Phase::Relaying
            && let Some(origin) = origin
        {
            self.let_go(proxy, session, origin);
            self.players_lose(proxy, session, origin);
        }
        self.untell(proxy, session);
    }

    /// A proxy notices that an origin is lost to a session.
    pub(crate) fn notices_loss(&mut self, proxy: usize, session: usize, origin: usize) {
        let one = &self.proxies[proxy].sessions[session];
        if one.state != Phase::Relaying || one.origin != Some(origin) {
            return;
        }
        let publisher = self.origins[origin].publisher;
        let is_gone = match one.action {
            Action::Play => publisher.is_none(),
            Action::Publish => publisher != Some((proxy, session)),
        };
        if !self.hears(proxy, origin) || is_gone {
            let is_up = self.origins[origin].is_up;
            let end = if is_up { LegEnd::Silent } else { LegEnd::Reset };
            self.lose_leg(proxy, session, end);
        }
    }

    /// The other origin of a move is gone.
    pub(crate) fn loses_target(&mut self, proxy: usize, origin: usize) {
        for task in 0..self.proxies[proxy].tasks.len() {
            let one = &mut self.proxies[proxy].tasks[task];
            match (&mut one.what, &one.at) {
                (What::Moves { to, .. }, At::Waits) if *to == origin => self.call_off(proxy, task),
                // That is seen once the claim is made.
                (What::Moves { to, is_lost, .. }, _) if *to == origin => *is_lost = true,
                _ => {}
            }
        }
    }

    /// Begins a move of the publisher at a proxy.
    pub(crate) fn begin_move(&mut self, proxy: usize, to: usize) {
        let Some(session) = self.publisher(proxy) else {
            return;
        };
        let one = &self.proxies[proxy].sessions[session];
        let (Phase::Relaying, Some(from), None) = (one.state, one.origin, one.moving) else {
            return;
        };
        let member = self.proxies[proxy].fleet.member(&self.origins[to].id);
        let is_fit = member.is_some_and(|member| {
            member.state(self.time()) == State::Up && member.duty.takes_streams()
        });
        if from == to || !is_fit {
            return;
        }
        let task = self.spawn(
            proxy,
            What::Moves {
                session,
                from,
                to,
                claimed: false,
                is_lost: false,
            },
        );
        self.proxies[proxy].sessions[session].moving = Some(task);
        let id = self.origins[to].id.clone();
        self.tell_of(|| format!("p{proxy} s{session} is to move to {id}"));
        self.dial(proxy, task, &id);
    }

    fn move_answered(&mut self, proxy: usize, task: usize, is_yes: bool) {
        let (time, key) = (self.time(), self.key.clone());
        let What::Moves { from, to, .. } = self.proxies[proxy].tasks[task].what else {
            return;
        };
        let ids = (self.origins[from].id.clone(), self.origins[to].id.clone());
        let shares = &mut self.proxies[proxy].shares;
        if !is_yes
            || shares
                .move_claim(time, &key, (&ids.0, &ids.1), None, "")
                .is_err()
        {
            return self.call_off(proxy, task);
        }
        if let What::Moves { claimed, .. } = &mut self.proxies[proxy].tasks[task].what {
            *claimed = true;
        }
        self.claim(proxy, task, ids.1, true);
    }

    fn move_claimed(&mut self, proxy: usize, task: usize, outcome: Claimed) {
        if let Claimed::Lost(there) = outcome {
            if let What::Moves { claimed, .. } = &mut self.proxies[proxy].tasks[task].what {
                *claimed = false;
            }
            self.call_off(proxy, task);
            return self.conflict(proxy, &there);
        }
        if matches!(
            self.proxies[proxy].tasks[task].what,
            What::Moves { is_lost: true, .. }
        ) {
            return self.call_off(proxy, task);
        }
        self.at(proxy, task, At::Waits);
        let keyframe = self.millis(0, 3_000);
        self.sleep(proxy, task, keyframe);
    }

    /// The publisher goes over, if the other origin has it. False where the move has not come that far.
    fn go_over(&mut self, proxy: usize, task: usize) -> bool {
        let time = self.time();
        let one = &mut self.proxies[proxy];
        let What::Moves {
            session, from, to, ..
        } = one.tasks[task].what
        else {
            return false;
        };
        if !matches!(one.tasks[task].at, At::Waits)
            || one.sessions[session].state != Phase::Relaying
        {
            return false;
        }
        let id = self.origins[to].id.clone();
        let stands = one.shares.claimed(time, self.key.as_str()) == Some(id.clone());
        if !stands && self.plant != Plant::GoesOverUnseen {
            return false;
        }
        one.tasks[task].at = At::Over;
        one.sessions[session].moving = None;
        let share = one.sessions[session].share.as_mut().expect("it was let in");
        self.check.saw("a move made");
        one.shares.end_leg(share, LegEnd::Moved);
        let claimed = one.shares.claim(time, share, (Some(&id), &id), None, "");
        drop(claimed);
        self.let_go(proxy, session, from);
        self.players_lose(proxy, session, from);
        self.joined(proxy, session, to);
        true
    }

    /// A move comes to nothing: the claim goes back.
    fn call_off(&mut self, proxy: usize, task: usize) {
        let (time, key) = (self.time(), self.key.clone());
        let What::Moves {
            session,
            from,
            to,
            claimed,
            ..
        } = self.proxies[proxy].tasks[task].what
        else {
            return;
        };
        self.check.saw("a move called off");
        self.proxies[proxy].sessions[session].moving = None;
        self.cancel(proxy, task);
        self.let_go(proxy, session, to);
        if !claimed || self.plant == Plant::KeepsMovedClaims {
            return;
        }
        let (back, gone) = (self.origins[from].id.clone(), self.origins[to].id.clone());
        let shares = &mut self.proxies[proxy].shares;
        if shares.reassign(time, &key, (&gone, &back), "").is_err() {
            return;
        }
        let later = self.spawn(
            proxy,
            What::ClaimsLater {
                gone,
                origin: back.clone(),
            },
        );
        self.sleep(proxy, later, 0);
        self.end_elsewhere(proxy, &back, false);
    }

    /// The placement changed at another proxy.
    pub(crate) fn told(&mut self, proxy: usize) {
        let one = &mut self.proxies[proxy];
        if !one.is_connected {
            return;
        }
        one.settled = None;
        let held = one.shares.of(self.key.as_str());
        if held.is_none_or(|held| held.holders() == 0 || held.origin.is_none()) {
            return;
        }
        let task = self.spawn(proxy, What::Follows);
        self.queue(proxy, task, None);
    }

    /// The store can be asked again: what is held here is claimed there.
    pub(crate) fn take_stock(&mut self, proxy: usize) {
        let one = &mut self.proxies[proxy];
        one.settled = None;
        one.is_due = true;
        one.spared = None;
        // Origins that report here are written first, and the others are read.
        self.tell_of_origins(proxy);
        let one = &mut self.proxies[proxy];
        let held = one.shares.held();
        if held.is_empty() {
            one.is_due = false;
        }
        for (_, origin, durable) in held {
            let what = What::ClaimsAgain {
                origin: origin.clone(),
                durable,
                insists: false,
            };
            let task = self.spawn(proxy, what);
            self.claim(proxy, task, origin, durable);
        }
    }

    fn tell_of_origins(&mut self, proxy: usize) {
        let time = self.time();
        for origin in 0..self.origins.len() {
            let id = &self.origins[origin].id;
            let state = self.proxies[proxy].fleet.state(time, id);
            if self.origins[origin].home == proxy && state == Some(State::Up) {
                self.put_record(proxy, origin);
            } else if self.reads_record(proxy, origin) == Some(true) {
                let record = self.origins[origin].record.clone();
                let known = self.proxies[proxy].fleet.register(time, record);
                known.expect("there is room");
            }
        }
    }

    /// Keeps the record of an origin that a claim is made for, where nobody said lately that it is there.
    fn keep_claimed(&mut self, proxy: usize, origin: &OriginId) {
        let mut missed = self.proxies[proxy].fleet.missed(self.time());
        if missed.any(|(id, _)| id == origin) && self.plant != Plant::ForgetsOrigins {
            drop(missed);
            let origin = self.number_of(origin).expect("an origin of this world");
            self.keep_record(proxy, origin);
        }
    }

    /// Keeps the record of an origin that has a publisher through this proxy, where nobody else says that it is there.
    pub(crate) fn keep_used(&mut self, proxy: usize) {
        let (now, one) = (self.time(), &self.proxies[proxy]);
        let held = one.shares.of(self.key.as_str());
        let used = held.filter(|held| held.published > 0 && self.plant != Plant::ForgetsOrigins);
        let used = used.and_then(|held| held.origin.as_ref());
        let missed = used.filter(|used| one.fleet.missed(now).any(|(id, _)| id == *used));
        if let Some(origin) = missed.and_then(|missed| self.number_of(missed)) {
            self.keep_record(proxy, origin);
        }
    }

    /// Something comes to a task.
    pub(crate) fn wake(&mut self, proxy: usize, task: usize, wake: Wake) {
        let number = match &wake {
            Wake::Dialled(number)
            | Wake::Said(number, _)
            | Wake::Timer(number)
            | Wake::TooLate(number)
            | Wake::Unanswered(number) => *number,
        };
        let one = &mut self.proxies[proxy].tasks[task];
        if one.awaits != number {
            return;
        }
        one.awaits = 0;
        let said = match wake {
            Wake::Said(_, said) => Some(said),
            Wake::TooLate(_) => {
                if self.proxies[proxy].is_connected {
                    self.disconnect(proxy);
                }
                None
            }
            Wake::Dialled(_) | Wake::Timer(_) | Wake::Unanswered(_) => None,
        };
        let one = &mut self.proxies[proxy].tasks[task];
        if let What::Opens { session } = one.what {
            let record = match said {
                Some(Said::Value(record)) => record,
                _ => None,
            };
            return self.respects(proxy, session, record);
        }
        match std::mem::replace(&mut one.at, At::Over) {
            At::Recalls => match said {
                Some(Said::Value(Some(value))) => {
                    if self.hear(proxy, &value).is_none()
                        && !matches!(self.proxies[proxy].tasks[task].what, What::Follows)
                    {
                        self.at(proxy, task, At::RecallsRecord(value));
                        return self.sleep(proxy, task, RECORD_COMES);
                    }
                    self.recalled(proxy, task);
                }
                Some(_) => {
                    let key = self.key.clone();
                    self.proxies[proxy].shares.unplaced(&key);
                    self.recalled(proxy, task);
                }
                None => self.recalled(proxy, task),
            },
            At::RecallsRecord(value) => {
                self.hear(proxy, &value);
                self.recalled(proxy, task);
            }
            At::Claims(claiming) => match said {
                Some(Said::Claim(claim)) => {
                    let there = self.settle(proxy, &claim.value);
                    if there.is_none() {
                        let at = At::ClaimsRecord(claiming, claim.value, Some(claim.won));
                        self.at(proxy, task, at);
                        return self.sleep(proxy, task, RECORD_COMES);
                    }
                    let step = claiming.answered(claim.won, there);
                    self.claim_on(proxy, task, claiming, step);
                }
                _ => {
                    self.proxies[proxy].settled = None;
                    let step = claiming.unanswered();
                    self.claim_on(proxy, task, claiming, step);
                }
            },
            At::ClaimsRecord(claiming, value, won) => {
                let there = self.settle(proxy, &value);
                let step = match won {
                    Some(won) => claiming.answered(won, there),
                    None => claiming.came(there),
                };
                self.claim_on(proxy, task, claiming, step);
            }
            At::Dials(origin) => self.dialled(proxy, task, origin),
            At::Pauses(Some(next)) => self.try_one(proxy, task, *next),
            At::Pauses(None) => self.recall(proxy, task),
            At::Waits => {
                self.at(proxy, task, At::Waits);
                if !self.go_over(proxy, task) {
                    self.call_off(proxy, task);
                }
            }
            At::Queues(_) => unreachable!("nothing comes to who waits for its turn"),
            At::Over => {
                let stands = self.sees(proxy, Action::Play).claimed();
                if let What::ClaimsLater { gone, origin, .. } =
                    &self.proxies[proxy].tasks[task].what
                    && stands.is_some_and(|stands| stands == *origin || stands == *gone)
                {
                    let origin = origin.clone();
                    self.claim(proxy, task, origin, true);
                }
            }
        }
    }

    /// What the clock ends.
    pub(crate) fn keep_sessions(&mut self, proxy: usize) {
        let now = self.now;
        for session in 0..self.proxies[proxy].sessions.len() {
            let one = &mut self.proxies[proxy].sessions[session];
            if one.is_live {
                one.silent_since = now;
            }
            let is_idle = one.action == Action::Publish
                && one.state == Phase::Relaying
                && one.silent_since + PUBLISHER_IDLE <= now;
            let is_in_vain = one.state == Phase::Held && one.over_at <= now;
            if is_in_vain {
                self.check.saw("a hold in vain");
            }
            if is_in_vain || is_idle {
                self.end(proxy, session);
            }
        }
        if now.is_multiple_of(20_000) && !self.proxies[proxy].shares.held().is_empty() {
            let task = self.spawn(proxy, What::Tells);
            let ttl = LIFETIME;
            self.call(proxy, task, Call::Renew { ttl });
        }
    }
}

fn hold_time(action: Action) -> Duration {
    Duration::from_millis(match action {
        Action::Play => HOLD_VIEWERS,
        Action::Publish => HOLD_PUBLISHERS,
    })
}

fn ip(address: u8) -> std::net::IpAddr {
    std::net::Ipv4Addr::new(203, 0, 113, address).into()
}
