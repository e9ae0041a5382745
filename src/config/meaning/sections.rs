//! Reads every section from its rows of the table.

use super::values::{
    Reader, cluster_keys, count, dialect, directory, endpoint, few, flag, host, listen, log_format,
    log_level, networks, number, origin_names, parameters, period, port, port_range,
    public_listener, stream_id, stream_names, token, vhosts, wait,
};
use super::{
    Api, Cluster, Console, DefaultOrigin, Drain, Fanout, Health, Http, Log, Mesh, Metrics, Origins,
    Placement, ProbeKind, Probing, ProxyProtocol, Rtc, Rtmp, Rtsp, SessionLimits, Settings,
    Shutdown, Srt, Store, System, tls,
};
use crate::config::credentials::Credentials;
use crate::config::layers::{Entry, Source};
use crate::config::placement::Unanswered;
use crate::config::sources::Sources;
use crate::config::table::Written;
use crate::config::{Problem, mesh, parse_duration};
use crate::store::{Address, Server, Topology};
use crate::value::Url;
use crate::value::{Listen, PublicAddress, Secret, ValueError};
use sluicegate_core::cluster::peers::target;
use sluicegate_core::dialect::{ClientDialects, ClientRule, Dialect};
use sluicegate_core::fleet::attributes::{AttributeError, Given};
use sluicegate_core::fleet::origin::Endpoints;
use sluicegate_core::http::sharing::Sharing;
use sluicegate_core::http::whip::Pattern;
use sluicegate_core::media::fanout::{Mode, Modes};
use sluicegate_core::place::policy;
use sluicegate_core::place::rule::{
    FanoutRule, HoldRule, HoldRules, HoldTimes, NameRule, RuleError, ShareRule,
};
use sluicegate_core::place::takeover::Takeover;
use sluicegate_core::stream::Service;
use std::net::SocketAddr;

/// Reads all entries. If one is invalid, the problem is noted and the default is used, so that all problems are found
/// at once.
pub(in crate::config) fn read(
    entries: &[Entry],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Settings {
    let mut reader = Reader { entries, problems };
    let r = &mut reader;
    let written = |path| r.entry(path).written.text();
    if !written("store.url").is_empty() && written("store.type") != "redis" {
        warnings.push(format!(
            "store.url is not used: store.type is {}, and only redis has one",
            written("store.type")
        ));
    }
    let settings = Settings {
        clients: ClientDialects {
            usual: r.read("clients.dialect", dialect),
            rules: r.read("clients.rules", |written| {
                let rules = written.items().into_iter();
                rules.map(|rule| Ok(rule.parse::<ClientRule>()?)).collect()
            }),
            names: r.read("clients.name_parameters", |written| {
                let rules = written.items().into_iter();
                rules.map(|rule| Ok(rule.parse::<NameRule>()?)).collect()
            }),
        },
        rtmp: Rtmp {
            listen: r.opening("rtmp.listen"),
            tls: tls::read_listener(r, "rtmp"),
            handshake_timeout: r.read("rtmp.handshake_timeout", period),
            identify_timeout: r.read("rtmp.identify_timeout", period),
        },
        http: Http {
            listen: r.opening("http.listen"),
            tls: tls::read_listener(r, "http"),
            static_files: r.read("http.static_files", directory),
            head_timeout: r.read("http.head_timeout", period),
            idle: r.read("http.idle", period),
            answer_timeout: r.read("http.answer_timeout", period),
            reload_timeout: r.read("http.reload_timeout", period),
            cache_megabytes: r.read("http.cache_megabytes", |written| {
                count(written, 0, 1_000_000)
            }),
            sharing: Sharing {
                general: r.read("http.share", |written| Ok(written.text().parse()?)),
                rules: r.read("http.share_rules", |written| {
                    let rules = written.items().into_iter();
                    rules.map(|rule| Ok(rule.parse::<ShareRule>()?)).collect()
                }),
                ignored: r.read("http.cache_ignore", parameters),
            },
            health: r.read("http.health", flag),
            trusted_proxies: r.read("http.trusted_proxies", networks),
            base_path: r.read("http.base_path", |written| Ok(written.text().parse()?)),
        },
        api: read_api(r),
        system: read_system(r),
        rtc: Rtc {
            listen: r.opening("rtc.listen"),
            public_addresses: r.read("rtc.public_addresses", |written| {
                written.items().into_iter().map(str::parse).collect()
            }),
            tcp: r.read("rtc.tcp", flag),
            paths: r.read("rtc.paths", |written| {
                let patterns = written.items().into_iter().map(Pattern::parse);
                Ok(patterns.collect::<Result<_, _>>()?)
            }),
        },
        srt: Srt {
            listen: r.opening("srt.listen"),
            default_streamid: r.read("srt.default_streamid", stream_id),
            idle: r.read("srt.idle", period),
            calls_per_source: r.read("srt.calls_per_source", |written| {
                number(written, 1, 100_000).map(|number| number as u32)
            }),
        },
        rtsp: Rtsp {
            listen: r.opening("rtsp.listen"),
            tls: tls::read_listener(r, "rtsp"),
            identify_timeout: r.read("rtsp.identify_timeout", period),
            udp_ports: r.read("rtsp.udp_ports", port_range),
        },
        origins: Origins {
            ttl: r.read("origins.ttl", period),
            max: r.read("origins.max", |written| count(written, 1, 100_000)),
            ask_streams: r.read("origins.ask_streams", flag),
            client_address_preamble: r.read("origins.client_address_preamble", origin_names),
            proxy_protocol_v1: r.read("origins.proxy_protocol_v1", origin_names),
            proxy_protocol_v2: r.read("origins.proxy_protocol_v2", origin_names),
            attributes: r.read("origins.attributes", |written| {
                let rules = written.items().into_iter().map(str::parse);
                Ok(rules.collect::<Result<_, AttributeError>>()?)
            }),
            api_credentials: r.read("origins.api_credentials", |written| {
                Credentials::parse(&written.items())
            }),
        },
        health: read_health(r),
        drain: Drain {
            pace: r.read("drain.pace", period),
        },
        sources: Sources::default(),
        default_origin: DefaultOrigin {
            dialect: r.read("default_origin.dialect", dialect),
            enabled: read_default_origin_enabled(r, warnings),
            ip: r.read("default_origin.ip", host),
            endpoints: read_default_endpoints(r),
        },
        store: read_store(r),
        placement: read_placement(r),
        mesh: read_mesh(r),
        cluster: Cluster {
            keys: r.read("cluster.key", cluster_keys),
        },
        session: SessionLimits {
            dial_timeout: r.read("session.dial_timeout", period),
            setup_timeout: r.read("session.setup_timeout", period),
            publisher_idle: r.read("session.publisher_idle", period),
            player_idle: r.read("session.player_idle", period),
            play_wait: r.read("session.play_wait", period),
            write_stall: r.read("session.write_stall", period),
            takeover_after: r.read("session.takeover_after", wait),
            takeover: r.read("session.takeover", |written| {
                match written.text().as_str() {
                    "address" => Ok(Takeover::Address),
                    "always" => Ok(Takeover::Always),
                    "never" => Ok(Takeover::Never),
                    "silent" => Ok(Takeover::Silent),
                    _ => Err(ValueError::NotAChoice),
                }
            }),
            max: r.read("session.max", |written| count(written, 1, 1_000_000)),
        },
        tls: tls::read(r),
        acme: tls::read_acme(r),
        fanout: read_fanout(r),
        hold: HoldRules {
            general: HoldTimes {
                publishers: r.read("hold.publishers", wait),
                viewers: r.read("hold.viewers", wait),
                publisher_away: r.read("hold.publisher_away", wait),
            },
            rules: r.read("hold.rules", |written| {
                let rules = written.items().into_iter();
                let read = |rule: &str| HoldRule::read(rule, |text| parse_duration(text).ok());
                rules.map(|rule| Ok(read(rule)?)).collect()
            }),
        },
        proxy_protocol: ProxyProtocol {
            accept_from: r.read("proxy_protocol.accept_from", networks),
        },
        metrics: Metrics {
            listen: r.opening("metrics.listen"),
            streams: r.read("metrics.streams", |written| count(written, 0, 100_000)),
        },
        console: Console {
            listen: r.opening("console.listen"),
            public: r.read("console.public", |written| {
                written.items().into_iter().map(public_listener).collect()
            }),
        },
        log: Log {
            format: r.read("log.format", log_format),
            level: r.read("log.level", log_level),
            stream_names: r.read("log.stream_names", stream_names),
        },
        shutdown: Shutdown {
            grace: r.read("shutdown.grace", wait),
            force: r.read("shutdown.force", wait),
        },
    };
    if settings
        .origins
        .proxy_protocol_v1
        .overlaps(&settings.origins.proxy_protocol_v2)
    {
        r.conflict("origins.proxy_protocol_v1 and origins.proxy_protocol_v2 name the same origin; one header is enough".to_owned());
    }
    check_mesh(&settings, r);
    let own_files = r.entry("http.static_files").source == Source::Default;
    warn(&settings, own_files, warnings);
    settings
}

fn read_fanout(r: &mut Reader<'_>) -> Fanout {
    Fanout {
        modes: Modes {
            general: r.read("fanout.mode", |written| {
                Ok(written.text().parse::<Mode>()?)
            }),
            rules: r.read("fanout.rules", |written| {
                let rules = written.items().into_iter();
                rules.map(|rule| Ok(rule.parse::<FanoutRule>()?)).collect()
            }),
        },
        public: r.read("fanout.public", flag),
        split_query: r.read("fanout.split_query", parameters),
        pull_query: r.read("fanout.pull_query", |written| {
            let query = written.text();
            let plain = query
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'?');
            if plain {
                Ok(Secret::new(query))
            } else {
                Err(ValueError::NotAToken)
            }
        }),
        coalesce: r.read("fanout.coalesce", wait),
        max_lag: r.read("fanout.max_lag", period),
        linger: r.read("fanout.linger", wait),
        memory_megabytes: r.read("fanout.memory", |written| count(written, 1, 1_000_000)),
    }
}

/// Reads authentication as the SRS proxy defines it: enabling it requires `bearer` and a token.
fn read_system(r: &mut Reader<'_>) -> System {
    let system = System {
        listen: r.read("system.listen", listen),
        tls: tls::read_listener(r, "system"),
        advertise: r.read("system.advertise", |written| match some_text(written) {
            Some(text) => Ok(Some(target(&text).ok_or(ValueError::NotATarget)?)),
            None => Ok(None),
        }),
        auth_enabled: r.read("system.auth_enabled", flag),
        auth_token: r.read("system.auth_token", token),
        register_from: r.read("system.register_from", networks),
        allow_special_addresses: r.read("system.allow_special_addresses", flag),
        ready_needs_origin: r.read("system.ready_needs_origin", flag),
    };
    let auth_type = r.read("system.auth_type", |written| Ok(written.text()));
    if !auth_type.is_empty() && auth_type != "bearer" {
        r.wrong("system.auth_type", ValueError::NotAChoice);
    }
    if system.auth_enabled && auth_type.is_empty() {
        r.conflict(
            "PROXY_HTTP_API_AUTH_TYPE (system.auth_type) is missing: PROXY_HTTP_API_AUTH_ENABLED is on, and bearer is the only type supported"
                .to_owned(),
        );
    }
    if system.auth_enabled && r.entry("system.auth_token").written.text().is_empty() {
        r.conflict("PROXY_HTTP_API_AUTH_TOKEN (system.auth_token) is missing: PROXY_HTTP_API_AUTH_ENABLED is on, so it must not be empty".to_owned());
    }
    system
}

fn read_health(r: &mut Reader<'_>) -> Health {
    Health {
        heartbeats_missed: r.read("health.heartbeats_missed", |written| few(written, 1)),
        probe: r.read("health.probe", |written| match written.text().as_str() {
            "always" => Ok(Probing::Always),
            "auto" => Ok(Probing::Auto),
            "off" => Ok(Probing::Off),
            _ => Err(ValueError::NotAChoice),
        }),
        probe_with: r.read("health.probe_with", |written| {
            match written.text().as_str() {
                "http" => Ok(ProbeKind::Http),
                "rtmp" => Ok(ProbeKind::Rtmp),
                "tcp" => Ok(ProbeKind::Tcp),
                _ => Err(ValueError::NotAChoice),
            }
        }),
        probe_path: r.read("health.probe_path", |written| {
            let path = written.text();
            let plain = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
            if plain {
                Ok(path)
            } else {
                Err(ValueError::NotAPath)
            }
        }),
        probe_interval: r.read("health.probe_interval", period),
        probes_at_once: r.read("health.probes_at_once", |written| count(written, 1, 1000)),
        rise: r.read("health.rise", |written| few(written, 1)),
        fall: r.read("health.fall", |written| few(written, 1)),
        panic: r.read("health.panic", |written| few(written, 0)),
    }
}

/// Both kinds of credentials together are refused, because callers would have to guess which one counts.
fn read_api(r: &mut Reader<'_>) -> Api {
    let api = Api {
        listen: r.opening("api.listen"),
        tls: tls::read_listener(r, "api"),
        allow_from: r.read("api.allow_from", networks),
        auth_token: r.read("api.auth_token", token),
        // The first colon ends the user name (RFC 7617 §2).
        auth_username: r.read("api.auth_username", |written| {
            Some(token(written)?.reveal().to_owned())
                .filter(|name| !name.contains(':'))
                .ok_or(ValueError::NotAToken)
        }),
        auth_password: r.read("api.auth_password", token),
        jsonp: r.read("api.jsonp", flag),
        origin_timeout: r.read("api.origin_timeout", period),
    };
    if api.auth_username.is_empty() != api.auth_password.is_empty() {
        r.conflict(
            "api.auth_username and api.auth_password belong together: set both or neither"
                .to_owned(),
        );
    }
    if !api.auth_username.is_empty() && !api.auth_token.is_empty() {
        r.conflict("api.auth_token and api.auth_username are two kinds of credentials for one API: set one of them".to_owned());
    }
    api
}

fn read_placement(r: &mut Reader<'_>) -> Placement {
    Placement {
        policy: r.read("placement.policy", |written| {
            policy::NAMES
                .into_iter()
                .find(|name| *name == written.text())
                .ok_or(ValueError::NotAChoice)
        }),
        vhosts: r.read("placement.vhosts", vhosts),
        play_claim: r.read("placement.play_claim", period),
        claims_per_source: r.read("placement.claims_per_source", |written| {
            count(written, 1, 1_000_000)
        }),
        bound: r.read("placement.bound", |written| {
            match number(written, 0, 1000)? {
                0 => Ok(None),
                percent @ 100.. => Ok(u32::try_from(percent).ok()),
                _ => Err(ValueError::OutOfRange(100, 1000)),
            }
        }),
        overflow: r.read("placement.when_full", |written| {
            match written.text().as_str() {
                "overflow" => Ok(true),
                "refuse" => Ok(false),
                _ => Err(ValueError::NotAChoice),
            }
        }),
        slow_start: r.read("placement.slow_start", wait),
        rebalance: r.read("placement.rebalance", flag),
        rebalance_after: r.read("placement.rebalance_after", wait),
        zone: r.read("placement.zone", |written| {
            let text = some_text(written);
            if let Some(text) = &text {
                Given::default().name("zone", text)?;
            }
            Ok(text)
        }),
        rules: r.read("placement.rules", |written| {
            let rules = written.items().into_iter().map(str::parse);
            Ok(rules.collect::<Result<_, RuleError>>()?)
        }),
        redirects: r.read("placement.redirects", |written| {
            let rules = written.items().into_iter().map(str::parse);
            Ok(rules.collect::<Result<_, RuleError>>()?)
        }),
        networks: r.read("placement.networks", |written| {
            written.items().into_iter().map(str::parse).collect()
        }),
        resolve_ttl: r.read("placement.resolve_ttl", period),
        ask: r.read("placement.ask", |written| {
            let text = some_text(written);
            text.as_deref().map(str::parse::<Url>).transpose()?;
            Ok(text)
        }),
        ask_timeout: r.read("placement.ask_timeout", period),
        ask_keep: r.read("placement.ask_keep", wait),
        ask_unanswered: r.read("placement.ask_unanswered", |written| {
            match written.text().as_str() {
                "allow" => Ok(Unanswered::Allow),
                "deny" => Ok(Unanswered::Deny),
                _ => Err(ValueError::NotAChoice),
            }
        }),
    }
}

fn some_text(written: &Written) -> Option<String> {
    Some(written.text()).filter(|text| !text.is_empty())
}

/// The Redis is given as one URL, or by the SRS proxy's five settings. Both are checked, whether or not they are used.
fn read_store(r: &mut Reader<'_>) -> Store {
    let (shared, mesh) = r.read("store.type", |written| match written.text().as_str() {
        "memory" => Ok((false, false)),
        "mesh" => Ok((false, true)),
        "redis" => Ok((true, false)),
        _ => Err(ValueError::NotAChoice),
    });
    let url: Option<Address> = r.read("store.url", |written| {
        Ok(some_text(written).as_deref().map(str::parse).transpose()?)
    });
    let parts = Address {
        servers: vec![Server {
            host: r.read("store.redis_host", host),
            port: r.read("store.redis_port", port),
        }],
        topology: Topology::Single,
        username: None,
        password: r.read("store.redis_password", |written| Ok(some_text(written))),
        database: r.read("store.redis_db", |written| {
            let number = number(written, 0, u64::from(u16::MAX))?;
            Ok(u16::try_from(number).unwrap_or(u16::MAX))
        }),
        tls: None,
    };
    Store {
        redis: shared.then(|| url.unwrap_or(parts)),
        mesh,
        prefix: r.read("store.redis_key_prefix", |written| Ok(written.text())),
        timeout: r.read("store.timeout", period),
        wait_at_start: r.read("store.wait_at_start", flag),
    }
}

fn read_mesh(r: &mut Reader<'_>) -> Mesh {
    let listen = r.read("mesh.listen", |written| {
        let listen = Listen::parse(&written.items())?;
        match listen.addresses() {
            [address] if address.port() != 0 => Ok(*address),
            [_] => Err(ValueError::NotAPort),
            _ => Err(ValueError::NotOne),
        }
    });
    let advertise: Option<PublicAddress> = r.read("mesh.advertise", |written| {
        some_text(written).map(|text| text.parse()).transpose()
    });
    let seeds = r.read("mesh.seeds", |written| {
        let seeds = written.items().into_iter();
        seeds.map(|seed| mesh::seed(seed, listen.port())).collect()
    });
    let advertise = advertise.map_or(listen, |at| {
        SocketAddr::new(at.ip, at.port.unwrap_or_else(|| listen.port()))
    });
    Mesh {
        listen,
        advertise,
        seeds,
    }
}

/// Refuses a mesh that strangers could join, or that no other proxy could.
fn check_mesh(settings: &Settings, r: &mut Reader<'_>) {
    let Mesh {
        listen, advertise, ..
    } = &settings.mesh;
    if !settings.store.mesh {
        return;
    }
    if settings.cluster.keys.is_empty() && !listen.ip().to_canonical().is_loopback() {
        r.conflict(format!(
            "cluster.key is missing: store.type is mesh and mesh.listen is {listen}, where anyone could take part; \
             give all proxies of the mesh the same key, or listen on loopback"
        ));
    }
    if advertise.ip().is_unspecified() {
        r.conflict(format!(
            "mesh.advertise is missing: store.type is mesh and mesh.listen is {listen}, which names no address; \
             say where the other proxies reach this one"
        ));
    }
}

/// The SRS proxy accepts exactly `on`; any other value gets a warning that it has no effect.
fn read_default_origin_enabled(r: &mut Reader<'_>, warnings: &mut Vec<String>) -> bool {
    let entry = r.entry("default_origin.enabled");
    let text = entry.written.text();
    match &entry.source {
        Source::Dotenv(name) | Source::Environment(name)
            if entry.setting.env == Some(name.as_str()) =>
        {
            if text != "on" && text != "off" {
                warnings.push(format!(
                    "{name} is {text:?}: only `on` enables the default origin, so it stays off"
                ));
            }
            text == "on"
        }
        _ => r.read("default_origin.enabled", flag),
    }
}

/// The endpoints of the default origin. Besides the port of RTMP, the default ones are those of SRS: another server has
/// only those that are set.
fn read_default_endpoints(r: &mut Reader<'_>) -> Endpoints {
    let is_srs = r.read("default_origin.dialect", dialect) == Dialect::Srs;
    let mut of = |service, path| {
        let endpoints = r.read(path, |written| endpoint(written, service));
        let is_usual = service == Service::Rtmp || is_srs;
        match r.entry(path).source {
            Source::Default if !is_usual => Vec::new(),
            _ => endpoints,
        }
    };
    Endpoints {
        api: of(Service::Api, "default_origin.api"),
        http: of(Service::Http, "default_origin.http"),
        rtc: of(Service::Rtc, "default_origin.rtc"),
        rtmp: of(Service::Rtmp, "default_origin.rtmp"),
        rtsp: of(Service::Rtsp, "default_origin.rtsp"),
        srt: of(Service::Srt, "default_origin.srt"),
    }
}

/// Adds warnings about valid settings that deserve one.
fn warn(settings: &Settings, own_files: bool, warnings: &mut Vec<String>) {
    let system = &settings.system;
    if !system.auth_enabled && system.register_from.is_empty() && !system.listen.is_loopback() {
        warnings.push(format!(
            "anyone who reaches {} may register an origin; close it with {SET_A_TOKEN}",
            system.listen
        ));
    }
    let in_front = [
        ("http.trusted_proxies", &settings.http.trusted_proxies),
        (
            "proxy_protocol.accept_from",
            &settings.proxy_protocol.accept_from,
        ),
    ];
    let named = in_front
        .into_iter()
        .find(|(_, networks)| !networks.is_empty());
    if let Some((name, _)) = named.filter(|_| !system.auth_enabled) {
        warnings.push(format!(
            "{name} names proxies in front of this one, and the system API has no token: a proxy on this machine that passes on \
             requests to {} may make anyone an administrator; set a token with {SET_A_TOKEN}",
            system.listen
        ));
    }
    if !system.auth_enabled && !system.auth_token.is_empty() {
        warnings.push("a token is set but not asked for: system.auth_enabled (PROXY_HTTP_API_AUTH_ENABLED) is off".to_owned());
    }
    let default_origin = &settings.default_origin;
    if default_origin.enabled
        && let Err(error) = settings.address_rules().check(&default_origin.ip)
    {
        warnings.push(format!(
            "default_origin.ip is {}, which is never dialled: {error}; system.allow_special_addresses = true allows it",
            default_origin.ip
        ));
    }
    if let Some(directory) = settings
        .http
        .static_files
        .as_ref()
        // The default directory was not asked for.
        .filter(|directory| !own_files && !directory.is_dir())
    {
        warnings.push(format!(
            "http.static_files: there is no directory {}; no static files are served (an empty value says so on purpose)",
            directory.display()
        ));
    }
    if settings.http.cache_megabytes > 0 && settings.http.sharing.is_off() {
        warnings.push("http.cache_megabytes keeps nothing: http.share is off".to_owned());
    }
    warn_of_times(settings, warnings);
    if settings.shutdown.force < settings.shutdown.grace {
        warnings.push("shutdown.force is shorter than shutdown.grace: sessions are cut before their grace is over".to_owned());
    }
}

/// Says where one setting leaves another no effect.
fn warn_of_times(settings: &Settings, warnings: &mut Vec<String>) {
    let (http, session) = (&settings.http, &settings.session);
    let (placement, store) = (&settings.placement, &settings.store);
    let shared = store.mesh || store.redis.is_some();
    let rows = [
        (
            session.dial_timeout >= session.setup_timeout,
            "session.setup_timeout is over when session.dial_timeout is: of several origins only one is tried",
        ),
        (
            http.answer_timeout <= session.dial_timeout,
            "http.answer_timeout is over before session.dial_timeout: an origin that takes its time is taken for one that is stopped",
        ),
        (
            http.answer_timeout > session.play_wait,
            "http.answer_timeout is longer than session.play_wait, which ends a request first",
        ),
        (
            session.takeover_after > session.publisher_idle,
            "session.takeover_after is longer than session.publisher_idle, which ends a silent publisher first",
        ),
        (
            placement.ask.is_some() && placement.ask_timeout >= session.setup_timeout,
            "placement.ask_timeout is as long as session.setup_timeout: after an answer that comes late no origin is tried",
        ),
        (
            placement.rebalance && !settings.hold.hold_publishers(),
            "placement.rebalance moves nothing, because hold.publishers is 0s, which binds publishers to their origins",
        ),
        (
            shared && store.timeout >= session.setup_timeout,
            "store.timeout is as long as session.setup_timeout: while the store says nothing, no origin is tried",
        ),
    ];
    let said = rows.into_iter().filter(|(caps, _)| *caps);
    warnings.extend(said.map(|(_, words)| words.to_owned()));
}

const SET_A_TOKEN: &str = "PROXY_HTTP_API_AUTH_ENABLED=on PROXY_HTTP_API_AUTH_TYPE=bearer \
    PROXY_HTTP_API_AUTH_TOKEN=choose-a-secret, or under [system] in the file: auth_enabled = true, auth_type = \"bearer\", \
    auth_token = \"choose-a-secret\"";
