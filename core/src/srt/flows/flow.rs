//! One flow: how far it has come, and what its caller was told.

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
    /// The caller's first sequence number: another one is another connection.
    pub(super) initial_sequence: u32,
    pub(super) stage: Stage,
    pub(super) client_active: Instant,
    pub(super) origin_active: Instant,
    pub(super) traffic: Traffic,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// No origin is asked.
    Placing(Box<Asking>),
    /// An origin is asked: for its cookie while there is none, then for its agreement.
    Attempting(Box<Asking>, Attempt),
    /// An origin agreed, and the caller does not know yet.
    Answered(Box<Asking>, Leg, Reply),
    /// Packets pass.
    Joined(Leg, Reply),
    /// The caller was told no, and is told again if it asks again until then.
    Rejected(Reply, Instant),
}

/// A caller's conclusion.
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
    pub(super) again_at: Instant,
}

/// A flow's place at its origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leg {
    pub(super) link: LinkId,
    /// The origin's socket id for it.
    pub(super) socket_id: u32,
}

/// What a caller is answered, and again if it asks again.
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

    /// The caller repeats its conclusion, because the answer is late or was lost.
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

    /// An origin's answer as the caller is to see it.
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
    /// Stands for a stage that is being replaced.
    pub(super) const fn nothing(now: Instant) -> Self {
        let packet = Vec::new();
        Self::Rejected(Reply { packet, at: now }, now)
    }
}

impl Reply {
    /// The answer as it would be written now. A receiver reckons from a handshake's time when its peer began, so one
    /// that was kept must not look fresh.
    pub(super) fn told(&self, now: Instant) -> Vec<u8> {
        aged(&self.packet, self.at, now)
    }
}

/// A handshake that was received at `at`, sent on at `now`.
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

/// A caller that was told no may ask again for so long because it did not hear.
const REMEMBER_NO: Duration = Duration::from_secs(1);
