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
    answers: Mutex<Given<String>>,
    /// By name.
    shown: Mutex<Given<Arc<CertifiedKey>>>,
}

/// What is given under a name: what came last, as long as that is pending. Two orders for one name may be under way, where two
/// proxies that do not see each other make them.
#[derive(Debug)]
struct Given<T> {
    by_name: HashMap<String, Vec<(u64, T)>>,
    next: u64,
}

/// An answer that is pending until this is dropped.
#[derive(Debug)]
pub struct Pending {
    challenges: Arc<Challenges>,
    what: What,
    number: u64,
}

#[derive(Debug)]
enum What {
    Answer(String),
    Shown(String),
}

impl Challenges {
    /// Answers who asks for `token` over HTTP.
    pub fn answer_with(self: &Arc<Self>, token: &str, answer: &str) -> Pending {
        let number = lock(&self.answers).add(token, answer.to_owned());
        self.pending(What::Answer(token.to_owned()), number)
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
        let number = lock(&self.shown).add(&name, Arc::new(shown));
        Ok(self.pending(What::Shown(name), number))
    }

    /// The answer to a request for `path`, if that is what the server asks for.
    pub fn answer(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(PATH)?;
        lock(&self.answers).last(token)
    }

    /// The certificate for a handshake that is about `name`.
    pub(super) fn certificate(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        lock(&self.shown).last(&name.to_ascii_lowercase())
    }

    fn pending(self: &Arc<Self>, what: What, number: u64) -> Pending {
        Pending {
            challenges: Arc::clone(self),
            what,
            number,
        }
    }
}

impl<T: Clone> Given<T> {
    fn add(&mut self, name: &str, given: T) -> u64 {
        self.next += 1;
        let all = self.by_name.entry(name.to_owned()).or_default();
        all.push((self.next, given));
        self.next
    }

    fn last(&self, name: &str) -> Option<T> {
        let (_, given) = self.by_name.get(name)?.last()?;
        Some(given.clone())
    }

    fn remove(&mut self, name: &str, number: u64) {
        if let Some(all) = self.by_name.get_mut(name) {
            all.retain(|(known, _)| *known != number);
            if all.is_empty() {
                self.by_name.remove(name);
            }
        }
    }
}

impl<T> Default for Given<T> {
    fn default() -> Self {
        Self {
            by_name: HashMap::new(),
            next: 0,
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        match &self.what {
            What::Answer(token) => lock(&self.challenges.answers).remove(token, self.number),
            What::Shown(name) => lock(&self.challenges.shown).remove(name, self.number),
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

    #[test]
    fn an_answer_that_is_over_takes_no_other_one_with_it() {
        let challenges = Arc::new(Challenges::default());
        let shown = || {
            challenges
                .certificate("a.example")
                .map(|shown| shown.cert[0].clone())
        };
        let first = challenges.show("a.example", &[1; 32]).unwrap();
        let of_first = shown();
        let second = challenges.show("a.example", &[2; 32]).unwrap();
        let of_second = shown();
        assert!(of_second.is_some() && of_second != of_first);
        drop(first);
        assert_eq!(shown(), of_second, "it is that of another order");
        let third = challenges.show("a.example", &[3; 32]).unwrap();
        drop(third);
        assert_eq!(shown(), of_second, "that one is pending still");
        drop(second);
        assert_eq!(shown(), None);

        let path = "/.well-known/acme-challenge/token-1";
        let twice = [(); 2].map(|()| challenges.answer_with("token-1", "token-1.thumb"));
        let [one, other] = twice;
        drop(one);
        assert_eq!(challenges.answer(path).as_deref(), Some("token-1.thumb"));
        drop(other);
        assert_eq!(challenges.answer(path), None);
        assert!(lock(&challenges.answers).by_name.is_empty());
        assert!(lock(&challenges.shown).by_name.is_empty());
    }
}
