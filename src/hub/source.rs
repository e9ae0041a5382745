//! What an origin sends of a stream: messages by RTMP, or a body without end over HTTP.

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::HOST;
use sluicegate_core::dialect::{Dialect, File};
use sluicegate_core::media::blocks::{Block, Format, Splitter};
use sluicegate_core::media::flv::LiveReader;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtmp::aggregate;
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Protocol;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::player::{Player, says_unpublished, write};
use super::said::{Greeting, Said};
use super::{Inner, Wanted, lock};
use crate::net::http::status_words;
use crate::net::relay::DelayedAcks;
use crate::net::wire::Wire;
use crate::origin::attempt::{Attempt, DialError};
use crate::origin::elsewhere::Elsewhere;
use crate::origin::http::{self as exchange, AnswerBody};

/// What came of a stream, and viewers have still to be told of.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Of a stream whose messages are told apart.
    pub(super) messages: Vec<Message>,
    /// Of one in a format of its own.
    pub(super) blocks: Vec<Block>,
    /// The stream's publisher has left after that.
    pub(super) unpublished: bool,
}

impl Batch {
    /// Whether there is something to see or hear in it.
    pub(super) fn has_media(&self) -> bool {
        let is_shown = |message: &Message| matches!(message.kind, kind::AUDIO | kind::VIDEO);
        !self.blocks.is_empty() || self.messages.iter().any(is_shown)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.blocks.is_empty() && !self.unpublished
    }

    /// Takes a message, or those that it is made of.
    fn add(&mut self, message: Message) {
        if message.kind == kind::AGGREGATE {
            self.messages.extend(aggregate::parts(&message));
        } else {
            self.messages.push(message);
        }
    }
}

/// A leg that brings a stream.
pub(super) enum Source {
    Http(Box<HttpSource>),
    Rtmp(Box<RtmpSource>),
}

impl Source {
    /// Of a stream that is played, and what came of it already.
    pub(super) fn rtmp(player: Player) -> (Self, Batch) {
        let mut batch = Batch {
            unpublished: player.unpublished,
            ..Batch::default()
        };
        for message in player.messages {
            batch.add(message);
        }
        let source = RtmpSource {
            socket: player.socket,
            client: player.client,
            bytes: Vec::with_capacity(READ),
            was_full: false,
            unhurried: DelayedAcks::default(),
        };
        (Self::Rtmp(Box::new(source)), batch)
    }

    /// What viewers over HTTP are greeted with.
    pub(super) fn greeting(&self) -> Greeting {
        match self {
            Self::Http(http) => http.greeting(),
            Self::Rtmp(_) => Greeting::Ours,
        }
    }

    /// Waits for bytes, and gathers them until `until`; how many there are. There are none where an answer has begun that was
    /// awaited. Dropped and called again, it goes on.
    ///
    /// # Errors
    /// How the leg ended.
    pub(super) async fn read(&mut self, until: Instant) -> Result<usize, LegEnd> {
        match self {
            Self::Http(http) => http.read(until).await,
            Self::Rtmp(rtmp) => rtmp.read(until).await,
        }
    }

    /// Adds to `batch` what was read, and says to the origin what is due.
    ///
    /// # Errors
    /// How the leg ended.
    pub(super) async fn take(&mut self, batch: &mut Batch) -> Result<(), LegEnd> {
        match self {
            Self::Http(http) => http.take(batch),
            Self::Rtmp(rtmp) => rtmp.take(batch).await,
        }
    }
}

pub(super) struct RtmpSource {
    socket: Wire,
    client: Client,
    bytes: Vec<u8>,
    /// The last read may have left something in the kernel.
    was_full: bool,
    unhurried: DelayedAcks,
}

impl RtmpSource {
    async fn read(&mut self, until: Instant) -> Result<usize, LegEnd> {
        // What comes in the meantime waits in the kernel, and costs one read and one pass.
        if !self.was_full {
            sleep_until(until).await;
        }
        self.bytes.clear();
        let read = self.socket.read_buf(&mut self.bytes).await;
        match read {
            Ok(0) => Err(LegEnd::Closed),
            Ok(count) => {
                self.was_full = count >= READ;
                self.unhurried.read(self.socket.tcp());
                Ok(count)
            }
            Err(_) => Err(LegEnd::Reset),
        }
    }

    async fn take(&mut self, batch: &mut Batch) -> Result<(), LegEnd> {
        let fed = self.client.feed(&self.bytes);
        fed.map_err(|_| LegEnd::Broken)?;
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Connected(_)
                | ClientEvent::Redirected { .. }
                | ClientEvent::Refused(_) => {}
                ClientEvent::Media(message) => batch.add(message),
                ClientEvent::Status { code, .. } => {
                    debug!(code, "the origin said");
                    batch.unpublished |= says_unpublished(&code);
                }
            }
        }
        let written = write(&mut self.socket, &mut self.client).await;
        written.map_err(|_| LegEnd::Reset)
    }
}

pub(super) struct HttpSource {
    answer: Answer,
    /// The head of the answer, as soon as it is there: yes or no.
    said: Option<Arc<Said>>,
    /// What was read and not taken.
    bytes: Vec<u8>,
    /// The body is over.
    end: Option<LegEnd>,
    reader: BodyReader,
}

/// What becomes of a request.
enum Answer {
    /// An origin may hold its answer back until there is a publisher.
    Awaited(Awaited),
    Body(AnswerBody),
    /// There is no body.
    None,
}

type Awaited = Pin<Box<dyn Future<Output = hyper::Result<Answered>> + Send>>;
type Answered = Result<(Said, AnswerBody), Said>;

/// What a body is read as.
enum BodyReader {
    Blocks(Splitter),
    Flv(LiveReader),
}

impl HttpSource {
    /// Asks an origin for the stream, with this query, or for what another redirected us to. `is_private` says that not every viewer
    /// has shown what is in the query. Of an origin that says no, `said_no` gets the words.
    pub(super) async fn ask(
        shared: &Inner,
        wanted: &Wanted,
        (query, is_private): (&str, bool),
        attempt: &mut Attempt,
        (said_no, elsewhere): (&Mutex<Option<Arc<Said>>>, &Elsewhere<String>),
    ) -> Result<Source, DialError> {
        let there = elsewhere.follow(shared.proxy.registry(), attempt);
        let attempt = &*attempt;
        let socket = shared.dialer.dial_for_ourselves(attempt).await?;
        let format = wanted.key.format;
        let file = File::Live(format.map_or(Protocol::HttpFlv, Format::protocol));
        let naming = &attempt.naming;
        let target = match there {
            Some(there) => there,
            None => naming.file(Dialect::default(), &wanted.stream, file, query)?,
        };
        let host = attempt.target.host_for(&wanted.stream);
        let request = Request::get(&target)
            .header(HOST, host)
            .body(Full::default());
        let request = request.map_err(|error| DialError::Failed(error.to_string()))?;
        let origin = attempt.origin.clone();
        let mut answer: Awaited = Box::pin(async move {
            let response = exchange::once(socket, request).await?;
            Ok(Said::of(origin, response, is_private).await)
        });
        let heard = shared.proxy.silence().wait(attempt, &mut answer).await?;
        let (answer, said) = match heard {
            None => (Answer::Awaited(answer), None),
            Some(Ok(Ok((said, body)))) => (Answer::Body(body), Some(Arc::new(said))),
            Some(Ok(Err(no))) => {
                if let Some(place) = moved(shared, attempt, &no) {
                    let url = no.location().unwrap_or_default();
                    return Err(elsewhere.over_http(place, url, &target));
                }
                let words = status_words(no.status);
                *lock(said_no) = Some(Arc::new(no));
                return Err(DialError::Refused(words));
            }
            Some(Err(error)) if error.is_parse() => {
                return Err(DialError::Failed("its answer is not HTTP".to_owned()));
            }
            Some(Err(_)) => {
                let words = "closed the connection without an answer";
                return Err(DialError::HungUp(words.to_owned()));
            }
        };
        Ok(Source::Http(Box::new(Self {
            answer,
            said,
            bytes: Vec::with_capacity(READ),
            end: None,
            reader: match format {
                Some(format) => BodyReader::Blocks(Splitter::new(format)),
                None => BodyReader::Flv(LiveReader::default()),
            },
        })))
    }

    fn greeting(&self) -> Greeting {
        match &self.said {
            None => Greeting::Awaited,
            Some(said) if said.status.is_success() => Greeting::Said(Arc::clone(said)),
            Some(no) => Greeting::Refused(Arc::clone(no).into()),
        }
    }

    async fn read(&mut self, until: Instant) -> Result<usize, LegEnd> {
        if let Answer::Awaited(answer) = &mut self.answer {
            match answer.await {
                Ok(Ok((said, body))) => {
                    self.said = Some(Arc::new(said));
                    self.answer = Answer::Body(body);
                    return Ok(0);
                }
                Ok(Err(no)) => {
                    self.said = Some(Arc::new(no));
                    self.end = Some(LegEnd::Refused);
                }
                Err(_) => self.end = Some(LegEnd::Closed),
            }
            self.answer = Answer::None;
        }
        if self.bytes.is_empty() && self.end.is_none() {
            self.read_frame().await;
        }
        while self.bytes.len() < READ && self.end.is_none() {
            if timeout_at(until, self.read_frame()).await.is_err() {
                break;
            }
        }
        match self.end {
            Some(end) if self.bytes.is_empty() => Err(end),
            _ => Ok(self.bytes.len()),
        }
    }

    /// Reads a frame of the body, or notes its end. What it read is kept, if it is dropped.
    async fn read_frame(&mut self) {
        let Answer::Body(body) = &mut self.answer else {
            return;
        };
        match body.frame().await {
            None => self.end = Some(LegEnd::Closed),
            Some(Err(_)) => self.end = Some(LegEnd::Reset),
            Some(Ok(frame)) => {
                let data = frame.data_ref();
                self.bytes
                    .extend_from_slice(data.map_or(&[][..], |data| data));
            }
        }
    }

    fn take(&mut self, batch: &mut Batch) -> Result<(), LegEnd> {
        let taken = match &mut self.reader {
            BodyReader::Blocks(splitter) => splitter
                .feed(&self.bytes)
                .map(|blocks| batch.blocks.extend(blocks))
                .map_err(|error| debug!(%error, "what is pulled is of another format")),
            BodyReader::Flv(reader) => reader
                .feed(&self.bytes, &mut batch.messages)
                .map_err(|error| debug!(%error, "what is pulled is no FLV")),
        };
        self.bytes.clear();
        taken.map_err(|()| LegEnd::Broken)
    }
}

/// The place in the fleet that an origin sends the pull to.
fn moved(shared: &Inner, attempt: &Attempt, no: &Said) -> Option<String> {
    let registry = shared.proxy.registry();
    attempt.moved_within(registry, no.status.as_u16(), no.location())
}

/// One read: 40 ms of 12 Mbit/s.
const READ: usize = 64 * 1024;
