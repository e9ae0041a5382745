//! Verdicts that took time, kept for a while. Those who ask the same at once wait for one answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sluicegate_core::access::question::{Question, QuestionKey};
use sluicegate_core::access::verdict::Verdict;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use crate::random;
use crate::unix_time;

/// A verdict, until when it holds.
type Slot = Arc<AsyncMutex<Option<(Instant, Verdict)>>>;

/// Verdicts by everything that they were made from, and the check that made them.
#[derive(Debug)]
pub(super) struct CachedVerdicts {
    secret: [u8; 32],
    // A std mutex: it is held for a few lines and never across an await.
    slots: Mutex<HashMap<(Box<str>, QuestionKey), Slot>>,
}

impl CachedVerdicts {
    pub(super) fn new() -> Self {
        Self {
            secret: random::bytes(),
            slots: Mutex::default(),
        }
    }

    /// Forgets everything: the checks are others now.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// The verdict that is kept, or the one that `ask` brings. If the client that asks leaves, the next one asks.
    pub(super) async fn or_ask(
        &self,
        check: &str,
        question: &Question<'_>,
        ask: impl AsyncFnOnce() -> Verdict,
    ) -> Verdict {
        let Some(slot) = self.slot(check, question.key(&self.secret)) else {
            return ask().await;
        };
        let mut slot = slot.lock().await;
        if let Some((until, verdict)) = &*slot
            && *until > Instant::now()
        {
            return verdict.clone();
        }
        let verdict = ask().await;
        *slot = Some((
            Instant::now() + lifetime(&verdict, unix_time::seconds()),
            verdict.clone(),
        ));
        verdict
    }

    /// The place for a verdict; `None` while all are in use.
    fn slot(&self, check: &str, key: QuestionKey) -> Option<Slot> {
        let mut slots = self.lock();
        if slots.len() >= MOST_KEPT {
            let now = Instant::now();
            // A request that waits for a verdict holds its slot.
            slots.retain(|_, slot| {
                let in_use = Arc::strong_count(slot) > 1;
                in_use
                    || slot
                        .try_lock()
                        .is_ok_and(|kept| kept.as_ref().is_some_and(|kept| kept.0 > now))
            });
        }
        if slots.len() >= MOST_KEPT {
            return None;
        }
        Some(Arc::clone(slots.entry((check.into(), key)).or_default()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Box<str>, QuestionKey), Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a verdict is kept: never beyond its own end. One that could not be given is asked for again.
fn lifetime(verdict: &Verdict, now: u64) -> Duration {
    match verdict {
        Verdict::Later(_) => Duration::ZERO,
        Verdict::No(_) => NO,
        Verdict::Yes(grant) => {
            let ends = [grant.valid_until, grant.ends_at]
                .into_iter()
                .flatten()
                .min();
            let left = ends.map(|end| Duration::from_secs(end.saturating_sub(now)));
            left.map_or(YES, |left| left.min(YES))
        }
    }
}

/// How long a yes is kept: a viewer that reconnects is not asked about again.
const YES: Duration = Duration::from_secs(30);
/// How long a no is kept: somebody may be about to be given what they ask for.
const NO: Duration = Duration::from_secs(3);
/// Verdicts that are kept, of about 200 bytes each.
const MOST_KEPT: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use sluicegate_core::access::credentials::Credentials;
    use sluicegate_core::access::verdict::{Denial, Grant, Why};
    use sluicegate_core::stream::{Action, Protocol, StreamUrl};
    use tokio::time::advance;

    use super::*;

    fn yes() -> Verdict {
        Verdict::Yes(Grant::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_is_asked_for_once_and_kept_for_a_while() {
        let stream: StreamUrl = "__defaultVhost__/live/a".parse().unwrap();
        let credentials = Credentials::default();
        let question = Question {
            stream: &stream,
            action: Action::Play,
            protocol: Protocol::Rtmp,
            client: "10.0.0.1".parse().unwrap(),
            credentials: &credentials,
        };
        let (kept, asked) = (CachedVerdicts::new(), Cell::new(0));
        let answer = Cell::new(yes());
        let ask = |check: &'static str| {
            let (kept, asked, answer) = (&kept, &asked, &answer);
            kept.or_ask(check, &question, async || {
                asked.set(asked.get() + 1);
                tokio::task::yield_now().await;
                let verdict = answer.replace(yes());
                answer.set(verdict.clone());
                verdict
            })
        };
        let (one, other) = tokio::join!(ask("a"), ask("a"));
        assert_eq!((one, other, asked.get()), (yes(), yes(), 1), "at once");
        advance(YES - Duration::from_millis(1)).await;
        ask("a").await;
        assert_eq!(asked.get(), 1, "for as long as a yes is kept");
        ask("b").await;
        assert_eq!(asked.get(), 2, "another check");
        let no = Verdict::No(Denial::new(Why::Unknown, "no"));
        answer.set(no.clone());
        advance(Duration::from_millis(1)).await;
        assert_eq!((ask("a").await, asked.get()), (no, 3), "no longer");
        answer.set(Verdict::later(NO, "busy"));
        advance(NO).await;
        ask("a").await;
        ask("a").await;
        assert_eq!(asked.get(), 5, "later is not kept");
        answer.set(yes());
        ask("a").await;
        kept.clear();
        ask("a").await;
        assert_eq!(asked.get(), 7, "other rules");
    }

    #[test]
    fn no_yes_is_kept_beyond_its_end() {
        let until = |valid_until, ends_at| {
            let mut grant = Grant::default();
            (grant.valid_until, grant.ends_at) = (valid_until, ends_at);
            lifetime(&Verdict::Yes(grant), 100)
        };
        assert_eq!(until(None, None), YES);
        assert_eq!(until(Some(110), None), Duration::from_secs(10));
        assert_eq!(until(Some(110), Some(105)), Duration::from_secs(5));
        assert_eq!(until(Some(90), None), Duration::ZERO);
    }
}
