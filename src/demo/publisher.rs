//! Publishes the embedded clip over RTMP at the pace of its timestamps.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::client::{Client, ClientError, ClientEvent};
use sluicegate_core::rtmp::message::Command;
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::clip::Clip;

/// Publishes the clip as `app/stream` to the RTMP server at `address` until `stop`, then unpublishes it.
///
/// `stream` may include a query.
///
/// # Errors
///
/// When the server cannot be reached, refuses the stream, violates the protocol or ends the connection.
pub async fn publish_clip(
    address: SocketAddr,
    app: &str,
    stream: &str,
    stop: &CancellationToken,
) -> Result<(), PublishError> {
    let setup = async {
        let mut publisher = Publisher::connect(address, app, stream).await?;
        publisher.start().await?;
        Ok::<_, PublishError>(publisher)
    };
    let Some(publisher) = stop.run_until_cancelled(timeout(SETUP, setup)).await else {
        return Ok(());
    };
    let mut publisher = publisher.map_err(|_| PublishError::Silent)??;
    let Some(outcome) = stop.run_until_cancelled(publisher.send_clip()).await else {
        // The server sees the end of the connection anyway; it only learns less about the reason.
        let _ = timeout(FAREWELL, publisher.unpublish(stream)).await;
        return Ok(());
    };
    outcome
}

/// Publishes the clip like [`publish_clip`], and starts again a second after a failure, until `stop`.
pub async fn keep_publishing(
    address: SocketAddr,
    app: &str,
    stream: &str,
    stop: &CancellationToken,
) {
    while let Err(problem) = publish_clip(address, app, stream, stop).await {
        warn!(%address, app, stream, %problem, "publishing the clip failed");
        if stop.run_until_cancelled(sleep(RETRY)).await.is_none() {
            return;
        }
    }
}

/// Why the clip is not, or no longer, published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The server ended the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The connection could not be made, or failed.
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),
    /// The server violated the protocol.
    #[error(transparent)]
    Protocol(#[from] ClientError),
    /// The system provides no random bytes.
    #[error("no randomness for the handshake: {0}")]
    Randomness(getrandom::Error),
    /// The server refused the stream, or ended it.
    #[error("the server refused the stream: {description} ({code})")]
    Refused {
        /// The code, such as `NetStream.Publish.BadName`, for programs.
        code: String,
        /// The description, for people.
        description: String,
    },
    /// The server did not answer in time.
    #[error("the server did not answer within {} s", SETUP.as_secs())]
    Silent,
}

struct Publisher {
    socket: TcpStream,
    client: Client,
    /// Bytes that are to be written. Kept here so that a write can be interrupted and resumed.
    pending: BytesMut,
    buffer: Vec<u8>,
}

impl Publisher {
    async fn connect(address: SocketAddr, app: &str, stream: &str) -> Result<Self, PublishError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(PublishError::Randomness)?;
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let tc_url = format!("rtmp://{address}/{app}");
        let client = Client::new(seed, Action::Publish, &tc_url, stream, Vec::new());
        Ok(Self {
            socket,
            client,
            pending: BytesMut::new(),
            buffer: vec![0; READ_BYTES],
        })
    }

    /// Performs the handshake and the commands until the server accepts the stream.
    async fn start(&mut self) -> Result<(), PublishError> {
        loop {
            self.flush().await?;
            self.receive().await?;
            if self.started()? {
                return Ok(());
            }
        }
    }

    /// Sends the clip. It never returns Ok, because the clip has no end.
    async fn send_clip(&mut self) -> Result<(), PublishError> {
        let clip = Clip::embedded();
        for message in clip.opening() {
            self.client.send_media(&message);
        }
        let (mut due, mut last) = (Instant::now(), 0);
        for frame in clip.frames() {
            // Add the difference, because timestamps wrap after 49 days and the clock does not.
            due += Duration::from_millis(frame.timestamp.wrapping_sub(last).into());
            last = frame.timestamp;
            loop {
                self.flush().await?;
                tokio::select! {
                    () = sleep_until(due) => break,
                    received = self.receive() => received?,
                }
                self.started()?;
            }
            self.client.send_media(&frame);
        }
        Ok(())
    }

    async fn unpublish(&mut self, stream: &str) -> Result<(), PublishError> {
        let id = Value::Number(self.client.stream_id().into());
        self.client
            .send_command(&Command::call("FCUnpublish", 0.0, vec![stream.into()]));
        self.client
            .send_command(&Command::call("deleteStream", 0.0, vec![id]));
        self.flush().await?;
        Ok(self.socket.shutdown().await?)
    }

    async fn flush(&mut self) -> Result<(), PublishError> {
        while let Some(output) = self.client.poll_output() {
            self.pending.extend_from_slice(&output);
        }
        while self.pending.has_remaining() {
            self.socket.write_buf(&mut self.pending).await?;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<(), PublishError> {
        match self.socket.read(&mut self.buffer).await? {
            0 => Err(PublishError::Closed),
            read => Ok(self
                .client
                .feed(self.buffer.get(..read).unwrap_or_default())?),
        }
    }

    /// Whether the server has said since the last call that the stream is published.
    fn started(&mut self) -> Result<bool, PublishError> {
        let mut started = false;
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Connected(_)
                | ClientEvent::Media(_)
                | ClientEvent::Redirected { .. } => {}
                ClientEvent::Refused(answer) => {
                    let (code, description) = answer
                        .status()
                        .map(|status| (status.code, status.description))
                        .unwrap_or_default();
                    return Err(PublishError::Refused {
                        code: code.to_owned(),
                        description: description.to_owned(),
                    });
                }
                ClientEvent::Status {
                    level,
                    code,
                    description,
                } => {
                    if level == "error" || code == "NetStream.Unpublish.Success" {
                        return Err(PublishError::Refused { code, description });
                    }
                    started |= code == "NetStream.Publish.Start";
                }
            }
        }
        Ok(started)
    }
}

/// How long it may take from connecting until the server says that the stream is published.
const SETUP: Duration = Duration::from_secs(10);
/// How long a server may take to read that the stream ends.
const FAREWELL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 4 << 10;
