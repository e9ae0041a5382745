//! What an origin answers over HTTP to the pull of a stream: those of its viewers who speak HTTP too hear the same.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, DATE, ETAG, HeaderName, HeaderValue, LAST_MODIFIED, LOCATION, SET_COOKIE, VARY,
};
use hyper::{HeaderMap, Response, StatusCode};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use tokio::time::timeout;
use tracing::info;

use super::Wanted;
use crate::net::http::status_words;
use crate::net::{cors, head};
use crate::origin::http::{AnswerBody, whole};
use crate::proxy::Refusal;

/// The head of an origin's answer to a pull, as far as it is for every viewer, and the page of one that says no.
#[derive(Debug)]
pub struct Said {
    /// Who answered.
    pub origin: OriginId,
    /// Whether the stream is granted, or why not.
    pub status: StatusCode,
    /// What it says besides. How a body is framed is not in it.
    pub headers: HeaderMap,
    /// The page of a no.
    pub page: Bytes,
    /// Where a redirect leads.
    location: Option<HeaderValue>,
}

impl Said {
    /// Reads an answer of `origin`. `Ok` has the body of one that grants the stream. `is_private` says that it was asked for
    /// with what not every viewer has shown: then only what cannot tell of that is kept.
    pub(super) async fn of(
        origin: OriginId,
        response: Response<AnswerBody>,
        is_private: bool,
    ) -> Result<(Self, AnswerBody), Self> {
        let said = Self {
            origin,
            status: response.status(),
            headers: for_all(response.status(), response.headers().clone(), is_private),
            page: Bytes::new(),
            location: response.headers().get(LOCATION).cloned(),
        };
        if said.status.is_success() {
            return Ok((said, response.into_body()));
        }
        let page = match is_private {
            true => Bytes::new(),
            false => page(response.into_body()).await,
        };
        Err(Self { page, ..said })
    }

    /// Where it leads as a redirect.
    pub(super) fn location(&self) -> Option<&str> {
        self.location.as_ref()?.to_str().ok()
    }

    /// The refusal that it is.
    pub(super) fn refusal(&self) -> Refusal {
        Refusal::Refused {
            origin: self.origin.clone(),
            description: status_words(self.status),
        }
    }
}

/// Why a stream is not pulled.
#[derive(Debug, Clone)]
pub(super) struct No {
    pub(super) refusal: Refusal,
    /// The same in an origin's own words.
    pub(super) said: Option<Arc<Said>>,
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        let said = None;
        Self { refusal, said }
    }
}

impl From<Arc<Said>> for No {
    fn from(said: Arc<Said>) -> Self {
        // A redirect to a place that is for nobody else leads nowhere.
        let leads = !said.status.is_redirection() || said.headers.contains_key(LOCATION);
        Self {
            refusal: said.refusal(),
            said: leads.then_some(said),
        }
    }
}

impl No {
    /// What becomes of those who wait for the first answer to a pull that is over.
    pub(super) fn of_end(wanted: &Wanted, origin: OriginId, end: LegEnd) -> Self {
        let stream = wanted.stream.clone();
        let tried = vec![(origin, end.as_str().to_owned())];
        Refusal::AllFailed { stream, tried }.into()
    }
}

/// What is known of the answer to a pull.
#[derive(Debug, Clone)]
pub(super) enum Greeting {
    /// An origin that lives holds it back.
    Awaited,
    /// The origin was asked by another protocol: viewers over HTTP are greeted in our words.
    Ours,
    Refused(No),
    Said(Arc<Said>),
}

/// The headers of an answer that are for every viewer.
fn for_all(status: StatusCode, headers: HeaderMap, is_private: bool) -> HeaderMap {
    let mut headers = head::for_client(status, headers).unwrap_or_else(|error| {
        info!(%error, "viewers of a shared pull get none of its origin's headers");
        HeaderMap::new()
    });
    let is_for_all = |name: &HeaderName| {
        let is_harmless = cors::is_about(name) || HARMLESS.contains(name);
        !OF_ONE_ANSWER.contains(name) && (is_harmless || !is_private)
    };
    let others = headers.keys().filter(|name| !is_for_all(name));
    let others: Vec<HeaderName> = others.cloned().collect();
    for name in others {
        headers.remove(name);
    }
    headers
}

/// The page of a no, if it comes in time and is not too long.
async fn page(body: AnswerBody) -> Bytes {
    let page = timeout(PAGE_WITHIN, whole(body, MAX_PAGE)).await;
    page.ok().and_then(Result::ok).unwrap_or_default()
}

/// Headers that speak of the bytes or the moment of one answer, or to the one who asked. Viewers begin with other bytes.
const OF_ONE_ANSWER: [HeaderName; 12] = [
    ACCEPT_RANGES,
    AGE,
    HeaderName::from_static("content-digest"),
    CONTENT_LENGTH,
    HeaderName::from_static("content-md5"),
    CONTENT_RANGE,
    DATE,
    HeaderName::from_static("digest"),
    ETAG,
    LAST_MODIFIED,
    HeaderName::from_static("repr-digest"),
    SET_COOKIE,
];
/// Headers that tell nothing of what an origin was asked with.
const HARMLESS: [HeaderName; 6] = [
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_TYPE,
    HeaderName::from_static("cross-origin-resource-policy"),
    HeaderName::from_static("timing-allow-origin"),
    VARY,
];
/// Bytes of the longest page of a no that is kept for those who wait.
const MAX_PAGE: usize = 64 * 1024;
/// How long it may take to come.
const PAGE_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_viewer_reaches_no_other() {
        let said = [
            ("access-control-allow-origin", "https://app.example"),
            ("connection", "close"),
            ("content-length", "5"),
            ("content-type", "video/x-flv"),
            ("etag", "\"1\""),
            ("server", "nginx"),
            ("set-cookie", "id=1"),
            ("x-session", "1"),
        ];
        let headers = said.map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let headers: HeaderMap = headers.into_iter().collect();
        let public = ["access-control-allow-origin", "content-type"];
        for (is_private, others) in [(false, &["server", "x-session"][..]), (true, &[])] {
            let kept = for_all(StatusCode::OK, headers.clone(), is_private);
            let mut names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, [&public, others].concat(), "{is_private}");
        }
    }
}
