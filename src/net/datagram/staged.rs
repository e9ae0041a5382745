//! Datagrams that are sent together.

use sluicegate_core::flow::LinkId;

use super::links::{Destination, Links};
use super::tally::Tally;

/// Datagrams that wait for others until the end of the batch, by destination.
pub(super) struct Staged {
    groups: Vec<Group>,
    /// The groups that are not empty.
    open: Vec<usize>,
}

/// Datagrams to one destination, all of one size except the last.
struct Group {
    key: u64,
    to: Destination,
    segment: usize,
    bytes: Vec<u8>,
    /// Whether the group is among the open ones.
    open: bool,
}

impl Staged {
    pub(super) fn new() -> Self {
        let group = || Group {
            key: 0,
            to: Destination::Origin(LinkId(0)),
            segment: 0,
            bytes: Vec::new(),
            open: false,
        };
        Self {
            groups: (0..GROUPS).map(|_| group()).collect(),
            open: Vec::with_capacity(GROUPS),
        }
    }

    /// Adds a datagram. Datagrams of one key leave in the order in which they were added.
    pub(super) fn push(
        &mut self,
        key: u64,
        to: Destination,
        data: &[u8],
        links: &mut Links,
        tally: &mut Tally,
    ) {
        // Two keys that share a slot flush each other: that costs a call and nothing else.
        let place = (key.wrapping_mul(SPREAD) >> (u64::BITS - GROUPS.ilog2())) as usize;
        let Some(group) = self.groups.get_mut(place) else {
            return;
        };
        let fits = group.key == key
            && group.to == to
            && data.len() <= group.segment
            && group.bytes.len() + data.len() <= MAX_SEND
            && group.bytes.len() / group.segment.max(1) < links.most_segments(to);
        if !group.bytes.is_empty() && !fits {
            group.send(links, tally);
        }
        if group.bytes.is_empty() {
            group.key = key;
            group.to = to;
            group.segment = data.len();
            if !group.open {
                group.open = true;
                self.open.push(place);
            }
        }
        group.bytes.extend_from_slice(data);
        if data.len() < group.segment {
            // Only the last datagram may be shorter.
            group.send(links, tally);
        }
    }

    /// Sends everything.
    pub(super) fn flush(&mut self, links: &mut Links, tally: &mut Tally) {
        for place in self.open.drain(..) {
            if let Some(group) = self.groups.get_mut(place) {
                group.open = false;
                group.send(links, tally);
            }
        }
    }
}

impl Group {
    fn send(&mut self, links: &mut Links, tally: &mut Tally) {
        if self.bytes.is_empty() {
            return;
        }
        let segment = (self.bytes.len() > self.segment).then_some(self.segment);
        links.send(self.to, &self.bytes, segment, tally);
        self.bytes.clear();
    }
}

/// Maximum bytes that one call may send: an IP packet before it is split, less its headers.
const MAX_SEND: usize = 65_000;
/// Maximum destinations that are gathered for at the same time; each may hold [`MAX_SEND`] bytes.
const GROUPS: usize = 64;
/// 2^64 divided by the golden ratio: spreads neighbouring keys.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
