//! What is said to an origin about a call: a request of signalling, sent on, and what comes back.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use sluicegate_core::http::head::{Forwarded, HeadError, RequestHead, ResponseHead};
use sluicegate_core::stream::Service;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::origin::attempt::Attempt;
use crate::origin::dial::Dialer;
use crate::registry::Registry;
use crate::registry::bindings::Call;
use crate::value::{ClientAddr, LocalAddr};

/// What an origin answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
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
    /// It closed, which is how SRS says no.
    #[error("it closed the connection without an answer")]
    HungUp,
}

/// The head of a client's request, held to the rules of every other.
pub(crate) fn head_of(request: &Parts) -> Result<RequestHead, HeadError> {
    let target = request
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let start = format!("{} {target} {:?}", request.method, request.version);
    let (head, _) =
        RequestHead::parse(&written(&start, &request.headers))?.ok_or(HeadError::StartLine)?;
    Ok(head)
}

/// A request of signalling, as it goes to an origin. Every end-to-end header of the client's goes along, `Host` and
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
pub(crate) async fn ask(origin: TcpStream, message: Message<'_>) -> Result<Answer, NoAnswer> {
    let Message {
        head,
        target,
        body,
        forwarded,
    } = message;
    let no_answer = |error: hyper::Error| {
        if error.is_parse() {
            NoAnswer::Broken(error.to_string())
        } else {
            NoAnswer::HungUp
        }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(origin))
        .await
        .map_err(no_answer)?;
    let _leg = AbortOnDropHandle::new(tokio::spawn(async move {
        // Its end is told by the request.
        let _ = connection.await;
    }));
    let mut request = Request::builder().method(head.method.as_str()).uri(target);
    for (name, value) in head.for_origin(forwarded).headers.iter() {
        if !name.eq_ignore_ascii_case("content-length") && !name.eq_ignore_ascii_case("expect") {
            request = request.header(name, value);
        }
    }
    let request = request
        .header(CONTENT_LENGTH, body.len())
        .body(Full::new(body))
        .map_err(|error| NoAnswer::Broken(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(no_answer)?;
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, MAX_ANSWER)
        .collect()
        .await
        .map_err(|error| NoAnswer::Broken(error.to_string()))?;
    Ok(Answer {
        status: parts.status,
        headers: end_to_end(parts.status, &parts.headers)?,
        body: body.to_bytes(),
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
) -> Result<Answer, NoAnswer> {
    let (origin, api) = (&call.origin, call.api.clone());
    let attempt = Attempt::at(registry, origin, Service::Api, api, TELL_WITHIN);
    let stream = dialer
        .dial(&attempt, client, local)
        .await
        .map_err(|error| NoAnswer::Broken(format!("{error:?}")))?;
    ask(stream, message).await
}

/// The headers that are for the client. What frames the body, and what is ours to say, is left out.
fn end_to_end(status: StatusCode, headers: &HeaderMap) -> Result<HeaderMap, NoAnswer> {
    let broken = |error: HeadError| NoAnswer::Broken(error.to_string());
    let start = format!("HTTP/1.1 {} -", status.as_u16());
    let (head, _) = ResponseHead::parse(&written(&start, headers))
        .map_err(broken)?
        .ok_or_else(|| broken(HeadError::StartLine))?;
    let mut kept = HeaderMap::new();
    for (name, value) in head.for_client().headers.iter() {
        let name = name.to_ascii_lowercase();
        let ours = [
            "connection",
            "content-length",
            "transfer-encoding",
            "date",
            "server",
        ]
        .contains(&name.as_str())
            || name.starts_with("access-control-");
        if ours {
            continue;
        }
        if let (Ok(name), Ok(value)) = (
            hyper::header::HeaderName::from_bytes(name.as_bytes()),
            hyper::header::HeaderValue::from_bytes(value),
        ) {
            kept.append(name, value);
        }
    }
    Ok(kept)
}

/// A head as bytes.
fn written(start: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = start.as_bytes().to_vec();
    for (name, value) in headers {
        for part in [b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// Bytes of an answer: a description, in JSON at the most.
const MAX_ANSWER: usize = 256 * 1024;
/// How long an origin may take to hear of the end of a call.
pub(crate) const TELL_WITHIN: Duration = Duration::from_secs(2);
