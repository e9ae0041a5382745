//! Steps over one direction of a relayed connection. `$` frames (RFC 2326 §10.12) are skipped by their four-byte
//! headers, and the messages between them are read. What passes is never copied.
//!
//! Cameras whose socket was full send the rest of a frame twice, or noise, and players look for the next frame then. An
//! origin that has set up a track is read in the same way: what begins neither is left out. A client is not.

use super::media::{self, ChannelPair, Channels};
use super::message::{self, Message, MessageError, Speaker};

/// The position of one direction of a connection between its units.
#[derive(Debug)]
pub struct Walk {
    speaker: Speaker,
    state: State,
    channels: Channels,
    /// A track was set up.
    set_up: bool,
    media: bool,
    rtp: bool,
    strayed: bool,
}

/// One step of a walk.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A complete message.
    Message(Message),
    /// Frames, or parts of frames, which pass unchanged.
    Pass(&'a [u8]),
}

#[derive(Debug)]
enum State {
    /// The next byte begins a frame or a message.
    Between,
    /// The header bytes of a frame that have arrived, and their number.
    Header([u8; FRAME_HEADER], usize),
    /// This many bytes of a frame are still to come; its start is looked at if that may be news.
    Payload(usize, Option<Start>),
    /// A message that is not complete yet.
    Message(Box<Partial>),
    /// What came begins neither a frame nor a message so far.
    Stray(Stray),
}

/// The first byte of a frame's payload, once it is there.
#[derive(Debug, Default)]
struct Start(Option<u8>);

/// Bytes of an origin between its units.
#[derive(Debug, Default)]
struct Stray {
    /// The last bytes, which may begin a unit.
    held: Vec<u8>,
    /// The bytes before them.
    skipped: usize,
}

/// What ends bytes that begin nothing.
enum Found {
    /// A frame of a channel that was set up, with its first byte, which was taken.
    Frame,
    /// A message with these first bytes, which were taken.
    Message(Vec<u8>),
    /// Nothing for too long; this byte was the last.
    Nothing(u8),
}

/// What the bytes that are held begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Begins {
    /// A frame or a message, if what follows agrees.
    Something,
    /// A message.
    Message,
}

#[derive(Debug, Default)]
struct Partial {
    bytes: Vec<u8>,
    /// Where the head ends and where the message ends, once the head is complete.
    ends: Option<(usize, usize)>,
}

/// Why a direction cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// A message cannot be read.
    #[error("{0}")]
    Message(#[from] MessageError),
    /// Neither a frame nor a message begins with this byte.
    #[error("the byte {0:#04x} begins neither a frame nor a message")]
    NotAStart(u8),
}

impl Walk {
    /// A walk at the start of a direction.
    pub fn new(speaker: Speaker) -> Self {
        Self {
            speaker,
            state: State::Between,
            channels: Channels::default(),
            set_up: false,
            media: false,
            rtp: false,
            strayed: false,
        }
    }

    /// Notes a track, with its channels if it has some on this connection.
    pub fn set_up(&mut self, channels: Option<ChannelPair>) {
        self.set_up = true;
        if let Some(channels) = channels {
            self.channels.set_up(channels);
        }
    }

    /// Takes the next step from the front of `input`; `None` when all of it is taken. Consecutive frames are one step.
    ///
    /// # Errors
    /// [`WalkError`]; the walk is over then.
    pub fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Step<'a>>, WalkError> {
        self.take(input, false)
    }

    /// Like [`Walk::step`], but no step goes past the end of a frame, so that the walk is [between](Self::is_between)
    /// units as soon as possible.
    ///
    /// # Errors
    /// [`WalkError`]; the walk is over then.
    pub fn short_step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Step<'a>>, WalkError> {
        self.take(input, true)
    }

    /// Whether no frame or message is incomplete, so that something else may be inserted here.
    pub const fn is_between(&self) -> bool {
        matches!(self.state, State::Between | State::Stray(_))
    }

    /// Whether a frame with something in it has been seen on a channel of media.
    pub const fn saw_media(&self) -> bool {
        self.media
    }

    /// Whether such a frame held RTP with something after its header.
    pub const fn saw_rtp(&self) -> bool {
        self.rtp
    }

    /// Whether something was left out that begins neither a frame nor a message.
    pub const fn has_strayed(&self) -> bool {
        self.strayed
    }

    /// The number of the message that is not complete, or that cannot be read: its body may be too long.
    pub fn number(&self) -> Option<u32> {
        match &self.state {
            State::Message(partial) => message::number_in(&partial.bytes),
            _ => None,
        }
    }

    fn take<'a>(
        &mut self,
        input: &mut &'a [u8],
        short: bool,
    ) -> Result<Option<Step<'a>>, WalkError> {
        let all = *input;
        let mut at = 0;
        while let Some(rest) = all.get(at..).filter(|rest| !rest.is_empty()) {
            match &mut self.state {
                State::Between => match rest {
                    [DOLLAR, channel, high, low, ..] => {
                        at += FRAME_HEADER;
                        self.begin_frame(*channel, [*high, *low]);
                        if short && self.is_between() {
                            break;
                        }
                    }
                    [DOLLAR, ..] => self.state = State::Header([0; FRAME_HEADER], 0),
                    // Some senders end a body with an extra line end.
                    [b'\r' | b'\n', ..] => at += 1,
                    _ if at > 0 => break,
                    _ if self.speaker == Speaker::Origin && self.set_up => {
                        self.state = State::Stray(Stray::default());
                    }
                    [byte, ..] if byte.is_ascii_alphabetic() => {
                        self.state = State::Message(Box::default());
                    }
                    [byte, ..] => return Err(WalkError::NotAStart(*byte)),
                    [] => break,
                },
                State::Header(header, have) => {
                    let wanted = header.get_mut(*have..).unwrap_or_default();
                    let count = wanted.len().min(rest.len());
                    for (to, from) in wanted.iter_mut().zip(rest) {
                        *to = *from;
                    }
                    *have += count;
                    at += count;
                    if *have == header.len() {
                        let [_, channel, high, low] = *header;
                        self.begin_frame(channel, [high, low]);
                        if short && self.is_between() {
                            break;
                        }
                    }
                }
                State::Payload(left, start) => {
                    let count = (*left).min(rest.len());
                    at += count;
                    if let Some(is_rtp) = start.as_mut().and_then(|start| start.is_rtp(rest)) {
                        self.rtp |= is_rtp;
                        *start = None;
                    }
                    self.state = payload(*left - count, start.take());
                    if short && self.is_between() {
                        break;
                    }
                }
                State::Message(partial) => {
                    let (count, done) = partial.take(rest, self.speaker)?;
                    *input = rest.get(count..).unwrap_or_default();
                    let Some(message) = done else {
                        return Ok(None);
                    };
                    self.state = State::Between;
                    return Ok(Some(Step::Message(message)));
                }
                State::Stray(stray) => {
                    let (count, found) = stray.take(rest, &self.channels);
                    self.strayed |= stray.skipped > 0;
                    *input = rest.get(count..).unwrap_or_default();
                    match found {
                        None => return Ok(None),
                        Some(Found::Frame) => {
                            self.state = State::Header([DOLLAR, 0, 0, 0], 1);
                            return Ok(Some(Step::Pass(&[DOLLAR])));
                        }
                        Some(Found::Message(bytes)) => {
                            self.state = State::Message(Box::new(Partial { bytes, ends: None }));
                            return self.take(input, short);
                        }
                        Some(Found::Nothing(byte)) => return Err(WalkError::NotAStart(byte)),
                    }
                }
            }
        }
        let (passed, rest) = all.split_at_checked(at).unwrap_or((all, &[]));
        *input = rest;
        Ok((!passed.is_empty()).then_some(Step::Pass(passed)))
    }

    fn begin_frame(&mut self, channel: u8, length: [u8; 2]) {
        let length = usize::from(u16::from_be_bytes(length));
        let is_media = length > 0 && self.channels.is_media(channel);
        self.media |= is_media;
        let may_be_news = is_media && !self.rtp && media::is_long_enough(length);
        self.state = payload(length, may_be_news.then(Start::default));
    }
}

impl Start {
    /// Whether a payload that goes on with `bytes` is RTP, once that can be said.
    fn is_rtp(&mut self, bytes: &[u8]) -> Option<bool> {
        match (self.0, bytes) {
            (None, [first, second, ..]) => Some(media::begins_rtp([*first, *second])),
            (Some(first), [second, ..]) => Some(media::begins_rtp([first, *second])),
            (None, [first]) => {
                self.0 = Some(*first);
                None
            }
            (_, []) => None,
        }
    }
}

impl Stray {
    /// Looks for the start of a unit. Returns how many bytes were taken, and what ends the search.
    fn take(&mut self, input: &[u8], channels: &Channels) -> (usize, Option<Found>) {
        for (at, byte) in input.iter().enumerate() {
            if self.held == [DOLLAR] && channels.has(*byte) {
                return (at, Some(Found::Frame));
            }
            self.held.push(*byte);
            let begins = loop {
                match self.begins() {
                    Some(begins) => break begins,
                    None => self.skip(),
                }
            };
            if begins == Begins::Message {
                return (at + 1, Some(Found::Message(std::mem::take(&mut self.held))));
            }
            if self.skipped > MAX_STRAY {
                return (at + 1, Some(Found::Nothing(*byte)));
            }
        }
        (input.len(), None)
    }

    /// What the bytes that are held begin, as far as can be said; `None` if that is nothing. A request of a method that is not
    /// known here is one where a unit is due, and nowhere in noise.
    fn begins(&self) -> Option<Begins> {
        let held = self.held.as_slice();
        if held.is_empty() || held == [DOLLAR] {
            return Some(Begins::Something);
        }
        let known = METHODS
            .iter()
            .filter_map(|method| begins_with(held, method));
        let other = || (self.skipped == 0).then(|| begins_request(held)).flatten();
        known.max().or_else(|| begins_response(held)).or_else(other)
    }

    fn skip(&mut self) {
        self.held.remove(0);
        self.skipped += 1;
    }
}

/// Whether these bytes begin with `start`, or may yet.
fn begins_with(held: &[u8], start: &[u8]) -> Option<Begins> {
    match held.starts_with(start) {
        true => Some(Begins::Message),
        false => start.starts_with(held).then_some(Begins::Something),
    }
}

/// Whether a status line begins with these bytes: a version, white space, and a digit. Request lines end in a version.
fn begins_response(held: &[u8]) -> Option<Begins> {
    let Some(rest) = held.strip_prefix(VERSION) else {
        return VERSION.starts_with(held).then_some(Begins::Something);
    };
    let is_number = |byte: &u8| byte.is_ascii_digit() || *byte == b'.';
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t');
    let number = rest.iter().take_while(|byte| is_number(byte)).count();
    let white = rest
        .iter()
        .skip(number)
        .take_while(|byte| is_white(byte))
        .count();
    let is_short = number + white <= MAX_VERSION;
    match rest.get(number + white) {
        None => is_short.then_some(Begins::Something),
        Some(status) => {
            let is_status = is_short && number > 0 && white > 0 && status.is_ascii_digit();
            is_status.then_some(Begins::Message)
        }
    }
}

/// Whether a request line begins with these bytes: a method, a URL or `*`, and the version. A URL with a `$` is not taken for
/// one, so that no frame is.
fn begins_request(held: &[u8]) -> Option<Begins> {
    let mut words = held.splitn(3, |byte| *byte == b' ');
    let method = words.next()?;
    let is_method = |byte: &u8| byte.is_ascii_uppercase() || matches!(byte, b'_' | b'-');
    let may_be_method = method.first()?.is_ascii_uppercase() && method.iter().all(is_method);
    if !may_be_method || method.len() > MAX_METHOD {
        return None;
    }
    let Some(uri) = words.next() else {
        return Some(Begins::Something);
    };
    let is_part = |byte: &u8| byte.is_ascii_graphic() && *byte != DOLLAR;
    if !uri.iter().all(is_part) || uri.len() > MAX_URI {
        return None;
    }
    let is_uri = uri == b"*" || uri.starts_with(SCHEME);
    match words.next() {
        None => (is_uri || SCHEME.starts_with(uri)).then_some(Begins::Something),
        Some(_) if !is_uri => None,
        Some(version) => begins_with(version, VERSION),
    }
}

impl Partial {
    /// Takes the bytes that belong to the message. Returns how many, and the message once it is complete.
    fn take(
        &mut self,
        input: &[u8],
        speaker: Speaker,
    ) -> Result<(usize, Option<Message>), WalkError> {
        let before = self.bytes.len();
        if self.ends.is_none() {
            // One byte more than the maximum of a head, so that a head that is too long is detected.
            let room = (message::MAX_HEAD + 1).saturating_sub(before);
            self.bytes.extend(input.iter().take(room));
            let Some(head) = message::head_end(&self.bytes, before)? else {
                return Ok((self.bytes.len() - before, None));
            };
            let length = message::body_length(self.bytes.get(..head).unwrap_or_default())?;
            self.bytes.truncate(head + length);
            self.ends = Some((head, head + length));
        }
        let (head, end) = self.ends.unwrap_or_default();
        let taken = self.bytes.len().saturating_sub(before);
        let wanted = end.saturating_sub(self.bytes.len());
        let more = input.get(taken..).unwrap_or_default();
        let more = more.get(..wanted).unwrap_or(more);
        self.bytes.extend_from_slice(more);
        let count = taken + more.len();
        if self.bytes.len() < end {
            return Ok((count, None));
        }
        let message = Message::read(std::mem::take(&mut self.bytes), head, speaker)?;
        Ok((count, Some(message)))
    }
}

const fn payload(left: usize, start: Option<Start>) -> State {
    if left == 0 {
        State::Between
    } else {
        State::Payload(left, start)
    }
}

/// The first byte of a frame; its channel and the length of its payload (two bytes) follow.
const DOLLAR: u8 = 0x24;
const FRAME_HEADER: usize = 4;
/// How a request's URL begins.
const SCHEME: &[u8] = b"rtsp";
/// How a status line begins, and a request line ends.
const VERSION: &[u8] = b"RTSP/";
/// Maximum bytes of a version's number and the white space after it.
const MAX_VERSION: usize = 16;
/// Maximum bytes of a method that is not known.
const MAX_METHOD: usize = 32;
/// Maximum bytes of the URL of such a request: what is held is looked at with each byte.
const MAX_URI: usize = 512;
/// How a request of an origin begins, also in the midst of noise.
const METHODS: [&[u8]; 11] = [
    b"ANNOUNCE ",
    b"DESCRIBE ",
    b"GET_PARAMETER ",
    b"OPTIONS ",
    b"PAUSE ",
    b"PLAY ",
    b"RECORD ",
    b"REDIRECT ",
    b"SETUP ",
    b"SET_PARAMETER ",
    b"TEARDOWN ",
];
/// Bytes in a row that begin nothing, before what an origin sends is no RTSP any more: the longest frame, sent twice.
pub const MAX_STRAY: usize = 64 * 1024;
