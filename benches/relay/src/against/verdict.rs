//! From the figures of the rounds to verdicts.

use std::fmt::{self, Display};

use super::{CpuTime, NOISY, Quantity};
use crate::counters::Counts;
use crate::spread::{Spread, counted_rounds};

/// One measurement of one build.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    /// CPU seconds of the relay per GB; none where only set-up was measured.
    pub(super) cpu: Option<CpuTime>,
    /// What the relay did per GB.
    pub(super) counts: Counts,
    /// kB of `VmRSS` per connection.
    pub(super) resident: f64,
    /// The same where they publish: what they need at their next origin is kept.
    pub(super) resident_publishing: f64,
    /// The median time until a player has its first picture or a flow is open, in milliseconds.
    pub(super) set_up: f64,
    /// The same when all players come at once: then it is mostly waiting for others.
    pub(super) set_up_at_once: f64,
    /// Share of the machine used by other processes.
    pub(super) foreign: f64,
    /// What went wrong.
    pub(super) failures: Vec<String>,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            cpu: None,
            counts: Counts::default(),
            resident: f64::NAN,
            resident_publishing: f64::NAN,
            set_up: f64::NAN,
            set_up_at_once: f64::NAN,
            foreign: 0.0,
            failures: Vec::new(),
        }
    }
}

impl Figures {
    pub(super) fn count(&mut self, mut counts: Counts) {
        self.failures.append(&mut counts.failures);
        self.counts = counts;
    }

    /// NaN if it was not measured.
    fn of(&self, measure: Measure) -> f64 {
        match measure {
            Measure::Count(quantity) => self.counts.of(quantity),
            Measure::Cpu => self.cpu.map_or(f64::NAN, CpuTime::total),
            Measure::Resident => self.resident,
            Measure::ResidentPublishing => self.resident_publishing,
            Measure::SetUp => self.set_up,
            Measure::SetUpAtOnce => self.set_up_at_once,
            Measure::UserCpu => self.cpu.map_or(f64::NAN, |cpu| cpu.user),
        }
    }
}

impl Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for measure in Measure::ALL {
            let value = self.of(measure);
            if value.is_finite() {
                write!(f, "{} {value:.*}, ", measure.name(), measure.decimals())?;
            }
        }
        write!(f, "others used {:.0} %", self.foreign * 100.0)?;
        match self.failures.first() {
            Some(first) => write!(f, ", {} FAILED: {first}", self.failures.len()),
            None => Ok(()),
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Measure {
    Count(Quantity),
    Cpu,
    Resident,
    ResidentPublishing,
    SetUp,
    SetUpAtOnce,
    UserCpu,
}

impl Measure {
    pub(super) const ALL: [Self; 9] = [
        Self::Count(Quantity::SystemCalls),
        Self::Count(Quantity::Allocations),
        Self::Count(Quantity::Instructions),
        Self::UserCpu,
        Self::Cpu,
        Self::Resident,
        Self::ResidentPublishing,
        Self::SetUp,
        Self::SetUpAtOnce,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Count(Quantity::Allocations) => "allocations per GB",
            Self::Count(Quantity::Instructions) => "user instructions per GB",
            Self::Count(Quantity::SystemCalls) => "system calls per GB",
            Self::Cpu => "CPU-s per GB",
            Self::Resident => "kB per connection",
            Self::ResidentPublishing => "kB per publisher",
            Self::SetUp => "set-up p50 ms",
            Self::SetUpAtOnce => "set-up p50 ms, all at once",
            Self::UserCpu => "user CPU-s per GB",
        }
    }

    pub(super) const fn key(self) -> &'static str {
        match self {
            Self::Count(Quantity::Allocations) => "allocations_per_gb",
            Self::Count(Quantity::Instructions) => "user_instructions_per_gb",
            Self::Count(Quantity::SystemCalls) => "system_calls_per_gb",
            Self::Cpu => "cpu_s_per_gb",
            Self::Resident => "resident_kb_per_connection",
            Self::ResidentPublishing => "resident_kb_per_publisher",
            Self::SetUp => "set_up_p50_ms",
            Self::SetUpAtOnce => "set_up_at_once_p50_ms",
            Self::UserCpu => "user_cpu_s_per_gb",
        }
    }

    pub(super) const fn decimals(self) -> usize {
        match self {
            Self::Count(_) => 0,
            Self::Cpu | Self::UserCpu => 3,
            Self::Resident | Self::ResidentPublishing | Self::SetUp | Self::SetUpAtOnce => 2,
        }
    }

    pub(super) const fn limit(self) -> Limit {
        match self {
            Self::Count(Quantity::Instructions) => Limit::Ratio(1.02),
            Self::Count(_) => Limit::Ratio(EQUAL),
            Self::Cpu | Self::SetUpAtOnce => Limit::ItsOwnSpread,
            Self::Resident => Limit::Ratio(1.05),
            Self::ResidentPublishing => Limit::Difference(5.0),
            Self::SetUp => Limit::Difference(0.1),
            Self::UserCpu => Limit::Nothing,
        }
    }

    /// How one measurement differs from another: their ratio, or their difference if that is what has a limit.
    fn change(self, from: f64, to: f64) -> f64 {
        match (self.limit(), self) {
            (Limit::Difference(_), _) => to - from,
            (_, Self::Count(_)) => to.max(FEW) / from.max(FEW),
            _ => to / from,
        }
    }

    /// The spread of a build against itself. Which of two measurements is called the first is arbitrary, so it reaches
    /// as far down as up.
    fn either_way(self, changes: &[f64]) -> Option<Spread> {
        let reversed = changes.iter().map(|change| match self.limit() {
            Limit::Difference(_) => 0.0 - change,
            _ => 1.0 / change,
        });
        let all = Spread::of(changes.iter().copied().chain(reversed))?;
        Some(Spread {
            median: Spread::of(changes.iter().copied())?.median,
            ..all
        })
    }
}

/// What a build may not exceed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Limit {
    /// Later minus earlier build.
    Difference(f64),
    /// The highest ratio that the earlier build has to itself, in either order.
    ItsOwnSpread,
    /// It is shown only.
    Nothing,
    /// Later divided by earlier build.
    Ratio(f64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    Met,
    Missed,
    /// It is above the limit, and so is the earlier build against itself.
    Unclear,
}

impl Verdict {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::Unclear => "unclear",
        }
    }

    fn of(limit: Limit, change: Spread, itself: Spread) -> Option<Self> {
        let limit = match limit {
            Limit::Difference(limit) | Limit::Ratio(limit) => limit,
            Limit::ItsOwnSpread => itself.high,
            Limit::Nothing => return None,
        };
        Some(if change.median <= limit {
            Self::Met
        } else if change.median <= itself.high {
            Self::Unclear
        } else {
            Self::Missed
        })
    }
}

/// One measure of one case.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) measure: Measure,
    pub(super) before: Spread,
    pub(super) now: Spread,
    /// The later build compared with the earlier one, within each round.
    pub(super) change: Spread,
    /// The earlier build compared with itself, within each round.
    pub(super) itself: Spread,
    /// `None` if there is no limit.
    pub(super) verdict: Option<Verdict>,
}

/// The measures of a case; of those that this machine cannot take there is only the name. `figures` are those of the
/// earlier build, the later one, and the earlier one again, with one entry for each round.
pub(super) fn rows(figures: &[Vec<Figures>; 3]) -> Vec<(Measure, Option<Row>)> {
    let [before, ..] = figures;
    // A round is one comparison: it counts for every build or for none.
    let counted = counted_rounds(before.len(), |round| {
        figures.iter().all(|of| of[round].foreign <= NOISY)
    });
    let measures = Measure::ALL.into_iter().filter(|measure| match measure {
        Measure::Cpu | Measure::Count(_) | Measure::UserCpu => {
            before.iter().any(|of| of.cpu.is_some())
        }
        Measure::Resident | Measure::ResidentPublishing | Measure::SetUp | Measure::SetUpAtOnce => {
            before.iter().any(|of| of.of(*measure).is_finite())
        }
    });
    measures
        .map(|measure| (measure, row(measure, figures, &counted)))
        .collect()
}

fn row(measure: Measure, figures: &[Vec<Figures>; 3], counted: &[usize]) -> Option<Row> {
    let [before, now, again] = figures.each_ref().map(|of| {
        let values: Vec<f64> = counted.iter().map(|round| of[*round].of(measure)).collect();
        values
    });
    let changes = |to: &[f64]| {
        let pairs = before.iter().zip(to);
        let changes: Vec<f64> = pairs.map(|(from, to)| measure.change(*from, *to)).collect();
        changes
    };
    let change = Spread::of(changes(&now).into_iter())?;
    let itself = measure.either_way(&changes(&again))?;
    Some(Row {
        measure,
        before: Spread::of(before.iter().copied())?,
        now: Spread::of(now.iter().copied())?,
        change,
        itself,
        verdict: Verdict::of(measure.limit(), change, itself),
    })
}

/// Counts that are to be equal may differ by this much: how many packets a call handles depends on the moment.
const EQUAL: f64 = 1.01;
/// Fewer per GB are as good as none: what the relay does four times a second whatever it relays is among them.
const FEW: f64 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(low: f64, median: f64, high: f64) -> Spread {
        Spread { median, low, high }
    }

    #[test]
    fn a_change_is_held_against_its_limit_and_the_spread() {
        let itself = spread(0.97, 1.00, 1.04);
        for (name, limit, change, expected) in [
            (
                "below a ratio",
                Limit::Ratio(1.02),
                1.01,
                Some(Verdict::Met),
            ),
            ("at a ratio", Limit::Ratio(1.02), 1.02, Some(Verdict::Met)),
            ("better", Limit::Ratio(1.02), 0.50, Some(Verdict::Met)),
            (
                "above, as the build is to itself",
                Limit::Ratio(1.02),
                1.03,
                Some(Verdict::Unclear),
            ),
            (
                "above both",
                Limit::Ratio(1.02),
                1.05,
                Some(Verdict::Missed),
            ),
            (
                "inside the spread",
                Limit::ItsOwnSpread,
                1.04,
                Some(Verdict::Met),
            ),
            (
                "below the spread",
                Limit::ItsOwnSpread,
                0.90,
                Some(Verdict::Met),
            ),
            (
                "outside the spread",
                Limit::ItsOwnSpread,
                1.05,
                Some(Verdict::Missed),
            ),
            ("without a limit", Limit::Nothing, 3.0, None),
        ] {
            let change = spread(change, change, change);
            assert_eq!(Verdict::of(limit, change, itself), expected, "{name}");
        }
        let itself = spread(-0.02, 0.01, 0.03);
        for (name, change, expected) in [
            ("faster", -0.5, Verdict::Met),
            ("slower, within the limit", 0.1, Verdict::Met),
            ("slower", 0.11, Verdict::Missed),
        ] {
            let change = spread(change, change, change);
            let verdict = Verdict::of(Limit::Difference(0.1), change, itself);
            assert_eq!(verdict, Some(expected), "{name}");
        }
    }

    #[test]
    fn changes_are_ratios_except_of_times() {
        for (name, measure, from, to, expected) in [
            ("CPU", Measure::Cpu, 2.0, 3.0, 1.5),
            ("set-up", Measure::SetUp, 2.0, 3.0, 1.0),
            (
                "calls",
                Measure::Count(Quantity::SystemCalls),
                100_000.0,
                150_000.0,
                1.5,
            ),
            (
                "no allocation before or after",
                Measure::Count(Quantity::Allocations),
                0.0,
                0.0,
                1.0,
            ),
            (
                "a few allocations",
                Measure::Count(Quantity::Allocations),
                0.0,
                FEW,
                1.0,
            ),
            (
                "many allocations where there were none",
                Measure::Count(Quantity::Allocations),
                0.0,
                5.0 * FEW,
                5.0,
            ),
        ] {
            assert_eq!(measure.change(from, to), expected, "{name}");
        }
    }

    fn figures(cpu: &[f64], foreign: f64) -> Vec<Figures> {
        let one = |user: &f64| Figures {
            cpu: Some(CpuTime {
                user: *user,
                system: 0.0,
            }),
            resident: 3.0,
            set_up: 1.0,
            foreign,
            ..Figures::default()
        };
        cpu.iter().map(one).collect()
    }

    fn cpu(figures: &[Vec<Figures>; 3]) -> Row {
        let mut rows = rows(figures).into_iter();
        let (_, row) = rows
            .find(|(measure, _)| *measure == Measure::Cpu)
            .expect("CPU is measured");
        row.expect("CPU has a row")
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was twice slower in the second round.
        let row = cpu(&[
            figures(&[1.0, 2.0, 1.0], 0.0),
            figures(&[1.1, 2.2, 1.1], 0.0),
            figures(&[1.0, 2.1, 0.9], 0.0),
        ]);
        assert!(
            (row.change.low - 1.1).abs() < 1e-9 && (row.change.high - 1.1).abs() < 1e-9,
            "{row:?}"
        );
        assert_eq!(row.itself.ordered(), [0.9, 1.0, 1.0 / 0.9]);
        assert_eq!(row.verdict, Some(Verdict::Met));
        assert_eq!(row.before.ordered(), [1.0, 1.0, 2.0]);
    }

    #[test]
    fn the_spread_of_a_build_against_itself_reaches_both_ways() {
        for (name, measure, changes, expected) in [
            (
                "slower again",
                Measure::Cpu,
                &[1.25, 1.0, 1.0][..],
                [0.8, 1.0, 1.25],
            ),
            (
                "faster again",
                Measure::Cpu,
                &[0.8, 1.0, 1.0],
                [0.8, 1.0, 1.25],
            ),
            (
                "later again",
                Measure::SetUp,
                &[0.25, 0.0, 0.0],
                [-0.25, 0.0, 0.25],
            ),
        ] {
            let spread = measure.either_way(changes).map(Spread::ordered);
            assert_eq!(spread, Some(expected), "{name}");
        }
        assert_eq!(Measure::Cpu.either_way(&[]), None);
    }

    #[test]
    fn a_noisy_round_counts_for_no_build() {
        let mut all = [
            figures(&[1.0, 1.0, 1.0], 0.0),
            figures(&[1.0, 9.0, 1.0], 0.0),
            figures(&[1.0, 1.0, 1.0], 0.0),
        ];
        assert_eq!(cpu(&all).change.high, 9.0);
        all[2][1].foreign = 0.5;
        assert_eq!(cpu(&all).change.high, 1.0);
        all[0][0].foreign = 0.5;
        assert_eq!(
            cpu(&all).change.high,
            9.0,
            "too few quiet rounds: all of them count"
        );
    }

    #[test]
    fn what_was_not_measured_has_no_verdict() {
        let all = [
            figures(&[1.0], 0.0),
            figures(&[1.0], 0.0),
            figures(&[1.0], 0.0),
        ];
        let rows = rows(&all);
        let missing: Vec<Measure> = rows
            .iter()
            .filter(|(_, row)| row.is_none())
            .map(|(of, _)| *of)
            .collect();
        assert_eq!(missing, &Measure::ALL[..3], "nothing was counted");
        let set_up_only = Figures {
            set_up: 1.0,
            ..Figures::default()
        };
        let all = [(); 3].map(|()| vec![set_up_only.clone()]);
        let measures: Vec<Measure> = super::rows(&all).iter().map(|(of, _)| *of).collect();
        assert_eq!(measures, [Measure::SetUp]);
    }
}
