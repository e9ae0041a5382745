//! What relaying datagrams costs: SRT and WebRTC media through Sluicegate, compared with the same packets through a
//! relay that makes two calls for each of them.

mod rtc;
mod srt;
mod stream;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};
use socket2::SockRef;

pub(crate) use self::stream::{Offered, Sample};
use self::stream::{Opened, measure};
use crate::counters::Counters;
use crate::measure::quantiles;
use crate::process::DatagramRelay;

/// The offered load, and how often it is measured.
#[derive(Args, Clone)]
pub(crate) struct Load {
    /// Protocol of the packets
    #[arg(default_value = "srt")]
    protocol: Protocol,
    /// Concurrent flows [default: srt 40, rtc 400]
    #[arg(long)]
    flows: Option<usize>,
    /// Packets per second of each flow [default: srt 2000, rtc 250]
    #[arg(long)]
    rate: Option<usize>,
    /// Only these bursts: packets of a flow sent at once
    #[arg(long, value_delimiter = ',', default_values = ["1", "4", "8"])]
    bursts: Vec<usize>,
    /// Only these directions
    #[arg(long, value_delimiter = ',', default_values = ["down", "up"])]
    ways: Vec<Way>,
    /// Only these ways to send a burst
    #[arg(long, value_delimiter = ',', default_values = ["each", "gso"])]
    sends: Vec<Sending>,
    /// Receivers read each packet by itself, as libsrt does; otherwise they read what belongs together at once, as a
    /// network card would deliver it
    #[arg(long)]
    single_receivers: bool,
    /// Sluicegate listens on every address of the machine, which is its default, and has to answer from the right one
    #[arg(long)]
    every_address: bool,
    /// Seconds measured
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Instead of Sluicegate, a relay that reads and sends what belongs together with one call each, sleeps as long,
    /// and looks at nothing: what the calls cost by themselves
    #[arg(long)]
    floor: bool,
    /// Instead of costs, raise the rate to see where loss begins
    #[arg(long)]
    sweep: bool,
    /// The binary to measure
    #[arg(long, default_value = "target/release/sluicegate")]
    sluicegate: PathBuf,
}

/// The protocol of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// WebRTC media: 1,200 bytes, and a socket towards the origin for each flow.
    Rtc,
    /// SRT media: 1,332 bytes.
    Srt,
}

impl Protocol {
    /// Bytes of a packet: video as libwebrtc splits it, or seven MPEG-TS packets in SRT.
    const fn packet(self) -> usize {
        match self {
            Self::Rtc => 1200,
            Self::Srt => 1332,
        }
    }

    /// The number of flows, and packets per second of each.
    const fn usual(self) -> (usize, usize) {
        match self {
            Self::Rtc => (400, 250),
            Self::Srt => (40, 2000),
        }
    }
}

/// The direction of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// From the origin: players.
    Down,
    /// To the origin: publishers.
    Up,
}

/// How the packets of a burst are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sending {
    /// With a call for each: on loopback they reach the relay one by one.
    Each,
    /// With one call, which the kernel splits into packets: on loopback they reach the relay together, like a burst
    /// from a network card.
    Gso,
}

pub(crate) fn run(load: &Load) -> Result<()> {
    if load.sweep {
        return sweep(load);
    }
    let (flows, rate) = load.amount();
    println!(
        "{:?}: {flows} flows of {rate} packets of {} bytes each second; relays as they do it by default, the plain one with two calls for each packet",
        load.protocol,
        load.protocol.packet()
    );
    let measured = if load.floor { "floor" } else { "sluicegate" };
    println!(
        "way   burst sent   plain us/packet   loss   p50/p99 us   {measured:>10} us/packet   loss   p50/p99 us   ratio"
    );
    for way in &load.ways {
        for burst in &load.bursts {
            for sending in &load.sends {
                if *burst == 1 && *sending == Sending::Gso {
                    continue;
                }
                let offered = Offered {
                    way: *way,
                    burst: *burst,
                    sending: *sending,
                    rate,
                };
                compare(load, offered)?;
            }
        }
    }
    Ok(())
}

fn compare(load: &Load, offered: Offered) -> Result<()> {
    let mut rounds = Vec::new();
    for round in 0..load.rounds {
        // Alternate the order, so that the first has no advantage.
        let mut order = [false, true];
        if round % 2 == 1 {
            order.reverse();
        }
        let mut samples = Vec::new();
        for plain in order {
            samples.push((plain, once(load, load.through(plain), offered, None)?));
        }
        samples.sort_by_key(|(plain, _)| !plain);
        let ours = samples.remove(1).1;
        rounds.push((samples.remove(0).1, ours));
    }
    let ratio = |(plain, ours): &(Sample, Sample)| ours.cost() / plain.cost();
    rounds.sort_by(|one, other| ratio(one).total_cmp(&ratio(other)));
    let (plain, ours) = &rounds[rounds.len() / 2];
    let shown = |sample: &Sample| {
        format!(
            "{:>15.2} {:>5.2}% {:>5.0}/{:<6.0}",
            sample.cost(),
            sample.loss(),
            sample.latency(0.5),
            sample.latency(0.99)
        )
    };
    let all: Vec<String> = rounds.iter().map(|r| format!("{:.2}", ratio(r))).collect();
    println!(
        "{:<5?} {:>5} {:<5?} {}  {:>5}{}  {:>6.2}   of {}",
        offered.way,
        offered.burst,
        offered.sending,
        shown(plain),
        "",
        shown(ours),
        ratio(&rounds[rounds.len() / 2]),
        all.join(" ")
    );
    for (name, lost) in [
        ("plain", plain.where_lost()),
        ("the other", ours.where_lost()),
    ] {
        if let Some(lost) = lost {
            println!("      {name} lost {lost}");
        }
    }
    Ok(())
}

/// Measures from a rate that every relay can handle to one that none can.
fn sweep(load: &Load) -> Result<()> {
    let (flows, _) = load.amount();
    println!(
        "relay       burst sent   offered kpps  delivered kpps    loss  us/packet  p50/p99 us"
    );
    let mut load = load.clone();
    load.seconds = load.seconds.min(1.0);
    for (burst, sending) in [(1, Sending::Each), (8, Sending::Gso)] {
        for plain in [true, false] {
            let mut free_up_to = 0.0;
            // The lowest delivered rate since the first loss.
            let mut beyond: Option<f64> = None;
            for offered in [
                40_000, 80_000, 120_000, 160_000, 240_000, 320_000, 480_000, 640_000,
            ] {
                let offered = Offered {
                    way: load.ways[0],
                    burst,
                    sending,
                    rate: offered / flows,
                };
                let sample = once(&load, load.through(plain), offered, None)?;
                let (sent, delivered) = (sample.offered_kpps(), sample.delivered_kpps());
                println!(
                    "{:<11} {burst:>5} {sending:<5?}  {sent:>12.1}  {delivered:>14.1}  {:>5.2}%  {:>8.2}  {:>5.0}/{:<6.0}",
                    name(plain),
                    sample.loss(),
                    sample.cost(),
                    sample.latency(0.5),
                    sample.latency(0.99),
                );
                if sample.loss() < 0.1 && beyond.is_none() {
                    free_up_to = f64::max(free_up_to, sent);
                } else {
                    beyond = Some(beyond.map_or(delivered, |least| least.min(delivered)));
                }
            }
            let beyond = beyond.map_or_else(
                || "the sender could not offer more".to_owned(),
                |least| format!("at least {least:.1} kpps delivered beyond it"),
            );
            println!(
                "{:<11} {burst:>5} {sending:<5?}  free of loss up to {free_up_to:.1} kpps; {beyond}",
                name(plain)
            );
        }
    }
    Ok(())
}

const fn name(plain: bool) -> &'static str {
    if plain { "plain" } else { "sluicegate" }
}

impl Load {
    /// The usual flows of this protocol, measured for `seconds`.
    pub(crate) fn usual(protocol: Protocol, seconds: f64) -> Self {
        Self {
            protocol,
            flows: None,
            rate: None,
            bursts: Vec::new(),
            ways: Vec::new(),
            sends: Vec::new(),
            single_receivers: false,
            every_address: false,
            seconds,
            rounds: 1,
            floor: false,
            sweep: false,
            sluicegate: PathBuf::new(),
        }
    }

    /// A burst of each flow, in this direction, at the usual rate.
    pub(crate) fn offered(&self, way: Way, burst: usize) -> Offered {
        Offered {
            way,
            burst,
            sending: if burst == 1 {
                Sending::Each
            } else {
                Sending::Gso
            },
            rate: self.amount().1,
        }
    }

    fn amount(&self) -> (usize, usize) {
        let (flows, rate) = self.protocol.usual();
        (self.flows.unwrap_or(flows), self.rate.unwrap_or(rate))
    }

    fn through(&self, plain: bool) -> Through<'_> {
        match (plain, self.floor) {
            (true, _) => Through::Plain(&[]),
            (false, true) => Through::Plain(&["--batched"]),
            (false, false) => Through::Sluicegate(&self.sluicegate),
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (flows, rate) = self.amount();
        let name = match self.protocol {
            Protocol::Rtc => "WebRTC",
            Protocol::Srt => "SRT",
        };
        write!(f, "{name}, {flows} × {rate} packets/s")
    }
}

/// The relay to measure.
#[derive(Clone, Copy)]
pub(crate) enum Through<'a> {
    /// This program as `plain`, with these arguments.
    Plain(&'a [&'a str]),
    /// This binary.
    Sluicegate(&'a Path),
}

/// One measurement through a fresh relay; `counters` have windows of their own.
pub(crate) fn once(
    load: &Load,
    through: Through<'_>,
    offered: Offered,
    counters: Option<&mut Counters>,
) -> Result<Sample> {
    let origin = socket()?;
    let media = origin.local_addr()?.port();
    let api = rtc::Api::start(media)?;
    let relay = DatagramRelay::start(through, media, api.port, load.every_address)?;
    let (count, _) = load.amount();
    let open = |index| match (through, load.protocol) {
        (Through::Plain(_), _) => Flow::plain(relay.rtc, &origin),
        (Through::Sluicegate(_), Protocol::Rtc) => rtc::open(&relay, &origin, index),
        (Through::Sluicegate(_), Protocol::Srt) => srt::open(relay.srt, &origin, index),
    };
    // The first flows use code and buffers that all later ones share.
    let mut flows = (0..count.min(SHARED))
        .map(open)
        .collect::<Result<Vec<_>>>()?;
    let idle = relay.resident()?;
    let mut set_ups = Vec::new();
    for index in flows.len()..count {
        let began = Instant::now();
        flows.push(open(index)?);
        set_ups.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let opened = Opened {
        resident: (relay.resident()? - idle) / set_ups.len() as f64,
        set_up: quantiles(&set_ups).0,
    };
    measure(load, offered, &relay, &flows, &origin, opened, counters)
}

/// One client, joined through the relay.
struct Flow {
    client: UdpSocket,
    /// The socket id both sides write to; SRT only.
    relay_id: u32,
    /// The address that the origin sees.
    link: SocketAddr,
}

impl Flow {
    fn plain(relay: SocketAddr, origin: &UdpSocket) -> Result<Self> {
        let client = client(relay, origin)?;
        client.send(b"hello")?;
        let (_, link) = origin.recv_from(&mut [0; 64])?;
        Ok(Self {
            client,
            relay_id: 1,
            link,
        })
    }
}

/// A client's socket. Neither the client nor the origin waits for ever for an answer.
fn client(relay: SocketAddr, origin: &UdpSocket) -> Result<UdpSocket> {
    let client = socket()?;
    client.connect(relay)?;
    for socket in [&client, origin] {
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    }
    Ok(client)
}

fn socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
    SockRef::from(&socket).set_send_buffer_size(4 << 20)?;
    Ok(socket)
}

/// Flows that are opened before memory is measured.
const SHARED: usize = 4;
