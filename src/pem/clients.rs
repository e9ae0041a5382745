//! Whose certificates the clients of one listener may show. Only the authorities of its own file count, never those that the
//! system trusts: they vouch for names of web sites, and anyone has one.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{FileError, FileProblem, provider, read};

/// Who vouches for the clients of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuthority {
    /// The certificates of the authorities, in PEM.
    pub authorities: PathBuf,
    /// Lists of revoked certificates in PEM: one for each authority of a client's chain.
    pub revoked: Option<PathBuf>,
}

impl ClientAuthority {
    /// What verifies clients, as the files say now.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load(&self) -> Result<Arc<dyn ClientCertVerifier>, FileError> {
        let problem = |problem| FileError {
            file: self.authorities.clone(),
            problem,
        };
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&read(&self.authorities)?) {
            let certificate = certificate.map_err(|_| problem(FileProblem::NoCertificate))?;
            roots
                .add(certificate)
                .map_err(|error| problem(FileProblem::BadCertificate(error.to_string())))?;
        }
        if roots.is_empty() {
            return Err(problem(FileProblem::NoCertificate));
        }
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
            .with_crls(self.revocations()?)
            .build()
            .map_err(|error| FileError {
                file: self
                    .revoked
                    .clone()
                    .unwrap_or_else(|| self.authorities.clone()),
                problem: FileProblem::Unusable(error.to_string()),
            })
    }

    /// The files themselves.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.authorities), self.revoked.as_ref()]
            .into_iter()
            .flatten()
    }

    fn revocations(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, FileError> {
        let Some(file) = &self.revoked else {
            return Ok(Vec::new());
        };
        let none = |()| FileError {
            file: file.clone(),
            problem: FileProblem::NoRevocations,
        };
        let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&read(file)?)
            .collect::<Result<_, _>>()
            .map_err(|_| none(()))?;
        if lists.is_empty() {
            return Err(none(()));
        }
        Ok(lists)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let file = directory.path().join(name);
            fs::write(&file, text).unwrap();
            file
        };
        let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let good = file("good.crt", &own.cert.pem());
        let empty = file("empty", "");
        let junk = file(
            "junk.crl",
            "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        );
        let rows = [
            (
                "no authority",
                &empty,
                None,
                Some((&empty, FileProblem::NoCertificate)),
            ),
            (
                "no list",
                &good,
                Some(&empty),
                Some((&empty, FileProblem::NoRevocations)),
            ),
            ("one authority", &good, None, None),
        ];
        for (cause, authorities, revoked, expected) in rows {
            let authority = ClientAuthority {
                authorities: authorities.clone(),
                revoked: revoked.cloned(),
            };
            let problem = authority.load().err();
            let expected = expected.map(|(file, problem)| FileError {
                file: file.clone(),
                problem,
            });
            assert_eq!(problem, expected, "{cause}");
        }
        let authority = ClientAuthority {
            authorities: good,
            revoked: Some(junk.clone()),
        };
        let error = authority.load().map(drop).unwrap_err();
        assert_eq!(error.file, junk);
        assert!(matches!(error.problem, FileProblem::Unusable(_)), "{error}");
    }
}
