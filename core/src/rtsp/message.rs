//! A request or a response (RFC 2326 §6, §7), kept as the bytes it was received in.
//!
//! A relay passes messages on, so changes are made in place. A client is read strictly: it is refused wherever its origin
//! might see a different message than we do. Only line ends are forgiven, because each line of a head leaves here with CR
//! LF. An origin was chosen by the operator and is read as players read it: lines that are no header field pass as they
//! came, whatever they are, and only what says how long the message is has to be clear.
//!
//! Cameras and their clients write URLs in encodings of their own. What is no UTF-8 of them is read as if it were escaped, as
//! it may be (RFC 3986 §2.1), and passes as it came.

use std::borrow::Cow;
use std::ops::Range;

use crate::dialect::Rename;
use crate::stream::with_escapes;

/// The side that wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The client, which is read strictly.
    Client,
    /// The origin, which is read with tolerance.
    Origin,
}

/// The method of a request (RFC 2326 §10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A publisher describes what it will send.
    Announce,
    /// A player asks for the description of a stream.
    Describe,
    /// A query, or a keep-alive.
    GetParameter,
    /// A query for the supported methods.
    Options,
    /// An extension that we do not know.
    Other,
    /// Stop for a while.
    Pause,
    /// Start sending to the client.
    Play,
    /// Start receiving from the client.
    Record,
    /// Sent by an origin: the client should go elsewhere.
    Redirect,
    /// Sets a value.
    SetParameter,
    /// Sets up the transport of one track.
    Setup,
    /// Ends the session.
    Teardown,
}

/// The protocol version of a request line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP: the start of RTSP tunnelled through HTTP.
    Http,
    /// RTSP, but not version 1.0.
    OtherRtsp,
    /// RTSP/1.0.
    Rtsp10,
}

/// A complete message: its head, and the body that its `Content-Length` announces. A head of at most [`MAX_HEAD`] bytes
/// takes up to twice that where a client ended its lines with LF alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    head: usize,
    start: Start,
    fields: Vec<Field>,
}

/// What happens to a header field when a message is written out again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is left out.
    Drop,
    /// It stays unchanged.
    Keep,
    /// It gets another value.
    Value(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Start {
    Request {
        method: Method,
        uri: Range<usize>,
        /// The URI with escapes, where it is no UTF-8.
        escaped: Option<Box<str>>,
        version: Version,
    },
    Response {
        status: u16,
        reason: Range<usize>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    /// The line including its line end, and those of an origin that continue it.
    line: Range<usize>,
    name: Range<usize>,
    /// Without white space around it; the line ends within a value that is continued belong to it.
    value: Range<usize>,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The body is larger than any description of a stream.
    #[error("a body of more than {MAX_BODY} bytes")]
    Body,
    /// A header line of a client continues the previous one; two servers may read that differently.
    #[error("a folded header line")]
    Folded,
    /// A line of a client is not a header field.
    #[error("a line that is no header field")]
    Header,
    /// The lengths contradict each other, or are not numbers.
    #[error("an unclear Content-Length")]
    Length,
    /// A line holds a CR without LF, which may or may not end it, or a NUL.
    #[error("a carriage return or a NUL within a line")]
    LineEnd,
    /// The first line is neither a request line nor a status line.
    #[error("a first line that is no RTSP")]
    Start,
    /// The head is too long.
    #[error("a head of more than {MAX_HEAD} bytes")]
    TooLong,
    /// There are more header fields than any client sends.
    #[error("more than {MAX_FIELDS} header fields")]
    TooManyFields,
}

impl Message {
    /// Reads a message from the front of `input`. Returns the message and how many bytes it took, or `None` if it is
    /// not complete yet. An error is final, whatever bytes follow.
    pub fn parse(input: &[u8], speaker: Speaker) -> Result<Option<(Self, usize)>, MessageError> {
        let Some(head) = head_end(input, 0)? else {
            return Ok(None);
        };
        let length = head + body_length(input.get(..head).unwrap_or_default())?;
        let Some(bytes) = input.get(..length) else {
            return Ok(None);
        };
        Ok(Some((Self::read(bytes.to_vec(), head, speaker)?, length)))
    }

    /// Reads a complete message; `head` is where its head ends.
    pub(super) fn read(
        bytes: Vec<u8>,
        head: usize,
        speaker: Speaker,
    ) -> Result<Self, MessageError> {
        let (bytes, head) = match speaker {
            Speaker::Client => with_whole_line_ends(bytes, head),
            Speaker::Origin => (bytes, head),
        };
        let text = bytes.get(..head).unwrap_or_default();
        let mut lines = Lines::new(text);
        let first = lines.next().ok_or(MessageError::Start)??;
        let start = start_line(text, first.text, speaker)?;
        let mut fields = Vec::new();
        let mut is_field = false;
        for line in lines {
            let line = line?;
            if line.text.is_empty() {
                break;
            }
            if speaker == Speaker::Origin && continues(line.text) {
                if let Some(field) = fields.last_mut().filter(|_| is_field) {
                    lengthen(field, text, &line);
                }
                continue;
            }
            let read = field(text, &line, speaker);
            is_field = read.is_ok();
            match (read, speaker) {
                (Ok(_), _) if fields.len() == MAX_FIELDS => {
                    return Err(MessageError::TooManyFields);
                }
                (Ok(field), _) => fields.push(field),
                (Err(error), Speaker::Client) => return Err(error),
                (Err(_), Speaker::Origin) => {}
            }
        }
        Ok(Self {
            bytes,
            head,
            start,
            fields,
        })
    }

    /// The message as it was received; each line of a client's head ends in CR LF.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.head..).unwrap_or_default()
    }

    /// The method of a request; `None` for a response.
    pub const fn method(&self) -> Option<Method> {
        match &self.start {
            Start::Request { method, .. } => Some(*method),
            Start::Response { .. } => None,
        }
    }

    /// The request's URI as it was sent, except that bytes that are no UTF-8 are percent-escapes; empty for a response.
    pub fn uri(&self) -> &str {
        match &self.start {
            Start::Request {
                escaped: Some(uri), ..
            } => uri,
            Start::Request { uri, .. } => self.text(uri),
            Start::Response { .. } => "",
        }
    }

    /// The version of a request; for a response RTSP/1.0, whatever it says: it passes as it came.
    pub const fn version(&self) -> Version {
        match &self.start {
            Start::Request { version, .. } => *version,
            Start::Response { .. } => Version::Rtsp10,
        }
    }

    /// The status of a response, 100 to 999; `None` for a request.
    pub const fn status(&self) -> Option<u16> {
        match &self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(*status),
        }
    }

    /// The reason phrase of a response.
    pub fn reason(&self) -> &str {
        match &self.start {
            Start::Request { .. } => "",
            Start::Response { reason, .. } => self.text(reason),
        }
    }

    /// The first value of the field `name` (in any case), if it is UTF-8. One that an origin continues on further lines
    /// has their line ends.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| str::from_utf8(value).ok())
    }

    /// The same, with percent-escapes in place of bytes that are no UTF-8: for fields that are URLs.
    pub fn url_field(&self, name: &str) -> Option<Cow<'_, str>> {
        self.fields()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| with_escapes(value))
    }

    /// The name and the value of every header field.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| {
            let value = self.bytes.get(field.value.clone()).unwrap_or_default();
            (self.text(&field.name), value)
        })
    }

    /// The number that pairs a request with its response (RFC 2326 §12.17).
    pub fn cseq(&self) -> Option<u32> {
        self.field("cseq")?.parse().ok()
    }

    /// The message with changed fields, and with `body` in place of its own if one is given. Everything that is kept is
    /// kept byte for byte; `change` is shown percent-escapes in place of bytes that are no UTF-8.
    pub fn with(
        &self,
        mut change: impl FnMut(&str, &str) -> Change,
        body: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + ROOM_FOR_CHANGES);
        let mut written = 0;
        let mut replace = |range: &Range<usize>, with: &[u8]| {
            out.extend_from_slice(self.bytes.get(written..range.start).unwrap_or_default());
            out.extend_from_slice(with);
            written = range.end;
        };
        for field in &self.fields {
            let name = self.text(&field.name);
            if let Some(body) = body
                && name.eq_ignore_ascii_case("content-length")
            {
                replace(&field.value, body.len().to_string().as_bytes());
                continue;
            }
            let value = self.bytes.get(field.value.clone()).unwrap_or_default();
            match change(name, &with_escapes(value)) {
                Change::Drop => replace(&field.line, b""),
                Change::Keep => {}
                Change::Value(value) => replace(&field.value, value.as_bytes()),
            }
        }
        let rest = if body.is_some() {
            self.head
        } else {
            self.bytes.len()
        };
        out.extend_from_slice(self.bytes.get(written..rest).unwrap_or_default());
        out.extend_from_slice(body.unwrap_or_default());
        out
    }

    /// A request with the origin's path in its URI; `None` if nothing changes. `speaker` wrote it.
    pub fn with_path_of(&self, rename: &Rename, speaker: Speaker) -> Option<Self> {
        self.method()?;
        let Cow::Owned(uri) = rename.url_to_origin(self.uri()) else {
            return None;
        };
        let parsed = Self::parse(&self.with_uri(&uri), speaker).ok()??;
        Some(parsed.0)
    }

    /// The message with another URI in its request line.
    pub(super) fn with_uri(&self, uri: &str) -> Vec<u8> {
        let Start::Request { uri: range, .. } = &self.start else {
            return self.bytes.clone();
        };
        let before = self.bytes.get(..range.start).unwrap_or_default();
        let after = self.bytes.get(range.end..).unwrap_or_default();
        [before, uri.as_bytes(), after].concat()
    }

    fn text(&self, range: &Range<usize>) -> &str {
        let bytes = self.bytes.get(range.clone()).unwrap_or_default();
        str::from_utf8(bytes).unwrap_or_default()
    }
}

/// Why a request is refused here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The status that the client gets.
    pub status: u16,
    /// Its phrase and, after a colon, the rule in the way.
    pub words: Cow<'static, str>,
}

impl Refused {
    /// A refusal with this phrase and rule.
    pub fn new(status: u16, words: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            words: words.into(),
        }
    }

    /// The rule in the way, without the phrase of the status.
    pub fn rule(&self) -> &str {
        let rule = self.words.split_once(": ");
        rule.map_or(&*self.words, |(_, rule)| rule)
    }

    /// What the client gets.
    pub fn answer(&self, request: &Message) -> Vec<u8> {
        response(self.status, &self.words, Some(request), "")
    }

    /// What a client gets whose request cannot be read, and has this number if that much of it can be.
    pub fn answer_to(&self, number: Option<u32>) -> Vec<u8> {
        let cseq = number.map(|number| format!("CSeq: {number}\r\n"));
        response(self.status, &self.words, None, &cseq.unwrap_or_default())
    }
}

impl MessageError {
    /// What a client is told that sent such a message.
    pub fn refused(self) -> Refused {
        let (status, phrase) = match self {
            Self::Body => (413, "Request Entity Too Large"),
            _ => (400, "Bad Request"),
        };
        Refused::new(status, format!("{phrase}: {self}"))
    }
}

/// A response of our own, without a body. `words` is the reason phrase, which players show to their users.
pub fn response(status: u16, words: &str, request: Option<&Message>, fields: &str) -> Vec<u8> {
    let words: String = words
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_WORDS)
        .collect();
    let cseq = request
        .and_then(|request| request.field("cseq"))
        .map(|cseq| format!("CSeq: {cseq}\r\n"))
        .unwrap_or_default();
    format!("RTSP/1.0 {status} {words}\r\n{cseq}{fields}\r\n").into_bytes()
}

/// Where the head of a message ends: after its first empty line. The head is known not to end before `searched`.
pub(super) fn head_end(bytes: &[u8], searched: usize) -> Result<Option<usize>, MessageError> {
    let from = searched.saturating_sub(END_SPAN);
    let rest = bytes.get(from..).unwrap_or_default();
    let end = rest.iter().enumerate().find_map(|(at, byte)| {
        let after = rest.get(at + 1..)?;
        match (byte, after) {
            (b'\n', [b'\n', ..]) => Some(from + at + 2),
            (b'\n', [b'\r', b'\n', ..]) => Some(from + at + 3),
            _ => None,
        }
    });
    match end {
        Some(end) if end <= MAX_HEAD => Ok(Some(end)),
        None if bytes.len() <= MAX_HEAD => Ok(None),
        _ => Err(MessageError::TooLong),
    }
}

/// How many bytes of body a head announces (RFC 2326 §4.4: none without a `Content-Length`).
pub(super) fn body_length(head: &[u8]) -> Result<usize, MessageError> {
    let mut found = None;
    let mut is_length = false;
    for line in Lines::new(head).skip(1) {
        let line = line?;
        let is_continued = continues(line.text);
        if is_continued && is_length && !line.text.trim_ascii().is_empty() {
            return Err(MessageError::Length);
        }
        let field = split_field(line.text)
            .filter(|(name, _)| name.trim_ascii().eq_ignore_ascii_case(b"content-length"));
        is_length = field.is_some() || (is_length && is_continued);
        let Some((_, value)) = field else {
            continue;
        };
        // One reader takes it for a length, another for the end of the line before.
        if is_continued {
            return Err(MessageError::Length);
        }
        let length = str::from_utf8(value.trim_ascii())
            .ok()
            .filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or(MessageError::Length)?
            .parse::<usize>()
            .ok()
            .filter(|length| *length <= MAX_BODY)
            .ok_or(MessageError::Body)?;
        if found.is_some_and(|before| before != length) {
            return Err(MessageError::Length);
        }
        found = Some(length);
    }
    Ok(found.unwrap_or(0))
}

/// The number in a head of which nothing else is read.
pub(super) fn number_in(head: &[u8]) -> Option<u32> {
    let lines = Lines::new(head).map_while(Result::ok);
    let fields = lines.take_while(|line| !line.text.is_empty());
    let mut named = fields.filter_map(|line| split_field(line.text));
    let (_, value) = named.find(|(name, _)| name.trim_ascii().eq_ignore_ascii_case(b"cseq"))?;
    str::from_utf8(value.trim_ascii()).ok()?.parse().ok()
}

struct Line<'a> {
    at: usize,
    /// The line without its line end.
    text: &'a [u8],
    /// The position after its line end.
    end: usize,
}

struct Lines<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    const fn new(text: &'a [u8]) -> Self {
        Self { rest: text, at: 0 }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Result<Line<'a>, MessageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = self.rest.split_at_checked(end + 1)?;
        let at = self.at;
        self.rest = rest;
        self.at += line.len();
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.contains(&b'\r') || text.contains(&0) {
            return Some(Err(MessageError::LineEnd));
        }
        Some(Ok(Line {
            at,
            text,
            end: self.at,
        }))
    }
}

fn start_line(head: &[u8], line: &[u8], speaker: Speaker) -> Result<Start, MessageError> {
    let (first, second, third) = words(line, speaker);
    let second = second.ok_or(MessageError::Start)?;
    if let Some(version) = first.strip_prefix(b"RTSP/") {
        let is_known = speaker == Speaker::Origin || version.starts_with(b"1.");
        let status = str::from_utf8(second)
            .ok()
            .filter(|text| text.len() == 3 && is_known)
            .and_then(|text| text.parse().ok())
            .filter(|status| (100..=999).contains(status))
            .ok_or(MessageError::Start)?;
        return Ok(Start::Response {
            status,
            reason: range_of(head, third),
        });
    }
    let text = |word| str::from_utf8(word).map_err(|_| MessageError::Start);
    let (first, uri) = (text(first)?, with_escapes(second));
    let version = match text(third)? {
        "RTSP/1.0" => Version::Rtsp10,
        "HTTP/1.0" | "HTTP/1.1" => Version::Http,
        other if other.starts_with("RTSP/") && !other.contains(' ') => Version::OtherRtsp,
        _ => return Err(MessageError::Start),
    };
    let is_token = !first.is_empty()
        && first
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
    if !is_token || uri.is_empty() || uri.contains(char::is_control) {
        return Err(MessageError::Start);
    }
    Ok(Start::Request {
        method: method(first),
        uri: range_of(head, second),
        escaped: match uri {
            Cow::Borrowed(_) => None,
            Cow::Owned(uri) => Some(uri.into()),
        },
        version,
    })
}

/// The three words of a first line. Those of an origin may have any white space between them.
fn words(line: &[u8], speaker: Speaker) -> (&[u8], Option<&[u8]>, &[u8]) {
    let mut rest = match speaker {
        Speaker::Client => line,
        Speaker::Origin => line.trim_ascii_end(),
    };
    let mut next = || {
        let end = rest.iter().position(|byte| match speaker {
            Speaker::Client => *byte == b' ',
            Speaker::Origin => byte.is_ascii_whitespace(),
        });
        let word = rest.get(..end?)?;
        let after = rest.get(end? + 1..)?;
        rest = match speaker {
            Speaker::Client => after,
            Speaker::Origin => after.trim_ascii_start(),
        };
        Some(word)
    };
    match (next(), next()) {
        (None, _) => (line, None, b""),
        (Some(first), None) => (first, Some(rest), b""),
        (Some(first), Some(second)) => (first, Some(second), rest),
    }
}

/// Methods are case-sensitive (RFC 2326 §6.1).
fn method(text: &str) -> Method {
    match text {
        "ANNOUNCE" => Method::Announce,
        "DESCRIBE" => Method::Describe,
        "GET_PARAMETER" => Method::GetParameter,
        "OPTIONS" => Method::Options,
        "PAUSE" => Method::Pause,
        "PLAY" => Method::Play,
        "RECORD" => Method::Record,
        "REDIRECT" => Method::Redirect,
        "SET_PARAMETER" => Method::SetParameter,
        "SETUP" => Method::Setup,
        "TEARDOWN" => Method::Teardown,
        _ => Method::Other,
    }
}

fn field(head: &[u8], line: &Line<'_>, speaker: Speaker) -> Result<Field, MessageError> {
    if continues(line.text) {
        return Err(MessageError::Folded);
    }
    let (name, value) = split_field(line.text).ok_or(MessageError::Header)?;
    let name = match speaker {
        Speaker::Client => name,
        Speaker::Origin => name.trim_ascii_end(),
    };
    let is_name = |byte: &u8| byte.is_ascii_graphic();
    if name.is_empty() || !name.iter().all(is_name) {
        return Err(MessageError::Header);
    }
    Ok(Field {
        line: line.at..line.end,
        name: range_of(head, name),
        value: range_of(head, value.trim_ascii()),
    })
}

/// Whether a header line continues the one before it.
fn continues(line: &[u8]) -> bool {
    matches!(line, [b' ' | b'\t', ..])
}

/// Adds a line that continues a field to it.
fn lengthen(field: &mut Field, head: &[u8], line: &Line<'_>) {
    field.line.end = line.end;
    let value = head.get(field.value.start..line.end).unwrap_or_default();
    field.value = range_of(head, value.trim_ascii());
}

/// A message, and the end of its head, with CR LF at the end of each line of its head.
fn with_whole_line_ends(bytes: Vec<u8>, head: usize) -> (Vec<u8>, usize) {
    let (text, body) = bytes.split_at_checked(head).unwrap_or((&bytes, &[]));
    let is_whole = |line: &[u8]| line.ends_with(b"\r\n");
    let lines = || text.split_inclusive(|byte| *byte == b'\n');
    if lines().all(is_whole) {
        return (bytes, head);
    }
    let mut out = Vec::with_capacity(bytes.len() + MAX_FIELDS);
    for line in lines() {
        let (line, end): (_, &[u8]) = match line.strip_suffix(b"\n") {
            Some(bare) if !is_whole(line) => (bare, b"\r\n"),
            _ => (line, b""),
        };
        out.extend_from_slice(line);
        out.extend_from_slice(end);
    }
    let head = out.len();
    out.extend_from_slice(body);
    (out, head)
}

fn split_field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    Some((line.get(..colon)?, line.get(colon + 1..)?))
}

/// The range of `part`, which is a slice of `whole`.
fn range_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// Maximum bytes of a head: a DESCRIBE with digest credentials and cookies takes one kilobyte.
pub const MAX_HEAD: usize = 16 * 1024;
/// Maximum bytes of a body: the description of a stream takes a few kilobytes.
pub const MAX_BODY: usize = 64 * 1024;
/// Maximum header fields; clients send five to ten.
pub const MAX_FIELDS: usize = 64;
/// Maximum characters of our reason phrases.
const MAX_WORDS: usize = 400;
/// Bytes of `\n\r\n`, the longest end of a head, without its last byte.
const END_SPAN: usize = 2;
/// Extra room for a changed message: changed URLs are a little longer or shorter.
const ROOM_FOR_CHANGES: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> Result<Option<(Message, usize)>, MessageError> {
        Message::parse(text.as_bytes(), Speaker::Client)
    }

    #[test]
    fn a_request_is_read() {
        let text = "DESCRIBE rtsp://h/live/a RTSP/1.0\r\nCSeq: 2\r\nContent-length: 2\r\n\r\nhi!";
        let (message, length) = client(text).unwrap().unwrap();
        assert_eq!(length, text.len() - 1);
        assert_eq!(message.method(), Some(Method::Describe));
        assert_eq!(message.uri(), "rtsp://h/live/a");
        assert_eq!(message.cseq(), Some(2));
        assert_eq!(message.body(), b"hi");
    }

    #[test]
    fn a_uri_in_another_encoding_is_read_with_escapes_and_passes_as_it_came() {
        let rows: [(&str, &[u8], &str); 4] = [
            ("Latin-1", b"rtsp://h/live/caf\xe9", "rtsp://h/live/caf%E9"),
            ("escaped", b"rtsp://h/live/caf%E9", "rtsp://h/live/caf%E9"),
            (
                "UTF-8",
                "rtsp://h/live/café".as_bytes(),
                "rtsp://h/live/café",
            ),
            ("both", b"rtsp://h/\xc3\xa9/\xe9", "rtsp://h/é/%E9"),
        ];
        for (cause, uri, expected) in rows {
            let request = [b"DESCRIBE ", uri, b" RTSP/1.0\r\nCSeq: 1\r\n\r\n"].concat();
            for speaker in [Speaker::Client, Speaker::Origin] {
                let (message, _) = Message::parse(&request, speaker).unwrap().unwrap();
                assert_eq!(message.uri(), expected, "{cause}");
                assert_eq!(message.bytes(), request, "{cause}");
            }
        }
    }

    #[test]
    fn what_two_servers_may_read_differently_is_refused() {
        let rows = [
            (
                "a carriage return alone",
                "OPTIONS * RTSP/1.0\r\nCSeq: 1\rContent-Length: 5\r\n\r\n",
                MessageError::LineEnd,
            ),
            (
                "another version's answer",
                "RTSP/2.0 200 OK\r\nCSeq: 1\r\n\r\n",
                MessageError::Start,
            ),
            (
                "two spaces",
                "OPTIONS  * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
                MessageError::Start,
            ),
            (
                "an empty name",
                "OPTIONS * RTSP/1.0\r\n: 1\r\n\r\n",
                MessageError::Header,
            ),
            (
                "a length on a folded line",
                "OPTIONS * RTSP/1.0\r\nA: 1\r\n Content-Length: 2\r\n\r\n",
                MessageError::Length,
            ),
            (
                "a folded line",
                "OPTIONS * RTSP/1.0\r\nA: 1\r\n 2\r\n\r\n",
                MessageError::Folded,
            ),
            (
                "no colon",
                "OPTIONS * RTSP/1.0\r\nCSeq 1\r\n\r\n",
                MessageError::Header,
            ),
            (
                "a space before the colon",
                "OPTIONS * RTSP/1.0\r\nCSeq : 1\r\n\r\n",
                MessageError::Header,
            ),
            (
                "two lengths",
                "OPTIONS * RTSP/1.0\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                MessageError::Length,
            ),
            (
                "a signed length",
                "OPTIONS * RTSP/1.0\r\nContent-Length: +1\r\n\r\n",
                MessageError::Length,
            ),
            (
                "a huge body",
                "OPTIONS * RTSP/1.0\r\nContent-Length: 65537\r\n\r\n",
                MessageError::Body,
            ),
            ("no version", "OPTIONS *\r\n\r\n", MessageError::Start),
            (
                "another protocol",
                "OPTIONS * SIP/2.0\r\n\r\n",
                MessageError::Start,
            ),
        ];
        for (cause, text, expected) in rows {
            assert_eq!(client(text), Err(expected), "{cause}");
        }
        let endless = "A".repeat(MAX_HEAD + 1);
        assert_eq!(client(&endless), Err(MessageError::TooLong));
    }

    #[test]
    fn an_origin_may_end_its_lines_as_it_likes() {
        let text = b"RTSP/1.0 200 OK\nCSeq : 1\n\n";
        let (message, length) = Message::parse(text, Speaker::Origin).unwrap().unwrap();
        assert_eq!(
            (message.status(), message.reason(), length),
            (Some(200), "OK", text.len())
        );
        assert_eq!(message.cseq(), Some(1));
    }

    #[test]
    fn a_clients_lines_leave_with_whole_ends() {
        let rows = [
            (
                "line feeds alone",
                "OPTIONS * RTSP/1.0\nCSeq: 1\n\n",
                "OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n",
            ),
            (
                "mixed, and a body that keeps its own",
                "ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\nContent-Length: 4\r\n\na\nb\n",
                "ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 4\r\n\r\na\nb\n",
            ),
        ];
        for (cause, text, expected) in rows {
            let (message, length) = client(text).unwrap().unwrap();
            assert_eq!(length, text.len(), "{cause}");
            assert_eq!(message.cseq(), Some(1), "{cause}");
            assert_eq!(message.bytes(), expected.as_bytes(), "{cause}");
            let again = client(expected).unwrap().unwrap();
            assert_eq!(again, (message, expected.len()), "{cause}");
        }
    }

    #[test]
    fn what_an_origin_says_oddly_passes() {
        let rows = [
            (
                "a line of one space",
                "RTSP/1.0 200 OK\r\nCSeq: 7\r\n \r\nX: 1\r\n\r\n",
            ),
            (
                "a line of one space at the end",
                "RTSP/1.0 200 OK\r\nX: 1\r\nCSeq: 7\r\n \r\n\r\n",
            ),
            (
                "a line of one space at the start",
                "RTSP/1.0 200 OK\r\n \r\nX: 1\r\nCSeq: 7\r\n\r\n",
            ),
            (
                "a folded line",
                "RTSP/1.0 200 OK\r\nX: 1\r\n\tmore\r\nCSeq: 7\r\n\r\n",
            ),
            (
                "no colon",
                "RTSP/1.0 200 OK\r\nServer Camera 1.0\r\nX: 1\r\nCSeq: 7\r\n\r\n",
            ),
            (
                "an empty name",
                "RTSP/1.0 200 OK\r\n: x\r\nX: 1\r\nCSeq: 7\r\n\r\n",
            ),
            (
                "a name of two words",
                "RTSP/1.0 200 OK\r\nMy Camera: x\r\nX: 1\r\nCSeq: 7\r\n\r\n",
            ),
            ("two spaces", "RTSP/1.0  200  OK\r\nX: 1\r\nCSeq: 7\r\n\r\n"),
            ("no phrase", "RTSP/1.0 200\r\nX: 1\r\nCSeq: 7\r\n\r\n"),
            (
                "another version",
                "RTSP/2.0 200 OK\r\nX: 1\r\nCSeq: 7\r\n\r\n",
            ),
        ];
        for (cause, text) in rows {
            let (message, length) = Message::parse(text.as_bytes(), Speaker::Origin)
                .unwrap()
                .unwrap();
            assert_eq!(length, text.len(), "{cause}");
            assert_eq!(
                (message.status(), message.cseq()),
                (Some(200), Some(7)),
                "{cause}"
            );
            assert_eq!(
                message.with(|_, _| Change::Keep, None),
                text.as_bytes(),
                "{cause}"
            );
            let changed = message.with(
                |name, _| match name {
                    "X" => Change::Value("2".to_owned()),
                    _ => Change::Keep,
                },
                None,
            );
            let expected = text
                .replace("X: 1\r\n\tmore", "X: 1")
                .replace("X: 1", "X: 2");
            assert_eq!(String::from_utf8(changed).unwrap(), expected, "{cause}");
        }
        let phrase = b"RTSP/1.0 453 \xb4\xf8\xbf\xed\r\nCSeq: 7\r\n\r\n";
        let (message, _) = Message::parse(phrase, Speaker::Origin).unwrap().unwrap();
        assert_eq!(
            (message.status(), message.reason()),
            (Some(453), ""),
            "not UTF-8"
        );
        let request = b"OPTIONS  *  RTSP/1.0\r\nCSeq: 7\r\n\r\n";
        let (message, _) = Message::parse(request, Speaker::Origin).unwrap().unwrap();
        assert_eq!(
            (message.method(), message.uri()),
            (Some(Method::Options), "*")
        );
    }

    #[test]
    fn an_origins_message_has_one_end() {
        let read = |fields: &str| {
            let text = format!("RTSP/1.0 200 OK\r\n{fields}\r\n12345");
            let read = Message::parse(text.as_bytes(), Speaker::Origin);
            read.map(|read| read.map(|(message, _)| message.body().len()))
        };
        let rows = [
            ("a length", "Content-Length: 5\r\n", Ok(Some(5))),
            (
                "twice the same",
                "Content-Length: 5\r\nContent-length : 5\r\n",
                Ok(Some(5)),
            ),
            (
                "a line of one space after it",
                "Content-Length: 5\r\n \r\n",
                Ok(Some(5)),
            ),
            ("no colon", "Content-Length 5\r\n", Ok(Some(0))),
            (
                "two",
                "Content-Length: 5\r\nContent-Length: 4\r\n",
                Err(MessageError::Length),
            ),
            (
                "folded digits",
                "Content-Length: 5\r\n 5\r\n",
                Err(MessageError::Length),
            ),
            (
                "digits on the next line",
                "Content-Length:\r\n 5\r\n",
                Err(MessageError::Length),
            ),
            (
                "digits after a line of one space",
                "Content-Length: 5\r\n \r\n 5\r\n",
                Err(MessageError::Length),
            ),
            (
                "a length on a folded line",
                "X: 1\r\n Content-Length: 5\r\n",
                Err(MessageError::Length),
            ),
            (
                "one too large",
                "Content-Length: 65537\r\n",
                Err(MessageError::Body),
            ),
            (
                "a carriage return alone",
                "X: 1\rContent-Length: 5\r\n",
                Err(MessageError::LineEnd),
            ),
        ];
        for (cause, fields, expected) in rows {
            assert_eq!(read(fields), expected, "{cause}");
        }
    }

    #[test]
    fn what_is_not_changed_is_kept() {
        let text = "RTSP/1.0 200 OK\r\nCSeq:1\r\nX:  a \r\nContent-Length: 2\r\n\r\nhi";
        let (message, _) = Message::parse(text.as_bytes(), Speaker::Origin)
            .unwrap()
            .unwrap();
        assert_eq!(message.with(|_, _| Change::Keep, None), text.as_bytes());
        let changed = message.with(
            |name, _| match name {
                "X" => Change::Value("b".to_owned()),
                "CSeq" => Change::Drop,
                _ => Change::Keep,
            },
            Some(b"hello"),
        );
        assert_eq!(
            changed,
            b"RTSP/1.0 200 OK\r\nX:  b \r\nContent-Length: 5\r\n\r\nhello"
        );
    }

    #[test]
    fn our_words_cannot_break_the_line() {
        let answer = response(404, "no\r\nsuch", None, "");
        assert_eq!(answer, b"RTSP/1.0 404 no  such\r\n\r\n");
    }
}
