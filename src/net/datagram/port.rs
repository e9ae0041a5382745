//! One socket: what it receives in one call, and what it sends.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::UdpSocket as StdSocket;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_recvtos,
    set_ipv6_mtu_discover, set_ipv6_recvtclass, set_socket_recv_buffer_size_force,
};
use sluicegate_core::flow::LinkId;
use socket2::{MsgHdr, SockAddr, SockRef};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::links::Destination;
use super::ready::{Bell, Ready};
use super::tally::Tally;
use crate::metrics::Counted;

/// One socket and its state.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) socket: AsyncFd<StdSocket>,
    pub(super) state: UdpSocketState,
    pub(super) role: Role,
    bell: Arc<Bell>,
    waker: Waker,
    /// How many batches the next read has room for: preparing room for many costs more than reading one.
    pub(super) room: usize,
    /// Whether the system splits what it is given into datagrams.
    cuts: Cell<bool>,
    _counted: Counted,
}

/// The purpose of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Clients write to it. A wildcard socket listens on several addresses, and answers from the one that was written
    /// to.
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

/// The result of a read.
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
        counted: Counted,
    ) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        // A relay must not turn datagrams that routers may fragment into datagrams that are lost, so the probing mode
        // that the line above chose is undone. The call fails for the address family that the socket does not have.
        let _ = set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::WANT);
        let _ = set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::WANT);
        // Nothing here needs a datagram's traffic class, and receiving it has a cost per datagram.
        let _ = set_ip_recvtos(&socket, false);
        let _ = set_ipv6_recvtclass(&socket, false);
        // Media comes in bursts, and one link may carry all flows of an origin. Only a privileged process may get more
        // than the system's limit.
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
            socket: readable(socket)?,
            state,
            role,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            room: LEAST_ROOM,
            cuts: Cell::new(true),
            _counted: counted,
        })
    }

    /// Reads what is queued, at most as much as there is room for.
    pub(super) fn receive(&mut self, scratch: &mut Scratch) -> Received {
        let room = self.room;
        let mut read = Err(io::ErrorKind::WouldBlock.into());
        let _ = self.socket.try_io(Interest::READABLE, |socket| {
            read = scratch.receive(&self.state, socket, room);
            match read {
                // There may be more.
                Ok(count) if count == room => Ok(()),
                Err(ref error) if error.kind() != io::ErrorKind::WouldBlock => Ok(()),
                // The socket is empty now. Saying so saves the call that would find out; whatever arrives from here on
                // is a new event.
                _ => Err(io::ErrorKind::WouldBlock.into()),
            }
        });
        // Polled, so that the runtime knows which task to wake. Pending means that the waker will be called, also when
        // this task has used up its share of the thread.
        let mut context = Context::from_waker(&self.waker);
        if self.socket.poll_read_ready(&mut context).is_ready() {
            self.bell.ready.mark(self.bell.index);
        }
        match read {
            Ok(count) => {
                self.room = if count == room {
                    (room * 2).min(BATCH_SIZE)
                } else {
                    (room - 1).max(count + 1).max(LEAST_ROOM)
                };
                Received::Batches(count)
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Received::Refused,
            // There was nothing after all, or there is an error caused by an earlier datagram, such as an unreachable
            // host.
            Err(_) => Received::Nothing,
        }
    }

    /// The maximum number of datagrams that one call may send.
    pub(super) fn most_segments(&self) -> usize {
        if self.cuts.get() {
            self.state.max_gso_segments()
        } else {
            1
        }
    }

    /// Sends a datagram. Returns whether the origin's machine refused an earlier one.
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
            // The error is about an earlier datagram, and this one was not sent.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                match self.send_once(to, bytes, segment) {
                    Ok(()) => tally.sent += datagrams(bytes, segment),
                    Err(_) => tally.unsent += datagrams(bytes, segment),
                }
                true
            }
            Err(error) => {
                match segment {
                    // The system or the device does not split it after all, or the path is too narrow for this size.
                    Some(size) if error.kind() != io::ErrorKind::WouldBlock => {
                        let code = error.raw_os_error();
                        if [Errno::IO, Errno::INVAL]
                            .map(Errno::raw_os_error)
                            .map(Some)
                            .contains(&code)
                        {
                            self.cuts.set(false);
                        }
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
        let socket = SockRef::from(self.socket.get_ref());
        // The plain calls cost the least, and a connected socket that is given no address has its route cached.
        let address = match to {
            Destination::Origin(_) => None,
            Destination::Client(path) if path.local.is_none() => Some(SockAddr::from(path.remote)),
            Destination::Client(path) => {
                let transmit = Transmit {
                    destination: path.remote,
                    ecn: None,
                    contents: bytes,
                    segment_size: segment,
                    src_ip: path.local,
                };
                return self.state.try_send(self.socket.get_ref().into(), &transmit);
            }
        };
        let sent = match (segment, &address) {
            (None, None) => socket.send(bytes),
            (None, Some(address)) => socket.send_to(bytes, address),
            (Some(size), address) => {
                let control = Segments::of(size)?;
                let buffers = [IoSlice::new(bytes)];
                let message = MsgHdr::new()
                    .with_buffers(&buffers)
                    .with_control(&control.0);
                match address {
                    None => socket.sendmsg(&message, 0),
                    Some(address) => socket.sendmsg(&message.with_addr(address), 0),
                }
            }
        };
        sent.map(|_| ())
    }
}

/// Registers a socket for receiving only. With tokio's own socket type, every datagram that leaves also raises an
/// event, that more may be sent, and nothing here waits for that.
#[expect(
    deprecated,
    reason = "of bare descriptors, which may be closed while they are registered; a socket closes its own when it is dropped"
)]
fn readable(socket: StdSocket) -> io::Result<AsyncFd<StdSocket>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// The control message that tells the kernel the size of the datagrams to split its input into (udp(7)).
struct Segments([u8; SEGMENTS]);

impl Segments {
    /// `SOL_UDP` and `UDP_SEGMENT`.
    const KIND: [i32; 2] = [17, 103];

    fn of(size: usize) -> io::Result<Self> {
        let size = u16::try_from(size).map_err(io::Error::other)?.to_ne_bytes();
        let length = (SEGMENTS_HEADER + size.len()).to_ne_bytes();
        let [level, kind] = Self::KIND.map(i32::to_ne_bytes);
        let mut message = Self([0; SEGMENTS]);
        let written = length.iter().chain(&level).chain(&kind).chain(&size);
        for (place, byte) in message.0.iter_mut().zip(written) {
            *place = *byte;
        }
        Ok(message)
    }
}

fn datagrams(bytes: &[u8], segment: Option<usize>) -> u64 {
    segment.map_or(1, |size| bytes.len().div_ceil(size.max(1))) as u64
}

/// The buffers of one read. A batch is one datagram, or several of one sender and size that the kernel joined.
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
        socket: &StdSocket,
        room: usize,
    ) -> io::Result<usize> {
        if room <= FEW {
            self.receive_into::<FEW>(state, socket, room)
        } else {
            self.receive_into::<BATCH_SIZE>(state, socket, room)
        }
    }

    fn receive_into<const MOST: usize>(
        &mut self,
        state: &UdpSocketState,
        socket: &StdSocket,
        room: usize,
    ) -> io::Result<usize> {
        let mut chunks = self.bytes.chunks_exact_mut(BATCH_BYTES);
        let mut slices: [IoSliceMut<'_>; MOST] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let room = room.min(MOST);
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

/// A length as wide as a pointer, a level and a type.
const SEGMENTS_HEADER: usize = size_of::<usize>() + 8;
/// The segment size after the header takes as much room as a pointer.
const SEGMENTS: usize = SEGMENTS_HEADER + size_of::<usize>();
/// Maximum bytes that the kernel may join.
const BATCH_BYTES: usize = 65_536;
/// The least room of a read, in batches: fewer batches than the room mean that the socket is empty.
const LEAST_ROOM: usize = 2;
/// Batches that are prepared at first; beyond that, room is prepared for as many as a call can take.
const FEW: usize = 6;
/// The buffer requested from the kernel for each direction of each socket: more than a tenth of a second at forty
/// thousand packets per second. The kernel grants what `net.core.rmem_max` and `wmem_max` allow, and more for reading
/// if this process has `CAP_NET_ADMIN`.
const SOCKET_BUFFER: usize = 8 << 20;
