//! HTTP-TS: ffmpeg is the origin, for one viewer.

use crate::support::{Page, Player, Proxy, Publisher, machine};

#[test]
fn a_ts_stream_is_pulled_through() {
    let _turn = machine::share();
    let port = machine::free_port();
    let origin = Publisher::serve_http_ts(port, "live/a");
    let proxy = Proxy::start("");
    // Registered by the test itself: the side program would probe the origin, which accepts only one connection.
    proxy.register(&serde_json::json!({
        "ip": "127.0.0.1", "server": "ts", "service": "s", "pid": "1", "rtmp": ["1"], "http": [port.to_string()],
    }));
    let player = Player::open(&format!("http://{}/live/a.ts", proxy.http));
    player.wait_frames(100);
    let row = proxy.wait_session("its row", |row| row["protocol"] == "http_ts");
    assert_eq!(
        (&row["origin"], &row["state"]),
        (&"ts".into(), &"relaying".into()),
        "{row}"
    );
    drop(origin);
}

#[test]
fn many_viewers_of_a_ts_stream_share_one_pull() {
    let _turn = machine::share();
    let port = machine::free_port();
    // It serves one connection, and no second one.
    let origin = Publisher::serve_http_ts(port, "live/a");
    let proxy = Proxy::start("fanout.mode = \"open\"\nfanout.public = true");
    proxy.register(&serde_json::json!({
        "ip": "127.0.0.1", "server": "ts", "service": "s", "pid": "1", "rtmp": ["1"], "http": [port.to_string()],
    }));
    let url = format!("http://{}/live/a.ts", proxy.http);
    let first = Player::open(&url);
    first.wait_frames(25);
    // Those that come later begin in the middle.
    let others = [(); 4].map(|()| Player::open(&url));
    let page = Page::mpegts("mpegts", &url);
    for player in others.iter().chain([&first]) {
        player.wait_frames(75);
    }
    page.wait_frames(50);
    let streams = proxy.api("/api/v1/streams");
    let stream = &streams["data"]["streams"][0];
    assert_eq!(stream["pulls"], 1, "{stream}");
    assert_eq!(stream["players"], 6, "{stream}");
    drop(origin);
}
