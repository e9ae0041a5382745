//! TLS: what it costs the relay, compared with HAProxy, which ends TLS 1.3 with the same certificate, cipher suite and key
//! exchange. Plain connections to the same relay stand beside it.

mod callers;
mod flood;

use std::fmt::{self, Display};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream as Socket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::callers::{Caller, Watched, certificate};
pub(crate) use self::flood::serve as flood;
use crate::measure::{NOISY, Shape, Usage, quantiles};
use crate::origin::What;
use crate::process::{Origin, Ports, Running, cpu, free_ports, register, settings};

/// The relay, and whether its clients use TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Haproxy,
    Sluicegate,
    SluicegatePlain,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Haproxy, Self::Sluicegate, Self::SluicegatePlain];

    const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Sluicegate => "sluicegate",
            Self::SluicegatePlain => "sluicegate, plain",
        }
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    /// Paced media.
    Media(Shape),
    /// Handshakes with a ticket of before, or without.
    Handshakes { resumed: bool },
    /// Connections of players to whom nothing comes, or that have said nothing since their handshake.
    Idle { playing: bool },
    /// Paced media while others begin handshakes as fast as they can.
    Flood,
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Media(shape) => write!(f, "HTTP-FLV play, {shape}"),
            Self::Handshakes { resumed: false } => write!(f, "full handshakes (ECDSA P-256)"),
            Self::Handshakes { resumed: true } => write!(f, "resumed handshakes"),
            Self::Idle { playing: false } => write!(f, "{IDLE} connections after their handshake"),
            Self::Idle { playing: true } => write!(f, "{IDLE} players of silent streams"),
            Self::Flood => write!(f, "a flood of handshakes beside {FLOODED}"),
        }
    }
}

impl Case {
    /// What its figures are, in their order.
    const fn figures(self) -> &'static [&'static str] {
        match self {
            Self::Media(_) => &["CPU-s per GB", "kB per connection"],
            Self::Handshakes { .. } => &["per CPU-s"],
            Self::Idle { .. } => &["kB per connection"],
            Self::Flood => &[
                "ms to a player, p50 before",
                "p99 before",
                "p50 in the flood",
                "p99 in the flood",
                "handshakes per s",
            ],
        }
    }

    /// Whether it says anything about a relay.
    fn is_for(self, kind: Kind) -> bool {
        !matches!(self, Self::Handshakes { .. }) || kind != Kind::SluicegatePlain
    }
}

/// One measurement.
struct Sample {
    figures: Vec<f64>,
    /// The share of the machine that other processes used.
    foreign: f64,
}

/// Measures each case through each relay, in `rounds` rounds of rotating order, and prints the medians.
pub(crate) async fn compare(
    sluicegate: &Path,
    shapes: &[Shape],
    rounds: usize,
    seconds: Duration,
) -> Result<()> {
    let directory = std::env::temp_dir().join(format!("tls-bench-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let media = shapes.iter().map(|shape| Case::Media(*shape));
    let others = [
        Case::Handshakes { resumed: false },
        Case::Handshakes { resumed: true },
        Case::Idle { playing: false },
        Case::Idle { playing: true },
        Case::Flood,
    ];
    let cases: Vec<Case> = media.chain(others).collect();
    let house = House {
        root: certificate(&directory.join(BOTH))?,
        directory: directory.clone(),
        sluicegate: sluicegate.to_owned(),
        seconds,
    };
    let outcome = measure_all(&house, &cases, rounds).await;
    let _ = fs::remove_dir_all(&directory);
    outcome
}

async fn measure_all(house: &House, cases: &[Case], rounds: usize) -> Result<()> {
    for case in cases {
        let mut taken: Vec<Vec<Sample>> = Kind::ALL.iter().map(|_| Vec::new()).collect();
        for round in 0..rounds {
            let mut order: Vec<usize> = (0..Kind::ALL.len()).collect();
            order.rotate_left(round % Kind::ALL.len());
            for at in order {
                let kind = Kind::ALL[at];
                if !case.is_for(kind) {
                    continue;
                }
                let sample = house.measure(*case, kind).await;
                let sample = sample.with_context(|| format!("{}: {case}", kind.name()))?;
                let noisy = if sample.foreign > NOISY {
                    ", NOISY"
                } else {
                    ""
                };
                eprintln!(
                    "round {}/{rounds}  {case}  {}  {:.2?}{noisy}",
                    round + 1,
                    kind.name(),
                    sample.figures
                );
                taken[at].push(sample);
            }
        }
        report(*case, &taken);
    }
    Ok(())
}

/// Prints the medians of the quiet rounds; of all, if fewer than half were quiet.
fn report(case: Case, taken: &[Vec<Sample>]) {
    let rounds = taken[0].len();
    let is_quiet = |round: &usize| {
        let of_round = taken.iter().filter_map(|samples| samples.get(*round));
        of_round.into_iter().all(|sample| sample.foreign <= NOISY)
    };
    let mut used: Vec<usize> = (0..rounds).filter(is_quiet).collect();
    let quiet = used.len();
    if quiet * 2 < rounds {
        used = (0..rounds).collect();
    }
    println!("{case} ({quiet} of {rounds} rounds were quiet)");
    for (index, figure) in case.figures().iter().enumerate() {
        println!("  {figure}");
        for (kind, samples) in Kind::ALL.iter().zip(taken) {
            if samples.is_empty() {
                continue;
            }
            let of = |samples: &[Sample]| -> Vec<f64> {
                let each = |round: &usize| samples[*round].figures[index];
                used.iter().map(each).collect()
            };
            let values = of(samples);
            let each = values.iter().zip(of(&taken[0]));
            let mut ratios: Vec<f64> = each.map(|(value, haproxy)| value / haproxy).collect();
            ratios.sort_by(f64::total_cmp);
            println!(
                "    {:<20} {:>9.2}   {:.2} ({:.2}–{:.2}) x haproxy",
                kind.name(),
                quantiles(&values).0,
                quantiles(&ratios).0,
                ratios[0],
                ratios[ratios.len() - 1],
            );
        }
    }
}

/// What every measurement needs.
struct House {
    directory: PathBuf,
    sluicegate: PathBuf,
    /// The certificate that clients believe.
    root: Vec<u8>,
    seconds: Duration,
}

/// A relay, its origin and those who call.
struct Set {
    relay: Running,
    origin: Origin,
    caller: Caller,
}

impl Set {
    fn usage(&self) -> Result<Usage> {
        Usage::of(cpu(self.relay.process())?, self.origin.cpu()?)
    }
}

impl House {
    async fn measure(&self, case: Case, kind: Kind) -> Result<Sample> {
        let shape = match case {
            Case::Media(shape) => shape,
            Case::Flood | Case::Handshakes { .. } | Case::Idle { .. } => FLOODED,
        };
        let origin = Origin::start(What {
            frame: shape.frame(),
            live: false,
            pauses: false,
            silent: case == Case::Idle { playing: true },
        })?;
        let (relay, port) = self.start(case, kind, origin.ports)?;
        let root = (kind != Kind::SluicegatePlain).then_some(&self.root[..]);
        let set = Set {
            caller: Caller::new(port, root)?,
            relay,
            origin,
        };
        // The first connections use code and buffers that all later ones share.
        let mut warm = JoinSet::new();
        for stream in 0..WARM_UP {
            let caller = set.caller.clone();
            warm.spawn(async move { caller.watch(stream, &Watched::default(), false).await });
        }
        sleep(SETTLE).await;
        if let Some(ended) = warm.try_join_next() {
            ended??;
            bail!("a player was let go at once");
        }
        warm.shutdown().await;
        sleep(SETTLE).await;
        match case {
            Case::Media(shape) => self.media(&set, shape).await,
            Case::Handshakes { resumed } => self.handshakes(&set, resumed).await,
            Case::Idle { playing: true } => self.silent(&set).await,
            Case::Idle { playing: false } => idle(&set).await,
            Case::Flood => self.flood(&set, port).await,
        }
    }

    async fn media(&self, set: &Set, shape: Shape) -> Result<Sample> {
        let idle = set.relay.resident()?;
        let (mut players, watched) = play(set, shape).await?;
        let (before, received) = (set.usage()?, watched.bytes.load(Ordering::Relaxed));
        sleep(self.seconds).await;
        let used = before.until(&set.usage()?);
        let gigabytes = (watched.bytes.load(Ordering::Relaxed) - received) as f64 / 1e9;
        let resident = (set.relay.resident()? - idle) / (shape.players - WARM_UP) as f64;
        still_there(&mut players)?;
        let offered = shape.bytes_per_second() * used.seconds() / 1e9;
        if gigabytes < 0.97 * offered {
            eprintln!("  only {:.0} % arrived", 100.0 * gigabytes / offered);
        }
        Ok(Sample {
            figures: vec![used.relay.total() / gigabytes, resident],
            foreign: used.foreign(),
        })
    }

    /// How much more the relay has in memory with players to whom nothing comes.
    async fn silent(&self, set: &Set) -> Result<Sample> {
        let shape = Shape {
            players: IDLE,
            ..FLOODED
        };
        let (usage, before) = (set.usage()?, set.relay.resident()?);
        let (mut players, _) = play(set, shape).await?;
        // A worker's scratch, and what a socket left over, are gone or at rest by then.
        sleep(self.seconds).await;
        let used = usage.until(&set.usage()?);
        still_there(&mut players)?;
        Ok(Sample {
            figures: vec![(set.relay.resident()? - before) / IDLE as f64],
            foreign: used.foreign(),
        })
    }

    async fn handshakes(&self, set: &Set, resumed: bool) -> Result<Sample> {
        let mut callers = Vec::new();
        for _ in 0..AT_ONCE {
            // Each has tickets of its own, the first from a handshake before the measurement.
            let caller = set.caller.again(resumed)?;
            caller.shake().await?;
            callers.push(caller);
        }
        let (before, end) = (set.usage()?, Instant::now() + self.seconds);
        let mut shaking = JoinSet::new();
        for caller in callers {
            shaking.spawn(async move {
                let mut shaken = 0_u64;
                while Instant::now() < end {
                    if caller.shake().await? != resumed {
                        bail!("the handshake was of the other kind");
                    }
                    shaken += 1;
                }
                anyhow::Ok(shaken)
            });
        }
        let mut shaken = 0;
        while let Some(count) = shaking.join_next().await {
            shaken += count??;
        }
        let used = before.until(&set.usage()?);
        Ok(Sample {
            figures: vec![shaken as f64 / used.relay.total().max(0.01)],
            foreign: used.foreign(),
        })
    }

    async fn flood(&self, set: &Set, port: u16) -> Result<Sample> {
        let (mut players, watched) = play(set, FLOODED).await?;
        watched.take_latencies();
        sleep(self.seconds).await;
        let quiet = quantiles(&watched.take_latencies());
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["flood", &port.to_string()]);
        let flood = Running::start(command.stdout(Stdio::piped()))?;
        sleep(SETTLE).await;
        watched.take_latencies();
        let begun = Instant::now();
        sleep(self.seconds).await;
        let flooded = quantiles(&watched.take_latencies());
        let seconds = (begun.elapsed() + SETTLE).as_secs_f64();
        let said = flood.end()?;
        let last = said.split_whitespace().last().unwrap_or("0");
        let shaken: f64 = last.parse()?;
        still_there(&mut players)?;
        Ok(Sample {
            figures: vec![quiet.0, quiet.1, flooded.0, flooded.1, shaken / seconds],
            foreign: 0.0,
        })
    }

    fn start(&self, case: Case, kind: Kind, origin: Ports) -> Result<(Running, u16)> {
        let [rtmp, http, rtsp, system] = free_ports()?;
        let file = self.directory.join("configuration");
        let pem = self.directory.join(BOTH);
        let (text, mut command) = if kind == Kind::Haproxy {
            let mut command = Command::new("haproxy");
            command.arg("-db").arg("-f").arg(&file);
            (haproxy(case, &pem, http, origin.http), command)
        } else {
            let mut command = Command::new(&self.sluicegate);
            command.arg("run").arg("--config").arg(&file);
            // All players have one address here.
            let tls = format!(
                "[tls]\ncertificate = {pem:?}\nkey = {pem:?}\nhandshakes_per_source = 10000\n"
            );
            let text = settings(Ports { rtmp, http, rtsp }, system)?;
            // Idle connections are to stay until they are counted.
            let text = text.replace("[api]", "head_timeout = \"60s\"\n[api]");
            (text + &tls, command)
        };
        fs::write(&file, text)?;
        command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .env_remove("RUST_LOG");
        let relay = Running::start(&mut command)
            .with_context(|| format!("{} did not start", kind.name()))?;
        let deadline = Instant::now() + Duration::from_secs(5);
        while Socket::connect((Ipv4Addr::LOCALHOST, http)).is_err()
            || kind != Kind::Haproxy && register(system, origin).is_err()
        {
            if Instant::now() > deadline {
                bail!("{} does not serve", kind.name());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok((relay, http))
    }
}

/// Players of ten streams, after the last of them began.
async fn play(set: &Set, shape: Shape) -> Result<(JoinSet<Result<()>>, Arc<Watched>)> {
    let watched = Arc::<Watched>::default();
    let mut players = JoinSet::new();
    for player in 0..shape.players {
        let (caller, watched) = (set.caller.clone(), Arc::clone(&watched));
        let begin = RAMP * player as u32 / shape.players as u32;
        players.spawn(async move {
            sleep(begin).await;
            let is_timed = player % TIMED_EVERY == 0;
            caller.watch(player % STREAMS, &watched, is_timed).await
        });
    }
    sleep(RAMP + SETTLE).await;
    still_there(&mut players)?;
    Ok((players, watched))
}

fn still_there(players: &mut JoinSet<Result<()>>) -> Result<()> {
    if let Some(ended) = players.try_join_next() {
        ended??;
        bail!("a player was let go");
    }
    Ok(())
}

/// How much more the relay has in memory with idle connections than without.
async fn idle(set: &Set) -> Result<Sample> {
    let (usage, before) = (set.usage()?, set.relay.resident()?);
    let mut open = Vec::new();
    for _ in 0..IDLE {
        open.push(set.caller.connect().await?);
    }
    sleep(SETTLE).await;
    let used = usage.until(&set.usage()?);
    Ok(Sample {
        figures: vec![(set.relay.resident()? - before) / IDLE as f64],
        foreign: used.foreign(),
    })
}

/// Media as TCP, which is what costs HAProxy least. Of a connection that has asked for nothing, it makes none to the origin
/// only where it knows of requests.
fn haproxy(case: Case, pem: &Path, from: u16, to: u16) -> String {
    let mode = match case {
        Case::Flood | Case::Idle { playing: true } | Case::Media(_) => "tcp",
        Case::Handshakes { .. } | Case::Idle { playing: false } => "http",
    };
    format!(
        "global\n  nbthread 2\n  maxconn 4000\ndefaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 1h\n  \
         timeout server 1h\nlisten http\n  bind 127.0.0.1:{from} ssl crt {} ssl-min-ver TLSv1.3 curves X25519 ciphersuites \
         TLS_AES_128_GCM_SHA256\n  server origin 127.0.0.1:{to}\n",
        pem.display()
    )
}

/// The address of a relay.
fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// The file with certificate and key.
const BOTH: &str = "bench.pem";
const RAMP: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(500);
const STREAMS: usize = 10;
const WARM_UP: usize = 4;
/// One in this many players measures how old what it reads is.
const TIMED_EVERY: usize = 5;
/// Handshakes under way: fewer than one source may have.
const AT_ONCE: usize = 32;
const IDLE: usize = 1000;
/// The media beside a flood.
const FLOODED: Shape = Shape {
    players: 50,
    kilobits: 2000,
};

/// How many bytes were counted, for what is shared between players.
type Count = AtomicU64;
