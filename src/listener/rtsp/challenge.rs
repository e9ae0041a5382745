//! In which ways a client may say who it is, and what it answers. A challenge holds for the connection that it came on.

use sluicegate_core::access::challenge::{Answer, REALM};
use sluicegate_core::access::rules::Challenges;
use sluicegate_core::rtsp::message::Message;

use super::refused;
use crate::proxy::{Refusal, Why};
use crate::random;

/// What a request is told that does not say who asks.
pub(super) struct Challenge<'a> {
    pub(super) challenges: Challenges,
    /// What clients hash with their password; the one of the latest challenge counts.
    pub(super) nonce: &'a mut Option<String>,
}

impl Challenge<'_> {
    /// A refusal, with a challenge if that may help: the first request of a client shows nothing, even if its user gave it
    /// a password (RFC 2326 §14.46).
    pub(super) fn refused(self, refusal: &Refusal, request: &Message) -> Vec<u8> {
        let is_unknown = matches!(
            refusal,
            Refusal::Denied {
                why: Why::Unknown,
                ..
            }
        );
        let fields = if is_unknown {
            self.fields()
        } else {
            String::new()
        };
        refused(refusal, request, &fields)
    }

    /// `WWW-Authenticate`, the one that shows least of a password first.
    fn fields(self) -> String {
        let mut fields = String::new();
        if !self.challenges.digest.is_empty() {
            let nonce = self.nonce.insert(nonce());
            for scheme in &self.challenges.digest {
                fields.push_str(&format!(
                    "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce}\", algorithm={}\r\n",
                    scheme.as_str()
                ));
            }
        }
        if self.challenges.basic {
            fields.push_str(&format!("WWW-Authenticate: Basic realm=\"{REALM}\"\r\n"));
        }
        fields
    }
}

/// What a request answers to the challenge of this connection.
pub(super) fn answer(request: &Message, nonce: Option<&str>) -> Option<Answer> {
    let field = request.field("authorization")?;
    let line = request.bytes().split(|byte| *byte == b' ').next()?;
    let method = std::str::from_utf8(line).ok()?;
    Answer::of_digest(field, nonce?, method, request.uri())
}

fn nonce() -> String {
    format!("{:032x}", u128::from_ne_bytes(random::bytes()))
}
