//! Publishers that are held, as all proxies respect them: a record for each in the store, for as long as it is held.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::cluster::held::HeldRecord;
use sluicegate_core::stream::PlacementKey;
use tokio::sync::oneshot;
use tracing::warn;

use super::Cluster;
use crate::store::records;
use crate::value::ClientAddr;

/// Other proxies know that a publisher is held, until this is dropped.
#[derive(Debug)]
pub(crate) struct ToldHeld(
    #[expect(dead_code, reason = "its end is what counts")] oneshot::Sender<()>,
);

impl Cluster {
    /// Tells all proxies that the stream's publisher is held here, for at most `hold`. Nobody waits for the store.
    pub(crate) fn tell_held(
        self: &Arc<Self>,
        key: &PlacementKey,
        client: ClientAddr,
        hold: Duration,
    ) -> ToldHeld {
        let (told, over) = oneshot::channel();
        let (cluster, key) = (Arc::clone(self), key.clone());
        tokio::spawn(async move {
            let record = HeldRecord {
                client: client.ip(),
                proxy: cluster.id.as_str().into(),
            };
            let put = records::put(&cluster.store, key.as_str(), &record, hold).await;
            if let Err(error) = cluster.noted("put", put) {
                warn!(stream = %key, %error, "other proxies do not know that its publisher is held here");
            }
            // It is dropped, never sent.
            let _ = over.await;
            let removed = records::remove(&cluster.store, key.as_str(), &record).await;
            // Otherwise it ends by itself.
            let _ = cluster.noted("remove", removed);
        });
        ToldHeld(told)
    }

    /// The publisher of the stream that another proxy holds. `None` where none does, or the store does not say.
    pub(crate) async fn held_elsewhere(&self, key: &PlacementKey) -> Option<HeldRecord> {
        let read = records::get::<HeldRecord>(&self.store, key.as_str()).await;
        let record = self.noted("get", read).ok().flatten()?;
        let lives = || self.peers().iter().any(|peer| *peer.id == *record.proxy);
        (*record.proxy != *self.id && lives()).then_some(record)
    }
}
