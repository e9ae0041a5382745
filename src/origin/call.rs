//! What is said to an origin with a body: a request about a call, or for a licence, sent on, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, DATE, HeaderMap,
    HeaderName, SERVER, TRANSFER_ENCODING,
};
use sluicegate_core::http::head::{Forwarded, RequestHead};
use sluicegate_core::stream::Service;

use crate::net::wire::Wire;
use crate::net::{coding, cors, head};
use crate::origin::attempt::Attempt;
use crate::origin::dial::Dialer;
use crate::origin::http;
use crate::registry::Registry;
use crate::registry::bindings::Call;
use crate::value::{ClientAddr, LocalAddr};

/// What an origin answered.
#[derive(Debug, Clone)]
pub(crate) struct CallAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why an origin's answer never came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Its bytes are something else.
    #[error("its answer is broken: {0}")]
    Broken(String),
    /// Its body cannot be read.
    #[error("{0}")]
    Coded(&'static str),
    /// No connection to it was opened.
    #[error("{0}")]
    NotDialled(String),
    /// It closed, which is how SRS says no.
    #[error("it closed the connection without an answer")]
    HungUp,
}

/// A request with a body, as it goes to an origin. Every end-to-end header of the client's goes along, `Host` and
/// `Authorization` among them.
#[derive(Debug)]
pub(crate) struct Message<'a> {
    /// The client's head.
    pub(crate) head: &'a RequestHead,
    /// What is asked for, in place of the client's own target.
    pub(crate) target: &'a str,
    pub(crate) body: Bytes,
    pub(crate) forwarded: &'a Forwarded,
}

/// Sends a message over a connection of its own.
pub(crate) async fn ask(origin: Wire, message: Message<'_>) -> Result<CallAnswer, NoAnswer> {
    let mut head = message.head.for_origin(message.forwarded);
    head.target = message.target.to_owned();
    // The body is whole, however it came.
    head.headers.remove("content-length");
    head.headers.remove("transfer-encoding");
    head.headers.remove("expect");
    // The answer is read here.
    head.headers.remove("accept-encoding");
    let request = head::to_request(&head)
        .header(CONTENT_LENGTH, message.body.len())
        .body(Full::new(message.body))
        .map_err(|error| NoAnswer::Broken(error.to_string()))?;
    let answered = http::once(origin, request).await;
    let response = answered.map_err(|error| {
        if error.is_parse() {
            NoAnswer::Broken(error.to_string())
        } else {
            NoAnswer::HungUp
        }
    })?;
    let (parts, body) = response.into_parts();
    let mut headers = for_client(parts.status, parts.headers)?;
    let body = http::whole(body, MAX_ANSWER).await;
    let mut body = body.map_err(|cut| NoAnswer::Broken(cut.to_string()))?;
    // Nothing is nothing in every coding.
    let decoded = match body.is_empty() {
        true => Ok(Some(Bytes::new())),
        false => coding::decoded(&headers, &body, MAX_ANSWER),
    };
    if let Some(plain) = decoded.map_err(NoAnswer::Coded)? {
        headers.remove(CONTENT_ENCODING);
        body = plain;
    }
    Ok(CallAnswer {
        status: parts.status,
        headers,
        body,
    })
}

/// Sends a request about a call to the origin that answered it, on behalf of `client`.
pub(crate) async fn tell(
    dialer: &Dialer,
    registry: &Registry,
    call: &Call,
    client: ClientAddr,
    local: LocalAddr,
    message: Message<'_>,
) -> Result<CallAnswer, NoAnswer> {
    let (origin, api) = (&call.origin, call.api.clone());
    let attempt = Attempt::at(registry, origin, Service::Api, api, TELL_WITHIN);
    send(dialer, &attempt, client, local, message).await
}

/// Sends a request over a connection of its own, once, on behalf of `client`: nobody knows what it changes.
pub(crate) async fn send(
    dialer: &Dialer,
    attempt: &Attempt,
    client: ClientAddr,
    local: LocalAddr,
    message: Message<'_>,
) -> Result<CallAnswer, NoAnswer> {
    let dialled = dialer.dial(attempt, client, local).await;
    let wire = dialled.map_err(|error| NoAnswer::NotDialled(format!("{error:?}")))?;
    ask(wire, message).await
}

/// The headers that are for the client. What frames the body, and what is ours to say, is left out.
fn for_client(status: StatusCode, headers: HeaderMap) -> Result<HeaderMap, NoAnswer> {
    let says_cors = headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN);
    let kept = head::for_client(status, headers);
    let mut headers = kept.map_err(|error| NoAnswer::Broken(error.to_string()))?;
    let ours = |name: &HeaderName| {
        let framing = [CONNECTION, CONTENT_LENGTH, DATE, SERVER, TRANSFER_ENCODING];
        framing.contains(name) || cors::is_about(name) && !says_cors
    };
    let names: Vec<HeaderName> = headers.keys().filter(|name| ours(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    Ok(headers)
}

/// Bytes of an answer: a description, perhaps wrapped in JSON, or licences.
const MAX_ANSWER: usize = 256 * 1024;
/// How long an origin may take to hear of the end of a call.
pub(crate) const TELL_WITHIN: Duration = Duration::from_secs(2);
