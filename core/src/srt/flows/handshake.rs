//! The handshake with both sides.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::extension::{self, ExtensionError, Extensions, Terms};
use super::super::packet::{
    DATAGRAM, HANDSHAKE, HAS_CONFIG, Handshake, MAGIC, Rejection, Step, peer_ip,
};
use super::flow::{Asking, Attempt, Flow, Leg, Reply, Stage, aged};
use super::kept::Kept;
use super::{ASK_AGAIN, End, Event, Failure, Farewell, Flows, MOST_FLOWS, SWEEP, Traffic, find};
use crate::dialect::{Dialect, Naming, Unsayable};
use crate::flow::{ClientPath, DropReason, Fate, FlowId, Output};
use crate::stream::{Action, SrtStreamId, StreamError};

impl Flows {
    /// Handles a handshake for the listener. Nothing is stored, and no more is sent than was received, until the cookie
    /// is valid.
    pub(super) fn handshake(&mut self, now: Instant, path: ClientPath, data: &mut [u8]) -> Fate {
        let asked = match Handshake::parse(data) {
            Ok(asked) if asked.socket_id != 0 => asked,
            _ => return Fate::Drop(DropReason::Malformed),
        };
        let client = path.client();
        let head = match asked.step {
            Step::Induction => Handshake {
                destination: asked.socket_id,
                version: 5,
                encryption: 0,
                extension: MAGIC,
                cookie: self.cookies.make(now, client),
                peer_ip: peer_ip(client),
                extensions: &[],
                ..asked
            }
            .head(),
            // Rendezvous mode needs two peers that connect to each other, and we are in between. Nothing proves the address.
            Step::Wavehand | Step::Agreement => {
                let why = "it calls in rendezvous mode, and caller mode is spoken here".to_owned();
                rejection(
                    asked,
                    path,
                    self.refuse_many(now, client, asked, Rejection::BAD_MODE, why),
                )
            }
            Step::Rejection(_) => return Fate::Drop(DropReason::Untimely),
            Step::Conclusion if !self.cookies.check(now, client, asked.cookie) => {
                return Fate::Drop(DropReason::Forged);
            }
            Step::Conclusion => match self.conclusion(now, path, asked) {
                Ok(fate) => return fate,
                Err(code) => rejection(asked, path, code),
            },
        };
        if let Some(place) = data.get_mut(..HANDSHAKE) {
            place.copy_from_slice(&head);
        }
        Fate::Reply { len: HANDSHAKE }
    }

    /// Handles a conclusion from a proven address.
    fn conclusion(
        &mut self,
        now: Instant,
        path: ClientPath,
        asked: Handshake<'_>,
    ) -> Result<Fate, Rejection> {
        let client = path.client();
        if asked.version < 5 {
            let why = format!(
                "its handshake is version {}, and 5 is spoken here",
                asked.version
            );
            return Err(self.refuse(client, asked, Rejection::VERSION, why));
        }
        let caller = (client, asked.socket_id);
        if let Some(id) = self.callers.get(&caller).copied() {
            match find(&mut self.places, id) {
                Some(known) if known.initial_sequence == asked.initial_sequence => {
                    return Ok(known.repeat(now, &mut self.outputs));
                }
                // The same address and socket id with a different sequence number: the earlier connection is gone.
                _ => self.end(id, End::ClientClosed, Farewell::Origin),
            }
        }
        let port = self.ports.get(usize::from(path.entry)).copied();
        let (dialect, direction) = self.dialects.of(None, port.unwrap_or_default());
        let read = self.read(asked, dialect, direction);
        let (asks, found, packet) = match read {
            Ok(read) => read,
            Err(error) => {
                let code = match error {
                    Unreadable::Stream(StreamError::SrtMode) if dialect != Dialect::Srs => {
                        Rejection::BAD_MODE
                    }
                    _ => Rejection::BAD_REQUEST,
                };
                return Err(self.refuse(client, asked, code, error.to_string()));
            }
        };
        if self.stopping {
            let why = "the proxy is stopping".to_owned();
            return Err(self.refuse_many(now, client, asked, Rejection::DOWN, why));
        }
        if self.len() >= self.limits.flows.min(MOST_FLOWS) {
            let why = format!("there are {} calls, and no room for more", self.len());
            return Err(self.refuse_many(now, client, asked, Rejection::OVERLOAD, why));
        }
        if !self.may_ask(now, client.ip()) {
            let most = self.limits.per_source;
            let why = format!("one address may call {most} times a second (srt.calls_per_source)");
            return Err(self.refuse_many(now, client, asked, Rejection::OVERLOAD, why));
        }
        let flow = self.insert(client, |id| Flow {
            id,
            caller: asked.socket_id,
            path,
            initial_sequence: asked.initial_sequence,
            authenticated: found.authenticated,
            action: asks.action,
            grouped: found.group.is_some(),
            stage: Stage::Placing(Box::new(Asking { packet, at: now })),
            asks_again: false,
            client_active: now,
            origin_active: now,
            traffic: Traffic::default(),
        });
        self.callers.insert(caller, flow);
        self.wake_at(now + SWEEP);
        self.outputs.push_back(Output::Event(Event::Asked {
            flow,
            client,
            dialect,
            asked: asks,
            bond: found.group,
        }));
        Ok(Fate::Kept)
    }

    /// Tells of a caller that is refused for what it says. Its address is proven, so that nobody fills the log in the name of
    /// another; where it is not, one in a second is told of.
    fn refuse(
        &mut self,
        client: SocketAddr,
        asked: Handshake<'_>,
        code: Rejection,
        why: String,
    ) -> Rejection {
        let found = Extensions::parse(asked.extensions, asked.extension);
        let named = found.ok().and_then(|found| found.stream_id);
        self.outputs.push_back(Output::Event(Event::Unasked {
            client,
            code,
            named: extension::shown(&named.unwrap_or_default()),
            why,
        }));
        code
    }

    /// The same for what a flood runs into, or somebody sends in the name of another: the answer to that is not a flood of lines,
    /// so that one in a second is told of.
    fn refuse_many(
        &mut self,
        now: Instant,
        client: SocketAddr,
        asked: Handshake<'_>,
        code: Rejection,
        why: String,
    ) -> Rejection {
        if self.flood_told_until.is_some_and(|until| now < until) {
            return code;
        }
        self.flood_told_until = Some(now + TELL_EVERY);
        self.refuse(client, asked, code, why)
    }

    /// What a conclusion asks for, what else is in it, and the conclusion as an origin is to see it.
    /// A missing stream id is added, because the origin must understand the same stream.
    fn read(
        &self,
        asked: Handshake<'_>,
        dialect: Dialect,
        direction: Option<Action>,
    ) -> Result<(SrtStreamId, Extensions, Vec<u8>), Unreadable> {
        let mut found = Extensions::parse(asked.extensions, asked.extension)?;
        let default = &self.limits.default_stream_id;
        let named = found.stream_id.take().unwrap_or_default();
        let is_none = !default.is_empty() && SrtStreamId::names_nothing(&named);
        let named = if is_none { String::new() } else { named };
        let mut asks = dialect.srt(&named, default, direction)?;
        let shown = asks.credentials.as_deref();
        let query = shown.and_then(|shown| shown.query.as_deref());
        asks.stream = self
            .dialects
            .named(asks.stream, &[query.unwrap_or_default()])?;
        let given = match &*named {
            "" => default,
            named => named,
        };
        let written = if dialect.misreads_srt(given) {
            let naming = Naming {
                dialect,
                ..Naming::default()
            };
            Some(naming.srt(&asks.stream, asks.action, asks.credentials.as_deref())?)
        } else {
            named.is_empty().then(|| default.clone())
        };
        let packet = match written {
            None => asked.write(),
            Some(id) => Handshake {
                extension: asked.extension | HAS_CONFIG,
                extensions: &extension::with_stream_id(asked.extensions, &id),
                ..asked
            }
            .write(),
        };
        Ok((asks, found, packet))
    }

    /// Handles a handshake packet from the origin that is being asked.
    pub(super) fn answer(&mut self, now: Instant, id: FlowId, data: &[u8]) -> Fate {
        let Some(flow) = find(&mut self.places, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let (asking, attempt) = match &mut flow.stage {
            Stage::Attempting(asking, attempt) => (asking, attempt),
            Stage::Joined(joined) => {
                if let Some(kept) = &mut joined.kept {
                    kept.hear_answer(data);
                }
                return Fate::Drop(DropReason::Untimely);
            }
            _ => return Fate::Drop(DropReason::Untimely),
        };
        let Ok(answer) = Handshake::parse(data) else {
            return Fate::Drop(DropReason::Malformed);
        };
        match (answer.step, attempt.cookie) {
            (Step::Induction, None) if answer.version == 5 && answer.extension == MAGIC => {
                attempt.cookie = Some(answer.cookie);
                attempt.again_at = now + ASK_AGAIN;
                self.outputs.push_back(Output::ToOrigin {
                    link: attempt.link,
                    data: conclusion(now, asking, attempt),
                });
                Fate::Kept
            }
            (Step::Induction, None) => self.fail(id, Failure::NotSrt),
            // The answer to a repeated induction.
            (Step::Induction, Some(_)) => Fate::Drop(DropReason::Untimely),
            (Step::Conclusion, Some(_)) => {
                if answer.version < 5
                    || answer.socket_id == 0
                    || Extensions::parse(answer.extensions, answer.extension).is_err()
                {
                    return self.fail(id, Failure::NotSrt);
                }
                let leg = Leg {
                    link: attempt.link,
                    socket_id: answer.socket_id,
                    shown: attempt.shown,
                    to_origin: 0,
                    to_client: 0,
                    first: None,
                    latency: Terms::of(answer.extensions).latency(flow.action),
                    behind: Duration::ZERO,
                };
                if flow.authenticated {
                    // The caller will write to the origin's id, which must lead here and nowhere else.
                    let (client, number) = (flow.path.client(), leg.socket_id);
                    let same = find(&mut self.places, FlowId(number));
                    let taken = same.is_some_and(|other| other.path.client() == client)
                        || self.own_ids.of_caller(client, number).is_some();
                    if taken {
                        return self.fail(id, Failure::IdTaken);
                    }
                    self.own_ids.show_origin(id, client, number);
                }
                let Some(flow) = find(&mut self.places, id) else {
                    return Fate::Drop(DropReason::UnknownFlow);
                };
                let reply = Reply {
                    packet: flow.for_caller(answer, flow.shown_to_caller(leg)),
                    at: now,
                };
                let answered = |stage| match stage {
                    Stage::Attempting(asking, _) => Stage::Answered(asking, leg, reply),
                    other => other,
                };
                let stage = std::mem::replace(&mut flow.stage, Stage::nothing(now));
                flow.stage = answered(stage);
                self.outputs
                    .push_back(Output::Event(Event::Answered { flow: id }));
                Fate::Kept
            }
            (Step::Rejection(code), _) => {
                let packet = flow.for_caller(answer, answer.socket_id);
                flow.say_no(now, packet, &mut self.outputs);
                self.own_ids.forget(id);
                self.outputs
                    .push_back(Output::Event(Event::Rejected { flow: id, code }));
                Fate::Kept
            }
            (Step::Conclusion, None) | (Step::Wavehand | Step::Agreement, _) => {
                Fate::Drop(DropReason::Untimely)
            }
        }
    }
}

/// The first packet to an origin, as libsrt writes it. The origin is to know us by the socket id `shown`.
pub(super) fn induction(shown: u32, asking: &Asking, origin: SocketAddr) -> Vec<u8> {
    let Ok(asked) = Handshake::parse(&asking.packet) else {
        return Vec::new();
    };
    Handshake {
        destination: 0,
        version: 4,
        encryption: 0,
        extension: DATAGRAM,
        step: Step::Induction,
        socket_id: shown,
        cookie: 0,
        peer_ip: peer_ip(origin),
        extensions: &[],
        ..asked
    }
    .write()
}

/// The caller's conclusion, as an origin is to see it now.
pub(super) fn conclusion(now: Instant, asking: &Asking, attempt: &Attempt) -> Vec<u8> {
    let packet = aged(&asking.packet, asking.at, now);
    let Ok(asked) = Handshake::parse(&packet) else {
        return Vec::new();
    };
    as_asked(asked, attempt)
}

/// The same of a caller that had another origin before: its numbers and its clock go on, and its newest key is used.
pub(super) fn conclusion_again(now: Instant, kept: &Kept, attempt: &Attempt) -> Vec<u8> {
    let Ok(asked) = Handshake::parse(&kept.asking.packet) else {
        return Vec::new();
    };
    let Some(beginning) = attempt.beginning else {
        return Vec::new();
    };
    let has_key = extension::key(asked.extensions).is_some();
    let keyed = kept.key().filter(|_| has_key);
    let keyed = keyed.map(|key| extension::with_key(asked.extensions, key));
    let asked = Handshake {
        initial_sequence: beginning.first.word(),
        timestamp: kept.course.shown_clock(now, beginning),
        extensions: keyed.as_deref().unwrap_or(asked.extensions),
        ..asked
    };
    as_asked(asked, attempt)
}

fn as_asked(asked: Handshake<'_>, attempt: &Attempt) -> Vec<u8> {
    let renamed = attempt.stream_id.as_deref();
    let renamed = renamed.map(|id| extension::with_stream_id(asked.extensions, id));
    Handshake {
        destination: 0,
        socket_id: attempt.shown,
        cookie: attempt.cookie.unwrap_or_default(),
        peer_ip: peer_ip(attempt.origin),
        extension: asked.extension | renamed.as_ref().map_or(0, |_| HAS_CONFIG),
        extensions: renamed.as_deref().unwrap_or(asked.extensions),
        ..asked
    }
    .write()
}

/// The answer that rejects a caller.
pub(super) fn rejection(
    asked: Handshake<'_>,
    path: ClientPath,
    code: Rejection,
) -> [u8; HANDSHAKE] {
    Handshake {
        destination: asked.socket_id,
        version: 5,
        encryption: 0,
        extension: 0,
        step: Step::Rejection(code),
        peer_ip: peer_ip(path.client()),
        extensions: &[],
        ..asked
    }
    .head()
}

/// A conclusion that cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Extension(#[from] ExtensionError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Unsayable(#[from] Unsayable),
}

/// How often a caller is told of that came in a flood.
const TELL_EVERY: Duration = Duration::from_secs(1);
