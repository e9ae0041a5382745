//! The origins that others know: their records in the store, and those that are named before their record came.

use std::collections::HashMap;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use sluicegate_core::cluster::srs::{self, OTHER_SERVER, OTHER_SERVERS, SERVER, SERVERS};
use sluicegate_core::fleet::State;
use sluicegate_core::fleet::origin::{Origin, OriginId};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{timeout, timeout_at};
use tracing::debug;

use super::Cluster;
use crate::store::{Change, Store, StoreError};

impl Cluster {
    pub(super) async fn list_origins(&self) {
        for (list, prefix) in [(SERVERS, SERVER), (OTHER_SERVERS, OTHER_SERVER)] {
            let listed = self.store.in_list(list, prefix).await;
            for (key, record) in self.noted("list", listed).unwrap_or_default() {
                self.heard(&key, &record, false).await;
            }
        }
    }

    pub(super) async fn announce(self: &Arc<Self>, origin: Origin) {
        self.keep_duties();
        let key = srs::server_key(&origin);
        let report = (origin.clone(), Instant::now());
        self.reporting().insert(key.clone(), report);
        self.put(&origin).await;
        // Nobody tells a proxy of what it writes itself.
        self.follow_to(&key).await;
    }

    /// Keeps the records of origins that have a publisher through here and were not heard of for a while: the proxy that they
    /// report to may be cut off. Without a record, another proxy would take a claim on one of them for dead, and the stream
    /// with it. That the record stands is no sign of life.
    pub(super) async fn keep_used(&self) {
        for origin in self.registry.missed() {
            self.keep_record(&origin).await;
        }
    }

    /// A claim for `origin` is about to be made, which has to be read of by whoever reads the claim.
    pub(super) async fn keep_claimed(&self, origin: &OriginId) {
        if let Some(origin) = self.registry.missed_one(origin) {
            self.keep_record(&origin).await;
        }
    }

    async fn keep_record(&self, origin: &Origin) {
        let key = srs::server_key(origin);
        match self.noted("get", self.store.get(&key).await) {
            Ok(Some(_)) => {
                let renewed = self.store.renew(&[key], self.terms.origin_ttl).await;
                let _ = self.noted("renew", renewed);
            }
            // It has run out, or the store came back empty.
            Ok(None) => self.put(origin).await,
            Err(error) => debug!(key, %error, "an origin in use is not kept in the store"),
        }
    }

    /// Writes of the origins that report here and are there: a store that was away has not heard of them, or came back
    /// empty, and a proxy that reads a claim on one of them has to find it.
    pub(super) async fn announce_again(&self) {
        let fresh: Vec<Origin> = {
            let mut reporting = self.reporting();
            reporting.retain(|key, (_, at)| at.elapsed() < FRESH || self.is_up(key));
            reporting
                .values()
                .map(|(origin, _)| origin.clone())
                .collect()
        };
        stream::iter(fresh)
            .for_each_concurrent(super::stock::CLAIMS_AT_ONCE, async |origin| {
                self.put(&origin).await;
            })
            .await;
    }

    /// Whether the origin under a key is there: one that reports once a minute is, too.
    fn is_up(&self, key: &str) -> bool {
        let origin = self.registry.keyed(key);
        origin.is_some_and(|origin| self.registry.state(&origin) == Some(State::Up))
    }

    async fn put(&self, origin: &Origin) {
        if let Err(error) = self.try_put(origin).await {
            debug!(%error, "an origin was not announced; its next heartbeat is");
        }
    }

    async fn try_put(&self, origin: &Origin) -> Result<(), StoreError> {
        let key = srs::server_key(origin);
        let record = srs::server_record(origin, &jiff::Timestamp::now().to_string());
        let put = self.store.put(&key, &record, self.terms.origin_ttl).await;
        self.noted("put", put)?;
        let listed = self.store.add_to_list(list_of(&key), &key).await;
        self.noted("put", listed)
    }

    pub(super) async fn take_out(&self, origin: &Origin) -> Result<(), StoreError> {
        let key = srs::server_key(origin);
        let listed = self.store.take_from_list(list_of(&key), &key).await;
        self.noted("remove", listed)
    }

    /// An origin is in the store. `wanted`: somebody asks for it, so that it is heard of though its record was read before, unless
    /// its name is known: it may have been restarted since.
    async fn heard(&self, key: &str, record: &str, wanted: bool) {
        match srs::parse_server_record(record, &self.terms.rules) {
            Ok((origin, updated_at)) => {
                let is_forgotten = || wanted && !self.registry.knows_server(&origin.server);
                if self.is_news(key, updated_at) || is_forgotten() {
                    self.terms.prober.look_at_namesakes(&origin).await;
                    self.registry.hear_of(origin);
                }
            }
            Err(error) => debug!(key, %error, "an origin in the store cannot be read"),
        }
    }

    /// Whether a record was not read before: only a new one is a sign of life.
    fn is_news(&self, key: &str, updated_at: String) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN {
            seen.clear();
        }
        let before = seen.insert(key.to_owned(), updated_at.clone());
        updated_at.is_empty() || before.is_none_or(|before| before != updated_at)
    }

    /// Reads of an origin in the store, whose record has changed.
    pub(super) async fn learn_news(&self, server: &str) {
        self.learn(server, false).await;
    }

    async fn learn(&self, server: &str, wanted: bool) {
        let read = self.store.get(server).await;
        if let Ok(Some(record)) = self.noted("get", read) {
            self.heard(server, &record, wanted).await;
        }
    }

    /// The origin under a key, if it is known or can be read of in the store.
    pub(super) async fn origin_at(&self, server: &str) -> Option<OriginId> {
        // The ids in a key may hold its dashes, so that only the whole key is sure to be read right.
        let named = || {
            let named = || self.registry.named(srs::named_origin(server)?);
            self.registry.keyed(server).or_else(named)
        };
        if let Some(origin) = named() {
            return Some(origin);
        }
        // It may have been forgotten here, while its record stands because others use it.
        self.learn(server, true).await;
        self.keep_duties();
        named()
    }

    /// The same. One that nothing is known of is waited for, within bounds: where proxies meet again, a claim may come
    /// before the record of its origin. The record, once it comes, takes it off the list of the unknown.
    pub(super) async fn origin_in_time(&self, server: &str) -> Option<OriginId> {
        let mut changes = self.store.changes();
        let found = self.origin_at(server).await;
        if found.is_some() {
            return found;
        }
        let since = self.note_unknown(server);
        let comes = async {
            loop {
                match timeout(LOOK_AGAIN, changes.recv()).await {
                    Ok(Ok(Change::Key(key))) if key != server => continue,
                    Ok(Err(RecvError::Closed)) => return None,
                    Ok(_) | Err(_) => {}
                }
                let found = self.origin_at(server).await;
                if found.is_some() {
                    return found;
                }
            }
        };
        let found = timeout_at((since + RECORD_COMES).into(), comes).await;
        found.ok().flatten()
    }

    /// Since when this origin is named, and not known.
    pub(super) fn note_unknown(&self, server: &str) -> Instant {
        let now = Instant::now();
        let mut unknown = self.unknown();
        if unknown.len() >= MOST_UNKNOWN {
            unknown.clear();
        }
        *unknown.entry(server.to_owned()).or_insert(now)
    }

    pub(super) fn is_unknown(&self, value: &str) -> bool {
        let server = self.store.bare_key(value);
        self.unknown().contains_key(&server)
    }

    pub(super) fn unknown(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reporting(&self) -> MutexGuard<'_, HashMap<String, (Origin, Instant)>> {
        let reporting = &self.reporting;
        reporting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The list that an origin's key stands in.
fn list_of(server: &str) -> &'static str {
    if server.starts_with(SERVER) {
        SERVERS
    } else {
        OTHER_SERVERS
    }
}

/// How long after a claim on it the record of an origin may come; past it, the origin is taken for gone.
const RECORD_COMES: Duration = Duration::from_secs(2);
/// How often it is looked for where nobody tells that it came.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// For this long, an origin that did not come is not waited for again.
pub(super) const STAYS_UNKNOWN: Duration = Duration::from_secs(60);
/// Origins that are named and not known; past it, all are waited for once more.
const MOST_UNKNOWN: usize = 10_000;
/// An origin that reported within this time is there: as long as it takes to miss one heartbeat.
const FRESH: Duration = Duration::from_secs(15);
/// Records of origins that are remembered: as many as there may be origins. Past it all are read as new once.
const SEEN: usize = 100_000;
