//! The timestamps of one viewer.
//!
//! Bodies are shared by all viewers of a feed, timestamps are not: each viewer begins at 0, and wherever its stream is
//! joined together (it skipped ahead, the source changed, the publisher came back) each track goes on at its last
//! timestamp plus one frame of its own. Browsers stop for good at a hole of ten milliseconds in front of a decoder
//! configuration, and at a step back.

use super::gop::MediaMessage;
use super::part::{MAX_TRACKS, Part, Tracks};
use crate::rtmp::message::kind;

/// One viewer's timestamps: what the last of each track was, and how its next follows from the time of the feed.
/// Milliseconds that never wrap.
#[derive(Debug, Clone, Default)]
pub(super) struct Timeline {
    /// In place of a map: a viewer's timeline is copied for every write, without an allocation.
    tracks: [Option<Track>; MAX_TRACKS],
    /// The track that was joined first: the others are brought back in step with it.
    lead: Option<usize>,
    /// The newest timestamp that was given.
    edge: u64,
    /// The last timestamp of data.
    data: u64,
}

#[derive(Debug, Clone, Copy)]
struct Track {
    kind: u8,
    id: u8,
    /// The next message goes on exactly where the track stopped, whatever its time says.
    joined: bool,
    /// Pictures are of no use before a keyframe.
    waiting: bool,
    /// The last timestamp that was given.
    last: u64,
    /// The time of the message that got it.
    came: u64,
    /// What is added to times of the feed.
    shift: i64,
    /// Between the last two messages, in milliseconds; 0 before there were two.
    step: u64,
    /// How long a frame is taken to be, in milliseconds.
    frame: u64,
}

impl Timeline {
    /// What comes next does not follow what was sent: every track goes on where it stopped, pictures with a keyframe.
    pub(super) fn join_all(&mut self) {
        self.lead = None;
        for track in self.tracks.iter_mut().flatten() {
            track.joined = true;
            track.waiting = track.kind == kind::VIDEO;
        }
    }

    /// These tracks have another decoder configuration from here on.
    pub(super) fn join(&mut self, kind: u8, tracks: &Tracks) {
        for id in tracks.iter() {
            if let Some(track) = self.find(kind, id) {
                track.joined = true;
                track.waiting = kind == kind::VIDEO;
            }
        }
    }

    /// Whether a picture was ever sent.
    pub(super) fn has_pictures(&self) -> bool {
        let mut tracks = self.tracks.iter().flatten();
        tracks.any(|track| track.kind == kind::VIDEO)
    }

    /// The timestamp of a header: that of what its track shows next, if that is known exactly.
    pub(super) fn header(&self, header: &MediaMessage) -> u64 {
        let first = header.content.tracks.iter().next().unwrap_or_default();
        let track = self.tracks.iter().flatten();
        let mut track = track.filter(|track| track.kind == header.kind && track.id == first);
        match track.next() {
            Some(track) if track.joined => track.last + track.frame,
            Some(track) => track.last,
            None => self.edge,
        }
    }

    /// The timestamp of a message that is no header; None: it is of no use to this viewer, because it needs a picture
    /// that was not sent, or is older than where the viewer began.
    pub(super) fn stamp(&mut self, message: &MediaMessage) -> Option<u64> {
        let MediaMessage { kind, time, .. } = *message;
        if !matches!(kind, kind::AUDIO | kind::VIDEO) {
            return Some(self.stamp_data(time));
        }
        let tracks = &message.content.tracks;
        let leans = kind == kind::VIDEO && message.content.part != Part::Keyframe;
        let usable = |track: &Track| !(leans && track.waiting);
        let mut known = tracks.iter().filter_map(|id| self.find(kind, id).copied());
        let (stamp, shift) = match known.find(usable) {
            Some(track) => self.follow(&track, time),
            None if leans => return None,
            None => self.begin(time)?,
        };
        for id in tracks.iter() {
            let before = self.find(kind, id).copied();
            let waiting = leans && before.is_none_or(|track| track.waiting);
            let (step, frame) = rhythm(before, kind, time);
            self.put(Track {
                kind,
                id,
                joined: false,
                waiting,
                last: stamp,
                came: time,
                shift,
                step,
                frame,
            });
        }
        self.edge = self.edge.max(stamp);
        Some(stamp)
    }

    fn stamp_data(&mut self, time: u64) -> u64 {
        let natural = self
            .lead_shift()
            .map(|shift| time.saturating_add_signed(shift));
        self.data = self.data.max(natural.unwrap_or(self.edge));
        self.edge = self.edge.max(self.data);
        self.data
    }

    /// The timestamp of the first message of a track, and its shift. None: it lies before the viewer's beginning.
    fn begin(&self, time: u64) -> Option<(u64, i64)> {
        match self.lead_shift() {
            Some(shift) => Some((time.checked_add_signed(shift)?, shift)),
            None => Some((self.edge, shift(time, self.edge))),
        }
    }

    /// The timestamp of the next message of `track`, and its shift from there on.
    fn follow(&self, track: &Track, time: u64) -> (u64, i64) {
        if !track.joined {
            let shift = self.slewed(track, time);
            // A source that steps back a little for a moment makes nobody else do so.
            return (time.saturating_add_signed(shift).max(track.last), shift);
        }
        let exact = track.last + track.frame;
        let natural = self
            .lead_shift()
            .map(|shift| time.saturating_add_signed(shift));
        // A track that was silent for long before the joint is not put seconds ahead of the others.
        let late = natural.filter(|natural| *natural > exact + MAX_SKEW);
        let stamp = late.unwrap_or(exact);
        (stamp, shift(time, stamp))
    }

    /// The shift of a track that goes on, one millisecond nearer to that of the track that leads: joints leave tracks
    /// apart by up to a frame of each, which must not add up.
    fn slewed(&self, track: &Track, time: u64) -> i64 {
        let apart = self.lead_shift().map_or(0, |lead| lead - track.shift);
        let moves = time > track.came + 1;
        track.shift + if moves { apart.signum() } else { 0 }
    }

    /// Puts `track` in place of what was known of it, or of none, or of the one that was silent longest.
    fn put(&mut self, track: Track) {
        let same = |other: &Option<Track>| {
            other.is_some_and(|other| other.kind == track.kind && other.id == track.id)
        };
        let index = self.tracks.iter().position(same).unwrap_or_else(|| {
            let last = |index: &usize| {
                self.tracks
                    .get(*index)
                    .copied()
                    .flatten()
                    .map(|track| track.last)
            };
            (0..MAX_TRACKS).min_by_key(last).unwrap_or_default()
        });
        if let Some(slot) = self.tracks.get_mut(index) {
            *slot = Some(track);
        }
        self.lead.get_or_insert(index);
    }

    fn lead_shift(&self) -> Option<i64> {
        let track = self.tracks.get(self.lead?)?.as_ref()?;
        Some(track.shift)
    }

    fn find(&mut self, kind: u8, id: u8) -> Option<&mut Track> {
        let mut tracks = self.tracks.iter_mut().flatten();
        tracks.find(|track| track.kind == kind && track.id == id)
    }
}

/// The step from the message before to one at `time`, and how long a frame of the track is taken to be: one longer
/// step is a hole, two are another rate.
fn rhythm(before: Option<Track>, kind: u8, time: u64) -> (u64, u64) {
    let Some(track) = before else {
        let frame = if kind == kind::VIDEO {
            VIDEO_FRAME
        } else {
            AUDIO_FRAME
        };
        return (0, frame);
    };
    let step = time.saturating_sub(track.came);
    if track.joined || !(1..=MAX_FRAME).contains(&step) {
        return (track.step, track.frame);
    }
    let frame = if track.step == 0 {
        step
    } else {
        step.min(track.step)
    };
    (step, frame)
}

fn shift(time: u64, stamp: u64) -> i64 {
    stamp.cast_signed() - time.cast_signed()
}

/// How far apart two tracks may be put by a joint, in milliseconds; beyond, the later one keeps its distance.
const MAX_SKEW: u64 = 1000;
/// The longest step between two messages of a track that is taken for the length of a frame, in milliseconds.
const MAX_FRAME: u64 = 1000;
/// How long a frame is taken to be before two have been seen: 25 pictures a second, AAC at 44.1 kHz.
const VIDEO_FRAME: u64 = 40;
const AUDIO_FRAME: u64 = 23;
