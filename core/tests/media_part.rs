//! What the classifier of media says of bodies: a table, each row named by its cause, and two properties.

use hex_literal::hex;
use proptest::prelude::*;
use sluicegate_core::media::part::{Content, MAX_LOOK, Part, Tracks};
use sluicegate_core::rtmp::message::kind;

const AUDIO: u8 = kind::AUDIO;
const VIDEO: u8 = kind::VIDEO;

/// The cause, the type of message, the body; the part, and the tracks.
type Row = (&'static str, u8, &'static [u8], Part, &'static [u8]);

fn content(part: Part, tracks: &[u8]) -> Content {
    let mut set = Tracks::none();
    for track in tracks {
        assert!(set.insert(*track));
    }
    Content { part, tracks: set }
}

#[test]
fn a_body_says_which_part_it_is() {
    let rows: &[(&str, u8, &[u8], Part)] = &[
        (
            "AAC AudioSpecificConfig",
            AUDIO,
            &hex!("af 00 12 10"),
            Part::AudioHeader,
        ),
        ("AAC frame", AUDIO, &hex!("af 01 21"), Part::Frame),
        (
            "AAC without its packet type",
            AUDIO,
            &hex!("af"),
            Part::Frame,
        ),
        (
            "MP3 frame whose first byte is 0",
            AUDIO,
            &hex!("2f 00"),
            Part::Frame,
        ),
        ("empty audio", AUDIO, &[], Part::Frame),
        (
            "AVC configuration",
            VIDEO,
            &hex!("17 00 000000 01"),
            Part::VideoHeader,
        ),
        (
            "AVC configuration that calls itself inter",
            VIDEO,
            &hex!("27 00 000000 01"),
            Part::VideoHeader,
        ),
        ("AVC keyframe", VIDEO, &hex!("17 01 000000"), Part::Keyframe),
        (
            "AVC keyframe made by a server",
            VIDEO,
            &hex!("47 01 000000"),
            Part::Keyframe,
        ),
        ("AVC inter frame", VIDEO, &hex!("27 01 000000"), Part::Frame),
        (
            "AVC end of sequence",
            VIDEO,
            &hex!("17 02 000000"),
            Part::End,
        ),
        (
            "AVC without its packet type",
            VIDEO,
            &hex!("17"),
            Part::Frame,
        ),
        (
            "seek command, not an AVC configuration",
            VIDEO,
            &hex!("57 00"),
            Part::Command,
        ),
        (
            "HEVC as codec 12",
            VIDEO,
            &hex!("1c 00 000000"),
            Part::VideoHeader,
        ),
        ("Sorenson keyframe", VIDEO, &hex!("12"), Part::Keyframe),
        ("Sorenson disposable frame", VIDEO, &hex!("32"), Part::Frame),
        ("empty video", VIDEO, &[], Part::Frame),
        (
            "metadata",
            18,
            b"\x02\x00\x0aonMetaData\x05",
            Part::Metadata,
        ),
        (
            "metadata on its way to a server",
            18,
            b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData\x05",
            Part::Metadata,
        ),
        (
            "a cue point",
            18,
            b"\x02\x00\x0aonCuePoint\x05",
            Part::Frame,
        ),
        ("an aggregate", 22, &hex!("09 000001"), Part::Frame),
    ];
    for (cause, kind, body, part) in rows {
        assert_eq!(Content::of(*kind, body), content(*part, &[0]), "{cause}");
        assert_eq!(Part::of(*kind, body), *part, "{cause}");
    }
}

#[test]
fn an_enhanced_body_says_which_part_of_which_tracks_it_is() {
    use Part::{
        AudioHeader, ChannelLayout, Command, End, Frame, Keyframe, TrackMetadata, VideoHeader,
    };
    // FourCCs: Opus, hvc1, av01, avc1, mp4a.
    let rows: &[Row] = &[
        ("Opus start", AUDIO, &hex!("90 4f707573"), AudioHeader, &[0]),
        ("Opus frame", AUDIO, &hex!("91 4f707573 fc"), Frame, &[0]),
        ("Opus end", AUDIO, &hex!("92 4f707573"), End, &[0]),
        (
            "Opus channel layout",
            AUDIO,
            &hex!("94 4f707573 01 06 0000003f"),
            ChannelLayout,
            &[0],
        ),
        (
            "packet type 3, reserved for audio",
            AUDIO,
            &hex!("93 4f707573"),
            Frame,
            &[0],
        ),
        (
            "start without its FourCC",
            AUDIO,
            &hex!("90 4f70"),
            Frame,
            &[0],
        ),
        (
            "AAC frame in nanoseconds",
            AUDIO,
            &hex!("97 02 0003e8 01 6d703461 21"),
            Frame,
            &[0],
        ),
        (
            "AAC start after a modifier",
            AUDIO,
            &hex!("97 02 0003e8 00 6d703461"),
            AudioHeader,
            &[0],
        ),
        (
            "second language's start",
            AUDIO,
            &hex!("95 00 6d703461 01 1210"),
            AudioHeader,
            &[1],
        ),
        (
            "second language's frame",
            AUDIO,
            &hex!("95 01 6d703461 01 21"),
            Frame,
            &[1],
        ),
        (
            "two languages' frames in one message",
            AUDIO,
            &hex!("95 11 6d703461 00 000002 2100 05 000001 21"),
            Frame,
            &[0, 5],
        ),
        (
            "two languages, two codecs",
            AUDIO,
            &hex!("95 20 6d703461 00 000002 1210 4f707573 01 000000"),
            AudioHeader,
            &[0, 1],
        ),
        (
            "HEVC start",
            VIDEO,
            &hex!("90 68766331 01"),
            VideoHeader,
            &[0],
        ),
        (
            "HEVC keyframe",
            VIDEO,
            &hex!("91 68766331 000000"),
            Keyframe,
            &[0],
        ),
        (
            "HEVC keyframe without composition time",
            VIDEO,
            &hex!("93 68766331"),
            Keyframe,
            &[0],
        ),
        (
            "HEVC keyframe made by a server",
            VIDEO,
            &hex!("c3 68766331"),
            Keyframe,
            &[0],
        ),
        ("HEVC inter frame", VIDEO, &hex!("a1 68766331"), Frame, &[0]),
        ("HEVC end", VIDEO, &hex!("92 68766331"), End, &[0]),
        (
            "colours that call themselves a keyframe",
            VIDEO,
            &hex!("94 68766331 02"),
            TrackMetadata,
            &[0],
        ),
        (
            "colours that call themselves a command",
            VIDEO,
            &hex!("d4 68766331 02"),
            TrackMetadata,
            &[0],
        ),
        (
            "AV1 in MPEG-2 TS, start",
            VIDEO,
            &hex!("95 61763031"),
            VideoHeader,
            &[0],
        ),
        (
            "packet type 8, reserved",
            VIDEO,
            &hex!("98 61763031"),
            Frame,
            &[0],
        ),
        ("seek command", VIDEO, &hex!("d1 00"), Command, &[0]),
        (
            "seek command that looks like a start",
            VIDEO,
            &hex!("d0 01"),
            Command,
            &[0],
        ),
        (
            "keyframe without its FourCC",
            VIDEO,
            &hex!("91 6876"),
            Frame,
            &[0],
        ),
        (
            "second picture's start",
            VIDEO,
            &hex!("96 00 61766331 01 01"),
            VideoHeader,
            &[1],
        ),
        (
            "second picture's keyframe",
            VIDEO,
            &hex!("96 01 61766331 01 000000"),
            Keyframe,
            &[1],
        ),
        (
            "second picture's inter frame",
            VIDEO,
            &hex!("a6 03 61766331 01 00"),
            Frame,
            &[1],
        ),
        (
            "second picture's colours",
            VIDEO,
            &hex!("96 04 61766331 01 02"),
            TrackMetadata,
            &[1],
        ),
        (
            "keyframes of three pictures in one message",
            VIDEO,
            &hex!("96 13 61766331 00 000001 aa 01 000002 bbbb 02 000000"),
            Keyframe,
            &[0, 1, 2],
        ),
        (
            "keyframes of two pictures, two codecs",
            VIDEO,
            &hex!("96 23 61766331 00 000001 aa 68766331 07 000000"),
            Keyframe,
            &[0, 7],
        ),
        (
            "a track that is longer than the message",
            VIDEO,
            &hex!("96 13 61766331 00 000001 aa 01 ffffff bb 02 000000"),
            Keyframe,
            &[0, 1],
        ),
        (
            "tracks without one",
            VIDEO,
            &hex!("96 13 61766331"),
            Frame,
            &[0],
        ),
        (
            "tracks within tracks",
            VIDEO,
            &hex!("96 06 61766331 01"),
            Frame,
            &[0],
        ),
        (
            "a modifier within tracks",
            VIDEO,
            &hex!("96 07 00 00 01 61766331 01"),
            Frame,
            &[0],
        ),
        (
            "a layout of tracks that is reserved",
            VIDEO,
            &hex!("96 31 61766331 01"),
            Frame,
            &[0],
        ),
        (
            "keyframe in nanoseconds",
            VIDEO,
            &hex!("97 02 0003e8 03 68766331"),
            Keyframe,
            &[0],
        ),
        (
            "two modifiers",
            VIDEO,
            &hex!("97 02 0003e8 07 00 ff 13 68766331"),
            Keyframe,
            &[0],
        ),
        (
            "seek command after a modifier",
            VIDEO,
            &hex!("d7 00 ff 01 00"),
            Command,
            &[0],
        ),
        (
            "second picture after a modifier",
            VIDEO,
            &hex!("97 00 ff 06 03 61766331 01"),
            Keyframe,
            &[1],
        ),
        (
            "modifier without its data",
            VIDEO,
            &hex!("97 09 ff 03 68766331"),
            Frame,
            &[0],
        ),
        (
            "modifier of 65,536 bytes, missing",
            VIDEO,
            &hex!("97 ff ffff 03 68766331"),
            Frame,
            &[0],
        ),
    ];
    for (cause, kind, body, part, tracks) in rows {
        assert_eq!(Content::of(*kind, body), content(*part, tracks), "{cause}");
    }
}

#[test]
fn sizes_in_a_body_are_jumped_over_and_counts_are_bounded() {
    let large = [&hex!("97 ff 0100")[..], &[0xff; 257], &hex!("03 68766331")].concat();
    assert_eq!(
        Part::of(VIDEO, &large),
        Part::Keyframe,
        "modifier of 257 bytes"
    );
    let many = |count: u8| {
        let mut body = hex!("96 13 61766331").to_vec();
        for track in 0..count {
            body.extend([track, 0, 0x10, 0]);
            body.resize(body.len() + 0x1000, 0);
        }
        Content::of(VIDEO, &body)
    };
    assert_eq!(many(8), content(Part::Keyframe, &[0, 1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(many(9), many(8), "the ninth track is not told apart");
    let chain = |modifiers: usize| {
        let mut body = vec![0x97];
        for left in (0..modifiers).rev() {
            body.extend([0, 0xff, if left > 0 { 0x07 } else { 0x03 }]);
        }
        body.extend(b"hvc1");
        Part::of(VIDEO, &body)
    };
    assert_eq!(chain(31), Part::Keyframe);
    assert_eq!(chain(32), Part::Frame, "no encoder has so much to say");
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    // The first bytes decide most; later ones are sizes, which matter when they are small.
    let first = prop_oneof![any::<u8>(), Just(0x96), Just(0x97), Just(0x95), Just(0xa6)];
    let rest = prop::collection::vec(prop_oneof![any::<u8>(), 0u8..8, Just(0x13)], 0..160);
    (first, rest).prop_map(|(first, mut rest)| {
        rest.insert(0, first);
        rest
    })
}

proptest! {
    #[test]
    fn any_body_is_judged_by_at_most_64_of_its_bytes(kind in 0u8..24, body in body()) {
        let judged = Content::of(kind, &body);
        prop_assert!(judged.tracks.iter().count() >= 1);
        let mut looked_at = 0;
        for at in 0..body.len() {
            let mut other = body.clone();
            // A byte that was read shows in the answer under one of these changes, or does not matter.
            let differs = [0xff, 0x0f, 0xf0, 0x01].iter().any(|change| {
                other[at] = body[at] ^ change;
                Content::of(kind, &other) != judged
            });
            looked_at += usize::from(differs);
        }
        prop_assert!(looked_at <= MAX_LOOK, "{looked_at} bytes decide");
    }

    #[test]
    fn a_body_cut_anywhere_is_judged_and_never_a_keyframe_it_was_not(body in body()) {
        let whole = Part::of(VIDEO, &body);
        for end in 0..body.len() {
            let part = Part::of(VIDEO, &body[..end]);
            prop_assert!(part == whole || part == Part::Frame, "{part:?} of {whole:?}");
        }
    }
}
