//! A refusal in HTTP's words: the status that says whose turn it is, and a short text without addresses.

use hyper::StatusCode;
use tokio::net::TcpStream;

use crate::net::last_words;
use crate::proxy::Refusal;

/// The status a refusal has.
pub(super) const fn status(refusal: &Refusal) -> StatusCode {
    match refusal {
        Refusal::AllFailed { .. } | Refusal::Refused { .. } => StatusCode::BAD_GATEWAY,
        Refusal::Draining
        | Refusal::Ended(_)
        | Refusal::Exhausted { .. }
        | Refusal::Full
        | Refusal::Gone { .. }
        | Refusal::NoOrigin { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::TooManyClaims => StatusCode::TOO_MANY_REQUESTS,
        Refusal::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
        Refusal::WrongService { .. } => StatusCode::NOT_FOUND,
    }
}

/// Answers a client whose request was read by hand, and closes.
pub(super) async fn send(client: &mut TcpStream, status: StatusCode, words: &str) {
    let retry = match status {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => "Retry-After: 2\r\n",
        _ => "",
    };
    let reason = status.canonical_reason().unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Access-Control-Allow-Origin: *\r\n{retry}Connection: close\r\n\r\n{words}\n",
        status.as_u16(),
        words.len() + 1,
    );
    last_words::say(client, answer.as_bytes(), last_words::PATIENCE).await;
}
