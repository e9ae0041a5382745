//! Orders certificates from an ACME server (RFC 8555) for the names in the settings, keeps them in a directory, and renews
//! them. Names come from the settings alone: what clients ask for orders nothing.
//!
//! | file | what it does |
//! | --- | --- |
//! | `client` | the server's HTTP, over the one client that this proxy has |
//! | `order` | one order, from the account to the certificate |
//! | `schedule` | when a certificate is renewed, and when a failed order is tried again |
//! | `shelf` | the directory: the account, and a certificate with its key for each name |

mod client;
mod order;
mod schedule;
mod shelf;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use self::client::Client;
use self::order::OrderError;
use self::shelf::Shelf;
use crate::config;
use crate::net::tls::{Certificates, Challenges, Trust};
use crate::origin::connect::Connector;
use crate::pem::Loaded;
use crate::unix_time;

/// Gets certificates, and keeps them fresh.
#[derive(Debug)]
pub struct Acme {
    settings: config::Acme,
    shelf: Shelf,
    certificates: Arc<Certificates>,
    challenges: Arc<Challenges>,
    connector: Connector,
}

/// A name, and when something is to be done for it.
#[derive(Debug)]
pub struct Entry {
    name: String,
    /// In seconds since 1970.
    due: i64,
    /// Orders in a row that came to nothing.
    failures: u32,
}

impl Acme {
    /// Puts certificates for the names of `settings` into `certificates`, and answers the server by `challenges`.
    pub fn new(
        settings: config::Acme,
        certificates: Arc<Certificates>,
        challenges: Arc<Challenges>,
    ) -> Self {
        let trust = Arc::new(Trust::new(settings.servers.clone()));
        Self {
            shelf: Shelf::new(settings.keep_in.clone(), settings.directory.clone()),
            connector: Connector::unrestricted().believing(trust),
            settings,
            certificates,
            challenges,
        }
    }

    /// Shows the certificates of before, and orders what is missing or due, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut entries = self.restore();
        loop {
            let now = now();
            let next = entries.iter_mut().min_by_key(|entry| entry.due);
            let Some(entry) = next else {
                return;
            };
            match u64::try_from(entry.due - now) {
                // Looked at again now and then, because clocks are set.
                Ok(wait) if wait > 0 => sleep(Duration::from_secs(wait).min(LOOK_AGAIN)).await,
                _ => self.renew(entry).await,
            }
        }
    }

    /// Shows what the directory holds.
    pub fn restore(&self) -> Vec<Entry> {
        let restored = self.settings.names.iter().map(|name| {
            let due = match self.shelf.certificate(name) {
                Ok(Some(kept)) => {
                    let due = schedule::renewal(kept.not_before, kept.not_after);
                    self.certificates.hold(name, kept);
                    due
                }
                Ok(None) => 0,
                Err(error) => {
                    warn!(name, %error, "the kept certificate cannot be used; a new one is ordered");
                    0
                }
            };
            Entry {
                name: name.clone(),
                due,
                failures: 0,
            }
        });
        restored.collect()
    }

    async fn renew(&self, entry: &mut Entry) {
        let name = &entry.name;
        let ordered = timeout(ORDER_WITHIN, self.order(name)).await;
        match ordered.unwrap_or(Err(OrderError::Slow)) {
            Ok(ordered) => {
                info!(name, "certificate issued");
                entry.due = schedule::renewal(ordered.not_before, ordered.not_after);
                entry.failures = 0;
                self.certificates.hold(name, ordered);
            }
            Err(error) => {
                entry.failures += 1;
                let wait = schedule::back_off(entry.failures, random());
                warn!(
                    name,
                    %error,
                    minutes = wait.as_secs() / 60,
                    "no certificate was issued; it is tried again"
                );
                entry.due = now() + i64::try_from(wait.as_secs()).unwrap_or(i64::MAX / 2);
            }
        }
    }

    async fn order(&self, name: &str) -> Result<Loaded, OrderError> {
        let client = Client::new(self.connector.clone());
        let account = order::account(&self.shelf, client, &self.settings).await?;
        let issued = order::order(&account, name, self.settings.challenge, &self.challenges);
        let (chain, key) = issued.await?;
        Ok(self.shelf.keep(name, &chain, &key)?)
    }
}

fn now() -> i64 {
    i64::try_from(unix_time::seconds()).unwrap_or(i64::MAX / 2)
}

/// Without randomness, proxies that failed together come again together; it is no secret.
fn random() -> u32 {
    let mut bytes = [0; 4];
    let _ = getrandom::fill(&mut bytes);
    u32::from_ne_bytes(bytes)
}

/// How long an order may take: servers validate within seconds, and some let one wait.
const ORDER_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How often the clock is looked at while nothing is due.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);
