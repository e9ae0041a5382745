//! A publisher whose origin is lost at any byte, and that gets another at any later byte: whatever is cut in two, the
//! second origin decodes headers and then everything from a keyframe on.

use proptest::prelude::*;
use sluicegate_core::media::part::Part;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::chunk::{ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::handshake::ServerHandshake;
use sluicegate_core::rtmp::join::{Join, Joined, Progress};
use sluicegate_core::rtmp::message::{Command, Message, kind};
use sluicegate_core::rtmp::server::{Identified, Server, ServerEvent};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn another_origin_gets_headers_and_everything_from_a_keyframe_on(
        wire in any_wire(true),
        at in any::<prop::sample::Index>(),
        for_bytes in any::<prop::sample::Index>(),
        piece in prop_oneof![Just(usize::MAX), 1..300_usize],
    ) {
        let lost = at.index(wire.bytes.len() + 1);
        let back = lost + for_bytes.index(wire.bytes.len() + 1 - lost);
        let mut session = Session::begin();
        session.publish(&wire.bytes[..lost], piece);
        session.lose(lost);
        prop_assert!(session.publish(&wire.bytes[lost..back], piece).is_empty(), "there is no origin");
        let heard = session.resume(&wire.bytes[back..], piece);
        check(&wire, &heard, lost, back)?;
    }

    #[test]
    fn a_third_origin_gets_no_less(
        wire in any_wire(true),
        cuts in prop::array::uniform4(any::<prop::sample::Index>()),
        piece in prop_oneof![Just(usize::MAX), 1..300_usize],
    ) {
        let mut cuts = cuts.map(|cut| cut.index(wire.bytes.len() + 1));
        cuts.sort_unstable();
        let [first, second, third, fourth] = cuts;
        let mut session = Session::begin();
        session.publish(&wire.bytes[..first], piece);
        session.lose(first);
        session.publish(&wire.bytes[first..second], piece);
        let heard = session.resume(&wire.bytes[second..third], piece);
        let between: Vec<_> = heard.iter().filter(|message| !is_header(message)).collect();
        let known: Vec<_> = wire.sent.iter().map(|sent| &sent.message).collect();
        prop_assert!(between.iter().all(|message| known.contains(message)), "nothing is made up");
        session.lose(third);
        session.publish(&wire.bytes[third..fourth], piece);
        let heard = session.resume(&wire.bytes[fourth..], piece);
        check(&wire, &heard, third, fourth)?;
    }

    #[test]
    fn sound_without_pictures_begins_with_the_next_sound(
        wire in any_wire(false),
        at in any::<prop::sample::Index>(),
        for_bytes in any::<prop::sample::Index>(),
    ) {
        let lost = at.index(wire.bytes.len() + 1);
        let back = lost + for_bytes.index(wire.bytes.len() + 1 - lost);
        let mut session = Session::begin();
        session.publish(&wire.bytes[..lost], usize::MAX);
        session.lose(lost);
        session.publish(&wire.bytes[lost..back], usize::MAX);
        let heard = session.resume(&wire.bytes[back..], usize::MAX);
        let frames: Vec<_> = wire.sent.iter().filter(|sent| sent.start >= back && !is_header(&sent.message)).collect();
        let got: Vec<_> = heard.iter().filter(|message| !is_header(message)).collect();
        prop_assert!(got.len() >= frames.len(), "{} of {}", got.len(), frames.len());
        for (got, sent) in got.iter().rev().zip(frames.iter().rev()) {
            prop_assert_eq!(*got, &sent.message);
        }
    }

    #[test]
    fn a_publisher_that_moves_loses_no_picture_and_repeats_none(
        wire in any_wire(true),
        at in any::<prop::sample::Index>(),
        piece in prop_oneof![Just(usize::MAX), 1..300_usize],
    ) {
        let at = at.index(wire.bytes.len() + 1);
        let moved = move_at(&wire, at, piece);
        let sent = |kind| of_kind(wire.sent.iter().map(|sent| &sent.message), kind);
        let heard = |kind| of_kind(moved.old.iter().chain(&moved.new), kind);
        prop_assert_eq!(heard(kind::VIDEO), sent(kind::VIDEO));
        let (sounds, all) = (heard(kind::AUDIO), sent(kind::AUDIO));
        prop_assert!(all.len() - sounds.len() <= 1, "{} of {}", sounds.len(), all.len());
        prop_assert!(sounds.iter().all(|sound| all.contains(sound)));
        let keyframe = wire.sent.iter().any(|sent| sent.start >= at && is_keyframe(&sent.message));
        prop_assert!(moved.is_made || !keyframe, "a keyframe was missed");
        if moved.is_made {
            check(&wire, &moved.new, 0, at)?;
        } else {
            prop_assert!(moved.new.is_empty());
        }
    }

    #[test]
    fn a_move_that_is_called_off_leaves_no_trace(
        wire in any_wire(true),
        cuts in prop::array::uniform2(any::<prop::sample::Index>()),
        piece in prop_oneof![Just(usize::MAX), 1..300_usize],
    ) {
        let mut cuts = cuts.map(|cut| cut.index(wire.bytes.len() + 1));
        cuts.sort_unstable();
        let mut session = Session::begin();
        let mut out = session.publish(&wire.bytes[..cuts[0]], piece);
        let (other, said) = session.second();
        prop_assert!(session.joined.begin_move(other, &said));
        out.extend(session.publish(&wire.bytes[cuts[0]..cuts[1]], piece));
        if !session.joined.is_cut() {
            session.joined.cancel_move();
            out.extend(session.publish(&wire.bytes[cuts[1]..], piece));
            prop_assert_eq!(out, wire.bytes);
        }
    }

    #[test]
    fn while_the_origin_stays_nothing_differs(wire in any_wire(true), piece in 1..300_usize) {
        let mut noting = Session::begin();
        prop_assert_eq!(noting.publish(&wire.bytes, piece), wire.bytes);
    }

    #[test]
    fn the_client_can_read_all_it_hears(
        said in prop::collection::vec(any_word(), 0..6),
        cut in any::<prop::sample::Index>(),
        sent in 0..2_000_000_usize,
    ) {
        let mut session = Session::begin();
        let mut wire = Vec::new();
        let mut writer = ChunkWriter::new(128);
        for word in &said {
            writer.write(2, word, &mut wire);
            if word.kind == kind::SET_CHUNK_SIZE {
                writer.set_chunk_size(u32::from_be_bytes(word.payload[..4].try_into().unwrap()));
            }
        }
        let cut = cut.index(wire.len() + 1);
        let mut heard = session.joined.to_client(&wire[..cut]).unwrap().to_vec();
        heard.extend(session.joined.lose_origin(0));
        let audio = vec![0; sent];
        let _ = session.joined.to_origin(&chunks(&sound(0, &audio)));
        heard.extend(session.joined.take_words().unwrap_or_default());
        let (second, first) = session.second();
        session.joined.resume(second, &first).unwrap();
        let mut pings = Vec::new();
        ChunkWriter::new(128).write(2, &Message::window_ack_size(9), &mut pings);
        ChunkWriter::new(128).write(2, &Message::set_chunk_size(9000), &mut pings);
        ChunkWriter::new(9000).write(2, &Message::user_control(6, 4711), &mut pings);
        heard.extend(session.joined.to_client(&pings).unwrap());
        let heard = read(&heard);
        prop_assert_eq!(heard.last(), Some(&Message::user_control(6, 4711)));
        let acknowledged = heard.iter().any(|message| message.kind == kind::ACKNOWLEDGEMENT && message.timestamp == 0 && message.payload.len() == 4);
        prop_assert!(acknowledged || sent < 300_000);
        let sizes = |messages: &[Message]| messages.iter().filter(|message| message.kind == kind::SET_CHUNK_SIZE).count();
        prop_assert!(sizes(&heard) <= sizes(&said), "the second origin's chunks are not the client's");
    }
}

#[test]
fn the_recipe_tells_who_asked_for_what_and_nothing_else() {
    let identified = identified();
    let recipe = sluicegate_core::rtmp::recipe::Recipe::new(&identified);
    let again = recipe.identified().unwrap();
    assert_eq!(again.request, identified.request);
    assert_eq!(again.commands, identified.commands);
    assert_eq!(again.answered, identified.answered);
}

#[test]
fn a_hold_is_no_distance_of_keyframes() {
    let mut encoder = Encoder::new(0);
    encoder.header(kind::VIDEO, 0);
    // A keyframe every two seconds; the origin is lost after the third and another has the stream before the seventh.
    let mut cuts = Vec::new();
    for number in 0..9 {
        if number == 3 || number == 6 {
            cuts.push(encoder.bytes.len());
        }
        // One that is away may be as short as a header.
        encoder.frame(0x17, number, if number == 4 { 60 } else { 20_000 });
        encoder.time += 1_000;
        encoder.frame(0x27, number, 300);
        encoder.time += 1_000;
    }
    let (lost, back) = (cuts[0], cuts[1]);
    let mut session = Session::begin();
    let apart = |session: &Session| session.joined.recipe().unwrap().keyframes_apart();
    session.publish(&encoder.bytes[..lost], usize::MAX);
    assert_eq!(apart(&session), 2_000);
    session.lose(lost);
    session.publish(&encoder.bytes[lost..back], usize::MAX);
    assert_eq!(apart(&session), 0, "it is not known");
    session.resume(&encoder.bytes[back..], usize::MAX);
    assert_eq!(apart(&session), 2_000);
}

/// Joins a client with an origin that numbers message streams from 7 on, and says this together with its grant.
fn join_seventh(identified: &Identified, then: &[Message]) -> (Joined, Vec<u8>) {
    let mut join = Join::step_by_step(identified, [6; 32]).expect("it can be walked");
    let mut handshake = ServerHandshake::new([7; 32]);
    let mut reader = ChunkReader::new(1 << 20);
    let writer = ChunkWriter::new(128);
    while *join.progress() != Progress::Joined {
        let out = join.take_output();
        let taken = match handshake.is_done() {
            true => 0,
            false => handshake.feed(&out).expect("a handshake"),
        };
        let mut said = handshake.poll_output().unwrap_or_default();
        let mut input = &out[taken..];
        while let Some(message) = reader.read(&mut input).expect("chunks") {
            let Ok(command) = Command::decode(message.kind, &message.payload) else {
                continue;
            };
            let seventh = Value::Number(7.0);
            let result = Command::result(command.transaction_id, Value::Null, seventh);
            let mut answers = vec![Message::command(0, &result)];
            if command.name == "publish" {
                let code = "NetStream.Publish.Start";
                let grant = Command::on_status("status", code, "granted");
                answers = vec![Message::command(7, &grant)];
                answers.extend_from_slice(then);
            }
            for answer in answers {
                writer.write(3, &answer, &mut said);
            }
        }
        assert!(!said.is_empty(), "it waits: {:?}", join.progress());
        join.feed(&said).expect("RTMP");
    }
    join.into_joined()
}

fn warning(stream_id: u32, words: &str) -> Message {
    let code = "NetStream.Publish.InsufficientBW";
    Message::command(stream_id, &Command::on_status("warning", code, words))
}

/// What a later origin says of its own accord, and what the client hears of that.
#[test]
fn a_later_origin_is_heard_as_the_first_one_is() {
    let call = |name: &str, id: f64| Message::command(0, &Command::call(name, id, Vec::new()));
    let status = |level, code, words| Message::command(7, &Command::on_status(level, code, words));
    let on_one = |message: &Message| Message {
        stream_id: 1,
        ..message.clone()
    };
    let denied = status("error", "NetStream.Publish.Denied", "over");
    let answer = Message::command(0, &Command::result(9.0, Value::Null, Value::Null));
    let elsewhere = Command::call(
        "onStatus",
        0.0,
        vec![Value::Object(vec![
            ("level".to_owned(), "status".into()),
            (
                "code".to_owned(),
                "NetConnection.Connect.ReconnectRequest".into(),
            ),
            ("tcUrl".to_owned(), "rtmp://10.0.0.2/live".into()),
        ])],
    );
    // A description; what the origin says; what the client hears.
    let rows = [
        ("an error", denied.clone(), Some(on_one(&denied))),
        ("a warning", warning(7, "late"), Some(warning(1, "late"))),
        (
            "a call of its own",
            call("onFI", 0.0),
            Some(call("onFI", 0.0)),
        ),
        (
            "the answer to a later command",
            answer.clone(),
            Some(answer),
        ),
        (
            "a ping",
            Message::user_control(6, 4711),
            Some(Message::user_control(6, 4711)),
        ),
        (
            "another grant",
            status("status", "NetStream.Publish.Start", "granted"),
            None,
        ),
        ("what belongs to its set-up", call("onBWDone", 0.0), None),
        ("another place", Message::command(0, &elsewhere), None),
        ("its window", Message::window_ack_size(9), None),
        (
            "the beginning of a stream",
            Message::user_control(0, 7),
            None,
        ),
        ("media", sound(0, &[0; 20]), None),
    ];
    let begun = || {
        let mut session = Session::begin();
        session.publish(&chunks(&sound(0, &[0; 20])), usize::MAX);
        let identified = session.joined.recipe().unwrap().identified().unwrap();
        (session, identified)
    };
    for (cause, says, expected) in rows {
        let expected: Vec<_> = expected.into_iter().collect();
        let mut wire = Vec::new();
        ChunkWriter::new(128).write(3, &says, &mut wire);

        let (mut session, identified) = begun();
        session.lose(0);
        let (second, said) = join_seventh(&identified, &[]);
        session.joined.resume(second, &said).unwrap();
        assert_eq!(session.joined.take_words(), None, "{cause}: its set-up");
        // In pieces, the first of which is a part of a header.
        let mut heard = session.joined.to_client(&wire[..2]).unwrap().to_vec();
        heard.extend(session.joined.to_client(&wire[2..]).unwrap());
        assert_eq!(read(&heard), expected, "{cause}: after a hold");
        let is_error = session.joined.take_error().is_some();
        assert_eq!(is_error, cause == "an error", "{cause}");

        let (mut session, identified) = begun();
        session.lose(0);
        let (second, said) = join_seventh(&identified, std::slice::from_ref(&says));
        session.joined.resume(second, &said).unwrap();
        let heard = session.joined.take_words().unwrap_or_default();
        assert_eq!(read(&heard), expected, "{cause}: with its grant");

        let (mut session, identified) = begun();
        let (other, said) = join_seventh(&identified, &[warning(7, "too soon")]);
        assert!(session.joined.begin_move(other, &said));
        let mut too_soon = Vec::new();
        ChunkWriter::new(128).write(3, &warning(7, "too soon"), &mut too_soon);
        session.joined.hear_other(&too_soon).unwrap();
        session.publish(&chunks(&sound(0, &[0; 20])), usize::MAX);
        assert!(session.joined.is_cut());
        session.joined.make_move(0);
        let heard = session.joined.to_client(&wire).unwrap().to_vec();
        assert_eq!(read(&heard), expected, "{cause}: after a move");
    }
}

/// The second origin's messages: headers as they were last sent, each once, then all from a keyframe on.
fn check(wire: &Wire, heard: &[Message], lost: usize, back: usize) -> Result<(), TestCaseError> {
    let frames: Vec<_> = heard
        .iter()
        .position(|message| !is_header(message))
        .map_or(&[][..], |at| &heard[at..])
        .to_vec();
    let first = wire
        .sent
        .iter()
        .find(|sent| sent.start >= back && is_keyframe(&sent.message));
    // Sound between the chunks of a picture is complete before it.
    let Some(begin) = frames.iter().find(|message| message.kind == kind::VIDEO) else {
        prop_assert!(
            first.is_none() && frames.is_empty(),
            "a keyframe was missed"
        );
        return Ok(());
    };
    prop_assert!(is_keyframe(begin), "it begins with {begin:?}");
    let at = wire
        .sent
        .iter()
        .position(|sent| sent.message == *begin)
        .expect("it was sent");
    let begun = wire.sent[at].start;
    // One that was cut before it could be told what it is is written out whole.
    let ended = wire
        .sent
        .get(at + 1)
        .map_or(wire.bytes.len(), |next| next.start);
    prop_assert!(ended > lost && first.is_none_or(|first| begun <= first.start));
    let of = |messages: &[Message], kind: u8| -> Vec<Message> {
        let of_kind = messages.iter().filter(|message| message.kind == kind);
        of_kind.cloned().collect()
    };
    let after: Vec<Message> = wire.sent[at..]
        .iter()
        .map(|sent| sent.message.clone())
        .collect();
    prop_assert_eq!(of(&frames, kind::VIDEO), of(&after, kind::VIDEO));
    prop_assert_eq!(of(&frames, kind::DATA_AMF0), of(&after, kind::DATA_AMF0));
    let (sounds, sent) = (of(&frames, kind::AUDIO), of(&after, kind::AUDIO));
    prop_assert!(sent.ends_with(&sounds) && sent.len() - sounds.len() <= 1);
    let mut newest: Vec<Message> = Vec::new();
    for sent in wire.sent[..at]
        .iter()
        .filter(|sent| is_header(&sent.message))
    {
        newest.retain(|kept| kept.kind != sent.message.kind);
        newest.push(sent.message.clone());
    }
    let headers = &heard[..heard.len() - frames.len()];
    prop_assert_eq!(headers.len(), newest.len());
    for kept in newest {
        let found = headers.iter().find(|header| header.kind == kept.kind);
        let found = found.expect("each is there");
        prop_assert_eq!(&found.payload, &kept.payload);
        prop_assert_eq!(found.timestamp, begin.timestamp);
        prop_assert_eq!(found.stream_id, 1);
    }
    Ok(())
}

/// What the two origins of a publisher decoded that was moved.
struct MovedPublisher {
    old: Vec<Message>,
    new: Vec<Message>,
    is_made: bool,
}

/// Another origin takes the stream after `at` bytes.
fn move_at(wire: &Wire, at: usize, piece: usize) -> MovedPublisher {
    let mut identified = identified();
    identified.keeps_recipe = true;
    let (joined, _, mut old) = join(&identified);
    let mut session = Session { joined };
    let (other, said, mut new) = join(&session.joined.recipe().unwrap().identified().unwrap());
    let mut to_old = session.publish(&wire.bytes[..at], piece);
    assert!(session.joined.begin_move(other, &said), "its origin has it");
    let mut rest = &wire.bytes[at..];
    while !rest.is_empty() && !session.joined.is_cut() {
        let (next, after) = rest.split_at(piece.min(rest.len()));
        to_old.extend(session.joined.to_origin(next).expect("it can be walked"));
        rest = after;
    }
    let is_made = session.joined.is_cut();
    let mut to_new = Vec::new();
    if is_made {
        let made = session.joined.make_move(0);
        assert!(
            made.to_client.is_empty(),
            "the origin said nothing by halves"
        );
        to_new = made.to_origin;
        to_new.extend(session.publish(rest, piece));
    }
    MovedPublisher {
        old: decoded(&mut old, &to_old),
        new: decoded(&mut new, &to_new),
        is_made,
    }
}

fn decoded(origin: &mut Server, bytes: &[u8]) -> Vec<Message> {
    origin.feed(bytes).expect("it can be read");
    let mut heard = Vec::new();
    while let Some(event) = origin.poll_event() {
        match event {
            ServerEvent::Media(message) => heard.push(message),
            event => panic!("{event:?}"),
        }
    }
    heard
}

/// The frames of one kind, without headers.
fn of_kind<'a>(messages: impl Iterator<Item = &'a Message>, kind: u8) -> Vec<Message> {
    let of_kind = messages.filter(|message| message.kind == kind && !is_header(message));
    of_kind.cloned().collect()
}

/// A publisher that is joined, and its bytes on their way.
struct Session {
    joined: Joined,
}

impl Session {
    fn begin() -> Self {
        let mut identified = identified();
        identified.keeps_recipe = true;
        let (joined, ..) = join(&identified);
        Self { joined }
    }

    fn publish(&mut self, bytes: &[u8], piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for bytes in bytes.chunks(piece) {
            out.extend(self.joined.to_origin(bytes).expect("it can be walked"));
        }
        out
    }

    fn lose(&mut self, received: usize) {
        let owed = self.joined.lose_origin(received as u64);
        assert!(owed.is_empty(), "the origin said nothing by halves");
    }

    /// Another origin, and what it said while it was asked.
    fn second(&self) -> (Joined, Vec<u8>) {
        let identified = self.joined.recipe().unwrap().identified().unwrap();
        let (joined, said, _) = join(&identified);
        (joined, said)
    }

    /// Another origin; what it decodes of the bytes that follow.
    fn resume(&mut self, bytes: &[u8], piece: usize) -> Vec<Message> {
        let identified = self.joined.recipe().unwrap().identified().unwrap();
        let (origin, said, mut server) = join(&identified);
        let mut out = self.joined.resume(origin, &said).expect("it can be read");
        out.extend(self.publish(bytes, piece));
        decoded(&mut server, &out)
    }
}

fn identified() -> Identified {
    let mut connect = Command::call("connect", 1.0, Vec::new());
    connect.object = Value::Object(vec![("tcUrl".to_owned(), "rtmp://h/live".into())]);
    let mut wire = handshake();
    for (stream_id, command) in [
        (0, connect),
        (0, Command::call("releaseStream", 2.0, vec!["a".into()])),
        (0, Command::call("createStream", 3.0, Vec::new())),
        (
            1,
            Command::call("publish", 4.0, vec!["a?k=v".into(), "live".into()]),
        ),
    ] {
        ChunkWriter::new(128).write(3, &Message::command(stream_id, &command), &mut wire);
    }
    let mut server = Server::identifying([5; 32], None);
    assert_eq!(server.feed(&wire), Ok(()));
    server.into_identified().expect("it asked")
}

/// Joins a client with an origin, which is returned too, with what it said meanwhile.
fn join(identified: &Identified) -> (Joined, Vec<u8>, Server) {
    let mut join = Join::replaying(identified, [6; 32]).expect("it can be walked");
    let mut server = Server::serving([7; 32], None);
    while *join.progress() != Progress::Joined {
        let out = join.take_output();
        server.feed(&out).expect("RTMP");
        while let Some(event) = server.poll_event() {
            if let ServerEvent::Request(request) = event {
                server.accept(request.stream_id).expect("it asked");
            }
        }
        let Some(said) = server.poll_output() else {
            panic!("the origin waits: {:?}", join.progress());
        };
        join.feed(&said).expect("RTMP");
    }
    let (joined, said) = join.into_joined();
    (joined, said, server)
}

/// What an encoder put on the wire.
#[derive(Debug)]
struct Wire {
    bytes: Vec<u8>,
    sent: Vec<Sent>,
}

#[derive(Debug)]
struct Sent {
    message: Message,
    /// Where its first byte is.
    start: usize,
}

/// Headers, then frames, some of them between the chunks of others; now and then a header again, or another chunk size.
fn any_wire(pictures: bool) -> impl Strategy<Value = Wire> {
    let frame = (0..12_u8, 1..700_usize, 0..60_u32);
    let start = prop_oneof![Just(0), Just(16_777_000_u32), Just(u32::MAX - 300)];
    let sizes = prop_oneof![Just(64_u32), Just(128), Just(4096)];
    (prop::collection::vec(frame, 1..40), start, sizes).prop_map(move |(frames, time, size)| {
        let mut encoder = Encoder::new(time);
        encoder.chunk_size(size);
        encoder.header(kind::DATA_AMF0, 0);
        encoder.header(kind::AUDIO, 0);
        if pictures {
            encoder.header(kind::VIDEO, 0);
        }
        for (number, (choice, length, delta)) in frames.into_iter().enumerate() {
            encoder.time = encoder.time.wrapping_add(delta);
            let number = number as u8 + 1;
            match choice {
                0 => encoder.header(kind::DATA_AMF0, number),
                1 => encoder.header(kind::AUDIO, number),
                2 if pictures => encoder.header(kind::VIDEO, number),
                3 => encoder.chunk_size(64 + length as u32),
                4 | 5 if pictures => encoder.frame(0x17, number, length),
                6..=8 if pictures => encoder.frame(0x27, number, length),
                9 if pictures => encoder.frame_around_sound(0x17, number, length),
                _ => encoder.sound(number, length),
            }
        }
        Wire {
            bytes: encoder.bytes,
            sent: encoder.sent,
        }
    })
}

struct Encoder {
    time: u32,
    chunk_size: usize,
    bytes: Vec<u8>,
    sent: Vec<Sent>,
    /// The last header of each chunk stream: timestamp, length, kind, delta.
    last: std::collections::BTreeMap<u8, (u32, usize, u8, Option<u32>)>,
}

impl Encoder {
    fn new(time: u32) -> Self {
        Self {
            time,
            chunk_size: 128,
            bytes: Vec::new(),
            sent: Vec::new(),
            last: std::collections::BTreeMap::new(),
        }
    }

    fn chunk_size(&mut self, size: u32) {
        let mut bytes = Vec::new();
        ChunkWriter::new(128).write(2, &Message::set_chunk_size(size), &mut bytes);
        self.bytes.extend(bytes);
        self.chunk_size = size as usize;
    }

    fn header(&mut self, kind: u8, version: u8) {
        let payload = match kind {
            kind::AUDIO => vec![0xAF, 0, version, 0x10],
            kind::VIDEO => [&[0x17, 0, 0, 0, 0, version][..], &[1; 200]].concat(),
            _ => [
                &b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData"[..],
                &[version; 150],
            ]
            .concat(),
        };
        self.write(kind, payload, None);
    }

    fn frame(&mut self, first: u8, number: u8, length: usize) {
        let payload = [&[first, 1, 0, 0, 0][..], &vec![number; length]].concat();
        self.write(kind::VIDEO, payload, None);
    }

    fn sound(&mut self, number: u8, length: usize) {
        let payload = [&[0xAF, 1][..], &vec![number; length]].concat();
        self.write(kind::AUDIO, payload, None);
    }

    /// A picture, with sound after its first chunk.
    fn frame_around_sound(&mut self, first: u8, number: u8, length: usize) {
        let payload = [&[first, 1, 0, 0, 0][..], &vec![number; length]].concat();
        let sound = [&[0xAF, 1][..], &[number; 20]].concat();
        self.write(kind::VIDEO, payload, Some(sound));
    }

    fn write(&mut self, kind: u8, payload: Vec<u8>, between: Option<Vec<u8>>) {
        let id = match kind {
            kind::AUDIO => 4,
            kind::VIDEO => 6,
            _ => 5,
        };
        let start = self.bytes.len();
        let message = Message {
            timestamp: self.time,
            kind,
            stream_id: 1,
            payload,
        };
        self.sent.push(Sent {
            message: message.clone(),
            start,
        });
        let field = self.start(id, &message);
        let mut between = between;
        for (index, chunk) in message.payload.chunks(self.chunk_size).enumerate() {
            if index > 0 {
                if let Some(sound) = between.take() {
                    self.write(kind::AUDIO, sound, None);
                }
                self.bytes.push(0xC0 | id);
                if field >= 0xFF_FFFF {
                    self.bytes.extend(field.to_be_bytes());
                }
            }
            self.bytes.extend(chunk);
        }
    }

    /// The shortest header that says it; returns its timestamp field.
    fn start(&mut self, id: u8, message: &Message) -> u32 {
        let length = message.payload.len();
        let last = self.last.get(&id).copied();
        let delta = last.map(|(time, ..)| message.timestamp.wrapping_sub(time));
        let (format, field) = match (last, delta) {
            (Some((_, bytes, kind, before)), Some(delta))
                if bytes == length && kind == message.kind =>
            {
                (if before == Some(delta) { 3 } else { 2 }, delta)
            }
            (Some(_), Some(delta)) => (1, delta),
            _ => (0, message.timestamp),
        };
        self.bytes.push(format << 6 | id);
        let short = field.min(0xFF_FFFF).to_be_bytes();
        if format < 3 {
            self.bytes.extend(&short[1..]);
        }
        if format < 2 {
            self.bytes.extend(&(length as u32).to_be_bytes()[1..]);
            self.bytes.push(message.kind);
        }
        if format == 0 {
            self.bytes.extend(message.stream_id.to_le_bytes());
        }
        if field >= 0xFF_FFFF {
            self.bytes.extend(field.to_be_bytes());
        }
        let said = if format == 0 { None } else { Some(field) };
        self.last
            .insert(id, (message.timestamp, length, message.kind, said));
        field
    }
}

/// What an origin says to a publisher between two commands.
fn any_word() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u32>().prop_map(Message::acknowledgement),
        any::<u32>().prop_map(|time| Message::user_control(6, time)),
        (128..70_000_u32).prop_map(Message::set_chunk_size),
        Just(Message::window_ack_size(2_500_000)),
    ]
}

fn sound(timestamp: u32, body: &[u8]) -> Message {
    Message {
        timestamp,
        kind: kind::AUDIO,
        stream_id: 1,
        payload: [&[0xAF, 1][..], body].concat(),
    }
}

fn chunks(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    ChunkWriter::new(128).write(4, message, &mut bytes);
    bytes
}

fn read(mut bytes: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(1 << 24);
    let mut messages = Vec::new();
    while let Some(message) = reader.read(&mut bytes).expect("chunks") {
        messages.push(message);
    }
    messages
}

fn is_header(message: &Message) -> bool {
    Part::of(message.kind, &message.payload).is_header()
}

fn is_keyframe(message: &Message) -> bool {
    Part::of(message.kind, &message.payload) == Part::Keyframe
}

fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
}
