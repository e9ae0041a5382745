//! Keys that sign tokens: a JSON Web Key Set (RFC 7517), or one secret.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde_json::{Map, Value};
use sha2::{Sha256, Sha384, Sha512};

/// The algorithms that are understood (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the registry")]
pub enum Algorithm {
    EdDsa,
    Es256,
    Es384,
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
}

/// The keys that may have signed a token.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct JwtKeys(Vec<Key>);

#[derive(Clone, PartialEq, Eq)]
struct Key {
    id: Option<Box<str>>,
    algorithm: Algorithm,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// A point, or an Ed25519 key, as the verifier takes it.
    Point(Vec<u8>),
    /// Modulus and exponent, without leading zeros.
    Rsa(Vec<u8>, Vec<u8>),
    Secret(Vec<u8>),
}

/// Why a set of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It has none that is for signatures.
    #[error("no key for signatures in it")]
    Empty,
    /// It is not a JSON document with `keys`.
    #[error("not a JSON Web Key Set")]
    Form,
    /// One key is malformed, or its algorithm is none of those that are understood.
    #[error("key {0}: malformed, too short, or of an algorithm other than {KNOWN}")]
    Key(usize),
    /// More of them than one list may have.
    #[error("more than {MOST_KEYS} keys")]
    TooMany,
    /// A secret that can be guessed.
    #[error("a secret of fewer than {SHORTEST_SECRET} bytes")]
    Weak,
}

impl Algorithm {
    /// The name in a token's header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl JwtKeys {
    /// The keys of a set, as identity providers publish it. Keys for encryption are passed over.
    ///
    /// # Errors
    /// [`KeySetError`]; it never quotes the set, which may hold secrets.
    pub fn of_set(document: &str) -> Result<Self, KeySetError> {
        let document: Value = serde_json::from_str(document).map_err(|_| KeySetError::Form)?;
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(KeySetError::Form)?;
        if keys.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        let mut read = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let key = key.as_object().ok_or(KeySetError::Key(index + 1))?;
            if key.get("use").is_some_and(|use_| use_ != "sig") {
                continue;
            }
            read.push(Key::read(key).ok_or(KeySetError::Key(index + 1))?);
        }
        if read.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self(read))
    }

    /// The public keys of a set that was fetched. What is of a kind that is not understood is passed over (RFC 7517 §5),
    /// and so are secrets, which nobody publishes.
    ///
    /// # Errors
    /// [`KeySetError`]
    pub fn of_published_set(document: &str) -> Result<Self, KeySetError> {
        let document: Value = serde_json::from_str(document).map_err(|_| KeySetError::Form)?;
        let keys = document.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or(KeySetError::Form)?;
        if keys.len() > MOST_KEYS {
            return Err(KeySetError::TooMany);
        }
        let read = keys.iter().filter_map(Value::as_object).filter(|key| {
            let is = |name: &str, wanted: &str| key.get(name).is_none_or(|value| value == wanted);
            is("use", "sig") && key.get("kty").is_some_and(|kind| kind != "oct")
        });
        let read: Vec<Key> = read.filter_map(Key::read).collect();
        if read.is_empty() {
            return Err(KeySetError::Empty);
        }
        Ok(Self(read))
    }

    /// Whether one of the keys has this name.
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Secrets that sign with HS256.
    ///
    /// # Errors
    /// [`KeySetError::Weak`]
    pub fn of_secrets<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<Self, KeySetError> {
        let key = |secret: &str| {
            if secret.len() < SHORTEST_SECRET {
                return Err(KeySetError::Weak);
            }
            Ok(Key {
                id: None,
                algorithm: Algorithm::Hs256,
                material: Material::Secret(secret.as_bytes().to_vec()),
            })
        };
        let keys: Vec<Key> = secrets.into_iter().map(key).collect::<Result<_, _>>()?;
        Ok(Self(keys))
    }

    /// These keys and those of `other`.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether one of the keys signed `message`. A token that names a key is checked against that one only, one that
    /// names none against those of its algorithm.
    pub(super) fn signed(
        &self,
        id: Option<&str>,
        algorithm: &str,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let named = |key: &&Key| match (id, key.id.as_deref()) {
            // A secret from the settings has no name, and stands for whatever the issuer calls it.
            (Some(id), Some(own)) => id == own,
            (Some(_), None) => matches!(key.material, Material::Secret(_)),
            (None, _) => true,
        };
        let mut fitting = self
            .0
            .iter()
            .filter(named)
            .filter(|key| key.algorithm.as_str() == algorithm);
        fitting.any(|key| key.signed(message, signature))
    }
}

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwtKeys({})", self.0.len())
    }
}

impl Key {
    fn read(key: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| Base64UrlUnpadded::decode_vec(text(name)?).ok();
        let named = match key.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::named(name.as_str()?)?),
        };
        let is = |fitting: &[Algorithm]| match named {
            None => fitting.first().copied(),
            Some(named) => fitting.contains(&named).then_some(named),
        };
        use Algorithm::{EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Rs256, Rs384, Rs512};
        let (algorithm, material) = match (text("kty")?, text("crv")) {
            ("EC", Some("P-256")) => (is(&[Es256])?, point(bytes("x")?, bytes("y")?, 32)?),
            ("EC", Some("P-384")) => (is(&[Es384])?, point(bytes("x")?, bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => {
                let x = bytes("x").filter(|x| x.len() == 32)?;
                (is(&[EdDsa])?, Material::Point(x))
            }
            ("RSA", _) => {
                let modulus = without_zeros(bytes("n")?);
                let is_long = (SHORTEST_MODULUS..=LONGEST_MODULUS).contains(&modulus.len());
                let material = Material::Rsa(modulus, without_zeros(bytes("e")?));
                (is(&[Rs256, Rs384, Rs512])?, is_long.then_some(material)?)
            }
            ("oct", _) => {
                let secret = bytes("k").filter(|secret| secret.len() >= SHORTEST_SECRET)?;
                (is(&[Hs256, Hs384, Hs512])?, Material::Secret(secret))
            }
            _ => return None,
        };
        let id = text("kid").map(Into::into);
        Some(Self {
            id,
            algorithm,
            material,
        })
    }

    fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let rsa = |parameters: &'static RsaParameters, n: &[u8], e: &[u8]| {
            RsaPublicKeyComponents { n, e }
                .verify(parameters, message, signature)
                .is_ok()
        };
        let point = |algorithm: &'static dyn VerificationAlgorithm, key: &[u8]| {
            UnparsedPublicKey::new(algorithm, key)
                .verify(message, signature)
                .is_ok()
        };
        match (self.algorithm, &self.material) {
            (Algorithm::EdDsa, Material::Point(key)) => point(&ED25519, key),
            (Algorithm::Es256, Material::Point(key)) => point(&ECDSA_P256_SHA256_FIXED, key),
            (Algorithm::Es384, Material::Point(key)) => point(&ECDSA_P384_SHA384_FIXED, key),
            (Algorithm::Hs256, Material::Secret(key)) => {
                hmac::<Hmac<Sha256>>(key, message, signature)
            }
            (Algorithm::Hs384, Material::Secret(key)) => {
                hmac::<Hmac<Sha384>>(key, message, signature)
            }
            (Algorithm::Hs512, Material::Secret(key)) => {
                hmac::<Hmac<Sha512>>(key, message, signature)
            }
            (Algorithm::Rs256, Material::Rsa(n, e)) => rsa(&RSA_PKCS1_2048_8192_SHA256, n, e),
            (Algorithm::Rs384, Material::Rsa(n, e)) => rsa(&RSA_PKCS1_2048_8192_SHA384, n, e),
            (Algorithm::Rs512, Material::Rsa(n, e)) => rsa(&RSA_PKCS1_2048_8192_SHA512, n, e),
            _ => false,
        }
    }
}

fn hmac<M: Mac + hmac::digest::KeyInit>(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Ok(mut hash) = <M as Mac>::new_from_slice(key) else {
        return false;
    };
    hash.update(message);
    hash.verify_slice(signature).is_ok()
}

/// An uncompressed point (SEC 1 §2.3.3).
fn point(x: Vec<u8>, y: Vec<u8>, length: usize) -> Option<Material> {
    (x.len() == length && y.len() == length).then(|| Material::Point([vec![4], x, y].concat()))
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    bytes.into_iter().skip_while(|byte| *byte == 0).collect()
}

const ALL: [Algorithm; 9] = [
    Algorithm::EdDsa,
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Hs256,
    Algorithm::Hs384,
    Algorithm::Hs512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
];
const KNOWN: &str = "EdDSA, ES256, ES384, HS256, HS384, HS512, RS256, RS384 and RS512";
/// Keys of one set: providers publish the current one and a few more. Each may be tried for a token that names none.
const MOST_KEYS: usize = 16;
/// Bytes of a secret: what HS256 asks for (RFC 7518 §3.2).
const SHORTEST_SECRET: usize = 32;
/// 2,048 bits (RFC 7518 §3.3).
const SHORTEST_MODULUS: usize = 256;
/// 8,192 bits, which take a millisecond.
const LONGEST_MODULUS: usize = 1024;
