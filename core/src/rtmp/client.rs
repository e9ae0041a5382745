//! The end of an RTMP connection that connects to an origin, to publish or to play one stream.
//!
//! Feed it bytes, send its output, and read its events. It takes one step at a time; the proxy, which can send
//! everything at once, uses [`join`](super::join) instead.

use std::collections::VecDeque;

use super::amf0::Value;
use super::chunk::{ChunkError, ChunkReader, ChunkWriter};
use super::handshake::{ClientHandshake, HandshakeError};
use super::header::DEFAULT_CHUNK_SIZE;
use super::message::{Command, Message, ReceiveWindow, chunk_stream, kind, number, ping_response};
use super::origin_watch::redirect_and_form;
use crate::stream::Action;

/// The client's end of one connection.
#[derive(Debug)]
pub struct Client {
    handshake: Option<ClientHandshake>,
    reader: ChunkReader,
    writer: ChunkWriter,
    output: Vec<u8>,
    events: VecDeque<ClientEvent>,
    window: ReceiveWindow,
    action: Action,
    tc_url: String,
    name: String,
    extra: Vec<(String, Value)>,
    stream_id: u32,
}

/// What the origin did.
#[derive(Debug, Clone, PartialEq)]
pub enum ClientEvent {
    /// The origin answered `connect` with this command.
    Connected(Command),
    /// Audio, video, data or an aggregate.
    Media(Message),
    /// The origin names another place for the stream. What it said so with is the next event.
    Redirected {
        /// The URL.
        url: String,
        /// Whether it names the stream, and not only its app.
        whole: bool,
    },
    /// The origin refused `connect` or `createStream` with this command.
    Refused(Command),
    /// The origin reported the state of the stream with an `onStatus`.
    Status {
        /// `status`, `warning` or `error`.
        level: String,
        /// The code, for programs.
        code: String,
        /// The description, for people.
        description: String,
    },
}

/// Why an origin cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Its chunks are invalid.
    #[error("the origin's chunks are broken: {0}")]
    Chunk(#[from] ChunkError),
    /// Its handshake is invalid.
    #[error("the origin's handshake is broken: {0}")]
    Handshake(#[from] HandshakeError),
}

impl Client {
    /// A client for the stream `name` under `tc_url`. `seed` fills C1; `extra` are additional properties of the
    /// `connect` command, such as those of enhanced RTMP.
    pub fn new(
        seed: [u8; 32],
        action: Action,
        tc_url: &str,
        name: &str,
        extra: Vec<(String, Value)>,
    ) -> Self {
        Self {
            handshake: Some(ClientHandshake::new(seed)),
            reader: ChunkReader::new(MAX_MESSAGE),
            writer: ChunkWriter::new(DEFAULT_CHUNK_SIZE),
            output: Vec::new(),
            events: VecDeque::new(),
            window: ReceiveWindow::NONE,
            action,
            tc_url: tc_url.to_owned(),
            name: name.to_owned(),
            extra,
            stream_id: 0,
        }
    }

    /// Takes bytes from the origin.
    ///
    /// # Errors
    /// [`ClientError`]; the rest of the connection cannot be read.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<(), ClientError> {
        if let Some(handshake) = &mut self.handshake {
            let consumed = handshake.feed(input)?;
            self.output
                .extend(handshake.poll_output().unwrap_or_default());
            if !handshake.is_done() {
                return Ok(());
            }
            self.handshake = None;
            input = input.get(consumed..).unwrap_or_default();
            self.connect();
        }
        self.window.count(input.len());
        while let Some(message) = self.reader.read(&mut input)? {
            self.message(message);
        }
        if let Some(acknowledgement) = self.window.due() {
            self.send(chunk_stream::CONTROL, &acknowledgement);
        }
        Ok(())
    }

    /// The next bytes for the origin.
    pub fn poll_output(&mut self) -> Option<Vec<u8>> {
        if let Some(handshake) = &mut self.handshake {
            self.output
                .extend(handshake.poll_output().unwrap_or_default());
        }
        (!self.output.is_empty()).then(|| std::mem::take(&mut self.output))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// The message stream that the origin assigned; 0 before that.
    pub const fn stream_id(&self) -> u32 {
        self.stream_id
    }

    /// Sends audio, video or data on the stream, whatever stream id the message has.
    pub fn send_media(&mut self, message: &Message) {
        let message = Message {
            stream_id: self.stream_id,
            ..message.clone()
        };
        self.send(message.chunk_stream(), &message);
    }

    /// Sends any command on the stream, such as a pause or a second request in a test.
    pub fn send_command(&mut self, command: &Command) {
        self.send(
            chunk_stream::COMMAND,
            &Message::command(self.stream_id, command),
        );
    }

    /// Sends a message on the message stream that it names, such as a further one.
    pub fn send_as_it_is(&mut self, message: &Message) {
        self.send(message.chunk_stream(), message);
    }

    /// Announces another chunk size, and uses it from here on.
    pub fn set_chunk_size(&mut self, size: u32) {
        self.send(chunk_stream::CONTROL, &Message::set_chunk_size(size));
        self.writer.set_chunk_size(size);
    }

    fn connect(&mut self) {
        let app = self
            .tc_url
            .split_once("://")
            .and_then(|(_, rest)| rest.split_once('/'))
            .map_or("", |(_, app)| app);
        let mut properties: Vec<(String, Value)> = vec![
            ("app".to_owned(), app.into()),
            ("tcUrl".to_owned(), self.tc_url.as_str().into()),
        ];
        // Servers tell encoders from players by these.
        let own: &[(&str, &str)] = match self.action {
            Action::Play => &[("flashVer", "LNX 9,0,124,2")],
            Action::Publish => &[
                ("type", "nonprivate"),
                ("flashVer", "FMLE/3.0 (compatible; Sluicegate)"),
            ],
        };
        let own = own.iter();
        properties.extend(own.map(|(name, value)| ((*name).to_owned(), (*value).into())));
        properties.append(&mut self.extra);
        self.set_chunk_size(CHUNK_SIZE);
        let object = Value::Object(properties);
        let connect = Command {
            object,
            ..Command::call("connect", CONNECT, Vec::new())
        };
        self.send(chunk_stream::COMMAND, &Message::command(0, &connect));
    }

    fn message(&mut self, message: Message) {
        match message.kind {
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 => {
                if let Ok(command) = Command::decode(message.kind, &message.payload) {
                    self.command(command);
                }
            }
            kind::USER_CONTROL => {
                if let Some(pong) = ping_response(&message.payload) {
                    self.send(chunk_stream::CONTROL, &pong);
                }
            }
            kind::WINDOW_ACK_SIZE => self
                .window
                .resize(number(&message.payload).unwrap_or_default()),
            _ if message.is_media() => self.events.push_back(ClientEvent::Media(message)),
            _ => {}
        }
    }

    fn command(&mut self, command: Command) {
        match (command.name.as_str(), command.transaction_id) {
            ("_result", CONNECT) => {
                if self.action == Action::Publish {
                    self.call("releaseStream", RELEASE);
                    self.call("FCPublish", FC_PUBLISH);
                }
                let create = Command::call("createStream", CREATE, Vec::new());
                self.send(chunk_stream::COMMAND, &Message::command(0, &create));
                self.events.push_back(ClientEvent::Connected(command));
            }
            ("_result", CREATE) => {
                let id = command
                    .arguments
                    .first()
                    .and_then(Value::as_number)
                    .unwrap_or_default();
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "`as` saturates"
                )]
                let id = id as u32;
                self.stream_id = id;
                let (name, mut arguments) = match self.action {
                    Action::Play => ("play", vec![Value::Number(-2000.0)]),
                    Action::Publish => ("publish", vec!["live".into()]),
                };
                arguments.insert(0, self.name.as_str().into());
                let request = Command::call(name, REQUEST, arguments);
                self.send(chunk_stream::COMMAND, &Message::command(id, &request));
            }
            ("_error", CONNECT | CREATE) => {
                self.note_redirect(&command);
                self.events.push_back(ClientEvent::Refused(command));
            }
            ("onStatus", _) => {
                self.note_redirect(&command);
                if let Some(status) = command.status() {
                    self.events.push_back(ClientEvent::Status {
                        level: status.level.to_owned(),
                        code: status.code.to_owned(),
                        description: status.description.to_owned(),
                    });
                }
            }
            _ => {}
        }
    }

    fn note_redirect(&mut self, command: &Command) {
        if let Some((url, whole)) = redirect_and_form(command) {
            let url = url.to_owned();
            self.events
                .push_back(ClientEvent::Redirected { url, whole });
        }
    }

    fn call(&mut self, name: &str, transaction_id: f64) {
        let call = Command::call(name, transaction_id, vec![self.name.as_str().into()]);
        self.send(chunk_stream::COMMAND, &Message::command(0, &call));
    }

    fn send(&mut self, chunk_stream: u32, message: &Message) {
        self.writer.write(chunk_stream, message, &mut self.output);
    }
}

const CONNECT: f64 = 1.0;
const RELEASE: f64 = 2.0;
const FC_PUBLISH: f64 = 3.0;
const CREATE: f64 = 4.0;
const REQUEST: f64 = 5.0;
/// Frames of a few kilobytes fit into one chunk.
const CHUNK_SIZE: u32 = 60_000;
/// Maximum bytes of a message; a keyframe at 8K is smaller.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
