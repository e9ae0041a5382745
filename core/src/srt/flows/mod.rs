//! The table of SRT flows: the handshake with both sides, and the media between them.
//!
//! ```text
//! caller                      table                                 origin
//!   induction ──────────────►   (nothing is kept)
//!   ◄─────────── cookie
//!   conclusion ─────────────►   cookie holds: Event::Asked
//!                               attempt(link) ──── induction ──────►
//!                                             ◄─── cookie ──────────
//!                                             ──── conclusion ─────►
//!                               Event::Answered ◄─ conclusion ──────
//!   ◄─────────── conclusion     join()
//!   ◄──────────────── packets pass, readdressed ──────────────────►
//! ```
//!
//! A flow has a socket id of our own, which both sides write to. Ids of different callers and origins therefore never
//! collide, and one socket to an origin serves all flows there.
//!
//! With AES-GCM the tag of a packet covers its header, and the socket id in it. Such a flow shows each side the other's own
//! id, so that packets pass without a change. It is found by its caller's address and the origin's id on one side, and by
//! a link that no other flow uses on the other.

mod course;
mod flow;
mod handshake;
mod held;
mod kept;
mod own_ids;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::flow::{Asking, Attempt, Flow, Joined, Stage, Whose};
use self::handshake::{conclusion, induction, rejection};
use self::held::Instead;
use self::kept::Look;
pub use self::kept::{ASKED_AFTER, FORGOTTEN_FOR, PASSES_ON_FOR, REFUSED_FOR, SILENT_FOR};
use self::own_ids::OwnIds;
use super::cookie::Cookies;
use super::packet::{self, Handshake, Header, Kind, Rejection};
use crate::dialect::{ClientDialects, Dialect};
use crate::flow::{ClientPath, DropReason, Fate, FlowId, Flows as Table, Input, LinkId, Output};
use crate::place::leg::LegEnd;
use crate::stream::SrtStreamId;

/// The limits of a table.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Maximum concurrent flows, at most [`MOST_FLOWS`].
    pub flows: usize,
    /// How long a side may send nothing before it counts as gone; a live one sends a keep-alive every second.
    pub idle: Duration,
    /// New flows of one address (an IPv6 /64) per second; twice as many in a burst.
    pub per_source: u32,
    /// The stream id of callers that send none; if empty, such callers are rejected.
    pub default_stream_id: String,
}

/// The table of one shard.
#[derive(Debug)]
pub struct Flows {
    limits: Limits,
    cookies: Cookies,
    places: Vec<Option<Flow>>,
    free: Vec<u32>,
    /// The flow of each caller, by the caller's address and socket id.
    callers: BTreeMap<(SocketAddr, u32), FlowId>,
    own_ids: OwnIds,
    /// For each slot of the table of sources, when they may open another flow.
    sources: Vec<Option<Instant>>,
    outputs: VecDeque<Output<Event>>,
    sweep_at: Option<Instant>,
    random: u64,
    /// Keeps sources from choosing their slot.
    salt: u64,
    stopping: bool,
    /// Until when no further caller is told of that the limits refuse.
    flood_told_until: Option<Instant>,
    /// Whether any flow was joined that may outlive its origin.
    keeps: bool,
    dialects: Arc<ClientDialects>,
    /// The port of each entry.
    ports: Vec<u16>,
}

/// What the shell has to act on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A caller with a proven address wants a stream. Answer with [`Flows::attempt`] or [`Flows::reject`].
    Asked {
        /// The caller's flow.
        flow: FlowId,
        /// The caller's address.
        client: SocketAddr,
        /// How the caller names streams.
        dialect: Dialect,
        /// What the caller wants.
        asked: SrtStreamId,
        /// The bond that it is a link of.
        bond: Option<u32>,
    },
    /// The origin agreed. Call [`Flows::join`], or make another attempt.
    Answered {
        /// The flow of the attempt.
        flow: FlowId,
    },
    /// The attempt failed. Make another attempt, or call [`Flows::reject`].
    Failed {
        /// The flow of the attempt.
        flow: FlowId,
        /// How it failed.
        why: Failure,
    },
    /// The caller was told no before anything was asked for it.
    Unasked {
        /// The caller.
        client: SocketAddr,
        /// What it was told.
        code: Rejection,
        /// Its stream id, without what it may hold besides a name, which comes last.
        named: String,
        /// The rule that its handshake breaks.
        why: String,
    },
    /// The origin is lost of a flow that may outlive it. The caller does not know.
    Lost {
        /// The flow.
        flow: FlowId,
        /// How it was lost. One that is only silent still gets what the caller sends.
        end: LegEnd,
    },
    /// The origin that was lost by its silence is there again, and the flow goes on with it. An attempt is given up.
    Back {
        /// The flow.
        flow: FlowId,
    },
    /// The flow went over to another origin, and media passes.
    Resumed {
        /// The flow.
        flow: FlowId,
        /// How many packets of a publisher no origin gets.
        dropped: u32,
        /// For how long no origin acknowledged media of a publisher, or a player got none.
        gap: Duration,
    },
    /// The origin rejected the caller. A caller that was not joined was told so.
    Rejected {
        /// The flow of the attempt.
        flow: FlowId,
        /// The origin's code.
        code: Rejection,
    },
    /// A flow ended: a joined one, or one whose caller gave up before.
    Closed {
        /// The flow.
        flow: FlowId,
        /// Why it ended.
        end: End,
        /// What passed since the last call of [`Flows::traffic`].
        traffic: Traffic,
    },
}

/// How an attempt fails, other than by silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The origin that had agreed to have a joined flow left before it had it.
    Left,
    /// The present origin of a player has used the numbers that were left for this one.
    Late,
    /// A key would be used twice with one number.
    NoNumbers,
    /// The origin agrees to other terms than the first one did, which the caller goes by.
    OtherTerms,
    /// Nothing listens at the origin's port.
    Refused,
    /// The origin does not speak version 5 of SRT's handshake.
    NotSrt,
    /// The packets of the flow may not be readdressed, and the socket id that the origin chose leads to another flow of
    /// the same caller.
    IdTaken,
}

/// Why a joined flow ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The shell ended it.
    Asked,
    /// The caller closed the connection, or started a new one.
    ClientClosed,
    /// The caller sent nothing for too long, or gave up before it was joined.
    ClientIdle,
    /// The origin closed the connection, or nothing listens there any more.
    OriginClosed,
    /// The origin sent nothing for too long.
    OriginIdle,
}

/// Bytes that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// From the origin to the client.
    pub to_client: u64,
    /// From the client to the origin.
    pub to_origin: u64,
    /// Whether media was among the bytes; acknowledgements and keep-alives do not count.
    pub media: bool,
}

impl Flows {
    /// An empty table. `seed` makes socket ids hard to guess.
    pub fn new(limits: Limits, cookies: Cookies, seed: u64) -> Self {
        let salt = u64::from(cookies.salt());
        Self {
            limits,
            cookies,
            places: Vec::new(),
            free: Vec::new(),
            callers: BTreeMap::new(),
            own_ids: OwnIds::default(),
            sources: vec![None; SOURCES],
            outputs: VecDeque::new(),
            sweep_at: None,
            random: seed,
            salt,
            stopping: false,
            flood_told_until: None,
            keeps: false,
            dialects: Arc::default(),
            ports: Vec::new(),
        }
    }

    /// The same table for callers that speak these `dialects`. `ports` are those of the listener's sockets, in the order
    /// of their entries.
    #[must_use]
    pub fn of_clients(mut self, dialects: Arc<ClientDialects>, ports: Vec<u16>) -> Self {
        (self.dialects, self.ports) = (dialects, ports);
        self
    }

    /// Asks the origin at `origin`, over `link`, to take the flow. An attempt under way is given up. The outcome is an
    /// event; the shell decides how long silence may last. No other flow may use the link if the flow
    /// [needs its own](Flows::needs_own_link).
    pub fn attempt(&mut self, now: Instant, flow: FlowId, link: LinkId, origin: SocketAddr) {
        self.attempt_as(now, flow, link, origin, None);
    }

    /// As [`attempt`](Self::attempt), with `stream_id` in place of the caller's own.
    pub fn attempt_as(
        &mut self,
        now: Instant,
        flow: FlowId,
        link: LinkId,
        origin: SocketAddr,
        stream_id: Option<Box<str>>,
    ) {
        if self.keeps && self.call_next(now, flow, (link, origin), stream_id.clone()) {
            return;
        }
        let Some((taken, asking)) = self.take_asking(flow) else {
            return;
        };
        let attempt = Attempt {
            link,
            shown: taken.first_shown(),
            beginning: None,
            origin,
            cookie: None,
            stream_id,
            again_at: now + ASK_AGAIN,
        };
        let data = induction(attempt.shown, &asking, origin);
        let own = taken.authenticated;
        taken.stage = Stage::Attempting(asking, attempt);
        if own {
            self.own_ids.use_link(flow, link);
        }
        self.outputs.push_back(Output::ToOrigin { link, data });
        self.wake_at(now + SWEEP_SOON);
    }

    /// Whether the flow has to have a link to its origin that no other flow uses: its packets may not be readdressed.
    pub fn needs_own_link(&self, flow: FlowId) -> bool {
        let place = self.places.get(index_of(flow)).and_then(Option::as_ref);
        place.is_some_and(|known| known.id == flow && known.authenticated)
    }

    /// Whether the origin that is asked to take the flow has shown that it lives: it answers the first packet of a call at
    /// once, and may have somebody to ask before it agrees.
    pub fn has_heard(&self, flow: FlowId) -> bool {
        let place = self.places.get(index_of(flow)).and_then(Option::as_ref);
        place.is_some_and(|known| known.id == flow && known.has_heard())
    }

    /// Gives up an attempt; the caller keeps waiting.
    pub fn abandon(&mut self, flow: FlowId) {
        if self.keeps && self.drop_next(flow) {
            return;
        }
        if let Some((taken, asking)) = self.take_asking(flow) {
            taken.stage = Stage::Placing(asking);
        }
    }

    /// Tells the caller that the origin agreed. Packets pass from now on. A flow that is joined goes over to the origin that was
    /// called for it, and the caller is told nothing.
    pub fn join(&mut self, now: Instant, flow: FlowId) {
        self.tell_joined(now, flow);
    }

    /// The same, and returns the conclusion of a caller that was told.
    fn tell_joined(&mut self, now: Instant, flow: FlowId) -> Option<Box<Asking>> {
        let joined = find(&mut self.places, flow)?;
        let (asking, leg, reply) = match std::mem::replace(&mut joined.stage, Stage::nothing(now)) {
            Stage::Answered(asking, leg, reply) => (asking, leg, reply),
            other => {
                joined.stage = other;
                self.join_next(now, flow);
                return None;
            }
        };
        self.outputs.push_back(Output::ToClient {
            path: joined.path,
            data: reply.told(now),
        });
        joined.stage = Stage::Joined(Joined {
            leg,
            reply,
            kept: None,
        });
        joined.client_active = now;
        joined.origin_active = now;
        Some(asking)
    }

    /// Rejects a caller that is not joined.
    pub fn reject(&mut self, now: Instant, flow: FlowId, code: Rejection) {
        self.abandon(flow);
        let Some(rejected) = find(&mut self.places, flow) else {
            return;
        };
        let Stage::Placing(asking) = &rejected.stage else {
            return;
        };
        let Ok(asked) = Handshake::parse(&asking.packet) else {
            return;
        };
        let packet = rejection(asked, rejected.path, code).to_vec();
        rejected.say_no(now, packet, &mut self.outputs);
    }

    /// Ends a flow, and tells both sides.
    pub fn close(&mut self, flow: FlowId) {
        self.end(flow, End::Asked, Farewell::Both);
    }

    /// Calls `each` with what passed on each joined flow since the last call; flows without traffic are left out.
    pub fn traffic(&mut self, mut each: impl FnMut(FlowId, Traffic)) {
        for flow in self.places.iter_mut().flatten() {
            let traffic = std::mem::take(&mut flow.traffic);
            if traffic != Traffic::default() {
                each(flow.id, traffic);
            }
        }
    }

    /// Accepts no new callers from now on.
    pub const fn stop(&mut self) {
        self.stopping = true;
    }

    /// How many flows there are, including rejected ones that may ask again.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Whether there is no flow.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many callers are waiting or joined.
    pub fn open(&self) -> usize {
        let open = |flow: &&Flow| !matches!(flow.stage, Stage::Rejected(..));
        self.places.iter().flatten().filter(open).count()
    }

    /// Whether any flow uses the link.
    pub fn uses(&self, link: LinkId) -> bool {
        let mut flows = self.places.iter().flatten();
        flows.any(|flow| flow.uses(link))
    }

    fn client_says(&mut self, now: Instant, path: ClientPath, data: &mut [u8]) -> Fate {
        let Ok(header) = Header::parse(data) else {
            return Fate::Drop(DropReason::Malformed);
        };
        if header.kind == Kind::Handshake && header.destination == 0 {
            return self.handshake(now, path, data);
        }
        let shown = FlowId(header.destination);
        let id = self.own_ids.of_caller(path.client(), header.destination);
        let id = id.unwrap_or(shown);
        let Some(flow) = find(&mut self.places, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        if flow.path.remote != path.remote || flow.path.entry != path.entry {
            return Fate::Drop(DropReason::ForeignAddress);
        }
        let Stage::Joined(joined) = &mut flow.stage else {
            return Fate::Drop(DropReason::Untimely);
        };
        if header.kind == Kind::Handshake {
            return Fate::Drop(DropReason::Untimely);
        }
        flow.client_active = now;
        flow.traffic.to_origin += data.len() as u64;
        flow.traffic.media |= header.kind == Kind::Data;
        let instead = joined.caller_says(now, flow.path, flow.caller, data);
        let leg = joined.leg;
        packet::readdress(data, leg.socket_id);
        if header.kind == Kind::Shutdown {
            let id = flow.id;
            self.end(id, End::ClientClosed, Farewell::None);
        }
        match instead {
            None => Fate::ToOrigin { link: leg.link },
            Some(Instead::Nothing) => Fate::Drop(DropReason::Untimely),
            Some(Instead::Say(to_client, to_origin)) => {
                self.outputs.push_back(to_client);
                self.outputs.extend(to_origin);
                Fate::Kept
            }
        }
    }

    fn origin_says(&mut self, now: Instant, link: LinkId, data: &mut [u8]) -> Fate {
        let Ok(header) = Header::parse(data) else {
            return Fate::Drop(DropReason::Malformed);
        };
        let place = match self.own_ids.of_link(link) {
            Some(id) => find(&mut self.places, id),
            None => at(&mut self.places, header.destination),
        };
        let Some(flow) = place else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let whose = match flow.addressed(link, header.destination) {
            Ok(whose) => whose,
            Err(reason) => return Fate::Drop(reason),
        };
        let (id, kind) = (flow.id, header.kind);
        match (whose, kind) {
            (Whose::Former, _) => self.former_says(now, id, kind),
            (Whose::Next, Kind::Handshake) => self.answer_next(now, id, data),
            (Whose::Next, _) => self.next_says(now, id, kind, data),
            (Whose::Present, Kind::Handshake) => self.answer(now, id, data),
            (Whose::Present, _) => self.present_says(now, id, kind, data),
        }
    }

    /// Reports a failed attempt.
    fn fail(&mut self, flow: FlowId, why: Failure) -> Fate {
        self.abandon(flow);
        self.outputs
            .push_back(Output::Event(Event::Failed { flow, why }));
        Fate::Kept
    }

    /// Notes that nothing listens at the other end of `link`. Attempts there are over. Joined flows lose their origin only if it
    /// has been silent for a while, because the message is easily forged and a live origin keeps sending.
    fn refused(&mut self, now: Instant, link: LinkId) {
        let (mut failed, mut gone) = (Vec::new(), Vec::new());
        let mut wakes = false;
        for flow in self.places.iter_mut().flatten() {
            let silent = now.saturating_duration_since(flow.origin_active);
            match &mut flow.stage {
                Stage::Attempting(_, attempt) if attempt.link == link => failed.push(flow.id),
                Stage::Joined(joined) => {
                    let kept = joined.kept.as_mut();
                    if kept.as_ref().is_some_and(|kept| kept.calls_over(link)) {
                        failed.push(flow.id);
                    }
                    if joined.leg.link != link {
                        continue;
                    }
                    match kept {
                        Some(kept) if kept.lost.is_some() => {}
                        Some(kept) if kept.outlives(now, LegEnd::Reset) => {
                            kept.was_refused = true;
                            wakes = true;
                        }
                        _ if silent >= SILENT => gone.push(flow.id),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        for flow in failed {
            self.fail(flow, Failure::Refused);
        }
        for flow in gone {
            self.end(flow, End::OriginClosed, Farewell::Client);
        }
        if wakes {
            self.wake_at(now + SWEEP_SOON);
        }
    }

    fn sweep(&mut self, now: Instant) {
        let (mut ended, mut looked) = (Vec::new(), Vec::new());
        let mut soon = false;
        for flow in self.places.iter_mut().flatten() {
            let gave_up = flow.gave_up(now);
            match &mut flow.stage {
                Stage::Placing(_) | Stage::Answered(..) | Stage::Attempting(..) if gave_up => {
                    ended.push((flow.id, End::ClientIdle));
                }
                Stage::Placing(_) | Stage::Answered(..) => {}
                Stage::Attempting(asked, attempt) => {
                    soon = true;
                    if attempt.again_at <= now {
                        attempt.again_at = now + ASK_AGAIN;
                        let data = match attempt.cookie {
                            None => induction(attempt.shown, asked, attempt.origin),
                            Some(_) => conclusion(now, asked, attempt),
                        };
                        let link = attempt.link;
                        self.outputs.push_back(Output::ToOrigin { link, data });
                    }
                }
                Stage::Joined(joined) => {
                    let leg = joined.leg;
                    let kept = joined.kept.as_deref_mut();
                    let is_lost = kept.as_ref().is_some_and(|kept| kept.lost.is_some());
                    if let Some(kept) = kept {
                        kept.speak(now, leg, (flow.path, flow.caller), &mut self.outputs);
                        soon |= kept.lost.is_some()
                            || kept.next.is_some()
                            || kept.tells_key()
                            || kept.passes_on().is_some();
                        match kept.look(now, flow.origin_active) {
                            Look::Well => {}
                            look => {
                                soon = true;
                                looked.push((flow.id, look));
                            }
                        }
                    }
                    let silent = |since| now.saturating_duration_since(since) >= self.limits.idle;
                    if silent(flow.client_active) {
                        ended.push((flow.id, End::ClientIdle));
                    } else if silent(flow.origin_active) && !is_lost {
                        ended.push((flow.id, End::OriginIdle));
                    }
                }
                Stage::Rejected(_, until) => {
                    if *until <= now {
                        ended.push((flow.id, End::Asked));
                    }
                }
            }
        }
        for (flow, look) in looked {
            self.attend(now, flow, look);
        }
        for (flow, end) in ended {
            self.end(flow, end, Farewell::Both);
        }
        let next = if soon {
            SWEEP_SOON
        } else if self.keeps {
            SWEEP / 2
        } else {
            SWEEP
        };
        self.sweep_at = (!self.is_empty()).then(|| now + next);
        self.keeps &= !self.is_empty();
    }

    /// Removes a flow, and tells the sides that may think it still exists.
    fn end(&mut self, id: FlowId, end: End, farewell: Farewell) {
        let Some(place) = self.places.get_mut(index_of(id)) else {
            return;
        };
        let Some(flow) = place.take_if(|flow| flow.id == id) else {
            return;
        };
        self.free.push(id.0 & INDEX_MASK);
        self.callers.remove(&(flow.path.client(), flow.caller));
        self.own_ids.forget(id);
        let (mut leg, mut next, mut former) = (None, None, None);
        match &flow.stage {
            Stage::Joined(joined) => {
                let kept = joined.kept.as_ref();
                let is_gone = kept
                    .and_then(|kept| kept.lost)
                    .is_some_and(|lost| lost.is_gone);
                leg = (!is_gone).then_some(joined.leg);
                next = kept.and_then(|kept| kept.next.as_ref()?.leg());
                former = kept.and_then(|kept| kept.passes_on());
            }
            Stage::Answered(_, answered, _) => leg = Some(*answered),
            Stage::Placing(_) | Stage::Attempting(..) | Stage::Rejected(..) => {}
        }
        self.outputs
            .extend([next, former].into_iter().flatten().map(held::goodbye));
        if matches!(farewell, Farewell::Both | Farewell::Origin) {
            self.outputs.extend(leg.map(held::goodbye));
        }
        if matches!(farewell, Farewell::Both | Farewell::Client)
            && matches!(flow.stage, Stage::Joined(..))
        {
            self.outputs.push_back(Output::ToClient {
                path: flow.path,
                data: packet::shutdown(flow.caller),
            });
        }
        if !matches!(flow.stage, Stage::Rejected(..)) {
            self.outputs.push_back(Output::Event(Event::Closed {
                flow: id,
                end,
                traffic: flow.traffic,
            }));
        }
    }

    /// Takes the caller's conclusion out of a flow that is not joined; the origin that was asked is told that the
    /// attempt is over. The caller of this function has to set a new stage.
    fn take_asking(&mut self, id: FlowId) -> Option<(&mut Flow, Box<Asking>)> {
        let flow = find(&mut self.places, id)?;
        let stage = std::mem::replace(&mut flow.stage, Stage::nothing(flow.client_active));
        if !matches!(stage, Stage::Joined(..)) {
            self.own_ids.forget(id);
        }
        match stage {
            Stage::Placing(asking) | Stage::Attempting(asking, _) => Some((flow, asking)),
            Stage::Answered(asking, leg, _) => {
                self.outputs.push_back(held::goodbye(leg));
                Some((flow, asking))
            }
            other @ (Stage::Joined(..) | Stage::Rejected(..)) => {
                flow.stage = other;
                None
            }
        }
    }

    /// Makes the flow of a caller at `client`, under an id that this caller does not use for an origin.
    fn insert(&mut self, client: SocketAddr, flow: impl FnOnce(FlowId) -> Flow) -> FlowId {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(INDEX_MASK)
        });
        let mut high = 0;
        while high == 0 || self.own_ids.of_caller(client, high | index).is_some() {
            high = (next_random(&mut self.random) as u32) & HIGH_MASK;
        }
        let id = FlowId(high | index);
        if let Some(place) = self.places.get_mut(index as usize) {
            *place = Some(flow(id));
        }
        id
    }

    /// Whether an address may open another flow: `per_source` a second, and twice as many in a burst. Addresses that
    /// share a slot share the allowance, which costs them little and the table nothing.
    fn may_ask(&mut self, now: Instant, source: IpAddr) -> bool {
        let number = match source {
            IpAddr::V4(ip) => u64::from(u32::from(ip)),
            IpAddr::V6(ip) => (u128::from(ip) >> 64) as u64,
        };
        let mut place = number ^ self.salt;
        let place = next_random(&mut place) as usize % SOURCES;
        let interval = Duration::from_secs(1) / self.limits.per_source.max(1);
        let Some(due) = self.sources.get_mut(place) else {
            return false;
        };
        let since = due.map_or(now, |due| due.max(now));
        if since.saturating_duration_since(now) >= BURST {
            return false;
        }
        *due = Some(since + interval);
        true
    }

    fn wake_at(&mut self, at: Instant) {
        self.sweep_at = Some(self.sweep_at.map_or(at, |sweep| sweep.min(at)));
    }
}

impl Table for Flows {
    type Event = Event;

    fn handle(&mut self, now: Instant, input: Input<'_>) -> Fate {
        match input {
            Input::Client { path, data } => self.client_says(now, path, data),
            Input::Origin { link, data } => self.origin_says(now, link, data),
            Input::Refused { link } => {
                self.refused(now, link);
                Fate::Kept
            }
            Input::Timeout => {
                if self.sweep_at.is_some_and(|at| at <= now) {
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

/// Who is told that a flow ends.
#[derive(Debug, Clone, Copy)]
enum Farewell {
    Both,
    Client,
    None,
    Origin,
}

fn find(places: &mut [Option<Flow>], id: FlowId) -> Option<&mut Flow> {
    let flow = places.get_mut(index_of(id))?.as_mut()?;
    (flow.id == id).then_some(flow)
}

/// The flow at the index in a socket id of ours, whatever its other bits are.
fn at(places: &mut [Option<Flow>], id: u32) -> Option<&mut Flow> {
    places.get_mut(index_of(FlowId(id)))?.as_mut()
}

const fn index_of(id: FlowId) -> usize {
    (id.0 & INDEX_MASK) as usize
}

/// The next number of a splitmix64 sequence.
const fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Maximum flows of one table. A socket id has 30 bits: the low ones are the index of the flow, and the others make the
/// id hard to guess.
pub const MOST_FLOWS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
const INDEX_MASK: u32 = (1 << INDEX_BITS) - 1;
/// Bit 30 marks socket groups, and bit 31 is never set.
const HIGH_MASK: u32 = (1 << 30) - 1 - INDEX_MASK;
/// How long an origin may take to answer before the packet is repeated; libsrt uses the same time.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How long an origin is silent before a refusal ends its flows; a live origin sends something within this time.
const SILENT: Duration = Duration::from_millis(1500);
/// How often flows are checked; attempts are checked more often.
const SWEEP: Duration = Duration::from_millis(500);
const SWEEP_SOON: Duration = Duration::from_millis(50);
/// How much time's worth of flows one address may open in a burst.
const BURST: Duration = Duration::from_secs(2);
/// Slots for sources: 64 KiB of memory, however many sources there are.
const SOURCES: usize = 4096;
