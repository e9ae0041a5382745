//! What a shard counts.

use prometheus_client::metrics::counter::Counter;
use sluicegate_core::flow::DropReason;

use crate::metrics::{DropLabels, ListenerLabel, Metrics};

/// The counts of a shard. They are added to the metrics now and then, because all shards share those counters.
pub(super) struct Tally {
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) unsent: u64,
    dropped: [u64; DropReason::ALL.len()],
    received_total: Counter,
    sent_total: Counter,
    unsent_total: Counter,
    dropped_total: [Counter; DropReason::ALL.len()],
}

impl Tally {
    pub(super) fn new(listener: &'static str, metrics: &Metrics) -> Self {
        let label = ListenerLabel { listener };
        // A statement of its own for each: a family is locked until the end of the statement.
        let received_total = metrics.datagrams_received.get_or_create(&label).clone();
        let sent_total = metrics.datagrams_sent.get_or_create(&label).clone();
        let dropped = |reason: &'static str| {
            let labels = DropLabels { listener, reason };
            metrics.datagrams_dropped.get_or_create(&labels).clone()
        };
        let unsent_total = dropped("unsent");
        Self {
            received: 0,
            sent: 0,
            unsent: 0,
            dropped: [0; DropReason::ALL.len()],
            received_total,
            sent_total,
            unsent_total,
            dropped_total: DropReason::ALL.map(|reason| dropped(reason.as_str())),
        }
    }

    pub(super) fn drop(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }

    pub(super) fn settle(&mut self) {
        self.received_total
            .inc_by(std::mem::take(&mut self.received));
        self.sent_total.inc_by(std::mem::take(&mut self.sent));
        self.unsent_total.inc_by(std::mem::take(&mut self.unsent));
        for (count, total) in self.dropped.iter_mut().zip(&self.dropped_total) {
            total.inc_by(std::mem::take(count));
        }
    }
}
