//! TLS on the way out: whom this proxy believes where it connects, and what it shows there.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use sluicegate_core::fleet::origin::{Host, Security, Target};
use tokio::net::TcpStream;
use tracing::{info, warn};

use super::entrance::VERSIONS;
use super::handshake::HandshakeError;
use super::stream::TlsStream;
use crate::file_stamp::FileStamp;
use crate::pem::{FileError, ServerAuthority, provider};

/// Shakes hands with servers. Its files are read when they are first needed, and again when they change.
#[derive(Debug, Default)]
pub struct Trust {
    authority: ServerAuthority,
    // Held while files are read: others need what they hold, too.
    known: Mutex<Option<Known>>,
    /// Targets of which it was said that nobody verifies them.
    unverified: Mutex<BTreeSet<Target>>,
}

/// What the files held.
#[derive(Debug)]
struct Known {
    configs: Configs,
    stamps: Vec<Option<FileStamp>>,
    looked: Instant,
}

#[derive(Debug, Clone)]
struct Configs {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

impl Trust {
    /// Believes those for whom `authority` vouches.
    pub fn new(authority: ServerAuthority) -> Self {
        Self {
            authority,
            ..Self::default()
        }
    }

    /// Shakes hands with `target`, and makes sure that it is what `security` asks for.
    ///
    /// # Errors
    /// Why the other side is not believed, in words for people; any error of the connection.
    pub async fn secure(
        &self,
        stream: TcpStream,
        target: &Target,
        security: &Security,
    ) -> io::Result<TlsStream> {
        let configs = self.configs().map_err(io::Error::other)?;
        let (config, host) = match security {
            Security::Plain | Security::Tls(None) => (configs.verified, &target.host),
            Security::Tls(Some(name)) => (configs.verified, name),
            Security::Unverified => {
                self.note_unverified(target);
                (configs.unverified, &target.host)
            }
        };
        let name = server_name(host)?;
        let shaken = TlsStream::connect(stream, config, name).await;
        shaken.map_err(|error| match error {
            HandshakeError::Closed(error) => {
                let words = format!("it ended the connection in its TLS handshake: {error}");
                io::Error::new(error.kind(), words)
            }
            HandshakeError::Tls(error) => {
                io::Error::new(io::ErrorKind::InvalidData, explained(&error, host))
            }
            error => io::Error::other(error),
        })
    }

    /// What the files hold. They are looked at every two seconds at most; if they cannot be used, what they held before
    /// counts.
    fn configs(&self) -> Result<Configs, FileError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &mut *known {
            if known.looked.elapsed() < LOOK {
                return Ok(known.configs.clone());
            }
            known.looked = Instant::now();
            let now = self.stamps();
            if known.stamps == now {
                return Ok(known.configs.clone());
            }
            known.stamps = now;
            match configs(&self.authority) {
                Ok(configs) => {
                    info!("who vouches for origins and other servers was read again");
                    known.configs = configs;
                }
                Err(error) => warn!(%error, "origins and other servers are verified as before"),
            }
            return Ok(known.configs.clone());
        }
        let stamps = self.stamps();
        let configs = configs(&self.authority)?;
        *known = Some(Known {
            configs: configs.clone(),
            stamps,
            looked: Instant::now(),
        });
        Ok(configs)
    }

    fn stamps(&self) -> Vec<Option<FileStamp>> {
        let stamp = |file: &PathBuf| FileStamp::of(file);
        self.authority.files().map(stamp).collect()
    }

    fn note_unverified(&self, target: &Target) {
        let mut told = self
            .unverified
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_MAX && told.insert(target.clone()) {
            warn!(
                origin = %target,
                "nobody verifies this origin (tls_verify=off): whatever answers there is believed"
            );
        }
    }
}

fn configs(authority: &ServerAuthority) -> Result<Configs, FileError> {
    let roots = authority.load()?;
    let shown = authority.identity()?;
    let config = |verifier: Arc<dyn ServerCertVerifier>| {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("ring has suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        Arc::new(match &shown {
            Some(key) => {
                let key = SingleCertAndKey::from(Arc::clone(key));
                builder.with_client_cert_resolver(Arc::new(key))
            }
            None => builder.with_no_client_auth(),
        })
    };
    Ok(Configs {
        verified: config(verifier(roots)),
        unverified: config(Arc::new(Anybody(provider()))),
    })
}

fn verifier(roots: RootCertStore) -> Arc<dyn ServerCertVerifier> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .expect("there is an authority, and there are no revocations")
}

fn server_name(host: &Host) -> io::Result<ServerName<'static>> {
    match host {
        Host::Ip(ip) => Ok(ServerName::IpAddress((*ip).into())),
        Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| {
            let words = format!("{name} is no name that a certificate can be for");
            io::Error::new(io::ErrorKind::InvalidInput, words)
        }),
    }
}

/// Why the server of `host` is not believed, and what an operator can do.
fn explained(error: &Error, host: &Host) -> String {
    let Error::InvalidCertificate(problem) = error else {
        return match error {
            Error::InvalidMessage(_) => "it does not speak TLS there".to_owned(),
            error => format!("TLS: {error}"),
        };
    };
    match problem {
        // The second: by an authority that only has the name of one that is.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is signed by nobody who is trusted here (tls.authorities)".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for {host} (origins.attributes, tls_name=)")
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate is over".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate holds only from a later day on".to_owned()
        }
        problem => format!("its certificate cannot be believed: {problem}"),
    }
}

/// Believes everybody, for origins that an operator exempts. The other side still has to have the key of what it shows.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Targets that are kept to say something of each once: more than fleets have.
const TOLD_MAX: usize = 1000;
