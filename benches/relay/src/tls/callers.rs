//! Those who call a relay: players and shakers of hands, with TLS or without.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rcgen::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{
    ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore, version,
};

use super::{Count, here};
use crate::wire;

/// Calls one relay.
#[derive(Clone)]
pub(super) struct Caller {
    port: u16,
    tls: Option<(TlsConnector, Vec<u8>)>,
}

/// What players got.
#[derive(Default)]
pub(super) struct Watched {
    pub(super) bytes: Count,
    /// Of some players: milliseconds from the origin's write to their read.
    latencies: Mutex<Vec<f64>>,
}

impl Watched {
    /// The latencies that were seen since this was asked last.
    pub(super) fn take_latencies(&self) -> Vec<f64> {
        std::mem::take(&mut *self.latencies.lock().expect("nobody panics with it"))
    }
}

/// What a player reads from and writes to.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Caller {
    /// Calls the relay at `port`, over TLS if there is a certificate to believe.
    pub(super) fn new(port: u16, root: Option<&[u8]>) -> Result<Self> {
        let tls = match root {
            Some(root) => Some((connector(root, Resumption::disabled())?, root.to_vec())),
            None => None,
        };
        Ok(Self { port, tls })
    }

    /// Another one, which has tickets of its own if it is to use any.
    pub(super) fn again(&self, resumes: bool) -> Result<Self> {
        let (_, root) = self.tls.as_ref().context("tickets need TLS")?;
        let resumption = if resumes {
            Resumption::in_memory_sessions(8)
        } else {
            Resumption::disabled()
        };
        Ok(Self {
            port: self.port,
            tls: Some((connector(root, resumption)?, root.clone())),
        })
    }

    async fn socket(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect(here(self.port)).await?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    async fn secure(&self, tls: &TlsConnector) -> Result<TlsStream<TcpStream>> {
        let stream = tls.connect(name(), self.socket().await?).await?;
        let (_, session) = stream.get_ref();
        let suite = session.negotiated_cipher_suite().map(|suite| suite.suite());
        let group = session.negotiated_key_exchange_group();
        let agreed = session.protocol_version() == Some(ProtocolVersion::TLSv1_3)
            && suite == Some(cipher_suite::TLS13_AES_128_GCM_SHA256.suite())
            && group.is_some_and(|group| group.name() == NamedGroup::X25519);
        if !agreed {
            bail!("the relay agreed on something else: {suite:?}, {group:?}");
        }
        Ok(stream)
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>> {
        Ok(match &self.tls {
            None => Box::new(self.socket().await?),
            Some((tls, _)) => Box::new(self.secure(tls).await?),
        })
    }

    /// Shakes hands and leaves; says whether a ticket was used.
    pub(super) async fn shake(&self) -> Result<bool> {
        let (tls, _) = self.tls.as_ref().context("handshakes need TLS")?;
        let mut stream = self.secure(tls).await?;
        let kind = stream.get_ref().1.handshake_kind();
        // The server's tickets come after the handshake, and are looked at by a read.
        let deadline = Instant::now() + TICKETS;
        while stream.get_ref().1.tls13_tickets_received() == 0 {
            if Instant::now() > deadline {
                bail!("no ticket came");
            }
            let _ = timeout(LOOK_AGAIN, stream.read(&mut [0; 1])).await;
        }
        Ok(kind == Some(HandshakeKind::Resumed))
    }

    /// Plays, and counts what comes, until the relay ends it.
    pub(super) async fn watch(
        &self,
        stream: usize,
        watched: &Watched,
        is_timed: bool,
    ) -> Result<()> {
        let mut socket = self.connect().await?;
        let request = format!("GET /live/bench{stream}.flv HTTP/1.1\r\nHost: bench\r\n\r\n");
        socket.write_all(request.as_bytes()).await?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = socket.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            watched.bytes.fetch_add(count as u64, Ordering::Relaxed);
            if is_timed {
                let seen = wire::latencies(buffer.get(..count).unwrap_or_default());
                let mut latencies = watched.latencies.lock().expect("nobody panics with it");
                latencies.extend(seen);
            }
        }
    }
}

/// Writes a certificate and its key (ECDSA P-256) into one file; returns the certificate.
pub(super) fn certificate(file: &Path) -> Result<Vec<u8>> {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
    fs::write(
        file,
        format!("{}{}", cert.pem(), signing_key.serialize_pem()),
    )?;
    Ok(cert.der().to_vec())
}

/// A client of one cipher suite of TLS 1.3 and one key exchange, which believes `root`.
pub(super) fn client(root: &[u8], resumption: Resumption) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec()))?;
    let mut provider = default_provider();
    provider.cipher_suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256];
    provider.kx_groups = vec![kx_group::X25519];
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Ok(config)
}

fn connector(root: &[u8], resumption: Resumption) -> Result<TlsConnector> {
    Ok(TlsConnector::from(Arc::new(client(root, resumption)?)))
}

pub(super) fn name() -> ServerName<'static> {
    ServerName::try_from(NAME).expect("a name")
}

const NAME: &str = "bench.example";
const TICKETS: Duration = Duration::from_secs(2);
/// How long a read waits for what does not come: nothing was asked for.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
