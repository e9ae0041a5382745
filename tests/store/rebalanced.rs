//! Streams that leave an origin with too much to do, where two proxies have their publishers: each moves its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sluicegate::demo::origin::EmbeddedOrigin;
use sluicegate::sessions::{Row, State};
use sluicegate_core::stream::Action;
use tokio::task::JoinHandle;

use crate::house::{Guest, House, until, video};
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;

const MORE: &str = "[placement]\nrebalance = true\nrebalance_after = \"1s\"\n\
                    [fanout]\nmode = \"open\"\npublic = true\n";

/// Publishers and viewers through two proxies.
struct Crowd {
    houses: [House; 2],
    origins: BTreeMap<&'static str, Machine>,
    /// The publisher of each stream; of two neighbours each comes to another proxy.
    publishers: Vec<(String, Guest)>,
    viewers: Vec<Viewer>,
    time: u32,
    began: Instant,
    reported: Option<Instant>,
}

/// An origin, and what it reports of its machine.
struct Machine {
    origin: EmbeddedOrigin,
    cpu: f64,
    /// Bytes that it has received and sent.
    carried: u64,
}

/// A viewer that reads until its connection ends.
struct Viewer {
    pictures: Arc<AtomicUsize>,
    reading: JoinHandle<()>,
}

impl Viewer {
    async fn of(house: &House, stream: &str) -> Self {
        let mut guest = house.ask(Action::Play, stream).await;
        assert!(guest.has_started(), "{:?}", guest.status);
        let pictures = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&pictures);
        let reading = tokio::spawn(async move {
            while guest.step().await {
                count.fetch_add(std::mem::take(&mut guest.media).len(), Ordering::Relaxed);
            }
        });
        Self { pictures, reading }
    }
}

impl Crowd {
    async fn new(houses: (House, House)) -> Self {
        let mut crowd = Self {
            houses: houses.into(),
            origins: BTreeMap::new(),
            publishers: Vec::new(),
            viewers: Vec::new(),
            time: 0,
            began: Instant::now(),
            reported: None,
        };
        crowd.add("one", 0.92).await;
        for number in 0..STREAMS {
            let stream = format!("live/{number}");
            let mut publisher = crowd.houses[number % 2].ask(Action::Publish, &stream).await;
            assert!(publisher.has_started(), "{:?}", publisher.status);
            publisher.send(&video(0, &[0x17, 0, 0, 0, 0, 1])).await;
            publisher.send(&video(0, KEYFRAME)).await;
            for house in &crowd.houses {
                crowd.viewers.push(Viewer::of(house, &stream).await);
            }
            crowd.publishers.push((stream, publisher));
        }
        crowd.add("two", 0.1).await;
        crowd
    }

    /// An origin that reports to the first proxy, when both know it.
    async fn add(&mut self, id: &'static str, cpu: f64) {
        let loopback = "127.0.0.1:0".parse().expect("an address");
        let origin = EmbeddedOrigin::bind(loopback, loopback).await;
        let machine = Machine {
            origin: origin.expect("ports"),
            cpu,
            carried: 0,
        };
        self.origins.insert(id, machine);
        self.report();
        let known = self.origins.len();
        until("the origin at both", || {
            let mut houses = self.houses.iter();
            houses.all(|house| house.proxy.registry().origins().len() == known)
        })
        .await;
    }

    fn report(&mut self) {
        self.reported = Some(Instant::now());
        let now_ms = self.began.elapsed().as_millis();
        for (id, machine) in &self.origins {
            let (port, cpu, carried) = (machine.origin.rtmp().port(), machine.cpu, machine.carried);
            let system = format!(
                r#"{{"cpu_percent":{cpu},"srs_recv_bytes":{carried},"srs_send_bytes":0,"srs_sample_time":{now_ms}}}"#
            );
            let summaries = format!(r#""rtmp":["{port}"],"summaries":{{"system":{system}}}"#);
            self.houses[0].register_with(id, &summaries);
        }
    }

    /// Sends pictures of each stream, all of one size, every few milliseconds until something `happened`.
    async fn send_until(&mut self, what: &str, mut happened: impl FnMut(&Self) -> bool) {
        let frame = [&[0x27, 1, 0, 0, 0][..], &[7; 2000]].concat();
        let sending = async {
            while !happened(self) {
                self.time += 40;
                let at: Vec<Option<String>> =
                    self.publishers.iter().map(|it| self.at(&it.0)).collect();
                for ((_, publisher), at) in self.publishers.iter_mut().zip(at) {
                    publisher.send(&video(self.time, KEYFRAME)).await;
                    publisher.send(&video(self.time + 20, &frame)).await;
                    if let Some(machine) = at.and_then(|at| self.origins.get_mut(at.as_str())) {
                        // It comes from the publisher, and goes to a pull of each proxy.
                        machine.carried += 3 * frame.len() as u64;
                    }
                }
                if self.reported.is_none_or(|at| at.elapsed() >= REPORTS) {
                    self.report();
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let sent = tokio::time::timeout(Duration::from_secs(60), sending).await;
        let plans = || {
            self.houses
                .each_ref()
                .map(|house| house.proxy.rebalance_plan())
        };
        assert!(sent.is_ok(), "{what} did not come in time: {:?}", plans());
    }

    fn published(&self, house: usize) -> Vec<Arc<Row>> {
        let rows = self.houses[house].proxy.sessions().list().into_iter();
        rows.filter(|row| row.request.action == Action::Publish)
            .collect()
    }

    /// Where the publisher of a stream is.
    fn at(&self, stream: &str) -> Option<String> {
        let rows = (0..2).flat_map(|house| self.published(house));
        let mut of_it = rows.filter(|row| row.key.as_str().ends_with(stream));
        of_it.next()?.origin().map(|id| id.as_str().to_owned())
    }

    /// How many streams a proxy has moved.
    fn moved(&self, house: usize) -> usize {
        let metrics = self.houses[house].proxy.metrics().render();
        let count = metrics.lines().find_map(|line| line.strip_prefix(MADE));
        count.map_or(0, |count| count.trim().parse().expect("a number"))
    }

    fn session_ids(&self) -> Vec<Vec<u64>> {
        let ids = |house: &House| {
            house
                .proxy
                .sessions()
                .list()
                .iter()
                .map(|row| row.id)
                .collect()
        };
        self.houses.iter().map(ids).collect()
    }
}

/// Eight streams of one size on an origin at 92 %: two have to leave before it is at 80 %, and each proxy has half of them.
async fn each_moves_its_own(houses: (House, House)) {
    let mut crowd = Crowd::new(houses).await;
    let before = crowd.session_ids();
    crowd
        .send_until("a move of each proxy", |it| {
            (0..2).all(|house| it.moved(house) > 0)
        })
        .await;
    let pictures: Vec<usize> = crowd.viewers.iter().map(Viewer::pictures).collect();
    let moved = Instant::now();
    crowd
        .send_until("more looks", |it| {
            let mut viewers = it.viewers.iter().zip(&pictures);
            moved.elapsed() > LOOKS
                && viewers.all(|(viewer, before)| viewer.pictures() > before + 50)
        })
        .await;
    let moved = [0, 1].map(|house| crowd.moved(house));
    assert_eq!(moved, [1, 1], "the least that is enough, each its part");
    assert_eq!(before, crowd.session_ids(), "the same sessions");
    for viewer in &crowd.viewers {
        assert!(!viewer.reading.is_finished(), "a viewer was closed");
    }
    for (house, others) in [(0, 1), (1, 0)] {
        let rows = crowd.published(house);
        let held: Vec<_> = rows.iter().map(|row| (row, row.holds())).collect();
        let moved: Vec<_> = held.iter().filter(|(_, holds)| !holds.is_empty()).collect();
        assert_eq!(moved.len(), 1, "it moved a stream of its own");
        let (row, holds) = moved[0];
        assert_eq!(holds.len(), 1, "once");
        assert_eq!(row.state(), State::Relaying);
        // Both proxies agree where it is now, and the origins have nothing twice.
        let (_, stream) = row.key.as_str().split_once('/').expect("vhost/app/stream");
        assert_eq!(crowd.at(stream).as_deref(), Some("two"));
        let claim = || crowd.houses[others].origin_of(stream);
        until("the claim", || claim().as_deref() == Some("two")).await;
        assert_eq!(crowd.houses[house].proxy.metrics().claim_conflicts.get(), 0);
        // Viewers through the other proxy go over when the claim does.
        let metrics = crowd.houses[house].proxy.metrics().render();
        let holds = metrics
            .lines()
            .filter(|line| line.starts_with("sluicegate_holds_total{"));
        for hold in holds {
            let is_follower = hold.contains(r#"outcome="kept""#);
            assert!(is_follower, "nobody lost an origin: {hold}");
        }
    }
    for (id, streams) in [("one", STREAMS - 2), ("two", 2)] {
        let publishers = || crowd.origins[id].origin.seen().publishers().count();
        until("the streams of an origin", || publishers() == streams).await;
    }
}

impl Viewer {
    fn pictures(&self) -> usize {
        self.pictures.load(Ordering::Relaxed)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_proxies_in_a_mesh_each_move_streams_of_their_own() {
    let settings = in_a_mesh(MORE);
    each_moves_its_own(met([&settings[0], &settings[1]]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_proxies_on_a_redis_each_move_streams_of_their_own() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, MORE);
    each_moves_its_own(met([&settings, &settings]).await).await;
}

const STREAMS: usize = 8;
const KEYFRAME: &[u8] = &[0x17, 1, 0, 0, 0, 9];
const MADE: &str = r#"sluicegate_moves_total{cause="rebalanced",outcome="made"} "#;
const REPORTS: Duration = Duration::from_millis(500);
/// Both proxies look every two seconds.
const LOOKS: Duration = Duration::from_secs(5);
