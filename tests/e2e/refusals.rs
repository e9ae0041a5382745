//! A client that cannot be served is told why, in the terms of its own protocol.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use sluicegate_core::stream::Action;

use crate::support::http::{self, Answer, Server};
use crate::support::light;
use crate::support::{NginxRtmp, Player, Proxy, Publisher, Registrar, machine, wait_for};

#[test]
fn without_an_origin_everybody_is_refused_with_a_reason() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let player = Player::open(&proxy.rtmp_url("live/a")).wait_end();
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a"))
        .start()
        .wait_end();
    for ended in [player, publisher] {
        assert!(!ended.status.success());
        let words = ended
            .errors
            .split("Server error: ")
            .nth(1)
            .unwrap_or_default();
        assert!(
            words.contains("live/a") && words.contains("no live origin"),
            "{}",
            ended.errors
        );
    }
    let response = http::request(proxy.http, "GET", "/live/a.flv", &[], "");
    assert_eq!(response.status, 503, "{}", response.text());
    assert!(response.text().contains("origin"), "{}", response.text());
    // The answer is sent a moment before its row is gone.
    wait_for(
        "a refusal leaves nothing behind",
        Duration::from_secs(40),
        || (proxy.sessions().is_empty() && proxy.streams().is_empty()).then_some(()),
    );
}

/// What an operator needs to tell a client whose name is wrong from one that nobody can serve.
#[test]
fn a_name_that_breaks_a_rule_at_the_rtmp_port_has_a_line_in_the_log() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    for (action, code) in [
        (Action::Publish, "NetStream.Publish.BadName"),
        (Action::Play, "NetStream.Play.Failed"),
    ] {
        let tc_url = format!("rtmp://{}/live?key=s3cret", proxy.rtmp);
        let said = light::refusal(proxy.rtmp, action, &tc_url, "../a?token=t0ken");
        let rule = "the name holds a `.` or `..` segment";
        assert_eq!(said, format!("{code}: {rule}"));
        let line = proxy.wait_log(
            "refused: the request breaks a rule of its protocol",
            |record| record["code"] == code,
        );
        assert_eq!(line["protocol"], "rtmp", "{line}");
        assert_eq!(line["rule"], rule, "{line}");
        let client = line["client"].as_str().unwrap_or_default();
        assert!(client.starts_with("127.0.0.1:"), "{line}");
    }
    let log = proxy.output();
    assert!(!log.contains("s3cret") && !log.contains("t0ken"), "{log}");
}

/// The client hears the status; the operator, who is asked about it, has to find it.
#[test]
fn what_the_rtsp_port_refuses_has_one_line_a_connection() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let rows = [
        ("400", "no CSeq", "DESCRIBE rtsp://h/live/a RTSP/1.0\r\n"),
        (
            "400",
            "no stream",
            "DESCRIBE rtsp://h/ RTSP/1.0\r\nCSeq: 1\r\n",
        ),
        (
            "413",
            "a body of more than 65536 bytes",
            "ANNOUNCE rtsp://h/live/a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 70000\r\n",
        ),
        (
            "455",
            "it takes a SETUP first",
            "PLAY rtsp://h/live/a RTSP/1.0\r\nCSeq: 1\r\n",
        ),
        (
            "501",
            "Not Implemented",
            "FLY rtsp://h/live/a RTSP/1.0\r\nCSeq: 1\r\n",
        ),
        (
            "501",
            "RTSP tunnelled",
            "GET /live/a HTTP/1.1\r\nHost: h\r\n",
        ),
        (
            "505",
            "only RTSP/1.0 is",
            "OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n",
        ),
    ];
    const LINE: &str = "refused: the request breaks a rule of its protocol";
    for (number, (code, rule, request)) in rows.iter().enumerate() {
        let mut client = TcpStream::connect(proxy.rtsp).expect("it listens");
        let at = client.local_addr().expect("connected").to_string();
        let twice = format!("{request}\r\n{request}\r\n");
        client.write_all(twice.as_bytes()).expect("it reads");
        let line = proxy.wait_log(LINE, |record| record["client"] == at.as_str());
        assert_eq!(line["code"], *code, "{line}");
        let told = line["rule"].as_str().unwrap_or_default();
        assert!(told.contains(rule), "{line}");
        assert_eq!(proxy.log(LINE).len(), number + 1, "one a connection");
    }
}

#[test]
fn an_unknown_stream_is_refused_in_the_origins_words() {
    let _turn = machine::share();
    let origin = NginxRtmp::with("strict", "idle_streams off;");
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    let ended = Player::open(&proxy.rtmp_url("live/nobody")).wait_end();
    assert!(
        ended.errors.contains("Server error: No such stream"),
        "{}",
        ended.errors
    );
}

#[test]
fn an_origins_own_404_reaches_the_viewer() {
    let _turn = machine::share();
    let origin = Server::start(|_| Answer {
        headers: vec![("X-Origin-Says", "gone")],
        body: b"no such stream here".to_vec(),
        ..Answer::status(404)
    });
    let proxy = Proxy::start("");
    proxy.register(&serde_json::json!({
        "ip": "127.0.0.1", "server": "web", "service": "s", "pid": "1",
        "rtmp": ["1"], "http": [origin.address.port().to_string()],
    }));
    let response = http::request(proxy.http, "GET", "/live/nobody.flv", &[], "");
    assert_eq!(
        (response.status, response.text().as_str()),
        (404, "no such stream here")
    );
    assert_eq!(response.header("x-origin-says"), Some("gone"));
    assert_eq!(
        response.header("access-control-allow-origin"),
        Some("*"),
        "pages elsewhere may read it"
    );
}

#[test]
fn a_second_publisher_is_refused_and_the_first_goes_on() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("busy");
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    let mut first = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    first.wait_frames(5);
    let player = Player::open(&proxy.rtmp_url("live/a"));
    player.wait_frames(25);

    let ended = Publisher::clip(&proxy.rtmp_url("live/a"))
        .start()
        .wait_end();
    assert!(
        ended.errors.contains("Server error: Already publishing"),
        "{}",
        ended.errors
    );
    player.wait_more(25);
    assert!(first.is_running());
}

#[test]
fn a_stream_on_an_origin_without_http_is_refused_by_name() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("rtmponly");
    let web = Server::start(|_| Answer::status(200));
    let proxy = Proxy::start("");
    let _registrar = Registrar::start(&proxy, &origin);
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    // Another origin could serve the request, but does not have the stream.
    proxy.register(&serde_json::json!({
        "ip": "127.0.0.1", "server": "web", "service": "s", "pid": "1",
        "rtmp": ["1"], "http": [web.address.port().to_string()],
    }));
    let response = http::request(proxy.http, "GET", "/live/a.flv", &[], "");
    assert!(
        matches!(response.status, 404 | 502 | 503),
        "{}",
        response.status
    );
    assert!(
        response
            .text()
            .contains("is on rtmponly, which has no http"),
        "{}",
        response.text()
    );
    assert!(web.asked().is_empty(), "it is not placed a second time");
}
