//! One file per protocol: accept, identify, hand over to the [proxy](crate::proxy), relay.

pub mod api;
pub mod calls;
pub mod http;
mod pair;
pub mod rtc;
pub mod rtmp;
pub mod rtsp;
pub mod srt;
mod turned_away;
pub mod whip;
