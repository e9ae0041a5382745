//! What an operator wants of an origin: that it drains, is disabled, is taken back, or is no more; and when that is refused.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sluicegate_core::fleet::drain::{Cause, Duty};
use sluicegate_core::fleet::last_for;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::Service;

use super::asked::{Path, Query};
use super::drain::{drain_document, not_a_duration, time_limit};
use super::fleet::{NO_ORIGIN, Others, data};
use super::{System, problem};
use crate::api::{self, Coverage, Done, Problem, Scope};
use crate::registry::Registry;

/// The query of a change that has no deadline.
#[derive(Debug, Deserialize)]
// A condition that is misspelt is no wish to go on without it.
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    expect: Option<Expected>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    scope: Scope,
}

/// The query of a drain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainQuery {
    deadline: Option<String>,
    expect: Option<Expected>,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    scope: Scope,
}

/// What the caller believes that the origin does now.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Active,
    Disabled,
    Draining,
}

/// `POST /api/v1/origins/{id}/drain`.
pub(super) async fn drain(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(asked): Query<DrainQuery>,
) -> Response {
    let Ok(time_limit) = time_limit(asked.deadline.as_deref()) else {
        return not_a_duration();
    };
    let change = Change {
        expect: asked.expect,
        force: asked.force,
        scope: asked.scope,
    };
    let drain = |registry: &Registry, id: &OriginId| {
        registry.drain(id, time_limit, Cause::Operator);
    };
    changed(&system, id, &change, time_limit, (System::keeps, drain)).await
}

/// `POST /api/v1/origins/{id}/disable`.
pub(super) async fn disable(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(change): Query<Change>,
) -> Response {
    let disable = |registry: &Registry, id: &OriginId| {
        registry.disable(id);
    };
    changed(&system, id, &change, None, (System::keeps, disable)).await
}

/// `POST /api/v1/origins/{id}/undrain`.
pub(super) async fn undrain(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(change): Query<Change>,
) -> Response {
    let undrain = |registry: &Registry, id: &OriginId| {
        registry.undrain(id);
    };
    changed(&system, id, &change, None, (System::unexpected, undrain)).await
}

/// What has the answer to a change that is refused.
type Refuses = fn(&System, &OriginId, &Change) -> Option<Response>;

/// Makes a change of an origin's duty unless `refuses` has an answer to it. One change is made after the other, so that two cannot
/// each take one of the last two origins; what is decided at another proxy at the same time is looked for after it.
async fn changed(
    system: &System,
    id: String,
    change: &Change,
    time_limit: Option<Duration>,
    (refuses, make): (Refuses, impl FnOnce(&Registry, &OriginId)),
) -> Response {
    let id = OriginId::from(id);
    let registry = system.proxy.registry();
    let before = {
        let _turn = system.duties.lock().await;
        if let Some(refused) = refuses(system, &id, change) {
            return refused;
        }
        let before = registry.duty(&id);
        make(registry, &id);
        before
    };
    let is_taken_away =
        before == Some(Duty::Active) && registry.duty(&id) != Some(Duty::Active) && !change.force;
    if is_taken_away && !system.peers(change.scope).is_empty() {
        let others = system.other_origins(change.scope).await;
        if let Some(refused) = system.took_the_last(&id, &others) {
            return refused;
        }
    }
    told(system, &id, change.scope, time_limit).await
}

/// `DELETE /api/v1/origins/{id}`.
pub(super) async fn deregister(
    State(system): State<System>,
    Path(id): Path<String>,
    Query(change): Query<Change>,
) -> Response {
    let id = OriginId::from(id);
    let registry = system.proxy.registry();
    let cluster = system.proxy.cluster();
    let cluster = cluster.filter(|_| change.scope == Scope::Cluster);
    let is_looked_for = !change.force && !system.peers(change.scope).is_empty();
    let before = {
        let _turn = system.duties.lock().await;
        if let Some(refused) = system.keeps(&id, &change) {
            return refused;
        }
        let before = registry.duty(&id);
        match cluster {
            None => drop(registry.deregister(&id)),
            // The others are asked about it while it is here, and takes nothing more.
            Some(_) if is_looked_for => registry.deregister_after(&id, LOOKED_FOR),
            Some(_) => {}
        }
        before
    };
    if let Some(cluster) = cluster {
        let others = system.other_origins(change.scope).await;
        if is_looked_for
            && before == Some(Duty::Active)
            && let Some(refused) = system.took_the_last(&id, &others)
        {
            return refused;
        }
        // A proxy that does not answer may have sessions on it.
        let is_used = others.use_it(id.as_str())
            || !others.missing.is_empty()
            || registry.left(&id).total() > 0;
        cluster.tell_deregistered(&id, is_used).await;
    }
    axum::Json(Done::default()).into_response()
}

impl System {
    /// The answer to who wants an origin to take no more streams, if it is a no: it is not known or not as expected, or its clients
    /// would find nobody.
    fn keeps(&self, id: &OriginId, change: &Change) -> Option<Response> {
        let refused = self.unexpected(id, change);
        if refused.is_some() || change.force {
            return refused;
        }
        let members = self.proxy.registry().origins();
        let services = last_for(&members, Instant::now(), id);
        let why = "no other active origin that is up takes new streams of that";
        (!services.is_empty()).then(|| last_one(id, &services, why))
    }

    /// The answer where an origin that takes no more streams from now on was the last one, because of what other proxies were told;
    /// then it takes streams again. Each proxy changes its own table before it asks the others, so of two that take away the last two
    /// origins at the same time at least one sees what the other did.
    fn took_the_last(&self, id: &OriginId, others: &Others) -> Option<Response> {
        let registry = self.proxy.registry();
        let mut members = registry.origins();
        for (one, member) in &mut members {
            let is_taken_away =
                |row: &api::Origin| row.duty == "disabled" || row.duty == "draining";
            if one == id {
                member.duty = Duty::Active;
            } else if others.of(one.as_str()).any(is_taken_away) {
                member.duty = Duty::Disabled;
            }
        }
        let services = last_for(&members, Instant::now(), id);
        if services.is_empty() {
            return None;
        }
        registry.undrain(id);
        let why = "another proxy was told meanwhile to take away the others";
        Some(last_one(id, &services, why))
    }

    /// The answer where an origin is not known, or does not do what the caller believes.
    fn unexpected(&self, id: &OriginId, change: &Change) -> Option<Response> {
        let Some(duty) = self.proxy.registry().duty(id) else {
            return Some(problem(StatusCode::NOT_FOUND, NO_ORIGIN));
        };
        match change.expect {
            Some(expected) if expected.as_str() != duty.as_str() => {
                let words = format!(
                    "{id} is {} now, not {} as was expected",
                    duty.as_str(),
                    expected.as_str()
                );
                Some(problem(StatusCode::CONFLICT, &words))
            }
            _ => None,
        }
    }
}

/// Refuses to take away an origin, unless that is forced.
fn last_one(id: &OriginId, services: &[Service], why: &str) -> Response {
    let status = StatusCode::CONFLICT;
    let document = Problem {
        code: status.as_u16(),
        error: format!("{id} is the last one for {}: {why}", listed(services)),
        force: true,
        ..Problem::default()
    };
    (status, axum::Json(document)).into_response()
}

impl Expected {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
            Self::Draining => "draining",
        }
    }
}

/// What became of the origin. The other proxies hear of it, unless only this one was meant.
async fn told(
    system: &System,
    id: &OriginId,
    scope: Scope,
    time_limit: Option<Duration>,
) -> Response {
    let registry = system.proxy.registry();
    let Some(duty) = registry.duty(id) else {
        return problem(StatusCode::NOT_FOUND, NO_ORIGIN);
    };
    if scope == Scope::Cluster
        && let Some(cluster) = system.proxy.cluster()
    {
        cluster.tell_duty(id, duty, time_limit).await;
    }
    let left = registry.left(id);
    let mut drain = match duty {
        Duty::Draining(drain) => Some(drain_document(&drain, left, system.proxy.drain_pace())),
        Duty::Active | Duty::Disabled => None,
    };
    let others = system.other_origins(scope).await;
    if let Some(drain) = &mut drain {
        others.add_to(id.as_str(), drain);
    }
    data(api::Duty {
        id: id.as_str().to_owned(),
        duty: duty.as_str().to_owned(),
        drain,
        publishers: left.publishers as u64,
        players: left.players as u64,
        coverage: Coverage::of(scope, others.missing),
    })
    .into_response()
}

/// `http, rtmp and srt`.
fn listed(services: &[Service]) -> String {
    let names: Vec<&str> = services.iter().map(|service| service.as_str()).collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}

/// For how long an origin that is deregistered is there at least, so that the others can be asked about it: longer than they have to
/// answer.
const LOOKED_FOR: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_listed_as_people_say_them() {
        for (services, words) in [
            (&[Service::Rtmp][..], "rtmp"),
            (&[Service::Http, Service::Rtmp], "http and rtmp"),
            (
                &[Service::Http, Service::Rtmp, Service::Srt],
                "http, rtmp and srt",
            ),
        ] {
            assert_eq!(listed(services), words);
        }
    }
}
