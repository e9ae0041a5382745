//! The end of an RTMP connection that a client connects to.
//!
//! It has two users. The proxy needs to know what the client asks for, and then all bytes that the client has sent, to
//! replay them: [`Server::into_identified`]. A small origin, as in the demo and in tests, continues:
//! [`Server::accept`], media in and out, unpublish and publish again.
//!
//! Feed it bytes, send its output, and read its events.

mod at_connect;

use std::collections::VecDeque;

use self::at_connect::AtConnect;
use super::amf0::Value;
use super::chunk::{ChunkError, ChunkReader, ChunkWriter};
use super::handshake::{HandshakeError, ServerHandshake};
use super::header::DEFAULT_CHUNK_SIZE;
use super::message::{
    Command, CommandError, EnhancedRtmp, Message, ReceiveWindow, chunk_stream, information, kind,
    number, ping_response, user_control,
};
use super::plain_url;
use crate::dialect::{Dialect, RtmpAddress};
use crate::stream::Action;

/// The server's end of one connection.
#[derive(Debug)]
pub struct Server {
    handshake: Option<ServerHandshake>,
    reader: ChunkReader,
    writer: ChunkWriter,
    output: Vec<u8>,
    events: VecDeque<ServerEvent>,
    enhanced: Option<EnhancedRtmp>,
    window: ReceiveWindow,
    connect: Option<Command>,
    next_stream: u32,
    streams: Vec<OpenStream>,
    phase: Phase,
    at_connect: AtConnect,
    /// How many of the bytes that are kept for a replay came after the request.
    after_request: usize,
}

/// What a client did.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerEvent {
    /// The client stopped publishing or playing on a message stream.
    Closed {
        /// The message stream.
        stream_id: u32,
    },
    /// The client says what it is. Nothing after that is read until [`Server::welcome`].
    Connect(Box<Command>),
    /// Audio, video, data or an aggregate from an accepted publisher.
    Media(Message),
    /// A player wants nothing for a while, or wants to go on.
    Paused {
        /// The message stream.
        stream_id: u32,
        /// Whether it pauses.
        paused: bool,
    },
    /// The client wants to publish or play. Nothing after the request is read until it is answered; in the proxy's use,
    /// nothing at all.
    Request(Box<StreamRequest>),
}

/// A `publish` or `play`.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRequest {
    /// Publish or play.
    pub action: Action,
    /// The `tcUrl` of the connection, as sent; its `app` where it has no `tcUrl`.
    pub tc_url: String,
    /// The stream's name as sent, including its query.
    pub name: String,
    /// The message stream of the request.
    pub stream_id: u32,
    /// The whole command.
    pub command: Command,
    /// The `connect` command of the connection.
    pub connect: Command,
}

/// A client that has asked for a stream, and everything it sent for that.
#[derive(Debug, Clone, PartialEq)]
pub struct Identified {
    /// What the client asks for.
    pub request: StreamRequest,
    /// Every byte after the handshake, including those after the request.
    pub replay: Vec<u8>,
    /// How many bytes of `replay` came after the request.
    pub after_request: usize,
    /// The commands in `replay` with their message streams, up to the request.
    pub commands: Vec<(u32, Command)>,
    /// The commands that were answered.
    pub answered: Vec<Answered>,
    /// How the client names streams.
    pub dialect: Dialect,
    /// Whether parameters of its query may belong to the stream's name, so that only the same words surely name the same.
    pub by_parameters: bool,
    /// Whether the commands name the stream in the origin's way, and no longer as `replay` does.
    pub renamed: bool,
    /// It is noted what another origin has to be told, should the first be lost.
    pub keeps_recipe: bool,
}

/// An answer that the client already has.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The transaction id of the command and its answer.
    pub transaction_id: f64,
    /// The command that was answered.
    pub what: What,
}

/// Which command it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// `connect`.
    Connect,
    /// `createStream`.
    CreateStream {
        /// The message stream that was assigned.
        stream_id: u32,
    },
    /// A command that needs nothing but an answer.
    Other,
    /// The request for the stream: its answer is the origin's to give.
    Request,
}

/// Why a client cannot be served further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Its chunks are invalid.
    #[error("the client's chunks are broken: {0}")]
    Chunk(#[from] ChunkError),
    /// A command cannot be read. An origin might read it, so it must not be passed on unexamined.
    #[error("the client's command is broken: {0}")]
    Command(#[from] CommandError),
    /// Its handshake is invalid.
    #[error("the client's handshake is broken: {0}")]
    Handshake(#[from] HandshakeError),
    /// The client sends too much without waiting for the answer to its request.
    #[error("the client sent more than {MAX_UNREAD} bytes before its request was answered")]
    Impatient,
    /// `publish` or `play` has no name.
    #[error("the client sent {0} without the name of a stream")]
    NoName(Action),
    /// A command came before `connect`, or `connect` came twice.
    #[error("the client sent {0} out of turn")]
    OutOfTurn(&'static str),
    /// The client sends too much without asking for a stream.
    #[error("the client sent more than {MAX_REPLAY} bytes without publish or play")]
    TooMuch,
    /// There are more message streams than any client has.
    #[error("the client uses more than {MAX_STREAMS} streams at once")]
    TooManyStreams,
}

#[derive(Debug)]
enum Phase {
    /// Everything is kept for a replay until the client has asked for a stream.
    Identifying {
        replay: Vec<u8>,
        commands: Vec<(u32, Command)>,
        answered: Vec<Answered>,
    },
    /// The client has asked; further bytes are only kept.
    Identified(Box<Identified>),
    /// The connection of an origin. `unread` is what came after a request that is not answered yet.
    Serving { unread: Vec<u8> },
}

#[derive(Debug)]
struct OpenStream {
    id: u32,
    action: Action,
    name: String,
    accepted: bool,
}

impl Identified {
    /// What the client sent up to the end of its request, and what it sent after that.
    pub(super) fn around_request(&self) -> (&[u8], &[u8]) {
        let asked = self.replay.len().saturating_sub(self.after_request);
        self.replay.split_at(asked)
    }

    /// Takes TLS out of what an origin is told, which is reached without.
    fn make_plain(&mut self) {
        if !plain_url::is_secure(&self.request.tc_url) {
            return;
        }
        // Both or neither: an origin is told one thing, however it is asked.
        let Some(plain) = plain_url::plain_replay(&self.replay) else {
            return;
        };
        self.replay = plain;
        let connects = self.commands.iter_mut().map(|(_, command)| command);
        for connect in connects.filter(|command| command.name == "connect") {
            plain_url::make_plain(connect);
        }
    }
}

impl Server {
    /// The proxy's end, which stops at the first request. `seed` fills S1; `enhanced` goes into the answer to
    /// `connect`.
    pub const fn identifying(seed: [u8; 32], enhanced: Option<EnhancedRtmp>) -> Self {
        let phase = Phase::Identifying {
            replay: Vec::new(),
            commands: Vec::new(),
            answered: Vec::new(),
        };
        Self::new(seed, enhanced, phase, MAX_REPLAY)
    }

    /// An origin's end, which serves publishers and players for as long as they stay.
    pub const fn serving(seed: [u8; 32], enhanced: Option<EnhancedRtmp>) -> Self {
        Self::new(
            seed,
            enhanced,
            Phase::Serving { unread: Vec::new() },
            MAX_MESSAGE,
        )
    }

    const fn new(
        seed: [u8; 32],
        enhanced: Option<EnhancedRtmp>,
        phase: Phase,
        max_partial: usize,
    ) -> Self {
        Self {
            handshake: Some(ServerHandshake::new(seed)),
            reader: ChunkReader::new(max_partial),
            writer: ChunkWriter::new(DEFAULT_CHUNK_SIZE),
            output: Vec::new(),
            events: VecDeque::new(),
            enhanced,
            window: ReceiveWindow::NONE,
            connect: None,
            next_stream: 1,
            streams: Vec::new(),
            phase,
            at_connect: AtConnect::NONE,
            after_request: 0,
        }
    }

    /// Takes bytes from the client.
    ///
    /// # Errors
    /// [`ServerError`]; the rest of the connection cannot be read. Earlier output and events are still available.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<(), ServerError> {
        if let Some(handshake) = &mut self.handshake {
            let consumed = handshake.feed(input)?;
            self.output
                .extend(handshake.poll_output().unwrap_or_default());
            if !handshake.is_done() {
                return Ok(());
            }
            self.handshake = None;
            input = input.get(consumed..).unwrap_or_default();
        }
        self.window.count(input.len());
        let asked = self.is_asked();
        match &mut self.phase {
            Phase::Identified(identified) => {
                self.after_request += input.len();
                keep(&mut identified.replay, input)
            }
            Phase::Identifying { replay, .. } => {
                let (within, beyond) =
                    input.split_at(input.len().min(MAX_REPLAY.saturating_sub(replay.len())));
                replay.extend_from_slice(input);
                if self.waits_at_connect() {
                    self.keep_unread(within)?;
                } else {
                    self.read(within)?;
                }
                if beyond.is_empty() || self.is_asked() {
                    self.after_request += beyond.len();
                    Ok(())
                } else {
                    Err(ServerError::TooMuch)
                }
            }
            Phase::Serving { unread } if asked => keep(unread, input),
            Phase::Serving { .. } => self.read(input),
        }
    }

    /// The next bytes for the client.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ServerEvent> {
        self.events.pop_front()
    }

    /// Whether the handshake is done.
    pub const fn handshake_done(&self) -> bool {
        self.handshake.is_none()
    }

    /// Everything that the client sent, once it has asked for a stream. Where its URL is `rtmps://`, what goes to the
    /// origin says `rtmp://`.
    pub fn into_identified(self) -> Option<Identified> {
        match self.phase {
            Phase::Identified(mut identified) => {
                identified.after_request = self.after_request;
                identified.make_plain();
                Some(*identified)
            }
            Phase::Identifying { .. } | Phase::Serving { .. } => None,
        }
    }

    /// What the client asks for, and the end of its connection for one that answers by itself instead of joining it
    /// with an origin: [`accept`](Self::accept) is next. `None` before the client has asked. As from
    /// [`into_identified`](Self::into_identified), nothing for an origin says `rtmps://`.
    pub fn into_serving(self) -> Option<(Identified, Self)> {
        let Self {
            phase,
            after_request,
            ..
        } = self;
        let Phase::Identified(mut identified) = phase else {
            return None;
        };
        identified.after_request = after_request;
        let StreamRequest {
            action,
            ref name,
            stream_id,
            ..
        } = identified.request;
        let unread = identified.around_request().1.to_vec();
        let request = OpenStream {
            id: stream_id,
            action,
            name: name.clone(),
            accepted: false,
        };
        let serving = Self {
            phase: Phase::Serving { unread },
            streams: vec![request],
            events: VecDeque::new(),
            after_request: 0,
            ..self
        };
        identified.make_plain();
        Some((*identified, serving))
    }

    /// Grants the request on a message stream. Its status is sent, media may flow, and what the client sent after its
    /// request is read.
    ///
    /// # Errors
    /// [`ServerError`] in what is read then, as from [`feed`](Self::feed).
    pub fn accept(&mut self, stream_id: u32) -> Result<(), ServerError> {
        let Some(stream) = self
            .streams
            .iter_mut()
            .find(|stream| stream.id == stream_id)
        else {
            return Ok(());
        };
        stream.accepted = true;
        let name = stream.name.clone();
        match stream.action {
            Action::Play => {
                self.send(
                    chunk_stream::CONTROL,
                    &Message::user_control(user_control::STREAM_BEGIN, stream_id),
                );
                self.status(
                    stream_id,
                    "status",
                    "NetStream.Play.Reset",
                    &format!("playing and resetting {name}"),
                );
                self.status(
                    stream_id,
                    "status",
                    "NetStream.Play.Start",
                    &format!("started playing {name}"),
                );
                let access = [
                    "|RtmpSampleAccess".into(),
                    Value::Boolean(true),
                    Value::Boolean(true),
                ];
                // No `NetStream.Data.Start` follows, which SRS sends: ffmpeg makes a track of it, ahead of those of the stream.
                self.send(chunk_stream::STREAM, &Message::data(stream_id, &access));
            }
            Action::Publish => {
                self.status(
                    stream_id,
                    "status",
                    "NetStream.Publish.Start",
                    &format!("{name} is now published"),
                );
            }
        }
        self.read_on()
    }

    /// Denies the request on a message stream, or ends what was granted. The client may ask for another stream.
    ///
    /// # Errors
    /// [`ServerError`] in what is read then, as from [`feed`](Self::feed).
    pub fn refuse(
        &mut self,
        stream_id: u32,
        code: &str,
        description: &str,
    ) -> Result<(), ServerError> {
        self.streams.retain(|stream| stream.id != stream_id);
        self.status(stream_id, "error", code, description);
        self.read_on()
    }

    /// Sends audio, video or data to a player.
    pub fn send_media(&mut self, message: &Message) {
        self.send(message.chunk_stream(), message);
    }

    /// Announces another chunk size, and uses it from here on.
    pub fn set_chunk_size(&mut self, size: u32) {
        self.send(chunk_stream::CONTROL, &Message::set_chunk_size(size));
        self.writer.set_chunk_size(size);
    }

    /// Whether a request waits for its answer.
    fn is_asked(&self) -> bool {
        match self.phase {
            Phase::Identified(_) => true,
            Phase::Identifying { .. } => false,
            Phase::Serving { .. } => self.streams.iter().any(|stream| !stream.accepted),
        }
    }

    fn read(&mut self, mut input: &[u8]) -> Result<(), ServerError> {
        while let Some(message) = self.reader.read(&mut input)? {
            self.message(message)?;
            if self.waits_at_connect() {
                return self.keep_unread(input);
            }
            if !self.is_asked() {
                continue;
            }
            match &mut self.phase {
                Phase::Serving { unread } => unread.extend_from_slice(input),
                Phase::Identified(_) | Phase::Identifying { .. } => {
                    self.after_request = input.len();
                }
            }
            return Ok(());
        }
        if let Some(acknowledgement) = self.window.due() {
            self.send(chunk_stream::CONTROL, &acknowledgement);
        }
        Ok(())
    }

    /// Reads what came after a request that has been answered.
    fn read_on(&mut self) -> Result<(), ServerError> {
        if self.is_asked() {
            return Ok(());
        }
        let Phase::Serving { unread } = &mut self.phase else {
            return Ok(());
        };
        let unread = std::mem::take(unread);
        self.read(&unread)
    }

    fn message(&mut self, message: Message) -> Result<(), ServerError> {
        match message.kind {
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                self.command(
                    message.stream_id,
                    Command::decode(message.kind, &message.payload)?,
                )?;
            }
            kind::USER_CONTROL => {
                if let Some(pong) = ping_response(&message.payload) {
                    self.send(chunk_stream::CONTROL, &pong);
                }
            }
            kind::WINDOW_ACK_SIZE => self
                .window
                .resize(number(&message.payload).unwrap_or_default()),
            _ if message.is_media() => {
                let publishing = |stream: &OpenStream| {
                    stream.id == message.stream_id
                        && stream.accepted
                        && stream.action == Action::Publish
                };
                if self.streams.iter().any(publishing) {
                    self.events.push_back(ServerEvent::Media(message));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn command(&mut self, stream_id: u32, command: Command) -> Result<(), ServerError> {
        if let Phase::Identifying { commands, .. } = &mut self.phase {
            commands.push((stream_id, command.clone()));
        }
        let transaction_id = command.transaction_id;
        match command.name.as_str() {
            "connect" => self.connect(command)?,
            _ if self.connect.is_none() => {
                return Err(ServerError::OutOfTurn("a command before connect"));
            }
            "createStream" => self.create_stream(transaction_id),
            "publish" => self.request(Action::Publish, stream_id, command)?,
            "play" | "play2" => self.request(Action::Play, stream_id, command)?,
            "deleteStream" => {
                let id = command
                    .arguments
                    .first()
                    .and_then(Value::as_number)
                    .unwrap_or_default();
                self.close(|stream| f64::from(stream.id) == id);
            }
            "closeStream" => self.close(|stream| stream.id == stream_id),
            "pause" | "pauseRaw" => self.pause(stream_id, &command),
            "FCUnpublish" => {
                let name = command.text(0).unwrap_or_default().to_owned();
                self.close(|stream| stream.action == Action::Publish && stream.name == name);
                if transaction_id != 0.0 {
                    self.result(stream_id, transaction_id, Value::Undefined, What::Other);
                }
            }
            "getStreamLength" => {
                self.result(stream_id, transaction_id, Value::Number(0.0), What::Other);
            }
            // Encoders from the Flash age send releaseStream, FCPublish, _checkbw and more; an answer keeps them going.
            _ if transaction_id != 0.0 => {
                self.result(stream_id, transaction_id, Value::Undefined, What::Other);
            }
            _ => {}
        }
        Ok(())
    }

    fn create_stream(&mut self, transaction_id: f64) {
        let stream_id = self.next_stream;
        self.next_stream = stream_id.saturating_add(1);
        let answer = Command::result(
            transaction_id,
            Value::Null,
            Value::Number(f64::from(stream_id)),
        );
        self.answer(0, &answer, What::CreateStream { stream_id });
    }

    fn request(
        &mut self,
        action: Action,
        stream_id: u32,
        command: Command,
    ) -> Result<(), ServerError> {
        if command.ends_stream() {
            self.close(|stream| stream.id == stream_id);
            return Ok(());
        }
        let name = command.stream_name().map(str::to_owned);
        let name = name.ok_or(ServerError::NoName(action))?;
        let connect = self
            .connect
            .clone()
            .unwrap_or_else(|| Command::call("connect", 1.0, Vec::new()));
        let request = StreamRequest {
            action,
            tc_url: connect.connect_address().to_owned(),
            name: name.clone(),
            stream_id,
            command,
            connect,
        };
        match &mut self.phase {
            Phase::Identifying {
                replay,
                commands,
                answered,
            } => {
                self.phase = Phase::Identified(Box::new(Identified {
                    request: request.clone(),
                    replay: std::mem::take(replay),
                    after_request: 0,
                    commands: std::mem::take(commands),
                    answered: std::mem::take(answered),
                    dialect: Dialect::default(),
                    renamed: false,
                    keeps_recipe: false,
                    by_parameters: false,
                }));
            }
            Phase::Identified(_) | Phase::Serving { .. } => {
                self.close(|stream| stream.id == stream_id);
                if self.streams.len() >= MAX_STREAMS {
                    return Err(ServerError::TooManyStreams);
                }
                self.streams.push(OpenStream {
                    id: stream_id,
                    action,
                    name,
                    accepted: false,
                });
            }
        }
        self.events
            .push_back(ServerEvent::Request(Box::new(request)));
        Ok(())
    }

    fn pause(&mut self, stream_id: u32, command: &Command) {
        let paused = command.arguments.first() == Some(&Value::Boolean(true));
        if command.transaction_id != 0.0 {
            self.result(
                stream_id,
                command.transaction_id,
                Value::Undefined,
                What::Other,
            );
        }
        let plays = |stream: &OpenStream| {
            stream.id == stream_id && stream.accepted && stream.action == Action::Play
        };
        if self.streams.iter().any(plays) {
            let (code, words) = if paused {
                ("NetStream.Pause.Notify", "paused")
            } else {
                ("NetStream.Unpause.Notify", "going on")
            };
            self.status(stream_id, "status", code, words);
            self.events
                .push_back(ServerEvent::Paused { stream_id, paused });
        }
    }

    fn close(&mut self, which: impl Fn(&OpenStream) -> bool) {
        let (closed, open): (Vec<_>, Vec<_>) = self.streams.drain(..).partition(which);
        self.streams = open;
        for stream in closed {
            if stream.action == Action::Publish {
                let words = format!("{} is unpublished", stream.name);
                let information = information("status", "NetStream.Unpublish.Success", &words);
                let notice = Command::call("onFCUnpublish", 0.0, vec![information]);
                self.send(chunk_stream::STREAM, &Message::command(stream.id, &notice));
                self.status(stream.id, "status", "NetStream.Unpublish.Success", &words);
            }
            self.events.push_back(ServerEvent::Closed {
                stream_id: stream.id,
            });
        }
    }

    fn result(&mut self, stream_id: u32, transaction_id: f64, argument: Value, what: What) {
        self.answer(
            stream_id,
            &Command::result(transaction_id, Value::Null, argument),
            what,
        );
    }

    fn answer(&mut self, stream_id: u32, answer: &Command, what: What) {
        self.send(chunk_stream::COMMAND, &Message::command(stream_id, answer));
        if let Phase::Identifying { answered, .. } = &mut self.phase {
            answered.push(Answered {
                transaction_id: answer.transaction_id,
                what,
            });
        }
    }

    fn status(&mut self, stream_id: u32, level: &str, code: &str, description: &str) {
        let status = Command::on_status(level, code, description);
        self.send(chunk_stream::STREAM, &Message::command(stream_id, &status));
    }

    fn send(&mut self, chunk_stream: u32, message: &Message) {
        self.writer.write(chunk_stream, message, &mut self.output);
    }
}

/// Appends bytes that are only kept.
fn keep(kept: &mut Vec<u8>, input: &[u8]) -> Result<(), ServerError> {
    if kept.len() + input.len() > MAX_UNREAD {
        return Err(ServerError::Impatient);
    }
    kept.extend_from_slice(input);
    Ok(())
}

impl Identified {
    /// What it asks for, as it wrote it.
    pub fn address(&self) -> RtmpAddress {
        let request = &self.request;
        let app = request.connect.object.field("app");
        let app = app.and_then(Value::as_str).unwrap_or_default();
        RtmpAddress {
            tc_url: request.tc_url.clone(),
            app: app.to_owned(),
            name: request.name.clone(),
        }
    }

    /// The same client with `address` in its commands. An origin has to be asked for it step by step, because the bytes
    /// to replay are as they came.
    #[must_use]
    pub fn renamed(&self, address: &RtmpAddress) -> Self {
        let mut renamed = self.clone();
        for (_, command) in &mut renamed.commands {
            rename(command, address);
            if command.name == "connect" {
                plain_url::make_plain(command);
            }
        }
        renamed.renamed = true;
        renamed
    }
}

/// Writes an address into a command that names a stream or its app.
fn rename(command: &mut Command, address: &RtmpAddress) {
    match command.name.as_str() {
        "connect" => {
            if let Value::Object(fields) | Value::EcmaArray(fields) = &mut command.object {
                for (name, text) in [("app", &address.app), ("tcUrl", &address.tc_url)] {
                    if !fields.iter().any(|(field, _)| field == name) {
                        fields.push((name.to_owned(), Value::Null));
                    }
                    // Each one: readers differ in which of two counts.
                    let named = fields.iter_mut().filter(|(field, _)| field == name);
                    named.for_each(|(_, value)| *value = text.as_str().into());
                }
            }
        }
        "FCPublish" | "FCSubscribe" | "FCUnpublish" | "getStreamLength" | "play" | "publish"
        | "releaseStream" => {
            if let Some(name @ Value::String(_)) = command.arguments.first_mut() {
                *name = address.name.as_str().into();
            }
        }
        _ => {}
    }
}

impl Answered {
    /// Whether this answer assigned the message stream.
    pub fn creates(&self, stream_id: u32) -> bool {
        self.what == What::CreateStream { stream_id }
    }
}

/// Maximum bytes kept of a client until it asks for a stream: commands are a few hundred bytes each.
pub const MAX_REPLAY: usize = 64 * 1024;
/// Maximum bytes of a message that an origin accepts; a keyframe at 8K is smaller.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Maximum bytes after a request that is not answered yet: clients wait, or send a first keyframe.
const MAX_UNREAD: usize = 1024 * 1024;
/// Maximum message streams: a client has one, or one after the other.
const MAX_STREAMS: usize = 32;
/// The window that SRS announces (§5.4.4, §5.4.5).
const WINDOW: u32 = 2_500_000;
