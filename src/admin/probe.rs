//! Asks an origin how it is, because an operator wants to know now.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sluicegate_core::fleet::origin::OriginId;

use super::asked::Path;
use super::fleet::data;
use super::{System, problem};
use crate::api;
use crate::origin::health::{NotAsked, ServiceAnswer};
use crate::origin::probe::ProbeError;

/// `POST /api/v1/origins/{id}/probe`.
pub(super) async fn probe(State(system): State<System>, Path(id): Path<String>) -> Response {
    let id = OriginId::from(id);
    let prober = system.proxy.silence().prober();
    let answers = match prober.ask_now(&id).await {
        Ok(answers) => answers,
        Err(refusal) => {
            let status = match refusal {
                NotAsked::Unknown => StatusCode::NOT_FOUND,
                NotAsked::Busy | NotAsked::UnderWay => StatusCode::CONFLICT,
            };
            return problem(status, &refusal.to_string());
        }
    };
    let state = system.proxy.registry().state(&id);
    data(api::Probed {
        id: id.as_str().to_owned(),
        state: state.map_or("gone", |state| state.as_str()).to_owned(),
        services: answers.iter().map(document).collect(),
    })
    .into_response()
}

fn document(said: &ServiceAnswer) -> api::ServiceProbe {
    let reason = said.answer.as_ref().err();
    let is_asked = !matches!(reason, Some(ProbeError::Datagrams(_)));
    api::ServiceProbe {
        service: said.service.as_str().to_owned(),
        at: said.target.to_string(),
        ok: is_asked.then_some(reason.is_none()),
        reason: reason.map(ToString::to_string),
        ms: is_asked.then(|| (said.took.as_secs_f64() * 10_000.0).round() / 10.0),
        judged: said.judged,
    }
}
