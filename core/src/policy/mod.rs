//! Which origin should hold a stream: a policy orders the candidates, its caller walks them until one answers.
//!
//! A policy is a pure function of the key and the candidates. It never filters: who may take new work, and who
//! offers the protocol asked for, is decided before. To add one: a file here, an arm in [`by_name`], its name in
//! [`NAMES`]; the suite in `core/tests/policy.rs` finds it there.

mod least_streams;
mod rendezvous;

pub use least_streams::LeastStreams;
pub use rendezvous::Rendezvous;

use crate::origin::OriginId;
use crate::stream::PlacementKey;

/// An origin that may take a new stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which origin.
    pub origin: OriginId,
    /// How many services it offers. Origins with more come first under every policy, because a stream stays where
    /// it is placed and every protocol its players may ask for should be served there.
    pub services: usize,
    /// How many streams it holds now.
    pub streams: usize,
}

/// Orders candidates for a new stream.
pub trait Policy: Send + Sync {
    /// The name in the settings.
    fn name(&self) -> &'static str;

    /// Orders `candidates`, best first. Every proxy that ranks the same candidates, in whatever order it holds
    /// them, gets the same result.
    fn rank(&self, key: &PlacementKey, candidates: &mut Vec<Candidate>);
}

/// The policy called `name` in the settings; one of [`NAMES`].
pub fn by_name(name: &str) -> Option<Box<dyn Policy>> {
    match name {
        "least_streams" => Some(Box::new(LeastStreams)),
        "rendezvous" => Some(Box::new(Rendezvous)),
        _ => None,
    }
}

/// Every name that [`by_name`] knows.
pub const NAMES: [&str; 2] = ["rendezvous", "least_streams"];
