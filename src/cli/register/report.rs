//! One report to one proxy: the document that SRS would send, and the meaning of the answer.

use crate::config::Credential;
use crate::net::http::status_words;
use crate::origin::connect::Connector;
use crate::origin::http::{self, Cut};
use crate::origin::probe::plain;
use crate::value::Secret;
use crate::value::url::{scheme, server_of};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode, Uri};
use serde_json::{Value, json};
use sluicegate_core::fleet::attributes::USUAL_WEIGHT;
use sluicegate_core::fleet::origin::{Endpoint, Origin, Target};
use sluicegate_core::stream::Service;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::Duration;

/// The system API of a proxy, as a URL: `http://10.0.0.1:12025`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemApi {
    target: Target,
    authority: String,
    path: String,
}

impl SystemApi {
    /// Reports the origin of `document` to this proxy.
    ///
    /// # Errors
    /// Why the proxy did not accept it, as far as that is known within five seconds.
    pub(super) async fn report(&self, token: &Secret, document: Bytes) -> Result<(), ReportError> {
        let post = post(self, token, document);
        tokio::time::timeout(TIME_LIMIT, post)
            .await
            .unwrap_or(Err(ReportError::Silent))
    }
}

impl FromStr for SystemApi {
    type Err = NotASystemApi;

    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`; without a path, that of the registration is added.
    fn from_str(text: &str) -> Result<Self, NotASystemApi> {
        let url: Uri = text.parse().map_err(|_| NotASystemApi)?;
        let authority = url.authority().ok_or(NotASystemApi)?;
        if authority.as_str().contains('@') || url.query().is_some() {
            return Err(NotASystemApi);
        }
        let target = server_of(&url, None).ok_or(NotASystemApi)?;
        let path = if url.path() == "/" {
            REGISTRATION_PATH
        } else {
            url.path()
        };
        Ok(Self {
            target,
            authority: authority.to_string(),
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for SystemApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", scheme(&self.target), self.authority)
    }
}

/// Why a proxy did not accept a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It answered in a way that no proxy does.
    #[error("it answered {}, but not as a proxy does: is this the system API?", status_words(*.0))]
    NotAProxy(StatusCode),
    /// It refused.
    #[error("{}: {message}", status_words(*.status))]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The message of the answer.
        message: String,
    },
    /// It did not answer in time.
    #[error("no answer within {} s", TIME_LIMIT.as_secs())]
    Silent,
    /// It requires a token, or a different one.
    #[error("{}: {message}; give the token with --token or PROXY_HTTP_API_AUTH_TOKEN", status_words(*.status))]
    Unauthorized {
        /// The HTTP status.
        status: StatusCode,
        /// The message of the answer.
        message: String,
    },
    /// The connection failed.
    #[error("{}", plain(.0))]
    Unreachable(#[from] io::Error),
    /// The exchange was interrupted.
    #[error("the answer broke off: {0}")]
    Broken(Box<dyn std::error::Error + Send + Sync>),
}

/// The URL does not name a system API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write the proxy's system API as http://HOST:12025 or https://HOST:12025")]
pub struct NotASystemApi;

/// The registration as SRS would send it, with the id of the process that speaks for the origin: this one.
pub(super) fn document(origin: &Origin, instance: &str) -> Value {
    let mut document = json!({
        "ip": origin.ip.to_string(),
        "server": origin.server,
        "service": instance,
        "pid": std::process::id().to_string(),
    });
    if let Some(label) = &origin.device_id {
        document["device_id"] = json!(label);
    }
    let attributes = &origin.attributes;
    if attributes.weight != USUAL_WEIGHT {
        document["weight"] = json!(attributes.weight);
    }
    if let Some(zone) = &attributes.zone {
        document["zone"] = json!(zone);
    }
    if !attributes.labels.is_empty() {
        document["labels"] = json!(attributes.labels);
    }
    let limits = [
        ("max_streams", attributes.max_streams),
        ("max_sessions", attributes.max_sessions),
        ("max_mbps", attributes.max_mbps),
    ];
    for (field, limit) in limits {
        if let Some(limit) = limit {
            document[field] = json!(limit);
        }
    }
    for (field, value) in attributes.naming.written() {
        document[field] = json!(value);
    }
    for service in Service::ALL {
        let endpoints = origin.endpoints.of(service);
        if !endpoints.is_empty() {
            document[service.as_str()] = endpoints
                .iter()
                .map(|endpoint| spell(endpoint, service))
                .collect();
        }
    }
    document
}

/// An endpoint in a form that every reader accepts: the Go proxy understands `udp://:8000` for WebRTC, and otherwise
/// only a bare port.
fn spell(endpoint: &Endpoint, service: Service) -> String {
    if service == Service::Rtc || endpoint.tls {
        return endpoint.to_string();
    }
    match &endpoint.host {
        None => endpoint.port.to_string(),
        Some(host) => Target::plain(host.clone(), endpoint.port).to_string(),
    }
}

async fn post(proxy: &SystemApi, token: &Secret, document: Bytes) -> Result<(), ReportError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&proxy.path)
        .header(HOST, &proxy.authority)
        .header(CONTENT_TYPE, "application/json");
    if !token.is_empty() {
        let bearer = Credential::bearer(token.reveal()).header();
        let bearer = bearer.map_err(|error| ReportError::Broken(error.into()))?;
        request = request.header(AUTHORIZATION, bearer);
    }
    let request = request
        .body(Full::new(document))
        .map_err(|error| ReportError::Broken(error.into()))?;

    let stream = Connector::unrestricted()
        .connect(&proxy.target, TIME_LIMIT)
        .await?;
    let answered = http::once(stream, request).await;
    let response = answered.map_err(|error| ReportError::Broken(error.into()))?;
    let status = response.status();
    let body = http::whole(response.into_body(), LONGEST_ANSWER).await;
    let body = body.map_err(|cut| match cut {
        Cut::Broken(error) => ReportError::Broken(error),
        Cut::TooLong(_) => ReportError::Broken(cut.into()),
    })?;
    judge(status, &body)
}

/// The meaning of an answer: 200 with `"code":0` is a success.
fn judge(status: StatusCode, body: &[u8]) -> Result<(), ReportError> {
    let document: Option<Value> = serde_json::from_slice(body).ok();
    let code = document
        .as_ref()
        .and_then(|document| document.get("code"))
        .and_then(Value::as_i64);
    if status.is_success() {
        return match code {
            Some(0) => Ok(()),
            Some(code) => Err(ReportError::Refused {
                status,
                message: format!("code {code}"),
            }),
            None => Err(ReportError::NotAProxy(status)),
        };
    }
    let said = document
        .as_ref()
        .and_then(|document| document.get("error"))
        .and_then(Value::as_str);
    let text = String::from_utf8_lossy(body);
    let first_line = || text.lines().next().unwrap_or_default();
    let message: String = said
        .unwrap_or_else(first_line)
        .chars()
        .filter(|letter| !letter.is_control())
        .take(LONGEST_MESSAGE)
        .collect();
    Err(match status {
        StatusCode::UNAUTHORIZED => ReportError::Unauthorized { status, message },
        _ => ReportError::Refused { status, message },
    })
}

const REGISTRATION_PATH: &str = "/api/v1/srs/register";
/// How long a proxy may take for one report.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// Maximum bytes of an answer; a proxy answers a report in a few dozen.
const LONGEST_ANSWER: usize = 64 * 1024;
/// Maximum characters of a message for people.
const LONGEST_MESSAGE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_named_by_url() {
        for (cause, text, expected) in [
            (
                "host and port",
                "http://10.0.0.1:12025",
                Some(("10.0.0.1", 12025, REGISTRATION_PATH)),
            ),
            (
                "a slash",
                "http://proxy:12025/",
                Some(("proxy", 12025, REGISTRATION_PATH)),
            ),
            (
                "IPv6",
                "http://[::1]:12025",
                Some(("::1", 12025, REGISTRATION_PATH)),
            ),
            (
                "no port",
                "http://proxy",
                Some(("proxy", 80, REGISTRATION_PATH)),
            ),
            (
                "a path of its own",
                "http://proxy:1/a/b",
                Some(("proxy", 1, "/a/b")),
            ),
            ("no scheme", "proxy:12025", None),
            (
                "TLS",
                "https://proxy",
                Some(("proxy", 443, REGISTRATION_PATH)),
            ),
            ("another scheme", "ftp://proxy:12025", None),
            ("a password", "http://me:secret@proxy:12025", None),
            ("nothing", "", None),
        ] {
            let parsed = text.parse::<SystemApi>().ok();
            let parts = parsed.as_ref().map(|api| {
                (
                    api.target.host.to_string(),
                    api.target.port,
                    api.path.clone(),
                )
            });
            let expected =
                expected.map(|(host, port, path)| (host.to_owned(), port, path.to_owned()));
            assert_eq!(parts, expected, "{cause}: {text}");
        }
    }

    #[test]
    fn answers_are_read_for_people() {
        let sentence = |status: u16, body: &str| {
            judge(StatusCode::from_u16(status).unwrap(), body.as_bytes())
                .map_err(|error| error.to_string())
        };
        assert_eq!(sentence(200, r#"{"code":0,"pid":"7"}"#), Ok(()));
        for (cause, status, body, expected) in [
            (
                "our refusal",
                400,
                r#"{"code":400,"field":"ip","error":"ip: no"}"#,
                "400 Bad Request: ip: no",
            ),
            (
                "the Go proxy's",
                500,
                "empty ip\n{\"code\":0}",
                "500 Internal Server Error: empty ip",
            ),
            ("a code", 200, r#"{"code":100}"#, "200 OK: code 100"),
            (
                "a web page",
                200,
                "<html>",
                "it answered 200 OK, but not as a proxy does: is this the system API?",
            ),
            (
                "a missing token",
                401,
                r#"{"code":401,"error":"a token is asked for"}"#,
                "401 Unauthorized: a token is asked for; give the token with --token or PROXY_HTTP_API_AUTH_TOKEN",
            ),
        ] {
            assert_eq!(sentence(status, body), Err(expected.to_owned()), "{cause}");
        }
    }
}
