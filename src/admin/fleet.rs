//! Registration, and the tables: origins, streams, sessions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use hyper::Method;
use jiff::Timestamp;
use serde::Deserialize;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::fleet::origin::{OriginId, parse_registration};
use sluicegate_core::fleet::{Member, State as OriginState};
use sluicegate_core::http::caller::Caller;
use sluicegate_core::list::select;
use sluicegate_core::place::placement::Usage;
use sluicegate_core::stream::Service;
use tracing::warn;

use super::access::Surface;
use super::asked::{Path, Query};
use super::cluster::{ScopeQuery, answered, passed};
use super::columns::ORIGINS;
use super::drain::drain_document;
use super::list::{self, ListRequest, of_documents};
use super::{System, problem};
use crate::api::{
    self, Coverage, Done, EndedCount, Envelope, Missing, Problem, Registered, STALLED_AFTER, Scope,
};
use crate::net::entrance::Ends;
use crate::net::versions::SERVER;
use crate::origin::fetch::escaped;
use crate::sessions::{Direction, EndReason, Held, Row, State as SessionState};

/// `POST /api/v1/srs/register`: what SRS sends every heartbeat.
pub(super) async fn register(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let client = ends.client;
    if let Some(refused) = system.access.refuse_registration(&caller, &headers) {
        warn!(%client, status = refused.status().as_u16(), "registration refused");
        system.count_refusal(Surface::Registration);
        return refused;
    }
    let body = match body {
        Ok(body) => body,
        Err(unread) => {
            warn!(%client, status = unread.status().as_u16(), "registration refused");
            return problem(unread.status(), &unread.body_text());
        }
    };
    let origin = match parse_registration(&body, &system.addresses) {
        Ok(origin) => origin,
        Err(error) => {
            warn!(%client, field = error.field, problem = error.problem, "registration refused");
            let words = format!("{}: {}", error.field, error.problem);
            let document = Problem {
                code: 400,
                error: words,
                field: Some(error.field.to_owned()),
                ..Problem::default()
            };
            return (StatusCode::BAD_REQUEST, Json(document)).into_response();
        }
    };
    let own = system.proxy.connector().own_sockets();
    if let Some((service, at)) = own.service_of(&origin) {
        warn!(%client, service = service.as_str(), %at, "registration refused: this is the proxy itself");
        let words = format!(
            "{}: {at} is this proxy itself: what is sent there would come back",
            service.as_str()
        );
        let document = Problem {
            code: 400,
            error: words,
            field: Some(service.as_str().to_owned()),
            ..Problem::default()
        };
        return (StatusCode::BAD_REQUEST, Json(document)).into_response();
    }
    let prober = system.proxy.silence().prober();
    prober.look_at_namesakes(&origin).await;
    match system.proxy.registry().register(origin) {
        Ok(_) => {
            let document = Registered {
                code: 0,
                pid: std::process::id().to_string(),
            };
            ([(header::SERVER, SERVER)], Json(document)).into_response()
        }
        Err(full) => {
            warn!(%client, error = %full, "registration refused");
            problem(StatusCode::SERVICE_UNAVAILABLE, &full.to_string())
        }
    }
}

/// `GET /api/v1/origins`.
pub(super) async fn origins(
    State(system): State<System>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (question, asked) = match ListRequest::read(&system, raw.as_deref(), &ORIGINS) {
        Ok(read) => read,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let members = system.proxy.registry().origins();
    let (origins, missing) = system.merged_origins(members, question.scope).await;
    let coverage = Coverage::of(question.scope, missing);
    let Some(asked) = asked else {
        return data(api::Origins {
            total: origins.len(),
            next: None,
            origins,
            coverage,
        })
        .into_response();
    };
    // Every proxy knows every origin, so the page is chosen from all of them, when what they carry together is known.
    let page = of_documents(select(&origins, &asked), api::Origin::clone);
    let document = api::Origins {
        total: page.total,
        next: page.next(asked.sort),
        origins: page.rows,
        coverage,
    };
    list::answered(&headers, &document)
}

/// `GET /api/v1/origins/{id}`.
pub(super) async fn origin(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(asked): Query<ScopeQuery>,
) -> Response {
    let id = OriginId::from(id);
    let Some(member) = system.proxy.registry().member(&id) else {
        return problem(StatusCode::NOT_FOUND, NO_ORIGIN);
    };
    let (mut origins, _) = system.merged_origins(vec![(id, member)], asked.scope).await;
    match origins.pop() {
        Some(origin) => data(origin).into_response(),
        None => problem(StatusCode::NOT_FOUND, NO_ORIGIN),
    }
}

/// What the other proxies have on origins.
pub(super) struct Others {
    /// The rows of all of them.
    origins: Vec<api::Origin>,
    /// Who did not answer.
    pub(super) missing: Vec<Missing>,
}

impl System {
    /// The documents of origins, with what the other proxies have on them, and who did not say.
    async fn merged_origins(
        &self,
        members: Vec<(OriginId, Member)>,
        scope: Scope,
    ) -> (Vec<api::Origin>, Vec<Missing>) {
        let own = move |system: &Self| system.own_origins(&members);
        let mut origins = self.looked(own).await;
        let others = self.other_origins(scope).await;
        for own in &mut origins {
            for theirs in others.of(&own.id) {
                own.sessions += theirs.sessions;
                own.legs += theirs.legs;
                own.bps += theirs.bps;
                own.streams = own.streams.max(theirs.streams);
            }
            if let Some(drain) = &mut own.drain {
                others.add_to(&own.id, drain);
            }
        }
        (origins, others.missing)
    }

    /// The documents of origins, with what this proxy has on them.
    fn own_origins(&self, members: &[(OriginId, Member)]) -> Vec<api::Origin> {
        let lines = self.proxy.sessions().lines();
        let mut counts = vec![0; lines.origins.len()];
        for line in lines.scattered().filter(|line| !line.is_preview) {
            counts[line.origin as usize] += 1;
        }
        let named = lines.origins.iter().map(OriginId::as_str);
        let sessions: HashMap<&str, u64> = named.zip(counts).collect();
        let mut usage: HashMap<OriginId, Usage> = HashMap::new();
        for standing in self.proxy.registry().survey(None) {
            usage.insert(standing.origin, standing.usage);
        }
        let document = |(id, member): &(OriginId, Member)| {
            let usage = usage.get(id).copied().unwrap_or_default();
            api::Origin {
                sessions: sessions.get(id.as_str()).copied().unwrap_or_default(),
                streams: usage.streams as u64,
                bps: usage.kbps * 1000,
                ..origin_document(self, id, member)
            }
        };
        members.iter().map(document).collect()
    }

    /// Asks the other proxies what they have on origins.
    pub(super) async fn other_origins(&self, scope: Scope) -> Others {
        let path = "/api/v1/origins";
        let said = self.ask_all::<api::Origins>(scope, Method::GET, path).await;
        let (documents, missing) = said.documents();
        let origins = documents
            .into_iter()
            .flat_map(|(_, document)| document.origins)
            .collect();
        Others { origins, missing }
    }
}

impl Others {
    /// What each of them has on one.
    pub(super) fn of(&self, id: &str) -> impl Iterator<Item = &api::Origin> {
        self.origins.iter().filter(move |row| row.id == id)
    }

    /// Whether they have sessions on an origin. A session is counted a second late where there are many, and its leg is not.
    pub(super) fn use_it(&self, id: &str) -> bool {
        self.of(id).any(|row| row.sessions + row.legs > 0)
    }

    /// Adds what the other proxies still have on a draining origin. A proxy that does not answer may have sessions there.
    pub(super) fn add_to(&self, id: &str, drain: &mut api::Drain) {
        for row in self.of(id) {
            match &row.drain {
                Some(theirs) => drain.add(theirs),
                None => drain.done &= row.sessions + row.legs == 0,
            }
        }
        drain.done &= self.missing.is_empty();
    }
}

/// Which sessions of a stream are to be ended.
#[derive(Debug, Deserialize)]
// A parameter that is misspelt is no wish to end all sessions.
#[serde(deny_unknown_fields)]
pub(super) struct EndStream {
    /// Those on this origin alone.
    origin: Option<String>,
    #[serde(default)]
    scope: Scope,
}

/// `DELETE /api/v1/streams/{stream}`: ends every session of it.
pub(super) async fn end_stream(
    State(system): State<System>,
    Path(name): Path<String>,
    Query(asked): Query<EndStream>,
) -> Response {
    let stream = match super::lookup::stream(&name) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let (key, only_on) = (system.proxy.key(&stream), asked.origin.clone());
    let end_own = move |system: &System| {
        let rows = system.proxy.sessions().list();
        let is_meant = |row: &Row| {
            let is_there =
                |wanted: &str| row.origin().is_some_and(|origin| origin.as_str() == wanted);
            only_on.as_deref().is_none_or(is_there) && system.proxy.key(&row.request.stream) == key
        };
        let of_it = rows.iter().filter(|row| !row.has_ended() && is_meant(row));
        of_it.inspect(|row| row.end(EndReason::Kicked)).count() as u64
    };
    let mut ended = system.looked(end_own).await;
    let mut path = format!("/api/v1/streams/{}", escaped(&stream.to_string()));
    if let Some(origin) = &asked.origin {
        path = format!("{path}?origin={}", escaped(origin));
    }
    let said = system
        .ask_all::<EndedCount>(asked.scope, Method::DELETE, &path)
        .await;
    let mut missing = said.missing;
    for (proxy, answer) in said.answers {
        match answer {
            Ok(theirs) => ended += theirs.ended,
            Err(StatusCode::NOT_FOUND) => {}
            Err(status) => missing.push(answered(proxy, status)),
        }
    }
    if ended == 0 && missing.is_empty() {
        let words = match &asked.origin {
            Some(_) => "nobody publishes or plays that stream on that origin through these proxies",
            None => "nobody publishes or plays that stream",
        };
        return problem(StatusCode::NOT_FOUND, words);
    }
    let coverage = Coverage::of(asked.scope, missing);
    data(EndedCount { ended, coverage }).into_response()
}

/// Every open session of all proxies that are asked, oldest first for each of them.
pub(super) async fn all_sessions(system: &System, scope: Scope) -> api::Sessions {
    let own = |system: &System| -> Vec<api::Session> {
        let rows = system.proxy.sessions().list();
        rows.iter()
            .map(|row| session_document(system.own_id(), row))
            .collect()
    };
    let mut sessions = system.looked(own).await;
    let path = "/api/v1/sessions";
    let said = system
        .ask_all::<api::Sessions>(scope, Method::GET, path)
        .await;
    let (documents, missing) = said.documents();
    for (proxy, document) in documents {
        sessions.extend(document.sessions.into_iter().map(|row| api::Session {
            proxy: Some(proxy.clone()),
            ..row
        }));
    }
    api::Sessions {
        total: sessions.len(),
        sessions,
        coverage: Coverage::of(scope, missing),
        ..api::Sessions::default()
    }
}

/// `GET /api/v1/sessions/{id}`.
pub(super) async fn session(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(asked): Query<ScopeQuery>,
) -> Response {
    match find(&system, &id) {
        Some(row) => data(session_document(system.own_id(), &row)).into_response(),
        None => elsewhere(&system, asked.scope, &id, Method::GET).await,
    }
}

/// `DELETE /api/v1/sessions/{id}`: ends it now.
pub(super) async fn kick(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(asked): Query<ScopeQuery>,
) -> Response {
    match find(&system, &id) {
        Some(row) => {
            row.end(EndReason::Kicked);
            Json(Done::default()).into_response()
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
            let said = system
                .ask_all::<api::Session>(scope, Method::GET, &path)
                .await;
            let answers = said.answers.into_iter();
            let owners: Vec<String> = answers
                .filter_map(|(proxy, answer)| answer.is_ok().then_some(proxy))
                .collect();
            match owners.as_slice() {
                [] => {
                    return match said.missing.first() {
                        Some(Missing { proxy, why }) => problem(
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

fn origin_document(system: &System, id: &OriginId, member: &Member) -> api::Origin {
    let now = Instant::now();
    let drain = match member.duty {
        Duty::Draining(drain) => {
            let left = system.proxy.registry().left(id);
            Some(drain_document(&drain, left, system.proxy.drain_pace()))
        }
        Duty::Active | Duty::Disabled => None,
    };
    let notes = member.health.notes().rev().map(|note| api::Note {
        seconds_ago: now.saturating_duration_since(note.at).as_secs_f64(),
        what: note.what.clone(),
    });
    let (origin, load) = (&member.origin, &member.load);
    let attributes = &origin.attributes;
    let endpoints = |service: Service| -> Vec<String> {
        let endpoints = origin.endpoints.of(service).iter();
        endpoints.map(ToString::to_string).collect()
    };
    let percent = |thousandths: u32| f64::from(thousandths) / 10.0;
    let state = member.state(now);
    api::Origin {
        id: id.as_str().to_owned(),
        device_id: origin.device_id.clone(),
        ip: origin.ip.to_string(),
        server: origin.server.clone(),
        service: origin.service.clone(),
        pid: origin.pid.clone(),
        state: state.as_str().to_owned(),
        alive: state == OriginState::Up,
        duty: member.duty.as_str().to_owned(),
        drain,
        failures: member.health.failures(),
        notes: notes.collect(),
        heartbeats_missed: member.missed(now),
        last_seen_seconds: member.age(now).as_secs_f64(),
        heard_at: system.begun.unix_millis(member.last_seen),
        heartbeat_seconds: member.interval.map(|interval| interval.as_secs_f64()),
        up_seconds: now
            .saturating_duration_since(member.first_seen)
            .as_secs_f64(),
        permanent: member.permanent,
        source: member.source.as_deref().map(str::to_owned),
        weight: attributes.weight,
        zone: attributes.zone.clone(),
        labels: attributes.labels.clone(),
        max_streams: attributes.max_streams,
        max_sessions: attributes.max_sessions,
        max_mbps: attributes.max_mbps,
        dialect: attributes.naming.dialect.to_string(),
        software: member.software.map(|software| software.to_string()),
        strip: attributes.naming.strip.as_deref().map(str::to_owned),
        prepend: attributes.naming.prepend.as_deref().map(str::to_owned),
        cpu_percent: load.cpu.map(percent),
        setup_seconds: member.setup(now).map(|took| took.as_secs_f64()),
        memory_percent: load.memory.map(percent),
        connections: load.connections,
        kbps: load.kbps,
        sessions: 0,
        streams: 0,
        bps: 0,
        legs: system.proxy.registry().usage(id).legs as u64,
        rtmp: endpoints(Service::Rtmp),
        http: endpoints(Service::Http),
        api: endpoints(Service::Api),
        srt: endpoints(Service::Srt),
        rtc: endpoints(Service::Rtc),
        rtsp: endpoints(Service::Rtsp),
    }
}

/// The document of a session of the proxy that is called `own`.
pub(super) fn session_document(own: Option<&str>, row: &Row) -> api::Session {
    let placed = row.placed();
    let failed = placed.failed.iter().map(|(origin, why)| api::Failed {
        origin: origin.as_str().to_owned(),
        why: why.clone(),
    });
    let silent = row.sender_silent_for().as_secs_f64();
    let is_silent = row.state() == SessionState::Relaying && silent >= STALLED_AFTER;
    api::Session {
        id: row.id,
        proxy: own.map(str::to_owned),
        protocol: row.request.protocol.as_str().to_owned(),
        action: row.request.action.as_str().to_owned(),
        preview: row.is_preview(),
        stream: row.request.stream.to_string(),
        client: row.request.client.to_string(),
        peer: row.request.peer().to_string(),
        origin: placed.origin.as_ref().map(|id| id.as_str().to_owned()),
        pull: row.pull(),
        failed: failed.collect(),
        why: placed.why.into_owned(),
        state: row.state().as_str().to_owned(),
        started_at: Timestamp::try_from(row.started_at)
            .map(|at| at.to_string())
            .ok(),
        age_seconds: row.age().as_secs_f64(),
        first_media_seconds: row.first_media().map(|after| after.as_secs_f64()),
        bytes_to_client: row.bytes(Direction::ToClient),
        bytes_to_origin: row.bytes(Direction::ToOrigin),
        bps_to_client: row.bps(Direction::ToClient),
        bps_to_origin: row.bps(Direction::ToOrigin),
        setup_seconds: row.setup().map(|after| after.as_secs_f64()),
        stalls: row.stalls(),
        silent_seconds: is_silent.then_some(silent),
        keyframe_seconds: row.keyframes().map(|apart| apart.as_secs_f64()),
        holds: row.holds().into_iter().map(Held::document).collect(),
    }
}

pub(super) fn data<T>(data: T) -> Json<Envelope<T>> {
    Json(Envelope::of(data))
}

pub(super) const NO_ORIGIN: &str = "no origin stands under that id; GET /api/v1/origins lists them";
pub(super) const NO_SESSION: &str = "no session has that id; it may have ended";
