//! The SRT table between callers and origins that lose, repeat and reorder packets, and cases that break other relays.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluicegate_core::dialect::{ClientDialects, Dialect};
use sluicegate_core::flow::{
    ClientPath, DropReason, Fate, FlowId, Flows as _, Input, LinkId, Output,
};
use sluicegate_core::srt::cookie::Cookies;
use sluicegate_core::srt::extension::{Extensions, stream_id};
use sluicegate_core::srt::flows::{End, Event, Failure, Flows, Limits};
use sluicegate_core::srt::packet::{
    HAS_CONFIG, HAS_HANDSHAKE, Handshake, MAGIC, Rejection, Step, shutdown,
};
use sluicegate_core::stream::Action;

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some moment to start from"
)]
fn start() -> Instant {
    Instant::now()
}

fn table(now: Instant) -> Flows {
    let limits = Limits {
        flows: 1000,
        idle: Duration::from_secs(10),
        per_source: 1000,
        default_stream_id: "live/default".to_owned(),
    };
    Flows::new(limits, Cookies::new([1; 32], now), 7)
}

fn path(port: u16) -> ClientPath {
    ClientPath {
        remote: SocketAddr::from(([192, 0, 2, 1], port)),
        local: None,
        entry: 0,
    }
}

const ORIGIN: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
    10080,
);
const LINK: LinkId = LinkId(3);

fn handshake(step: Step, socket_id: u32, cookie: u32, extensions: &[u8]) -> Handshake<'_> {
    let induction = step == Step::Induction;
    Handshake {
        timestamp: 1000,
        destination: 0,
        version: if induction { 4 } else { 5 },
        encryption: 0,
        extension: if induction {
            2
        } else {
            HAS_HANDSHAKE | HAS_CONFIG
        },
        initial_sequence: 5,
        mtu: 1500,
        window: 8192,
        step,
        socket_id,
        cookie,
        peer_ip: [0; 16],
        extensions,
    }
}

/// The handshake extension, and a stream id.
fn asks(id: &str) -> Vec<u8> {
    let request = [0, 1, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
    match id {
        "" => request.to_vec(),
        id => [request.as_slice(), &stream_id(id)].concat(),
    }
}

fn agrees() -> Vec<u8> {
    vec![0, 2, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120]
}

/// Sends as a client, and returns what comes back, if anything.
fn client(table: &mut Flows, now: Instant, path: ClientPath, packet: &[u8]) -> (Fate, Vec<u8>) {
    let mut data = packet.to_vec();
    let fate = table.handle(
        now,
        Input::Client {
            path,
            data: &mut data,
        },
    );
    if let Fate::Reply { len } = fate {
        data.truncate(len);
    }
    (fate, data)
}

fn origin(table: &mut Flows, now: Instant, packet: &[u8]) -> (Fate, Vec<u8>) {
    let mut data = packet.to_vec();
    let fate = table.handle(
        now,
        Input::Origin {
            link: LINK,
            data: &mut data,
        },
    );
    (fate, data)
}

fn cookie(table: &mut Flows, now: Instant, path: ClientPath, socket_id: u32) -> u32 {
    let packet = handshake(Step::Induction, socket_id, 0, &[]).write();
    let (fate, reply) = client(table, now, path, &packet);
    assert_eq!(fate, Fate::Reply { len: 64 });
    let reply = Handshake::parse(&reply).unwrap();
    assert_eq!((reply.version, reply.extension), (5, MAGIC));
    assert_eq!(reply.destination, socket_id);
    reply.cookie
}

fn outputs(table: &mut Flows) -> Vec<Output<Event>> {
    std::iter::from_fn(|| table.poll_output()).collect()
}

/// A caller up to the point where its stream is to be placed.
fn call(table: &mut Flows, now: Instant, path: ClientPath, socket_id: u32) -> FlowId {
    let cookie = cookie(table, now, path, socket_id);
    let asked = asks("#!::r=live/a,m=publish");
    let packet = handshake(Step::Conclusion, socket_id, cookie, &asked).write();
    assert_eq!(client(table, now, path, &packet).0, Fate::Kept);
    match outputs(table).as_slice() {
        [Output::Event(Event::Asked { flow, .. })] => *flow,
        other => panic!("{other:?}"),
    }
}

/// The only packet that was sent, and to whom.
fn said(table: &mut Flows) -> Vec<u8> {
    match outputs(table).pop() {
        Some(Output::ToOrigin { data, .. } | Output::ToClient { data, .. }) => data,
        other => panic!("{other:?}"),
    }
}

/// The origin that is tried answers the induction with its cookie; returns what it is sent then.
fn induced(table: &mut Flows, now: Instant, flow: FlowId) -> Vec<u8> {
    let mut answer = handshake(Step::Induction, flow.0, 77, &[]);
    (answer.version, answer.extension, answer.destination) = (5, MAGIC, flow.0);
    assert_eq!(origin(table, now, &answer.write()).0, Fate::Kept);
    said(table)
}

/// Joins a caller whose origin knows it as `leg`; returns what the caller was answered.
fn join(
    table: &mut Flows,
    now: Instant,
    path: ClientPath,
    socket_id: u32,
    leg: u32,
) -> (FlowId, Vec<u8>) {
    let flow = call(table, now, path, socket_id);
    table.attempt(now, flow, LINK, ORIGIN);
    let first = said(table);
    let first = Handshake::parse(&first).unwrap();
    assert_eq!(
        (first.step, first.cookie, first.version),
        (Step::Induction, 0, 4)
    );
    assert_eq!(first.socket_id, flow.0, "a socket id of our own");
    let second = induced(table, now, flow);
    let second = Handshake::parse(&second).unwrap();
    assert_eq!(
        (second.step, second.cookie),
        (Step::Conclusion, 77),
        "with the origin's cookie"
    );
    let agreed = agrees();
    let mut answer = handshake(Step::Conclusion, leg, 77, &agreed);
    (answer.destination, answer.extension) = (flow.0, HAS_HANDSHAKE);
    assert_eq!(origin(table, now, &answer.write()).0, Fate::Kept);
    assert_eq!(outputs(table), [Output::Event(Event::Answered { flow })]);
    table.join(now, flow);
    let reply = said(table);
    let told = Handshake::parse(&reply).unwrap();
    assert_eq!((told.destination, told.socket_id), (socket_id, flow.0));
    assert_eq!(told.extensions, agreed);
    (flow, reply)
}

fn packet(first: u32, destination: u32) -> Vec<u8> {
    let mut packet = vec![9; 40];
    packet[..4].copy_from_slice(&first.to_be_bytes());
    packet[12..16].copy_from_slice(&destination.to_be_bytes());
    packet
}

#[test]
fn packets_pass_both_ways_readdressed_and_nothing_else_changes() {
    let now = start();
    let mut table = table(now);
    let (one, _) = join(&mut table, now, path(1), 500, 900);
    // Another caller with the same socket id, and another origin's socket with the same id.
    let (two, _) = join(&mut table, now, path(2), 500, 900);
    for first in [
        0x0000_0001,
        0x8001_0000,
        0x8002_0000,
        0x8003_0000,
        0x8006_0000,
        0xffff_0003,
    ] {
        let (fate, sent) = client(&mut table, now, path(1), &packet(first, one.0));
        assert_eq!(fate, Fate::ToOrigin { link: LINK });
        assert_eq!(sent, packet(first, 900));
        let (fate, sent) = origin(&mut table, now, &packet(first, two.0));
        assert_eq!(
            fate,
            Fate::ToClient {
                flow: two,
                path: path(2)
            }
        );
        assert_eq!(sent, packet(first, 500));
    }
    let mut seen = Vec::new();
    table.traffic(|flow, traffic| seen.push((flow, traffic.to_client, traffic.to_origin)));
    assert_eq!(seen, [(one, 0, 240), (two, 240, 0)]);
}

#[test]
fn what_breaks_others_is_dropped_or_refused() {
    let now = start();
    let mut table = table(now);
    let asked = asks("live/a");
    let cookie = cookie(&mut table, now, path(1), 5);
    let with =
        |cookie, extensions: &[u8]| handshake(Step::Conclusion, 5, cookie, extensions).write();
    let cut = |more: &[u8]| [asked.as_slice(), more].concat();
    let mut old = handshake(Step::Conclusion, 5, cookie, &asked);
    old.version = 4;
    let no = |code: Rejection| Err(code);
    let dropped = |reason| Ok(Fate::Drop(reason));
    for (cause, packet, expected) in [
        (
            "K3: a conclusion without an induction",
            with(123, &asked),
            dropped(DropReason::Forged),
        ),
        (
            "K4: extensions that end in two bytes",
            with(cookie, &cut(&[0, 5])),
            no(Rejection::BAD_REQUEST),
        ),
        (
            "K4: extensions that end in three bytes",
            with(cookie, &cut(&[0, 5, 0])),
            no(Rejection::BAD_REQUEST),
        ),
        (
            "a length that overflows",
            with(cookie, &cut(&[0, 7, 0x40, 0])),
            no(Rejection::BAD_REQUEST),
        ),
        (
            "K6: any packet with a new socket id",
            packet(1, 0x1234),
            dropped(DropReason::UnknownFlow),
        ),
        (
            "K6: data for nobody",
            packet(1, 0),
            dropped(DropReason::UnknownFlow),
        ),
        (
            "K7: a constant cookie",
            with(0x418d_5e4e, &asked),
            dropped(DropReason::Forged),
        ),
        (
            "a header that is cut off",
            vec![0x80; 15],
            dropped(DropReason::Malformed),
        ),
        (
            "a handshake that is cut off",
            with(cookie, &[])[..63].to_vec(),
            dropped(DropReason::Malformed),
        ),
        (
            "no socket id",
            handshake(Step::Induction, 0, 0, &[]).write(),
            dropped(DropReason::Malformed),
        ),
        ("version 4", old.write(), no(Rejection::VERSION)),
        (
            "a rendezvous",
            handshake(Step::Wavehand, 5, 0, &[]).write(),
            no(Rejection::BAD_MODE),
        ),
        (
            "no stream but a parent in the id",
            with(cookie, &asks("#!::r=live/..,m=publish")),
            no(Rejection::BAD_REQUEST),
        ),
        (
            "an unknown mode",
            with(cookie, &asks("#!::r=a/b,m=x")),
            no(Rejection::BAD_REQUEST),
        ),
    ] {
        let (fate, reply) = client(&mut table, now, path(1), &packet);
        match expected {
            Ok(expected) => assert_eq!(fate, expected, "{cause}"),
            Err(code) => {
                assert_eq!(fate, Fate::Reply { len: 64 }, "{cause}");
                let reply = Handshake::parse(&reply).unwrap();
                assert_eq!(reply.step, Step::Rejection(code), "{cause}");
                assert_eq!(reply.destination, 5, "{cause}");
            }
        }
        assert!(table.is_empty(), "{cause}: nothing is kept");
    }
}

#[test]
fn k5_a_silent_origin_holds_up_its_own_callers_only() {
    let now = start();
    let mut table = table(now);
    let (playing, _) = join(&mut table, now, path(9), 1, 2);
    let waiting: Vec<FlowId> = (100..300)
        .map(|port| {
            let flow = call(&mut table, now, path(port), u32::from(port));
            table.attempt(now, flow, LinkId(8), ORIGIN);
            said(&mut table);
            flow
        })
        .collect();
    let later = now + Duration::from_millis(300);
    let (fate, _) = client(&mut table, later, path(9), &packet(1, playing.0));
    assert_eq!(fate, Fate::ToOrigin { link: LINK });
    table.handle(later, Input::Timeout);
    assert_eq!(outputs(&mut table).len(), 200, "each is asked again");
    for flow in waiting {
        table.reject(later, flow, Rejection::GATEWAY);
    }
    let told = outputs(&mut table);
    assert_eq!(told.len(), 200);
    assert!(
        told.iter()
            .all(|output| matches!(output, Output::ToClient { .. }))
    );
    assert_eq!(table.open(), 1);
}

#[test]
fn an_origin_is_heard_when_it_answers_the_first_packet() {
    let now = start();
    let mut table = table(now);
    let flow = call(&mut table, now, path(1), 5);
    assert!(!table.has_heard(flow), "nobody is asked");
    table.attempt(now, flow, LINK, ORIGIN);
    said(&mut table);
    assert!(!table.has_heard(flow));
    induced(&mut table, now, flow);
    assert!(table.has_heard(flow));
    table.attempt(now, flow, LinkId(8), ORIGIN);
    assert!(!table.has_heard(flow), "another is heard by itself");
    assert!(!table.has_heard(FlowId(flow.0 ^ (1 << 20))), "no such flow");
}

#[test]
fn a_caller_that_asks_no_more_has_given_up() {
    for repeats in [true, false] {
        let mut now = start();
        let mut table = table(now);
        let flow = call(&mut table, now, path(1), 5);
        let cookie = cookie(&mut table, now, path(1), 5);
        let asked = asks("#!::r=live/a,m=publish");
        let packet = handshake(Step::Conclusion, 5, cookie, &asked).write();
        table.attempt(now, flow, LINK, ORIGIN);
        said(&mut table);
        induced(&mut table, now, flow);
        let closed = |table: &mut Flows| {
            let told = outputs(table);
            told.iter().any(|output| {
                let end = match output {
                    Output::Event(Event::Closed { flow: one, end, .. }) if *one == flow => *end,
                    _ => return false,
                };
                end == End::ClientIdle
            })
        };
        for _ in 0..if repeats { 20 } else { 0 } {
            now += Duration::from_millis(250);
            let (fate, _) = client(&mut table, now, path(1), &packet);
            assert_eq!(fate, Fate::Drop(DropReason::Untimely));
            table.handle(now, Input::Timeout);
            assert!(!closed(&mut table), "it waits for as long as it asks");
        }
        now += Duration::from_millis(1100);
        table.handle(now, Input::Timeout);
        assert_eq!(
            closed(&mut table),
            repeats,
            "one that never repeats may wait"
        );
        assert_eq!(table.is_empty(), repeats);
    }
}

#[test]
fn a_flood_of_inductions_leaves_nothing() {
    let now = start();
    let mut table = table(now);
    for number in 0..100_000_u32 {
        let [a, b, c, d] = number.to_be_bytes();
        let path = ClientPath {
            remote: SocketAddr::from(([10, b, c, d], 5000 + u16::from(a))),
            ..path(1)
        };
        let packet = handshake(Step::Induction, number + 1, 0, &[]).write();
        assert_eq!(
            client(&mut table, now, path, &packet).0,
            Fate::Reply { len: 64 }
        );
    }
    assert!(table.is_empty() && table.poll_output().is_none());
    assert_eq!(table.poll_timeout(), None);
}

#[test]
fn a_repeated_conclusion_is_answered_from_the_flow() {
    let now = start();
    let mut table = table(now);
    let cookie = cookie(&mut table, now, path(1), 5);
    let asked = asks("#!::r=live/a,m=publish");
    let packet = handshake(Step::Conclusion, 5, cookie, &asked).write();
    let (_, told) = join(&mut table, now, path(1), 5, 9);
    let later = now + Duration::from_millis(250);
    assert_eq!(client(&mut table, later, path(1), &packet).0, Fate::Kept);
    let again = said(&mut table);
    let (told, again) = (
        Handshake::parse(&told).unwrap(),
        Handshake::parse(&again).unwrap(),
    );
    assert_eq!(
        again.timestamp,
        told.timestamp + 250_000,
        "its time has passed meanwhile"
    );
    assert_eq!(
        (again.socket_id, again.extensions),
        (told.socket_id, told.extensions)
    );
    assert_eq!(table.len(), 1);

    // The same address and socket id, but another connection.
    let mut other = handshake(Step::Conclusion, 5, cookie, &asked);
    other.initial_sequence = 6;
    assert_eq!(
        client(&mut table, later, path(1), &other.write()).0,
        Fate::Kept
    );
    let said = outputs(&mut table);
    assert!(
        matches!(
            said.as_slice(),
            [
                Output::ToOrigin { .. },
                Output::Event(Event::Closed {
                    end: End::ClientClosed,
                    ..
                }),
                Output::Event(Event::Asked { .. })
            ]
        ),
        "{said:?}"
    );
}

#[test]
fn a_caller_that_is_refused_for_its_stream_id_is_told_of_with_the_rule() {
    let now = start();
    let mut table = table(now);
    let cookie = cookie(&mut table, now, path(1), 5);
    let asked = asks("#!::r=live/../a,m=publish,u=me,s=secret");
    let conclusion = handshake(Step::Conclusion, 5, cookie, &asked).write();
    let (fate, _) = client(&mut table, now, path(1), &conclusion);
    assert!(matches!(fate, Fate::Reply { .. }), "{fate:?}");
    let said = outputs(&mut table);
    let [
        Output::Event(Event::Unasked {
            code, named, why, ..
        }),
    ] = said.as_slice()
    else {
        panic!("{said:?}");
    };
    assert_eq!(*code, Rejection::BAD_REQUEST);
    assert_eq!(named, "#!::m=publish,u=…,s=…,r=live/../a");
    assert!(!why.is_empty());
    assert!(table.is_empty());
}

#[test]
fn an_origins_no_reaches_the_caller_as_it_is_and_again() {
    let now = start();
    let mut table = table(now);
    let flow = call(&mut table, now, path(1), 5);
    table.attempt(now, flow, LINK, ORIGIN);
    outputs(&mut table);
    let mut no = handshake(Step::Rejection(Rejection(1010)), flow.0, 0, &[]);
    no.destination = flow.0;
    assert_eq!(origin(&mut table, now, &no.write()).0, Fate::Kept);
    let said = outputs(&mut table);
    let [Output::ToClient { data, .. }, Output::Event(event)] = said.as_slice() else {
        panic!("{said:?}");
    };
    assert_eq!(
        Handshake::parse(data).unwrap().step,
        Step::Rejection(Rejection(1010))
    );
    assert_eq!(
        *event,
        Event::Rejected {
            flow,
            code: Rejection(1010)
        }
    );
    let cookie = cookie(&mut table, now, path(1), 5);
    let asked = asks("#!::r=live/a,m=publish");
    let again = handshake(Step::Conclusion, 5, cookie, &asked).write();
    assert_eq!(client(&mut table, now, path(1), &again).0, Fate::Kept);
    assert!(matches!(
        outputs(&mut table).as_slice(),
        [Output::ToClient { .. }]
    ));
    table.handle(now + Duration::from_secs(2), Input::Timeout);
    assert!(table.is_empty());
}

#[test]
fn a_caller_without_a_stream_id_gets_the_default_one_and_so_does_its_origin() {
    let now = start();
    let mut table = table(now);
    let cookie = cookie(&mut table, now, path(1), 5);
    let asked = asks("");
    let mut packet = handshake(Step::Conclusion, 5, cookie, &asked);
    packet.extension = HAS_HANDSHAKE;
    assert_eq!(
        client(&mut table, now, path(1), &packet.write()).0,
        Fate::Kept
    );
    let said_first = outputs(&mut table);
    let [Output::Event(Event::Asked { flow, asked, .. })] = said_first.as_slice() else {
        panic!("{said_first:?}");
    };
    assert_eq!(asked.stream.to_string(), "__defaultVhost__/live/default");
    assert_eq!(asked.action, Action::Play);
    table.attempt(now, *flow, LINK, ORIGIN);
    outputs(&mut table);
    let second = induced(&mut table, now, *flow);
    let second = Handshake::parse(&second).unwrap();
    assert_eq!(second.extension, HAS_HANDSHAKE | HAS_CONFIG);
    assert!(second.extensions.ends_with(&stream_id("live/default")));
}

#[test]
fn an_id_that_its_own_server_would_misread_is_written_for_it() {
    let clients = |usual, rule: &str| ClientDialects {
        usual,
        rules: rule.parse().ok().into_iter().collect(),
        names: Vec::new(),
    };
    let rows = [
        (
            "OME, no vhost",
            Dialect::Ome,
            "app/s?t=1",
            "default/app/s?t=1",
        ),
        ("OME, a vhost", Dialect::Ome, "h.com/app/s", "h.com/app/s"),
        (
            "SRS, a Blackmagic encoder",
            Dialect::Srs,
            "#!::u=K,bmd_uuid=1,t=2",
            "#!::r=live/K?t=2,m=publish",
        ),
        (
            "SRS",
            Dialect::Srs,
            "#!::r=live/K,m=publish",
            "#!::r=live/K,m=publish",
        ),
    ];
    for (cause, dialect, id, expected) in rows {
        let now = start();
        let dialects = clients(dialect, &format!(":9999 {dialect} publish"));
        let mut table = table(now).of_clients(Arc::new(dialects), vec![9999]);
        let cookie = cookie(&mut table, now, path(1), 5);
        let packet = handshake(Step::Conclusion, 5, cookie, &asks(id)).write();
        assert_eq!(
            client(&mut table, now, path(1), &packet).0,
            Fate::Kept,
            "{cause}"
        );
        let said = outputs(&mut table);
        let [Output::Event(Event::Asked { flow, asked, .. })] = said.as_slice() else {
            panic!("{cause}: {said:?}");
        };
        assert_eq!(asked.action, Action::Publish, "{cause}");
        table.attempt(now, *flow, LINK, ORIGIN);
        outputs(&mut table);
        let told = induced(&mut table, now, *flow);
        let told = Handshake::parse(&told).unwrap();
        let read = Extensions::parse(told.extensions, told.extension).unwrap();
        assert_eq!(read.stream_id.as_deref(), Some(expected), "{cause}");
    }
}

#[test]
fn a_link_of_a_bond_passes_as_a_caller_of_its_own() {
    // The group extension (section 3.2.1.4): its id, its type and its flags, then the weight of the link.
    const GROUP: [u8; 12] = [0, 8, 0, 2, 0x40, 0, 0, 7, 1, 1, 0, 5];
    let now = start();
    let mut table = table(now);
    let asked = [asks("#!::r=live/a,m=publish"), GROUP.to_vec()].concat();
    let mut flows = BTreeSet::new();
    for link in 1..=2 {
        let cookie = cookie(&mut table, now, path(link), u32::from(link));
        let packet = handshake(Step::Conclusion, u32::from(link), cookie, &asked).write();
        assert_eq!(client(&mut table, now, path(link), &packet).0, Fate::Kept);
        let said_first = outputs(&mut table);
        let [Output::Event(Event::Asked { flow, asked, .. })] = said_first.as_slice() else {
            panic!("{said_first:?}");
        };
        assert_eq!(asked.stream.to_string(), "__defaultVhost__/live/a");
        flows.insert(*flow);
        table.attempt(now, *flow, LINK, ORIGIN);
        outputs(&mut table);
        let second = induced(&mut table, now, *flow);
        let second = Handshake::parse(&second).unwrap();
        assert!(second.extensions.ends_with(&GROUP), "its origin is told");
    }
    assert_eq!(flows.len(), 2);
    // A caller whose extension has an invalid size is rejected.
    let cookie = cookie(&mut table, now, path(3), 3);
    let broken = [asks("live/a"), GROUP[..8].to_vec()].concat();
    let mut broken = handshake(Step::Conclusion, 3, cookie, &broken).write();
    let at = broken.len() - 5;
    broken[at] = 1;
    let (fate, reply) = client(&mut table, now, path(3), &broken);
    assert_eq!(fate, Fate::Reply { len: 64 });
    let reply = Handshake::parse(&reply).unwrap();
    assert_eq!(reply.step, Step::Rejection(Rejection::BAD_REQUEST));
}

#[test]
fn flows_end_by_goodbye_silence_and_refusal() {
    type Ends = fn(&mut Flows, Instant, FlowId);
    let goodbye: Ends = |table, now, flow| {
        let (fate, _) = client(table, now, path(1), &shutdown(flow.0));
        assert_eq!(fate, Fate::ToOrigin { link: LINK });
    };
    let origin_leaves: Ends = |table, now, flow| {
        let (fate, sent) = origin(table, now, &shutdown(flow.0));
        assert_eq!(
            fate,
            Fate::ToClient {
                flow,
                path: path(1)
            }
        );
        assert_eq!(sent, shutdown(5));
    };
    let client_silent: Ends = |table, now, flow| {
        for second in 0..12 {
            origin(
                table,
                now + Duration::from_secs(second),
                &packet(0x8001_0000, flow.0),
            );
            table.handle(now + Duration::from_secs(second), Input::Timeout);
        }
    };
    let origin_silent: Ends = |table, now, flow| {
        for second in 0..12 {
            client(
                table,
                now + Duration::from_secs(second),
                path(1),
                &packet(1, flow.0),
            );
            table.handle(now + Duration::from_secs(second), Input::Timeout);
        }
    };
    let refused: Ends = |table, now, _| {
        table.handle(now, Input::Refused { link: LINK });
        assert_eq!(table.open(), 1, "a message alone does not end what lives");
        table.handle(now + Duration::from_secs(2), Input::Refused { link: LINK });
    };
    let asked: Ends = |table, _, flow| table.close(flow);
    for (cause, ends, end, farewells) in [
        ("the caller says goodbye", goodbye, End::ClientClosed, 0),
        (
            "the origin says goodbye",
            origin_leaves,
            End::OriginClosed,
            0,
        ),
        ("the caller is silent", client_silent, End::ClientIdle, 2),
        ("the origin is silent", origin_silent, End::OriginIdle, 2),
        ("nobody listens any more", refused, End::OriginClosed, 1),
        ("a kick", asked, End::Asked, 2),
    ] {
        let now = start();
        let mut table = table(now);
        let (flow, _) = join(&mut table, now, path(1), 5, 9);
        ends(&mut table, now, flow);
        let said = outputs(&mut table);
        let ended: Vec<End> = said
            .iter()
            .filter_map(|output| match output {
                Output::Event(Event::Closed { end, .. }) => Some(*end),
                _ => None,
            })
            .collect();
        assert_eq!(ended, [end], "{cause}");
        assert_eq!(said.len(), 1 + farewells, "{cause}: {said:?}");
        assert!(table.is_empty() && !table.uses(LINK), "{cause}");
    }
}

#[test]
fn an_attempt_fails_at_once_where_nobody_listens_or_speaks_otherwise() {
    let now = start();
    let mut table = table(now);
    let flow = call(&mut table, now, path(1), 5);
    table.attempt(now, flow, LINK, ORIGIN);
    outputs(&mut table);
    table.handle(now, Input::Refused { link: LINK });
    let failed = |why| [Output::Event(Event::Failed { flow, why })];
    assert_eq!(outputs(&mut table), failed(Failure::Refused));
    table.attempt(now, flow, LINK, ORIGIN);
    outputs(&mut table);
    let mut old = handshake(Step::Induction, flow.0, 77, &[]);
    old.destination = flow.0;
    origin(&mut table, now, &old.write());
    assert_eq!(outputs(&mut table), failed(Failure::NotSrt));
}

#[test]
fn only_the_flows_own_address_and_link_are_heard() {
    let now = start();
    let mut table = table(now);
    let (flow, _) = join(&mut table, now, path(1), 5, 9);
    for guess in 0..100_000_u32 {
        let (fate, _) = client(
            &mut table,
            now,
            path(2),
            &packet(1, guess.wrapping_mul(10_007)),
        );
        assert!(matches!(fate, Fate::Drop(_)), "{fate:?}");
    }
    let (fate, _) = client(&mut table, now, path(2), &packet(0x8005_0000, flow.0));
    assert_eq!(fate, Fate::Drop(DropReason::ForeignAddress));
    let mut data = packet(1, flow.0);
    let fate = table.handle(
        now,
        Input::Origin {
            link: LinkId(4),
            data: &mut data,
        },
    );
    assert_eq!(fate, Fate::Drop(DropReason::ForeignAddress));
    assert_eq!(table.open(), 1);
}

#[test]
fn a_flood_that_is_refused_is_told_of_once_a_second() {
    let mut now = start();
    let limits = Limits {
        flows: 1000,
        idle: Duration::from_secs(10),
        per_source: 10,
        default_stream_id: String::new(),
    };
    let mut table = Flows::new(limits, Cookies::new([1; 32], now), 7);
    for second in 0..3 {
        for call in 1..=60 {
            let id = second * 100 + call;
            let cookie = cookie(&mut table, now, path(1), id);
            let asked = asks("live/a");
            let packet = handshake(Step::Conclusion, id, cookie, &asked).write();
            client(&mut table, now, path(1), &packet);
        }
        let told = outputs(&mut table);
        let told = told.iter().filter(|output| match output {
            Output::Event(Event::Unasked { code, why, .. }) => {
                *code == Rejection::OVERLOAD && why.contains("srt.calls_per_source")
            }
            _ => false,
        });
        assert_eq!(told.count(), 1, "{second}");
        now += Duration::from_secs(1);
    }
}

#[test]
fn an_id_that_names_nothing_is_none() {
    let now = start();
    for (cause, extensions) in [
        ("no id", asks("")),
        ("an empty extension", [asks(""), vec![0, 5, 0, 0]].concat()),
        (
            "an empty key",
            asks("#!::bmd_uuid=eec33b75,bmd_name=Presenter 4K"),
        ),
        ("escaped", asks("%23!::bmd_uuid=eec33b75")),
        ("a mode alone", asks("#!::m=publish")),
        ("a prefix alone", asks("#!::")),
    ] {
        let mut table = table(now);
        let cookie = cookie(&mut table, now, path(1), 5);
        let conclusion = handshake(Step::Conclusion, 5, cookie, &extensions).write();
        client(&mut table, now, path(1), &conclusion);
        let heard = outputs(&mut table);
        let [Output::Event(Event::Asked { flow, asked, .. })] = heard.as_slice() else {
            panic!("{cause}: {heard:?}");
        };
        let stream = asked.stream.to_string();
        assert_eq!(stream, "__defaultVhost__/live/default", "{cause}");
        let flow = *flow;
        table.attempt(now, flow, LINK, ORIGIN);
        said(&mut table);
        let seen = induced(&mut table, now, flow);
        let seen = Handshake::parse(&seen).expect("a conclusion");
        let seen = Extensions::parse(seen.extensions, seen.extension).expect("extensions");
        assert_eq!(seen.stream_id.as_deref(), Some("live/default"), "{cause}");
    }
}

#[test]
fn who_calls_in_rendezvous_mode_or_too_late_is_told_of_once_a_second() {
    let mut now = start();
    let mut table = table(now);
    let mut codes = Vec::new();
    let mut hear = |table: &mut Flows| {
        for output in outputs(table) {
            if let Output::Event(Event::Unasked { code, why, .. }) = output {
                codes.push((code, why));
            }
        }
    };
    for second in 0..2 {
        for call in 1..=9 {
            let wave = handshake(Step::Wavehand, second * 100 + call, 0, &[]).write();
            let (fate, _) = client(&mut table, now, path(1), &wave);
            assert!(matches!(fate, Fate::Reply { .. }), "{fate:?}");
        }
        hear(&mut table);
        now += Duration::from_secs(1);
    }
    table.stop();
    for call in 1..=9 {
        let cookie = cookie(&mut table, now, path(1), call);
        let packet = handshake(Step::Conclusion, call, cookie, &asks("live/a")).write();
        client(&mut table, now, path(1), &packet);
    }
    hear(&mut table);
    let [(first, why), (second, _), (third, stops)] = codes.as_slice() else {
        panic!("{codes:?}");
    };
    assert_eq!(
        [*first, *second, *third],
        [Rejection::BAD_MODE, Rejection::BAD_MODE, Rejection::DOWN]
    );
    assert!(
        why.contains("rendezvous") && stops.contains("stopping"),
        "{codes:?}"
    );
}

#[test]
fn one_address_may_call_so_often_and_others_go_on() {
    let now = start();
    let limits = Limits {
        flows: 1000,
        idle: Duration::from_secs(10),
        per_source: 10,
        default_stream_id: String::new(),
    };
    let mut table = Flows::new(limits, Cookies::new([1; 32], now), 7);
    let mut taken = |now, path: ClientPath, socket_id| {
        let cookie = cookie(&mut table, now, path, socket_id);
        let asked = asks("live/a");
        let packet = handshake(Step::Conclusion, socket_id, cookie, &asked).write();
        client(&mut table, now, path, &packet).0 == Fate::Kept
    };
    let at_once = (1..100).filter(|id| taken(now, path(1), *id)).count();
    assert_eq!(at_once, 20, "two seconds' worth");
    let other = ClientPath {
        remote: SocketAddr::from(([198, 51, 100, 7], 1)),
        ..path(1)
    };
    assert!(taken(now, other, 1), "another address");
    let later = now + Duration::from_secs(1);
    let again = (200..300).filter(|id| taken(later, path(1), *id)).count();
    assert_eq!(again, 10);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Callers and origins over a network that loses, repeats and reorders: every caller is joined, every packet
    /// reaches its own peer, and nothing is left after a silence.
    #[test]
    fn every_caller_is_joined_over_a_bad_network(seed: u64, loss in 0_u64..40) {
        let mut world = World::new(seed, loss);
        for _ in 0..600 {
            world.step();
        }
        prop_assert_eq!(world.joined.len(), CALLERS as usize, "all are joined");
        prop_assert!(world.heard.values().all(|packets| !packets.is_empty()));
        for _ in 0..300 {
            world.now += Duration::from_millis(50);
            world.table.handle(world.now, Input::Timeout);
        }
        outputs(&mut world.table);
        prop_assert!(world.table.is_empty());
        prop_assert_eq!(world.table.poll_timeout(), None);
    }
}

const CALLERS: u16 = 8;

/// Callers, a table and one origin, with a clock of their own.
struct World {
    now: Instant,
    random: u64,
    loss: u64,
    table: Flows,
    /// Packets in flight: when they arrive, where, and their bytes.
    wire: Vec<(Instant, Whom, Vec<u8>)>,
    /// Callers that know about their connection, with the socket id that they write to.
    joined: BTreeMap<u16, u32>,
    cookies: BTreeMap<u16, u32>,
    heard: BTreeMap<u16, BTreeSet<u8>>,
    /// When the table last received something from each caller.
    received: BTreeMap<u16, Instant>,
    /// Whose flow each is.
    callers: BTreeMap<FlowId, u16>,
}

#[derive(Debug, Clone, Copy)]
enum Whom {
    Caller(u16),
    Origin,
    TableFromCaller(u16),
    TableFromOrigin,
}

impl World {
    fn new(seed: u64, loss: u64) -> Self {
        let now = start();
        Self {
            now,
            random: seed,
            loss,
            table: table(now),
            wire: Vec::new(),
            joined: BTreeMap::new(),
            cookies: BTreeMap::new(),
            heard: BTreeMap::new(),
            received: BTreeMap::new(),
            callers: BTreeMap::new(),
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.random >> 33) % below
    }

    fn send(&mut self, whom: Whom, packet: Vec<u8>) {
        for _ in 0..1 + self.draw(2) {
            if self.draw(100) >= self.loss {
                let at = self.now + Duration::from_millis(self.draw(40));
                self.wire.push((at, whom, packet.clone()));
            }
        }
    }

    /// A step of 10 ms.
    fn step(&mut self) {
        self.now += Duration::from_millis(10);
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.wire = later;
        let due: Vec<(Instant, Whom, Vec<u8>)> = due;
        for (_, whom, packet) in due {
            self.arrive(whom, packet);
        }
        self.table.handle(now, Input::Timeout);
        self.listen();
        for port in 1..=CALLERS {
            if self.draw(20) == 0 {
                self.speak(port);
            }
        }
    }

    fn speak(&mut self, port: u16) {
        // All callers have the same socket id: each has its own address.
        let packet = match (self.joined.get(&port), self.cookies.get(&port)) {
            (Some(id), _) => {
                let mut packet = packet(1, *id);
                packet[20] = port as u8;
                packet
            }
            (None, Some(cookie)) => handshake(
                Step::Conclusion,
                42,
                *cookie,
                &asks("#!::r=live/a,m=publish"),
            )
            .write(),
            (None, None) => handshake(Step::Induction, 42, 0, &[]).write(),
        };
        self.send(Whom::TableFromCaller(port), packet);
    }

    fn arrive(&mut self, whom: Whom, mut packet: Vec<u8>) {
        let now = self.now;
        match whom {
            Whom::TableFromCaller(port) => {
                self.received.insert(port, now);
                let (fate, data) = client(&mut self.table, now, path(port), &packet);
                match fate {
                    Fate::Reply { .. } => self.send(Whom::Caller(port), data),
                    Fate::ToOrigin { .. } => self.send(Whom::Origin, data),
                    _ => {}
                }
            }
            Whom::TableFromOrigin => {
                let link = LINK;
                let fate = self.table.handle(
                    now,
                    Input::Origin {
                        link,
                        data: &mut packet,
                    },
                );
                if let Fate::ToClient { path, .. } = fate {
                    self.send(Whom::Caller(path.remote.port()), packet);
                }
            }
            Whom::Caller(port) => match Handshake::parse(&packet) {
                Ok(handshake) if handshake.step == Step::Induction => {
                    self.cookies.insert(port, handshake.cookie);
                }
                Ok(handshake) => {
                    assert_eq!(handshake.step, Step::Conclusion);
                    let before = self.joined.insert(port, handshake.socket_id);
                    assert!(before.is_none_or(|id| id == handshake.socket_id));
                }
                Err(_) => {
                    assert_eq!(packet[20], port as u8, "its own packet, and nobody else's");
                    self.heard.entry(port).or_default().insert(packet[20]);
                }
            },
            Whom::Origin => self.answer(&packet),
        }
    }

    /// The origin, which agrees to everything, and sends packets back.
    fn answer(&mut self, packet: &[u8]) {
        let agreed = agrees();
        let answer = match Handshake::parse(packet) {
            Ok(asked) if asked.step == Step::Induction => Handshake {
                destination: asked.socket_id,
                version: 5,
                extension: MAGIC,
                cookie: 77,
                ..asked
            }
            .write(),
            Ok(asked) => Handshake {
                destination: asked.socket_id,
                socket_id: asked.socket_id + 1,
                extension: HAS_HANDSHAKE,
                extensions: &agreed,
                ..asked
            }
            .write(),
            Err(_) => {
                let mut back = packet.to_vec();
                let [.., w, x, y, z] = packet[..16] else {
                    return;
                };
                let id = u32::from_be_bytes([w, x, y, z]) - 1;
                back[12..16].copy_from_slice(&id.to_be_bytes());
                back
            }
        };
        self.send(Whom::TableFromOrigin, answer);
    }

    fn listen(&mut self) {
        let now = self.now;
        while let Some(output) = self.table.poll_output() {
            match output {
                Output::Event(Event::Asked { flow, client, .. }) => {
                    self.callers.insert(flow, client.port());
                    self.table.attempt(now, flow, LINK, ORIGIN);
                }
                Output::Event(Event::Answered { flow }) => self.table.join(now, flow),
                // A network this bad can lose all that a caller asks in a second. It asks on, and has a new flow.
                Output::Event(Event::Closed {
                    flow,
                    end: End::ClientIdle,
                    ..
                }) => {
                    let port = self.callers[&flow];
                    let silent = now - self.received[&port];
                    assert!(silent >= Duration::from_secs(1), "heard {silent:?} ago");
                    assert!(!self.joined.contains_key(&port), "{port} is joined");
                }
                Output::Event(other) => panic!("{other:?}"),
                Output::ToClient { path, data } => {
                    self.send(Whom::Caller(path.remote.port()), data);
                }
                Output::ToOrigin { data, .. } => self.send(Whom::Origin, data),
            }
        }
    }
}
