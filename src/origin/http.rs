//! The HTTP/1.1 client: [one exchange](once) over a connection of its own, or connections that are kept for the next
//! request. A socket belongs to the worker it was made on, so each worker keeps its own, and nothing is locked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sluicegate_core::fleet::origin::Target;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::net::http::BoxError;
use crate::net::wire::Wire;

/// A connection to an origin with no request on it. Dropping it closes the connection.
#[derive(Debug)]
pub struct Leg {
    sender: SendRequest<Full<Bytes>>,
    /// Where it may be kept; nowhere if it was made for one client.
    home: Option<Target>,
    _driver: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Idle {
    leg: Leg,
    since: Instant,
}

impl Leg {
    /// A fresh connection over `stream`; it is kept for later requests to `home`, if there is one.
    ///
    /// # Errors
    /// When the connection is closed already.
    pub async fn open(stream: Wire, home: Option<Target>) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new().handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "origin leg ended");
            }
        });
        Ok(Self {
            sender,
            home,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// A connection to `target` that waits for a request on this worker.
    pub fn idle(target: &Target) -> Option<Self> {
        IDLE.with_borrow_mut(|idle| {
            let legs = idle.get_mut(target)?;
            let fit = |idle: &Idle| idle.since.elapsed() < IDLE_FOR && !idle.leg.sender.is_closed();
            std::iter::from_fn(|| legs.pop()).find(fit)
        })
        .map(|idle| idle.leg)
    }

    /// Keeps the connection for the next request, if it may be.
    pub fn keep(self) {
        let Some(home) = self.home.clone() else {
            return;
        };
        if self.sender.is_closed() {
            return;
        }
        IDLE.with_borrow_mut(|idle| {
            idle.retain(|_, legs| {
                legs.retain(|idle| idle.since.elapsed() < IDLE_FOR);
                !legs.is_empty()
            });
            let legs = idle.entry(home).or_default();
            if legs.len() == IDLE_MAX {
                legs.remove(0);
            }
            legs.push(Idle {
                leg: self,
                since: Instant::now(),
            });
        });
    }

    /// Sends a request and waits for the head of its answer. The connection is kept after the body was read to its
    /// end, if it has a home.
    ///
    /// # Errors
    /// When the connection ends first, or the answer is not HTTP.
    pub async fn ask(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<AnswerBody>> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        // After that answer it goes on in another protocol, and lives as long as the answer.
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        Ok(response.map(|body| AnswerBody {
            leg: if body.is_end_stream() && !switches {
                self.keep();
                None
            } else {
                Some(self)
            },
            body,
        }))
    }
}

/// Sends a request over a connection of its own, and waits for the head of the answer.
///
/// # Errors
/// When the connection ends first, or the answer is not HTTP.
pub async fn once(
    stream: Wire,
    request: Request<Full<Bytes>>,
) -> hyper::Result<Response<AnswerBody>> {
    Leg::open(stream, None).await?.ask(request).await
}

/// The whole body of an answer, if it has at most `most` bytes.
///
/// # Errors
/// When it has more, or breaks off.
pub async fn whole(answer: AnswerBody, most: usize) -> Result<Bytes, Cut> {
    match Limited::new(answer, most).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Cut::TooLong(most)),
        Err(error) => Err(Cut::Broken(error)),
    }
}

/// Why there is no whole body.
#[derive(Debug, thiserror::Error)]
pub enum Cut {
    /// It broke off.
    #[error("the answer broke off: {0}")]
    Broken(BoxError),
    /// It has more bytes than are read.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The body of an origin's answer; it takes the connection along.
#[derive(Debug)]
pub struct AnswerBody {
    // Before the leg: the driver ends with the leg, and may not see its body die first.
    body: Incoming,
    leg: Option<Leg>,
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let over = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            Poll::Ready(Some(Err(_))) => {
                self.leg = None;
                false
            }
            Poll::Pending => false,
        };
        if over && let Some(leg) = self.leg.take() {
            leg.keep();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

thread_local! {
    static IDLE: RefCell<HashMap<Target, Vec<Idle>>> = RefCell::default();
}

/// Less than what servers keep an idle connection for (nginx 75 s, node 5 s, SRS 30 s), save the shortest: a request
/// that meets its end is sent again on a fresh connection.
const IDLE_FOR: Duration = Duration::from_secs(15);
/// Idle connections to one origin, per worker: a stampede may leave hundreds.
const IDLE_MAX: usize = 32;
