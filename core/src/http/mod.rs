//! HTTP as far as a relay reads it itself: the head of a request or a response, and what a path asks for.
//!
//! A live stream over HTTP is one head and an endless body. The head is read here, strictly, because what we read
//! and what the origin reads must be one request; the body is never looked at.

pub mod head;
pub mod route;
