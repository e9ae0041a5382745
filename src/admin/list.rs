//! Lists in pages: streams, sessions, sessions that ended, events. Without any parameter the first two are whole, as they
//! always were.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use serde::Serialize;
use sluicegate_core::events::Event;
use sluicegate_core::list::{
    Columns, Cursor, Key, ListQuery, Listed, Page, mentions, merge, select,
};
use sluicegate_core::stream::{Action, PlacementKey};
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use super::columns::{ENDED, EVENTS, SESSIONS, STREAMS};
use super::fleet::{all_sessions, session_document};
use super::{System, cluster, lookup, problem};
use crate::api::{
    self, Coverage, EndedSession, EndedSessions, Envelope, Events, Listing, Scope, Sessions,
    Stream, Streams,
};
use crate::sessions::{Direction, Row, State as SessionState};

/// What a request for a list asks, besides its page.
struct ListRequest {
    scope: Scope,
    /// The query without the scope, for the other proxies.
    query: String,
}

impl ListRequest {
    /// Reads a query, and the page that it asks for; `None` where it asks for the whole list.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    fn read(
        system: &System,
        raw: Option<&str>,
        columns: &Columns,
    ) -> Result<(Self, Option<ListQuery>), String> {
        let pairs = form_urlencoded::parse(raw.unwrap_or_default().as_bytes());
        let (scopes, pairs): (Vec<_>, Vec<_>) = pairs.partition(|(name, _)| name == "scope");
        let scope = match scopes.last().map(|(_, value)| value.as_ref()) {
            None | Some("cluster") => Scope::Cluster,
            Some("local") => Scope::Local,
            Some(_) => return Err("scope: cluster or local".to_owned()),
        };
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(pairs.iter().map(|(a, b)| (a, b)));
        let question = Self {
            scope,
            query: query.finish(),
        };
        if pairs.is_empty() {
            return Ok((question, None));
        }
        let asked = ListQuery::read(pairs.iter().map(|(a, b)| (a, b)), columns);
        let mut asked = asked.map_err(|error| error.to_string())?;
        for (name, value) in &mut asked.filters {
            // People write `app/stream`; rows have the name that the stream is placed under.
            if *name == "stream" {
                let stream = lookup::stream(value)?;
                *value = system.proxy.key(&stream).as_str().to_owned();
            }
        }
        Ok((question, Some(asked)))
    }
}

/// The page that a list begins with.
fn first_page(columns: &Columns) -> ListQuery {
    ListQuery::read([("", ""); 0], columns).expect("nothing that could be wrong")
}

/// A row of this proxy, which has the name that the others know it by.
struct Ours<'a, R> {
    row: &'a R,
    proxy: &'a str,
}

impl<R: Listed> Listed for Ours<'_, R> {
    fn place(&self, column: &str) -> Cursor<'_> {
        Cursor {
            proxy: self.proxy.into(),
            ..self.row.place(column)
        }
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        match filter {
            "proxy" => self.proxy == value,
            _ => self.row.has(filter, value),
        }
    }

    fn mentions(&self, text: &str) -> bool {
        self.row.mentions(text)
    }
}

/// An open session, looked at without writing its document.
struct Open(Arc<Row>);

impl Listed for Open {
    fn place(&self, column: &str) -> Cursor<'_> {
        let row = &self.0;
        let both = |of: fn(&Row, Direction) -> u64| {
            Key::of(of(row, Direction::ToClient) + of(row, Direction::ToOrigin))
        };
        Cursor {
            key: match column {
                "age" => Key::of(u64::try_from(row.age().as_millis()).unwrap_or(u64::MAX)),
                "bytes" => both(Row::bytes),
                "client" => Key::Text(row.request.client.to_string().into()),
                "origin" => Key::Text(self.origin().into()),
                "rate" => both(Row::bps),
                "stream" => Key::from(row.request.stream.as_str()),
                _ => Key::of(row.id),
            },
            proxy: "".into(),
            id: Key::of(row.id),
        }
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        let row = &self.0;
        match filter {
            "action" => row.request.action.as_str() == value,
            "client" => {
                let wanted: Result<IpAddr, _> = value.parse();
                wanted.is_ok_and(|wanted| row.request.client.ip() == wanted)
            }
            "origin" => self.origin() == value,
            "protocol" => row.request.protocol.as_str() == value,
            "state" => row.state().as_str() == value,
            "stream" => row.key.as_str() == value,
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let request = &self.0.request;
        // Writing the address of every client takes time, and most texts are in none.
        let is_address = || {
            text.bytes()
                .all(|byte| byte.is_ascii_hexdigit() || b".:[]".contains(&byte))
        };
        mentions(request.stream.as_str(), text)
            || mentions(&self.origin(), text)
            || (is_address() && mentions(&request.client.to_string(), text))
    }
}

impl Open {
    fn origin(&self) -> String {
        let origin = self.0.origin();
        origin.map_or_else(String::new, |id| id.as_str().to_owned())
    }
}

/// `GET /api/v1/sessions`.
pub(super) async fn sessions(
    State(system): State<System>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (question, asked) = match ListRequest::read(&system, raw.as_deref(), &SESSIONS) {
        Ok(read) => read,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let Some(asked) = asked else {
        return Json(Envelope::of(all_sessions(&system, question.scope).await)).into_response();
    };
    let rows: Vec<Open> = system
        .proxy
        .sessions()
        .list()
        .into_iter()
        .map(Open)
        .collect();
    let own = system.own_page(&rows, &asked, |open| {
        session_document(system.own_id(), &open.0)
    });
    let document = system
        .gathered::<Sessions>(&question, &asked, "/api/v1/sessions", own)
        .await;
    answered(&headers, &document)
}

/// `GET /api/v1/sessions/ended`.
pub(super) async fn ended(
    State(system): State<System>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (question, asked) = match ListRequest::read(&system, raw.as_deref(), &ENDED) {
        Ok(read) => read,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let asked = asked.unwrap_or_else(|| first_page(&ENDED));
    let rows = system.proxy.sessions().ended();
    let proxy = system.own_id().map(str::to_owned);
    let own = system.own_page(rows.iter().map(|row| &**row), &asked, |row| EndedSession {
        proxy: proxy.clone(),
        ..row.clone()
    });
    let document = system
        .gathered::<EndedSessions>(&question, &asked, "/api/v1/sessions/ended", own)
        .await;
    answered(&headers, &document)
}

/// `GET /api/v1/events`.
pub(super) async fn events(
    State(system): State<System>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (question, asked) = match ListRequest::read(&system, raw.as_deref(), &EVENTS) {
        Ok(read) => read,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let asked = asked.unwrap_or_else(|| first_page(&EVENTS));
    let kind = asked.filter("kind");
    let rows: Vec<api::Event> = system
        .proxy
        .metrics()
        .journal
        .list()
        .into_iter()
        .filter(|event| kind.is_none_or(|kind| event.kind.as_str() == kind))
        .map(|event| event_document(&system, event))
        .collect();
    let own = system.own_page(&rows, &asked, api::Event::clone);
    let document = system
        .gathered::<Events>(&question, &asked, "/api/v1/events", own)
        .await;
    answered(&headers, &document)
}

/// The document of an event of this proxy.
pub(super) fn event_document(system: &System, event: Event) -> api::Event {
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    api::Event {
        id: event.number,
        proxy: system.own_id().map(str::to_owned),
        at: event.at,
        kind: event.kind.as_str().to_owned(),
        stream: some(event.news.stream),
        origin: some(event.news.origin),
        client: some(event.news.client),
        what: event.news.what,
        count: event.count,
    }
}

/// `GET /api/v1/streams`.
pub(super) async fn streams(
    State(system): State<System>,
    RawQuery(raw): RawQuery,
    headers: HeaderMap,
) -> Response {
    let (question, asked) = match ListRequest::read(&system, raw.as_deref(), &STREAMS) {
        Ok(read) => read,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let Some(asked) = asked else {
        return Json(Envelope::of(all_streams(&system, question.scope).await)).into_response();
    };
    let document = match is_by_name(&asked) {
        true => streams_by_name(&system, &question, &asked).await,
        false => streams_by_sums(&system, &question, &asked).await,
    };
    answered(&headers, &document)
}

/// Whether rows are sorted and filtered by what is the same on every proxy. Then each proxy can choose its own rows: one
/// that is on the page of all is on the page of each that has it.
fn is_by_name(asked: &ListQuery) -> bool {
    let mut filters = asked.filters.iter();
    matches!(asked.sort.column, "stream" | "origin")
        && filters.all(|(filter, _)| matches!(*filter, "stream" | "origin"))
}

async fn streams_by_name(system: &System, question: &ListRequest, asked: &ListQuery) -> Streams {
    let rows = system.own_streams();
    let own = owned(select(rows.iter(), asked), Stream::clone);
    let path = format!("/api/v1/streams?{}", question.query);
    let said = system.ask_all::<Streams>(question.scope, Method::GET, &path);
    let (documents, missing) = said.await.documents();
    let is_alone = documents.is_empty();
    let (mut total, mut more) = (own.total, own.more);
    let mut all = own.rows;
    for (proxy, document) in documents {
        let page = fitting(document, asked, &proxy);
        total = total.max(page.total);
        more |= page.more;
        all.extend(page.rows);
    }
    let rows = combined(all);
    let page = Page {
        total: total.max(rows.len()),
        rows,
        more,
    };
    let page = merge([page], asked);
    let coverage = Coverage::of(question.scope, missing);
    let mut document = Streams::of(page, asked.sort, coverage);
    if !is_alone {
        document.at_least();
    }
    document
}

/// A list that depends on sums over all proxies. Only a proxy that has all rows can say which are the greatest.
async fn streams_by_sums(system: &System, question: &ListRequest, asked: &ListQuery) -> Streams {
    let (rows, missing) = match system.peers(question.scope).is_empty() {
        true => (system.own_streams(), Vec::new()),
        false => {
            let all = all_streams(system, question.scope).await;
            (Arc::new(all.streams), all.coverage.missing)
        }
    };
    let page = owned(select(rows.iter(), asked), Stream::clone);
    Streams::of(page, asked.sort, Coverage::of(question.scope, missing))
}

/// `GET /api/v1/streams/{stream}`.
pub(super) async fn stream(
    State(system): State<System>,
    Path(name): Path<String>,
    Query(asked): Query<cluster::ScopeQuery>,
) -> Response {
    let stream = match lookup::stream(&name) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let key = system.proxy.key(&stream);
    let question = ListRequest {
        scope: asked.scope,
        query: form_urlencoded::Serializer::new(String::new())
            .append_pair("stream", key.as_str())
            .finish(),
    };
    let pairs = [("stream", key.as_str())];
    let asked = ListQuery::read(pairs, &STREAMS).expect("names of streams fit");
    let found = streams_by_name(&system, &question, &asked).await;
    // A stream that was on two origins for a moment is where its publisher is.
    let row = found.streams.into_iter().max_by_key(|row| row.publishers);
    match row {
        Some(row) => Json(Envelope::of(row)).into_response(),
        None => problem(StatusCode::NOT_FOUND, NO_STREAM),
    }
}

/// Every placed stream of all proxies that are asked.
pub(super) async fn all_streams(system: &System, scope: Scope) -> Streams {
    let mut all = rows_of(system);
    let path = "/api/v1/streams";
    let said = system.ask_all::<Streams>(scope, Method::GET, path).await;
    let (documents, missing) = said.documents();
    for (proxy, document) in documents {
        all.extend(document.streams.into_iter().map(|row| Stream {
            proxies: vec![proxy.clone()],
            ..row
        }));
    }
    let streams = combined(all);
    Streams {
        total: streams.len(),
        streams,
        coverage: Coverage::of(scope, missing),
        ..Streams::default()
    }
}

/// The rows of several proxies, those of one stream on one origin as one, in the order of their names.
fn combined(rows: Vec<Stream>) -> Vec<Stream> {
    let mut all: BTreeMap<(String, String), Stream> = BTreeMap::new();
    for row in rows {
        match all.entry((row.stream.clone(), row.origin.clone())) {
            std::collections::btree_map::Entry::Vacant(vacant) => {
                vacant.insert(row);
            }
            std::collections::btree_map::Entry::Occupied(mut sum) => add(sum.get_mut(), row),
        }
    }
    all.into_values().collect()
}

fn add(sum: &mut Stream, row: Stream) {
    sum.publishers += row.publishers;
    sum.players += row.players;
    sum.pulls += row.pulls;
    sum.bps_in += row.bps_in;
    sum.bps_out += row.bps_out;
    sum.proxies.extend(row.proxies);
    for protocol in row.protocols {
        if !sum.protocols.contains(&protocol) {
            sum.protocols.push(protocol);
        }
    }
    let either =
        |ours: Option<f64>, theirs: Option<f64>, both: fn(f64, f64) -> f64| match (ours, theirs) {
            (Some(ours), Some(theirs)) => Some(both(ours, theirs)),
            (ours, theirs) => ours.or(theirs),
        };
    sum.since_seconds = either(sum.since_seconds, row.since_seconds, f64::max);
    sum.silent_seconds = either(sum.silent_seconds, row.silent_seconds, f64::min);
    sum.judge();
}

/// What the sessions of a stream add up to.
#[derive(Default)]
struct Sums {
    bps_in: u64,
    bps_out: u64,
    protocols: Vec<&'static str>,
    since: Option<f64>,
    silent: Option<f64>,
}

/// The streams of this proxy, as they are now.
fn rows_of(system: &System) -> Vec<Stream> {
    let mut sums: BTreeMap<PlacementKey, Sums> = BTreeMap::new();
    for row in system.proxy.sessions().list() {
        let sum = sums.entry(row.key.clone()).or_default();
        match row.request.action {
            Action::Play if row.is_preview() => {}
            Action::Play => sum.bps_out += row.bps(Direction::ToClient),
            Action::Publish => publishes(sum, &row),
        }
    }
    let by_name: BTreeMap<&str, &Sums> =
        sums.iter().map(|(key, sum)| (key.as_str(), sum)).collect();
    let mut pulls: BTreeMap<String, u64> = BTreeMap::new();
    for pull in system.proxy.sessions().pulls() {
        *pulls.entry(pull.key.as_str().to_owned()).or_default() += 1;
    }
    let placements = system.proxy.registry().placements().into_iter();
    let document = placements.map(|row| {
        let sum = by_name.get(row.key.as_str());
        let mut stream = Stream {
            pulls: pulls.get(&row.key).copied().unwrap_or_default(),
            publishers: row.publishers as u64,
            players: (row.sessions - row.publishers) as u64,
            stream: row.key,
            origin: row.origin,
            proxies: system.own_id().map(str::to_owned).into_iter().collect(),
            ..Stream::default()
        };
        if let Some(sum) = sum {
            stream.bps_in = sum.bps_in;
            stream.bps_out = sum.bps_out;
            stream.protocols = sum.protocols.iter().copied().map(str::to_owned).collect();
            stream.since_seconds = sum.since;
            stream.silent_seconds = sum.silent;
        }
        stream.judge();
        stream
    });
    document.collect()
}

fn publishes(sum: &mut Sums, row: &Row) {
    sum.bps_in += row.bps(Direction::ToOrigin);
    let protocol = row.request.protocol.as_str();
    if !sum.protocols.contains(&protocol) {
        sum.protocols.push(protocol);
    }
    let age = row.age().as_secs_f64();
    sum.since = Some(sum.since.map_or(age, |since| since.max(age)));
    // One that still connects has nothing to send yet.
    if row.state() != SessionState::Connecting {
        let silent = row.client_silent_for().as_secs_f64();
        sum.silent = Some(sum.silent.map_or(silent, |least| least.min(silent)));
    }
}

/// The streams of this proxy, kept for a moment.
#[derive(Debug, Default)]
pub(super) struct KeptStreams(Mutex<Option<(Instant, Arc<Vec<Stream>>)>>);

impl System {
    /// The streams of this proxy, at most [`KEPT`] old: however many look at the list, it is made once.
    fn own_streams(&self) -> Arc<Vec<Stream>> {
        let mut kept = self
            .streams
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((at, rows)) = &*kept
            && at.elapsed() < KEPT
        {
            return Arc::clone(rows);
        }
        let rows = Arc::new(rows_of(self));
        *kept = Some((Instant::now(), Arc::clone(&rows)));
        rows
    }

    fn own_page<'a, R: Listed + 'a, D>(
        &self,
        rows: impl IntoIterator<Item = &'a R>,
        asked: &ListQuery,
        document: impl Fn(&R) -> D,
    ) -> Page<D> {
        page_of(self.own_id(), rows, asked, document)
    }

    /// A page of the rows of all proxies, each of which chose its own.
    async fn gathered<D: Listing>(
        &self,
        question: &ListRequest,
        asked: &ListQuery,
        path: &str,
        own: Page<D::Row>,
    ) -> D {
        let path = format!("{path}?{}", question.query);
        let said = self.ask_all::<D>(question.scope, Method::GET, &path).await;
        let (documents, missing) = said.documents();
        let others = documents
            .into_iter()
            .map(|(proxy, document)| fitting(document, asked, &proxy));
        let page = merge(std::iter::once(own).chain(others), asked);
        D::of(page, asked.sort, Coverage::of(question.scope, missing))
    }
}

/// The page that `proxy` answered with. One of an older version knows no pages and sends every row.
fn fitting<D: Listing>(document: D, asked: &ListQuery, proxy: &str) -> Page<D::Row> {
    let mut page = document.into_page();
    if page.rows.len() > asked.limit {
        page = merge([page], asked);
    }
    for row in &mut page.rows {
        D::note_proxy(row, proxy);
    }
    page
}

/// The page of rows of the proxy that is called `own`, each as its document.
fn page_of<'a, R: Listed + 'a, D>(
    own: Option<&str>,
    rows: impl IntoIterator<Item = &'a R>,
    asked: &ListQuery,
    document: impl Fn(&R) -> D,
) -> Page<D> {
    let proxy = own.unwrap_or_default();
    let ours: Vec<Ours<'_, R>> = rows.into_iter().map(|row| Ours { row, proxy }).collect();
    owned(select(&ours, asked), |ours| document(ours.row))
}

fn owned<R, D>(page: Page<&R>, document: impl Fn(&R) -> D) -> Page<D> {
    Page {
        rows: page.rows.into_iter().map(document).collect(),
        total: page.total,
        more: page.more,
    }
}

/// An answer that is not sent again while it stays the same, and is sent small to those who can read that.
pub(super) fn answered<T: Serialize>(headers: &HeaderMap, document: &T) -> Response {
    let Ok(body) = serde_json::to_vec(&Envelope::of(document)) else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "this cannot be written");
    };
    let mut hasher = DefaultHasher::new();
    hasher.write(&body);
    let tag = format!("W/\"{:016x}\"", hasher.finish());
    let asked_for = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_known = asked_for(header::IF_NONE_MATCH).is_some_and(|known| known == tag);
    let common = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "private, no-cache".to_owned()),
        (header::VARY, "Accept-Encoding".to_owned()),
    ];
    if is_known {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    let kind = [(header::CONTENT_TYPE, "application/json")];
    let reads_gzip = asked_for(header::ACCEPT_ENCODING).is_some_and(|all| all.contains("gzip"));
    match reads_gzip.then(|| gzipped(&body)).flatten() {
        Some(small) => {
            let coded = [(header::CONTENT_ENCODING, "gzip")];
            (common, kind, coded, Body::from(small)).into_response()
        }
        None => (common, kind, Body::from(body)).into_response(),
    }
}

/// The bytes compressed; `None` where that is not worth it.
pub(super) fn gzipped(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() < WORTH_COMPRESSING {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

const NO_STREAM: &str =
    "that stream is placed nowhere; GET /api/v1/explain?stream= says where it would go";
/// How long the list of streams is kept: a tab asks every two seconds.
const KEPT: Duration = Duration::from_secs(1);
/// Bytes under which compressing saves nothing on the way.
const WORTH_COMPRESSING: usize = 1_400;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sluicegate_core::stream::{Protocol, StreamUrl, VhostRule};

    use super::*;
    use crate::metrics::Metrics;
    use crate::sessions::{Limits, Request, Sessions as Table};

    /// A table of `count` sessions, ten on each stream, and what keeps them open.
    fn table(count: u32) -> (Arc<Table>, Vec<impl Sized>) {
        let wait = Duration::from_secs(60);
        let limits = Limits {
            publisher_idle: wait,
            player_idle: wait,
            play_wait: wait,
            write_stall: wait,
            max: usize::MAX,
        };
        let table = Arc::new(Table::new(limits, Arc::new(Metrics::new())));
        let open = |number: u32| {
            let stream = StreamUrl::new("", "live", &format!("cam-{}", number / 10));
            let stream = stream.expect("a stream");
            let request = Request {
                action: match number % 10 {
                    0 => Action::Publish,
                    _ => Action::Play,
                },
                protocol: Protocol::Rtmp,
                client: std::net::SocketAddr::from((std::net::Ipv4Addr::from(number), 5000)).into(),
                by_way_of: None,
                credentials: None,
                stream,
            };
            let key = VhostRule::Ignored.key(&request.stream);
            let row = table.open(request, key).expect("room");
            row.count(Direction::ToClient, (number as usize * 7919) % 100_000);
            row
        };
        let open: Vec<_> = (0..count).map(open).collect();
        table.measure(|_, _| {});
        (table, open)
    }

    #[test]
    #[ignore = "scripts/long console"]
    fn pages_of_a_hundred_thousand_sessions_take_milliseconds() {
        let (table, _open) = table(100_000);
        let sorts = SESSIONS
            .sorts
            .iter()
            .map(|sort| ("sort", format!("-{sort}")));
        let texts = ["cam-77", "nobody", "10.0"].map(|text| ("q", text.to_owned()));
        let streams = [("stream", "__defaultVhost__/live/cam-5".to_owned())];
        for pair in sorts.chain(texts).chain(streams) {
            let asked = ListQuery::read([&pair].map(|(a, b)| (*a, b)), &SESSIONS).expect("a query");
            let mut took = Vec::new();
            let mut size = 0;
            for _ in 0..5 {
                let begun = Instant::now();
                let rows: Vec<Open> = table.list().into_iter().map(Open).collect();
                let page = page_of(None, &rows, &asked, |open| session_document(None, &open.0));
                let document = Sessions::of(page, asked.sort, Coverage::default());
                size = serde_json::to_vec(&document).expect("JSON").len();
                took.push(begun.elapsed());
            }
            took.sort();
            println!("{pair:?}: {:?}, {size} bytes", took[2]);
            assert!(size <= 25_000, "{pair:?}: {size} bytes");
            // Without optimisation it says nothing.
            assert!(
                cfg!(debug_assertions) || took[2] <= Duration::from_millis(10),
                "{pair:?}: {took:?}"
            );
        }
    }
}
