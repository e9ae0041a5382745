//! Orders certificates from an ACME server (RFC 8555) for the names in the settings, keeps them in a directory or in the
//! store that proxies share, and renews them: when is core's to say ([`Renewal`]). Names come from the settings alone: what
//! clients ask for orders nothing.
//!
//! | file | what it does |
//! | --- | --- |
//! | `client` | the server's HTTP, over the one client that this proxy has |
//! | `order` | one order, from the account to the certificate |
//! | `shared` | the store: the same for all proxies of a cluster, sealed, and who of them orders |
//! | `shelf` | where an account and certificates are kept; the directory |

mod client;
mod order;
mod shared;
mod shelf;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::{CertificateDer, Der};
use sluicegate_core::certificate::Certificate;
use sluicegate_core::cluster::acme::{Challenge, Sealed};
use sluicegate_core::renewal::{Renewal, back_off, two_thirds};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use self::client::Client;
use self::order::{OrderError, Said, Wanted};
use self::shared::Shared;
use self::shelf::{Folder, Shelf, ShelfError};
use crate::cluster::Cluster;
use crate::config;
use crate::net::tls::{Certificates, Challenges, Pending, Trust};
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
    /// Certificates that are shown, as the store keeps them, by name.
    shown: Mutex<HashMap<String, String>>,
}

/// A name, and what is known of its certificate.
#[derive(Debug)]
pub struct Entry {
    name: String,
    held: Option<Held>,
    /// No order before this second since 1970: one came to nothing, or another proxy is at it.
    wait: i64,
    /// Orders in a row that came to nothing.
    failures: u32,
}

/// The certificate of a name.
#[derive(Debug)]
struct Held {
    renewal: Renewal,
    /// What its server knows it by (RFC 9773 §4.1); a certificate that does not say who signed it has nothing of that kind.
    id: Option<CertificateIdentifier<'static>>,
    /// The certificate itself.
    own: CertificateDer<'static>,
}

/// What is to be done next for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Order,
    Ask,
}

impl Held {
    /// `loaded` is in use since `taken`.
    fn new(loaded: &Loaded, taken: i64) -> Option<Self> {
        let own = loaded.key.cert.first()?.clone();
        let place = random();
        Some(Self {
            renewal: Renewal::new(loaded.not_before, loaded.not_after, taken, place),
            id: id_of(&own),
            own,
        })
    }

    fn is(&self, loaded: &Loaded) -> bool {
        loaded.key.cert.first() == Some(&self.own)
    }
}

impl Entry {
    /// What is to be done, and from which second since 1970 on.
    fn next(&self) -> (i64, Next) {
        let due = self.held.as_ref().map_or(0, |held| held.renewal.due());
        let order = (due.max(self.wait), Next::Order);
        let known = self.held.as_ref().filter(|held| held.id.is_some());
        match known.and_then(|held| held.renewal.ask()) {
            Some(ask) => order.min((ask, Next::Ask)),
            None => order,
        }
    }
}

impl Acme {
    /// Puts certificates for the names of `settings` into `certificates`, and answers the server by `challenges`. `shared`:
    /// the proxies that keep them together with this one, and the keys under which that is sealed.
    pub fn new(
        settings: config::Acme,
        certificates: Arc<Certificates>,
        challenges: Arc<Challenges>,
        shared: Option<(Arc<Cluster>, &[&[u8]])>,
    ) -> Self {
        let trust = Arc::new(Trust::new(settings.servers.clone()));
        let directory = settings.directory.clone();
        let shared =
            shared.and_then(|(cluster, keys)| Shared::new(cluster, keys, directory.clone()));
        let folder = || Folder::new(settings.keep_in.clone(), directory);
        Self {
            shelf: shared.map_or_else(|| Shelf::Folder(folder()), Shelf::Shared),
            connector: Connector::unrestricted().believing(trust),
            settings,
            certificates,
            challenges,
            shown: Mutex::default(),
        }
    }

    /// Shows the certificates of before, and orders what is missing or due, for ever.
    pub async fn run(self: Arc<Self>) {
        match &self.shelf {
            Shelf::Folder(_) => self.keep_fresh().await,
            Shelf::Shared(shared) => {
                tokio::join!(self.keep_fresh(), self.follow(shared));
            }
        }
    }

    async fn keep_fresh(&self) {
        let mut entries = self.restore();
        loop {
            let Some(entry) = entries.iter_mut().min_by_key(|entry| entry.next()) else {
                return;
            };
            let (when, what) = entry.next();
            match (u64::try_from(when.saturating_sub(now())), what) {
                // Looked at again now and then, because clocks are set.
                (Ok(wait), _) if wait > 0 => {
                    sleep(Duration::from_secs(wait).min(LOOK_AGAIN)).await;
                }
                (_, Next::Order) => self.renew(entry).await,
                (_, Next::Ask) => self.ask(entry).await,
            }
        }
    }

    /// Shows what the directory holds. The store is asked later: a proxy that needs a certificate looks there first.
    pub fn restore(&self) -> Vec<Entry> {
        let restored = self.settings.names.iter().map(|name| {
            let kept = match &self.shelf {
                Shelf::Folder(folder) => folder.certificate(name),
                Shelf::Shared(_) => Ok(None),
            };
            let held = match kept {
                Ok(Some(kept)) => {
                    let held = Held::new(&kept, kept.not_before);
                    self.certificates.hold(name, kept);
                    held
                }
                Ok(None) => None,
                Err(error) => {
                    warn!(name, %error, "the kept certificate cannot be used; a new one is ordered");
                    None
                }
            };
            Entry {
                name: name.clone(),
                held,
                wait: 0,
                failures: 0,
            }
        });
        restored.collect()
    }

    async fn renew(&self, entry: &mut Entry) {
        let name = &entry.name;
        match &self.shelf {
            Shelf::Folder(folder) => {
                let ordered = timeout(ORDER_WITHIN, self.order(folder, entry)).await;
                self.note(entry, ordered.unwrap_or(Err(OrderError::Slow)));
            }
            Shelf::Shared(shared) => match shared.lease(name).await {
                Ok(true) => {
                    let ordered = timeout(ORDER_WITHIN, self.order_for_all(shared, entry)).await;
                    shared.release(name).await;
                    self.note(entry, ordered.unwrap_or(Err(OrderError::Slow)));
                }
                // Another proxy is at it.
                Ok(false) => entry.wait = now() + ANOTHERS_TURN,
                Err(error) => {
                    warn!(name, %error, "whether another proxy orders the certificate is not known; it is asked again");
                    entry.wait = now() + ANOTHERS_TURN;
                }
            },
        }
    }

    /// Asks the server when the certificate of a name is to be renewed (RFC 9773), unless another proxy has replaced it.
    async fn ask(&self, entry: &mut Entry) {
        if let Shelf::Shared(shared) = &self.shelf
            && let Ok(Some(text)) = shared.text(&entry.name).await
            && let Ok(kept) = Shared::read(&entry.name, &text)
            && entry.held.as_ref().is_some_and(|held| !held.is(&kept))
        {
            self.note_shown(&entry.name, text);
            self.note(entry, Ok(kept));
            return;
        }
        let Some(held) = &mut entry.held else {
            return;
        };
        let name = &entry.name;
        let asked = timeout(ASK_WITHIN, self.window(held.id.as_ref())).await;
        match asked.unwrap_or(Err(OrderError::Slow)) {
            Ok(Some(said)) => {
                let before = held.renewal.due();
                held.renewal.answered(now(), said.window, said.retry_after);
                let days = (held.renewal.due() - now()) / DAY;
                if held.renewal.due() != before {
                    let why = said.explanation.unwrap_or_default();
                    info!(
                        name,
                        days, why, "the ACME server says when the certificate is to be renewed"
                    );
                }
            }
            Ok(None) => held.renewal.unanswered(now(), random()),
            Err(error) => {
                debug!(name, %error, "the ACME server does not say when the certificate is to be renewed");
                held.renewal.unanswered(now(), random());
            }
        }
    }

    /// What the server says of the certificate `id`; `None` where no account is kept, which knows the server.
    async fn window(
        &self,
        id: Option<&CertificateIdentifier<'static>>,
    ) -> Result<Option<Said>, OrderError> {
        let client = Client::new(self.connector.clone());
        match (id, order::kept_account(&self.shelf, client).await?) {
            (Some(id), Some(account)) => order::window(&account, id).await.map(Some),
            _ => Ok(None),
        }
    }

    /// Takes what became of an order.
    fn note(&self, entry: &mut Entry, ordered: Result<Loaded, OrderError>) {
        let name = &entry.name;
        match ordered {
            Ok(ordered) => {
                entry.held = Held::new(&ordered, now());
                entry.wait = 0;
                entry.failures = 0;
                self.certificates.hold(name, ordered);
            }
            Err(OrderError::Anothers) => {
                debug!(name, "another proxy orders the certificate");
                entry.wait = now() + ANOTHERS_TURN;
            }
            Err(error) => {
                entry.failures += 1;
                let wait = back_off(entry.failures, random());
                warn!(
                    name,
                    %error,
                    minutes = wait.as_secs() / 60,
                    "no certificate was issued; it is tried again"
                );
                entry.wait = now() + i64::try_from(wait.as_secs()).unwrap_or(i64::MAX / 2);
            }
        }
    }

    async fn order(&self, folder: &Folder, entry: &Entry) -> Result<Loaded, OrderError> {
        let name = &entry.name;
        let (chain, key) = self.issue(entry, None).await?;
        let kept = folder.keep(name, &chain, &key)?;
        info!(name, "certificate issued");
        Ok(kept)
    }

    /// The same for all proxies, unless another one has put one there meanwhile.
    async fn order_for_all(&self, shared: &Shared, entry: &Entry) -> Result<Loaded, OrderError> {
        let name = &entry.name;
        if let Some(text) = shared.text(name).await? {
            let kept = Shared::read(name, &text)?;
            let is_to_go = entry.held.as_ref().is_some_and(|held| held.is(&kept));
            if !is_to_go && two_thirds(kept.not_before, kept.not_after) > now() {
                self.note_shown(name, text);
                return Ok(kept);
            }
        }
        let (chain, key) = self.issue(entry, Some(shared)).await?;
        let (text, kept) = shared.keep(name, &chain, &key).await?;
        self.note_shown(name, text);
        info!(name, "certificate issued");
        Ok(kept)
    }

    async fn issue(
        &self,
        entry: &Entry,
        shared: Option<&Shared>,
    ) -> Result<(String, String), OrderError> {
        let client = || Client::new(self.connector.clone());
        let account = order::account(&self.shelf, client, &self.settings).await?;
        let wanted = Wanted {
            name: &entry.name,
            replaces: entry.held.as_ref().and_then(|held| held.id.as_ref()),
            challenge: self.settings.challenge,
        };
        order::order(&account, wanted, &self.challenges, shared).await
    }

    /// Gives the answers that another proxy waits for, and shows the certificates that another one got, for ever.
    async fn follow(&self, shared: &Shared) {
        let mut answers: HashMap<&str, (Sealed<Challenge>, Pending)> = HashMap::new();
        let mut trouble = false;
        for turn in 0_u32.. {
            for name in &self.settings.names {
                let mut followed = self.follow_answer(shared, name, &mut answers).await;
                if turn % CERTIFICATES_EVERY == 0 && followed.is_ok() {
                    followed = self.follow_certificate(shared, name).await;
                }
                if let Err(error) = &followed
                    && !trouble
                {
                    warn!(name, %error, "certificates of other proxies are not known here");
                }
                trouble = followed.is_err();
            }
            sleep(LOOK).await;
        }
    }

    async fn follow_answer<'a>(
        &self,
        shared: &Shared,
        name: &'a str,
        answers: &mut HashMap<&'a str, (Sealed<Challenge>, Pending)>,
    ) -> Result<(), ShelfError> {
        match shared.told(name).await? {
            None => drop(answers.remove(name)),
            Some((sealed, answer)) => {
                let known = answers.get(name).is_some_and(|(known, _)| *known == sealed);
                // Our own are given already, and once more does no harm.
                if !known && let Ok(pending) = answer.give(name, &self.challenges) {
                    answers.insert(name, (sealed, pending));
                }
            }
        }
        Ok(())
    }

    /// Shows the certificate that the store has, or gives the store back what it has lost.
    async fn follow_certificate(&self, shared: &Shared, name: &str) -> Result<(), ShelfError> {
        let shown = self.shown(name);
        match (shared.text(name).await?, shown) {
            (Some(kept), shown) if shown.as_ref() != Some(&kept) => {
                let loaded = Shared::read(name, &kept)?;
                info!(name, "certificate of another proxy taken");
                self.certificates.hold(name, loaded);
                self.note_shown(name, kept);
            }
            (None, Some(shown)) => {
                if Shared::read(name, &shown)?.not_after > now() {
                    shared.keep_text(name, &shown).await?;
                }
            }
            (Some(_) | None, _) => {}
        }
        Ok(())
    }

    fn shown(&self, name: &str) -> Option<String> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.get(name).cloned()
    }

    fn note_shown(&self, name: &str, text: String) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.insert(name.to_owned(), text);
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

/// What an ACME server knows a certificate by (RFC 9773 §4.1).
fn id_of(der: &CertificateDer<'_>) -> Option<CertificateIdentifier<'static>> {
    let read = Certificate::parse(der).ok()?;
    let issuer = read.issuer_key?;
    let id = CertificateIdentifier::new(Der::from_slice(&issuer), Der::from_slice(&read.serial));
    Some(id.into_owned())
}

/// How long an order may take: servers validate within seconds, and some let one wait.
const ORDER_WITHIN: Duration = Duration::from_secs(5 * 60);
/// How long a server may take to say when a certificate is to be renewed.
const ASK_WITHIN: Duration = Duration::from_secs(30);
/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;
/// How often the clock is looked at while nothing is due.
const LOOK_AGAIN: Duration = Duration::from_secs(60 * 60);
/// How often the store is looked at for answers that other proxies wait for: one small read for each name.
const LOOK: Duration = Duration::from_secs(2);
/// Certificates are looked at once in this many looks, so that another proxy shows a new one within ten seconds.
const CERTIFICATES_EVERY: u32 = 5;
/// Seconds until it is seen whether the proxy that orders now has got a certificate.
const ANOTHERS_TURN: i64 = 20;
