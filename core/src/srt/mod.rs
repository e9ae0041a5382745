//! SRT (draft-sharabayko-srt-01): the packets that a relay has to understand, and the [table of flows](flows::Flows).
//!
//! Media, acknowledgements and key refreshes pass unchanged except for the destination's socket id. Only the handshake
//! is parsed: a caller's stream id says which stream it wants.

pub mod cookie;
pub mod extension;
pub mod flows;
pub mod packet;
