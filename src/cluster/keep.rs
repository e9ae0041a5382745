//! What a proxy of a cluster does by the clock: shows itself, gives what it knows its time, and looks for what nobody
//! tells it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;

use super::Cluster;
use crate::proxy::Proxy;

impl Cluster {
    /// For ever.
    pub(super) async fn keep(self: Arc<Self>, proxy: Proxy) {
        let mut ticks = interval(LOOK_EVERY);
        let mut heard = HashMap::new();
        let mut round = 0_u64;
        loop {
            ticks.tick().await;
            self.show_itself().await;
            if !self.store.tells_of_changes() && round > 0 {
                self.read_the_others(&proxy).await;
            }
            self.keep_duties();
            heard = self.keep_calls(&proxy, round, heard).await;
            if round.is_multiple_of(ROUNDS_AN_HOUR) {
                self.renew_words().await;
            }
            round += 1;
        }
    }

    /// Reads everything that others may have written: at the start, after a gap, and where nobody tells of changes.
    pub(super) async fn read_the_others(&self, proxy: &Proxy) {
        // A walk over all keys of a Redis Cluster is not for every few seconds.
        if self.knows_the_others() {
            self.list_peers().await;
            self.list_duties().await;
            self.list_reports(proxy).await;
        }
        self.look_after_calls(proxy).await;
    }
}

/// A third of the time after which a silent client of a call is given up, and a silent proxy.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const ROUNDS_AN_HOUR: u64 = 3600 / LOOK_EVERY.as_secs();
