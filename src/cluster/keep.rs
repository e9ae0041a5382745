//! What a proxy of a cluster does by the clock: shows itself, gives what it knows its time, and looks for what nobody
//! tells it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::access::bans::Ban;
use sluicegate_core::cluster::build::BuildRecord;
use sluicegate_core::cluster::peers::{DUTY, PROXY, REPORT};
use sluicegate_core::cluster::records::prefix;
use tokio::time::interval;

use super::Cluster;

impl Cluster {
    /// For ever.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut ticks = interval(LOOK_EVERY);
        let mut heard = HashMap::new();
        let mut round = 0_u64;
        loop {
            ticks.tick().await;
            if round > 0 && !self.store.tells_of_changes() && self.was_forgotten().await {
                // Where nobody tells of changes, a store that was emptied does not say so either.
                self.take_stock().await;
            }
            if round.is_multiple_of(ROUNDS_A_MINUTE) {
                self.show_build().await;
                self.keep_bans().await;
            }
            self.show_itself().await;
            if !self.store.tells_of_changes() && round > 0 {
                self.read_the_others().await;
            } else if !self.store.tells_of_repetitions() {
                // A proxy that shows itself again says what it said before.
                self.read_peers().await;
            }
            self.keep_duties();
            self.keep_used().await;
            self.keep_leaving().await;
            heard = self.keep_calls(round, heard).await;
            if round.is_multiple_of(ROUNDS_AN_HOUR) {
                self.renew_words().await;
            }
            round += 1;
        }
    }

    /// Reads everything that others may have written: at the start, after a gap, and where nobody tells of changes.
    pub(super) async fn read_the_others(&self) {
        let builds = prefix::<BuildRecord>();
        let bans = prefix::<Ban>();
        let listed = self
            .store
            .list_all(&[PROXY, DUTY, REPORT, &builds, &bans])
            .await;
        if let Ok(rows) = self.noted("list", listed) {
            let of = |kind: &str| {
                let rows = rows.iter().filter(|(key, _)| key.starts_with(kind));
                rows.cloned().collect::<Vec<_>>()
            };
            self.builds_listed(&of(&builds));
            self.bans_listed(&of(&bans)).await;
            self.peers_listed(&of(PROXY));
            self.duties_listed(&of(DUTY)).await;
            self.reports_listed(&of(REPORT)).await;
        }
        self.read_counts().await;
        self.look_after_calls().await;
    }
}

/// A third of the time after which a silent client of a call is given up, and a silent proxy.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const ROUNDS_A_MINUTE: u64 = 60 / LOOK_EVERY.as_secs();
const ROUNDS_AN_HOUR: u64 = 3600 / LOOK_EVERY.as_secs();
