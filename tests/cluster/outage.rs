//! The Redis is gone while a hundred streams play: no session is cut, new streams work, and afterwards everything is as
//! if it had not been away.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use sluicegate_core::stream::Action;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::client::Session;
use crate::fleet::{Fleet, PROXIES};
use crate::wait_for;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_seconds_without_the_redis_cut_nobody() {
    without_the_redis_for(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes more than a minute: scripts/long outage"]
async fn long_a_minute_without_the_redis_cuts_nobody() {
    without_the_redis_for(Duration::from_secs(60)).await;
}

async fn without_the_redis_for(time: Duration) {
    let fleet = Arc::new(Fleet::start(ORIGINS, Some(FRAMES)).await);
    let over = CancellationToken::new();
    let mut streams = Vec::new();
    let mut playing = Vec::new();
    for number in 0..STREAMS {
        let stream = format!("live/{number}");
        let (origin, clients) = watched(&fleet, &stream, number, 1).await;
        streams.push((stream, origin));
        for client in clients {
            playing.push(tokio::spawn(stay(client, over.clone())));
        }
    }

    block_in_place(|| {
        // Each proxy has to know how often each origin reports: only then is silence a sign.
        wait_for("two heartbeats of each", HEALS * 2, || {
            let heard = fleet.count("sluicegate_registrations_total", "heartbeat");
            (heard >= (2 * PROXIES * ORIGINS) as u64).then_some(())
        });
        fleet.redis().kill();
        (0..PROXIES).for_each(|proxy| fleet.wait_for_store(proxy, "degraded"));
    });
    // Streams that no proxy knows, requested through all three: the proxies agree without talking.
    let gone = Instant::now();
    let mut round = 0;
    while gone.elapsed() < time {
        let begun = (0..A_ROUND).map(|number| {
            let (fleet, number) = (Arc::clone(&fleet), STREAMS + round * A_ROUND + number);
            async move {
                let stream = format!("live/{number}");
                let (origin, clients) = watched(&fleet, &stream, number, 2).await;
                (stream, origin, clients)
            }
        });
        for (stream, origin, clients) in join_all(begun).await {
            streams.push((stream, origin));
            for client in clients {
                playing.push(tokio::spawn(stay(client, over.clone())));
            }
        }
        round += 1;
        sleep_until(gone + Duration::from_secs(round as u64)).await;
    }

    block_in_place(|| {
        fleet.redis().start_again();
        (0..PROXIES).for_each(|proxy| fleet.wait_for_store(proxy, "ok"));
        // The Redis came back empty, and is told everything that is live.
        for (stream, origin) in &streams {
            let expected = fleet.origin(origin).key();
            wait_for("the claim is back", HEALS, || {
                (fleet.stands(stream) == expected).then_some(())
            });
        }
    });
    // All proxies find what began meanwhile.
    for (number, (stream, origin)) in streams.iter().enumerate() {
        let player = fleet.ask(number % PROXIES, Action::Play, stream).await;
        assert_eq!(player.expect("a grant").origin, *origin, "{stream}");
    }
    over.cancel();
    let stayed = try_join_all(playing).await.expect("clients come and go");
    let cut: Vec<String> = stayed.into_iter().filter_map(Result::err).collect();
    assert!(cut.is_empty(), "{cut:?}");
    let conflicts = block_in_place(|| fleet.count("sluicegate_claim_conflicts_total", ""));
    assert_eq!(conflicts, 0);
    println!("{} streams, {STREAMS} of them from before", streams.len());
}

/// A stream with a publisher through one proxy and players through others, all on one origin.
async fn watched(
    fleet: &Fleet,
    stream: &str,
    number: usize,
    players: usize,
) -> (String, Vec<Session>) {
    let asking = (0..=players).map(|client| {
        let action = if client == 0 {
            Action::Publish
        } else {
            Action::Play
        };
        fleet.ask((number + client) % PROXIES, action, stream)
    });
    let clients = try_join_all(asking).await.expect("grants");
    let origin = clients[0].origin.clone();
    for client in &clients {
        assert_eq!(client.origin, origin, "{stream}");
    }
    (origin, clients)
}

/// Sends frames as a publisher, and receives those of the stream as a player, until `over`. An error says what went
/// wrong.
async fn stay(mut client: Session, over: CancellationToken) -> Result<(), String> {
    let plays = client.plays();
    while !over.is_cancelled() {
        let before = client.frames;
        if !plays {
            client.send_frame();
        }
        if !client.stay(Instant::now() + GAP).await {
            return Err(format!("a session on {} was cut", client.origin));
        }
        if plays && client.frames == before {
            return Err(format!("no frame came from {} in {GAP:?}", client.origin));
        }
    }
    Ok(())
}

const ORIGINS: usize = 4;
const STREAMS: usize = 100;
/// New streams per second of the outage.
const A_ROUND: usize = 3;
/// The time between two frames of an origin.
const FRAMES: Duration = Duration::from_millis(200);
/// The longest time without a frame: the machine is shared with other tests.
const GAP: Duration = Duration::from_secs(6);
/// How long healing may take: a few seconds, and much longer on a busy machine.
const HEALS: Duration = Duration::from_secs(20);
