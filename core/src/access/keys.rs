//! Generated keys: long random texts that are handed out, one to a client, and stored as keyed hashes.
//!
//! A generated key cannot be guessed, so a fast hash protects it: HMAC-SHA-256 under a salt. A password that people
//! choose can be, and belongs into [`passwords`](super::passwords).

use std::collections::HashMap;
use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Keys that are known, each by its hash and with the name of its owner.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// By their salt, which keys that were made together share: one hash is enough for all of them.
    by_salt: HashMap<Box<[u8]>, Owners>,
    count: usize,
}

/// The owners of keys, by the hash of each.
type Owners = HashMap<[u8; 32], Box<str>>;

/// Why a line is not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It has another form.
    #[error("not NAME:SALT:HASH, as `sluicegate key` prints it")]
    Form,
    /// More of them than one list may have.
    #[error("more than {MOST_KEYS} keys")]
    TooMany,
    /// A second key of the same hash.
    #[error("the same key twice")]
    Twice,
}

impl Keys {
    /// Adds a key by its line: `NAME:SALT:HASH`, the salt and the hash in base64url.
    ///
    /// # Errors
    /// [`KeyError`]; it never quotes the line.
    pub fn add(&mut self, line: &str) -> Result<(), KeyError> {
        let mut parts = line.trim().rsplitn(3, ':');
        let (Some(hash), Some(salt), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(KeyError::Form);
        };
        let mut bytes = [0; 32];
        let hash = Base64UrlUnpadded::decode(hash, &mut bytes).map_err(|_| KeyError::Form)?;
        let hash: [u8; 32] = hash.try_into().map_err(|_| KeyError::Form)?;
        let salt = Base64UrlUnpadded::decode_vec(salt).map_err(|_| KeyError::Form)?;
        if name.is_empty() || salt.is_empty() {
            return Err(KeyError::Form);
        }
        if self.count >= MOST_KEYS {
            return Err(KeyError::TooMany);
        }
        let same_salt = self.by_salt.entry(salt.into()).or_default();
        if same_salt.insert(hash, name.into()).is_some() {
            return Err(KeyError::Twice);
        }
        self.count += 1;
        Ok(())
    }

    /// Whose key `shown` is.
    pub fn owner(&self, shown: &str) -> Option<&str> {
        // A lookup by hash tells an attacker at most how the hashes differ, and those he cannot choose.
        let known = self.by_salt.iter();
        known
            .filter_map(|(salt, keys)| keys.get(&hash_of(salt, shown)))
            .map(|name| &**name)
            .next()
    }

    /// The hash under which a key of `owner` is stored.
    pub fn stored(&self, owner: &str) -> Option<[u8; 32]> {
        let mut all = self.by_salt.values().flatten();
        let (hash, _) = all.find(|(_, name)| &***name == owner)?;
        Some(*hash)
    }

    /// How many there are.
    pub const fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({})", self.count)
    }
}

/// A key made of random bytes, in letters that need no escape in a URL, an SRT stream id or a header.
pub fn text(random: &[u8; 24]) -> String {
    Base64UrlUnpadded::encode_string(random)
}

/// The line under which `key` of `name` is stored.
pub fn line(name: &str, salt: &[u8], key: &str) -> String {
    let (salt_text, hash) = (
        Base64UrlUnpadded::encode_string(salt),
        Base64UrlUnpadded::encode_string(&hash_of(salt, key)),
    );
    format!("{name}:{salt_text}:{hash}")
}

fn hash_of(salt: &[u8], key: &str) -> [u8; 32] {
    let mut hash =
        <Hmac<Sha256> as Mac>::new_from_slice(salt).expect("HMAC takes keys of any length");
    hash.update(key.as_bytes());
    hash.finalize().into_bytes().into()
}

/// As many clients as one proxy can have, with room; each takes about a hundred bytes.
const MOST_KEYS: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_alone() {
        let mut keys = Keys::default();
        let first = line("encoder-1", b"salt", "secret-1");
        assert!(!first.contains("secret-1"), "{first}");
        keys.add(&first).unwrap();
        keys.add(&line("a:b", b"salt", "secret-2")).unwrap();
        keys.add(&line("other", b"pepper", "secret-3")).unwrap();
        let rows = [
            ("secret-1", Some("encoder-1")),
            ("secret-2", Some("a:b")),
            ("secret-3", Some("other")),
            ("secret-4", None),
            ("", None),
        ];
        for (shown, owner) in rows {
            assert_eq!(keys.owner(shown), owner, "{shown}");
        }
        assert_eq!(keys.count(), 3);
        assert_eq!(keys.add(&first), Err(KeyError::Twice));
        assert_eq!(format!("{keys:?}"), "Keys(3)");
    }

    #[test]
    fn what_is_no_line_of_a_key_is_refused() {
        let rows = [
            ("nothing", ""),
            ("a key in the clear", "encoder-1:secret"),
            ("no salt", "a::AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
            (
                "no name",
                ":c2FsdA:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            ),
            ("a short hash", "a:c2FsdA:AAAA"),
            (
                "a hash in hex",
                "a:c2FsdA:000000000000000000000000000000000000000000000000",
            ),
        ];
        for (cause, line) in rows {
            assert_eq!(Keys::default().add(line), Err(KeyError::Form), "{cause}");
        }
    }
}
