//! HTTP/2 (RFC 9113) over a connection whose client agreed to it. Requests reach the same answers as those of HTTP/1.1, in
//! the same shape: with a `Host`, a target that is a path, and one `Cookie`. Answers leave without what HTTP/1.1 would not
//! send.
//!
//! All streams of a connection are served by its own task, so that they end with it. An answer that breaks off resets its
//! stream; the others go on.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, COOKIE, HOST, HeaderMap, HeaderValue};
use hyper::http::Uri;
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::http::{Body, full};

/// The answer to one request, and what cuts it off: a stream whose client takes nothing is not asked for more, so somebody
/// else has to watch.
#[derive(Debug)]
pub struct Answering<F, C> {
    /// Resolves to the answer.
    pub answer: F,
    /// Resolves when the stream is to be reset, whatever was sent of the answer.
    pub cut: C,
}

/// Serves HTTP/2 on one connection until it ends. At `stop` the client is told to open no further streams, and the
/// connection ends after the last one.
pub async fn serve<W, F, C>(
    wire: W,
    stop: CancellationToken,
    handle: impl Fn(Request<Incoming>) -> Answering<F, C>,
) where
    W: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Response<Body>> + Send,
    C: Future<Output = ()> + Send,
{
    let streams = Streams::default();
    let service = service_fn(|request| {
        let is_head = *request.method() == Method::HEAD;
        let Answering { answer, cut } = handle(as_http1(request));
        streams.next_is_cut_by(Box::pin(cut));
        async move { Ok::<_, Infallible>(as_sent(answer.await, is_head)) }
    });
    let connection = Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADERS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .serve_connection(TokioIo::new(wire), service);
    let mut connection = pin!(connection);
    let mut open = FuturesUnordered::new();
    let mut leaving = false;
    let mut idle_since = Instant::now();
    let served = loop {
        let idle = open.is_empty();
        tokio::select! {
            step = poll_fn(|cx| serve_once(cx, connection.as_mut(), &streams, &mut open)) => match step {
                Step::Ended(served) => break served,
                // A stream began or ended.
                Step::Changed => idle_since = Instant::now(),
            },
            () = stop.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(idle_since + IDLE), if idle && !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    // A stream that was begun and not taken knows this list, and would keep it.
    streams.take();
    if let Err(error) = served {
        debug!(%error, "HTTP/2 connection ended");
    }
}

/// What happened on a connection.
enum Step {
    Changed,
    Ended(hyper::Result<()>),
}

/// Polls the connection, and the streams that it has open, until something happens.
fn serve_once<'a>(
    cx: &mut Context<'_>,
    connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    streams: &Streams<'a>,
    open: &mut FuturesUnordered<Stream<'a>>,
) -> Poll<Step> {
    let before = open.len();
    if let Poll::Ready(served) = connection.poll(cx) {
        return Poll::Ready(Step::Ended(served));
    }
    open.extend(streams.take());
    while let Poll::Ready(Some(())) = open.poll_next_unpin(cx) {}
    if open.len() == before {
        return Poll::Pending;
    }
    Poll::Ready(Step::Changed)
}

/// An answer as it leaves: to a HEAD (`is_head`), and with a status that has no content, it is a head alone (RFC 9110 §6.4.1).
/// Hyper sees to that over HTTP/1.1 only, and clients take a frame of data there for an error.
fn as_sent(mut answer: Response<Body>, is_head: bool) -> Response<Body> {
    let is_empty = matches!(
        answer.status(),
        StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    if !is_head && !is_empty {
        return answer;
    }
    // What a GET would have brought (RFC 9110 §8.6).
    let length = answer.body().size_hint().exact();
    if let Some(length @ 1..) = length
        && !is_empty
    {
        let headers = answer.headers_mut();
        headers.entry(CONTENT_LENGTH).or_insert(length.into());
    }
    answer.map(|_| full(Bytes::new()))
}

/// A request as the answers know it: without its scheme and authority, which is its host.
fn as_http1(mut request: Request<Incoming>) -> Request<Incoming> {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        // `:authority` stands above a `Host` that may come with it (RFC 9113 §8.3.1).
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query();
    let path = path.map_or("/", |path| path.as_str());
    if let Ok(uri) = Uri::try_from(path) {
        *request.uri_mut() = uri;
    }
    join_cookies(request.headers_mut());
    *request.version_mut() = Version::HTTP_11;
    request
}

/// Makes one field of the cookies, which come apart to be compressed, as they are in HTTP/1.1 (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

/// A stream, from its request to the end of its answer.
type Stream<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Takes the streams that hyper begins, for the task that serves the connection.
#[derive(Clone)]
struct Streams<'a>(Arc<Mutex<Begun<'a>>>);

struct Begun<'a> {
    /// What cuts the stream off that begins next. Hyper asks for an answer and begins its stream in one go.
    cut: Option<Stream<'a>>,
    streams: Vec<Stream<'a>>,
}

impl Default for Streams<'_> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Begun {
            cut: None,
            streams: Vec::new(),
        })))
    }
}

impl<'a> Streams<'a> {
    fn next_is_cut_by(&self, cut: Stream<'a>) {
        self.with(|begun| begun.cut = Some(cut));
    }

    fn take(&self) -> Vec<Stream<'a>> {
        self.with(|begun| std::mem::take(&mut begun.streams))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Begun<'a>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<'a, F: Future<Output = ()> + Send + 'a> Executor<F> for Streams<'a> {
    fn execute(&self, stream: F) {
        self.with(|begun| {
            let stream: Stream<'a> = match begun.cut.take() {
                // To drop a stream that has not ended is to reset it.
                Some(cut) => Box::pin(async move {
                    tokio::select! {
                        () = stream => {}
                        () = cut => {}
                    }
                }),
                None => Box::pin(stream),
            };
            begun.streams.push(stream);
        });
    }
}

/// Of one client at once: browsers ask for no more.
const STREAMS: u32 = 100;
/// Bytes of a request's header fields, as HTTP/2 counts them (RFC 9113 §6.5.2). Hyper refuses longer ones without a word of
/// ours, so these are more than a head may have.
const HEADERS: u32 = 64 * 1024;
/// Bytes of an answer that wait in this process while the client has no room: as much as a plain connection keeps.
const SEND_BUFFER: usize = 64 * 1024;
/// How often a silent client is asked whether it is there, and how long it may take to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long a client may stay that asks for nothing.
const IDLE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_leaves_with_what_its_request_and_status_let_it_have() {
        const TEXT: &str = "four";
        let rows = [
            ("a GET", 200, TEXT, None, false, None, false),
            ("a HEAD", 200, TEXT, None, true, Some("4"), true),
            ("a HEAD of a no", 404, TEXT, None, true, Some("4"), true),
            (
                "an origin's HEAD",
                200,
                "",
                Some("9"),
                true,
                Some("9"),
                true,
            ),
            (
                "a HEAD of an unknown length",
                200,
                "",
                None,
                true,
                None,
                true,
            ),
            ("no content", 204, TEXT, None, false, None, true),
            ("not modified", 304, TEXT, None, false, None, true),
            (
                "not modified, as a whole",
                304,
                "",
                Some("9"),
                true,
                Some("9"),
                true,
            ),
        ];
        for (cause, status, body, said, is_head, length, alone) in rows {
            let mut answer = Response::new(full(body));
            *answer.status_mut() = StatusCode::from_u16(status).expect("a status");
            if let Some(said) = said {
                let said = HeaderValue::from_static(said);
                answer.headers_mut().insert(CONTENT_LENGTH, said);
            }
            let sent = as_sent(answer, is_head);
            let stated = sent.headers().get(CONTENT_LENGTH);
            let stated = stated.map(|length| length.to_str().expect("a number"));
            assert_eq!(stated, length, "{cause}");
            assert_eq!(sent.body().is_end_stream(), alone, "{cause}");
        }
    }

    #[test]
    fn cookies_are_joined_in_their_order() {
        for (cookies, expected) in [
            (&[][..], &[][..]),
            (&["a=1; b=2"], &["a=1; b=2"]),
            (&["a=1", "b=2; c=3", "d=4"], &["a=1; b=2; c=3; d=4"]),
        ] {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(COOKIE, HeaderValue::from_static(cookie));
            }
            join_cookies(&mut headers);
            let joined: Vec<_> = headers.get_all(COOKIE).iter().collect();
            assert_eq!(joined, expected);
        }
    }
}
