//! One flow: its stage, and what its caller was told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::packet::{Handshake, peer_ip};
use super::{Event, Traffic};
use crate::flow::{ClientPath, DropReason, Fate, FlowId, LinkId, Output};

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) id: FlowId,
    /// The caller's own socket id.
    pub(super) caller: u32,
    pub(super) path: ClientPath,
    /// The caller's first sequence number; a different one means a different connection.
    pub(super) initial_sequence: u32,
    /// Whether packets carry a tag over the socket id they are for (AES-GCM): then each side is shown the other's own
    /// id, and packets pass without a change.
    pub(super) authenticated: bool,
    pub(super) stage: Stage,
    pub(super) client_active: Instant,
    pub(super) origin_active: Instant,
    pub(super) traffic: Traffic,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// No origin is being asked.
    Placing(Box<Asking>),
    /// An origin is being asked: first for its cookie, then for its agreement.
    Attempting(Box<Asking>, Attempt),
    /// An origin agreed, and the caller has not been told yet.
    Answered(Box<Asking>, Leg, Reply),
    /// Packets pass.
    Joined(Leg, Reply),
    /// The caller was rejected, and hears that again if it repeats its conclusion before this time.
    Rejected(Reply, Instant),
}

/// A caller's conclusion, while its origin is chosen and asked.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) packet: Vec<u8>,
    pub(super) at: Instant,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) link: LinkId,
    pub(super) origin: SocketAddr,
    pub(super) cookie: Option<u32>,
    /// What the origin gets in place of the caller's stream id.
    pub(super) stream_id: Option<Box<str>>,
    pub(super) again_at: Instant,
}

/// The flow's connection to its origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leg {
    pub(super) link: LinkId,
    /// The socket id that the origin chose for the flow.
    pub(super) socket_id: u32,
}

/// The answer to a caller, repeated if the caller asks again.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) packet: Vec<u8>,
    pub(super) at: Instant,
}

impl Flow {
    pub(super) const fn link(&self) -> Option<LinkId> {
        match &self.stage {
            Stage::Attempting(_, attempt) => Some(attempt.link),
            Stage::Answered(_, leg, _) | Stage::Joined(leg, _) => Some(leg.link),
            Stage::Placing(_) | Stage::Rejected(..) => None,
        }
    }

    /// The socket id that the origin is shown.
    pub(super) const fn shown_to_origin(&self) -> u32 {
        if self.authenticated {
            self.caller
        } else {
            self.id.0
        }
    }

    /// The socket id that the caller is shown.
    pub(super) const fn shown_to_caller(&self, leg: Leg) -> u32 {
        if self.authenticated {
            leg.socket_id
        } else {
            self.id.0
        }
    }

    /// Handles a repeated conclusion of the caller: the answer is late or was lost.
    pub(super) fn repeat(&self, now: Instant, outputs: &mut VecDeque<Output<Event>>) -> Fate {
        match &self.stage {
            Stage::Placing(_) | Stage::Attempting(..) | Stage::Answered(..) => {
                Fate::Drop(DropReason::Untimely)
            }
            Stage::Joined(_, reply) | Stage::Rejected(reply, _) => {
                outputs.push_back(Output::ToClient {
                    path: self.path,
                    data: reply.told(now),
                });
                Fate::Kept
            }
        }
    }

    /// An origin's answer as the caller is to receive it.
    pub(super) fn for_caller(&self, answer: Handshake<'_>, socket_id: u32) -> Vec<u8> {
        Handshake {
            destination: self.caller,
            socket_id,
            peer_ip: peer_ip(self.path.client()),
            ..answer
        }
        .write()
    }

    pub(super) fn say_no(
        &mut self,
        now: Instant,
        packet: Vec<u8>,
        outputs: &mut VecDeque<Output<Event>>,
    ) {
        let reply = Reply { packet, at: now };
        outputs.push_back(Output::ToClient {
            path: self.path,
            data: reply.told(now),
        });
        self.stage = Stage::Rejected(reply, now + REMEMBER_NO);
    }
}

impl Stage {
    /// A placeholder for a stage that is being replaced.
    pub(super) const fn nothing(now: Instant) -> Self {
        let packet = Vec::new();
        Self::Rejected(Reply { packet, at: now }, now)
    }
}

impl Reply {
    /// The answer as it would be written now. A receiver derives from the time in a handshake when its peer began, so
    /// an answer that was kept must not look fresh.
    pub(super) fn told(&self, now: Instant) -> Vec<u8> {
        aged(&self.packet, self.at, now)
    }
}

/// A handshake that was received at `at`, with its timestamp adjusted to be sent at `now`.
pub(super) fn aged(packet: &[u8], at: Instant, now: Instant) -> Vec<u8> {
    let Ok(handshake) = Handshake::parse(packet) else {
        return packet.to_vec();
    };
    let held = now.saturating_duration_since(at).as_micros() as u32;
    Handshake {
        timestamp: handshake.timestamp.wrapping_add(held),
        ..handshake
    }
    .write()
}

/// How long a rejected caller is remembered, in case it did not receive the rejection and asks again.
const REMEMBER_NO: Duration = Duration::from_secs(1);
