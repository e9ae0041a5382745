//! `scripts/bench`: what a relay costs, compared with HAProxy and with no relay at all. That script says how to read
//! it.

mod against;
mod counters;
mod datagrams;
mod measure;
mod origin;
mod pieces;
mod plain;
mod players;
mod process;
mod report;
mod spread;
mod tls;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};

use crate::measure::{Case, Sample, Shape};
use crate::origin::What;
use crate::players::Crowd;
use crate::process::{Kind, Programs};
use crate::wire::Protocol;

/// Measures what a relay costs compared with HAProxy and with no relay.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Action>,
    #[command(flatten)]
    plan: Plan,
}

#[derive(Subcommand)]
enum Action {
    /// Two builds in one run, and the earlier one against itself for the spread
    Against(against::Plan),
    /// CPU per GB, memory per connection and set-up times under paced load (the default)
    Load(Plan),
    /// CPU per packet, loss and latency of SRT or WebRTC media, compared with a relay that makes two calls for each
    /// packet
    Datagrams(datagrams::Load),
    /// Relay datagrams to an origin with two calls for each, and print the port; used by `datagrams`
    Plain {
        origin: SocketAddr,
        /// Two calls for what the kernel has together, and a sleep
        #[arg(long)]
        batched: bool,
    },
    /// Viewers of few streams: CPU per GB, memory per viewer and latency with legs of their own, and with pulls that they share
    Fanout {
        /// How many streams the viewers are spread over
        #[arg(long, default_value_t = 1)]
        streams: usize,
        #[command(flatten)]
        plan: Plan,
    },
    /// Playlists and segments compared with nginx and proxy_pass, per CPU-second
    Http(Plan),
    /// TLS compared with HAProxy: media, handshakes, memory of idle connections, and media beside a flood of handshakes
    Tls(Plan),
    /// Begin handshakes at a port of this machine as fast as it answers; used by `tls`
    Flood { port: u16 },
    /// Set-up times only: 500 players at once, and 200 one after the other
    Setup(Plan),
    /// Serve as the synthetic origin and print "RTMP-PORT HTTP-PORT RTSP-PORT"; used by the other modes, and good for profiling
    Origin {
        /// Payload of a video message in bytes; 30 are sent per second
        #[arg(long, default_value_t = FRAME)]
        frame: usize,
        /// A keyframe every two seconds, and 45 sounds a second
        #[arg(long)]
        live: bool,
        /// Heed a player's pause
        #[arg(long)]
        pauses: bool,
        /// Nothing comes after the first picture
        #[arg(long)]
        silent: bool,
    },
    /// Open players, or publishers, at an address and print what they receive, or send, each second, until interrupted; useful for
    /// profiling
    Players {
        protocol: Protocol,
        relay: SocketAddr,
        #[arg(default_value_t = 500)]
        count: usize,
        /// The streams that they share evenly, live/bench0 and so on
        #[arg(long, default_value_t = players::STREAMS)]
        streams: usize,
    },
}

#[derive(Args)]
struct Plan {
    /// Two short rounds, about a minute: enough to see a large change
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Rounds; every round measures every case once, in alternating order [default: 7, quick 2]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Seconds measured per case and round, after the ramp [default: 6, quick 1.5]
    #[arg(long)]
    seconds: Option<f64>,
    /// Only these relays
    #[arg(long, value_delimiter = ',', default_values = ["direct", "haproxy", "sluicegate"])]
    relays: Vec<Kind>,
    /// Only these protocols
    #[arg(long, value_delimiter = ',', default_values = ["rtmp", "flv"])]
    protocols: Vec<Protocol>,
    /// Only these shapes, players x Mbit/s
    #[arg(long, value_delimiter = ',', default_values = ["500x2", "50x20"])]
    shapes: Vec<Shape>,
    /// The binary to measure
    #[arg(long, default_value = "target/release/sluicegate")]
    sluicegate: PathBuf,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    match arguments.command.unwrap_or(Action::Load(arguments.plan)) {
        Action::Load(plan) => {
            let cases = plan
                .shapes
                .iter()
                .flat_map(|shape| plan.protocols.iter().map(|of| Case::Load(*of, *shape)));
            compare(&plan, cases.collect()).await
        }
        Action::Against(plan) => return Ok(verdict(against::run(&plan).await?)),
        Action::Datagrams(load) => datagrams::run(&load),
        Action::Plain { origin, batched } => plain::serve(origin, batched),
        Action::Http(plan) => {
            let rounds = plan.rounds.unwrap_or(if plan.quick { 2 } else { 5 });
            let seconds = plan.seconds.unwrap_or(if plan.quick { 1.5 } else { 5.0 });
            let sluicegate = std::path::absolute(&plan.sluicegate)?;
            let seconds = Duration::from_secs_f64(seconds);
            pieces::compare(&sluicegate, usize::from(rounds), seconds).await
        }
        Action::Fanout { streams, plan } => {
            let cases = plan.shapes.iter().flat_map(|shape| {
                let of = plan.protocols.iter();
                of.map(|of| Case::Fanout(*of, *shape, streams))
            });
            compare(&plan, cases.collect()).await
        }
        Action::Tls(plan) => {
            let rounds = plan.rounds.unwrap_or(if plan.quick { 1 } else { 5 });
            let seconds = plan.seconds.unwrap_or(if plan.quick { 2.0 } else { 6.0 });
            let sluicegate = std::path::absolute(&plan.sluicegate)?;
            let seconds = Duration::from_secs_f64(seconds);
            tls::compare(&sluicegate, &plan.shapes, usize::from(rounds), seconds).await
        }
        Action::Flood { port } => tls::flood(port).await,
        Action::Origin {
            frame,
            live,
            pauses,
            silent,
        } => {
            let what = What {
                frame,
                live,
                pauses,
                silent,
            };
            origin::serve(what).await
        }
        Action::Players {
            protocol,
            relay,
            count,
            streams,
        } => watch(protocol, relay, count, streams).await,
        Action::Setup(plan) => {
            let cases = plan
                .protocols
                .iter()
                .flat_map(|of| [Case::Burst(*of), Case::Sequence(*of)]);
            compare(&plan, cases.collect()).await
        }
    }?;
    Ok(ExitCode::SUCCESS)
}

/// A missed limit fails the program.
fn verdict(missed: usize) -> ExitCode {
    ExitCode::from(u8::from(missed > 0))
}

/// Measures every case through every relay, round by round in alternating order, and prints the report.
async fn compare(plan: &Plan, cases: Vec<Case>) -> Result<()> {
    let rounds = usize::from(plan.rounds.unwrap_or(if plan.quick { 2 } else { 7 }));
    let seconds =
        Duration::from_secs_f64(plan.seconds.unwrap_or(if plan.quick { 1.5 } else { 6.0 }));
    let ramp = Duration::from_millis(if plan.quick { 500 } else { 1000 });
    let sluicegate = std::path::absolute(&plan.sluicegate)?;
    let programs = Programs {
        sluicegate: sluicegate.clone(),
        before: None,
    };
    let is_ours = |kind: &Kind| programs.of(*kind).is_some();
    if plan.relays.iter().any(is_ours) && !sluicegate.exists() {
        bail!(
            "{} is not there; build it, or leave it out with --relays direct,haproxy",
            sluicegate.display()
        );
    }
    let mut samples: Vec<(Case, Kind, Vec<Sample>)> = Vec::new();
    for case in &cases {
        samples.extend(plan.relays.iter().map(|kind| (*case, *kind, Vec::new())));
    }
    for round in 0..rounds {
        let mut order: Vec<usize> = (0..samples.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for at in order {
            let (case, kind, taken) = &mut samples[at];
            let sample = case.measure(*kind, &programs, ramp, seconds, None).await?;
            eprintln!(
                "round {}/{rounds}  {case}  {}  {sample}",
                round + 1,
                kind.name()
            );
            taken.push(sample);
        }
    }
    if plan.json {
        println!("{:#}", report::json(&samples));
    } else {
        print!("{}", report::table(&samples));
    }
    Ok(())
}

async fn watch(protocol: Protocol, relay: SocketAddr, count: usize, streams: usize) -> Result<()> {
    let second = Duration::from_secs(1);
    let crowd = Crowd::open(protocol, relay, count, second, streams, FRAME).await;
    let (p50, p99) = measure::quantiles(&crowd.set_ups);
    println!(
        "{} playing, set-up p50 {p50:.2} ms, p99 {p99:.2} ms, failed: {:?}",
        crowd.set_ups.len(),
        crowd.failures
    );
    loop {
        let before = crowd.bytes();
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!(
            "{:.1} Mbit/s, {} lost",
            (crowd.bytes() - before) as f64 * 8e-6,
            crowd.lost()
        );
    }
}

/// A picture of 2 Mbit/s.
const FRAME: usize = 8_333;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Command, CommandFactory};

    use super::*;

    fn options(command: &Command) -> BTreeSet<String> {
        let own = command.get_arguments().filter_map(|one| one.get_long());
        let own = own.map(|name| format!("--{name}"));
        let of_others = command.get_subcommands().flat_map(options);
        own.chain(of_others).collect()
    }

    #[test]
    fn the_script_knows_the_options() {
        let script = include_str!("../../../scripts/bench");
        let (_, list) = script.split_once("OPTIONS=\"").expect("a list");
        let (list, _) = list.split_once('"').expect("its end");
        let listed: BTreeSet<String> = list.split_whitespace().map(str::to_owned).collect();
        let mut known = options(&Arguments::command());
        known.insert("--against".to_owned());
        assert_eq!(listed, known);
    }
}
