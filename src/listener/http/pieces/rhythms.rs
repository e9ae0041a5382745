//! The rhythms of live playlists that were seen here: by them the link to a piece is the same each time the piece is listed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::personal::Rhythm;

/// The rhythm of each playlist that somebody who was let in watches.
#[derive(Debug, Default)]
pub(super) struct Rhythms {
    // A std mutex: it is held for a few lines and never across an await.
    by_playlist: Mutex<HashMap<u64, Rhythm>>,
}

impl Rhythms {
    /// The rhythm of the playlist that an origin answers this target with: the one that is known, while it fits.
    pub(super) fn rhythm(
        &self,
        origin: &OriginId,
        target: &str,
        body: &[u8],
        now: u64,
    ) -> Option<Rhythm> {
        let body = std::str::from_utf8(body).ok()?;
        let (path, _) = target.split_once('?').unwrap_or((target, ""));
        let mut hash = DefaultHasher::new();
        (origin.as_str(), path).hash(&mut hash);
        let playlist = hash.finish();
        let mut known = self
            .by_playlist
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(rhythm) = known.get(&playlist)
            && rhythm.fits(body, now)
        {
            return Some(*rhythm);
        }
        let rhythm = Rhythm::of(body, now)?;
        if known.len() == MOST && !known.contains_key(&playlist) {
            known.clear();
        }
        known.insert(playlist, rhythm);
        Some(rhythm)
    }
}

/// Entries, of about 50 bytes each. With more playlists, links to some pieces change now and then.
const MOST: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn playlist(sequence: u64) -> String {
        format!(
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n#EXTINF:4,\na.ts\n"
        )
    }

    #[test]
    fn a_playlist_keeps_its_rhythm_until_it_begins_again() {
        let (rhythms, origin) = (Rhythms::default(), OriginId::from("one"));
        let seen = |target: &str, sequence: u64, now: u64| {
            rhythms.rhythm(&origin, target, playlist(sequence).as_bytes(), now)
        };
        let first = seen("/live/v0.m3u8?a=1", 10, 1_000);
        assert!(first.is_some());
        assert_eq!(seen("/live/v0.m3u8?a=2", 40, 1_120), first, "it goes on");
        let again = seen("/live/v0.m3u8", 0, 2_000);
        assert_ne!(again, first, "it began again");
        assert_eq!(seen("/live/v0.m3u8", 5, 2_020), again);
        assert_ne!(seen("/live/v1.m3u8", 5, 2_020), again, "another playlist");
    }

    #[test]
    fn it_never_grows_past_its_bound() {
        let (rhythms, origin) = (Rhythms::default(), OriginId::from("one"));
        for number in 0..=MOST {
            let target = format!("/live/{number}.m3u8");
            rhythms.rhythm(&origin, &target, playlist(1).as_bytes(), 1_000);
        }
        assert_eq!(rhythms.by_playlist.lock().expect("a lock").len(), 1);
    }
}
