//! HTTP streams: read the head, then choose. A live pull is relayed raw behind one rewritten head; everything
//! else goes to hyper over the bytes that were read.

mod again;
mod files;
mod live;
mod refusal;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue,
};
use hyper::{Method, Request, Response, StatusCode};
use sluicegate_core::http::head::{Body as RequestBody, HeadError, RequestHead};
use sluicegate_core::http::route::{Probe, Route};
use sluicegate_core::stream::Protocol;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use self::again::Current;
use super::origin_leg::Dialer;
use crate::config::Network;
use crate::net::http::{Body, Prefixed, full, json, serve, text};
use crate::net::{preface, versions};
use crate::proxy::Proxy;
use crate::readiness::Readiness;

/// What the HTTP listener is set to.
#[derive(Debug, Clone)]
pub struct Http {
    /// A client has so long for a request's head.
    pub head_timeout: Duration,
    /// `/livez` and `/readyz` are served here too.
    pub health: bool,
    /// The directory whose files are served, if there is one.
    pub static_files: Option<PathBuf>,
    /// Peers whose `X-Forwarded-*` is believed.
    pub trusted_proxies: Arc<[Network]>,
    /// Peers that send a PROXY protocol header.
    pub proxy_protocol_from: Arc<[Network]>,
    /// Reaches origins.
    pub dialer: Arc<Dialer>,
    /// What `/readyz` goes by.
    pub readiness: Arc<Readiness>,
    /// Pages that come with the program, asked before the static directory.
    pub pages: Option<Pages>,
    /// Connections that wait for their next request end with it.
    pub stop: CancellationToken,
}

/// The type of a page, and its bytes.
pub type Page = (&'static str, &'static [u8]);

/// Pages that come with the program.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    /// Finds a page by its path.
    pub find: fn(&str) -> Option<Page>,
    /// What the pages may load, and from where.
    pub content_security_policy: &'static str,
}

/// A client's connection, and who is behind it.
#[derive(Debug, Clone, Copy)]
struct Caller {
    /// Who connected, or what a PROXY protocol header said.
    peer: SocketAddr,
    /// Where it connected to.
    local: SocketAddr,
}

impl Http {
    /// Serves one connection from accept to close.
    pub fn connection(
        self,
        client: TcpStream,
        peer: SocketAddr,
        proxy: Proxy,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Heads and hyper take far more room than relaying, and milliseconds where that takes hours: what relays
        // must not keep it.
        let begin = Box::pin(self.begin(client, peer, proxy));
        async move {
            if let Some(pair) = begin.await {
                pair.relay().await;
            }
        }
    }

    /// Serves a connection up to a live pull that is its first request, or to its end if there is none.
    async fn begin(
        self,
        mut client: TcpStream,
        peer: SocketAddr,
        proxy: Proxy,
    ) -> Option<Box<live::Pair>> {
        let listed = &self.proxy_protocol_from;
        let (address, mut head) =
            preface::caller(&mut client, peer, listed, self.head_timeout).await?;
        let local = client.local_addr().unwrap_or(peer);
        let caller = Caller {
            peer: address,
            local,
        };
        let reading = timeout(self.head_timeout, read_head(&mut client, &mut head)).await;
        let Ok(read) = reading else {
            debug!(client = %address, "no request came");
            return None;
        };
        let parsed = match read {
            Ok(parsed) => parsed?,
            Err(error) => {
                debug!(client = %address, %error, "bad request");
                let status =
                    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
                refusal::send(&mut client, status, &error.to_string()).await;
                return None;
            }
        };
        let (request, length) = parsed;
        if let Some(protocol) = live_pull(&request) {
            if head.len() > length {
                refusal::send(&mut client, StatusCode::BAD_REQUEST, live::NOTHING_FOLLOWS).await;
                return None;
            }
            return live::set_up(&self, client, &request, protocol, caller, &proxy).await;
        }
        let current = Arc::new(Current::default());
        let stream = Prefixed::new(head, client);
        let answer = |request| self.answer(request, caller, &proxy, &current);
        tokio::select! {
            biased;
            () = serve(stream, self.head_timeout, self.stop.clone(), answer) => {}
            () = current.ended() => return None,
        }
        if let Some(switched) = current.switched() {
            switched.relay().await;
        }
        None
    }

    /// Whether a peer's `X-Forwarded-*` is believed.
    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(peer))
    }

    /// Answers a request that is not the first live pull of a connection.
    async fn answer(
        &self,
        request: Request<Incoming>,
        caller: Caller,
        proxy: &Proxy,
        current: &Arc<Current>,
    ) -> Response<Body> {
        let live = match Route::of(request.uri().path()) {
            Route::Live(protocol) if request.method() != Method::OPTIONS => Some(protocol),
            _ => None,
        };
        let mut response = match live {
            Some(protocol) => {
                match again::answer(self, request, protocol, caller, proxy, current).await {
                    Ok(response) => return response,
                    Err((status, words)) => text(status, words),
                }
            }
            None => self.own(&request, proxy).await,
        };
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }

    /// Answers what no origin is asked for.
    async fn own(&self, request: &Request<Incoming>, proxy: &Proxy) -> Response<Body> {
        if request.method() == Method::OPTIONS {
            return preflight();
        }
        match Route::of(request.uri().path()) {
            Route::Versions => json(StatusCode::OK, &versions::long()),
            Route::Health(Probe::Live) if self.health => {
                json(StatusCode::OK, &serde_json::json!({"alive": true}))
            }
            Route::Health(Probe::Ready) if self.health => {
                let (status, document) = self.readiness.report(proxy);
                json(status, &document)
            }
            Route::Health(_) | Route::Live(_) | Route::Other => self.page(request).await,
        }
    }

    async fn page(&self, request: &Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if let Some((pages, (kind, bytes))) = self
            .pages
            .and_then(|pages| Some((pages, (pages.find)(path)?)))
        {
            let mut response = Response::new(full(bytes));
            let policy = HeaderValue::from_static(pages.content_security_policy);
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
        match &self.static_files {
            Some(root) => files::answer(root, request.method(), path).await,
            None => text(StatusCode::NOT_FOUND, "nothing is here"),
        }
    }
}

/// Reads until the head of a request is whole; `None` when the client closed first.
async fn read_head(
    client: &mut TcpStream,
    bytes: &mut Vec<u8>,
) -> Result<Option<(RequestHead, usize)>, HeadError> {
    loop {
        if let Some(parsed) = RequestHead::parse(bytes)? {
            return Ok(Some(parsed));
        }
        match client.read_buf(bytes).await {
            Ok(count) if count > 0 => {}
            _ => return Ok(None),
        }
    }
}

/// The protocol of a request that is relayed raw: a plain GET of a live stream.
fn live_pull(request: &RequestHead) -> Option<Protocol> {
    match Route::of(&request.target) {
        Route::Live(protocol) if request.method == "GET" && request.body() == RequestBody::None => {
            Some(protocol)
        }
        _ => None,
    }
}

/// The answer to a browser that asks before it pulls.
fn preflight() -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, HEAD, OPTIONS"),
    );
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}
