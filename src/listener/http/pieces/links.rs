//! Links that a request shows, and where they lead.

use std::net::IpAddr;

use hyper::StatusCode;
use sluicegate_core::access::networks::Network;
use sluicegate_core::http::link::{Link, LinkError, Viewing};
use sluicegate_core::http::route::Piece;
use sluicegate_core::stream::Service;

use super::Pieces;
use crate::listener::http::Http;
use crate::proxy::{Attempt, PieceGuard, Proxy};
use crate::unix_time;

impl Pieces {
    /// The link that a request target has, if it counts.
    pub(in crate::listener::http) fn link(&self, text: Option<&str>) -> Option<Link> {
        let opened = self.open(text).ok().flatten();
        opened.map(|(link, _)| link)
    }

    /// Whether a link was sealed here, whether or not it still counts.
    pub(super) fn is_ours(&self, text: &str) -> bool {
        [&self.granting, &self.key].iter().any(|key| {
            let opened = key.open(text, unix_time::seconds());
            matches!(opened, Ok(_) | Err(LinkError::Expired))
        })
    }

    /// The link in a request target, if there is one that counts, and whether it shows that its holder was let in.
    pub(super) fn open(
        &self,
        text: Option<&str>,
    ) -> Result<Option<(Link, bool)>, (StatusCode, String)> {
        let Some(text) = text else { return Ok(None) };
        for (key, lets_in) in [(&self.granting, true), (&self.key, false)] {
            match key.open(text, unix_time::seconds()) {
                Ok(link) => return Ok(Some((link, lets_in))),
                Err(LinkError::Forged) => {
                    return Err((StatusCode::FORBIDDEN, LinkError::Forged.to_string()));
                }
                Err(LinkError::Expired | LinkError::Foreign) => {}
            }
        }
        Ok(None)
    }
}

/// Whether a link of this viewing lets its holder have something of this kind, there where the client is.
pub(super) fn counts(viewing: &Viewing, kind: Piece, client: IpAddr) -> bool {
    let is_there = |network: Network| network.contains(client);
    (kind == Piece::Segment || !viewing.is_for_pieces) && viewing.network.is_none_or(is_there)
}

/// What a link says to dial, where nothing we know says otherwise: an origin of the fleet is dialled where it is
/// registered, and only while it is up; a playlist is asked for where its stream is now. An origin that we never
/// heard of may be another proxy's.
pub(super) fn linked(
    http: &Http,
    proxy: &Proxy,
    place: &PieceGuard,
    link: &Link,
    kind: Piece,
) -> Option<Attempt> {
    let registry = proxy.registry();
    let standing = registry.holder(&proxy.key(&link.stream));
    let moved = standing.is_some_and(|standing| standing != link.origin);
    if moved && kind != Piece::Segment {
        return None;
    }
    if registry.of_member(&link.origin, |_| ()).is_some() {
        // A playlist makes the claim, so it goes the way of all requests; its link only says which origin is first.
        return place
            .attempt(&link.origin)
            .filter(|_| kind == Piece::Segment);
    }
    http.dialer.connector.check(&link.target.host).ok()?;
    let (origin, target) = (&link.origin, link.target.clone());
    let time_limit = place.time_limit();
    Some(Attempt::at(
        registry,
        origin,
        Service::Http,
        target,
        time_limit,
    ))
}

/// When a link that is made now is over: on the hour, so that the links of an hour are equal.
pub(super) const fn expiry(now: u64) -> u64 {
    (now / HOUR + LINK_HOURS) * HOUR
}

const HOUR: u64 = 3600;
/// Longer than anybody pauses; after that the path still serves.
const LINK_HOURS: u64 = 24;
