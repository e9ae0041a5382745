//! The commands of a client that an origin gets one by one, each when it has what the one before was to bring.

use super::chunk::ChunkWriter;
use super::header::DEFAULT_CHUNK_SIZE;
use super::message::{Command, Message, chunk_stream};

/// The commands that are still to be sent.
#[derive(Debug)]
pub(super) struct Steps {
    waiting: std::vec::IntoIter<(u32, Command)>,
    /// Maximum bytes of a chunk once the connection stands. It is announced with `connect` and counts for all that
    /// follows: some origins look for the announcement among the commands, and no longer once media may come.
    chunk_size: u32,
}

/// What an origin has answered so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard {
    /// `connect` is answered.
    pub(super) connected: bool,
    /// The message stream of the request is there, or was never asked for.
    pub(super) created: bool,
    /// The message stream of the request, as the client was told.
    pub(super) client_stream: u32,
    /// The same as the origin assigned it.
    pub(super) origin_stream: Option<u32>,
}

impl Steps {
    /// All of `commands`; the last one is the request.
    pub(super) fn new(commands: Vec<(u32, Command)>, chunk_size: u32) -> Self {
        Self {
            waiting: commands.into_iter(),
            chunk_size,
        }
    }

    /// Writes the commands whose turn it is. Returns whether the request has been written.
    pub(super) fn write(&mut self, heard: &Heard, out: &mut Vec<u8>) -> bool {
        while let Some((stream_id, command)) = self.waiting.as_slice().first() {
            let stream_id = *stream_id;
            if !self.is_ready(stream_id, command, heard) {
                return false;
            }
            let named = match heard.origin_stream {
                Some(theirs) if stream_id == heard.client_stream => theirs,
                _ => stream_id,
            };
            let message = Message::command(named, command);
            if command.name == "connect" {
                ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(chunk_stream::COMMAND, &message, out);
                announce(self.chunk_size, out);
            } else {
                ChunkWriter::new(self.chunk_size).write(chunk_stream::COMMAND, &message, out);
            }
            self.waiting.next();
        }
        true
    }

    fn is_ready(&self, stream_id: u32, command: &Command, heard: &Heard) -> bool {
        if command.name == "connect" {
            return true;
        }
        let waiting = self.waiting.as_slice();
        let of_stream = waiting.len() == 1 || stream_id == heard.client_stream;
        let creates = waiting
            .iter()
            .any(|(_, command)| command.name == "createStream");
        heard.connected && (heard.created || creates || !of_stream)
    }
}

/// Tells a receiver that knows the default only how long the chunks are that follow.
pub(super) fn announce(chunk_size: u32, out: &mut Vec<u8>) {
    if chunk_size != DEFAULT_CHUNK_SIZE {
        let message = Message::set_chunk_size(chunk_size);
        ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(chunk_stream::CONTROL, &message, out);
    }
}
