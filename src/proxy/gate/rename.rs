//! A stream that a backend knows by another name than the client gave it: one rename, to a name that a client could have
//! given. Whatever denies a stream, and whatever counts it, is about both names.

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::stream::StreamUrl;
use tracing::info;

use super::{Grant, Why};
use crate::proxy::{Proxy, Refusal, Request};
use crate::sessions::question;

impl Proxy {
    /// The request for the stream that its grant names, and the name that the client gave it, if that is another.
    ///
    /// # Errors
    /// [`Refusal::Denied`], where a rule or a ban keeps everybody from the new name.
    pub(in crate::proxy) fn renamed(
        &self,
        request: Request,
        grant: &Grant,
    ) -> Result<(Request, Option<StreamUrl>), Refusal> {
        let Some(stream) = &grant.stream else {
            return Ok((request, None));
        };
        let asked = request.stream.clone();
        let renamed = Request {
            stream: stream.clone(),
            ..request
        };
        let rules = self.shared.gate.rules();
        let nothing = Credentials::default();
        let deciding = rules.deciding(&question(&renamed, &nothing));
        // In the client's own words: the other name is none of its business.
        let denied = || Refusal::Denied {
            stream: asked.clone(),
            why: Why::Forbidden,
            reason: DENIED.to_owned(),
        };
        if deciding.is_some_and(|(_, rule)| rule.denies()) {
            return Err(denied());
        }
        self.refuse_banned(&renamed, &grant.who)
            .map_err(|_| denied())?;
        info!(%asked, %stream, client = %renamed.client, "a backend gave a stream another name");
        Ok((renamed, Some(asked)))
    }
}

const DENIED: &str = "this is not allowed";
