//! The embedded clip, as the messages of a stream that never ends.

use sluicegate_core::read::Reader;
use sluicegate_core::rtmp::message::{Message, kind};

use sluicegate_core::media::flv::{self, FlvError, Tag};
use sluicegate_core::media::part::{Part, SET_DATA_FRAME};

/// A short FLV file that can be published for ever.
#[derive(Debug, Clone)]
pub struct Clip {
    opening: Vec<Message>,
    frames: Vec<Message>,
    period: u32,
}

impl Clip {
    /// The clip that is built into the binary: 4 s, 25 frames per second, a keyframe every second, H.264 and AAC
    /// (`assets/README.md` says how it was made).
    pub fn embedded() -> Self {
        Self::parse(include_bytes!("../../assets/demo.flv"))
            .expect("the embedded clip parses: a test reads it")
    }

    /// Reads a whole FLV file. Its audio and video must have timestamps that never run backwards.
    pub fn parse(file: &[u8]) -> Result<Self, ClipError> {
        let mut reader = Reader::new(file);
        flv::read_header(&mut reader)?;
        let mut opening = Vec::new();
        let mut frames: Vec<Message> = Vec::new();
        while reader.remaining() > 0 {
            let tag = flv::read_tag(&mut reader)?;
            match Part::of(tag.kind, tag.payload) {
                part if part.is_header() => opening.push(message(0, &tag)),
                // The stream goes on after the file's end, so the end must not be sent.
                Part::End => {}
                _ => {
                    if frames
                        .last()
                        .is_some_and(|last| tag.timestamp < last.timestamp)
                    {
                        return Err(ClipError::Backwards(tag.timestamp));
                    }
                    frames.push(message(tag.timestamp, &tag));
                }
            }
        }
        let period = [kind::AUDIO, kind::VIDEO]
            .iter()
            .filter_map(|kind| track_length(&frames, *kind))
            .max();
        let period = period
            .filter(|period| *period > 0)
            .ok_or(ClipError::TooShort)?;
        Ok(Self {
            opening,
            frames,
            period,
        })
    }

    /// The start of a stream: metadata as publishers send it, after `@setDataFrame`, and the sequence headers.
    /// Timestamps and message stream ids are 0.
    pub fn opening(&self) -> impl Iterator<Item = Message> + '_ {
        self.opening.iter().map(|message| {
            let mut message = message.clone();
            if message.kind == kind::DATA_AMF0 {
                message.payload = [SET_DATA_FRAME, &message.payload].concat();
            }
            message
        })
    }

    /// The frames, repeated without end. Timestamps start at 0, continue from one round to the next and wrap at 2^32;
    /// message stream ids are 0.
    pub fn frames(&self) -> impl Iterator<Item = Message> + '_ {
        let start = self.frames.first().map_or(0, |frame| frame.timestamp);
        let rounds =
            (0..).map(move |round: u32| round.wrapping_mul(self.period).wrapping_sub(start));
        rounds.flat_map(|shift| {
            self.frames.iter().map(move |frame| {
                let mut frame = frame.clone();
                frame.timestamp = frame.timestamp.wrapping_add(shift);
                frame
            })
        })
    }

    /// The length of one round, in milliseconds.
    pub const fn period(&self) -> u32 {
        self.period
    }
}

/// Why a file cannot be published in a loop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClipError {
    /// A tag is older than the one before it.
    #[error("the clip runs backwards at {0} ms")]
    Backwards(u32),
    /// The file is not FLV, or is damaged.
    #[error(transparent)]
    Flv(#[from] FlvError),
    /// No track has two frames at different times, so the clip's length is unknown.
    #[error("the clip has no two frames at different times")]
    TooShort,
}

fn message(timestamp: u32, tag: &Tag<'_>) -> Message {
    Message {
        timestamp,
        kind: tag.kind,
        stream_id: 0,
        payload: tag.payload.to_vec(),
    }
}

/// The time from the first frame to the end of the last one, which lasts as long as the others do on average.
fn track_length(frames: &[Message], kind: u8) -> Option<u32> {
    let mut times = frames
        .iter()
        .filter(|frame| frame.kind == kind)
        .map(|frame| frame.timestamp);
    let first = times.next()?;
    let (intervals, last) = times.fold((0u64, first), |(count, _), time| (count + 1, time));
    let length = u64::from(last - first)
        .checked_mul(intervals + 1)?
        .checked_div(intervals)?;
    u32::try_from(length).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_clip_is_what_its_readme_says() {
        let clip = Clip::embedded();
        assert_eq!(clip.period(), 4000);
        assert_eq!(
            clip.frames
                .iter()
                .filter(|frame| frame.kind == kind::VIDEO)
                .count(),
            100
        );
        assert_eq!(
            clip.frames
                .iter()
                .filter(|frame| frame.kind == kind::AUDIO)
                .count(),
            125
        );
        let keyframes: Vec<u32> = clip
            .frames
            .iter()
            .filter(|frame| Part::of(frame.kind, &frame.payload) == Part::Keyframe)
            .map(|frame| frame.timestamp)
            .collect();
        assert_eq!(keyframes, [32, 1032, 2032, 3032]);
        let parts: Vec<Part> = clip
            .opening
            .iter()
            .map(|message| Part::of(message.kind, &message.payload))
            .collect();
        assert_eq!(
            parts,
            [Part::Metadata, Part::VideoHeader, Part::AudioHeader]
        );
    }

    #[test]
    fn it_loops_for_ever_with_timestamps_that_go_on_evenly() {
        let clip = Clip::embedded();
        let rounds = 5;
        let frames: Vec<Message> = clip.frames().take(clip.frames.len() * rounds).collect();
        assert!(
            frames
                .windows(2)
                .all(|pair| pair[0].timestamp <= pair[1].timestamp)
        );
        for (track, interval) in [(kind::VIDEO, 40), (kind::AUDIO, 32)] {
            let times: Vec<u32> = frames
                .iter()
                .filter(|frame| frame.kind == track)
                .map(|f| f.timestamp)
                .collect();
            assert!(
                times.windows(2).all(|pair| pair[1] - pair[0] == interval),
                "track {track}"
            );
        }
        assert_eq!(frames.first().map(|frame| frame.timestamp), Some(0));
    }

    #[test]
    fn the_opening_is_what_publishers_send() {
        let clip = Clip::embedded();
        let opening: Vec<Message> = clip.opening().collect();
        assert!(
            opening[0]
                .payload
                .starts_with(b"\x02\x00\x0d@setDataFrame\x02\x00\x0aonMetaData")
        );
        assert!(opening.iter().all(|message| message.timestamp == 0));
    }

    #[test]
    fn a_clip_that_cannot_loop_is_refused() {
        let frame = |timestamp| Tag {
            kind: kind::VIDEO,
            timestamp,
            payload: &[0x17, 1, 0, 0, 0],
        };
        let file = |times: &[u32]| {
            let mut bytes = flv::header(false, true).to_vec();
            for time in times {
                flv::write_tag(&frame(*time), &mut bytes);
            }
            bytes
        };
        assert_eq!(
            Clip::parse(b"").err(),
            Some(ClipError::Flv(FlvError::Truncated))
        );
        assert_eq!(Clip::parse(&file(&[])).err(), Some(ClipError::TooShort));
        assert_eq!(Clip::parse(&file(&[7])).err(), Some(ClipError::TooShort));
        assert_eq!(Clip::parse(&file(&[7, 7])).err(), Some(ClipError::TooShort));
        assert_eq!(
            Clip::parse(&file(&[7, 6])).err(),
            Some(ClipError::Backwards(6))
        );
        assert_eq!(
            Clip::parse(&file(&[7, 17])).map(|clip| clip.period()),
            Ok(20)
        );
        let mut torn = file(&[7, 17]);
        torn.pop();
        assert_eq!(
            Clip::parse(&torn).err(),
            Some(ClipError::Flv(FlvError::Truncated))
        );
    }
}
