//! RTSP 1.0 (RFC 2326): messages between `$` frames, and what a relay changes in them.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`message`] | a request or a response, read with bounds and written back as it was |
//! | [`transport`] | the `Transport` header of SETUP |
//! | [`walk`] | steps over interleaved frames that pass through, and finds the messages between them |
//! | [`rewrite`] | an origin's URLs become ours on their way to the client |
//! | [`server`] | the end a client connects to, until it has named its stream |
//! | [`join`] | a client and an origin that talk: which requests pass, and what becomes of a SETUP |

pub mod join;
pub mod message;
pub mod rewrite;
pub mod server;
pub mod transport;
pub mod walk;
