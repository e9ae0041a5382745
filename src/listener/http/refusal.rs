//! A refusal in HTTP's words: the status that says whose turn it is, and a short text without addresses.

use hyper::header::{HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use sluicegate_core::access::challenge::REALM;
use sluicegate_core::http::head::RequestHead;
use sluicegate_core::http::segment::Owners;

use crate::net::http::{Body, READING, USUAL_RETRY_AFTER, other_method, passes, retry_after, text};
use crate::net::linger_close;
use crate::net::wire::Wire;
use crate::proxy::{Proxy, Refusal, Request};

/// What a client hears that gets nothing.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    words: String,
    /// In how many seconds it may ask again, if that is worth a try.
    retry_after: u64,
    /// Whether it hears that it may show a user and a password, or a key in the place of the password.
    offers_basic: bool,
}

impl From<(StatusCode, String)> for Refused {
    fn from((status, words): (StatusCode, String)) -> Self {
        Self {
            status,
            words,
            retry_after: USUAL_RETRY_AFTER,
            offers_basic: false,
        }
    }
}

impl From<&Refusal> for Refused {
    fn from(refusal: &Refusal) -> Self {
        Self {
            retry_after: refusal.retry_after(),
            ..Self::from((refusal.http_status(), refusal.to_string()))
        }
    }
}

impl Refused {
    /// The same, where a client that did not say who it is may do so by a password.
    pub(super) fn offering(self, offers_basic: bool) -> Self {
        Self {
            offers_basic: offers_basic && self.status == StatusCode::UNAUTHORIZED,
            ..self
        }
    }

    /// The answer to a request that hyper read.
    pub(super) fn into_response(self) -> Response<Body> {
        // Nothing that is refused in these words takes other methods.
        let mut response = match self.status {
            StatusCode::METHOD_NOT_ALLOWED => other_method(READING, self.words),
            status => text(status, self.words),
        };
        retry_after(&mut response, self.retry_after);
        // In a line of its own: some players read one scheme for each line.
        if self.offers_basic
            && let Ok(basic) = HeaderValue::try_from(basic())
        {
            response.headers_mut().append(WWW_AUTHENTICATE, basic);
        }
        response
    }

    /// Answers a client whose request was read by hand, and closes.
    pub(super) async fn send(&self, client: &mut Wire) {
        say(client, self).await;
    }
}

/// Whether the client of a request hears, if it did not say who it is, that it may do so by a password. A script does not:
/// its browser would ask the user for one, over whatever the page shows.
pub(super) fn offers_basic(
    proxy: &Proxy,
    asked: &Request,
    owners: &Owners,
    head: &RequestHead,
) -> bool {
    let is_script = head.headers.text("sec-fetch-dest") == Some("empty");
    !is_script && (proxy.takes_basic(asked) || proxy.takes_basic_for(asked, owners))
}

fn basic() -> String {
    format!("Basic realm=\"{REALM}\", charset=\"UTF-8\"")
}

/// Answers a client whose request was read by hand, and closes.
pub(super) async fn send(client: &mut Wire, status: StatusCode, words: &str) {
    say(client, &Refused::from((status, words.to_owned()))).await;
}

async fn say(client: &mut Wire, refused: &Refused) {
    let (status, words) = (refused.status, &refused.words);
    let more = match status {
        status if passes(status) => format!("Retry-After: {}\r\n", refused.retry_after),
        StatusCode::METHOD_NOT_ALLOWED => format!("Allow: {READING}\r\n"),
        StatusCode::UNAUTHORIZED if refused.offers_basic => format!(
            "WWW-Authenticate: Bearer\r\nWWW-Authenticate: {}\r\n",
            basic()
        ),
        StatusCode::UNAUTHORIZED => "WWW-Authenticate: Bearer\r\n".to_owned(),
        _ => String::new(),
    };
    let reason = status.canonical_reason().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\n{more}Connection: close\r\n\r\n{words}\n",
        status.as_u16(),
        words.len() + 1,
    );
    linger_close::say(client, answer.as_bytes(), linger_close::TIME_LIMIT).await;
}

/// Sends a client elsewhere, and closes. Nobody may keep that: the next time, the stream may be at another origin.
pub(super) async fn send_away(client: &mut Wire, location: &str) {
    let answer = format!(
        "HTTP/1.1 302 Found\r\nLocation: {location}\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
    );
    linger_close::say(client, answer.as_bytes(), linger_close::TIME_LIMIT).await;
}
