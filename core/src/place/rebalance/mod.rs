//! Which streams leave an origin that has too much to do, and where they go.
//!
//! An origin is overloaded when it has used more than [`Limits::begins`] of its processors or of its bandwidth for a
//! while. Then streams leave until it uses [`Limits::ends`] at most: whole ones, which together carry at most a fifth more
//! than the least that has to leave. They go where [`Limits::fills`] is not exceeded by it. Since that is less than where
//! an overload begins, no move causes another; and a stream that was moved rests.
//!
//! What an origin reports is a mean over time, so that a move shows late. Until it does, it is counted here, at both ends.

mod cover;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::time::{Duration, Instant};

use crate::fleet::load::HALF_LIFE;
use crate::fleet::origin::OriginId;
use crate::stream::PlacementKey;

/// An origin at the moment of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginFacts {
    /// The origin.
    pub origin: OriginId,
    /// Use of its processors, in thousandths; `None` if it reports none.
    pub cpu: Option<u32>,
    /// Kilobits per second that it carries, both directions together.
    pub kbps: u64,
    /// The most that it may carry; `None` if nobody says.
    pub max_kbps: Option<u64>,
    /// Its share of new streams relative to the others: how large it is.
    pub weight: u32,
    /// Whether it may get streams that others leave.
    pub may_take: bool,
    /// It comes before those that are not.
    pub is_preferred: bool,
    /// How many more streams it may hold; `None`: as many as it likes.
    pub streams_left: Option<usize>,
    /// How many more legs it may hold; `None`: as many as it likes.
    pub legs_left: Option<usize>,
}

/// A stream at the moment of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamFacts {
    /// The stream.
    pub key: PlacementKey,
    /// The origin that has it.
    pub origin: OriginId,
    /// Kilobits per second of its legs through this proxy, both directions together.
    pub kbps: u64,
    /// The number of these legs.
    pub legs: usize,
    /// Why it cannot be moved without an interruption; `None` if it can.
    pub stays: Option<Stays>,
    /// When it last came from another origin, whatever the reason.
    pub moved_at: Option<Instant>,
}

/// What a look finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Every origin.
    pub origins: Vec<OriginFacts>,
    /// The streams of this proxy.
    pub streams: Vec<StreamFacts>,
    /// How many proxies move streams, each its own: they share what has to leave, and the room that others have.
    pub proxies: u32,
}

/// Why a stream stays on an overloaded origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stays {
    /// It has not been there for long enough to know how much it carries.
    New,
    /// It fits nowhere else.
    NoRoom,
    /// It is not needed: others leave, and that is enough.
    NotNeeded,
    /// It is not published through this proxy.
    NotOurs,
    /// Its publisher is bound to its origin.
    Publisher,
    /// It was moved lately, or a move of it is under way.
    Rests,
    /// It has viewers that could not follow.
    Viewers,
}

impl Stays {
    /// The reason in lower case, as in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::NoRoom => "no_room",
            Self::NotNeeded => "not_needed",
            Self::NotOurs => "not_ours",
            Self::Publisher => "publisher",
            Self::Rests => "rests",
            Self::Viewers => "viewers",
        }
    }
}

/// When streams are moved, and how many. Shares are in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// An origin that uses more is overloaded.
    pub begins: u32,
    /// It is not any more when it uses this.
    pub ends: u32,
    /// No origin is filled to more than this.
    pub fills: u32,
    /// How long a stream stays after a move.
    pub rests: Duration,
    /// How long an origin that refused a stream gets no other.
    pub spared: Duration,
    /// Maximum moves under way.
    pub under_way: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            begins: 850,
            ends: 800,
            fills: 700,
            rests: Duration::from_secs(600),
            spared: Duration::from_secs(60),
            under_way: 8,
        }
    }
}

/// What is to be done about the overloaded origins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// The overloaded origins, those first that have been so for longest.
    pub overloaded: Vec<Overload>,
    /// The moves, in the order in which they begin.
    pub moves: Vec<Move>,
}

/// An origin that has too much to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overload {
    /// The origin.
    pub origin: OriginId,
    /// What it uses, in thousandths, moves included that do not show in its reports yet.
    pub load: u32,
    /// What it uses when the moves of the plan are made.
    pub after: u32,
    /// It has been so for long enough to act.
    pub has_lasted: bool,
    /// Kilobits per second that have to leave through this proxy.
    pub excess: u64,
    /// Kilobits per second that leave by the plan.
    pub leaving: u64,
    /// How many of its streams stay, for each reason.
    pub staying: BTreeMap<Stays, usize>,
}

/// One move of a plan. The display form says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The stream.
    pub key: PlacementKey,
    /// The overloaded origin.
    pub from: OriginId,
    /// Where it goes.
    pub to: OriginId,
    /// Kilobits per second that it carries.
    pub kbps: u64,
    /// What the overloaded origin uses, in thousandths.
    pub load: u32,
    /// What the other one will use when the moves of the plan are made.
    pub fills: u32,
    /// It may begin now.
    pub is_due: bool,
    /// What it costs at both ends.
    cost: Cost,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (load, fills) = (self.load / 10, self.fills.div_ceil(10));
        let (from, to) = (&self.from, &self.to);
        write!(f, "{from} is at {load}%, and {to} will be at {fills}%")
    }
}

/// What a stream costs: kilobits per second, and millionths of the processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Cost {
    kbps: u64,
    /// Of the origin that it leaves.
    cpu_from: u64,
    /// Of the origin that it goes to.
    cpu_to: u64,
}

/// A move that began in the last minutes.
#[derive(Debug, Clone)]
struct Begun {
    from: OriginId,
    to: OriginId,
    cost: Cost,
    began: Instant,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Failed,
    Made(Instant),
    UnderWay,
}

impl Begun {
    /// Whether its stream is to stay where it is.
    fn counts(&self, now: Instant, rests: Duration) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        match self.stage {
            Stage::Failed => since(self.began) < rests,
            Stage::Made(at) => since(at) < rests,
            Stage::UnderWay => true,
        }
    }
}

/// Plans moves, and remembers those that began.
#[derive(Debug, Default)]
pub struct Rebalancer {
    limits: Limits,
    /// Since when origins are overloaded.
    overloaded: BTreeMap<OriginId, Instant>,
    begun: HashMap<PlacementKey, Begun>,
    /// When origins refused a stream.
    refused: BTreeMap<OriginId, Instant>,
}

impl Rebalancer {
    /// One with these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Notes which origins are overloaded, and forgets what counts no more. True where a plan may have moves.
    pub fn look(&mut self, now: Instant, origins: &[OriginFacts]) -> bool {
        let limits = self.limits;
        let since = |then: Instant| now.saturating_duration_since(then);
        self.begun
            .retain(|_, begun| begun.counts(now, limits.rests));
        self.refused.retain(|_, then| since(*then) < limits.spared);
        let unseen = self.unseen(now);
        let mut known = BTreeSet::new();
        for facts in origins {
            let load = |unseen| Use::of(facts, unseen).load(facts);
            if load(unseen.get(&facts.origin)) > limits.begins {
                self.overloaded.entry(facts.origin.clone()).or_insert(now);
            } else if load(None) <= limits.ends {
                // It says so itself, and not only what was worked out here.
                self.overloaded.remove(&facts.origin);
            }
            known.insert(&facts.origin);
        }
        self.overloaded.retain(|origin, _| known.contains(origin));
        !self.overloaded.is_empty()
    }

    /// What is to be done. Moves are due where an overload has lasted for `lasts`. `may` says whether an origin may have a
    /// stream at all; it is asked about few of them. Nothing is remembered of a plan: who carries a move out says so.
    pub fn plan(
        &self,
        now: Instant,
        facts: &Facts,
        lasts: Duration,
        may: impl Fn(&StreamFacts, &OriginId) -> bool,
    ) -> Plan {
        let unseen = self.unseen(now);
        let overloaded = self.in_turn(now, facts, &unseen);
        let mut plan = Plan::default();
        if overloaded.is_empty() {
            return plan;
        }
        let ids = overloaded
            .iter()
            .map(|(origin, _)| (&origin.origin, Vec::new()));
        let mut streams: HashMap<&OriginId, Vec<&StreamFacts>> = ids.collect();
        for stream in &facts.streams {
            if let Some(streams) = streams.get_mut(&stream.origin) {
                streams.push(stream);
            }
        }
        let has_lasted =
            |since: Option<Instant>| now.saturating_duration_since(since.unwrap_or(now)) >= lasts;
        let mut rooms = self.rooms(now, facts, &unseen);
        for (origin, since) in overloaded {
            let streams = streams.remove(&origin.origin).unwrap_or_default();
            let here = streams.iter().map(|stream| stream.kbps).sum();
            let source = Source {
                facts: origin,
                used: Use::of(origin, unseen.get(&origin.origin)),
                unseen: unseen.get(&origin.origin).copied().unwrap_or_default(),
                streams,
                here,
                carries: origin.kbps.max(here).max(1),
                proxies: facts.proxies,
                has_lasted: has_lasted(since),
            };
            self.relieve(now, &source, &mut rooms, &may, &mut plan);
        }
        self.order(&mut plan, &rooms);
        plan
    }

    /// A move of a plan has begun.
    pub fn began(&mut self, now: Instant, it: &Move) {
        let begun = Begun {
            from: it.from.clone(),
            to: it.to.clone(),
            cost: it.cost,
            began: now,
            stage: Stage::UnderWay,
        };
        self.begun.insert(it.key.clone(), begun);
    }

    /// A move was made.
    pub fn made(&mut self, now: Instant, key: &PlacementKey) {
        if let Some(begun) = self.begun.get_mut(key) {
            begun.stage = Stage::Made(now);
        }
    }

    /// A move came to nothing: its stream is left alone for as long as if it had been made. `by_target`: the other origin
    /// may have been the reason, and gets no stream for a while.
    pub fn failed(&mut self, now: Instant, key: &PlacementKey, by_target: bool) {
        if let Some(begun) = self.begun.get_mut(key) {
            begun.stage = Stage::Failed;
            if by_target {
                self.refused.insert(begun.to.clone(), now);
            }
        }
    }

    /// The number of moves under way.
    pub fn under_way(&self) -> usize {
        let begun = self.begun.values();
        begun.filter(|begun| begun.stage == Stage::UnderWay).count()
    }

    /// The overloaded origins: those that have been so for longest, and then those that have just become so.
    fn in_turn<'a>(
        &self,
        now: Instant,
        facts: &'a Facts,
        unseen: &BTreeMap<OriginId, Unseen>,
    ) -> Vec<(&'a OriginFacts, Option<Instant>)> {
        let overloaded = facts.origins.iter().filter_map(|origin| {
            let since = self.overloaded.get(&origin.origin).copied();
            let load = Use::of(origin, unseen.get(&origin.origin)).load(origin);
            let counts = match since {
                Some(_) => load > self.limits.ends,
                None => load > self.limits.begins,
            };
            counts.then_some((origin, since))
        });
        let mut overloaded: Vec<_> = overloaded.collect();
        overloaded.sort_by_key(|(_, since)| since.unwrap_or(now));
        overloaded
    }

    /// What moves do to each origin that its reports do not show yet.
    fn unseen(&self, now: Instant) -> BTreeMap<OriginId, Unseen> {
        let mut unseen: BTreeMap<OriginId, Unseen> = BTreeMap::new();
        for begun in self.begun.values() {
            let part = match begun.stage {
                Stage::Failed => continue,
                Stage::UnderWay => 1.0,
                Stage::Made(at) => still_unseen(now.saturating_duration_since(at)),
            };
            let of = |cost: u64| (cost as f64 * part).ceil() as u64;
            let from = unseen.entry(begun.from.clone()).or_default();
            from.kbps_out += of(begun.cost.kbps);
            from.cpu_out += of(begun.cost.cpu_from);
            let to = unseen.entry(begun.to.clone()).or_default();
            to.kbps_in += of(begun.cost.kbps);
            to.cpu_in += of(begun.cost.cpu_to);
            to.streams += usize::from(begun.stage == Stage::UnderWay);
        }
        unseen
    }

    /// The origins that may take streams, with what they may take. One whose load nobody knows is none.
    fn rooms<'a>(
        &self,
        now: Instant,
        facts: &'a Facts,
        unseen: &BTreeMap<OriginId, Unseen>,
    ) -> Vec<Room<'a>> {
        let fit = |facts: &&OriginFacts| {
            let refused = self.refused.get(&facts.origin);
            let is_spared = refused
                .is_some_and(|then| now.saturating_duration_since(*then) < self.limits.spared);
            facts.may_take && !is_spared && !self.overloaded.contains_key(&facts.origin)
        };
        let proxies = u64::from(facts.proxies.max(1));
        let origins = facts.origins.iter().filter(fit);
        let room = |facts: &'a OriginFacts| {
            let unseen = unseen.get(&facts.origin).copied().unwrap_or_default();
            let fills = u64::from(self.limits.fills);
            // What is reported is everybody's, and what is left of it is shared; of that goes what only we know of.
            let left = |most: u64, used: u64, ours: u64| {
                (most.saturating_sub(used) / proxies).saturating_sub(ours)
            };
            let cpu = facts.cpu.map(millionths);
            let cpu = cpu.map(|used| left(fills * 1000, used, unseen.cpu_in));
            let kbps = facts.max_kbps.map(|most| {
                left(
                    most.saturating_mul(fills) / 1000,
                    facts.kbps,
                    unseen.kbps_in,
                )
            });
            Room {
                facts,
                carries: facts.kbps.saturating_sub(unseen.kbps_in),
                cpu,
                kbps,
                streams: facts
                    .streams_left
                    .map(|left| left.saturating_sub(unseen.streams)),
                legs: facts.legs_left,
            }
        };
        let known = |room: &Room<'_>| room.cpu.is_some() || room.kbps.is_some();
        origins.map(room).filter(known).collect()
    }

    /// Plans which streams leave one origin.
    fn relieve(
        &self,
        now: Instant,
        source: &Source<'_>,
        rooms: &mut Vec<Room<'_>>,
        may: &impl Fn(&StreamFacts, &OriginId) -> bool,
        plan: &mut Plan,
    ) {
        let excess = source.excess(self.limits.ends);
        let mut staying: BTreeMap<Stays, usize> = BTreeMap::new();
        let mut movable = Vec::new();
        for stream in &source.streams {
            match self.stays(now, stream) {
                Some(why) => *staying.entry(why).or_default() += 1,
                None => movable.push(*stream),
            }
        }
        movable.sort_by(|one, two| two.kbps.cmp(&one.kbps).then_with(|| one.key.cmp(&two.key)));
        let (placed, homeless) = place(source, &movable, excess, rooms, may);
        let leaving = placed.iter().map(|it| it.cost.kbps).sum();
        let not_needed = movable.len() - placed.len() - homeless;
        for (why, count) in [(Stays::NoRoom, homeless), (Stays::NotNeeded, not_needed)] {
            if count > 0 {
                staying.insert(why, count);
            }
        }
        let load = source.used.load(source.facts);
        plan.overloaded.push(Overload {
            origin: source.facts.origin.clone(),
            load,
            after: source.used.without(&placed).load(source.facts),
            has_lasted: source.has_lasted,
            excess,
            leaving,
            staying,
        });
        for it in placed {
            plan.moves.push(Move {
                key: it.stream.key.clone(),
                from: source.facts.origin.clone(),
                to: it.to.clone(),
                kbps: it.cost.kbps,
                load,
                fills: 0,
                is_due: source.has_lasted,
                cost: it.cost,
            });
        }
    }

    /// Why a stream is not to be moved, if it is not.
    fn stays(&self, now: Instant, stream: &StreamFacts) -> Option<Stays> {
        let lately = |then: Instant| now.saturating_duration_since(then) < self.limits.rests;
        let begun = self.begun.get(&stream.key);
        let rests = begun.is_some_and(|begun| begun.counts(now, self.limits.rests));
        match stream.stays {
            Some(why) => Some(why),
            None if rests || stream.moved_at.is_some_and(lately) => Some(Stays::Rests),
            None if stream.kbps == 0 => Some(Stays::New),
            None => None,
        }
    }

    /// Puts the moves into their order: one of each origin in turn, the largest first. Those come later that are more
    /// than may be under way.
    fn order(&self, plan: &mut Plan, rooms: &[Room<'_>]) {
        let mut turns: HashMap<OriginId, usize> = HashMap::new();
        let moves = std::mem::take(&mut plan.moves).into_iter();
        let in_turn = moves.map(|it| {
            let turn = turns.entry(it.from.clone()).or_default();
            *turn += 1;
            (!it.is_due, *turn, it)
        });
        let mut in_turn: Vec<_> = in_turn.collect();
        in_turn.sort_by_key(|(is_late, turn, _)| (*is_late, *turn));
        plan.moves = in_turn.into_iter().map(|(_, _, it)| it).collect();
        let mut free = self.limits.under_way.saturating_sub(self.under_way());
        let fills: HashMap<&OriginId, u32> = rooms
            .iter()
            .map(|room| (&room.facts.origin, room.used(self.limits.fills)))
            .collect();
        for it in &mut plan.moves {
            it.fills = fills.get(&it.to).copied().unwrap_or_default();
            it.is_due &= free > 0;
            free -= usize::from(it.is_due);
        }
    }
}

/// What moves do to one origin that its reports do not show yet.
#[derive(Debug, Clone, Copy, Default)]
struct Unseen {
    kbps_in: u64,
    kbps_out: u64,
    cpu_in: u64,
    cpu_out: u64,
    /// Streams on their way there.
    streams: usize,
}

/// What an origin uses: millionths of its processors, and kilobits per second.
#[derive(Debug, Clone, Copy)]
struct Use {
    cpu: Option<u64>,
    kbps: u64,
}

impl Use {
    /// What it reports, with what its reports do not show yet.
    fn of(facts: &OriginFacts, unseen: Option<&Unseen>) -> Self {
        let unseen = unseen.copied().unwrap_or_default();
        let with = |used: u64, more: u64, less: u64| (used + more).saturating_sub(less);
        Self {
            cpu: facts
                .cpu
                .map(|cpu| with(millionths(cpu), unseen.cpu_in, unseen.cpu_out)),
            kbps: with(facts.kbps, unseen.kbps_in, unseen.kbps_out),
        }
    }

    fn without(mut self, placed: &[Placed<'_>]) -> Self {
        for it in placed {
            self.cpu = self.cpu.map(|cpu| cpu.saturating_sub(it.cost.cpu_from));
            self.kbps = self.kbps.saturating_sub(it.cost.kbps);
        }
        self
    }

    /// In thousandths: of its processors or of its bandwidth, whichever is more.
    fn load(&self, facts: &OriginFacts) -> u32 {
        let cpu = self.cpu.map(|cpu| cpu / 1000);
        let bandwidth = facts.max_kbps.map(|most| share(self.kbps, most, 1000));
        let load = cpu.max(bandwidth).unwrap_or(0);
        u32::try_from(load).unwrap_or(u32::MAX)
    }
}

/// An origin that streams are to leave.
struct Source<'a> {
    facts: &'a OriginFacts,
    used: Use,
    unseen: Unseen,
    streams: Vec<&'a StreamFacts>,
    /// Kilobits per second of its streams through this proxy.
    here: u64,
    /// What the origin carries: as it says, or as its streams here carry together, whichever is more.
    carries: u64,
    /// How many proxies move streams.
    proxies: u32,
    /// It has been overloaded for long enough to act.
    has_lasted: bool,
}

impl Source<'_> {
    /// The part of its processors, in millionths, that `kbps` kilobits per second use.
    fn cpu_of(&self, kbps: u64) -> u64 {
        self.facts
            .cpu
            .map_or(0, |cpu| scaled(millionths(cpu), kbps, self.carries))
    }

    /// Kilobits per second that have to leave, so that it uses `ends` thousandths at most. Where other proxies move
    /// streams too, each moves as much of what is reported as it has of the origin's load; of that goes what only we know
    /// of.
    fn excess(&self, ends: u32) -> u64 {
        let (ends, unseen) = (u64::from(ends), &self.unseen);
        let ours = |over: u64| match self.proxies {
            0 | 1 => over,
            _ => {
                let (here, all) = (self.here, self.carries);
                scaled(over, here + unseen.kbps_out, all + unseen.kbps_out)
            }
        };
        let of_cpu = self.facts.cpu.map_or(0, |cpu| {
            let cpu = millionths(cpu);
            let over = ours((cpu + unseen.cpu_in).saturating_sub(ends * 1000));
            scaled(over.saturating_sub(unseen.cpu_out), self.carries, cpu)
        });
        let of_bandwidth = self.facts.max_kbps.map_or(0, |most| {
            let may = most.saturating_mul(ends) / 1000;
            let over = ours((self.facts.kbps + unseen.kbps_in).saturating_sub(may));
            over.saturating_sub(unseen.kbps_out)
        });
        of_cpu.max(of_bandwidth)
    }
}

/// What an origin may take.
#[derive(Debug, Clone)]
struct Room<'a> {
    facts: &'a OriginFacts,
    /// Kilobits per second that its use of processors comes from, as it reports that.
    carries: u64,
    /// Millionths of its processors.
    cpu: Option<u64>,
    kbps: Option<u64>,
    streams: Option<usize>,
    legs: Option<usize>,
}

impl Room<'_> {
    /// What a stream would cost here. One that comes from a smaller origin counts as much as one of that size bears, and
    /// no stream counts less than one of those that are here.
    fn cost(&self, source: &Source<'_>, stream: &StreamFacts) -> Cost {
        let cpu_from = source.cpu_of(stream.kbps);
        let (theirs, ours) = (source.facts.weight.max(1), self.facts.weight.max(1));
        let as_there = scaled(cpu_from, theirs.into(), ours.into());
        let as_here = match self.facts.cpu {
            Some(cpu) if self.carries > 0 && cpu >= TELLING => {
                scaled(millionths(cpu), stream.kbps, self.carries)
            }
            _ => 0,
        };
        Cost {
            kbps: stream.kbps,
            cpu_from,
            cpu_to: as_there.max(as_here),
        }
    }

    fn takes(&self, cost: &Cost, legs: usize) -> bool {
        self.cpu.is_none_or(|left| cost.cpu_to <= left)
            && self.kbps.is_none_or(|left| cost.kbps <= left)
            && self.streams.is_none_or(|left| left > 0)
            && self.legs.is_none_or(|left| legs <= left)
    }

    fn take(&mut self, cost: &Cost, legs: usize) {
        self.cpu = self.cpu.map(|left| left.saturating_sub(cost.cpu_to));
        self.kbps = self.kbps.map(|left| left.saturating_sub(cost.kbps));
        self.streams = self.streams.map(|left| left.saturating_sub(1));
        self.legs = self.legs.map(|left| left.saturating_sub(legs));
    }

    /// Millionths that would be left with a stream: the more, the better.
    fn left_with(&self, cost: &Cost) -> u64 {
        let cpu = self.cpu.map(|left| left.saturating_sub(cost.cpu_to));
        let kbps = self.kbps.zip(self.facts.max_kbps);
        let kbps = kbps.map(|(left, most)| share(left.saturating_sub(cost.kbps), most, 1_000_000));
        cpu.into_iter().chain(kbps).min().unwrap_or(0)
    }

    /// What it uses, in thousandths, if it is full at `fills`.
    fn used(&self, fills: u32) -> u32 {
        let left = self.left_with(&Cost::default()) / 1000;
        fills.saturating_sub(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// A stream that has a place elsewhere.
struct Placed<'a> {
    stream: &'a StreamFacts,
    to: OriginId,
    cost: Cost,
}

/// Finds places for streams that carry `excess` together, and little more. Also says how many found none.
fn place<'a>(
    source: &Source<'_>,
    movable: &[&'a StreamFacts],
    excess: u64,
    rooms: &mut Vec<Room<'_>>,
    may: &impl Fn(&StreamFacts, &OriginId) -> bool,
) -> (Vec<Placed<'a>>, usize) {
    let size = |stream: &&StreamFacts| stream.kbps;
    let best = cover::cover(&movable.iter().map(size).collect::<Vec<_>>(), excess);
    let most = best.map_or(0, |best| best.sum).max(excess + excess / 5);
    let mut left: Vec<&StreamFacts> = movable.to_vec();
    let mut rounds = ROUNDS;
    loop {
        let sizes: Vec<u64> = left.iter().map(size).collect();
        let chosen = cover::cover(&sizes, excess).filter(|chosen| chosen.sum <= most);
        let chosen = chosen.unwrap_or_else(|| cover::below(&sizes, excess));
        let mut tried = rooms.clone();
        let mut placed = Vec::new();
        let mut homeless = BTreeSet::new();
        for place in chosen.places {
            let Some(stream) = left.get(place).copied() else {
                continue;
            };
            match find(source, stream, &mut tried, may) {
                Some((to, cost)) => placed.push(Placed { stream, to, cost }),
                None => drop(homeless.insert(place)),
            }
        }
        rounds -= 1;
        if homeless.is_empty() || rounds == 0 {
            *rooms = tried;
            return (placed, movable.len() - left.len() + homeless.len());
        }
        let mut at = 0..;
        left.retain(|_| at.next().is_none_or(|place| !homeless.contains(&place)));
    }
}

/// The origin with the most room that takes a stream; it has less of it then.
fn find(
    source: &Source<'_>,
    stream: &StreamFacts,
    rooms: &mut [Room<'_>],
    may: &impl Fn(&StreamFacts, &OriginId) -> bool,
) -> Option<(OriginId, Cost)> {
    let mut fitting: Vec<(bool, u64, usize, Cost)> = rooms
        .iter()
        .enumerate()
        .map(|(at, room)| (at, room, room.cost(source, stream)))
        .filter(|(_, room, cost)| room.takes(cost, stream.legs))
        .map(|(at, room, cost)| (room.facts.is_preferred, room.left_with(&cost), at, cost))
        .collect();
    fitting.sort_by_key(|(preferred, left, at, _)| (!preferred, u64::MAX - left, *at));
    let may_have = |(_, _, at, _): &&(bool, u64, usize, Cost)| {
        rooms
            .get(*at)
            .is_some_and(|room| may(stream, &room.facts.origin))
    };
    let (_, _, at, cost) = *fitting.iter().find(may_have)?;
    let room = rooms.get_mut(at)?;
    room.take(&cost, stream.legs);
    Some((room.facts.origin.clone(), cost))
}

/// The part of a move that reports do not show, this long after it was made.
fn still_unseen(age: Duration) -> f64 {
    let shown = age.saturating_sub(REPORTED_WITHIN);
    (-shown.as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
}

fn millionths(thousandths: u32) -> u64 {
    u64::from(thousandths) * 1000
}

/// `part` of `whole`, in parts of `all`.
fn share(part: u64, whole: u64, all: u64) -> u64 {
    scaled(all, part, whole)
}

/// `number` times `by`, through `whole`; rounded up, so that nothing seems to cost less than it does.
fn scaled(number: u64, by: u64, whole: u64) -> u64 {
    let scaled = (u128::from(number) * u128::from(by)).div_ceil(u128::from(whole.max(1)));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// How long until an origin reports what it carries now: the interval of heartbeats.
const REPORTED_WITHIN: Duration = Duration::from_secs(10);
/// Use of processors, in thousandths, that says what a stream costs: below it, it is mostly what the machine does by itself.
const TELLING: u32 = 200;
/// How often other streams are chosen where some fit nowhere.
const ROUNDS: u32 = 16;
