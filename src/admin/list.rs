//! Lists in pages: sessions, sessions that ended, events; `streams` has those of streams. Without any parameter the lists of sessions and
//! streams are whole, as they always were.

use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Method;
use serde::Serialize;
use sluicegate_core::events::{Event, Kind, News};
use sluicegate_core::list::{
    Columns, Cursor, Key, ListQuery, Listed, Page, Selection, mentions, merge,
};

use super::columns::{ENDED, EVENTS, SESSIONS};
use super::fleet::{all_sessions, session_document};
use super::{System, lookup, problem};
use crate::api::{
    self, Coverage, EndedSession, EndedSessions, Envelope, Events, Listing, Scope, Sessions,
};
use crate::sessions::{Direction, Row, Sessions as Table};

/// What a request for a list asks, besides its page.
pub(super) struct ListRequest {
    pub(super) scope: Scope,
    /// The query without the scope, for the other proxies.
    pub(super) query: String,
}

impl ListRequest {
    /// Reads a query, and the page that it asks for; `None` where it asks for the whole list.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn read(
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
struct Open<'a> {
    row: &'a Row,
    origin: &'a str,
    /// Its client's address in words, where these are looked at.
    client: &'a str,
    /// The address that is asked for, if one is.
    wanted: Option<IpAddr>,
    now: tokio::time::Instant,
}

impl Listed for Open<'_> {
    fn place(&self, column: &str) -> Cursor<'_> {
        let row = self.row;
        let both = |of: fn(&Row, Direction) -> u64| {
            Key::of(of(row, Direction::ToClient) + of(row, Direction::ToOrigin))
        };
        Cursor {
            key: match column {
                "age" => {
                    Key::of(u64::try_from(row.age_at(self.now).as_millis()).unwrap_or(u64::MAX))
                }
                "bytes" => both(Row::bytes),
                "client" => Key::from(self.client),
                "origin" => Key::from(self.origin),
                "rate" => both(Row::bps),
                "stream" => Key::from(row.request.stream.as_str()),
                _ => Key::of(row.id),
            },
            proxy: "".into(),
            id: Key::of(row.id),
        }
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        let row = self.row;
        match filter {
            "action" => row.request.action.as_str() == value,
            "client" => self.wanted == Some(row.request.client.ip()),
            "origin" => self.origin == value,
            "protocol" => row.request.protocol.as_str() == value,
            "state" => row.state().as_str() == value,
            "stream" => row.key.as_str() == value,
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let mut texts = [self.row.request.stream.as_str(), self.origin, self.client].into_iter();
        texts.any(|one| mentions(one, text))
    }
}

/// The page of the open sessions of the proxy that is called `own`.
fn page_of_open(table: &Table, own: Option<&str>, asked: &ListQuery) -> Page<api::Session> {
    let proxy = own.unwrap_or_default();
    let wanted = asked.filter("client").and_then(|text| text.parse().ok());
    // Writing the address of every client takes time, and most texts are in none.
    let may_be_in_address = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_hexdigit() || b".:[]".contains(&byte))
    };
    let sorted_by = |column| asked.sort.column == column;
    let needs_client = sorted_by("client") || asked.q.as_deref().is_some_and(may_be_in_address);
    let needs_origin = sorted_by("origin") || asked.q.is_some() || asked.filter("origin").is_some();
    // What is on the page had better come first: what comes later is then looked at, and not kept.
    let newest_first = matches!(
        (asked.sort.column, asked.sort.descending),
        ("id", true) | ("age", false)
    );
    let now = tokio::time::Instant::now();
    let mut client = String::new();
    let mut selection = Selection::new(asked);
    table.look(newest_first, |row| {
        if needs_client {
            client.clear();
            write_client(&mut client, row.request.client.socket());
        }
        let mut look = |origin: &str| {
            let open = Open {
                row,
                origin,
                client: &client,
                wanted,
                now,
            };
            selection.look(&Ours { row: &open, proxy }, || Arc::clone(row));
        };
        match needs_origin {
            true => row.with_origin(look),
            false => look(""),
        }
    });
    of_documents(selection.page(), |row| session_document(own, &row))
}

/// Writes an address as it is shown. A list may have to write 100,000, so that the usual kind takes a shorter way than formatting.
fn write_client(text: &mut String, client: SocketAddr) {
    fn push(text: &mut String, number: u16) {
        if number >= 10 {
            push(text, number / 10);
        }
        text.extend(char::from_digit(u32::from(number % 10), 10));
    }
    let SocketAddr::V4(client) = client else {
        let _ = write!(text, "{client}");
        return;
    };
    for (octet, after) in client.ip().octets().into_iter().zip(['.', '.', '.', ':']) {
        push(text, octet.into());
        text.push(after);
    }
    push(text, client.port());
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
    let own = page_of_open(system.proxy.sessions(), system.own_id(), &asked);
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
    let (proxy, rows) = (system.own_id(), system.proxy.sessions().ended());
    let mut selection = Selection::new(&asked);
    for row in &rows {
        let (row, proxy) = (&**row, proxy.unwrap_or_default());
        selection.look(&Ours { row, proxy }, || row);
    }
    let own = of_documents(selection.page(), |row| EndedSession {
        proxy: proxy.map(str::to_owned),
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
    let own = page_of_events(&system, &asked);
    let document = system
        .gathered::<Events>(&question, &asked, "/api/v1/events", own)
        .await;
    answered(&headers, &document)
}

/// The page of the events of this proxy.
fn page_of_events(system: &System, asked: &ListQuery) -> Page<api::Event> {
    let proxy = system.own_id().unwrap_or_default();
    let wanted = asked.filter("kind");
    let mut selection = Selection::new(asked);
    for kind in Kind::ALL {
        if wanted.is_some_and(|wanted| kind.as_str() != wanted) {
            continue;
        }
        system.proxy.metrics().journal.look(kind, |event| {
            let row = &Happened(event);
            selection.look(&Ours { row, proxy }, || event.clone());
        });
    }
    of_documents(selection.page(), |event| event_document(system, event))
}

/// An event, looked at without writing its document.
struct Happened<'a>(&'a Event);

impl Listed for Happened<'_> {
    fn place(&self, column: &str) -> Cursor<'_> {
        let event = self.0;
        Cursor {
            key: match column {
                "kind" => Key::from(event.kind.as_str()),
                _ => Key::of(event.at),
            },
            proxy: "".into(),
            id: Key::of(event.number),
        }
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        let Event { kind, news, .. } = self.0;
        match filter {
            "client" => news.client == value,
            "kind" => kind.as_str() == value,
            "origin" => news.origin == value,
            "stream" => news.stream == value,
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let News {
            stream,
            origin,
            client,
            what,
        } = &self.0.news;
        let mut texts = [stream, origin, client, what].into_iter();
        texts.any(|one| mentions(one, text))
    }
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

impl System {
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
pub(super) fn fitting<D: Listing>(document: D, asked: &ListQuery, proxy: &str) -> Page<D::Row> {
    let mut page = document.into_page();
    if page.rows.len() > asked.limit {
        page = merge([page], asked);
    }
    for row in &mut page.rows {
        D::note_proxy(row, proxy);
    }
    page
}

/// The same page, each row as its document.
pub(super) fn of_documents<R, D>(page: Page<R>, document: impl Fn(R) -> D) -> Page<D> {
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

/// Bytes under which compressing saves nothing on the way.
const WORTH_COMPRESSING: usize = 1_400;

#[cfg(test)]
pub(super) mod tests {

    use std::time::Duration;

    use sluicegate_core::stream::{Action, Protocol, StreamUrl, VhostRule};

    use super::*;
    use crate::metrics::Metrics;
    use crate::sessions::{Limits, Request};

    /// A table of `count` sessions, ten on each stream, and what keeps them open.
    pub(in crate::admin) fn table(count: u32) -> (Arc<Table>, Vec<impl Sized>) {
        let wait = Duration::from_secs(60);
        let limits = Limits {
            publisher_idle: wait,
            player_idle: wait,
            play_wait: wait,
            write_stall: wait,
            max: usize::MAX,
        };
        let table = Arc::new(Table::new(limits, Arc::new(Metrics::new())));
        let mut shared = None;
        let mut open = Vec::new();
        for number in 0..count {
            let stream = StreamUrl::new("", "live", &format!("cam-{}", number / 10));
            let stream = stream.expect("a stream");
            if number % 10 == 0 {
                shared = Some(VhostRule::Ignored.key(&stream));
            }
            let request = Request {
                action: match number % 10 {
                    0 => Action::Publish,
                    _ => Action::Play,
                },
                protocol: Protocol::Rtmp,
                client: SocketAddr::from((std::net::Ipv4Addr::from(number), 5000)).into(),
                by_way_of: None,
                credentials: None,
                stream,
            };
            let key = shared.clone().expect("the first of its stream has made it");
            let row = table.open(request, key).expect("room");
            row.note_placed(
                format!("origin-{}", number % 20).as_str().into(),
                "by its name".into(),
            );
            row.count(Direction::ToClient, (number as usize * 7919) % 100_000);
            row.count(Direction::ToOrigin, (number as usize * 104_729) % 100_000);
            open.push(row);
        }
        table.measure(|_, _| {});
        (table, open)
    }

    /// Asks five times; an answer is to come within 10 ms and have at most 25 kB.
    pub(in crate::admin) fn within_milliseconds<D: Serialize>(what: &str, answer: impl Fn() -> D) {
        let mut took = Vec::new();
        let mut size = 0;
        for _ in 0..5 {
            let begun = std::time::Instant::now();
            let document = answer();
            size = serde_json::to_vec(&document).expect("JSON").len();
            took.push(begun.elapsed());
        }
        took.sort();
        println!("{what}: {:?}, {size} bytes", took[2]);
        assert!(size <= 25_000, "{what}: {size} bytes");
        // Without optimisation it says nothing.
        assert!(
            cfg!(debug_assertions) || took[2] <= Duration::from_millis(10),
            "{what}: {took:?}"
        );
    }

    #[test]
    fn addresses_are_written_as_they_are_shown() {
        for shown in [
            "0.0.0.0:0",
            "10.200.3.45:1935",
            "255.255.255.255:65535",
            "[2001:db8::1]:80",
            "[::ffff:192.0.2.1]:5000",
        ] {
            let mut written = String::new();
            write_client(&mut written, shown.parse().expect("an address"));
            assert_eq!(written, shown);
        }
    }

    #[test]
    #[ignore = "scripts/long console"]
    fn pages_of_a_hundred_thousand_sessions_take_milliseconds() {
        let (table, _open) = table(100_000);
        let sorts = SESSIONS.sorts.iter();
        let sorts =
            sorts.flat_map(|sort| [("sort", (*sort).to_owned()), ("sort", format!("-{sort}"))]);
        let others = [
            ("q", "cam-77"),
            ("q", "nobody"),
            ("q", "10.0"),
            ("q", "origin-7"),
            ("action", "publish"),
            ("client", "0.0.16.7"),
            ("origin", "origin-7"),
            ("protocol", "rtmp"),
            ("state", "relaying"),
            ("stream", "__defaultVhost__/live/cam-5"),
        ];
        let others = others.map(|(name, value)| (name, value.to_owned()));
        for pair in sorts.chain(others) {
            let asked = ListQuery::read([&pair].map(|(a, b)| (*a, b)), &SESSIONS).expect("a query");
            within_milliseconds(&format!("sessions, {pair:?}"), || {
                let page = page_of_open(&table, None, &asked);
                Sessions::of(page, asked.sort, Coverage::default())
            });
        }
    }
}
