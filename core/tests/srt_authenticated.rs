//! SRT with AES-GCM: a packet's tag covers its header, and the socket id it is for. Both ends here verify such a tag, as
//! libsrt does, and drop what was changed on the way.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use sluicegate_core::flow::{
    ClientPath, DropReason, Fate, FlowId, Flows as _, Input, LinkId, Output,
};
use sluicegate_core::srt::cookie::Cookies;
use sluicegate_core::srt::extension::stream_id;
use sluicegate_core::srt::flows::{End, Event, Failure, Flows, Limits};
use sluicegate_core::srt::packet::{
    HAS_CONFIG, HAS_HANDSHAKE, HAS_KEY, Handshake, Header, Kind, MAGIC, Step,
};

#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some moment to start from"
)]
fn start() -> Instant {
    Instant::now()
}

struct House {
    now: Instant,
    table: Flows,
}

/// A caller of `port` whose socket has this id, and the origin's socket for it.
#[derive(Clone, Copy)]
struct Call {
    port: u16,
    caller: u32,
    link: LinkId,
    origin: u32,
    authenticated: bool,
}

impl Call {
    fn path(self) -> ClientPath {
        ClientPath {
            remote: SocketAddr::from(([192, 0, 2, 1], self.port)),
            local: None,
            entry: 0,
        }
    }

    fn extensions(self) -> Vec<u8> {
        let mut key = vec![0; 4 + 14 * 4];
        key[..4].copy_from_slice(&[0, 3, 0, 14]);
        (key[4 + 8], key[4 + 9]) = if self.authenticated { (4, 1) } else { (2, 0) };
        let request = [0, 1, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
        [
            request.as_slice(),
            &key,
            &stream_id("#!::r=live/a,m=publish"),
        ]
        .concat()
    }
}

impl House {
    fn new() -> Self {
        let now = start();
        let limits = Limits {
            flows: 1000,
            idle: Duration::from_secs(10),
            per_source: 1000,
            default_stream_id: String::new(),
        };
        let table = Flows::new(limits, Cookies::new([1; 32], now), 7);
        Self { now, table }
    }

    fn client(&mut self, call: Call, packet: &[u8]) -> (Fate, Vec<u8>) {
        let mut data = packet.to_vec();
        let path = call.path();
        let fate = self.table.handle(
            self.now,
            Input::Client {
                path,
                data: &mut data,
            },
        );
        (fate, data)
    }

    fn origin(&mut self, call: Call, packet: &[u8]) -> (Fate, Vec<u8>) {
        let mut data = packet.to_vec();
        let link = call.link;
        let fate = self.table.handle(
            self.now,
            Input::Origin {
                link,
                data: &mut data,
            },
        );
        (fate, data)
    }

    fn outputs(&mut self) -> Vec<Output<Event>> {
        std::iter::from_fn(|| self.table.poll_output()).collect()
    }

    /// The only packet that was sent.
    fn said(&mut self) -> Vec<u8> {
        match self.outputs().as_slice() {
            [Output::ToOrigin { data, .. } | Output::ToClient { data, .. }] => data.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn asked(&mut self, call: Call) -> FlowId {
        let packet = handshake(Step::Induction, call.caller, 0, &[]).write();
        let (_, reply) = self.client(call, &packet);
        let cookie = Handshake::parse(&reply[..64]).unwrap().cookie;
        let extensions = call.extensions();
        let packet = handshake(Step::Conclusion, call.caller, cookie, &extensions).write();
        assert_eq!(self.client(call, &packet).0, Fate::Kept);
        match self.outputs().as_slice() {
            [Output::Event(Event::Asked { flow, .. })] => *flow,
            other => panic!("{other:?}"),
        }
    }

    /// The origin is asked and agrees; returns what the table makes of it.
    fn answered(&mut self, call: Call, flow: FlowId) -> Vec<Output<Event>> {
        assert_eq!(self.table.needs_own_link(flow), call.authenticated);
        self.table.attempt(
            self.now,
            flow,
            call.link,
            SocketAddr::from(([10, 0, 0, 1], 10080)),
        );
        let first = self.said();
        let shown = Handshake::parse(&first).unwrap().socket_id;
        assert_eq!(
            shown,
            if call.authenticated {
                call.caller
            } else {
                flow.0
            }
        );
        let mut answer = handshake(Step::Induction, call.origin, 77, &[]);
        (answer.version, answer.extension, answer.destination) = (5, MAGIC, shown);
        assert_eq!(self.origin(call, &answer.write()).0, Fate::Kept);
        let second = self.said();
        assert_eq!(Handshake::parse(&second).unwrap().socket_id, shown);
        let agreed = [0, 2, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
        let mut answer = handshake(Step::Conclusion, call.origin, 77, &agreed);
        (answer.destination, answer.extension) = (shown, HAS_HANDSHAKE);
        assert_eq!(self.origin(call, &answer.write()).0, Fate::Kept);
        self.outputs()
    }

    fn join(&mut self, call: Call) -> FlowId {
        let flow = self.asked(call);
        let outputs = self.answered(call, flow);
        assert_eq!(outputs, [Output::Event(Event::Answered { flow })]);
        self.table.join(self.now, flow);
        let reply = self.said();
        let told = Handshake::parse(&reply).unwrap();
        assert_eq!(told.destination, call.caller);
        assert_eq!(
            told.socket_id,
            if call.authenticated {
                call.origin
            } else {
                flow.0
            }
        );
        flow
    }
}

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
            HAS_HANDSHAKE | HAS_KEY | HAS_CONFIG
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

/// A data packet whose last four bytes are a tag over its header.
fn sealed(destination: u32) -> Vec<u8> {
    let mut packet = vec![9; 40];
    packet[..4].copy_from_slice(&1_u32.to_be_bytes());
    packet[12..16].copy_from_slice(&destination.to_be_bytes());
    let tag = tag(&packet);
    packet.extend(tag.to_be_bytes());
    packet
}

fn tag(packet: &[u8]) -> u32 {
    packet[..16].iter().fold(0x811c_9dc5, |tag, byte| {
        (tag ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Whether a receiver with this socket id takes the packet.
fn opens(packet: &[u8], socket_id: u32) -> bool {
    let (packet, end) = packet.split_at(packet.len() - 4);
    let header = Header::parse(packet).unwrap();
    header.kind == Kind::Data && header.destination == socket_id && end == tag(packet).to_be_bytes()
}

const GCM: Call = Call {
    port: 1,
    caller: 500,
    link: LinkId(1),
    origin: 900,
    authenticated: true,
};

#[test]
fn packets_pass_both_ways_without_a_change() {
    let mut house = House::new();
    house.join(GCM);
    // The id of the caller's socket is another caller's too, and so is the id of the origin's socket.
    let other = Call {
        port: 2,
        link: LinkId(2),
        ..GCM
    };
    house.join(other);
    for call in [GCM, other] {
        let (fate, sent) = house.client(call, &sealed(call.origin));
        assert_eq!(fate, Fate::ToOrigin { link: call.link });
        assert!(opens(&sent, call.origin));
        let (fate, sent) = house.origin(call, &sealed(call.caller));
        assert!(
            matches!(fate, Fate::ToClient { path, .. } if path == call.path()),
            "{fate:?}"
        );
        assert!(opens(&sent, call.caller));
    }
}

#[test]
fn clear_and_counter_mode_flows_beside_it_are_readdressed_as_before() {
    let mut house = House::new();
    house.join(GCM);
    let counter = Call {
        port: 3,
        link: LinkId(3),
        authenticated: false,
        ..GCM
    };
    let flow = house.join(counter);
    let (fate, sent) = house.client(counter, &sealed(flow.0));
    assert_eq!(fate, Fate::ToOrigin { link: counter.link });
    assert_eq!(sent[12..16], counter.origin.to_be_bytes());
    let (fate, _) = house.client(counter, &sealed(counter.origin));
    assert_eq!(
        fate,
        Fate::Drop(DropReason::UnknownFlow),
        "the origin's id is not for this caller"
    );
}

#[test]
fn only_its_own_ids_its_address_and_its_link_are_heard() {
    let mut house = House::new();
    let flow = house.join(GCM);
    let stranger = Call {
        port: 9,
        link: LinkId(9),
        ..GCM
    };
    assert_eq!(
        house.client(stranger, &sealed(GCM.origin)).0,
        Fate::Drop(DropReason::UnknownFlow)
    );
    assert_eq!(
        house.client(stranger, &sealed(flow.0)).0,
        Fate::Drop(DropReason::ForeignAddress)
    );
    assert_eq!(
        house.origin(stranger, &sealed(GCM.caller)).0,
        Fate::Drop(DropReason::UnknownFlow)
    );
    assert_eq!(
        house.origin(GCM, &sealed(flow.0)).0,
        Fate::Drop(DropReason::UnknownFlow)
    );
}

#[test]
fn an_origin_that_chose_an_id_of_another_flow_of_the_same_caller_is_left_for_the_next() {
    let mut house = House::new();
    house.join(GCM);
    let second = Call {
        caller: 501,
        link: LinkId(2),
        ..GCM
    };
    let flow = house.asked(second);
    let failed = [Output::Event(Event::Failed {
        flow,
        why: Failure::IdTaken,
    })];
    assert_eq!(house.answered(second, flow), failed);
    let elsewhere = Call {
        link: LinkId(4),
        origin: 901,
        ..second
    };
    assert_eq!(
        house.answered(elsewhere, flow),
        [Output::Event(Event::Answered { flow })]
    );
    assert_eq!(
        house.origin(second, &sealed(second.caller)).0,
        Fate::Drop(DropReason::UnknownFlow),
        "a link that was given up"
    );
}

#[test]
fn what_a_flow_was_found_by_goes_with_it() {
    let mut house = House::new();
    let flow = house.join(GCM);
    let mut goodbye = vec![0; 20];
    goodbye[..2].copy_from_slice(&[0x80, 5]);
    goodbye[12..16].copy_from_slice(&GCM.origin.to_be_bytes());
    assert_eq!(
        house.client(GCM, &goodbye).0,
        Fate::ToOrigin { link: GCM.link }
    );
    let ended = house.outputs();
    assert!(
        matches!(
            ended[..],
            [Output::Event(Event::Closed {
                end: End::ClientClosed,
                ..
            })]
        ),
        "{ended:?}"
    );
    assert!(!house.table.uses(GCM.link) && !house.table.needs_own_link(flow));
    assert_eq!(
        house.client(GCM, &sealed(GCM.origin)).0,
        Fate::Drop(DropReason::UnknownFlow)
    );
    assert_eq!(
        house.origin(GCM, &sealed(GCM.caller)).0,
        Fate::Drop(DropReason::UnknownFlow)
    );
    house.join(GCM);
}
