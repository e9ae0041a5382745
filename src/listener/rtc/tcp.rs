//! ICE over TCP (RFC 6544): a client behind a firewall that lets no UDP through. Each connection is bridged to a
//! socket of its own towards the origin's UDP port. A call may have several, as while its client changes networks: each
//! proves itself, the origin chooses among them, and the end of one ends no other.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::preface::mistaken;
use sluicegate_core::rtc::classify::Class;
use sluicegate_core::rtc::flows::CONSENT;
use sluicegate_core::rtc::frames::{Frame, LENGTH, MAX_FRAME, empty_frames, prefix};
use sluicegate_core::rtc::stun::{Kind, Message};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, info};

use super::super::calls::Calls;
use crate::net::entrance::Visitor;
use crate::net::wire::{Wire, WireReader, WireWriter};
use crate::proxy::Proxy;
use crate::registry::bindings::Binding;
use crate::sessions::{Direction, Row};

/// The TCP side of the media port.
#[derive(Debug, Clone)]
pub struct Tcp {
    /// Lets calls stand that another proxy signalled.
    pub calls: Calls,
}

impl Tcp {
    /// Serves one connection.
    pub async fn connection(self, visitor: Visitor, proxy: Proxy) {
        let Visitor {
            wire: mut client,
            early: mut bytes,
            ends,
            ..
        } = visitor;
        bytes.reserve(ROOM);
        let proven = async {
            let length = first_frame(&mut client, &mut bytes).await?;
            let datagram = bytes.get(LENGTH..length)?;
            self.prove(datagram, ends.client.ip(), &proxy).await
        };
        let Ok(Some((binding, row))) = timeout(FIRST_WITHIN, proven).await else {
            match mistaken(&bytes) {
                Some(other) => {
                    info!(client = %ends.client, rule = other, "refused: this is no ICE over TCP");
                }
                None => debug!(client = %ends.client, "a connection without a proof"),
            }
            return;
        };
        match bridge(&mut client, &bytes, &binding, &row).await {
            Ok(()) => debug!(session = row.id, "ICE over TCP ended"),
            Err(error) => debug!(session = row.id, %error, "ICE over TCP ended"),
        }
    }
}

impl Tcp {
    /// A client that got an answer shows that with its first frame. A username that is not known here is looked for
    /// in the store, as often as its network may ask, by UDP or TCP.
    async fn prove(
        &self,
        datagram: &[u8],
        client: IpAddr,
        proxy: &Proxy,
    ) -> Option<(Arc<Binding>, Arc<Row>)> {
        let message = Message::parse(datagram).ok()?;
        let username = message.username.filter(|_| message.kind == Kind::Request)?;
        let mut found = proxy.registry().bindings().binding(username);
        if found.is_none()
            && let Some(cluster) = proxy.cluster()
        {
            found = cluster.find_check(username, client).await;
        }
        let binding = found.filter(|binding| message.is_from_owner_of(&binding.password))?;
        self.calls.take(proxy, &binding)
    }
}

/// Reads until the first frame is whole that is not empty, and says how long it is. It stays in `bytes`.
async fn first_frame(client: &mut Wire, bytes: &mut Vec<u8>) -> Option<usize> {
    loop {
        bytes.drain(..empty_frames(bytes));
        if let Some(frame) = Frame::parse(bytes).ok()? {
            return Some(frame.length);
        }
        if client.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Carries frames to the origin and datagrams back, until one side ends, the session does, or the client is silent for too long.
async fn bridge(client: &mut Wire, early: &[u8], binding: &Binding, row: &Row) -> io::Result<()> {
    let any: SocketAddr = match binding.call.media {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let _carries = binding.call.bridged();
    let origin = UdpSocket::bind(any).await?;
    origin.connect(binding.call.media).await?;
    let (reading, writing) = client.split();
    tokio::select! {
        ended = to_origin(reading, early.to_vec(), &origin, row) => ended,
        ended = to_client(writing, &origin, row) => ended,
        _ = row.ended() => Ok(()),
    }
}

async fn to_origin(
    mut client: WireReader<'_>,
    mut bytes: Vec<u8>,
    origin: &UdpSocket,
    row: &Row,
) -> io::Result<()> {
    // The connection shows whose bytes these are, so that any count.
    let mut silent_until = Instant::now() + CONSENT;
    loop {
        let mut taken = 0;
        while let Some(frame) = Frame::parse(bytes.get(taken..).unwrap_or_default())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
        {
            silent_until = Instant::now() + CONSENT;
            taken += frame.length;
            if frame.datagram.is_empty() {
                continue;
            }
            row.count(Direction::ToOrigin, frame.datagram.len());
            if row.request.action == Action::Publish && Class::of(frame.datagram) == Class::Rtp {
                row.media_flows();
            }
            origin.send(frame.datagram).await?;
        }
        bytes.drain(..taken);
        let count = tokio::select! {
            count = client.read_buf(&mut bytes) => count?,
            () = sleep_until(silent_until) => 0,
        };
        if count == 0 {
            return Ok(());
        }
    }
}

async fn to_client(mut client: WireWriter<'_>, origin: &UdpSocket, row: &Row) -> io::Result<()> {
    let mut frame = vec![0; LENGTH + MAX_FRAME + 1];
    loop {
        let (head, rest) = frame.split_at_mut(LENGTH);
        let count = origin.recv(rest).await?;
        let datagram = rest.get(..count).unwrap_or_default();
        let Some(length) = prefix(datagram).filter(|_| count > 0) else {
            continue;
        };
        head.copy_from_slice(&length);
        row.count(Direction::ToClient, count);
        if row.request.action == Action::Play && Class::of(datagram) == Class::Rtp {
            row.media_flows();
        }
        // A client that takes nothing for long is behind anyway, and its media is of no use any more.
        let written = frame.get(..LENGTH + count).unwrap_or_default();
        timeout(TAKEN_WITHIN, client.write_all(written))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
    }
}

/// Room for a few frames of the largest kind.
const ROOM: usize = 4 * MAX_FRAME;
/// How long a client has for the request that proves its address.
const FIRST_WITHIN: Duration = Duration::from_secs(5);
/// How long a client may take to accept one datagram.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
