//! Is it alive, may it get clients, which version is it, and how is it doing.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use super::{System, beside};
use crate::api::{Alive, Version};
use crate::metrics::{Format, Metrics};
use crate::net::versions;
use crate::readiness::Asked;

/// `GET /livez`: the process answers, and nothing else is asked of it.
pub(super) async fn live() -> Json<Alive> {
    Json(Alive { alive: true })
}

/// `GET /readyz`.
pub(super) async fn ready(State(system): State<System>, RawQuery(query): RawQuery) -> Response {
    let asked = Asked::by(query.as_deref());
    let (status, document) = system.readiness.report(&system.proxy, asked);
    (status, Json(document)).into_response()
}

/// `GET /api/v1/versions`, in the short shape of this port.
pub(super) async fn versions() -> Json<Version> {
    Json(versions::short())
}

/// `GET /metrics`: OpenMetrics text, or the older format for those who ask for it.
pub(super) async fn metrics(State(system): State<System>, headers: HeaderMap) -> Response {
    let metrics = Arc::clone(system.proxy.metrics());
    beside(move || exposition(&metrics, &headers)).await
}

/// What a scraper gets.
pub(super) fn exposition(metrics: &Metrics, headers: &HeaderMap) -> Response {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    let format = Format::for_accept(accept);
    let kind = [(header::CONTENT_TYPE, format.content_type())];
    (kind, metrics.render_as(format)).into_response()
}
