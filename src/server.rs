//! Builds everything from the settings, binds every listener, serves, and drains on stop. The only file that
//! knows all the others.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use sluicegate_core::fleet::Fleet;
use sluicegate_core::origin::{AddressRules, Origin, OriginId};
use sluicegate_core::policy;
use sluicegate_core::stream::Service;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{self, Access, System};
use crate::config::{Listen, Settings};
use crate::listener::api::Api;
use crate::listener::http::{Http, Pages};
use crate::listener::origin_leg::Dialer;
use crate::listener::rtmp::Rtmp;
use crate::metrics::Metrics;
use crate::net::accept::Acceptor;
use crate::net::workers::Workers;
use crate::probe;
use crate::proxy::{Proxy, Timing};
use crate::readiness::Readiness;
use crate::registry::{ClaimLimits, Registry};
use crate::session::{EndReason, Limits, Sessions};

/// A proxy whose listeners are bound; nothing is accepted until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    proxy: Proxy,
    settings: Settings,
    readiness: Arc<Readiness>,
    listeners: Listeners,
    workers: Arc<Workers>,
    pages: Option<Pages>,
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
}

#[derive(Debug)]
struct Listeners {
    rtmp: Vec<TcpListener>,
    http: Vec<TcpListener>,
    api: Vec<TcpListener>,
    system: Vec<TcpListener>,
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
        let listeners = Listeners {
            rtmp: listen("rtmp.listen", &settings.rtmp.listen)?,
            http: listen("http.listen", &settings.http.listen)?,
            api: listen("api.listen", &settings.api.listen)?,
            system: listen("system.listen", &settings.system.listen)?,
        };
        let metrics = Arc::new(Metrics::new());
        let fleet = Fleet::new(settings.origins.ttl, settings.origins.max);
        let policy = policy::by_name(settings.placement.policy)
            .expect("the settings were checked against the list");
        let claims = ClaimLimits {
            lifetime: settings.placement.play_claim,
            per_source: settings.placement.claims_per_source,
        };
        let registry = Arc::new(Registry::new(fleet, policy, claims, Arc::clone(&metrics)));
        let limits = Limits {
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
            takeover: settings.session.takeover_after,
        };
        let proxy = Proxy::new(
            registry,
            sessions,
            metrics,
            settings.placement.vhosts.clone(),
            timing,
        );
        let readiness = Readiness {
            needs_origin: settings.system.ready_needs_origin,
            ..Readiness::default()
        };
        Ok(Self {
            proxy,
            settings,
            readiness: Arc::new(readiness),
            listeners,
            workers: Arc::new(Workers::start().map_err(StartError::Workers)?),
            pages: None,
        })
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
            pages,
        } = self;
        let tasks = TaskTracker::new();
        // Connections hear of the end only when their time to finish is over.
        let end = CancellationToken::new();
        let connections = Arc::new(Semaphore::new(
            room().min(settings.session.max + SPARE_CONNECTIONS),
        ));
        // The system API has its own: whatever floods the public ports, origins report and operators look.
        let reserved = Arc::new(Semaphore::new(SYSTEM_CONNECTIONS));
        let gone_after = settings.session.write_stall.max(GONE_AFTER);
        let acceptor = |name: &'static str, listeners: Vec<TcpListener>, limit: &Arc<Semaphore>| {
            for address in listeners
                .iter()
                .filter_map(|listener| listener.local_addr().ok())
            {
                info!(listener = name, %address, "listening");
            }
            Acceptor {
                name,
                listeners,
                limit: Arc::clone(limit),
                gone_after,
                workers: Arc::clone(&workers),
                metrics: Arc::clone(proxy.metrics()),
            }
        };
        let addresses = AddressRules {
            allow_special: settings.system.allow_special_addresses,
        };
        let dialer = Arc::new(Dialer {
            addresses,
            rtmp_preamble: settings.origins.client_address_preamble.clone(),
            proxy_v1: settings.origins.proxy_protocol_v1.clone(),
            proxy_v2: settings.origins.proxy_protocol_v2.clone(),
        });
        let proxy_protocol_from: Arc<[_]> = settings.proxy_protocol.accept_from.clone().into();

        let rtmp = Rtmp {
            handshake_timeout: settings.rtmp.handshake_timeout,
            identify_timeout: settings.rtmp.identify_timeout,
            proxy_protocol_from: Arc::clone(&proxy_protocol_from),
            dialer: Arc::clone(&dialer),
            stop: stop.clone(),
        };
        let serve_rtmp = {
            let proxy = proxy.clone();
            acceptor("rtmp", listeners.rtmp, &connections).serve(
                tasks.clone(),
                stop.clone(),
                move |stream, peer| rtmp.clone().connection(stream, peer, proxy.clone()),
            )
        };
        let http = Http {
            head_timeout: settings.http.head_timeout,
            health: settings.http.health,
            static_files: settings.http.static_files.clone(),
            trusted_proxies: settings.http.trusted_proxies.clone().into(),
            proxy_protocol_from,
            dialer,
            readiness: Arc::clone(&readiness),
            pages,
            stop: stop.clone(),
        };
        let serve_http = {
            let proxy = proxy.clone();
            acceptor("http", listeners.http, &connections).serve(
                tasks.clone(),
                stop.clone(),
                move |stream, peer| http.clone().connection(stream, peer, proxy.clone()),
            )
        };
        let serve_api = {
            let stop = stop.clone();
            acceptor("api", listeners.api, &connections).serve(
                tasks.clone(),
                stop.clone(),
                move |stream, _| Api::connection(stream, stop.clone()),
            )
        };
        let access = Access {
            token: settings
                .system
                .auth_enabled
                .then(|| settings.system.auth_token.clone()),
            register_from: settings.system.register_from.clone(),
        };
        let router = System::new(proxy.clone(), access, addresses, Arc::clone(&readiness)).router();
        // The system API goes on while sessions finish, so that a drain can be watched.
        let serve_system = {
            let end = end.clone();
            let system = TaskTracker::new();
            acceptor("system", listeners.system, &reserved).serve(
                system,
                end.clone(),
                move |stream, peer| admin::connection(stream, peer, router.clone(), end.clone()),
            )
        };
        if let Some(origin) = default_origin(&settings) {
            let id = OriginId::from(origin.server.as_str());
            proxy.registry().insert_permanent(id.clone(), origin);
            tokio::spawn(keep_default_origin(proxy.clone(), id, end.clone()));
        }
        tokio::spawn(run_clocks(proxy.clone(), end.clone()));
        tokio::spawn(serve_system);
        readiness.serving.store(true, Ordering::Relaxed);
        info!(version = env!("CARGO_PKG_VERSION"), "ready");

        tokio::join!(serve_rtmp, serve_http, serve_api);

        proxy.drain();
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
        info!("stopped");
    }
}

/// How many public connections there are descriptors for, with an origin side for each, while some are left for the
/// system API: without it a flood would end in failing dials, and origins that cannot report.
fn room() -> usize {
    let limit = getrlimit(Resource::Nofile)
        .current
        .and_then(|limit| usize::try_from(limit).ok());
    let left = limit
        .unwrap_or(usize::MAX)
        .saturating_sub(SYSTEM_CONNECTIONS + OWN_DESCRIPTORS);
    (left / 2).clamp(LEAST_CONNECTIONS, Semaphore::MAX_PERMITS)
}

/// Binds every address of a listen setting.
fn listen(setting: &'static str, wanted: &Listen) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for address in wanted.addresses() {
        let bound = match bind(*address) {
            // A machine without IPv6 serves every interface it has by IPv4.
            Err(error) if wanted.every_interface() && error.kind() != io::ErrorKind::AddrInUse => {
                bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port()))).map_err(|_| error)
            }
            bound => bound,
        };
        listeners.push(bound.map_err(|error| StartError::Listen {
            setting,
            address: *address,
            hint: hint(&error),
        })?);
    }
    Ok(listeners)
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

/// Runs what happens by the clock: idle sessions, silent origins, claims.
async fn run_clocks(proxy: Proxy, end: CancellationToken) {
    let mut sessions = tokio::time::interval(Duration::from_millis(250));
    let mut registry = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = sessions.tick() => proxy.sessions().end_overdue(),
            _ = registry.tick() => proxy.registry().sweep(),
        }
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
    })
}

/// Keeps the default origin alive as long as it answers.
async fn keep_default_origin(proxy: Proxy, id: OriginId, end: CancellationToken) {
    let mut answers = true;
    loop {
        let service = if proxy.registry().target(&id, Service::Rtmp).is_some() {
            Service::Rtmp
        } else {
            Service::Http
        };
        let Some(target) = proxy.registry().target(&id, service) else {
            return;
        };
        let probed = probe::answers(&target, service).await;
        match &probed {
            Ok(()) => proxy.registry().answered(&id),
            Err(_) => proxy.registry().failed(&id),
        }
        if answers != probed.is_ok() {
            answers = probed.is_ok();
            match probed {
                Ok(()) => info!(origin = %id, %target, "the default origin answers again"),
                Err(error) => {
                    warn!(origin = %id, %target, %error, "the default origin does not answer");
                }
            }
        }
        let pause = if answers { PROBE_EVERY } else { PROBE_AGAIN };
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Connections beyond the sessions: requests that are not one yet, pages, health checks.
const SPARE_CONNECTIONS: usize = 512;
/// A client that takes nothing is kept for so long at the least, by the kernel; relays are ended earlier.
const GONE_AFTER: Duration = Duration::from_secs(60);
/// Of the system API at once: a thousand origins report in short connections.
const SYSTEM_CONNECTIONS: usize = 256;
/// Listeners, the runtime, log and lookups.
const OWN_DESCRIPTORS: usize = 64;
/// However few descriptors there are, something is tried.
const LEAST_CONNECTIONS: usize = 16;
const BACKLOG: i32 = 1024;
const PROBE_EVERY: Duration = Duration::from_secs(5);
const PROBE_AGAIN: Duration = Duration::from_secs(1);
/// How long ended sessions may take to close.
const LAST_MOMENT: Duration = Duration::from_secs(2);
