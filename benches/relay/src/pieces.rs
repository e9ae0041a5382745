//! Playlists and segments: what a request costs the relay, compared with nginx and `proxy_pass`.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as Socket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Ports, Running, free_port, free_ports, register, settings};

/// The relay between players and an origin, which is nginx with files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nginx,
    /// The origin says nothing of who its answers are for.
    Sluicegate,
    SluicegateCached,
    /// The origin says that its answers are everybody's.
    SluicegateSaid,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Nginx,
        Self::Sluicegate,
        Self::SluicegateSaid,
        Self::SluicegateCached,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Sluicegate => "sluicegate",
            Self::SluicegateCached => "sluicegate, cache on",
            Self::SluicegateSaid => "sluicegate, public",
        }
    }
}

/// The request that is repeated.
#[derive(Clone, Copy, Debug)]
struct Case {
    name: &'static str,
    target: &'static str,
}

const CASES: [Case; 2] = [
    Case {
        name: "playlists of 20 segments, thousands per CPU-second",
        target: "/live/a.m3u8",
    },
    Case {
        name: "segments of 1 MB, GB per CPU-second",
        target: "/live/a-1.m4s",
    },
];

/// Measures each case through each relay, in `rounds` rounds of alternating order, and prints the medians.
pub(crate) async fn compare(sluicegate: &Path, rounds: usize, seconds: Duration) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("pieces-bench-{}", std::process::id()));
    let outcome = measure_all(&directory, sluicegate, rounds, seconds).await;
    let _ = fs::remove_dir_all(&directory);
    outcome
}

async fn measure_all(
    directory: &Path,
    sluicegate: &Path,
    rounds: usize,
    seconds: Duration,
) -> Result<()> {
    write_files(directory)?;
    let [quiet, said] = [free_port()?, free_port()?];
    let both = [
        served(directory, quiet, ""),
        served(directory, said, "expires 1h;"),
    ]
    .concat();
    let _origin = nginx(directory, "origin", quiet, &both)?;
    until_served(quiet)?;
    until_served(said)?;
    let mut taken: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); CASES.len()]; Kind::ALL.len()];
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..Kind::ALL.len()).collect();
        order.rotate_left(round % Kind::ALL.len());
        for at in order {
            let (relay, port) = start(Kind::ALL[at], directory, sluicegate, [quiet, said])?;
            for (index, case) in CASES.iter().enumerate() {
                load(port, case.target, Duration::from_millis(300)).await?;
                let before = relay.cpu()?;
                let (requests, bytes) = load(port, case.target, seconds).await?;
                let used = (relay.cpu()? - before).max(0.01);
                let value = if index == 0 {
                    requests as f64 / used / 1e3
                } else {
                    bytes as f64 / used / 1e9
                };
                let name = Kind::ALL[at].name();
                eprintln!(
                    "round {}/{rounds}  {}  {name}  {value:.2}  ({requests} requests, {used:.2} CPU-s)",
                    round + 1,
                    case.name
                );
                taken[at][index].push(value);
            }
        }
    }
    for (index, case) in CASES.iter().enumerate() {
        println!("{}", case.name);
        for (at, kind) in Kind::ALL.iter().enumerate() {
            let ratios: Vec<f64> = taken[at][index]
                .iter()
                .zip(&taken[0][index])
                .map(|(value, nginx)| value / nginx)
                .collect();
            let (value, ratio) = (median(&taken[at][index]), median(&ratios));
            println!("  {:<22} {value:>8.2}   {ratio:.2} x nginx", kind.name());
        }
    }
    Ok(())
}

fn start(
    kind: Kind,
    directory: &Path,
    sluicegate: &Path,
    [quiet, said]: [u16; 2],
) -> Result<(Running, u16)> {
    let port = free_port()?;
    let origin = match kind {
        Kind::Nginx | Kind::Sluicegate => quiet,
        Kind::SluicegateCached | Kind::SluicegateSaid => said,
    };
    if kind == Kind::Nginx {
        let passes = format!(
            "upstream origin {{ server 127.0.0.1:{origin}; keepalive 64; }}\n\
             server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000; location / {{ proxy_pass http://origin;\n\
             proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_max_temp_file_size 0; }} }}"
        );
        let relay = nginx(directory, "relay", port, &passes)?;
        until_served(port)?;
        return Ok((relay, port));
    }
    let [rtmp, rtsp, system] = free_ports()?;
    let cache = if kind == Kind::SluicegateCached {
        64
    } else {
        0
    };
    let ports = Ports {
        rtmp,
        http: port,
        rtsp,
    };
    let text =
        settings(ports, system)?.replace("[api]", &format!("cache_megabytes = {cache}\n[api]"));
    let file = directory.join("sluicegate.toml");
    fs::write(&file, text)?;
    let mut command = Command::new(sluicegate);
    command
        .args(["run", "--config"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let relay = Running::start(&mut command)?;
    until_served(port)?;
    register(
        system,
        Ports {
            rtmp: origin,
            http: origin,
            rtsp: origin,
        },
    )?;
    Ok((relay, port))
}

/// nginx as one process, so that its CPU time is one number.
fn nginx(directory: &Path, name: &str, port: u16, http: &str) -> Result<Running> {
    let root = directory.join(format!("{name}-{port}"));
    fs::create_dir_all(&root)?;
    let file = root.join("nginx.conf");
    let text = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; sendfile on; tcp_nopush on; client_body_temp_path {0}/b; proxy_temp_path {0}/p;\n\
         fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n{http}\n}}\n",
        root.display()
    );
    fs::write(&file, text)?;
    let mut command = Command::new("nginx");
    command
        .arg("-p")
        .arg(&root)
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null());
    let running = Running::start(&mut command).context("nginx did not start")?;
    Ok(running)
}

fn served(directory: &Path, port: u16, more: &str) -> String {
    format!(
        "server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000; {more} root {}; }}\n",
        directory.join("root").display()
    )
}

fn write_files(directory: &Path) -> Result<PathBuf> {
    let live = directory.join("root/live");
    fs::create_dir_all(&live)?;
    let mut playlist = String::from(
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:1\n#EXT-X-MAP:URI=\"a-init.mp4\"\n",
    );
    for number in 1..=20 {
        playlist.push_str(&format!("#EXTINF:4.000,\na-{number}.m4s\n"));
    }
    fs::write(live.join("a.m3u8"), playlist)?;
    fs::write(live.join("a-1.m4s"), vec![7; 1_000_000])?;
    Ok(live)
}

fn until_served(port: u16) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Socket::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if Instant::now() > deadline {
            bail!("nothing serves on port {port}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Repeats a request on [`CONNECTIONS`] connections; returns the number of answers, and the bytes of their bodies.
async fn load(port: u16, target: &'static str, time: Duration) -> Result<(u64, u64)> {
    let end = Instant::now() + time;
    let players: Vec<_> = (0..CONNECTIONS)
        .map(|number| tokio::spawn(play(port, target, number, end)))
        .collect();
    let (mut requests, mut bytes) = (0, 0);
    for player in players {
        let (asked, came) = player.await??;
        requests += asked;
        bytes += came;
    }
    Ok((requests, bytes))
}

async fn play(port: u16, target: &str, number: usize, end: Instant) -> Result<(u64, u64)> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut socket = TcpStream::connect(at).await?;
    socket.set_nodelay(true)?;
    // Each player has a query of its own, or all uncached requests would be one.
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: bench\r\n\r\n");
    let mut buffer = vec![0; 256 * 1024];
    let (mut asked, mut came) = (0, 0);
    let mut at = 0;
    let request = request(&format!("{target}?n={number}"));
    while Instant::now() < end {
        socket.write_all(request.as_bytes()).await?;
        let (head, length) = loop {
            let count = socket.read(&mut buffer[at..]).await?;
            if count == 0 {
                bail!("the relay closed a connection");
            }
            at += count;
            let read = &buffer[..at];
            if let Some(head) = read.windows(4).position(|end| end == b"\r\n\r\n") {
                let text = std::str::from_utf8(&read[..head])?.to_ascii_lowercase();
                if !text.starts_with("http/1.1 200") {
                    bail!("{text}");
                }
                let (_, rest) = text.split_once("content-length: ").context("no length")?;
                let digits = rest.split("\r\n").next().unwrap_or_default();
                break (head + 4, digits.parse::<usize>()?);
            }
        };
        let mut rest = length - (at - head);
        while rest > 0 {
            let count = socket.read(&mut buffer).await?;
            if count == 0 {
                bail!("the relay closed a connection");
            }
            rest -= count;
        }
        at = 0;
        asked += 1;
        came += length as u64;
    }
    Ok((asked, came))
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

const CONNECTIONS: usize = 16;
