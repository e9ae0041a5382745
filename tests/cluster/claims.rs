//! Is a stream ever in two places? Thousands of first publishes and plays through three proxies, while proxies and
//! origins are killed and stopped, the Redis is stopped, and proxies are cut off from it. What each client saw is judged
//! by the [`checker`](crate::checker).

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;
use sluicegate_core::stream::Action;
use tokio::runtime::Handle;
use tokio::time::sleep;

use crate::balancer::Dice;
use crate::checker::Verdict;
use crate::fleet::{Fleet, PROXIES};
use crate::history::History;
use crate::network::{home, ran_in_namespaces};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_is_in_one_place_whatever_fails() {
    if !ran_in_namespaces("claims::a_stream_is_in_one_place_whatever_fails") {
        Run::to_its_end(5_000, 56).await;
    }
}

/// The run detects what it looks for: proxies that share nothing are caught at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proxies_that_share_nothing_are_caught() {
    let run = Run::with(Fleet::strangers(ORIGINS).await);
    // The first streams of a run live only for a moment.
    run.streams.store(1, Ordering::Relaxed);
    let streams: Vec<_> = (0..8)
        .map(|_| tokio::spawn(Arc::clone(&run).streams()))
        .collect();
    // How soon that is depends on how many clients of a stream overlap, and so on the machine.
    loop {
        let verdict = run.judged();
        let split = verdict.splits.iter().map(|split| &split.one.stream);
        if split.collect::<BTreeSet<_>>().len() > 1 {
            break;
        }
        assert!(run.history.asks() < 5_000, "{}", verdict.words());
        sleep(BETWEEN / 10).await;
    }
    run.is_over.store(true, Ordering::Relaxed);
    for done in join_all(streams).await {
        done.expect("streams come and go");
    }
}

/// The long version: `scripts/long claims`, or `scripts/long claims 20000`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes: scripts/long claims"]
async fn long_a_stream_is_in_one_place_whatever_fails() {
    let asks = env::var("CLAIMS").map_or(100_000, |text| text.parse().expect("a number"));
    if !ran_in_namespaces("claims::long_a_stream_is_in_one_place_whatever_fails") {
        Run::to_its_end(asks, 96).await;
    }
}

/// The kinds of faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// A proxy is cut off from the Redis, and what it sent arrives later.
    Part,
    /// A proxy is killed, and started again.
    KillProxy,
    /// An origin is killed, and comes back as another process. Its publishers are held, and go on at other origins.
    KillOrigin,
    /// The same while a proxy is cut off from the Redis, which holds publishers of that origin as well.
    KillOriginApart,
    /// A proxy is stopped, and continues where it was.
    FreezeProxy,
    /// The Redis is stopped, and continues later.
    FreezeRedis,
}

impl Fault {
    const ALL: [Self; 6] = [
        Self::Part,
        Self::KillProxy,
        Self::KillOrigin,
        Self::FreezeProxy,
        Self::KillOriginApart,
        Self::FreezeRedis,
    ];
}

/// One run and its history.
struct Run {
    fleet: Fleet,
    history: History,
    dice: Mutex<Dice>,
    /// The number of streams so far.
    streams: AtomicUsize,
    is_over: AtomicBool,
}

impl Run {
    fn with(fleet: Fleet) -> Arc<Self> {
        Arc::new(Self {
            fleet,
            history: History::begin(),
            dice: Mutex::new(Dice::new()),
            streams: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        })
    }

    async fn to_its_end(asks: usize, at_once: usize) {
        let run = Self::with(Fleet::with_store_timeout(ORIGINS, ANSWERS).await);
        let failing = {
            let (run, runtime) = (Arc::clone(&run), Handle::current());
            tokio::task::spawn_blocking(move || run.fail(asks, &runtime))
        };
        let streams = (0..at_once).map(|_| tokio::spawn(Arc::clone(&run).streams()));
        let streams: Vec<_> = streams.collect();
        let faults = failing.await.expect("faults come and go");
        for done in join_all(streams).await {
            done.expect("streams come and go");
        }
        let verdict = run.judged();
        run.tell(&verdict, &faults);
        assert!(verdict.splits.is_empty(), "{}", verdict.words());
        let asked = run.history.asks();
        assert!(verdict.lives * 10 > asked * 7, "most were served");
    }

    /// Runs one stream after the other until the run is over.
    async fn streams(self: Arc<Self>) {
        while !self.is_over.load(Ordering::Relaxed) {
            let number = self.streams.fetch_add(1, Ordering::Relaxed);
            // Some streams live through a fault and its end.
            let unit = if number.is_multiple_of(6) { 8_000 } else { 250 };
            let stream = format!("live/s{number}");
            // The first publishers and players come at the same moment; then the publisher comes back.
            let (publish, play) = (Action::Publish, Action::Play);
            for guests in [
                &[publish, publish, play, play, play][..],
                &[publish, play, play],
            ] {
                let attending = guests.iter().map(|action| {
                    let late = self.roll(15);
                    let stays = unit / 2 + self.roll(unit);
                    self.attend(*action, &stream, millis(late), millis(stays))
                });
                join_all(attending).await;
            }
        }
    }

    /// Judges what clients saw and origins report.
    fn judged(&self) -> Verdict {
        let origins = self.fleet.origins.iter();
        let reports: Vec<_> = origins.flat_map(|origin| origin.reports()).collect();
        let called_from = |address| {
            let is_home = |proxy: &usize| home(*proxy).is_some_and(|(_, at)| at == address);
            // On loopback all have one address.
            let proxy = (0..PROXIES).find(is_home);
            proxy.map_or_else(|| "some proxy".to_owned(), named)
        };
        self.history.judged(&reports, called_from)
    }

    async fn attend(&self, action: Action, stream: &str, late: Duration, stays: Duration) {
        sleep(late).await;
        let ask = || {
            let proxy = self.roll(PROXIES);
            (named(proxy), self.fleet.ask(proxy, action, stream))
        };
        self.history.attend(action, stream, stays, ask).await;
    }

    /// Causes one fault after the other until there were enough requests and each kind of fault occurred. Then the run
    /// is over.
    fn fail(&self, asks: usize, runtime: &Handle) -> BTreeMap<Fault, usize> {
        let mut faults = BTreeMap::new();
        for fault in Fault::ALL.into_iter().cycle() {
            std::thread::sleep(BETWEEN);
            let enough = self.history.asks() >= asks;
            if enough && faults.len() == Fault::ALL.len() {
                break;
            }
            let proxy = self.roll(PROXIES);
            let from = self.history.now();
            match fault {
                Fault::Part => {
                    self.fleet.part(proxy);
                    std::thread::sleep(LASTS);
                    self.fleet.wait_for_store(proxy, "degraded");
                    self.fleet.mend(proxy);
                    self.excuse(&[proxy], from);
                }
                Fault::KillProxy => {
                    self.history.kill(named(proxy));
                    self.fleet.proxy(proxy).kill();
                    self.fleet.start_again(proxy);
                }
                Fault::KillOrigin => self.kill_origin(runtime),
                Fault::KillOriginApart => {
                    self.fleet.part(proxy);
                    self.fleet.wait_for_store(proxy, "degraded");
                    self.kill_origin(runtime);
                    self.fleet.mend(proxy);
                    self.excuse(&[proxy], from);
                }
                Fault::FreezeProxy => {
                    self.fleet.proxy(proxy).freeze();
                    std::thread::sleep(LASTS);
                    self.fleet.proxy(proxy).thaw();
                    self.excuse(&[proxy], from);
                }
                Fault::FreezeRedis => {
                    self.fleet.redis().freeze();
                    std::thread::sleep(LASTS);
                    self.fleet.wait_for_store(proxy, "degraded");
                    self.fleet.redis().thaw();
                    self.excuse(&[0, 1, 2], from);
                }
            }
            *faults.entry(fault).or_default() += 1;
        }
        self.is_over.store(true, Ordering::Relaxed);
        faults
    }

    /// Kills an origin, and starts another process in its place.
    fn kill_origin(&self, runtime: &Handle) {
        let origin = &self.fleet.origins[self.roll(ORIGINS)];
        self.history.kill(origin.instance());
        runtime.block_on(origin.kill());
        std::thread::sleep(LASTS);
        runtime.block_on(origin.start_again());
    }

    /// Notes that these proxies were without the store from `from` until they say that they have it again.
    fn excuse(&self, proxies: &[usize], from: Duration) {
        for proxy in proxies {
            self.fleet.wait_for_store(*proxy, "ok");
            self.history.excuse(named(*proxy), from);
        }
    }

    fn tell(&self, verdict: &Verdict, faults: &BTreeMap<Fault, usize>) {
        println!(
            "{} requests in {:.0?}: {} sessions of {} streams; {} splits; {} excused, the last over {:.1?} after the \
             store was back; {} conflicts ended by the proxies; {} sessions held",
            self.history.asks(),
            self.history.now(),
            verdict.lives,
            verdict.streams,
            verdict.splits.len(),
            verdict.excused.len(),
            verdict.healed_within(),
            self.fleet.count("sluicegate_claim_conflicts_total", ""),
            self.fleet.count("sluicegate_holds_total{", ""),
        );
        println!("faults: {faults:?}");
        println!("refused: {:?}", self.history.refused());
    }

    /// A random number below `sides`.
    fn roll(&self, sides: usize) -> usize {
        self.dice.lock().expect("a test").roll(sides)
    }
}

fn named(proxy: usize) -> String {
    format!("proxy-{proxy}")
}

fn millis(count: usize) -> Duration {
    Duration::from_millis(count as u64)
}

const ORIGINS: usize = 5;
/// How long to wait between two faults.
const BETWEEN: Duration = Duration::from_secs(1);
/// How long a call to the store may take: the machine is busy with the run itself.
const ANSWERS: Duration = Duration::from_secs(3);
/// How long a fault lasts: longer than a call to the store may take, and than the interval of the check.
const LASTS: Duration = Duration::from_millis(4_500);
