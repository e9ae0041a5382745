//! Where a new stream goes: which origins may take it, and which of them should.

pub mod pattern;
pub mod placement;
pub mod policy;
pub mod rule;
