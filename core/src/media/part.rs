//! What an audio, video or data body says of itself (Adobe FLV specification v10.1 §E.4; enhanced RTMP v2 for the
//! codecs, tracks and modifiers that came later).
//!
//! One classifier for everything that looks at media without decoding it. It jumps over what it need not read, and
//! looks at no more than [`MAX_LOOK`] bytes of a body, however long the body is and whatever sizes it announces.

use crate::read::{Reader, Truncated};
use crate::rtmp::message::kind;

/// What a player that comes later needs to know of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The decoder configuration of audio tracks.
    AudioHeader,
    /// Where each channel of audio tracks is heard, for codecs that do not say so themselves (`MultichannelConfig`).
    ChannelLayout,
    /// A command to the player's seeking (frame type 5): no picture.
    Command,
    /// The encoder's word that tracks have ended; nothing to show.
    End,
    /// Sound, a picture that needs others before it, or data that belongs to its moment.
    Frame,
    /// A picture that can be decoded by itself, given the decoder configuration.
    Keyframe,
    /// `onMetaData`: what the tracks are.
    Metadata,
    /// What a picture's colours mean (`VideoPacketType.Metadata`); it comes before what it is about.
    TrackMetadata,
    /// The decoder configuration of video tracks.
    VideoHeader,
}

impl Part {
    /// Which part of a stream a message of type `kind` with this body is; see [`Content::of`].
    pub fn of(kind: u8, body: &[u8]) -> Self {
        Content::of(kind, body).part
    }

    /// Whether a player that comes later needs it first: a decoder configuration, or metadata.
    pub const fn is_header(self) -> bool {
        matches!(
            self,
            Self::AudioHeader
                | Self::ChannelLayout
                | Self::Metadata
                | Self::TrackMetadata
                | Self::VideoHeader
        )
    }
}

/// What a message is, and of which tracks. All tracks of one message are the same part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// The part of a stream it is.
    pub part: Part,
    /// The tracks it is of, as numbered among those of its kind (audio, video); 0 where nothing else is said.
    pub tracks: Tracks,
}

impl Content {
    /// Judges a message of type `kind` with this body. Bodies that cannot be read are frames of track 0: they pass,
    /// and the player judges them.
    pub fn of(kind: u8, body: &[u8]) -> Self {
        let judged = match kind {
            kind::AUDIO => Self::of_audio(body),
            kind::VIDEO => Self::of_video(body),
            kind::DATA_AMF0 if without_set_data_frame(body).starts_with(ON_METADATA) => {
                Ok(Self::of_track_0(Part::Metadata))
            }
            // Cue points, captions and the like belong to their moment, as frames do.
            _ => Err(Unreadable),
        };
        judged.unwrap_or(Self::of_track_0(Part::Frame))
    }

    /// Whether it is of use to a player that has had keyframes of the tracks in `pictures`; a keyframe adds its own.
    /// `kind` is the type of the message.
    pub fn follows(&self, kind: u8, pictures: &mut Tracks) -> bool {
        match self.part {
            Part::Keyframe => self.tracks.iter().for_each(|track| {
                pictures.insert(track);
            }),
            Part::Command | Part::Frame if kind == kind::VIDEO => {
                return self.tracks.iter().any(|track| pictures.contains(track));
            }
            _ => {}
        }
        true
    }

    const fn of_track_0(part: Part) -> Self {
        Self {
            part,
            tracks: Tracks::ZERO,
        }
    }

    fn of_audio(body: &[u8]) -> Result<Self, Unreadable> {
        let mut look = Look::new(body);
        let first = look.u8()?;
        match first >> 4 {
            AUDIO_ENHANCED => {
                let packet = look.modifiers(first & 0x0f)?;
                let (packet, tracks) = look.tracks(packet, AUDIO_MULTITRACK)?;
                let part = match packet {
                    SEQUENCE_START => Part::AudioHeader,
                    SEQUENCE_END => Part::End,
                    AUDIO_MULTICHANNEL_CONFIG => Part::ChannelLayout,
                    _ => Part::Frame,
                };
                Ok(Self { part, tracks })
            }
            // §E.4.2.1 AACPacketType.
            AUDIO_AAC if look.u8()? == 0 => Ok(Self::of_track_0(Part::AudioHeader)),
            _ => Ok(Self::of_track_0(Part::Frame)),
        }
    }

    fn of_video(body: &[u8]) -> Result<Self, Unreadable> {
        let mut look = Look::new(body);
        let first = look.u8()?;
        let frame_type = first >> 4 & 0b111;
        let picture = match frame_type {
            VIDEO_KEYFRAME | VIDEO_GENERATED_KEYFRAME => Part::Keyframe,
            _ => Part::Frame,
        };
        if first & VIDEO_ENHANCED != 0 {
            let packet = look.modifiers(first & 0x0f)?;
            // Metadata makes the frame type meaningless.
            if frame_type == VIDEO_COMMAND && packet != VIDEO_METADATA {
                return Ok(Self::of_track_0(Part::Command));
            }
            let (packet, tracks) = look.tracks(packet, VIDEO_MULTITRACK)?;
            let part = match packet {
                SEQUENCE_START | VIDEO_MPEG2TS_SEQUENCE_START => Part::VideoHeader,
                SEQUENCE_END => Part::End,
                VIDEO_CODED_FRAMES | VIDEO_CODED_FRAMES_X => picture,
                VIDEO_METADATA => Part::TrackMetadata,
                _ => Part::Frame,
            };
            return Ok(Self { part, tracks });
        }
        let part = match (frame_type, first & 0x0f) {
            (VIDEO_COMMAND, _) => Part::Command,
            // §E.4.3.1 AVCPacketType; HEVC has the same.
            (_, VIDEO_AVC | VIDEO_HEVC) => match look.u8()? {
                0 => Part::VideoHeader,
                2 => Part::End,
                _ => picture,
            },
            _ => picture,
        };
        Ok(Self::of_track_0(part))
    }
}

/// Numbers of tracks, of audio or of video: at most [`MAX_TRACKS`], in the order in which they were put in.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Tracks {
    ids: [u8; MAX_TRACKS],
    count: u8,
}

impl Tracks {
    /// The default track alone.
    pub const ZERO: Self = Self {
        ids: [0; MAX_TRACKS],
        count: 1,
    };

    /// No track.
    pub const fn none() -> Self {
        Self {
            ids: [0; MAX_TRACKS],
            count: 0,
        }
    }

    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.ids.iter().copied().take(usize::from(self.count))
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether `track` is among them.
    pub fn contains(&self, track: u8) -> bool {
        self.iter().any(|id| id == track)
    }

    /// Puts `track` in. False: there is no room, and it is not in.
    pub fn insert(&mut self, track: u8) -> bool {
        if self.contains(track) {
            return true;
        }
        let Some(free) = self.ids.get_mut(usize::from(self.count)) else {
            return false;
        };
        *free = track;
        self.count += 1;
        true
    }
}

impl std::fmt::Debug for Tracks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Data as players get it: encoders put a word to the server before their metadata, which servers take off.
pub fn without_set_data_frame(body: &[u8]) -> &[u8] {
    body.strip_prefix(SET_DATA_FRAME).unwrap_or(body)
}

/// The most tracks of one message, or of one stream, that are told apart. Encoders send five renditions of a
/// picture, and a handful of languages; each track costs memory for each viewer.
pub const MAX_TRACKS: usize = 8;

/// The most bytes of a body that are looked at. Eight tracks take 34; chains of modifiers take 2 or 4 for each, and
/// longer ones are not worth reading.
pub const MAX_LOOK: usize = 64;

/// An AMF0 string that tells an RTMP server to keep what follows and send it to every player (used by FMLE, and by all
/// encoders since).
pub const SET_DATA_FRAME: &[u8] = b"\x02\x00\x0d@setDataFrame";

/// Reads a body from its start, in jumps, and counts what it looks at.
struct Look<'a> {
    reader: Reader<'a>,
    left: usize,
}

impl<'a> Look<'a> {
    const fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(body),
            left: MAX_LOOK,
        }
    }

    fn u8(&mut self) -> Result<u8, Unreadable> {
        self.count(1)?;
        Ok(self.reader.u8()?)
    }

    fn u16(&mut self) -> Result<u16, Unreadable> {
        self.count(2)?;
        Ok(self.reader.u16()?)
    }

    fn u24(&mut self) -> Result<u32, Unreadable> {
        self.count(3)?;
        Ok(self.reader.u24()?)
    }

    fn jump(&mut self, bytes: usize) -> Result<(), Unreadable> {
        self.reader.bytes(bytes)?;
        Ok(())
    }

    fn count(&mut self, bytes: usize) -> Result<(), Unreadable> {
        self.left = self.left.checked_sub(bytes).ok_or(Unreadable)?;
        Ok(())
    }

    /// Jumps over modifiers, "ModEx" in `ExVideoTagHeader` and `ExAudioTagHeader`: data and its size, then the
    /// packet type that they modify, which may be another of them.
    fn modifiers(&mut self, mut packet: u8) -> Result<u8, Unreadable> {
        while packet == MOD_EX {
            let mut size = usize::from(self.u8()?) + 1;
            if size == 256 {
                size = usize::from(self.u16()?) + 1;
            }
            self.jump(size)?;
            packet = self.u8()? & 0x0f; // the upper half says what kind of modifier it was
        }
        Ok(packet)
    }

    /// The packet type and the tracks that follow, where `multitrack` is the packet type that announces several.
    fn tracks(&mut self, packet: u8, multitrack: u8) -> Result<(u8, Tracks), Unreadable> {
        if packet != multitrack {
            self.jump(FOURCC)?;
            return Ok((packet, Tracks::ZERO));
        }
        let byte = self.u8()?;
        let (layout, packet) = (byte >> 4, byte & 0x0f);
        if packet == multitrack || packet == MOD_EX {
            return Err(Unreadable);
        }
        if layout != MANY_TRACKS_MANY_CODECS {
            self.jump(FOURCC)?;
        }
        let mut tracks = Tracks::none();
        match layout {
            ONE_TRACK => {
                tracks.insert(self.u8()?);
            }
            MANY_TRACKS | MANY_TRACKS_MANY_CODECS => {
                // What comes after a broken size cannot be found; what came before it is known.
                while self.next_track(layout, &mut tracks).is_ok() {}
            }
            _ => return Err(Unreadable),
        }
        match tracks.iter().next() {
            Some(_) => Ok((packet, tracks)),
            None => Err(Unreadable),
        }
    }

    fn next_track(&mut self, layout: u8, tracks: &mut Tracks) -> Result<(), Unreadable> {
        if layout == MANY_TRACKS_MANY_CODECS {
            self.jump(FOURCC)?;
        }
        let track = self.u8()?;
        let size = self.u24()?;
        if !tracks.insert(track) {
            return Err(Unreadable);
        }
        self.jump(usize::try_from(size).map_err(|_| Unreadable)?)
    }
}

/// A body that ends too early, says what has no meaning, or takes too long to say it.
struct Unreadable;

impl From<Truncated> for Unreadable {
    fn from(_: Truncated) -> Self {
        Self
    }
}

const ON_METADATA: &[u8] = b"\x02\x00\x0aonMetaData"; // §E.5, an AMF0 string
const FOURCC: usize = 4;
const AUDIO_AAC: u8 = 10; // §E.4.2.1 SoundFormat
const AUDIO_ENHANCED: u8 = 9; // enhanced RTMP v2 "SoundFormat.ExHeader"
const VIDEO_ENHANCED: u8 = 0x80; // enhanced RTMP v2 "isExVideoHeader"
const VIDEO_KEYFRAME: u8 = 1; // §E.4.3.1 FrameType
const VIDEO_GENERATED_KEYFRAME: u8 = 4;
const VIDEO_COMMAND: u8 = 5;
const VIDEO_AVC: u8 = 7; // §E.4.3.1 CodecID
const VIDEO_HEVC: u8 = 12; // never in the specification, sent by encoders before enhanced RTMP
// Enhanced RTMP v2 "AudioPacketType" and "VideoPacketType".
const SEQUENCE_START: u8 = 0;
const VIDEO_CODED_FRAMES: u8 = 1;
const SEQUENCE_END: u8 = 2;
const VIDEO_CODED_FRAMES_X: u8 = 3;
const VIDEO_METADATA: u8 = 4;
const AUDIO_MULTICHANNEL_CONFIG: u8 = 4;
const VIDEO_MPEG2TS_SEQUENCE_START: u8 = 5;
const AUDIO_MULTITRACK: u8 = 5;
const VIDEO_MULTITRACK: u8 = 6;
const MOD_EX: u8 = 7;
// Enhanced RTMP v2 "AvMultitrackType".
const ONE_TRACK: u8 = 0;
const MANY_TRACKS: u8 = 1;
const MANY_TRACKS_MANY_CODECS: u8 = 2;
