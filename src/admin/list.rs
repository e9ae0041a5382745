//! Lists in pages: sessions, sessions that ended, events; `streams` has those of streams. Without any parameter the lists of sessions and
//! streams are whole, as they always were.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::Write as _;
use std::net::IpAddr;

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
use sluicegate_core::stream::{Action, Protocol};

use super::columns::{ENDED, EVENTS, SESSIONS};
use super::fleet::{all_sessions, session_document};
use super::{System, beside, lookup, problem};
use crate::api::{
    self, Coverage, EndedSession, EndedSessions, Envelope, Events, Listing, Scope, Sessions, by_age,
};
use crate::sessions::{Line, Lines, Sessions as Table, State as SessionState};

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

/// What a list of sessions asks for, as the lines have it.
struct Wanted<'a> {
    lines: &'a Lines,
    action: Option<Action>,
    /// The address as it is shown, without a port.
    client: Option<String>,
    key: Option<u32>,
    origin: Option<u32>,
    protocol: Option<Protocol>,
    state: Option<SessionState>,
    text: Option<WantedText>,
}

/// Where a text is to be found: in one of the three.
struct WantedText {
    /// For each name of a stream, whether it is in that.
    in_names: Vec<bool>,
    /// The same for origins.
    in_origins: Vec<bool>,
    /// In lower case, if it can be in an address: writing and searching all of them takes time, and most texts are in none.
    in_addresses: Option<String>,
}

impl<'a> Wanted<'a> {
    fn of(asked: &ListQuery, lines: &'a Lines) -> Self {
        let is = |name: &str, shown: &str| asked.filter(name) == Some(shown);
        let actions = [Action::Play, Action::Publish];
        let states = [
            SessionState::Connecting,
            SessionState::Waiting,
            SessionState::Relaying,
            SessionState::Held,
        ];
        // What no line names is nowhere.
        let nowhere = u32::MAX;
        let place = |found: Option<usize>| found.map_or(nowhere, |place| place as u32);
        let client = asked.filter("client").map(|text| {
            let address = text.parse::<IpAddr>();
            address.map_or_else(|_| text.to_owned(), |address| address.to_string())
        });
        let key = asked.filter("stream").map(|stream| {
            let mut keys = lines.keys.iter();
            place(keys.position(|key| key.as_str() == stream))
        });
        let origin = asked.filter("origin").map(|name| {
            let mut origins = lines.origins.iter();
            place(origins.position(|origin| origin.as_str() == name))
        });
        Self {
            lines,
            action: actions.into_iter().find(|one| is("action", one.as_str())),
            client,
            key,
            origin,
            protocol: Protocol::ALL
                .into_iter()
                .find(|one| is("protocol", one.as_str())),
            state: states.into_iter().find(|one| is("state", one.as_str())),
            text: asked.q.as_deref().map(|text| WantedText::of(text, lines)),
        }
    }

    fn has(&self, line: &Line) -> bool {
        let lines = self.lines;
        self.action.is_none_or(|wanted| line.action == wanted)
            && self.protocol.is_none_or(|wanted| line.protocol == wanted)
            && self.state.is_none_or(|wanted| line.state == wanted)
            && self.origin.is_none_or(|wanted| line.origin == wanted)
            && self.key.is_none_or(|wanted| lines.key(line) == wanted)
            && (self.client.as_deref()).is_none_or(|wanted| line.client.is_at(wanted))
            && self.text.as_ref().is_none_or(|wanted| wanted.is_in(line))
    }
}

impl WantedText {
    fn of(text: &str, lines: &Lines) -> Self {
        let is_of_addresses = |byte: u8| byte.is_ascii_hexdigit() || b".:[]%".contains(&byte);
        let origins = lines.origins.iter();
        Self {
            in_names: lines.names_that(|name| mentions(name, text)),
            in_origins: origins
                .map(|origin| mentions(origin.as_str(), text))
                .collect(),
            in_addresses: text
                .bytes()
                .all(is_of_addresses)
                .then(|| text.to_ascii_lowercase()),
        }
    }

    fn is_in(&self, line: &Line) -> bool {
        self.in_names[line.name as usize]
            || self.in_origins[line.origin as usize]
            || (self.in_addresses.as_deref()).is_some_and(|text| line.client.contains(text))
    }
}

/// How a session is sorted by `column`.
fn key_by(column: &str) -> for<'a> fn(&'a Lines, &'a Line) -> Key<'a> {
    match column {
        "age" => |_, line| by_age(line.started),
        "bytes" => |_, line| Key::of(line.bytes),
        "client" => |_, line| Key::from(line.client.as_str()),
        "origin" => |lines, line| Key::from(lines.origin(line)),
        "rate" => |_, line| Key::of(line.bps),
        "stream" => |lines, line| Key::from(lines.stream(line)),
        _ => |_, line| Key::of(line.id),
    }
}

/// The page of the open sessions of the proxy that is called `own`.
fn page_of_open(table: &Table, own: Option<&str>, asked: &ListQuery) -> Page<api::Session> {
    let proxy = own.unwrap_or_default();
    let mut selection = Selection::new(asked);
    if asked.filter("proxy").is_none_or(|wanted| wanted == proxy) {
        let lines = table.lines();
        let (wanted, key) = (Wanted::of(asked, &lines), key_by(asked.sort.column));
        for line in lines.scattered().filter(|line| wanted.has(line)) {
            let place = Cursor {
                key: key(&lines, line),
                proxy: proxy.into(),
                id: Key::of(line.id),
            };
            selection.found(place, || line.id);
        }
    }
    let Page { rows, total, more } = selection.page();
    // One that ended a moment ago is on no page.
    let rows = rows.into_iter().filter_map(|id| table.row(id));
    Page {
        rows: rows.map(|row| session_document(own, &row)).collect(),
        total,
        more,
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
        let all = all_sessions(&system, question.scope).await;
        return beside(move || Json(Envelope::of(all)).into_response()).await;
    };
    let page = |system: &System, asked: &ListQuery| {
        page_of_open(system.proxy.sessions(), system.own_id(), asked)
    };
    let own = system.own_page(&asked, page).await;
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
    let page = |system: &System, asked: &ListQuery| {
        page_of_ended(system.proxy.sessions(), system.own_id(), asked)
    };
    let own = system.own_page(&asked, page).await;
    let document = system
        .gathered::<EndedSessions>(&question, &asked, "/api/v1/sessions/ended", own)
        .await;
    answered(&headers, &document)
}

/// The page of the sessions that ended on the proxy that is called `own`.
fn page_of_ended(table: &Table, own: Option<&str>, asked: &ListQuery) -> Page<EndedSession> {
    let (proxy, rows) = (own.unwrap_or_default(), table.ended());
    let mut selection = Selection::new(asked);
    for row in &rows {
        let row = &**row;
        selection.look(&Ours { row, proxy }, || row);
    }
    of_documents(selection.page(), |row| EndedSession {
        proxy: own.map(str::to_owned),
        ..row.clone()
    })
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
    let own = system.own_page(&asked, page_of_events).await;
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
    /// The page of the rows of this proxy.
    pub(super) async fn own_page<R: Send + 'static>(
        &self,
        asked: &ListQuery,
        page: fn(&Self, &ListQuery) -> Page<R>,
    ) -> Page<R> {
        let asked = asked.clone();
        self.looked(move |system| page(system, &asked)).await
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
    let small = || gzipped(&body, Compression::fast());
    match reads_gzip.then(small).flatten() {
        Some(small) => {
            let coded = [(header::CONTENT_ENCODING, "gzip")];
            (common, kind, coded, Body::from(small)).into_response()
        }
        None => (common, kind, Body::from(body)).into_response(),
    }
}

/// The bytes compressed; `None` where that is not worth it.
pub(super) fn gzipped(bytes: &[u8], how: Compression) -> Option<Vec<u8>> {
    if bytes.len() < WORTH_COMPRESSING {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::new(), how);
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// Bytes under which compressing saves nothing on the way.
const WORTH_COMPRESSING: usize = 1_400;

#[cfg(test)]
pub(super) mod tests {

    use std::collections::BTreeSet;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use sluicegate_core::list::select;
    use sluicegate_core::stream::{StreamUrl, VhostRule};

    use super::*;
    use crate::metrics::Metrics;
    use crate::sessions::{Direction, Limits, Request};

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
                client: match number % 50 {
                    49 => SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 5000)),
                    _ => SocketAddr::from((std::net::Ipv4Addr::from(number), 5000)),
                }
                .into(),
                by_way_of: None,
                bond: None,
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

    /// Asks five times while the lines of the sessions are renewed, as they are once a second; an answer is to come within 10 ms and
    /// have at most 25 kB.
    pub(in crate::admin) fn within_milliseconds<D: Serialize>(
        what: &str,
        table: &Table,
        answer: impl Fn() -> D,
    ) {
        let mut took = Vec::new();
        let mut size = 0;
        // Whoever looks first waits for the lines.
        drop(answer());
        for _ in 0..5 {
            table.renew_lines();
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

    /// The ids on every page of a list.
    fn pages<R>(
        asked: &str,
        page: impl Fn(&ListQuery) -> Page<R>,
        place: impl Fn(&R, &str) -> Cursor<'static>,
    ) -> (usize, Vec<Key<'static>>) {
        let mut ids = Vec::new();
        let mut after = String::new();
        loop {
            let pairs = form_urlencoded::parse(asked.as_bytes()).chain([
                ("limit".into(), "7".into()),
                ("after".into(), after.as_str().into()),
            ]);
            let asked = ListQuery::read(pairs, &SESSIONS).expect("a query");
            let page = page(&asked);
            ids.extend(page.rows.iter().map(|row| place(row, "id").id));
            let last = page.rows.last().filter(|_| page.more);
            match last {
                Some(row) => after = place(row, asked.sort.column).cursor(asked.sort),
                None => return (page.total, ids),
            }
        }
    }

    #[test]
    fn a_session_is_listed_as_its_document_is() {
        let (table, open) = table(60);
        let documents: Vec<api::Session> = table
            .list()
            .iter()
            .map(|row| session_document(Some("p"), row))
            .collect();
        let sorts = SESSIONS
            .sorts
            .iter()
            .flat_map(|sort| [format!("sort={sort}"), format!("sort=-{sort}")]);
        let others = [
            "q=CAM-3",
            "q=origin-1",
            "q=0.0.0.1",
            "q=nobody",
            "q=%5B2001",
            "q=:5000&sort=-client",
            "action=publish",
            "client=0.0.0.7",
            "client=2001:DB8:0::1",
            "client=0.0.0",
            "origin=origin-7&sort=-age",
            "origin=nobody",
            "protocol=rtmp",
            "protocol=srt",
            "proxy=p",
            "proxy=q",
            "state=connecting",
            "state=held",
            "stream=__defaultVhost__/live/cam-5",
            "stream=live/cam-5",
            "action=play&origin=origin-3&q=cam&sort=-rate",
        ];
        for asked in sorts.chain(others.map(str::to_owned)) {
            let by_lines = pages(
                &asked,
                |asked| page_of_open(&table, Some("p"), asked),
                |row, column| row.place(column).into_owned(),
            );
            let by_documents = pages(
                &asked,
                |asked| of_documents(select(&documents, asked), api::Session::clone),
                |row, column| row.place(column).into_owned(),
            );
            assert_eq!(by_lines, by_documents, "{asked}");
        }
        drop(open);
        let asked = ListQuery::read([("limit", "5")], &SESSIONS).expect("a query");
        assert_eq!(page_of_open(&table, None, &asked).total, 0);
    }

    /// Walks the pages of a list by each of its sorts while time passes: each of its `count` rows is on exactly one page.
    pub(in crate::admin) async fn each_row_is_on_one_page<R: Listed>(
        columns: &Columns,
        count: usize,
        page: impl Fn(&ListQuery) -> Page<R>,
    ) {
        let sorts = columns.sorts.iter();
        for sort in sorts.flat_map(|sort| [(*sort).to_owned(), format!("-{sort}")]) {
            let (mut after, mut seen) = (String::new(), BTreeSet::new());
            loop {
                let pairs = [("sort", sort.as_str()), ("limit", "7"), ("after", &after)];
                let asked = ListQuery::read(pairs, columns).expect("a query");
                let page = page(&asked);
                for row in &page.rows {
                    let Cursor { proxy, id, .. } = row.place(asked.sort.column);
                    let is_new = seen.insert(format!("{id:?} of {proxy}"));
                    assert!(is_new, "{sort}: {id:?} of {proxy} is on two pages");
                }
                match page.next(asked.sort) {
                    Some(next) => after = next,
                    None => break,
                }
                tokio::time::advance(Duration::from_millis(700)).await;
            }
            assert_eq!(seen.len(), count, "{sort}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_on_which_nothing_passes_says_for_how_long() {
        let (table, _open) = table(2);
        let rows = table.list();
        let silent = || -> Vec<Option<f64>> {
            let documents = rows.iter().map(|row| session_document(None, row));
            documents.map(|document| document.silent_seconds).collect()
        };
        let second = async || {
            tokio::time::advance(Duration::from_secs(1)).await;
            table.end_overdue();
        };
        for _ in 0..9 {
            second().await;
        }
        assert_eq!(silent(), [None, None], "they connect");
        for row in &rows {
            row.joined();
            row.media_flows();
            row.count(Direction::ToClient, 1);
            row.count(Direction::ToOrigin, 1);
        }
        for _ in 0..9 {
            second().await;
            // What the origin tells a publisher, and a viewer its origin, is no media.
            rows[0].count(Direction::ToClient, 1);
            rows[1].count(Direction::ToOrigin, 1);
        }
        assert_eq!(silent(), [Some(8.0), Some(8.0)]);
        rows[0].count(Direction::ToOrigin, 1);
        second().await;
        assert_eq!(silent(), [None, Some(9.0)], "the publisher sends again");
    }

    #[tokio::test(start_paused = true)]
    async fn while_time_passes_each_session_is_on_one_page() {
        let (table, mut open) = table(60);
        each_row_is_on_one_page(&SESSIONS, 60, |asked| {
            page_of_open(&table, Some("p"), asked)
        })
        .await;
        open.truncate(20);
        each_row_is_on_one_page(&ENDED, 40, |asked| page_of_ended(&table, Some("p"), asked)).await;
    }

    #[test]
    #[ignore = "scripts/long console"]
    fn pages_of_a_hundred_thousand_sessions_take_milliseconds() {
        let (table, _open) = table(100_000);
        // These go through all sessions by the clock, on a thread of their own.
        let clocks: [(&str, &dyn Fn()); 3] = [
            ("copying the lines", &|| table.renew_lines()),
            ("measuring", &|| table.measure(|_, _| {})),
            ("looking for those whose time is over", &|| {
                table.end_overdue();
            }),
        ];
        drop(table.lines());
        for (what, clock) in clocks {
            let begun = std::time::Instant::now();
            clock();
            println!("{what}: {:?}", begun.elapsed());
        }
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
            within_milliseconds(&format!("sessions, {pair:?}"), &table, || {
                let page = page_of_open(&table, None, &asked);
                Sessions::of(page, asked.sort, Coverage::default())
            });
        }
    }
}
