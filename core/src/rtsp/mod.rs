//! RTSP 1.0 (RFC 2326): messages between `$` frames, and what a relay changes in them.
//!
//! | file | what it does |
//! | --- | --- |
//! | [`message`] | a request or a response, read with bounds and written back unchanged |
//! | [`transport`] | the `Transport` header of SETUP |
//! | [`media`] | which channels carry media, and which packets are it |
//! | [`walk`] | steps over interleaved frames, and finds the messages between them |
//! | [`rewrite`] | an origin's URLs become ours on their way to the client |
//! | [`take_out`] | what was used up of a client's requests is kept from its origin |
//! | [`server`] | the end that a client connects to, until it has named its stream |
//! | [`join`] | a client and an origin in conversation: which requests pass, and what happens to a SETUP |
//! | [`challenge`] | what an origin's challenge says of the credentials that it got |
//! | `farewell` | how an origin hears of the end from us, when its client has not said it |

pub mod challenge;
mod farewell;
pub mod join;
pub mod media;
pub mod message;
pub mod rewrite;
pub mod server;
pub mod take_out;
pub mod transport;
pub mod walk;
