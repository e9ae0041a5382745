//! What leaves overloaded origins: the plan, and its moves.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::Method;
use sluicegate_core::place::rebalance::{Move, Overload, Plan};

use super::System;
use super::asked::Query;
use super::cluster::ScopeQuery;
use super::fleet::data;
use crate::api::{Coverage, Overloaded, PlannedMove, Rebalance};

/// `GET /api/v1/rebalance`: what would be moved now.
pub(super) async fn plan(
    State(system): State<System>,
    Query(asked): Query<ScopeQuery>,
) -> Response {
    let own = system.proxy.rebalance_plan();
    whole(&system, asked, Method::GET, &own).await
}

/// `POST /api/v1/rebalance`: begins the moves, once.
pub(super) async fn begin(
    State(system): State<System>,
    Query(asked): Query<ScopeQuery>,
) -> Response {
    let own = system.proxy.rebalance();
    whole(&system, asked, Method::POST, &own).await
}

/// What this proxy plans, and what the others say to the same.
async fn whole(system: &System, asked: ScopeQuery, method: Method, own: &Plan) -> Response {
    let mut whole = document(system, own);
    let said = system
        .ask_all::<Rebalance>(asked.scope, method, "/api/v1/rebalance")
        .await;
    let (documents, missing) = said.documents();
    for (_, theirs) in documents {
        whole.overloaded.extend(theirs.overloaded);
        whole.moves.extend(theirs.moves);
    }
    whole.coverage = Coverage::of(asked.scope, missing);
    data(whole).into_response()
}

fn document(system: &System, plan: &Plan) -> Rebalance {
    let own = system.own_id().map(str::to_owned);
    Rebalance {
        enabled: system.proxy.rebalances(),
        overloaded: plan
            .overloaded
            .iter()
            .map(|it| overloaded(it, own.clone()))
            .collect(),
        moves: plan
            .moves
            .iter()
            .map(|it| planned(it, own.clone()))
            .collect(),
        coverage: Coverage::default(),
    }
}

fn overloaded(it: &Overload, proxy: Option<String>) -> Overloaded {
    let percent = |thousandths: u32| f64::from(thousandths) / 10.0;
    let staying = it.staying.iter();
    Overloaded {
        origin: it.origin.as_str().to_owned(),
        proxy,
        load_percent: percent(it.load),
        after_percent: percent(it.after),
        excess_kbps: it.excess,
        leaving_kbps: it.leaving,
        staying: staying
            .map(|(why, count)| (why.as_str().to_owned(), *count as u64))
            .collect(),
    }
}

fn planned(it: &Move, proxy: Option<String>) -> PlannedMove {
    PlannedMove {
        stream: it.key.as_str().to_owned(),
        proxy,
        from: it.from.as_str().to_owned(),
        to: it.to.as_str().to_owned(),
        kbps: it.kbps,
        why: it.to_string(),
        begins: it.is_due,
    }
}
