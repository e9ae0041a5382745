//! Taking stock: what is held here is claimed again once the store can be asked, since changes may have been missed, and claims
//! made without the store are not in it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use futures_util::{StreamExt, stream};
use sluicegate_core::cluster::claiming::{Against, Claimed};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::PlacementKey;
use tokio::sync::OnceCell;

use super::Cluster;
use crate::metrics::StoreLabel;

/// What is not claimed again yet.
#[derive(Debug, Default)]
pub(super) struct Stock {
    // A std mutex: it is held for a look-up, never across an await.
    due: Mutex<Due>,
}

#[derive(Debug, Default)]
struct Due {
    /// The streams that are to be claimed again; `None`: any that has sessions here.
    streams: Option<HashSet<PlacementKey>>,
    /// Where the sessions live of those of them that the store places on an origin which is of no use.
    spared: HashMap<PlacementKey, OriginId>,
}

/// The origins that were asked in one stock-taking, and whether they live: each is asked once, however many streams it has.
type Asked = Mutex<HashMap<OriginId, Arc<OnceCell<bool>>>>;

impl Stock {
    /// Whether a stream is to be claimed again, so that its sessions on `here` need not leave for an origin that is of no use.
    /// The claim is for where they are.
    pub(super) fn spares(&self, key: &PlacementKey, here: &OriginId) -> bool {
        let mut due = self.lock();
        let is_due = due.streams.as_ref().is_none_or(|due| due.contains(key));
        if is_due {
            let spared = due.spared.entry(key.clone());
            spared.or_insert_with(|| here.clone());
        }
        is_due
    }

    /// All is to be claimed again.
    fn begin(&self) {
        self.lock().streams = None;
    }

    /// These are, and no others.
    fn is_of(&self, streams: HashSet<PlacementKey>) {
        self.lock().streams = Some(streams);
    }

    /// The turn of a stream has come. Where its sessions were spared from leaving.
    fn take(&self, key: &PlacementKey) -> Option<OriginId> {
        let mut due = self.lock();
        if let Some(streams) = &mut due.streams {
            streams.remove(key);
        }
        due.spared.remove(key)
    }

    fn end(&self) {
        self.lock().spared.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cluster {
    /// Reads all origins, and claims again what is held here.
    pub(super) async fn take_stock(self: &Arc<Self>) {
        self.stock.begin();
        self.lock().clear();
        self.registry.playlists().unread();
        let reachable = self.is_reachable();
        self.metrics
            .store_up
            .get_or_create(&StoreLabel {
                store: self.store.name(),
            })
            .set(i64::from(reachable));
        let alone = &self.registry.placer().alone;
        alone.store(!reachable || !self.store.is_atomic(), Ordering::Relaxed);
        if !reachable {
            self.stock.end();
            self.stale_since().get_or_insert_with(Instant::now);
            return;
        }
        self.announce_again().await;
        self.show_itself().await;
        self.show_build().await;
        self.list_origins().await;
        self.read_the_others().await;
        let held = self.registry.held();
        let keys = held.iter().map(|(key, _, _)| key.clone());
        self.stock.is_of(keys.collect());
        let asked = &Asked::default();
        stream::iter(held)
            .for_each_concurrent(CLAIMS_AT_ONCE, |held| self.claim_again(held, asked))
            .await;
        // It may have gone again meanwhile; then somebody says so.
        if self.is_reachable() {
            self.stock.end();
            *self.stale_since() = None;
            // Some have been elsewhere since a claim that was made without the store.
            for (key, there) in self.sessions.strays(|key| self.registry.claimed(key)) {
                self.gather(&key, &there);
            }
        }
    }

    /// Claims a stream again for where its sessions are: in one turn, so that nothing that is heard in between is undone.
    async fn claim_again(
        &self,
        (key, origin, published): (PlacementKey, OriginId, bool),
        asked: &Asked,
    ) {
        let _turn = self.turns.take(&key).await;
        let origin = self.stock.take(&key).unwrap_or(origin);
        let Some(mut claiming) = self.claiming(&origin, published) else {
            return;
        };
        let claimed = self.carry_out(&key, &mut claiming).await;
        let Claimed::Lost(winner) = &claimed else {
            return;
        };
        if self.gives_way_to(winner, asked).await {
            return self.conflict(&key, &origin, winner);
        }
        // Who has gone elsewhere while that origin was asked claims the stream next.
        if self.registry.claimed(&key).as_ref() != Some(winner) {
            return;
        }
        // They are there whatever comes of it: an answer that stays away is none.
        self.registry.placed(&key, &origin);
        let mut claiming = claiming.insisting();
        let claimed = self.carry_out(&key, &mut claiming).await;
        if claimed == Claimed::Won {
            // Some may have followed the claim that is replaced.
            return self.conflict(&key, winner, &origin);
        }
        self.tell_of(&key, &claiming, &claimed, 0);
    }

    /// Whether sessions that are elsewhere give way to a claim for this origin.
    async fn gives_way_to(&self, winner: &OriginId, asked: &Asked) -> bool {
        match Against::a_claim_on(self.registry.state(winner)) {
            Against::Asks => {
                let answer = {
                    let mut asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
                    Arc::clone(asked.entry(winner.clone()).or_default())
                };
                let lives = || self.terms.prober.lives(winner);
                *answer.get_or_init(lives).await
            }
            Against::Replaces => false,
            Against::Yields => true,
        }
    }
}

/// Claims under way at once when the store is back.
pub(super) const CLAIMS_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests {
    use sluicegate_core::stream::{StreamUrl, VhostRule};

    use super::*;

    fn key(name: &str) -> PlacementKey {
        VhostRule::Ignored.key(&StreamUrl::new("", "live", name).unwrap())
    }

    #[test]
    fn sessions_are_spared_until_their_stream_is_claimed_again() {
        let (one, two) = (OriginId::from("one"), OriginId::from("two"));
        let (held, late) = (key("held"), key("late"));
        let stock = Stock::default();
        stock.begin();
        assert!(stock.spares(&held, &one));
        stock.is_of([held.clone()].into());
        assert!(!stock.spares(&late, &one), "nobody claims it again");
        assert!(stock.spares(&held, &two));
        assert_eq!(stock.take(&held), Some(one), "where they were first");
        assert!(!stock.spares(&held, &two), "its claim is under way");
        assert_eq!(stock.take(&held), None);
    }
}
