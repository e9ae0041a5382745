//! A stampede is one request: equal requests that are in flight share one answer, and answers may be kept for a
//! while.
//!
//! A flight is an answer on its way. The first request leads it, in a task of its own; requests that come
//! meanwhile read along as it fills, each at its own pace. Where all of them have left, nobody waits for it at its origin any
//! more. A flight that is kept is the cache.

use std::collections::{HashMap, VecDeque};
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{AGE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::ready::{Answer, FinalHead};
use super::viewer::Leads;
use crate::bell;
use crate::net::http::{Body, BoxError, full};

/// Answers in flight, and those that are kept.
#[derive(Debug)]
pub(super) struct Shares {
    table: Mutex<Table>,
    /// Bytes that flights hold and will hold, and that are not kept.
    flying: AtomicUsize,
    /// Bytes that may be kept.
    room: usize,
}

#[derive(Debug, Default)]
struct Table {
    flights: HashMap<Arc<str>, Arc<Flight>>,
    /// What is kept, oldest first.
    kept: VecDeque<(Arc<str>, Arc<Flight>)>,
    bytes: usize,
}

/// An answer on its way, or kept.
#[derive(Debug)]
pub(super) struct Flight {
    state: Mutex<State>,
    changed: Notify,
    began: Instant,
    /// Who waits for it or reads it. They grow under the lock of the table only.
    readers: AtomicUsize,
    /// Rings when the last of them leaves.
    left: Notify,
}

/// One who waits for an answer, or reads it.
#[derive(Debug)]
pub(super) struct Reader(Arc<Flight>);

#[derive(Debug)]
struct State {
    outcome: Option<Outcome>,
    chunks: Vec<Bytes>,
    ended: Option<FlightEnd>,
    until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlightEnd {
    Broken,
    Whole,
}

/// What came of a request that others wait for.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// The answer is for the one who asked: everybody else asks for himself.
    Alone,
    /// An answer for all.
    Shared(FinalHead),
}

/// The head of an answer.
#[derive(Debug)]
pub(super) struct Head {
    /// 200 or another.
    pub(super) status: StatusCode,
    /// As they go to clients.
    pub(super) headers: HeaderMap,
    /// Where its links lead, where each viewer gets links of its own.
    pub(super) leads: Option<Leads>,
}

/// What stands under a key.
#[derive(Debug)]
pub(super) enum Found {
    /// A kept answer.
    Kept(Reader),
    /// Somebody asks already.
    Flying(Reader),
    /// Nobody does: ask, and tell the flight. The first who reads it is the one who asks.
    Nothing(Leader, Reader),
    /// No answer that is known to be for all, and none to be expected.
    Unlikely,
}

impl Shares {
    /// `room` is how many bytes of answers are kept; 0 keeps none.
    pub(super) fn new(room: usize) -> Self {
        Self {
            table: Mutex::default(),
            flying: AtomicUsize::new(0),
            room,
        }
    }

    /// Bytes that are kept now.
    pub(super) fn kept_bytes(&self) -> usize {
        lock(&self.table).bytes
    }

    /// Whether answers are kept.
    pub(super) const fn keeps(&self) -> bool {
        self.room > 0
    }

    /// What is kept under `key`.
    pub(super) fn kept(&self, key: &str) -> Option<Reader> {
        let table = lock(&self.table);
        let flight = table.flights.get(key)?;
        let until = lock(&flight.state).until?;
        (Instant::now() < until).then(|| Reader::of(flight))
    }

    /// What stands under `key`. If nothing does, a new flight: where an answer for all is not `likely`, only one that
    /// may be kept, and nobody is to wait for its head.
    pub(super) fn find(self: &Arc<Self>, key: &str, likely: bool) -> Found {
        let mut table = lock(&self.table);
        if let Some(flight) = table.flights.get(key) {
            let (ended, until, known) = {
                let state = lock(&flight.state);
                (state.ended, state.until, state.outcome.is_some())
            };
            match (ended, until) {
                (None | Some(FlightEnd::Whole), None) if !known && !likely => {
                    return Found::Unlikely;
                }
                // A whole one without a time is about to be kept, or to go: it is the answer in any case.
                (None | Some(FlightEnd::Whole), None) => return Found::Flying(Reader::of(flight)),
                (_, Some(until)) if Instant::now() < until => {
                    return Found::Kept(Reader::of(flight));
                }
                _ => {}
            }
        }
        if !likely && !self.keeps() {
            return Found::Unlikely;
        }
        let key: Arc<str> = key.into();
        let flight = Arc::new(Flight::new());
        table.flights.insert(Arc::clone(&key), Arc::clone(&flight));
        let reader = Reader::of(&flight);
        let leader = Leader {
            shares: Arc::clone(self),
            key,
            flight,
            reserved: 0,
        };
        Found::Nothing(leader, reader)
    }
}

impl Table {
    /// Keeps a whole answer, and lets the oldest go for it.
    fn keep(&mut self, key: &Arc<str>, flight: Arc<Flight>, size: usize, room: usize) {
        let now = Instant::now();
        while let Some((_, oldest)) = self.kept.front()
            && (self.bytes + size > room || oldest.is_over(now))
        {
            if let Some((key, oldest)) = self.kept.pop_front() {
                self.bytes -= oldest.size();
                self.remove(&key, &oldest);
            }
        }
        self.bytes += size;
        self.flights.insert(Arc::clone(key), Arc::clone(&flight));
        self.kept.push_back((Arc::clone(key), flight));
    }

    /// Forgets a flight, unless another stands in its place.
    fn remove(&mut self, key: &Arc<str>, flight: &Arc<Flight>) {
        if self
            .flights
            .get(key)
            .is_some_and(|standing| Arc::ptr_eq(standing, flight))
        {
            self.flights.remove(key);
        }
    }
}

impl Reader {
    fn of(flight: &Arc<Flight>) -> Self {
        flight.readers.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(flight))
    }

    /// The answer for one of those who wait for it.
    pub(super) fn answer(&self, head: &FinalHead) -> Answer {
        self.0.answer(head)
    }
}

impl Deref for Reader {
    type Target = Flight;

    fn deref(&self) -> &Flight {
        &self.0
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.0.readers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

impl Flight {
    fn new() -> Self {
        Self {
            state: Mutex::new(State {
                outcome: None,
                chunks: Vec::new(),
                ended: None,
                until: None,
            }),
            changed: Notify::new(),
            began: Instant::now(),
            readers: AtomicUsize::new(0),
            left: Notify::new(),
        }
    }

    fn is_read(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    /// The head of an answer that is for all, if it is known.
    pub(super) fn head(&self) -> Option<FinalHead> {
        match &lock(&self.state).outcome {
            Some(Outcome::Shared(head)) => Some(head.clone()),
            _ => None,
        }
    }

    /// What came of it, as soon as that is known.
    pub(super) async fn outcome(&self) -> Outcome {
        if let Some(known) = lock(&self.state).outcome.clone() {
            return known;
        }
        bell::once(&self.changed, || lock(&self.state).outcome.clone()).await
    }

    fn answer(self: &Arc<Self>, head: &FinalHead) -> Answer {
        // The time it spent with us comes on top of what it had spent elsewhere (RFC 9111 §4.2.3).
        let Head {
            status, headers, ..
        } = head.head();
        let said = headers.get(AGE).and_then(|age| age.to_str().ok());
        let before: u64 = said.and_then(|age| age.parse().ok()).unwrap_or(0);
        let age = before.saturating_add(self.began.elapsed().as_secs());
        if head.has_body()
            && let Some(body) = self.in_one_piece()
        {
            return Answer::Ready(head.ready(body, age));
        }
        let mut response = Response::new(self.body());
        *response.status_mut() = *status;
        *response.headers_mut() = headers.clone();
        if age > 0 {
            response.headers_mut().insert(AGE, HeaderValue::from(age));
        }
        Answer::Made(response)
    }

    /// The body, if it is whole and not in several pieces.
    fn in_one_piece(&self) -> Option<Bytes> {
        let state = lock(&self.state);
        match (state.ended, state.chunks.as_slice()) {
            (Some(FlightEnd::Whole), []) => Some(Bytes::new()),
            (Some(FlightEnd::Whole), [only]) => Some(only.clone()),
            _ => None,
        }
    }

    /// The whole body, once it is there; `None` if it broke off.
    pub(super) async fn whole(&self) -> Option<Bytes> {
        let mut whole = BytesMut::new();
        let mut at = 0;
        loop {
            match self.chunk(at).await {
                // Most are in one piece.
                None => return Some(whole.freeze()),
                Some(Ok(chunk)) => whole.extend_from_slice(&chunk),
                Some(Err(_)) => return None,
            }
            at += 1;
        }
    }

    fn body(self: &Arc<Self>) -> Body {
        if let Some(body) = self.in_one_piece() {
            return full(body);
        }
        let chunks = unfold((Reader::of(self), 0), |(reader, at)| async move {
            let chunk = reader.chunk(at).await?.map(Frame::data);
            Some((chunk, (reader, at + 1)))
        });
        StreamBody::new(Box::pin(chunks)).boxed_unsync()
    }

    /// The chunk of this number, as soon as it is there; `None` after the last.
    async fn chunk(&self, at: usize) -> Option<Result<Bytes, BoxError>> {
        bell::once(&self.changed, || {
            let state = lock(&self.state);
            if let Some(chunk) = state.chunks.get(at) {
                return Some(Some(Ok(chunk.clone())));
            }
            Some(match state.ended? {
                FlightEnd::Whole => None,
                FlightEnd::Broken => Some(Err("the origin broke off".into())),
            })
        })
        .await
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut lock(&self.state));
        self.changed.notify_waiters();
    }

    fn is_over(&self, now: Instant) -> bool {
        lock(&self.state).until.is_none_or(|until| until <= now)
    }

    fn size(&self) -> usize {
        lock(&self.state).chunks.iter().map(Bytes::len).sum()
    }
}

/// The part of the one who asks. Dropping it before the end breaks the answer off for all.
#[derive(Debug)]
pub(super) struct Leader {
    shares: Arc<Shares>,
    key: Arc<str>,
    flight: Arc<Flight>,
    reserved: usize,
}

impl Leader {
    /// Whether an answer of this many bytes may be held for all; the bytes are counted until the flight is over.
    pub(super) fn reserve(&mut self, bytes: u64) -> bool {
        let Some(bytes) = usize::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes <= SHARED_MAX)
        else {
            return false;
        };
        let before = self.shares.flying.fetch_add(bytes, Ordering::Relaxed);
        self.reserved += bytes;
        before + bytes <= FLYING_MAX
    }

    /// Tells those who wait what came of it, once. Requests from now on are new ones, unless it is shared.
    pub(super) fn settle(&self, outcome: Outcome) {
        let shared = matches!(outcome, Outcome::Shared(_));
        if !shared {
            lock(&self.shares.table).remove(&self.key, &self.flight);
        }
        self.flight.change(|state| {
            state.outcome = Some(outcome);
            if !shared {
                state.ended = Some(FlightEnd::Whole);
            }
        });
    }

    /// Adds to the answer.
    pub(super) fn push(&self, chunk: Bytes) {
        self.flight.change(|state| state.chunks.push(chunk));
    }

    /// Resolves when nobody waits for the answer or reads it any more, and nobody will.
    pub(super) async fn forsaken(&self) {
        loop {
            let is_left = || (!self.flight.is_read()).then_some(());
            bell::once(&self.flight.left, is_left).await;
            if self.leave() {
                return;
            }
        }
    }

    /// Takes the flight from the table, unless somebody reads it: nobody finds it afterwards.
    fn leave(&self) -> bool {
        let mut table = lock(&self.shares.table);
        let is_left = !self.flight.is_read();
        if is_left {
            table.remove(&self.key, &self.flight);
        }
        is_left
    }

    /// Whether that is so now, for an answer that comes already: to its end, where that may be kept for others.
    pub(super) fn is_forsaken(&self) -> bool {
        !self.shares.keeps() && !self.flight.is_read() && self.leave()
    }

    /// The same as a wait.
    pub(super) async fn forsaken_while_it_comes(&self) {
        match self.shares.keeps() {
            true => std::future::pending().await,
            false => self.forsaken().await,
        }
    }

    /// The answer is whole; it is kept for as long as `keep` says.
    pub(super) fn finish(self, keep: Option<Duration>) {
        self.flight
            .change(|state| state.ended = Some(FlightEnd::Whole));
        let Some(keep) = keep.filter(|keep| !keep.is_zero()) else {
            return;
        };
        let state = lock(&self.flight.state);
        let size: usize = state.chunks.iter().map(Bytes::len).sum();
        if size > self.shares.room {
            return;
        }
        // A chunk may pin a larger buffer than itself, so what is kept is copied once.
        let mut whole = BytesMut::with_capacity(size);
        state
            .chunks
            .iter()
            .for_each(|chunk| whole.extend_from_slice(chunk));
        let kept = Flight {
            state: Mutex::new(State {
                outcome: state.outcome.clone(),
                chunks: vec![whole.freeze()],
                ended: Some(FlightEnd::Whole),
                until: Some(Instant::now() + keep),
            }),
            changed: Notify::new(),
            began: self.flight.began,
            readers: AtomicUsize::new(0),
            left: Notify::new(),
        };
        drop(state);
        lock(&self.shares.table).keep(&self.key, Arc::new(kept), size, self.shares.room);
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.shares
            .flying
            .fetch_sub(self.reserved, Ordering::Relaxed);
        lock(&self.shares.table).remove(&self.key, &self.flight);
        let over = {
            let state = lock(&self.flight.state);
            state.ended.is_some() && state.outcome.is_some()
        };
        if !over {
            self.flight.change(|state| {
                state.outcome.get_or_insert(Outcome::Alone);
                state.ended.get_or_insert(FlightEnd::Broken);
            });
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The largest answer that is held for those who read along: ten seconds of 12 Mbit/s. A larger one passes to the
/// one who asked, and the others ask for themselves.
pub(super) const SHARED_MAX: usize = 16 * 1024 * 1024;
/// Bytes that all flights together hold.
const FLYING_MAX: usize = 128 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    fn led(shares: &Arc<Shares>) -> Leader {
        let Found::Nothing(lead, _) = shares.find("key", true) else {
            panic!("nobody asks yet");
        };
        let head = Head {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            leads: None,
        };
        lead.settle(Outcome::Shared(FinalHead::new(head)));
        lead.push(Bytes::from_static(b"segment"));
        lead
    }

    #[tokio::test(start_paused = true)]
    async fn between_the_last_byte_and_the_cache_nobody_asks_again() {
        let shares = Arc::new(Shares::new(1024));
        let lead = led(&shares);
        assert!(matches!(shares.find("key", true), Found::Flying(_)));
        // What `finish` does first.
        lead.flight
            .change(|state| state.ended = Some(FlightEnd::Whole));
        assert!(
            matches!(shares.find("key", true), Found::Flying(_)),
            "whole"
        );
        lead.finish(Some(Duration::from_secs(1)));
        assert!(matches!(shares.find("key", true), Found::Kept(_)));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(
            matches!(shares.find("key", true), Found::Nothing(..)),
            "too old"
        );
    }

    #[tokio::test]
    async fn it_is_forsaken_by_the_last_who_leaves() {
        for room in [0, 1024] {
            let shares = Arc::new(Shares::new(room));
            let Found::Nothing(lead, first) = shares.find("key", true) else {
                panic!("nobody asks yet");
            };
            let Found::Flying(second) = shares.find("key", true) else {
                panic!("somebody asks");
            };
            let mut forsaken = std::pin::pin!(lead.forsaken());
            assert!(poll!(&mut forsaken).is_pending());
            drop(first);
            assert!(poll!(&mut forsaken).is_pending(), "one is left");
            drop(second);
            let Found::Flying(third) = shares.find("key", true) else {
                panic!("it still stands");
            };
            assert!(poll!(&mut forsaken).is_pending(), "one came");
            drop(third);
            assert!(poll!(&mut forsaken).is_ready());
            let found = shares.find("key", true);
            assert!(matches!(found, Found::Nothing(..)), "nobody finds it");
        }
    }

    #[tokio::test]
    async fn who_reads_a_body_is_there_until_it_is_dropped() {
        let shares = Arc::new(Shares::new(0));
        let lead = led(&shares);
        let Found::Flying(reader) = shares.find("key", true) else {
            panic!("somebody asks");
        };
        let head = reader.head().expect("it is known");
        let body = reader.answer(&head);
        drop(reader);
        let mut forsaken = std::pin::pin!(lead.forsaken_while_it_comes());
        assert!(poll!(&mut forsaken).is_pending());
        drop(body);
        assert!(poll!(&mut forsaken).is_ready());
    }

    #[tokio::test]
    async fn nobody_waits_for_what_is_unlikely() {
        for room in [0, 1024] {
            let shares = Arc::new(Shares::new(room));
            match shares.find("key", false) {
                Found::Unlikely => assert_eq!(room, 0),
                Found::Nothing(..) => assert!(room > 0, "it may be kept"),
                found => panic!("{found:?}"),
            }
            let Found::Nothing(waiting, _) = shares.find("key", true) else {
                panic!("nobody asks yet");
            };
            assert!(matches!(shares.find("key", false), Found::Unlikely));
            assert!(matches!(shares.find("key", true), Found::Flying(_)));
            drop(waiting);
            let lead = led(&shares);
            let found = shares.find("key", false);
            assert!(matches!(found, Found::Flying(_)), "it is known");
            lead.finish(Some(Duration::from_secs(1)));
            let kept = matches!(shares.find("key", false), Found::Kept(_));
            assert_eq!(kept, room > 0);
        }
    }

    #[tokio::test]
    async fn what_broke_off_or_is_not_kept_is_asked_for_anew() {
        let shares = Arc::new(Shares::new(1024));
        drop(led(&shares));
        assert!(
            matches!(shares.find("key", true), Found::Nothing(..)),
            "broken"
        );
        led(&shares).finish(None);
        assert!(
            matches!(shares.find("key", true), Found::Nothing(..)),
            "not kept"
        );
    }
}
