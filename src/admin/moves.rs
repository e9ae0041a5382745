//! Moving streams from origin to origin.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hyper::Method;
use serde::Deserialize;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::StreamUrl;

use super::asked::Query;
use super::cluster::passed;
use super::fleet::data;
use super::{System, problem};
use crate::api::{self, Scope};
use crate::origin::fetch::escaped;
use crate::proxy::moves::{NotMoved, Wish};
use crate::sessions::{MoveCause, MoveStage};

/// What may stand after the `?` of a move.
#[derive(Debug, Deserialize)]
pub(super) struct MoveQuery {
    stream: String,
    to: Option<String>,
    expect: Option<String>,
    #[serde(default)]
    end_viewers: bool,
    #[serde(default)]
    scope: Scope,
}

/// What may stand after the `?` of the question whom a move would end.
#[derive(Debug, Deserialize)]
pub(super) struct BoundQuery {
    stream: String,
}

/// `GET /api/v1/moves`.
pub(super) async fn bound(
    State(system): State<System>,
    Query(asked): Query<BoundQuery>,
) -> Response {
    let stream = match super::lookup::stream(&asked.stream) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let count = system.proxy.bound_viewers(&system.proxy.key(&stream));
    let document = api::BoundViewers {
        stream: stream.to_string(),
        count: count as u64,
    };
    data(document).into_response()
}

/// `POST /api/v1/moves`.
pub(super) async fn begin(
    State(system): State<System>,
    Query(asked): Query<MoveQuery>,
) -> Response {
    let stream = match super::lookup::stream(&asked.stream) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let wish = Wish {
        to: asked.to.as_deref().map(OriginId::from),
        expected: asked.expect.as_deref().map(OriginId::from),
        ends_viewers: asked.end_viewers,
        cause: MoveCause::Operator,
    };
    let mut underway = match system.proxy.begin_move(&stream, &wish) {
        Ok(underway) => underway,
        Err(refusal @ NotMoved::NotPublished(_)) => {
            let elsewhere = elsewhere(&system, &asked).await;
            return elsewhere.unwrap_or_else(|| problem(status(&refusal), &refusal.to_string()));
        }
        Err(refusal) => return problem(status(&refusal), &refusal.to_string()),
    };
    let time_limit = match asked.scope {
        Scope::Cluster => WAIT,
        Scope::Local => WAIT_FOR_ANOTHER,
    };
    let stage = underway.within(time_limit).await;
    if let MoveStage::Failed(why) = &stage {
        let words = format!("the stream stays on {}: {why}", underway.from);
        return problem(StatusCode::CONFLICT, &words);
    }
    let document = document(&stream, &underway.from, &underway.to, &stage);
    let code = match stage {
        MoveStage::Made(_) => StatusCode::OK,
        _ => StatusCode::ACCEPTED,
    };
    (code, data(document)).into_response()
}

/// What the proxy says that has the publisher; `None` if no other has it, as far as is known.
async fn elsewhere(system: &System, asked: &MoveQuery) -> Option<Response> {
    let mut path = format!("/api/v1/moves?stream={}", escaped(&asked.stream));
    for (name, value) in [("to", &asked.to), ("expect", &asked.expect)] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    path.push_str(&format!("&end_viewers={}", asked.end_viewers));
    for peer in system.peers(asked.scope) {
        let answer = system.ask(&peer, Method::POST, &path).await;
        let has_it = |answer: &Result<(StatusCode, _), _>| {
            answer
                .as_ref()
                .is_ok_and(|(status, _)| *status != StatusCode::NOT_FOUND)
        };
        if has_it(&answer) {
            return Some(passed(answer, &peer.id));
        }
    }
    None
}

fn document(stream: &StreamUrl, from: &OriginId, to: &OriginId, stage: &MoveStage) -> api::Move {
    let (state, gap_ms) = match stage {
        MoveStage::Asking | MoveStage::Failed(_) => ("asking", None),
        MoveStage::Awaiting => ("awaiting_keyframe", None),
        MoveStage::Made(gap) => ("made", u64::try_from(gap.as_millis()).ok()),
    };
    api::Move {
        stream: stream.to_string(),
        from: from.as_str().to_owned(),
        to: to.as_str().to_owned(),
        state: state.to_owned(),
        gap_ms,
    }
}

const fn status(refusal: &NotMoved) -> StatusCode {
    match refusal {
        NotMoved::NotPublished(_) | NotMoved::UnknownOrigin(_) => StatusCode::NOT_FOUND,
        NotMoved::Immovable(_)
        | NotMoved::Nobody(_)
        | NotMoved::Stale(_)
        | NotMoved::UnderWay
        | NotMoved::Unfit { .. } => StatusCode::CONFLICT,
    }
}

/// How long an answer waits for the end of the move: the next keyframe of most encoders is there by then.
const WAIT: Duration = Duration::from_secs(4);
/// The same for another proxy, whose own answer waits for it.
const WAIT_FOR_ANOTHER: Duration = Duration::from_millis(1500);
