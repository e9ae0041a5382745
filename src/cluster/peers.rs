//! The proxies of a cluster, and where each can be asked: a record of each in the store, with a short life.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::cluster::build::BuildRecord;
use sluicegate_core::cluster::peers::{PROXY, PeerRecord};

use super::Cluster;
use crate::store::Store;

/// Another proxy of this cluster.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it is called.
    pub id: String,
    /// What it says of itself.
    pub record: PeerRecord,
    /// What its build reads.
    pub build: BuildRecord,
    /// When it was last heard of.
    pub heard: Instant,
}

/// The others, and when each was last heard of.
#[derive(Debug, Default)]
pub(super) struct Peers {
    // A std mutex: it is held for a few lines, never across an await.
    table: Mutex<HashMap<String, (PeerRecord, Instant)>>,
}

impl Peers {
    fn heard(&self, id: &str, record: PeerRecord) {
        let mut table = self.lock();
        table.retain(|_, (_, at)| at.elapsed() < LIFETIME);
        if table.len() < MOST_PEERS || table.contains_key(id) {
            table.insert(id.to_owned(), (record, Instant::now()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, (PeerRecord, Instant)>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// What this proxy says of itself.
    pub const fn record(&self) -> &PeerRecord {
        &self.record
    }

    /// The other proxies that live, in the order of their ids.
    pub fn peers(&self) -> Vec<Peer> {
        let table = self.peers.lock();
        let live = table.iter().filter(|(_, (_, at))| at.elapsed() < LIFETIME);
        let mut peers: Vec<Peer> = live
            .map(|(id, (record, heard))| Peer {
                heard: *heard,
                id: id.clone(),
                record: record.clone(),
                build: self.builds.of(id),
            })
            .collect();
        peers.sort_by(|one, other| one.id.cmp(&other.id));
        peers
    }

    /// Takes its leave of the others, so that nobody waits for its answers.
    pub async fn leave(&self) {
        let (key, text) = (self.own_key(), self.record.text());
        let left = self.store.remove(&key, &text).await;
        let _ = self.noted("remove", left);
        self.take_build_out().await;
    }

    pub(super) async fn show_itself(&self) {
        let (key, text) = (self.own_key(), self.record.text());
        let shown = self.store.put(&key, &text, LIFETIME).await;
        let _ = self.noted("put", shown);
    }

    /// Whether the store has lost what this proxy says of itself, as one does that was emptied.
    pub(super) async fn was_forgotten(&self) -> bool {
        let read = self.store.get(&self.own_key()).await;
        matches!(self.noted("get", read), Ok(None))
    }

    /// Reads which proxies show themselves.
    pub(super) async fn read_peers(&self) {
        let listed = self.store.list(PROXY).await;
        if let Ok(rows) = self.noted("list", listed) {
            self.peers_listed(&rows);
        }
    }

    /// These proxies show themselves now.
    pub(super) fn peers_listed(&self, rows: &[(String, String)]) {
        if !self.store.tells_of_changes() {
            // Nobody says that a proxy left, but that it is not there. Elsewhere a store that came back empty says nothing.
            let there = |id: &String| {
                rows.iter()
                    .any(|(key, _)| key.strip_prefix(PROXY) == Some(id))
            };
            self.peers.lock().retain(|id, _| there(id));
        }
        for (key, record) in rows {
            self.peer_said(key, Some(record));
        }
    }

    /// Another proxy wrote `key`, or left.
    pub(super) async fn peer_changed(&self, key: &str) {
        let read = self.store.get(key).await;
        if let Ok(record) = self.noted("get", read) {
            self.peer_said(key, record.as_deref());
        }
    }

    fn peer_said(&self, key: &str, record: Option<&str>) {
        let Some(id) = key.strip_prefix(PROXY).filter(|id| *id != self.id) else {
            return;
        };
        match record.and_then(PeerRecord::parse) {
            Some(record) => self.peers.heard(id, record),
            None => drop(self.peers.lock().remove(id)),
        }
    }

    fn own_key(&self) -> String {
        format!("{PROXY}{}", self.id)
    }
}

/// A proxy that says nothing for this long is gone; a live one shows itself three times meanwhile.
const LIFETIME: Duration = Duration::from_secs(30);
/// Proxies that are kept in mind: each is asked when the whole cluster is.
pub(super) const MOST_PEERS: usize = 256;
