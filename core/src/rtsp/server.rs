//! The end that a client connects to, until the client has named its stream.
//!
//! Requests that need no origin are answered here: OPTIONS, which most clients send first, does not say whether they
//! will play or publish. The request that does say is handed on unchanged.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::message::{Message, MessageError, Method, Refused, Speaker, Version, response};
use super::rewrite::{authority, path};
use super::transport::Transport;
use super::walk::{Step, Walk, WalkError};
use std::sync::Arc;

use crate::dialect::{ClientDialects, Dialect};
use crate::stream::{Action, StreamUrl, split_query};

/// A client that has yet to name its stream.
#[derive(Debug)]
pub struct Server {
    walk: Walk,
    inbox: Vec<u8>,
    output: VecDeque<u8>,
    greeting: Option<Message>,
    answered: usize,
    refused: Option<Refused>,
    has_refused: bool,
    dialects: Arc<ClientDialects>,
    port: u16,
}

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedStream {
    /// DESCRIBE, ANNOUNCE, or SETUP by a client that knows everything else already.
    pub message: Message,
    /// The stream that its URI names.
    pub stream: StreamUrl,
    /// Publish for ANNOUNCE, and for a SETUP that records; otherwise play.
    pub action: Action,
    /// The OPTIONS that the client sent earlier, if any.
    pub greeting: Option<Message>,
    /// How the client names streams.
    pub dialect: Dialect,
    /// How many segments at the end of the URI's path name a track of the stream.
    pub track: usize,
}

/// Why a client's connection is closed before it named a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It sent a response without a request.
    #[error("a response where a request belongs")]
    Response,
    /// It sent too many requests without naming a stream.
    #[error("more than {MAX_ANSWERED} requests that name no stream to play or publish")]
    TooMany,
    /// It wants RTSP tunnelled through HTTP.
    #[error("RTSP tunnelled through HTTP is not served")]
    Tunnel,
    /// Its bytes are not RTSP.
    #[error("{0}")]
    Walk(#[from] WalkError),
}

impl ServerError {
    /// The status that says so, whether or not the client could be told.
    pub const fn status(&self) -> u16 {
        match self {
            Self::Tunnel => 501,
            Self::Walk(WalkError::Message(MessageError::Body)) => 413,
            Self::Response | Self::TooMany | Self::Walk(_) => 400,
        }
    }
}

impl NamedStream {
    /// What a SETUP may be about, the longest name first, with the number of segments after it that would name a track: a
    /// track's name says nothing of itself. Nothing for other requests, which name their stream.
    pub fn readings(&self, dialects: &ClientDialects) -> Vec<(StreamUrl, usize)> {
        let uri = match self.message.method() {
            Some(Method::Setup) => self.message.uri(),
            _ => return Vec::new(),
        };
        let segments = path(uri).split('/').count();
        let tracks = 0..segments.min(MAX_READINGS);
        let read = |track| {
            let uri = without_segments(uri, track);
            let (_, query) = split_query(&uri);
            let stream = self.dialect.rtsp(&uri);
            let stream = stream.and_then(|stream| dialects.named(stream, &[query]));
            Some((stream.ok()?, track))
        };
        tracks.filter_map(read).collect()
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            walk: Walk::new(Speaker::Client),
            inbox: Vec::new(),
            output: VecDeque::new(),
            greeting: None,
            answered: 0,
            refused: None,
            has_refused: false,
            dialects: Arc::default(),
            port: 0,
        }
    }
}

impl Server {
    /// A client that came to `port`, one of those that speak these `dialects`.
    pub fn of_clients(dialects: Arc<ClientDialects>, port: u16) -> Self {
        Self {
            dialects,
            port,
            ..Self::default()
        }
    }

    /// Takes bytes of the client; [`Server::poll`] says what they mean. At most the bytes since the last request are
    /// kept.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
    }

    /// Takes the bytes for the client. Call this after each poll.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output).into()
    }

    /// Why a request was refused here, once: of the first that was.
    pub fn take_refused(&mut self) -> Option<Refused> {
        self.refused.take()
    }

    /// The next request that names a stream; `None` until more bytes arrive.
    ///
    /// # Errors
    /// [`ServerError`], after an answer if there is one: the connection is over.
    pub fn poll(&mut self) -> Result<Option<NamedStream>, ServerError> {
        let inbox = std::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        loop {
            let step = self.walk.step(&mut rest);
            let Some(step) = step.inspect_err(|error| self.say_why(error))? else {
                break;
            };
            // Frames without a session belong to a session that was refused, so they are dropped.
            let Step::Message(message) = step else {
                continue;
            };
            if let Some(asked) = self.hear(message)? {
                self.inbox = rest.to_vec();
                self.answered = 0;
                return Ok(Some(asked));
            }
            self.answered += 1;
            if self.answered > MAX_ANSWERED {
                return Err(ServerError::TooMany);
            }
        }
        Ok(None)
    }

    /// The walk over the client's bytes, and the bytes that have not been read yet.
    pub fn into_rest(self) -> (Walk, Vec<u8>) {
        (self.walk, self.inbox)
    }

    /// Tells a client what cannot be read, if it is a message that it sent.
    fn say_why(&mut self, error: &WalkError) {
        if let WalkError::Message(error) = error {
            let number = self.walk.number();
            self.output.extend(error.refused().answer_to(number));
        }
    }

    fn hear(&mut self, message: Message) -> Result<Option<NamedStream>, ServerError> {
        let method = message.method().ok_or(ServerError::Response)?;
        match message.version() {
            Version::Http => {
                self.output.extend(NO_TUNNEL.as_bytes());
                return Err(ServerError::Tunnel);
            }
            Version::OtherRtsp => {
                self.say(
                    505,
                    "RTSP Version Not Supported: only RTSP/1.0 is",
                    &message,
                    "",
                );
                return Ok(None);
            }
            Version::Rtsp10 => {}
        }
        if message.cseq().is_none() {
            self.say(400, "Bad Request: no CSeq", &message, "");
            return Ok(None);
        }
        let action = match method {
            Method::Announce => Action::Publish,
            Method::Describe => Action::Play,
            Method::Setup => setup_action(&message),
            Method::Options => {
                self.say(200, "OK", &message, PUBLIC);
                self.greeting = (message.uri() != "*").then_some(message);
                return Ok(None);
            }
            // No session exists at this point, so there is nothing to end or to keep alive.
            Method::GetParameter | Method::SetParameter | Method::Teardown => {
                self.say(NO_SESSION, "Session Not Found", &message, "");
                return Ok(None);
            }
            Method::Other => {
                self.say(501, "Not Implemented", &message, PUBLIC);
                return Ok(None);
            }
            Method::Pause | Method::Play | Method::Record | Method::Redirect => {
                let words = "Method Not Valid in This State: it takes a SETUP first";
                self.say(455, words, &message, "");
                return Ok(None);
            }
        };
        let uri = match method {
            Method::Setup => without_track(message.uri()),
            _ => message.uri(),
        };
        let segments = |uri| path(uri).split('/').count();
        let track = segments(message.uri()).saturating_sub(segments(uri));
        let (dialect, _) = self.dialects.of(authority(uri), self.port);
        let (_, query) = split_query(uri);
        let read = dialect.rtsp(uri);
        match read.and_then(|stream| self.dialects.named(stream, &[query])) {
            Ok(stream) => Ok(Some(NamedStream {
                stream,
                dialect,
                action,
                greeting: self.greeting.take(),
                track,
                message,
            })),
            Err(error) => {
                self.say(400, format!("Bad Request: {error}"), &message, "");
                Ok(None)
            }
        }
    }

    fn say(
        &mut self,
        status: u16,
        words: impl Into<Cow<'static, str>>,
        request: &Message,
        fields: &str,
    ) {
        let said = Refused::new(status, words);
        self.output
            .extend(response(status, &said.words, Some(request), fields));
        // That there is no session to end or to keep alive costs nobody anything.
        if status >= 400 && status != NO_SESSION && !self.has_refused {
            self.has_refused = true;
            self.refused = Some(said);
        }
    }
}

/// A client that starts with SETUP says in the transport whether it will record.
fn setup_action(message: &Message) -> Action {
    let offers = Transport::parse(message.field("transport").unwrap_or_default());
    let records = offers.iter().flatten().any(|offer| {
        offer
            .value("mode")
            .is_some_and(|mode| mode.to_ascii_lowercase().contains("record"))
    });
    if records {
        Action::Publish
    } else {
        Action::Play
    }
}

/// The URI of the stream that a track's URI belongs to. Tracks have names like `trackID=1`, `streamid=0`, `stream=0` or
/// `track1`.
fn without_track(uri: &str) -> &str {
    let (before, last) = uri.rsplit_once('/').unwrap_or((uri, ""));
    let last = last.split(['?', '#']).next().unwrap_or_default();
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_track = match last.split_once('=') {
        Some((_, value)) => number(value),
        None => last.strip_prefix("track").is_some_and(number),
    };
    if is_track { before } else { uri }
}

/// A URI without its last `count` segments; its query stays.
fn without_segments(uri: &str, count: usize) -> Cow<'_, str> {
    if count == 0 {
        return Cow::Borrowed(uri);
    }
    let end = uri.find(['?', '#']).unwrap_or(uri.len());
    let (named, after) = uri.split_at_checked(end).unwrap_or((uri, ""));
    let mut left = named.trim_end_matches('/');
    for _ in 0..count {
        left = left.rsplit_once('/').map_or(left, |(before, _)| before);
    }
    Cow::Owned([left, after].concat())
}

/// Session Not Found (RFC 2326 §11.3.5).
const NO_SESSION: u16 = 454;
/// Maximum names that a SETUP may mean: tracks have one or two segments.
const MAX_READINGS: usize = 4;
/// Maximum requests in a row that name no stream: clients send one or two.
pub const MAX_ANSWERED: usize = 64;
/// What every server has: a client that keeps its session alive with a method that its origin lacks would lose it. The
/// origin's own list comes with its first answer.
const PUBLIC: &str =
    "Public: OPTIONS, DESCRIBE, ANNOUNCE, SETUP, PLAY, PAUSE, RECORD, TEARDOWN\r\n";
const NO_TUNNEL: &str = "HTTP/1.0 501 Not Implemented\r\nContent-Type: text/plain\r\nConnection: close\r\n\
                         \r\nRTSP tunnelled through HTTP is not served here; use RTSP over TCP.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracks_uri_leads_to_its_stream() {
        let rows = [
            ("gstreamer", "rtsp://h/live/a/stream=0", "rtsp://h/live/a"),
            (
                "vlc's server",
                "rtsp://h/live/a/trackID=1",
                "rtsp://h/live/a",
            ),
            ("live555", "rtsp://h/live/a/track1", "rtsp://h/live/a"),
            ("no track", "rtsp://h/live/tracks", "rtsp://h/live/tracks"),
        ];
        for (cause, uri, expected) in rows {
            assert_eq!(without_track(uri), expected, "{cause}");
        }
    }

    fn asked(uri: &str) -> NamedStream {
        let mut server = Server::default();
        let transport = "Transport: RTP/AVP/TCP;interleaved=0-1";
        let request = format!("SETUP {uri} RTSP/1.0\r\nCSeq: 1\r\n{transport}\r\n\r\n");
        server.feed(request.as_bytes());
        server.poll().unwrap().expect("it names a stream")
    }

    #[test]
    fn a_setup_may_be_about_each_name_that_its_path_begins_with() {
        type Names<'a> = &'a [(&'a str, usize)];
        let rows: [(&str, &str, usize, Names<'_>); 5] = [
            (
                "a name that says nothing",
                "rtsp://h/site/cam0/trackID=video",
                0,
                &[
                    ("site/cam0/trackID=video", 0),
                    ("site/cam0", 1),
                    ("__defaultApp__/site", 2),
                ],
            ),
            (
                "a track of two segments, and a query",
                "rtsp://h/cam0/rtx/track1?x=1",
                1,
                &[
                    ("cam0/rtx/track1", 0),
                    ("cam0/rtx", 1),
                    ("__defaultApp__/cam0", 2),
                ],
            ),
            (
                "a number",
                "rtsp://h/live/a/trackID=1/",
                0,
                &[
                    ("live/a/trackID=1", 0),
                    ("live/a", 1),
                    ("__defaultApp__/live", 2),
                ],
            ),
            (
                "a pattern",
                "rtsp://h/live/a/track1",
                1,
                &[
                    ("live/a/track1", 0),
                    ("live/a", 1),
                    ("__defaultApp__/live", 2),
                ],
            ),
            (
                "a long path",
                "rtsp://h/a/b/c/d/e",
                0,
                &[("a/b/c/d/e", 0), ("a/b/c/d", 1), ("a/b/c", 2), ("a/b", 3)],
            ),
        ];
        for (cause, uri, track, expected) in rows {
            let asked = asked(uri);
            assert_eq!(asked.track, track, "{cause}");
            let readings = asked.readings(&ClientDialects::default());
            let found: Vec<(String, usize)> = readings
                .iter()
                .map(|(stream, track)| (stream.path().to_owned(), *track))
                .collect();
            let expected: Vec<(String, usize)> = expected
                .iter()
                .map(|(path, track)| ((*path).to_owned(), *track))
                .collect();
            assert_eq!(found, expected, "{cause}");
        }
    }

    #[test]
    fn the_first_refusal_is_told_once() {
        let mut server = Server::default();
        server.feed(b"TEARDOWN rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\n\r\n");
        assert_eq!((server.poll(), server.take_refused()), (Ok(None), None));
        let rows = [
            (
                "FLY rtsp://h/a RTSP/1.0\r\nCSeq: 2",
                Some((501, "Not Implemented")),
            ),
            ("PLAY rtsp://h/a RTSP/1.0\r\nCSeq: 3", None),
        ];
        for (request, expected) in rows {
            server.feed(format!("{request}\r\n\r\n").as_bytes());
            assert_eq!(server.poll(), Ok(None));
            let told = server.take_refused();
            let told = told.as_ref().map(|told| (told.status, told.rule()));
            assert_eq!(told, expected, "{request}");
        }
    }
}
