//! What is written about metrics is true: the reference, the dashboard and the alert rules name metrics that exist.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use serde_json::Value;
use sluicegate::metrics::Metrics;

const REFERENCE: &str = "docs/metrics.md";
const DASHBOARD: &str = "examples/monitoring/grafana-dashboard.json";
const RULES: &str = "examples/monitoring/alerts.yml";

#[test]
fn the_reference_lists_every_family() {
    let expected = reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(REFERENCE, &expected).unwrap();
    }
    let written = fs::read_to_string(REFERENCE).unwrap_or_default();
    assert!(
        written == expected,
        "{REFERENCE} is not what the code says; write it again with UPDATE_REFERENCE=1 cargo test --test monitoring"
    );
}

fn reference() -> String {
    let mut text = String::from(
        "# Metrics\n\n\
         Every family that `/metrics` may show, on the system API and on `metrics.listen`. A family without a sample is left\n\
         out. This page is generated from the code by `UPDATE_REFERENCE=1 cargo test --test monitoring`. For how to use the\n\
         metrics, see [Observability](observability.md).\n\n\
         | name | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for family in Metrics::new().families() {
        let labels: Vec<String> = family
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let (name, kind, help) = (&family.name, family.kind, family.help);
        let _ = writeln!(
            text,
            "| `{name}` | {kind} | {} | {help}. |",
            labels.join(", ")
        );
    }
    text
}

/// The metrics that an expression, or any text, names.
fn named(text: &str) -> BTreeSet<String> {
    let starts = text.match_indices("sluicegate_").map(|(at, _)| &text[at..]);
    let name = |rest: &str| {
        rest.chars()
            .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
            .collect()
    };
    starts.map(name).collect()
}

#[track_caller]
fn assert_exist(names: &BTreeSet<String>) {
    let metrics = Metrics::new();
    for name in names {
        let family = |suffix: &str| {
            let own = name.strip_suffix(suffix)?;
            metrics.families().iter().find(|family| family.name == own)
        };
        let histogram = ["_bucket", "_sum", "_count"]
            .into_iter()
            .filter_map(family)
            .any(|family| family.kind == "histogram");
        let plain = family("").is_some_and(|family| family.kind != "histogram");
        assert!(histogram || plain, "there is no {name}");
    }
}

#[test]
fn the_dashboard_shows_what_there_is() {
    let text = fs::read_to_string(DASHBOARD).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut names = BTreeSet::new();
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        for target in targets {
            let found = named(target["expr"].as_str().unwrap());
            assert!(!found.is_empty(), "{target}");
            names.extend(found);
        }
    }
    assert!(names.len() > 15, "{names:?}");
    assert_exist(&names);
    let ids: BTreeSet<i64> = panels
        .iter()
        .filter_map(|panel| panel["id"].as_i64())
        .collect();
    assert_eq!(
        ids.len(),
        panels.len(),
        "each panel has a number of its own"
    );
}

/// `UPDATE_REFERENCE=1` writes the file.
#[test]
fn the_rules_are_those_that_the_proxy_judges_itself() {
    let wanted = sluicegate_core::attention::alert_rules();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(RULES, &wanted).unwrap();
    }
    assert_eq!(fs::read_to_string(RULES).unwrap(), wanted);
}

#[test]
fn the_rules_watch_what_there_is_and_the_runbook_knows_each() {
    let rules = fs::read_to_string(RULES).unwrap();
    let names = named(&rules);
    assert!(names.len() > 8, "{names:?}");
    assert_exist(&names);
    let runbook = fs::read_to_string("docs/runbook.md").unwrap();
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 8, "{alerts:?}");
    for alert in alerts {
        assert!(
            runbook.contains(&format!("### {alert}\n")),
            "{alert} has no entry in the runbook"
        );
    }
    assert_exist(&named(&runbook));
}
