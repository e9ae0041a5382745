//! Clients that neither read nor write, beside others that must not notice.

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fanout::{FlvViewer, OPEN, house_and_origin, published, until_marks};
use crate::house::{Guest, House, Manner, PATIENCE, Stub, until, video};

/// Kilobytes this process has resident.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux machine");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .expect("a line for it");
    line.split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse().ok())
        .expect("a number")
}

/// Runs this story again in a process of its own, and returns whether it did; false inside that process. Memory is
/// counted per process, and other stories use some too.
fn ran_alone(story: &str) -> bool {
    if env::var_os(ALONE).is_some() {
        return false;
    }
    let ran = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "--nocapture", story])
        .env(ALONE, "1")
        .output()
        .expect("it runs here");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(
        said.contains("1 passed"),
        "alone: {said}{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    true
}

/// Limits the descriptors of this process.
fn limit_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let lower = Rlimit {
        current: Some(count),
        ..limit
    };
    setrlimit(Resource::Nofile, lower).expect("it may be lowered");
}

#[tokio::test]
async fn a_viewer_that_shares_a_pull_takes_one_descriptor() {
    if ran_alone("pressure::a_viewer_that_shares_a_pull_takes_one_descriptor") {
        return;
    }
    // There is room for forty connections with an origin side each.
    limit_descriptors(400);
    let (house, _origin) = house_and_origin(&format!("{OPEN}[rtsp]\nudp_ports = \"\"\n")).await;
    let _publisher = published(&house, "live/a").await;
    let (mut by_rtmp, mut by_http) = (Vec::new(), Vec::new());
    for _ in 0..30 {
        let mut viewer = house.ask(Action::Play, "live/a").await;
        until_marks(&mut viewer, &[1, 2, 3]).await;
        by_rtmp.push(viewer);
        let mut viewer = FlvViewer::pull(&house, "/live/a.flv").await;
        viewer.until_marks(&[1, 2, 3]).await;
        by_http.push(viewer);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_stalled_players_cost_little_and_a_healthy_one_misses_nothing() {
    let story =
        "pressure::five_hundred_stalled_players_cost_little_and_a_healthy_one_misses_nothing";
    if ran_alone(story) {
        return;
    }
    let house = House::open("[session]\nwrite_stall = \"2s\"\n").await;
    let origin = Stub::start(Manner::Streams(32 * 1024)).await;
    house.register("one", origin.at);
    let cost = stall_five_hundred(&house, 1).await;
    assert!(cost < 500 * 300, "{cost} kB were held for 500 of them");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn five_hundred_stalled_viewers_of_one_pull_cost_little_more_than_its_feed() {
    let story = "pressure::five_hundred_stalled_viewers_of_one_pull_cost_little_more_than_its_feed";
    if ran_alone(story) {
        return;
    }
    let settings = format!("{OPEN}[session]\nwrite_stall = \"2s\"\n");
    let (house, _origin) = house_and_origin(&settings).await;
    let mut publisher = published(&house, "live/a").await;
    let publishing = tokio::spawn(async move {
        let mut frames = tokio::time::interval(Duration::from_millis(20));
        for number in 0_u32.. {
            let key = if number.is_multiple_of(25) {
                0x17
            } else {
                0x27
            };
            let mut payload = vec![key, 1, 0, 0, 0];
            payload.resize(32 * 1024, 0x55);
            publisher.send(&video(120 + number * 20, &payload)).await;
            frames.tick().await;
        }
    });
    let cost = stall_five_hundred(&house, 2).await;
    publishing.abort();
    // Beside the feed and its copies on four workers, which share its bodies: the test's own half of each connection.
    assert!(
        cost < 32 * 1024 + 500 * 100,
        "{cost} kB were held for 500 of them"
    );
}

/// Lets 500 players of a stream stall beside one that reads, until they are ended and `left` sessions are; how many
/// kilobytes were held for them.
async fn stall_five_hundred(house: &House, left: usize) -> u64 {
    // This client keeps reading whatever happens, or it would be one of the slow ones.
    let mut healthy = house.ask(Action::Play, "live/a").await;
    let healthy = tokio::spawn(async move {
        loop {
            assert!(healthy.step().await, "the healthy one goes on");
            let last = healthy.media.len().saturating_sub(1);
            healthy.media.drain(..last).for_each(drop);
        }
    });
    let before = resident();
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let asking: Vec<_> = (0..50)
            .map(|_| {
                tokio::spawn(Guest::ask(
                    house.at.rtmp,
                    Action::Play,
                    "live/a",
                    Vec::new(),
                ))
            })
            .collect();
        for guest in asking {
            stalled.push(guest.await.expect("a guest"));
        }
    }
    let mut most = 0;
    let ended = || {
        let text = house.proxy.metrics().render();
        text.contains("sluicegate_sessions_ended_total{protocol=\"rtmp\",action=\"play\",reason=\"stalled\"} 500")
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ended() {
        most = most.max(resident());
        let open = house.proxy.sessions().len();
        assert!(
            Instant::now() < deadline,
            "{open} sessions are open; the stalled ones have to end"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(stalled);
    house.until_sessions(left).await;
    assert!(!healthy.is_finished(), "the healthy one goes on");
    healthy.abort();
    most.saturating_sub(before)
}

#[tokio::test]
async fn a_player_gets_every_message_in_order_while_others_stall() {
    let house = House::open("[session]\nwrite_stall = \"2s\"\n").await;
    let origin = Stub::start(Manner::Streams(50_000)).await;
    house.register("one", origin.at);
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(house.ask(Action::Play, "live/a").await);
    }
    let mut healthy = house.ask(Action::Play, "live/a").await;
    assert!(
        healthy
            .read_until(|healthy| healthy.media.len() >= 60)
            .await
    );
    let numbers: Vec<u32> = healthy
        .media
        .iter()
        .map(|message| message.timestamp)
        .collect();
    assert_eq!(numbers, (0..numbers.len() as u32).collect::<Vec<_>>());
    assert!(
        healthy
            .media
            .iter()
            .all(|message| message.payload == [0x27; 50_000])
    );
}

#[tokio::test]
async fn half_open_handshakes_end_while_a_publisher_works() {
    let house =
        House::open("[rtmp]\nhandshake_timeout = \"3s\"\nidentify_timeout = \"3s\"\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let opened = Instant::now();
    let mut open = Vec::new();
    for number in 0..300 {
        let mut socket = TcpStream::connect(house.at.rtmp).await.unwrap();
        socket
            .write_all(&[3; 1000][..1 + 3 * number])
            .await
            .unwrap();
        open.push(socket);
    }
    // Sending one more byte now and then does not extend the deadline.
    let drip = tokio::spawn(async move {
        loop {
            let mut closed = 0;
            for socket in &mut open {
                let _ = socket.write_all(&[3]).await;
                let read =
                    tokio::time::timeout(Duration::from_millis(1), socket.read(&mut [0; 4096]))
                        .await;
                closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
            }
            if closed == 300 {
                return opened.elapsed();
            }
        }
    });
    let mut publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started());
    let before = origin.seen.lock().unwrap().media.len();
    for at in 0..30 {
        publisher.send(&video(at * 40, &[0x27; 4000])).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("the media", || {
        origin.seen.lock().unwrap().media.len() == before + 30
    })
    .await;
    let took = tokio::time::timeout(PATIENCE * 2, drip)
        .await
        .expect("they are closed")
        .unwrap();
    assert!(
        took >= Duration::from_millis(2900),
        "not before their time: {took:?}"
    );
    assert_eq!(
        house.proxy.sessions().len(),
        1,
        "none of them became a session"
    );
}

#[tokio::test]
async fn a_flood_of_connections_leaves_the_system_api_reachable() {
    let house = House::open("[session]\nmax = 1\n[rtmp]\nhandshake_timeout = \"20s\"\n").await;
    let mut open = Vec::new();
    for _ in 0..600 {
        open.push(TcpStream::connect(house.at.rtmp).await.unwrap());
    }
    let (status, body) = crate::house::get(house.at.system, "/livez").await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_drain_does_not_wait_for_clients_that_have_asked_for_nothing() {
    let mut house = House::open("[shutdown]\ngrace = \"60s\"\n").await;
    let mut idle = TcpStream::connect(house.at.rtmp).await.unwrap();
    idle.write_all(&[3]).await.unwrap();
    until("its connection", || {
        house
            .proxy
            .metrics()
            .render()
            .contains("connections_total{listener=\"rtmp\"} 1")
    })
    .await;
    house.stop.cancel();
    let stopped = tokio::time::timeout(PATIENCE, &mut house.serving).await;
    stopped.expect("long before the grace is over").unwrap();
}

/// Set for the story in its own process.
const ALONE: &str = "STORY_ALONE";
