//! Our own signature: HMAC-SHA-256 over what is asked for, not over how it is spelled, so that one signed link works
//! over any protocol and port of the proxy.
//!
//! ```text
//! sgend=1800000000&sgfor=viewer7&sgip=192.0.2.10&sgsign=BASE64URL
//! ```
//!
//! `sgfor` (who it is for) and `sgip` (the only address that may use it) may be missing. The signed text is one line for
//! each of: `sluicegate 1`, the action, `vhost/app/stream`, `sgend`, `sgfor`, `sgip`; a missing one is an empty line.

use std::net::IpAddr;

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{Fault, decimal, grant};
use crate::access::identity::Identity;
use crate::access::question::Question;
use crate::access::verdict::Grant;
use crate::stream::{Action, StreamUrl};

/// What one signed address allows.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// What may be done.
    pub action: Action,
    /// With which stream.
    pub stream: &'a StreamUrl,
    /// Until when, in seconds since 1970.
    pub end: u64,
    /// Who it is for.
    pub viewer: Option<&'a str>,
    /// The only address that may use it.
    pub address: Option<IpAddr>,
}

/// The parameters to add to an address.
pub fn sign(terms: &Terms<'_>, secret: &str) -> String {
    let address = terms.address.map(|address| address.to_string());
    let end = terms.end.to_string();
    let viewer = terms.viewer.unwrap_or_default();
    let address = address.unwrap_or_default();
    let hash = mac(
        secret,
        terms.action,
        terms.stream,
        &[&end, viewer, &address],
    );
    let sign = Base64UrlUnpadded::encode_string(&hash.finalize().into_bytes());
    let mut query = format!("{END}={end}");
    for (name, value) in [(FOR, viewer), (ADDRESS, &address)] {
        if !value.is_empty() {
            query.push_str(&format!("&{name}={value}"));
        }
    }
    format!("{query}&{SIGN}={sign}")
}

pub(super) fn check(
    question: &Question<'_>,
    secrets: &[Box<str>],
    now: u64,
) -> Result<Grant, Fault> {
    let query = question.query();
    let shown = query.raw(SIGN).ok_or(Fault::Missing)?;
    let end = query.raw(END).ok_or(Fault::Missing)?;
    let viewer = query.raw(FOR).unwrap_or_default();
    let address = query.raw(ADDRESS).unwrap_or_default();
    let shown = Base64UrlUnpadded::decode_vec(shown).map_err(|_| Fault::Wrong)?;
    let fits = secrets.iter().any(|secret| {
        let hash = mac(
            secret,
            question.action,
            question.stream,
            &[end, viewer, address],
        );
        hash.verify_slice(&shown).is_ok()
    });
    if !fits {
        return Err(Fault::Wrong);
    }
    let end = decimal(end).ok_or(Fault::Wrong)?;
    if end <= now {
        return Err(Fault::Expired);
    }
    if !address.is_empty() && address.parse() != Ok(question.client.to_canonical()) {
        return Err(Fault::Elsewhere);
    }
    Ok(Grant {
        who: Identity::viewer(viewer),
        ..grant(Some(end), &[END, FOR, ADDRESS, SIGN])
    })
}

fn mac(secret: &str, action: Action, stream: &StreamUrl, rest: &[&str; 3]) -> Hmac<Sha256> {
    let mut hash = <Hmac<Sha256> as Mac>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes keys of any length");
    for line in [KIND, action.as_str(), stream.as_str()].iter().chain(rest) {
        hash.update(line.as_bytes());
        hash.update(b"\n");
    }
    hash
}

/// A signature of another version is another text.
const KIND: &str = "sluicegate 1";
const END: &str = "sgend";
const FOR: &str = "sgfor";
const ADDRESS: &str = "sgip";
const SIGN: &str = "sgsign";
