//! Chooses the rows of a page.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::ask::{ListQuery, Sort};
use super::place::Cursor;

/// A row of a list.
pub trait Listed {
    /// Where it stands in a list that is sorted by `column`. The name in it is the same for every column.
    fn place(&self, column: &str) -> Cursor<'_>;

    /// Whether it has `value` in the column that `filter` is about.
    fn has(&self, filter: &str, value: &str) -> bool;

    /// Whether one of its texts contains `text`; see [`mentions`].
    fn mentions(&self, text: &str) -> bool;
}

/// The rows of a page, in order.
#[derive(Debug)]
pub struct Page<R> {
    /// The rows, at most as many as were asked for.
    pub rows: Vec<R>,
    /// How many rows match on all pages together.
    pub total: usize,
    /// Whether rows follow on a next page.
    pub more: bool,
}

/// Chooses the rows of a page from rows that it is shown one by one. It holds no more of them than the page has.
#[derive(Debug)]
pub struct Selection<'a, R> {
    asked: &'a ListQuery,
    /// One row more than the page has, to know whether another page follows.
    best: BinaryHeap<Candidate<R>>,
    total: usize,
}

impl<'a, R> Selection<'a, R> {
    /// For the page that is asked for.
    pub fn new(asked: &'a ListQuery) -> Self {
        Self {
            asked,
            best: BinaryHeap::with_capacity(asked.limit + 1),
            total: 0,
        }
    }

    /// Looks at a row. `keep` makes what is held of it, and is called only if the row may be on the page.
    pub fn look(&mut self, row: &impl Listed, keep: impl FnOnce() -> R) {
        if matches(row, self.asked) {
            self.found(row.place(self.asked.sort.column), keep);
        }
    }

    /// The same for a row that is known to be one of those that are asked for, and stands at `place`.
    pub fn found(&mut self, place: Cursor<'_>, keep: impl FnOnce() -> R) {
        let asked = self.asked;
        self.total += 1;
        if !follows(&place, asked) {
            return;
        }
        // Most rows of a long list are on no page: nothing is copied of these.
        let candidate = |place: Cursor<'_>| Candidate {
            place: place.into_owned(),
            sort: asked.sort,
            row: keep(),
        };
        if self.best.len() <= asked.limit {
            self.best.push(candidate(place));
        } else if let Some(mut last) = self.best.peek_mut()
            && place.compare(&last.place, asked.sort).is_lt()
        {
            *last = candidate(place);
        }
    }

    /// The page, when every row was shown.
    pub fn page(self) -> Page<R> {
        let best = self.best.into_sorted_vec().into_iter();
        let mut rows: Vec<R> = best.map(|candidate| candidate.row).collect();
        let more = rows.len() > self.asked.limit;
        rows.truncate(self.asked.limit);
        Page {
            rows,
            total: self.total,
            more,
        }
    }
}

/// The page of `rows` that is asked for.
pub fn select<'a, R: Listed>(
    rows: impl IntoIterator<Item = &'a R>,
    asked: &ListQuery,
) -> Page<&'a R> {
    let mut selection = Selection::new(asked);
    for row in rows {
        selection.look(row, || row);
    }
    selection.page()
}

/// One page of the pages that several proxies selected for the same query.
pub fn merge<R: Listed>(pages: impl IntoIterator<Item = Page<R>>, asked: &ListQuery) -> Page<R> {
    let mut merged = Page {
        rows: Vec::new(),
        total: 0,
        more: false,
    };
    for page in pages {
        merged.rows.extend(page.rows);
        merged.total += page.total;
        merged.more |= page.more;
    }
    let column = asked.sort.column;
    merged
        .rows
        .sort_by(|a, b| a.place(column).compare(&b.place(column), asked.sort));
    merged.more |= merged.rows.len() > asked.limit;
    merged.rows.truncate(asked.limit);
    merged
}

impl<R: Listed> Page<R> {
    /// The cursor for the next page; `None` on the last one.
    pub fn next(&self, sort: Sort) -> Option<String> {
        let last = self.rows.last().filter(|_| self.more)?;
        Some(last.place(sort.column).cursor(sort))
    }
}

/// Whether `text` contains `wanted`, whatever the case of its ASCII letters.
pub fn mentions(text: &str, wanted: &str) -> bool {
    let Some((first, rest)) = wanted.as_bytes().split_first() else {
        return true;
    };
    let (lower, upper) = (first.to_ascii_lowercase(), first.to_ascii_uppercase());
    text.as_bytes().windows(wanted.len()).any(|part| {
        matches!(part.split_first(), Some((begins, goes_on))
            if (*begins == lower || *begins == upper) && goes_on.eq_ignore_ascii_case(rest))
    })
}

fn matches(row: &impl Listed, asked: &ListQuery) -> bool {
    let mut filters = asked.filters.iter();
    filters.all(|(filter, value)| row.has(filter, value))
        && asked.q.as_deref().is_none_or(|text| row.mentions(text))
}

fn follows(place: &Cursor<'_>, asked: &ListQuery) -> bool {
    let after = asked.after.as_ref();
    after.is_none_or(|after| place.compare(after, asked.sort) == Ordering::Greater)
}

/// A row that may be on the page; the greatest is the first to go.
#[derive(Debug)]
struct Candidate<R> {
    place: Cursor<'static>,
    sort: Sort,
    row: R,
}

impl<R> Ord for Candidate<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.compare(&other.place, self.sort)
    }
}

impl<R> PartialOrd for Candidate<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> PartialEq for Candidate<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R> Eq for Candidate<R> {}

#[cfg(test)]
mod tests {
    use super::mentions;

    #[test]
    fn a_text_is_found_whatever_its_case() {
        for (text, wanted, expected) in [
            ("live/Cam-7", "cam", true),
            ("live/cam-7", "CAM-7", true),
            ("live/cam", "cam-7", false),
            ("caca-m", "cam", false),
            ("", "a", false),
            ("anything", "", true),
            ("größe", "ÖSSE", false),
            ("größe", "größe", true),
        ] {
            assert_eq!(mentions(text, wanted), expected, "{wanted:?} in {text:?}");
        }
    }
}
