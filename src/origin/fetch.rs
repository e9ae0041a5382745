//! Fetches a small document over HTTP/1.1 or HTTPS, with a deadline and a bound.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, SERVER};
use hyper::http::request::Builder;
use hyper::{Method, Request, StatusCode};
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::inventory;

use crate::config::Credential;
use crate::net::http::status_words;
use crate::net::wire::Wire;
use crate::origin::connect::Connector;
use crate::origin::http::{self, Cut};
use crate::value::{Secret, Url};

/// Why a document did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The exchange broke off.
    #[error("the answer broke off")]
    Broken,
    /// The token is no text that a header can carry.
    #[error("the token holds other than printable ASCII characters")]
    NotAToken,
    /// The server answered with a redirect, which nobody follows here.
    #[error("it answered {}, and redirects are not followed: the address has to be the one that it leads to", status_words(*.0))]
    Redirect(StatusCode),
    /// The server answered with a status that comes with no document.
    #[error("it answered {}", status_words(*.0))]
    Status(StatusCode),
    /// Nothing came in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The document is longer than allowed.
    #[error("its answer is longer than {0} bytes")]
    TooLong(usize),
    /// The connection failed.
    #[error("{}", crate::origin::probe::plain(.0))]
    Unreachable(#[from] io::Error),
}

/// The document at `url`, which has `time_limit` to arrive whole and at most `most` bytes.
///
/// # Errors
/// [`FetchError`], also for any status that comes with no document.
pub async fn get(
    connector: &Connector,
    url: &Url,
    token: Option<&Secret>,
    time_limit: Duration,
    most: usize,
) -> Result<Bytes, FetchError> {
    let (status, body) = ask(connector, Method::GET, url, token, time_limit, most).await?;
    match status {
        StatusCode::NO_CONTENT => Err(FetchError::Status(status)),
        _ if status.is_success() => Ok(body),
        _ if status.is_redirection() => Err(FetchError::Redirect(status)),
        _ => Err(FetchError::Status(status)),
    }
}

/// What came of asking an origin's API for a page.
#[derive(Debug)]
pub struct Page {
    /// The kind of server that it says that it is.
    pub software: Option<Dialect>,
    /// The page, or why it did not come.
    pub body: Result<Bytes, FetchError>,
}

/// The page at `url` of an origin's API, with the same bounds. It is asked with `credential`, if there is one.
pub async fn page(
    connector: &Connector,
    url: &Url,
    credential: Option<&Credential>,
    time_limit: Duration,
    most: usize,
) -> Page {
    let no_page = |error| Page {
        software: None,
        body: Err(error),
    };
    let mut request = to(Method::GET, url);
    if let Some(credential) = credential {
        let Ok(value) = credential.header() else {
            return no_page(FetchError::NotAToken);
        };
        request = request.header(AUTHORIZATION, value);
    }
    match within(connector, url, request, Bytes::new(), time_limit, most).await {
        Ok(Fetched {
            status,
            server,
            body,
            ..
        }) => {
            let server = server.as_ref().and_then(|server| server.to_str().ok());
            let failed = status.is_client_error() || status.is_server_error();
            Page {
                software: inventory::software(server, &body),
                body: if failed {
                    Err(FetchError::Status(status))
                } else {
                    Ok(body)
                },
            }
        }
        Err(error) => no_page(error),
    }
}

/// The status and the body of the answer to a request without a body, with the same bounds.
///
/// # Errors
/// [`FetchError`], for no status.
pub async fn ask(
    connector: &Connector,
    method: Method,
    url: &Url,
    token: Option<&Secret>,
    time_limit: Duration,
    most: usize,
) -> Result<(StatusCode, Bytes), FetchError> {
    let mut request = to(method, url);
    if let Some(token) = token {
        let bearer = Credential::bearer(token.reveal()).header();
        request = request.header(AUTHORIZATION, bearer.map_err(|_| FetchError::NotAToken)?);
    }
    let fetched = within(connector, url, request, Bytes::new(), time_limit, most).await?;
    Ok((fetched.status, fetched.body))
}

/// The answer to a POST, with the same bounds. A redirect is an answer like any other.
///
/// # Errors
/// [`FetchError`], for no status.
pub async fn post(
    connector: &Connector,
    url: &Url,
    content_type: &'static str,
    body: String,
    time_limit: Duration,
    most: usize,
) -> Result<Fetched, FetchError> {
    let request = to(Method::POST, url).header(CONTENT_TYPE, content_type);
    within(connector, url, request, body.into(), time_limit, most).await
}

/// An answer.
#[derive(Debug)]
pub struct Fetched {
    /// Its status.
    pub status: StatusCode,
    /// Where it leads to, which nobody follows here.
    pub location: Option<HeaderValue>,
    /// Its body.
    pub body: Bytes,
    server: Option<HeaderValue>,
}

fn to(method: Method, url: &Url) -> Builder {
    Request::builder()
        .method(method)
        .uri(url.path())
        .header(HOST, url.target().to_string())
        .header(ACCEPT, "application/json, */*")
}

async fn within(
    connector: &Connector,
    url: &Url,
    request: Builder,
    body: Bytes,
    time_limit: Duration,
    most: usize,
) -> Result<Fetched, FetchError> {
    let request = request
        .body(Full::new(body))
        .map_err(|_| FetchError::Broken)?;
    let connect = async {
        let connected = connector.connect(url.target(), time_limit).await;
        connected.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => FetchError::Silent(time_limit),
            _ => FetchError::Unreachable(error),
        })
    };
    tokio::time::timeout(time_limit, exchange(connect, request, most))
        .await
        .unwrap_or(Err(FetchError::Silent(time_limit)))
}

async fn exchange(
    connect: impl Future<Output = Result<Wire, FetchError>>,
    request: Request<Full<Bytes>>,
    most: usize,
) -> Result<Fetched, FetchError> {
    let stream = connect.await?;
    let broken = |_| FetchError::Broken;
    let response = http::once(stream, request).await.map_err(broken)?;
    let status = response.status();
    let server = response.headers().get(SERVER).cloned();
    let location = response.headers().get(LOCATION).cloned();
    match http::whole(response.into_body(), most).await {
        Ok(body) => Ok(Fetched {
            status,
            location,
            body,
            server,
        }),
        Err(Cut::TooLong(most)) => Err(FetchError::TooLong(most)),
        Err(Cut::Broken(_)) => Err(FetchError::Broken),
    }
}

/// `text` as a part of a path or a query (RFC 3986 §2.1).
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_http_and_shown_without_its_query() {
        let rows = [
            (
                "a whole one",
                "http://10.0.0.1:8080/a?key=1",
                Some("http://10.0.0.1:8080/a"),
            ),
            (
                "the default port",
                "http://list.example/",
                Some("http://list.example:80/"),
            ),
            (
                "no path",
                "http://list.example",
                Some("http://list.example:80/"),
            ),
            (
                "IPv6",
                "http://[2001:db8::1]:9/a",
                Some("http://[2001:db8::1]:9/a"),
            ),
            (
                "TLS",
                "https://list.example/",
                Some("https://list.example:443/"),
            ),
            ("another scheme", "ftp://list.example/", None),
            ("credentials", "http://a:b@list.example/", None),
            ("no host", "/a", None),
        ];
        for (cause, text, expected) in rows {
            let url = text.parse::<Url>().map(|url| url.to_string()).ok();
            assert_eq!(url.as_deref(), expected, "{cause}");
        }
    }
}
