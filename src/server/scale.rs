//! The system API and the console over 10,000 streams and 100,000 sessions that nobody carries: `scripts/long console`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::{AddressRules, OriginId, parse_registration};
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use super::Server;
use crate::config::{Environment, Settings};
use crate::proxy::Proxy;
use crate::sessions::{Direction, Request};

/// A proxy with its sessions, until it is dropped.
struct Crowd {
    at: SocketAddr,
    stop: CancellationToken,
    /// For how many microseconds the thread that accepts connections was busy with other things in one go, at most, since this was
    /// taken last.
    held: Arc<AtomicU64>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn request(number: u32) -> Request {
    let stream = StreamUrl::new("", "live", &format!("cam-{}", number / 10));
    Request {
        action: match number % 10 {
            0 => Action::Publish,
            _ => Action::Play,
        },
        protocol: Protocol::Rtmp,
        client: SocketAddr::from((Ipv4Addr::from(number + 0x0a00_0000), 5000)).into(),
        by_way_of: None,
        bond: None,
        credentials: None,
        stream: stream.expect("a stream"),
    }
}

async fn crowd() -> Crowd {
    let file = tempfile::Builder::new().suffix(".toml").tempfile();
    let file = file.expect("a file");
    let listen = ["rtmp", "http", "api", "system", "rtsp", "srt", "rtc"]
        .map(|listener| format!("[{listener}]\nlisten = \"127.0.0.1:0\"\n"));
    let settings = format!("session.max = {}\n{}", 2 * SESSIONS, listen.concat());
    std::fs::write(file.path(), settings).expect("a file");
    let loaded = Settings::load(Some(file.path()), &Environment::new([], ""));
    let server = Server::bind(loaded.expect("valid settings").settings).expect("free ports");
    let at = server.addresses().system.expect("it listens");
    let proxy = server.proxy().clone();
    let stop = CancellationToken::new();
    let held = Arc::<AtomicU64>::default();
    let (token, pulse) = (stop.clone(), Arc::clone(&held));
    // As in the program: one thread for all but connections.
    std::thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            tokio::spawn(note_held(pulse));
            server.serve(token).await;
        });
    });
    for origin in 0..ORIGINS {
        let body = format!(
            r#"{{"ip":"127.0.0.1","server":"origin-{origin}","service":"s","pid":"1","rtmp":["{}"]}}"#,
            20_000 + origin
        );
        let origin = parse_registration(body.as_bytes(), &AddressRules::default());
        let registered = proxy.registry().register(origin.expect("valid"));
        registered.expect("room");
    }
    let token = stop.clone();
    tokio::spawn(token.run_until_cancelled_owned(carry(proxy)));
    Crowd { at, stop, held }
}

/// Looks every millisecond how long the thread that it is on was busy since, for ever. How late it is would also tell how long
/// other threads kept the processors.
async fn note_held(held: Arc<AtomicU64>) {
    let mut before = busy_for();
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = busy_for();
        let busy = u64::try_from((now - before).as_micros()).unwrap_or(u64::MAX);
        held.fetch_max(busy, Ordering::Relaxed);
        before = now;
    }
}

/// For how long this thread has had a processor (proc(5), `schedstat`).
fn busy_for() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// Fills what is kept of the past, opens all sessions, and counts bytes for each of them every second from then on, for
/// ever.
async fn carry(proxy: Proxy) {
    for number in 0..ENDED {
        let request = request(number);
        let key = proxy.key(&request.stream);
        for kind in Kind::ALL {
            let news = News {
                stream: key.to_string(),
                client: request.client.ip().to_string(),
                what: "it happened, and it takes some words to say how".to_owned(),
                ..News::default()
            };
            proxy.metrics().journal.note(kind, news);
        }
        drop(proxy.sessions().open(request, key));
    }
    let mut open = Vec::new();
    for number in 0..SESSIONS {
        let request = request(number);
        let key = proxy.key(&request.stream);
        let registry = proxy.registry();
        let guard = registry.hold(&key, request.action, request.client.ip());
        let guard = guard.expect("room");
        let origin = OriginId::from(format!("origin-{}", (number / 10) % ORIGINS));
        let _ = guard.claim(None, &origin, "the first of its policy");
        let _ = guard.join(&origin);
        let row = proxy.sessions().open(request, guard.key().clone());
        let row = row.expect("room");
        row.note_placed(origin, "it is placed there".into());
        row.joined();
        row.media_flows();
        open.push((guard, row));
    }
    let mut round: usize = 0;
    loop {
        for (number, (_, row)) in open.iter().enumerate() {
            let direction = match row.request.action {
                Action::Play => Direction::ToClient,
                Action::Publish => Direction::ToOrigin,
            };
            row.count(
                direction,
                100_000 + (number * 7919 + round * 104_729) % 400_000,
            );
        }
        round += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// The body of an answer.
async fn text(at: SocketAddr, path: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    let mut socket = socket.connect(at).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    let written = socket.write_all(request.as_bytes()).await;
    written.expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a head");
    body.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "scripts/long console"]
async fn long_the_console_shows_a_hundred_thousand_sessions() {
    let crowd = crowd().await;
    let at = crowd.at;
    let all = Instant::now() + Duration::from_secs(120);
    loop {
        let body = text(at, "/api/v1/overview").await;
        let now: Value = serde_json::from_str(&body).expect("JSON");
        if now["data"]["now"]["players"] == SESSIONS / 10 * 9 {
            break;
        }
        assert!(Instant::now() < all, "{now}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut wrong = Vec::new();
    let held = |what: &str| {
        let held = Duration::from_micros(crowd.held.swap(0, Ordering::Relaxed));
        println!(
            "{what}: nobody is accepted for at most {:.1} ms",
            held.as_secs_f64() * 1e3
        );
        (held > LONGEST_HELD).then(|| format!("{what}: nobody is accepted for {held:?}"))
    };
    // The clocks alone, once a second.
    held("while sessions begin");
    tokio::time::sleep(BETWEEN * 3).await;
    wrong.extend(held("while nobody asks"));
    for path in [
        "sessions?limit=50",
        "sessions?limit=50&sort=-id",
        "sessions?limit=50&sort=-rate",
        "sessions?limit=50&sort=-bytes&action=play",
        "sessions?limit=50&sort=client",
        "sessions?limit=50&sort=-client",
        "sessions?limit=50&sort=-age",
        "sessions?limit=50&sort=age",
        "sessions?limit=50&sort=-origin",
        "sessions?limit=50&sort=-stream",
        "sessions?limit=50&state=relaying&protocol=rtmp",
        "sessions?limit=50&client=10.0.16.7",
        "sessions?limit=50&origin=origin-3",
        "sessions?limit=50&q=nobody",
        "sessions?limit=50&q=origin-3",
        "sessions?limit=50&q=cam-77",
        "sessions?limit=50&q=10.0.7",
        "sessions?limit=50&stream=__defaultVhost__/live/cam-5",
        "sessions?limit=50&origin=origin-3&sort=-age",
        "streams?limit=50",
        "streams?limit=50&sort=-rate",
        "streams?limit=50&sort=-out",
        "streams?limit=50&sort=-age",
        "streams?limit=50&sort=-origin",
        "streams?limit=50&origin=origin-3",
        "streams?limit=50&protocol=rtmp&sort=-stream",
        "streams?limit=50&q=cam-77",
        "streams?limit=50&state=live&sort=-players",
        "sessions/ended?limit=50&q=cam-77",
        "events?limit=50&q=cam-77",
        "overview",
        "origins",
        "sessions",
        "streams",
    ] {
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..ASKED {
            // As a tab does, which asks every two seconds: what is kept for a second is made again.
            tokio::time::sleep(BETWEEN).await;
            let begun = Instant::now();
            bytes = text(at, &format!("/api/v1/{path}")).await.len();
            took.push(begun.elapsed());
        }
        took.sort();
        wrong.extend(held(path));
        println!(
            "{path}: {:.1} ms, at most {:.1} ms, {bytes} bytes",
            took[ASKED / 2].as_secs_f64() * 1e3,
            took[ASKED - 1].as_secs_f64() * 1e3
        );
        let is_list = path.contains("limit");
        if is_list && (took[ASKED / 2] > Duration::from_millis(10) || bytes > 25_000) {
            wrong.push(format!("{path}: {took:?}, {bytes} bytes"));
        }
    }
    wrong.extend(look(at).await);
    // Without optimisation, times say nothing.
    assert!(
        cfg!(debug_assertions) || wrong.is_empty(),
        "{}",
        wrong.join("\n")
    );
}

/// Opens each page in Chromium and looks at it for a while; returns what is not as it should be.
async fn look(at: SocketAddr) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let profile = tempfile::tempdir().expect("a folder");
    let mut node = Command::new("node");
    node.arg(root.join("tests/peers/console_scale.mjs"))
        .arg("/usr/bin/chromium")
        .arg(profile.path())
        .arg(format!("http://{at}/console/"))
        .stdout(Stdio::piped());
    let seen = tokio::task::spawn_blocking(move || node.output());
    let seen = seen.await.expect("it runs").expect("node is installed");
    let said = String::from_utf8_lossy(&seen.stdout);
    let mut wrong = Vec::new();
    let mut pages = 0;
    for line in said.lines() {
        println!("{line}");
        let page: Value = serde_json::from_str(line).expect("JSON");
        for (figure, most) in [
            ("first_paint_ms", 300.0),
            ("first_table_ms", 1_000.0),
            ("bytes_per_second", 30_000.0),
            ("longest_stall_ms", 200.0),
        ] {
            if page[figure].as_f64().is_some_and(|value| value > most) {
                wrong.push(format!("{figure}, at most {most}: {page}"));
            }
        }
        pages += 1;
    }
    assert_eq!(pages, 4, "{said}");
    wrong
}

const SESSIONS: u32 = 100_000;
const ORIGINS: u32 = 20;
/// Sessions that ended before: as many as are kept.
const ENDED: u32 = 10_000;
/// How often each list is asked for.
const ASKED: usize = 7;
const BETWEEN: Duration = Duration::from_millis(1_100);
/// For how long the thread that accepts connections may be kept from that: what goes through all sessions takes longer.
const LONGEST_HELD: Duration = Duration::from_millis(5);
