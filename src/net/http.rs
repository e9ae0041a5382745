//! The little of HTTP that the public listener, the API port and the system API share: serving hyper over a
//! connection whose first bytes were read already.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::ext::ReasonPhrase;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::Extensions;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use sluicegate_core::preface::mistaken;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::entrance::Ends;
use super::http2::{self, Answering};
use super::patience::{Patience, Wait};
use super::wire::Wire;

/// A response body of any kind.
pub type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, BoxError>;

/// Whatever ends a body early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A connection whose client is waited for with patience: what it does not send in time is its end.
#[derive(Debug)]
struct Paced<W> {
    /// What was read before.
    early: Bytes,
    wire: W,
    wait: Wait,
    requests: Arc<Requests>,
    /// How many requests had been answered when that was looked at last.
    answered: u32,
    /// Something was written since the last flush, and hyper may have more of it: it drops a body when that is in its buffer.
    is_sending: bool,
}

/// The requests of one connection; both counts wrap around.
#[derive(Debug, Default)]
struct Requests {
    begun: AtomicU32,
    answered: AtomicU32,
}

impl Requests {
    /// How many were answered, if that is all of them.
    fn all_answered(&self) -> Option<u32> {
        let answered = self.answered.load(Ordering::Relaxed);
        (self.begun.load(Ordering::Relaxed) == answered).then_some(answered)
    }
}

/// A request whose answer is not sent yet.
#[derive(Debug)]
struct Open(Arc<Requests>);

impl Open {
    fn new(requests: &Arc<Requests>) -> Self {
        requests.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(requests))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// The body of an answer. What hyper has of it when it drops it is in its buffer, and is sent with the next flush.
struct Sent {
    body: Body,
    _open: Open,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<W: AsyncRead + Unpin> AsyncRead for Paced<W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = this.poll_bytes(cx, buffer);
        if this.is_busy() {
            return read;
        }
        if read.is_pending() {
            return this.wait.poll_over(cx).map(Ok);
        }
        if buffer.filled().len() > before {
            this.wait.came();
        }
        read
    }
}

impl<W: AsyncRead + Unpin> Paced<W> {
    fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.wire).poll_read(cx, buffer);
        }
        let count = self.early.len().min(buffer.remaining());
        buffer.put_slice(&self.early.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl<W> Paced<W> {
    /// Whether an answer is awaited or sent. The wait for the next request begins where it is seen that none is.
    fn is_busy(&mut self) -> bool {
        let answered = self.requests.all_answered().filter(|_| !self.is_sending);
        let Some(answered) = answered else {
            return true;
        };
        if answered != self.answered {
            self.answered = answered;
            self.wait.answered();
        }
        false
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Paced<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_sending = true;
        Pin::new(&mut self.wire).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_sending = true;
        Pin::new(&mut self.wire).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.wire.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // hyper comes here when nothing is left in its buffer.
        let flushed = Pin::new(&mut this.wire).poll_flush(cx);
        this.is_sending &= flushed.is_pending();
        // It reads before it writes, and after an answer not again until something comes: the clock has to wake it.
        if !this.is_busy() && this.wait.poll_over(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}

/// A status as people read it: its number and its name, or the number alone where it has no name that is registered.
pub fn status_words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// Serves requests on one connection, of which `early` was read already, until it ends, or goes on in another protocol;
/// at `stop` it ends after the requests in progress. Over HTTP/1 a client is waited for with `patience`.
pub async fn serve<W, F>(
    mut wire: W,
    early: impl Into<Bytes>,
    ends: Ends,
    patience: Patience,
    stop: CancellationToken,
    handle: impl Fn(Request<Incoming>) -> F,
) where
    W: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send,
{
    let mut early = early.into();
    if ends.http2 {
        let handle = |request| Answering {
            answer: handle(request),
            cut: std::future::pending(),
        };
        // It was agreed to in the TLS handshake, after which nothing was read.
        return http2::serve(wire, stop, handle).await;
    }
    if early.is_empty() {
        let mut first = Vec::with_capacity(FIRST_READ);
        let read = tokio::select! {
            read = timeout(patience.head, wire.read_buf(&mut first)) => read,
            () = stop.cancelled() => return,
        };
        if !matches!(read, Ok(Ok(count)) if count > 0) {
            debug!(client = %ends.client, "no request came");
            return;
        }
        if let Some(rule) = mistaken(&first) {
            info!(client = %ends.client, rule, "refused: this is no HTTP");
        }
        early = first.into();
    }
    let requests = Arc::<Requests>::default();
    let service = service_fn(|request| {
        let open = Open::new(&requests);
        let answer = handle(request);
        async {
            let answer = with_reason(answer.await);
            Ok::<_, Infallible>(answer.map(|body| Sent { body, _open: open }))
        }
    });
    let paced = Paced {
        early,
        wire,
        wait: Wait::for_first(patience),
        requests: Arc::clone(&requests),
        answered: 0,
        is_sending: false,
    };
    let mut connection = pin!(
        hyper::server::conn::http1::Builder::new()
            // Its clock would run between two requests, too.
            .header_read_timeout(None)
            .max_headers(100)
            .serve_connection(TokioIo::new(paced), service)
            .with_upgrades()
    );
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "HTTP connection ended");
    }
}

/// The same with an empty reason where its status has none that is registered (RFC 9112 §4): hyper would write one of its own.
fn with_reason(mut response: Response<Body>) -> Response<Body> {
    if response.status().canonical_reason().is_none() {
        let none = ReasonPhrase::from_static(b"");
        response.extensions_mut().insert(none);
    }
    response
}

/// The name in the certificate that a client showed, as an extension of each of its requests. No header can say it.
#[derive(Debug, Clone)]
pub struct Identity(Arc<str>);

impl Identity {
    /// Puts `name` to a request, if its client has one.
    pub fn put(name: Option<&Arc<str>>, request: &mut Request<Incoming>) {
        if let Some(name) = name {
            request.extensions_mut().insert(Self(Arc::clone(name)));
        }
    }

    /// The name of the client of a request.
    pub fn of(extensions: &Extensions) -> Option<&str> {
        extensions.get().map(Self::name)
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// The wire that [`serve`] served before its protocol changed, and what was read from it and not used. `None` for
/// anything else.
pub fn into_wire(upgraded: Upgraded) -> Option<(Vec<u8>, Wire)> {
    let parts = upgraded.downcast::<TokioIo<Paced<Wire>>>().ok()?;
    let Paced { early, wire, .. } = parts.io.into_inner();
    let mut unused = Vec::from(parts.read_buf);
    unused.extend_from_slice(&early);
    Some((unused, wire))
}

/// A whole body at once.
pub fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A short text with its status.
pub fn text(status: StatusCode, message: impl Into<String>) -> Response<Body> {
    let mut body: String = message.into();
    body.push('\n');
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    retry_after(&mut response, USUAL_RETRY_AFTER);
    // RFC 9110 §15.5.2. A browser asks its user for a password where the scheme is Basic, so it is not.
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Refuses another method than those `allowed` (RFC 9110 §15.5.6).
pub fn other_method(allowed: &'static str, message: impl Into<String>) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, message);
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// The methods of what is only read.
pub const READING: &str = "GET, HEAD";

/// Says in how many seconds a refusal is worth another try, if its status is one of those that pass.
pub fn retry_after<B>(response: &mut Response<B>, seconds: u64) {
    if passes(response.status()) {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
}

/// Whether a refusal with this status is worth another try, so that it says when.
pub const fn passes(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
    )
}

/// What is read at once of the first request of a connection.
const FIRST_READ: usize = 4 * 1024;
/// In how many seconds a refusal is worth another try, where nobody knows better.
pub const USUAL_RETRY_AFTER: u64 = 2;

/// A JSON document.
pub fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let text = serde_json::to_string(document).unwrap_or_default();
    let mut response = Response::new(full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::{Duration, sleep};

    use super::*;
    use crate::net::accept::Room;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_sent_whole_however_slowly_its_client_reads() {
        let (mut client, ours) = tokio::io::duplex(1024);
        // There is little room for others.
        let patience = Patience {
            head: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            room: Room::new(0, "nothing"),
        };
        let ends = Ends::direct("192.0.2.1:7".parse().expect("an address"));
        let stop = CancellationToken::new();
        let answer = async |_| Response::new(full(vec![b'a'; 100_000]));
        let served = serve(ours, Bytes::new(), ends, patience, stop, answer);
        let reads = async move {
            let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(request).await.expect("it reads");
            let mut bytes = Vec::new();
            // Ten seconds for a kilobyte.
            while client
                .read_buf(&mut bytes)
                .await
                .is_ok_and(|count| count > 0)
            {
                sleep(Duration::from_secs(10)).await;
            }
            bytes
        };
        let ((), bytes) = tokio::join!(served, reads);
        let text = String::from_utf8(bytes).expect("text");
        let (_, body) = text.split_once("\r\n\r\n").expect("a head");
        assert_eq!(body.len(), 100_000);
    }
}
