//! HTTP, as far as the relay reads it: the head of a request or a response, what a path asks for, and the URIs in
//! playlists and manifests.
//!
//! A live stream over HTTP is one head and an endless body. The head is read strictly, because we and the origin must
//! see the same request; the body is never looked at.

pub mod base;
pub mod caller;
pub mod cmcd;
pub mod continued;
pub mod dash;
pub mod document;
pub mod encoding;
pub mod framing;
pub mod head;
pub mod hls;
pub mod link;
pub mod page;
pub mod periods;
pub mod personal;
pub mod places;
pub mod playlist;
pub mod route;
pub mod segment;
pub mod sharing;
pub mod splice;
pub mod stamp;
mod told;
pub mod vtt;
pub mod websocket;
pub mod whip;
