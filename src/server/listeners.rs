//! Puts each listener together with its sockets, its settings and its entrance, and lets it serve.

use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info};

use super::sockets::{Media, Sockets};
use super::tls::Tls;
use super::{parts, room};
use crate::admin::{self, Shown, System};
use crate::config::Settings;
use crate::fleet_api::FleetApi;
use crate::hub::Hub;
use crate::listener::api::{self, Api};
use crate::listener::calls::Calls;
use crate::listener::http::{Http, Pages};
use crate::listener::rtc::{Rtc, Tcp};
use crate::listener::rtmp::Rtmp;
use crate::listener::rtsp::{Rtsp, UdpPorts};
use crate::listener::srt::Srt;
use crate::listener::whip::Whip;
use crate::net::accept::{Acceptor, Room};
use crate::net::datagram::Entries;
use crate::net::entrance::{Entrance, ProxyHeader, Visitor};
use crate::net::patience::Patience;
use crate::net::tls::TlsEntrance;
use crate::net::workers::Workers;
use crate::origin::dial::Dialer;
use crate::origin::silence::SilenceCheck;
use crate::proxy::Proxy;
use crate::readiness::Readiness;
use crate::value::Network;

/// The sockets of one listener: those for plain clients, perhaps beside TLS, and those for TLS alone.
type Both = [Vec<StdListener>; 2];

/// What listeners are made of.
pub(super) struct Listeners {
    pub(super) proxy: Proxy,
    pub(super) settings: Settings,
    pub(super) readiness: Arc<Readiness>,
    pub(super) pages: Option<Pages>,
    pub(super) tls: Option<Tls>,
    /// What people are told of the process.
    pub(super) shown: Shown,
    pub(super) threads: Threads,
    /// Counts the connections and flows of clients.
    pub(super) tasks: TaskTracker,
    /// Nothing new is taken from then on.
    pub(super) stop: CancellationToken,
    /// What goes on while sessions finish ends with it: connections hear of it only when their time is over.
    pub(super) end: CancellationToken,
    dialer: Arc<Dialer>,
    hub: Hub,
    silence: Arc<SilenceCheck>,
    calls: Calls,
    /// Asks all origins the same.
    fleet: Arc<FleetApi>,
    listed: Arc<[Network]>,
    /// Connections of clients at once.
    connections: Room,
    /// Those of the system API: whatever floods the public ports, origins report and operators look.
    reserved: Room,
}

/// The threads that serve clients. Shards of datagrams rest when they are busy, and nobody else is to wait for that.
#[derive(Debug)]
pub(super) struct Threads {
    pub(super) connections: Arc<Workers>,
    pub(super) srt: Workers,
    pub(super) rtc: Workers,
}

impl Listeners {
    pub(super) fn new(
        proxy: Proxy,
        settings: Settings,
        readiness: Arc<Readiness>,
        (pages, shown): (Option<Pages>, Shown),
        threads: Threads,
        (stop, end): (CancellationToken, CancellationToken),
    ) -> Self {
        let tasks = TaskTracker::new();
        let dialer = Arc::new(parts::dialer(&settings, &proxy));
        let hub = parts::hub(&settings, &proxy, &dialer, &end);
        let fleet = FleetApi::new(proxy.clone(), parts::fleet_api_settings(&settings));
        Self {
            fleet: Arc::new(fleet),
            silence: Arc::clone(proxy.silence()),
            calls: Calls::new(Arc::clone(&dialer), tasks.clone()),
            listed: settings.proxy_protocol.accept_from.clone().into(),
            connections: room::of_clients(&settings),
            reserved: room::of_system(),
            proxy,
            settings,
            readiness,
            pages,
            tls: None,
            shown,
            threads,
            tasks,
            stop,
            hub,
            end,
            dialer,
        }
    }

    /// The same, with TLS for clients if there is any.
    pub(super) fn with_tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Lets every listener serve what its sockets bring. The loops that take clients are counted by the tracker that
    /// is returned, and end at the stop; those that go on while sessions finish end with the end.
    pub(super) fn serve(&self, sockets: Sockets) -> TaskTracker {
        let accepting = TaskTracker::new();
        let Sockets {
            rtmp,
            http,
            api,
            system,
            rtsp,
            metrics,
            tls,
            console,
            srt,
            rtc,
        } = sockets;
        self.rtmp([rtmp, tls.rtmp], &accepting);
        self.rtsp([rtsp, tls.rtsp], &accepting);
        self.srt(srt);
        self.http([http, tls.http], &accepting);
        let whip = Arc::new(self.whip(&rtc));
        self.api([api, tls.api], &whip, &accepting);
        self.rtc(rtc);
        self.system([system, tls.system], console, whip);
        self.metrics(metrics);
        accepting.close();
        accepting
    }

    fn rtmp(&self, sockets: Both, accepting: &TaskTracker) {
        let settings = self.settings.rtmp.clone();
        let entrance = self
            .entrance(ProxyHeader::Must, settings.handshake_timeout)
            .with_tls(self.tls(|tls| &tls.rtmp), settings.tls.required);
        let rtmp = Rtmp {
            settings: Arc::new(settings),
            dialer: Arc::clone(&self.dialer),
            hub: self.hub.clone(),
            stop: self.stop.clone(),
        };
        let proxy = self.proxy.clone();
        let handle = move |visitor| rtmp.clone().connection(visitor, proxy.clone());
        self.accept(["rtmp", "rtmp_tls"], sockets, entrance, accepting, handle);
    }

    fn rtsp(&self, sockets: Both, accepting: &TaskTracker) {
        let settings = self.settings.rtsp.clone();
        let entrance = self
            .entrance(ProxyHeader::Must, settings.identify_timeout)
            .with_tls(self.tls(|tls| &tls.rtsp), settings.tls.required);
        let udp = settings
            .udp_ports
            .map(|range| Arc::new(UdpPorts::new(range, room::for_datagrams())));
        let rtsp = Rtsp {
            settings: Arc::new(settings),
            dialer: Arc::clone(&self.dialer),
            udp,
            told: Arc::default(),
            stop: self.stop.clone(),
        };
        let proxy = self.proxy.clone();
        let handle = move |visitor| rtsp.clone().connection(visitor, proxy.clone());
        self.accept(["rtsp", "rtsp_tls"], sockets, entrance, accepting, handle);
    }

    fn srt(&self, entries: Vec<Entries>) {
        let srt = Srt {
            settings: self.settings.srt.clone(),
            most: self.settings.session.max,
            dialer: Arc::clone(&self.dialer),
        };
        srt.serve(
            entries,
            &self.threads.srt,
            &self.tasks,
            &self.stop,
            &self.proxy,
        );
    }

    fn http(&self, sockets: Both, accepting: &TaskTracker) {
        let settings = Arc::new(self.settings.http.clone());
        let missing = settings.static_files.as_ref().filter(|at| !at.is_dir());
        if let Some(directory) = missing.filter(|_| !sockets.iter().all(Vec::is_empty)) {
            info!(directory = %directory.display(), "no such directory: no static files are served");
        }
        let entrance = self
            .entrance(ProxyHeader::Must, settings.head_timeout)
            .with_tls(self.tls(|tls| &tls.http), settings.tls.required)
            .trusting(settings.trusted_proxies.clone().into());
        let pieces = Arc::new(parts::pieces(&self.settings, Arc::clone(&settings)));
        let cache = Arc::downgrade(&pieces);
        self.proxy.metrics().before_scrape(move |metrics| {
            let kept = cache.upgrade().map_or(0, |pieces| pieces.kept_bytes());
            metrics.cache.set(i64::try_from(kept).unwrap_or(i64::MAX));
        });
        let challenges = self.tls.as_ref().and_then(|tls| tls.challenges.clone());
        let http = Http {
            challenges,
            settings,
            dialer: Arc::clone(&self.dialer),
            hub: self.hub.clone(),
            pieces,
            silence: Arc::clone(&self.silence),
            readiness: Arc::clone(&self.readiness),
            pages: self.pages.clone(),
            patience: self.patience(self.settings.http.head_timeout, &self.connections),
            stop: self.stop.clone(),
        };
        let proxy = self.proxy.clone();
        let handle = move |visitor| http.clone().connection(visitor, proxy.clone());
        self.accept(["http", "http_tls"], sockets, entrance, accepting, handle);
    }

    /// Signalling of calls that have their media at `rtc`.
    fn whip(&self, rtc: &Media) -> Whip {
        Whip {
            settings: self.settings.rtc.clone(),
            silence: Arc::clone(&self.silence),
            trusted_proxies: self.settings.http.trusted_proxies.clone().into(),
            base_path: self.settings.http.base_path.clone(),
            media: rtc.addresses().collect(),
            tcp: !rtc.tcp.is_empty(),
            calls: self.calls.clone(),
        }
    }

    /// The API port.
    fn api(&self, sockets: Both, whip: &Arc<Whip>, accepting: &TaskTracker) {
        let api = Api {
            fleet: Arc::clone(&self.fleet),
            whip: Arc::clone(whip),
            patience: self.patience(api::HEAD_TIMEOUT, &self.connections),
            stop: self.stop.clone(),
        };
        let entrance = self
            .entrance(ProxyHeader::May, api::HEAD_TIMEOUT)
            .with_tls(self.tls(|tls| &tls.api), self.settings.api.tls.required)
            .trusting(self.settings.http.trusted_proxies.clone().into());
        let proxy = self.proxy.clone();
        let handle = move |visitor| api.clone().connection(visitor, proxy.clone());
        self.accept(["api", "api_tls"], sockets, entrance, accepting, handle);
    }

    /// WebRTC media, which goes on while sessions finish.
    fn rtc(&self, media: Media) {
        let rtc = Rtc {
            entries: media.udp,
            calls: self.calls.clone(),
        };
        rtc.serve(
            &self.threads.rtc,
            &TaskTracker::new(),
            &self.end,
            &self.proxy,
        );
        let tcp = Tcp {
            calls: self.calls.clone(),
        };
        let entrance = self.entrance(ProxyHeader::Never, Duration::ZERO);
        let acceptor = self.acceptor("rtc_tcp", media.tcp, entrance, &self.connections);
        let proxy = self.proxy.clone();
        let handle = move |visitor| tcp.clone().connection(visitor, proxy.clone());
        tokio::spawn(acceptor.serve(self.tasks.clone(), self.end.clone(), handle));
    }

    /// The system API, which goes on while sessions finish, so that a drain can be watched; on its own port, and on
    /// that of the console.
    fn system(&self, sockets: Both, console: Vec<StdListener>, whip: Arc<Whip>) {
        let access = parts::access(&self.settings, &self.proxy);
        let addresses = self.settings.address_rules();
        let readiness = Arc::clone(&self.readiness);
        let system = System::new(self.proxy.clone(), access, addresses, readiness);
        let http = &self.settings.http;
        let system = system
            .showing(self.shown.clone())
            .picturing(self.hub.clone(), whip)
            .asking(Arc::clone(&self.fleet))
            .under(http.trusted_proxies.clone().into(), http.base_path.clone());
        let noted = system.clone().keep_noted();
        tokio::spawn(self.end.clone().run_until_cancelled_owned(noted));
        if !console.is_empty() {
            let entrance = self.entrance(ProxyHeader::May, admin::HEAD_TIMEOUT);
            let sockets = [console, Vec::new()];
            self.administer(["console"; 2], sockets, entrance, system.router());
        }
        let entrance = self
            .entrance(ProxyHeader::May, admin::HEAD_TIMEOUT)
            .with_tls(
                self.tls(|tls| &tls.system),
                self.settings.system.tls.required,
            )
            .trusting(http.trusted_proxies.clone().into());
        self.administer(["system", "system_tls"], sockets, entrance, system.router());
    }

    /// The metrics, where they have a port of their own.
    fn metrics(&self, sockets: Vec<StdListener>) {
        if !sockets.is_empty() {
            let metrics = Arc::clone(self.proxy.metrics());
            let entrance = self.entrance(ProxyHeader::May, admin::HEAD_TIMEOUT);
            let sockets = [sockets, Vec::new()];
            self.administer(
                ["metrics"; 2],
                sockets,
                entrance,
                admin::metrics_router(metrics),
            );
        }
    }

    /// How clients of HTTP/1 are waited for that have their places in `room`.
    fn patience(&self, head: Duration, room: &Room) -> Patience {
        Patience {
            head,
            idle: self.settings.http.idle,
            room: room.clone(),
        }
    }

    fn administer(
        &self,
        names: [&'static str; 2],
        sockets: Both,
        entrance: Entrance,
        router: axum::Router,
    ) {
        for acceptor in self.acceptors(names, sockets, entrance, &self.reserved) {
            let (router, end) = (router.clone(), self.end.clone());
            let patience = self.patience(admin::HEAD_TIMEOUT, &self.reserved);
            let base_path = self.settings.http.base_path.clone();
            let handle = move |visitor| {
                let (router, base_path) = (router.clone(), base_path.clone());
                admin::connection(visitor, router, base_path, patience.clone(), end.clone())
            };
            tokio::spawn(acceptor.serve(TaskTracker::new(), self.end.clone(), handle));
        }
    }

    fn tls(&self, of: impl Fn(&Tls) -> &Arc<TlsEntrance>) -> Option<Arc<TlsEntrance>> {
        self.tls.as_ref().map(of).map(Arc::clone)
    }

    fn entrance(&self, header: ProxyHeader, time_limit: Duration) -> Entrance {
        Entrance {
            header,
            listed: Arc::clone(&self.listed),
            time_limit,
            tls: None,
            require_tls: false,
            trusted: Arc::default(),
        }
    }

    /// Accepts clients until the stop.
    fn accept<F>(
        &self,
        names: [&'static str; 2],
        sockets: Both,
        entrance: Entrance,
        accepting: &TaskTracker,
        handle: impl Fn(Visitor) -> F + Clone + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        for acceptor in self.acceptors(names, sockets, entrance, &self.connections) {
            let handle = handle.clone();
            accepting.spawn(acceptor.serve(self.tasks.clone(), self.stop.clone(), handle));
        }
    }

    /// An acceptor for the sockets where a listener serves plain clients, perhaps beside TLS, and one for those where it
    /// serves TLS alone.
    fn acceptors(
        &self,
        names: [&'static str; 2],
        sockets: Both,
        entrance: Entrance,
        room: &Room,
    ) -> [Acceptor; 2] {
        let [beside, own] = sockets;
        let encrypted = Entrance {
            require_tls: true,
            trusted: Arc::default(),
            ..entrance.clone()
        };
        [
            self.acceptor(names[0], beside, entrance, room),
            self.acceptor(names[1], own, encrypted, room),
        ]
    }

    fn acceptor(
        &self,
        name: &'static str,
        sockets: Vec<StdListener>,
        entrance: Entrance,
        room: &Room,
    ) -> Acceptor {
        let mut listeners = Vec::with_capacity(sockets.len());
        for socket in sockets {
            let address = socket.local_addr();
            match (address, TcpListener::from_std(socket)) {
                (Ok(address), Ok(listener)) => {
                    info!(listener = name, %address, "listening");
                    listeners.push(listener);
                }
                (Err(error), _) | (_, Err(error)) => {
                    error!(listener = name, %error, "a listener cannot be served");
                }
            }
        }
        Acceptor {
            name,
            listeners,
            entrance,
            room: room.clone(),
            gone_after: self.settings.session.write_stall.max(GONE_AFTER),
            workers: Arc::clone(&self.threads.connections),
            metrics: Arc::clone(self.proxy.metrics()),
        }
    }
}

/// The shortest time that the kernel keeps a client which takes nothing; relays are ended earlier.
const GONE_AFTER: Duration = Duration::from_secs(60);
