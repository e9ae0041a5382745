//! The picture as a call: the operator's browser offers WebRTC, and gets the answer of the stream's origin.

use std::sync::Arc;

use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use sluicegate_core::http::whip::{SDP, is_sdp};
use sluicegate_core::stream::Protocol;
use tokio::time::timeout;

use super::super::asked::Query;
use super::super::{System, problem};
use super::{Begun, FIRST, Wanted, no_pictures, over, refused};
use crate::net::entrance::Ends;
use crate::proxy::preview::{PreviewError, PreviewOffer};

/// `POST /api/v1/preview`: an offer as the body. The answer names the session, which a DELETE ends.
pub(in crate::admin) async fn preview_by_call(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
    offer: Result<Bytes, BytesRejection>,
) -> Response {
    let offer = match offer {
        Ok(offer) => offer,
        Err(unread) => return problem(unread.status(), &unread.body_text()),
    };
    begin(&system, ends, &wanted, &headers, offer)
        .await
        .unwrap_or_else(|answer| answer)
}

async fn begin(
    system: &System,
    ends: Ends,
    wanted: &Wanted,
    headers: &HeaderMap,
    offer: Bytes,
) -> Result<Response, Response> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !text(header::CONTENT_TYPE).is_some_and(is_sdp) {
        let words = format!("an offer is of the type {SDP}");
        return Err(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, &words));
    }
    let (Some(hub), Some(calls)) = (&system.hub, &system.calls) else {
        return Err(no_pictures());
    };
    if !calls.has_media() {
        let words = "WebRTC is not served here: it has no port (rtc.listen)";
        return Err(problem(StatusCode::NOT_FOUND, words));
    }
    let begun = Begun::new(system, wanted).await?;
    let opened = begun.open(system, Protocol::WebRtc, ends);
    let (session, row) = opened.map_err(|refusal| refused(&refusal))?;
    let wanted = PreviewOffer {
        ends,
        holder: &begun.origin,
        host: text(header::HOST).unwrap_or("localhost"),
        offer,
        pull_query: hub.pull_query(),
    };
    let asked = timeout(FIRST, calls.preview(&system.proxy, session, wanted));
    let description = match asked.await {
        Ok(Ok(description)) => description,
        Ok(Err(PreviewError::Refused(refusal))) => return Err(refused(&refusal)),
        Ok(Err(error @ PreviewError::Offer(_))) => {
            return Err(problem(StatusCode::BAD_REQUEST, &error.to_string()));
        }
        Ok(Err(error @ PreviewError::Unusable)) => {
            return Err(problem(StatusCode::BAD_GATEWAY, &error.to_string()));
        }
        Err(_) => {
            let words = "its origin has not answered the offer within four seconds";
            return Err(problem(StatusCode::GATEWAY_TIMEOUT, words));
        }
    };
    let session = match system.own_id() {
        Some(proxy) => format!("sessions/{proxy}:{}", row.id),
        None => format!("sessions/{}", row.id),
    };
    tokio::spawn(async move {
        let reason = over(Arc::clone(&row)).await;
        row.end(reason);
        drop(begun.place);
    });
    let head = [
        (header::CONTENT_TYPE, SDP.to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::LOCATION, session),
    ];
    Ok((StatusCode::CREATED, head, description).into_response())
}
