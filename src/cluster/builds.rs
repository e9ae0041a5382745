//! What the builds of the other proxies can read: a record of each in the store, so that a feature can wait until every
//! proxy understands what it writes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::access::bans::Ban;
use sluicegate_core::cluster::build::BuildRecord;
use sluicegate_core::cluster::records::Record;
use sluicegate_core::cluster::tally::TallyRecord;
use sluicegate_core::http::continued::Continued;

use super::Cluster;
use super::peers::MOST_PEERS;
use crate::store::records;

/// The builds of the others, by the ids of the proxies.
#[derive(Debug, Default)]
pub(super) struct Builds {
    // A std mutex: it is held for a few lines, never across an await.
    table: Mutex<HashMap<String, BuildRecord>>,
}

impl Builds {
    /// What a proxy's build reads; nothing, for one from before there were records.
    pub(super) fn of(&self, proxy: &str) -> BuildRecord {
        self.lock().get(proxy).cloned().unwrap_or_default()
    }

    fn heard(&self, proxy: &str, build: Option<BuildRecord>) {
        let mut table = self.lock();
        match build {
            Some(build) if table.len() < MOST_BUILDS || table.contains_key(proxy) => {
                table.insert(proxy.to_owned(), build);
            }
            Some(_) => {}
            None => drop(table.remove(proxy)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, BuildRecord>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Whether every proxy of this cluster reads records of kind `T` as this build writes them.
    pub fn all_read<T: Record>(&self) -> bool {
        self.peers().iter().all(|peer| peer.build.reads::<T>())
    }

    pub(super) async fn show_build(&self) {
        let own = BuildRecord::own();
        let shown = records::put(&self.store, &self.id, &own, LIFETIME).await;
        let _ = self.noted("put", shown);
    }

    pub(super) async fn take_build_out(&self) {
        let left = records::remove(&self.store, &self.id, &BuildRecord::own()).await;
        let _ = self.noted("remove", left);
    }

    /// These builds show themselves now.
    pub(super) fn builds_listed(&self, rows: &[(String, String)]) {
        let builds = records::among::<BuildRecord>(rows);
        if !self.store.tells_of_changes() {
            // Nobody says that one is gone, but that it is not there any more.
            let there = |proxy: &String| builds.iter().any(|(there, _)| there == proxy);
            self.builds.lock().retain(|proxy, _| there(proxy));
        }
        for (proxy, build) in builds {
            self.builds.heard(&proxy, Some(build));
        }
    }

    /// Another proxy wrote the record `name` of this kind, or it is gone.
    pub(super) async fn record_changed(&self, kind: &str, name: &str) {
        // Another kind is of a build that knows more than this one.
        if kind == BuildRecord::KIND {
            let read = records::get(&self.store, name).await;
            if let Ok(build) = self.noted("get", read) {
                self.builds.heard(name, build);
            }
        } else if kind == Ban::KIND {
            self.ban_changed(name).await;
        } else if kind == TallyRecord::KIND {
            self.counts_changed(name).await;
        } else if kind == Continued::KIND {
            self.splice_changed(name).await;
        }
    }
}

/// A build is shown again each minute, and stores do not announce a renewal while three quarters of its time are left: the
/// others hear of it every few minutes only.
const LIFETIME: Duration = Duration::from_secs(600);
/// Builds that are kept in mind: those of proxies that left in silence stay until their lifetimes end.
const MOST_BUILDS: usize = MOST_PEERS * 4;
