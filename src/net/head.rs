//! Heads of HTTP messages between hyper's form and ours: what hyper read is held to the same rules as a head that is
//! read from the wire.

use hyper::header::{CONNECTION, HeaderMap, TRANSFER_ENCODING};
use hyper::http::request::Builder;
use hyper::{Request, Response, StatusCode, Version};
use sluicegate_core::http::head::{HeadError, RequestHead, ResponseHead};

use super::http::BoxError;

/// The head of a request that hyper read.
///
/// # Errors
/// Which rule it breaks.
pub fn of_request<B>(request: &Request<B>) -> Result<RequestHead, HeadError> {
    let target = request.uri().path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    let start = format!("{} {target} {:?}", request.method(), request.version());
    let head = RequestHead::parse(&written(&start, request.headers()))?;
    head.map(|(head, _)| head).ok_or(HeadError::StartLine)
}

/// A request with this head, which only lacks its body. Without a `Host` it is one of HTTP/1.0 (RFC 9112 §3.2).
pub fn to_request(head: &RequestHead) -> Builder {
    let version = match head.host() {
        Some(_) => Version::HTTP_11,
        None => Version::HTTP_10,
    };
    let request = Request::builder()
        .method(head.method.as_str())
        .uri(&head.target)
        .version(version);
    let headers = head.headers.iter();
    headers.fold(request, |request, (name, value)| {
        request.header(name, value)
    })
}

/// The head of an origin's response as it goes to a client. How its body is framed is for hyper to say.
///
/// # Errors
/// When it breaks a rule.
pub fn for_client<B>(response: &Response<B>) -> Result<Response<()>, BoxError> {
    let start = format!("HTTP/1.1 {} -", response.status().as_u16());
    let (head, _) =
        ResponseHead::parse(&written(&start, response.headers()))?.ok_or(HeadError::StartLine)?;
    let mut rebuilt = Response::builder().status(head.status);
    for (name, value) in head.for_client().headers.iter() {
        rebuilt = rebuilt.header(name, value);
    }
    let mut rebuilt = rebuilt.body(())?;
    rebuilt.headers_mut().remove(TRANSFER_ENCODING);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        rebuilt.headers_mut().remove(CONNECTION);
    }
    Ok(rebuilt)
}

/// A head as bytes.
fn written(start: &str, headers: &HeaderMap) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_HEAD);
    bytes.extend_from_slice(start.as_bytes());
    for (name, value) in headers {
        for part in [b"\r\n", name.as_str().as_bytes(), b": ", value.as_bytes()] {
            bytes.extend_from_slice(part);
        }
    }
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes
}

/// Bytes of most heads; a longer one grows.
const USUAL_HEAD: usize = 1024;
