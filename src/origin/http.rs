//! One exchange of HTTP/1.1 over a connection of its own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::net::http::BoxError;
use crate::net::wire::Wire;

/// A connection to an origin with no request on it. Dropping it closes the connection.
#[derive(Debug)]
struct Leg {
    sender: SendRequest<Full<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Leg {
    async fn open(stream: Wire) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new().handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%error, "origin leg ended");
            }
        });
        Ok(Self {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    async fn ask(mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<AnswerBody>> {
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        // After that answer it goes on in another protocol, and lives as long as the answer.
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        Ok(response.map(|body| AnswerBody {
            leg: (!body.is_end_stream() || switches).then_some(self),
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
    Leg::open(stream).await?.ask(request).await
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
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            Poll::Ready(None | Some(Err(_))) => true,
            Poll::Pending => false,
        };
        if over {
            self.leg = None;
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
