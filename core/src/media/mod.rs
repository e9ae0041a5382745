//! Media as it is carried, independent of the protocol that carries it.

pub mod flv;
pub mod gop;
pub mod part;
pub mod tap;
