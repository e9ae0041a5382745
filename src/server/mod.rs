//! Builds everything from the settings, lets every listener serve, and drains on stop. The only room that knows all the
//! others.
//!
//! | file | what it does |
//! | --- | --- |
//! | `sockets` | every socket that clients reach, bound before anything is served |
//! | `inherited` | those that a service manager passes on |
//! | `parts` | the proxy and what it consists of, by the settings |
//! | `room` | for how many clients there are file descriptors |
//! | `listeners` | each listener with its sockets, its settings and its entrance |
//! | `tls` | the certificates, and the TLS of each listener |
//! | `stop` | the end |

mod inherited;
mod listeners;
mod parts;
mod room;
#[cfg(test)]
mod scale;
mod sockets;
mod stop;
#[cfg(test)]
mod times;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sluicegate_core::events::Kind;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use self::inherited::Inherited;
use self::listeners::{Listeners, Threads};
pub(crate) use self::parts::own_names;
pub use self::room::too_little as too_little_room;
pub use self::sockets::{Addresses, Sockets};
use self::tls::Tls;
use crate::admin::Shown;
use crate::api;
use crate::config::{Effective, Settings, Source};
use crate::listener::http::Pages;
use crate::net::workers::{Pulse, Workers};
use crate::origin::connect::{Resolve, SystemResolver};
use crate::origin::health;
use crate::proxy::{self, Proxy};
use crate::readiness::Readiness;
use crate::systemd::Systemd;

/// A proxy with its sockets; nothing is accepted until [`Server::serve`].
#[derive(Debug)]
pub struct Server {
    proxy: Proxy,
    settings: Settings,
    readiness: Arc<Readiness>,
    sockets: Sockets,
    threads: Threads,
    pages: Option<Pages>,
    tls: Option<Tls>,
    shown: Vec<api::Setting>,
    systemd: Systemd,
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Every listener for clients is closed.
    #[error("nothing would be served: every listener for clients is closed, or its port is taken")]
    Closed,
    /// A socket that was passed on cannot be used.
    #[error("cannot use the sockets that LISTEN_FDS passes on: {0}")]
    Inherited(String),
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
    /// TLS cannot be served.
    #[error("cannot serve TLS: {0}")]
    Tls(String),
    /// The system has no thread left for connections.
    #[error("cannot start the threads that serve connections: {0}")]
    Workers(#[source] io::Error),
}

impl Server {
    /// Binds every listener where the settings say, and builds a server on them.
    ///
    /// # Errors
    /// Those of [`Sockets::bind`] and [`Server::new`].
    pub fn bind(settings: Settings) -> Result<Self, StartError> {
        Self::bind_with(settings, Arc::new(SystemResolver))
    }

    /// The same; `resolver` says where the names of origins lead.
    ///
    /// # Errors
    /// As [`Server::bind`].
    pub fn bind_with(settings: Settings, resolver: Arc<dyn Resolve>) -> Result<Self, StartError> {
        let sockets = Sockets::bind(&settings)?;
        Self::build(settings, sockets, resolver)
    }

    /// A server on these sockets.
    ///
    /// # Errors
    /// When the system has no thread left, or the store or the mesh cannot be used.
    pub fn new(settings: Settings, sockets: Sockets) -> Result<Self, StartError> {
        Self::build(settings, sockets, Arc::new(SystemResolver))
    }

    fn build(
        settings: Settings,
        sockets: Sockets,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, StartError> {
        let start = |name| Workers::start(name).map_err(StartError::Workers);
        let threads = Threads {
            connections: Arc::new(start("worker")?),
            srt: start("srt")?,
            rtc: start("rtc")?,
        };
        let proxy = parts::proxy(&settings, &sockets, resolver)?;
        let tls = Tls::new(&settings, &proxy)?;
        let readiness = Readiness {
            needs_origin: settings.system.ready_needs_origin,
            certificates: tls.as_ref().map(|tls| Arc::clone(&tls.certificates)),
            ..Readiness::default()
        };
        Ok(Self {
            proxy,
            settings,
            readiness: Arc::new(readiness),
            sockets,
            threads,
            pages: None,
            tls,
            shown: Vec::new(),
            systemd: Systemd::default(),
        })
    }

    /// Tells `systemd` how it goes.
    #[must_use]
    pub fn with_systemd(mut self, systemd: Systemd) -> Self {
        self.systemd = systemd;
        self
    }

    /// Tells people which settings are in effect.
    #[must_use]
    pub fn showing(mut self, effective: &[Effective]) -> Self {
        let shown = effective.iter().map(|one| api::Setting {
            path: one.setting.path.to_owned(),
            value: one.value.clone(),
            source: one.source.to_string(),
            is_default: matches!(one.source, Source::Default),
            doc: one.setting.doc.to_owned(),
        });
        self.shown = shown.collect();
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

    /// The SHA-256 of its certificate, as browsers show it; `None` without TLS.
    pub fn fingerprint(&self) -> Option<String> {
        self.tls.as_ref()?.certificates.fingerprint()
    }

    /// Where it listens, with the ports the system chose for port 0.
    pub fn addresses(&self) -> Addresses {
        self.sockets.addresses()
    }

    /// Serves until `stop`; then accepts nothing more, lets sessions finish for the grace time, and ends what is
    /// left.
    pub async fn serve(self, stop: CancellationToken) {
        let Self {
            proxy,
            settings,
            readiness,
            sockets,
            threads,
            pages,
            tls,
            shown,
            systemd,
        } = self;
        let tls_of_listeners = settings.tls_of_listeners().into_iter();
        let tls_alone = tls_of_listeners.filter(|(_, tls)| tls.required);
        let shown = Shown {
            settings: shown,
            listeners: sockets.named(),
            tls_alone: tls_alone.map(|(name, _)| name).collect(),
            public: settings.console.public.clone(),
        };
        let shutdown = settings.shutdown.clone();
        let end = CancellationToken::new();
        join_the_cluster(&proxy, &settings, &stop, &end).await;
        if let Some((id, origin)) = parts::default_origin(&settings) {
            proxy.registry().insert_permanent(id, origin);
        }
        let holding = proxy::hold::run(proxy.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(holding));
        spawn_upkeep(&proxy, &settings, &systemd, &end);
        if let Some(tls) = &tls {
            tls.keep(&proxy, &end);
        }
        let pulse = Pulse::of([&threads.connections, &threads.srt, &threads.rtc]);
        let listeners = Listeners::new(
            proxy.clone(),
            settings,
            Arc::clone(&readiness),
            (pages, shown),
            threads,
            (stop.clone(), end.clone()),
        )
        .with_tls(tls);
        let accepting = listeners.serve(sockets);
        readiness.serving.store(true, Ordering::Relaxed);
        info!(version = env!("CARGO_PKG_VERSION"), "ready");
        let started = format!("version {} is ready", env!("CARGO_PKG_VERSION"));
        proxy
            .metrics()
            .journal
            .note(Kind::Config, parts::about(started));
        tokio::spawn(systemd.keep_told(proxy.clone(), pulse, stop.clone(), end.clone()));
        stop.cancelled().await;
        accepting.wait().await;
        stop::drain(&proxy, &listeners.tasks, &shutdown, &end).await;
    }
}

/// Meets the other proxies, if there are some, before clients are taken.
async fn join_the_cluster(
    proxy: &Proxy,
    settings: &Settings,
    stop: &CancellationToken,
    end: &CancellationToken,
) {
    if let Some(cluster) = proxy.cluster() {
        let wait = settings.store.wait_at_start;
        let time_limit = (!wait).then(|| settings.store.timeout.max(FIRST_ANSWER));
        let begun = Arc::clone(cluster).begin(time_limit, end);
        stop.run_until_cancelled(begun).await;
    }
}

/// Starts what goes on beside the listeners, until `end`.
fn spawn_upkeep(proxy: &Proxy, settings: &Settings, systemd: &Systemd, end: &CancellationToken) {
    let probing = health::run(proxy.silence().prober().clone());
    tokio::spawn(end.clone().run_until_cancelled_owned(probing));
    let keep_sources = parts::keep_sources(
        proxy.clone(),
        settings.sources.clone(),
        settings.address_rules(),
        systemd.clone(),
        settings.fanout.shows_without_asking(),
    );
    tokio::spawn(end.clone().run_until_cancelled_owned(keep_sources));
    let draining = proxy::drain::run(proxy.clone());
    tokio::spawn(end.clone().run_until_cancelled_owned(draining));
    if settings.placement.rebalance {
        let lasts = settings.placement.rebalance_after;
        let rebalancing = proxy::rebalance::run(proxy.clone(), lasts);
        tokio::spawn(end.clone().run_until_cancelled_owned(rebalancing));
    }
    tokio::spawn(parts::run_clocks(proxy.clone(), end.clone()));
}

/// How long the store may take to its first answer before clients are served without it.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
