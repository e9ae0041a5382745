//! What proxies agree on without a store between them: each owns a table of rows, all hear each other's tables, and one
//! rule says what stands.
//!
//! The rule, for one key:
//!
//! 1. Of all rows that *count*, the one of the greatest [rank](Row::rank) stands: the greatest fence; then a removal
//!    before a value, and a value before one that ended; then the longest lifetime asked for, so that a publisher's claim
//!    stands before a player's; then the older claim, or the newer of two puts; then the value itself.
//! 2. Whoever claims or puts takes a fence above all that it sees, so that who saw a row and replaces it wins over it.
//!    Equal fences are of proxies that did not see each other.
//! 3. Whoever claims what stands already adds a row of its own with the same fence: the claim lives as long as one of
//!    its proxies holds it.
//! 4. A row that is beaten by another value is ended by its own proxy. What ended keeps its fence for [`REMEMBERED`], so
//!    that nothing older comes back.
//! 5. How long a row lives is its own proxy's to say, by its own clock. When that proxy falls silent, its rows live on
//!    for the lifetime they were written with, [`GRACE`] at most, by the clock of whoever hears nothing.
//! 6. A claim that lapsed only because its proxy fell silent is not outranked by a claim of a shorter lifetime: that one
//!    gets the same fence, and the lapsed one stands again if its proxy comes back.
//!
//! 7. A word that came as [news](News) alone, before gossip had it, is taken back when its proxy falls silent: nobody would
//!    tell it to those who missed it.
//!
//! What stands follows from the rows alone, in whatever order they were heard, and no two machines' clocks are compared,
//! but to choose between two claims of which neither proxy saw the other's: a clock that is wrong makes the choice
//! unfair, not different.

pub mod datagram;
mod news;
mod row;
#[cfg(test)]
mod simulation;
mod table;

pub use news::News;
pub use row::{Fact, Row, Way, Word};
pub use table::{Claimed, Full, Table};

use std::time::Duration;

/// How long the rows of a proxy that fell silent count at most: its encoders come back through another proxy and find
/// the same origin.
pub const GRACE: Duration = Duration::from_secs(300);
/// How long a row that ended keeps its fence; longer than anything it beats may live unheard.
pub const REMEMBERED: Duration = Duration::from_secs(600);
/// A proxy whose heartbeat did not move for this long is silent.
pub const SILENCE: Duration = Duration::from_millis(1_500);
/// Who was not run itself for this long has no say on who is silent.
pub const STALL: Duration = Duration::from_millis(700);
/// Rows of all proxies together that a table holds, with what ended lately: some twenty thousand streams.
pub const MOST_ROWS: usize = 100_000;
/// The longest key and value together, in bytes: they travel in one message.
pub const LONGEST: usize = 16_384;
