//! Builds everything from the settings, binds every listener, serves, and drains on stop. The only file that
//! knows all the others.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::system::uname;
use sluicegate_core::fleet::Fleet;
use sluicegate_core::fleet::health::Rules;
use sluicegate_core::fleet::origin::{AddressRules, Origin, OriginId, Target};
use sluicegate_core::http::caller::OwnNames;
use sluicegate_core::http::link::LinkKey;
use sluicegate_core::place::placement;
use sluicegate_core::place::policy;
use sluicegate_core::srt::flows::Limits;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{self, Access, PeerAccess, System};
use crate::cluster::{Cluster, Terms};
use crate::config::{Credential, Probing, Settings, Sources};
use crate::fleet_api::{self, FleetApi};
use crate::listener;
use crate::listener::api::Api;
use crate::listener::http::{Http, Pages, Pieces};
use crate::listener::rtc::{Rtc, Tcp};
use crate::listener::rtmp::Rtmp;
use crate::listener::rtsp::{Rtsp, UdpPorts};
use crate::listener::srt::{self, Srt};
use crate::listener::standing::Calls;
use crate::listener::whip::Whip;
use crate::logging;
use crate::lookup::Lookup;
use crate::metrics::Metrics;
use crate::net::accept::Acceptor;
use crate::net::datagram::Entries;
use crate::net::entrance::{Entrance, ProxyHeader};
use crate::net::workers::{Pulse, Workers};
use crate::origin::connect::{Connector, Resolve, SystemResolver};
use crate::origin::dial::Dialer;
use crate::origin::health::{self, Prober};
use crate::origin::silence::Vigil;
use crate::origin::sources::Lists;
use crate::placer::Placer;
use crate::proxy::outside::Outside;
use crate::proxy::{self, Proxy, Timing};
use crate::readiness::Readiness;
use crate::registry::{ClaimLimits, Registry};
use crate::sessions::{self, EndReason, Sessions};
use crate::store::{Memory, Mesh, MeshOptions, Options, Redis, Shared};
use crate::systemd::Systemd;
use crate::value::Listen;

/// A proxy whose listeners are bound; nothing is accepted until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    proxy: Proxy,
    settings: Settings,
    readiness: Arc<Readiness>,
    listeners: Listeners,
    workers: Arc<Workers>,
    srt_workers: Workers,
    rtc_workers: Workers,
    pages: Option<Pages>,
    systemd: Systemd,
}

/// The first address of each listener.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// RTMP.
    pub rtmp: SocketAddr,
    /// HTTP streams.
    pub http: SocketAddr,
    /// The API port.
    pub api: SocketAddr,
    /// The system API.
    pub system: SocketAddr,
    /// RTSP.
    pub rtsp: SocketAddr,
    /// The metrics, where they have a port of their own.
    pub metrics: Option<SocketAddr>,
    /// SRT (UDP).
    pub srt: SocketAddr,
    /// WebRTC media.
    pub rtc: SocketAddr,
}

#[derive(Debug)]
struct Listeners {
    rtmp: Vec<TcpListener>,
    http: Vec<TcpListener>,
    api: Vec<TcpListener>,
    system: Vec<TcpListener>,
    rtsp: Vec<TcpListener>,
    metrics: Vec<TcpListener>,
    srt: Vec<Entries>,
    rtc: Vec<Entries>,
    rtc_tcp: Vec<TcpListener>,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port that could not be had.
    #[error("cannot listen on {address} ({setting}): {hint}")]
    Listen {
        /// The setting that names it.
        setting: &'static str,
        /// What was tried.
        address: SocketAddr,
        /// What is in the way, and what can be done.
        hint: String,
    },
    /// The store's certificates cannot be used.
    #[error("cannot use the store (store.url): {0}")]
    Store(String),
    /// The system has no thread left for connections.
    #[error("cannot start the threads that serve connections: {0}")]
    Workers(#[source] io::Error),
}

impl Server {
    /// Builds the parts and binds every listener.
    ///
    /// # Errors
    /// [`StartError`], for the first port that cannot be had for example.
    pub fn bind(settings: Settings) -> Result<Self, StartError> {
        Self::bind_with(settings, Arc::new(SystemResolver))
    }

    /// The same; `resolver` says where the names of origins lead.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_with(settings: Settings, resolver: Arc<dyn Resolve>) -> Result<Self, StartError> {
        let start = |name| Workers::start(name).map_err(StartError::Workers);
        let workers = Arc::new(start("worker")?);
        // Shards of datagrams rest when they are busy, and nobody else is to wait for that.
        let srt_workers = start("srt")?;
        let rtc_workers = start("rtc")?;
        let (rtc, rtc_tcp) = listen_rtc(&settings.rtc, rtc_workers.count())?;
        let listeners = Listeners {
            rtc,
            rtc_tcp,
            rtmp: listen("rtmp.listen", &settings.rtmp.listen)?,
            http: listen("http.listen", &settings.http.listen)?,
            api: listen("api.listen", &settings.api.listen)?,
            system: listen("system.listen", &settings.system.listen)?,
            rtsp: listen("rtsp.listen", &settings.rtsp.listen)?,
            metrics: match &settings.metrics.listen {
                Some(wanted) => listen("metrics.listen", wanted)?,
                None => Vec::new(),
            },
            srt: listen_datagrams("srt.listen", &settings.srt.listen, srt_workers.count())?,
        };
        let metrics = Arc::new(Metrics::new());
        let rules = Rules {
            suspect_after: settings.health.heartbeats_missed,
            rise: settings.health.rise,
            fall: settings.health.fall,
            probes: settings.health.probe != Probing::Off,
            panic_percent: settings.health.panic,
        };
        let fleet = Fleet::new(settings.origins.ttl, settings.origins.max, rules);
        let policy = policy::by_name(settings.placement.policy)
            .expect("the settings were checked against the list");
        let claims = ClaimLimits {
            lifetime: settings.placement.play_claim,
            per_source: settings.placement.claims_per_source,
        };
        let registry = Registry::new(
            fleet,
            placer(&settings, policy),
            claims,
            Arc::clone(&metrics),
        )
        .with_attributes(settings.origins.attributes.clone());
        let registry = Arc::new(registry);
        let limits = sessions::Limits {
            publisher_idle: settings.session.publisher_idle,
            player_idle: settings.session.player_idle,
            play_wait: settings.session.play_wait,
            write_stall: settings.session.write_stall,
            max: settings.session.max,
        };
        let sessions = Arc::new(Sessions::new(limits, Arc::clone(&metrics)));
        let timing = Timing {
            dial: settings.session.dial_timeout,
            setup: settings.session.setup_timeout,
            takeover_after: settings.session.takeover_after,
            takeover: settings.session.takeover,
            drain_pace: settings.drain.pace,
            ask_streams: settings.origins.ask_streams,
        };
        let cluster = cluster(&settings, &listeners.system, &registry, &sessions, &metrics)?;
        let proxy = Proxy::new(proxy::Parts {
            registry,
            sessions,
            metrics,
            vhosts: settings.placement.vhosts.clone(),
            timing,
            lookup: lookup(&settings),
            outside: outside(&settings),
            cluster,
            connector: Connector::new(settings.address_rules(), resolver),
        });
        let readiness = Readiness {
            needs_origin: settings.system.ready_needs_origin,
            ..Readiness::default()
        };
        Ok(Self {
            proxy,
            settings,
            readiness: Arc::new(readiness),
            listeners,
            workers,
            srt_workers,
            rtc_workers,
            pages: None,
            systemd: Systemd::default(),
        })
    }

    /// Tells `systemd` how it goes.
    #[must_use]
    pub fn with_systemd(mut self, systemd: Systemd) -> Self {
        self.systemd = systemd;
        self
    }

    /// Serves `pages` on the HTTP port, before the static directory.
    #[must_use]
    pub fn with_pages(mut self, pages: Pages) -> Self {
        self.pages = Some(pages);
        self
    }

    /// The proxy behind the listeners.
    pub const fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// Where it listens, with the ports the system chose for port 0.
    ///
    /// # Errors
    /// When the system does not know, which it does for a bound socket.
    pub fn addresses(&self) -> io::Result<Addresses> {
        let first = |listeners: &[TcpListener]| {
            listeners
                .first()
                .expect("a listen setting has at least one address")
                .local_addr()
        };
        Ok(Addresses {
            rtmp: first(&self.listeners.rtmp)?,
            http: first(&self.listeners.http)?,
            api: first(&self.listeners.api)?,
            system: first(&self.listeners.system)?,
            rtsp: first(&self.listeners.rtsp)?,
            metrics: match self.listeners.metrics.first() {
                Some(listener) => Some(listener.local_addr()?),
                None => None,
            },
            rtc: self
                .listeners
                .rtc
                .first()
                .expect("there is a shard per worker")
                .local_addr()?,
            srt: self
                .listeners
                .srt
                .first()
                .expect("there is a shard per worker")
                .local_addr()?,
        })
    }

    /// Serves until `stop`; then accepts nothing more, lets sessions finish for the grace time, and ends what is
    /// left.
    pub async fn serve(self, stop: CancellationToken) {
        let Self {
            proxy,
            settings,
            readiness,
            listeners,
            workers,
            srt_workers,
            rtc_workers,
            pages,
            systemd,
        } = self;
        let tasks = TaskTracker::new();
        // Connections hear of the end only when their time to finish is over.
        let end = CancellationToken::new();
        if let Some(cluster) = proxy.cluster() {
            let wait = settings.store.wait_at_start;
            let patience = (!wait).then(|| settings.store.timeout.max(FIRST_ANSWER));
            let begun = Arc::clone(cluster).begin(patience, &end);
            stop.run_until_cancelled(begun).await;
        }
        let connections = Arc::new(Semaphore::new(
            room(settings.rtsp.udp_ports.is_some()).min(settings.session.max + SPARE_CONNECTIONS),
        ));
        // The system API has its own: whatever floods the public ports, origins report and operators look.
        let reserved = Arc::new(Semaphore::new(SYSTEM_CONNECTIONS));
        let gone_after = settings.session.write_stall.max(GONE_AFTER);
        let proxy_protocol_from: Arc<[_]> = settings.proxy_protocol.accept_from.clone().into();
        let entrance = |header, patience| Entrance {
            header,
            listed: Arc::clone(&proxy_protocol_from),
            patience,
        };
        let acceptor = |name: &'static str,
                        listeners: Vec<TcpListener>,
                        entrance: Entrance,
                        limit: &Arc<Semaphore>| {
            for address in listeners
                .iter()
                .filter_map(|listener| listener.local_addr().ok())
            {
                info!(listener = name, %address, "listening");
            }
            Acceptor {
                name,
                listeners,
                entrance,
                limit: Arc::clone(limit),
                gone_after,
                workers: Arc::clone(&workers),
                metrics: Arc::clone(proxy.metrics()),
            }
        };
        let addresses = settings.address_rules();
        let dialer = Arc::new(Dialer {
            connector: proxy.connector().clone(),
            rtmp_preamble: settings.origins.client_address_preamble.clone(),
            proxy_v1: settings.origins.proxy_protocol_v1.clone(),
            proxy_v2: settings.origins.proxy_protocol_v2.clone(),
        });

        let rtmp = Rtmp {
            handshake_timeout: settings.rtmp.handshake_timeout,
            identify_timeout: settings.rtmp.identify_timeout,
            dialer: Arc::clone(&dialer),
            stop: stop.clone(),
        };
        let serve_rtmp = {
            let proxy = proxy.clone();
            let entrance = entrance(ProxyHeader::Must, settings.rtmp.handshake_timeout);
            acceptor("rtmp", listeners.rtmp, entrance, &connections).serve(
                tasks.clone(),
                stop.clone(),
                move |visitor| rtmp.clone().connection(visitor, proxy.clone()),
            )
        };
        let rtsp = Rtsp {
            identify_timeout: settings.rtsp.identify_timeout,
            dialer: Arc::clone(&dialer),
            udp: settings
                .rtsp
                .udp_ports
                .map(|range| Arc::new(UdpPorts::new(range, spare_descriptors() / UDP_SHARE))),
            stop: stop.clone(),
        };
        let serve_rtsp = {
            let proxy = proxy.clone();
            let entrance = entrance(ProxyHeader::Must, settings.rtsp.identify_timeout);
            acceptor("rtsp", listeners.rtsp, entrance, &connections).serve(
                tasks.clone(),
                stop.clone(),
                move |visitor| rtsp.clone().connection(visitor, proxy.clone()),
            )
        };
        let srt = Srt {
            dialer: Arc::clone(&dialer),
            limits: Limits {
                flows: settings.session.max.min(srt::MOST_FLOWS),
                idle: settings.srt.idle,
                per_source: settings.srt.calls_per_source,
                default_stream_id: settings.srt.default_streamid.clone(),
            },
        };
        srt.serve(listeners.srt, &srt_workers, &tasks, &stop, &proxy);
        let prober = Prober::new(Arc::clone(proxy.registry()), proxy.connector().clone());
        let vigil = Arc::new(Vigil::new(prober.clone()));
        let pieces = Arc::new(pieces(&settings));
        let cache = Arc::downgrade(&pieces);
        proxy.metrics().before_scrape(move |metrics| {
            let kept = cache.upgrade().map_or(0, |pieces| pieces.kept_bytes());
            metrics.cache.set(i64::try_from(kept).unwrap_or(i64::MAX));
        });
        let http = Http {
            head_timeout: settings.http.head_timeout,
            health: settings.http.health,
            static_files: settings.http.static_files.clone(),
            trusted_proxies: settings.http.trusted_proxies.clone().into(),
            dialer: Arc::clone(&dialer),
            pieces,
            vigil: Arc::clone(&vigil),
            readiness: Arc::clone(&readiness),
            pages,
            stop: stop.clone(),
        };
        let serve_http = {
            let proxy = proxy.clone();
            let entrance = entrance(ProxyHeader::Must, settings.http.head_timeout);
            acceptor("http", listeners.http, entrance, &connections).serve(
                tasks.clone(),
                stop.clone(),
                move |visitor| http.clone().connection(visitor, proxy.clone()),
            )
        };
        let calls = Calls::new(dialer, tasks.clone());
        let whip = Whip {
            vigil,
            trusted_proxies: settings.http.trusted_proxies.clone().into(),
            patterns: settings.rtc.paths.clone(),
            public_addresses: settings.rtc.public_addresses.clone(),
            media: media_addresses(&listeners.rtc).collect(),
            tcp: settings.rtc.tcp,
            calls: calls.clone(),
        };
        let api = Api {
            fleet: Arc::new(FleetApi::new(proxy.clone(), fleet_api_settings(&settings))),
            whip: Arc::new(whip),
            stop: stop.clone(),
        };
        let serve_api = {
            let proxy = proxy.clone();
            let entrance = entrance(ProxyHeader::May, listener::api::HEAD_TIMEOUT);
            acceptor("api", listeners.api, entrance, &connections).serve(
                tasks.clone(),
                stop.clone(),
                move |visitor| api.clone().connection(visitor, proxy.clone()),
            )
        };
        // Media goes on while sessions finish.
        let rtc = Rtc {
            entries: listeners.rtc,
            calls: calls.clone(),
        };
        rtc.serve(&rtc_workers, &TaskTracker::new(), &end, &proxy);
        let serve_rtc_tcp = {
            let proxy = proxy.clone();
            let tcp = Tcp { calls };
            let entrance = entrance(ProxyHeader::Never, Duration::ZERO);
            acceptor("rtc_tcp", listeners.rtc_tcp, entrance, &connections).serve(
                tasks.clone(),
                end.clone(),
                move |visitor| tcp.clone().connection(visitor, proxy.clone()),
            )
        };
        let access = Access {
            token: settings
                .system
                .auth_enabled
                .then(|| settings.system.auth_token.clone()),
            register_from: settings.system.register_from.clone(),
            peers: proxy
                .cluster()
                .and_then(|cluster| PeerAccess::new(&settings.cluster.keys, cluster.id())),
            names: own_names(&settings),
        };
        let router = System::new(proxy.clone(), access, addresses, Arc::clone(&readiness)).router();
        // The system API goes on while sessions finish, so that a drain can be watched.
        let serve_system = {
            let end = end.clone();
            let system = TaskTracker::new();
            let entrance = entrance(ProxyHeader::May, admin::HEAD_TIMEOUT);
            acceptor("system", listeners.system, entrance, &reserved).serve(
                system,
                end.clone(),
                move |visitor| admin::connection(visitor, router.clone(), end.clone()),
            )
        };
        proxy
            .metrics()
            .streams_by_name
            .keep(settings.metrics.streams);
        if !listeners.metrics.is_empty() {
            let router = admin::metrics_router(Arc::clone(proxy.metrics()));
            let end = end.clone();
            let entrance = entrance(ProxyHeader::May, admin::HEAD_TIMEOUT);
            let serve_metrics = acceptor("metrics", listeners.metrics, entrance, &reserved).serve(
                TaskTracker::new(),
                end.clone(),
                move |visitor| admin::connection(visitor, router.clone(), end.clone()),
            );
            tokio::spawn(serve_metrics);
        }
        if let Some(origin) = default_origin(&settings) {
            let id = OriginId::from(origin.server.as_str());
            proxy.registry().insert_permanent(id, origin);
        }
        tokio::spawn(
            end.clone()
                .run_until_cancelled_owned(health::run(prober, settings.health.clone())),
        );
        let registry = Arc::clone(proxy.registry());
        let sources = settings.sources.clone();
        let keep_sources = keep_sources(registry, sources, addresses, systemd.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(keep_sources));
        tokio::spawn(
            end.clone()
                .run_until_cancelled_owned(proxy::drain::run(proxy.clone())),
        );
        tokio::spawn(run_clocks(proxy.clone(), end.clone()));
        tokio::spawn(serve_system);
        tokio::spawn(serve_rtc_tcp);
        if let Some(directory) = &settings.http.static_files
            && !directory.is_dir()
        {
            info!(directory = %directory.display(), "no such directory: no static files are served");
        }
        readiness.serving.store(true, Ordering::Relaxed);
        info!(version = env!("CARGO_PKG_VERSION"), "ready");
        let pulse = Pulse::of([&workers, &srt_workers, &rtc_workers]);
        tokio::spawn(systemd.keep_told(proxy.clone(), pulse, stop.clone(), end.clone()));

        tokio::join!(serve_rtmp, serve_http, serve_api, serve_rtsp);

        proxy.stop();
        let open = proxy.sessions().len();
        info!(sessions = open, grace = ?settings.shutdown.grace, "stopping: nothing new is accepted");
        tasks.close();
        if tokio::time::timeout(settings.shutdown.grace, tasks.wait())
            .await
            .is_err()
        {
            warn!(
                sessions = proxy.sessions().len(),
                "the grace time is over: ending what is left"
            );
            proxy.sessions().end_all(EndReason::Drained);
            let _ = tokio::time::timeout(LAST_MOMENT, tasks.wait()).await;
        }
        end.cancel();
        if let Some(cluster) = proxy.cluster() {
            cluster.leave().await;
        }
        info!("stopped");
    }
}

/// This proxy's part in a cluster, if there is a store to share.
fn cluster(
    settings: &Settings,
    system: &[TcpListener],
    registry: &Arc<Registry>,
    sessions: &Arc<Sessions>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Cluster>>, StartError> {
    let store = if settings.store.mesh {
        Shared::Mesh(enter_mesh(settings)?)
    } else if let Some(address) = settings.store.redis.clone() {
        let options = Options {
            prefix: settings.store.prefix.clone(),
            patience: settings.store.timeout,
            watched: Cluster::watched(),
        };
        Shared::Redis(Redis::open(address, options).map_err(StartError::Store)?)
    } else {
        return Ok(None);
    };
    let terms = Terms {
        origin_ttl: settings.origins.ttl,
        play_claim: settings.placement.play_claim,
        rules: settings.address_rules(),
        system: settings
            .system
            .advertise
            .clone()
            .or_else(|| reachable_at(system.first()?.local_addr().ok()?)),
        vhosts: settings.placement.vhosts.clone(),
    };
    let (registry, sessions) = (Arc::clone(registry), Arc::clone(sessions));
    let cluster = Cluster::new(store, registry, sessions, Arc::clone(metrics), terms);
    Ok(Some(Arc::new(cluster)))
}

fn enter_mesh(settings: &Settings) -> Result<Mesh, StartError> {
    let wanted = &settings.mesh;
    let options = MeshOptions {
        listen: wanted.listen,
        advertise: wanted.advertise,
        seeds: wanted.seeds.clone(),
        keys: settings
            .cluster
            .keys
            .iter()
            .map(|key| key.reveal().as_bytes().to_vec())
            .collect(),
        watched: Cluster::watched(),
    };
    Mesh::open(options).map_err(|error| StartError::Listen {
        setting: "mesh.listen",
        address: wanted.listen,
        hint: hint(&error),
    })
}

/// Where other machines reach a listener: its address; for one on every interface, the address that this machine's
/// packets to the outside carry. `None` on a machine that has no way out.
fn reachable_at(listener: SocketAddr) -> Option<Target> {
    let ip = if listener.ip().is_unspecified() {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
        // Nothing is sent: the kernel only looks for a route.
        socket.connect(SOMEWHERE).ok()?;
        socket.local_addr().ok()?.ip()
    } else {
        listener.ip()
    };
    Some(Target {
        host: ip.into(),
        port: listener.port(),
    })
}

fn placer(settings: &Settings, policy: Box<dyn policy::Policy>) -> Placer {
    let wanted = &settings.placement;
    let mut seed = [0; 8];
    // Without randomness, draws are the same after every start; they are no secret.
    let _ = getrandom::fill(&mut seed);
    Placer {
        rules: placement::Rules {
            overflow: wanted.overflow,
            slow_start: wanted.slow_start,
        },
        pools: wanted.rules.clone().into(),
        zone: wanted.zone.clone(),
        bound: wanted.bound.filter(|_| Memory::ATOMIC),
        seed: u64::from_ne_bytes(seed),
        ..Placer::new(policy)
    }
}

fn lookup(settings: &Settings) -> Lookup {
    let wanted = &settings.placement;
    Lookup {
        redirects: wanted.redirects.clone(),
        networks: wanted.networks.clone(),
        ttl: wanted.resolve_ttl,
    }
}

fn outside(settings: &Settings) -> Option<Outside> {
    let wanted = &settings.placement;
    wanted.ask.clone().map(|url| Outside {
        url,
        timeout: wanted.ask_timeout,
        keep: wanted.ask_keep,
        unanswered: wanted.ask_unanswered,
        kept: Mutex::default(),
    })
}

/// How many public connections there are descriptors for, with an origin side for each, while some are left for the
/// system API: without it a flood would end in failing dials, and origins that cannot report.
fn room(udp: bool) -> usize {
    let spare = spare_descriptors();
    let left = if udp {
        spare - spare / UDP_SHARE
    } else {
        spare
    };
    (left / 2).clamp(LEAST_CONNECTIONS, Semaphore::MAX_PERMITS)
}

/// Descriptors for connections and datagrams.
fn spare_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile)
        .current
        .and_then(|limit| usize::try_from(limit).ok());
    limit
        .unwrap_or(usize::MAX)
        .saturating_sub(SYSTEM_CONNECTIONS + OWN_DESCRIPTORS)
}

/// Binds every address of a listen setting.
fn listen(setting: &'static str, wanted: &Listen) -> Result<Vec<TcpListener>, StartError> {
    let addresses = wanted.addresses().iter().copied();
    addresses
        .map(|address| listen_at(setting, address, wanted.every_interface()))
        .collect()
}

fn listen_at(
    setting: &'static str,
    address: SocketAddr,
    every_interface: bool,
) -> Result<TcpListener, StartError> {
    let bound = match bind(address) {
        // A machine without IPv6 serves every interface it has by IPv4.
        Err(error) if every_interface && error.kind() != io::ErrorKind::AddrInUse => {
            bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).map_err(|_| error)
        }
        bound => bound,
    };
    bound.map_err(|error| not_bound(setting, address, &error))
}

/// Binds the media addresses for every shard, and each over TCP as well.
fn listen_rtc(
    settings: &crate::config::Rtc,
    shards: usize,
) -> Result<(Vec<Entries>, Vec<TcpListener>), StartError> {
    const SETTING: &str = "rtc.listen";
    let wanted = &settings.listen;
    let chosen = wanted.addresses().iter().any(|address| address.port() == 0);
    let mut tries = if chosen { PORT_TRIES } else { 1 };
    loop {
        let entries = Entries::bind(wanted.addresses(), wanted.every_interface(), shards)
            .map_err(|(address, error)| not_bound(SETTING, address, &error))?;
        if !settings.tcp {
            return Ok((entries, Vec::new()));
        }
        let listeners: Result<Vec<_>, _> = media_addresses(&entries)
            .map(|address| listen_at(SETTING, address, wanted.every_interface()))
            .collect();
        tries -= 1;
        match listeners {
            // The system chose a port that is free for UDP only.
            Err(_) if tries > 0 => {}
            listeners => return listeners.map(|listeners| (entries, listeners)),
        }
    }
}

/// Where media arrives, as it is bound.
fn media_addresses(entries: &[Entries]) -> impl Iterator<Item = SocketAddr> + '_ {
    entries.first().into_iter().flat_map(Entries::addresses)
}

fn not_bound(setting: &'static str, address: SocketAddr, error: &io::Error) -> StartError {
    StartError::Listen {
        setting,
        address,
        hint: hint(error),
    }
}

/// Binds every address of a listen setting for datagrams, once for each of the `shards`.
fn listen_datagrams(
    setting: &'static str,
    wanted: &Listen,
    shards: usize,
) -> Result<Vec<Entries>, StartError> {
    Entries::bind(wanted.addresses(), wanted.every_interface(), shards).map_err(
        |(address, error)| StartError::Listen {
            setting,
            address,
            hint: hint(&error),
        },
    )
}

fn hint(error: &io::Error) -> String {
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
    TcpListener::from_std(socket.into())
}

/// What pulling in pieces is set to.
fn pieces(settings: &Settings) -> Pieces {
    let http = &settings.http;
    let keys = settings.cluster.keys.iter();
    let mut keys = keys.map(|key| LinkKey::new(key.reveal().as_bytes()));
    let key = keys.next().unwrap_or_else(|| {
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the system has randomness");
        LinkKey::new(&random)
    });
    Pieces::new(
        key.or(keys),
        http.answer_timeout,
        http.reload_timeout,
        http.sharing.clone(),
        http.cache_megabytes * MEGABYTE,
    )
}

/// Keeps the fleet as the lists of origins say, for ever. `systemd` is told when they are read again because somebody
/// asked.
async fn keep_sources(
    registry: Arc<Registry>,
    sources: Sources,
    rules: AddressRules,
    systemd: Systemd,
) {
    let mut lists = Lists::start(registry, sources, rules);
    loop {
        let asked = lists.changed().await;
        let again = lists.read_again(asked);
        if asked {
            systemd.while_reloading(again).await;
        } else {
            again.await;
        }
    }
}

/// Runs what happens by the clock: idle sessions, silent origins, claims.
async fn run_clocks(proxy: Proxy, end: CancellationToken) {
    let mut sessions = tokio::time::interval(Duration::from_millis(250));
    let mut registry = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = sessions.tick() => proxy.sessions().end_overdue(),
            _ = registry.tick() => {
                proxy.measure();
                proxy.registry().sweep();
                logging::report_left_out();
            }
        }
    }
}

/// The settings of the API over all origins.
fn fleet_api_settings(settings: &Settings) -> fleet_api::Settings {
    let api = &settings.api;
    let credential = if !api.auth_token.is_empty() {
        Some(Credential::bearer(api.auth_token.reveal()))
    } else if !api.auth_username.is_empty() {
        Some(Credential::basic(
            &api.auth_username,
            api.auth_password.reveal(),
        ))
    } else {
        None
    };
    fleet_api::Settings {
        access: fleet_api::Access {
            credential,
            allow_from: api.allow_from.clone(),
            names: own_names(settings),
        },
        jsonp: api.jsonp,
        origin_timeout: api.origin_timeout,
        credentials: settings.origins.api_credentials.clone(),
    }
}

/// How callers on this machine may call it: as it calls itself, and as others do.
fn own_names(settings: &Settings) -> OwnNames {
    let names = OwnNames::of(&uname().nodename().to_string_lossy());
    match &settings.system.advertise {
        Some(target) => names.and(&target.host),
        None => names,
    }
}

/// The origin of `PROXY_DEFAULT_BACKEND_*`.
fn default_origin(settings: &Settings) -> Option<Origin> {
    let wanted = &settings.default_origin;
    wanted.enabled.then(|| Origin {
        ip: wanted.ip.clone(),
        server: "default".to_owned(),
        service: "default".to_owned(),
        pid: std::process::id().to_string(),
        device_id: Some("default".to_owned()),
        endpoints: wanted.endpoints.clone(),
        attributes: Arc::default(),
        report: None,
    })
}

/// An address of RFC 5737 that nobody has.
const SOMEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
/// How long the store may take to its first answer before clients are served without it.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
/// Connections beyond the sessions: requests that are not one yet, pages, health checks.
const SPARE_CONNECTIONS: usize = 512;
/// A client that takes nothing is kept for so long at the least, by the kernel; relays are ended earlier.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// Of the system API at once: a thousand origins report in short connections.
const SYSTEM_CONNECTIONS: usize = 256;
/// Listeners, the runtime, log and lookups.
const OWN_DESCRIPTORS: usize = 64;
/// One in so many descriptors is for media over UDP, where that is served.
const UDP_SHARE: usize = 4;
/// However few descriptors there are, something is tried.
const LEAST_CONNECTIONS: usize = 16;
const MEGABYTE: usize = 1_000_000;
const BACKLOG: i32 = 1024;
/// How often another port is tried, where the system chooses it, until it is free for UDP and TCP.
const PORT_TRIES: u32 = 16;
/// How long ended sessions may take to close.
const LAST_MOMENT: Duration = Duration::from_secs(2);
