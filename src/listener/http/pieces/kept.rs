//! A kept answer for a request that comes again on its connection: where everybody is let in, finding it is all there is to
//! do.

use sluicegate_core::http::route::Piece;
use sluicegate_core::stream::Protocol;

use super::PieceAsk;
use super::shared::is_for_one;
use crate::listener::http::Http;
use crate::listener::http::ready::{Answer, Ready};
use crate::metrics::KindLabel;
use crate::proxy::Proxy;

/// The kept answer to `ask`, if that was answered before on its connection and nothing has to be decided about it now: no
/// rule, limit or ban is about anybody, and its stream is where it was. The claim on the stream goes on as with any
/// request. `None` says only that the request has to go the usual way.
pub(super) fn answer(http: &Http, ask: &PieceAsk, proxy: &Proxy) -> Option<Ready> {
    let shares = &http.pieces.shares;
    if !shares.keeps() || !proxy.lets_everybody_in() {
        return None;
    }
    let wanted = ask.known()?;
    let like = wanted.like.get()?;
    let stream = wanted.stream(proxy).ok()?;
    let origin = proxy.standing(&stream, Protocol::HttpSegments)?;
    let is_usual = match wanted.link.as_ref().map(|(link, _)| link) {
        // It may lead past the placement, or say who its holder is.
        Some(link) if ask.kind == Piece::Segment || link.viewing.is_some() => false,
        Some(link) => proxy.registry().of_member(&link.origin, |_| ()).is_some(),
        None => true,
    };
    if !is_usual || !like.is_anybodys(&stream, &origin) || is_for_one(proxy, ask.kind, &origin) {
        return None;
    }
    let flight = shares.kept(&like.key)?;
    let Answer::Ready(ready) = flight.answer(&flight.head()?) else {
        return None;
    };
    if !proxy.keep_claim(&stream) {
        return None;
    }
    let kind = KindLabel {
        kind: ask.kind.as_str(),
    };
    proxy.metrics().cache_hits.get_or_create(&kind).inc();
    Some(ready)
}
