//! However a client's bytes are split, a server sees the same events, sends the same and fails in the same way. What it
//! sends can be read, and what it keeps for a replay is what the client sent.

use sluicegate_core::rtmp::chunk::ChunkReader;
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::rtmp::server::{Identified, Server, ServerError, ServerEvent};

/// The first byte is the size of the pieces; the rest is what a client sends after the handshake.
pub fn law(data: &[u8]) {
    let Some((size, wire)) = data.split_first() else {
        return;
    };
    let pieces: Vec<&[u8]> = wire.chunks(usize::from(*size).max(1)).collect();
    assert_eq!(serve(&pieces), serve(&[wire]), "in pieces of {size}");

    let (whole, parts) = (identify(&[wire]), identify(&pieces));
    assert_eq!(parts.said, whole.said, "in pieces of {size}");
    match (parts.identified, whole.identified) {
        (Ok(parts), Ok(whole)) => {
            assert_eq!(whole.replay, wire);
            assert!(wire.starts_with(&parts.replay));
            let (replay, after_request) = (whole.replay.clone(), whole.after_request);
            let parts = Identified {
                replay,
                after_request,
                ..parts
            };
            assert_eq!(parts, whole, "in pieces of {size}");
        }
        (parts, whole) => assert_eq!(parts, whole, "in pieces of {size}"),
    }
}

/// What an origin sees and sends. It accepts names of even length.
fn serve(pieces: &[&[u8]]) -> (Vec<ServerEvent>, Vec<Message>, Result<(), ServerError>) {
    let mut server = shaken(Server::serving(SEED, None));
    let mut events = Vec::new();
    let mut said = Vec::new();
    let mut end = Ok(());
    for piece in pieces {
        end = server.feed(piece);
        while let Some(event) = server.poll_event() {
            if let ServerEvent::Request(request) = &event {
                let answered = if request.name.len() % 2 == 0 {
                    server.accept(request.stream_id)
                } else {
                    server.refuse(request.stream_id, "NetStream.Failed", "odd")
                };
                end = end.and(answered);
            }
            events.push(event);
        }
        said.extend(server.poll_output().unwrap_or_default());
        if end.is_err() {
            break;
        }
    }
    (events, read(&said), end)
}

struct Identity {
    said: Vec<Message>,
    identified: Result<Identified, Option<ServerError>>,
}

/// What a proxy learns.
fn identify(pieces: &[&[u8]]) -> Identity {
    let mut server = shaken(Server::identifying(SEED, None));
    let mut said = Vec::new();
    let mut error = None;
    let mut asked = false;
    for piece in pieces {
        error = server.feed(piece).err();
        said.extend(server.poll_output().unwrap_or_default());
        asked = server.poll_event().is_some();
        if asked || error.is_some() {
            break;
        }
    }
    let identified = server.into_identified();
    assert_eq!(identified.is_some(), asked);
    Identity {
        said: read(&said),
        identified: identified.ok_or(error),
    }
}

fn shaken(mut server: Server) -> Server {
    let mut handshake = vec![0; 1 + 2 * 1536];
    handshake[0] = 3;
    assert_eq!(server.feed(&handshake), Ok(()));
    assert_eq!(
        server.poll_output().map(|bytes| bytes.len()),
        Some(1 + 2 * 1536)
    );
    server
}

/// Everything but acknowledgements, which depend on how much was received at once.
fn read(mut bytes: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(1 << 20);
    let mut messages = Vec::new();
    while let Some(message) = reader
        .read(&mut bytes)
        .expect("a server writes what can be read")
    {
        if message.kind != kind::ACKNOWLEDGEMENT {
            messages.push(message);
        }
    }
    messages
}

const SEED: [u8; 32] = [5; 32];
