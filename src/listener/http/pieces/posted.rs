//! POST to what a page listed besides media, such as the licence server that a manifest names: the origin of the link gets
//! it, once, and its answer passes.

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use sluicegate_core::http::cmcd;
use sluicegate_core::http::link;
use sluicegate_core::http::route::{Piece, has_media_ending};
use tokio::time::timeout;

use super::wanted::broken;
use super::{PieceAsk, counted, pull, was_listed};
use crate::listener::http::Http;
use crate::listener::http::ready::Answer;
use crate::listener::http::refusal::Refused;
use crate::listener::http::share::Head;
use crate::net::entrance::Ends;
use crate::net::head;
use crate::net::http::{Identity, full};
use crate::origin::call::{self, Message};
use crate::proxy::Proxy;

/// Whether what is posted to `target` goes to an origin: a page of its link's stream listed it, and it is no media, whose
/// playlists are rewritten.
pub(in crate::listener::http) fn takes_posts(http: &Http, target: &str) -> bool {
    let (target, token) = link::take(target);
    let target = cmcd::of_target(&target);
    let (token, stamp) = token.map(link::split_stamp).unzip();
    let link = http.pieces.link(token);
    !has_media_ending(&target) && was_listed(http, link.as_ref(), stamp.flatten(), &target)
}

/// Answers a POST to such a target.
pub(in crate::listener::http) async fn answer(
    http: &Http,
    request: Request<Incoming>,
    ends: Ends,
    proxy: &Proxy,
) -> Answer {
    let answered = passed_on(http, request, ends, proxy).await;
    let answer = answered.unwrap_or_else(|refused| refused.into_response().into());
    counted(Piece::Segment, answer, proxy)
}

async fn passed_on(
    http: &Http,
    request: Request<Incoming>,
    ends: Ends,
    proxy: &Proxy,
) -> Result<Answer, Refused> {
    let refused = |status, words: &str| broken(ends.client, (status, words.to_owned()));
    let head = head::of_request(&request)
        .map_err(|error| refused(head::status_of(error), &error.to_string()))?;
    let identity = Identity::of(request.extensions()).map(str::to_owned);
    let ask = PieceAsk::new(head, Piece::Segment);
    // Whoever may not is refused before its body is read.
    let pull = pull(http, &ask, ends, identity.as_deref(), proxy).await?;
    let body = Limited::new(request.into_body(), MAX_BODY).collect();
    let body = match timeout(BODY_WITHIN, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let words = format!("the body is broken, or longer than {MAX_BODY} bytes");
            return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, &words).into());
        }
        Err(_) => return Err(refused(StatusCode::REQUEST_TIMEOUT, "the body did not come").into()),
    };
    let mut head = ask.head.clone();
    head.take_out(pull.place.headers_taken_out());
    let unanswered = |why: String| {
        let stream = &pull.place.request().stream;
        let words = format!("{stream}: its origin did not answer");
        let _ = pull.unanswered((StatusCode::SERVICE_UNAVAILABLE, format!("{words}: {why}")));
        (StatusCode::SERVICE_UNAVAILABLE, words)
    };
    let Some(attempt) = &pull.linked else {
        return Err(unanswered("it has no HTTP any more".to_owned()).into());
    };
    let target = &pull.ask.head.target;
    let message = Message {
        head: &head,
        target,
        body,
        forwarded: &http.forwarded(ends),
    };
    let sent = call::send(&http.dialer, attempt, pull.ask.client, ends.local, message);
    let time_limit = http.settings.answer_timeout;
    let answered = timeout(time_limit, sent).await;
    let answer = match answered {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => return Err(unanswered(why.to_string()).into()),
        Err(_) => {
            let within = time_limit.as_secs();
            return Err(unanswered(format!("no answer within {within} s")).into());
        }
    };
    proxy.registry().answered(&attempt.origin);
    let mut head = Head {
        status: answer.status,
        headers: answer.headers,
        leads: None,
    };
    pull.lead_head(&mut head, attempt, target, None);
    let mut response = Response::new(full(answer.body));
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    Ok(response.into())
}

/// Bytes of a body: a request for the licences of a stream has a few thousand.
const MAX_BODY: usize = 64 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(5);
