//! An RTMP client that asks for a stream, learns which origin granted it, and stays for a while.

use std::net::SocketAddr;
use std::time::Duration;

use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{Message, kind};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::origin::NAMED;

/// A session that was granted.
pub(crate) struct Session {
    /// The instance of an origin that granted it, as the instance names itself.
    pub(crate) origin: String,
    /// The number of frames received so far.
    pub(crate) frames: u64,
    action: Action,
    socket: TcpStream,
    machine: Client,
}

impl Session {
    /// Asks the proxy at `at` for `app/stream`.
    ///
    /// # Errors
    /// What the client heard instead of a grant.
    pub(crate) async fn ask(at: SocketAddr, action: Action, stream: &str) -> Result<Self, String> {
        timeout(PATIENCE, Self::asked(at, action, stream))
            .await
            .unwrap_or_else(|_| Err("no answer".to_owned()))
    }

    async fn asked(at: SocketAddr, action: Action, stream: &str) -> Result<Self, String> {
        let (app, name) = stream.rsplit_once('/').expect("app/stream");
        let url = format!("rtmp://example/{app}");
        let socket = TcpStream::connect(at).await;
        let mut session = Self {
            origin: String::new(),
            frames: 0,
            action,
            socket: socket.map_err(|_| "no connection".to_owned())?,
            machine: Client::new([7; 32], action, &url, name, Vec::new()),
        };
        while session.origin.is_empty() {
            session.step().await?;
        }
        Ok(session)
    }

    /// Stays until `end`; returns false if the session ended earlier.
    pub(crate) async fn stay(&mut self, end: Instant) -> bool {
        loop {
            match timeout_at(end, self.step()).await {
                Err(_) => return true,
                Ok(Err(_)) => return false,
                Ok(Ok(())) => {}
            }
        }
    }

    /// Publishes until `end`; returns false if the session ended earlier. Each frame is a keyframe, so that a publisher that
    /// is held goes on at another origin.
    pub(crate) async fn publish(&mut self, end: Instant) -> bool {
        while Instant::now() < end {
            self.send_frame();
            if !self.stay(end.min(Instant::now() + FRAME)).await {
                return false;
            }
        }
        true
    }

    pub(crate) fn plays(&self) -> bool {
        self.action == Action::Play
    }

    /// Sends a keyframe together with the next bytes that are due.
    pub(crate) fn send_frame(&mut self) {
        self.machine.send_media(&Message {
            timestamp: 0,
            kind: kind::VIDEO,
            stream_id: 1,
            payload: vec![0x17, 1, 0, 0, 0, 0],
        });
    }

    /// Sends what is due, and reads once.
    async fn step(&mut self) -> Result<(), String> {
        let cut = |_| "cut".to_owned();
        if let Some(bytes) = self.machine.poll_output() {
            self.socket.write_all(&bytes).await.map_err(cut)?;
        }
        let mut buffer = [0; 4096];
        let count = self.socket.read(&mut buffer).await.map_err(cut)?;
        if count == 0 {
            return Err("closed".to_owned());
        }
        let fed = self.machine.feed(&buffer[..count]);
        fed.map_err(|error| error.to_string())?;
        while let Some(event) = self.machine.poll_event() {
            match event {
                // One that a held publisher goes to names itself, too; its own report says what it has.
                ClientEvent::Status { code, .. } if code == NAMED && !self.origin.is_empty() => {}
                ClientEvent::Status {
                    code, description, ..
                } if code == NAMED => self.origin = description,
                ClientEvent::Status {
                    level,
                    code,
                    description,
                } if level == "error" => return Err(format!("{code}: {description}")),
                ClientEvent::Media(_) => self.frames += 1,
                ClientEvent::Refused(_) => return Err("refused".to_owned()),
                ClientEvent::Connected(_)
                | ClientEvent::Redirected { .. }
                | ClientEvent::Status { .. } => {}
            }
        }
        Ok(())
    }
}

/// Between two frames of a publisher.
const FRAME: Duration = Duration::from_millis(200);
/// Longer than a proxy takes to try everything.
const PATIENCE: Duration = Duration::from_secs(60);
