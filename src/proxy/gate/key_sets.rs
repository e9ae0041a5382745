//! Keys that sign tokens and are published by who issues them (JSON Web Key Sets): fetched in the background, and once more
//! when a token names a key that is not known. Where a set cannot be fetched, the last good one counts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_core::access::jwt::{Jwt, JwtKeys};
use sluicegate_core::access::question::Question;
use sluicegate_core::access::rules::Rules;
use sluicegate_core::access::verdict::Verdict;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::origin::connect::Connector;
use crate::origin::fetch;
use crate::value::Url;

/// Every set that the rules name, by its address.
#[derive(Debug)]
pub(super) struct KeySets {
    // A std mutex: it is held for a few lines and never across an await.
    sets: Mutex<HashMap<Box<str>, Arc<KeySet>>>,
    connector: Connector,
}

/// One set.
#[derive(Debug, Default)]
struct KeySet {
    // std mutexes: each is held for a line.
    known: Mutex<Known>,
    /// Held by the task that fetches it.
    fetching: AsyncMutex<()>,
}

/// What is known of a set.
#[derive(Debug, Clone, Default)]
struct Known {
    keys: Option<Arc<JwtKeys>>,
    /// When it was last asked for.
    asked: Option<Instant>,
    /// Why that failed, if it did.
    failure: Option<String>,
}

impl KeySets {
    /// Sets that `connector` reaches.
    pub(super) fn new(connector: Connector) -> Self {
        Self {
            sets: Mutex::default(),
            connector,
        }
    }

    /// Fetches what is due, in the background, and forgets what no rule names any more.
    pub(super) fn sweep(&self, rules: &Rules) {
        let wanted: Vec<&str> = rules.key_sets().collect();
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_empty() && sets.is_empty() {
            return;
        }
        sets.retain(|url, _| wanted.contains(&&**url));
        for url in wanted {
            let set = Arc::clone(sets.entry(url.into()).or_default());
            if set.is_due(Instant::now()) {
                let (connector, url) = (self.connector.clone(), Box::from(url));
                tokio::spawn(async move { set.fetch(&connector, &url).await });
            }
        }
    }

    /// What a token check says that has its keys from outside. `may_fetch`: they are asked for again if that may help.
    pub(super) async fn check(
        &self,
        jwt: &Jwt,
        question: &Question<'_>,
        now: u64,
        may_fetch: bool,
    ) -> Verdict {
        let url = jwt.published_at.as_deref().unwrap_or_default();
        let set = self.set(url);
        let lacks = |keys: &Option<Arc<JwtKeys>>| {
            keys.as_ref()
                .is_none_or(|keys| jwt.names_unknown_key(question, keys))
        };
        let mut known = set.known();
        if may_fetch && lacks(&known.keys) {
            set.fetch(&self.connector, url).await;
            known = set.known();
        }
        match known.keys {
            Some(keys) => jwt.check(question, &keys, now),
            // Nobody is let in on a token that cannot be checked, and nobody is sent away for good.
            None => {
                let why = known
                    .failure
                    .unwrap_or_else(|| "they were not asked for yet".to_owned());
                Verdict::later(
                    SPACING,
                    format!("the keys that sign tokens are missing: {why}"),
                )
            }
        }
    }

    fn set(&self, url: &str) -> Arc<KeySet> {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(sets.entry(url.into()).or_default())
    }
}

impl KeySet {
    fn known(&self) -> Known {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clone()
    }

    fn is_due(&self, now: Instant) -> bool {
        let known = self.known();
        let age = known.asked.map(|asked| now.duration_since(asked));
        let pause = match known.failure.is_some() || known.keys.is_none() {
            true => SPACING,
            false => REFRESH,
        };
        age.is_none_or(|age| age >= pause) && self.fetching.try_lock().is_ok()
    }

    /// Fetches it, unless that was done just now. Those who come meanwhile wait for the same answer.
    async fn fetch(&self, connector: &Connector, url: &str) {
        let _one_at_a_time = self.fetching.lock().await;
        let before = self.known();
        if before.asked.is_some_and(|asked| asked.elapsed() < SPACING) {
            return;
        }
        let fetched = read(connector, url).await;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.asked = Some(Instant::now());
        known.failure = fetched.as_ref().err().cloned();
        match fetched {
            Ok(keys) => {
                if known.keys.as_deref() != Some(&keys) {
                    info!(count = keys.count(), "keys that sign tokens were fetched");
                }
                known.keys = Some(Arc::new(keys));
            }
            Err(why) if before.failure.is_none() => {
                let has_some = known.keys.is_some();
                warn!(
                    why,
                    has_some, "keys that sign tokens cannot be fetched; they are asked for again"
                );
            }
            Err(_) => {}
        }
    }
}

async fn read(connector: &Connector, url: &str) -> Result<JwtKeys, String> {
    let url: Url = url
        .parse()
        .map_err(|_| "its address is no URL".to_owned())?;
    let fetched = fetch::get(connector, &url, None, TIME_LIMIT, LONGEST_SET).await;
    let document = fetched.map_err(|error| format!("{url}: {error}"))?;
    let text = std::str::from_utf8(&document).map_err(|_| format!("{url}: not text"))?;
    JwtKeys::of_published_set(text).map_err(|error| format!("{url}: {error}"))
}

/// Between two questions for one set, however many tokens name keys that it lacks.
const SPACING: Duration = Duration::from_secs(10);
/// How old a set may become.
const REFRESH: Duration = Duration::from_secs(60 * 60);
/// How long an answer may take.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Bytes of a set: far more than 16 keys take.
const LONGEST_SET: usize = 256 * 1024;
