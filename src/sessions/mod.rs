//! One client joined to one origin: its row in the table, its accounts, and how it ends.

mod acks;
mod bans;
mod end;
mod failed;
#[cfg(test)]
pub(crate) mod fixture;
mod held;
mod leg;
mod lines;
mod moves;
mod request;
mod row;
mod table;
mod tally;
mod tap;

pub use bans::Bans;
pub use end::{EndReason, Over};
pub(crate) use held::{Follows, KEYFRAME_WITHIN};
pub use held::{Held, Loss};
pub(crate) use leg::OpenPull;
pub use leg::Pull;
pub(crate) use lines::{FEW, LOOKS, Line, Lines, OLDEST, Publisher};
pub use moves::{MoveCause, MoveOrder, MoveStage, Underway};
pub use request::Request;
pub use row::{Direction, Placed, Row, State};
pub(crate) use table::OpenRow;
pub use table::{ACCESS, Limits, Sessions};
pub use tally::Tally;
pub(crate) use tally::{Ticket, names, question};
pub use tap::{Taken, Tap, TapEnd, Tapped};
