//! What origins report of their own streams.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use sluicegate_core::http::caller::Caller;
use sluicegate_core::stream::StreamUrl;
use tracing::{debug, warn};

use super::access::Surface;
use super::{System, problem};
use crate::api::Done;
use crate::net::entrance::Ends;

/// What SRS sends to the URLs of its `http_hooks`; fields it does not name are skipped.
#[derive(Debug, Deserialize)]
struct Callback {
    action: String,
    #[serde(default)]
    server_id: String,
    #[serde(default)]
    service_id: String,
    #[serde(default)]
    vhost: String,
    #[serde(default)]
    app: String,
    #[serde(default)]
    stream: String,
}

/// `POST /api/v1/hooks/srs`: `on_publish` and `on_unpublish` of an origin.
///
/// The origin asks whether its client may publish. That is not ours to say, so the answer is yes also where the report
/// is not believed; only who may not register gets a no.
pub(super) async fn srs(
    State(system): State<System>,
    ConnectInfo(ends): ConnectInfo<Ends>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    if let Some(refused) = system.access.refuse_registration(&caller, &headers) {
        warn!(client = %ends.client, status = refused.status().as_u16(), "callback refused");
        system.count_refusal(Surface::Callbacks);
        return refused;
    }
    let body = match body {
        Ok(body) => body,
        Err(unread) => return problem(unread.status(), &unread.body_text()),
    };
    let Ok(callback) = serde_json::from_slice::<Callback>(&body) else {
        return problem(StatusCode::BAD_REQUEST, "not a callback of SRS");
    };
    learn(&system, &caller, &callback).await;
    Json(Done::default()).into_response()
}

async fn learn(system: &System, caller: &Caller, callback: &Callback) {
    let (server, service) = (&callback.server_id, &callback.service_id);
    let registry = system.proxy.registry();
    let Some(address) = caller.address() else {
        return debug!(
            server,
            "callback not believed: a proxy on this machine passed it on"
        );
    };
    let Some(origin) = registry.reporter(server, service, address) else {
        return debug!(%address, server, "callback not believed: no origin with this id is registered at this address");
    };
    let Ok(stream) = StreamUrl::new(&callback.vhost, &callback.app, &callback.stream) else {
        return debug!(%address, %origin, "callback not believed: it names no stream");
    };
    let proxy = &system.proxy;
    let cluster = proxy.cluster();
    match callback.action.as_str() {
        "on_publish" => {
            proxy.note_published(&stream, &origin);
            if let Some(cluster) = cluster {
                cluster.tell_published(&stream, &origin).await;
            }
        }
        "on_unpublish" => {
            proxy.note_unpublished(&stream, &origin);
            if let Some(cluster) = cluster {
                cluster.tell_unpublished(&stream, &origin).await;
            }
        }
        _ => {}
    }
}
