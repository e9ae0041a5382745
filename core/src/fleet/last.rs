//! Whether clients would find nobody if one origin took no more streams.

use std::time::Instant;

use super::{Member, State};
use crate::fleet::origin::OriginId;
use crate::stream::Service;

/// The services for clients that nobody would take new streams for if the origin `id` did so no more: those that it offers, and
/// no other active origin that is up. In order; none where it takes no new streams by now, or is not among the `members`. One with a
/// weight of 0 takes none.
pub fn last_for(members: &[(OriginId, Member)], now: Instant, id: &OriginId) -> Vec<Service> {
    let offers = |member: &Member, service| {
        member.duty.takes_streams()
            && member.origin.attributes.weight > 0
            && member.origin.serves(service)
    };
    let is_last = |service: &Service| {
        let mut own = members.iter().filter(|(one, _)| one == id);
        let mut others = members.iter().filter(|(one, _)| one != id);
        // Whether it is up itself is no matter: one that fell silent for a moment is all there is, too.
        own.any(|(_, member)| offers(member, *service))
            && !others.any(|(_, other)| offers(other, *service) && other.state(now) == State::Up)
    };
    FOR_CLIENTS.into_iter().filter(is_last).collect()
}

/// What clients publish and play by. An origin's HTTP API is for callers and operators.
const FOR_CLIENTS: [Service; 5] = [
    Service::Http,
    Service::Rtc,
    Service::Rtmp,
    Service::Rtsp,
    Service::Srt,
];
