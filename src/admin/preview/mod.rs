//! A picture of a stream, for an operator who looks.
//!
//! | file | how the operator's browser gets it |
//! | --- | --- |
//! | `mod` | FLV, from a pull of the stream by RTMP |
//! | `segments` | the segments of an HLS playlist, one after the other, where its origin has no RTMP |
//! | `whep` | WebRTC, by an offer of the browser |

mod segments;
mod whep;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use serde::Deserialize;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::{Action, Protocol, Service, StreamUrl};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::asked::Query;
use super::{System, problem};
use crate::hub::{Hub, Shown};
use crate::net::entrance::Ends;
use crate::net::http::BoxError;
use crate::proxy::{Refusal, Session};
use crate::sessions::{EndReason, Request, Row};

pub(super) use self::whep::preview_by_call;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    stream: String,
}

/// `GET /api/v1/preview`.
pub(super) async fn preview(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let begun = match Begun::new(&system, &wanted).await {
        Ok(begun) => begun,
        Err(answer) => return answer,
    };
    let Some(hub) = &system.hub else {
        return no_pictures();
    };
    let serves = |service| {
        let registry = system.proxy.registry();
        registry.target(&begun.origin, service).is_some()
    };
    let shown = match (serves(Service::Rtmp), serves(Service::Http)) {
        (true, _) => begun.show_flv(&system, hub, ends).await,
        (false, true) => segments::show(&system, hub, begun, ends).await,
        (false, false) => {
            let words = "its origin has neither RTMP nor HTTP; a browser may ask for it by WebRTC, with a POST";
            Err(problem(StatusCode::NOT_FOUND, words))
        }
    };
    shown.unwrap_or_else(|answer| answer)
}

/// A look that may begin.
struct Begun {
    stream: StreamUrl,
    /// Who holds the stream.
    origin: OriginId,
    place: OwnedSemaphorePermit,
}

impl Begun {
    /// Finds out who has the stream, and takes one of the places for those who look.
    async fn new(system: &System, wanted: &Wanted) -> Result<Self, Response> {
        let stream = super::lookup::stream(&wanted.stream);
        let stream = stream.map_err(|words| problem(StatusCode::BAD_REQUEST, &words))?;
        let place = Arc::clone(&system.previews).try_acquire_owned();
        let place = place.map_err(|_| {
            let words = "as many streams are looked at as there may be at once; each look ends after a minute";
            problem(StatusCode::CONFLICT, words)
        })?;
        match system.proxy.holder(&stream).await {
            Some(origin) => Ok(Self {
                stream,
                origin,
                place,
            }),
            None => {
                let words = "the stream is nowhere: nobody publishes it, and no origin holds it";
                Err(problem(StatusCode::NOT_FOUND, words))
            }
        }
    }

    /// A session for it.
    fn open(
        &self,
        system: &System,
        protocol: Protocol,
        ends: Ends,
    ) -> Result<(Session, Arc<Row>), Refusal> {
        let request = Request {
            stream: self.stream.clone(),
            action: Action::Play,
            protocol,
            client: ends.client,
            by_way_of: Request::way(ends.client, ends.peer),
            bond: None,
            credentials: None,
        };
        let session = system.proxy.open_preview(request)?;
        let row = Arc::clone(session.row());
        info!(session = row.id, stream = %row.request.stream, client = %row.request.client, "an operator looks at a stream");
        Ok((session, row))
    }

    async fn show_flv(self, system: &System, hub: &Hub, ends: Ends) -> Result<Response, Response> {
        let opened = self.open(system, Protocol::HttpFlv, ends);
        let (session, row) = opened.map_err(|refusal| refused(&refusal))?;
        let shown: Shown = in_time(hub.preview(session, self.origin)).await?;
        Ok(answer("video/x-flv", Look::new(shown, row, self.place)))
    }
}

/// What comes of asking an origin for its stream.
async fn in_time<T>(asked: impl Future<Output = Result<T, Refusal>>) -> Result<T, Response> {
    match timeout(FIRST, asked).await {
        Ok(told) => told.map_err(|refusal| refused(&refusal)),
        Err(_) => {
            let words = "its origin has not said within four seconds whether it plays the stream";
            Err(problem(StatusCode::GATEWAY_TIMEOUT, words))
        }
    }
}

fn refused(refusal: &Refusal) -> Response {
    let status = match refusal {
        // It is said to us, and not to the operator.
        Refusal::Refused { .. } => StatusCode::BAD_GATEWAY,
        refusal => refusal.http_status(),
    };
    problem(status, &refusal.to_string())
}

fn no_pictures() -> Response {
    let words = "this process shows no pictures";
    problem(StatusCode::SERVICE_UNAVAILABLE, words)
}

fn answer<B>(kind: &'static str, look: Look<B>) -> Response
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (head, Body::new(look)).into_response()
}

/// A look at a stream, as a body that ends when its time is over.
struct Look<B> {
    shown: B,
    row: Arc<Row>,
    over: Pin<Box<dyn Future<Output = EndReason> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl<B> Look<B> {
    fn new(shown: B, row: Arc<Row>, place: OwnedSemaphorePermit) -> Self {
        Self {
            shown,
            over: Box::pin(over(Arc::clone(&row))),
            row,
            _place: place,
        }
    }
}

/// Resolves when a look is over: something has ended it, or its time is.
async fn over(row: Arc<Row>) -> EndReason {
    tokio::select! {
        reason = row.into_ended() => reason,
        () = sleep(LASTS) => EndReason::AccessOver,
    }
}

impl<B> HttpBody for Look<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let look = self.get_mut();
        // Nothing is polled after the end: its owner drops the body then.
        if let Poll::Ready(reason) = look.over.as_mut().poll(cx) {
            look.row.end(reason);
            return Poll::Ready(None);
        }
        Pin::new(&mut look.shown).poll_frame(cx)
    }
}

/// Looks at once: people who look, and no load.
pub(super) const MOST_LOOKS: usize = 4;
/// How long a look lasts: an operator who wants more plays the stream as a viewer does.
const LASTS: Duration = Duration::from_secs(60);
/// How long the origin may take for its word on the stream: the answer's head has to come within
/// [`super::BODY_TIMEOUT`].
const FIRST: Duration = Duration::from_secs(4);
