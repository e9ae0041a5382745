//! Measures what a shared store costs: `scripts/bench store`. It starts a redis-server and two proxies on it, and
//! claims, joins and looks up streams. Nothing is relayed: sessions are opened and joined to an origin that is not
//! contacted.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sluicegate::config::{Environment, Settings};
use sluicegate::proxy::{Proxy, Request, Session};
use sluicegate::server::Server;
use sluicegate::store::{Options, Redis, Store};
use sluicegate_core::fleet::origin::{AddressRules, parse_registration};
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio_util::sync::CancellationToken;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn Error>> {
    let server = RedisServer::start()?;
    claims(&server).await?;
    let stop = CancellationToken::new();
    let (near, far) = (proxy(&server, &stop).await?, proxy(&server, &stop).await?);
    for number in 0..ORIGINS {
        near.registry().register(origin(number)?)?;
    }
    while far.registry().origins().len() < ORIGINS {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    joins(&server, &near, &far).await?;
    tokio::task::block_in_place(|| lookups(&near));
    stop.cancel();
    Ok(())
}

/// First claims, each on a key of its own, with different numbers of claims under way.
async fn claims(server: &RedisServer) -> Result<(), Box<dyn Error>> {
    let store = Arc::new(Redis::open(
        server.url().parse()?,
        Options {
            prefix: "bench".to_owned(),
            time_limit: MINUTE,
            watched: Vec::new(),
        },
    )?);
    store.reachable().await;
    for at_once in [1, 64, 512] {
        let each = CLAIMS / at_once;
        let began = Instant::now();
        let claiming = (0..at_once).map(|lane| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for number in 0..each {
                    let key = format!("srs-proxy-url:live/{at_once}-{lane}-{number}");
                    let claim = store.claim(&key, None, "srs-proxy-server:a-b-1", MINUTE);
                    assert!(claim.await.is_ok_and(|claim| claim.won), "{key}");
                }
            })
        });
        try_join_all(claiming).await?;
        let took = began.elapsed().as_secs_f64();
        let count = (each * at_once) as f64;
        println!(
            "claims, {at_once:>3} at once   {:>8.0} a second, {:>6.0} us each",
            count / took,
            took * 1e6 * at_once as f64 / count
        );
    }
    Ok(())
}

/// What a thousand sessions cost the Redis, depending on how well their stream is known.
async fn joins(server: &RedisServer, near: &Proxy, far: &Proxy) -> Result<(), Box<dyn Error>> {
    println!(
        "commands for each 1,000 joins, as the Redis counts them (those inside a script too):"
    );
    let mut open = Vec::new();
    for (what, proxy, action, streams) in [
        ("publish, new to all", near, Action::Publish, JOINS),
        ("play, new to this proxy", far, Action::Play, JOINS),
        ("play, known to this proxy", near, Action::Play, JOINS),
        ("publish again, other proxy", far, Action::Publish, JOINS),
        ("play, one stream for all", near, Action::Play, 1),
    ] {
        let before = server.commands()?;
        let began = Instant::now();
        for number in 0..JOINS {
            open.push(join(proxy, action, number % streams).await?);
        }
        let took = began.elapsed();
        let after = server.commands()?;
        let mut calls: Vec<String> = after
            .into_iter()
            .filter_map(|(name, count)| {
                let more = count - before.get(&name).copied().unwrap_or(0);
                // Commands that keep the connections, and this very query.
                let ours = !["client|tracking", "info", "role"].contains(&name.as_str());
                (more > 0 && ours).then(|| format!("{name} {}", more * 1000 / JOINS))
            })
            .collect();
        if calls.is_empty() {
            calls.push("none".to_owned());
        }
        println!(
            "  {what:<28} {:>5.0} us each   {}",
            took.as_secs_f64() * 1e6 / JOINS as f64,
            calls.join(", ")
        );
    }
    Ok(())
}

/// Finds a stream that this proxy has placed: what a viewer of it costs beyond the connection. On one thread, and on
/// all cores at once, where they could get in each other's way.
fn lookups(proxy: &Proxy) {
    let streams: Vec<StreamUrl> = (0..JOINS).map(stream).collect();
    let look = || {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = Instant::now();
                for stream in &streams {
                    assert!(
                        proxy
                            .origin_of(stream, Protocol::Rtmp, Action::Play)
                            .is_ok()
                    );
                }
                began.elapsed().as_secs_f64() / JOINS as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        (rounds[ROUNDS / 2], rounds[ROUNDS * 99 / 100])
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, cores] {
        let begin = Barrier::new(threads);
        let (median, worst) = std::thread::scope(|scope| {
            let looking: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| {
                        begin.wait();
                        look()
                    })
                })
                .collect();
            let took = looking.into_iter().filter_map(|each| each.join().ok());
            took.fold((0.0, 0.0), |most: (f64, f64), each| {
                (most.0.max(each.0), most.1.max(each.1))
            })
        });
        println!(
            "cached look-ups, {threads} at once {:>8.0} a second, {:.2} us each ({:.2})",
            threads as f64 / median,
            median * 1e6,
            worst * 1e6
        );
    }
}

async fn join(proxy: &Proxy, action: Action, number: usize) -> Result<Session, Box<dyn Error>> {
    let request = Request {
        stream: stream(number),
        action,
        protocol: Protocol::Rtmp,
        client: std::net::SocketAddr::from(([192, 0, 2, 1], 5000)).into(),
        by_way_of: None,
        bond: None,
        credentials: None,
    };
    let session = proxy.open(request).await?;
    session.dial(|_| async { Ok(()) }).await?;
    Ok(session)
}

/// A proxy with default settings, on free ports, with the store.
async fn proxy(server: &RedisServer, stop: &CancellationToken) -> Result<Proxy, Box<dyn Error>> {
    let ports = ["rtmp", "http", "api", "system", "rtsp", "srt", "rtc"];
    let ports = ports.map(|section| {
        let name = format!("SLUICEGATE_{}__LISTEN", section.to_uppercase());
        (name, "127.0.0.1:0".to_owned())
    });
    let rest = [
        ("STORE__TYPE", "redis".to_owned()),
        ("STORE__URL", server.url()),
        ("STORE__WAIT_AT_START", "true".to_owned()),
        ("SESSION__MAX", "1000000".to_owned()),
        ("PLACEMENT__CLAIMS_PER_SOURCE", "1000000".to_owned()),
        ("LOG__LEVEL", "error".to_owned()),
    ];
    let rest = rest.map(|(name, value)| (format!("SLUICEGATE_{name}"), value));
    let variables = ports.into_iter().chain(rest);
    let settings = Settings::load(None, &Environment::new(variables, ""))?.settings;
    let server = Server::bind(settings)?;
    let proxy = server.proxy().clone();
    tokio::spawn(server.serve(stop.clone()));
    let reached = || {
        proxy
            .cluster()
            .is_some_and(|cluster| cluster.is_reachable())
    };
    while !reached() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(proxy)
}

fn origin(number: usize) -> Result<sluicegate_core::fleet::origin::Origin, Box<dyn Error>> {
    let body = format!(
        r#"{{"ip":"10.1.0.{}","server":"vid-{number}","service":"s","pid":"1","rtmp":["1935"]}}"#,
        number + 1
    );
    Ok(parse_registration(
        body.as_bytes(),
        &AddressRules::default(),
    )?)
}

fn stream(number: usize) -> StreamUrl {
    StreamUrl::new("", "live", &format!("camera-{number}")).expect("a name")
}

/// A redis-server that keeps nothing on disk. It ends with the value.
struct RedisServer {
    process: Child,
    port: u16,
}

impl RedisServer {
    fn start() -> Result<Self, Box<dyn Error>> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("redis-server: {error} (apt-get install redis-server)"))?;
        Ok(Self { process, port })
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How often each command was called since the server started.
    fn commands(&self) -> Result<BTreeMap<String, usize>, Box<dyn Error>> {
        let told = Command::new("redis-cli")
            .args(["-p", &self.port.to_string(), "info", "commandstats"])
            .output()?;
        let text = String::from_utf8(told.stdout)?;
        // cmdstat_get:calls=3,usec=12,…
        let count = |line: &str| {
            let (name, counts) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let calls = counts.split(',').next()?.parse().ok()?;
            Some((name.to_owned(), calls))
        };
        Ok(text.lines().filter_map(count).collect())
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const CLAIMS: usize = 51_200;
const ORIGINS: usize = 10;
const JOINS: usize = 1_000;
const ROUNDS: usize = 100;
const MINUTE: Duration = Duration::from_secs(60);
