//! A proxy of the other kind in the same fleet: it looks for a claim, chooses an origin at random, and writes it
//! without looking again. This is an imitation of its Redis mode, command for command. Its media path is left out, so
//! its clients go straight to the origin that it names.
//!
//! A split between the two kinds of proxies cannot be prevented. What is promised: it is noticed and reported, and our
//! sessions go where the other proxy has put the stream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sluicegate_core::stream::Action;
use tokio::task::block_in_place;
use tokio::time::Instant;

use crate::checker::{Excuse, judge};
use crate::client::Session;
use crate::fleet::{Fleet, PROXIES};
use crate::history::History;

/// What the other proxy knows about a stream, between looking and writing.
struct Pick {
    url: String,
    /// The keys of the origins that it may choose from.
    list: Vec<String>,
}

impl Pick {
    /// A `GET` of the claim, which does not exist yet; then the list.
    fn look(fleet: &Fleet, stream: &str) -> Self {
        let get = |key: &str| fleet.redis().cli(&["get", key]).trim().to_owned();
        let url = format!("srs-proxy-url:__defaultVhost__/{stream}");
        assert_eq!(get(&url), "", "nobody has claimed {stream}");
        let list = serde_json::from_str(&get("srs-proxy-all-servers")).expect("JSON");
        Self { url, list }
    }

    /// Chooses from the list, and calls `SET`, whatever the current value is, without an expiry. The real proxy chooses
    /// at random; here it chooses what the story needs: the origin of `ours`, or another. Returns the key of the
    /// origin.
    fn write(&self, fleet: &Fleet, ours: &str, is_split: bool) -> String {
        let is_drawn = |server: &&String| (server.as_str() != ours) == is_split;
        let server = self.list.iter().find(is_drawn).expect("three origins");
        fleet.redis().cli(&["set", &self.url, server]);
        server.clone()
    }
}

/// One stream, which two of our proxies do not know, and whose publisher is on the third. Returns where the other proxy
/// put it.
async fn meets_the_other(fleet: &Fleet, history: &History, number: usize, stream: &str) -> String {
    let pick = block_in_place(|| Pick::look(fleet, stream));
    let publish = || async {
        let asked = history.now();
        let ask = fleet.ask(number % PROXIES, Action::Publish, stream).await;
        (asked, history.now(), ask.expect("a grant"))
    };
    let (asked, from, mut ours) = publish().await;
    let (theirs, at) = block_in_place(|| {
        let server = pick.write(fleet, &fleet.stands(stream), is_split(number));
        let name = server.trim_start_matches("srs-proxy-server:");
        let origin = fleet.origin(&name.replace("-s1-1", "/1"));
        (origin.instance(), origin.at)
    });
    assert_eq!(ours.origin != theirs, is_split(number), "{stream}");
    let until = Instant::now() + PATIENCE;
    let ask = || ("theirs".to_owned(), Session::ask(at, Action::Play, stream));
    let playing = history.attend(Action::Play, stream, STAYS, ask);
    let publishing = async {
        let mut life = (asked, from);
        if is_split(number) {
            assert!(!ours.stay(until).await, "{stream} is ended here");
            history.lived(stream, Action::Publish, "ours", &ours, life);
            let (asked, from, back) = publish().await;
            assert_eq!(back.origin, theirs, "{stream} comes back there");
            (ours, life) = (back, (asked, from));
        }
        assert!(ours.stay(Instant::now() + STAYS).await, "{stream} stays");
        history.lived(stream, Action::Publish, "ours", &ours, life);
    };
    tokio::join!(playing, publishing);
    theirs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_srs_proxy_splits_is_noticed_and_comes_together() {
    let fleet = Arc::new(Fleet::start(3, None).await);
    let history = Arc::new(History::begin());
    let streams = (0..STREAMS).map(|number| {
        let (fleet, history) = (Arc::clone(&fleet), Arc::clone(&history));
        tokio::spawn(async move {
            let stream = format!("live/{number}");
            let theirs = meets_the_other(&fleet, &history, number, &stream).await;
            (stream, theirs)
        })
    });
    for done in join_all(streams.collect::<Vec<_>>()).await {
        let (stream, theirs) = done.expect("it comes and goes");
        // In the end, for all of our proxies the stream is where the other one has put it.
        for proxy in 0..PROXIES {
            let player = fleet.ask(proxy, Action::Play, &stream).await;
            assert_eq!(player.expect("a grant").origin, theirs, "{stream}");
        }
    }

    // The checker sees only these clients.
    let lives = history.lives();
    let split: BTreeSet<String> = (0..STREAMS)
        .filter(|number| is_split(*number))
        .map(|number| format!("live/{number}"))
        .collect();
    let seen = judge(&lives, &[]).splits;
    let seen: BTreeSet<String> = seen.into_iter().map(|split| split.one.stream).collect();
    assert!(seen.is_subset(&split), "{seen:?} of {split:?}");
    // The splits were over soon.
    let excuses: Vec<Excuse> = lives
        .iter()
        .filter(|life| life.proxy == "theirs")
        .map(|life| Excuse {
            proxy: life.proxy.clone(),
            from: life.from,
            until: life.from,
        })
        .collect();
    let verdict = judge(&lives, &excuses);
    assert!(verdict.splits.is_empty(), "{}", verdict.words());
    // Each split was reported.
    let (conflicts, told) = block_in_place(|| {
        let told = (0..PROXIES).map(|proxy| fleet.proxy(proxy).log(TOLD).len());
        (
            fleet.count("sluicegate_claim_conflicts_total", ""),
            told.sum::<usize>(),
        )
    });
    assert_eq!(conflicts, split.len() as u64);
    assert_eq!(told, split.len());
    println!(
        "{} streams, {} split by the other proxy, {} seen by clients; the last over after {:.1?}",
        STREAMS,
        split.len(),
        seen.len(),
        verdict.healed_within()
    );
}

/// A random choice among three origins misses in two of three cases.
fn is_split(number: usize) -> bool {
    !number.is_multiple_of(3)
}

const STREAMS: usize = 30;
/// Long enough to be told that it must not be here.
const STAYS: Duration = Duration::from_secs(2);
/// How long to wait for the end of a session that is elsewhere.
const PATIENCE: Duration = Duration::from_secs(20);
const TOLD: &str = "another proxy placed the stream elsewhere; sessions that were not there are ended, so that they come back to it";
