//! Paced media, and how much of it arrived.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::IoSliceMut;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

use super::{Flow, Load, Protocol, Sending, Way, srt};
use crate::counters::{Counters, Counts};
use crate::measure::Usage;
use crate::process::{CpuTime, DatagramRelay};

/// The offered load.
#[derive(Clone, Copy)]
pub(crate) struct Offered {
    pub(super) way: Way,
    /// Packets of a flow that are sent at once.
    pub(super) burst: usize,
    pub(super) sending: Sending,
    /// Packets per second of each flow.
    pub(super) rate: usize,
}

impl fmt::Display for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Down => "down",
            Way::Up => "up",
        };
        match self.burst {
            1 => write!(f, "{way}, one by one"),
            burst => write!(f, "{way}, bursts of {burst}"),
        }
    }
}

/// What opening the flows showed.
#[derive(Clone, Copy)]
pub(super) struct Opened {
    /// kB of `VmRSS` per flow.
    pub(super) resident: f64,
    /// The median, in milliseconds.
    pub(super) set_up: f64,
}

/// One measurement.
pub(crate) struct Sample {
    sent: u64,
    received: u64,
    /// Bytes of a packet.
    size: usize,
    seconds: f64,
    cpu: CpuTime,
    opened: Opened,
    /// What the relay did per GB received.
    pub(crate) counts: Counts,
    /// Share of the machine used by other processes.
    pub(crate) foreign: f64,
    /// The times from the call that sent a packet to its arrival at the other end, in microseconds, sorted; from
    /// receivers that have the kernel's timestamps.
    latencies: Vec<u32>,
    /// Datagrams lost to full receive buffers: at our own sockets, and at others, which are the relay's.
    full: (u64, u64),
}

impl Sample {
    /// CPU of the relay per delivered packet, in microseconds.
    pub(crate) fn cost(&self) -> f64 {
        self.cpu.total() * 1e6 / self.received.max(1) as f64
    }

    /// CPU time of the relay per GB received.
    pub(crate) fn cpu(&self) -> CpuTime {
        self.cpu
            .per((self.received.max(1) * self.size as u64) as f64 / 1e9)
    }

    /// kB of `VmRSS` per flow.
    pub(crate) fn resident(&self) -> f64 {
        self.opened.resident
    }

    /// The median time to open a flow, in milliseconds.
    pub(crate) fn set_up(&self) -> f64 {
        self.opened.set_up
    }

    /// The loss in per cent.
    pub(crate) fn loss(&self) -> f64 {
        100.0 * (self.sent - self.received.min(self.sent)) as f64 / self.sent.max(1) as f64
    }

    pub(super) fn offered_kpps(&self) -> f64 {
        self.sent as f64 / self.seconds / 1e3
    }

    pub(super) fn delivered_kpps(&self) -> f64 {
        self.received as f64 / self.seconds / 1e3
    }

    /// The latency of the packet at this share of all packets, in microseconds.
    pub(super) fn latency(&self, share: f64) -> f64 {
        let at = (self.latencies.len() as f64 * share) as usize;
        self.latencies
            .get(at.min(self.latencies.len().saturating_sub(1)))
            .map_or(f64::NAN, |latency| f64::from(*latency))
    }

    pub(crate) fn where_lost(&self) -> Option<String> {
        let lost = self.sent - self.received.min(self.sent);
        let (ours, relay) = self.full;
        (lost > 0).then(|| {
            format!("{lost} of {}: {relay} in full buffers of the relay, {ours} in those of the receivers, the others by choice of the relay", self.sent)
        })
    }
}

/// Sends for the requested time, and counts what arrives. `counters` have windows of their own after that.
pub(super) fn measure(
    load: &Load,
    offered: Offered,
    relay: &DatagramRelay,
    flows: &[Flow],
    origin: &UdpSocket,
    opened: Opened,
    counters: Option<&mut Counters>,
) -> Result<Sample> {
    let clients: Vec<&UdpSocket> = flows.iter().map(|flow| &flow.client).collect();
    let receivers = match offered.way {
        Way::Down => clients.clone(),
        Way::Up => vec![origin],
    };
    let ports: BTreeSet<u16> = clients
        .iter()
        .chain(&[origin])
        .map(|socket| Ok(socket.local_addr()?.port()))
        .collect::<Result<_>>()?;
    let receivers = receivers
        .into_iter()
        .map(|socket| {
            socket.set_nonblocking(true)?;
            let state = (!load.single_receivers).then(|| UdpSocketState::new(socket.into()));
            Ok((socket, state.transpose()?))
        })
        .collect::<Result<Vec<_>>>()?;
    let full = full_buffers(&ports)?;
    let stop = AtomicBool::new(false);
    let arrived = AtomicU64::new(0);
    let size = load.protocol.packet();
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&receivers, size, &arrived, &stop));
        let stopping = Stop(&stop);
        // A relay may need some time to notice that there is much to do.
        let warm = send(load, offered, flows, origin, WARM_UP);
        let before = Usage::of(relay.cpu()?, 0.0)?;
        let early = arrived.load(Ordering::Relaxed);
        let began = Instant::now();
        let sent = send(load, offered, flows, origin, load.seconds);
        let seconds = began.elapsed().as_secs_f64();
        drain(&arrived, TIME_LIMIT);
        let used = before.until(&Usage::of(relay.cpu()?, 0.0)?);
        // Packets that were in flight before count here as packets in flight after.
        let received = arrived.load(Ordering::Relaxed);
        let now = full_buffers(&ports)?;
        let mut counts = Counts::default();
        let passes = counters.map_or_else(Vec::new, |counters| counters.passes(relay.process()));
        for pass in passes {
            let seconds = pass.window.as_secs_f64();
            let window = || {
                let counting = pass.begin()?;
                let early = arrived.load(Ordering::Relaxed);
                send(load, offered, flows, origin, seconds)?;
                drain(&arrived, TIME_LIMIT);
                let received = arrived.load(Ordering::Relaxed) - early;
                Ok((counting.end()?, (received * size as u64) as f64 / 1e9))
            };
            counts.add(window());
        }
        drop(stopping);
        let counted = receiver.join();
        let mut latencies = counted.map_err(|_| anyhow!("the receiver failed"))?;
        latencies.sort_unstable();
        Ok(Sample {
            sent: (sent? + warm?).saturating_sub(early),
            received: received - early,
            size,
            seconds,
            cpu: used.relay,
            opened,
            counts,
            foreign: used.foreign(),
            latencies,
            full: (now.0.saturating_sub(full.0), now.1.saturating_sub(full.1)),
        })
    })
}

/// Tells the receiver to stop when it is dropped, on errors too: the scope waits for the receiver.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until nothing arrives any more: packets in buffers while other threads have the cores are late, not lost.
fn drain(arrived: &AtomicU64, time_limit: Duration) {
    let (began, mut seen) = (Instant::now(), u64::MAX);
    while seen != arrived.load(Ordering::Relaxed) && began.elapsed() < time_limit {
        seen = arrived.load(Ordering::Relaxed);
        std::thread::sleep(DRAIN);
    }
}

/// Sends at the wanted rate for `seconds`, with `burst` packets of a flow at once; returns how many.
fn send(
    load: &Load,
    offered: Offered,
    flows: &[Flow],
    origin: &UdpSocket,
    seconds: f64,
) -> Result<u64> {
    let Offered {
        way, burst, rate, ..
    } = offered;
    let size = load.protocol.packet();
    let senders = match (way, offered.sending) {
        (_, Sending::Each) => Vec::new(),
        (Way::Down, Sending::Gso) => vec![UdpSocketState::new(origin.into())?],
        (Way::Up, Sending::Gso) => flows
            .iter()
            .map(|flow| UdpSocketState::new((&flow.client).into()))
            .collect::<std::io::Result<_>>()?,
    };
    let began = Instant::now();
    let (mut sent, mut sequence, mut next) = (0_u64, 0_u32, 0);
    let mut packets = vec![0x55; size * burst];
    let acknowledges = load.protocol == Protocol::Srt && way == Way::Up;
    // The last sequence number of each flow, and when they are acknowledged next.
    let (mut last, mut acknowledge_at) = (vec![0; flows.len()], ACKNOWLEDGE);
    loop {
        let elapsed = began.elapsed().as_secs_f64();
        if elapsed >= seconds {
            return Ok(sent);
        }
        if acknowledges && elapsed >= acknowledge_at {
            acknowledge_at = elapsed + ACKNOWLEDGE;
            for (flow, last) in flows.iter().zip(&last) {
                // One that finds no room is followed by the next.
                origin
                    .send_to(&srt::acknowledgement(flow.relay_id, last + 1), flow.link)
                    .ok();
            }
        }
        let due = (elapsed * (rate * flows.len()) as f64) as u64;
        while sent < due && began.elapsed().as_secs_f64() < seconds {
            let at = next % flows.len();
            let flow = &flows[at];
            next += 1;
            for packet in packets.chunks_mut(size) {
                sequence = sequence.wrapping_add(1) & 0x7fff_ffff;
                head(load.protocol, packet, sequence, flow.relay_id);
            }
            last[at] = sequence;
            let taken = match offered.sending {
                Sending::Gso => {
                    let (socket, state, destination) = match way {
                        Way::Down => (origin, &senders[0], flow.link),
                        Way::Up => (&flow.client, &senders[at], flow.client.peer_addr()?),
                    };
                    let transmit = Transmit {
                        destination,
                        ecn: None,
                        contents: &packets,
                        segment_size: Some(size),
                        src_ip: None,
                    };
                    let taken = state.try_send(socket.into(), &transmit).is_ok();
                    if taken { burst } else { 0 }
                }
                Sending::Each => packets
                    .chunks(size)
                    .filter(|packet| match way {
                        Way::Down => origin.send_to(packet, flow.link).is_ok(),
                        Way::Up => flow.client.send(packet).is_ok(),
                    })
                    .count(),
            };
            sent += taken as u64;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Writes what the relay looks at, and the time.
fn head(protocol: Protocol, packet: &mut [u8], sequence: u32, relay_id: u32) {
    match protocol {
        Protocol::Rtc => {
            packet[..4].copy_from_slice(&[0x80, 96, (sequence >> 8) as u8, sequence as u8]);
        }
        Protocol::Srt => {
            packet[..4].copy_from_slice(&sequence.to_be_bytes());
            packet[12..16].copy_from_slice(&relay_id.to_be_bytes());
        }
    }
    packet[TIME..TIME + 8].copy_from_slice(&now().to_be_bytes());
}

/// The time in nanoseconds.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// Counts media until `stop`, and how long each packet took. It polls, so that nothing has to wake it.
fn receive(
    sockets: &[(&UdpSocket, Option<UdpSocketState>)],
    size: usize,
    arrived: &AtomicU64,
    stop: &AtomicBool,
) -> Vec<u32> {
    let mut buffer = vec![0; BATCH_SIZE * BATCH_BYTES];
    let mut metas = [RecvMeta::default(); BATCH_SIZE];
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut received = 0;
        for (socket, state) in sockets {
            let Some(state) = state else {
                while let Ok(length) = socket.recv(&mut buffer) {
                    received += u64::from(length == size);
                }
                continue;
            };
            loop {
                let mut chunks = buffer.chunks_exact_mut(BATCH_BYTES);
                let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
                    std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
                let Ok(count) = state.recv((*socket).into(), &mut slices, &mut metas) else {
                    break;
                };
                for (meta, bytes) in metas[..count].iter().zip(buffer.chunks(BATCH_BYTES)) {
                    let arrived = meta.timestamp.map(|time| time.as_nanos() as u64);
                    for packet in bytes[..meta.len].chunks(meta.stride.max(1)) {
                        if packet.len() != size {
                            continue;
                        }
                        received += 1;
                        let mut time = [0; 8];
                        time.copy_from_slice(&packet[TIME..TIME + 8]);
                        let took = arrived.map(|at| at.saturating_sub(u64::from_be_bytes(time)));
                        latencies.extend(took.and_then(|took| u32::try_from(took / 1000).ok()));
                    }
                }
            }
        }
        arrived.fetch_add(received, Ordering::Relaxed);
        std::thread::sleep(LOOK);
    }
    latencies
}

/// Datagrams that found no room since boot: at sockets with one of these ports, and at others.
fn full_buffers(ports: &BTreeSet<u16>) -> Result<(u64, u64)> {
    let (mut ours, mut others) = (0, 0);
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        for line in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(drops)) = (fields.get(1), fields.last()) else {
                continue;
            };
            let port = local.rsplit_once(':').map_or("", |(_, port)| port);
            let drops: u64 = drops.parse().unwrap_or(0);
            if ports.contains(&u16::from_str_radix(port, 16).unwrap_or(0)) {
                ours += drops;
            } else {
                others += drops;
            }
        }
    }
    Ok((ours, others))
}

/// The position of the send time in a packet: after every header.
const TIME: usize = 16;
/// Maximum bytes that the kernel may join.
const BATCH_BYTES: usize = 65_536;
/// Seconds of load before the measurement.
const WARM_UP: f64 = 0.5;
/// Seconds between two acknowledgements of an SRT receiver (SRT §3.2.4); without them it is taken for one that is gone.
const ACKNOWLEDGE: f64 = 0.01;
/// How long the sender sleeps.
const PAUSE: Duration = Duration::from_micros(50);
/// How often receivers poll.
const LOOK: Duration = Duration::from_millis(1);
/// Something arrives within this time as long as anything is in flight.
const DRAIN: Duration = Duration::from_millis(300);
/// Maximum time to wait for that.
const TIME_LIMIT: Duration = Duration::from_secs(3);
