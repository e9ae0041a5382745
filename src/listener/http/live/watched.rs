//! Viewers that share a pull.

use std::sync::Arc;

use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use sluicegate_core::http::head::{RequestHead, Version};
use sluicegate_core::http::websocket::{self, ClientFrames};
use sluicegate_core::media::viewer::Envelope;
use sluicegate_core::stream::Protocol;

use super::{Led, NoAnswer, explain, surplus};
use crate::hub::{Joined, NotJoined, Recipe, Said, ViewerProtocol, Wanted, Wish};
use crate::listener::http::Http;
use crate::listener::http::refusal::{Refused, send};
use crate::net::entrance::Ends;
use crate::net::http::{Body, full};
use crate::net::linger_close;
use crate::net::wire::Wire;
use crate::proxy::{Refusal, Request, Session};
use crate::sessions::{Direction, Row};

/// What a viewer watches that shares a pull, if it does.
pub(super) fn wish(http: &Http, head: &RequestHead, request: &Request) -> Option<Wish> {
    // Players that can seek ask for everything like this.
    let range = head.headers.text("range");
    if range.is_some_and(|range| range.trim() != "bytes=0-") {
        return None;
    }
    let wish = http.hub.wish(request)?;
    if wish.is_checked() && head.headers.text("cookie").is_some() {
        // A shadow could not show it to the origin.
        return None;
    }
    // One that cannot be answered here is the origin's to answer.
    let is_flv = request.protocol == Protocol::HttpFlv;
    let answers = !head.is_websocket() || (is_flv && websocket::accept_key(head).is_some());
    answers.then_some(wish)
}

/// Waits for the pull that a viewer shares; `None` where it leaves meanwhile.
pub(super) async fn watch(
    http: &Http,
    session: Session,
    wanted: &Wanted,
    recipe: Recipe,
    client: &mut Wire,
) -> Option<Result<Joined, NotJoined>> {
    let row = Arc::clone(session.row());
    tokio::select! {
        joined = http.hub.join(session, wanted, recipe) => Some(joined),
        reason = surplus(client) => {
            row.end(reason);
            None
        }
    }
}

/// Tells a viewer why it does not share a pull, and closes: as its origin said it, where it did by HTTP.
pub(super) async fn refuse_viewer(
    client: &mut Wire,
    refusal: &Refusal,
    said: Option<&Said>,
    led: &Led<'_>,
) {
    let Some(said) = said else {
        let (status, words) = told(refusal, led.row);
        return send(client, status, &words).await;
    };
    let length = format!(
        "Connection: close\r\nContent-Length: {}\r\n",
        said.page.len()
    );
    let mut answer = head(said.status, &led.headers_of(said), &length);
    answer.extend_from_slice(&said.page);
    led.row.count(Direction::ToClient, answer.len());
    linger_close::say(client, &answer, linger_close::TIME_LIMIT).await;
}

/// The same for a viewer whose connection hyper has.
pub(in crate::listener::http) fn refused_viewer(
    refusal: &Refusal,
    said: Option<&Said>,
    led: &Led<'_>,
) -> Result<Response<Body>, Refused> {
    let Some(said) = said else {
        return Err(told(refusal, led.row).into());
    };
    let mut response = Response::new(full(said.page.clone()));
    *response.status_mut() = said.status;
    *response.headers_mut() = led.headers_of(said);
    Ok(response)
}

/// What is said to a viewer of a refusal, in our words.
fn told(refusal: &Refusal, row: &Row) -> (StatusCode, String) {
    match refusal {
        Refusal::Ended(reason) => explain(&NoAnswer::Ended(*reason), row),
        refusal => (refusal.http_status(), refusal.to_string()),
    }
}

/// What is kept of a viewer's set-up, with the target as its origin would get it.
pub(in crate::listener::http) fn recipe(session: &Session, target: &str, ends: Ends) -> Recipe {
    let target = session.for_origin(target);
    let query = target.split_once('?').map(|(_, query)| query);
    Recipe::of_http(&session.row().request.stream, query, ends.local)
}

/// The head that answers a viewer of a feed, and how its stream is framed.
pub(super) fn greeting(
    request: &RequestHead,
    joined: &Joined,
    led: &Led<'_>,
) -> (Vec<u8>, ViewerProtocol) {
    if let Some(key) = Some(request).filter(|request| request.is_websocket()) {
        let key = websocket::accept_key(key).unwrap_or_default();
        let protocol = websocket::protocol(request)
            .map(|protocol| format!("Sec-WebSocket-Protocol: {protocol}\r\n"))
            .unwrap_or_default();
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {key}\r\n{protocol}\r\n"
        );
        return (
            head.into(),
            ViewerProtocol::WebSocket(ClientFrames::default()),
        );
    }
    let (coding, envelope) = match request.version {
        Version::Http11 => (
            "Connection: close\r\nTransfer-Encoding: chunked\r\n",
            Envelope::Chunked,
        ),
        Version::Http10 => ("Connection: close\r\n", Envelope::None),
    };
    let head = head(StatusCode::OK, &greeting_of(joined, led), coding);
    (head, ViewerProtocol::Http(joined.framing(envelope)))
}

/// A head as bytes, `end` being the last of its headers.
fn head(status: StatusCode, headers: &HeaderMap, end: &str) -> Vec<u8> {
    let reason = status.canonical_reason().unwrap_or_default();
    let start = format!("HTTP/1.1 {} {reason}\r\n", status.as_u16());
    let mut head = start.into_bytes();
    for (name, value) in headers {
        // As servers write them: not every small player takes other letters for the same.
        let mut begins = true;
        for letter in name.as_str().bytes() {
            head.push(if begins {
                letter.to_ascii_uppercase()
            } else {
                letter
            });
            begins = letter == b'-';
        }
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(end.as_bytes());
    head.extend_from_slice(b"\r\n");
    head
}

/// What a viewer of a feed is told besides: what the origin said where it was asked over HTTP, and for the rest what SRS says.
pub(in crate::listener::http) fn greeting_of(joined: &Joined, led: &Led<'_>) -> HeaderMap {
    let said = joined.said().map(|said| led.headers_of(said));
    let mut headers = said.unwrap_or_default();
    for (name, ours) in [
        // The pull names no page, and so an origin that speaks of sites only to pages has said nothing of them.
        (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (CONTENT_TYPE, content_type(joined.session())),
        (CACHE_CONTROL, "no-cache"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(ours));
    }
    headers
}

/// The type of the body that a viewer of a feed gets: the one that SRS gives it.
fn content_type(session: &Session) -> &'static str {
    match session.row().request.protocol {
        Protocol::HttpAac => "audio/x-aac",
        Protocol::HttpMp3 => "audio/mpeg",
        Protocol::HttpTs => "video/MP2T",
        _ => "video/x-flv",
    }
}
