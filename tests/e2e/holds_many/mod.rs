//! Origins that are killed in turn under many publishers and viewers, by RTMP, HTTP-FLV and SRT: nobody's connection ends.

mod figures;
mod guest;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::srt_crowd::SrtCrowd;
use crate::support::{NginxRtmp, Origin, Proxy, Registrar, SrtOrigin, machine, wait_for};
use figures::Figures;
use guest::{Guest, wait_media};

/// How many take part, and how often an origin is killed.
struct Size {
    publishers: usize,
    viewers: usize,
    /// Publishers by SRT, and players.
    srt: usize,
    kills: usize,
    /// More settings of the proxy.
    settings: &'static str,
}

#[test]
fn nobody_is_closed_while_origins_are_killed_in_turn() {
    let _turn = machine::share();
    let mut scene = Scene::open(&Size {
        publishers: 4,
        viewers: 8,
        srt: 2,
        kills: 3,
        settings: "",
    });
    scene.kill_in_turn();
    // Publishers that were held are behind, and moves keep that.
    scene.move_all(1).are_not_noticed();
}

/// `scripts/long hold`.
#[test]
#[ignore = "takes minutes"]
fn long_hold() {
    let _turn = machine::alone();
    let number = |name: &str, otherwise| {
        let value = std::env::var(name).ok();
        value.map_or(otherwise, |value| value.parse().expect("a number"))
    };
    let mut scene = Scene::open(&Size {
        publishers: number("PUBLISHERS", 50),
        viewers: number("VIEWERS", 200),
        srt: number("SRT", 20),
        kills: number("KILLS", 100),
        settings: DEFAULTS,
    });
    let killed = scene.kill_in_turn();
    println!("{} kills: {killed}", scene.kills);
    let stopped = scene.stop_in_turn(TURNS);
    println!("{TURNS} stops (SIGSTOP): {stopped}");
    let moved = scene.move_all(TURNS);
    println!("{TURNS} moves of all streams: {moved}");
    killed.are_within(Duration::from_millis(1000), Duration::from_millis(1500));
    killed.are_dialled_within(Duration::from_millis(300));
    stopped.are_within(Duration::from_millis(3500), Duration::from_millis(3500));
    moved.are_not_noticed();
}

/// An origin of two servers, which fail together.
struct Both {
    rtmp: NginxRtmp,
    srt: SrtOrigin,
}

impl Both {
    fn start(name: &str) -> Self {
        Self {
            rtmp: NginxRtmp::start(name),
            srt: SrtOrigin::unregistered(name),
        }
    }

    fn kill(&mut self) {
        self.rtmp.kill();
        self.srt.kill();
    }

    fn freeze(&self) {
        self.rtmp.freeze();
        self.srt.freeze();
    }

    fn restart(&mut self) {
        self.rtmp.restart();
        self.srt.restart();
    }
}

struct Scene {
    origins: [Both; 2],
    proxy: Proxy,
    _registrars: [Registrar; 2],
    publishers: Vec<Guest>,
    viewers: Vec<Guest>,
    srt: SrtCrowd,
    kills: usize,
    stop: Arc<AtomicBool>,
}

impl Scene {
    /// Everybody is connected and has pictures.
    fn open(size: &Size) -> Self {
        let origins = ["origin1", "origin2"].map(Both::start);
        let proxy = Proxy::start(&format!(
            "fanout.mode = \"open\"\nfanout.public = true\nsession.max = 2000\n\
             placement.claims_per_source = 10000\n{}",
            size.settings
        ));
        let registrars = origins
            .each_ref()
            .map(|both| Registrar::rtmp_and_srt(&proxy, &both.rtmp, both.srt.address().port()));
        let (rtmp, http) = (proxy.addresses("rtmp")[0], proxy.addresses("http")[0]);
        let stop = Arc::<AtomicBool>::default();
        let publishers: Vec<Guest> = (0..size.publishers)
            .map(|number| Guest::publishes(rtmp, number, &stop))
            .collect();
        wait_media("publisher", &publishers, 25);
        let viewers: Vec<Guest> = (0..size.viewers)
            .map(|number| {
                let stream = number / 2 % size.publishers;
                match number % 2 {
                    0 => Guest::plays(rtmp, stream, &stop),
                    _ => Guest::pulls(http, stream, &stop),
                }
            })
            .collect();
        wait_media("viewer", &viewers, 50);
        Self {
            srt: SrtCrowd::call(&proxy, size.srt),
            origins,
            proxy,
            _registrars: registrars,
            publishers,
            viewers,
            kills: size.kills,
            stop,
        }
    }

    /// Kills one origin after the other, each time the one that has all streams.
    fn kill_in_turn(&mut self) -> Figures {
        let mut figures = Figures::default();
        for kill in 0..self.kills {
            let victim = kill % 2;
            let since = Instant::now();
            self.origins[victim].kill();
            self.wait_all(&format!("kill {kill}"), since);
            figures.take(since, &self.viewers, &self.srt);
            figures.dialled(since, &self.origins[1 - victim].rtmp.published_at());
            self.bring_back(victim);
            if kill % 10 == 9 {
                figures.resident.push(resident(&self.proxy));
            }
        }
        figures.is_flat();
        figures
    }

    fn stop_in_turn(&mut self, times: usize) -> Figures {
        let mut figures = Figures::default();
        for turn in 0..times {
            let victim = (self.kills + turn) % 2;
            let since = Instant::now();
            self.origins[victim].freeze();
            self.wait_all(&format!("stop {turn}"), since);
            figures.take(since, &self.viewers, &self.srt);
            self.bring_back(victim);
        }
        figures
    }

    /// Moves all streams from one origin to the other, and back.
    fn move_all(&self, times: usize) -> Figures {
        let mut figures = Figures::default();
        for turn in 0..times {
            let rows = self.proxy.sessions();
            let published = rows.iter().filter(|row| row["action"] == "publish");
            let streams: Vec<&str> = published.filter_map(|row| row["stream"].as_str()).collect();
            let from = rows[0]["origin"].as_str().expect("an origin");
            let to = match from {
                "origin1" => "origin2",
                _ => "origin1",
            };
            for viewer in &self.viewers {
                let mut seen = viewer.seen();
                (seen.missing, seen.twice) = (0, 0);
            }
            let since = Instant::now();
            // Each is answered when the media has moved, with a keyframe.
            std::thread::scope(|scope| {
                for stream in streams {
                    scope.spawn(move || {
                        let path = format!("/api/v1/moves?stream={stream}&to={to}");
                        let answer = self.proxy.system("POST", &path);
                        assert_eq!(answer.status, 200, "{}", answer.text());
                    });
                }
            });
            wait_for("all have moved", Duration::from_secs(60), || {
                let rows = self.proxy.sessions();
                let mut there = rows.iter().map(|row| row["origin"] == to);
                there.all(|there| there).then_some(())
            });
            self.wait_all(&format!("move {turn}"), since);
            figures.take(since, &self.viewers, &self.srt);
            figures.pictures(&self.viewers);
        }
        figures
    }

    /// Returns when everybody who was held goes on, and nobody's connection has ended.
    fn wait_all(&self, what: &str, since: Instant) {
        // Two groups of pictures.
        wait_media(&format!("{what}, viewer"), &self.viewers, 50);
        self.srt.wait_playing(what, since);
        let guests = self.publishers.iter().chain(&self.viewers);
        let closed = guests.filter(|guest| guest.is_closed());
        assert_eq!(closed.count(), 0, "connections ended at {what}");
        assert_eq!(self.srt.ended(), [""; 0], "SRT at {what}");
    }

    fn bring_back(&mut self, victim: usize) {
        self.origins[victim].restart();
        let name = self.origins[victim].rtmp.name().to_owned();
        wait_for("the origin is back", Duration::from_secs(30), || {
            let origins = self.proxy.origins();
            let is_up = |one: &serde_json::Value| one["server"] == *name && one["state"] == "up";
            origins.iter().any(is_up).then_some(())
        });
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The resident memory of the proxy, in kB.
fn resident(proxy: &Proxy) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("its memory").trim().trim_end_matches(" kB");
    words.parse().expect("a number")
}

/// How often origins are stopped, and all streams are moved.
const TURNS: usize = 2;
/// Times that other tests lengthen, because a machine that runs many of them is slow.
const DEFAULTS: &str = "session.dial_timeout = \"1s\"\nsession.setup_timeout = \"5s\"\n";
