//! Whether an origin that owes somebody an answer speaks at all.
//!
//! An HTTP origin may hold an answer back, until there is a publisher for example. One that is stopped or stuck is as
//! silent, and accepts connections like any other: the kernel does that for it. So when an answer stays away, the
//! origin is asked something that costs it nothing to answer.

use std::collections::BTreeMap;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::fleet::origin::OriginId;
use tokio::time::timeout;

use super::health::Prober;
use crate::origin::attempt::{Attempt, DialError};

/// Tells origins that hold an answer back from those that cannot answer. It is asked at most once a second,
/// however many clients wait for it.
#[derive(Debug)]
pub struct SilenceCheck {
    prober: Prober,
    said: Mutex<BTreeMap<OriginId, Arc<LastLook>>>,
}

/// Whether an origin spoke when it was asked last. Who finds it locked waits for the same answer.
type LastLook = tokio::sync::Mutex<Option<(Instant, bool)>>;

impl SilenceCheck {
    /// Asks by way of `prober`.
    pub fn new(prober: Prober) -> Self {
        Self {
            prober,
            said: Mutex::default(),
        }
    }

    /// Asks origins how they are.
    pub const fn prober(&self) -> &Prober {
        &self.prober
    }

    /// Waits for `answer` as long as the attempt has; then asks the origin whether it speaks. `None` when it does:
    /// its answer is to be waited for.
    ///
    /// # Errors
    /// [`DialError::Silent`] when it does not.
    pub async fn wait<T>(
        &self,
        attempt: &Attempt,
        answer: impl Future<Output = T>,
    ) -> Result<Option<T>, DialError> {
        let mut answer = pin!(answer);
        match timeout(attempt.time_limit, &mut answer).await {
            Ok(answer) => Ok(Some(answer)),
            Err(_) => self.wait_on(attempt, answer).await,
        }
    }

    /// The same for an answer that has had its time.
    ///
    /// # Errors
    /// [`DialError::Silent`] when the origin does not speak.
    pub async fn wait_on<T>(
        &self,
        attempt: &Attempt,
        answer: Pin<&mut impl Future<Output = T>>,
    ) -> Result<Option<T>, DialError> {
        tokio::select! {
            biased;
            answer = answer => Ok(Some(answer)),
            speaks = self.speaks(&attempt.origin) => match speaks {
                true => Ok(None),
                false => Err(DialError::Silent(format!(
                    "{}: accepted the request, and neither answered it nor spoke when asked",
                    attempt.target
                ))),
            },
        }
    }

    /// Whether an origin speaks, by its answer to a question that costs it nothing.
    pub async fn speaks(&self, origin: &OriginId) -> bool {
        let said = self.of(origin);
        let mut said = said.lock().await;
        if let Some((at, spoke)) = *said
            && at.elapsed() < KEPT
        {
            return spoke;
        }
        let spoke = self.prober.speaks(origin).await;
        *said = Some((Instant::now(), spoke));
        spoke
    }

    fn of(&self, origin: &OriginId) -> Arc<LastLook> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.contains_key(origin) {
            // No more of them than there are origins.
            said.retain(|id, _| self.prober.registry.member(id).is_some());
        }
        Arc::clone(said.entry(origin.clone()).or_default())
    }
}

/// How long what an origin said is believed.
const KEPT: Duration = Duration::from_secs(1);
