//! Bans, as all proxies follow them: a record for each in the store, for as long as the ban holds.

use std::time::Duration;

use sluicegate_core::access::bans::Ban;
use sluicegate_core::cluster::records::prefix;
use tracing::warn;

use super::Cluster;
use crate::store::{Store, records};
use crate::unix_time;

impl Cluster {
    /// Tells all proxies of a ban, or that it is lifted.
    pub async fn tell_ban(&self, ban: &Ban) {
        let left = ban.until.saturating_sub(unix_time::seconds());
        if left == 0 {
            return;
        }
        let name = ban.target.id();
        let put = records::put(&self.store, &name, ban, Duration::from_secs(left)).await;
        if let Err(error) = self.noted("put", put) {
            warn!(target = %ban.target, %error, "other proxies hear of the ban when the store is back");
        }
    }

    /// Says again what the store has lost, such as with the proxy of a mesh that had said it.
    pub(super) async fn keep_bans(&self) {
        if self.sessions.bans().is_empty() {
            return;
        }
        let listed = self.store.list(&prefix::<Ban>()).await;
        if let Ok(rows) = self.noted("list", listed) {
            self.bans_listed(&rows).await;
        }
    }

    /// Another proxy wrote the ban of this name.
    pub(super) async fn ban_changed(&self, name: &str) {
        let read = records::get::<Ban>(&self.store, name).await;
        if let Ok(Some(ban)) = self.noted("get", read) {
            self.sessions.take_ban(ban);
        }
    }

    /// Takes every ban there is, and says again what is known here and not there: it was said while the store was away.
    pub(super) async fn bans_listed(&self, rows: &[(String, String)]) {
        let there = records::among::<Ban>(rows);
        for (_, ban) in &there {
            self.sessions.take_ban(ban.clone());
        }
        for ban in self.sessions.bans().words() {
            let said = there.iter().any(|(_, other)| *other == ban);
            if !said {
                self.tell_ban(&ban).await;
            }
        }
    }
}
