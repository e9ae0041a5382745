//! Streams that are pulled in pieces: playlists, manifests, and what they list. Every request stands for itself: the
//! link in its query says which origin has the piece, and without one its path says which stream it is of.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::access::networks::Network;
use sluicegate_core::dialect::{Dialect, File};
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::cmcd;
use sluicegate_core::http::head::{Body as RequestBody, Forwarded, RequestHead};
use sluicegate_core::http::link::{self, Link, LinkError, LinkKey, Viewing};
use sluicegate_core::http::personal::{Place as Where, start_of};
use sluicegate_core::http::route::{Piece, Route};
use sluicegate_core::http::segment::Readings;
use sluicegate_core::http::sharing::{self, Audience, CMCD, Share, is_personal};
use sluicegate_core::place::rule::Via;
use sluicegate_core::stream::{Action, Protocol, Service, StreamError, StreamUrl};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::again;
use super::apart::Apart;
use super::counted::Counted;
use super::granted;
use super::live::{client_of, credentials_of};
use super::rewrite::{self, Form, Rewriting};
use super::share::{Flight, Found, Head, Leader, Outcome, SHARED_MAX, Shares};
use super::viewer::{self, Leads, Viewer};
use super::{Http, dialect_of};
use crate::config;
use crate::metrics::{DirectionLabels, KindLabel, PieceLabels, UnsharedLabels};
use crate::net::entrance::Ends;
use crate::net::head;
use crate::net::http::{Body, Identity, full, text};
use crate::origin::dial::Dialer;
use crate::origin::http::AnswerBody;
use crate::origin::kept::Repeatable;
use crate::origin::silence::SilenceCheck;
use crate::proxy::{Attempt, DialError, PieceGuard, Proxy, Refusal, Request as Asked};
use crate::unix_time;

/// What pulling in pieces is set to, and what it keeps.
#[derive(Debug)]
pub struct Pieces {
    /// Seals links and opens them.
    pub key: LinkKey,
    /// Seals and opens the links of those who were let in.
    pub(super) granting: LinkKey,
    /// Stands in an answer where each viewer gets a link of its own: random, so that no origin can know it.
    pub(super) mark: String,
    /// Its section of the settings.
    settings: Arc<config::Http>,
    shares: Arc<Shares>,
    apart: Apart,
}

impl Pieces {
    /// With nothing kept so far. `granting` seals the links of those who were let in.
    pub fn new(key: LinkKey, granting: LinkKey, settings: Arc<config::Http>) -> Self {
        let mut random = [0; 16];
        getrandom::fill(&mut random).expect("the system has randomness");
        Self {
            key,
            granting,
            mark: format!("{:032x}", u128::from_ne_bytes(random)),
            shares: Arc::new(Shares::new(settings.cache_megabytes * MEGABYTE)),
            settings,
            apart: Apart::default(),
        }
    }

    /// Bytes of answers that are kept now.
    pub fn kept_bytes(&self) -> usize {
        self.shares.kept_bytes()
    }

    /// The link that a request target has, if it counts.
    pub(super) fn link(&self, text: Option<&str>) -> Option<Link> {
        let opened = self.open(text).ok().flatten();
        opened.map(|(link, _)| link)
    }

    /// Whether a link was sealed here, whether or not it still counts.
    fn is_ours(&self, text: &str) -> bool {
        [&self.granting, &self.key].iter().any(|key| {
            let opened = key.open(text, now());
            matches!(opened, Ok(_) | Err(LinkError::Expired))
        })
    }

    /// The link in a request target, if there is one that counts, and whether it shows that its holder was let in.
    fn open(&self, text: Option<&str>) -> Result<Option<(Link, bool)>, (StatusCode, String)> {
        let Some(text) = text else { return Ok(None) };
        for (key, lets_in) in [(&self.granting, true), (&self.key, false)] {
            match key.open(text, unix_time::seconds()) {
                Ok(link) => return Ok(Some((link, lets_in))),
                Err(LinkError::Forged) => {
                    return Err((StatusCode::FORBIDDEN, LinkError::Forged.to_string()));
                }
                Err(LinkError::Expired | LinkError::Foreign) => {}
            }
        }
        Ok(None)
    }
}

/// One request for a piece.
struct PieceRequest {
    pieces: Arc<Pieces>,
    dialer: Arc<Dialer>,
    silence: Arc<SilenceCheck>,
    proxy: Proxy,
    kind: Piece,
    place: PieceGuard,
    ask: Repeatable,
    /// How clients name us.
    host: String,
    /// The folder under which the client reaches us.
    base: BasePath,
    /// How the client names us, with the scheme.
    site: String,
    /// The folder that the client asked in.
    at: String,
    /// The link that its viewer knows the stream's renditions by.
    shown: Option<Box<str>>,
    /// Where the link says that the piece is.
    linked: Option<Attempt>,
    /// How the client names streams; `None` for what we listed, whose target is the origin's own.
    dialect: Option<Dialect>,
    time_limit: TimeLimit,
    /// Who asks, where an access rule may be about the stream.
    viewer: Option<Arc<Viewer>>,
    /// Whether a viewer of such a stream begins: it has no link yet that lets it in.
    first: bool,
}

/// How an origin is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeLimit {
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
    ends: Ends,
    proxy: &Proxy,
) -> Response<Body> {
    let answered = sent_away_or_served(http, request, kind, ends, proxy).await;
    let response = answered.unwrap_or_else(|(status, words)| text(status, words));
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

async fn sent_away_or_served(
    http: &Http,
    request: &Request<Incoming>,
    kind: Piece,
    ends: Ends,
    proxy: &Proxy,
) -> Result<Response<Body>, (StatusCode, String)> {
    let head = head_of(request)?;
    if let Some(location) = elsewhere(&head, kind, ends, proxy).await {
        return again::elsewhere(&location);
    }
    let identity = Identity::of(request.extensions());
    let pull = pull(http, head, kind, ends, identity, proxy).await?;
    Ok(pull.answer().await)
}

/// The head of a request that asks for a piece.
fn head_of(request: &Request<Incoming>) -> Result<RequestHead, (StatusCode, String)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let words = "streams are pulled with GET".to_owned();
        return Err((StatusCode::METHOD_NOT_ALLOWED, words));
    }
    let head =
        head::of_request(request).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))?;
    if head.body() != RequestBody::None {
        return Err((StatusCode::BAD_REQUEST, "a pull has no body".to_owned()));
    }
    Ok(head)
}

/// Where a player is sent by rule for a playlist or a manifest. What these list is relative to them, so that the rest
/// follows; a piece that was listed by us is served by us.
async fn elsewhere(head: &RequestHead, kind: Piece, ends: Ends, proxy: &Proxy) -> Option<String> {
    if kind == Piece::Segment || !proxy.redirects() {
        return None;
    }
    let (target, _) = link::take(&head.target);
    let target = cmcd::of_target(&target);
    let dialect = dialect_of(head.host(), ends, proxy);
    let stream = stream_of(proxy, dialect, head.host(), &target).ok()?;
    let base = proxy
        .redirect(&stream, Protocol::HttpSegments, Via::Http)
        .await?;
    debug!(%stream, location = base, "viewer sent away by rule");
    Some(format!("{base}{target}"))
}

/// What a request asks for, and its share in the placement.
async fn pull(
    http: &Http,
    head: RequestHead,
    kind: Piece,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Result<PieceRequest, (StatusCode, String)> {
    let (target, token) = link::take(&head.target);
    let target = cmcd::of_target(&target);
    let (link, lets_in) = http.pieces.open(token)?.unzip();
    let shown = token.filter(|token| http.pieces.is_ours(token));
    let dialect = dialect_of(head.host(), ends, proxy);
    let read_as = link.is_none().then_some(dialect);
    let stream = match &link {
        Some(link) => link.stream.clone(),
        None => stream_of(proxy, dialect, head.host(), &target)?,
    };
    let client = client_of(http, &head, ends.client);
    let forwarded = http.forwarded(ends);
    let asked = Asked {
        stream,
        action: Action::Play,
        protocol: Protocol::HttpSegments,
        client,
        by_way_of: Asked::way(client, ends.peer),
        credentials: credentials_of(&head, &forwarded, &target, identity),
    };
    let viewing = link
        .as_ref()
        .filter(|_| lets_in == Some(true))
        .and_then(|link| link.viewing.as_deref())
        .filter(|viewing| counts(viewing, kind, client.ip()))
        .cloned();
    let readings = readings(proxy, dialect, link.as_ref(), head.host(), &target);
    let refused = |refusal: Refusal| (refusal.http_status(), refusal.to_string());
    let guarded = proxy.may_judge(&asked.stream, Action::Play);
    let place = granted::admitted(proxy, asked, &readings, link.as_ref(), viewing.as_ref())
        .await
        .map_err(refused)?;
    let first = guarded && viewing.is_none();
    let viewer = if guarded {
        let ends = match (&viewing, &link) {
            (Some(_), Some(link)) => link.expires,
            _ => {
                let over = place.grant().ends_at.unwrap_or(u64::MAX);
                expiry(unix_time::seconds()).min(over)
            }
        };
        let viewing = match viewing {
            Some(viewing) if kind == Piece::Segment => viewing,
            Some(viewing) => {
                let went_on = proxy.continue_viewing(place.request(), &viewing).await;
                went_on.map_err(refused)?;
                viewing
            }
            None => {
                let viewing = viewer::begin(kind, &place, unix_time::seconds());
                if kind != Piece::Segment {
                    let begun = proxy.begin_viewing(place.request(), &viewing, place.grant());
                    begun.map_err(refused)?;
                }
                viewing
            }
        };
        Some(Arc::new(Viewer {
            pieces: Arc::clone(&http.pieces),
            stream: place.request().stream.clone(),
            viewing,
            ends,
        }))
    } else {
        None
    };
    let linked = link.and_then(|link| linked(http, proxy, &place, &link, kind));
    let mut outgoing = for_origin(&head, &place.for_origin(&target), &forwarded, kind);
    if shown.is_some() && Route::of(&target) == Route::Other {
        // What has no ending of media may name other files.
        rewrite::uncoded(&mut outgoing);
    }
    let time_limit = match kind {
        Piece::Playlist if target.contains("_HLS_msn=") => TimeLimit::Reload,
        _ => TimeLimit::Answer,
    };
    Ok(PieceRequest {
        pieces: Arc::clone(&http.pieces),
        dialer: Arc::clone(&http.dialer),
        silence: Arc::clone(&http.silence),
        proxy: proxy.clone(),
        kind,
        host: head.host().unwrap_or_default().to_owned(),
        base: http.base(ends, &head),
        site: rewrite::site(&head, &forwarded),
        at: folder_of(&target).unwrap_or("/").to_owned(),
        shown: shown.map(Into::into),
        ask: Repeatable {
            head: outgoing,
            client,
            local: ends.local,
        },
        place,
        linked,
        dialect: read_as,
        time_limit,
        viewer,
        first,
    })
}

/// Whether a link of this viewing lets its holder have something of this kind, there where the client is.
fn counts(viewing: &Viewing, kind: Piece, client: IpAddr) -> bool {
    let is_there = |network: Network| network.contains(client);
    (kind == Piece::Segment || !viewing.is_for_pieces) && viewing.network.is_none_or(is_there)
}

/// Every stream that a target may stand for. That of a link is its origin's own, and is read in the origin's dialect.
fn readings(
    proxy: &Proxy,
    dialect: Dialect,
    link: Option<&Link>,
    host: Option<&str>,
    target: &str,
) -> Vec<StreamUrl> {
    let member = link.and_then(|link| proxy.registry().member(&link.origin));
    let naming = member.map(|member| member.origin.attributes.naming.clone());
    let dialect = naming.as_ref().map_or(dialect, |naming| naming.dialect);
    let read = dialect.file(host, target).and_then(|file| file.stream.ok());
    let mut all: Vec<StreamUrl> = read.into_iter().collect();
    if all.is_empty() || link.is_some() {
        all.extend(Readings::of(host, target).map_or(Vec::new(), |readings| readings.all));
    }
    match naming {
        Some(naming) => all
            .iter()
            .flat_map(|stream| naming.names_of(stream))
            .collect(),
        None => all,
    }
}

/// The stream a path names a piece of: the first that is placed, of those that it may be.
pub(super) fn stream_of(
    proxy: &Proxy,
    dialect: Dialect,
    host: Option<&str>,
    target: &str,
) -> Result<StreamUrl, (StatusCode, String)> {
    let bad = |error: StreamError| (StatusCode::BAD_REQUEST, error.to_string());
    let (_, query) = target.split_once('?').unwrap_or_default();
    let named = |stream| proxy.dialects().named(stream, &[query]).map_err(bad);
    if let Some(file) = dialect.file(host, target) {
        return file.stream.map_err(bad).and_then(named);
    }
    let readings = Readings::of(host, target).map_err(bad)?;
    let known = placed_of(proxy, readings.all, host, target);
    known.map_or_else(|| named(readings.likely), Ok)
}

/// The first that is placed of the `readings` of a path, and of the streams in whose folders it lies. Where an access rule
/// may be about one of these, only the path's own name counts: what is let in by one name may not get another's files.
fn placed_of(
    proxy: &Proxy,
    readings: Vec<StreamUrl>,
    host: Option<&str>,
    target: &str,
) -> Option<StreamUrl> {
    let (_, query) = target.split_once('?').unwrap_or_default();
    let named = |streams: Vec<StreamUrl>| -> Vec<StreamUrl> {
        let streams = streams.into_iter();
        let named = streams.filter_map(|stream| proxy.dialects().named(stream, &[query]).ok());
        named.collect()
    };
    let placed = |stream: &StreamUrl| proxy.registry().holder(&proxy.key(stream)).is_some();
    let guarded = |stream: &StreamUrl| proxy.may_judge(stream, Action::Play);
    let readings = named(readings);
    let mut folders = named(Readings::folders_of(host, target));
    if readings.iter().chain(&folders).any(guarded) {
        folders.clear();
    }
    readings.into_iter().chain(folders).find(placed)
}

/// Whether a path that is none of a known kind may be a file of a stream that is placed.
pub(super) fn is_of_a_stream(
    proxy: &Proxy,
    dialect: Dialect,
    host: Option<&str>,
    target: &str,
) -> bool {
    if dialect.file(host, target).is_some() {
        return false;
    }
    let readings = Readings::of(host, target).map_or(Vec::new(), |readings| readings.all);
    placed_of(proxy, readings, host, target).is_some()
}

/// What a link says to dial, where nothing we know says otherwise: an origin of the fleet is dialled where it is
/// registered, and only while it is up; a playlist is asked for where its stream is now. An origin that we never
/// heard of may be another proxy's.
fn linked(
    http: &Http,
    proxy: &Proxy,
    place: &PieceGuard,
    link: &Link,
    kind: Piece,
) -> Option<Attempt> {
    let registry = proxy.registry();
    let standing = registry.holder(&proxy.key(&link.stream));
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
    http.dialer.connector.check(&link.target.host).ok()?;
    let (origin, target) = (&link.origin, link.target.clone());
    let time_limit = place.time_limit();
    Some(Attempt::at(
        registry,
        origin,
        Service::Http,
        target,
        time_limit,
    ))
}

/// The head for the origin, on a connection that is kept. What is rewritten is asked for whole and plain.
fn for_origin(head: &RequestHead, target: &str, forwarded: &Forwarded, kind: Piece) -> RequestHead {
    let mut head = head.for_origin(forwarded);
    head.target = target.to_owned();
    head.headers.remove("connection");
    head.headers.remove("upgrade");
    head.headers.change(|name, value| {
        let reports = name.get(..CMCD.len())?.eq_ignore_ascii_case(CMCD);
        reports.then(|| cmcd::without_links(value).into_owned())
    });
    if kind != Piece::Segment {
        rewrite::plain(&mut head);
    }
    head
}

impl PieceRequest {
    async fn answer(self) -> Response<Body> {
        let metrics = Arc::clone(self.proxy.metrics());
        let Some(like) = self.like() else {
            self.count(Why::Request);
            return self.alone(None).await;
        };
        let viewer = self.viewer.clone();
        let shares = Arc::clone(&self.pieces.shares);
        let kind = KindLabel {
            kind: self.kind.as_str(),
        };
        let likely = !self.pieces.apart.has(&like.names());
        let flight = match shares.find(&like.key, likely) {
            Found::Kept(flight) => {
                metrics.cache_hits.get_or_create(&kind).inc();
                flight
            }
            Found::Flying(flight) => {
                metrics.coalesced.get_or_create(&kind).inc();
                flight
            }
            Found::Nothing(lead) => return self.lead(lead, like).await,
            Found::Unlikely => return self.alone(Some(&like)).await,
        };
        match flight.outcome().await {
            Outcome::Alone => self.alone(Some(&like)).await,
            Outcome::Shared(head) => shared(&flight, &head, viewer.as_deref()).await,
        }
    }

    /// Asks for itself only. The answer to a request that could have shared one shows whether its like may.
    async fn alone(self, like: Option<&Like>) -> Response<Body> {
        let (attempt, response) = match self.fetch().await {
            Ok(answered) => answered,
            Err((status, words)) => {
                self.note(like, Err(Why::Refused));
                return text(status, words);
            }
        };
        let (status, mut audience) = (response.status(), Audience::Asker);
        if like.is_some() {
            audience = self.audience(&response);
        }
        let prepared = match self.prepare(&attempt, response).await {
            Ok(prepared) => prepared,
            Err((status, words)) => {
                self.note(like, Err(Why::Refused));
                return text(status, words);
            }
        };
        self.note(like, self.sharable(status, audience, &prepared));
        prepared.into_response(self.viewer.as_deref())
    }

    /// Asks for all who want the same: in a task of its own, because the first who asked may leave first.
    async fn lead(self, lead: Leader, like: Like) -> Response<Body> {
        let flight = Arc::clone(lead.flight());
        let viewer = self.viewer.clone();
        let (alone, mine) = oneshot::channel();
        tokio::spawn(self.fly(lead, like, alone));
        match flight.outcome().await {
            Outcome::Alone => mine.await.unwrap_or_else(|_| {
                text(StatusCode::SERVICE_UNAVAILABLE, "the answer was given up")
            }),
            Outcome::Shared(head) => shared(&flight, &head, viewer.as_deref()).await,
        }
    }

    async fn fly(self, mut lead: Leader, like: Like, alone: oneshot::Sender<Response<Body>>) {
        let likely = self.likely();
        let fetched = self.fetch().await;
        let audience = match &fetched {
            Ok((attempt, response)) if !self.is_for_one(&attempt.origin) => self.audience(response),
            _ => Audience::Asker,
        };
        if audience == Audience::Asker {
            // Nobody waits for the body of an answer that is not theirs.
            let status = fetched.as_ref().map(|(_, response)| response.status());
            let why = status.map_or(Why::Refused, why_not);
            self.note(Some(&like), Err(why));
            lead.settle(Outcome::Alone);
        }
        let here = matches!(&fetched, Ok((attempt, _)) if likely.as_ref() == Some(&attempt.origin));
        let prepared = match fetched {
            Ok((attempt, response)) => self.prepare(&attempt, response).await,
            Err(refused) => Err(refused),
        };
        // Dropping the lead sends everybody else to the origin.
        let prepared = match prepared {
            Ok(prepared) if audience == Audience::Asker => {
                return drop(alone.send(prepared.into_response(self.viewer.as_deref())));
            }
            Ok(prepared) => prepared,
            Err((status, words)) => return drop(alone.send(text(status, words))),
        };
        let sharable = self.sharable(StatusCode::OK, audience, &prepared);
        let shared = sharable.is_ok() && lead.reserve(prepared.size());
        self.note(Some(&like), sharable);
        if !shared {
            lead.settle(Outcome::Alone);
            return drop(alone.send(prepared.into_response(self.viewer.as_deref())));
        }
        // What a segment's address leads to and lists others may change as a manifest does.
        let kind = match &prepared {
            Prepared::Whole(..) if self.kind == Piece::Segment => Piece::Manifest,
            _ => self.kind,
        };
        let keep = |body: &[u8]| {
            let fits = here && self.pieces.shares.keeps();
            fits.then(|| rewrite::lifetime(kind, audience, body))
                .flatten()
        };
        match prepared {
            Prepared::Whole(head, body) => {
                let keep = keep(&body);
                lead.push(body);
                lead.settle(Outcome::Shared(Arc::new(head)));
                lead.finish(keep);
            }
            Prepared::Passing(head, answer) => {
                let keep = keep(&[]);
                lead.settle(Outcome::Shared(Arc::new(head)));
                // The claim is held for as long as the answer comes.
                fill(lead, answer, keep).await;
            }
        }
    }

    /// Who an answer is for, by its head.
    fn audience(&self, response: &Response<AnswerBody>) -> Audience {
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        Audience::of(self.share(), response.status().as_u16(), headers)
    }

    /// Whether others may get an answer, or why not.
    fn sharable(
        &self,
        status: StatusCode,
        audience: Audience,
        prepared: &Prepared,
    ) -> Result<(), Why> {
        if audience == Audience::Asker {
            return Err(why_not(status));
        }
        match prepared {
            Prepared::Whole(_, body) if is_personal(body, &self.ask.head.target) => {
                Err(Why::Personal)
            }
            // What cannot be read may name a viewer.
            Prepared::Passing(..) if self.kind != Piece::Segment => Err(Why::Answer),
            _ if prepared.size() > SHARED_MAX as u64 => Err(Why::Answer),
            _ => Ok(()),
        }
    }

    /// Remembers what an answer says about its like: a refusal speaks for equal requests only.
    fn note(&self, like: Option<&Like>, sharable: Result<(), Why>) {
        let Some(like) = like else { return };
        let apart = &self.pieces.apart;
        let [key, shape] = like.names();
        match sharable {
            Ok(()) => apart.forget(&[key, shape]),
            Err(why) => {
                apart.note(if why == Why::Refused { key } else { shape });
                self.count(why);
            }
        }
    }

    fn count(&self, why: Why) {
        let labels = UnsharedLabels {
            kind: self.kind.as_str(),
            reason: match self.share() {
                Share::Off => "off",
                Share::All | Share::Said => why.as_str(),
            },
        };
        let unshared = &self.proxy.metrics().unshared;
        unshared.get_or_create(&labels).inc();
    }

    fn share(&self) -> Share {
        self.pieces
            .settings
            .sharing
            .of(&self.place.request().stream)
    }

    /// An origin's answer: by the link, else by placement. The origin of a link that is gone is no reason to fail.
    async fn fetch(&self) -> Result<(Attempt, Response<AnswerBody>), (StatusCode, String)> {
        let time_limit = match self.time_limit {
            TimeLimit::Answer => self.pieces.settings.answer_timeout,
            TimeLimit::Reload => self.pieces.settings.reload_timeout,
        };
        let registry = self.proxy.registry();
        if let Some(attempt) = &self.linked {
            match self
                .ask
                .send(
                    &self.dialer,
                    &self.silence,
                    attempt,
                    &self.ask.head.target,
                    time_limit,
                )
                .await
            {
                Ok(response) => {
                    registry.answered(&attempt.origin);
                    return Ok((attempt.clone(), response));
                }
                Err(error) => {
                    debug!(origin = %attempt.origin, ?error, "the origin of a link did not answer");
                    match &error {
                        DialError::Slow(_) => return Err(self.no_answer()),
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
        let found = match self.time_limit {
            TimeLimit::Answer => {
                let send = |attempt: Attempt| async move {
                    let target = self.target_at(&attempt)?;
                    let response = self
                        .ask
                        .send(&self.dialer, &self.silence, &attempt, &target, time_limit)
                        .await?;
                    if let Some(place) = again::moved(&self.proxy, &attempt, &response) {
                        return Err(DialError::Moved(place));
                    }
                    Ok((attempt, response))
                };
                let shows = |(_, response): &(Attempt, Response<AnswerBody>)| {
                    response.status() != StatusCode::NOT_FOUND
                };
                self.place.dial(send, shows).await
            }
            TimeLimit::Reload => {
                let reach = |attempt: Attempt| async move {
                    self.ask.reach(&self.dialer, &attempt).await?;
                    Ok(attempt)
                };
                match self.place.dial(reach, |_| true).await {
                    Ok(attempt) => match self.reload_at(&attempt, time_limit).await {
                        Ok(response) => Ok((attempt, response)),
                        Err(_) => return Err(self.no_answer()),
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

    /// What a player hears whose origin lives and takes too long: no other would be faster.
    fn no_answer(&self) -> (StatusCode, String) {
        let stream = &self.place.request().stream;
        let words = format!("{stream}: its origin did not answer in time");
        (StatusCode::SERVICE_UNAVAILABLE, words)
    }

    async fn reload_at(
        &self,
        attempt: &Attempt,
        time_limit: Duration,
    ) -> Result<Response<AnswerBody>, DialError> {
        let target = self.target_at(attempt)?;
        self.ask
            .send(&self.dialer, &self.silence, attempt, &target, time_limit)
            .await
    }

    /// The target as an origin is to get it. Only what a player begins with has a name in every dialect; what that lists
    /// is asked for by its link.
    fn target_at(&self, attempt: &Attempt) -> Result<Cow<'_, str>, DialError> {
        let target = &self.ask.head.target;
        let Some(dialect) = self
            .dialect
            .filter(|dialect| !attempt.naming.is_of(*dialect))
        else {
            return Ok(Cow::Borrowed(target));
        };
        let file = match self.kind {
            Piece::Manifest => File::Manifest,
            Piece::Playlist => File::Playlist,
            Piece::Segment => {
                let words = "it is asked for by the link in its playlist";
                return Err(DialError::Refused(words.to_owned()));
            }
        };
        let (_, query) = target.split_once('?').unwrap_or_default();
        let stream = &self.place.request().stream;
        Ok(attempt.naming.file(dialect, stream, file, query)?.into())
    }

    /// Whether an answer is its asker's alone because of what made it.
    fn is_for_one(&self, origin: &OriginId) -> bool {
        let member = self.proxy.registry().member(origin);
        let dialect = member.map(|member| member.origin.attributes.naming.dialect);
        self.kind != Piece::Segment && dialect.is_some_and(Dialect::has_viewer_playlists)
    }

    /// The answer as it goes to clients: what is rewritten is read whole, everything else passes.
    async fn prepare(
        &self,
        attempt: &Attempt,
        response: Response<AnswerBody>,
    ) -> Result<Prepared, (StatusCode, String)> {
        let broken = |words: &str| {
            let stream = &self.place.request().stream;
            (StatusCode::BAD_GATEWAY, format!("{stream}: {words}"))
        };
        let head = head::for_client(&response)
            .map_err(|_| broken("its origin's answer is not HTTP"))?
            .into_parts()
            .0;
        let mut head = Head {
            status: head.status,
            headers: head.headers,
            leads: None,
        };
        rewrite::hide(&mut head.headers, &attempt.target);
        rewrite::place_cookies(&mut head.headers, &self.base);
        let asked = self.target_at(attempt).unwrap_or_default();
        let folder = folder_of(&asked).filter(|_| self.dialect.is_some());
        let folder = folder.filter(|folder| Some(*folder) != folder_of(&self.ask.head.target));
        let form = match self.kind {
            Piece::Manifest => Some(Form::Manifest),
            Piece::Playlist => Some(Form::Playlist),
            Piece::Segment => self.document(&head),
        };
        let Some(form) = form else {
            rewrite::place(&mut head.headers, &self.base);
            return Ok(Prepared::Passing(head, response.into_body()));
        };
        rewrite::weaken(&mut head.headers);
        let whole = head.status == StatusCode::OK && !rewrite::is_encoded(&head.headers);
        let mut response = Some(response);
        let mut body = Bytes::new();
        if let Some(answer) = response.take_if(|_| whole) {
            body = rewrite::collect(answer.into_body()).await.map_err(broken)?;
        }
        let lives = self.viewer.is_some() && granted::is_live_media(&body);
        let leads = Leads {
            origin: attempt.origin.clone(),
            target: attempt.target.clone(),
            start: None,
            lives: lives && self.kind == Piece::Manifest,
        };
        let link = match &self.viewer {
            Some(_) if response.is_none() => self.pieces.mark.clone(),
            // A redirect or the like, which is never shared.
            Some(viewer) => viewer.link(&leads, Where::Listing, unix_time::seconds()),
            None => self.pieces.key.seal(&Link {
                stream: self.place.request().stream.clone(),
                origin: attempt.origin.clone(),
                target: attempt.target.clone(),
                expires: expiry(unix_time::seconds()),
                viewing: None,
            }),
        };
        head.leads = self.viewer.is_some().then_some(leads);
        if lives && self.first && self.kind == Piece::Playlist {
            if let Some(leads) = &mut head.leads {
                leads.start = std::str::from_utf8(&body).ok().and_then(start_of);
            }
            let body = rewrite::as_variant(
                &mut head,
                &self.ask.head.target,
                folder.map(|_| &*asked),
                &self.base,
                &link,
            );
            return Ok(Prepared::Whole(head, body));
        }
        let rewriting = Rewriting {
            form,
            host: &self.host,
            target: &attempt.target,
            link: &link,
            report: self.reported().unwrap_or(&link),
            base: &self.base,
            folder,
            site: &self.site,
            at: &self.at,
        };
        if let Some(response) = response {
            rewriting.lead_back(&mut head.headers);
            return Ok(Prepared::Passing(head, response.into_body()));
        }
        let body = rewriting.apply(&mut head, body, self.proxy.metrics());
        Ok(Prepared::Whole(head, body))
    }

    /// The form of an answer that a playlist or manifest of ours listed, if it may list files itself.
    fn document(&self, head: &Head) -> Option<Form> {
        let is_whole = self.ask.head.method == "GET" && head.status == StatusCode::OK;
        let listed = self.shown.is_some() && is_whole && !rewrite::is_encoded(&head.headers);
        Form::of_document(&head.headers).filter(|_| listed)
    }

    /// The link by which a low-latency playlist names the other renditions: players compare it with what they have, which
    /// need not be of this hour.
    fn reported(&self) -> Option<&str> {
        let shown = self.shown.as_deref()?;
        (self.time_limit == TimeLimit::Reload).then_some(shown)
    }

    fn likely(&self) -> Option<OriginId> {
        match &self.linked {
            Some(attempt) => Some(attempt.origin.clone()),
            None => self.place.likely(),
        }
    }

    /// What this request has in common with others, if it may have an answer in common with them.
    fn like(&self) -> Option<Like> {
        let common = self
            .pieces
            .settings
            .sharing
            .common(self.share(), &self.ask.head)?;
        let (origin, stream) = (self.likely()?, &self.place.request().stream);
        if self.is_for_one(&origin) {
            return None;
        }
        let shape = sharing::shape(&self.ask.head.target);
        // The first answer to a viewer may be another than the later ones.
        let first = match (&self.viewer, self.first) {
            (_, true) => "\nfirst",
            // The links of others say nothing of a viewer.
            (Some(_), false) => "\nlet in",
            (None, false) => "",
        };
        let base = &self.base;
        let mut first = first.to_owned();
        if let Some(reported) = self.reported() {
            first.push('\n');
            first.push_str(reported);
        }
        Some(Like {
            key: format!("{origin}\n{stream}\n{base}\n{common}{first}"),
            shape: format!("{origin}\n{stream}\n{shape}{first}"),
        })
    }
}

/// What a request has in common with others.
struct Like {
    /// With those that are equal: who is asked, for what, and every header that may change the answer.
    key: String,
    /// With those for other pieces of the same rendition.
    shape: String,
}

impl Like {
    fn names(&self) -> [&str; 2] {
        [&self.key, &self.shape]
    }
}

/// Why a request had the origin to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The answer is not said to be everybody's, or cannot be held for others.
    Answer,
    /// The playlist was made for one viewer.
    Personal,
    /// It was refused, or failed.
    Refused,
    /// It holds something that its sender could be judged by.
    Request,
}

impl Why {
    /// The name in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Personal => "personal",
            Self::Refused => "refused",
            Self::Request => "request",
        }
    }
}

/// Why an answer that is only its asker's is not shared.
fn why_not(status: StatusCode) -> Why {
    if status.is_success() {
        Why::Answer
    } else {
        Why::Refused
    }
}

/// An answer as it goes to clients.
enum Prepared {
    Passing(Head, AnswerBody),
    Whole(Head, Bytes),
}

impl Prepared {
    /// Bytes of the body; as many as there can be where its length is not said.
    fn size(&self) -> u64 {
        match self {
            Self::Passing(_, answer) => answer.size_hint().exact().unwrap_or(u64::MAX),
            Self::Whole(_, body) => body.len() as u64,
        }
    }

    fn into_response(self, viewer: Option<&Viewer>) -> Response<Body> {
        match self {
            Self::Passing(head, answer) => passing(head, answer),
            Self::Whole(mut head, body) => {
                let body = match (viewer, head.leads.take()) {
                    (Some(viewer), Some(leads)) => {
                        viewer.copy(&leads, &mut head.headers, &body, unix_time::seconds())
                    }
                    _ => body,
                };
                response(head, full(body))
            }
        }
    }
}

/// What was fetched for all, as one of them gets it.
async fn shared(flight: &Arc<Flight>, head: &Head, viewer: Option<&Viewer>) -> Response<Body> {
    let (Some(viewer), Some(leads)) = (viewer, &head.leads) else {
        return flight.response(head);
    };
    let mut response = flight.response(head);
    match flight.whole().await {
        Some(body) => {
            let body = viewer.copy(leads, response.headers_mut(), &body, unix_time::seconds());
            response.map(|_| full(body))
        }
        None => text(StatusCode::SERVICE_UNAVAILABLE, "the answer broke off"),
    }
}

fn passing(head: Head, answer: AnswerBody) -> Response<Body> {
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
async fn fill(lead: Leader, mut answer: AnswerBody, keep: Option<Duration>) {
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

/// The folder of a target's path, with its last slash.
fn folder_of(target: &str) -> Option<&str> {
    let (path, _) = target.split_once('?').unwrap_or((target, ""));
    path.get(..=path.rfind('/')?)
}

/// When a link that is made now is over: on the hour, so that the links of an hour are equal.
const fn expiry(now: u64) -> u64 {
    (now / HOUR + LINK_HOURS) * HOUR
}

const MEGABYTE: usize = 1_000_000;
const HOUR: u64 = 3600;
/// Longer than anybody pauses; behind it the path still serves.
const LINK_HOURS: u64 = 24;
/// An origin that sends nothing of an answer for so long has broken it off.
const STALL: Duration = Duration::from_secs(20);
