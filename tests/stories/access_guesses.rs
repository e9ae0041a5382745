//! Many who guess at once, from many addresses, while others watch: nobody who watches notices, and no origin hears of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sluicegate_core::access::keys::line;
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_util::sync::CancellationToken;

use crate::access_hooks::{Backend, Manners};
use crate::house::{Guest, Manner, Stub};
use crate::sources::open;

/// How much of it there is.
struct Scale {
    players: usize,
    addresses: usize,
    guesses: usize,
    /// Guesses under way at once: where it is more than may wait for a late answer, the rest is answered at once.
    at_once: usize,
    /// The longest that a player may see nothing; a picture comes every 50 ms.
    gap: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_from_many_addresses_stall_nobody() {
    guess(Scale {
        players: 10,
        addresses: 100,
        guesses: 1_000,
        at_once: 200,
        // Other tests keep this machine busy.
        gap: Duration::from_secs(5),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a minute of full load: scripts/long access"]
async fn long_access_guesses_from_a_thousand_addresses_stall_nobody() {
    guess(Scale {
        players: 200,
        addresses: 1_000,
        guesses: 100_000,
        at_once: 1_500,
        gap: Duration::from_secs(1),
    })
    .await;
}

async fn guess(scale: Scale) {
    let folder = tempfile::tempdir().expect("a folder");
    let key = line("viewer", b"salt", "the-key");
    let lists = format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{key}\"]\n[[access]]\nall = [\"keys\"]\n"
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    let origin = Stub::start(Manner::Streams(512)).await;
    house.register("origin", origin.at);
    let stop = CancellationToken::new();
    let mut players = Vec::new();
    for _ in 0..scale.players {
        let player = house.ask(Action::Play, "live/a?key=the-key").await;
        assert!(player.has_started(), "{}", player.code());
        players.push(tokio::spawn(longest_gap(player, stop.clone())));
    }
    let dialled = origin.connections();
    assert_eq!(dialled, scale.players);

    let next = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let guessers: Vec<_> = (0..scale.at_once)
        .map(|_| {
            let (next, http) = (Arc::clone(&next), house.at.http);
            let (guesses, addresses) = (scale.guesses, scale.addresses);
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= guesses {
                        return;
                    }
                    let status = guess_once(http, number, addresses).await;
                    assert_eq!(status, "401", "guess {number}");
                }
            })
        })
        .collect();
    for guesser in guessers {
        guesser.await.expect("every guess is refused");
    }
    let took = began.elapsed();
    stop.cancel();
    let mut longest = Duration::ZERO;
    for player in players {
        longest = longest.max(player.await.expect("a player that went on"));
    }
    println!(
        "{} guesses in {took:?}, {:.0} a second; the longest gap of {} players: {longest:?}",
        scale.guesses,
        scale.guesses as f64 / took.as_secs_f64(),
        scale.players
    );
    assert!(longest <= scale.gap, "a player saw nothing for {longest:?}");
    assert_eq!(origin.connections(), dialled, "no guess reached an origin");
    let player = house.ask(Action::Play, "live/a?key=the-key").await;
    assert!(player.has_started(), "{}", player.code());
}

/// How much of bad days of a backend there is.
struct Days {
    players: usize,
    /// Clients that ask while the backend is as it is.
    asks: usize,
    /// Of them, how many ask at once.
    at_once: usize,
    gap: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_on_its_bad_days_stalls_nobody_who_watches() {
    bad_days(Days {
        players: 10,
        asks: 60,
        at_once: 20,
        gap: Duration::from_secs(5),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes of full load: scripts/long access"]
async fn long_access_backends_on_their_bad_days_stall_nobody() {
    bad_days(Days {
        players: 200,
        asks: 20_000,
        at_once: 1_500,
        gap: Duration::from_secs(1),
    })
    .await;
}

/// Players watch while others ask, about whom a backend is asked that is silent, slow, comes and goes, answers nonsense, or
/// without end.
async fn bad_days(days: Days) {
    let folder = tempfile::tempdir().expect("a folder");
    let yes = Manners::answers(200, r#"{"allow":true}"#);
    let backend = Backend::start(yes.clone()).await;
    let lists = format!(
        "[[check]]\nname = \"backend\"\nkind = \"hook\"\nshape = \"sluicegate\"\non_play = \"http://{}/\"\ntimeout = 1\n\
         [[access]]\nall = [\"backend\"]\n",
        backend.at
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    let origin = Stub::start(Manner::Streams(512)).await;
    house.register("origin", origin.at);
    let stop = CancellationToken::new();
    let mut players = Vec::new();
    for _ in 0..days.players {
        let player = house.ask(Action::Play, "live/a?key=mine").await;
        assert!(player.has_started(), "{}", player.code());
        players.push(tokio::spawn(longest_gap(player, stop.clone())));
    }
    let dialled = origin.connections();
    let before = resident_kib();
    let never = CancellationToken::new();
    let no = Manners::answers(200, r#"{"allow":false}"#);
    let kinds = [
        ("silent", Manners::Waits(never, Box::new(no.clone()))),
        (
            "slow",
            Manners::Slow(Duration::from_millis(300), Box::new(no.clone())),
        ),
        ("garbage", Manners::answers(200, "<html>")),
        ("broken", Manners::answers(502, "")),
        ("endless", Manners::Floods),
        (
            "a yes and nonsense by turns",
            Manners::Turns(Box::new(no.clone()), Box::new(Manners::answers(200, "{"))),
        ),
        ("a no", no),
    ];
    for (cause, manners) in kinds {
        backend.becomes(manners);
        let began = Instant::now();
        let next = Arc::new(AtomicUsize::new(0));
        let asking: Vec<_> = (0..days.at_once)
            .map(|_| {
                let (next, http, asks) = (Arc::clone(&next), house.at.http, days.asks);
                tokio::spawn(async move {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= asks {
                            return;
                        }
                        let status = guess_once(http, number, 1_000).await;
                        assert!(["403", "503"].contains(&&*status), "{status}");
                    }
                })
            })
            .collect();
        for one in asking {
            one.await.expect("everybody is answered");
        }
        println!("{cause}: {} asked in {:?}", days.asks, began.elapsed());
    }
    let grown = resident_kib().saturating_sub(before);
    stop.cancel();
    let mut longest = Duration::ZERO;
    for player in players {
        longest = longest.max(player.await.expect("a player that went on"));
    }
    println!(
        "the longest gap of {} players: {longest:?}; {grown} KiB more",
        days.players
    );
    assert!(longest <= days.gap, "a player saw nothing for {longest:?}");
    assert_eq!(
        origin.connections(),
        dialled,
        "nobody else reached an origin"
    );
    assert!(grown < 256 * 1024, "{grown} KiB more");
}

/// KiB of this process in memory.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    number.expect("a number")
}

/// Plays until it is told to stop, and says for how long it saw nothing at worst.
async fn longest_gap(mut player: Guest, stop: CancellationToken) -> Duration {
    let (mut longest, mut last) = (Duration::ZERO, Instant::now());
    loop {
        let went_on = tokio::select! {
            went_on = player.step() => went_on,
            () = stop.cancelled() => return longest.max(last.elapsed()),
        };
        assert!(went_on, "the player was ended");
        if !player.media.is_empty() {
            player.media.clear();
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
}

/// Shows a wrong key from one of `addresses` addresses of loopback, and returns the status.
async fn guess_once(http: SocketAddr, number: usize, addresses: usize) -> String {
    let place = u32::try_from(number % addresses).expect("a few") + 1;
    let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 2, 0, 0).to_bits() + place);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::new(IpAddr::V4(address), 0))
        .expect("an address of loopback");
    let mut stream = socket.connect(http).await.expect("it listens");
    let request = format!(
        "GET /live/a.flv?key=guess-{number} HTTP/1.1\r\nHost: h.example\r\nConnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = Vec::new();
    // Some of the answer may be lost to the end of the connection, and never its head.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}
