//! Asking an origin over a kept connection, or a fresh one.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Response;
use sluicegate_core::http::head::RequestHead;
use tokio::time::timeout;

use crate::origin::attempt::{Attempt, DialError};
use crate::origin::dial::Dialer;
use crate::origin::line::{Line, LineBody};
use crate::origin::silence::SilenceCheck;
use crate::value::{ClientAddr, LocalAddr};

/// A request without a body that changes nothing at the origin, so that it may be sent again.
#[derive(Debug)]
pub(crate) struct Repeatable {
    /// As it goes to the origin.
    pub(crate) head: RequestHead,
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
        let lives = AtomicBool::new(false);
        let answered = async {
            let mut exchange = pin!(self.exchange(dialer, attempt, target));
            match silence.wait(attempt, &mut exchange).await? {
                Some(answered) => answered,
                None => {
                    lives.store(true, Ordering::Relaxed);
                    exchange.await
                }
            }
        };
        timeout(time_limit, answered).await.unwrap_or_else(|_| {
            let words = format!("{}: no answer in time", attempt.target);
            Err(match lives.load(Ordering::Relaxed) {
                true => DialError::Slow(words),
                false => DialError::Silent(words),
            })
        })
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

    async fn exchange(
        &self,
        dialer: &Dialer,
        attempt: &Attempt,
        target: &str,
    ) -> Result<Response<LineBody>, DialError> {
        if let Some(line) = Line::idle(&attempt.target)
            && let Ok(response) = line.ask(&self.head, target).await
        {
            return checked(response);
        }
        let line = self.fresh(dialer, attempt).await?;
        match line.ask(&self.head, target).await {
            Ok(response) => checked(response),
            Err(error) => Err(DialError::HungUp(error.to_string())),
        }
    }

    /// A new connection. One that begins with the client's address is that client's alone.
    async fn fresh(&self, dialer: &Dialer, attempt: &Attempt) -> Result<Line, DialError> {
        let wire = dialer.dial(attempt, self.client, self.local).await?;
        let home = (!dialer.announces(attempt)).then(|| attempt.target.clone());
        Ok(Line::new(wire, home))
    }
}

/// Nobody asked for another protocol here.
fn checked(response: Response<LineBody>) -> Result<Response<LineBody>, DialError> {
    if response.status().is_informational() {
        let words = "it switched protocols without being asked".to_owned();
        return Err(DialError::HungUp(words));
    }
    Ok(response)
}
