//! HTTP streams: read the head, then choose. A live pull is relayed raw behind one rewritten head; everything
//! else goes to hyper over the bytes that were read.

mod again;
mod client;
mod counted;
mod direct;
mod files;
mod granted;
mod live;
mod pieces;
mod preflight;
mod ready;
mod recent;
mod refusal;
mod rewrite;
mod share;
mod switches;
mod viewer;

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use sluicegate_core::dialect::Dialect;
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::head::{Body as RequestBody, Forwarded, HeadError, RequestHead};
use sluicegate_core::http::link;
use sluicegate_core::http::route::{Piece, Probe, Route};
use sluicegate_core::preface::mistaken;
use sluicegate_core::stream::{Protocol, StreamUrl};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::again::Current;
use self::direct::Then;
use self::pieces::PieceAsk;
pub use self::pieces::Pieces;
use self::ready::Answer;
pub use self::switches::{SwitchRequest, Switches};
use super::turned_away;
use crate::api::Alive;
use crate::config;
use crate::hub::Hub;
use crate::net::accept::OriginSide;
use crate::net::entrance::{Ends, Visitor};
use crate::net::http::{Body, Identity, READING, full, json, other_method, serve, text};
use crate::net::http2::{self, Answering};
use crate::net::patience::Patience;
use crate::net::tls::{Challenges, lacking};
use crate::net::wire::Wire;
use crate::net::{conditional, forwarded, head, relay, versions};
use crate::origin::dial::Dialer;
use crate::origin::silence::SilenceCheck;
use crate::proxy::Proxy;
use crate::readiness::{Asked, Readiness};

/// What the HTTP listener is set to.
#[derive(Debug, Clone)]
pub struct Http {
    /// Its section of the settings.
    pub settings: Arc<config::Http>,
    /// Reaches origins.
    pub dialer: Arc<Dialer>,
    /// Serves viewers that share a pull.
    pub hub: Hub,
    /// What is pulled in pieces: links, waits, and what is kept.
    pub pieces: Arc<Pieces>,
    /// Tells origins that hold an answer back from stopped ones.
    pub silence: Arc<SilenceCheck>,
    /// What `/readyz` goes by.
    pub readiness: Arc<Readiness>,
    /// What an ACME server is answered.
    pub challenges: Option<Arc<Challenges>>,
    /// Pages that come with the program, asked before the static directory.
    pub pages: Option<Pages>,
    /// With which the next request of a connection is waited for.
    pub patience: Patience,
    /// Connections that wait for their next request end with it.
    pub stop: CancellationToken,
}

/// The type of a page, and its bytes.
pub type Page = (&'static str, &'static [u8]);

/// Pages that come with the program.
#[derive(Debug, Clone)]
pub struct Pages {
    /// Finds a page by its path.
    pub find: fn(&str) -> Option<Page>,
    /// What the pages may load, and from where.
    pub content_security_policy: HeaderValue,
    /// What the pages turn on and off, if anything.
    pub switches: Option<Switches>,
}

impl Http {
    /// Serves one connection from accept to close.
    pub fn connection(
        self,
        visitor: Visitor,
        proxy: Proxy,
    ) -> impl Future<Output = ()> + Send + 'static {
        relay::set_up_then(self.begin(visitor, proxy), live::Served::serve)
    }

    /// Serves a connection up to a live pull that is its first request, or to its end if there is none.
    async fn begin(self, visitor: Visitor, proxy: Proxy) -> Option<live::Served> {
        let Visitor {
            wire: mut client,
            early: mut head,
            ends,
            origin_side,
        } = visitor;
        // What follows is boxed, because a client that has yet to ask for something needs no room for it.
        if ends.http2 {
            Box::pin(self.serve_http2(client, ends, &origin_side, &proxy)).await;
            return None;
        }
        let reading = timeout(self.patience.head, read_head(&mut client, &mut head)).await;
        let Ok(read) = reading else {
            debug!(client = %ends.client, "no request came");
            return None;
        };
        let parsed = match read {
            Ok(parsed) => parsed?,
            Err((status, rule)) => {
                turned_away::log("http", ends.client, status.as_u16(), &rule);
                refusal::send(&mut client, status, &rule).await;
                return None;
            }
        };
        let (request, length) = parsed;
        if let Some(protocol) = live_pull(&request, ends, &proxy) {
            if head.len() > length {
                let code = StatusCode::BAD_REQUEST.as_u16();
                turned_away::log(protocol.as_str(), ends.client, code, live::NOTHING_FOLLOWS);
                refusal::send(&mut client, StatusCode::BAD_REQUEST, live::NOTHING_FOLLOWS).await;
                return None;
            }
            return Box::pin(live::set_up(
                &self,
                client,
                &request,
                protocol,
                ends,
                &origin_side,
                &proxy,
            ))
            .await;
        }
        let answering = direct::serve(&self, &mut client, &mut head, ends, &proxy);
        if Box::pin(answering).await == Then::Ends {
            return None;
        }
        let current = Arc::new(Current::with(origin_side));
        let identity = client.identity();
        let answer = |mut request| {
            Identity::put(identity.as_ref(), &mut request);
            self.answer(request, ends, &proxy, &current)
        };
        let (patience, stop) = (self.patience.clone(), self.stop.clone());
        tokio::select! {
            biased;
            () = Box::pin(serve(client, head, ends, patience, stop, answer)) => {}
            () = current.ended() => return None,
        }
        if let Some(switched) = current.switched() {
            switched.relay().await;
        }
        None
    }

    /// Serves streams without end beside everything else, each with its own end.
    async fn serve_http2(&self, client: Wire, ends: Ends, origin_side: &OriginSide, proxy: &Proxy) {
        let identity = client.identity();
        let handle = |mut request| {
            let current = Arc::new(Current::with(origin_side.clone()));
            let cut = Arc::clone(&current);
            Identity::put(identity.as_ref(), &mut request);
            Answering {
                answer: async move { self.answer(request, ends, proxy, &current).await },
                cut: async move { cut.ended().await },
            }
        };
        http2::serve(client, self.stop.clone(), handle).await;
    }

    /// What an origin is told of the way a request came.
    fn forwarded(&self, ends: Ends) -> Forwarded {
        forwarded::told(&self.settings.trusted_proxies, ends)
    }

    /// The folder under which the client of a request reaches us.
    fn base(&self, ends: Ends, head: &RequestHead) -> BasePath {
        let settings = &self.settings;
        let trusted = &settings.trusted_proxies;
        forwarded::base(trusted, ends, &head.headers, &settings.base_path)
    }

    /// Answers a request that is not the first live pull of a connection.
    async fn answer(
        &self,
        request: Request<Incoming>,
        ends: Ends,
        proxy: &Proxy,
        current: &Arc<Current>,
    ) -> Response<Body> {
        let pending = self.challenges.as_ref();
        if let Some(answer) = pending.and_then(|pending| pending.answer(request.uri().path())) {
            return text(StatusCode::OK, answer);
        }
        if let Some(refusal) = lacking(&request, ends, &self.settings.base_path) {
            return refusal;
        }
        if request.method() == Method::OPTIONS {
            return preflight::answer(self, &request, ends, proxy).await;
        }
        let switches = self
            .pages
            .as_ref()
            .and_then(|pages| pages.switches.as_ref());
        if let Some(switches) = switches
            && let Some(answer) = switches.answer(&request, ends).await
        {
            return answer;
        }
        let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
        match route(target, host_of(request.headers()), ends, proxy) {
            Route::Live(protocol) => {
                let answered = again::answer(self, request, protocol, ends, proxy, current).await;
                answered.unwrap_or_else(|refused| open_to_all(refused.into_response()))
            }
            Route::Piece(_)
                if *request.method() == Method::POST && pieces::takes_posts(self, target) =>
            {
                let answer = pieces::answer_posted(self, request, ends, proxy).await;
                open_to_all(answer.into_response())
            }
            Route::Piece(kind) => {
                let identity = Identity::of(request.extensions());
                match pieces::head_of(&request) {
                    Ok(head) => {
                        let ask = PieceAsk::new(head, kind);
                        let answer = self.piece(&ask, ends, identity, proxy).await;
                        answer.into_response()
                    }
                    Err(refused) => open_to_all(unreadable(kind, refused, ends, proxy)),
                }
            }
            Route::Other => {
                let page = self.own(Route::Other, &request, ends, proxy).await;
                let missing = page.status() == StatusCode::NOT_FOUND;
                if !missing || !is_of_a_stream(&request, ends, proxy) {
                    return open_to_all(page);
                }
                let identity = Identity::of(request.extensions());
                open_to_all(match pieces::head_of(&request) {
                    Ok(head) => {
                        let ask = PieceAsk::new(head, Piece::Segment);
                        let answer = pieces::answer(self, &ask, ends, identity, proxy).await;
                        answer.into_response()
                    }
                    Err(refused) => unreadable(Piece::Segment, refused, ends, proxy),
                })
            }
            own => open_to_all(self.own(own, &request, ends, proxy).await),
        }
    }

    /// Answers a request for a piece of a stream.
    async fn piece(
        &self,
        ask: &PieceAsk,
        ends: Ends,
        identity: Option<&str>,
        proxy: &Proxy,
    ) -> Answer {
        let answer = pieces::answer(self, ask, ends, identity, proxy).await;
        match answer {
            Answer::Ready(ready) => Answer::Ready(ready),
            Answer::Made(response) => {
                let missing = matches!(
                    response.status(),
                    StatusCode::NOT_FOUND | StatusCode::SERVICE_UNAVAILABLE
                );
                let file = match missing {
                    true => Box::pin(self.file_instead(&ask.head, ends)).await,
                    false => None,
                };
                open_to_all(file.unwrap_or(response)).into()
            }
        }
    }

    /// The file of a path that no origin has.
    async fn file_instead(&self, head: &RequestHead, ends: Ends) -> Option<Response<Body>> {
        let root = self.settings.static_files.as_ref()?;
        let request = head::to_request(head).body(()).ok()?;
        let found = files::answer(root, &request, &self.base(ends, head)).await;
        (found.status() != StatusCode::NOT_FOUND).then_some(found)
    }

    /// Answers what no origin is asked for.
    async fn own(
        &self,
        route: Route,
        request: &Request<Incoming>,
        ends: Ends,
        proxy: &Proxy,
    ) -> Response<Body> {
        match route {
            Route::Versions => json(StatusCode::OK, &versions::long()),
            Route::Health(Probe::Live) if self.settings.health => {
                json(StatusCode::OK, &Alive { alive: true })
            }
            Route::Health(Probe::Ready) if self.settings.health => {
                let asked = Asked::by(request.uri().query());
                let (status, document) = self.readiness.report(proxy, asked);
                json(status, &document)
            }
            Route::Health(_) | Route::Live(_) | Route::Other | Route::Piece(_) => {
                self.page(request, ends).await
            }
        }
    }

    async fn page(&self, request: &Request<Incoming>, ends: Ends) -> Response<Body> {
        let path = request.uri().path();
        if let Some((pages, (kind, bytes))) = self
            .pages
            .as_ref()
            .and_then(|pages| Some((pages, (pages.find)(path)?)))
        {
            if !matches!(*request.method(), Method::GET | Method::HEAD) {
                return other_method(READING, "pages are read with GET");
            }
            let tag = conditional::tag_of(bytes);
            let response = match conditional::has(request.headers(), &tag) {
                true => files::not_modified(),
                false => Response::new(full(bytes)),
            };
            let mut response = files::tagged(response, &tag);
            let policy = pages.content_security_policy.clone();
            response
                .headers_mut()
                .insert(CONTENT_SECURITY_POLICY, policy);
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
                .headers_mut()
                .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            return response;
        }
        match &self.settings.static_files {
            Some(root) => {
                let settings = &self.settings;
                let (trusted, usual) = (&settings.trusted_proxies, &settings.base_path);
                let base = forwarded::base_of(trusted, ends, request.headers(), usual);
                files::answer(root, request, &base).await
            }
            None => files::nothing(path),
        }
    }
}

/// Reads until the head of a request is whole; `None` when the client closed first.
///
/// # Errors
/// The status and the words of a refusal.
async fn read_head(
    client: &mut Wire,
    bytes: &mut Vec<u8>,
) -> Result<Option<(RequestHead, usize)>, (StatusCode, String)> {
    let broken = |error: HeadError| (head::status_of(error), error.to_string());
    loop {
        if let Some(other) = mistaken(bytes) {
            return Err((StatusCode::BAD_REQUEST, other.to_owned()));
        }
        if let Some(parsed) = RequestHead::parse(bytes).map_err(broken)? {
            return Ok(Some(parsed));
        }
        match client.read_buf(bytes).await {
            Ok(count) if count > 0 => {}
            _ => return Ok(None),
        }
    }
}

/// What a request is for. A path that may name a stream without end as well as a segment names the stream if that is
/// placed; if not, it is a segment where it lies in the folder of one that is.
fn route(target: &str, host: Option<&str>, ends: Ends, proxy: &Proxy) -> Route {
    let route = Route::of(target);
    let dialect = dialect_of(host, ends, proxy);
    if dialect != Dialect::Srs {
        return match route {
            // What we listed is named by its link.
            Route::Piece(_) if link::take(target).1.is_some() => route,
            Route::Health(_) | Route::Versions => route,
            _ => dialect
                .file(host, target)
                .map_or(Route::Other, |file| file.route),
        };
    }
    let Some(protocol) = Route::live(target) else {
        return route;
    };
    let (_, query) = target.split_once('?').unwrap_or_default();
    let is_placed = || {
        StreamUrl::from_http(host, target)
            .and_then(|stream| proxy.dialects().named(stream, &[query]))
            .is_ok_and(|stream| proxy.registry().holder(&proxy.key(&stream)).is_some())
    };
    match route {
        Route::Piece(_) if is_placed() => Route::Live(protocol),
        Route::Live(protocol) if protocol != Protocol::HttpFlv => {
            let is_piece = pieces::is_in_a_placed_folder(proxy, host, target) && !is_placed();
            match is_piece {
                true => Route::Piece(Piece::Segment),
                false => route,
            }
        }
        _ => route,
    }
}

/// Refuses a request for a piece that breaks a rule of HTTP.
fn unreadable(
    kind: Piece,
    (status, rule): (StatusCode, String),
    ends: Ends,
    proxy: &Proxy,
) -> Response<Body> {
    turned_away::log("http", ends.client, status.as_u16(), &rule);
    pieces::refused(kind, (status, rule), proxy).into_response()
}

/// Whether a request that no ending tells apart is for a file of a stream.
fn is_of_a_stream(request: &Request<Incoming>, ends: Ends, proxy: &Proxy) -> bool {
    let host = host_of(request.headers());
    let target = request.uri().path_and_query().map_or("/", |t| t.as_str());
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    is_read && pieces::is_of_a_stream(proxy, dialect_of(host, ends, proxy), host, target)
}

/// The host that a request names.
fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST).and_then(|host| host.to_str().ok())
}

/// How the client of a request names streams.
fn dialect_of(host: Option<&str>, ends: Ends, proxy: &Proxy) -> Dialect {
    proxy.dialects().of(host, ends.local.port()).0
}

/// Any page may read an answer, where the origin does not say otherwise.
fn open_to_all(mut response: Response<Body>) -> Response<Body> {
    ready::open_to_all(response.headers_mut());
    response
}

/// The protocol of a request that is relayed raw: a plain GET of a live stream.
fn live_pull(request: &RequestHead, ends: Ends, proxy: &Proxy) -> Option<Protocol> {
    if ends.lacks_tls(request.headers.told_secure()) {
        return None;
    }
    match route(&request.target, request.host(), ends, proxy) {
        Route::Live(protocol) if request.method == "GET" && request.body() == RequestBody::None => {
            Some(protocol)
        }
        _ => None,
    }
}
