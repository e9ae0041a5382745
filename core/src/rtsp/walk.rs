//! Steps over one direction of a relayed connection. `$` frames (RFC 2326 §10.12) are skipped by their four-byte
//! headers, and the messages between them are read. What passes is never copied.

use super::message::{self, Message, MessageError, Speaker};

/// The position of one direction of a connection between its units.
#[derive(Debug)]
pub struct Walk {
    speaker: Speaker,
    state: State,
    media: bool,
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
    /// This many bytes of a frame are still to come.
    Payload(usize),
    /// A message that is not complete yet.
    Message(Box<Partial>),
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
    pub const fn new(speaker: Speaker) -> Self {
        Self {
            speaker,
            state: State::Between,
            media: false,
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
        matches!(self.state, State::Between)
    }

    /// Whether a media frame has been seen. By convention media is on even channels and its reports are on odd ones.
    pub const fn saw_media(&self) -> bool {
        self.media
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
                State::Payload(left) => {
                    let count = (*left).min(rest.len());
                    at += count;
                    self.state = payload(*left - count);
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
            }
        }
        let (passed, rest) = all.split_at_checked(at).unwrap_or((all, &[]));
        *input = rest;
        Ok((!passed.is_empty()).then_some(Step::Pass(passed)))
    }

    fn begin_frame(&mut self, channel: u8, length: [u8; 2]) {
        self.media |= channel.is_multiple_of(2);
        self.state = payload(usize::from(u16::from_be_bytes(length)));
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

const fn payload(left: usize) -> State {
    if left == 0 {
        State::Between
    } else {
        State::Payload(left)
    }
}

/// The first byte of a frame; its channel and the length of its payload (two bytes) follow.
const DOLLAR: u8 = 0x24;
const FRAME_HEADER: usize = 4;
