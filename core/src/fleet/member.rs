//! One origin of a fleet: what it said, since when, and what that says of it now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::fleet::drain::Duty;
use crate::fleet::health::{Health, Rules};
use crate::fleet::load::Load;
use crate::fleet::origin::{Origin, Transport};
use crate::rtmp::message::EnhancedRtmp;
use crate::stream::Service;

/// One origin and what is known of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// What it said of itself last.
    pub origin: Origin,
    /// When this instance was first heard.
    pub first_seen: Instant,
    /// When it was heard last.
    pub last_seen: Instant,
    /// Of the time since then, that in which others could not have told of it.
    pub unheard: Duration,
    /// The longest of the recent gaps between two heartbeats; `None` until the second one.
    pub interval: Option<Duration>,
    /// Kept for ever, and alive as long as its probe says so, instead of by heartbeats.
    pub permanent: bool,
    /// The source that names it; `None` for one that registers itself.
    pub source: Option<Arc<str>>,
    /// What is wanted of it.
    pub duty: Duty,
    /// What dials and probes say of it.
    pub health: Health,
    /// How busy it says it is.
    pub load: Load,
    /// Since when it has been up, or is believed to be.
    pub up_since: Instant,
    /// It did not take a pipelined set-up; commands are sent to it one by one.
    pub step_by_step: bool,
    /// The enhanced-RTMP properties its last `connect` answer carried.
    pub enhanced: Option<EnhancedRtmp>,
}

/// Whether an origin may be given work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A dial to it failed, or its probes did, and it has not come back since.
    Failing,
    /// Three heartbeat intervals passed in silence.
    Suspect,
    /// Heard in time, and nothing failed.
    Up,
}

impl State {
    /// Every state, for gauges.
    pub const ALL: [Self; 3] = [Self::Failing, Self::Suspect, Self::Up];

    /// The state in lower case, as metrics and the API spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failing => "failing",
            Self::Suspect => "suspect",
            Self::Up => "up",
        }
    }
}

impl Member {
    pub(super) fn new(now: Instant, origin: Origin, rules: Rules) -> Self {
        let probeable = Service::ALL.into_iter().any(|service| {
            Transport::of(service) == Transport::Tcp && origin.target(service).is_some()
        });
        let load = Load::default().heard(origin.report, Duration::ZERO);
        Self {
            origin,
            first_seen: now,
            last_seen: now,
            unheard: Duration::ZERO,
            interval: None,
            permanent: false,
            source: None,
            duty: Duty::Active,
            health: Health::new(rules, probeable),
            load,
            up_since: now,
            step_by_step: false,
            enhanced: None,
        }
    }

    pub(super) fn permanent(
        now: Instant,
        origin: Origin,
        rules: Rules,
        source: Option<Arc<str>>,
    ) -> Self {
        Self {
            permanent: true,
            source,
            ..Self::new(now, origin, rules)
        }
    }

    /// How long ago it was heard.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_seen)
    }

    /// How long it has been silent, as far as can be known.
    pub fn silence(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.unheard)
    }

    /// Whether it may be given work now.
    pub fn state(&self, now: Instant) -> State {
        if self.health.is_out(now) {
            State::Failing
        } else if self.suspect(now) {
            State::Suspect
        } else {
            State::Up
        }
    }

    /// Where it is, for people: its address and first port.
    pub fn place(&self) -> String {
        [
            Service::Rtmp,
            Service::Http,
            Service::Srt,
            Service::Rtc,
            Service::Rtsp,
            Service::Api,
        ]
        .into_iter()
        .find_map(|service| self.origin.target(service))
        .map_or_else(|| self.origin.ip.to_string(), |target| target.to_string())
    }

    /// Too many heartbeats missed, whatever else is known of it.
    pub(super) fn suspect(&self, now: Instant) -> bool {
        !self.permanent && self.missed(now) >= self.health.rules().suspect_after
    }

    /// All that is held against it is that nothing is heard of it.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        match self.state(now) {
            State::Failing => self.health.is_silent(),
            State::Suspect => true,
            State::Up => false,
        }
    }

    /// The very process that `origin` says it is: its id joins three texts with a dash, and may read like another's.
    pub(super) fn is_instance(&self, origin: &Origin) -> bool {
        let known = &self.origin;
        !self.permanent
            && known.server == origin.server
            && known.service == origin.service
            && known.pid == origin.pid
    }

    pub(super) fn heard(&mut self, now: Instant, origin: Origin) {
        let gap = self.silence(now).max(SHORTEST_INTERVAL);
        if self.suspect(now) {
            self.up_since = now;
        }
        // Follows a longer interval at once and a shorter one slowly: a hiccup must not turn into a suspicion.
        self.interval = Some(
            self.interval
                .map_or(gap, |known| gap.max(known - (known - gap.min(known)) / 4)),
        );
        self.load = self.load.heard(origin.report, gap);
        self.last_seen = now;
        self.unheard = Duration::ZERO;
        self.origin = origin;
    }

    /// Two heartbeats missed: somebody else may take its name.
    pub(super) fn silent(&self, now: Instant) -> bool {
        self.silence(now) >= 2 * self.interval.unwrap_or(USUAL_INTERVAL)
    }

    /// Heartbeats missed by now; 0 while the interval is not known.
    pub fn missed(&self, now: Instant) -> u32 {
        self.interval.map_or(0, |interval| {
            u32::try_from(self.silence(now).as_millis() / interval.as_millis().max(1))
                .unwrap_or(u32::MAX)
        })
    }
}

/// Two registrations in the same instant (one per network interface, say) do not make an interval.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// What SRS sends by default (9.9 s), for an origin that was heard once.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);
