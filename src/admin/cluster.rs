//! Answers for the whole cluster: what this proxy knows, and what the others say when they are asked the same.
//!
//! All proxies are asked at once, each for itself alone, and have [`TIME_LIMIT`] to answer. A proxy that does not is named in
//! the answer, which is marked as partial then: an operator must not take a part for the whole.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::future::join_all;
use hyper::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{System, problem};
use crate::api::{Envelope, Missing, Scope};
use crate::cluster::{Peer, PeerQuestion};
use crate::net::http::status_words;

/// The query of most requests.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct ScopeQuery {
    #[serde(default)]
    pub(super) scope: Scope,
}

/// What the other proxies said.
#[derive(Debug)]
pub(super) struct OtherAnswers<T> {
    /// The document of each, or the status that it answered with instead.
    pub(super) answers: Vec<(String, Result<T, StatusCode>)>,
    /// Who said nothing, and why.
    pub(super) missing: Vec<Missing>,
}

impl<T> OtherAnswers<T> {
    /// The documents, each with the proxy that has it, and who is missing then.
    pub(super) fn documents(mut self) -> (Vec<(String, T)>, Vec<Missing>) {
        let mut documents = Vec::new();
        for (proxy, answer) in self.answers {
            match answer {
                Ok(document) => documents.push((proxy, document)),
                Err(status) => self.missing.push(answered(proxy, status)),
            }
        }
        (documents, self.missing)
    }
}

impl System {
    /// What this proxy is called by the others; `None` where there are none.
    pub(super) fn own_id(&self) -> Option<&str> {
        self.proxy.cluster().map(|cluster| cluster.id())
    }

    /// The other proxies, if they are to be asked.
    pub(super) fn peers(&self, scope: Scope) -> Vec<Peer> {
        match self.proxy.cluster() {
            Some(cluster) if scope == Scope::Cluster => cluster.peers(),
            _ => Vec::new(),
        }
    }

    /// Asks every other proxy the same, each for itself.
    pub(super) async fn ask_all<T: DeserializeOwned + Send + 'static>(
        &self,
        scope: Scope,
        method: Method,
        path: &str,
    ) -> OtherAnswers<T> {
        let peers = self.peers(scope);
        let asked = peers
            .iter()
            .map(|peer| self.ask_for(peer, method.clone(), path));
        let mut said = OtherAnswers {
            answers: Vec::new(),
            missing: Vec::new(),
        };
        for (peer, answer) in peers.iter().zip(join_all(asked).await) {
            let proxy = peer.id.clone();
            match answer {
                Ok(answer) => said.answers.push((proxy, answer)),
                Err(why) => said.missing.push(Missing { proxy, why }),
            }
        }
        said
    }

    /// Asks one other proxy for a document: that, or the status that it answered with instead.
    async fn ask_for<T: DeserializeOwned + Send + 'static>(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
    ) -> Result<Result<T, StatusCode>, String> {
        let (status, body) = self.exchange(peer, method, path).await?;
        if !status.is_success() {
            return Ok(Err(status));
        }
        let answer: Envelope<T> = read(body).await?;
        Ok(Ok(answer.data))
    }

    /// Asks one other proxy for an answer that goes on as it is.
    pub(super) async fn ask(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Value), String> {
        let (status, body) = self.exchange(peer, method, path).await?;
        Ok((status, read(body).await?))
    }

    async fn exchange(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Bytes), String> {
        let Some(cluster) = self.proxy.cluster() else {
            return Err("it has no store, so it knows no other proxy".to_owned());
        };
        let question = PeerQuestion {
            method,
            path: path.to_owned(),
            time_limit: TIME_LIMIT,
            longest: LONGEST_ANSWER,
        };
        cluster.ask(self.proxy.connector(), peer, question).await
    }
}

/// Reads a document, which may be long, beside the workers.
async fn read<T: DeserializeOwned + Send + 'static>(body: Bytes) -> Result<T, String> {
    let read = tokio::task::spawn_blocking(move || serde_json::from_slice(&body).ok()).await;
    let document = read.ok().flatten();
    document.ok_or_else(|| "its answer is not the JSON that is read here".to_owned())
}

/// A proxy whose answer is no document.
pub(super) fn answered(proxy: String, status: StatusCode) -> Missing {
    Missing {
        proxy,
        why: format!("it answered {}", status_words(status)),
    }
}

/// The answer of another proxy, as it goes on.
pub(super) fn passed(answer: Result<(StatusCode, Value), String>, proxy: &str) -> Response {
    match answer {
        Ok((status, document)) => (status, axum::Json(document)).into_response(),
        Err(why) => problem(
            StatusCode::BAD_GATEWAY,
            &format!("proxy {proxy} cannot be asked: {why}"),
        ),
    }
}

/// Each proxy has so long. The whole answer has to be out within the time of a request.
const TIME_LIMIT: Duration = Duration::from_secs(2);
/// Bytes of one proxy's table: a hundred thousand sessions.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
