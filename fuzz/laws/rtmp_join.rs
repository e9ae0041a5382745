//! However an origin's bytes are split, a client that is joined with it by a replay gets the same, and so does the
//! origin. What the client reads is what the origin sent, in that order, at most without the answers that the client
//! already has. Nothing that an origin sends does harm, also in a session that goes on.

use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::chunk::{ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::header::DEFAULT_CHUNK_SIZE;
use sluicegate_core::rtmp::join::{Join, Progress};
use sluicegate_core::rtmp::message::{Command, Message};
use sluicegate_core::rtmp::server::{Identified, Server};

/// The first byte is the size of the pieces; the rest is what an origin sends after the handshake.
pub fn law(data: &[u8]) {
    let Some((size, wire)) = data.split_first() else {
        return;
    };
    // Less than what is held for a client in any case.
    let wire = wire.get(..MAX_WIRE).unwrap_or(wire);
    let pieces: Vec<&[u8]> = wire.chunks(usize::from(*size).max(1)).collect();
    let identified = identified();
    let whole = ask(&identified, &[wire], false);
    let parts = ask(&identified, &pieces, false);
    if let (Some(whole), Some(parts)) = (whole, parts) {
        assert_eq!(whole, parts, "in pieces of {size}");
        let said = read(wire);
        let heard = read(&whole.held);
        let mut rest = said.iter();
        let in_order = heard
            .iter()
            .all(|message| rest.any(|other| other == message));
        assert!(in_order, "{heard:?} out of {said:?}");
    }
    ask(&identified, &pieces, true);
    relay(&identified, &pieces);
}

#[derive(Debug, PartialEq)]
struct Asked {
    progress: Progress,
    out: Vec<u8>,
    held: Vec<u8>,
}

/// The result of asking; `None` after an error.
fn ask(identified: &Identified, pieces: &[&[u8]], steps: bool) -> Option<Asked> {
    let mut join = join(identified, steps);
    let mut out = join.take_output();
    for piece in pieces {
        join.feed(piece).ok()?;
        out.extend(join.take_output());
    }
    let progress = join.progress().clone();
    let (_, held) = join.into_joined();
    Some(Asked {
        progress,
        out,
        held,
    })
}

/// The same bytes from both sides of a session.
fn relay(identified: &Identified, pieces: &[&[u8]]) {
    let (mut joined, _) = join(identified, false).into_joined();
    for piece in pieces {
        if joined.to_client(piece).is_err() || joined.to_origin(piece).is_err() {
            return;
        }
    }
}

fn join(identified: &Identified, steps: bool) -> Join {
    let join = if steps {
        Join::step_by_step(identified, SEED)
    } else {
        Join::replaying(identified, SEED)
    };
    let mut join = join.expect("the client is sound");
    assert!(join.feed(&handshake()).is_ok());
    join
}

/// An encoder as it is known when it wants to publish.
fn identified() -> Identified {
    let mut connect = Command::call("connect", 1.0, Vec::new());
    connect.object = Value::Object(vec![("tcUrl".to_owned(), "rtmp://h/live".into())]);
    let mut wire = handshake();
    for (stream_id, command) in [
        (0, connect),
        (0, Command::call("releaseStream", 2.0, vec!["a".into()])),
        (0, Command::call("createStream", 3.0, Vec::new())),
        (1, Command::call("publish", 4.0, vec!["a".into()])),
    ] {
        let message = Message::command(stream_id, &command);
        ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(3, &message, &mut wire);
    }
    let mut server = Server::identifying(SEED, None);
    assert_eq!(server.feed(&wire), Ok(()));
    server.into_identified().expect("it asked")
}

fn read(mut wire: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(usize::MAX);
    let mut messages = Vec::new();
    while let Ok(Some(message)) = reader.read(&mut wire) {
        messages.push(message);
    }
    messages
}

fn handshake() -> Vec<u8> {
    let mut bytes = vec![0; 1 + 2 * 1536];
    bytes[0] = 3;
    bytes
}

const MAX_WIRE: usize = 32 * 1024;
const SEED: [u8; 32] = [5; 32];
