//! What an ACME server is answered that asks whether a name is ours: by HTTP (RFC 8555 §8.3) and in a TLS handshake (RFC 8737).
//! Only what is pending is answered; to everything else a request or a handshake is one like any other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::pem::provider;

/// The answers that are pending.
#[derive(Debug, Default)]
pub struct Challenges {
    /// By token.
    answers: Mutex<HashMap<String, String>>,
    /// By name.
    shown: Mutex<HashMap<String, Arc<CertifiedKey>>>,
}

/// An answer that is pending until this is dropped.
#[derive(Debug)]
pub struct Pending {
    challenges: Arc<Challenges>,
    what: What,
}

#[derive(Debug)]
enum What {
    Answer(String),
    Shown(String),
}

impl Challenges {
    /// Answers who asks for `token` over HTTP.
    pub fn answer_with(self: &Arc<Self>, token: &str, answer: &str) -> Pending {
        lock(&self.answers).insert(token.to_owned(), answer.to_owned());
        self.pending(What::Answer(token.to_owned()))
    }

    /// Shows a certificate for `name` with this digest to clients that ask for it in a handshake.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn show(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Pending, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = provider().key_provider.load_private_key(key);
        let signer = signer.map_err(|_| rcgen::Error::RemoteKeyError)?;
        let shown = CertifiedKey::new(vec![certificate.der().clone()], signer);
        let name = name.to_ascii_lowercase();
        lock(&self.shown).insert(name.clone(), Arc::new(shown));
        Ok(self.pending(What::Shown(name)))
    }

    /// The answer to a request for `path`, if that is what the server asks for.
    pub fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        lock(&self.answers).get(token).cloned()
    }

    /// The certificate for a handshake that is about `name`.
    pub(super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        lock(&self.shown).get(&name.to_ascii_lowercase()).cloned()
    }

    fn pending(self: &Arc<Self>, what: What) -> Pending {
        Pending {
            challenges: Arc::clone(self),
            what,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        match &self.what {
            What::Answer(token) => drop(lock(&self.challenges.answers).remove(token)),
            What::Shown(name) => drop(lock(&self.challenges.shown).remove(name)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Stands before a token (RFC 8555 §8.3).
const PATH: &str = "/.well-known/acme-challenge/";
/// The protocol that a server agrees on to look at a certificate, and nothing else (RFC 8737 §3).
pub(super) const ACME_TLS: &[u8] = b"acme-tls/1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_pending_is_answered() {
        let challenges = Arc::new(Challenges::default());
        let path = "/.well-known/acme-challenge/token-1";
        let pending = challenges.answer_with("token-1", "token-1.thumb");
        let shown = challenges.show("A.example", &[7; 32]).unwrap();
        assert_eq!(challenges.answer(path).as_deref(), Some("token-1.thumb"));
        for other in [
            "/.well-known/acme-challenge/",
            "/.well-known/acme-challenge/token-2",
            "/token-1",
        ] {
            assert_eq!(challenges.answer(other), None, "{other}");
        }
        assert!(challenges.certificate("a.EXAMPLE").is_some());
        assert!(challenges.certificate("b.example").is_none());
        drop((pending, shown));
        assert_eq!(challenges.answer(path), None);
        assert!(challenges.certificate("a.example").is_none());
    }
}
