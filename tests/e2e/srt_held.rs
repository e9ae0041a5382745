//! Real SRT callers on real origins: the one with their stream is killed, stopped or left, and they stay connected.

use std::time::{Duration, Instant};

use crate::support::srt_crowd::SrtCrowd;
use crate::support::{Player, Proxy, Publisher, SrtOrigin, machine, wait_for};

/// A stream with a publisher and a player, on one of two origins.
struct Scene {
    proxy: Proxy,
    origins: [SrtOrigin; 2],
    publisher: Publisher,
    player: Player,
}

impl Scene {
    fn open(passphrase: Option<&'static str>) -> Self {
        let proxy = Proxy::start("");
        let origins = ["origin1", "origin2"].map(|name| match passphrase {
            None => SrtOrigin::start(&proxy, name),
            Some(passphrase) => SrtOrigin::encrypted(&proxy, name, passphrase),
        });
        let keys = passphrase.map_or_else(String::new, |passphrase| {
            format!("&passphrase={passphrase}&pbkeylen=16")
        });
        let with = |url: String| format!("{url}{LATENCY}{keys}");
        let publisher = Publisher::srt(&with(proxy.srt_publish("live/a"))).start();
        publisher.wait_frames(25);
        let player = Player::open(&with(proxy.srt_play("live/a")));
        player.wait_frames(25);
        // Both have had media for longer than accounts are settled.
        player.wait_more(25);
        Self {
            proxy,
            origins,
            publisher,
            player,
        }
    }

    fn origin(&self) -> String {
        self.proxy.origin_of("live/a").expect("it is placed")
    }

    /// The stream has gone over from `lost`, and neither side has noticed.
    fn goes_on_without(&mut self, lost: &str) {
        self.proxy
            .wait_log("session goes on at another origin", |record| {
                record["from"] == lost
            });
        self.is_followed(lost);
        self.is_whole(lost);
    }

    /// Both sessions have left `before`: the player is held as well, or follows its publisher if that is faster.
    fn is_followed(&self, before: &str) {
        wait_for("both have left it", PATIENCE, || {
            let sessions = self.proxy.sessions();
            let mut left = sessions.iter().map(|row| row["origin"] != before);
            left.all(|left| left).then_some(())
        });
    }

    /// Pictures come from another origin than `before`, and nobody had to come again.
    fn is_whole(&mut self, before: &str) {
        self.player.wait_more(75);
        assert!(self.publisher.is_running(), "the encoder never noticed");
        assert!(self.player.is_running(), "nor did the player");
        let now = self.origin();
        assert_ne!(now, before);
        let sessions = self.proxy.sessions();
        assert_eq!(sessions.len(), 2, "{sessions:?}");
        for row in &sessions {
            assert_eq!(row["origin"], now.as_str(), "{row}");
        }
        let frames = self.player.decoded();
        let steps = frames.windows(2).map(|two| two[1].time - two[0].time);
        let shortest = steps.fold(f64::INFINITY, f64::min);
        assert!(shortest >= 0.0, "a step back of {shortest} s");
    }

    fn the_one(&mut self, name: &str) -> &mut SrtOrigin {
        let mut origins = self.origins.iter_mut();
        origins
            .find(|origin| origin.name() == name)
            .expect("one of both")
    }
}

#[test]
fn srt_callers_outlive_the_death_of_their_origin() {
    let _turn = machine::share();
    let mut scene = Scene::open(None);
    let lost = scene.origin();
    scene.the_one(&lost).kill();
    scene.goes_on_without(&lost);
    let Scene {
        proxy, publisher, ..
    } = &mut scene;
    publisher.kill();
    wait_for("its row is gone", PATIENCE, || {
        let sessions = proxy.sessions();
        sessions
            .iter()
            .all(|row| row["action"] != "publish")
            .then_some(())
    });
}

#[test]
fn encrypted_srt_callers_outlive_the_death_of_their_origin() {
    let _turn = machine::share();
    let mut scene = Scene::open(Some("long-enough-passphrase"));
    let lost = scene.origin();
    scene.the_one(&lost).kill();
    scene.goes_on_without(&lost);
}

#[test]
fn srt_callers_outlive_an_origin_that_stops() {
    let _turn = machine::share();
    let mut scene = Scene::open(None);
    let lost = scene.origin();
    scene.the_one(&lost).freeze();
    scene.goes_on_without(&lost);
    scene.the_one(&lost).thaw();
}

#[test]
fn srt_callers_do_not_notice_moves() {
    let _turn = machine::share();
    let mut scene = Scene::open(None);
    for _ in 0..2 {
        let from = scene.origin();
        let to = match from.as_str() {
            "origin1" => "origin2",
            _ => "origin1",
        };
        let path = format!("/api/v1/moves?stream=live/a&to={to}&expect={from}");
        let answer = scene.proxy.system("POST", &path);
        let said = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{said}");
        scene
            .proxy
            .wait_log("move made", |record| record["to"] == to);
        scene.is_followed(&from);
        scene.is_whole(&from);
    }
    let held = "its origin is lost, and the session is held";
    assert!(scene.proxy.log(held).is_empty());
}

#[test]
fn srt_players_miss_no_packet_of_a_move() {
    let _turn = machine::alone();
    let proxy = Proxy::start("");
    let _origins = ["origin1", "origin2"].map(|name| SrtOrigin::start(&proxy, name));
    let crowd = SrtCrowd::call(&proxy, 3);
    for turn in 0..2 {
        let streams: Vec<String> = (0..3).map(|number| format!("live/srt-{number}")).collect();
        let since = Instant::now();
        for stream in &streams {
            let from = proxy.origin_of(stream).expect("it is placed");
            let to = match from.as_str() {
                "origin1" => "origin2",
                _ => "origin1",
            };
            let path = format!("/api/v1/moves?stream={stream}&to={to}&expect={from}");
            let answer = proxy.system("POST", &path);
            assert_eq!(answer.status, 200, "{}", answer.text());
            wait_for("both have left it", PATIENCE, || {
                let sessions = proxy.sessions();
                let of_it = sessions.iter().filter(|row| row["stream"] == **stream);
                let mut left = of_it.map(|row| row["origin"] == to);
                left.all(|left| left).then_some(())
            });
        }
        crowd.wait_playing(&format!("move {turn}"), since);
        assert_eq!(crowd.ended(), [""; 0]);
        let pauses = crowd.pauses(since);
        let lost: u64 = pauses.iter().map(|pause| pause.lost).sum();
        assert_eq!(lost, 0, "{pauses:?}");
    }
}

#[test]
fn srt_callers_do_not_notice_a_drain_past_its_deadline() {
    let _turn = machine::share();
    let mut scene = Scene::open(None);
    let from = scene.origin();
    let path = format!("/api/v1/origins/{from}/drain?deadline=0s");
    let answer = scene.proxy.system("POST", &path);
    assert_eq!(answer.status, 200, "{}", answer.text());
    scene.proxy.wait_log("move made", |record| {
        record["from"] == from.as_str() && record["cause"] == "drained"
    });
    scene.is_followed(&from);
    scene.is_whole(&from);
    let held = "its origin is lost, and the session is held";
    assert!(scene.proxy.log(held).is_empty());
    wait_for("the drain is done", PATIENCE, || {
        let origins = scene.proxy.origins();
        let left = origins.iter().find(|row| row["id"] == from.as_str())?;
        (left["drain"]["done"] == true).then_some(())
    });
}

#[test]
fn an_srt_caller_that_no_origin_takes_is_let_go() {
    let _turn = machine::share();
    let proxy = Proxy::start("hold.publishers = \"2s\"\nhold.viewers = \"2s\"");
    let mut origin = SrtOrigin::start(&proxy, "origin1");
    let mut publisher = Publisher::srt(&(proxy.srt_publish("live/a") + LATENCY)).start();
    publisher.wait_frames(50);
    origin.kill();
    proxy.wait_log("its origin is lost, and the session is held", |_| true);
    publisher.wait_end();
    wait_for("its row is gone", PATIENCE, || {
        proxy.sessions().is_empty().then_some(())
    });
}

const PATIENCE: Duration = Duration::from_secs(40);
/// A machine may be busy for longer than the default of 120 ms.
const LATENCY: &str = "&latency=1000000";
