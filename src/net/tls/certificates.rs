//! The certificates that this proxy shows: which one a client gets by the name it asks for, and when the files are read
//! again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{info, warn};

use super::challenges::{ACME_TLS, Challenges};
use crate::file_stamp::FileStamp;
use crate::pem::{FileError, Files, Loaded, Untimely};
use crate::unix_time;

/// The certificates of one proxy: those that its files hold, and those that were ordered.
#[derive(Debug, Default)]
pub struct Certificates {
    files: Vec<Files>,
    sources: Mutex<Sources>,
    table: RwLock<Arc<Table>>,
    /// The files as they were looked at last.
    seen: Mutex<Vec<Option<FileStamp>>>,
    challenges: Option<Arc<Challenges>>,
    /// Told when an ordered certificate came.
    ordered: Notify,
}

/// Where certificates come from.
#[derive(Debug, Default)]
struct Sources {
    /// In the order of the settings.
    files: Vec<Loaded>,
    /// By name.
    ordered: BTreeMap<String, Loaded>,
}

/// From when and until when a certificate holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expiry {
    /// The first name that clients get it for, or its file.
    pub name: String,
    /// Its first second, counted from 1970 in UTC.
    pub not_before: i64,
    /// Its last second, counted from 1970 in UTC.
    pub not_after: i64,
    /// Its SHA-256, as browsers show it: one that was renewed may have the same name and the same last second.
    pub fingerprint: String,
}

/// Which certificate goes with which name.
#[derive(Debug, Default)]
struct Table {
    first: Option<Arc<CertifiedKey>>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By what follows the `*.` of the name.
    below: HashMap<String, Arc<CertifiedKey>>,
    expiries: Vec<Expiry>,
}

impl Certificates {
    /// Reads `files`; the first is for clients that name no host, or one that no certificate is for. `None` if there are
    /// none.
    ///
    /// # Errors
    /// The first [`FileError`].
    pub fn load(files: Vec<Files>) -> Result<Option<Self>, FileError> {
        if files.is_empty() {
            return Ok(None);
        }
        let seen = stamps(&files);
        let loaded = load(&files)?;
        let certificates = Self {
            files,
            seen: Mutex::new(seen),
            ..Self::default()
        };
        certificates.take(|sources| sources.files = loaded);
        Ok(Some(certificates))
    }

    /// The same; `challenges` are answered in handshakes that ask for nothing else.
    #[must_use]
    pub fn with_challenges(self, challenges: Arc<Challenges>) -> Self {
        Self {
            challenges: Some(challenges),
            ..self
        }
    }

    /// Takes a certificate that was ordered for `name`, in place of an earlier one.
    pub fn hold(&self, name: &str, loaded: Loaded) {
        self.take(|sources| drop(sources.ordered.insert(name.to_owned(), loaded)));
        self.ordered.notify_one();
    }

    fn take(&self, change: impl FnOnce(&mut Sources)) {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut sources);
        let table = Table::of(sources.files.iter().chain(sources.ordered.values()));
        let now = i64::try_from(unix_time::seconds()).unwrap_or(i64::MAX);
        for expiry in &table.expiries {
            expiry.warn(now);
        }
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
    }

    /// One certificate and its key, both in PEM and without files.
    ///
    /// # Errors
    /// Those of [`Certificates::load`], with `name` in place of a file.
    pub fn of_pem(name: &str, certificate: &[u8], key: &[u8]) -> Result<Self, FileError> {
        let place = Files {
            certificate: name.into(),
            key: name.into(),
            names: Vec::new(),
        };
        let loaded = place.read(certificate, key)?;
        let certificates = Self::default();
        certificates.take(|sources| sources.files.push(loaded));
        Ok(certificates)
    }

    /// Until when each certificate holds, in the order of the settings.
    pub fn expiries(&self) -> Vec<Expiry> {
        self.table().expiries.clone()
    }

    /// The SHA-256 of the first certificate, as browsers show it; `None` while there is none.
    pub fn fingerprint(&self) -> Option<String> {
        self.table().first.as_deref().map(fingerprint)
    }

    /// Looks at the files every two seconds, and at once on SIGHUP; `taken` is told what is used now, first and after each
    /// change, and why something could not be.
    pub async fn keep(&self, mut taken: impl FnMut(Result<&[Expiry], &FileError>)) {
        let mut hang_up = signal(SignalKind::hangup()).ok();
        taken(Ok(&self.expiries()));
        loop {
            let asked = tokio::select! {
                asked = asked(&mut hang_up) => asked,
                () = self.ordered.notified() => {
                    taken(Ok(&self.expiries()));
                    continue;
                }
            };
            match self.look(asked) {
                Ok(true) => {
                    let expiries = self.expiries();
                    for Expiry { name, .. } in &expiries {
                        info!(certificate = name, "TLS certificate read again");
                    }
                    taken(Ok(&expiries));
                }
                Ok(false) => {}
                Err(error) => {
                    warn!(%error, "the TLS certificates are kept as they were");
                    taken(Err(&error));
                }
            }
        }
    }

    /// Takes what the files hold now, if they changed or if `asked`; says whether it did.
    ///
    /// # Errors
    /// [`FileError`]: all certificates stay as they were.
    pub fn look(&self, asked: bool) -> Result<bool, FileError> {
        let now = stamps(&self.files);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == now && !asked {
                return Ok(false);
            }
            *seen = now;
        }
        if self.files.is_empty() {
            return Ok(false);
        }
        let loaded = load(&self.files)?;
        self.take(|sources| sources.files = loaded);
        Ok(true)
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The certificate for a client that asks for `name`.
    fn for_name(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let table = self.table();
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let below = || table.below.get(name.split_once('.')?.1);
            table.exact.get(&name).or_else(below)
        });
        found.or(table.first.as_ref()).cloned()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut protocols = hello.alpn().into_iter().flatten();
        if let (Some(ACME_TLS), None) = (protocols.next(), protocols.next()) {
            return self.challenges.as_ref()?.certificate(hello.server_name()?);
        }
        self.for_name(hello.server_name())
    }
}

impl Expiry {
    /// Warns of a certificate that clients refuse at the time `now`.
    fn warn(&self, now: i64) {
        let certificate = &self.name;
        match Untimely::at(now, (self.not_before, self.not_after)) {
            None => {}
            Some(Untimely::Over { hours }) => warn!(
                certificate,
                hours,
                "this certificate ended that many hours ago, and clients refuse it: renew it"
            ),
            Some(Untimely::Early { minutes }) => warn!(
                certificate,
                minutes,
                "this certificate begins to hold in that many minutes, and clients refuse it until then: check the clock of this \
                 machine and its issuer's"
            ),
        }
    }
}

impl Table {
    fn of<'a>(certificates: impl Iterator<Item = &'a Loaded>) -> Self {
        let mut table = Self::default();
        for loaded in certificates {
            table.first.get_or_insert_with(|| Arc::clone(&loaded.key));
            for name in &loaded.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(domain) => (&mut table.below, domain.to_ascii_lowercase()),
                    None => (&mut table.exact, name.to_ascii_lowercase()),
                };
                // The one that is named first stays.
                names.entry(name).or_insert_with(|| Arc::clone(&loaded.key));
            }
            table.expiries.push(Expiry {
                name: loaded.name.clone(),
                not_before: loaded.not_before,
                not_after: loaded.not_after,
                fingerprint: fingerprint(&loaded.key),
            });
        }
        table
    }
}

/// The SHA-256 of a certificate, as browsers show it.
fn fingerprint(key: &CertifiedKey) -> String {
    let own = key.cert.first().map(|der| der.as_ref());
    let hash = rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256
        .tls13()
        .expect("a suite of TLS 1.3")
        .common
        .hash_provider
        .hash(own.unwrap_or_default());
    let bytes = hash.as_ref().iter().map(|byte| format!("{byte:02X}"));
    bytes.collect::<Vec<_>>().join(":")
}

fn load(files: &[Files]) -> Result<Vec<Loaded>, FileError> {
    files.iter().map(Files::load).collect()
}

/// Waits until it is time to look; true when somebody asked for it.
pub(super) async fn asked(hang_up: &mut Option<Signal>) -> bool {
    let Some(hang_up) = hang_up else {
        sleep(LOOK).await;
        return false;
    };
    tokio::select! {
        signal = hang_up.recv() => signal.is_some(),
        () = sleep(LOOK) => false,
    }
}

fn stamps(files: &[Files]) -> Vec<Option<FileStamp>> {
    let each = |files: &Files| [FileStamp::of(&files.certificate), FileStamp::of(&files.key)];
    files.iter().flat_map(each).collect()
}

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::fs;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;
    use crate::pem::FileProblem;
    use crate::pem::samples::{made, write};

    fn shown(certificates: &Certificates, name: Option<&str>) -> Vec<u8> {
        certificates.for_name(name).expect("there is one").cert[0].to_vec()
    }

    #[test]
    fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            write(directory.path(), "first", &["first.example"]),
            write(directory.path(), "star", &["*.live.example"]),
            write(
                directory.path(),
                "exact",
                &["a.live.example", "first.example"],
            ),
        ];
        let own = |files: &Files| {
            let pem = fs::read(&files.certificate).unwrap();
            CertificateDer::from_pem_slice(&pem).unwrap().to_vec()
        };
        let [first, star, exact] = [own(&files[0]), own(&files[1]), own(&files[2])];
        let certificates = Certificates::load(files.to_vec()).unwrap().unwrap();
        for (cause, name, expected) in [
            ("no name", None, &first),
            ("a name of nobody", Some("other.example"), &first),
            ("exact", Some("a.live.example"), &exact),
            ("in capitals", Some("A.Live.Example"), &exact),
            ("wildcard", Some("b.live.example"), &star),
            ("a label too many", Some("c.b.live.example"), &first),
            ("none", Some("live.example"), &first),
            ("named twice", Some("first.example"), &first),
        ] {
            assert!(shown(&certificates, name) == *expected, "{cause}");
        }
    }

    #[test]
    fn files_are_taken_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let files = write(directory.path(), "a", &["old.example"]);
        let certificates = Certificates::load(vec![files.clone()]).unwrap().unwrap();
        assert_eq!(certificates.look(false), Ok(false), "nothing changed");
        let old = shown(&certificates, None);

        let (certificate, key) = made(&["new.example"]);
        fs::write(&files.certificate, certificate).unwrap();
        let error = certificates.look(false).unwrap_err();
        assert_eq!(
            error.problem,
            FileProblem::OtherKey(files.certificate.clone())
        );
        assert_eq!(
            shown(&certificates, None),
            old,
            "half a change changes nothing"
        );
        assert_eq!(certificates.look(false), Ok(false), "and is said once");

        fs::write(&files.key, key).unwrap();
        assert_eq!(certificates.look(false), Ok(true));
        assert_ne!(shown(&certificates, None), old);
        assert_eq!(certificates.expiries()[0].name, "new.example");
        assert_eq!(
            certificates.look(true),
            Ok(true),
            "an order to look is followed"
        );
    }

    #[test]
    fn what_was_ordered_is_shown_beside_what_files_hold() {
        let directory = tempfile::tempdir().unwrap();
        let load = |name: &str| write(directory.path(), name, &[name]).load().unwrap();
        let certificates = Certificates::default();
        assert!(certificates.for_name(None).is_none(), "none yet");
        assert_eq!(certificates.fingerprint(), None);
        certificates.hold("a.example", load("a.example"));
        let first = shown(&certificates, Some("a.example"));
        certificates.hold("b.example", load("b.example"));
        certificates.hold("a.example", load("a.example"));
        assert_ne!(
            shown(&certificates, Some("a.example")),
            first,
            "the new one"
        );
        let names = certificates.expiries().into_iter().map(|one| one.name);
        assert_eq!(names.collect::<Vec<_>>(), ["a.example", "b.example"]);
        assert_eq!(certificates.look(true), Ok(false), "there are no files");
    }

    #[test]
    fn a_link_that_is_swapped_is_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("..data");
        for (name, host) in [("1", "old.example"), ("2", "new.example")] {
            let version = directory.path().join(name);
            fs::create_dir(&version).unwrap();
            write(&version, "tls", &[host]);
        }
        // As Kubernetes writes a secret: the names are links into a directory that is a link, which alone is replaced.
        std::os::unix::fs::symlink("1", &link).unwrap();
        let files = Files {
            certificate: link.join("tls.crt"),
            key: link.join("tls.key"),
            names: Vec::new(),
        };
        let certificates = Certificates::load(vec![files]).unwrap().unwrap();
        let next = directory.path().join("..data_tmp");
        std::os::unix::fs::symlink("2", &next).unwrap();
        fs::rename(&next, &link).unwrap();
        assert_eq!(certificates.look(false), Ok(true));
        assert_eq!(certificates.expiries()[0].name, "new.example");
    }
}
