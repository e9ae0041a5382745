//! Media as it is carried, independent of the protocol that carries it.

pub mod blocks;
pub mod fanout;
pub mod feed;
pub mod flv;
pub mod gop;
pub mod keyframes;
pub mod part;
pub mod tap;
mod timeline;
pub mod viewer;
