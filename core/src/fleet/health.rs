//! What is known about an origin's health, and what follows from it: failed dials, probes, and recovery.
//!
//! A failed dial takes an origin *out* at once, for all clients; failed probes do so after `fall` in a row. It comes
//! back after `rise` successful probes in a row, or at once when a session is joined there. Where nothing can be
//! probed, time alone brings it back. The same holds after a failed dial of a service over UDP, which no probe asks.
//! Attempts to bring it back are spaced by a back-off that doubles.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How health is judged; the same for every origin of a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The number of heartbeat intervals in silence after which an origin is suspect.
    pub suspect_after: u32,
    /// Probes in a row that must succeed to bring an origin back.
    pub rise: u32,
    /// Probes in a row that must fail to put an origin out.
    pub fall: u32,
    /// Whether origins are probed at all. If not, time brings them back.
    pub probes: bool,
    /// If more than this percentage of the origins are silent at once, this proxy suspects itself; 0 for never.
    pub panic_percent: u32,
}

/// What went wrong between us and an origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It accepted the connection and closed it without a word, as a balancer does whose server is gone.
    Closed,
    /// It answered wrongly: it refused the connection, reset it, or did not speak the protocol. A refusal proves that
    /// the network works.
    Refused,
    /// It did not answer in time. The fault may be ours.
    Silent,
}

/// An event in an origin's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// When it happened.
    pub at: Instant,
    /// What happened, in words.
    pub what: String,
}

/// One origin's health, apart from its heartbeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    rules: Rules,
    out: Option<Fault>,
    /// Whether the service that put it out uses UDP, so that probes of another service say nothing about it.
    unasked: bool,
    /// Failures since it was last healthy; the exponent of its back-off.
    failures: u32,
    /// Consecutive probes whose results contradict the current verdict.
    streak: u32,
    retry_at: Option<Instant>,
    probed_at: Option<Instant>,
    /// Whether any of its services can be probed.
    probeable: bool,
    notes: VecDeque<Note>,
}

impl Default for Rules {
    /// Health without probes: time alone decides, and every silence is believed.
    fn default() -> Self {
        Self {
            suspect_after: 3,
            rise: 2,
            fall: 3,
            probes: false,
            panic_percent: 0,
        }
    }
}

impl Health {
    /// A new origin, which is healthy until it shows otherwise.
    pub const fn new(rules: Rules, probeable: bool) -> Self {
        Self {
            rules,
            out: None,
            unasked: false,
            failures: 0,
            streak: 0,
            retry_at: None,
            probed_at: None,
            probeable,
            notes: VecDeque::new(),
        }
    }

    /// The rules by which it is judged.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether it is passed over.
    pub fn is_out(&self, now: Instant) -> bool {
        self.out.is_some() && (self.comes_back_by_probe() || self.backs_off(now))
    }

    /// Whether it failed so recently that it is not tried again.
    pub fn backs_off(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }

    /// Whether silence is the only thing held against it.
    pub fn is_silent(&self) -> bool {
        self.out == Some(Fault::Silent)
    }

    /// Failures since it was last healthy.
    pub const fn failures(&self) -> u32 {
        self.failures
    }

    /// Recent events, oldest first.
    pub fn notes(&self) -> impl DoubleEndedIterator<Item = &Note> {
        self.notes.iter()
    }

    /// Notes that a session's dial failed, which takes it out at once. Further failed dials while it is out count as
    /// the same failure: many clients at once must not turn a hiccup into the longest back-off.
    pub fn dial_failed(&mut self, now: Instant, fault: Fault, why: &str) {
        if self.out.is_some() && self.backs_off(now) {
            return;
        }
        self.note(now, why);
        self.put_out(now, fault);
    }

    /// Notes that a session's dial of a service over UDP failed. This takes it out at once, and it comes back with
    /// time, unless it was already out for a reason that a probe can check.
    pub fn datagrams_failed(&mut self, now: Instant, fault: Fault, why: &str) {
        let unasked = self.out.is_none() || self.unasked;
        self.dial_failed(now, fault, why);
        self.unasked = unasked;
    }

    /// Notes a failed probe. Returns true if that took it out.
    pub fn probe_failed(&mut self, now: Instant, fault: Fault, why: &str) -> bool {
        self.probed_at = Some(now);
        if self.awaits_probe() {
            self.put_out(now, fault);
            return false;
        }
        self.streak = self.streak.saturating_add(1);
        if self.streak < self.rules.fall {
            return false;
        }
        self.note(now, why);
        self.put_out(now, fault);
        true
    }

    /// Notes a successful probe. Returns true if that brought it back.
    pub fn probe_answered(&mut self, now: Instant) -> bool {
        self.probed_at = Some(now);
        if !self.awaits_probe() {
            self.streak = 0;
            return false;
        }
        self.streak = self.streak.saturating_add(1);
        if self.streak < self.rules.rise {
            self.retry_at = now.checked_add(FIRST_BACKOFF);
            return false;
        }
        self.come_back(now);
        true
    }

    /// Notes that a session was joined there.
    pub fn answered(&mut self, now: Instant) {
        if self.out.is_some() {
            self.come_back(now);
        }
        self.failures = 0;
    }

    /// Whether a probe is due; `every` is how often a healthy origin is probed, if at all.
    pub fn probe_is_due(&self, now: Instant, every: Option<Duration>) -> bool {
        if !self.rules.probes || !self.probeable {
            return false;
        }
        if self.awaits_probe() {
            return !self.backs_off(now);
        }
        every.is_some_and(|every| {
            self.probed_at
                .is_none_or(|at| now.saturating_duration_since(at) >= every)
        })
    }

    /// Keeps a sentence about it.
    pub fn note(&mut self, at: Instant, what: &str) {
        if self.notes.len() >= MAX_NOTES {
            self.notes.pop_front();
        }
        let what = what.chars().take(MAX_WORDS).collect();
        self.notes.push_back(Note { at, what });
    }

    const fn comes_back_by_probe(&self) -> bool {
        self.rules.probes && self.probeable && !self.unasked
    }

    /// Whether it is out and the result of a probe can change that.
    const fn awaits_probe(&self) -> bool {
        self.out.is_some() && !self.unasked
    }

    fn put_out(&mut self, now: Instant, fault: Fault) {
        self.out = Some(fault);
        self.unasked = false;
        self.streak = 0;
        self.failures = self.failures.saturating_add(1);
        let doublings = self.failures.saturating_sub(1).min(MOST_DOUBLINGS);
        let pause = FIRST_BACKOFF.saturating_mul(1 << doublings);
        self.retry_at = now.checked_add(pause.min(LONGEST_BACKOFF));
    }

    fn come_back(&mut self, now: Instant) {
        self.out = None;
        self.unasked = false;
        self.failures = 0;
        self.streak = 0;
        self.retry_at = None;
        self.note(now, "answered again");
    }
}

/// Whether too many of `active` origins are `silent` to be believed. They hardly all died at once; it is more likely
/// that this proxy cannot hear them.
pub const fn suspects_itself(rules: &Rules, active: usize, silent: usize) -> bool {
    active >= LEAST_FOR_PANIC
        && rules.panic_percent > 0
        && silent.saturating_mul(100) > active.saturating_mul(rules.panic_percent as usize)
}

/// How long an origin is passed over after its first failure; doubles with each further failure.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);
/// Maximum doublings: sixteen seconds, beyond the longest back-off.
const MOST_DOUBLINGS: u32 = 4;
/// Minimum number of origins for the panic rule: one of two is no majority, and both may well be dead.
const LEAST_FOR_PANIC: usize = 3;
/// Maximum sentences kept per origin.
const MAX_NOTES: usize = 8;
/// Maximum characters of a sentence.
const MAX_WORDS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const PROBED: Rules = Rules {
        suspect_after: 3,
        rise: 2,
        fall: 3,
        probes: true,
        panic_percent: 50,
    };

    #[allow(
        clippy::disallowed_methods,
        reason = "a test needs some instant to count from"
    )]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_failed_dial_puts_out_at_once_and_probes_bring_back() {
        let (mut health, now) = (Health::new(PROBED, true), start());
        assert!(!health.probe_is_due(now, None), "nobody asks the healthy");
        health.dial_failed(now, Fault::Refused, "connection refused");
        assert!(health.is_out(now));
        assert!(!health.probe_is_due(now, None), "it backs off");
        assert!(health.probe_is_due(now + SECOND, None));
        assert!(health.is_out(now + 100 * SECOND), "time alone is no answer");
        assert!(!health.probe_answered(now + SECOND));
        assert!(health.is_out(now + SECOND), "once is luck");
        assert!(health.probe_answered(now + 2 * SECOND));
        assert!(!health.is_out(now + 2 * SECOND));
        let words: Vec<&str> = health.notes().map(|note| note.what.as_str()).collect();
        assert_eq!(words, ["connection refused", "answered again"]);
    }

    #[test]
    fn probes_put_out_after_as_many_as_fall_in_a_row() {
        let (mut health, now) = (Health::new(PROBED, true), start());
        assert!(!health.probe_failed(now, Fault::Silent, "silent"));
        assert!(!health.probe_failed(now, Fault::Silent, "silent"));
        assert!(!health.probe_answered(now), "it was never out");
        for _ in 0..2 {
            assert!(!health.probe_failed(now, Fault::Silent, "silent"));
        }
        assert!(!health.is_out(now), "the row was broken");
        assert!(health.probe_failed(now, Fault::Silent, "silent"));
        assert!(health.is_out(now) && health.is_silent());
    }

    #[test]
    fn the_back_off_doubles_up_to_its_longest() {
        let (mut health, mut now) = (Health::new(PROBED, true), start());
        for pause in [1, 2, 4, 8, 15, 15] {
            health.dial_failed(now, Fault::Refused, "no");
            let rest = pause * SECOND;
            assert!(health.backs_off(now + rest - Duration::from_millis(1)));
            assert!(!health.backs_off(now + rest), "{pause}");
            now += rest;
        }
    }

    #[test]
    fn what_cannot_be_probed_comes_back_with_time() {
        for (rules, probeable) in [(Rules::default(), true), (PROBED, false)] {
            let (mut health, now) = (Health::new(rules, probeable), start());
            health.dial_failed(now, Fault::Refused, "no");
            assert!(health.is_out(now));
            assert!(!health.is_out(now + SECOND));
            assert!(!health.probe_is_due(now + SECOND, Some(SECOND)));
        }
    }

    #[test]
    fn what_no_probe_asks_about_comes_back_with_time_whatever_probes_say() {
        let (mut health, now) = (Health::new(PROBED, true), start());
        health.datagrams_failed(now, Fault::Refused, "nobody listens at its SRT port");
        assert!(health.is_out(now));
        assert!(!health.probe_is_due(now + SECOND, None));
        assert!(!health.is_out(now + SECOND));
        health.probe_answered(now + SECOND);
        assert!(!health.is_out(now + SECOND), "no probe makes it worse");
        health.answered(now + SECOND);
        assert_eq!(health.failures(), 0);

        health.dial_failed(now, Fault::Refused, "no RTMP");
        health.datagrams_failed(now + SECOND, Fault::Refused, "no SRT");
        assert!(health.is_out(now + 100 * SECOND), "a probe is waited for");

        let (mut health, now) = (Health::new(PROBED, true), start());
        health.datagrams_failed(now, Fault::Silent, "no SRT");
        health.dial_failed(now + SECOND, Fault::Silent, "no RTMP");
        assert!(health.is_out(now + 100 * SECOND), "a probe is waited for");
    }

    #[test]
    fn the_healthy_are_asked_as_often_as_wished() {
        let (mut health, now) = (Health::new(PROBED, true), start());
        assert!(health.probe_is_due(now, Some(5 * SECOND)));
        health.probe_answered(now);
        assert!(!health.probe_is_due(now + 4 * SECOND, Some(5 * SECOND)));
        assert!(health.probe_is_due(now + 5 * SECOND, Some(5 * SECOND)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (mut health, now) = (Health::new(PROBED, true), start());
        for _ in 0..100 {
            health.note(now, &"x".repeat(10_000));
        }
        assert_eq!(health.notes().count(), MAX_NOTES);
        assert!(health.notes().all(|note| note.what.len() == MAX_WORDS));
    }

    #[test]
    fn a_silent_majority_is_not_believed() {
        let never = Rules {
            panic_percent: 0,
            ..PROBED
        };
        let rows = [
            ("half is no majority", PROBED, 4, 2, false),
            ("more than half", PROBED, 4, 3, true),
            ("too few to tell", PROBED, 2, 2, false),
            ("turned off", never, 10, 10, false),
            ("nobody is there", PROBED, 0, 0, false),
        ];
        for (cause, rules, active, silent, expected) in rows {
            assert_eq!(suspects_itself(&rules, active, silent), expected, "{cause}");
        }
    }
}
