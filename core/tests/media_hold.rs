//! A viewer whose stream is cut anywhere and goes on from another source: each track at its last timestamp plus one frame
//! of its own, exactly, after its headers, and pictures from a keyframe.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluicegate_core::media::feed::{Feed, Place, Start, Step};
use sluicegate_core::media::part::Part;
use sluicegate_core::rtmp::message::{Message, kind};

/// An encoder's rhythm, in milliseconds, and pictures from one keyframe to the next.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    video: u32,
    audio: u32,
    group: u32,
}

fn rhythm() -> impl Strategy<Value = Rhythm> {
    let (video, audio) = (
        prop_oneof![Just(17_u32), Just(33), Just(40)],
        prop_oneof![Just(21_u32), Just(23)],
    );
    (video, audio, 1..40_u32).prop_map(|(video, audio, group)| Rhythm {
        video,
        audio,
        group,
    })
}

fn message(kind: u8, timestamp: u32, payload: &[u8]) -> Message {
    Message {
        timestamp,
        kind,
        stream_id: 1,
        payload: payload.to_vec(),
    }
}

/// The headers of a source, and three seconds of it, beginning `into` a group of pictures.
fn source(rhythm: Rhythm, start: u32, into: u32, number: u8) -> Vec<Message> {
    let mut messages = vec![
        message(kind::AUDIO, start, &[0xaf, 0, 0x12, 0x10]),
        message(kind::VIDEO, start, &[0x17, 0, 0, 0, 0, 1, number]),
    ];
    let frames = |step: u32| (0..3000 / step).map(move |index| (index, index * step));
    let mut frames: Vec<_> = frames(rhythm.video)
        .map(|(index, at)| {
            let first = if (index + into).is_multiple_of(rhythm.group) {
                0x17
            } else {
                0x27
            };
            (
                at,
                message(kind::VIDEO, start.wrapping_add(at), &[first, 1, 0, 0, 0, 9]),
            )
        })
        .chain(frames(rhythm.audio).map(|(_, at)| {
            (
                at,
                message(kind::AUDIO, start.wrapping_add(at), &[0xaf, 1, 7]),
            )
        }))
        .collect();
    frames.sort_by_key(|(at, _)| *at);
    messages.extend(frames.into_iter().map(|(_, message)| message));
    messages
}

/// What a viewer was sent: kind, what it is, and its timestamp.
type Got = (u8, Part, u64);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_cut_is_neither_a_hole_nor_a_step_back(
        rhythm in rhythm(),
        starts in prop::array::uniform2(any::<u32>()),
        into in 0..40_u32,
        cut in 30..140_usize,
        outage in 0..60_000_u64,
        other_headers in any::<bool>(),
        framing_is_file in any::<bool>(),
    ) {
        let [start, second] = starts;
        #[expect(clippy::disallowed_methods, reason = "any moment will do for a start")]
        let mut now = Instant::now();
        let mut feed = Feed::new(Duration::from_secs(3));
        let start_of = if framing_is_file { Start::Announced } else { Start::Bare };
        let mut place = feed.join(start_of);
        let mut before: Vec<Got> = Vec::new();
        for message in source(rhythm, start, 0, 1).into_iter().take(cut) {
            feed.push(message, now);
            take(&feed, &mut place, now, &mut before);
            now += Duration::from_millis(10);
        }
        feed.interrupt();
        now += Duration::from_millis(outage);
        let mut after: Vec<Got> = Vec::new();
        for message in source(rhythm, second, into, 1 + u8::from(other_headers)) {
            feed.push(message, now);
            take(&feed, &mut place, now, &mut after);
            now += Duration::from_millis(10);
        }
        for (of, frame) in [(kind::VIDEO, rhythm.video), (kind::AUDIO, rhythm.audio)] {
            let frame = u64::from(frame);
            let frames = |got: &[Got]| -> Vec<(Part, u64)> {
                let frames = got.iter().filter(|(kind, part, _)| *kind == of && !part.is_header());
                frames.map(|(_, part, time)| (*part, *time)).collect()
            };
            let (first, then) = (frames(&before), frames(&after));
            let (Some((_, last)), Some((part, next))) = (first.last(), then.first()) else {
                return Err(TestCaseError::fail("nothing came of a track"));
            };
            prop_assert_eq!(next - last, frame, "the joint of kind {}", of);
            prop_assert!(of == kind::AUDIO || *part == Part::Keyframe);
            for pair in then.windows(2) {
                let step = pair[1].1 - pair[0].1;
                prop_assert!(step.abs_diff(frame) <= 1, "a step of {} ms", step);
            }
            let header = after.iter().find(|(kind, part, _)| *kind == of && part.is_header());
            prop_assert_eq!(header.map(|(_, _, time)| *time), Some(*next), "its header comes again");
        }
    }
}

/// Takes all that there is for a viewer.
fn take(feed: &Feed, place: &mut Place, now: Instant, got: &mut Vec<Got>) {
    loop {
        match feed.next(place, now) {
            Step::Announce { .. } => {}
            Step::Over(slow) => panic!("{slow}"),
            Step::Send { message, time } => got.push((message.kind, message.content.part, time)),
            Step::Wait => return,
        }
    }
}
