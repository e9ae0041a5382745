//! The origin side while it is asked: one request, one answer.

use std::net::SocketAddr;
use std::time::Duration;

use sluicegate_core::dialect::Rename;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::rtsp::join::Join;
use sluicegate_core::rtsp::message::{Message, Method, Speaker, response};
use sluicegate_core::rtsp::rewrite::to_origin;
use sluicegate_core::rtsp::server::NamedStream;
use sluicegate_core::rtsp::take_out::TakeOut;
use sluicegate_core::rtsp::walk::{Step, Walk, WalkError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::wire::Wire;
use crate::proxy::DialError;

/// A connection to an origin.
pub(super) struct Leg {
    origin: OriginId,
    pub(super) stream: Wire,
    pub(super) walk: Walk,
    /// Bytes it sent that were not looked at.
    pub(super) rest: Vec<u8>,
    peer: SocketAddr,
    challenging: bool,
    /// Why its last answer cannot be read.
    unread: Option<WalkError>,
    greeted: Greeted,
    rename: Option<Rename>,
    take_out: Option<TakeOut>,
    /// The methods that it has, in its own words.
    public: Option<String>,
}

/// What an origin made of the question what it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeted {
    /// It said so.
    Answered,
    /// It refused, and said that it closes the connection.
    Closes,
    /// It refused.
    Refused,
}

/// What an answer means for a request that names a stream.
pub(super) enum AnswerMeaning {
    /// Not without credentials.
    Challenges,
    /// Yes.
    Grants,
    /// It is elsewhere, at this URL.
    Moves(String),
    /// No.
    Refuses,
}

impl Leg {
    pub(super) fn new(
        origin: OriginId,
        stream: Wire,
        rename: Option<Rename>,
        take_out: Option<TakeOut>,
    ) -> Self {
        let peer = stream
            .tcp()
            .peer_addr()
            .unwrap_or_else(|_| SocketAddr::from(([0, 0, 0, 0], 0)));
        Self {
            origin,
            stream,
            walk: Walk::new(Speaker::Origin),
            rest: Vec::new(),
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            challenging: false,
            unread: None,
            greeted: Greeted::Answered,
            rename,
            take_out,
            public: None,
        }
    }

    /// The stream's two paths, where the origin's differs from the client's.
    pub(super) const fn rename(&self) -> Option<&Rename> {
        self.rename.as_ref()
    }

    /// What of the client's requests it does not get.
    pub(super) const fn take_out(&self) -> Option<&TakeOut> {
        self.take_out.as_ref()
    }

    /// The methods that the origin has, as it lists them.
    pub(super) fn public(&self) -> Option<&str> {
        self.public.as_deref()
    }

    pub(super) const fn origin(&self) -> &OriginId {
        &self.origin
    }

    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether its last answer was that it wants credentials.
    pub(super) const fn is_challenging(&self) -> bool {
        self.challenging
    }

    /// Why its last answer cannot be read, if that is so.
    pub(super) const fn unread(&self) -> Option<WalkError> {
        self.unread
    }

    pub(super) const fn note_challenge(&mut self) {
        self.challenging = true;
    }

    /// Asks what it can do, with the client's own OPTIONS if it sent one. Any answer shows that it lives, while the
    /// answer to what comes next may take as long as a camera takes to wake.
    pub(super) async fn greet(
        &mut self,
        asked: &NamedStream,
        time_limit: Duration,
    ) -> Result<(), DialError> {
        let greeting = match &asked.greeting {
            Some(greeting) => {
                let rest = self
                    .take_out
                    .as_ref()
                    .and_then(|take_out| take_out.rest_of(greeting));
                let greeting = rest.as_ref().unwrap_or(greeting);
                let renamed = self.rename.as_ref();
                let renamed =
                    renamed.and_then(|rename| greeting.with_path_of(rename, Speaker::Client));
                let greeting = renamed.as_ref().unwrap_or(greeting);
                to_origin(greeting, greeting.bytes().to_vec())
            }
            None => {
                let uri = asked.message.uri();
                let uri = match &self.take_out {
                    Some(take_out) => take_out.url(uri),
                    None => uri.into(),
                };
                let uri = match &self.rename {
                    Some(rename) => rename.url_to_origin(&uri).into_owned(),
                    None => uri.into_owned(),
                };
                let cseq = asked.message.cseq().unwrap_or_default();
                let words = format!("OPTIONS {uri} RTSP/1.0\r\nCSeq: {cseq}\r\n\r\n");
                to_origin(&asked.message, words.into_bytes())
            }
        };
        let answer = async {
            self.write(&greeting).await?;
            self.answer().await
        };
        match timeout(time_limit, answer).await {
            Ok(Ok(answer)) => {
                self.public = answer.field("public").map(str::to_owned);
                let closes = answer.field("connection");
                let closes = closes.is_some_and(|value| value.eq_ignore_ascii_case("close"));
                self.greeted = match AnswerMeaning::of(&answer) {
                    AnswerMeaning::Grants => Greeted::Answered,
                    _ if closes => Greeted::Closes,
                    _ => Greeted::Refused,
                };
                Ok(())
            }
            Ok(Err(DialError::HungUp(why))) => Err(DialError::Failed(why)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(DialError::Silent(
                "accepted the connection and answered nothing".to_owned(),
            )),
        }
    }

    /// Whether it said that it closes the connection on which it was asked what it can do. The client's request goes out on
    /// another one then.
    pub(super) fn is_closing(&self) -> bool {
        self.greeted == Greeted::Closes
    }

    /// Whether it refused to say what it can do. It lives, and may have closed.
    pub(super) fn refused_greeting(&self) -> bool {
        self.greeted != Greeted::Answered
    }

    /// The same origin on a new connection, where it is not asked again what it can do.
    pub(super) fn anew(self, stream: Wire) -> Self {
        let anew = Self::new(self.origin, stream, self.rename, self.take_out);
        Self {
            public: self.public,
            ..anew
        }
    }

    /// Sends the client's request and waits for the answer; the caller has a deadline.
    pub(super) async fn exchange(&mut self, request: &Message) -> Result<Message, DialError> {
        self.challenging = false;
        let exchanged = async {
            self.write(&to_origin(request, request.bytes().to_vec()))
                .await?;
            self.answer().await
        };
        exchanged.await.map_err(|error| match error {
            // It has spoken before.
            DialError::Closed(_) => {
                DialError::HungUp("closed the connection during set-up".to_owned())
            }
            other => other,
        })
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), DialError> {
        self.stream.write_all(bytes).await.map_err(|_| closed())
    }

    /// The next final answer; those that announce one are skipped (RFC 2326 §7.1.1). What it asks in the meantime has no
    /// client yet.
    async fn answer(&mut self) -> Result<Message, DialError> {
        loop {
            let bytes = std::mem::take(&mut self.rest);
            let mut input = bytes.as_slice();
            while let Some(step) = self.walk.step(&mut input).map_err(|error| {
                self.unread = Some(error);
                DialError::HungUp(format!("its answer cannot be read: {error}"))
            })? {
                let Step::Message(message) = step else {
                    continue;
                };
                match message.status() {
                    None => self.write(&own_answer(&message)).await?,
                    Some(200..) => {
                        self.rest = input.to_vec();
                        return Ok(message);
                    }
                    Some(_) => {}
                }
            }
            self.rest.reserve(READ);
            match self.stream.read_buf(&mut self.rest).await {
                Ok(count) if count > 0 => {}
                _ => return Err(closed()),
            }
        }
    }
}

impl AnswerMeaning {
    pub(super) fn of(answer: &Message) -> Self {
        match answer.status().unwrap_or_default() {
            200..=299 => Self::Grants,
            300..=399 => match answer.url_field("location") {
                // A URL that goes on on the next line is none.
                Some(url) if !url.contains(char::is_control) => Self::Moves(url.into_owned()),
                _ => Self::Refuses,
            },
            401 | 407 => Self::Challenges,
            _ => Self::Refuses,
        }
    }
}

/// How an answer is told to people.
pub(super) fn status_line(answer: &Message) -> String {
    format!(
        "{} {}",
        answer.status().unwrap_or_default(),
        answer.reason()
    )
}

/// An answer as the client gets it.
pub(super) fn to_client(join: &mut Join, answer: &Message) -> Vec<u8> {
    join.from_origin(answer)
        .bytes
        .unwrap_or_else(|| answer.bytes().to_vec())
}

/// Our answer to a request of the origin.
fn own_answer(request: &Message) -> Vec<u8> {
    match request.method() {
        Some(Method::Options) => response(200, "OK", Some(request), ""),
        _ => response(501, "Not Implemented", Some(request), ""),
    }
}

/// The origin is gone before it answered.
fn closed() -> DialError {
    DialError::Closed("closed the connection without a word".to_owned())
}

const READ: usize = 4 * 1024;
