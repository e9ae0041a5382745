//! How it goes, for people: totals and their last hour, what needs attention, and a feed of what happens.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::Method;
use hyper::body::Frame;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sluicegate_core::attention::{RULES, STEP, Samples, Watch};
use sluicegate_core::events::Event;
use sluicegate_core::fleet::State as OriginState;
use sluicegate_core::fleet::drain::Duty;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::asked::Query;
use super::list::{answered, event_document};
use super::{System, cluster, problem};
use crate::api::{
    Attention, Coverage, Finding, History, OriginCounts, OriginHistory, Overview, StoreSeen, Totals,
};
use crate::unix_time;

/// What is noted of the last hour, and who follows.
#[derive(Debug)]
pub(super) struct Noted {
    // A std mutex: it is held for a few lines and never across an await.
    hour: Mutex<Hour>,
    watch: Mutex<Watch>,
    feeds: Arc<Semaphore>,
    started: Instant,
    started_at: Timestamp,
    store: Mutex<StoreLook>,
}

/// Whether the store answered, and since when it was so.
#[derive(Debug)]
struct StoreLook {
    reachable: bool,
    since: Instant,
}

/// The last hour.
#[derive(Debug, Default)]
struct Hour {
    totals: VecDeque<Totals>,
    /// Refusals and failovers since the start, at each step of the last minute and now.
    counted: VecDeque<(u64, u64)>,
    origins: BTreeMap<String, VecDeque<char>>,
    until: u64,
}

/// How much of the history is wanted.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    minutes: Option<usize>,
}

impl Default for Noted {
    fn default() -> Self {
        Self {
            hour: Mutex::default(),
            watch: Mutex::default(),
            feeds: Arc::new(Semaphore::new(MOST_FEEDS)),
            started: Instant::now(),
            started_at: Timestamp::now(),
            store: Mutex::new(StoreLook {
                reachable: true,
                since: Instant::now(),
            }),
        }
    }
}

impl Noted {
    fn hour(&self) -> MutexGuard<'_, Hour> {
        self.hour.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the proxy started (RFC 3339).
    pub(super) fn started_at(&self) -> String {
        self.started_at.to_string()
    }
}

impl System {
    /// Notes how it goes, for ever.
    pub async fn keep_noted(self) {
        let mut totals = interval(TOTALS_STEP);
        let mut origins = interval(ORIGINS_STEP);
        let mut rules = interval(STEP);
        for clock in [&mut totals, &mut origins, &mut rules] {
            clock.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        loop {
            tokio::select! {
                _ = totals.tick() => {
                    self.note_totals();
                    self.store();
                }
                _ = origins.tick() => self.note_origins(),
                _ = rules.tick() => self.looked(Self::note_findings).await,
            }
        }
    }

    fn note_totals(&self) {
        let metrics = self.proxy.metrics();
        let counted = (metrics.journal.refused(), metrics.failovers.get());
        let mut totals = self.totals();
        let mut hour = self.noted.hour();
        let before = hour.counted.front().copied().unwrap_or_default();
        totals.refused = counted.0.saturating_sub(before.0);
        totals.failovers = counted.1.saturating_sub(before.1);
        push(&mut hour.counted, counted, MINUTE_STEPS);
        push(&mut hour.totals, totals, HOUR_STEPS);
        hour.until = unix_time::millis();
    }

    fn note_origins(&self) {
        let now = std::time::Instant::now();
        let members = self.proxy.registry().origins();
        let mut hour = self.noted.hour();
        let steps = hour.origins.values().map(VecDeque::len).max();
        let steps = steps.unwrap_or_default();
        for (id, member) in &members {
            let letter = letter(member.duty, member.state(now));
            let of_it = hour.origins.entry(id.as_str().to_owned());
            let of_it = of_it.or_insert_with(|| VecDeque::from(vec!['-'; steps]));
            push(of_it, letter, HOUR_ORIGIN_STEPS);
        }
        hour.origins.retain(|id, states| {
            if !members.iter().any(|(known, _)| known.as_str() == id) {
                push(states, '-', HOUR_ORIGIN_STEPS);
            }
            states.iter().any(|state| *state != '-')
        });
    }

    fn note_findings(&self) {
        let samples = Samples::read(&self.proxy.metrics().render());
        let since = self.noted.started.elapsed();
        let mut watch = self
            .noted
            .watch
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        watch.note(since, Duration::from_millis(unix_time::millis()), samples);
    }

    /// The totals of this proxy now, with the counts of the last step.
    fn totals(&self) -> Totals {
        let last = self.noted.hour().totals.back().copied().unwrap_or_default();
        let streams = self.proxy.metrics().streams.get();
        Totals {
            streams: u64::try_from(streams).unwrap_or_default(),
            refused: last.refused,
            failovers: last.failovers,
            ..self.proxy.sessions().totals()
        }
    }

    /// How the store is. Each look notes when that changes.
    fn store(&self) -> StoreSeen {
        let cluster = self.proxy.cluster();
        let reachable = cluster.is_none_or(|cluster| cluster.is_reachable());
        let look = self.noted.store.lock();
        let mut look = look.unwrap_or_else(PoisonError::into_inner);
        if look.reachable != reachable {
            *look = StoreLook {
                reachable,
                since: Instant::now(),
            };
        }
        StoreSeen {
            kind: cluster
                .map_or("memory", |cluster| cluster.store_name())
                .to_owned(),
            reachable,
            since_seconds: look.since.elapsed().as_secs_f64(),
        }
    }

    /// Requests that got no session in the last five minutes, by reason.
    fn refusals(&self) -> BTreeMap<String, u64> {
        let watch = self.noted.watch.lock();
        let refusals = watch.unwrap_or_else(PoisonError::into_inner).refusals();
        let counted = refusals.into_iter().filter(|(_, count)| *count >= 1.0);
        counted
            .map(|(reason, count)| (reason, count as u64))
            .collect()
    }

    fn origin_counts(&self) -> OriginCounts {
        let now = std::time::Instant::now();
        let mut counts = OriginCounts::default();
        for (_, member) in self.proxy.registry().origins() {
            match letter(member.duty, member.state(now)) {
                'd' => counts.draining += 1,
                'x' => counts.disabled += 1,
                'f' => counts.failing += 1,
                's' => counts.suspect += 1,
                _ => counts.up += 1,
            }
        }
        counts
    }
}

/// `GET /api/v1/overview`.
pub(super) async fn overview(
    State(system): State<System>,
    Query(asked): Query<cluster::ScopeQuery>,
    headers: HeaderMap,
) -> Response {
    let path = "/api/v1/overview";
    let said = system.ask_all::<Overview>(asked.scope, Method::GET, path);
    let (documents, missing) = said.await.documents();
    let (mut now, mut refusals) = (system.totals(), system.refusals());
    for (_, theirs) in &documents {
        now.add(&theirs.now);
        for (reason, count) in &theirs.refusals {
            *refusals.entry(reason.clone()).or_default() += count;
        }
    }
    let document = Overview {
        id: system.own_id().map(str::to_owned),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        proxies: 1 + documents.len() as u64,
        origins: system.origin_counts(),
        now,
        refusals,
        store: system.store(),
        coverage: Coverage::of(asked.scope, missing),
    };
    answered(&headers, &document)
}

/// `GET /api/v1/history`.
pub(super) async fn history(
    State(system): State<System>,
    Query(asked): Query<cluster::ScopeQuery>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Response {
    let minutes = wanted.minutes.unwrap_or(60);
    if !(1..=60).contains(&minutes) {
        return problem(StatusCode::BAD_REQUEST, "minutes: a number from 1 to 60");
    }
    let path = format!("/api/v1/history?minutes={minutes}");
    let said = system.ask_all::<History>(asked.scope, Method::GET, &path);
    let (documents, missing) = said.await.documents();
    let mut document = own_history(&system, minutes);
    for (_, theirs) in &documents {
        document.add(theirs);
    }
    document.coverage = Coverage::of(asked.scope, missing);
    answered(&headers, &document)
}

fn own_history(system: &System, minutes: usize) -> History {
    let hour = system.noted.hour();
    let steps = minutes * MINUTE_STEPS;
    let skipped = hour.totals.len().saturating_sub(steps);
    let origin_steps = minutes * 2;
    let origins = hour.origins.iter().map(|(id, states)| OriginHistory {
        id: id.clone(),
        step_seconds: ORIGINS_STEP.as_secs(),
        states: states
            .iter()
            .skip(states.len().saturating_sub(origin_steps))
            .collect(),
    });
    History {
        step_seconds: TOTALS_STEP.as_secs(),
        until: hour.until,
        totals: hour.totals.iter().skip(skipped).copied().collect(),
        origins: origins.collect(),
        coverage: Coverage::default(),
    }
}

/// `GET /api/v1/attention`.
pub(super) async fn attention(
    State(system): State<System>,
    Query(asked): Query<cluster::ScopeQuery>,
    headers: HeaderMap,
) -> Response {
    let path = "/api/v1/attention";
    let said = system.ask_all::<Attention>(asked.scope, Method::GET, path);
    let (documents, missing) = said.await.documents();
    let mut document = own_attention(&system);
    for (proxy, theirs) in documents {
        document.add(&proxy, theirs.findings);
    }
    document.coverage = Coverage::of(asked.scope, missing);
    answered(&headers, &document)
}

fn own_attention(system: &System) -> Attention {
    let watch = system.noted.watch.lock();
    let findings = watch.unwrap_or_else(PoisonError::into_inner).findings();
    let findings = findings.into_iter().map(|one| Finding {
        name: one.rule.name.to_owned(),
        severity: one.rule.severity.as_str().to_owned(),
        summary: one.rule.summary.to_owned(),
        about: one.about,
        value: one.value,
        lasts_seconds: one.lasts.as_secs_f64(),
        advice: one.rule.advice.to_owned(),
        proxies: system.own_id().map(str::to_owned).into_iter().collect(),
    });
    Attention {
        findings: findings.collect(),
        rules: RULES.len(),
        coverage: Coverage::default(),
    }
}

/// `GET /api/v1/feed`: totals each second, and events as they happen, of this proxy.
pub(super) async fn feed(State(system): State<System>) -> Response {
    let Ok(place) = Arc::clone(&system.noted.feeds).try_acquire_owned() else {
        let retry = [(header::RETRY_AFTER, "10")];
        let words = "as many feeds are open as there may be";
        return (retry, problem(StatusCode::SERVICE_UNAVAILABLE, words)).into_response();
    };
    let mut seconds = interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let feed = Feed {
        events: system.proxy.metrics().journal.follow(),
        last: Instant::now(),
        seconds,
        system,
        _place: place,
    };
    let head = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx holds small answers back until it has kilobytes of them.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let begin = format!("retry: {RETRY_MILLIS}\n\n");
    let begun = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from(begin)))]);
    let frames = stream::StreamExt::chain(begun, stream::unfold(feed, Feed::next));
    (head, Body::new(StreamBody::new(frames))).into_response()
}

/// One who follows.
struct Feed {
    system: System,
    events: broadcast::Receiver<Event>,
    seconds: Interval,
    /// When it last took something.
    last: Instant,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// The next message; `None` for one who is too slow, and comes back to read the lists again.
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        if self.last.elapsed() > SLOW {
            return None;
        }
        let message = tokio::select! {
            event = self.events.recv() => {
                let event = event_document(&self.system, event.ok()?);
                message("event", Some(event.id), &event)
            }
            _ = self.seconds.tick() => message("totals", None, &self.system.totals()),
        };
        self.last = Instant::now();
        Some((Ok(Frame::data(Bytes::from(message))), self))
    }
}

/// A message as the HTML standard has it (§9.2.6). JSON has no line break in it.
fn message<T: Serialize>(kind: &str, id: Option<u64>, document: &T) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    let text = serde_json::to_string(document).unwrap_or_default();
    format!("event: {kind}\n{id}data: {text}\n\n")
}

/// An origin in one letter, as the history has it.
const fn letter(duty: Duty, state: OriginState) -> char {
    match (duty, state) {
        (Duty::Draining(_), _) => 'd',
        (Duty::Disabled, _) => 'x',
        (Duty::Active, OriginState::Failing) => 'f',
        (Duty::Active, OriginState::Suspect) => 's',
        (Duty::Active, OriginState::Up) => 'u',
    }
}

fn push<T>(kept: &mut VecDeque<T>, one: T, most: usize) {
    if kept.len() >= most {
        kept.pop_front();
    }
    kept.push_back(one);
}

const TOTALS_STEP: Duration = Duration::from_secs(5);
const ORIGINS_STEP: Duration = Duration::from_secs(30);
const MINUTE_STEPS: usize = 12;
/// An hour of totals is 720 values, about 25 kB as a document.
const HOUR_STEPS: usize = 60 * MINUTE_STEPS;
/// An hour of one origin is 120 letters.
const HOUR_ORIGIN_STEPS: usize = 120;
/// Feeds at once: the tabs of every operator, and far fewer than connections.
const MOST_FEEDS: usize = 64;
/// A follower that takes nothing for this long is closed.
const SLOW: Duration = Duration::from_secs(15);
/// When a browser comes back after a feed ended.
const RETRY_MILLIS: u64 = 2_000;
