//! The proxy's own metrics, read back from the text that a scraper gets: the rules judge what Prometheus would.

use std::borrow::Cow;
use std::ops::Range;

use super::rules::{Only, RULES, Series, Test};

/// The samples that rules need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples {
    /// The labels of all of them, as the text has them, one after the other: reading a scrape takes few allocations.
    labels: String,
    samples: Vec<Sample>,
}

/// A family, where its labels stand, and a number.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    family: &'static str,
    labels: Range<usize>,
    value: f64,
}

impl Samples {
    /// Reads the text of a scrape. Lines that no rule needs, and those that are not understood, are skipped.
    pub fn read(text: &str) -> Self {
        let mut read = Self::default();
        for (family, labels, value) in text.lines().filter_map(sample) {
            let from = read.labels.len();
            read.labels.push_str(labels);
            read.samples.push(Sample {
                family,
                labels: from..read.labels.len(),
                value,
            });
        }
        read
    }

    /// Only the counters, which have to be kept to see how they grow.
    #[must_use]
    pub fn into_counters(mut self) -> Self {
        self.samples.retain(|sample| {
            sample.family.ends_with("_total") || sample.family.ends_with("_bucket")
        });
        self.samples.shrink_to_fit();
        self
    }

    /// The sums of the samples of `series`, each with the value of the label that they are grouped by.
    pub(super) fn sums(&self, series: &Series) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        for sample in self.of(series) {
            let group = series.by.map(|by| self.label(sample, by));
            let group = group.unwrap_or_default();
            match sums.iter_mut().find(|(name, _)| **name == group) {
                Some((_, sum)) => *sum += sample.value,
                None => sums.push((group.into_owned(), sample.value)),
            }
        }
        sums
    }

    /// The buckets of a histogram for one group: the upper bound of each, and how many were at most that.
    pub(super) fn buckets(&self, series: &Series, group: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.of(series) {
            if series.by.is_some_and(|by| self.label(sample, by) != group) {
                continue;
            }
            let Ok(bound) = self.label(sample, "le").parse::<f64>() else {
                continue;
            };
            match buckets.iter_mut().find(|(known, _)| *known == bound) {
                Some((_, count)) => *count += sample.value,
                None => buckets.push((bound, sample.value)),
            }
        }
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        buckets
    }

    /// The first sample of a family.
    pub(super) fn first(&self, family: &str) -> Option<f64> {
        let mut samples = self.samples.iter();
        samples
            .find(|sample| sample.family == family)
            .map(|sample| sample.value)
    }

    fn of(&self, series: &Series) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| {
            sample.family == series.family
                && match series.only {
                    Only::All => true,
                    Only::Any(label, values) => values.contains(&&*self.label(sample, label)),
                    Only::Not(label, value) => self.label(sample, label) != value,
                }
        })
    }

    /// The value of a label, empty where there is none.
    fn label(&self, sample: &Sample, wanted: &str) -> Cow<'_, str> {
        let mut rest = self.labels.get(sample.labels.clone()).unwrap_or_default();
        while let Some((name, value, after)) = first_label(rest) {
            if name == wanted {
                return unescaped(value);
            }
            rest = after;
        }
        Cow::Borrowed("")
    }
}

/// Reads one line: family, labels and number; `None` if no rule needs it.
fn sample(line: &str) -> Option<(&'static str, &str, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    let family = needed(name)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_at_checked(labels_length(rest)?)?,
        None => ("", rest),
    };
    let value = rest.trim_start_matches('}').split_whitespace().next()?;
    Some((family, labels, value.parse().ok()?))
}

fn needed(name: &str) -> Option<&'static str> {
    let families = RULES.iter().flat_map(|rule| match rule.test {
        Test::Now(series, _)
        | Test::Within(series, _)
        | Test::Increase(series, ..)
        | Test::Rate(series, ..)
        | Test::Quantile(_, series, ..) => [series.family, series.family],
        Test::Share(part, of, _) => [part, of],
    });
    families.into_iter().find(|family| *family == name)
}

/// The length of labels up to the closing brace.
fn labels_length(text: &str) -> Option<usize> {
    let mut rest = text;
    while let Some((_, _, after)) = first_label(rest) {
        rest = after;
    }
    rest.starts_with('}').then(|| text.len() - rest.len())
}

/// The name of the first label, its value with the escapes, and what follows it.
fn first_label(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.trim_start_matches(',').split_once("=\"")?;
    if name.contains('}') {
        return None;
    }
    let mut is_escaped = false;
    let end = rest.find(|letter| {
        let ends = letter == '"' && !is_escaped;
        is_escaped = letter == '\\' && !is_escaped;
        ends
    })?;
    Some((name, rest.get(..end)?, rest.get(end + 1..)?))
}

/// A value without the escapes.
fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut read = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('n') => read.push('\n'),
                other => read.extend(other),
            },
            letter => read.push(letter),
        }
    }
    Cow::Owned(read)
}
