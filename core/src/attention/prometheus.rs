//! The rules as Prometheus reads them.

use std::fmt::Write as _;
use std::time::Duration;

use super::rules::{Is, Only, RULES, Rule, Series, Test};

/// The text of `examples/monitoring/alerts.yml`.
pub fn alert_rules() -> String {
    let mut text = HEADING.to_owned();
    let rules: Vec<String> = RULES.iter().map(written).collect();
    text.push_str(&rules.join("\n"));
    text
}

fn written(rule: &Rule) -> String {
    let mut text = format!("      - alert: {}\n", rule.name);
    let expression = expression(&rule.test);
    // Writing to a String cannot fail.
    let _ = match expression.len() > WIDTH {
        true => writeln!(text, "        expr: >-\n          {expression}"),
        false => writeln!(text, "        expr: {expression}"),
    };
    if rule.hold > Duration::ZERO {
        let _ = writeln!(text, "        for: {}", span(rule.hold));
    }
    let _ = writeln!(
        text,
        "        labels: {{severity: {}}}\n        annotations:\n          summary: {}\n          description: \"{}\"\n          advice: \"{}\"\n          runbook_url: \"{RUNBOOK}{}\"",
        rule.severity.as_str(),
        rule.summary,
        rule.description,
        rule.advice,
        rule.name,
    );
    text
}

fn expression(test: &Test) -> String {
    match test {
        Test::Now(series, is) => format!("{} {}", series.over(&series.selected()), compared(*is)),
        Test::Increase(series, minutes, is) => {
            let grown = format!("increase({}[{minutes}m])", series.selected());
            format!("{} {}", series.over(&grown), compared(*is))
        }
        Test::Rate(series, minutes, is) => {
            let rate = format!("rate({}[{minutes}m])", series.selected());
            format!("{} {}", series.over(&rate), compared(*is))
        }
        Test::Share(part, of, is) => format!("{part} / {of} {}", compared(*is)),
        Test::Within(series, days) => {
            format!("{} - time() < {days} * 86400", series.selected())
        }
        Test::Quantile(quantile, series, minutes, is) => {
            let by = series.by.map(|by| format!(", {by}")).unwrap_or_default();
            let rate = format!("rate({}[{minutes}m])", series.selected());
            format!(
                "histogram_quantile({quantile}, sum by (instance{by}, le) ({rate})) {}",
                compared(*is)
            )
        }
    }
}

fn compared(is: Is) -> String {
    match is {
        Is::Over(limit) => format!("> {limit}"),
        Is::Zero => "== 0".to_owned(),
    }
}

fn span(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

impl Series {
    /// The family with the labels that are asked for.
    fn selected(&self) -> String {
        match self.only {
            Only::All => self.family.to_owned(),
            Only::Any(label, [value]) => format!("{}{{{label}=\"{value}\"}}", self.family),
            Only::Any(label, values) => {
                format!("{}{{{label}=~\"{}\"}}", self.family, values.join("|"))
            }
            Only::Not(label, value) => format!("{}{{{label}!=\"{value}\"}}", self.family),
        }
    }

    /// `inner`, added up where that is needed.
    fn over(&self, inner: &str) -> String {
        let by = self.by.map(|by| format!(", {by}")).unwrap_or_default();
        match self.sum {
            true => format!("sum by (instance{by}) ({inner})"),
            false => inner.to_owned(),
        }
    }
}

const HEADING: &str = "\
# Alert rules for Prometheus: rule_files: [alerts.yml]. The runbook for each is docs/runbook.md.
# Written from the table in core/src/attention/rules.rs: UPDATE_REFERENCE=1 cargo test --test monitoring
groups:
  - name: sluicegate
    rules:
";
/// Where the console of the proxy that an alert is about has its entry.
const RUNBOOK: &str = "http://{{ $labels.instance }}/console/#/runbook/";
/// Longer expressions have a line of their own.
const WIDTH: usize = 100;
