//! The proxy's own metrics, read back from the text that a scraper gets: the rules judge what Prometheus would.

use super::rules::{Only, RULES, Series, Test};

/// The samples that rules need.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(Vec<Sample>);

/// A family, labels and their values, and a number.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    family: &'static str,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Samples {
    /// Reads the text of a scrape. Lines that no rule needs, and those that are not understood, are skipped.
    pub fn read(text: &str) -> Self {
        Self(text.lines().filter_map(sample).collect())
    }

    /// Only the counters, which have to be kept to see how they grow.
    #[must_use]
    pub fn counters(&self) -> Self {
        let is_counter = |sample: &&Sample| {
            sample.family.ends_with("_total") || sample.family.ends_with("_bucket")
        };
        Self(self.0.iter().filter(is_counter).cloned().collect())
    }

    /// The sums of the samples of `series`, each with the value of the label that they are grouped by.
    pub(super) fn sums(&self, series: &Series) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        for sample in self.0.iter().filter(|sample| sample.counts(series)) {
            let group = series.by.map(|by| sample.label(by)).unwrap_or_default();
            match sums.iter_mut().find(|(name, _)| name == group) {
                Some((_, sum)) => *sum += sample.value,
                None => sums.push((group.to_owned(), sample.value)),
            }
        }
        sums
    }

    /// The buckets of a histogram for one group: the upper bound of each, and how many were at most that.
    pub(super) fn buckets(&self, series: &Series, group: &str) -> Vec<(f64, f64)> {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for sample in self.0.iter().filter(|sample| sample.counts(series)) {
            if series.by.is_some_and(|by| sample.label(by) != group) {
                continue;
            }
            let Ok(bound) = sample.label("le").parse::<f64>() else {
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
        let mut samples = self.0.iter();
        samples
            .find(|sample| sample.family == family)
            .map(|sample| sample.value)
    }
}

impl Sample {
    fn label(&self, name: &str) -> &str {
        let mut labels = self.labels.iter();
        let found = labels.find(|(label, _)| label == name);
        found.map_or("", |(_, value)| value)
    }

    fn counts(&self, series: &Series) -> bool {
        self.family == series.family
            && match series.only {
                Only::All => true,
                Only::Any(label, values) => values.contains(&self.label(label)),
                Only::Not(label, value) => self.label(label) != value,
            }
    }
}

/// Reads one line; `None` if no rule needs it.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at_checked(end)?;
    let family = needed(name)?;
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        family,
        labels,
        value,
    })
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

/// Labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, value) = rest.split_once("=\"")?;
        let (value, after) = quoted(value)?;
        labels.push((name.to_owned(), value));
        rest = after;
    }
}

/// A value up to its closing quote, without the escapes, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => match letters.next()? {
                (_, 'n') => value.push('\n'),
                (_, letter) => value.push(letter),
            },
            letter => value.push(letter),
        }
    }
    None
}
