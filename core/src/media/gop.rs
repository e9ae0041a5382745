//! What is kept of a live stream: the headers of its tracks, and its newest messages from the last keyframe on, so
//! that a player may come at any time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::part::{Content, MAX_TRACKS, Part, Tracks};
use crate::rtmp::message::kind;

/// One message of a live stream: judged, on one clock with all others of its stream, and cheap to clone, because
/// all clones share the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaMessage {
    /// 8 audio, 9 video, 18 data: RTMP's message type, and FLV's type of tag. Or one of those of
    /// [`feed`](super::feed), for a stream in a format of its own.
    pub kind: u8,
    /// What it is, and of which tracks.
    pub content: Content,
    /// The body, as FLV and RTMP both have it.
    pub body: Bytes,
    /// Milliseconds on the [`Clock`] of the stream.
    pub time: u64,
    /// How often the stream broke off before this message: pictures do not lean on those of another number.
    pub discontinuity: u64,
    /// The number of a header among those of its stream; of anything else, that of the newest header before it.
    pub generation: u64,
    /// Whether a player may start here: a keyframe of the picture that leads the others.
    pub starts_group: bool,
    /// Whether it is a header that repeats, byte for byte, what is in force: nobody needs it again.
    pub repeats: bool,
}

impl MediaMessage {
    /// Its time as FLV and RTMP carry it.
    pub const fn timestamp(&self) -> u32 {
        self.time as u32
    }

    /// Whether it is of a picture.
    pub const fn is_video(&self) -> bool {
        self.kind == kind::VIDEO
    }
}

/// The headers of a stream and its newest messages, bounded in number, bytes and time.
///
/// A message passes through [`classify`](Self::classify) once, and then through [`keep`](Self::keep) of as many
/// caches as want to hold it: they number their messages alike.
#[derive(Debug, Clone)]
pub struct Cache {
    headers: Headers,
    messages: VecDeque<MediaMessage>,
    /// The number of the message at the front.
    first: u64,
    bytes: usize,
    /// The number of the keyframe that starts the newest group.
    keyframe: Option<u64>,
    newest: u64,
    /// How long messages are kept that no player starts with, in milliseconds.
    history: u64,
    audio: Tracks,
    video: Tracks,
    discontinuity: u64,
}

impl Cache {
    /// An empty cache. Apart from the newest group it keeps messages for `history` milliseconds, for players that
    /// are on their way through them.
    pub const fn new(history: u64) -> Self {
        Self {
            headers: Headers::new(),
            messages: VecDeque::new(),
            first: 0,
            bytes: 0,
            keyframe: None,
            newest: 0,
            history,
            audio: Tracks::none(),
            video: Tracks::none(),
            discontinuity: 0,
        }
    }

    /// Makes a message of a body and what [`Content::of`] says of it, before it is kept here and elsewhere.
    pub fn classify(
        &mut self,
        kind: u8,
        mut content: Content,
        time: u64,
        body: Bytes,
    ) -> MediaMessage {
        if content.part.is_header() && body.len() > MAX_HEADER_BYTES {
            content.part = Part::Frame;
        }
        self.meet(kind, &content.tracks);
        let mut message = MediaMessage {
            kind,
            content,
            body,
            time,
            discontinuity: self.discontinuity,
            generation: self.headers.generation,
            starts_group: false,
            repeats: false,
        };
        match content.part {
            Part::Keyframe => message.starts_group = self.leads(&content.tracks),
            part if part.is_header() => {
                message.repeats = self.headers.have(&message, self.keyframe.is_some());
                message.generation = self.headers.next_generation(&message);
            }
            _ => {}
        }
        message
    }

    /// Keeps `message`, which was classified after all that were kept before it, and lets go of old ones.
    pub fn keep(&mut self, message: &MediaMessage) {
        let part = message.content.part;
        if message.discontinuity != self.discontinuity {
            self.discontinuity = message.discontinuity;
            self.keyframe = None;
        }
        if message.repeats || part == Part::End {
            return;
        }
        self.meet(message.kind, &message.content.tracks);
        self.newest = self.newest.max(message.time);
        if part.is_header() {
            // Pictures and sound of the old configuration cannot be decoded with the new one.
            if matches!(part, Part::AudioHeader | Part::VideoHeader) {
                self.keyframe = None;
            }
            self.headers.keep(message);
        }
        if message.starts_group {
            self.keyframe = Some(self.end());
        }
        self.bytes += message.body.len();
        self.messages.push_back(message.clone());
        self.trim();
    }

    /// The stream breaks off and goes on at once, with the same headers: another publisher at the same source,
    /// or a leap of its clock. Nobody starts before the next keyframe.
    pub const fn break_off(&mut self) {
        self.discontinuity += 1;
        self.keyframe = None;
    }

    /// The source of the stream is gone. What comes next has headers of its own; players that come before it wait.
    /// What was kept stays for those that are on their way through it.
    pub fn interrupt(&mut self) {
        self.break_off();
        self.headers.retire();
        self.audio = Tracks::none();
        self.video = Tracks::none();
    }

    /// Lets go of every message, not of the headers, to give back memory.
    pub fn shed(&mut self) {
        self.first = self.end();
        self.messages = VecDeque::new();
        self.bytes = 0;
        self.keyframe = None;
    }

    /// What a player needs before any message, in the order in which it needs them.
    pub const fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The newest group: from its keyframe, without the headers that came within it. Empty where there is none.
    pub fn group(&self) -> impl Iterator<Item = &MediaMessage> {
        let start = self.keyframe.unwrap_or_else(|| self.end()) - self.first;
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        let group = self.messages.iter().skip(start);
        group.filter(|message| !message.content.part.is_header())
    }

    /// The message of this number, if it is kept.
    pub fn get(&self, number: u64) -> Option<&MediaMessage> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.messages.get(index)
    }

    /// The number of the oldest message that is kept.
    pub const fn first(&self) -> u64 {
        self.first
    }

    /// The number of the next message that will be kept.
    pub fn end(&self) -> u64 {
        self.first + self.messages.len() as u64
    }

    /// The number of the keyframe a player would start with now.
    pub const fn keyframe(&self) -> Option<u64> {
        self.keyframe
    }

    /// The time of the newest message, in milliseconds.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// How often the stream broke off so far.
    pub const fn discontinuity(&self) -> u64 {
        self.discontinuity
    }

    /// The tracks that the current source has shown: audio and video.
    pub const fn tracks(&self) -> (Tracks, Tracks) {
        (self.audio, self.video)
    }

    /// The bytes of all bodies that are kept.
    pub fn bytes(&self) -> usize {
        self.bytes + self.headers.bytes()
    }

    /// Notes the tracks of a message. False: none of them is one of the [`MAX_TRACKS`] that are told apart.
    pub fn meet(&mut self, kind: u8, tracks: &Tracks) -> bool {
        let mut room = MAX_TRACKS.saturating_sub(self.audio.len() + self.video.len());
        let known = match kind {
            kind::AUDIO => &mut self.audio,
            kind::VIDEO => &mut self.video,
            _ => return true,
        };
        let mut any = false;
        for track in tracks.iter() {
            if !known.contains(track) {
                if room == 0 {
                    continue;
                }
                room -= 1;
                known.insert(track);
            }
            any = true;
        }
        any
    }

    /// Whether the first picture of all is among `tracks`: number 0 wherever a publisher follows the convention.
    fn leads(&self, tracks: &Tracks) -> bool {
        let lead = self.video.iter().min();
        lead.is_some_and(|lead| tracks.contains(lead))
    }

    fn trim(&mut self) {
        loop {
            let needed = self.keyframe.unwrap_or_else(|| self.end());
            let Some(front) = self.messages.front() else {
                return;
            };
            let old = self.first < needed && self.newest - front.time > self.history;
            let full = self.messages.len() > MAX_MESSAGES || self.bytes > MAX_BYTES;
            if !old && !full {
                return;
            }
            self.bytes -= front.body.len();
            self.messages.pop_front();
            self.first += 1;
            self.keyframe = self.keyframe.filter(|keyframe| *keyframe >= self.first);
        }
    }
}

/// The headers in force, by what they are and by track.
#[derive(Debug, Clone)]
pub struct Headers {
    slots: BTreeMap<(Part, u8), MediaMessage>,
    generation: u64,
    /// The metadata of the source before.
    retired: Option<MediaMessage>,
}

impl Headers {
    const fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            generation: 0,
            retired: None,
        }
    }

    /// The number of the newest header: a player that has had this one has had all.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The header after `cursor` in the order in which a player needs them, and the cursor past it:
    /// metadata, then configurations and channel layouts of audio, then colours and configurations of video. A
    /// message of several tracks comes once.
    pub fn after(&self, cursor: HeaderCursor) -> Option<(&MediaMessage, HeaderCursor)> {
        let later = self.slots.iter().filter_map(|((part, _), message)| {
            let at = HeaderCursor {
                rank: rank(*part),
                generation: message.generation,
            };
            (at > cursor).then_some((message, at))
        });
        later.min_by_key(|(_, at)| *at)
    }

    /// All of them, in that order.
    pub fn iter(&self) -> impl Iterator<Item = &MediaMessage> {
        let first = self.after(HeaderCursor::START);
        let all = std::iter::successors(first, |(_, cursor)| self.after(*cursor));
        all.map(|(message, _)| message)
    }

    /// Whether all tracks of `header` have it in force. After a break that no picture has followed, configurations
    /// are wanted again: they repair decoders.
    fn have(&self, header: &MediaMessage, pictured: bool) -> bool {
        let part = header.content.part;
        header.content.tracks.iter().all(|track| {
            self.slots.get(&(part, track)).is_some_and(|kept| {
                let same = kept.discontinuity == header.discontinuity;
                kept.body == header.body && (same || pictured || part == Part::Metadata)
            })
        })
    }

    /// The number of a header that comes next. Metadata that the source before had too keeps its number: a player
    /// that has it takes it for something new if it comes again.
    fn next_generation(&self, header: &MediaMessage) -> u64 {
        if header.repeats {
            return self.generation;
        }
        let retired = self.retired.as_ref();
        let same = retired
            .filter(|retired| retired.body == header.body && header.content.part == Part::Metadata);
        same.map_or(self.generation + 1, |retired| retired.generation)
    }

    fn keep(&mut self, header: &MediaMessage) {
        self.generation = self.generation.max(header.generation);
        let part = header.content.part;
        for track in header.content.tracks.iter() {
            if self.slots.len() < MAX_HEADERS || self.slots.contains_key(&(part, track)) {
                self.slots.insert((part, track), header.clone());
            }
        }
    }

    fn retire(&mut self) {
        let metadata = self.slots.remove(&(Part::Metadata, 0));
        self.retired = metadata.or_else(|| self.retired.take());
        self.slots.clear();
        // A player in the middle of them begins again.
        self.generation += 1;
    }

    fn bytes(&self) -> usize {
        self.slots.values().map(|message| message.body.len()).sum()
    }
}

/// Where somebody stands in the [`Headers`] of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderCursor {
    rank: u8,
    generation: u64,
}

impl HeaderCursor {
    /// Before the first of them.
    pub const START: Self = Self {
        rank: 0,
        generation: 0,
    };
}

/// One clock for all sources that a stream has had, one after the other. Timestamps of RTMP and FLV start wherever a
/// publisher likes, wrap at 2^32 ms and start again with the next publisher; times here only go on.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// The newest time that was given; None before any.
    newest: Option<u64>,
    /// A timestamp of the current source and its time; None until its first message.
    anchor: Option<(u32, u64)>,
    /// In place of a map, as there are few.
    tracks: [Option<Beat>; MAX_TRACKS],
}

/// The last message of a track.
#[derive(Debug, Clone, Copy)]
struct Beat {
    kind: u8,
    track: u8,
    timestamp: u32,
    time: u64,
    came: Instant,
    /// The step to it, in milliseconds.
    step: i32,
    /// The track has had another decoder configuration since.
    configured: bool,
}

/// What a [`Clock`] makes of a timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Milliseconds on the clock.
    pub time: u64,
    /// The timestamp does not go on from those before it: there is another publisher, or its clock leapt.
    pub breaks: bool,
}

impl Clock {
    /// A clock that starts at 0. One by [`Default`] takes over the timestamps of the first source.
    pub const fn at_zero() -> Self {
        Self {
            newest: Some(0),
            anchor: None,
            tracks: [None; MAX_TRACKS],
        }
    }

    /// The next message is the first of another source.
    pub const fn restart(&mut self) {
        self.anchor = None;
        self.tracks = [None; MAX_TRACKS];
    }

    /// The time of a picture or sound that came at `now` with this timestamp: a frame past the newest for the first
    /// of a source, from there on as far apart as timestamps are.
    pub fn tick(&mut self, kind: u8, track: u8, timestamp: u32, now: Instant) -> Tick {
        let beat = self.beat(kind, track).copied();
        let breaks = beat.is_some_and(|beat| beat.breaks(timestamp, now));
        if breaks {
            self.restart();
        }
        let beat = beat.filter(|_| !breaks);
        let step = beat.map_or(0, |beat| {
            timestamp.wrapping_sub(beat.timestamp).cast_signed()
        });
        let time = match beat {
            Some(beat) => beat.time.saturating_add_signed(step.into()),
            None if self.anchor.is_some() => self.near(timestamp),
            None => match self.newest {
                Some(newest) => newest + GAP,
                None => timestamp.into(),
            },
        };
        let next = Beat {
            kind,
            track,
            timestamp,
            time,
            came: now,
            step,
            configured: false,
        };
        match self.beat(kind, track) {
            Some(known) => *known = next,
            // A ninth track is taken for a new one each time.
            None => {
                if let Some(free) = self.tracks.iter_mut().find(|slot| slot.is_none()) {
                    *free = Some(next);
                }
            }
        }
        self.anchor = Some((timestamp, time));
        self.newest = self.newest.max(Some(time));
        Tick { time, breaks }
    }

    /// The time of a message that is neither picture nor sound, and of the first of a track. Senders stamp these as
    /// they like, so what is far from everything else belongs to the newest.
    pub fn near(&self, timestamp: u32) -> u64 {
        let Some(newest) = self.newest else {
            return timestamp.into();
        };
        let near = self.anchor.map(|(anchor, time)| {
            let step = timestamp.wrapping_sub(anchor).cast_signed();
            time.saturating_add_signed(step.into())
        });
        near.filter(|time| time.abs_diff(newest) <= MAX_APART)
            .unwrap_or(newest)
    }

    /// These tracks have another decoder configuration from here on: a hole in front of one is a joint, whatever
    /// the reason.
    pub fn configure(&mut self, kind: u8, tracks: &Tracks) {
        for beat in self.tracks.iter_mut().flatten() {
            beat.configured |= beat.kind == kind && tracks.contains(beat.track);
        }
    }

    fn beat(&mut self, kind: u8, track: u8) -> Option<&mut Beat> {
        let mut beats = self.tracks.iter_mut().flatten();
        beats.find(|beat| beat.kind == kind && beat.track == track)
    }
}

impl Beat {
    fn breaks(&self, timestamp: u32, now: Instant) -> bool {
        let step = timestamp.wrapping_sub(self.timestamp).cast_signed();
        let hole = self.configured && step > MAX_HOLE.max(self.step.saturating_mul(3));
        let waited = now.saturating_duration_since(self.came).as_millis();
        // Nothing for a minute, and then a minute later: a pause, which players bear.
        let leaps = step > MAX_LEAP && u128::from(step.unsigned_abs() / 2) > waited;
        step < -MAX_STEP_BACK || hole || leaps
    }
}

const fn rank(part: Part) -> u8 {
    match part {
        Part::Metadata => 1,
        Part::AudioHeader => 2,
        Part::ChannelLayout => 3,
        // Before what it is about.
        Part::TrackMetadata => 4,
        Part::VideoHeader => 5,
        Part::Command | Part::End | Part::Frame | Part::Keyframe => 6,
    }
}

/// Keyframes further apart than this many messages, or than this many bytes, are not waited for: a later player
/// then starts at the next one. Thirteen seconds of 30 pictures and 45 sounds, or seven of 20 Mbit/s.
pub const MAX_MESSAGES: usize = 1024;
/// The bytes of all messages that are kept of one stream; see [`MAX_MESSAGES`].
pub const MAX_BYTES: usize = 16 << 20;
/// The largest header: a decoder configuration has some hundred bytes, metadata a few thousand. Anything larger
/// passes as a frame does, and is not kept for later players.
pub const MAX_HEADER_BYTES: usize = 64 << 10;
/// Metadata, and two headers of each track.
const MAX_HEADERS: usize = 1 + 2 * MAX_TRACKS;
/// Between the last message of one source and the first of the next, in milliseconds: one frame.
const GAP: u64 = 40;
/// How far the first message of a track, or data, may be from the newest message, in milliseconds.
const MAX_APART: u64 = 10_000;
/// How far a track may step back before it is another publisher's, in milliseconds: encoders that mend their clock
/// step back by tenths of a second.
const MAX_STEP_BACK: i32 = 500;
/// How far a track may leap within one publication, unless as much time passed, in milliseconds: three seconds of
/// lost packets are nothing unusual.
const MAX_LEAP: i32 = 3000;
/// The longest step to the first frame of another decoder configuration, in milliseconds: one frame of the slowest
/// stream that is still a moving picture. Browsers stop for good at a hole there.
const MAX_HOLE: i32 = 200;
