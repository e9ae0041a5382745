//! Is it alive, may it get clients, which version is it, and how is it doing.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::System;
use crate::net::versions;

/// `GET /livez`: the process answers, and nothing else is asked of it.
pub(super) async fn live() -> Json<Value> {
    Json(json!({"alive": true}))
}

/// `GET /readyz`.
pub(super) async fn ready(State(system): State<System>) -> Response {
    let (status, document) = system.readiness.report(&system.proxy);
    (status, Json(document)).into_response()
}

/// `GET /api/v1/versions`, in the short shape of this port.
pub(super) async fn versions() -> Json<Value> {
    Json(versions::short())
}

/// `GET /metrics`: OpenMetrics text.
pub(super) async fn metrics(State(system): State<System>) -> Response {
    let kind = [(
        header::CONTENT_TYPE,
        "application/openmetrics-text; version=1.0.0; charset=utf-8",
    )];
    (kind, system.proxy.metrics().render()).into_response()
}
