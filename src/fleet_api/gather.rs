//! The same question to every live origin at once, and one merged answer for everybody who asks within a second.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Method;
use serde_json::Value;
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::inventory;
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::fleet::{Member, State};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::ask::{AskError, OriginQuestion, ask};
use super::merge::{self, List, Named, OriginAnswer, Summed};
use crate::config::Credentials;
use crate::metrics::OutcomeLabel;
use crate::proxy::Proxy;

/// What was asked of all origins, merged, and whose part is missing.
#[derive(Debug)]
pub(super) struct Gathered<T> {
    pub(super) merged: T,
    /// Origins and why they are missing.
    pub(super) missing: Vec<(String, String)>,
}

/// A question's last answer. The lock is held while origins are asked, so that many who ask at once ask them once.
type LastGathered<T> = Mutex<Option<(Instant, Arc<Gathered<T>>)>>;

#[derive(Debug)]
pub(super) struct Gatherer {
    proxy: Proxy,
    time_limit: Duration,
    credentials: Credentials,
    rows: [LastGathered<Vec<Value>>; List::ALL.len()],
    sums: [LastGathered<Value>; Summed::ALL.len()],
}

/// An origin that can be asked.
struct Addressee {
    named: Named,
    target: Target,
    question: OriginQuestion,
}

impl Gatherer {
    pub(super) fn new(proxy: Proxy, time_limit: Duration, credentials: Credentials) -> Self {
        Self {
            proxy,
            time_limit,
            credentials,
            rows: Default::default(),
            sums: Default::default(),
        }
    }

    /// Every row of a list, in an order that stays.
    pub(super) async fn rows(&self, list: List) -> Arc<Gathered<Vec<Value>>> {
        // SRS redirects lists to their path with a slash at its end.
        let path = format!("/api/v1/{}/?start=0&count={MOST_ROWS}", list.plural());
        let merge = move |answers| merge::rows(list, answers, MOST_ROWS);
        self.gather(&self.rows[list as usize], &path, Some(list), merge)
            .await
    }

    /// One document with the sums of all.
    pub(super) async fn sums(&self, summed: Summed) -> Arc<Gathered<Value>> {
        let path = format!("/api/v1/{}", summed.as_str());
        self.gather(&self.sums[summed as usize], &path, None, merge::sums)
            .await
    }

    /// Asks `owner`, or everybody, to end a client; names those who had it.
    pub(super) async fn kick(&self, id: &str, owner: Option<&str>) -> Vec<String> {
        let path = format!("/api/v1/clients/{id}");
        let (mut addressees, _) = self.addressees(&Method::DELETE, &path, None);
        addressees.retain(|addressee| owner.is_none_or(|owner| addressee.named.origin == owner));
        let (answers, _) = self.ask_all(addressees).await;
        answers
            .into_iter()
            .map(|answer| answer.named.origin)
            .collect()
    }

    async fn gather<T: Default + Send + Sync + 'static>(
        &self,
        kept: &LastGathered<T>,
        path: &str,
        list: Option<List>,
        merge: impl FnOnce(Vec<OriginAnswer>) -> T + Send + 'static,
    ) -> Arc<Gathered<T>> {
        let mut kept = kept.lock().await;
        if let Some((at, gathered)) = &*kept
            && at.elapsed() < FRESH
        {
            return Arc::clone(gathered);
        }
        let (addressees, mut missing) = self.addressees(&Method::GET, path, list);
        let (mut answers, failed) = self.ask_all(addressees).await;
        missing.extend(failed);
        missing.sort();
        answers.sort_by(|a, b| a.named.origin.cmp(&b.named.origin));
        let merged = tokio::task::spawn_blocking(move || merge(answers)).await;
        let gathered = Arc::new(Gathered {
            merged: merged.unwrap_or_default(),
            missing,
        });
        *kept = Some((Instant::now(), Arc::clone(&gathered)));
        gathered
    }

    /// Who can be asked, and who is known to be missing. Other servers than SRS only list their streams.
    fn addressees(
        &self,
        method: &Method,
        path: &str,
        list: Option<List>,
    ) -> (Vec<Addressee>, Vec<(String, String)>) {
        let now = std::time::Instant::now();
        let (mut live, mut missing) = (Vec::new(), Vec::new());
        for (id, member) in self.proxy.registry().origins() {
            let dialect = member.origin.attributes.naming.dialect;
            let asks = dialect == Dialect::Srs || list == Some(List::Streams);
            let Some(target) = member.origin.target_for_lists().filter(|_| asks) else {
                // It has no such API, and nothing of it is missing.
                continue;
            };
            if member.state(now) == State::Suspect {
                missing.push((
                    id.as_str().to_owned(),
                    "it has stopped reporting".to_owned(),
                ));
            } else {
                live.push((id, member, target));
            }
        }
        let longest = (MOST_BYTES / live.len().max(1)).clamp(LEAST_ANSWER, MOST_ANSWER);
        let address = |(id, member, target): (OriginId, Member, Target)| {
            let names = [id.as_str(), &member.origin.server, member.origin.label()];
            let dialect = member.origin.attributes.naming.dialect;
            let path = match dialect {
                Dialect::Srs => path,
                // OvenMediaEngine has no list of everything: its lists are asked for one after another.
                dialect => inventory::whole_list(dialect).unwrap_or_default(),
            };
            Addressee {
                question: OriginQuestion {
                    method: method.clone(),
                    path: path.to_owned(),
                    dialect,
                    credential: self.credentials.of(names).cloned(),
                    time_limit: self.time_limit,
                    longest,
                },
                named: Named {
                    origin: id.as_str().to_owned(),
                    device_id: member.origin.device_id,
                },
                target,
            }
        };
        (live.into_iter().map(address).collect(), missing)
    }

    async fn ask_all(
        &self,
        addressees: Vec<Addressee>,
    ) -> (Vec<OriginAnswer>, Vec<(String, String)>) {
        let turns = &Semaphore::new(AT_ONCE);
        let mut asked: FuturesUnordered<_> = addressees
            .into_iter()
            .map(|addressee| async move {
                let _turn = turns.acquire().await;
                let answered = ask(
                    self.proxy.connector(),
                    &addressee.target,
                    addressee.question,
                )
                .await;
                (addressee.named, answered)
            })
            .collect();
        let (mut answers, mut missing) = (Vec::new(), Vec::new());
        while let Some((named, answered)) = asked.next().await {
            self.count(
                answered
                    .as_ref()
                    .map_or_else(AskError::as_str, |_| "answered"),
            );
            match answered {
                Ok((document, software)) => {
                    if let Some(software) = software {
                        let id = OriginId::from(&*named.origin);
                        self.proxy.registry().note_software(&id, software);
                    }
                    answers.push(OriginAnswer { named, document });
                }
                Err(error) => missing.push((named.origin, error.to_string())),
            }
        }
        (answers, missing)
    }

    fn count(&self, outcome: &'static str) {
        let asks = &self.proxy.metrics().api_asks;
        asks.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// An answer is given again for so long.
const FRESH: Duration = Duration::from_secs(1);
/// Connections to origins at once, for one question.
const AT_ONCE: usize = 64;
/// Rows that are read of one origin. A busy one has some thousand clients.
const MOST_ROWS: usize = 10_000;
/// Of all answers to one question together, as far as every origin can still say something.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// A row has some 500 bytes, so this is a full list.
const MOST_ANSWER: usize = 8 * 1024 * 1024;
const LEAST_ANSWER: usize = 256 * 1024;
