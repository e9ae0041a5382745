//! Asking an origin over a kept connection, or a fresh one.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Response;
use sluicegate_core::http::head::RequestHead;
use tokio::time::{Instant, timeout, timeout_at};

use crate::origin::attempt::{Attempt, DialError};
use crate::origin::dial::Dialer;
use crate::origin::line::{Line, LineBody, LineError};
use crate::origin::silence::SilenceCheck;
use crate::value::{ClientAddr, LocalAddr};

/// A request without a body that changes nothing at the origin, so that it may be sent again.
#[derive(Debug)]
pub(crate) struct Repeatable {
    /// As it goes to the origin.
    pub(crate) head: Arc<RequestHead>,
    /// Who asked first.
    pub(crate) client: ClientAddr,
    /// Where that client connected to.
    pub(crate) local: LocalAddr,
}

impl Repeatable {
    /// Sends the request with the origin's own `target`, and waits for the head of the answer, `time_limit` in all, and
    /// less if the origin turns out to say nothing to anybody. A kept connection that turns out to be closed costs one
    /// more try, on a fresh one.
    ///
    /// # Errors
    /// [`DialError::Slow`] when the time is over and the origin lives, [`DialError::Silent`] when it may not.
    pub(crate) async fn send(
        &self,
        dialer: &Dialer,
        silence: &SilenceCheck,
        attempt: &Attempt,
        target: &str,
        time_limit: Duration,
    ) -> Result<Response<LineBody>, DialError> {
        let exchange = self.exchange(dialer, attempt, |line| line.ask(&self.head, target));
        checked(in_time(silence, attempt, time_limit, exchange).await?)
    }

    /// The same where the answer may well be `known`, byte for byte; `None` if it is. See [`Line::ask_again`].
    ///
    /// # Errors
    /// Those of [`Repeatable::send`].
    pub(crate) async fn send_again(
        &self,
        dialer: &Dialer,
        silence: &SilenceCheck,
        attempt: &Attempt,
        target: &str,
        known: &[u8],
        time_limit: Duration,
    ) -> Result<Option<Response<LineBody>>, DialError> {
        let ask = |line: Line| line.ask_again(&self.head, target, known);
        let exchange = self.exchange(dialer, attempt, ask);
        let answer = in_time(silence, attempt, time_limit, exchange).await?;
        answer.map(checked).transpose()
    }

    /// Makes sure that there is a connection to send the request on.
    pub(crate) async fn reach(&self, dialer: &Dialer, attempt: &Attempt) -> Result<(), DialError> {
        if dialer.announces(attempt) {
            return Ok(());
        }
        let line = match Line::idle(&attempt.target) {
            Some(line) => line,
            None => self.fresh(dialer, attempt).await?,
        };
        line.keep();
        Ok(())
    }

    /// Asks on a kept connection, or a fresh one.
    async fn exchange<T, F>(
        &self,
        dialer: &Dialer,
        attempt: &Attempt,
        ask: impl Fn(Line) -> F,
    ) -> Result<T, DialError>
    where
        F: Future<Output = Result<T, LineError>>,
    {
        if let Some(line) = Line::idle(&attempt.target)
            && let Ok(answer) = ask(line).await
        {
            return Ok(answer);
        }
        // Boxed: most requests find a kept connection, and need no room for what making one takes.
        let line = Box::pin(self.fresh(dialer, attempt)).await?;
        let answer = ask(line).await;
        answer.map_err(|error| DialError::HungUp(error.to_string()))
    }

    /// A new connection. One that begins with the client's address is that client's alone.
    async fn fresh(&self, dialer: &Dialer, attempt: &Attempt) -> Result<Line, DialError> {
        let wire = dialer.dial(attempt, self.client, self.local).await?;
        let home = (!dialer.announces(attempt)).then(|| attempt.target.clone());
        Ok(Line::new(wire, home))
    }
}

/// What comes of an exchange within `time_limit`, and earlier where its origin says nothing to anybody.
async fn in_time<T>(
    silence: &SilenceCheck,
    attempt: &Attempt,
    time_limit: Duration,
    exchange: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    let deadline = Instant::now() + time_limit;
    let mut exchange = pin!(exchange);
    // One clock for most: they are answered in the time that an attempt has.
    let at_first = time_limit.min(attempt.time_limit);
    if let Ok(answered) = timeout(at_first, &mut exchange).await {
        return answered;
    }
    let words = || format!("{}: no answer in time", attempt.target);
    if time_limit <= attempt.time_limit {
        return Err(DialError::Silent(words()));
    }
    let lives = AtomicBool::new(false);
    let answered = async {
        match silence.wait_on(attempt, exchange.as_mut()).await? {
            Some(answered) => answered,
            None => {
                lives.store(true, Ordering::Relaxed);
                exchange.await
            }
        }
    };
    // Boxed: few wait for this, and need no room for it.
    let answered = Box::pin(timeout_at(deadline, answered)).await;
    answered.unwrap_or_else(|_| {
        Err(match lives.load(Ordering::Relaxed) {
            true => DialError::Slow(words()),
            false => DialError::Silent(words()),
        })
    })
}

/// Nobody asked for another protocol here.
fn checked(response: Response<LineBody>) -> Result<Response<LineBody>, DialError> {
    if response.status().is_informational() {
        let words = "it switched protocols without being asked".to_owned();
        return Err(DialError::HungUp(words));
    }
    Ok(response)
}
