//! Streams that are pulled in pieces: playlists, manifests, and what they list. Every request stands for itself: the
//! link in its query says which origin has the piece, and without one its path says which stream it is of.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::head::{Body as RequestBody, Forwarded, RequestHead};
use sluicegate_core::http::link::{self, Link, LinkError, LinkKey};
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::segment::Readings;
use sluicegate_core::place::rule::Via;
use sluicegate_core::stream::{Action, Protocol, StreamUrl};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::again::{self, for_client, head_of};
use super::counted::Counted;
use super::legs::Ask;
use super::live::client_of;
use super::rewrite::{self, Rewriting};
use super::share::{Found, Head, Lead, Outcome, Shares};
use super::{Caller, Http};
use crate::health::Vigil;
use crate::listener::origin_leg::Dialer;
use crate::metrics::{DirectionLabels, KindLabel, PieceLabels};
use crate::net::http::{Body, text};
use crate::net::pool::Answer;
use crate::proxy::{Attempt, DialError, Place, Proxy, Request as Asked};

/// What pulling in pieces is set to, and what it keeps.
#[derive(Debug)]
pub struct Pieces {
    /// Seals links and opens them.
    pub key: LinkKey,
    /// An origin has so long for the head of its answer.
    pub answer_timeout: Duration,
    /// An origin may hold a blocking playlist reload for so long.
    pub reload_timeout: Duration,
    /// Parameters of a query that do not change the answer.
    pub ignored_parameters: Vec<String>,
    shares: Arc<Shares>,
}

impl Pieces {
    /// `cache` is how many bytes of answers are kept for later requests; 0 keeps none.
    pub fn new(
        key: LinkKey,
        answer_timeout: Duration,
        reload_timeout: Duration,
        ignored_parameters: Vec<String>,
        cache: usize,
    ) -> Self {
        Self {
            key,
            answer_timeout,
            reload_timeout,
            ignored_parameters,
            shares: Arc::new(Shares::new(cache)),
        }
    }

    /// Bytes of answers that are kept now.
    pub fn kept_bytes(&self) -> usize {
        self.shares.kept_bytes()
    }

    /// The link in a request target, if there is one that counts.
    fn open(&self, text: Option<&str>) -> Result<Option<Link>, (StatusCode, String)> {
        let Some(text) = text else { return Ok(None) };
        match self.key.open(text, now()) {
            Ok(link) => Ok(Some(link)),
            Err(LinkError::Forged) => Err((StatusCode::FORBIDDEN, LinkError::Forged.to_string())),
            Err(LinkError::Expired | LinkError::Foreign) => Ok(None),
        }
    }
}

/// One request for a piece.
struct Pull {
    pieces: Arc<Pieces>,
    dialer: Arc<Dialer>,
    vigil: Arc<Vigil>,
    proxy: Proxy,
    kind: Piece,
    place: Place,
    ask: Ask,
    /// How clients name us.
    host: String,
    /// Where the link says that the piece is.
    linked: Option<Attempt>,
    patience: Patience,
}

/// How an origin is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// It answers, or another is asked.
    Answer,
    /// It holds the request until there is something new (RFC 8216bis §6.2.5.2).
    Reload,
}

/// Answers a request for a piece, or says why not.
pub(super) async fn answer(
    http: &Http,
    request: &Request<Incoming>,
    kind: Piece,
    caller: Caller,
    proxy: &Proxy,
) -> Response<Body> {
    let response = match elsewhere(request, kind, proxy).await {
        Some(location) => {
            again::elsewhere(&location).unwrap_or_else(|(status, words)| text(status, words))
        }
        None => match pull(http, request, kind, caller, proxy) {
            Ok(pull) => pull.answer().await,
            Err((status, words)) => text(status, words),
        },
    };
    let labels = PieceLabels {
        kind: kind.as_str(),
        result: result_of(response.status()),
    };
    let metrics = proxy.metrics();
    metrics.pieces.get_or_create(&labels).inc();
    let relayed = DirectionLabels {
        protocol: Protocol::HttpSegments.as_str(),
        direction: "to_client",
    };
    let relayed = metrics.relayed_bytes.get_or_create(&relayed).clone();
    response.map(|body| Counted::new(body, relayed).boxed_unsync())
}

/// Where a player is sent by rule for a playlist or a manifest. What these list is relative to them, so that the rest
/// follows; a piece that was listed by us is served by us.
async fn elsewhere(request: &Request<Incoming>, kind: Piece, proxy: &Proxy) -> Option<String> {
    let asks = matches!(*request.method(), Method::GET | Method::HEAD);
    if kind == Piece::Segment || !asks || !proxy.redirects() {
        return None;
    }
    let head = head_of(request).ok()?;
    let (target, _) = link::take(&head.target);
    let stream = stream_of(proxy, head.host(), &target).ok()?;
    let base = proxy
        .redirect(&stream, Protocol::HttpSegments, Via::Http)
        .await?;
    debug!(%stream, location = base, "viewer sent away by rule");
    Some(format!("{base}{target}"))
}

/// What a request asks for, and its share in the placement.
fn pull(
    http: &Http,
    request: &Request<Incoming>,
    kind: Piece,
    caller: Caller,
    proxy: &Proxy,
) -> Result<Pull, (StatusCode, String)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let words = "streams are pulled with GET".to_owned();
        return Err((StatusCode::METHOD_NOT_ALLOWED, words));
    }
    let head = head_of(request).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    if head.body() != RequestBody::None {
        return Err((StatusCode::BAD_REQUEST, "a pull has no body".to_owned()));
    }
    let (target, token) = link::take(&head.target);
    let link = http.pieces.open(token)?;
    let stream = match &link {
        Some(link) => link.stream.clone(),
        None => stream_of(proxy, head.host(), &target)?,
    };
    let client = SocketAddr::new(client_of(http, &head, caller.peer.ip()), caller.peer.port());
    let asked = Asked {
        stream,
        action: Action::Play,
        protocol: Protocol::HttpSegments,
        client,
        by_way_of: Asked::way(client, caller.socket),
    };
    let named = link.as_ref().map(|link| link.origin.clone());
    let place = proxy
        .place(asked, named)
        .map_err(|refusal| (refusal.http_status(), refusal.to_string()))?;
    let linked = link.and_then(|link| linked(http, proxy, &place, &link, kind));
    let forwarded = Forwarded {
        client: caller.peer.ip(),
        secure: false,
        trusted: http.trusts(caller.peer.ip()),
    };
    let patience = match kind {
        Piece::Playlist if target.contains("_HLS_msn=") => Patience::Reload,
        _ => Patience::Answer,
    };
    Ok(Pull {
        pieces: Arc::clone(&http.pieces),
        dialer: Arc::clone(&http.dialer),
        vigil: Arc::clone(&http.vigil),
        proxy: proxy.clone(),
        kind,
        host: head.host().unwrap_or_default().to_owned(),
        ask: Ask {
            head: for_origin(&head, &target, &forwarded, kind),
            client,
            local: caller.local,
        },
        place,
        linked,
        patience,
    })
}

/// The stream a path names a piece of: the first that is placed, of those that it may be.
fn stream_of(
    proxy: &Proxy,
    host: Option<&str>,
    target: &str,
) -> Result<StreamUrl, (StatusCode, String)> {
    let readings =
        Readings::of(host, target).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    let placed = |stream: &StreamUrl| proxy.registry().standing(&proxy.key(stream)).is_some();
    let known = readings.all.into_iter().find(placed);
    Ok(known.unwrap_or(readings.likely))
}

/// What a link says to dial, where nothing we know says otherwise: an origin of the fleet is dialled where it is
/// registered, and only while it is up; a playlist is asked for where its stream is now. An origin that we never
/// heard of may be another proxy's.
fn linked(http: &Http, proxy: &Proxy, place: &Place, link: &Link, kind: Piece) -> Option<Attempt> {
    let registry = proxy.registry();
    let standing = registry.standing(&proxy.key(&link.stream));
    let moved = standing.is_some_and(|standing| standing != link.origin);
    if moved && kind != Piece::Segment {
        return None;
    }
    if registry.member(&link.origin).is_some() {
        // A playlist makes the claim, so it goes the way of all requests; its link only says which origin is first.
        return place
            .attempt(&link.origin)
            .filter(|_| kind == Piece::Segment);
    }
    http.dialer.addresses.check(&link.target.host).ok()?;
    Some(Attempt {
        origin: link.origin.clone(),
        label: String::new(),
        target: link.target.clone(),
        patience: place.patience(),
        step_by_step: false,
        asks_again: false,
    })
}

/// The head for the origin, on a connection that is kept. What is rewritten is asked for whole and plain.
fn for_origin(head: &RequestHead, target: &str, forwarded: &Forwarded, kind: Piece) -> RequestHead {
    let mut head = head.for_origin(forwarded);
    head.target = target.to_owned();
    head.headers.remove("connection");
    head.headers.remove("upgrade");
    if kind != Piece::Segment {
        rewrite::plain(&mut head);
    }
    head
}

impl Pull {
    async fn answer(self) -> Response<Body> {
        let metrics = Arc::clone(self.proxy.metrics());
        if self.ask.head.method != "GET" {
            return self.alone().await;
        }
        let Some(key) = self.key() else {
            return self.alone().await;
        };
        let shares = Arc::clone(&self.pieces.shares);
        let kind = KindLabel {
            kind: self.kind.as_str(),
        };
        let flight = match shares.find(&key) {
            Found::Kept(flight) => {
                metrics.cache_hits.get_or_create(&kind).inc();
                flight
            }
            Found::Flying(flight) => {
                metrics.coalesced.get_or_create(&kind).inc();
                flight
            }
            Found::Nothing(lead) => return self.lead(lead).await,
        };
        match flight.outcome().await {
            Outcome::Alone => self.alone().await,
            Outcome::Refused(status, words) => text(status, words),
            Outcome::Shared(head) => flight.response(&head),
        }
    }

    /// Asks for itself only.
    async fn alone(self) -> Response<Body> {
        let fetched = match self.fetch().await {
            Ok((attempt, response)) => self.prepare(&attempt, response).await,
            Err(refused) => Err(refused),
        };
        match fetched {
            Ok(Prepared::Whole(head, body)) => whole(head, body),
            Ok(Prepared::Passing(head, answer)) => passing(head, answer),
            Err((status, words)) => text(status, words),
        }
    }

    /// Asks for all who want the same: in a task of its own, because the first who asked may leave first.
    async fn lead(self, lead: Lead) -> Response<Body> {
        let flight = Arc::clone(lead.flight());
        let (alone, mine) = oneshot::channel();
        tokio::spawn(self.fly(lead, alone));
        match flight.outcome().await {
            Outcome::Alone => mine.await.unwrap_or_else(|_| {
                text(StatusCode::SERVICE_UNAVAILABLE, "the answer was given up")
            }),
            Outcome::Refused(status, words) => text(status, words),
            Outcome::Shared(head) => flight.response(&head),
        }
    }

    async fn fly(self, mut lead: Lead, alone: oneshot::Sender<Response<Body>>) {
        let likely = self.likely();
        let fetched = match self.fetch().await {
            Ok((attempt, response)) => {
                let here = likely.as_ref() == Some(&attempt.origin);
                let prepared = self.prepare(&attempt, response).await;
                prepared.map(|prepared| (prepared, here))
            }
            Err(refused) => Err(refused),
        };
        let (prepared, here) = match fetched {
            Ok(prepared) => prepared,
            Err((status, words)) => return lead.settle(Outcome::Refused(status, words)),
        };
        let keep = |head: &Head, body: Option<&Bytes>| {
            let fits = here && self.pieces.shares.keeps();
            fits.then(|| rewrite::lifetime(self.kind, head, body.map_or(&[][..], |body| body)))
                .flatten()
        };
        match prepared {
            Prepared::Whole(head, body) if rewrite::is_for_all(&head.headers) => {
                let keep = keep(&head, Some(&body));
                lead.reserve(body.len() as u64);
                lead.push(body);
                lead.settle(Outcome::Shared(Arc::new(head)));
                lead.finish(keep);
            }
            Prepared::Passing(head, answer)
                if rewrite::is_for_all(&head.headers)
                    && answer
                        .size_hint()
                        .exact()
                        .is_some_and(|size| lead.reserve(size)) =>
            {
                let keep = keep(&head, None);
                lead.settle(Outcome::Shared(Arc::new(head)));
                // The claim is held for as long as the answer comes.
                fill(lead, answer, keep).await;
            }
            Prepared::Whole(head, body) => {
                lead.settle(Outcome::Alone);
                let _ = alone.send(whole(head, body));
            }
            Prepared::Passing(head, answer) => {
                lead.settle(Outcome::Alone);
                let _ = alone.send(passing(head, answer));
            }
        }
    }

    /// An origin's answer: by the link, else by placement. The origin of a link that is gone is no reason to fail.
    async fn fetch(&self) -> Result<(Attempt, Response<Answer>), (StatusCode, String)> {
        let patience = match self.patience {
            Patience::Answer => self.pieces.answer_timeout,
            Patience::Reload => self.pieces.reload_timeout,
        };
        let registry = self.proxy.registry();
        if let Some(attempt) = &self.linked {
            match self
                .ask
                .send(&self.dialer, &self.vigil, attempt, patience)
                .await
            {
                Ok(response) => {
                    registry.answered(&attempt.origin);
                    return Ok((attempt.clone(), response));
                }
                Err(error) => {
                    debug!(origin = %attempt.origin, ?error, "the origin of a link did not answer");
                    match &error {
                        DialError::Failed(why) => {
                            registry.failed(&attempt.origin, Fault::Refused, why);
                        }
                        DialError::Silent(why) => {
                            registry.failed(&attempt.origin, Fault::Silent, why);
                        }
                        _ => {}
                    }
                }
            }
        }
        let found = match self.patience {
            Patience::Answer => {
                let send = |attempt: Attempt| async move {
                    let response = self
                        .ask
                        .send(&self.dialer, &self.vigil, &attempt, patience)
                        .await?;
                    Ok((attempt, response))
                };
                let shows = |(_, response): &(Attempt, Response<Answer>)| {
                    response.status() != StatusCode::NOT_FOUND
                };
                self.place.dial(send, shows).await
            }
            Patience::Reload => {
                let reach = |attempt: Attempt| async move {
                    self.ask.reach(&self.dialer, &attempt).await?;
                    Ok(attempt)
                };
                match self.place.dial(reach, |_| true).await {
                    Ok(attempt) => match self
                        .ask
                        .send(&self.dialer, &self.vigil, &attempt, patience)
                        .await
                    {
                        Ok(response) => Ok((attempt, response)),
                        Err(_) => {
                            let stream = &self.place.request().stream;
                            let words = format!("{stream}: its origin did not answer");
                            return Err((StatusCode::SERVICE_UNAVAILABLE, words));
                        }
                    },
                    Err(refusal) => Err(refusal),
                }
            }
        };
        match found {
            Ok((attempt, response)) => {
                registry.answered(&attempt.origin);
                Ok((attempt, response))
            }
            Err(refusal) => Err((status_of(refusal.http_status()), refusal.to_string())),
        }
    }

    /// The answer as it goes to clients: what is rewritten is read whole, everything else passes.
    async fn prepare(
        &self,
        attempt: &Attempt,
        response: Response<Answer>,
    ) -> Result<Prepared, (StatusCode, String)> {
        let broken = |words: &str| {
            let stream = &self.place.request().stream;
            (StatusCode::BAD_GATEWAY, format!("{stream}: {words}"))
        };
        let head = for_client(&response)
            .map_err(|_| broken("its origin's answer is not HTTP"))?
            .into_parts()
            .0;
        let mut head = Head {
            status: head.status,
            headers: head.headers,
        };
        rewrite::hide(&mut head.headers, &attempt.target);
        if self.kind == Piece::Segment {
            return Ok(Prepared::Passing(head, response.into_body()));
        }
        rewrite::weaken(&mut head.headers);
        if head.status != StatusCode::OK || rewrite::is_encoded(&head.headers) {
            return Ok(Prepared::Passing(head, response.into_body()));
        }
        let body = rewrite::collect(response.into_body())
            .await
            .map_err(broken)?;
        let link = Link {
            stream: self.place.request().stream.clone(),
            origin: attempt.origin.clone(),
            target: attempt.target.clone(),
            expires: expiry(now()),
        };
        let rewriting = Rewriting {
            kind: self.kind,
            host: &self.host,
            target: &attempt.target,
            link: &self.pieces.key.seal(&link),
        };
        let body = rewriting.apply(&mut head, body, self.proxy.metrics());
        Ok(Prepared::Whole(head, body))
    }

    fn likely(&self) -> Option<OriginId> {
        match &self.linked {
            Some(attempt) => Some(attempt.origin.clone()),
            None => self.place.likely(),
        }
    }

    /// What equal requests have in common: who is asked, for what, and every header that may change the answer.
    fn key(&self) -> Option<String> {
        let origin = self.likely()?;
        let target = without(&self.ask.head.target, &self.pieces.ignored_parameters);
        let stream = &self.place.request().stream;
        let mut key = format!("{origin}\n{stream}\n{}\n{target}", self.host);
        for name in rewrite::VARYING {
            for value in self.ask.head.headers.all(name) {
                key.push('\n');
                key.push_str(name);
                key.push(':');
                key.push_str(&String::from_utf8_lossy(value));
            }
        }
        Some(key)
    }
}

/// An answer as it goes to clients.
enum Prepared {
    Passing(Head, Answer),
    Whole(Head, Bytes),
}

fn whole(head: Head, body: Bytes) -> Response<Body> {
    response(head, crate::net::http::full(body))
}

fn passing(head: Head, answer: Answer) -> Response<Body> {
    if answer.is_end_stream() {
        return response(head, answer.map_err(Into::into).boxed_unsync());
    }
    let frames = unfold(answer, |mut answer| async move {
        let frame = match timeout(STALL, answer.frame()).await {
            Ok(frame) => frame?.map_err(Into::into),
            Err(_) => Err("the origin sent nothing for too long".into()),
        };
        Some((frame, answer))
    });
    response(head, StreamBody::new(Box::pin(frames)).boxed_unsync())
}

fn response(head: Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// Reads an answer for all who read along.
async fn fill(lead: Lead, mut answer: Answer, keep: Option<Duration>) {
    loop {
        // Dropping the lead breaks the answer off for everybody.
        match timeout(STALL, answer.frame()).await {
            Ok(Some(Ok(frame))) => {
                if let Ok(chunk) = frame.into_data() {
                    lead.push(chunk);
                }
            }
            Ok(None) => return lead.finish(keep),
            Ok(Some(Err(_))) | Err(_) => return,
        }
        if lead.is_forsaken() {
            return;
        }
    }
}

/// A request target without the parameters that do not matter.
fn without(target: &str, ignored: &[String]) -> String {
    let Some((path, query)) = target.split_once('?').filter(|_| !ignored.is_empty()) else {
        return target.to_owned();
    };
    let matters = |pair: &&str| {
        let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
        !ignored.iter().any(|known| known == name)
    };
    let rest: Vec<&str> = query.split('&').filter(matters).collect();
    format!("{path}?{}", rest.join("&"))
}

/// A player that pulls in pieces comes again by itself: what fails now is to be tried later.
const fn status_of(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => StatusCode::SERVICE_UNAVAILABLE,
        other => other,
    }
}

/// What came of a request, as metrics have it.
fn result_of(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..300 => "ok",
        304 => "not_modified",
        300..400 => "redirected",
        403 => "forbidden",
        404 => "not_found",
        400..500 => "refused",
        503 => "unavailable",
        _ => "failed",
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// When a link that is made now is over: on the hour, so that the links of an hour are equal.
const fn expiry(now: u64) -> u64 {
    (now / HOUR + LINK_HOURS) * HOUR
}

const HOUR: u64 = 3600;
/// Longer than anybody pauses; behind it the path still serves.
const LINK_HOURS: u64 = 24;
/// An origin that sends nothing of an answer for so long has broken it off.
const STALL: Duration = Duration::from_secs(20);
