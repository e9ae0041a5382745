//! What a browser shows after somebody logged in with a token: a pass, which the proxy recognises without keeping it.
//!
//! A pass names whose token was shown and is signed with a key that belongs to that token. So a change of the token ends
//! every pass.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// A login, and when it was last used. Times are seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// When the token was typed.
    pub since: u64,
    /// When the pass was given out; a newer one replaces it while it is used.
    pub renewed: u64,
}

impl Pass {
    /// The pass of somebody who logs in at `now`.
    pub const fn begun(now: u64) -> Self {
        Self {
            since: now,
            renewed: now,
        }
    }

    /// The pass that replaces this one at `now`; `None` while this one is new enough.
    pub const fn replaced(self, now: u64) -> Option<Self> {
        if now.saturating_sub(self.renewed) < RENEWED_AFTER {
            return None;
        }
        Some(Self {
            since: self.since,
            renewed: now,
        })
    }

    /// The pass of `name` as text, for a cookie. `nonce` is random, so that no two passes are equal.
    pub fn seal(self, name: &str, key: &[u8], nonce: u64) -> String {
        let name = Base64UrlUnpadded::encode_string(name.as_bytes());
        let words = format!("{name}.{}.{}.{nonce:x}", self.since, self.renewed);
        let signature =
            Base64UrlUnpadded::encode_string(&signed(key, &words).finalize().into_bytes());
        format!("{words}.{signature}")
    }

    /// Whose pass a text says that it is. Only [`open`](Self::open) shows whether that is so.
    pub fn name(text: &str) -> Option<String> {
        if text.len() > LONGEST {
            return None;
        }
        let (name, _) = text.split_once('.')?;
        String::from_utf8(Base64UrlUnpadded::decode_vec(name).ok()?).ok()
    }

    /// Reads a pass. `None` if it was not signed with `key`, if it was not used for an hour, or if the login was half
    /// a day ago.
    pub fn open(text: &str, key: &[u8], now: u64) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (words, signature) = text.rsplit_once('.')?;
        let signature = Base64UrlUnpadded::decode_vec(signature).ok()?;
        signed(key, words).verify_slice(&signature).ok()?;
        let mut numbers = words.split('.').skip(1);
        let pass = Self {
            since: numbers.next()?.parse().ok()?,
            renewed: numbers.next()?.parse().ok()?,
        };
        // A clock that was set back makes a pass older than it says, never younger.
        let is_fresh =
            now.abs_diff(pass.renewed) <= IDLE && now.abs_diff(pass.since) <= LONGEST_LOGIN;
        is_fresh.then_some(pass)
    }
}

fn signed(key: &[u8], words: &str) -> Hmac<Sha256> {
    let mut hash =
        <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    hash.update(b"sluicegate console pass: ");
    hash.update(words.as_bytes());
    hash
}

/// Seconds after which a pass that is not used is over.
const IDLE: u64 = 3_600;
/// Seconds after which somebody has to log in again: a shift.
const LONGEST_LOGIN: u64 = 12 * 3_600;
/// Seconds after which a pass that is used is replaced.
const RENEWED_AFTER: u64 = 300;
/// Maximum characters of a pass.
const LONGEST: usize = 400;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn opened(pass: Pass, token: &str, now: u64) -> bool {
        Pass::open(&pass.seal("ann", b"token", 7), token.as_bytes(), now) == Some(pass)
    }

    #[test]
    fn a_pass_is_good_for_its_token_and_its_time() {
        let pass = Pass::begun(NOW);
        let used = Pass {
            since: NOW,
            renewed: NOW + LONGEST_LOGIN,
        };
        for (cause, pass, token, now, expected) in [
            ("at once", pass, "token", NOW, true),
            ("within the hour", pass, "token", NOW + IDLE, true),
            ("not used for an hour", pass, "token", NOW + IDLE + 1, false),
            ("the token was changed", pass, "other", NOW, false),
            ("used all day", used, "token", NOW + LONGEST_LOGIN, true),
            (
                "logged in yesterday",
                used,
                "token",
                NOW + LONGEST_LOGIN + 1,
                false,
            ),
            (
                "from a clock that was set back by a day",
                pass,
                "token",
                NOW - 86_400,
                false,
            ),
        ] {
            assert_eq!(opened(pass, token, now), expected, "{cause}");
        }
        assert_eq!(pass.replaced(NOW + RENEWED_AFTER - 1), None);
        let next = pass
            .replaced(NOW + RENEWED_AFTER)
            .expect("it is old enough");
        assert_eq!((next.since, next.renewed), (NOW, NOW + RENEWED_AFTER));
    }

    #[test]
    fn what_was_changed_on_the_way_is_no_pass() {
        let sealed = Pass::begun(NOW).seal("ann", b"token", 7);
        let later = sealed.replacen(&NOW.to_string(), &(NOW + 1).to_string(), 1);
        let other = sealed.replacen("YW5u", "Ym9i", 1);
        assert_eq!(Pass::name(&other).as_deref(), Some("bob"), "what it says");
        for text in [
            other.as_str(),
            later.as_str(),
            "",
            ".",
            "1.2.3.4",
            &sealed[1..],
            &sealed.repeat(9),
        ] {
            assert_eq!(Pass::open(text, b"token", NOW), None, "{text}");
        }
    }
}
