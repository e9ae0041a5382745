//! `txSecret` and `txTime` of Tencent's CSS: a hash over the key, the name of the stream and the time as it is written.

use md5::{Digest, Md5};
use sha2::Sha256;

use super::{Fault, decimal, equal, grant, hex};
use crate::access::question::Question;
use crate::access::verdict::Grant;

/// What the operator chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tencent {
    /// SHA-256 in place of MD5.
    pub sha256: bool,
    /// Seconds from `txTime` to the end: the life of the key.
    pub life: u64,
}

impl Tencent {
    pub(super) fn check(
        &self,
        question: &Question<'_>,
        secrets: &[Box<str>],
        now: u64,
    ) -> Result<Grant, Fault> {
        let query = question.query();
        let shown = query.raw(SIGN).ok_or(Fault::Missing)?;
        let time = query.raw(TIME).ok_or(Fault::Missing)?;
        let shown = shown.to_ascii_lowercase();
        let stream = question.stream.stream();
        let fits = |secret: &str| {
            let parts = [secret, stream, time];
            let hash = if self.sha256 {
                hex(&parts
                    .iter()
                    .fold(Sha256::new(), Sha256::chain_update)
                    .finalize())
            } else {
                hex(&parts.iter().fold(Md5::new(), Md5::chain_update).finalize())
            };
            equal(hash.as_bytes(), shown.as_bytes())
        };
        if !secrets.iter().any(|secret| fits(secret)) {
            return Err(Fault::Wrong);
        }
        let end = seconds(time).ok_or(Fault::Wrong)?.saturating_add(self.life);
        if end <= now {
            return Err(Fault::Expired);
        }
        Ok(grant(Some(end), &[SIGN, TIME]))
    }
}

/// Hexadecimal as the documentation has it; ten decimal digits are seconds too, which as hexadecimal would be the year
/// 5000 and later.
fn seconds(time: &str) -> Option<u64> {
    if let (10, Some(seconds)) = (time.len(), decimal(time)) {
        return Some(seconds);
    }
    let is_hex = !time.is_empty() && time.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(time, 16).ok()).flatten()
}

const SIGN: &str = "txSecret";
const TIME: &str = "txTime";
