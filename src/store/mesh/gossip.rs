//! The task that keeps the table in step with chitchat.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chitchat::{
    Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat,
};
use sluicegate_core::cluster::mesh::datagram::Gate;
use sluicegate_core::cluster::mesh::{GRACE, News, Way, Word};
use tokio::net::lookup_host;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::MeshOptions;
use super::herald::{Herald, Others};
use super::member::{Inner, id};
use super::socket::SealedSocket;
use crate::random;

/// Gossips until `end`.
pub(super) async fn run(
    shared: Arc<Inner>,
    own: ChitchatId,
    options: MeshOptions,
    socket: UdpSocket,
    end: CancellationToken,
) {
    let keys: Vec<&[u8]> = options.keys.iter().map(Vec::as_slice).collect();
    let gate = Gate::new(&keys, options.advertise, random::bytes());
    let link = match SealedSocket::new(socket, gate, Arc::clone(&shared.refused)) {
        Ok(link) => Arc::new(link),
        Err(error) => return error!(%error, "the mesh did not start"),
    };
    let (transport, more) = link.for_gossip();
    let start = own.generation_id;
    let chitchat = match spawn_chitchat(config(own, &options), Vec::new(), &transport).await {
        Ok(chitchat) => chitchat,
        Err(error) => return error!(%error, "the mesh did not start"),
    };
    let listening = Arc::clone(&shared);
    chitchat
        .with_chitchat(|state| {
            let shared = Arc::clone(&listening);
            state
                .subscribe_event("", move |event| {
                    if let Some(word) = Word::parse(event.value) {
                        shared.hear(event.node, event.key, word, Way::Gossip);
                    }
                })
                .forever();
        })
        .await;
    let listening = Arc::clone(&shared);
    let hear = move |from: SocketAddr, message: &[u8]| match News::read(message) {
        Ok(news) => {
            let owner = id(from, news.start);
            listening.hear_from(&owner);
            for (key, word) in news.words {
                listening.hear(&owner, &key, word, Way::News);
            }
        }
        Err(error) => debug!(%from, %error, "another proxy's news are not read"),
    };
    // A task of its own, so that news need not wait until gossip is processed.
    let receiving = tokio::spawn({
        let link = Arc::clone(&link);
        async move { link.receive(hear).await }
    });
    let (others, told) = watch::channel(Others::default());
    let herald = Herald::new(Arc::clone(&shared), link, start, told);
    let gossip = Gossip {
        shared,
        chitchat: &chitchat,
        others,
        owing: false,
        more,
        me: options.advertise,
        seeds: options.seeds,
        at: BTreeSet::new(),
        heard: BTreeSet::new(),
    };
    let telling = tokio::spawn(herald.run());
    let stopped = chitchat.termination_watcher();
    tokio::select! {
        () = end.cancelled() => {}
        () = gossip.keep() => {}
        ended = stopped => error!(?ended, "the mesh has stopped: this proxy goes by what it knows; restart it"),
    }
    telling.abort();
    receiving.abort();
    chitchat.abort();
}

struct Gossip<'a> {
    shared: Arc<Inner>,
    chitchat: &'a ChitchatHandle,
    /// The proxies that the herald tells.
    others: watch::Sender<Others>,
    /// Whether not all news could be sent at once.
    owing: bool,
    /// The proxy that had more to say than fits into a message.
    more: watch::Receiver<Option<SocketAddr>>,
    me: SocketAddr,
    seeds: Vec<String>,
    /// The addresses of the seeds, without this proxy.
    at: BTreeSet<SocketAddr>,
    /// The proxies that are heard.
    heard: BTreeSet<SocketAddr>,
}

impl Gossip<'_> {
    async fn keep(mut self) {
        self.look_up().await;
        let mut beats = ticks(BEAT);
        let mut seeds = ticks(SEEDS);
        let mut lookups = ticks(LOOK_UP);
        let mut checks = ticks(CHECK);
        loop {
            tokio::select! {
                _ = beats.tick() => self.beat().await,
                _ = seeds.tick() => self.ask_seeds(),
                _ = lookups.tick() => self.look_up().await,
                _ = checks.tick() => self.check().await,
                () = self.shared.telling.notified() => self.carry().await,
                Ok(()) = self.more.changed() => {
                    let from = *self.more.borrow_and_update();
                    if let Some(from) = from {
                        let _ = self.chitchat.gossip(from);
                    }
                    // Several proxies have the same to say, and one of them is enough.
                    sleep(PACE).await;
                }
            }
        }
    }

    /// Gives gossip what the herald has told.
    async fn carry(&mut self) {
        let told = std::mem::take(&mut *self.shared.told());
        self.owing |= told.missed;
        if told.words.is_empty() {
            return;
        }
        self.chitchat
            .with_chitchat(|chitchat| {
                let own = chitchat.self_node_state();
                for (key, word) in &told.words {
                    match word {
                        Some(word) => own.set(key, word.encode()),
                        None if own.contains_key(key) => own.delete(key),
                        None => {}
                    }
                }
            })
            .await;
    }

    async fn beat(&mut self) {
        let heartbeats = |chitchat: &mut Chitchat| -> Vec<(ChitchatId, u64)> {
            let states = chitchat.node_states().iter();
            states
                .map(|(id, state)| (id.clone(), state.heartbeat().into()))
                .collect()
        };
        let heartbeats = self.chitchat.with_chitchat(heartbeats).await;
        let now = Instant::now();
        let mut heard = BTreeSet::new();
        let (changed, alive, silent) = {
            let mut table = self.shared.table();
            let mut changed = Vec::new();
            for (id, beat) in &heartbeats {
                changed.extend(table.beat(id, *beat, now));
            }
            changed.extend(table.sweep(now));
            heard.extend(
                heartbeats
                    .iter()
                    .filter(|(id, _)| table.is_alive(id))
                    .map(|(id, _)| id.gossip_advertise_addr),
            );
            let (alive, silent) = table.others();
            (changed, alive, silent)
        };
        for key in changed {
            self.shared.changed(key);
        }
        self.shared.unsaid.notify_one();
        for at in heard.difference(&self.heard) {
            info!(proxy = %at, others = alive, "another proxy of the mesh is heard");
        }
        for at in self.heard.difference(&heard) {
            warn!(proxy = %at, others = alive, "another proxy of the mesh is silent; what it claimed holds for a while");
        }
        let known = heartbeats.iter().map(|(id, _)| id.gossip_advertise_addr);
        let known = known.filter(|at| *at != self.me).collect();
        self.others.send_replace(Others {
            heard: heard.clone(),
            known,
        });
        self.heard = heard;
        if std::mem::take(&mut self.owing) {
            for at in &self.heard {
                let _ = self.chitchat.gossip(*at);
            }
        }
        self.shared
            .set_in_company(alive > 0 || (silent == 0 && self.at.is_empty()));
    }

    /// Contacts seeds that are not heard, a few at a time: new proxies, and those on the other side of a partition.
    fn ask_seeds(&mut self) {
        let unheard = self.at.difference(&self.heard).copied();
        let unheard: Vec<SocketAddr> = unheard.collect();
        let mut first = [0; 1];
        let _ = getrandom::fill(&mut first);
        let first = usize::from(first[0]);
        for offset in 0..SEEDS_AT_ONCE.min(unheard.len()) {
            let at = unheard[(first + offset) % unheard.len()];
            let _ = self.chitchat.gossip(at);
        }
    }

    async fn look_up(&mut self) {
        let mut at = BTreeSet::new();
        for seed in &self.seeds {
            match timeout(LOOK_UP, lookup_host(seed)).await {
                Ok(Ok(found)) => at.extend(found.take(MOST_SEEDS)),
                Ok(Err(error)) => debug!(seed, %error, "a seed of the mesh has no address"),
                Err(_) => debug!(seed, "a seed of the mesh has no address yet"),
            }
        }
        at.remove(&self.me);
        self.at = at;
    }

    /// Drops rows that were removed elsewhere while this proxy was cut off, and proxies that are given up.
    async fn check(&self) {
        let shared = &self.shared;
        let changed = self
            .chitchat
            .with_chitchat(|chitchat| {
                let states = chitchat.node_states();
                // News is ahead of gossip.
                let says = |id: &ChitchatId, key: &str, number: u64| {
                    states.get(id).is_some_and(|state| {
                        state.contains_key(key) || number > state.max_version()
                    })
                };
                let mut table = shared.table();
                let now = Instant::now();
                let mut changed = table.check(says, now);
                for gone in table
                    .known()
                    .filter(|id| !states.contains_key(id))
                    .cloned()
                    .collect::<Vec<_>>()
                {
                    changed.extend(table.forget(&gone, now));
                }
                changed
            })
            .await;
        for key in changed {
            self.shared.changed(key);
        }
    }
}

fn config(id: ChitchatId, options: &MeshOptions) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: id,
        cluster_id: "sluicegate".to_owned(),
        gossip_interval: ROUND,
        listen_addr: options.listen,
        // The seeds are looked up here, more often than by chitchat.
        seed_nodes: Vec::new(),
        // The table decides which proxies are alive; this only decides with whom to gossip.
        failure_detector_config: FailureDetectorConfig {
            phi_threshold: 8.0,
            sampling_window_size: 100,
            max_interval: Duration::from_secs(2),
            initial_interval: Duration::from_millis(500),
            // After half of this time, a silent proxy is no longer passed on.
            dead_node_grace_period: GRACE * 2,
        },
        marked_for_deletion_grace_period: GRACE,
        catchup_callback: None,
        // Avoids copies of all live tables after every change, which would never be used.
        extra_liveness_predicate: Some(Box::new(|_| false)),
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// How often each proxy talks to up to three others.
const ROUND: Duration = Duration::from_millis(200);
const BEAT: Duration = Duration::from_millis(100);
const SEEDS: Duration = Duration::from_secs(1);
const SEEDS_AT_ONCE: usize = 3;
/// Maximum addresses of one seed.
const MOST_SEEDS: usize = 256;
const LOOK_UP: Duration = Duration::from_secs(5);
const CHECK: Duration = Duration::from_secs(10);
/// How long to wait before asking for more again.
const PACE: Duration = Duration::from_millis(10);
