//! Where a stream is, and why: `explain` for operators, `resolve` for clients that go there themselves.

use std::net::IpAddr;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::{Protocol, StreamUrl};

use super::fleet::data;
use super::{System, problem};

/// What may be asked of `explain`.
#[derive(Debug, Deserialize)]
pub(super) struct Explain {
    stream: String,
    protocol: Option<String>,
    without: Option<String>,
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
    let explained = system.proxy.explain(&stream, protocol, without.as_ref());
    data(explained.await).into_response()
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
        _ => text.parse(),
    };
    named.map_err(|error| format!("stream: {error}"))
}

fn protocols() -> String {
    let names: Vec<&str> = Protocol::ALL.iter().map(|one| one.as_str()).collect();
    format!("protocol: one of {}", names.join(", "))
}
