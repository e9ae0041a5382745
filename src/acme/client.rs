//! The server's HTTP, over the one client that this proxy has.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, Uri};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use sluicegate_core::fleet::origin::Security;

use crate::net::http::BoxError;
use crate::origin::connect::Connector;
use crate::origin::http;
use crate::value::url::server_of;

/// Sends the requests of an ACME client.
pub(super) struct Client(Connector);

impl Client {
    /// A client that believes whom `connector` believes.
    pub(super) const fn new(connector: Connector) -> Self {
        Self(connector)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let connector = self.0.clone();
        Box::pin(async move {
            let exchanged = tokio::time::timeout(TIME_LIMIT, exchange(&connector, request)).await;
            let late = || BoxError::from(format!("no answer within {} s", TIME_LIMIT.as_secs()));
            exchanged
                .unwrap_or_else(|_| Err(late()))
                .map_err(Error::Other)
        })
    }
}

async fn exchange(
    connector: &Connector,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<BytesResponse, BoxError> {
    let (mut parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    // What it is sent is signed, and so is nothing that it answers.
    let target = server_of(&parts.uri, None).filter(|target| target.security != Security::Plain);
    let target = target.ok_or("it has an address that is no https:// URL")?;
    let host = parts.uri.authority().map(ToString::to_string);
    let host = HeaderValue::try_from(host.unwrap_or_default())?;
    parts.headers.insert(HOST, host);
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map_or_else(
        || Ok(Uri::from_static("/")),
        |path| Uri::try_from(path.as_str()),
    )?;
    let wire = connector.connect(&target, TIME_LIMIT).await?;
    let answered = http::once(wire, Request::from_parts(parts, Full::new(body))).await?;
    let (parts, body) = answered.into_parts();
    let body = http::whole(body, LONGEST).await?;
    Ok(Response::from_parts(parts, Full::new(body)).into())
}

/// How long a server may take for one answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer: a chain has a few kilobytes.
const LONGEST: usize = 256 * 1024;
