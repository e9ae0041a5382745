//! The load that an origin reports: the `summaries` of an SRS heartbeat, smoothed over time.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One report, as far as placement can use it. What an origin does not report is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Report {
    /// Use of the machine's processors, in thousandths.
    pub cpu: Option<u32>,
    /// Use of the machine's memory, in thousandths.
    pub memory: Option<u32>,
    /// The number of the origin's connections.
    pub connections: Option<u32>,
    /// Bytes that the origin has sent and received since it started, and when they were counted, in milliseconds of its
    /// own clock.
    pub transferred: Option<(u64, u64)>,
}

impl Report {
    /// Reads the `summaries` of a heartbeat, with or without a `data` wrapper. Invalid values are ignored: a heartbeat
    /// that says where an origin is must not be lost because of what it says about its processors.
    pub(crate) fn parse(summaries: Value) -> Option<Self> {
        let mut summaries = summaries;
        let inner = summaries.get_mut("data").map(Value::take);
        let document: Summaries = serde_json::from_value(inner.unwrap_or(summaries)).ok()?;
        if document.ok == Some(false) {
            return None;
        }
        let (own, system) = (document.own, document.system);
        let transferred = match (system.srs_recv_bytes, system.srs_send_bytes) {
            (Some(received), Some(sent)) => Some(received.saturating_add(sent)),
            _ => None,
        };
        let moment = system.srs_sample_time.or(document.now_ms);
        let report = Self {
            cpu: thousandths(system.cpu_percent).max(thousandths(own.cpu_percent)),
            memory: thousandths(system.mem_ram_percent),
            connections: system
                .conn_srs
                .map(|count| u32::try_from(count).unwrap_or(u32::MAX)),
            transferred: transferred.zip(moment),
        };
        (report != Self::default()).then_some(report)
    }

    /// The report as `summaries` from which [`parse`](Self::parse) reads the same.
    pub(crate) fn written(&self) -> Value {
        let fraction = |thousandths: u32| f64::from(thousandths) / 1000.0;
        let mut system = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                system.insert(name.to_owned(), value);
            }
        };
        put("cpu_percent", self.cpu.map(|cpu| fraction(cpu).into()));
        let memory = self.memory.map(|memory| fraction(memory).into());
        put("mem_ram_percent", memory);
        put("conn_srs", self.connections.map(Into::into));
        if let Some((bytes, moment)) = self.transferred {
            put("srs_recv_bytes", Some(bytes.into()));
            put("srs_send_bytes", Some(0.into()));
            put("srs_sample_time", Some(moment.into()));
        }
        json!({ "system": system })
    }
}

/// The smoothed reports of one origin, so that a momentary value does not decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Use of the machine's processors, in thousandths.
    pub cpu: Option<u32>,
    /// Use of the machine's memory, in thousandths.
    pub memory: Option<u32>,
    /// The number of the origin's connections in the last report.
    pub connections: Option<u32>,
    /// Kilobits per second, both directions together.
    pub kbps: Option<u64>,
    last: Option<(u64, u64)>,
}

impl Load {
    /// Takes a report that came `after` the previous one.
    #[must_use]
    pub fn heard(self, report: Option<Report>, after: Duration) -> Self {
        let Some(report) = report else {
            // An origin that stops reporting must not count as busy for ever.
            return Self::default();
        };
        let smooth = |old: Option<u32>, new: Option<u32>| match (old, new) {
            (Some(old), Some(new)) => {
                let mixed = mix(u64::from(old), u64::from(new), after);
                Some(u32::try_from(mixed).unwrap_or(u32::MAX))
            }
            (_, new) => new,
        };
        let kbps = match (self.kbps, rate(self.last, report.transferred)) {
            (Some(old), Some(new)) => Some(mix(old, new, after)),
            (old, new) => new.or(old),
        };
        Self {
            cpu: smooth(self.cpu, report.cpu),
            memory: smooth(self.memory, report.memory),
            connections: report.connections,
            kbps,
            last: report.transferred,
        }
    }
}

/// Kilobits per second between two counts, if both exist and the count has grown; after a restart it begins again.
fn rate(before: Option<(u64, u64)>, now: Option<(u64, u64)>) -> Option<u64> {
    let ((old, from), (new, to)) = before.zip(now)?;
    let bits = new.checked_sub(old)?.checked_mul(8)?;
    // Bits per millisecond equal kilobits per second.
    bits.checked_div(to.checked_sub(from)?)
}

/// An exponential mean: the old value loses half its weight in every [`HALF_LIFE`].
fn mix(old: u64, new: u64, after: Duration) -> u64 {
    let halves = after.as_secs_f64() / HALF_LIFE.as_secs_f64();
    let keep = (-halves).exp2();
    let mixed = old as f64 * keep + new as f64 * (1.0 - keep);
    mixed.round() as u64
}

/// Converts a fraction of one, which SRS calls a percentage, to thousandths.
fn thousandths(fraction: Option<f64>) -> Option<u32> {
    let fraction = fraction.filter(|fraction| fraction.is_finite())?;
    Some((fraction.clamp(0.0, 1.0) * 1000.0).round() as u32)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Summaries {
    ok: Option<bool>,
    now_ms: Option<u64>,
    #[serde(rename = "self")]
    own: Process,
    system: Machine,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Process {
    cpu_percent: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Machine {
    cpu_percent: Option<f64>,
    mem_ram_percent: Option<f64>,
    srs_sample_time: Option<u64>,
    srs_recv_bytes: Option<u64>,
    srs_send_bytes: Option<u64>,
    conn_srs: Option<u64>,
}

/// How long until a report has lost half its weight: two heartbeats of SRS.
pub(crate) const HALF_LIFE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn summaries(cpu: f64, bytes: u64, millis: u64) -> Option<Report> {
        Report::parse(json!({"code": 0, "data": {
            "ok": true, "now_ms": 1,
            "self": {"version": "7.0.18", "cpu_percent": 0.0, "mem_percent": 0.001},
            "system": {"cpu_percent": cpu, "mem_ram_percent": 0.25, "conn_srs": 12,
                "srs_sample_time": millis, "srs_recv_bytes": bytes, "srs_send_bytes": bytes},
        }}))
    }

    #[test]
    fn a_report_is_read_as_far_as_it_goes() {
        assert_eq!(
            summaries(0.5, 10, 1000),
            Some(Report {
                cpu: Some(500),
                memory: Some(250),
                connections: Some(12),
                transferred: Some((20, 1000))
            })
        );
        for (cause, nonsense) in [
            ("nothing", json!(null)),
            ("a number", json!(7)),
            ("an empty one", json!({})),
            (
                "one that says so",
                json!({"ok": false, "system": {"cpu_percent": 0.5}}),
            ),
            ("another kind", json!({"system": {"cpu_percent": "hot"}})),
        ] {
            assert_eq!(Report::parse(nonsense), None, "{cause}");
        }
        let told = Report::parse(json!({"system": {"cpu_percent": 7.5}})).unwrap();
        assert_eq!(told.cpu, Some(1000), "no more than all of it");
    }

    #[test]
    fn old_reports_fade() {
        let first = Load::default().heard(summaries(1.0, 0, 1000), Duration::ZERO);
        assert_eq!((first.cpu, first.kbps), (Some(1000), None));
        let second = first.heard(summaries(0.0, 1_250_000, 11_000), HALF_LIFE);
        assert_eq!(second.cpu, Some(500));
        assert_eq!(second.kbps, Some(2000), "2.5 MB in ten seconds");
        let restarted = second.heard(summaries(0.0, 0, 12_000), HALF_LIFE);
        assert_eq!((restarted.cpu, restarted.kbps), (Some(250), Some(2000)));
        assert_eq!(restarted.heard(None, HALF_LIFE), Load::default());
    }
}
