//! What one listener asks of its clients in their handshake: which protocols are spoken above TLS, and whether they have to
//! show a certificate.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::NoServerSessionStorage;
use rustls::time_provider::DefaultTimeProvider;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use super::Certificates;
use super::certificates::asked;
use super::handshake::{HandshakeError, Handshakes};
use super::refused::Words;
use super::stream::{Established, TlsStream};
use super::tickets::Tickets;
use crate::file_stamp::FileStamp;
use crate::metrics::{HandshakeLabels, Metrics};
use crate::pem::{ClientAuthority, FileError, FileProblem, provider};

/// The TLS of one listener.
#[derive(Debug)]
pub struct TlsEntrance {
    /// For logs and metrics.
    pub name: &'static str,
    /// What clients hear that come without TLS where it is required.
    words: Words,
    certificates: Arc<Certificates>,
    protocols: &'static [&'static [u8]],
    clients: Option<ClientAuthority>,
    config: RwLock<Arc<ServerConfig>>,
    handshakes: Arc<Handshakes>,
    metrics: Arc<Metrics>,
}

/// What the entrances of one proxy share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What is shown to clients.
    pub certificates: Arc<Certificates>,
    /// Handshakes under way at all entrances.
    pub handshakes: Arc<Handshakes>,
    /// Counts handshakes.
    pub metrics: Arc<Metrics>,
}

impl TlsEntrance {
    /// The entrance of the listener `name`, whose clients may agree on one of `protocols` (ALPN, the preferred one first),
    /// have to show certificates of `clients`, if those are given, and hear `words` where they have to go.
    ///
    /// # Errors
    /// [`FileError`] in the files of `clients`.
    pub fn new(
        name: &'static str,
        shared: Shared,
        words: Words,
        protocols: &'static [&'static [u8]],
        clients: Option<ClientAuthority>,
    ) -> Result<Self, FileError> {
        let config = config(&shared.certificates, protocols, clients.as_ref())?;
        Ok(Self {
            name,
            words,
            certificates: shared.certificates,
            protocols,
            clients,
            config: RwLock::new(Arc::new(config)),
            handshakes: shared.handshakes,
            metrics: shared.metrics,
        })
    }

    /// Shakes hands with a client at `source`, which has sent `early` already and has `time_limit` for the rest.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub async fn shake(
        &self,
        socket: TcpStream,
        early: Vec<u8>,
        source: IpAddr,
        time_limit: Duration,
    ) -> Result<TlsStream, HandshakeError> {
        let shaken = self
            .handshakes
            .shake(socket, early, self.config(), source, time_limit)
            .await;
        let outcome = match &shaken {
            Ok((_, Established::Full)) => "full",
            Ok((_, Established::Resumed)) => "resumed",
            Err(HandshakeError::Closed(_)) => "closed",
            Err(HandshakeError::Crowded) => "crowded",
            Err(HandshakeError::Slow) => "slow",
            Err(HandshakeError::Tls(_)) => "failed",
            Err(HandshakeError::Validated) => "validation",
        };
        let labels = HandshakeLabels {
            listener: self.name,
            outcome,
        };
        self.metrics.tls_handshakes.get_or_create(&labels).inc();
        shaken.map(|(stream, _)| stream)
    }

    /// Whether clients have to show certificates.
    pub const fn wants_certificates(&self) -> bool {
        self.clients.is_some()
    }

    fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses a client that came without TLS and has sent `early`, or leads it to TLS. Returns whether it was refused.
    pub async fn refuse(
        &self,
        socket: &mut TcpStream,
        early: Vec<u8>,
        time_limit: Duration,
    ) -> bool {
        let labels = HandshakeLabels {
            listener: self.name,
            outcome: "plain",
        };
        self.metrics.tls_handshakes.get_or_create(&labels).inc();
        self.words.say(socket, early, time_limit).await
    }

    /// Looks at the files of client authorities every two seconds, and at once on SIGHUP. Who came before stays; tickets of
    /// before are worth nothing, because a certificate may have been revoked since.
    pub async fn keep(&self) {
        let Some(clients) = &self.clients else {
            return;
        };
        let stamps = || -> Vec<(PathBuf, Option<FileStamp>)> {
            let each = |file: &PathBuf| (file.clone(), FileStamp::of(file));
            clients.files().map(each).collect()
        };
        let mut seen = stamps();
        let mut hang_up = signal(SignalKind::hangup()).ok();
        loop {
            let asked = asked(&mut hang_up).await;
            let now = stamps();
            if now == seen && !asked {
                continue;
            }
            seen = now;
            match config(&self.certificates, self.protocols, Some(clients)) {
                Ok(config) => {
                    *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                    info!(
                        listener = self.name,
                        "who vouches for clients was read again"
                    );
                }
                Err(error) => {
                    warn!(listener = self.name, %error, "clients are verified as before");
                }
            }
        }
    }
}

fn config(
    certificates: &Arc<Certificates>,
    protocols: &[&[u8]],
    clients: Option<&ClientAuthority>,
) -> Result<ServerConfig, FileError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .expect("ring has suites for both versions");
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.load()?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(certificates) as _);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    // What a client needs to come back is in its ticket, which outlives a change of certificates: it says nothing of them.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let tickets = Tickets::new(Arc::new(DefaultTimeProvider));
    config.ticketer = Arc::new(tickets.map_err(|error| FileError {
        file: PathBuf::from("/dev/urandom"),
        problem: FileProblem::Unusable(error.to_string()),
    })?);
    Ok(config)
}

pub(super) const VERSIONS: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
