//! Heads of HTTP messages between hyper's form and ours: what hyper read is held to the same rules as a head that is
//! read from the wire.

use hyper::header::{CONNECTION, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use hyper::http::request::Builder;
use hyper::{Request, StatusCode, Version};
use sluicegate_core::http::head::{
    CORS, HeadError, MAX_HEAD, MAX_HEADERS, RequestHead, SingleConnection, is_cors,
};

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

/// The status with which a request is refused whose head breaks this rule.
pub fn status_of(error: HeadError) -> StatusCode {
    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST)
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

/// The headers of an origin's response as they go to a client: what [`ResponseHead::for_client`] makes of a head that
/// is read from the wire. How the body is framed is for hyper to say.
///
/// # Errors
/// When there are more of them than [`MAX_HEADERS`], or longer ones than [`MAX_HEAD`].
///
/// [`ResponseHead::for_client`]: sluicegate_core::http::head::ResponseHead::for_client
pub fn for_client(status: StatusCode, mut headers: HeaderMap) -> Result<HeaderMap, HeadError> {
    if headers.len() > MAX_HEADERS {
        return Err(HeadError::TooManyHeaders);
    }
    let fields = headers.iter();
    let length: usize = fields
        .map(|(name, value)| name.as_str().len() + value.len() + SEPARATORS)
        .sum();
    if length > MAX_HEAD {
        return Err(HeadError::TooLong);
    }
    let upgrades: Vec<HeaderValue> = match status {
        StatusCode::SWITCHING_PROTOCOLS => headers.get_all(UPGRADE).iter().cloned().collect(),
        _ => Vec::new(),
    };
    let connection = headers.get_all(CONNECTION).iter();
    let single = SingleConnection::of(connection.map(HeaderValue::as_bytes));
    let gone: Vec<HeaderName> = headers
        .keys()
        .filter(|name| single.has(name.as_str()))
        .cloned()
        .collect();
    for name in gone {
        headers.remove(name);
    }
    headers.remove(TRANSFER_ENCODING);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        for upgrade in upgrades {
            headers.append(UPGRADE, upgrade);
        }
    } else if !headers.keys().any(|name| is_cors(name.as_str())) {
        for (name, value) in CORS {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeadError::Header)?;
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
    Ok(headers)
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
/// The colon and the space after a name, and the end of its line.
const SEPARATORS: usize = 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sluicegate_core::http::head::ResponseHead;

    use super::*;

    /// The same by way of the wire: written, read and rewritten.
    fn by_way_of_the_wire(status: StatusCode, headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
        let start = format!("HTTP/1.1 {} -", status.as_u16());
        let (head, _) = ResponseHead::parse(&written(&start, headers))
            .expect("hyper read it")
            .expect("it is whole");
        let framing = |name: &str| {
            name.eq_ignore_ascii_case("transfer-encoding")
                || (status != StatusCode::SWITCHING_PROTOCOLS
                    && name.eq_ignore_ascii_case("connection"))
        };
        let head = head.for_client();
        let fields = head.headers.iter().filter(|(name, _)| !framing(name));
        let mut fields: Vec<_> = fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec()))
            .collect();
        fields.sort();
        fields
    }

    fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
        let fields = headers.iter();
        let mut fields: Vec<_> = fields
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        fields.sort();
        fields
    }

    const NAMES: [&str; 14] = [
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "upgrade",
        "proxy-connection",
        "transfer-encoding",
        "content-length",
        "host",
        "content-type",
        "x-one",
        "x-two",
        "access-control-allow-origin",
        "set-cookie",
    ];
    const VALUES: [&str; 9] = [
        "close",
        "X-One, keep-alive",
        "x-two,,Content-Length",
        "upgrade, host",
        "websocket",
        "chunked",
        "5",
        "*",
        "",
    ];

    proptest! {
        #[test]
        fn headers_that_hyper_read_become_what_a_head_from_the_wire_becomes(
            chosen in prop::collection::vec((0..NAMES.len(), 0..VALUES.len()), 0..12),
            switches: bool,
        ) {
            let mut headers = HeaderMap::new();
            for (name, value) in chosen {
                headers.append(NAMES[name], HeaderValue::from_static(VALUES[value]));
            }
            let status = if switches { StatusCode::SWITCHING_PROTOCOLS } else { StatusCode::OK };
            let expected = by_way_of_the_wire(status, &headers);
            let kept = for_client(status, headers).expect("a few headers");
            prop_assert_eq!(fields(&kept), expected);
        }
    }

    #[test]
    fn a_head_has_limits() {
        let with = |count: usize, length: usize| {
            let value = HeaderValue::try_from("v".repeat(length)).expect("a value");
            let mut headers = HeaderMap::new();
            for _ in 0..count {
                headers.append("x-header", value.clone());
            }
            for_client(StatusCode::OK, headers).err()
        };
        assert_eq!(with(MAX_HEADERS, 1), None);
        assert_eq!(with(MAX_HEADERS + 1, 1), Some(HeadError::TooManyHeaders));
        assert_eq!(with(2, MAX_HEAD / 2 - 20), None);
        assert_eq!(with(2, MAX_HEAD / 2), Some(HeadError::TooLong));
    }
}
