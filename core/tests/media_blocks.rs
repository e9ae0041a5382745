//! Streams in a format of their own: the same blocks for any split, and what viewers get of them.

#[path = "../../fuzz/laws/blocks.rs"]
pub mod law;

use std::io::IoSlice;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use sluicegate_core::media::blocks::{Block, Format, MAX_PASSED_OVER, OtherFormat, Splitter};
use sluicegate_core::media::feed::Feed;
use sluicegate_core::media::gop::MAX_BYTES;
use sluicegate_core::media::viewer::{Envelope, Framing, State, Viewer};

/// Bytes that resemble a stream: whole units, and noise between them.
fn stream(format: Format) -> impl Strategy<Value = Vec<u8>> {
    let unit = (any::<u8>(), any::<[u8; 3]>()).prop_map(move |(fill, flags)| match format {
        Format::Adts => {
            let mut frame = vec![fill & 0x7f; 16 + usize::from(flags[0] % 64)];
            let length = u16::try_from(frame.len()).expect("short");
            frame[..3].copy_from_slice(&[0xff, 0xf1, 0x50]);
            frame[3] = 0x80;
            frame[4] = (length >> 3) as u8;
            frame[5] = (length << 5) as u8 | 0x1f;
            frame
        }
        Format::Mp3 => {
            let mut frame = vec![fill & 0x7f; 72];
            frame[..3].copy_from_slice(&[0xff, 0xe3, 0x18]);
            frame
        }
        Format::Ts => {
            let mut packet = vec![fill; 188];
            packet[0] = 0x47;
            // Tables, pictures and others, some of which start something.
            let tables: [&[u8]; 2] = [
                &[
                    0x40, 0, 0x10, 0, 0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0,
                ],
                &[
                    0x50, 0, 0x10, 0, 2, 0xb0, 18, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1,
                    0, 0xf0, 0,
                ],
            ];
            let head = match flags[0] % 6 {
                0 => tables[0].to_vec(),
                1 => tables[1].to_vec(),
                2 => vec![0x41, 0, 0x30, 7, 0x50],
                3 => vec![0x01, 0, 0x30, flags[1], flags[2]],
                _ => vec![0x41, 1, 0x10],
            };
            packet[1..=head.len()].copy_from_slice(&head);
            packet
        }
    });
    let noise = prop::collection::vec(any::<u8>(), 0..40);
    let piece = prop_oneof![12 => unit, 1 => noise];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn of_a_format() -> impl Strategy<Value = (Format, Vec<u8>)> {
    let formats = [Format::Adts, Format::Mp3, Format::Ts];
    prop::sample::select(formats.to_vec()).prop_flat_map(|format| (Just(format), stream(format)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_split_gives_the_same_blocks(
        (format, bytes) in of_a_format(),
        sizes in prop::collection::vec(1usize..500, 1..12),
    ) {
        law::hold(format, &bytes, &sizes);
    }

    #[test]
    fn a_viewer_gets_the_stream_from_a_point_to_begin_at_minus_what_it_skipped(
        ops in prop::collection::vec(op(), 0..200),
    ) {
        let mut stage = Stage::new();
        for op in ops {
            stage.step(op);
        }
        stage.drain();
        stage.step(Op::Push { entry: true });
        stage.step(Op::Push { entry: false });
        stage.drain();
        for client in stage.clients.iter().filter(|client| !client.over) {
            prop_assert_eq!(client.last, Some(stage.pushed - 1), "the newest reaches everybody");
        }
    }
}

#[test]
fn a_stream_of_another_format_is_found_out() {
    for format in [Format::Adts, Format::Mp3, Format::Ts] {
        let mut splitter = Splitter::new(format);
        let mut fed = 0;
        let outcome = loop {
            match splitter.feed(&[b'#'; 4096]) {
                Ok(blocks) => assert_eq!(blocks, []),
                Err(OtherFormat) => break fed,
            }
            fed += 4096;
        };
        assert!((MAX_PASSED_OVER..MAX_PASSED_OVER + 8192).contains(&outcome));
    }
}

#[test]
fn frames_of_sound_share_a_block_and_each_could_begin_one() {
    let mut frame = [0x55; 72];
    frame[..3].copy_from_slice(&[0xff, 0xe3, 0x18]);
    let mut splitter = Splitter::new(Format::Mp3);
    let blocks = splitter.feed(&[&frame[..], &frame, &frame].concat());
    let blocks = blocks.expect("MP3");
    // Whether the first is one is shown by the second.
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].bytes.len(), 3 * 72);
    assert_eq!(splitter.feed(&frame).expect("MP3").len(), 1);
}

/// What happens to a feed of blocks and its viewers.
#[derive(Debug, Clone, Copy)]
enum Op {
    Interrupt,
    Join { chunked: bool },
    Pass(u16),
    Push { entry: bool },
    Shed,
    Take { viewer: u8, bytes: u16 },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => any::<bool>().prop_map(|entry| Op::Push { entry }),
        8 => (any::<u8>(), 0u16..200).prop_map(|(viewer, bytes)| Op::Take { viewer, bytes }),
        2 => any::<bool>().prop_map(|chunked| Op::Join { chunked }),
        2 => (0u16..2000).prop_map(Op::Pass),
        1 => Just(Op::Interrupt),
        1 => Just(Op::Shed),
    ]
}

/// A feed, a branch of it, and its viewers. A block says its number, and whether the source was another before it.
struct Stage {
    feed: Feed,
    branch: Feed,
    now: Instant,
    pushed: u32,
    /// The numbers of blocks before which the source was lost.
    breaks: Vec<u32>,
    clients: Vec<Client>,
}

struct Client {
    viewer: Viewer,
    chunked: bool,
    raw: Vec<u8>,
    /// The number that was announced by what stands before a block.
    before: Option<u32>,
    last: Option<u32>,
    over: bool,
}

impl Stage {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some moment to start from"
    )]
    fn new() -> Self {
        let feed = Feed::new(Duration::from_secs(3));
        Self {
            branch: feed.branch(),
            feed,
            now: Instant::now(),
            pushed: 0,
            breaks: Vec::new(),
            clients: Vec::new(),
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Interrupt => {
                self.breaks.push(self.pushed);
                let change = self.feed.interrupt();
                self.branch.apply(&change);
            }
            Op::Join { chunked } => {
                let envelope = if chunked {
                    Envelope::Chunked
                } else {
                    Envelope::None
                };
                self.clients.push(Client {
                    viewer: Viewer::new(Framing::Blocks(envelope), &self.branch),
                    chunked,
                    raw: Vec::new(),
                    before: None,
                    last: None,
                    over: false,
                });
            }
            Op::Pass(milliseconds) => self.now += Duration::from_millis(milliseconds.into()),
            Op::Push { entry } => {
                let record =
                    |tag: u8| [&[tag][..], &self.pushed.to_be_bytes(), &[tag; 30]].concat();
                let block = Block {
                    entry: entry.then(|| Bytes::from(record(b'H'))),
                    bytes: record(b'B').into(),
                };
                let changes: Vec<_> = self.feed.push_block(block, self.now).collect();
                assert_eq!(changes.len(), 1 + usize::from(entry));
                for change in &changes {
                    self.branch.apply(change);
                }
                assert_eq!(self.feed.bytes(), self.branch.bytes());
                assert!(self.feed.bytes() <= MAX_BYTES);
                self.pushed += 1;
            }
            Op::Shed => {
                let change = self.feed.shed();
                self.branch.apply(&change);
                assert_eq!(self.branch.bytes(), 0);
            }
            Op::Take { viewer, bytes } => {
                let count = self.clients.len().max(1);
                self.take(usize::from(viewer) % count, bytes.into());
            }
        }
    }

    fn drain(&mut self) {
        for index in 0..self.clients.len() {
            while self.take(index, usize::MAX) {}
        }
    }

    /// Lets a viewer's socket take so many bytes. True: there may be more.
    fn take(&mut self, index: usize, bytes: usize) -> bool {
        let Some(client) = self.clients.get_mut(index).filter(|client| !client.over) else {
            return false;
        };
        let raw = &mut client.raw;
        let sent = client
            .viewer
            .send(&self.branch, self.now, |slices: &[IoSlice<'_>]| {
                let before = raw.len();
                let all = slices.iter().flat_map(|slice| slice.iter().copied());
                raw.extend(all.take(bytes));
                Ok::<_, ()>(raw.len() - before)
            });
        let sent = sent.expect("it writes");
        client.over = matches!(sent.state, State::Over(_));
        client.read(&self.breaks);
        sent.state == State::More
    }
}

impl Client {
    /// Reads whole records, and holds them to the law.
    fn read(&mut self, breaks: &[u32]) {
        let (open, close): (&[u8], &[u8]) = if self.chunked {
            (b"23\r\n", b"\r\n")
        } else {
            (b"", b"")
        };
        let whole = open.len() + 35 + close.len();
        while self.raw.len() >= whole {
            let record: Vec<u8> = self.raw.drain(..whole).collect();
            assert!(record.starts_with(open) && record.ends_with(close));
            let record = &record[open.len()..open.len() + 35];
            let number = u32::from_be_bytes(record[1..5].try_into().expect("four bytes"));
            assert!(record[5..].iter().all(|byte| *byte == record[0]));
            if record[0] == b'H' {
                // What stood before a block that was let go is followed by what stands before a newer one.
                self.before = Some(number);
                continue;
            }
            match (self.before.take(), self.last) {
                (Some(before), last) => {
                    assert_eq!(before, number, "what stands before a block is its own");
                    assert!(last.is_none_or(|last| last < number), "in order");
                }
                (None, last) => {
                    assert_eq!(
                        last.map(|last| last + 1),
                        Some(number),
                        "nothing is left out"
                    );
                    assert!(!breaks.contains(&number), "another source begins anew");
                }
            }
            self.last = Some(number);
        }
    }
}
