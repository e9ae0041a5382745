//! The mesh as a store: two parts of a mesh run through the contract, and tests of what only a mesh does.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use sluicegate::store::{Change, Mesh, MeshOptions, Store};
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::contract;
use crate::machine::free_port;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_a_mesh_keeps_the_contract_and_the_others_follow() {
    let [a, b] = enter(["", ""]).await;
    contract::check(&a, "srs-proxy-url:").await;
    for key in ["claimed", "table:7"] {
        let key = format!("srs-proxy-url:{key}");
        let value = a.get(&key).await.unwrap();
        assert!(value.is_some());
        until("the other part", async || {
            b.get(&key).await.unwrap() == value
        })
        .await;
    }
    until("a large table", async || {
        b.list("srs-proxy-url:table:").await.unwrap().len() == contract::MANY - 1
    })
    .await;
    contract::check(&b, "srs-proxy-rtc:").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_that_race_through_two_parts_end_at_one_value() {
    let [a, b] = enter(["", ""]).await;
    let keys: Vec<String> = (0..200).map(|key| format!("srs-proxy-url:{key}")).collect();
    let claims = keys.iter().flat_map(|key| {
        [
            a.claim(key, None, "a's", LONG),
            b.claim(key, None, "b's", LONG),
        ]
    });
    join_all(claims).await;
    for key in &keys {
        until("one value", async || {
            let (a, b) = (a.get(key).await.unwrap(), b.get(key).await.unwrap());
            a.is_some() && a == b
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_part_does_is_heard_of() {
    let [a, b] = enter(["", ""]).await;
    let mut changes = a.changes();
    let key = "srs-proxy-url:live/b";
    b.put("unwatched:x", "1", LONG).await.unwrap();
    b.put(key, "one", LONG).await.unwrap();
    assert_eq!(next_key(&mut changes).await, key);
    assert_eq!(a.get(key).await.unwrap().as_deref(), Some("one"));
    // Either may end it, or set it to another value.
    a.put(key, "two", LONG).await.unwrap();
    until("the newer value", async || {
        b.get(key).await.unwrap().as_deref() == Some("two")
    })
    .await;
    b.remove(key, "two").await.unwrap();
    assert_eq!(next_key(&mut changes).await, key);
    assert_eq!(a.get(key).await.unwrap(), None);
    b.put(key, "short", Duration::from_millis(700))
        .await
        .unwrap();
    until("it", async || a.get(key).await.unwrap().is_some()).await;
    until("its end", async || a.get(key).await.unwrap().is_none()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_later_knows_all_and_who_leaves_is_missed_soon() {
    let [a, b] = enter(["", ""]).await;
    for row in 0..2_000 {
        a.put(&format!("sluicegate-x:{row}"), "from a", LONG)
            .await
            .unwrap();
    }
    b.put("sluicegate-x:b", "from b", Duration::from_secs(10))
        .await
        .unwrap();
    let at = b.address();
    let late = Mesh::open(options(free_port(), vec![at], "")).unwrap();
    until("all of it", async || {
        late.list("sluicegate-x:").await.unwrap().len() == 2_001
    })
    .await;
    until("both others", async || late.figures().alive == 2).await;

    drop(b);
    until("b's silence", async || {
        a.figures().silent == 1 && late.figures().silent == 1
    })
    .await;
    assert!(
        a.get("sluicegate-x:b").await.unwrap().is_some(),
        "what it said is believed for longer than that"
    );
    until("the end of what b said", async || {
        a.get("sluicegate-x:b").await.unwrap().is_none()
            && late.get("sluicegate-x:b").await.unwrap().is_none()
    })
    .await;
}

/// Gossip tells a new proxy everything in order. News travels ahead of that, whichever proxy makes the claim.
#[tokio::test(flavor = "multi_thread", worker_threads = 6)]
async fn new_claims_are_known_while_a_newcomer_hears_of_twenty_thousand_streams() {
    let [a, b] = enter(["", ""]).await;
    let value = "srs-proxy-server:vid-0l5xp0s-8m2j1x7k-4711";
    for stream in 0..STREAMS {
        let key = format!("srs-proxy-url:__defaultVhost__/live/{stream}");
        assert!(a.claim(&key, None, value, LONG * 60).await.unwrap().won);
    }
    until("all of them", async || b.figures().rows >= STREAMS).await;

    let began = Instant::now();
    let late = Mesh::open(options(free_port(), vec![a.address(), b.address()], "")).unwrap();
    until("each other", async || {
        [&a, &b, &late].iter().all(|part| part.figures().alive == 2)
    })
    .await;
    println!("heard after {:?}", began.elapsed());
    let parts = [&a, &b, &late];
    let mut before_all_was_told = 0;
    let mut longest = Duration::ZERO;
    for (number, by) in parts.iter().cycle().enumerate() {
        let filled = late.figures().rows >= STREAMS + number;
        if number >= 3 && filled {
            break;
        }
        let claimed = Instant::now();
        let key = format!("srs-proxy-url:__defaultVhost__/live/new-{number}");
        assert!(by.claim(&key, None, value, LONG).await.unwrap().won);
        for part in &parts {
            until("the new one", async || {
                part.get(&key).await.unwrap().is_some()
            })
            .await;
        }
        longest = longest.max(claimed.elapsed());
        before_all_was_told += usize::from(late.figures().rows < STREAMS);
    }
    println!("{before_all_was_told} new ones before all was told, each in {longest:?} at most");
    until("all of them", async || late.figures().rows >= STREAMS).await;
    println!("{STREAMS} rows took {:?}", began.elapsed());
    assert!(longest < NEW, "{longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_key_is_not_let_in() {
    let [a, b] = enter(["right", "right"]).await;
    let stranger = Mesh::open(options(free_port(), vec![a.address()], "wrong")).unwrap();
    stranger
        .put("srs-proxy-url:x", "theirs", LONG)
        .await
        .unwrap();
    let junk = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    junk.send_to(b"\x01junk", a.address()).await.unwrap();
    until("refusals", async || a.figures().refused > 2).await;
    assert_eq!(stranger.figures().alive, 0);
    assert!(!stranger.is_reachable());
    assert_eq!((a.figures().alive, b.figures().alive), (1, 1));
    assert_eq!(a.get("srs-proxy-url:x").await.unwrap(), None);
    let mut answer = [0; 10];
    let answered = timeout(Duration::from_millis(300), junk.recv(&mut answer)).await;
    assert!(answered.is_err(), "a stranger gets no answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_recorded_is_not_believed() {
    // What b sends to a passes here, and arrives twice.
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = relay.local_addr().unwrap();
    let (a_port, b_port) = (free_port(), free_port());
    let mut a_options = options(a_port, vec![], "");
    a_options.advertise = at;
    let a = Mesh::open(a_options).unwrap();
    let b = Mesh::open(options(b_port, vec![at], "")).unwrap();
    let to = SocketAddr::from(([127, 0, 0, 1], a_port));
    tokio::spawn(async move {
        let mut datagram = [0; 2_048];
        loop {
            let (length, _) = relay.recv_from(&mut datagram).await.unwrap();
            for _ in 0..2 {
                relay.send_to(&datagram[..length], to).await.unwrap();
            }
        }
    });
    until("each other", async || {
        a.figures().alive == 1 && b.figures().alive == 1
    })
    .await;
    b.put("srs-proxy-url:x", "1", LONG).await.unwrap();
    until("it", async || {
        a.get("srs-proxy-url:x").await.unwrap().is_some()
    })
    .await;
    assert!(a.figures().refused > 0, "the second of each");
    assert_eq!(b.figures().refused, 0);
}

/// Parts of one mesh on loopback that hear each other.
pub(crate) async fn enter<const N: usize>(keys: [&str; N]) -> [Mesh; N] {
    let ports = keys.map(|_| free_port());
    let seeds: Vec<SocketAddr> = ports
        .iter()
        .map(|port| ([127, 0, 0, 1], *port).into())
        .collect();
    let mut parts = Vec::new();
    for (port, key) in ports.into_iter().zip(keys) {
        parts.push(Mesh::open(options(port, seeds.clone(), key)).expect("a free port"));
    }
    for part in &parts {
        until("each other", async || {
            part.figures().alive == N - 1 && part.is_reachable()
        })
        .await;
    }
    parts.try_into().expect("as many as keys")
}

pub(crate) fn options(port: u16, seeds: Vec<SocketAddr>, key: &str) -> MeshOptions {
    let listen = SocketAddr::from(([127, 0, 0, 1], port));
    MeshOptions {
        listen,
        advertise: listen,
        seeds: seeds.iter().map(ToString::to_string).collect(),
        keys: vec![key.as_bytes().to_vec()],
        watched: vec!["srs-proxy-url:".to_owned()],
    }
}

async fn next_key(changes: &mut tokio::sync::broadcast::Receiver<Change>) -> String {
    loop {
        match timeout(LONG, changes.recv()).await.unwrap().unwrap() {
            Change::Key(key) => return key,
            Change::Anything => {}
        }
    }
}

async fn until(what: &str, mut come: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !come().await {
        assert!(began.elapsed() < LONG * 2, "{what} did not come");
        sleep(Duration::from_millis(10)).await;
    }
}

const LONG: Duration = Duration::from_secs(60);
const STREAMS: usize = 20_000;
/// How long a claim may take to be known everywhere, in a test build on a busy machine.
const NEW: Duration = Duration::from_secs(5);
