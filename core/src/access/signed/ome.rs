//! SignedPolicy of OvenMediaEngine: HMAC-SHA-1 over the whole URL that the client used, with a policy in JSON in it.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use serde_json::{Map, Value};
use sha1::Sha1;

use super::{Fault, grant};
use crate::access::networks::Network;
use crate::access::query;
use crate::access::question::Question;
use crate::access::verdict::Grant;

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ome {
    /// The parameter with the policy, `policy` by default.
    pub policy: Box<str>,
    /// The parameter with the signature, `signature` by default.
    pub signature: Box<str>,
}

impl Ome {
    pub(super) fn check(
        &self,
        question: &Question<'_>,
        secrets: &[Box<str>],
        now: u64,
    ) -> Result<Grant, Fault> {
        let query = question.query();
        let policy = query.raw(&self.policy).ok_or(Fault::Missing)?;
        let shown = query.raw(&self.signature).ok_or(Fault::Missing)?;
        let url = question.credentials.url.as_deref().ok_or(Fault::Missing)?;
        let signed = query::strip(url, &[&self.signature]);
        let shown = decode(shown).ok_or(Fault::Wrong)?;
        let fits = secrets.iter().any(|secret| {
            let mut hash = <Hmac<Sha1> as Mac>::new_from_slice(secret.as_bytes())
                .expect("HMAC takes keys of any length");
            hash.update(signed.as_bytes());
            hash.verify_slice(&shown).is_ok()
        });
        if !fits {
            return Err(Fault::Wrong);
        }
        let policy = decode(policy).ok_or(Fault::Wrong)?;
        let policy: Map<String, Value> =
            serde_json::from_slice(&policy).map_err(|_| Fault::Wrong)?;
        self.follow(&policy, question, now)
    }

    /// What a policy that is genuine allows.
    fn follow(
        &self,
        policy: &Map<String, Value>,
        question: &Question<'_>,
        now: u64,
    ) -> Result<Grant, Fault> {
        let milliseconds = |key: &str| match policy.get(key) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(Fault::Wrong),
        };
        let now = now.saturating_mul(1000);
        let end = milliseconds("url_expire")?.ok_or(Fault::Wrong)?;
        let stream_end = milliseconds("stream_expire")?;
        if end <= now || stream_end.is_some_and(|end| end <= now) {
            return Err(Fault::Expired);
        }
        if milliseconds("url_activate")?.is_some_and(|begin| begin > now) {
            return Err(Fault::NotYet);
        }
        // Who connected, and who that stood for: both are the client here, since a proxy in front was believed or not
        // before.
        for key in ["allow_ip", "real_ip"] {
            let Some(network) = policy.get(key) else {
                continue;
            };
            let network = network.as_str().ok_or(Fault::Wrong)?;
            let network: Network = network.parse().map_err(|_| Fault::Wrong)?;
            if !network.contains(question.client) {
                return Err(Fault::Elsewhere);
            }
        }
        Ok(Grant {
            ends_at: stream_end.map(|end| end / 1000),
            ..grant(Some(end / 1000), &[&self.policy, &self.signature])
        })
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text.trim_end_matches('=')).ok()
}
