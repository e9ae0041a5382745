//! Which rules are true, and since when.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::rules::{Only, RULES, Rule, Series, Test};
use super::samples::Samples;

/// Watches the samples of one proxy.
#[derive(Debug, Default)]
pub struct Watch {
    /// Counters of the last minutes, oldest first, with the time of each.
    kept: VecDeque<(Duration, Samples)>,
    /// Since when each rule has been true, by its place in the table and the group it is true for.
    held: BTreeMap<(usize, String), Held>,
    now: Duration,
    /// The time since 1970.
    date: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Held {
    since: Duration,
    value: f64,
}

/// A rule that has been true for long enough.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// What it is true for: an origin, a reason, a listener; empty for the proxy as a whole.
    pub about: String,
    /// The value that was compared.
    pub value: f64,
    /// For how long it has been true.
    pub lasts: Duration,
}

impl Watch {
    /// Judges what is measured at `now`, a time since the start that never goes back, and on `date`, the time since
    /// 1970. To be called each [`STEP`].
    pub fn note(&mut self, now: Duration, date: Duration, samples: Samples) {
        self.now = now;
        self.date = date;
        let mut held = BTreeMap::new();
        for (at, rule) in RULES.iter().enumerate() {
            for (group, value) in self.values(&rule.test, &samples, now) {
                let since = self.held.get(&(at, group.clone()));
                let since = since.map_or(now, |held| held.since);
                held.insert((at, group), Held { since, value });
            }
        }
        self.held = held;
        self.kept.push_back((now, samples.into_counters()));
        while let Some((at, _)) = self.kept.front()
            && now.saturating_sub(*at) > LONGEST_WINDOW
        {
            self.kept.pop_front();
        }
    }

    /// What needs attention, the most urgent first, then what has lasted longest.
    pub fn findings(&self) -> Vec<Finding> {
        let lasting = self.held.iter().filter_map(|((at, about), held)| {
            let lasts = self.now.saturating_sub(held.since);
            let rule = RULES.get(*at)?;
            (lasts >= rule.hold).then(|| Finding {
                rule,
                about: about.clone(),
                value: held.value,
                lasts,
            })
        });
        let mut findings: Vec<Finding> = lasting.collect();
        findings.sort_by_key(|one| (one.rule.severity, std::cmp::Reverse(one.lasts)));
        findings
    }

    /// How many requests got no session in the last five minutes, by reason.
    pub fn refusals(&self) -> Vec<(String, f64)> {
        let Some((now, samples)) = self.kept.back() else {
            return Vec::new();
        };
        self.grown(&REFUSED, 5, samples, *now)
    }

    /// The groups for which `test` is true, each with its value.
    fn values(&self, test: &Test, samples: &Samples, now: Duration) -> Vec<(String, f64)> {
        let (values, is) = match test {
            Test::Now(series, is) => (samples.sums(series), *is),
            Test::Increase(series, minutes, is) => {
                (self.grown(series, *minutes, samples, now), *is)
            }
            Test::Rate(series, minutes, is) => {
                let grown = self.grown(series, *minutes, samples, now);
                let each = |(group, by): (String, f64)| (group, by / f64::from(minutes * 60));
                (grown.into_iter().map(each).collect(), *is)
            }
            Test::Share(part, of, is) => {
                let both = samples.first(part).zip(samples.first(of));
                let share = both.filter(|(_, of)| *of > 0.0);
                let share = share.map(|(part, of)| (String::new(), part / of));
                (share.into_iter().collect(), *is)
            }
            Test::Within(series, days) => {
                let mut left = samples.sums(series);
                for (_, time) in &mut left {
                    *time -= self.date.as_secs_f64();
                }
                left.retain(|(_, left)| *left < f64::from(*days) * 86_400.0);
                return left;
            }
            Test::Quantile(quantile, series, minutes, is) => {
                let before = self.before(*minutes, now);
                let groups = samples.sums(series).into_iter();
                let found = groups.filter_map(|(group, _)| {
                    let late = samples.buckets(series, &group);
                    let early = before.map(|before| before.buckets(series, &group));
                    let value = rank(*quantile, &late, &early.unwrap_or_default())?;
                    Some((group, value))
                });
                (found.collect(), *is)
            }
        };
        let mut values = values;
        values.retain(|(_, value)| is.holds(*value));
        values
    }

    /// How much counters grew. One that was not there before began at zero.
    fn grown(
        &self,
        series: &Series,
        minutes: u32,
        samples: &Samples,
        now: Duration,
    ) -> Vec<(String, f64)> {
        let before = self.before(minutes, now);
        let before = before.map(|before| before.sums(series)).unwrap_or_default();
        let mut sums = samples.sums(series);
        for (group, value) in &mut sums {
            let then = before.iter().find(|(known, _)| known == group);
            *value -= then.map_or(0.0, |(_, then)| *then);
        }
        sums
    }

    /// The counters as they were `minutes` ago; `None` if the process did not run then, so that all were zero.
    fn before(&self, minutes: u32, now: Duration) -> Option<&Samples> {
        let then = now.checked_sub(Duration::from_secs(u64::from(minutes) * 60))?;
        let mut kept = self.kept.iter().rev();
        kept.find(|(at, _)| *at <= then).map(|(_, samples)| samples)
    }
}

/// The value below which `quantile` of what came between `early` and `late` lies, as Prometheus computes it: in
/// proportion within its bucket. `None` if nothing came.
fn rank(quantile: f64, late: &[(f64, f64)], early: &[(f64, f64)]) -> Option<f64> {
    let grown: Vec<(f64, f64)> = late
        .iter()
        .map(|(bound, count)| {
            let then = early.iter().find(|(known, _)| known == bound);
            (*bound, count - then.map_or(0.0, |(_, then)| *then))
        })
        .collect();
    let (_, all) = grown.last().filter(|(_, all)| *all > 0.0)?;
    let wanted = quantile * all;
    let mut below = (0.0, 0.0);
    for (bound, count) in &grown {
        if *count >= wanted {
            if bound.is_infinite() {
                return Some(below.0);
            }
            let share = (wanted - below.1) / (count - below.1).max(f64::MIN_POSITIVE);
            return Some(below.0 + (bound - below.0) * share);
        }
        below = (*bound, *count);
    }
    Some(below.0)
}

/// Requests that got no session.
const REFUSED: Series = Series {
    family: "sluicegate_refused_total",
    only: Only::All,
    by: Some("reason"),
    sum: true,
};
/// How often samples are judged.
pub const STEP: Duration = Duration::from_secs(10);
/// The longest time that a rule looks back, and one step so that something is as old as that.
const LONGEST_WINDOW: Duration = Duration::from_secs(15 * 60 + 10);

#[cfg(test)]
mod tests {
    use super::*;

    /// Judges the same text every step from one time to another.
    fn during(watch: &mut Watch, seconds: std::ops::Range<u64>, text: impl Fn(u64) -> String) {
        for at in seconds.step_by(10) {
            let date = Duration::from_secs(1_000_000 + at);
            watch.note(Duration::from_secs(at), date, Samples::read(&text(at)));
        }
    }

    fn found(watch: &Watch) -> Vec<(&'static str, String)> {
        let findings = watch.findings().into_iter();
        findings
            .map(|one| (one.rule.name, one.about.clone()))
            .collect()
    }

    #[test]
    fn what_has_lasted_long_enough_is_found_and_what_is_over_is_not() {
        let mut watch = Watch::default();
        let text = |up: u64| {
            format!(
                "# HELP sluicegate_origins x\nsluicegate_origins_taking_streams {up}\nsluicegate_origins{{state=\"failing\"}} 1\n\
                 sluicegate_origin_up{{origin=\"a\\\"b\"}} 0\nsluicegate_origin_up{{origin=\"c\"}} 1\n"
            )
        };
        during(&mut watch, 0..30, |_| text(0));
        assert!(watch.findings().is_empty(), "20 s are not 30 s");
        during(&mut watch, 30..70, |_| text(0));
        let expected = [
            ("SluicegateNoOrigin", String::new()),
            ("SluicegateOriginDown", "a\"b".to_owned()),
        ];
        assert_eq!(found(&watch), expected, "the critical one first");
        during(&mut watch, 70..80, |_| text(1));
        assert_eq!(found(&watch), expected[1..]);
    }

    #[test]
    fn refusals_of_the_last_minutes_are_told_by_reason() {
        let mut watch = Watch::default();
        assert_eq!(watch.refusals(), []);
        let refused = |count: u64| {
            format!(
                "sluicegate_refused_total{{protocol=\"rtmp\",reason=\"full\"}} {count}\n\
                 sluicegate_refused_total{{protocol=\"srt\",reason=\"full\"}} {count}\n\
                 sluicegate_refused_total{{protocol=\"srt\",reason=\"no_origin\"}} 3\n"
            )
        };
        during(&mut watch, 0..600, refused);
        let told = watch.refusals();
        // 300 s of two protocols; the other reason is from before.
        let expected = [("full".to_owned(), 600.0), ("no_origin".to_owned(), 0.0)];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_counter_counts_by_how_it_grows() {
        let mut watch = Watch::default();
        let crashed = |count: u64| {
            format!(
                "sluicegate_sessions_ended_total{{protocol=\"rtmp\",reason=\"crashed\"}} {count}\n\
                 sluicegate_sessions_ended_total{{protocol=\"rtmp\",reason=\"kicked\"}} 9\n"
            )
        };
        during(&mut watch, 0..10, |_| crashed(1));
        assert_eq!(
            found(&watch),
            [("SluicegateCrashes", String::new())],
            "it was zero before the start"
        );
        during(&mut watch, 10..920, |_| crashed(1));
        assert_eq!(found(&watch), [], "fifteen minutes later");
        during(&mut watch, 920..930, |_| crashed(2));
        assert_eq!(found(&watch), [("SluicegateCrashes", String::new())]);
        let refused = |at: u64| {
            format!("sluicegate_refused_total{{protocol=\"srt\",reason=\"full\"}} {at}\n")
        };
        let mut watch = Watch::default();
        during(&mut watch, 0..600, refused);
        let expected = [("SluicegateRefusals", "full".to_owned())];
        assert_eq!(found(&watch), expected, "one a second for minutes");
    }

    #[test]
    fn shares_and_quantiles_are_those_of_prometheus() {
        let mut watch = Watch::default();
        let text = |at: u64| {
            let sum = at * 100;
            format!(
                "sluicegate_process_open_fds 90\nsluicegate_process_max_fds 100\n\
                 sluicegate_setup_seconds_bucket{{le=\"1.0\",protocol=\"rtmp\"}} {}\n\
                 sluicegate_setup_seconds_bucket{{le=\"2.0\",protocol=\"rtmp\"}} {sum}\n\
                 sluicegate_setup_seconds_bucket{{le=\"+Inf\",protocol=\"rtmp\"}} {sum}\n",
                at * 50
            )
        };
        during(&mut watch, 0..1000, text);
        assert_eq!(
            found(&watch),
            [
                ("SluicegateDescriptors", String::new()),
                ("SluicegateSetupSlow", "rtmp".to_owned())
            ]
        );
        let slow = watch.findings();
        let slow = slow
            .iter()
            .find(|one| one.about == "rtmp")
            .expect("it is found");
        assert!((slow.value - 1.98).abs() < 1e-9, "{}", slow.value);
        assert_eq!(
            rank(0.5, &[(1.0, 0.0), (f64::INFINITY, 0.0)], &[]),
            None,
            "nothing came"
        );
        let beyond = [(1.0, 0.0), (f64::INFINITY, 5.0)];
        assert_eq!(rank(0.5, &beyond, &[]), Some(1.0), "beyond every bucket");
    }

    #[test]
    fn a_certificate_that_ends_soon_is_found_after_an_hour() {
        let mut watch = Watch::default();
        let text = |_| {
            let ends = |name: &str, at: u64| {
                format!(
                    "sluicegate_tls_certificate_not_after_seconds{{certificate=\"{name}\"}} {at}\n"
                )
            };
            ends("soon", 1_000_000 + 13 * 86_400) + &ends("later", 1_000_000 + 15 * 86_400)
        };
        during(&mut watch, 0..3_600, text);
        assert_eq!(found(&watch), []);
        during(&mut watch, 3_600..3_700, text);
        let expected = [("SluicegateCertificateExpires", "soon".to_owned())];
        assert_eq!(found(&watch), expected);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut watch = Watch::default();
        during(&mut watch, 0..10_000, |at| {
            format!("sluicegate_failovers_total {at}\n")
        });
        assert!(watch.kept.len() <= 92, "{}", watch.kept.len());
    }
}
