//! Where a stream goes: which origins may take it, which of them should, what follows when one fails, and which streams
//! leave one that has too much to do.

pub mod attempts;
pub mod hold;
pub mod leg;
pub mod origins_no;
pub mod pattern;
pub mod placement;
pub mod policy;
pub mod rebalance;
pub mod redirect;
pub mod rule;
pub mod shares;
pub mod standing;
pub mod takeover;
