//! The certificates, and the TLS of each listener, by the settings.

use std::sync::Arc;

use rustix::system::uname;
use sluicegate_core::events::Kind;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::StartError;
use super::parts::about;
use crate::acme::Acme;
use crate::config::{ListenerTls, Settings};
use crate::metrics::{CertificateLabel, Metrics};
use crate::net::tls::{Certificates, Challenges, Expiry, Handshakes, Shared, TlsEntrance, Words};
use crate::net::workers;
use crate::proxy::Proxy;

/// The TLS of every listener.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) certificates: Arc<Certificates>,
    pub(super) challenges: Option<Arc<Challenges>>,
    acme: Option<Arc<Acme>>,
    pub(super) rtmp: Arc<TlsEntrance>,
    pub(super) http: Arc<TlsEntrance>,
    pub(super) api: Arc<TlsEntrance>,
    pub(super) system: Arc<TlsEntrance>,
    pub(super) rtsp: Arc<TlsEntrance>,
}

impl Tls {
    /// What `settings` say; `None` without a certificate.
    pub(super) fn new(settings: &Settings, proxy: &Proxy) -> Result<Option<Self>, StartError> {
        let challenges = (!settings.acme.names.is_empty()).then(Arc::<Challenges>::default);
        let Some(certificates) = certificates(settings, challenges.as_ref())? else {
            return Ok(None);
        };
        let certificates = Arc::new(certificates);
        let keys: Vec<&[u8]> = settings
            .cluster
            .keys
            .iter()
            .map(|key| key.reveal().as_bytes())
            .collect();
        let acme = challenges.as_ref().map(|challenges| {
            let cluster = proxy.cluster().filter(|_| settings.acme.in_store);
            let shared = cluster.map(|cluster| (Arc::clone(cluster), keys.as_slice()));
            let (settings, shown) = (settings.acme.clone(), Arc::clone(&certificates));
            let acme = Acme::new(settings, shown, Arc::clone(challenges), shared);
            acme.restore();
            Arc::new(acme)
        });
        let shared = Shared {
            certificates: Arc::clone(&certificates),
            handshakes: Arc::new(Handshakes::new(
                settings.tls.handshakes,
                settings.tls.handshakes_per_source,
                workers::per_core(),
            )),
            metrics: Arc::clone(proxy.metrics()),
        };
        let entrance = |name, listener: &ListenerTls, words, protocols| {
            let clients = listener.clients.clone();
            TlsEntrance::new(name, shared.clone(), words, protocols, clients)
                .map(Arc::new)
                .map_err(|error| StartError::Tls(format!("{name}.client_ca: {error}")))
        };
        let http = |name, listener: &ListenerTls| {
            let own = listener.listen.listen();
            let port = own
                .and_then(|own| own.addresses().first())
                .map(|at| at.port());
            let challenges = challenges.clone();
            let protocols = match challenges {
                Some(_) => HTTP_AND_CHALLENGES,
                None => HTTP,
            };
            entrance(name, listener, Words::Http { port, challenges }, protocols)
        };
        Ok(Some(Self {
            rtmp: entrance("rtmp", &settings.rtmp.tls, Words::Rtmp, &[])?,
            http: http("http", &settings.http.tls)?,
            api: http("api", &settings.api.tls)?,
            system: http("system", &settings.system.tls)?,
            rtsp: entrance("rtsp", &settings.rtsp.tls, Words::Rtsp, &[])?,
            certificates,
            acme,
            challenges,
        }))
    }

    /// Takes what the files hold, whenever they change, until `end`.
    pub(super) fn keep(&self, proxy: &Proxy, end: &CancellationToken) {
        let certificates = Arc::clone(&self.certificates);
        let metrics = Arc::clone(proxy.metrics());
        let keep = async move {
            let mut before = Vec::new();
            certificates
                .keep(|taken| match taken {
                    Ok(expiries) => {
                        note(&metrics, expiries);
                        for new in expiries.iter().filter(|one| !before.contains(*one)) {
                            metrics
                                .journal
                                .note(Kind::Certificate, about(in_words(new)));
                        }
                        before = expiries.to_vec();
                    }
                    Err(error) => {
                        let what = format!("the certificates are kept as they were: {error}");
                        metrics.journal.note(Kind::Certificate, about(what));
                    }
                })
                .await;
        };
        tokio::spawn(end.clone().run_until_cancelled_owned(keep));
        if let Some(acme) = self.acme.clone() {
            tokio::spawn(end.clone().run_until_cancelled_owned(acme.run()));
        }
        for entrance in [&self.rtmp, &self.http, &self.api, &self.system, &self.rtsp] {
            let entrance = Arc::clone(entrance);
            let keep = async move { entrance.keep().await };
            tokio::spawn(end.clone().run_until_cancelled_owned(keep));
        }
    }
}

fn certificates(
    settings: &Settings,
    challenges: Option<&Arc<Challenges>>,
) -> Result<Option<Certificates>, StartError> {
    if settings.tls.self_signed {
        return self_signed(settings).map(Some);
    }
    let files = settings.tls.certificates.clone();
    let loaded = Certificates::load(files);
    let loaded = loaded.map_err(|error| StartError::Tls(error.to_string()))?;
    let Some(challenges) = challenges else {
        return Ok(loaded);
    };
    let certificates = loaded.unwrap_or_default();
    Ok(Some(certificates.with_challenges(Arc::clone(challenges))))
}

/// A certificate that nobody vouches for, for the names that this machine goes by.
fn self_signed(settings: &Settings) -> Result<Certificates, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Tls(error.to_string());
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
    let own = uname().nodename().to_string_lossy().into_owned();
    let advertised = settings.system.advertise.as_ref();
    let others = [Some(own), advertised.map(|at| at.host.to_string())];
    names.extend(others.into_iter().flatten().filter(|name| !name.is_empty()));
    names.dedup();
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let made = Certificates::of_pem("tls.self_signed", certificate.as_bytes(), key.as_bytes())
        .map_err(|error| failed(&error))?;
    info!(
        fingerprint = made.fingerprint().unwrap_or_default(),
        "a certificate was made that holds until the next start; clients have to be told to trust it"
    );
    Ok(made)
}

fn in_words(certificate: &Expiry) -> String {
    let Expiry {
        name, not_after, ..
    } = certificate;
    let until = jiff::Timestamp::from_second(*not_after).map(|end| end.to_string());
    format!(
        "{name} is used, and holds until {}",
        until.unwrap_or_default()
    )
}

/// What the metrics say of certificates.
fn note(metrics: &Metrics, expiries: &[Expiry]) {
    metrics.tls_certificates.clear();
    for Expiry {
        name, not_after, ..
    } in expiries
    {
        let certificate = name.clone();
        let label = CertificateLabel { certificate };
        metrics
            .tls_certificates
            .get_or_create(&label)
            .set(*not_after);
    }
}

/// What clients may speak above TLS where HTTP is served (RFC 7301).
const HTTP: &[&[u8]] = &[b"h2", b"http/1.1"];
/// The same, and what an ACME server speaks to look at a certificate (RFC 8737).
const HTTP_AND_CHALLENGES: &[&[u8]] = &[b"h2", b"http/1.1", b"acme-tls/1"];
