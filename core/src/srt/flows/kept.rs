//! What is kept of a joined call, so that it outlives its origin.

use std::time::{Duration, Instant};

use super::super::control::{Seen, restamp};
use super::super::extension::{self, Terms};
use super::super::packet::{Handshake, Step};
use super::super::sequence::Sequence;
use super::course::{Before, Beginning, Clock, Course, Start};
use super::flow::{Asking, Attempt, Leg};
use crate::place::leg::LegEnd;
use crate::stream::Action;

/// What is kept of a joined call.
#[derive(Debug)]
pub(super) struct Kept {
    /// The caller's conclusion.
    pub(super) asking: Box<Asking>,
    /// What its first origin agreed to.
    terms: Terms,
    pub(super) course: Course,
    /// The key material that the caller sent last, if it was not in the conclusion.
    key: Option<Box<[u8]>>,
    /// It came after the next origin was called.
    has_newer_key: bool,
    /// The origin has chosen a key of its own, which another does not know.
    has_origins_key: bool,
    /// The receiver was told of a key in the place of its sender, and has yet to answer.
    told_key: Option<Told>,
    /// Why the call has no origin, and since when.
    pub(super) lost: Option<Lost>,
    /// The origin that is to have it.
    pub(super) next: Option<Next>,
    /// The origin that had it before, which may not know that it is not wanted.
    pub(super) former: Option<Former>,
    /// Nothing listens at the origin's port any more, its machine says.
    pub(super) was_refused: bool,
    probe: Probe,
    /// When the caller was sent something last, while it has no origin.
    said_at: Instant,
    /// Another origin has it, and media has yet to pass.
    pub(super) resumes: Option<Gap>,
}

/// What is missing between two origins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// When media passed last.
    pub(super) since: Instant,
    /// Packets of a publisher that nobody got.
    pub(super) dropped: u32,
}

/// A loss.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lost {
    pub(super) end: LegEnd,
    /// The origin is not heard any more.
    pub(super) is_gone: bool,
}

/// Another origin on its way to a joined call.
#[derive(Debug)]
pub(super) enum Next {
    /// It is asked.
    Asking(Attempt),
    /// It has agreed, and the shell has yet to say that it is the one.
    Agreed(Leg, Clock),
    /// It is the one, and its moment has yet to come.
    Awaited(Awaited),
}

/// An origin that is to have a call whose present one lives. It gets a publisher when the present one has acknowledged
/// everything, so that each packet goes to one of them; and a player when media comes from there, and the present one has
/// passed on what it had.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaited {
    pub(super) leg: Leg,
    pub(super) clock: Clock,
    since: Instant,
    /// When it was told last that the caller is there.
    pub(super) told_at: Instant,
    /// When media came from there first. Until the player goes over, it is not passed on: the player asks for it again.
    heard_at: Option<Instant>,
}

impl Awaited {
    pub(super) const fn new(now: Instant, leg: Leg, clock: Clock) -> Self {
        Self {
            leg,
            clock,
            since: now,
            told_at: now,
            heard_at: None,
        }
    }
}

impl Next {
    /// The leg to it, once it has agreed.
    pub(super) const fn leg(&self) -> Option<Leg> {
        match self {
            Self::Asking(_) => None,
            Self::Agreed(leg, _) | Self::Awaited(Awaited { leg, .. }) => Some(*leg),
        }
    }

    /// The first number that it uses, or may use.
    pub(super) fn first(&self) -> Option<Sequence> {
        match self {
            Self::Asking(attempt) => attempt.beginning.map(|beginning| beginning.first),
            Self::Agreed(leg, _) | Self::Awaited(Awaited { leg, .. }) => leg.first,
        }
    }
}

/// An origin that had the call before.
#[derive(Debug, Clone, Copy)]
pub(super) struct Former {
    pub(super) leg: Leg,
    told_at: Instant,
    /// It lives, and passes on what it has of a publisher until then. It is told afterwards that it is not wanted: origins
    /// throw away what they still have when they hear that.
    passes_on_until: Option<Instant>,
}

/// Something that is said again until it is answered.
#[derive(Debug, Clone, Copy)]
struct Told {
    first: Instant,
    last: Instant,
}

/// A question to an origin that is silent: the first packet of a handshake, which one that lives answers at once.
#[derive(Debug, Clone, Copy, Default)]
struct Probe {
    /// When it was asked first, and last.
    asked: Option<(Instant, Instant)>,
    is_answered: bool,
}

/// What follows from a look at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// It is well.
    Well,
    /// It is to be looked at again soon.
    Soon,
    /// Its origin is to be asked whether it is there.
    Ask,
    /// The moment has come for the origin that is to have it.
    GoesOver,
    /// Its origin is lost.
    Lost(LegEnd),
}

impl Kept {
    /// A call that was joined at `now` by the origin's `answer`.
    pub(super) fn new(
        now: Instant,
        action: Action,
        asking: Box<Asking>,
        answer: Handshake<'_>,
    ) -> Option<Self> {
        let asked = Handshake::parse(&asking.packet).ok()?;
        let terms = Terms::of(answer.extensions);
        let start = Start {
            action,
            is_encrypted: extension::key(asked.extensions).is_some(),
            first: Sequence::new(asked.initial_sequence),
            window: asked.window,
            latency: terms.latency(action),
            caller: Clock::new(asked.timestamp, asking.at),
            origin: Clock::new(answer.timestamp, now),
        };
        Some(Self {
            course: Course::new(now, start),
            asking,
            terms,
            key: None,
            has_newer_key: false,
            has_origins_key: false,
            told_key: None,
            lost: None,
            next: None,
            former: None,
            was_refused: false,
            probe: Probe::default(),
            said_at: now,
            resumes: None,
        })
    }

    /// Notes a packet of the caller, before it is changed.
    pub(super) fn caller_says<'a>(&mut self, now: Instant, packet: &'a [u8]) -> Seen<'a> {
        let seen = Seen::of(packet);
        self.course.caller_says(now, seen, packet);
        if let Seen::KeyRequest(key) = seen
            && extension::is_key(key)
            && self.key.as_deref() != Some(key)
        {
            self.key = Some(key.into());
            self.has_newer_key = true;
        }
        if matches!(seen, Seen::KeyRequest(_)) && self.course.action() == Action::Publish {
            // The caller says it again itself.
            self.told_key = None;
        }
        seen
    }

    /// Whether a packet of the caller answers what it was told in the place of its origin.
    pub(super) fn answers_key(&mut self, seen: Seen<'_>) -> bool {
        seen == Seen::KeyResponse
            && self.course.action() == Action::Play
            && self.told_key.take().is_some()
    }

    /// Notes a packet of the origin, with its timestamp as the caller sees it.
    pub(super) fn origin_says(&mut self, now: Instant, packet: &[u8]) -> Heard {
        let seen = Seen::of(packet);
        self.course.origin_says(now, seen, packet);
        self.was_refused = false;
        self.has_origins_key |= matches!(seen, Seen::KeyRequest(_));
        let is_over = match self.course.action() {
            Action::Publish => seen == Seen::KeyResponse,
            // It has chosen another meanwhile.
            Action::Play => matches!(seen, Seen::KeyRequest(_)),
        };
        self.told_key.take_if(|_| is_over);
        if self.probe.asked.is_some() {
            self.probe = Probe::default();
        }
        let is_media = match self.course.action() {
            Action::Publish => matches!(seen, Seen::Ack(_)),
            Action::Play => matches!(seen, Seen::Data { .. }),
        };
        Heard {
            resumed: self.resumes.take_if(|_| is_media),
            is_back: self.lost.take_if(|lost| !lost.is_gone).is_some(),
        }
    }

    /// The origin answered the question whether it is there.
    pub(super) fn hear_answer(&mut self, handshake: &[u8]) {
        let answer = Handshake::parse(handshake);
        self.probe.is_answered |= answer.is_ok_and(|answer| answer.step == Step::Induction);
    }

    /// How the origin is, that another has to go on after.
    pub(super) const fn before(&self) -> Before {
        match self.lost {
            None => Before::Alive,
            Some(Lost {
                end: LegEnd::Closed | LegEnd::Reset,
                ..
            }) => Before::Ended,
            Some(_) => Before::Unknown,
        }
    }

    /// Whether the call can outlive an origin that is lost for `end`.
    pub(super) fn outlives(&self, now: Instant, end: LegEnd) -> bool {
        let before = match end {
            LegEnd::Closed | LegEnd::Reset => Before::Ended,
            _ => Before::Unknown,
        };
        let beginning = self.course.beginning(now, before, Duration::ZERO);
        self.course.may_go_on() && beginning.is_some()
    }

    /// Its origin is lost. One that may only be out of reach gets what there is all the same, unless it would use numbers of
    /// the next.
    pub(super) fn lose(&mut self, now: Instant, end: LegEnd) {
        let may_be_back = end == LegEnd::Silent && !self.is_keyed_player();
        self.lost = Some(Lost {
            end,
            is_gone: !may_be_back,
        });
        self.was_refused = false;
        self.said_at = now;
        self.course.note_past(now);
    }

    /// Whether its origin encrypts what it gets: numbers must not be used twice.
    pub(super) fn is_keyed_player(&self) -> bool {
        self.course.action() == Action::Play && self.course.is_encrypted()
    }

    /// Looks how its origin is. `active`: when that sent something last.
    pub(super) fn look(&mut self, now: Instant, active: Instant) -> Look {
        self.course.count(now);
        if self.lost.is_some() {
            self.course.note_past(now);
            return Look::Soon;
        }
        if self.is_due_to_go_over(now) {
            return Look::GoesOver;
        }
        let silent = now.saturating_duration_since(active);
        if self.was_refused && silent >= REFUSED_FOR {
            return Look::Lost(LegEnd::Reset);
        }
        // Both sides of an idle call send a keep-alive each second.
        let owes = self.course.owes_for(now);
        let owes = owes.max(silent.saturating_sub(IDLE_SILENCE));
        if owes >= FORGOTTEN_FOR && self.probe.is_answered {
            return Look::Lost(LegEnd::Reset);
        }
        if owes >= ASKED_AFTER && !self.probe.is_answered {
            return self.ask(now, owes);
        }
        match self.was_refused || owes >= ASKED_AFTER / 2 {
            true => Look::Soon,
            false => Look::Well,
        }
    }

    /// Asks an origin that owes an answer whether it is there, or has done so often enough.
    fn ask(&mut self, now: Instant, owes: Duration) -> Look {
        let since = |at| now.saturating_duration_since(at);
        let (first, last) = self.probe.asked.unwrap_or((now, now));
        // One that was asked late has its time as well.
        if owes >= SILENT_FOR && since(first) >= ANSWERS_WITHIN {
            return Look::Lost(LegEnd::Silent);
        }
        if self.probe.asked.is_some() && since(last) < ASKED_AGAIN {
            return Look::Soon;
        }
        self.probe.asked = Some((first, now));
        Look::Ask
    }

    /// Whether the caller is to hear that it is not alone; it has an origin again after a few seconds, or none.
    pub(super) fn is_due_to_say(&mut self, now: Instant) -> bool {
        let is_due =
            self.lost.is_some() && now.saturating_duration_since(self.said_at) >= KEPT_ALIVE_EVERY;
        if is_due {
            self.said_at = now;
        }
        is_due
    }

    /// Whether a call can go on under the terms of another origin's answer.
    pub(super) fn allows(&self, extensions: &[u8]) -> bool {
        self.terms.allow(&Terms::of(extensions))
    }

    /// The key that the receiver has to be told of in the place of its sender, now that another origin has the call: a player's
    /// former origin chose one that the next does not know, or a publisher did after the next was called. Asked once.
    pub(super) fn key_for_receiver(&mut self, now: Instant) -> Option<Vec<u8>> {
        let told = Told {
            first: now,
            last: now,
        };
        let is_due = match self.course.action() {
            Action::Publish => {
                // What was told to the former origin is nothing to the next.
                self.told_key = None;
                std::mem::take(&mut self.has_newer_key)
            }
            Action::Play => std::mem::take(&mut self.has_origins_key),
        };
        let key = self.key_to_tell().filter(|_| is_due)?;
        self.told_key = Some(told);
        Some(key)
    }

    /// The same key, if it is time to tell of it again: that packet was lost, or its answer.
    pub(super) fn key_again(&mut self, now: Instant) -> Option<Vec<u8>> {
        let told = self.told_key.as_mut()?;
        let since = |at| now.saturating_duration_since(at);
        if since(told.first) >= TOLD_FOR {
            self.told_key = None;
            return None;
        }
        if since(told.last) < TOLD_AGAIN {
            return None;
        }
        told.last = now;
        self.key_to_tell()
    }

    /// Whether there is a key that is told of again.
    pub(super) const fn tells_key(&self) -> bool {
        self.told_key.is_some()
    }

    /// The key that the sender uses: the caller's last, or the one that each origin has from the caller's conclusion.
    fn key_to_tell(&self) -> Option<Vec<u8>> {
        match self.course.action() {
            Action::Publish => self.key.as_deref().map(<[u8]>::to_vec),
            Action::Play => {
                let asked = Handshake::parse(&self.asking.packet).ok()?;
                extension::key(asked.extensions).map(<[u8]>::to_vec)
            }
        }
    }

    /// Where another origin is to begin, which is called now. `behind`: by how much the present one is. `None` if that cannot be.
    pub(super) fn call(&mut self, now: Instant, behind: Duration) -> Option<Beginning> {
        let beginning = self.course.beginning(now, self.before(), behind)?;
        self.course.note_called(beginning.first);
        self.has_newer_key = false;
        Some(beginning)
    }

    /// The key that is to be in a conclusion in place of the caller's first.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Media comes from the origin that is to have a player.
    pub(super) fn hears_next(&mut self, now: Instant) {
        if let Some(Next::Awaited(awaited)) = &mut self.next {
            awaited.heard_at.get_or_insert(now);
        }
    }

    /// Whether the moment has come for the origin that is to have the call.
    pub(super) fn is_due_to_go_over(&self, now: Instant) -> bool {
        let Some(Next::Awaited(awaited)) = &self.next else {
            return false;
        };
        let since = |at| now.saturating_duration_since(at);
        match self.course.action() {
            Action::Publish => {
                self.course.is_acknowledged() || since(awaited.since) >= ACKNOWLEDGES_WITHIN
            }
            Action::Play => awaited.heard_at.is_some_and(|heard_at| {
                // What comes later than half of its latency after it was sent may not come in time again.
                since(self.course.media_at()) >= PASSED_ON_AFTER
                    || since(heard_at) >= self.terms.latency(Action::Play) / 2
            }),
        }
    }

    /// The leg to the origin that it had, while that passes on what it has of a publisher.
    pub(super) fn passes_on(&self) -> Option<Leg> {
        let former = self.former?;
        former.passes_on_until.map(|_| former.leg)
    }

    /// The same leg, if that time is over or is to be over now: the origin is to be told that it is not wanted.
    pub(super) fn ends_passing_on(&mut self, now: Instant, at_once: bool) -> Option<Leg> {
        let former = self.former.as_mut()?;
        let is_over = |until: &mut Instant| at_once || *until <= now;
        former.passes_on_until.take_if(is_over)?;
        former.told_at = now;
        Some(former.leg)
    }

    /// The same leg, if it is time to tell that origin that it is not alone.
    pub(super) fn keeps_former(&mut self, now: Instant) -> Option<Leg> {
        let former = self.former.as_mut()?;
        former.passes_on_until?;
        let is_due = now.saturating_duration_since(former.told_at) >= KEPT_ALIVE_EVERY;
        is_due.then(|| {
            former.told_at = now;
            former.leg
        })
    }

    /// Whether the origin that it had is to be told again that it is not wanted. It says something all the same.
    pub(super) fn tells_former(&mut self, now: Instant) -> Option<Leg> {
        let former = self.former.as_mut()?;
        let is_due = former.passes_on_until.is_none()
            && now.saturating_duration_since(former.told_at) >= TOLD_AGAIN;
        is_due.then(|| {
            former.told_at = now;
            former.leg
        })
    }

    /// Its present origin becomes a former one. True if that is to be told now that it is not wanted.
    pub(super) fn leaves(&mut self, now: Instant, leg: Leg) -> bool {
        let passes_on = self.lost.is_none() && self.course.action() == Action::Publish;
        self.former = Some(Former {
            leg,
            told_at: now,
            passes_on_until: passes_on.then(|| now + leg.latency + leg.behind + PASSES_ON_FOR),
        });
        let has_ended = |lost: Lost| matches!(lost.end, LegEnd::Closed | LegEnd::Reset);
        !passes_on && !self.lost.is_some_and(has_ended)
    }

    /// The call has another origin.
    pub(super) fn has_another(&mut self) {
        self.lost = None;
        self.was_refused = false;
        self.probe = Probe::default();
    }
}

/// What a packet of an origin means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    /// The call is going on, after this.
    pub(super) resumed: Option<Gap>,
    /// The origin was lost, and is there again.
    pub(super) is_back: bool,
}

impl Leg {
    /// Puts a packet for the origin on the clock that it was shown.
    pub(super) fn on_its_clock(&self, packet: &mut [u8]) {
        if self.to_origin != 0 {
            restamp(packet, self.to_origin);
        }
    }

    /// Puts a packet of the origin on the clock that the caller was shown.
    pub(super) fn on_our_clock(&self, packet: &mut [u8]) {
        if self.to_client != 0 {
            restamp(packet, self.to_client);
        }
    }
}

/// How long an origin is silent after its machine said that nothing listens there: it may be a forged message, and one that
/// lives acknowledges every 10 ms.
pub const REFUSED_FOR: Duration = Duration::from_millis(100);
/// How long an origin may say nothing at all while nothing is owed: keep-alives come each second.
const IDLE_SILENCE: Duration = Duration::from_millis(1500);
/// How long an origin may owe an answer before it is asked whether it is there.
pub const ASKED_AFTER: Duration = Duration::from_millis(500);
/// How often it is asked: a packet may be lost.
const ASKED_AGAIN: Duration = Duration::from_millis(150);
/// How long one that does not answer that either may owe one.
pub const SILENT_FOR: Duration = Duration::from_secs(1);
/// How long the answer to the question may take.
const ANSWERS_WITHIN: Duration = Duration::from_millis(400);
/// How long one that answers the question may owe an answer: its process has restarted, and does not know the call.
pub const FORGOTTEN_FOR: Duration = Duration::from_secs(2);
/// How often a caller without an origin is told that we are there. libsrt gives up after 5 s of silence.
pub(super) const KEPT_ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How often a former origin is told that it is not wanted, and a receiver of its key.
const TOLD_AGAIN: Duration = Duration::from_millis(100);
/// How long the origin of a publisher that is to leave it may take to acknowledge everything. Where packets come faster than
/// acknowledgements, a few are always on their way: they go to both.
const ACKNOWLEDGES_WITHIN: Duration = Duration::from_millis(100);
/// An origin that has passed on nothing to a player for this long has nothing more, if media comes from the next one.
const PASSED_ON_AFTER: Duration = Duration::from_millis(20);
/// How much longer than its latency an origin may take to pass on what it has.
pub const PASSES_ON_FOR: Duration = Duration::from_millis(500);
/// How long a receiver is told of its key that does not answer. libsrt gives up after 5 s of silence.
const TOLD_FOR: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::super::super::control::keep_alive;
    use super::*;

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some moment to start from"
    )]
    fn begun() -> (Instant, Kept) {
        let now = Instant::now();
        let handshake = Handshake {
            timestamp: 0,
            destination: 0,
            version: 5,
            encryption: 0,
            extension: 0,
            initial_sequence: 1,
            mtu: 1500,
            window: 8192,
            step: Step::Conclusion,
            socket_id: 5,
            cookie: 0,
            peer_ip: [0; 16],
            extensions: &[],
        };
        let asking = Asking {
            packet: handshake.write(),
            at: now,
        };
        let kept = Kept::new(now, Action::Publish, Box::new(asking), handshake);
        (now, kept.expect("a conclusion"))
    }

    /// When an origin is lost that answers nothing from the start on, and why; looked at every 50 ms.
    fn lost(
        mut kept: Kept,
        start: Instant,
        mut meanwhile: impl FnMut(&mut Kept, u64, Look),
    ) -> Option<(u64, LegEnd)> {
        (0..200).map(|step| step * 50).find_map(|millis| {
            let now = start + Duration::from_millis(millis);
            let look = kept.look(now, start);
            meanwhile(&mut kept, millis, look);
            match look {
                Look::Lost(end) => Some((millis, end)),
                _ => None,
            }
        })
    }

    const DATA: [u8; 20] = [0; 20];

    #[test]
    fn an_origin_that_owes_is_asked_before_it_is_lost() {
        let (start, mut kept) = begun();
        kept.caller_says(start, &DATA);
        let mut asked = Vec::new();
        let end = lost(kept, start, |_, millis, look| {
            if look == Look::Ask {
                asked.push(millis);
            }
        });
        assert_eq!(end, Some((1000, LegEnd::Silent)));
        assert_eq!(asked.first(), Some(&500));
        assert!((3..=6).contains(&asked.len()), "{asked:?}");

        let (start, mut kept) = begun();
        kept.caller_says(start, &DATA);
        let end = lost(kept, start, |kept, _, look| {
            if look == Look::Ask {
                kept.probe.is_answered = true;
            }
        });
        assert_eq!(
            end,
            Some((2000, LegEnd::Reset)),
            "it does not know the call"
        );
    }

    #[test]
    fn an_idle_call_is_lost_later() {
        let (start, kept) = begun();
        let end = lost(kept, start, |_, _, _| {});
        assert_eq!(end, Some((2500, LegEnd::Silent)));
    }

    #[test]
    fn a_refusal_counts_for_an_origin_that_is_silent_too() {
        let (start, mut kept) = begun();
        kept.caller_says(start, &DATA);
        kept.was_refused = true;
        let end = lost(kept, start, |_, _, _| {});
        assert_eq!(end, Some((100, LegEnd::Reset)));

        let (start, mut kept) = begun();
        kept.was_refused = true;
        kept.origin_says(start, &keep_alive(0, 0));
        assert_eq!(
            kept.look(start + REFUSED_FOR, start),
            Look::Well,
            "it lives"
        );
    }
}
