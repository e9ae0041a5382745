//! The task that tells the others what is new, and that this proxy is alive, without waiting for gossip.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::cluster::mesh::datagram::NEWS;
use sluicegate_core::cluster::mesh::{News, Word};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::Shared;
use super::socket::Link;

/// Tells news to the others.
pub(super) struct Herald {
    shared: Arc<Shared>,
    link: Arc<Link>,
    news: News,
    /// How many words this proxy has said; gossip counts them alike.
    said: u64,
    others: watch::Receiver<Others>,
}

/// Other proxies, without this one.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Those that are heard.
    pub(super) heard: BTreeSet<SocketAddr>,
    /// Those and the silent ones.
    pub(super) known: BTreeSet<SocketAddr>,
}

/// What was told, and gossip does not have yet.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// By keys, in order; `None` for what is forgotten.
    pub(super) words: Vec<(String, Option<Word>)>,
    /// Somebody was not told everything.
    pub(super) missed: bool,
}

impl Herald {
    /// The herald of the life of this proxy that began at `start`.
    pub(super) fn new(
        shared: Arc<Shared>,
        link: Arc<Link>,
        start: u64,
        others: watch::Receiver<Others>,
    ) -> Self {
        let words = Vec::new();
        Self {
            shared,
            link,
            news: News { start, words },
            said: 0,
            others,
        }
    }

    /// Tells for ever.
    pub(super) async fn run(mut self) {
        let mut signs = interval(SIGN);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // To the silent ones too: they may have been cut off, and this is what they wait for.
                _ = signs.tick() => {
                    self.tell(&self.others.borrow().known);
                }
                () = self.shared.unsaid.notified() => {
                    self.say();
                    // Claims that come together travel together.
                    sleep(TOGETHER).await;
                }
            };
        }
    }

    fn say(&mut self) {
        let unsaid = self.shared.table().unsaid();
        if unsaid.is_empty() {
            return;
        }
        let mut words = Vec::new();
        for (key, row) in unsaid {
            self.said += 1;
            let number = self.said;
            let word = row.map(|row| Word { number, row });
            words.push((key, word));
        }
        let new = words.iter();
        let new = new.filter_map(|(key, word)| Some((key.clone(), word.clone()?)));
        self.news.words = new.collect();
        let missed = !self.tell(&self.others.borrow().heard);
        self.news.words.clear();
        let mut told = self.shared.told();
        told.words.extend(words);
        told.missed |= missed;
        self.shared.telling.notify_one();
    }

    /// Sends the news to each, as far as they go; returns whether that is all of them, to all of these.
    fn tell(&self, others: &BTreeSet<SocketAddr>) -> bool {
        let (messages, whole) = self.news.write(NEWS, MOST_NEWS);
        for at in others.iter().take(TOLD_AT_ONCE) {
            for message in &messages {
                self.link.tell(*at, message);
            }
        }
        whole && others.len() <= TOLD_AT_ONCE
    }
}

/// How often a proxy says that it is alive: several times in the silence after which it is missed.
const SIGN: Duration = Duration::from_millis(200);
/// How long a change waits for others to travel with it.
const TOGETHER: Duration = Duration::from_millis(20);
/// Proxies that hear of a change at once; the others within a few rounds.
const TOLD_AT_ONCE: usize = 64;
/// Datagrams with news that each of them gets at a time, of about eight rows each.
const MOST_NEWS: usize = 16;
