//! Where a stream is, and why: `explain` for operators, `resolve` for clients that go there themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sluicegate_core::access::credentials::{Basic, Credentials, SrtUser};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::segment::Owners;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};

use super::asked::Query;
use super::fleet::data;
use super::{System, problem};
use crate::lookup::{OfAllProtocols, OfProtocol};
use crate::net::http::passes;
use crate::sessions::Request;

/// What may be asked of `explain`.
#[derive(Debug, Deserialize)]
pub(super) struct Explain {
    stream: String,
    protocol: Option<String>,
    without: Option<String>,
    #[serde(rename = "as")]
    asking: Option<String>,
}

/// What may be asked of `resolve`.
#[derive(Debug, Deserialize)]
pub(super) struct Resolve {
    stream: String,
    protocol: Option<String>,
    client: Option<String>,
}

/// `GET /api/v1/explain`.
pub(super) async fn explain(
    State(system): State<System>,
    Query(asked): Query<Explain>,
) -> Response {
    let bad = |words: &str| problem(StatusCode::BAD_REQUEST, words);
    let named = asked.protocol.as_deref();
    let is_all = named == Some("all");
    let named = named.filter(|_| !is_all);
    let (stream, owners, protocol) = match subject(&system, &asked.stream, named) {
        Ok(subject) => subject,
        Err(words) => return bad(&words),
    };
    let without = asked.without.map(OriginId::from);
    if let Some(id) = &without
        && system.proxy.registry().member(id).is_none()
    {
        return problem(
            StatusCode::NOT_FOUND,
            "without: no origin stands under that id; GET /api/v1/origins lists them",
        );
    }
    let asking = |protocol| {
        let words = asked.asking.as_deref();
        words
            .map(|words| asking(&stream, protocol, words))
            .transpose()
    };
    let explain = async |protocol, asking: Option<Request>| {
        let explained = system.proxy.explain(&stream, protocol, without.as_ref());
        let mut explained = explained.await;
        if let Some(asking) = asking {
            explained.access = Some(system.proxy.explain_access_for(&asking, &owners).await);
        }
        explained
    };
    if !is_all {
        return match asking(protocol) {
            Ok(asking) => {
                // Who asks for a client asks about what that client speaks.
                let protocol = asking.as_ref().map_or(protocol, |asking| asking.protocol);
                data(explain(protocol, asking).await).into_response()
            }
            Err(words) => bad(&words),
        };
    }
    let mut protocols = Vec::new();
    for protocol in system.shown.protocols() {
        let asking = match asking(protocol) {
            // A client that speaks another one is no client of this.
            Ok(asking) => asking.filter(|asking| asking.protocol == protocol),
            Err(words) => return bad(&words),
        };
        protocols.push(OfProtocol {
            protocol: protocol.as_str().to_owned(),
            explanation: explain(protocol, asking).await,
        });
    }
    data(OfAllProtocols {
        stream: stream.to_string(),
        protocols,
    })
    .into_response()
}

/// `GET /api/v1/resolve`.
pub(super) async fn resolve(
    State(system): State<System>,
    Query(asked): Query<Resolve>,
) -> Response {
    let bad = |words: &str| problem(StatusCode::BAD_REQUEST, words);
    let (stream, _, protocol) = match subject(&system, &asked.stream, asked.protocol.as_deref()) {
        Ok(subject) => subject,
        Err(words) => return bad(&words),
    };
    let client = asked.client.map(|client| client.parse::<IpAddr>());
    let Ok(client) = client.transpose() else {
        return bad("client: not an IP address");
    };
    match system.proxy.resolve(&stream, protocol, client).await {
        Ok(resolved) => {
            let kept = format!("max-age={}", resolved.ttl);
            ([(header::CACHE_CONTROL, kept)], data(resolved)).into_response()
        }
        Err(refusal) => {
            let refused = problem(refusal.http_status(), &refusal.to_string());
            let retry = [(header::RETRY_AFTER, refusal.retry_after().to_string())];
            match passes(refusal.http_status()) {
                true => (retry, refused).into_response(),
                false => refused,
            }
        }
    }
}

/// What is looked up: a stream, whose file it may be, and the protocol that it is asked for by. An address is read as that of
/// a client.
fn subject(
    system: &System,
    name: &str,
    protocol: Option<&str>,
) -> Result<(StreamUrl, Owners, Protocol), String> {
    if !is_address(name) {
        let protocol = protocol_of(system, protocol)?;
        return Ok((stream(name)?, Owners::default(), protocol));
    }
    let proxy = &system.proxy;
    let read = proxy.dialects().pasted(name, &proxy.lookup().site);
    let read = read.map_err(|error| format!("stream: the address cannot be read: {error}"))?;
    let protocol = protocol.map(|name| protocol_of(system, Some(name)));
    let is_placed = |stream: &StreamUrl| proxy.registry().holder(&proxy.key(stream)).is_some();
    let placed = read.others.into_iter().find(is_placed);
    Ok((
        placed.unwrap_or(read.stream),
        read.owners,
        protocol.transpose()?.unwrap_or(read.protocol),
    ))
}

/// Whether a text is an address of a client rather than the name of a stream.
fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.trim());
    scheme.is_some_and(|scheme| scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The protocol of this name, which may be a rule's too. Without a name it is what the fleet serves: RTMP, or else the first that
/// an origin has.
fn protocol_of(system: &System, name: Option<&str>) -> Result<Protocol, String> {
    if let Some(name) = name {
        return named(name).ok_or_else(protocols);
    }
    let origins = system.proxy.registry().origins();
    let is_served = |protocol: &Protocol| {
        let mut origins = origins.iter();
        origins.any(|(_, member)| member.origin.serves(protocol.service()))
    };
    Ok(USUAL.into_iter().find(is_served).unwrap_or(Protocol::Rtmp))
}

/// The protocol of this name, as the tables or as rules write it.
fn named(name: &str) -> Option<Protocol> {
    match name {
        "dash" | "hls" => Some(Protocol::HttpSegments),
        name => Protocol::ALL.into_iter().find(|one| one.as_str() == name),
    }
}

/// Reads `app/stream`, or `vhost/app/stream` as the tables show it.
pub(super) fn stream(text: &str) -> Result<StreamUrl, String> {
    // Never repeated: it may hold a token.
    if is_address(text) {
        return Err(
            "stream: an address; write app/name or vhost/app/name, as `sluicegate explain ADDRESS` shows it".to_owned(),
        );
    }
    let parts: Vec<&str> = text.splitn(3, '/').collect();
    let named = match parts.as_slice() {
        [app, stream] => StreamUrl::new("", app, stream),
        [_, _, _] => text.parse(),
        _ => {
            return Err(format!(
                "stream: {text:?} is not app/name or vhost/app/name"
            ));
        }
    };
    named.map_err(|error| format!("stream: {error}"))
}

/// The request of a client that is described in words such as `publish over srt from 192.0.2.1 with srt=me:KEY`. An
/// error never quotes what the client shows.
fn asking(stream: &StreamUrl, protocol: Protocol, words: &str) -> Result<Request, String> {
    let mut client = IpAddr::from(Ipv4Addr::LOCALHOST);
    let (mut action, mut protocol) = (Action::Play, protocol);
    let mut credentials = Credentials::default();
    for word in words.split_whitespace() {
        if let Some((name, value)) = word.split_once('=') {
            credentials = show(credentials, name, value)?;
            continue;
        }
        match word {
            "and" | "as" | "from" | "over" | "with" => {}
            "play" => action = Action::Play,
            "publish" => action = Action::Publish,
            word => {
                if let Some(named) = named(word) {
                    protocol = named;
                } else {
                    let words = || format!("{AS_WORDS}; {}", protocols());
                    client = word.parse().map_err(|_| words())?;
                }
            }
        }
    }
    Ok(Request {
        stream: stream.clone(),
        action,
        protocol,
        client: SocketAddr::new(client, 0).into(),
        by_way_of: None,
        bond: None,
        credentials: credentials.boxed(),
    })
}

fn show(shown: Credentials, name: &str, value: &str) -> Result<Credentials, String> {
    let mut shown = shown;
    let pair = || value.split_once(':').ok_or_else(|| AS_WORDS.to_owned());
    match name {
        "bearer" => shown.bearer = Some(value.into()),
        "certificate" => shown.tls = Some(value.into()),
        "cookie" => shown.cookie = Some(value.into()),
        "basic" => {
            let (user, password) = pair()?;
            shown.basic = Some(Basic {
                user: user.into(),
                password: password.into(),
            });
        }
        "srt" => {
            let (user, key) = pair()?;
            let part = |text: &str| (!text.is_empty()).then(|| text.into());
            shown.srt = Some(SrtUser {
                user: part(user),
                key: part(key),
            });
        }
        "url" => {
            shown.query = value.split_once('?').map(|(_, query)| query.into());
            shown.url = Some(value.into());
        }
        "query" => shown.query = Some(value.into()),
        _ => return Err(AS_WORDS.to_owned()),
    }
    Ok(shown)
}

const AS_WORDS: &str = "as: write publish or play, a protocol, the client's address, and what it shows: query=, url=, bearer=, \
    basic=USER:PASSWORD, srt=USER:KEY, cookie= or certificate=; such as \"publish over srt from 192.0.2.1 with srt=me:KEY\"";

fn protocols() -> String {
    let names: Vec<&str> = Protocol::ALL.iter().map(|one| one.as_str()).collect();
    format!("protocol: one of {}, hls, dash", names.join(", "))
}

/// A protocol of each service that holds streams; the first that the fleet serves is asked about where none is named.
const USUAL: [Protocol; 5] = [
    Protocol::Rtmp,
    Protocol::HttpSegments,
    Protocol::Srt,
    Protocol::Rtsp,
    Protocol::WebRtc,
];
