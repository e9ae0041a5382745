//! Two proxies on one Redis, with each protocol: origins register with one of them, publishers use one, players the
//! other.

use std::time::Duration;

use crate::support::rtc::{RtcClient, RtcOrigin};
use crate::support::rtsp::RtspServer;
use crate::support::{
    NginxRtmp, NodeMediaServer, Player, Proxy, Publisher, Redis, Registrar, SrtOrigin, http,
    machine, wait_for,
};

/// The two proxies, and what they share.
struct Pair {
    a: Proxy,
    b: Proxy,
    _redis: Redis,
}

impl Pair {
    fn start(settings: &str) -> Self {
        let redis = Redis::start();
        let (a, b) = (redis.proxy(settings), redis.proxy(settings));
        Self {
            a,
            b,
            _redis: redis,
        }
    }

    /// The origin on which `stream` is placed, according to both.
    fn agrees_on(&self, stream: &str) -> String {
        let [a, b] = [&self.a, &self.b].map(|proxy| proxy.origin_of(stream));
        assert_eq!(a, b, "{stream}");
        a.expect("it is placed")
    }
}

#[test]
fn rtmp_and_http_flv() {
    let _turn = machine::share();
    let pair = Pair::start("");
    let origins = ["one", "two"].map(NodeMediaServer::start);
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&pair.a, origin));
    for name in ["one", "two"] {
        pair.b.wait_origin(name);
    }
    let streams = ["live/a", "live/b", "live/c"];
    let publishers = streams.map(|stream| Publisher::clip(&pair.a.rtmp_url(stream)).start());
    for publisher in &publishers {
        publisher.wait_frames(10);
    }
    let players = streams.map(|stream| {
        let rtmp = Player::open(&pair.b.rtmp_url(stream));
        let flv = Player::open(&pair.b.flv_url(stream));
        [rtmp, flv]
    });
    for player in players.iter().flatten() {
        player.wait_frames(25);
    }
    for stream in streams {
        pair.agrees_on(stream);
    }
}

#[test]
fn hls() {
    let _turn = machine::share();
    let pair = Pair::start("cluster.key = \"shared\"");
    let origins = ["one", "two"].map(NginxRtmp::packaging);
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&pair.a, origin));
    for name in ["one", "two"] {
        pair.b.wait_origin(name);
    }
    let publisher = Publisher::clip(&pair.a.rtmp_url("live/a")).start();
    publisher.wait_frames(25);
    let playlist = "/live/a.m3u8";
    wait_for("a playlist", Duration::from_secs(40), || {
        let response = http::request(pair.b.http, "GET", playlist, &[], "");
        (response.text().matches(".ts").count() > 2).then_some(())
    });
    Player::open(&format!("http://{}{playlist}", pair.b.http)).wait_frames(50);
    pair.agrees_on("live/a");
}

#[test]
fn srt() {
    let _turn = machine::share();
    let pair = Pair::start("");
    let _origins = ["one", "two"].map(|name| SrtOrigin::start(&pair.a, name));
    for name in ["one", "two"] {
        pair.b.wait_origin(name);
    }
    let streams = ["live/a", "live/b"];
    let publishers = streams.map(|stream| Publisher::srt(&pair.a.srt_publish(stream)).start());
    for publisher in &publishers {
        publisher.wait_frames(25);
    }
    let players = streams.map(|stream| Player::open(&pair.b.srt_play(stream)));
    for (player, stream) in players.iter().zip(streams) {
        player.wait_frames(25);
        pair.agrees_on(stream);
    }
}

#[test]
fn rtsp() {
    let _turn = machine::share();
    let pair = Pair::start("session.setup_timeout = \"20s\"");
    let mounts = ["--record", "live/rec", "--play", "live/cam"];
    let camera = RtspServer::start("camera", &mounts);
    let _registrar = camera.register(&pair.a);
    pair.b.wait_origin("camera");
    // This origin shows what it records by printing the frames that it decoded.
    let publisher = Publisher::clip(&pair.b.rtsp_url("live/rec"))
        .rtsp("tcp")
        .start();
    camera.wait_recorded("live/rec", 25);
    drop(publisher);
    let players = [&pair.a, &pair.b]
        .map(|proxy| Player::open_with(&proxy.rtsp_url("live/cam"), &["-rtsp_transport", "tcp"]));
    for player in &players {
        player.wait_frames(25);
    }
    pair.agrees_on("live/cam");
}

#[test]
fn webrtc_media_goes_by_a_proxy_that_did_not_signal_it_and_outlives_the_one_that_did() {
    let _turn = machine::share();
    let mut pair = Pair::start("");
    let origin = RtcOrigin::start("origin");
    origin.register(&pair.a);
    pair.b.wait_origin("origin");
    let publisher = RtcClient::publish_by(&pair.a, "a", pair.b.rtc);
    let decoded = |least: u64| {
        wait_for("the origin decodes", Duration::from_secs(40), || {
            let calls = origin.state()["calls"].clone();
            let mut frames = calls.as_array()?.iter().map(|call| call["frames"].as_u64());
            frames.any(|frames| frames > Some(least)).then_some(())
        });
    };
    decoded(10);
    // The player is signalled by the other proxy, and gets what was published.
    let player = RtcClient::play_by(&pair.b, "a", pair.a.rtc);
    player.wait_frame(10);
    let stays = RtcClient::play_by(&pair.a, "a", pair.b.rtc);
    stays.wait_frame(10);
    for (proxy, publishers, players) in [(&pair.a, 0, 1), (&pair.b, 1, 1)] {
        let count = |action: &str| {
            let rows = proxy.sessions();
            rows.iter().filter(|row| row["action"] == action).count()
        };
        wait_for("each call has one row", Duration::from_secs(40), || {
            (count("publish") == publishers && count("play") == players).then_some(())
        });
    }
    let row = pair.b.wait_session("its bytes are counted", |row| {
        row["action"] == "publish" && row["bytes_to_origin"].as_u64() > Some(10_000)
    });
    assert_eq!(row["origin"], "origin", "{row}");

    // Nothing of a call is lost with the proxy that signalled it.
    pair.a.kill();
    stays.wait_more(25);
    let answer = publisher.wait("its answer", |event| event["event"] == "answer");
    let location = answer["headers"]["location"].as_str().expect("a resource");
    let deleted = http::request(pair.b.api, "DELETE", location, &[], "");
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    origin.wait("the end of the publisher", |event| {
        event["event"] == "end" && event["action"] == "publish"
    });
    let ended = pair
        .b
        .wait_log("session ended", |record| record["action"] == "publish");
    assert_eq!(ended["reason"], "client_closed", "{ended}");
}
