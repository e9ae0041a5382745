//! Answers that are whole in memory. Their heads are written once, however many clients get them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AGE, CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue,
};
use hyper::{HeaderMap, Response, StatusCode};

use super::share::Head;
use crate::net::http::{Body, full};
use crate::net::http_date;

/// The answer to a request for a piece.
#[derive(Debug)]
pub(super) enum Answer {
    /// One that is whole.
    Ready(Ready),
    /// Any other.
    Made(Response<Body>),
}

impl Answer {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Ready(ready) => ready.head.0.head.status,
            Self::Made(response) => response.status(),
        }
    }

    /// The same in hyper's form.
    pub(super) fn into_response(self) -> Response<Body> {
        match self {
            Self::Ready(ready) => ready.into_response(),
            Self::Made(response) => response,
        }
    }
}

impl From<Response<Body>> for Answer {
    fn from(response: Response<Body>) -> Self {
        Self::Made(response)
    }
}

/// A head that changes no more.
#[derive(Debug, Clone)]
pub(super) struct FinalHead(Arc<Final>);

#[derive(Debug)]
struct Final {
    head: Head,
    written: OnceLock<Bytes>,
}

impl FinalHead {
    /// Whatever the answer, any page may read it, where the origin does not say otherwise.
    pub(super) fn new(mut head: Head) -> Self {
        open_to_all(&mut head.headers);
        Self(Arc::new(Final {
            head,
            written: OnceLock::new(),
        }))
    }

    /// What it says.
    pub(super) fn head(&self) -> &Head {
        &self.0.head
    }

    /// Whether an answer of this status is written with its body.
    pub(super) fn has_body(&self) -> bool {
        matches!(
            self.0.head.status,
            StatusCode::OK | StatusCode::PARTIAL_CONTENT
        )
    }

    /// With its whole body, where it [has one](Self::has_body). `age` is how old the answer is, in seconds; 0: as it says
    /// itself.
    pub(super) fn ready(&self, body: Bytes, age: u64) -> Ready {
        Ready {
            head: self.clone(),
            body,
            age,
        }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Ready {
    head: FinalHead,
    body: Bytes,
    age: u64,
}

impl Ready {
    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// The head, but for what differs from client to client and from second to second.
    pub(super) fn start(&self) -> &Bytes {
        let Final { head, written } = &*self.head.0;
        written.get_or_init(|| {
            let mut text = Vec::with_capacity(USUAL_HEAD);
            write_start(
                head.status,
                &head.headers,
                &[AGE, CONTENT_LENGTH],
                &mut text,
            );
            let length = HeaderValue::from(self.body.len());
            write_field(CONTENT_LENGTH.as_str(), length.as_bytes(), &mut text);
            text.into()
        })
    }

    /// Writes the rest of the head.
    pub(super) fn write_rest(&self, closes: bool, out: &mut Vec<u8>) {
        let headers = &self.head.0.head.headers;
        match headers.get(AGE) {
            Some(said) if self.age == 0 => write_field(AGE.as_str(), said.as_bytes(), out),
            None if self.age == 0 => {}
            _ => write_field(AGE.as_str(), HeaderValue::from(self.age).as_bytes(), out),
        }
        write_end(headers, closes, out);
    }

    fn into_response(self) -> Response<Body> {
        let Head {
            status, headers, ..
        } = &self.head.0.head;
        let mut response = Response::new(full(self.body));
        *response.status_mut() = *status;
        *response.headers_mut() = headers.clone();
        if self.age > 0 {
            let age = HeaderValue::from(self.age);
            response.headers_mut().insert(AGE, age);
        }
        response
    }
}

/// Writes the status line and the fields of a head, besides those `without`.
pub(super) fn write_start(
    status: StatusCode,
    headers: &HeaderMap,
    without: &[HeaderName],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        if !without.contains(name) {
            write_field(name.as_str(), value.as_bytes(), out);
        }
    }
}

/// Writes what ends a head with these fields: whether the connection ends, and when, where the origin did not say so.
pub(super) fn write_end(headers: &HeaderMap, closes: bool, out: &mut Vec<u8>) {
    if closes {
        write_field(CONNECTION.as_str(), b"close", out);
    }
    if !headers.contains_key(DATE) {
        http_date::with(|date| write_field(DATE.as_str(), date.as_bytes(), out));
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes a field of a head.
pub(super) fn write_field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    for part in [name.as_bytes(), b": ", value, b"\r\n"] {
        out.extend_from_slice(part);
    }
}

/// Lets any page read an answer, where the origin does not say otherwise.
pub(super) fn open_to_all(headers: &mut HeaderMap) {
    headers
        .entry(ACCESS_CONTROL_ALLOW_ORIGIN)
        .or_insert(HeaderValue::from_static("*"));
}

/// Bytes of most heads; a longer one grows.
pub(super) const USUAL_HEAD: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(fields: &[(&'static str, &'static str)], age: u64) -> Ready {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let head = Head {
            status: StatusCode::OK,
            headers,
            leads: None,
        };
        FinalHead::new(head).ready("0123456789".into(), age)
    }

    fn written(ready: &Ready, closes: bool) -> String {
        let mut text = ready.start().to_vec();
        ready.write_rest(closes, &mut text);
        String::from_utf8(text).expect("text")
    }

    #[test]
    fn a_head_that_is_written_once_says_what_each_client_has_to_hear() {
        const DATED: (&str, &str) = ("date", "Thu, 01 Jan 1970 00:00:00 GMT");
        let rows = [
            (
                "no word on other pages",
                ready(&[DATED], 0),
                false,
                "access-control-allow-origin: *\r\ncontent-length: 10\r\n\r\n",
            ),
            (
                "one",
                ready(
                    &[DATED, ("access-control-allow-origin", "https://a.example")],
                    0,
                ),
                false,
                "access-control-allow-origin: https://a.example\r\ncontent-length: 10\r\n\r\n",
            ),
            (
                "another length, an age and an end",
                ready(&[DATED, ("content-length", "7"), ("age", "3")], 5),
                true,
                "access-control-allow-origin: *\r\ncontent-length: 10\r\nage: 5\r\nconnection: close\r\n\r\n",
            ),
            (
                "the age that its origin said",
                ready(&[DATED, ("age", "3")], 0),
                false,
                "access-control-allow-origin: *\r\ncontent-length: 10\r\nage: 3\r\n\r\n",
            ),
        ];
        for (cause, ready, closes, expected) in rows {
            let start = format!("HTTP/1.1 200 OK\r\n{}: {}\r\n", DATED.0, DATED.1);
            assert_eq!(
                written(&ready, closes),
                format!("{start}{expected}"),
                "{cause}"
            );
        }
        let undated = written(&ready(&[], 0), false);
        assert!(undated.contains("\r\ndate: ") && undated.ends_with(" GMT\r\n\r\n"));
    }

    #[test]
    fn hyper_gets_the_same() {
        let ready = ready(&[("age", "3"), ("x-a", "1"), ("x-a", "2")], 5);
        let response = ready.into_response();
        let fields = response.headers();
        assert_eq!(fields.get_all("x-a").iter().count(), 2);
        assert_eq!(fields[AGE], "5");
        assert_eq!(fields[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    }

    #[test]
    fn an_answer_without_a_body_is_not_written_with_one() {
        let head = Head {
            status: StatusCode::NO_CONTENT,
            headers: HeaderMap::new(),
            leads: None,
        };
        assert!(!FinalHead::new(head).has_body());
    }
}
