//! However an origin's bytes are split, a client sees the same events, sends the same and fails in the same way; and
//! what it sends can be read.

use sluicegate_core::rtmp::chunk::ChunkReader;
use sluicegate_core::rtmp::client::{Client, ClientError, ClientEvent};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;

/// The first byte is the size of the pieces and whether the client publishes; the rest is what an origin sends after
/// the handshake.
pub fn law(data: &[u8]) {
    let Some((choice, wire)) = data.split_first() else {
        return;
    };
    let action = if choice & 1 == 1 {
        Action::Publish
    } else {
        Action::Play
    };
    let pieces: Vec<&[u8]> = wire.chunks(usize::from(*choice).max(1)).collect();
    assert_eq!(
        connect(action, &pieces),
        connect(action, &[wire]),
        "in pieces of {choice}"
    );
}

fn connect(
    action: Action,
    pieces: &[&[u8]],
) -> (Vec<ClientEvent>, Vec<Message>, Result<(), ClientError>) {
    let mut client = Client::new([5; 32], action, "rtmp://h/live", "a", Vec::new());
    let mut handshake = vec![0; 1 + 2 * 1536];
    handshake[0] = 3;
    assert_eq!(client.feed(&handshake), Ok(()));
    let mut events = Vec::new();
    let mut end = Ok(());
    for piece in pieces {
        end = client.feed(piece);
        events.extend(std::iter::from_fn(|| client.poll_event()));
        if end.is_err() {
            break;
        }
    }
    let said = client.poll_output().unwrap_or_default();
    let (_, chunks) = said
        .split_at_checked(1 + 2 * 1536)
        .expect("C0, C1 and C2 come first");
    (events, read(chunks), end)
}

/// Everything but acknowledgements, which depend on how much was received at once.
fn read(mut bytes: &[u8]) -> Vec<Message> {
    let mut reader = ChunkReader::new(1 << 20);
    let mut messages = Vec::new();
    while let Some(message) = reader
        .read(&mut bytes)
        .expect("a client writes what can be read")
    {
        if message.kind != kind::ACKNOWLEDGEMENT {
            messages.push(message);
        }
    }
    messages
}
