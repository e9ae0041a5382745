//! What the proxies of a cluster keep together, in the store that they share: sealed under the cluster's key, so that a
//! reader of the store has no key of a certificate.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};
use sluicegate_core::cluster::acme::{Account, Certificate, Challenge, Kept, Lease, Seal, Sealed};
use sluicegate_core::cluster::records::{self as forms, Record};

use super::ORDER_WITHIN;
use super::shelf::ShelfError;
use crate::cluster::Cluster;
use crate::net::tls::{Challenges, Pending};
use crate::pem::{Files, Loaded};
use crate::random;
use crate::store::{Store, StoreError, records};

/// What is kept of one ACME server in the store.
#[derive(Debug)]
pub(super) struct Shared {
    cluster: Arc<Cluster>,
    seal: Seal,
    /// The server's directory. What another one issued is not used.
    directory: String,
}

/// What an ACME server is to find.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// At a path, over HTTP.
    Http {
        /// The end of the path.
        token: String,
        /// The text there.
        answer: String,
    },
    /// In a handshake.
    TlsAlpn {
        /// What its certificate states.
        digest: Vec<u8>,
    },
}

impl Answer {
    /// Gives it to clients that ask about `name`, until what is returned is dropped.
    pub(super) fn give(
        &self,
        name: &str,
        challenges: &Arc<Challenges>,
    ) -> Result<Pending, rcgen::Error> {
        Ok(match self {
            Self::Http { token, answer } => challenges.answer_with(token, answer),
            Self::TlsAlpn { digest } => challenges.show(name, digest)?,
        })
    }
}

impl Shared {
    /// What `cluster` keeps of the server at `directory`, sealed under `keys`; `None` without a key.
    pub(super) fn new(cluster: Arc<Cluster>, keys: &[&[u8]], directory: String) -> Option<Self> {
        Some(Self {
            cluster,
            seal: Seal::new(keys)?,
            directory,
        })
    }

    /// The account, if there is one.
    pub(super) async fn account(&self) -> Result<Option<AccountCredentials>, ShelfError> {
        let Some(text) = self.get::<Account>(&self.directory).await? else {
            return Ok(None);
        };
        let read = serde_json::from_str(&text);
        Ok(Some(read.map_err(|_| ShelfError::Unreadable)?))
    }

    pub(super) async fn keep_account(
        &self,
        credentials: &AccountCredentials,
    ) -> Result<(), ShelfError> {
        let text = serde_json::to_string(credentials).unwrap_or_default();
        self.put::<Account>(&self.directory, &text, ACCOUNT_LASTS)
            .await?;
        Ok(())
    }

    /// The certificate for `name` as it is kept: its chain and its key, both in PEM.
    pub(super) async fn text(&self, name: &str) -> Result<Option<String>, ShelfError> {
        let text = self.get::<Certificate>(name).await?;
        let is_ours = |text: &String| text.lines().next() == Some(&self.first_line());
        Ok(text.filter(is_ours))
    }

    /// What such a text holds.
    pub(super) fn read(name: &str, text: &str) -> Result<Loaded, ShelfError> {
        let place = Files {
            certificate: PLACE.into(),
            key: PLACE.into(),
            names: vec![name.to_owned()],
        };
        Ok(place.read(text.as_bytes(), text.as_bytes())?)
    }

    /// Keeps a certificate that can be used, and returns it as it is kept.
    pub(super) async fn keep(
        &self,
        name: &str,
        chain: &str,
        key: &str,
    ) -> Result<(String, Loaded), ShelfError> {
        let text = format!("{}\n{}\n{key}", self.first_line(), chain.trim_end());
        let loaded = Self::read(name, &text)?;
        self.keep_text(name, &text).await?;
        Ok((text, loaded))
    }

    /// Keeps a certificate again that the store has lost.
    pub(super) async fn keep_text(&self, name: &str, text: &str) -> Result<(), ShelfError> {
        self.put::<Certificate>(name, text, CERTIFICATE_LASTS)
            .await?;
        Ok(())
    }

    /// Whether this proxy is to order a certificate for `name` now: no other one does.
    pub(super) async fn lease(&self, name: &str) -> Result<bool, ShelfError> {
        let (key, own) = self.own_lease(name)?;
        let store = self.cluster.store();
        let claim = store.claim(&key, None, &own, LEASE_LASTS).await;
        Ok(claim?.won)
    }

    /// The order is over; the next one may be another proxy's.
    pub(super) async fn release(&self, name: &str) {
        if let Ok((key, own)) = self.own_lease(name) {
            // It ends by itself otherwise.
            let _ = self.cluster.store().remove(&key, &own).await;
        }
    }

    fn own_lease(&self, name: &str) -> Result<(String, String), StoreError> {
        let own = Lease {
            proxy: self.cluster.id().into(),
        };
        Ok((forms::key::<Lease>(name)?, forms::write(&own)?))
    }

    /// Tells the other proxies what the server is to find that asks about `name`.
    pub(super) async fn tell(
        &self,
        name: &str,
        answer: &Answer,
    ) -> Result<Sealed<Challenge>, ShelfError> {
        let text = serde_json::to_string(answer).unwrap_or_default();
        self.put(name, &text, ORDER_WITHIN).await
    }

    /// The server asks no more.
    pub(super) async fn untell(&self, name: &str, told: &Sealed<Challenge>) {
        // It ends by itself otherwise.
        let _ = records::remove(self.cluster.store(), name, told).await;
    }

    /// What is told of `name` now, and what it says.
    pub(super) async fn told(
        &self,
        name: &str,
    ) -> Result<Option<(Sealed<Challenge>, Answer)>, ShelfError> {
        let store = self.cluster.store();
        let Some(sealed) = records::get::<Sealed<Challenge>>(store, name).await? else {
            return Ok(None);
        };
        let plain = self.seal.open(name, &sealed);
        let plain = plain.ok_or(ShelfError::Foreign)?;
        let answer = serde_json::from_slice(&plain);
        Ok(Some((sealed, answer.map_err(|_| ShelfError::Unreadable)?)))
    }

    async fn get<K: Kept>(&self, name: &str) -> Result<Option<String>, ShelfError>
    where
        Sealed<K>: Record,
    {
        let store = self.cluster.store();
        let Some(sealed) = records::get::<Sealed<K>>(store, name).await? else {
            return Ok(None);
        };
        let plain = self.seal.open(name, &sealed).ok_or(ShelfError::Foreign)?;
        let text = String::from_utf8(plain).map_err(|_| ShelfError::Unreadable)?;
        Ok(Some(text))
    }

    async fn put<K: Kept>(
        &self,
        name: &str,
        text: &str,
        ttl: Duration,
    ) -> Result<Sealed<K>, ShelfError>
    where
        Sealed<K>: Record,
    {
        let sealed = self.seal.seal::<K>(name, text.as_bytes(), random::bytes());
        records::put(self.cluster.store(), name, &sealed, ttl).await?;
        Ok(sealed)
    }

    /// The server that issued the certificate of a text, as its first line.
    fn first_line(&self) -> String {
        format!("# {}", self.directory)
    }
}

/// What stands for the name of a file in words about a certificate.
const PLACE: &str = "the store";
/// An order that goes on for longer is given up by the proxy that has the lease.
const LEASE_LASTS: Duration = Duration::from_secs(ORDER_WITHIN.as_secs() + 30);
const DAY: u64 = 24 * 60 * 60;
/// Certificates hold for 398 days at most, and each proxy writes again what the store has lost.
const CERTIFICATE_LASTS: Duration = Duration::from_secs(398 * DAY);
/// An account is written again with a new one, if a proxy finds none.
const ACCOUNT_LASTS: Duration = Duration::from_secs(3_650 * DAY);
