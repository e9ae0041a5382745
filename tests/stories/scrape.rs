//! What a scrape shows is what happened: under a thousand sessions of every kind, exact to the byte, and zero after all
//! end.

use std::net::SocketAddr;

use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::house::{Guest, House, Manner, PATIENCE, Stub, get, until, video};
use crate::http_origin::{HttpOrigin, STREAM, Step, say};

const PUBLISHERS: usize = 100;
const PLAYERS: usize = 400;
const VIEWERS: usize = 500;
const BODY: usize = 10_000;

/// A value of an exposition; 0 if there is no such series.
fn value(text: &str, series: &str) -> u64 {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0, |value| value.parse().expect("a whole number"))
}

/// The sum of all series of a family that name all of `parts`.
fn sum(text: &str, family: &str, parts: &[&str]) -> u64 {
    let of = |line: &&str| {
        let named = line
            .strip_prefix(family)
            .is_some_and(|rest| rest.starts_with(['{', ' ']));
        named && parts.iter().all(|part| line.contains(part))
    };
    let values = text.lines().filter(of).map(|line| line.rsplit(' ').next());
    values
        .flatten()
        .map(|value| value.parse::<u64>().expect("a whole number"))
        .sum()
}

const TO_ORIGIN: &str = "sluicegate_relayed_bytes_total{protocol=\"rtmp\",direction=\"to_origin\"}";
const TO_VIEWERS: &str =
    "sluicegate_relayed_bytes_total{protocol=\"http_flv\",direction=\"to_client\"}";
const FROM_VIEWERS: &str =
    "sluicegate_relayed_bytes_total{protocol=\"http_flv\",direction=\"to_origin\"}";

/// A viewer, and everything it got: the head and the whole body.
async fn view(at: SocketAddr, stream: String) -> (TcpStream, u64) {
    let mut socket = TcpStream::connect(at).await.expect("it listens");
    let request = format!("GET /live/{stream}.flv HTTP/1.1\r\nHost: x\r\n\r\n");
    socket
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut got = Vec::new();
    let whole = async {
        loop {
            let end = got.windows(4).position(|end| end == b"\r\n\r\n");
            if end.is_some_and(|end| got.len() >= end + 4 + BODY) {
                return;
            }
            assert_ne!(
                socket.read_buf(&mut got).await.expect("bytes"),
                0,
                "it goes on"
            );
        }
    };
    timeout(PATIENCE * 3, whole)
        .await
        .expect("the stream in time");
    (socket, got.len() as u64)
}

async fn ask_all(house: &House, action: Action, count: usize) -> Vec<Guest> {
    let mut guests = Vec::new();
    // In groups, so that the backlog of a listener has room for them.
    for company in (0..count).collect::<Vec<_>>().chunks(50) {
        let mut asking = JoinSet::new();
        for number in company {
            let stream = format!("live/{}", number % PUBLISHERS);
            let at = house.at.rtmp;
            asking.spawn(async move { Guest::ask(at, action, &stream, Vec::new()).await });
        }
        guests.extend(asking.join_all().await);
    }
    assert!(guests.iter().all(Guest::has_started), "everybody is joined");
    guests
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scrape_under_a_thousand_sessions_is_exact_to_the_byte() {
    // A thousand sessions keep a machine busy: an origin that is slow for that reason is not gone.
    let settings =
        "[metrics]\nstreams = 10\n[session]\ndial_timeout = \"10s\"\nsetup_timeout = \"30s\"\n";
    let house = House::open(settings).await;
    let rtmp = Stub::start(Manner::Grants).await;
    let http = HttpOrigin::start(vec![say(STREAM), say("m".repeat(BODY)), Step::Hold]).await;
    let ports = format!(
        r#""rtmp":["{}"],"http":["{}"]"#,
        rtmp.at.port(),
        http.at.port()
    );
    house.register_with("one", &ports);

    let mut publishers = ask_all(&house, Action::Publish, PUBLISHERS).await;
    let players = ask_all(&house, Action::Play, PLAYERS).await;
    let mut viewers = Vec::new();
    for company in (0..VIEWERS).collect::<Vec<_>>().chunks(50) {
        let mut asking = JoinSet::new();
        for number in company {
            asking.spawn(view(house.at.http, (number % PUBLISHERS).to_string()));
        }
        viewers.extend(asking.join_all().await);
    }
    house.until_sessions(PUBLISHERS + PLAYERS + VIEWERS).await;

    // The reader may run ahead of the counter.
    let seen: u64 = viewers.iter().map(|(_, got)| got).sum();
    until("every byte that viewers got", || {
        value(&house.proxy.metrics().render(), TO_VIEWERS) >= seen
    })
    .await;
    let (_, before) = get(house.at.system, "/metrics").await;
    for (labels, expected) in [
        ("protocol=\"rtmp\",action=\"publish\"", PUBLISHERS),
        ("protocol=\"rtmp\",action=\"play\"", PLAYERS),
        ("protocol=\"http_flv\",action=\"play\"", VIEWERS),
    ] {
        let series = format!("sluicegate_sessions{{{labels}}}");
        assert_eq!(value(&before, &series), expected as u64, "{labels}");
    }
    assert_eq!(
        value(&before, TO_VIEWERS),
        seen,
        "every byte that viewers got"
    );
    let asked: usize = http.visits().iter().map(|visit| visit.head.len() + 4).sum();
    assert_eq!(
        value(&before, FROM_VIEWERS),
        asked as u64,
        "every byte their origin read"
    );

    // While publishers send, totals only grow; when everything has arrived, they equal what was sent.
    let start = value(&before, TO_ORIGIN);
    let mut last = start;
    for round in 0..5 {
        for (number, publisher) in publishers.iter_mut().enumerate() {
            publisher
                .send(&video(round, &vec![0x17; 100 + number * 7]))
                .await;
        }
        let now = value(&house.proxy.metrics().render(), TO_ORIGIN);
        assert!(now >= last, "{now} after {last}");
        last = now;
    }
    let sent: u64 = publishers.iter().map(|publisher| publisher.wrote).sum();
    until("every byte", || {
        value(&house.proxy.metrics().render(), TO_ORIGIN) >= start + sent
    })
    .await;
    let (_, text) = get(house.at.system, "/metrics").await;
    assert_eq!(value(&text, TO_ORIGIN), start + sent);

    // Ten streams have series of their own, all others share one; the sum is everything.
    let all = sum(&text, "sluicegate_relayed_bytes_total", &[]);
    assert_eq!(
        sum(&text, "sluicegate_stream_relayed_bytes_total", &[]),
        all
    );
    assert_eq!(sum(&text, "sluicegate_stream_sessions", &[]), 1000);
    assert_eq!(
        sum(
            &text,
            "sluicegate_stream_sessions",
            &["action=\"publish\"", "other"]
        ),
        90
    );

    drop((publishers, players, viewers));
    house.until_sessions(0).await;
    let (_, text) = get(house.at.system, "/metrics").await;
    assert_eq!(sum(&text, "sluicegate_sessions", &[]), 0, "none is left");
    assert_eq!(sum(&text, "sluicegate_sessions_ended_total", &[]), 1000);
    assert_eq!(value(&text, TO_VIEWERS), seen, "what was counted stays");
    assert_eq!(value(&text, TO_ORIGIN), start + sent);
    assert_eq!(
        sum(&text, "sluicegate_stream_relayed_bytes_total", &[]),
        all
    );
    assert_eq!(sum(&text, "sluicegate_setup_seconds_count", &[]), 1000);
}
