//! Live media playlists and manifests that viewers have: what each listed last, and how it goes on where its origin changed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::continued::{Continued, Listed};
use sluicegate_core::http::periods::Unfit;
use sluicegate_core::stream::PlacementKey;
use tokio::time::Instant;

use crate::unix_time;

/// The playlists that were asked for lately.
#[derive(Debug, Default)]
pub(crate) struct Playlists {
    // A std mutex: it is held for a look-up, never across an await.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_name: HashMap<String, Arc<Playlist>>,
    by_stream: HashMap<PlacementKey, Vec<Arc<Playlist>>>,
}

/// One playlist, or one manifest.
#[derive(Debug)]
pub(crate) struct Playlist {
    /// Its name among all proxies.
    pub(crate) name: String,
    /// Whether it is a manifest.
    is_manifest: bool,
    known: Mutex<Known>,
    /// When viewers were last shown it without an origin, in milliseconds since 1970.
    held_at: AtomicU64,
    /// When its origin failed for the first time since it listed it last, in milliseconds since 1970.
    failed_at: AtomicU64,
    /// One request at a time decides how it goes on.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

/// What is known of a playlist.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// What it listed last.
    pub(crate) last: Option<Last>,
    /// How it goes on, if it has had more than one origin.
    pub(crate) splice: Option<Arc<Continued>>,
    /// Why it cannot go on elsewhere, if it cannot.
    pub(crate) unfit: Option<Unfit>,
    /// When the store was asked last.
    pub(crate) read: Option<Instant>,
    used: Instant,
}

/// What an origin listed.
#[derive(Debug, Clone)]
pub(crate) struct Last {
    /// As it came.
    pub(crate) body: Bytes,
    /// Whether that is a manifest.
    pub(crate) is_manifest: bool,
    pub(crate) origin: OriginId,
    /// The `host:port` by which it may name itself.
    pub(crate) authority: Box<str>,
    /// The folder of the playlist there, if clients know it by another path.
    pub(crate) folder: Option<Box<str>>,
    /// Where it ends; see [`Listed::end`].
    pub(crate) end: u64,
    /// When its last segment came, in milliseconds since 1970.
    pub(crate) since: u64,
    /// When it was listed.
    pub(crate) seen: Instant,
    /// The epoch of the splice then; 0: there was none.
    pub(crate) epoch: u64,
}

impl Known {
    /// The epoch of the splice; 0: there is none.
    pub(crate) fn epoch(&self) -> u64 {
        self.splice.as_ref().map_or(0, |splice| splice.epoch())
    }

    /// What was listed last, if nobody has decided since how the playlist goes on: after that it says nothing.
    pub(crate) fn newest(&self) -> Option<&Last> {
        let last = self.last.as_ref();
        last.filter(|last| last.epoch == self.epoch())
    }
}

impl Last {
    /// It, read; `None` if it is no playlist of media segments, and no manifest that could go on.
    pub(crate) fn listed(&self) -> Option<Listed<'_>> {
        let text = std::str::from_utf8(&self.body).ok()?;
        Listed::read(text, self.is_manifest).ok().flatten()
    }

    /// When it was listed last, in milliseconds since 1970.
    pub(crate) fn seen_at(&self) -> u64 {
        let since = u64::try_from(self.seen.elapsed().as_millis()).unwrap_or(u64::MAX);
        unix_time::millis().saturating_sub(since)
    }
}

impl Playlists {
    /// The playlist of this name, if it is known.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Playlist>> {
        lock(&self.table).by_name.get(name).cloned()
    }

    /// The playlist or manifest of this name, of the stream that is placed under `key`. `None` where too many are known.
    pub(crate) fn of(
        &self,
        name: &str,
        key: &PlacementKey,
        is_manifest: bool,
    ) -> Option<Arc<Playlist>> {
        let mut table = lock(&self.table);
        if let Some(known) = table.by_name.get(name) {
            return Some(Arc::clone(known));
        }
        if table.by_name.len() >= MOST {
            table.forget_unused();
        }
        if table.by_name.len() >= MOST {
            return None;
        }
        let playlist = Arc::new(Playlist {
            name: name.to_owned(),
            is_manifest,
            known: Mutex::new(Known {
                last: None,
                splice: None,
                unfit: None,
                read: None,
                used: Instant::now(),
            }),
            held_at: AtomicU64::new(0),
            failed_at: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
        });
        table.by_name.insert(name.to_owned(), Arc::clone(&playlist));
        let of_stream = table.by_stream.entry(key.clone()).or_default();
        of_stream.push(Arc::clone(&playlist));
        Some(playlist)
    }

    /// The playlists of a stream.
    pub(crate) fn of_stream(&self, key: &PlacementKey) -> Vec<Arc<Playlist>> {
        let table = lock(&self.table);
        table.by_stream.get(key).cloned().unwrap_or_default()
    }

    /// Nothing that the store said is certain any more.
    pub(crate) fn unread(&self) {
        for playlist in lock(&self.table).by_name.values() {
            playlist.change(|known| known.read = None);
        }
    }
}

impl Table {
    fn forget_unused(&mut self) {
        let unused = |playlist: &Playlist| lock(&playlist.known).used.elapsed() > UNUSED;
        self.by_name.retain(|_, playlist| !unused(playlist));
        self.by_stream.retain(|_, playlists| {
            playlists.retain(|playlist| !unused(playlist));
            !playlists.is_empty()
        });
    }
}

impl Playlist {
    /// Whether it is a manifest.
    pub(crate) const fn is_manifest(&self) -> bool {
        self.is_manifest
    }

    /// What is known of it now.
    pub(crate) fn known(&self) -> Known {
        let mut known = lock(&self.known);
        known.used = Instant::now();
        known.clone()
    }

    /// Changes what is known of it.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut lock(&self.known));
    }

    /// Notes what an origin listed, unless it is too long to be kept.
    pub(crate) fn note(&self, last: Last) {
        if last.body.len() > LONGEST_BODY {
            return self.change(|known| known.last = None);
        }
        self.change(|known| known.last = Some(last));
    }

    /// Whether it is what an origin listed last, and only that: nothing has to be decided then. `is_fresh`: whether what was
    /// read of the store then still counts.
    pub(crate) fn is_as_before(
        &self,
        origin: &OriginId,
        body: &Bytes,
        is_fresh: impl Fn(Option<Instant>) -> bool,
    ) -> bool {
        let mut known = lock(&self.known);
        let now = Instant::now();
        known.used = now;
        if known.splice.is_some() || !is_fresh(known.read) {
            return false;
        }
        let Some(last) = &mut known.last else {
            return false;
        };
        let same = last.origin == *origin && last.body == *body;
        if same {
            last.seen = now;
        }
        same
    }

    /// What takes the place of a loss that another proxy noted, where viewers here have seen more.
    pub(crate) fn outdoes(&self, away: &Continued, now: u64) -> Option<Continued> {
        let last = self.known().last?;
        if last.origin.as_str() != away.origin() {
            return None;
        }
        away.outdone(&last.listed()?, last.seen_at(), last.since, now)
    }

    /// Viewers are shown it as it is `now` without an origin, in milliseconds since 1970.
    pub(crate) fn is_held(&self, now: u64) {
        self.held_at.fetch_max(now, Ordering::Relaxed);
    }

    /// When they were last shown it so.
    pub(crate) fn held_at(&self) -> u64 {
        self.held_at.load(Ordering::Relaxed)
    }

    /// Its origin fails `now`. Returns when it did so for the first time since it listed the playlist last.
    pub(crate) fn fails(&self, now: u64) -> u64 {
        let listed_at = lock(&self.known).last.as_ref().map_or(0, Last::seen_at);
        let failed_at = self.failed_at.load(Ordering::Relaxed);
        if failed_at > listed_at {
            return failed_at;
        }
        self.failed_at.store(now, Ordering::Relaxed);
        now
    }

    /// Whether viewers may still have it.
    pub(crate) fn is_watched(&self) -> bool {
        let known = lock(&self.known);
        known
            .last
            .as_ref()
            .is_some_and(|last| last.seen.elapsed() < WATCHED)
    }
}

/// Whether what was read of the store at `read` may be gone by.
pub(crate) fn is_fresh(read: Option<Instant>, tells_of_changes: bool) -> bool {
    let lifetime = if tells_of_changes { READ_AGAIN } else { UNTOLD };
    read.is_some_and(|read| read.elapsed() < lifetime)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Playlists that are known at once: a thousand streams of four renditions.
const MOST: usize = 4_096;
/// The longest playlist that is kept, in bytes: two hours of four-second segments.
const LONGEST_BODY: usize = 256 * 1024;
/// After this time without a request nobody watches.
const UNUSED: Duration = Duration::from_secs(120);
/// A player that has not asked for this long has left, or will begin again.
pub(crate) const WATCHED: Duration = Duration::from_secs(60);
/// How often the store is asked for what it would have told: it may have lost it.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// How often it is asked where nobody tells of changes.
const UNTOLD: Duration = Duration::from_secs(1);
