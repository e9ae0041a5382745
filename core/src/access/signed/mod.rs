//! Signed addresses: a URL that says itself until when it may be used, under a secret that the operator shares with
//! who hands it out.
//!
//! | scheme | canonical text | hash |
//! | --- | --- | --- |
//! | [`ours`] | action, stream, end, viewer, address | HMAC-SHA-256 |
//! | [`nginx`] | the operator's own expression (`secure_link_md5`) | MD5 |
//! | [`tencent`] | key, stream, time | MD5 or SHA-256 |
//! | [`alibaba`] | URI, time, random, user, key (type A) | MD5 |
//! | [`ome`] | the whole URL with its policy (SignedPolicy) | HMAC-SHA-1 |
//!
//! Several secrets may hold at once, so that one can be changed while links that it signed are in use.

pub mod alibaba;
pub mod nginx;
pub mod ome;
pub mod ours;
pub mod tencent;

use std::fmt;

use subtle::ConstantTimeEq;

use super::question::Question;
use super::verdict::{Denial, Grant, Verdict, Why};

/// How addresses are signed.
#[derive(Clone, PartialEq, Eq)]
pub struct Signed {
    /// The scheme, with what it leaves to the operator.
    pub scheme: Scheme,
    /// The secrets that sign, any of them.
    pub secrets: Vec<Box<str>>,
}

/// The schemes.
#[derive(Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Type A of Alibaba's and others' CDNs.
    Alibaba(alibaba::Alibaba),
    /// `secure_link` of nginx.
    Nginx(nginx::Nginx),
    /// SignedPolicy of OvenMediaEngine.
    Ome(ome::Ome),
    /// Our own.
    Ours,
    /// `txSecret` of Tencent's CDN.
    Tencent(tencent::Tencent),
}

impl Signed {
    /// Whether the address that a client used holds. `now` is in seconds since 1970.
    pub fn check(&self, question: &Question<'_>, now: u64) -> Verdict {
        let secrets = &self.secrets;
        let passed = match &self.scheme {
            Scheme::Alibaba(alibaba) => alibaba.check(question, secrets, now),
            Scheme::Nginx(nginx) => nginx.check(question, secrets, now),
            Scheme::Ome(ome) => ome.check(question, secrets, now),
            Scheme::Ours => ours::check(question, secrets, now),
            Scheme::Tencent(tencent) => tencent.check(question, secrets, now),
        };
        match passed {
            Ok(grant) => Verdict::Yes(grant),
            Err(fault) => Verdict::No(fault.into()),
        }
    }

    /// The word that the settings have for the scheme.
    pub const fn name(&self) -> &'static str {
        match self.scheme {
            Scheme::Alibaba(_) => "alibaba",
            Scheme::Nginx(_) => "nginx",
            Scheme::Ome(_) => "ome",
            Scheme::Ours => "sluicegate",
            Scheme::Tencent(_) => "tencent",
        }
    }
}

impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signed({})", self.name())
    }
}

/// What is wrong with a signed address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is for a client at another address.
    #[error("the signed address is for another client")]
    Elsewhere,
    /// Its time is over.
    #[error("the signed address has expired")]
    Expired,
    /// It is not signed.
    #[error("the address is not signed")]
    Missing,
    /// Its time has not begun.
    #[error("the signed address is not valid yet")]
    NotYet,
    /// The signature does not fit.
    #[error("the signature of the address is wrong")]
    Wrong,
}

impl From<Fault> for Denial {
    fn from(fault: Fault) -> Self {
        let why = match fault {
            Fault::Elsewhere | Fault::NotYet => Why::Forbidden,
            Fault::Expired => Why::Expired,
            Fault::Missing | Fault::Wrong => Why::Unknown,
        };
        match fault {
            Fault::Missing => Self::nothing_shown(fault.to_string()),
            fault => Self::new(why, fault.to_string()),
        }
    }
}

/// A grant whose address may be used until `end`, of which the parameters `used` are used up.
fn grant(end: Option<u64>, used: &[&str]) -> Grant {
    Grant {
        valid_until: end,
        used: used.iter().map(|name| (*name).into()).collect(),
        ..Grant::default()
    }
}

/// Whether two texts are equal, in a time that does not tell where they differ.
fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// A number of decimal digits and nothing else.
fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
