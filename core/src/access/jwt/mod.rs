//! JSON Web Tokens (RFC 7519), signed as JWS in compact form (RFC 7515).
//!
//! What a token may be signed with is fixed by the key, never by the token: the algorithm in its header has to be the
//! key's. Encrypted tokens, unknown critical parameters and keys that a token brings along are refused or ignored
//! (RFC 8725). Every token has an end.

mod claims;
mod keys;

pub use claims::{Claims, Permissions};
pub use keys::{Algorithm, JwtKeys, KeySetError};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Map, Value};

use super::identity::{Identity, name_of};
use super::question::Question;
use super::verdict::{Denial, Grant, Verdict, Why};

/// How tokens are checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// The keys that sign.
    pub keys: JwtKeys,
    /// Where more of them are published, which are fetched now and then.
    pub published_at: Option<Box<str>>,
    /// The `iss` that a token must have.
    pub issuer: Option<Box<str>>,
    /// The `aud` that a token must have, alone or among others.
    pub audience: Option<Box<str>>,
    /// What the claims mean.
    pub claims: Claims,
    /// The query parameters and cookies in which a token may stand, besides `Authorization`.
    pub parameters: Vec<Box<str>>,
}

/// What is wrong with a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// A claim is missing or of another type than it has to be.
    #[error("a claim of the token is missing or malformed")]
    Claim,
    /// Its end has come.
    #[error("the token has expired")]
    Expired,
    /// It is not a signed token.
    #[error("the token is malformed")]
    Form,
    /// It is for somebody else, or by somebody else.
    #[error("the token is for another audience or by another issuer")]
    Foreign,
    /// It is longer than [`MOST_BYTES`].
    #[error("the token is too long")]
    Long,
    /// Its time has not begun.
    #[error("the token is not valid yet")]
    NotYet,
    /// No key is known that signed it.
    #[error("the token's signature is wrong")]
    Wrong,
}

impl Jwt {
    /// Whether a client shows a token that names a key which is none of these, so that keys may have been published since
    /// they were fetched.
    pub fn names_unknown_key(&self, question: &Question<'_>, published: &JwtKeys) -> bool {
        let Some(shown) = question.shown(&self.parameters).next() else {
            return false;
        };
        let Some((header, _)) = shown.text.split_once('.') else {
            return false;
        };
        if header.len() > MOST_BYTES {
            return false;
        }
        let header = object(header).unwrap_or_default();
        let id = header.get("kid").and_then(Value::as_str);
        id.is_some_and(|id| !published.knows(id) && !self.keys.knows(id))
    }

    /// Whether a client shows a token that allows what it asks for, signed by one of the keys of the settings or of
    /// `published`. `now` is in seconds since 1970.
    pub fn check(&self, question: &Question<'_>, published: &JwtKeys, now: u64) -> Verdict {
        let Some(shown) = question.shown(&self.parameters).next() else {
            return Verdict::No(Denial::nothing_shown("a token is needed"));
        };
        let claims = match self.verify(&shown.text, published, now) {
            Ok(claims) => claims,
            Err(error) => return Verdict::No(error.into()),
        };
        if !self.claims.allow(&claims, question) {
            let words = format!(
                "the token does not allow to {} this stream",
                question.action
            );
            return Verdict::No(Denial::new(Why::Forbidden, words));
        }
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        Verdict::Yes(Grant {
            valid_until: claims.get("exp").and_then(seconds),
            who: Identity {
                token: text("jti").and_then(name_of),
                ..Identity::viewer(text("sub").unwrap_or_default())
            },
            used: shown.parameter.into_iter().map(Into::into).collect(),
            headers: shown.header.into_iter().collect(),
            ..Grant::default()
        })
    }

    /// The claims of a token that is genuine, for us, and not over.
    ///
    /// # Errors
    /// [`TokenError`]
    pub fn verify(
        &self,
        token: &str,
        published: &JwtKeys,
        now: u64,
    ) -> Result<Map<String, Value>, TokenError> {
        if token.len() > MOST_BYTES {
            return Err(TokenError::Long);
        }
        // Counted before it is split. A token of five parts is an encrypted one.
        if token.bytes().filter(|byte| *byte == b'.').count() != 2 {
            return Err(TokenError::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(TokenError::Form)?;
        let header = object(header)?;
        if header.contains_key("crit") || header.contains_key("enc") {
            return Err(TokenError::Form);
        }
        let text = |field: &str| match header.get(field) {
            None => Ok(None),
            Some(value) => value.as_str().map(Some).ok_or(TokenError::Form),
        };
        let algorithm = text("alg")?.ok_or(TokenError::Form)?;
        let signature = Base64UrlUnpadded::decode_vec(signature).map_err(|_| TokenError::Form)?;
        let id = text("kid")?;
        let signed_by = |keys: &JwtKeys| keys.signed(id, algorithm, signed.as_bytes(), &signature);
        if !signed_by(&self.keys) && !signed_by(published) {
            return Err(TokenError::Wrong);
        }
        let claims = object(payload)?;
        self.check_claims(&claims, now)?;
        Ok(claims)
    }

    fn check_claims(&self, claims: &Map<String, Value>, now: u64) -> Result<(), TokenError> {
        let time = |claim: &str| match claims.get(claim) {
            None => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or(TokenError::Claim),
        };
        // RFC 7519 lets a token last for ever; here each has an end.
        if time("exp")?.ok_or(TokenError::Claim)? <= now {
            return Err(TokenError::Expired);
        }
        for claim in ["nbf", "iat"] {
            if time(claim)?.is_some_and(|begin| begin > now.saturating_add(LEEWAY)) {
                return Err(TokenError::NotYet);
            }
        }
        let is = |value: &Value, wanted: &str| value.as_str() == Some(wanted);
        if let Some(issuer) = &self.issuer
            && !claims.get("iss").is_some_and(|value| is(value, issuer))
        {
            return Err(TokenError::Foreign);
        }
        if let Some(audience) = &self.audience {
            let named = claims.get("aud").is_some_and(|value| match value {
                Value::Array(several) => several.iter().any(|value| is(value, audience)),
                one => is(one, audience),
            });
            if !named {
                return Err(TokenError::Foreign);
            }
        }
        Ok(())
    }
}

impl From<TokenError> for Denial {
    fn from(error: TokenError) -> Self {
        let why = match error {
            TokenError::Expired => Why::Expired,
            TokenError::Foreign | TokenError::NotYet => Why::Forbidden,
            TokenError::Claim | TokenError::Form | TokenError::Long | TokenError::Wrong => {
                Why::Unknown
            }
        };
        Self::new(why, error.to_string())
    }
}

/// A part of a token that is a JSON object.
fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    let bytes = Base64UrlUnpadded::decode_vec(part).map_err(|_| TokenError::Form)?;
    serde_json::from_slice(&bytes).map_err(|_| TokenError::Form)
}

/// A NumericDate (RFC 7519 §2): a number of seconds, perhaps with a fraction, which is dropped.
fn seconds(value: &Value) -> Option<u64> {
    let number = value.as_number()?;
    number.as_u64().or_else(|| {
        let seconds = number.as_f64()?;
        // Beyond 2^53, a float is no time.
        (0.0..=9_007_199_254_740_992.0)
            .contains(&seconds)
            .then_some(seconds as u64)
    })
}

/// Bytes of a token: twice what the largest in use take.
pub const MOST_BYTES: usize = 8 * 1024;
/// Seconds by which the clock of who issued a token may be ahead of ours.
const LEEWAY: u64 = 30;

#[cfg(test)]
mod tests;
