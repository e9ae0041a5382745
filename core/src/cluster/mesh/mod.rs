//! How proxies agree without a store: each proxy owns a table of rows, all proxies hear each other's tables, and one
//! rule decides which value is current.
//!
//! The rule, for one key:
//!
//! 1. Of all rows that *count*, the one with the greatest [rank](Row::rank) is current: the greatest fence; then a
//!    removal before a value, and a value before a row that ended; then the longest requested lifetime, so that a
//!    publisher's claim wins over a player's; then the older claim, or the newer of two puts; then the value itself.
//! 2. A claim or a put takes a fence above all that its proxy sees, so that a proxy that saw a row and replaces it wins
//!    over that row. Equal fences come from proxies that did not see each other.
//! 3. A claim of the current value adds a row of its own with the same fence: the claim lives as long as one of its
//!    proxies holds it.
//! 4. When another value beats a row, the row's own proxy ends it. A row that ended keeps its fence for [`REMEMBERED`],
//!    so that nothing older comes back.
//! 5. Only its own proxy decides how long a row lives, by its own clock. When that proxy falls silent, its rows live on
//!    for the lifetime they were written with, at most [`GRACE`], by the clock of each proxy that no longer hears it.
//! 6. A claim that lapsed only because its proxy fell silent is not outranked by a claim with a shorter lifetime: the
//!    new claim gets the same fence, and the lapsed one is current again if its proxy comes back.
//! 7. A word that came only as [news](News), before gossip had it, is taken back when its proxy falls silent: nobody
//!    would pass it on to the proxies that missed it.
//!
//! The current value follows from the rows alone, in whatever order they were heard. The clocks of two machines are
//! never compared, except to choose between two claims of which neither proxy saw the other's: a wrong clock makes that
//! choice unfair, but not different between proxies.

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

/// How long the rows of a silent proxy count at most: its encoders come back through another proxy and find the same
/// origin.
pub const GRACE: Duration = Duration::from_secs(300);
/// How long a row that ended keeps its fence; longer than any row that it beats may live unheard.
pub const REMEMBERED: Duration = Duration::from_secs(600);
/// How long a proxy's heartbeat may stand still before the proxy counts as silent.
pub const SILENCE: Duration = Duration::from_millis(1_500);
/// A proxy that was itself stalled this long must not judge others silent.
pub const STALL: Duration = Duration::from_millis(700);
/// Maximum rows in a table, of all proxies together and including those that ended lately: about twenty thousand
/// streams.
pub const MOST_ROWS: usize = 100_000;
/// Maximum bytes of a key and its value together: they travel in one message.
pub const LONGEST: usize = 16_384;
