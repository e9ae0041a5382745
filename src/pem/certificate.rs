//! A certificate with its key.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use sluicegate_core::certificate::Certificate;

use super::{FileError, FileProblem, provider, read};

/// One certificate of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain in PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// The names that clients get it for, such as `live.example` and `*.example`; none: those in the certificate.
    pub names: Vec<String>,
}

/// A certificate with its key, read from its files.
#[derive(Debug)]
pub struct Loaded {
    /// What a handshake needs.
    pub key: Arc<CertifiedKey>,
    /// The hosts that clients get it for.
    pub names: Vec<String>,
    /// The first of them, or its file.
    pub name: String,
    /// Since when it holds, counted from 1970 in UTC.
    pub not_before: i64,
    /// The last second in which it holds, counted from 1970 in UTC.
    pub not_after: i64,
}

/// Why clients whose clocks are right refuse a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Untimely {
    /// It does not hold yet.
    #[error(
        "begins to hold in {minutes} minutes, and clients refuse it until then: check the clock of this machine and its issuer's"
    )]
    Early {
        /// Until it does, at least one.
        minutes: i64,
    },
    /// It is over.
    #[error("ended {hours} hours ago, and clients refuse it: renew it")]
    Over {
        /// Whole hours since then.
        hours: i64,
    },
}

impl Untimely {
    /// What is wrong at the time `now` with a certificate that holds from the first of two seconds to the last.
    pub const fn at(now: i64, (not_before, not_after): (i64, i64)) -> Option<Self> {
        let over_for = now.saturating_sub(not_after);
        let begins_in = not_before.saturating_sub(now);
        if over_for > 0 {
            let hours = over_for / 3600;
            Some(Self::Over { hours })
        } else if begins_in > 0 {
            let minutes = begins_in.saturating_add(59) / 60;
            Some(Self::Early { minutes })
        } else {
            None
        }
    }
}

impl Files {
    /// Reads both files.
    ///
    /// # Errors
    /// [`FileError`], for the first thing that is wrong.
    pub fn load(&self) -> Result<Loaded, FileError> {
        self.read(&read(&self.certificate)?, &read(&self.key)?)
    }

    /// The same, where `certificate` and `key` are what the files hold.
    ///
    /// # Errors
    /// Those of [`Files::load`].
    pub fn read(&self, certificate: &[u8], key: &[u8]) -> Result<Loaded, FileError> {
        let certificate_problem = |problem| FileError {
            file: self.certificate.clone(),
            problem,
        };
        let key_problem = |problem| FileError {
            file: self.key.clone(),
            problem,
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| certificate_problem(FileProblem::NoCertificate))?;
        let Some(own) = chain.first() else {
            return Err(certificate_problem(FileProblem::NoCertificate));
        };
        let bad = |error: &dyn std::fmt::Display| {
            certificate_problem(FileProblem::BadCertificate(error.to_string()))
        };
        let parsed = Certificate::parse(own).map_err(|error| bad(&error))?;
        let Ok(key) = PrivateKeyDer::from_pem_slice(key) else {
            let encrypted = key
                .windows(ENCRYPTED.len())
                .any(|window| window == ENCRYPTED);
            return Err(key_problem(if encrypted {
                FileProblem::EncryptedKey
            } else {
                FileProblem::NoKey
            }));
        };
        let signer = provider()
            .key_provider
            .load_private_key(key)
            .map_err(|_| key_problem(FileProblem::UnusableKey))?;
        let key = CertifiedKey::new(chain, signer);
        match key.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(key_problem(FileProblem::OtherKey(self.certificate.clone())));
            }
            Err(error) => return Err(bad(&error)),
        }
        let names = match self.names.as_slice() {
            [] => parsed.hosts().map(str::to_owned).collect(),
            names => names.to_vec(),
        };
        let name = names.first().cloned();
        Ok(Loaded {
            key: Arc::new(key),
            name: name.unwrap_or_else(|| self.certificate.display().to_string()),
            not_before: parsed.not_before,
            not_after: parsed.not_after,
            names,
        })
    }
}

/// What stands in the first line of a key with a passphrase, in both forms (RFC 7468 §11, RFC 1421 §4.6.1.1).
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// Certificates for tests, in files.
#[cfg(test)]
pub(crate) mod samples {
    use std::fs;
    use std::path::Path;

    use super::Files;

    /// A certificate for `names`, and its key.
    pub(crate) fn made(names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    pub(crate) fn write(directory: &Path, name: &str, names: &[&str]) -> Files {
        let (certificate, key) = made(names);
        let files = Files {
            certificate: directory.join(format!("{name}.crt")),
            key: directory.join(format!("{name}.key")),
            names: Vec::new(),
        };
        fs::write(&files.certificate, certificate).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::LONGEST;
    use super::samples::write;
    use super::*;

    #[test]
    fn a_certificate_is_refused_before_and_after_its_time() {
        for (now, expected) in [
            (0, Some(Untimely::Early { minutes: 1667 })),
            (99_999, Some(Untimely::Early { minutes: 1 })),
            (100_000, None),
            (200_000, None),
            (200_001, Some(Untimely::Over { hours: 0 })),
            (210_800, Some(Untimely::Over { hours: 3 })),
        ] {
            assert_eq!(Untimely::at(now, (100_000, 200_000)), expected, "{now}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let good = write(directory.path(), "good", &["good.example"]);
        let other = write(directory.path(), "other", &["other.example"]);
        let file = |name: &str, text: &str| {
            let file = directory.path().join(name);
            fs::write(&file, text).unwrap();
            file
        };
        let files = |certificate: &Path, key: &Path| Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            names: Vec::new(),
        };
        let pem = |label: &str| format!("-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n");
        let junk = file("junk.crt", &pem("CERTIFICATE"));
        let encrypted = file("encrypted.key", &pem("ENCRYPTED PRIVATE KEY"));
        let unknown = file("unknown.key", &pem("PRIVATE KEY"));
        let long = file(
            "long.crt",
            &"x".repeat(usize::try_from(LONGEST + 1).unwrap()),
        );
        let nowhere = directory.path().join("nowhere");
        let (crt, key) = (&good.certificate, &good.key);
        let rows: [(_, Files, &Path, FileProblem); 9] = [
            (
                "no such file",
                files(&nowhere, key),
                &nowhere,
                FileProblem::Unreadable("No such file or directory (os error 2)".to_owned()),
            ),
            (
                "a directory",
                files(directory.path(), key),
                directory.path(),
                FileProblem::Unreadable("Is a directory (os error 21)".to_owned()),
            ),
            (
                "something else",
                files(&long, key),
                &long,
                FileProblem::TooLong,
            ),
            ("swapped", files(key, crt), key, FileProblem::NoCertificate),
            (
                "no DER",
                files(&junk, key),
                &junk,
                FileProblem::BadCertificate("it is not an X.509 certificate in DER".to_owned()),
            ),
            (
                "twice the certificate",
                files(crt, crt),
                crt,
                FileProblem::NoKey,
            ),
            (
                "a passphrase",
                files(crt, &encrypted),
                &encrypted,
                FileProblem::EncryptedKey,
            ),
            (
                "an unknown kind",
                files(crt, &unknown),
                &unknown,
                FileProblem::UnusableKey,
            ),
            (
                "another's key",
                files(crt, &other.key),
                &other.key,
                FileProblem::OtherKey(crt.clone()),
            ),
        ];
        for (cause, files, file, problem) in rows {
            let error = files.load().map(drop).unwrap_err();
            let expected = FileError {
                file: file.to_owned(),
                problem,
            };
            assert_eq!(error, expected, "{cause}");
        }
    }
}
