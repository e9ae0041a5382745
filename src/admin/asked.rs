//! What a request of the system API asks, read so that a mistake is told as everything else there is: in the API's JSON, with the
//! field named.

use axum::extract::{FromRequest, FromRequestParts, Request, rejection};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use crate::api::Problem;

/// The query of a request.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

/// What the path of a request names.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

/// The body of a request.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

/// A mistake in a request.
#[derive(Debug)]
pub(super) struct Mistake(Problem);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Mistake;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Mistake> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        let axum::extract::Query(asked) = read?;
        Ok(Self(asked))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Mistake;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Mistake> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        let axum::extract::Path(named) = read?;
        Ok(Self(named))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Mistake;

    async fn from_request(request: Request, state: &S) -> Result<Self, Mistake> {
        let read = axum::Json::from_request(request, state).await;
        let axum::Json(document) = read?;
        Ok(Self(document))
    }
}

impl From<rejection::QueryRejection> for Mistake {
    fn from(rejected: rejection::QueryRejection) -> Self {
        Self::of(rejected.status(), &rejected.body_text())
    }
}

impl From<rejection::PathRejection> for Mistake {
    fn from(rejected: rejection::PathRejection) -> Self {
        Self::of(rejected.status(), &rejected.body_text())
    }
}

impl From<rejection::JsonRejection> for Mistake {
    fn from(rejected: rejection::JsonRejection) -> Self {
        Self::of(rejected.status(), &rejected.body_text())
    }
}

impl Mistake {
    /// The mistake that a library tells with `text`.
    fn of(status: StatusCode, text: &str) -> Self {
        let (field, words) = plain(text);
        Self(Problem {
            code: status.as_u16(),
            error: words,
            field,
            ..Problem::default()
        })
    }
}

impl IntoResponse for Mistake {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::BAD_REQUEST);
        (status, axum::Json(self.0)).into_response()
    }
}

/// The field that a reader's words are about, and the same in plain words: `missing field `x`` and `x: invalid digit found in
/// string` are what serde has to say.
fn plain(text: &str) -> (Option<String>, String) {
    let said = LEADS.iter().find_map(|lead| text.strip_prefix(lead));
    let said = said.unwrap_or(text);
    let quoted = |lead: &str| {
        let (_, rest) = said.split_once(lead)?;
        rest.split('`').next().filter(|field| is_field(field))
    };
    if let Some(field) = quoted("missing field `") {
        return (Some(field.to_owned()), format!("{field}: this is missing"));
    }
    if let Some(field) = quoted("duplicate field `") {
        return (
            Some(field.to_owned()),
            format!("{field}: this is given twice"),
        );
    }
    match said.split_once(": ").filter(|(field, _)| is_field(field)) {
        Some((field, why)) => {
            let why = match why {
                "cannot parse integer from empty string" | "invalid digit found in string" => {
                    "not a whole number"
                }
                "number too large to fit in target type" => "this number is too large",
                "provided string was not `true` or `false`" => "write true or false",
                other => other,
            };
            (Some(field.to_owned()), format!("{field}: {why}"))
        }
        None => (None, said.to_owned()),
    }
}

fn is_field(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !text.is_empty() && text.chars().all(is_letter)
}

/// How axum begins.
const LEADS: [&str; 4] = [
    "Failed to deserialize query string: ",
    "Failed to deserialize the JSON body into the target type: ",
    "Failed to parse the request body as JSON: ",
    "Invalid URL: ",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Asked {
        #[serde(rename = "for")]
        _period: String,
        #[serde(default, rename = "minutes")]
        _minutes: u64,
        #[serde(default, rename = "end_viewers")]
        _ends: bool,
    }

    #[tokio::test]
    async fn a_mistake_names_its_field_in_plain_words() {
        let rows = [
            ("nothing", "", "for", "for: this is missing"),
            ("twice", "for=1s&for=2s", "for", "for: this is given twice"),
            (
                "letters for a number",
                "for=1s&minutes=x",
                "minutes",
                "minutes: not a whole number",
            ),
            (
                "no number",
                "for=1s&minutes=",
                "minutes",
                "minutes: not a whole number",
            ),
            (
                "too much",
                "for=1s&minutes=99999999999999999999",
                "minutes",
                "minutes: this number is too large",
            ),
            (
                "neither true nor false",
                "for=1s&end_viewers=maybe",
                "end_viewers",
                "end_viewers: write true or false",
            ),
        ];
        for (cause, query, field, words) in rows {
            let request = Request::builder()
                .uri(format!("/x?{query}"))
                .body(())
                .unwrap();
            let (mut parts, ()) = request.into_parts();
            let read = Query::<Asked>::from_request_parts(&mut parts, &()).await;
            let Mistake(problem) = read.expect_err(cause);
            assert_eq!(problem.code, 400, "{cause}");
            assert_eq!(problem.field.as_deref(), Some(field), "{cause}");
            assert_eq!(problem.error, words, "{cause}");
        }
    }
}
