//! Calls that outlive their origin: another is called in the caller's place, and the caller goes on there.
//!
//! ```text
//! caller                      table                                     origins
//!   ◄────────────────────── packets pass ───────────────────────────────► one
//!                               Event::Lost                               ╳
//!   ◄─── a keep-alive each second
//!                               attempt(link) ──── induction ────────────► other
//!                                             ◄─── cookie ────────────────
//!                                             ──── the caller's conclusion ►
//!                               Event::Answered ◄─ conclusion ────────────
//!                               join()
//!   ◄────── packets pass, on the clocks that each side knows ────────────► other
//!                               Event::Resumed
//! ```
//!
//! The same goes for a call whose origin lives: that one has it until the other does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use super::super::control::{self, Clipped, Seen};
use super::super::extension::{Extensions, Terms};
use super::super::packet::{self, Handshake, Kind, MAGIC, Step};
use super::flow::{Attempt, Flow, Joined, Leg, Stage};
use super::handshake::{conclusion_again, induction};
use super::kept::{Awaited, Gap, KEPT_ALIVE_EVERY, Kept, Look, Lost, Next};
use super::{
    ASK_AGAIN, End, Event, Failure, Farewell, Flows, HIGH_MASK, INDEX_MASK, SWEEP_SOON, find,
    next_random,
};
use crate::flow::{ClientPath, DropReason, Fate, FlowId, LinkId, Output};
use crate::place::leg::LegEnd;
use crate::stream::Action;

impl Flows {
    /// As [`join`](Self::join), and the loss of its origin need not be the end of the flow, if that is possible at all: it is
    /// [`Event::Lost`] then. Call [`attempt`](Self::attempt) for another origin and then [`join`](Self::join), or
    /// [`close`](Self::close). Both may be called while the flow has its origin, too.
    ///
    /// A flow whose packets are authenticated, one that is a link of several, and one with media in both directions end with
    /// their origin.
    pub fn join_and_keep(&mut self, now: Instant, flow: FlowId) {
        let Some(asking) = self.tell_joined(now, flow) else {
            return;
        };
        let Some(flow) = find(&mut self.places, flow) else {
            return;
        };
        if flow.authenticated || flow.grouped {
            return;
        }
        if let Stage::Joined(joined) = &mut flow.stage
            && let Ok(answer) = Handshake::parse(&joined.reply.packet)
        {
            let kept = Kept::new(joined.reply.at, flow.action, asking, answer);
            joined.kept = kept.map(Box::new);
            self.keeps = true;
        }
    }

    /// Whether the flow may outlive its origin as things are.
    pub fn may_go_on(&self, flow: FlowId) -> bool {
        let place = self.places.get(super::index_of(flow));
        let known = place
            .and_then(Option::as_ref)
            .filter(|known| known.id == flow);
        let kept = known.and_then(Flow::kept);
        kept.is_some_and(|kept| kept.course.may_go_on())
    }

    /// Calls another origin for a joined flow. False if it is not one that outlives its origin.
    pub(super) fn call_next(
        &mut self,
        now: Instant,
        id: FlowId,
        (link, origin): (LinkId, SocketAddr),
        stream_id: Option<Box<str>>,
    ) -> bool {
        self.drop_next(id);
        // An origin that the call comes back to must not take its own former session for somebody else's.
        let former = kept(&mut self.places, id).and_then(|kept| {
            let is_there = kept.passes_on().is_some_and(|leg| leg.link == link);
            kept.ends_passing_on(now, is_there)
        });
        self.outputs.extend(former.map(goodbye));
        let high = (next_random(&mut self.random) as u32) & HIGH_MASK;
        let Some(joined) = joined(&mut self.places, id) else {
            return false;
        };
        let Some(kept) = &mut joined.kept else {
            return false;
        };
        // Late packets of legs before must not look like its own.
        let index = id.0 & INDEX_MASK;
        let former = kept.former.map(|former| former.leg.shown);
        let mut shown = high | index;
        while shown == id.0 || shown == joined.leg.shown || former == Some(shown) || shown == index
        {
            shown = (shown.wrapping_add(INDEX_MASK + 1) & HIGH_MASK) | index;
        }
        let data = induction(shown, &kept.asking, origin);
        kept.next = Some(Next::Asking(Attempt {
            link,
            shown,
            beginning: None,
            origin,
            cookie: None,
            stream_id,
            again_at: now + ASK_AGAIN,
        }));
        self.outputs.push_back(Output::ToOrigin { link, data });
        self.wake_at(now + SWEEP_SOON);
        true
    }

    /// Gives up the call of another origin. False if the flow is not one that outlives its origin.
    pub(super) fn drop_next(&mut self, id: FlowId) -> bool {
        let Some(kept) = kept(&mut self.places, id) else {
            return false;
        };
        if let Some(leg) = kept.next.take().and_then(|next| next.leg()) {
            self.outputs.push_back(goodbye(leg));
        }
        true
    }

    /// Handles a handshake packet from the origin that is called for a joined flow.
    pub(super) fn answer_next(&mut self, now: Instant, id: FlowId, data: &[u8]) -> Fate {
        let Some(joined) = joined(&mut self.places, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let Some(kept) = &mut joined.kept else {
            return Fate::Drop(DropReason::Untimely);
        };
        let Ok(answer) = Handshake::parse(data) else {
            return Fate::Drop(DropReason::Malformed);
        };
        let Some(Next::Asking(mut attempt)) = kept.next.take_if(|next| next.leg().is_none()) else {
            return Fate::Drop(DropReason::Untimely);
        };
        match (answer.step, attempt.cookie) {
            (Step::Induction, None) if answer.version == 5 && answer.extension == MAGIC => {
                attempt.cookie = Some(answer.cookie);
                attempt.again_at = now + ASK_AGAIN;
                attempt.beginning = kept.call(now, joined.leg.behind);
                if attempt.beginning.is_none() {
                    return self.fail(id, Failure::NoNumbers);
                }
                self.outputs.push_back(Output::ToOrigin {
                    link: attempt.link,
                    data: conclusion_again(now, kept, &attempt),
                });
                kept.next = Some(Next::Asking(attempt));
                Fate::Kept
            }
            (Step::Conclusion, Some(_)) => {
                let agreed = answer.version >= 5
                    && answer.socket_id != 0
                    && Extensions::parse(answer.extensions, answer.extension).is_ok();
                let Some(beginning) = attempt.beginning.filter(|_| agreed) else {
                    return self.fail(id, Failure::NotSrt);
                };
                let leg = Leg {
                    link: attempt.link,
                    socket_id: answer.socket_id,
                    shown: attempt.shown,
                    to_origin: beginning.shift,
                    to_client: 0,
                    first: Some(beginning.first),
                    latency: Terms::of(answer.extensions).latency(kept.course.action()),
                    behind: kept.course.behind(now, beginning.shift),
                };
                if !kept.allows(answer.extensions) {
                    self.outputs.push_back(goodbye(leg));
                    return self.fail(id, Failure::OtherTerms);
                }
                let clock = super::course::Clock::new(answer.timestamp, now);
                kept.next = Some(Next::Agreed(leg, clock));
                self.outputs
                    .push_back(Output::Event(Event::Answered { flow: id }));
                Fate::Kept
            }
            (Step::Rejection(code), _) => {
                self.outputs
                    .push_back(Output::Event(Event::Rejected { flow: id, code }));
                Fate::Kept
            }
            (Step::Induction, None) => self.fail(id, Failure::NotSrt),
            _ => {
                kept.next = Some(Next::Asking(attempt));
                Fate::Drop(DropReason::Untimely)
            }
        }
    }

    /// The origin that has agreed is the one: the flow goes there, at once if it has no origin, and else when the moment has come.
    pub(super) fn join_next(&mut self, now: Instant, id: FlowId) {
        let Some(kept) = kept(&mut self.places, id) else {
            return;
        };
        match kept.next.take() {
            Some(Next::Agreed(leg, clock)) if kept.lost.is_none() => {
                kept.next = Some(Next::Awaited(Awaited::new(now, leg, clock)));
                if kept.is_due_to_go_over(now) {
                    self.go_over(now, id);
                }
            }
            Some(next @ Next::Agreed(..)) => {
                kept.next = Some(next);
                self.go_over(now, id);
            }
            Some(next) => kept.next = Some(next),
            // It has left meanwhile.
            None => {
                let told = match kept.lost {
                    Some(Lost { end, .. }) => Event::Lost { flow: id, end },
                    None => Event::Failed {
                        flow: id,
                        why: Failure::Left,
                    },
                };
                self.outputs.push_back(Output::Event(told));
            }
        }
    }

    /// The flow goes over to the origin that has agreed.
    fn go_over(&mut self, now: Instant, id: FlowId) {
        let Some(flow) = find(&mut self.places, id) else {
            return;
        };
        let caller = flow.caller;
        let Stage::Joined(joined) = &mut flow.stage else {
            return;
        };
        let Some(kept) = &mut joined.kept else {
            return;
        };
        let (mut leg, clock) = match kept.next.take() {
            Some(Next::Agreed(leg, clock) | Next::Awaited(Awaited { leg, clock, .. })) => {
                (leg, clock)
            }
            other => {
                kept.next = other;
                return;
            }
        };
        let origin_clock = kept.course.origin_clock(now);
        leg.to_client = origin_clock.wrapping_sub(clock.read(now));
        let former = kept.ends_passing_on(now, true);
        self.outputs.extend(former.map(goodbye));
        if kept.leaves(now, joined.leg) {
            self.outputs.push_back(goodbye(joined.leg));
        }
        let first = leg.first.unwrap_or_else(|| kept.course.acked());
        let shown_clock = kept.course.caller_clock(now).wrapping_add(leg.to_origin);
        match kept.course.action() {
            Action::Publish => {
                if let Some(key) = kept.key_for_receiver(now) {
                    let data = control::key_request(leg.socket_id, shown_clock, &key);
                    let link = leg.link;
                    self.outputs.push_back(Output::ToOrigin { link, data });
                }
                // What the origin before has acknowledged since, the caller does not have any more.
                let acked = kept.course.acked();
                if acked.is_after(first) {
                    let data =
                        control::drop_request(leg.socket_id, shown_clock, first, acked.before());
                    let link = leg.link;
                    self.outputs.push_back(Output::ToOrigin { link, data });
                }
            }
            Action::Play => {
                let path = flow.path;
                if let Some(key) = kept.key_for_receiver(now) {
                    let data = control::key_request(caller, origin_clock, &key);
                    self.outputs.push_back(Output::ToClient { path, data });
                }
                let next = kept.course.highest().plus(1);
                if first.is_after(next) {
                    let data = control::drop_request(caller, origin_clock, next, first.before());
                    self.outputs.push_back(Output::ToClient { path, data });
                }
            }
        }
        let since = kept.course.media_at();
        let dropped = kept.course.goes_on(now, first);
        kept.has_another();
        kept.resumes = Some(Gap { since, dropped });
        let tells_key = kept.tells_key();
        joined.leg = leg;
        flow.origin_active = now;
        if tells_key {
            self.wake_at(now + SWEEP_SOON);
        }
    }

    /// Handles a packet of the origin that is to have a flow, which is no handshake. It has agreed.
    pub(super) fn next_says(
        &mut self,
        now: Instant,
        id: FlowId,
        kind: Kind,
        data: &mut [u8],
    ) -> Fate {
        let Some(joined) = joined(&mut self.places, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let Some(kept) = &mut joined.kept else {
            return Fate::Drop(DropReason::Untimely);
        };
        match (kind, &kept.next) {
            (Kind::Data, Some(Next::Awaited(_))) if kept.course.action() == Action::Play => {
                kept.hears_next(now);
                if !kept.is_due_to_go_over(now) {
                    return Fate::Drop(DropReason::Untimely);
                }
                self.go_over(now, id);
                self.present_says(now, id, kind, data)
            }
            (Kind::Shutdown, Some(Next::Awaited(_))) => {
                kept.next = None;
                self.fail(id, Failure::Left)
            }
            (Kind::Shutdown, Some(Next::Agreed(..))) => {
                kept.next = None;
                Fate::Kept
            }
            _ => Fate::Drop(DropReason::Untimely),
        }
    }

    /// Handles a packet of the origin that a flow has, which is no handshake.
    pub(super) fn present_says(
        &mut self,
        now: Instant,
        id: FlowId,
        kind: Kind,
        data: &mut [u8],
    ) -> Fate {
        let Some(flow) = find(&mut self.places, id) else {
            return Fate::Drop(DropReason::UnknownFlow);
        };
        let (caller, path) = (flow.caller, flow.path);
        let Stage::Joined(joined) = &mut flow.stage else {
            return Fate::Drop(DropReason::Untimely);
        };
        if let Some(kept) = &mut joined.kept {
            if kind == Kind::Shutdown {
                if let Some(lost) = &mut kept.lost {
                    lost.is_gone = true;
                    return Fate::Kept;
                }
                if kept.outlives(now, LegEnd::Closed) {
                    return self.lose(now, id, LegEnd::Closed);
                }
            }
            if kind == Kind::Data && kept.reaches_next(data) {
                return self.reach_next(now, id, kind, data);
            }
            if kept.lost.is_some_and(|lost| lost.is_gone) {
                return Fate::Drop(DropReason::Untimely);
            }
            joined.leg.on_our_clock(data);
            let heard = kept.origin_says(now, data);
            if let Some(Gap { since, dropped }) = heard.resumed {
                self.outputs.push_back(Output::Event(Event::Resumed {
                    flow: id,
                    dropped,
                    gap: now.saturating_duration_since(since),
                }));
            }
            if heard.is_back {
                let next = kept.next.take().and_then(|next| next.leg());
                self.outputs.extend(next.map(goodbye));
                self.outputs
                    .push_back(Output::Event(Event::Back { flow: id }));
            }
        }
        packet::readdress(data, caller);
        flow.origin_active = now;
        flow.traffic.to_client += data.len() as u64;
        flow.traffic.media |= kind == Kind::Data;
        let goes_over = flow.kept().is_some_and(|kept| {
            kept.course.action() == Action::Publish && kept.is_due_to_go_over(now)
        });
        if kind == Kind::Shutdown {
            self.end(id, End::OriginClosed, Farewell::None);
        } else if goes_over {
            self.go_over(now, id);
        }
        Fate::ToClient { flow: id, path }
    }

    /// The numbers of a player's origin have reached those of the next one: it has the player from here on, if it has agreed.
    fn reach_next(&mut self, now: Instant, id: FlowId, kind: Kind, data: &mut [u8]) -> Fate {
        let has_agreed = kept(&mut self.places, id)
            .and_then(|kept| kept.next.as_ref()?.leg())
            .is_some();
        if has_agreed {
            self.go_over(now, id);
            return Fate::Drop(DropReason::Untimely);
        }
        self.fail(id, Failure::Late);
        self.present_says(now, id, kind, data)
    }

    /// Handles a packet of an origin that does not know yet that a flow has left it.
    pub(super) fn former_says(&mut self, now: Instant, id: FlowId, kind: Kind) -> Fate {
        if let Some(kept) = kept(&mut self.places, id) {
            if kind == Kind::Shutdown {
                kept.former = None;
            } else if let Some(leg) = kept.tells_former(now) {
                self.outputs.push_back(goodbye(leg));
            }
        }
        Fate::Drop(DropReason::UnknownFlow)
    }

    /// The origin of a flow is lost, and the flow goes on.
    pub(super) fn lose(&mut self, now: Instant, id: FlowId, end: LegEnd) -> Fate {
        let Some(joined) = joined(&mut self.places, id) else {
            return Fate::Kept;
        };
        let Some(kept) = &mut joined.kept else {
            return Fate::Kept;
        };
        kept.lose(now, end);
        if end == LegEnd::Silent && kept.is_keyed_player() {
            // It must not use numbers of the next.
            self.outputs.push_back(goodbye(joined.leg));
        }
        let goes_over = matches!(kept.next, Some(Next::Awaited(_)));
        self.outputs
            .push_back(Output::Event(Event::Lost { flow: id, end }));
        self.wake_at(now + SWEEP_SOON);
        if goes_over {
            self.go_over(now, id);
        }
        Fate::Kept
    }

    /// Acts on what a look at a flow says.
    pub(super) fn attend(&mut self, now: Instant, id: FlowId, look: Look) {
        match look {
            Look::Lost(end) => {
                if kept(&mut self.places, id).is_some_and(|kept| kept.outlives(now, end)) {
                    self.lose(now, id, end);
                }
            }
            Look::Ask => {
                if let Some(joined) = joined(&mut self.places, id)
                    && let Some(kept) = &joined.kept
                {
                    let (link, shown) = (joined.leg.link, joined.leg.shown);
                    let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
                    let data = induction(shown, &kept.asking, nobody);
                    self.outputs.push_back(Output::ToOrigin { link, data });
                }
            }
            Look::GoesOver => self.go_over(now, id),
            Look::Soon | Look::Well => {}
        }
    }
}

impl Joined {
    /// Notes a packet of the caller and puts it on its origin's clock, if the call may outlive that. What follows otherwise than
    /// that it passes.
    pub(super) fn caller_says(
        &mut self,
        now: Instant,
        path: ClientPath,
        caller: u32,
        data: &mut [u8],
    ) -> Option<Instead> {
        let kept = self.kept.as_mut()?;
        let seen = kept.caller_says(now, data);
        if kept.answers_key(seen) {
            return Some(Instead::Nothing);
        }
        if let (Seen::Loss(list), Some(first)) = (seen, self.leg.first)
            && kept.course.action() == Action::Play
            && let Some(clipped) = control::clip(list, first)
        {
            return Some(self.clipped(now, path, caller, &clipped));
        }
        if kept.lost.is_some_and(|lost| lost.is_gone) {
            return Some(Instead::Nothing);
        }
        self.leg.on_its_clock(data);
        None
    }

    /// A caller misses packets that its origin never had: it is told that they do not come, and the origin of the others.
    fn clipped(&self, now: Instant, path: ClientPath, caller: u32, clipped: &Clipped) -> Instead {
        let Some((kept, first)) = self.kept.as_ref().zip(self.leg.first) else {
            return Instead::Nothing;
        };
        let clock = kept.course.origin_clock(now);
        let data = control::drop_request(caller, clock, clipped.lowest, first.before());
        let to_client = Output::ToClient { path, data };
        let to_origin = (!clipped.rest.is_empty()).then(|| {
            let clock = kept
                .course
                .caller_clock(now)
                .wrapping_add(self.leg.to_origin);
            Output::ToOrigin {
                link: self.leg.link,
                data: control::loss_report(self.leg.socket_id, clock, &clipped.rest),
            }
        });
        Instead::Say(to_client, to_origin)
    }
}

/// What happens in place of a packet of a caller.
#[derive(Debug)]
pub(super) enum Instead {
    Nothing,
    Say(Output<Event>, Option<Output<Event>>),
}

impl Kept {
    /// Whether a packet of a player's origin has a number that the next origin may use.
    fn reaches_next(&self, data: &[u8]) -> bool {
        let Some(first) = self.next.as_ref().and_then(Next::first) else {
            return false;
        };
        match Seen::of(data) {
            Seen::Data { sequence, .. } if self.course.action() == Action::Play => {
                let stop = self.course.stops_before();
                !first.is_after(sequence.plus(stop))
            }
            _ => false,
        }
    }

    /// Whether the next origin is called over a link.
    pub(super) fn calls_over(&self, link: LinkId) -> bool {
        matches!(&self.next, Some(Next::Asking(attempt)) if attempt.link == link)
    }

    /// Says what is due: to the caller that its call lives though it has no origin; to the next origin that it is called, and
    /// that its caller is there while it waits; to the former one the same while it passes on what it has, and then that it is
    /// not wanted; to a receiver its key, until it answers. `leg`: to the present origin.
    pub(super) fn speak(
        &mut self,
        now: Instant,
        leg: Leg,
        (path, caller): (ClientPath, u32),
        outputs: &mut VecDeque<Output<Event>>,
    ) {
        if self.is_due_to_say(now) {
            let data = control::keep_alive(caller, self.course.origin_clock(now));
            outputs.push_back(Output::ToClient { path, data });
        }
        let clock = self.course.caller_clock(now);
        if let Some(key) = self.key_again(now) {
            outputs.push_back(match self.course.action() {
                Action::Publish => Output::ToOrigin {
                    link: leg.link,
                    data: control::key_request(
                        leg.socket_id,
                        clock.wrapping_add(leg.to_origin),
                        &key,
                    ),
                },
                Action::Play => Output::ToClient {
                    path,
                    data: control::key_request(caller, self.course.origin_clock(now), &key),
                },
            });
        }
        let former = self.ends_passing_on(now, false);
        outputs.extend(former.map(goodbye));
        let former = self.keeps_former(now);
        outputs.extend(former.map(|leg| alive(leg, clock)));
        match self.next.take() {
            Some(Next::Asking(mut attempt)) => {
                if attempt.again_at <= now {
                    attempt.again_at = now + ASK_AGAIN;
                    let data = match attempt.cookie {
                        None => induction(attempt.shown, &self.asking, attempt.origin),
                        Some(_) => conclusion_again(now, self, &attempt),
                    };
                    let link = attempt.link;
                    outputs.push_back(Output::ToOrigin { link, data });
                }
                self.next = Some(Next::Asking(attempt));
            }
            Some(Next::Awaited(mut awaited)) => {
                if now.saturating_duration_since(awaited.told_at) >= KEPT_ALIVE_EVERY {
                    awaited.told_at = now;
                    outputs.push_back(alive(awaited.leg, clock));
                }
                self.next = Some(Next::Awaited(awaited));
            }
            other => self.next = other,
        }
    }
}

/// A joined flow.
fn joined(places: &mut [Option<Flow>], id: FlowId) -> Option<&mut Joined> {
    match &mut find(places, id)?.stage {
        Stage::Joined(joined) => Some(joined),
        _ => None,
    }
}

/// What is kept of a joined flow, if it may outlive its origin.
fn kept(places: &mut [Option<Flow>], id: FlowId) -> Option<&mut Kept> {
    joined(places, id)?.kept.as_deref_mut()
}

/// Tells an origin that the caller, whose clock shows this, is there.
fn alive(leg: Leg, clock: u32) -> Output<Event> {
    let clock = clock.wrapping_add(leg.to_origin);
    Output::ToOrigin {
        link: leg.link,
        data: control::keep_alive(leg.socket_id, clock),
    }
}

/// Tells an origin that the flow has left it.
pub(super) fn goodbye(leg: Leg) -> Output<Event> {
    Output::ToOrigin {
        link: leg.link,
        data: packet::shutdown(leg.socket_id),
    }
}
