//! The network, the store, the origins and the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sluicegate_core::cluster::keys::{Claim, Keys};
use sluicegate_core::fleet::origin::{AddressRules, Origin, OriginId, parse_registration};
use sluicegate_core::stream::{PlacementKey, StreamUrl, VhostRule};

use super::check::Check;
use super::proxy::{Proxy, Wake};
use super::scenes::{Client, Scene};

/// A decision that is made wrongly on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Several sessions of one proxy look and claim at the same time, and hear the answers in any order.
    ClaimsAtOnce,
    /// A claim replaces what stands, whatever that is, and nobody looks who had it.
    ClaimsUnseen,
    /// Nobody writes of an origin that has fallen silent, though a publisher is there.
    ForgetsOrigins,
    /// A publisher that is to move goes over, wherever the stream was placed meanwhile.
    GoesOverUnseen,
    /// Each loss begins a hold of its own, however short the time was that an origin had the client.
    HoldsAgain,
    /// A claim that takes the stream elsewhere is told to the other proxies only.
    KeepsItsClaims,
    /// The claim of a move stays where the publisher never came.
    KeepsMovedClaims,
    /// A session that hears that the stream is elsewhere tells none of the others.
    KeepsToItself,
    Nothing,
    /// A publisher that is held is respected by its own encoder, too.
    RefusesItsOwn,
}

/// All there is.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plant: Plant,
    pub(crate) start: Instant,
    /// Milliseconds since then.
    pub(crate) now: u64,
    rng: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    calls: u64,
    pub(crate) key: PlacementKey,
    /// `origins.ttl`.
    ttl: u64,
    pub(crate) store: Store,
    pub(crate) origins: Vec<Media>,
    pub(crate) proxies: Vec<Proxy>,
    pub(crate) clients: Vec<Client>,
    pub(crate) check: Check,
    pub(crate) is_calm: bool,
    /// What happened, for who looks into a fault.
    pub(crate) told: Vec<String>,
    pub(crate) is_told: bool,
}

/// The store that proxies share.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) keys: Keys,
    /// Those that cannot reach it.
    pub(crate) cut_off: BTreeSet<usize>,
    /// The records of origins: when each was written last, and until when it lives.
    records: BTreeMap<usize, (u64, u64)>,
    /// How long a message may take at most.
    slowness: u64,
    /// The same until a while ago, and until when messages of then may be under way.
    was_slow: (u64, u64),
    /// When the last call and the last answer of each proxy arrive: none passes another.
    arrive: BTreeMap<usize, (u64, u64)>,
}

/// An origin, as it is.
#[derive(Debug)]
pub(crate) struct Media {
    pub(crate) id: OriginId,
    pub(crate) record: Origin,
    pub(crate) is_up: bool,
    pub(crate) drains: bool,
    /// The proxies that hear nothing of it, and it nothing of them.
    pub(crate) silent_to: BTreeSet<usize>,
    /// The proxy that it reports to.
    pub(crate) home: usize,
    /// The publisher that it has taken: a proxy and its session.
    pub(crate) publisher: Option<(usize, usize)>,
}

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    /// A call arrives at the store.
    Arrives(usize, usize, u64, Call),
    /// Something comes to a task of a proxy.
    Wake(usize, usize, Wake),
    /// A proxy hears that the placement has changed.
    Told(usize),
    /// A proxy tries to reach the store again.
    Reconnects(usize),
    /// A proxy notices that the session has lost the origin.
    Lost(usize, usize, usize),
    Scene(Scene),
    Tick,
}

/// What a proxy asks of the store.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Claim {
        expected: Option<String>,
        value: String,
        ttl: Duration,
    },
    Get,
    GetHeld,
    PutHeld {
        record: String,
        ttl: Duration,
    },
    RemoveHeld {
        record: String,
    },
    Renew {
        ttl: Duration,
    },
}

/// What the store answers.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    Claim(Claim),
    Done,
    Value(Option<String>),
}

impl World {
    pub(crate) fn new(seed: u64, proxies: usize, plant: Plant) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any moment will do for a start")]
        let start = Instant::now();
        let stream = StreamUrl::new("", "live", "a").unwrap();
        let mut world = Self {
            plant,
            start,
            now: 0,
            rng: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d,
            queue: BTreeMap::new(),
            queued: 0,
            calls: 0,
            key: VhostRule::Ignored.key(&stream),
            ttl: 0,
            store: Store::default(),
            origins: Vec::new(),
            proxies: Vec::new(),
            clients: Vec::new(),
            check: Check::default(),
            is_calm: false,
            told: Vec::new(),
            is_told: false,
        };
        let origins = 2 + world.below(2);
        world.origins = (0..origins).map(|number| media(number, proxies)).collect();
        world.ttl = if world.below(4) == 0 { 40_000 } else { 300_000 };
        let ttl = world.ttl;
        world.proxies = (0..proxies).map(|id| Proxy::new(id, ttl)).collect();
        for origin in 0..origins {
            world.heartbeat(origin);
        }
        world.begin_scenes();
        world.after(TICK, Event::Tick);
        world
    }

    /// A number below `most`.
    pub(crate) fn below(&mut self, most: usize) -> usize {
        self.rng ^= self.rng << 13;
        self.rng ^= self.rng >> 7;
        self.rng ^= self.rng << 17;
        usize::try_from(self.rng >> 33).expect("31 bits") % most.max(1)
    }

    /// Milliseconds from `least` to `most`.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> u64 {
        let more = usize::try_from(most - least + 1).expect("small");
        least + self.below(more) as u64
    }

    pub(crate) fn tell_of(&mut self, words: impl FnOnce() -> String) {
        if self.is_told {
            self.told.push(format!("{:>6} {}", self.now, words()));
        }
    }

    /// A number that nothing else has.
    pub(crate) const fn new_number(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    pub(crate) fn time(&self) -> Instant {
        self.start + Duration::from_millis(self.now)
    }

    pub(crate) fn after(&mut self, millis: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + millis, self.queued), event);
    }

    /// Lets `millis` pass.
    pub(crate) fn pass(&mut self, millis: u64) {
        let until = self.now + millis;
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= until
        {
            let ((at, _), event) = entry.remove_entry();
            self.now = at;
            self.happen(event);
            self.look();
        }
        self.now = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives(proxy, task, number, call) => self.arrives(proxy, (task, number), call),
            Event::Wake(proxy, task, wake) => self.wake(proxy, task, wake),
            Event::Told(proxy) => self.told(proxy),
            Event::Reconnects(proxy) => self.reconnects(proxy),
            Event::Lost(proxy, session, origin) => self.notices_loss(proxy, session, origin),
            Event::Scene(scene) => self.play(scene),
            Event::Tick => {
                self.tick();
                self.after(TICK, Event::Tick);
            }
        }
    }

    fn tick(&mut self) {
        let (now, time) = (self.now, self.time());
        for origin in 0..self.origins.len() {
            if (now / TICK + origin as u64 * 7).is_multiple_of(HEARTBEAT / TICK) {
                self.heartbeat(origin);
            }
        }
        for proxy in &mut self.proxies {
            if now.is_multiple_of(1_000) {
                if !proxy.is_connected {
                    proxy.fleet.hears_only_itself(Duration::from_secs(1));
                }
                let (key, shares) = (&self.key, &proxy.shares);
                let here = shares.of(key.as_str());
                let here = here.filter(|held| held.published > 0 && held.holders() > 0);
                let here = here.and_then(|held| held.origin.clone());
                proxy.fleet.expire(time, |id| here.as_ref() == Some(id));
                proxy.shares.forget_ended(time, 10);
            }
        }
        for proxy in 0..self.proxies.len() {
            self.keep_sessions(proxy);
            if now.is_multiple_of(10_000) {
                self.keep_used(proxy);
            }
        }
        self.keep_clients();
    }

    /// An origin reports to its home, which tells the others by way of the store.
    fn heartbeat(&mut self, origin: usize) {
        let media = &self.origins[origin];
        let home = media.home;
        if !media.is_up || media.silent_to.contains(&home) {
            return;
        }
        self.hears_of(home, origin);
        self.put_record(home, origin);
    }

    /// A proxy hears that an origin lives. Claims on it were told of before, and nobody could follow them.
    fn hears_of(&mut self, proxy: usize, origin: usize) {
        let (time, record) = (self.time(), self.origins[origin].record.clone());
        let one = &mut self.proxies[proxy];
        let known = one.fleet.register(time, record);
        let id = known.expect("there is room").id;
        if one.was_unknown(&id) {
            self.told(proxy);
        }
    }

    /// A proxy writes the record of an origin, of which the others hear.
    pub(crate) fn put_record(&mut self, proxy: usize, origin: usize) {
        if !self.is_reachable_by(proxy) {
            return;
        }
        let record = (self.now, self.now + self.ttl);
        self.store.records.insert(origin, record);
        for other in (0..self.proxies.len()).filter(|other| *other != proxy) {
            if self.reads_record(other, origin) == Some(true) {
                self.hears_of(other, origin);
            }
        }
    }

    /// A proxy makes the record of an origin last, which is no sign of life.
    pub(crate) fn keep_record(&mut self, proxy: usize, origin: usize) {
        let (now, ttl) = (self.now, self.ttl);
        let is_reachable = self.is_reachable_by(proxy);
        match self.store.records.get_mut(&origin) {
            Some((_, until)) if is_reachable && now < *until => *until = now + ttl,
            _ => self.put_record(proxy, origin),
        }
    }

    /// Whether what a proxy reads of an origin is new to it; `None` where it cannot read of it.
    pub(crate) fn reads_record(&mut self, proxy: usize, origin: usize) -> Option<bool> {
        if !self.is_reachable_by(proxy) {
            return None;
        }
        let (written, until) = self.store.records.get(&origin).copied()?;
        (self.now < until).then(|| self.proxies[proxy].is_news(origin, written))
    }

    fn is_reachable_by(&self, proxy: usize) -> bool {
        self.proxies[proxy].is_connected && !self.store.cut_off.contains(&proxy)
    }

    /// Something is asked of the store: the answer comes to `task`, or that there is none.
    pub(crate) fn call(&mut self, proxy: usize, task: usize, call: Call) {
        let number = self.new_number();
        self.proxies[proxy].await_call(task, number);
        if !self.proxies[proxy].is_connected {
            self.after(0, Event::Wake(proxy, task, Wake::Unanswered(number)));
            return;
        }
        // It is lost on its way, or late.
        let is_cut_off = self.store.cut_off.contains(&proxy);
        let takes = if is_cut_off {
            self.millis(TIMEOUT, 4 * TIMEOUT)
        } else {
            self.millis(0, self.store.slowness)
        };
        if !is_cut_off || self.below(2) == 0 {
            let (last, _) = self.store.arrive.entry(proxy).or_default();
            *last = (*last).max(self.now + takes);
            let takes = *last - self.now;
            self.after(takes, Event::Arrives(proxy, task, number, call));
        }
        self.after(TIMEOUT, Event::Wake(proxy, task, Wake::TooLate(number)));
    }

    fn arrives(&mut self, proxy: usize, (task, number): (usize, u64), call: Call) {
        let (time, key) = (self.time(), self.key.to_string());
        let keys = &mut self.store.keys;
        let before = keys.get(time, &key);
        let said = match call {
            Call::Claim {
                expected,
                value,
                ttl,
            } => {
                if self.plant == Plant::ClaimsUnseen {
                    keys.set(time, &key, &value, ttl);
                }
                Said::Claim(keys.claim(time, &key, expected.as_deref(), &value, ttl))
            }
            Call::Get => Said::Value(before.as_ref().map(|value| value.to_string())),
            Call::GetHeld => Said::Value(keys.get(time, HELD).map(|value| value.to_string())),
            Call::PutHeld { record, ttl } => {
                keys.set(time, HELD, &record, ttl);
                Said::Done
            }
            Call::RemoveHeld { record } => {
                keys.remove(HELD, &record);
                Said::Done
            }
            Call::Renew { ttl } => {
                if keys.left(time, &key).is_some_and(|left| left < ttl) {
                    keys.renew(time, &key, ttl);
                }
                Said::Done
            }
        };
        let after = keys.get(time, &key);
        if let Some(before) = before
            .as_ref()
            .filter(|before| Some(*before) != after.as_ref())
        {
            self.check_taken(proxy, &OriginId::from(&**before));
        }
        if before != after {
            self.tell_of(|| format!("store: {before:?} -> {after:?} by p{proxy}"));
            for other in (0..self.proxies.len()).filter(|other| *other != proxy) {
                self.tell(other);
            }
        }
        if !self.store.cut_off.contains(&proxy) {
            let takes = self.millis(0, self.store.slowness);
            let (_, last) = self.store.arrive.entry(proxy).or_default();
            *last = (*last).max(self.now + takes);
            let takes = *last - self.now;
            self.after(takes, Event::Wake(proxy, task, Wake::Said(number, said)));
        }
    }

    pub(crate) fn tell(&mut self, proxy: usize) {
        if self.proxies[proxy].is_connected && !self.store.cut_off.contains(&proxy) {
            let takes = self.millis(0, self.store.slowness);
            self.after(takes, Event::Told(proxy));
        }
    }

    /// From now on, messages to and from the store take up to this long.
    pub(crate) fn slow_down_to(&mut self, slowness: u64) {
        let before = self.slowest();
        // A look, a claim, and the same again, each there and back.
        self.store.was_slow = (before, self.now + 6 * before);
        self.store.slowness = slowness;
    }

    /// How long a message may have taken that matters still.
    pub(crate) fn slowest(&self) -> u64 {
        let (before, until) = self.store.was_slow;
        let before = if self.now < until { before } else { 0 };
        before.max(self.store.slowness)
    }

    /// The store loses everything and tells every proxy that it can reach.
    pub(crate) fn empty_store(&mut self) {
        self.store.keys = Keys::default();
        self.store.records.clear();
        for proxy in 0..self.proxies.len() {
            if self.proxies[proxy].is_connected {
                self.disconnect(proxy);
            }
        }
    }

    /// A proxy has lost the store, and tries to reach it again.
    pub(crate) fn disconnect(&mut self, proxy: usize) {
        self.proxies[proxy].is_connected = false;
        self.proxies[proxy].away_until = u64::MAX;
        let pause = self.millis(50, 1_000);
        self.after(pause, Event::Reconnects(proxy));
    }

    fn reconnects(&mut self, proxy: usize) {
        if self.proxies[proxy].is_connected {
            return;
        }
        if self.store.cut_off.contains(&proxy) {
            self.after(1_000, Event::Reconnects(proxy));
            return;
        }
        self.proxies[proxy].is_connected = true;
        self.proxies[proxy].away_until = self.now;
        self.take_stock(proxy);
    }

    /// Whether a packet gets from a proxy to an origin and back.
    pub(crate) fn hears(&self, proxy: usize, origin: usize) -> bool {
        let media = &self.origins[origin];
        media.is_up && !media.silent_to.contains(&proxy)
    }

    pub(crate) fn number_of(&self, id: &OriginId) -> Option<usize> {
        self.origins.iter().position(|media| media.id == *id)
    }
}

fn media(number: usize, proxies: usize) -> Media {
    let body = format!(
        r#"{{"ip":"10.0.0.{}","server":"o{number}","service":"s","pid":"1","rtmp":["1935"]}}"#,
        number + 1
    );
    let rules = AddressRules {
        allow_special: false,
    };
    Media {
        id: OriginId::from(format!("o{number}")),
        record: parse_registration(body.as_bytes(), &rules).unwrap(),
        is_up: true,
        drains: false,
        silent_to: BTreeSet::new(),
        home: number % proxies,
        publisher: None,
    }
}

/// How often the world looks after what has a clock.
pub(crate) const TICK: u64 = 250;
/// Between two heartbeats of an origin.
const HEARTBEAT: u64 = 9_000;
/// How long a call of the store may take.
const TIMEOUT: u64 = 1_000;
/// The key of the record of a publisher that is held.
const HELD: &str = "held";
