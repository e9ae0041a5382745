//! Every socket that clients reach, bound before anything is served: at the addresses of the settings, or by a
//! service manager that passes them on.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::StartError;
use super::inherited::Inherited;
use crate::config::{self, ListenerTls, Settings};
use crate::net::datagram::Entries;
use crate::net::workers;
use crate::origin::itself::OwnSockets;
use crate::value::{Listen, Opening};

/// The sockets of every listener; one that is closed has none.
#[derive(Debug)]
pub struct Sockets {
    pub(super) rtmp: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
    pub(super) api: Vec<TcpListener>,
    pub(super) system: Vec<TcpListener>,
    pub(super) rtsp: Vec<TcpListener>,
    pub(super) metrics: Vec<TcpListener>,
    pub(super) tls: TlsSockets,
    pub(super) console: Vec<TcpListener>,
    pub(super) srt: Vec<Entries>,
    pub(super) rtc: Media,
}

/// The sockets of listeners where TLS has a port of its own.
#[derive(Debug)]
pub(super) struct TlsSockets {
    pub(super) rtmp: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
    pub(super) api: Vec<TcpListener>,
    pub(super) system: Vec<TcpListener>,
    pub(super) rtsp: Vec<TcpListener>,
}

/// The sockets of WebRTC media: those of each shard, and the same ports over TCP.
#[derive(Debug, Default)]
pub(super) struct Media {
    pub(super) udp: Vec<Entries>,
    pub(super) tcp: Vec<TcpListener>,
}

/// The first address of each listener; `None` for one that is closed.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// RTMP.
    pub rtmp: Option<SocketAddr>,
    /// HTTP streams.
    pub http: Option<SocketAddr>,
    /// The API port.
    pub api: Option<SocketAddr>,
    /// The system API.
    pub system: Option<SocketAddr>,
    /// RTSP.
    pub rtsp: Option<SocketAddr>,
    /// The metrics, where they have a port of their own.
    pub metrics: Option<SocketAddr>,
    /// The system API again, for people.
    pub console: Option<SocketAddr>,
    /// SRT (UDP).
    pub srt: Option<SocketAddr>,
    /// WebRTC media.
    pub rtc: Option<SocketAddr>,
}

/// A listener: its name, its setting, and where that says it is.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    name: &'static str,
    setting: &'static str,
    opening: &'a Opening,
}

/// Why a listener is not bound.
type NotBound = (SocketAddr, io::Error);

impl Sockets {
    /// Binds every listener where the settings say. One that nobody asked for by name, and that cannot be bound, is
    /// left closed with a warning.
    ///
    /// # Errors
    /// [`StartError`], for the first address that somebody set and that cannot be had.
    pub fn bind(settings: &Settings) -> Result<Self, StartError> {
        Self::inherit(settings, Inherited::default())
    }

    /// The same, where a listener for which sockets were passed on has these and no others.
    ///
    /// # Errors
    /// As [`Sockets::bind`], and for a socket that fits no listener.
    pub fn inherit(settings: &Settings, mut inherited: Inherited) -> Result<Self, StartError> {
        let passed = &mut inherited;
        // Two proxies on one machine meet here first, and the second says so in one sentence.
        let system = Opening::Set(settings.system.listen.clone());
        let sockets = Self {
            system: tcp(("system", "system.listen", &system).into(), passed)?,
            rtmp: tcp(
                ("rtmp", "rtmp.listen", &settings.rtmp.listen).into(),
                passed,
            )?,
            http: tcp(
                ("http", "http.listen", &settings.http.listen).into(),
                passed,
            )?,
            api: tcp(("api", "api.listen", &settings.api.listen).into(), passed)?,
            rtsp: tcp(
                ("rtsp", "rtsp.listen", &settings.rtsp.listen).into(),
                passed,
            )?,
            metrics: tcp(
                ("metrics", "metrics.listen", &settings.metrics.listen).into(),
                passed,
            )?,
            tls: tls(settings, passed)?,
            console: tcp(
                ("console", "console.listen", &settings.console.listen).into(),
                passed,
            )?,
            srt: udp(("srt", "srt.listen", &settings.srt.listen).into(), passed)?,
            rtc: media(&settings.rtc, passed)?,
        };
        inherited.finish()?;
        if sockets.serves_nobody() {
            return Err(StartError::Closed);
        }
        Ok(sockets)
    }

    /// Where each listener is, with the ports the system chose for port 0.
    pub fn addresses(&self) -> Addresses {
        Addresses {
            rtmp: first(&self.rtmp),
            http: first(&self.http),
            api: first(&self.api),
            system: first(&self.system),
            rtsp: first(&self.rtsp),
            metrics: first(&self.metrics),
            console: first(&self.console),
            srt: self.srt.first().and_then(|shard| shard.local_addr().ok()),
            rtc: self.rtc.addresses().next(),
        }
    }

    /// The listeners for clients by their names, and the system API, each with its first address; and the same for ports that
    /// are for TLS alone.
    pub(super) fn named(&self) -> Vec<(&'static str, SocketAddr)> {
        let at = self.addresses();
        let tls = &self.tls;
        let all = [
            ("rtmp", at.rtmp),
            ("rtmp_tls", first(&tls.rtmp)),
            ("http", at.http),
            ("http_tls", first(&tls.http)),
            ("api", at.api),
            ("api_tls", first(&tls.api)),
            ("srt", at.srt),
            ("rtsp", at.rtsp),
            ("rtsp_tls", first(&tls.rtsp)),
            ("rtc", at.rtc),
            ("system", at.system),
            ("system_tls", first(&tls.system)),
        ];
        let open = all.into_iter();
        open.filter_map(|(name, address)| Some((name, address?)))
            .collect()
    }

    /// All of them, so that none is taken for an origin.
    pub(super) fn own(&self) -> OwnSockets {
        let tls = &self.tls;
        let tcp = [
            &self.rtmp,
            &self.http,
            &self.api,
            &self.system,
            &self.rtsp,
            &self.metrics,
            &self.console,
            &self.rtc.tcp,
            &tls.rtmp,
            &tls.http,
            &tls.api,
            &tls.system,
            &tls.rtsp,
        ];
        let tcp = tcp.into_iter().flatten();
        OwnSockets {
            tcp: tcp.filter_map(|socket| socket.local_addr().ok()).collect(),
            udp: addresses_of(&self.srt)
                .chain(self.rtc.addresses())
                .collect(),
        }
    }

    fn serves_nobody(&self) -> bool {
        let tls = &self.tls;
        let plain = [&self.rtmp, &self.http, &self.api, &self.rtsp];
        let encrypted = [&tls.rtmp, &tls.http, &tls.api, &tls.rtsp];
        let mut tcp = plain.iter().chain(&encrypted);
        let udp = [&self.srt, &self.rtc.udp];
        tcp.all(|sockets| sockets.is_empty()) && udp.iter().all(|shards| shards.is_empty())
    }
}

impl Media {
    /// Where media arrives.
    pub(super) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        addresses_of(&self.udp)
    }
}

impl<'a> From<(&'static str, &'static str, &'a Opening)> for Wanted<'a> {
    fn from((name, setting, opening): (&'static str, &'static str, &'a Opening)) -> Self {
        Self {
            name,
            setting,
            opening,
        }
    }
}

impl Wanted<'_> {
    /// What is bound by `bind`, unless the listener is closed, or nobody asked for one that cannot be bound.
    fn open<T: Default>(
        self,
        bind: impl FnOnce(&Listen) -> Result<T, NotBound>,
    ) -> Result<T, StartError> {
        let (listen, is_asked_for) = match self.opening {
            Opening::Closed => return Ok(T::default()),
            Opening::Default(listen) => (listen, false),
            Opening::Set(listen) => (listen, true),
        };
        match bind(listen) {
            Ok(bound) => Ok(bound),
            Err((address, error)) if is_asked_for => Err(StartError::Listen {
                setting: self.setting,
                address,
                hint: hint(&error),
            }),
            Err((address, error)) => {
                self.warn(address, &error);
                Ok(T::default())
            }
        }
    }

    /// Says that the listener is left closed, with the lines that move it and that close it.
    fn warn(self, address: SocketAddr, error: &io::Error) {
        let Self { name, setting, .. } = self;
        let variable = config::setting(setting).map(|setting| setting.variable());
        let variable = variable.unwrap_or_default();
        let other = address.port().saturating_add(1);
        warn!(
            listener = name,
            %address,
            reason = hint(error),
            "{name} is not served, since nobody asked for it by name and its default port cannot be had. Move it with \
             {variable}={other} ({setting} = {other} in the settings file), or close it with {variable}= ({setting} = \"\")"
        );
    }
}

fn tcp(wanted: Wanted<'_>, passed: &mut Inherited) -> Result<Vec<TcpListener>, StartError> {
    let sockets = passed.take_tcp(wanted.name, wanted.opening);
    if !sockets.is_empty() {
        return Ok(sockets);
    }
    wanted.open(|listen| {
        let addresses = listen.addresses().iter();
        addresses
            .map(|address| listen_at(*address, listen.every_interface()))
            .collect()
    })
}

fn tls(settings: &Settings, passed: &mut Inherited) -> Result<TlsSockets, StartError> {
    let mut own =
        |name, setting, tls: &ListenerTls| tcp((name, setting, &tls.listen).into(), passed);
    Ok(TlsSockets {
        rtmp: own("rtmp_tls", "rtmp.tls_listen", &settings.rtmp.tls)?,
        http: own("http_tls", "http.tls_listen", &settings.http.tls)?,
        api: own("api_tls", "api.tls_listen", &settings.api.tls)?,
        system: own("system_tls", "system.tls_listen", &settings.system.tls)?,
        rtsp: own("rtsp_tls", "rtsp.tls_listen", &settings.rtsp.tls)?,
    })
}

fn udp(wanted: Wanted<'_>, passed: &mut Inherited) -> Result<Vec<Entries>, StartError> {
    let shards = passed.take_udp(wanted.name, wanted.opening)?;
    if !shards.is_empty() {
        return Ok(shards);
    }
    wanted.open(bind_shards)
}

/// The media addresses for every shard, and each over TCP as well.
fn media(settings: &config::Rtc, passed: &mut Inherited) -> Result<Media, StartError> {
    let wanted = Wanted::from(("rtc", "rtc.listen", &settings.listen));
    let udp = passed.take_udp(wanted.name, wanted.opening)?;
    let tcp = passed.take_tcp(wanted.name, wanted.opening);
    if udp.is_empty() {
        return wanted.open(|listen| bind_media(listen, settings.tcp));
    }
    if !settings.tcp || !tcp.is_empty() {
        return Ok(Media { udp, tcp });
    }
    let at = addresses_of(&udp).map(|address| listen_at(address, false));
    let tcp = at.collect::<Result<_, NotBound>>();
    let tcp = tcp.map_err(|(address, error)| StartError::Listen {
        setting: wanted.setting,
        address,
        hint: hint(&error),
    })?;
    Ok(Media { udp, tcp })
}

fn bind_media(listen: &Listen, also_tcp: bool) -> Result<Media, NotBound> {
    let chosen = listen.addresses().iter().any(|address| address.port() == 0);
    let mut tries = if chosen { PORT_TRIES } else { 1 };
    loop {
        let udp = bind_shards(listen)?;
        if !also_tcp {
            return Ok(Media {
                udp,
                tcp: Vec::new(),
            });
        }
        let tcp: Result<Vec<_>, _> = addresses_of(&udp)
            .map(|address| listen_at(address, listen.every_interface()))
            .collect();
        tries -= 1;
        match tcp {
            // The system chose a port that is free for UDP only.
            Err(_) if tries > 0 => {}
            tcp => return tcp.map(|tcp| Media { udp, tcp }),
        }
    }
}

/// Binds every address for datagrams, once for each shard.
fn bind_shards(listen: &Listen) -> Result<Vec<Entries>, NotBound> {
    Entries::bind(
        listen.addresses(),
        listen.every_interface(),
        workers::per_core(),
    )
}

/// The first address of a listener; `None` for one that is closed.
fn first(sockets: &[TcpListener]) -> Option<SocketAddr> {
    sockets.first()?.local_addr().ok()
}

fn addresses_of(shards: &[Entries]) -> impl Iterator<Item = SocketAddr> + '_ {
    shards.first().into_iter().flat_map(Entries::addresses)
}

fn listen_at(address: SocketAddr, every_interface: bool) -> Result<TcpListener, NotBound> {
    let bound = match bind(address) {
        // A machine without IPv6 serves every interface it has by IPv4.
        Err(error) if every_interface && error.kind() != io::ErrorKind::AddrInUse => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).map_err(|_| error)
        }
        bound => bound,
    };
    bound.map_err(|error| (address, error))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A restarted proxy gets its port back though old connections linger in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// What is in the way of a port, and what can be done.
pub(super) fn hint(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program listens there; stop it or choose another port".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "not permitted; ports under 1024 need root or CAP_NET_BIND_SERVICE".to_owned()
        }
        _ => error.to_string(),
    }
}

const BACKLOG: i32 = 1024;
/// How often another port is tried, where the system chooses it, until it is free for UDP and TCP.
const PORT_TRIES: u32 = 16;
