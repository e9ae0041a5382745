//! One order, from the account to the certificate.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use sluicegate_core::cluster::acme::{self as kept, Sealed};
use sluicegate_core::renewal::Window;
use tokio::time::sleep;
use tracing::debug;

use super::client::Client;
use super::shared::{Answer, Shared};
use super::shelf::{Shelf, ShelfError};
use crate::config::{self, Challenge};
use crate::net::tls::{Challenges, Pending};

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    /// Another proxy orders one, which was not seen before. Nothing has failed.
    #[error("another proxy orders it")]
    Anothers,
    /// A key or a request could not be made.
    #[error("a request could not be made: {0}")]
    Made(#[from] rcgen::Error),
    /// The server knows other ways only.
    #[error("the server does not offer {0} for this name (acme.challenge)")]
    NoSuchChallenge(&'static str),
    /// It named a time that ends before it begins.
    #[error("the server names no time for the renewal")]
    NoTime,
    /// The server looked, and did not find what it should.
    #[error("the server could not validate the name: {0}")]
    NotValidated(String),
    /// The server refused, or does not answer.
    #[error("{0}")]
    Server(String),
    /// What was issued cannot be kept, or cannot be used.
    #[error(transparent)]
    Shelf(#[from] ShelfError),
    /// It took too long.
    #[error("the order was not done in time")]
    Slow,
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        match error {
            Error::Timeout(_) => Self::Slow,
            error => Self::Server(error.to_string()),
        }
    }
}

/// What is ordered.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The name that the certificate is for.
    pub(super) name: &'a str,
    /// The certificate that it is to take the place of (RFC 9773 §5).
    pub(super) replaces: Option<&'a CertificateIdentifier<'static>>,
    /// How the name is shown to be ours.
    pub(super) challenge: Challenge,
}

/// What a server says of the renewal of a certificate (RFC 9773 §4.2).
pub(super) struct Said {
    pub(super) window: Window,
    /// It wants to be asked again after that time.
    pub(super) retry_after: Duration,
    /// Where people read why.
    pub(super) explanation: Option<String>,
}

/// When the server wants the certificate `id` to be renewed.
pub(super) async fn window(
    account: &Account,
    id: &CertificateIdentifier<'static>,
) -> Result<Said, OrderError> {
    let (info, retry_after) = account.renewal_info(id).await?;
    let suggested = info.suggested_window;
    let [start, end] = [suggested.start, suggested.end].map(|at| at.unix_timestamp());
    Ok(Said {
        window: Window::new(start, end).ok_or(OrderError::NoTime)?,
        retry_after,
        explanation: info.explanation_url,
    })
}

/// The account that is kept, if there is one.
pub(super) async fn kept_account(
    shelf: &Shelf,
    client: Client,
) -> Result<Option<Account>, OrderError> {
    let Some(credentials) = shelf.account().await? else {
        return Ok(None);
    };
    let builder = Account::builder_with_http(Box::new(client));
    Ok(Some(builder.from_credentials(credentials).await?))
}

/// The account that is kept, or a new one.
pub(super) async fn account(
    shelf: &Shelf,
    client: impl Fn() -> Client,
    settings: &config::Acme,
) -> Result<Account, OrderError> {
    if let Some(kept) = kept_account(shelf, client()).await? {
        return Ok(kept);
    }
    let builder = Account::builder_with_http(Box::new(client()));
    let contact: Vec<String> = settings
        .email
        .iter()
        .map(|address| format!("mailto:{address}"))
        .collect();
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: settings.accept_terms,
        only_return_existing: false,
    };
    let created = builder.create(&wanted, settings.directory.clone(), None);
    let (account, credentials) = created.await?;
    shelf.keep_account(&credentials).await?;
    Ok(account)
}

/// The certificate that is wanted: its chain and its key, both in PEM. The server may ask the proxies that keep `shared` with
/// this one, too.
pub(super) async fn order(
    account: &Account,
    wanted: Wanted<'_>,
    challenges: &Arc<Challenges>,
    shared: Option<&Shared>,
) -> Result<(String, String), OrderError> {
    let Wanted {
        name, challenge, ..
    } = wanted;
    let mut order = begin(account, wanted).await?;
    let met = Meeting {
        name,
        challenge,
        challenges,
        shared,
    };
    let told = met.begin(&mut order).await?;
    let ready = order.poll_ready(&polling()).await;
    for told in told {
        met.end(told).await;
    }
    match ready {
        Ok(OrderStatus::Ready) => {}
        Ok(_) | Err(Error::Api(_)) => return Err(why_not(&mut order, challenge).await),
        Err(error) => return Err(error.into()),
    }
    let key = KeyPair::generate()?;
    let mut wanted = CertificateParams::new([name.to_owned()])?;
    wanted.distinguished_name = DistinguishedName::new();
    let request = wanted.serialize_request(&key)?;
    order.finalize_csr(request.der()).await?;
    let chain = order.poll_certificate(&polling()).await?;
    Ok((chain, key.serialize_pem()))
}

/// An order. A server need not know of replacements, and may hold that a certificate was replaced already: then it is one like
/// any other.
async fn begin(account: &Account, wanted: Wanted<'_>) -> Result<Order, OrderError> {
    let names = [Identifier::Dns(wanted.name.to_owned())];
    if let Some(replaced) = wanted.replaces {
        let order = NewOrder::new(&names).replaces(replaced.clone());
        match account.new_order(&order).await {
            Ok(order) => return Ok(order),
            Err(error) => {
                debug!(name = wanted.name, %error, "the order names no certificate that it replaces");
            }
        }
    }
    Ok(account.new_order(&NewOrder::new(&names)).await?)
}

/// The server's questions about a name.
struct Meeting<'a> {
    name: &'a str,
    challenge: Challenge,
    challenges: &'a Arc<Challenges>,
    shared: Option<&'a Shared>,
}

/// An answer that is ready here, and as the other proxies were told it.
type Ready = (Pending, Option<Sealed<kept::Challenge>>);

impl Meeting<'_> {
    /// Has an answer ready for each question of the server, and tells it to ask.
    async fn begin(&self, order: &mut Order) -> Result<Vec<Ready>, OrderError> {
        let mut ready = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let Some(mut asked) = authorization.challenge(kind(self.challenge)) else {
                return Err(OrderError::NoSuchChallenge(self.challenge.as_str()));
            };
            let key = asked.key_authorization();
            let answer = match self.challenge {
                Challenge::Http => Answer::Http {
                    token: asked.token.clone(),
                    answer: key.as_str().to_owned(),
                },
                Challenge::TlsAlpn => Answer::TlsAlpn {
                    digest: key.digest().as_ref().to_vec(),
                },
            };
            let pending = answer.give(self.name, self.challenges)?;
            let told = match self.shared {
                Some(shared) => Some(self.tell(shared, &answer).await?),
                None => None,
            };
            ready.push((pending, told));
            asked.set_ready().await?;
        }
        Ok(ready)
    }

    /// Tells the other proxies what the server is to find, unless another one's answer takes its place: then they give that,
    /// and the server, which counts what it cannot validate, is not to ask for ours.
    async fn tell(
        &self,
        shared: &Shared,
        answer: &Answer,
    ) -> Result<Sealed<kept::Challenge>, OrderError> {
        let told = shared.tell(self.name, answer).await?;
        sleep(HEARD_WITHIN).await;
        match shared.told(self.name).await? {
            Some((known, _)) if known != told => Err(OrderError::Anothers),
            Some(_) | None => Ok(told),
        }
    }

    /// The server has asked.
    async fn end(&self, (pending, told): Ready) {
        if let (Some(shared), Some(told)) = (self.shared, &told) {
            shared.untell(self.name, told).await;
        }
        drop(pending);
    }
}

/// What the server says of a name that it did not validate.
async fn why_not(order: &mut Order, challenge: Challenge) -> OrderError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let asked = authorization.challenges.iter();
        let mut asked = asked.filter(|asked| asked.r#type == kind(challenge));
        if let Some(problem) = asked.find_map(|asked| asked.error.as_ref()) {
            return OrderError::NotValidated(problem.to_string());
        }
    }
    OrderError::NotValidated("it gives no reason".to_owned())
}

const fn kind(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http => ChallengeType::Http01,
        Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
    }
}

fn polling() -> RetryPolicy {
    RetryPolicy::new()
        .initial_delay(FIRST_LOOK)
        .timeout(DONE_WITHIN)
}

/// How long the other proxies may take to hear of an answer: they look every [`LOOK`](super::LOOK).
const HEARD_WITHIN: Duration = Duration::from_secs(5);
const FIRST_LOOK: Duration = Duration::from_millis(500);
/// How long a server may take to validate, or to issue.
const DONE_WITHIN: Duration = Duration::from_secs(120);
