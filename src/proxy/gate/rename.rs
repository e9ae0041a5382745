//! A stream that a backend knows by another name than the client gave it: one rename, to a name that a client could have
//! given. Whatever denies a stream, and whatever counts it, is about both names.

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::stream::StreamUrl;
use tracing::info;

use super::{Grant, Why};
use crate::proxy::{Proxy, Refusal, Request};
use crate::sessions::question;

impl Proxy {
    /// The request for the stream that its grant names, if that is another than the client named.
    ///
    /// # Errors
    /// [`Refusal::Denied`], where a rule or a ban keeps everybody from the new name.
    pub(in crate::proxy) fn renamed(
        &self,
        request: &Request,
        grant: &Grant,
    ) -> Result<Option<Request>, Refusal> {
        let Some(stream) = &grant.stream else {
            return Ok(None);
        };
        let asked = &request.stream;
        let renamed = Request {
            stream: stream.clone(),
            ..request.clone()
        };
        let rules = self.shared.gate.rules();
        let nothing = Credentials::default();
        // In the client's own words: the other name is none of its business.
        let denied = || Refusal::Denied {
            stream: asked.clone(),
            why: Why::Forbidden,
            reason: DENIED.to_owned(),
        };
        if rules.deny(&question(&renamed, &nothing)) {
            return Err(denied());
        }
        self.refuse_banned(&renamed, &grant.who)
            .map_err(|_| denied())?;
        info!(%asked, %stream, client = %renamed.client, "a backend gave a stream another name");
        Ok(Some(renamed))
    }
}

/// The request that counts of one and what [`renamed`](Proxy::renamed) made of it, and what the client called its stream, if
/// that is another name.
pub(in crate::proxy) fn by_last_name(
    request: Request,
    renamed: Option<Request>,
) -> (Request, Option<StreamUrl>) {
    match renamed {
        Some(renamed) => (renamed, Some(request.stream)),
        None => (request, None),
    }
}

/// What a client hears whose stream is denied by its other name.
pub(super) const DENIED: &str = "this is not allowed";
