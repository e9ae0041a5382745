//! Whose word counts where this proxy is the client: for origins, backends, lists and other proxies that speak TLS.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;

use super::{FileError, FileProblem, Files, read};

/// Who vouches for servers, and what this proxy shows to those that ask for a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAuthority {
    /// Whether those count that the system trusts.
    pub system: bool,
    /// Certificates of further authorities, in PEM.
    pub authorities: Vec<PathBuf>,
    /// The certificate that is shown.
    pub shown: Option<Files>,
}

impl Default for ServerAuthority {
    fn default() -> Self {
        Self {
            system: true,
            authorities: Vec::new(),
            shown: None,
        }
    }
}

impl ServerAuthority {
    /// The authorities as the files and the system say now; at least one.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load(&self) -> Result<RootCertStore, FileError> {
        let mut roots = self.own()?;
        if self.system {
            // One certificate of many that cannot be read is the system's to mend.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() {
            return Err(FileError {
                file: SYSTEM.into(),
                problem: FileProblem::NoAuthorities,
            });
        }
        Ok(roots)
    }

    /// Those of the files alone.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn own(&self) -> Result<RootCertStore, FileError> {
        let mut roots = RootCertStore::empty();
        for file in &self.authorities {
            let problem = |problem| FileError {
                file: file.clone(),
                problem,
            };
            let before = roots.len();
            for certificate in CertificateDer::pem_slice_iter(&read(file)?) {
                let certificate = certificate.map_err(|_| problem(FileProblem::NoCertificate))?;
                roots
                    .add(certificate)
                    .map_err(|error| problem(FileProblem::BadCertificate(error.to_string())))?;
            }
            if roots.len() == before {
                return Err(problem(FileProblem::NoCertificate));
            }
        }
        Ok(roots)
    }

    /// The certificate that is shown, as its files hold it now.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn identity(&self) -> Result<Option<Arc<CertifiedKey>>, FileError> {
        let shown = self.shown.as_ref().map(Files::load).transpose()?;
        Ok(shown.map(|loaded| loaded.key))
    }

    /// The files themselves.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let shown = self.shown.iter();
        let shown = shown.flat_map(|files| [&files.certificate, &files.key]);
        self.authorities.iter().chain(shown)
    }
}

/// Stands for the authorities of the system in place of a file.
pub const SYSTEM: &str = "system";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::samples::{made, write};
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let shown = write(directory.path(), "shown", &["proxy.example"]);
        let good = directory.path().join("good.pem");
        fs::write(&good, made(&["a.example"]).0).unwrap();
        let empty = directory.path().join("empty.pem");
        fs::write(&empty, "").unwrap();
        let authority = |authorities: &[&PathBuf]| ServerAuthority {
            system: false,
            authorities: authorities.iter().map(|&file| file.clone()).collect(),
            shown: Some(shown.clone()),
        };
        let loaded = authority(&[&good, &shown.certificate]).load().unwrap();
        assert_eq!(loaded.len(), 2);
        assert_eq!(authority(&[&good]).files().count(), 3);
        let rows = [
            (
                "one is empty",
                vec![&good, &empty],
                &empty,
                FileProblem::NoCertificate,
            ),
            (
                "a key",
                vec![&shown.key],
                &shown.key,
                FileProblem::NoCertificate,
            ),
        ];
        for (cause, authorities, file, problem) in rows {
            let error = authority(&authorities).load().unwrap_err();
            let expected = FileError {
                file: file.clone(),
                problem,
            };
            assert_eq!(error, expected, "{cause}");
        }
        let error = authority(&[]).load().unwrap_err();
        assert_eq!(error.problem, FileProblem::NoAuthorities);
    }
}
