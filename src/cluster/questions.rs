//! What proxies of one cluster ask each other over their system APIs, and by what they know each other there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::{Method, StatusCode};
use serde::de::DeserializeOwned;
use sluicegate_core::cluster::peers::token;

use super::{Cluster, Peer};
use crate::api::Envelope;
use crate::net::http::status_words;
use crate::origin::connect::Connector;
use crate::origin::fetch;
use crate::value::{Secret, Url};

/// How proxies of one cluster know each other.
#[derive(Debug)]
pub struct PeerAccess {
    /// What they share, and this one shows the others.
    key: Secret,
    /// What the others show here, of each key.
    own: Vec<Secret>,
}

/// What is asked of another proxy.
#[derive(Debug, Clone)]
pub(crate) struct PeerQuestion {
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path: String,
    /// How long all of it may take, from the connection to the last byte.
    pub(crate) time_limit: Duration,
    /// How many bytes the answer may have.
    pub(crate) longest: usize,
}

impl PeerAccess {
    /// Of the proxy that is called `id`, with what `cluster.key` says; `None` without a key.
    pub fn new(keys: &[Secret], id: &str) -> Option<Self> {
        let own = |key: &Secret| Secret::new(token(key.reveal().as_bytes(), id));
        Some(Self {
            key: keys.first()?.clone(),
            own: keys.iter().map(own).collect(),
        })
    }

    /// What the others show here.
    pub(crate) fn own(&self) -> &[Secret] {
        &self.own
    }

    /// What to show the proxy that is called `id`.
    fn token_for(&self, id: &str) -> Secret {
        Secret::new(token(self.key.reveal().as_bytes(), id))
    }
}

impl Cluster {
    /// How the proxies of this cluster know each other; `None` where they share no key.
    pub fn access(&self) -> Option<&Arc<PeerAccess>> {
        self.access.as_ref()
    }

    /// Asks one other proxy, for itself alone, for a short document. An error says in words why there is none.
    pub(crate) async fn ask_for<T: DeserializeOwned>(
        &self,
        connector: &Connector,
        peer: &Peer,
        (method, path): (Method, &str),
    ) -> Result<T, String> {
        let question = PeerQuestion {
            method,
            path: path.to_owned(),
            time_limit: TIME_LIMIT,
            longest: SHORT_ANSWER,
        };
        let (status, body) = self.ask(connector, peer, question).await?;
        if !status.is_success() {
            return Err(format!("it answered {}", status_words(status)));
        }
        let read = serde_json::from_slice::<Envelope<T>>(&body);
        let read = read.map_err(|_| "its answer is not the JSON that is read here".to_owned())?;
        Ok(read.data)
    }

    /// Asks one other proxy, for itself alone. An error says in words why there is no answer.
    pub(crate) async fn ask(
        &self,
        connector: &Connector,
        peer: &Peer,
        question: PeerQuestion,
    ) -> Result<(StatusCode, Bytes), String> {
        let Some(access) = &self.access else {
            return Err("cluster.key is not set, so proxies cannot ask each other".to_owned());
        };
        let Some(target) = &peer.record.system else {
            return Err("it has no address for others (system.advertise)".to_owned());
        };
        let separator = match question.path.contains('?') {
            true => '&',
            false => '?',
        };
        let path = format!("{}{separator}scope=local", question.path);
        let url = Url::of(target, &path);
        let token = access.token_for(&peer.id);
        let asked = fetch::ask(
            // The address is checked: anybody who can write to the store could name one, and have the token sent there.
            connector,
            question.method,
            &url,
            Some(&token),
            question.time_limit,
            question.longest,
        )
        .await;
        let (status, body) = asked.map_err(|error| error.to_string())?;
        if status == StatusCode::UNAUTHORIZED {
            return Err("it has another cluster.key".to_owned());
        }
        Ok((status, body))
    }
}

/// How long another proxy has for a short answer, for which a client or a move waits.
const TIME_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of an answer of some words.
const SHORT_ANSWER: usize = 4096;
