//! The datagram loop: moves the packets of any [`Flows`] between a public port and origins.
//!
//! A listener has a *shard* per worker: a socket of its own on the public port (`SO_REUSEPORT`: the kernel sends a
//! client's packets to the same one), its own table of flows, its own origin links. Shards share nothing, so there
//! is no lock on the way of a packet. A shard is one task:
//!
//! - it receives as many packets as lie there with one call (`recvmmsg`, with GRO), into one scratch buffer;
//! - the table says of each where it goes, and may rewrite it in place;
//! - packets to one destination are gathered for as long as the batch lasts, and leave with one call (GSO). A batch
//!   ends with what the kernel had;
//! - what a socket does not take is dropped and counted, as a router would.
//!
//! A [`Driver`] is what a protocol adds: it opens links, acts on what its table says, and hears [commands](Handle).

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use prometheus_client::metrics::counter::Counter;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
    set_socket_recv_buffer_size_force,
};
use sluicegate_core::flow::{ClientPath, DropReason, Fate, Flows, Input, LinkId, Output};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::metrics::{DropLabels, ListenerLabel, Metrics};

/// What a protocol adds to the loop.
pub trait Driver: Send + 'static {
    /// Its table of flows.
    type Flows: Flows + Send;
    /// What other tasks tell this shard by its [`Handle`].
    type Command: Send + 'static;

    /// The table.
    fn flows(&mut self) -> &mut Self::Flows;

    /// Acts on what the table says.
    fn event(&mut self, now: Instant, event: <Self::Flows as Flows>::Event, links: &mut Links);

    /// Acts on what another task says.
    fn command(&mut self, now: Instant, command: Self::Command, links: &mut Links);

    /// Settles accounts; called a few times a second while there is traffic, and before the end.
    fn settle(&mut self, now: Instant, links: &mut Links);

    /// The proxy stops: nothing new from now on.
    fn stop(&mut self, now: Instant);

    /// No flow is left; a stopped shard ends then.
    fn is_empty(&self) -> bool;
}

/// The public sockets of one shard, bound and not yet served.
#[derive(Debug)]
pub struct Entries(Vec<StdSocket>);

impl Entries {
    /// Binds `addresses` for `shards` shards. `every_interface` says that a wildcard IPv6 address must take IPv4 too,
    /// and that IPv4 alone will do on a machine without IPv6. A port 0 becomes one port for all of them.
    ///
    /// # Errors
    /// With the address that could not be had, for example because another program listens there.
    pub fn bind(
        addresses: &[SocketAddr],
        every_interface: bool,
        shards: usize,
    ) -> Result<Vec<Self>, (SocketAddr, io::Error)> {
        let mut entries: Vec<Self> = (0..shards).map(|_| Self(Vec::new())).collect();
        for wanted in addresses {
            let address = match free(*wanted) {
                Err(error) if every_interface && error.kind() != io::ErrorKind::AddrInUse => {
                    free(SocketAddr::from((Ipv4Addr::UNSPECIFIED, wanted.port())))
                        .map_err(|_| error)
                }
                address => address,
            };
            let mut address = address.map_err(|error| (*wanted, error))?;
            for entry in &mut entries {
                let socket = bind(address, true).map_err(|error| (*wanted, error))?;
                address = socket.local_addr().map_err(|error| (*wanted, error))?;
                entry.0.push(socket);
            }
        }
        Ok(entries)
    }

    /// The first address, with the port the system chose for port 0.
    ///
    /// # Errors
    /// When the system does not know, which it does for a bound socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0
            .first()
            .ok_or(io::ErrorKind::NotConnected)?
            .local_addr()
    }

    /// Every address, in the order of the setting.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        // The system knows where a bound socket is.
        self.0.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// Tells a shard something from another task.
#[derive(Debug)]
pub struct Handle<C>(mpsc::Sender<C>);

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Handle<C> {
    /// Waits for room and tells the shard `command`; a shard that has ended does not hear it.
    pub async fn send(&self, command: C) {
        let _ = self.0.send(command).await;
    }

    /// Tells the shard `command` if there is room and it still runs; otherwise gives it back.
    ///
    /// # Errors
    /// The command, when it could not be delivered.
    pub fn try_send(&self, command: C) -> Result<(), C> {
        self.0
            .try_send(command)
            .map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// The receiving end of a [`Handle`].
#[derive(Debug)]
pub struct Commands<C>(mpsc::Receiver<C>);

/// A handle to a shard, and what the shard needs to hear it. Made before the shards, so that each can know all.
pub fn handle<C>() -> (Handle<C>, Commands<C>) {
    let (sender, receiver) = mpsc::channel(MAX_COMMANDS);
    (Handle(sender), Commands(receiver))
}

/// One shard of a listener.
pub struct Shard<D: Driver> {
    driver: D,
    links: Links,
    scratch: Scratch,
    staged: Staged,
    commands: mpsc::Receiver<D::Command>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    stopping: bool,
    timer: Pin<Box<tokio::time::Sleep>>,
    timer_at: Option<Instant>,
    settle_at: Instant,
    tally: Tally,
}

impl<D: Driver> Shard<D> {
    /// Serves `entries` until `stop` and until no flow is left after it. `name` is the listener's, for metrics.
    ///
    /// # Errors
    /// When the system refuses the sockets an event queue. Must be called on the worker that is to serve it: a
    /// socket belongs to the runtime it was made in.
    pub async fn serve(
        name: &'static str,
        entries: Entries,
        commands: Commands<D::Command>,
        driver: D,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let now = Instant::now();
        let mut shard = Self {
            driver,
            links: Links::new(entries)?,
            scratch: Scratch::new(),
            staged: Staged::new(),
            commands: commands.0,
            stop: Box::pin(stop.cancelled_owned()),
            stopping: false,
            timer: Box::pin(tokio::time::sleep(SETTLE_EVERY)),
            timer_at: None,
            settle_at: now + SETTLE_EVERY,
            tally: Tally::new(name, metrics),
        };
        std::future::poll_fn(|context| shard.poll(context)).await;
        let now = Instant::now();
        shard.driver.settle(now, &mut shard.links);
        shard.tally.settle();
        Ok(())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.links.ready.task.register(context.waker());
        loop {
            let now = Instant::now();
            if !self.stopping && self.stop.as_mut().poll(context).is_ready() {
                self.stopping = true;
                self.driver.stop(now);
            }
            let mut busy = false;
            while let Poll::Ready(Some(command)) = self.commands.poll_recv(context) {
                self.driver.command(now, command, &mut self.links);
                busy = true;
            }
            busy |= self.receive(now);
            let due = self.driver.flows().poll_timeout();
            if due.is_some_and(|due| due <= now) {
                self.driver.flows().handle(now, Input::Timeout);
            }
            self.say(now);
            if now >= self.settle_at {
                self.settle_at = now + SETTLE_EVERY;
                self.driver.settle(now, &mut self.links);
                self.tally.settle();
                self.say(now);
            }
            if self.stopping && self.driver.is_empty() {
                return Poll::Ready(());
            }
            if busy {
                continue;
            }
            let due = self.driver.flows().poll_timeout();
            let next = due.map_or(self.settle_at, |due| due.min(self.settle_at));
            if self.timer_at != Some(next) {
                self.timer_at = Some(next);
                self.timer.as_mut().reset(next.into());
            }
            if self.timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.timer_at = None;
        }
    }

    /// What each socket has, up to a bound; whether there was any.
    fn receive(&mut self, now: Instant) -> bool {
        let mut any = false;
        let ready = Arc::clone(&self.links.ready);
        ready.drain(|index| {
            // A socket that has more is read on, so that what belongs together leaves together.
            for _ in 0..READS {
                match self.receive_at(now, index) {
                    Read::Nothing => break,
                    Read::All => {
                        any = true;
                        break;
                    }
                    Read::Part => any = true,
                }
            }
        });
        self.staged.flush(&mut self.links, &mut self.tally);
        any
    }

    fn receive_at(&mut self, now: Instant, index: usize) -> Read {
        let Some(port) = self.links.port_mut(index) else {
            return Read::Nothing;
        };
        let (role, room) = (port.role, port.room);
        let count = match port.receive(&mut self.scratch) {
            Received::Nothing => return Read::Nothing,
            Received::Refused => {
                if let Role::Link(link) = role {
                    self.driver.flows().handle(now, Input::Refused { link });
                }
                return Read::Part;
            }
            Received::Batches(count) => count,
        };
        for batch in 0..count {
            let Some((meta, bytes)) = self.scratch.batch(batch) else {
                break;
            };
            let stride = meta.stride.max(1);
            let path = ClientPath {
                remote: meta.addr,
                local: meta.dst_ip.filter(|_| role.is_wildcard()),
                entry: role.entry(),
            };
            for data in bytes.chunks_mut(stride) {
                self.tally.received += 1;
                let input = match role {
                    Role::Entry { .. } => Input::Client { path, data },
                    Role::Link(link) => Input::Origin { link, data },
                };
                match self.driver.flows().handle(now, input) {
                    Fate::Drop(reason) => self.tally.drop(reason),
                    Fate::Kept => {}
                    Fate::Reply { len } => {
                        let reply = data.get(..len).unwrap_or(data);
                        let to = match role {
                            Role::Entry { .. } => Destination::Client(path),
                            Role::Link(link) => Destination::Origin(link),
                        };
                        self.links.send(to, reply, None, &mut self.tally);
                    }
                    Fate::ToClient { flow, path } => {
                        let key = u64::from(flow.0);
                        let to = Destination::Client(path);
                        self.staged
                            .push(key, to, data, &mut self.links, &mut self.tally);
                    }
                    Fate::ToOrigin { link } => {
                        let key = u64::from(link.0) | LINK_KEY;
                        let to = Destination::Origin(link);
                        self.staged
                            .push(key, to, data, &mut self.links, &mut self.tally);
                    }
                }
            }
        }
        if count == room { Read::Part } else { Read::All }
    }

    /// Passes on what the table and the sockets say.
    fn say(&mut self, now: Instant) {
        loop {
            while let Some(output) = self.driver.flows().poll_output() {
                match output {
                    Output::Event(event) => self.driver.event(now, event, &mut self.links),
                    Output::ToClient { path, data } => {
                        let to = Destination::Client(path);
                        self.links.send(to, &data, None, &mut self.tally);
                    }
                    Output::ToOrigin { link, data } => {
                        let to = Destination::Origin(link);
                        self.links.send(to, &data, None, &mut self.tally);
                    }
                }
            }
            let Some(link) = self.links.refused.pop() else {
                return;
            };
            self.driver.flows().handle(now, Input::Refused { link });
        }
    }
}

/// The sockets of a shard: its entries, and its links to origins.
#[derive(Debug)]
pub struct Links {
    ports: Vec<Option<Port>>,
    free: Vec<usize>,
    generation: u32,
    ready: Arc<Ready>,
    /// Links on which a send was refused since the table was told last.
    refused: Vec<LinkId>,
}

impl Links {
    fn new(entries: Entries) -> io::Result<Self> {
        let mut links = Self {
            ports: Vec::new(),
            free: Vec::new(),
            generation: 0,
            ready: Arc::default(),
            refused: Vec::new(),
        };
        for (entry, socket) in entries.0.into_iter().enumerate() {
            let role = Role::Entry {
                entry: u8::try_from(entry).map_err(io::Error::other)?,
                wildcard: socket.local_addr()?.ip().is_unspecified(),
            };
            let port = Port::new(socket, role, &links.ready, entry)?;
            links.ports.push(Some(port));
        }
        Ok(links)
    }

    /// Opens a socket to an origin.
    ///
    /// # Errors
    /// When the address cannot be reached from this machine, or no descriptor or place is left.
    pub fn open(&mut self, origin: SocketAddr) -> io::Result<LinkId> {
        let any = match origin {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let socket = bind(any, false)?;
        socket.connect(origin)?;
        self.adopt(socket)
    }

    /// Takes a connected socket over, for example from another shard.
    ///
    /// # Errors
    /// When no place is left, or the system refuses it an event queue.
    pub fn adopt(&mut self, socket: StdSocket) -> io::Result<LinkId> {
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
        match Port::new(socket, Role::Link(link), &self.ready, index) {
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

    /// Gives a link's socket away, so that another shard can [adopt](Links::adopt) it: the origin sees no change.
    pub fn take(&mut self, link: LinkId) -> Option<StdSocket> {
        self.port(link)?;
        let index = index_of(link);
        let port = self.ports.get_mut(index)?.take()?;
        self.free.push(index);
        port.socket.into_std().ok()
    }

    /// Closes a link; one that is closed already stays so.
    pub fn close(&mut self, link: LinkId) {
        drop(self.take(link));
    }

    /// Forgets that a datagram sent on this link was refused. The kernel keeps that for the next call on the socket,
    /// however much later it comes.
    pub fn forget_refusal(&mut self, link: LinkId) {
        if let Some(port) = self.port(link) {
            let _ = SockRef::from(&port.socket).take_error();
        }
        self.refused.retain(|refused| *refused != link);
    }

    fn port(&self, link: LinkId) -> Option<&Port> {
        let port = self.ports.get(index_of(link))?.as_ref()?;
        // The place may have been given to another link since.
        (port.role == Role::Link(link)).then_some(port)
    }

    fn port_mut(&mut self, index: usize) -> Option<&mut Port> {
        self.ports.get_mut(index)?.as_mut()
    }

    /// The socket that datagrams to `to` leave by.
    fn port_towards(&self, to: Destination) -> Option<&Port> {
        match to {
            Destination::Client(path) => self.ports.get(usize::from(path.entry))?.as_ref(),
            Destination::Origin(link) => self.port(link),
        }
    }

    /// Sends `bytes`, cut into datagrams of `segment` bytes if there are several.
    fn send(&mut self, to: Destination, bytes: &[u8], segment: Option<usize>, tally: &mut Tally) {
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

    /// How many datagrams one call may send to a destination.
    fn most_segments(&self, to: Destination) -> usize {
        self.port_towards(to)
            .map_or(1, |port| port.state.max_gso_segments())
    }
}

/// One socket and what is known of it.
#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    state: UdpSocketState,
    role: Role,
    /// The origin, of a link.
    peer: Option<SocketAddr>,
    bell: Arc<Bell>,
    waker: Waker,
    /// How many batches the next read makes room for: preparing room for many costs more than reading one.
    room: usize,
}

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Clients write to it. A wildcard one listens on several addresses, and answers from the one written to.
    Entry { entry: u8, wildcard: bool },
    /// It is connected to an origin.
    Link(LinkId),
}

impl Role {
    const fn is_wildcard(self) -> bool {
        matches!(self, Self::Entry { wildcard: true, .. })
    }

    const fn entry(self) -> u8 {
        match self {
            Self::Entry { entry, .. } => entry,
            Self::Link(_) => 0,
        }
    }
}

/// Whether a socket was emptied.
enum Read {
    Nothing,
    All,
    Part,
}

/// What a read came to.
enum Received {
    Nothing,
    Refused,
    Batches(usize),
}

impl Port {
    fn new(socket: StdSocket, role: Role, ready: &Arc<Ready>, index: usize) -> io::Result<Self> {
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
    fn receive(&mut self, scratch: &mut Scratch) -> Received {
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
        // Asked again in the next turn, so that the runtime knows whom to wake.
        self.bell.ready.mark(self.bell.index);
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
    fn send(
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
        let (destination, src_ip) = match (to, segment, self.peer) {
            // The plain call costs the least, and a connected socket knows its way.
            (Destination::Origin(_), None, _) => {
                return SockRef::from(&self.socket).send(bytes).map(|_| ());
            }
            (Destination::Origin(_), _, Some(peer)) => (peer, None),
            (Destination::Origin(_), _, None) => return Err(io::ErrorKind::NotConnected.into()),
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

/// Where datagrams go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    Client(ClientPath),
    Origin(LinkId),
}

/// Room for one read: a batch is a datagram, or several of one sender and size that the kernel put together.
struct Scratch {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
}

impl Scratch {
    fn new() -> Self {
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

    fn batch(&mut self, index: usize) -> Option<(RecvMeta, &mut [u8])> {
        let meta = *self.metas.get(index)?;
        let start = index * BATCH_BYTES;
        let bytes = self.bytes.get_mut(start..start + meta.len)?;
        Some((meta, bytes))
    }
}

/// Datagrams that wait for company until the end of the batch, by their destination.
struct Staged {
    groups: Vec<Group>,
    /// The groups that hold something.
    open: Vec<usize>,
}

/// Datagrams to one destination, of one size but for the last.
struct Group {
    key: u64,
    to: Destination,
    segment: usize,
    bytes: Vec<u8>,
}

impl Staged {
    fn new() -> Self {
        let group = || Group {
            key: 0,
            to: Destination::Origin(LinkId(0)),
            segment: 0,
            bytes: Vec::new(),
        };
        Self {
            groups: (0..GROUPS).map(|_| group()).collect(),
            open: Vec::with_capacity(GROUPS),
        }
    }

    /// Adds a datagram. Those of one key leave in the order they came in.
    fn push(
        &mut self,
        key: u64,
        to: Destination,
        data: &[u8],
        links: &mut Links,
        tally: &mut Tally,
    ) {
        // Two keys that meet in a place send each other off: it costs a call and nothing else.
        let place = (key.wrapping_mul(SPREAD) >> (u64::BITS - GROUPS.ilog2())) as usize;
        let Some(group) = self.groups.get_mut(place) else {
            return;
        };
        let fits = group.key == key
            && group.to == to
            && data.len() <= group.segment
            && group.bytes.len() + data.len() <= MAX_SEND
            && group.bytes.len() / group.segment.max(1) < links.most_segments(to);
        if !group.bytes.is_empty() && !fits {
            group.send(links, tally);
        }
        if group.bytes.is_empty() {
            group.key = key;
            group.to = to;
            group.segment = data.len();
            if !self.open.contains(&place) {
                self.open.push(place);
            }
        }
        group.bytes.extend_from_slice(data);
        if data.len() < group.segment {
            // Only the last may be shorter.
            group.send(links, tally);
        }
    }

    /// Sends everything.
    fn flush(&mut self, links: &mut Links, tally: &mut Tally) {
        for place in self.open.drain(..) {
            if let Some(group) = self.groups.get_mut(place) {
                group.send(links, tally);
            }
        }
    }
}

impl Group {
    fn send(&mut self, links: &mut Links, tally: &mut Tally) {
        if self.bytes.is_empty() {
            return;
        }
        let segment = (self.bytes.len() > self.segment).then_some(self.segment);
        links.send(self.to, &self.bytes, segment, tally);
        self.bytes.clear();
    }
}

/// Which sockets of a shard have something to read. Sockets ring from the runtime's event loop; the shard's task
/// looks. Two levels of bits, so that a look at an idle shard reads a word or two.
#[derive(Debug)]
struct Ready {
    task: AtomicWaker,
    summary: [AtomicU64; MAX_PORTS / (WORD * WORD)],
    words: [AtomicU64; MAX_PORTS / WORD],
}

impl Default for Ready {
    fn default() -> Self {
        Self {
            task: AtomicWaker::new(),
            summary: [const { AtomicU64::new(0) }; MAX_PORTS / (WORD * WORD)],
            words: [const { AtomicU64::new(0) }; MAX_PORTS / WORD],
        }
    }
}

impl Ready {
    /// Notes that a socket wants a look, and wakes the task.
    fn ring(&self, index: usize) {
        self.mark(index);
        self.task.wake();
    }

    /// Notes that a socket wants a look.
    fn mark(&self, index: usize) {
        let word = index / WORD;
        let (Some(bits), Some(summary)) = (self.words.get(word), self.summary.get(word / WORD))
        else {
            return;
        };
        bits.fetch_or(1 << (index % WORD), Ordering::Release);
        summary.fetch_or(1 << (word % WORD), Ordering::Release);
    }

    /// Calls `look` with each socket that rang since.
    fn drain(&self, mut look: impl FnMut(usize)) {
        for (group, summary) in self.summary.iter().enumerate() {
            let mut words = summary.swap(0, Ordering::AcqRel);
            while words != 0 {
                let word = group * WORD + words.trailing_zeros() as usize;
                words &= words - 1;
                let Some(bits) = self.words.get(word) else {
                    continue;
                };
                let mut bits = bits.swap(0, Ordering::AcqRel);
                while bits != 0 {
                    look(word * WORD + bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// How one socket rings.
#[derive(Debug)]
struct Bell {
    index: usize,
    ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.ring(self.index);
    }
}

/// What a shard counts, brought to the metrics now and then: counters of all shards are shared.
struct Tally {
    received: u64,
    sent: u64,
    unsent: u64,
    dropped: [u64; DropReason::ALL.len()],
    received_total: Counter,
    sent_total: Counter,
    unsent_total: Counter,
    dropped_total: [Counter; DropReason::ALL.len()],
}

impl Tally {
    fn new(listener: &'static str, metrics: &Metrics) -> Self {
        let label = ListenerLabel { listener };
        // Each in a statement of its own: a family is locked until the end of the statement.
        let received_total = metrics.datagrams_received.get_or_create(&label).clone();
        let sent_total = metrics.datagrams_sent.get_or_create(&label).clone();
        let dropped = |reason: &'static str| {
            let labels = DropLabels { listener, reason };
            metrics.datagrams_dropped.get_or_create(&labels).clone()
        };
        let unsent_total = dropped("unsent");
        Self {
            received: 0,
            sent: 0,
            unsent: 0,
            dropped: [0; DropReason::ALL.len()],
            received_total,
            sent_total,
            unsent_total,
            dropped_total: DropReason::ALL.map(|reason| dropped(reason.as_str())),
        }
    }

    fn drop(&mut self, reason: DropReason) {
        if let Some(count) = self.dropped.get_mut(reason as usize) {
            *count += 1;
        }
    }

    fn settle(&mut self) {
        self.received_total
            .inc_by(std::mem::take(&mut self.received));
        self.sent_total.inc_by(std::mem::take(&mut self.sent));
        self.unsent_total.inc_by(std::mem::take(&mut self.unsent));
        for (count, total) in self.dropped.iter_mut().zip(&self.dropped_total) {
            total.inc_by(std::mem::take(count));
        }
    }
}

/// The address, if no other program has it: sockets that share a port would share it with a stranger too.
fn free(address: SocketAddr) -> io::Result<SocketAddr> {
    bind(address, false).map(|_| address)
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<StdSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

const fn index_of(link: LinkId) -> usize {
    (link.0 & ((1 << INDEX_BITS) - 1)) as usize
}

/// Bits of a link's number that say where its socket is; the others tell it from those that were there before.
const INDEX_BITS: u32 = 13;
/// Sockets of one shard: a WebRTC flow has one of its own.
const MAX_PORTS: usize = 1 << INDEX_BITS;
const WORD: usize = u64::BITS as usize;
/// What the kernel may put together: 64 KiB at the most.
const BATCH_BYTES: usize = 65_536;
/// The least room of a read, in batches.
const LEAST_ROOM: usize = 8;
/// Reads of one socket before others have their turn.
const READS: usize = 8;
/// Bytes one call may send: an IP packet before it is cut, less its headers.
const MAX_SEND: usize = 65_000;
/// Destinations gathered for at once: each may hold [`MAX_SEND`] bytes.
const GROUPS: usize = 64;
/// 2^64 divided by the golden ratio: spreads neighbouring keys.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Marks a link's key, so that no flow has the same.
const LINK_KEY: u64 = 1 << 32;
/// Wanted of the kernel for each direction of each socket: over a tenth of a second at forty thousand packets per second. It
/// gives what `net.core.rmem_max` and `wmem_max` allow, and more for reading if this process has `CAP_NET_ADMIN`.
const SOCKET_BUFFER: usize = 8 << 20;
/// Commands that may wait for a shard; a sender waits beyond.
const MAX_COMMANDS: usize = 1024;
/// How often accounts are settled.
const SETTLE_EVERY: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use sluicegate_core::flow::FlowId;
    use std::collections::VecDeque;

    /// One flow: what the first client sends goes to one origin and back, `!` is answered, `-` dropped.
    #[derive(Default)]
    struct Pair {
        client: Option<ClientPath>,
        link: Option<LinkId>,
        said: VecDeque<Output<&'static str>>,
    }

    impl Flows for Pair {
        type Event = &'static str;

        fn handle(&mut self, _: Instant, input: Input<'_>) -> Fate {
            match input {
                Input::Client { path, data } => match (data.first(), self.link) {
                    (Some(b'!'), _) => Fate::Reply { len: 1 },
                    (Some(b'-'), _) => Fate::Drop(DropReason::Malformed),
                    (_, Some(link)) => {
                        self.client = Some(path);
                        Fate::ToOrigin { link }
                    }
                    _ => Fate::Kept,
                },
                Input::Origin { data, .. } => {
                    if let Some(first) = data.first_mut() {
                        *first = first.to_ascii_uppercase();
                    }
                    self.client.map_or(Fate::Kept, |path| Fate::ToClient {
                        flow: FlowId(1),
                        path,
                    })
                }
                Input::Refused { .. } => {
                    self.said.push_back(Output::Event("refused"));
                    Fate::Kept
                }
                Input::Timeout => Fate::Kept,
            }
        }

        fn poll_output(&mut self) -> Option<Output<&'static str>> {
            self.said.pop_front()
        }

        fn poll_timeout(&self) -> Option<Instant> {
            None
        }
    }

    struct Test {
        pair: Pair,
        said: mpsc::UnboundedSender<&'static str>,
    }

    impl Driver for Test {
        type Flows = Pair;
        type Command = SocketAddr;

        fn flows(&mut self) -> &mut Pair {
            &mut self.pair
        }

        fn event(&mut self, _: Instant, event: &'static str, _: &mut Links) {
            let _ = self.said.send(event);
        }

        fn command(&mut self, _: Instant, origin: SocketAddr, links: &mut Links) {
            if let Some(old) = self.pair.link.take() {
                links.close(old);
            }
            self.pair.link = links.open(origin).ok();
            let _ = self.said.send("opened");
        }

        fn settle(&mut self, _: Instant, _: &mut Links) {}

        fn stop(&mut self, _: Instant) {}

        fn is_empty(&self) -> bool {
            true
        }
    }

    async fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let wait = Duration::from_secs(10);
        let read = tokio::time::timeout(wait, socket.recv(&mut buffer)).await;
        let len = read.expect("a datagram in time").expect("a datagram");
        buffer.get(..len).unwrap_or_default().to_vec()
    }

    #[tokio::test]
    async fn datagrams_pass_both_ways_in_order_and_a_refusal_is_told() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let mut entries = Entries::bind(&[any], true, 1).unwrap();
        let entries = entries.pop().unwrap();
        let port = entries.local_addr().unwrap().port();
        let (to_shard, commands) = handle();
        let (said, mut heard) = mpsc::unbounded_channel();
        let metrics = Arc::new(Metrics::new());
        let stop = CancellationToken::new();
        let shard = {
            let (metrics, stop) = (Arc::clone(&metrics), stop.clone());
            let pair = Pair::default();
            let driver = Test { pair, said };
            tokio::spawn(async move {
                Shard::serve("test", entries, commands, driver, &metrics, stop).await
            })
        };
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let origin = UdpSocket::bind(local).await.unwrap();
        to_shard.send(origin.local_addr().unwrap()).await;
        assert_eq!(heard.recv().await, Some("opened"));
        let client = UdpSocket::bind(local).await.unwrap();
        client.connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();

        // Runs of equal sizes, shorter ends, longer ones after shorter ones.
        let sizes = [1200, 1200, 1200, 700, 1200, 1300, 1300, 5, 5, 5, 1400];
        for (index, size) in sizes.into_iter().enumerate() {
            client.send(&vec![b'a' + index as u8; size]).await.unwrap();
        }
        for (index, size) in sizes.into_iter().enumerate() {
            assert_eq!(receive(&origin).await, vec![b'a' + index as u8; size]);
        }
        client.send(b"-").await.unwrap();
        client.send(b"!more").await.unwrap();
        assert_eq!(receive(&client).await, b"!");

        let mut buffer = [0; 16];
        client.send(b"last").await.unwrap();
        let (_, proxy) = origin.recv_from(&mut buffer).await.unwrap();
        for (index, size) in sizes.into_iter().enumerate() {
            let datagram = vec![b'a' + index as u8; size];
            origin.send_to(&datagram, proxy).await.unwrap();
        }
        for (index, size) in sizes.into_iter().enumerate() {
            let mut datagram = vec![b'a' + index as u8; size];
            datagram.first_mut().unwrap().make_ascii_uppercase();
            assert_eq!(receive(&client).await, datagram);
        }

        drop(origin);
        while heard.try_recv().is_err() {
            client.send(b"anybody").await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
        shard.await.unwrap().unwrap();
        let text = metrics.render();
        assert!(
            text.contains("datagrams_dropped_total{listener=\"test\",reason=\"malformed\"} 1"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_port_of_another_program_is_not_shared() {
        let taken = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = taken.local_addr().unwrap();
        let (which, error) = Entries::bind(&[address], false, 2).unwrap_err();
        assert_eq!((which, error.kind()), (address, io::ErrorKind::AddrInUse));
    }

    #[tokio::test]
    async fn a_refusal_is_forgotten_before_a_new_attempt() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let gone = StdSocket::bind(local).unwrap();
        let origin = gone.local_addr().unwrap();
        drop(gone);
        let mut links = Links::new(Entries(Vec::new())).unwrap();
        let mut tally = Tally::new("test", &Metrics::new());
        for (forgets, expected) in [(false, true), (true, false)] {
            let link = links.open(origin).unwrap();
            links.send(Destination::Origin(link), b"a", None, &mut tally);
            // Loopback says at once that nobody listens; the next call on the socket hears it.
            if forgets {
                links.forget_refusal(link);
            }
            links.send(Destination::Origin(link), b"b", None, &mut tally);
            assert_eq!(links.refused.contains(&link), expected, "{forgets}");
            links.forget_refusal(link);
            assert!(links.refused.is_empty());
        }
    }

    #[tokio::test]
    async fn a_link_moves_with_its_socket_and_an_old_number_is_nobodys() {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let origin = UdpSocket::bind(local).await.unwrap();
        let empty = || Links::new(Entries(Vec::new())).unwrap();
        let (mut one, mut other) = (empty(), empty());
        let link = one.open(origin.local_addr().unwrap()).unwrap();
        let mut tally = Tally::new("test", &Metrics::new());
        one.send(Destination::Origin(link), b"a", None, &mut tally);
        let mut buffer = [0; 16];
        let (_, before) = origin.recv_from(&mut buffer).await.unwrap();

        let moved = other.adopt(one.take(link).unwrap()).unwrap();
        assert!(one.take(link).is_none());
        let next = one.open(origin.local_addr().unwrap()).unwrap();
        assert_ne!(next, link, "the place is used again, the number is not");
        other.send(Destination::Origin(moved), b"b", None, &mut tally);
        let (_, after) = origin.recv_from(&mut buffer).await.unwrap();
        assert_eq!(before, after);
        one.send(Destination::Origin(link), b"c", None, &mut tally);
        assert_eq!((tally.sent, tally.unsent), (2, 1));
    }
}
