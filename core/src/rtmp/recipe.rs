//! What another origin has to be told of a publisher whose origin is lost: its set-up, the headers of its tracks, and then
//! its media from a keyframe on.
//!
//! Encoders send their headers (metadata, decoder configurations) once per connection, so the newest of each is copied
//! while it passes. All other media is looked at for a few bytes, and not copied.

use super::chunk::{ChunkReader, ChunkWriter};
use super::header::{DEFAULT_CHUNK_SIZE, MessageHeader};
use super::message::{Command, Message, chunk_stream, kind};
use super::moving::Moving;
use super::server::{Answered, Identified, StreamRequest};
use super::walk::{Look, Piece, Verdict};
use crate::dialect::Dialect;
use crate::media::keyframes::Keyframes;
use crate::media::part::{Content, MAX_LOOK, Part};
use crate::stream::Action;

/// What is kept of a publisher for another origin. For an ordinary encoder that is 1 to 2 kB.
#[derive(Debug)]
pub struct Recipe {
    /// The commands up to `publish`, as chunks of the default size.
    set_up: Box<[u8]>,
    answered: Box<[Answered]>,
    dialect: Dialect,
    tc_url: Box<str>,
    headers: Vec<Header>,
    /// The beginnings of messages that are looked at, or copied because they are headers.
    begun: Vec<Begun>,
    stage: Stage,
    /// Video has come: then media begins with a keyframe.
    has_pictures: bool,
    keyframes: Keyframes,
    dropped: u64,
    /// Another origin has taken the stream, and this one still has it.
    pub(super) moving: Option<Box<Moving>>,
}

/// How much the origin gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Everything.
    Joined,
    /// Nothing: there is none.
    Away,
    /// Nothing but commands until a keyframe.
    AwaitsKeyframe,
}

/// A message that a decoder needs before pictures or sound.
#[derive(Debug)]
struct Header {
    chunk_stream: u32,
    kind: u8,
    stream_id: u32,
    content: Content,
    body: Box<[u8]>,
}

#[derive(Debug)]
struct Begun {
    chunk_stream: u32,
    bytes: Vec<u8>,
}

impl Recipe {
    /// The recipe of a publisher that was just identified.
    pub fn new(identified: &Identified) -> Self {
        let writer = ChunkWriter::new(DEFAULT_CHUNK_SIZE);
        let mut set_up = Vec::new();
        for (stream_id, command) in &own_commands(identified) {
            let message = Message::command(*stream_id, command);
            writer.write(chunk_stream::COMMAND, &message, &mut set_up);
        }
        Self {
            set_up: set_up.into(),
            answered: identified.answered.as_slice().into(),
            dialect: identified.dialect,
            tc_url: identified.request.tc_url.as_str().into(),
            headers: Vec::new(),
            begun: Vec::new(),
            stage: Stage::Joined,
            has_pictures: false,
            keyframes: Keyframes::default(),
            dropped: 0,
            moving: None,
        }
    }

    /// The client as it was when it asked to publish, without anything that it sent later. `None` if the bytes that are
    /// kept do not tell it, which they always do.
    pub fn identified(&self) -> Option<Identified> {
        let mut reader = ChunkReader::new(self.set_up.len());
        let mut input = &*self.set_up;
        let mut commands = Vec::new();
        while let Some(message) = reader.read(&mut input).ok()? {
            let command = Command::decode(message.kind, &message.payload).ok()?;
            commands.push((message.stream_id, command));
        }
        let (stream_id, command) = commands.last()?.clone();
        let (_, connect) = commands.first()?.clone();
        Some(Identified {
            request: StreamRequest {
                action: Action::Publish,
                tc_url: self.tc_url.to_string(),
                name: command.stream_name().unwrap_or_default().to_owned(),
                stream_id,
                command,
                connect,
            },
            replay: self.set_up.to_vec(),
            after_request: 0,
            commands,
            answered: self.answered.to_vec(),
            dialect: self.dialect,
            renamed: false,
            keeps_recipe: false,
            by_parameters: false,
        })
    }

    /// The origin is lost: what comes is dropped, except for new headers, which are kept.
    pub fn lose(&mut self) {
        self.stage = Stage::Away;
        self.dropped = 0;
        // Keyframes are not looked for while there is no origin: the next two tell how far apart they are.
        self.keyframes = Keyframes::default();
    }

    /// Another origin has taken the stream. It gets the headers and all media from the next keyframe on; a stream without
    /// pictures begins with its next sound.
    pub fn resume(&mut self) {
        self.stage = Stage::AwaitsKeyframe;
    }

    /// The origin goes on getting everything, as if no other had been asked.
    pub(super) fn stay(&mut self) {
        self.stage = Stage::Joined;
        self.begun.clear();
    }

    /// How far apart its keyframes are, in milliseconds; 0 where that is not known.
    pub const fn keyframes_apart(&self) -> u32 {
        self.keyframes.apart()
    }

    /// Whether the origin gets media.
    pub fn is_joined(&self) -> bool {
        self.stage == Stage::Joined
    }

    /// What was left out so far was for another origin, which got it.
    pub(super) fn nothing_dropped(&mut self) {
        self.dropped = 0;
    }

    /// Whether there is no origin.
    pub(super) fn is_away(&self) -> bool {
        self.stage == Stage::Away
    }

    /// Messages of audio and video that were dropped since the origin was lost.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A message of audio, video or data begins.
    pub(super) fn begin(&mut self, header: &MessageHeader) -> Verdict {
        let id = header.chunk_stream;
        self.begun.retain(|begun| begun.chunk_stream != id);
        let is_picture = header.kind == kind::VIDEO;
        self.has_pictures |= is_picture;
        if is_picture && !self.is_away() {
            self.keyframes.note(header.timestamp);
        }
        let is_media = matches!(header.kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE);
        let is_judged = matches!(header.kind, kind::AUDIO | kind::DATA_AMF0 | kind::VIDEO);
        let may_be_header = is_judged && header.length <= MAX_HEADER;
        if self.stage != Stage::Joined && is_media {
            self.dropped += 1;
        }
        let looked_at = match self.stage {
            // Keyframes are noted.
            Stage::Joined => may_be_header || is_picture,
            Stage::Away => may_be_header,
            Stage::AwaitsKeyframe => may_be_header || self.may_begin(header.kind),
        };
        match (self.stage, looked_at) {
            (Stage::Joined, false) => Verdict::Pass,
            (Stage::Joined, true) => Verdict::Show,
            (Stage::Away | Stage::AwaitsKeyframe, false) => Verdict::Drop,
            (Stage::Away | Stage::AwaitsKeyframe, true) => Verdict::Await,
        }
    }

    /// Looks at the next bytes of a message.
    pub(super) fn look(&mut self, header: &MessageHeader, piece: Piece<'_>) -> Look {
        let Piece { bytes, ends, waits } = piece;
        let id = header.chunk_stream;
        let known = self.begun.iter().position(|begun| begun.chunk_stream == id);
        // Nearly always the first bytes show that it is no header, and nothing is copied.
        if known.is_none() && !waits && (ends || bytes.len() >= MAX_LOOK) {
            let content = Content::of(header.kind, bytes);
            if !content.part.is_header() {
                self.note(header, content);
                return Look::Enough;
            }
        }
        let at = known.unwrap_or_else(|| {
            self.begun.push(Begun {
                chunk_stream: id,
                bytes: Vec::new(),
            });
            self.begun.len() - 1
        });
        let Some(begun) = self.begun.get_mut(at) else {
            return Look::Enough;
        };
        begun.bytes.extend_from_slice(bytes);
        if !ends && begun.bytes.len() < MAX_LOOK {
            return Look::More;
        }
        let content = Content::of(header.kind, &begun.bytes);
        if content.part.is_header() && header.length <= MAX_HEADER {
            if !ends {
                return Look::More;
            }
            return self.header_came(header, content, at, waits);
        }
        self.note(header, content);
        let begun = self.begun.swap_remove(at);
        let begins = self.stage == Stage::AwaitsKeyframe
            && self.may_begin(header.kind)
            && (!self.has_pictures || content.part == Part::Keyframe);
        if !begins {
            return Look::Enough;
        }
        self.stage = Stage::Joined;
        self.dropped = self.dropped.saturating_sub(1);
        Look::Send {
            before: self.headers_at(header.timestamp),
            begun: begun.bytes,
        }
    }

    /// Notes what a message is that is no header.
    fn note(&mut self, header: &MessageHeader, content: Content) {
        if content.part == Part::Keyframe && !self.is_away() {
            self.keyframes.note_keyframe(header.timestamp);
        }
    }

    /// Whether media may begin with a message of this kind.
    const fn may_begin(&self, kind: u8) -> bool {
        kind == kind::VIDEO || kind == kind::AUDIO && !self.has_pictures
    }

    /// Keeps a header that is complete. One that the origin has not seen is sent on where it gets media already.
    fn header_came(
        &mut self,
        header: &MessageHeader,
        content: Content,
        at: usize,
        waits: bool,
    ) -> Look {
        let begun = self.begun.swap_remove(at);
        if waits {
            // It is no media that is lost.
            let is_media = matches!(header.kind, kind::AUDIO | kind::VIDEO);
            self.dropped = self.dropped.saturating_sub(u64::from(is_media));
        }
        self.keep(header, content, &begun.bytes);
        if self.stage == Stage::Joined && waits {
            return Look::Send {
                before: Vec::new(),
                begun: begun.bytes,
            };
        }
        Look::Enough
    }

    fn keep(&mut self, header: &MessageHeader, content: Content, body: &[u8]) {
        let same = |kept: &Header| kept.kind == header.kind && kept.content == content;
        self.headers.retain(|kept| !same(kept));
        let bytes: usize = self.headers.iter().map(|kept| kept.body.len()).sum();
        if self.headers.len() >= MAX_HEADERS || bytes + body.len() > MAX_HEADER_BYTES {
            return;
        }
        self.headers.push(Header {
            chunk_stream: header.chunk_stream,
            kind: header.kind,
            stream_id: header.stream_id,
            content,
            body: body.into(),
        });
        self.headers.sort_by_key(|kept| rank(kept.content.part));
        self.headers.shrink_to_fit();
    }

    /// The headers as messages, in the order in which decoders need them.
    fn headers_at(&self, timestamp: u32) -> Vec<(u32, Message)> {
        let message = |kept: &Header| Message {
            timestamp,
            kind: kept.kind,
            stream_id: kept.stream_id,
            payload: kept.body.to_vec(),
        };
        let headers = self.headers.iter();
        headers
            .map(|kept| (kept.chunk_stream, message(kept)))
            .collect()
    }
}

/// The commands as the client sent them. Those that one origin was told may name the stream in that origin's way.
fn own_commands(identified: &Identified) -> Vec<(u32, Command)> {
    let mut reader = ChunkReader::new(identified.replay.len());
    let mut rest = &*identified.replay;
    let mut commands = Vec::new();
    while commands.len() < identified.commands.len() {
        let Ok(Some(message)) = reader.read(&mut rest) else {
            return identified.commands.clone();
        };
        if let Ok(command) = Command::decode(message.kind, &message.payload) {
            commands.push((message.stream_id, command));
        }
    }
    commands
}

/// The place of a header among those that are sent together: what describes the stream comes first, and colours come
/// before the decoder configuration that they are about (enhanced RTMP v2, "Metadata Frame").
const fn rank(part: Part) -> u8 {
    match part {
        Part::Metadata => 0,
        Part::AudioHeader => 1,
        Part::ChannelLayout => 2,
        Part::TrackMetadata => 3,
        _ => 4,
    }
}

/// Maximum bytes of a message that is taken for a header: those of real encoders have up to a few hundred.
const MAX_HEADER: u32 = 16 * 1024;
/// Maximum headers kept: five for each of eight tracks are 40, and encoders send three.
const MAX_HEADERS: usize = 40;
/// Maximum bytes of all headers kept.
const MAX_HEADER_BYTES: usize = 64 * 1024;
