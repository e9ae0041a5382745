//! What a query asks of a list.

use std::fmt;

use super::place::Cursor;

/// What a list can be asked for.
#[derive(Debug)]
pub struct Columns {
    /// How rows are sorted if nothing is said: a column, with `-` in front if it descends.
    pub usual: &'static str,
    /// The columns that rows can be sorted by.
    pub sorts: &'static [&'static str],
    /// What can be filtered by.
    pub filters: &'static [Filter],
}

/// A parameter that keeps only the rows with one value.
#[derive(Debug)]
pub struct Filter {
    /// Its name.
    pub name: &'static str,
    /// The values that there are; empty if any text may be one.
    pub values: &'static [&'static str],
}

/// A query that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// Maximum rows of the page, 1 to [`MOST_ROWS`].
    pub limit: usize,
    /// Where the page before this one ended.
    pub after: Option<Cursor<'static>>,
    /// The order of the rows.
    pub sort: Sort,
    /// A text that every row has to mention, whatever its case.
    pub q: Option<String>,
    /// The values that rows must have.
    pub filters: Vec<(&'static str, String)>,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    /// The column.
    pub column: &'static str,
    /// Whether the largest value comes first.
    pub descending: bool,
}

/// Why a query cannot be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The cursor is none of ours.
    #[error("after: not a cursor; take `next` of the page before as it is")]
    Cursor,
    /// A number of rows that no page has.
    #[error("limit: a number from 1 to {MOST_ROWS}")]
    Limit,
    /// The cursor belongs to a list in another order.
    #[error("after: this cursor is of a list in another order; begin without it")]
    OtherOrder,
    /// No list can be sorted by that.
    #[error("sort: one of {0}, with - in front for the largest first")]
    Sort(String),
    /// A parameter that occurs twice.
    #[error("{0}: given more than once")]
    Twice(String),
    /// A text longer than anything it could be found in.
    #[error("{0}: longer than {LONGEST_TEXT} characters")]
    TooLong(String),
    /// A parameter that there is not.
    #[error("{name}: there is no such parameter; there are {known}")]
    Unknown {
        /// As it was written.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A value that no row can have.
    #[error("{name}: one of {values}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it may be.
        values: String,
    },
}

impl ListQuery {
    /// Reads the parameters of a query. An empty value counts as not given, as forms send it.
    ///
    /// # Errors
    /// [`AskError`], for the first parameter that is wrong or not known.
    pub fn read<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
        columns: &Columns,
    ) -> Result<Self, AskError> {
        let mut read = Read::default();
        for (name, value) in pairs {
            read.take(name.as_ref(), value.as_ref(), columns)?;
        }
        let sort = columns.sort(read.sort.as_deref().unwrap_or(columns.usual))?;
        let after = read.after.map(|cursor| Cursor::read(&cursor, sort));
        Ok(Self {
            limit: read.limit.unwrap_or(USUAL_ROWS),
            after: after.transpose()?,
            sort,
            q: read.q,
            filters: read.filters,
        })
    }

    /// The value that rows must have in `filter`, if one was given.
    pub fn filter(&self, filter: &str) -> Option<&str> {
        let mut given = self.filters.iter();
        let (_, value) = given.find(|(name, _)| *name == filter)?;
        Some(value)
    }
}

/// Parameters while they are read.
#[derive(Default)]
struct Read {
    limit: Option<usize>,
    after: Option<String>,
    sort: Option<String>,
    q: Option<String>,
    filters: Vec<(&'static str, String)>,
}

impl Read {
    fn take(&mut self, name: &str, value: &str, columns: &Columns) -> Result<(), AskError> {
        let twice = || AskError::Twice(name.to_owned());
        let given = Some(value.to_owned()).filter(|value| !value.is_empty());
        let place = match name {
            "limit" => {
                if given.is_some() && self.limit.replace(limit(value)?).is_some() {
                    return Err(twice());
                }
                return Ok(());
            }
            "after" => &mut self.after,
            "sort" => &mut self.sort,
            "q" => &mut self.q,
            _ => return self.filter(name, value, columns),
        };
        if name != "after" && value.len() > LONGEST_TEXT {
            return Err(AskError::TooLong(name.to_owned()));
        }
        if given.is_some() && std::mem::replace(place, given).is_some() {
            return Err(twice());
        }
        Ok(())
    }

    fn filter(&mut self, name: &str, value: &str, columns: &Columns) -> Result<(), AskError> {
        let mut known = columns.filters.iter();
        let Some(filter) = known.find(|filter| filter.name == name) else {
            return Err(AskError::Unknown {
                name: name.chars().take(LONGEST_NAME).collect(),
                known: columns.parameters().join(", "),
            });
        };
        if value.is_empty() {
            return Ok(());
        }
        if value.len() > LONGEST_TEXT {
            return Err(AskError::TooLong(name.to_owned()));
        }
        if !filter.values.is_empty() && !filter.values.contains(&value) {
            return Err(AskError::Value {
                name: filter.name,
                values: filter.values.join(", "),
            });
        }
        if self.filters.iter().any(|(given, _)| *given == filter.name) {
            return Err(AskError::Twice(name.to_owned()));
        }
        self.filters.push((filter.name, value.to_owned()));
        Ok(())
    }
}

impl Columns {
    /// Every parameter of the list.
    pub fn parameters(&self) -> Vec<&'static str> {
        let filters = self.filters.iter().map(|filter| filter.name);
        ["limit", "after", "sort", "q"]
            .into_iter()
            .chain(filters)
            .collect()
    }

    fn sort(&self, text: &str) -> Result<Sort, AskError> {
        let (descending, wanted) = match text.strip_prefix('-') {
            Some(column) => (true, column),
            None => (false, text),
        };
        let mut known = self.sorts.iter();
        match known.find(|column| **column == wanted) {
            Some(column) => Ok(Sort { column, descending }),
            None => Err(AskError::Sort(self.sorts.join(", "))),
        }
    }
}

impl fmt::Display for Sort {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.descending { "-" } else { "" };
        write!(formatter, "{sign}{}", self.column)
    }
}

fn limit(text: &str) -> Result<usize, AskError> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=MOST_ROWS).contains(number))
        .ok_or(AskError::Limit)
}

/// Rows of a page where nothing is said.
pub const USUAL_ROWS: usize = 50;
/// Maximum rows of a page: 200 sessions are 85 kB.
pub const MOST_ROWS: usize = 200;
/// Maximum bytes of a text to look for: the longest name of a stream.
const LONGEST_TEXT: usize = 1024;
/// Maximum characters of an unknown parameter that an error repeats.
const LONGEST_NAME: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::Key;

    const COLUMNS: Columns = Columns {
        usual: "stream",
        sorts: &["stream", "rate"],
        filters: &[
            Filter {
                name: "action",
                values: &["play", "publish"],
            },
            Filter {
                name: "origin",
                values: &[],
            },
        ],
    };

    fn read(pairs: &[(&str, &str)]) -> Result<ListQuery, AskError> {
        ListQuery::read(pairs.iter().copied(), &COLUMNS)
    }

    #[test]
    fn a_query_says_which_rows_and_in_which_order() {
        let pairs = [
            ("sort", "-rate"),
            ("q", "Cam"),
            ("action", "play"),
            ("limit", "7"),
        ];
        let asked = read(&pairs).unwrap();
        assert_eq!((asked.limit, asked.sort.to_string().as_str()), (7, "-rate"));
        assert_eq!(asked.q.as_deref(), Some("Cam"));
        assert_eq!(
            (asked.filter("action"), asked.filter("origin")),
            (Some("play"), None)
        );
        let empty = read(&[("q", ""), ("limit", ""), ("action", ""), ("sort", "")]).unwrap();
        assert_eq!(empty, read(&[]).unwrap(), "forms send what is empty");
        assert_eq!((empty.limit, empty.sort.column), (USUAL_ROWS, "stream"));
    }

    #[test]
    fn what_cannot_be_answered_is_refused_with_what_can() {
        let place = Cursor {
            key: Key::Number(5),
            proxy: "a".into(),
            id: Key::Number(1),
        };
        let other = place.cursor(Sort {
            column: "rate",
            descending: true,
        });
        let long = "x".repeat(LONGEST_TEXT + 1);
        // The cause, the parameters, and what is said.
        type Row<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str);
        let rows: [Row<'_>; 12] = [
            (
                "a parameter that there is not",
                vec![("foo", "1")],
                "foo: there is no such parameter; there are limit, after, sort, q, action, origin",
            ),
            (
                "an empty one of these",
                vec![("foo", "")],
                "foo: there is no such parameter; there are limit, after, sort, q, action, origin",
            ),
            (
                "no rows",
                vec![("limit", "0")],
                "limit: a number from 1 to 200",
            ),
            (
                "too many rows",
                vec![("limit", "201")],
                "limit: a number from 1 to 200",
            ),
            (
                "rows in words",
                vec![("limit", "all")],
                "limit: a number from 1 to 200",
            ),
            (
                "a column that there is not",
                vec![("sort", "-age")],
                "sort: one of stream, rate, with - in front for the largest first",
            ),
            (
                "a value that no row has",
                vec![("action", "record")],
                "action: one of play, publish",
            ),
            (
                "a filter twice",
                vec![("origin", "a"), ("origin", "b")],
                "origin: given more than once",
            ),
            (
                "an order twice",
                vec![("sort", "rate"), ("sort", "rate")],
                "sort: given more than once",
            ),
            (
                "a long text",
                vec![("q", &long)],
                "q: longer than 1024 characters",
            ),
            (
                "not a cursor",
                vec![("after", "???")],
                "after: not a cursor; take `next` of the page before as it is",
            ),
            (
                "a cursor of another order",
                vec![("after", &other)],
                "after: this cursor is of a list in another order; begin without it",
            ),
        ];
        for (cause, pairs, expected) in rows {
            assert_eq!(read(&pairs).unwrap_err().to_string(), expected, "{cause}");
        }
    }
}
