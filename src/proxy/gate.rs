//! The gate: whether a client may have what it asks for.
//!
//! Every request of every protocol comes here once, in [`Proxy::open`] or [`Proxy::place`], before anything is done for
//! it: it has no row, no share in a placement, and no origin has heard of it. For now the gate lets everybody in; the
//! origins decide, as they always did, since what a client showed reaches them unchanged.

use std::time::Duration;

use super::{Proxy, Refusal, Request};

/// The answer of the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may, on these terms.
    Yes(Grant),
    /// It may not.
    No(Denial),
    /// That cannot be said now; the client may ask again after this long.
    Later(Duration),
}

/// What a client may do. There are no terms yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Grant {}

/// Why a client may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// In words that the client may read.
    pub reason: String,
}

impl Proxy {
    /// Whether a request may go on.
    pub async fn admit(&self, _request: &Request) -> Verdict {
        Verdict::Yes(Grant::default())
    }

    /// Takes a request through the gate.
    pub(super) async fn pass_gate(&self, request: &Request) -> Result<Grant, Refusal> {
        let stream = || request.stream.clone();
        match self.admit(request).await {
            Verdict::Yes(grant) => Ok(grant),
            Verdict::No(Denial { reason }) => Err(Refusal::Denied {
                stream: stream(),
                reason,
            }),
            Verdict::Later(after) => Err(Refusal::NotYet {
                stream: stream(),
                after,
            }),
        }
    }
}
