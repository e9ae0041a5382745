//! A real encoder on real origins: the one with its stream is killed or stopped, and the encoder stays connected.

use std::time::Duration;

use crate::support::{
    NginxRtmp, Origin, Page, Player, Proxy, Publisher, Registrar, gstreamer, machine, wait_for,
};

#[test]
fn an_encoder_outlives_the_death_of_its_origin() {
    let _turn = machine::share();
    outlives(
        NginxRtmp::kill,
        &["closed", "reset"],
        Duration::from_secs(3),
    );
}

#[test]
fn an_encoder_outlives_an_origin_that_stops() {
    let _turn = machine::share();
    outlives(
        |origin| origin.freeze(),
        &["silent"],
        Duration::from_secs(3),
    );
}

#[test]
fn an_encoder_of_few_bits_outlives_an_origin_that_stops() {
    let _turn = machine::share();
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start("");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::rtmp_only(&proxy, origin));
    let clip = Publisher::encoder(&proxy.rtmp_url("live/a"));
    let mut publisher = clip.bitrate("150k").gop(25).start();
    publisher.wait_frames(250);
    let lost = proxy.origin_of("live/a").expect("it is placed");
    for origin in origins.iter_mut().filter(|origin| origin.name() == lost) {
        origin.freeze();
    }
    let stopped = std::time::Instant::now();
    let record = proxy.wait_log("session goes on at another origin", |record| {
        record["from"] == lost.as_str()
    });
    let after = stopped.elapsed();
    assert_eq!(record["reason"], "silent", "{record}");
    // Half a second for the log to be read.
    assert!(after <= Duration::from_secs(4), "{after:?}: {record}");
    assert!(publisher.is_running(), "it never noticed");
}

/// ffmpeg publishes to one of two origins, which `fails`; the other has the stream `within` that time.
fn outlives(fails: impl Fn(&mut NginxRtmp), reasons: &[&str], within: Duration) {
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start("");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    let clip = Publisher::clip(&proxy.rtmp_url("live/a"));
    let mut publisher = clip.gop(25).start();
    publisher.wait_frames(50);
    let lost = proxy.origin_of("live/a").expect("it is placed");
    for origin in origins.iter_mut().filter(|origin| origin.name() == lost) {
        fails(origin);
    }
    let record = proxy.wait_log("session goes on at another origin", |record| {
        record["from"] == lost.as_str()
    });
    let gap = Duration::from_millis(record["gap_ms"].as_u64().expect("a gap"));
    assert!(gap <= within, "{record}");
    let reason = record["reason"].as_str().expect("a reason");
    assert!(reasons.contains(&reason), "{record}");
    let now = proxy.origin_of("live/a").expect("it is placed");
    assert_ne!(now, lost);
    assert_eq!(record["to"], now.as_str());
    Player::frames(&proxy.rtmp_url("live/a"), 50);
    assert!(publisher.is_running(), "it never noticed");
    let sessions = proxy.sessions();
    let publishers = sessions.iter().filter(|row| row["action"] == "publish");
    assert_eq!(publishers.count(), 1, "{sessions:?}");
    publisher.kill();
    wait_for("its row is gone", Duration::from_secs(40), || {
        proxy.sessions().is_empty().then_some(())
    });
}

#[test]
fn viewers_and_their_encoder_outlive_the_death_of_their_origin() {
    let _turn = machine::share();
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start("fanout.mode = \"open\"\nfanout.public = true");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::rtmp_only(&proxy, origin));
    let clip = Publisher::clip(&proxy.rtmp_url("live/a"));
    let publisher = clip.gop(25).start();
    publisher.wait_frames(50);
    let urls = [proxy.rtmp_url("live/a"), proxy.flv_url("live/a")];
    let mut players = urls.each_ref().map(|url| Player::open(url));
    for player in &players {
        player.wait_frames(50);
    }
    let lost = proxy.origin_of("live/a").expect("it is placed");
    for origin in origins.iter_mut().filter(|origin| origin.name() == lost) {
        origin.kill();
    }
    let record = proxy.wait_log("pull goes on, and its viewers with it", |record| {
        record["from"] == lost.as_str()
    });
    assert_eq!(record["viewers"], 2, "{record}");
    let gap = Duration::from_millis(record["gap_ms"].as_u64().expect("a gap"));
    assert!(gap <= Duration::from_secs(4), "{record}");
    for player in &mut players {
        player.wait_more(75);
        assert!(player.is_running(), "it never had to come again");
    }
    for player in &players {
        let frames = player.decoded();
        let steps = frames.windows(2).map(|two| two[1].time - two[0].time);
        let longest = steps.clone().fold(0.0, f64::max);
        let shortest = steps.fold(f64::INFINITY, f64::min);
        assert!(shortest >= 0.0, "a step back of {shortest} s");
        assert!(longest <= 0.1, "a hole of {longest} s");
    }
    let sessions = proxy.sessions();
    assert_eq!(sessions.len(), 3, "{sessions:?}");
}

#[test]
fn gstreamer_and_browsers_outlive_the_death_of_their_origin() {
    let _turn = machine::share();
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start("fanout.mode = \"open\"\nfanout.public = true");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::rtmp_only(&proxy, origin));
    let mut encoder = gstreamer::encode(&proxy.rtmp_url("live/a"), &[]);
    proxy.wait_session("its encoder", |row| row["action"] == "publish");
    let page = Page::mpegts("flv", &proxy.flv_url("live/a"));
    let frames = page.wait_frames(25);
    let mut decoder = gstreamer::decode_flv(&proxy.flv_url("live/a"), 150);
    wait_for("both viewers", Duration::from_secs(30), || {
        (proxy.sessions().len() == 3).then_some(())
    });
    let lost = proxy.origin_of("live/a").expect("it is placed");
    for origin in origins.iter_mut().filter(|origin| origin.name() == lost) {
        origin.kill();
    }
    let record = proxy.wait_log("pull goes on, and its viewers with it", |record| {
        record["from"] == lost.as_str()
    });
    assert_eq!(record["viewers"], 2, "{record}");
    let shown = page.wait_shown("pictures after it", |shown| {
        shown["frames"].as_u64() >= Some(frames + 100)
    });
    // Browsers stop at a hole between what they have and what comes.
    assert_eq!(shown["ranges"], 1, "{shown}");
    let status = decoder.wait_end(Duration::from_secs(40));
    assert!(status.success(), "{}", decoder.errors());
    assert!(encoder.is_running(), "it never noticed");
}
