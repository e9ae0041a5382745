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

/// The page of `rows` that is asked for. Rows are looked at once, and no more of them are held than the page has.
pub fn select<'a, R: Listed>(
    rows: impl IntoIterator<Item = &'a R>,
    asked: &ListQuery,
) -> Page<&'a R> {
    let sort = asked.sort;
    let mut best = BinaryHeap::with_capacity(asked.limit + 2);
    let mut total = 0;
    for row in rows {
        if !matches(row, asked) {
            continue;
        }
        total += 1;
        let place = row.place(sort.column);
        if !follows(&place, asked) {
            continue;
        }
        let candidate = Candidate { place, sort, row };
        if best.len() <= asked.limit {
            best.push(candidate);
        } else if let Some(mut last) = best.peek_mut()
            && candidate < *last
        {
            *last = candidate;
        }
    }
    let mut rows: Vec<&R> = best
        .into_sorted_vec()
        .into_iter()
        .map(|candidate| candidate.row)
        .collect();
    let more = rows.len() > asked.limit;
    rows.truncate(asked.limit);
    Page { rows, total, more }
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
    let wanted = wanted.as_bytes();
    let Some(first) = wanted.first() else {
        return true;
    };
    let text = text.as_bytes();
    (0..text.len()).any(|at| {
        text.get(at)
            .is_some_and(|byte| byte.eq_ignore_ascii_case(first))
            && text
                .get(at..at + wanted.len())
                .is_some_and(|part| part.eq_ignore_ascii_case(wanted))
    })
}

fn matches<R: Listed>(row: &R, asked: &ListQuery) -> bool {
    let mut filters = asked.filters.iter();
    filters.all(|(filter, value)| row.has(filter, value))
        && asked.q.as_deref().is_none_or(|text| row.mentions(text))
}

fn follows(place: &Cursor<'_>, asked: &ListQuery) -> bool {
    let after = asked.after.as_ref();
    after.is_none_or(|after| place.compare(after, asked.sort) == Ordering::Greater)
}

/// A row that may be on the page; the greatest is the first to go.
struct Candidate<'a, R> {
    place: Cursor<'a>,
    sort: Sort,
    row: &'a R,
}

impl<R> Ord for Candidate<'_, R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.place.compare(&other.place, self.sort)
    }
}

impl<R> PartialOrd for Candidate<'_, R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> PartialEq for Candidate<'_, R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R> Eq for Candidate<'_, R> {}

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
