//! The table of rules.

use std::time::Duration;

/// Something that a person should know, and do something about.
#[derive(Debug)]
pub struct Rule {
    /// Its name, as alerts and the runbook have it.
    pub name: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong, as a sentence without a full stop.
    pub summary: &'static str,
    /// The same with its details, for Prometheus to fill in.
    pub description: &'static str,
    /// What to do first.
    pub advice: &'static str,
    /// What is tested.
    pub test: Test,
    /// How long it has to be true.
    pub hold: Duration,
}

/// How much a rule matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Clients are affected, or will be soon.
    Critical,
    /// Something is worse than it should be.
    Warning,
}

/// What a rule tests.
#[derive(Debug, Clone, Copy)]
pub enum Test {
    /// The value now.
    Now(Series, Is),
    /// How much a counter grew in these minutes.
    Increase(Series, u32, Is),
    /// How much a counter grew each second, on average over these minutes.
    Rate(Series, u32, Is),
    /// One value as a part of another.
    Share(&'static str, &'static str, Is),
    /// Whether a time, in seconds since 1970, is less than this many days from now.
    Within(Series, u32),
    /// A quantile of a histogram over these minutes.
    Quantile(f64, Series, u32, Is),
}

/// Samples of one family, added up.
#[derive(Debug, Clone, Copy)]
pub struct Series {
    /// The name of the family, as samples have it.
    pub family: &'static str,
    /// Which of its samples count.
    pub only: Only,
    /// The label whose values are looked at one by one.
    pub by: Option<&'static str>,
    /// Whether the samples differ in other labels too, so that they have to be added up.
    pub sum: bool,
}

/// Which samples of a family count, by one label.
#[derive(Debug, Clone, Copy)]
pub enum Only {
    /// All of them.
    All,
    /// Those with one of these values.
    Any(&'static str, &'static [&'static str]),
    /// Those with another value.
    Not(&'static str, &'static str),
}

/// A comparison.
#[derive(Debug, Clone, Copy)]
pub enum Is {
    /// Greater than this.
    Over(f64),
    /// Zero.
    Zero,
}

impl Severity {
    /// Its name in alerts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

impl Is {
    /// Whether it holds for `value`.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Over(limit) => value > limit,
            Self::Zero => value == 0.0,
        }
    }
}

/// The samples of a family, each by itself.
const fn each(family: &'static str, by: Option<&'static str>) -> Series {
    Series {
        family,
        only: Only::All,
        by,
        sum: false,
    }
}

/// The samples of a family, added up for each value of `by`.
const fn summed(family: &'static str, only: Only, by: Option<&'static str>) -> Series {
    Series {
        family,
        only,
        by,
        sum: true,
    }
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Every rule. Those that matter most come first among equals.
pub const RULES: &[Rule] = &[
    Rule {
        name: "SluicegateNoOrigin",
        severity: Severity::Critical,
        summary: "No origin takes new streams",
        description: "{{ $labels.instance }} refuses every new stream.",
        advice: "See why none of them does: failing or silent, drained or disabled (take one back), full (raise its limits, or add one). If none is known, do they report (address, token, system.register_from)?",
        test: Test::Now(each("sluicegate_origins_taking_streams", None), Is::Zero),
        hold: seconds(30),
    },
    Rule {
        name: "SluicegateOriginDown",
        severity: Severity::Warning,
        summary: "A known origin cannot take streams",
        description: "{{ $labels.origin }}, as seen by {{ $labels.instance }}.",
        advice: "Look at the origin's notes: dials that fail, or heartbeats that stopped. If it is gone for good, deregister it.",
        test: Test::Now(each("sluicegate_origin_up", Some("origin")), Is::Zero),
        hold: seconds(60),
    },
    Rule {
        name: "SluicegateOriginFlaps",
        severity: Severity::Warning,
        summary: "Origins come and go",
        description: "{{ $value }} changes in ten minutes, as seen by {{ $labels.instance }}.",
        advice: "Look at the reasons: dial_failed points to the network or the load of an origin, silent to missing heartbeats.",
        test: Test::Increase(
            summed(
                "sluicegate_origin_transitions_total",
                Only::Not("state", "up"),
                None,
            ),
            10,
            Is::Over(6.0),
        ),
        hold: seconds(0),
    },
    Rule {
        name: "SluicegateRefusals",
        severity: Severity::Critical,
        summary: "Clients are refused for reasons on the server side",
        description: "{{ $labels.instance }}: {{ $labels.reason }}, {{ $value }} a second.",
        advice: "The reason says what to do. no_origin: see the origins. full: raise session.max or add a proxy. all_failed, exhausted, too_slow: see the refused events.",
        test: Test::Rate(
            summed(
                "sluicegate_refused_total",
                Only::Any(
                    "reason",
                    &["all_failed", "no_origin", "too_slow", "exhausted", "full"],
                ),
                Some("reason"),
            ),
            5,
            Is::Over(0.1),
        ),
        hold: seconds(120),
    },
    Rule {
        name: "SluicegateFailovers",
        severity: Severity::Warning,
        summary: "Dials to origins fail, and other origins are tried",
        description: "{{ $labels.instance }}: {{ $value }} a second.",
        advice: "Clients are served, but later than they should be. The notes of the origins say which one fails.",
        test: Test::Rate(each("sluicegate_failovers_total", None), 5, Is::Over(0.2)),
        hold: seconds(300),
    },
    Rule {
        name: "SluicegateSetupSlow",
        severity: Severity::Warning,
        summary: "Session set-up is slow",
        description: "{{ $labels.instance }}, {{ $labels.protocol }}: 99 % within {{ $value }} s.",
        advice: "Set-up waits for origins: compare the protocols, and look at the load of the origins.",
        test: Test::Quantile(
            0.99,
            summed(
                "sluicegate_setup_seconds_bucket",
                Only::All,
                Some("protocol"),
            ),
            5,
            Is::Over(1.0),
        ),
        hold: seconds(300),
    },
    Rule {
        name: "SluicegateStoreStale",
        severity: Severity::Warning,
        summary: "The shared store is away",
        description: "{{ $labels.instance }} has relied on what it knows for {{ $value }} s.",
        advice: "Nothing is cut. If only one proxy is affected, look at its network; if all are, look at the store.",
        test: Test::Now(
            each("sluicegate_store_staleness_seconds", None),
            Is::Over(30.0),
        ),
        hold: seconds(0),
    },
    Rule {
        name: "SluicegateClaimConflicts",
        severity: Severity::Warning,
        summary: "Streams were placed on two origins",
        description: "{{ $labels.instance }} ended sessions of {{ $value }} streams in ten minutes, so that each stream is on one origin.",
        advice: "A few are expected after an outage of the store. Otherwise compare the placement and sources settings of the proxies.",
        test: Test::Increase(
            summed("sluicegate_claim_conflicts_total", Only::All, None),
            10,
            Is::Over(0.0),
        ),
        hold: seconds(0),
    },
    Rule {
        name: "SluicegateStalls",
        severity: Severity::Warning,
        summary: "Receivers stall and are ended",
        description: "{{ $labels.instance }}: {{ $value }} a second; a network on the path is congested.",
        advice: "For players, look at the network towards them; for publishers, at the origin or the network to it.",
        test: Test::Rate(
            summed(
                "sluicegate_sessions_ended_total",
                Only::Any("reason", &["stalled"]),
                None,
            ),
            5,
            Is::Over(1.0),
        ),
        hold: seconds(300),
    },
    Rule {
        name: "SluicegateCrashes",
        severity: Severity::Critical,
        summary: "A bug ended a session",
        description: "{{ $labels.instance }} has the panic in its log.",
        advice: "Other sessions go on. The log has the panic; please report it.",
        test: Test::Increase(
            summed(
                "sluicegate_sessions_ended_total",
                Only::Any("reason", &["crashed"]),
                None,
            ),
            15,
            Is::Over(0.0),
        ),
        hold: seconds(0),
    },
    Rule {
        name: "SluicegateDescriptors",
        severity: Severity::Warning,
        summary: "File descriptors are running out",
        description: "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of them.",
        advice: "Raise the limit (LimitNOFILE=), or lower session.max so that clients are refused in time.",
        test: Test::Share(
            "sluicegate_process_open_fds",
            "sluicegate_process_max_fds",
            Is::Over(0.85),
        ),
        hold: seconds(300),
    },
    Rule {
        name: "SluicegateAcceptErrors",
        severity: Severity::Critical,
        summary: "Connections cannot be accepted",
        description: "{{ $labels.instance }}, listener {{ $labels.listener }}.",
        advice: "The process or the machine is out of file descriptors, or out of memory.",
        test: Test::Rate(
            summed(
                "sluicegate_accept_errors_total",
                Only::All,
                Some("listener"),
            ),
            5,
            Is::Over(0.0),
        ),
        hold: seconds(60),
    },
    Rule {
        name: "SluicegateDatagramsLost",
        severity: Severity::Warning,
        summary: "Packets find a full receive buffer",
        description: "{{ $labels.instance }}, listener {{ $labels.listener }}: {{ $value }} a second.",
        advice: "Set sysctl net.core.rmem_max=8388608 and restart; if it is that large already, the process has too little CPU.",
        test: Test::Rate(
            summed(
                "sluicegate_datagrams_overflowed_total",
                Only::All,
                Some("listener"),
            ),
            5,
            Is::Over(1.0),
        ),
        hold: seconds(300),
    },
    Rule {
        name: "SluicegateGuessing",
        severity: Severity::Warning,
        summary: "Requests with wrong credentials",
        description: "{{ $labels.instance }}, {{ $labels.surface }}: {{ $value }} a second.",
        advice: "The log has the addresses. An origin whose token is out of date looks the same.",
        test: Test::Rate(
            summed("sluicegate_auth_refusals_total", Only::All, Some("surface")),
            5,
            Is::Over(1.0),
        ),
        hold: seconds(300),
    },
    Rule {
        name: "SluicegateClaimFlood",
        severity: Severity::Warning,
        summary: "Clients play many streams that nobody publishes",
        description: "{{ $labels.instance }}: {{ $value }} a second.",
        advice: "Each address may hold placement.claims_per_source; the refused events have the addresses.",
        test: Test::Rate(
            summed(
                "sluicegate_refused_total",
                Only::Any("reason", &["too_many_claims"]),
                None,
            ),
            5,
            Is::Over(1.0),
        ),
        hold: seconds(300),
    },
    Rule {
        name: "SluicegateCertificateExpires",
        severity: Severity::Warning,
        summary: "A TLS certificate expires within 14 days",
        description: "{{ $labels.certificate }} at {{ $labels.instance }}: {{ $value | humanizeDuration }} left.",
        advice: "Renew it and put the new files in place; they are read again by themselves.",
        test: Test::Within(
            each(
                "sluicegate_tls_certificate_not_after_seconds",
                Some("certificate"),
            ),
            14,
        ),
        hold: seconds(3600),
    },
];
