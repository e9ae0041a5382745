//! Requests for pieces, read and answered on the connection itself, one after another. A player makes thousands of them,
//! and they are of one simple form; the first that is anything else goes to hyper, and the connection with it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use sluicegate_core::http::head::{Body as RequestBody, HeadError, RequestHead, Version};
use sluicegate_core::http::route::{Piece, Route};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tracing::debug;

use super::super::turned_away;
use super::pieces::{self, PieceAsk};
use super::ready::{self, Answer, Ready, USUAL_HEAD};
use super::{Http, refusal, route};
use crate::net::entrance::Ends;
use crate::net::head::status_of;
use crate::net::http::{Body, BoxError};
use crate::net::patience::Wait;
use crate::net::wire::Wire;
use crate::proxy::Proxy;

/// What becomes of a connection after its requests for pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    /// The next request is for hyper; its bytes are still there.
    Goes,
    /// It is over.
    Ends,
}

/// Answers requests for pieces, of which `bytes` came already, until something else comes or the connection ends.
pub(super) async fn serve(
    http: &Http,
    client: &mut Wire,
    bytes: &mut Vec<u8>,
    ends: Ends,
    proxy: &Proxy,
) -> Then {
    let identity: Option<Arc<str>> = client.identity();
    // A token of its own: each request looks at it, and all connections would take turns at one.
    let stop = http.stop.child_token();
    let mut stopped = pin!(stop.cancelled());
    let mut wait = Wait::for_first(http.patience.clone());
    let mut last: Option<Asked> = None;
    loop {
        let asked = match last.take_if(|last| last.comes_again(http, bytes)) {
            Some(asked) => asked,
            None => {
                let (head, length) = match RequestHead::parse(bytes) {
                    Ok(Some(parsed)) => parsed,
                    Ok(None) => {
                        bytes.reserve(USUAL_REQUEST);
                        let reading = client.read_buf(bytes);
                        let read = tokio::select! {
                            biased;
                            read = reading => read,
                            () = &mut stopped => return Then::Ends,
                            () = wait.over() => return Then::Ends,
                        };
                        match read {
                            Ok(count) if count > 0 => {
                                wait.came();
                                continue;
                            }
                            _ => return Then::Ends,
                        }
                    }
                    Err(error) => {
                        refuse(client, error, ends).await;
                        return Then::Ends;
                    }
                };
                let written = bytes.get(..length).unwrap_or_default();
                match Asked::of(http, written, head, ends, proxy) {
                    Some(asked) => asked,
                    None => return Then::Goes,
                }
            }
        };
        bytes.drain(..asked.written.len());
        let answered = match pieces::at_once(http, &asked.ask, proxy) {
            Some(answer) => answer,
            None => {
                let mut answering = pin!(http.piece(&asked.ask, ends, identity.as_deref(), proxy));
                tokio::select! {
                    biased;
                    answer = &mut answering => answer,
                    // Nobody waits for the answer any more.
                    () = client.closed() => return Then::Ends,
                }
            }
        };
        let closes = asked.closes || stop.is_cancelled();
        let sent = match answered {
            Answer::Ready(ready) => send_ready(client, &ready, closes).await,
            Answer::Made(response) => send(client, response, closes).await,
        };
        if let Err(error) = sent {
            debug!(client = %ends.client, %error, "an answer was not sent whole");
            return Then::Ends;
        }
        if closes {
            let _ = client.shutdown().await;
            return Then::Ends;
        }
        wait.answered();
        // A player asks for its playlist again and again, and once for each segment.
        if asked.ask.kind != Piece::Segment {
            last = Some(asked);
        }
    }
}

/// A request that is answered here.
struct Asked {
    /// Its head, as it came.
    written: Vec<u8>,
    ask: PieceAsk,
    /// Whether its client asks for nothing after it.
    closes: bool,
}

impl Asked {
    /// The request whose `head` came as `written`, if it has the one form that is answered here.
    fn of(
        http: &Http,
        written: &[u8],
        head: RequestHead,
        ends: Ends,
        proxy: &Proxy,
    ) -> Option<Self> {
        let is_plain = head.method == "GET"
            && head.version == Version::Http11
            && head.body() == RequestBody::None
            && !head.headers.contains("upgrade")
            && !head.headers.contains("expect")
            && !ends.lacks_tls(head.headers.told_secure());
        if !is_plain || is_a_challenge(http, &head) {
            return None;
        }
        let Route::Piece(kind) = route(&head.target, head.host(), ends, proxy) else {
            return None;
        };
        Some(Self {
            written: written.to_vec(),
            closes: head.headers.has_token("connection", "close"),
            ask: PieceAsk::new(head, kind),
        })
    }

    /// Whether `bytes` begin with the same request, and it means the same: what a playlist's path is for does not change.
    fn comes_again(&self, http: &Http, bytes: &[u8]) -> bool {
        bytes.starts_with(&self.written)
            && self.ask.holds()
            && !is_a_challenge(http, &self.ask.head)
    }
}

/// Whether an ACME server asks for what we have to show it.
fn is_a_challenge(http: &Http, head: &RequestHead) -> bool {
    let path = head.target.split('?').next().unwrap_or_default();
    let pending = http.challenges.as_ref();
    pending.is_some_and(|pending| pending.answer(path).is_some())
}

async fn refuse(client: &mut Wire, error: HeadError, ends: Ends) {
    turned_away::log("http", ends.client, error.status(), error);
    refusal::send(client, status_of(error), &error.to_string()).await;
}

/// How the body of an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Chunked,
    /// This many bytes.
    Length(u64),
    /// There is none (RFC 9112 §6.3).
    Nothing,
}

/// Sends an answer that is whole.
async fn send_ready(client: &mut Wire, ready: &Ready, closes: bool) -> Result<(), BoxError> {
    let mut rest = Vec::with_capacity(USUAL_REST);
    ready.write_rest(closes, &mut rest);
    let written = write_all(client, &[ready.start(), &rest, ready.body()]).await;
    written.map_err(Into::into)
}

/// Sends an answer: its head together with as much of its body as there is by then.
async fn send(client: &mut Wire, answer: Response<Body>, closes: bool) -> Result<(), BoxError> {
    let (parts, body) = answer.into_parts();
    let mut body = pin!(body);
    let sent = sent(parts.status, &parts.headers, &*body)?;
    let mut head = Vec::with_capacity(USUAL_HEAD);
    write_head(parts.status, &parts.headers, sent, closes, &mut head);
    if sent == Sent::Nothing {
        return write_all(client, &[&head]).await.map_err(Into::into);
    }
    let mut left = match sent {
        Sent::Length(length) => length,
        Sent::Chunked | Sent::Nothing => u64::MAX,
    };
    // What is there already goes with the head, in one write.
    let mut next = {
        let mut asked = false;
        poll_fn(|cx| match body.as_mut().poll_frame(cx) {
            Poll::Pending if !asked => {
                asked = true;
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(frame) => Poll::Ready(Some(frame)),
        })
        .await
    };
    loop {
        let frame = match next.take() {
            Some(frame) => frame,
            None => {
                if !head.is_empty() {
                    write_all(client, &[&head]).await?;
                    head.clear();
                }
                tokio::select! {
                    biased;
                    frame = body.frame() => frame,
                    () = client.closed() => return Err("the client left".into()),
                }
            }
        };
        let Some(frame) = frame else { break };
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        send_data(client, &mut head, &data, sent, &mut left).await?;
        head.clear();
    }
    match sent {
        Sent::Chunked => write_all(client, &[&head, b"0\r\n\r\n"]).await?,
        Sent::Length(_) if left > 0 => return Err("the answer broke off".into()),
        Sent::Length(_) | Sent::Nothing => write_all(client, &[&head]).await?,
    }
    Ok(())
}

/// Sends a part of a body, after `before`.
async fn send_data(
    client: &mut Wire,
    before: &mut Vec<u8>,
    data: &Bytes,
    sent: Sent,
    left: &mut u64,
) -> Result<(), BoxError> {
    if data.is_empty() {
        return write_all(client, &[before]).await.map_err(Into::into);
    }
    let Some(rest) = left.checked_sub(data.len() as u64) else {
        return Err("the answer is longer than it said".into());
    };
    *left = rest;
    if sent == Sent::Chunked {
        before.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        write_all(client, &[before, data, b"\r\n"]).await?;
    } else {
        write_all(client, &[before, data]).await?;
    }
    Ok(())
}

/// How an answer's body is framed for its client: by the length that its head says, or that is known.
fn sent(
    status: StatusCode,
    headers: &HeaderMap,
    body: &impl HttpBody,
) -> Result<Sent, &'static str> {
    if matches!(status.as_u16(), 100..200 | 204 | 304) {
        return Ok(Sent::Nothing);
    }
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        let text = length.to_str().ok();
        let length = text.and_then(|text| text.parse().ok());
        return length.map(Sent::Length).ok_or("its length is no number");
    }
    let known = body.size_hint().exact();
    Ok(known.map_or(Sent::Chunked, Sent::Length))
}

fn write_head(
    status: StatusCode,
    headers: &HeaderMap,
    sent: Sent,
    closes: bool,
    out: &mut Vec<u8>,
) {
    // Once, however often the origin said it.
    ready::write_start(status, headers, &[CONTENT_LENGTH], out);
    match (sent, headers.get(CONTENT_LENGTH)) {
        (Sent::Chunked, _) => ready::write_field("transfer-encoding", b"chunked", out),
        (Sent::Length(length), _) => {
            let length = HeaderValue::from(length);
            ready::write_field(CONTENT_LENGTH.as_str(), length.as_bytes(), out);
        }
        (Sent::Nothing, Some(length)) if status == StatusCode::NOT_MODIFIED => {
            ready::write_field(CONTENT_LENGTH.as_str(), length.as_bytes(), out);
        }
        (Sent::Nothing, _) => {}
    }
    ready::write_end(headers, closes, out);
}

/// Writes all slices, in as few calls as the socket allows. A client that takes nothing for a long time is let go.
async fn write_all<const N: usize>(client: &mut Wire, slices: &[&[u8]; N]) -> io::Result<()> {
    let mut slices = slices.map(IoSlice::new);
    let mut rest = &mut slices[..];
    IoSlice::advance_slices(&mut rest, 0);
    if !rest.is_empty() {
        // Most answers are taken at once, and need no clock.
        match client.try_write_vectored(rest) {
            Ok(count) => IoSlice::advance_slices(&mut rest, count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    while !rest.is_empty() {
        let written = timeout(TAKES_NOTHING, client.write_vectored(rest)).await;
        match written.map_err(|_| io::ErrorKind::TimedOut)?? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => IoSlice::advance_slices(&mut rest, count),
        }
    }
    client.flush().await
}

/// Room for a request: browsers and players send less, and a longer one grows.
const USUAL_REQUEST: usize = 2048;
/// Bytes of what most heads say to one client only.
const USUAL_REST: usize = 128;
/// A client that takes no byte of an answer this long is gone, or stopped: it holds the answer in memory meanwhile.
const TAKES_NOTHING: Duration = Duration::from_secs(60);
