//! Where a stream goes: which origins may take it, which of them should, and what follows when one fails.

pub mod attempts;
pub mod leg;
pub mod pattern;
pub mod placement;
pub mod policy;
pub mod redirect;
pub mod rule;
