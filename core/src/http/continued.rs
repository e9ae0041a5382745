//! What viewers have of a stream in pieces, and how it goes on while the stream's origin changes: a media playlist of HLS or a
//! manifest of MPEG-DASH.

use super::periods::{self, Manifest, Periods, Unfit};
use super::splice::{self, Follows, Gaps, Listing, Loss, Media, Run, Seen, Source, Splice, Waited};
use crate::fleet::origin::OriginId;

/// What an origin lists of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed<'a> {
    /// A manifest that can go on elsewhere.
    Manifest(Manifest<'a>),
    /// A media playlist.
    Playlist(Media<'a>),
}

impl<'a> Listed<'a> {
    /// Reads a playlist, or a manifest. `None` for what is no media playlist.
    ///
    /// # Errors
    /// Why a manifest cannot go on elsewhere.
    pub fn read(text: &'a str, is_manifest: bool) -> Result<Option<Self>, Unfit> {
        match is_manifest {
            true => Manifest::read(text).map(|manifest| Some(Self::Manifest(manifest))),
            false => Ok(Media::read(text).map(Self::Playlist)),
        }
    }

    /// Whether nothing will be added to it.
    pub const fn ended(&self) -> bool {
        match self {
            Self::Manifest(manifest) => manifest.ended,
            Self::Playlist(media) => media.ended,
        }
    }

    /// Where it ends, in a measure of its own: it grows with each segment. `seen`: when it was read, in milliseconds since
    /// 1970.
    pub fn end(&self, seen: u64) -> u64 {
        match self {
            Self::Manifest(manifest) => manifest.end(seen),
            Self::Playlist(media) => media.end(),
        }
    }

    /// Milliseconds that a segment of it lasts at most.
    pub const fn pace(&self) -> u64 {
        match self {
            Self::Manifest(_) => 1000,
            Self::Playlist(media) => media.target.saturating_mul(1000),
        }
    }

    /// How it follows on `last`, which was read at `last_seen` and new `waited` milliseconds ago; it is read at `seen`. `same`:
    /// both are of one origin.
    pub fn follows(&self, seen: u64, last: (&Self, u64), same: bool, waited: u64) -> Follows {
        let (last, last_seen) = last;
        match (last, self) {
            (Self::Manifest(last), Self::Manifest(manifest)) => {
                periods::follows((last, last_seen), (manifest, seen), same)
            }
            (Self::Playlist(last), Self::Playlist(media)) => {
                let seen = seen.saturating_sub(last_seen);
                splice::follows(last, media, same, Waited { new: waited, seen })
            }
            _ => Follows::Not,
        }
    }
}

/// How a playlist or a manifest goes on that has had more than one origin, or that has none now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Continued {
    /// A manifest.
    Manifest(Periods),
    /// A media playlist.
    Playlist(Splice),
}

impl Continued {
    /// The stream is lost whose viewers have what `run` listed at `seen`, continued as `before` says. `None` where there is
    /// nothing to go on with.
    pub fn lose(
        before: Option<&Self>,
        listed: &Listed<'_>,
        run: Run<'_>,
        loss: Loss,
        seen: u64,
    ) -> Option<Self> {
        match listed {
            Listed::Manifest(manifest) => {
                let before = before.and_then(Self::manifest);
                Periods::lose(before, manifest, run, loss, seen).map(Self::Manifest)
            }
            Listed::Playlist(media) => {
                let before = before.and_then(Self::playlist);
                Splice::lose(before, media, run, loss).map(Self::Playlist)
            }
        }
    }

    /// An origin has the stream, and lists this at `now`. Of a playlist, viewers may have `seen` gaps meanwhile. `None` while it
    /// lists nothing new.
    pub fn found(
        &self,
        origin: &OriginId,
        listed: &Listed<'_>,
        now: u64,
        seen: Seen,
    ) -> Option<Self> {
        match (self, listed) {
            (Self::Manifest(periods), Listed::Manifest(manifest)) => {
                periods.found(origin, manifest, now).map(Self::Manifest)
            }
            (Self::Playlist(splice), Listed::Playlist(media)) => {
                splice.found(origin, media, now, seen).map(Self::Playlist)
            }
            _ => None,
        }
    }

    /// The same loss, where viewers have seen more of the lost origin: it listed this at `seen`, whose last segment came at
    /// `since`. `None` where that is nothing new, or it is too late.
    pub fn outdone(&self, listed: &Listed<'_>, seen: u64, since: u64, now: u64) -> Option<Self> {
        match (self, listed) {
            (Self::Manifest(periods), Listed::Manifest(manifest)) => periods
                .outdone(manifest, seen, since, now)
                .map(Self::Manifest),
            (Self::Playlist(splice), Listed::Playlist(media)) => {
                splice.outdone(media, since, now).map(Self::Playlist)
            }
            _ => None,
        }
    }

    /// The stream went to another origin, and nobody here knows what viewers have of the last one.
    pub fn lost_unseen(&self, now: u64) -> Option<Self> {
        match self {
            Self::Manifest(periods) => periods.lost_unseen(now).map(Self::Manifest),
            Self::Playlist(splice) => splice.lost_unseen(now).map(Self::Playlist),
        }
    }

    /// What viewers get while no origin has the stream. `reaches`: whether an origin still has what it listed.
    pub fn away(&self, now: u64, reaches: impl Fn(&str) -> bool, gaps: Gaps) -> Option<Listing> {
        match self {
            Self::Manifest(periods) => periods.away(),
            Self::Playlist(splice) => splice.away(now, reaches, gaps),
        }
    }

    /// What an origin lists at `seen`, as it follows on what viewers had before.
    pub fn on(
        &self,
        listed: &Listed<'_>,
        seen: u64,
        reaches: impl Fn(&str) -> bool,
        gaps: Gaps,
    ) -> Option<Listing> {
        match (self, listed) {
            (Self::Manifest(periods), Listed::Manifest(manifest)) => periods.on(manifest, seen),
            (Self::Playlist(splice), Listed::Playlist(media)) => {
                Some(splice.on(media, reaches, gaps))
            }
            _ => None,
        }
    }

    /// Grows with every change.
    pub const fn epoch(&self) -> u64 {
        match self {
            Self::Manifest(periods) => periods.epoch,
            Self::Playlist(splice) => splice.epoch,
        }
    }

    /// The playlist, if it is one.
    pub const fn playlist(&self) -> Option<&Splice> {
        match self {
            Self::Manifest(_) => None,
            Self::Playlist(splice) => Some(splice),
        }
    }

    /// The manifest, if it is one.
    pub const fn manifest(&self) -> Option<&Periods> {
        match self {
            Self::Manifest(periods) => Some(periods),
            Self::Playlist(_) => None,
        }
    }

    /// Whether no origin has the stream.
    pub const fn is_away(&self) -> bool {
        match self {
            Self::Manifest(periods) => periods.is_away(),
            Self::Playlist(splice) => splice.is_away(),
        }
    }

    /// Whether the time is over for which viewers are held without an origin.
    pub const fn is_over(&self, now: u64) -> bool {
        match self {
            Self::Manifest(periods) => periods.is_over(now),
            Self::Playlist(splice) => splice.is_over(now),
        }
    }

    /// The origin that has the stream, or that had it.
    pub fn origin(&self) -> &str {
        match self {
            Self::Manifest(periods) => periods.origin(),
            Self::Playlist(splice) => splice.origin(),
        }
    }

    /// Milliseconds for which viewers got nothing, by `now`.
    pub fn gap_ms(&self, now: u64) -> u64 {
        match self {
            Self::Manifest(periods) => periods.gap_ms(now),
            Self::Playlist(splice) => splice.gap_ms(now),
        }
    }

    /// Where segments came from that are no longer listed by the origin that has the stream.
    pub fn sources(&self) -> &[Source] {
        match self {
            Self::Manifest(periods) => periods.sources(),
            Self::Playlist(splice) => splice.sources(),
        }
    }

    /// Whether segments that `origin` listed are among those that nobody can get.
    pub fn gave_up(&self, origin: &str) -> bool {
        match self {
            Self::Manifest(periods) => periods.gave_up(origin),
            Self::Playlist(splice) => splice.gave_up(origin),
        }
    }

    /// It, as proxies write it down. Equal ones have equal texts, of at most [`LONGEST`](super::splice::LONGEST) bytes.
    pub fn text(&self) -> String {
        match self {
            Self::Manifest(periods) => periods.text(),
            Self::Playlist(splice) => splice.text(),
        }
    }

    /// Reads what [`text`](Self::text) wrote; `None` if it makes no sense.
    pub fn read(text: &str) -> Option<Self> {
        let playlist = || Splice::read(text).map(Self::Playlist);
        Periods::read(text).map(Self::Manifest).or_else(playlist)
    }
}

impl From<Splice> for Continued {
    fn from(splice: Splice) -> Self {
        Self::Playlist(splice)
    }
}

impl From<Periods> for Continued {
    fn from(periods: Periods) -> Self {
        Self::Manifest(periods)
    }
}
