//! A stream that is moved between real origins while a real encoder and real players use it.

use std::time::Duration;

use crate::support::{NginxRtmp, Player, Proxy, Publisher, Registrar, machine};

#[test]
fn an_encoder_and_its_viewers_do_not_notice_moves() {
    let _turn = machine::share();
    let origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start("fanout.mode = \"open\"\nfanout.public = true");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::rtmp_only(&proxy, origin));
    let clip = Publisher::clip(&proxy.rtmp_url("live/a"));
    let mut publisher = clip.gop(25).start();
    publisher.wait_frames(50);
    let urls = [proxy.rtmp_url("live/a"), proxy.flv_url("live/a")];
    let mut players = urls.each_ref().map(|url| Player::open(url));
    for player in &players {
        player.wait_frames(50);
    }
    for _ in 0..3 {
        let from = proxy.origin_of("live/a").expect("it is placed");
        let to = if from == "origin1" {
            "origin2"
        } else {
            "origin1"
        };
        let path = format!("/api/v1/moves?stream=live/a&to={to}&expect={from}");
        let answer = proxy.system("POST", &path);
        let said = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{said}");
        let record = proxy.wait_log("move made", |record| record["to"] == to);
        let gap = Duration::from_millis(record["gap_ms"].as_u64().expect("a gap"));
        assert!(gap <= Duration::from_millis(500), "{record}");
        for player in &players {
            player.wait_more(50);
        }
        assert_eq!(proxy.origin_of("live/a").as_deref(), Some(to));
    }
    for player in &mut players {
        assert!(player.is_running(), "it never had to come again");
        let frames = player.decoded();
        let steps = frames.windows(2).map(|two| two[1].time - two[0].time);
        let longest = steps.clone().fold(0.0, f64::max);
        let shortest = steps.fold(f64::INFINITY, f64::min);
        assert!(shortest > 0.0, "a step back of {shortest} s");
        // One frame may be repeated or missing at each move: the clip has 25 a second.
        assert!(longest <= 0.081, "a hole of {longest} s");
    }
    assert!(publisher.is_running(), "it never noticed");
    assert!(
        proxy
            .log("its origin is lost, and the session is held")
            .is_empty()
    );
    assert!(proxy.log("pull lost, and its viewers are held").is_empty());
}
