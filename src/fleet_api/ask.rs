//! One question to the HTTP API of one origin. An origin may be slow, dead or lie: nothing it does costs more than
//! the time and the bytes it is given.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, SERVER};
use hyper::{Method, Request, StatusCode};
use serde_json::Value;
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::inventory;
use sluicegate_core::fleet::origin::Target;
use tokio::time::timeout;

use crate::config::Credential;
use crate::net::http::status_words;
use crate::origin::connect::Connector;
use crate::origin::fetch::escaped;
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
    /// How long all of it may take, from the connection to the last byte.
    pub(super) time_limit: Duration,
    /// How many bytes the answer may have.
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
    #[error("it answered with HTTP status {}", status_words(*.0))]
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

/// The document an origin answers with, an object whose `code` is 0, and the kind of server that it says that it is.
///
/// # Errors
/// Why there is none.
pub(super) async fn ask(
    connector: &Connector,
    target: &Target,
    question: OriginQuestion,
) -> Result<(Value, Option<Dialect>), AskError> {
    let (time_limit, dialect) = (question.time_limit, question.dialect);
    if dialect == Dialect::Ome {
        let paths = timeout(time_limit, every_path(connector, target, question));
        let paths = paths.await.unwrap_or(Err(AskError::Silent))?;
        return Ok((inventory::srs_list(&paths), Some(dialect)));
    }
    let answer = timeout(time_limit, exchange(connector, target, &question))
        .await
        .unwrap_or(Err(AskError::Silent))?;
    // Megabytes take a while to read, and the worker has connections to serve meanwhile.
    let read = tokio::task::spawn_blocking(move || {
        let Page { server, body } = answer;
        let software = inventory::software(server.as_deref(), &body);
        let document = match dialect {
            Dialect::Srs => serde_json::from_slice::<Value>(&body).ok(),
            dialect => Some(inventory::as_srs(dialect, &body)),
        };
        Some((document?, software))
    });
    let (document, software) = read.await.ok().flatten().ok_or(AskError::NotJson)?;
    let document = accepted(document)?;
    Ok((document, software))
}

fn accepted(document: Value) -> Result<Value, AskError> {
    match document.get("code").and_then(Value::as_i64) {
        Some(0) => Ok(document),
        Some(code) => Err(AskError::Refused(code)),
        None => Err(AskError::NotJson),
    }
}

/// Every stream of an OvenMediaEngine origin, as a path of app and stream: it lists vhosts, the apps of each, and the
/// streams of each of those. What is past [`MOST_LISTS`] is left out.
async fn every_path(
    connector: &Connector,
    target: &Target,
    question: OriginQuestion,
) -> Result<Vec<String>, AskError> {
    let names = async |path: String| {
        let question = OriginQuestion {
            path,
            ..question.clone()
        };
        let page = exchange(connector, target, &question).await?;
        inventory::ome_names(&page.body).ok_or(AskError::NotJson)
    };
    let mut paths = Vec::new();
    let mut lists = MOST_LISTS;
    for vhost in names("/v1/vhosts".to_owned()).await? {
        let apps = format!("/v1/vhosts/{}/apps", escaped(&vhost));
        for app in names(apps.clone()).await? {
            if lists == 0 {
                return Ok(paths);
            }
            lists -= 1;
            let streams = names(format!("{apps}/{}/streams", escaped(&app))).await?;
            paths.extend(streams.iter().map(|stream| [&app, "/", stream].concat()));
        }
    }
    Ok(paths)
}

/// An answer with status 200.
struct Page {
    server: Option<String>,
    body: Bytes,
}

async fn exchange(
    connector: &Connector,
    target: &Target,
    question: &OriginQuestion,
) -> Result<Page, AskError> {
    let connected = connector.connect(target, question.time_limit).await;
    let stream = connected.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => AskError::Silent,
        _ => AskError::Unreachable(error),
    })?;
    let mut request = Request::builder()
        .method(&question.method)
        .uri(&question.path)
        .header(HOST, target.to_string())
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close");
    if let Some(credential) = &question.credential {
        let value = credential.header().map_err(|_| AskError::Unauthorized)?;
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
    let server = response.headers().get(SERVER);
    let server = server
        .and_then(|server| server.to_str().ok())
        .map(str::to_owned);
    let body = http::whole(response.into_body(), question.longest).await;
    match body {
        Ok(body) => Ok(Page { server, body }),
        Err(Cut::Broken(_)) => Err(AskError::Broken),
        Err(Cut::TooLong(most)) => Err(AskError::TooLong(most)),
    }
}

/// Lists of streams that one OvenMediaEngine origin is asked for, one for each app. Usual ones have one or two.
const MOST_LISTS: usize = 64;
