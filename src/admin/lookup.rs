//! Where a stream is, and why: `explain` for operators, `resolve` for clients that go there themselves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sluicegate_core::access::credentials::{Basic, Credentials, SrtUser};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};

use super::fleet::data;
use super::{System, problem};
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
    client: Option<String>,
}

/// `GET /api/v1/explain`.
pub(super) async fn explain(
    State(system): State<System>,
    asked: Result<Query<Explain>, QueryRejection>,
) -> Response {
    let (stream, asked) = match read(asked, |asked| &asked.stream) {
        Ok(asked) => asked,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let name = asked.protocol.as_deref().unwrap_or("rtmp");
    let Some(protocol) = Protocol::ALL.into_iter().find(|one| one.as_str() == name) else {
        return problem(StatusCode::BAD_REQUEST, &protocols());
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
    let asking = asked.asking.map(|words| asking(&stream, protocol, &words));
    let asking = match asking.transpose() {
        Ok(asking) => asking,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let mut explained = system
        .proxy
        .explain(&stream, protocol, without.as_ref())
        .await;
    if let Some(asking) = asking {
        explained.access = Some(system.proxy.explain_access(&asking).await);
    }
    data(explained).into_response()
}

/// `GET /api/v1/resolve`.
pub(super) async fn resolve(
    State(system): State<System>,
    asked: Result<Query<Resolve>, QueryRejection>,
) -> Response {
    let (stream, asked) = match read(asked, |asked| &asked.stream) {
        Ok(asked) => asked,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let client = asked.client.map(|client| client.parse::<IpAddr>());
    let Ok(client) = client.transpose() else {
        return problem(StatusCode::BAD_REQUEST, "client: not an IP address");
    };
    match system.proxy.resolve(&stream, client).await {
        Ok(resolved) => {
            let kept = format!("max-age={}", resolved.ttl);
            ([(header::CACHE_CONTROL, kept)], data(resolved)).into_response()
        }
        Err(refusal) => {
            let retry = [(header::RETRY_AFTER, "2")];
            let refused = problem(StatusCode::SERVICE_UNAVAILABLE, &refusal.to_string());
            (retry, refused).into_response()
        }
    }
}

/// A query, and the stream it is about.
fn read<Q>(
    asked: Result<Query<Q>, QueryRejection>,
    named: impl Fn(&Q) -> &str,
) -> Result<(StreamUrl, Q), String> {
    let Query(asked) = asked.map_err(|unread| unread.body_text())?;
    Ok((stream(named(&asked))?, asked))
}

/// Reads `app/stream`, or `vhost/app/stream` as the tables show it.
pub(super) fn stream(text: &str) -> Result<StreamUrl, String> {
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

/// The request of a client that is described in words such as `publish over srt from 192.0.2.1 with bearer=TOKEN`. An
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
            // As rules may write it too.
            "dash" | "hls" => protocol = Protocol::HttpSegments,
            word => {
                if let Some(named) = Protocol::ALL.into_iter().find(|one| one.as_str() == word) {
                    protocol = named;
                } else {
                    let words = || format!("{AS_WORDS}; {}, hls, dash", protocols());
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
    format!("protocol: one of {}", names.join(", "))
}
