//! A client and an origin that are joined: whatever each puts on the wire, in whatever chunks it arrives, each hears
//! what the other said, except for answers that the client already has.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::chunk::ChunkReader;
use sluicegate_core::rtmp::join::{Join, JoinError, Joined, Progress};
use sluicegate_core::rtmp::message::{Command, Message, kind, user_control};
use sluicegate_core::rtmp::server::{Identified, Server, ServerEvent};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_server_and_a_client_hear_each_other(
        client in any_client(),
        frames in any_frames(),
        sizes in any_sizes(),
        steps: bool,
    ) {
        let origin = Serving { server: Server::serving(SEED, None), frames };
        let session = join(&client, origin, &sizes, steps).unwrap();
        session.check(&client, steps, 0)?;
    }

    #[test]
    fn any_origin_and_a_client_hear_each_other(
        client in any_client(),
        origin in any_origin(),
        sizes in any_sizes(),
        steps: bool,
    ) {
        let session = join(&client, origin, &sizes, steps).unwrap();
        prop_assert_eq!(&read(&session.origin_wire), &session.origin.speaker.said);
        session.check(&client, steps, 0)?;
    }

    #[test]
    fn an_answer_to_a_number_used_again_is_not_mistaken_for_an_old_one(
        client in any_client().prop_filter("it may go without an answer", |client| client.optional().is_some()),
        origin in any_origin(),
        sizes in any_sizes(),
        steps: bool,
    ) {
        let again = Command::call("getAnswer", client.optional().unwrap(), vec![]);
        let client = client.with_behind(Message::command(0, &again));
        let session = join(&client, Origin { terse: true, ..origin }, &sizes, steps).unwrap();
        session.check(&client, steps, 0)?;
    }

    #[test]
    fn an_origin_that_reads_only_plain_chunks_hears_every_message(
        client in any_client(),
        origin in any_origin(),
        sizes in any_sizes(),
        interleaves: bool,
        offset in prop_oneof![Just(0), 1..1000_u32],
    ) {
        let client = Client { interleaves, ..client };
        let offset = if client.creates() { offset } else { 0 };
        let origin = Origin { offset, ..origin };
        let session = join_by(&client, origin, &sizes, Join::in_plain_chunks).unwrap();
        prop_assert_eq!(&session.progress, &Progress::Joined);
        prop_assert!(session.end.is_none(), "{:?}", session.end);
        let is_announced = |message: &Message| message.kind == kind::SET_CHUNK_SIZE;
        let mut expected = client.expected(true, offset);
        expected.retain(|message| !is_announced(message));
        expected.insert(1, Message::set_chunk_size(64 * 1024));
        prop_assert_eq!(&session.heard, &expected);
        prop_assert_eq!(read_plainly(&session.passed), Some(expected));
    }

    #[test]
    fn another_stream_id_takes_steps(
        client in any_client().prop_filter("it asks for one", Client::creates),
        origin in any_origin(),
        sizes in any_sizes(),
        offset in prop_oneof![Just(1), 2..1000_u32],
    ) {
        let origin = Origin { offset, ..origin };
        let replayed = join(&client, origin.clone().in_order(), &sizes, false).unwrap();
        prop_assert_eq!(replayed.progress, Progress::NeedsSteps);
        let session = join(&client, origin, &sizes, true).unwrap();
        session.check(&client, true, offset)?;
        // An origin that cannot handle two commands at once did not get two.
        let batches = &session.origin.batches;
        prop_assert_eq!(&batches[0], &["connect"]);
        for batch in batches {
            let creates = batch.iter().rposition(|name| name == "createStream");
            let asks = |at: usize| batch[at..].contains(&client.request());
            prop_assert!(!creates.is_some_and(asks), "{:?}", batch);
        }
    }

    #[test]
    fn a_refusal_is_told_in_its_words(
        client in any_client().prop_filter("it can be refused", Client::creates),
        origin in any_origin(),
        sizes in any_sizes(),
        steps: bool,
        refusal in prop::sample::select(REFUSALS),
    ) {
        let origin = Origin { refusal: Some(refusal), ..origin }.in_order();
        let session = join(&client, origin, &sizes, steps).unwrap();
        let expected = match refusal {
            Refusal::Connect => Progress::Rejected("NetConnection.Connect.Rejected: go away".to_owned()),
            Refusal::CreateStream => Progress::Rejected("NetConnection.Call.Failed: go away".to_owned()),
            Refusal::Redirect | Refusal::Status => Progress::Redirected {
                url: "rtmp://10.0.0.2/live/a".to_owned(),
                whole: true,
            },
        };
        prop_assert_eq!(session.progress, expected);
    }

    #[test]
    fn a_broken_command_ends_the_session(
        client in any_client(),
        origin in any_origin(),
        sizes in any_sizes(),
        steps: bool,
        payload in prop::sample::select(vec![&b"\x05"[..], b"\x02\x00\x07publish\x02\x00\x01a"]),
        amf3: bool,
    ) {
        let kind = if amf3 { kind::COMMAND_AMF3 } else { kind::COMMAND_AMF0 };
        let broken = Message { timestamp: 0, kind, stream_id: client.stream_id, payload: payload.to_vec() };
        let client = client.with_behind(broken.clone());
        let heard = match join(&client, origin, &sizes, steps) {
            Ok(session) => {
                prop_assert!(matches!(session.end, Some(JoinError::Command(_))), "{:?}", session.end);
                session.heard
            }
            Err(error) => {
                prop_assert!(matches!(error, JoinError::Command(_)), "{:?}", error);
                Vec::new()
            }
        };
        prop_assert!(heard.iter().all(|message| message.payload != broken.payload));
    }

    #[test]
    fn a_request_for_another_stream_is_dropped_and_reported(
        client in any_client(),
        origin in any_origin(),
        sizes in any_sizes(),
        steps: bool,
        other in prop::sample::select(others()),
    ) {
        let (command, name) = other;
        let other = Message::command(client.stream_id, &command);
        let session = join(&client.clone().with_behind(other), origin, &sizes, steps).unwrap();
        prop_assert_eq!(session.joined.as_ref().unwrap().second_request(), Some(name));
        prop_assert_eq!(session.heard, client.expected(steps, 0));
    }

    #[test]
    fn random_bytes_of_an_origin_are_no_harm(
        client in any_client(),
        origin in any_origin(),
        sizes in any_sizes(),
        steps: bool,
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let heard = join(&client, origin, &sizes, steps).unwrap();
        let mut wire = heard.origin_wire;
        for (at, byte) in noise {
            let at = at.index(wire.len());
            wire[at] = byte;
        }
        let (identified, _, _) = identify(&client, &sizes);
        let ends = [&[usize::MAX], sizes.as_slice()].map(|sizes| {
            let mut join = new_join(&identified, steps).unwrap();
            let mut out = join.take_output();
            join.feed(&handshake()).unwrap();
            for part in split(&wire, sizes) {
                join.feed(part).ok()?;
                out.extend(join.take_output());
            }
            Some((join.progress().clone(), out, join.into_joined().1))
        });
        // After an error in the only piece there is no output. In step-by-step mode, answers that do not wait for their
        // commands mean something different when they are split.
        if let ([Some(whole), Some(parts)], false) = (&ends, steps) {
            prop_assert_eq!(whole, parts);
        }
    }
}

/// Requests for other streams than `a`, and how each is described.
fn others() -> Vec<(Command, &'static str)> {
    let wrapped = Value::Object(vec![("streamName".to_owned(), "b".into())]);
    vec![
        (Command::call("publish", 90.0, vec!["b".into()]), "b"),
        (Command::call("play", 90.0, vec!["b".into()]), "b"),
        (Command::call("play2", 90.0, vec![wrapped]), "b"),
        (Command::call("publish", 90.0, vec![Value::Number(1.0)]), ""),
        (Command::call("play", 90.0, vec![]), ""),
        (Command::call("play", 90.0, vec![Value::Boolean(true)]), ""),
    ]
}

/// The result for a client and an origin.
struct Session<O> {
    origin: O,
    progress: Progress,
    joined: Option<Joined>,
    end: Option<JoinError>,
    identified: Identified,
    /// What the client gets from us before there is an origin.
    told: Vec<Message>,
    to_client: Vec<u8>,
    origin_hears: ChunkReader,
    heard: Vec<Message>,
    /// What the origin gets after the handshake.
    passed: Vec<u8>,
    origin_wire: Vec<u8>,
}

impl<O: Speaks> Session<O> {
    /// Passes `bytes` to the origin, and returns its answer.
    fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let before = self.heard.len();
        self.passed.extend_from_slice(bytes);
        let mut rest = bytes;
        self.heard.extend(std::iter::from_fn(|| {
            self.origin_hears.read(&mut rest).unwrap()
        }));
        self.origin.hear(bytes, &self.heard[before..])
    }

    /// Checks that the client hears everything from the origin except answers that it has, and that the origin hears
    /// everything from the client, or what it has to be told step by step.
    fn check(&self, client: &Client, steps: bool, offset: u32) -> Result<(), TestCaseError> {
        prop_assert_eq!(&self.progress, &Progress::Joined);
        prop_assert!(self.end.is_none(), "{:?}", self.end);
        prop_assert_eq!(self.joined.as_ref().unwrap().second_request(), None);
        prop_assert_eq!(&self.heard, &client.expected(steps, offset));

        let mut had: Vec<f64> = self
            .identified
            .answered
            .iter()
            .map(|answer| answer.transaction_id)
            .collect();
        let names = self
            .identified
            .commands
            .iter()
            .map(|(_, command)| (command.transaction_id, command.name.as_str()));
        for (id, _) in names.filter(|(_, name)| !self.origin.answers(name)) {
            had.retain(|had| *had != id);
        }
        let mut expected = self.told.clone();
        for mut message in read(&self.origin_wire) {
            let command = message
                .is_command()
                .then(|| Command::decode(message.kind, &message.payload).ok())
                .flatten();
            if let Some(Command {
                name,
                transaction_id,
                ..
            }) = command
                && matches!(name.as_str(), "_result" | "_error")
                && let Some(at) = had.iter().position(|id| *id == transaction_id)
            {
                had.swap_remove(at);
                continue;
            }
            rename(&mut message, client.stream_id + offset, client.stream_id);
            expected.push(message);
        }
        prop_assert_eq!(had, Vec::<f64>::new());
        prop_assert_eq!(read(&self.to_client), expected);
        Ok(())
    }
}

/// Joins a client with an origin, with every transfer split.
fn join<O: Speaks>(
    client: &Client,
    origin: O,
    sizes: &[usize],
    steps: bool,
) -> Result<Session<O>, JoinError> {
    let ask = if steps {
        Join::step_by_step
    } else {
        Join::replaying
    };
    join_by(client, origin, sizes, ask)
}

type Ask = fn(&Identified, [u8; 32]) -> Result<Join, JoinError>;

/// The same, with an origin that is asked in this way.
fn join_by<O: Speaks>(
    client: &Client,
    origin: O,
    sizes: &[usize],
    ask: Ask,
) -> Result<Session<O>, JoinError> {
    let (identified, told, later) = identify(client, sizes);
    let mut join = ask(&identified, SEED)?;
    let mut session = Session {
        origin,
        progress: Progress::Asking,
        joined: None,
        end: None,
        told: read(&told),
        identified,
        to_client: told,
        origin_hears: ChunkReader::new(1 << 20),
        heard: Vec::new(),
        passed: Vec::new(),
        origin_wire: Vec::new(),
    };
    let hello = join.take_output();
    assert_eq!(hello.len(), 1 + HANDSHAKE);
    let mut wire = handshake();
    let mut shaken = false;
    let mut later = later.iter();
    while !wire.is_empty() {
        let mut said = Vec::new();
        for part in split(&wire, sizes) {
            match &mut session.joined {
                Some(joined) => session.to_client.extend(joined.to_client(part).unwrap()),
                None => join.feed(part).unwrap(),
            }
            if session.joined.is_none() {
                said.extend(join.take_output());
                session.progress = join.progress().clone();
                match session.progress {
                    Progress::Asking | Progress::Answered => {}
                    Progress::Joined => {
                        let (joined, first) =
                            std::mem::replace(&mut join, ask(&session.identified, SEED)?)
                                .into_joined();
                        session.joined = Some(joined);
                        session.to_client.extend(first);
                    }
                    _ => return Ok(session),
                }
            }
        }
        if !shaken {
            shaken = true;
            said.drain(..HANDSHAKE);
        }
        wire = session.pass(&said);
        // When nothing needs an answer, the client goes on.
        while wire.is_empty() && session.end.is_none() {
            let Some(joined) = &mut session.joined else {
                break;
            };
            let Some(part) = later.next() else { break };
            let passed = joined.to_origin(part).map(<[u8]>::to_vec);
            match passed {
                Ok(bytes) => wire = session.pass(&bytes),
                Err(error) => session.end = Some(error),
            }
        }
        session.origin_wire.extend(&wire);
    }
    Ok(session)
}

fn new_join(identified: &Identified, steps: bool) -> Result<Join, JoinError> {
    if steps {
        Join::step_by_step(identified, SEED)
    } else {
        Join::replaying(identified, SEED)
    }
}

/// What is known when the client has asked, what it was told until then, and what it sends later.
fn identify(client: &Client, sizes: &[usize]) -> (Identified, Vec<u8>, Vec<Vec<u8>>) {
    let mut server = Server::identifying(SEED, None);
    server.feed(&handshake()).unwrap();
    server.poll_output().unwrap();
    let mut told = Vec::new();
    let wire = client.wire();
    let mut parts = split(&wire, sizes).into_iter();
    for part in parts.by_ref() {
        server.feed(part).unwrap();
        told.extend(server.poll_output().unwrap_or_default());
        if let Some(ServerEvent::Request(_)) = server.poll_event() {
            break;
        }
    }
    (
        server.into_identified().unwrap(),
        told,
        parts.map(<[u8]>::to_vec).collect(),
    )
}

/// An origin, after the handshake.
trait Speaks {
    /// Receives `bytes`, in which these `messages` end, and returns its answer.
    fn hear(&mut self, bytes: &[u8], messages: &[Message]) -> Vec<u8>;
    fn answers(&self, command: &str) -> bool;
}

/// Our own origin.
struct Serving {
    server: Server,
    frames: Vec<Line>,
}

impl Speaks for Serving {
    fn hear(&mut self, bytes: &[u8], _: &[Message]) -> Vec<u8> {
        if !self.server.handshake_done() {
            self.server.feed(&handshake()).unwrap();
            self.server.poll_output().unwrap();
            self.server.set_chunk_size(777);
        }
        self.server.feed(bytes).unwrap();
        while let Some(event) = self.server.poll_event() {
            let ServerEvent::Request(request) = event else {
                continue;
            };
            self.server.accept(request.stream_id).unwrap();
            for Line { message, .. } in &self.frames {
                self.server.send_media(&Message {
                    stream_id: request.stream_id,
                    ..message.clone()
                });
            }
        }
        self.server.poll_output().unwrap_or_default()
    }

    fn answers(&self, _: &str) -> bool {
        true
    }
}

/// An origin that uses all freedom of the specification.
#[derive(Debug, Clone)]
struct Origin {
    speaker: Speaker,
    chunk_size: u32,
    /// By how much its stream ids exceed those that our clients are given.
    offset: u32,
    streams: u32,
    /// Whether it answers only what it must.
    terse: bool,
    /// Whether it sends a status before a stream was requested.
    early: bool,
    refusal: Option<Refusal>,
    frames: Vec<Line>,
    batches: Vec<Vec<String>>,
}

#[derive(Debug, Clone, Copy)]
enum Refusal {
    Connect,
    CreateStream,
    /// Redirects the connection.
    Redirect,
    /// Redirects the stream.
    Status,
}

impl Origin {
    fn in_order(mut self) -> Self {
        self.speaker.interleaves = false;
        self.early = false;
        self
    }

    fn command(&mut self, stream_id: u32, command: &Command, burst: &mut Vec<Line>) {
        let id = command.transaction_id;
        let error = |code: &str, place: bool| {
            let mut information = vec![
                ("level".to_owned(), "error".into()),
                ("code".to_owned(), code.into()),
                ("description".to_owned(), "go away".into()),
            ];
            if place {
                let ex = vec![
                    ("code".to_owned(), Value::Number(302.0)),
                    ("redirect".to_owned(), "rtmp://10.0.0.2/live".into()),
                    ("redirect2".to_owned(), "rtmp://10.0.0.2/live/a".into()),
                ];
                information.push(("ex".to_owned(), Value::Object(ex)));
            }
            Value::Object(information)
        };
        let refused = |what| Command {
            name: "_error".to_owned(),
            ..Command::result(id, Value::Null, what)
        };
        match (command.name.as_str(), self.refusal) {
            ("connect", Some(refusal @ (Refusal::Connect | Refusal::Redirect))) => {
                let redirects = matches!(refusal, Refusal::Redirect);
                burst.push(Line::command(
                    0,
                    &refused(error("NetConnection.Connect.Rejected", redirects)),
                ));
            }
            ("connect", _) => {
                burst.push(Line::new(2, Message::window_ack_size(2_500_000)));
                burst.push(Line::new(2, Message::set_chunk_size(self.chunk_size)));
                let success = Command::on_status("status", "NetConnection.Connect.Success", "")
                    .arguments
                    .remove(0);
                let result = Command::result(id, Value::Object(vec![]), success);
                burst.extend(Line::answer(&result));
                if self.early {
                    let notice = Command::on_status("status", "NetConnection.Notice", "welcome");
                    burst.push(Line::command(0, &notice));
                }
            }
            ("createStream", Some(Refusal::CreateStream)) => {
                burst.push(Line::command(
                    0,
                    &refused(error("NetConnection.Call.Failed", false)),
                ));
            }
            ("createStream", _) => {
                self.streams += 1;
                let given = Value::Number(f64::from(self.streams + self.offset));
                burst.extend(Line::answer(&Command::result(id, Value::Null, given)));
            }
            ("publish" | "play" | "play2", Some(Refusal::Status)) => {
                let command = Command::call("onStatus", 0.0, vec![error("NetStream.Failed", true)]);
                burst.push(Line::command(stream_id, &command));
            }
            ("publish" | "play" | "play2", _) if command.stream_name().is_some() => {
                burst.push(Line::new(
                    2,
                    Message::user_control(user_control::STREAM_BEGIN, stream_id),
                ));
                let started = Command::on_status("status", "NetStream.Start", &"x".repeat(200));
                burst.push(Line::command(stream_id, &started));
                let broken = Message {
                    payload: vec![5],
                    ..Message::command(stream_id, &started)
                };
                burst.push(Line::new(3, broken));
                burst.extend(self.frames.iter().cloned().map(|line| line.of(stream_id)));
            }
            (name, _) if id != 0.0 && self.answers(name) => {
                burst.extend(Line::answer(&Command::result(
                    id,
                    Value::Null,
                    Value::Undefined,
                )));
            }
            _ => {}
        }
    }
}

impl Speaks for Origin {
    fn hear(&mut self, _: &[u8], messages: &[Message]) -> Vec<u8> {
        let mut burst = Vec::new();
        let mut batch = Vec::new();
        for message in messages.iter().filter(|message| message.is_command()) {
            let command = Command::decode(message.kind, &message.payload).unwrap();
            self.command(message.stream_id, &command, &mut burst);
            batch.push(command.name);
        }
        if !batch.is_empty() {
            self.batches.push(batch);
        }
        self.speaker.say(&burst)
    }

    fn answers(&self, command: &str) -> bool {
        !self.terse || matches!(command, "connect" | "createStream" | "getAnswer")
    }
}

/// A client, and everything it sends.
#[derive(Debug, Clone)]
struct Client {
    speaker: Speaker,
    /// The set-up; the request is last.
    setup: Vec<Line>,
    behind: Vec<Line>,
    stream_id: u32,
    /// Whether chunks of several messages alternate once it has asked. Before, a client waits for its answers.
    interleaves: bool,
}

impl Client {
    fn wire(&self) -> Vec<u8> {
        self.speak().0
    }

    /// The bytes, and the messages up to the request and after it.
    fn speak(&self) -> (Vec<u8>, Vec<Message>, Vec<Message>) {
        let mut speaker = self.speaker.clone();
        let mut wire = speaker.say(&self.setup);
        let behind = speaker.said.len();
        speaker.interleaves = self.interleaves;
        wire.extend(speaker.say(&self.behind));
        let behind = speaker.said.split_off(behind);
        (wire, speaker.said, behind)
    }

    /// What an origin has to hear.
    fn expected(&self, steps: bool, offset: u32) -> Vec<Message> {
        let (_, setup, behind) = self.speak();
        if !steps {
            return [setup, behind].concat();
        }
        let (commands, rest): (Vec<_>, Vec<_>) = setup.into_iter().partition(Message::is_command);
        let mut expected: Vec<Message> = commands
            .iter()
            .map(|message| {
                Message::command(
                    message.stream_id,
                    &Command::decode(message.kind, &message.payload).unwrap(),
                )
            })
            .collect();
        let announced = rest
            .iter()
            .rfind(|message| message.kind == kind::SET_CHUNK_SIZE);
        let usual = Message::set_chunk_size(128).payload;
        let announced = announced.filter(|message| message.payload != usual);
        // What counts when the client asks is announced once, after `connect`.
        let announced = announced.map(|message| Message {
            timestamp: 0,
            ..message.clone()
        });
        expected.splice(1..1, announced);
        expected.extend(behind);
        for message in &mut expected {
            rename(message, self.stream_id, self.stream_id + offset);
        }
        expected
    }

    /// The transaction id of a command that not every origin answers.
    fn optional(&self) -> Option<f64> {
        let commands = self
            .setup
            .iter()
            .map(|line| &line.message)
            .filter(|message| message.is_command());
        let mut commands =
            commands.map(|message| Command::decode(message.kind, &message.payload).unwrap());
        let names = [
            "releaseStream",
            "FCPublish",
            "getStreamLength",
            "FCSubscribe",
        ];
        Some(
            commands
                .find(|command| names.contains(&command.name.as_str()))?
                .transaction_id,
        )
    }

    fn creates(&self) -> bool {
        let messages = self.setup.iter().map(|line| &line.message);
        let mut commands = messages.filter(|message| message.is_command());
        commands.any(|message| {
            let command = Command::decode(message.kind, &message.payload);
            command.is_ok_and(|command| command.name == "createStream")
        })
    }

    /// The name in its request.
    fn request(&self) -> String {
        let message = &self.setup.last().unwrap().message;
        Command::decode(message.kind, &message.payload)
            .unwrap()
            .name
    }

    fn with_behind(mut self, message: Message) -> Self {
        self.behind.push(Line::new(3, message));
        self
    }
}

/// A message to send, and how.
#[derive(Debug, Clone)]
struct Line {
    chunk_stream: u32,
    message: Message,
    /// The header type to use where it is legal, otherwise the highest legal one; `None` leaves it to the speaker.
    format: Option<u8>,
}

impl Line {
    fn new(chunk_stream: u32, message: Message) -> Self {
        Self {
            chunk_stream,
            message,
            format: None,
        }
    }

    fn command(stream_id: u32, command: &Command) -> Self {
        Self::new(3, Message::command(stream_id, command))
    }

    fn call(stream_id: u32, name: &str, transaction_id: f64, arguments: &[Value]) -> Self {
        Self::command(
            stream_id,
            &Command::call(name, transaction_id, arguments.to_vec()),
        )
    }

    /// An answer, and directly after it a command of the same length that needs no header fields beyond those of the
    /// answer.
    fn answer(answer: &Command) -> [Self; 2] {
        let answer = Self::command(0, answer);
        let mut note = Self::call(0, "note", 0.0, &["".into()]);
        let pad = "n".repeat(answer.message.payload.len() - note.message.payload.len());
        note = Self {
            format: Some(3),
            ..Self::call(0, "note", 0.0, &[pad.as_str().into()])
        };
        [answer, note]
    }

    fn of(mut self, stream_id: u32) -> Self {
        self.message.stream_id = stream_id;
        self
    }
}

/// Splits messages into chunks with all freedom that the specification gives; written independently of the code under
/// test.
#[derive(Debug, Clone)]
struct Speaker {
    /// Its choices, used in rotation.
    choices: Vec<u8>,
    chosen: usize,
    interleaves: bool,
    chunk_size: usize,
    memory: BTreeMap<u32, (Message, u32)>,
    /// The messages in the order in which they end.
    said: Vec<Message>,
}

struct Open {
    chunk_stream: u32,
    field: u32,
    message: Message,
    written: usize,
}

impl Speaker {
    fn choose(&mut self) -> u8 {
        self.chosen += 1;
        self.choices[self.chosen % self.choices.len()]
    }

    fn say(&mut self, lines: &[Line]) -> Vec<u8> {
        let mut wire = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        let mut lines = lines.iter().peekable();
        loop {
            let choice = usize::from(self.choose());
            let may_begin = open.is_empty() || self.interleaves && choice.is_multiple_of(2);
            let next = lines.next_if(|line| {
                may_begin
                    && open
                        .iter()
                        .all(|open| open.chunk_stream != line.chunk_stream)
            });
            let at = if let Some(line) = next {
                open.push(self.begin(line, &mut wire));
                open.len() - 1
            } else if open.is_empty() {
                return wire;
            } else {
                let at = choice / 2 % open.len();
                let Open {
                    chunk_stream,
                    field,
                    ..
                } = open[at];
                wire.push(3 << 6 | chunk_stream as u8);
                extended(field, &mut wire);
                at
            };
            let now = &mut open[at];
            let left = &now.message.payload[now.written..];
            let count = left.len().min(self.chunk_size);
            wire.extend(&left[..count]);
            now.written += count;
            if now.written == now.message.payload.len() {
                let message = open.remove(at).message;
                if message.kind == kind::SET_CHUNK_SIZE {
                    self.chunk_size =
                        u32::from_be_bytes(message.payload.as_slice().try_into().unwrap()) as usize;
                }
                self.said.push(message);
            }
        }
    }

    fn begin(&mut self, line: &Line, wire: &mut Vec<u8>) -> Open {
        let Line {
            chunk_stream,
            message,
            format,
        } = line;
        let wanted = format.unwrap_or_else(|| self.choose() % 4);
        let highest = match self.memory.get(chunk_stream) {
            // Like librtmp's first ping.
            None if message.stream_id == 0 => 1,
            None => 0,
            Some((before, _)) if before.stream_id != message.stream_id => 0,
            Some((before, _))
                if (before.kind, before.payload.len()) != (message.kind, message.payload.len()) =>
            {
                1
            }
            Some(_) => 3,
        };
        let format = wanted.min(highest);
        let (before, field) = self
            .memory
            .get(chunk_stream)
            .map_or((0, 0), |(before, field)| (before.timestamp, *field));
        let field = if format == 3 {
            field
        } else {
            message.timestamp
        };
        let timestamp = if format == 0 {
            field
        } else {
            before.wrapping_add(field)
        };
        let message = Message {
            timestamp,
            ..message.clone()
        };
        wire.push(format << 6 | *chunk_stream as u8);
        if format <= 2 {
            wire.extend(&field.min(0xFF_FFFF).to_be_bytes()[1..]);
        }
        if format <= 1 {
            wire.extend(&(message.payload.len() as u32).to_be_bytes()[1..]);
            wire.push(message.kind);
        }
        if format == 0 {
            wire.extend(message.stream_id.to_le_bytes());
        }
        extended(field, wire);
        self.memory.insert(*chunk_stream, (message.clone(), field));
        Open {
            chunk_stream: *chunk_stream,
            field,
            message,
            written: 0,
        }
    }
}

fn extended(field: u32, wire: &mut Vec<u8>) {
    if field >= 0xFF_FFFF {
        wire.extend(field.to_be_bytes());
    }
}

fn any_speaker() -> impl Strategy<Value = Speaker> {
    prop::collection::vec(any::<u8>(), 1..20).prop_map(|mut choices| {
        // With only odd ones, nothing would ever begin.
        choices.push(0);
        Speaker {
            choices,
            chosen: 0,
            interleaves: true,
            chunk_size: 128,
            memory: BTreeMap::new(),
            said: Vec::new(),
        }
    })
}

fn any_origin() -> impl Strategy<Value = Origin> {
    let habits = (any::<bool>(), any::<bool>());
    (any_speaker(), any_chunk_size(), habits, any_frames()).prop_map(
        |(speaker, chunk_size, (terse, early), frames)| Origin {
            speaker,
            chunk_size,
            offset: 0,
            streams: 0,
            terse,
            early,
            refusal: None,
            frames,
            batches: Vec::new(),
        },
    )
}

fn any_client() -> impl Strategy<Value = Client> {
    let times = prop::collection::vec(any_time(), 1..6);
    let announced = || (any_chunk_size(), any::<prop::sample::Index>());
    let controls = (
        prop::collection::vec(announced(), 0..4),
        prop::option::of(announced()),
        any::<prop::sample::Index>(),
        any::<bool>(),
    );
    (
        any_speaker(),
        0..6_usize,
        controls,
        any_frames(),
        times,
        any::<bool>(),
    )
        .prop_map(
            |(speaker, which, (announced, late, control_at, window), frames, times, again)| {
                let (mut setup, stream_id) = client(which);
                let last = setup.len();
                for (chunk_size, at) in announced {
                    let announced = Message::set_chunk_size(chunk_size);
                    setup.insert(at.index(last), Line::new(2, announced));
                }
                let control = if window {
                    Message::window_ack_size(2_500_000)
                } else {
                    set_buffer_length()
                };
                setup.insert(control_at.index(last), Line::new(2, control));
                for (line, time) in setup.iter_mut().zip(times.into_iter().cycle()) {
                    line.message.timestamp = time;
                }
                let mut behind: Vec<Line> =
                    frames.into_iter().map(|line| line.of(stream_id)).collect();
                behind.push(Line::call(0, "FCUnpublish", 80.0, &["z".into()]));
                if again {
                    let request = setup.last().unwrap().clone();
                    behind.push(Line::call(stream_id, "play", 0.0, &[Value::Boolean(false)]));
                    behind.push(request);
                }
                // FFmpeg announces what its origin announces, which it hears when it has asked.
                if let Some((chunk_size, at)) = late {
                    let announced = Message::set_chunk_size(chunk_size);
                    behind.insert(at.index(behind.len()), Line::new(2, announced));
                }
                // Answers to its own later commands are not mistaken for those that it has.
                behind.push(Line::call(0, "getSomething", 81.0, &[]));
                let speaker = Speaker {
                    interleaves: false,
                    ..speaker
                };
                Client {
                    speaker,
                    setup,
                    behind,
                    stream_id,
                    interleaves: false,
                }
            },
        )
}

/// What real clients send up to their request, and the message stream of the request.
fn client(which: usize) -> (Vec<Line>, u32) {
    let connect = Command {
        object: Value::Object(vec![
            ("app".to_owned(), "live".into()),
            ("tcUrl".to_owned(), TC_URL.into()),
        ]),
        ..Command::call("connect", 1.0, vec![])
    };
    let call = Line::call;
    let no = Value::Boolean(false);
    let (mut lines, stream_id) = match which {
        // OBS and FFmpeg
        0 => (
            vec![
                call(0, "releaseStream", 2.0, &["a".into()]),
                call(0, "FCPublish", 3.0, &["a".into()]),
                call(0, "createStream", 4.0, &[]),
                call(0, "_checkbw", 5.0, &[]),
                call(1, "publish", 6.0, &["a".into(), "live".into()]),
            ],
            1,
        ),
        // Flash Media Live Encoder
        1 => (
            vec![
                call(0, "createStream", 2.0, &[]),
                call(0, "releaseStream", 3.0, &["a".into()]),
                call(0, "FCPublish", 4.0, &["a".into()]),
                call(1, "publish", 0.0, &["a".into(), "live".into()]),
            ],
            1,
        ),
        // ffplay
        2 => (
            vec![
                call(0, "createStream", 2.0, &[]),
                call(0, "getStreamLength", 3.0, &["a".into()]),
                call(1, "play", 4.0, &["a".into(), Value::Number(-2000.0)]),
            ],
            1,
        ),
        // a CDN's player
        3 => (
            vec![
                call(0, "FCSubscribe", 2.0, &["a?k=v".into()]),
                call(0, "createStream", 3.0, &[]),
                call(1, "pause", 0.0, &[no, Value::Number(0.0)]),
                call(1, "play", 0.0, &["a?k=v".into()]),
            ],
            1,
        ),
        // Flash on its second stream
        4 => (
            vec![
                call(0, "createStream", 2.0, &[]),
                call(0, "createStream", 3.0, &[]),
                call(2, "play", 0.0, &[no]),
                call(
                    2,
                    "play2",
                    0.0,
                    &[Value::Object(vec![("streamName".to_owned(), "a".into())])],
                ),
            ],
            2,
        ),
        // a client that asks on a stream it never created
        _ => (vec![call(1, "play", 0.0, &["a".into()])], 1),
    };
    lines.insert(0, Line::command(0, &connect));
    (lines, stream_id)
}

/// What the other side should hear of a message about the stream `from`, which it calls `to`.
fn rename(message: &mut Message, from: u32, to: u32) {
    if message.stream_id == from {
        message.stream_id = to;
    }
    let id = message.payload.get_mut(2..6);
    if let Some(id) =
        id.filter(|id| message.kind == kind::USER_CONTROL && **id == from.to_be_bytes())
    {
        id.copy_from_slice(&to.to_be_bytes());
    }
}

fn set_buffer_length() -> Message {
    let mut message = Message::user_control(3, 1);
    message.payload.extend(3000_u32.to_be_bytes());
    message
}

/// Audio, video and metadata.
fn any_frames() -> impl Strategy<Value = Vec<Line>> {
    let kinds = prop::sample::select(vec![
        (4, kind::AUDIO),
        (6, kind::VIDEO),
        (3, kind::DATA_AMF0),
        (6, kind::VIDEO),
    ]);
    let lengths = prop_oneof![Just(100), 0..2000_usize];
    let frame = (kinds, any_time(), lengths, 0..4_u8).prop_map(
        |((chunk_stream, kind), timestamp, length, format)| Line {
            chunk_stream,
            message: Message {
                timestamp,
                kind,
                stream_id: 1,
                payload: vec![0x17; length],
            },
            format: Some(format),
        },
    );
    prop::collection::vec(frame, 0..8)
}

fn any_time() -> impl Strategy<Value = u32> {
    prop_oneof![4 => 0..100_u32, 1 => 0xFF_FFF0..0x100_0010_u32, 1 => 0x7F00_0000..0x7FFF_FFFF_u32]
}

fn any_chunk_size() -> impl Strategy<Value = u32> {
    prop_oneof![1..8_u32, 100..1000_u32, Just(60_000)]
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        1 => Just(vec![1]),
        2 => prop::collection::vec(1..100_usize, 1..8),
        3 => prop::collection::vec(1..5000_usize, 1..8),
    ]
}

fn read(mut wire: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(1 << 20);
    std::iter::from_fn(|| reader.read(&mut wire).unwrap()).collect()
}

/// Reads as the simplest servers do: a chunk size counts only where it is announced before the request, the chunks of a
/// message are together, ids have one byte, and every message has a header of its own. `None` where that goes wrong.
fn read_plainly(mut wire: &[u8]) -> Option<Vec<Message>> {
    let (mut chunk_size, mut has_asked, mut messages) = (128, false, Vec::new());
    while let Some((first, rest)) = wire.split_first() {
        let id = first & 0x3F;
        if first >> 6 != 0 || !(2..64).contains(&id) {
            return None;
        }
        let (header, rest) = rest.split_at_checked(11)?;
        let of =
            |from: usize| u32::from_be_bytes([0, header[from], header[from + 1], header[from + 2]]);
        let (field, length, kind) = (of(0), of(3) as usize, header[6]);
        let stream_id = u32::from_le_bytes(header[7..].try_into().ok()?);
        let later = |rest: &mut &[u8]| {
            let (bytes, after) = rest.split_at_checked(if field == 0xFF_FFFF { 4 } else { 0 })?;
            *rest = after;
            bytes
                .try_into()
                .map(u32::from_be_bytes)
                .ok()
                .or(Some(field))
        };
        wire = rest;
        let timestamp = later(&mut wire)?;
        let mut payload = Vec::new();
        loop {
            let (body, rest) = wire.split_at_checked((length - payload.len()).min(chunk_size))?;
            payload.extend_from_slice(body);
            wire = rest;
            if payload.len() == length {
                break;
            }
            wire = wire.strip_prefix(&[0xC0 | id])?;
            later(&mut wire)?;
        }
        if kind == kind::SET_CHUNK_SIZE {
            if has_asked {
                return None;
            }
            chunk_size = u32::from_be_bytes(payload.as_slice().try_into().ok()?) as usize;
        }
        let command = Command::decode(kind, &payload).ok();
        has_asked |=
            command.is_some_and(|command| ["publish", "play", "play2"].contains(&&*command.name));
        messages.push(Message {
            timestamp,
            kind,
            stream_id,
            payload,
        });
    }
    Some(messages)
}

fn split<'a>(mut wire: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    for size in sizes.iter().cycle() {
        if wire.is_empty() {
            break;
        }
        let (part, rest) = wire.split_at((*size).min(wire.len()));
        parts.push(part);
        wire = rest;
    }
    parts
}

/// One end's handshake: version, first and second packet.
fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * HANDSHAKE];
    bytes[0] = 3;
    bytes
}

const REFUSALS: &[Refusal] = &[
    Refusal::Connect,
    Refusal::CreateStream,
    Refusal::Redirect,
    Refusal::Status,
];
const HANDSHAKE: usize = 1536;
const SEED: [u8; 32] = [5; 32];
const TC_URL: &str = "rtmp://example.com/live";
