//! A client that cannot be served over RTSP is told why, and may ask for something else.

use sluicegate_core::fleet::State;
use sluicegate_core::rtsp::message::{Message, Method};

use crate::house::{House, talk, until};
use crate::rtsp_house::{Caller, Reply, Stub, answer, grants};

#[tokio::test]
async fn without_an_origin_the_status_says_why_and_the_connection_stays() {
    let house = House::open("").await;
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(refused.status(), Some(503));
    assert!(
        refused.reason().contains("no live origin serves rtsp"),
        "{}",
        refused.reason()
    );
    house.until_sessions(0).await;

    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let answer = player
        .ask("DESCRIBE rtsp://media.example/live/a", 2, "")
        .await;
    assert_eq!(answer.status(), Some(200));
}

#[tokio::test]
async fn an_origins_own_no_passes_and_leaves_nothing_behind() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        let yes = grants(at, Vec::new());
        move |request: &Message| {
            if request.method() == Some(Method::Describe) && request.uri().ends_with("nobody") {
                return Reply::Say(answer(
                    request,
                    "404 Stream Not Found",
                    "Server: mine\r\n",
                    "",
                ));
            }
            yes(request)
        }
    })
    .await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/nobody", 1, "")
        .await;
    assert_eq!(
        (refused.status(), refused.reason()),
        (Some(404), "Stream Not Found")
    );
    assert_eq!(refused.field("server"), Some("mine"));
    until("the row is gone", || house.proxy.sessions().is_empty()).await;
    assert_eq!(house.origin_of("live/nobody"), None);
    let granted = player
        .ask("DESCRIBE rtsp://media.example/live/a", 2, "")
        .await;
    assert_eq!(granted.status(), Some(200));
}

#[tokio::test]
async fn what_is_no_rtsp_1_0_hears_so() {
    let house = House::open("").await;
    let mut client = Caller::connect(house.at.rtsp).await;
    client
        .send("DESCRIBE rtsp://h/live/a RTSP/2.0\r\nCSeq: 1\r\n\r\n")
        .await;
    assert_eq!(client.hear().await.unwrap().status(), Some(505));
    let (status, words) = talk(
        house.at.rtsp,
        "GET /live/a HTTP/1.0\r\nx-sessioncookie: 1\r\nAccept: application/x-rtsp-tunnelled\r\n\r\n",
    )
    .await;
    assert_eq!(status, 501);
    assert!(words.contains("use RTSP over TCP"), "{words}");
    let mut noise = Caller::connect(house.at.rtsp).await;
    noise.send([0x03; 1537]).await;
    noise.hear_end().await;
}

#[tokio::test]
async fn a_camera_that_speaks_oddly_plays_as_it_does_without_us() {
    for (cause, odd) in [
        ("a line of one space", " \r\n"),
        ("a folded line", "X-Long: a\r\n  continued\r\n"),
        ("no colon", "Server Camera 1.0\r\n"),
        ("an empty name", ": x\r\n"),
    ] {
        let house = House::open("").await;
        let camera = Stub::start(|at| {
            let grants = grants(at, Vec::new());
            move |request: &Message| match grants(request) {
                Reply::Say(said) => {
                    let said = String::from_utf8(said).expect("text");
                    let said = said.replacen("\r\n", &format!("\r\nX-Model: 1\r\n{odd}"), 1);
                    let said = match request.method() {
                        Some(Method::Describe) => {
                            said.replacen("RTSP/1.0 200 OK", "RTSP/2.0  200  OK", 1)
                        }
                        _ => said,
                    };
                    Reply::Say(said.into_bytes())
                }
                other => other,
            }
        })
        .await;
        house.register_with("camera", &format!(r#""rtsp":["{}"]"#, camera.at.port()));
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = "rtsp://media.example/live/a";
        let described = player.ask(&format!("DESCRIBE {url}"), 1, "").await;
        let text = String::from_utf8_lossy(described.bytes()).into_owned();
        assert!(text.starts_with("RTSP/2.0  200  OK\r\n"), "{cause}: {text}");
        assert!(
            text.contains(&format!("X-Model: 1\r\n{odd}")),
            "{cause}: {text}"
        );
        assert!(!text.contains(&camera.at.to_string()), "{cause}: {text}");
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let set_up = player
            .ask(&format!("SETUP {url}/trackID=0"), 2, transport)
            .await;
        assert_eq!(set_up.status(), Some(200), "{cause}");
        let played = player
            .ask(&format!("PLAY {url}"), 3, "Session: 7\r\n")
            .await;
        let text = String::from_utf8_lossy(played.bytes()).into_owned();
        assert!(text.contains(odd), "{cause}: {text}");
        assert_eq!(house.proxy.sessions().len(), 1, "{cause}");
    }
}

#[tokio::test]
async fn an_origin_whose_answer_has_two_lengths_is_not_blamed_for_being_away() {
    let house = House::open("").await;
    let camera = Stub::start(|at| {
        let grants = grants(at, Vec::new());
        move |request: &Message| match request.method() {
            Some(Method::Describe) => Reply::Say(answer(
                request,
                "200 OK",
                "Content-Length: 1\r\n",
                "v=0\r\n",
            )),
            _ => grants(request),
        }
    })
    .await;
    house.register_with("camera", &format!(r#""rtsp":["{}"]"#, camera.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(refused.status(), Some(502));
    let camera = "camera".into();
    assert_eq!(house.proxy.registry().state(&camera), Some(State::Up));
}

#[tokio::test]
async fn a_clients_bare_line_feeds_reach_its_origin_as_whole_line_ends() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    player
        .send("OPTIONS rtsp://media.example/live/a RTSP/1.0\nCSeq: 1\n\n")
        .await;
    assert_eq!(player.hear().await.unwrap().status(), Some(200));
    player
        .send("DESCRIBE rtsp://media.example/live/a RTSP/1.0\nCSeq: 2\nAccept: application/sdp\n\n")
        .await;
    assert_eq!(player.hear().await.unwrap().status(), Some(200));
    let requests = origin.requests();
    assert_eq!(
        requests.last().map(String::as_str),
        Some(
            "DESCRIBE rtsp://media.example/live/a RTSP/1.0\r\nCSeq: 2\r\nAccept: application/sdp\r\n\r\n"
        )
    );
}

#[tokio::test]
async fn a_request_that_may_be_read_in_two_ways_is_told_so() {
    let house = House::open("").await;
    for (fields, words) in [
        ("CSeq: 1\r\n 2\r\n", "a folded header line"),
        ("CSeq 1\r\n", "a line that is no header field"),
        (
            "Content-Length: 1\r\nContent-Length: 2\r\n",
            "an unclear Content-Length",
        ),
    ] {
        let text = format!("OPTIONS rtsp://h/live/a RTSP/1.0\r\n{fields}\r\n");
        let mut client = Caller::connect(house.at.rtsp).await;
        client.send(text).await;
        let told = client.hear().await.expect("an answer");
        assert_eq!(told.status(), Some(400), "{words}");
        assert!(told.reason().contains(words), "{}", told.reason());
        client.hear_end().await;
    }
}

/// Odd cameras, and players of what they are called, write URLs in encodings of their own.
#[tokio::test]
async fn a_url_that_is_no_utf_8_names_a_stream_and_reaches_its_origin_as_it_came() {
    let house = House::open("").await;
    let names = ["one", "two", "three"];
    let mut origins = Vec::new();
    for id in names {
        let origin = Stub::start(|at| grants(at, Vec::new())).await;
        house.register_with(id, &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        origins.push(origin);
    }
    let latin: &[u8] = b"rtsp://media.example/live/caf\xe9";
    for url in [latin, b"rtsp://media.example/live/caf%E9"] {
        let mut player = Caller::connect(house.at.rtsp).await;
        let asks = [b"DESCRIBE ", url, b" RTSP/1.0\r\nCSeq: 1\r\n\r\n"].concat();
        player.send(&asks).await;
        let told = player.hear().await.expect("an answer");
        assert_eq!(told.status(), Some(200), "{}", told.reason());
        let id = house.origin_of("live/caf%E9").expect("it is placed");
        let at = names.iter().position(|name| *name == id);
        let asked = origins[at.expect("one of them")].requests();
        let expected = String::from_utf8_lossy(&asks).into_owned();
        assert!(asked.contains(&expected), "{asked:?}");
    }
}

/// What came before bytes that cannot be read is heard, though one read brought both.
#[tokio::test]
async fn what_shares_a_read_with_bytes_that_cannot_be_read_arrives() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        let others = grants(at, Vec::new());
        move |request: &Message| match (request.method(), others(request)) {
            (Some(Method::SetParameter), Reply::Say(said)) => {
                Reply::Say([&said[..], &[0xff]].concat())
            }
            (_, reply) => reply,
        }
    })
    .await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let url = "rtsp://media.example/live/a";
    let describe = format!("DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n");

    let mut player = Caller::connect(house.at.rtsp).await;
    player.send(&describe).await;
    assert_eq!(player.hear().await.unwrap().status(), Some(200));
    let told = player.ask(&format!("SET_PARAMETER {url}"), 2, "").await;
    assert_eq!(told.status(), Some(200), "the origin's");
    player.hear_end().await;

    let mut player = Caller::connect(house.at.rtsp).await;
    player.send(&describe).await;
    assert_eq!(player.hear().await.unwrap().status(), Some(200));
    let last = format!("TEARDOWN {url} RTSP/1.0\r\nCSeq: 2\r\nSession: 7\r\n\r\n");
    player.send([last.as_bytes(), &[0xff]].concat()).await;
    player.hear_end().await;
    until("the client's last request", || {
        origin.requests().contains(&last)
    })
    .await;

    let mut player = Caller::connect(house.at.rtsp).await;
    player.send([describe.as_bytes(), &[0xff]].concat()).await;
    let told = player.hear().await.expect("what it asked for before that");
    assert_eq!(told.status(), Some(200), "during set-up");
    player.hear_end().await;
    house.until_sessions(0).await;
    let ended = house.proxy.sessions().ended();
    let mut reasons: Vec<&str> = ended.iter().map(|row| &*row.reason).collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["client_error", "client_error", "origin_error"]);
}

/// Its answer has the number of the request, or the client would wait on.
#[tokio::test]
async fn a_client_whose_description_is_too_long_is_told_so() {
    let house = House::open("").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let announce = "ANNOUNCE rtsp://media.example/live/a RTSP/1.0\r\n";
    let long = format!("{announce}CSeq: 7\r\nContent-Length: 70000\r\n\r\nv=0\r\n");
    for is_joined in [false, true] {
        let mut camera = Caller::connect(house.at.rtsp).await;
        if is_joined {
            camera.send(format!("{announce}CSeq: 6\r\n\r\n")).await;
            assert_eq!(camera.hear().await.unwrap().status(), Some(200));
        }
        camera.send(&long).await;
        let told = camera.hear().await.expect("an answer");
        assert_eq!(
            (told.status(), told.cseq()),
            (Some(413), Some(7)),
            "{is_joined}"
        );
        let expected = "Request Entity Too Large: a body of more than 65536 bytes";
        assert_eq!(told.reason(), expected, "{is_joined}");
        camera.hear_end().await;
    }
}

#[tokio::test]
async fn a_player_hears_that_its_origins_description_is_too_long() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        let others = grants(at, Vec::new());
        move |request: &Message| match request.method() {
            Some(Method::Describe) => {
                let body = "v=0\r\n".repeat(14_000);
                let fields = "Content-Type: application/sdp\r\n";
                Reply::Say(answer(request, "200 OK", fields, &body))
            }
            _ => others(request),
        }
    })
    .await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let told = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(told.status(), Some(502));
    let reason = told.reason();
    assert!(
        reason.contains("a body of more than 65536 bytes"),
        "{reason}"
    );
    assert!(!reason.contains("127.0.0.1"), "{reason}");
}

#[tokio::test]
async fn a_client_that_says_nothing_is_let_go() {
    let house = House::open("[rtsp]\nidentify_timeout = \"200ms\"\n").await;
    let mut silent = Caller::connect(house.at.rtsp).await;
    silent.send("DESCRIBE rtsp://h/live/a RTSP/1.0\r\n").await;
    silent.hear_end().await;
}

#[tokio::test]
async fn a_stream_on_an_origin_without_rtsp_is_refused_by_name() {
    let house = House::open("").await;
    let rtmp = crate::house::Stub::start(crate::house::Manner::Grants).await;
    house.register("rtmp-only", rtmp.at);
    let _publisher = house
        .ask(sluicegate_core::stream::Action::Publish, "live/a")
        .await;
    house.register_with("with-rtsp", r#""rtsp":["1"]"#);
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(refused.status(), Some(404));
    assert!(
        refused
            .reason()
            .contains("is on rtmp-only, which has no rtsp"),
        "{}",
        refused.reason()
    );
}

#[tokio::test]
async fn a_server_that_registers_nowhere_is_used_while_it_answers() {
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    let port = origin.at.port();
    let house = House::open(&format!(
        "[default_origin]\nenabled = true\nrtsp = \"{port}\"\nrtmp = \"\"\nhttp = \"\"\n[origins]\nttl = \"1s\"\n"
    ))
    .await;
    until("it is asked", || {
        let asked = origin.requests();
        asked
            .iter()
            .any(|asked| asked.starts_with("OPTIONS * RTSP/1.0"))
    })
    .await;
    let mut player = Caller::connect(house.at.rtsp).await;
    let answer = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(answer.status(), Some(200), "{}", answer.reason());
    assert_eq!(house.origin_of("live/a").as_deref(), Some("default"));
}

/// What an origin says of a stream without a base: each client makes another address of it.
#[tokio::test]
async fn a_track_is_asked_for_by_every_address_that_a_client_may_make_of_its_name() {
    for base in [
        "",
        "Content-Base: rtsp://10.0.0.9/live/a\r\n",
        "Content-Base: rtsp://10.0.0.9/live/a?channel=1&subtype=0/\r\n",
    ] {
        let house = House::open("").await;
        let origin = Stub::start(move |at| {
            let grants = grants(at, Vec::new());
            move |request: &Message| match request.method() {
                Some(Method::Describe) => {
                    let fields = format!("{base}Content-Type: application/sdp\r\n");
                    let sdp = "v=0\r\ns=a\r\nm=video 0 RTP/AVP 96\r\na=control:track1\r\n";
                    Reply::Say(answer(request, "200 OK", &fields, sdp))
                }
                _ => grants(request),
            }
        })
        .await;
        house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        let at = house.at.rtsp;
        for track in ["live/a/track1", "live/track1", "live/atrack1"] {
            let mut player = Caller::connect(at).await;
            let told = player
                .ask(&format!("DESCRIBE rtsp://{at}/live/a"), 1, "")
                .await;
            assert_eq!(told.status(), Some(200));
            let set_up = player
                .ask(
                    &format!("SETUP rtsp://{at}/{track}"),
                    2,
                    "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
                )
                .await;
            assert_eq!(set_up.status(), Some(200), "{track}, {base:?}");
            let other = player
                .ask(
                    &format!("SETUP rtsp://{at}/live/track2"),
                    3,
                    "Transport: RTP/AVP/TCP;unicast;interleaved=2-3\r\n",
                )
                .await;
            assert_eq!(other.status(), Some(455), "it is no track of this stream");
        }
    }
}

/// A client that keeps its session alive with a method that its origin lacks loses it.
#[tokio::test]
async fn a_client_hears_of_the_methods_that_its_origin_has() {
    let house = House::open("").await;
    let origin = Stub::start(|at| {
        let grants = grants(at, Vec::new());
        move |request: &Message| match request.method() {
            Some(Method::Options) => {
                let fields = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER\r\n";
                Reply::Say(answer(request, "200 OK", fields, ""))
            }
            _ => grants(request),
        }
    })
    .await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let at = house.at.rtsp;
    let mut player = Caller::connect(at).await;
    let url = format!("rtsp://{at}/live/a");
    let first = player.ask(&format!("OPTIONS {url}"), 1, "").await;
    let public = first.field("public").expect("a list");
    assert!(!public.contains("GET_PARAMETER"), "not every server has it");
    let told = player.ask(&format!("DESCRIBE {url}"), 2, "").await;
    let public = told.field("public").expect("the origin's list");
    assert!(public.contains("GET_PARAMETER"), "{public}");
    assert!(!public.contains("RECORD"), "{public}");
    let again = player.ask(&format!("OPTIONS {url}"), 3, "").await;
    assert_eq!(
        again.field("public"),
        Some(public),
        "from the origin itself"
    );
}

/// A player that asked for media over UDP and got none begins again with SETUP, on a new connection. A track's name says
/// nothing of itself.
#[tokio::test]
async fn a_setup_that_comes_first_goes_to_the_origin_of_its_stream() {
    let house = House::open("").await;
    let origins = [
        Stub::start(|at| grants(at, Vec::new())).await,
        Stub::start(|at| grants(at, Vec::new())).await,
        Stub::start(|at| grants(at, Vec::new())).await,
    ];
    for (number, origin) in origins.iter().enumerate() {
        house.register_with(
            &format!("origin{number}"),
            &format!(r#""rtsp":["{}"]"#, origin.at.port()),
        );
    }
    let tracks = [
        "trackID=video",
        "mediaUUID=b719",
        "video",
        "audio_1",
        "rtx/track1",
        "track1",
    ];
    for (number, track) in tracks.iter().enumerate() {
        let stream = format!("site/cam{number}");
        let url = format!("rtsp://media.example/{stream}");
        let mut first = Caller::connect(house.at.rtsp).await;
        first.ask(&format!("DESCRIBE {url}"), 1, "").await;
        let origin = house.origin_of(&stream).expect("it is placed");
        let mut again = Caller::connect(house.at.rtsp).await;
        let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
        let told = again
            .ask(&format!("SETUP {url}/{track}"), 1, transport)
            .await;
        assert_eq!(told.status(), Some(200), "{track}");
        let rows = house.proxy.sessions().list();
        assert_eq!(rows.len(), 2, "{track}");
        for row in rows {
            assert_eq!(row.request.stream.path(), stream, "{track}");
            let placed = row.placed().origin;
            assert_eq!(
                placed.as_ref().map(|id| id.as_str()),
                Some(&*origin),
                "{track}"
            );
        }
        drop((first, again));
        house.until_sessions(0).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_because_of_our_no_was_refused() {
    let house = House::open("[rtsp]\nudp_ports = \"\"\n").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let url = "rtsp://media.example/live/a";
    let udp = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
    let tcp = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n";
    for (transports, reason) in [(&[udp][..], "refused"), (&[udp, tcp][..], "client_closed")] {
        let mut player = Caller::connect(house.at.rtsp).await;
        player.ask(&format!("DESCRIBE {url}"), 1, "").await;
        for (transport, cseq) in transports.iter().zip(2..) {
            player
                .ask(&format!("SETUP {url}/trackID=0"), cseq, transport)
                .await;
        }
        drop(player);
        house.until_sessions(0).await;
        let ended = house.proxy.sessions().ended();
        let last = ended.iter().max_by_key(|row| row.id).expect("it ended");
        assert_eq!(last.reason, reason);
    }
}

/// Some cameras want credentials for everything, and close without them.
#[tokio::test]
async fn a_camera_that_closes_after_it_refused_our_question_is_asked_the_clients() {
    for closing in ["Connection: close\r\n", ""] {
        let house = House::open("").await;
        let camera = Stub::start(|at| {
            let others = grants(at, Vec::new());
            move |request: &Message| match request.field("authorization") {
                Some(_) => others(request),
                None => {
                    let fields = format!("{closing}WWW-Authenticate: Basic realm=\"cam\"\r\n");
                    Reply::SayAndClose(answer(request, "401 Unauthorized", &fields, ""))
                }
            }
        })
        .await;
        house.register_with("camera", &format!(r#""rtsp":["{}"]"#, camera.at.port()));
        let describe = "DESCRIBE rtsp://media.example/live/a";
        let authorization = "Authorization: Basic dTpw\r\n";
        let mut knows = Caller::connect(house.at.rtsp).await;
        let told = knows.ask(describe, 1, authorization).await;
        assert_eq!(told.status(), Some(200), "{}", told.reason());
        let mut asks = Caller::connect(house.at.rtsp).await;
        let told = asks.ask(describe, 1, "").await;
        assert_eq!(told.status(), Some(401), "{}", told.reason());
        assert_eq!(told.field("www-authenticate"), Some("Basic realm=\"cam\""));
        let told = asks.ask(describe, 2, authorization).await;
        assert_eq!(told.status(), Some(200), "{}", told.reason());
    }
}
