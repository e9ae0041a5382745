//! Finds a stream that is somewhere, and not where it was looked for: asks the other origins for their lists.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use sluicegate_core::dialect::{Dialect, Naming};
use sluicegate_core::fleet::State;
use sluicegate_core::fleet::inventory::{list_target, lists, published};
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::stream::{PlacementKey, StreamUrl};
use tokio::sync::Semaphore;

use crate::config::Credentials;
use crate::origin::connect::Connector;
use crate::origin::fetch::{self, Page};
use crate::registry::Registry;
use crate::value::Url;

/// The searches of one proxy.
#[derive(Debug)]
pub(crate) struct Finder {
    connector: Connector,
    credentials: Credentials,
    turns: Semaphore,
    // A std mutex: it is held for a few lines and never across an await.
    missed: Mutex<HashMap<PlacementKey, Instant>>,
}

impl Finder {
    /// Asks with the `credentials` that origins want for their APIs.
    pub(crate) fn new(connector: Connector, credentials: Credentials) -> Self {
        Self {
            connector,
            credentials,
            turns: Semaphore::new(SEARCHES),
            missed: Mutex::default(),
        }
    }

    /// The origin, other than `not`, that says it has a publisher of the stream. Streams that were not found a moment
    /// ago are not looked for, nor anything while enough searches are under way: a client that asks for what is not
    /// there must not have the whole fleet asked each time.
    pub(crate) async fn find(
        &self,
        registry: &Registry,
        stream: &StreamUrl,
        key: &PlacementKey,
        key_of: impl Fn(&StreamUrl) -> PlacementKey,
        not: &OriginId,
    ) -> Option<OriginId> {
        let _turn = self.turns.try_acquire().ok()?;
        if !self.may_look(key) {
            return None;
        }
        let others = candidates(registry, not);
        let asked = others.into_iter().map(|other| self.ask(other, stream));
        let mut asked: FuturesUnordered<_> = asked.collect();
        while let Some((other, page)) = asked.next().await {
            if let Some(software) = page.software {
                registry.note_software(&other.id, software);
            }
            let naming = &other.naming;
            let has = |list: &[u8]| match naming.dialect {
                Dialect::Srs => {
                    read(list).is_some_and(|list| published(&list).any(|it| key_of(&it) == *key))
                }
                _ => lists(naming, list, stream),
            };
            if page.body.is_ok_and(|list| has(&list)) {
                return Some(other.id);
            }
        }
        self.lock().insert(key.clone(), Instant::now());
        None
    }

    async fn ask(&self, other: Other, stream: &StreamUrl) -> (Other, Page) {
        let url = Url::of(&other.target, &list_target(&other.naming, stream));
        let credential = self.credentials.of(other.names.iter().map(|name| &**name));
        let page = fetch::page(&self.connector, &url, credential, TIME_LIMIT, MOST_BYTES).await;
        (other, page)
    }

    /// It was not looked for in vain a moment ago, and there is room to note it if it is now.
    fn may_look(&self, key: &PlacementKey) -> bool {
        let mut missed = self.lock();
        if missed.len() >= MOST_MISSED {
            missed.retain(|_, at| at.elapsed() < MISSED_FOR);
        }
        missed.len() < MOST_MISSED && missed.get(key).is_none_or(|at| at.elapsed() >= MISSED_FOR)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PlacementKey, Instant>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An origin that may have the stream.
struct Other {
    id: OriginId,
    /// By which settings call it.
    names: [Box<str>; 3],
    naming: Naming,
    target: Target,
}

fn read(list: &[u8]) -> Option<Value> {
    serde_json::from_slice(list).ok()
}

/// Those with an API to ask.
fn candidates(registry: &Registry, not: &OriginId) -> Vec<Other> {
    let now = Instant::now();
    registry
        .origins()
        .into_iter()
        .filter(|(id, member)| {
            id != not && member.state(now) == State::Up && member.duty.takes_players()
        })
        .filter_map(|(id, member)| {
            let names = [id.as_str(), &member.origin.server, member.origin.label()];
            Some(Other {
                names: names.map(Into::into),
                id,
                naming: member.origin.attributes.naming.clone(),
                target: member.origin.target_for_lists()?,
            })
        })
        .take(MOST_ASKED)
        .collect()
}

/// Origins asked in one search.
const MOST_ASKED: usize = 64;
/// Searches at once.
const SEARCHES: usize = 4;
/// An origin that takes longer has more to do than to answer.
const TIME_LIMIT: Duration = Duration::from_millis(500);
/// A list of some thousand streams.
const MOST_BYTES: usize = 8 * 1024 * 1024;
const MISSED_FOR: Duration = Duration::from_secs(5);
/// Streams that are known to be missing.
const MOST_MISSED: usize = 10_000;
