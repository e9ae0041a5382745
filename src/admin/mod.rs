//! The system API: registration for origins, the fleet and its sessions for operators, health for the platform.
//!
//! Described in `openapi.yaml` beside this file; a test holds the two together.

mod access;
mod cluster;
mod drain;
mod fleet;
mod health;
mod hooks;
mod lookup;
mod tap;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use serde_json::json;
use sluicegate_core::fleet::origin::AddressRules;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

pub use access::{Access, PeerAccess};

use crate::metrics::Metrics;
use crate::net::http::{Body, serve};
use crate::proxy::Proxy;
use crate::readiness::Readiness;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct System {
    proxy: Proxy,
    access: Arc<Access>,
    addresses: AddressRules,
    readiness: Arc<Readiness>,
}

/// Every route, as `openapi.yaml` lists them.
pub const ROUTES: [(&str, &str); 22] = [
    ("post", "/api/v1/srs/register"),
    ("post", "/api/v1/hooks/srs"),
    ("get", "/api/v1/origins"),
    ("delete", "/api/v1/origins/{id}"),
    ("post", "/api/v1/origins/{id}/drain"),
    ("post", "/api/v1/origins/{id}/disable"),
    ("post", "/api/v1/origins/{id}/undrain"),
    ("get", "/api/v1/proxy"),
    ("post", "/api/v1/proxy/drain"),
    ("post", "/api/v1/proxy/undrain"),
    ("get", "/api/v1/streams"),
    ("delete", "/api/v1/streams/{stream}"),
    ("get", "/api/v1/sessions"),
    ("get", "/api/v1/sessions/{id}"),
    ("delete", "/api/v1/sessions/{id}"),
    ("get", "/api/v1/sessions/{id}/tap"),
    ("get", "/api/v1/explain"),
    ("get", "/api/v1/resolve"),
    ("get", "/api/v1/versions"),
    ("get", "/livez"),
    ("get", "/readyz"),
    ("get", "/metrics"),
];

impl System {
    /// The surface over `proxy`.
    pub fn new(
        proxy: Proxy,
        access: Access,
        addresses: AddressRules,
        readiness: Arc<Readiness>,
    ) -> Self {
        Self {
            proxy,
            access: Arc::new(access),
            addresses,
            readiness,
        }
    }

    /// Every route with its handler and its guard.
    pub fn router(&self) -> Router {
        // Upstream never looked at the method of a registration, and some scripts use PUT.
        let register = post(fleet::register).put(fleet::register);
        let guarded = Router::new()
            .route("/api/v1/origins", get(fleet::origins))
            .route("/api/v1/origins/{id}", delete(fleet::deregister))
            .route("/api/v1/origins/{id}/drain", post(drain::drain_origin))
            .route("/api/v1/origins/{id}/disable", post(drain::disable_origin))
            .route("/api/v1/origins/{id}/undrain", post(drain::undrain_origin))
            .route("/api/v1/proxy", get(drain::proxy))
            .route("/api/v1/proxy/drain", post(drain::drain_proxy))
            .route("/api/v1/proxy/undrain", post(drain::undrain_proxy))
            .route("/api/v1/explain", get(lookup::explain))
            .route("/api/v1/resolve", get(lookup::resolve))
            .route("/api/v1/streams", get(fleet::streams))
            .route("/api/v1/streams/{*stream}", delete(fleet::end_stream))
            .route("/api/v1/sessions", get(fleet::sessions))
            .route(
                "/api/v1/sessions/{id}",
                get(fleet::session).delete(fleet::kick),
            )
            .route("/api/v1/sessions/{id}/tap", get(tap::tap))
            .route_layer(from_fn_with_state(self.clone(), access::guard));
        Router::new()
            .route("/api/v1/srs/register", register)
            .route("/api/v1/hooks/srs", post(hooks::srs))
            .route("/api/v1/versions", get(health::versions))
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .route("/metrics", get(health::metrics))
            .merge(guarded)
            .fallback(nothing_here)
            .method_not_allowed_fallback(other_method)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone())
    }
}

/// A surface with `/metrics` and nothing else, for a port of its own.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    let render = async move |headers: HeaderMap| health::exposition(&metrics, &headers);
    Router::new().route("/metrics", get(render))
}

/// Serves one connection of the system API.
pub async fn connection<S>(stream: S, peer: SocketAddr, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve(stream, HEAD_TIMEOUT, stop, |request| {
        answer(router.clone(), peer, request)
    })
    .await;
}

async fn answer(
    mut router: Router,
    peer: SocketAddr,
    mut request: Request<Incoming>,
) -> Response<Body> {
    request.extensions_mut().insert(ConnectInfo(peer));
    // Only a body that drips takes time.
    let response = match timeout(BODY_TIMEOUT, router.call(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => problem(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

async fn nothing_here() -> axum::response::Response {
    problem(
        StatusCode::NOT_FOUND,
        "nothing is here; openapi.yaml lists what is",
    )
}

async fn other_method() -> axum::response::Response {
    problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has other methods",
    )
}

/// What was wrong, in words: the `Error` of `openapi.yaml`.
fn problem(status: StatusCode, words: &str) -> axum::response::Response {
    (
        status,
        axum::Json(json!({"code": status.as_u16(), "error": words})),
    )
        .into_response()
}

/// A heartbeat with every summary is a few kilobytes.
const MAX_BODY: usize = 64 * 1024;
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths and methods of the document, read by indentation: two spaces for a path, four for a method.
    fn documented() -> Vec<(String, String)> {
        let mut path = String::new();
        let mut found = Vec::new();
        for line in include_str!("openapi.yaml").lines() {
            if let Some(rest) = line.strip_prefix("  /") {
                path = format!("/{}", rest.trim_end_matches(':'));
            } else if let Some(method) = line
                .strip_prefix("    ")
                .and_then(|line| line.strip_suffix(':'))
                && matches!(method, "get" | "post" | "put" | "delete" | "patch")
                && !path.is_empty()
            {
                found.push((method.to_owned(), path.clone()));
            }
        }
        found
    }

    #[test]
    fn the_document_lists_every_route_and_no_other() {
        let mut documented = documented();
        let mut routes: Vec<(String, String)> = ROUTES
            .iter()
            .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
    }
}
