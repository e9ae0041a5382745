//! The typed settings, each read from its row of the table.

use super::layers::{Entry, Source};
use super::table::Written;
use super::value::{Listen, Network, OriginNames, Secret, ValueError, parse_port};
use super::{Problem, parse_duration, setting};
use sluicegate_core::origin::{Endpoint, Endpoints, Host};
use sluicegate_core::policy;
use sluicegate_core::stream::{Service, VhostRule};
use std::path::PathBuf;
use std::time::Duration;

/// What the settings mean, section by section. Each field is documented by its row of [`TABLE`](super::TABLE).
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the table documents every key; saying it twice would let the two drift apart"
)]
pub struct Settings {
    pub rtmp: Rtmp,
    pub http: Http,
    pub api: Api,
    pub system: System,
    pub rtc: Rtc,
    pub srt: Srt,
    pub rtsp: Rtsp,
    pub origins: Origins,
    pub default_origin: DefaultOrigin,
    pub store: Store,
    pub placement: Placement,
    pub session: SessionLimits,
    pub proxy_protocol: ProxyProtocol,
    pub log: Log,
    pub shutdown: Shutdown,
}

/// A section: public fields, all of them plain data.
macro_rules! sections {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq)]
            #[expect(missing_docs, reason = "the table documents every key")]
            pub struct $name { $(pub $field: $kind),* }
        )*
    };
}

sections! {
    /// `[rtmp]`
    Rtmp { listen: Listen, handshake_timeout: Duration, identify_timeout: Duration }
    /// `[http]`
    Http {
        listen: Listen,
        static_files: Option<PathBuf>,
        head_timeout: Duration,
        health: bool,
        trusted_proxies: Vec<Network>,
    }
    /// `[api]`
    Api { listen: Listen }
    /// `[system]`; with `auth_enabled` the token is never empty.
    System {
        listen: Listen,
        auth_enabled: bool,
        auth_token: Secret,
        register_from: Vec<Network>,
        allow_special_addresses: bool,
        ready_needs_origin: bool,
    }
    /// `[rtc]`
    Rtc { listen: Listen }
    /// `[srt]`
    Srt { listen: Listen }
    /// `[rtsp]`
    Rtsp { listen: Listen }
    /// `[origins]`
    Origins {
        ttl: Duration,
        max: usize,
        client_address_preamble: OriginNames,
        proxy_protocol_v1: OriginNames,
        proxy_protocol_v2: OriginNames,
    }
    /// `[default_origin]`; a service it doesn't offer has no endpoint.
    DefaultOrigin { enabled: bool, ip: Host, endpoints: Endpoints }
    /// `[store]`
    Store { redis_host: Host, redis_port: u16, redis_password: Secret, redis_db: u64, redis_key_prefix: String }
    /// `[placement]`
    Placement { policy: &'static str, vhosts: VhostRule, play_claim: Duration, claims_per_source: usize }
    /// `[session]`
    SessionLimits {
        dial_timeout: Duration,
        setup_timeout: Duration,
        publisher_idle: Duration,
        player_idle: Duration,
        play_wait: Duration,
        write_stall: Duration,
        takeover_after: Duration,
        max: usize,
    }
    /// `[proxy_protocol]`
    ProxyProtocol { accept_from: Vec<Network> }
    /// `[log]`
    Log { format: LogFormat, level: tracing::Level }
    /// `[shutdown]`
    Shutdown { grace: Duration, force: Duration }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object per line.
    Json,
    /// For eyes.
    Text,
}

/// Makes sense of every entry. Where that fails, the problem is noted and the default stands in, so that all problems
/// are found in one go.
pub(super) fn read(
    entries: &[Entry],
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Settings {
    let mut reader = Reader { entries, problems };
    let r = &mut reader;
    let settings = Settings {
        rtmp: Rtmp {
            listen: r.read("rtmp.listen", listen),
            handshake_timeout: r.read("rtmp.handshake_timeout", period),
            identify_timeout: r.read("rtmp.identify_timeout", period),
        },
        http: Http {
            listen: r.read("http.listen", listen),
            static_files: r.read("http.static_files", directory),
            head_timeout: r.read("http.head_timeout", period),
            health: r.read("http.health", flag),
            trusted_proxies: r.read("http.trusted_proxies", networks),
        },
        api: Api {
            listen: r.read("api.listen", listen),
        },
        system: read_system(r),
        rtc: Rtc {
            listen: r.read("rtc.listen", listen),
        },
        srt: Srt {
            listen: r.read("srt.listen", listen),
        },
        rtsp: Rtsp {
            listen: r.read("rtsp.listen", listen),
        },
        origins: Origins {
            ttl: r.read("origins.ttl", period),
            max: r.read("origins.max", |written| count(written, 1, 100_000)),
            client_address_preamble: r.read("origins.client_address_preamble", origin_names),
            proxy_protocol_v1: r.read("origins.proxy_protocol_v1", origin_names),
            proxy_protocol_v2: r.read("origins.proxy_protocol_v2", origin_names),
        },
        default_origin: DefaultOrigin {
            enabled: read_default_origin_enabled(r, warnings),
            ip: r.read("default_origin.ip", host),
            endpoints: Endpoints {
                api: r.read("default_origin.api", |written| {
                    endpoint(written, Service::Api)
                }),
                http: r.read("default_origin.http", |written| {
                    endpoint(written, Service::Http)
                }),
                rtc: r.read("default_origin.rtc", |written| {
                    endpoint(written, Service::Rtc)
                }),
                rtmp: r.read("default_origin.rtmp", |written| {
                    endpoint(written, Service::Rtmp)
                }),
                rtsp: r.read("default_origin.rtsp", |written| {
                    endpoint(written, Service::Rtsp)
                }),
                srt: r.read("default_origin.srt", |written| {
                    endpoint(written, Service::Srt)
                }),
            },
        },
        store: read_store(r),
        placement: Placement {
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
        },
        session: SessionLimits {
            dial_timeout: r.read("session.dial_timeout", period),
            setup_timeout: r.read("session.setup_timeout", period),
            publisher_idle: r.read("session.publisher_idle", period),
            player_idle: r.read("session.player_idle", period),
            play_wait: r.read("session.play_wait", period),
            write_stall: r.read("session.write_stall", period),
            takeover_after: r.read("session.takeover_after", wait),
            max: r.read("session.max", |written| count(written, 1, 1_000_000)),
        },
        proxy_protocol: ProxyProtocol {
            accept_from: r.read("proxy_protocol.accept_from", networks),
        },
        log: Log {
            format: r.read("log.format", log_format),
            level: r.read("log.level", log_level),
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
    warn(&settings, warnings);
    settings
}

/// Auth as upstream has it: who enables it must say `bearer` and a token.
fn read_system(r: &mut Reader<'_>) -> System {
    let system = System {
        listen: r.read("system.listen", listen),
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

fn read_store(r: &mut Reader<'_>) -> Store {
    r.read("store.type", |written| {
        if written.text() == "memory" {
            Ok(())
        } else {
            Err(ValueError::StoreUnknown)
        }
    });
    Store {
        redis_host: r.read("store.redis_host", host),
        redis_port: r.read("store.redis_port", port),
        redis_password: r.read("store.redis_password", |written| {
            Ok(Secret::new(written.text()))
        }),
        redis_db: r.read("store.redis_db", |written| {
            number(written, 0, u64::from(u16::MAX))
        }),
        redis_key_prefix: r.read("store.redis_key_prefix", |written| Ok(written.text())),
    }
}

/// Upstream takes exactly `on`; whoever wrote something else there should hear that it does nothing.
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

/// What holds, but deserves a word.
fn warn(settings: &Settings, warnings: &mut Vec<String>) {
    let system = &settings.system;
    if !system.auth_enabled && system.register_from.is_empty() && !system.listen.is_loopback() {
        warnings.push(format!(
            "anyone who reaches {} may register an origin; close it with PROXY_HTTP_API_AUTH_ENABLED=on PROXY_HTTP_API_AUTH_TYPE=bearer \
             PROXY_HTTP_API_AUTH_TOKEN=choose-a-secret, or under [system] in the file: auth_enabled = true, auth_type = \"bearer\", \
             auth_token = \"choose-a-secret\"",
            system.listen
        ));
    }
    if !system.auth_enabled && !system.auth_token.is_empty() {
        warnings.push("a token is set but not asked for: system.auth_enabled (PROXY_HTTP_API_AUTH_ENABLED) is off".to_owned());
    }
    if let Some(directory) = settings
        .http
        .static_files
        .as_ref()
        .filter(|directory| !directory.is_dir())
    {
        warnings.push(format!(
            "http.static_files: there is no directory {}; no static files are served (an empty value says so on purpose)",
            directory.display()
        ));
    }
    if settings.shutdown.force < settings.shutdown.grace {
        warnings.push("shutdown.force is shorter than shutdown.grace: sessions are cut before their grace is over".to_owned());
    }
}

struct Reader<'a> {
    entries: &'a [Entry],
    problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    fn entry(&self, path: &str) -> &'a Entry {
        self.entries
            .iter()
            .find(|entry| entry.setting.path == path)
            .expect("the layers hold an entry for every row of the table")
    }

    fn read<T>(&mut self, path: &str, parse: impl Fn(&Written) -> Result<T, ValueError>) -> T {
        match parse(&self.entry(path).written) {
            Ok(value) => value,
            Err(why) => {
                self.wrong(path, why);
                let default = setting(path).map(|setting| setting.default());
                default
                    .and_then(|default| parse(&default).ok())
                    .expect("every default is a value of its setting")
            }
        }
    }

    fn wrong(&mut self, path: &str, why: ValueError) {
        let Entry {
            setting,
            written,
            source,
        } = self.entry(path);
        let shown = setting.shown(written);
        self.problems.push(Problem::Value {
            name: source.name_of(setting),
            shown,
            why,
            allowed: setting.allowed,
        });
    }

    fn conflict(&mut self, sentence: String) {
        self.problems.push(Problem::Conflict(sentence));
    }
}

fn listen(written: &Written) -> Result<Listen, ValueError> {
    Listen::parse(&written.items())
}

fn period(written: &Written) -> Result<Duration, ValueError> {
    wait(written).and_then(|duration| {
        if duration.is_zero() {
            Err(ValueError::Zero)
        } else {
            Ok(duration)
        }
    })
}

fn wait(written: &Written) -> Result<Duration, ValueError> {
    parse_duration(&written.text())
}

fn flag(written: &Written) -> Result<bool, ValueError> {
    match written.text().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(ValueError::NotAFlag),
    }
}

fn networks(written: &Written) -> Result<Vec<Network>, ValueError> {
    written.items().into_iter().map(str::parse).collect()
}

fn origin_names(written: &Written) -> Result<OriginNames, ValueError> {
    Ok(OriginNames::new(written.items()))
}

fn directory(written: &Written) -> Result<Option<PathBuf>, ValueError> {
    let text = written.text();
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

fn count(written: &Written, least: u64, most: u64) -> Result<usize, ValueError> {
    let number = number(written, least, most)?;
    usize::try_from(number).map_err(|_| ValueError::OutOfRange(least, most))
}

fn number(written: &Written, least: u64, most: u64) -> Result<u64, ValueError> {
    let text = written.text();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::NotANumber);
    }
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(ValueError::OutOfRange(least, most))
}

fn port(written: &Written) -> Result<u16, ValueError> {
    match parse_port(&written.text())? {
        0 => Err(ValueError::NotAPort),
        port => Ok(port),
    }
}

fn endpoint(written: &Written, service: Service) -> Result<Vec<Endpoint>, ValueError> {
    let text = written.text();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Endpoint::parse(&text, service)?])
}

fn host(written: &Written) -> Result<Host, ValueError> {
    Ok(written.text().parse()?)
}

/// A token that came with a line end from a file would never match what a header can carry.
fn token(written: &Written) -> Result<Secret, ValueError> {
    let text = written.text();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text))
    } else {
        Err(ValueError::NotAToken)
    }
}

fn vhosts(written: &Written) -> Result<VhostRule, ValueError> {
    match written.items().as_slice() {
        [] => Err(ValueError::NotAChoice),
        ["ignored"] => Ok(VhostRule::Ignored),
        ["separate"] => Ok(VhostRule::Separate),
        names => Ok(VhostRule::listed(names)?),
    }
}

fn log_format(written: &Written) -> Result<LogFormat, ValueError> {
    match written.text().as_str() {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(ValueError::NotAChoice),
    }
}

fn log_level(written: &Written) -> Result<tracing::Level, ValueError> {
    match written.text().as_str() {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err(ValueError::NotAChoice),
    }
}
