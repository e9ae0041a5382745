//! The API port: signalling for WebRTC, `/api/v1/versions`, and the API over all origins.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio_util::sync::CancellationToken;

use super::whip::Whip;
use crate::fleet_api::FleetApi;
use crate::net::entrance::Visitor;
use crate::net::http::{Body, Identity, READING, json, other_method, serve, text};
use crate::net::patience::Patience;
use crate::net::tls::lacking;
use crate::net::versions;
use crate::proxy::Proxy;

/// The API port.
#[derive(Debug, Clone)]
pub struct Api {
    /// The API over all origins.
    pub fleet: Arc<FleetApi>,
    /// Calls are asked for here.
    pub whip: Arc<Whip>,
    /// With which the next request of a connection is waited for.
    pub patience: Patience,
    /// Connections that wait for their next request end with it.
    pub stop: CancellationToken,
}

impl Api {
    /// Serves one connection.
    pub async fn connection(self, visitor: Visitor, proxy: Proxy) {
        let Visitor {
            wire, early, ends, ..
        } = visitor;
        let (patience, stop) = (self.patience.clone(), self.stop.clone());
        let identity = wire.identity();
        serve(wire, early, ends, patience, stop, async |mut request| {
            if let Some(refusal) = lacking(&request, ends, &self.whip.base_path) {
                return refusal;
            }
            Identity::put(identity.as_ref(), &mut request);
            let request = match self.whip.answer(request, ends, &proxy).await {
                Ok(response) => return response,
                Err(request) => request,
            };
            match self.fleet.answer(&request, ends).await {
                Some(response) => response,
                None => answer(&request),
            }
        })
        .await;
    }
}

fn answer(request: &Request<Incoming>) -> Response<Body> {
    match (request.method(), request.uri().path().trim_end_matches('/')) {
        (&Method::GET | &Method::HEAD, "/api/v1/versions") => {
            json(StatusCode::OK, &versions::short())
        }
        (_, "/api/v1/versions") => other_method(READING, "this path is read with GET"),
        _ => text(
            StatusCode::NOT_FOUND,
            "this port serves /api/v1/versions, WHIP and WHEP at /rtc/v1/whip/ and /rtc/v1/whep/, and, where it is set up, the API over all origins",
        ),
    }
}

/// How long a client may take for the head of a request, and a proxy in front of us for its header.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
