//! Lists of streams. Without any parameter they are whole, as they always were.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::Method;
use sluicegate_core::list::{Cursor, Key, ListQuery, Listed, Page, mentions, merge, select};
use sluicegate_core::stream::{Action, PlacementKey, Protocol};
use tokio::time::Instant;

use super::asked::{Path, Query};
use super::columns::STREAMS;
use super::list::{ListRequest, answered, fitting, of_documents};
use super::{System, beside, cluster, lookup, problem};
use crate::api::{
    Coverage, Envelope, Listing, Scope, Stream, StreamNumbers, Streams, by_age, millis_of, time_of,
};
use crate::registry::PlacementRow;
use crate::sessions::{FEW, LOOKS, OLDEST, Publisher, Sessions};

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
        let all = all_streams(&system, question.scope).await;
        return beside(move || Json(Envelope::of(all)).into_response()).await;
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
    let own = system.own_page(asked, page_of_own).await;
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
    if system.peers(question.scope).is_empty() {
        let page = system.own_page(asked, page_of_own).await;
        return Streams::of(page, asked.sort, Coverage::of(question.scope, Vec::new()));
    }
    let all = all_streams(system, question.scope).await;
    let asked = asked.clone();
    beside(move || {
        let page = of_documents(select(all.streams.iter(), &asked), Stream::clone);
        Streams::of(page, asked.sort, all.coverage)
    })
    .await
}

/// The page of the streams of this proxy.
fn page_of_own(system: &System, asked: &ListQuery) -> Page<Stream> {
    let rows = system.own_streams();
    let document = |row: &OwnStream| row.document(system.own_id());
    of_documents(select(rows.iter(), asked), document)
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
    let own = |system: &System| -> Vec<Stream> {
        let own = system.streams_now();
        own.iter()
            .map(|row| row.document(system.own_id()))
            .collect()
    };
    let mut all = system.looked(own).await;
    let path = "/api/v1/streams";
    let said = system.ask_all::<Streams>(scope, Method::GET, path).await;
    let (documents, missing) = said.documents();
    for (proxy, document) in documents {
        all.extend(document.streams.into_iter().map(|row| Stream {
            proxies: vec![proxy.clone()],
            ..row
        }));
    }
    let streams = beside(move || combined(all)).await;
    Streams {
        total: streams.len(),
        streams,
        coverage: Coverage::of(scope, missing),
        ..Streams::default()
    }
}

/// The rows of several proxies, those of one stream on one origin as one, in the order of their names; each knows where else
/// its stream is published.
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
    let mut rows: Vec<Stream> = all.into_values().collect();
    for of_one in rows.chunk_by_mut(|a, b| a.stream == b.stream) {
        let published = of_one.iter().filter(|row| row.publishers > 0);
        let places: Vec<String> = published.map(|row| row.origin.clone()).collect();
        if places.len() < 2 {
            continue;
        }
        for row in of_one.iter_mut().filter(|row| row.publishers > 0) {
            let others = places.iter().filter(|place| **place != row.origin);
            row.also_on.extend(others.cloned());
            row.also_on.sort();
            row.also_on.dedup();
            row.judge();
        }
    }
    rows
}

fn add(sum: &mut Stream, row: Stream) {
    sum.publishers += row.publishers;
    sum.held_publishers += row.held_publishers;
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
    sum.also_on.extend(row.also_on);
    sum.keyframe_seconds = either(sum.keyframe_seconds, row.keyframe_seconds, f64::max);
    sum.started_at = either(sum.started_at.take(), row.started_at, earlier);
    sum.since_seconds = either(sum.since_seconds, row.since_seconds, f64::max);
    sum.silent_seconds = either(sum.silent_seconds, row.silent_seconds, f64::min);
    sum.judge();
}

/// A stream of this proxy: where it is placed, and what its sessions add up to.
#[derive(Debug)]
struct OwnStream {
    placed: PlacementRow,
    sums: Sums,
    state: &'static str,
}

/// What the sessions of a stream add up to.
#[derive(Debug, Default)]
struct Sums {
    bps_in: u64,
    bps_out: u64,
    pulls: u64,
    /// Its publishers that are held.
    held: u64,
    /// The protocols of its publishers, each as its bit.
    protocols: u16,
    /// When the first of its publishers began: milliseconds since 1970.
    started: Option<u64>,
    since: Option<f64>,
    silent: Option<f64>,
    keyframes: Option<f64>,
}

/// The streams of a proxy, as they are now.
fn rows_of(sessions: &Sessions, placements: Vec<PlacementRow>) -> Vec<OwnStream> {
    let lines = sessions.lines();
    let mut by_key: Vec<Sums> = lines.keys.iter().map(|_| Sums::default()).collect();
    for line in lines.scattered() {
        if line.action == Action::Play && !line.is_preview {
            by_key[lines.key(line) as usize].bps_out += line.bps_to_client;
        }
    }
    for publisher in &lines.publishers {
        by_key[publisher.key as usize].add(publisher.into());
    }
    let keys = lines.keys.iter().map(PlacementKey::as_str);
    let mut sums: HashMap<&str, Sums> = keys.zip(by_key).collect();
    for pull in sessions.pulls() {
        if let Some(sum) = sums.get_mut(pull.key.as_str()) {
            sum.pulls += 1;
        }
    }
    let rows = placements.into_iter().map(|placed| {
        // A stream that was placed a moment ago may have none yet.
        let sums = sums.remove(placed.key.as_str()).unwrap_or_default();
        let state = sums.numbers(&placed).state();
        OwnStream {
            placed,
            sums,
            state,
        }
    });
    rows.collect()
}

impl From<&Publisher> for Sums {
    fn from(publisher: &Publisher) -> Self {
        Self {
            bps_in: publisher.bps,
            held: publisher.is_held.into(),
            protocols: bit_of(publisher.protocol),
            started: Some(publisher.started),
            since: Some(publisher.age.as_secs_f64()),
            silent: publisher.silent.map(|silent| silent.as_secs_f64()),
            keyframes: publisher.keyframes.map(|apart| apart.as_secs_f64()),
            ..Self::default()
        }
    }
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.bps_in += other.bps_in;
        self.bps_out += other.bps_out;
        self.pulls += other.pulls;
        self.held += other.held;
        self.protocols |= other.protocols;
        self.started = either(self.started, other.started, u64::min);
        self.since = either(self.since, other.since, f64::max);
        self.silent = either(self.silent, other.silent, f64::min);
        self.keyframes = either(self.keyframes, other.keyframes, f64::max);
    }

    fn numbers(&self, placed: &PlacementRow) -> StreamNumbers {
        StreamNumbers {
            publishers: placed.publishers as u64,
            held: self.held,
            players: (placed.sessions - placed.publishers) as u64,
            bps_out: self.bps_out,
            silent_seconds: self.silent,
            keyframe_seconds: self.keyframes,
        }
    }

    fn protocols(&self) -> impl Iterator<Item = &'static str> {
        let all = Protocol::ALL.into_iter();
        let used = all.filter(|protocol| self.protocols & bit_of(*protocol) != 0);
        used.map(Protocol::as_str)
    }
}

const fn bit_of(protocol: Protocol) -> u16 {
    1 << protocol as u16
}

/// What two sums that may be missing are together.
fn either<T>(ours: Option<T>, theirs: Option<T>, both: fn(T, T) -> T) -> Option<T> {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => Some(both(ours, theirs)),
        (ours, theirs) => ours.or(theirs),
    }
}

/// The earlier of two times.
fn earlier(ours: String, theirs: String) -> String {
    match millis_of(Some(&theirs)) < millis_of(Some(&ours)) {
        true => theirs,
        false => ours,
    }
}

impl OwnStream {
    fn document(&self, own: Option<&str>) -> Stream {
        let numbers = self.sums.numbers(&self.placed);
        Stream {
            stream: self.placed.key.clone(),
            origin: self.placed.origin.clone(),
            publishers: numbers.publishers,
            held_publishers: numbers.held,
            players: numbers.players,
            pulls: self.sums.pulls,
            state: self.state.to_owned(),
            protocols: self.sums.protocols().map(str::to_owned).collect(),
            bps_in: self.sums.bps_in,
            bps_out: self.sums.bps_out,
            started_at: self.sums.started.and_then(time_of),
            since_seconds: self.sums.since,
            silent_seconds: self.sums.silent,
            keyframe_seconds: self.sums.keyframes,
            proxies: own.map(str::to_owned).into_iter().collect(),
            also_on: Vec::new(),
        }
    }
}

/// As its document has it.
impl Listed for OwnStream {
    fn place(&self, column: &str) -> Cursor<'_> {
        let PlacementRow { key, origin, .. } = &self.placed;
        Cursor {
            key: match column {
                "age" => by_age(self.sums.started.unwrap_or(u64::MAX)),
                "origin" => Key::from(origin.as_str()),
                "out" => Key::of(self.sums.bps_out),
                "players" => Key::of(self.sums.numbers(&self.placed).players),
                "rate" => Key::of(self.sums.bps_in),
                _ => Key::from(key.as_str()),
            },
            proxy: origin.as_str().into(),
            id: Key::from(key.as_str()),
        }
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        match filter {
            "origin" => self.placed.origin == value,
            "protocol" => self.sums.protocols().any(|one| one == value),
            "state" => self.state == value,
            "stream" => self.placed.key == value,
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        mentions(&self.placed.key, text) || mentions(&self.placed.origin, text)
    }
}

/// The streams of this proxy, kept for a moment.
#[derive(Debug, Default)]
pub(super) struct KeptStreams(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    asked: Option<Instant>,
    made: Option<(Instant, Rows)>,
    /// A task makes them again, in time for those who look.
    is_renewed: bool,
}

type Rows = Arc<Vec<OwnStream>>;

impl KeptStreams {
    /// What is kept, if it is not too old, or what `make` makes: however many ask, it is made once. True beside it if somebody
    /// is to [renew](Self::renew) it from now on, because there are `many` sessions.
    fn get(&self, many: bool, make: impl FnOnce() -> Vec<OwnStream>) -> (Rows, bool) {
        // Whoever asks meanwhile waits for the same.
        let mut kept = self.lock();
        let now = Instant::now();
        kept.asked = Some(now);
        let oldest = if kept.is_renewed { OLDEST } else { KEPT };
        let fresh = |(at, _): &&(Instant, Rows)| now.duration_since(*at) < oldest;
        if let Some((_, rows)) = kept.made.as_ref().filter(fresh) {
            return (Arc::clone(rows), false);
        }
        let rows = Arc::new(make());
        kept.made = Some((Instant::now(), Arc::clone(&rows)));
        let begins = many && !kept.is_renewed;
        kept.is_renewed |= many;
        (rows, begins)
    }

    /// Rebuilds the list in the background. False if nobody has asked for it lately: then it is dropped, and the next request
    /// starts over.
    fn renew(&self, make: impl FnOnce() -> Vec<OwnStream>) -> bool {
        {
            let mut kept = self.lock();
            if kept.asked.is_none_or(|at| at.elapsed() >= LOOKS) {
                *kept = Kept::default();
                return false;
            }
        }
        let rows = Arc::new(make());
        self.lock().made = Some((Instant::now(), rows));
        true
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl System {
    /// The streams of this proxy: as they were at most [`KEPT`] ago, or if there are many sessions, with the lines that these
    /// have now. To be asked in a runtime.
    fn own_streams(&self) -> Rows {
        let many = self.proxy.sessions().len() > FEW;
        let (rows, begins) = self.streams.get(many, || self.streams_now());
        if begins {
            tokio::spawn(self.clone().renew_streams());
        }
        rows
    }

    /// Makes the streams again whenever the lines of the sessions are, until nobody looks any more.
    async fn renew_streams(self) {
        let mut goes_on = true;
        while goes_on {
            self.proxy.sessions().lines_renewed().await;
            let renew = |system: &Self| system.streams.renew(|| system.streams_now());
            goes_on = self.looked(renew).await;
        }
    }

    fn streams_now(&self) -> Vec<OwnStream> {
        let placements = self.proxy.registry().placements();
        rows_of(self.proxy.sessions(), placements)
    }
}

const NO_STREAM: &str =
    "that stream is placed nowhere; GET /api/v1/explain?stream= says where it would go";
/// How long the list of streams is kept where few sessions are summed up: a tab asks every two seconds.
const KEPT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::super::list::tests::{each_row_is_on_one_page, table};
    use super::*;

    #[test]
    fn a_stream_that_is_published_on_two_origins_says_so() {
        let row = |origin: &str, publishers, proxy: &str| Stream {
            stream: "live/a".to_owned(),
            origin: origin.to_owned(),
            publishers,
            players: 1,
            proxies: vec![proxy.to_owned()],
            ..Stream::default()
        };
        // A description; the rows of all proxies; where else each stream of the answer is, and how it is.
        let rows = [
            (
                "one place",
                vec![row("one", 1, "p"), row("one", 0, "q")],
                vec![(vec![], "")],
            ),
            (
                "two publishers",
                vec![row("one", 1, "p"), row("two", 1, "q")],
                vec![
                    (vec!["two"], "in_two_places"),
                    (vec!["one"], "in_two_places"),
                ],
            ),
            (
                "viewers that a move left behind",
                vec![row("one", 0, "p"), row("two", 1, "q")],
                vec![(vec![], ""), (vec![], "")],
            ),
        ];
        for (cause, of_proxies, expected) in rows {
            let all = combined(of_proxies);
            let found: Vec<_> = all.iter().map(|row| &row.also_on).collect();
            let places: Vec<_> = expected.iter().map(|(places, _)| places).collect();
            assert_eq!(found, places, "{cause}");
            for (row, (_, state)) in all.iter().zip(&expected) {
                let is_told = row.state == "in_two_places";
                assert_eq!(is_told, !state.is_empty(), "{cause}: {row:?}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn sums_of_many_sessions_are_made_for_nobody_who_waits() {
        let kept = KeptStreams::default();
        let passes = tokio::time::advance;
        let is_made = |many| {
            let mut is_made = false;
            let (_, begins) = kept.get(many, || {
                is_made = true;
                Vec::new()
            });
            (is_made, begins)
        };
        assert_eq!(is_made(false), (true, false), "of few sessions");
        assert_eq!(is_made(false), (false, false), "once for all who ask");
        passes(KEPT).await;
        assert_eq!(is_made(true), (true, true), "of many, the first time");
        for _ in 0..9 {
            passes(Duration::from_secs(1)).await;
            assert!(kept.renew(Vec::new));
            assert_eq!(is_made(true), (false, false), "not by who asks");
        }
        passes(OLDEST).await;
        assert_eq!(is_made(true), (true, false), "who renews is late");
        passes(LOOKS).await;
        assert!(!kept.renew(Vec::new), "nobody looks");
        assert_eq!(is_made(true), (true, true), "somebody looks again");
    }

    #[test]
    fn a_stream_is_listed_as_its_document_is() {
        let (table, _open) = table(40);
        let row = |number: u32| PlacementRow {
            key: format!("__defaultVhost__/live/cam-{number}"),
            origin: format!("origin-{}", number % 2),
            sessions: 10,
            publishers: 1,
        };
        let rows = rows_of(&table, (0..5).map(row).collect());
        assert_eq!(rows.len(), 5, "one that has no session yet too");
        let used = rows
            .iter()
            .filter(|row| row.sums.bps_in + row.sums.bps_out > 0);
        assert_eq!(used.count(), 4);
        for row in &rows {
            let document = row.document(Some("p"));
            let mut judged = document.clone();
            judged.judge();
            assert_eq!(judged, document);
            for column in STREAMS.sorts {
                assert_eq!(row.place(column), document.place(column), "{column}");
            }
            for (filter, value) in [
                ("origin", "origin-1"),
                ("protocol", "rtmp"),
                ("state", "live"),
                ("stream", "__defaultVhost__/live/cam-3"),
            ] {
                assert_eq!(
                    row.has(filter, value),
                    document.has(filter, value),
                    "{filter}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_time_passes_each_stream_is_on_one_page() {
        let (table, _open) = table(200);
        let row = |number: u32| PlacementRow {
            key: format!("__defaultVhost__/live/cam-{number}"),
            origin: format!("origin-{}", number % 2),
            sessions: 10,
            publishers: 1,
        };
        // The last three have no publisher, and no age.
        let placements: Vec<PlacementRow> = (0..23).map(row).collect();
        let documents = |proxy| {
            let rows = rows_of(&table, placements.clone());
            let documents: Vec<Stream> = rows.iter().map(|row| row.document(Some(proxy))).collect();
            documents
        };
        each_row_is_on_one_page(&STREAMS, 23, |asked| {
            let rows = rows_of(&table, placements.clone());
            of_documents(select(rows.iter(), asked), |row| row.document(Some("p")))
        })
        .await;
        each_row_is_on_one_page(&STREAMS, 23, |asked| {
            let all = combined([documents("p"), documents("q")].concat());
            of_documents(select(all.iter(), asked), Stream::clone)
        })
        .await;
    }

    #[test]
    fn a_stream_is_as_old_as_its_first_publisher_at_any_proxy() {
        let row = |proxy: &str, started: Option<&str>| Stream {
            stream: "live/a".to_owned(),
            origin: "one".to_owned(),
            proxies: vec![proxy.to_owned()],
            started_at: started.map(str::to_owned),
            ..Stream::default()
        };
        let (early, late) = ("2026-11-30T12:00:00Z", "2026-11-30T12:00:00.5Z");
        for (ours, theirs, expected) in [
            (None, None, None),
            (Some(late), None, Some(late)),
            (None, Some(early), Some(early)),
            (Some(late), Some(early), Some(early)),
            (Some(early), Some(late), Some(early)),
        ] {
            let all = combined(vec![row("p", ours), row("q", theirs)]);
            assert_eq!(
                all[0].started_at.as_deref(),
                expected,
                "{ours:?} {theirs:?}"
            );
        }
    }

    #[test]
    #[ignore = "scripts/long console"]
    fn pages_of_ten_thousand_streams_with_a_hundred_thousand_sessions_take_milliseconds() {
        let (table, _open) = table(100_000);
        let row = |number: u32| PlacementRow {
            key: format!("__defaultVhost__/live/cam-{number}"),
            origin: format!("origin-{}", number % 20),
            sessions: 10,
            publishers: 1,
        };
        let placements: Vec<PlacementRow> = (0..10_000).map(row).collect();
        let sorts = STREAMS.sorts.iter();
        let sorts =
            sorts.flat_map(|sort| [("sort", (*sort).to_owned()), ("sort", format!("-{sort}"))]);
        let others = [
            ("q", "cam-77"),
            ("q", "nobody"),
            ("origin", "origin-7"),
            ("protocol", "rtmp"),
            ("state", "stalled"),
            ("stream", "__defaultVhost__/live/cam-5"),
        ];
        let others = others.map(|(name, value)| (name, value.to_owned()));
        for pair in sorts.chain(others) {
            let asked = ListQuery::read([&pair].map(|(a, b)| (*a, b)), &STREAMS).expect("a query");
            super::super::list::tests::within_milliseconds(
                &format!("streams, made for it, {pair:?}"),
                &table,
                || {
                    let rows = rows_of(&table, placements.clone());
                    let page =
                        of_documents(select(rows.iter(), &asked), |row| row.document(Some("p")));
                    Streams::of(page, asked.sort, Coverage::default())
                },
            );
        }
    }
}
