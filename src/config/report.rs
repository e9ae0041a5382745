//! The output of `sluicegate check`.

use super::{ConfigError, Environment, Settings, certificates};
use crate::unix_time;
use std::fmt::Write as _;
use std::path::Path;

/// The effective settings, `path = value` with the source of each in a comment, then the warnings, then `ok`.
///
/// # Errors
/// The problems that would stop the start.
pub fn check(file: Option<&Path>, environment: &Environment) -> Result<String, ConfigError> {
    let loaded = Settings::load(file, environment)?;
    let mut report = String::new();
    let assignments: Vec<String> = loaded
        .effective
        .iter()
        .map(|entry| format!("{} = {}", entry.setting.path, entry.value))
        .collect();
    let width = assignments
        .iter()
        .map(|line| line.chars().count())
        .filter(|width| *width <= WIDEST)
        .max()
        .unwrap_or(0);
    let mut section = None;
    for (assignment, entry) in assignments.iter().zip(&loaded.effective) {
        if section
            .replace(entry.setting.section())
            .is_some_and(|previous| previous != entry.setting.section())
        {
            report.push('\n');
        }
        let _ = writeln!(report, "{assignment:width$}  # {}", entry.source);
    }
    report.push('\n');
    let rules = &loaded.settings.sources.rules;
    for (number, words) in (1..).zip(rules.in_words()) {
        let _ = writeln!(report, "access rule {number}: {words}");
    }
    if !rules.is_empty() {
        report.push_str("access: the first rule that fits decides; whom none fits may\n\n");
    }
    for (number, limit) in (1..).zip(rules.limits()) {
        let _ = writeln!(report, "limit {number}: {limit}");
    }
    for warning in &loaded.warnings {
        let _ = writeln!(report, "warning: {warning}");
    }
    let now = i64::try_from(unix_time::seconds()).unwrap_or(i64::MAX);
    for warning in certificates::untimely(&loaded.settings, now) {
        let _ = writeln!(report, "warning: {warning}");
    }
    report.push_str("ok\n");
    Ok(report)
}

/// Maximum width of a value up to which comments are aligned.
const WIDEST: usize = 60;
