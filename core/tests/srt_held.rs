//! SRT calls that outlive their origin, between stand-ins that number, acknowledge, miss and time packets as libsrt does, over
//! networks that lose and delay. Each breaks where libsrt breaks the connection.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluicegate_core::flow::{ClientPath, Fate, FlowId, Flows as _, Input, LinkId, Output};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::srt::cookie::Cookies;
use sluicegate_core::srt::extension::{self, Extensions, stream_id};
use sluicegate_core::srt::flows::{End, Event, Failure, Flows, Limits};
use sluicegate_core::srt::packet::{
    HAS_CONFIG, HAS_HANDSHAKE, HAS_KEY, Handshake, Header, Kind, MAGIC, Step, shutdown,
};
use sluicegate_core::srt::sequence::Sequence;
use sluicegate_core::stream::Action;

/// Milliseconds between two packets of media.
const PACE: u64 = 5;
/// What both sides call their latency, in milliseconds.
const LATENCY: u64 = 120;
const CALLER: u32 = 0x1234;
const FIRST: u32 = 0x7FFF_FF00;

#[derive(Debug, Clone, Copy)]
struct Plan {
    action: Action,
    encrypted: bool,
    /// Packets lost of a thousand, on each way between the table and either side.
    loss: u64,
    seed: u64,
}

/// A key: the even or the odd one of its sender, and which of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    is_odd: bool,
    number: u32,
}

/// What is sent and may be sent again.
#[derive(Debug, Clone, Copy)]
struct Sent {
    time: u32,
    content: u64,
    key: Option<Key>,
}

/// A side that sends media, as libsrt does.
struct Sender {
    /// Its peer's socket id.
    to: u32,
    began: Instant,
    next: Sequence,
    /// What is not acknowledged, by number.
    unacked: BTreeMap<u32, Sent>,
    acked: Sequence,
    resent: u64,
    key: Option<Key>,
    /// The key that comes next, once its receiver was told of it.
    next_key: Option<Key>,
    /// The keys that its receiver is told of until it answers.
    announced: Option<Vec<Key>>,
}

/// A side that receives it.
struct Receiver {
    to: u32,
    began: Instant,
    /// When the peer's clock showed what.
    zero: (Instant, u32),
    first: Sequence,
    highest: Sequence,
    got: BTreeMap<u32, u64>,
    dropped: BTreeSet<u32>,
    late: u64,
    /// How long after the last packet came its time is.
    early: Duration,
    missed: u64,
    acks: u32,
    told_at: Instant,
    /// The even key and the odd one.
    keys: [Option<u32>; 2],
    /// Packets under other keys than it has.
    unreadable: u64,
}

enum Half {
    Sends(Sender),
    Receives(Receiver),
}

struct Origin {
    link: LinkId,
    cookie: u32,
    is_dead: bool,
    halves: BTreeMap<u32, Half>,
    /// Numbers that it has ever used.
    used: BTreeSet<u32>,
    next_id: u32,
    clock_ahead: Duration,
    flags: u8,
}

struct World {
    plan: Plan,
    now: Instant,
    start: Instant,
    random: u64,
    table: Flows,
    flow: Option<FlowId>,
    caller: Option<Half>,
    caller_heard: Instant,
    cookie: Option<u32>,
    is_closed: bool,
    origins: [Origin; 2],
    wire: Vec<(Instant, Whom, Vec<u8>)>,
    events: Vec<(u64, Event)>,
    content: u64,
    /// How many further packets that tell of keys are lost.
    loses_keys: u32,
    /// Keys that were made after the first.
    keys: u32,
}

#[derive(Debug, Clone, Copy)]
enum Whom {
    Caller,
    Table,
    Origin(usize),
    TableFrom(usize),
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn data_packet(to: u32, number: Sequence, sent: Sent, again: bool) -> Vec<u8> {
    let mark = if again { 0xe400_0001_u32 } else { 0xe000_0001 };
    let key = sent.key.map_or(0, |key| key.flag() << 27);
    let words = [number.word(), mark | key, sent.time, to];
    let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    packet.extend(sent.content.to_be_bytes());
    packet.extend(sent.key.map_or(0, |key| key.number).to_be_bytes());
    packet
}

impl Key {
    const FIRST: Self = Self {
        is_odd: false,
        number: 1,
    };

    /// As packets and key material have it (draft-sharabayko-srt §3.1, §3.2.2).
    const fn flag(self) -> u32 {
        if self.is_odd { 2 } else { 1 }
    }

    /// Key material of these: the flags, and in place of each key that is wrapped its number.
    fn material(keys: &[Self]) -> Vec<u8> {
        let flags = keys.iter().fold(0, |flags, key| flags | key.flag());
        let mut words = [0_u32; 14];
        words[0] = 0x1220_2900 | flags;
        for key in keys {
            words[key.flag() as usize] = key.number;
        }
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    fn read(material: &[u8]) -> Vec<Self> {
        let both = [false, true].map(|is_odd| Self { is_odd, number: 0 });
        let there = both
            .into_iter()
            .filter(|key| word(material, 0) & key.flag() != 0);
        there
            .map(|key| Self {
                number: word(material, key.flag() as usize),
                ..key
            })
            .collect()
    }
}

/// What a sender tells of its keys, or a receiver answers.
fn key_packet(is_answer: bool, time: u32, to: u32, material: &[u8]) -> Vec<u8> {
    let first = if is_answer { KEY_ANSWER } else { KEY_REQUEST };
    let words = [first, 0, time, to];
    let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    packet.extend(material);
    packet
}

const KEY_REQUEST: u32 = 0xffff_0003;
const KEY_ANSWER: u32 = 0xffff_0004;

fn control(kind: u32, info: u32, time: u32, to: u32, body: &[u32]) -> Vec<u8> {
    let words = [0x8000_0000 | kind << 16, info, time, to];
    let words = words.iter().chain(body);
    words.flat_map(|word| word.to_be_bytes()).collect()
}

fn word(packet: &[u8], index: usize) -> u32 {
    u32::from_be_bytes(packet[index * 4..index * 4 + 4].try_into().unwrap())
}

fn micros(since: Duration) -> u32 {
    since.as_micros() as u32
}

impl Sender {
    fn media(&mut self, now: Instant, content: u64) -> Vec<u8> {
        let time = micros(now - self.began);
        let number = self.next;
        self.next = number.plus(1);
        let sent = Sent {
            time,
            content,
            key: self.key,
        };
        self.unacked.insert(number.word(), sent);
        // What nobody acknowledged for a second is dropped, and counts as acknowledged.
        let old = |time_of: u32| time.wrapping_sub(time_of) > 1_020_000;
        while let Some((first, oldest)) = self.oldest()
            && old(oldest.time)
        {
            self.unacked.remove(&first.word());
            self.acked = self.acked.later(first.plus(1));
        }
        data_packet(self.to, number, sent, false)
    }

    /// The keys that its receiver has not answered to.
    fn announcement(&self, now: Instant) -> Option<Vec<u8>> {
        let material = Key::material(self.announced.as_deref()?);
        let time = micros(now - self.began);
        Some(key_packet(false, time, self.to, &material))
    }

    fn oldest(&self) -> Option<(Sequence, Sent)> {
        let (word, sent) = self
            .unacked
            .iter()
            .min_by_key(|(word, _)| Sequence::new(**word).since(self.next.plus(0x4000_0001)))?;
        Some((Sequence::new(*word), *sent))
    }

    /// What libsrt answers; panics where it would break the connection.
    fn hear(&mut self, now: Instant, packet: &[u8]) -> Vec<Vec<u8>> {
        let time = micros(now - self.began);
        let mut said = Vec::new();
        match word(packet, 0) >> 16 {
            0x8002 => {
                let next = Sequence::new(word(packet, 4));
                assert!(
                    !next.is_after(self.next),
                    "acknowledged what was never sent"
                );
                self.unacked
                    .retain(|number, _| !next.is_after(Sequence::new(*number)));
                self.acked = self.acked.later(next);
                said.push(control(6, word(packet, 1), time, self.to, &[0]));
            }
            0x8003 => {
                let words: Vec<u32> = (4..packet.len() / 4).map(|at| word(packet, at)).collect();
                let mut words = words.into_iter();
                while let Some(first) = words.next() {
                    let last = match first >> 31 {
                        0 => first,
                        _ => words.next().unwrap(),
                    };
                    let (first, last) = (Sequence::new(first), Sequence::new(last));
                    assert!(self.next.is_after(last), "misses what was never sent");
                    for step in 0..=last.since(first) {
                        let number = first.plus(step);
                        if let Some(sent) = self.unacked.get(&number.word()) {
                            self.resent += 1;
                            said.push(data_packet(self.to, number, *sent, true));
                        }
                    }
                    if self.acked.is_after(last) {
                        said.push(control(7, 0, time, self.to, &[first.word(), last.word()]));
                    }
                }
            }
            // An answer to what was told before, or by the relay, is none.
            0xffff if word(packet, 0) == KEY_ANSWER => {
                let told = |keys: &mut Vec<Key>| Key::material(keys)[..] == packet[16..];
                self.announced.take_if(told);
            }
            _ => {}
        }
        said
    }
}

impl Receiver {
    fn hear(&mut self, now: Instant, packet: &[u8]) -> Vec<Vec<u8>> {
        let first = word(packet, 0);
        if first >> 31 == 0 {
            let number = Sequence::new(first);
            let (at, then) = self.zero;
            let since = word(packet, 2).wrapping_sub(then) as i32;
            let shown = match u64::try_from(since) {
                Ok(micros) => at + Duration::from_micros(micros),
                Err(_) => at - Duration::from_micros(u64::from(since.unsigned_abs())),
            };
            let content = u64::from_be_bytes(packet[16..24].try_into().unwrap());
            assert!(
                number.since(self.next()) < 8192,
                "a leap that ends the connection"
            );
            let early = shown.saturating_duration_since(now);
            assert!(early < Duration::from_secs(3), "shown {early:?} from now");
            self.early = early;
            if shown + millis(LATENCY) < now {
                self.late += 1;
            }
            if let Some(before) = self.got.insert(first, content) {
                assert_eq!(before, content, "two contents with the number {first}");
            }
            let flags = word(packet, 1) >> 27 & 3;
            let key = flags.checked_sub(1).map(|at| self.keys[at as usize]);
            self.unreadable += u64::from(key.is_some_and(|key| key != Some(word(packet, 6))));
            self.highest = self.highest.later(number);
            return Vec::new();
        }
        if first == KEY_REQUEST {
            self.take(&Key::read(&packet[16..]));
            let time = micros(now - self.began);
            return vec![key_packet(true, time, self.to, &packet[16..])];
        }
        if first >> 16 == 0x8007 {
            let (low, high) = (
                Sequence::new(word(packet, 4)),
                Sequence::new(word(packet, 5)),
            );
            for step in 0..=high.since(low) {
                self.dropped.insert(low.plus(step).word());
            }
            if !low.is_after(self.highest.plus(1)) {
                self.highest = self.highest.later(high);
            }
        }
        Vec::new()
    }

    fn take(&mut self, keys: &[Key]) {
        for key in keys {
            self.keys[usize::from(key.is_odd)] = Some(key.number);
        }
    }

    fn has(&self, number: Sequence) -> bool {
        self.got.contains_key(&number.word()) || self.dropped.contains(&number.word())
    }

    /// The first number that is missing.
    fn next(&self) -> Sequence {
        let mut next = self.first;
        while self.has(next) {
            next = next.plus(1);
        }
        next
    }

    /// What it says every 10 ms: what it has, and what it misses; what it has missed for too long it gives up.
    fn tell(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let time = micros(now - self.began);
        self.acks += 1;
        let next = self.next();
        let mut said = vec![control(
            2,
            self.acks,
            time,
            self.to,
            &[next.word(), 1000, 100, 8000],
        )];
        let mut missing = Vec::new();
        for step in 0..self.highest.plus(1).since(next) {
            let number = next.plus(step);
            if !self.has(number) {
                missing.push(number.word());
            }
        }
        if !missing.is_empty() && self.acks.is_multiple_of(2) {
            self.missed += missing.len() as u64;
            let most = missing.len().min(300);
            said.push(control(3, 0, time, self.to, &missing[..most]));
        }
        if now - self.told_at > millis(LATENCY) {
            self.told_at = now;
            self.dropped.extend(missing);
        }
        said
    }
}

impl Origin {
    fn new(index: u32) -> Self {
        Self {
            link: LinkId(index + 1),
            cookie: 70 + index,
            is_dead: false,
            halves: BTreeMap::new(),
            used: BTreeSet::new(),
            next_id: 900 + 100 * index,
            clock_ahead: Duration::from_secs(4290 * u64::from(index)),
            flags: 0xbf,
        }
    }

    fn hear(&mut self, now: Instant, start: Instant, packet: &[u8]) -> Vec<Vec<u8>> {
        if self.is_dead {
            return Vec::new();
        }
        let header = Header::parse(packet).unwrap();
        if header.kind != Kind::Handshake {
            if header.kind == Kind::Shutdown {
                self.halves.remove(&header.destination);
                return Vec::new();
            }
            return match self.halves.get_mut(&header.destination) {
                Some(Half::Sends(sender)) => sender.hear(now, packet),
                Some(Half::Receives(receiver)) => receiver.hear(now, packet),
                None => Vec::new(),
            };
        }
        let asked = Handshake::parse(packet).unwrap();
        let began = start - self.clock_ahead;
        let answer = Handshake {
            timestamp: micros(now - began),
            destination: asked.socket_id,
            version: 5,
            cookie: self.cookie,
            ..asked
        };
        if asked.step == Step::Induction {
            return vec![
                Handshake {
                    extension: MAGIC,
                    extensions: &[],
                    ..answer
                }
                .write(),
            ];
        }
        assert_eq!(asked.cookie, self.cookie);
        let read = Extensions::parse(asked.extensions, asked.extension).unwrap();
        let id = read.stream_id.expect("the stream is named");
        let known = self
            .halves
            .iter()
            .find(|(_, half)| half.to() == asked.socket_id);
        let id = match known.map(|(id, _)| *id) {
            Some(id) => id,
            None => {
                self.next_id += 1;
                let first = Sequence::new(asked.initial_sequence);
                let keys = extension::key(asked.extensions).map_or_else(Vec::new, Key::read);
                let zero = (now, asked.timestamp);
                let half = match id.contains("m=publish") {
                    true => Half::receives(asked.socket_id, began, zero, first, &keys),
                    false => Half::sends(asked.socket_id, began, first, keys.first()),
                };
                self.halves.insert(self.next_id, half);
                self.next_id
            }
        };
        let agreed = [0, 2, 0, 3, 0, 1, 5, 1, 0, 0, 0, self.flags, 0, 120, 0, 120];
        vec![
            Handshake {
                socket_id: id,
                extension: HAS_HANDSHAKE,
                extensions: &agreed,
                ..answer
            }
            .write(),
        ]
    }
}

impl Half {
    fn to(&self) -> u32 {
        match self {
            Self::Sends(sender) => sender.to,
            Self::Receives(receiver) => receiver.to,
        }
    }

    fn sends(to: u32, began: Instant, first: Sequence, key: Option<&Key>) -> Self {
        Self::Sends(Sender {
            to,
            began,
            next: first,
            unacked: BTreeMap::new(),
            acked: first,
            resent: 0,
            key: key.copied(),
            next_key: None,
            announced: None,
        })
    }

    fn receives(
        to: u32,
        began: Instant,
        zero: (Instant, u32),
        first: Sequence,
        keys: &[Key],
    ) -> Self {
        let mut receiver = Receiver {
            to,
            began,
            zero,
            first,
            highest: first.before(),
            got: BTreeMap::new(),
            dropped: BTreeSet::new(),
            late: 0,
            early: Duration::ZERO,
            missed: 0,
            acks: 0,
            told_at: zero.0,
            keys: [None; 2],
            unreadable: 0,
        };
        receiver.take(keys);
        Self::Receives(receiver)
    }

    fn receiver(&self) -> &Receiver {
        match self {
            Self::Receives(receiver) => receiver,
            Self::Sends(_) => panic!("it sends"),
        }
    }
}

impl World {
    fn new(plan: Plan) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "a test needs some moment to start from"
        )]
        let start = Instant::now() + Duration::from_secs(100_000);
        let limits = Limits {
            flows: 10,
            idle: Duration::from_secs(10),
            per_source: 1000,
            default_stream_id: String::new(),
        };
        Self {
            plan,
            now: start,
            start,
            random: plan.seed,
            table: Flows::new(limits, Cookies::new([1; 32], start), plan.seed),
            flow: None,
            caller: None,
            caller_heard: start,
            cookie: None,
            is_closed: false,
            origins: [Origin::new(0), Origin::new(1)],
            wire: Vec::new(),
            events: Vec::new(),
            content: 0,
            loses_keys: 0,
            keys: 0,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// The caller's clock begins again 3 s after the start.
    fn caller_began(&self) -> Instant {
        self.start - Duration::from_micros(u64::from(u32::MAX) - 3_000_000)
    }

    fn send(&mut self, whom: Whom, packet: Vec<u8>) {
        if self.loses_keys > 0 && word(&packet, 0) == KEY_REQUEST {
            self.loses_keys -= 1;
            return;
        }
        if self.draw(1000) >= self.plan.loss {
            let at = self.now + millis(1 + self.draw(4));
            self.wire.push((at, whom, packet));
        }
    }

    fn path() -> ClientPath {
        ClientPath {
            remote: SocketAddr::from(([192, 0, 2, 1], 5)),
            local: None,
            entry: 0,
        }
    }

    fn handshake(&self) -> Handshake<'static> {
        Handshake {
            timestamp: micros(self.now - self.caller_began()),
            destination: 0,
            version: 4,
            encryption: 0,
            extension: 2,
            initial_sequence: FIRST,
            mtu: 1500,
            window: 8192,
            step: Step::Induction,
            socket_id: CALLER,
            cookie: 0,
            peer_ip: [0; 16],
            extensions: &[],
        }
    }

    /// What a caller sends that is not connected yet, four times a second.
    fn call(&mut self) {
        let Some(cookie) = self.cookie else {
            return self.send(Whom::Table, self.handshake().write());
        };
        let mode = match self.plan.action {
            Action::Publish => "publish",
            Action::Play => "request",
        };
        let mut extensions = vec![0, 1, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
        let mut flags = HAS_HANDSHAKE | HAS_CONFIG;
        if self.plan.encrypted {
            flags |= HAS_KEY;
            extensions.extend([0, 3, 0, 14]);
            extensions.extend(Key::material(&[Key::FIRST]));
        }
        extensions.extend(stream_id(&format!("#!::r=live/a,m={mode}")));
        let conclusion = Handshake {
            version: 5,
            extension: flags,
            step: Step::Conclusion,
            cookie,
            extensions: &extensions,
            ..self.handshake()
        };
        self.send(Whom::Table, conclusion.write());
    }

    fn arrive(&mut self, whom: Whom, mut packet: Vec<u8>) {
        let now = self.now;
        match whom {
            Whom::Table => {
                let data = &mut packet;
                let path = Self::path();
                let fate = self.table.handle(now, Input::Client { path, data });
                match fate {
                    Fate::Reply { len } => {
                        packet.truncate(len);
                        self.send(Whom::Caller, packet);
                    }
                    Fate::ToOrigin { link } => self.send(self.whom(link), packet),
                    _ => {}
                }
            }
            Whom::TableFrom(origin) => {
                let link = self.origins[origin].link;
                let data = &mut packet;
                let fate = self.table.handle(now, Input::Origin { link, data });
                if let Fate::ToClient { .. } = fate {
                    self.send(Whom::Caller, packet);
                }
            }
            Whom::Origin(index) => {
                let start = self.start;
                for said in self.origins[index].hear(now, start, &packet) {
                    self.send(Whom::TableFrom(index), said);
                }
            }
            Whom::Caller => self.caller_hears(&packet),
        }
        self.listen();
    }

    fn whom(&self, link: LinkId) -> Whom {
        Whom::Origin(link.0 as usize - 1)
    }

    fn caller_hears(&mut self, packet: &[u8]) {
        let now = self.now;
        self.caller_heard = now;
        if let Ok(handshake) = Handshake::parse(packet) {
            if handshake.step == Step::Induction {
                self.cookie = Some(handshake.cookie);
                return;
            }
            assert_eq!(handshake.step, Step::Conclusion);
            if self.caller.is_none() {
                let (to, began) = (handshake.socket_id, self.caller_began());
                let first = Sequence::new(FIRST);
                let keys = [Key::FIRST];
                let keys = if self.plan.encrypted { &keys[..] } else { &[] };
                let zero = (now, handshake.timestamp);
                self.caller = Some(match self.plan.action {
                    Action::Publish => Half::sends(to, began, first, keys.first()),
                    Action::Play => Half::receives(to, began, zero, first, keys),
                });
            }
            return;
        }
        let header = Header::parse(packet).unwrap();
        assert_eq!(header.destination, CALLER);
        self.is_closed |= header.kind == Kind::Shutdown;
        let said = match &mut self.caller {
            Some(Half::Sends(sender)) => sender.hear(now, packet),
            Some(Half::Receives(receiver)) => receiver.hear(now, packet),
            None => Vec::new(),
        };
        for packet in said {
            self.send(Whom::Table, packet);
        }
    }

    /// Sends what the table says, and notes its events; a first call is joined.
    fn listen(&mut self) {
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Event(event) => {
                    let link = self.origins[0].link;
                    match &event {
                        Event::Asked { flow, .. } => {
                            self.flow = Some(*flow);
                            self.table.attempt(self.now, *flow, link, ORIGIN);
                        }
                        Event::Answered { flow } if self.caller.is_none() => {
                            self.table.join_and_keep(self.now, *flow);
                        }
                        _ => {}
                    }
                    let at = (self.now - self.start).as_millis() as u64;
                    self.events.push((at, event));
                }
                Output::ToClient { data, .. } => self.send(Whom::Caller, data),
                Output::ToOrigin { link, data } => self.send(self.whom(link), data),
            }
        }
    }

    /// One millisecond.
    fn step(&mut self) {
        self.now += millis(1);
        let now = self.now;
        let wire = std::mem::take(&mut self.wire);
        let (due, later): (Vec<_>, Vec<_>) = wire.into_iter().partition(|(at, ..)| *at <= now);
        self.wire = later;
        for (_, whom, packet) in due {
            self.arrive(whom, packet);
        }
        if self.table.poll_timeout().is_some_and(|at| at <= now) {
            self.table.handle(now, Input::Timeout);
            self.listen();
        }
        let at = (now - self.start).as_millis() as u64;
        if self.caller.is_none() && at % 50 == 1 {
            self.call();
        }
        self.media(at);
        assert!(
            now - self.caller_heard < Duration::from_secs(5),
            "the caller gives up"
        );
    }

    fn media(&mut self, at: u64) {
        let now = self.now;
        let (sends, tells) = (at.is_multiple_of(PACE), at.is_multiple_of(10));
        self.content += 1;
        let said = self
            .caller
            .as_mut()
            .map(|half| half.speak(now, sends, tells, self.content));
        for packet in said.into_iter().flatten() {
            self.send(Whom::Table, packet);
        }
        for index in 0..self.origins.len() {
            let origin = &mut self.origins[index];
            if origin.is_dead {
                continue;
            }
            let mut said = Vec::new();
            for half in origin.halves.values_mut() {
                let packets =
                    half.speak(now, sends, tells, self.content + 1_000_000 * index as u64);
                for packet in &packets {
                    if word(packet, 0) >> 31 == 0 {
                        origin.used.insert(word(packet, 0));
                    }
                }
                said.extend(packets);
            }
            for packet in said {
                self.send(Whom::TableFrom(index), packet);
            }
        }
    }

    fn run(&mut self, time: u64) {
        for _ in 0..time {
            self.step();
        }
    }

    /// Runs until an event comes that is looked for, and returns when, in milliseconds after the call.
    fn until(&mut self, what: &str, most: u64, wanted: impl Fn(&Event) -> bool) -> u64 {
        let (from, known) = (
            (self.now - self.start).as_millis() as u64,
            self.events.len(),
        );
        for _ in 0..most {
            self.step();
            let mut new = self.events[known..].iter();
            if let Some((at, _)) = new.find(|(_, event)| wanted(event)) {
                return at - from;
            }
        }
        panic!(
            "{what} did not come within {most} ms: {:?}",
            &self.events[known..]
        );
    }

    fn is_joined(plan: Plan) -> Self {
        let mut world = Self::new(plan);
        world.until("an answer", 2000, |event| {
            matches!(event, Event::Answered { .. })
        });
        world.run(2000);
        assert!(world.caller.is_some(), "it is connected");
        world
    }

    fn attempt(&mut self, origin: usize) {
        let (flow, link) = (self.flow.unwrap(), self.origins[origin].link);
        self.table.attempt(self.now, flow, link, ORIGIN);
        self.listen();
    }

    /// Calls the other origin, and joins it.
    fn go_over(&mut self) {
        self.attempt(1);
        self.until("an answer", 2000, |event| {
            matches!(event, Event::Answered { .. })
        });
        self.table.join(self.now, self.flow.unwrap());
        self.listen();
    }

    /// The other origin closes the connection.
    fn other_leaves(&mut self) {
        let origin = &mut self.origins[1];
        let (link, (_, half)) = (origin.link, origin.halves.pop_last().expect("it agreed"));
        let mut data = shutdown(half.to());
        let data = &mut data;
        self.table.handle(self.now, Input::Origin { link, data });
        self.listen();
    }

    fn kill_first(&mut self) {
        self.origins[0].is_dead = true;
        self.wire
            .retain(|(_, whom, _)| !matches!(whom, Whom::TableFrom(0)));
    }

    fn refuse(&mut self) {
        let link = self.origins[0].link;
        self.table.handle(self.now, Input::Refused { link });
        self.listen();
    }

    /// The receiver at the end where the media goes.
    fn receiver(&self) -> &Receiver {
        match self.plan.action {
            Action::Play => self.caller.as_ref().unwrap().receiver(),
            Action::Publish => self.origins[1].halves.values().last().unwrap().receiver(),
        }
    }

    /// The side that sends media now.
    fn sender(&mut self) -> &mut Sender {
        let mut origins = self.origins.iter_mut().filter(|origin| !origin.is_dead);
        let half = match self.plan.action {
            Action::Publish => self.caller.as_mut(),
            Action::Play => origins.find_map(|origin| origin.halves.values_mut().next_back()),
        };
        match half {
            Some(Half::Sends(sender)) => sender,
            _ => panic!("somebody sends"),
        }
    }

    /// One of the steps in which libsrt changes its key: its receiver is told of the next; that is used; the former is dropped.
    fn change_key(&mut self, step: usize) {
        self.keys += 1;
        let number = 100 + self.keys;
        let sender = self.sender();
        let key = sender.key.expect("it is encrypted");
        match step % 3 {
            0 => {
                let next = Key {
                    is_odd: !key.is_odd,
                    number,
                };
                sender.next_key = Some(next);
                sender.announced = Some(vec![key, next]);
            }
            1 => sender.key = sender.next_key,
            _ => sender.announced = Some(vec![key]),
        }
        // Longer than any packet is missed.
        self.run(300);
    }

    /// The stream goes over to the other origin.
    fn loses_its_origin(&mut self, dies: bool) {
        if dies {
            self.kill_first();
            self.run(20);
            self.refuse();
            self.until("the loss", 300, Self::lost);
        }
        self.go_over();
        self.until("media", 300, Self::resumed);
        self.run(100);
    }

    fn resumed(event: &Event) -> bool {
        matches!(event, Event::Resumed { .. })
    }

    fn lost(event: &Event) -> bool {
        matches!(event, Event::Lost { .. })
    }

    /// The numbers that both origins have used.
    fn used_twice(&self) -> usize {
        self.origins[0]
            .used
            .intersection(&self.origins[1].used)
            .count()
    }
}

impl Half {
    fn speak(&mut self, now: Instant, sends: bool, tells: bool, content: u64) -> Vec<Vec<u8>> {
        match self {
            Self::Sends(sender) => {
                let media = sends.then(|| sender.media(now, content));
                let keys = tells.then(|| sender.announcement(now)).flatten();
                media.into_iter().chain(keys).collect()
            }
            Self::Receives(receiver) if tells => receiver.tell(now),
            Self::Receives(_) => Vec::new(),
        }
    }
}

const ORIGIN: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    10080,
);

fn plan(action: Action, encrypted: bool) -> Plan {
    Plan {
        action,
        encrypted,
        loss: 0,
        seed: 7,
    }
}

#[test]
fn a_publisher_whose_origin_is_killed_loses_nothing_that_it_still_has() {
    for encrypted in [false, true] {
        let mut world = World::is_joined(plan(Action::Publish, encrypted));
        world.kill_first();
        world.run(20);
        world.refuse();
        let after = world.until("the loss", 300, World::lost);
        assert!(after <= 200, "{after} ms");
        world.go_over();
        world.until("media", 300, World::resumed);
        world.run(1000);
        assert!(!world.is_closed, "the caller knows nothing");
        let receiver = world.receiver();
        assert_eq!(receiver.late, 0, "nothing comes too late");
        assert!(receiver.dropped.is_empty(), "nothing is missing");
        assert!(receiver.got.len() > 200);
    }
}

#[test]
fn a_publisher_that_is_held_for_long_goes_on_with_what_it_still_has() {
    let mut world = World::is_joined(plan(Action::Publish, false));
    world.kill_first();
    let after = world.until("the loss", 3000, World::lost);
    assert!((1000..1700).contains(&after), "{after} ms");
    world.run(6000);
    world.go_over();
    world.until("media", 300, World::resumed);
    let Some((_, Event::Resumed { dropped, .. })) = world.events.last() else {
        panic!("{:?}", world.events.last());
    };
    // More than 7 s at 200 packets a second, of which the last second is there.
    assert!((1150..1500).contains(dropped), "{dropped}");
    world.run(1000);
    let receiver = world.receiver();
    assert_eq!(receiver.late, 0);
    assert!(receiver.dropped.len() <= 16, "{}", receiver.dropped.len());
}

#[test]
fn a_player_whose_origin_is_killed_gets_the_next_ones_media_in_time() {
    for encrypted in [false, true] {
        let mut world = World::is_joined(plan(Action::Play, encrypted));
        let before = world.receiver().got.len();
        world.loses_its_origin(true);
        world.run(900);
        assert!(!world.is_closed);
        let receiver = world.receiver();
        assert_eq!(receiver.late, 0);
        assert!(receiver.got.len() >= before + 195, "{}", receiver.got.len());
        assert_eq!(receiver.missed, 0, "the gap is announced");
        if encrypted {
            assert_eq!(world.used_twice(), 0);
        } else {
            assert!(receiver.dropped.is_empty());
        }
    }
}

#[test]
fn moves_lose_nothing() {
    for action in [Action::Publish, Action::Play] {
        for encrypted in [false, true] {
            let mut world = World::is_joined(plan(action, encrypted));
            world.go_over();
            world.until("media", 300, World::resumed);
            world.run(LATENCY);
            let former = world.origins[0].halves.values().next();
            let former = former.filter(|_| action == Action::Publish);
            let former = former.map(|half| half.receiver().got.clone());
            world.run(1000);
            assert!(!world.events.iter().any(|(_, event)| World::lost(event)));
            let receiver = world.receiver();
            assert_eq!(receiver.late, 0);
            assert!(!world.is_closed);
            assert!(
                world.origins[0].halves.is_empty(),
                "the former origin knows"
            );
            match action {
                Action::Publish => {
                    // It has had the time to pass on what it has, and nothing is in neither.
                    let former = former.expect("the former origin does not know yet");
                    let (last, first) = (former.len(), receiver.first.since(Sequence::new(FIRST)));
                    let both = former
                        .keys()
                        .filter(|number| receiver.got.contains_key(number));
                    assert!(both.count() <= 4, "sent to both");
                    for step in 0..first.max(last as u32) + 100 {
                        let number = Sequence::new(FIRST).plus(step).word();
                        let is_there =
                            former.contains_key(&number) || receiver.got.contains_key(&number);
                        assert!(is_there, "the packet {step} is nowhere");
                    }
                }
                Action::Play => {
                    // What the next origin sends while the present one still has something is asked for again, and comes.
                    let next = &world.origins[1].used;
                    assert!(receiver.dropped.is_disjoint(next), "nothing of it is lost");
                    assert!(receiver.missed <= 100, "the leap is announced");
                }
            }
            if action == Action::Play && encrypted {
                assert_eq!(world.used_twice(), 0);
            }
        }
    }
}

/// An origin that got a held publisher passes on everything later by the time of the hold. The one that gets it from there in a
/// move has to be as late, or its players miss what the former one still has.
#[test]
fn a_publisher_that_was_held_is_moved_with_its_delay() {
    let mut world = World::is_joined(plan(Action::Publish, false));
    world.kill_first();
    world.run(20);
    world.refuse();
    world.until("the loss", 300, World::lost);
    world.run(600);
    world.go_over();
    world.until("media", 300, World::resumed);
    world.run(1000);
    let early = world.receiver().early;
    assert!(early >= millis(600), "{early:?}");
    let [first, _] = &mut world.origins;
    first.is_dead = false;
    first.halves.clear();
    world.attempt(0);
    world.until("an answer", 2000, |event| {
        matches!(event, Event::Answered { .. })
    });
    world.table.join(world.now, world.flow.unwrap());
    world.listen();
    world.run(LATENCY);
    let half = world.origins[0].halves.values().last();
    let moved = half.unwrap().receiver().early;
    assert!(
        moved.abs_diff(early) <= millis(30),
        "{moved:?} after {early:?}"
    );
    world.run(600);
    assert!(
        !world.origins[1].halves.is_empty(),
        "it has more to pass on"
    );
    world.run(1000);
    assert!(world.origins[1].halves.is_empty(), "it knows");
    assert!(!world.is_closed);
}

#[test]
fn an_origin_that_was_out_of_reach_for_a_moment_keeps_its_call() {
    for action in [Action::Publish, Action::Play] {
        let mut world = World::is_joined(plan(action, false));
        world.origins[0].is_dead = true;
        world.until("the loss", 3000, World::lost);
        world.run(500);
        world.origins[0].is_dead = false;
        world.until("its return", 100, |event| {
            matches!(event, Event::Back { .. })
        });
        world.run(1000);
        assert!(!world.is_closed);
    }
}

#[test]
fn an_encrypted_players_silent_origin_is_left_for_good() {
    let mut world = World::is_joined(plan(Action::Play, true));
    world.origins[0].is_dead = true;
    world.until("the loss", 3000, World::lost);
    world.go_over();
    world.until("media", 300, World::resumed);
    // It goes on as if nothing had been, until it is told.
    world.origins[0].is_dead = false;
    world.run(500);
    assert!(world.origins[0].halves.is_empty(), "it is told");
    world.run(500);
    assert_eq!(world.used_twice(), 0);
    assert!(!world.is_closed);
}

#[test]
fn an_origin_that_says_goodbye_is_lost_unless_it_had_no_media() {
    let mut world = World::is_joined(plan(Action::Play, false));
    let (origin, flow) = (&mut world.origins[0], world.flow.unwrap());
    origin.halves.clear();
    let link = origin.link;
    let mut data = shutdown(flow.0);
    let data = &mut data;
    assert_eq!(
        world.table.handle(world.now, Input::Origin { link, data }),
        Fate::Kept
    );
    let end = LegEnd::Closed;
    assert_eq!(
        world.table.poll_output(),
        Some(Output::Event(Event::Lost { flow, end }))
    );

    let mut world = World::new(plan(Action::Play, false));
    world.until("an answer", 2000, |event| {
        matches!(event, Event::Answered { .. })
    });
    let (link, flow) = (world.origins[0].link, world.flow.unwrap());
    let mut data = shutdown(flow.0);
    let data = &mut data;
    world.table.handle(world.now, Input::Origin { link, data });
    world.until("its end", 100, |event| {
        matches!(
            event,
            Event::Closed {
                end: End::OriginClosed,
                ..
            }
        )
    });
}

#[test]
fn another_origin_has_to_agree_to_the_same() {
    let mut world = World::is_joined(plan(Action::Publish, false));
    world.origins[1].flags = 0x9f;
    world.attempt(1);
    world.until("a no", 500, |event| {
        matches!(
            event,
            Event::Failed {
                why: Failure::OtherTerms,
                ..
            }
        )
    });
    world.run(1000);
    assert!(!world.is_closed);
    assert!(world.origins[1].halves.is_empty(), "it is told");
    assert!(
        !world.origins[0].halves.is_empty(),
        "the first has it still"
    );
}

/// An origin that asks somebody about a call may do so after it has agreed.
#[test]
fn an_origin_that_agrees_and_leaves_at_once_does_not_get_the_call() {
    for action in [Action::Publish, Action::Play] {
        for is_awaited in [false, true] {
            let case = format!("{action:?}, {is_awaited}");
            let mut world = World::is_joined(plan(action, false));
            let before = world.origins[0].used.len();
            world.attempt(1);
            world.until("an answer", 500, |event| {
                matches!(event, Event::Answered { .. })
            });
            // The present origin owes acknowledgements, so that the moment for the other has yet to come.
            world.run(7);
            let known = world.events.len();
            if !is_awaited {
                world.other_leaves();
            }
            world.table.join(world.now, world.flow.unwrap());
            world.listen();
            if is_awaited {
                world.other_leaves();
            }
            let events: Vec<&Event> = world.events[known..].iter().map(|(_, one)| one).collect();
            let (flow, why) = (world.flow.unwrap(), Failure::Left);
            assert_eq!(events, [&Event::Failed { flow, why }], "{case}");
            world.run(1000);
            assert!(!world.is_closed, "{case}");
            assert_eq!(
                world.events.len(),
                known + 1,
                "{case}: nothing else is told"
            );
            let [first, other] = &world.origins;
            assert!(other.halves.is_empty(), "{case}: it is not asked again");
            let (_, half) = first.halves.last_key_value().expect("it has the call");
            match half {
                Half::Receives(receiver) => assert!(receiver.got.len() >= 550, "{case}"),
                Half::Sends(_) => assert!(first.used.len() >= before + 190, "{case}"),
            }
        }
    }
}

#[test]
fn an_origin_that_is_given_up_is_asked_no_more() {
    for answers in [false, true] {
        let mut world = World::is_joined(plan(Action::Publish, false));
        world.origins[1].is_dead = !answers;
        world.attempt(1);
        world.run(600);
        let link = world.origins[1].link;
        assert!(world.table.uses(link));
        world.table.abandon(world.flow.unwrap());
        world.listen();
        assert!(!world.table.uses(link), "{answers}");
        world.run(20);
        world.origins[1].is_dead = false;
        world.run(1000);
        assert!(
            world.origins[1].halves.is_empty(),
            "{answers}: it has nobody"
        );
        assert!(!world.origins[0].halves.is_empty() && !world.is_closed);
    }
}

#[test]
fn a_hold_that_is_over_ends_the_call_for_all() {
    let mut world = World::is_joined(plan(Action::Publish, false));
    world.kill_first();
    world.until("the loss", 3000, World::lost);
    world.attempt(1);
    world.until("an answer", 500, |event| {
        matches!(event, Event::Answered { .. })
    });
    world.table.close(world.flow.unwrap());
    world.listen();
    world.run(50);
    assert!(world.is_closed && world.table.is_empty());
    assert!(world.origins[1].halves.is_empty(), "it is told");
}

#[test]
fn keys_are_changed_before_and_after_a_change_of_origin() {
    for action in [Action::Publish, Action::Play] {
        for dies in [false, true] {
            for before in 0..7 {
                let mut world = World::is_joined(plan(action, true));
                (0..before).for_each(|step| world.change_key(step));
                world.loses_its_origin(dies);
                let rest = match action {
                    // The same side goes on with what it had begun.
                    Action::Publish => before..9,
                    Action::Play => 0..6,
                };
                rest.for_each(|step| world.change_key(step));
                let case = format!("{action:?}, {dies}, {before}");
                assert!(!world.is_closed, "{case}");
                assert_eq!(world.sender().announced, None, "{case}: it was heard");
                assert_ne!(world.sender().key, Some(Key::FIRST), "{case}");
                // A few may overtake the word about their key.
                let unreadable = world.receiver().unreadable;
                assert!(unreadable <= 4, "{case}: {unreadable}");
                assert!(world.receiver().got.len() >= 170, "{case}");
            }
        }
    }
}

#[test]
fn a_key_that_a_publisher_chose_while_another_origin_was_called_is_told_until_it_is_heard() {
    for lost in [0, 1, 3] {
        let mut world = World::is_joined(plan(Action::Publish, true));
        world.attempt(1);
        world.until("an answer", 2000, |event| {
            matches!(event, Event::Answered { .. })
        });
        // The former origin answers, and the caller tells nobody else.
        world.change_key(0);
        assert_eq!(world.sender().announced, None);
        world.loses_keys = lost;
        world.table.join(world.now, world.flow.unwrap());
        world.listen();
        world.until("media", 300, World::resumed);
        world.run(1000);
        assert_eq!(world.loses_keys, 0);
        world.change_key(1);
        world.change_key(2);
        assert_eq!(world.receiver().unreadable, 0, "{lost} lost");
        assert!(!world.is_closed);
    }
}

#[test]
fn a_player_is_told_of_its_next_origins_key_until_it_has_heard() {
    for lost in [0, 1, 3] {
        let mut world = World::is_joined(plan(Action::Play, true));
        // Two changes, so that both of the player's keys are the origin's own.
        (0..6).for_each(|step| world.change_key(step));
        let [even, odd] = world.receiver().keys;
        assert!(even > Some(100) && odd > Some(100));
        world.loses_keys = lost;
        world.loses_its_origin(true);
        world.run(1000);
        assert_eq!(world.loses_keys, 0);
        let unreadable = world.receiver().unreadable;
        // 200 packets a second, and it is told ten times.
        assert!(
            unreadable <= 40 * u64::from(lost) + 2,
            "{unreadable} with {lost} lost"
        );
        world.run(2000);
        assert_eq!(world.receiver().unreadable, unreadable, "it has heard");
        assert_eq!(world.receiver().keys, [Some(1), odd]);
        assert!(!world.is_closed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Over networks that lose packets, whenever a sender changes its key and its origin: everything can be read in the end.
    #[test]
    fn keys_change_over_bad_networks(
        seed: u64, loss in 0_u64..80, publishes: bool, dies: bool, before in 0_usize..7, when in 0_u64..400,
    ) {
        let action = if publishes { Action::Publish } else { Action::Play };
        let mut world = World::is_joined(Plan { action, encrypted: true, loss, seed });
        (0..before).for_each(|step| world.change_key(step));
        world.run(when);
        if dies {
            world.kill_first();
            world.until("the loss", 3000, World::lost);
        }
        world.go_over();
        world.until("media", 1500, World::resumed);
        world.run(1500);
        let rest = if publishes { before..9 } else { 0..6 };
        rest.for_each(|step| world.change_key(step));
        let unreadable = world.receiver().unreadable;
        world.run(1000);
        prop_assert_eq!(world.receiver().unreadable, unreadable);
        prop_assert_eq!(&world.sender().announced, &None);
        prop_assert!(!world.is_closed);
    }

    /// Over networks that lose packets, however and whenever the origin is lost: the caller stays, no side
    /// breaks, no number is used twice with a key, and nearly all that is sent afterwards arrives in time.
    #[test]
    fn calls_go_on_over_bad_networks(
        seed: u64, loss in 0_u64..80, publishes: bool, encrypted: bool, dies: bool, refused: bool, when in 0_u64..400,
    ) {
        let action = if publishes { Action::Publish } else { Action::Play };
        let mut world = World::is_joined(Plan { action, encrypted, loss, seed });
        world.run(when);
        if dies {
            world.kill_first();
            if refused {
                world.run(20);
                world.refuse();
            }
            world.until("the loss", 3000, World::lost);
        }
        world.go_over();
        world.until("media", 1500, World::resumed);
        let before = world.receiver().got.len();
        world.run(3000);
        prop_assert!(!world.is_closed);
        prop_assert!(world.receiver().got.len() >= before + 540, "{}", world.receiver().got.len() - before);
        if !publishes && encrypted {
            prop_assert_eq!(world.used_twice(), 0);
        }
    }
}
