//! A rolling update as Kubernetes does it, under real encoders and players: new pods come up, old ones are taken out of
//! the Service and asked to stop, and their sessions run until the grace time is over.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::support::namespaces::{self, World};
use crate::support::pods::{self, Gone, Life, Pod, Service};
use crate::support::program::Program;
use crate::support::srt::srt_url;
use crate::support::{Light, NginxRtmp, Origin, Player, Publisher, SrtOrigin, machine, wait_for};

#[test]
fn a_rolling_update_refuses_nobody_and_brings_everybody_back() {
    roll(
        "rolling_update::a_rolling_update_refuses_nobody_and_brings_everybody_back",
        &SHORT,
    );
}

#[test]
#[ignore = "minutes: scripts/long rolling"]
fn long_rolling_update() {
    roll("rolling_update::long_rolling_update", &LONG);
}

/// An update.
struct Plan {
    replicas: u8,
    /// Twice as many streams have an encoder over RTMP and a player each, over RTMP and over HTTP-FLV.
    streams: usize,
    /// Streams with an encoder and a player each, over SRT.
    srt_streams: usize,
    /// Publishers that cost next to nothing.
    lights: usize,
    grace: Duration,
    force: Duration,
    life: Life,
}

const SHORT: Plan = Plan {
    replicas: 2,
    streams: 1,
    srt_streams: 1,
    lights: 12,
    grace: Duration::from_secs(6),
    force: Duration::from_secs(16),
    life: Life {
        endpoints_lag: Duration::from_millis(500),
        pre_stop_sleep: Duration::from_secs(2),
        termination: Duration::from_secs(28),
    },
};

const LONG: Plan = Plan {
    replicas: 3,
    streams: 3,
    srt_streams: 4,
    lights: 150,
    grace: Duration::from_secs(60),
    force: Duration::from_secs(90),
    life: Life {
        endpoints_lag: Duration::from_millis(1500),
        pre_stop_sleep: Duration::from_secs(5),
        termination: Duration::from_secs(105),
    },
};

fn roll(test: &str, plan: &Plan) {
    match namespaces::enter(test) {
        World::Ran => return,
        World::NotAllowed => panic!(
            "pods need network namespaces (unshare -rnm, ip netns), which this system does not allow"
        ),
        World::Inside => {}
    }
    let _turn = machine::alone();
    let service = Arc::new(Service::lay());
    let media = ["one", "two"].map(NginxRtmp::start);
    let srt = SrtOrigin::unregistered("datagrams");
    let pods: Vec<Pod> = (0..plan.replicas)
        .map(|number| start_pod(number, plan))
        .collect();
    for pod in &pods {
        service.add(pod);
    }
    let _reports = report_all(&media, &srt);
    for pod in &pods {
        wait_for("every pod knows all origins", PATIENCE, || {
            (pod.origins_up() == 3).then_some(())
        });
    }
    let clients = start_clients(plan);
    wait_all_live(&clients);
    let knocking = Knocking::start();

    let update_began = Instant::now();
    let (gone, _successors) = replace_all(pods, &service, plan);
    wait_all_back(&clients);
    let update_took = update_began.elapsed();
    let knocks = knocking.stop();
    report(&clients, &knocks, &gone, update_took);

    assert!(knocks.refused.is_empty(), "{:?}", knocks.refused);
    for gone in &gone {
        check_end(gone, plan);
    }
    for client in &clients {
        let met = client.met();
        assert!(met.refused.is_empty(), "{}: {:?}", client.name, met.refused);
        let longest = met.gaps.iter().max().copied().unwrap_or_default();
        assert!(longest <= BACK_WITHIN, "{}: {:?}", client.name, met.gaps);
        if client.publishes {
            assert_eq!(
                met.gaps.len(),
                1,
                "{}: one end and no more: {:?}",
                client.name,
                met.gaps
            );
        }
    }
}

fn start_pod(number: u8, plan: &Plan) -> Pod {
    let address = pods::address_of(number);
    // The headless Service names all pods; those to come are among them here.
    let seeds: Vec<String> = (0..plan.replicas * 2)
        .map(|number| format!("{}:{MESH_PORT}", pods::address_of(number)))
        .collect();
    let (grace, force) = (plan.grace.as_millis(), plan.force.as_millis());
    Pod::start(
        number,
        &format!(
            "store.type = \"mesh\"\ncluster.key = \"of this test alone, and long enough\"\n\
             mesh.listen = \"{address}:{MESH_PORT}\"\nmesh.seeds = {seeds:?}\n\
             fanout.public = true\nfanout.rules = [\"stream=shared* mode=open\"]\n\
             shutdown.grace = \"{grace}ms\"\nshutdown.force = \"{force}ms\"\n"
        ),
    )
}

/// The origins report to the Service: it does not matter which pod hears them.
fn report_all(media: &[NginxRtmp], srt: &SrtOrigin) -> Vec<Program> {
    let mut reports: Vec<Program> = media
        .iter()
        .map(|origin| pods::report_to_service(origin.name(), &[("rtmp", origin.rtmp().port())]))
        .collect();
    reports.push(pods::report_to_service(
        srt.name(),
        &[("srt", srt.address().port())],
    ));
    reports
}

/// Each pod gets a successor, as a Deployment has it with `maxSurge: 1` and `maxUnavailable: 0`. Returns when the old ones
/// have ended, with their successors.
fn replace_all(old: Vec<Pod>, service: &Arc<Service>, plan: &Plan) -> (Vec<Gone>, Vec<Pod>) {
    let mut new = Vec::new();
    let mut leaving = Vec::new();
    for (number, pod) in (plan.replicas..).zip(old) {
        let successor = start_pod(number, plan);
        wait_for("the successor is ready", PATIENCE, || {
            successor.is_ready().then_some(())
        });
        service.add(&successor);
        new.push(successor);
        let (service, life) = (Arc::clone(service), plan.life.clone());
        leaving.push(std::thread::spawn(move || pod.delete(&service, &life)));
    }
    let gone = leaving
        .into_iter()
        .map(|pod| pod.join().expect("it ends in time"));
    (gone.collect(), new)
}

/// The sessions of a pod ran until the grace time was over, and then ended one after the other.
fn check_end(gone: &Gone, plan: &Plan) {
    assert!(gone.well, "it ended by itself");
    assert!(gone.took < plan.force, "{:?}", gone.took);
    let drained = drained(gone);
    let (Some(first), Some(last)) = (drained.first(), drained.last()) else {
        panic!("a pod had no session to the end: {:?}", gone.ended);
    };
    assert!(*first >= plan.grace, "{first:?} after it was asked to stop");
    let turns = u32::try_from(drained.len() - 1).expect("a few sessions");
    let least = PACE * turns * 8 / 10;
    assert!(
        *last - *first >= least.min(LEAST_SPREAD),
        "{} in {:?}",
        drained.len(),
        *last - *first
    );
}

/// How long after the order to stop sessions were ended, in order.
fn drained(gone: &Gone) -> Vec<Duration> {
    let drained = gone
        .ended
        .iter()
        .filter(|(_, record)| record["reason"] == "drained");
    drained
        .map(|(at, _)| at.saturating_duration_since(gone.asked))
        .collect()
}

/// An encoder or a player that comes back by itself each time it is ended.
struct Client {
    name: String,
    publishes: bool,
    met: Arc<Mutex<Met>>,
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<()>>,
}

/// What a client has met with.
#[derive(Debug, Clone, Default)]
struct Met {
    /// It sends or gets media now.
    is_live: bool,
    /// For each end that it met, how long it was without media.
    gaps: Vec<Duration>,
    /// What it heard instead of media.
    refused: Vec<String>,
}

impl Client {
    fn start(
        name: String,
        publishes: bool,
        mut live: impl FnMut(&Shared) + Send + 'static,
    ) -> Self {
        let shared = Shared {
            met: Arc::default(),
            stop: Arc::default(),
        };
        let (met, stop) = (Arc::clone(&shared.met), Arc::clone(&shared.stop));
        let running = std::thread::spawn(move || {
            while !shared.is_over() {
                live(&shared);
            }
        });
        Self {
            name,
            publishes,
            met,
            stop,
            running: Some(running),
        }
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.met.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

/// What a client's thread shares with the story.
struct Shared {
    met: Arc<Mutex<Met>>,
    stop: Arc<AtomicBool>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn tell(&self, tell: impl FnOnce(&mut Met)) {
        tell(&mut self.met.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// It has media, after a gap if it was ended before.
    fn has_media(&self, gap: Option<Duration>) {
        self.tell(|met| {
            met.is_live = true;
            met.gaps.extend(gap);
        });
    }

    /// Waits until `is_running` says no, or the story is over.
    fn while_running(&self, mut is_running: impl FnMut() -> bool) {
        while is_running() && !self.is_over() {
            std::thread::sleep(POLL);
        }
        self.tell(|met| met.is_live = false);
    }
}

fn start_clients(plan: &Plan) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..plan.streams {
        let relayed = format!("live/s{number}");
        let shared = format!("live/shared{number}");
        // The viewers of these share a pull, from which the proxy makes HTTP-FLV.
        let flv = format!("http://{}/{shared}.flv", pods::at(pods::HTTP));
        let rtmp = |stream: &str| format!("rtmp://{}/{stream}", pods::at(pods::RTMP));
        for (stream, plays) in [(relayed.clone(), rtmp(&relayed)), (shared, flv)] {
            let encodes = rtmp(&stream);
            clients.push(encoder(stream.clone(), move || {
                Publisher::encoder(&encodes).gop(GOP).start()
            }));
            clients.push(player(stream, plays, &[]));
        }
    }
    for number in 0..plan.srt_streams {
        let stream = format!("live/d{number}");
        let url = |mode| srt_url(pods::at(pods::SRT), &format!("#!::r={stream},m={mode}"));
        let (encodes, plays) = (url("publish"), url("request"));
        clients.push(encoder(stream.clone(), move || {
            Publisher::srt(&encodes).encoding().gop(GOP).start()
        }));
        // Before it shows anything, ffmpeg looks at MPEG-TS for five seconds, unless it is told not to.
        clients.push(player(
            stream.clone(),
            plays,
            &["-analyzeduration", "300000"],
        ));
    }
    clients.extend((0..plan.lights).map(|number| light(format!("live/l{number}"))));
    clients
}

fn encoder(name: String, start: impl Fn() -> Publisher + Send + 'static) -> Client {
    let mut lost: Option<Instant> = None;
    Client::start(format!("encoder of {name}"), true, move |shared| {
        let mut publisher = start();
        if publisher.frames_before_its_end(1) {
            shared.has_media(lost.take().map(|at| at.elapsed()));
            shared.while_running(|| publisher.is_running());
            lost = Some(Instant::now());
        } else if !shared.is_over() {
            let errors = publisher.wait_end().errors;
            shared.tell(|met| met.refused.push(errors));
        }
    })
}

fn player(name: String, url: String, options: &'static [&'static str]) -> Client {
    let mut last: Option<Instant> = None;
    Client::start(format!("player of {name}"), false, move |shared| {
        let mut player = Player::open_with(&url, options);
        let mut first = None;
        while first.is_none() && player.is_running() && !shared.is_over() {
            std::thread::sleep(POLL);
            first = player.decoded().first().map(|frame| frame.at);
        }
        // A player that comes before its encoder is back may be told so by the origin, and asks again.
        let Some(first) = first else { return };
        shared.has_media(last.take().map(|last| first - last));
        shared.while_running(|| player.is_running());
        last = player.decoded().last().map(|frame| frame.at);
    })
}

fn light(name: String) -> Client {
    let mut lost: Option<Instant> = None;
    Client::start(
        format!("publisher of {name}"),
        true,
        move |shared| match Light::publish(pods::at(pods::RTMP), &name) {
            Ok(publisher) => {
                shared.has_media(lost.take().map(|at| at.elapsed()));
                shared.while_running(|| publisher.is_running());
                lost = Some(Instant::now());
            }
            Err(why) => shared.tell(|met| met.refused.push(why)),
        },
    )
}

fn wait_all_live(clients: &[Client]) {
    for client in clients {
        wait_for(&client.name, PATIENCE, || {
            client.met().is_live.then_some(())
        });
    }
}

/// Each was on an old pod. A player takes a moment to notice that its pod has gone, and counts as live until then, so that only
/// its return tells.
fn wait_all_back(clients: &[Client]) {
    for client in clients {
        wait_for(&format!("{} is back", client.name), PATIENCE, || {
            let met = client.met();
            (met.is_live && !met.gaps.is_empty()).then_some(())
        });
    }
}

/// New clients, all the time: bare RTMP connections, requests over HTTP, and publishers of streams of their own.
struct Knocking {
    stop: Arc<AtomicBool>,
    running: JoinHandle<Knocks>,
}

/// What became of them.
#[derive(Debug, Default)]
struct Knocks {
    connections: usize,
    streams: usize,
    longest: Duration,
    refused: Vec<String>,
}

impl Knocking {
    fn start() -> Self {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let running = std::thread::spawn(move || {
            let mut knocks = Knocks::default();
            let mut lights = Vec::new();
            while !stopped.load(Ordering::Acquire) {
                knocks.connect(shake_hands());
                knocks.connect(ask_for_the_version());
                if knocks.connections % 20 == 0 {
                    let name = format!("live/new{}", knocks.streams);
                    knocks.streams += 1;
                    match Light::publish(pods::at(pods::RTMP), &name) {
                        Ok(light) => lights.push(light),
                        Err(why) => knocks.refused.push(format!("{name}: {why}")),
                    }
                    // A few go on; the oldest leaves.
                    if lights.len() > 3 {
                        lights.remove(0);
                    }
                }
                std::thread::sleep(POLL);
            }
            knocks
        });
        Self { stop, running }
    }

    fn stop(self) -> Knocks {
        self.stop.store(true, Ordering::Release);
        self.running.join().expect("it knocks to the end")
    }
}

impl Knocks {
    fn connect(&mut self, outcome: Result<Duration, String>) {
        self.connections += 1;
        match outcome {
            Ok(took) => self.longest = self.longest.max(took),
            Err(why) => self.refused.push(why),
        }
    }
}

/// How long a new connection takes to the first byte of an RTMP handshake.
fn shake_hands() -> Result<Duration, String> {
    let began = Instant::now();
    let shake = || -> std::io::Result<()> {
        let mut socket = TcpStream::connect_timeout(&pods::at(pods::RTMP), ANSWER_WITHIN)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        // The version, a time of zero, and random bytes that need not be.
        socket.write_all(&[3])?;
        socket.write_all(&[0; 1536])?;
        socket.read_exact(&mut [0])
    };
    shake().map_err(|error| format!("RTMP: {error}"))?;
    Ok(began.elapsed())
}

fn ask_for_the_version() -> Result<Duration, String> {
    let began = Instant::now();
    let at = pods::at(pods::API);
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect_timeout(&at, ANSWER_WITHIN)?;
        socket.set_read_timeout(Some(ANSWER_WITHIN))?;
        write!(
            socket,
            "GET /api/v1/versions HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = ask().map_err(|error| format!("HTTP: {error}"))?;
    if answer.starts_with("HTTP/1.1 200 ") {
        Ok(began.elapsed())
    } else {
        Err(format!("HTTP: {answer}"))
    }
}

/// The figures, for people.
fn report(clients: &[Client], knocks: &Knocks, gone: &[Gone], took: Duration) {
    println!("update of {} pods: {took:.1?}", gone.len());
    println!(
        "new: {} connections and {} streams, {} refused, longest {:.0?}",
        knocks.connections,
        knocks.streams,
        knocks.refused.len(),
        knocks.longest
    );
    for gone in gone {
        let drained = drained(gone);
        let (first, last) = (drained.first().copied(), drained.last().copied());
        println!(
            "pod: {} sessions ended {:.1?} to {:.1?} after it was asked to stop, the process after {:.1?}",
            drained.len(),
            first.unwrap_or_default(),
            last.unwrap_or_default(),
            gone.took
        );
    }
    let mut gaps: Vec<(Duration, &str)> = Vec::new();
    for client in clients {
        gaps.extend(
            client
                .met()
                .gaps
                .iter()
                .map(|gap| (*gap, client.name.as_str())),
        );
    }
    gaps.sort();
    for (gap, name) in gaps.iter().filter(|(gap, _)| *gap > BACK_WITHIN / 4) {
        println!("back after {gap:.2?}: {name}");
    }
    if let (Some(middle), Some(longest)) = (gaps.get(gaps.len() / 2), gaps.last()) {
        println!(
            "back: {} times, half of them within {:.2?}, the longest after {:.2?} ({})",
            gaps.len(),
            middle.0,
            longest.0,
            longest.1
        );
    }
}

/// What is promised.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// A new connection is answered.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// `drain.pace` by default.
const PACE: Duration = Duration::from_millis(100);
/// Where there are more sessions than turns, several end in each.
const LEAST_SPREAD: Duration = Duration::from_secs(5);
/// Frames between keyframes: a player that comes back waits for the next one.
const GOP: u32 = 10;
const MESH_PORT: u16 = 12027;
const POLL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);
