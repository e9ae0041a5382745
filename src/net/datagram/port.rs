//! One socket: what it takes in one call, and what it is sent.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    set_socket_recv_buffer_size_force,
};
use sluicegate_core::flow::LinkId;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::links::Destination;
use super::ready::{Bell, Ready};
use super::tally::Tally;

/// One socket and what is known of it.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) socket: UdpSocket,
    pub(super) state: UdpSocketState,
    pub(super) role: Role,
    /// The origin, of a link.
    peer: Option<SocketAddr>,
    bell: Arc<Bell>,
    waker: Waker,
    /// How many batches the next read makes room for: preparing room for many costs more than reading one.
    pub(super) room: usize,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Clients write to it. A wildcard one listens on several addresses, and answers from the one written to.
    Entry { entry: u8, wildcard: bool },
    /// It is connected to an origin.
    Link(LinkId),
}

impl Role {
    pub(super) const fn is_wildcard(self) -> bool {
        matches!(self, Self::Entry { wildcard: true, .. })
    }

    pub(super) const fn entry(self) -> u8 {
        match self {
            Self::Entry { entry, .. } => entry,
            Self::Link(_) => 0,
        }
    }
}

/// Whether a socket was emptied.
pub(super) enum Read {
    Nothing,
    All,
    Part,
}

/// What a read came to.
pub(super) enum Received {
    Nothing,
    Refused,
    Batches(usize),
}

impl Port {
    pub(super) fn new(
        socket: StdSocket,
        role: Role,
        ready: &Arc<Ready>,
        index: usize,
    ) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // A relay must not turn datagrams that routers may cut into datagrams that are lost: the probing mode that
        // the line above chose is undone. It fails for the family a socket is not of.
        let _ = set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::WANT);
        let _ = set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::WANT);
        // Media comes in bursts, and one link may carry all flows of an origin. Only a privileged process may have more
        // than the system gives to all.
        if set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err() {
            let _ = state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER);
        }
        let _ = state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER);
        let bell = Arc::new(Bell {
            index,
            ready: Arc::clone(ready),
        });
        bell.wake_by_ref();
        Ok(Self {
            peer: socket.peer_addr().ok(),
            socket: UdpSocket::from_std(socket)?,
            state,
            role,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            room: LEAST_ROOM,
        })
    }

    /// Reads what lies there, at most as much as there is room for.
    pub(super) fn receive(&mut self, scratch: &mut Scratch) -> Received {
        let mut context = Context::from_waker(&self.waker);
        // Pending means that the bell will be rung, also when this task has had its share of the thread.
        if self.socket.poll_recv_ready(&mut context).is_pending() {
            return Received::Nothing;
        }
        let room = self.room;
        let mut read = Ok(0);
        let _ = self.socket.try_io(Interest::READABLE, || {
            read = scratch.receive(&self.state, &self.socket, room);
            match read {
                // There may be more.
                Ok(count) if count == room => Ok(()),
                Err(ref error) if error.kind() != io::ErrorKind::WouldBlock => Ok(()),
                // It is empty now. Saying so spares the call that would find out; what arrives from here on is a
                // new event.
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        // Asked again, so that the runtime knows whom to wake.
        if self.socket.poll_recv_ready(&mut context).is_ready() {
            self.bell.ready.mark(self.bell.index);
        }
        match read {
            Ok(count) => {
                self.room = if count == room {
                    (room * 2).min(BATCH_SIZE)
                } else {
                    (room / 2).max(count + 1).max(LEAST_ROOM)
                };
                Received::Batches(count)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Received::Refused,
            // There was nothing after all, or another error that an earlier datagram met, such as a host that
            // cannot be reached.
            Err(_) => Received::Nothing,
        }
    }

    /// Sends; returns whether the origin's machine refused an earlier datagram.
    pub(super) fn send(
        &self,
        to: Destination,
        bytes: &[u8],
        segment: Option<usize>,
        tally: &mut Tally,
    ) -> bool {
        match self.send_once(to, bytes, segment) {
            Ok(()) => {
                tally.sent += datagrams(bytes, segment);
                false
            }
            // The error is of an earlier datagram, and this one was not sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                match self.send_once(to, bytes, segment) {
                    Ok(()) => tally.sent += datagrams(bytes, segment),
                    Err(_) => tally.unsent += datagrams(bytes, segment),
                }
                true
            }
            Err(error) => {
                match segment {
                    // The system or the device does not cut it after all, or the way is too narrow for this size.
                    Some(size) if error.kind() != io::ErrorKind::WouldBlock => {
                        for datagram in bytes.chunks(size.max(1)) {
                            match self.send_once(to, datagram, None) {
                                Ok(()) => tally.sent += 1,
                                Err(_) => tally.unsent += 1,
                            }
                        }
                    }
                    _ => tally.unsent += datagrams(bytes, segment),
                }
                false
            }
        }
    }

    fn send_once(&self, to: Destination, bytes: &[u8], segment: Option<usize>) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        let (destination, src_ip) = match (to, segment, self.peer) {
            // The plain calls cost the least, and a connected socket knows its way.
            (Destination::Origin(_), None, _) => return socket.send(bytes).map(|_| ()),
            (Destination::Origin(_), _, Some(peer)) => (peer, None),
            (Destination::Origin(_), _, None) => return Err(io::ErrorKind::NotConnected.into()),
            (Destination::Client(path), None, _) if path.local.is_none() => {
                return socket.send_to(bytes, &path.remote.into()).map(|_| ());
            }
            (Destination::Client(path), _, _) => (path.remote, path.local),
        };
        let transmit = Transmit {
            destination,
            ecn: None,
            contents: bytes,
            segment_size: segment,
            src_ip,
        };
        self.state.try_send((&self.socket).into(), &transmit)
    }
}

fn datagrams(bytes: &[u8], segment: Option<usize>) -> u64 {
    segment.map_or(1, |size| bytes.len().div_ceil(size.max(1))) as u64
}

/// Room for one read: a batch is a datagram, or several of one sender and size that the kernel put together.
pub(super) struct Scratch {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_SIZE * BATCH_BYTES],
            metas: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    fn receive(
        &mut self,
        state: &UdpSocketState,
        socket: &UdpSocket,
        room: usize,
    ) -> io::Result<usize> {
        let mut chunks = self.bytes.chunks_exact_mut(BATCH_BYTES);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let room = room.min(BATCH_SIZE);
        let (Some(slices), Some(metas)) = (slices.get_mut(..room), self.metas.get_mut(..room))
        else {
            return Ok(0);
        };
        state.recv(socket.into(), slices, metas)
    }

    pub(super) fn batch(&mut self, index: usize) -> Option<(RecvMeta, &mut [u8])> {
        let meta = *self.metas.get(index)?;
        let start = index * BATCH_BYTES;
        let bytes = self.bytes.get_mut(start..start + meta.len)?;
        Some((meta, bytes))
    }
}

/// What the kernel may put together: 64 KiB at the most.
const BATCH_BYTES: usize = 65_536;
/// The least room of a read, in batches.
const LEAST_ROOM: usize = 8;
/// Wanted of the kernel for each direction of each socket: over a tenth of a second at forty thousand packets per second. It
/// gives what `net.core.rmem_max` and `wmem_max` allow, and more for reading if this process has `CAP_NET_ADMIN`.
const SOCKET_BUFFER: usize = 8 << 20;
