//! Two listeners that want one port: of two settings that somebody wrote, neither can win; a default gives way. So does
//! WebRTC media over TCP, unless `rtc.tcp` is written: over UDP it is served all the same. And origins that are listeners of
//! this proxy.

use std::net::{Ipv4Addr, SocketAddr};

use sluicegate_core::fleet::origin::{self, Host};
use sluicegate_core::stream::Service;

use super::{Problem, Settings, setting};
use crate::value::{Listen, Opening, is_covered};

/// An address that a setting asks for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    setting: &'static str,
    transport: Transport,
    address: SocketAddr,
    /// Whether nobody asked for it by name: the listener, or that media is taken over TCP.
    is_default: bool,
}

/// A socket that a service manager bound for a listener: it and others of the same name are all that the listener has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedSocket {
    /// `rtmp`, or `rtmp_tls` for a port with TLS; may be the name of no listener.
    pub listener: String,
    /// Streams are accepted there; else datagrams arrive there.
    pub is_tcp: bool,
    /// Where it is bound.
    pub address: SocketAddr,
}

/// What is bound, and how the system decides between two that overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Datagrams of clients. Another socket may share the port; datagrams then go to the one whose address fits best.
    SharedUdp,
    /// Streams.
    Tcp,
    /// Datagrams of other proxies; the port is this socket's alone.
    Udp,
}

impl Wanted {
    fn is_media_over_tcp(&self) -> bool {
        self.setting == MEDIA && self.transport == Transport::Tcp
    }

    fn clashes_with(&self, other: &Self) -> bool {
        let shared = [self, other].map(|one| one.transport == Transport::SharedUdp);
        let is_tcp = [self, other].map(|one| one.transport == Transport::Tcp);
        let (port, others) = (self.address.port(), other.address.port());
        if is_tcp[0] != is_tcp[1] || port != others || port == 0 {
            return false;
        }
        match shared {
            [true, true] => covers(self, other) && covers(other, self),
            _ => covers(self, other) || covers(other, self),
        }
    }
}

/// Whether whatever arrives for `other` could arrive for `one`.
fn covers(one: &Wanted, other: &Wanted) -> bool {
    is_covered(one.address, other.address)
}

/// Refuses settings that want one port, and closes a listener at its default port where another setting names that
/// port. `is_media_over_tcp_asked_for`: somebody wrote `rtc.tcp`. What is bound for a listener already clashes with none;
/// where nobody knows of `passed` sockets, this is said.
pub(super) fn check(
    settings: &mut Settings,
    is_media_over_tcp_asked_for: bool,
    passed: Option<&[PassedSocket]>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    let (before, warned_before) = (problems.len(), warnings.len());
    let all = wanted(
        settings,
        is_media_over_tcp_asked_for,
        passed.unwrap_or_default(),
    );
    decide(settings, &all, problems, warnings);
    refuse_itself(settings, passed.unwrap_or_default(), problems, warnings);
    if passed.is_some() {
        return;
    }
    for problem in &mut problems[before..] {
        if let Problem::Conflict(told) = problem {
            told.push_str(UNSEEN);
        }
    }
    for warning in &mut warnings[warned_before..] {
        warning.push_str(UNSEEN);
    }
}

fn decide(
    settings: &mut Settings,
    wanted: &[Wanted],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    for (index, second) in wanted.iter().enumerate() {
        let earlier = wanted[..index].iter();
        for first in earlier.filter(|first| is_told(first, second) && first.clashes_with(second)) {
            if first.setting == second.setting {
                problems.push(Problem::Conflict(told(first, second)));
                continue;
            }
            match (first.is_default, second.is_default) {
                // It is the last of the list, so it is never the first of two.
                (_, true) if second.is_media_over_tcp() => {
                    leave_tcp(settings, first, second, warnings);
                }
                (true, true) => {}
                (false, false) => problems.push(Problem::Conflict(told(first, second))),
                (true, false) => give_way(settings, first, second, warnings),
                (false, true) => give_way(settings, second, first, warnings),
            }
        }
    }
}

/// Refuses origins that are this proxy itself: what is sent to one comes back, over and over. Only loopback addresses and
/// the very address of a listener are surely ours before anything is bound; of others the dial finds it out. The default origin has
/// ports that nobody may have written, and is warned of: no client has to ask for them.
fn refuse_itself(
    settings: &Settings,
    passed: &[PassedSocket],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    let default = &settings.default_origin;
    let own =
        default
            .enabled
            .then_some((DEFAULT_ORIGIN.to_owned(), &default.ip, &default.endpoints));
    let listed = settings.sources.origins.iter();
    let listed = listed.map(|(id, origin)| {
        let named = format!("the [[origin]] {id}");
        (named, &origin.ip, &origin.endpoints)
    });
    for (named, ip, endpoints) in own.into_iter().chain(listed) {
        for (service, endpoint) in Service::ALL
            .into_iter()
            .flat_map(|service| endpoints.of(service).iter().map(move |one| (service, one)))
        {
            let host = endpoint.host.as_ref().unwrap_or(ip);
            let is_tcp = endpoint.transport == origin::Transport::Tcp;
            let Some(listener) = listening_at(settings, passed, is_tcp, host, endpoint.port) else {
                continue;
            };
            let told = format!(
                "{named} has {} at {host}:{}, which is this proxy itself ({listener}): give one of them another port",
                service.as_str(),
                endpoint.port
            );
            if named == DEFAULT_ORIGIN {
                warnings.push(told);
            } else {
                problems.push(Problem::Conflict(told));
            }
        }
    }
}

const DEFAULT_ORIGIN: &str = "default_origin";

/// The setting of the listener that surely takes what is sent to `host`.
fn listening_at(
    settings: &Settings,
    passed: &[PassedSocket],
    is_tcp: bool,
    host: &Host,
    port: u16,
) -> Option<String> {
    let ip = match host {
        Host::Ip(ip) => *ip,
        Host::Name(name) if name.eq_ignore_ascii_case("localhost") => Ipv4Addr::LOCALHOST.into(),
        Host::Name(_) => return None,
    };
    let address = SocketAddr::new(ip, port);
    let takes = |bound: SocketAddr| {
        is_covered(bound, address)
            && (address.ip().to_canonical().is_loopback() || !bound.ip().is_unspecified())
    };
    let all = wanted(settings, false, passed);
    let bound = all.iter().find(|one| {
        let tcp = one.transport == Transport::Tcp;
        tcp == is_tcp && takes(one.address)
    });
    let passed = || {
        let socket = passed
            .iter()
            .find(|socket| socket.is_tcp == is_tcp && takes(socket.address));
        socket.map(|socket| socket.listener.clone())
    };
    bound.map(|one| one.setting.to_owned()).or_else(passed)
}

/// Every address that a listener is to be bound to: none where it has `passed` sockets.
fn wanted(
    settings: &Settings,
    is_media_over_tcp_asked_for: bool,
    passed: &[PassedSocket],
) -> Vec<Wanted> {
    let system = Opening::Set(settings.system.listen.clone());
    let udp = Transport::SharedUdp;
    let tcp = Transport::Tcp;
    let listeners = [
        ("system.listen", tcp, &system),
        ("rtmp.listen", tcp, &settings.rtmp.listen),
        ("http.listen", tcp, &settings.http.listen),
        ("api.listen", tcp, &settings.api.listen),
        ("rtsp.listen", tcp, &settings.rtsp.listen),
        ("metrics.listen", tcp, &settings.metrics.listen),
        ("rtmp.tls_listen", tcp, &settings.rtmp.tls.listen),
        ("http.tls_listen", tcp, &settings.http.tls.listen),
        ("api.tls_listen", tcp, &settings.api.tls.listen),
        ("system.tls_listen", tcp, &settings.system.tls.listen),
        ("rtsp.tls_listen", tcp, &settings.rtsp.tls.listen),
        ("console.listen", tcp, &settings.console.listen),
        ("srt.listen", udp, &settings.srt.listen),
        (MEDIA, udp, &settings.rtc.listen),
    ];
    let mut all = Vec::new();
    for (setting, transport, opening) in listeners {
        let name = listener_of(setting);
        if bound(passed, &name, transport == tcp).next().is_some() {
            continue;
        }
        let addresses = opening.listen().map(Listen::addresses).unwrap_or_default();
        all.extend(addresses.iter().map(|address| Wanted {
            setting,
            transport,
            address: *address,
            is_default: matches!(opening, Opening::Default(_)),
        }));
    }
    if settings.store.mesh {
        all.push(Wanted {
            setting: "mesh.listen",
            transport: Transport::Udp,
            address: settings.mesh.listen,
            is_default: false,
        });
    }
    let addresses = media_over_tcp(settings, passed).into_iter();
    all.extend(addresses.map(|address| Wanted {
        setting: MEDIA,
        transport: tcp,
        address,
        is_default: !is_media_over_tcp_asked_for,
    }));
    all
}

/// Where WebRTC media is to be taken over TCP: where its datagrams arrive, unless sockets were passed for both.
fn media_over_tcp(settings: &Settings, passed: &[PassedSocket]) -> Vec<SocketAddr> {
    let name = listener_of(MEDIA);
    let datagrams: Vec<_> = bound(passed, &name, false).collect();
    match settings.rtc.tcp {
        false => Vec::new(),
        true if datagrams.is_empty() => {
            let listen = settings.rtc.listen.listen();
            listen.map(Listen::addresses).unwrap_or_default().to_vec()
        }
        true if bound(passed, &name, true).next().is_some() => Vec::new(),
        true => datagrams,
    }
}

/// Where the sockets are that were `passed` for a listener by its name.
fn bound(passed: &[PassedSocket], name: &str, is_tcp: bool) -> impl Iterator<Item = SocketAddr> {
    let its = passed.iter();
    let its = its.filter(move |socket| socket.listener == name && socket.is_tcp == is_tcp);
    its.map(|socket| socket.address)
}

/// The name by which sockets are passed for the listener of a setting.
fn listener_of(setting: &str) -> String {
    match setting.split_once('.') {
        Some((section, "tls_listen")) => format!("{section}_tls"),
        Some((section, _)) => section.to_owned(),
        None => setting.to_owned(),
    }
}

/// Whether two addresses of one setting are worth a word: sockets for the datagrams of one listener may overlap.
fn is_told(first: &Wanted, second: &Wanted) -> bool {
    first.setting != second.setting || second.transport == Transport::Tcp
}

fn told(first: &Wanted, second: &Wanted) -> String {
    let (one, other) = (first.setting, second.setting);
    let (at, there) = (first.address, second.address);
    if one == other {
        return match at == there {
            true => format!("{one} names {at} twice"),
            false => format!(
                "{one} names {at} and {there}, and one includes the other; keep the wider one"
            ),
        };
    }
    let places = match at == there {
        true => at.to_string(),
        false => format!("{at} and {there}"),
    };
    let way_out = match second.is_media_over_tcp() {
        true => {
            "; WebRTC media is taken over TCP too: give one of them another port, or set rtc.tcp = false"
        }
        false => "; give one of them another port",
    };
    format!("{one} and {other} want one port ({places}){way_out}")
}

/// Closes the listener of `default`, and says which lines move it or close it on purpose.
fn give_way(settings: &mut Settings, default: &Wanted, set: &Wanted, warnings: &mut Vec<String>) {
    let path = default.setting;
    let listener = match path {
        "rtmp.listen" => &mut settings.rtmp.listen,
        "http.listen" => &mut settings.http.listen,
        "api.listen" => &mut settings.api.listen,
        "rtsp.listen" => &mut settings.rtsp.listen,
        "srt.listen" => &mut settings.srt.listen,
        MEDIA => &mut settings.rtc.listen,
        "metrics.listen" => &mut settings.metrics.listen,
        "console.listen" => &mut settings.console.listen,
        _ => return,
    };
    if *listener == Opening::Closed {
        return;
    }
    *listener = Opening::Closed;
    let name = path.split('.').next().unwrap_or(path);
    let variable = setting(path).map(|setting| setting.variable());
    let variable = variable.unwrap_or_default();
    let other = default.address.port().saturating_add(1);
    warnings.push(format!(
        "{name} is not served: {} has its default port {}. Move it with {variable}={other} ({path} = {other} in the \
         settings file), or close it with {variable}= ({path} = \"\")",
        set.setting,
        default.address.port()
    ));
}

/// Takes WebRTC media over UDP alone, and says which lines have it over TCP again or have this on purpose.
fn leave_tcp(settings: &mut Settings, other: &Wanted, media: &Wanted, warnings: &mut Vec<String>) {
    if !std::mem::replace(&mut settings.rtc.tcp, false) {
        return;
    }
    let variable = setting("rtc.tcp").map(|setting| setting.variable());
    let variable = variable.unwrap_or_default();
    warnings.push(format!(
        "WebRTC media is taken over UDP alone: {} has port {} for TCP. Give one of them another port, or say so with \
         {variable}=off (rtc.tcp = false in the settings file)",
        other.setting,
        media.address.port()
    ));
}

/// What is added where a port is decided and nobody knows of the sockets that are passed at start.
const UNSEEN: &str = " (sockets that systemd passes at start are not seen here; a listener that has them binds no port)";
/// WebRTC media, over UDP and TCP.
const MEDIA: &str = "rtc.listen";
