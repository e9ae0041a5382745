//! The server and the client machines: with the ways in which real clients ask, with each other over any split of the
//! bytes, and with malicious peers.

use hex_literal::hex;
use proptest::prelude::*;
use sluicegate_core::dialect::RtmpAddress;
use sluicegate_core::rtmp::amf0::{Amf0Error, Value};
use sluicegate_core::rtmp::chunk::{ChunkError, ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::client::{Client, ClientError, ClientEvent};
use sluicegate_core::rtmp::handshake::HandshakeError;
use sluicegate_core::rtmp::header::HeaderError;
use sluicegate_core::rtmp::message::{
    Command, CommandError, EnhancedRtmp, Message, kind, user_control,
};
use sluicegate_core::rtmp::server::{
    Answered, MAX_REPLAY, Server, ServerError, ServerEvent, StreamRequest, What,
};
use sluicegate_core::stream::Action;

#[test]
fn real_clients_are_identified_in_their_own_order() {
    struct Row {
        client: &'static str,
        sends: Vec<Message>,
        asks: (Action, &'static str, u32),
        is_told: &'static [&'static str],
        answered: Vec<(f64, What)>,
    }
    use Action::{Play, Publish};
    use What::{Connect, Other};
    let stream = |stream_id| What::CreateStream { stream_id };
    let rows = [
        Row {
            client: "OBS (librtmp): sets its chunk size first, checks bandwidth before publish",
            sends: vec![
                Message::set_chunk_size(4096),
                connect(
                    1.0,
                    &[
                        ("type", "nonprivate"),
                        ("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)"),
                    ],
                ),
                call(0, "releaseStream", 2.0, &["a".into()]),
                call(0, "FCPublish", 3.0, &["a".into()]),
                call(0, "createStream", 4.0, &[]),
                call(0, "_checkbw", 5.0, &[]),
                call(1, "publish", 6.0, &["a".into(), "live".into()]),
            ],
            asks: (Publish, "a", 1),
            is_told: &[
                "_result 1",
                "_result 2",
                "_result 3",
                "_result 4",
                "_result 5",
            ],
            answered: vec![
                (1.0, Connect),
                (2.0, Other),
                (3.0, Other),
                (4.0, stream(1)),
                (5.0, Other),
            ],
        },
        Row {
            client: "FFmpeg: its window first; publish carries a token",
            sends: vec![
                connect(1.0, &[("flashVer", "FMLE/3.0 (compatible; Lavf61.7.100)")]),
                Message::window_ack_size(2_500_000),
                call(0, "releaseStream", 2.0, &["a?token=x".into()]),
                call(0, "FCPublish", 3.0, &["a?token=x".into()]),
                call(0, "createStream", 4.0, &[]),
                call(0, "_checkbw", 5.0, &[]),
                call(1, "publish", 6.0, &["a?token=x".into(), "live".into()]),
            ],
            asks: (Publish, "a?token=x", 1),
            is_told: &[
                "_result 1",
                "_result 2",
                "_result 3",
                "_result 4",
                "_result 5",
            ],
            answered: vec![
                (1.0, Connect),
                (2.0, Other),
                (3.0, Other),
                (4.0, stream(1)),
                (5.0, Other),
            ],
        },
        Row {
            client: "Flash Media Live Encoder: publish without an answer wanted, releaseStream late",
            sends: vec![
                connect(1.0, &[("flashVer", "FMLE/3.0 (compatible; FMSc/1.0)")]),
                call(0, "createStream", 2.0, &[]),
                call(0, "releaseStream", 3.0, &["a".into()]),
                call(0, "FCPublish", 4.0, &["a".into()]),
                call(1, "publish", 0.0, &["a".into(), "live".into()]),
            ],
            asks: (Publish, "a", 1),
            is_told: &["_result 1", "_result 2", "_result 3", "_result 4"],
            answered: vec![(1.0, Connect), (2.0, stream(1)), (3.0, Other), (4.0, Other)],
        },
        Row {
            client: "Larix: createStream and publish, nothing else",
            sends: vec![
                connect(1.0, &[("app", "live")]),
                Message::set_chunk_size(65_536),
                call(0, "createStream", 2.0, &[]),
                call(1, "publish", 3.0, &["a".into(), "live".into()]),
            ],
            asks: (Publish, "a", 1),
            is_told: &["_result 1", "_result 2"],
            answered: vec![(1.0, Connect), (2.0, stream(1))],
        },
        Row {
            client: "GStreamer rtmp2sink: acknowledges and pings between its commands",
            sends: vec![
                connect(1.0, &[]),
                Message::acknowledgement(3073),
                call(0, "releaseStream", 2.0, &["a".into()]),
                call(0, "FCPublish", 3.0, &["a".into()]),
                Message::user_control(user_control::PING_REQUEST, 77),
                call(0, "createStream", 4.0, &[]),
                call(1, "publish", 5.0, &["a".into(), "live".into()]),
            ],
            asks: (Publish, "a", 1),
            is_told: &[
                "_result 1",
                "_result 2",
                "_result 3",
                "ping 77",
                "_result 4",
            ],
            answered: vec![(1.0, Connect), (2.0, Other), (3.0, Other), (4.0, stream(1))],
        },
        Row {
            client: "ffplay: asks for the length, says how much it buffers",
            sends: vec![
                connect(1.0, &[]),
                Message::window_ack_size(2_500_000),
                call(0, "createStream", 2.0, &[]),
                call(0, "getStreamLength", 3.0, &["a".into()]),
                set_buffer_length(1),
                call(1, "play", 4.0, &["a".into(), Value::Number(-2000.0)]),
            ],
            asks: (Play, "a", 1),
            is_told: &["_result 1", "_result 2", "_result 3"],
            answered: vec![(1.0, Connect), (2.0, stream(1)), (3.0, Other)],
        },
        Row {
            client: "a CDN's player: subscribes first, pauses before it plays",
            sends: vec![
                connect(1.0, &[]),
                call(0, "FCSubscribe", 2.0, &["a".into()]),
                call(0, "createStream", 3.0, &[]),
                call(
                    1,
                    "pause",
                    0.0,
                    &[Value::Boolean(false), Value::Number(0.0)],
                ),
                call(1, "receiveAudio", 0.0, &[Value::Boolean(true)]),
                call(1, "play", 0.0, &["a".into()]),
            ],
            asks: (Play, "a", 1),
            is_told: &["_result 1", "_result 2", "_result 3"],
            answered: vec![(1.0, Connect), (2.0, Other), (3.0, stream(1))],
        },
        Row {
            client: "Flash with objectEncoding 3: commands of type 17",
            sends: vec![
                connect(1.0, &[]),
                amf3(call(0, "createStream", 2.0, &[])),
                amf3(call(1, "play", 3.0, &["a".into()])),
            ],
            asks: (Play, "a", 1),
            is_told: &["_result 1", "_result 2"],
            answered: vec![(1.0, Connect), (2.0, stream(1))],
        },
        Row {
            client: "Flash with play2, which wraps the name, on its second stream",
            sends: vec![
                connect(1.0, &[]),
                call(0, "createStream", 2.0, &[]),
                call(0, "createStream", 3.0, &[]),
                call(2, "play", 0.0, &[Value::Boolean(false)]),
                call(
                    2,
                    "play2",
                    0.0,
                    &[Value::Object(vec![("streamName".to_owned(), "a".into())])],
                ),
            ],
            asks: (Play, "a", 2),
            is_told: &["_result 1", "_result 2", "_result 3"],
            answered: vec![(1.0, Connect), (2.0, stream(1)), (3.0, stream(2))],
        },
        Row {
            client: "an encoder whose whole path is the app and whose name is empty",
            sends: vec![
                connect(1.0, &[]),
                call(0, "createStream", 2.0, &[]),
                call(1, "publish", 3.0, &["".into(), "live".into()]),
            ],
            asks: (Publish, "", 1),
            is_told: &["_result 1", "_result 2"],
            answered: vec![(1.0, Connect), (2.0, stream(1))],
        },
    ];
    for Row {
        client,
        sends,
        asks,
        is_told,
        answered,
    } in rows
    {
        let wire = wire(&sends);
        for step in [1, 100, usize::MAX] {
            let mut server = shaken(Server::identifying(SEED, None));
            for piece in wire.chunks(step) {
                assert_eq!(server.feed(piece), Ok(()), "{client}");
            }
            let Some(ServerEvent::Request(request)) = server.poll_event() else {
                panic!("{client}: no request");
            };
            let StreamRequest {
                action,
                name,
                stream_id,
                ..
            } = request.as_ref();
            assert_eq!((*action, name.as_str(), *stream_id), asks, "{client}");
            assert_eq!(request.tc_url, TC_URL, "{client}");
            assert_eq!(told(&server.poll_output().unwrap()), is_told, "{client}");
            let identified = server.into_identified().unwrap();
            assert_eq!(identified.request, *request, "{client}");
            assert_eq!(identified.replay, wire, "{client}");
            let commands = sends.iter().filter(|message| message.is_command());
            let commands = commands.map(|message| (message.stream_id, decode(message)));
            assert_eq!(
                identified.commands,
                commands.collect::<Vec<_>>(),
                "{client}"
            );
            let answers = answered.iter().map(|(transaction_id, what)| Answered {
                transaction_id: *transaction_id,
                what: *what,
            });
            assert_eq!(identified.answered, answers.collect::<Vec<_>>(), "{client}");
        }
    }
}

/// nginx-rtmp reads the app of `connect`, so there are encoders and cameras that send nothing else.
#[test]
fn without_a_tc_url_the_app_is_the_address() {
    let rows = [
        ("both", Some("live"), Some(TC_URL), TC_URL),
        ("only an app", Some("live"), None, "live"),
        ("an empty tcUrl", Some("live"), Some(""), "live"),
        ("an app with a query", Some("live?k=v"), None, "live?k=v"),
        ("only a tcUrl, as SRS edges", None, Some(TC_URL), TC_URL),
        ("neither", None, None, ""),
    ];
    for (cause, app, tc_url, expected) in rows {
        let named = [("app", app), ("tcUrl", tc_url)];
        let named = named.into_iter().filter_map(|(name, text)| {
            let text = text?;
            Some((name.to_owned(), text.into()))
        });
        let connect = Command {
            object: Value::Object(named.collect()),
            ..Command::call("connect", 1.0, vec![])
        };
        let mut server = shaken(Server::identifying(SEED, None));
        let publish = call(1, "publish", 2.0, &["a".into()]);
        server
            .feed(&wire(&[Message::command(0, &connect), publish]))
            .unwrap();
        let identified = server.into_identified().unwrap();
        assert_eq!(identified.request.tc_url, expected, "{cause}");
        // Whatever it sent, an origin that is asked in another way is told both.
        let address = RtmpAddress {
            tc_url: "rtmp://h/other".to_owned(),
            app: "other".to_owned(),
            name: "b".to_owned(),
        };
        let renamed = identified.renamed(&address);
        let (_, connect) = renamed.commands.first().unwrap();
        let told = ["app", "tcUrl"].map(|name| connect.object.field(name));
        let told = told.map(|told| told.and_then(Value::as_str));
        assert_eq!(told, [Some("other"), Some("rtmp://h/other")], "{cause}");
    }
}

#[test]
fn connect_is_answered_as_flash_servers_do() {
    let enhanced = EnhancedRtmp {
        four_cc_list: vec!["hvc1".to_owned()],
        caps_ex: 1,
        ..EnhancedRtmp::default()
    };
    let mut server = shaken(Server::identifying(SEED, Some(enhanced.clone())));
    let ask = Command {
        object: Value::Object(vec![
            ("tcUrl".to_owned(), TC_URL.into()),
            ("objectEncoding".to_owned(), Value::Number(3.0)),
        ]),
        ..Command::call("connect", 1.0, vec![])
    };
    server.feed(&wire(&[Message::command(0, &ask)])).unwrap();
    let said = read(&server.poll_output().unwrap());
    let [window, bandwidth, result] = said.as_slice() else {
        panic!("{said:?}")
    };
    assert_eq!(window, &Message::window_ack_size(2_500_000));
    assert_eq!(bandwidth, &Message::set_peer_bandwidth(2_500_000));
    let result = decode(result);
    assert_eq!(result.object.field("fmsVer"), Some(&"FMS/3,5,3,888".into()));
    assert_eq!(
        result.object.field("capabilities"),
        Some(&Value::Number(127.0))
    );
    assert_eq!(EnhancedRtmp::from_connect_result(&result), Some(enhanced));
    assert_eq!(
        result.status().unwrap().code,
        "NetConnection.Connect.Success"
    );
    let information = result.arguments.first().unwrap();
    assert_eq!(
        information.field("objectEncoding"),
        Some(&Value::Number(3.0)),
        "what the client asked for"
    );
}

#[test]
fn hostile_and_broken_clients_are_named() {
    let deep = [
        hex!("02 0007 7075626c697368 00 0000000000000000").to_vec(),
        [0x0a, 0, 0, 0, 1].repeat(20),
    ]
    .concat();
    let deep = Message {
        payload: deep,
        ..call(0, "", 0.0, &[])
    };
    // An empty message on each chunk stream. One-byte basic headers reach 63; beyond that there is a second byte.
    let many_streams: Vec<u8> = (3..=67_u8)
        .flat_map(|id| {
            let basic = if id < 64 { vec![id] } else { vec![0, id - 64] };
            [basic, vec![0, 0, 0, 0, 0, 0, 9, 1, 0, 0, 0]].concat()
        })
        .collect();
    let flood = wire(&[call(0, "releaseStream", 2.0, &["a".into()])]).repeat(2000);
    let connected = |messages: &[Message]| wire(&[&[connect(1.0, &[])], messages].concat());
    let rows: Vec<(&str, Vec<u8>, ServerError)> = vec![
        (
            "chunk size 0",
            wire(&[Message::set_chunk_size(0)]),
            ServerError::Chunk(ChunkError::ChunkSize(0)),
        ),
        (
            "chunk size with the high bit",
            wire(&[Message::set_chunk_size(0x8000_0080)]),
            ServerError::Chunk(ChunkError::ChunkSize(0x8000_0080)),
        ),
        (
            "16 MB announced",
            hex!("03 000000 ffffff 14 00000000").to_vec(),
            ServerError::Chunk(ChunkError::TooLong {
                kind: 20,
                length: 0xff_ffff,
                limit: MAX_REPLAY,
            }),
        ),
        (
            "65 chunk streams",
            many_streams,
            ServerError::Chunk(HeaderError::TooManyChunkStreams.into()),
        ),
        (
            "a header that refers to nothing",
            hex!("c3 00").to_vec(),
            ServerError::Chunk(
                HeaderError::NothingBefore {
                    chunk_stream: 3,
                    format: 3,
                }
                .into(),
            ),
        ),
        (
            "20 arrays deep",
            connected(&[deep]),
            ServerError::Command(CommandError::Value(Amf0Error::TooDeep)),
        ),
        (
            "a command that is none",
            connected(&[Message {
                payload: vec![5],
                ..call(0, "", 0.0, &[])
            }]),
            ServerError::Command(CommandError::NoName),
        ),
        (
            "publish before connect",
            wire(&[call(1, "publish", 2.0, &["a".into()])]),
            ServerError::OutOfTurn("a command before connect"),
        ),
        (
            "connect twice",
            connected(&[connect(1.0, &[])]),
            ServerError::OutOfTurn("a second connect"),
        ),
        (
            "publish of a number",
            connected(&[call(1, "publish", 2.0, &[Value::Number(1.0)])]),
            ServerError::NoName(Action::Publish),
        ),
        (
            "play of nothing",
            connected(&[call(1, "play", 2.0, &[])]),
            ServerError::NoName(Action::Play),
        ),
        (
            "commands without end",
            [connected(&[]), flood].concat(),
            ServerError::TooMuch,
        ),
    ];
    for (cause, wire, error) in rows {
        for step in [1, 1000, usize::MAX] {
            let mut server = shaken(Server::identifying(SEED, None));
            let end = wire.chunks(step).try_for_each(|piece| server.feed(piece));
            assert_eq!(end.as_ref(), Err(&error), "{cause}, in steps of {step}");
            assert_eq!(server.poll_event(), None, "{cause}");
        }
    }
    let mut server = Server::identifying(SEED, None);
    assert_eq!(
        server.feed(b"GET / HTTP/1.1"),
        Err(ServerError::Handshake(HandshakeError::NotRtmp(b'G')))
    );
}

#[test]
fn far_chunk_streams_are_as_good_as_near_ones() {
    for id in [2, 3, 63, 64, 319, 320, 65_599] {
        let mut bytes = Vec::new();
        let writer = ChunkWriter::new(128);
        writer.write(id, &connect(1.0, &[]), &mut bytes);
        writer.write(id, &call(1, "play", 0.0, &["a".into()]), &mut bytes);
        let mut server = shaken(Server::identifying(SEED, None));
        server.feed(&bytes).unwrap();
        assert!(server.poll_event().is_some(), "chunk stream {id}");
    }
}

#[test]
fn bytes_behind_a_request_are_kept_and_bounded() {
    let request = wire(&[connect(1.0, &[]), call(1, "publish", 2.0, &["a".into()])]);
    let mut server = shaken(Server::identifying(SEED, None));
    let garbage = vec![0xff; 2 * MAX_REPLAY];
    server
        .feed(&[request.as_slice(), &garbage].concat())
        .unwrap();
    server.feed(&garbage).unwrap();
    let replay = server.into_identified().unwrap().replay;
    assert_eq!(
        replay,
        [request, garbage.clone(), garbage].concat(),
        "unread, unjudged"
    );

    let mut server = asked(Action::Publish);
    let end = (0..100).try_for_each(|_| server.feed(&[0; 65_536]));
    assert_eq!(end, Err(ServerError::Impatient));
}

#[test]
fn media_behind_a_request_waits_for_the_answer() {
    let first = media(kind::VIDEO, 1, 0, 300);
    let bytes = wire(&[
        connect(1.0, &[]),
        call(1, "publish", 2.0, &["a".into()]),
        first.clone(),
    ]);
    let mut server = shaken(Server::serving(SEED, None));
    server.feed(&bytes).unwrap();
    assert!(matches!(server.poll_event(), Some(ServerEvent::Request(_))));
    assert_eq!(server.poll_event(), None, "not before it is accepted");
    server.accept(1).unwrap();
    assert_eq!(server.poll_event(), Some(ServerEvent::Media(first)));

    let mut server = shaken(Server::serving(SEED, None));
    server.feed(&bytes).unwrap();
    server.poll_event();
    server
        .refuse(1, "NetStream.Publish.BadName", "not here")
        .unwrap();
    assert_eq!(
        server.poll_event(),
        None,
        "media of a stream that was refused"
    );
    assert_eq!(
        told(&server.poll_output().unwrap()).last().unwrap(),
        "NetStream.Publish.BadName"
    );
}

#[test]
fn publish_unpublish_and_publish_again_on_one_connection() {
    let ends: &[(&str, Message, &[&str])] = &[
        (
            "FCUnpublish",
            call(0, "FCUnpublish", 9.0, &["a".into()]),
            &["onFCUnpublish", "NetStream.Unpublish.Success", "_result 9"],
        ),
        (
            "closeStream",
            call(1, "closeStream", 0.0, &[]),
            &["onFCUnpublish", "NetStream.Unpublish.Success"],
        ),
        (
            "deleteStream",
            call(0, "deleteStream", 0.0, &[Value::Number(1.0)]),
            &["onFCUnpublish", "NetStream.Unpublish.Success"],
        ),
        (
            "publish(false)",
            call(1, "publish", 0.0, &[Value::Boolean(false)]),
            &["onFCUnpublish", "NetStream.Unpublish.Success"],
        ),
    ];
    let mut server = asked(Action::Publish);
    server.accept(1).unwrap();
    let _ = server.poll_output();
    let frame = media(kind::VIDEO, 1, 40, 10);
    for (how, end, is_told) in ends.iter().cycle().take(100) {
        server
            .feed(&wire(&[frame.clone(), end.clone(), frame.clone()]))
            .unwrap();
        assert_eq!(
            server.poll_event(),
            Some(ServerEvent::Media(frame.clone())),
            "{how}"
        );
        assert_eq!(
            server.poll_event(),
            Some(ServerEvent::Closed { stream_id: 1 }),
            "{how}"
        );
        assert_eq!(
            server.poll_event(),
            None,
            "{how}: media of a stream that ended"
        );
        assert_eq!(&told(&server.poll_output().unwrap()), is_told, "{how}");
        server
            .feed(&wire(&[call(1, "publish", 0.0, &["a".into()])]))
            .unwrap();
        assert!(
            matches!(server.poll_event(), Some(ServerEvent::Request(_))),
            "after {how}"
        );
        server.accept(1).unwrap();
        assert_eq!(
            told(&server.poll_output().unwrap()),
            ["NetStream.Publish.Start"],
            "after {how}"
        );
    }
}

#[test]
fn a_server_acknowledges_what_its_client_wants_acknowledged() {
    let mut server = asked(Action::Publish);
    server.accept(1).unwrap();
    let _ = server.poll_output();
    server
        .feed(&wire(&[Message::window_ack_size(1000)]))
        .unwrap();
    let _ = server.poll_output();
    server
        .feed(&wire(&[media(kind::VIDEO, 1, 0, 999)]))
        .unwrap();
    let said = read(&server.poll_output().unwrap());
    assert_eq!(
        said.iter().map(|message| message.kind).collect::<Vec<_>>(),
        [kind::ACKNOWLEDGEMENT]
    );
}

#[test]
fn an_origin_that_refuses_or_breaks_is_reported() {
    let mut client = Client::new(SEED, Action::Play, TC_URL, "a", vec![]);
    client.feed(&handshake()).unwrap();
    let no = Command {
        name: "_error".to_owned(),
        ..Command::result(
            1.0,
            Value::Null,
            Command::on_status("error", "No", "go away")
                .arguments
                .remove(0),
        )
    };
    client.feed(&wire(&[Message::command(0, &no)])).unwrap();
    let Some(ClientEvent::Refused(refusal)) = client.poll_event() else {
        panic!("not refused")
    };
    assert_eq!(refusal.status().unwrap().description, "go away");
    assert_eq!(
        client.feed(&wire(&[Message::set_chunk_size(0)])),
        Err(ClientError::Chunk(ChunkError::ChunkSize(0)))
    );
    let mut client = Client::new(SEED, Action::Play, TC_URL, "a", vec![]);
    assert_eq!(
        client.feed(b"HTTP"),
        Err(ClientError::Handshake(HandshakeError::NotRtmp(b'H')))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_origin_gets_what_a_publisher_sends(frames in any_frames(), sizes in any_sizes()) {
        let mut publisher = Client::new([1; 32], Action::Publish, TC_URL, "a?k=v", vec![]);
        let mut server = Server::serving(SEED, None);
        let (told, events) = talk(&mut publisher, &mut server, &sizes, &[]);
        prop_assert_eq!(codes(&told), ["connected", "NetStream.Publish.Start"]);
        prop_assert_eq!(events, []);
        for frame in &frames {
            publisher.send_media(frame);
        }
        let (told, events) = talk(&mut publisher, &mut server, &sizes, &[]);
        prop_assert!(told.is_empty());
        let frames: Vec<_> = frames.into_iter().map(ServerEvent::Media).collect();
        prop_assert_eq!(events, frames);
    }

    #[test]
    fn a_player_gets_what_an_origin_sends(
        frames in any_frames(),
        sizes in any_sizes(),
    ) {
        let mut player = Client::new([1; 32], Action::Play, TC_URL, "a", vec![]);
        let mut server = Server::serving(SEED, None);
        let (told, _) = talk(&mut player, &mut server, &sizes, &frames);
        prop_assert_eq!(codes(&told), ["connected", "NetStream.Play.Reset", "NetStream.Play.Start"]);
        let got = told.into_iter().filter_map(|event| match event {
            ClientEvent::Media(message) => Some(message),
            _ => None,
        });
        // The first is the origin's |RtmpSampleAccess.
        prop_assert_eq!(got.skip(1).collect::<Vec<_>>(), frames);
    }

    #[test]
    fn a_proxy_learns_the_same_however_the_bytes_are_split(sizes in any_sizes(), publishes: bool) {
        let action = if publishes { Action::Publish } else { Action::Play };
        let mut client = Client::new([1; 32], action, TC_URL, "a", vec![]);
        let mut server = Server::identifying(SEED, None);
        let mut sent = Vec::new();
        let mut cut = sizes.iter().copied().cycle();
        while let Some(bytes) = client.poll_output() {
            sent.extend_from_slice(&bytes);
            pieces(&bytes, &mut cut, |piece| server.feed(piece).unwrap());
            let answer = server.poll_output().unwrap_or_default();
            pieces(&answer, &mut cut, |piece| client.feed(piece).unwrap());
        }
        let identified = server.into_identified().unwrap();
        prop_assert_eq!(&identified.replay, &sent[handshake().len()..]);
        prop_assert_eq!(identified.request.action, action);
        let names: Vec<_> = identified.commands.iter().map(|(_, command)| command.name.as_str()).collect();
        let expected: &[&str] = match action {
            Action::Publish => &["connect", "releaseStream", "FCPublish", "createStream", "publish"],
            Action::Play => &["connect", "createStream", "play"],
        };
        prop_assert_eq!(names, expected);
    }

    #[test]
    fn a_value_survives_the_wire(value in any_value()) {
        let mut bytes = Vec::new();
        value.encode(&mut bytes);
        let mut reader = sluicegate_core::read::Reader::new(&bytes);
        prop_assert_eq!(Value::decode(&mut reader), Ok(value));
        prop_assert_eq!(reader.remaining(), 0);
    }
}

/// Passes bytes back and forth, split, until both ends have nothing to send. The server accepts what is requested, and
/// sends `frames` to a player.
fn talk(
    client: &mut Client,
    server: &mut Server,
    sizes: &[usize],
    frames: &[Message],
) -> (Vec<ClientEvent>, Vec<ServerEvent>) {
    let (mut told, mut events) = (Vec::new(), Vec::new());
    let mut cut = sizes.iter().copied().cycle();
    loop {
        let to_server = client.poll_output().unwrap_or_default();
        pieces(&to_server, &mut cut, |piece| {
            server.feed(piece).unwrap();
            while let Some(event) = server.poll_event() {
                let ServerEvent::Request(request) = event else {
                    events.push(event);
                    continue;
                };
                server.set_chunk_size(u32::try_from(1 + sizes[0]).unwrap());
                server.accept(request.stream_id).unwrap();
                if request.action == Action::Play {
                    frames.iter().for_each(|frame| server.send_media(frame));
                }
            }
        });
        let to_client = server.poll_output().unwrap_or_default();
        pieces(&to_client, &mut cut, |piece| {
            client.feed(piece).unwrap();
            told.extend(std::iter::from_fn(|| client.poll_event()));
        });
        if to_server.is_empty() && to_client.is_empty() {
            return (told, events);
        }
    }
}

fn pieces(mut bytes: &[u8], cut: &mut impl Iterator<Item = usize>, mut feed: impl FnMut(&[u8])) {
    while !bytes.is_empty() {
        let size = cut.next().unwrap().clamp(1, bytes.len());
        let (piece, rest) = bytes.split_at(size);
        feed(piece);
        bytes = rest;
    }
}

/// The codes of events, without media.
fn codes(events: &[ClientEvent]) -> Vec<&str> {
    let codes = events.iter().filter_map(|event| match event {
        ClientEvent::Connected(_) => Some("connected"),
        ClientEvent::Refused(_) => Some("refused"),
        ClientEvent::Status { code, .. } => Some(code.as_str()),
        ClientEvent::Media(_) | ClientEvent::Redirected { .. } => None,
    });
    codes.collect()
}

/// What a server sent, without control messages: results by transaction id, statuses by code, everything else by name.
fn told(bytes: &[u8]) -> Vec<String> {
    let messages = read(bytes);
    let told = messages.iter().filter_map(|message| match message.kind {
        kind::USER_CONTROL => Some(format!("ping {}", message.payload[5])),
        kind::COMMAND_AMF0 => {
            let command = decode(message);
            Some(match command.name.as_str() {
                "_result" => format!("_result {}", command.transaction_id),
                "onStatus" => command.status().unwrap().code.to_owned(),
                _ => command.name,
            })
        }
        _ => None,
    });
    told.collect()
}

fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
}

fn shaken(mut server: Server) -> Server {
    server.feed(&handshake()).unwrap();
    assert!(server.poll_output().is_some());
    server
}

/// An origin's end that was asked for stream 1 and has not answered.
fn asked(action: Action) -> Server {
    let mut server = shaken(Server::serving(SEED, None));
    server
        .feed(&wire(&[
            connect(1.0, &[]),
            call(1, action.as_str(), 0.0, &["a".into()]),
        ]))
        .unwrap();
    assert!(matches!(server.poll_event(), Some(ServerEvent::Request(_))));
    server
}

fn connect(transaction_id: f64, more: &[(&str, &str)]) -> Message {
    let mut properties = vec![
        ("app".to_owned(), "live".into()),
        ("tcUrl".to_owned(), TC_URL.into()),
    ];
    properties.extend(
        more.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into())),
    );
    let object = Value::Object(properties);
    Message::command(
        0,
        &Command {
            object,
            ..Command::call("connect", transaction_id, vec![])
        },
    )
}

fn call(stream_id: u32, name: &str, transaction_id: f64, arguments: &[Value]) -> Message {
    Message::command(
        stream_id,
        &Command::call(name, transaction_id, arguments.to_vec()),
    )
}

fn amf3(command: Message) -> Message {
    Message {
        kind: kind::COMMAND_AMF3,
        payload: [&[0], command.payload.as_slice()].concat(),
        ..command
    }
}

fn set_buffer_length(stream_id: u32) -> Message {
    let mut message = Message::user_control(3, stream_id);
    message.payload.extend(3000_u32.to_be_bytes());
    message
}

fn media(kind: u8, stream_id: u32, timestamp: u32, length: usize) -> Message {
    Message {
        timestamp,
        kind,
        stream_id,
        payload: vec![0x17; length],
    }
}

fn decode(message: &Message) -> Command {
    Command::decode(message.kind, &message.payload).unwrap()
}

/// Chunks as a client sends them, which obeys its own Set Chunk Size.
fn wire(messages: &[Message]) -> Vec<u8> {
    let mut writer = ChunkWriter::new(128);
    let mut bytes = Vec::new();
    for message in messages {
        writer.write(message.chunk_stream(), message, &mut bytes);
        if message.kind == kind::SET_CHUNK_SIZE {
            writer.set_chunk_size(u32::from_be_bytes(
                message.payload.as_slice().try_into().unwrap(),
            ));
        }
    }
    bytes
}

fn read(mut bytes: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(1 << 20);
    std::iter::from_fn(|| reader.read(&mut bytes).unwrap()).collect()
}

fn any_frames() -> impl Strategy<Value = Vec<Message>> {
    let kinds = prop::sample::select(vec![
        kind::AUDIO,
        kind::VIDEO,
        kind::DATA_AMF0,
        kind::AGGREGATE,
    ]);
    let timestamps = prop_oneof![0..100_000_u32, 0xff_fff0..0x100_0010_u32, any::<u32>()];
    let frame = (kinds, timestamps, 0..3000_usize)
        .prop_map(|(kind, timestamp, length)| media(kind, 1, timestamp, length));
    prop::collection::vec(frame, 0..20)
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![1..20_usize, 1..5000_usize], 1..20)
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<f64>()
            .prop_filter("NaN is not equal to itself", |number| !number.is_nan())
            .prop_map(Value::Number),
        any::<bool>().prop_map(Value::Boolean),
        ".{0,20}".prop_map(Value::String),
        Just(Value::Null),
        Just(Value::Undefined),
        Just(Value::Unsupported),
        any::<u16>().prop_map(Value::Reference),
        ".{0,20}".prop_map(Value::XmlDocument),
        (-1e15..1e15, any::<i16>()).prop_map(|(milliseconds, time_zone)| Value::Date {
            milliseconds,
            time_zone
        }),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let properties = prop::collection::vec((".{0,8}", inner.clone()), 0..6);
        prop_oneof![
            properties.clone().prop_map(Value::Object),
            properties.clone().prop_map(Value::EcmaArray),
            (".{0,8}", properties)
                .prop_map(|(class, properties)| Value::TypedObject(class, properties)),
            prop::collection::vec(inner, 0..6).prop_map(Value::StrictArray),
        ]
    })
}

const SEED: [u8; 32] = [5; 32];
const TC_URL: &str = "rtmp://example.com/live";

#[test]
fn nobody_is_answered_before_it_was_said_whether_to_log_in() {
    let bytes = wire(&[
        connect(1.0, &[]),
        call(0, "createStream", 2.0, &[]),
        call(1, "publish", 3.0, &["a".into()]),
        media(kind::VIDEO, 1, 0, 300),
    ]);
    for step in [1, 7, bytes.len()] {
        let mut plain = shaken(Server::identifying(SEED, None));
        plain.feed(&bytes).unwrap();
        let mut server = shaken(Server::identifying(SEED, None).asking_at_connect());
        let fed = bytes.chunks(step).try_for_each(|piece| server.feed(piece));
        fed.unwrap();
        let Some(ServerEvent::Connect(command)) = server.poll_event() else {
            panic!("nothing was said in steps of {step}");
        };
        assert_eq!(command.name, "connect");
        assert_eq!(server.poll_event(), None, "nothing after it is read");
        assert_eq!(server.poll_output(), None, "nothing is answered");
        server.welcome().unwrap();
        assert!(matches!(server.poll_event(), Some(ServerEvent::Request(_))));
        assert_eq!(server.poll_output(), plain.poll_output());
        // A second word changes nothing.
        server.turn_away("no");
        assert_eq!(server.poll_output(), None);
        assert_eq!(server.into_identified(), plain.into_identified());
    }
    let mut server = shaken(Server::identifying(SEED, None).asking_at_connect());
    server.feed(&bytes).unwrap();
    server.turn_away("code=403 need auth");
    let no = server.poll_output().expect("an answer");
    let text = String::from_utf8_lossy(&no);
    assert!(
        text.contains("_error") && text.contains("code=403 need auth"),
        "{text}"
    );
    let endless = (0..100).try_for_each(|_| {
        let mut server = shaken(Server::identifying(SEED, None).asking_at_connect());
        server.feed(&wire(&[connect(1.0, &[])]))?;
        (0..100).try_for_each(|_| server.feed(&[0; 65_536]))
    });
    assert!(endless.is_err(), "what waits is bounded");
}
