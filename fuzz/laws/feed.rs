//! Whatever a stream does and however its viewers take it: what each decodes is the stream from a keyframe on, minus
//! what it skipped, on a timeline of its own that has neither hole nor step back where it was joined.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use sluicegate_core::media::feed::{Change, Feed};
use sluicegate_core::media::flv;
use sluicegate_core::media::gop::{MAX_BYTES, MAX_HEADER_BYTES, MediaMessage};
use sluicegate_core::media::part::{Content, Part};
use sluicegate_core::media::viewer::{Envelope, Framing, State, Viewer};
use sluicegate_core::read::Reader;
use sluicegate_core::rtmp::chunk::{ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::message::{Message, chunk_stream, kind};

/// What happens to a feed and its viewers.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    /// A picture 40 ms later, and the sound until then.
    Picture {
        /// It is a keyframe.
        key: bool,
        /// The second track of video has one too.
        second: bool,
    },
    /// A keyframe and this many pictures that depend on it.
    Group(u8),
    /// 20 ms of sound without a picture.
    Sound,
    /// There is no sound any more, or again.
    Mute,
    /// The decoder configuration of this number, of video or of audio.
    Header {
        /// Of video.
        video: bool,
        /// Which one.
        number: u8,
    },
    /// Metadata of this number.
    Metadata(u8),
    /// A cue.
    Data,
    /// The publisher pauses for this many milliseconds.
    Pause(u16),
    /// Another publisher, whose clock is an hour off.
    Restart,
    /// The source is gone.
    Interrupt,
    /// Memory is given back.
    Shed,
    /// A viewer comes.
    Join(Framing),
    /// The socket of a viewer takes at most this many bytes; at 0 it takes none.
    Take {
        /// Which viewer, modulo those that are there.
        viewer: u8,
        /// How many bytes.
        bytes: u16,
    },
    /// Time passes without the stream: a network that holds everything back.
    Pass(u16),
}

/// The first byte says where timestamps begin; then two for each operation.
pub fn law(data: &[u8]) {
    let Some((start, rest)) = data.split_first() else {
        return;
    };
    let start = [0, 0xff_f000, 0xffff_f000, 12_345][usize::from(start % 4)];
    let ops: Vec<Op> = rest
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[op, argument]| decode(*op, *argument))
        .collect();
    run(start, &ops);
}

fn decode(op: u8, argument: u8) -> Op {
    let framing = || match argument % 4 {
        0 => Framing::Flv(Envelope::None),
        1 => Framing::Flv(Envelope::Chunked),
        2 => Framing::Flv(Envelope::WebSocket),
        _ => Framing::Rtmp {
            chunk_size: u32::from(argument).max(1),
            stream_id: 1,
        },
    };
    match op % 16 {
        0 => Op::Picture {
            key: true,
            second: argument & 1 != 0,
        },
        1 => Op::Group(argument),
        2..=4 => Op::Picture {
            key: argument < 16,
            second: argument & 1 != 0,
        },
        5 => Op::Sound,
        6 => Op::Header {
            video: argument & 1 != 0,
            number: argument >> 6,
        },
        7 => match argument % 4 {
            0 => Op::Metadata(argument >> 6),
            1 => Op::Data,
            2 => Op::Mute,
            _ => Op::Shed,
        },
        8 => Op::Pause(u16::from(argument) * 32),
        9 if argument & 1 == 0 => Op::Restart,
        9 => Op::Interrupt,
        10 => Op::Join(framing()),
        11 => Op::Pass(u16::from(argument) * 64),
        _ => Op::Take {
            viewer: op >> 4,
            bytes: u16::from(argument) * u16::from(argument),
        },
    }
}

/// Carries out `ops` on a stream whose timestamps begin at `start`, and holds all viewers to the law.
pub fn run(start: u32, ops: &[Op]) {
    let mut stage = Stage::new(start);
    for op in ops {
        stage.step(*op);
    }
    // In the end all take everything, and a keyframe reaches each of them, within the second that it may take to
    // know which tracks there are.
    //
    // The first of two groups may be cut short: where a new publication begins with a track that the one before it did
    // not have, only the other track's next message shows that it is a new one.
    stage.drain();
    stage.step(Op::Group(30));
    stage.drain();
    stage.step(Op::Group(30));
    stage.drain();
    let last = stage.source.last_keyframe;
    for client in stage.clients.iter().filter(|client| !client.over) {
        assert_eq!(client.lead, last, "the last keyframe reaches everybody");
    }
}

/// A feed, a branch of it, what was pushed, and the viewers.
pub struct Stage {
    /// The feed that the source fills.
    pub feed: Feed,
    branch: Feed,
    /// What was pushed into the feed, in order.
    pub source: Source,
    /// The clock of the stage; steps move it on.
    pub now: Instant,
    /// The viewers that are there, or were and are over.
    pub clients: Vec<Client>,
    /// How many viewers may join.
    pub most_clients: usize,
}

impl Stage {
    /// An empty feed whose source begins at the timestamp `start`, in milliseconds.
    #[expect(
        clippy::disallowed_methods,
        reason = "a law needs some moment to start from"
    )]
    pub fn new(start: u32) -> Self {
        let feed = Feed::new(MAX_LAG);
        Self {
            branch: feed.branch(),
            feed,
            source: Source::new(start),
            now: Instant::now(),
            clients: Vec::new(),
            most_clients: MAX_CLIENTS,
        }
    }

    /// Does one operation, and checks what each viewer is sent meanwhile.
    pub fn step(&mut self, op: Op) {
        match op {
            Op::Interrupt => {
                let change = self.feed.interrupt();
                self.branch.apply(&change);
                self.source.interrupt();
            }
            Op::Shed => {
                let change = self.feed.shed();
                self.branch.apply(&change);
            }
            Op::Join(framing) if self.clients.len() < self.most_clients => {
                self.clients.push(Client::new(framing, &self.feed));
            }
            Op::Join(_) => {}
            Op::Take { viewer, bytes } => {
                if let Some(index) = usize::from(viewer).checked_rem(self.clients.len()) {
                    self.take(index, usize::from(bytes));
                }
            }
            Op::Pass(milliseconds) => self.now += Duration::from_millis(milliseconds.into()),
            Op::Group(pictures) => {
                for picture in 0..=pictures {
                    self.push(Op::Picture {
                        key: picture == 0,
                        second: false,
                    });
                }
            }
            _ => self.push(op),
        }
        assert!(self.feed.bytes() <= MAX_BYTES + 17 * MAX_HEADER_BYTES);
        assert_eq!(self.feed.bytes(), self.branch.bytes());
    }

    fn push(&mut self, op: Op) {
        let (passed, messages) = self.source.messages(op);
        self.now += Duration::from_millis(passed.into());
        for message in messages {
            if let Some(change) = self.feed.push(message, self.now) {
                self.branch.apply(&change);
                self.source.note(change);
            }
        }
    }

    /// One viewer takes up to `bytes`; false: it wants no more, or not now.
    pub fn take(&mut self, index: usize, bytes: usize) -> bool {
        let Some(client) = self.clients.get_mut(index) else {
            return false;
        };
        // Every worker knows the same of a feed.
        client.turn = !client.turn;
        let feed = if client.turn {
            &self.feed
        } else {
            &self.branch
        };
        client.take(feed, &self.source, self.now, bytes)
    }

    /// Lets every viewer take all that is left for it.
    pub fn drain(&mut self) {
        for index in 0..self.clients.len() {
            let mut writes = 0;
            while self.take(index, usize::MAX) {
                writes += 1;
                assert!(writes < 10_000, "a viewer is never sent the same for ever");
            }
        }
    }
}

/// A publisher whose every body says which it is, and what came of them.
pub struct Source {
    /// The timestamp of the next picture, and of the next sound.
    picture: u32,
    sound: u32,
    muted: bool,
    /// The publisher before had a clock an hour behind.
    ahead: bool,
    /// What the feed made of each message that it took, by number. Headers are among them.
    log: Vec<MediaMessage>,
    /// For each of them, the configurations in force, by kind and track.
    configured: Vec<Configurations>,
    now_configured: Configurations,
    last_keyframe: Option<usize>,
    metadata: usize,
}

type Configurations = std::rc::Rc<BTreeMap<(u8, u8), Vec<u8>>>;

impl Source {
    fn new(start: u32) -> Self {
        Self {
            picture: start,
            sound: start,
            muted: false,
            ahead: false,
            log: Vec::new(),
            configured: Vec::new(),
            now_configured: Configurations::default(),
            last_keyframe: None,
            metadata: 0,
        }
    }

    /// The messages of an operation, and the milliseconds that pass meanwhile.
    fn messages(&mut self, op: Op) -> (u32, Vec<Message>) {
        match op {
            Op::Picture { key, second } => {
                let mut messages = Vec::new();
                self.picture = self.picture.wrapping_add(VIDEO_STEP);
                let first = if key { 0x17 } else { 0x27 };
                self.add(kind::VIDEO, &[first, 1, 0, 0, 0], &mut messages);
                if second {
                    let first = if key { 0x96 } else { 0xa6 };
                    let body = [first, 1, b'a', b'v', b'c', b'1', 1, 0, 0, 0];
                    self.add(kind::VIDEO, &body, &mut messages);
                }
                while self.picture.wrapping_sub(self.sound).cast_signed()
                    >= AUDIO_STEP.cast_signed()
                {
                    self.sound = self.sound.wrapping_add(AUDIO_STEP);
                    if !self.muted {
                        self.add(kind::AUDIO, &[0xaf, 1], &mut messages);
                    }
                }
                (VIDEO_STEP, messages)
            }
            Op::Sound => {
                let mut messages = Vec::new();
                self.sound = self.sound.wrapping_add(AUDIO_STEP);
                self.picture = self.picture.wrapping_add(AUDIO_STEP);
                self.add(kind::AUDIO, &[0xaf, 1], &mut messages);
                (AUDIO_STEP, messages)
            }
            Op::Mute => {
                self.muted = !self.muted;
                (0, Vec::new())
            }
            Op::Header {
                video: true,
                number,
            } => (
                0,
                vec![header(
                    kind::VIDEO,
                    self.picture,
                    &[0x17, 0, 0, 0, 0, number],
                )],
            ),
            Op::Header {
                video: false,
                number,
            } => (0, vec![header(kind::AUDIO, self.sound, &[0xaf, 0, number])]),
            Op::Metadata(number) => {
                let body = [b"\x02\x00\x0aonMetaData\x05", &[number][..]].concat();
                (0, vec![header(kind::DATA_AMF0, 0, &body)])
            }
            Op::Data => {
                let mut messages = Vec::new();
                self.add(kind::DATA_AMF0, b"\x02\x00\x03cue", &mut messages);
                (0, messages)
            }
            Op::Pause(milliseconds) => {
                let passed = u32::from(milliseconds);
                self.picture = self.picture.wrapping_add(passed);
                self.sound = self.sound.wrapping_add(passed);
                (passed, Vec::new())
            }
            Op::Restart => {
                self.ahead = !self.ahead;
                let leap = if self.ahead {
                    HOUR
                } else {
                    HOUR.wrapping_neg()
                };
                self.picture = self.picture.wrapping_add(leap);
                self.sound = self.sound.wrapping_add(leap);
                (0, Vec::new())
            }
            Op::Group(_)
            | Op::Interrupt
            | Op::Shed
            | Op::Join(_)
            | Op::Take { .. }
            | Op::Pass(_) => (0, Vec::new()),
        }
    }

    /// Adds a message of now whose body ends with its number.
    fn add(&self, kind: u8, body: &[u8], messages: &mut Vec<Message>) {
        let number = u32::try_from(self.log.len() + messages.len()).expect("few messages");
        let timestamp = if kind == kind::AUDIO {
            self.sound
        } else {
            self.picture
        };
        let body = [body, &[0; 60], &number.to_be_bytes()].concat();
        messages.push(header(kind, timestamp, &body));
    }

    fn note(&mut self, change: Change) {
        let Change::Message(message) = change else {
            panic!("a message becomes a message");
        };
        if message.starts_group {
            self.last_keyframe = Some(self.log.len());
        }
        self.metadata += usize::from(message.content.part == Part::Metadata);
        if matches!(message.content.part, Part::AudioHeader | Part::VideoHeader) {
            let configured = std::rc::Rc::make_mut(&mut self.now_configured);
            for track in message.content.tracks.iter() {
                configured.insert((message.kind, track), message.body.to_vec());
            }
        }
        self.log.push(message);
        self.configured.push(self.now_configured.clone());
    }

    fn interrupt(&mut self) {
        self.now_configured = Configurations::default();
    }

    /// The message before `number` of the same track.
    fn before(&self, number: usize, kind: u8, track: u8) -> Option<usize> {
        let mut before = self.log.iter().enumerate().take(number).rev();
        let found = before.find(|(_, message)| {
            message.kind == kind
                && message.content.tracks.contains(track)
                && !message.content.part.is_header()
        });
        found.map(|(number, _)| number)
    }
}

fn header(kind: u8, timestamp: u32, body: &[u8]) -> Message {
    Message {
        timestamp,
        kind,
        stream_id: 1,
        payload: body.to_vec(),
    }
}

/// A viewer, and a player that reads what it is sent.
pub struct Client {
    /// Its place in the feed and its timeline.
    pub viewer: Viewer,
    wire: Wire,
    turn: bool,
    /// Whether it was ended for being slow.
    pub over: bool,
    /// How many bytes it was sent.
    pub bytes: usize,
    /// The configurations it was sent, by kind and track.
    configured: BTreeMap<(u8, u8), Vec<u8>>,
    tracks: BTreeMap<(u8, u8), Heard>,
    /// The metadata it has, and how many the stream had had by then.
    metadata: Option<(Vec<u8>, usize)>,
    /// The number of the last message, and of the last keyframe of the first picture.
    last: Option<usize>,
    /// The number of the keyframe that the group it plays began with.
    pub lead: Option<usize>,
    /// How many messages of any kind were left out before the last.
    left_out: usize,
}

/// What a player has of one track.
#[derive(Clone, Copy)]
struct Heard {
    number: usize,
    timestamp: u32,
    /// How many messages had been left out before it.
    left_out: usize,
    /// The last steps between messages that followed each other, in milliseconds.
    steps: [u32; 3],
}

impl Client {
    fn new(framing: Framing, feed: &Feed) -> Self {
        Self {
            viewer: Viewer::new(framing, feed),
            wire: Wire::new(framing),
            turn: false,
            over: false,
            bytes: 0,
            configured: BTreeMap::new(),
            tracks: BTreeMap::new(),
            metadata: None,
            last: None,
            lead: None,
            left_out: 0,
        }
    }

    fn take(&mut self, feed: &Feed, source: &Source, now: Instant, bytes: usize) -> bool {
        if self.over {
            return false;
        }
        let mut taken = Vec::new();
        let sent = self.viewer.send(feed, now, |slices: &[IoSlice<'_>]| {
            if bytes == 0 {
                return Err(());
            }
            assert!(!slices.is_empty() && slices.len() <= 64);
            for slice in slices {
                let room = bytes - taken.len();
                taken.extend(slice.iter().take(room));
            }
            Ok(taken.len())
        });
        let Ok(sent) = sent else {
            return false;
        };
        assert_eq!(sent.bytes, taken.len());
        self.bytes += taken.len();
        for (kind, timestamp, body) in self.wire.read(&taken) {
            self.hear(source, kind, timestamp, &body);
        }
        match sent.state {
            State::Blocked => assert!(!taken.is_empty()),
            State::Idle | State::More => {}
            State::Over(_) => {
                assert!(self.viewer.skips() >= 2);
                self.over = true;
            }
        }
        sent.state == State::More
    }

    fn hear(&mut self, source: &Source, kind: u8, timestamp: u32, body: &[u8]) {
        let Content { part, tracks } = Content::of(kind, body);
        match part {
            Part::Metadata => {
                let before = self.metadata.replace((body.to_vec(), source.metadata));
                let now = self.metadata.as_ref();
                assert_ne!(before.as_ref(), now, "players take it for a new track");
                return;
            }
            part if part.is_header() => {
                for track in tracks.iter() {
                    self.configured.insert((kind, track), body.to_vec());
                }
                return;
            }
            _ => {}
        }
        let number = body.last_chunk().map(|number| u32::from_be_bytes(*number));
        let number = usize::try_from(number.expect("a number")).expect("small");
        let message = &source.log[number];
        assert_eq!(message.body, body, "bodies are what was pushed");
        assert!(self.last.is_none_or(|last| last < number), "in order");
        let skipped = number - self.last.map_or(0, |last| last + 1);
        // Headers are counted too: a skip may leave out nothing else.
        self.left_out += skipped;
        if self.last.is_none() {
            assert_eq!(timestamp, 0, "each viewer begins at 0");
        }
        self.last = Some(number);
        if message.starts_group {
            self.lead = Some(number);
        }
        if kind == kind::DATA_AMF0 {
            return;
        }
        for track in tracks.iter() {
            self.follow(source, number, track, timestamp);
        }
    }

    /// Holds one message of a track to the law.
    fn follow(&mut self, source: &Source, number: usize, track: u8, timestamp: u32) {
        let message = &source.log[number];
        let key = (message.kind, track);
        if let Some(configuration) = source.configured[number].get(&key) {
            assert_eq!(
                self.configured.get(&key),
                Some(configuration),
                "of {key:?} at {number}"
            );
        }
        let heard = self.tracks.get(&key).copied();
        let before = source.before(number, message.kind, track);
        let follows = heard.is_some_and(|heard| {
            before == Some(heard.number)
                && source.log[heard.number].discontinuity == message.discontinuity
                && source.configured[heard.number].get(&key) == source.configured[number].get(&key)
        });
        if message.is_video() && message.content.part != Part::Keyframe {
            assert!(follows, "a picture without what it leans on at {number}");
        }
        // Before it knows better, a timeline takes a frame for 40 ms, or 23 of sound.
        let default = if message.is_video() { VIDEO_STEP } else { 23 };
        let mut steps = heard.map_or([default; 3], |heard| heard.steps);
        if let Some(heard) = heard {
            let step = timestamp.wrapping_sub(heard.timestamp);
            let natural = message.time.saturating_sub(source.log[heard.number].time);
            let natural = u32::try_from(natural).expect("a short test");
            let in_step = follows && step.abs_diff(natural) <= 1;
            let frame = *steps.iter().min().expect("three")..=*steps.iter().max().expect("three");
            let joined = frame.contains(&step) || step > 1000;
            let unbroken = follows && heard.left_out == self.left_out;
            assert!(
                if unbroken { in_step } else { in_step || joined },
                "{key:?} at {number}: {step} ms for {natural}, a frame is {frame:?}, unbroken {unbroken}",
            );
            if follows && (1..=1000).contains(&natural) {
                steps = [steps[1], steps[2], natural];
            }
        }
        self.tracks.insert(
            key,
            Heard {
                number,
                timestamp,
                left_out: self.left_out,
                steps,
            },
        );
    }

    /// How far its sound is ahead of its pictures, compared to the stream.
    pub fn skew(&self, source: &Source) -> Option<i64> {
        let shift = |kind| {
            let heard = self.tracks.get(&(kind, 0))?;
            let time = source.log[heard.number].time;
            Some(i64::from(heard.timestamp) - i64::try_from(time).ok()?)
        };
        Some(shift(kind::AUDIO)? - shift(kind::VIDEO)?)
    }
}

/// Reads messages off the bytes of one framing.
struct Wire {
    framing: Framing,
    begun: bool,
    raw: Vec<u8>,
    file: Vec<u8>,
    chunks: ChunkReader,
}

impl Wire {
    fn new(framing: Framing) -> Self {
        let mut chunks = ChunkReader::new(MAX_BYTES);
        if let Framing::Rtmp { chunk_size, .. } = framing {
            let mut bytes = Vec::new();
            let size = Message::set_chunk_size(chunk_size);
            ChunkWriter::new(128).write(chunk_stream::CONTROL, &size, &mut bytes);
            chunks
                .read(&mut bytes.as_slice())
                .expect("a size")
                .expect("whole");
        }
        Self {
            framing,
            begun: false,
            raw: Vec::new(),
            file: Vec::new(),
            chunks,
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
        let mut messages = Vec::new();
        let envelope = match self.framing {
            Framing::Blocks(_) => panic!("the feed has messages"),
            Framing::Flv(envelope) => envelope,
            Framing::Rtmp { .. } => {
                while let Some(message) = self.chunks.read(&mut bytes).expect("chunks") {
                    assert_eq!(message.stream_id, 1);
                    messages.push((message.kind, message.timestamp, message.payload));
                }
                return messages;
            }
        };
        self.raw.extend_from_slice(bytes);
        self.unwrap(envelope);
        let mut reader = Reader::new(&self.file);
        self.begun = self.begun || flv::read_header(&mut reader).is_ok();
        while let Ok(tag) = flv::read_tag(&mut reader) {
            assert!(self.begun, "the header comes first");
            messages.push((tag.kind, tag.timestamp, tag.payload.to_vec()));
        }
        let read = self.file.len() - reader.remaining();
        self.file.drain(..read);
        if envelope != Envelope::None {
            assert!(self.file.is_empty(), "whole tags in each envelope");
        }
        messages
    }

    /// Takes whole envelopes off.
    fn unwrap(&mut self, envelope: Envelope) {
        loop {
            let (head, length, tail) = match envelope {
                Envelope::None => {
                    self.file.append(&mut self.raw);
                    return;
                }
                Envelope::Chunked => {
                    let Some(line) = self.raw.windows(2).position(|pair| pair == b"\r\n") else {
                        return;
                    };
                    let digits = str::from_utf8(&self.raw[..line]).expect("digits");
                    let length = usize::from_str_radix(digits, 16).expect("a size");
                    assert!(!digits.starts_with('0') && length > 0);
                    (line + 2, length, 2)
                }
                Envelope::WebSocket => match *self.raw.as_slice() {
                    [0x82, 126, high, low, ..] => {
                        (4, usize::from(u16::from_be_bytes([high, low])), 0)
                    }
                    [0x82, length, ..] if length < 126 => (2, usize::from(length), 0),
                    [0x82] | [] | [0x82, 126, ..] => return,
                    _ => panic!("a binary frame of less than 64 KiB"),
                },
            };
            let whole = head + length + tail;
            if self.raw.len() < whole {
                return;
            }
            self.file.extend_from_slice(&self.raw[head..head + length]);
            self.raw.drain(..whole);
        }
    }
}

const MAX_LAG: Duration = Duration::from_secs(3);
const MAX_CLIENTS: usize = 8;
const VIDEO_STEP: u32 = 40;
const AUDIO_STEP: u32 = 20;
const HOUR: u32 = 3_600_000;
