//! The task that tells the other proxies what is new, and that this proxy is alive, without waiting for gossip.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::cluster::mesh::datagram::NEWS;
use sluicegate_core::cluster::mesh::{News, Word};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::member::Inner;
use super::socket::SealedSocket;

/// Sends news to the other proxies.
pub(super) struct Herald {
    shared: Arc<Inner>,
    link: Arc<SealedSocket>,
    news: News,
    /// How many words this proxy has said; gossip counts them in the same way.
    said: u64,
    others: watch::Receiver<Others>,
}

/// The other proxies, without this one.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// The proxies that are heard.
    pub(super) heard: BTreeSet<SocketAddr>,
    /// All known proxies, including silent ones.
    pub(super) known: BTreeSet<SocketAddr>,
}

/// Words that were sent as news, and that gossip does not have yet.
#[derive(Debug, Default)]
pub(super) struct RecentNews {
    /// The words by key, in order; `None` for a key that is forgotten.
    pub(super) words: Vec<(String, Option<Word>)>,
    /// Whether some proxy was not told everything.
    pub(super) missed: bool,
}

impl Herald {
    /// A herald for the life of this proxy that began at `start`.
    pub(super) fn new(
        shared: Arc<Inner>,
        link: Arc<SealedSocket>,
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

    /// Sends news for ever.
    pub(super) async fn run(mut self) {
        let mut signs = interval(SIGN);
        signs.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Silent proxies get it too: they may have been cut off, and this is what they wait for.
                _ = signs.tick() => {
                    self.tell(&self.others.borrow().known);
                }
                () = self.shared.unsaid.notified() => {
                    self.say();
                    // Claims that are made together travel together.
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

    /// Sends as much of the news as fits. Returns whether everything was sent to all of them.
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

/// How often a proxy says that it is alive: several times within the silence after which it is missed.
const SIGN: Duration = Duration::from_millis(200);
/// How long a change waits for others to travel with it.
const TOGETHER: Duration = Duration::from_millis(20);
/// Maximum proxies that hear of a change at once; the others hear of it within a few rounds.
const TOLD_AT_ONCE: usize = 64;
/// Maximum datagrams of news for each of them at a time; each holds about eight rows.
const MOST_NEWS: usize = 16;
