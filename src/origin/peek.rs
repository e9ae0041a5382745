//! What a stream's decoders need to know, asked of its origin: configurations are sent once, when a player comes, so
//! who looks at a session from its middle on has missed them.

use std::time::Duration;

use sluicegate_core::fleet::origin::Target;
use sluicegate_core::media::part::{MAX_TRACKS, Part};
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::Message;
use sluicegate_core::stream::{Action, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::origin::connect::Connector;

/// The metadata and decoder configurations of a stream, as the origin sends them to a player by RTMP; none of those
/// that do not come in time.
pub async fn decoder_headers(
    connector: &Connector,
    target: &Target,
    stream: &StreamUrl,
) -> Vec<Message> {
    let mut headers = Vec::new();
    let _ = timeout(TIME_LIMIT, play(connector, target, stream, &mut headers)).await;
    headers
}

/// Plays until a frame comes: everything before it is what was looked for.
async fn play(
    connector: &Connector,
    target: &Target,
    stream: &StreamUrl,
    headers: &mut Vec<Message>,
) -> Option<()> {
    let mut origin = connector.connect(target, TIME_LIMIT).await.ok()?;
    let full = stream.to_string();
    let (place, name) = full.rsplit_once('/')?;
    let mut client = Client::new(
        [SEED; 32],
        Action::Play,
        &format!("rtmp://{place}"),
        name,
        Vec::new(),
    );
    let mut buffer = Vec::with_capacity(READ);
    loop {
        while let Some(bytes) = client.poll_output() {
            origin.write_all(&bytes).await.ok()?;
        }
        buffer.clear();
        if origin.read_buf(&mut buffer).await.ok()? == 0 {
            return None;
        }
        client.feed(&buffer).ok()?;
        while let Some(event) = client.poll_event() {
            let ClientEvent::Media(message) = event else {
                continue;
            };
            match Part::of(message.kind, &message.payload) {
                part if part.is_header() && headers.len() < MOST => headers.push(message),
                // Both tracks are announced before the first picture.
                Part::Keyframe => return Some(()),
                _ => {}
            }
        }
    }
}

/// Origins answer within milliseconds; a stream of sound alone has no picture to wait for.
const TIME_LIMIT: Duration = Duration::from_millis(1500);
const READ: usize = 16 * 1024;
/// Metadata, two headers of each track, and as many again for encoders that repeat them.
const MOST: usize = 2 * (1 + 2 * MAX_TRACKS);
/// The random part of the handshake says nothing here.
const SEED: u8 = 0x53;
