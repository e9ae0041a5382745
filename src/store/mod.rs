//! What the proxies of a cluster agree on: keys with a lifetime, and one atomic verb.
//!
//! A store is dumb: it knows nothing of streams or origins. The registry gives the keys their
//! meaning. There is one store now, in this process.

mod memory;

pub use memory::{Claim, Memory};
