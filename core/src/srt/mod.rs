//! SRT (draft-sharabayko-srt-01): the packets that a relay has to understand, and the [table of flows](flows::Flows).
//!
//! Media, acknowledgements and key refreshes pass unchanged except for the destination's socket id, and for the timestamp
//! where a caller has outlived its first origin. The handshake is parsed: a caller's stream id says which stream it wants.

pub mod control;
pub mod cookie;
pub mod extension;
pub mod flows;
pub mod packet;
pub mod sequence;
