//! TLS for clients and origins that speak their protocol in the clear: certificates, and ports that pass everything on
//! encrypted, or decrypted.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    PublicKeyData, SanType, SerialNumber,
};
use tokio::io::{AsyncReadExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::{WantsServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// An authority, and a directory for what it signs.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: tempfile::TempDir,
}

/// What one client trusts and shows.
#[derive(Clone)]
pub(crate) struct Trust(Arc<ClientConfig>);

/// A port that passes what comes in on to another one over TLS.
pub(crate) struct Bridge {
    pub(crate) at: SocketAddr,
    passing: JoinHandle<()>,
}

/// A port that takes TLS and passes on in the clear, as a terminator before an origin does.
pub(crate) struct Door {
    pub(crate) at: SocketAddr,
    /// The lines that came before TLS.
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
    passing: JoinHandle<()>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name = named("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// Writes a certificate for `host` and its key into the directory as `name.crt` and `name.key`.
    pub(crate) fn sign(&self, name: &str, host: &str) -> (PathBuf, PathBuf) {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.certificate(host, 1, &key);
        (
            self.write(&format!("{name}.crt"), &certificate.pem()),
            self.write(&format!("{name}.key"), &key.serialize_pem()),
        )
    }

    /// The same; it begins to hold tomorrow.
    pub(crate) fn sign_for_later(&self, name: &str, host: &str) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        let day = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let tomorrow = now.expect("after 1970") + day;
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + tomorrow;
        params.not_after = params.not_before + day;
        let certificate = params.signed_by(&key, &self.issuer);
        self.write(
            &format!("{name}.crt"),
            &certificate.expect("a certificate").pem(),
        );
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    /// The certificate of the authority itself, in a file.
    pub(crate) fn own(&self) -> PathBuf {
        self.write("authority.crt", &self.issuer.pem())
    }

    /// A list of revoked certificates with these serial numbers, in a file.
    pub(crate) fn revoke(&self, serials: &[u64]) -> PathBuf {
        let revoked = serials.iter().map(|serial| rcgen::RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2026, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = rcgen::CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(4000, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        self.write("revoked.crl", &list.pem().expect("text"))
    }

    /// The settings of a proxy with a certificate for localhost.
    pub(crate) fn settings(&self) -> String {
        let (certificate, key) = self.sign("server", "localhost");
        format!(
            "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
            certificate.display(),
            key.display()
        )
    }

    /// The same, as lines that begin with their section.
    pub(crate) fn dotted(&self) -> String {
        let (certificate, key) = self.sign("server", "localhost");
        format!("tls.certificate = {certificate:?}\ntls.key = {key:?}\n")
    }

    /// A client that trusts this authority and shows nothing.
    pub(crate) fn trusted(&self) -> Trust {
        self.trusted_for(&[])
    }

    /// The same; it offers `protocols` by ALPN.
    pub(crate) fn trusted_for(&self, protocols: &[&str]) -> Trust {
        let mut config = ClientConfig::builder()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        Trust(Arc::new(config))
    }

    /// A client that shows a certificate of this authority with this name and number, and trusts `server`.
    pub(crate) fn client_of(&self, server: &Self, host: &str, serial: u64) -> Trust {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.certificate(host, serial, &key);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ClientConfig::builder()
            .with_root_certificates(server.roots())
            .with_client_auth_cert(vec![certificate.der().clone()], key)
            .expect("they fit");
        Trust(Arc::new(config))
    }

    /// A certificate for `host` and somebody's `key`, in PEM: it holds since yesterday for 90 days, and says who signed it.
    pub(crate) fn issue(&self, host: &str, serial: u64, key: &impl PublicKeyData) -> String {
        let name = vec![host.to_owned()];
        let mut params = CertificateParams::new(name).expect("a name");
        params.distinguished_name = named(host);
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        let day = Duration::from_secs(24 * 60 * 60);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let yesterday = now.expect("after 1970") - day;
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + yesterday;
        params.not_after = params.not_before + 90 * day;
        let signed = params.signed_by(key, &self.issuer);
        signed.expect("a certificate").pem()
    }

    /// A port with a certificate of this authority for `host`, before `to`.
    pub(crate) async fn door(&self, host: &str, to: SocketAddr) -> Door {
        let config = ServerConfig::builder().with_no_client_auth();
        self.door_with(config, host, to).await
    }

    /// The same; who comes has to show a certificate of `clients`.
    pub(crate) async fn door_for(&self, clients: &Self, host: &str, to: SocketAddr) -> Door {
        let verifier = WebPkiClientVerifier::builder(Arc::new(clients.roots()));
        let verifier = verifier.build().expect("an authority");
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        self.door_with(config, host, to).await
    }

    async fn door_with(
        &self,
        config: ConfigBuilder<ServerConfig, WantsServerCert>,
        host: &str,
        to: SocketAddr,
    ) -> Door {
        let key = KeyPair::generate().expect("a key");
        let certificate = self.certificate(host, 1, &key);
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = config.with_single_cert(vec![certificate.der().clone()], key);
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("they fit")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&lines);
        let passing = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    let client = line_before_tls(client, &told).await;
                    if let Ok(mut client) = acceptor.accept(client).await
                        && let Ok(mut origin) = TcpStream::connect(to).await
                    {
                        let _ = copy_bidirectional(&mut client, &mut origin).await;
                    }
                });
            }
        });
        Door { at, lines, passing }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn certificate(&self, host: &str, serial: u64, key: &KeyPair) -> rcgen::Certificate {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        let name = host.try_into().expect("a name");
        params.subject_alt_names.push(match host.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if host.contains("://") => SanType::URI(name),
            Err(_) => SanType::DnsName(name),
        });
        if host == EXPIRED {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
            params.not_before = rcgen::date_time_ymd(2019, 1, 1);
        }
        params.distinguished_name = named(host);
        params.serial_number = Some(SerialNumber::from(serial));
        params.signed_by(key, &self.issuer).expect("a certificate")
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        roots
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.directory().join(name);
        fs::write(&file, text).expect("a file");
        file
    }
}

/// The subject of a certificate. OpenSSL takes one whose issuer has the same for signed by itself.
fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

impl Trust {
    /// The same; it speaks this version of TLS alone.
    pub(crate) fn speaking(self, version: &'static SupportedProtocolVersion) -> Self {
        let mut config = ClientConfig::builder_with_protocol_versions(&[version])
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols.clone_from(&self.0.alpn_protocols);
        Self(Arc::new(config))
    }

    /// A connection to `at` that asks for localhost.
    pub(crate) async fn connect(&self, at: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
        let socket = TcpStream::connect(at).await?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::clone(&self.0))
            .connect(name, socket)
            .await
    }

    /// A port of this machine that passes everything on to `to`. A connection whose handshake fails is closed.
    pub(crate) async fn bridge(&self, to: SocketAddr) -> Bridge {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let trust = self.clone();
        let passing = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let trust = trust.clone();
                tokio::spawn(async move {
                    if let Ok(mut server) = trust.connect(to).await {
                        let _ = copy_bidirectional(&mut client, &mut server).await;
                    }
                });
            }
        });
        Bridge { at, passing }
    }
}

/// Reads a line that comes before TLS, byte by byte so that nothing of TLS is lost.
async fn line_before_tls(mut client: TcpStream, told: &Mutex<Vec<String>>) -> TcpStream {
    const HANDSHAKE: u8 = 0x16;
    let mut line = Vec::new();
    let mut next = [0];
    while !line.ends_with(b"\n")
        && matches!(client.peek(&mut next).await, Ok(1))
        && (next != [HANDSHAKE] || !line.is_empty())
        && client.read_exact(&mut next).await.is_ok()
    {
        line.extend(next);
    }
    if !line.is_empty() {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        told.lock().expect("a test").push(line);
    }
    client
}

/// A host whose certificates are over.
pub(crate) const EXPIRED: &str = "expired.test";

impl Drop for Door {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.passing.abort();
    }
}
