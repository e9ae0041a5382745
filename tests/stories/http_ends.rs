//! How a pull ends, and what a viewer hears when it never began.

use std::time::Duration;

use sluicegate::sessions::{Direction, State};
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use crate::house::{House, PATIENCE, nowhere, until};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, WAYS, Way, header, register, say};
use crate::refusals::refusals;

/// Checks that the accounts say that one session ended for this reason, and none for another.
async fn ended_for(house: &House, reason: &str) {
    house.until_sessions(0).await;
    let text = house.proxy.metrics().render();
    let ends: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("sluicegate_sessions_ended_total"))
        .collect();
    let expected = format!(
        r#"sluicegate_sessions_ended_total{{protocol="http_flv",action="play",reason="{reason}"}} 1"#
    );
    assert_eq!(ends, [expected]);
}

#[tokio::test]
async fn the_origin_side_closes_when_a_viewer_leaves_though_nothing_flows() {
    // Before the origin's head, before media, and between two frames.
    let scripts = [
        vec![Step::Hold],
        vec![say(STREAM), Step::Hold],
        vec![say(STREAM), say("media"), Step::Hold],
    ];
    for script in scripts {
        for way in WAYS {
            let house = House::open("").await;
            let origin = HttpOrigin::join_alive(&house, "one", script.clone()).await;
            let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
            origin.visit(0).await;
            if script.len() > 1 {
                viewer.head().await;
            }
            if script.len() > 2 {
                viewer.take(1).await;
            }
            // Long before it would count as idle.
            drop(viewer);
            origin.until_closed(1).await;
            ended_for(&house, "client_closed").await;
        }
    }
}

#[tokio::test]
async fn a_viewer_that_waits_for_its_stream_is_kept() {
    for way in WAYS {
        let house = House::open("[session]\ndial_timeout = \"100ms\"\nsetup_timeout = \"1s\"\nplayer_idle = \"200ms\"\n").await;
        let origin = HttpOrigin::join_alive(&house, "one", vec![Step::Hold]).await;
        let viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        origin.visit(0).await;
        let states = || {
            let rows = house.proxy.sessions().list();
            rows.iter().map(|row| row.state()).collect::<Vec<_>>()
        };
        until("it waits", || states() == [State::Waiting]).await;
        // However long: beyond each of those times.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(states(), [State::Waiting], "{way:?}");
        assert!(!origin.visits()[0].closed);
        drop(viewer);
        origin.until_closed(1).await;
    }
}

#[tokio::test]
async fn waiting_ends_when_its_time_is_over() {
    for way in WAYS {
        let house = House::open("[session]\nplay_wait = \"300ms\"\n").await;
        let origin = HttpOrigin::join_alive(&house, "one", vec![Step::Hold]).await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 504 "), "{way:?}: {head}");
        drop(viewer);
        origin.until_closed(1).await;
        ended_for(&house, "waited_too_long").await;
    }
}

#[tokio::test]
async fn a_kick_ends_a_pull() {
    // While it waits, while nothing flows, and while the viewer reads nothing.
    let scripts = [
        vec![Step::Hold],
        vec![say(STREAM), say("media"), Step::Hold],
        vec![say(STREAM), Step::Flood],
    ];
    for script in scripts {
        for way in WAYS {
            let house = House::open("").await;
            let origin = HttpOrigin::join_alive(&house, "one", script.clone()).await;
            let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
            origin.visit(0).await;
            if script.len() > 1 {
                viewer.head().await;
                viewer.take(1).await;
            }
            if matches!(script.last(), Some(Step::Flood)) {
                let bytes = || house.proxy.sessions().list()[0].bytes(Direction::ToClient);
                let mut seen = 0;
                while seen != bytes() {
                    seen = bytes();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
            let id = house.proxy.sessions().list()[0].id;
            let request = format!(
                "DELETE /api/v1/sessions/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            );
            assert_eq!(
                crate::house::talk(house.at.system, &request).await,
                (200, "{\"code\":0}".to_owned())
            );
            if script.len() == 1 {
                let head = viewer.head().await;
                assert!(head.starts_with("HTTP/1.1 503 "), "{way:?}: {head}");
                assert_eq!(header(&head, "retry-after"), ["2"]);
                drop(viewer);
            } else {
                viewer.rest().await;
            }
            origin.until_closed(1).await;
            ended_for(&house, "kicked").await;
        }
    }
}

#[tokio::test]
async fn a_viewer_that_takes_nothing_is_ended() {
    for way in WAYS {
        let house =
            House::open("[session]\nwrite_stall = \"400ms\"\nplayer_idle = \"20s\"\n").await;
        let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Flood]).await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        viewer.head().await;
        origin.until_closed(1).await;
        ended_for(&house, "stalled").await;
    }
}

#[tokio::test]
async fn a_viewer_that_waits_between_frames_is_not_taken_for_a_stalled_one() {
    for way in WAYS {
        let house =
            House::open("[session]\nwrite_stall = \"200ms\"\nplayer_idle = \"20s\"\n").await;
        let _origin =
            HttpOrigin::join(&house, "one", vec![say(STREAM), say("media"), Step::Hold]).await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        viewer.take_body(&head, 5).await;
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(house.proxy.sessions().len(), 1, "{way:?}");
    }
}

#[tokio::test]
async fn an_origin_that_falls_silent_ends_the_pull() {
    for way in WAYS {
        let house = House::open("[session]\nplayer_idle = \"300ms\"\n").await;
        let origin = HttpOrigin::join(
            &house,
            "one",
            vec![say(STREAM), say("media".repeat(100)), Step::Hold],
        )
        .await;
        let viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        drop(viewer.rest().await);
        origin.until_closed(1).await;
        ended_for(&house, "player_idle").await;
    }
}

#[tokio::test]
async fn a_formats_header_is_no_media_yet() {
    for way in WAYS {
        let house = House::open("[session]\nplayer_idle = \"1ms\"\nplay_wait = \"400ms\"\n").await;
        let header = say("FLV\x01\x05\0\0\0\x09\0\0\0\0");
        let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), header, Step::Hold]).await;
        let viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        drop(viewer.rest().await);
        ended_for(&house, "waited_too_long").await;
    }
}

#[tokio::test]
async fn a_drain_ends_what_is_left() {
    for way in WAYS {
        let mut house = House::open("[shutdown]\ngrace = \"300ms\"\n").await;
        let _origin = HttpOrigin::join(&house, "one", vec![say(STREAM), Step::Flood]).await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        viewer.head().await;
        house.stop.cancel();
        let stopped = timeout(PATIENCE, &mut house.serving).await;
        stopped.expect("soon after the grace").unwrap();
        ended_for(&house, "drained").await;
    }
}

#[tokio::test]
async fn an_origin_that_closes_without_an_answer_is_a_bad_gateway() {
    for way in WAYS {
        let house = House::open("").await;
        let origin = HttpOrigin::join(&house, "one", vec![]).await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{way:?}: {head}");
        let length = header(&head, "content-length")[0]
            .parse()
            .expect("a length");
        let words = String::from_utf8(viewer.take(length).await).expect("text");
        assert!(words.contains("live/a") && words.ends_with('\n'), "{words}");
        speaks_no_address(&words, &[origin.at]);
        drop(viewer);
        ended_for(&house, "refused").await;
        let told = refusals(&house);
        let did = "play by http_flv: one: its origin closed the connection without an answer";
        assert_eq!(told, [did], "{way:?}");
    }
}

#[tokio::test]
async fn an_origin_that_does_not_speak_http_is_a_bad_gateway() {
    for way in WAYS {
        let house = House::open("").await;
        let _origin = HttpOrigin::join(
            &house,
            "one",
            vec![say("SSH-2.0-OpenSSH_9.2\r\n\r\n"), Step::Hold],
        )
        .await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        assert!(viewer.head().await.starts_with("HTTP/1.1 502 "), "{way:?}");
        drop(viewer);
        ended_for(&house, "refused").await;
        let told = refusals(&house);
        let did = "play by http_flv: one: its origin's answer is not HTTP: ";
        assert!(told.len() == 1 && told[0].starts_with(did), "{told:?}");
    }
}

#[tokio::test]
async fn without_an_origin_a_viewer_may_try_again() {
    let house = House::open("").await;
    for way in WAYS {
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{way:?}: {head}");
        assert_eq!(header(&head, "retry-after"), ["2"], "{way:?}");
        assert_eq!(
            header(&head, "access-control-allow-origin"),
            ["*"],
            "{way:?}"
        );
        let length = header(&head, "content-length")[0]
            .parse()
            .expect("a length");
        let words = String::from_utf8(viewer.take(length).await).expect("text");
        assert_eq!(
            words, "example.com/live/a: no live origin serves http\n",
            "{way:?}"
        );
    }
    let metrics = house.proxy.metrics().render();
    assert!(
        metrics.contains(r#"sluicegate_refused_total{protocol="http_flv",reason="no_origin"} 2"#),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_dead_origin_is_passed_over() {
    for way in WAYS {
        let house = House::open("").await;
        let _alive =
            HttpOrigin::join(&house, "alive", vec![say(STREAM), say("media"), Step::Hold]).await;
        register(&house, "dead", nowhere());
        let mut viewers = Vec::new();
        for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
            let mut viewer = Viewer::pull(house.at.http, way, &format!("/live/{name}.flv")).await;
            let head = viewer.head().await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{way:?} {name}: {head}");
            assert_eq!(
                house.origin_of(&format!("live/{name}")).as_deref(),
                Some("alive")
            );
            viewers.push(viewer);
        }
        let failovers = house.proxy.metrics().render();
        assert!(
            failovers.contains("sluicegate_failovers_total 1"),
            "one of eight went to the dead one first"
        );
    }
}

#[tokio::test]
async fn with_every_origin_dead_the_viewer_hears_names_and_no_address() {
    for way in WAYS {
        let house = House::open("").await;
        let places = [nowhere(), nowhere()];
        for (id, at) in ["one", "two"].iter().zip(places) {
            register(&house, id, at);
        }
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 502 "), "{way:?}: {head}");
        let length = header(&head, "content-length")[0]
            .parse()
            .expect("a length");
        let words = String::from_utf8(viewer.take(length).await).expect("text");
        assert!(words.contains("one") && words.contains("two"), "{words}");
        speaks_no_address(&format!("{head}{words}"), &places);
        drop(viewer);
        ended_for(&house, "refused").await;
    }
}

#[tokio::test]
async fn bytes_behind_a_pull_end_it() {
    let house = House::open("").await;
    let origin = HttpOrigin::join(&house, "one", vec![say(STREAM), say("media"), Step::Hold]).await;
    let mut viewer = Viewer::pull(house.at.http, Way::First, "/live/a.flv").await;
    viewer.head().await;
    viewer.take(5).await;
    viewer
        .socket
        .write_all(b"GET /live/b.flv HTTP/1.1\r\nHost: example.com\r\n\r\n")
        .await
        .unwrap();
    assert!(viewer.rest().await.is_empty());
    origin.until_closed(1).await;
    ended_for(&house, "client_error").await;
    assert!(
        origin.visits()[0].rest.is_empty(),
        "they never reach the origin"
    );

    let two = "GET /live/a.flv HTTP/1.1\r\nHost: example.com\r\n\r\nGET /live/b.flv HTTP/1.1\r\nHost: example.com\r\n\r\n";
    let mut viewer = Viewer::send(house.at.http, two).await;
    assert!(
        viewer.head().await.starts_with("HTTP/1.1 400 "),
        "two at once are one too many"
    );
    assert_eq!(origin.visits().len(), 1, "no origin is asked for either");
}

#[tokio::test]
async fn a_viewer_that_leaves_while_origins_are_dialled_leaves_no_row() {
    for way in WAYS {
        // A full backlog: the kernel answers no further handshake, like a host that drops packets.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let full = socket.listen(1).unwrap();
        let at = full.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..4 {
            waiting.push(tokio::spawn(tokio::net::TcpStream::connect(at)));
        }
        let house = House::open("[session]\ndial_timeout = \"700ms\"\n").await;
        register(&house, "hole", at);
        let viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        house.until_sessions(1).await;
        drop(viewer);
        house.until_sessions(0).await;
        until("its end is counted", || {
            house
                .proxy
                .metrics()
                .render()
                .contains("sluicegate_sessions_ended_total{")
        })
        .await;
        assert!(
            !house.proxy.metrics().render().contains("drained"),
            "{way:?}"
        );
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn speaks_no_address(words: &str, places: &[std::net::SocketAddr]) {
    assert!(!words.contains("127.0.0.1"), "{words}");
    for place in places {
        assert!(!words.contains(&place.port().to_string()), "{words}");
    }
}
