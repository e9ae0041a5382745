//! Lists in pages: which rows are asked for, in which order, and where the next page begins.
//!
//! A page ends at a [`Cursor`]: the value that rows are sorted by, and the name of the row. The next page holds what
//! follows that place, so rows that come and go meanwhile neither repeat nor hide others. Each proxy of a cluster
//! selects its own best rows, and the proxy that was asked merges them.

mod ask;
mod place;
mod select;

pub use ask::{AskError, Columns, Filter, ListQuery, MOST_ROWS, Sort, USUAL_ROWS};
pub use place::{Cursor, Key};
pub use select::{Listed, Page, Selection, mentions, merge, select};
