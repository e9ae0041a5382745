//! The processes of a measurement: the origin, the relay in front of it, and what `/proc` reports about their use.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::datagrams::Through;
use crate::origin::What;
use crate::wire::Protocol;

/// What is between player and origin.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// An earlier build of Sluicegate.
    #[value(skip)]
    Before,
    /// The same binary once more: how far two measurements of one build are apart.
    #[value(skip)]
    BeforeAgain,
    /// Nothing.
    Direct,
    /// HAProxy, TCP mode, `option splice-response`, two threads.
    Haproxy,
    /// Sluicegate with its default settings.
    Sluicegate,
    /// Sluicegate with one pull for all viewers of a stream, sent every 40 ms.
    Hub,
    /// The same, sent every 20 ms.
    Hub20,
    /// Every 40 ms, and the origin is asked about each viewer.
    HubChecked,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::BeforeAgain => "before again",
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::Sluicegate => "sluicegate",
            Self::Hub => "hub",
            Self::Hub20 => "hub20",
            Self::HubChecked => "hub-checked",
        }
    }

    /// What a hub is set to.
    fn fanout(self) -> &'static str {
        match self {
            Self::Hub => "[fanout]\nmode = \"open\"\npublic = true\n",
            Self::Hub20 => "[fanout]\nmode = \"open\"\npublic = true\ncoalesce = \"20ms\"\n",
            Self::HubChecked => "[fanout]\nmode = \"checked\"\n",
            Self::Before | Self::BeforeAgain | Self::Direct | Self::Haproxy | Self::Sluicegate => {
                ""
            }
        }
    }
}

/// The binaries to run.
#[derive(Clone)]
pub(crate) struct Programs {
    pub(crate) sluicegate: PathBuf,
    /// The earlier build, if two are compared.
    pub(crate) before: Option<PathBuf>,
}

impl Programs {
    /// Sluicegate's binary for this kind; `None` if it is something else.
    pub(crate) fn of(&self, kind: Kind) -> Option<&Path> {
        match kind {
            Kind::Before | Kind::BeforeAgain => self.before.as_deref(),
            Kind::Direct | Kind::Haproxy => None,
            Kind::Hub | Kind::Hub20 | Kind::HubChecked | Kind::Sluicegate => Some(&self.sluicegate),
        }
    }
}

/// The ports of one process on loopback.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    pub(crate) rtmp: u16,
    pub(crate) http: u16,
    pub(crate) rtsp: u16,
}

impl Ports {
    pub(crate) fn of(self, protocol: Protocol) -> SocketAddr {
        let port = match protocol {
            Protocol::Flv => self.http,
            Protocol::Rtmp | Protocol::Publish => self.rtmp,
            Protocol::Rtsp => self.rtsp,
        };
        (Ipv4Addr::LOCALHOST, port).into()
    }
}

/// This program again, as `origin`.
pub(crate) struct Origin {
    pub(crate) ports: Ports,
    child: Running,
}

impl Origin {
    pub(crate) fn start(what: What) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["origin", "--frame", &what.frame.to_string()])
            .args(what.live.then_some("--live"))
            .args(what.pauses.then_some("--pauses"))
            .args(what.silent.then_some("--silent"))
            .stdout(Stdio::piped());
        let mut child = Running::start(&mut command)?;
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        let mut ports = line.split_whitespace();
        let mut port = || ports.next().context("the origin printed no ports");
        Ok(Self {
            ports: Ports {
                rtmp: port()?.parse()?,
                http: port()?.parse()?,
                rtsp: port()?.parse()?,
            },
            child,
        })
    }

    pub(crate) fn cpu(&self) -> Result<f64> {
        self.child.cpu()
    }
}

/// A relay with its own directory for configuration and log, which is removed when the relay is dropped.
pub(crate) struct Relay {
    pub(crate) ports: Ports,
    child: Option<Running>,
    /// Where Sluicegate tells its metrics.
    system: Option<u16>,
    directory: PathBuf,
}

impl Relay {
    /// Returns once the relay serves `origin` on every port.
    pub(crate) fn start(kind: Kind, origin: Ports, programs: &Programs) -> Result<Self> {
        let directory = std::env::temp_dir().join(format!(
            "relay-bench-{}-{}",
            std::process::id(),
            free_port()?
        ));
        fs::create_dir_all(&directory)?;
        let mut relay = Self {
            ports: origin,
            child: None,
            system: None,
            directory,
        };
        if kind == Kind::Direct {
            return Ok(relay);
        }
        let [rtmp, http, rtsp, system] = free_ports()?;
        relay.ports = Ports { rtmp, http, rtsp };
        let configuration = relay.directory.join("configuration");
        let log = relay.directory.join("log");
        let (text, mut command) = match programs.of(kind) {
            None => {
                let mut command = Command::new("haproxy");
                command.arg("-db").arg("-f").arg(&configuration);
                (haproxy(relay.ports, origin), command)
            }
            Some(program) => {
                let mut command = Command::new(program);
                command
                    .arg("run")
                    .arg("--config")
                    .arg(&configuration)
                    .current_dir(&relay.directory);
                let mut text = settings(relay.ports, system)?;
                text.push_str(kind.fanout());
                (text, command)
            }
        };
        fs::write(&configuration, text)?;
        let log = File::create(log)?;
        command
            .stdout(log.try_clone()?)
            .stderr(log)
            .env_remove("RUST_LOG");
        relay.child = Some(
            Running::start(&mut command)
                .with_context(|| format!("{} did not start", kind.name()))?,
        );
        relay.system = programs.of(kind).map(|_| system);
        relay
            .wait(relay.system, origin)
            .with_context(|| format!("{} does not serve", kind.name()))?;
        Ok(relay)
    }

    /// The relay's process, if there is a relay.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Running::process)
    }

    /// CPU time used so far; none if there is no relay.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        self.child
            .as_ref()
            .map_or(Ok(CpuTime::default()), |child| cpu(child.process()))
    }

    /// `VmRSS`, kB.
    pub(crate) fn resident(&self) -> Result<f64> {
        self.process().map_or(Ok(0.0), resident)
    }

    /// What a metric without labels says; zero where the relay has none of that name, as earlier builds may.
    pub(crate) fn metric(&self, name: &str) -> Result<f64> {
        let Some(system) = self.system else {
            return Ok(0.0);
        };
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, system))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let values = answer.lines().filter_map(|line| line.strip_prefix(name));
        let mut values = values.filter_map(|rest| rest.trim().parse().ok());
        Ok(values.next().unwrap_or(0.0))
    }

    /// kB that are its own: `VmRSS` without the media that it holds for all viewers.
    pub(crate) fn resident_besides_feeds(&self) -> Result<f64> {
        Ok(self.resident()? - self.metric("sluicegate_fanout_bytes")? / 1024.0)
    }

    /// Sluicegate is told of the origin at its port `system`.
    fn wait(&mut self, system: Option<u16>, origin: Ports) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let served = [Protocol::Rtmp, Protocol::Flv, Protocol::Rtsp]
                .map(|protocol| TcpStream::connect(self.ports.of(protocol)));
            let outcome = match (served.into_iter().find_map(Result::err), system) {
                (Some(error), _) => Err(error.into()),
                (None, Some(system)) => register(system, origin),
                (None, None) => Ok(()),
            };
            let ended = self
                .child
                .as_mut()
                .is_some_and(|child| !matches!(child.0.try_wait(), Ok(None)));
            match outcome {
                Ok(()) => return Ok(()),
                Err(error) if ended || Instant::now() > deadline => {
                    let log = fs::read_to_string(self.directory.join("log"))?;
                    return Err(error.context(log.trim().to_owned()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.child = None;
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Busy time of the whole machine, CPU seconds.
pub(crate) fn busy() -> Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else {
        bail!("/proc/stat: {line}")
    };
    Ok((user + nice + system + irq + softirq) / TICKS)
}

/// CPU seconds of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTime {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl CpuTime {
    pub(crate) fn total(self) -> f64 {
        self.user + self.system
    }

    /// What was used after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            user: self.user - earlier.user,
            system: self.system - earlier.system,
        }
    }

    pub(crate) fn per(self, amount: f64) -> Self {
        Self {
            user: self.user / amount,
            system: self.system / amount,
        }
    }
}

/// CPU seconds that a process used so far; the resolution is a hundredth.
pub(crate) fn cpu(process: u32) -> Result<CpuTime> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name before it may contain spaces and brackets.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let mut ticks = fields
        .split_whitespace()
        .skip(11)
        .map_while(|field| field.parse::<f64>().ok());
    Ok(CpuTime {
        user: ticks.next().context("no utime")? / TICKS,
        system: ticks.next().context("no stime")? / TICKS,
    })
}

/// `VmRSS` of a process, kB.
fn resident(process: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A child that ends with us.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        Ok(Self(command.stdin(Stdio::null()).spawn()?))
    }

    pub(crate) fn process(&self) -> u32 {
        self.0.id()
    }

    /// `VmRSS`, kB.
    pub(crate) fn resident(&self) -> Result<f64> {
        resident(self.process())
    }

    /// CPU seconds used so far, user and system.
    pub(crate) fn cpu(&self) -> Result<f64> {
        Ok(cpu(self.process())?.total())
    }

    /// Ends it, and returns what it said.
    pub(crate) fn end(mut self) -> Result<String> {
        self.0.kill()?;
        let mut said = String::new();
        let mut out = self.0.stdout.take().context("stdout is piped")?;
        out.read_to_string(&mut said)?;
        Ok(said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn haproxy(listen: Ports, origin: Ports) -> String {
    let listener = |name: &str, from: u16, to: u16| {
        format!("listen {name}\n  bind 127.0.0.1:{from}\n  server origin 127.0.0.1:{to}\n")
    };
    // Without `maxpipes`, only a quarter of the connections could splice at once, and the rest would copy.
    let head = "global\n  nbthread 2\n  maxconn 4000\n  maxpipes 4000\ndefaults\n  mode tcp\n  option splice-response\n  \
        timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n";
    [
        head,
        &listener("rtmp", listen.rtmp, origin.rtmp),
        &listener("http", listen.http, origin.http),
        &listener("rtsp", listen.rtsp, origin.rtsp),
    ]
    .concat()
}

pub(crate) fn settings(listen: Ports, system: u16) -> Result<String> {
    let Ports { rtmp, http, rtsp } = listen;
    let api = free_port()?;
    Ok(format!(
        "[rtmp]\nlisten = \"127.0.0.1:{rtmp}\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n\
         [api]\nlisten = \"127.0.0.1:{api}\"\n[system]\nlisten = \"127.0.0.1:{system}\"\n\
         [rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[srt]\nlisten = \"127.0.0.1:0\"\n"
    ))
}

/// Reports the origin as SRS's heartbeat does.
pub(crate) fn register(system: u16, origin: Ports) -> Result<()> {
    let body = serde_json::json!({
        "ip": "127.0.0.1", "server": "bench", "service": "bench", "pid": "1",
        "rtmp": [origin.rtmp.to_string()], "http": [origin.http.to_string()],
        "rtsp": [origin.rtsp.to_string()],
    });
    report(system, &body)
}

/// Reports an origin.
fn report(system: u16, body: &serde_json::Value) -> Result<()> {
    let body = body.to_string();
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, system))?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let length = body.len();
    let head = "POST /api/v1/srs/register HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json";
    socket.write_all(format!("{head}\r\nContent-Length: {length}\r\n\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("registration answered {answer:?}");
    }
    Ok(())
}

/// A relay of datagrams: Sluicegate, or this program as `plain` with arguments, which relays anything.
pub(crate) struct DatagramRelay {
    pub(crate) srt: SocketAddr,
    pub(crate) rtc: SocketAddr,
    /// The address for WebRTC signalling.
    pub(crate) api: SocketAddr,
    child: Running,
    directory: PathBuf,
}

impl DatagramRelay {
    /// Returns once it serves the origin with its media at `origin` and its API at `api`.
    pub(crate) fn start(
        through: Through<'_>,
        origin: u16,
        api: u16,
        every_address: bool,
    ) -> Result<Self> {
        let name = format!("relay-bench-{}-{}", std::process::id(), free_port()?);
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory)?;
        let sluicegate = match through {
            Through::Plain(arguments) => return Self::plain(arguments, origin, directory),
            Through::Sluicegate(program) => std::path::absolute(program)?,
        };
        // A port that the system chose for the first one could be the port meant for the last one.
        let [rtmp, http, rtsp, system, srt, rtc, signalling] = free_ports()?;
        let configuration = directory.join("configuration");
        let at = |port: u16| {
            if every_address {
                port.to_string()
            } else {
                format!("\"127.0.0.1:{port}\"")
            }
        };
        let text = format!(
            "[rtmp]\nlisten = \"127.0.0.1:{rtmp}\"\n[http]\nlisten = \"127.0.0.1:{http}\"\n\
             [rtsp]\nlisten = \"127.0.0.1:{rtsp}\"\n[api]\nlisten = \"127.0.0.1:{signalling}\"\n\
             [system]\nlisten = \"127.0.0.1:{system}\"\n\
             [srt]\nlisten = {}\nidle = \"60s\"\ncalls_per_source = 10000\n\
             [rtc]\nlisten = {}\npublic_addresses = [\"127.0.0.1\"]\n\
             [session]\nplay_wait = \"1h\"\n[placement]\nclaims_per_source = 100000\n",
            at(srt),
            at(rtc)
        );
        fs::write(&configuration, text)?;
        let log = File::create(directory.join("log"))?;
        let mut command = Command::new(sluicegate);
        command
            .args(["run", "--config"])
            .arg(&configuration)
            .current_dir(&directory)
            .stdout(log.try_clone()?)
            .stderr(log)
            .env_remove("RUST_LOG");
        let child = Running::start(&mut command)?;
        let body = serde_json::json!({
            "ip": "127.0.0.1", "server": "bench", "service": "bench", "pid": "1",
            "rtmp": ["1"], "srt": [origin.to_string()],
            "api": [api.to_string()], "rtc": [origin.to_string()],
        });
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = report(system, &body) {
            if Instant::now() > deadline {
                return Err(error.context(fs::read_to_string(directory.join("log"))?));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            srt: here(srt),
            rtc: here(rtc),
            api: here(signalling),
            child,
            directory,
        })
    }

    fn plain(arguments: &[&str], origin: u16, directory: PathBuf) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["plain", &here(origin).to_string()]);
        command.args(arguments);
        let mut child = Running::start(command.stdout(Stdio::piped()))?;
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().context("stdout is piped")?).read_line(&mut line)?;
        let address = here(line.trim().parse()?);
        Ok(Self {
            srt: address,
            rtc: address,
            api: address,
            child,
            directory,
        })
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.process()
    }

    /// CPU time used so far.
    pub(crate) fn cpu(&self) -> Result<CpuTime> {
        cpu(self.process())
    }

    /// `VmRSS`, kB.
    pub(crate) fn resident(&self) -> Result<f64> {
        resident(self.process())
    }
}

impl Drop for DatagramRelay {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port that is free over TCP and UDP.
pub(crate) fn free_port() -> Result<u16> {
    Ok(free_ports::<1>()?[0])
}

/// Different ports that are free over TCP and UDP.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for _ in 0..100 * N {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = tcp.local_addr()?.port();
        if let Ok(udp) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            held.push((tcp, udp));
            ports.push(port);
        }
        if let Ok(ports) = ports.as_slice().try_into() {
            return Ok(ports);
        }
    }
    bail!("no port is free for TCP and for UDP")
}

/// Linux counts CPU time for user space in hundredths of a second, whatever the kernel's own clock.
const TICKS: f64 = 100.0;
