//! Whole proxies in a mesh: in this process, with a network between them that can be cut, and as programs of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::{Value, json};
use sluicegate_core::cluster::mesh::SILENCE;
use sluicegate_core::stream::Action;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::house::{Guest, House, Manner, Stub, get, until};
use crate::machine::free_port;
use crate::proxy::Proxy;
use crate::wait_for;

/// The network between proxies: each is reached through a relay of its own, which can drop packets.
struct Air {
    /// For each proxy, its address, and the address at which the others reach it.
    places: Vec<(SocketAddr, SocketAddr)>,
    /// The pairs of sender and receiver between which nothing passes.
    cut: Arc<Mutex<BTreeSet<(usize, usize)>>>,
    relays: Vec<JoinHandle<()>>,
}

impl Air {
    async fn between(proxies: usize) -> Self {
        let cut = Arc::new(Mutex::new(BTreeSet::new()));
        let mut fronts = Vec::new();
        let mut places = Vec::new();
        for _ in 0..proxies {
            let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let listens = SocketAddr::from(([127, 0, 0, 1], free_port()));
            places.push((listens, front.local_addr().unwrap()));
            fronts.push(front);
        }
        let relays = fronts.into_iter().enumerate().map(|(number, front)| {
            let (places, cut) = (places.clone(), Arc::clone(&cut));
            tokio::spawn(async move {
                let mut datagram = [0; 2_048];
                while let Ok((length, from)) = front.recv_from(&mut datagram).await {
                    let sender = places.iter().position(|(listens, _)| *listens == from);
                    let way = (sender.expect("one of them"), number);
                    let passes = !cut.lock().unwrap().contains(&way);
                    if passes {
                        let _ = front.send_to(&datagram[..length], places[number].0).await;
                    }
                }
            })
        });
        let relays = relays.collect();
        Self {
            places,
            cut,
            relays,
        }
    }

    /// Cuts these paths, each from one proxy to another.
    fn cut(&self, ways: impl IntoIterator<Item = (usize, usize)>) {
        self.cut.lock().unwrap().extend(ways);
    }

    fn heal(&self) {
        self.cut.lock().unwrap().clear();
    }

    /// Starts the proxy at a place.
    async fn enter(&self, place: usize) -> House {
        let (listens, reached) = self.places[place];
        let seeds: Vec<String> = self.places.iter().map(|(_, at)| at.to_string()).collect();
        House::open(&format!(
            "[store]\ntype = \"mesh\"\n[cluster]\nkey = \"of this test\"\n\
             [mesh]\nlisten = \"{listens}\"\nadvertise = \"{reached}\"\nseeds = {seeds:?}\n"
        ))
        .await
    }
}

impl Drop for Air {
    fn drop(&mut self) {
        for relay in &self.relays {
            relay.abort();
        }
    }
}

fn reached(house: &House) -> bool {
    house.proxy.cluster().expect("it has a mesh").is_reachable()
}

fn knows(house: &House, origins: usize) -> bool {
    house.proxy.registry().origins().len() == origins
}

fn asked(origins: &[Stub], stream: &str) -> BTreeSet<usize> {
    let asked = |stub: &Stub| {
        let seen = stub.seen.lock().unwrap();
        seen.requests.iter().any(|request| request.name == stream)
    };
    (0..origins.len())
        .filter(|origin| asked(&origins[*origin]))
        .collect()
}

/// Everything that the proxies of the mesh have told each other.
fn rows(house: &House) -> Option<String> {
    let metrics = house.proxy.metrics().render();
    let mut lines = metrics.lines();
    lines.find_map(|line| Some(line.strip_prefix("sluicegate_mesh_rows ")?.to_owned()))
}

fn conflicts(house: &House) -> u64 {
    house.proxy.metrics().claim_conflicts.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn any_proxy_serves_any_stream_and_one_that_comes_later_knows_them() {
    let air = Air::between(3).await;
    let (a, b) = (air.enter(0).await, air.enter(1).await);
    for house in [&a, &b] {
        until("the other proxy", || reached(house)).await;
    }
    let mut origins = Vec::new();
    for number in 0..4 {
        let origin = Stub::start(Manner::Grants).await;
        a.register(&format!("origin-{number}"), origin.at);
        origins.push(origin);
    }
    until("the other proxy's origins", || knows(&b, 4)).await;
    // The first publishers come to both at the same time.
    let asking = (0..100).map(|client| {
        let at = if client % 2 == 0 {
            a.at.rtmp
        } else {
            b.at.rtmp
        };
        let stream = format!("live/{}", client / 2);
        tokio::spawn(async move { Guest::ask(at, Action::Publish, &stream, Vec::new()).await })
    });
    let publishers: Vec<Guest> = join_all(asking)
        .await
        .into_iter()
        .map(|guest| guest.expect("a guest"))
        .collect();
    assert!(publishers.iter().all(Guest::has_started));
    for stream in 0..50 {
        let asked = asked(&origins, &stream.to_string());
        assert_eq!(asked.len(), 1, "live/{stream}: {asked:?}");
    }

    let c = air.enter(2).await;
    until("what the others know", || knows(&c, 4)).await;
    let viewer = c.ask(Action::Play, "live/7").await;
    assert!(viewer.has_started(), "{:?}", viewer.status);
    assert_eq!(c.origin_of("live/7"), a.origin_of("live/7"));
    assert_eq!(asked(&origins, "7").len(), 1);
    assert_eq!(conflicts(&a) + conflicts(&b) + conflicts(&c), 0);
    let (_, document) = get(c.at.system, "/readyz").await;
    assert!(document.contains(r#""store":"ok""#), "{document}");
    until("the figures", || {
        let metrics = c.proxy.metrics().render();
        metrics.contains("sluicegate_mesh_proxies{state=\"heard\"} 2")
            && metrics.contains("sluicegate_store_up{store=\"mesh\"} 1")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_published_on_both_sides_of_a_partition_ends_at_one_origin() {
    let air = Air::between(2).await;
    let (a, b) = (air.enter(0).await, air.enter(1).await);
    for house in [&a, &b] {
        until("the other proxy", || reached(house)).await;
    }
    air.cut([(0, 1), (1, 0)]);
    for house in [&a, &b] {
        until("the silence", || !reached(house)).await;
    }
    let (_, document) = get(a.at.system, "/readyz").await;
    assert!(document.contains(r#""store":"degraded""#), "{document}");
    // Each side has an origin that the other does not know; otherwise both would choose the same.
    let origins = [
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    ];
    a.register("origin-a", origins[0].at);
    b.register("origin-b", origins[1].at);
    let _first = a.ask(Action::Publish, "live/both").await;
    let mut second = b.ask(Action::Publish, "live/both").await;
    let mut viewer = b.ask(Action::Play, "live/both").await;
    let _other = b.ask(Action::Publish, "live/only-b").await;
    assert!(second.has_started() && viewer.has_started());
    assert_eq!(b.origin_of("live/both").as_deref(), Some("origin-b"));

    air.heal();
    let healed = Instant::now();
    second.read_to_end().await;
    viewer.read_to_end().await;
    // The promise is five seconds, which the simulation checks; a busy machine may take twice that.
    assert!(
        healed.elapsed() < FIVE_SECONDS * 2,
        "{:?}",
        healed.elapsed()
    );
    println!("healed within {:?}", healed.elapsed());
    assert_eq!(conflicts(&b), 1);
    // The older claim wins, and the client that was ended comes back to it.
    let again = b.ask(Action::Publish, "live/both").await;
    assert!(again.has_started(), "{:?}", again.status);
    for house in [&a, &b] {
        assert_eq!(house.origin_of("live/both").as_deref(), Some("origin-a"));
        until("the other proxy", || reached(house)).await;
    }
    assert_eq!(asked(&origins, "both"), BTreeSet::from([0, 1]));
    assert_eq!(conflicts(&a), 0);
    assert_eq!(a.proxy.sessions().len(), 1, "nobody else was cut");
    b.until_sessions(2).await;
    let viewer = a.ask(Action::Play, "live/only-b").await;
    assert!(viewer.has_started());
    assert_eq!(a.origin_of("live/only-b").as_deref(), Some("origin-b"));
}

/// First two of three proxies cannot reach each other, then only one of the two hears the other. What one says reaches
/// the other through the third, so neither misses the other and no stream is placed twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_two_cannot_tell_each_other_comes_by_way_of_a_third() {
    let air = Air::between(3).await;
    let houses = [air.enter(0).await, air.enter(1).await, air.enter(2).await];
    let heard = |others: usize| {
        let figure = format!("sluicegate_mesh_proxies{{state=\"heard\"}} {others}");
        houses
            .iter()
            .all(|house| house.proxy.metrics().render().contains(&figure))
    };
    until("the others", || heard(2)).await;
    let mut origins = Vec::new();
    for (cuts, ways) in [
        ("both ways", vec![(0, 1), (1, 0)]),
        ("one way", vec![(0, 1)]),
        ("the other way", vec![(1, 0)]),
    ] {
        air.cut(ways);
        // An origin that reports to one of the proxies, and a stream on it that is requested from the others.
        let name = format!("origin-{}", origins.len());
        let known = origins.len() + 1;
        let origin = Stub::start(Manner::Grants).await;
        houses[0].register(&name, origin.at);
        origins.push(origin);
        let told = Instant::now();
        until("its origin", || {
            houses.iter().all(|house| knows(house, known))
        })
        .await;
        assert!(
            told.elapsed() < FIVE_SECONDS,
            "{cuts}: {:?}",
            told.elapsed()
        );
        let stream = format!("live/{known}");
        let publisher = houses[1].ask(Action::Publish, &stream).await;
        assert!(publisher.has_started(), "{cuts}: {:?}", publisher.status);
        let claimed = Instant::now();
        until("the claim", || {
            let [a, b, c] = houses.each_ref().map(rows);
            a == b && b == c
        })
        .await;
        assert!(
            claimed.elapsed() < FIVE_SECONDS,
            "{cuts}: {:?}",
            claimed.elapsed()
        );
        let player = houses[0].ask(Action::Play, &stream).await;
        assert!(player.has_started(), "{cuts}: {:?}", player.status);
        assert_eq!(asked(&origins, &known.to_string()).len(), 1, "{cuts}");
        // Long enough for a silence to show.
        let quiet = Instant::now();
        while quiet.elapsed() < SILENCE + SILENCE / 2 {
            assert!(heard(2), "{cuts}: somebody is missed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        air.heal();
    }
    assert!(houses.iter().all(|house| conflicts(house) == 0));
}

/// Programs in a mesh on loopback.
struct Fleet {
    ports: Vec<u16>,
    proxies: BTreeMap<usize, Proxy>,
}

impl Fleet {
    fn of(proxies: usize) -> Self {
        let ports = (0..proxies).map(|_| free_port()).collect();
        let mut fleet = Self {
            ports,
            proxies: BTreeMap::new(),
        };
        for number in 0..proxies {
            fleet.start(number, r#""fleet""#);
        }
        for number in 0..proxies {
            fleet.wait_heard(number, proxies - 1);
        }
        fleet
    }

    /// `key` in the form of the settings file.
    fn start(&mut self, number: usize, key: &str) {
        let proxy = Proxy::start(&fleet_settings(&self.ports, self.ports[number], key));
        self.proxies.insert(number, proxy);
    }

    fn wait_heard(&self, number: usize, others: usize) {
        wait_for("the others", LONG, || {
            (self.figure(number, "proxies{state=\"heard\"}") == others).then_some(())
        });
    }

    fn wait_silent(&self, number: usize, others: usize) {
        wait_for("the silence", LONG, || {
            (self.figure(number, "proxies{state=\"silent\"}") == others).then_some(())
        });
    }

    fn figure(&self, number: usize, name: &str) -> usize {
        let metrics = self[number].system("GET", "/metrics").text();
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(&format!("sluicegate_mesh_{name} ")));
        line.map_or(0, |value| value.parse().expect("a number"))
    }
}

impl std::ops::Index<usize> for Fleet {
    type Output = Proxy;

    fn index(&self, number: usize) -> &Proxy {
        &self.proxies[&number]
    }
}

fn fleet_settings(seeds: &[u16], port: u16, key: &str) -> String {
    let seeds: Vec<String> = seeds
        .iter()
        .map(|port| format!("localhost:{port}"))
        .collect();
    format!(
        "store.type = \"mesh\"\ncluster.key = {key}\nmesh.listen = \"127.0.0.1:{port}\"\nmesh.seeds = {seeds:?}\n"
    )
}

fn registration(name: &str, origin: &Stub) -> Value {
    json!({"ip": "127.0.0.1", "server": name, "service": "s", "pid": "1", "rtmp": [origin.at.port().to_string()]})
}

/// A log message about anything that a pause of a second or more could break.
const ENDED: &str = "another proxy placed the stream elsewhere; sessions that were not there are ended, so that they come back to it";

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_that_is_paused_loses_no_session_and_costs_none() {
    let fleet = Fleet::of(3);
    let origins = [
        Stub::start(Manner::Streams(500)).await,
        Stub::start(Manner::Streams(500)).await,
    ];
    fleet[0].register(&registration("one", &origins[0]));
    fleet[1].register(&registration("two", &origins[1]));
    for number in 0..3 {
        fleet[number].wait_origin("one");
        fleet[number].wait_origin("two");
    }
    let mut guests = Vec::new();
    for number in 0..3 {
        let rtmp = fleet[number].rtmp;
        for stream in ["live/a", "live/b", &format!("live/only-{number}")] {
            let guest = Guest::ask(rtmp, Action::Play, stream, Vec::new()).await;
            assert!(guest.has_started(), "{:?}", guest.status);
            guests.push(guest);
        }
    }
    let paused = Instant::now();
    fleet[2].freeze();
    fleet.wait_silent(0, 1);
    // Longer than it takes to be missed, also from the proxy's own side.
    tokio::time::sleep(Duration::from_secs(4).saturating_sub(paused.elapsed())).await;
    fleet[2].thaw();
    for number in 0..3 {
        fleet.wait_heard(number, 2);
    }
    for guest in &mut guests {
        let before = guest.media.len();
        let goes_on = guest
            .read_until(|guest| guest.media.len() > before + 20)
            .await;
        assert!(goes_on, "a session was ended");
    }
    for number in 0..3 {
        assert!(fleet[number].log(ENDED).is_empty());
        let own = fleet[number].api("/api/v1/sessions?scope=local");
        assert_eq!(own["data"]["sessions"].as_array().map(Vec::len), Some(3));
    }
    assert!(
        fleet[2]
            .log("another proxy of the mesh is silent; what it claimed holds for a while")
            .is_empty(),
        "the silence was its own"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_leaves_and_comes_back_and_a_stranger_does_not() {
    let mut fleet = Fleet::of(3);
    let mut origins = Vec::new();
    for number in 0..4 {
        let origin = Stub::start(Manner::Grants).await;
        fleet[2].register(&registration(&format!("origin-{number}"), &origin));
        origins.push(origin);
    }
    for number in 0..4 {
        fleet[0].wait_origin(&format!("origin-{number}"));
    }
    let mut publishers = Vec::new();
    for stream in 0..20 {
        let stream = format!("live/{stream}");
        publishers.push(Guest::ask(fleet[2].rtmp, Action::Publish, &stream, Vec::new()).await);
    }
    assert!(publishers.iter().all(Guest::has_started));
    // The proxy ends without a goodbye, and its sessions end with it; the encoders come back through another one.
    fleet.proxies.remove(&2);
    fleet.wait_silent(0, 1);
    for stream in 0..20 {
        let stream = format!("live/{stream}");
        let guest = Guest::ask(
            fleet[stream.len() % 2].rtmp,
            Action::Publish,
            &stream,
            Vec::new(),
        )
        .await;
        assert!(guest.has_started(), "{:?}", guest.status);
        publishers.push(guest);
    }
    fleet.start(2, r#""fleet""#);
    fleet.wait_heard(2, 2);
    for number in 0..4 {
        fleet[2].wait_origin(&format!("origin-{number}"));
    }
    for stream in 0..20 {
        let guest = Guest::ask(
            fleet[2].rtmp,
            Action::Play,
            &format!("live/{stream}"),
            Vec::new(),
        )
        .await;
        assert!(guest.has_started(), "{:?}", guest.status);
        let asked = asked(&origins, &stream.to_string());
        assert_eq!(asked.len(), 1, "live/{stream}: {asked:?}");
    }

    let stranger = Proxy::start(&fleet_settings(
        &fleet.ports,
        free_port(),
        r#""another key""#,
    ));
    wait_for("refusals", LONG, || {
        (fleet.figure(0, "refused_total") > 2).then_some(())
    });
    assert_eq!(fleet[0].log(REFUSED).len(), 1, "once");
    assert!(stranger.origins().is_empty());
    assert!(stranger.api("/readyz").to_string().contains("degraded"));
    fleet.wait_heard(0, 2);
}

/// The steps of a key change, with one proxy a step ahead of another at each.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_key_goes_through_the_fleet_proxy_by_proxy() {
    let mut fleet = Fleet {
        ports: vec![free_port(), free_port()],
        proxies: BTreeMap::new(),
    };
    let origin = Stub::start(Manner::Grants).await;
    let (old, old_new) = (r#""the-old-one""#, r#"["the-old-one", "the-new-one"]"#);
    let (new_old, new) = (r#"["the-new-one", "the-old-one"]"#, r#""the-new-one""#);
    fleet.start(0, old);
    fleet[0].register(&registration("one", &origin));
    for (step, (restarted, key)) in [
        (1, old_new),
        (0, old_new),
        (1, new_old),
        (0, new_old),
        (1, new),
        (0, new),
    ]
    .into_iter()
    .enumerate()
    {
        fleet.proxies.remove(&restarted);
        fleet.start(restarted, key);
        let other = 1 - restarted;
        fleet.wait_heard(restarted, 1);
        fleet.wait_heard(other, 1);
        fleet[restarted].wait_origin("one");
        // They answer as one, which needs the key too.
        let name = format!("live/{step}");
        let guest = Guest::ask(fleet[restarted].rtmp, Action::Publish, &name, Vec::new()).await;
        assert!(guest.has_started(), "{:?}", guest.status);
        wait_for("its session", LONG, || {
            let sessions = fleet[other].api("/api/v1/sessions?scope=cluster");
            let listed = sessions["data"]["sessions"].as_array().map(Vec::len);
            (listed == Some(1)).then_some(())
        });
        for number in [0, 1] {
            let refused = fleet.figure(number, "refused_total");
            assert_eq!(refused, 0, "step {step}");
            assert!(fleet[number].log(REFUSED).is_empty());
        }
    }
    // A proxy that was left out has only the old key.
    let forgotten = Proxy::start(&fleet_settings(&fleet.ports, free_port(), old));
    wait_for("refusals", LONG, || {
        (fleet.figure(0, "refused_total") > 2).then_some(())
    });
    assert_eq!(fleet[0].log(REFUSED).len(), 1, "once");
    assert!(forgotten.origins().is_empty());
    assert!(forgotten.api("/readyz").to_string().contains("degraded"));
    fleet.wait_heard(0, 1);
    for proxy in fleet.proxies.values().chain([&forgotten]) {
        assert!(!proxy.output().contains("the-old-one"), "a key in the log");
        assert!(!proxy.output().contains("the-new-one"), "a key in the log");
    }
}

const REFUSED: &str = "a datagram to mesh.listen was refused; if this is one of our proxies, it has another cluster.key or version. \
                       More of them are counted in sluicegate_mesh_refused_total, and not told of for an hour";
/// Ten times what a mesh takes to notice, and to agree: the machine has other work.
const LONG: Duration = Duration::from_secs(20);
const FIVE_SECONDS: Duration = Duration::from_secs(5);
