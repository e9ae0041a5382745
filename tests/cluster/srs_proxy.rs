//! A proxy of the other kind in the same fleet: it looks for a claim, draws an origin, and writes it down without looking
//! again. This is an imitation of its Redis mode, command for command; its media path is left out, so its clients go
//! straight to the origin it names.
//!
//! A split between the two kinds cannot be kept from happening. What is promised: it is noticed, it is told, and our
//! sessions go to where the other has put the stream.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sluicegate_core::stream::Action;
use tokio::task::block_in_place;

use crate::checker::{Excuse, judge};
use crate::client::Session;
use crate::fleet::{Fleet, PROXIES};
use crate::history::History;

/// What the other proxy makes of a stream, between looking and writing.
struct Pick {
    url: String,
    /// The key of an origin.
    server: String,
    is_new: bool,
}

impl Pick {
    /// `GET` of the claim and of its origin; else the list, and a draw.
    fn look(fleet: &Fleet, stream: &str, draw: usize) -> Self {
        let get = |key: &str| fleet.redis().cli(&["get", key]).trim().to_owned();
        let url = format!("srs-proxy-url:__defaultVhost__/{stream}");
        let server = get(&url);
        if !server.is_empty() && !get(&server).is_empty() {
            let is_new = false;
            return Self {
                url,
                server,
                is_new,
            };
        }
        let list: Vec<String> = serde_json::from_str(&get("srs-proxy-all-servers")).expect("JSON");
        let server = list[draw % list.len()].clone();
        assert!(!get(&server).is_empty(), "{server} is alive");
        let is_new = true;
        Self {
            url,
            server,
            is_new,
        }
    }

    /// `SET`, whatever stands there by now, and for ever.
    fn write(&self, fleet: &Fleet) {
        if self.is_new {
            fleet.redis().cli(&["set", &self.url, &self.server]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_srs_proxy_splits_is_noticed_and_comes_together() {
    let fleet = Arc::new(Fleet::start(3, None).await);
    let history = Arc::new(History::begin());
    let streams = (0..STREAMS).map(|number| {
        let (fleet, history) = (Arc::clone(&fleet), Arc::clone(&history));
        tokio::spawn(async move {
            let stream = format!("live/{number}");
            // The other looks first, and there is nothing.
            let pick = block_in_place(|| Pick::look(&fleet, &stream, number));
            let publishing = {
                let (fleet, history, stream) =
                    (Arc::clone(&fleet), Arc::clone(&history), stream.clone());
                tokio::spawn(async move {
                    let ask = || {
                        let ask = fleet.ask(number % PROXIES, Action::Publish, &stream);
                        ("ours".to_owned(), ask)
                    };
                    history.attend(Action::Publish, &stream, STAYS, ask).await;
                })
            };
            // Ours has claimed it by now; the other does not know, and writes.
            while fleet.stands(&stream).is_empty() {
                tokio::task::yield_now().await;
            }
            block_in_place(|| pick.write(&fleet));
            let name = pick.server.trim_start_matches("srs-proxy-server:");
            let origin = fleet.origin(&name.replace("-s1-1", "/1"));
            let at = origin.at;
            let ask = || ("theirs".to_owned(), Session::ask(at, Action::Play, &stream));
            let playing = history.attend(Action::Play, &stream, STAYS, ask);
            playing.await;
            publishing.await.expect("it comes and goes");
            (stream, origin.instance())
        })
    });
    let placed = join_all(streams.collect::<Vec<_>>()).await;

    // The checker sees each of them, and nothing but them.
    let lives = history.lives();
    let first = |stream: &str| {
        let ours = |life: &&_| -> bool {
            let life: &&crate::checker::Life = life;
            life.stream == stream && life.proxy == "ours"
        };
        let ours = lives.iter().filter(ours).min_by_key(|life| life.from);
        ours.expect("it was published").origin.clone()
    };
    let mut split = BTreeSet::new();
    for done in placed {
        let (stream, theirs) = done.expect("it comes and goes");
        if first(&stream) != theirs {
            split.insert(stream.clone());
        }
        // In the end the stream is where the other has put it, for all of us.
        for proxy in 0..PROXIES {
            let player = fleet.ask(proxy, Action::Play, &stream).await;
            assert_eq!(player.expect("a grant").origin, theirs, "{stream}");
        }
    }
    assert!(split.len() > STREAMS / 3, "{split:?}");
    let seen = judge(&lives, &[]).splits;
    let seen: BTreeSet<String> = seen.into_iter().map(|split| split.one.stream).collect();
    assert!(seen.is_subset(&split), "{seen:?} of {split:?}");
    // They were over soon.
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
    // And each was told.
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

const STREAMS: usize = 30;
/// Long enough for an encoder to come back.
const STAYS: Duration = Duration::from_secs(2);
const TOLD: &str = "another proxy placed the stream elsewhere; sessions that were not there are ended, so that they come back to it";
