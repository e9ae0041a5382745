//! OPTIONS of a browser that asks before it pulls (Fetch standard §3.2.2): the origin of the stream answers, where it has
//! an answer. A browser shows no credentials with it, so where an access rule is about the stream no origin hears of it.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use sluicegate_core::http::link;
use sluicegate_core::http::route::Route;
use sluicegate_core::stream::{Action, Protocol, Service};

use super::client::client_of;
use super::{Http, dialect_of, live, open_to_all, pieces, route};
use crate::net::entrance::Ends;
use crate::net::http::Body;
use crate::net::{cors, head};
use crate::origin::kept::Repeatable;
use crate::origin::line::LineBody;
use crate::proxy::{Attempt, Proxy};

/// Answers with what the origin says to pages of other sites, else with what we say to all.
pub(super) async fn answer(
    http: &Http,
    request: &Request<Incoming>,
    ends: Ends,
    proxy: &Proxy,
) -> Response<Body> {
    // A star does not stand for the first of them (Fetch standard §3.2.5), which a page may have to show to the origin.
    let target = request.uri().path_and_query();
    let methods = match target.is_some_and(|target| pieces::takes_posts(http, target.as_str())) {
        true => "GET, HEAD, POST, OPTIONS",
        false => "GET, HEAD, OPTIONS",
    };
    let mut own = open_to_all(cors::preflight(methods, "Authorization, *"));
    if cors::is_preflight(request.headers())
        && let Some(said) = asked(http, request, ends, proxy).await
        && said.status().is_success()
    {
        cors::take_word(said.headers(), own.headers_mut());
    }
    own
}

/// What the origin answers that a pull of the same would go to. Nothing is placed for it.
async fn asked(
    http: &Http,
    request: &Request<Incoming>,
    ends: Ends,
    proxy: &Proxy,
) -> Option<Response<LineBody>> {
    let head = head::of_request(request).ok()?;
    let protocol = match route(&head.target, head.host(), ends, proxy) {
        Route::Live(protocol) => protocol,
        Route::Piece(_) => Protocol::HttpSegments,
        Route::Health(_) | Route::Other | Route::Versions => return None,
    };
    let (target, token) = link::take(&head.target);
    let (token, stamp) = token.map(link::split_stamp).unzip();
    let link = http.pieces.link(token);
    let (dialect, host) = (dialect_of(head.host(), ends, proxy), head.host());
    if protocol == Protocol::HttpSegments {
        let link = link.as_ref();
        if !pieces::was_listed(http, link, stamp.flatten(), &target)
            && !pieces::may_ask(proxy, dialect, link, host, &target)
        {
            return None;
        }
    }
    let stream = match (&link, protocol) {
        (Some(link), _) => link.stream.clone(),
        (None, Protocol::HttpSegments) => pieces::stream_of(proxy, dialect, host, &target).ok()?,
        (None, _) => live::stream_of(&head, ends, proxy).ok()?,
    };
    if proxy.may_judge(&stream, Action::Play)
        || pieces::is_guarded(proxy, dialect, link.as_ref(), host, &target)
    {
        return None;
    }
    let origin = match &link {
        Some(link) => link.origin.clone(),
        None => proxy.origin_of(&stream, protocol, Action::Play).ok()?,
    };
    let attempt = Attempt::of(proxy.registry(), &origin, Service::Http, WITHIN)?;
    if link.is_none() && !attempt.naming.is_of(dialect) {
        return None;
    }
    let mut outgoing = head.for_origin(&http.forwarded(ends));
    outgoing.target = target.into_owned();
    outgoing.headers.remove("connection");
    let ask = Repeatable {
        client: client_of(http, &head, ends.client),
        local: ends.local,
        head: Arc::new(outgoing),
    };
    let target = ask.head.target.clone();
    let sent = ask.send(&http.dialer, &http.silence, &attempt, &target, WITHIN);
    sent.await.ok()
}

/// A browser that asks first waits for this before it asks for what it wants.
const WITHIN: Duration = Duration::from_secs(2);
