//! The table of WebRTC flows: what opens a flow, what moves it, what ends it, and that nothing else does.

#![allow(
    clippy::disallowed_methods,
    reason = "each test starts somewhere, and time passes by hand"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluicegate_core::flow::{
    ClientPath, DropReason, Fate, FlowId, Flows as _, Input, LinkId, Output,
};
use sluicegate_core::rtc::flows::{
    AFTER_ALERT, CONSENT, Closed, Event, Flows, Found, Surrender, TELL_FOR,
};
use sluicegate_core::rtc::stun::{Kind, Message, binding_request};

/// A shard, its clock, and a store that knows some calls.
struct House {
    flows: Flows,
    now: Instant,
    known: BTreeMap<String, u64>,
    /// Calls that have ended on another shard.
    over: BTreeMap<String, u64>,
    next_link: u32,
    /// Open sockets, with the call that each is for.
    links: BTreeMap<LinkId, u64>,
    closed: Vec<(u64, Closed)>,
    lookups: usize,
    to_origin: Vec<(LinkId, Vec<u8>)>,
    /// What the table said to clients by itself.
    to_client: Vec<(ClientPath, Vec<u8>)>,
}

const PASSWORD: &[u8] = b"0123456789012345678901";

impl House {
    fn new(calls: u64) -> Self {
        let now = Instant::now();
        Self {
            flows: Flows::new(now, 1000),
            now,
            known: (0..calls).map(|call| (username(call), call)).collect(),
            over: BTreeMap::new(),
            next_link: 0,
            links: BTreeMap::new(),
            closed: Vec::new(),
            lookups: 0,
            to_origin: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn client(&mut self, path: ClientPath, data: &[u8]) -> (Fate, Vec<u8>) {
        let mut data = data.to_vec();
        let input = Input::Client {
            path,
            data: &mut data,
        };
        let fate = self.flows.handle(self.now, input);
        self.serve();
        (fate, data)
    }

    fn origin(&mut self, link: LinkId, data: &[u8]) -> Fate {
        let mut data = data.to_vec();
        let fate = self.flows.handle(
            self.now,
            Input::Origin {
                link,
                data: &mut data,
            },
        );
        self.serve();
        fate
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.flows.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.flows.handle(self.now, Input::Timeout);
            self.serve();
        }
        self.now = end;
    }

    /// Does what the shell does.
    fn serve(&mut self) {
        while let Some(output) = self.flows.poll_output() {
            match output {
                Output::Event(Event::Lookup { username, .. }) => {
                    self.lookups += 1;
                    let name = String::from_utf8_lossy(&username).into_owned();
                    let found = |call: &u64| Found {
                        call: *call,
                        password: password(*call).into(),
                    };
                    match self.over.get(&name).map(found) {
                        Some(over) => self.flows.found_over(self.now, &username, over),
                        None => {
                            let found = self.known.get(&name).map(found);
                            self.flows.found(self.now, &username, found);
                        }
                    }
                }
                Output::Event(Event::Open { flow, call, .. }) => {
                    let link = LinkId(self.next_link);
                    self.next_link += 1;
                    if self.flows.link(self.now, flow, link) {
                        self.links.insert(link, call);
                    }
                }
                Output::Event(Event::Closed {
                    call, link, reason, ..
                }) => {
                    if let Some(link) = link {
                        assert_eq!(self.links.remove(&link), Some(call), "it was open");
                    }
                    self.closed.push((call, reason));
                }
                Output::ToOrigin { link, data } => self.to_origin.push((link, data)),
                Output::ToClient { path, data } => self.to_client.push((path, data)),
            }
        }
    }

    /// The socket of a call.
    fn link_of(&self, call: u64) -> Option<LinkId> {
        let found = self.links.iter().find(|(_, owner)| **owner == call);
        found.map(|(link, _)| *link)
    }

    /// Opens a call's flow from `path`, and returns its socket.
    fn open(&mut self, call: u64, path: ClientPath, transaction: u8) -> LinkId {
        self.client(path, &check(call, transaction, true));
        self.link_of(call).expect("the flow has its socket")
    }
}

fn username(call: u64) -> String {
    format!("origin{call}:client{call}")
}

fn password(call: u64) -> Vec<u8> {
    let mut password = PASSWORD.to_vec();
    password.extend(call.to_string().bytes());
    password
}

fn check(call: u64, transaction: u8, nominates: bool) -> Vec<u8> {
    binding_request(
        &username(call),
        &password(call),
        [transaction; 12],
        nominates,
    )
}

fn path(port: u16) -> ClientPath {
    ClientPath {
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
        local: None,
        entry: 0,
    }
}

/// A success response, as an origin sends it.
fn success(transaction: u8) -> Vec<u8> {
    let mut message = vec![1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend([transaction; 12]);
    message
}

fn indication() -> Vec<u8> {
    let mut message = success(9);
    message[..2].copy_from_slice(&[0, 0x11]);
    message
}

const RTP: &[u8] = &[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7];
const RTCP: &[u8] = &[0x80, 200, 0, 1, 0, 0, 0, 1];
const DTLS: &[u8] = &[22, 254, 253, 0];
const ALERT: &[u8] = &[21, 254, 253, 0];

#[test]
fn a_proof_opens_a_flow_and_media_passes_both_ways() {
    let mut house = House::new(1);
    for data in [RTP, RTCP, DTLS, &indication()] {
        let (fate, _) = house.client(path(1), data);
        assert_eq!(
            fate,
            Fate::Drop(DropReason::UnknownFlow),
            "before the proof"
        );
    }
    let link = house.open(0, path(1), 1);
    assert_eq!(
        house.to_origin,
        [(link, check(0, 1, true))],
        "the proof itself goes on"
    );
    for data in [RTP, RTCP, DTLS, &indication()] {
        assert_eq!(house.client(path(1), data).0, Fate::ToOrigin { link });
    }
    let to_client = Fate::ToClient {
        flow: FlowId(0),
        path: path(1),
    };
    for data in [RTP, RTCP, DTLS, &indication(), &success(1)] {
        assert_eq!(house.origin(link, data), to_client);
    }
    let mut accounts = Vec::new();
    house
        .flows
        .settle(|call, account| accounts.push((call, account)));
    let [(0, account)] = accounts[..] else {
        panic!("{accounts:?}");
    };
    let passed = (RTP.len() + RTCP.len() + DTLS.len() + indication().len()) as u64;
    assert_eq!(account.to_origin, passed + check(0, 1, true).len() as u64);
    assert_eq!(account.to_client, passed + success(1).len() as u64);
    assert!(account.media_to_client && account.media_to_origin);
    assert_eq!(house.lookups, 1);
}

#[test]
fn nothing_but_a_proof_opens_or_moves_a_flow() {
    let mut house = House::new(1);
    let link = house.open(0, path(1), 1);
    house.pass(Duration::from_secs(2));
    let signed_by = |password: &[u8]| binding_request(&username(0), password, [2; 12], true);
    let mut cut = check(0, 3, true);
    cut.truncate(cut.len() - 8);
    cut.truncate(cut.len() - 24);
    let length = u16::try_from(cut.len() - 20).unwrap().to_be_bytes();
    cut[2..4].copy_from_slice(&length);
    let trailing = |count: u8| {
        let mut message = success(1);
        message[..4].copy_from_slice(&[0, 1, 0, count]);
        message.extend((0..count).map(|_| 0));
        message
    };
    let cases: [(&str, Vec<u8>, DropReason); 15] = [
        (
            "K1: one byte where attributes are",
            trailing(1),
            DropReason::Malformed,
        ),
        (
            "K1: two bytes where attributes are",
            trailing(2),
            DropReason::Malformed,
        ),
        (
            "K1: three bytes where attributes are",
            trailing(3),
            DropReason::Malformed,
        ),
        ("K8: RTP", RTP.to_vec(), DropReason::UnknownFlow),
        ("RTCP", RTCP.to_vec(), DropReason::UnknownFlow),
        ("DTLS", DTLS.to_vec(), DropReason::UnknownFlow),
        ("a DTLS alert", ALERT.to_vec(), DropReason::UnknownFlow),
        ("an indication", indication(), DropReason::UnknownFlow),
        ("a response", success(1), DropReason::UnknownFlow),
        ("K8: a request signed by nobody", cut, DropReason::Forged),
        (
            "K8: a request signed by somebody else",
            signed_by(b"x"),
            DropReason::Forged,
        ),
        (
            "a copy of a request",
            check(0, 1, true),
            DropReason::ForeignAddress,
        ),
        (
            "a length of 21 bytes",
            check(0, 1, true)[..21].to_vec(),
            DropReason::Malformed,
        ),
        (
            "K2: an attribute without padding",
            {
                let mut message = success(1);
                message[..4].copy_from_slice(&[0, 1, 0, 5]);
                message.extend([0, 6, 0, 1, 7]);
                message
            },
            DropReason::Malformed,
        ),
        ("noise", vec![200, 1, 2], DropReason::UnknownKind),
    ];
    for (cause, data, expected) in cases {
        assert_eq!(
            house.client(path(66), &data).0,
            Fate::Drop(expected),
            "{cause}"
        );
        let to_client = Fate::ToClient {
            flow: FlowId(0),
            path: path(1),
        };
        assert_eq!(house.origin(link, RTP), to_client, "{cause} moves nothing");
    }
    assert_eq!(house.client(path(1), RTP).0, Fate::ToOrigin { link });
}

#[test]
fn a_client_moves_when_it_says_so_or_falls_silent() {
    let mut house = House::new(1);
    let link = house.open(0, path(1), 1);
    let goes_to = |house: &mut House, data: &[u8]| match house.origin(link, data) {
        Fate::ToClient { path, .. } => path,
        other => panic!("{other:?}"),
    };
    // A second path is tried while the first carries media: its answer goes back on it, and media stays.
    assert_eq!(
        house.client(path(2), &check(0, 2, false)).0,
        Fate::ToOrigin { link }
    );
    assert_eq!(goes_to(&mut house, &success(2)), path(2));
    assert_eq!(goes_to(&mut house, RTP), path(1));
    assert_eq!(
        goes_to(&mut house, &success(77)),
        path(1),
        "an answer to nobody"
    );
    // The second path is nominated.
    house.client(path(2), &check(0, 3, true));
    assert_eq!(goes_to(&mut house, RTP), path(2));
    // The client's address changes without its knowledge.
    house.pass(Duration::from_secs(2));
    house.client(path(3), &check(0, 4, false));
    assert_eq!(goes_to(&mut house, RTP), path(3));
    assert_eq!(house.links.len(), 1, "the origin sees no change");
    // The number of addresses is limited.
    for port in 10..20 {
        house.client(path(port), &check(0, u8::try_from(port).unwrap(), true));
    }
    assert_eq!(
        house.client(path(3), RTP).0,
        Fate::Drop(DropReason::UnknownFlow)
    );
    assert_eq!(goes_to(&mut house, RTP), path(19));
}

#[test]
fn an_address_belongs_to_the_call_that_proved_it_last() {
    let mut house = House::new(2);
    house.open(0, path(1), 1);
    let second = house.open(1, path(1), 2);
    assert_eq!(
        house.client(path(1), RTP).0,
        Fate::ToOrigin { link: second }
    );
    house.pass(CONSENT + Duration::from_secs(20));
    assert!(house.flows.is_empty() && house.links.is_empty());
}

#[test]
fn a_flow_ends_when_its_client_is_silent_and_sooner_after_an_alert() {
    let mut house = House::new(2);
    let link = house.open(0, path(1), 1);
    house.client(path(3), &check(0, 4, false));
    // Some clients send no check while they send anything else.
    for datagram in [RTP, RTCP, DTLS, RTP, RTCP] {
        house.pass(CONSENT - Duration::from_secs(1));
        assert_eq!(house.client(path(1), datagram).0, Fate::ToOrigin { link });
        let fate = house.origin(link, RTP);
        let goes_on = matches!(fate, Fate::ToClient { path: to, .. } if to == path(1));
        assert!(goes_on, "{fate:?}");
    }
    assert_eq!(
        house.client(path(3), RTP).0,
        Fate::Drop(DropReason::UnknownFlow),
        "an address that fell silent is proven no more"
    );
    house.pass(CONSENT - Duration::from_secs(1));
    house.client(path(3), RTP);
    house.pass(Duration::from_secs(2));
    assert_eq!(
        house.closed,
        [(0, Closed::Idle)],
        "an address without a proof prolongs nothing"
    );

    house.open(1, path(2), 2);
    house.client(path(2), ALERT);
    house.pass(AFTER_ALERT - Duration::from_secs(1));
    house.client(path(2), &check(1, 3, true));
    house.pass(AFTER_ALERT * 2);
    assert_eq!(
        house.closed.len(),
        1,
        "a proof after the alert: it was forged"
    );
    house.client(path(2), ALERT);
    house.pass(AFTER_ALERT - Duration::from_secs(1));
    house.client(path(2), RTP);
    house.pass(Duration::from_secs(2));
    assert_eq!(house.closed, [(0, Closed::Idle), (1, Closed::Idle)]);
    house.pass(Duration::from_secs(10));
    assert!(house.flows.is_empty() && house.links.is_empty());
    assert_eq!(
        house.flows.poll_timeout(),
        None,
        "nothing is left to be looked after"
    );
}

#[test]
fn refusals_end_a_flow_unless_the_origin_speaks() {
    let mut house = House::new(1);
    let link = house.open(0, path(1), 1);
    let refuse = |house: &mut House| {
        house.flows.handle(house.now, Input::Refused { link });
        house.serve();
    };
    refuse(&mut house);
    house.pass(Duration::from_secs(2));
    house.origin(link, RTP);
    refuse(&mut house);
    assert!(
        house.closed.is_empty(),
        "the origin spoke, so one was forged"
    );
    house.pass(Duration::from_secs(2));
    refuse(&mut house);
    assert_eq!(house.closed, [(0, Closed::Refused)]);
    assert!(house.links.is_empty());
}

#[test]
fn a_client_is_told_that_its_call_is_over() {
    let mut house = House::new(1);
    house.open(0, path(1), 1);
    house.flows.end(house.now, username(0).as_bytes());
    house.serve();
    assert_eq!(house.closed, [(0, Closed::Ended)]);
    assert_eq!(
        house.client(path(1), RTP).0,
        Fate::Drop(DropReason::UnknownFlow)
    );
    let forged = binding_request(&username(0), b"x", [5; 12], true);
    assert_eq!(
        house.client(path(1), &forged).0,
        Fate::Drop(DropReason::Forged)
    );
    let question = check(0, 6, false);
    let (fate, data) = house.client(path(1), &question);
    let Fate::Reply { len } = fate else {
        panic!("{fate:?}");
    };
    assert!(len <= question.len());
    let answer = Message::parse(&data[..len]).unwrap();
    assert_eq!((answer.kind, answer.transaction), (Kind::Error, [6; 12]));
    assert!(answer.is_from_owner_of(&password(0)));
    house.known.clear();
    house.pass(Duration::from_secs(10));
    assert!(house.flows.is_empty());
}

#[test]
fn a_client_is_told_on_a_shard_that_never_knew_its_call() {
    let mut house = House::new(0);
    house.over.insert(username(0), 0);
    let forged = binding_request(&username(0), b"x", [5; 12], true);
    assert_eq!(house.client(path(1), &forged).0, Fate::Kept);
    assert!(house.to_client.is_empty(), "nobody has proven anything");
    assert!(matches!(
        house.client(path(2), &check(0, 6, false)).0,
        Fate::Reply { .. }
    ));
    house.over.insert(username(1), 1);
    assert_eq!(house.client(path(3), &check(1, 7, true)).0, Fate::Kept);
    let told = std::mem::take(&mut house.to_client);
    let [(at, answer)] = told.as_slice() else {
        panic!("{told:?}");
    };
    let answer = Message::parse(answer).unwrap();
    assert_eq!(*at, path(3), "where it asked first");
    assert_eq!((answer.kind, answer.transaction), (Kind::Error, [7; 12]));
    assert!(answer.is_from_owner_of(&password(1)));
    assert!(house.links.is_empty() && house.closed.is_empty());
    house.over.clear();
    house.pass(TELL_FOR + Duration::from_secs(2));
    assert!(house.flows.is_empty());
}

#[test]
fn nobody_is_asked_for_once_and_paid_for() {
    let mut house = House::new(0);
    let stranger = |call| check(call, 1, true);
    assert_eq!(house.client(path(1), &stranger(1)).0, Fate::Kept);
    assert_eq!(house.lookups, 1);
    let unknown = Fate::Drop(DropReason::UnknownFlow);
    assert_eq!(
        house.client(path(1), &stranger(1)).0,
        unknown,
        "known to be nobody"
    );
    assert_eq!(house.lookups, 1);
    // The call's binding arrives.
    house.known.insert(username(1), 1);
    assert_eq!(house.client(path(1), &stranger(1)).0, unknown);
    house.flows.bindings_changed();
    house.client(path(1), &stranger(1));
    assert_eq!(house.links.len(), 1);
    // A flood of usernames from one network.
    for call in 100..1000 {
        house.client(path(1), &stranger(call));
    }
    assert!(house.lookups < 250, "{} look-ups", house.lookups);
    let elsewhere = ClientPath {
        remote: SocketAddr::from(([198, 51, 100, 1], 1)),
        ..path(1)
    };
    let before = house.lookups;
    house.client(elsewhere, &stranger(5000));
    assert_eq!(house.lookups, before + 1, "others are not held up by it");
    house.pass(Duration::from_secs(5));
    house.client(path(1), &stranger(6000));
    assert_eq!(house.lookups, before + 2, "tokens come back");
}

#[test]
fn one_look_up_at_a_time_for_a_name() {
    let mut flows = Flows::new(Instant::now(), 10);
    let now = Instant::now();
    let mut ask = |port| {
        let mut data = check(1, 1, true);
        flows.handle(
            now,
            Input::Client {
                path: path(port),
                data: &mut data,
            },
        )
    };
    assert_eq!(ask(1), Fate::Kept);
    assert_eq!(ask(2), Fate::Drop(DropReason::Untimely));
}

#[test]
fn a_full_table_takes_nobody_new() {
    let mut flows = Flows::new(Instant::now(), 2);
    let now = Instant::now();
    for call in 0..3 {
        let found = Found {
            call,
            password: password(call).into(),
        };
        flows.found(now, username(call).as_bytes(), Some(found));
    }
    assert_eq!(flows.len(), 2);
}

#[test]
fn a_flow_is_given_to_the_shard_that_hears_its_client() {
    let mut here = House::new(1);
    let link = here.open(0, path(1), 1);
    let name = username(0);
    let name = name.as_bytes();
    assert_eq!(here.flows.surrender(here.now, name, false), Surrender::Kept);
    assert_eq!(
        here.flows.surrender(here.now, b"nobody", true),
        Surrender::Absent
    );
    here.pass(Duration::from_secs(2));
    let given = here.flows.surrender(here.now, name, false);
    assert!(
        matches!(given, Surrender::Given(its, _) if its == link),
        "{given:?}"
    );
    assert!(
        here.flows.is_empty() && here.closed.is_empty(),
        "it is not over"
    );

    // A shard that is not given the flow forgets the proof.
    let mut there = Flows::new(here.now, 10);
    let found = Found {
        call: 0,
        password: password(0).into(),
    };
    there.found(here.now, name, Some(found));
    let mut data = check(0, 9, false);
    there.handle(
        here.now,
        Input::Client {
            path: path(2),
            data: &mut data,
        },
    );
    let Some(Output::Event(Event::Open {
        flow,
        nominates: false,
        ..
    })) = there.poll_output()
    else {
        panic!("it asks for a socket");
    };
    there.stay(flow);
    let mut data = RTP.to_vec();
    let fate = there.handle(
        here.now,
        Input::Client {
            path: path(2),
            data: &mut data,
        },
    );
    assert_eq!(fate, Fate::Drop(DropReason::UnknownFlow));
    assert!(!there.link(here.now, flow, link), "nobody waits for it");
}

/// A generator without a library, so that the seed determines everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// Calls come, roam, fall silent and end over a network that loses, reorders and repeats, while an attacker who sees
/// every packet forges more.
#[test]
fn no_forged_packet_diverts_or_injects() {
    let packets: usize = match std::env::var("FORGED_PACKETS") {
        Ok(count) => count.parse().expect("a number"),
        Err(_) => 60_000,
    };
    let seeds = 6;
    for seed in 1..=seeds {
        simulate(seed, packets / usize::try_from(seeds).unwrap());
    }
}

fn simulate(seed: u64, packets: usize) {
    const CALLS: u64 = 12;
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut house = House::new(CALLS);
    let mut at: BTreeMap<u64, u16> = BTreeMap::new();
    let mut used: BTreeSet<(u64, u16)> = BTreeSet::new();
    let mut seen: Vec<Vec<u8>> = Vec::new();
    // Packets in flight: any of them may arrive next, and some arrive twice.
    let mut wire: Vec<(u64, u16, Vec<u8>)> = Vec::new();
    // Requests that the origin has received and not answered.
    let mut asked: Vec<(u64, u16, [u8; 12])> = Vec::new();
    let mut transaction: u64 = 0;
    let (mut forged, mut overtaken, mut repeated) = (0, 0, 0);
    while forged < packets {
        let call = dice.roll(CALLS);
        match dice.roll(10) {
            0 => house.pass(Duration::from_millis(dice.roll(400))),
            // The client sends a check, from its address or from a new one; some are lost.
            1 | 2 => {
                if dice.roll(4) == 0 || !at.contains_key(&call) {
                    let port = 1000 + u16::try_from(call * 1000 + dice.roll(1000)).unwrap();
                    at.insert(call, port);
                }
                transaction += 1;
                let mut id = [0; 12];
                id[4..].copy_from_slice(&transaction.to_be_bytes());
                let nominates = dice.roll(2) == 0;
                let data = binding_request(&username(call), &password(call), id, nominates);
                seen.push(data.clone());
                if seen.len() > 64 {
                    seen.remove(0);
                }
                if dice.roll(5) > 0 {
                    wire.push((call, at[&call], data));
                }
            }
            3 => wire.extend(at.get(&call).map(|port| (call, *port, RTP.to_vec()))),
            4 => {
                if let Some(link) = house.link_of(call)
                    && let Fate::ToClient { path, .. } = house.origin(link, RTP)
                {
                    let port = path.remote.port();
                    assert!(
                        used.contains(&(call, port)),
                        "seed {seed}: {call} went to {port}"
                    );
                }
            }
            // The origin answers requests in any order, and repeats answers.
            5 if !asked.is_empty() => {
                let which = usize::try_from(dice.roll(asked.len() as u64)).unwrap();
                let (call, port, id) = if dice.roll(4) == 0 {
                    asked[which]
                } else {
                    asked.swap_remove(which)
                };
                let mut answer = success(0);
                answer[8..].copy_from_slice(&id);
                if let Some(link) = house.link_of(call)
                    && let Fate::ToClient { path, .. } = house.origin(link, &answer)
                {
                    let to = path.remote.port();
                    assert!(
                        to == port || used.contains(&(call, to)),
                        "seed {seed}: an answer to {call} at {port} went to {to}"
                    );
                }
            }
            _ => {
                forged += 1;
                let data = forge(&mut dice, &seen, call);
                // From an address that no client has.
                let from = path(60_000 + u16::try_from(dice.roll(5000)).unwrap());
                let (fate, _) = house.client(from, &data);
                let harmless = match fate {
                    Fate::Drop(_) | Fate::Kept => true,
                    Fate::Reply { len } => len <= data.len(),
                    Fate::ToClient { .. } | Fate::ToOrigin { .. } => false,
                };
                assert!(harmless, "seed {seed}: {fate:?} for {data:?}");
            }
        }
        while wire.len() > usize::try_from(dice.roll(8)).unwrap() {
            let which = usize::try_from(dice.roll(wire.len() as u64)).unwrap();
            let (call, port, data) = if dice.roll(8) == 0 {
                repeated += 1;
                wire[which].clone()
            } else {
                overtaken += usize::from(which > 0);
                wire.swap_remove(which)
            };
            let (fate, _) = house.client(path(port), &data);
            if data != RTP {
                used.insert((call, port));
                if asked.len() < 64 {
                    asked.push((call, port, data[8..20].try_into().unwrap()));
                }
            }
            if let Fate::ToOrigin { link } = fate {
                assert_eq!(Some(link), house.link_of(call), "seed {seed}: of {call}");
            }
        }
        assert!(house.links.len() <= usize::try_from(CALLS).unwrap());
        assert!(house.flows.len() <= usize::try_from(CALLS).unwrap());
    }
    assert!(overtaken > 100 && repeated > 100, "seed {seed}");
    assert!(house.links.len() > 3, "seed {seed}: calls were open");
    for (link, _) in house.links.clone() {
        if let Fate::ToClient { path, .. } = house.origin(link, RTP) {
            assert!(path.remote.port() < 60_000, "seed {seed}");
        }
    }
    house.pass(CONSENT + Duration::from_secs(30));
    assert!(
        house.flows.is_empty() && house.links.is_empty(),
        "seed {seed}"
    );
    assert_eq!((house.flows.open(), house.flows.poll_timeout()), (0, None));
}

/// What an attacker sends who has seen every packet and has no password. An exact copy is a case of its own above: it
/// proves an address if it overtakes the packet itself, which takes an attacker on the path.
fn forge(dice: &mut Dice, seen: &[Vec<u8>], call: u64) -> Vec<u8> {
    let copied = usize::try_from(dice.roll(seen.len().max(1) as u64)).unwrap();
    let copy = seen.get(copied).cloned().unwrap_or_else(|| RTP.to_vec());
    match dice.roll(7) {
        0 => RTP.to_vec(),
        1 => DTLS.to_vec(),
        2 => indication(),
        3 => binding_request(&username(call), b"0123456789012345678901", [1; 12], true),
        4 => {
            let mut changed = copy;
            let at = usize::try_from(dice.roll(changed.len() as u64)).unwrap();
            // The fingerprint proves nothing.
            let last = changed.len().saturating_sub(9);
            changed[at.min(last)] ^= 1 << dice.roll(8);
            changed
        }
        5 => copy[..usize::try_from(dice.roll(copy.len() as u64)).unwrap()].to_vec(),
        _ => (0..dice.roll(60))
            .map(|_| u8::try_from(dice.roll(256)).unwrap())
            .collect(),
    }
}
