//! Joins a client that has asked for a stream with the origin that is to answer: replay, walk, pass through.
//!
//! The client has been answered up to its `publish` or `play`. Everything it sent after the handshake is replayed to
//! the origin in one write, together with C2. Set-up therefore costs one round trip, and the origin sees the client's
//! chunk streams from their first byte. The origin also answers commands that the client already has answers for; those
//! answers are dropped by transaction id, and everything else passes.
//!
//! Some origins assign another message stream id than the client was given, or hang up on pipelined commands. Such an
//! origin is dialled again *step by step*: it gets the same commands one by one, and the message stream id is rewritten
//! in the headers that carry it. The client's chunk size is announced among the commands, where the client did so itself.

use std::collections::VecDeque;
use std::time::Instant;

use super::amf0::Value;
use super::chunk::ChunkReader;
use super::handshake::{ClientHandshake, HandshakeError};
use super::header::MessageHeader;
use super::message::{Command, CommandError, EnhancedRtmp, Message, kind};
use super::moving::own_chunk_size;
use super::origin_watch::{OriginWatch, Watched, Word, command};
use super::plain_chunks::PlainChunks;
use super::recipe::Recipe;
use super::resumed::{MAX_PARTIAL, Resumed};
use super::server::{Answered, Identified, What};
use super::steps::Steps;
use super::walk::{Look, Piece, Step, Verdict, Walk, WalkError, Watch};
use crate::dialect::{Dialect, RtmpAsked};
use crate::place::hold::LastError;
use crate::stream::Action;

/// A connection to an origin that is being asked for what a client wants. Feed it the origin's bytes, send its output,
/// and read its [`Progress`].
#[derive(Debug)]
pub struct Join {
    handshake: Option<ClientHandshake>,
    /// What is sent after the handshake: everything at once, or the remaining commands.
    script: Script,
    relay: Joined,
    out: Vec<u8>,
    held: Vec<u8>,
}

/// How far an origin has come with its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It has yet to answer commands of the connection.
    Asking,
    /// It has answered everything that the client was told already; only its answer about the stream is missing.
    Answered,
    /// It sent a status of the stream, or media. The client hears it from here on.
    Joined,
    /// It assigned a message stream id that the client was not given: it has to be asked step by step.
    NeedsSteps,
    /// It refused `connect` or `createStream` with this code and description.
    Rejected(String),
    /// It redirects to another place for the stream.
    Redirected {
        /// The place, as an RTMP URL.
        url: String,
        /// The URL ends in the stream's name; otherwise in the app.
        whole: bool,
    },
}

/// An origin's refusal of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct No {
    /// Its code and description.
    pub words: String,
    /// The stream has a publisher already, which may be one that has just left.
    pub is_busy: bool,
}

/// Why the bytes of an origin, or of its client, cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// A command of the client cannot be read. An origin might read it, so it must not be passed on unexamined.
    #[error("the client's command is broken: {0}")]
    Command(#[from] CommandError),
    /// The origin's handshake is invalid.
    #[error("its handshake is broken: {0}")]
    Handshake(#[from] HandshakeError),
    /// The bytes after the handshake are invalid.
    #[error("its chunks are broken: {0}")]
    Walk(#[from] WalkError),
    /// The origin sent too much without a word about the stream.
    #[error("it sent {0} bytes without a word on the stream")]
    TooMuch(usize),
}

/// Both directions of a joined client and origin: the walks, and what they watch for.
#[derive(Debug)]
pub struct Joined {
    pub(super) to_client: Walk,
    pub(super) to_origin: Walk,
    pub(super) origin_says: OriginWatch,
    pub(super) client_says: ClientWatch,
    /// What the client hears once its first origin was lost.
    pub(super) resumed: Option<Box<Resumed>>,
    /// Where the origin reads only plain chunks, what cuts the client's messages into such.
    pub(super) plain: Option<Box<PlainChunks>>,
}

#[derive(Debug)]
enum Script {
    /// Everything is sent after C2.
    Replay(Vec<u8>),
    /// Commands are sent one by one; where a command needs the previous answer, it waits for it. What followed the last
    /// command comes at the end: the replay is walked only when the origin's message stream is known.
    Steps {
        steps: Steps,
        /// What the client sent up to its request. The origin gets none of these bytes; the walk learns from them.
        set_up: Vec<u8>,
        /// What it sent after its request.
        behind: Vec<u8>,
        /// Whether the origin reads only plain chunks.
        plain: bool,
    },
}

/// How an origin is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Replay,
    Steps,
    PlainSteps,
}

/// Watches the client's messages.
#[derive(Debug)]
pub(super) struct ClientWatch {
    tc_url: Box<str>,
    /// The name of the first request.
    name: Box<str>,
    dialect: Dialect,
    /// Whether another query may name another stream.
    by_parameters: bool,
    /// Whether the origin knows the stream by another name, which a further request would not have.
    pub(super) renamed: bool,
    /// Whether the `publish` or `play` of this session has passed.
    asked: bool,
    /// Whether to drop what comes before it, because the origin is asked step by step.
    drop_replay: bool,
    /// Transaction ids that the client used after it: their answers belong to the client.
    used: Vec<f64>,
    /// The client's message stream of this session.
    stream_id: u32,
    // Boxed: hardly any client asks for a second stream.
    others: Option<Box<Others>>,
    /// The error in a command that cannot be read.
    pub(super) broken: Option<CommandError>,
    pub(super) media: bool,
    /// It has given up its stream, and may still be connected.
    left: bool,
    /// What another origin has to be told, if it is noted.
    pub(super) recipe: Option<Box<Recipe>>,
}

/// Further streams that the client asked for.
#[derive(Debug, Default)]
struct Others {
    /// In place of the session's own, on its message stream.
    instead: Option<Box<str>>,
    /// On message streams of their own, of which nothing passes.
    refused: Vec<u32>,
    /// Those that the client has yet to hear of.
    unheard: VecDeque<OtherRequest>,
}

/// A request for a further stream, on a message stream of its own. It was not passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherRequest {
    /// Its message stream.
    pub stream_id: u32,
    /// Whether it publishes.
    pub action: Action,
    /// The name asked for.
    pub name: Box<str>,
}

impl Join {
    /// Sends everything in one write. `seed` fills C1.
    ///
    /// # Errors
    /// [`JoinError::Walk`] or [`JoinError::Command`] when the client's own bytes cannot be walked.
    pub fn replaying(identified: &Identified, seed: [u8; 32]) -> Result<Self, JoinError> {
        Self::new(identified, seed, Manner::Replay)
    }

    /// Sends one command after the other. `seed` fills C1.
    ///
    /// # Errors
    /// [`JoinError::Walk`] or [`JoinError::Command`] when the client's own bytes cannot be walked.
    pub fn step_by_step(identified: &Identified, seed: [u8; 32]) -> Result<Self, JoinError> {
        Self::new(identified, seed, Manner::Steps)
    }

    /// The same for an origin that reads only the plainest chunks: it gets the client's messages, and not the client's
    /// chunks. `seed` fills C1.
    ///
    /// # Errors
    /// [`JoinError::Walk`] or [`JoinError::Command`] when the client's own bytes cannot be walked.
    pub fn in_plain_chunks(identified: &Identified, seed: [u8; 32]) -> Result<Self, JoinError> {
        Self::new(identified, seed, Manner::PlainSteps)
    }

    fn new(identified: &Identified, seed: [u8; 32], manner: Manner) -> Result<Self, JoinError> {
        let has_steps = manner != Manner::Replay;
        let mut relay = Joined::new(identified, has_steps);
        // The walk towards the origin learns the client's chunk streams from the same bytes as the origin.
        let (set_up, behind) = identified.around_request();
        let mut replay = relay.to_origin(set_up)?.to_vec();
        let chunk_size = relay.to_origin.chunk_size();
        replay.extend_from_slice(relay.to_origin(behind)?);
        let script = if has_steps {
            // This pass only finds faults of the client before the origin is told anything.
            relay = Joined::new(identified, has_steps);
            let plain = manner == Manner::PlainSteps;
            let chunk_size = if plain { PlainChunks::SIZE } else { chunk_size };
            Script::Steps {
                steps: Steps::new(identified.commands.clone(), chunk_size),
                set_up: set_up.to_vec(),
                behind: behind.to_vec(),
                plain,
            }
        } else {
            Script::Replay(replay)
        };
        let handshake = ClientHandshake::new(seed);
        Ok(Self {
            handshake: Some(handshake),
            script,
            relay,
            out: Vec::new(),
            held: Vec::new(),
        })
    }

    /// Takes the bytes for the origin; empty when it is the origin's turn.
    pub fn take_output(&mut self) -> Vec<u8> {
        if let Some(handshake) = &mut self.handshake {
            self.out.extend(handshake.poll_output().unwrap_or_default());
        }
        std::mem::take(&mut self.out)
    }

    /// Takes bytes from the origin.
    ///
    /// # Errors
    /// [`JoinError`] when they are not RTMP, or when too many arrive before the origin says anything about the stream.
    pub fn feed(&mut self, mut input: &[u8]) -> Result<(), JoinError> {
        if let Some(handshake) = &mut self.handshake {
            let consumed = handshake.feed(input)?;
            self.out.extend(handshake.poll_output().unwrap_or_default());
            if !handshake.is_done() {
                return Ok(());
            }
            self.handshake = None;
            input = input.get(consumed..).unwrap_or_default();
            self.send_next()?;
        }
        let passed = self.relay.to_client(input)?;
        self.held.extend_from_slice(passed);
        if self.held.len() > MAX_HELD && self.relay.origin_says.progress != Progress::Joined {
            return Err(JoinError::TooMuch(self.held.len()));
        }
        self.send_next()
    }

    /// How far the origin has come.
    pub const fn progress(&self) -> &Progress {
        &self.relay.origin_says.progress
    }

    /// The joined pair, and the bytes that the client gets first.
    pub fn into_joined(mut self) -> (Joined, Vec<u8>) {
        // A session lasts for hours, so it starts without the memory that set-up needed.
        self.relay.to_client.settle();
        self.relay.to_origin.settle();
        self.relay.origin_says.answered.shrink_to_fit();
        (self.relay, self.held)
    }

    fn send_next(&mut self) -> Result<(), JoinError> {
        let (steps, set_up, behind, plain) = match &mut self.script {
            Script::Replay(replay) => {
                self.out.append(replay);
                return Ok(());
            }
            Script::Steps {
                steps,
                set_up,
                behind,
                plain,
            } => (steps, set_up, behind, *plain),
        };
        let says = &mut self.relay.origin_says;
        if says.asked || !steps.write(&says.heard(), &mut self.out) {
            return Ok(());
        }
        says.asked = true;
        let (set_up, behind) = (std::mem::take(set_up), std::mem::take(behind));
        self.relay.learn(&set_up, plain)?;
        self.out.extend_from_slice(self.relay.to_origin(&behind)?);
        Ok(())
    }
}

impl Joined {
    fn new(identified: &Identified, steps: bool) -> Self {
        let client_stream = identified.request.stream_id;
        let mut answered = identified.answered.clone();
        let transaction_id = identified.request.command.transaction_id;
        if transaction_id != 0.0 {
            answered.push(Answered {
                transaction_id,
                what: What::Request,
            });
        }
        Self {
            to_client: Walk::new(),
            to_origin: Walk::new(),
            origin_says: OriginWatch {
                answered,
                progress: Progress::Asking,
                client_stream,
                origin_stream: None,
                remap: steps,
                word: None,
                asked: !steps,
                connected: false,
                created: !identified
                    .answered
                    .iter()
                    .any(|answer| answer.creates(client_stream)),
                enhanced: None,
                media: false,
            },
            client_says: ClientWatch {
                tc_url: identified.request.tc_url.as_str().into(),
                name: identified.request.name.as_str().into(),
                dialect: identified.dialect,
                by_parameters: identified.by_parameters,
                renamed: identified.renamed,
                asked: false,
                drop_replay: steps,
                used: Vec::new(),
                stream_id: client_stream,
                others: None,
                broken: None,
                media: false,
                left: false,
                recipe: identified
                    .keeps_recipe
                    .then(|| Box::new(Recipe::new(identified))),
            },
            resumed: None,
            plain: None,
        }
    }

    /// Takes what the client sent up to its request, for which the origin was asked step by step. The origin knows the chunk
    /// size and the request, and nothing else of it.
    fn learn(&mut self, set_up: &[u8], plain: bool) -> Result<(), JoinError> {
        self.to_origin(set_up)?;
        self.to_origin.begin_again();
        let ours = self.origin_says.client_stream;
        let theirs = self.origin_says.origin_stream.unwrap_or(ours);
        if theirs != ours {
            self.to_origin.remap_stream(ours, theirs);
            self.to_client.remap_stream(theirs, ours);
        }
        self.plain = plain.then(|| Box::new(PlainChunks::new(self.to_origin.chunk_size())));
        Ok(())
    }

    /// Takes bytes from the origin and returns what to send to the client.
    ///
    /// # Errors
    /// [`WalkError`] when the origin's chunks cannot be walked.
    pub fn to_client<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], WalkError> {
        if !self.client_says.used.is_empty() {
            let used = std::mem::take(&mut self.client_says.used);
            self.origin_says
                .answered
                .retain(|answer| !used.contains(&answer.transaction_id));
        }
        let mut watched = Watched {
            says: &mut self.origin_says,
            tc_url: &self.client_says.tc_url,
        };
        let passed = match self.to_client.feed(input, &mut watched)? {
            Step::Changed(bytes) => bytes,
            Step::Unchanged => input,
        };
        // What a later origin says is written anew, in the chunks that this client reads.
        Ok(match &mut self.resumed {
            Some(resumed) => resumed.hear(passed)?,
            None => passed,
        })
    }

    /// Takes bytes from the client and returns what to send to the origin.
    ///
    /// # Errors
    /// [`JoinError::Walk`] when the client's chunks cannot be walked, [`JoinError::Command`] when a command cannot be
    /// read.
    pub fn to_origin<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], JoinError> {
        if let Some(resumed) = &mut self.resumed {
            resumed.count(input.len());
        }
        if self.is_moving() {
            return self.pass_to_both(input);
        }
        let step = self.to_origin.feed(input, &mut self.client_says)?;
        if let Some(error) = self.client_says.broken.take() {
            return Err(error.into());
        }
        if self.resumed.is_some() && self.client_says.is_away() {
            return Ok(&[]);
        }
        let bytes = match step {
            Step::Changed(bytes) => bytes,
            Step::Unchanged => input,
        };
        match &mut self.plain {
            None => Ok(bytes),
            Some(plain) => Ok(plain.cut(bytes).map_err(WalkError::from)?),
        }
    }

    /// What another origin has to be told, if that was [noted](Identified::keeps_recipe).
    pub fn recipe(&self) -> Option<&Recipe> {
        self.client_says.recipe.as_deref()
    }

    /// The origin is lost, and the client stays: until [`resume`](Self::resume), what it sends goes nowhere. `received` is
    /// the number of bytes it has sent after its handshake. Returns what the client is to get after all that went out for
    /// it: the rest of a chunk that the origin left unfinished.
    pub fn lose_origin(&mut self, received: u64) -> Vec<u8> {
        self.to_origin.begin_again();
        self.plain = None;
        self.client_says.media = false;
        if let Some(recipe) = &mut self.client_says.recipe {
            recipe.lose();
        }
        if let Some(resumed) = &mut self.resumed {
            resumed.lose();
            return Vec::new();
        }
        let (chunk_size, unused) = (self.to_client.chunk_size(), self.to_client.unused());
        self.resumed = Some(Box::new(Resumed::new(chunk_size, unused, received)));
        vec![0; self.to_client.owed()]
    }

    /// Another origin has taken the stream, and was told what [`Recipe::identified`] says. `said`: what it said meanwhile, as
    /// [`Join::into_joined`] has it. Returns what it gets first.
    ///
    /// # Errors
    /// [`WalkError`] when what it said cannot be read.
    pub fn resume(&mut self, mut origin: Self, said: &[u8]) -> Result<Vec<u8>, WalkError> {
        self.to_origin.begin_again();
        self.to_origin.take_ids(&mut origin.to_origin);
        self.to_client = origin.to_client;
        self.origin_says = origin.origin_says;
        self.client_says.renamed = origin.client_says.renamed;
        if let Some(recipe) = &mut self.client_says.recipe {
            recipe.resume();
        }
        if let Some(resumed) = &mut self.resumed {
            resumed.follow(ChunkReader::new(MAX_PARTIAL));
            resumed.hear_first(said)?;
        }
        if origin.plain.is_some() {
            let chunk_size = self.to_origin.chunk_size();
            self.plain = Some(Box::new(PlainChunks::new(chunk_size)));
            return Ok(Vec::new());
        }
        Ok(own_chunk_size(&self.to_origin))
    }

    /// Takes what the client is to get on our own account: acknowledgements, once its first origin was lost. It may be
    /// sent after all that [`to_client`](Self::to_client) returned.
    pub fn take_words(&mut self) -> Option<Vec<u8>> {
        self.resumed.as_mut()?.take_words()
    }

    /// A reader for what the origin sends next, if it is between two messages; see [`Walk::reader`].
    pub fn reader_of_origin(&self, max_partial: usize) -> Option<ChunkReader> {
        self.to_client.reader(max_partial)
    }

    /// A reader for what the client sends next, if it is between two messages; see [`Walk::reader`].
    pub fn reader_of_client(&self, max_partial: usize) -> Option<ChunkReader> {
        self.to_origin.reader(max_partial)
    }

    /// Whether audio or video has come from the origin.
    pub const fn origin_sent_media(&self) -> bool {
        self.origin_says.media
    }

    /// Whether audio or video has come from the client.
    pub const fn client_sent_media(&self) -> bool {
        self.client_says.media
    }

    /// Whether the client has given up its stream: it closes in a moment, and no other origin is to have the stream.
    pub const fn client_has_left(&self) -> bool {
        self.client_says.left
    }

    /// Takes the origin's refusal, if its first word about the stream was one. The client still has to get it: it is
    /// among the bytes that come first.
    pub fn take_refusal(&mut self) -> Option<No> {
        let is_no = |word: &mut Box<Word>| matches!(**word, Word::No(_));
        match *self.origin_says.word.take_if(is_no)? {
            Word::No(no) => Some(no),
            Word::Elsewhere(_) | Word::Error(_) => None,
        }
    }

    /// Notes when the origin reported an error, if it did so just now.
    pub fn date_error(&mut self, now: impl FnOnce() -> Instant) {
        if let Some(Word::Error(error)) = self.origin_says.word.as_deref_mut() {
            error.date(now);
        }
    }

    /// Takes the error that the origin reported last of a stream that it had taken. The client heard it. It may be about less
    /// than the stream, such as its recording.
    pub fn take_error(&mut self) -> Option<LastError> {
        let is_error = |word: &mut Box<Word>| matches!(**word, Word::Error(_));
        match *self.origin_says.word.take_if(is_error)? {
            Word::Error(error) => Some(error),
            Word::Elsewhere(_) | Word::No(_) => None,
        }
    }

    /// Takes the place that the origin asked its client to connect to instead, as `host:port`. The client did not hear of it.
    pub fn take_withheld(&mut self) -> Option<Box<str>> {
        let is_place = |word: &mut Box<Word>| matches!(**word, Word::Elsewhere(_));
        match *self.origin_says.word.take_if(is_place)? {
            Word::Elsewhere(place) => Some(place),
            Word::Error(_) | Word::No(_) => None,
        }
    }

    /// The name of another stream that the client asked for in place of this one. That request was not passed on.
    pub fn second_request(&self) -> Option<&str> {
        self.client_says.others.as_ref()?.instead.as_deref()
    }

    /// The next request for a stream beside this one that the client has yet to be refused.
    pub fn other_request(&self) -> Option<&OtherRequest> {
        self.client_says.others.as_ref()?.unheard.front()
    }

    /// The client has been told of the [next](Self::other_request).
    pub fn other_refused(&mut self) {
        if let Some(others) = &mut self.client_says.others {
            others.unheard.pop_front();
        }
    }

    /// Takes what the origin's answer to `connect` said about enhanced RTMP.
    pub fn take_enhanced(&mut self) -> Option<EnhancedRtmp> {
        self.origin_says.enhanced.take().map(|enhanced| *enhanced)
    }

    /// The chunks of a message of ours for the client, if the client is now between two of the origin's chunks.
    pub fn message_to_client(&mut self, message: &Message) -> Option<Vec<u8>> {
        if let Some(resumed) = &mut self.resumed {
            resumed.say(message);
            return resumed.take_words();
        }
        self.to_client
            .at_boundary()
            .then(|| self.to_client.insert(message))
    }
}

impl ClientWatch {
    pub(super) fn is_away(&self) -> bool {
        self.recipe.as_ref().is_some_and(|recipe| recipe.is_away())
    }

    /// A message of media or data begins.
    fn body_begins(&mut self, header: &MessageHeader) -> Verdict {
        let verdict = self
            .recipe
            .as_mut()
            .map_or(Verdict::Pass, |recipe| recipe.begin(header));
        let is_media = matches!(header.kind, kind::AUDIO | kind::VIDEO | kind::AGGREGATE);
        self.media |= is_media && matches!(verdict, Verdict::Pass | Verdict::Show);
        verdict
    }

    fn names_the_same(&self, name: &str) -> bool {
        if self.by_parameters && name != &*self.name {
            return false;
        }
        let tc_url = &*self.tc_url;
        let stream = |name| self.dialect.rtmp(&RtmpAsked { tc_url, name }).ok();
        let asked = stream(name);
        !self.renamed && asked.is_some() && asked == stream(&self.name)
    }

    /// Takes a request for another stream. The session ends where it is asked for in place of the session's own, and where
    /// a client asks on and on; on a message stream of its own, it is only refused.
    fn ask_for_another(&mut self, stream_id: u32, command: &Command) {
        let name = command.stream_name().unwrap_or_default();
        let others = self.others.get_or_insert_default();
        let known = others.refused.contains(&stream_id);
        let is_beside = stream_id != self.stream_id
            && (known || others.refused.len() < MAX_OTHERS)
            && others.unheard.len() < MAX_OTHERS;
        if !is_beside {
            others.instead = Some(name.into());
            return;
        }
        if !known {
            others.refused.push(stream_id);
        }
        others.unheard.push_back(OtherRequest {
            stream_id,
            action: match command.name.as_str() {
                "publish" => Action::Publish,
                _ => Action::Play,
            },
            name: name.into(),
        });
    }

    /// Whether a command that ends a stream ends one that was refused.
    fn is_of_another(&self, header: &MessageHeader, command: &Command) -> bool {
        let named = command.arguments.first().and_then(Value::as_number);
        let others = self.others.iter().flat_map(|others| &others.refused);
        let mut others = others.copied();
        others.any(|id| id == header.stream_id || named == Some(f64::from(id)))
    }

    /// The message streams of which nothing passes.
    pub(super) fn refused_streams(&self) -> Vec<u32> {
        let others = self.others.as_ref();
        others.map_or_else(Vec::new, |others| others.refused.clone())
    }

    /// Whether a message stream was refused, so that nothing of it may reach the origin: some servers take it for the
    /// first one's.
    fn is_refused(&self, stream_id: u32) -> bool {
        let others = self.others.as_ref();
        others.is_some_and(|others| others.refused.contains(&stream_id))
    }
}

impl Watch for ClientWatch {
    fn message(&mut self, header: &MessageHeader, body: Option<&[u8]>) -> Verdict {
        let refused = self.is_refused(header.stream_id);
        let replayed = if refused || self.drop_replay && !self.asked || self.is_away() {
            Verdict::Drop
        } else {
            Verdict::Pass
        };
        if is_body(header.kind) {
            if refused {
                return Verdict::Drop;
            }
            let verdict = self.body_begins(header);
            return if replayed == Verdict::Drop && verdict != Verdict::Await {
                Verdict::Drop
            } else {
                verdict
            };
        }
        let command = match command(header, body) {
            Some(Ok(command)) => command,
            Some(Err(error)) => {
                self.broken = Some(error);
                return Verdict::Drop;
            }
            None => return replayed,
        };
        if self.asked && command.transaction_id != 0.0 && self.used.len() < MAX_USED {
            self.used.push(command.transaction_id);
        }
        match command.name.as_str() {
            _ if command.ends_stream() => {
                self.left |= self.asked && !self.is_of_another(header, &command);
                return replayed;
            }
            "publish" | "play" | "play2" => {}
            _ => return replayed,
        }
        if !self.asked {
            self.asked = true;
            return replayed;
        }
        let name = command.stream_name().unwrap_or_default();
        if self.names_the_same(name) {
            self.left = false;
            if let Some(others) = &mut self.others {
                others.refused.retain(|id| *id != header.stream_id);
            }
            return Verdict::Pass;
        }
        self.ask_for_another(header.stream_id, &command);
        Verdict::Drop
    }

    fn look(&mut self, header: &MessageHeader, piece: Piece<'_>) -> Look {
        let Some(recipe) = &mut self.recipe else {
            return Look::Enough;
        };
        let look = recipe.look(header, piece);
        self.media |= matches!(look, Look::Send { .. });
        look
    }
}

/// Whether a message of this type is media, or data that goes with it.
const fn is_body(of_kind: u8) -> bool {
    matches!(
        of_kind,
        kind::AGGREGATE | kind::AUDIO | kind::DATA_AMF0 | kind::DATA_AMF3 | kind::VIDEO
    )
}

/// Maximum bytes held during set-up: answers are a few hundred bytes, and metadata and first frames come after the
/// status.
const MAX_HELD: usize = 64 * 1024;
/// Message streams that a client may ask for further streams on, before the session ends.
const MAX_OTHERS: usize = 8;
/// Maximum transaction ids remembered between two reads from the origin. If one is forgotten, its answer is merely not
/// dropped.
const MAX_USED: usize = 32;
