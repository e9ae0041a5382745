//! What an origin answers to a pull, or does in place of that.

use std::time::Duration;

use hyper::StatusCode;
use sluicegate_core::http::framing::Framing;
use sluicegate_core::http::head::{HeadError, RequestHead, ResponseHead};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::{NOTHING_FOLLOWS, surplus};
use crate::net::linger_close;
use crate::net::wire::Wire;
use crate::proxy::{Refusal, Session};
use crate::sessions::{Direction, EndReason, Row};

/// Why an origin's answer never came.
#[derive(Debug)]
pub(in crate::listener::http) enum NoAnswer {
    /// The origin's bytes are something else, in words.
    Broken(String),
    /// The session was ended, or its client ended it.
    Ended(EndReason),
    /// The origin closed.
    OriginGone,
}

/// An origin that is to answer.
pub(super) struct Answering {
    pub(super) origin: Wire,
    /// What came and was not taken: after the head, the body so far.
    pub(super) bytes: Vec<u8>,
}

impl Answering {
    pub(super) fn new(origin: Wire) -> Self {
        Self {
            origin,
            bytes: Vec::with_capacity(2048),
        }
    }

    /// Reads the head. It may be given up and called again: what came is kept.
    pub(super) async fn head(&mut self, request: &RequestHead) -> Result<ResponseHead, NoAnswer> {
        loop {
            match ResponseHead::parse(&self.bytes) {
                // An interim answer is about the request, which is not waiting for one (RFC 9110 §15.2).
                Ok(Some((head, length))) if head.status < 200 && head.status != SWITCHING => {
                    self.bytes.drain(..length);
                    continue;
                }
                Ok(Some((head, length))) => {
                    check_switch(head.status, request)?;
                    self.bytes.drain(..length);
                    return of_one_length(head, &request.method);
                }
                Ok(None) => {}
                Err(error) => return Err(NoAnswer::Broken(error.to_string())),
            }
            let read = self.origin.read_buf(&mut self.bytes).await;
            if !matches!(read, Ok(count) if count > 0) {
                return Err(NoAnswer::OriginGone);
            }
        }
    }
}

/// A head as it goes on to a client, so that whoever is between reads the same body (RFC 9112 §6.3): without a length beside chunks,
/// and none at all where it names lengths that contradict each other.
fn of_one_length(mut head: ResponseHead, method: &str) -> Result<ResponseHead, NoAnswer> {
    match head.framing(method) {
        Err(error @ HeadError::Length) => return Err(NoAnswer::Broken(error.to_string())),
        Ok(Framing::Chunked) => head.headers.remove("content-length"),
        // What is coded in another way goes on as it came.
        _ => {}
    }
    Ok(head)
}

/// Reads the origin's head for as long as the client stays.
pub(super) async fn answer_of(
    client: &mut Wire,
    answering: &mut Answering,
    request: &RequestHead,
    row: &Row,
) -> Result<ResponseHead, NoAnswer> {
    tokio::select! {
        biased;
        head = answering.head(request) => head,
        reason = surplus(client) => Err(NoAnswer::Ended(reason)),
        reason = row.ended() => Err(NoAnswer::Ended(reason)),
    }
}

/// What an origin says that refuses a stream.
pub(super) fn refusal_of(answer: &ResponseHead) -> Option<String> {
    let reason = String::from_utf8_lossy(&answer.reason);
    let words = || format!("{} {reason}", answer.status);
    (answer.status >= REFUSES).then(|| words().trim_end().to_owned())
}

/// Ends a session whose origin said no after the two were joined.
pub(in crate::listener::http) fn refuse(session: &Session, words: String) {
    let origin = session.row().placed().origin;
    session.refuse(&Refusal::Refused {
        origin: origin.unwrap_or_else(|| "-".into()),
        description: words,
    });
}

/// Passes an origin's refusal on, in its own words, and closes.
pub(super) async fn pass_refusal(
    client: &mut Wire,
    answer: ResponseHead,
    answering: Answering,
    row: &Row,
) {
    let Answering { origin, bytes } = answering;
    let mut first = Vec::with_capacity(1024 + bytes.len());
    answer.for_client().write(&mut first);
    first.extend_from_slice(&bytes);
    let length = answer.headers.text("content-length");
    let length = length.and_then(|length| length.trim().parse().ok());
    let left = length.unwrap_or(MAX_REFUSAL).min(MAX_REFUSAL);
    let mut rest = origin.take(left.saturating_sub(bytes.len() as u64));
    let passed = async {
        client.write_all(&first).await?;
        tokio::io::copy(&mut rest, client).await
    };
    let passed = timeout(PASSED_WITHIN, passed).await;
    let count = passed.ok().and_then(Result::ok).unwrap_or_default();
    row.count(
        Direction::ToClient,
        first.len() + usize::try_from(count).unwrap_or_default(),
    );
    linger_close::say(client, &[], linger_close::TIME_LIMIT).await;
}

/// An origin may switch protocols only where the client asked for it.
pub(in crate::listener::http) fn check_switch(
    status: u16,
    request: &RequestHead,
) -> Result<(), NoAnswer> {
    if status == SWITCHING && !request.is_websocket() {
        return Err(NoAnswer::Broken(
            "it switched protocols without being asked".to_owned(),
        ));
    }
    Ok(())
}

/// What a client hears whose origin did not answer.
pub(in crate::listener::http) fn explain(no_answer: &NoAnswer, row: &Row) -> (StatusCode, String) {
    let stream = &row.request.stream;
    match no_answer {
        NoAnswer::Ended(EndReason::WaitedTooLong) => {
            let words = format!("{stream}: no media came in time");
            (StatusCode::GATEWAY_TIMEOUT, words)
        }
        NoAnswer::Ended(EndReason::ClientError) => {
            (StatusCode::BAD_REQUEST, NOTHING_FOLLOWS.to_owned())
        }
        NoAnswer::Ended(reason) => {
            let refusal = Refusal::Ended(*reason);
            (refusal.http_status(), refusal.to_string())
        }
        NoAnswer::OriginGone => (StatusCode::BAD_GATEWAY, format!("{stream}: {CLOSED}")),
        NoAnswer::Broken(_) => (StatusCode::BAD_GATEWAY, format!("{stream}: {NO_HTTP}")),
    }
}

/// Ends a session whose origin did not answer. One that closes instead, or says what is no answer, has refused.
pub(in crate::listener::http) fn end_without_answer(session: &Session, no_answer: NoAnswer) {
    match no_answer {
        NoAnswer::Broken(problem) => refuse(session, format!("{NO_HTTP}: {problem}")),
        NoAnswer::Ended(reason) => session.row().end(reason),
        NoAnswer::OriginGone => refuse(session, CLOSED.to_owned()),
    }
}

/// What an origin did that gave no answer.
const CLOSED: &str = "its origin closed the connection without an answer";
const NO_HTTP: &str = "its origin's answer is not HTTP";
/// The first status that says no (RFC 9110 §15.5).
pub(in crate::listener::http) const REFUSES: u16 = 400;
/// Bytes of the page that an origin refuses with.
const MAX_REFUSAL: u64 = 256 * 1024;
/// How long that page may take.
const PASSED_WITHIN: Duration = Duration::from_secs(5);
pub(super) const SWITCHING: u16 = StatusCode::SWITCHING_PROTOCOLS.as_u16();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_one_length_for_all_who_read_it() {
        for (cause, fields, expected) in [
            ("none", "", Some(None)),
            ("one", "Content-Length: 13\r\n", Some(Some("13"))),
            (
                "beside chunks",
                "Content-Length: 13\r\nTransfer-Encoding: chunked\r\n",
                Some(None),
            ),
            ("two in a line", "Content-Length: 13, 14\r\n", None),
            (
                "two lines",
                "Content-Length: 13\r\nContent-Length: 14\r\n",
                None,
            ),
            ("less than nothing", "Content-Length: -5\r\n", None),
        ] {
            let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
            let head = ResponseHead::parse(text.as_bytes());
            let (head, _) = head.expect("a head").expect("all of it");
            let head = of_one_length(head, "GET").ok();
            let length = head.as_ref().map(|head| {
                let length = head.headers.all("content-length").next();
                length.map(|length| str::from_utf8(length).expect("a text"))
            });
            assert_eq!(length, expected, "{cause}");
        }
    }
}
