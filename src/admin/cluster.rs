//! Answers for the whole cluster: what this proxy knows, and what the others say when they are asked the same.
//!
//! Every proxy is asked at once, for itself alone, and has so much time. Whoever says nothing is named in the answer,
//! which is marked as partial then: an operator must not take a part for the whole.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{System, problem};
use crate::cluster::Peer;
use crate::net::fetch;
use crate::value::Url;

/// Whom a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Scope {
    /// All proxies.
    #[default]
    Cluster,
    /// The one that is asked.
    Local,
}

/// What may stand behind the `?` of most requests.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    pub(super) scope: Scope,
}

/// What the other proxies said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Each with its status and its document.
    pub(super) answers: Vec<(String, StatusCode, Value)>,
    /// Who said nothing, and why.
    pub(super) missing: Vec<(String, String)>,
}

impl Said {
    /// Takes the rows of a list, each with the proxy that has it.
    pub(super) fn take_rows(&mut self, list: &str) -> Vec<(String, Value)> {
        let mut rows = Vec::new();
        for (proxy, status, mut document) in self.answers.drain(..) {
            match document["data"][list].take() {
                Value::Array(theirs) if status.is_success() => {
                    rows.extend(theirs.into_iter().map(|row| (proxy.clone(), row)));
                }
                _ => self.missing.push((proxy, format!("it answered {status}"))),
            }
        }
        rows
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
    pub(super) async fn ask_all(&self, scope: Scope, method: Method, path: &str) -> Said {
        let peers = self.peers(scope);
        let asked = peers
            .iter()
            .map(|peer| self.ask(peer, method.clone(), path));
        let mut said = Said::default();
        for (peer, answer) in peers.iter().zip(join_all(asked).await) {
            match answer {
                Ok((status, document)) => said.answers.push((peer.id.clone(), status, document)),
                Err(why) => said.missing.push((peer.id.clone(), why)),
            }
        }
        said
    }

    /// Asks one other proxy.
    pub(super) async fn ask(
        &self,
        peer: &Peer,
        method: Method,
        path: &str,
    ) -> Result<(StatusCode, Value), String> {
        let Some(access) = &self.access.peers else {
            return Err("cluster.key is not set, so proxies cannot ask each other".to_owned());
        };
        let Some(target) = &peer.record.system else {
            return Err("it has no address for others (system.advertise)".to_owned());
        };
        // Whoever can write to the store could name any address.
        if let Err(error) = self.addresses.check(&target.host) {
            return Err(format!("its address is refused: {error}"));
        }
        let separator = if path.contains('?') { '&' } else { '?' };
        let url = Url::of(target, &format!("{path}{separator}scope=local"));
        let token = access.token_for(&peer.id);
        let asked = fetch::ask(method, &url, Some(&token), PATIENCE, LONGEST_ANSWER).await;
        let (status, body) = asked.map_err(|error| error.to_string())?;
        if status == StatusCode::UNAUTHORIZED {
            return Err("it has another cluster.key".to_owned());
        }
        let read = tokio::task::spawn_blocking(move || serde_json::from_slice(&body).ok()).await;
        let document = read.ok().flatten().ok_or("its answer is not JSON")?;
        Ok((status, document))
    }
}

/// Says of an answer whose part is missing, and what it speaks for.
pub(super) fn marked(mut data: Value, scope: Scope, missing: &[(String, String)]) -> Value {
    let missing: Vec<Value> = missing
        .iter()
        .map(|(proxy, why)| json!({"proxy": proxy, "why": why}))
        .collect();
    data["scope"] = json!(match scope {
        Scope::Cluster => "cluster",
        Scope::Local => "local",
    });
    data["partial"] = json!(!missing.is_empty());
    data["missing"] = Value::Array(missing);
    data
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

/// Adds what is left of a drain elsewhere. It is done when it is everywhere.
pub(super) fn add_drain(ours: &mut Value, theirs: &Value) {
    for count in ["publishers", "players"] {
        ours[count] = json!(number(&ours[count]) + number(&theirs[count]));
    }
    ours["done"] = json!(ours["done"] == true && theirs["done"] == true);
    let later = match (ours["eta_seconds"].as_f64(), theirs["eta_seconds"].as_f64()) {
        (Some(ours), Some(theirs)) => Some(ours.max(theirs)),
        _ => None,
    };
    ours["eta_seconds"] = json!(later);
}

/// A count in a document; 0 where there is none.
pub(super) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Each proxy has so long. The whole answer has to be out within the time of a request.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of one proxy's table: a hundred thousand sessions.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
