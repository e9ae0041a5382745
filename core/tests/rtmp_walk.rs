//! What passes through a walk: whatever a sender may legally put on the wire, in whatever chunks it arrives.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sluicegate_core::rtmp::chunk::ChunkReader;
use sluicegate_core::rtmp::header::MessageHeader;
use sluicegate_core::rtmp::message::Message;
use sluicegate_core::rtmp::walk::{Step, Verdict, Walk, Watch};

const SET_CHUNK_SIZE: u8 = 1;
const ABORT: u8 = 2;
const CHUNK_STREAMS: [u32; 7] = [2, 3, 4, 63, 64, 319, 400];
const NO_DROPS: u32 = 0;
const WHOLE: &[usize] = &[usize::MAX];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_reader_gets_what_was_sent(sent in any_sent(true), sizes in any_sizes()) {
        prop_assert_eq!(read(&sent.wire, &sizes), sent.messages(NO_DROPS));
    }

    #[test]
    fn with_nothing_dropped_the_bytes_stay_the_same(sent in any_sent(false), sizes in any_sizes()) {
        let mut walk = Walk::new();
        let (output, _) = feed(&mut walk, &sent.wire, &sizes, NO_DROPS, None);
        prop_assert_eq!(output, sent.wire);
        prop_assert_eq!(walk.chunk_size() as usize, sent.chunk_size);
    }

    #[test]
    fn the_receiver_gets_all_but_the_dropped_messages(
        sent in any_sent(true),
        sizes in any_sizes(),
        salt in 1..u32::MAX,
    ) {
        let (output, _) = feed(&mut Walk::new(), &sent.wire, &sizes, salt, None);
        prop_assert_eq!(read(&output, WHOLE), sent.messages(salt));
    }

    #[test]
    fn how_the_bytes_are_split_changes_nothing(sent in any_sent(true), sizes in any_sizes(), salt: u32) {
        let whole = feed(&mut Walk::new(), &sent.wire, WHOLE, salt, None);
        prop_assert_eq!(feed(&mut Walk::new(), &sent.wire, &sizes, salt, None).0, whole.0);
    }

    #[test]
    fn a_remapped_stream_gets_its_other_id(sent in any_sent(true), sizes in any_sizes(), salt: u32) {
        let mut walk = Walk::new();
        walk.remap_stream(1, 0x0102_0304);
        let (output, _) = feed(&mut walk, &sent.wire, &sizes, salt, None);
        let mut expected = sent.messages(salt);
        for message in expected.iter_mut().filter(|message| message.stream_id == 1) {
            message.stream_id = 0x0102_0304;
        }
        prop_assert_eq!(read(&output, WHOLE), expected);
    }

    #[test]
    fn a_stream_remapped_midway_gets_its_other_id_with_the_next_message(
        sent in any_sent(true),
        cut: prop::sample::Index,
        salt: u32,
    ) {
        let cut = cut.index(sent.wire.len() + 1);
        let (before, after) = sent.wire.split_at(cut);
        let mut walk = Walk::new();
        let (mut output, _) = feed(&mut walk, before, WHOLE, salt, None);
        walk.remap_stream(1, 9);
        output.extend(feed(&mut walk, after, WHOLE, salt, None).0);
        let expected: Vec<Message> = sent
            .passed(salt)
            .map(|sent| match &sent.message {
                message if message.stream_id == 1 && sent.header_end > cut => Message { stream_id: 9, ..message.clone() },
                message => message.clone(),
            })
            .collect();
        prop_assert_eq!(read(&output, WHOLE), expected);
    }

    #[test]
    fn messages_of_ours_fit_in_at_every_boundary(sent in any_sent(true), sizes in any_sizes(), salt: u32) {
        let ours = Message { timestamp: 0x0100_0000, kind: 99, stream_id: 5, payload: vec![0x5A; 300] };
        let (output, inserted) = feed(&mut Walk::new(), &sent.wire, &sizes, salt, Some(&ours));
        let (from_us, from_peer): (Vec<_>, Vec<_>) =
            read(&output, WHOLE).into_iter().partition(|message| message.kind == ours.kind);
        prop_assert_eq!(from_peer, sent.messages(salt));
        prop_assert_eq!(from_us, vec![ours; inserted]);
    }
}

/// Drops about every third message, decided by its header, so that any split drops the same ones.
struct Dropper {
    salt: u32,
}

impl Watch for Dropper {
    fn message(&mut self, header: &MessageHeader, body: Option<&[u8]>) -> Verdict {
        let whole = matches!(header.kind, 1 | 2 | 17 | 20);
        assert_eq!(
            body.map(|body| body.len() as u32),
            whole.then_some(header.length)
        );
        if drops(
            self.salt,
            header.chunk_stream,
            header.timestamp,
            header.length,
        ) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    }
}

fn drops(salt: u32, chunk_stream: u32, timestamp: u32, length: u32) -> bool {
    let mixed = chunk_stream ^ timestamp.rotate_left(7) ^ length.rotate_left(13) ^ salt;
    salt != NO_DROPS && (mixed.wrapping_mul(0x9E37_79B1) >> 16).is_multiple_of(3)
}

/// What is sent on for `wire`, and how often `ours` was inserted.
fn feed(
    walk: &mut Walk,
    wire: &[u8],
    sizes: &[usize],
    salt: u32,
    ours: Option<&Message>,
) -> (Vec<u8>, usize) {
    let mut output = Vec::new();
    let mut inserted = 0;
    for part in split(wire, sizes) {
        match walk.feed(part, &mut Dropper { salt }).unwrap() {
            Step::Unchanged => output.extend_from_slice(part),
            Step::Changed(bytes) => output.extend_from_slice(bytes),
        }
        if let Some(ours) = ours.filter(|_| walk.at_boundary()) {
            output.extend(walk.insert(ours));
            inserted += 1;
        }
    }
    (output, inserted)
}

fn read(wire: &[u8], sizes: &[usize]) -> Vec<Message> {
    let mut reader = ChunkReader::new(1 << 20);
    let mut messages = Vec::new();
    for mut part in split(wire, sizes) {
        while let Some(message) = reader.read(&mut part).unwrap() {
            messages.push(message);
        }
    }
    messages
}

fn split<'a>(mut wire: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for size in sizes.iter().cycle() {
        let (part, rest) = wire.split_at((*size).min(wire.len()));
        parts.push(part);
        wire = rest;
        if wire.is_empty() {
            break;
        }
    }
    parts
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        prop::collection::vec(1..40_usize, 1..8),
        prop::collection::vec(1..2000_usize, 1..8),
    ]
}

/// `first_may_inherit`: whether a chunk stream may begin with a type 1 header, as librtmp's pings do.
fn any_sent(first_may_inherit: bool) -> impl Strategy<Value = Sent> {
    let plans = prop::collection::vec(any_plan(), 1..25);
    let schedule = prop::collection::vec(any::<u8>(), 1..20);
    (plans, schedule)
        .prop_map(move |(plans, schedule)| Sender::new(first_may_inherit).send(&plans, &schedule))
        .prop_filter(
            "more than a walk keeps of unfinished commands",
            Sent::is_kept,
        )
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let time = prop_oneof![
        4 => 0..100_u32,
        1 => 0xFF_FFF0..0x100_0010_u32,
        1 => 0x7F00_0000..0x7FFF_FFFF_u32,
    ];
    let kind = prop_oneof![
        2 => Just(SET_CHUNK_SIZE),
        1 => Just(ABORT),
        8 => prop::sample::select(vec![4, 8, 9, 9, 17, 18, 20, 20]),
    ];
    let length = prop_oneof![0..10_usize, 0..400_usize, Just(3000)];
    let chunk_size = prop_oneof![1..8_u32, 100..1000_u32, Just(60_000)];
    let header = (
        prop::sample::select(&CHUNK_STREAMS),
        0..4_u8,
        0..3_u32,
        any::<bool>(),
        any::<bool>(),
    );
    (header, time, kind, length, chunk_size, 0x80..=u8::MAX).prop_map(
        |(
            (chunk_stream, format, stream_id, repeats, long_id),
            time,
            kind,
            length,
            chunk_size,
            fill,
        )| Plan {
            chunk_stream,
            format,
            stream_id,
            repeats,
            long_id,
            time,
            kind,
            length,
            chunk_size,
            fill,
        },
    )
}

/// A message to send; if its header type inherits a value, the inherited one counts.
#[derive(Debug, Clone)]
struct Plan {
    chunk_stream: u32,
    /// The header type to use where it is legal, otherwise the highest legal one.
    format: u8,
    stream_id: u32,
    /// Whether continuations repeat an extended timestamp.
    repeats: bool,
    /// Whether the basic header is longer than needed, where that is possible.
    long_id: bool,
    /// The timestamp, or the delta.
    time: u32,
    kind: u8,
    length: usize,
    chunk_size: u32,
    fill: u8,
}

#[derive(Debug)]
struct Sent {
    wire: Vec<u8>,
    /// The messages in the order in which they end.
    complete: Vec<Complete>,
    chunk_size: usize,
    chunks: usize,
}

#[derive(Debug)]
struct Complete {
    chunk_stream: u32,
    /// Where on the wire the first header ends.
    header_end: usize,
    message: Message,
}

impl Sent {
    /// Whether it is held completely, even if a command that begins first ends last: 256 KiB are held, counting the
    /// bytes and 24 more for each header and each body of a chunk.
    fn is_kept(&self) -> bool {
        self.wire.len() + self.chunks * 48 <= 256 * 1024
    }

    fn messages(&self, salt: u32) -> Vec<Message> {
        self.passed(salt).map(|sent| sent.message.clone()).collect()
    }

    fn passed(&self, salt: u32) -> impl Iterator<Item = &Complete> {
        self.complete.iter().filter(
            move |Complete {
                      chunk_stream,
                      message,
                      ..
                  }| {
                let length = message.payload.len() as u32;
                matches!(message.kind, SET_CHUNK_SIZE | ABORT)
                    || !drops(salt, *chunk_stream, message.timestamp, length)
            },
        )
    }
}

/// A sender that uses all freedom of the specification; written independently of the code under test.
struct Sender {
    first_may_inherit: bool,
    memory: BTreeMap<u32, Memory>,
    open: Vec<Open>,
    sent: Sent,
}

#[derive(Clone)]
struct Memory {
    message: Message,
    field: u32,
}

struct Open {
    plan: Plan,
    header_end: usize,
    message: Message,
    written: usize,
}

impl Sender {
    fn new(first_may_inherit: bool) -> Self {
        let sent = Sent {
            wire: Vec::new(),
            complete: Vec::new(),
            chunk_size: 128,
            chunks: 0,
        };
        Self {
            first_may_inherit,
            memory: BTreeMap::new(),
            open: Vec::new(),
            sent,
        }
    }

    fn send(mut self, plans: &[Plan], schedule: &[u8]) -> Sent {
        let mut plans = plans.iter().peekable();
        for choice in schedule.iter().map(|choice| usize::from(*choice)).cycle() {
            let next = plans.next_if(|plan| {
                let idle = self
                    .open
                    .iter()
                    .all(|open| open.plan.chunk_stream != plan.chunk_stream);
                idle && (self.open.is_empty() || choice.is_multiple_of(2))
            });
            if let Some(plan) = next {
                self.begin(plan);
            } else if self.open.is_empty() {
                break;
            } else {
                self.resume(choice / 2 % self.open.len());
            }
        }
        self.sent
    }

    fn begin(&mut self, plan: &Plan) {
        let nothing = Message {
            timestamp: 0,
            kind: 0,
            stream_id: 0,
            payload: Vec::new(),
        };
        let highest = match self.memory.get(&plan.chunk_stream) {
            Some(_) => 3,
            None if self.first_may_inherit => 1,
            None => 0,
        };
        let format = plan.format.min(highest);
        let before = self.memory.get(&plan.chunk_stream).cloned();
        let before = before.unwrap_or(Memory {
            message: nothing,
            field: 0,
        });
        let (kind, length) = match format {
            0 | 1 => (plan.kind, plan.length),
            _ => (before.message.kind, before.message.payload.len()),
        };
        let field = if format == 3 { before.field } else { plan.time };
        let message = Message {
            timestamp: if format == 0 {
                field
            } else {
                before.message.timestamp.wrapping_add(field)
            },
            kind,
            stream_id: if format == 0 {
                plan.stream_id
            } else {
                before.message.stream_id
            },
            payload: self.payload(plan, kind, length),
        };

        self.basic_header(format, plan);
        let wire = &mut self.sent.wire;
        if format <= 2 {
            wire.extend(&field.min(0xFF_FFFF).to_be_bytes()[1..]);
        }
        if format <= 1 {
            wire.extend(&(message.payload.len() as u32).to_be_bytes()[1..]);
            wire.push(message.kind);
        }
        if format == 0 {
            wire.extend(message.stream_id.to_le_bytes());
        }
        if field >= 0xFF_FFFF {
            wire.extend(field.to_be_bytes());
        }
        self.memory.insert(
            plan.chunk_stream,
            Memory {
                message: message.clone(),
                field,
            },
        );
        let header_end = self.sent.wire.len();
        self.open.push(Open {
            plan: plan.clone(),
            header_end,
            message,
            written: 0,
        });
        self.body(self.open.len() - 1);
    }

    fn payload(&self, plan: &Plan, kind: u8, length: usize) -> Vec<u8> {
        match kind {
            SET_CHUNK_SIZE => plan.chunk_size.to_be_bytes().to_vec(),
            ABORT => {
                let target = self.open.last().map_or(77, |open| open.plan.chunk_stream);
                target.to_be_bytes().to_vec()
            }
            // Differs from the first byte of any extended timestamp here, so that the two can always be told apart.
            _ => (0..length)
                .map(|index| plan.fill | (index % 256) as u8)
                .collect(),
        }
    }

    fn resume(&mut self, index: usize) {
        let plan = self.open[index].plan.clone();
        let field = self.memory[&plan.chunk_stream].field;
        self.basic_header(3, &plan);
        // The bodies of these messages are fixed, so they could be mistaken for a timestamp.
        let control = matches!(self.open[index].message.kind, SET_CHUNK_SIZE | ABORT);
        if field >= 0xFF_FFFF && (plan.repeats || control) {
            self.sent.wire.extend(field.to_be_bytes());
        }
        self.body(index);
    }

    fn basic_header(&mut self, format: u8, plan: &Plan) {
        self.sent.chunks += 1;
        let first = format << 6;
        let wire = &mut self.sent.wire;
        match plan.chunk_stream {
            id @ 2..64 => wire.push(first | id as u8),
            id @ 64..320 if !plan.long_id => wire.extend([first, (id - 64) as u8]),
            id => {
                wire.push(first | 1);
                wire.extend(((id - 64) as u16).to_le_bytes());
            }
        }
    }

    fn body(&mut self, index: usize) {
        let open = &mut self.open[index];
        let left = &open.message.payload[open.written..];
        let count = left.len().min(self.sent.chunk_size);
        self.sent.wire.extend(&left[..count]);
        open.written += count;
        if open.written < open.message.payload.len() {
            return;
        }
        let Open {
            plan,
            header_end,
            message,
            ..
        } = self.open.remove(index);
        let value = message
            .payload
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes));
        match (message.kind, value) {
            (SET_CHUNK_SIZE, Some(size)) => self.sent.chunk_size = size as usize,
            (ABORT, Some(target)) => self.open.retain(|open| open.plan.chunk_stream != target),
            _ => {}
        }
        self.sent.complete.push(Complete {
            chunk_stream: plan.chunk_stream,
            header_end,
            message,
        });
    }
}
