//! May this client: what it showed, as far as a protocol carries it.

pub mod credentials;
