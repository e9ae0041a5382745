//! An FLV file from the middle of a session: RTMP chunks, or HTTP-FLV in whichever framing it comes.

pub use crate::media::flv::MAX_PARTIAL;
use crate::media::flv::{self, FlvError, Tag};
use crate::media::part::{Content, Tracks, without_set_data_frame};
use crate::read::Reader;
use crate::rtmp::chunk::ChunkReader;
use crate::rtmp::message::{Message, kind};

/// Turns the bytes of a session into FLV. A picture that needs others before it is left out until one comes that
/// does not.
#[derive(Debug)]
pub struct Recorder {
    source: Source,
    /// Decoder configurations and metadata, written before anything else.
    headers: Vec<Message>,
    started: bool,
    first: Option<u32>,
    /// The tracks of video that have had a keyframe.
    pictures: Tracks,
}

#[derive(Debug)]
enum Source {
    Flv(Tags),
    Rtmp(Box<ChunkReader>),
}

/// The bytes are no stream that is known here; nothing more can be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what the session carries cannot be read as FLV")]
pub struct Unreadable;

impl Recorder {
    /// A recorder of HTTP-FLV, with or without chunked coding, from wherever it is now.
    pub const fn of_flv(headers: Vec<Message>) -> Self {
        Self::new(Source::Flv(Tags::new()), headers)
    }

    /// A recorder of RTMP chunks, from where `reader` is.
    pub const fn of_rtmp(reader: Box<ChunkReader>, headers: Vec<Message>) -> Self {
        Self::new(Source::Rtmp(reader), headers)
    }

    const fn new(source: Source, headers: Vec<Message>) -> Self {
        Self {
            source,
            headers,
            started: false,
            first: None,
            pictures: Tracks::none(),
        }
    }

    /// Takes bytes of the session, and appends FLV to `out`.
    ///
    /// # Errors
    /// [`Unreadable`], for good.
    pub fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Unreadable> {
        let mut messages = Vec::new();
        match &mut self.source {
            Source::Rtmp(reader) => {
                while let Some(message) = reader.read(&mut input).map_err(|_| Unreadable)? {
                    messages.push(message);
                }
            }
            Source::Flv(tags) => tags.feed(input, &mut messages)?,
        }
        for message in messages {
            self.write(&message, out);
        }
        Ok(())
    }

    fn write(&mut self, message: &Message, out: &mut Vec<u8>) {
        if !matches!(message.kind, kind::AUDIO | kind::VIDEO | kind::DATA_AMF0) {
            return;
        }
        let content = Content::of(message.kind, &message.payload);
        if !content.follows(message.kind, &mut self.pictures) {
            return;
        }
        if !self.started {
            self.started = true;
            let has = |kind: u8| self.headers.iter().any(|header| header.kind == kind);
            // What is not known now may come: players look at the tags, and some wait for what is announced.
            let (audio, video) = (has(kind::AUDIO), has(kind::VIDEO));
            let known = audio || video;
            out.extend_from_slice(&flv::header(audio || !known, video || !known));
            for header in &self.headers {
                write_tag(0, header, out);
            }
        }
        let first = *self.first.get_or_insert(message.timestamp);
        // Messages of the two tracks interleave: one may be a little earlier than the first.
        let after = message.timestamp.wrapping_sub(first);
        let timestamp = if after < 1 << 31 { after } else { 0 };
        write_tag(timestamp, message, out);
    }
}

fn write_tag(timestamp: u32, message: &Message, out: &mut Vec<u8>) {
    let tag = Tag {
        kind: message.kind,
        timestamp,
        payload: without_set_data_frame(&message.payload),
    };
    flv::write_tag(&tag, out);
}

/// Finds the tags of a stream of FLV, from the middle of it: a tag is where the size after it says so. Chunked coding
/// is known by the line before a tag that tells the chunk's size (RFC 9112 §7.1).
#[derive(Debug)]
struct Tags {
    buffer: Vec<u8>,
    /// Of the current chunk, what has not been read; `None`: there is no chunked coding, or it is not known yet.
    chunk: Option<usize>,
    body: Vec<u8>,
    found: bool,
    /// The search goes on when there are this many bytes: twice those it looked at in vain, so that all searches
    /// together cost what one does.
    search_at: usize,
    /// How often what seemed a stream of tags was none.
    lost: u32,
}

impl Tags {
    const fn new() -> Self {
        Self {
            buffer: Vec::new(),
            chunk: None,
            body: Vec::new(),
            found: false,
            search_at: 1,
            lost: 0,
        }
    }

    fn feed(&mut self, input: &[u8], messages: &mut Vec<Message>) -> Result<(), Unreadable> {
        if self.buffer.len() + self.body.len() + input.len() > 2 * MAX_PARTIAL {
            return Err(Unreadable);
        }
        self.buffer.extend_from_slice(input);
        loop {
            if !self.found && (self.buffer.len() < self.search_at || !self.find()) {
                return Ok(());
            }
            let framed = self.unframe();
            let read = self.read(messages);
            if framed.is_some() && read.is_some() {
                return Ok(());
            }
            // It was no tag, or not that framing: look on after it.
            self.lost += 1;
            if self.lost > MAX_LOST {
                return Err(Unreadable);
            }
            self.found = false;
            self.search_at = 1;
            self.chunk = None;
            let mut rest = std::mem::take(&mut self.body);
            rest.append(&mut self.buffer);
            rest.drain(..1.min(rest.len()));
            self.buffer = rest;
        }
    }

    /// Looks for the first tag in the buffer, and for a chunk's size before it.
    fn find(&mut self) -> bool {
        for at in 0..self.buffer.len() {
            let (before, rest) = self.buffer.split_at(at);
            if flv::read_tag(&mut Reader::new(rest)).is_ok() {
                self.chunk = size_line(before);
                self.found = true;
                self.buffer.drain(..at);
                return true;
            }
        }
        self.search_at = 2 * self.buffer.len();
        false
    }

    /// Moves what is body from the buffer; `None` where the framing is not what it seemed.
    fn unframe(&mut self) -> Option<()> {
        loop {
            let Some(left) = self.chunk else {
                self.body.append(&mut self.buffer);
                return Some(());
            };
            if left > 0 {
                let count = left.min(self.buffer.len());
                self.body.extend(self.buffer.drain(..count));
                self.chunk = Some(left - count);
                if left > count {
                    return Some(());
                }
            }
            // The end of the chunk, and the size of the next.
            let line = self.buffer.get(2..).unwrap_or_default();
            let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
                return (line.len() <= MAX_SIZE_LINE).then_some(());
            };
            let size = size_line(self.buffer.get(..2 + end + 2)?)?;
            self.buffer.drain(..2 + end + 2);
            self.chunk = Some(size);
            if size == 0 {
                return Some(());
            }
        }
    }

    fn read(&mut self, messages: &mut Vec<Message>) -> Option<()> {
        let mut reader = Reader::new(&self.body);
        let readable = loop {
            match flv::read_tag(&mut reader) {
                Ok(tag) => messages.push(tag.into()),
                Err(FlvError::Truncated) => break Some(()),
                Err(_) => break None,
            }
        };
        let read = self.body.len() - reader.remaining();
        self.body.drain(..read);
        readable
    }
}

/// The size of a chunk, if `bytes` end with the line that says it.
fn size_line(bytes: &[u8]) -> Option<usize> {
    let line = bytes.strip_suffix(b"\r\n")?;
    let digits = line
        .iter()
        .rev()
        .take_while(|byte| byte.is_ascii_hexdigit());
    let count = digits.count();
    let start = line.len() - count;
    let begins = start == 0 || line.get(..start)?.ends_with(b"\r\n");
    let text = str::from_utf8(line.get(start..)?).ok()?;
    let size = usize::from_str_radix(text, 16).ok()?;
    (begins && count <= 8 && size <= MAX_CHUNK).then_some(size)
}

/// A stream that is none costs a search each time. One that begins in the middle of a chunk is lost once.
const MAX_LOST: u32 = 64;
const MAX_CHUNK: usize = 1 << 30;
/// Eight digits and a little.
const MAX_SIZE_LINE: usize = 16;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::media::part::SET_DATA_FRAME;
    use crate::rtmp::header::MessageHeader;
    use crate::rtmp::walk::{Verdict, Walk, Watch};

    fn message(number: u32) -> Message {
        let mut payload = vec![if number == 0 { 0x17 } else { 0x27 }, 1];
        payload.extend((0..number * 37 % 400).map(|byte| byte as u8));
        Message {
            timestamp: 1000 + number * 40,
            kind: kind::VIDEO,
            stream_id: 1,
            payload,
        }
    }

    fn file(numbers: std::ops::Range<u32>) -> Vec<u8> {
        let mut bytes = flv::header(true, true).to_vec();
        for number in numbers {
            write_tag(number * 40, &message(number), &mut bytes);
        }
        bytes
    }

    /// The timestamps and bodies in a file.
    fn tags(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut reader = Reader::new(bytes);
        flv::read_header(&mut reader).expect("a header");
        let mut found = Vec::new();
        while let Ok(tag) = flv::read_tag(&mut reader) {
            found.push((tag.timestamp, tag.payload.to_vec()));
        }
        assert_eq!(reader.remaining(), 0);
        found
    }

    /// The tags of `numbers`, each in a chunk of its own or without.
    fn wire(numbers: std::ops::Range<u32>, chunked: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in numbers {
            let mut tag = Vec::new();
            write_tag(1000 + number * 40, &message(number), &mut tag);
            if chunked {
                bytes.extend(format!("{:x}\r\n", tag.len()).into_bytes());
            }
            bytes.append(&mut tag);
            if chunked {
                bytes.extend(b"\r\n");
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_split_of_http_flv_gives_the_same_file(chunked: bool, sizes in prop::collection::vec(1_usize..300, 1..40)) {
            let bytes = wire(0..12, chunked);
            let mut recorder = Recorder::of_flv(Vec::new());
            let (mut out, mut rest, mut sizes) = (Vec::new(), bytes.as_slice(), sizes.into_iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at(sizes.next().unwrap_or(1).min(rest.len()));
                recorder.feed(now, &mut out).unwrap();
                rest = later;
            }
            prop_assert_eq!(tags(&out), tags(&file(0..12)));
        }

        #[test]
        fn any_bytes_do_no_harm(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
            let mut recorder = Recorder::of_flv(Vec::new());
            let mut out = Vec::new();
            for piece in pieces {
                if recorder.feed(&piece, &mut out).is_err() {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_recording_begins_in_the_middle_with_the_next_whole_picture() {
        for chunked in [true, false] {
            let mut bytes = wire(5..8, chunked).split_off(30);
            bytes.extend(wire(0..3, chunked));
            let headers = vec![Message {
                payload: vec![0x17, 0, 0, 0, 0, 1],
                ..message(0)
            }];
            let mut recorder = Recorder::of_flv(headers);
            let mut out = Vec::new();
            recorder.feed(&bytes, &mut out).unwrap();
            let found = tags(&out);
            assert_eq!(found.len(), 4, "chunked: {chunked}");
            assert_eq!(found[0], (0, vec![0x17, 0, 0, 0, 0, 1]));
            assert_eq!(found[1..], tags(&file(0..3)));
        }
    }

    #[test]
    fn each_track_begins_with_its_own_keyframe_and_metadata_is_what_players_get() {
        let first = |payload: &[u8], kind| Message {
            timestamp: 0,
            kind,
            stream_id: 1,
            payload: payload.to_vec(),
        };
        let metadata = b"\x02\x00\x0aonMetaData\x05";
        let rows: [(&str, Vec<u8>, u8, bool); 6] = [
            (
                "metadata",
                [SET_DATA_FRAME, metadata].concat(),
                kind::DATA_AMF0,
                true,
            ),
            ("colours", b"\x94hvc1\x02".to_vec(), kind::VIDEO, true),
            (
                "an inter frame after them",
                b"\xa1hvc1\0\0\0".to_vec(),
                kind::VIDEO,
                false,
            ),
            ("a keyframe", b"\x91hvc1\0\0\0".to_vec(), kind::VIDEO, true),
            (
                "the second picture's inter frame",
                b"\xa6\x01hvc1\x01\0".to_vec(),
                kind::VIDEO,
                false,
            ),
            (
                "the first picture's inter frame",
                b"\xa1hvc1\0\0\x01".to_vec(),
                kind::VIDEO,
                true,
            ),
        ];
        let mut recorder = Recorder::of_flv(Vec::new());
        for (cause, payload, kind, recorded) in rows {
            let mut out = Vec::new();
            recorder.write(&first(&payload, kind), &mut out);
            assert_eq!(!out.is_empty(), recorded, "{cause}");
            if kind == kind::DATA_AMF0 {
                assert!(out.windows(metadata.len()).any(|window| window == metadata));
                assert!(!out.windows(4).any(|window| window == b"@set"), "{cause}");
            }
        }
    }

    struct Pass;

    impl Watch for Pass {
        fn message(&mut self, _: &MessageHeader, _: Option<&[u8]>) -> Verdict {
            Verdict::Pass
        }
    }

    #[test]
    fn a_reader_that_comes_later_knows_what_headers_inherit() {
        // RTMP 1.0 §5.3.1.2: a type 0 header on chunk stream 6, then types 2, 3 and 1, each leaning on those before.
        let first = [&[6, 0, 3, 0xE8, 0, 0, 2, 9, 1, 0, 0, 0], &[0x17, 1][..]].concat();
        let then = [
            &[0x86, 0, 0, 40][..],
            &[0x27, 1],
            &[0xC6],
            &[0x27, 2],
            &[0x46, 0, 0, 10, 0, 0, 3, 9],
            &[0x27, 3, 3],
        ]
        .concat();
        let mut walk = Walk::new();
        walk.feed(&first[..13], &mut Pass).unwrap();
        assert!(
            walk.reader(MAX_PARTIAL).is_none(),
            "in the middle of a message"
        );
        walk.feed(&first[13..], &mut Pass).unwrap();
        let mut reader = walk.reader(MAX_PARTIAL).expect("between two messages");
        let mut input = then.as_slice();
        let mut found = Vec::new();
        while let Some(message) = reader.read(&mut input).unwrap() {
            found.push((message.timestamp, message.kind, message.payload));
        }
        let expected = [
            (1040, 9, vec![0x27, 1]),
            (1080, 9, vec![0x27, 2]),
            (1090, 9, vec![0x27, 3, 3]),
        ];
        assert_eq!(found, expected);
    }
}
