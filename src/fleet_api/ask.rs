//! One question to the HTTP API of one origin. An origin may be slow, dead or lie: nothing it does costs more than
//! the time and the bytes it is given.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::inventory;
use sluicegate_core::fleet::origin::Target;
use tokio::time::timeout;

use crate::config::Credential;
use crate::origin::connect::Connector;
use crate::origin::http::{self, Cut};
use crate::origin::probe::plain;

/// What is asked.
#[derive(Debug, Clone)]
pub(super) struct OriginQuestion {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: String,
    /// What kind of server answers.
    pub(super) dialect: Dialect,
    pub(super) credential: Option<Credential>,
    /// All of it, from the connection to the last byte, may take so long.
    pub(super) time_limit: Duration,
    /// The answer may have so many bytes.
    pub(super) longest: usize,
}

/// Why an origin's part is missing. Callers read it, so it names no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("its answer broke off")]
    Broken,
    #[error("its answer is not the JSON that is read here")]
    NotJson,
    #[error("it answered with code {0}")]
    Refused(i64),
    #[error("it did not answer in time")]
    Silent,
    #[error("it answered with HTTP status {0}")]
    Status(StatusCode),
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("it asks for credentials (origins.api_credentials)")]
    Unauthorized,
    #[error("{}", plain(.0))]
    Unreachable(#[from] io::Error),
}

impl AskError {
    /// The error as metrics spell it.
    pub(super) const fn as_str(&self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::NotJson => "not_json",
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
            Self::Status(_) => "status",
            Self::TooLong(_) => "too_long",
            Self::Unauthorized => "unauthorized",
            Self::Unreachable(_) => "unreachable",
        }
    }
}

/// The document an origin answers with: an object whose `code` is 0.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask(
    connector: &Connector,
    target: &Target,
    question: OriginQuestion,
) -> Result<Value, AskError> {
    let (time_limit, dialect) = (question.time_limit, question.dialect);
    let body = timeout(time_limit, exchange(connector, target, question))
        .await
        .unwrap_or(Err(AskError::Silent))?;
    // Megabytes take a while to read, and the worker has connections to serve meanwhile.
    let read = tokio::task::spawn_blocking(move || match dialect {
        Dialect::Srs => serde_json::from_slice::<Value>(&body).ok(),
        dialect => Some(inventory::as_srs(dialect, &body)),
    });
    let document = read.await.ok().flatten().ok_or(AskError::NotJson)?;
    match document.get("code").and_then(Value::as_i64) {
        Some(0) => Ok(document),
        Some(code) => Err(AskError::Refused(code)),
        None => Err(AskError::NotJson),
    }
}

async fn exchange(
    connector: &Connector,
    target: &Target,
    question: OriginQuestion,
) -> Result<Bytes, AskError> {
    let connected = connector.connect(target, question.time_limit).await;
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => AskError::Silent,
        _ => AskError::Unreachable(error),
    })?;
    let mut request = Request::builder()
        .method(question.method)
        .uri(question.path)
        .header(HOST, target.to_string())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close");
    if let Some(credential) = question.credential {
        let mut value =
            HeaderValue::try_from(credential.reveal()).map_err(|_| AskError::Unauthorized)?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let request = request
        .body(Full::default())
        .map_err(|_| AskError::Broken)?;
    let answered = http::once(stream, request).await;
    let response = answered.map_err(|_| AskError::Broken)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Err(AskError::Unauthorized),
        status => return Err(AskError::Status(status)),
    }
    let body = http::whole(response.into_body(), question.longest).await;
    body.map_err(|cut| match cut {
        Cut::Broken(_) => AskError::Broken,
        Cut::TooLong(most) => AskError::TooLong(most),
    })
}
