//! Streams that are pulled in pieces: playlists, manifests, and what they list. Every request stands for itself: the
//! link in its query says which origin has the piece, and without one its path says which stream it is of.

mod fetched;
mod judged;
mod kept;
mod known;
mod led;
mod links;
mod named;
mod others;
mod posted;
mod prepared;
mod rhythms;
mod sealed;
mod shared;
mod spliced;
mod wanted;

use std::borrow::Cow;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::cmcd;
use sluicegate_core::http::head::{Body as RequestBody, RequestHead};
use sluicegate_core::http::link::{self, LinkKey};
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::splice::is_gap;
use sluicegate_core::place::rule::{HoldRules, Via};
use sluicegate_core::stream::{Action, Protocol};
use tracing::{debug, info};

use self::known::KnownAnswers;
use self::links::linked;
use self::named::owners;
pub(super) use self::named::{
    is_guarded, is_in_a_placed_folder, is_of_a_stream, may_ask, owners_of_live, stream_of,
    was_listed,
};
pub(super) use self::posted::{answer as answer_posted, takes_posts};
use self::rhythms::Rhythms;
use self::sealed::SealedLinks;
use self::spliced::Variants;
pub(super) use self::wanted::PieceAsk;
use self::wanted::{Wanted, broken};
use super::again;
use super::client::client_of;
use super::counted::Counted;
use super::live::REFUSES;
use super::ready::Answer;
use super::recent::Recent;
use super::refusal::{self, Refused};
use super::rewrite;
use super::share::Shares;
use super::viewer::Viewer;
use super::{Http, dialect_of};
use crate::config;
use crate::metrics::{DirectionLabels, PieceLabels};
use crate::net::entrance::Ends;
use crate::net::head;
use crate::net::http::status_words;
use crate::origin::dial::Dialer;
use crate::origin::kept::Repeatable;
use crate::origin::silence::SilenceCheck;
use crate::proxy::{Attempt, BeginningViewing, PieceGuard, Proxy, Request as Asked};
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
    /// Answers that were for one viewer only. One who asks for their like does not wait to see whether another's answer is for
    /// all.
    apart: Recent,
    /// What origins refused to whom, as far as it was told.
    refused: Recent,
    sealed: SealedLinks,
    known: KnownAnswers,
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
            apart: Recent::default(),
            refused: Recent::default(),
            sealed: SealedLinks::default(),
            known: KnownAnswers::default(),
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
    /// What it says by itself.
    wanted: Arc<Wanted>,
    ask: Repeatable,
    /// Where the link says that the piece is.
    linked: Option<Attempt>,
    /// The name of the playlist that is asked for, where viewers are held.
    name: Option<Arc<str>>,
    time_limit: TimeLimit,
    /// Who asks, where an access rule may be about the stream.
    viewer: Option<Arc<Viewer>>,
    /// Whether a viewer of such a stream begins: it has no link yet that lets it in.
    first: bool,
    /// The viewing that begins if it gets what it asks for.
    beginning: Option<BeginningViewing>,
}

/// How an origin is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeLimit {
    /// It answers, or another is asked.
    Answer,
    /// It holds the request until there is something new (RFC 8216bis §6.2.5.2).
    Reload,
}

/// The answer to a request that came before on its connection, if it is kept and there is nothing to wait for.
pub(super) fn at_once(http: &Http, ask: &PieceAsk, proxy: &Proxy) -> Option<Answer> {
    if ask.kind != Piece::Segment && proxy.redirects() {
        return None;
    }
    let ready = kept::answer(http, ask, proxy)?;
    Some(counted(ask.kind, Answer::Ready(ready), proxy))
}

/// Answers a request for a piece, or says why not.
pub(super) async fn answer(
    http: &Http,
    ask: &PieceAsk,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Answer {
    match sent_away_or_served(http, ask, ends, identity, proxy).await {
        Ok(answer) => counted(ask.kind, answer, proxy),
        Err(refused) => counted(ask.kind, refused.into_response().into(), proxy),
    }
}

/// A refusal of a request for a piece.
pub(super) fn refused(kind: Piece, why: (StatusCode, String), proxy: &Proxy) -> Answer {
    counted(kind, Refused::from(why).into_response().into(), proxy)
}

/// Counts an answer, and its bytes as they leave.
fn counted(kind: Piece, answer: Answer, proxy: &Proxy) -> Answer {
    let labels = PieceLabels {
        kind: kind.as_str(),
        result: result_of(answer.status()),
    };
    let metrics = proxy.metrics();
    metrics.pieces.get_or_create(&labels).inc();
    let relayed = DirectionLabels {
        protocol: PROTOCOL,
        direction: "to_client",
    };
    let relayed = metrics.relayed_bytes.get_or_create(&relayed);
    match answer {
        Answer::Ready(ready) => {
            relayed.inc_by(ready.body().len() as u64);
            Answer::Ready(ready)
        }
        Answer::Made(response) => {
            let relayed = relayed.clone();
            let response = response.map(|body| Counted::new(body, relayed).boxed_unsync());
            Answer::Made(response)
        }
    }
}

async fn sent_away_or_served(
    http: &Http,
    ask: &PieceAsk,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Result<Answer, Refused> {
    let head = &ask.head;
    if head.body() != RequestBody::None {
        let client = client_of(http, head, ends.client);
        let words = "a pull has no body".to_owned();
        return Err(broken(client, (StatusCode::BAD_REQUEST, words)).into());
    }
    if is_gap(&head.target) {
        let dialect = dialect_of(head.host(), ends, proxy);
        let (target, _) = link::take(&head.target);
        let stream = stream_of(proxy, dialect, head.host(), &target);
        if stream.is_ok_and(|stream| spliced::is_lost(proxy, &proxy.key(&stream), None, &target)) {
            return Ok(spliced::nothing().into_answer(None));
        }
        let words = "this segment was lost with its origin".to_owned();
        return Err((StatusCode::NOT_FOUND, words).into());
    }
    if ask.kind != Piece::Segment
        && proxy.redirects()
        && let Some(location) = Box::pin(elsewhere(head, ends, proxy)).await
    {
        return Ok(again::elsewhere(&location)?.into());
    }
    let mut pull = pull(http, ask, ends, identity, proxy).await?;
    let beginning = pull.beginning.take();
    let answered = pull.answer().await;
    // Who asks for a head only gets no links, and where an origin sends its viewers the link is in the redirect.
    let status = answered.status();
    let has_links = head.method == "GET" && (status.is_success() || status.is_redirection());
    if let Some(beginning) = beginning.filter(|_| has_links) {
        beginning.begun();
    }
    Ok(answered)
}

/// The head of a request that asks for a piece.
pub(super) fn head_of(request: &Request<Incoming>) -> Result<RequestHead, (StatusCode, String)> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let words = "streams are pulled with GET".to_owned();
        return Err((StatusCode::METHOD_NOT_ALLOWED, words));
    }
    head::of_request(request).map_err(|error| (head::status_of(error), error.to_string()))
}

/// Where a player is sent by rule for a playlist or a manifest. What these list is relative to them, so that the rest
/// follows; a piece that was listed by us is served by us.
async fn elsewhere(head: &RequestHead, ends: Ends, proxy: &Proxy) -> Option<String> {
    let (target, _) = link::take(&head.target);
    let target = cmcd::of_target(&target);
    let dialect = dialect_of(head.host(), ends, proxy);
    let stream = stream_of(proxy, dialect, head.host(), &target).ok()?;
    if is_guarded(proxy, dialect, None, head.host(), &target) {
        return None;
    }
    let base = proxy
        .redirect(&stream, Protocol::HttpSegments, Via::Http)
        .await?;
    debug!(%stream, location = base, "viewer sent away by rule");
    Some(format!("{base}{target}"))
}

/// What a request asks for, and its share in the placement.
async fn pull(
    http: &Http,
    ask: &PieceAsk,
    ends: Ends,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Result<Box<PieceRequest>, Refused> {
    let wanted = ask.wanted(http, ends, identity, proxy)?;
    let (kind, client, target) = (ask.kind, wanted.client, &*wanted.target);
    let link = wanted.link.as_ref().map(|(link, lets_in)| (link, *lets_in));
    let asked = Asked {
        stream: wanted.stream(proxy)?,
        action: Action::Play,
        protocol: Protocol::HttpSegments,
        client,
        by_way_of: Asked::way(client, ends.peer),
        bond: None,
        credentials: wanted.credentials.clone(),
    };
    let listed = link.map(|(link, _)| link);
    let was_let_in = listed.is_some_and(|link| link.viewing.is_some());
    let judged = if proxy.lets_everybody_in() && !was_let_in {
        judged::let_in_unjudged(proxy, asked, listed)?
    } else {
        let host = ask.head.host();
        let owners = owners(proxy, wanted.dialect, listed, host, target);
        if link.is_some() && owners.named.is_empty() && proxy.has_rules() {
            return Err(broken(client, unnamed()).into());
        }
        let offers_basic =
            link.is_none() && refusal::offers_basic(proxy, &asked, &owners, &ask.head);
        // Boxed: most proxies judge nobody.
        let shown = (link, wanted.is_listed);
        let judged = Box::pin(judged::let_in(http, proxy, asked, kind, owners, shown));
        judged
            .await
            .map_err(|refused| refused.offering(offers_basic))?
    };
    let place = judged.place;
    let linked = listed.and_then(|link| linked(http, proxy, &place, link, kind));
    let mut outgoing = Arc::clone(&wanted.outgoing);
    if let Cow::Owned(target) = place.for_origin(target) {
        Arc::make_mut(&mut outgoing).target = target;
    }
    if !place.headers_taken_out().is_empty() {
        Arc::make_mut(&mut outgoing).take_out(place.headers_taken_out());
    }
    if judged.viewer.is_some() && kind != Piece::Segment {
        rewrite::unconditional(Arc::make_mut(&mut outgoing));
    }
    let mut request = Box::new(PieceRequest {
        pieces: Arc::clone(&http.pieces),
        dialer: Arc::clone(&http.dialer),
        silence: Arc::clone(&http.silence),
        proxy: proxy.clone(),
        kind,
        ask: Repeatable {
            head: outgoing,
            client,
            local: ends.local,
        },
        place,
        linked,
        name: None,
        time_limit: TimeLimit::Answer,
        viewer: judged.viewer,
        first: judged.first,
        beginning: judged.beginning,
        wanted: Arc::clone(&wanted),
    });
    request.name = request.name_of(target);
    if kind == Piece::Playlist && target.contains("_HLS_msn=") && !request.is_away() {
        request.time_limit = TimeLimit::Reload;
    }
    Ok(request)
}

impl PieceRequest {
    /// How the client names streams; `None` for what we listed, whose target is the origin's own.
    fn dialect(&self) -> Option<Dialect> {
        let unlisted = self.wanted.link.is_none();
        unlisted.then_some(self.wanted.dialect)
    }

    /// Whether URIs have to stay as they are: the client signs the target that it asks for, and its origin compares that with
    /// the one that it gets, which has no link in it.
    fn gets_no_links(&self) -> bool {
        let shown = self.ask.head.headers.text("authorization");
        let scheme = shown.and_then(|shown| shown.split(' ').next());
        let signs = |scheme: &str| {
            let mut known = SIGN_TARGETS.iter();
            known.any(|known| scheme.eq_ignore_ascii_case(known))
        };
        self.viewer.is_none() && scheme.is_some_and(signs)
    }

    /// Logs an answer of an origin that cannot be passed on.
    fn unanswered(&self, (status, words): (StatusCode, String)) -> (StatusCode, String) {
        let request = self.place.request();
        info!(
            stream = %request.stream,
            protocol = PROTOCOL,
            client = %request.client,
            code = status.as_u16(),
            detail = words,
            "refused: its origin gave no answer that can be passed on"
        );
        (status, words)
    }

    /// Tells of a playlist or manifest that its origin refuses. A player asks for it again and again: of the same no to the same
    /// client, one line is written for as long as it goes on asking.
    fn note_no(&self, origin: &OriginId, status: StatusCode) {
        if self.kind == Piece::Segment || status.as_u16() < REFUSES {
            return;
        }
        let Asked { stream, client, .. } = self.place.request();
        let no = (stream, client.ip(), status.as_u16());
        let refused = &self.pieces.refused;
        let was_told = refused.has(&[no]);
        refused.note(no);
        if !was_told {
            self.place.refused(origin.clone(), status_words(status));
        }
    }

    /// The origin that listed the piece, as its link says.
    fn listed_by(&self) -> Option<&OriginId> {
        self.wanted.link.as_ref().map(|(link, _)| &link.origin)
    }
}

/// What is said to a path of which nobody can tell whose it is, with a link that would open it.
fn unnamed() -> (StatusCode, String) {
    let words = "the path names no piece of a stream";
    (StatusCode::BAD_REQUEST, words.to_owned())
}

/// What is said to a path that belongs to no stream, as far as we know.
fn unlisted(has_link: bool) -> (StatusCode, String) {
    match has_link {
        true => {
            let words = "the link does not open this: it is no file of its stream that was listed";
            (StatusCode::FORBIDDEN, words.to_owned())
        }
        false => (StatusCode::NOT_FOUND, "nothing is here".to_owned()),
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

/// As logs and metrics call it.
const PROTOCOL: &str = Protocol::HttpSegments.as_str();
const MEGABYTE: usize = 1_000_000;
/// Schemes by which a client signs the target that it asks for, of HTTP (RFC 7616 §3.4.6) and of storage services.
const SIGN_TARGETS: [&str; 2] = ["AWS4-HMAC-SHA256", "Digest"];
