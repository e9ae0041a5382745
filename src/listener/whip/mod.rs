//! Signalling for WebRTC on the API port: WHIP (RFC 9725), WHEP and SRS's older JSON API.
//!
//! An offer is placed as every request is, and goes to the API of the origin that holds the stream, without the
//! client's addresses. The answer comes back with ours. From then on the call is known by its
//! [bindings](crate::registry::bindings): media finds its way by them, and so do PATCH and DELETE.

mod call;
mod judged;
mod led;
mod options;
mod preview;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ALLOW, CONTENT_TYPE, HOST,
    HeaderName, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::dialect::Dialect;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::head::{Forwarded, RequestHead};
use sluicegate_core::http::whip::Path;
use sluicegate_core::rtc::sdp::Announced;
use sluicegate_core::stream::{Action, StreamUrl};
use tokio::time::timeout;

use super::calls::Calls;
use super::turned_away;
use crate::config;
use crate::net::entrance::Ends;
use crate::net::http::{Body, Identity, full, other_method, retry_after, status_words, text};
use crate::net::{cors, forwarded, head};
use crate::origin::call::CallAnswer;
use crate::origin::silence::SilenceCheck;
use crate::proxy::{Proxy, Refusal};
use crate::value::{ClientAddr, LocalAddr, Network};

/// What signalling is set to.
#[derive(Debug)]
pub struct Whip {
    /// Tells APIs that take their time from those that are stopped.
    pub silence: Arc<SilenceCheck>,
    /// Peers whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Arc<[Network]>,
    /// The folder under which clients reach us, where no such peer names another.
    pub base_path: BasePath,
    /// The section of the settings for WebRTC.
    pub settings: config::Rtc,
    /// Where media arrives, as it is bound; nowhere, where that port is closed.
    pub media: Vec<SocketAddr>,
    /// Media may come over TCP too, to the same ports.
    pub tcp: bool,
    /// Lets calls stand.
    pub calls: Calls,
}

/// A request of signalling, as far as every kind has the same.
struct Ask<'a> {
    whip: &'a Whip,
    proxy: &'a Proxy,
    /// How the client names streams.
    dialect: Dialect,
    ends: Ends,
    head: RequestHead,
    /// The client's certificate.
    identity: Option<Identity>,
    body: Bytes,
}

/// Why a request gets no answer from an origin.
type Refused = Box<Response<Body>>;

impl Whip {
    /// Answers a request; `None` when its path is no business of WebRTC, and the request with it.
    pub async fn answer(
        &self,
        request: Request<Incoming>,
        ends: Ends,
        proxy: &Proxy,
    ) -> Result<Response<Body>, Request<Incoming>> {
        let host = request
            .headers()
            .get(HOST)
            .and_then(|host| host.to_str().ok());
        let target = request
            .uri()
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned();
        let host = host.map(str::to_owned);
        let (dialect, _) = proxy.dialects().of(host.as_deref(), ends.local.port());
        let paths = &self.settings.paths;
        let path = Path::of_client(dialect, host.as_deref(), &target, paths);
        let Some(mut path) = path else {
            return Err(request);
        };
        if let Path::Offer(asked) = &mut path {
            let (_, query) = asked.target.split_once('?').unwrap_or_default();
            let named = |stream: &StreamUrl| proxy.dialects().named(stream.clone(), &[query]);
            asked.stream = asked
                .stream
                .as_ref()
                .map_err(|error| *error)
                .and_then(named);
        }
        let mut response = self.dispatch(request, ends, proxy, dialect, path).await;
        let headers = response.headers_mut();
        // An origin that has its own rule for other sites has said so.
        headers
            .entry(ACCESS_CONTROL_ALLOW_ORIGIN)
            .or_insert(HeaderValue::from_static("*"));
        headers
            .entry(ACCESS_CONTROL_EXPOSE_HEADERS)
            .or_insert(HeaderValue::from_static(EXPOSED));
        Ok(response)
    }

    async fn dispatch(
        &self,
        request: Request<Incoming>,
        ends: Ends,
        proxy: &Proxy,
        dialect: Dialect,
        path: Path<'_>,
    ) -> Response<Body> {
        let methods = match path {
            Path::Json(_) | Path::Offer(_) => "POST, OPTIONS",
            Path::Resource(_) => "PATCH, DELETE, OPTIONS",
        };
        let method = request.method().clone();
        if method == Method::OPTIONS {
            let of = (path, methods);
            return self.options(request, ends, proxy, dialect, of).await;
        }
        if self.media.is_empty() {
            return text(StatusCode::NOT_FOUND, "WebRTC is not served here");
        }
        let ask = match Ask::read(self, proxy, dialect, ends, request).await {
            Ok(ask) => ask,
            Err(refused) => return told(*refused, ends.client),
        };
        let client = ask.client();
        let answered = match (path, method) {
            (Path::Offer(asked), Method::POST) => ask.offer(asked).await,
            (Path::Json(action), Method::POST) => ask.json(action).await,
            (Path::Resource(id), Method::DELETE) => ask.delete(id).await,
            (Path::Resource(id), Method::PATCH) => ask.patch(id).await,
            _ => {
                let words = format!("this path takes {methods}");
                return other_method(methods, words);
            }
        };
        answered.unwrap_or_else(|refused| told(*refused, client))
    }

    /// Where a client finds our media port.
    fn announced(&self, host: Option<&str>, local: LocalAddr) -> Announced {
        let at = |ip: IpAddr, port: Option<u16>| {
            SocketAddr::new(ip, port.unwrap_or_else(|| port_at(&self.media, ip)))
        };
        let mut addresses: Vec<SocketAddr> = self
            .settings
            .public_addresses
            .iter()
            .map(|address| at(address.ip, address.port))
            .collect();
        if addresses.is_empty() {
            // A Host that is an address is the one the client used, also through a NAT that maps ports only. A name
            // says nothing that could be written into a candidate.
            let named = host.and_then(address_of);
            match named.filter(|named| *named != local.ip()) {
                Some(outside) => addresses.push(at(outside, None)),
                None => addresses.extend(heard_at(&self.media, local.ip())),
            }
        }
        Announced {
            addresses,
            tcp: self.tcp,
        }
    }
}

impl<'a> Ask<'a> {
    async fn read(
        whip: &'a Whip,
        proxy: &'a Proxy,
        dialect: Dialect,
        ends: Ends,
        request: Request<Incoming>,
    ) -> Result<Self, Refused> {
        let head = head::of_request(&request)
            .map_err(|error| refuse(head::status_of(error), error.to_string()))?;
        let identity = request.extensions().get().cloned();
        let body = Limited::new(request.into_body(), MAX_BODY);
        let collected = timeout(BODY_WITHIN, body.collect()).await;
        let body = match collected {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(_)) => {
                let words = format!("the body is broken, or longer than {MAX_BODY} bytes");
                return Err(refuse(StatusCode::PAYLOAD_TOO_LARGE, words));
            }
            Err(_) => return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body did not come")),
        };
        Ok(Self {
            whip,
            proxy,
            dialect,
            ends,
            head,
            identity,
            body,
        })
    }

    /// The client of the connection.
    fn client(&self) -> ClientAddr {
        let lines: Vec<&str> = self
            .head
            .headers
            .all("x-forwarded-for")
            .filter_map(|line| str::from_utf8(line).ok())
            .collect();
        let connected = self.ends.client;
        forwarded::client(&self.whip.trusted_proxies, connected, lines.into_iter())
    }

    fn forwarded(&self) -> Forwarded {
        forwarded::told(&self.whip.trusted_proxies, self.ends)
    }

    /// The folder under which the client reaches us.
    fn base(&self) -> BasePath {
        let (trusted, usual) = (&self.whip.trusted_proxies, &self.whip.base_path);
        forwarded::base(trusted, self.ends, &self.head.headers, usual)
    }
}

/// A short text in place of an answer, for a request that breaks a rule, or that nobody has logged yet.
fn refuse(status: StatusCode, words: impl Into<String>) -> Refused {
    let words: String = words.into();
    let mut response = text(status, words.as_str());
    response.extensions_mut().insert(Untold(words.into()));
    Box::new(response)
}

/// What the proxy refused and logged, in words.
fn refused(refusal: &Refusal) -> Refused {
    let mut response = text(refusal.http_status(), refusal.to_string());
    retry_after(&mut response, refusal.retry_after());
    Box::new(response)
}

/// The rule of a refusal that stands in no log line yet.
#[derive(Debug, Clone)]
struct Untold(Arc<str>);

/// A refusal as it goes to `client`, once it is logged.
fn told(mut refused: Response<Body>, client: ClientAddr) -> Response<Body> {
    if let Some(Untold(rule)) = refused.extensions_mut().remove() {
        turned_away::log("webrtc", client, refused.status().as_u16(), rule);
    }
    refused
}

/// An origin's own refusal, as it goes to the client: its status, what of its headers is for the client, and its
/// words if they are few. One that says nothing a client could act upon becomes a 502.
fn pass_refusal(answer: CallAnswer) -> Refused {
    let status = match answer.status {
        status if status.is_client_error() || status.is_server_error() => status,
        _ => StatusCode::BAD_GATEWAY,
    };
    let is_text = answer
        .headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .is_some_and(is_words);
    let mut response = if is_text && answer.body.len() <= MAX_WORDS {
        Response::new(full(answer.body))
    } else {
        let says = status.canonical_reason();
        let says = says.map_or_else(|| status_words(status), str::to_owned);
        text(status, format!("its origin says: {says}"))
    };
    *response.status_mut() = status;
    for (name, value) in &answer.headers {
        let told =
            PASSED.contains(name) || cors::is_about(name) || (name == CONTENT_TYPE && is_text);
        if told && name == CONTENT_TYPE {
            response.headers_mut().insert(name, value.clone());
        } else if told {
            // There may be several of a kind: a challenge for each scheme.
            response.headers_mut().append(name, value.clone());
        }
    }
    Box::new(response)
}

/// Whether a body of this type is meant to be read: text, JSON, or what stands for problems in it (RFC 9457).
fn is_words(kind: &str) -> bool {
    ["text/plain", "application/json", "application/problem+json"]
        .iter()
        .any(|known| kind.starts_with(known))
}

/// An answer that no client could use. The caller logs why.
fn broken_answer() -> Refused {
    let words = "its origin gave no answer that can be used";
    Box::new(text(StatusCode::BAD_GATEWAY, words))
}

fn preflight(methods: &'static str) -> Response<Body> {
    let allowed = "Authorization, Content-Type, If-Match, If-None-Match, *";
    let mut response = cors::preflight(methods, allowed);
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(methods));
    let accepts = HeaderValue::from_static("application/sdp");
    headers.insert(HeaderName::from_static("accept-post"), accepts);
    let accepts = HeaderValue::from_static("application/trickle-ice-sdpfrag");
    headers.insert(HeaderName::from_static("accept-patch"), accepts);
    response
}

/// The address in a `Host` header, if it is one.
fn address_of(host: &str) -> Option<IpAddr> {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Some(address.ip());
    }
    host.trim_matches(['[', ']']).parse().ok()
}

/// The port of the media address that packets for `ip` arrive at: the one that is `ip`, else one of its family, which
/// is on every interface or behind a NAT.
fn port_at(media: &[SocketAddr], ip: IpAddr) -> u16 {
    let same = media.iter().find(|address| address.ip() == ip);
    let family = || {
        media
            .iter()
            .find(|address| address.is_ipv4() == ip.is_ipv4())
    };
    let found = same.or_else(family).or_else(|| media.first());
    found.map_or(0, SocketAddr::port)
}

/// Where media arrives for a client that came to `ip`, an address of this machine: there, unless no socket for media is bound to
/// that address, and some are bound to others.
fn heard_at(media: &[SocketAddr], ip: IpAddr) -> Vec<SocketAddr> {
    let hears = |address: &SocketAddr| match address.ip() {
        IpAddr::V4(bound) if bound.is_unspecified() => ip.is_ipv4(),
        // Most systems have it hear IPv4, too.
        IpAddr::V6(bound) if bound.is_unspecified() => true,
        bound => bound == ip,
    };
    let others = media
        .iter()
        .filter(|address| !address.ip().is_unspecified());
    let others: Vec<SocketAddr> = others.copied().collect();
    if media.iter().any(hears) || others.is_empty() {
        return vec![SocketAddr::new(ip, port_at(media, ip))];
    }
    others
}

/// SRS's path for a call by JSON.
const fn json_target(action: Action) -> &'static str {
    match action {
        Action::Play => "/rtc/v1/play/",
        Action::Publish => "/rtc/v1/publish/",
    }
}

/// What a page may read of an answer.
const EXPOSED: &str = "Location, ETag, Link, WWW-Authenticate, Retry-After";
/// What a client may act upon when an origin says no.
const PASSED: [HeaderName; 4] = [
    HeaderName::from_static("allow"),
    HeaderName::from_static("link"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("www-authenticate"),
];
/// Bytes of a request's body: a description, perhaps escaped in JSON.
const MAX_BODY: usize = 256 * 1024;
/// Bytes of an origin's words that are passed on.
const MAX_WORDS: usize = 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_an_address_where_media_is_heard() {
        let two = ["127.0.0.1:1", "[::1]:2"];
        // A description; where media is bound; where the client came to; what it is told.
        for (cause, media, ip, expected) in [
            (
                "every interface",
                &["0.0.0.0:1"][..],
                "192.0.2.1",
                &["192.0.2.1:1"][..],
            ),
            (
                "every interface of both",
                &["[::]:1"],
                "192.0.2.1",
                &["192.0.2.1:1"],
            ),
            ("there", &["127.0.0.1:1"], "127.0.0.1", &["127.0.0.1:1"]),
            ("at one of two", &two, "::1", &["[::1]:2"]),
            ("elsewhere", &["127.0.0.1:1"], "::1", &["127.0.0.1:1"]),
            ("at two others", &two, "192.0.2.1", &two),
            ("no address to name", &["0.0.0.0:1"], "::1", &["[::1]:1"]),
        ] {
            let read = |texts: &[&str]| -> Vec<SocketAddr> {
                texts.iter().map(|text| text.parse().unwrap()).collect()
            };
            let told = heard_at(&read(media), ip.parse().unwrap());
            assert_eq!(told, read(expected), "{cause}");
        }
    }

    #[test]
    fn a_candidate_has_the_port_that_its_address_is_bound_with() {
        let two = ["192.0.2.1:1", "[2001:db8::1]:2"];
        for (cause, media, ip, expected) in [
            ("every interface", &["[::]:1"][..], "192.0.2.1", 1),
            ("its own", &two, "2001:db8::1", 2),
            ("a NAT's", &two, "198.51.100.1", 1),
            ("a NAT's of the other family", &two, "2001:db8::9", 2),
            ("one family alone", &["192.0.2.1:1"], "2001:db8::1", 1),
            (
                "two of one family",
                &["192.0.2.1:1", "192.0.2.2:2"],
                "192.0.2.2",
                2,
            ),
        ] {
            let media: Vec<SocketAddr> = media.iter().map(|text| text.parse().unwrap()).collect();
            assert_eq!(port_at(&media, ip.parse().unwrap()), expected, "{cause}");
        }
    }
}
