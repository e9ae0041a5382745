//! How far a call has come: where its numbers and its clocks are, for the next origin that gets it.
//!
//! A listener of SRT takes the caller's first number as its own, in both directions, and the timestamp of the caller's
//! conclusion as the time at which the caller's clock began. So another origin goes on where the first one was, if it is
//! called with the right number and the right timestamp, and nothing has to be buffered here.
//!
//! | | the caller publishes | the caller plays |
//! | --- | --- | --- |
//! | first number | the last that was acknowledged: the caller still has what follows, and sends it again | the one after the last that came |
//! | clock of the caller | earlier by the time that nobody acknowledged anything, or what is sent again comes too late | as it is |
//! | clock of the origin | as it is | goes on from that of the origin before |
//!
//! With AES-CTR, a number is used once with a key. An origin that is lost may have used numbers that never came here, so
//! that another begins beyond all that it can have used, and the caller is told that they never come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::super::control::{Seen, timestamp};
use super::super::sequence::Sequence;
use crate::stream::Action;

/// The clock of one side, as it was read last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    micros: u32,
    at: Instant,
}

impl Clock {
    pub(super) const fn new(micros: u32, at: Instant) -> Self {
        Self { micros, at }
    }

    /// What it shows at `now`: microseconds, in 32 bits.
    pub(super) fn read(self, now: Instant) -> u32 {
        let since = now.saturating_duration_since(self.at).as_micros() as u32;
        self.micros.wrapping_add(since)
    }
}

/// What to begin with at another origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beginning {
    /// The first number.
    pub(super) first: Sequence,
    /// What is added to the caller's timestamps.
    pub(super) shift: u32,
    /// How much earlier than it is the caller's clock is shown at least.
    least: Duration,
}

/// How the origin is, that the numbers are to go on after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// It has the call, and is told when it has it no more.
    Alive,
    /// It uses no more numbers: its process has ended, or it said so.
    Ended,
    /// Nobody knows what it does. It gives up when it hears nothing.
    Unknown,
}

/// How far a call has come.
#[derive(Debug)]
pub(super) struct Course {
    action: Action,
    is_encrypted: bool,
    /// The most packets that the caller can have between what it has and what comes.
    window: u32,
    /// How long the caller keeps what was not acknowledged.
    keeps: Duration,
    caller: Clock,
    origin: Clock,
    /// The highest number that passed in the direction of the media; the one before the first until then.
    highest: Sequence,
    /// Whether any media passed.
    flows: bool,
    /// Whether media passed against its direction too: one first number cannot fit both.
    is_two_way: bool,
    /// The number that the origin wants next of a publisher, and since when it does.
    acked: Sequence,
    acked_at: Instant,
    /// Since when the origin owes an answer: media that it has to acknowledge, or an acknowledgement that it has to confirm.
    owes: Option<Instant>,
    /// Where the highest number was, from [`Course::note_past`] on.
    past: VecDeque<(Instant, Sequence)>,
    counted: (Instant, Sequence),
    /// Packets per second, at their fastest lately.
    rate: u32,
    /// Numbers before this one may have been used with the key by an origin that was asked, and got no further.
    unused_from: Sequence,
    /// Since when the origin has sent no media to a player.
    media_at: Instant,
}

/// What a new [`Course`] is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) action: Action,
    pub(super) is_encrypted: bool,
    pub(super) first: Sequence,
    pub(super) window: u32,
    pub(super) latency: Duration,
    pub(super) caller: Clock,
    pub(super) origin: Clock,
}

impl Course {
    pub(super) fn new(now: Instant, start: Start) -> Self {
        Self {
            action: start.action,
            is_encrypted: start.is_encrypted,
            window: start.window,
            keeps: start.latency.max(LEAST_KEPT),
            caller: start.caller,
            origin: start.origin,
            highest: start.first.before(),
            flows: false,
            is_two_way: false,
            acked: start.first,
            acked_at: now,
            owes: None,
            past: VecDeque::new(),
            counted: (now, start.first.before()),
            rate: 0,
            unused_from: start.first,
            media_at: now,
        }
    }

    /// Notes a packet of the caller.
    pub(super) fn caller_says(&mut self, now: Instant, seen: Seen<'_>, packet: &[u8]) {
        if seen.tells_time() {
            self.caller = Clock::new(timestamp(packet), now);
        }
        match (seen, self.action) {
            (Seen::Data { sequence, is_again }, Action::Publish) => {
                self.flows = true;
                self.owes.get_or_insert(now);
                if !is_again {
                    self.highest = self.highest.later(sequence);
                }
            }
            (Seen::Data { .. }, Action::Play) => self.is_two_way = true,
            (Seen::Ack(_), Action::Play) => {
                self.owes.get_or_insert(now);
            }
            _ => {}
        }
    }

    /// Notes a packet of the origin, with its timestamp as the caller sees it.
    pub(super) fn origin_says(&mut self, now: Instant, seen: Seen<'_>, packet: &[u8]) {
        self.owes = None;
        if seen.tells_time() {
            self.origin = Clock::new(timestamp(packet), now);
        }
        match (seen, self.action) {
            (Seen::Data { sequence, .. }, Action::Play) => {
                self.flows = true;
                self.media_at = now;
                self.highest = self.highest.later(sequence);
            }
            (Seen::Data { .. }, Action::Publish) => self.is_two_way = true,
            // An origin that acknowledges what nobody sent is wrong, and the caller ends the call for it.
            (Seen::Ack(next), Action::Publish) if !next.is_after(self.highest.plus(1)) => {
                self.acked = self.acked.later(next);
                self.acked_at = now;
            }
            _ => {}
        }
    }

    pub(super) const fn action(&self) -> Action {
        self.action
    }

    /// Whether the caller sent a key with its first packets.
    pub(super) const fn is_encrypted(&self) -> bool {
        self.is_encrypted
    }

    /// Whether the call can go on at another origin at all.
    pub(super) const fn may_go_on(&self) -> bool {
        self.flows && !self.is_two_way
    }

    /// Whether the origin of a publisher has everything that passed.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acked == self.highest.plus(1)
    }

    /// The highest number that came.
    pub(super) const fn highest(&self) -> Sequence {
        self.highest
    }

    /// The number that the origin wants next of a publisher.
    pub(super) const fn acked(&self) -> Sequence {
        self.acked
    }

    /// For how long the origin has owed an answer.
    pub(super) fn owes_for(&self, now: Instant) -> Duration {
        let since = |owes| now.saturating_duration_since(owes);
        self.owes.map_or(Duration::ZERO, since)
    }

    /// Counts what came since this was called last.
    pub(super) fn count(&mut self, now: Instant) {
        let (at, before) = self.counted;
        let time = now.saturating_duration_since(at);
        if time < COUNTED_OVER {
            return;
        }
        let packets = u64::from(self.highest.since(before)) * 1000;
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = u32::try_from(packets / millis).unwrap_or(u32::MAX);
        self.rate = rate.max(self.rate - self.rate / 8);
        self.counted = (now, self.highest);
    }

    /// Notes where the highest number is, while no origin acknowledges: what was sent long ago the caller has dropped.
    pub(super) fn note_past(&mut self, now: Instant) {
        let due = |(at, _): &(Instant, Sequence)| {
            now.saturating_duration_since(*at) >= self.keeps / PLACES
        };
        if self.past.back().is_none_or(due) {
            self.past.push_back((now, self.highest));
        }
        // The newest place that is old enough is the first.
        while let Some((at, _)) = self.past.get(1)
            && now.saturating_duration_since(*at) >= self.keeps
        {
            self.past.pop_front();
        }
    }

    /// The first number that a publisher still has.
    fn kept_from(&self, now: Instant) -> Sequence {
        let old = self.past.front();
        let old = old.filter(|(at, _)| now.saturating_duration_since(*at) >= self.keeps);
        let dropped = old.map_or(self.acked, |(_, highest)| highest.plus(1));
        self.acked.later(dropped)
    }

    /// What another origin is to begin with. `None` if a key would be used twice with a number, or the caller could not take
    /// so high a number.
    ///
    /// An origin that lives passes on what a publisher sends `behind` later than its latency says: another that is to follow on
    /// that without a hole has to be as late.
    pub(super) fn beginning(
        &self,
        now: Instant,
        before: Before,
        behind: Duration,
    ) -> Option<Beginning> {
        let least = match before {
            Before::Alive => behind,
            Before::Ended | Before::Unknown => Duration::ZERO,
        };
        let late = self.late(now).max(least).as_micros() as u32;
        let caller = self.caller.read(now).wrapping_sub(late);
        let first = match self.action {
            Action::Publish => self.kept_from(now),
            Action::Play => self.next_unused(now, before)?,
        };
        Some(Beginning {
            first,
            shift: CLOCK_BEGINS.wrapping_sub(caller),
            least,
        })
    }

    /// How much later than its latency says an origin passes on what a publisher sends, that agreed just now and is shown
    /// timestamps with this shift.
    pub(super) fn behind(&self, now: Instant, shift: u32) -> Duration {
        match self.action {
            Action::Publish => {
                let began = CLOCK_BEGINS.wrapping_sub(shift);
                let behind = self.caller.read(now).wrapping_sub(began);
                // Less than nothing where the caller's last packet was on its way for longer than those before.
                let behind = behind.cast_signed().max(0).cast_unsigned();
                Duration::from_micros(u64::from(behind)).min(self.keeps)
            }
            Action::Play => Duration::ZERO,
        }
    }

    /// What the clock of the caller shows an origin that begins so, when its time is to count as 0.
    pub(super) fn shown_clock(&self, now: Instant, beginning: Beginning) -> u32 {
        let late = self.late(now).max(beginning.least).as_micros() as u32;
        let caller = self.caller.read(now).wrapping_sub(late);
        caller.wrapping_add(beginning.shift)
    }

    /// How much earlier than now a publisher sent what it has to send again.
    fn late(&self, now: Instant) -> Duration {
        match self.action {
            Action::Publish => {
                let unheard = now.saturating_duration_since(self.acked_at);
                unheard.min(self.keeps)
            }
            Action::Play => Duration::ZERO,
        }
    }

    /// The first number for a player that no origin has used.
    fn next_unused(&self, now: Instant, before: Before) -> Option<Sequence> {
        let next = self.highest.plus(1);
        let unseen = now.saturating_duration_since(self.media_at);
        let time = match (before, self.is_encrypted) {
            (Before::Ended | Before::Unknown, false) => return Some(next),
            (Before::Ended, true) => unseen.min(IDLES_AFTER) + MARGIN,
            (Before::Unknown, true) => unseen.min(IDLES_AFTER) + IDLES_AFTER + MARGIN,
            (Before::Alive, true) => STAYS + MARGIN,
            (Before::Alive, false) => STAYS_CLEAR + MARGIN,
        };
        let used = self.packets_in(time);
        let most = self.window / 2;
        if !self.is_encrypted {
            return Some(next.plus(used.min(most)));
        }
        let first = next.plus(used).later(self.unused_from);
        (first.since(next) <= most).then_some(first)
    }

    /// Another origin was called, and may use numbers from `first` on until it is told that it is not wanted.
    pub(super) fn note_called(&mut self, first: Sequence) {
        if self.action == Action::Play && self.is_encrypted {
            let used = first.plus(self.packets_in(MARGIN * 2));
            self.unused_from = self.unused_from.later(used);
        }
    }

    /// How many numbers before the first of another origin the present one has to be stopped, so that it uses none of those.
    pub(super) fn stops_before(&self) -> u32 {
        match self.is_encrypted {
            true => self.packets_in(MARGIN),
            false => 0,
        }
    }

    fn packets_in(&self, time: Duration) -> u32 {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let packets = u64::from(self.rate).saturating_mul(millis) / 1000;
        u32::try_from(packets)
            .unwrap_or(u32::MAX)
            .saturating_add(FEW)
    }

    /// The clock of the origin as the caller sees it.
    pub(super) fn origin_clock(&self, now: Instant) -> u32 {
        self.origin.read(now)
    }

    /// The clock of the caller.
    pub(super) fn caller_clock(&self, now: Instant) -> u32 {
        self.caller.read(now)
    }

    /// Since when no origin has had media of the call, or none has given any.
    pub(super) const fn media_at(&self) -> Instant {
        match self.action {
            Action::Publish => self.acked_at,
            Action::Play => self.media_at,
        }
    }

    /// The call is at another origin from here on, which began at `first`. Returns how many numbers nobody gets.
    pub(super) fn goes_on(&mut self, now: Instant, first: Sequence) -> u32 {
        self.owes = None;
        self.past.clear();
        self.acked_at = now;
        self.media_at = now;
        match self.action {
            Action::Publish => {
                let lost = first.since(self.acked);
                self.acked = self.acked.later(first);
                lost
            }
            Action::Play => {
                // Numbers that are left out are nobody's packets.
                self.highest = first.before();
                self.counted = (now, self.highest);
                0
            }
        }
    }
}

/// libsrt keeps what was not acknowledged for the latency, and for a second at least.
const LEAST_KEPT: Duration = Duration::from_secs(1);
/// The places of the highest number that are remembered, evenly over the time that a caller keeps packets.
const PLACES: u32 = 32;
/// What the caller's clock shows another origin when it is called, in microseconds: far from where 32 bits begin again, since
/// receivers get lost there when a call begins.
const CLOCK_BEGINS: u32 = 60_000_000;
/// How long packets are counted for a rate.
const COUNTED_OVER: Duration = Duration::from_millis(500);
/// How long an origin goes on without hearing anything: 5 s by libsrt's default, 10 s by SRS's.
const IDLES_AFTER: Duration = Duration::from_secs(10);
/// How long an origin that lives keeps a player who is called for elsewhere.
const STAYS: Duration = Duration::from_secs(2);
/// The same where numbers that are left out cost nothing: the next origin has the stream for its latency before it passes it on.
const STAYS_CLEAR: Duration = Duration::from_secs(4);
/// What is added to such times: packets on their way, and a rate that grows.
const MARGIN: Duration = Duration::from_millis(500);
/// Packets that are added however slowly they come.
const FEW: u32 = 64;

#[cfg(test)]
mod tests {
    use super::super::super::control::{keep_alive, restamp};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[expect(
        clippy::disallowed_methods,
        reason = "a test needs some moment to start from"
    )]
    fn begun(action: Action, is_encrypted: bool, first: u32) -> (Instant, Course) {
        let now = Instant::now();
        let start = Start {
            action,
            is_encrypted,
            first: Sequence::new(first),
            window: 8192,
            latency: Duration::from_millis(120),
            caller: Clock::new(5_000_000, now),
            origin: Clock::new(900, now),
        };
        (now, Course::new(now, start))
    }

    fn data(sequence: u32) -> Seen<'static> {
        Seen::Data {
            sequence: Sequence::new(sequence),
            is_again: false,
        }
    }

    /// `rate` packets a second for `time`, of which the last number is returned.
    fn flow(course: &mut Course, from: Instant, first: u32, rate: u32, seconds: u32) -> u32 {
        let packet = keep_alive(0, 0);
        for number in 0..rate * seconds {
            let now = from + SECOND * number / rate;
            match course.action {
                Action::Publish => course.caller_says(now, data(first + number), &packet),
                Action::Play => course.origin_says(now, data(first + number), &packet),
            }
            course.count(now);
        }
        first + rate * seconds - 1
    }

    #[test]
    fn a_publisher_goes_on_where_the_last_acknowledgement_was() {
        let (start, mut course) = begun(Action::Publish, false, 100);
        assert!(!course.may_go_on(), "nothing passed yet");
        let highest = flow(&mut course, start, 100, 200, 1);
        let now = start + SECOND;
        course.origin_says(
            now,
            Seen::Ack(Sequence::new(highest - 9)),
            &keep_alive(0, 0),
        );
        course.origin_says(
            now,
            Seen::Ack(Sequence::new(highest + 50)),
            &keep_alive(0, 0),
        );
        assert_eq!(
            course.acked(),
            Sequence::new(highest - 9),
            "what nobody sent counts for nothing"
        );
        let mut told = keep_alive(0, 0);
        restamp(&mut told, 6_000_000);
        course.caller_says(now, Seen::Other, &told);
        let after = now + Duration::from_millis(300);
        let began = course
            .beginning(after, Before::Ended, Duration::ZERO)
            .unwrap();
        assert_eq!(began.first, Sequence::new(highest - 9));
        // What was sent at 6 s is 300 ms old, and is to look as if it came at once.
        assert_eq!(6_000_000_u32.wrapping_add(began.shift), CLOCK_BEGINS);
    }

    /// The first packet after a call shows an earlier time than its clock was read for: it was on its way for longer.
    #[test]
    fn an_origin_is_not_behind_a_caller_whose_clock_went_back() {
        let (now, course) = begun(Action::Publish, false, 100);
        let shown = |caller: u32| CLOCK_BEGINS.wrapping_sub(caller);
        let clock = course.caller_clock(now);
        for (began, behind) in [
            (clock - 300_000, Duration::from_millis(300)),
            (clock, Duration::ZERO),
            (clock + 300, Duration::ZERO),
        ] {
            assert_eq!(course.behind(now, shown(began)), behind, "{began}");
        }
    }

    #[test]
    fn what_a_publisher_has_dropped_is_not_asked_for() {
        let (start, mut course) = begun(Action::Publish, true, 0);
        for step in 0..100 {
            let now = start + Duration::from_millis(50) * step;
            course.caller_says(now, data(step * 10), &keep_alive(0, 0));
            course.note_past(now);
        }
        let now = start + Duration::from_millis(50) * 99;
        let began = course
            .beginning(now, Before::Unknown, Duration::ZERO)
            .unwrap();
        // A second is 20 steps; the places are 31 ms apart.
        let first = began.first.word();
        assert!((771..=801).contains(&first), "{first}");
        assert_eq!(course.goes_on(now, began.first), first, "so many are lost");
        assert!(course.past.len() <= PLACES as usize + 2);
    }

    #[test]
    fn numbers_that_an_origin_may_have_used_are_left_out_if_they_are_encrypted() {
        let rows = [
            ("clear, the origin has ended", false, Before::Ended, 0..=0),
            ("clear, it says nothing", false, Before::Unknown, 0..=0),
            ("clear, it lives", false, Before::Alive, 900..=1000),
            ("encrypted, it has ended", true, Before::Ended, 150..=250),
            ("encrypted, it lives", true, Before::Alive, 500..=600),
            (
                "encrypted, it says nothing",
                true,
                Before::Unknown,
                2100..=2250,
            ),
        ];
        for (cause, is_encrypted, before, left_out) in rows {
            let (start, mut course) = begun(Action::Play, is_encrypted, 7);
            let highest = flow(&mut course, start, 7, 200, 2);
            let now = start + SECOND * 2 + Duration::from_millis(100);
            let began = course.beginning(now, before, Duration::ZERO).unwrap();
            let distance = began.first.since(Sequence::new(highest + 1));
            assert!(left_out.contains(&distance), "{cause}: {distance}");
        }
    }

    #[test]
    fn a_player_that_could_not_take_so_high_a_number_is_not_held() {
        let (start, mut course) = begun(Action::Play, true, 7);
        flow(&mut course, start, 7, 1000, 2);
        let now = start + SECOND * 2;
        assert_eq!(course.beginning(now, Before::Unknown, Duration::ZERO), None);
        assert!(
            course
                .beginning(now, Before::Ended, Duration::ZERO)
                .is_some()
        );
    }

    #[test]
    fn numbers_of_an_origin_that_was_called_in_vain_are_used() {
        let (start, mut course) = begun(Action::Play, true, 7);
        flow(&mut course, start, 7, 200, 2);
        let now = start + SECOND * 2;
        let one = course
            .beginning(now, Before::Ended, Duration::ZERO)
            .unwrap();
        course.note_called(one.first);
        let two = course
            .beginning(now, Before::Ended, Duration::ZERO)
            .unwrap();
        assert!(two.first.since(one.first) >= 200, "{two:?} after {one:?}");
    }

    #[test]
    fn media_both_ways_cannot_go_on() {
        let (now, mut course) = begun(Action::Publish, false, 7);
        course.caller_says(now, data(7), &keep_alive(0, 0));
        assert!(course.may_go_on());
        course.origin_says(now, data(7), &keep_alive(0, 0));
        assert!(!course.may_go_on());
    }

    #[test]
    fn who_owes_an_answer() {
        let later = |now| now + SECOND;
        let (now, mut course) = begun(Action::Publish, false, 7);
        course.caller_says(now, Seen::Other, &keep_alive(0, 0));
        assert_eq!(
            course.owes_for(later(now)),
            Duration::ZERO,
            "a keep-alive asks nothing"
        );
        course.caller_says(now, data(7), &keep_alive(0, 0));
        assert_eq!(course.owes_for(later(now)), SECOND);
        course.origin_says(later(now), Seen::Other, &keep_alive(0, 0));
        assert_eq!(course.owes_for(later(now)), Duration::ZERO);
        let (now, mut course) = begun(Action::Play, false, 7);
        course.caller_says(now, Seen::Ack(Sequence::new(7)), &keep_alive(0, 0));
        assert_eq!(course.owes_for(later(now)), SECOND);
    }
}
