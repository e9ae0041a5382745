//! One measurement: fresh processes, warm-up, load, and the counters before and after.

use std::fmt::{self, Display};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::sleep;

use crate::counters::{Counters, Counts};
use crate::origin::{FRAME_RATE, SOUND, SOUND_RATE, What};
use crate::players::{Crowd, STREAMS, set_up};
use crate::process::{self, CpuTime, Kind, Origin, Programs, Relay};
use crate::wire::Protocol;

/// The number of players and their rate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Shape {
    pub(crate) players: usize,
    pub(crate) kilobits: usize,
}

impl Shape {
    /// Bytes of one video message.
    pub(crate) fn frame(self) -> usize {
        self.kilobits * 1000 / 8 / FRAME_RATE
    }

    /// Bytes of video that all players together are offered in a second.
    pub(crate) fn bytes_per_second(self) -> f64 {
        (self.players * self.second(false)) as f64
    }

    /// Bytes of one second.
    fn second(self, live: bool) -> usize {
        let sound = if live { SOUND_RATE * SOUND } else { 0 };
        self.frame() * FRAME_RATE + sound
    }
}

impl Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabits = self.kilobits as f64 / 1000.0;
        write!(f, "{} × {megabits} Mbit/s", self.players)
    }
}

impl FromStr for Shape {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (players, megabits) = text
            .split_once('x')
            .context("not of the form PLAYERSxMBITS")?;
        let shape = Self {
            players: players.parse()?,
            kilobits: (megabits.parse::<f64>()? * 1000.0).round() as usize,
        };
        let is_rate = (MIN_KILOBITS..=1_000_000).contains(&shape.kilobits);
        if !(WARM_UP + 1..=9000).contains(&shape.players) || !is_rate {
            bail!("out of range: 5 to 9000 players, 0.05 to 1000 Mbit/s");
        }
        Ok(shape)
    }
}

/// What is measured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Case {
    /// Set-up times of 500 players that all connect at once.
    Burst(Protocol),
    /// Players of this many streams, opened over the ramp, then paced media with groups of pictures and sound.
    Fanout(Protocol, Shape, usize),
    /// Players opened over the ramp, then paced media.
    Load(Protocol, Shape),
    /// Set-up times of 200 players, each after the one before has left.
    Sequence(Protocol),
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Burst(of) => write!(f, "{}, {BURST} at once", of.name()),
            Self::Load(of, shape) => write!(f, "{}, {shape}", of.name()),
            Self::Fanout(of, shape, 1) => write!(f, "{}, {shape} of one stream", of.name()),
            Self::Fanout(of, shape, streams) => {
                write!(f, "{}, {shape} of {streams} streams", of.name())
            }
            Self::Sequence(of) => write!(f, "{}, {SEQUENCE} in sequence", of.name()),
        }
    }
}

impl Case {
    /// Measures through a fresh relay: for `window`, after the players arrived over `ramp`. `counters` have windows of
    /// their own after that one.
    pub(crate) async fn measure(
        self,
        kind: Kind,
        programs: &Programs,
        ramp: Duration,
        window: Duration,
        counters: Option<&mut Counters>,
    ) -> Result<Sample> {
        let (protocol, shape) = match self {
            Self::Fanout(protocol, shape, _) | Self::Load(protocol, shape) => (protocol, shape),
            Self::Burst(protocol) | Self::Sequence(protocol) => (
                protocol,
                Shape {
                    players: BURST,
                    kilobits: 2000,
                },
            ),
        };
        let (live, streams) = match self {
            Self::Fanout(_, _, streams) => (true, streams),
            _ => (false, STREAMS),
        };
        let frame = shape.frame();
        let what = What {
            frame,
            live,
            pauses: kind == Kind::HubChecked,
            silent: false,
        };
        let origin = Origin::start(what)?;
        let relay = Relay::start(kind, origin.ports, programs)?;
        let address = relay.ports.of(protocol);
        // The first sessions use code and scratch buffers that all later ones share.
        let warm_up = Crowd::open(protocol, address, WARM_UP, Duration::ZERO, streams, frame).await;
        sleep(SETTLE).await;
        if let Some(failure) = warm_up.failures.first() {
            bail!("{}: {self}: {failure}", kind.name());
        }
        drop(warm_up);
        sleep(SETTLE).await;

        let before = Usage::now(&origin, &relay)?;
        match self {
            Self::Burst(_) => {
                let crowd =
                    Crowd::open(protocol, address, BURST, Duration::ZERO, streams, frame).await;
                Ok(Sample::new(
                    &before.until(&Usage::now(&origin, &relay)?),
                    &crowd.set_ups,
                    crowd.failures.clone(),
                ))
            }
            Self::Fanout(..) | Self::Load(..) => {
                let idle = relay.resident_besides_feeds()?;
                let crowd =
                    Crowd::open(protocol, address, shape.players, ramp, streams, frame).await;
                sleep(SETTLE).await;
                let (before, start, received) =
                    (Usage::now(&origin, &relay)?, Instant::now(), crowd.bytes());
                crowd.take_latencies();
                sleep(window).await;
                let latency = quantiles(&crowd.take_latencies()).0;
                let used = before.until(&Usage::now(&origin, &relay)?);
                let (seconds, gigabytes) = (
                    start.elapsed().as_secs_f64(),
                    (crowd.bytes() - received) as f64 / 1e9,
                );
                let resident = relay.resident_besides_feeds()? - idle;
                let resident = resident / (shape.players - WARM_UP) as f64;
                let counts = match (counters, relay.process()) {
                    (Some(counters), Some(process)) => count(counters, process, &crowd).await,
                    _ => Counts::default(),
                };
                let mut failures = crowd.failures.clone();
                failures.extend((0..crowd.lost()).map(|_| "lost while watching".to_owned()));
                let skips = relay.metric("sluicegate_fanout_skips_total")?;
                if skips > 0.0 {
                    failures.push(format!("{skips} times a viewer lost messages"));
                }
                let mut sample = Sample::new(&used, &crowd.set_ups, failures);
                let gigabits = gigabytes * 8.0 / seconds;
                sample.load = Some(Load {
                    gigabits,
                    kept_up: gigabits / ((shape.players * shape.second(live)) as f64 * 8e-9),
                    cpu: used.relay.per(gigabytes),
                    machine: used.ours / gigabytes,
                    resident,
                    latency,
                    counts,
                });
                Ok(sample)
            }
            Self::Sequence(_) => {
                let (mut set_ups, mut failures) = (Vec::new(), Vec::new());
                for stream in 0..SEQUENCE {
                    match set_up(protocol, address, stream % 10).await {
                        Ok((_leaves, milliseconds)) => set_ups.push(milliseconds),
                        Err(error) => failures.push(format!("{error:#}")),
                    }
                }
                Ok(Sample::new(
                    &before.until(&Usage::now(&origin, &relay)?),
                    &set_ups,
                    failures,
                ))
            }
        }
    }
}

/// Counts what the relay does while the crowd watches.
async fn count(counters: &mut Counters, process: u32, crowd: &Crowd) -> Counts {
    let mut counts = Counts::default();
    for pass in counters.passes(process) {
        let window = pass.window;
        let counting = async {
            // perf takes a while to start, and the players have to go on reading.
            let counting = tokio::task::spawn_blocking(move || pass.begin()).await??;
            let received = crowd.bytes();
            sleep(window).await;
            let gigabytes = (crowd.bytes() - received) as f64 / 1e9;
            let counted = tokio::task::spawn_blocking(move || counting.end()).await??;
            anyhow::Ok((counted, gigabytes))
        };
        counts.add(counting.await);
    }
    counts
}

/// The result of one measurement.
pub(crate) struct Sample {
    pub(crate) load: Option<Load>,
    /// Milliseconds from TCP connect to the first media byte.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Players that could not start or were lost, with the reasons.
    pub(crate) failures: Vec<String>,
    /// Share of the machine used by other processes; above [`NOISY`] the sample is not trusted.
    pub(crate) foreign: f64,
}

pub(crate) struct Load {
    /// Gbit/s the players received.
    pub(crate) gigabits: f64,
    /// Received bytes divided by offered bytes.
    pub(crate) kept_up: f64,
    /// CPU seconds of the relay process per GB received.
    pub(crate) cpu: CpuTime,
    /// The same for origin, relay and players together: a relay can shift its work to its neighbours.
    pub(crate) machine: f64,
    /// kB of `VmRSS` per connection above the relay's idle value after the warm-up, besides what feeds hold.
    pub(crate) resident: f64,
    /// Milliseconds from the origin's write to the player's read, the median; NaN where none was seen.
    pub(crate) latency: f64,
    /// What the relay did per GB received.
    pub(crate) counts: Counts,
}

impl Sample {
    fn new(used: &Usage, set_ups: &[f64], failures: Vec<String>) -> Self {
        let (p50, p99) = quantiles(set_ups);
        Self {
            load: None,
            p50,
            p99,
            failures,
            foreign: used.foreign(),
        }
    }

    /// The median latency in milliseconds; NaN if none was seen.
    pub(crate) fn latency(&self) -> f64 {
        self.load.as_ref().map_or(f64::NAN, |load| load.latency)
    }

    /// CPU seconds of the relay per GB; NaN if no load was measured.
    pub(crate) fn cpu(&self) -> f64 {
        self.load.as_ref().map_or(f64::NAN, |load| load.cpu.total())
    }
}

impl Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Load {
            gigabits,
            cpu,
            resident,
            ..
        }) = &self.load
        {
            let cpu = cpu.total();
            write!(
                f,
                "{gigabits:.2} Gbit/s, {cpu:.2} CPU-s/GB, {resident:.1} kB/conn, "
            )?;
        }
        write!(f, "set-up p50 {:.2} ms, p99 {:.2} ms", self.p50, self.p99)?;
        if self.foreign > NOISY {
            write!(
                f,
                ", NOISY: others used {:.0} % of the machine",
                self.foreign * 100.0
            )?;
        }
        match self.failures.first() {
            Some(first) => write!(f, ", {} FAILED: {first}", self.failures.len()),
            None => Ok(()),
        }
    }
}

/// The median and the 99th percentile.
pub(crate) fn quantiles(values: &[f64]) -> (f64, f64) {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = |share: f64| {
        values.get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)))
    };
    (
        at(0.5).copied().unwrap_or(f64::NAN),
        at(0.99).copied().unwrap_or(f64::NAN),
    )
}

/// CPU seconds so far, or between two moments.
pub(crate) struct Usage {
    at: Instant,
    seconds: f64,
    busy: f64,
    pub(crate) relay: CpuTime,
    /// Relay, origin and players.
    ours: f64,
}

impl Usage {
    fn now(origin: &Origin, relay: &Relay) -> Result<Self> {
        Self::of(relay.cpu()?, origin.cpu()?)
    }

    /// `others` is what processes used that work for us, besides the relay and this one.
    pub(crate) fn of(relay: CpuTime, others: f64) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            seconds: 0.0,
            busy: process::busy()?,
            relay,
            ours: relay.total() + others + process::cpu(std::process::id())?.total(),
        })
    }

    pub(crate) fn until(&self, later: &Self) -> Self {
        Self {
            at: later.at,
            seconds: (later.at - self.at).as_secs_f64(),
            busy: later.busy - self.busy,
            relay: later.relay.since(self.relay),
            ours: later.ours - self.ours,
        }
    }

    /// How long it took.
    pub(crate) const fn seconds(&self) -> f64 {
        self.seconds
    }

    /// The share of the machine that other processes used.
    pub(crate) fn foreign(&self) -> f64 {
        let processors = std::thread::available_parallelism().map_or(1.0, |all| all.get() as f64);
        ((self.busy - self.ours) / self.seconds / processors).max(0.0)
    }
}

/// Samples with more work by other processes than this are left out of the report while enough quiet ones remain.
pub(crate) const NOISY: f64 = 0.10;
const WARM_UP: usize = 4;
/// A picture has room for the time at which it was sent.
const MIN_KILOBITS: usize = 50;
const BURST: usize = 500;
const SEQUENCE: usize = 200;
const SETTLE: Duration = Duration::from_millis(300);
