//! Bans: who is banned, and banning and lifting.

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sluicegate_core::access::bans::{Ban, LONGEST_BAN, Target};
use sluicegate_core::stream::DEFAULT_VHOST;

use super::asked::{Path, Query};
use super::fleet::data;
use super::{System, problem};
use crate::api;
use crate::config::parse_period;
use crate::unix_time;

/// What may stand after the `?` of a ban.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    target: String,
    #[serde(rename = "for")]
    period: String,
    #[serde(default)]
    reason: String,
}

/// `GET /api/v1/bans`.
pub(super) async fn list(State(system): State<System>) -> Response {
    let now = unix_time::seconds();
    let words = system.proxy.sessions().bans().words();
    let mut bans: Vec<api::Ban> = words
        .iter()
        .filter(|ban| ban.holds(now))
        .map(document)
        .collect();
    bans.sort_unstable_by(|one, other| (one.until, &one.id).cmp(&(other.until, &other.id)));
    data(api::Bans {
        total: bans.len(),
        bans,
    })
    .into_response()
}

/// `POST /api/v1/bans`.
pub(super) async fn ban(State(system): State<System>, Query(wanted): Query<Wanted>) -> Response {
    let bad = |words: &str| problem(StatusCode::BAD_REQUEST, words);
    let target = match target_of(&system, &wanted.target) {
        Ok(target) => target,
        Err(words) => return bad(&words),
    };
    let period = match parse_period(&wanted.period) {
        Ok(period) if period >= SHORTEST && period.as_secs() <= LONGEST_BAN => period,
        Ok(_) => {
            return bad("for: a ban lasts from 1s to a year; what has to last longer is a rule");
        }
        Err(_) => return bad("for: not a duration, such as 90s, 2h or 30d"),
    };
    let until = unix_time::seconds().saturating_add(period.as_secs());
    match system.proxy.ban(target, until, &wanted.reason).await {
        Some((ban, ended)) => data(api::Banned {
            ban: document(&ban),
            ended: ended as u64,
        })
        .into_response(),
        None => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "there are as many bans as are kept; lift some, or write a rule",
        ),
    }
}

/// `DELETE /api/v1/bans/{ban}`: by its id or by its target.
pub(super) async fn lift(State(system): State<System>, Path(named): Path<String>) -> Response {
    let id = match target_of(&system, &named) {
        Ok(target) => target.id(),
        Err(_) => named,
    };
    match system.proxy.lift(&id).await {
        Some(ban) => data(document(&ban)).into_response(),
        None => problem(
            StatusCode::NOT_FOUND,
            "no ban of that id or target holds; GET /api/v1/bans lists them",
        ),
    }
}

/// A target as operators write it. A stream with a vhost is that one; without, it is what is placed by that name.
pub(super) fn target_of(system: &System, text: &str) -> Result<Target, String> {
    match text.split_once(':') {
        Some(("stream", name)) => {
            let stream = super::lookup::stream(name)?;
            let key = system.proxy.key(&stream);
            let name = match stream.vhost() {
                DEFAULT_VHOST => key.as_str(),
                _ => stream.as_str(),
            };
            Target::new("stream", name).map_err(|error| error.to_string())
        }
        _ => text
            .parse()
            .map_err(|error| format!("target: {text}: {error}")),
    }
}

fn document(ban: &Ban) -> api::Ban {
    let (kind, name) = ban.target.parts();
    api::Ban {
        id: ban.target.id(),
        kind: kind.to_owned(),
        name,
        until: ban.until,
        seconds_left: ban.until.saturating_sub(unix_time::seconds()),
        since: ban.at / 1000,
        reason: ban.reason.to_string(),
    }
}

/// Whatever is shorter is a kick.
const SHORTEST: Duration = Duration::from_secs(1);
