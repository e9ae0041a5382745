//! Builds the proxy and what it consists of from the settings.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::system::uname;
use sluicegate_core::access::challenge::nonce_secret;
use sluicegate_core::dialect::{Naming, Site};
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::Fleet;
use sluicegate_core::fleet::attributes::Attributes;
use sluicegate_core::fleet::health::Rules;
use sluicegate_core::fleet::origin::{AddressRules, Origin, OriginId, Security, Target};
use sluicegate_core::http::caller::OwnNames;
use sluicegate_core::http::link::LinkKey;
use sluicegate_core::place::placement;
use sluicegate_core::place::policy;
use sluicegate_core::place::shares::ClaimLimits;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::sockets::{Sockets, hint};
use crate::admin::Access;
use crate::cluster::{Cluster, Terms};
use crate::config::{self, Credential, LiveTokens, Probing, Settings, Sources};
use crate::fleet_api;
use crate::hub::{self, Hub};
use crate::listener::http::Pieces;
use crate::logging;
use crate::lookup::Lookup;
use crate::metrics::Metrics;
use crate::net::tls::Trust;
use crate::origin::connect::{Connector, Resolve};
use crate::origin::dial::Dialer;
use crate::origin::health::Prober;
use crate::origin::sources::{Lists, Reread};
use crate::placer::Placer;
use crate::proxy::placement_service::PlacementService;
use crate::proxy::{self, Proxy, Timing};
use crate::random;
use crate::registry::Registry;
use crate::sessions::{self, Sessions};
use crate::store::{ClusterStore, Mesh, MeshOptions, Options, Redis};
use crate::systemd::Systemd;

/// The proxy, and its part in a cluster if there is one, for clients of these `sockets`.
pub(super) fn proxy(
    settings: &Settings,
    sockets: &Sockets,
    resolver: Arc<dyn Resolve>,
) -> Result<Proxy, StartError> {
    let metrics = Arc::new(Metrics::new());
    let registry = Arc::new(registry(settings, &metrics));
    let sessions = Arc::new(Sessions::new(limits(settings), Arc::clone(&metrics)));
    let trust = Arc::new(Trust::new(settings.tls.servers.clone()));
    let connector = Connector::new(settings.address_rules(), resolver, trust);
    let connector = connector.avoiding(sockets.own());
    let prober = Prober::new(
        Arc::clone(&registry),
        connector.clone(),
        settings.origins.api_credentials.clone(),
        settings.health.clone(),
    );
    let system = sockets.addresses().system;
    let cluster = cluster(settings, system, prober.clone(), &sessions, &metrics)?;
    let proxy = Proxy::new(proxy::Parts {
        registry,
        sessions,
        metrics,
        vhosts: settings.placement.vhosts.clone(),
        dialects: Arc::new(settings.clients.clone()),
        timing: timing(settings),
        lookup: lookup(settings),
        placement_service: placement_service(settings, &connector),
        cluster,
        connector,
        prober,
        api_credentials: settings.origins.api_credentials.clone(),
        rules: settings.sources.rules.clone(),
        tokens: LiveTokens::new(settings.sources.tokens.clone()),
        nonces: nonces(settings),
    });
    proxy
        .metrics()
        .streams_by_name
        .keep(settings.metrics.streams);
    Ok(proxy)
}

fn registry(settings: &Settings, metrics: &Arc<Metrics>) -> Registry {
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
    let placer = placer(settings, policy);
    Registry::new(fleet, placer, claims, Arc::clone(metrics))
        .with_attributes(settings.origins.attributes.clone())
}

const fn limits(settings: &Settings) -> sessions::Limits {
    let wanted = &settings.session;
    sessions::Limits {
        publisher_idle: wanted.publisher_idle,
        player_idle: wanted.player_idle,
        play_wait: wanted.play_wait,
        write_stall: wanted.write_stall,
        max: wanted.max,
    }
}

fn timing(settings: &Settings) -> Timing {
    let wanted = &settings.session;
    Timing {
        dial: wanted.dial_timeout,
        setup: wanted.setup_timeout,
        play_wait: wanted.play_wait,
        publisher_idle: wanted.publisher_idle,
        takeover_after: wanted.takeover_after,
        takeover: wanted.takeover,
        drain_pace: settings.drain.pace,
        holds: settings.hold.clone(),
        ask_streams: settings.origins.ask_streams,
    }
}

/// This proxy's part in a cluster, if there is a store to share.
fn cluster(
    settings: &Settings,
    system: Option<SocketAddr>,
    prober: Prober,
    sessions: &Arc<Sessions>,
    metrics: &Arc<Metrics>,
) -> Result<Option<Arc<Cluster>>, StartError> {
    let store = if settings.store.mesh {
        ClusterStore::Mesh(enter_mesh(settings)?)
    } else if let Some(address) = settings.store.redis.clone() {
        let options = Options {
            prefix: settings.store.prefix.clone(),
            time_limit: settings.store.timeout,
            watched: Cluster::watched(),
        };
        ClusterStore::Redis(Redis::open(address, options).map_err(StartError::Store)?)
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
            .or_else(|| reachable_at(system?, settings.system.tls.required)),
        vhosts: settings.placement.vhosts.clone(),
        keys: settings.cluster.keys.clone(),
        prober: prober.clone(),
    };
    let (registry, sessions) = (Arc::clone(prober.registry()), Arc::clone(sessions));
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
fn reachable_at(listener: SocketAddr, by_tls: bool) -> Option<Target> {
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
        security: if by_tls {
            Security::Tls(None)
        } else {
            Security::Plain
        },
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
        bound: wanted.bound,
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
        site: Site {
            default_streamid: settings.srt.default_streamid.clone(),
            call_paths: settings.rtc.paths.clone(),
            base_path: settings.http.base_path.clone(),
        },
    }
}

fn placement_service(settings: &Settings, connector: &Connector) -> Option<PlacementService> {
    let wanted = &settings.placement;
    wanted.ask.clone().map(|url| PlacementService {
        url,
        connector: connector.anywhere(),
        timeout: wanted.ask_timeout,
        keep: wanted.ask_keep,
        unanswered: wanted.ask_unanswered,
        kept: Mutex::default(),
    })
}

/// How origins are reached.
pub(super) fn dialer(settings: &Settings, proxy: &Proxy) -> Dialer {
    Dialer {
        connector: proxy.connector().clone(),
        rtmp_preamble: settings.origins.client_address_preamble.clone(),
        proxy_v1: settings.origins.proxy_protocol_v1.clone(),
        proxy_v2: settings.origins.proxy_protocol_v2.clone(),
    }
}

/// The feeds of streams that viewers share.
pub(super) fn hub(
    settings: &Settings,
    proxy: &Proxy,
    dialer: &Arc<Dialer>,
    end: &CancellationToken,
) -> Hub {
    let fanout = &settings.fanout;
    let wanted = hub::Settings {
        modes: fanout.modes.clone(),
        split_query: fanout.split_query.clone(),
        pull_query: fanout.pull_query.clone(),
        coalesce: fanout.coalesce,
        max_lag: fanout.max_lag,
        linger: fanout.linger,
        memory: fanout.memory_megabytes * MEGABYTE,
        silence: settings.session.player_idle,
        holds: settings.hold.clone(),
    };
    Hub::new(wanted, proxy.clone(), Arc::clone(dialer), end.clone())
}

/// Who may ask the system API for what.
pub(super) fn access(settings: &Settings, proxy: &Proxy) -> Access {
    let system = &settings.system;
    Access {
        tokens: proxy.tokens().clone(),
        token: system.auth_enabled.then(|| system.auth_token.clone()),
        register_from: system.register_from.clone(),
        peers: proxy
            .cluster()
            .and_then(|cluster| cluster.access().cloned()),
        names: own_names(settings),
    }
}

/// Makes the texts that clients who log in hash with their passwords.
fn nonces(settings: &Settings) -> [u8; 32] {
    let key = settings.cluster.keys.first();
    key.map_or_else(random::bytes, |key| nonce_secret(key.reveal().as_bytes()))
}

/// What pulling in pieces is set to.
pub(super) fn pieces(settings: &Settings, http: Arc<config::Http>) -> Pieces {
    let keys = settings.cluster.keys.iter();
    let random: [u8; 32] = random::bytes();
    let derived = |derive: fn(&[u8]) -> LinkKey| {
        let mut keys = keys.clone().map(|key| derive(key.reveal().as_bytes()));
        let key = keys.next().unwrap_or_else(|| derive(&random));
        key.or(keys)
    };
    let pieces = Pieces::new(derived(LinkKey::new), derived(LinkKey::granting), http);
    pieces.holding(settings.hold.clone())
}

/// News of the process itself.
pub(super) fn about(what: String) -> News {
    News {
        what,
        ..News::default()
    }
}

/// Keeps the fleet, the access rules and the tokens as the lists say, for ever. `systemd` is told when they are read again because somebody
/// asked.
pub(super) async fn keep_sources(
    proxy: Proxy,
    sources: Sources,
    rules: AddressRules,
    systemd: Systemd,
    players_need_a_rule: bool,
) {
    let registry = Arc::clone(proxy.registry());
    let anywhere = proxy.connector().anywhere();
    let lists = Lists::start(registry, sources, rules, anywhere);
    let mut lists = lists.players_need_a_rule(players_need_a_rule);
    loop {
        let asked = lists.changed().await;
        let again = async {
            let what = match lists.read_again(asked).await {
                Reread::Changed(what) => {
                    proxy.take_lists(lists.sources());
                    format!(
                        "the settings file was read again: {} changed",
                        what.join(", ")
                    )
                }
                Reread::Kept(why) => {
                    format!("nothing of the settings file is taken: {why}")
                }
                Reread::Same => return,
            };
            proxy.metrics().journal.note(Kind::Config, about(what));
        };
        if asked {
            systemd.while_reloading(again).await;
        } else {
            again.await;
        }
    }
}

/// Runs what happens by the clock: idle sessions, silent origins, claims. It goes through all sessions, which takes long where there
/// are many, so it is done on a thread of its own: the one of this task accepts connections meanwhile.
pub(super) async fn run_clocks(proxy: Proxy, end: CancellationToken) {
    let mut sessions = tokio::time::interval(Duration::from_millis(250));
    let mut registry = tokio::time::interval(Duration::from_secs(1));
    loop {
        let due: fn(&Proxy) = tokio::select! {
            () = end.cancelled() => return,
            _ = sessions.tick() => |proxy| proxy.sessions().end_overdue(),
            _ = registry.tick() => |proxy| {
                proxy.measure();
                proxy.registry().sweep();
                proxy.sessions().renew_lines();
                logging::report_left_out();
            },
        };
        let proxy = proxy.clone();
        // A panic is in the log, and ends this round alone.
        let _ = spawn_blocking(move || due(&proxy)).await;
    }
}

/// The settings of the API over all origins.
pub(super) fn fleet_api_settings(settings: &Settings) -> fleet_api::Settings {
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
pub(crate) fn own_names(settings: &Settings) -> OwnNames {
    let names = OwnNames::of(&uname().nodename().to_string_lossy());
    match &settings.system.advertise {
        Some(target) => names.and(&target.host),
        None => names,
    }
}

/// The origin of `PROXY_DEFAULT_BACKEND_*`.
pub(super) fn default_origin(settings: &Settings) -> Option<(OriginId, Origin)> {
    let wanted = &settings.default_origin;
    let origin = wanted.enabled.then(|| Origin {
        ip: wanted.ip.clone(),
        server: "default".to_owned(),
        service: "default".to_owned(),
        pid: std::process::id().to_string(),
        device_id: Some("default".to_owned()),
        endpoints: wanted.endpoints.clone(),
        attributes: Arc::new(Attributes {
            naming: Naming {
                dialect: wanted.dialect,
                ..Naming::default()
            },
            ..Attributes::default()
        }),
        report: None,
    })?;
    Some((OriginId::from(origin.server.as_str()), origin))
}

const MEGABYTE: usize = 1_000_000;
/// An address of RFC 5737 that nobody has.
const SOMEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);
