//! Every setting, in one table: the file, the environment, `check` and the reference are derived from it.

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Section and key in the file: `rtmp.listen`.
    pub path: &'static str,
    /// The SRS proxy's variable for the setting, if it has one.
    pub env: Option<&'static str>,
    /// The default as it would be written in an environment variable; the items of a list are separated by commas.
    pub default: &'static str,
    /// How the value is written in the file.
    pub shape: Shape,
    /// Whether the value is secret, and so never shown.
    pub secret: bool,
    /// Whether the value is a URL, of which the query and a login are never shown.
    pub is_url: bool,
    /// What is allowed, for people.
    pub allowed: &'static str,
    /// What the setting does, in one line.
    pub doc: &'static str,
}

/// How a value is written in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `true` or `false`; `"on"` and `"off"` as well.
    Flag,
    /// An array of strings.
    List,
    /// A whole number.
    Number,
    /// A string.
    Text,
    /// A string, or an array of strings.
    TextOrList,
}

/// A value as it was written, before it is parsed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Written {
    List(Vec<String>),
    Text(String),
}

impl Setting {
    /// The key without its section.
    pub fn key(&self) -> &'static str {
        self.path.split_once('.').map_or(self.path, |(_, key)| key)
    }

    /// The section of the file.
    pub fn section(&self) -> &'static str {
        self.path.split_once('.').map_or("", |(section, _)| section)
    }

    /// Our own variable for the setting: `SLUICEGATE_RTMP__LISTEN`.
    pub fn variable(&self) -> String {
        format!(
            "{OWN_PREFIX}{}",
            self.path.replace('.', "__").to_uppercase()
        )
    }

    /// The key beside it that names a file with the value, for a secret: `auth_token_file`.
    pub fn file_key(&self) -> Option<String> {
        self.secret.then(|| format!("{}{FILE_KEY}", self.key()))
    }

    /// The variable that names a file with the value, for a secret: `SLUICEGATE_SYSTEM__AUTH_TOKEN_FILE`.
    pub fn file_variable(&self) -> Option<String> {
        self.secret
            .then(|| format!("{}{FILE_VARIABLE}", self.variable()))
    }

    /// The default as TOML.
    pub fn default_toml(&self) -> String {
        self.toml(&self.default())
    }

    pub(super) fn default(&self) -> Written {
        Written::Text(self.default.to_owned())
    }

    /// `written` as TOML, whole and unmasked.
    fn toml(&self, written: &Written) -> String {
        match (self.shape, written) {
            (Shape::Flag, Written::Text(text)) if text == "on" || text == "true" => {
                "true".to_owned()
            }
            (Shape::Flag, Written::Text(text)) if text == "off" || text == "false" => {
                "false".to_owned()
            }
            (Shape::Number, Written::Text(text)) if text.parse::<u64>().is_ok() => text.clone(),
            (Shape::List, written) | (Shape::TextOrList, written @ Written::List(_)) => {
                let items: Vec<String> = written.items().into_iter().map(quote).collect();
                format!("[{}]", items.join(", "))
            }
            (_, written) => quote(&written.text()),
        }
    }

    /// `written` as TOML for people to see: a secret is `"***"`, or `""` while there is none.
    pub(super) fn shown(&self, written: &Written) -> String {
        if self.secret && !written.text().is_empty() {
            return quote("***");
        }
        if self.is_url {
            return quote(&without_secrets(&written.text()));
        }
        self.toml(written)
    }
}

impl Written {
    /// The values of a list; one text is split at its commas.
    pub(super) fn items(&self) -> Vec<&str> {
        match self {
            Self::List(items) => items.iter().map(String::as_str).collect(),
            Self::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect(),
        }
    }

    /// The value as one text.
    pub(super) fn text(&self) -> String {
        match self {
            Self::List(items) => items.join(","),
            Self::Text(text) => text.clone(),
        }
    }
}

/// The setting at `path`.
pub fn setting(path: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.path == path)
}

/// The secret that `path` names a file for: `system.auth_token_file` is for `system.auth_token`.
pub(super) fn secret_of_file(path: &str) -> Option<&'static Setting> {
    setting(path.strip_suffix(FILE_KEY)?).filter(|setting| setting.secret)
}

/// A URL for people to see: `***` in the place of what may be a key.
fn without_secrets(url: &str) -> String {
    let (place, query) = match url.split_once('?') {
        Some((place, _)) => (place, "?***"),
        None => (url, ""),
    };
    let (scheme, rest) = match place.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), place),
    };
    // A password may have a slash in it, where it should be escaped; a path may have an @.
    match rest.rsplit_once('@') {
        Some((_, rest)) => format!("{scheme}***@{rest}{query}"),
        None => format!("{scheme}{rest}{query}"),
    }
}

/// A TOML basic string.
fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

const fn address(
    path: &'static str,
    env: Option<&'static str>,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    row(path, env, default, Shape::TextOrList, ADDRESS, doc)
}

/// An address of a listener that may be closed.
const fn closable(
    path: &'static str,
    env: Option<&'static str>,
    default: &'static str,
    doc: &'static str,
) -> Setting {
    row(path, env, default, Shape::TextOrList, CLOSABLE, doc)
}

const fn flag(path: &'static str, env: Option<&'static str>, doc: &'static str) -> Setting {
    row(
        path,
        env,
        "off",
        Shape::Flag,
        "on or off (true or false)",
        doc,
    )
}

const fn list(path: &'static str, allowed: &'static str, doc: &'static str) -> Setting {
    row(path, None, "", Shape::List, allowed, doc)
}

const fn number(
    path: &'static str,
    env: Option<&'static str>,
    default: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    row(path, env, default, Shape::Number, allowed, doc)
}

const fn secret(
    path: &'static str,
    env: Option<&'static str>,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        secret: true,
        ..row(path, env, "", Shape::Text, allowed, doc)
    }
}

const fn secret_list(path: &'static str, allowed: &'static str, doc: &'static str) -> Setting {
    Setting {
        secret: true,
        ..row(path, None, "", Shape::TextOrList, allowed, doc)
    }
}

const fn text(
    path: &'static str,
    env: Option<&'static str>,
    default: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    row(path, env, default, Shape::Text, allowed, doc)
}

const fn text_or_list(
    path: &'static str,
    default: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    row(path, None, default, Shape::TextOrList, allowed, doc)
}

const fn row(
    path: &'static str,
    env: Option<&'static str>,
    default: &'static str,
    shape: Shape,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        path,
        env,
        default,
        shape,
        secret: false,
        is_url: false,
        allowed,
        doc,
    }
}

/// A setting of one URL.
const fn url(
    path: &'static str,
    default: &'static str,
    allowed: &'static str,
    doc: &'static str,
) -> Setting {
    Setting {
        is_url: true,
        ..row(path, None, default, Shape::Text, allowed, doc)
    }
}

/// Prefix of the variables that are named after our keys.
pub(super) const OWN_PREFIX: &str = "SLUICEGATE_";
/// Names the proxy that the operator's verbs ask; not a setting of a running proxy.
pub(crate) const URL_VARIABLE: &str = "SLUICEGATE_URL";
/// Prefix of the SRS proxy's variables.
pub(super) const UPSTREAM_PREFIX: &str = "PROXY_";

/// Ends the key that names a file with a secret.
const FILE_KEY: &str = "_file";
/// Ends the variable that does.
const FILE_VARIABLE: &str = "_FILE";

const ADDRESS: &str = "a port, ip:port or [v6]:port, or a list of addresses";
const CLOSABLE: &str = "a port, ip:port or [v6]:port, a list of addresses, or nothing to close it";
const OPTIONAL_ADDRESS: &str = "a port, ip:port or [v6]:port, a list of addresses, or nothing";
const FILE: &str = "a file, or nothing";
const AUTHORITIES: &str = "files with certificates in PEM, and the word system for the authorities that the system trusts";
const NETWORKS: &str = "a list of networks or addresses, such as 10.0.0.0/8 and ::1";
const ATTRIBUTES: &str = "a list of an id or label, and any of weight=, zone=, label=, max_streams=, max_sessions=, max_mbps=, dialect=, strip=, prepend=, tls_name=, tls_verify=; such as \"edge-* weight=50 zone=eu-1\"";
const DIALECT: &str = "srs, mediamtx, ome, nginx-rtmp or go2rtc";
const CLIENT_RULES: &str = "a list of a host pattern or a :port with a dialect, after a port perhaps with publish or play; such as \"*.cams.example mediamtx\" and \":9999 ome publish\"";
const NAMES: &str = "a list of any of vhost=, app=, stream= with parameter=, perhaps several; such as \"app=*/cam stream=realmonitor parameter=channel\"";
const BASE_PATH: &str = "a path such as /media without a slash at its end, or nothing";
const RULES: &str = "a list of any of vhost=, app=, stream= with what must be of the origin, label= and zone=; such as \"app=live stream=vip-* label=gpu\"";
const REDIRECTS: &str = "a list of any of vhost=, app=, stream= with via=http or via=rtmp and url=; such as \"app=live via=http url=http://{ip}:{http}\"";
const SHARES: &str = "a list of any of vhost=, app=, stream= with share=off, share=said or share=all; such as \"app=vod share=all\"";
const FANOUT: &str = "a list of any of vhost=, app=, stream= with mode=off, mode=checked or mode=open; such as \"app=live mode=open\"";
const HOLDS: &str = "a list of any of vhost=, app=, stream= with publishers=, viewers= or publisher_away= and a duration; such as \"app=live stream=vip-* publishers=30s\"";
const NETWORK_ZONES: &str = "a list of networks with their zones, such as \"10.1.0.0/16 eu-1\"";
const ORIGINS: &str = "a list of origins by server id or device_id, or *";
const PATH_PATTERNS: &str = "a list of paths with {stream}, perhaps {app}, and a segment whip or whep, such as /{app}/{stream}/whep";
const PUBLIC_ADDRESSES: &str = "a list of IP addresses, each perhaps with a port: 203.0.113.7, 203.0.113.7:8000, 2001:db8::7 or [2001:db8::7]:8000";
const PERIOD: &str = "a duration longer than zero, such as 5s, 1m30s or 500ms";
const ENDPOINT: &str =
    "a port or ip:port, after tls:// for TLS, or nothing if it offers no such service";
const TOKEN: &str = "printable ASCII characters without spaces";
const WAIT: &str = "a duration, such as 20s, 1m30s or 0s";

/// Every setting, in the order of the reference.
#[rustfmt::skip]
pub static TABLE: &[Setting] = &[
    text("clients.dialect", None, "srs", DIALECT, "The server whose addresses clients use: how they name streams."),
    list("clients.rules", CLIENT_RULES, "Clients that use the addresses of another server, by the host or the port that they call; the first rule that fits counts."),
    list("clients.name_parameters", NAMES, "Streams of whose names parameters of a query are a part; the first rule that fits counts."),

    closable("rtmp.listen", Some("PROXY_RTMP_SERVER"), "11935", "Where encoders and players connect with RTMP."),
    text("rtmp.handshake_timeout", None, "5s", PERIOD, "How long a client may take for the RTMP handshake."),
    text("rtmp.identify_timeout", None, "10s", PERIOD, "How long a client may take from the handshake to publish or play."),
    text_or_list("rtmp.tls_listen", "", OPTIONAL_ADDRESS, "Where RTMPS has a port of its own; on rtmp.listen it is served as well."),
    flag("rtmp.require_tls", None, "Refuse clients that come without TLS: they are closed."),
    text("rtmp.client_ca", None, "", FILE, "Certificates in PEM of those who vouch for clients; each client has to show a certificate of theirs."),
    text("rtmp.client_crl", None, "", FILE, "Revoked client certificates in PEM: a list for each authority of a client's chain."),

    closable("http.listen", Some("PROXY_HTTP_SERVER"), "18080", "Where players fetch HTTP-FLV, HTTP-TS, AAC, MP3, HLS and DASH, and browsers the static files."),
    text("http.static_files", Some("PROXY_STATIC_FILES"), "./trunk/research", "a directory, or nothing to serve none", "Directory served for paths that name no stream."),
    text("http.head_timeout", None, "5s", PERIOD, "How long a client may take to send the head of a request."),
    text("http.idle", None, "75s", PERIOD, "How long a connection may stay open between two requests, on this port, the API port and the system API, where there is room. A balancer that keeps connections has to give them up earlier."),
    text("http.answer_timeout", None, "30s", PERIOD, "How long an origin that lives may take to send the head of its answer for a playlist, manifest or segment."),
    text("http.reload_timeout", None, "30s", PERIOD, "How long an origin may hold a blocking reload of a low-latency playlist."),
    number("http.cache_megabytes", None, "0", "a whole number of megabytes, 0 to 1000000; 0 keeps nothing", "Memory for answers (playlists, manifests, segments) that are kept, so that later requests need not reach the origin."),
    list("http.cache_ignore", "a list of names of query parameters", "Query parameters that do not change an answer: requests that differ only in these, or in CMCD, are equal."),
    text("http.share", None, "said", "off, said or all", "Which answers several viewers may get: none, those the origin says are everybody's, or all that it says nothing against."),
    list("http.share_rules", SHARES, "Streams for which http.share is different; the first rule that fits counts."),
    flag("http.health", None, "Answer /livez and /readyz on this port too."),
    list("http.trusted_proxies", NETWORKS, "Networks whose X-Forwarded-For, -Proto, -Host and -Prefix are believed, and the proto of Forwarded where X-Forwarded-Proto is missing."),
    text("http.base_path", None, "", BASE_PATH, "The folder of a web server in front under which clients reach this proxy, where no trusted proxy sends X-Forwarded-Prefix; the web server takes it off requests, and links, the Location of calls and the console's cookie get it."),
    text_or_list("http.tls_listen", "", OPTIONAL_ADDRESS, "Where HTTPS for streams has a port of its own; on http.listen it is served as well."),
    flag("http.require_tls", None, "Refuse clients that come without TLS: GET and HEAD are redirected, other methods get 403."),
    text("http.client_ca", None, "", FILE, "Certificates in PEM of those who vouch for clients; each client has to show a certificate of theirs."),
    text("http.client_crl", None, "", FILE, "Revoked client certificates in PEM: a list for each authority of a client's chain."),

    closable("api.listen", Some("PROXY_HTTP_API"), "11985", "Where the HTTP API for clients listens."),
    list("api.allow_from", NETWORKS, "Networks that may use the API over all origins on this port; it is off until this or credentials are set."),
    secret("api.auth_token", None, TOKEN, "Bearer token that the API over all origins requires."),
    text("api.auth_username", None, "", "printable ASCII characters without spaces and colons", "User name that the API over all origins requires (basic), together with api.auth_password."),
    secret("api.auth_password", None, TOKEN, "Password that the API over all origins requires (basic), together with api.auth_username."),
    flag("api.jsonp", None, "Answer callback= and method=DELETE in a query, for SRS consoles; any web page that an allowed caller opens can then use the API too."),
    text("api.origin_timeout", None, "2s", PERIOD, "How long one origin may take to answer the API over all origins."),
    text_or_list("api.tls_listen", "", OPTIONAL_ADDRESS, "Where HTTPS for the API port has a port of its own; on api.listen it is served as well."),
    flag("api.require_tls", None, "Refuse clients that come without TLS: GET and HEAD are redirected, other methods get 403."),
    text("api.client_ca", None, "", FILE, "Certificates in PEM of those who vouch for clients; each client has to show a certificate of theirs."),
    text("api.client_crl", None, "", FILE, "Revoked client certificates in PEM: a list for each authority of a client's chain."),

    address("system.listen", Some("PROXY_SYSTEM_API"), "12025", "Where origins register and operators look: registration, tables, health and metrics."),
    text("system.advertise", None, "", "HOST:PORT or https://HOST:PORT, or empty", "Where other proxies of a cluster reach this system API, and a name for it that callers on this machine may use; empty: system.listen, with this machine's address in place of every interface."),
    flag("system.auth_enabled", Some("PROXY_HTTP_API_AUTH_ENABLED"), "Require a token for registration and for the system API."),
    text("system.auth_type", Some("PROXY_HTTP_API_AUTH_TYPE"), "", "bearer", "Kind of token; bearer is the only one. Needed when auth_enabled is on."),
    secret("system.auth_token", Some("PROXY_HTTP_API_AUTH_TOKEN"), TOKEN, "The token; needed when auth_enabled is on."),
    list("system.register_from", NETWORKS, "Networks that may register origins; empty means any."),
    flag("system.allow_special_addresses", None, "Let origins register multicast, link-local and cloud metadata addresses."),
    flag("system.ready_needs_origin", None, "Let /readyz fail while no origin is alive."),
    text_or_list("system.tls_listen", "", OPTIONAL_ADDRESS, "Where HTTPS for the system API has a port of its own; on system.listen it is served as well."),
    flag("system.require_tls", None, "Refuse clients that come without TLS: GET and HEAD are redirected, other methods get 403."),
    text("system.client_ca", None, "", FILE, "Certificates in PEM of those who vouch for clients; each client has to show a certificate of theirs."),
    text("system.client_crl", None, "", FILE, "Revoked client certificates in PEM: a list for each authority of a client's chain."),

    closable("rtc.listen", Some("PROXY_WEBRTC_SERVER"), "18000", "Where WebRTC media arrives, over UDP and, if rtc.tcp is on, over TCP."),
    list("rtc.public_addresses", PUBLIC_ADDRESSES, "Where clients reach rtc.listen, the preferred address first; empty means the address they used for signalling."),
    row("rtc.tcp", None, "on", Shape::Flag, "on or off (true or false)", "Accept WebRTC media over TCP too, on the same port number, and offer that to clients."),
    list("rtc.paths", PATH_PATTERNS, "More WHIP and WHEP paths on the API port, in the form that other servers use."),

    closable("srt.listen", Some("PROXY_SRT_SERVER"), "20080", "Where SRT callers arrive (UDP)."),
    text("srt.default_streamid", None, "", "a stream id such as live/a or #!::r=live/a,m=publish, or nothing to refuse such callers", "Stream id of callers that send none, such as some hardware encoders."),
    text("srt.idle", None, "10s", PERIOD, "A caller or an origin that sends nothing for this long, not even a keep-alive, is gone."),
    number("srt.calls_per_source", None, "100", "a whole number, 1 to 100000", "How many calls from one address are accepted per second; twice as many in a burst."),

    closable("rtsp.listen", Some("PROXY_RTSP_SERVER"), "18554", "Where cameras and players connect with RTSP."),
    text("rtsp.identify_timeout", None, "10s", PERIOD, "How long a client may take to name its stream."),
    text("rtsp.udp_ports", None, "22000-29999", "a range of ports, such as 22000-29999, or nothing to refuse UDP", "UDP ports for media that does not travel on the RTSP connection; each track takes four."),
    text_or_list("rtsp.tls_listen", "", OPTIONAL_ADDRESS, "Where RTSPS has a port of its own; on rtsp.listen it is served as well."),
    flag("rtsp.require_tls", None, "Refuse clients that come without TLS: they get 403."),
    text("rtsp.client_ca", None, "", FILE, "Certificates in PEM of those who vouch for clients; each client has to show a certificate of theirs."),
    text("rtsp.client_crl", None, "", FILE, "Revoked client certificates in PEM: a list for each authority of a client's chain."),

    text("origins.ttl", Some("PROXY_ORIGIN_SERVER_TTL"), "300s", PERIOD, "An origin that has not reported for this long is forgotten."),
    number("origins.max", None, "1000", "a whole number, 1 to 100000", "Maximum number of registered origins."),
    flag("origins.ask_streams", None, "When an origin refuses a player, ask the others' HTTP API whether they have the stream."),
    list("origins.client_address_preamble", ORIGINS, "Origins that are told the RTMP client's address in the 0xF3 preamble that SRS reads."),
    list("origins.proxy_protocol_v1", ORIGINS, "Origins that are told the client's address in a PROXY protocol v1 line."),
    list("origins.proxy_protocol_v2", ORIGINS, "Origins that are told the client's address in a PROXY protocol v2 header."),
    list("origins.attributes", ATTRIBUTES, "Weight, zone, labels, limits and dialect of origins that cannot report their own, and what the certificates of those with TLS are for; * stands for anything."),

    Setting { secret: true, ..list("origins.api_credentials", "a list of ORIGIN=basic:USER:PASSWORD, ORIGIN=bearer:TOKEN or ORIGIN=token:TOKEN (for OvenMediaEngine), where ORIGIN is a server id, a device_id or *", "Credentials for the HTTP APIs of origins; the first match is used.") },

    number("health.heartbeats_missed", None, "3", "a whole number, 1 to 100", "Heartbeats an origin may miss before it gets no new streams."),
    text("health.probe", None, "auto", "auto, always or off", "Which origins are probed: those that failed or do not report themselves, all, or none."),
    text("health.probe_with", None, "rtmp", "rtmp, http or tcp", "How to probe: an RTMP handshake (RTSP: OPTIONS), an HTTP path, or a connection; where an origin lacks the service, a connection."),
    text("health.probe_path", None, "/api/v1/versions", "a path that starts with /", "The path that an HTTP probe requests; any status under 400 is a success."),
    text("health.probe_interval", None, "5s", PERIOD, "How often a healthy origin is probed."),
    number("health.probes_at_once", None, "32", "a whole number, 1 to 1000", "Maximum number of probes under way."),
    number("health.rise", None, "2", "a whole number, 1 to 100", "Probes in a row that must succeed to bring an origin back."),
    number("health.fall", None, "3", "a whole number, 1 to 100", "Probes in a row that must fail to put an origin out."),
    number("health.panic", None, "50", "a whole number, 0 to 100", "When more than this percentage of origins fall silent at once, the last good ones are kept; 0: never."),

    text("drain.pace", None, "100ms", PERIOD, "How long a drain that is past its deadline waits between ending two publishers."),

    flag("default_origin.enabled", Some("PROXY_DEFAULT_BACKEND_ENABLED"), "Use one origin that does not register itself; default_origin.dialect says what it is."),
    text("default_origin.ip", Some("PROXY_DEFAULT_BACKEND_IP"), "127.0.0.1", "an IP address or a host name", "Address of the default origin."),
    text("default_origin.dialect", None, "srs", DIALECT, "The kind of server that the default origin is: how it is asked for streams."),
    text("default_origin.rtmp", Some("PROXY_DEFAULT_BACKEND_RTMP"), "1935", ENDPOINT, "RTMP port of the default origin."),
    text("default_origin.http", Some("PROXY_DEFAULT_BACKEND_HTTP"), "8080", ENDPOINT, "HTTP streaming port of the default origin. The default counts for the dialect srs alone, as do those of api, rtc and srt."),
    text("default_origin.api", Some("PROXY_DEFAULT_BACKEND_API"), "1985", ENDPOINT, "HTTP API port of the default origin."),
    text("default_origin.rtc", Some("PROXY_DEFAULT_BACKEND_RTC"), "8000", ENDPOINT, "WebRTC port of the default origin (UDP)."),
    text("default_origin.srt", Some("PROXY_DEFAULT_BACKEND_SRT"), "10080", ENDPOINT, "SRT port of the default origin (UDP)."),
    text("default_origin.rtsp", Some("PROXY_DEFAULT_BACKEND_RTSP"), "", ENDPOINT, "RTSP port of the default origin."),

    text("store.type", Some("PROXY_LOAD_BALANCER_TYPE"), "memory", "memory, redis or mesh", "Where origins and placements are kept: in this process, in a Redis that several proxies share, or among the proxies themselves."),
    secret("store.url", None, "redis://[user[:password]@]host[:port][/database], redis+sentinel://host,host/primary or redis+cluster://host,host; rediss for TLS, ?ca=FILE for its authority", "Where the Redis is; when set, it replaces the redis_ settings except the prefix."),
    text("store.redis_host", Some("PROXY_REDIS_HOST"), "127.0.0.1", "an IP address or a host name", "Redis host."),
    text("store.redis_port", Some("PROXY_REDIS_PORT"), "6379", "a port, 1 to 65535", "Redis port."),
    secret("store.redis_password", Some("PROXY_REDIS_PASSWORD"), "any text", "Redis password."),
    number("store.redis_db", Some("PROXY_REDIS_DB"), "0", "a whole number, 0 to 65535", "Redis database."),
    text("store.redis_key_prefix", Some("PROXY_REDIS_KEY_PREFIX"), "", "any text", "Prefix of every Redis key; a colon follows it."),
    text("store.timeout", None, "300ms", PERIOD, "How long one call to the store may take; after that, this proxy goes by what it knows."),
    flag("store.wait_at_start", None, "Accept no client before the store has answered once; off: serve without it, with a warning."),

    text("placement.policy", None, "rendezvous", "rendezvous, least_streams, least_load, round_robin or random", "How the origin of a new stream is chosen."),
    text_or_list("placement.vhosts", "ignored", "ignored, separate, or a list of the vhosts that count", "Whether streams that differ only in their vhost may be placed on different origins."),
    text("placement.play_claim", None, "60s", PERIOD, "How long a placement made by players outlives the last of them."),
    number("placement.claims_per_source", None, "100", "a whole number, 1 to 1000000", "Maximum number of streams of which nothing came yet that players of one address may wait for."),
    number("placement.bound", None, "125", "a whole number of percent, 100 to 1000, or 0 for no bound", "An origin with more than this percentage of its fair share of streams comes after others; rendezvous only."),
    text("placement.when_full", None, "refuse", "refuse or overflow", "What happens to a new stream when every origin that could take it is full."),
    text("placement.slow_start", None, "0s", WAIT, "How long an origin takes to reach its full weight after it came up."),
    flag("placement.rebalance", None, "Move streams away from origins that use more than 85 percent of their processors or of their bandwidth, until they use 80; sluicegate rebalance --dry-run shows which."),
    text("placement.rebalance_after", None, "30s", WAIT, "How long an origin has to have been overloaded before streams are moved away from it."),
    text("placement.zone", None, "", "the name of a zone, or nothing", "Origins of this zone are preferred; others take the streams that these cannot."),
    list("placement.rules", RULES, "Streams that only some origins may hold; the first rule that matches a stream counts."),
    list("placement.redirects", REDIRECTS, "Players that are sent to the origin, or to an edge, instead of being relayed; the first rule counts."),
    list("placement.networks", NETWORK_ZONES, "The zone nearest to clients of a network, for lookups; the first network that contains the client counts."),
    text("placement.resolve_ttl", None, "5s", PERIOD, "How long a caller may keep the answer to a lookup."),
    url("placement.ask", "", "an http:// or https:// URL such as http://10.0.0.9:8000/place, or nothing", "URL that is asked about each new stream: allowed, denied, or which origin takes it."),
    text("placement.ask_timeout", None, "500ms", PERIOD, "How long the answer of placement.ask may take."),
    text("placement.ask_keep", None, "10s", WAIT, "How long an answer of placement.ask is kept."),
    text("placement.ask_unanswered", None, "allow", "allow or deny", "What to do with a new stream when placement.ask does not answer."),

    text("mesh.listen", None, "127.0.0.1:12027", "a port, ip:port or [v6]:port", "Where this proxy hears the others (UDP), with store.type mesh; any address but loopback needs a cluster.key."),
    text("mesh.advertise", None, "", "an IP address, alone or with a port, or nothing", "Where the others reach mesh.listen; empty means mesh.listen itself, which must then name one address."),
    list("mesh.seeds", "a list of hosts, alone or with a port; a name may stand for many", "Proxies to contact first; the list may include this one. Names are looked up every five seconds."),

    secret_list("cluster.key", "any text, the longer the better, or a list of at most four; a comma separates", "Secret that the proxies of a cluster share, so that each serves the links of the others; without it a link lasts until a restart. Of several, the first seals and all open."),

    text("session.dial_timeout", None, "1s", PERIOD, "How long one origin may take to send its first bytes before the next is tried."),
    text("session.setup_timeout", None, "5s", PERIOD, "How long a session may take to find an origin that lives, all attempts together."),
    text("session.publisher_idle", None, "30s", PERIOD, "A publisher is ended when it has sent nothing and got nothing for this long; it may wait as long for an origin that lives to take it."),
    text("session.player_idle", None, "30s", PERIOD, "A player that receives nothing for this long, after its first media, is ended."),
    text("session.play_wait", None, "10m", PERIOD, "How long a player may wait for its publisher, or for the answer of an origin that lives."),
    text("session.write_stall", None, "20s", PERIOD, "A session whose client or origin takes no bytes for this long is ended."),
    text("session.takeover_after", None, "1s", WAIT, "A publisher that is silent for this long gives its stream up to a new one."),
    text("session.takeover", None, "silent", "silent, address, always or never", "Which publish ends an earlier one: any once the earlier is silent, also at once from the same address, always at once, or none."),
    number("session.max", None, "9000", "a whole number, 1 to 1000000", "Maximum concurrent sessions."),

    text("tls.certificate", None, "", FILE, "Certificate chain in PEM, the server's own first; with tls.key it opens TLS on every TCP port of clients, beside plain."),
    text("tls.key", None, "", FILE, "Private key of tls.certificate in PEM, without a passphrase."),
    flag("tls.self_signed", None, "Make a certificate at each start, for a first try; clients have to be told to trust it."),
    text_or_list("tls.authorities", "system", AUTHORITIES, "Whom origins, backends, lists and other proxies have to have a certificate of where they are reached by TLS."),
    text("tls.client_certificate", None, "", FILE, "Certificate chain in PEM that is shown to origins, backends, lists and other proxies that ask for one."),
    text("tls.client_key", None, "", FILE, "Private key of tls.client_certificate in PEM, without a passphrase."),
    number("tls.handshakes", None, "1000", "a whole number, 1 to 100000", "Maximum TLS handshakes under way; further ones wait."),
    number("tls.handshakes_per_source", None, "100", "a whole number, 1 to 100000", "Maximum TLS handshakes under way of one address, or of one IPv6 /64; further ones are refused."),

    list("acme.names", "a list of domain names, none of them with *", "Names for which certificates are ordered from an ACME server, one for each."),
    flag("acme.accept_terms", None, "Accept the terms of service of the ACME server."),
    text("acme.email", None, "", "a mail address, or nothing", "Where the ACME server may write to."),
    url("acme.directory", "https://acme-v02.api.letsencrypt.org/directory", "an https:// URL", "The directory of the ACME server; by default that of Let's Encrypt."),
    text_or_list("acme.authorities", "system", AUTHORITIES, "Whom the ACME server has to have a certificate of."),
    text("acme.challenge", None, "tls-alpn-01", "tls-alpn-01 or http-01", "How the ACME server is shown that a name is ours: in a handshake at port 443 (http.tls_listen), or by HTTP at port 80 (http.listen)."),
    text("acme.keep_in", None, "/var/lib/sluicegate/acme", "a directory", "Where the account and the certificates are kept; the proxy's user has to be able to write there."),
    flag("acme.in_store", None, "Keep them in the store that proxies share, sealed under cluster.key, in place of acme.keep_in: every proxy shows them, and one orders."),

    text("fanout.mode", None, "off", "off, checked or open", "Whether the viewers of a stream (RTMP, HTTP-FLV, WebSocket-FLV; HTTP-TS, AAC and MP3 each by themselves) share one pull: no, yes with the origin's word on each of them, or yes for all that this proxy lets in."),
    list("fanout.rules", FANOUT, "Streams for which fanout.mode is different; the first rule that fits counts."),
    flag("fanout.public", None, "With mode open, anyone may watch: needed as long as no access rule of this proxy says who may play."),
    list("fanout.split_query", "a list of names of query parameters", "With mode checked, query parameters that make different streams of one name; with open, all do."),
    secret("fanout.pull_query", None, "a query without its question mark, such as token=SECRET", "Query that a pull adds to the stream's name, so that the origin lets it in; without it, checked pulls use a viewer's that was let in, and open ones nobody's."),
    text("fanout.coalesce", None, "40ms", WAIT, "How long media is gathered before it is sent to viewers: fewer and larger writes."),
    text("fanout.max_lag", None, "3s", PERIOD, "How far behind a viewer may be before it skips to the newest keyframe."),
    text("fanout.linger", None, "10s", WAIT, "How long a pull goes on after its last viewer, for players that come back or go from stream to stream."),
    number("fanout.memory", None, "256", "a whole number of megabytes, 1 to 1000000", "Memory for the media of all streams that are pulled for viewers."),
    text("hold.publishers", None, "10s", WAIT, "How long an RTMP or SRT publisher whose origin is lost is kept while another origin is found for it; 0s ends it at once."),
    text("hold.viewers", None, "30s", WAIT, "How long viewers that share a pull are kept when it is lost, while it is made again, SRT players while another origin is found for them, and playlists of HLS viewers and manifests of DASH viewers go on while no origin has their stream; 0s ends them at once."),
    text("hold.publisher_away", None, "10s", WAIT, "How long viewers that share a pull are kept when their publisher has left, until it is back, where 0s leaves that to session.player_idle; and HLS and DASH viewers whose origin says so, where 0s is as hold.viewers."),
    list("hold.rules", HOLDS, "Streams whose clients are held for other times; the first rule that fits counts, and what it leaves out is as above."),

    list("proxy_protocol.accept_from", NETWORKS, "Networks whose RTMP, RTSP and HTTP connections start with a PROXY protocol v1 or v2 header; those to the API port and the system API may."),

    text_or_list("metrics.listen", "", OPTIONAL_ADDRESS, "Where /metrics alone is served, in addition to the system API."),
    number("metrics.streams", None, "0", "a whole number, 0 to 100000", "How many streams get metric series of their own, named as log.stream_names says; 0 turns them off."),

    text_or_list("console.listen", "", "a port, ip:port or [v6]:port, a list of addresses, or nothing", "Where the system API with its console is served as well, for people."),
    list("console.public", "names of listeners with the URL before the path, such as rtmp=rtmp://live.example.com", "How clients reach the listeners rtmp, http, api, srt and rtsp, for the links that the console shows; by default under the name that the console was asked for."),

    text("log.format", None, "auto", "auto, text or json", "Log lines as text or JSON; auto is text on a terminal and JSON elsewhere."),
    text("log.level", None, "info", "error, warn, info, debug or trace", "Lowest level that is logged; RUST_LOG overrides it."),
    text("log.stream_names", None, "keep", "keep, hash or last4", "What log lines and metrics show of the last part of a stream's name: all, a hash, or its last four characters."),

    text("shutdown.grace", Some("PROXY_GRACE_QUIT_TIMEOUT"), "20s", WAIT, "How long sessions may finish after SIGTERM, SIGINT or SIGQUIT."),
    text("shutdown.force", Some("PROXY_FORCE_QUIT_TIMEOUT"), "30s", WAIT, "The process ends this long after the signal, whatever is left."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_name_stands_for_two_settings() {
        let names: BTreeSet<String> = TABLE
            .iter()
            .flat_map(|s| [s.path.to_owned(), s.variable()])
            .collect();
        assert_eq!(names.len(), 2 * TABLE.len());
        for secret in TABLE.iter().filter(|s| s.secret) {
            let file = format!("{}.{}", secret.section(), secret.file_key().unwrap());
            assert!(setting(&file).is_none(), "{file} is a setting already");
            assert_eq!(secret_of_file(&file).unwrap().path, secret.path);
            assert!(!names.contains(&secret.file_variable().unwrap()), "{file}");
        }
        assert!(secret_of_file("rtmp.listen_file").is_none());
        let upstream: Vec<&str> = TABLE.iter().filter_map(|s| s.env).collect();
        assert_eq!(
            upstream.iter().collect::<BTreeSet<_>>().len(),
            upstream.len()
        );
        assert!(
            upstream
                .iter()
                .all(|name| name.starts_with(UPSTREAM_PREFIX))
        );
    }

    #[test]
    fn sections_stay_together_and_every_line_reads_as_a_sentence() {
        let mut sections: Vec<&str> = TABLE.iter().map(Setting::section).collect();
        sections.dedup();
        assert_eq!(
            sections.iter().collect::<BTreeSet<_>>().len(),
            sections.len()
        );
        for setting in TABLE {
            assert!(
                setting.doc.ends_with('.') && !setting.doc.contains('\n'),
                "{}",
                setting.path
            );
            assert!(!setting.allowed.is_empty(), "{}", setting.path);
        }
    }

    #[test]
    fn values_are_written_as_toml() {
        let text = |path: &str, value: &str| {
            setting(path)
                .unwrap()
                .shown(&Written::Text(value.to_owned()))
        };
        assert_eq!(text("http.health", "on"), "true");
        assert_eq!(text("origins.max", "7"), "7");
        assert_eq!(text("origins.max", "many"), "\"many\"");
        assert_eq!(
            text("system.register_from", "10.0.0.0/8, ::1"),
            r#"["10.0.0.0/8", "::1"]"#
        );
        assert_eq!(text("placement.vhosts", "ignored"), "\"ignored\"");
        assert_eq!(text("http.static_files", "a\"b\\c\n"), r#""a\"b\\c\u000A""#);
        assert_eq!(text("system.auth_token", "hunter2"), "\"***\"");
        assert_eq!(text("system.auth_token", ""), "\"\"");
        for (url, shown) in [
            ("http://svc/p?token=hunter2", "http://svc/p?***"),
            ("http://u:hunter2@svc/p", "http://***@svc/p"),
            ("http://u:hun/ter2@svc/p?x", "http://***@svc/p?***"),
            ("u:hunter2@svc", "***@svc"),
            ("http://svc/p", "http://svc/p"),
            ("", ""),
        ] {
            assert_eq!(text("placement.ask", url), format!("\"{shown}\""));
        }
    }
}
