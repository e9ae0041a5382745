//! `connect`: answered at once, or held until the shell has said whether the client has to log in first.

use super::{Phase, Server, ServerError, ServerEvent, WINDOW, What, keep};
use crate::rtmp::amf0::Value;
use crate::rtmp::message::{Command, EnhancedRtmp, Message, chunk_stream, information};

/// What waits for the shell's word on a `connect`.
#[derive(Debug)]
pub(super) struct AtConnect {
    /// Whether the shell is asked at all.
    is_asked: bool,
    connect: Option<Command>,
    /// What came after it.
    unread: Vec<u8>,
}

impl AtConnect {
    /// Nothing waits, and nobody is asked.
    pub(super) const NONE: Self = Self {
        is_asked: false,
        connect: None,
        unread: Vec::new(),
    };
}

impl Server {
    /// Has the shell asked at `connect`, with [`ServerEvent::Connect`]: until it says [`welcome`](Self::welcome) or
    /// [`turn_away`](Self::turn_away), the client hears nothing.
    #[must_use]
    pub fn asking_at_connect(mut self) -> Self {
        self.at_connect.is_asked = true;
        self
    }

    /// Answers the `connect` that waits, and reads on.
    ///
    /// # Errors
    /// [`ServerError`] in what is read then, as from [`feed`](Self::feed).
    pub fn welcome(&mut self) -> Result<(), ServerError> {
        let Some(connect) = self.at_connect.connect.take() else {
            return Ok(());
        };
        self.connected(connect);
        let unread = std::mem::take(&mut self.at_connect.unread);
        self.read(&unread)
    }

    /// Denies the `connect` that waits, in these words. The connection is over then.
    pub fn turn_away(&mut self, words: &str) {
        let Some(connect) = self.at_connect.connect.take() else {
            return;
        };
        let no = information("error", "NetConnection.Connect.Rejected", words);
        let answer = Command {
            name: "_error".to_owned(),
            ..Command::result(connect.transaction_id, Value::Null, no)
        };
        self.send(chunk_stream::COMMAND, &Message::command(0, &answer));
    }

    /// Whether the shell has yet to speak.
    pub(super) const fn waits_at_connect(&self) -> bool {
        self.at_connect.connect.is_some()
    }

    /// Keeps what comes meanwhile.
    pub(super) fn keep_unread(&mut self, input: &[u8]) -> Result<(), ServerError> {
        keep(&mut self.at_connect.unread, input)
    }

    pub(super) fn connect(&mut self, command: Command) -> Result<(), ServerError> {
        if self.connect.is_some() {
            return Err(ServerError::OutOfTurn("a second connect"));
        }
        if self.at_connect.is_asked && matches!(self.phase, Phase::Identifying { .. }) {
            let event = ServerEvent::Connect(Box::new(command.clone()));
            self.events.push_back(event);
            self.at_connect.connect = Some(command);
            return Ok(());
        }
        self.connected(command);
        Ok(())
    }

    fn connected(&mut self, command: Command) {
        self.send(chunk_stream::CONTROL, &Message::window_ack_size(WINDOW));
        self.send(chunk_stream::CONTROL, &Message::set_peer_bandwidth(WINDOW));
        let encoding = command
            .object
            .field("objectEncoding")
            .and_then(Value::as_number)
            .unwrap_or_default();
        let mut properties: Vec<(String, Value)> = vec![
            ("fmsVer".to_owned(), "FMS/3,5,3,888".into()),
            ("capabilities".to_owned(), Value::Number(127.0)),
            ("mode".to_owned(), Value::Number(1.0)),
        ];
        properties.extend(self.enhanced.iter().flat_map(EnhancedRtmp::properties));
        let mut success = information("status", "NetConnection.Connect.Success", "connected");
        if let Value::Object(fields) = &mut success {
            fields.push(("objectEncoding".to_owned(), Value::Number(encoding)));
            let version = vec![("version".to_owned(), "3,5,3,888".into())];
            fields.push(("data".to_owned(), Value::EcmaArray(version)));
        }
        let answer = Command::result(command.transaction_id, Value::Object(properties), success);
        self.answer(0, &answer, What::Connect);
        self.connect = Some(command);
    }
}
