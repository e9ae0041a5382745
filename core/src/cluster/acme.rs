//! What the proxies of a cluster keep together of an ACME server: its account, certificates with their keys, and answers to
//! its questions, each sealed under the cluster's key; and who orders.
//!
//! ```text
//! base64url( nonce (24) · XChaCha20-Poly1305( what is kept ) · tag (16) )
//! ```
//!
//! The kind and the name of a record are sealed with it, so that none can be put in another's place. A proxy seals under the
//! first of its keys and opens what is sealed under any of them, so that proxies can change to another key one by one.

use std::fmt;
use std::marker::PhantomData;

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::records::{LONGEST_BODY, Record};

/// Seals what is kept, and opens it.
pub struct Seal {
    cipher: XChaCha20Poly1305,
    /// The ciphers of further keys, which others may seal under.
    others: Vec<XChaCha20Poly1305>,
}

/// What is kept sealed.
pub trait Kept: fmt::Debug + Clone + PartialEq + Eq {
    /// The kind of its record.
    const KIND: &'static str;
    /// The longest text, in bytes.
    const LONGEST: usize;
}

/// The account; the name of its record is the address of the server's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {}

/// A certificate with its key; the name of its record is the name that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {}

/// An answer that is pending; the name of its record is the name that is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {}

impl Kept for Account {
    const KIND: &'static str = "acme-account";
    const LONGEST: usize = 4_096;
}

impl Kept for Certificate {
    const KIND: &'static str = "acme-certificate";
    /// A chain of three certificates and a key, in PEM.
    const LONGEST: usize = LONGEST_BODY;
}

impl Kept for Challenge {
    const KIND: &'static str = "acme-challenge";
    const LONGEST: usize = 1_024;
}

/// A record that is sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed<K> {
    text: Box<str>,
    of: PhantomData<K>,
}

impl<K: Kept> Record for Sealed<K> {
    const KIND: &'static str = K::KIND;
    const VERSION: u16 = 1;
    const LONGEST: usize = K::LONGEST;

    fn body(&self) -> String {
        self.text.clone().into()
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        let is_ours = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        body.bytes().all(is_ours).then(|| Self {
            text: body.into(),
            of: PhantomData,
        })
    }
}

/// The proxy that orders a certificate now; the name of its record is the name that the certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub proxy: Box<str>,
}

impl Record for Lease {
    const KIND: &'static str = "acme-lease";
    const VERSION: u16 = 1;
    /// The id of a proxy at its longest.
    const LONGEST: usize = 256;

    fn body(&self) -> String {
        self.proxy.clone().into()
    }

    fn read(_: u16, body: &str) -> Option<Self> {
        (!body.is_empty()).then(|| Self { proxy: body.into() })
    }
}

impl Seal {
    /// Seals under the first of `cluster_keys`, and opens what is sealed under any of them; `None` without one.
    pub fn new(cluster_keys: &[&[u8]]) -> Option<Self> {
        let (first, others) = cluster_keys.split_first()?;
        Some(Self {
            cipher: cipher(first),
            others: others.iter().map(|key| cipher(key)).collect(),
        })
    }

    /// Seals `plain` as the record that is called `name`. `nonce` is random, and never used twice.
    pub fn seal<K: Kept>(&self, name: &str, plain: &[u8], nonce: [u8; NONCE]) -> Sealed<K> {
        let mut bytes = nonce.to_vec();
        bytes.extend_from_slice(plain);
        let inside = bytes.get_mut(NONCE..).unwrap_or_default();
        let bound = bound::<K>(name);
        let tag = self
            .cipher
            .encrypt_inout_detached(&XNonce::from(nonce), &bound, inside.into())
            .expect("a record is far shorter than the 256 GiB that the cipher takes");
        bytes.extend(tag);
        Sealed {
            text: Base64UrlUnpadded::encode_string(&bytes).into(),
            of: PhantomData,
        }
    }

    /// What was sealed as the record that is called `name`; `None` if it was not, or under another key.
    pub fn open<K: Kept>(&self, name: &str, sealed: &Sealed<K>) -> Option<Vec<u8>> {
        let bytes = Base64UrlUnpadded::decode_vec(&sealed.text).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE>()?;
        let (inside, tag) = rest.split_last_chunk::<TAG>()?;
        let bound = bound::<K>(name);
        let mut plain = inside.to_vec();
        let mut ciphers = std::iter::once(&self.cipher).chain(&self.others);
        // The tag is checked first, so a key that does not open it leaves it unchanged.
        let opened = ciphers.any(|cipher| {
            let opened = cipher.decrypt_inout_detached(
                &XNonce::from(*nonce),
                &bound,
                plain.as_mut_slice().into(),
                &Tag::from(*tag),
            );
            opened.is_ok()
        });
        opened.then_some(plain)
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Seal").finish_non_exhaustive()
    }
}

/// What is sealed beside the text.
fn bound<K: Kept>(name: &str) -> Vec<u8> {
    [K::KIND.as_bytes(), b":", name.as_bytes()].concat()
}

fn cipher(cluster_key: &[u8]) -> XChaCha20Poly1305 {
    let mut hash =
        Hmac::<Sha256>::new_from_slice(cluster_key).expect("HMAC takes keys of any length");
    hash.update(b"sluicegate acme: what is kept in the store");
    let key: [u8; 32] = hash.finalize().into_bytes().into();
    XChaCha20Poly1305::new(&key.into())
}

/// Bytes of a nonce.
pub const NONCE: usize = 24;
const TAG: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cluster::records::{Reading, read, write};

    fn seal(keys: &[&str]) -> Seal {
        let keys: Vec<&[u8]> = keys.iter().map(|key| key.as_bytes()).collect();
        Seal::new(&keys).unwrap()
    }

    #[test]
    fn what_is_sealed_is_opened_by_who_has_the_key_and_in_its_place_alone() {
        let sealed: Sealed<Certificate> = seal(&["one"]).seal("a.example", b"a key", [7; NONCE]);
        for (cause, keys, name, expected) in [
            (
                "the same key",
                &["one"][..],
                "a.example",
                Some(b"a key".to_vec()),
            ),
            (
                "one of two",
                &["two", "one"],
                "a.example",
                Some(b"a key".to_vec()),
            ),
            ("another key", &["two"], "a.example", None),
            ("in the place of another", &["one"], "b.example", None),
        ] {
            assert_eq!(seal(keys).open(name, &sealed), expected, "{cause}");
        }
        let other = Sealed::<Challenge>::read(1, &sealed.body()).unwrap();
        assert_eq!(
            seal(&["one"]).open("a.example", &other),
            None,
            "another kind"
        );
        assert!(Seal::new(&[]).is_none());
    }

    #[test]
    fn the_bytes_of_version_1() {
        let sealed: Sealed<Challenge> = seal(&["one"]).seal("a.example", b"", [0; NONCE]);
        let text = write(&sealed).unwrap();
        assert!(
            text.starts_with("record acme-challenge 1 54 AAAA"),
            "{text}"
        );
        assert_eq!(read(&text), Reading::Known(sealed));
        let lease = Lease { proxy: "p1".into() };
        assert_eq!(write(&lease).unwrap(), "record acme-lease 1 2 p1");
        assert_eq!(read("record acme-lease 1 2 p1"), Reading::Known(lease));
        assert_eq!(Sealed::<Account>::read(1, "no text of ours"), None);
    }

    proptest! {
        #[test]
        fn no_change_of_a_text_goes_unnoticed(plain in proptest::collection::vec(any::<u8>(), 0..80), at in any::<prop::sample::Index>()) {
            let seal = seal(&["one"]);
            let sealed: Sealed<Account> = seal.seal("server", &plain, [3; NONCE]);
            prop_assert_eq!(seal.open("server", &sealed), Some(plain));
            let mut text = sealed.body().into_bytes();
            let at = at.index(text.len());
            text[at] = if text[at] == b'A' { b'B' } else { b'A' };
            let changed = Sealed::<Account>::read(1, std::str::from_utf8(&text).unwrap()).unwrap();
            prop_assert_eq!(seal.open("server", &changed), None);
        }
    }
}
