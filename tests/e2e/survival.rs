//! A fleet whose origins are killed, restarted and stopped, under encoders and players that come back by themselves.

use std::time::{Duration, Instant};

use crate::support::{
    Light, NginxRtmp, Origin, Player, Proxy, Publisher, Registrar, machine, wait_for,
};

/// An encoder and a player of one stream, each started again when it ends, as a supervisor or OBS does.
struct Broadcast {
    url: String,
    encoder: Publisher,
    player: Player,
    seen: usize,
}

impl Broadcast {
    fn start(proxy: &Proxy, stream: &str) -> Self {
        let url = proxy.rtmp_url(stream);
        let encoder = Publisher::clip(&url).start();
        encoder.wait_frames(5);
        let player = Player::open(&url);
        Self {
            url,
            encoder,
            player,
            seen: 0,
        }
    }

    /// Restarts what has ended, and returns how many frames the player has decoded since its last start.
    fn keep(&mut self) -> usize {
        if !self.encoder.is_running() {
            self.encoder = Publisher::clip(&self.url).start();
        }
        if !self.player.is_running() {
            self.player = Player::open(&self.url);
            self.seen = 0;
        }
        self.player.decoded().len()
    }
}

/// Checks that every player decodes one more second of video.
fn everybody_watches(broadcasts: &mut [Broadcast], after: &str) {
    for broadcast in broadcasts.iter_mut() {
        broadcast.seen = broadcast.player.decoded().len();
    }
    let what = format!("everybody watches again after {after}");
    wait_for(&what, STUCK, || {
        let enough = |broadcast: &mut Broadcast| broadcast.keep() >= broadcast.seen + 25;
        let watching = broadcasts
            .iter_mut()
            .filter_map(|it| enough(it).then_some(()));
        (watching.count() == broadcasts.len()).then_some(())
    });
}

/// Checks that new streams are accepted within `allowed`, each by itself.
fn new_streams(proxy: &Proxy, name: &str, allowed: Duration) -> Vec<Light> {
    let publish = |number| {
        let light = Light::publish(proxy.rtmp, &format!("live/{name}{number}"));
        let light = light.unwrap_or_else(|why| panic!("{name}{number}: {why}"));
        assert!(
            light.accepted <= allowed,
            "{name}{number}: {:?}",
            light.accepted
        );
        light
    };
    (0..8).map(publish).collect()
}

fn state(proxy: &Proxy, name: &str) -> String {
    let origins = proxy.origins();
    let found = origins.iter().find(|origin| origin["server"] == name);
    found.map_or_else(String::new, |origin| {
        origin["state"].as_str().unwrap_or_default().to_owned()
    })
}

#[test]
fn origins_that_die_stop_and_return_leave_nobody_stuck() {
    let _turn = machine::share();
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::start);
    let proxy = Proxy::start(
        "session.write_stall = \"3s\"\nsession.player_idle = \"5s\"\nsession.dial_timeout = \"1s\"",
    );
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    let mut broadcasts = ["live/a", "live/b"].map(|stream| Broadcast::start(&proxy, stream));
    everybody_watches(&mut broadcasts, "the start");

    // Killed: its port refuses connections, and new streams are placed on the other origin at once.
    let held = proxy.origin_of("live/a").expect("it is placed");
    let index = usize::from(origins[1].name() == held);
    origins[index].kill();
    let killed = new_streams(&proxy, "killed", Duration::from_secs(4));
    everybody_watches(&mut broadcasts, "a kill");
    let other = origins[1 - index].name().to_owned();
    for stream in ["live/a", "live/b", "live/killed0", "live/killed7"] {
        assert_eq!(proxy.origin_of(stream), Some(other.clone()), "{stream}");
    }
    assert_ne!(state(&proxy, &held), "up");
    drop(killed);

    // Restarted: probes or its heartbeat bring it back, and nothing moves to it by itself.
    origins[index].restart();
    wait_for("it is back", STUCK, || {
        (state(&proxy, &held) == "up").then_some(())
    });
    assert_eq!(proxy.origin_of("live/a"), Some(other.clone()));

    // Stopped: its port accepts connections, and no byte comes back.
    origins[1 - index].freeze();
    let began = Instant::now();
    let stopped = new_streams(&proxy, "stopped", Duration::from_secs(8));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "it is not tried again for every stream: {:?}",
        began.elapsed()
    );
    everybody_watches(&mut broadcasts, "a stop");
    for stream in ["live/a", "live/b", "live/stopped0", "live/stopped7"] {
        assert_eq!(proxy.origin_of(stream), Some(held.clone()), "{stream}");
    }
    assert!(stopped.iter().all(Light::is_running));
    wait_for("no session is left on the stopped origin", STUCK, || {
        for broadcast in &mut broadcasts {
            broadcast.keep();
        }
        let sessions = proxy.sessions();
        let stuck = |session: &&serde_json::Value| session["origin"] == other.as_str();
        (sessions.iter().filter(stuck).count() == 0).then_some(())
    });
}

/// Longer than any timeout in the settings above, with room for a busy machine.
const STUCK: Duration = Duration::from_secs(60);
