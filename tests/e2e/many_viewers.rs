//! Many viewers of one stream, whose origin has one.

use std::process::Command;
use std::time::Duration;

use crate::support::program::Program;
use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Page, Player, Proxy, Publisher, Registrar, Relay, machine,
    wait_for,
};

#[test]
fn twenty_viewers_of_nginx_share_one_pull() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("origin1");
    let proxy = Proxy::start(OPEN);
    let _registrar = Registrar::rtmp_only(&proxy, &origin);
    watch(&proxy);
    assert_eq!(origin.plays("live/a"), 1, "the origin has one subscriber");
}

#[test]
fn twenty_viewers_of_node_media_server_share_one_pull() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("origin1");
    let proxy = Proxy::start(OPEN);
    let _registrar = Registrar::start(&proxy, &origin as &dyn Origin);
    watch(&proxy);
}

/// Publishes a clip, and lets ten viewers of each protocol decode it, one after the other and from where it is.
fn watch(proxy: &Proxy) {
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let players: Vec<Player> = (0..EACH)
        .flat_map(|_| [proxy.rtmp_url("live/a"), proxy.flv_url("live/a")])
        .map(|url| Player::open(&url))
        .collect();
    for player in &players {
        player.wait_frames(FRAMES);
    }
    let streams = proxy.api("/api/v1/streams");
    let stream = &streams["data"]["streams"][0];
    assert_eq!(stream["players"], 2 * EACH, "{stream}");
    assert_eq!(stream["pulls"], 1, "{stream}");
    let origins = proxy.api("/api/v1/origins");
    assert_eq!(
        origins["data"]["origins"][0]["legs"], 2,
        "a publisher and a pull"
    );
}

#[test]
fn gstreamer_decodes_what_viewers_of_one_pull_get() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("origin1");
    let proxy = Proxy::start(OPEN);
    let _registrar = Registrar::rtmp_only(&proxy, &origin);
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let first = Player::open(&proxy.rtmp_url("live/a"));
    first.wait_frames(25);
    let (rtmp, flv) = (proxy.rtmp_url("live/a"), proxy.flv_url("live/a"));
    let sources = [
        ["rtmp2src".to_owned(), format!("location={rtmp}")],
        ["souphttpsrc".to_owned(), format!("location={flv}")],
    ];
    let decode = "! flvdemux ! h264parse ! openh264dec ! fakesink sync=false num-buffers=75";
    for source in sources {
        let mut launch = Command::new(machine::installed(&["gst-launch-1.0"]));
        launch.arg("-q").args(&source).args(decode.split(' '));
        let mut gstreamer = Program::start("gst-launch", &mut launch).abrupt();
        let status = gstreamer.wait_end(PATIENCE);
        assert!(status.success(), "{source:?}: {}", gstreamer.errors());
    }
    assert_eq!(origin.plays("live/a"), 1, "the origin has one subscriber");
}

#[test]
fn pictures_in_browsers_go_on_when_their_viewer_skips() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("origin1");
    let proxy = Proxy::start(&format!("{OPEN}\nfanout.max_lag = \"1s\""));
    let _registrar = Registrar::rtmp_only(&proxy, &origin);
    let encoder = Publisher::encoder(&proxy.rtmp_url("live/a"));
    let publisher = encoder.bitrate("2M").start();
    publisher.wait_frames(5);
    let relay = Relay::narrow(proxy.http);
    let at = relay.address();
    let pages = [
        Page::mpegts("flv", &format!("ws://{at}/live/a.flv")),
        Page::flv(&format!("http://{at}/live/a.flv")),
    ];
    for page in &pages {
        page.wait_frames(25);
    }
    let witness = Player::open(&proxy.rtmp_url("live/a"));
    witness.wait_frames(25);
    relay.part();
    // Two seconds fill what the kernels keep of such a stream, and then they are behind.
    witness.wait_more(10 * 25);
    relay.mend();
    wait_for("each has skipped", PATIENCE, || {
        (skips(&proxy) >= pages.len()).then_some(())
    });
    let skipped = pages.each_ref().map(|page| page.browser.shown());
    for (page, before) in pages.iter().zip(skipped) {
        let frames = before["frames"].as_u64().expect("a count");
        let shown = page.wait_shown("pictures after the skip", |shown| {
            shown["frames"]
                .as_u64()
                .is_some_and(|now| now >= frames + 50)
        });
        // Browsers stop at a hole between what they have and what comes.
        assert_eq!(shown["ranges"], 1, "{shown}");
    }
}

/// How often a viewer has skipped.
fn skips(proxy: &Proxy) -> usize {
    let metrics = proxy.system("GET", "/metrics").text();
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("sluicegate_fanout_skips_total "));
    count
        .and_then(|count| count.trim().parse().ok())
        .expect("a count")
}

/// Starting two browsers on a busy machine takes a while.
const PATIENCE: Duration = Duration::from_secs(60);
const OPEN: &str = "fanout.mode = \"open\"\nfanout.public = true";
const EACH: usize = 10;
const FRAMES: usize = 50;
