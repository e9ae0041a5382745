//! What clients and origins say to each other passes unchanged.

use std::net::{Ipv4Addr, SocketAddr};

use sluicegate::demo::origin::EmbeddedOrigin;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::chunk::ChunkWriter;
use sluicegate_core::rtmp::message::{Command, EnhancedRtmp, Message};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::{Guest, House, Manner, PATIENCE, Stub, until, video};

#[tokio::test]
async fn a_publisher_and_a_player_are_joined_with_the_same_origin() {
    let house = House::open("").await;
    let origins = [
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    ];
    for (id, origin) in ["one", "two"].iter().zip(&origins) {
        house.register(id, origin.at);
    }
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert_eq!(publisher.code(), "NetStream.Publish.Start");
    let player = house.ask(Action::Play, "live/a").await;
    assert_eq!(player.code(), "NetStream.Play.Start");
    let counts = origins.each_ref().map(Stub::connections);
    assert!(
        counts == [2, 0] || counts == [0, 2],
        "both are on one origin: {counts:?}"
    );
}

#[tokio::test]
async fn the_connect_command_and_the_query_reach_the_origin_unchanged() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let extra = vec![
        ("pageUrl".to_owned(), Value::from("http://example/page")),
        (
            "fourCcList".to_owned(),
            Value::StrictArray(vec!["hvc1".into(), "av01".into()]),
        ),
        ("capsEx".to_owned(), Value::Number(7.0)),
    ];
    let guest = Guest::ask(
        house.at.rtmp,
        Action::Publish,
        "live/a?token=secret",
        extra.clone(),
    )
    .await;
    assert!(guest.has_started());
    let request = origin.request();
    assert_eq!(
        (request.tc_url.as_str(), request.name.as_str()),
        ("rtmp://example/live", "a?token=secret")
    );
    for (name, value) in &extra {
        assert_eq!(request.connect.object.field(name), Some(value), "{name}");
    }
}

#[tokio::test]
async fn enhanced_rtmp_is_offered_once_an_origin_is_known_to_have_it() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let offered = |guest: &Guest| {
        EnhancedRtmp::from_connect_result(guest.connected.as_ref().expect("an answer"))
    };
    let first = house.ask(Action::Publish, "live/a").await;
    assert_eq!(offered(&first), None, "nothing is known yet");
    let second = house.ask(Action::Publish, "live/b").await;
    assert_eq!(offered(&second).expect("known now").four_cc_list, ["hvc1"]);
}

#[tokio::test]
async fn an_hevc_publish_passes_byte_for_byte() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    // Enhanced RTMP v1: a keyframe (1) with an extended header, PacketTypeSequenceStart (0), FourCC hvc1.
    let mut sequence = b"\x90hvc1".to_vec();
    sequence.extend((0..200).map(|byte: u8| byte));
    let frame: Vec<u8> = b"\x91hvc1"
        .iter()
        .copied()
        .chain((0..100_000_u32).map(|i| (i % 253) as u8))
        .collect();
    publisher.send(&video(0, &sequence)).await;
    publisher.send(&video(40, &frame)).await;
    until("the media", || origin.seen.lock().unwrap().media.len() == 2).await;
    let seen = origin.seen.lock().unwrap();
    assert_eq!(seen.media[0].payload, sequence);
    assert!(seen.media[1].payload == frame);
    assert_eq!(seen.media[1].timestamp, 40);
}

#[tokio::test]
async fn timestamps_beyond_24_bits_pass() {
    let house = House::open("").await;
    let media: Vec<_> = [0x00ff_fffe, 0x00ff_ffff, 0x0100_0000, 0xffff_fff0]
        .map(|at| video(at, &[0x27; 9000]))
        .into();
    let origin = Stub::with(Manner::Grants, 0, media.clone()).await;
    house.register("one", origin.at);
    let mut player = house.ask(Action::Play, "live/a").await;
    assert!(player.read_until(|player| player.media.len() == 4).await);
    let times: Vec<u32> = player
        .media
        .iter()
        .map(|message| message.timestamp)
        .collect();
    assert_eq!(times, [0x00ff_fffe, 0x00ff_ffff, 0x0100_0000, 0xffff_fff0]);
}

#[tokio::test]
async fn a_stream_is_unpublished_and_published_again_on_one_connection() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    publisher
        .command(&Command::call("FCUnpublish", 6.0, vec!["a".into()]))
        .await;
    publisher.status = None;
    publisher
        .command(&Command::call(
            "publish",
            7.0,
            vec!["a".into(), "live".into()],
        ))
        .await;
    assert!(
        publisher.read_until(Guest::has_started).await,
        "the origin's second status passes"
    );
    assert_eq!(origin.connections(), 1);
}

/// As old encoders and some hardware ask: everything at once, with the app alone in `connect`.
#[tokio::test]
async fn an_encoder_that_sends_no_tc_url_is_placed_by_its_app() {
    let origins = ["srs", "mediamtx", "nginx-rtmp"];
    for dialect in origins {
        let house = House::open("").await;
        let origin = Stub::start(Manner::Grants).await;
        let port = origin.at.port();
        let endpoints = format!(r#""rtmp":["{port}"],"dialect":"{dialect}""#);
        house.register_with("one", &endpoints);
        let mut encoder = TcpStream::connect(house.at.rtmp).await.expect("it listens");
        let hello = [&[3][..], &[0; 1536]].concat();
        encoder.write_all(&hello).await.expect("it reads");
        let mut answer = [0; 1 + 2 * 1536];
        encoder.read_exact(&mut answer).await.expect("a handshake");
        let mut out = answer[1..=1536].to_vec();
        let connect = Command {
            object: Value::Object(vec![("app".to_owned(), "live".into())]),
            ..Command::call("connect", 1.0, Vec::new())
        };
        let publish = Command::call("publish", 3.0, vec!["a".into(), "live".into()]);
        let commands = [
            (0, connect),
            (0, Command::call("createStream", 2.0, Vec::new())),
            (1, publish),
        ];
        for (stream_id, command) in &commands {
            ChunkWriter::new(128).write(3, &Message::command(*stream_id, command), &mut out);
        }
        encoder.write_all(&out).await.expect("it reads");
        until("its request at the origin", || {
            !origin.seen.lock().unwrap().requests.is_empty()
        })
        .await;
        until("its session", || {
            house.origin_of("live/a").as_deref() == Some("one")
        })
        .await;
        let request = origin.request();
        let app = request.connect.object.field("app");
        let told = format!("rtmp://127.0.0.1:{port}/live");
        assert_eq!(request.tc_url, told, "{dialect}");
        assert_eq!(app, Some(&"live".into()), "{dialect}");
        assert_eq!(request.name, "a", "{dialect}");
    }
}

/// Flash's `publish(false)`, and `publish("")` where the app is not the whole name.
#[tokio::test]
async fn a_publisher_that_stops_leaves_its_origin() {
    let house = House::open("").await;
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let origin = EmbeddedOrigin::bind(free, free).await.expect("free ports");
    house.register("one", origin.rtmp());
    let publishes = async |count: usize| {
        let mut seen = origin.watch();
        let heard = seen.wait_for(|seen| seen.publishers().count() == count);
        timeout(PATIENCE, heard)
            .await
            .expect("in time")
            .expect("it is there");
    };
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    publishes(1).await;
    let stop = Command::call("publish", 0.0, vec![Value::Boolean(false)]);
    publisher.command(&stop).await;
    let stopped = |guest: &Guest| guest.code() == "NetStream.Unpublish.Success";
    assert!(publisher.read_until(stopped).await, "the origin's words");
    publishes(0).await;

    let again = Command::call("publish", 7.0, vec!["a".into(), "live".into()]);
    publisher.command(&again).await;
    assert!(publisher.read_until(Guest::has_started).await);
    publishes(1).await;
    let nothing = Command::call("publish", 8.0, vec!["".into(), "live".into()]);
    publisher.command(&nothing).await;
    publisher.read_to_end().await;
    assert_eq!(publisher.code(), "NetStream.Publish.BadName");
    assert_eq!(
        publisher.words(),
        "this connection carries __defaultVhost__/live/a, and the client asked for a stream without a name"
    );
    publishes(0).await;
    house.until_sessions(0).await;

    let mut nameless = house.ask(Action::Publish, "live/").await;
    nameless.read_to_end().await;
    assert_eq!(nameless.code(), "NetStream.Publish.BadName");
    assert_eq!(nameless.words(), "no stream is named");
}

#[tokio::test]
async fn another_stream_on_the_same_connection_is_refused_with_a_status() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    publisher
        .command(&Command::call(
            "publish",
            7.0,
            vec!["b?token=secret".into(), "live".into()],
        ))
        .await;
    publisher.read_to_end().await;
    assert_eq!(publisher.code(), "NetStream.Publish.BadName");
    assert!(
        publisher.words().contains("open another one for b"),
        "{}",
        publisher.words()
    );
    assert!(!publisher.words().contains("secret"));
    assert_eq!(
        origin.seen.lock().unwrap().requests.len(),
        1,
        "it was never sent to the first origin"
    );
    house.until_sessions(0).await;
}

/// No encoder does: each of its streams has a connection. What it hears is true, and says what to do.
#[tokio::test]
async fn another_stream_after_the_first_is_over_is_told_to_use_another_connection() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    let over = [
        Command::call("FCUnpublish", 6.0, vec!["a".into()]),
        Command::call("publish", 7.0, vec!["b".into(), "live".into()]),
    ];
    for command in &over {
        publisher.command(command).await;
    }
    publisher.read_to_end().await;
    assert_eq!(publisher.code(), "NetStream.Publish.BadName");
    assert_eq!(
        publisher.words(),
        "this connection was for __defaultVhost__/live/a, and one connection carries one stream: open another one for b"
    );
    assert_eq!(origin.seen.lock().unwrap().requests.len(), 1);
    house.until_sessions(0).await;
}

/// What may be watched as one stream is no way into another.
#[tokio::test]
async fn another_parameter_that_belongs_to_the_name_is_another_stream() {
    let settings = "[clients]\nname_parameters = [\"app=cam parameter=channel\"]\n";
    for (cause, again, is_same) in [
        ("the same words", "a?channel=1&token=x", true),
        ("another channel", "a?channel=2&token=x", false),
        ("no channel", "a", false),
    ] {
        let house = House::open(settings).await;
        let origin = Stub::start(Manner::Grants).await;
        house.register("one", origin.at);
        let mut publisher = house.ask(Action::Publish, "cam/a?channel=1&token=x").await;
        publisher.status = None;
        let publish = Command::call("publish", 7.0, vec![again.into(), "live".into()]);
        publisher.command(&publish).await;
        if is_same {
            let started = publisher.read_until(Guest::has_started).await;
            assert!(started, "{cause}");
            continue;
        }
        publisher.read_to_end().await;
        assert_eq!(publisher.code(), "NetStream.Publish.BadName", "{cause}");
        assert_eq!(origin.seen.lock().unwrap().requests.len(), 1, "{cause}");
    }
}

/// The first goes on, and nothing of the second reaches the origin: some take all media of a connection for one stream's.
#[tokio::test]
async fn a_second_stream_beside_the_first_is_refused_and_the_first_goes_on() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    let first = publisher.stream_id();
    let second = first + 1;
    publisher
        .tell(0, &Command::call("createStream", 7.0, vec![]))
        .await;
    let publish = Command::call("publish", 8.0, vec!["b?token=secret".into(), "live".into()]);
    publisher.tell(second, &publish).await;
    let of_second = Message {
        stream_id: second,
        ..video(0, b"of the second")
    };
    publisher.tell_message(&of_second).await;
    let heard = |guest: &Guest| guest.code() == "NetStream.Publish.BadName";
    assert!(publisher.read_until(heard).await, "it is refused");
    assert!(publisher.words().contains("open another one for b"));
    assert!(!publisher.words().contains("secret"));
    publisher.send(&video(40, b"of the first")).await;
    until("the first", || {
        !origin.seen.lock().unwrap().media.is_empty()
    })
    .await;
    let seen = origin.seen.lock().unwrap();
    assert_eq!(seen.media[0].payload, b"of the first");
    assert_eq!((seen.media.len(), seen.requests.len()), (1, 1));
    assert_eq!(house.proxy.sessions().len(), 1, "the first goes on");
}

#[tokio::test]
async fn the_clients_address_is_told_to_origins_that_ask_for_it() {
    let house = House::open(
        "[origins]\nclient_address_preamble = [\"srs\"]\nproxy_protocol_v1 = [\"haproxied\"]\n",
    )
    .await;
    let srs = Stub::with(Manner::Grants, 7, Vec::new()).await;
    house.register("srs", srs.at);
    assert!(house.ask(Action::Publish, "live/a").await.has_started());
    assert_eq!(srs.seen.lock().unwrap().preface, [0xF3, 0, 4, 127, 0, 0, 1]);
}

#[tokio::test]
async fn a_proxy_protocol_header_says_who_the_client_is() {
    let house = House::open("[proxy_protocol]\naccept_from = [\"127.0.0.0/8\"]\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let header = b"PROXY TCP4 203.0.113.9 127.0.0.1 4242 1935\r\n";
    let guest =
        Guest::ask_after(house.at.rtmp, header, Action::Publish, "live/a", Vec::new()).await;
    assert!(guest.has_started());
    let row = house.proxy.sessions().list().pop().expect("a session");
    assert_eq!(row.request.client.to_string(), "203.0.113.9:4242");
    let without = Guest::ask(house.at.rtmp, Action::Publish, "live/b", Vec::new()).await;
    assert!(
        without.status.is_none() && without.connected.is_none(),
        "a listed peer has to send one"
    );
}
