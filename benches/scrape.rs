//! Measures what metrics cost: `cargo bench --bench scrape`.
//!
//! There are ten thousand streams on a hundred origins, each with a publisher that is placed and counted. A scrape has
//! to take at most 50 ms, and counting, the sweep and scrapes together at most a hundredth of what relaying costs. A
//! read and a write on a socket stand for relaying: a relay does at least these for each time it counts.

use std::error::Error;
use std::future::ready;
use std::hint::black_box;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use sluicegate::config::{Environment, Settings};
use sluicegate::metrics::Format;
use sluicegate::proxy::{DialError, Proxy, Request, Session};
use sluicegate::server::Server;
use sluicegate::sessions::Direction;
use sluicegate_core::fleet::origin::{AddressRules, parse_registration};
use sluicegate_core::stream::{Action, Protocol, StreamUrl};

const STREAMS: usize = 10_000;
const ORIGINS: usize = 100;
const SCRAPES: usize = 21;
const COUNTS: usize = 20_000_000;
const PAIRS: usize = 200_000;
/// What a relayed stream of some Mbit/s delivers with one read.
const READ: usize = 16 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure())
}

async fn measure() -> Result<(), Box<dyn Error>> {
    let ports = ["rtmp", "http", "api", "system"].map(|section| {
        (
            format!("SLUICEGATE_{}__LISTEN", section.to_uppercase()),
            "127.0.0.1:0",
        )
    });
    let most = ("SLUICEGATE_SESSION__MAX".to_owned(), "20000");
    let variables = ports.into_iter().chain([most]);
    let variables = variables.map(|(name, value)| (name, value.into()));
    let settings = Settings::load(None, &Environment::new(variables, ""))?.settings;
    let server = Server::bind(settings)?;
    let proxy = server.proxy();
    let _sessions = open(proxy).await?;

    for (what, own) in [
        ("no series per stream", 0),
        ("all streams have their own", STREAMS),
    ] {
        proxy.metrics().streams_by_name.keep(own);
        let mut times = Vec::new();
        let mut bytes = 0;
        for _ in 0..SCRAPES {
            let began = Instant::now();
            bytes = black_box(proxy.metrics().render_as(Format::OpenMetrics)).len();
            times.push(began.elapsed());
        }
        times.sort();
        let (median, worst) = (times[SCRAPES / 2], times[SCRAPES - 1]);
        println!("scrape, {what}: {median:.1?}, at worst {worst:.1?}, {bytes} bytes");
    }
    proxy.metrics().streams_by_name.keep(0);

    let row = proxy.sessions().list().pop().ok_or("a session")?;
    let began = Instant::now();
    for _ in 0..COUNTS {
        row.count(black_box(Direction::ToClient), black_box(1316));
    }
    let count = began.elapsed().as_secs_f64() / COUNTS as f64;
    let pair = pair()?;
    println!(
        "count: {:.2} ns; a read and a write of {READ} bytes: {:.0} ns; {:.3} % of it",
        count * 1e9,
        pair * 1e9,
        100.0 * count / pair
    );
    let sweep = timed(|| proxy.sessions().end_overdue());
    let scrape = timed(|| drop(black_box(proxy.metrics().render())));
    println!(
        "of one core, at {STREAMS} sessions: the sweep, four times a second, {:.2} %; a scrape each five seconds {:.2} %",
        100.0 * 4.0 * sweep.as_secs_f64(),
        100.0 * scrape.as_secs_f64() / 5.0
    );
    Ok(())
}

/// The median of several runs.
fn timed(run: impl Fn()) -> Duration {
    let mut times: Vec<Duration> = (0..SCRAPES)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[SCRAPES / 2]
}

/// Publishers of `STREAMS` streams, joined with origins that accept all of them.
async fn open(proxy: &Proxy) -> Result<Vec<Session>, Box<dyn Error>> {
    for number in 0..ORIGINS {
        let body = format!(
            r#"{{"ip":"127.0.0.1","server":"vid-{number}","service":"s","pid":"1","rtmp":["{}"]}}"#,
            10_000 + number
        );
        let origin = parse_registration(body.as_bytes(), &AddressRules::default())
            .map_err(|error| format!("{}: {}", error.field, error.problem))?;
        proxy.registry().register(origin)?;
    }
    let mut sessions = Vec::new();
    for number in 0..STREAMS {
        let session = proxy
            .open(Request {
                stream: StreamUrl::new("", "live", &number.to_string())?,
                action: Action::Publish,
                protocol: Protocol::Rtmp,
                client: "192.0.2.1:5000".parse()?,
                by_way_of: None,
                bond: None,
                credentials: None,
            })
            .await?;
        session.dial(|_| ready(Ok::<_, DialError>(()))).await?;
        session.row().count(Direction::ToOrigin, number);
        sessions.push(session);
    }
    Ok(sessions)
}

/// The seconds that a write and a read of [`READ`] bytes take.
fn pair() -> Result<f64, Box<dyn Error>> {
    let (mut from, mut to) = UnixStream::pair()?;
    let mut bytes = vec![7; READ];
    let began = Instant::now();
    for _ in 0..PAIRS {
        from.write_all(&bytes)?;
        to.read_exact(&mut bytes)?;
    }
    Ok(began.elapsed().as_secs_f64() / PAIRS as f64)
}
