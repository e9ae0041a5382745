//! What WebRTC adds to the datagram loop: it looks bindings up, opens a socket for each flow, and hands a flow with
//! its socket to the shard on which its client is heard.

use std::collections::HashMap;
use std::net::{IpAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate_core::flow::{FlowId, LinkId};
use sluicegate_core::rtc::flows::{Account, Closed, Event, Flows, Found, Surrender};
use sluicegate_core::stream::Action;
use tracing::{debug, warn};

use super::super::calls::Calls;
use crate::net::datagram::{Driver, Handle, Links};
use crate::proxy::Proxy;
use crate::registry::bindings::Binding;
use crate::sessions::{Direction, EndReason, Row};

/// One shard's side of the calls.
pub(super) struct Media {
    shard: usize,
    flows: Flows,
    /// By the number its flow was found under.
    heard: HashMap<u64, Heard>,
    next: u64,
    proxy: Proxy,
    calls: Calls,
    handles: Arc<[Handle<Command>]>,
    /// The bindings as they were when absent usernames were last forgotten.
    generation: u64,
}

/// A transport of a call.
struct Heard {
    binding: Arc<Binding>,
    /// None until its client has proven itself here, where another proxy signalled the call.
    row: Option<Arc<Row>>,
}

/// What shards tell each other.
#[derive(Debug)]
pub(super) enum Command {
    /// What the store knows of a username.
    Found {
        username: Box<[u8]>,
        binding: Option<Arc<Binding>>,
    },
    /// The client of a flow was heard by the shard `to`, which wants it.
    Give {
        binding: Arc<Binding>,
        nominates: bool,
        to: usize,
        flow: FlowId,
    },
    /// Here it is; without a socket, there was none.
    Given {
        binding: Arc<Binding>,
        flow: FlowId,
        socket: Option<UdpSocket>,
    },
    /// It stays where it is.
    Kept { flow: FlowId },
}

impl Media {
    pub(super) fn new(
        shard: usize,
        proxy: Proxy,
        calls: Calls,
        handles: Arc<[Handle<Command>]>,
    ) -> Self {
        Self {
            shard,
            calls,
            flows: Flows::new(Instant::now(), MAX_FLOWS),
            heard: HashMap::new(),
            next: 0,
            generation: 0,
            proxy,
            handles,
        }
    }

    /// Says whose a username is: at once where it is known here, or is nobody's; else when the store has answered.
    fn look_up(&mut self, now: Instant, username: Box<[u8]>, client: IpAddr) {
        let known = self.proxy.registry().bindings().binding(&username);
        let cluster = self.proxy.cluster();
        let (Some(cluster), None) = (cluster, &known) else {
            return self.found(now, &username, known);
        };
        let (cluster, handles, shard) =
            (Arc::clone(cluster), Arc::clone(&self.handles), self.shard);
        tokio::spawn(async move {
            let binding = cluster.find_check(&username, client).await;
            if let Some(handle) = handles.get(shard) {
                // A shard with a thousand commands before it: its client asks again.
                let _ = handle.try_send(Command::Found { username, binding });
            }
        });
    }

    fn found(&mut self, now: Instant, username: &[u8], binding: Option<Arc<Binding>>) {
        self.next += 1;
        let call = self.next;
        let found = |binding: &Binding| Found {
            call,
            password: binding.password.clone(),
        };
        let Some(binding) = binding else {
            return match self.proxy.registry().bindings().ended(username) {
                Some(ended) => self.flows.found_over(now, username, found(&ended)),
                None => self.flows.found(now, username, None),
            };
        };
        let found = found(&binding);
        let row = self.proxy.sessions().row(binding.call.session());
        self.heard.insert(call, Heard { binding, row });
        self.flows.found(now, username, Some(found));
    }

    /// Ends the flow of a call and tells its client, on whichever shard it asks.
    fn end(&mut self, now: Instant, binding: Arc<Binding>) {
        self.flows.end(now, &binding.username);
        self.proxy.registry().bindings().has_ended(now, binding);
    }

    /// The binding of a call whose client has proven itself, with its row; a call of another proxy is taken.
    fn proven(&mut self, call: u64) -> Option<Arc<Binding>> {
        let call = self.heard.get_mut(&call)?;
        if call.row.is_none() {
            let (binding, row) = self.calls.take(&self.proxy, &call.binding)?;
            call.binding = binding;
            call.row = Some(row);
        }
        Some(Arc::clone(&call.binding))
    }

    /// Gives a flow its socket: a new one, or the one it has on another shard.
    fn open(&mut self, now: Instant, flow: FlowId, call: u64, nominates: bool, links: &mut Links) {
        let Some(binding) = self.proven(call) else {
            if let Some(call) = self.heard.get(&call) {
                self.flows.leave(now, &call.binding.username);
            }
            return;
        };
        let owner = binding.claim(self.shard);
        if owner == self.shard {
            return self.connect(now, flow, &binding, links);
        }
        let give = Command::Give {
            binding,
            nominates,
            to: self.shard,
            flow,
        };
        let asked = self.handles.get(owner).map(|handle| handle.try_send(give));
        if !matches!(asked, Some(Ok(()))) {
            self.flows.stay(flow);
        }
    }

    fn connect(&mut self, now: Instant, flow: FlowId, binding: &Arc<Binding>, links: &mut Links) {
        let call = &binding.call;
        match links.open(call.media) {
            Ok(link) => self.link(now, flow, link, links, binding),
            Err(error) => {
                warn!(session = call.session(), origin = %call.origin, %error, "no socket towards the origin");
                self.end(now, Arc::clone(binding));
                if let Some(row) = self.proxy.sessions().row(call.session()) {
                    row.end(EndReason::OriginError);
                }
            }
        }
    }

    fn link(
        &mut self,
        now: Instant,
        flow: FlowId,
        link: LinkId,
        links: &mut Links,
        binding: &Binding,
    ) {
        if !self.flows.link(now, flow, link) {
            links.close(link);
            binding.release(self.shard);
        }
    }

    fn give(
        &mut self,
        now: Instant,
        binding: Arc<Binding>,
        nominates: bool,
        to: usize,
        flow: FlowId,
        links: &mut Links,
    ) {
        let socket = match self.flows.surrender(now, &binding.username, nominates) {
            Surrender::Kept => return self.tell(to, Command::Kept { flow }),
            Surrender::Absent => None,
            Surrender::Given(link, account) => {
                if let Some(call) = self.known(&binding) {
                    count(call, account);
                }
                links.take(link)
            }
        };
        self.heard
            .retain(|_, call| !Arc::ptr_eq(&call.binding, &binding));
        binding.hand_over(self.shard, to);
        self.tell(
            to,
            Command::Given {
                binding,
                flow,
                socket,
            },
        );
    }

    fn known(&self, binding: &Arc<Binding>) -> Option<&Heard> {
        self.heard
            .values()
            .find(|call| Arc::ptr_eq(&call.binding, binding))
    }

    fn tell(&self, shard: usize, command: Command) {
        let Some(handle) = self.handles.get(shard) else {
            return;
        };
        if let Err(Command::Given { binding, .. }) = handle.try_send(command) {
            // A shard with a thousand commands before it: its client asks again, and gets a new socket.
            binding.release(shard);
        }
    }

    fn closed(
        &mut self,
        now: Instant,
        call: u64,
        link: Option<LinkId>,
        account: Account,
        reason: Closed,
    ) {
        let Some(call) = self.heard.remove(&call) else {
            return;
        };
        count(&call, account);
        if link.is_none() {
            return;
        }
        call.binding.release(self.shard);
        let Some(row) = call.row else { return };
        debug!(session = row.id, ?reason, "flow closed");
        match reason {
            Closed::Ended => {}
            // After an ICE restart, or a change to TCP, the call goes on by another.
            Closed::Idle if self.proxy.registry().bindings().is_open(&call.binding.call) => {}
            Closed::Idle => row.end(EndReason::ClientIdle),
            Closed::Refused => {
                row.end(EndReason::OriginClosed);
                self.proxy
                    .registry()
                    .bindings()
                    .has_ended(now, call.binding);
            }
        }
    }
}

impl Driver for Media {
    type Flows = Flows;
    type Command = Command;
    /// Clients send in bursts of some milliseconds, and keep a buffer against that.
    const REST: Duration = Duration::from_millis(1);

    fn flows(&mut self) -> &mut Flows {
        let generation = self.proxy.registry().bindings().generation();
        if generation != self.generation {
            self.generation = generation;
            self.flows.bindings_changed();
        }
        &mut self.flows
    }

    fn event(&mut self, now: Instant, event: Event, links: &mut Links) {
        match event {
            Event::Closed {
                call,
                link,
                account,
                reason,
            } => {
                if let Some(link) = link {
                    links.close(link);
                }
                self.closed(now, call, link, account, reason);
            }
            Event::Lookup { username, client } => self.look_up(now, username, client),
            Event::Open {
                flow,
                call,
                nominates,
            } => self.open(now, flow, call, nominates, links),
        }
    }

    fn command(&mut self, now: Instant, command: Command, links: &mut Links) {
        match command {
            Command::Give {
                binding,
                nominates,
                to,
                flow,
            } => self.give(now, binding, nominates, to, flow, links),
            Command::Given {
                binding,
                flow,
                socket,
            } => match socket.map(|socket| links.adopt(socket)) {
                Some(Ok(link)) => self.link(now, flow, link, links, &binding),
                Some(Err(_)) | None => self.connect(now, flow, &binding, links),
            },
            Command::Found { username, binding } => self.found(now, &username, binding),
            Command::Kept { flow } => self.flows.stay(flow),
        }
    }

    fn settle(&mut self, now: Instant, _links: &mut Links) {
        let calls = &self.heard;
        self.flows.settle(|call, account| {
            if let Some(call) = calls.get(&call) {
                count(call, account);
            }
        });
        let ended = |call: &Heard| {
            let reason = call.row.as_ref()?.end_reason()?;
            Some((Arc::clone(&call.binding), reason))
        };
        let over: Vec<_> = self.heard.values().filter_map(ended).collect();
        for (binding, reason) in over {
            // A client that may go on elsewhere is not told that its call is over.
            let goes_on = match reason {
                EndReason::Elsewhere => true,
                EndReason::Drained => self.proxy.cluster().is_some(),
                _ => false,
            };
            if goes_on {
                self.flows.leave(now, &binding.username);
            } else {
                self.end(now, binding);
            }
        }
    }

    fn stop(&mut self, _now: Instant) {}

    fn is_empty(&self) -> bool {
        self.flows.open() == 0
    }
}

/// Brings what passed to the session's account.
fn count(call: &Heard, account: Account) {
    let Some(row) = &call.row else { return };
    for (direction, bytes) in [
        (Direction::ToClient, account.to_client),
        (Direction::ToOrigin, account.to_origin),
    ] {
        if bytes > 0 {
            row.count(direction, usize::try_from(bytes).unwrap_or(usize::MAX));
        }
    }
    let media = match row.request.action {
        Action::Play => account.media_to_client,
        Action::Publish => account.media_to_origin,
    };
    if media {
        row.media_flows();
    }
}

/// Flows of one shard: as many as it may have sockets, and some that wait for theirs.
const MAX_FLOWS: usize = 16_384;
