//! A refusal in HTTP's words: the status that says whose turn it is, and a short text without addresses.

use hyper::StatusCode;

use crate::net::linger_close;
use crate::net::wire::Wire;

/// Answers a client whose request was read by hand, and closes.
pub(super) async fn send(client: &mut Wire, status: StatusCode, words: &str) {
    let retry = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "Retry-After: 2\r\n",
        StatusCode::UNAUTHORIZED => "WWW-Authenticate: Bearer\r\n",
        _ => "",
    };
    let reason = status.canonical_reason().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\n{retry}Connection: close\r\n\r\n{words}\n",
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
