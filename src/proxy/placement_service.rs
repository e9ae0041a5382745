//! The outside decision: somebody else is asked where a new stream goes, with a deadline, and is not asked again for a
//! while.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::PlacementKey;
use tokio::time::Instant;
use tracing::warn;

use crate::config::Unanswered;
use crate::origin::connect::Connector;
use crate::origin::fetch;
use crate::sessions::Request;
use crate::value::{NotAUrl, Url};

/// Who is asked, and what is known from before.
#[derive(Debug)]
pub struct PlacementService {
    /// Where the answer comes from; what is wanted stands in its query.
    pub url: String,
    /// Reaches it.
    pub connector: Connector,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long one is kept.
    pub keep: Duration,
    /// What a missing one is taken for.
    pub unanswered: Unanswered,
    /// Answers, and until when they hold. A std mutex: it is held for a few lines and never across an await.
    pub kept: Mutex<HashMap<AnswerKey, (Instant, ServiceAnswer)>>,
}

/// What an answer is about: the stream, and the name of the action.
pub type AnswerKey = (PlacementKey, &'static str);

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceAnswer {
    /// It is placed as usual.
    Allow,
    /// It is refused, in these words.
    Deny(String),
    /// It goes there, or nowhere.
    Goes(OriginId),
}

/// The document: `{"allow": true}`, `{"allow": false, "reason": "…"}` or `{"origin": "ID"}`.
#[derive(Deserialize)]
struct Document {
    allow: Option<bool>,
    reason: Option<String>,
    origin: Option<String>,
}

impl PlacementService {
    /// What is to become of a request for a stream that is nowhere yet.
    pub async fn ask(&self, key: &PlacementKey, request: &Request) -> ServiceAnswer {
        let name = (key.clone(), request.action.as_str());
        if let Some(answer) = self.known(&name) {
            return answer;
        }
        match self.fetch(request).await {
            Ok(answer) => {
                self.keep(name, answer.clone());
                answer
            }
            Err(error) => {
                warn!(stream = %request.stream, error, "nobody said where the stream goes");
                match self.unanswered {
                    Unanswered::Allow => ServiceAnswer::Allow,
                    Unanswered::Deny => ServiceAnswer::Deny("nobody said where it goes".to_owned()),
                }
            }
        }
    }

    async fn fetch(&self, request: &Request) -> Result<ServiceAnswer, String> {
        let url = self.question(request).map_err(|error| error.to_string())?;
        let body = fetch::get(&self.connector, &url, None, self.timeout, LONGEST_ANSWER)
            .await
            .map_err(|error| error.to_string())?;
        let document: Document = serde_json::from_slice(&body)
            .map_err(|_| "its answer is not the document it should be".to_owned())?;
        match document {
            Document {
                allow: Some(false),
                reason,
                ..
            } => {
                let reason = reason.unwrap_or_else(|| "it is not allowed".to_owned());
                let readable = reason.chars().filter(|letter| !letter.is_control());
                Ok(ServiceAnswer::Deny(readable.take(LONGEST_REASON).collect()))
            }
            Document {
                origin: Some(origin),
                ..
            } => Ok(ServiceAnswer::Goes(OriginId::from(origin))),
            Document {
                allow: Some(true), ..
            } => Ok(ServiceAnswer::Allow),
            Document { .. } => Err("its answer says neither allow nor origin".to_owned()),
        }
    }

    fn question(&self, request: &Request) -> Result<Url, NotAUrl> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query
            .append_pair("stream", &request.stream.to_string())
            .append_pair("action", request.action.as_str())
            .append_pair("protocol", request.protocol.as_str())
            .append_pair("client", &request.client.ip().to_string());
        let mark = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{mark}{}", self.url, query.finish()).parse()
    }

    fn known(&self, name: &AnswerKey) -> Option<ServiceAnswer> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, answer) = kept.get(name)?;
        (Instant::now() < *until).then(|| answer.clone())
    }

    fn keep(&self, name: AnswerKey, answer: ServiceAnswer) {
        if self.keep.is_zero() {
            return;
        }
        let now = Instant::now();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MOST_KEPT {
            kept.retain(|_, (until, _)| now < *until);
        }
        if kept.len() < MOST_KEPT {
            kept.insert(name, (now + self.keep, answer));
        }
    }
}

/// Bytes of an answer.
const LONGEST_ANSWER: usize = 16 * 1024;
/// Letters of a reason that a client is told.
const LONGEST_REASON: usize = 200;
/// Answers kept: as many streams as a large fleet starts in ten seconds; beyond it, answers are asked for again.
const MOST_KEPT: usize = 10_000;
