//! What a session carries, as FLV, for an operator who looks.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Deserialize;
use sluicegate_core::media::tap::Recorder;
use sluicegate_core::rtmp::message::Message;
use sluicegate_core::stream::{Protocol, Service};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};
use tracing::info;

use super::asked::{Path, Query};
use super::fleet::{NO_SESSION, find};
use super::{System, problem};
use crate::origin::peek;
use crate::sessions::{Row, Taken, TapEnd, Tapped};

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    seconds: Option<u64>,
}

/// `GET /api/v1/sessions/{id}/tap`.
pub(super) async fn tap(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let Some(row) = find(&system, &id) else {
        return problem(StatusCode::NOT_FOUND, NO_SESSION);
    };
    if !matches!(row.request.protocol, Protocol::HttpFlv | Protocol::Rtmp) {
        let words = "only sessions of rtmp and http_flv carry what an FLV file can hold";
        return problem(StatusCode::BAD_REQUEST, words);
    }
    let seconds = wanted.seconds.unwrap_or(SECONDS).clamp(1, MOST_SECONDS);
    let Ok(place) = Arc::clone(&system.taps).try_acquire_owned() else {
        let words = "as many sessions are tapped as there may be at once";
        return problem(StatusCode::CONFLICT, words);
    };
    let headers = decoder_headers(&system, &row).await;
    let Some(taken) = row.tap.open() else {
        return problem(StatusCode::CONFLICT, "this session is tapped already");
    };
    info!(session = row.id, stream = %row.request.stream, seconds, "session tapped");
    let recording = Recording {
        taken,
        headers,
        recorder: None,
        until: Instant::now() + Duration::from_secs(seconds),
        over: false,
        _place: place,
    };
    let frames = stream::unfold(recording, Recording::next);
    let kind = [
        (header::CONTENT_TYPE, "video/x-flv"),
        (header::TRAILER, TAP_ENDED),
    ];
    (kind, Body::new(StreamBody::new(frames))).into_response()
}

async fn decoder_headers(system: &System, row: &Row) -> Vec<Message> {
    let registry = system.proxy.registry();
    let target = row
        .placed()
        .origin
        .and_then(|origin| registry.target(&origin, Service::Rtmp));
    match target {
        Some(target) => {
            let connector = system.proxy.connector();
            peek::decoder_headers(connector, &target, &row.request.stream).await
        }
        None => Vec::new(),
    }
}

struct Recording {
    taken: Taken,
    headers: Vec<Message>,
    recorder: Option<Recorder>,
    until: Instant,
    over: bool,
    _place: OwnedSemaphorePermit,
}

type Next = Option<(Result<Frame<Bytes>, std::convert::Infallible>, Recording)>;

impl Recording {
    /// FLV until the time is over, and then the word why it ended.
    async fn next(mut self) -> Next {
        if self.over {
            return None;
        }
        loop {
            let why = match timeout_at(self.until, self.taken.next()).await {
                Err(_) => "time",
                Ok(None) => match self.taken.why() {
                    TapEnd::Behind => "behind",
                    TapEnd::Session => "session",
                },
                Ok(Some(piece)) => match self.take(piece) {
                    Some(bytes) if bytes.is_empty() => continue,
                    Some(bytes) => return Some((Ok(Frame::data(bytes)), self)),
                    None => "unreadable",
                },
            };
            self.over = true;
            let mut trailers = HeaderMap::new();
            trailers.insert(TAP_ENDED, HeaderValue::from_static(why));
            return Some((Ok(Frame::trailers(trailers)), self));
        }
    }

    /// The FLV that follows from a piece; `None` when nothing more can.
    fn take(&mut self, piece: Tapped) -> Option<Bytes> {
        let mut out = Vec::new();
        match piece {
            Tapped::Flv => {
                self.recorder = Some(Recorder::of_flv(std::mem::take(&mut self.headers)));
            }
            Tapped::Rtmp(reader) => {
                let headers = std::mem::take(&mut self.headers);
                self.recorder = Some(Recorder::of_rtmp(reader, headers));
            }
            Tapped::Bytes(bytes) => self.recorder.as_mut()?.feed(&bytes, &mut out).ok()?,
        }
        Some(out.into())
    }
}

/// The trailer that says why a recording ended.
pub(crate) const TAP_ENDED: &str = "tap-ended";
/// Sessions tapped at once: people who look, and no load.
pub(super) const MOST_TAPS: usize = 4;
const SECONDS: u64 = 10;
/// For more than a look, a player can record the stream.
const MOST_SECONDS: u64 = 300;
