//! The transport under chitchat: its messages in sealed datagrams.

use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::anyhow;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use sluicegate_core::mesh::datagram::{Gate, LONGEST_DATAGRAM, Opened, Refused};
use tokio::net::UdpSocket;
use tracing::{debug, warn};

/// A socket that is bound, and the gate before it.
pub(super) struct Sealed {
    parts: Mutex<Option<(StdSocket, Gate)>>,
    refused: Arc<AtomicU64>,
}

struct Sealing {
    socket: UdpSocket,
    gate: Gate,
    refused: Arc<AtomicU64>,
    complained: Option<Instant>,
    buffer: Box<[u8; LONGEST_DATAGRAM + 1]>,
}

impl Sealed {
    /// A transport that opens `socket`, once. What is refused is counted in `refused`.
    pub(super) fn new(socket: StdSocket, gate: Gate, refused: Arc<AtomicU64>) -> Self {
        Self {
            parts: Mutex::new(Some((socket, gate))),
            refused,
        }
    }
}

#[async_trait::async_trait]
impl Transport for Sealed {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        let parts = self
            .parts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (socket, gate) = parts.ok_or_else(|| anyhow!("the socket is open already"))?;
        Ok(Box::new(Sealing {
            socket: UdpSocket::from_std(socket)?,
            gate,
            refused: Arc::clone(&self.refused),
            complained: None,
            buffer: Box::new([0; LONGEST_DATAGRAM + 1]),
        }))
    }
}

#[async_trait::async_trait]
impl Socket for Sealing {
    /// What cannot be sent is lost, as on the way; the next round says it again.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        for datagram in self.gate.seal(to, &message.serialize_to_vec()) {
            if let Err(error) = self.socket.send_to(&datagram, to).await {
                debug!(%to, %error, "a datagram to another proxy was not sent");
                break;
            }
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let (length, source) = match self.socket.recv_from(&mut self.buffer[..]).await {
                Ok(received) => received,
                Err(error) => {
                    // A refused port of somebody's shows up here; nothing of it is fatal, and a pause keeps it cheap.
                    debug!(%error, "nothing was received");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            match self.gate.open(&self.buffer[..length]) {
                Ok(Opened::Message { from, bytes }) => {
                    match ChitchatMessage::deserialize(&mut bytes.as_slice()) {
                        Ok(message) => return Ok((from, message)),
                        Err(error) => debug!(%from, %error, "another proxy's message is not read"),
                    }
                }
                Ok(Opened::Nothing) => {}
                Ok(Opened::Stranger { at, start }) => {
                    // What does not leave at once is asked for again.
                    let _ = self.socket.try_send_to(&self.gate.hello(start), at);
                }
                Err(refused) => self.complain(source, refused),
            }
        }
    }
}

impl Sealing {
    fn complain(&mut self, source: SocketAddr, refused: Refused) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let lately = self.complained.is_some_and(|at| at.elapsed() < COMPLAINTS);
        if lately || refused == Refused::Repeated {
            debug!(%source, %refused, "a datagram was refused");
            return;
        }
        self.complained = Some(Instant::now());
        warn!(
            %source, %refused,
            "a datagram to mesh.listen was refused; if this is one of our proxies, it has another cluster.key or version. \
             More of them are counted in sluicegate_mesh_refused_total, and not told of for an hour"
        );
    }
}

const PAUSE: Duration = Duration::from_millis(10);
const COMPLAINTS: Duration = Duration::from_secs(3_600);
