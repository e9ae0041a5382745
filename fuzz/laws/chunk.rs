//! Chunks are read in the same way however they are split, and what was read can be written and read again.

use sluicegate_core::rtmp::chunk::{ChunkError, ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::header::DEFAULT_CHUNK_SIZE;
use sluicegate_core::rtmp::message::Message;

/// The first byte is the size of the pieces; the rest is what a peer sends.
pub fn law(data: &[u8]) {
    let Some((size, wire)) = data.split_first() else {
        return;
    };
    let (messages, end) = read(&[wire]);
    let pieces: Vec<&[u8]> = wire.chunks(usize::from(*size).max(1)).collect();
    assert_eq!(
        read(&pieces),
        (messages.clone(), end),
        "in pieces of {size}"
    );

    let mut writer = ChunkWriter::new(DEFAULT_CHUNK_SIZE);
    let mut written = Vec::new();
    for message in &messages {
        writer.write(3, message, &mut written);
        if message.kind == 1 {
            let size = message.payload.first_chunk().expect("it was obeyed");
            writer.set_chunk_size(u32::from_be_bytes(*size));
        }
    }
    assert_eq!(
        read(&[&written]),
        (messages, None),
        "written and read again"
    );
}

fn read(pieces: &[&[u8]]) -> (Vec<Message>, Option<ChunkError>) {
    let mut reader = ChunkReader::new(LIMIT);
    let mut messages = Vec::new();
    for mut piece in pieces.iter().copied() {
        loop {
            match reader.read(&mut piece) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

const LIMIT: usize = 1 << 20;
