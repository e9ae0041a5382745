//! What Kubernetes does with pods, played with processes: a pod is a proxy in a network namespace of its own, and a Service
//! is an address whose connections and flows the kernel's own translation leads to one of the pods, as kube-proxy has it.
//!
//! It stands on [`namespaces`](super::namespaces): the test is inside before anything here is called.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::machine::installed;
use super::namespaces::ip;
use super::program::Program;
use super::proxy::{self, Proxy};

/// A proxy with an address of its own.
pub(crate) struct Pod {
    pub(crate) proxy: Proxy,
    address: Ipv4Addr,
}

impl Pod {
    /// Starts one. The others of its fleet are at [`address_of`] their numbers.
    pub(crate) fn start(number: u8, settings: &str) -> Self {
        let (name, address) = (format!("pod{number}"), address_of(number));
        ip(&format!("netns add {name}"));
        ip(&format!(
            "link add {name} type veth peer name eth0 netns {name}"
        ));
        ip(&format!("addr add 10.9.{number}.1/24 dev {name}"));
        ip(&format!("link set {name} up"));
        ip(&format!("-n {name} addr add {address}/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        ip(&format!("-n {name} route add default via 10.9.{number}.1"));
        Self {
            proxy: Proxy::start_in(settings, &name, address.into()),
            address,
        }
    }

    /// What the kubelet's readiness probe finds, as the chart has it.
    pub(crate) fn is_ready(&self) -> bool {
        let asked = || -> std::io::Result<Vec<u8>> {
            let mut socket = TcpStream::connect_timeout(&self.proxy.system, PROBE_TIMEOUT)?;
            socket.set_read_timeout(Some(PROBE_TIMEOUT))?;
            let path = readiness_path();
            write!(
                socket,
                "GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"
            )?;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer)?;
            Ok(answer)
        };
        asked().is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200 "))
    }

    /// How many origins it would send clients to.
    pub(crate) fn origins_up(&self) -> u64 {
        let ready = self.proxy.system("GET", "/readyz");
        let document: Option<Value> = serde_json::from_slice(&ready.body).ok();
        let up = document.and_then(|document| document["origins"]["up"].as_u64());
        up.unwrap_or_default()
    }

    /// Goes through what happens to a pod that is deleted, until its process has ended.
    pub(crate) fn delete(mut self, service: &Service, life: &Life) -> Gone {
        let deleted = Instant::now();
        wait_until(deleted + life.endpoints_lag);
        service.change(|pods| pods.retain(|pod| pod.address != self.address));
        wait_until(deleted + life.pre_stop_sleep);
        self.proxy.terminate();
        let asked = Instant::now();
        let mut probe_at = asked;
        while self.proxy.is_running() {
            let now = Instant::now();
            if now >= probe_at {
                probe_at += PROBE_EVERY;
                if !self.is_ready() {
                    service.forget_flows(self.address);
                }
            }
            let left = life.termination.saturating_sub(life.pre_stop_sleep);
            assert!(now - asked < left, "the kubelet would kill it");
            std::thread::sleep(POLL);
        }
        let took = asked.elapsed();
        service.forget_flows(self.address);
        let ended = self.proxy.log_times("session ended");
        Gone {
            asked,
            took,
            well: self.proxy.wait_end(PROBE_TIMEOUT).success(),
            ended,
        }
    }
}

/// The times of a pod's end.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    /// How long after the deletion new connections are no longer led to it.
    pub(crate) endpoints_lag: Duration,
    /// How long after the deletion its process is asked to stop.
    pub(crate) pre_stop_sleep: Duration,
    /// How long after the deletion its process would be killed.
    pub(crate) termination: Duration,
}

/// How a pod went.
#[derive(Debug)]
pub(crate) struct Gone {
    /// When its process was asked to stop.
    pub(crate) asked: Instant,
    /// How long that took.
    pub(crate) took: Duration,
    /// It ended by itself and has nothing to complain of.
    pub(crate) well: bool,
    /// The log records of its sessions' ends.
    pub(crate) ended: Vec<(Instant, Value)>,
}

/// One address in front of pods: the node's translation of it, and nothing else.
pub(crate) struct Service {
    pods: Mutex<Vec<Endpoints>>,
}

/// Where the listeners of a pod are.
struct Endpoints {
    address: Ipv4Addr,
    /// The protocol, the port of the Service, and where that leads.
    ports: [(&'static str, u16, SocketAddr); 5],
}

impl Service {
    /// Lays the node's links and translations.
    pub(crate) fn lay() -> Self {
        for (file, value) in [("ip_forward", "1"), ("conf/all/route_localnet", "1")] {
            fs::write(format!("/proc/sys/net/ipv4/{file}"), value).expect("a namespace of ours");
        }
        ip(&format!("addr add {CLIENTS}/32 dev lo"));
        ip(&format!("addr add {ORIGINS}/32 dev lo"));
        ip(&format!("route add {SERVICE}/32 dev lo src {CLIENTS}"));
        let chains: String = ["PREROUTING", "OUTPUT"]
            .into_iter()
            .flat_map(|chain| {
                [
                    format!("-A {chain} -d {SERVICE} -j {CHAIN}\n"),
                    // Origins listen on the loopback of this machine; pods reach them at an address of their own.
                    format!("-A {chain} -d {ORIGINS} -j DNAT --to-destination 127.0.0.1\n"),
                ]
            })
            .collect();
        translate(&format!(":{CHAIN} - [0:0]\n{chains}"));
        Self {
            pods: Mutex::default(),
        }
    }

    /// New connections and flows may go to this pod, too.
    pub(crate) fn add(&self, pod: &Pod) {
        let proxy = &pod.proxy;
        let ports = [
            ("tcp", RTMP, proxy.rtmp),
            ("tcp", HTTP, proxy.http),
            ("tcp", API, proxy.api),
            ("tcp", SYSTEM, proxy.system),
            ("udp", SRT, proxy.srt),
        ];
        let address = pod.address;
        self.change(|pods| pods.push(Endpoints { address, ports }));
    }

    /// Changes where new connections and flows go, in one step. Those there are stay where they are.
    fn change(&self, change: impl FnOnce(&mut Vec<Endpoints>)) {
        let mut pods = self.pods.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut pods);
        let mut rules = format!(":{CHAIN} - [0:0]\n-F {CHAIN}\n");
        for (index, pod) in pods.iter().enumerate() {
            // The first of three takes a third, the next one half of the rest.
            let share = 1.0 / f64::from(u32::try_from(pods.len() - index).expect("a few pods"));
            for (protocol, port, to) in pod.ports {
                rules.push_str(&format!(
                    "-A {CHAIN} -p {protocol} --dport {port} -m statistic --mode random --probability {share:.10} \
                     -j DNAT --to-destination {to}\n"
                ));
            }
        }
        translate(&rules);
    }

    /// What kube-proxy does with the UDP flows of a pod that is not ready any more, since 1.32: each of their next packets
    /// goes to some other pod.
    fn forget_flows(&self, pod: Ipv4Addr) {
        // It fails where there are none.
        let _ = Command::new(installed(&["conntrack"]))
            .args([
                "-D",
                "-p",
                "udp",
                "-d",
                &SERVICE.to_string(),
                "-r",
                &pod.to_string(),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// Reports an origin to the Service for as long as it answers, with the ports that `endpoints` names.
pub(crate) fn report_to_service(name: &str, endpoints: &[(&str, u16)]) -> Program {
    let mut register = proxy::binary();
    register.args(["register", "--server", name, "--ip", &ORIGINS.to_string()]);
    for (option, port) in endpoints {
        register.args([&format!("--{option}"), &port.to_string()]);
    }
    register.args([
        "--to",
        &format!("http://{}", at(SYSTEM)),
        "--while-answers",
        "--every",
        "1s",
    ]);
    Program::start("register", &mut register)
}

/// The Service at one of its ports.
pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddrV4::new(SERVICE, port).into()
}

/// The address of a pod.
pub(crate) fn address_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 9, number, 2)
}

/// The path that the chart has the kubelet ask.
fn readiness_path() -> &'static str {
    let workload = include_str!("../../packaging/chart/sluicegate/templates/workload.yaml");
    let probe = workload
        .split_once("readinessProbe:")
        .map(|(_, probe)| probe);
    let path = probe
        .and_then(|probe| probe.split_once("path: "))
        .map(|(_, path)| path);
    let path = path.and_then(|path| path.split([',', '}']).next());
    path.expect("the chart has a readiness probe")
        .trim_matches('"')
}

/// Adds rules to the table of translations, all in one step.
#[track_caller]
fn translate(rules: &str) {
    let mut restore = Command::new(installed(&["iptables-restore"]));
    let mut restore = restore
        .args(["--noflush", "--wait"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("iptables-restore is there");
    let mut input = restore.stdin.take().expect("its input is piped");
    write!(input, "*nat\n{rules}COMMIT\n").expect("it reads");
    drop(input);
    let done = restore.wait().expect("a child of ours");
    assert!(done.success(), "iptables-restore refuses:\n{rules}");
}

fn wait_until(time: Instant) {
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
}

pub(crate) const RTMP: u16 = 1935;
pub(crate) const HTTP: u16 = 8080;
pub(crate) const API: u16 = 1985;
pub(crate) const SYSTEM: u16 = 12025;
pub(crate) const SRT: u16 = 10080;
/// Where the fleet is, wherever its pods are.
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Where clients come from.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 6, 0, 1);
/// Where pods reach the origins of this machine.
const ORIGINS: Ipv4Addr = Ipv4Addr::new(10, 7, 0, 1);
/// The rules of the Service.
const CHAIN: &str = "SERVICE";
/// As the chart has it.
const PROBE_EVERY: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
