//! Streams that are pulled in pieces: playlists, manifests, and what they list. Every request stands for itself: the
//! link in its query says which origin has the piece, and without one its path says which stream it is of.

mod fetched;
mod judged;
mod links;
mod named;
mod prepared;
mod rhythms;
mod sealed;
mod shared;
mod spliced;

use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::cmcd;
use sluicegate_core::http::head::{Body as RequestBody, Forwarded, RequestHead};
use sluicegate_core::http::link::{self, LinkKey};
use sluicegate_core::http::route::{Piece, Route};
use sluicegate_core::http::segment::has_dot_segments;
use sluicegate_core::http::sharing::CMCD;
use sluicegate_core::http::splice::is_gap;
use sluicegate_core::place::rule::{HoldRules, Via};
use sluicegate_core::stream::{Action, Protocol};
use tracing::debug;

use self::links::linked;
use self::named::readings;
pub(super) use self::named::{is_of_a_stream, stream_of};
use self::rhythms::Rhythms;
use self::sealed::SealedLinks;
use self::spliced::Variants;
use super::super::turned_away;
use super::again;
use super::apart::Apart;
use super::counted::Counted;
use super::live::{client_of, credentials_of};
use super::rewrite;
use super::share::Shares;
use super::viewer::Viewer;
use super::{Http, dialect_of};
use crate::config;
use crate::metrics::{DirectionLabels, PieceLabels};
use crate::net::entrance::Ends;
use crate::net::head;
use crate::net::http::{Body, text};
use crate::origin::dial::Dialer;
use crate::origin::kept::Repeatable;
use crate::origin::silence::SilenceCheck;
use crate::proxy::{Attempt, PieceGuard, Proxy, Request as Asked};
use crate::random;

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
    sealed: SealedLinks,
    rhythms: Rhythms,
    variants: Variants,
    holds: HoldRules,
}

impl Pieces {
    /// With nothing kept so far. `granting` seals the links of those who were let in.
    pub fn new(key: LinkKey, granting: LinkKey, settings: Arc<config::Http>) -> Self {
        Self {
            key,
            granting,
            mark: format!("{:032x}", u128::from_ne_bytes(random::bytes())),
            shares: Arc::new(Shares::new(settings.cache_megabytes * MEGABYTE)),
            settings,
            apart: Apart::default(),
            sealed: SealedLinks::default(),
            rhythms: Rhythms::default(),
            variants: Variants::default(),
            holds: HoldRules::default(),
        }
    }

    /// The same, with viewers whose playlists go on while no origin has their stream.
    #[must_use]
    pub fn holding(mut self, holds: HoldRules) -> Self {
        self.holds = holds;
        self
    }

    /// Bytes of answers that are kept now.
    pub fn kept_bytes(&self) -> usize {
        self.shares.kept_bytes()
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
    /// The origin that listed it, as its link says.
    listed_by: Option<OriginId>,
    /// The name of the playlist that is asked for, where viewers are held.
    name: Option<String>,
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
    head: &RequestHead,
    kind: Piece,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Response<Body> {
    match sent_away_or_served(http, head, kind, ends, identity, proxy).await {
        Ok(response) => counted(kind, response, proxy),
        Err(words) => refused(kind, words, proxy),
    }
}

/// A refusal of a request for a piece.
pub(super) fn refused(
    kind: Piece,
    (status, words): (StatusCode, String),
    proxy: &Proxy,
) -> Response<Body> {
    counted(kind, text(status, words), proxy)
}

/// Counts an answer, and its bytes as they leave.
fn counted(kind: Piece, response: Response<Body>, proxy: &Proxy) -> Response<Body> {
    let labels = PieceLabels {
        kind: kind.as_str(),
        result: result_of(response.status()),
    };
    let metrics = proxy.metrics();
    metrics.pieces.get_or_create(&labels).inc();
    let relayed = DirectionLabels {
        protocol: PROTOCOL,
        direction: "to_client",
    };
    let relayed = metrics.relayed_bytes.get_or_create(&relayed).clone();
    response.map(|body| Counted::new(body, relayed).boxed_unsync())
}

async fn sent_away_or_served(
    http: &Http,
    head: &RequestHead,
    kind: Piece,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Result<Response<Body>, (StatusCode, String)> {
    if head.body() != RequestBody::None {
        return Err((StatusCode::BAD_REQUEST, "a pull has no body".to_owned()));
    }
    if is_gap(&head.target) {
        let words = "this segment was lost with its origin".to_owned();
        return Err((StatusCode::NOT_FOUND, words));
    }
    if let Some(location) = elsewhere(head, kind, ends, proxy).await {
        return again::elsewhere(&location);
    }
    let pull = pull(http, head, kind, ends, identity, proxy).await?;
    Ok(pull.answer().await)
}

/// The head of a request that asks for a piece.
pub(super) fn head_of(request: &Request<Incoming>) -> Result<RequestHead, (StatusCode, String)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let words = "streams are pulled with GET".to_owned();
        return Err((StatusCode::METHOD_NOT_ALLOWED, words));
    }
    head::of_request(request).map_err(|error| (StatusCode::BAD_REQUEST, error.to_string()))
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
    head: &RequestHead,
    kind: Piece,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Result<PieceRequest, (StatusCode, String)> {
    let (target, token) = link::take(&head.target);
    let target = cmcd::of_target(&target);
    let client = client_of(http, head, ends.client);
    let broken = |(status, rule): (StatusCode, String)| {
        turned_away::log(PROTOCOL, client, status.as_u16(), &rule);
        (status, rule)
    };
    let (link, lets_in) = http.pieces.open(token).map_err(broken)?.unzip();
    // One that counts was opened; one that is over is ours all the same.
    let shown = token.filter(|token| link.is_some() || http.pieces.is_ours(token));
    let dialect = dialect_of(head.host(), ends, proxy);
    let read_as = link.is_none().then_some(dialect);
    let stream = match &link {
        Some(_) if has_dot_segments(&target) => return Err(broken(unnamed())),
        Some(link) => link.stream.clone(),
        None => stream_of(proxy, dialect, head.host(), &target).map_err(broken)?,
    };
    let forwarded = http.forwarded(ends);
    let asked = Asked {
        stream,
        action: Action::Play,
        protocol: Protocol::HttpSegments,
        client,
        by_way_of: Asked::way(client, ends.peer),
        credentials: credentials_of(head, &forwarded, &target, identity),
    };
    let readings = match proxy.has_rules() || proxy.has_bans() {
        true => readings(proxy, dialect, link.as_ref(), head.host(), &target),
        // Nobody asks by which names a path may go.
        false => Vec::new(),
    };
    if link.is_some() && readings.is_empty() && proxy.has_rules() {
        return Err(broken(unnamed()));
    }
    let shown_link = link.as_ref().zip(lets_in);
    let judged = judged::let_in(http, proxy, asked, kind, &readings, shown_link).await?;
    let place = judged.place;
    let listed_by = link.as_ref().map(|link| link.origin.clone());
    let linked = link.and_then(|link| linked(http, proxy, &place, &link, kind));
    let mut outgoing = for_origin(head, &place.for_origin(&target), &forwarded, kind);
    outgoing.take_out(place.headers_taken_out());
    if judged.viewer.is_some() && kind != Piece::Segment {
        rewrite::unconditional(&mut outgoing);
    }
    if shown.is_some() && Route::of(&target) == Route::Other {
        // What has no ending of media may name other files.
        rewrite::uncoded(&mut outgoing);
    }
    let mut request = PieceRequest {
        pieces: Arc::clone(&http.pieces),
        dialer: Arc::clone(&http.dialer),
        silence: Arc::clone(&http.silence),
        proxy: proxy.clone(),
        kind,
        host: head.host().unwrap_or_default().to_owned(),
        base: http.base(ends, head),
        site: rewrite::site(head, &forwarded),
        at: folder_of(&target).unwrap_or("/").to_owned(),
        shown: shown.map(Into::into),
        ask: Repeatable {
            head: outgoing,
            client,
            local: ends.local,
        },
        place,
        linked,
        listed_by,
        name: None,
        dialect: read_as,
        time_limit: TimeLimit::Answer,
        viewer: judged.viewer,
        first: judged.first,
    };
    request.name = request.name_of(&target);
    if kind == Piece::Playlist && target.contains("_HLS_msn=") && !request.is_away() {
        request.time_limit = TimeLimit::Reload;
    }
    Ok(request)
}

/// What is said to a path of which nobody can tell whose it is, with a link that would open it.
fn unnamed() -> (StatusCode, String) {
    let words = "the path names no piece of a stream";
    (StatusCode::BAD_REQUEST, words.to_owned())
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

/// As logs and metrics call it.
const PROTOCOL: &str = Protocol::HttpSegments.as_str();
const MEGABYTE: usize = 1_000_000;
