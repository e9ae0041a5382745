//! Draining: how far it has come, and this proxy itself.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::Method;
use serde::Deserialize;
use sluicegate_core::cluster::peers::PeerRecord;
use sluicegate_core::fleet::drain::{Drain, Left};

use super::asked::Query;
use super::cluster::passed;
use super::{System, problem};
use crate::api::{self, Scope};
use crate::config::parse_duration;
use crate::origin::fetch::escaped;
use crate::value::ValueError;

/// The query of a drain of a proxy.
#[derive(Debug, Deserialize)]
pub(super) struct TimeLimit {
    deadline: Option<String>,
}

/// How long sessions may finish; `None` as long as they like.
pub(super) fn time_limit(deadline: Option<&str>) -> Result<Option<Duration>, ValueError> {
    deadline.map(parse_duration).transpose()
}

/// The query of a request about a proxy.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Which {
    /// Another proxy of the cluster; else the one that is asked.
    proxy: Option<String>,
}

/// `GET /api/v1/proxy`.
pub(super) async fn proxy(State(system): State<System>, Query(which): Query<Which>) -> Response {
    if let Some(other) = another(&system, which, Method::GET, "/api/v1/proxy").await {
        return other;
    }
    super::fleet::data(proxy_document(&system)).into_response()
}

/// `POST /api/v1/proxy/drain`.
pub(super) async fn drain_proxy(
    State(system): State<System>,
    Query(asked): Query<TimeLimit>,
    Query(which): Query<Which>,
) -> Response {
    let Ok(deadline) = time_limit(asked.deadline.as_deref()) else {
        return not_a_duration();
    };
    let mut path = "/api/v1/proxy/drain".to_owned();
    if let Some(deadline) = &asked.deadline {
        path.push_str(&format!("?deadline={}", escaped(deadline)));
    }
    if let Some(other) = another(&system, which, Method::POST, &path).await {
        return other;
    }
    system.proxy.drain(deadline);
    super::fleet::data(proxy_document(&system)).into_response()
}

/// `POST /api/v1/proxy/undrain`.
pub(super) async fn undrain_proxy(
    State(system): State<System>,
    Query(which): Query<Which>,
) -> Response {
    let path = "/api/v1/proxy/undrain";
    if let Some(other) = another(&system, which, Method::POST, path).await {
        return other;
    }
    system.proxy.undrain();
    super::fleet::data(proxy_document(&system)).into_response()
}

/// The answer of the proxy that is meant, by what it is called or by the address of its system API; `None` if it is this
/// one.
async fn another(system: &System, which: Which, method: Method, path: &str) -> Option<Response> {
    let name = which.proxy?;
    let own = system.proxy.cluster();
    let is_named = |id: &str, record: &PeerRecord| {
        id == name
            || record
                .system
                .as_ref()
                .is_some_and(|at| at.to_string() == name)
    };
    if own.is_some_and(|own| is_named(own.id(), own.record())) {
        return None;
    }
    let peers = system.peers(Scope::Cluster);
    let Some(peer) = peers.iter().find(|peer| is_named(&peer.id, &peer.record)) else {
        return Some(problem(StatusCode::NOT_FOUND, NO_PROXY));
    };
    Some(passed(system.ask(peer, method, path).await, &peer.id))
}

pub(super) fn not_a_duration() -> Response {
    problem(
        StatusCode::BAD_REQUEST,
        "deadline: not a duration, such as 10m, 90s or 0s",
    )
}

/// How far a drain has come.
pub(super) fn drain_document(drain: &Drain, left: Left, pace: Duration) -> api::Drain {
    let now = Instant::now();
    let deadline = drain
        .deadline
        .map(|deadline| deadline.saturating_duration_since(now).as_secs_f64());
    api::Drain {
        cause: drain.cause.as_str().to_owned(),
        since_seconds: now.saturating_duration_since(drain.since).as_secs_f64(),
        deadline_seconds: deadline,
        publishers: left.publishers as u64,
        players: left.players as u64,
        done: left.total() == 0,
        eta_seconds: drain.eta(now, left, pace).map(|eta| eta.as_secs_f64()),
    }
}

fn proxy_document(system: &System) -> api::Proxy {
    let left = system.proxy.left();
    let drain = system
        .proxy
        .drain_in_progress()
        .map(|drain| drain_document(&drain, left, system.proxy.drain_pace()));
    let peers = system
        .peers(Scope::Cluster)
        .into_iter()
        .map(|peer| api::Peer {
            id: peer.id,
            system: peer.record.system.map(|system| system.to_string()),
            started: peer.record.started,
            version: peer.record.version,
            reads: peer.build.reads,
        })
        .collect();
    api::Proxy {
        id: system.own_id().map(str::to_owned),
        peers,
        started: Some(system.noted.started_at()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        draining: system.proxy.is_draining(),
        drain,
        publishers: left.publishers as u64,
        players: left.players as u64,
        certificates: system.readiness.certificates(),
    }
}

const NO_PROXY: &str = "no proxy of this cluster has that name; GET /api/v1/proxy lists them";
