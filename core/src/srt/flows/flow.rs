//! One flow: its stage, and what its caller was told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::packet::{Handshake, peer_ip};
use super::super::sequence::Sequence;
use super::course::Beginning;
use super::kept::{Awaited, Kept, Next};
use super::{Event, Traffic};
use crate::flow::{ClientPath, DropReason, Fate, FlowId, LinkId, Output};
use crate::stream::Action;

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
    /// What the caller does.
    pub(super) action: Action,
    /// The call is one link of several, and each has numbers that the others know.
    pub(super) grouped: bool,
    pub(super) stage: Stage,
    /// The caller has repeated its conclusion, as all do that still wait for an answer.
    pub(super) asks_again: bool,
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
    Joined(Joined),
    /// The caller was rejected, and hears that again if it repeats its conclusion before this time.
    Rejected(Reply, Instant),
}

/// A caller's conclusion, while its origin is chosen and asked.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) packet: Vec<u8>,
    pub(super) at: Instant,
}

/// A call that has an origin, or had one.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) leg: Leg,
    /// What the caller was told.
    pub(super) reply: Reply,
    /// What another origin needs, if the call may outlive the one that it has.
    pub(super) kept: Option<Box<Kept>>,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) link: LinkId,
    /// The socket id that this origin is shown.
    pub(super) shown: u32,
    /// Where the call begins there, if another origin has it or had it.
    pub(super) beginning: Option<Beginning>,
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
    /// The socket id that it was shown.
    pub(super) shown: u32,
    /// What is added to the caller's timestamps for it; nothing for a first origin.
    pub(super) to_origin: u32,
    /// What is added to its timestamps for the caller.
    pub(super) to_client: u32,
    /// The first number that it knows, if others had the call before.
    pub(super) first: Option<Sequence>,
    /// For how long it keeps media before it passes it on.
    pub(super) latency: Duration,
    /// How much longer than that it keeps a publisher's: the call had been without an origin when it got it.
    pub(super) behind: Duration,
}

/// Which leg of a flow an origin's packet belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// A leg of before.
    Former,
    /// That of the origin which is asked, or is to have the call.
    Next,
    /// That of its origin, or of the first one that is asked.
    Present,
}

/// The answer to a caller, repeated if the caller asks again.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) packet: Vec<u8>,
    pub(super) at: Instant,
}

impl Flow {
    /// Whether it uses a link.
    pub(super) fn uses(&self, link: LinkId) -> bool {
        let of_next = || match self.kept()?.next.as_ref()? {
            Next::Asking(attempt) => Some(attempt.link),
            Next::Agreed(leg, _) | Next::Awaited(Awaited { leg, .. }) => Some(leg.link),
        };
        let of_former = || Some(self.kept()?.passes_on()?.link);
        match &self.stage {
            Stage::Attempting(_, attempt) => attempt.link == link,
            Stage::Answered(_, leg, _) => leg.link == link,
            Stage::Joined(joined) => {
                joined.leg.link == link || of_next() == Some(link) || of_former() == Some(link)
            }
            Stage::Placing(_) | Stage::Rejected(..) => false,
        }
    }

    pub(super) fn kept(&self) -> Option<&Kept> {
        match &self.stage {
            Stage::Joined(joined) => joined.kept.as_deref(),
            _ => None,
        }
    }

    /// The leg that a packet for the socket id `shown` belongs to, which came over `link`.
    ///
    /// # Errors
    /// Why it belongs to none.
    pub(super) fn addressed(&self, link: LinkId, shown: u32) -> Result<Whose, DropReason> {
        let fits = |whose, of: LinkId, id: u32| {
            (id == shown).then_some(match of == link {
                true => Ok(whose),
                false => Err(DropReason::ForeignAddress),
            })
        };
        let found = match &self.stage {
            Stage::Attempting(_, attempt) => fits(Whose::Present, attempt.link, attempt.shown),
            Stage::Answered(_, leg, _) => fits(Whose::Present, leg.link, leg.shown),
            Stage::Joined(Joined { leg, kept, .. }) => {
                let next = || match kept.as_ref()?.next.as_ref()? {
                    Next::Asking(attempt) => fits(Whose::Next, attempt.link, attempt.shown),
                    Next::Agreed(leg, _) | Next::Awaited(Awaited { leg, .. }) => {
                        fits(Whose::Next, leg.link, leg.shown)
                    }
                };
                let former = || {
                    let leg = kept.as_ref()?.former?.leg;
                    fits(Whose::Former, leg.link, leg.shown)
                };
                fits(Whose::Present, leg.link, leg.shown)
                    .or_else(next)
                    .or_else(former)
            }
            Stage::Placing(_) | Stage::Rejected(..) => None,
        };
        found.unwrap_or(Err(DropReason::UnknownFlow))
    }

    /// The socket id that a first origin is shown.
    pub(super) const fn first_shown(&self) -> u32 {
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
    pub(super) fn repeat(&mut self, now: Instant, outputs: &mut VecDeque<Output<Event>>) -> Fate {
        match &self.stage {
            Stage::Placing(_) | Stage::Attempting(..) | Stage::Answered(..) => {
                self.asks_again = true;
                self.client_active = now;
                Fate::Drop(DropReason::Untimely)
            }
            Stage::Joined(Joined { reply, .. }) | Stage::Rejected(reply, _) => {
                outputs.push_back(Output::ToClient {
                    path: self.path,
                    data: reply.told(now),
                });
                Fate::Kept
            }
        }
    }

    /// Whether a caller that is not joined has given up: callers do not say so, and ask no more.
    pub(super) fn gave_up(&self, now: Instant) -> bool {
        self.asks_again && now.saturating_duration_since(self.client_active) >= GAVE_UP
    }

    /// Whether the origin that is asked has shown that it lives.
    pub(super) fn has_heard(&self) -> bool {
        match &self.stage {
            Stage::Attempting(_, attempt) => attempt.cookie.is_some(),
            Stage::Answered(..) => true,
            Stage::Joined(joined) => match joined.kept.as_ref().and_then(|kept| kept.next.as_ref())
            {
                Some(Next::Asking(attempt)) => attempt.cookie.is_some(),
                Some(Next::Agreed(..) | Next::Awaited(..)) => true,
                None => false,
            },
            Stage::Placing(_) | Stage::Rejected(..) => false,
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

/// How long a caller asks nothing before it has given up: libsrt repeats its conclusion every 250 ms.
const GAVE_UP: Duration = Duration::from_secs(1);
/// How long a rejected caller is remembered, in case it did not receive the rejection and asks again.
const REMEMBER_NO: Duration = Duration::from_secs(1);
