//! The transport under chitchat: its messages in sealed datagrams, and news past it.

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

/// A socket, and the gate before it.
pub(super) struct Link {
    socket: UdpSocket,
    // A std mutex: it is held for a message, never across an await.
    gate: Mutex<Gate>,
    waiting: Waiting,
    refused: Arc<AtomicU64>,
}

/// Gossip that came and waits to be taken in.
#[derive(Default)]
struct Waiting {
    messages: Mutex<VecDeque<(SocketAddr, Vec<u8>)>>,
    /// Rung when one comes.
    came: Notify,
}

/// Chitchat's end of a [`Link`].
pub(super) struct Sealed {
    link: Arc<Link>,
    more: watch::Sender<Option<SocketAddr>>,
}

struct Sealing {
    link: Arc<Link>,
    /// Who sent the message before this one, if there was no room for more in it.
    long: Option<SocketAddr>,
    more: watch::Sender<Option<SocketAddr>>,
}

impl Link {
    /// A link over `socket`, which is bound. What is refused is counted in `refused`.
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

    /// Chitchat's end of this link, and where it says who has more to say than a message holds.
    pub(super) fn for_gossip(self: &Arc<Self>) -> (Sealed, watch::Receiver<Option<SocketAddr>>) {
        let (more, told) = watch::channel(None);
        let link = Arc::clone(self);
        (Sealed { link, more }, told)
    }

    /// Sends news to another proxy. What cannot be sent now is lost, as on the way.
    pub(super) fn tell(&self, to: SocketAddr, news: &[u8]) {
        let datagram = self.gate().seal_news(to, news);
        if let Some(datagram) = datagram {
            let _ = self.socket.try_send_to(&datagram, to);
        }
    }

    /// Receives for ever: gossip waits for chitchat, and news go to `hear` at once.
    pub(super) async fn receive(&self, hear: impl Fn(SocketAddr, &[u8])) {
        let mut buffer = Box::new([0; LONGEST_DATAGRAM + 1]);
        let mut complained = None;
        loop {
            let (length, source) = match self.socket.recv_from(&mut buffer[..]).await {
                Ok(received) => received,
                Err(error) => {
                    // A refused port of somebody's shows up here; nothing of it is fatal, and a pause keeps it cheap.
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
                    // What does not leave at once is asked for again.
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
    /// What cannot be sent is lost, as on the way; the next round says it again.
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
            // By now it has been taken in.
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
    /// A short message, which asks more than it tells, takes the place of an earlier one of its kind from the same
    /// proxy: what that one asked for has been overtaken, and would be told twice.
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
        // What finds no room is asked for again.
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

/// Messages of gossip that wait, of 64 KiB at most.
const WAITING: usize = 32;
/// What a message of chitchat's begins with: its magic number, version and kind.
const KIND: usize = 4;
/// In bytes: heartbeats of some twenty proxies, and few rows.
const SHORT: usize = 2_048;
/// A message of gossip that was cut where it was full is longer than this: the longest has 65,507 bytes, less what its
/// last block of 16 KiB saves by compression.
const LONG: usize = 40_000;
const PAUSE: Duration = Duration::from_millis(10);
const COMPLAINTS: Duration = Duration::from_secs(3_600);
