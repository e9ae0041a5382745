//! The flows of one shard: which datagram belongs to which call.
//!
//! A client is known by the username of its checks, and by nothing else. A flow is opened, and gets a further address,
//! by a STUN request whose MESSAGE-INTEGRITY was made with the password from the answer that we relayed. Everything
//! else has to come from an address that was proven this way. An attacker who can forge source addresses, or who read
//! the username on its way, gains nothing.
//!
//! ```text
//! request of an unknown username ─► Event::Lookup ─► found()
//! first proof                    ─► Event::Open   ─► link()   (or stay(), when another shard keeps the flow)
//! idle, refused, end()           ─► Event::Closed
//! ```

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::classify::Class;
pub use super::flow::{AFTER_ALERT, Account, CONSENT};
use super::flow::{Flow, Proof, Stage};
use super::stun::{Kind, Message, refusal};
use super::unknown::{Unknown, UnknownFlow};
use crate::flow::{ClientPath, DropReason, Fate, FlowId, Flows as Table, Input, LinkId, Output};

/// Hashes what is looked up with each datagram. It is keyed, and weaker than the standard hasher: addresses enter a
/// table by a proof, and links are our own, so no attacker can fill a table with colliding keys.
type Hasher = foldhash::fast::RandomState;

/// The table of one shard.
#[derive(Debug)]
pub struct Flows {
    max: usize,
    flows: Vec<Option<Flow>>,
    free: Vec<u32>,
    by_username: HashMap<Box<[u8]>, FlowId>,
    by_path: HashMap<ClientPath, FlowId, Hasher>,
    by_link: HashMap<LinkId, FlowId, Hasher>,
    unknown: Unknown,
    outputs: VecDeque<Output<Event>>,
    sweep_at: Option<Instant>,
}

/// What is known about a username.
#[derive(Clone, PartialEq, Eq)]
pub struct Found {
    /// The call that the username belongs to, by a number of the shell's choice.
    pub call: u64,
    /// The origin's `ice-pwd`.
    pub password: Box<[u8]>,
}

/// What the shell has to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A flow is over. Close its link, if it had one, and settle its account.
    Closed {
        /// The call of the flow.
        call: u64,
        /// The socket of the flow.
        link: Option<LinkId>,
        /// What passed since the last settlement.
        account: Account,
        /// Why the flow ended.
        reason: Closed,
    },
    /// A username is unknown. The answer goes to [`Flows::found`].
    Lookup {
        /// The username of a request.
        username: Box<[u8]>,
        /// The address that sent the request.
        client: IpAddr,
    },
    /// A client has proven its address, and the flow needs its socket: see [`Flows::link`].
    Open {
        /// The flow.
        flow: FlowId,
        /// The call of the flow.
        call: u64,
        /// Whether the client has nominated the path of this request.
        nominates: bool,
    },
}

/// Why a flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Closed {
    /// The shell ended it.
    Ended,
    /// The client proved nothing for too long.
    Idle,
    /// The origin's machine says that nothing listens there.
    Refused,
}

/// What a shard answers when another shard asks for a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surrender {
    /// There is no such flow here.
    Absent,
    /// The socket of the flow, and what passed since the last settlement.
    Given(LinkId, Account),
    /// The flow stays: media passes here, and the client has not nominated another path.
    Kept,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}

impl Flows {
    /// A table for at most `max` flows.
    pub fn new(now: Instant, max: usize) -> Self {
        Self {
            max,
            flows: Vec::new(),
            free: Vec::new(),
            by_username: HashMap::new(),
            by_path: HashMap::default(),
            by_link: HashMap::default(),
            unknown: Unknown::new(now),
            outputs: VecDeque::new(),
            sweep_at: None,
        }
    }

    /// Takes the answer to [`Event::Lookup`], and looks at the request that caused it again.
    pub fn found(&mut self, now: Instant, username: &[u8], found: Option<Found>) {
        let question = self.unknown.answered(username);
        let Some(found) = found else {
            return self.unknown.is_absent(now, username);
        };
        if !self.by_username.contains_key(username) {
            self.insert(Flow::new(now, username, found));
        }
        self.arm(now);
        self.look_again(now, username, question);
    }

    /// Takes the answer to [`Event::Lookup`] where the call of this username has ended. Its client is told so for a while, on
    /// the path on which it asks now too.
    pub fn found_over(&mut self, now: Instant, username: &[u8], found: Found) {
        let question = self.unknown.answered(username);
        if !self.by_username.contains_key(username) {
            let mut flow = Flow::new(now, username, found);
            flow.stage = Stage::Over {
                until: now + TELL_FOR,
            };
            self.insert(flow);
        }
        self.arm(now);
        self.look_again(now, username, question);
    }

    /// Handles the request that caused a look-up again, where its username is known now.
    fn look_again(&mut self, now: Instant, username: &[u8], question: Option<UnknownFlow>) {
        let is_known = self.by_username.contains_key(username);
        let Some(mut question) = question.filter(|_| is_known) else {
            return;
        };
        let (path, data) = (question.path, &mut question.datagram);
        // A flow without a socket keeps its request itself; what is left is to tell the client that its call has ended.
        if let Fate::Reply { len } = self.handle(now, Input::Client { path, data }) {
            data.truncate(len);
            let data = std::mem::take(data);
            self.outputs.push_back(Output::ToClient { path, data });
        }
    }

    /// Notes that there are new bindings: a username that was unknown may be known now.
    pub fn bindings_changed(&mut self) {
        self.unknown.forget_absent();
    }

    /// Gives a flow its socket, and sends the request that proved the client's address through it. Returns whether the
    /// flow was still waiting for a socket.
    pub fn link(&mut self, now: Instant, id: FlowId, link: LinkId) -> bool {
        let Some(flow) = slot(&mut self.flows, id) else {
            return false;
        };
        if !matches!(flow.stage, Stage::Opening { .. }) {
            return false;
        }
        if let Stage::Opening { kept, .. } = std::mem::replace(&mut flow.stage, Stage::Open(link)) {
            flow.account.to_origin += kept.len() as u64;
            self.outputs
                .push_back(Output::ToOrigin { link, data: kept });
        }
        self.by_link.insert(link, id);
        self.arm(now);
        true
    }

    /// Notes that another shard keeps the flow: what was proven here does not count.
    pub fn stay(&mut self, id: FlowId) {
        if let Some(flow) = slot(&mut self.flows, id)
            && matches!(flow.stage, Stage::Opening { .. })
        {
            flow.stage = Stage::Known;
            let paths: Vec<ClientPath> = flow.paths().collect();
            for path in paths {
                flow.lose(path);
                self.by_path.remove(&path);
            }
        }
    }

    /// Asks for the flow of a client that another shard has heard. The flow is given away if the client nominated the
    /// new path, or has fallen silent here.
    pub fn surrender(&mut self, now: Instant, username: &[u8], nominates: bool) -> Surrender {
        let Some(id) = self.by_username.get(username).copied() else {
            return Surrender::Absent;
        };
        let Some(flow) = slot(&mut self.flows, id) else {
            return Surrender::Absent;
        };
        match flow.stage {
            Stage::Open(link) if nominates || flow.is_quiet(now) => {
                let account = flow.account;
                self.remove(id);
                Surrender::Given(link, account)
            }
            Stage::Open(_) => Surrender::Kept,
            Stage::Known | Stage::Opening { .. } => {
                self.remove(id);
                Surrender::Absent
            }
            Stage::Over { .. } => Surrender::Kept,
        }
    }

    /// Ends the call of this username. A client that still sends requests is told so for a while.
    pub fn end(&mut self, now: Instant, username: &[u8]) {
        if let Some(id) = self.by_username.get(username).copied() {
            self.close(now, id, Closed::Ended);
        }
    }

    /// Ends the flow of a call that goes on elsewhere, without telling its client.
    pub fn leave(&mut self, now: Instant, username: &[u8]) {
        if let Some(id) = self.by_username.get(username).copied() {
            self.close(now, id, Closed::Ended);
            self.remove(id);
        }
    }

    /// Calls `visit` with each call and what passed since the last settlement.
    pub fn settle(&mut self, mut visit: impl FnMut(u64, Account)) {
        for flow in self.flows.iter_mut().flatten() {
            let account = std::mem::take(&mut flow.account);
            if account != Account::default() {
                visit(flow.found.call, account);
            }
        }
    }

    /// How many flows have a socket.
    pub fn open(&self) -> usize {
        self.by_link.len()
    }

    /// How many flows there are, including those that wait and those that are over.
    pub fn len(&self) -> usize {
        self.by_username.len()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.by_username.is_empty()
    }

    fn client_sent(&mut self, now: Instant, path: ClientPath, data: &mut [u8]) -> Fate {
        let class = Class::of(data);
        match class {
            Class::Stun => match Message::parse(data) {
                Err(_) => Fate::Drop(DropReason::Malformed),
                Ok(message) => match (message.kind, message.username) {
                    (Kind::Request, Some(_)) => self.request(now, path, data),
                    (Kind::Request, None) => Fate::Drop(DropReason::Forged),
                    _ => self.bound(now, path, class, data),
                },
            },
            Class::Dtls | Class::Rtcp | Class::Rtp => self.bound(now, path, class, data),
            Class::Unknown => Fate::Drop(DropReason::UnknownKind),
        }
    }

    /// Handles a datagram that only a proven address may send.
    fn bound(&mut self, now: Instant, path: ClientPath, class: Class, data: &[u8]) -> Fate {
        let Some(flow) = self
            .by_path
            .get(&path)
            .and_then(|id| slot(&mut self.flows, *id))
        else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let Stage::Open(link) = flow.stage else {
            return Fate::Drop(DropReason::Untimely);
        };
        flow.hear(now, path);
        if Class::is_alert(data) {
            flow.hint_of_end(now);
        }
        flow.account.to_origin += data.len() as u64;
        flow.account.media_to_origin |= class == Class::Rtp;
        Fate::ToOrigin { link }
    }

    /// Handles a client's request: a proof for a known username, or the first sight of another one.
    fn request(&mut self, now: Instant, path: ClientPath, data: &mut [u8]) -> Fate {
        let Ok(message) = Message::parse(data) else {
            return Fate::Drop(DropReason::Malformed);
        };
        let username = message.username.unwrap_or_default();
        let Some(id) = self.by_username.get(username).copied() else {
            return self.ask(now, username, path, data);
        };
        let Some(flow) = slot(&mut self.flows, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        if !message.is_from_owner_of(&flow.found.password) {
            return Fate::Drop(DropReason::Forged);
        }
        let (transaction, nominates) = (message.transaction, message.nominates);
        if matches!(flow.stage, Stage::Over { .. }) {
            let answer = refusal(transaction, &flow.found.password);
            return reply(data, &answer);
        }
        match flow.prove(now, path, transaction, nominates) {
            Proof::Again => {}
            Proof::Copied => return Fate::Drop(DropReason::ForeignAddress),
            Proof::New { instead } => {
                if let Some(old) = instead {
                    self.by_path.remove(&old);
                }
                self.bind(path, id);
            }
        }
        self.pass_request(now, id, nominates, data)
    }

    fn ask(&mut self, now: Instant, username: &[u8], path: ClientPath, data: &[u8]) -> Fate {
        self.arm(now);
        match self.unknown.ask(now, username, path, data) {
            Ok(()) => {
                let lookup = Event::Lookup {
                    username: username.into(),
                    client: path.client().ip(),
                };
                self.outputs.push_back(Output::Event(lookup));
                Fate::Kept
            }
            Err(reason) => Fate::Drop(reason),
        }
    }

    /// Sends a proven request on, or keeps it until the flow has its socket.
    fn pass_request(&mut self, now: Instant, id: FlowId, nominates: bool, data: &[u8]) -> Fate {
        let Some(flow) = slot(&mut self.flows, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let call = flow.found.call;
        let open = Event::Open {
            flow: id,
            call,
            nominates,
        };
        match &mut flow.stage {
            Stage::Open(link) => {
                flow.account.to_origin += data.len() as u64;
                Fate::ToOrigin { link: *link }
            }
            Stage::Known => {
                flow.stage = Stage::Opening {
                    kept: data.to_vec(),
                    since: now,
                };
                self.outputs.push_back(Output::Event(open));
                Fate::Kept
            }
            Stage::Opening { kept, since } => {
                kept.clear();
                kept.extend_from_slice(data);
                if now.saturating_duration_since(*since) >= OPEN_AGAIN {
                    *since = now;
                    self.outputs.push_back(Output::Event(open));
                }
                Fate::Kept
            }
            Stage::Over { .. } => Fate::Drop(DropReason::UnknownFlow),
        }
    }

    fn origin_sent(&mut self, link: LinkId, data: &[u8]) -> Fate {
        let Some(id) = self.by_link.get(&link).copied() else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let Some(flow) = slot(&mut self.flows, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        flow.origin_speaks();
        let class = Class::of(data);
        let path = match class {
            Class::Unknown => return Fate::Drop(DropReason::UnknownKind),
            Class::Stun => match Message::parse(data) {
                Err(_) => return Fate::Drop(DropReason::Malformed),
                Ok(message) => match message.kind {
                    Kind::Error | Kind::Success => flow.asker(message.transaction),
                    Kind::Indication | Kind::Other | Kind::Request => None,
                },
            },
            Class::Dtls | Class::Rtcp | Class::Rtp => None,
        };
        let Some(path) = path.or_else(|| flow.active()) else {
            return Fate::Drop(DropReason::Untimely);
        };
        flow.account.to_client += data.len() as u64;
        flow.account.media_to_client |= class == Class::Rtp;
        Fate::ToClient { flow: id, path }
    }

    fn refused(&mut self, now: Instant, link: LinkId) {
        let Some(id) = self.by_link.get(&link).copied() else {
            return;
        };
        if slot(&mut self.flows, id).is_some_and(|flow| flow.refused(now)) {
            self.close(now, id, Closed::Refused);
        }
    }

    /// Binds an address to the flow that proved it last: behind a NAT a new call may get the port of an old one.
    fn bind(&mut self, path: ClientPath, id: FlowId) {
        if let Some(before) = self.by_path.insert(path, id)
            && before != id
            && let Some(flow) = slot(&mut self.flows, before)
        {
            flow.lose(path);
        }
    }

    fn insert(&mut self, flow: Flow) {
        if self.by_username.len() >= self.max {
            return;
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let Ok(index) = u32::try_from(self.flows.len()) else {
                    return;
                };
                self.flows.push(None);
                index
            }
        };
        self.by_username
            .insert(flow.username.clone(), FlowId(index));
        if let Some(place) = self.flows.get_mut(index as usize) {
            *place = Some(flow);
        }
    }

    /// Ends a flow. It stays for a while without a socket, to tell its client.
    fn close(&mut self, now: Instant, id: FlowId, reason: Closed) {
        let Some(flow) = slot(&mut self.flows, id) else {
            return;
        };
        let over = Stage::Over {
            until: now + TELL_FOR,
        };
        let link = match std::mem::replace(&mut flow.stage, over) {
            Stage::Open(link) => Some(link),
            Stage::Known | Stage::Opening { .. } => None,
            Stage::Over { until } => {
                flow.stage = Stage::Over { until };
                return;
            }
        };
        let account = std::mem::take(&mut flow.account);
        for path in flow.paths() {
            self.by_path.remove(&path);
        }
        if let Some(link) = link {
            self.by_link.remove(&link);
        }
        // A flow that never had a socket here may have one on another shard.
        self.outputs.push_back(Output::Event(Event::Closed {
            call: flow.found.call,
            link,
            account,
            reason,
        }));
        self.arm(now);
    }

    /// Forgets a flow without telling its client.
    fn remove(&mut self, id: FlowId) {
        let Some(flow) = self.flows.get_mut(id.0 as usize).and_then(Option::take) else {
            return;
        };
        self.free.push(id.0);
        self.by_username.remove(&flow.username);
        for path in flow.paths() {
            // Another flow may have proven the address since.
            if self.by_path.get(&path) == Some(&id) {
                self.by_path.remove(&path);
            }
        }
        if let Stage::Open(link) = flow.stage {
            self.by_link.remove(&link);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let mut idle = Vec::new();
        let mut over = Vec::new();
        for (index, place) in self.flows.iter_mut().enumerate() {
            let (Some(flow), Ok(index)) = (place, u32::try_from(index)) else {
                continue;
            };
            let by_path = &mut self.by_path;
            match flow.stage {
                Stage::Over { until } if now >= until => over.push(FlowId(index)),
                Stage::Over { .. } => {}
                _ if flow.is_idle(now) => idle.push(FlowId(index)),
                _ => flow.expire_paths(now, |path| {
                    by_path.remove(&path);
                }),
            }
        }
        for id in idle {
            self.close(now, id, Closed::Idle);
        }
        for id in over {
            self.remove(id);
        }
        self.unknown.sweep(now);
        let rest = !self.by_username.is_empty() || !self.unknown.is_empty();
        self.sweep_at = rest.then(|| now + SWEEP_EVERY);
    }

    fn arm(&mut self, now: Instant) {
        self.sweep_at.get_or_insert(now + SWEEP_EVERY);
    }
}

impl Table for Flows {
    type Event = Event;

    fn handle(&mut self, now: Instant, input: Input<'_>) -> Fate {
        match input {
            Input::Client { path, data } => self.client_sent(now, path, data),
            Input::Origin { link, data } => self.origin_sent(link, data),
            Input::Refused { link } => {
                self.refused(now, link);
                Fate::Kept
            }
            Input::Timeout => {
                if self.sweep_at.is_some_and(|at| now >= at) {
                    self.sweep(now);
                }
                Fate::Kept
            }
        }
    }

    fn poll_output(&mut self) -> Option<Output<Event>> {
        self.outputs.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.sweep_at
    }
}

fn slot(flows: &mut [Option<Flow>], id: FlowId) -> Option<&mut Flow> {
    flows.get_mut(id.0 as usize)?.as_mut()
}

/// Writes an answer in place of the request, if it fits.
fn reply(data: &mut [u8], answer: &[u8]) -> Fate {
    match data.get_mut(..answer.len()) {
        Some(place) => {
            place.copy_from_slice(answer);
            Fate::Reply { len: answer.len() }
        }
        None => Fate::Drop(DropReason::UnknownFlow),
    }
}

/// How often deadlines are checked; each of them is a matter of seconds.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How long the client of a call that has ended is told so. It sends a check at least every two and a half seconds, so within
/// this time each hears of the end.
pub const TELL_FOR: Duration = Duration::from_secs(8);
/// How long the shell may take to open a socket before it is asked again.
const OPEN_AGAIN: Duration = Duration::from_millis(250);
