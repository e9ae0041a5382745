//! What an origin gets that reads only the plainest chunks: one chunk size, announced among the commands and never again,
//! no message between the chunks of another, and chunk stream ids of one byte. go2rtc is one. Other clients' bytes pass as
//! they came; those of a publisher to such an origin are written again, message by message.

use super::chunk::{ChunkError, ChunkReader, ChunkWriter};
use super::header::ChunkStreams;
use super::message::{Message, kind};

/// The messages of a publisher in chunks of [`SIZE`](Self::SIZE) bytes.
#[derive(Debug)]
pub(super) struct PlainChunks {
    reader: ChunkReader,
    writer: ChunkWriter,
    output: Vec<u8>,
}

impl PlainChunks {
    /// Maximum bytes of a chunk: nearly every message is one.
    pub(super) const SIZE: u32 = 64 * 1024;

    /// A client that is between two messages, writes chunks of this size, and begins each chunk stream again.
    pub(super) fn new(chunk_size: u32) -> Self {
        Self {
            reader: ChunkReader::resuming(ChunkStreams::new(), chunk_size, MAX_PARTIAL),
            writer: ChunkWriter::new(Self::SIZE),
            output: Vec::new(),
        }
    }

    /// Takes bytes of the client and returns the messages that end in them. How the client cuts its own chunks is not for
    /// the origin.
    pub(super) fn cut(&mut self, mut input: &[u8]) -> Result<&[u8], ChunkError> {
        self.output.clear();
        while let Some(message) = self.reader.read(&mut input)? {
            if !matches!(message.kind, kind::ABORT | kind::SET_CHUNK_SIZE) {
                self.write(&message);
            }
        }
        Ok(&self.output)
    }

    fn write(&mut self, message: &Message) {
        let chunk_stream = message.chunk_stream();
        self.writer.write(chunk_stream, message, &mut self.output);
    }
}

/// Maximum bytes of a publisher's unfinished messages: the longest that a message can be (RTMP 1.0 §5.3.1.2.1).
const MAX_PARTIAL: usize = 16 * 1024 * 1024;
