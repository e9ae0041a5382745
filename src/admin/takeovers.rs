//! Whether a publisher here gives way to one at another proxy, which asks.

use std::net::IpAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::asked::Query;
use super::fleet::data;
use super::{System, problem};
use crate::api;
use crate::proxy::takeover::Newcomer;

/// Where proxies ask each other.
pub(super) const PATH: &str = "/api/v1/takeovers";

/// What may stand after the `?`.
#[derive(Debug, Deserialize)]
pub(super) struct TakeoverQuery {
    stream: String,
    client: IpAddr,
    bond: Option<u32>,
}

/// `POST /api/v1/takeovers`.
pub(super) async fn judge(
    State(system): State<System>,
    Query(asked): Query<TakeoverQuery>,
) -> Response {
    let stream = match super::lookup::stream(&asked.stream) {
        Ok(stream) => stream,
        Err(words) => return problem(StatusCode::BAD_REQUEST, &words),
    };
    let newcomer = Newcomer {
        client: asked.client,
        bond: asked.bond,
    };
    let former = system.proxy.makes_room(&stream, newcomer).await;
    let former = former.as_str().to_owned();
    data(api::Takeover { former }).into_response()
}
