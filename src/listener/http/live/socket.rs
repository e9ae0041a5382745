//! The end of a WebSocket.

use std::io;

use sluicegate_core::http::websocket::ServerFrames;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::linger_close;
use crate::net::wire::Wire;
use crate::sessions::EndReason;

/// Closes a WebSocket whose session ended for `reason`, which was not its client's: what is half said comes first, `rest` and
/// then what the origin has of it. A client that does not read it in time does not hear it.
pub(in crate::listener::http) async fn close_socket(
    mut client: Wire,
    origin: &mut Wire,
    mut frames: Box<ServerFrames>,
    rest: &[u8],
    reason: EndReason,
) {
    if reason == EndReason::ClientClosed || frames.has_closed() {
        return;
    }
    let finished = async {
        client.write_all(rest).await?;
        while !frames.is_between_frames() {
            let mut bytes = Vec::with_capacity(OF_A_FRAME);
            let count = (&mut *origin)
                .take(frames.left())
                .read_buf(&mut bytes)
                .await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            frames.pass(&bytes);
            client.write_all(&bytes).await?;
        }
        io::Result::Ok(())
    };
    if let Ok(Ok(())) = timeout(linger_close::TIME_LIMIT, finished).await {
        let last = reason.closing().frame();
        linger_close::say(&mut client, &last, linger_close::TIME_LIMIT).await;
    }
}

/// Bytes that are read at once of a frame that is to be finished.
const OF_A_FRAME: usize = 4 * 1024;
