//! Lists in pages: whatever the rows, the order and the size of the pages, one after the other they are the whole list,
//! from one proxy as from several.

use proptest::prelude::*;
use sluicegate_core::list::{Columns, Cursor, Filter, Key, ListQuery, Listed, Page, merge, select};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    proxy: String,
    id: u64,
    name: String,
    rate: u64,
}

impl Listed for Row {
    fn place(&self, column: &str) -> Cursor<'_> {
        Cursor {
            key: match column {
                "rate" => Key::of(self.rate),
                _ => Key::from(self.name.as_str()),
            },
            proxy: self.proxy.as_str().into(),
            id: Key::of(self.id),
        }
    }

    fn has(&self, _filter: &str, value: &str) -> bool {
        self.name == value
    }

    fn mentions(&self, text: &str) -> bool {
        self.name.contains(text)
    }
}

const COLUMNS: Columns = Columns {
    usual: "name",
    sorts: &["name", "rate"],
    filters: &[Filter {
        name: "name",
        values: &[],
    }],
};

/// Few values, so that many rows share one; some with what a cursor has to carry unharmed.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let name = prop::sample::select(vec!["a", "b", "ab", "\"/é\u{1}", ""]);
    let rate = prop_oneof![0_u64..4, Just(u64::MAX)];
    let drawn = prop::collection::vec((0_usize..3, name, rate), 0..60);
    drawn.prop_map(|drawn| {
        let row = |(id, (proxy, name, rate)): (u64, (usize, &str, u64))| Row {
            proxy: format!("p{proxy}"),
            id,
            name: name.to_owned(),
            rate,
        };
        (0..).zip(drawn).map(row).collect()
    })
}

fn order() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["name", "-name", "rate", "-rate"])
}

fn sorted(rows: &[Row], order: &str) -> Vec<Row> {
    let sort = ListQuery::read([("sort", order)], &COLUMNS).unwrap().sort;
    let mut sorted = rows.to_vec();
    sorted.sort_by(|a, b| {
        let by_key = match sort.column {
            "rate" => a.rate.cmp(&b.rate),
            _ => a.name.cmp(&b.name),
        };
        by_key.then_with(|| (&a.proxy, a.id).cmp(&(&b.proxy, b.id)))
    });
    // Rows of one value too: a list that descends is the same one from its end.
    if sort.descending {
        sorted.reverse();
    }
    sorted
}

fn owned(page: Page<&Row>) -> Page<Row> {
    Page {
        rows: page.rows.into_iter().cloned().collect(),
        total: page.total,
        more: page.more,
    }
}

/// Every page of a list, one after the other, each asked for with the cursor of the one before.
fn walk(order: &str, limit: usize, page: impl Fn(&ListQuery) -> Page<Row>) -> Vec<Row> {
    let limit = limit.to_string();
    let mut after = String::new();
    let mut all = Vec::new();
    loop {
        let pairs = [("sort", order), ("limit", &limit), ("after", &after)];
        let asked = ListQuery::read(pairs, &COLUMNS).unwrap();
        let page = page(&asked);
        assert!(page.rows.len() <= asked.limit);
        let next = page.next(asked.sort);
        all.extend(page.rows);
        match next {
            Some(next) => after = next,
            None => return all,
        }
    }
}

proptest! {
    #[test]
    fn pages_one_after_the_other_are_the_whole(rows in rows(), order in order(), limit in 1_usize..9) {
        let all = walk(order, limit, |asked| owned(select(&rows, asked)));
        prop_assert_eq!(all, sorted(&rows, order));
    }

    #[test]
    fn merged_pages_are_those_of_one_list(rows in rows(), order in order(), limit in 1_usize..9) {
        let of = |proxy: &str| -> Vec<Row> {
            rows.iter().filter(|row| row.proxy == proxy).cloned().collect()
        };
        let proxies = ["p0", "p1", "p2"].map(of);
        let all = walk(order, limit, |asked| {
            let page = merge(proxies.iter().map(|own| owned(select(own, asked))), asked);
            assert_eq!(page.total, rows.len());
            page
        });
        prop_assert_eq!(all, sorted(&rows, order));
    }

    #[test]
    fn rows_that_come_and_go_hide_none_of_the_others(rows in rows(), order in order(), limit in 1_usize..9, gone in 0_usize..60) {
        let gone = gone.min(rows.len());
        let calls = std::cell::Cell::new(0);
        let rest = rows.get(gone..).unwrap_or_default();
        let all = walk(order, limit, |asked| {
            calls.set(calls.get() + 1);
            owned(select(if calls.get() == 1 { &rows } else { rest }, asked))
        });
        let stayed: Vec<Row> = all.into_iter().filter(|row| rest.contains(row)).collect();
        prop_assert_eq!(stayed, sorted(rest, order));
    }

    #[test]
    fn only_what_matches_is_counted_and_shown(rows in rows(), name in "[ab]{1,2}") {
        let asked = ListQuery::read([("name", name.as_str()), ("limit", "200")], &COLUMNS).unwrap();
        let page = owned(select(&rows, &asked));
        let expected: Vec<Row> = sorted(&rows, "name").into_iter().filter(|row| row.name == name).collect();
        prop_assert_eq!(page.total, expected.len());
        prop_assert_eq!(page.rows, expected);
        let asked = ListQuery::read([("q", "b"), ("limit", "200")], &COLUMNS).unwrap();
        prop_assert!(select(&rows, &asked).rows.iter().all(|row| row.name.contains('b')));
    }

    #[test]
    fn any_text_may_stand_where_a_cursor_belongs(text in ".{0,80}") {
        let _ = ListQuery::read([("after", text)], &COLUMNS);
    }
}
