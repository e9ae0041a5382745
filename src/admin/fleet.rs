//! Registration, and the tables: origins, streams, sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hyper::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use sluicegate_core::fleet::Member;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::fleet::origin::{OriginId, parse_registration};
use sluicegate_core::http::caller::Caller;
use sluicegate_core::stream::Service;
use tracing::warn;

use super::access::Surface;
use super::cluster::{Asked, Scope, add_drain, marked, number, passed};
use super::drain::drain_document;
use super::{System, problem};
use crate::net::fetch::escaped;
use crate::net::versions::SERVER;
use crate::sessions::{Direction, EndReason, Row};

/// `POST /api/v1/srs/register`: what SRS sends every heartbeat.
pub(super) async fn register(
    State(system): State<System>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Some(refused) = system.access.refuse_registration(&caller, &headers) {
        warn!(%peer, status = refused.status().as_u16(), "registration refused");
        system.count_refusal(Surface::Registration);
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
pub(super) async fn origins(
    State(system): State<System>,
    Query(asked): Query<Asked>,
) -> Json<Value> {
    let rows = system.proxy.sessions().list();
    let mut origins: Vec<Value> = system
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
    let missing = add_origins(&system, asked.scope, &mut origins).await;
    let document = json!({"total": origins.len(), "origins": origins});
    data(marked(document, asked.scope, &missing))
}

/// Adds what the other proxies have on each origin; says who did not answer.
pub(super) async fn add_origins(
    system: &System,
    scope: Scope,
    ours: &mut [Value],
) -> Vec<(String, String)> {
    let mut said = system.ask_all(scope, Method::GET, "/api/v1/origins").await;
    for (_, row) in said.take_rows("origins") {
        let Some(own) = ours.iter_mut().find(|own| own["id"] == row["id"]) else {
            continue;
        };
        let sessions = number(&row["sessions"]);
        if own["sessions"].is_number() {
            own["sessions"] = json!(number(&own["sessions"]) + sessions);
        }
        if !own["drain"].is_object() {
            continue;
        }
        match &row["drain"] {
            Value::Null if sessions > 0 => own["drain"]["done"] = json!(false),
            Value::Null => {}
            theirs => add_drain(&mut own["drain"], theirs),
        }
    }
    for own in ours.iter_mut().filter(|own| own["drain"].is_object()) {
        if !said.missing.is_empty() {
            own["drain"]["done"] = json!(false);
        }
    }
    said.missing
}

/// `DELETE /api/v1/origins/{id}`.
pub(super) async fn deregister(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let id = OriginId::from(id);
    let registry = system.proxy.registry();
    if registry.member(&id).is_none() {
        return problem(StatusCode::NOT_FOUND, NO_ORIGIN);
    }
    match system.proxy.cluster() {
        Some(cluster) if asked.scope == Scope::Cluster => {
            let mut rows = [json!({"id": id.as_str(), "sessions": registry.left(&id).total()})];
            let missing = add_origins(&system, asked.scope, &mut rows).await;
            // Whoever says nothing may have some.
            let used = number(&rows[0]["sessions"]) > 0 || !missing.is_empty();
            cluster.tell_deregistered(&id, used).await;
        }
        _ => drop(registry.deregister(&id)),
    }
    Json(json!({"code": 0})).into_response()
}

/// `GET /api/v1/streams`.
pub(super) async fn streams(
    State(system): State<System>,
    Query(asked): Query<Asked>,
) -> Json<Value> {
    let mut streams: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut add = |proxy: Option<&str>, row: &Value| {
        let key = ["stream", "origin"].map(|name| row[name].as_str().unwrap_or_default());
        let entry = streams.entry((key[0].to_owned(), key[1].to_owned()));
        let sum = entry.or_insert_with(
            || json!({"stream": key[0], "origin": key[1], "publishers": 0, "players": 0, "proxies": []}),
        );
        for count in ["publishers", "players"] {
            sum[count] = json!(number(&sum[count]) + number(&row[count]));
        }
        if let (Some(proxy), Some(proxies)) = (proxy, sum["proxies"].as_array_mut()) {
            proxies.push(json!(proxy));
        }
    };
    for row in system.proxy.registry().placements() {
        let row = json!({
            "stream": row.key,
            "origin": row.origin,
            "publishers": row.publishers,
            "players": row.sessions - row.publishers,
        });
        add(system.own_id(), &row);
    }
    let path = "/api/v1/streams";
    let mut said = system.ask_all(asked.scope, Method::GET, path).await;
    for (proxy, row) in said.take_rows("streams") {
        add(Some(&proxy), &row);
    }
    let streams: Vec<Value> = streams.into_values().collect();
    let document = json!({"total": streams.len(), "streams": streams});
    data(marked(document, asked.scope, &said.missing))
}

/// `DELETE /api/v1/streams/{stream}`: ends every session of it.
pub(super) async fn end_stream(
    State(system): State<System>,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let stream = match super::lookup::stream(&name) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let key = system.proxy.key(&stream);
    let rows = system.proxy.sessions().list();
    let of_it = rows
        .iter()
        .filter(|row| !row.has_ended() && system.proxy.key(&row.request.stream) == key);
    let mut ended = of_it.inspect(|row| row.end(EndReason::Kicked)).count() as u64;
    let path = format!("/api/v1/streams/{}", escaped(&stream.to_string()));
    let said = system.ask_all(asked.scope, Method::DELETE, &path).await;
    let mut missing = said.missing;
    for (proxy, status, document) in said.answers {
        match status {
            StatusCode::OK => ended += number(&document["data"]["ended"]),
            StatusCode::NOT_FOUND => {}
            status => missing.push((proxy, format!("it answered {status}"))),
        }
    }
    if ended == 0 && missing.is_empty() {
        return problem(
            StatusCode::NOT_FOUND,
            "nobody publishes or plays that stream",
        );
    }
    data(marked(json!({"ended": ended}), asked.scope, &missing)).into_response()
}

/// `GET /api/v1/sessions`.
pub(super) async fn sessions(
    State(system): State<System>,
    Query(asked): Query<Asked>,
) -> Json<Value> {
    let rows = system.proxy.sessions().list();
    let mut sessions: Vec<Value> = rows
        .iter()
        .map(|row| session_document(&system, row))
        .collect();
    let path = "/api/v1/sessions";
    let mut said = system.ask_all(asked.scope, Method::GET, path).await;
    let theirs = said.take_rows("sessions").into_iter();
    sessions.extend(theirs.map(|(proxy, mut row)| {
        row["proxy"] = json!(proxy);
        row
    }));
    let document = json!({"total": sessions.len(), "sessions": sessions});
    data(marked(document, asked.scope, &said.missing))
}

/// `GET /api/v1/sessions/{id}`.
pub(super) async fn session(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    match find(&system, &id) {
        Some(row) => data(session_document(&system, &row)).into_response(),
        None => elsewhere(&system, asked.scope, &id, Method::GET).await,
    }
}

/// `DELETE /api/v1/sessions/{id}`: ends it now.
pub(super) async fn kick(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    match find(&system, &id) {
        Some(row) => {
            row.end(EndReason::Kicked);
            Json(json!({"code": 0})).into_response()
        }
        None => elsewhere(&system, asked.scope, &id, Method::DELETE).await,
    }
}

/// A session of this proxy, by its number, or by our name and its number.
pub(super) fn find(system: &System, id: &str) -> Option<Arc<Row>> {
    let number = match id.split_once(':') {
        Some((proxy, number)) => Some(number).filter(|_| system.own_id() == Some(proxy))?,
        None => id,
    };
    system.proxy.sessions().row(number.parse().ok()?)
}

/// What another proxy says to a request for a session that is not here: the one that the id names, or the only one that
/// has such a number.
async fn elsewhere(system: &System, scope: Scope, id: &str, method: Method) -> Response {
    let absent = || problem(StatusCode::NOT_FOUND, NO_SESSION);
    let (proxy, number) = match id.split_once(':') {
        Some((proxy, number)) => (Some(proxy), number),
        None => (None, id),
    };
    if number.parse::<u64>().is_err() {
        return absent();
    }
    let path = format!("/api/v1/sessions/{number}");
    let peers = system.peers(scope);
    let owner = match proxy {
        Some(proxy) => proxy.to_owned(),
        None => {
            let said = system.ask_all(scope, Method::GET, &path).await;
            let has = |(proxy, status, _): (String, StatusCode, Value)| {
                (status == StatusCode::OK).then_some(proxy)
            };
            let owners: Vec<String> = said.answers.into_iter().filter_map(has).collect();
            match owners.as_slice() {
                [] => {
                    return match said.missing.first() {
                        Some((proxy, why)) => problem(
                            StatusCode::NOT_FOUND,
                            &format!(
                                "no session has that id, as far as is known: proxy {proxy} did not say ({why})"
                            ),
                        ),
                        None => absent(),
                    };
                }
                [owner] => owner.clone(),
                owners => {
                    let ids: Vec<String> = owners
                        .iter()
                        .map(|owner| format!("{owner}:{number}"))
                        .collect();
                    let words = format!(
                        "several proxies have a session of that number: {}",
                        ids.join(", ")
                    );
                    return problem(StatusCode::CONFLICT, &words);
                }
            }
        }
    };
    match peers.iter().find(|peer| peer.id == owner) {
        Some(peer) => passed(system.ask(peer, method, &path).await, &owner),
        None => absent(),
    }
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

fn session_document(system: &System, row: &Row) -> Value {
    let placed = row.placed();
    let failed: Vec<Value> = placed
        .failed
        .iter()
        .map(|(origin, why)| json!({"origin": origin.as_str(), "why": why}))
        .collect();
    json!({
        "id": row.id,
        "proxy": system.own_id(),
        "protocol": row.request.protocol.as_str(),
        "action": row.request.action.as_str(),
        "stream": row.request.stream.to_string(),
        "client": row.request.client.to_string(),
        "peer": row.request.peer().to_string(),
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
