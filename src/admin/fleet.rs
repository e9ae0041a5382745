//! Registration, and the tables: origins, streams, sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use sluicegate_core::drain::Duty;
use sluicegate_core::fleet::Member;
use sluicegate_core::origin::{OriginId, parse_registration};
use sluicegate_core::stream::Service;
use tracing::warn;

use super::drain::drain_document;
use super::{System, problem};
use crate::net::versions::SERVER;
use crate::session::{Direction, EndReason, Row};

/// `POST /api/v1/srs/register`: what SRS sends every heartbeat.
pub(super) async fn register(
    State(system): State<System>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Some(refused) = system.access.refuse_registration(peer.ip(), &headers) {
        warn!(%peer, status = refused.status().as_u16(), "registration refused");
        system.count_refusal("register");
        return refused;
    }
    let body = match body {
        Ok(body) => body,
        Err(unread) => {
            warn!(%peer, status = unread.status().as_u16(), "registration refused");
            return problem(unread.status(), &unread.body_text());
        }
    };
    let origin = match parse_registration(&body, &system.addresses) {
        Ok(origin) => origin,
        Err(error) => {
            warn!(%peer, field = error.field, problem = error.problem, "registration refused");
            let words = format!("{}: {}", error.field, error.problem);
            let document = json!({"code": 400, "field": error.field, "error": words});
            return (StatusCode::BAD_REQUEST, Json(document)).into_response();
        }
    };
    match system.proxy.registry().register(origin) {
        Ok(_) => {
            let document = json!({"code": 0, "pid": std::process::id().to_string()});
            ([(header::SERVER, SERVER)], Json(document)).into_response()
        }
        Err(full) => {
            warn!(%peer, error = %full, "registration refused");
            problem(StatusCode::SERVICE_UNAVAILABLE, &full.to_string())
        }
    }
}

/// `GET /api/v1/origins`.
pub(super) async fn origins(State(system): State<System>) -> Json<Value> {
    let rows = system.proxy.sessions().list();
    let origins: Vec<Value> = system
        .proxy
        .registry()
        .origins()
        .iter()
        .map(|(id, member)| {
            let sessions = rows
                .iter()
                .filter(|row| row.placed().origin.as_ref() == Some(id))
                .count();
            origin_document(&system, id, member, sessions)
        })
        .collect();
    data(json!({"total": origins.len(), "origins": origins}))
}

/// `DELETE /api/v1/origins/{id}`.
pub(super) async fn deregister(State(system): State<System>, Path(id): Path<String>) -> Response {
    if system.proxy.registry().deregister(&OriginId::from(id)) {
        Json(json!({"code": 0})).into_response()
    } else {
        problem(StatusCode::NOT_FOUND, NO_ORIGIN)
    }
}

/// `GET /api/v1/streams`.
pub(super) async fn streams(State(system): State<System>) -> Json<Value> {
    let rows = system.proxy.registry().placements();
    let streams: Vec<Value> = rows
        .into_iter()
        .map(|row| {
            json!({
                "stream": row.key,
                "origin": row.origin,
                "publishers": row.publishers,
                "players": row.sessions - row.publishers,
            })
        })
        .collect();
    data(json!({"total": streams.len(), "streams": streams}))
}

/// `GET /api/v1/sessions`.
pub(super) async fn sessions(State(system): State<System>) -> Json<Value> {
    let sessions: Vec<Value> = system
        .proxy
        .sessions()
        .list()
        .iter()
        .map(|row| session_document(row))
        .collect();
    data(json!({"total": sessions.len(), "sessions": sessions}))
}

/// `GET /api/v1/sessions/{id}`.
pub(super) async fn session(State(system): State<System>, Path(id): Path<String>) -> Response {
    match find(&system, &id) {
        Some(row) => data(session_document(&row)).into_response(),
        None => problem(StatusCode::NOT_FOUND, NO_SESSION),
    }
}

/// `DELETE /api/v1/sessions/{id}`: ends it now.
pub(super) async fn kick(State(system): State<System>, Path(id): Path<String>) -> Response {
    match find(&system, &id) {
        Some(row) => {
            row.end(EndReason::Kicked);
            Json(json!({"code": 0})).into_response()
        }
        None => problem(StatusCode::NOT_FOUND, NO_SESSION),
    }
}

pub(super) fn find(system: &System, id: &str) -> Option<Arc<Row>> {
    system.proxy.sessions().row(id.parse().ok()?)
}

fn origin_document(system: &System, id: &OriginId, member: &Member, sessions: usize) -> Value {
    let now = Instant::now();
    let drain = match member.duty {
        Duty::Draining(drain) => {
            let left = system.proxy.registry().left(id);
            Some(drain_document(&drain, left, system.proxy.drain_pace()))
        }
        Duty::Active | Duty::Disabled => None,
    };
    let notes: Vec<Value> = member
        .health
        .notes()
        .rev()
        .map(|note| {
            let ago = now.saturating_duration_since(note.at).as_secs_f64();
            json!({"seconds_ago": ago, "what": note.what})
        })
        .collect();
    let attributes = &member.origin.attributes;
    let endpoints = |service: Service| -> Vec<String> {
        member
            .origin
            .endpoints
            .of(service)
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    json!({
        "id": id.as_str(),
        "device_id": member.origin.device_id,
        "ip": member.origin.ip.to_string(),
        "server": member.origin.server,
        "service": member.origin.service,
        "pid": member.origin.pid,
        "state": member.state(now).as_str(),
        "alive": member.state(now) == sluicegate_core::fleet::State::Up,
        "duty": member.duty.as_str(),
        "drain": drain,
        "failures": member.health.failures(),
        "notes": notes,
        "heartbeats_missed": member.missed(now),
        "last_seen_seconds": member.age(now).as_secs_f64(),
        "heartbeat_seconds": member.interval.map(|interval| interval.as_secs_f64()),
        "up_seconds": now.saturating_duration_since(member.first_seen).as_secs_f64(),
        "permanent": member.permanent,
        "source": member.source.as_deref(),
        "weight": attributes.weight,
        "zone": attributes.zone,
        "labels": attributes.labels,
        "max_streams": attributes.max_streams,
        "max_sessions": attributes.max_sessions,
        "max_mbps": attributes.max_mbps,
        "cpu_percent": member.load.cpu.map(|cpu| f64::from(cpu) / 10.0),
        "memory_percent": member.load.memory.map(|memory| f64::from(memory) / 10.0),
        "connections": member.load.connections,
        "kbps": member.load.kbps,
        "sessions": sessions,
        "rtmp": endpoints(Service::Rtmp),
        "http": endpoints(Service::Http),
        "api": endpoints(Service::Api),
        "srt": endpoints(Service::Srt),
        "rtc": endpoints(Service::Rtc),
        "rtsp": endpoints(Service::Rtsp),
    })
}

fn session_document(row: &Row) -> Value {
    let placed = row.placed();
    let failed: Vec<Value> = placed
        .failed
        .iter()
        .map(|(origin, why)| json!({"origin": origin.as_str(), "why": why}))
        .collect();
    json!({
        "id": row.id,
        "protocol": row.request.protocol.as_str(),
        "action": row.request.action.as_str(),
        "stream": row.request.stream.to_string(),
        "client": row.request.client.to_string(),
        "peer": row.request.peer.to_string(),
        "origin": placed.origin.as_ref().map(OriginId::as_str),
        "why": placed.why,
        "failed": failed,
        "state": row.state().as_str(),
        "started_at": Timestamp::try_from(row.started_at).map(|at| at.to_string()).ok(),
        "age_seconds": row.age().as_secs_f64(),
        "first_media_seconds": row.first_media().map(|after| after.as_secs_f64()),
        "bytes_to_client": row.bytes(Direction::ToClient),
        "bytes_to_origin": row.bytes(Direction::ToOrigin),
    })
}

pub(super) fn data(data: Value) -> Json<Value> {
    Json(json!({"code": 0, "data": data}))
}

pub(super) const NO_ORIGIN: &str = "no origin stands under that id; GET /api/v1/origins lists them";
pub(super) const NO_SESSION: &str = "no session has that id; it may have ended";
