//! What the proxies of a cluster tell each other, through a store that they share or directly.

pub mod acme;
mod ban;
pub mod build;
pub mod claiming;
pub mod held;
pub mod keys;
pub mod mesh;
pub mod peers;
pub mod records;
mod splice;
pub mod srs;
pub mod tally;
