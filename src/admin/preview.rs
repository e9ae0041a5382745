//! A picture of a stream, for an operator who looks.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use serde::Deserialize;
use sluicegate_core::stream::{Action, PlacementKey, Protocol};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::{System, problem};
use crate::hub::Shown;
use crate::net::entrance::Ends;
use crate::net::http::BoxError;
use crate::proxy::Refusal;
use crate::sessions::{EndReason, Request, Row};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    stream: String,
}

/// In the extensions of an answer: the stream whose content it shows, for the audit.
#[derive(Debug, Clone)]
pub(super) struct Shows(pub(super) PlacementKey);

/// `GET /api/v1/preview`.
pub(super) async fn preview(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    let bad = |words: &str| problem(StatusCode::BAD_REQUEST, words);
    let wanted = match wanted {
        Ok(Query(wanted)) => wanted,
        Err(unread) => return bad(&unread.body_text()),
    };
    let stream = match super::lookup::stream(&wanted.stream) {
        Ok(stream) => stream,
        Err(words) => return bad(&words),
    };
    let shows = Shows(system.proxy.key(&stream));
    let Ok(place) = Arc::clone(&system.previews).try_acquire_owned() else {
        let words =
            "as many streams are looked at as there may be at once; each look ends after a minute";
        return problem(StatusCode::CONFLICT, words);
    };
    let request = Request {
        stream,
        action: Action::Play,
        protocol: Protocol::HttpFlv,
        client: ends.client,
        by_way_of: Request::way(ends.client, ends.peer),
        credentials: None,
    };
    let mut answer = match look(&system, request, place).await {
        Ok(look) => {
            let head = [
                (header::CONTENT_TYPE, "video/x-flv"),
                (header::CACHE_CONTROL, "no-store"),
            ];
            (head, Body::new(look)).into_response()
        }
        Err(answer) => answer,
    };
    answer.extensions_mut().insert(shows);
    answer
}

/// Begins to look, or says why there is nothing to see.
async fn look(
    system: &System,
    request: Request,
    place: OwnedSemaphorePermit,
) -> Result<Look, Response> {
    let Some(hub) = &system.hub else {
        let words = "this process shows no pictures";
        return Err(problem(StatusCode::SERVICE_UNAVAILABLE, words));
    };
    let refused = |refusal: &Refusal| problem(refusal.http_status(), &refusal.to_string());
    let session = match system.proxy.open_preview(request).await {
        Ok(Some(session)) => session,
        Ok(None) => {
            let words = "the stream is nowhere: nobody publishes it, and no origin holds it";
            return Err(problem(StatusCode::NOT_FOUND, words));
        }
        Err(refusal) => return Err(refused(&refusal)),
    };
    let row = Arc::clone(session.row());
    info!(session = row.id, stream = %row.request.stream, client = %row.request.client, "an operator looks at a stream");
    match timeout(FIRST, hub.preview(session)).await {
        Ok(Ok(shown)) => Ok(Look::new(shown, row, place)),
        Ok(Err(refusal)) => Err(refused(&refusal)),
        Err(_) => {
            let words = "its origin has not said within four seconds whether it plays the stream";
            Err(problem(StatusCode::GATEWAY_TIMEOUT, words))
        }
    }
}

/// A look at a stream, as a body that ends when its time is over.
struct Look {
    shown: Shown,
    row: Arc<Row>,
    over: Pin<Box<dyn Future<Output = EndReason> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl Look {
    fn new(shown: Shown, row: Arc<Row>, place: OwnedSemaphorePermit) -> Self {
        let ended = Arc::clone(&row).into_ended();
        let over = async {
            tokio::select! {
                reason = ended => reason,
                () = sleep(LASTS) => EndReason::AccessOver,
            }
        };
        Self {
            shown,
            row,
            over: Box::pin(over),
            _place: place,
        }
    }
}

impl HttpBody for Look {
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
