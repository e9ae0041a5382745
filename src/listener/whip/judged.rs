//! Whether a client may say something of a call: who was let in by `Authorization` shows it with each request (RFC 9725
//! §4.6).

use std::borrow::Cow;

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::access::question::UsedHeader;
use sluicegate_core::http::head::RequestHead;
use sluicegate_core::rtc::record::Authorized;
use sluicegate_core::stream::Protocol;

use super::{Ask, Refused, refused};
use crate::net::http::Identity;
use crate::proxy::{Request, Session};
use crate::registry::bindings::Call;

impl Ask<'_> {
    /// Lets a request about a call pass that shows what its client was let in by, or something else that lets it in now.
    ///
    /// # Errors
    /// The refusal.
    pub(super) async fn judge(&self, call: &Call) -> Result<(), Refused> {
        if call.authorized == Authorized::No {
            // The path of its resource holds 128 random bits, and no `Authorization` was shown.
            return Ok(());
        }
        let shown = self.credentials(&self.head.target);
        let row = self.proxy.sessions().row(call.session());
        let first = row
            .as_ref()
            .and_then(|row| row.request.credentials.as_deref());
        if let (Some(first), Some(shown)) = (first, &shown)
            && first.shows_the_same_authorization(shown)
        {
            return Ok(());
        }
        let judged = self.proxy.judge_request(&self.about(call, shown)).await;
        judged.map_err(|refusal| refused(&refusal))
    }

    /// A request about a call, for the gate.
    fn about(&self, call: &Call, credentials: Option<Box<Credentials>>) -> Request {
        let row = self.proxy.sessions().row(call.session());
        let asked = row.as_ref().and_then(|row| row.asked());
        Request {
            stream: asked.unwrap_or(&call.stream).clone(),
            action: call.action,
            protocol: Protocol::WebRtc,
            client: self.client(),
            by_way_of: Request::way(self.client(), self.ends.peer),
            bond: None,
            credentials,
        }
    }

    /// What the client showed.
    pub(super) fn credentials(&self, target: &str) -> Option<Box<Credentials>> {
        let identity = self.identity.as_ref().map(Identity::name);
        let (forwarded, asks) = (self.forwarded(), self.proxy.asks_backends());
        self.head.credentials(target, &forwarded, identity, asks)
    }

    /// The head of a request about a call, as the call's origin gets it.
    pub(super) fn head_about(&self, call: &Call) -> Cow<'_, RequestHead> {
        // What its `Authorization` was worth is known of the call; whether cookies may pass, the rule says that counts now.
        let mut used = self.proxy.headers_to_take_out(&self.about(call, None));
        used.retain(|header| *header != UsedHeader::Authorization);
        if call.authorized == Authorized::TakenOut {
            used.push(UsedHeader::Authorization);
        }
        without(&self.head, &used)
    }
}

/// A head without the headers that were used up at the gate.
pub(super) fn without<'a>(head: &'a RequestHead, used: &[UsedHeader]) -> Cow<'a, RequestHead> {
    if used.is_empty() {
        return Cow::Borrowed(head);
    }
    let mut left = head.clone();
    left.take_out(used);
    Cow::Owned(left)
}

/// How the client of a session was let in, where a rule judged it.
pub(super) fn authorized(session: &Session, is_judged: bool) -> Authorized {
    let credentials = session.row().request.credentials.as_deref();
    let is_shown = credentials.is_some_and(Credentials::has_authorization);
    match (is_judged && is_shown, session.headers_taken_out()) {
        (false, _) => Authorized::No,
        (true, []) => Authorized::Passed,
        (true, _) => Authorized::TakenOut,
    }
}
