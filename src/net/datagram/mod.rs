//! The datagram loop: moves the packets of any [`Flows`] between a public port and origins.
//!
//! A listener has one *shard* per worker: a socket of its own on the public port (`SO_REUSEPORT`: the kernel sends a
//! client's packets to the same one), its own table of flows, and its own origin links. Shards share nothing, so a
//! packet meets no lock. A shard is one task:
//!
//! - It receives as many packets as are queued with one call (`recvmmsg`, with GRO), into one scratch buffer.
//! - The table decides the fate of each packet, and may rewrite it in place.
//! - Packets to one destination are gathered for as long as the batch lasts, and leave with one call (GSO). A batch
//!   ends with what the kernel had queued.
//! - A busy shard sleeps for a moment before it asks the kernel for more: a wake-up costs more than a packet, and what
//!   arrives meanwhile is one batch. So a shard needs a thread that serves nothing else.
//! - What a socket does not accept is dropped and counted, as a router would do.
//!
//! A [`Driver`] is what a protocol adds: it opens links, acts on the events of its table, and receives
//! [commands](Handle).

mod entries;
mod links;
mod pace;
mod port;
mod ready;
mod staged;
mod tally;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use sluicegate_core::flow::{ClientPath, Fate, Flows, Input, Output};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

pub use self::entries::Entries;
use self::links::Destination;
pub use self::links::Links;
use self::pace::Pace;
use self::port::{Read, Received, Role, Scratch};
use self::staged::Staged;
use self::tally::Tally;
use crate::metrics::Metrics;

/// What a protocol adds to the loop.
pub trait Driver: Send + 'static {
    /// Its table of flows.
    type Flows: Flows + Send;
    /// What other tasks tell this shard through its [`Handle`].
    type Command: Send + 'static;
    /// How long a busy shard sleeps between two reads, and so the most by which it may delay a datagram. The shard has
    /// its thread to itself.
    const REST: Duration;

    /// The table.
    fn flows(&mut self) -> &mut Self::Flows;

    /// Acts on an event of the table.
    fn event(&mut self, now: Instant, event: <Self::Flows as Flows>::Event, links: &mut Links);

    /// Acts on a command of another task.
    fn command(&mut self, now: Instant, command: Self::Command, links: &mut Links);

    /// Settles accounts. Called a few times a second while there is traffic, and before the end.
    fn settle(&mut self, now: Instant, links: &mut Links);

    /// Tells that the proxy stops: no new flows from now on.
    fn stop(&mut self, now: Instant);

    /// Whether no flow is left; a stopped shard then ends.
    fn is_empty(&self) -> bool;
}

/// Sends commands to a shard from other tasks.
#[derive(Debug)]
pub struct Handle<C>(mpsc::Sender<C>);

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C> Handle<C> {
    /// Waits for room and sends `command`; a shard that has ended does not receive it.
    pub async fn send(&self, command: C) {
        let _ = self.0.send(command).await;
    }

    /// Sends `command` if there is room and the shard still runs; otherwise gives it back.
    ///
    /// # Errors
    /// The command, if it could not be delivered.
    pub fn try_send(&self, command: C) -> Result<(), C> {
        self.0
            .try_send(command)
            .map_err(mpsc::error::TrySendError::into_inner)
    }
}

/// The receiving end of a [`Handle`].
#[derive(Debug)]
pub struct Commands<C>(mpsc::Receiver<C>);

/// A handle to a shard, and its receiving end. Made before the shards, so that each shard can know all of them.
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
    pace: Pace,
}

impl<D: Driver> Shard<D> {
    /// Serves `entries` until `stop`, and then until no flow is left. `name` is the listener's, for metrics.
    ///
    /// # Errors
    /// When the system cannot register the sockets with an event queue. Must be called on the worker that will serve
    /// them: a socket belongs to the runtime in which it was made.
    pub async fn serve(
        name: &'static str,
        entries: Entries,
        commands: Commands<D::Command>,
        driver: D,
        metrics: &Metrics,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let now = Instant::now();
        let links = Links::new(entries, name, metrics.receive_buffers.clone())?;
        let pace = Pace::new(now, D::REST, links.least_buffer());
        let mut shard = Self {
            driver,
            links,
            scratch: Scratch::new(),
            staged: Staged::new(),
            commands: commands.0,
            stop: Box::pin(stop.cancelled_owned()),
            stopping: false,
            timer: Box::pin(tokio::time::sleep(SETTLE_EVERY)),
            timer_at: None,
            settle_at: now + SETTLE_EVERY,
            tally: Tally::new(name, metrics),
            pace,
        };
        std::future::poll_fn(|context| shard.poll(context)).await;
        let now = Instant::now();
        shard.driver.settle(now, &mut shard.links);
        shard.tally.settle();
        Ok(())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.links.ready.task.register(context.waker());
        let mut received = false;
        for _ in 0..ROUNDS {
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
            let before = self.tally.received;
            if self.receive(now) {
                busy = true;
                received = true;
            }
            self.pace.count(now, self.tally.received - before);
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
                // If the runtime cut this turn short, some sockets still have to be read.
                if let Some(rest) = self.pace.rest(received && self.links.ready.is_quiet()) {
                    // The thread serves nothing but this shard.
                    std::thread::sleep(rest);
                }
                return Poll::Pending;
            }
            self.timer_at = None;
        }
        // Let other tasks on this thread have a turn.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads each socket, up to a bound; returns whether anything was received.
    fn receive(&mut self, now: Instant) -> bool {
        let mut any = false;
        let ready = Arc::clone(&self.links.ready);
        ready.drain(|index| {
            // Reading goes on while a socket has more, so that what belongs together leaves together.
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

    /// Sends what the table and the sockets have to say.
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

/// Maximum reads of one socket before others have their turn.
const READS: usize = 8;
/// Maximum rounds over the sockets before other tasks on the thread have their turn: under a flood there is always one
/// more.
const ROUNDS: usize = 16;
/// Marks the key of a link, so that no flow has the same key.
const LINK_KEY: u64 = 1 << 32;
/// Maximum commands that wait for a shard; beyond that a sender waits.
const MAX_COMMANDS: usize = 1024;
/// How often accounts are settled.
const SETTLE_EVERY: Duration = Duration::from_millis(250);
