//! Other origins of the fleet that a playlist or manifest names in full: each is asked for what is named there, by a link of
//! its own.

use std::sync::Arc;

use sluicegate_core::http::page::Other;
use sluicegate_core::http::personal::marked;
use sluicegate_core::place::redirect::place_of;
use sluicegate_core::stream::Service;

use super::PieceRequest;
use super::links::expiry;
use crate::listener::http::share::Head;
use crate::proxy::Attempt;
use crate::unix_time;

/// Another origin that an answer names.
pub(super) struct OtherOrigin {
    /// By which name.
    authority: String,
    there: Attempt,
    link: Arc<str>,
}

impl OtherOrigin {
    pub(super) fn named(&self) -> Other<'_> {
        Other {
            authority: [&self.authority],
            link: &self.link,
            origin: &self.there.origin,
        }
    }
}

impl PieceRequest {
    /// The other origins that `body` names. A viewer that was let in gets links of its own to what they have, by `head`.
    pub(super) fn others_in(
        &self,
        attempt: &Attempt,
        body: &[u8],
        head: &mut Head,
    ) -> Vec<OtherOrigin> {
        let mut others: Vec<OtherOrigin> = Vec::new();
        // What is in another encoding names places by the letters that it has in common with this one.
        let text = String::from_utf8_lossy(body);
        let mut rest = &*text;
        let own = attempt.target.to_string();
        let registry = self.proxy.registry();
        while let Some((before, after)) = rest.split_once("://") {
            rest = after;
            let scheme = ["https", "http"]
                .into_iter()
                .find(|scheme| before.ends_with(scheme));
            let authority = after.split(ENDS).next().unwrap_or_default();
            let authority = authority.rsplit('@').next().unwrap_or_default();
            let is_known = authority == own || others.iter().any(|one| one.authority == authority);
            let Some(scheme) = scheme.filter(|_| !is_known && others.len() < MOST) else {
                continue;
            };
            let there = place_of(&format!("{scheme}://{authority}"), Service::Http)
                .and_then(|place| registry.at(Service::Http, &place))
                .and_then(|there| {
                    let time_limit = self.place.time_limit();
                    Attempt::of(registry, &there, Service::Http, time_limit)
                });
            if let Some(there) = there {
                others.push(OtherOrigin {
                    authority: authority.to_owned(),
                    link: self.link_to(&there, others.len(), head),
                    there,
                });
            }
        }
        others
    }

    fn link_to(&self, there: &Attempt, number: usize, head: &mut Head) -> Arc<str> {
        if let Some(leads) = &mut head.leads {
            let place = (there.origin.clone(), there.target.clone());
            leads.others.push(Some(place));
            let number = u8::try_from(number).unwrap_or_default();
            return marked(&self.pieces.mark, number).into();
        }
        let (key, sealed) = (&self.pieces.key, &self.pieces.sealed);
        let expires = expiry(unix_time::seconds());
        sealed.link(key, &self.place.request().stream, there, expires)
    }
}

/// What ends an authority in a text.
const ENDS: [char; 13] = [
    '/', '?', '#', '\\', '"', '\'', '<', '>', '&', ' ', '\t', '\r', '\n',
];
/// Other origins that an answer may name.
const MOST: usize = 16;
