//! What relaying datagrams costs: SRT media through Sluicegate, next to the same packets through a relay that makes
//! two calls for each of them.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use socket2::SockRef;

use crate::process::DatagramRelay;

/// What is offered, and how often.
#[derive(Args)]
pub(crate) struct Load {
    /// Flows at once
    #[arg(long, default_value_t = 40)]
    flows: usize,
    /// Packets per second of each flow
    #[arg(long, default_value_t = 2000)]
    rate: usize,
    /// Seconds measured
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Instead of costs: more and more packets, to see from where on some are lost
    #[arg(long)]
    sweep: bool,
    /// The binary to measure
    #[arg(long, default_value = "target/release/sluicegate")]
    sluicegate: PathBuf,
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// From the origin: players.
    Down,
    /// To the origin: publishers.
    Up,
}

/// One measurement.
struct Sample {
    sent: u64,
    received: u64,
    seconds: f64,
    cpu: f64,
}

impl Sample {
    /// CPU of the relay for each packet it delivered, in microseconds.
    fn cost(&self) -> f64 {
        self.cpu * 1e6 / self.received.max(1) as f64
    }

    fn loss(&self) -> f64 {
        100.0 * (self.sent - self.received.min(self.sent)) as f64 / self.sent.max(1) as f64
    }
}

pub(crate) fn run(load: &Load) -> Result<()> {
    if load.sweep {
        return sweep(load);
    }
    println!("way   burst  plain us/packet (loss)   sluicegate us/packet (loss)   ratio");
    for way in [Way::Down, Way::Up] {
        for burst in [1, 4, 8] {
            let mut ratios = Vec::new();
            for round in 0..load.rounds {
                // Whoever comes first has no advantage of it.
                let mut order = [false, true];
                if round % 2 == 1 {
                    order.reverse();
                }
                let mut samples = Vec::new();
                for plain in order {
                    samples.push((plain, measure(load, plain, way, burst, load.rate)?));
                }
                samples.sort_by_key(|(plain, _)| !plain);
                let (plain, ours) = (&samples[0].1, &samples[1].1);
                let ratio = ours.cost() / plain.cost();
                println!(
                    "{way:?}  {burst:>5}  {:>8.2} ({:.2} %)  {:>18.2} ({:.2} %)  {:>15.2}",
                    plain.cost(),
                    plain.loss(),
                    ours.cost(),
                    ours.loss(),
                    ratio
                );
                ratios.push(ratio);
            }
            ratios.sort_by(f64::total_cmp);
            println!(
                "{way:?}  {burst:>5}  median ratio {:.2}",
                ratios[ratios.len() / 2]
            );
        }
    }
    Ok(())
}

fn sweep(load: &Load) -> Result<()> {
    println!("relay       offered kpps  delivered kpps    loss  us/packet");
    for burst in [1, 8] {
        for rate in [1000, 2000, 3000, 4000, 6000, 8000] {
            for plain in [true, false] {
                let sample = measure(load, plain, Way::Down, burst, rate)?;
                println!(
                    "{:<11} {:>12.1}  {:>14.1}  {:>5.2} %  {:>8.2}  burst {burst}",
                    if plain { "plain" } else { "sluicegate" },
                    sample.sent as f64 / sample.seconds / 1e3,
                    sample.received as f64 / sample.seconds / 1e3,
                    sample.loss(),
                    sample.cost()
                );
            }
        }
    }
    Ok(())
}

fn measure(load: &Load, plain: bool, way: Way, burst: usize, rate: usize) -> Result<Sample> {
    let origin = socket()?;
    let relay = DatagramRelay::start(plain, &load.sluicegate, origin.local_addr()?.port())?;
    let flows = (0..load.flows)
        .map(|index| Flow::open(plain, relay.address, &origin, index))
        .collect::<Result<Vec<_>>>()?;
    let stop = AtomicBool::new(false);
    let received = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| match way {
            Way::Down => {
                let sockets: Vec<&UdpSocket> = flows.iter().map(|flow| &flow.client).collect();
                count(&sockets, &received, &stop)
            }
            Way::Up => count(&[&origin], &received, &stop),
        });
        let before = relay.cpu()?;
        let began = Instant::now();
        let sent = send(load, way, burst, rate, &flows, &origin);
        let seconds = began.elapsed().as_secs_f64();
        std::thread::sleep(DRAIN);
        let cpu = relay.cpu()? - before;
        stop.store(true, Ordering::Relaxed);
        let counted = receiver.join();
        counted.map_err(|_| anyhow::anyhow!("the receiver failed"))??;
        Ok(Sample {
            sent,
            received: received.load(Ordering::Relaxed),
            seconds,
            cpu,
        })
    })
}

/// Sends at the rate wanted, `burst` packets of a flow at once; returns how many.
fn send(
    load: &Load,
    way: Way,
    burst: usize,
    rate: usize,
    flows: &[Flow],
    origin: &UdpSocket,
) -> u64 {
    let began = Instant::now();
    let (mut sent, mut sequence, mut next) = (0_u64, 0_u32, 0);
    let mut packet = vec![0x55; PACKET];
    loop {
        let elapsed = began.elapsed().as_secs_f64();
        if elapsed >= load.seconds {
            return sent;
        }
        let due = (elapsed * (rate * flows.len()) as f64) as u64;
        while sent < due {
            let flow = &flows[next % flows.len()];
            next += 1;
            for _ in 0..burst {
                sequence = sequence.wrapping_add(1) & 0x7fff_ffff;
                packet[..4].copy_from_slice(&sequence.to_be_bytes());
                packet[12..16].copy_from_slice(&flow.relay_id.to_be_bytes());
                let taken = match way {
                    Way::Down => origin.send_to(&packet, flow.link),
                    Way::Up => flow.client.send(&packet),
                };
                sent += u64::from(taken.is_ok());
            }
        }
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Counts media until `stop`.
fn count(sockets: &[&UdpSocket], received: &AtomicU64, stop: &AtomicBool) -> Result<()> {
    let mut buffer = [0; 2048];
    for socket in sockets {
        socket.set_nonblocking(true)?;
    }
    while !stop.load(Ordering::Relaxed) {
        let mut got = 0;
        for socket in sockets {
            while let Ok(length) = socket.recv(&mut buffer) {
                got += u64::from(length == PACKET);
            }
        }
        received.fetch_add(got, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(200));
    }
    for socket in sockets {
        socket.set_nonblocking(false)?;
    }
    Ok(())
}

/// One client, joined through the relay.
struct Flow {
    client: UdpSocket,
    /// The socket id both sides write to.
    relay_id: u32,
    /// Where the origin sees it.
    link: SocketAddr,
}

impl Flow {
    fn open(plain: bool, relay: SocketAddr, origin: &UdpSocket, index: usize) -> Result<Self> {
        let client = socket()?;
        client.connect(relay)?;
        for socket in [&client, origin] {
            socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        }
        let mut buffer = [0; 2048];
        if plain {
            client.send(b"hello")?;
            let (_, link) = origin.recv_from(&mut buffer)?;
            return Ok(Self {
                client,
                relay_id: 1,
                link,
            });
        }
        let id = u32::try_from(index)? + 1;
        client.send(&handshake(0, 4, 2, 1, id, 0, &[]))?;
        let length = client.recv(&mut buffer)?;
        let cookie = word(&buffer[..length], 44)?;
        let asked = [REQUEST, &stream_id(&format!("live/{index}"))].concat();
        client.send(&handshake(0, 5, 5, CONCLUSION, id, cookie, &asked))?;
        let (length, link) = origin.recv_from(&mut buffer)?;
        let relay_id = word(&buffer[..length], 40)?;
        origin.send_to(&handshake(relay_id, 5, 0x4a17, 1, 7, 99, &[]), link)?;
        origin.recv_from(&mut buffer)?;
        let mut agreed = REQUEST.to_vec();
        agreed[1] = 2;
        origin.send_to(
            &handshake(relay_id, 5, 1, CONCLUSION, id, 99, &agreed),
            link,
        )?;
        let length = client.recv(&mut buffer)?;
        ensure!(
            word(&buffer[..length], 36)? == CONCLUSION,
            "the relay refused a caller: {}",
            word(&buffer[..length], 36)?
        );
        Ok(Self {
            client,
            relay_id,
            link,
        })
    }
}

fn handshake(
    to: u32,
    version: u32,
    extension: u32,
    step: u32,
    id: u32,
    cookie: u32,
    extensions: &[u8],
) -> Vec<u8> {
    let words = [
        0x8000_0000,
        0,
        0,
        to,
        version,
        extension,
        1,
        1500,
        8192,
        step,
        id,
        cookie,
        0,
        0,
        0,
        0,
    ];
    let mut packet: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    packet.extend(extensions);
    packet
}

fn stream_id(text: &str) -> Vec<u8> {
    let words = u8::try_from(text.len().div_ceil(4)).unwrap_or(u8::MAX);
    let mut extension = vec![0, 5, 0, words];
    for chunk in text.as_bytes().chunks(4) {
        let mut word = [0; 4];
        for (place, byte) in word.iter_mut().rev().zip(chunk) {
            *place = *byte;
        }
        extension.extend(word);
    }
    extension
}

fn word(packet: &[u8], at: usize) -> Result<u32> {
    let bytes = packet.get(at..at + 4).context("a short handshake")?;
    Ok(u32::from_be_bytes(bytes.try_into()?))
}

fn socket() -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    SockRef::from(&socket).set_recv_buffer_size(4 << 20)?;
    Ok(socket)
}

const CONCLUSION: u32 = 0xffff_ffff;
/// The handshake extension.
const REQUEST: &[u8] = &[0, 1, 0, 3, 0, 1, 5, 1, 0, 0, 0, 0xbf, 0, 120, 0, 120];
/// What SRT makes of seven MPEG-TS packets.
const PACKET: usize = 1332;
/// What is on its way arrives in this.
const DRAIN: Duration = Duration::from_millis(300);
