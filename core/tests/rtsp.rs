//! RTSP over random splits: what is read depends only on the bytes, and only URLs are rewritten.

use proptest::collection::vec;
use proptest::prelude::*;
use sluicegate_core::rtsp::join::{FromClient, Join, News};
use sluicegate_core::rtsp::message::{Message, Method, Speaker};
use sluicegate_core::rtsp::rewrite::Rewrite;
use sluicegate_core::rtsp::server::{NamedStream, Server};
use sluicegate_core::rtsp::walk::{MAX_STRAY, Step, Walk, WalkError};
use sluicegate_core::stream::Action;

/// The result of a walk over some bytes: those that pass, and each message with the number of bytes that passed before
/// it.
fn events(walk: &mut Walk, parts: &[&[u8]], short: bool) -> (Vec<u8>, Vec<(usize, Message)>) {
    let (mut passed, mut messages) = (Vec::new(), Vec::new());
    for part in parts {
        let mut rest = *part;
        loop {
            let step = if short {
                walk.short_step(&mut rest)
            } else {
                walk.step(&mut rest)
            };
            match step.expect("what was generated is RTSP") {
                None => break,
                Some(Step::Pass(bytes)) => passed.extend_from_slice(bytes),
                Some(Step::Message(message)) => messages.push((passed.len(), message)),
            }
        }
    }
    (passed, messages)
}

fn split<'a>(wire: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut parts, mut rest) = (Vec::new(), wire);
    for size in sizes {
        let (part, after) = rest.split_at(*size.min(&rest.len()));
        parts.push(part);
        rest = after;
    }
    parts.push(rest);
    parts
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), vec(any::<u8>(), 0..300)).prop_map(|(channel, payload)| {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[b'$', channel], &length[..], &payload].concat()
    })
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof!["OPTIONS", "PLAY", "GET_PARAMETER", "X-[A-Z]{1,9}"];
    (method, 1_u32..999, "[ -~]{0,40}", "[a-z\r\n$]{0,60}").prop_map(|(method, cseq, agent, body)| {
        let length = body.len();
        format!("{method} rtsp://h/live/a RTSP/1.0\r\nCSeq: {cseq}\r\nUser-Agent: {agent}\r\nContent-Length: {length}\r\n\r\n{body}")
            .into_bytes()
    })
}

/// What a camera sends by mistake: the rest of a frame twice, noise, letters.
fn stray() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(0x80_u8..=0xff, 1..60),
        "[a-z!]{1,40}(RTS|PLA|OPTIO)?".prop_map(String::into_bytes),
        Just(vec![0; 37]),
        // A frame of a channel that nobody has set up.
        Just(b"\x00$\x09\x00\x04".to_vec()),
    ]
}

/// Frames of two channels, answers, and what lies between them: the units, and whether each was sent by mistake.
fn units_of_a_camera() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
    let frame = (0_u8..2, vec(any::<u8>(), 0..300)).prop_map(|(channel, payload)| {
        let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
        [&[b'$', channel], &length[..], &payload].concat()
    });
    let answer = Just(b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n".to_vec());
    let good = prop_oneof![3 => frame, 1 => answer].prop_map(|unit| (unit, false));
    let unit = prop_oneof![3 => good, 1 => stray().prop_map(|stray| (stray, true))];
    vec(unit, 0..12)
}

fn units() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(
        prop_oneof![3 => frame(), 1 => request(), 1 => Just(b"\r\n".to_vec())],
        0..12,
    )
}

/// A host and port that cannot be mistaken for a part of anything else.
fn authority() -> impl Strategy<Value = String> {
    ("[a-z]{1,8}", 1_u16..).prop_map(|(name, port)| format!("{name}.example:{port}"))
}

/// An answer with URLs of `host` at every place where they may be.
fn answer(host: &str, parts: &(String, String, String), cseq: u32) -> String {
    let (words, path, sdp) = parts;
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns={words}\r\na=control:rtsp://{host}/{path}\r\nm=video 0 RTP/AVP 96\r\n\
         a=fmtp:96 {sdp}\r\na=control:rtsp://{host}/{path}/trackID=0\r\na=control:trackID=1\r\n"
    );
    format!(
        "RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\nServer: {words}\r\nContent-Base: rtsp://{host}/{path}/\r\n\
         RTP-Info: url=rtsp://{host}/{path}/trackID=0;seq=1;rtptime=2,url=rtsp://{host}/{path}/1;seq=3\r\n\
         Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn asked(wire: &str) -> NamedStream {
    let mut server = Server::default();
    server.feed(wire.as_bytes());
    server.poll().unwrap().expect("a request")
}

fn join() -> Join {
    let asked = asked("DESCRIBE rtsp://us.example:554/live/a RTSP/1.0\r\nCSeq: 1\r\n\r\n");
    let rewrite = Rewrite {
        authority: String::new(),
        local: "192.0.2.1".parse().unwrap(),
        secure: false,
        rename: None,
        take_out: None,
    };
    Join::new(&asked, "203.0.113.9".parse().unwrap(), rewrite)
}

fn message(text: &str, speaker: Speaker) -> Message {
    Message::parse(text.as_bytes(), speaker).unwrap().unwrap().0
}

proptest! {
    #[test]
    fn any_split_gives_the_same_events(units in units(), sizes in vec(0_usize..90, 0..40)) {
        let wire = units.concat();
        for speaker in [Speaker::Client, Speaker::Origin] {
            let whole = events(&mut Walk::new(speaker), &[&wire], false);
            let parts = split(&wire, &sizes);
            prop_assert_eq!(&events(&mut Walk::new(speaker), &parts, false), &whole);
            prop_assert_eq!(&events(&mut Walk::new(speaker), &parts, true), &whole);
            // Nothing is lost and nothing is invented.
            let messages: usize = whole.1.iter().map(|(_, message)| message.bytes().len()).sum();
            prop_assert_eq!(whole.0.len() + messages, wire.len());
        }
    }

    #[test]
    fn what_a_camera_sends_by_mistake_is_left_out(units in units_of_a_camera(), sizes in vec(0_usize..90, 0..60)) {
        let wire: Vec<u8> = units.iter().flat_map(|(unit, _)| unit.clone()).collect();
        let camera = || {
            let mut walk = Walk::new(Speaker::Origin);
            walk.set_up(Some((0, Some(1))));
            walk
        };
        let mut walk = camera();
        let whole = events(&mut walk, &[&wire], false);
        let parts = split(&wire, &sizes);
        prop_assert_eq!(&events(&mut camera(), &parts, false), &whole);
        prop_assert_eq!(&events(&mut camera(), &parts, true), &whole);
        let good = |unit: &&(Vec<u8>, bool)| !unit.1;
        let frames = units.iter().filter(good).filter(|(unit, _)| unit.starts_with(b"$"));
        let frames: Vec<u8> = frames.flat_map(|(unit, _)| unit.clone()).collect();
        prop_assert_eq!(&whole.0, &frames);
        let answers = units.iter().filter(good).filter(|(unit, _)| unit.starts_with(b"R"));
        prop_assert_eq!(whole.1.len(), answers.count());
        let strays = units.iter().filter(|(_, stray)| *stray).count();
        prop_assert_eq!(walk.has_strayed(), strays > 0);
    }

    #[test]
    fn any_split_asks_for_the_same(cut in 0_usize..160, tail in "[ -~]{0,30}") {
        let wire = format!(
            "OPTIONS rtsp://h/live/a RTSP/1.0\r\nCSeq: 1\r\n\r\nDESCRIBE rtsp://h/live/a RTSP/1.0\r\nCSeq: 2\r\n\r\n{tail}"
        );
        let whole = asked(&wire);
        let mut server = Server::default();
        let (before, after) = wire.as_bytes().split_at(cut.min(wire.len()));
        server.feed(before);
        let first = server.poll().unwrap();
        server.feed(after);
        let found = match first {
            Some(asked) => asked,
            None => server.poll().unwrap().expect("it is all there"),
        };
        prop_assert_eq!(&found, &whole);
        prop_assert_eq!(server.into_rest().1, tail.as_bytes());
    }

    #[test]
    fn rewriting_changes_urls_alone(
        theirs in authority(),
        ours in authority(),
        parts in ("[ -~]{0,30}", "[a-z0-9/]{1,20}", "[a-z0-9=; ]{0,40}"),
        cseq in 1_u32..9999,
    ) {
        let rewrite = Rewrite {
            authority: ours.clone(),
                local: "192.0.2.1".parse().unwrap(),
            secure: false,
            rename: None,
            take_out: None,
        };
        let told = answer(&theirs, &parts, cseq);
        let heard = rewrite.to_client(&message(&told, Speaker::Origin), None);
        let heard = heard.unwrap_or_else(|| told.clone().into_bytes());
        prop_assert_eq!(String::from_utf8(heard).unwrap(), answer(&ours, &parts, cseq));
    }

    #[test]
    fn ports_go_out_as_ours_and_come_back_as_the_clients(client in 1024_u16..65_000, server in 1024_u16..65_000) {
        let mut join = join();
        let told = format!(
            "SETUP rtsp://us.example:554/live/a/trackID=0 RTSP/1.0\r\nCSeq: 3\r\n\
             Transport: RTP/AVP;unicast;client_port={client}-{}\r\n\r\n",
            client + 1
        );
        let told = message(&told, Speaker::Client);
        let FromClient::Setup(offer) = join.from_client(&told) else {
            return Err(TestCaseError::fail("it is a track over UDP"));
        };
        prop_assert_eq!(offer.client_ports, (client, client + 1));
        let track = offer.track;
        let sent = join.grant(offer, &told, (22_000, 22_001), (23_000, 23_001));
        let sent = String::from_utf8(sent).unwrap();
        prop_assert!(sent.contains("Transport: RTP/AVP;unicast;client_port=22000-22001\r\n"), "{}", sent);
        let answer = format!(
            "RTSP/1.0 200 OK\r\nCSeq: 3\r\nTransport: RTP/AVP;unicast;source=10.0.0.5;client_port=22000-22001;\
             server_port={server}-{}\r\n\r\n",
            server + 1
        );
        let heard = join.from_origin(&message(&answer, Speaker::Origin));
        prop_assert_eq!(heard.news, Some(News::Granted(track, Some((server, server + 1)))));
        let heard = String::from_utf8(heard.bytes.unwrap()).unwrap();
        let expected = format!("Transport: RTP/AVP;unicast;client_port={client}-{};server_port=23000-23001\r\n", client + 1);
        prop_assert!(heard.contains(&expected), "{}", heard);
    }
}

#[test]
fn what_may_pass_between_the_two() {
    let rows = [
        (
            "its own track",
            "SETUP rtsp://us.example:554/live/a/trackID=0",
            "",
            None,
        ),
        (
            "a keep-alive",
            "GET_PARAMETER rtsp://us.example:554/live/a",
            "",
            None,
        ),
        (
            "a query before the track",
            "SETUP rtsp://us.example:554/live/a?k=v/trackID=0",
            "",
            None,
        ),
        (
            "what the origin calls it",
            "PLAY rtsp://us.example:554/inner/7",
            "",
            None,
        ),
        (
            "another stream's description",
            "DESCRIBE rtsp://us.example:554/live/b",
            "",
            Some("455"),
        ),
        (
            "another stream's track",
            "SETUP rtsp://us.example:554/live/ab/trackID=0",
            "",
            Some("455"),
        ),
        (
            "somebody else as its destination",
            "SETUP rtsp://us.example:554/live/a",
            "Transport: RTP/AVP;unicast;client_port=5000;destination=198.51.100.7\r\n",
            Some("461"),
        ),
        (
            "a group",
            "SETUP rtsp://us.example:554/live/a",
            "Transport: RTP/AVP;multicast\r\n",
            Some("461"),
        ),
    ];
    for (cause, line, transport, refused) in rows {
        let mut join = join();
        let answer = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://10.0.0.5/inner/7/\r\n\r\n";
        join.from_origin(&message(answer, Speaker::Origin));
        let transport = if line.starts_with("SETUP") && transport.is_empty() {
            "Transport: RTP/AVP/TCP;interleaved=0-1\r\n"
        } else {
            transport
        };
        let told = message(
            &format!("{line} RTSP/1.0\r\nCSeq: 7\r\n{transport}\r\n"),
            Speaker::Client,
        );
        match (join.from_client(&told), refused) {
            (FromClient::Pass, None) => {}
            (FromClient::Refuse(refused), Some(status)) => {
                let words = String::from_utf8(refused.answer(&told)).unwrap();
                assert!(
                    words.starts_with(&format!("RTSP/1.0 {status} ")),
                    "{cause}: {words}"
                );
                assert!(words.contains("\r\nCSeq: 7\r\n"), "{cause}: {words}");
            }
            (found, _) => panic!("{cause}: {found:?}"),
        }
    }
    let itself = "SETUP rtsp://us.example:554/live/a RTSP/1.0\r\nCSeq: 7\r\n\
                  Transport: RTP/AVP;unicast;client_port=5000;destination=203.0.113.9\r\n\r\n";
    let heard = join().from_client(&message(itself, Speaker::Client));
    assert!(
        matches!(heard, FromClient::Setup(_)),
        "its own address is no other"
    );
}

/// The SETUP of a track with these transports.
fn setup(transports: &str) -> Message {
    let text = format!(
        "SETUP rtsp://us.example:554/live/a/trackID=0 RTSP/1.0\r\nCSeq: 3\r\nTransport: {transports}\r\n\r\n"
    );
    message(&text, Speaker::Client)
}

/// What an origin is asked for by a SETUP of a client that may have datagrams or may not, or the status of its refusal.
fn asked_for(join: &mut Join, setup: &Message, has_ports: bool) -> Result<String, u16> {
    let bytes = match (join.from_client(setup), has_ports) {
        (FromClient::Pass, _) => setup.bytes().to_vec(),
        (FromClient::OverTcp, _) => join.over_tcp(setup),
        (FromClient::Refuse(refused), _) => return Err(refused.status),
        (FromClient::Setup(offer), true) => {
            join.grant(offer, setup, (22_000, 22_001), (23_000, 23_001))
        }
        (FromClient::Setup(offer), false) => join
            .without_datagrams(&offer, setup)
            .map_err(|refused| refused.status)?,
    };
    let (asked, _) = Message::parse(&bytes, Speaker::Client).unwrap().unwrap();
    Ok(asked.field("transport").unwrap().to_owned())
}

const TCP: &str = "RTP/AVP/TCP;unicast;interleaved=0-1";
const UDP: &str = "RTP/AVP;unicast;client_port=5000-5001";

#[test]
fn of_a_list_of_transports_those_that_can_be_relayed_go_to_the_origin() {
    let ours = "RTP/AVP;unicast;client_port=22000-22001";
    let both = format!("{ours},{TCP}");
    // A cause; what the client offers; what the origin is asked for with ports for datagrams, and without.
    let rows = [
        ("one", TCP.to_owned(), Ok(TCP), Ok(TCP)),
        (
            "a group before TCP",
            format!("RTP/AVP;multicast, {TCP}"),
            Ok(TCP),
            Ok(TCP),
        ),
        (
            "a group after TCP",
            format!("{TCP},RTP/AVP/UDP;multicast"),
            Ok(TCP),
            Ok(TCP),
        ),
        (
            "a group with its address",
            format!("RTP/AVP;multicast;destination=224.2.0.1;ttl=127;port=3456-3457,{TCP}"),
            Ok(TCP),
            Ok(TCP),
        ),
        (
            "all three",
            format!("RTP/AVP;multicast,{UDP},{TCP}"),
            Ok(&*both),
            Ok(TCP),
        ),
        (
            "somebody else before TCP",
            format!("{UDP};destination=198.51.100.7,{TCP}"),
            Ok(TCP),
            Ok(TCP),
        ),
        (
            "no ports, before TCP",
            format!("RTP/AVP;unicast,{TCP}"),
            Ok(TCP),
            Ok(TCP),
        ),
        ("datagrams", UDP.to_owned(), Ok(ours), Err(461)),
        (
            "a group before datagrams",
            format!("RTP/AVP;multicast,{UDP}"),
            Ok(ours),
            Err(461),
        ),
        (
            "groups alone",
            "RTP/AVP;multicast,RTP/AVP/UDP;multicast".to_owned(),
            Err(461),
            Err(461),
        ),
        (
            "nothing that can be relayed",
            format!("RTP/AVP;multicast,{UDP};destination=198.51.100.7"),
            Err(461),
            Err(461),
        ),
    ];
    for (cause, offered, with_ports, without) in rows {
        for (has_ports, expected) in [(true, with_ports), (false, without)] {
            let found = asked_for(&mut join(), &setup(&offered), has_ports);
            assert_eq!(
                found.as_deref().map_err(|status| *status),
                expected,
                "{cause}"
            );
        }
    }
}

#[test]
fn an_origin_answers_with_a_transport_that_it_was_asked_for_or_the_client_is_refused() {
    let udp = "RTP/AVP;unicast;client_port=22000-22001;server_port=9000-9001;source=10.0.0.5";
    let tcp = "RTP/AVP/TCP;unicast;interleaved=4-5;source=10.0.0.5";
    let group = "RTP/AVP;multicast;destination=239.0.0.1;port=7000-7001";
    let shown_udp = "RTP/AVP;unicast;client_port=5000-5001;server_port=23000-23001";
    let shown_tcp = "RTP/AVP/TCP;unicast;interleaved=4-5";
    let either = &*format!("{UDP},{TCP}");
    let list = &*format!("{tcp},{udp}");
    let granted = || Some(News::Granted(1, Some((9000, 9001))));
    let denied = || Some(News::Denied(1));
    let unasked = |answered: &str| {
        Some(News::Unasked {
            track: 1,
            answered: answered.to_owned(),
        })
    };
    // A cause; what the client offers, and whether there are ports; the answer; what the client is shown, and the news.
    let rows = [
        ("datagrams", UDP, true, udp, Some(shown_udp), granted()),
        ("TCP", TCP, true, tcp, Some(shown_tcp), None),
        (
            "its choice, TCP",
            either,
            true,
            tcp,
            Some(shown_tcp),
            denied(),
        ),
        (
            "its choice, datagrams",
            either,
            true,
            udp,
            Some(shown_udp),
            granted(),
        ),
        ("TCP for datagrams", UDP, true, tcp, None, unasked(tcp)),
        ("datagrams for TCP", TCP, true, udp, None, unasked(udp)),
        (
            "datagrams that nobody can have",
            either,
            false,
            udp,
            None,
            unasked(udp),
        ),
        (
            "a group for datagrams",
            UDP,
            true,
            group,
            None,
            unasked(group),
        ),
        ("a group for TCP", TCP, true, group, None, unasked(group)),
        (
            "a list, of which the first counts",
            TCP,
            true,
            list,
            Some(shown_tcp),
            None,
        ),
    ];
    for (cause, offered, has_ports, answered, shown, expected) in rows {
        let mut join = join();
        asked_for(&mut join, &setup(offered), has_ports).unwrap();
        let text =
            format!("RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 7\r\nTransport: {answered}\r\n\r\n");
        let heard = join.from_origin(&message(&text, Speaker::Origin));
        assert_eq!(heard.news, expected, "{cause}");
        let heard = String::from_utf8(heard.bytes.unwrap()).unwrap();
        let heard = message(&heard, Speaker::Origin);
        let status = if shown.is_some() { 200 } else { 461 };
        assert_eq!(
            (heard.status(), heard.cseq()),
            (Some(status), Some(3)),
            "{cause}"
        );
        assert_eq!(heard.field("transport"), shown, "{cause}");
    }
}

#[test]
fn an_answer_without_a_transport_agrees_with_what_was_asked_for() {
    let either = &*format!("{UDP},{TCP}");
    let granted = Some(News::Granted(1, None));
    let rows = [
        ("datagrams", UDP, granted),
        ("TCP", TCP, None),
        ("either", either, Some(News::Denied(1))),
    ];
    for (cause, offered, expected) in rows {
        let mut join = join();
        asked_for(&mut join, &setup(offered), true).unwrap();
        let text = "RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 7\r\n\r\n";
        let heard = join.from_origin(&message(text, Speaker::Origin));
        assert_eq!((heard.bytes, heard.news), (None, expected), "{cause}");
    }
}

#[test]
fn a_camera_may_call_its_stream_by_its_address_alone() {
    let mut join = join();
    let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=1\r\n";
    let answer = format!(
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Base: rtsp://10.0.0.5/\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    join.from_origin(&message(&answer, Speaker::Origin));
    for line in [
        "SETUP rtsp://us.example:554/trackID=1",
        "PLAY rtsp://us.example:554/",
    ] {
        let told =
            format!("{line} RTSP/1.0\r\nCSeq: 7\r\nTransport: RTP/AVP/TCP;interleaved=0-1\r\n\r\n");
        let heard = join.from_client(&message(&told, Speaker::Client));
        assert_eq!(heard, FromClient::Pass, "{line}");
    }
}

/// Cameras write titles and names in encodings of their own.
#[test]
fn tracks_are_known_whatever_the_encoding_of_their_description() {
    let mut join = join();
    let sdp = b"v=0\r\ns=caf\xe9\r\nm=video 0 RTP/AVP 96\r\na=control:s\xe9rie/1\r\n";
    let head = format!(
        "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n",
        sdp.len()
    );
    let base = b"Content-Base: rtsp://10.0.0.5/caf\xe9/\r\n\r\n";
    let answer = [head.as_bytes(), base, sdp].concat();
    let (answer, _) = Message::parse(&answer, Speaker::Origin).unwrap().unwrap();
    join.from_origin(&answer);
    let rows: [(&str, &[u8], bool); 4] = [
        ("as it came", b"caf\xe9/s\xe9rie/1", true),
        ("with escapes", b"caf%E9/s%E9rie/1", true),
        ("the stream", b"caf\xe9", true),
        ("another stream", b"caf\xe8", false),
    ];
    for (cause, path, expected) in rows {
        let asks = [
            b"PLAY rtsp://us.example:554/".as_slice(),
            path,
            b" RTSP/1.0\r\nCSeq: 7\r\n\r\n",
        ]
        .concat();
        let (asks, _) = Message::parse(&asks, Speaker::Client).unwrap().unwrap();
        let heard = join.from_client(&asks);
        assert_eq!(heard == FromClient::Pass, expected, "{cause}: {heard:?}");
    }
}

#[test]
fn what_is_answered_before_a_stream_is_named() {
    let rows = [
        (
            "a greeting",
            "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 200 OK\r\nCSeq: 1\r\nPublic: OPTIONS",
        ),
        (
            "RTSP 2.0",
            "OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 505 ",
        ),
        (
            "no number",
            "DESCRIBE rtsp://h/a RTSP/1.0\r\n\r\n",
            "RTSP/1.0 400 ",
        ),
        (
            "no stream",
            "DESCRIBE rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 400 Bad Request: no stream",
        ),
        (
            "too early",
            "PLAY rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 455 ",
        ),
        (
            "nothing to end",
            "TEARDOWN rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 454 ",
        ),
        (
            "unknown",
            "FLY rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            "RTSP/1.0 501 ",
        ),
    ];
    // With them the connection is over.
    let last = [
        (
            "a description that is too long",
            "ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 8\r\nContent-Length: 65537\r\n\r\n",
            "RTSP/1.0 413 Request Entity Too Large: a body of more than 65536 bytes\r\nCSeq: 8\r\n\r\n",
        ),
        (
            "two lengths",
            "ANNOUNCE rtsp://h/a RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\ncseq : 9\r\n\r\n",
            "RTSP/1.0 400 Bad Request: an unclear Content-Length\r\nCSeq: 9\r\n\r\n",
        ),
    ];
    for (cause, wire, expected) in last {
        let mut server = Server::default();
        server.feed(wire.as_bytes());
        let error = server.poll().expect_err(cause);
        let output = String::from_utf8(server.take_output()).unwrap();
        assert_eq!(output, expected, "{cause}");
        let status = output.split(' ').nth(1).unwrap();
        assert_eq!(error.status().to_string(), status, "{cause}");
    }
    for (cause, wire, expected) in rows {
        let mut server = Server::default();
        server.feed(wire.as_bytes());
        assert_eq!(server.poll(), Ok(None), "{cause}");
        let output = String::from_utf8(server.take_output()).unwrap();
        assert!(output.starts_with(expected), "{cause}: {output}");
    }
    let mut tunnel = Server::default();
    tunnel.feed(b"GET /live/a HTTP/1.1\r\nx-sessioncookie: 1\r\n\r\n");
    assert!(tunnel.poll().is_err());
    assert!(tunnel.take_output().starts_with(b"HTTP/1.0 501 "));
}

#[test]
fn the_request_says_the_action() {
    let transport = "Transport: RTP/AVP/TCP;interleaved=0-1;mode=record\r\n";
    let rows = [
        ("a player", "DESCRIBE rtsp://h/live/a", "", Action::Play),
        (
            "a publisher",
            "ANNOUNCE rtsp://h/live/a",
            "",
            Action::Publish,
        ),
        (
            "a player in a hurry",
            "SETUP rtsp://h/live/a/trackID=0",
            "",
            Action::Play,
        ),
        (
            "a publisher in a hurry",
            "SETUP rtsp://h/live/a/trackID=0",
            transport,
            Action::Publish,
        ),
    ];
    for (cause, line, fields, action) in rows {
        let asked = asked(&format!("{line} RTSP/1.0\r\nCSeq: 1\r\n{fields}\r\n"));
        assert_eq!(asked.action, action, "{cause}");
        assert_eq!(
            (asked.stream.app(), asked.stream.stream()),
            ("live", "a"),
            "{cause}"
        );
    }
}

/// A frame on a channel.
fn frame_on(channel: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    [&[b'$', channel], &length[..], payload].concat()
}

#[test]
fn media_is_told_by_its_channel_and_by_what_it_is() {
    let rtp = [&[0x80, 96][..], &[0; 10], &[1]].concat();
    let report = [&[0x80, 200, 0, 6][..], &[0; 24]].concat();
    type Row<'a> = (&'a str, Option<(u8, Option<u8>)>, u8, &'a [u8], bool, bool);
    let rows: [Row<'_>; 9] = [
        ("convention", None, 0, &rtp, true, true),
        ("reports by convention", None, 1, &report, false, false),
        ("numbered from one", Some((1, Some(2))), 1, &rtp, true, true),
        ("its reports", Some((1, Some(2))), 2, &report, false, false),
        ("another track", Some((1, Some(2))), 4, &rtp, true, true),
        ("an empty frame", None, 0, b"", false, false),
        ("a header alone", None, 0, &rtp[..12], true, false),
        ("no RTP", None, 0, &[0x47; 188], true, false),
        ("both on one", Some((0, Some(0))), 0, &report, true, false),
    ];
    for (cause, channels, channel, payload, is_media, is_rtp) in rows {
        let wire = frame_on(channel, payload);
        for size in 1..=wire.len() {
            let mut walk = Walk::new(Speaker::Client);
            if channels.is_some() {
                walk.set_up(channels);
            }
            let parts: Vec<&[u8]> = wire.chunks(size).collect();
            assert_eq!(events(&mut walk, &parts, false).0, wire, "{cause}");
            let found = (walk.saw_media(), walk.saw_rtp());
            assert_eq!(found, (is_media, is_rtp), "{cause}, {size} bytes at once");
        }
    }
}

#[test]
fn noise_between_frames_is_forgiven_an_origin_alone_and_not_for_ever() {
    let frame = frame_on(0, &[1; 20]);
    let walked = |speaker, set_up: bool, noise: &[u8]| {
        let mut walk = Walk::new(speaker);
        if set_up {
            walk.set_up(Some((0, Some(1))));
        }
        let wire = [&frame, noise, &frame].concat();
        let mut rest = wire.as_slice();
        let mut passed = Vec::new();
        loop {
            match walk.step(&mut rest) {
                Ok(Some(Step::Pass(bytes))) => passed.extend_from_slice(bytes),
                Ok(Some(Step::Message(message))) => panic!("{message:?}"),
                Ok(None) => break Ok(passed.len()),
                Err(error) => break Err(error),
            }
        }
    };
    let both = Ok(2 * frame.len());
    let most = vec![0; MAX_STRAY];
    let rows: [(&str, &[u8]); 4] = [
        ("zeros", &[0; 37]),
        ("letters", b"what the camera thinks of RTSP and OPTIONS"),
        ("a frame's end and half a start", b"\xff\xfe$"),
        ("the longest", &most),
    ];
    for (cause, noise) in rows {
        assert_eq!(walked(Speaker::Origin, true, noise), both, "{cause}");
    }
    let too_much = vec![0; MAX_STRAY + 1];
    let no_start = Err(WalkError::NotAStart(0));
    assert_eq!(walked(Speaker::Origin, true, &too_much), no_start);
    assert_eq!(
        walked(Speaker::Origin, false, &[0]),
        no_start,
        "no channel is set up, so that no frame is to come"
    );
    assert_eq!(walked(Speaker::Client, true, &[0]), no_start);
}

/// What a walk over an origin's bytes finds, if it has set up a track: the frames, and the method or status of each message.
fn found_after_set_up(
    channels: Option<(u8, Option<u8>)>,
    parts: &[&[u8]],
) -> (Vec<u8>, Vec<Message>) {
    let mut walk = Walk::new(Speaker::Origin);
    walk.set_up(channels);
    let (frames, messages) = events(&mut walk, parts, false);
    (
        frames,
        messages.into_iter().map(|(_, message)| message).collect(),
    )
}

#[test]
fn noise_between_answers_is_forgiven_an_origin_whose_media_goes_by_udp() {
    let answer = b"RTSP/1.0 200 OK\r\nCSeq: 4\r\n\r\n".as_slice();
    for noise in [&[0xff][..], b"\x00\x01\x02", b"letters, and then RTSP"] {
        let wire = [answer, noise, answer].concat();
        for size in 1..=wire.len() {
            let parts: Vec<&[u8]> = wire.chunks(size).collect();
            let (frames, messages) = found_after_set_up(None, &parts);
            assert_eq!((frames.len(), messages.len()), (0, 2), "{noise:?}, {size}");
        }
    }
}

#[test]
fn a_request_of_an_origin_is_one_whatever_its_method() {
    let frame = frame_on(0, &[1; 20]);
    let channels = Some((0, Some(1)));
    let request = |line: &str| format!("{line} RTSP/1.0\r\nCSeq: 9\r\n\r\n").into_bytes();
    let [one, any] = ["PLAY_NOTIFY rtsp://h/live/a", "X-STATUS *"].map(request);
    let known = request("OPTIONS rtsp://h/live/a");
    // A cause; what an origin sends after a frame and before another; the methods that are found.
    let long = request(&format!("FLY rtsp://h/{}", "a".repeat(600)));
    let rows: [(&str, &[u8], &[Method]); 8] = [
        ("a method of its own", &one, &[Method::Other]),
        ("no URL", &any, &[Method::Other]),
        ("two", &[&one[..], &any].concat(), &[Method::Other; 2]),
        ("in the midst of noise", &[b"\xff", &one[..]].concat(), &[]),
        (
            "a version that is none",
            b"FLY rtsp://h/live/a HTTP/1.1\r\n\r\n",
            &[],
        ),
        (
            "half of one, and another",
            &[b"FLY rtsp://h/", &known[..]].concat(),
            &[Method::Options],
        ),
        (
            "half of one, with a space",
            &[b"FLY ", &known[..]].concat(),
            &[Method::Options],
        ),
        ("a URL without end", &long, &[]),
    ];
    for (cause, between, expected) in rows {
        let wire = [&frame, between, &frame].concat();
        for size in 1..=wire.len() {
            let parts: Vec<&[u8]> = wire.chunks(size).collect();
            let (frames, messages) = found_after_set_up(channels, &parts);
            assert_eq!(frames.len(), 2 * frame.len(), "{cause}, {size}");
            let methods: Vec<Method> = messages.iter().filter_map(Message::method).collect();
            assert_eq!(methods, expected, "{cause}, {size}");
        }
    }
}

#[test]
fn a_teardown_ends_the_track_that_it_names_or_all() {
    let stream = "rtsp://us.example:554/live/a";
    let rows = [
        (
            "a track",
            "/track2",
            200,
            Some(News::Ended(format!("{stream}/track2"))),
        ),
        ("the stream", "", 200, Some(News::AllEnd)),
        (
            "a track by TCP",
            "/track3",
            200,
            Some(News::Ended(format!("{stream}/track3"))),
        ),
        (
            "a track that was never set up",
            "/track4",
            200,
            Some(News::AllEnd),
        ),
        ("a refused one", "/track2", 454, None),
    ];
    for (cause, track, status, expected) in rows {
        let mut join = join();
        for (cseq, track, transport) in [
            (2, "track1", "RTP/AVP;unicast;client_port=5000-5001"),
            (3, "track2", "RTP/AVP;unicast;client_port=5002-5003"),
            (4, "track3", "RTP/AVP/TCP;unicast;interleaved=0-1"),
        ] {
            let setup = format!(
                "SETUP {stream}/{track} RTSP/1.0\r\nCSeq: {cseq}\r\nTransport: {transport}\r\n\r\n"
            );
            let heard = join.from_client(&message(&setup, Speaker::Client));
            assert!(!matches!(heard, FromClient::Refuse(_)), "{cause}");
        }
        // Some clients leave each track without waiting for the answer.
        for (cseq, track) in [(7, track), (8, "/track1")] {
            let leaves = format!("TEARDOWN {stream}{track} RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n");
            let heard = join.from_client(&message(&leaves, Speaker::Client));
            assert_eq!(heard, FromClient::Pass, "{cause}");
        }
        let answer = format!("RTSP/1.0 {status} So\r\nCSeq: 7\r\n\r\n");
        let heard = join.from_origin(&message(&answer, Speaker::Origin));
        assert_eq!(heard.news, expected, "{cause}");
    }
}
