//! One live stream, held for any number of viewers: a log of shared messages, and each viewer's place in it.
//!
//! A viewer is a place, not a queue: a slow one holds nothing, and skipping ahead is one assignment. The worker that
//! pulls the stream [`push`](Feed::push)es its messages. Every worker with viewers has a [`branch`](Feed::branch), to
//! which it [`apply`](Feed::apply)s what the first one tells. Bodies are shared by all of them.
//!
//! Nothing waits or is sent here; a [`Viewer`](super::viewer::Viewer) makes bytes of the steps of its place.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::blocks::Block;
use super::gop::{Cache, Clock, HeaderCursor, MediaMessage};
use super::part::{Content, Part, Tracks, without_set_data_frame};
use super::timeline::Timeline;
use crate::rtmp::message::{Message, kind};

/// One live stream, held for any number of viewers. What it keeps is bounded by
/// [`MAX_MESSAGES`](super::gop::MAX_MESSAGES) and [`MAX_BYTES`](super::gop::MAX_BYTES).
#[derive(Debug, Clone)]
pub struct Feed {
    cache: Cache,
    clock: Clock,
    /// How far a viewer may be behind, in milliseconds.
    max_lag: u64,
    /// The discontinuity and time at which the newest group started, and how long the last whole one was.
    group_start: Option<(u64, u64)>,
    group_length: u64,
    /// When the current source began, on the feed's clock.
    began: Option<u64>,
    /// When the first block was pushed.
    first_block: Option<Instant>,
    /// It holds blocks, and no messages.
    has_blocks: bool,
}

/// Something that happened to a feed, for its branches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The source is gone.
    Interrupted,
    /// The stream goes on.
    Message(MediaMessage),
    /// Messages were let go to give back memory.
    Shed,
}

impl Feed {
    /// A feed whose viewers skip ahead when they are more than `max_lag` behind, or a group of pictures if that is
    /// longer.
    pub fn new(max_lag: Duration) -> Self {
        let max_lag = u64::try_from(max_lag.as_millis()).unwrap_or(u64::MAX);
        Self {
            cache: Cache::new(max_lag),
            clock: Clock::at_zero(),
            max_lag,
            group_start: None,
            group_length: 0,
            began: None,
            first_block: None,
            has_blocks: false,
        }
    }

    /// Takes the next block of a stream in a format of its own, which came at `now`, and gives the changes that it is:
    /// one, or two where a player that begins there has to be given something before. A feed has either blocks or
    /// messages.
    ///
    /// Blocks say nothing of time, so that a viewer's lag is measured by when they came.
    pub fn push_block(
        &mut self,
        block: Block,
        now: Instant,
    ) -> impl Iterator<Item = Change> + use<> {
        let first = *self.first_block.get_or_insert(now);
        let passed = now.saturating_duration_since(first).as_millis();
        let time = u64::try_from(passed).unwrap_or(u64::MAX);
        let Block { entry, bytes } = block;
        let is_entry = entry.is_some();
        let before = entry.filter(|before| !before.is_empty());
        let message = |feed: &Self, kind, body, starts_group| MediaMessage {
            kind,
            content: Content {
                part: if starts_group {
                    Part::Keyframe
                } else {
                    Part::Frame
                },
                tracks: Tracks::none(),
            },
            body,
            time,
            discontinuity: feed.cache.discontinuity(),
            generation: feed.generation(),
            starts_group,
            repeats: false,
        };
        let starts_by_itself = is_entry && before.is_none();
        let before = before.map(|body| message(self, BEFORE_BLOCK, body, true));
        let block = message(self, BLOCK, bytes, starts_by_itself);
        let messages: Vec<_> = before.into_iter().chain([block]).collect();
        for message in &messages {
            self.keep(message);
        }
        messages.into_iter().map(Change::Message)
    }

    /// Takes the next message of the pull, which came at `now`. None: it is nothing for viewers (commands, the end
    /// of a track, headers they have, a ninth track).
    ///
    /// Timestamps that do not go on are found out here: viewers then go on where they are, from a keyframe.
    pub fn push(&mut self, message: Message, now: Instant) -> Option<Change> {
        let timestamp = message.timestamp;
        let (kind, body) = shown(message)?;
        let content = Content::of(kind, &body);
        if content.part == Part::End || !self.cache.meet(kind, &content.tracks) {
            return None;
        }
        let track = content.tracks.iter().next().unwrap_or_default();
        let time = if content.part.is_header() || kind == kind::DATA_AMF0 {
            self.clock.near(timestamp)
        } else {
            let tick = self.clock.tick(kind, track, timestamp, now);
            if tick.breaks {
                self.cache.break_off();
            }
            tick.time
        };
        let message = self.cache.classify(kind, content, time, body);
        if message.repeats {
            return None;
        }
        if matches!(content.part, Part::AudioHeader | Part::VideoHeader) {
            self.clock.configure(kind, &content.tracks);
        }
        self.keep(&message);
        Some(Change::Message(message))
    }

    /// The source is gone, or another takes its place: the next messages start over with their own headers. Viewers
    /// go on where they are, from a keyframe; new ones are sent nothing until then.
    pub fn interrupt(&mut self) -> Change {
        self.apply(&Change::Interrupted);
        Change::Interrupted
    }

    /// Lets go of all messages, for their memory. Headers stay; viewers go on at the next keyframe.
    pub fn shed(&mut self) -> Change {
        self.apply(&Change::Shed);
        Change::Shed
    }

    /// The same feed for another worker, which has to [`apply`](Self::apply) all changes from here on.
    #[must_use]
    pub fn branch(&self) -> Self {
        self.clone()
    }

    /// Takes a change of the feed that this is a branch of.
    pub fn apply(&mut self, change: &Change) {
        match change {
            Change::Interrupted => {
                self.clock.restart();
                self.cache.interrupt();
                self.began = None;
            }
            Change::Message(message) => self.keep(message),
            Change::Shed => self.cache.shed(),
        }
    }

    /// The place of a viewer that comes now.
    pub fn join(&self, start: Start) -> Place {
        Place {
            stage: match start {
                Start::Announced => Stage::Announcing,
                Start::Bare => Stage::headers(self),
            },
            at: self.cache.end(),
            generation: 0,
            metadata: (0, 0),
            time: self.cache.newest(),
            discontinuity: self.cache.discontinuity(),
            timeline: Timeline::default(),
            awaiting: None,
            pictures_here: false,
            enters: false,
            skips: 0,
            skipped_at: [None; MAX_SKIPS],
        }
    }

    /// What the viewer at `place` is sent next; its place moves on with it.
    pub fn next<'a>(&'a self, place: &mut Place, now: Instant) -> Step<'a> {
        loop {
            match place.stage {
                Stage::Announcing => {
                    let Some((audio, video)) = self.announced() else {
                        return Step::Wait;
                    };
                    place.stage = Stage::headers(self);
                    return Step::Announce { audio, video };
                }
                Stage::Headers { generation, .. } if generation != self.generation() => {
                    place.stage = Stage::headers(self);
                }
                Stage::Headers { cursor, generation } => {
                    let Some((header, cursor)) = self.cache.headers().after(cursor) else {
                        place.start(self);
                        continue;
                    };
                    place.stage = Stage::Headers { cursor, generation };
                    if let Some(time) = place.take_header(header) {
                        return Step::Send {
                            message: header,
                            time,
                        };
                    }
                }
                Stage::Live => {
                    if let Err(slow) = place.catch_up(self, now) {
                        return Step::Over(slow);
                    }
                    if place.stage != Stage::Live {
                        continue;
                    }
                    let Some(message) = self.cache.get(place.at) else {
                        return Step::Wait;
                    };
                    place.at += 1;
                    if let Some(time) = place.take(message) {
                        return Step::Send { message, time };
                    }
                }
            }
        }
    }

    /// How far `place` is behind the newest message, on the clock of the stream.
    pub fn lag(&self, place: &Place) -> Duration {
        Duration::from_millis(self.lag_ms(place))
    }

    /// The bytes of all bodies and headers that are kept.
    pub fn bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// Whether the source has shown sound, and pictures.
    pub fn shows(&self) -> (bool, bool) {
        let (audio, video) = self.cache.tracks();
        (!audio.is_empty(), !video.is_empty())
    }

    fn keep(&mut self, message: &MediaMessage) {
        if message.starts_group {
            let before = self
                .group_start
                .replace((message.discontinuity, message.time));
            if let Some((_, start)) = before.filter(|(number, _)| *number == message.discontinuity)
            {
                self.group_length = message.time.saturating_sub(start);
            }
        }
        self.began.get_or_insert(message.time);
        self.has_blocks |= message.kind == BLOCK;
        self.cache.keep(message);
    }

    fn generation(&self) -> u64 {
        self.cache.headers().generation()
    }

    /// What a file header announces, once that is known: players wait for a track that is announced and never comes,
    /// and some never show one that was not.
    fn announced(&self) -> Option<(bool, bool)> {
        let (audio, video) = self.shows();
        let age = self.cache.newest().saturating_sub(self.began?);
        ((audio && video) || ((audio || video) && age >= MAX_UNANNOUNCED)).then_some((audio, video))
    }

    fn lag_ms(&self, place: &Place) -> u64 {
        let next = if place.at < self.cache.first() {
            place.time
        } else {
            let next = self.cache.get(place.at);
            next.map_or_else(|| self.cache.newest(), |next| next.time)
        };
        self.cache.newest().saturating_sub(next)
    }
}

/// How a viewer's stream begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With a word on which tracks there are, as FLV begins; it is held back until that is known.
    Announced,
    /// With the headers, as RTMP does.
    Bare,
}

/// What a viewer is sent next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// That these tracks are there.
    Announce {
        /// There is sound.
        audio: bool,
        /// There are pictures.
        video: bool,
    },
    /// Nothing: it has to go.
    Over(SlowViewer),
    /// This message.
    Send {
        /// The message, whose body is shared by all viewers.
        message: &'a MediaMessage,
        /// This viewer's timestamp of it, in milliseconds; wire formats take its lower 32 bits.
        time: u64,
    },
    /// Nothing until the feed changes.
    Wait,
}

/// A viewer that cannot follow its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the viewer takes the stream more slowly than it comes: it fell behind three times within a minute"
)]
pub struct SlowViewer;

/// A viewer's place in a feed, and what it was sent. Small, and copied without an allocation: a step may be tried on
/// a copy.
#[derive(Debug, Clone)]
pub struct Place {
    stage: Stage,
    /// The number of the next message.
    at: u64,
    /// How many headers of the stream it has had, or was spared.
    generation: u64,
    /// The generation and checksum of the metadata it was sent; zeros before any.
    metadata: (u64, u32),
    /// The time of the last message that it passed, on the feed's clock.
    time: u64,
    /// The discontinuity of that message.
    discontinuity: u64,
    timeline: Timeline,
    /// Since when sound is left out until there is a picture, on the feed's clock: the two start together.
    awaiting: Option<u64>,
    /// Whether anything of a picture came since the last discontinuity.
    pictures_here: bool,
    /// Whether blocks are left out until one that a player can begin with.
    enters: bool,
    skips: u64,
    skipped_at: [Option<Instant>; MAX_SKIPS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Announcing,
    /// The headers in force when there were this many, up to here.
    Headers {
        cursor: HeaderCursor,
        generation: u64,
    },
    Live,
}

impl Stage {
    fn headers(feed: &Feed) -> Self {
        Self::Headers {
            cursor: HeaderCursor::START,
            generation: feed.generation(),
        }
    }
}

impl Place {
    /// How often it skipped ahead.
    pub const fn skips(&self) -> u64 {
        self.skips
    }

    /// Goes on at the newest keyframe, or with what comes next.
    fn start(&mut self, feed: &Feed) {
        self.stage = Stage::Live;
        self.generation = feed.generation();
        self.discontinuity = feed.cache.discontinuity();
        let keyframe = feed.cache.keyframe();
        self.at = keyframe.unwrap_or_else(|| feed.cache.end());
        let next = feed.cache.get(self.at);
        self.time = next.map_or_else(|| feed.cache.newest(), |next| next.time);
        self.pictures_here = feed.shows().1;
        self.enters = true;
        let pictures = self.timeline.has_pictures() && keyframe.is_none();
        self.awaiting = pictures.then(|| feed.cache.newest());
    }

    /// Skips ahead if it is too far behind.
    fn catch_up(&mut self, feed: &Feed, now: Instant) -> Result<(), SlowViewer> {
        let slow = feed.lag_ms(self) > feed.max_lag.max(feed.group_length);
        let ahead = match feed.cache.keyframe() {
            Some(keyframe) => keyframe > self.at,
            // Sound alone may go on anywhere, pictures and blocks only where a player can begin.
            None => !self.timeline.has_pictures() && !feed.has_blocks,
        };
        let lost = self.at < feed.cache.first();
        if !(lost || slow && ahead) {
            return Ok(());
        }
        if slow {
            let [oldest, newer] = self.skipped_at;
            if oldest.is_some_and(|at| now.saturating_duration_since(at) < SKIPS_WITHIN) {
                return Err(SlowViewer);
            }
            self.skipped_at = [newer, Some(now)];
            self.skips += 1;
        }
        self.timeline.join_all();
        if self.generation == feed.generation() {
            self.start(feed);
        } else {
            self.stage = Stage::headers(feed);
        }
        Ok(())
    }

    /// The viewer's timestamp of a header; None: it has it.
    fn take_header(&mut self, header: &MediaMessage) -> Option<u64> {
        if header.content.part == Part::Metadata {
            // Players take metadata that comes again for another track.
            let (generation, before) = self.metadata;
            let checksum = crc32fast::hash(&header.body);
            if header.generation <= generation {
                return None;
            }
            self.metadata = (header.generation, checksum);
            if checksum == before {
                return None;
            }
            return self.timeline.stamp(header);
        }
        Some(self.timeline.header(header))
    }

    /// The viewer's timestamp of the next message of the log; None: it is of no use to it.
    fn take(&mut self, message: &MediaMessage) -> Option<u64> {
        self.time = message.time;
        if matches!(message.kind, BEFORE_BLOCK | BLOCK) {
            return self.take_block(message).then_some(message.time);
        }
        if message.discontinuity != self.discontinuity {
            self.discontinuity = message.discontinuity;
            self.timeline.join_all();
            self.pictures_here = false;
            self.awaiting = self.timeline.has_pictures().then_some(message.time);
        }
        let part = message.content.part;
        self.pictures_here |= message.is_video();
        if part.is_header() {
            let known = message.generation <= self.generation;
            self.generation = self.generation.max(message.generation);
            if known && part != Part::Metadata {
                return None;
            }
            let time = self.take_header(message);
            if matches!(part, Part::AudioHeader | Part::VideoHeader) {
                self.timeline.join(message.kind, &message.content.tracks);
            }
            return time;
        }
        if message.starts_group {
            self.awaiting = None;
        }
        if let Some(since) = self.awaiting {
            let time_limit = if self.pictures_here {
                MAX_AWAITING
            } else {
                MAX_AWAITING_UNSEEN
            };
            if message.kind != kind::AUDIO || message.time.saturating_sub(since) <= time_limit {
                return None;
            }
            self.awaiting = None;
        }
        self.timeline.stamp(message)
    }

    /// Whether a block is sent, or what stands before one: that only to those who begin there.
    fn take_block(&mut self, message: &MediaMessage) -> bool {
        if message.discontinuity != self.discontinuity {
            self.discontinuity = message.discontinuity;
            self.enters = true;
        }
        let begins = self.enters && message.starts_group;
        self.enters &= !message.starts_group;
        begins || (message.kind == BLOCK && !self.enters)
    }
}

/// What viewers get of a message; None: nothing.
fn shown(message: Message) -> Option<(u8, Bytes)> {
    let (kind, mut body) = (message.kind, Bytes::from(message.payload));
    let kind = match kind {
        kind::AUDIO | kind::VIDEO | kind::DATA_AMF0 => kind,
        // Data in AMF3 is AMF0 after one zero byte, in every sender known; FLV has no other.
        kind::DATA_AMF3 if body.first() == Some(&0) => {
            body = body.slice(1..);
            kind::DATA_AMF0
        }
        _ => return None,
    };
    if kind == kind::DATA_AMF0 {
        let taken_off = body.len() - without_set_data_frame(&body).len();
        body = body.slice(taken_off..);
    }
    (body.len() <= MAX_BODY).then_some((kind, body))
}

/// The kind of bytes that are shown as they came. RTMP gives the number to no message.
pub const BLOCK: u8 = 0;
/// The kind of what a player has to be given before the block that follows. No media of RTMP has the number.
pub const BEFORE_BLOCK: u8 = 1;
/// The longest body that RTMP and FLV can frame (RTMP 1.0 §5.3.1.2.1).
const MAX_BODY: usize = (1 << 24) - 1;
/// How long the tracks of a source may be unknown, in milliseconds: by then, encoders have sent something of each.
const MAX_UNANNOUNCED: u64 = 1000;
/// The third skip within a minute ends a viewer: it cannot follow, and a player that asks again may find a smaller
/// stream.
const MAX_SKIPS: usize = 2;
const SKIPS_WITHIN: Duration = Duration::from_secs(60);
/// How long a source that shows pictures may take to its first keyframe before its sound goes on alone, in
/// milliseconds: encoders that choose their keyframes themselves are at eight seconds.
const MAX_AWAITING: u64 = 10_000;
/// The same for a source that has shown nothing of a picture yet.
const MAX_AWAITING_UNSEEN: u64 = 1000;
