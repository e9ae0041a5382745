//! A walk sends on the same bytes however they are split, and the receiver reads what the sender meant. If nothing is
//! dropped and nothing was left to guess, not a byte changes.

use sluicegate_core::rtmp::chunk::{ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::header::{DEFAULT_CHUNK_SIZE, MAX_CHUNK_STREAMS, MessageHeader};
use sluicegate_core::rtmp::message::Message;
use sluicegate_core::rtmp::walk::{Step, Verdict, Walk, WalkError, Watch};

/// The first byte is the size of the pieces, the second says what is dropped; the rest is what a peer sends.
pub fn law(data: &[u8]) {
    let [size, salt, wire @ ..] = data else {
        return;
    };
    let size = usize::from(*size).max(1);
    for mut watch in [Dropper { salt: 0 }, Dropper { salt: *salt }] {
        let (whole, _, _) = walk(&[wire], &mut watch);
        let (pieces, _, end) = walk(&wire.chunks(size).collect::<Vec<_>>(), &mut watch);
        // After an error in the only piece there is no output.
        assert!(end.is_some() || pieces == whole, "in pieces of {size}");
        if watch.salt == 0 {
            assert!(
                read(wire).starts_with(&read(&pieces)),
                "the receiver reads what was sent"
            );
        }
    }

    let introduced = [introductions().as_slice(), wire].concat();
    let (output, boundary, end) = walk(
        &introduced.chunks(size).collect::<Vec<_>>(),
        &mut Dropper { salt: 0 },
    );
    assert!(introduced.starts_with(&output), "unchanged");
    if end.is_none() && boundary {
        let kept = introduced.len().saturating_sub(output.len());
        assert!(
            kept < LONGEST_HEADER,
            "{kept} bytes were kept between two messages"
        );
    }
}

struct Dropper {
    /// 0: nothing is dropped.
    salt: u8,
}

impl Watch for Dropper {
    fn message(&mut self, header: &MessageHeader, _body: Option<&[u8]>) -> Verdict {
        let mixed = header.chunk_stream
            ^ header.timestamp
            ^ header.length.rotate_left(8)
            ^ u32::from(self.salt);
        if self.salt != 0 && mixed.is_multiple_of(3) {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    }
}

/// What is sent on, whether that ends at a boundary, and how the walk ended.
fn walk(pieces: &[&[u8]], watch: &mut Dropper) -> (Vec<u8>, bool, Option<WalkError>) {
    let mut walk = Walk::new();
    let mut output = Vec::new();
    for piece in pieces {
        match walk.feed(piece, watch) {
            Ok(Step::Unchanged) => output.extend_from_slice(piece),
            Ok(Step::Changed(bytes)) => output.extend_from_slice(bytes),
            Err(error) => return (output, false, Some(error)),
        }
    }
    (output, walk.at_boundary(), None)
}

/// An empty message on each of as many chunk streams as allowed. After these, no chunk stream can begin with a header
/// that leaves something out, which is the one thing that a walk completes even where nothing is dropped.
fn introductions() -> Vec<u8> {
    let nothing = Message {
        timestamp: 0,
        kind: 0,
        stream_id: 0,
        payload: Vec::new(),
    };
    let mut wire = Vec::new();
    for chunk_stream in (2..).take(MAX_CHUNK_STREAMS) {
        ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(chunk_stream, &nothing, &mut wire);
    }
    wire
}

fn read(mut wire: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(usize::MAX);
    let mut messages = Vec::new();
    while let Ok(Some(message)) = reader.read(&mut wire) {
        messages.push(message);
    }
    messages
}

const LONGEST_HEADER: usize = 18;
