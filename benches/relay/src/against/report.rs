//! The verdicts as a Markdown table with notes, or as JSON.

use serde_json::{Value, json};

use super::verdict::{Limit, Measure, Row, Verdict, rows};
use super::{Compared, KINDS, NOISY, Quantity};
use crate::spread::Spread;

pub(super) struct Report {
    cases: Vec<Judged>,
    notes: Vec<String>,
}

/// A case with its measures; those that this machine cannot take have no row.
struct Judged {
    case: String,
    rows: Vec<(Measure, Option<Row>)>,
}

impl Report {
    /// `missing` is what this machine cannot count.
    pub(super) fn new(compared: &[Compared], missing: &[(Quantity, String)]) -> Self {
        let mut notes: Vec<String> = missing
            .iter()
            .map(|(quantity, reason)| format!("{} are not counted: {reason}", quantity.name()))
            .collect();
        notes.extend(compared.iter().flat_map(trouble));
        let cases: Vec<Judged> = compared
            .iter()
            .map(|of| Judged {
                case: of.case.to_string(),
                rows: rows(&of.figures),
            })
            .collect();
        notes.extend(cases.iter().filter_map(wide));
        Self { cases, notes }
    }

    /// One line per case and measure, then what went wrong, and how many limits are met.
    pub(super) fn table(&self) -> String {
        let mut out = String::from(
            "| case | what | before | now | now to before | before to itself | limit | |\n|---|---|--:|--:|--:|--:|--:|---|\n",
        );
        for Judged { case, rows } in &self.cases {
            for (measure, row) in rows {
                let name = measure.name();
                out += &match row {
                    Some(row) => format!("| {case} | {name} | {} |\n", cells(row).join(" | ")),
                    None => format!(
                        "| {case} | {name} | - | - | - | - | {} | - |\n",
                        limit(*measure)
                    ),
                };
            }
        }
        out.push('\n');
        for note in &self.notes {
            out += &format!("- {note}\n");
        }
        let [met, missed, unclear] =
            [Verdict::Met, Verdict::Missed, Verdict::Unclear].map(|of| self.count(of));
        out += &format!("\n{met} met, {missed} MISSED, {unclear} unclear\n");
        for Judged { case, rows } in &self.cases {
            for row in rows.iter().filter_map(|(_, row)| row.as_ref()) {
                if let Some(verdict) = row.verdict.filter(|verdict| *verdict != Verdict::Met) {
                    let [before, now, change, itself, limit, _] = cells(row);
                    out += &format!(
                        "{}: {case}: {} {before} -> {now}: {change}, limit {limit}, to itself {itself}\n",
                        verdict.name(),
                        row.measure.name()
                    );
                }
            }
        }
        if unclear > 0 {
            out += "unclear: above the limit, but no more than the earlier build is to itself; measure on a quieter \
                machine, or with more --rounds\n";
        }
        out
    }

    /// A spread is `[lowest, median, highest]` over the rounds.
    pub(super) fn json(&self) -> Value {
        let row = |(case, measure, row): (&str, Measure, &Option<Row>)| {
            let spread = |of: fn(&Row) -> Spread| row.as_ref().map(|row| of(row).ordered());
            let verdict = row.as_ref().and_then(|row| row.verdict);
            json!({
                "case": case,
                "measure": measure.key(),
                "before": spread(|row| row.before),
                "now": spread(|row| row.now),
                "change": spread(|row| row.change),
                "itself": spread(|row| row.itself),
                "change_is": match measure.limit() {
                    Limit::Difference(_) => "difference",
                    _ => "ratio",
                },
                "limit": match measure.limit() {
                    Limit::Difference(limit) | Limit::Ratio(limit) => Some(limit),
                    Limit::ItsOwnSpread => row.as_ref().map(|row| row.itself.high),
                    Limit::Nothing => None,
                },
                "verdict": verdict.map(|verdict| verdict.name().to_ascii_lowercase()),
            })
        };
        let all = self.cases.iter().flat_map(|Judged { case, rows }| {
            rows.iter()
                .map(move |(measure, row)| (case.as_str(), *measure, row))
        });
        json!({
            "rows": all.map(row).collect::<Vec<_>>(),
            "notes": self.notes,
            "met": self.count(Verdict::Met),
            "missed": self.missed(),
            "unclear": self.count(Verdict::Unclear),
        })
    }

    /// How many limits are missed.
    pub(super) fn missed(&self) -> usize {
        self.count(Verdict::Missed)
    }

    fn count(&self, verdict: Verdict) -> usize {
        let rows = self.cases.iter().flat_map(|judged| &judged.rows);
        rows.filter(|(_, row)| row.as_ref().is_some_and(|row| row.verdict == Some(verdict)))
            .count()
    }
}

/// The figures of a row, its limit and its verdict.
fn cells(row: &Row) -> [String; 6] {
    let value = |of: Spread| format!("{:.*}", row.measure.decimals(), of.median);
    let change = |Spread { median, low, high }: Spread| match row.measure.limit() {
        Limit::Difference(_) => format!("{median:+.2} ({low:+.2} to {high:+.2})"),
        _ => format!("{median:.3} ({low:.3}–{high:.3})"),
    };
    [
        value(row.before),
        value(row.now),
        change(row.change),
        change(row.itself),
        limit(row.measure),
        row.verdict.map_or("-", Verdict::name).to_owned(),
    ]
}

fn limit(measure: Measure) -> String {
    match measure.limit() {
        Limit::Difference(limit) => format!("{limit:+.1}"),
        Limit::ItsOwnSpread => "its own spread".to_owned(),
        Limit::Nothing => "-".to_owned(),
        Limit::Ratio(limit) => format!("{limit:.2}"),
    }
}

/// What went wrong in a case.
fn trouble(of: &Compared) -> Vec<String> {
    let Compared { case, figures } = of;
    let mut notes = Vec::new();
    for (kind, taken) in KINDS.iter().zip(figures) {
        let failures = taken.iter().flat_map(|figures| &figures.failures);
        if let Some(first) = failures.clone().next() {
            let (count, name) = (failures.count(), kind.name());
            notes.push(format!(
                "{case} through {name}: {count} FAILED, the first: {first}"
            ));
        }
    }
    let rounds = figures[0].len();
    let noisy = (0..rounds)
        .filter(|round| figures.iter().any(|taken| taken[*round].foreign > NOISY))
        .count();
    if noisy > 0 {
        notes.push(format!("{case}: {noisy} of {rounds} rounds noisy"));
    }
    notes
}

/// Says where the spread is too wide to be a limit.
fn wide(Judged { case, rows }: &Judged) -> Option<String> {
    let row = rows
        .iter()
        .find_map(|(measure, row)| row.as_ref().filter(|_| *measure == Measure::Cpu))?;
    let Spread { low, high, .. } = row.itself;
    (high - low > WIDE).then(|| {
        format!("{case}: the CPU of one build against itself was {low:.2} to {high:.2}, too wide to see a small change")
    })
}

/// Between the lowest and the highest ratio of a build to itself.
const WIDE: f64 = 0.15;

#[cfg(test)]
mod tests {
    use super::super::verdict::Figures;
    use super::super::{Case, CpuTime};
    use super::*;
    use crate::measure;
    use crate::wire::Protocol;

    fn report(now: f64) -> Report {
        let figures = |user: f64| {
            vec![Figures {
                cpu: Some(CpuTime { user, system: 0.0 }),
                set_up: 2.0,
                ..Figures::default()
            }]
        };
        let compared = Compared {
            case: Case::Stream(measure::Case::Sequence(Protocol::Rtmp)),
            figures: [figures(1.0), figures(now), figures(1.1)],
        };
        Report::new(
            &[compared],
            &[(Quantity::Instructions, "no counters".to_owned())],
        )
    }

    #[test]
    fn a_missed_limit_is_said_with_its_figures_and_the_spread() {
        let report = report(1.5);
        assert_eq!(report.missed(), 1);
        let table = report.table();
        for line in [
            "| RTMP play, 200 in sequence | CPU-s per GB | 1.000 | 1.500 | 1.500 (1.500–1.500) | 1.100 (0.909–1.100) | its own spread | MISSED |",
            "| RTMP play, 200 in sequence | set-up p50 ms | 2.00 | 2.00 | +0.00 (+0.00 to +0.00) | +0.00 (+0.00 to +0.00) | +0.1 | met |",
            "| RTMP play, 200 in sequence | user instructions per GB | - | - | - | - | 1.02 | - |",
            "- user instructions are not counted: no counters",
            "1 met, 1 MISSED, 0 unclear",
            "MISSED: RTMP play, 200 in sequence: CPU-s per GB 1.000 -> 1.500: 1.500 (1.500–1.500), limit its own spread, to itself 1.100 (0.909–1.100)",
        ] {
            assert!(table.lines().any(|of| of == line), "{line}\nis in\n{table}");
        }
    }

    #[test]
    fn json_says_the_same() {
        let json = report(1.05).json();
        assert_eq!((&json["met"], &json["missed"]), (&json!(2), &json!(0)));
        let rows = json["rows"].as_array().expect("rows");
        let cpu = rows
            .iter()
            .find(|row| row["measure"] == "cpu_s_per_gb")
            .expect("CPU");
        assert_eq!(cpu["change"], json!([1.05, 1.05, 1.05]));
        assert_eq!(
            (&cpu["limit"], &cpu["verdict"]),
            (&json!(1.1), &json!("met"))
        );
        let instructions = rows
            .iter()
            .find(|row| row["measure"] == "user_instructions_per_gb");
        assert_eq!(instructions.expect("a row")["verdict"], Value::Null);
    }
}
