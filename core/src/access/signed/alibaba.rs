//! `auth_key` of Alibaba's CDN, type A: `TIME-RANDOM-USER-HASH`, where the hash is the MD5 of the URI, these and the key.

use md5::{Digest, Md5};

use super::{Fault, decimal, equal, grant, hex};
use crate::access::question::Question;
use crate::access::verdict::Grant;

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alibaba {
    /// Seconds from the time in the address to its end.
    pub life: u64,
    /// The parameter, `auth_key` by default.
    pub parameter: Box<str>,
}

impl Alibaba {
    pub(super) fn check(
        &self,
        question: &Question<'_>,
        secrets: &[Box<str>],
        now: u64,
    ) -> Result<Grant, Fault> {
        let shown = question
            .query()
            .raw(&self.parameter)
            .ok_or(Fault::Missing)?;
        let (signed, sign) = shown.rsplit_once('-').ok_or(Fault::Wrong)?;
        let sign = sign.to_ascii_lowercase();
        let uri = question.uri();
        let fits = |secret: &str| {
            let hash = Md5::new()
                .chain_update(&uri)
                .chain_update("-")
                .chain_update(signed)
                .chain_update("-")
                .chain_update(secret);
            equal(hex(&hash.finalize()).as_bytes(), sign.as_bytes())
        };
        if !secrets.iter().any(|secret| fits(secret)) {
            return Err(Fault::Wrong);
        }
        let mut parts = signed.split('-');
        let time = parts.next().and_then(decimal).ok_or(Fault::Wrong)?;
        let (_random, user) = (parts.next(), parts.next());
        if user.is_none() || parts.next().is_some() {
            return Err(Fault::Wrong);
        }
        let end = time.saturating_add(self.life);
        if end <= now {
            return Err(Fault::Expired);
        }
        Ok(grant(Some(end), &[&self.parameter]))
    }
}
