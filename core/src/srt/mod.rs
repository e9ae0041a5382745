//! SRT (draft-sharabayko-srt-01): the packets a relay has to understand, and the [table of flows](flows::Flows).
//!
//! Media, acknowledgements and key refreshes pass as they are but for the destination's socket id. Only the handshake
//! is taken apart: a caller's stream id says which stream it wants.

pub mod cookie;
pub mod extension;
pub mod flows;
pub mod packet;
