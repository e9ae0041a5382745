//! Two builds of Sluicegate in one run, interleaved, and the earlier one against itself: what two measurements of one
//! build differ by is what no change can be blamed for.

mod report;
mod verdict;

use std::fmt::{self, Display};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};

use self::verdict::Figures;
use crate::counters::{Counters, Quantity};
use crate::datagrams::{self, Load, Offered, Through, Way};
use crate::measure::{self, NOISY, Shape};
use crate::process::{CpuTime, Kind, Programs};
use crate::wire::Protocol;

/// What is measured, and how often.
#[derive(Args)]
pub(crate) struct Plan {
    /// The earlier build
    before: PathBuf,
    /// The build that is judged
    #[arg(long, default_value = "target/release/sluicegate")]
    sluicegate: PathBuf,
    /// Two short rounds, about four minutes: enough to see a large change
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Rounds; every round measures every case with both builds, and with the earlier one twice [default: 7, quick 2]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Only these parts
    #[arg(long, value_delimiter = ',', default_values = ["load", "setup", "srt", "rtc"])]
    parts: Vec<Part>,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Part {
    /// Players by RTMP and HTTP-FLV, and publishers by RTMP, under paced load.
    Load,
    /// How long a player of either waits for its first picture.
    Setup,
    /// SRT packets.
    Srt,
    /// WebRTC packets.
    Rtc,
}

impl Plan {
    /// How long things last.
    fn times(&self) -> Times {
        let seconds = Duration::from_secs_f64;
        if self.quick {
            Times {
                ramp: seconds(0.5),
                load: seconds(1.5),
                datagrams: 1.0,
                counters: seconds(0.5),
            }
        } else {
            Times {
                ramp: seconds(1.0),
                load: seconds(5.0),
                datagrams: 2.0,
                counters: seconds(1.5),
            }
        }
    }

    fn cases(&self) -> Vec<Case> {
        self.parts
            .iter()
            .flat_map(|part| self.part(*part))
            .collect()
    }

    fn part(&self, part: Part) -> Vec<Case> {
        let protocols = [Protocol::Rtmp, Protocol::Flv];
        match part {
            Part::Load => {
                let shapes = [(500, 2), (50, 20)].map(|(players, megabits)| Shape {
                    players,
                    kilobits: megabits * 1000,
                });
                let shapes = shapes.into_iter().take(if self.quick { 1 } else { 2 });
                shapes
                    .flat_map(|shape| UNDER_LOAD.map(|of| measure::Case::Load(of, shape)))
                    .map(Case::Stream)
                    .collect()
            }
            Part::Setup => protocols
                .into_iter()
                .flat_map(|of| [measure::Case::Burst(of), measure::Case::Sequence(of)])
                .map(Case::Stream)
                .collect(),
            Part::Srt => self.datagrams(datagrams::Protocol::Srt),
            Part::Rtc => self.datagrams(datagrams::Protocol::Rtc),
        }
    }

    /// Packets one by one, and in bursts as a network card delivers them, from the origin and to it.
    fn datagrams(&self, protocol: datagrams::Protocol) -> Vec<Case> {
        let load = Load::usual(protocol, self.times().datagrams);
        [(Way::Down, 1), (Way::Down, 8), (Way::Up, 8)]
            .into_iter()
            .take(if self.quick { 2 } else { 3 })
            .map(|(way, burst)| Case::Datagrams(load.clone(), load.offered(way, burst)))
            .collect()
    }
}

struct Times {
    /// Players arrive over this time.
    ramp: Duration,
    load: Duration,
    /// Seconds.
    datagrams: f64,
    counters: Duration,
}

/// What is measured.
enum Case {
    Stream(measure::Case),
    Datagrams(Load, Offered),
}

impl Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(case) => write!(f, "{case}"),
            Self::Datagrams(load, offered) => write!(f, "{load}, {offered}"),
        }
    }
}

impl Case {
    async fn measure(
        &self,
        kind: Kind,
        programs: &Programs,
        times: &Times,
        counters: &mut Counters,
    ) -> Result<Figures> {
        match self {
            Self::Stream(case) => {
                let sample = case
                    .measure(kind, programs, times.ramp, times.load, Some(counters))
                    .await?;
                let mut figures = Figures::from(sample);
                match case {
                    measure::Case::Burst(_) => {
                        figures.set_up_at_once = std::mem::replace(&mut figures.set_up, f64::NAN);
                    }
                    measure::Case::Load(Protocol::Publish, _) => {
                        let resident = std::mem::replace(&mut figures.resident, f64::NAN);
                        figures.resident_publishing = resident;
                    }
                    _ => {}
                }
                Ok(figures)
            }
            Self::Datagrams(load, offered) => {
                let Some(program) = programs.of(kind) else {
                    bail!("{} does not relay datagrams", kind.name());
                };
                let through = Through::Sluicegate(program);
                Ok(datagrams::once(load, through, *offered, Some(counters))?.into())
            }
        }
    }
}

impl From<measure::Sample> for Figures {
    fn from(sample: measure::Sample) -> Self {
        let mut figures = Self {
            set_up: sample.p50,
            foreign: sample.foreign,
            failures: sample.failures,
            ..Self::default()
        };
        if let Some(load) = sample.load {
            if load.kept_up < KEPT_UP {
                let percent = load.kept_up * 100.0;
                let failure = format!("{percent:.0} % of what was offered went through");
                figures.failures.push(failure);
            }
            figures.cpu = Some(load.cpu);
            figures.resident = load.resident;
            figures.count(load.counts);
        }
        figures
    }
}

impl From<datagrams::Sample> for Figures {
    fn from(sample: datagrams::Sample) -> Self {
        let mut figures = Self {
            set_up: sample.set_up(),
            foreign: sample.foreign,
            cpu: Some(sample.cpu()),
            resident: sample.resident(),
            ..Self::default()
        };
        figures.failures.extend(
            sample
                .where_lost()
                .filter(|_| sample.loss() > LOST)
                .map(|lost| format!("lost {lost}")),
        );
        figures.count(sample.counts);
        figures
    }
}

/// The figures of one case.
struct Compared {
    case: Case,
    /// For each of [`KINDS`], one of each round.
    figures: [Vec<Figures>; 3],
}

/// Measures and prints the report; returns how many limits are missed.
pub(crate) async fn run(plan: &Plan) -> Result<usize> {
    let programs = Programs {
        sluicegate: std::path::absolute(&plan.sluicegate)?,
        before: Some(std::path::absolute(&plan.before)?),
    };
    for kind in KINDS {
        let program = programs.of(kind).filter(|program| !program.is_file());
        if let Some(program) = program {
            bail!("{} ({}) is not there", program.display(), kind.name());
        }
    }
    let times = plan.times();
    let mut counters = Counters::find(times.counters);
    for (quantity, reason) in counters.missing() {
        eprintln!("not counted: {}: {reason}", quantity.name());
    }
    let mut compared: Vec<Compared> = plan
        .cases()
        .into_iter()
        .map(|case| Compared {
            case,
            figures: Default::default(),
        })
        .collect();
    let rounds = usize::from(plan.rounds.unwrap_or(if plan.quick { 2 } else { 7 }));
    for round in 0..rounds {
        for of in &mut compared {
            for at in order(round) {
                let (kind, case) = (KINDS[at], &of.case);
                let figures = case.measure(kind, &programs, &times, &mut counters).await?;
                let (number, name) = (round + 1, kind.name());
                eprintln!("round {number}/{rounds}  {case}  {name}  {figures}");
                of.figures[at].push(figures);
            }
        }
    }
    let report = report::Report::new(&compared, counters.missing());
    if plan.json {
        println!("{:#}", report.json());
    } else {
        print!("{}", report.table());
    }
    Ok(report.missed())
}

/// The order of the builds in a round: each of them comes first, second and last equally often.
fn order(round: usize) -> [usize; KINDS.len()] {
    let mut order = [0, 1, 2];
    order.rotate_left(round % KINDS.len());
    order
}

const UNDER_LOAD: [Protocol; 3] = [Protocol::Rtmp, Protocol::Flv, Protocol::Publish];
const KINDS: [Kind; 3] = [Kind::Before, Kind::Sluicegate, Kind::BeforeAgain];
/// The share of the offered bytes that players have to receive, or the relay could not keep up.
const KEPT_UP: f64 = 0.97;
/// Per cent of packets that may be lost before it is told.
const LOST: f64 = 0.1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_build_is_measured_at_every_place() {
        for place in 0..KINDS.len() {
            let mut at: Vec<usize> = (0..KINDS.len()).map(|round| order(round)[place]).collect();
            at.sort_unstable();
            assert_eq!(at, [0, 1, 2], "place {place}");
        }
    }

    #[test]
    fn one_command_covers_streams_and_datagrams() {
        let plan = |quick| Plan {
            before: PathBuf::new(),
            sluicegate: PathBuf::new(),
            quick,
            json: false,
            rounds: None,
            parts: Part::value_variants().to_vec(),
        };
        for quick in [true, false] {
            let cases: Vec<String> = plan(quick).cases().iter().map(Case::to_string).collect();
            for part in [
                "RTMP play, 500 × 2",
                "RTMP publish, 500 × 2",
                "HTTP-FLV play, 500 × 2",
                "RTMP play, 200 in",
                "SRT, 40",
                "WebRTC, 400",
            ] {
                assert!(
                    cases.iter().any(|case| case.starts_with(part)),
                    "{part} is in {cases:?}"
                );
            }
        }
    }
}
