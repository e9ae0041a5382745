//! A client and an origin that talk RTSP through the proxy, with media between their messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sluicegate::sessions::{Direction, Row, State};
use sluicegate_core::rtsp::message::{Message, Method};
use sluicegate_core::stream::Action;

use crate::house::{House, until};
use crate::rtsp_house::{Caller, Reply, Stub, answer, frame, grants};

const TCP: &str = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";

fn register(house: &House, id: &str, origin: &Stub) {
    house.register_with(id, &format!(r#""rtsp":["{}"]"#, origin.at.port()));
}

/// A player, up to the answer to PLAY.
async fn play(house: &House, name: &str) -> Caller {
    let mut player = Caller::connect(house.at.rtsp).await;
    let url = format!("rtsp://media.example/live/{name}");
    player.ask(&format!("DESCRIBE {url}"), 2, "").await;
    player.ask(&format!("SETUP {url}/trackID=0"), 3, TCP).await;
    let answer = player
        .ask(&format!("PLAY {url}"), 4, "Session: 7\r\n")
        .await;
    assert_eq!(answer.status(), Some(200));
    player
}

#[tokio::test]
async fn a_player_hears_of_us_alone_and_the_origin_hears_the_player_as_it_spoke() {
    let house = House::open("").await;
    let media = [
        frame(0, &[1; 1400]),
        frame(1, &[2; 28]),
        frame(0, &[3; 900]),
    ]
    .concat();
    let sent = media.clone();
    let mut origin = Stub::start(|at| grants(at, sent)).await;
    register(&house, "one", &origin);

    let mut player = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example:554/live/a?token=x";
    let options = player.ask("OPTIONS *", 1, "").await;
    assert!(options.field("public").unwrap().contains("DESCRIBE"));
    assert_eq!(origin.connections(), 0, "that was for us");
    let credentials = "User-Agent: camera wall\r\nAuthorization: Digest uri=\"rtsp://media.example:554/live/a\"\r\n";
    player.ask(&format!("OPTIONS {url}"), 2, credentials).await;
    let described = player.ask(&format!("DESCRIBE {url}"), 3, credentials).await;
    let text = String::from_utf8(described.bytes().to_vec()).unwrap();
    assert_eq!(
        described.field("content-base"),
        Some("rtsp://media.example:554/live/a/")
    );
    assert!(
        text.contains("\r\na=control:rtsp://media.example:554/live/a/trackID=0\r\n"),
        "{text}"
    );
    assert!(!text.contains(&origin.at.to_string()), "{text}");
    let set_up = player
        .ask("SETUP rtsp://media.example:554/live/a/trackID=0", 4, TCP)
        .await;
    assert_eq!(
        set_up.field("transport"),
        Some("RTP/AVP/TCP;unicast;interleaved=0-1")
    );
    let played = player
        .ask(&format!("PLAY {url}"), 5, "Session: 7\r\n")
        .await;
    assert_eq!(
        played.field("rtp-info"),
        Some("url=rtsp://media.example:554/live/a/trackID=0;seq=1")
    );
    assert!(player.hear_frames(media.len()).await);
    assert_eq!(player.frames, media);

    let heard = origin.requests();
    assert_eq!(
        heard[1],
        format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 3\r\n{credentials}\r\n"),
        "no byte is changed"
    );
    let row = house.proxy.sessions().list()[0].clone();
    assert_eq!(row.request.action, Action::Play);
    until("media is seen", || row.state() == State::Relaying).await;
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    assert!(row.bytes(Direction::ToClient) > media.len() as u64);
    assert!(row.bytes(Direction::ToOrigin) > 300);

    origin.kill().await;
    player.hear_end().await;
    house.until_sessions(0).await;
}

#[tokio::test]
async fn a_publisher_is_seen_to_publish() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, "one", &origin);
    let mut camera = Caller::connect(house.at.rtsp).await;
    let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\n";
    camera
        .send(format!(
            "ANNOUNCE rtsp://media.example/live/cam RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
            sdp.len()
        ))
        .await;
    assert_eq!(camera.hear().await.unwrap().status(), Some(200));
    let record = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1;mode=record\r\n";
    camera
        .ask("SETUP rtsp://media.example/live/cam/streamid=0", 2, record)
        .await;
    camera
        .ask("RECORD rtsp://media.example/live/cam", 3, "Session: 7\r\n")
        .await;
    let row = house.proxy.sessions().list()[0].clone();
    assert_eq!(
        (row.request.action, row.state()),
        (Action::Publish, State::Waiting)
    );
    let media = [frame(0, &[9; 1200]), frame(1, &[8; 40])].concat();
    camera.send(&media).await;
    until("the media", || origin.frames() == media).await;
    until("media is seen", || row.state() == State::Relaying).await;
    // A keep-alive between two frames.
    camera
        .ask(
            "GET_PARAMETER rtsp://media.example/live/cam",
            4,
            "Session: 7\r\n",
        )
        .await;
    camera
        .ask(
            "TEARDOWN rtsp://media.example/live/cam",
            5,
            "Session: 7\r\n",
        )
        .await;
    drop(camera);
    house.until_sessions(0).await;
    assert!(origin.requests().last().unwrap().starts_with("TEARDOWN "));
}

#[tokio::test]
async fn another_stream_on_the_same_connection_is_refused_between_frames_and_the_first_goes_on() {
    let house = House::open("").await;
    let media = frame(0, &[1; 3000]);
    let sent = media.clone();
    let origin = Stub::start(|at| grants(at, sent)).await;
    register(&house, "one", &origin);
    let mut player = play(&house, "a").await;
    assert!(player.hear_frames(media.len()).await);
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/b", 9, "")
        .await;
    assert_eq!(refused.status(), Some(455));
    assert!(
        refused.reason().contains("carries __defaultVhost__/live/a")
            || refused.reason().contains("carries media.example/live/a"),
        "{}",
        refused.reason()
    );
    let alive = player
        .ask(
            "GET_PARAMETER rtsp://media.example/live/a",
            10,
            "Session: 7\r\n",
        )
        .await;
    assert_eq!(alive.status(), Some(200));
    assert!(
        !origin
            .requests()
            .iter()
            .any(|request| request.contains("live/b"))
    );
    assert_eq!(house.proxy.sessions().len(), 1);
}

/// An origin that requires credentials for requests that name a stream.
fn challenges(request: &Message, close: bool) -> Reply {
    if request.method() == Some(Method::Describe) && request.field("authorization").is_none() {
        let challenge = "WWW-Authenticate: Digest realm=\"cameras\", nonce=\"1\"\r\n";
        let words = answer(request, "401 Unauthorized", challenge, "");
        return if close {
            Reply::SayAndClose(words)
        } else {
            Reply::Say(words)
        };
    }
    Reply::Say(answer(request, "200 OK", "", ""))
}

#[tokio::test]
async fn credentials_are_asked_for_and_given_on_one_connection() {
    for closes in [false, true] {
        let house = House::open("").await;
        let origin = Stub::start(|_| move |request: &Message| challenges(request, closes)).await;
        register(&house, "one", &origin);
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = "DESCRIBE rtsp://media.example/live/a";
        let asked = player.ask(url, 1, "").await;
        assert_eq!(asked.status(), Some(401));
        assert!(
            asked
                .field("www-authenticate")
                .unwrap()
                .contains("nonce=\"1\"")
        );
        let given = player
            .ask(url, 2, "Authorization: Digest username=\"a\"\r\n")
            .await;
        assert_eq!(given.status(), Some(200), "closes: {closes}");
        assert_eq!(origin.connections(), 1 + usize::from(closes));
        assert_eq!(house.proxy.sessions().len(), 1, "one session for both");
        let metrics = house.proxy.metrics().render();
        let once = "sluicegate_setup_seconds_count{protocol=\"rtsp\"} 1\n";
        assert!(metrics.contains(once), "set up once: {metrics}");
    }
}

#[tokio::test]
async fn a_redirect_is_followed_to_a_registered_origin_only() {
    let house = House::open("").await;
    let there = Stub::start(|at| grants(at, Vec::new())).await;
    let to = there.at;
    let here = Stub::start(move |_| {
        move |request: &Message| {
            if request.method() == Some(Method::Describe) {
                let path = request.uri().splitn(4, '/').nth(3).unwrap_or_default();
                let place = format!("Location: rtsp://{to}/{path}\r\n");
                return Reply::Say(answer(request, "302 Moved Temporarily", &place, ""));
            }
            Reply::Say(answer(request, "200 OK", "", ""))
        }
    })
    .await;
    register(&house, "here", &here);
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(refused.status(), Some(502));
    assert!(
        !refused.reason().contains("127.0.0.1"),
        "{}",
        refused.reason()
    );

    register(&house, "there", &there);
    for name in ["a", "b", "c", "d"] {
        let answer = player
            .ask(&format!("DESCRIBE rtsp://media.example/live/{name}"), 2, "")
            .await;
        assert_eq!(answer.status(), Some(200));
        assert_eq!(
            house.origin_of(&format!("live/{name}")).as_deref(),
            Some("there")
        );
        player = Caller::connect(house.at.rtsp).await;
    }
}

/// The token is for one player: whoever comes later is to be given one, too.
#[tokio::test]
async fn later_players_of_a_stream_are_sent_on_as_the_first_was() {
    let house = House::open("").await;
    let node = Stub::start(|at| grants(at, Vec::new())).await;
    let to = node.at;
    let given = AtomicUsize::new(0);
    let sends = Stub::start(move |_| {
        move |request: &Message| {
            if request.method() == Some(Method::Describe) {
                let number = given.fetch_add(1, Ordering::Relaxed);
                let place = format!("Location: rtsp://{to}/live/a?token={number}\r\n");
                return Reply::Say(answer(request, "302 Moved Temporarily", &place, ""));
            }
            Reply::Say(answer(request, "200 OK", "", ""))
        }
    })
    .await;
    register(&house, "sends", &sends);
    // No stream is placed on it.
    let endpoints = format!(r#""rtsp":["{}"],"weight":0"#, to.port());
    house.register_with("node", &endpoints);
    let mut players = Vec::new();
    for number in 0..3 {
        let mut player = Caller::connect(house.at.rtsp).await;
        let asks = "DESCRIBE rtsp://media.example/live/a";
        assert_eq!(player.ask(asks, 1, "").await.status(), Some(200));
        players.push(player);
        let asked = node.requests().pop().expect("a request");
        let expected = format!("/live/a?token={number} RTSP/1.0\r\n");
        assert!(asked.contains(&expected), "{asked}");
        assert_eq!(house.origin_of("live/a").as_deref(), Some("sends"));
    }
    let rows = house.proxy.sessions().list();
    let on_node = |row: &&Arc<Row>| row.placed().origin == Some("node".into());
    assert_eq!(rows.iter().filter(on_node).count(), 3);
}

/// Describes a stream under whatever name it is asked for, as cameras do, and grants the rest.
fn describes(request: &Message) -> Vec<u8> {
    let uri = request.uri();
    let fields = match request.method() {
        Some(Method::Describe) => {
            let fields = format!("Content-Base: {uri}/\r\nContent-Type: application/sdp\r\n");
            let sdp = "v=0\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n";
            return answer(request, "200 OK", &fields, sdp);
        }
        Some(Method::Setup) => {
            let offered = request.field("transport").unwrap_or_default();
            format!("Session: 7\r\nTransport: {offered}\r\n")
        }
        _ => String::new(),
    };
    answer(request, "200 OK", &fields, "")
}

#[tokio::test]
async fn a_redirect_of_an_origin_to_itself_is_followed() {
    // A cause; what the origin says for `live/a`, with the port of its other endpoint; what it is asked for then.
    let rows = [
        (
            "another path",
            "rtsp://127.0.0.1:{own}/moved/b",
            "/moved/b?k=v",
        ),
        (
            "another query",
            "rtsp://127.0.0.1:{own}/live/a?t=1",
            "/live/a?t=1",
        ),
        ("both", "rtsp://127.0.0.1:{own}/moved/b?t=1", "/moved/b?t=1"),
        (
            "another port",
            "rtsp://127.0.0.1:{other}/moved/b",
            "/moved/b?k=v",
        ),
        ("a path alone", "/moved/b?t=1", "/moved/b?t=1"),
    ];
    for (cause, location, expected) in rows {
        let house = House::open("").await;
        let other = Stub::start(|_| |request: &Message| Reply::Say(describes(request))).await;
        let port = other.at.port().to_string();
        let origin = Stub::start(move |at| {
            let own = at.port().to_string();
            let location = location.replace("{own}", &own).replace("{other}", &port);
            move |request: &Message| {
                let is_first = request.uri().ends_with("/live/a?k=v");
                Reply::Say(match request.method() {
                    Some(Method::Describe) if is_first => {
                        let place = format!("Location: {location}\r\n");
                        answer(request, "302 Moved Temporarily", &place, "")
                    }
                    _ => describes(request),
                })
            }
        })
        .await;
        let (own, port) = (origin.at.port(), other.at.port());
        house.register_with("one", &format!(r#""rtsp":["{own}","{port}"]"#));
        let url = "rtsp://media.example/live/a?k=v";
        let mut player = Caller::connect(house.at.rtsp).await;
        let described = player.ask(&format!("DESCRIBE {url}"), 2, "").await;
        assert_eq!(described.status(), Some(200), "{cause}");
        let base = described.field("content-base").expect("a base");
        assert!(
            base.starts_with("rtsp://media.example/live/a"),
            "{cause}: {base}"
        );
        let set_up = player.ask(&format!("SETUP {base}trackID=0"), 3, TCP).await;
        assert_eq!(set_up.status(), Some(200), "{cause}");
        let played = player
            .ask(&format!("PLAY {url}"), 4, "Session: 7\r\n")
            .await;
        assert_eq!(played.status(), Some(200), "{cause}");
        let asked = match location.contains("{other}") {
            true => other.requests(),
            false => origin.requests(),
        };
        let asked: Vec<&str> = asked
            .iter()
            .filter_map(|text| text.lines().next())
            .collect();
        for (method, after) in [("DESCRIBE", ""), ("SETUP", "/trackID=0"), ("PLAY", "")] {
            let line = format!("{method} rtsp://media.example{expected}{after} RTSP/1.0");
            assert!(asked.contains(&&*line), "{cause}: {line} in {asked:?}");
        }
        assert_eq!(house.origin_of("live/a").as_deref(), Some("one"), "{cause}");
    }
}

#[tokio::test]
async fn redirects_of_an_origin_to_itself_are_not_followed_for_ever() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        move |request: &Message| {
            Reply::Say(match request.method() {
                Some(Method::Describe) => {
                    let place = format!("Location: rtsp://{at}/live/a\r\n");
                    answer(request, "302 Moved Temporarily", &place, "")
                }
                _ => answer(request, "200 OK", "", ""),
            })
        }
    })
    .await;
    register(&house, "one", &origin);
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(refused.status(), Some(502));
    assert_eq!(origin.connections(), 3, "two redirects are followed");
}

#[tokio::test]
async fn an_origin_that_accepts_and_says_nothing_is_left_for_another() {
    let house = House::open("[session]\ndial_timeout = \"300ms\"\n").await;
    let silent = Stub::start(|_| |_: &Message| Reply::Wait).await;
    let alive = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, "silent", &silent);
    register(&house, "alive", &alive);
    for name in ["a", "b", "c", "d", "e", "f"] {
        play(&house, name).await;
        assert_eq!(
            house.origin_of(&format!("live/{name}")).as_deref(),
            Some("alive")
        );
    }
    assert!(
        silent.connections() >= 1,
        "with six streams one was first sent there"
    );
}

#[tokio::test]
async fn a_camera_that_falls_silent_is_let_go() {
    let house = House::open("[session]\npublisher_idle = \"300ms\"\n").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, "one", &origin);
    let mut camera = Caller::connect(house.at.rtsp).await;
    camera
        .ask("ANNOUNCE rtsp://media.example/live/cam", 1, "")
        .await;
    camera.send(frame(0, &[1; 100])).await;
    camera.hear_end().await;
    house.until_sessions(0).await;
    until("the account", || {
        house
            .proxy
            .metrics()
            .render()
            .contains("reason=\"publisher_idle\"} 1")
    })
    .await;
}

/// A loudspeaker of a camera: its player sends, and gets nothing.
#[tokio::test]
async fn a_player_that_talks_back_is_in_use() {
    let house = House::open("[session]\nplayer_idle = \"500ms\"\n").await;
    let origin = Stub::start(|at| grants(at, frame(0, &[1; 100]))).await;
    register(&house, "one", &origin);
    let mut player = play(&house, "a").await;
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(1500) {
        player
            .send(frame(2, &[&[0x80, 8][..], &[7; 50]].concat()))
            .await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert_eq!(house.proxy.sessions().len(), 1);
    }
    player.hear_end().await;
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "player_idle");
}

/// What a player says of itself, and what it sends before it plays, is no media.
#[tokio::test]
async fn what_a_player_reports_is_no_media() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, "one", &origin);
    let mut player = play(&house, "a").await;
    let report = [&[0x80, 201, 0, 7][..], &[0; 28]].concat();
    let header = [&[0x80, 8][..], &[0; 10]].concat();
    for said in [
        frame(0, b""),
        frame(0, &report),
        frame(1, &report),
        frame(0, &header),
    ] {
        player.send(said).await;
    }
    let alive = "GET_PARAMETER rtsp://media.example/live/a";
    player.ask(alive, 5, "Session: 7\r\n").await;
    let row = house.proxy.sessions().list()[0].clone();
    assert_eq!((row.first_media(), row.state()), (None, State::Waiting));
    player.send(frame(0, &[&header[..], &[1]].concat())).await;
    until("it talks back", || row.state() == State::Relaying).await;
}

/// The numbers of channels are the client's choice, and an origin may answer others.
#[tokio::test]
async fn media_is_known_by_the_channel_that_was_set_up() {
    for (asked, granted, channel) in [("1-2", "1-2", 1), ("0-1", "7-8", 7)] {
        let house = House::open("").await;
        let origin = Stub::start(move |at| {
            let others = grants(at, frame(channel, &[1; 100]));
            move |request: &Message| match request.method() {
                Some(Method::Setup) => {
                    let fields = format!(
                        "Session: 7\r\nTransport: RTP/AVP/TCP;unicast;interleaved={granted}\r\n"
                    );
                    Reply::Say(answer(request, "200 OK", &fields, ""))
                }
                _ => others(request),
            }
        })
        .await;
        register(&house, "one", &origin);
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = "rtsp://media.example/live/a";
        player.ask(&format!("DESCRIBE {url}"), 1, "").await;
        let transport = format!("Transport: RTP/AVP/TCP;unicast;interleaved={asked}\r\n");
        player
            .ask(&format!("SETUP {url}/trackID=0"), 2, &transport)
            .await;
        player
            .ask(&format!("PLAY {url}"), 3, "Session: 7\r\n")
            .await;
        assert!(player.hear_frames(104).await);
        let row = house.proxy.sessions().list()[0].clone();
        until("media is seen", || row.state() == State::Relaying).await;
        // Its reports are none, whatever the number of their channel.
        player.send(frame(channel + 1, &[0x80; 40])).await;
        player
            .ask(&format!("GET_PARAMETER {url}"), 4, "Session: 7\r\n")
            .await;
        assert_eq!(house.proxy.sessions().len(), 1);
    }
}

/// Cameras whose socket was full send the end of a frame twice, or noise; players look for the next frame.
#[tokio::test]
async fn what_a_camera_sends_between_two_frames_by_mistake_is_left_out() {
    let house = House::open("").await;
    let media = [frame(0, &[1; 900]), frame(1, &[2; 28]), frame(0, &[3; 900])];
    let noise: [&[u8]; 3] = [&[0; 37], b"letters, and then RTSP", &media[0][500..]];
    let (frames, sent) = (media.concat(), {
        let parts = media.iter().zip(noise);
        parts
            .flat_map(|(frame, noise)| [noise, frame].concat())
            .collect::<Vec<u8>>()
    });
    let origin = Stub::start(|at| grants(at, sent)).await;
    register(&house, "one", &origin);
    let mut player = play(&house, "a").await;
    assert!(player.hear_frames(frames.len()).await);
    assert_eq!(player.frames, frames);
    let alive = player
        .ask(
            "GET_PARAMETER rtsp://media.example/live/a",
            9,
            "Session: 7\r\n",
        )
        .await;
    assert_eq!(alive.status(), Some(200));
}

/// What an origin asks of its client is the client's to answer, whether or not the method is known here.
#[tokio::test]
async fn a_request_of_an_origin_reaches_its_client_and_the_answer_comes_back() {
    let house = House::open("").await;
    let frames = [frame(0, &[1; 200]), frame(0, &[2; 200])];
    let asks = b"PLAY_NOTIFY rtsp://127.0.0.1/live/a RTSP/1.0\r\nCSeq: 77\r\n\r\n";
    let sent = [&frames[0][..], asks, &frames[1]].concat();
    let origin = Stub::start(|at| {
        let others = grants(at, sent);
        move |request: &Message| match request.status() {
            // The client's answer.
            Some(_) => Reply::Wait,
            None => others(request),
        }
    })
    .await;
    register(&house, "one", &origin);
    let mut player = play(&house, "a").await;
    let asked = player.hear().await.expect("a request");
    assert_eq!(
        (asked.method(), asked.cseq()),
        (Some(Method::Other), Some(77))
    );
    assert!(
        asked
            .bytes()
            .starts_with(b"PLAY_NOTIFY rtsp://media.example/live/a ")
    );
    player
        .send("RTSP/1.0 501 Not Implemented\r\nCSeq: 77\r\n\r\n")
        .await;
    until("the answer", || {
        let heard = origin.requests();
        heard
            .iter()
            .any(|said| said.starts_with("RTSP/1.0 501 Not Implemented\r\nCSeq: 77\r\n"))
    })
    .await;
    assert!(player.hear_frames(frames.concat().len()).await);
    assert_eq!(player.frames, frames.concat());
}

#[tokio::test]
async fn what_an_origin_asks_before_it_has_answered_is_answered_here() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        let others = grants(at, Vec::new());
        move |request: &Message| match (request.method(), others(request)) {
            (Some(Method::Describe), Reply::Say(said)) => {
                let options = b"OPTIONS * RTSP/1.0\r\nCSeq: 5\r\n\r\n".as_slice();
                let other = b"FLY rtsp://h/live/a RTSP/1.0\r\nCSeq: 6\r\n\r\n";
                Reply::Say([options, other, &said].concat())
            }
            (None, _) => Reply::Wait,
            (_, reply) => reply,
        }
    })
    .await;
    register(&house, "one", &origin);
    let mut player = Caller::connect(house.at.rtsp).await;
    let told = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(told.status(), Some(200));
    for expected in [
        "RTSP/1.0 200 OK\r\nCSeq: 5\r\n\r\n",
        "RTSP/1.0 501 Not Implemented\r\nCSeq: 6\r\n\r\n",
    ] {
        until("our answer", || {
            let heard = origin.requests();
            heard.iter().any(|said| said == expected)
        })
        .await;
    }
}

#[tokio::test]
async fn however_the_bytes_are_split_the_same_arrives() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, "one", &origin);
    let mut camera = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example/live/cam";
    camera.ask(&format!("ANNOUNCE {url}"), 1, "").await;
    let (mut wire, mut media) = (Vec::new(), Vec::new());
    for number in 0_u8..60 {
        let frame = frame(number % 2, &vec![b'$'; usize::from(number) * 7]);
        wire.extend_from_slice(&frame);
        media.extend(frame);
        if number % 10 == 9 {
            let body = "$RTSP/1.0\r\n\r\n";
            let length = body.len();
            let head = format!(
                "SET_PARAMETER {url} RTSP/1.0\r\nCSeq: {number}\r\nContent-Length: {length}\r\n\r\n"
            );
            wire.extend_from_slice(head.as_bytes());
            wire.extend_from_slice(body.as_bytes());
        }
    }
    // Sizes from a seed: the same split each time.
    let (mut rest, mut seed) = (wire.as_slice(), 7_usize);
    while !rest.is_empty() {
        seed = (seed * 421 + 17) % 1009;
        let (part, after) = rest.split_at((seed % 90 + 1).min(rest.len()));
        camera.send(part).await;
        rest = after;
        tokio::time::sleep(std::time::Duration::from_micros(200)).await;
    }
    for number in [9, 19, 29, 39, 49, 59] {
        let answer = camera.hear().await.expect("an answer");
        assert_eq!(answer.cseq(), Some(number));
    }
    until("the media", || origin.frames() == media).await;
    let heard = origin.requests();
    let said = |request: &&String| request.ends_with("$RTSP/1.0\r\n\r\n");
    assert_eq!(heard.iter().filter(said).count(), 6, "{heard:?}");
}

#[tokio::test]
async fn a_kick_closes_both_sides() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    register(&house, "one", &origin);
    let mut player = play(&house, "a").await;
    house
        .proxy
        .sessions()
        .end_all(sluicegate::sessions::EndReason::Kicked);
    player.hear_end().await;
    house.until_sessions(0).await;
    assert!(
        house
            .proxy
            .metrics()
            .render()
            .contains("reason=\"kicked\"} 1")
    );
}
