//! HTTP as far as a relay reads it itself: the head of a request or a response, what a path asks for, and the URIs in
//! playlists and manifests.
//!
//! A live stream over HTTP is one head and an endless body. The head is read here, strictly, because what we read
//! and what the origin reads must be one request; the body is never looked at.

pub mod dash;
pub mod head;
pub mod hls;
pub mod link;
pub mod page;
pub mod route;
pub mod segment;
pub mod whip;
