//! What is kept of a live stream for players that come later, and the clock it is kept on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;
use sluicegate_core::media::gop::{
    Cache, Clock, MAX_BYTES, MAX_HEADER_BYTES, MAX_MESSAGES, MediaMessage, Tick,
};
use sluicegate_core::media::part::{Content, MAX_TRACKS, Part};
use sluicegate_core::rtmp::message::kind::{AUDIO, DATA_AMF0, VIDEO};

const METADATA: &[u8] = b"\x02\x00\x0aonMetaData\x05";
const VIDEO_HEADER: &[u8] = &[0x17, 0, 0, 0, 0, 1];
const AUDIO_HEADER: &[u8] = &[0xaf, 0, 0x12, 0x10];
const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 0xaa];
const INTER: &[u8] = &[0x27, 1, 0, 0, 0, 0xbb];
const SOUND: &[u8] = &[0xaf, 1, 0x21];

/// Sends a body through the cache; the message that came of it.
fn send(cache: &mut Cache, kind: u8, time: u64, body: &[u8]) -> MediaMessage {
    let message = cache.classify(
        kind,
        Content::of(kind, body),
        time,
        Bytes::copy_from_slice(body),
    );
    cache.keep(&message);
    message
}

/// A cache that has seen the usual headers, an inter frame too early, and a keyframe at 40.
fn started() -> Cache {
    let mut cache = Cache::new(0);
    send(&mut cache, DATA_AMF0, 0, METADATA);
    send(&mut cache, VIDEO, 0, VIDEO_HEADER);
    send(&mut cache, AUDIO, 0, AUDIO_HEADER);
    send(&mut cache, VIDEO, 0, INTER);
    send(&mut cache, VIDEO, 40, KEYFRAME);
    cache
}

fn headers(cache: &Cache) -> Vec<&[u8]> {
    let headers = cache.headers().iter();
    headers.map(|message| message.body.as_ref()).collect()
}

fn group(cache: &Cache) -> Vec<(u64, &[u8])> {
    let group = cache.group();
    group
        .map(|message| (message.time, message.body.as_ref()))
        .collect()
}

/// A body of one track among several: its first byte, its packet type, and `rest`.
fn of_track(first: u8, packet: u8, track: u8, rest: &[u8]) -> Vec<u8> {
    [&[first, packet], &b"avc1"[..], &[track], rest].concat()
}

#[test]
fn a_group_begins_with_its_keyframe_and_headers_come_in_the_order_players_need() {
    let mut cache = started();
    send(&mut cache, AUDIO, 45, SOUND);
    send(&mut cache, VIDEO, 80, KEYFRAME);
    send(&mut cache, AUDIO, 90, SOUND);
    send(&mut cache, VIDEO, 120, INTER);
    assert_eq!(headers(&cache), [METADATA, AUDIO_HEADER, VIDEO_HEADER]);
    assert_eq!(group(&cache), [(80, KEYFRAME), (90, SOUND), (120, INTER)]);
}

#[test]
fn a_header_that_differs_closes_the_group_and_one_that_repeats_does_not() {
    for (cause, kind, body, closes, repeats) in [
        ("video, the same", VIDEO, VIDEO_HEADER, false, true),
        ("audio, the same", AUDIO, AUDIO_HEADER, false, true),
        ("metadata, the same", DATA_AMF0, METADATA, false, true),
        ("video, another", VIDEO, &[0x17, 0, 0, 0, 0, 2], true, false),
        ("audio, another", AUDIO, &[0xaf, 0, 0x13, 0x90], true, false),
        (
            "metadata, other",
            DATA_AMF0,
            b"\x02\x00\x0aonMetaData\x08",
            false,
            false,
        ),
        ("colours, the first", VIDEO, b"\x94avc1\x02", false, false),
        (
            "a channel layout, the first",
            AUDIO,
            b"\x94mp4a\x01",
            false,
            false,
        ),
    ] {
        let mut cache = started();
        let generation = cache.headers().generation();
        let message = send(&mut cache, kind, 60, body);
        assert_eq!(group(&cache).is_empty(), closes, "{cause}");
        assert_eq!(message.repeats, repeats, "{cause}");
        assert_eq!(
            message.generation,
            generation + u64::from(!repeats),
            "{cause}"
        );
        assert!(headers(&cache).contains(&body), "{cause}");
        send(&mut cache, VIDEO, 80, INTER);
        assert_eq!(
            group(&cache).is_empty(),
            closes,
            "{cause}: only a keyframe begins a group"
        );
    }
}

#[test]
fn colours_come_before_the_configuration_they_are_about() {
    let mut cache = Cache::new(0);
    let hevc = b"\x90hvc1\x01";
    for (kind, body) in [
        (VIDEO, &hevc[..]),
        (AUDIO, b"\x94Opus\x01"),
        (VIDEO, b"\x94hvc1\x02"),
        (AUDIO, b"\x90Opus\x01"),
        (DATA_AMF0, METADATA),
        (VIDEO, b"\x94hvc1\x03"),
    ] {
        send(&mut cache, kind, 0, body);
    }
    assert_eq!(
        headers(&cache),
        [
            METADATA,
            b"\x90Opus\x01",
            b"\x94Opus\x01",
            b"\x94hvc1\x03",
            hevc
        ]
    );
}

#[test]
fn each_track_has_headers_of_its_own_and_the_first_picture_leads() {
    let mut cache = Cache::new(0);
    let many = [&b"\x96\x10avc1"[..], &[0, 0, 0, 1, 9], &[1, 0, 0, 1, 8]].concat();
    send(&mut cache, VIDEO, 0, &many);
    assert_eq!(
        headers(&cache),
        [&many[..]],
        "one message of two tracks comes once"
    );
    let second = of_track(0x96, 0, 1, &[7]);
    send(&mut cache, VIDEO, 0, &second);
    assert_eq!(
        headers(&cache),
        [&many[..], &second],
        "the newer of a track comes later"
    );
    send(&mut cache, VIDEO, 40, &of_track(0x96, 1, 1, &[]));
    assert!(
        group(&cache).is_empty(),
        "a keyframe of the second picture begins nothing"
    );
    let leads = send(&mut cache, VIDEO, 80, b"\x91avc1\0\0\0");
    assert!(leads.starts_group);
    assert_eq!(group(&cache).len(), 1);
    for track in 0..40 {
        send(&mut cache, AUDIO, 80, &of_track(0x95, 0, track, &[track]));
    }
    let (audio, video) = cache.tracks();
    assert_eq!(audio.len() + video.len(), MAX_TRACKS);
    assert!(headers(&cache).len() <= 1 + 2 * MAX_TRACKS);
}

#[test]
fn where_only_a_second_picture_is_sent_it_leads() {
    let mut cache = Cache::new(0);
    send(&mut cache, VIDEO, 0, &of_track(0x96, 0, 3, &[1]));
    assert!(send(&mut cache, VIDEO, 0, &of_track(0x96, 1, 3, &[])).starts_group);
}

#[test]
fn what_is_kept_is_bounded_whatever_comes() {
    for (cause, kind, body) in [
        ("sound alone", AUDIO, SOUND),
        ("no keyframe ever", VIDEO, INTER),
        ("headers that change for ever", VIDEO, VIDEO_HEADER),
    ] {
        let mut cache = Cache::new(3000);
        for number in 0..10_000_u64 {
            let mut body = body.to_vec();
            body.extend(number.to_be_bytes());
            send(&mut cache, kind, number, &body);
            assert!(
                cache.end() - cache.first() <= MAX_MESSAGES as u64,
                "{cause}"
            );
        }
        assert!(
            cache.keyframe().is_none() && group(&cache).is_empty(),
            "{cause}"
        );
    }
    let mut cache = started();
    let large = [INTER, &[0; 1 << 20]].concat();
    for time in 41..100 {
        send(&mut cache, VIDEO, time, &large);
        assert!(cache.bytes() <= MAX_BYTES + MAX_HEADER_BYTES);
    }
    assert!(
        group(&cache).is_empty(),
        "a group of more than 16 MiB is not kept"
    );
    assert_eq!(headers(&cache).len(), 3, "its headers are");
    let mut huge = VIDEO_HEADER.to_vec();
    huge.resize(MAX_HEADER_BYTES + 1, 0);
    let message = send(&mut cache, VIDEO, 100, &huge);
    assert_eq!(
        message.content.part,
        Part::Frame,
        "nothing so large is a header"
    );
    cache.shed();
    assert!(cache.bytes() < MAX_HEADER_BYTES && cache.get(cache.first()).is_none());
    send(&mut cache, VIDEO, 140, KEYFRAME);
    assert_eq!(group(&cache), [(140, KEYFRAME)]);
}

#[test]
fn history_is_kept_for_a_while_and_the_group_for_as_long_as_it_lasts() {
    let mut cache = Cache::new(100);
    for (time, body) in [
        (0, KEYFRAME),
        (40, INTER),
        (80, KEYFRAME),
        (120, INTER),
        (500, INTER),
    ] {
        send(&mut cache, VIDEO, time, body);
    }
    assert_eq!(
        cache.first(),
        2,
        "what is older than 100 ms and before the group is gone"
    );
    assert_eq!(group(&cache), [(80, KEYFRAME), (120, INTER), (500, INTER)]);
}

#[test]
fn a_source_that_is_gone_leaves_nothing_for_later_players() {
    let mut cache = started();
    let metadata = cache.headers().generation() - 2;
    cache.interrupt();
    assert!(headers(&cache).is_empty() && group(&cache).is_empty());
    assert!(cache.tracks().0.is_empty() && cache.tracks().1.is_empty());
    assert!(
        cache.get(cache.end() - 1).is_some(),
        "those on their way see its end"
    );
    let again = send(&mut cache, DATA_AMF0, 80, METADATA);
    assert_eq!(
        (again.generation, again.repeats),
        (metadata, false),
        "metadata they know"
    );
    let header = send(&mut cache, VIDEO, 80, VIDEO_HEADER);
    assert!(!header.repeats, "configurations repair decoders");
    assert_eq!(headers(&cache), [METADATA, VIDEO_HEADER]);
    assert_eq!(header.discontinuity, 1);
}

#[test]
fn after_a_break_headers_pass_once_more_and_no_group_reaches_across() {
    let mut cache = started();
    cache.break_off();
    assert!(group(&cache).is_empty());
    assert_eq!(headers(&cache).len(), 3);
    assert!(!send(&mut cache, VIDEO, 80, VIDEO_HEADER).repeats);
    assert!(send(&mut cache, VIDEO, 80, VIDEO_HEADER).repeats);
    send(&mut cache, VIDEO, 80, KEYFRAME);
    assert!(
        send(&mut cache, AUDIO, 90, AUDIO_HEADER).repeats,
        "not in the middle of a group"
    );
}

#[test]
fn a_cache_that_keeps_what_another_classified_is_its_equal() {
    let mut first = started();
    let mut second = first.clone();
    for (number, body) in [INTER, VIDEO_HEADER, &[0x17, 0, 9], KEYFRAME, INTER]
        .iter()
        .enumerate()
    {
        if number == 3 {
            first.break_off();
        }
        second.keep(&send(&mut first, VIDEO, 80, body));
    }
    assert_eq!(group(&first), group(&second));
    assert_eq!(headers(&first), headers(&second));
    assert_eq!(first.discontinuity(), second.discontinuity());
    assert_eq!((first.first(), first.end()), (second.first(), second.end()));
}

const SECOND: Duration = Duration::from_secs(1);

#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
fn start() -> Instant {
    Instant::now()
}

#[test]
fn time_goes_on_where_timestamps_do_and_where_they_do_not() {
    // Timestamps of one track, each with the milliseconds that pass before it; the time, and whether there was a break.
    type Row<'a> = (&'a str, &'a [(u32, u64)], &'a [(u64, bool)]);
    let rows: &[Row<'_>] = &[
        (
            "in step",
            &[(0, 0), (40, 40), (80, 40)],
            &[(40, false), (80, false), (120, false)],
        ),
        (
            "past 2^24 ms",
            &[(0xff_fff0, 0), (0x100_0018, 40)],
            &[(40, false), (80, false)],
        ),
        (
            "past 2^32 ms",
            &[(0xffff_fff0, 0), (0x18, 40)],
            &[(40, false), (80, false)],
        ),
        (
            "another publisher at 0",
            &[(5000, 0), (5040, 40), (0, 40), (40, 40)],
            &[(40, false), (80, false), (120, true), (160, false)],
        ),
        (
            "an hour's leap",
            &[(0, 0), (3_600_000, 40), (3_600_040, 40)],
            &[(40, false), (80, true), (120, false)],
        ),
        (
            "a minute's pause",
            &[(0, 0), (60_000, 60_000)],
            &[(40, false), (60_040, false)],
        ),
        (
            "a step back of a tenth of a second",
            &[(1000, 0), (2000, 40), (1900, 40), (1940, 40)],
            &[(40, false), (1040, false), (940, false), (980, false)],
        ),
        (
            "a group at once, as origins begin",
            &[(0, 0), (1000, 0), (2000, 0), (3000, 0)],
            &[(40, false), (1040, false), (2040, false), (3040, false)],
        ),
    ];
    for (cause, timestamps, expected) in rows {
        let mut clock = Clock::at_zero();
        let mut now = start();
        let ticks: Vec<(u64, bool)> = timestamps
            .iter()
            .map(|(timestamp, passed)| {
                now += Duration::from_millis(*passed);
                let Tick { time, breaks } = clock.tick(VIDEO, 0, *timestamp, now);
                (time, breaks)
            })
            .collect();
        assert_eq!(ticks, *expected, "{cause}");
    }
}

#[test]
fn a_hole_in_front_of_another_configuration_is_a_break_however_long_it_took() {
    for (step, breaks) in [(40, false), (200, false), (201, true), (10_000, true)] {
        let mut clock = Clock::at_zero();
        let now = start();
        clock.tick(VIDEO, 0, 0, now);
        clock.tick(VIDEO, 0, 40, now);
        clock.configure(VIDEO, &Content::of(VIDEO, VIDEO_HEADER).tracks);
        let later = now + 100 * SECOND;
        assert_eq!(
            clock.tick(VIDEO, 0, 40 + step, later).breaks,
            breaks,
            "{step}"
        );
    }
}

#[test]
fn a_break_of_one_track_is_that_of_all_and_tracks_stay_in_step() {
    let mut clock = Clock::at_zero();
    let now = start();
    for time in [0, 40] {
        clock.tick(VIDEO, 0, 100_000 + time, now);
        clock.tick(AUDIO, 0, 100_010 + time, now);
    }
    assert!(clock.tick(VIDEO, 0, 0, now).breaks);
    let sound = clock.tick(AUDIO, 0, 10, now);
    assert_eq!((sound.time, sound.breaks), (140, false));
    assert_eq!(clock.near(20), 150, "data goes by the others");
    assert_eq!(
        clock.near(3_600_000),
        140,
        "unless it has a clock of its own"
    );
    clock.restart();
    assert_eq!(clock.tick(AUDIO, 0, 77_000, now).time, 180);
}

#[test]
fn a_clock_may_take_over_the_timestamps_of_its_first_source() {
    let mut clock = Clock::default();
    assert_eq!(clock.near(7), 7);
    assert_eq!(clock.tick(VIDEO, 0, 5000, start()).time, 5000);
    clock.restart();
    assert_eq!(clock.tick(VIDEO, 0, 0, start()).time, 5040);
}

proptest! {
    #[test]
    fn time_leaps_only_where_time_passed(
        ticks in prop::collection::vec((any::<bool>(), 0u8..12, any::<u32>(), 0u64..100_000), 1..200),
    ) {
        let mut clock = Clock::at_zero();
        let begin = start();
        let mut now = begin;
        let mut newest = 0;
        let mut came = BTreeMap::new();
        for (video, track, timestamp, passed) in ticks {
            now += Duration::from_millis(passed);
            let kind = if video { VIDEO } else { AUDIO };
            let before = came.insert((kind, track), now).unwrap_or(begin);
            let Tick { time, breaks } = clock.tick(kind, track, timestamp, now);
            if breaks {
                prop_assert_eq!(time, newest + 40);
            }
            // A pause is as long as it was, give or take half of it; a new track is near to the others.
            let paused = 2 * (now - before).as_millis() as u64 + 1;
            prop_assert!(time <= newest + paused.max(10_000));
            newest = newest.max(time);
        }
    }
}
