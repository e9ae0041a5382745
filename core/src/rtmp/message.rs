//! An RTMP message, and the commands and control messages that it may hold.

use super::amf0::{Amf0Error, Value};
use crate::read::Reader;

/// A whole RTMP message, as assembled from chunks (RTMP 1.0 §5.3, §6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The timestamp in milliseconds, wrapping at 2^32.
    pub timestamp: u32,
    /// The message type id; see [`kind`].
    pub kind: u8,
    /// The message stream id: 0 for the connection, otherwise the id that `createStream` returned.
    pub stream_id: u32,
    /// The body.
    pub payload: Vec<u8>,
}

impl Message {
    /// Set Chunk Size: from here on, this sender's chunks carry up to `size` bytes (§5.4.1).
    pub fn set_chunk_size(size: u32) -> Self {
        Self::control(kind::SET_CHUNK_SIZE, size.to_be_bytes().to_vec())
    }

    /// Acknowledgement: this sender has received `count` bytes so far, modulo 2^32 (§5.4.3).
    pub fn acknowledgement(count: u32) -> Self {
        Self::control(kind::ACKNOWLEDGEMENT, count.to_be_bytes().to_vec())
    }

    /// Window Acknowledgement Size: this sender wants an acknowledgement for every `size` bytes that it sends (§5.4.4).
    pub fn window_ack_size(size: u32) -> Self {
        Self::control(kind::WINDOW_ACK_SIZE, size.to_be_bytes().to_vec())
    }

    /// Set Peer Bandwidth: the peer should keep at most `size` bytes unacknowledged; a dynamic limit (§5.4.5, limit
    /// type 2).
    pub fn set_peer_bandwidth(size: u32) -> Self {
        let mut payload = size.to_be_bytes().to_vec();
        payload.push(2);
        Self::control(kind::SET_PEER_BANDWIDTH, payload)
    }

    /// A user control message with one number, as most have (§7.1.7). For `event` see [`user_control`].
    pub fn user_control(event: u16, value: u32) -> Self {
        let mut payload = event.to_be_bytes().to_vec();
        payload.extend_from_slice(&value.to_be_bytes());
        Self::control(kind::USER_CONTROL, payload)
    }

    /// A message with `command` in AMF0, on the message stream `stream_id`.
    pub fn command(stream_id: u32, command: &Command) -> Self {
        Self {
            timestamp: 0,
            kind: kind::COMMAND_AMF0,
            stream_id,
            payload: command.encode(),
        }
    }

    /// A message with AMF0 data: `values` one after the other, on the message stream `stream_id`.
    pub fn data(stream_id: u32, values: &[Value]) -> Self {
        let mut payload = Vec::new();
        for value in values {
            value.encode(&mut payload);
        }
        Self {
            timestamp: 0,
            kind: kind::DATA_AMF0,
            stream_id,
            payload,
        }
    }

    /// Whether this is a command, in AMF0 or AMF3.
    pub const fn is_command(&self) -> bool {
        matches!(self.kind, kind::COMMAND_AMF0 | kind::COMMAND_AMF3)
    }

    /// Whether this belongs to the stream itself: audio, video, metadata, or an aggregate of them.
    pub const fn is_media(&self) -> bool {
        matches!(
            self.kind,
            kind::AUDIO | kind::VIDEO | kind::DATA_AMF0 | kind::DATA_AMF3 | kind::AGGREGATE
        )
    }

    /// The chunk stream on which our state machines send this message. Each kind of message has its own, as with
    /// servers and encoders, so that audio can pass between the chunks of a video message.
    pub const fn chunk_stream(&self) -> u32 {
        match self.kind {
            kind::SET_CHUNK_SIZE
            | kind::ABORT
            | kind::ACKNOWLEDGEMENT
            | kind::USER_CONTROL
            | kind::WINDOW_ACK_SIZE
            | kind::SET_PEER_BANDWIDTH => chunk_stream::CONTROL,
            kind::COMMAND_AMF0 | kind::COMMAND_AMF3 if self.stream_id == 0 => chunk_stream::COMMAND,
            kind::VIDEO | kind::AGGREGATE => chunk_stream::VIDEO,
            kind::AUDIO => chunk_stream::AUDIO,
            _ => chunk_stream::STREAM,
        }
    }

    fn control(kind: u8, payload: Vec<u8>) -> Self {
        Self {
            timestamp: 0,
            kind,
            stream_id: 0,
            payload,
        }
    }
}

/// Message type ids (RTMP 1.0 §5.4, §7.1).
pub mod kind {
    /// Sets the sender's new chunk size (§5.4.1).
    pub const SET_CHUNK_SIZE: u8 = 1;
    /// Discards an unfinished message (§5.4.2).
    pub const ABORT: u8 = 2;
    /// Reports how much was received (§5.4.3).
    pub const ACKNOWLEDGEMENT: u8 = 3;
    /// Stream events and pings (§6.2, §7.1.7).
    pub const USER_CONTROL: u8 = 4;
    /// Sets how often to acknowledge (§5.4.4).
    pub const WINDOW_ACK_SIZE: u8 = 5;
    /// Sets how much may be unacknowledged (§5.4.5).
    pub const SET_PEER_BANDWIDTH: u8 = 6;
    /// Audio (§7.1.4).
    pub const AUDIO: u8 = 8;
    /// Video (§7.1.5).
    pub const VIDEO: u8 = 9;
    /// Metadata in AMF3 (§7.1.2).
    pub const DATA_AMF3: u8 = 15;
    /// A command in AMF3 (§7.1.1).
    pub const COMMAND_AMF3: u8 = 17;
    /// Metadata in AMF0 (§7.1.2).
    pub const DATA_AMF0: u8 = 18;
    /// A command in AMF0 (§7.1.1).
    pub const COMMAND_AMF0: u8 = 20;
    /// Several audio, video and data messages in one (§7.1.6).
    pub const AGGREGATE: u8 = 22;
}

/// User control events (RTMP 1.0 §7.1.7).
pub mod user_control {
    /// The server has started the stream.
    pub const STREAM_BEGIN: u16 = 0;
    /// A ping, with a timestamp to send back.
    pub const PING_REQUEST: u16 = 6;
    /// The answer to a ping.
    pub const PING_RESPONSE: u16 = 7;
}

/// The chunk streams of our own messages. Any id works; these are the ones that peers are used to.
pub mod chunk_stream {
    /// Protocol control, fixed by the specification (§5.4).
    pub const CONTROL: u32 = 2;
    /// Commands of the connection.
    pub const COMMAND: u32 = 3;
    /// Commands, statuses and metadata of a stream.
    pub const STREAM: u32 = 5;
    /// Video.
    pub const VIDEO: u32 = 6;
    /// Audio.
    pub const AUDIO: u32 = 7;
}

/// A command (RTMP 1.0 §7.2): `connect`, `createStream`, `publish`, `_result`, `onStatus`…
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The name of the command or of the answer.
    pub name: String,
    /// Pairs `_result` and `_error` with their command; 0 requests no answer.
    pub transaction_id: f64,
    /// The command object; [`Value::Null`] where there is none.
    pub object: Value,
    /// The values after the command object.
    pub arguments: Vec<Value>,
}

impl Command {
    /// Reads the body of a message of `kind`.
    ///
    /// A command of type 17 is AMF0 after one zero byte, with every known sender. An argument that does switch to AMF3
    /// ends the reading, because nothing we need follows it.
    ///
    /// # Errors
    ///
    /// When `kind` is not a command, or the body is not one.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Self, CommandError> {
        let mut reader = Reader::new(payload);
        match kind {
            kind::COMMAND_AMF0 => {}
            // Some senders leave out the zero byte; no command name starts with the number marker.
            kind::COMMAND_AMF3 if payload.first() == Some(&0) => {
                reader.u8().map_err(Amf0Error::from)?;
            }
            kind::COMMAND_AMF3 => {}
            other => return Err(CommandError::NotACommand(other)),
        }
        let Value::String(name) = Value::decode(&mut reader)? else {
            return Err(CommandError::NoName);
        };
        let transaction_id = match reader.remaining() {
            0 => 0.0,
            _ => Value::decode(&mut reader)?
                .as_number()
                .ok_or(CommandError::NoTransactionId)?,
        };
        let mut values = Vec::new();
        while let Some(&marker) = reader.rest().first() {
            if marker == AMF3_SWITCH {
                break;
            }
            if values.len() > MAX_ARGUMENTS {
                return Err(CommandError::TooManyArguments);
            }
            values.push(Value::decode(&mut reader)?);
        }
        let mut values = values.into_iter();
        Ok(Self {
            name,
            transaction_id,
            object: values.next().unwrap_or(Value::Null),
            arguments: values.collect(),
        })
    }

    /// The body of a [`kind::COMMAND_AMF0`] message.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        Value::from(self.name.as_str()).encode(&mut out);
        Value::Number(self.transaction_id).encode(&mut out);
        self.object.encode(&mut out);
        for argument in &self.arguments {
            argument.encode(&mut out);
        }
        out
    }

    /// A command without a command object.
    pub fn call(name: &str, transaction_id: f64, arguments: Vec<Value>) -> Self {
        Self {
            name: name.to_owned(),
            transaction_id,
            object: Value::Null,
            arguments,
        }
    }

    /// The answer to the command with this transaction id.
    pub fn result(transaction_id: f64, object: Value, argument: Value) -> Self {
        Self {
            name: "_result".to_owned(),
            transaction_id,
            object,
            arguments: vec![argument],
        }
    }

    /// A status of a stream or a connection (§7.2.2): `level` is `status`, `warning` or `error`.
    pub fn on_status(level: &str, code: &str, description: &str) -> Self {
        Self::call("onStatus", 0.0, vec![information(level, code, description)])
    }

    /// The text of argument `index`, counted after the command object.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.arguments.get(index).and_then(Value::as_str)
    }

    /// Whether it gives up a stream.
    pub fn ends_stream(&self) -> bool {
        match self.name.as_str() {
            "FCUnpublish" | "closeStream" | "deleteStream" => true,
            // Flash's `publish(false)` and `play(false)`.
            "play" | "play2" | "publish" => self.arguments.first() == Some(&Value::Boolean(false)),
            _ => false,
        }
    }

    /// The address that a `connect` is for: its `tcUrl`, or its `app` where an old encoder sends that alone, as nginx-rtmp
    /// reads it. An `app` names no host.
    pub fn connect_address(&self) -> &str {
        let text = |name| self.object.field(name).and_then(Value::as_str);
        let tc_url = text("tcUrl").filter(|tc_url| !tc_url.is_empty());
        tc_url.or_else(|| text("app")).unwrap_or_default()
    }

    /// The stream that a `publish`, `play` or `play2` names (`play2` wraps it in an object).
    pub fn stream_name(&self) -> Option<&str> {
        let first = self.arguments.first()?;
        first
            .as_str()
            .or_else(|| first.field("streamName")?.as_str())
    }

    /// The information object of an `onStatus`, `_result` or `_error`: its first argument.
    pub fn status(&self) -> Option<Status<'_>> {
        let information = self.arguments.first()?;
        let text = |name| information.field(name).and_then(Value::as_str);
        Some(Status {
            level: text("level").unwrap_or_default(),
            code: text("code")?,
            description: text("description").unwrap_or_default(),
        })
    }
}

/// The three texts of an information object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status<'a> {
    /// `status`, `warning` or `error`; empty if the sender left it out.
    pub level: &'a str,
    /// The code, such as `NetStream.Publish.Start`, for programs.
    pub code: &'a str,
    /// The description, for people; empty if the sender left it out.
    pub description: &'a str,
}

impl Status<'_> {
    /// Whether this reports a failure.
    pub fn is_error(&self) -> bool {
        self.level == "error"
    }

    /// The code and the description in one text, for logs.
    pub fn words(&self) -> String {
        match (self.code, self.description) {
            ("", "") => NO_REASON.to_owned(),
            (code, "") => code.to_owned(),
            ("", description) => description.to_owned(),
            (code, description) => format!("{code}: {description}"),
        }
    }

    /// Whether this tells a publisher that its stream has a publisher already. `BadName` means that by definition; other
    /// servers say it in the description.
    pub fn says_busy(&self) -> bool {
        let description = self.description.to_ascii_lowercase();
        self.is_error()
            && (self.code == BAD_NAME || BUSY_WORDS.iter().any(|word| description.contains(word)))
    }
}

/// The code and the description in a text that [`Status::words`] made of them.
pub fn code_and_description(words: &str) -> Option<(&str, &str)> {
    let (code, description) = words.split_once(": ")?;
    let is_code = code.starts_with("NetStream.") || code.starts_with("NetConnection.");
    is_code.then_some((code, description))
}

/// What stands for the words of an origin that refuses without any.
pub const NO_REASON: &str = "the origin refused without a reason";
/// Someone else publishes the stream (ActionScript 3.0 reference, `NetStatusEvent`).
const BAD_NAME: &str = "NetStream.Publish.BadName";
/// How servers say that a stream is published already.
const BUSY_WORDS: [&str; 3] = ["already", "busy", "in use"];

/// Why the body of a message is not a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The message has another type.
    #[error("message type {0} is no command")]
    NotACommand(u8),
    /// The first value is not a string.
    #[error("a command has no name")]
    NoName,
    /// The second value is not a number.
    #[error("a command has no transaction id")]
    NoTransactionId,
    /// There are more values than any command has.
    #[error("a command has more than {MAX_ARGUMENTS} arguments")]
    TooManyArguments,
    /// A value is invalid.
    #[error("a command cannot be read")]
    Value(#[from] Amf0Error),
}

/// What a peer supports of enhanced RTMP (v2, "Enhancing NetConnection connect Command"): the codecs it accepts by
/// FourCC, and further capabilities.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EnhancedRtmp {
    /// Codecs by FourCC, `*` for any; empty if the peer did not say.
    pub four_cc_list: Vec<String>,
    /// For each video FourCC (`*`: any), a mask: 1 decode, 2 encode, 4 forward.
    pub video_info_map: Vec<(String, u32)>,
    /// For each audio FourCC (`*`: any), the same mask.
    pub audio_info_map: Vec<(String, u32)>,
    /// Mask: 1 reconnect, 2 multitrack, 4 ModEx, 8 nanosecond offsets.
    pub caps_ex: u32,
}

impl EnhancedRtmp {
    /// What the answer to `connect` says; `None` if it says nothing about enhanced RTMP.
    pub fn from_connect_result(result: &Command) -> Option<Self> {
        if result.name != "_result" {
            return None;
        }
        // The specification puts it in the command object; some servers use the information object.
        Self::from_properties(&result.object)
            .or_else(|| Self::from_properties(result.arguments.first()?))
    }

    /// What both support: the capabilities that a client may rely on at either of two origins.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        Self {
            four_cc_list: common_codecs(&self.four_cc_list, &other.four_cc_list),
            video_info_map: common_masks(&self.video_info_map, &other.video_info_map),
            audio_info_map: common_masks(&self.audio_info_map, &other.audio_info_map),
            caps_ex: self.caps_ex & other.caps_ex,
        }
    }

    /// The properties for a `connect` or its answer; empty ones are left out.
    pub fn properties(&self) -> Vec<(String, Value)> {
        let mut properties = Vec::new();
        if !self.four_cc_list.is_empty() {
            let codecs = self
                .four_cc_list
                .iter()
                .map(|codec| Value::from(codec.as_str()));
            properties.push((
                "fourCcList".to_owned(),
                Value::StrictArray(codecs.collect()),
            ));
        }
        for (name, map) in [
            ("videoFourCcInfoMap", &self.video_info_map),
            ("audioFourCcInfoMap", &self.audio_info_map),
        ] {
            if !map.is_empty() {
                let masks = map
                    .iter()
                    .map(|(codec, mask)| (codec.clone(), Value::Number(f64::from(*mask))));
                properties.push((name.to_owned(), Value::Object(masks.collect())));
            }
        }
        if self.caps_ex != 0 {
            properties.push(("capsEx".to_owned(), Value::Number(f64::from(self.caps_ex))));
        }
        properties
    }

    fn from_properties(object: &Value) -> Option<Self> {
        let known = [
            "fourCcList",
            "videoFourCcInfoMap",
            "audioFourCcInfoMap",
            "capsEx",
        ];
        if !known.iter().any(|name| object.field(name).is_some()) {
            return None;
        }
        let masks = |name| {
            let properties = object
                .field(name)
                .map(Value::properties)
                .unwrap_or_default();
            properties
                .iter()
                .filter_map(|(codec, mask)| Some((codec.clone(), as_mask(mask)?)))
                .collect()
        };
        let codecs = match object.field("fourCcList") {
            Some(Value::StrictArray(codecs)) => codecs
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        Some(Self {
            four_cc_list: codecs,
            video_info_map: masks("videoFourCcInfoMap"),
            audio_info_map: masks("audioFourCcInfoMap"),
            caps_ex: object.field("capsEx").and_then(as_mask).unwrap_or_default(),
        })
    }
}

/// Counts received bytes against the window that the peer set, to know when to acknowledge (§5.4.3).
#[derive(Debug)]
pub(super) struct ReceiveWindow {
    size: u32,
    received: u32,
    acknowledged: u32,
}

impl ReceiveWindow {
    /// No window was set yet.
    pub(super) const NONE: Self = Self {
        size: 0,
        received: 0,
        acknowledged: 0,
    };

    /// Sets the window: the peer wants an acknowledgement every `size` bytes, or none if 0.
    pub(super) const fn resize(&mut self, size: u32) {
        self.size = size;
    }

    /// Counts `length` bytes, wrapping at 2^32.
    pub(super) fn count(&mut self, length: usize) {
        let length = u32::try_from(length & 0xffff_ffff).expect("masked to 32 bits");
        self.received = self.received.wrapping_add(length);
    }

    /// The acknowledgement that is due, if any.
    pub(super) fn due(&mut self) -> Option<Message> {
        if self.size == 0 || self.received.wrapping_sub(self.acknowledged) < self.size {
            return None;
        }
        self.acknowledged = self.received;
        Some(Message::acknowledgement(self.received))
    }
}

/// The information object of a status.
pub(super) fn information(level: &str, code: &str, description: &str) -> Value {
    Value::Object(vec![
        ("level".to_owned(), level.into()),
        ("code".to_owned(), code.into()),
        ("description".to_owned(), description.into()),
    ])
}

/// The ping response, if `payload` (a user control message) is a ping request.
pub(super) fn ping_response(payload: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(payload);
    if reader.u16() != Ok(user_control::PING_REQUEST) {
        return None;
    }
    let timestamp = reader.u32().ok()?;
    Some(Message::user_control(
        user_control::PING_RESPONSE,
        timestamp,
    ))
}

/// The number in a message that is one number, such as Window Acknowledgement Size.
pub(super) fn number(payload: &[u8]) -> Option<u32> {
    Reader::new(payload).u32().ok()
}

/// A bit mask from an AMF0 number; NaN, negative and fractional numbers are not masks.
fn as_mask(value: &Value) -> Option<u32> {
    let number = value.as_number()?;
    if !(0.0..=f64::from(u32::MAX)).contains(&number) || number.fract() != 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole and within range, as just checked"
    )]
    Some(number as u32)
}

fn common_codecs(ours: &[String], theirs: &[String]) -> Vec<String> {
    let takes = |list: &[String], codec: &str| {
        list.iter()
            .any(|listed| listed == codec || listed == ANY_CODEC)
    };
    let mut common: Vec<String> = ours
        .iter()
        .filter(|codec| takes(theirs, codec))
        .cloned()
        .collect();
    for codec in theirs.iter().filter(|codec| takes(ours, codec)) {
        if !common.contains(codec) {
            common.push(codec.clone());
        }
    }
    common
}

fn common_masks(ours: &[(String, u32)], theirs: &[(String, u32)]) -> Vec<(String, u32)> {
    let mask = |map: &[(String, u32)], codec: &str| {
        let of = |wanted: &str| {
            map.iter()
                .find(|(listed, _)| listed == wanted)
                .map(|(_, mask)| *mask)
        };
        of(codec).or_else(|| of(ANY_CODEC)).unwrap_or_default()
    };
    let mut common: Vec<(String, u32)> = Vec::new();
    for (codec, _) in ours.iter().chain(theirs) {
        let both = mask(ours, codec) & mask(theirs, codec);
        if both != 0 && !common.iter().any(|(listed, _)| listed == codec) {
            common.push((codec.clone(), both));
        }
    }
    common
}

const ANY_CODEC: &str = "*";
const AMF3_SWITCH: u8 = 0x11; // AMF0 §3.1, avmplus-object-marker
const MAX_ARGUMENTS: usize = 64; // `play` has four, `publish` two; 64 leaves room for any call

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn a_command_is_read_in_every_form_senders_use() {
        let plain = Command::call("createStream", 2.0, vec![]);
        let body = plain.encode();
        assert_eq!(
            body,
            hex!("02 000c 63726561746553747265616d 00 4000000000000000 05")
        );
        let rows: &[(&str, u8, Vec<u8>, Command)] = &[
            ("AMF0", 20, body.clone(), plain.clone()),
            (
                "Flash after objectEncoding 3",
                17,
                [&[0], body.as_slice()].concat(),
                plain.clone(),
            ),
            ("type 17 without its leading byte", 17, body, plain),
            (
                "no command object at all",
                20,
                hex!("02 0001 61 00 3ff0000000000000").to_vec(),
                Command::call("a", 1.0, vec![]),
            ),
            (
                "a name alone",
                20,
                hex!("02 0001 61").to_vec(),
                Command::call("a", 0.0, vec![]),
            ),
            (
                "an argument in AMF3",
                17,
                hex!("00 02 0001 61 00 3ff0000000000000 05 02 0001 62 11 0a0b01").to_vec(),
                Command::call("a", 1.0, vec!["b".into()]),
            ),
        ];
        for (cause, kind, bytes, command) in rows {
            assert_eq!(
                Command::decode(*kind, bytes).as_ref(),
                Ok(command),
                "{cause}"
            );
        }
    }

    #[test]
    fn what_is_no_command_is_refused_by_name() {
        let long = [
            hex!("02 0001 61 00 3ff0000000000000").to_vec(),
            vec![0x05; 66],
        ]
        .concat();
        let rows: &[(&str, u8, &[u8], CommandError)] = &[
            ("video", 9, &[], CommandError::NotACommand(9)),
            (
                "an empty body",
                20,
                &[],
                CommandError::Value(Amf0Error::Truncated),
            ),
            (
                "a number for a name",
                20,
                &hex!("00 3ff0000000000000"),
                CommandError::NoName,
            ),
            (
                "a text for a transaction id",
                20,
                &hex!("02 0001 61 02 0001 62"),
                CommandError::NoTransactionId,
            ),
            ("65 arguments", 20, &long, CommandError::TooManyArguments),
        ];
        for (cause, kind, bytes, error) in rows {
            assert_eq!(
                Command::decode(*kind, bytes).as_ref(),
                Err(error),
                "{cause}"
            );
        }
        assert!(
            Command::decode(20, &long[..long.len() - 1]).is_ok(),
            "64 arguments"
        );
    }

    #[test]
    fn controls_are_the_bytes_of_the_specification() {
        let rows: &[(Message, u8, &[u8])] = &[
            (Message::set_chunk_size(128), 1, &hex!("00000080")),
            (Message::acknowledgement(1), 3, &hex!("00000001")),
            (
                Message::user_control(user_control::STREAM_BEGIN, 1),
                4,
                &hex!("0000 00000001"),
            ),
            (Message::window_ack_size(2_500_000), 5, &hex!("002625a0")),
            (
                Message::set_peer_bandwidth(2_500_000),
                6,
                &hex!("002625a0 02"),
            ),
        ];
        for (message, kind, payload) in rows {
            assert_eq!(
                (message.kind, message.payload.as_slice()),
                (*kind, *payload)
            );
            assert_eq!(message.chunk_stream(), chunk_stream::CONTROL);
        }
    }

    #[test]
    fn only_a_ping_request_is_answered() {
        assert_eq!(
            ping_response(&hex!("0006 01020304")),
            Some(Message::user_control(7, 0x0102_0304))
        );
        assert_eq!(
            ping_response(&hex!("0003 00000001 000003e8")),
            None,
            "set buffer length"
        );
        assert_eq!(ping_response(&hex!("0006 01")), None, "cut off");
        assert_eq!(ping_response(&[]), None);
    }

    #[test]
    fn an_acknowledgement_is_due_once_per_window() {
        let mut window = ReceiveWindow::NONE;
        window.count(1000);
        assert_eq!(window.due(), None, "nobody asked");
        window.resize(500);
        assert_eq!(window.due(), Some(Message::acknowledgement(1000)));
        window.count(499);
        assert_eq!(window.due(), None);
        window.count(1);
        assert_eq!(window.due(), Some(Message::acknowledgement(1500)));
        window.count(u32::MAX as usize - 1500);
        assert_eq!(window.due(), Some(Message::acknowledgement(u32::MAX)));
        window.count(501);
        assert_eq!(
            window.due(),
            Some(Message::acknowledgement(500)),
            "the count wraps"
        );
    }

    #[test]
    fn a_status_is_written_and_read() {
        let command =
            Command::on_status("error", "NetStream.Play.StreamNotFound", "no such stream");
        let status = command.status().unwrap();
        assert_eq!(status.code, "NetStream.Play.StreamNotFound");
        assert_eq!(status.description, "no such stream");
        assert!(status.is_error());
        assert_eq!(Command::call("onStatus", 0.0, vec![]).status(), None);
    }

    #[test]
    fn enhanced_properties_survive_a_connect_result() {
        let all = EnhancedRtmp {
            four_cc_list: vec!["hvc1".to_owned(), "Opus".to_owned()],
            video_info_map: vec![("hvc1".to_owned(), 4)],
            audio_info_map: vec![("*".to_owned(), 7)],
            caps_ex: 3,
        };
        let result = Command::result(1.0, Value::Object(all.properties()), Value::Null);
        assert_eq!(
            EnhancedRtmp::from_connect_result(&result),
            Some(all.clone())
        );
        let result = Command::result(1.0, Value::Null, Value::Object(all.properties()));
        assert_eq!(
            EnhancedRtmp::from_connect_result(&result),
            Some(all),
            "in the information object"
        );
        let result = Command::result(
            1.0,
            Value::Object(vec![("fmsVer".to_owned(), "x".into())]),
            Value::Null,
        );
        assert_eq!(EnhancedRtmp::from_connect_result(&result), None);
        let odd = Value::Object(vec![("capsEx".to_owned(), Value::Number(-1.5))]);
        let read = EnhancedRtmp::from_connect_result(&Command::result(1.0, odd, Value::Null));
        assert_eq!(read, Some(EnhancedRtmp::default()), "a mask that is none");
    }

    #[test]
    fn an_intersection_keeps_what_both_take() {
        let list = |codecs: &[&str]| {
            codecs
                .iter()
                .map(|codec| (*codec).to_owned())
                .collect::<Vec<_>>()
        };
        let masks = |map: &[(&str, u32)]| {
            map.iter()
                .map(|(codec, mask)| ((*codec).to_owned(), *mask))
                .collect()
        };
        let one = EnhancedRtmp {
            four_cc_list: list(&["hvc1", "av01"]),
            video_info_map: masks(&[("hvc1", 7), ("av01", 1)]),
            audio_info_map: masks(&[("*", 4)]),
            caps_ex: 0b0111,
        };
        let other = EnhancedRtmp {
            four_cc_list: list(&["vp09", "hvc1"]),
            video_info_map: masks(&[("hvc1", 4), ("av01", 2)]),
            audio_info_map: masks(&[("Opus", 6)]),
            caps_ex: 0b1010,
        };
        let both = EnhancedRtmp {
            four_cc_list: list(&["hvc1"]),
            video_info_map: masks(&[("hvc1", 4)]),
            audio_info_map: masks(&[("Opus", 4)]),
            caps_ex: 0b0010,
        };
        assert_eq!(one.intersection(&other), both);
        assert_eq!(other.intersection(&one), both);
        assert_eq!(one.intersection(&one), one);
        let any = EnhancedRtmp {
            four_cc_list: list(&["*"]),
            ..EnhancedRtmp::default()
        };
        assert_eq!(any.intersection(&one).four_cc_list, list(&["hvc1", "av01"]));
    }
}
