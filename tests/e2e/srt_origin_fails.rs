//! SRT origins that die, stop and come back, and callers that vanish.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use sluicegate_core::srt::packet::{Handshake, Rejection, Step};

use crate::support::srt::call;
use crate::support::srt_caller::{asks_for, conclusion, induction};
use crate::support::{Player, Proxy, Publisher, SrtOrigin, machine, uninterrupted, wait_for};

#[test]
fn two_hundred_callers_of_a_silent_origin_disturb_nobody() {
    // The publisher of the silent origin gives up after five seconds: all callers have to be told by then.
    let _turn = machine::alone();
    let proxy = Proxy::start(&format!("session.dial_timeout = \"1s\"\n{BOUND}"));
    let (first, second) = (
        SrtOrigin::start(&proxy, "origin1"),
        SrtOrigin::start(&proxy, "origin2"),
    );
    let streams: Vec<String> = (1..=6).map(|number| format!("live/{number}")).collect();
    let publishers: Vec<Publisher> = streams
        .iter()
        .map(|stream| Publisher::srt(&(proxy.srt_publish(stream) + LATENCY)).start())
        .collect();
    for publisher in &publishers {
        publisher.wait_frames(25);
    }
    let on = |origin: &SrtOrigin| {
        let held = |stream: &&String| origin.said(&format!("publish {stream}"));
        streams
            .iter()
            .find(held)
            .expect("six streams on two origins")
    };
    let (silent, playing) = (on(&first), on(&second));
    let player = Player::open(&(proxy.srt_play(playing) + LATENCY));
    player.wait_frames(25);

    first.freeze();
    let before = player.decoded().len();
    // Its publisher is joined here, so the stream cannot move: the caller is told before libsrt gives up.
    let callers: Vec<Caller> = (1..=200)
        .map(|id| Caller::start(&proxy, silent, id))
        .collect();
    let asked = Instant::now();
    for caller in &callers {
        assert_eq!(caller.wait_no(), Rejection::GATEWAY);
    }
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(3), "told no after {took:?}");
    let frames = player.wait_frames(before + 75);
    let pairs = frames.windows(2);
    let hole = pairs
        .map(|pair| pair[1].time - pair[0].time)
        .fold(0.0, f64::max);
    assert!(hole < 0.06, "a frame was lost: {hole} s without one");
    assert!(dropped(&proxy, "unsent").ends_with(" 0"));
    // A new stream goes to the origin that answers.
    let fresh = Publisher::srt(&proxy.srt_publish("live/fresh")).start();
    fresh.wait_frames(5);
    second.wait_said("publish live/fresh");
    first.thaw();
}

#[test]
fn an_origin_that_dies_is_noticed_and_its_successor_used() {
    let _turn = machine::share();
    let proxy = Proxy::start(&format!("srt.idle = \"8s\"\n{BOUND}"));
    let mut origin = SrtOrigin::start(&proxy, "origin1");
    let mut publisher = Publisher::srt(&proxy.srt_publish("live/a")).start();
    publisher.wait_frames(25);
    let mut player = Player::open(&proxy.srt_play("live/a"));
    player.wait_frames(25);
    origin.kill();
    let killed = Instant::now();
    // Both are told before their own timeout of five seconds.
    publisher.wait_end();
    player.wait_end();
    let took = killed.elapsed();
    assert!(took < Duration::from_millis(4900), "{took:?}");
    wait_for("both rows are gone", PATIENCE, || {
        proxy.sessions().is_empty().then_some(())
    });
    // A caller in the meantime takes the origin out, and no probe can bring it back: it has no service that can be
    // probed.
    let said = call(proxy.srt, "#!::r=live/b,m=publish", None);
    assert!(said.starts_with("rejected"), "{said}");
    origin.restart();
    let mut again = wait_for("it is published again", PATIENCE, || {
        let mut publisher = Publisher::srt(&proxy.srt_publish("live/a")).start();
        publisher.frames_before_its_end(25).then_some(publisher)
    });
    Player::frames(&proxy.srt_play("live/a"), 25);

    // A caller that vanishes without a goodbye.
    again.kill();
    wait_for("its row is gone", PATIENCE, || {
        proxy.sessions().is_empty().then_some(())
    });
    origin.wait_said("gone live/a");
}

/// A caller that sends what libsrt sends, and nothing after the answer.
struct Caller {
    socket: UdpSocket,
}

impl Caller {
    fn start(proxy: &Proxy, stream: &str, socket_id: u32) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports");
        socket.connect(proxy.srt).expect("loopback");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket of ours");
        let caller = Self { socket };
        let cookie = caller.ask(&induction(socket_id), |answer| answer.cookie);
        let conclusion = conclusion(socket_id, cookie, &asks_for(stream));
        caller.socket.send(&conclusion).expect("loopback");
        caller
    }

    fn ask<T>(&self, packet: &[u8], read: impl Fn(Handshake<'_>) -> T) -> T {
        self.socket.send(packet).expect("loopback");
        self.wait(read)
    }

    fn wait<T>(&self, read: impl Fn(Handshake<'_>) -> T) -> T {
        let mut buffer = [0; 1500];
        let length = uninterrupted(|| self.socket.recv(&mut buffer)).expect("an answer");
        read(Handshake::parse(&buffer[..length]).expect("a handshake"))
    }

    fn wait_no(&self) -> Rejection {
        self.wait(|answer| match answer.step {
            Step::Rejection(code) => code,
            other => panic!("{other:?}"),
        })
    }
}

/// The counter of datagrams dropped for `reason`, as a line.
fn dropped(proxy: &Proxy, reason: &str) -> String {
    let metrics = proxy.system("GET", "/metrics").text();
    let labels = format!("datagrams_dropped_total{{listener=\"srt\",reason=\"{reason}\"}}");
    let line = metrics.lines().find(|line| line.contains(&labels));
    line.expect("a counter for every reason").to_owned()
}

/// Sessions end with their origin.
const BOUND: &str = "hold.publishers = \"0s\"\nhold.viewers = \"0s\"";
const PATIENCE: Duration = Duration::from_secs(40);
/// A machine may be busy for longer than the default of 120 ms, and packets that are late for that reason must not be
/// dropped.
const LATENCY: &str = "&latency=2000000";
