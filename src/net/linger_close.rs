//! The end of a connection whose peer should hear why.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::wire::Wire;

/// Sends `words`, then waits for the peer to close, all within `time_limit`: closing with unread bytes would reset the
/// connection, and a reset can swallow what was sent before it.
pub async fn say(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    words: &[u8],
    time_limit: Duration,
) {
    let say = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    };
    // A peer that is gone, or does not listen, misses them.
    let _ = timeout(time_limit, say).await;
}

/// Closes a connection in a task of its own, once the peer has taken everything that was written.
pub fn leave(mut wire: Wire) {
    tokio::spawn(async move { say(&mut wire, &[], TIME_LIMIT).await });
}

/// How long a peer that is let go may take to hear why.
pub const TIME_LIMIT: Duration = Duration::from_secs(1);
