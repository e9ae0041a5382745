//! The system API: registration for origins, the fleet and its sessions for operators, health for the platform.
//!
//! Described in `openapi.yaml` beside this file; a test holds the two together.

mod access;
mod asked;
mod audit;
mod bans;
mod cluster;
mod columns;
mod console;
mod drain;
mod duty;
mod fleet;
mod health;
mod hooks;
mod list;
mod lookup;
mod moves;
mod preview;
mod probe;
mod rebalance;
mod shown;
mod streams;
mod takeovers;
mod tap;
mod watch;

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit};
use axum::handler::Handler;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, delete, get, post};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use sluicegate_core::fleet::origin::AddressRules;
use sluicegate_core::http::base::BasePath;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tower_service::Service;

pub use access::Access;
use access::{Door, Surface};
pub use shown::Shown;

use crate::api::Problem;
use crate::config::Role;
use crate::fleet_api::FleetApi;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::net::entrance::{Ends, Visitor};
use crate::net::forwarded;
use crate::net::http::{Body, serve};
use crate::net::patience::Patience;
use crate::net::tls::lacking;
use crate::proxy::Proxy;
use crate::proxy::preview::PreviewCalls;
use crate::readiness::Readiness;
use crate::unix_time;
use crate::value::Network;

/// What the handlers share.
#[derive(Debug, Clone)]
pub struct System {
    proxy: Proxy,
    access: Arc<Access>,
    addresses: AddressRules,
    readiness: Arc<Readiness>,
    shown: Arc<Shown>,
    noted: Arc<watch::Noted>,
    streams: Arc<streams::KeptStreams>,
    tries: Arc<console::Tries>,
    begun: Begun,
    /// Whoever changes what is wanted of an origin holds it: of the last two, one stays.
    duties: Arc<tokio::sync::Mutex<()>>,
    /// One permit: only one request at a time goes through a whole table.
    looks: Arc<Semaphore>,
    taps: Arc<Semaphore>,
    previews: Arc<Semaphore>,
    /// Where pictures of streams come from.
    hub: Option<Hub>,
    /// The same for pictures by WebRTC.
    calls: Option<Arc<dyn PreviewCalls>>,
    /// Asks the origins.
    fleet: Option<Arc<FleetApi>>,
    /// Peers whose `X-Forwarded-Prefix` is believed.
    trusted_proxies: Arc<[Network]>,
    /// The folder under which browsers reach us, where no such peer names another.
    base_path: BasePath,
}

/// When the surface was made, by both clocks.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Instant,
    unix_millis: u64,
}

impl Begun {
    fn now() -> Self {
        Self {
            at: Instant::now(),
            unix_millis: unix_time::millis(),
        }
    }

    /// The same milliseconds since 1970 for one instant, however often that is asked and however the other clock is set.
    fn unix_millis(self, instant: Instant) -> u64 {
        let whole = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let since = whole(instant.saturating_duration_since(self.at));
        let before = whole(self.at.saturating_duration_since(instant));
        (self.unix_millis.saturating_add(since)).saturating_sub(before)
    }
}

/// A request that is answered: its method and path as `openapi.yaml` has them, whom it is for, and who answers.
struct Route {
    method: &'static str,
    path: &'static str,
    surface: Surface,
    /// The role that may use it with the fewest other rights.
    least: Role,
    handler: MethodRouter<System>,
}

/// The method and the path of every request that is answered, as `openapi.yaml` lists them.
pub fn routes() -> Vec<(&'static str, String)> {
    let documented = |route: &Route| (route.method, route.path.replace('*', ""));
    table().iter().map(documented).collect()
}

/// Every route there is: the router serves no other.
fn table() -> Vec<Route> {
    use Surface::{Callbacks, Console, Health, Management, Metrics, Registration, Work};
    vec![
        // Upstream never looked at the method of a registration, and some scripts use PUT.
        on_post("/api/v1/srs/register", Registration, fleet::register).or_put(fleet::register),
        on_post("/api/v1/hooks/srs", Callbacks, hooks::srs),
        on_get("/api/v1/origins", Management, fleet::origins),
        on_get("/api/v1/origins/{id}", Management, fleet::origin),
        on_delete("/api/v1/origins/{id}", Management, duty::deregister).by(Role::Admin),
        on_post("/api/v1/origins/{id}/drain", Management, duty::drain),
        on_post("/api/v1/origins/{id}/disable", Management, duty::disable),
        on_post("/api/v1/origins/{id}/undrain", Management, duty::undrain),
        on_post("/api/v1/origins/{id}/probe", Management, probe::probe),
        on_get("/api/v1/proxy", Management, drain::proxy),
        on_post("/api/v1/proxy/drain", Management, drain::drain_proxy),
        on_post("/api/v1/proxy/undrain", Management, drain::undrain_proxy),
        on_get("/api/v1/streams", Management, streams::streams),
        // The slashes of a stream may stand as they are.
        on_get("/api/v1/streams/{*stream}", Management, streams::stream),
        on_delete("/api/v1/streams/{*stream}", Management, fleet::end_stream),
        on_get("/api/v1/sessions", Management, list::sessions),
        on_get("/api/v1/sessions/ended", Management, list::ended),
        on_get("/api/v1/sessions/{id}", Management, fleet::session),
        on_delete("/api/v1/sessions/{id}", Management, fleet::kick),
        on_get("/api/v1/sessions/{id}/tap", Work, tap::tap),
        on_get("/api/v1/preview", Work, preview::preview),
        on_post("/api/v1/preview", Work, preview::preview_by_call),
        on_get("/api/v1/bans", Management, bans::list),
        on_post("/api/v1/bans", Management, bans::ban),
        on_delete("/api/v1/bans/{ban}", Management, bans::lift),
        on_get("/api/v1/moves", Management, moves::bound),
        on_post("/api/v1/moves", Management, moves::begin),
        on_post(takeovers::PATH, Management, takeovers::judge).by(Role::Admin),
        on_get("/api/v1/rebalance", Management, rebalance::plan),
        on_post("/api/v1/rebalance", Management, rebalance::begin),
        on_get("/api/v1/explain", Management, lookup::explain),
        on_get("/api/v1/resolve", Management, lookup::resolve),
        on_get("/api/v1/overview", Management, watch::overview),
        on_get("/api/v1/history", Management, watch::history),
        on_get("/api/v1/attention", Management, watch::attention),
        on_get("/api/v1/events", Management, list::events),
        on_get("/api/v1/feed", Management, watch::feed),
        on_get("/api/v1/settings", Management, shown::settings),
        on_get("/api/v1/links", Management, shown::links),
        on_get("/api/v1/said", Management, shown::said),
        on_get("/console", Console, console::without_slash),
        on_get("/console/", Console, console::index),
        on_get("/console/{file}", Console, console::file),
        on_get("/console/me", Console, console::me),
        on_post("/console/login", Console, console::login),
        on_post("/console/logout", Console, console::logout),
        on_get("/api/v1/versions", Health, health::versions),
        on_get("/livez", Health, health::live),
        on_get("/readyz", Health, health::ready),
        on_get("/metrics", Metrics, health::metrics),
    ]
}

fn on_delete<H: Handler<T, System>, T: 'static>(
    path: &'static str,
    surface: Surface,
    handler: H,
) -> Route {
    Route {
        method: "delete",
        path,
        surface,
        least: changing(surface),
        handler: delete(handler),
    }
}

fn on_get<H: Handler<T, System>, T: 'static>(
    path: &'static str,
    surface: Surface,
    handler: H,
) -> Route {
    Route {
        method: "get",
        path,
        surface,
        least: reading(surface),
        handler: get(handler),
    }
}

fn on_post<H: Handler<T, System>, T: 'static>(
    path: &'static str,
    surface: Surface,
    handler: H,
) -> Route {
    Route {
        method: "post",
        path,
        surface,
        least: changing(surface),
        handler: post(handler),
    }
}

/// Who may usually read what is on a surface.
const fn reading(surface: Surface) -> Role {
    match surface {
        Surface::Callbacks | Surface::Registration => Role::Origin,
        Surface::Console | Surface::Health | Surface::Management | Surface::Metrics => Role::Viewer,
        Surface::Work => Role::Operator,
    }
}

/// Who may usually change something there.
const fn changing(surface: Surface) -> Role {
    match surface {
        Surface::Management => Role::Operator,
        other => reading(other),
    }
}

impl Route {
    /// Names the role that may use it, where that is not the usual one for what it does.
    fn by(mut self, least: Role) -> Self {
        self.least = least;
        self
    }

    fn or_put<H: Handler<T, System>, T: 'static>(mut self, handler: H) -> Self {
        self.handler = self.handler.put(handler);
        self
    }
}

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
            shown: Arc::default(),
            noted: Arc::default(),
            streams: Arc::default(),
            tries: Arc::default(),
            begun: Begun::now(),
            duties: Arc::default(),
            looks: Arc::new(Semaphore::new(1)),
            taps: Arc::new(Semaphore::new(tap::MOST_TAPS)),
            previews: Arc::new(Semaphore::new(preview::MOST_LOOKS)),
            hub: None,
            calls: None,
            fleet: None,
            trusted_proxies: Arc::default(),
            base_path: BasePath::default(),
        }
    }

    /// The same, which shows operators pictures of streams from `hub`, and by calls that `calls` makes.
    #[must_use]
    pub fn picturing(mut self, hub: Hub, calls: Arc<dyn PreviewCalls>) -> Self {
        (self.hub, self.calls) = (Some(hub), Some(calls));
        self
    }

    /// The same, which asks origins through `fleet`.
    #[must_use]
    pub fn asking(mut self, fleet: Arc<FleetApi>) -> Self {
        self.fleet = Some(fleet);
        self
    }

    /// The same, which browsers reach under `base_path`, or where one of the `trusted_proxies` says.
    #[must_use]
    pub fn under(mut self, trusted_proxies: Arc<[Network]>, base_path: BasePath) -> Self {
        (self.trusted_proxies, self.base_path) = (trusted_proxies, base_path);
        self
    }

    /// Looks at whole tables, [`beside`] all else. One looks at a time, so that all who do take one core at most.
    async fn looked<T: Send + 'static>(&self, look: impl FnOnce(&Self) -> T + Send + 'static) -> T {
        let _turn = self.looks.acquire().await;
        let system = self.clone();
        beside(move || look(&system)).await
    }

    /// The folder under which the sender of a request reaches us.
    fn base(&self, ends: Ends, headers: &HeaderMap) -> BasePath {
        forwarded::base_of(&self.trusted_proxies, ends, headers, &self.base_path)
    }

    /// The folder of a web server under which the sender of a request reaches us, as a whole URL without a slash at its end;
    /// `None` if there is none. `host` is what the request calls it. Where it names the port at which we were reached, and no
    /// web server says otherwise, the sender came without one: a folder that is only set is not there.
    fn front(&self, ends: Ends, headers: &HeaderMap, host: &str) -> Option<String> {
        let (scheme, usual_port) = match forwarded::is_secure(&self.trusted_proxies, ends, headers)
        {
            true => ("https", 443),
            false => ("http", 80),
        };
        let port = host
            .parse()
            .ok()
            .and_then(|host: Authority| host.port_u16());
        let usual = match port.unwrap_or(usual_port) == ends.local.port() {
            true => &BasePath::default(),
            false => &self.base_path,
        };
        let base = forwarded::base_of(&self.trusted_proxies, ends, headers, usual);
        if base.as_str().is_empty() {
            return None;
        }
        Some(format!("{scheme}://{host}{base}"))
    }

    /// The same, which tells people what the process was started with.
    #[must_use]
    pub fn showing(mut self, shown: Shown) -> Self {
        self.shown = Arc::new(shown);
        self
    }

    /// Every route, behind the door of its surface.
    pub fn router(&self) -> Router {
        let open = |router: Router<Self>, route: Route| {
            let door = Door {
                system: self.clone(),
                surface: route.surface,
                least: route.least,
            };
            let handler = route
                .handler
                .route_layer(from_fn_with_state(door, access::door));
            router.route(route.path, handler)
        };
        table()
            .into_iter()
            .fold(Router::new(), open)
            .fallback(nothing_here)
            .method_not_allowed_fallback(other_method)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone())
    }
}

/// A surface with `/metrics` and nothing else, for a port of its own.
pub fn metrics_router(metrics: Arc<Metrics>) -> Router {
    let render = async move |headers: HeaderMap| {
        let metrics = Arc::clone(&metrics);
        beside(move || health::exposition(&metrics, &headers)).await
    };
    Router::new().route("/metrics", get(render))
}

/// Does what takes long on a thread of its own: the one that requests are answered on accepts connections, too.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(spawn_blocking(work)).await
}

/// Runs `work` to completion, even if the client that asked for it has disconnected by then.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    joined(tokio::spawn(work)).await
}

async fn joined<T>(task: JoinHandle<T>) -> T {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(done) => done,
        Err(Ok(panic)) => resume_unwind(panic),
        // The process ends, and nobody is answered any more.
        Err(Err(_)) => pending().await,
    }
}

/// Serves one connection of the system API.
pub async fn connection<W>(
    visitor: Visitor<W>,
    router: Router,
    base_path: BasePath,
    patience: Patience,
    stop: CancellationToken,
) where
    W: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Visitor {
        wire, early, ends, ..
    } = visitor;
    serve(wire, early, ends, patience, stop, |request| {
        answer(router.clone(), ends, &base_path, request)
    })
    .await;
}

async fn answer(
    mut router: Router,
    ends: Ends,
    base_path: &BasePath,
    mut request: Request<Incoming>,
) -> Response<Body> {
    if let Some(refusal) = lacking(&request, ends, base_path) {
        return refusal;
    }
    request.extensions_mut().insert(ConnectInfo(ends));
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
        "nothing is here; the console is at /console/, and the API begins with /api/v1/",
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
        axum::Json(Problem {
            code: status.as_u16(),
            error: words.to_owned(),
            ..Problem::default()
        }),
    )
        .into_response()
}

/// A heartbeat with every summary is a few kilobytes.
const MAX_BODY: usize = 64 * 1024;
/// How long a caller may take for the head of a request, and a proxy in front of us for its header.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
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

    /// What operators may besides what viewers may, and what only administrators may.
    const CHANGES: [(Role, &str, &str); 19] = [
        (Role::Admin, "delete", "/api/v1/origins/{id}"),
        (Role::Operator, "post", "/api/v1/origins/{id}/drain"),
        (Role::Operator, "post", "/api/v1/origins/{id}/disable"),
        (Role::Operator, "post", "/api/v1/origins/{id}/undrain"),
        (Role::Operator, "post", "/api/v1/origins/{id}/probe"),
        (Role::Operator, "post", "/api/v1/proxy/drain"),
        (Role::Operator, "post", "/api/v1/proxy/undrain"),
        (Role::Operator, "delete", "/api/v1/streams/{*stream}"),
        (Role::Operator, "delete", "/api/v1/sessions/{id}"),
        (Role::Operator, "get", "/api/v1/sessions/{id}/tap"),
        (Role::Operator, "get", "/api/v1/preview"),
        (Role::Operator, "post", "/api/v1/preview"),
        (Role::Operator, "post", "/api/v1/bans"),
        (Role::Operator, "delete", "/api/v1/bans/{ban}"),
        (Role::Operator, "post", "/api/v1/moves"),
        (Role::Admin, "post", "/api/v1/takeovers"),
        (Role::Operator, "post", "/api/v1/rebalance"),
        (Role::Origin, "post", "/api/v1/srs/register"),
        (Role::Origin, "post", "/api/v1/hooks/srs"),
    ];

    #[test]
    fn every_route_is_for_the_role_that_it_is_meant_for() {
        let open = |route: &Route| {
            matches!(
                route.surface,
                Surface::Console | Surface::Health | Surface::Metrics
            )
        };
        let mut left = CHANGES.to_vec();
        for route in table().iter().filter(|route| !open(route)) {
            let named =
                |change: &(Role, &str, &str)| (change.1, change.2) == (route.method, route.path);
            let expected = match left.iter().position(named) {
                Some(at) => left.remove(at).0,
                None => {
                    assert_eq!(route.method, "get", "{}: what else changes", route.path);
                    Role::Viewer
                }
            };
            assert_eq!(route.least, expected, "{} {}", route.method, route.path);
        }
        assert!(left.is_empty(), "no such route: {left:?}");
    }

    #[test]
    fn the_document_lists_every_route_and_no_other() {
        let mut documented = documented();
        let mut routes: Vec<(String, String)> = routes()
            .into_iter()
            .map(|(method, path)| (method.to_owned(), path))
            .collect();
        documented.sort();
        routes.sort();
        assert_eq!(documented, routes);
    }
}
