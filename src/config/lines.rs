//! At which line of a settings file something stands.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

/// The line of `text` that holds the byte at `offset`, counted from 1.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    let before = text.bytes().take(offset);
    1 + before.filter(|byte| *byte == b'\n').count()
}

/// The lines at which the entries of each list begin, in their order: of `[[access]]` as of `[[system.tokens]]`.
#[derive(Debug, Default)]
pub(super) struct EntryLines(BTreeMap<String, Vec<usize>>);

impl EntryLines {
    /// Those of a settings file; none of a text that is not TOML.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Self::default();
        let document = DeTable::parse(text).map(|document| document.into_inner());
        for (name, content) in document.into_iter().flatten() {
            let name = name.into_inner();
            lines.add(text, &name, content.get_ref());
            let DeValue::Table(keys) = content.into_inner() else {
                continue;
            };
            for (key, value) in keys {
                lines.add(text, &format!("{name}.{}", key.get_ref()), value.get_ref());
            }
        }
        lines
    }

    fn add(&mut self, text: &str, list: &str, value: &DeValue<'_>) {
        if let DeValue::Array(entries) = value {
            let starts = entries
                .iter()
                .map(|entry| line_at(text, entry.span().start));
            self.0.insert(list.to_owned(), starts.collect());
        }
    }

    /// The line of the entry `number` of `list`, counted from 1; `None` where what stands there is no list.
    pub(super) fn of_entry(&self, list: &str, number: usize) -> Option<usize> {
        let lines = self.0.get(list)?;
        lines.get(number.checked_sub(1)?).copied()
    }
}
