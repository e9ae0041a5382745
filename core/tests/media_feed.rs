//! A live stream and its viewers: one law for any interleaving, and a thousand viewers of every kind.

#[path = "../../fuzz/laws/feed.rs"]
pub mod law;

use std::io::IoSlice;
use std::time::Duration;

use law::{Op, Stage};
use proptest::prelude::*;
use sluicegate_core::media::feed::{Feed, Start, Step};
use sluicegate_core::media::flv::{self, Tag};
use sluicegate_core::media::viewer::{Envelope, Framing, State, Viewer};
use sluicegate_core::rtmp::chunk::ChunkWriter;
use sluicegate_core::rtmp::message::{Message, chunk_stream, kind};

const FLV: Framing = Framing::Flv(Envelope::None);
const RTMP: Framing = Framing::Rtmp {
    chunk_size: 100,
    stream_id: 1,
};
const PICTURE: Op = Op::Picture {
    key: false,
    second: false,
};

fn framing() -> impl Strategy<Value = Framing> {
    prop_oneof![
        Just(FLV),
        Just(Framing::Flv(Envelope::Chunked)),
        Just(Framing::Flv(Envelope::WebSocket)),
        (1u32..300).prop_map(|chunk_size| Framing::Rtmp {
            chunk_size,
            stream_id: 1
        }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let take = (any::<u8>(), prop_oneof![0u16..400, any::<u16>(), Just(0)]);
    prop_oneof![
        10 => take.prop_map(|(viewer, bytes)| Op::Take { viewer, bytes }),
        5 => (0u8..60).prop_map(Op::Group),
        5 => any::<(bool, bool)>().prop_map(|(key, second)| Op::Picture { key: key && second, second }),
        2 => framing().prop_map(Op::Join),
        1 => Just(Op::Sound),
        1 => Just(Op::Mute),
        1 => (any::<bool>(), 0u8..3).prop_map(|(video, number)| Op::Header { video, number }),
        1 => (0u8..3).prop_map(Op::Metadata),
        1 => Just(Op::Data),
        1 => (0u16..8000).prop_map(Op::Pause),
        1 => Just(Op::Restart),
        1 => Just(Op::Interrupt),
        1 => Just(Op::Shed),
        1 => (0u16..60_000).prop_map(Op::Pass),
    ]
}

/// The first message of a track may be the first of a new publication too; the group that it begins is cut short when
/// the other track shows that, and the next one plays.
#[test]
fn pictures_that_begin_with_a_new_publication_play_from_its_second_group() {
    law::run(0, &[Op::Sound, Op::Restart, Op::Join(FLV)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_a_viewer_decodes_is_the_stream_from_a_keyframe_minus_what_it_skipped(
        start in prop_oneof![Just(0), Just(0xff_f000), Just(0xffff_f000), any::<u32>()],
        ops in prop::collection::vec(op(), 0..120),
    ) {
        law::run(start, &ops);
    }

    #[test]
    fn any_split_of_any_framing_is_what_the_writers_of_whole_messages_write(
        sizes in prop::collection::vec(1usize..400, 1..40),
        bodies in prop::collection::vec(0usize..2000, 1..30),
        chunk_size in 1u32..300,
    ) {
        let mut feed = Feed::new(Duration::from_secs(3));
        let now = Stage::new(0).now;
        let sound = |timestamp, payload| Message { timestamp, kind: kind::AUDIO, stream_id: 7, payload };
        // A second of sound alone, so that a file says what it has.
        feed.push(sound(0, vec![0x2f]), now);
        feed.push(sound(1000, vec![0x2f]), now);
        let mut viewers = [FLV, Framing::Rtmp { chunk_size, stream_id: 7 }].map(|framing| {
            let mut viewer = Viewer::new(framing, &feed);
            // The header is there, and nothing else.
            let sent = viewer.send(&feed, now, |slices| Ok::<_, ()>(copy(slices, usize::MAX, &mut Vec::new())));
            (viewer, sent.expect("it writes").bytes)
        });
        let mut file = Vec::new();
        let mut chunks = Vec::new();
        for (number, length) in bodies.iter().enumerate() {
            let timestamp = number as u32 * 40;
            let payload = [&[0x2f][..], &vec![number as u8; *length]].concat();
            let message = sound(timestamp, payload);
            flv::write_tag(&Tag { kind: kind::AUDIO, timestamp, payload: &message.payload }, &mut file);
            ChunkWriter::new(chunk_size).write(chunk_stream::AUDIO, &message, &mut chunks);
            feed.push(Message { timestamp: 1040 + timestamp, ..message }, now);
        }
        prop_assert_eq!([viewers[0].1, viewers[1].1], [13, 0]);
        for ((viewer, _), expected) in viewers.iter_mut().zip([file, chunks]) {
            let mut written = Vec::new();
            let mut sizes = sizes.iter().cycle();
            loop {
                let size = *sizes.next().expect("a cycle");
                let sent = viewer.send(&feed, now, |slices| Ok::<_, ()>(copy(slices, size, &mut written))).expect("it writes");
                if sent.state == State::Idle {
                    break;
                }
            }
            prop_assert!(written == expected, "{} bytes of {}", written.len(), expected.len());
        }
    }
}

fn copy(slices: &[IoSlice<'_>], most: usize, out: &mut Vec<u8>) -> usize {
    let bytes = slices.iter().flat_map(|slice| slice.iter().copied());
    let before = out.len();
    out.extend(bytes.take(most));
    out.len() - before
}

#[test]
fn a_thousand_viewers_of_every_kind_are_held_to_the_law() {
    let mut stage = Stage::new(0);
    stage.most_clients = VIEWERS;
    let mut random = Random(0x5eed);
    stage.step(Op::Metadata(1));
    stage.step(Op::Header {
        video: true,
        number: 1,
    });
    stage.step(Op::Header {
        video: false,
        number: 1,
    });
    for frame in 0..FRAMES {
        for _ in 0..VIEWERS.div_ceil(FRAMES) {
            let framing = if random.below(2) == 0 { FLV } else { RTMP };
            stage.step(Op::Join(framing));
        }
        match frame {
            200 => stage.step(Op::Interrupt),
            300 => stage.step(Op::Restart),
            350 => stage.step(Op::Header {
                video: true,
                number: 2,
            }),
            _ => {}
        }
        stage.step(Op::Picture {
            key: frame % 25 == 0,
            second: false,
        });
        for index in 0..stage.clients.len() {
            // A tenth of the viewers stalls, a tenth takes half of the stream, a tenth comes and goes, the others
            // take what there is.
            let bytes = match index % 10 {
                0 => 0,
                1 => 70,
                2 if frame / 60 % 2 == 0 => 0,
                _ => usize::MAX,
            };
            while stage.take(index, bytes) {}
        }
    }
    let mut over = 0;
    for (index, client) in stage.clients.iter().enumerate() {
        let lag = client.viewer.lag(&stage.feed);
        match index % 10 {
            0 => assert_eq!(client.bytes, 0),
            1 | 2 => over += usize::from(client.over),
            _ => {
                assert_eq!(
                    (client.viewer.skips(), client.over),
                    (0, false),
                    "nobody else is slowed"
                );
                assert_eq!(lag, Duration::ZERO);
                let skew = client.skew(&stage.source).unwrap_or_default();
                assert!(skew.abs() <= 1, "sound is in step again: {skew} ms");
            }
        }
    }
    assert!(over > 0, "those that cannot follow are ended");
}

#[test]
fn a_slow_viewer_skips_to_the_newest_keyframe_and_goes_on_without_a_hole() {
    let mut stage = Stage::new(0);
    let mut place = stage.feed.join(Start::Bare);
    stage.step(Op::Group(0));
    let first = stage.feed.next(&mut place, stage.now);
    assert!(matches!(first, Step::Send { time: 0, .. }));
    for _ in 0..4 {
        stage.step(Op::Group(49));
    }
    let mut sent = Vec::new();
    loop {
        match stage.feed.next(&mut place, stage.now) {
            Step::Send { message, time } => sent.push((message.kind, message.time, time)),
            Step::Wait => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(place.skips(), 1);
    let pictures: Vec<_> = sent
        .iter()
        .filter(|(kind, ..)| *kind == kind::VIDEO)
        .collect();
    assert_eq!(pictures.len(), 50, "the newest group");
    assert!(pictures.windows(2).all(|pair| pair[1].2 - pair[0].2 == 40));
    assert_eq!(pictures[0].2, 40, "one frame after the last");
    let sounds: Vec<_> = sent
        .iter()
        .filter(|(kind, ..)| *kind == kind::AUDIO)
        .collect();
    assert!(sounds.windows(2).all(|pair| pair[1].2 - pair[0].2 <= 21));
    assert_eq!(stage.feed.lag(&place), Duration::ZERO);
}

#[test]
fn the_third_skip_within_a_minute_is_the_end_and_later_ones_are_not() {
    for (apart, skips) in [(Duration::ZERO, 2), (Duration::from_secs(31), 5)] {
        let mut stage = Stage::new(0);
        stage.step(Op::Group(10));
        let mut place = stage.feed.join(Start::Bare);
        let mut over = false;
        for _ in 0..5 {
            assert!(matches!(
                stage.feed.next(&mut place, stage.now),
                Step::Send { .. } | Step::Over(_)
            ));
            for _ in 0..4 {
                stage.step(Op::Group(49));
            }
            stage.now += apart;
            over |= matches!(stage.feed.next(&mut place, stage.now), Step::Over(_));
        }
        assert_eq!(
            (place.skips(), over),
            (skips, skips == 2),
            "{apart:?} apart"
        );
    }
}

#[test]
fn sound_alone_is_skipped_to_its_newest_and_kept_for_as_long_as_a_viewer_may_be_behind() {
    let mut stage = Stage::new(0);
    stage.step(Op::Sound);
    let mut place = stage.feed.join(Start::Bare);
    for _ in 0..500 {
        stage.step(Op::Sound);
    }
    assert!(
        stage.feed.bytes() < 200 * 70,
        "three seconds of sound are kept"
    );
    assert_eq!(stage.feed.next(&mut place, stage.now), Step::Wait);
    assert_eq!(
        place.skips(),
        0,
        "it was sent nothing yet, so it lost nothing"
    );
    stage.step(Op::Sound);
    assert!(matches!(
        stage.feed.next(&mut place, stage.now),
        Step::Send { time: 0, .. }
    ));
}

#[test]
fn a_file_header_waits_until_it_is_known_what_there_is() {
    let mut stage = Stage::new(0);
    stage.step(Op::Join(FLV));
    for _ in 0..20 {
        stage.step(Op::Sound);
        stage.drain();
    }
    assert_eq!(stage.clients[0].bytes, 0, "there may be pictures");
    stage.step(PICTURE);
    stage.drain();
    assert!(stage.clients[0].bytes >= 13, "there are");
}

/// A generator of numbers that are the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

const VIEWERS: usize = 1000;
/// Twenty seconds.
const FRAMES: usize = 500;
