//! A simulation of the rule under loss, delay, repetition, partitions, pauses, restarts and clocks that disagree, seed
//! by seed. Partitions cut a network in two, cut two proxies off from each other, or let one proxy hear another that
//! does not hear it.
//!
//! The rows are carried by a model of gossip, message by message: a request has heartbeats, the answer has heartbeats
//! and rows, and the rows that the asking proxy has beyond that follow. Each message carries the latest word of each
//! proxy on each key, in any order. News goes ahead of that, to every proxy that seems alive.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{GRACE, Row, Table, Way, Word};

#[test]
fn every_seed_agrees_on_one_winner_within_five_seconds_of_healing() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.live(80);
        world.heal();
        world.pass(FIVE_SECONDS);
        world.agrees("after healing");
        world.new_words_replace_old_ones();
        world.what_ended_stays_ended();
    }
}

/// A network that is connected only through one proxy agrees like any other, before anything heals.
#[test]
fn what_two_cannot_tell_each_other_goes_through_a_third() {
    for seed in 0..SEEDS / 4 {
        let mut world = World::new(seed);
        let hub = world.any();
        for one in world.all().filter(|one| *one != hub) {
            for other in world.all().filter(|other| ![hub, one].contains(other)) {
                // One way or both ways, so that only heartbeats and news pass between them.
                if one < other || world.below(2) == 0 {
                    world.cut.insert((one, other));
                }
            }
        }
        world.live_apart(40);
        world.pass(FIVE_SECONDS);
        world.agrees("by way of one");
        if world.loss == 0 {
            for proxy in world.all() {
                let (alive, silent) = world.proxies[proxy].table.others();
                assert_eq!((alive, silent), (world.proxies.len() - 1, 0), "seed {seed}");
            }
        }
        world.heal();
        world.pass(FIVE_SECONDS);
        world.agrees("after healing");
    }
}

/// Of two proxies, one hears the other and is not heard: it sees heartbeats and news, but no answers.
#[test]
fn a_way_that_works_in_one_direction_is_no_way_and_heals_as_any() {
    for seed in 0..SEEDS / 4 {
        let mut world = World::new(seed);
        world.proxies.truncate(2);
        world.pass(FIVE_SECONDS);
        world.cut.insert((1, 0));
        world.live_apart(40);
        world.heal();
        world.pass(FIVE_SECONDS);
        world.agrees("after healing");
        world.what_ended_stays_ended();
    }
}

#[test]
fn a_partition_longer_than_the_grace_heals_too() {
    for seed in 0..24 {
        let mut world = World::new(seed);
        world.live(20);
        world.cut_in_two();
        world.pass(4 * (GRACE.as_secs() + 10));
        world.live_apart(20);
        world.heal();
        world.pass(FIVE_SECONDS);
        world.agrees("after a long partition");
        world.what_ended_stays_ended();
    }
}

/// A player's claim does not take a stream from a publisher that nobody could hear for a while.
#[test]
fn a_publisher_beyond_the_grace_keeps_its_stream() {
    let (mut world, key) = (World::new(1), "k0");
    world.claim(0, key, None, "with the publisher", DAY);
    world.pass(FIVE_SECONDS);
    world.cut_off(0);
    world.pass(4 * (GRACE.as_secs() + 10));
    assert_eq!(world.seen(1, key), None, "the claim has lapsed");
    world.claim(1, key, None, "for a player", MINUTE);
    world.heal();
    world.pass(FIVE_SECONDS);
    world.agrees("afterwards");
    assert_eq!(world.seen(2, key).as_deref(), Some("with the publisher"));

    world.cut_off(0);
    world.pass(4 * (GRACE.as_secs() + 10));
    world.claim(1, key, None, "of its next publisher", DAY);
    world.heal();
    world.pass(FIVE_SECONDS);
    world.agrees("afterwards");
    assert_eq!(world.seen(0, key).as_deref(), Some("of its next publisher"));
}

#[test]
fn who_was_paused_does_not_think_the_others_dead() {
    let mut world = World::new(3);
    world.claim(1, "k0", None, "a", MINUTE);
    world.pass(FIVE_SECONDS);
    world.proxies[0].paused = true;
    world.pass(4 * 4 * GRACE.as_secs());
    assert_eq!(world.seen(2, "k0"), None, "a minute is over");
    world.claim(1, "k0", None, "b", DAY);
    world.pass(FIVE_SECONDS);
    world.proxies[0].paused = false;
    world.step();
    let now = world.now(0);
    assert_eq!(
        world.proxies[0].table.others().1,
        0,
        "it knows that it was away"
    );
    assert_eq!(world.proxies[0].table.get("k1", now), None);
    world.pass(FIVE_SECONDS);
    world.agrees("afterwards");
    assert_eq!(world.seen(0, "k0").as_deref(), Some("b"));
}

/// One proxy, from its start to its end.
struct Proxy {
    id: u32,
    table: Table<u32>,
    /// What the gossip here knows about all proxies.
    known: Known,
    /// When each heartbeat last moved. A proxy that is silent for longer than the grace is no longer passed on.
    moved: BTreeMap<u32, Instant>,
    /// By how much its monotonic clock began before the others', and its time of day is off.
    off: Duration,
    paused: bool,
}

#[derive(Clone, Default)]
struct Carried {
    beat: u64,
    /// The number of words.
    said: u64,
    rows: Rc<BTreeMap<&'static str, Said>>,
}

/// The number of a word, and its row unless it is forgotten.
type Said = (u64, Option<Rc<Row>>);

struct Message {
    due: u64,
    from: usize,
    to: usize,
    says: Says,
}

#[derive(Clone)]
enum Says {
    /// A request for rows, with heartbeats. It is answered.
    Ask(Known),
    /// An answer with heartbeats and rows. It is answered.
    Answer(Known),
    /// The remaining rows.
    Rest(Known),
    /// New words of one proxy.
    News(u32, Vec<(&'static str, Word)>),
}

type Known = BTreeMap<u32, Carried>;

struct World {
    random: u64,
    seed: u64,
    step: u64,
    began: Instant,
    proxies: Vec<Proxy>,
    /// The pairs of sender and receiver between which nothing passes.
    cut: BTreeSet<(usize, usize)>,
    under_way: Vec<Message>,
    /// The share of lost messages, in percent.
    loss: u64,
    starts: u32,
    claimed: BTreeSet<(&'static str, String)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            random: seed,
            seed,
            step: 0,
            #[expect(
                clippy::disallowed_methods,
                reason = "any instant will do to count from"
            )]
            began: Instant::now() + Duration::from_secs(10_000),
            proxies: Vec::new(),
            cut: BTreeSet::new(),
            under_way: Vec::new(),
            loss: 0,
            starts: 0,
            claimed: BTreeSet::new(),
        };
        world.loss = world.below(25);
        for _ in 0..3 + world.below(2) {
            let proxy = world.start();
            world.proxies.push(proxy);
        }
        world
    }

    fn start(&mut self) -> Proxy {
        self.starts += 1;
        Proxy {
            id: self.starts,
            table: Table::new(self.starts),
            known: BTreeMap::from([(
                self.starts,
                Carried {
                    beat: 1,
                    ..Carried::default()
                },
            )]),
            moved: BTreeMap::new(),
            off: Duration::from_secs(self.below(7_200)),
            paused: false,
        }
    }

    /// Runs with every kind of disturbance.
    fn live(&mut self, steps: u64) {
        for _ in 0..steps {
            match self.below(40) {
                0 => self.cut_in_two(),
                1 => self.cut.clear(),
                2 => {
                    let proxy = self.any();
                    self.proxies[proxy] = self.start();
                }
                3 => {
                    let proxy = self.any();
                    self.proxies[proxy].paused ^= true;
                }
                4 => {
                    let (one, other) = (self.any(), self.any());
                    self.cut.extend([(one, other), (other, one)]);
                }
                5 | 6 => {
                    let way = (self.any(), self.any());
                    self.cut.insert(way);
                }
                _ => {}
            }
            self.live_apart(1);
        }
    }

    /// Proxies claim, put, renew and remove at random.
    fn live_apart(&mut self, steps: u64) {
        for _ in 0..steps {
            for proxy in 0..self.proxies.len() {
                if !self.proxies[proxy].paused && self.below(4) == 0 {
                    self.act(proxy);
                }
            }
            self.step();
        }
    }

    fn act(&mut self, proxy: usize) {
        let key = KEYS[usize::try_from(self.below(4)).unwrap()];
        let lifetime =
            [Duration::from_secs(1), MINUTE, DAY][usize::try_from(self.below(3)).unwrap()];
        let value = format!("origin-{}", self.below(5));
        let seen = self.seen(proxy, key);
        let now = self.now(proxy);
        match self.below(10) {
            0 => self.proxies[proxy]
                .table
                .remove(key, seen.as_deref(), now)
                .unwrap(),
            1 => self.put(proxy, key, &value),
            2 => self.proxies[proxy].table.renew(key, lifetime, now).unwrap(),
            3 | 4 => self.claim(proxy, key, seen.as_deref(), &value, lifetime),
            _ => self.claim(proxy, key, None, &value, lifetime),
        }
    }

    fn claim(
        &mut self,
        proxy: usize,
        key: &'static str,
        expected: Option<&str>,
        value: &str,
        lifetime: Duration,
    ) {
        let (now, clock) = (self.now(proxy), self.clock(proxy));
        let table = &mut self.proxies[proxy].table;
        let before = table.get(key, now).map(str::to_owned);
        let claim = table
            .claim(key, expected, value, lifetime, clock, now)
            .unwrap();
        assert_eq!(
            table.get(key, now),
            Some(claim.value.as_str()),
            "it says what stands"
        );
        let free = before
            .as_deref()
            .is_none_or(|stood| stood == value || expected == Some(stood));
        assert_eq!(claim.won, free, "seed {}", self.seed);
        self.claimed.insert((key, claim.value));
    }

    fn put(&mut self, proxy: usize, key: &'static str, value: &str) {
        let (now, clock) = (self.now(proxy), self.clock(proxy));
        let table = &mut self.proxies[proxy].table;
        table.put(key, value, DAY, clock, now).unwrap();
        assert_eq!(table.get(key, now), Some(value));
        self.claimed.insert((key, value.to_owned()));
    }

    fn cut_in_two(&mut self) {
        let sides: Vec<u64> = self.all().map(|_| self.below(2)).collect();
        self.cut_between(|one, other| sides[one] != sides[other]);
    }

    fn cut_off(&mut self, proxy: usize) {
        self.cut_between(|one, other| (one == proxy) != (other == proxy));
    }

    fn cut_between(&mut self, apart: impl Fn(usize, usize) -> bool) {
        let ways = self
            .all()
            .flat_map(|one| self.all().map(move |other| (one, other)));
        self.cut = ways.filter(|(one, other)| apart(*one, *other)).collect();
    }

    fn heal(&mut self) {
        self.cut.clear();
        for proxy in &mut self.proxies {
            proxy.paused = false;
        }
    }

    fn pass(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Takes a step of a quarter of a second.
    fn step(&mut self) {
        self.step += 1;
        for from in 0..self.proxies.len() {
            if self.proxies[from].paused {
                continue;
            }
            let now = self.now(from);
            let proxy = &mut self.proxies[from];
            proxy.table.sweep(now);
            let said = proxy.say();
            if !said.is_empty() {
                for to in self.all() {
                    if self.proxies[from].table.is_alive(&self.proxies[to].id) {
                        let news = Says::News(self.proxies[from].id, said.clone());
                        self.send(from, to, &news);
                    }
                }
            }
            for _ in 0..3 {
                let to = self.any();
                let known = self.proxies[from].spoken_of(now);
                self.send(from, to, &Says::Ask(known));
            }
        }
        let (due, later) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|message: &Message| message.due <= self.step);
        self.under_way = later;
        for message in due {
            let (from, to) = (message.from, message.to);
            if from == to || self.cut.contains(&(from, to)) || self.proxies[to].paused {
                continue;
            }
            let now = self.now(to);
            let hearer = &mut self.proxies[to];
            match message.says {
                Says::Ask(known) => {
                    hearer.hear_beats(&known, now);
                    let answer = Says::Answer(hearer.spoken_of(now));
                    self.send(to, from, &answer);
                }
                Says::Answer(known) => {
                    hearer.hear_beats(&known, now);
                    hearer.hear_rows(known, now);
                    let rest = Says::Rest(hearer.spoken_of(now));
                    self.send(to, from, &rest);
                }
                Says::Rest(known) => hearer.hear_rows(known, now),
                Says::News(owner, words) => {
                    for (key, word) in words {
                        hearer.table.hear(&owner, key, word, Way::News, now);
                    }
                }
            }
        }
    }

    /// Sends a message, which may be lost, late or repeated.
    fn send(&mut self, from: usize, to: usize, says: &Says) {
        let times = if self.below(100) < self.loss {
            0
        } else {
            1 + u64::from(self.below(20) == 0)
        };
        for _ in 0..times {
            let (due, says) = (self.step + self.below(2), says.clone());
            self.under_way.push(Message {
                due,
                from,
                to,
                says,
            });
        }
    }

    fn agrees(&mut self, when: &str) {
        for key in KEYS {
            let seen = self.seen(0, key);
            for proxy in 1..self.proxies.len() {
                let other = self.seen(proxy, key);
                assert_eq!(
                    other, seen,
                    "seed {}, {key}, {when}, proxy {proxy}",
                    self.seed
                );
            }
            if let Some(value) = seen {
                let known = self.claimed.contains(&(key, value.clone()));
                assert!(known, "seed {}: nobody claimed {value}", self.seed);
            }
        }
    }

    fn new_words_replace_old_ones(&mut self) {
        let (one, other) = (self.any(), self.any());
        self.put(one, "k0", "the first");
        self.pass(FIVE_SECONDS / 2);
        self.put(other, "k0", "the second");
        self.pass(FIVE_SECONDS / 2);
        self.agrees("after two puts");
        assert_eq!(
            self.seen(0, "k0").as_deref(),
            Some("the second"),
            "seed {}",
            self.seed
        );
    }

    /// What was removed and what expired does not come back, whatever happens to the proxies then.
    fn what_ended_stays_ended(&mut self) {
        let (one, other) = (self.any(), self.any());
        for key in KEYS {
            // A claim that lapsed with its proxy may count again for a new one. This fence is above it.
            let seen = self.seen(one, key);
            self.claim(one, key, seen.as_deref(), "the last", DAY);
        }
        self.pass(FIVE_SECONDS);
        for key in KEYS {
            let (seen, now) = (self.seen(one, key), self.now(one));
            assert_eq!(seen.as_deref(), Some("the last"));
            self.proxies[one]
                .table
                .remove(key, seen.as_deref(), now)
                .unwrap();
        }
        self.pass(FIVE_SECONDS);
        self.claim(other, "k1", None, "for a moment", Duration::from_secs(1));
        self.pass(FIVE_SECONDS);
        self.cut_in_two();
        self.pass(FIVE_SECONDS);
        let restarted = self.any();
        self.proxies[restarted] = self.start();
        self.pass(2);
        self.heal();
        for _ in 0..FIVE_SECONDS {
            self.step();
            for proxy in 0..self.proxies.len() {
                for key in KEYS {
                    assert_eq!(self.seen(proxy, key), None, "seed {}, {key}", self.seed);
                }
            }
        }
    }

    fn seen(&self, proxy: usize, key: &str) -> Option<String> {
        let now = self.now(proxy);
        self.proxies[proxy].table.get(key, now).map(str::to_owned)
    }

    fn now(&self, proxy: usize) -> Instant {
        self.began + self.proxies[proxy].off + STEP * u32::try_from(self.step).unwrap()
    }

    fn clock(&self, proxy: usize) -> u64 {
        let off = u64::try_from(self.proxies[proxy].off.as_millis()).unwrap();
        1_700_000_000_000 + off + self.step * 250
    }

    fn all(&self) -> std::ops::Range<usize> {
        0..self.proxies.len()
    }

    fn any(&mut self) -> usize {
        let proxies = u64::try_from(self.proxies.len()).unwrap();
        usize::try_from(self.below(proxies)).unwrap()
    }

    /// The next number below `bound` of a sequence that the seed determines (SplitMix64).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

impl Proxy {
    /// Says what has changed, and returns what is new.
    fn say(&mut self) -> Vec<(&'static str, Word)> {
        let own = self.known.entry(self.id).or_default();
        own.beat += 1;
        let mut said = Vec::new();
        for (key, row) in self.table.unsaid() {
            own.said += 1;
            let key = KEYS
                .into_iter()
                .find(|known| *known == key)
                .expect("one of ours");
            let number = own.said;
            let word = row.map(|row| Word { number, row });
            // The word is encoded and parsed, as on the wire.
            let word = word.map(|word| Word::parse(&word.encode()).expect("readable"));
            said.extend(word.clone().map(|word| (key, word)));
            let row = word.map(|word| Rc::new(word.row));
            Rc::make_mut(&mut own.rows).insert(key, (number, row));
        }
        said
    }

    fn spoken_of(&self, now: Instant) -> Known {
        let mut known = self.known.clone();
        known.retain(|owner, _| {
            self.moved
                .get(owner)
                .is_none_or(|moved| now - *moved < GRACE)
        });
        known
    }

    fn hear_beats(&mut self, known: &Known, now: Instant) {
        for (owner, carried) in known {
            let here = self.known.entry(*owner).or_default();
            if *owner != self.id && carried.beat > here.beat {
                here.beat = carried.beat;
                self.moved.insert(*owner, now);
                self.table.beat(owner, carried.beat, now);
            }
        }
    }

    fn hear_rows(&mut self, known: Known, now: Instant) {
        for (owner, carried) in known {
            // Rows of a proxy without a heartbeat cannot be stored.
            let Some(here) = self.known.get_mut(&owner).filter(|_| owner != self.id) else {
                continue;
            };
            for (key, (number, row)) in carried.rows.iter() {
                let newest = here.rows.get(key).map_or(0, |(number, _)| *number);
                if *number > newest {
                    if let Some(row) = row {
                        let (number, row) = (*number, Row::clone(row));
                        let word = Word { number, row };
                        self.table.hear(&owner, key, word, Way::Gossip, now);
                    }
                    Rc::make_mut(&mut here.rows).insert(key, (*number, row.clone()));
                }
            }
            here.said = here.said.max(carried.said);
        }
        let known = &self.known;
        let says = |owner: &u32, key: &str, number: u64| {
            known.get(owner).is_some_and(|carried| {
                let row = carried.rows.get(key);
                row.is_some_and(|(_, row)| row.is_some()) || number > carried.said
            })
        };
        self.table.check(says, now);
    }
}

const SEEDS: u64 = 1_024;
const KEYS: [&str; 4] = ["k0", "k1", "k2", "k3"];
const STEP: Duration = Duration::from_millis(250);
/// Five seconds, in steps.
const FIVE_SECONDS: u64 = 20;
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
