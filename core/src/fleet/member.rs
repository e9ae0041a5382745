//! One origin of a fleet: its registration, when it was heard, and what follows from that now.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dialect::Dialect;
use crate::fleet::drain::Duty;
use crate::fleet::health::{Health, Rules};
use crate::fleet::load::Load;
use crate::fleet::origin::{Origin, Transport};
use crate::fleet::setups::Setups;
use crate::rtmp::message::EnhancedRtmp;
use crate::stream::Service;

/// One origin and what is known of it.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its latest registration.
    pub origin: Origin,
    /// When this instance was first heard.
    pub first_seen: Instant,
    /// When it was last heard.
    pub last_seen: Instant,
    /// How much of the time since then other proxies could not have passed on its heartbeats.
    pub unheard: Duration,
    /// The longest of the recent gaps between two heartbeats; `None` until the second one.
    pub interval: Option<Duration>,
    /// Whether it stays for ever, and is alive as long as its probe says so, instead of by heartbeats.
    pub permanent: bool,
    /// The source that lists it; `None` if it registers itself.
    pub source: Option<Arc<str>>,
    /// What it is to do.
    pub duty: Duty,
    /// What dials and probes say about it.
    pub health: Health,
    /// Somebody else reports its server id, and nobody accepted a connection where it was.
    pub absent: bool,
    /// The load that it reports.
    pub load: Load,
    /// Since when it has been up, or has been believed to be.
    pub up_since: Instant,
    /// Whether it did not accept a pipelined set-up, so that commands are sent to it one by one.
    pub step_by_step: bool,
    /// The enhanced-RTMP properties its last `connect` answer carried.
    pub enhanced: Option<EnhancedRtmp>,
    /// The kind of server that its API says that it is.
    pub software: Option<Dialect>,
    /// How long it took lately to join sessions to it.
    pub(super) setups: Setups,
}

/// Whether an origin may get work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A dial to it or its probes failed, and it has not come back since.
    Failing,
    /// Three heartbeat intervals passed in silence.
    Suspect,
    /// It was heard in time, and nothing failed.
    Up,
}

impl State {
    /// Every state, for gauges.
    pub const ALL: [Self; 3] = [Self::Failing, Self::Suspect, Self::Up];

    /// The state in lower case, as in metrics and the API.
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
            absent: false,
            load,
            up_since: now,
            step_by_step: false,
            enhanced: None,
            software: None,
            setups: Setups::default(),
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

    /// The median of the set-up times of its newest sessions of the last five minutes; `None` without one.
    pub fn setup(&self, now: Instant) -> Option<Duration> {
        self.setups.median(now)
    }

    /// How long ago it was last heard.
    pub fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_seen)
    }

    /// How long it has been silent, as far as can be known.
    pub fn silence(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.unheard)
    }

    /// Whether it may get work now.
    pub fn state(&self, now: Instant) -> State {
        if self.health.is_out(now) {
            State::Failing
        } else if self.suspect(now) {
            State::Suspect
        } else {
            State::Up
        }
    }

    /// Its address and first port, for people.
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

    /// Whether too many heartbeats are missing, whatever else is known about it.
    pub(super) fn suspect(&self, now: Instant) -> bool {
        !self.permanent && self.missed(now) >= self.health.rules().suspect_after
    }

    /// Whether silence is the only thing held against it.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        match self.state(now) {
            State::Failing => self.health.is_silent(),
            State::Suspect => true,
            State::Up => false,
        }
    }

    /// Whether it is exactly the process that `origin` says it is. The id alone cannot tell: it joins three texts with
    /// a dash, and may equal another origin's.
    pub(super) fn is_instance(&self, origin: &Origin) -> bool {
        let known = &self.origin;
        !self.permanent
            && known.server == origin.server
            && known.service == origin.service
            && known.pid == origin.pid
    }

    pub(super) fn heard(&mut self, now: Instant, origin: Origin) {
        self.absent = false;
        let gap = self.silence(now).max(SHORTEST_INTERVAL);
        if self.suspect(now) {
            self.up_since = now;
        }
        // A longer interval is adopted at once, a shorter one slowly: a hiccup must not make it suspect.
        self.interval = Some(
            self.interval
                .map_or(gap, |known| gap.max(known - (known - gap.min(known)) / 4)),
        );
        self.load = self.load.heard(origin.report, gap);
        self.last_seen = now;
        self.unheard = Duration::ZERO;
        self.origin = origin;
    }

    /// Whether two heartbeats are missing, so that another origin may take its name.
    pub(super) fn silent(&self, now: Instant) -> bool {
        self.silence(now) >= 2 * self.interval.unwrap_or(USUAL_INTERVAL)
    }

    /// The number of heartbeats missed by now; 0 while the interval is unknown.
    pub fn missed(&self, now: Instant) -> u32 {
        self.interval.map_or(0, |interval| {
            u32::try_from(self.silence(now).as_millis() / interval.as_millis().max(1))
                .unwrap_or(u32::MAX)
        })
    }
}

/// Minimum interval: two registrations at the same instant (one per network interface, say) do not make one.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// The assumed interval of an origin that was heard once: the default of SRS (9.9 s), rounded.
const USUAL_INTERVAL: Duration = Duration::from_secs(10);
