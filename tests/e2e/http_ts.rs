//! HTTP-TS: ffmpeg is the origin, for one viewer.

use crate::support::{Player, Proxy, Publisher, machine};

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
