//! How an origin describes itself: where its services are, and the document with which it registers.
//!
//! The document is the heartbeat of SRS 5 and later, with `ports on`: every endpoint has one of the forms of a `listen`
//! line in an SRS configuration, sometimes after `tcp://` or `udp://`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::dialect::Dialect;
use crate::fleet::attributes::{Attributes, Given, Verify};
use crate::fleet::load::Report;
use crate::stream::{Action, DEFAULT_VHOST, Service, StreamUrl};

/// The name of an origin in the registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OriginId(Arc<str>);

impl OriginId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for OriginId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<Arc<str>> for OriginId {
    fn from(id: Arc<str>) -> Self {
        Self(id)
    }
}

impl From<String> for OriginId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for OriginId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An address or a domain name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An address; an IPv4-mapped IPv6 address (`::ffff:10.0.0.1`) is kept as IPv4.
    Ip(IpAddr),
    /// A lower-case name to resolve; never one that a resolver would read as an address.
    Name(String),
}

impl Host {
    fn is_same_family(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ip(one), Self::Ip(two)) => one.is_ipv4() == two.is_ipv4(),
            _ => true,
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Ip(ip) => ip.is_loopback(),
            Self::Name(name) => name == "localhost",
        }
    }
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip.to_canonical())
    }
}

impl FromStr for Host {
    type Err = EndpointError;

    /// Reads an IPv4 address, an IPv6 address with or without brackets, or a domain name.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let bare = text
            .strip_prefix('[')
            .map_or(Some(text), |rest| rest.strip_suffix(']'))
            .ok_or(EndpointError::Host)?;
        if let Ok(ip) = bare.parse::<IpAddr>() {
            return Ok(ip.into());
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if name.len() > MAX_HOST || !name.split('.').all(is_label) || ends_in_number(name) {
            return Err(EndpointError::Host);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(ip) => ip.fmt(formatter),
            Self::Name(name) => formatter.write_str(name),
        }
    }
}

/// The transport of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// A byte stream.
    Tcp,
    /// Datagrams.
    Udp,
}

impl Transport {
    /// `tcp` or `udp`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }

    /// The transport of `service` unless an origin says otherwise, and the only one that we dial.
    pub const fn of(service: Service) -> Self {
        match service {
            Service::Api | Service::Http | Service::Rtmp | Service::Rtsp => Self::Tcp,
            Service::Rtc | Service::Srt => Self::Udp,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Where one service of an origin listens.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// The host it listens on; `None` means every address, and so the origin's own `ip`.
    pub host: Option<Host>,
    /// The port; never 0.
    pub port: u16,
    /// The transport.
    pub transport: Transport,
    /// Whether TLS is spoken there; only over TCP.
    pub tls: bool,
}

impl Endpoint {
    /// Reads `1935`, `:1935`, `10.0.0.1:1935`, `[::]:1935` or `name:1935`, each also after `tcp://` or `udp://`, or
    /// after `tcp:` or `udp:` as older origins write it. After `tls://` the origin speaks TLS there.
    ///
    /// Without one of these, the transport is the usual one of `service`. Only WebRTC may name another. The schemes of
    /// `service` say the same, and stand before a host without a port as well: `rtmps://name` is `tls://name:443`.
    pub fn parse(text: &str, service: Service) -> Result<Self, EndpointError> {
        let mut endpoint = Self::read(text, service)?;
        endpoint.host = endpoint.host.filter(|host| !is_wildcard(host));
        Ok(endpoint)
    }

    /// Like `parse`, but keeps a wildcard address as the host.
    fn read(text: &str, service: Service) -> Result<Self, EndpointError> {
        let default = Transport::of(service);
        let (way, address) = split_way(text.trim(), service)?;
        if way.transport != default && service != Service::Rtc
            || way.tls && default != Transport::Tcp
        {
            return Err(EndpointError::Transport(service, default));
        }
        let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let (host, port) = match (address.rsplit_once(':'), way.port) {
            (None, Some(usual)) if !is_port(address) => (address, usual.to_string()),
            (Some(_), Some(usual)) if address.ends_with(']') => (address, usual.to_string()),
            (None, _) => ("", address.to_owned()),
            (Some((host, port)), _) => (host, port.to_owned()),
        };
        if host.contains(':') && !host.starts_with('[') {
            return Err(EndpointError::Brackets);
        }
        let host = match host {
            "" => None,
            host => Some(host.parse()?),
        };
        let port = port_number(&port)?;
        Ok(Self {
            host,
            port,
            transport: way.transport,
            tls: way.tls,
        })
    }
}

impl fmt::Display for Endpoint {
    /// Writes `tcp://10.0.0.1:1935` or `tls://10.0.0.1:443`, or `udp://:8000` if the host means every address.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = if self.tls {
            TLS
        } else {
            self.transport.as_str()
        };
        write!(formatter, "{way}://")?;
        if let Some(host) = &self.host {
            write_host(formatter, host)?;
        }
        write!(formatter, ":{}", self.port)
    }
}

/// Why a host or an endpoint cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// An IPv6 address before a port has no brackets.
    #[error("an IPv6 address before a port stands in brackets, as in [::1]:1935")]
    Brackets,
    /// The host is neither an address nor a domain name.
    #[error("the host is neither an address nor a domain name")]
    Host,
    /// The port is not a number from 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The text before `://` is neither `tcp`, `udp`, `tls` nor a scheme of the service.
    #[error(
        "what stands before :// is neither tcp, udp, tls nor a scheme of the service, such as rtmps for RTMP"
    )]
    Scheme,
    /// The service never uses this transport.
    #[error("{0} is served over {1} only")]
    Transport(Service, Transport),
}

/// All endpoints of an origin, preferred ones first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoints {
    /// The HTTP API, including WHIP and WHEP.
    pub api: Vec<Endpoint>,
    /// HTTP streaming.
    pub http: Vec<Endpoint>,
    /// WebRTC media.
    pub rtc: Vec<Endpoint>,
    /// RTMP.
    pub rtmp: Vec<Endpoint>,
    /// RTSP.
    pub rtsp: Vec<Endpoint>,
    /// SRT.
    pub srt: Vec<Endpoint>,
}

impl Endpoints {
    /// The endpoints of `service`.
    pub fn of(&self, service: Service) -> &[Endpoint] {
        match service {
            Service::Api => &self.api,
            Service::Http => &self.http,
            Service::Rtc => &self.rtc,
            Service::Rtmp => &self.rtmp,
            Service::Rtsp => &self.rtsp,
            Service::Srt => &self.srt,
        }
    }

    /// The number of services that have an endpoint.
    pub fn services(&self) -> usize {
        Service::ALL
            .into_iter()
            .filter(|&service| !self.of(service).is_empty())
            .count()
    }

    fn of_mut(&mut self, service: Service) -> &mut Vec<Endpoint> {
        match service {
            Service::Api => &mut self.api,
            Service::Http => &mut self.http,
            Service::Rtc => &mut self.rtc,
            Service::Rtmp => &mut self.rtmp,
            Service::Rtsp => &mut self.rtsp,
            Service::Srt => &mut self.srt,
        }
    }
}

/// An address to dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// An address, or a name to resolve. The [`AddressRules`] apply to what it resolves to as well.
    pub host: Host,
    /// The port; never 0.
    pub port: u16,
    /// What the connection goes through.
    pub security: Security,
}

/// What a connection to a [`Target`] goes through.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Security {
    /// Nothing: it is plain.
    #[default]
    Plain,
    /// TLS. The certificate has to be for this name or address; `None`: for the host of the target.
    Tls(Option<Host>),
    /// TLS with whatever answers: nobody looks at its certificate.
    Unverified,
}

impl Target {
    /// Without TLS.
    pub const fn plain(host: Host, port: u16) -> Self {
        Self {
            host,
            port,
            security: Security::Plain,
        }
    }

    /// The host that a server here is asked for `stream` by, in a request of our own: the vhost, from which SRS takes it, or this
    /// address for the default one, which is no name.
    pub fn host_for(&self, stream: &StreamUrl) -> String {
        match stream.vhost() {
            DEFAULT_VHOST => self.to_string(),
            vhost => vhost.to_owned(),
        }
    }

    /// Whether both are one address and port.
    pub fn is_at(&self, other: &Self) -> bool {
        self.host == other.host && self.port == other.port
    }
}

impl fmt::Display for Target {
    /// Writes `10.0.0.1:1935`, `[::1]:1935` or `name:1935`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host(formatter, &self.host)?;
        write!(formatter, ":{}", self.port)
    }
}

/// A media server, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The host to dial, unless an endpoint names its own.
    pub ip: Host,
    /// The id that it keeps across restarts.
    pub server: String,
    /// The id of this start.
    pub service: String,
    /// The process id, as text.
    pub pid: String,
    /// The name that its operator gave it.
    pub device_id: Option<String>,
    /// Where its services are.
    pub endpoints: Endpoints,
    /// Its weight, zone, labels and limits.
    pub attributes: Arc<Attributes>,
    /// The load that it reported with this registration.
    pub report: Option<Report>,
}

impl Origin {
    /// Where to dial `service`, if this origin has it over the transport that we use.
    ///
    /// The host in the endpoint is used, otherwise the origin's `ip`. Of several endpoints, the first of the address
    /// family of `ip` is used. An endpoint on the loopback of an origin elsewhere comes last: dialled from here, it
    /// would be our own loopback.
    pub fn target(&self, service: Service) -> Option<Target> {
        let fitness = |endpoint: &&Endpoint| match &endpoint.host {
            Some(_) if self.is_foreign_loopback(endpoint) => 2,
            Some(host) if !host.is_same_family(&self.ip) => 1,
            _ => 0,
        };
        let endpoint = self
            .endpoints
            .of(service)
            .iter()
            .filter(|endpoint| endpoint.transport == Transport::of(service))
            .min_by_key(fitness)?;
        Some(self.at(endpoint))
    }

    /// Where to dial `service` for `action`. OvenMediaEngine tells SRT callers apart by the port that they call: its second
    /// SRT endpoint is for players.
    pub fn target_for(&self, service: Service, action: Action) -> Option<Target> {
        let second = match (self.attributes.naming.dialect, service, action) {
            (Dialect::Ome, Service::Srt, Action::Play) => self.endpoints.srt.get(1),
            _ => None,
        };
        match second {
            Some(endpoint) => Some(self.at(endpoint)),
            None => self.target(service),
        }
    }

    /// What to dial for the one of its endpoints of `service` that is at `place`, written `host:port`.
    pub fn target_at(&self, service: Service, place: &str) -> Option<Target> {
        self.usable(service)
            .find(|target| target.to_string() == place)
    }

    /// What to dial for those of its endpoints of `service` that have this port, and the hosts by which it goes there: what it
    /// calls by another name may be one of them.
    pub fn targets_on(&self, service: Service, port: u16) -> Vec<(Target, [Host; 2])> {
        let on_port = self.usable(service).filter(|target| target.port == port);
        on_port
            .map(|target| {
                let hosts = [target.host.clone(), self.ip.clone()];
                (target, hosts)
            })
            .collect()
    }

    fn usable(&self, service: Service) -> impl Iterator<Item = Target> {
        let endpoints = self.endpoints.of(service).iter();
        let usable = endpoints.filter(move |endpoint| {
            endpoint.transport == Transport::of(service) && !self.is_foreign_loopback(endpoint)
        });
        usable.map(|endpoint| self.at(endpoint))
    }

    /// Whether an endpoint is on the loopback of an origin elsewhere, which is not ours.
    fn is_foreign_loopback(&self, endpoint: &Endpoint) -> bool {
        let host = endpoint.host.as_ref();
        host.is_some_and(Host::is_loopback) && !self.ip.is_loopback()
    }

    /// Where this origin lists its streams. MediaMTX and OvenMediaEngine have a port for that beside the one for WHIP:
    /// their second API endpoint.
    pub fn target_for_lists(&self) -> Option<Target> {
        let second = match self.attributes.naming.dialect {
            Dialect::MediaMtx | Dialect::Ome => self.endpoints.api.get(1),
            Dialect::Go2rtc | Dialect::NginxRtmp | Dialect::Srs => None,
        };
        match second {
            Some(endpoint) => Some(self.at(endpoint)),
            None => self.target(Service::Api),
        }
    }

    fn at(&self, endpoint: &Endpoint) -> Target {
        Target {
            host: endpoint.host.as_ref().unwrap_or(&self.ip).clone(),
            port: endpoint.port,
            security: match &self.attributes.tls {
                _ if !endpoint.tls => Security::Plain,
                Verify::Name(name) => Security::Tls(name.clone()),
                Verify::Nothing => Security::Unverified,
            },
        }
    }

    /// Whether [`Origin::target`] finds an address for `service`.
    pub fn serves(&self, service: Service) -> bool {
        self.endpoints
            .of(service)
            .iter()
            .any(|endpoint| endpoint.transport == Transport::of(service))
    }

    /// Whether both are dialled at the same address and ports.
    pub fn same_place(&self, other: &Self) -> bool {
        self.ip == other.ip && self.endpoints == other.endpoints
    }

    /// Whether both offer a service at the same address and port, so that they are one origin under two names.
    pub fn shares_endpoint(&self, other: &Self) -> bool {
        Service::ALL.into_iter().any(|service| {
            let targets = self.target(service).zip(other.target(service));
            targets.is_some_and(|(own, others)| own.is_at(&others))
        })
    }

    /// The name of this process: `server-service-pid`, the identity that other proxies use.
    pub fn instance(&self) -> String {
        format!("{}-{}-{}", self.server, self.service, self.pid)
    }

    /// The name to show to people: its `device_id`, or else its `server` id.
    pub fn label(&self) -> &str {
        self.device_id.as_deref().unwrap_or(&self.server)
    }
}

/// The addresses that an origin may name.
///
/// A registration tells us where to connect. It must not be able to point us at the services that a cloud or a network
/// offers only to its own machines. Loopback and private addresses are allowed, since origins usually have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AddressRules {
    /// Whether every address is allowed.
    pub allow_special: bool,
}

impl AddressRules {
    /// Whether `host` may be dialled. For a name, check the addresses that it resolves to as well.
    pub fn check(&self, host: &Host) -> Result<(), AddressError> {
        if self.allow_special {
            return Ok(());
        }
        let refused = match host {
            Host::Ip(ip) => special(ip.to_canonical()),
            Host::Name(name) => METADATA_NAMES
                .contains(&name.as_str())
                .then_some(AddressError::Metadata),
        };
        refused.map_or(Ok(()), Err)
    }
}

/// Why an address is never dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// `255.255.255.255`.
    #[error("the broadcast address is nobody's own")]
    Broadcast,
    /// `169.254.0.0/16` or `fe80::/10`.
    #[error("link-local addresses are refused")]
    LinkLocal,
    /// The address of a cloud's metadata service, which tells a machine its secrets.
    #[error("cloud metadata addresses are refused")]
    Metadata,
    /// A multicast group.
    #[error("multicast addresses are refused")]
    Multicast,
    /// `0.0.0.0` or `::`.
    #[error("the unspecified address cannot be dialled; send the address of this machine")]
    Unspecified,
}

/// Reads the body of a registration.
///
/// Unknown fields are skipped and missing lists are empty; `service` and `pid` may be numbers. An empty body is an
/// empty document. Beyond what SRS sends, `weight`, `zone`, `labels` (a list), `max_streams`, `max_sessions`,
/// `max_mbps`, `dialect`, `strip` and `prepend` are read as its [`Attributes`]. Within a service, endpoints of the address family of `ip` come first.
pub fn parse_registration(body: &[u8], rules: &AddressRules) -> Result<Origin, RegistrationError> {
    let document = read_document(body)?;
    let ip = required("ip", &document.ip, MAX_ADDRESS)?
        .parse::<Host>()
        .map_err(|problem| RegistrationError::new("ip", problem))?;
    rules
        .check(&ip)
        .map_err(|problem| RegistrationError::new("ip", problem))?;
    let server = required("server", &document.server, MAX_ID)?;
    let service = required("service", &number_as_text(document.service), MAX_ID)?;
    let pid = required("pid", &number_as_text(document.pid), MAX_ID)?;

    let mut endpoints = Endpoints::default();
    let lists = [
        (Service::Rtmp, document.rtmp),
        (Service::Http, document.http),
        (Service::Api, document.api),
        (Service::Srt, document.srt),
        (Service::Rtc, document.rtc),
        (Service::Rtsp, document.rtsp),
    ];
    for (service, list) in lists {
        *endpoints.of_mut(service) = read_endpoints(service, list, &ip, rules)?;
    }
    if endpoints.services() == 0 {
        return Err(RegistrationError::new(
            "rtmp",
            "no endpoint of any service is named",
        ));
    }
    let device_id = optional("device_id", &number_as_text(document.device_id), MAX_ID)?;
    let mut given = Given::default();
    let fields = [
        ("weight", "weight", document.weight),
        ("zone", "zone", document.zone),
        ("labels", "label", document.labels),
        ("max_streams", "max_streams", document.max_streams),
        ("max_sessions", "max_sessions", document.max_sessions),
        ("max_mbps", "max_mbps", document.max_mbps),
        ("dialect", "dialect", document.dialect),
        ("strip", "strip", document.strip),
        ("prepend", "prepend", document.prepend),
    ];
    for (field, name, value) in fields {
        given
            .take(name, &value)
            .map_err(|problem| RegistrationError::new(field, problem))?;
    }
    let mut attributes = Attributes::default();
    given.lay_over(&mut attributes);
    Ok(Origin {
        ip,
        server,
        service,
        pid,
        device_id,
        endpoints,
        attributes: Arc::new(attributes),
        report: Report::parse(document.summaries),
    })
}

/// What is wrong with a registration, with the field named as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct RegistrationError {
    /// The first invalid field; `body` if the body is not a document at all.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl RegistrationError {
    fn new(field: &'static str, problem: impl fmt::Display) -> Self {
        Self {
            field,
            problem: problem.to_string(),
        }
    }
}

/// The registration as JSON. Fields that it does not name are skipped.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    ip: Value,
    server: Value,
    service: Value,
    pid: Value,
    device_id: Value,
    api: Value,
    http: Value,
    rtc: Value,
    rtmp: Value,
    rtsp: Value,
    srt: Value,
    summaries: Value,
    weight: Value,
    zone: Value,
    labels: Value,
    max_streams: Value,
    max_sessions: Value,
    max_mbps: Value,
    dialect: Value,
    strip: Value,
    prepend: Value,
}

fn read_document(body: &[u8]) -> Result<Document, RegistrationError> {
    if body.len() > MAX_REGISTRATION {
        let problem = format!("longer than {MAX_REGISTRATION} bytes");
        return Err(RegistrationError::new("body", problem));
    }
    match body.trim_ascii() {
        [] => Ok(Document::default()),
        // serde would read a struct from a JSON list as well, but nobody means that.
        [b'{', ..] => serde_json::from_slice(body).map_err(|error| {
            let problem = format!(
                "not JSON (line {}, column {})",
                error.line(),
                error.column()
            );
            RegistrationError::new("body", problem)
        }),
        _ => Err(RegistrationError::new("body", "not a JSON object")),
    }
}

fn required(field: &'static str, value: &Value, limit: usize) -> Result<String, RegistrationError> {
    optional(field, value, limit)?.ok_or_else(|| RegistrationError::new(field, "missing or empty"))
}

/// The text of a field; `None` if it is missing, null or empty.
fn optional(
    field: &'static str,
    value: &Value,
    limit: usize,
) -> Result<Option<String>, RegistrationError> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text.trim(),
        _ => return Err(RegistrationError::new(field, "not a string")),
    };
    if text.len() > limit {
        let problem = format!("longer than {limit} bytes");
        return Err(RegistrationError::new(field, problem));
    }
    if text.contains(char::is_control) {
        return Err(RegistrationError::new(field, "holds a control character"));
    }
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn number_as_text(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        other => other,
    }
}

fn read_endpoints(
    service: Service,
    list: Value,
    ip: &Host,
    rules: &AddressRules,
) -> Result<Vec<Endpoint>, RegistrationError> {
    let field = service.as_str();
    let entries = match list {
        Value::Null => return Ok(Vec::new()),
        Value::Array(entries) if entries.len() <= MAX_ENDPOINTS => entries,
        Value::Array(_) => {
            let problem = format!("more than {MAX_ENDPOINTS} endpoints");
            return Err(RegistrationError::new(field, problem));
        }
        _ => return Err(RegistrationError::new(field, "not a list of strings")),
    };
    let mut endpoints = Vec::with_capacity(entries.len());
    for entry in entries {
        let text = required(field, &number_as_text(entry), MAX_ADDRESS)?;
        let refuse = |problem: &dyn fmt::Display| {
            RegistrationError::new(field, format!("{text:?}: {problem}"))
        };
        let mut endpoint = Endpoint::read(&text, service).map_err(|problem| refuse(&problem))?;
        let mut misses_family = false;
        match &endpoint.host {
            Some(host) if is_wildcard(host) => {
                misses_family = !host.is_same_family(ip);
                endpoint.host = None;
            }
            Some(host) => rules.check(host).map_err(|problem| refuse(&problem))?,
            None => {}
        }
        endpoints.push((misses_family, endpoint));
    }
    // A stable sort: origins name the preferred endpoint first.
    endpoints.sort_by_key(|(misses_family, _)| *misses_family);
    Ok(endpoints
        .into_iter()
        .map(|(_, endpoint)| endpoint)
        .collect())
}

/// How an endpoint is reached, as the text before its address says.
struct Way {
    transport: Transport,
    tls: bool,
    /// The port of an address that has none.
    port: Option<u16>,
}

impl From<Transport> for Way {
    fn from(transport: Transport) -> Self {
        Self {
            transport,
            tls: false,
            port: None,
        }
    }
}

fn split_way(text: &str, service: Service) -> Result<(Way, &str), EndpointError> {
    let Some((name, address)) = text.split_once("://") else {
        let named = text
            .split_once(':')
            .and_then(|(name, address)| Some((transport_named(name)?, address)));
        let (transport, address) = named.unwrap_or_else(|| (Transport::of(service), text));
        return Ok((transport.into(), address));
    };
    if let Some(transport) = transport_named(name) {
        return Ok((transport.into(), address));
    }
    let over_tcp = |tls, port| Way {
        transport: Transport::Tcp,
        tls,
        port,
    };
    if name.eq_ignore_ascii_case(TLS) {
        return Ok((over_tcp(true, None), address));
    }
    let [plain, secure] = schemes(service).ok_or(EndpointError::Scheme)?;
    for ((scheme, port), tls) in [(plain, false), (secure, true)] {
        if name.eq_ignore_ascii_case(scheme) {
            return Ok((over_tcp(tls, Some(port)), address));
        }
    }
    Err(EndpointError::Scheme)
}

/// The URL schemes of a service without TLS and with it, each with the port of a URL that names none.
const fn schemes(service: Service) -> Option<[(&'static str, u16); 2]> {
    match service {
        Service::Api | Service::Http => Some([("http", 80), ("https", 443)]),
        // RTMP 1.0 §3 has the first; RTMPS has no standard, and its services are at 443.
        Service::Rtmp => Some([("rtmp", 1935), ("rtmps", 443)]),
        Service::Rtsp => Some([("rtsp", 554), ("rtsps", 322)]), // RFC 7826 §22.14
        Service::Rtc | Service::Srt => None,
    }
}

/// The port of a URL with `scheme` that names none, where it is a scheme of `service`.
pub(crate) fn usual_port(service: Service, scheme: &str) -> Option<u16> {
    schemes(service)?
        .into_iter()
        .find_map(|(name, port)| name.eq_ignore_ascii_case(scheme).then_some(port))
}

fn transport_named(name: &str) -> Option<Transport> {
    [Transport::Tcp, Transport::Udp]
        .into_iter()
        .find(|transport| name.eq_ignore_ascii_case(transport.as_str()))
}

/// Reads a port; `str::parse` alone would accept `+1935` as well.
fn port_number(text: &str) -> Result<u16, EndpointError> {
    match text.parse() {
        Ok(port) if port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(EndpointError::Port),
    }
}

fn write_host(formatter: &mut fmt::Formatter<'_>, host: &Host) -> fmt::Result {
    match host {
        Host::Ip(IpAddr::V6(ip)) => write!(formatter, "[{ip}]"),
        host => write!(formatter, "{host}"),
    }
}

fn is_wildcard(host: &Host) -> bool {
    matches!(host, Host::Ip(ip) if ip.is_unspecified())
}

/// Whether a resolver might read `name` as an IPv4 address, as with `127.1`, `2130706433` and `0x7f.1` (URL standard,
/// "ends in a number").
fn ends_in_number(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    match last.strip_prefix("0x").or_else(|| last.strip_prefix("0X")) {
        Some(hex) => hex.bytes().all(|byte| byte.is_ascii_hexdigit()),
        None => last.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

fn special(ip: IpAddr) -> Option<AddressError> {
    if METADATA_ADDRESSES.contains(&ip) {
        return Some(AddressError::Metadata);
    }
    if ip.is_unspecified() {
        return Some(AddressError::Unspecified);
    }
    if ip.is_multicast() {
        return Some(AddressError::Multicast);
    }
    match ip {
        IpAddr::V4(ip) if ip.is_broadcast() => Some(AddressError::Broadcast),
        IpAddr::V4(ip) if ip.is_link_local() => Some(AddressError::LinkLocal),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(AddressError::LinkLocal),
        _ => None,
    }
}

/// Stands before an endpoint where TLS is spoken.
const TLS: &str = "tls";

/// Maximum bytes of a registration. A heartbeat with summaries has a few kilobytes.
pub const MAX_REGISTRATION: usize = 64 * 1024;

/// Maximum bytes of an id in a registration. Those of SRS have a dozen.
const MAX_ID: usize = 128;

/// Maximum bytes of an address or endpoint: the longest domain name with a port and `tcp://` fits.
const MAX_ADDRESS: usize = 300;

/// Maximum endpoints of one service. An origin names one for each address that it listens on.
const MAX_ENDPOINTS: usize = 16;

/// Maximum characters of a domain name and of its labels (RFC 1035 §2.3.4).
const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// The metadata services of AWS (IPv4, the same as in most clouds, and IPv6) and Alibaba Cloud.
const METADATA_ADDRESSES: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
];

/// The metadata service of Google Cloud.
const METADATA_NAMES: [&str; 2] = ["metadata.goog", "metadata.google.internal"];
