//! Requests without a body over connections that are kept for the next one. A socket belongs to the worker it was made
//! on, so each worker keeps its own, and nothing is locked.
//!
//! A connection is read by the task that asks: there is no task of its own to wake, and the head is read by core's parser,
//! once.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use sluicegate_core::fleet::origin::Target;
use sluicegate_core::http::framing::{BodyError, BodyReader, Framing, Part};
use sluicegate_core::http::head::{HeadError, RequestHead, ResponseHead, Version};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, sleep};

use super::read_buffers;
use crate::net::wire::Wire;

/// A connection to an origin with no request on it. Dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Line {
    wire: Wire,
    /// What came and was not taken yet.
    came: BytesMut,
    /// Where it may be kept; nowhere if it was made for one client.
    home: Option<Target>,
}

/// Why there is no answer, or no whole one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// The body is not framed as its head says.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The connection ended before the head of the answer.
    #[error("it closed the connection without an answer")]
    Closed,
    /// The head is not one of HTTP.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It sent bytes that belong to no request.
    #[error("it said something without being asked")]
    Unasked,
}

impl Line {
    /// A fresh connection; it is kept for later requests to `home`, if there is one.
    pub(crate) fn new(wire: Wire, home: Option<Target>) -> Self {
        Self {
            wire,
            came: BytesMut::new(),
            home,
        }
    }

    /// A connection to `target` that waits for a request on this worker.
    pub(crate) fn idle(target: &Target) -> Option<Self> {
        let pop = || IDLE.with_borrow_mut(|idle| idle.take(target));
        std::iter::from_fn(pop).find_map(|mut line| line.is_quiet().then_some(line))
    }

    /// Keeps the connection for the next request, if it may be.
    pub(crate) fn keep(mut self) {
        let Some(home) = self.home.clone() else {
            return;
        };
        if !self.came.is_empty() {
            return;
        }
        self.came = BytesMut::new();
        let begins = IDLE.with_borrow_mut(|idle| {
            idle.put(home, self);
            !std::mem::replace(&mut idle.swept, true)
        });
        if begins {
            tokio::spawn(sweep());
        }
    }

    /// Sends a request without a body, with `target` in place of its own, and waits for the head of the answer. The
    /// connection is kept after the body was read to its end, if it has a home.
    ///
    /// # Errors
    /// When the connection ends first, or the answer is not HTTP.
    pub(crate) async fn ask(
        mut self,
        head: &RequestHead,
        target: &str,
    ) -> Result<Response<LineBody>, LineError> {
        self.say(head, target).await?;
        self.answer(&head.method).await
    }

    /// The same where the answer may well be `known`, byte for byte: a whole answer after which the connection was kept.
    /// `None` if it is, and the connection is kept.
    ///
    /// # Errors
    /// Those of [`Line::ask`].
    pub(crate) async fn ask_again(
        mut self,
        head: &RequestHead,
        target: &str,
        known: &[u8],
    ) -> Result<Option<Response<LineBody>>, LineError> {
        self.say(head, target).await?;
        // Room for one byte more shows whether more came.
        self.came.reserve(known.len() + 1);
        if self.wire.read_buf(&mut self.came).await? == 0 {
            return Err(LineError::Closed);
        }
        if self.came == *known {
            self.came.clear();
            self.keep();
            return Ok(None);
        }
        // Another answer, or the first part of one.
        self.answer(&head.method).await.map(Some)
    }

    async fn say(&mut self, head: &RequestHead, target: &str) -> io::Result<()> {
        // Without a `Host` it is one of HTTP/1.0 (RFC 9112 §3.2).
        let version = match head.host() {
            Some(_) => Version::Http11,
            None => Version::Http10,
        };
        let mut request = Vec::with_capacity(USUAL_REQUEST);
        head.write_as(target, version, &mut request);
        self.wire.write_all(&request).await?;
        self.wire.flush().await
    }

    /// The answer to a request with `method`.
    async fn answer(mut self, method: &str) -> Result<Response<LineBody>, LineError> {
        let (head, written) = self.head().await?;
        let (response, framing, persists) = read(head, method)?;
        let has_length = matches!(framing, Framing::Length(_));
        let mut body = LineBody {
            line: Some(self),
            kept: Bytes::new(),
            reader: BodyReader::new(framing),
            persists,
            broken: None,
            head: (persists && has_length).then(|| written.freeze()),
        };
        body.settle()?;
        Ok(response.map(|()| body))
    }

    /// The head of the answer, and how it is written. What only says that it is being made (RFC 9110 §15.2) is passed over.
    async fn head(&mut self) -> Result<(ResponseHead, BytesMut), LineError> {
        let mut informed = 0;
        loop {
            if let Some((head, length)) = ResponseHead::parse(&self.came)? {
                let written = self.came.split_to(length);
                let informs = matches!(head.status, 100 | 102..200);
                if !informs {
                    return Ok((head, written));
                }
                informed += 1;
                if informed == MAX_INFORMED {
                    return Err(LineError::Unasked);
                }
                continue;
            }
            self.came.reserve(SMALL_READ);
            if self.wire.read_buf(&mut self.came).await? == 0 {
                return Err(LineError::Closed);
            }
        }
    }

    /// Whether the connection stands and nothing was said on it.
    fn is_quiet(&mut self) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.wire)
            .poll_read(&mut cx, &mut buffer)
            .is_pending()
    }
}

/// What the head of an answer to a request with `method` says, in hyper's form: how the body after it is framed, and
/// whether another request may follow.
fn read(head: ResponseHead, method: &str) -> Result<(Response<()>, Framing, bool), LineError> {
    let framing = head.framing(method)?;
    let persists = head.persists(framing);
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| HeadError::StartLine)?;
    *response.headers_mut() = fields(head)?;
    if framing == Framing::Chunked {
        // The chunks say where the body ends, and nothing else may (RFC 9112 §6.3).
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok((response, framing, persists))
}

/// The answer to a GET that came before as `whole`, its head and its body, as if it came now.
///
/// # Errors
/// When it is none.
pub(crate) fn read_again(whole: &Bytes) -> Result<Response<LineBody>, LineError> {
    let (head, length) = ResponseHead::parse(whole)?.ok_or(LineError::Closed)?;
    let (response, ..) = read(head, "GET")?;
    let body = LineBody {
        line: None,
        kept: whole.slice(length..),
        reader: BodyReader::new(Framing::Length(0)),
        persists: false,
        broken: None,
        head: None,
    };
    Ok(response.map(|()| body))
}

/// The fields of a head, in hyper's form.
fn fields(head: ResponseHead) -> Result<HeaderMap, LineError> {
    let mut fields = HeaderMap::with_capacity(head.headers.iter().count());
    for (name, value) in head.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeadError::Header)?;
        let value =
            HeaderValue::from_maybe_shared(Bytes::from(value)).map_err(|_| HeadError::Header)?;
        fields.append(name, value);
    }
    Ok(fields)
}

/// The body of an origin's answer; it takes the connection along.
#[derive(Debug)]
pub(crate) struct LineBody {
    /// `None` once the body is over, or broken.
    line: Option<Line>,
    /// A body without a connection: what is left of it.
    kept: Bytes,
    reader: BodyReader,
    persists: bool,
    /// What is wrong with what follows the last data.
    broken: Option<BodyError>,
    head: Option<Bytes>,
}

impl LineBody {
    /// The head as it was written, if it says how long the body is and the connection is kept after it: the body follows
    /// it as it is then.
    pub(crate) const fn head(&self) -> Option<&Bytes> {
        self.head.as_ref()
    }

    /// Takes what frames the body from what came, and lets the connection go if that was the end.
    fn settle(&mut self) -> Result<(), BodyError> {
        while let Some(line) = &mut self.line
            && !self.reader.is_data()
        {
            match self.reader.next(&line.came)? {
                Part::Skip(count) => line.came.advance(count),
                Part::End => self.let_go(),
                Part::Data(_) | Part::More => break,
            }
        }
        Ok(())
    }

    /// The body is over: the connection is free for the next request.
    fn let_go(&mut self) {
        if let Some(line) = self.line.take().filter(|_| self.persists) {
            line.keep();
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, LineError>> {
        if let Some(broken) = self.broken.take() {
            return Poll::Ready(Err(broken.into()));
        }
        if !self.kept.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.kept))));
        }
        loop {
            let Some(line) = &mut self.line else {
                return Poll::Ready(Ok(None));
            };
            match self.reader.next(&line.came)? {
                Part::Data(count) => {
                    let data = line.came.split_to(count).freeze();
                    self.broken = self.settle().err();
                    return Poll::Ready(Ok(Some(data)));
                }
                Part::Skip(count) => line.came.advance(count),
                Part::End => self.let_go(),
                Part::More => match self.reader.left() {
                    Some(left) if left > SMALL_READ as u64 => {
                        let most = usize::try_from(left).unwrap_or(usize::MAX);
                        let data = ready!(read_buffers::poll_read(&mut line.wire, most, cx))?;
                        if data.is_empty() {
                            self.reader.end()?;
                        } else {
                            self.reader.next(&data)?;
                            self.broken = self.settle().err();
                            return Poll::Ready(Ok(Some(data)));
                        }
                    }
                    _ => {
                        if ready!(poll_read(line, cx))? == 0 {
                            self.reader.end()?;
                        }
                    }
                },
            }
        }
    }
}

/// Reads once, into what came.
fn poll_read(line: &mut Line, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    line.came.reserve(SMALL_READ);
    let reading = std::pin::pin!(line.wire.read_buf(&mut line.came));
    reading.poll(cx)
}

impl Body for LineBody {
    type Data = Bytes;
    type Error = LineError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, LineError>>> {
        let next = ready!(self.poll_next(cx));
        if next.is_err() {
            self.line = None;
        }
        Poll::Ready(next.transpose().map(|data| data.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.line.is_none() && self.broken.is_none() && self.kept.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = match self.kept.len() {
            0 => self.reader.left(),
            kept => Some(kept as u64),
        };
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// The connections of this worker that wait.
#[derive(Debug)]
struct Waiting<L> {
    lines: HashMap<Target, Vec<Idle<L>>>,
    /// How many there are.
    count: usize,
    /// Whether somebody looks after them.
    swept: bool,
}

#[derive(Debug)]
struct Idle<L> {
    line: L,
    since: Instant,
}

impl<L> Default for Waiting<L> {
    fn default() -> Self {
        Self {
            lines: HashMap::new(),
            count: 0,
            swept: false,
        }
    }
}

impl<L> Waiting<L> {
    /// The one to `target` that came last.
    fn take(&mut self, target: &Target) -> Option<L> {
        let idle = self.lines.get_mut(target)?.pop()?;
        self.count -= 1;
        Some(idle.line)
    }

    /// Keeps one. Where there is no room for more, the oldest to the same origin goes; with no other to it, this one does.
    fn put(&mut self, home: Target, line: L) {
        let is_full = self.count >= IDLE_IN_ALL;
        let lines = self.lines.entry(home).or_default();
        if lines.len() == IDLE_MAX || is_full && !lines.is_empty() {
            lines.remove(0);
        } else if is_full {
            return;
        } else {
            self.count += 1;
        }
        lines.push(Idle {
            line,
            since: Instant::now(),
        });
    }

    fn retain(&mut self, mut keeps: impl FnMut(&mut Idle<L>) -> bool) {
        self.lines.retain(|_, lines| {
            lines.retain_mut(&mut keeps);
            !lines.is_empty()
        });
        self.count = self.lines.values().map(Vec::len).sum();
    }
}

/// Closes those that have waited for long, or that their origin closed, until none is left.
async fn sweep() {
    loop {
        sleep(SWEEP).await;
        let over = IDLE.with_borrow_mut(|idle| {
            idle.retain(|idle| idle.since.elapsed() < IDLE_FOR && idle.line.is_quiet());
            idle.swept = read_buffers::shrink() > 0 || !idle.lines.is_empty();
            !idle.swept
        });
        if over {
            return;
        }
    }
}

thread_local! {
    static IDLE: RefCell<Waiting<Line>> = RefCell::default();
}

/// Less than what servers keep an idle connection for (nginx 75 s, node 5 s, SRS 30 s), save the shortest: a request
/// that meets its end is sent again on a fresh connection.
const IDLE_FOR: Duration = Duration::from_secs(15);
/// How often they are looked after: one that its origin closed keeps its descriptor this long.
const SWEEP: Duration = Duration::from_secs(3);
/// Idle connections to one origin, per worker: a stampede may leave hundreds.
const IDLE_MAX: usize = 32;
/// Idle connections to all origins together, per worker: a fleet of a thousand would take most descriptors.
const IDLE_IN_ALL: usize = 1024;
/// Bytes of most requests; a longer one grows.
const USUAL_REQUEST: usize = 512;
/// Bytes of a head with a playlist after it, and more than most chunks of a body have.
const SMALL_READ: usize = 8 * 1024;
/// Heads before the one that answers: a `103` for each resource that an origin thinks of is not for us.
const MAX_INFORMED: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u16) -> Target {
        Target::plain("o".parse().expect("a name"), number + 1)
    }

    #[tokio::test]
    async fn idle_connections_are_bounded_for_each_origin_and_in_all() {
        let mut waiting = Waiting::default();
        for number in 0..100 {
            waiting.put(target(0), number);
        }
        assert_eq!(waiting.count, IDLE_MAX);
        for origin in 1..2_000 {
            waiting.put(target(origin), 0);
        }
        assert_eq!(waiting.count, IDLE_IN_ALL);
        waiting.put(target(0), 100);
        assert_eq!(waiting.count, IDLE_IN_ALL);
        let taken: Vec<u32> = std::iter::from_fn(|| waiting.take(&target(0))).collect();
        let expected: Vec<u32> = (69..=100).rev().collect();
        assert_eq!(taken, expected, "the newest first, and the oldest went");
        assert_eq!(waiting.count, IDLE_IN_ALL - IDLE_MAX);
        waiting.put(target(1_999), 7);
        assert_eq!(waiting.take(&target(1_999)), Some(7), "there is room again");
        waiting.retain(|_| false);
        assert_eq!((waiting.count, waiting.lines.len()), (0, 0));
    }
}
