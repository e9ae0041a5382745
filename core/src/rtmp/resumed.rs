//! What a client hears after the origin it was joined with was lost. It goes on reading in chunks as that origin wrote
//! them, so what it hears of a later origin is written for it, message by message.

use super::chunk::{ChunkError, ChunkReader, ChunkWriter};
use super::message::{Command, Message, kind, user_control};

/// Our end of a client's connection whose origin changed.
#[derive(Debug)]
pub(super) struct Resumed {
    writer: ChunkWriter,
    /// A chunk stream that the lost origin never used.
    chunk_stream: u32,
    /// Reads what the newest origin says, while there is one.
    reader: Option<ChunkReader>,
    /// What the client is to get of a read from the origin.
    output: Vec<u8>,
    /// What the client is to get on our own account.
    words: Vec<u8>,
    /// Bytes that the client sent after its handshake, and how many of them it was last told of.
    received: u64,
    acknowledged: u64,
}

impl Resumed {
    /// A client that reads chunks of this size. It has sent `received` bytes.
    pub(super) const fn new(chunk_size: u32, chunk_stream: u32, received: u64) -> Self {
        Self {
            writer: ChunkWriter::new(chunk_size),
            chunk_stream,
            reader: None,
            output: Vec::new(),
            words: Vec::new(),
            received,
            acknowledged: received,
        }
    }

    /// The origin is lost.
    pub(super) fn lose(&mut self) {
        self.reader = None;
    }

    /// The newest origin goes on from where this reader stands.
    pub(super) fn follow(&mut self, reader: ChunkReader) {
        self.reader = Some(reader);
    }

    /// Takes what passed of the bytes of the origin, and returns what to send to the client: its pings, which the client
    /// answers, and its commands. How it cuts its chunks, what it acknowledges and how it answers a set-up that the client
    /// has completed is not for the client.
    pub(super) fn hear(&mut self, mut input: &[u8]) -> Result<&[u8], ChunkError> {
        self.output.clear();
        let Some(reader) = &mut self.reader else {
            return Ok(&self.output);
        };
        while let Some(message) = reader.read(&mut input)? {
            if is_for_client(&message) {
                self.writer
                    .write(self.chunk_stream, &message, &mut self.output);
            }
        }
        Ok(&self.output)
    }

    /// Takes what the newest origin said before the client was told of it: the client hears it as it hears what is ours.
    pub(super) fn hear_first(&mut self, said: &[u8]) -> Result<(), ChunkError> {
        self.hear(said)?;
        self.words.append(&mut self.output);
        Ok(())
    }

    /// Counts what the client sent. It is acknowledged by us: a later origin has not seen all of it.
    pub(super) fn count(&mut self, bytes: usize) {
        self.received += bytes as u64;
        if self.received - self.acknowledged < ACKNOWLEDGE_EVERY {
            return;
        }
        self.acknowledged = self.received;
        if self.words.len() >= MAX_WORDS {
            return;
        }
        // The number wraps (RTMP 1.0 §5.4.3).
        let message = Message::acknowledgement((self.received & u64::from(u32::MAX)) as u32);
        self.say(&message);
    }

    /// Writes a message of ours to the client.
    pub(super) fn say(&mut self, message: &Message) {
        self.writer
            .write(self.chunk_stream, message, &mut self.words);
    }

    /// Takes what the client is to get on our own account.
    pub(super) fn take_words(&mut self) -> Option<Vec<u8>> {
        (!self.words.is_empty()).then(|| std::mem::take(&mut self.words))
    }
}

fn is_for_client(message: &Message) -> bool {
    if !message.is_command() {
        return is_ping(message);
    }
    // One that cannot be read is left to the client, as it is with its first origin.
    let command = Command::decode(message.kind, &message.payload);
    !command.is_ok_and(|command| belongs_to_set_up(&command))
}

/// Whether an origin says it to grant the stream, which the client has had for long.
fn belongs_to_set_up(command: &Command) -> bool {
    match command.name.as_str() {
        "onBWDone" | "onFCPublish" => true,
        "onStatus" => command
            .status()
            .is_some_and(|status| status.code == "NetStream.Publish.Start"),
        _ => false,
    }
}

fn is_ping(message: &Message) -> bool {
    let event = message.payload.first_chunk();
    message.kind == kind::USER_CONTROL
        && event.is_some_and(|event| u16::from_be_bytes(*event) == user_control::PING_REQUEST)
}

/// Less than the window of any server known: SRS and Adobe's ask for one acknowledgement in 2,500,000 bytes, and more
/// of them than asked for are allowed.
const ACKNOWLEDGE_EVERY: u64 = 250_000;
/// Maximum bytes of ours that wait for a client that does not read.
const MAX_WORDS: usize = 1024;
/// Maximum bytes of unfinished messages of an origin: to a publisher it says a few hundred.
pub(super) const MAX_PARTIAL: usize = 64 * 1024;
