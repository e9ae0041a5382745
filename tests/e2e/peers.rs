//! The basis of the other stories: the peers exchange frames without the proxy. When one of these fails, look at the
//! machine first.

use std::time::Duration;

use crate::support::browser::Browser;
use crate::support::http::{self, Answer, Server};
use crate::support::{
    LowLatency, NginxRtmp, NodeMediaServer, Origin, Player, Publisher, Relay, Tree, machine,
};

#[test]
fn nginx_rtmp_carries_an_encoder_to_a_player() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("nginx");
    let publisher = Publisher::encoder(&origin.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    Player::frames(&origin.rtmp_url("live/a"), 25);
    assert!(origin.was_published("live/a") && !origin.was_published("live/b"));
}

#[test]
fn node_media_server_carries_an_encoder_to_players_of_both_kinds() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("nms");
    let publisher = Publisher::encoder(&origin.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    Player::frames(&origin.rtmp_url("live/a"), 25);
    Player::frames(&origin.flv_url("live/a"), 25);
    assert!(origin.was_published("live/a") && !origin.was_published("live/b"));
}

#[test]
fn nginx_rtmp_says_no_in_words_that_ffmpeg_repeats() {
    let _turn = machine::share();
    let origin = NginxRtmp::with("strict", "idle_streams off;");
    let ended = Player::open(&origin.rtmp_url("live/nobody")).wait_end();
    assert!(
        ended.errors.contains("Server error: No such stream"),
        "{}",
        ended.errors
    );
    let first = Publisher::clip(&origin.rtmp_url("live/a")).start();
    first.wait_frames(5);
    let ended = Publisher::clip(&origin.rtmp_url("live/a"))
        .start()
        .wait_end();
    assert!(
        ended.errors.contains("Server error: Already publishing"),
        "{}",
        ended.errors
    );
}

#[test]
fn a_stream_time_beyond_three_bytes_is_decoded() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("late");
    let publisher = Publisher::encoder(&origin.rtmp_url("live/a"))
        .from(Duration::from_secs(16_774))
        .start();
    publisher.wait_frames(5);
    let frames = Player::frames(&origin.rtmp_url("live/a"), 125);
    let (first, last) = (frames[0].time, frames[frames.len() - 1].time);
    assert!(first < 16_777.2 && last > 16_777.3, "{first} to {last}");
}

#[test]
fn a_player_outlives_a_publisher_that_comes_back() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("again");
    let mut first = Publisher::clip(&origin.rtmp_url("live/a")).start();
    let player = Player::open(&origin.rtmp_url("live/a"));
    player.wait_frames(25);
    first.kill();
    let _second = Publisher::clip(&origin.rtmp_url("live/a")).start();
    player.wait_more(50);
}

#[test]
fn a_swallowed_connection_is_silent_and_a_cut_one_ends() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("behind");
    let relay = Relay::to(origin.rtmp());
    let url = format!("rtmp://{}/live/a", relay.address());
    let _publisher = Publisher::clip(&origin.rtmp_url("live/a")).start();
    let mut player = Player::open(&url);
    player.wait_frames(25);
    relay.swallow();
    let later = Player::open(&url);
    later.wait_frames(25);
    let seen = player.decoded().len();
    later.wait_more(25);
    assert!(player.is_running(), "it hears no end");
    assert!(player.decoded().len() <= seen + 5, "and no bytes either");
    relay.cut();
    player.wait_end();
}

#[test]
fn ffmpeg_serves_one_viewer_of_http_ts() {
    let _turn = machine::share();
    let port = machine::free_port();
    let _origin = Publisher::serve_http_ts(port, "live/a");
    Player::frames(&format!("http://127.0.0.1:{port}/live/a.ts"), 25);
}

#[test]
fn the_test_server_answers_and_remembers() {
    let server = Server::start(|asked| Answer {
        body: asked.target.clone().into_bytes(),
        ..Answer::status(404)
    });
    let response = http::request(
        server.address,
        "GET",
        "/live/a.flv?token=x",
        &["X-One: two"],
        "",
    );
    assert_eq!(
        (response.status, response.text().as_str()),
        (404, "/live/a.flv?token=x")
    );
    assert_eq!(server.asked()[0].header("x-one"), Some("two"));
}

#[test]
fn chromium_runs() {
    let _turn = machine::share();
    let server = Server::start(|_| Answer {
        headers: vec![("Content-Type", "text/html")],
        body: b"<title>there</title>".to_vec(),
        ..Answer::status(200)
    });
    let browser = Browser::open(&format!("http://{}/", server.address));
    browser.wait_video("a page", |shown| shown["title"] == "there");
}

#[test]
fn what_ffmpeg_packages_is_played_by_ffmpeg_and_in_a_browser() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    let url = |path: &str| {
        format!(
            "http://{}/live/{path}",
            tree.http().expect("it serves HTTP")
        )
    };
    for playlist in [
        "fmp4/master.m3u8",
        "aes.m3u8",
        "full.m3u8",
        "dash/index.mpd",
    ] {
        Player::frames(&url(playlist), 25);
    }
    assert!(tree.asked().contains(&"GET /live/aes.key".to_owned()));
}

#[test]
fn the_low_latency_origin_holds_requests_until_there_is_an_answer() {
    let _turn = machine::share();
    let origin = LowLatency::start("low-latency");
    let url = format!(
        "http://{}/live/ll/master.m3u8",
        origin.http().expect("it serves HTTP")
    );
    Player::frames(&url, 25);
    assert_eq!(origin.held(), 0, "ffmpeg knows no parts");
}
