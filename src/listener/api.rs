//! The API port: `/api/v1/versions` now; WHIP, WHEP and the API over all origins have their place here.

use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::net::http::{Body, json, serve, text};
use crate::net::versions;

/// The API port.
#[derive(Debug, Clone, Copy)]
pub struct Api;

impl Api {
    /// Serves one connection.
    pub async fn connection(stream: TcpStream, stop: CancellationToken) {
        serve(stream, HEAD_TIMEOUT, stop, |request| async move {
            answer(&request)
        })
        .await;
    }
}

fn answer(request: &Request<Incoming>) -> Response<Body> {
    match (request.method(), request.uri().path().trim_end_matches('/')) {
        (&Method::GET | &Method::HEAD, "/api/v1/versions") => {
            json(StatusCode::OK, &versions::short())
        }
        (_, "/api/v1/versions") => {
            text(StatusCode::METHOD_NOT_ALLOWED, "this path is read with GET")
        }
        _ => text(StatusCode::NOT_FOUND, "this port serves /api/v1/versions"),
    }
}

const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
