//! Datagrams that leave together.

use sluicegate_core::flow::LinkId;

use super::links::{Destination, Links};
use super::tally::Tally;

/// Datagrams that wait for company until the end of the batch, by their destination.
pub(super) struct Staged {
    groups: Vec<Group>,
    /// The groups that hold something.
    open: Vec<usize>,
}

/// Datagrams to one destination, of one size but for the last.
struct Group {
    key: u64,
    to: Destination,
    segment: usize,
    bytes: Vec<u8>,
    /// It stands among the open ones.
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

    /// Adds a datagram. Those of one key leave in the order they came in.
    pub(super) fn push(
        &mut self,
        key: u64,
        to: Destination,
        data: &[u8],
        links: &mut Links,
        tally: &mut Tally,
    ) {
        // Two keys that meet in a place send each other off: it costs a call and nothing else.
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
            // Only the last may be shorter.
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

/// Bytes one call may send: an IP packet before it is cut, less its headers.
const MAX_SEND: usize = 65_000;
/// Destinations gathered for at once: each may hold [`MAX_SEND`] bytes.
const GROUPS: usize = 64;
/// 2^64 divided by the golden ratio: spreads neighbouring keys.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
