//! Playlists that go on at other origins, as all proxies answer them: a record for each in the store, written once for each
//! change.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::cluster::records::{Reading, key, read, write};
use sluicegate_core::http::continued::Continued;
use tracing::debug;

use super::Cluster;
use crate::store::{Store, records};
use crate::unix_time;

impl Cluster {
    /// Whether the store tells of changes to what was read.
    pub(crate) fn tells_of_changes(&self) -> bool {
        self.store.tells_of_changes()
    }

    /// How the playlist of this name goes on. What is `known` here is written again where the store has lost it, and lives
    /// on where it has not.
    pub(crate) async fn splice(&self, name: &str, known: Option<&Continued>) -> Option<Continued> {
        if let Some(known) = known {
            return Some(self.change_splice(name, Some(known), known).await);
        }
        let read = records::get::<Continued>(&self.store, name).await;
        self.noted("get", read).ok().flatten()
    }

    /// Puts `splice` in the place of `expected`. Returns what stands there then: another proxy may have been faster. Without
    /// the store it counts here.
    pub(crate) async fn change_splice(
        &self,
        name: &str,
        expected: Option<&Continued>,
        splice: &Continued,
    ) -> Continued {
        let (Ok(key), Ok(text)) = (key::<Continued>(name), write(splice)) else {
            return splice.clone();
        };
        let expected = expected.and_then(|expected| write(expected).ok());
        let claim = self.store.claim(&key, expected.as_deref(), &text, LIFETIME);
        match self.noted("claim", claim.await) {
            Ok(claim) if claim.won && self.store.is_atomic() => splice.clone(),
            Ok(claim) if claim.won => self.settled_splice(name, splice).await,
            Ok(claim) => match read(&claim.value) {
                Reading::Known(other) => other,
                Reading::Foreign | Reading::Broken => splice.clone(),
            },
            Err(error) => {
                debug!(playlist = name, %error, "a playlist goes on without the store");
                splice.clone()
            }
        }
    }

    /// What stands in a store where two proxies may both win, once they have heard of each other.
    async fn settled_splice(&self, name: &str, splice: &Continued) -> Continued {
        tokio::time::sleep(SETTLES).await;
        let read = records::get::<Continued>(&self.store, name).await;
        let standing = self.noted("get", read).ok().flatten();
        standing.unwrap_or_else(|| splice.clone())
    }

    /// Another proxy wrote how the playlist of this name goes on.
    pub(super) async fn splice_changed(&self, name: &str) {
        let Some(playlist) = self.registry.playlists().find(name) else {
            return;
        };
        let read = records::get::<Continued>(&self.store, name).await;
        if let Ok(Some(mut splice)) = self.noted("get", read) {
            if let Some(better) = playlist.outdoes(&splice, unix_time::millis()) {
                splice = self.change_splice(name, Some(&splice), &better).await;
            }
            playlist.change(|known| known.splice = Some(Arc::new(splice)));
        }
    }
}

/// How long the proxies of a mesh need to hear of each other's words: a few round trips.
const SETTLES: Duration = Duration::from_millis(100);
/// How long viewers may find a playlist as they left it. It is written again each minute while somebody watches.
const LIFETIME: Duration = Duration::from_secs(600);
