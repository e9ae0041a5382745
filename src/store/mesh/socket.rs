//! The transport under chitchat: its messages travel in sealed datagrams, and news travels beside them.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Deserializable, Serializable};
use sluicegate_core::cluster::mesh::datagram::{Gate, LONGEST_DATAGRAM, Opened, Refused};
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};
use tracing::{debug, warn};

use crate::bell;

/// A socket, and the gate that seals and opens its datagrams.
pub(super) struct SealedSocket {
    socket: UdpSocket,
    // A std mutex: it is held for a message, never across an await.
    gate: Mutex<Gate>,
    waiting: Waiting,
    refused: Arc<AtomicU64>,
}

/// Gossip messages that wait to be processed.
#[derive(Default)]
struct Waiting {
    messages: Mutex<VecDeque<(SocketAddr, Vec<u8>)>>,
    /// Notified when a message arrives.
    came: Notify,
}

/// Chitchat's end of a [`SealedSocket`].
pub(super) struct Sealed {
    link: Arc<SealedSocket>,
    more: watch::Sender<Option<SocketAddr>>,
}

struct Sealing {
    link: Arc<SealedSocket>,
    /// The sender of the previous message, if that message was full.
    long: Option<SocketAddr>,
    more: watch::Sender<Option<SocketAddr>>,
}

impl SealedSocket {
    /// A link over `socket`, which is bound. Refused datagrams are counted in `refused`.
    pub(super) fn new(
        socket: StdSocket,
        gate: Gate,
        refused: Arc<AtomicU64>,
    ) -> std::io::Result<Self> {
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            gate: Mutex::new(gate),
            waiting: Waiting::default(),
            refused,
        })
    }

    /// Chitchat's end of this link, and a channel that names a proxy with more to say than fits into a message.
    pub(super) fn for_gossip(self: &Arc<Self>) -> (Sealed, watch::Receiver<Option<SocketAddr>>) {
        let (more, told) = watch::channel(None);
        let link = Arc::clone(self);
        (Sealed { link, more }, told)
    }

    /// Sends news to another proxy. If it cannot be sent now it is lost, like a packet on the network.
    pub(super) fn tell(&self, to: SocketAddr, news: &[u8]) {
        let datagram = self.gate().seal_news(to, news);
        if let Some(datagram) = datagram {
            let _ = self.socket.try_send_to(&datagram, to);
        }
    }

    /// Receives for ever: gossip is queued for chitchat, and news goes to `hear` at once.
    pub(super) async fn receive(&self, hear: impl Fn(SocketAddr, &[u8])) {
        let mut buffer = Box::new([0; LONGEST_DATAGRAM + 1]);
        let mut complained = None;
        loop {
            let (length, source) = match self.socket.recv_from(&mut buffer[..]).await {
                Ok(received) => received,
                Err(error) => {
                    // A refused port of another proxy shows up here. None of these errors is fatal, and a pause keeps
                    // them cheap.
                    debug!(%error, "nothing was received");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let opened = self.gate().open(&buffer[..length]);
            match opened {
                Ok(Opened::Message { from, bytes }) => self.waiting.push(from, bytes),
                Ok(Opened::News { from, bytes }) => hear(from, &bytes),
                Ok(Opened::Nothing) => {}
                Ok(Opened::Stranger { at, start }) => {
                    let hello = self.gate().hello(start);
                    // If it cannot be sent now, the other proxy will ask again.
                    let _ = self.socket.try_send_to(&hello, at);
                }
                Err(refused) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    complain(source, refused, &mut complained);
                }
            }
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Transport for Sealed {
    async fn open(&self, _listen: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(Sealing {
            link: Arc::clone(&self.link),
            long: None,
            more: self.more.clone(),
        }))
    }
}

#[async_trait::async_trait]
impl Socket for Sealing {
    /// Sends a message. If it cannot be sent it is lost, like a packet on the network; the next round says it again.
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> anyhow::Result<()> {
        let datagrams = self.link.gate().seal(to, &message.serialize_to_vec());
        for datagram in datagrams {
            if let Err(error) = self.link.socket.send_to(&datagram, to).await {
                debug!(%to, %error, "a datagram to another proxy was not sent");
                break;
            }
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        if let Some(from) = self.long.take() {
            // By now the message has been processed.
            self.more.send_replace(Some(from));
        }
        loop {
            let (from, bytes) = self.link.waiting.next().await;
            match ChitchatMessage::deserialize(&mut bytes.as_slice()) {
                Ok(message) => {
                    self.long = (bytes.len() > LONG).then_some(from);
                    return Ok((from, message));
                }
                Err(error) => debug!(%from, %error, "another proxy's message is not read"),
            }
        }
    }
}

impl Waiting {
    /// Queues a message. A short message, which asks more than it tells, replaces an earlier short one from the same
    /// proxy: that request is outdated, and would be answered twice.
    fn push(&self, from: SocketAddr, bytes: Vec<u8>) {
        let mut messages = self.messages();
        let alike = |(sender, waits): &&mut (SocketAddr, Vec<u8>)| {
            *sender == from && waits.len() <= SHORT && waits.get(..KIND) == bytes.get(..KIND)
        };
        if bytes.len() <= SHORT
            && let Some((_, earlier)) = messages.iter_mut().find(alike)
        {
            *earlier = bytes;
            return;
        }
        if messages.len() < WAITING {
            messages.push_back((from, bytes));
            self.came.notify_one();
        }
        // A message that finds no room will be asked for again.
    }

    async fn next(&self) -> (SocketAddr, Vec<u8>) {
        bell::once(&self.came, || self.messages().pop_front()).await
    }

    fn messages(&self) -> MutexGuard<'_, VecDeque<(SocketAddr, Vec<u8>)>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn complain(source: SocketAddr, refused: Refused, complained: &mut Option<Instant>) {
    let lately = complained.is_some_and(|at| at.elapsed() < COMPLAINTS);
    if lately || refused == Refused::Repeated {
        debug!(%source, %refused, "a datagram was refused");
        return;
    }
    *complained = Some(Instant::now());
    warn!(
        %source, %refused,
        "a datagram to mesh.listen was refused; if this is one of our proxies, it has another cluster.key or version. \
         More of them are counted in sluicegate_mesh_refused_total, and not told of for an hour"
    );
}

/// Maximum gossip messages that wait, of at most 64 KiB each.
const WAITING: usize = 32;
/// Bytes at the start of a chitchat message: its magic number, version and kind.
const KIND: usize = 4;
/// Maximum bytes of a short message: heartbeats of about twenty proxies, and few rows.
const SHORT: usize = 2_048;
/// A gossip message that was cut off because it was full is longer than this: the longest has 65,507 bytes, less what
/// the compression of its last 16 KiB block saves.
const LONG: usize = 40_000;
const PAUSE: Duration = Duration::from_millis(10);
const COMPLAINTS: Duration = Duration::from_secs(3_600);
