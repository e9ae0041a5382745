//! The sockets of a shard, by number.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;

use sluicegate_core::flow::{ClientPath, LinkId};
use socket2::SockRef;

use super::entries::{Entries, bind};
use super::port::{Port, Role};
use super::ready::Ready;
use super::tally::Tally;
use crate::metrics::{Counted, ReceiveBuffers};

/// The sockets of a shard: its entries, and its links to origins.
#[derive(Debug)]
pub struct Links {
    ports: Vec<Option<Port>>,
    free: Vec<usize>,
    generation: u32,
    pub(super) ready: Arc<Ready>,
    /// Links on which a send was refused since the table was last told.
    pub(super) refused: Vec<LinkId>,
    listener: &'static str,
    buffers: ReceiveBuffers,
}

impl Links {
    /// `listener` names the owner of the sockets, and `buffers` counts what they lose.
    pub(super) fn new(
        entries: Entries,
        listener: &'static str,
        buffers: ReceiveBuffers,
    ) -> io::Result<Self> {
        let mut links = Self {
            ports: Vec::new(),
            free: Vec::new(),
            generation: 0,
            ready: Arc::default(),
            refused: Vec::new(),
            listener,
            buffers,
        };
        for (entry, socket) in entries.0.into_iter().enumerate() {
            let role = Role::Entry {
                entry: u8::try_from(entry).map_err(io::Error::other)?,
                wildcard: socket.local_addr()?.ip().is_unspecified(),
            };
            let counted = links.count(&socket, true);
            let port = Port::new(socket, role, &links.ready, entry, counted)?;
            links.ports.push(Some(port));
        }
        Ok(links)
    }

    /// Opens a socket to an origin.
    ///
    /// # Errors
    /// When the address cannot be reached from this machine, or no descriptor or slot is left.
    pub fn open(&mut self, origin: SocketAddr) -> io::Result<LinkId> {
        let any = match origin {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = bind(any, false)?;
        socket.connect(origin)?;
        self.put(socket, true)
    }

    /// Takes over a connected socket, for example from another shard.
    ///
    /// # Errors
    /// When no slot is left, or the system cannot register it with the event queue.
    pub fn adopt(&mut self, socket: StdSocket) -> io::Result<LinkId> {
        self.put(socket, false)
    }

    fn put(&mut self, socket: StdSocket, fresh: bool) -> io::Result<LinkId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.ports.len() < MAX_PORTS => {
                self.ports.push(None);
                self.ports.len() - 1
            }
            None => return Err(io::Error::other("this shard has as many sockets as it may")),
        };
        self.generation = self.generation.wrapping_add(1);
        let number = u32::try_from(index).map_err(io::Error::other)?;
        let link = LinkId(self.generation << INDEX_BITS | number);
        let counted = self.count(&socket, fresh);
        match Port::new(socket, Role::Link(link), &self.ready, index, counted) {
            Ok(port) => {
                if let Some(place) = self.ports.get_mut(index) {
                    *place = Some(port);
                }
                Ok(link)
            }
            Err(error) => {
                self.free.push(index);
                Err(error)
            }
        }
    }

    /// Gives a link's socket away, so that another shard can [adopt](Links::adopt) it; the origin sees no change.
    pub fn take(&mut self, link: LinkId) -> Option<StdSocket> {
        self.port(link)?;
        let index = index_of(link);
        let port = self.ports.get_mut(index)?.take()?;
        self.free.push(index);
        Some(port.socket.into_inner())
    }

    /// Closes a link; a link that is already closed stays so.
    pub fn close(&mut self, link: LinkId) {
        drop(self.take(link));
    }

    /// Forgets that a datagram sent on this link was refused. The kernel keeps that error for the next call on the
    /// socket, however much later it comes.
    pub fn forget_refusal(&mut self, link: LinkId) {
        if let Some(port) = self.port(link) {
            let _ = SockRef::from(port.socket.get_ref()).take_error();
        }
        self.refused.retain(|refused| *refused != link);
    }

    fn count(&self, socket: &StdSocket, fresh: bool) -> Counted {
        self.buffers.count(socket, self.listener, fresh)
    }

    /// The size of the smallest receive buffer, in bytes as the system counts them.
    pub(super) fn least_buffer(&self) -> usize {
        let sizes = self.ports.iter().flatten().map(|port| {
            let size = SockRef::from(port.socket.get_ref()).recv_buffer_size();
            size.unwrap_or_default()
        });
        sizes.min().unwrap_or_default()
    }

    fn port(&self, link: LinkId) -> Option<&Port> {
        let port = self.ports.get(index_of(link))?.as_ref()?;
        // The slot may have been given to another link since.
        (port.role == Role::Link(link)).then_some(port)
    }

    pub(super) fn port_mut(&mut self, index: usize) -> Option<&mut Port> {
        self.ports.get_mut(index)?.as_mut()
    }

    /// The socket that sends datagrams to `to`.
    fn port_towards(&self, to: Destination) -> Option<&Port> {
        match to {
            Destination::Client(path) => self.ports.get(usize::from(path.entry))?.as_ref(),
            Destination::Origin(link) => self.port(link),
        }
    }

    /// Sends `bytes`, split into datagrams of `segment` bytes if there are several.
    pub(super) fn send(
        &mut self,
        to: Destination,
        bytes: &[u8],
        segment: Option<usize>,
        tally: &mut Tally,
    ) {
        let Some(port) = self.port_towards(to) else {
            tally.unsent += 1;
            return;
        };
        let refused = port.send(to, bytes, segment, tally);
        if let (true, Destination::Origin(link)) = (refused, to)
            && !self.refused.contains(&link)
        {
            self.refused.push(link);
        }
    }

    /// The maximum number of datagrams that one call may send to a destination.
    pub(super) fn most_segments(&self, to: Destination) -> usize {
        self.port_towards(to).map_or(1, Port::most_segments)
    }
}

/// The destination of datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Destination {
    Client(ClientPath),
    Origin(LinkId),
}

const fn index_of(link: LinkId) -> usize {
    (link.0 & ((1 << INDEX_BITS) - 1)) as usize
}

/// Bits of a link's number that are the index of its socket; the others tell it from earlier links in the same slot.
const INDEX_BITS: u32 = 13;
/// Maximum sockets of one shard; each WebRTC flow has its own.
pub(super) const MAX_PORTS: usize = 1 << INDEX_BITS;
